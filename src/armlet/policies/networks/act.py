"""The ACT network (Zhao et al. 2023, arXiv:2304.13705) in plain torch.

Camera pictures become feature-map tokens through one shared ResNet; together with a latent token
and the joint state they pass a transformer encoder; a decoder of `chunk_size` learned queries
reads the result, and a linear head turns each query into one action. In training a second encoder
compresses the true action chunk into the latent (a conditional VAE); at inference the latent is
zero. Tensor names and shapes are LeRobot's, without its `model.` prefix, so weights move both ways.
"""

from __future__ import annotations

import math
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from armlet.policies.config.base import ACTION, ENVIRONMENT, STATE, ActConfig

from .base import PolicyNetwork
from .losses import IS_PAD, Draws, Loss, LossRule, mean_error, normal
from .resnet import ResNet, fold_batch_norm

ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {"relu": F.relu, "gelu": F.gelu}


@dataclass(frozen=True)
class ActLoss(Loss):
    """What training minimises (total, with gradient) and its parts, scalars.

    l1 is the mean absolute error, see LossRule; kl is the divergence of the latent from a standard
    normal, before kl_weight, zero without a VAE; with gradient.
    """

    l1: Tensor
    kl: Tensor


class Act(PolicyNetwork):
    """Normalized observations in, normalized action chunks out.

    Inputs are a mapping by feature key, as Preprocessor makes it: `observation.state` float32
    (B, n), every camera float32 (B, 3, H, W), optionally `observation.environment_state` (B, m).
    """

    vae_encoder_pos_enc: Tensor

    def __init__(self, config: ActConfig) -> None:
        super().__init__()
        self.config = config
        width = config.dim_model
        if config.use_vae:
            self._add_vae(config)
        if config.image_features:
            self.backbone = ResNet(
                config.vision_backbone, config.replace_final_stride_with_dilation
            )
            self.encoder_img_feat_input_proj = nn.Conv2d(self.backbone.channels, width, 1)
        self.encoder = Encoder(config, config.n_encoder_layers)
        self.decoder = Decoder(config)
        vectors = [config.latent_dim, config.state_size, config.environment_size]
        self.encoder_latent_input_proj = Linear(config.latent_dim, width)
        if config.state_size is not None:
            self.encoder_robot_state_input_proj = Linear(config.state_size, width)
        if config.environment_size is not None:
            self.encoder_env_state_input_proj = Linear(config.environment_size, width)
        tokens = sum(size is not None for size in vectors)
        self.encoder_1d_feature_pos_embed = nn.Embedding(tokens, width)
        self.decoder_pos_embed = nn.Embedding(config.chunk_size, width)
        self.action_head = Linear(width, config.action_size)
        self._tables: dict[tuple[int, int, torch.device], Tensor] = {}
        self._layout = torch.contiguous_format

    def _add_vae(self, config: ActConfig) -> None:
        width = config.dim_model
        self.vae_encoder = Encoder(config, config.n_vae_encoder_layers)
        self.vae_encoder_cls_embed = nn.Embedding(1, width)
        if config.state_size is not None:
            self.vae_encoder_robot_state_input_proj = Linear(config.state_size, width)
        self.vae_encoder_action_input_proj = Linear(config.action_size, width)
        self.vae_encoder_latent_output_proj = Linear(width, 2 * config.latent_dim)
        positions = config.chunk_size + (1 if config.state_size is None else 2)
        self.register_buffer("vae_encoder_pos_enc", sinusoid_1d(positions, width)[None])

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Normalized action chunk float32 (B, C, A), the latent being zero (inference)."""
        return self.decode(batch, latent=None)

    @property
    def _encodes_actions(self) -> bool:
        return self.training and bool(self.config.use_vae)

    def draw(self, batch: Mapping[str, Tensor], generator: torch.Generator | None = None) -> Draws:
        """What makes the latent, in training with a VAE."""
        if not self._encodes_actions:
            return Draws()
        target = batch[ACTION]
        return Draws(noise=normal((len(target), self.config.latent_dim), generator, target))

    def compute_loss(
        self,
        batch: Mapping[str, Tensor],
        rule: LossRule = LossRule.LEROBOT_0_6,
        draws: Draws | None = None,
    ) -> ActLoss:
        """See PolicyNetwork. In training the VAE encoder, where there is one, gives the latent."""
        target = batch[ACTION]
        latent, kl = None, target.new_zeros(())
        if self._encodes_actions:
            noise = (draws or self.draw(batch)).noise
            if noise is None:
                raise ValueError("draws: expected noise, for the latent of the VAE, found no noise")
            mean, log_variance = self.encode_actions(batch)
            latent = mean + (log_variance / 2).exp() * noise
            kl = -0.5 * (1 + log_variance - mean.square() - log_variance.exp()).sum(-1).mean()
        error = (self.decode(batch, latent) - target).abs()
        l1 = mean_error(error, batch[IS_PAD], rule)
        return ActLoss(l1 + self.config.kl_weight * kl, l1.detach(), kl)

    def encode_actions(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Mean and log variance, each (B, latent_dim), of the latent of the true action chunk."""
        actions, is_pad = batch[ACTION], batch[IS_PAD]
        head = [self.vae_encoder_cls_embed.weight.expand(len(actions), 1, -1)]
        if self.config.state_size is not None:
            head.append(self.vae_encoder_robot_state_input_proj(batch[STATE])[:, None])
        tokens = torch.cat([*head, self.vae_encoder_action_input_proj(actions)], dim=1)
        ignore = F.pad(is_pad, (len(head), 0), value=False)
        encoded = self.vae_encoder(tokens, self.vae_encoder_pos_enc, ignore)
        mean, log_variance = self.vae_encoder_latent_output_proj(encoded[:, 0]).chunk(2, dim=-1)
        return mean, log_variance

    def decode(self, batch: Mapping[str, Tensor], latent: Tensor | None) -> Tensor:
        """Normalized action chunk (B, C, A) for a latent (B, latent_dim), None meaning zero."""
        tokens, positions = self._observe(batch, latent)
        memory = self.encoder(tokens, positions)
        queries = self.decoder_pos_embed.weight[None]
        chunk: Tensor = self.action_head(self.decoder(memory, positions, queries))
        return chunk

    def fold_for_inference(self) -> Self:
        """The part of optimize_for_inference that is good for every runtime, in place.

        Not linear layers as convolutions: OpenVINO 2026.4 gives wrong actions for those.
        """
        self.eval().requires_grad_(False)
        if self.config.image_features:
            fold_batch_norm(self.backbone)
        for name in [name for name, _ in self.named_children() if name.startswith("vae_encoder")]:
            delattr(self, name)
        return self

    def round_weights(self) -> Self:
        """Keep matrices and kernels as bfloat16, for a forward under torch.autocast; in place.

        Norms, embeddings and positions stay float32. Without it every forward would round again.
        """
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                module.to(torch.bfloat16)
            elif isinstance(module, Attention):
                module.in_proj_weight.data = module.in_proj_weight.data.to(torch.bfloat16)
                module.in_proj_bias.data = module.in_proj_bias.data.to(torch.bfloat16)
        return self

    def optimize_for_inference(self) -> Self:
        """Make forward faster, in place, and return self; nothing but inference is possible after.

        Folds the frozen batch-norms into the convolutions, lays pictures out channels-last, runs
        linear layers as convolutions where that is faster, and drops the VAE encoder. Results move
        by rounding only; the state dict is no longer LeRobot's.
        """
        self.fold_for_inference()
        if self.config.image_features:
            self._layout = torch.channels_last
            self.backbone.to(memory_format=self._layout)  # type: ignore[call-overload]
        for module in self.modules():
            if isinstance(module, Linear | Attention):
                module.as_convolution = CONVOLUTION_WINS
        return self

    def _observe(self, batch: Mapping[str, Tensor], latent: Tensor | None) -> tuple[Tensor, Tensor]:
        """Encoder tokens (B, T, D) and positions (1, T, D): latent, state, environment, pixels."""
        if latent is None:
            weight = self.encoder_latent_input_proj.weight
            latent = weight.new_zeros(_batch_size(batch, self.config), self.config.latent_dim)
        vectors = [self.encoder_latent_input_proj(latent)]
        if self.config.state_size is not None:
            vectors.append(self.encoder_robot_state_input_proj(batch[STATE]))
        if self.config.environment_size is not None:
            vectors.append(self.encoder_env_state_input_proj(batch[ENVIRONMENT]))
        maps = [self._feature_map(batch[key]) for key in self.config.image_features]
        tokens = [torch.stack(vectors, dim=1), *(m.flatten(2).transpose(1, 2) for m in maps)]
        positions = [self.encoder_1d_feature_pos_embed.weight, *(self._table(m) for m in maps)]
        return torch.cat(tokens, dim=1), torch.cat(positions)[None]

    def _feature_map(self, picture: Tensor) -> Tensor:
        """Projected map (B, D, h, w) of one camera. (Cameras stacked in one pass gain no time.)"""
        # Channels-last is faster; the plain layout gives LeRobot's results to the bit.
        layout = torch.channels_last if self.training else self._layout
        picture = picture.contiguous(memory_format=layout)
        feature_map: Tensor = self.encoder_img_feat_input_proj(self.backbone(picture))
        return feature_map

    def _table(self, feature_map: Tensor) -> Tensor:
        """Positions (h * w, D) of a map's pixels: the same for every camera, so kept."""
        height, width = feature_map.shape[-2:]
        key = (height, width, feature_map.device)
        if key not in self._tables:
            table = sinusoid_2d(height, width, self.config.dim_model)
            self._tables[key] = table.to(feature_map.device)
        return self._tables[key]


# Measured with torch 2.13 on an AMD server core: oneDNN's 1x1 convolution reaches twice the rate of
# the MKL product behind linear layers. Elsewhere oneDNN may not be what runs convolutions.
CONVOLUTION_WINS = (
    torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    and platform.machine() in ("x86_64", "AMD64")
)


def linear(x: Tensor, weight: Tensor, bias: Tensor, as_convolution: bool) -> Tensor:
    """x (B, T, in) times weight (out, in) transposed, plus bias; the way taken moves rounding."""
    if not as_convolution or x.ndim != 3 or x.device.type != "cpu":
        return F.linear(x, weight, bias)
    # As a picture of one row: a view of x in channels-last order, and a view comes back.
    row = x.transpose(1, 2).unsqueeze(2)
    return F.conv2d(row, weight[:, :, None, None], bias).squeeze(2).transpose(1, 2)


class Linear(nn.Linear):
    """torch.nn.Linear that optimize_for_inference may turn into a convolution."""

    as_convolution = False

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias, self.as_convolution)


class Attention(nn.Module):
    """Multi-head attention over (B, T, D) with torch.nn.MultiheadAttention's tensor names.

    Written out: on a CPU torch's scaled_dot_product_attention is no faster at these sizes (602
    tokens, 8 heads of 64), and this order of operations gives LeRobot's results to the bit.
    """

    as_convolution = False

    def __init__(self, config: ActConfig) -> None:
        super().__init__()
        width = config.dim_model
        self.heads = config.n_heads
        self.dropout = config.dropout
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = Linear(width, width)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.xavier_uniform_(self.out_proj.weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, ignore: Tensor | None = None
    ) -> Tensor:
        """Attend from query (B, Tq, D) to key and value (B, Tk, D); `ignore` bool (B, Tk)."""
        width = query.shape[-1]
        # Together is faster. LeRobot projects them apart, which narrow networks round otherwise.
        if query is key and (self.training or self.as_convolution):
            q, k = self._project(query, 0, 2 * width).chunk(2, dim=-1)
        else:
            q, k = self._project(query, 0, width), self._project(key, width, 2 * width)
        v = self._project(value, 2 * width, 3 * width)
        scale = math.sqrt(1 / (self.out_proj.in_features // self.heads))
        scores = (self._split(q) * scale) @ self._split(k).transpose(-1, -2)
        if ignore is not None:
            scores = scores.masked_fill(ignore[:, None, None, :], -math.inf)
        weights = F.dropout(scores.softmax(dim=-1), self.dropout, self.training)
        attended = (weights @ self._split(v)).transpose(1, 2).flatten(2)
        return self.out_proj(attended)  # type: ignore[no-any-return]

    def _project(self, x: Tensor, first: int, last: int) -> Tensor:
        weight, bias = self.in_proj_weight[first:last], self.in_proj_bias[first:last]
        return linear(x, weight, bias, self.as_convolution)

    def _split(self, x: Tensor) -> Tensor:
        """(B, T, D) as (B, heads, T, D / heads)."""
        return x.view(*x.shape[:2], self.heads, -1).transpose(1, 2)


class FeedForward(nn.Module):
    """The two linear layers of a transformer block; its tensors belong to the block by name."""

    linear1: Linear
    linear2: Linear

    def __init__(self, config: ActConfig) -> None:
        super().__init__()
        self.pre_norm = config.pre_norm
        self.dropout = config.dropout
        self.activation = ACTIVATIONS[config.feedforward_activation]
        self.linear1 = Linear(config.dim_model, config.dim_feedforward)
        self.linear2 = Linear(config.dim_feedforward, config.dim_model)
        nn.init.xavier_uniform_(self.linear1.weight)
        nn.init.xavier_uniform_(self.linear2.weight)

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training)

    def _feed(self, x: Tensor) -> Tensor:
        return self.linear2(self._drop(self.activation(self.linear1(x))))  # type: ignore[no-any-return]


class EncoderLayer(FeedForward):
    """Self-attention and feed-forward, each with a residual and a layer norm after (or before)."""

    def __init__(self, config: ActConfig) -> None:
        super().__init__(config)
        self.self_attn = Attention(config)
        self.norm1 = nn.LayerNorm(config.dim_model)
        self.norm2 = nn.LayerNorm(config.dim_model)

    def forward(self, x: Tensor, positions: Tensor, ignore: Tensor | None = None) -> Tensor:
        if self.pre_norm:
            x = x + self._drop(self._attend(self.norm1(x), positions, ignore))
            return x + self._drop(self._feed(self.norm2(x)))
        x = self.norm1(x + self._drop(self._attend(x, positions, ignore)))
        return self.norm2(x + self._drop(self._feed(x)))  # type: ignore[no-any-return]

    def _attend(self, x: Tensor, positions: Tensor, ignore: Tensor | None) -> Tensor:
        placed = x + positions
        return self.self_attn(placed, placed, x, ignore)  # type: ignore[no-any-return]


class DecoderLayer(FeedForward):
    """Self-attention of the queries, attention to the encoder's memory, feed-forward."""

    def __init__(self, config: ActConfig) -> None:
        super().__init__(config)
        self.self_attn = Attention(config)
        self.multihead_attn = Attention(config)
        self.norm1 = nn.LayerNorm(config.dim_model)
        self.norm2 = nn.LayerNorm(config.dim_model)
        self.norm3 = nn.LayerNorm(config.dim_model)

    def forward(self, x: Tensor, queries: Tensor, keys: Tensor, memory: Tensor) -> Tensor:
        if self.pre_norm:
            x = x + self._drop(self._attend(self.norm1(x), queries))
            x = x + self._drop(self.multihead_attn(self.norm2(x) + queries, keys, memory))
            return x + self._drop(self._feed(self.norm3(x)))
        x = self.norm1(x + self._drop(self._attend(x, queries)))
        x = self.norm2(x + self._drop(self.multihead_attn(x + queries, keys, memory)))
        return self.norm3(x + self._drop(self._feed(x)))  # type: ignore[no-any-return]

    def _attend(self, x: Tensor, queries: Tensor) -> Tensor:
        placed = x + queries
        return self.self_attn(placed, placed, x)  # type: ignore[no-any-return]


class Encoder(nn.Module):
    """A stack of encoder layers; with pre-norm a last layer norm closes the residual path."""

    def __init__(self, config: ActConfig, depth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(EncoderLayer(config) for _ in range(depth))
        self.norm = nn.LayerNorm(config.dim_model) if config.pre_norm else nn.Identity()

    def forward(self, x: Tensor, positions: Tensor, ignore: Tensor | None = None) -> Tensor:
        """Tokens (B, T, D) at positions (1, T, D); those in `ignore` bool (B, T) are not read."""
        for layer in self.layers:
            x = layer(x, positions, ignore)
        return self.norm(x)  # type: ignore[no-any-return]


class Decoder(nn.Module):
    """A stack of decoder layers that starts from zeros: all it knows of a step is its query."""

    def __init__(self, config: ActConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(DecoderLayer(config) for _ in range(config.n_decoder_layers))
        self.norm = nn.LayerNorm(config.dim_model)

    def forward(self, memory: Tensor, positions: Tensor, queries: Tensor) -> Tensor:
        """Read memory (B, T, D) at positions (1, T, D) with queries (1, C, D); gives (B, C, D)."""
        keys = memory + positions
        x = torch.zeros_like(queries).expand(memory.shape[0], -1, -1)
        for layer in self.layers:
            x = layer(x, queries, keys, memory)
        return self.norm(x)  # type: ignore[no-any-return]


def sinusoid_1d(length: int, width: int) -> Tensor:
    """Sine and cosine positions (length, width) of Vaswani et al. 2017, arXiv:1706.03762, §3.5."""
    frequency = 10000 ** (-2 * torch.div(torch.arange(width), 2, rounding_mode="floor") / width)
    angle = torch.arange(length)[:, None].double() * frequency.double()
    return _sine_cosine(angle).float()


def sinusoid_2d(height: int, width: int, channels: int) -> Tensor:
    """Positions (height * width, channels) of pixels in row-major order: first half y, second x.

    Each axis runs from one step to a whole turn (DETR, Carion et al. 2020, arXiv:2005.12872).
    """
    half = channels // 2
    exponent = 2 * torch.div(torch.arange(half), 2, rounding_mode="floor") / half
    frequency = 10000.0**exponent

    def axis(length: int) -> Tensor:
        # float32 by name: traced for a graph, a length is a tensor and would make it float64.
        turn = torch.arange(1, length + 1, dtype=torch.float32) / (length + 1e-6) * (2 * math.pi)
        return _sine_cosine(turn[:, None] / frequency)

    y = axis(height)[:, None].expand(height, width, half)
    x = axis(width)[None].expand(height, width, half)
    return torch.cat([y, x], dim=-1).flatten(0, 1)


def _sine_cosine(angle: Tensor) -> Tensor:
    """Sine in even columns, cosine in odd ones."""
    even = torch.arange(angle.shape[-1]) % 2 == 0
    return torch.where(even, angle.sin(), angle.cos())


def _batch_size(batch: Mapping[str, Tensor], config: ActConfig) -> int:
    first = next(key for key in config.used_features if key != ACTION)
    return len(batch[first])
