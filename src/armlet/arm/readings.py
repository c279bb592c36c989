"""What is known of an arm's joints from the replies of its servos."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from armlet.feetech import SyncReply

from .feedback import JointSample
from .units import RADIANS_PER_TICK, JointConverter

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
        dt_s = abs(then.stamp_ns - self.stamp_ns) * 1e-9
        speed = abs(then.velocity)
        far = _JUMP_RAD + dt_s * (2 * max(speed, abs(self.velocity)) + _ACCELERATION / 2 * dt_s)
        return (
            abs(then.position - self.position) <= far
            and abs(then.velocity - self.velocity) <= _VELOCITY_JUMP + _VELOCITY_RATE * dt_s
            and speed <= _FASTEST
        )


class Readings:
    """The joints' last values, from replies to one sync_read after the other.

    A checksum of eight bits lets one in 256 badly damaged replies pass. So a reading that a joint
    cannot have come to since its last one, and the first one of all, is held back until the next
    one agrees with it.

    Attributes:
        implausible: readings that were held back and not confirmed.
    """

    def __init__(self, ids: list[int], converter: JointConverter) -> None:
        self._ids = ids
        self._converter = converter
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
        """The joints as they are known with this reply; None if no joint is any fresher by it.

        The reply's values are position, velocity and, if full, load first of all.
        """
        found, stamp_ns = reply.values, reply.stamp_ns
        if not found:
            return None
        nothing = (0,) * len(next(iter(found.values())))
        rows = [found.get(servo_id, nothing) for servo_id in self._ids]
        positions = self._converter.ticks_to_radians([row[0] for row in rows])
        velocities = np.array([row[1] for row in rows]) * RADIANS_PER_TICK
        states = [
            _State(position, velocity, stamp_ns)
            for position, velocity in zip(positions.tolist(), velocities.tolist(), strict=True)
        ]
        fresh = [
            servo_id in found and self._believe(i, states[i])
            for i, servo_id in enumerate(self._ids)
        ]
        load = None
        if full:
            loads = np.array([row[2] for row in rows]) / 1000
            load = self._load = np.where(fresh, loads, self._load)
        if all(fresh):
            stamps_ns = np.full(len(fresh), stamp_ns, np.int64)
            return JointSample(stamp_ns, positions, velocities, self._everyone, stamps_ns, load)
        if not any(fresh):
            return None
        known = [state or _UNKNOWN for state in self._known]
        return JointSample(
            stamp_ns,
            np.array([state.position for state in known]),
            np.array([state.velocity for state in known]),
            np.array(fresh),
            np.array([state.stamp_ns for state in known], np.int64),
            load,
        )

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
