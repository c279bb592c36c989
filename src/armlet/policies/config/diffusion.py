"""config.json of a Diffusion Policy (Chi et al. 2023, arXiv:2303.04137)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from armlet.findings import Code
from armlet.policies.config.errors import CheckpointError

from .base import BACKBONES, STATE, PolicyConfig, check_positive
from .strict_json import as_kind

DDPM, DDIM = "DDPM", "DDIM"
LINEAR, SCALED_LINEAR, COSINE = "linear", "scaled_linear", "squaredcos_cap_v2"
EPSILON, SAMPLE = "epsilon", "sample"

_CHOICES: Mapping[str, tuple[str, ...]] = {
    "vision_backbone": BACKBONES,
    "noise_scheduler_type": (DDPM, DDIM),
    "beta_schedule": (LINEAR, SCALED_LINEAR, COSINE),
    "prediction_type": (EPSILON, SAMPLE),
}
# Nothing in the weights bears these out, and they size what is allocated or computed.
_LARGEST = {"horizon": 10_000, "n_obs_steps": 100, "num_train_timesteps": 10_000}
# LeRobot's last convolution block always has as many groups.
FINAL_GROUPS = 8


def _list(value: object, kind: type, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise CheckpointError.found(
            Code.POLICY_SETTING_INVALID,
            where,
            "wrong kind of value",
            expected="a list of numbers",
            found=value,
            fix="restore the value LeRobot wrote",
        )
    return tuple(as_kind(item, kind, where) for item in value)


def _widths(value: object, where: str) -> tuple[int, ...]:
    return _list(value, int, where)


def _size(value: object, where: str) -> tuple[int, ...] | None:
    """Height and width in pixels, or null."""
    return None if value is None else _list(value, int, where)


def _betas(value: object, where: str) -> tuple[float, ...]:
    return _list(value, float, where)


def _normalization() -> dict[str, str]:
    return {"VISUAL": "MEAN_STD", "STATE": "MIN_MAX", "ACTION": "MIN_MAX"}


@dataclass(frozen=True)
class DiffusionConfig(PolicyConfig):
    """Every setting of LeRobot 0.4.4's Diffusion Policy, under its name and with its default.

    The network gives `horizon` actions, the first at the instant of the first of n_obs_steps
    observations; chunk_size are those from the newest observation on. Raises ValueError when the
    settings contradict each other or LeRobot itself could not run them.
    """

    TYPE: ClassVar[str] = "diffusion"
    TITLE: ClassVar[str] = "Diffusion Policy"
    READS: ClassVar[tuple[str, ...]] = ("STATE", "VISUAL", "ENV")
    WINDOWED: ClassVar[bool] = True
    # crop_shape was (84, 84) before 0.4.4; 0.6.0 changed the others.
    STATED: ClassVar[tuple[str, ...]] = (
        "horizon",
        "n_action_steps",
        "crop_shape",
        "use_group_norm",
        "use_separate_rgb_encoder_per_camera",
    )
    NEWER: ClassVar[tuple[str, ...]] = ("gradient_checkpointing",)
    READERS: ClassVar[Mapping[str, Callable[[object, str], Any]]] = {
        "down_dims": _widths,
        "resize_shape": _size,
        "crop_shape": _size,
        "optimizer_betas": _betas,
    }

    normalization_mapping: Mapping[str, str] = dataclasses.field(default_factory=_normalization)
    n_obs_steps: int = 2
    chunk_size: int = dataclasses.field(init=False, default=15)
    n_action_steps: int = 8
    horizon: int = 16
    drop_n_last_frames: int = 7
    vision_backbone: str = "resnet18"
    resize_shape: tuple[int, ...] | None = None
    crop_ratio: float = 1.0
    crop_shape: tuple[int, ...] | None = None
    crop_is_random: bool = True
    # Says where training started from. LeRobot downloads what it names even to load a finished
    # checkpoint, so None is the default here.
    pretrained_backbone_weights: str | None = None
    use_group_norm: bool = True
    spatial_softmax_num_keypoints: int = 32
    use_separate_rgb_encoder_per_camera: bool = False
    down_dims: tuple[int, ...] = (512, 1024, 2048)
    kernel_size: int = 5
    n_groups: int = 8
    diffusion_step_embed_dim: int = 128
    use_film_scale_modulation: bool = True
    noise_scheduler_type: str = DDPM
    num_train_timesteps: int = 100
    beta_schedule: str = COSINE
    beta_start: float = 0.0001
    beta_end: float = 0.02
    prediction_type: str = EPSILON
    clip_sample: bool = True
    clip_sample_range: float = 1.0
    num_inference_steps: int | None = None
    compile_model: bool = False
    compile_mode: str = "reduce-overhead"
    do_mask_loss_for_padding: bool = False
    optimizer_lr: float = 1e-4
    optimizer_betas: tuple[float, ...] = (0.95, 0.999)
    optimizer_eps: float = 1e-8
    optimizer_weight_decay: float = 1e-6
    scheduler_name: str = "cosine"
    scheduler_warmup_steps: int = 500

    def __post_init__(self) -> None:
        object.__setattr__(self, "chunk_size", self.horizon - self.n_obs_steps + 1)
        self._check_inputs()
        self._check_features()
        self._check_numbers()
        self._check_unet()
        self._check_pictures()

    @property
    def usual_strategy(self) -> str:
        """Chunks are independent samples: as in the paper, one is followed for n_action_steps."""
        return "n_action_steps"

    @property
    def crop(self) -> tuple[int, int] | None:
        """Height and width of the centre that the network sees of a picture; None: all of it."""
        if self.resize_shape is not None:
            if self.crop_ratio >= 1:
                return None
            height, width = (int(side * self.crop_ratio) for side in self.resize_shape)
            return height, width
        if self.crop_shape is None:
            return None
        height, width = self.crop_shape
        return height, width

    @property
    def seen_size(self) -> tuple[int, int]:
        """Height and width in pixels of what the backbone is given."""
        if (crop := self.crop) is not None:
            return crop
        size = self.resize_shape or next(iter(self.image_features.values())).shape[1:]
        height, width = size
        return height, width

    @property
    def picture_steps(self) -> tuple[str, ...]:
        steps = []
        if self.resize_shape is not None:
            height, width = self.resize_shape
            steps.append(f"scaled to {width}x{height} (bilinear, antialiased)")
        if self.crop is not None:
            height, width = self.crop
            steps.append(f"cropped to the {width}x{height} in the centre")
        return tuple(steps)

    @property
    def denoising(self) -> str:
        """`100 DDPM steps`"""
        return f"{self.steps} {self.noise_scheduler_type} steps"

    @property
    def steps(self) -> int:
        """Passes of the network from noise to chunk."""
        steps = self.num_inference_steps
        return self.num_train_timesteps if steps is None else steps

    def denoised(self, how: str) -> DiffusionConfig:
        """With another scheduler and number of steps: both read what the network was trained for.

        Chunks then differ from those of the file's own scheduler.
        """
        kind, _, steps = how.partition(":")
        if kind not in (DDPM, DDIM) or not steps.isascii() or not steps.isdigit():
            raise ValueError(f"denoising: expected DDIM:STEPS or DDPM:STEPS, found {how!r}")
        return dataclasses.replace(
            self, noise_scheduler_type=kind, num_inference_steps=int(steps[:6])
        )

    def to_json(self) -> dict[str, Any]:
        names = ("down_dims", "resize_shape", "crop_shape", "optimizer_betas")
        lists = {name: getattr(self, name) for name in names}
        return {
            **super().to_json(),
            **{name: value if value is None else list(value) for name, value in lists.items()},
        }

    def _check_features(self) -> None:
        if self.state_size is None:
            raise ValueError(f"Diffusion Policy needs {STATE} among its inputs")
        if not self.image_features and self.environment_size is None:
            raise ValueError(
                "Diffusion Policy needs at least one camera or an environment state among its "
                "inputs"
            )
        sizes = {feature.shape for feature in self.image_features.values()}
        if len(sizes) > 1:
            raise ValueError(
                f"cameras must have pictures of one size, found {sorted(sizes)}; record and train "
                "with one size"
            )

    def _check_numbers(self) -> None:
        names = ["horizon", "n_obs_steps", "n_action_steps", "kernel_size", "n_groups"]
        names += ["diffusion_step_embed_dim", "num_train_timesteps"]
        names += ["spatial_softmax_num_keypoints"]
        check_positive(self, names)
        for name, most in _LARGEST.items():
            if getattr(self, name) > most:
                raise ValueError(f"{name} must be at most {most}, found {getattr(self, name)}")
        if not 1 <= self.steps <= self.num_train_timesteps:
            raise ValueError(
                f"num_inference_steps must be 1 to num_train_timesteps "
                f"({self.num_train_timesteps}), found {self.num_inference_steps}"
            )
        if not 0 < self.beta_start <= self.beta_end < 1:
            raise ValueError(
                f"expected 0 < beta_start <= beta_end < 1, found {self.beta_start} and "
                f"{self.beta_end}"
            )
        if not self.clip_sample_range > 0:
            raise ValueError(f"clip_sample_range must be above 0, found {self.clip_sample_range}")
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(
                    f"{name} must be one of {', '.join(choices)}, found {getattr(self, name)}"
                )

    def _check_unet(self) -> None:
        halvings = 2 ** len(self.down_dims)
        if not self.down_dims or min(self.down_dims) < 1 or self.horizon % halvings:
            raise ValueError(
                f"expected positive down_dims and a horizon that is a multiple of 2 to the number "
                f"of them, found {list(self.down_dims)} and {self.horizon}"
            )
        odd = [n for n in self.down_dims if n % self.n_groups] or self.down_dims[0] % FINAL_GROUPS
        if odd:
            raise ValueError(
                f"down_dims must be multiples of n_groups ({self.n_groups}), the first also of "
                f"{FINAL_GROUPS}, found {list(self.down_dims)}"
            )
        if self.kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd, found {self.kernel_size}")
        if self.diffusion_step_embed_dim < 4 or self.diffusion_step_embed_dim % 2:
            raise ValueError(
                "diffusion_step_embed_dim must be even and at least 4, found "
                f"{self.diffusion_step_embed_dim}"
            )

    def _check_pictures(self) -> None:
        for name in ("resize_shape", "crop_shape"):
            size = getattr(self, name)
            if size is not None and (len(size) != 2 or min(size) < 1 or max(size) > 4096):
                raise ValueError(f"{name} must be [height, width] in pixels, found {list(size)}")
        if not 0 < self.crop_ratio <= 1:
            raise ValueError(f"crop_ratio must be above 0 and at most 1, found {self.crop_ratio}")
        crop = self.crop
        if crop is None or not self.image_features:
            return
        whole = self.resize_shape or next(iter(self.image_features.values())).shape[1:]
        if min(crop) < 1 or crop[0] > whole[0] or crop[1] > whole[1]:
            raise ValueError(
                f"crop_shape must fit into the pictures ({list(whole)}), found {list(crop)}"
            )
