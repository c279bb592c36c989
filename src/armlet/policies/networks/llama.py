"""Layers of a Llama (Touvron et al. 2023, arXiv:2302.13971), for text and for actions.

Tensor names are transformers' own. Attention itself is kept apart from its projections, because
SmolVLA's two streams share keys and values.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# SmolVLA turns by 10000 whatever rope_theta the language model's configuration states.
LONGEST_WAVE = 10000.0


class RmsNorm(nn.Module):
    """x / sqrt(mean(x^2) + eps) * weight (Zhang and Sennrich 2019, arXiv:1910.07467)."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps) * self.weight


class Rotation:
    """Rotary positions (Su et al. 2021, arXiv:2104.09864): pairs i and i + d/2 turn together."""

    def __init__(self, positions: Tensor, head_width: int) -> None:
        """positions (T,) of the tokens, or (B, 1, T) where they are each row's own; wave i of d/2
        turns by position / 10000^(2i/d)."""
        exponent = torch.arange(0, head_width, 2, device=positions.device) / head_width
        angle = positions[..., None].float() / LONGEST_WAVE**exponent
        self._cosine, self._sine = angle.cos(), angle.sin()

    def __call__(self, x: Tensor) -> Tensor:
        """x (B, heads, T, d) turned to its positions."""
        first, second = x.chunk(2, dim=-1)
        return torch.cat(
            [
                first * self._cosine - second * self._sine,
                second * self._cosine + first * self._sine,
            ],
            dim=-1,
        )


class Projections(nn.Module):
    """What an attention layer learns: queries of `width`, keys and values of `source` width."""

    def __init__(
        self, width: int, source: int, heads: int, key_value_heads: int, head_width: int
    ) -> None:
        super().__init__()
        self.head_width = head_width
        self.q_proj = nn.Linear(width, heads * head_width, bias=False)
        self.k_proj = nn.Linear(source, key_value_heads * head_width, bias=False)
        self.v_proj = nn.Linear(source, key_value_heads * head_width, bias=False)
        self.o_proj = nn.Linear(heads * head_width, width, bias=False)

    def queries(self, x: Tensor) -> Tensor:
        """(B, heads, T, d) of tokens (B, T, width)."""
        return self._split(self.q_proj(x))

    def keys(self, x: Tensor) -> Tensor:
        """(B, key_value_heads, T, d) of tokens (B, T, source)."""
        return self._split(self.k_proj(x))

    def values(self, x: Tensor) -> Tensor:
        return self._split(self.v_proj(x))

    def _split(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], -1, self.head_width).transpose(1, 2)


class GatedMlp(nn.Module):
    """down(silu(gate(x)) * up(x)) (Shazeer 2020, arXiv:2002.05202)."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(width, hidden, bias=False)
        self.up_proj = nn.Linear(width, hidden, bias=False)
        self.down_proj = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.silu(self.gate_proj(x)) * self.up_proj(x)
        return self.down_proj(hidden)  # type: ignore[no-any-return]


class Layer(nn.Module):
    """One block; whoever runs it attends between `read` and `write`."""

    def __init__(self, attention: Projections, hidden: int, eps: float) -> None:
        super().__init__()
        width = attention.q_proj.in_features
        self.self_attn = attention
        self.mlp = GatedMlp(width, hidden)
        self.input_layernorm = RmsNorm(width, eps)
        self.post_attention_layernorm = RmsNorm(width, eps)

    def read(self, x: Tensor) -> Tensor:
        """Tokens (B, T, width) as the projections want them."""
        return self.input_layernorm(x)  # type: ignore[no-any-return]

    def write(self, x: Tensor, attended: Tensor) -> Tensor:
        """The block's output: x plus what was attended (B, heads, T, d), then the MLP."""
        x = x + self.self_attn.o_proj(attended.transpose(1, 2).flatten(2))
        return x + self.mlp(self.post_attention_layernorm(x))  # type: ignore[no-any-return]


class Stack(nn.Module):
    """Layers and the norm after the last."""

    def __init__(self, layers: list[Layer], eps: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.norm = RmsNorm(layers[0].self_attn.q_proj.in_features, eps)

    def layer(self, index: int) -> Layer:
        layer = self.layers[index]
        assert isinstance(layer, Layer)
        return layer


def attend(queries: Tensor, keys: Tensor, values: Tensor, visible: Tensor | None = None) -> Tensor:
    """softmax(q k / sqrt(d)) v; (B, heads, Tq, d) for queries, keys shared by groups of heads.

    visible is bool (Tq, Tk) or (B, 1, Tq, Tk), every row with a key to see; None shows everything.
    """
    groups = queries.shape[1] // keys.shape[1]
    if groups > 1:
        keys = keys.repeat_interleave(groups, dim=1)
        values = values.repeat_interleave(groups, dim=1)
    return F.scaled_dot_product_attention(queries, keys, values, attn_mask=visible)
