"""By how much the joints are seen behind what they are sent: is a policy shown the past?

A servo arm is some 0.1 s behind its commands, in a recording and while a policy drives. An
observation that is older than its stamp says comes on top: clocks of two computers, a stamp that is
given where a message arrives, a buffer. Joints are shifted against their commands until they agree;
offset and scale do not matter (an arm gives way under its weight). A joint is judged where it moved
in a way that leaves no doubt: it agrees with its commands well, and visibly less when shifted by
less or more.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from armlet.contract import Contract, Lag

Floats = NDArray[np.float64]
Vectors = tuple[NDArray[np.floating], NDArray[np.floating]]
"""An episode's states (T, n) and actions (T, m)."""

LONGEST_S = 0.5
"""A lag of this or more cannot be told."""

_STEP_S = 0.01
# A joint that moves less (RMS, training spreads) is moved by its backlash as well.
_MOVES = 0.1
# 1 - r² of a joint and its commands: 0.0002 to 0.006 in recordings of arms that follow.
_UNLIKE = 0.02
# Shifted by so much from where they agree best, they agree this many times worse, or it is a guess;
# better than the third number they agree by chance, on a straight motion.
_APART_S, _WORSE, _ALIKE = 0.06, 2.0, 5e-4
_LAGS_S = np.arange(-_APART_S, LONGEST_S + _STEP_S / 2, _STEP_S)
# Joints that must agree on it; observations and episodes from which it is told.
_JOINTS, _LEAST, _EPISODES = 2, 8, 3
# Observations that are kept, and frame periods of commands: seconds of motion, whatever the pace.
_KEPT, _PLAYED = 90, 900


def lag_of(contract: Contract, episodes: Iterable[Vectors]) -> Lag | None:
    """For a contract: of episodes that were recorded under it.

    None where state and action are not of the same joints, or fewer than three episodes tell.
    """
    if contract.state_names != contract.action_names:
        return None
    each = (_of_episode(states, actions, contract.fps) for states, actions in episodes)
    found = [lag for lag in each if lag is not None]
    if len(found) < _EPISODES:
        return None
    return Lag(round(float(np.median(found)), 4), round(float(np.std(found)), 4))


def _of_episode(
    states: NDArray[np.floating], actions: NDArray[np.floating], fps: int
) -> float | None:
    if states.shape != actions.shape or not len(states):
        return None
    states, actions = states.astype(np.float64), actions.astype(np.float64)
    spread = np.maximum(states.std(axis=0), 1e-9)
    return lag_s(states / spread, np.arange(len(states)), actions / spread, 0, fps)


def lag_s(
    seen: Floats, at: NDArray[np.integer], sent: Floats, begin: int, fps: int
) -> float | None:
    """Seconds by which joints are behind their commands; None where the motion does not tell.

    seen (k, n) at the frame grid's indices (k,); sent (m, n), of indices begin, begin + 1, ...;
    both in training spreads. Median of the joints that tell; at least two must.
    """
    times = at[:, None] - _LAGS_S * fps
    known = (times[:, -1] >= begin) & (times[:, 0] <= begin + len(sent) - 1)
    if np.count_nonzero(known) < _LEAST:
        return None
    grid = np.arange(begin, begin + len(sent))
    found = [
        lag
        for joint in range(seen.shape[1])
        if (lag := _of_joint(seen[known, joint], np.interp(times[known], grid, sent[:, joint])))
        is not None
    ]
    return float(np.median(found)) if len(found) >= _JOINTS else None


def _of_joint(seen: Floats, sent: Floats) -> float | None:
    """seen (k,); sent (k, L), of the same instants less each lag."""
    if seen.std() < _MOVES:
        return None
    seen, sent = seen - seen.mean(), sent - sent.mean(axis=0)
    likeness = seen @ sent / np.maximum(np.sqrt((seen @ seen) * (sent**2).sum(axis=0)), 1e-12)
    unlike = 1 - np.maximum(likeness, 0) ** 2
    best = int(unlike.argmin())
    if not unlike[best] <= _UNLIKE or best in (0, len(unlike) - 1):
        return None
    apart = round(_APART_S / _STEP_S)
    less, more = unlike[max(best - apart, 0)], unlike[min(best + apart, len(unlike) - 1)]
    if min(less, more) < _WORSE * max(unlike[best], _ALIKE):
        return None
    return float(_LAGS_S[best])


class Following:
    """What a running arm was sent and where it was seen: by how much it is behind now.

    Commands are those of the newest chunk that had been sent when they were due.
    """

    def __init__(self, fps: int) -> None:
        self._fps = fps
        self._seen: deque[tuple[int, Floats]] = deque(maxlen=_KEPT)
        self._played: deque[Floats] = deque(maxlen=_PLAYED)
        self._next = 0
        self._chunk: tuple[int, Floats] | None = None
        self._found: float | None = None

    def clear(self) -> None:
        """The arm has been elsewhere meanwhile."""
        self._seen.clear()
        self._played.clear()
        self._chunk = self._found = None

    def add(self, place: Floats, rows: Floats, index: int, sent: int) -> None:
        """Where the joints (n,) are at an index of the frame grid, and the chunk (C, n) for it.

        sent: the first index that was yet to come when the chunk was sent. In training spreads.
        """
        if rows.ndim != 2 or rows.shape[1:] != place.shape or not len(rows):
            return
        if self._chunk is None or not 0 <= sent - self._next < _PLAYED:
            self.clear()
            self._next = sent
        self._play(sent)
        self._chunk = index, rows
        self._seen.append((index, place))

    def _play(self, until: int) -> None:
        """What was due before an index was of the chunk that is there."""
        while self._chunk is not None and self._next < until:
            first, rows = self._chunk
            self._played.append(rows[min(max(self._next - first, 0), len(rows) - 1)])
            self._next += 1

    def lag_s(self) -> float | None:
        """As of the newest motion that told when this was asked; None before one has."""
        if self._seen and self._played:
            at, seen = (np.array(values) for values in zip(*self._seen, strict=True))
            sent = np.array(self._played)
            found = lag_s(seen, at, sent, self._next - len(sent), self._fps)
            self._found = self._found if found is None else found
        return self._found
