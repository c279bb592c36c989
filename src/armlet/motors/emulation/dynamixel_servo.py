"""One Dynamixel of the X series behind its control table, without a wire."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from typing import NamedTuple

from armlet.motors.dynamixel.alarms import alarms_of, hardware_error_bits
from armlet.motors.dynamixel.models import XL330_M288_MODEL
from armlet.motors.dynamixel.packets import Refusal, StatusPacket, encode
from armlet.motors.dynamixel.registers import (
    BAUD_CODES,
    FULL_PWM,
    GOAL_POSITION,
    WATCHDOG_TRIPPED,
)
from armlet.motors.emulation.body import ServoBody
from armlet.motors.emulation.dynamics import LAG_TIMES_P, MAX_ACCELERATION, NO_LOAD_SPEED, Drive
from armlet.motors.emulation.protection import Limits, Supply
from armlet.motors.emulation.table import Settings, Table, baud_code
from armlet.motors.protocol import TICKS_PER_TURN, Alarm, MotorModel

_POSITION_MODES = (3, 4, 5)
_PLAIN_POSITION = 3
_REVERSED = 0x01
"""Bit of Drive_Mode."""

_PLAIN_OFFSET = 1024
"""In plain position mode a Homing_Offset beyond that is ignored."""

_VELOCITY_TICKS_S = 0.229 / 60 * TICKS_PER_TURN
_ACCELERATION_TICKS_S2 = 214.577 / 3600 * TICKS_PER_TURN
_WATCHDOG_UNIT_S = 0.02
_FACTORY_P = 400
_OVERLOAD_DUTY, _OVERLOAD_S = 0.8, 2.0
"""The maker does not say when Overload Error comes, only that the load has to last."""

_TABLE = XL330_M288_MODEL.registers
_READINGS_AT = _TABLE["Present_PWM"].address
_READINGS = struct.Struct("<hhii")
"""Present_PWM to Present_Position: PWM, current or load, velocity, position."""

_SUPPLY_AT = _TABLE["Present_Input_Voltage"].address
_SUPPLY = struct.Struct("<HB")
_MOVING = _TABLE["Moving"].address
_STATUS = _TABLE["Hardware_Error_Status"].address
_TORQUE = _TABLE["Torque_Enable"].address
_TRIPPED = 0x80
"""Bus_Watchdog is signed, and -1 then."""

_WATCHDOG = _TABLE["Bus_Watchdog"].address
# Addresses by themselves, for what every access looks at: the same of every model.

_ALERT = 0x80
_RETURN_NOTHING, _RETURN_READS, _RETURN_ALL = range(3)
_DELAYED_TO_GOALS = ("Goal_Position", "Goal_PWM", "Goal_Current", "Goal_Velocity")


class _Bounds(NamedTuple):
    """When it finds errors, worked out once for each write: 0.1 V, degC, alarms in Shutdown."""

    low_volts: int
    high_volts: int
    celsius: int
    shutdown: Alarm


class EmulatedDynamixel(ServoBody):
    """A servo: 256 bytes of memory, a shaft, a motor that grows hot, a supply.

    Present_Position is the encoder's plus Homing_Offset. Reversed by Drive_Mode, it is the offset
    minus the encoder's, and velocity, load and current turn round with it. The encoder counts turns
    in the extended modes, 4 and 5, from power-up on, when it begins in 0..4095; in plain position
    mode, 3, it does not, and a goal outside Min_ and Max_Position_Limit is refused.

    OVERLOAD, VOLTAGE, TEMPERATURE, ENCODER and ELECTRICAL_SHOCK that are in Shutdown switch the
    torque off, which then stays off, whatever is written, until a reboot or a power cycle. Every
    reply has the alert bit while one of them is so. EEPROM cannot be written while torque is on.

    Bus_Watchdog: when no instruction has reached the servo for its time, it stops where it is,
    holds -1, and refuses goals until it is written 0. The torque stays.

    Not modelled: modes other than position, profiles by time, indirect addresses, gains other than
    P, and the differences of the motors: the shaft moves as an STS3215's.

    Args:
        id: value of the ID register.
        model: one of `motors.dynamixel.MODELS`.
        position: where the shaft stands, actual ticks.
        volts: of a supply of its own.
        supply: one it shares, instead.
        baudrate: speed of its line, one of BAUD_CODES' values.
        noise_ticks: standard deviation of the noise in Present_Position.
        clock: seconds, monotonic; tests give their own.

    Attributes: see `ServoBody`, and
        start_up_s: how long it is silent when it is rebooted; the maker does not say.
    """

    goal_position = GOAL_POSITION
    feedback = range(
        XL330_M288_MODEL.registers["Realtime_Tick"].address,
        XL330_M288_MODEL.registers["Present_Temperature"].end,
    )

    def __init__(
        self,
        id: int,
        *,
        model: MotorModel = XL330_M288_MODEL,
        position: float = 2047.0,
        volts: float = 5.0,
        supply: Supply | None = None,
        baudrate: int = 1_000_000,
        noise_ticks: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.model = model
        self._registers = registers = model.registers
        memory = Table(registers)
        memory.burn(registers["ID"], id)
        memory.burn(registers["Baud_Rate"], baud_code(BAUD_CODES, baudrate))
        self._turns = 0
        self.start_up_s = 0.0
        self._started_s = -1.0
        self._latched = Alarm.NONE
        self._measures_current = "Present_Current" in registers
        self._bounds = _Bounds(0, 0, 0, Alarm.NONE)
        self._heard_s = clock()
        supply = Supply(volts) if supply is None else supply
        super().__init__(id, memory, position, supply, noise_ticks, clock)

    def _load(self, name: str) -> int:
        return self._memory.load(self._registers[name])

    def _store(self, name: str, value: int) -> None:
        self._memory.store(self._registers[name], value)

    @property
    def id(self) -> int:
        return self._load("ID")

    @property
    def baudrate(self) -> int | None:
        return BAUD_CODES.get(self._load("Baud_Rate"))

    @property
    def return_delay_s(self) -> float:
        return self._load("Return_Delay_Time") * 2e-6

    @property
    def answers_reads(self) -> bool:
        """Whether it answers a READ: Status_Return_Level."""
        return self._load("Status_Return_Level") >= _RETURN_READS

    @property
    def answers_writes(self) -> bool:
        """Whether it acknowledges everything: Status_Return_Level."""
        return self._load("Status_Return_Level") >= _RETURN_ALL

    @property
    def torque_on(self) -> bool:
        return self._memory.bytes[_TORQUE] == 1

    @property
    def errors(self) -> Alarm:
        with self._lock:
            self.advance(self._clock())
            self._find_errors()
            return self._errors

    def reply(self, id: int, params: bytes = b"", refusal: int = 0) -> bytes:
        """Its status packet, with the alert bit if it has found an error."""
        alert = _ALERT if self._memory.bytes[_STATUS] else 0
        return encode(StatusPacket(id, alert | refusal, params))

    def answer_ping(self, id: int) -> bytes:
        """Model number and firmware version."""
        self._find_errors()
        model = self._registers["Model_Number"]
        params = model.encode(self._load("Model_Number")) + bytes((self._load("Firmware_Version"),))
        return self.reply(id, params)

    def hear(self) -> None:
        """An instruction reached it: its bus watchdog begins again."""
        with self._lock:
            self._watch_bus(self._clock())
            self._heard_s = self._clock()

    @property
    def starting(self) -> bool:
        return self._clock() < self._started_s

    def reboot(self) -> None:
        """As if its power had been off; silent for start_up_s."""
        self.power_cycle()
        self._started_s = self._clock() + self.start_up_s

    def power_cycle(self) -> None:
        """Off and on: EEPROM as persisted, RAM at its defaults, torque off, shaft where it is.

        Error states end, except those whose cause lasts; the encoder begins in 0..4095 again.
        """
        with self._lock:
            self._latched = Alarm.NONE
            self._turns = round(self._motion.position) // TICKS_PER_TURN
            super().power_cycle()
            self._store("Goal_PWM", self._load("PWM_Limit"))
            if "Goal_Current" in self._registers:
                self._store("Goal_Current", self._load("Current_Limit"))
            self._take_settings()

    def read(self, address: int, count: int) -> bytes:
        with self._lock:
            if address < self.feedback.stop and address + count > self.feedback.start:
                self._refresh()
            else:
                self.advance(self._clock())
                self._watch_bus(self._clock())
                self._find_errors()
            return bytes(self._memory.bytes[address : address + count]).ljust(count, b"\0")

    def write(self, address: int, data: bytes) -> int:
        """A WRITE; the number of a Refusal, 0 if it was carried out."""
        with self._lock:
            self.advance(self._clock())
            self._watch_bus(self._clock())
            if self._takes_goal(address, data):
                return 0
            refusal = self._refusal(address, data)
            if not refusal:
                self._memory.take(address, data, unlocked=True)
                self._take_settings()
            return refusal

    def _takes_goal(self, address: int, data: bytes) -> bool:
        """What comes in every cycle asks for nothing else than a goal."""
        memory = self._memory.bytes
        plain = self._settings.multi_turn and memory[_WATCHDOG] < _TRIPPED
        if address != GOAL_POSITION.address or len(data) != GOAL_POSITION.width or not plain:
            return False
        memory[address : address + len(data)] = data
        self._settings = self._settings._replace(goal=GOAL_POSITION.decode(data))
        self._find_errors()
        return True

    def _refusal(self, address: int, data: bytes) -> Refusal:
        """Why these bytes cannot be written there."""
        end = address + len(data)
        touched = [r for r in self._registers.values() if r.address < end and address < r.end]
        if not touched or any(register.access == "r" for register in touched):
            return Refusal.ACCESS_ERROR
        if self.torque_on and any(register.area == "eeprom" for register in touched):
            return Refusal.ACCESS_ERROR
        if any(register.address < address or register.end > end for register in touched):
            return Refusal.DATA_LENGTH_ERROR
        values = {r.name: r.decode(data[r.address - address : r.end - address]) for r in touched}
        tripped = self._load("Bus_Watchdog") == WATCHDOG_TRIPPED
        if tripped and any(name in values for name in _DELAYED_TO_GOALS):
            return Refusal.DATA_RANGE_ERROR
        return self._beyond_limits(values)

    def _beyond_limits(self, values: dict[str, int]) -> Refusal:
        goal = values.get("Goal_Position")
        if goal is not None and self._load("Operating_Mode") == _PLAIN_POSITION:
            low, high = self._load("Min_Position_Limit"), self._load("Max_Position_Limit")
            if not low <= goal <= high:
                return Refusal.DATA_LIMIT_ERROR
        if abs(values.get("Goal_PWM", 0)) > self._load("PWM_Limit"):
            return Refusal.DATA_LIMIT_ERROR
        if values.get("Torque_Enable", 0) > 1 or values.get("PWM_Limit", 0) > FULL_PWM:
            return Refusal.DATA_RANGE_ERROR
        return Refusal.NONE

    def _watch_bus(self, now_s: float) -> None:
        """Stops the shaft if no instruction has come for the time of Bus_Watchdog."""
        wanted = self._memory.bytes[_WATCHDOG]
        if 0 < wanted < _TRIPPED and now_s - self._heard_s > wanted * _WATCHDOG_UNIT_S:
            self.advance(self._heard_s + wanted * _WATCHDOG_UNIT_S)
            self._store("Bus_Watchdog", WATCHDOG_TRIPPED)
            self._motion.stand(self._motion.position)
            self._store("Goal_Position", self._reading(self._motion.position))
            self._take_settings()

    def advance(self, now_s: float) -> None:
        with self._lock:
            wanted = self._memory.bytes[_WATCHDOG]
            due_s = self._heard_s + wanted * _WATCHDOG_UNIT_S
            if 0 < wanted < _TRIPPED and self._advanced_s < due_s < now_s:
                super().advance(due_s)
                self._watch_bus(now_s)
            super().advance(now_s)

    def _read_settings(self) -> Settings:
        extended = self._load("Operating_Mode") != _PLAIN_POSITION
        offset = self._load("Homing_Offset")
        direction = -1 if self._load("Drive_Mode") & _REVERSED else 1
        if not extended and abs(offset) > _PLAIN_OFFSET:
            offset = 0
        self._bounds = _Bounds(
            self._load("Min_Voltage_Limit"),
            self._load("Max_Voltage_Limit"),
            self._load("Temperature_Limit"),
            alarms_of(self._load("Shutdown")),
        )
        # Actual ticks are those of the shaft; the encoder began in a turn of its own.
        return Settings(
            drive=self._drive(),
            limits=Limits(_OVERLOAD_DUTY, _OVERLOAD_S, float("inf"), float("inf")),
            torque_on=self.torque_on,
            follows=self._load("Operating_Mode") in _POSITION_MODES,
            goal=self._load("Goal_Position"),
            offset=direction * self._turns * TICKS_PER_TURN * extended - offset,
            multi_turn=extended,
            direction=direction,
            moving_threshold=round(self._load("Moving_Threshold") * _VELOCITY_TICKS_S),
        )

    def _drive(self) -> Drive:
        """The bounds on the motion; a profile of 0 is none."""
        strength = min(abs(self._load("Goal_PWM")), self._load("PWM_Limit")) / FULL_PWM
        speed = self._load("Profile_Velocity") * _VELOCITY_TICKS_S
        acceleration = self._load("Profile_Acceleration") * _ACCELERATION_TICKS_S2
        return Drive(
            speed=min([NO_LOAD_SPEED * strength, *filter(None, [speed])]),
            acceleration=min([MAX_ACCELERATION, *filter(None, [acceleration])]),
            lag_s=LAG_TIMES_P / 16 * _FACTORY_P / max(self._load("Position_P_Gain"), 1),
            strength=strength,
        )

    def _reading(self, actual: float) -> int:
        settings = self._settings
        ticks = settings.direction * round(actual)
        return (ticks if settings.multi_turn else ticks % TICKS_PER_TURN) - settings.offset

    def _find_errors(self) -> None:
        """Brings the error status up to date; what is in Shutdown takes the torque off for good."""
        volts, celsius = round(10 * self.supply.terminal_volts), round(self._heat.celsius)
        if self._pinned:
            pinned = {register.name: value for register, value in self._pinned.items()}
            volts = pinned.get("Present_Input_Voltage", volts)
            celsius = pinned.get("Present_Temperature", celsius)
        bounds = self._bounds
        well = bounds.low_volts <= volts <= bounds.high_volts and celsius <= bounds.celsius
        # Nearly always; flags cost more than all the rest here.
        if well and not (self._forced_errors or self._protection.latched or self._errors):
            return
        found = self._forced_errors | (self._protection.latched & Alarm.OVERLOAD)
        if not bounds.low_volts <= volts <= bounds.high_volts:
            found |= Alarm.VOLTAGE
        if celsius > bounds.celsius:
            found |= Alarm.TEMPERATURE
        # A current too high is an overload of these servos.
        if Alarm.CURRENT in found:
            found = found & ~Alarm.CURRENT | Alarm.OVERLOAD
        self._latched |= found & bounds.shutdown
        self._errors = found | self._latched
        self._store("Hardware_Error_Status", hardware_error_bits(self._errors))
        if self._latched and self.torque_on:
            self._store("Torque_Enable", 0)
            self._take_settings()

    def _refresh(self) -> None:
        self.advance(self._clock())
        self._find_errors()
        motion, memory = self._motion, self._memory.bytes
        direction = self._settings.direction
        position, velocity = motion.position, motion.velocity
        if self.noise_ticks:
            position += self._noise.gauss(0.0, self.noise_ticks)
        drawn = 1000 * (self._amperes() if self._measures_current else motion.torque)
        memory[_MOVING] = abs(velocity) > self._settings.moving_threshold
        _READINGS.pack_into(
            memory,
            _READINGS_AT,
            round(direction * FULL_PWM * motion.duty),
            round(direction * drawn),
            round(direction * velocity / _VELOCITY_TICKS_S),
            self._reading(position),
        )
        _SUPPLY.pack_into(
            memory, _SUPPLY_AT, round(10 * self.volts), min(255, round(self._heat.celsius))
        )
        for register, value in self._pinned.items():
            self._memory.store(register, value)
