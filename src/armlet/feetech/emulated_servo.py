"""One STS3215 servo behind its control table, without a wire.

Position mode only (Operating_Mode 0): in any other mode the shaft stands still. Nothing runs while
nobody looks: the motion is integrated up to the time of each access.
"""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Callable

from armlet.feetech.packets import ErrorBit
from armlet.feetech.registers import BAUD_CODES, MODEL_STS3215, REGISTERS, TICKS_PER_TURN, Register
from armlet.feetech.servo_motion import LAG_TIMES_P, MAX_ACCELERATION, NO_LOAD_SPEED, Drive, Motion

MEMORY_BYTES = 256
_MULTI_TURN = 0x10
_AMBIENT_C = 30.0
_FULL_LOAD_WARMING_C = 35.0
_THERMAL_S = 300.0
_FULL_LOAD_MA = 900.0
_HIGHEST_LOW_VOLTAGE = 8.0
_ACCELERATION_UNIT = 100.0
_SPEED_LIMIT_UNIT = 50.0

_PERSISTENT = frozenset(
    address
    for register in REGISTERS.values()
    if register.area != "ram"
    for address in range(register.address, register.end)
)
_WRITABLE = frozenset(
    address
    for register in REGISTERS.values()
    if register.access == "rw"
    for address in range(register.address, register.end)
)
_FEEDBACK = range(REGISTERS["Present_Position"].address, REGISTERS["Goal_Position_2"].end)


class EmulatedServo:
    """A servo: 256 bytes of memory, a shaft, a supply.

    Ticks are of two kinds, as on the real servo: the encoder's own ("actual"), and what the
    registers speak, which is actual - Homing_Offset, wrapped to 0..4095 unless Phase asks for
    multi-turn. Positions are compared with the limits after the offset.

    At power-up Goal_Position holds the position of that moment; enabling torque later takes it as
    it stands, however far the shaft has been turned meanwhile.

    Args:
        id: value of the ID register.
        model: value of Model_Number.
        position: where the shaft stands, actual ticks.
        volts: supply: 7.4 or 12 for the two kinds of STS3215; Max_Voltage_Limit is set to suit.
        baudrate: speed of its line, one of BAUD_CODES' values.
        noise_ticks: standard deviation of the noise in Present_Position.
        clock: seconds, monotonic; tests give their own.

    Attributes:
        hand: actual ticks over clock seconds: a person moving the shaft. Ignored while torque is
            on.
        volts: the supply; may be changed.
    """

    def __init__(
        self,
        id: int,
        *,
        model: int = MODEL_STS3215,
        position: float = 2047.0,
        volts: float = 7.4,
        baudrate: int = 1_000_000,
        noise_ticks: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.hand: Callable[[float], float] | None = None
        self.volts = volts
        self._forced_errors = ErrorBit.NONE
        self._noise_ticks = noise_ticks
        self._noise = random.Random(id)
        self._clock = clock
        self._lock = threading.RLock()
        self._motion = Motion(position)
        self._drive = Drive()
        self._temperature_c = _AMBIENT_C
        self._pinned: dict[Register, int] = {}
        self._staged: tuple[int, bytes] | None = None
        self._advanced_s = clock()
        self._memory = bytearray(MEMORY_BYTES)
        self._persistent = bytearray(MEMORY_BYTES)
        for register in REGISTERS.values():
            self._store(register, register.default)
        self._store(REGISTERS["Model_Number"], model)
        self._store(REGISTERS["ID"], id)
        self._store(REGISTERS["Baud_Rate"], _baud_code(baudrate))
        if volts > _HIGHEST_LOW_VOLTAGE:
            self._store(REGISTERS["Max_Voltage_Limit"], 140)
        self._persistent[:] = self._memory
        self.power_cycle()

    @property
    def id(self) -> int:
        """The address it answers to, as its memory has it now."""
        return self._memory[REGISTERS["ID"].address]

    @property
    def baudrate(self) -> int | None:
        """The speed it listens at, bits/s; None if the register holds an undocumented code."""
        return BAUD_CODES.get(self._memory[REGISTERS["Baud_Rate"].address])

    @property
    def return_delay_s(self) -> float:
        """Pause between an instruction and the answer to it."""
        return self._memory[REGISTERS["Return_Delay_Time"].address] * 2e-6

    @property
    def answers_writes(self) -> bool:
        """Whether it acknowledges everything (else only PING and READ): Response_Status_Level."""
        return self._memory[REGISTERS["Response_Status_Level"].address] != 0

    @property
    def torque_on(self) -> bool:
        """Whether the motor is driven."""
        return self._memory[REGISTERS["Torque_Enable"].address] == 1

    @property
    def position(self) -> float:
        """Actual position - Homing_Offset, ticks, neither rounded nor wrapped. May be set."""
        with self._lock:
            self.advance(self._clock())
            return self._motion.position - self._load(REGISTERS["Homing_Offset"])

    @position.setter
    def position(self, ticks: float) -> None:
        with self._lock:
            self.advance(self._clock())
            self._motion.stand(ticks + self._load(REGISTERS["Homing_Offset"]))

    @property
    def forced_errors(self) -> ErrorBit:
        """Error bits reported besides those it finds itself. OVERLOAD also limits its strength.

        On an EmulatedBus, set them in its faults instead.
        """
        return self._forced_errors

    @forced_errors.setter
    def forced_errors(self, bits: ErrorBit) -> None:
        with self._lock:
            if bits != self._forced_errors:
                self.advance(self._clock())
                self._forced_errors = bits
                self._drive = self._read_drive()

    @property
    def errors(self) -> ErrorBit:
        """What it would report now."""
        with self._lock:
            self._refresh()
            return ErrorBit(self._load(REGISTERS["Status"]))

    def read(self, address: int, count: int) -> bytes:
        """Memory as a READ finds it; zeros beyond its end."""
        with self._lock:
            if address < _FEEDBACK.stop and address + count > _FEEDBACK.start:
                self._refresh()
            return bytes(self._memory[address : address + count]).ljust(count, b"\0")

    def write(self, address: int, data: bytes) -> None:
        """A WRITE. Read-only and unassigned addresses keep their value.

        EEPROM addresses take effect at once, but outlive a power cycle only if Lock is 0.
        """
        with self._lock:
            self.advance(self._clock())
            torque_was_on = self.torque_on
            unlocked = not self._load(REGISTERS["Lock"])
            for at, byte in enumerate(data, address):
                if at in _WRITABLE:
                    self._memory[at] = byte
                    if unlocked and at in _PERSISTENT:
                        self._persistent[at] = byte
            self._drive = self._read_drive()
            if self.torque_on != torque_was_on:
                self._motion.stand(self._motion.position)

    def stage(self, address: int, data: bytes) -> None:
        """A REG_WRITE: kept until `act`."""
        with self._lock:
            self._staged = (address, data)

    def act(self) -> tuple[int, bytes] | None:
        """An ACTION: carries out what is staged and returns it."""
        with self._lock:
            staged, self._staged = self._staged, None
            if staged is not None:
                self.write(*staged)
            return staged

    def peek(self, register: Register) -> int:
        """The register's value now, without a wire."""
        with self._lock:
            return register.decode(self.read(register.address, register.width))

    def poke(self, register: Register, value: int) -> None:
        """Sets any register, read only and locked ones as well, for good.

        A reading that the servo maintains itself (Present_*, Status, Moving) then stays at the
        value until `unpin`; Present_Position moves the shaft there instead.
        """
        with self._lock:
            self.advance(self._clock())
            if register.name == "Present_Position":
                self.position = value
            elif register.address in _FEEDBACK:
                register.encode(value)
                self._pinned[register] = value
            else:
                self._store(register, value)
                at = slice(register.address, register.end)
                if register.area != "ram":
                    self._persistent[at] = self._memory[at]
                self._drive = self._read_drive()

    def unpin(self, register: Register) -> None:
        """Lets the servo maintain a reading again that was poked."""
        with self._lock:
            self._pinned.pop(register, None)

    def power_cycle(self) -> None:
        """Off and on: EEPROM as persisted, RAM at its defaults, torque off, shaft where it is."""
        with self._lock:
            self.advance(self._clock())
            self._memory[:] = self._persistent
            for register in REGISTERS.values():
                if register.area == "ram":
                    self._store(register, register.default)
            self._store(REGISTERS["Torque_Limit"], self._load(REGISTERS["Max_Torque_Limit"]))
            self._staged = None
            self._motion.stand(self._motion.position)
            self._store(REGISTERS["Goal_Position"], self._reading(self._motion.position))
            self._drive = self._read_drive()

    def advance(self, now_s: float) -> None:
        """Lets the time pass up to `now_s` of the clock; earlier times change nothing."""
        with self._lock:
            duration_s = now_s - self._advanced_s
            if duration_s <= 0:
                return
            self._advanced_s = now_s
            if self.torque_on:
                self._run(duration_s)
            elif self.hand is not None:
                self._motion.carry(self.hand(now_s), duration_s)
            self._warm(duration_s)

    def _run(self, duration_s: float) -> None:
        if self._load(REGISTERS["Operating_Mode"]) == 0:
            self._motion.follow(self._target(), self._drive, duration_s)
        else:
            self._motion.stand(self._motion.position)

    def _target(self) -> float:
        """Actual ticks of the goal, clamped to the limits, in the turn the shaft is in."""
        goal = self._load(REGISTERS["Goal_Position"])
        low = self._load(REGISTERS["Min_Position_Limit"])
        high = self._load(REGISTERS["Max_Position_Limit"])
        if low < high:
            goal = max(low, min(high, goal))
        whole = round(self._motion.position)
        return float(whole - self._reading(whole) + goal)

    def _reading(self, actual: float) -> int:
        """What Present_Position shows for a shaft there, noise aside."""
        ticks = round(actual) - self._load(REGISTERS["Homing_Offset"])
        if self._load(REGISTERS["Phase"]) & _MULTI_TURN:
            limit = REGISTERS["Present_Position"].maximum
            return max(-limit, min(limit, ticks))
        return ticks % TICKS_PER_TURN

    def _read_drive(self) -> Drive:
        """The bounds on the motion that the memory asks for; 0 stands for no bound of its own."""
        strength = self._load(REGISTERS["Torque_Limit"]) / 1000
        if ErrorBit.OVERLOAD in self.forced_errors:
            strength = min(strength, self._load(REGISTERS["Protective_Torque"]) / 100)
        speeds = (
            abs(self._load(REGISTERS["Goal_Velocity"])),
            self._load(REGISTERS["Maximum_Velocity_Limit"]) * _SPEED_LIMIT_UNIT,
        )
        accelerations = (
            self._load(REGISTERS["Acceleration"]) * _ACCELERATION_UNIT,
            self._load(REGISTERS["Maximum_Acceleration"]) * _ACCELERATION_UNIT,
        )
        return Drive(
            speed=min([NO_LOAD_SPEED * min(strength, 1.0), *filter(None, speeds)]),
            acceleration=min([MAX_ACCELERATION, *filter(None, accelerations)]),
            lag_s=LAG_TIMES_P / max(self._load(REGISTERS["P_Coefficient"]), 1),
        )

    def _warm(self, duration_s: float) -> None:
        goal_c = _AMBIENT_C + _FULL_LOAD_WARMING_C * self._effort() ** 2
        share = -math.expm1(-duration_s / _THERMAL_S)
        self._temperature_c += (goal_c - self._temperature_c) * share

    def _effort(self) -> float:
        """Share of full duty, -1..1: what keeps an unloaded motor at its speed."""
        return self._motion.velocity / NO_LOAD_SPEED if self.torque_on else 0.0

    def _refresh(self) -> None:
        """Brings the readings in memory up to date."""
        self.advance(self._clock())
        position = self._motion.position
        if self._noise_ticks:
            position += self._noise.gauss(0.0, self._noise_ticks)
        velocity, effort = self._motion.velocity, self._effort()
        threshold = self._load(REGISTERS["Moving_Velocity_Threshold"])
        readings = {
            "Present_Position": self._reading(position),
            "Present_Velocity": round(max(-32767.0, min(32767.0, velocity))),
            "Present_Load": round(1000 * max(-1.0, min(1.0, effort))),
            "Present_Voltage": round(10 * self.volts),
            "Present_Temperature": round(self._temperature_c),
            "Moving": int(abs(velocity) > threshold),
            "Present_Current": round(_FULL_LOAD_MA * abs(effort) / 6.5),
            "Goal_Position_2": self._load(REGISTERS["Goal_Position"]),
        }
        for name, value in readings.items():
            self._store(REGISTERS[name], value)
        for register, value in self._pinned.items():
            self._store(register, value)
        if REGISTERS["Status"] not in self._pinned:
            self._store(REGISTERS["Status"], self._find_errors())

    def _find_errors(self) -> ErrorBit:
        errors = self.forced_errors
        volts = self._load(REGISTERS["Present_Voltage"])
        low, high = REGISTERS["Min_Voltage_Limit"], REGISTERS["Max_Voltage_Limit"]
        if not self._load(low) <= volts <= self._load(high):
            errors |= ErrorBit.VOLTAGE
        too_hot = self._load(REGISTERS["Max_Temperature_Limit"])
        if self._load(REGISTERS["Present_Temperature"]) > too_hot:
            errors |= ErrorBit.TEMPERATURE
        return errors

    def _load(self, register: Register) -> int:
        return register.decode(bytes(self._memory[register.address : register.end]))

    def _store(self, register: Register, value: int) -> None:
        self._memory[register.address : register.end] = register.encode(value)


def _baud_code(baudrate: int) -> int:
    for code, speed in BAUD_CODES.items():
        if speed == baudrate:
            return code
    raise ValueError(f"servos speak at {sorted(BAUD_CODES.values())} baud, found {baudrate}")
