"""What a policy sees: one instant, and for some policies the instants before it."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

Seen = TypeVar("Seen")


class ObservationError(ValueError):
    """An observation that is not the one the policy was trained on."""


@dataclass(frozen=True)
class Observation:
    """What the robot knows at one instant.

    state is float32 (n,) in dataset units, in the order of the dataset's state names; images are
    uint8 (H, W, 3) RGB by camera name, without the `observation.images.` prefix; task is the
    instruction for policies that read one; environment_state float32 (m,) is for simulators.
    earlier is what was seen at the n_obs_steps - 1 instants before, 1 / fps apart, the oldest
    first; see Window.
    """

    state: NDArray[np.float32]
    images: Mapping[str, NDArray[np.uint8]]
    task: str = ""
    environment_state: NDArray[np.float32] | None = None
    earlier: tuple[Observation, ...] = ()

    def at_start(self, n_obs_steps: int) -> Observation:
        """The same as the first of an episode: what was before it is as it is, as in training."""
        return dataclasses.replace(self, earlier=(self,) * (n_obs_steps - 1))


def latest(window: tuple[Observation, ...]) -> Observation:
    """The newest observation of a window, with those before it."""
    return dataclasses.replace(window[-1], earlier=window[:-1])


class Window(Generic[Seen]):
    """What was seen at the last `length` instants of the training rate, without a gap.

    It begins filled with the first value, as LeRobot's queue and its training data do. A value
    whose instant does not follow the one before begins it again: a window of other spacing would
    show the policy movements of another speed.

    Attributes:
        restarts: how often it began again after a gap or a step back.
        missed: instants that were missing at the last restart; negative for a step back.
    """

    def __init__(self, length: int) -> None:
        self._seen: deque[Seen] = deque(maxlen=length)
        self._last = 0
        self.restarts = 0
        self.missed = 0

    def add(self, value: Seen, index: int) -> tuple[Seen, ...]:
        """The window (length,), the oldest first, after a value at a grid index."""
        if self._seen and index == self._last:
            self._seen.pop()  # the same instant again
        elif self._seen and index != self._last + 1:
            self.missed = index - self._last - 1
            self.restarts += self._length > 1
            self._seen.clear()
        self._last = index
        self._seen.append(value)
        while len(self._seen) < self._length:
            self._seen.append(value)
        return tuple(self._seen)

    def reset(self) -> None:
        """A new episode begins."""
        self._seen.clear()

    @property
    def _length(self) -> int:
        assert self._seen.maxlen is not None
        return self._seen.maxlen
