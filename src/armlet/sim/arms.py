"""The bench's two emulated arms with their calibrations, and the hand that moves the leader."""

from __future__ import annotations

import enum
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from armlet.motors.emulation import EmulatedBus
from armlet.motors.protocol import TICKS_PER_TURN
from armlet.robots.calibration import Calibration
from armlet.robots.kinematics import GRIPPER_CLOSED, GRIPPER_OPEN, HOME
from armlet.robots.units import RADIANS_PER_TICK, own_converter, radians_to_ticks, ticks_to_radians

from .calibrations import FOLLOWER, LEADER
from .demonstrator import Demonstration, Glide, Move
from .task import Layout, Standing, State

if TYPE_CHECKING:
    from .driven_arm import DrivenArm
    from .physics import World

Vector = NDArray[np.float64]
Clock = Callable[[], float]

_BAUDRATE = 1_000_000
_GRIPPER = 5


class ArmsError(RuntimeError):
    """The emulated arms do not do what is asked of them."""


class Side(enum.IntEnum):
    """Which of the two arms."""

    LEADER = 0
    FOLLOWER = 1


CALIBRATIONS = {Side.LEADER: LEADER, Side.FOLLOWER: FOLLOWER}


class Motion(Protocol):
    """What the hand does."""

    def joints(self, elapsed_s: float) -> Vector:
        """Joint angles (6,), radians, so many seconds after its beginning."""
        ...


class Arms(Protocol):
    """Two emulated arms, in this process (`EmulatedArms`) or in one of their own (`ArmsProcess`).

    A context manager, which makes their ports appear; safe to use from several threads. Joint
    angles are the arm model's, see `Bench`.

    Attributes:
        clock: seconds, of all their motion.
    """

    @property
    def clock(self) -> Clock: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def port(self, side: Side) -> str:
        """Path of an arm's serial port."""
        ...

    def joints(self, side: Side) -> Vector:
        """Where an arm's shafts are now (6,), radians. Raises ArmsError if the arms failed."""
        ...

    def move_leader(self, motion: Motion, start_s: float) -> None:
        """Have the hand move the leader, from a time of the clock on, until another call."""
        ...

    def place(self, layout: Layout) -> None:
        """Put things on the table. Raises ArmsError if the arms failed."""
        ...

    def state(self, age_s: float = 0.0) -> State:
        """The follower and the things, of one instant, that long ago. Raises ArmsError."""
        ...


class EmulatedArms:
    """The arms as threads of this process.

    Args:
        links: folder in which the serial ports appear as `leader` and `follower`.
        paced: the buses take the time a 1 Mbaud line takes.
        clock: seconds, monotonic, of all motion.
        motors: model of the servos.
        world: what the follower's servos drive, at HOME; None: their shafts follow without inertia
            and touch nothing. The leader's always do.
    """

    def __init__(
        self,
        links: Path | None = None,
        paced: bool = True,
        clock: Clock = time.monotonic,
        motors: str = "sts3215",
        world: World | None = None,
    ) -> None:
        if world is not None and motors != "sts3215":
            raise ValueError(f"physics knows the sts3215 alone, found {motors!r}")
        self.clock = clock
        self.leader = _bus("leader", links, paced, clock, motors)
        self.follower = _bus("follower", links, paced, clock, motors)
        self._buses = {Side.LEADER: self.leader, Side.FOLLOWER: self.follower}
        self._open = ExitStack()
        for side, bus in self._buses.items():
            _calibrate(bus, CALIBRATIONS[side])
            _stand(bus, CALIBRATIONS[side], HOME)
        self._things: dict[str, Standing] = {}
        self._driven: DrivenArm | None = None
        if world is not None:
            self._driven = _driven_arm(world, self.follower, clock)

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for bus in self._buses.values():
                stack.enter_context(bus)
            self._open = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open.close()

    def wait_until_released(self, timeout_s: float) -> bool:
        """Wait until no program holds a port any more; whether that came about in time."""
        deadline = time.monotonic() + timeout_s
        left = [
            bus.wait_until_released(deadline - time.monotonic()) for bus in self._buses.values()
        ]
        return all(left)

    def port(self, side: Side) -> str:
        """Path of an arm's serial port."""
        return self._buses[side].port

    def joints(self, side: Side) -> Vector:
        """Where an arm's shafts are now (6,), radians. Raises ArmsError if its bus failed."""
        bus, calibration = self._buses[side], CALIBRATIONS[side]
        try:
            bus.check()
        except RuntimeError as error:
            raise ArmsError(f"the {side.name.lower()}: {error}: {error.__cause__}") from error
        return _joints(bus, calibration)

    def move_leader(self, motion: Motion, start_s: float) -> None:
        """Have the hand move the leader, from a time of the clock on, until another call."""
        hand = _Hand(motion, LEADER, start_s)
        for index, id in enumerate(_ids(LEADER)):
            servo = self.leader.servos[id]
            servo.hand = hand.finger(index, servo.offset)

    def place(self, layout: Layout) -> None:
        """Put things on the table: into the world, if there is one, else where they are seen."""
        if self._driven is not None:
            self._driven.place(layout, self.clock())
        else:
            self._things.update(layout)

    def state(self, age_s: float = 0.0) -> State:
        """The follower and the things, of one instant, that long ago.

        Without a world it is always now. Raises ArmsError if the follower's bus failed.
        """
        joints = self.joints(Side.FOLLOWER)
        if self._driven is not None:
            return self._driven.state(self.clock(), age_s)
        return State(joints, dict(self._things))


class _Hand:
    """Turns one motion of six joints into six motions of one servo each, in ticks."""

    def __init__(self, motion: Motion, calibration: Calibration, start_s: float) -> None:
        self._motion = motion
        self._calibration = calibration
        self._start_s = start_s

    def finger(self, index: int, offset: int) -> Callable[[float], float]:
        """The encoder's own ticks (before its offset) of servo `index` at a monotonic time."""
        joint = list(self._calibration.values())[index]
        low, high = joint.range_min, joint.range_max
        center = float(own_converter(self._calibration).centers[index])

        def ticks(now_s: float) -> float:
            # As `_to_ticks`, of this joint alone: every servo asks at every time of its own.
            angle = self._angle(index, max(0.0, now_s - self._start_s))
            if index == _GRIPPER:
                share = (angle - GRIPPER_CLOSED) / (GRIPPER_OPEN - GRIPPER_CLOSED)
                place = low + share * (high - low)
            else:
                place = angle / RADIANS_PER_TICK + center
            return float(min(max(place, low), high)) + offset

        return ticks

    def _angle(self, index: int, elapsed_s: float) -> float:
        motion = self._motion
        if isinstance(motion, Move | Demonstration | Glide):
            return motion.joint(index, elapsed_s)
        return float(motion.joints(elapsed_s)[index])


def _driven_arm(world: World, bus: EmulatedBus, clock: Clock) -> DrivenArm:
    from .driven_arm import DrivenArm  # it needs MuJoCo

    return DrivenArm(world, [bus.servos[id] for id in _ids(FOLLOWER)], FOLLOWER, clock)


def _bus(name: str, links: Path | None, paced: bool, clock: Clock, motors: str) -> EmulatedBus:
    link = None if links is None else links / name
    return EmulatedBus(
        ids=_ids(FOLLOWER),
        link=link,
        baudrate=_BAUDRATE,
        paced=paced,
        clock=clock,
        motors=motors,
    )


def _ids(calibration: Calibration) -> tuple[int, ...]:
    return tuple(joint.id for joint in calibration.values())


def _calibrate(bus: EmulatedBus, calibration: Calibration) -> None:
    """Write the calibration into the servos' EEPROM, as LeRobot's calibration does."""
    for joint in calibration.values():
        bus.calibrate(joint.id, joint.homing_offset, joint.range_min, joint.range_max)


def _stand(bus: EmulatedBus, calibration: Calibration, joints: Vector) -> None:
    """Put the arm there and switch it on, so that its goals are where it stands."""
    for id, ticks in zip(_ids(calibration), _to_ticks(joints, calibration), strict=True):
        bus.servos[id].position = float(ticks)
        bus.servos[id].power_cycle()


def _joints(bus: EmulatedBus, calibration: Calibration) -> Vector:
    servos = bus.servos
    ticks = np.array([servos[id].position for id in _ids(calibration)])
    if bus.model.counts_turns:
        half, centers = TICKS_PER_TURN / 2, own_converter(calibration).centers
        ticks = (ticks - centers + half) % TICKS_PER_TURN - half + centers
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
