"""A bench without hardware: two emulated arms on serial ports, a target, two cameras."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from armlet.arm.calibration import Calibration
from armlet.arm.units import radians_to_ticks, ticks_to_radians
from armlet.feetech import REGISTERS, EmulatedBus

from .calibrations import FOLLOWER, LEADER
from .demonstrator import Move, demonstrate_reach, move_home, random_target
from .kinematics import GRIPPER_CLOSED, GRIPPER_OPEN, HOME, tip_position
from .scene import Scene, View, target_point

Vector = NDArray[np.float64]
Clock = Callable[[], float]
JointsFn = Callable[[float], Vector]
"""Joint angles (6,), radians, at a number of seconds after the motion's beginning."""

_BAUDRATE = 1_000_000
_GRIPPER = 5
_REST_S = 1.0


class Bench:
    """Emulated leader and follower arm, a target on the table, cameras `front` and `wrist`.

    A context manager; safe to use from several threads. The leader's servos are moved by a scripted
    hand and follow it only while their torque is off, as a real leader does. Joint angles here are
    the arm model's (see kinematics): on both arms the calibrated centre is zero; a gripper angle is
    the share of the way from closed (-0.9) to open (+0.9), whatever that arm's gripper range.

    seed: of targets, demonstrations and sensor noise. size: (width, height) of the pictures.
    paced: the buses take the time a 1 Mbaud line takes. links: folder in which the serial ports
    appear as `leader` and `follower`. noise: sensor noise, grey levels. clock: seconds, monotonic,
    of all motion; a test's own clock makes the bench independent of real time.
    """

    def __init__(
        self,
        seed: int = 0,
        size: tuple[int, int] = (640, 480),
        paced: bool = True,
        links: Path | None = None,
        noise: float = 0.0,
        clock: Clock = time.monotonic,
    ) -> None:
        self._views = {name: View(name, *size) for name in ("front", "wrist")}
        self._scene = Scene(seed, noise)
        self._rng = np.random.default_rng(seed)
        self._lock = threading.RLock()
        self._target = random_target(self._rng)
        self._open = ExitStack()
        self._clock = clock
        self.leader = _bus("leader", links, paced, clock)
        self.follower = _bus("follower", links, paced, clock)
        _calibrate(self.leader, LEADER)
        _calibrate(self.follower, FOLLOWER)
        _stand(self.leader, LEADER, HOME)
        _stand(self.follower, FOLLOWER, HOME)
        self._act(Move(HOME, HOME, _REST_S).joints)

    def __enter__(self) -> Self:
        # The first picture paints the table, half a second: better now than in the first frame.
        for name in self._views:
            self.render(name)
        with ExitStack() as stack:
            stack.enter_context(self.leader)
            stack.enter_context(self.follower)
            self._open = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open.close()

    @property
    def target_xy(self) -> Vector:
        """Centre of the target on the table (2,), metres."""
        with self._lock:
            return self._target.copy()

    def place_target(self, xy: Vector | None = None) -> Vector:
        """Put the target at `xy` (2,), metres, or at a random place; returns where it is."""
        with self._lock:
            self._target = random_target(self._rng) if xy is None else _point(xy)
            return self._target.copy()

    @property
    def leader_joints(self) -> Vector:
        """Where the leader is now (6,), radians."""
        return _joints(self.leader, LEADER)

    @property
    def follower_joints(self) -> Vector:
        """Where the follower is now (6,), radians."""
        return _joints(self.follower, FOLLOWER)

    @property
    def reach_error_m(self) -> float:
        """Distance of the follower's tip from the middle of the target's top, metres."""
        tip = tip_position(self.follower_joints)
        return float(np.linalg.norm(tip - target_point(self.target_xy)))

    def render(self, view_name: str) -> NDArray[np.uint8]:
        """What camera `front` or `wrist` sees now, RGB uint8 (height, width, 3)."""
        if view_name not in self._views:
            raise ValueError(f"the bench has cameras {', '.join(self._views)}, not {view_name!r}")
        return self._scene.render(self._views[view_name], self.follower_joints, self.target_xy)

    def demonstrate(self) -> float:
        """Start the hand's reach from where the leader is to the target; returns its seconds."""
        with self._lock:
            reach = demonstrate_reach(self.leader_joints, self._target, self._rng)
            self._act(reach.joints)
        return reach.duration_s

    def home(self) -> float:
        """Start a smooth move of the leader to the rest pose; returns its seconds."""
        with self._lock:
            move = move_home(self.leader_joints)
            self._act(move.joints)
        return move.duration_s

    def play(self, joints_fn: JointsFn) -> None:
        """Let the hand move the leader by `joints_fn` from now on, until told otherwise."""
        first = np.asarray(joints_fn(0.0))
        if first.shape != (6,) or not np.all(np.isfinite(first)):
            raise ValueError(f"a motion gives six finite joint angles in radians; found {first}")
        with self._lock:
            self._act(joints_fn)

    def _act(self, joints_fn: JointsFn) -> None:
        hand = _Hand(joints_fn, LEADER, self._clock())
        for index, id in enumerate(_ids(LEADER)):
            self.leader.servos[id].hand = hand.finger(index)


class _Hand:
    """Turns one motion of six joints into six motions of one servo each, in ticks."""

    def __init__(self, joints_fn: JointsFn, calibration: Calibration, start_s: float) -> None:
        self._joints_fn = joints_fn
        self._calibration = calibration
        self._start_s = start_s

    def finger(self, index: int) -> Callable[[float], float]:
        """The encoder's own ticks (before Homing_Offset) of servo `index` at a monotonic time."""
        offset = list(self._calibration.values())[index].homing_offset

        def ticks(now_s: float) -> float:
            joints = self._joints_fn(max(0.0, now_s - self._start_s))
            return float(_to_ticks(joints, self._calibration)[index]) + offset

        return ticks


def _bus(name: str, links: Path | None, paced: bool, clock: Clock) -> EmulatedBus:
    link = None if links is None else links / name
    return EmulatedBus(ids=_ids(FOLLOWER), link=link, baudrate=_BAUDRATE, paced=paced, clock=clock)


def _ids(calibration: Calibration) -> tuple[int, ...]:
    return tuple(joint.id for joint in calibration.values())


def _calibrate(bus: EmulatedBus, calibration: Calibration) -> None:
    """Write the calibration into the servos' EEPROM, as LeRobot's calibration does."""
    for joint in calibration.values():
        servo = bus.servos[joint.id]
        servo.poke(REGISTERS["Homing_Offset"], joint.homing_offset)
        servo.poke(REGISTERS["Min_Position_Limit"], joint.range_min)
        servo.poke(REGISTERS["Max_Position_Limit"], joint.range_max)


def _stand(bus: EmulatedBus, calibration: Calibration, joints: Vector) -> None:
    """Put the arm there and switch it on, so that its goals are where it stands."""
    for id, ticks in zip(_ids(calibration), _to_ticks(joints, calibration), strict=True):
        bus.servos[id].position = float(ticks)
        bus.servos[id].power_cycle()


def _joints(bus: EmulatedBus, calibration: Calibration) -> Vector:
    ticks = np.array([bus.servos[id].position for id in _ids(calibration)])
    joints = ticks_to_radians(ticks, calibration)
    low, high = _gripper_range(calibration)
    share = (ticks[_GRIPPER] - low) / (high - low)
    joints[_GRIPPER] = GRIPPER_CLOSED + share * (GRIPPER_OPEN - GRIPPER_CLOSED)
    return joints


def _to_ticks(joints: Vector, calibration: Calibration) -> Vector:
    """Ticks (6,) within the calibrated range: past it a real arm's stops hold the hand back."""
    ticks = radians_to_ticks(joints, calibration)
    low, high = _gripper_range(calibration)
    share = (joints[_GRIPPER] - GRIPPER_CLOSED) / (GRIPPER_OPEN - GRIPPER_CLOSED)
    ticks[_GRIPPER] = low + share * (high - low)
    lows = [joint.range_min for joint in calibration.values()]
    highs = [joint.range_max for joint in calibration.values()]
    return np.clip(ticks, lows, highs)


def _gripper_range(calibration: Calibration) -> tuple[int, int]:
    gripper = calibration["gripper"]
    return gripper.range_min, gripper.range_max


def _point(xy: Vector) -> Vector:
    point = np.asarray(xy, np.float64)
    if point.shape != (2,) or not np.all(np.isfinite(point)):
        raise ValueError(f"a target is placed at (x, y) in metres on the table; found {xy}")
    return point.copy()
