"""An emulated STS3215's 256 bytes of memory, and what they ask of it."""

from __future__ import annotations

from armlet.motors.emulation.dynamics import LAG_TIMES_P, MAX_ACCELERATION, NO_LOAD_SPEED, Drive
from armlet.motors.emulation.protection import Limits
from armlet.motors.emulation.table import Settings, Table
from armlet.motors.feetech.packets import ErrorBit
from armlet.motors.feetech.registers import (
    GOAL_POSITION,
    GOAL_VELOCITY,
    HOMING_OFFSET,
    LOCK,
    MAX_POSITION_LIMIT,
    MAX_TORQUE_LIMIT,
    MAXIMUM_ACCELERATION,
    MIN_POSITION_LIMIT,
    OPERATING_MODE,
    OVERLOAD_TORQUE,
    P_COEFFICIENT,
    PHASE,
    PROTECTION_CURRENT,
    REGISTERS,
    TORQUE_ENABLE,
    TORQUE_LIMIT,
)
from armlet.motors.protocol import Register

CURRENT_UNIT_A = 0.0065
_MULTI_TURN = 0x10
_ACCELERATION_UNIT = 100.0
_SPEED_LIMIT_UNIT = 50.0
_WEAKENING = ErrorBit.OVERLOAD | ErrorBit.CURRENT
"""Errors that limit an unloading servo to Protective_Torque; the others release it altogether."""


class Memory(Table):
    """An STS3215's, see `Table`."""

    def __init__(self) -> None:
        super().__init__(REGISTERS)

    def load(self, register: Register) -> int:
        """A register's value. What every access needs, so it is quick."""
        raw, address = self.bytes[register.address], register.address
        if register.width == 2:
            raw |= self.bytes[address + 1] << 8
        return register.decode_raw(raw) if register.signed else raw

    def write(self, address: int, data: bytes) -> None:
        """A WRITE: what is not writable keeps its value, what is EEPROM lasts if Lock is 0."""
        self.take(address, data, unlocked=not self.bytes[LOCK.address])

    def power_cycle(self) -> None:
        """EEPROM as persisted, RAM at its defaults."""
        super().power_cycle()
        self.store(TORQUE_LIMIT, self.load(MAX_TORQUE_LIMIT))


def read_settings(memory: Memory, errors: ErrorBit) -> Settings:
    """The settings, for a servo in these error states."""
    load = memory.load
    return Settings(
        drive=read_drive(memory, errors),
        limits=Limits(
            duty=load(OVERLOAD_TORQUE) / 100,
            duty_s=load(REGISTERS["Protection_Time"]) / 100,
            amperes=load(PROTECTION_CURRENT) * CURRENT_UNIT_A,
            amperes_s=load(REGISTERS["Over_Current_Protection_Time"]) / 100,
        ),
        torque_on=load(TORQUE_ENABLE) == 1,
        follows=load(OPERATING_MODE) == 0,
        goal=read_goal(memory),
        offset=load(HOMING_OFFSET),
        multi_turn=bool(load(PHASE) & _MULTI_TURN),
        moving_threshold=load(REGISTERS["Moving_Velocity_Threshold"]),
    )


def read_goal(memory: Memory) -> int:
    """Goal_Position, within the limits if there are any."""
    load = memory.load
    goal, low, high = load(GOAL_POSITION), load(MIN_POSITION_LIMIT), load(MAX_POSITION_LIMIT)
    return max(low, min(high, goal)) if low < high else goal


def read_drive(memory: Memory, errors: ErrorBit) -> Drive:
    """The bounds on the motion; 0 in a register stands for no bound of its own."""
    load = memory.load
    strength = _strength(memory, errors)
    speeds = (
        abs(load(GOAL_VELOCITY)),
        load(REGISTERS["Maximum_Velocity_Limit"]) * _SPEED_LIMIT_UNIT,
    )
    accelerations = (
        load(REGISTERS["Acceleration"]) * _ACCELERATION_UNIT,
        load(MAXIMUM_ACCELERATION) * _ACCELERATION_UNIT,
    )
    return Drive(
        speed=min([NO_LOAD_SPEED * strength, *filter(None, speeds)]),
        acceleration=min([MAX_ACCELERATION, *filter(None, accelerations)]),
        lag_s=LAG_TIMES_P / max(load(P_COEFFICIENT), 1),
        strength=strength,
        startup=load(REGISTERS["Minimum_Startup_Force"]) / 1000,
        dead_zone=(
            max(0.0, load(REGISTERS["CCW_Dead_Zone"]) - 1.0),
            max(0.0, load(REGISTERS["CW_Dead_Zone"]) - 1.0),
        ),
    )


def _strength(memory: Memory, errors: ErrorBit) -> float:
    """The largest duty allowed."""
    strength = min(memory.load(TORQUE_LIMIT) / 1000, 1.0)
    unloading = errors & memory.load(REGISTERS["Unloading_Condition"])
    if unloading & ~_WEAKENING:
        return 0.0
    if unloading:
        strength = min(strength, memory.load(REGISTERS["Protective_Torque"]) / 100)
    return strength
