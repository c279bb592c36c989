"""A network as a few graphs, for runtimes that run no Python: what is traced, and how it is used.

A loop from noise to a chunk stays in Python, between calls of a stage, and with it what bends the
chunk towards a plan.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

Tensors = Mapping[str, Tensor]
# A stage made ready: its inputs to its outputs, by name; the next call may overwrite these.
Run = Callable[[Tensors], Tensors]


class NoRoom(ValueError):
    """An input that is larger than the fixed shapes of the stages."""


@dataclass(frozen=True)
class Stage:
    """One graph: a module, examples of its inputs in its order, which fix their shapes, and the
    names of its outputs."""

    module: nn.Module
    inputs: Tensors
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class Split:
    """A network in stages by name, in the order of their use.

    join takes each of them made ready, and gives what a family's `infer` takes in the network's
    place.
    """

    stages: Mapping[str, Stage]
    join: Callable[[Mapping[str, Run]], Any]
