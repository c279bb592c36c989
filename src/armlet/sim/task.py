"""Tasks as data: what lies on the table, where a seed puts it, and what counts as success.

A task is a YAML file: armlet's own in `tasks/`, a person's by its path. Nothing here needs a
physics engine.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from armlet.files import FileError, expanded, printable, read_yaml, shown, typed
from armlet.robots.kinematics import tip_position

Vector = NDArray[np.float64]

SHAPES = ("box", "bin", "mark")
MOVING = ("box",)
"""A box may be moved; a bin stands fast; a mark is only seen."""

_OWN = Path(__file__).parent / "tasks"
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_BIN_WALL_M = 0.003
_STILL_M_S = 0.02
_ROUNDING_S = 1e-6
_TRIES = 1000
_APART_M = 0.01
# What stands on a table that a small arm reaches.
_MOST_THINGS = 30
_SIZES_M = (0.0005, 1.0)
_PLACES_M = (-1.0, 1.0)
_TURNS_DEG = (-360.0, 360.0)
_MASSES_KG = (0.0001, 10.0)
_LONGEST_HOLD_S = 60.0
_LONGEST_TRY_S = 3600.0
_MEASURED = ("touched", "near", "released")


@dataclass(frozen=True)
class Thing:
    """Something on the table.

    Attributes:
        shape: one of SHAPES.
        size_m: (x, y, z); of a round mark the diameter twice, of a bin the outside.
        colour: RGB, 0..255.
        mass_kg: of a box.
        x_m, y_m, yaw_deg: (lowest, highest), where its middle may stand, and how it may be turned.
    """

    shape: str
    size_m: tuple[float, ...]
    colour: tuple[int, ...]
    x_m: tuple[float, ...]
    y_m: tuple[float, ...]
    yaw_deg: tuple[float, ...] = (0.0, 0.0)
    mass_kg: float = 0.0

    @property
    def moves(self) -> bool:
        """Whether the arm can move it."""
        return self.shape in MOVING

    @property
    def rest_height_m(self) -> float:
        """Of its frame's origin when it stands on the table: a box has it in its middle."""
        return self.size_m[2] / 2 if self.moves else 0.0


@dataclass(frozen=True, eq=False)
class Standing:
    """Where a thing is.

    position: float64 (3,), metres, of its frame's origin (a box's middle, else the middle of its
    foot). quaternion: float64 (4,), w first. velocity: float64 (3,), m/s.
    """

    position: Vector
    quaternion: Vector
    velocity: Vector


Layout = Mapping[str, Standing]
"""Where each thing is, by name."""


@dataclass(frozen=True, eq=False)
class State:
    """What a task is judged by: the follower's joint angles (6,), radians, and its things."""

    joints: Vector
    things: Layout

    @cached_property
    def tip(self) -> Vector:
        """Between the fingertips (3,), metres."""
        return tip_position(self.joints)


@dataclass(frozen=True)
class Goal:
    """One condition of success.

    Attributes:
        kind: `touched` (the tip is at the middle of the thing's top), `inside` (it is in the bin
            `other`, below its rim), `near` (it is at `other`, seen from above), `released` (the tip
            is away from it), `still` (it does not move).
        thing: its name.
        other: name of another thing, where there is one.
        within_m: how near, or how far away.
    """

    kind: str
    thing: str
    other: str = ""
    within_m: float = 0.0


@dataclass(frozen=True)
class Task:
    """A task.

    Attributes:
        title: what a policy is told in words.
        things: on the table, by name.
        goals: all of them must hold.
        hold_s: for how long, without a break.
        limit_s: a try that has not succeeded after this long has failed.
        name: of the task.
    """

    title: str
    things: Mapping[str, Thing]
    goals: tuple[Goal, ...]
    hold_s: float = 0.0
    limit_s: float = 20.0
    name: str = ""

    @property
    def needs_physics(self) -> bool:
        """Whether something in it can be moved."""
        return any(thing.moves for thing in self.things.values())

    def initial(self, seed: int) -> Layout:
        """Where everything stands at first, the same for the same seed.

        Raises ValueError if the things have no room.
        """
        dice = np.random.default_rng(seed)
        for _ in range(_TRIES):
            layout = {name: _drawn(thing, dice) for name, thing in self.things.items()}
            if self._have_room(layout):
                return layout
        raise ValueError(f"task {self.name}: its things have no room beside each other")

    def judge(self, state: State) -> bool:
        """Whether all goals hold at this instant; `hold_s` is for whoever watches."""
        return all(_holds(goal, state, self.things) for goal in self.goals)

    def error_m(self, state: State) -> float:
        """How far the first goal that is about a distance is from its middle, metres.

        Of `touched` the tip from the thing's top; of `inside` and `near` the thing from the other,
        seen from above. 0.0 where no goal is about one.
        """
        distances = (_distance_m(goal, state, self.things) for goal in self.goals)
        return next((metres for metres in distances if metres is not None), 0.0)

    def _have_room(self, layout: Layout) -> bool:
        names = [name for name, thing in self.things.items() if thing.shape != "mark"]
        for index, one in enumerate(names):
            for other in names[index + 1 :]:
                way = layout[one].position[:2] - layout[other].position[:2]
                room = _radius(self.things[one]) + _radius(self.things[other])
                if math.hypot(*way) < room + _APART_M:
                    return False
        return True


class Progress:
    """Whether a task has been done: its goals have held for its time without a break."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._since_s: float | None = None
        self.done = False

    def see(self, state: State, now_s: float) -> bool:
        """Takes a look at a time, s, not earlier than the last; whether it has been done."""
        if not self._task.judge(state):
            self._since_s = None
        elif self._since_s is None:
            self._since_s = now_s
        if self._since_s is not None and now_s - self._since_s >= self._task.hold_s - _ROUNDING_S:
            self.done = True
        return self.done


def bin_walls(size_m: tuple[float, ...]) -> list[tuple[Vector, Vector]]:
    """Floor and walls of an open bin: (centre (3,), size (3,)), metres, its foot at the origin."""
    x, y, z = size_m
    wall = _BIN_WALL_M
    parts = [((0.0, 0.0, wall / 2), (x, y, wall))]
    parts += [((s * (x - wall) / 2, 0.0, z / 2), (wall, y, z)) for s in (-1, 1)]
    parts += [((0.0, s * (y - wall) / 2, z / 2), (x - 2 * wall, wall, z)) for s in (-1, 1)]
    return [(np.array(centre), np.array(size)) for centre, size in parts]


def names() -> tuple[str, ...]:
    """The names of armlet's own tasks."""
    return tuple(sorted(path.stem for path in _OWN.glob("*.yaml")))


def find(task: str, folder: Path = Path()) -> Task:
    """A task by its name, or by the path of its file (one that ends in .yaml), from a folder.

    Raises FileError for an unknown name or a wrong file.
    """
    if task.endswith((".yaml", ".yml")):
        path = expanded(task, folder, "task")
        return _read(path)
    path = _OWN / f"{task}.yaml"
    if not _NAME.fullmatch(task) or not path.is_file():
        known = " or ".join(names())
        raise FileError(
            f"task: expected {known}, found {shown(task)}; a task of your own is named by its "
            ".yaml file"
        )
    return _read(path)


def _read(path: Path) -> Task:
    where = printable(path)
    try:
        document = read_yaml(path)
    except OSError as error:
        raise FileError(f"no task {where}: {error.strerror or error}") from error
    if isinstance(document, dict):
        document = {"name": path.stem, **document}
    task: Task = typed(Task, document, where)
    _check_task(task, where)
    for name, thing in task.things.items():
        _check_thing(thing, f"{where}: things.{name}")
    for index, goal in enumerate(task.goals):
        _check_goal(goal, task.things, f"{where}: goals[{index}]")
    try:
        task.initial(0)
    except ValueError as error:
        raise FileError(f"{where}: {error}") from error
    return task


def _check_task(task: Task, where: str) -> None:
    if not task.goals:
        raise FileError(f"{where}.goals: expected one at least; without any every trial succeeds")
    if len(task.things) > _MOST_THINGS:
        raise FileError(
            f"{where}.things: expected {_MOST_THINGS} at most, found {len(task.things)}"
        )
    for name in task.things:
        if not _NAME.fullmatch(name):
            raise FileError(
                f"{where}.things: expected names of a-z, 0-9 and _, found {shown(name)}"
            )
    _check_range(task.hold_s, (0.0, _LONGEST_HOLD_S), f"{where}.hold_s")
    _check_range(task.limit_s, (0.0, _LONGEST_TRY_S), f"{where}.limit_s")
    if not task.hold_s < task.limit_s:
        raise FileError(
            f"{where}: expected hold_s, and limit_s above it, found {task.hold_s:g} and "
            f"{task.limit_s:g}"
        )


def _check_range(value: float, bounds: tuple[float, float], where: str) -> None:
    low, high = bounds
    if not low <= value <= high:
        raise FileError(f"{where}: expected {low:g} to {high:g}, found {value:g}")


def _check_thing(thing: Thing, where: str) -> None:
    if thing.shape not in SHAPES:
        raise FileError(f"{where}.shape: expected {', '.join(SHAPES)}, found {shown(thing.shape)}")
    if len(thing.size_m) != 3 or min(thing.size_m) <= 0:
        raise FileError(f"{where}.size_m: expected three lengths above 0, found {thing.size_m}")
    for length in thing.size_m:
        _check_range(length, _SIZES_M, f"{where}.size_m")
    if thing.shape == "bin" and min(thing.size_m) <= 3 * _BIN_WALL_M:
        raise FileError(
            f"{where}.size_m: expected a bin larger than its walls of {_BIN_WALL_M:g} m, found "
            f"{thing.size_m}"
        )
    if len(thing.colour) != 3 or not all(0 <= part <= 255 for part in thing.colour):
        raise FileError(f"{where}.colour: expected RGB, 0 to 255 each, found {thing.colour}")
    for name in ("x_m", "y_m", "yaw_deg"):
        pair = getattr(thing, name)
        if len(pair) != 2 or pair[0] > pair[1]:
            raise FileError(f"{where}.{name}: expected [lowest, highest], found {pair}")
        for value in pair:
            _check_range(value, _TURNS_DEG if name == "yaw_deg" else _PLACES_M, f"{where}.{name}")
    if thing.moves:
        _check_range(thing.mass_kg, _MASSES_KG, f"{where}.mass_kg")


def _check_goal(goal: Goal, things: Mapping[str, Thing], where: str) -> None:
    if goal.kind not in _JUDGES:
        raise FileError(f"{where}.kind: expected {', '.join(_JUDGES)}, found {shown(goal.kind)}")
    needed = [goal.thing, goal.other] if goal.kind in _OF_TWO else [goal.thing]
    for name in needed:
        if name not in things:
            raise FileError(f"{where}: expected one of {', '.join(things)}, found {shown(name)}")
    if goal.kind in _MEASURED:
        _check_range(goal.within_m, _SIZES_M, f"{where}.within_m")
    if goal.kind == "inside" and things[goal.other].shape != "bin":
        raise FileError(f"{where}.other: expected a bin, found {shown(goal.other)}")


def _drawn(thing: Thing, dice: np.random.Generator) -> Standing:
    x = dice.uniform(thing.x_m[0], thing.x_m[1])
    y = dice.uniform(thing.y_m[0], thing.y_m[1])
    low, high = thing.yaw_deg
    half = math.radians(dice.uniform(low, high) if low < high else low) / 2
    return Standing(
        np.array([x, y, thing.rest_height_m]),
        np.array([math.cos(half), 0.0, 0.0, math.sin(half)]),
        np.zeros(3),
    )


def _radius(thing: Thing) -> float:
    return math.hypot(thing.size_m[0], thing.size_m[1]) / 2


def _holds(goal: Goal, state: State, things: Mapping[str, Thing]) -> bool:
    return _JUDGES[goal.kind](goal, state, things)


def from_top_m(name: str, state: State, things: Mapping[str, Thing]) -> float:
    """Distance of the tip from the middle of a thing's top, metres."""
    height = things[name].size_m[2] - things[name].rest_height_m
    top = state.things[name].position + np.array([0, 0, height])
    return float(np.linalg.norm(state.tip - top))


def _apart_m(goal: Goal, state: State) -> float:
    """Distance of a goal's two things, seen from above."""
    way = state.things[goal.thing].position[:2] - state.things[goal.other].position[:2]
    return math.hypot(*way)


def _distance_m(goal: Goal, state: State, things: Mapping[str, Thing]) -> float | None:
    if goal.kind == "touched":
        return from_top_m(goal.thing, state, things)
    return _apart_m(goal, state) if goal.kind in _OF_TWO else None


def _touched(goal: Goal, state: State, things: Mapping[str, Thing]) -> bool:
    return from_top_m(goal.thing, state, things) <= goal.within_m


def _inside(goal: Goal, state: State, things: Mapping[str, Thing]) -> bool:
    at, place = state.things[goal.thing].position, state.things[goal.other]
    size = things[goal.other].size_m
    turn = 2 * math.atan2(place.quaternion[3], place.quaternion[0])
    x, y = at[:2] - place.position[:2]
    across = x * math.cos(turn) + y * math.sin(turn), y * math.cos(turn) - x * math.sin(turn)
    within = all(abs(a) < s / 2 for a, s in zip(across, size[:2], strict=True))
    return within and place.position[2] < at[2] < place.position[2] + size[2]


def _near(goal: Goal, state: State, things: Mapping[str, Thing]) -> bool:
    return _apart_m(goal, state) <= goal.within_m


def _released(goal: Goal, state: State, things: Mapping[str, Thing]) -> bool:
    return float(np.linalg.norm(state.tip - state.things[goal.thing].position)) >= goal.within_m


def _still(goal: Goal, state: State, things: Mapping[str, Thing]) -> bool:
    return float(np.linalg.norm(state.things[goal.thing].velocity)) < _STILL_M_S


_OF_TWO = ("inside", "near")
_JUDGES = {
    "touched": _touched,
    "inside": _inside,
    "near": _near,
    "released": _released,
    "still": _still,
}
