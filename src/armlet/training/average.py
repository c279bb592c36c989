"""The exponential moving average of what a training learns, as of Diffusion Policy's authors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

_POWER = 0.75


def decay_of(step: int, most: float) -> float:
    """How much of the average stays after step `step`, from 1 on: little at first, then `most`."""
    return min(most, 1 - float((1 + step) ** -_POWER))


class Average:
    """Of the parameters that learn, by name; what else a step changes is not averaged.

    most: the share of the average that stays at each step in the end.
    """

    def __init__(self, learning: Mapping[str, nn.Parameter], most: float) -> None:
        self._learning, self._most = learning, most
        self.values = {name: value.detach().clone() for name, value in learning.items()}

    def add(self, step: int) -> None:
        """Take in the weights of step `step`, from 1 on."""
        weights = [value.detach() for value in self._learning.values()]
        part = 1 - decay_of(step, self._most)
        torch._foreach_lerp_([*self.values.values()], weights, part)

    def restore(self, values: Mapping[str, Tensor]) -> None:
        """Go on from these values."""
        for name, value in self.values.items():
            value.copy_(values[name])

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """While it lasts the network has the averages for weights."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def _exchange(self) -> None:
        for name, parameter in self._learning.items():
            parameter.data, self.values[name] = self.values[name], parameter.data
