"""What emulated servos of every family are: a shaft, a motor that grows hot, a supply, a memory.

Nothing runs while nobody looks: time passes up to each access.
"""

from __future__ import annotations

import random
import threading
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable
from typing import ClassVar, NamedTuple

from armlet.motors.emulation.dynamics import NO_LOAD_SPEED, Load, Motion, Surroundings
from armlet.motors.emulation.protection import Heat, Protection, Supply
from armlet.motors.emulation.shaft import Mechanism, Shaft
from armlet.motors.emulation.table import Settings, Table
from armlet.motors.protocol import Alarm, Register

_STALL_A = 2.5
_NO_LOAD_A = 0.15
"""Current at stall and running free, vendor's data sheet of the 7.4 V kind."""

_PIECE_S = 0.01
_HOT_PIECE_S = 1.0
"""Time passes in pieces: in motion (what protection times are counted in), and working at rest."""

_SHORTEST_S = 1e-9


class TorqueSwitch(NamedTuple):
    """Torque was switched: clock seconds, whether on."""

    time: float
    on: bool


class ServoBody(ABC):
    """A servo behind its control table, without a wire; a family says what its registers do.

    Args:
        id: seed of the noise.
        memory: a Table of the family.
        position: where the shaft stands, actual ticks.
        supply: what it is powered by.
        noise_ticks: standard deviation of the noise in Present_Position.
        clock: seconds, monotonic; tests give their own.

    Attributes:
        hand: actual ticks over clock seconds: a person moving the shaft. Ignored while torque is
            on.
        load, friction, stops, obstacle: what acts on the shaft, see Surroundings; actual ticks.
        noise_ticks: may be changed.
        supply: may be exchanged.
        torque_log: when torque was switched on and off, oldest first, the last 1000.
        feedback: addresses of the readings that the servo maintains itself; of the class.
        goal_position: the register; of the class.
    """

    feedback: ClassVar[range]
    goal_position: ClassVar[Register]

    def __init__(
        self,
        id: int,
        memory: Table,
        position: float,
        supply: Supply,
        noise_ticks: float,
        clock: Callable[[], float],
    ) -> None:
        self.hand: Callable[[float], float] | None = None
        self.load: Load = 0.0
        self.friction = 0.0
        self.stops: tuple[float, float] | None = None
        self.obstacle: tuple[float, float] | None = None
        self.noise_ticks = noise_ticks
        self.supply = supply
        self.torque_log: deque[TorqueSwitch] = deque(maxlen=1000)
        self._errors = self._forced_errors = Alarm.NONE
        self._noise = random.Random(id)
        self._clock = clock
        self._lock = threading.RLock()
        self._motion: Shaft = Motion(float(position))
        self._mechanism: Mechanism | None = None
        self._heat = Heat()
        self._protection = Protection()
        self._pinned: dict[Register, int] = {}
        self._staged: tuple[int, bytes] | None = None
        self._advanced_s = clock()
        self._memory = memory
        self._settings = self._read_settings()
        self.power_cycle()

    # --- what a family says -----------------------------------------------------------------

    @property
    @abstractmethod
    def id(self) -> int:
        """The address it answers to, as its memory has it now."""

    @property
    @abstractmethod
    def baudrate(self) -> int | None:
        """The speed it listens at, bits/s; None if the register holds an undocumented code."""

    @property
    @abstractmethod
    def return_delay_s(self) -> float:
        """Pause between an instruction and the answer to it."""

    @property
    @abstractmethod
    def answers_reads(self) -> bool:
        """Whether it answers a READ."""

    @property
    @abstractmethod
    def answers_writes(self) -> bool:
        """Whether it acknowledges everything."""

    @property
    @abstractmethod
    def torque_on(self) -> bool:
        """Whether the motor is driven."""

    @property
    @abstractmethod
    def errors(self) -> Alarm:
        """What it would report now."""

    @abstractmethod
    def read(self, address: int, count: int) -> bytes:
        """Memory as a READ finds it; zeros beyond its end."""

    @abstractmethod
    def write(self, address: int, data: bytes) -> int:
        """A WRITE; why it was refused, in the protocol's numbers, 0 if it was not."""

    @abstractmethod
    def reply(self, id: int, params: bytes = b"", refusal: int = 0) -> bytes:
        """Its status packet, under the id it had when asked, with the errors found at that time."""

    @abstractmethod
    def answer_ping(self, id: int) -> bytes:
        """Its status packet to a ping."""

    @property
    def starting(self) -> bool:
        """Whether it is just starting up, and neither hears nor answers."""
        return False

    @abstractmethod
    def reboot(self) -> None:
        """Starts up again, if its protocol knows that."""

    @abstractmethod
    def hear(self) -> None:
        """An instruction reached it."""

    @abstractmethod
    def _read_settings(self) -> Settings: ...

    @abstractmethod
    def _reading(self, actual: float) -> int:
        """What Present_Position shows for a shaft there, noise aside."""

    @abstractmethod
    def _find_errors(self) -> None:
        """Brings the errors up to date, and the strength that is left with them."""

    @abstractmethod
    def _refresh(self) -> None:
        """Brings the readings in memory up to date."""

    # --- what all have ----------------------------------------------------------------------

    @property
    def eeprom_writes(self) -> Counter[int]:
        """Address -> how often its cell has been programmed."""
        return self._memory.wear

    @property
    def offset(self) -> int:
        """What the registers speak is actual ticks - offset, of a servo that is not reversed."""
        return self._settings.offset

    def actual_at(self, ticks: float) -> float:
        """Actual ticks of the shaft where the registers speak of so many."""
        return self._settings.direction * (ticks + self._settings.offset)

    @property
    def actual(self) -> float:
        """Where the shaft stands, actual ticks. May be set as `position`."""
        return self.actual_at(self.position)

    @actual.setter
    def actual(self, ticks: float) -> None:
        self.position = self._settings.direction * ticks - self._settings.offset

    @property
    def volts(self) -> float:
        """At its terminals. Setting it gives it a supply of its own."""
        return self.supply.terminal_volts

    @volts.setter
    def volts(self, volts: float) -> None:
        self.supply = Supply(volts)

    @property
    def celsius(self) -> float:
        """The motor's temperature."""
        with self._lock:
            self.advance(self._clock())
            return self._heat.celsius

    @property
    def position(self) -> float:
        """As its registers speak of it, ticks, neither rounded nor wrapped.

        May be set, which is no motion: what has been noted of the motion is forgotten.
        """
        with self._lock:
            self.advance(self._clock())
            return self._settings.direction * self._motion.position - self._settings.offset

    @position.setter
    def position(self, ticks: float) -> None:
        with self._lock:
            self.advance(self._clock())
            self._motion.stand(float(self.actual_at(ticks)))
            self._motion.mark()

    @property
    def travel(self) -> tuple[float, float]:
        """Lowest and highest position since `mark`, ticks."""
        with self._lock:
            self.advance(self._clock())
            offset, direction = self._settings.offset, self._settings.direction
            low, high = sorted((direction * self._motion.low, direction * self._motion.high))
            return low - offset, high - offset

    @property
    def top_speed(self) -> float:
        """Fastest the shaft has been since `mark`, ticks/s, its hand's doing left out."""
        with self._lock:
            self.advance(self._clock())
            return self._motion.top_speed

    def mark(self) -> None:
        """Begins again to note `travel` and `top_speed`."""
        with self._lock:
            self.advance(self._clock())
            self._motion.mark()

    @property
    def forced_errors(self) -> Alarm:
        """Error bits reported besides those it finds itself, and unloaded for as those are.

        On an EmulatedBus, set them in its faults instead.
        """
        return self._forced_errors

    @forced_errors.setter
    def forced_errors(self, bits: Alarm) -> None:
        if bits != self._forced_errors:
            with self._lock:
                self.advance(self._clock())
                self._forced_errors = bits
                self._find_errors()

    def stage(self, address: int, data: bytes) -> None:
        """A REG_WRITE: kept until `act`."""
        with self._lock:
            self.advance(self._clock())
            self._staged = (address, data)

    def act(self) -> tuple[int, bytes] | None:
        """An ACTION: carries out what is staged and returns it."""
        with self._lock:
            self.advance(self._clock())
            staged, self._staged = self._staged, None
            if staged is not None:
                self.write(*staged)
            return staged

    def unpin(self, register: Register) -> None:
        """Lets the servo maintain a reading again that was poked."""
        with self._lock:
            self._pinned.pop(register, None)
            self._find_errors()

    def join(self, shaft: Shaft, mechanism: Mechanism) -> None:
        """Makes its shaft one that a mechanism moves, before anybody else uses the servo.

        Of what acts on the shaft, `load` still does; friction, stops and obstacles are the
        mechanism's.
        """
        self._motion, self._mechanism, self._lock = shaft, mechanism, mechanism.lock

    def pass_step(self, now_s: float, step_s: float) -> None:
        """A mechanism's step, at most 10 ms, that begins at `now_s`: loop, protection and heat."""
        self._advanced_s = now_s + step_s
        around = Surroundings(self.load, self.friction, self.stops, self.obstacle)
        self._pass_piece(now_s + step_s, step_s, around)

    def advance(self, now_s: float) -> None:
        """Lets the time pass up to `now_s` of the clock; earlier times change nothing."""
        with self._lock:
            if self._mechanism is not None:
                self._mechanism.advance(now_s)
                return
            left_s = now_s - self._advanced_s
            if left_s < _SHORTEST_S:
                return
            self._advanced_s = now_s
            around = Surroundings(self.load, self.friction, self.stops, self.obstacle)
            while left_s > _SHORTEST_S:
                left_s -= self._pass_piece(now_s, left_s, around)

    def _pass_piece(self, now_s: float, left_s: float, around: Surroundings) -> float:
        """Lets a piece of the time left before `now_s` pass; its length."""
        settings, motion = self._settings, self._motion
        drive = settings.drive
        if settings.torque_on and not settings.follows:
            motion.stand(motion.position)
            piece_s = left_s
        elif not settings.torque_on and self.hand is not None:
            piece_s = left_s
            motion.carry(float(self.hand(now_s)), around, piece_s)
        else:
            driven = settings.torque_on and drive.strength > 0
            target = self._target() if driven else None
            if motion.rests(target, drive, around):
                piece_s = self._quiet_s(left_s)
            elif target is None:
                piece_s = min(left_s, _PIECE_S)
                motion.fall(around, now_s - left_s, piece_s)
            else:
                piece_s = min(left_s, _PIECE_S)
                motion.follow(target, drive, around, now_s - left_s, piece_s)
        amperes = self._amperes()
        self._protection.watch(motion.duty, amperes, settings.limits, piece_s)
        # A shaft that a hand turns warms nothing: no current flows.
        speed = motion.velocity / NO_LOAD_SPEED if settings.torque_on else 0.0
        self._heat.warm(motion.torque, speed, piece_s)
        self.supply.draw(self, amperes)
        self._find_errors()
        return piece_s

    def _quiet_s(self, left_s: float) -> float:
        """How much of the time left a shaft at rest can pass at once."""
        if not self._motion.duty and not self._errors:
            return left_s
        limits = self._settings.limits
        trips_s = self._protection.time_left_s(self._motion.duty, self._amperes(), limits)
        return min(left_s, _HOT_PIECE_S, max(trips_s, _PIECE_S))

    def _amperes(self) -> float:
        speed = abs(self._motion.velocity) / NO_LOAD_SPEED
        return _STALL_A * abs(self._motion.torque) + _NO_LOAD_A * speed

    def _target(self) -> float:
        """Actual ticks of the goal in the turn the shaft is in."""
        whole, settings = round(self._motion.position), self._settings
        return float(whole + settings.direction * (settings.goal - self._reading(whole)))

    def peek(self, register: Register) -> int:
        """The register's value now, without a wire; a hand may ask while time passes."""
        with self._lock:
            if register.address in self.feedback:
                self._refresh()
            return register.decode(bytes(self._memory.bytes[register.address : register.end]))

    def poke(self, register: Register, value: int) -> None:
        """Sets any register, read only and locked ones as well, for good.

        A reading that the servo maintains itself (Present_*, Status, Moving) then stays at the
        value until `unpin`; Present_Position moves the shaft there instead.
        """
        with self._lock:
            self.advance(self._clock())
            if register.name == "Present_Position":
                self.position = value
            elif register.address in self.feedback:
                register.encode(value)
                self._pinned[register] = value
                self._find_errors()
            else:
                self._memory.burn(register, value)
                self._take_settings()

    def power_cycle(self) -> None:
        """Off and on: EEPROM as persisted, RAM at its defaults, torque off, shaft where it is.

        Error states end, except those whose cause lasts; a hot motor stays hot.
        """
        with self._lock:
            self.advance(self._clock())
            self._memory.power_cycle()
            self._staged = None
            self._protection.clear()
            self._take_settings()
            self._motion.stand(self._motion.position)
            self.supply.draw(self, 0.0)
            self._memory.store(self.goal_position, self._reading(self._motion.position))
            self._take_settings()

    def _take_settings(self) -> None:
        """Acts on what the memory has come to ask for."""
        torque_was_on = self._settings.torque_on
        self._settings = self._read_settings()
        self._find_errors()
        if self._settings.torque_on != torque_was_on:
            self._motion.stand(self._motion.position)
            self.torque_log.append(TorqueSwitch(self._advanced_s, not torque_was_on))
