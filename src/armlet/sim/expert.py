"""A scripted expert: moves the leader so that the follower, which has weight, does a task.

It sees what a person sees: the follower's true pose and the things. Every look moves the leader a
little further; what the follower sags is made up for, and a grasp that failed is tried again.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from armlet.robots.kinematics import HOME, REACH_LIMITS, UnreachableError, solve_reach, tip_position

from .choice import BenchError
from .demonstrator import Glide, demonstrate_reach, minimum_jerk
from .mishap import Mishap, Mishaps
from .task import Goal, Progress, Standing, State, Task

Vector = NDArray[np.float64]

LIMIT_S = 60.0
"""An expert that is not done by then gives up."""

_GRIPPER = 5
_WIDE = 0.0
_SHUT = -0.9
_SQUEEZE_RAD = 0.030
"""How much narrower than the thing the leader holds its gripper: the servo's pull stays below its
overload torque, and the thing does not slip."""

_ABREAST, _APART_M = -0.6, 0.025
"""The gripper's angle for a push, and how far its fingers are apart then."""

_PUSH_HEIGHT_M = 0.012
_PUSH_M_S = 0.12
_FINGER_HALF_M = 0.008
_FINGER_M = 0.005
_LOW_M = 0.008
_HOVER_M = 0.085
_LIFT_M = 0.11
_CLEAR_M = 0.105
_DROP_M = 0.065
_CLOSE_RAD_S = 1.3
_STALL_S = 0.15
_STALL_RAD = 0.01
_PUSHES_RAD = 0.08
_SLIPPED_M = 0.02
_MOVED_M = 0.008
_SETTLE_S = 0.7
_SETTLED_RAD = 0.012
_LAG_S = 0.1
"""How late the follower is: a look compares it with where it was wanted so long ago."""

_LEAN_MOVING, _LEAN_STANDING = 3.0, 10.0
"""How fast a miss is made up for, 1/s."""

_LEAN_MOST_RAD = 0.2
_PEAK_SPEED = 1.7
_PEAK_PER_MEAN = 1.875
_AIM_M = 0.0012
_LET_GO_RAD = 0.35
_REST_S = 0.4


_ENDED = object()


class Phase(StrEnum):
    """What the expert is at."""

    OVER = "over"
    DOWN = "down"
    CLOSE = "close"
    LIFT = "lift"
    CARRY = "carry"
    LOWER = "lower"
    OPEN = "open"
    PUSH = "push"
    AWAY = "away"
    RECOVER = "recover"
    DONE = "done"
    GAVE_UP = "gave up"


@dataclass(frozen=True)
class Look:
    """What there is to be seen at a time, s."""

    state: State
    now_s: float


class _Lost(Exception):
    """It did not go as it should; look again, try again."""


_Act = Iterator[None]
"""An action: goes on by a look at each `next`. Raises _Lost."""


class Expert:
    """Shows a task that puts a box into a bin, pushes one onto a mark, or touches a thing.

    Feed it looks, some 30 a second, and let the leader move as each says.

    Args:
        task: what is to be done.
        seed: of pace, aim and heights, which vary as a person's.
        leader: where the leader is (6,), radians.
        limit_s: gives up after that time.
        clumsiness: share of the seeds, 0 to 1, by which something goes wrong at the first try, as
            `mishap` says; the expert then sees it and goes on from there.
        sags: whether the follower has weight, and the leader is to make up for it.

    Attributes:
        phase: what it is at.
        tries: how many times it has reached for the thing.
        mishaps: what goes wrong; whoever owns the things asks it where one is nudged to.

    Raises BenchError for a task of another kind.
    """

    def __init__(
        self,
        task: Task,
        seed: int,
        leader: Vector,
        limit_s: float = LIMIT_S,
        clumsiness: float = 0.0,
        sags: bool = True,
    ) -> None:
        goal = _goal(task)
        self._task, self._thing, self._place = task, goal.thing, goal.other
        self._show = self._showing(goal)
        self._misses_by = self._tip_misses if goal.kind == "touched" else self._arm_misses
        self.mishaps, self._sags = mishaps(task, seed, clumsiness), sags
        self._dice = np.random.default_rng(seed)
        self._pace = self._dice.uniform(0.9, 1.15)
        self._limit_s = limit_s
        self._progress = Progress(task)
        self._wanted = np.array(leader, float)
        self._lean = np.zeros(6)
        self._sent = self._wanted.copy()
        self._past: deque[tuple[float, Vector]] = deque()
        self._begun_s: float | None = None
        self._grip = Look(State(HOME, {}), 0.0)
        self.phase, self.tries = Phase.OVER, 0
        self._acting = self._whole()

    @property
    def ended(self) -> bool:
        """Whether it has done the task, or given up; it holds the leader still then."""
        return self.phase in (Phase.DONE, Phase.GAVE_UP)

    def look(self, state: State, now_s: float, period_s: float) -> Glide:
        """Takes a look at a time, s; how the leader goes until the next, so much later."""
        if self._begun_s is None:
            self._begun_s = now_s
            self._past.append((now_s, self._wanted.copy()))
        self._seen, self._period_s = Look(state, now_s), period_s
        self._progress.see(state, now_s)
        self.mishaps.see(state, now_s - self._begun_s)
        if not self.ended:
            self._act_on()
        self._correct()
        start, self._sent = self._sent, self._wanted + self._lean
        self._past.append((now_s + period_s, self._wanted.copy()))
        return Glide(start, self._sent, period_s)

    # --- the whole --------------------------------------------------------------------------

    def _act_on(self) -> None:
        assert self._begun_s is not None
        if self._seen.now_s - self._begun_s > self._limit_s:
            self.phase = Phase.GAVE_UP
        elif next(self._acting, _ENDED) is _ENDED:
            self.phase = Phase.DONE

    def _showing(self, goal: Goal) -> Callable[[], _Act]:
        if goal.kind == "touched":
            return self._touch
        return self._pick_and_place if goal.kind == "inside" else self._push

    def _whole(self) -> _Act:
        while True:
            try:
                self.tries += 1
                yield from self._show()
                if self._progress.done:
                    return
                raise _Lost
            except _Lost:
                # What is only touched is never in the way.
                yield from self._wait(0.1) if self._show == self._touch else self._recover()

    def _pick_and_place(self) -> _Act:
        yield from self._grasp()
        yield from self._bring()
        yield from self._let_go()

    def _recover(self) -> _Act:
        """Opens, goes up, and so has a free view again."""
        self.phase = Phase.RECOVER
        yield from self._turn_gripper(_WIDE, 0.4)
        x, y, z = self._seen.state.tip
        try:
            up = self._reach(np.array([x, y, max(z + 0.03, _CLEAR_M)]), self._held_turn(), _WIDE)
        except _Lost:
            up = np.array([*HOME[:_GRIPPER], _WIDE])
        yield from self._move(up)
        yield from self._wait(0.2)

    # --- grasp ------------------------------------------------------------------------------

    def _grasp(self) -> _Act:
        self.phase = Phase.OVER
        hover = _HOVER_M + self._dice.uniform(-0.008, 0.012)
        yield from self._move(self._beside(hover), self._dice.uniform(0.9, 1.1), settles=False)
        self.phase = Phase.DOWN
        at = self._at().copy()
        yield from self._move(self._beside(_LOW_M), least_s=1.0)
        if float(np.linalg.norm((self._at() - at)[:2])) > _MOVED_M:
            raise _Lost
        self.phase = Phase.CLOSE
        yield from self._close()
        self.phase = Phase.LIFT
        yield from self._rise()

    def _beside(self, height_m: float) -> Vector:
        """Joints for the open gripper about the thing, its fixed finger beside it."""
        at, turn = self._at(), self._turned()
        away = self._task.things[self._thing].size_m[0] / 2 + _FINGER_M
        aim = self._dice.normal(0.0, _AIM_M, 2)
        # Beside the fingers, so that they close on nothing.
        aim += self._missed_m() * np.array([math.cos(turn), math.sin(turn)])
        x, y = at[:2] + away * np.array([-math.sin(turn), math.cos(turn)]) + aim
        return self._reach(np.array([x, y, height_m]), turn, _WIDE)

    def _close(self) -> _Act:
        """Closes until the jaws stand: on the thing, or on nothing."""
        stood_s, stood = self._seen.now_s, self._gripper()
        while True:
            self._wanted[_GRIPPER] = max(
                _SHUT, self._wanted[_GRIPPER] - _CLOSE_RAD_S * self._period_s / self._pace
            )
            yield
            now_s, gripper = self._seen.now_s, self._gripper()
            if abs(gripper - stood) > _STALL_RAD:
                stood_s, stood = now_s, gripper
            pushes = gripper - self._wanted[_GRIPPER] > _PUSHES_RAD
            shut = self._wanted[_GRIPPER] == _SHUT
            if (pushes or shut) and now_s - stood_s >= _STALL_S:
                break
        self._wanted[_GRIPPER] = max(_SHUT, gripper - _SQUEEZE_RAD)
        yield from self._wait(0.15)

    def _rise(self) -> _Act:
        self._grip = self._seen
        x, y, _ = self._seen.state.tip
        high = _LIFT_M + self._dice.uniform(-0.005, 0.015)
        up = self._reach(np.array([x, y, high]), self._held_turn(), self._wanted[_GRIPPER])
        yield from self._holding(self._slipping(self._move(up, least_s=0.9, settles=False)))

    # --- into the bin -----------------------------------------------------------------------

    def _bring(self) -> _Act:
        self.phase = Phase.CARRY
        high = _LIFT_M + self._dice.uniform(0.0, 0.015)
        move = self._move(self._over_bin(high), self._dice.uniform(0.9, 1.1), settles=False)
        yield from self._holding(move)
        self.phase = Phase.LOWER
        drop = _DROP_M + self._dice.uniform(-0.003, 0.008)
        yield from self._holding(self._move(self._over_bin(drop), least_s=0.7))

    def _over_bin(self, height_m: float) -> Vector:
        """Joints that have the thing, as it hangs, over the bin's middle."""
        hangs = self._at() - self._seen.state.tip
        x, y = self._seen.state.things[self._place].position[:2] - hangs[:2]
        aim = self._dice.normal(0.0, 3 * _AIM_M, 2)
        point = np.array([x + aim[0], y + aim[1], height_m])
        return self._reach(point, 0.0, self._wanted[_GRIPPER])

    def _let_go(self) -> _Act:
        self.phase = Phase.OPEN
        yield from self._turn_gripper(_WIDE, 0.5)
        yield from self._wait(0.15)
        self.phase = Phase.AWAY
        x, y, z = self._seen.state.tip
        up = self._reach(np.array([x, y, z + 0.07]), 0.0, _WIDE)
        yield from self._move(up)
        yield from self._wait(self._task.hold_s + _LAG_S)

    # --- touch ------------------------------------------------------------------------------

    def _touch(self) -> _Act:
        """Over the thing and down on it without a stop, until it has been touched."""
        self.phase = Phase.OVER
        at, beside, turn = self._at()[:2].copy(), self._missed_m(), self.mishaps.turn
        aim = at + beside * np.array([math.cos(turn), math.sin(turn)])
        try:
            plan = demonstrate_reach(self._wanted, aim, self._dice)
        except UnreachableError as error:
            raise _Lost from error
        begun_s = self._seen.now_s
        while (passed_s := self._seen.now_s - begun_s) < plan.duration_s + _LAG_S:
            if float(np.linalg.norm(self._at()[:2] - at)) > _MOVED_M:
                raise _Lost
            self.phase = Phase.DOWN if passed_s > plan.down_at_s else Phase.OVER
            self._wanted = plan.joints(passed_s + self._period_s)
            yield
        yield from self._wait(self._task.hold_s + _REST_S)

    # --- push -------------------------------------------------------------------------------

    def _push(self) -> _Act:
        """From behind the thing straight on, both fingers on its side."""
        hover = _HOVER_M + self._dice.uniform(-0.008, 0.012)
        aim, room = self._dice.normal(0.0, _AIM_M, 2), self._dice.uniform(0.014, 0.022)
        at, mark = self._at()[:2], self._seen.state.things[self._place].position[:2] + aim
        way = (mark - at) / max(float(np.linalg.norm(mark - at)), 1e-6)
        half = self._task.things[self._thing].size_m[0] / 2 + _FINGER_HALF_M
        behind, end = at - (1.4 * half + room) * way, mark - half * way
        self.phase = Phase.OVER
        yield from self._move(self._fingers(behind, hover, way))
        self.phase = Phase.DOWN
        yield from self._move(self._fingers(behind, _PUSH_HEIGHT_M, way), least_s=0.8)
        self.phase = Phase.PUSH
        yield from self._slide(behind, end, way)
        self.phase = Phase.AWAY
        yield from self._slide(end, end - room * way, way)
        yield from self._move(self._fingers(end - room * way, hover, way))
        yield from self._wait(self._task.hold_s + _LAG_S)

    def _slide(self, start: Vector, end: Vector, way: Vector) -> _Act:
        """Low over the table along a straight line."""
        length_m, begun_s = float(np.linalg.norm(end - start)), self._seen.now_s
        duration_s = self._pace * _PEAK_PER_MEAN * length_m / _PUSH_M_S
        while (passed_s := self._seen.now_s - begun_s) < duration_s + _LAG_S:
            share = minimum_jerk((passed_s + self._period_s) / duration_s)
            self._wanted = self._fingers(start + (end - start) * share, _PUSH_HEIGHT_M, way)
            yield

    def _fingers(self, middle: Vector, height_m: float, way: Vector) -> Vector:
        """Joints that have both fingers about a point, abreast of a direction."""
        turn = math.atan2(way[1], way[0])
        x, y = middle + _APART_M / 2 * np.array([-way[1], way[0]])
        return self._reach(np.array([x, y, height_m]), turn, _ABREAST)

    # --- moves ------------------------------------------------------------------------------

    def _move(
        self, to: Vector, factor: float = 1.0, least_s: float = 0.6, settles: bool = True
    ) -> _Act:
        """A smooth move, until the follower has come there too where that matters.

        An arm that stands where nothing happens is what a policy learns to do for ever.
        """
        start = self._wanted.copy()
        way = float(np.abs(to - start).max())
        duration_s = self._pace * factor * max(least_s, _PEAK_PER_MEAN * way / _PEAK_SPEED)
        begun_s = self._seen.now_s
        most_s = duration_s + (_SETTLE_S if settles else 0.0)
        while (passed_s := self._seen.now_s - begun_s) < most_s:
            if passed_s >= duration_s + _LAG_S and self._miss() < _SETTLED_RAD:
                return
            share = minimum_jerk((passed_s + self._period_s) / duration_s)
            self._wanted = start + (to - start) * share
            yield

    def _holding(self, act: _Act) -> _Act:
        """The same, as long as the thing stays where it is in the gripper."""
        held = self._hangs(self._grip)
        for _ in act:
            if float(np.linalg.norm(self._hangs(self._seen) - held)) > _SLIPPED_M:
                raise _Lost
            yield

    def _slipping(self, act: _Act) -> _Act:
        """The same; the hand lets go on the way where that is the mishap."""
        begun_s = self._seen.now_s
        for _ in act:
            if self._befalls(Mishap.SLIP) and self._seen.now_s - begun_s > self.mishaps.slips_at_s:
                self._wanted[_GRIPPER] += _LET_GO_RAD
            yield

    def _befalls(self, mishap: Mishap) -> bool:
        return self.tries == 1 and self.mishaps.kind is mishap

    def _missed_m(self) -> float:
        """How far beside the thing the hand comes down."""
        return self.mishaps.beside_m if self._befalls(Mishap.MISS) else 0.0

    def _turn_gripper(self, to: float, duration_s: float) -> _Act:
        aim = self._wanted.copy()
        aim[_GRIPPER] = to
        start, begun_s = self._wanted.copy(), self._seen.now_s
        while (passed_s := self._seen.now_s - begun_s) < duration_s:
            share = minimum_jerk((passed_s + self._period_s) / duration_s)
            self._wanted = start + (aim - start) * share
            yield

    def _wait(self, duration_s: float) -> _Act:
        begun_s = self._seen.now_s
        while self._seen.now_s - begun_s < duration_s:
            yield

    def _correct(self) -> None:
        """Leans the leader by what the follower misses."""
        if not self._sags:
            return
        moves = float(np.abs(self._wanted - self._past[-1][1]).max()) > 1e-6
        rate = _LEAN_MOVING if moves else _LEAN_STANDING
        lean = self._lean + min(0.5, rate * self._period_s) * self._misses_by()
        self._lean = np.clip(lean, -_LEAN_MOST_RAD, _LEAN_MOST_RAD)

    def _arm_misses(self) -> Vector:
        """Of each joint (6,); a gripper that holds is left to push."""
        miss = self._misses()
        miss[_GRIPPER] = 0.0
        return miss

    def _tip_misses(self) -> Vector:
        """Of the tip's bearing and height, made up for by the base's joints alone (6,).

        So a person does it who looks at the tip. Elbow and wrist go on sagging, by which a policy
        can tell an arm that has weight from one that has none: both touch with the same tip.
        """
        miss, joints = self._misses(), self._seen.state.joints
        x, y, height = self._seen.state.tip
        dropped = float(tip_position(joints + miss)[2]) - height
        return np.array([miss[0], -dropped / math.hypot(x, y), 0.0, 0.0, 0.0, 0.0])

    def _misses(self) -> Vector:
        """Of the follower (6,), against where it was wanted when the leader was there."""
        then_s = self._seen.now_s - _LAG_S
        while len(self._past) > 1 and self._past[1][0] <= then_s:
            self._past.popleft()
        (before_s, before), (after_s, after) = (
            self._past[0],
            self._past[min(1, len(self._past) - 1)],
        )
        share = (then_s - before_s) / (after_s - before_s) if after_s > before_s else 0.0
        wanted = before + (after - before) * min(max(share, 0.0), 1.0)
        return wanted - self._seen.state.joints

    def _miss(self) -> float:
        return float(np.abs(self._misses()[:_GRIPPER]).max())

    # --- what is seen -----------------------------------------------------------------------

    def _at(self) -> Vector:
        return self._seen.state.things[self._thing].position

    def _turned(self) -> float:
        """The gripper's direction on the table, rad, that fits the thing's sides.

        Another side is tried where the first did not serve.
        """
        return _side_angle(self._seen.state.things[self._thing]) + self._other_side()

    def _other_side(self) -> float:
        return math.copysign(math.pi / 2, self._dice.uniform(-1, 1)) if self.tries % 3 == 0 else 0.0

    def _held_turn(self) -> float:
        joints = self._wanted
        return float(joints[4] - joints[0])

    def _gripper(self) -> float:
        return float(self._seen.state.joints[_GRIPPER])

    def _hangs(self, look: Look) -> Vector:
        return look.state.things[self._thing].position - look.state.tip

    def _reach(self, point: Vector, turn: float, gripper: float) -> Vector:
        """Joints (6,) for the tip at a point, turned about the vertical. Raises _Lost."""
        try:
            joints = solve_reach(point, gripper)
        except UnreachableError as error:
            raise _Lost from error
        roll = joints[4] + turn
        limit = REACH_LIMITS[4]
        joints[4] = roll - math.copysign(math.pi, roll) if abs(roll) > limit else roll
        return joints


def check_shown(task: Task) -> None:
    """Raises BenchError for a task that no expert shows."""
    _goal(task)


def mishaps(task: Task, seed: int, clumsiness: float) -> Mishaps:
    """What goes wrong when a task is shown by a seed. Raises BenchError as check_shown does."""
    return Mishaps(task, _goal(task), seed, clumsiness)


def _goal(task: Task) -> Goal:
    for goal in task.goals:
        moved = goal.kind in ("inside", "near") and task.things[goal.thing].moves
        if moved or goal.kind == "touched":
            return goal
    raise BenchError(
        f"nobody shows {task.name}: an expert puts a box into a bin, pushes it onto a mark or "
        "touches a thing, and the task's goals ask for none of these"
    )


def _side_angle(standing: Standing) -> float:
    """How a box's sides are turned on the table, rad, -45 to 45 degrees, whichever face is up."""
    w, x, y, z = standing.quaternion
    axes = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)],
            [2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x)],
            [2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
    flat = axes[int(np.argmin(np.abs(axes[:, 2])))]
    angle = math.atan2(flat[1], flat[0])
    quarter = math.pi / 2
    return angle - quarter * round(angle / quarter)
