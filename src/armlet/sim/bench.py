"""A bench without hardware: two emulated arms on serial ports, a target, two cameras."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from armlet.motors.emulation import EmulatedBus
from armlet.robots.kinematics import HOME

from . import task as tasks
from .arms import Arms, EmulatedArms, Motion, Side
from .choice import REACH, check
from .demonstrator import Move, demonstrate_reach, move_home, random_target
from .domain import ORDINARY, Domain
from .expert import LIMIT_S, Expert
from .scene import Scene, View
from .task import Layout, Standing, State, Task

if TYPE_CHECKING:
    from .physics import World

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
    task: what lies on the table; None: `reach`, whose target is the one thing. physics: the
    follower has weight, and moves what it touches; a task with something to move needs it. With
    `arms`, they must have been made for the same task and domain. domain: cameras, light and, with
    physics, friction and the like. clumsiness: share of the demonstrations in which something goes
    wrong and is corrected, 0 to 1.
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
        task: Task | None = None,
        physics: bool = False,
        domain: Domain = ORDINARY,
        clumsiness: float = 0.0,
    ) -> None:
        self._views = {name: View(name, *size) for name in ("front", "wrist")}
        self.task = tasks.find(REACH) if task is None else task
        check(self.task, physics, domain)
        self._domain = domain
        self._reaches = self.task == tasks.find(REACH)
        self._scene = Scene(seed, noise, domain, None if self._reaches else self.task.things)
        self._rng = np.random.default_rng(seed)
        self._lock = threading.RLock()
        self._subject = self.task.goals[0].thing
        self._expert: Expert | None = None
        self._expert_seed = seed
        self._physics, self._clumsiness = physics, clumsiness
        self._shown_until_s = -math.inf
        first = self._random_layout() if self._reaches else self.task.initial(seed)
        self._first: Layout | None = first
        self._open = ExitStack()
        if arms is None:
            world = _world(self.task, domain) if physics else None
            arms = EmulatedArms(links, paced, clock, motors, world)
            arms.place(first)
            self._first = None
        self._arms: Arms = arms

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(self._arms)
            if self._first is not None:
                self._arms.place(self._first)
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
        """Where the task's target, or what is to be moved, is on the table (2,), metres."""
        return self.subject_of(self.state)

    @property
    def pictures_are_late(self) -> bool:
        """Whether `seen` is not `state`."""
        return self._domain.camera_latency_s > 0

    def subject_of(self, state: State) -> Vector:
        """`target_xy` in a state."""
        return state.things[self._subject].position[:2].copy()

    def place_target(self, xy: Vector | None = None) -> Vector:
        """Put the target at `xy` (2,), metres, or at a random place; returns where it is.

        In a task with more things a random place is one for each.
        """
        with self._lock:
            if xy is not None:
                self._arms.place(self._target_at(_point(xy)))
            else:
                self._arms.place(self._random_layout())
        return self.target_xy

    def begin(self, seed: int) -> None:
        """Put the task's things where the seed has them. The arms stay where they are."""
        self._expert_seed = seed
        self._arms.place(self.task.initial(seed))

    @property
    def state(self) -> State:
        """The follower and the things, of one instant: what the task is judged by."""
        return self._arms.state()

    @property
    def seen(self) -> State:
        """As `state`, of the instant that a picture of now shows: see Domain.camera_latency_s."""
        return self._arms.state(self._domain.camera_latency_s)

    def _random_layout(self) -> Layout:
        if self._reaches:
            return self._target_at(random_target(self._rng))
        self._expert_seed = int(self._rng.integers(2**31))
        return self.task.initial(self._expert_seed)

    def _target_at(self, xy: Vector) -> Layout:
        thing = self.task.things[self._subject]
        at = np.array([xy[0], xy[1], thing.rest_height_m])
        return {self._subject: Standing(at, np.array([1.0, 0.0, 0.0, 0.0]), np.zeros(3))}

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
        return self.error_m(State(self.follower_joints, self.state.things))

    def error_m(self, state: State) -> float:
        """`reach_error_m` in a state."""
        return tasks.from_top_m(self._subject, state, self.task.things)

    def render(
        self, view_name: str, joints: Vector | None = None, state: State | None = None
    ) -> NDArray[np.uint8]:
        """What camera `front` or `wrist` sees, RGB uint8 (height, width, 3).

        state: for views of one instant; None: what a picture of now shows. joints: of the follower
        (6,), radians, instead of the state's.
        """
        if view_name not in self._views:
            raise ValueError(f"the bench has cameras {', '.join(self._views)}, not {view_name!r}")
        state = self.seen if state is None else state
        joints = state.joints if joints is None else joints
        target = state.things[self._subject].position[:2]
        return self._scene.render(self._views[view_name], joints, target, state.things)

    def demonstrate(self) -> float:
        """Have the hand show the task from where the leader is; the seconds that takes at most.

        A reach of an arm without weight is planned at once and takes just so long. Otherwise an
        expert looks, each time `look` is called, and moves the leader on. Raises BenchError in a
        task that nobody shows.
        """
        with self._lock:
            if self._reaches and not self._physics and not self._clumsiness:
                reach = demonstrate_reach(self.leader_joints, self.target_xy, self._rng)
                self._act(reach)
                duration_s = reach.duration_s
            else:
                self._expert = Expert(
                    self.task,
                    self._expert_seed,
                    self.leader_joints,
                    clumsiness=self._clumsiness,
                    sags=self._physics,
                )
                duration_s = LIMIT_S
            # An expert says itself when it has ended.
            ends_s = math.inf if self._expert is not None else self._arms.clock() + duration_s
            self._shown_until_s = ends_s
        return duration_s

    @property
    def demonstrates(self) -> bool:
        """Whether the hand is showing the task."""
        with self._lock:
            return self._arms.clock() < self._shown_until_s

    def look(self, state: State, period_s: float) -> None:
        """Let an expert that shows the task see the state of now, and act for so long."""
        with self._lock:
            if self._expert is None:
                return
            now_s = self._arms.clock()
            self._arms.move_leader(self._expert.look(state, now_s, period_s), now_s)
            nudged = self._expert.mishaps.take_nudge()
            if nudged is not None:
                self._arms.place(nudged)
            if self._expert.ended:
                self._expert, self._shown_until_s = None, now_s

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
        self._expert, self._shown_until_s = None, -math.inf
        self._arms.move_leader(motion, self._arms.clock())


@dataclass(frozen=True)
class _Played:
    """A motion of a caller's own."""

    joints: JointsFn


def _world(task: Task, domain: Domain) -> World:
    from .physics import World  # it needs MuJoCo

    return World(task.things, domain)


def _point(xy: Vector) -> Vector:
    point = np.asarray(xy, np.float64)
    if point.shape != (2,) or not np.all(np.isfinite(point)):
        raise ValueError(f"a target is placed at (x, y) in metres on the table; found {xy}")
    return point.copy()
