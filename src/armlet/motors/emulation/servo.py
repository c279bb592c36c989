"""One STS3215 servo behind its control table, without a wire.

Nothing runs while nobody looks: time passes up to each access.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable

from armlet.motors.emulation.body import ServoBody
from armlet.motors.emulation.body import TorqueSwitch as TorqueSwitch
from armlet.motors.emulation.memory import (
    CURRENT_UNIT_A,
    Memory,
    read_drive,
    read_goal,
    read_settings,
)
from armlet.motors.emulation.protection import Supply
from armlet.motors.emulation.table import Settings, baud_code
from armlet.motors.feetech.packets import ErrorBit, Packet, encode
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
)

_HIGHEST_LOW_VOLTAGE = 8.0
_MAX_VOLTAGE_LIMIT = REGISTERS["Max_Voltage_Limit"]

# Addresses by themselves, for what every access looks at.
_MIN_VOLTS = REGISTERS["Min_Voltage_Limit"].address
_MAX_VOLTS = _MAX_VOLTAGE_LIMIT.address
_MAX_CELSIUS = MAX_TEMPERATURE_LIMIT.address
_GOAL = slice(GOAL_POSITION.address, GOAL_POSITION.end)

_FEEDBACK = range(PRESENT_POSITION.address, REGISTERS["Goal_Position_2"].end)
_READINGS = struct.Struct("<HHHBBxBBxxHH")
"""Present_Position to Goal_Position_2: position, velocity, load, voltage, temperature, status,
moving, current, goal."""


class EmulatedServo(ServoBody):
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

    Attributes: see `ServoBody`.
    """

    feedback = _FEEDBACK
    goal_position = GOAL_POSITION

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
        memory = Memory()
        memory.burn(MODEL_NUMBER, model)
        memory.burn(ID, id)
        memory.burn(BAUD_RATE, baud_code(BAUD_CODES, baudrate))
        supply = Supply(volts) if supply is None else supply
        if supply.volts > _HIGHEST_LOW_VOLTAGE:
            memory.burn(_MAX_VOLTAGE_LIMIT, 140)
        self._memory: Memory = memory
        super().__init__(id, memory, position, supply, noise_ticks, clock)

    @property
    def id(self) -> int:
        return self._memory.bytes[ID.address]

    @property
    def baudrate(self) -> int | None:
        return BAUD_CODES.get(self._memory.bytes[BAUD_RATE.address])

    @property
    def return_delay_s(self) -> float:
        return self._memory.bytes[RETURN_DELAY_TIME.address] * 2e-6

    @property
    def answers_reads(self) -> bool:
        """Always."""
        return True

    @property
    def answers_writes(self) -> bool:
        """Whether it acknowledges everything (else only PING and READ): Response_Status_Level."""
        return self._memory.bytes[RESPONSE_STATUS_LEVEL.address] != 0

    @property
    def torque_on(self) -> bool:
        return self._memory.bytes[TORQUE_ENABLE.address] == 1

    @property
    def errors(self) -> ErrorBit:
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

    def reply(self, id: int, params: bytes = b"", refusal: int = 0) -> bytes:
        """Its status packet; the protocol has no place for a refusal."""
        return encode(Packet(id, self.errors_at_access, params))

    def reboot(self) -> None:
        """Its protocol has no such instruction."""

    def hear(self) -> None:
        """Nothing begins by it."""

    def answer_ping(self, id: int) -> bytes:
        return encode(Packet(id, self.errors))

    def read(self, address: int, count: int) -> bytes:
        with self._lock:
            if address < _FEEDBACK.stop and address + count > _FEEDBACK.start:
                self._refresh()
            else:
                self.advance(self._clock())
                self._find_errors()
            return bytes(self._memory.bytes[address : address + count]).ljust(count, b"\0")

    def write(self, address: int, data: bytes) -> int:
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
                return 0
            written = range(address, address + len(data))
            if TORQUE_ENABLE.address in written and not self._memory.bytes[TORQUE_ENABLE.address]:
                self._protection.clear()
            self._take_settings()
            return 0

    def _read_settings(self) -> Settings:
        return read_settings(self._memory, self._errors)

    def _reading(self, actual: float) -> int:
        ticks = round(actual) - self._settings.offset
        if self._settings.multi_turn:
            limit = PRESENT_POSITION.maximum
            return max(-limit, min(limit, ticks))
        return ticks % TICKS_PER_TURN

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
