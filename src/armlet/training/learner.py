"""What is particular to training one kind of policy: each has a Learner."""

from __future__ import annotations

import dataclasses
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from armlet.findings import Code
from armlet.policies import (
    FLOAT32,
    CheckpointError,
    Feature,
    Loss,
    LossRule,
    PolicyConfig,
    PolicyNetwork,
    has_unit,
    unit_of,
)
from armlet.policies.config.base import ACTION, IMAGE_PREFIX, STATE, parse
from armlet.policies.networks.losses import Draws
from armlet.policies.networks.tokens import Language, Words
from armlet.suggestions import did_you_mean

from .samples import Samples
from .settings import AUTO, TrainingSettings
from .together import Part

Config = TypeVar("Config", bound=PolicyConfig)

_WHERE = "settings of the policy"
# Follow from the dataset.
_OF_THE_DATASET = ("input_features", "output_features")


class Learner(ABC):
    """How one kind of policy is trained.

    Attributes:
        config: of the network that is trained.
        language: of a policy that reads words; None for others.
        clip: the norm that the gradient is cut to.
        RULE: by which errors become a loss, unless the settings say.
        PRECISION: that is computed in by torch.autocast, where that is safe, unless the settings
            say, or the processor cannot.
        LOOK_AT_EACH: of how many held-out frames one has its chunk predicted.
        ERROR: what `error` is, for people.
    """

    RULE: ClassVar[LossRule] = LossRule.LEROBOT_0_6
    PRECISION: ClassVar[str] = FLOAT32
    LOOK_AT_EACH: ClassVar[int] = 1
    ERROR: ClassVar[str] = "the loss"

    config: PolicyConfig
    language: Language | None = None
    clip: float = 10.0

    def __init__(self, settings: TrainingSettings) -> None:
        self.settings = settings
        stated = settings.precision
        if stated != AUTO and not has_unit(stated):
            fix = f"leave out --precision {stated}"
            raise refused("precision", unit_of(stated), "one without", fix)

    @property
    def precision(self) -> str:
        """What is computed in."""
        if self.settings.precision != AUTO:
            return self.settings.precision
        return self.PRECISION if has_unit(self.PRECISION) else FLOAT32

    @property
    def rule(self) -> LossRule:
        """By which errors become a loss."""
        stated = self.settings.loss_rule
        return self.RULE if stated is None else LossRule(stated)

    @property
    def drops(self) -> int:
        """At how many of an episode's last rows no chunk begins."""
        return 0

    @property
    def base(self) -> str:
        """SHA-256 of the weights that it begins with; empty where they are random."""
        return ""

    @property
    def notes(self) -> tuple[str, ...]:
        """For people, a line each."""
        if self.settings.precision != AUTO or self.precision == self.PRECISION:
            return ()
        return (
            f"computes in {self.precision}: expected {unit_of(self.PRECISION)}, found one without",
        )

    @property
    def augmentation(self) -> str:
        """What is done to pictures in training only, for people."""
        return "none"

    @property
    @abstractmethod
    def schedule_title(self) -> str:
        """How the learning rate goes, for people."""

    @abstractmethod
    def network(self) -> PolicyNetwork:
        """It, with the weights that it begins with; only what learns requires a gradient."""

    def prepare(self, model: PolicyNetwork, pictures: Iterable[Sequence[Tensor]]) -> None:
        """Measure what the network needs to know of its pictures before the first step.

        pictures: of some batches, as the network reads them, by camera.
        """
        return

    @abstractmethod
    def optimizer(self, parameters: Iterable[nn.Parameter]) -> Optimizer:
        """Of the parameters that learn; fused, as otherwise a step takes six times as long."""

    @abstractmethod
    def schedule(self, optimizer: Optimizer) -> LRScheduler:
        """Of its learning rate, over all steps."""

    def loss(
        self,
        model: PolicyNetwork,
        batch: Mapping[str, Tensor],
        generator: torch.Generator | None = None,
    ) -> Loss:
        """Of a batch; generator: of what is drawn, None: torch's own."""
        if generator is None:
            return model.compute_loss(batch, self.rule)
        return model.compute_loss(batch, self.rule, model.draw(batch, generator))

    def loss_of_part(self, model: PolicyNetwork, batch: Mapping[str, Tensor], part: Part) -> Loss:
        """Of a part of a batch, from the part of what is drawn for all of it.

        What the network draws itself, for dropout, is of the seed, the batch and the part, and
        torch's generator stays the same in all processes.
        """
        actions = batch[ACTION]
        whole = {**batch, ACTION: actions.new_empty((part.of, *actions.shape[1:]))}
        drawn = model.draw(whole)
        noise, times = (
            None if each is None else each[part.places] for each in (drawn.noise, drawn.times)
        )
        begins = (self.settings.seed, part.number, part.places.start)
        (seed,) = np.random.SeedSequence(begins).generate_state(1)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(seed))
            return model.compute_loss(batch, self.rule, Draws(noise, times, drawn.corners))

    @property
    def counts_real_rows(self) -> bool:
        """Whether errors are averaged over the rows that are no padding."""
        return self.rule is LossRule.LEROBOT_0_6

    def weight(self, part: Part) -> float:
        """That a part's error has in the error of its batch."""
        return part.real if self.counts_real_rows else part.rows

    def share(self, loss: Loss, part: Part) -> Tensor:
        """A part's loss; those of all parts are together the loss of the batch."""
        return loss.total * self.weight(part)

    def error(self, loss: Loss) -> float:
        """The number that people follow."""
        return float(loss.total.detach())

    @abstractmethod
    def chunk(
        self, model: PolicyNetwork, batch: Mapping[str, Tensor], generator: torch.Generator
    ) -> Tensor:
        """Normalized actions (B, C, n) from the newest observation on, as on the robot."""

    @property
    def words(self) -> Words | None:
        """What makes tokens of the tasks, in training and inference; None where none are read."""
        return None if self.language is None else self.language.words

    @property
    def vlm(self) -> Path | None:
        """Folder of the language model's two files, to be saved with the checkpoint."""
        return None if self.language is None else self.language.folder


def features_of(samples: Samples) -> dict[str, dict[str, Feature]]:
    """input_features and output_features of a policy that reads all cameras and the state."""
    pictures = {
        f"{IMAGE_PREFIX}{name}": Feature("VISUAL", (3, *size))
        for name, size in samples.sizes.items()
    }
    state = Feature("STATE", (samples.states.shape[1],))
    action = Feature("ACTION", (samples.actions.shape[1],))
    return {"input_features": {STATE: state, **pictures}, "output_features": {ACTION: action}}


def refuse_base(settings: TrainingSettings) -> None:
    """Raise CheckpointError where a checkpoint to begin with is named."""
    if settings.base:
        raise refused(
            "from",
            "none, as it is trained from random weights",
            settings.base,
            "leave out --from",
        )


def refused(what: str, expected: str, found: object, fix: str) -> CheckpointError:
    """A setting that cannot be."""
    return CheckpointError.found(
        Code.POLICY_SETTING_UNSUPPORTED, _WHERE, what, expected=expected, found=found, fix=fix
    )


def changed(
    config: Config,
    changes: Mapping[str, str],
    options: Mapping[str, str],
    fixed: Collection[str],
    own: Mapping[str, Any] | None = None,
) -> Config:
    """A configuration with settings of LeRobot's names, each as JSON or a plain word.

    options: of the training, by the settings that they say; own: what these options were given.
    fixed: settings that cannot be changed. Raises CheckpointError.
    """
    kind = type(config)
    names = [field.name for field in dataclasses.fields(kind) if field.init]
    known = sorted({*names} - {*_OF_THE_DATASET, *fixed, *options})
    for name in changes:
        if name in options:
            raise refused(name, options[name], f"--set {name}", f"give {options[name]} instead")
        if name not in known:
            near = did_you_mean([name], known)
            raise refused("--set", f"one of {', '.join(known)}", name, f"{near}correct the name")
    content = {name: _value(text) for name, text in changes.items()}
    return _parsed({**config.to_json(), **content, **(own or {})}, kind)


def made(kind: Callable[..., Config], *base: Config, **settings: Any) -> Config:
    """A configuration, made of another where there is one.

    Raises CheckpointError for settings that contradict each other.
    """
    try:
        return kind(*base, **settings)
    except ValueError as error:
        raise CheckpointError.of_settings(error, _WHERE) from error


def _parsed(content: Mapping[str, Any], kind: type[Config]) -> Config:
    config = parse(content, _WHERE, kind)
    assert isinstance(config, kind)
    return config


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
