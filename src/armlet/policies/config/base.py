"""config.json of a checkpoint: what network, from which inputs, to which actions."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from armlet.findings import Code
from armlet.policies.config.errors import CheckpointError

from .strict_json import as_kind, as_object, refuse_unknown

STATE = "observation.state"
ENVIRONMENT = "observation.environment_state"
ACTION = "action"
IMAGE_PREFIX = "observation.images."

MODES = ("MEAN_STD", "MIN_MAX", "IDENTITY", "QUANTILES", "QUANTILE10")
BACKBONES = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")

# Where LeRobot keeps house: nothing here changes what the network computes. 0.3.x lacks use_peft
# and pretrained_path, which then take these defaults; newer ones add the keys of _NEWER.
_HOUSEKEEPING: Mapping[str, Any] = {
    "device": "cpu",
    "use_amp": False,
    "use_peft": False,
    "push_to_hub": False,
    "repo_id": None,
    "private": None,
    "tags": None,
    "license": None,
    "pretrained_path": None,
}
# What main (0.6.2-dev, 2026-08) writes beside the keys of 0.4.4: where training started from.
_NEWER = ("pretrained_revision",)
_MAPPINGS = ("input_features", "output_features", "normalization_mapping")


@dataclass(frozen=True)
class Feature:
    """Kind (STATE, VISUAL, ENV, ACTION) and shape of one input or output; VISUAL is (3, H, W)."""

    type: str
    shape: tuple[int, ...]

    def to_json(self) -> dict[str, Any]:
        return {"type": self.type, "shape": list(self.shape)}


def camera_name(key: str) -> str:
    """Camera name of a feature key: `observation.images.front` -> `front`."""
    return key.removeprefix(IMAGE_PREFIX)


def default_normalization() -> dict[str, str]:
    return dict.fromkeys(("VISUAL", "STATE", "ACTION"), "MEAN_STD")


@dataclass(frozen=True)
class PolicyConfig:
    """What every kind of policy states, under LeRobot's names; its kinds are the subclasses.

    The order of VISUAL keys in input_features is the camera order.
    """

    TYPE: ClassVar[str]
    # How a person calls the kind of policy, and the input types it reads.
    TITLE: ClassVar[str]
    READS: ClassVar[tuple[str, ...]]
    # How settings are read that are neither a number, a text nor a truth value.
    READERS: ClassVar[Mapping[str, Callable[[object, str], Any]]] = {}
    # Settings whose default changed between LeRobot's versions: config.json must state them.
    STATED: ClassVar[tuple[str, ...]] = ()
    # Keys that LeRobot wrote into it after 0.4.4 and that change no action.
    NEWER: ClassVar[tuple[str, ...]] = ()
    # Whether network inputs have a dimension n_obs_steps: what was seen then, the newest last.
    WINDOWED: ClassVar[bool] = False
    # Whether it may be run without some of its cameras, see `without`.
    LACKS_CAMERAS: ClassVar[bool] = False

    input_features: Mapping[str, Feature]
    output_features: Mapping[str, Feature]
    normalization_mapping: Mapping[str, str] = dataclasses.field(
        default_factory=default_normalization
    )
    n_obs_steps: int = 1
    chunk_size: int = 100
    n_action_steps: int = 100

    @property
    def resize(self) -> str:
        """What the network does to the size of pictures; with "none" they must have their own."""
        return "none"

    @property
    def picture_steps(self) -> tuple[str, ...]:
        """For people, what the network does to normalized pictures first, a line each."""
        return ()

    @property
    def task_steps(self) -> tuple[str, ...]:
        """For people, what becomes of the task's words, a line each; none where none are read."""
        return ()

    @property
    def temporal_ensemble_coeff(self) -> float | None:
        """Weight of older predictions in a blend of chunks; None: chunks are played one by one."""
        return None

    @property
    def usual_strategy(self) -> str | None:
        """How chunks are executed where nobody says it; None: as for any such network."""
        return None

    @property
    def denoising(self) -> str:
        """How a chunk comes of noise, "" where there is no choice."""
        return ""

    @property
    def blank_features(self) -> tuple[str, ...]:
        """The keys that stand for absent cameras."""
        return ()

    @property
    def state_size(self) -> int | None:
        """Length of the joint state vector, None if the policy does not read it."""
        feature = self.input_features.get(STATE)
        return None if feature is None else feature.shape[0]

    @property
    def environment_size(self) -> int | None:
        """Length of the environment state vector, None if the policy does not read it."""
        feature = self.input_features.get(ENVIRONMENT)
        return None if feature is None or "ENV" not in self.READS else feature.shape[0]

    @property
    def action_size(self) -> int:
        return self.output_features[ACTION].shape[0]

    @property
    def image_features(self) -> dict[str, Feature]:
        """The cameras the policy must be given, by feature key, in camera order."""
        return {key: f for key, f in self.input_features.items() if f.type == "VISUAL"}

    @property
    def used_features(self) -> dict[str, Feature]:
        """The inputs the network reads and `action`.

        LeRobot lists every `observation.*` column of the dataset as an input; policies read the
        joint state, some the environment state, and the pictures, and ignore the rest.
        """
        cameras = self.image_features
        vectors = (STATE, ENVIRONMENT) if "ENV" in self.READS else (STATE,)
        inputs = {
            key: feature
            for key, feature in self.input_features.items()
            if key in cameras or key in vectors
        }
        return {**inputs, ACTION: self.output_features[ACTION]}

    def renamed(self, names: Mapping[str, str]) -> Self:
        """The same configuration with input feature keys replaced as in `names`."""
        return dataclasses.replace(
            self,
            input_features={names.get(k, k): feature for k, feature in self.input_features.items()},
        )

    def without(self, cameras: tuple[str, ...]) -> Self:
        """This policy as run without the cameras of these feature keys.

        Raises ValueError for cameras, or a policy, that cannot be run so.
        """
        raise ValueError(f"{self.TITLE} needs all of its cameras")

    def denoised(self, how: str) -> Self:
        """This policy with another way from noise to chunk than its file states: `DDIM:10`.

        Raises ValueError for a way, or a policy, for which there is none.
        """
        raise ValueError(f"denoising: {self.TITLE} has one way to its chunk: leave it out")

    def to_json(self) -> dict[str, Any]:
        """Content of config.json, every key, as LeRobot 0.4.4 reads it."""
        features = {
            name: {key: feature.to_json() for key, feature in getattr(self, name).items()}
            for name in ("input_features", "output_features")
        }
        own = {name: getattr(self, name) for name in _settings(type(self))}
        mapping = {"normalization_mapping": dict(self.normalization_mapping)}
        return {"type": self.TYPE, **own, **features, **mapping, **_HOUSEKEEPING}

    def _check_inputs(self) -> None:
        """Raise ValueError for features or a normalization_mapping no such policy has."""
        _check_features(self)


@dataclass(frozen=True)
class ActConfig(PolicyConfig):
    """Every setting of LeRobot 0.4.4's ACT, under its name and with its default.

    Raises ValueError when the settings contradict each other.
    """

    TYPE: ClassVar[str] = "act"
    TITLE: ClassVar[str] = "ACT"
    READS: ClassVar[tuple[str, ...]] = ("STATE", "VISUAL", "ENV")

    vision_backbone: str = "resnet18"
    # Says where training started from. LeRobot downloads what it names even to load a finished
    # checkpoint, so None is the default here.
    pretrained_backbone_weights: str | None = None
    replace_final_stride_with_dilation: bool = False
    pre_norm: bool = False
    dim_model: int = 512
    n_heads: int = 8
    dim_feedforward: int = 3200
    feedforward_activation: str = "relu"
    n_encoder_layers: int = 4
    n_decoder_layers: int = 1
    use_vae: bool = True
    latent_dim: int = 32
    n_vae_encoder_layers: int = 4
    temporal_ensemble_coeff: float | None = None
    dropout: float = 0.1
    kl_weight: float = 10.0
    optimizer_lr: float = 1e-5
    optimizer_weight_decay: float = 1e-4
    optimizer_lr_backbone: float = 1e-5

    def __post_init__(self) -> None:
        self._check_inputs()
        if not self.image_features and self.environment_size is None:
            raise ValueError(
                "ACT needs at least one camera or an environment state among its inputs"
            )
        _check_numbers(self)
        _check_choices(self)


def parse(content: Mapping[str, Any], where: object, kind: type[PolicyConfig]) -> PolicyConfig:
    """The configuration in the object of config.json; missing settings take LeRobot's defaults.

    kind is that of its `type`, see registry. Raises CheckpointError, naming `where`, for unknown
    keys, wrong kinds of values and settings that contradict each other.
    """
    content = {key: value for key, value in content.items() if key != "type"}
    resolved = typing.get_type_hints(kind)
    hints = {name: resolved[name] for name in _settings(kind)}
    refuse_unknown(content, {*hints, *_HOUSEKEEPING, *_NEWER, *kind.NEWER}, where)
    for key in kind.STATED:
        if key not in content:
            raise CheckpointError.found(
                Code.POLICY_SETTING_INVALID,
                where,
                key,
                expected="a value: LeRobot's default for it changed, and it always writes it",
                found="no such key",
                fix="restore the file LeRobot wrote",
            )
    settings: dict[str, Any] = {
        key: as_kind(value, hints[key], f"{where}: {key}")
        for key, value in content.items()
        if key in hints and key not in (*_MAPPINGS, *kind.READERS)
    }
    for key in kind.READERS.keys() & content.keys():
        settings[key] = kind.READERS[key](content[key], f"{where}: {key}")
    for key in ("input_features", "output_features"):
        settings[key] = parse_features(content.get(key), f"{where}: {key}")
    if "normalization_mapping" in content:
        settings["normalization_mapping"] = parse_modes(
            content["normalization_mapping"], f"{where}: normalization_mapping"
        )
    try:
        return kind(**settings)
    except ValueError as error:
        raise CheckpointError.of_settings(error, where) from error


def newer_keys(content: Mapping[str, Any], kind: type[PolicyConfig]) -> list[str]:
    """A line for every key of config.json that is newer than 0.4.4 and changes nothing here."""
    newer = [key for key in (*_NEWER, *kind.NEWER) if key in content]
    return [f"{key} is newer than LeRobot 0.4.4 and of no effect" for key in newer]


def parse_features(content: object, where: str) -> dict[str, Feature]:
    """Features from their JSON form, order kept. Raises CheckpointError naming `where`."""
    features = {}
    for key, entry in as_object(content, where).items():
        entry = as_object(entry, f"{where}: {key}")
        refuse_unknown(entry, ("type", "shape"), f"{where}: {key}")
        shape = entry.get("shape")
        if not isinstance(shape, list) or any(type(n) is not int or n < 1 for n in shape):
            raise CheckpointError.found(
                Code.POLICY_SETTING_INVALID,
                f"{where}: {key}",
                "shape",
                expected="a list of positive integers",
                found=shape,
                fix="restore the file LeRobot wrote",
            )
        kind = as_kind(entry.get("type"), str, f"{where}: {key}: type")
        features[key] = Feature(kind, tuple(shape))
    return features


def parse_modes(content: object, where: str) -> dict[str, str]:
    """Normalization modes by feature type. Raises CheckpointError for a mode LeRobot has not."""
    modes = as_object(content, where)
    for kind, mode in modes.items():
        if mode not in MODES:
            raise CheckpointError.found(
                Code.POLICY_SETTING_INVALID,
                where,
                f"normalization mode of {kind}",
                expected=f"one of {', '.join(MODES)}",
                found=repr(mode),
                fix="restore the file LeRobot wrote",
            )
    return modes


def _settings(kind: type[PolicyConfig]) -> list[str]:
    """What config.json states of such a policy; fields that are computed are not among it."""
    return [field.name for field in dataclasses.fields(kind) if field.init]


def _check_features(config: PolicyConfig) -> None:
    action = config.output_features.get(ACTION)
    if action is None or action.type != "ACTION" or len(action.shape) != 1:
        raise ValueError(
            f"output_features must hold '{ACTION}' of type ACTION and shape [n], "
            f"found {dict(config.output_features)}; train on a dataset with an '{ACTION}' column"
        )
    for key, kind in ((STATE, "STATE"), (ENVIRONMENT, "ENV")):
        feature = config.input_features.get(key)
        if feature is not None and (feature.type != kind or len(feature.shape) != 1):
            raise ValueError(f"{key} must be of type {kind} and shape [n], found {feature}")
    for key, feature in config.input_features.items():
        _check_input(key, feature)
    missing = {f.type for f in config.used_features.values()} - set(config.normalization_mapping)
    if missing:
        raise ValueError(
            f"normalization_mapping has no entry for {', '.join(sorted(missing))}, found "
            f"{dict(config.normalization_mapping)}; LeRobot would leave these values as they are "
            "in silence: add the mode the policy was trained with (IDENTITY if none)"
        )


def _check_input(key: str, feature: Feature) -> None:
    if feature.type not in ("STATE", "VISUAL", "ENV"):
        raise ValueError(
            f"input {key} is of type {feature.type}, policies here read STATE, VISUAL and ENV"
        )
    if feature.type == "ENV" and key != ENVIRONMENT:
        raise ValueError(f"the environment state must be named {ENVIRONMENT}, found {key}")
    if feature.type == "VISUAL" and (len(feature.shape) != 3 or feature.shape[0] != 3):
        raise ValueError(
            f"camera {key} must have shape [3, height, width], found {list(feature.shape)}; "
            "channels come first in config.json, and depth pictures are not supported"
        )


def check_positive(config: PolicyConfig, names: Sequence[str]) -> None:
    """Raise ValueError unless the settings `names` are at least 1 and the chunk fits its use."""
    for name in names:
        if getattr(config, name) < 1:
            raise ValueError(f"{name} must be at least 1, found {getattr(config, name)}")
    if config.n_obs_steps != 1 and not config.WINDOWED:
        raise ValueError(f"n_obs_steps must be 1 for {config.TITLE}, found {config.n_obs_steps}")
    if config.n_action_steps > config.chunk_size:
        raise ValueError(
            f"n_action_steps must not exceed chunk_size ({config.chunk_size}), "
            f"found {config.n_action_steps}"
        )


def _check_numbers(config: ActConfig) -> None:
    positive = ["chunk_size", "n_action_steps", "dim_model", "n_heads", "dim_feedforward"]
    positive += ["n_encoder_layers", "n_decoder_layers", "latent_dim", "n_vae_encoder_layers"]
    check_positive(config, positive)
    if config.temporal_ensemble_coeff is not None and config.n_action_steps != 1:
        raise ValueError(
            "temporal ensembling asks the policy at every step: n_action_steps must be 1, "
            f"found {config.n_action_steps}"
        )
    # Heads share the width equally; pixel positions need pairs of sine and cosine for two axes.
    if config.dim_model % config.n_heads or config.dim_model % 4:
        raise ValueError(
            f"dim_model must be a multiple of n_heads ({config.n_heads}) and of 4, "
            f"found {config.dim_model}"
        )
    if not 0 <= config.dropout < 1:
        raise ValueError(f"dropout must be in [0, 1), found {config.dropout}")


def _check_choices(config: ActConfig) -> None:
    if config.vision_backbone not in BACKBONES:
        raise ValueError(
            f"vision_backbone must be one of {', '.join(BACKBONES)}, found {config.vision_backbone}"
        )
    if config.replace_final_stride_with_dilation and config.vision_backbone in BACKBONES[:2]:
        raise ValueError(
            f"replace_final_stride_with_dilation exists from resnet50 on, "
            f"found it with {config.vision_backbone}"
        )
    if config.feedforward_activation == "glu":
        raise ValueError(
            "feedforward_activation 'glu' halves the hidden layer while the saved weights have it "
            "whole: LeRobot itself cannot run such a policy; train with 'relu' or 'gelu'"
        )
    if config.feedforward_activation not in ("relu", "gelu"):
        raise ValueError(
            f"feedforward_activation must be relu or gelu, found {config.feedforward_activation}"
        )
