"""A servo arm on a bus: verified connection, reading in radians, torque that is proven."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from armlet.motors.protocol import (
    TICKS_PER_TURN,
    Alarm,
    MotorBus,
    MotorModel,
    PortError,
    Quantity,
    SyncReply,
    describe,
)
from armlet.robots.calibration import Calibration
from armlet.robots.joints import is_gripper
from armlet.robots.units import Vector, limits_radians, own_converter

from .feedback import Feedback, JointSample, JointTelemetry
from .measured import HEALTH, READINGS, STATE, Row
from .plausibility import JointReadings, Places
from .servos import ATTEMPTS, CalibrationDiffers, Servos
from .servos import ArmError as ArmError
from .servos import TorqueUnproven as TorqueUnproven

ARM_OUTSIDE_RAD = 0.1
"""How far beyond its calibrated range a joint may stand when the arm is armed."""

_FIND_S = 0.1
_PROOF_S = 0.05
_CUTS = 3
_REBOOT_S = 2.0
"""A servo that starts up again answers within this."""


@dataclass(frozen=True)
class ArmIdentity:
    """What distinguishes this arm from others: model and calibration, as its servos store them.

    servos: id, model number, homing offset, lowest and highest position of each joint.
    """

    servos: tuple[tuple[int, int, int, int, int], ...]


class Arm:
    """An arm whose joints are servos of one bus, in the order of its calibration.

    Methods raise PortError for the port and ArmError for the arm; nothing is ever made up.

    Args:
        bus: where its servos are.
        calibration: of its joints.
        models: what each joint's servo is, in the calibration's order; None: the bus's usual one.

    Attributes:
        firmware: joint to version, e.g. "3.10"; since `connect`.
        warnings: what was found at `connect` that is odd but no reason to stop.
        errors: alarms by joint, as each joint's last answer had them.
        telemetry: each joint's other readings, as last read.
    """

    def __init__(
        self,
        bus: MotorBus,
        calibration: Calibration,
        models: Sequence[MotorModel] | None = None,
    ):
        self.bus = bus
        self.calibration = calibration
        self.joints = tuple(calibration)
        chosen = models or [bus.usual_model] * len(self.joints)
        self.models = dict(zip(self.joints, chosen, strict=True))
        ids = {joint: entry.id for joint, entry in calibration.items()}
        self.servos = Servos(bus, ids, self.models)
        self.firmware: dict[str, str] = {}
        self.warnings: list[str] = []
        self.errors: dict[str, Alarm | None] = {}
        self.telemetry: dict[str, JointTelemetry] = {}
        self._converter = own_converter(calibration)
        self._own_port = bus.port
        self._ids = [joint.id for joint in calibration.values()]
        first = chosen[0]
        self._state, self._full = Row(first, STATE), Row(first, READINGS)
        self._health = Row(first, HEALTH)
        self._torque, self._goal = first.torque_enable, first.goal_position
        self._watchdog = first.watchdog
        self._readings = self._make_readings(chosen)
        self._errors_known = False

    def _make_readings(self, models: Sequence[MotorModel]) -> JointReadings:
        state, full = self._state, self._full
        position, velocity, load = Quantity.POSITION, Quantity.VELOCITY, Quantity.LOAD
        places = Places(
            state=(state.at(position), state.at(velocity), -1),
            full=(full.at(position), full.at(velocity), full.at(load)),
        )
        velocities, loads = (
            [model.measures[quantity] for model in models] for quantity in (velocity, load)
        )
        turning = models[0].counts_turns
        return JointReadings(self._ids, self._converter, places, velocities, loads, turning)

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
                (e.id, self.models[joint].number, e.homing_offset, e.range_min, e.range_max)
                for joint, e in self.calibration.items()
            )
        )

    def matches(self, bus: MotorBus) -> bool:
        """Whether an open bus is this arm's, by ids, model and calibration. Raises PortError."""
        model = self.models[self.joints[0]]
        wanted = (model.model_number, model.homing_offset, model.min_position, model.max_position)
        registers = sorted(wanted, key=lambda register: register.address)
        reply = bus.sync_read(registers, self._ids, until=self._until(_FIND_S))
        if reply.missing:
            return False
        order = [registers.index(register) for register in wanted]
        found = [(id, *[reply.values[id][at] for at in order]) for id in self._ids]
        return found == list(self.identity.servos)

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
        """Open the port and prove that every servo is there, of its model, and calibrated.

        Raises ArmError that names everything that does not fit, and PortError.
        """
        self.bus.open()
        self._verify_models()
        self._read_firmware()
        self._verify_calibration()

    def _verify_models(self) -> None:
        numbers = self.servos.model_numbers()
        silent = [joint for joint in self.joints if joint not in numbers]
        if silent:
            raise ArmError(
                f"no answer from {self.servos.labels(silent)} on {self.bus.port}. Check supply, "
                f"cables and ids, and that they are set to {self.bus.baudrate} baud"
            )
        wrong = {j: found for j, found in numbers.items() if found != self.models[j].number}
        if wrong:
            raise ArmError(
                f"{_expected([self.models[joint] for joint in wrong])}; "
                + ", ".join(f"{self.servos.labels([j])}: found model {m}" for j, m in wrong.items())
                + ". Check the ids"
            )

    def _read_firmware(self) -> None:
        first = self.models[self.joints[0]]
        names = [register.name for register in first.firmware]
        found = self.servos.read(names)
        self.firmware = {
            joint: ".".join(str(values[name]) for name in names) for joint, values in found.items()
        }
        self.warnings = []
        if len(set(self.firmware.values())) > 1:
            versions = ", ".join(f"{joint} {version}" for joint, version in self.firmware.items())
            self.warnings.append(
                f"the servos' firmware differs ({versions}); they may behave differently. "
                f"{first.updated_with} updates it"
            )

    def _verify_calibration(self) -> None:
        wanted = self._calibrated()
        found = self.servos.read({name for values in wanted.values() for name in values})
        differing = [
            f"{self.servos.labels([joint])}: the calibration file says {name} = {value}, "
            f"the servo {found[joint][name]}"
            for joint, values in wanted.items()
            for name, value in values.items()
            if found[joint][name] != value
        ]
        differing += self._turned_round()
        if differing:
            raise CalibrationDiffers(
                "; ".join(differing) + ". Use this arm's own file, or write the file to the servos "
                "with `armlet calibrate --write FILE` or write_calibration",
                self._held(found),
            )

    def _held(self, found: Mapping[str, Mapping[str, int]]) -> dict[int, tuple[int, int, int]]:
        """What the servos store of a calibration, by id."""
        held = {}
        for joint, entry in self.calibration.items():
            model, values = self.models[joint], found[joint]
            registers = (model.homing_offset, model.min_position, model.max_position)
            offset, low, high = (values[register.name] for register in registers)
            held[entry.id] = offset, low, high
        return held

    def _turned_round(self) -> list[str]:
        """Joints whose servo turns the other way than their calibration says, in words."""
        registers = {j: m.drive_mode for j, m in self.models.items() if m.drive_mode is not None}
        if not registers:
            return []
        found = self.servos.read({register.name for register in registers.values()}, registers)
        differing = []
        for joint, register in registers.items():
            mode, turned = self.calibration[joint].drive_mode, found[joint][register.name] & 1
            if turned != mode:
                differing.append(
                    f"{self.servos.labels([joint])}: the calibration file says drive_mode = "
                    f"{mode}, the servo {turned}"
                )
            elif turned:
                warning = (
                    f"{joint} has drive_mode 1, and its servo turns round by itself: record with "
                    "joint_units degrees, for range_m100_100 would turn it round a second time"
                )
                if warning not in self.warnings:
                    self.warnings.append(warning)
        return differing

    def _calibrated(self) -> dict[str, dict[str, int]]:
        return {
            joint: {
                self.models[joint].homing_offset.name: entry.homing_offset,
                self.models[joint].min_position.name: entry.range_min,
                self.models[joint].max_position.name: entry.range_max,
            }
            for joint, entry in self.calibration.items()
        }

    # --- settings ---------------------------------------------------------------------------

    def write_calibration(self) -> None:
        """Store the calibration in the servos' EEPROM, torque off, and prove it."""
        self.bus.open()
        self.torque_off()
        wanted = self._calibrated()
        registers = {j: m.drive_mode for j, m in self.models.items() if m.drive_mode is not None}
        if registers:
            found = self.servos.read({register.name for register in registers.values()}, registers)
            for joint, register in registers.items():
                others = found[joint][register.name] & ~1
                wanted[joint][register.name] = others | self.calibration[joint].drive_mode
        self.servos.store(wanted)

    def configure(self) -> None:
        """Torque off, then the settings that LeRobot gives such an arm, proven."""
        self.torque_off()
        setups = {j: model.setup(j, is_gripper(j)) for j, model in self.models.items()}
        kept = self.servos.read({name for setup in setups.values() for name in setup.cleared})
        self.servos.store(
            {
                joint: {
                    **setup.stored,
                    **{name: kept[joint][name] & ~bits for name, bits in setup.cleared.items()},
                }
                for joint, setup in setups.items()
            }
        )
        self._restore_ram(self.joints)

    def _restore_ram(self, joints: Iterable[str]) -> None:
        """What a servo forgets without power, or what was lowered to protect it."""
        settings = self.servos.ram_settings(joints)
        found = self.servos.read({name for wanted in settings.values() for name in wanted}, joints)
        for joint, wanted in settings.items():
            for name, value in wanted.items():
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
        registers = (self._full if feedback == "full" else self._state).registers
        if goal is None:
            reply = self.bus.sync_read(registers, self._ids, until=until)
            return self._note(reply, feedback), None
        ticks = [round(tick) for tick in self._converter.radians_to_ticks(goal).tolist()]
        values = dict(zip(self._ids, self._as_counted(ticks), strict=True))
        reply = self.bus.sync_write_read(self._goal, values, registers, self._ids, until=until)
        return self._note(reply, feedback), self._converter.ticks_to_radians(ticks)

    def _as_counted(self, ticks: list[int]) -> list[int]:
        """Positions (n,) as the servos count them, which may be in another turn."""
        turns = self._readings.turns
        return [tick + turn * TICKS_PER_TURN for tick, turn in zip(ticks, turns, strict=True)]

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
            if servo_id in reply.values:
                last = self.telemetry.get(joint)
                found = self._telemetry(joint, reply, self._full)
                self.telemetry[joint] = replace(
                    found,
                    torque_enabled=None if last is None else last.torque_enabled,
                    torque_limit=None if last is None else last.torque_limit,
                )

    def read_telemetry(self, joint: str, until: float | None = None) -> JointTelemetry | None:
        """One servo's torque, load, voltage, temperature, status, current; None if no answer."""
        servo_id = self.servos.ids[joint]
        reply = self.bus.sync_read(self._health.registers, [servo_id], until=until)
        if servo_id not in reply.values:
            return None
        telemetry = self.telemetry[joint] = self._telemetry(joint, reply, self._health)
        return telemetry

    def _telemetry(self, joint: str, reply: SyncReply, row: Row) -> JointTelemetry:
        """What a joint's servo replied, which it did."""
        servo_id, model = self.servos.ids[joint], self.models[joint]
        values = reply.values[servo_id]
        torque = row.count(values, Quantity.TORQUE_ENABLED)
        return JointTelemetry(
            reply.stamp_ns,
            load=row.value(model, values, Quantity.LOAD) or 0.0,
            voltage_v=row.value(model, values, Quantity.VOLTAGE) or 0.0,
            temperature_c=row.value(model, values, Quantity.TEMPERATURE) or 0.0,
            current_a=row.value(model, values, Quantity.CURRENT),
            moving=row.count(values, Quantity.MOVING) != 0,
            status=reply.errors.get(servo_id, Alarm.NONE) | row.alarms(model, values),
            torque_enabled=None if torque is None else torque != 0,
            torque_limit=row.value(model, values, Quantity.TORQUE_LIMIT),
        )

    # --- torque -----------------------------------------------------------------------------

    def torque_on(
        self, joints: Iterable[str] | None = None, wanted: Callable[[], bool] = lambda: True
    ) -> Vector:
        """Make every servo, or some, hold where it is; returns all present positions (n,), radians.

        Servos that cut out by themselves and need it are rebooted, RAM settings are restored, all
        are proven to be this arm's still, goals are set to the present position and read back, and
        only then is torque enabled, joint by joint, and proven. On any failure, and when `wanted`
        says that it is not wanted any more,
        torque is taken off those joints again, and the error raised.
        """
        joints = self.joints if joints is None else tuple(joints)
        try:
            self._reboot(joints)
            self._unwatch(joints)
            self._restore_ram(joints)
            position = self._settled_position()
            self._verify_models()
            self._verify_calibration()
            self._require_inside(joints, position)
            goal = self._send_proven(joints, position)
            for joint in joints:
                if not wanted():
                    raise ArmError("torque stays off: a stop was requested meanwhile")
                self.servos.write(joint, self._torque.name, 1)
            self._require_on(joints)
            self._watch_host(joints)
        except BaseException:
            self.torque_off(joints)
            raise
        return goal

    def _reboot(self, joints: Iterable[str]) -> None:
        """Start up again those that keep their torque off until then."""
        for joint in joints:
            model = self.models[joint]
            if model.reboots and self._cut_out(joint):
                self.servos.reboot(joint)
                deadline = time.monotonic() + _REBOOT_S
                while self.servos.ask(joint, [model.torque_enable.name]) is None:
                    self.read()  # which feeds the others' watchdogs
                    if time.monotonic() > deadline:
                        raise ArmError(f"{self.servos.labels([joint])} did not start up again")
                if left := self._cut_out(joint):
                    raise ArmError(
                        f"torque stays off: {self.servos.labels([joint])} still reports "
                        f"{describe(left)} after it was rebooted; let it cool, check its supply"
                    )

    def _cut_out(self, joint: str) -> Alarm:
        """The alarms on which a servo keeps its torque off."""
        model = self.models[joint]
        name = model.measures[Quantity.STATUS].register.name
        value = self.servos.read([name], [joint])[joint][name]
        return model.alarms(Quantity.STATUS, value) & model.cuts_torque

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
            f"{self.servos.labels(silent)}; check supply and cables"
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
        counted = self._as_counted([int(tick) for tick in ticks.tolist()])
        everyone = dict(zip(self.joints, counted, strict=True))
        wanted = {joint: everyone[joint] for joint in joints}
        for _ in range(ATTEMPTS):
            self.bus.sync_write(
                self._goal, {self.servos.ids[j]: tick for j, tick in wanted.items()}
            )
            stored = self.servos.read([self._goal.name], joints)
            held = {joint: values[self._goal.name] for joint, values in stored.items()}
            if held == wanted:
                return self._converter.ticks_to_radians(ticks)
        raise ArmError(f"torque stays off: goals {wanted} were sent, the servos hold {held}")

    def _require_on(self, joints: tuple[str, ...]) -> None:
        found = self.servos.read([self._torque.name], joints)
        off = [joint for joint, values in found.items() if not values[self._torque.name]]
        if off:
            raise ArmError(f"{self.servos.labels(off)} acknowledged torque on, but it stayed off")

    def _watch_host(self, joints: tuple[str, ...]) -> None:
        """From now on these servos stop by themselves if no instruction reaches them."""
        for joint in joints:
            model = self.models[joint]
            if model.watchdog is not None:
                self.servos.write(joint, model.watchdog.name, model.watchdog_counts)

    def _unwatch(self, joints: Iterable[str]) -> None:
        """These servos take goals again, from whomever."""
        watched = [joint for joint in joints if self.models[joint].watchdog is not None]
        found = self.servos.read([self._watchdog.name], watched) if self._watchdog else {}
        for joint, values in found.items():
            for name, value in values.items():
                if value:
                    self.servos.write(joint, name, 0)

    def cut(self) -> None:
        """Tell every servo at once to let go, without proof. Raises PortError.

        More than once: one packet in ten may be lost, and a quarter of a millisecond is cheap.
        """
        for _ in range(_CUTS):
            self.bus.sync_write(self._torque, dict.fromkeys(self._ids, 0))

    def torque_off(self, joints: Iterable[str] | None = None) -> None:
        """Release every servo, or some, and prove it by reading back, whatever they answer.

        One packet goes to all of them; to those that cannot be proven to be off it goes again, at
        once and one by one. Raises TorqueUnproven naming those that still cannot, and PortError.
        """
        on = list(self.joints if joints is None else joints)
        for attempt in range(ATTEMPTS):
            released = {self.servos.ids[joint]: 0 for joint in on}
            self.bus.sync_write(self._torque, released)
            if self._watchdog is not None:  # or it would refuse the goals of whoever comes next
                self.bus.sync_write(self._watchdog, released)
            if attempt:
                # No answer is no proof, so it is asked below; the others are tried meanwhile.
                for joint in on:
                    self.servos.write_once(joint, self._torque.name, 0)
            # sync_read gives the value even of a servo that reports overload with it.
            ids = [self.servos.ids[joint] for joint in on]
            values = self.bus.sync_read([self._torque], ids, until=self._until(_PROOF_S)).values
            on = [joint for joint in on if values.get(self.servos.ids[joint], (1,)) != (0,)]
            if not on:
                return
        on_still = self.servos.labels(on)
        raise TorqueUnproven(f"torque could not be proven off on {on_still}; cut the power")

    def close(self) -> None:
        self.bus.close()

    def _until(self, wait_s: float) -> float:
        """The time.monotonic() by which to have asked: never before the shortest timeout."""
        return time.monotonic() + max(wait_s, self.bus.least_wait_s)


def _expected(models: Sequence[MotorModel]) -> str:
    kinds = {f"{model.label} servos (model {model.number})" for model in models}
    return "expected " + " or ".join(sorted(kinds))
