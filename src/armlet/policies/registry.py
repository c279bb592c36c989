"""The kinds of policies armlet runs. A package adds one by an entry point, not by a change here.

A kind is a PolicyFamily, found by the `type` in config.json: armlet's own by the table below,
others by the entry-point group `armlet.policies`, whose names are types and whose values name a
PolicyFamily (`my_package.module:FAMILY`). A module is imported when a checkpoint asks for its type,
so a package that cannot be imported costs no other policy anything.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from armlet import plugins
from armlet.findings import Code
from armlet.suggestions import did_you_mean

from .config.base import PolicyConfig
from .config.errors import CheckpointError
from .config.releases import PatchRows
from .networks.base import PolicyNetwork
from .networks.stages import Split
from .networks.tokens import Language

GROUP = "armlet.policies"
_BUILT_IN = {
    "act": "armlet.policies.families.act:FAMILY",
    "diffusion": "armlet.policies.families.diffusion:FAMILY",
    "smolvla": "armlet.policies.families.smolvla:FAMILY",
}

# Steps of LeRobot's processor files, by registry name, that this armlet can read.
RENAME = "rename_observations_processor"
TO_BATCH = "to_batch_processor"
DEVICE = "device_processor"
NORMALIZER = "normalizer_processor"
UNNORMALIZER = "unnormalizer_processor"
NEW_LINE = "smolvla_new_line_processor"
TOKENIZER = "tokenizer_processor"

Config = TypeVar("Config", bound=PolicyConfig)


@dataclass(frozen=True)
class Text:
    """How a task becomes token ids: whose tokenizer, and the length ids are cut to, if any.

    Padding is not among it: padded ids are masked, which leaves no trace in the actions.
    """

    tokenizer: str
    longest: int | None


@dataclass(frozen=True)
class CheckpointFiles:
    """What a family may look at beside config.json: the folder, what the user and the processor
    files say of its language model, and what trained it (a checkpoint.origin.Origin)."""

    path: Path
    vlm: Path | None
    text: Text | None
    origin: Any


@dataclass(frozen=True)
class Companions:
    """What a network is built from beside its configuration, and lines worth showing of it."""

    language: Language | None = None
    patch_rows: PatchRows = PatchRows.SCALED
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Sizes:
    """Sizes a configuration states, to be held against the weights before anything is allocated.

    widths: each is a side of some tensor; layers: each is at most the number of tensors.
    """

    widths: Mapping[str, int | None] = field(default_factory=dict)
    layers: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Noise:
    """The standard normal numbers of one chunk: draws times (rows, width)."""

    rows: int
    width: int
    draws: int = 1

    @property
    def shape(self) -> tuple[int, ...]:
        """(rows, width) of a single draw, (draws, rows, width) of several."""
        return (*((self.draws,) if self.draws > 1 else ()), self.rows, self.width)

    def draw(self, generator: torch.Generator | None = None) -> Tensor:
        """float32 (1, *shape), on the CPU; one draw after the other, as LeRobot takes them."""
        size = (1, self.rows, self.width)
        drawn = [torch.randn(size, generator=generator) for _ in range(self.draws)]
        return drawn[0] if self.draws == 1 else torch.stack(drawn, dim=1)

    def given(self, noise: NDArray[np.float32]) -> Tensor:
        """The same of given numbers. Raises ValueError for another shape or dtype."""
        if noise.shape != self.shape or noise.dtype != np.float32:
            raise ValueError(
                f"noise: expected float32 {self.shape}, found {noise.dtype} {noise.shape}"
            )
        return torch.from_numpy(np.require(noise, requirements=["C", "W"]))[None]


@dataclass(frozen=True)
class Inference:
    """What one chunk is computed from.

    batch: normalized float32 by feature key, batch dimension 1; where the configuration is WINDOWED
    dimension n_obs_steps after it. noise: float32 (1, *Noise.shape). plan: normalized rows (k, n)
    that are planned already, of which `delay` will have been played; None: nothing is.
    """

    batch: Mapping[str, Tensor]
    task: str = ""
    language: Language | None = None
    noise: Tensor | None = None
    plan: Tensor | None = None
    delay: int = 0

    @property
    def drawn(self) -> Tensor:
        """The noise, of a policy that draws some."""
        assert self.noise is not None
        return self.noise


def _run(network: Any, given: Inference) -> Tensor:
    chunk: Tensor = network(given.batch)
    return chunk


def _title(config: PolicyConfig) -> str:
    return config.TITLE


def _no_companions(config: PolicyConfig, files: CheckpointFiles) -> Companions:
    return Companions()


def _no_sizes(config: PolicyConfig, companions: Companions) -> Sizes:
    return Sizes()


def _no_noise(config: PolicyConfig) -> Noise | None:
    return None


def _no_notes(config: PolicyConfig) -> Iterable[str]:
    return ()


def _nothing(value: Any) -> Mapping[str, Mapping[str, Any]]:
    return {}


def _none_ignored(name: str) -> bool:
    return False


@dataclass(frozen=True)
class PolicyFamily(Generic[Config]):
    """One kind of policy; the first two entries are enough for a simple one.

    Attributes:
        config: its configuration; TYPE is the `type` in config.json, n_obs_steps its history.
        build: the network without weights. Raises ValueError for settings that do not fit.
        infer: the normalized chunk (1, C, n) of a network and an Inference.
        steps: steps of the preprocessor file, in LeRobot's order; those that normalize or read
            words must be there.
        step_configs: what LeRobot writes into these steps, beside what every policy has.
        describe: what network it is, in a few words.
        notes: lines worth showing of a configuration.
        companions: what the network needs of other files. Raises CheckpointError.
        records: JSON files that save_checkpoint writes beside a network, by name.
        sizes: of the network, to be held against the weights.
        ignores: whether a tensor of the weights file, by its name, is nothing the network has.
        noise: what a chunk starts from, None for a policy that draws nothing.
        inpaints: whether `infer` heeds Inference.plan.
        exportable: whether it can be traced as a graph: `infer` is one pass over `batch`.
        split: a network folded for inference as stages, which `infer` takes joined, for other
            runtimes than torch; None: they cannot run it, unless it is exportable.
        orders_cameras: whether another order of cameras gives other actions.
    """

    config: type[Config]
    build: Callable[[Config, Companions], PolicyNetwork]
    infer: Callable[[Any, Inference], Tensor] = _run
    steps: tuple[str, ...] = (RENAME, TO_BATCH, DEVICE, NORMALIZER)
    step_configs: Callable[[Config], Mapping[str, Mapping[str, Any]]] = _nothing
    describe: Callable[[Config], str] = _title
    notes: Callable[[Config], Iterable[str]] = _no_notes
    companions: Callable[[Config, CheckpointFiles], Companions] = _no_companions
    records: Callable[[Any], Mapping[str, Mapping[str, Any]]] = _nothing
    sizes: Callable[[Config, Companions], Sizes] = _no_sizes
    ignores: Callable[[str], bool] = _none_ignored
    noise: Callable[[Config], Noise | None] = _no_noise
    inpaints: bool = False
    exportable: bool = False
    split: Callable[[Any, Companions], Split] | None = None
    orders_cameras: bool = True

    @property
    def name(self) -> str:
        return self.config.TYPE


def known_types() -> tuple[str, ...]:
    """Every type of policy that is installed here, sorted; none of their modules is imported."""
    return tuple(sorted({*_BUILT_IN, *plugins.names(GROUP)}))


def family(name: object, where: object) -> PolicyFamily[Any]:
    """The family of the `type` in config.json.

    Raises CheckpointError, naming `where`, for a type that is not known, that two packages add, or
    whose package cannot be used.
    """
    if isinstance(name, str) and name in _BUILT_IN:
        module, _, attribute = _BUILT_IN[name].partition(":")
        own: PolicyFamily[Any] = getattr(importlib.import_module(module), attribute)
        return own
    try:
        found = plugins.load(GROUP, str(name))
    except plugins.PluginError as error:
        raise _unusable(name, where, str(error)) from error
    if found is None:
        known = known_types()
        raise CheckpointError.found(
            Code.POLICY_KIND_UNKNOWN,
            where,
            "policy type",
            expected=" or ".join(map(repr, known)),
            found=repr(name),
            fix=f"{did_you_mean([str(name)], known)}armlet runs these policies only: train one of "
            "them, use a newer armlet, or install a package that adds this one",
        )
    if not isinstance(found, PolicyFamily) or found.name != name:
        named = f"one of type {found.name!r}" if isinstance(found, PolicyFamily) else repr(found)
        raise _unusable(name, where, f"{named} in {plugins.where(GROUP, str(name))}")
    return found


def family_of(config: PolicyConfig) -> PolicyFamily[Any]:
    """The family a configuration belongs to."""
    return family(config.TYPE, type(config).__name__)


def _unusable(name: object, where: object, found: str) -> CheckpointError:
    return CheckpointError.found(
        Code.POLICY_PACKAGE_BROKEN,
        where,
        f"policy type {name!r}",
        expected="a PolicyFamily of this type in one installed package",
        found=" ".join(found.split()),
        fix="repair, update or remove that package; other policies run without it",
    )
