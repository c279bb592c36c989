"""config.json of a SmolVLA checkpoint, and the config.json of the language model it builds on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from armlet.findings import Code
from armlet.policies.config.errors import CheckpointError

from .base import STATE, Feature, PolicyConfig, check_positive
from .releases import Version, parse_written
from .strict_json import as_kind, as_object, refuse_unknown

# LeRobot names the pictures a policy was trained without so, and gives them as blanks.
BLANK = "observation.images.empty_camera_"
ATTENTION_MODES = ("cross_attn", "self_attn")
SCHEDULES = ("ZEROS", "ONES", "LINEAR", "EXP")


@dataclass(frozen=True)
class RealTimeChunking:
    """How strongly a new chunk is held to the old one; names and defaults are LeRobot's."""

    prefix_attention_schedule: str = "LINEAR"
    max_guidance_weight: float = 10.0
    execution_horizon: int = 10

    def __post_init__(self) -> None:
        if self.prefix_attention_schedule not in SCHEDULES:
            raise ValueError(
                f"prefix_attention_schedule must be one of {', '.join(SCHEDULES)}, "
                f"found {self.prefix_attention_schedule}"
            )
        if not self.max_guidance_weight > 0 or self.execution_horizon < 1:
            raise ValueError(
                "max_guidance_weight must be above 0 and execution_horizon at least 1, found "
                f"{self.max_guidance_weight} and {self.execution_horizon}"
            )


def _pair(value: object, where: str) -> tuple[int, int]:
    if not isinstance(value, list) or len(value) != 2:
        raise CheckpointError.found(
            Code.POLICY_SETTING_INVALID,
            where,
            "wrong kind of value",
            expected="[width, height]; LeRobot cannot load null",
            found=value,
            fix="restore the value LeRobot wrote",
        )
    width, height = (as_kind(n, int, where) for n in value)
    return width, height


def _betas(value: object, where: str) -> tuple[float, float]:
    if not isinstance(value, list) or len(value) != 2:
        raise CheckpointError.found(
            Code.POLICY_SETTING_INVALID,
            where,
            "wrong kind of value",
            expected="two numbers",
            found=value,
            fix="restore the value LeRobot wrote",
        )
    first, second = (as_kind(n, float, where) for n in value)
    return first, second


def _chunking(value: object, where: str) -> RealTimeChunking | None:
    if value is None:
        return None
    content = as_object(value, where)
    names = {field.name: field.type for field in dataclasses.fields(RealTimeChunking)}
    refuse_unknown(content, (*names, "enabled", "mode", "debug", "debug_maxlen"), where)
    if content.get("mode", "guided") != "guided":
        raise CheckpointError.found(
            Code.POLICY_SETTING_UNSUPPORTED,
            where,
            "mode of real-time chunking",
            expected="'guided'",
            found=repr(content["mode"]),
            fix="a policy trained for it reads the old chunk as an input: armlet has no such one",
        )
    kinds = {"str": str, "float": float, "int": int}
    settings = {
        key: as_kind(content[key], kinds[str(kind)], f"{where}: {key}")
        for key, kind in names.items()
        if key in content
    }
    try:
        return RealTimeChunking(**settings)
    except ValueError as error:
        raise CheckpointError.of_settings(error, where) from error


def _smolvla_normalization() -> dict[str, str]:
    return {"VISUAL": "IDENTITY", "STATE": "MEAN_STD", "ACTION": "MEAN_STD"}


@dataclass(frozen=True)
class SmolVlaConfig(PolicyConfig):
    """Every setting of LeRobot 0.4.4's SmolVLA, under its name and with its default.

    Raises ValueError when the settings contradict each other or LeRobot itself could not run them.
    """

    TYPE: ClassVar[str] = "smolvla"
    TITLE: ClassVar[str] = "SmolVLA"
    LACKS_CAMERAS: ClassVar[bool] = True
    READS: ClassVar[tuple[str, ...]] = ("STATE", "VISUAL")
    READERS: ClassVar[Mapping[str, Callable[[object, str], Any]]] = {
        "resize_imgs_with_padding": _pair,
        "optimizer_betas": _betas,
        "rtc_config": _chunking,
    }

    normalization_mapping: Mapping[str, str] = dataclasses.field(
        default_factory=_smolvla_normalization
    )
    chunk_size: int = 50
    n_action_steps: int = 50
    max_state_dim: int = 32
    max_action_dim: int = 32
    resize_imgs_with_padding: tuple[int, int] = (512, 512)
    empty_cameras: int = 0
    adapt_to_pi_aloha: bool = False
    use_delta_joint_actions_aloha: bool = False
    tokenizer_max_length: int = 48
    num_steps: int = 10
    use_cache: bool = True
    freeze_vision_encoder: bool = True
    train_expert_only: bool = True
    train_state_proj: bool = True
    optimizer_lr: float = 1e-4
    optimizer_betas: tuple[float, float] = (0.9, 0.95)
    optimizer_eps: float = 1e-8
    optimizer_weight_decay: float = 1e-10
    optimizer_grad_clip_norm: float = 10
    scheduler_warmup_steps: int = 1000
    scheduler_decay_steps: int = 30000
    scheduler_decay_lr: float = 2.5e-6
    vlm_model_name: str = "HuggingFaceTB/SmolVLM2-500M-Video-Instruct"
    load_vlm_weights: bool = False
    add_image_special_tokens: bool = False
    attention_mode: str = "cross_attn"
    prefix_length: int = -1
    pad_language_to: str = "longest"
    num_expert_layers: int = -1
    num_vlm_layers: int = 16
    self_attn_every_n_layers: int = 2
    expert_width_multiplier: float = 0.75
    min_period: float = 4e-3
    max_period: float = 4.0
    rtc_config: RealTimeChunking | None = None
    compile_model: bool = False
    compile_mode: str = "max-autotune"

    def __post_init__(self) -> None:
        self._check_inputs()
        names = ["chunk_size", "n_action_steps", "max_state_dim", "max_action_dim", "num_steps"]
        check_positive(self, [*names, "tokenizer_max_length"])
        self._check_sizes()
        self._check_choices()

    @property
    def image_features(self) -> dict[str, Feature]:
        """Cameras in order, without the empty_camera_<i>, which stand for no picture at all."""
        cameras = super().image_features
        return {key: f for key, f in cameras.items() if not key.startswith(BLANK)}

    @property
    def resize(self) -> str:
        width, height = self.resize_imgs_with_padding
        return f"pad {width}x{height}"

    @property
    def picture_steps(self) -> tuple[str, ...]:
        width, height = self.resize_imgs_with_padding
        return (
            f"scaled to fit {width}x{height} (bilinear, not antialiased), zeros left and on top",
            "x * 2 - 1",
        )

    @property
    def task_steps(self) -> tuple[str, ...]:
        return (
            "a new line at its end, if it has none",
            f"tokens of the language model's tokenizer.json, at most {self.tokenizer_max_length}",
        )

    @property
    def blank_features(self) -> tuple[str, ...]:
        """The keys that stand for absent cameras."""
        return tuple(key for key in self.input_features if key.startswith(BLANK))

    @property
    def blanks(self) -> int:
        """How many blank pictures the prefix holds after the cameras'."""
        return min(len(self.blank_features), self.empty_cameras)

    def without(self, cameras: tuple[str, ...]) -> SmolVlaConfig:
        """This policy as run without the cameras of these feature keys, in LeRobot's way.

        An absent camera is a blank picture as far as `empty_cameras` go, then nothing at all.
        """
        unused = iter(f"{BLANK}{i}" for i in range(len(self.input_features), 10**6))
        return self.renamed({key: next(unused) for key in cameras})

    def to_json(self) -> dict[str, Any]:
        rtc = self.rtc_config
        stated = {
            "resize_imgs_with_padding": list(self.resize_imgs_with_padding),
            "optimizer_betas": list(self.optimizer_betas),
            "rtc_config": None if rtc is None else {"enabled": True, **dataclasses.asdict(rtc)},
        }
        return {**super().to_json(), **stated}

    def _check_sizes(self) -> None:
        if not self.image_features:
            raise ValueError("SmolVLA needs at least one camera among its inputs")
        if self.state_size is None:
            raise ValueError(f"SmolVLA needs {STATE} among its inputs")
        for name, size, most in (
            ("state", self.state_size, self.max_state_dim),
            ("action", self.action_size, self.max_action_dim),
        ):
            if size > most:
                raise ValueError(f"max_{name}_dim is {most}, but the {name} has {size} values")
        width, height = self.resize_imgs_with_padding
        if width < 1 or width != height:
            raise ValueError(
                "resize_imgs_with_padding must be two equal positive numbers (the network folds "
                f"its tokens as a square), found {width} and {height}"
            )
        if not 0 < self.min_period < self.max_period or not 0 < self.expert_width_multiplier <= 8:
            raise ValueError(
                "expected 0 < min_period < max_period and 0 < expert_width_multiplier <= 8, found "
                f"{self.min_period}, {self.max_period} and {self.expert_width_multiplier}"
            )

    def _check_choices(self) -> None:
        if self.attention_mode not in ATTENTION_MODES:
            raise ValueError(
                f"attention_mode must be one of {', '.join(ATTENTION_MODES)}, "
                f"found {self.attention_mode}"
            )
        if self.pad_language_to not in ("longest", "max_length"):
            raise ValueError(
                f"pad_language_to must be longest or max_length, found {self.pad_language_to}"
            )
        if self.adapt_to_pi_aloha or self.use_delta_joint_actions_aloha:
            raise ValueError(
                "adapt_to_pi_aloha and use_delta_joint_actions_aloha change joints of a 14-joint "
                "robot inside the policy; armlet has no such arm: expected false for both"
            )
        if not self.use_cache:
            raise ValueError(
                "use_cache must be true, found false: LeRobot itself cannot run such a policy"
            )
        # Nothing in the weights bears these out, and the first two size what is allocated.
        side = self.resize_imgs_with_padding[0]
        limits = (("chunk_size", self.chunk_size, 10_000), ("num_steps", self.num_steps, 1000))
        for name, size, most in (*limits, ("resize_imgs_with_padding", side, 4096)):
            if size > most:
                raise ValueError(f"{name} must be at most {most}, found {size}")


@dataclass(frozen=True)
class TextShape:
    """Sizes of the language model's layers (Llama)."""

    hidden_size: int = 4096
    intermediate_size: int = 11008
    num_hidden_layers: int = 32
    num_attention_heads: int = 32
    num_key_value_heads: int = 32
    head_dim: int = 128
    vocab_size: int = 32000
    rms_norm_eps: float = 1e-6


@dataclass(frozen=True)
class VisionShape:
    """Sizes of the vision tower (SigLIP)."""

    hidden_size: int = 1152
    intermediate_size: int = 3072
    num_hidden_layers: int = 12
    num_attention_heads: int = 16
    image_size: int = 224
    patch_size: int = 32
    layer_norm_eps: float = 1e-6


@dataclass(frozen=True)
class VlmConfig:
    """The language model's sizes; what a file leaves out is what transformers 4.57 fills in.

    vision_dtype is the precision the file states for the vision tower, None if it states none;
    written the transformers that wrote the file.
    """

    text: TextShape = TextShape()
    vision: VisionShape = VisionShape()
    scale_factor: int = 2
    vision_dtype: str | None = None
    written: Version | None = None


# Settings of a language model that would change the computation, and the only value known here.
_FIXED: Mapping[str, Mapping[str, Any]] = {
    "text_config": {
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "qk_layer_norms": False,
        "use_resampler": False,
    },
    "vision_config": {"hidden_act": "gelu_pytorch_tanh", "num_channels": 3},
}


def parse_vlm(content: Mapping[str, Any], where: object) -> VlmConfig:
    """VlmConfig from a SmolVLM config.json; keys that change no computation here are passed over.

    Raises CheckpointError, naming `where`, for another model and for sizes that do not fit.
    """
    if content.get("model_type") != "smolvlm":
        raise CheckpointError.found(
            Code.POLICY_LANGUAGE_MODEL,
            where,
            "model_type",
            expected="'smolvlm', the language model of SmolVLA",
            found=repr(content.get("model_type")),
            fix="give the folder of the model that vlm_model_name names",
        )
    text = _sizes(content, "text_config", TextShape, where)
    stated = as_object(content.get("text_config"), where)
    heads = text["num_attention_heads"]
    # transformers derives these two from the others where a file leaves them out.
    text["num_key_value_heads"] = stated.get("num_key_value_heads", heads)
    text["head_dim"] = stated.get("head_dim") or text["hidden_size"] // heads
    vision = _sizes(content, "vision_config", VisionShape, where)
    scale = as_kind(content.get("scale_factor", 2), int, f"{where}: scale_factor")
    written = parse_written(content.get("transformers_version"))
    vlm = VlmConfig(
        TextShape(**text), VisionShape(**vision), scale, _dtype(content, where), written
    )
    _check_vlm(vlm, where)
    return vlm


def _sizes(
    content: Mapping[str, Any], part: str, kind: type[TextShape] | type[VisionShape], where: object
) -> dict[str, Any]:
    stated = as_object(content.get(part), f"{where}: {part}")
    for key, only in _FIXED[part].items():
        if stated.get(key, only) != only:
            raise CheckpointError.found(
                Code.POLICY_LANGUAGE_MODEL,
                f"{where}: {part}",
                key,
                expected=repr(only),
                found=repr(stated[key]),
                fix="this network is not the one armlet has: give SmolVLM2's own config.json",
            )
    found = {}
    for field in dataclasses.fields(kind):
        value = stated.get(field.name, field.default)
        hint = float if field.name.endswith("_eps") else int
        found[field.name] = as_kind(value, hint, f"{where}: {part}: {field.name}")
    return found


def _dtype(content: Mapping[str, Any], where: object) -> str | None:
    stated = as_object(content["vision_config"], where)
    dtype = stated.get("dtype", stated.get("torch_dtype"))
    if dtype not in (None, "float32", "bfloat16", "float16"):
        raise CheckpointError.found(
            Code.POLICY_LANGUAGE_MODEL,
            f"{where}: vision_config",
            "dtype",
            expected="float32, bfloat16 or float16",
            found=repr(dtype),
            fix="restore the file of the language model",
        )
    return None if dtype is None else str(dtype)


def _check_vlm(vlm: VlmConfig, where: object) -> None:
    text, vision = vlm.text, vlm.vision
    numbers = {**dataclasses.asdict(text), **dataclasses.asdict(vision), "scale": vlm.scale_factor}
    fits = min(numbers.values()) > 0
    fits = fits and text.num_attention_heads % text.num_key_value_heads == 0
    fits = fits and text.head_dim % 2 == 0
    fits = fits and vision.hidden_size % vision.num_attention_heads == 0
    fits = fits and vision.image_size % (vision.patch_size * vlm.scale_factor) == 0
    if not fits:
        raise CheckpointError.found(
            Code.POLICY_LANGUAGE_MODEL,
            where,
            "sizes",
            expected="positive sizes that divide each other (heads, patches, scale_factor)",
            found=vlm,
            fix="restore the file of the language model",
        )
