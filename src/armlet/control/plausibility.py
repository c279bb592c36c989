"""What is known of an arm's joints from the replies of its servos."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from armlet.motors.protocol import Measure, SyncReply
from armlet.robots.units import RADIANS_PER_TICK, TICKS_PER_TURN, JointConverter

from .feedback import JointSample

_FASTEST = 20.0
"""rad/s; a servo runs at 4.8, a hand that moves a leader at less than 10."""

_JUMP_RAD = 0.05
_ACCELERATION = 100.0
_VELOCITY_JUMP = 10.0
_VELOCITY_RATE = 200.0


class _State(NamedTuple):
    """A joint at a Unix time: radians, rad/s."""

    position: float
    velocity: float
    stamp_ns: int

    def leads_to(self, then: _State) -> bool:
        """Whether the joint can have come from here to there in the time between."""
        speed = abs(then.velocity)
        moved, changed = abs(then.position - self.position), abs(then.velocity - self.velocity)
        # Nearly always; what time adds to the two is never negative.
        if moved <= _JUMP_RAD and changed <= _VELOCITY_JUMP:
            return speed <= _FASTEST
        dt_s = abs(then.stamp_ns - self.stamp_ns) * 1e-9
        far = _JUMP_RAD + dt_s * (2 * max(speed, abs(self.velocity)) + _ACCELERATION / 2 * dt_s)
        return (
            moved <= far and changed <= _VELOCITY_JUMP + _VELOCITY_RATE * dt_s and speed <= _FASTEST
        )


class Places(NamedTuple):
    """Where a reply has position, velocity and load, by what was asked for; load only if full."""

    state: tuple[int, int, int]
    full: tuple[int, int, int]


_FIRST = Places((0, 1, 2), (0, 1, 2))


class JointReadings:
    """The joints' last values, from replies to one sync_read after the other.

    A checksum of eight bits lets one in 256 badly damaged replies pass. So a reading that a joint
    cannot have come to since its last one, and the first one of all, is held back until the next
    one agrees with it.

    Args:
        ids: the servos, in the order of the joints.
        converter: of the joints' ticks.
        places: where in a reply's values position (ticks), velocity and load are.
        velocities, loads: how each joint's are scaled; None: ticks/s, and 0.1 %.
        counts_turns: whether the servos' positions run on past a turn. Where such a servo begins at
            power-up depends on its horn, so a joint is first taken to be in the turn that is
            nearest to its calibrated centre, and then in the one nearest to where it was.

    Attributes:
        turns: by joint, how many turns its servo is ahead of what is reported.
        implausible: readings that were held back and not confirmed.
    """

    def __init__(
        self,
        ids: list[int],
        converter: JointConverter,
        places: Places = _FIRST,
        velocities: Sequence[Measure] | None = None,
        loads: Sequence[Measure] | None = None,
        counts_turns: bool = False,
    ) -> None:
        self.turns = [0] * len(ids)
        self._counts_turns = counts_turns
        self._ids = ids
        self._places = places
        self._velocity_rad = [
            RADIANS_PER_TICK * velocity.times / velocity.per for velocity in velocities or ()
        ] or [RADIANS_PER_TICK] * len(ids)
        self._load_per = np.array([load.per / load.times for load in loads or ()] or [1000.0])
        self._centers: list[float] = converter.centers.tolist()
        self._everyone = np.ones(len(ids), np.bool_)
        self._everyone.setflags(write=False)
        self._load = np.full(len(ids), np.nan)
        self.implausible = 0
        self.forget()

    def forget(self) -> None:
        """Whatever comes next has to be confirmed."""
        self._known: list[_State | None] = [None] * len(self._ids)
        self._doubted: list[_State | None] = [None] * len(self._ids)

    def note(self, reply: SyncReply, full: bool) -> JointSample | None:
        """The joints as they are known with this reply; None if no joint is any fresher by it."""
        position_at, velocity_at, load_at = self._places.full if full else self._places.state
        found, stamp_ns = reply.values, reply.stamp_ns
        if not found:
            return None
        fresh = []
        for i, servo_id in enumerate(self._ids):
            row = found.get(servo_id)
            if row is None:
                fresh.append(False)
                continue
            # Plain floats: for so few joints, arrays would take three times as long.
            ticks = row[position_at] - self._centers[i]
            if self._counts_turns:
                ticks -= self._turn_of(i, ticks) * TICKS_PER_TURN
            position = ticks * RADIANS_PER_TICK
            velocity = row[velocity_at] * self._velocity_rad[i]
            fresh.append(self._believe(i, _State(position, velocity, stamp_ns)))
        if not any(fresh):
            return None
        load = None
        if full:
            counts = [found[i][load_at] if i in found else 0 for i in self._ids]
            loads = np.array(counts) / self._load_per
            load = self._load = np.where(fresh, loads, self._load)
        positions, velocities, stamps_ns = zip(
            *[state or _UNKNOWN for state in self._known], strict=True
        )
        return JointSample(
            stamp_ns,
            np.array(positions),
            np.array(velocities),
            self._everyone if all(fresh) else np.array(fresh),
            np.array(stamps_ns, np.int64),
            load,
        )

    def _turn_of(self, joint: int, ticks: float) -> int:
        """How many turns the servo is ahead, at so many ticks from the joint's centre."""
        known = self._known[joint]
        expected = 0.0 if known is None else known.position / RADIANS_PER_TICK
        self.turns[joint] = round((ticks - expected) / TICKS_PER_TURN)
        return self.turns[joint]

    def _believe(self, joint: int, state: _State) -> bool:
        """Takes a joint's state for true, or notes it as in doubt."""
        known, doubted = self._known[joint], self._doubted[joint]
        if known is not None and known.leads_to(state):
            self.implausible += doubted is not None
        elif doubted is None or not doubted.leads_to(state):
            self.implausible += doubted is not None
            self._doubted[joint] = state
            return False
        self._known[joint], self._doubted[joint] = state, None
        return True


_UNKNOWN = _State(np.nan, np.nan, 0)
