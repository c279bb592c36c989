"""One joint's range, followed through the seam of its encoder while a person moves it."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from armlet.robots.calibration import MAX_HOMING_OFFSET, MAX_TICK
from armlet.robots.units import TICKS_PER_TURN

MIDDLE = 2047
"""What the middle pose reads after calibration, as in LeRobot."""

SEAM_MARGIN = 64
"""Ticks (5.6°) a range keeps from the seam where it can: hands and loads push past its ends."""

MOVED_LEAST = 100
"""Ticks (8.8°) a joint must have been moved for the sweep to count as one, and to either side."""

WIDEST = MAX_TICK - 1
"""Ticks of the widest range that has a place between the seams for every homing offset: the one
half a turn away cannot be stored, its neighbour can."""

MAX_STEP = 1024
MAX_GAP_S = 0.5
"""Between two readings a joint must turn less than half a turn, or its direction is a guess. Hands
are slower than the motor, which needs 0.65 s for it; a quarter turn at once is not believed."""


class SweepState(enum.Enum):
    """How far a joint's sweep is; the values are words for a person."""

    OK = "ok"
    CROSSED = "ok, seam handled"
    NEAR = "ok, seam avoided"
    FULL_TURN = "full turn"
    NOT_MOVED = "not moved"
    HARDLY_MOVED = "hardly moved"
    TOO_FAR = "more than a turn"
    MIDDLE_MISSED = "middle missed"
    ONE_SIDE = "one side only"
    LOST = "track lost"

    @property
    def is_done(self) -> bool:
        """Whether the sweep may end with the joint like this."""
        return self in _DONE


_DONE = {SweepState.OK, SweepState.CROSSED, SweepState.NEAR, SweepState.FULL_TURN}


@dataclass(frozen=True)
class Placement:
    """A range between the seams, in ticks as the servo will read them with this offset.

    Attributes:
        homing_offset: -2047..2047.
        range_min: lower end of the range.
        range_max: upper end; both 0..4095 if the range is at most WIDEST.
        shift: what readings with the offset of the middle pose lose by it.
    """

    homing_offset: int
    range_min: int
    range_max: int
    shift: int


class Sweep:
    """Where a joint has been since its middle pose.

    Positions are ticks as the servo would read them with the middle pose's offset, except that they
    go on beyond 0 and 4095 instead of jumping, so a range is a range wherever the seam lies.

    Args:
        encoder: the encoder's ticks (0..4095, homing offset taken out) at the middle pose.
        time_s: when that was read, monotonic.
        full_turn: the joint turns all the way round; its range is 0..4095 and needs no sweep.
        both_sides: it has to be moved to both sides of the middle pose.

    Attributes:
        homing_offset: offset by which the middle pose reads 2047. It reads 2048 where that would
            take an offset of 2048, one more than a servo can store.
        position: present position.
        low: lowest position so far.
        high: highest position so far.
    """

    def __init__(
        self, encoder: int, time_s: float, *, full_turn: bool = False, both_sides: bool = False
    ) -> None:
        self._both_sides = both_sides
        self.homing_offset = min(encoder - MIDDLE, MAX_HOMING_OFFSET)
        self.full_turn = full_turn
        self.position = self.low = self.high = self._middle = encoder - self.homing_offset
        self._encoder = encoder
        self._time_s = time_s
        self._lost = False

    def update(self, encoder: int, time_s: float) -> None:
        """Takes the next reading in: encoder ticks 0..4095, read at time_s."""
        half = TICKS_PER_TURN // 2
        step = (encoder - self._encoder + half) % TICKS_PER_TURN - half
        if abs(step) > MAX_STEP or time_s - self._time_s > MAX_GAP_S:
            self._lost = True
        self._encoder, self._time_s = encoder, time_s
        self.position += step
        self.low = min(self.low, self.position)
        self.high = max(self.high, self.position)

    def restart(self) -> None:
        """Forgets the range, and starts again where the joint stands."""
        self.position %= TICKS_PER_TURN
        self.low = self.high = self.position
        self._lost = False

    @property
    def span(self) -> int:
        """Ticks from the lowest to the highest position so far."""
        return self.high - self.low

    @property
    def from_middle(self) -> int:
        """Ticks from the middle pose to the present position."""
        return self.position - self._middle

    @property
    def state(self) -> SweepState:
        """How far the sweep is."""
        if self.full_turn:
            return SweepState.FULL_TURN
        if self._lost:
            return SweepState.LOST
        if self.span < MOVED_LEAST:
            return (
                SweepState.HARDLY_MOVED if self.span > MOVED_LEAST // 10 else SweepState.NOT_MOVED
            )
        if self.span > WIDEST:
            return SweepState.TOO_FAR
        # After a restart the positions may be counted in another turn than the middle pose's.
        below = (self._middle - self.low) % TICKS_PER_TURN
        if below > self.span:
            return SweepState.MIDDLE_MISSED
        if self._both_sides and min(below, self.span - below) < MOVED_LEAST:
            return SweepState.ONE_SIDE
        if self.low < 0 or self.high > MAX_TICK:
            return SweepState.CROSSED
        return SweepState.NEAR if self.placement.shift else SweepState.OK

    @property
    def placement(self) -> Placement:
        """The range so far, put between the seams.

        A range that keeps clear of the seam stays as it is, as LeRobot has it. Any other is moved
        to the middle of the turn by another homing offset.
        """
        if self.full_turn:
            return Placement(self.homing_offset, 0, MAX_TICK, 0)
        shift = 0
        if self.low < SEAM_MARGIN or self.high > MAX_TICK - SEAM_MARGIN:
            shift = (self.low + self.high) // 2 - MIDDLE
        offset = (self.homing_offset + shift + MIDDLE) % TICKS_PER_TURN - MIDDLE
        if offset > MAX_HOMING_OFFSET:
            offset, shift = MAX_HOMING_OFFSET, shift - 1
        return Placement(offset, self.low - shift, self.high - shift, shift)
