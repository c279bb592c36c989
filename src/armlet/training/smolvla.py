"""How a SmolVLA checkpoint is trained on: as LeRobot fine-tunes it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from armlet.policies import (
    Checkpoint,
    Choices,
    Feature,
    PolicyNetwork,
    SmolVlaConfig,
    load_network,
    read_checkpoint,
)
from armlet.policies.config.base import IMAGE_PREFIX, camera_name
from armlet.policies.config.smolvla import BLANK
from armlet.policies.networks import tokens
from armlet.policies.networks.meta import without_values
from armlet.policies.networks.smolvla import SEEN, TOKENS
from armlet.policies.networks.tokens import Language, Words

from .learner import Learner, changed, features_of, made, refused
from .samples import Samples
from .schedules import cosine_decay, scheduled
from .settings import TrainingSettings

_OPTIONS = {
    "chunk_size": "--chunk-size",
    "n_action_steps": "--action-steps",
    "optimizer_lr": "--learning-rate",
}
# What the weights were made for, and what changes nothing here.
_FIXED = (
    "n_obs_steps",
    "max_state_dim",
    "max_action_dim",
    "adapt_to_pi_aloha",
    "use_delta_joint_actions_aloha",
    "use_cache",
    "vlm_model_name",
    "load_vlm_weights",
    "add_image_special_tokens",
    "attention_mode",
    "prefix_length",
    "pad_language_to",
    "num_expert_layers",
    "num_vlm_layers",
    "self_attn_every_n_layers",
    "expert_width_multiplier",
    "min_period",
    "max_period",
    "compile_model",
    "compile_mode",
)
# The picture that LeRobot declares for an absent camera.
_BLANK = Feature("VISUAL", (3, 480, 640))


class SmolVlaLearner(Learner):
    """A checkpoint's weights and configuration, with the dataset's joints, cameras and statistics.

    What learns is what train_expert_only, freeze_vision_encoder and train_state_proj say; optimizer
    and schedule are those of the configuration too.
    """

    LOOK_AT_EACH = 4
    ERROR = "mean square error of the flow"

    config: SmolVlaConfig
    language: Language

    def __init__(self, settings: TrainingSettings, samples: Samples) -> None:
        super().__init__(settings)
        self._checkpoint, config = _read_base(settings)
        self.config = _adapted(config, settings, samples)
        self.clip = self.config.optimizer_grad_clip_norm
        self.language = self._language()

    @property
    def base(self) -> str:
        return self._checkpoint.digest()

    @property
    def schedule_title(self) -> str:
        config = self.config
        return (
            f"cosine to {config.scheduler_decay_lr:g} in {config.scheduler_decay_steps} steps, "
            f"{config.scheduler_warmup_steps} of warm-up; of fewer steps both shorter"
        )

    @property
    def notes(self) -> tuple[str, ...]:
        before, now = (
            ", ".join(camera_name(key) for key in config.image_features)
            for config in (self._checkpoint.config, self.config)
        )
        return (
            *super().notes,
            f"begins with {self._checkpoint.path}, whose cameras are {before}; in their places, in "
            f"this order: {now}",
        )

    def _language(self) -> Language:
        """The base's, which cuts texts as the new checkpoint will say."""
        base = self._checkpoint.language
        assert base is not None
        file, size = base.folder / tokens.FILE, base.config.text.vocab_size
        words = Words.read(file, self.config.tokenizer_max_length, size)
        return dataclasses.replace(base, words=words)

    def network(self) -> PolicyNetwork:
        weights = load_network(self._checkpoint).state_dict()
        with without_values():
            network = self._checkpoint.family.build(self.config, self._checkpoint.companions)
        network.load_state_dict(weights, assign=True)
        return network.freeze_for_training(self.rule)

    def optimizer(self, parameters: Iterable[nn.Parameter]) -> Optimizer:
        config = self.config
        return torch.optim.AdamW(
            parameters,
            config.optimizer_lr,
            betas=config.optimizer_betas,
            eps=config.optimizer_eps,
            weight_decay=config.optimizer_weight_decay,
            fused=True,
        )

    def schedule(self, optimizer: Optimizer) -> LRScheduler:
        config, steps = self.config, self.settings.steps
        warm_up, decay = config.scheduler_warmup_steps, config.scheduler_decay_steps
        least = config.scheduler_decay_lr / config.optimizer_lr
        return scheduled(optimizer, lambda step: cosine_decay(step, warm_up, decay, least, steps))

    def chunk(
        self, model: PolicyNetwork, batch: Mapping[str, Tensor], generator: torch.Generator
    ) -> Tensor:
        """Of texts of one length at a time, as only a training batch may be padded."""
        lengths, size = batch[SEEN].sum(1), self.config.chunk_size
        noise = torch.randn((len(lengths), size, self.config.max_action_dim), generator=generator)
        chunks = torch.empty(len(lengths), size, self.config.action_size)
        for length in sorted(set(lengths.tolist())):
            rows = lengths == length
            alike = {key: values[rows] for key, values in batch.items()}
            alike[TOKENS] = alike[TOKENS][:, :length]
            chunks[rows] = model(alike, noise[rows])
        return chunks


def _read_base(settings: TrainingSettings) -> tuple[Checkpoint, SmolVlaConfig]:
    if not settings.base:
        raise refused(
            "from",
            "a SmolVLA checkpoint, to train on its weights",
            "none",
            "give it, as in --from hub:lerobot/smolvla_base",
        )
    choices = Choices(vlm=Path(settings.vlm) if settings.vlm else None)
    base = read_checkpoint(settings.base, choices, contract=False)
    if not isinstance(base.config, SmolVlaConfig):
        raise refused("from", "a SmolVLA checkpoint", base.config.TITLE, "name another")
    return base, base.config


def _adapted(config: SmolVlaConfig, settings: TrainingSettings, samples: Samples) -> SmolVlaConfig:
    """The base's configuration for the dataset, changed as the settings say."""
    features = features_of(samples)
    features["input_features"] = _in_order(config, features["input_features"])
    fitted = made(dataclasses.replace, config, **features)
    own: dict[str, float] = {}
    if settings.chunk_size is not None:
        own["chunk_size"] = settings.chunk_size
        own["n_action_steps"] = min(settings.chunk_size, config.n_action_steps)
    if settings.action_steps:
        own["n_action_steps"] = settings.action_steps
    if settings.learning_rate is not None:
        own["optimizer_lr"] = settings.learning_rate
    fitted = changed(fitted, settings.changes, _OPTIONS, _FIXED, own)
    blanks = {f"{BLANK}{i}": _BLANK for i in range(fitted.empty_cameras)}
    inputs = {**fitted.input_features, **blanks}
    return dataclasses.replace(fitted, input_features=inputs)


def _in_order(config: SmolVlaConfig, inputs: Mapping[str, Feature]) -> dict[str, Feature]:
    """Inputs with those cameras first that the base has too, in its order."""
    known = [key for key in config.image_features if key in inputs]
    others = [key for key in inputs if key.startswith(IMAGE_PREFIX) and key not in known]
    vectors = [key for key in inputs if not key.startswith(IMAGE_PREFIX)]
    return {key: inputs[key] for key in (*vectors, *known, *others)}
