"""A servo arm on a bus: verified connection, reading in radians, torque that is proven."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from armlet.feetech import (
    MODEL_STS3215,
    REGISTERS,
    Bus,
    BusError,
    CorruptReply,
    ErrorBit,
    NoReply,
)

from .calibration import Calibration
from .units import RADIANS_PER_TICK, Vector, limits_radians, radians_to_ticks, ticks_to_radians

GRIPPER_PROTECTION = {
    "Max_Torque_Limit": 500,
    "Protection_Current": 250,
    "Overload_Torque": 25,
}
"""LeRobot's SO-101 gripper settings since 0.4.0: half torque, about 1.6 A, 25 %."""

SERVO_SETTINGS = {
    "Return_Delay_Time": 0,
    "Maximum_Acceleration": 254,
    "Operating_Mode": 0,
    "P_Coefficient": 16,
    "I_Coefficient": 0,
    "D_Coefficient": 32,
    "Acceleration": 254,
}
"""LeRobot's SO-101 settings, so that an arm behaves as it did when the data was recorded."""


FIRST_READ_ATTEMPTS = 5

ARM_OUTSIDE_RAD = 0.1
"""How far beyond its calibrated range a joint may stand when the arm is armed."""

_TORQUE = REGISTERS["Torque_Enable"]


class ArmError(Exception):
    """The arm is not in a state to be used; the message says what to do."""


@dataclass(frozen=True)
class JointSample:
    """Positions (n,) in radians and velocities (n,) in rad/s, read at stamp_ns (Unix time)."""

    stamp_ns: int
    position: Vector
    velocity: Vector


@dataclass(frozen=True)
class Telemetry:
    """Supply voltage (V) and temperature (°C) per joint."""

    voltage: dict[str, float]
    temperature: dict[str, float]


class Arm:
    """An arm whose joints are servos of one bus, in the order of its calibration.

    Methods raise BusError for the wire and ArmError for the arm; nothing is ever made up.
    """

    def __init__(self, bus: Bus, calibration: Calibration):
        self.bus = bus
        self.calibration = calibration
        self.joints = tuple(calibration)
        self._ids = [joint.id for joint in calibration.values()]
        self.errors: dict[str, ErrorBit | None] = {}
        """Error bits of the last reading, by joint."""

    def connect(self) -> None:
        """Open the port and prove that every servo is there, is an STS3215 and is calibrated."""
        self.bus.open()
        for joint, servo_id in zip(self.joints, self._ids, strict=True):
            model = self.bus.ping(servo_id)
            if model != MODEL_STS3215:
                raise ArmError(
                    f"{joint} (id {servo_id}): expected an STS3215 (model {MODEL_STS3215}), "
                    f"found model {model}; check the ids"
                )
        self._verify_calibration()

    def _verify_calibration(self) -> None:
        for joint, entry in self.calibration.items():
            expected = {
                "Homing_Offset": entry.homing_offset,
                "Min_Position_Limit": entry.range_min,
                "Max_Position_Limit": entry.range_max,
            }
            for register, value in expected.items():
                found = self.bus.read(entry.id, REGISTERS[register])
                if found != value:
                    raise ArmError(
                        f"{joint} (id {entry.id}): the calibration file says {register} = {value}, "
                        f"the servo {found}; use this arm's own file, or set write_calibration to "
                        "write the file to the servos"
                    )

    def write_calibration(self) -> None:
        """Store the calibration in the servos' EEPROM, torque off."""
        self.bus.open()
        self.torque_off()
        for entry in self.calibration.values():
            self._write_eeprom(
                entry.id,
                {
                    "Homing_Offset": entry.homing_offset,
                    "Min_Position_Limit": entry.range_min,
                    "Max_Position_Limit": entry.range_max,
                },
            )

    def configure(self) -> None:
        """Torque off, then the settings LeRobot gives an SO-101."""
        self.torque_off()
        for joint, servo_id in zip(self.joints, self._ids, strict=True):
            extra = GRIPPER_PROTECTION if joint == "gripper" else {}
            self._write_eeprom(servo_id, {**SERVO_SETTINGS, **extra})

    def _write_eeprom(self, servo_id: int, values: Mapping[str, int]) -> None:
        self.bus.write(servo_id, REGISTERS["Lock"], 0)
        for register, value in values.items():
            # Reading first spares the EEPROM's limited write cycles.
            if self.bus.read(servo_id, REGISTERS[register]) != value:
                self.bus.write(servo_id, REGISTERS[register], value)
        self.bus.write(servo_id, REGISTERS["Lock"], 1)

    def read(self) -> JointSample | None:
        """All joints in one transaction, or None if a servo did not answer."""
        registers = [REGISTERS["Present_Position"], REGISTERS["Present_Velocity"]]
        reply = self.bus.sync_read(registers, self._ids)
        self.errors = {j: reply.errors.get(i) for j, i in zip(self.joints, self._ids, strict=True)}
        if reply.missing:
            return None
        ticks = np.array([reply.values[servo_id] for servo_id in self._ids], np.float64)
        return JointSample(
            stamp_ns=reply.stamp_ns,
            position=ticks_to_radians(ticks[:, 0], self.calibration),
            velocity=ticks[:, 1] * RADIANS_PER_TICK,
        )

    def read_telemetry(self) -> Telemetry | None:
        """Voltage and temperature of all joints, or None if a servo did not answer."""
        registers = [REGISTERS["Present_Voltage"], REGISTERS["Present_Temperature"]]
        reply = self.bus.sync_read(registers, self._ids)
        if reply.missing:
            return None
        values = {j: reply.values[i] for j, i in zip(self.joints, self._ids, strict=True)}
        return Telemetry(
            voltage={joint: voltage / 10 for joint, (voltage, _) in values.items()},
            temperature={joint: float(celsius) for joint, (_, celsius) in values.items()},
        )

    def write(self, goal: Vector) -> Vector:
        """Send goal positions (n,) in radians; returns what was sent, rounded to whole ticks."""
        ticks = np.rint(radians_to_ticks(goal, self.calibration)).astype(int)
        self.bus.sync_write(
            REGISTERS["Goal_Position"], dict(zip(self._ids, ticks.tolist(), strict=True))
        )
        return ticks_to_radians(ticks, self.calibration)

    def torque_on(self) -> Vector:
        """Make every servo hold where it is; returns the goal (n,), radians.

        Goals are set to the present position, read back, and only then is torque enabled, joint
        by joint and verified. On any failure torque is taken off again and the error raised.
        """
        # A reply lost now and then is no reason to refuse; a servo that never answers is.
        sample = next(filter(None, (self.read() for _ in range(FIRST_READ_ATTEMPTS))), None)
        if sample is None:
            raise ArmError("torque stays off: not every servo answered the first read")
        self._require_inside(sample.position)
        goal = self.write(sample.position)
        wanted = np.rint(radians_to_ticks(goal, self.calibration)).astype(int).tolist()
        try:
            for joint, servo_id, ticks in zip(self.joints, self._ids, wanted, strict=True):
                stored = self.bus.read(servo_id, REGISTERS["Goal_Position"])
                if stored != ticks:
                    raise ArmError(f"{joint}: goal {ticks} was sent, the servo holds {stored}")
            for servo_id in self._ids:
                # Kept in RAM only: gone if the servo lost its power since configure().
                self.bus.write(servo_id, REGISTERS["Acceleration"], SERVO_SETTINGS["Acceleration"])
                self.bus.write(servo_id, _TORQUE, 1)
                self.bus.write(servo_id, REGISTERS["Lock"], 1)
        except (BusError, ArmError):
            self.torque_off()
            raise
        return goal

    def _require_inside(self, position: Vector) -> None:
        # A servo drives itself to its limits at full speed when it is armed beyond them.
        lower, upper = limits_radians(self.calibration)
        beyond = np.maximum(lower - position, position - upper)
        outside = [j for j, far in zip(self.joints, beyond, strict=True) if far > ARM_OUTSIDE_RAD]
        if outside:
            raise ArmError(
                f"torque stays off: {outside} stand outside their calibrated range; move them "
                "inside by hand, or calibrate again"
            )

    def torque_off(self, attempts: int = 3) -> None:
        """Release every servo and prove it by reading back, whatever single servos answer.

        Raises ArmError naming the joints that could not be proven to be off.
        """
        on = dict(zip(self.joints, self._ids, strict=True))
        for _ in range(attempts):
            for servo_id in on.values():
                # No answer is no proof, so it is asked below; the others must be tried meanwhile.
                with contextlib.suppress(NoReply, CorruptReply):
                    self.bus.write(servo_id, _TORQUE, 0, check=False)
            # sync_read gives the value even of a servo that reports overload with it.
            values = self.bus.sync_read([_TORQUE], list(on.values())).values
            on = {joint: i for joint, i in on.items() if values.get(i, (1,)) != (0,)}
            if not on:
                return
        raise ArmError(f"torque could not be proven off on {list(on)}; cut the power")

    def close(self) -> None:
        self.bus.close()
