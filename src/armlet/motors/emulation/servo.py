"""One STS3215 servo behind its control table, without a wire.

Nothing runs while nobody looks: time passes up to each access.
"""

from __future__ import annotations

import random
import struct
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import NamedTuple

from armlet.motors.emulation.dynamics import NO_LOAD_SPEED, Load, Motion, Surroundings
from armlet.motors.emulation.memory import (
    CURRENT_UNIT_A,
    Memory,
    read_drive,
    read_goal,
    read_settings,
)
from armlet.motors.emulation.protection import Heat, Protection, Supply
from armlet.motors.feetech.packets import ErrorBit
from armlet.motors.feetech.registers import (
    BAUD_CODES,
    BAUD_RATE,
    GOAL_POSITION,
    ID,
    MAX_TEMPERATURE_LIMIT,
    MODEL_NUMBER,
    MODEL_STS3215,
    PRESENT_POSITION,
    PRESENT_TEMPERATURE,
    PRESENT_VOLTAGE,
    REGISTERS,
    RESPONSE_STATUS_LEVEL,
    RETURN_DELAY_TIME,
    STATUS,
    TICKS_PER_TURN,
    TORQUE_ENABLE,
    Register,
)

_STALL_A = 2.5
_NO_LOAD_A = 0.15
"""Current at stall and running free, vendor's data sheet of the 7.4 V kind."""

_HIGHEST_LOW_VOLTAGE = 8.0
_MAX_VOLTAGE_LIMIT = REGISTERS["Max_Voltage_Limit"]

# Addresses by themselves, for what every access looks at.
_MIN_VOLTS = REGISTERS["Min_Voltage_Limit"].address
_MAX_VOLTS = _MAX_VOLTAGE_LIMIT.address
_MAX_CELSIUS = MAX_TEMPERATURE_LIMIT.address
_GOAL = slice(GOAL_POSITION.address, GOAL_POSITION.end)

_PIECE_S = 0.01
_HOT_PIECE_S = 1.0
"""Time passes in pieces: in motion (what protection times are counted in), and working at rest."""

_SHORTEST_S = 1e-9
_FEEDBACK = range(PRESENT_POSITION.address, REGISTERS["Goal_Position_2"].end)
_READINGS = struct.Struct("<HHHBBxBBxxHH")
"""Present_Position to Goal_Position_2: position, velocity, load, voltage, temperature, status,
moving, current, goal."""


class TorqueSwitch(NamedTuple):
    """Torque was switched: clock seconds, whether on."""

    time: float
    on: bool


class EmulatedServo:
    """A servo: 256 bytes of memory, a shaft, a motor that grows hot, a supply.

    Ticks are of two kinds, as on the real servo: the encoder's own ("actual"), and what the
    registers speak, which is actual - Homing_Offset, wrapped to 0..4095 unless Phase asks for
    multi-turn. Positions are compared with the limits after the offset.

    At power-up Goal_Position holds the position of that moment; enabling torque later takes it as
    it stands, however far the shaft has been turned meanwhile.

    A duty above Overload_Torque for Protection_Time, or a current above Protection_Current for
    Over_Current_Protection_Time, sets OVERLOAD or CURRENT and limits the duty to Protective_Torque,
    until Torque_Enable is written 0 or the power is cycled. TEMPERATURE, VOLTAGE and ENCODER last
    as long as their cause and release the shaft. Only errors in the Unloading_Condition weaken.

    Not modelled: Operating_Mode other than 0, position (the shaft stands still), Goal_Time, the
    loop's D and I coefficients, Torque_Enable 2 and 128, a supply's effect on strength. Dead zones
    and Minimum_Startup_Force are rough: a dead zone of n leaves errors below n - 1 ticks alone, the
    startup force is spent on friction.

    Args:
        id: value of the ID register.
        model: value of Model_Number.
        position: where the shaft stands, actual ticks.
        volts: of a supply of its own: 7.4 or 12 for the two kinds of STS3215; Max_Voltage_Limit is
            set to suit.
        supply: one it shares, instead.
        baudrate: speed of its line, one of BAUD_CODES' values.
        noise_ticks: standard deviation of the noise in Present_Position.
        clock: seconds, monotonic; tests give their own.

    Attributes:
        hand: actual ticks over clock seconds: a person moving the shaft. Ignored while torque is
            on.
        load, friction, stops, obstacle: what acts on the shaft, see Surroundings; actual ticks.
        noise_ticks: may be changed.
        supply: may be exchanged.
        torque_log: when torque was switched on and off, oldest first, the last 1000.
    """

    def __init__(
        self,
        id: int,
        *,
        model: int = MODEL_STS3215,
        position: float = 2047.0,
        volts: float = 7.4,
        supply: Supply | None = None,
        baudrate: int = 1_000_000,
        noise_ticks: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.hand: Callable[[float], float] | None = None
        self.load: Load = 0.0
        self.friction = 0.0
        self.stops: tuple[float, float] | None = None
        self.obstacle: tuple[float, float] | None = None
        self.noise_ticks = noise_ticks
        self.supply = Supply(volts) if supply is None else supply
        self.torque_log: deque[TorqueSwitch] = deque(maxlen=1000)
        self._errors = self._forced_errors = ErrorBit.NONE
        self._noise = random.Random(id)
        self._clock = clock
        self._lock = threading.RLock()
        self._motion = Motion(float(position))
        self._heat = Heat()
        self._protection = Protection()
        self._pinned: dict[Register, int] = {}
        self._staged: tuple[int, bytes] | None = None
        self._advanced_s = clock()
        self._memory = Memory()
        self._memory.burn(MODEL_NUMBER, model)
        self._memory.burn(ID, id)
        self._memory.burn(BAUD_RATE, _baud_code(baudrate))
        if self.supply.volts > _HIGHEST_LOW_VOLTAGE:
            self._memory.burn(_MAX_VOLTAGE_LIMIT, 140)
        self._settings = read_settings(self._memory, self._errors)
        self.power_cycle()

    @property
    def id(self) -> int:
        """The address it answers to, as its memory has it now."""
        return self._memory.bytes[ID.address]

    @property
    def baudrate(self) -> int | None:
        """The speed it listens at, bits/s; None if the register holds an undocumented code."""
        return BAUD_CODES.get(self._memory.bytes[BAUD_RATE.address])

    @property
    def return_delay_s(self) -> float:
        """Pause between an instruction and the answer to it."""
        return self._memory.bytes[RETURN_DELAY_TIME.address] * 2e-6

    @property
    def answers_writes(self) -> bool:
        """Whether it acknowledges everything (else only PING and READ): Response_Status_Level."""
        return self._memory.bytes[RESPONSE_STATUS_LEVEL.address] != 0

    @property
    def torque_on(self) -> bool:
        """Whether the motor is driven."""
        return self._memory.bytes[TORQUE_ENABLE.address] == 1

    @property
    def eeprom_writes(self) -> Counter[int]:
        """Address -> how often its cell has been programmed: with Lock 0, whatever was there."""
        return self._memory.wear

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
        """Actual position - Homing_Offset, ticks, neither rounded nor wrapped.

        May be set, which is no motion: what has been noted of the motion is forgotten.
        """
        with self._lock:
            self.advance(self._clock())
            return self._motion.position - self._settings.offset

    @position.setter
    def position(self, ticks: float) -> None:
        with self._lock:
            self.advance(self._clock())
            self._motion.stand(float(ticks) + self._settings.offset)
            self._motion.mark()

    @property
    def travel(self) -> tuple[float, float]:
        """Lowest and highest position since `mark`, ticks."""
        with self._lock:
            self.advance(self._clock())
            offset = self._settings.offset
            return self._motion.low - offset, self._motion.high - offset

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
    def forced_errors(self) -> ErrorBit:
        """Error bits reported besides those it finds itself, and unloaded for as those are.

        On an EmulatedBus, set them in its faults instead.
        """
        return self._forced_errors

    @forced_errors.setter
    def forced_errors(self, bits: ErrorBit) -> None:
        if bits != self._forced_errors:
            with self._lock:
                self.advance(self._clock())
                self._forced_errors = bits
                self._find_errors()

    @property
    def errors(self) -> ErrorBit:
        """What it would report now."""
        with self._lock:
            self.advance(self._clock())
            self._find_errors()
            pinned = self._pinned.get(STATUS)
            return self._errors if pinned is None else ErrorBit(pinned)

    @property
    def errors_at_access(self) -> ErrorBit:
        """What it found at the last `read`, `write`, `stage` or `act`: what its answer reports."""
        if not self._pinned:
            return self._errors
        return ErrorBit(self._pinned.get(STATUS, self._errors))

    def read(self, address: int, count: int) -> bytes:
        """Memory as a READ finds it; zeros beyond its end."""
        with self._lock:
            if address < _FEEDBACK.stop and address + count > _FEEDBACK.start:
                self._refresh()
            else:
                self.advance(self._clock())
                self._find_errors()
            return bytes(self._memory.bytes[address : address + count]).ljust(count, b"\0")

    def write(self, address: int, data: bytes) -> None:
        """A WRITE. Read-only and unassigned addresses keep their value.

        EEPROM addresses take effect at once, but outlive a power cycle only if Lock is 0.
        """
        with self._lock:
            self.advance(self._clock())
            self._memory.write(address, data)
            if address == GOAL_POSITION.address and len(data) == GOAL_POSITION.width:
                # What comes in every cycle asks for nothing else.
                self._settings = self._settings._replace(goal=read_goal(self._memory))
                self._find_errors()
                return
            written = range(address, address + len(data))
            if TORQUE_ENABLE.address in written and not self._memory.bytes[TORQUE_ENABLE.address]:
                self._protection.clear()
            self._take_settings()

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

    def peek(self, register: Register) -> int:
        """The register's value now, without a wire; a hand may ask while time passes."""
        with self._lock:
            if register.address in _FEEDBACK:
                self._refresh()
            return register.decode(bytes(self._memory.bytes[register.address : register.end]))

    def poke(self, register: Register, value: int) -> None:
        """Sets any register, read only and locked ones as well, for good.

        A reading that the servo maintains itself (Present_*, Status, Moving) then stays at the
        value until `unpin`; Present_Position moves the shaft there instead.
        """
        with self._lock:
            self.advance(self._clock())
            if register is PRESENT_POSITION:
                self.position = value
            elif register.address in _FEEDBACK:
                register.encode(value)
                self._pinned[register] = value
                self._find_errors()
            else:
                self._memory.burn(register, value)
                self._take_settings()

    def unpin(self, register: Register) -> None:
        """Lets the servo maintain a reading again that was poked."""
        with self._lock:
            self._pinned.pop(register, None)
            self._find_errors()

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
            self._memory.store(GOAL_POSITION, self._reading(self._motion.position))
            self._take_settings()

    def advance(self, now_s: float) -> None:
        """Lets the time pass up to `now_s` of the clock; earlier times change nothing."""
        with self._lock:
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
        whole = round(self._motion.position)
        return float(whole - self._reading(whole) + self._settings.goal)

    def _reading(self, actual: float) -> int:
        """What Present_Position shows for a shaft there, noise aside."""
        ticks = round(actual) - self._settings.offset
        if self._settings.multi_turn:
            limit = PRESENT_POSITION.maximum
            return max(-limit, min(limit, ticks))
        return ticks % TICKS_PER_TURN

    def _take_settings(self) -> None:
        """Acts on what the memory has come to ask for."""
        torque_was_on = self._settings.torque_on
        self._settings = read_settings(self._memory, self._errors)
        self._find_errors()
        if self._settings.torque_on != torque_was_on:
            self._motion.stand(self._motion.position)
            self.torque_log.append(TorqueSwitch(self._advanced_s, not torque_was_on))

    def _find_errors(self) -> None:
        """Brings the error bits up to date, and the strength that is left with them."""
        errors, latched = self._forced_errors, self._protection.latched
        if latched:  # the bits' own `|` costs more than all the rest here
            errors |= latched
        volts, celsius = round(10 * self.supply.terminal_volts), round(self._heat.celsius)
        if self._pinned:
            volts = self._pinned.get(PRESENT_VOLTAGE, volts)
            celsius = self._pinned.get(PRESENT_TEMPERATURE, celsius)
        memory = self._memory.bytes
        if not memory[_MIN_VOLTS] <= volts <= memory[_MAX_VOLTS]:
            errors |= ErrorBit.VOLTAGE
        if celsius > memory[_MAX_CELSIUS]:
            errors |= ErrorBit.TEMPERATURE
        if errors != self._errors:
            self._errors = errors
            drive = read_drive(self._memory, errors)
            self._settings = self._settings._replace(drive=drive)

    def _refresh(self) -> None:
        """Brings the readings in memory up to date."""
        self.advance(self._clock())
        self._find_errors()
        motion = self._motion
        position, velocity = motion.position, motion.velocity
        if self.noise_ticks:
            position += self._noise.gauss(0.0, self.noise_ticks)
        _READINGS.pack_into(
            self._memory.bytes,
            _FEEDBACK.start,
            _signed(self._reading(position), 15),
            _signed(round(velocity), 15),
            _signed(round(1000 * motion.duty), 10),
            min(255, round(10 * self.volts)),
            min(255, round(self._heat.celsius)),
            self._errors,
            int(abs(velocity) > self._settings.moving_threshold),
            _signed(round(self._amperes() / CURRENT_UNIT_A), 15),
            int.from_bytes(self._memory.bytes[_GOAL], "little"),
        )
        for register, value in self._pinned.items():
            self._memory.store(register, value)


def _signed(value: int, sign_bit: int) -> int:
    """Sign and magnitude, as far as the bits go."""
    highest = (1 << sign_bit) - 1
    return min(value, highest) if value >= 0 else 1 << sign_bit | min(-value, highest)


def _baud_code(baudrate: int) -> int:
    for code, speed in BAUD_CODES.items():
        if speed == baudrate:
            return code
    raise ValueError(f"servos speak at {sorted(BAUD_CODES.values())} baud, found {baudrate}")
