"""The Diffusion Policy network (Chi et al. 2023, arXiv:2303.04137) in plain torch.

A window of observations becomes one vector: of each picture the expected places of some keypoints,
and the joint state. A U-Net over time takes that vector into each of its layers and turns noise
into actions in many passes. Tensor names and shapes are LeRobot's, without the prefix `diffusion.`
and with torchvision's names within the backbone, which LeRobot numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from armlet.policies.config.base import ACTION, ENVIRONMENT, STATE
from armlet.policies.config.diffusion import EPSILON, FINAL_GROUPS, DiffusionConfig

from .base import PolicyNetwork
from .denoising import Denoising
from .losses import IS_PAD, Draws, Loss, LossRule, mean_error, normal
from .resnet import BatchNorm, ResNet, fold_batch_norm, group_norm

Corner = tuple[int, int]

# Strides of the backbone in all.
_STRIDE = 32
# LeRobot's numbers of the backbone's parts; 2 and 3, which have no weights, are between.
_PARTS = {"conv1": 0, "bn1": 1, "layer1": 4, "layer2": 5, "layer3": 6, "layer4": 7}


class Diffusion(PolicyNetwork):
    """Normalized observations and noise in, normalized action chunks out.

    Inputs are a mapping by feature key, T being n_obs_steps, the newest last: `observation.state`
    float32 (B, T, n), every camera float32 (B, T, 3, H, W), optionally
    `observation.environment_state` (B, T, m).
    """

    def __init__(self, config: DiffusionConfig) -> None:
        super().__init__()
        self.config: DiffusionConfig = config
        width = (config.state_size or 0) + (config.environment_size or 0)
        cameras = len(config.image_features)
        if cameras and config.use_separate_rgb_encoder_per_camera:
            self.rgb_encoder: nn.Module = nn.ModuleList(Eye(config) for _ in range(cameras))
        elif cameras:
            self.rgb_encoder = Eye(config)
        width += 2 * config.spatial_softmax_num_keypoints * cameras
        self.unet = UNet(config, width * config.n_obs_steps)
        self._denoising = Denoising(config)

    @staticmethod
    def stored_name(name: str) -> str:
        before, backbone, part = name.partition("backbone.")
        if backbone:
            head, _, rest = part.partition(".")
            name = f"{before}{backbone}{_PARTS[head]}.{rest}"
        return f"diffusion.{name}"

    def fold_for_inference(self) -> Diffusion:
        super().fold_for_inference()
        fold_batch_norm(self)
        return self

    def optimize_for_inference(self) -> Diffusion:
        """Run convolutions over time as products; results move by rounding only."""
        self.fold_for_inference()
        for module in self.modules():
            if isinstance(module, TimeConv | TimeGrowth):
                module.as_product = True
        return self

    def forward(self, batch: Mapping[str, Tensor], noise: Tensor) -> Tensor:
        """Normalized action chunk float32 (B, C, n), the first row at the newest observation.

        noise (B, horizon, n) is where it starts; (B, K, horizon, n) where DDPM adds some between
        its K steps.
        """
        seen = self.observe(batch)
        draws = noise.unbind(1) if noise.ndim == 4 else (noise,)
        x, added = draws[0], draws[1:]
        for index, time in enumerate(self._denoising.times):
            times = torch.full(x.shape[:1], time, dtype=torch.long, device=x.device)
            predicted = self.unet(x, times, seen).to(x.dtype)
            fresh = added[index] if index < len(added) else None
            x = self._denoising.step(index, x, predicted, fresh)
        return x[:, self.config.n_obs_steps - 1 :]

    def draw(self, batch: Mapping[str, Tensor], generator: torch.Generator | None = None) -> Draws:
        """Corners, noise and times, in LeRobot's order: on the CPU a seed gives LeRobot's."""
        corners = self._draw_corners(batch, generator)
        actions = batch[ACTION]
        noise = normal(tuple(actions.shape), generator, actions)
        most = self.config.num_train_timesteps
        times = torch.randint(0, most, (len(actions),), generator=generator)
        return Draws(noise, times.to(actions.device), corners)

    def compute_loss(
        self,
        batch: Mapping[str, Tensor],
        rule: LossRule = LossRule.LEROBOT_0_6,
        draws: Draws | None = None,
    ) -> Loss:
        """See PolicyNetwork. The batch's `action` has `horizon` rows, the first at the instant of
        the window's first observation. Padded rows count, unless do_mask_loss_for_padding is on.
        """
        draws = draws or self.draw(batch)
        noise, times = draws.mixing()
        actions = batch[ACTION]
        seen = self.observe(batch, draws.corners)
        predicted = self.unet(self._denoising.mix(actions, noise, times), times, seen)
        target = noise if self.config.prediction_type == EPSILON else actions
        errors = F.mse_loss(predicted, target, reduction="none")
        if not self.config.do_mask_loss_for_padding:
            return Loss(errors.mean())
        return Loss(mean_error(errors, batch[IS_PAD], rule))

    def _draw_corners(
        self, batch: Mapping[str, Tensor], generator: torch.Generator | None
    ) -> tuple[Corner, ...]:
        """One for all pictures that an encoder sees."""
        config, crop = self.config, self.config.crop
        cameras = list(config.image_features)
        if not (self.training and crop and config.crop_is_random and cameras):
            return ()
        encoders = len(cameras) if config.use_separate_rgb_encoder_per_camera else 1
        whole = config.resize_shape or batch[cameras[0]].shape[-2:]
        height, width = (side - inside for side, inside in zip(whole, crop, strict=True))
        if height == width == 0:
            return ()

        def within(most: int) -> int:
            return int(torch.randint(0, most + 1, (1,), generator=generator))

        return tuple((within(height), within(width)) for _ in range(encoders))

    def observe(self, batch: Mapping[str, Tensor], corners: Sequence[Corner] = ()) -> Tensor:
        """The window as one vector (B, T * width): at each instant state, cameras, environment.

        corners are where each encoder crops; without them it does at the centre.
        """
        pieces = [batch[STATE]]
        if self.config.image_features:
            pieces.append(self._pictures(batch, corners))
        if self.config.environment_size is not None:
            pieces.append(batch[ENVIRONMENT])
        return torch.cat(pieces, dim=-1).flatten(start_dim=1)

    def _pictures(self, batch: Mapping[str, Tensor], corners: Sequence[Corner]) -> Tensor:
        """Keypoints (B, T, cameras * 2K) of all pictures."""
        views = [batch[key] for key in self.config.image_features]
        size = views[0].shape[:2]
        if isinstance(self.rgb_encoder, nn.ModuleList):
            places = corners or (None,) * len(views)
            each = zip(self.rgb_encoder, views, places, strict=True)
            features = [
                eye(view.flatten(0, 1).contiguous(), corner).reshape(*size, -1)
                for eye, view, corner in each
            ]
            return torch.cat(features, dim=-1)
        stacked = torch.stack(views, dim=2)
        corner = corners[0] if corners else None
        together: Tensor = self.rgb_encoder(stacked.flatten(0, 2).contiguous(), corner)
        return together.reshape(*size, -1)


class Eye(nn.Module):
    """Pictures (B, 3, H, W) to the expected places of keypoints, (B, 2K).

    A crop begins at the pixel `corner` (top, left), without one it is the centre.
    """

    def __init__(self, config: DiffusionConfig) -> None:
        super().__init__()
        self._resize, self._crop = config.resize_shape, config.crop
        norm = group_norm if config.use_group_norm else BatchNorm
        self.backbone = ResNet(config.vision_backbone, norm=norm)
        height, width = (math.ceil(side / _STRIDE) for side in config.seen_size)
        count = config.spatial_softmax_num_keypoints
        self.pool = SpatialSoftmax(self.backbone.channels, count, height, width)
        self.out = nn.Linear(2 * count, 2 * count)

    def forward(self, pictures: Tensor, corner: Corner | None = None) -> Tensor:
        if self._resize is not None and pictures.shape[-2:] != torch.Size(self._resize):
            pictures = F.interpolate(
                pictures, list(self._resize), mode="bilinear", align_corners=False, antialias=True
            )
        if self._crop is not None:
            pictures = cropped(pictures, self._crop, corner)
        keypoints = self.pool(self.backbone(pictures)).flatten(start_dim=1)
        return F.relu(self.out(keypoints))


def cropped(pictures: Tensor, size: tuple[int, int], corner: Corner | None) -> Tensor:
    """(..., height, width) of pictures from the pixel `corner` (top, left), or their centre."""
    if corner is None:
        return centre(pictures, *size)
    (height, width), (top, left) = size, corner
    return pictures[..., top : top + height, left : left + width]


def centre(pictures: Tensor, height: int, width: int) -> Tensor:
    """The middle (..., height, width) of pictures; halves of a pixel go to the even one."""
    top = round((pictures.shape[-2] - height) / 2)
    left = round((pictures.shape[-1] - width) / 2)
    return pictures[..., top : top + height, left : left + width]


class SpatialSoftmax(nn.Module):
    """Feature maps (B, C, h, w) to the mean place (B, K, 2) of K keypoints, x and y in -1..1.

    Finn et al. 2015, arXiv:1509.06113: a softmax over a map is a distribution of its place.
    """

    pos_grid: Tensor

    def __init__(self, channels: int, count: int, height: int, width: int) -> None:
        super().__init__()
        self.nets = nn.Conv2d(channels, count, kernel_size=1)
        grid = np.meshgrid(np.linspace(-1.0, 1.0, width), np.linspace(-1.0, 1.0, height))
        places = np.stack(grid, axis=-1).reshape(height * width, 2)
        self.register_buffer("pos_grid", torch.from_numpy(places).float())

    def forward(self, maps: Tensor) -> Tensor:
        maps = self.nets(maps)
        places: Tensor = F.softmax(maps.reshape(-1, len(self.pos_grid)), dim=-1) @ self.pos_grid
        return places.view(-1, maps.shape[1], 2)


class UNet(nn.Module):
    """Actions with noise (B, H, n), times (B,), a condition (B, width) to a prediction (B, H, n).

    The length is halved between the levels of `down_dims` and doubled on the way back, where each
    level also sees what it gave on the way down.
    """

    def __init__(self, config: DiffusionConfig, width: int) -> None:
        super().__init__()
        moment = config.diffusion_step_embed_dim
        self.diffusion_step_encoder = nn.Sequential(
            TimeEmbedding(moment),
            nn.Linear(moment, 4 * moment),
            nn.Mish(),
            nn.Linear(4 * moment, moment),
        )

        def block(inside: int, outside: int) -> FilmBlock:
            return FilmBlock(config, inside, outside, moment + width)

        dims = config.down_dims
        self.down_modules = nn.ModuleList()
        for inside, outside in zip((config.action_size, *dims), dims, strict=False):
            last = len(self.down_modules) + 1 == len(dims)
            shrink = nn.Identity() if last else TimeConv(outside, outside, 3, stride=2)
            self.down_modules.append(Level(block(inside, outside), block(outside, outside), shrink))
        self.mid_modules = nn.ModuleList(block(dims[-1], dims[-1]) for _ in range(2))
        self.up_modules = nn.ModuleList()
        back = list(zip(dims[1:], dims[:-1], strict=True))[::-1]
        for inside, outside in back:
            grow = TimeGrowth(outside)
            self.up_modules.append(Level(block(2 * inside, outside), block(outside, outside), grow))
        self.final_conv = nn.Sequential(
            ConvBlock(dims[0], dims[0], config.kernel_size, FINAL_GROUPS),
            nn.Conv1d(dims[0], config.action_size, 1),
        )

    def forward(self, x: Tensor, times: Tensor, condition: Tensor) -> Tensor:
        x = x.transpose(1, 2)
        given = torch.cat([self.diffusion_step_encoder(times), condition], dim=-1)
        kept: list[Tensor] = []
        for level in self.down_modules:
            whole, x = level(x, given)
            kept.append(whole)
        for middle in self.mid_modules:
            x = middle(x, given)
        for level in self.up_modules:
            _, x = level(torch.cat([x, kept.pop()], dim=1), given)
        x = self.final_conv(x)
        return x.transpose(1, 2)


class Level(nn.ModuleList):
    """Two blocks, and what changes the length after them."""

    def __init__(self, first: FilmBlock, second: FilmBlock, resize: nn.Module) -> None:
        super().__init__([first, second, resize])

    def forward(self, x: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """x (B, C, H) after the blocks, and that at the other length."""
        first, second, resize = self
        x = second(first(x, condition), condition)
        return x, resize(x)


class FilmBlock(nn.Module):
    """A residual block over time (B, C, H) whose middle is scaled and shifted by the condition.

    FiLM: Perez et al. 2018, arXiv:1709.07871; without use_film_scale_modulation it shifts only.
    """

    def __init__(self, config: DiffusionConfig, inside: int, outside: int, width: int) -> None:
        super().__init__()
        self._scales = config.use_film_scale_modulation
        size, groups = config.kernel_size, config.n_groups
        self.conv1 = ConvBlock(inside, outside, size, groups)
        self.cond_encoder = nn.Sequential(
            nn.Mish(), nn.Linear(width, 2 * outside if self._scales else outside)
        )
        self.conv2 = ConvBlock(outside, outside, size, groups)
        self.residual_conv = (
            nn.Identity() if inside == outside else nn.Conv1d(inside, outside, kernel_size=1)
        )

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        y = self.conv1(x)
        film = self.cond_encoder(condition)[..., None]
        if self._scales:
            scale, shift = film.chunk(2, dim=1)
            y = scale * y + shift
        else:
            y = y + film
        out: Tensor = self.conv2(y) + self.residual_conv(x)
        return out


class ConvBlock(nn.Module):
    """A convolution over time, group normalization, Mish."""

    def __init__(self, inside: int, outside: int, size: int, groups: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            TimeConv(inside, outside, size),
            nn.GroupNorm(groups, outside),
            nn.Mish(),
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.block(x)
        return y


class TimeConv(nn.Conv1d):
    """torch.nn.Conv1d, half its size padded, that optimize_for_inference runs as a matrix product.

    Of a few instants and wide layers the weights are what takes the time: torch's convolution lays
    them out again in every pass, which takes twice as long as reading them (torch 2.13, one core).
    """

    as_product = False

    def __init__(self, inside: int, outside: int, size: int, stride: int = 1) -> None:
        super().__init__(inside, outside, size, stride, padding=size // 2)

    def forward(self, x: Tensor) -> Tensor:
        if not self.as_product or x.device.type != "cpu":
            return super().forward(x)
        around = (self.kernel_size[0] // 2,) * 2
        seen = F.pad(x, around).unfold(2, self.kernel_size[0], self.stride[0])
        rows = seen.transpose(1, 2).flatten(2)
        return F.linear(rows, self.weight.flatten(1), self.bias).transpose(1, 2)


class TimeGrowth(nn.ConvTranspose1d):
    """Twice as many instants: a transposed convolution of size 4 and stride 2; see TimeConv."""

    as_product = False

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, kernel_size=4, stride=2, padding=1)

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        if not self.as_product or x.device.type != "cpu":
            return super().forward(x, output_size)
        # Instant t adds its part j to instant 2 t + j - 1.
        product = x.transpose(1, 2) @ self.weight.flatten(1)
        parts = product.view(*product.shape[:2], -1, 4).unbind(3)
        before, after = F.pad(parts[3], (0, 0, 1, -1)), F.pad(parts[0], (0, 0, -1, 1))
        both = torch.stack([parts[1] + before, parts[2] + after], dim=2).flatten(1, 2)
        grown = both if self.bias is None else both + self.bias
        return grown.transpose(1, 2)


class TimeEmbedding(nn.Module):
    """Sine and cosine (B, width) of times (B,), in waves from 1 to 10000 long."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self._half = width // 2

    def forward(self, times: Tensor) -> Tensor:
        falling = -math.log(10000) / (self._half - 1)
        waves = torch.exp(torch.arange(self._half, device=times.device) * falling)
        angles = times[:, None] * waves
        return torch.cat([angles.sin(), angles.cos()], dim=-1)
