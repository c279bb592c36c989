"""SmolVLM's eyes: a SigLIP vision tower (Zhai et al. 2023, arXiv:2303.15343) and its connector."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from armlet.policies.config.releases import PatchRows
from armlet.policies.config.smolvla import VisionShape


class VisionTower(nn.Module):
    """Pictures (B, 3, H, W) in -1..1 to one token (width) for every patch, row by row."""

    def __init__(
        self, shape: VisionShape, precision: torch.dtype, rows: PatchRows = PatchRows.SCALED
    ) -> None:
        """precision is what the tower computed with in training, rows the version of transformers
        it was trained with: see patch_positions."""
        super().__init__()
        width = shape.hidden_size
        self._side = shape.image_size // shape.patch_size
        self._precision, self._rows = precision, rows
        self.patch_embedding = nn.Conv2d(3, width, shape.patch_size, shape.patch_size)
        self.position_embedding = nn.Embedding(self._side**2, width)
        self.layers = nn.ModuleList(VisionLayer(shape) for _ in range(shape.num_hidden_layers))
        self.post_layernorm = nn.LayerNorm(width, eps=shape.layer_norm_eps)

    def forward(self, pictures: Tensor) -> Tensor:
        patches: Tensor = self.patch_embedding(pictures)
        return self.read(patches, self.positions(*patches.shape[2:]))

    def positions(self, rows: int, columns: int) -> Tensor:
        """What pictures of rows x columns patches have added, (rows * columns, width)."""
        down, across = (
            patch_positions(n, self._side, self._precision, self._rows) for n in (rows, columns)
        )
        places = (down[:, None] * self._side + across).flatten()
        table = self.position_embedding
        return table(places.to(table.weight.device))  # type: ignore[no-any-return]

    def read(self, patches: Tensor, positions: Tensor) -> Tensor:
        """Tokens of embedded patches (B, width, rows, columns) at their positions."""
        x = patches.flatten(2).transpose(1, 2) + positions
        for layer in self.layers:
            x = layer(x)
        return self.post_layernorm(x)  # type: ignore[no-any-return]


class VisionLayer(nn.Module):
    """Self-attention among all patches and a GELU MLP, each after a layer norm."""

    def __init__(self, shape: VisionShape) -> None:
        super().__init__()
        self.layer_norm1 = nn.LayerNorm(shape.hidden_size, eps=shape.layer_norm_eps)
        self.self_attn = VisionAttention(shape.hidden_size, shape.num_attention_heads)
        self.layer_norm2 = nn.LayerNorm(shape.hidden_size, eps=shape.layer_norm_eps)
        self.mlp = VisionMlp(shape.hidden_size, shape.intermediate_size)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.self_attn(self.layer_norm1(x))
        return x + self.mlp(self.layer_norm2(x))  # type: ignore[no-any-return]


class VisionAttention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self._heads = heads
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            projection(x).unflatten(-1, (self._heads, -1)).transpose(1, 2)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        attended = F.scaled_dot_product_attention(q, k, v)
        return self.out_proj(attended.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class VisionMlp(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x), approximate="tanh"))  # type: ignore[no-any-return]


class Connector(nn.Module):
    """Patches (B, n * n, width) folded `scale` by `scale` into one text token each."""

    def __init__(self, width: int, text_width: int, scale: int) -> None:
        super().__init__()
        self._scale = scale
        self.proj = nn.Linear(width * scale**2, text_width, bias=False)

    def forward(self, patches: Tensor) -> Tensor:
        """(B, (n / scale)^2, text_width): the patches of a square stand beside each other."""
        batch, count, width = patches.shape
        side, scale = round(int(count) ** 0.5), self._scale
        squares = patches.view(batch, side // scale, scale, side // scale, scale, width)
        folded = squares.permute(0, 1, 3, 2, 4, 5).reshape(batch, -1, scale * scale * width)
        return self.proj(folded)  # type: ignore[no-any-return]


def patch_positions(
    count: int, side: int, precision: torch.dtype, rows: PatchRows = PatchRows.SCALED
) -> Tensor:
    """Row (or column) of the learned position table for each of `count` patches along an axis.

    transformers spreads the patches over the `side` rows by fractions kept a little below 1. How,
    and in which precision, changed from version to version, and with it the row by one (releases
    lists them; transformers pull request 47133). A policy must be run with what it was trained
    with.
    """
    starts = torch.arange(1 / side, 1.0, 1 / side)
    return torch.bucketize(_fractions(count, precision, rows), starts, right=True)


def _fractions(count: int, precision: torch.dtype, rows: PatchRows) -> Tensor:
    """Where along the axis each patch begins, in 0..1."""
    below = 1 - 1e-6
    # transformers divides by a tensor, so the step is a float32.
    step = 1 / torch.tensor(count)
    if rows is PatchRows.STEPPED:
        return torch.arange(0, below, step.item())
    if rows is PatchRows.SCALED_FLOAT32:
        return torch.arange(count) / torch.tensor(count) * below
    if rows is PatchRows.SCALED:
        return torch.arange(count, dtype=precision) / torch.tensor(count) * below
    fractions = (torch.arange(count, dtype=torch.float32) * step).clamp(max=below)
    return fractions if rows is PatchRows.CLAMPED_FLOAT32 else fractions.to(precision)


def resize_with_pad(pictures: Tensor, width: int, height: int) -> Tensor:
    """Pictures (B, 3, h, w) scaled to fit, bilinear, and padded with zeros on the left and top."""
    h, w = pictures.shape[-2:]
    ratio = max(w / width, h / height)
    size = int(h / ratio), int(w / ratio)
    scaled = F.interpolate(pictures, size=size, mode="bilinear", align_corners=False)
    return F.pad(scaled, (max(0, width - size[1]), 0, max(0, height - size[0]), 0))
