"""What changes as a training goes on: network, optimizer, schedule, and how it went."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path

import torch
from torch import Tensor, nn

from armlet.policies import FLOAT16, PolicyNetwork

from .average import Average
from .learner import Learner
from .samples import Samples
from .state import State, StateError, save_state

# What changes in it.
_OF_SCALER = ("scale", "_growth_tracker")


class Run:
    """A training after some step.

    statistics: SHA-256 of what the network normalizes with.
    """

    def __init__(
        self,
        model: PolicyNetwork,
        learner: Learner,
        statistics: str,
        samples: Samples,
        weights: tuple[float, ...],
    ) -> None:
        self.model, self.settings = model, learner.settings
        self._begun = (statistics, samples.episodes, weights, learner.base)
        self.optimizer = learner.optimizer(self._learning.values())
        self.schedule = learner.schedule(self.optimizer)
        # float16 loses small gradients unless they are multiplied.
        self.scaler = torch.amp.GradScaler("cpu", enabled=learner.precision == FLOAT16)
        ema = self.settings.ema
        self.average = Average(self._learning, ema) if ema else None
        """Of the weights, where the settings want one."""
        self.step = 0
        self.errors: list[float] = []
        """Of the steps since the last hundredth."""
        self.best: float | None = None
        """The smallest held-out error so far."""
        self.saved = ""
        """SHA-256 of the weights at the output, if it was stopped before."""
        self._random = torch.get_rng_state()

    @property
    def learning_rate(self) -> float:
        """Of the next step."""
        return float(self.optimizer.param_groups[0]["lr"])

    @property
    def state_bytes(self) -> int:
        """How large its state is, about: what learns, two moments of it, and its average."""
        learning = sum(value.nbytes for value in self._learning.values())
        copies = 2 if self.average is None else 3
        return sum(value.nbytes for value in self._kept.values()) + copies * learning

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """While it lasts the network has the weights that people are to use."""
        with nullcontext() if self.average is None else self.average.in_place():
            yield

    @property
    def weight_bytes(self) -> int:
        """How large its checkpoint is, about."""
        return sum(value.nbytes for value in self.model.state_dict().values())

    @property
    def _learning(self) -> dict[str, nn.Parameter]:
        """What the optimizer changes."""
        named = self.model.named_parameters()
        return {name: parameter for name, parameter in named if parameter.requires_grad}

    @property
    def _kept(self) -> dict[str, Tensor]:
        """All that a step changes: what is frozen is where the training began."""
        frozen = {name for name, _ in self.model.named_parameters()} - self._learning.keys()
        state = self.model.state_dict()
        return {name: value for name, value in state.items() if name not in frozen}

    def done(self, error: float) -> None:
        """A step is done, with its error. Nothing of the next one has begun."""
        self.step += 1
        self.errors.append(error)
        if self.average is not None:
            self.average.add(self.step)
        self._random = torch.get_rng_state()

    def keep(self, place: Path) -> None:
        """Write what is needed to go on after the last step that is done. Raises OSError."""
        require_space(place.parent, self.state_bytes)
        (group,) = self.optimizer.param_groups
        state = State(
            self.step,
            self.settings,
            *self._begun[:3],
            tuple(self.errors),
            (group["lr"], *group["betas"]),
            self.best,
            self.saved,
            self._begun[3],
        )
        tensors = {f"model.{name}": value for name, value in self._kept.items()}
        for name, parameter in self._learning.items():
            for key, value in self.optimizer.state[parameter].items():
                tensors[f"optimizer.{name}.{key}"] = value
        if self.average is not None:
            averages = self.average.values
            tensors |= {f"average.{name}": value for name, value in averages.items()}
        for name in _OF_SCALER if self.scaler.is_enabled() else ():
            tensors[f"scaler.{name}"] = torch.tensor(self.scaler.state_dict()[name])
        tensors["random"] = self._random
        save_state(place, state, tensors)

    def restore(self, state: State, place: Path) -> None:
        """Go on from there. Raises StateError if the datasets are others."""
        *begun, base = state.statistics, state.episodes, state.weights, state.base
        if base != self._begun[3]:
            raise StateError(
                f"{place} is of a training that began with other weights than are in "
                f"{self.settings.base} now; put these back, or remove the file and begin again"
            )
        if begun != list(self._begun[:3]):
            raise StateError(
                f"{place} is of a training on another dataset or other episodes, or on this one "
                "before it changed; give what it began with, or remove the file and begin again"
            )
        tensors = state.tensors(place)
        self.model.load_state_dict(self.model.state_dict() | _under("model.", tensors))
        for name, parameter in self._learning.items():
            kept = _under(f"optimizer.{name}.", tensors)
            if kept:
                self.optimizer.state[parameter] = {
                    # Laid out as the optimizer lays it out itself.
                    key: torch.empty_like(parameter).copy_(value) if value.ndim else value
                    for key, value in kept.items()
                }
        if self.average is not None:
            self.average.restore(_under("average.", tensors))
        scale = _under("scaler.", tensors)
        if scale:
            found = {name: value.item() for name, value in scale.items()}
            self.scaler.load_state_dict(self.scaler.state_dict() | found)
        self.schedule.last_epoch = state.step
        (group,) = self.optimizer.param_groups
        group["lr"], *betas = state.rates
        group["betas"] = tuple(betas)
        torch.set_rng_state(tensors["random"])
        self._random = tensors["random"]
        self.step, self.errors = state.step, list(state.errors)
        self.best, self.saved = state.best, state.saved


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    cut = len(prefix)
    return {name[cut:]: value for name, value in tensors.items() if name.startswith(prefix)}


def require_space(folder: Path, needed: int) -> None:
    """Raise OSError unless a folder's disk has so many bytes left."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OSError(
            errno.ENOSPC,
            f"expected {needed / 1e6:,.0f} MB free to save the training, found {free / 1e6:,.0f}; "
            "free some",
            str(folder),
        )
