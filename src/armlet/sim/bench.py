"""A bench without hardware: two emulated arms on serial ports, a target, two cameras."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from armlet.motors.emulation import EmulatedBus

from .arms import Arms, EmulatedArms, Motion, Side
from .demonstrator import Move, demonstrate_reach, move_home, random_target
from .kinematics import HOME, tip_position
from .scene import Scene, View, target_point

Vector = NDArray[np.float64]
Clock = Callable[[], float]
JointsFn = Callable[[float], Vector]
"""Joint angles (6,), radians, at a number of seconds after the motion's beginning."""

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
    of all motion; a test's own clock makes the bench independent of real time. arms: those to use
    (`paced`, `links` and `clock` are theirs then), as an `ArmsProcess`, which the painter does not
    delay; None: threads of this process.
    """

    def __init__(
        self,
        seed: int = 0,
        size: tuple[int, int] = (640, 480),
        paced: bool = True,
        links: Path | None = None,
        noise: float = 0.0,
        clock: Clock = time.monotonic,
        arms: Arms | None = None,
        motors: str = "sts3215",
    ) -> None:
        self._views = {name: View(name, *size) for name in ("front", "wrist")}
        self._scene = Scene(seed, noise)
        self._rng = np.random.default_rng(seed)
        self._lock = threading.RLock()
        self._target = random_target(self._rng)
        self._open = ExitStack()
        self._arms: Arms = EmulatedArms(links, paced, clock, motors) if arms is None else arms

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(self._arms)
            self._act(Move(HOME, HOME, _REST_S))
            # The first picture paints the table, half a second: better now than in the first frame.
            for name in self._views:
                self.render(name)
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
    def leader(self) -> EmulatedBus:
        """The leader's bus, to look at or to disturb; only of arms in this process."""
        return self._here().leader

    @property
    def follower(self) -> EmulatedBus:
        """The follower's bus, to look at or to disturb; only of arms in this process."""
        return self._here().follower

    def _here(self) -> EmulatedArms:
        if not isinstance(self._arms, EmulatedArms):
            raise TypeError("the arms run in a process of their own: open their ports instead")
        return self._arms

    def port(self, side: Side) -> str:
        """Path of an arm's serial port."""
        return self._arms.port(side)

    @property
    def leader_joints(self) -> Vector:
        """Where the leader is now (6,), radians."""
        return self._arms.joints(Side.LEADER)

    @property
    def follower_joints(self) -> Vector:
        """Where the follower is now (6,), radians."""
        return self._arms.joints(Side.FOLLOWER)

    @property
    def reach_error_m(self) -> float:
        """Distance of the follower's tip from the middle of the target's top, metres."""
        return self.reach_error_of(self.follower_joints)

    def reach_error_of(self, joints: Vector) -> float:
        """`reach_error_m` with the follower at joint angles (6,), radians."""
        return float(np.linalg.norm(tip_position(joints) - target_point(self.target_xy)))

    def render(self, view_name: str, joints: Vector | None = None) -> NDArray[np.uint8]:
        """What camera `front` or `wrist` sees, RGB uint8 (height, width, 3).

        joints: of the follower (6,), radians, for views of one instant; None: where it is now.
        """
        if view_name not in self._views:
            raise ValueError(f"the bench has cameras {', '.join(self._views)}, not {view_name!r}")
        joints = self.follower_joints if joints is None else joints
        return self._scene.render(self._views[view_name], joints, self.target_xy)

    def demonstrate(self) -> float:
        """Start the hand's reach from where the leader is to the target; returns its seconds."""
        with self._lock:
            reach = demonstrate_reach(self.leader_joints, self._target, self._rng)
            self._act(reach)
        return reach.duration_s

    def home(self) -> float:
        """Start a smooth move of the leader to the rest pose; returns its seconds."""
        with self._lock:
            move = move_home(self.leader_joints)
            self._act(move)
        return move.duration_s

    def play(self, joints_fn: JointsFn) -> None:
        """Let the hand move the leader by `joints_fn` from now on, until another call."""
        first = np.asarray(joints_fn(0.0))
        if first.shape != (6,) or not np.all(np.isfinite(first)):
            raise ValueError(f"a motion gives six finite joint angles in radians; found {first}")
        with self._lock:
            self._act(_Played(joints_fn))

    def _act(self, motion: Motion) -> None:
        self._arms.move_leader(motion, self._arms.clock())


@dataclass(frozen=True)
class _Played:
    """A motion of a caller's own."""

    joints: JointsFn


def _point(xy: Vector) -> Vector:
    point = np.asarray(xy, np.float64)
    if point.shape != (2,) or not np.all(np.isfinite(point)):
        raise ValueError(f"a target is placed at (x, y) in metres on the table; found {xy}")
    return point.copy()
