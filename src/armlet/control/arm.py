"""A servo arm on a bus: verified connection, reading in radians, torque that is proven."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from armlet.motors.feetech import MODEL_STS3215, REGISTERS, Bus, ErrorBit, PortError, SyncReply
from armlet.robots.calibration import Calibration
from armlet.robots.joints import is_gripper
from armlet.robots.units import Vector, limits_radians, own_converter

from .feedback import Feedback, JointSample, JointTelemetry
from .plausibility import JointReadings
from .servos import ATTEMPTS, Servos
from .servos import ArmError as ArmError
from .servos import TorqueUnproven as TorqueUnproven

GRIPPER_PROTECTION = {
    "Max_Torque_Limit": 500,
    "Protection_Current": 250,
    "Overload_Torque": 25,
}
"""LeRobot's SO-101 gripper settings since 0.4.0: half torque, about 1.6 A, 25 %."""

STORED_SETTINGS = {
    "Return_Delay_Time": 0,
    "Operating_Mode": 0,
    "P_Coefficient": 16,
    "I_Coefficient": 0,
    "D_Coefficient": 32,
    "Maximum_Acceleration": 254,
}
"""LeRobot's SO-101 settings, so that an arm behaves as it did when the data was recorded."""

RAM_SETTINGS = {"Acceleration": 254, "Lock": 1}
"""LeRobot's as well; gone whenever a servo loses its power."""

MULTI_TURN = 0x10
"""Phase bit of positions that run on past a turn; LeRobot clears it since 0.6.0."""

ARM_OUTSIDE_RAD = 0.1
"""How far beyond its calibrated range a joint may stand when the arm is armed."""

_FIND_S = 0.1
_PROOF_S = 0.05
_CUTS = 3
_CURRENT_UNIT_A = 6.5e-3

_STATE = tuple(REGISTERS[name] for name in ("Present_Position", "Present_Velocity"))
_READINGS = (
    "Present_Position",
    "Present_Velocity",
    "Present_Load",
    "Present_Voltage",
    "Present_Temperature",
    "Status",
    "Moving",
    "Present_Current",
)
_FULL = tuple(REGISTERS[name] for name in _READINGS)
_HEALTH = ("Torque_Enable", "Torque_Limit", *_READINGS[2:])
_TORQUE = REGISTERS["Torque_Enable"]
_GOAL = REGISTERS["Goal_Position"]


@dataclass(frozen=True)
class ArmIdentity:
    """What tells this arm from another: model and calibration, as its servos store them.

    servos: id, Model_Number, Homing_Offset, Min_Position_Limit, Max_Position_Limit of each joint.
    """

    servos: tuple[tuple[int, int, int, int, int], ...]


_IDENTITY = ("Model_Number", "Min_Position_Limit", "Max_Position_Limit", "Homing_Offset")


class Arm:
    """An arm whose joints are servos of one bus, in the order of its calibration.

    Methods raise PortError for the port and ArmError for the arm; nothing is ever made up.

    Attributes:
        firmware: joint to version, e.g. "3.10"; since `connect`.
        warnings: what was found at `connect` that is odd but no reason to stop.
        errors: error bits by joint, as each joint's last answer had them.
        telemetry: each joint's other readings, as last read.
    """

    def __init__(self, bus: Bus, calibration: Calibration):
        self.bus = bus
        self.calibration = calibration
        self.joints = tuple(calibration)
        self.servos = Servos(bus, {joint: entry.id for joint, entry in calibration.items()})
        self.firmware: dict[str, str] = {}
        self.warnings: list[str] = []
        self.errors: dict[str, ErrorBit | None] = {}
        self.telemetry: dict[str, JointTelemetry] = {}
        self._converter = own_converter(calibration)
        self._own_port = bus.port
        self._ids = [joint.id for joint in calibration.values()]
        self._readings = JointReadings(self._ids, self._converter)
        self._errors_known = False

    @property
    def implausible(self) -> int:
        """Readings that were held back and not confirmed by the next: damage no checksum found."""
        return self._readings.implausible

    # --- finding it -------------------------------------------------------------------------

    @property
    def identity(self) -> ArmIdentity:
        """What this arm's servos must hold to be this arm's."""
        return ArmIdentity(
            tuple(
                (e.id, MODEL_STS3215, e.homing_offset, e.range_min, e.range_max)
                for e in self.calibration.values()
            )
        )

    def matches(self, bus: Bus) -> bool:
        """Whether an open bus is this arm's, by ids, model and calibration. Raises PortError."""
        registers = [REGISTERS[name] for name in _IDENTITY]
        reply = bus.sync_read(registers, self._ids, until=self._until(_FIND_S))
        if reply.missing:
            return False
        found = ((i, *reply.values[i]) for i in self._ids)
        return ArmIdentity(
            tuple((i, model, offset, low, high) for i, model, low, high, offset in found)
        ) == (self.identity)

    def find(self, elsewhere: Callable[[], Sequence[str]] | None = None) -> None:
        """Open the port that this arm is on: its own, or one of those found elsewhere.

        elsewhere gives the ports of serial devices that may be this arm's; they are asked for
        their identity, and nothing is written to them. Raises PortError if the arm is on none.
        """
        self.bus.close()
        tried = {}
        ports = [self._own_port, *(elsewhere() if elsewhere else ())]
        for port in dict.fromkeys(ports):
            self.bus.port = port
            try:
                self.bus.open()
                if self.matches(self.bus):
                    return
                tried[port] = "not every servo of this arm and calibration answers there"
            except PortError as error:
                tried[port] = str(error)
            self.bus.close()
        self.bus.port = self._own_port
        raise PortError(
            tried[self._own_port]
            if len(tried) == 1
            else "; ".join(f"{port}: {reason}" for port, reason in tried.items())
        )

    def connect(self) -> None:
        """Open the port and prove that every servo is there, is an STS3215 and is calibrated.

        Raises ArmError that names everything that does not fit, and PortError.
        """
        self.bus.open()
        models = self.servos.models()
        silent = [joint for joint in self.joints if joint not in models]
        if silent:
            raise ArmError(
                f"no answer from {self.servos.told(silent)} on {self.bus.port}. Check supply, "
                f"cables and ids, and that they are set to {self.bus.baudrate} baud"
            )
        wrong = {joint: model for joint, model in models.items() if model != MODEL_STS3215}
        if wrong:
            raise ArmError(
                f"expected STS3215 servos (model {MODEL_STS3215}); "
                + ", ".join(f"{self.servos.told([j])}: found model {m}" for j, m in wrong.items())
                + ". Check the ids"
            )
        self._read_firmware()
        self._verify_calibration()

    def _read_firmware(self) -> None:
        names = ("Firmware_Major_Version", "Firmware_Minor_Version")
        found = self.servos.read(names)
        self.firmware = {
            joint: ".".join(str(values[name]) for name in names) for joint, values in found.items()
        }
        self.warnings = []
        if len(set(self.firmware.values())) > 1:
            told = ", ".join(f"{joint} {version}" for joint, version in self.firmware.items())
            self.warnings.append(
                f"the servos' firmware differs ({told}); they may behave differently. Feetech's "
                "FD software updates it"
            )

    def _verify_calibration(self) -> None:
        wanted = self._calibrated()
        found = self.servos.read({name for values in wanted.values() for name in values})
        differing = [
            f"{self.servos.told([joint])}: the calibration file says {name} = {value}, "
            f"the servo {found[joint][name]}"
            for joint, values in wanted.items()
            for name, value in values.items()
            if found[joint][name] != value
        ]
        if differing:
            raise ArmError(
                "; ".join(differing) + ". Use this arm's own file, or write the file to the servos "
                "with `armlet calibrate --write FILE` or write_calibration"
            )

    def _calibrated(self) -> dict[str, dict[str, int]]:
        return {
            joint: {
                "Homing_Offset": entry.homing_offset,
                "Min_Position_Limit": entry.range_min,
                "Max_Position_Limit": entry.range_max,
            }
            for joint, entry in self.calibration.items()
        }

    # --- settings ---------------------------------------------------------------------------

    def write_calibration(self) -> None:
        """Store the calibration in the servos' EEPROM, torque off, and prove it."""
        self.bus.open()
        self.torque_off()
        self.servos.store(self._calibrated())

    def configure(self) -> None:
        """Torque off, then the settings LeRobot gives an SO-101, proven."""
        self.torque_off()
        phases = self.servos.read(["Phase"])
        settings = {
            joint: {
                **STORED_SETTINGS,
                **(GRIPPER_PROTECTION if is_gripper(joint) else {}),
                "Phase": phases[joint]["Phase"] & ~MULTI_TURN,
            }
            for joint in self.joints
        }
        self.servos.store(settings)
        self._restore_ram(self.joints)

    def _restore_ram(self, joints: Iterable[str]) -> None:
        """What a servo forgets without power, or what was lowered to protect it."""
        limits = self.servos.read(["Max_Torque_Limit"], joints)
        wanted = {
            joint: {**RAM_SETTINGS, "Torque_Limit": values["Max_Torque_Limit"]}
            for joint, values in limits.items()
        }
        found = self.servos.read(["Torque_Limit", *RAM_SETTINGS], joints)
        for joint, values in wanted.items():
            for name, value in values.items():
                if found[joint][name] != value:
                    self.servos.write(joint, name, value)

    # --- every cycle ------------------------------------------------------------------------

    def exchange(
        self, goal: Vector | None, feedback: Feedback = "state", until: float | None = None
    ) -> tuple[JointSample | None, Vector | None]:
        """Send goals (n,) in radians, if any, and read all joints, in one write to the port.

        until is the time.monotonic() up to which servos that did not answer are asked again.
        Returns the reading, None if no joint is any fresher by it, and what was sent, rounded to
        whole ticks. See `JointReadings` for what is not believed at once.
        """
        registers = _FULL if feedback == "full" else _STATE
        if goal is None:
            reply = self.bus.sync_read(registers, self._ids, until=until)
            return self._note(reply, feedback), None
        ticks = [round(tick) for tick in self._converter.radians_to_ticks(goal).tolist()]
        values = dict(zip(self._ids, ticks, strict=True))
        reply = self.bus.sync_write_read(_GOAL, values, registers, self._ids, until=until)
        return self._note(reply, feedback), self._converter.ticks_to_radians(ticks)

    def read(self, until: float | None = None) -> JointSample | None:
        """All joints in one transaction; None if no joint is any fresher by it."""
        return self.exchange(None, until=until)[0]

    def _note(self, reply: SyncReply, feedback: Feedback) -> JointSample | None:
        if reply.errors or self._errors_known:
            self._note_errors(reply)
        if feedback == "full":
            self._note_telemetry(reply)
        return self._readings.note(reply, feedback == "full")

    def _note_errors(self, reply: SyncReply) -> None:
        for joint, servo_id in zip(self.joints, self._ids, strict=True):
            if servo_id in reply.values:
                self.errors[joint] = reply.errors.get(servo_id)
        self._errors_known = any(self.errors.values())

    def _note_telemetry(self, reply: SyncReply) -> None:
        for joint, servo_id in zip(self.joints, self._ids, strict=True):
            values = reply.values.get(servo_id)
            if values is not None:
                last = self.telemetry.get(joint)
                self.telemetry[joint] = _telemetry(
                    reply.stamp_ns,
                    values[2:],
                    reply.errors.get(servo_id, ErrorBit.NONE),
                    None if last is None else last.torque_enabled,
                    None if last is None else last.torque_limit,
                )

    def read_telemetry(self, joint: str, until: float | None = None) -> JointTelemetry | None:
        """One servo's torque, load, voltage, temperature, status, current; None if no answer."""
        servo_id = self.servos.ids[joint]
        registers = [REGISTERS[name] for name in _HEALTH]
        reply = self.bus.sync_read(registers, [servo_id], until=until)
        values = reply.values.get(servo_id)
        if values is None:
            return None
        bits = reply.errors.get(servo_id, ErrorBit.NONE)
        told = _telemetry(reply.stamp_ns, values[2:], bits, values[0] != 0, values[1] / 1000)
        self.telemetry[joint] = told
        return told

    # --- torque -----------------------------------------------------------------------------

    def torque_on(
        self, joints: Iterable[str] | None = None, wanted: Callable[[], bool] = lambda: True
    ) -> Vector:
        """Make every servo, or some, hold where it is; returns all present positions (n,), radians.

        RAM settings are restored, goals are set to the present position and read back, and only
        then is torque enabled, joint by joint, and proven. On any failure, and when `wanted` says
        that it is not wanted any more, torque is taken off those joints again, and the error
        raised.
        """
        joints = self.joints if joints is None else tuple(joints)
        try:
            self._restore_ram(joints)
            position = self._settled_position()
            self._require_inside(joints, position)
            goal = self._send_proven(joints, position)
            for joint in joints:
                if not wanted():
                    raise ArmError("torque stays off: a stop was requested meanwhile")
                self.servos.write(joint, "Torque_Enable", 1)
            self._require_on(joints)
        except BaseException:
            self.torque_off(joints)
            raise
        return goal

    def _settled_position(self) -> Vector:
        """Positions (n,) with every joint read again, and twice."""
        self._readings.forget()
        seen = np.zeros(len(self.joints), np.bool_)
        for _ in range(ATTEMPTS + 1):
            sample = self.read()
            if sample is not None:
                seen |= sample.fresh
                if seen.all():
                    return sample.position
        silent = [joint for joint, answered in zip(self.joints, seen, strict=True) if not answered]
        raise ArmError(
            f"torque stays off: not every servo answered the first read: no answer from "
            f"{self.servos.told(silent)}; check supply and cables"
        )

    def _require_inside(self, joints: tuple[str, ...], position: Vector) -> None:
        # A servo drives itself to its limits at full speed when it is armed beyond them.
        lower, upper = limits_radians(self.calibration)
        beyond = np.maximum(lower - position, position - upper)
        outside = [
            joint
            for joint, far in zip(self.joints, beyond, strict=True)
            if joint in joints and far > ARM_OUTSIDE_RAD
        ]
        if outside:
            raise ArmError(
                f"torque stays off: {outside} stand outside their calibrated range; move them "
                "inside by hand, or calibrate again"
            )

    def _send_proven(self, joints: tuple[str, ...], position: Vector) -> Vector:
        ticks = np.rint(self._converter.radians_to_ticks(position))
        everyone = dict(zip(self.joints, [int(tick) for tick in ticks.tolist()], strict=True))
        wanted = {joint: everyone[joint] for joint in joints}
        for _ in range(ATTEMPTS):
            self.bus.sync_write(_GOAL, {self.servos.ids[j]: tick for j, tick in wanted.items()})
            stored = self.servos.read(["Goal_Position"], joints)
            held = {joint: values["Goal_Position"] for joint, values in stored.items()}
            if held == wanted:
                return self._converter.ticks_to_radians(ticks)
        raise ArmError(f"torque stays off: goals {wanted} were sent, the servos hold {held}")

    def _require_on(self, joints: tuple[str, ...]) -> None:
        found = self.servos.read(["Torque_Enable"], joints)
        off = [joint for joint, values in found.items() if not values["Torque_Enable"]]
        if off:
            raise ArmError(f"{self.servos.told(off)} acknowledged torque on, but it stayed off")

    def cut(self) -> None:
        """Tell every servo at once to let go, without proof. Raises PortError.

        More than once: one packet in ten may be lost, and a quarter of a millisecond is cheap.
        """
        for _ in range(_CUTS):
            self.bus.sync_write(_TORQUE, dict.fromkeys(self._ids, 0))

    def torque_off(self, joints: Iterable[str] | None = None) -> None:
        """Release every servo, or some, and prove it by reading back, whatever they answer.

        One packet tells all of them; those that cannot be proven to be off are told again, at once
        and one by one. Raises TorqueUnproven naming those that still cannot, and PortError.
        """
        on = list(self.joints if joints is None else joints)
        for attempt in range(ATTEMPTS):
            self.bus.sync_write(_TORQUE, {self.servos.ids[joint]: 0 for joint in on})
            if attempt:
                # No answer is no proof, so it is asked below; the others are tried meanwhile.
                for joint in on:
                    self.servos.tell(joint, "Torque_Enable", 0)
            # sync_read gives the value even of a servo that reports overload with it.
            ids = [self.servos.ids[joint] for joint in on]
            values = self.bus.sync_read([_TORQUE], ids, until=self._until(_PROOF_S)).values
            on = [joint for joint in on if values.get(self.servos.ids[joint], (1,)) != (0,)]
            if not on:
                return
        told = self.servos.told(on)
        raise TorqueUnproven(f"torque could not be proven off on {told}; cut the power")

    def close(self) -> None:
        self.bus.close()

    def _until(self, wait_s: float) -> float:
        """The time.monotonic() by which to have asked: never less than the bus's least patience."""
        return time.monotonic() + max(wait_s, self.bus.least_wait_s)


def _telemetry(
    stamp_ns: int,
    values: Sequence[int],
    bits: ErrorBit,
    torque_enabled: bool | None,
    torque_limit: float | None,
) -> JointTelemetry:
    load, decivolts, celsius, status, moving, current = values
    return JointTelemetry(
        stamp_ns,
        load / 1000,
        decivolts / 10,
        float(celsius),
        current * _CURRENT_UNIT_A,
        moving != 0,
        bits | ErrorBit(status),
        torque_enabled,
        torque_limit,
    )
