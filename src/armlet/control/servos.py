"""The registers of an arm's servos by joint, over a line that loses replies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from armlet.motors import eeprom
from armlet.motors.eeprom import ATTEMPTS as ATTEMPTS
from armlet.motors.protocol import (
    Alarm,
    CorruptReply,
    InstructionRefused,
    MotorBus,
    MotorModel,
    NoReply,
    Register,
)
from armlet.robots.joints import is_gripper


class ArmError(Exception):
    """The arm is not in a state to be used; the message says what to do."""


class CalibrationDiffers(ArmError):
    """The servos hold another calibration: homing offset, lowest and highest position by id."""

    def __init__(self, text: str, held: Mapping[int, tuple[int, int, int]]):
        super().__init__(text)
        self.held = held


class TorqueUnproven(ArmError):
    """Servos may have torque though they were ordered to release."""


class Servos:
    """The servos of an arm, by joint. Replies that are lost are asked for again.

    Alarms that a servo reports do not keep its values from being read or written.

    Args:
        bus: where they are.
        ids: by joint.
        models: by joint; those of one bus have the registers that are read together at the same
            addresses.
    """

    def __init__(self, bus: MotorBus, ids: Mapping[str, int], models: Mapping[str, MotorModel]):
        self.bus = bus
        self.ids = dict(ids)
        self.models = dict(models)
        self._registers = next(iter(self.models.values())).registers

    def model_numbers(self) -> dict[str, int]:
        """Model numbers by joint of the servos that answer. Raises PortError."""
        name = next(iter(self.models.values())).model_number.name
        found, _ = self._gather([name], self.ids)
        return {joint: values[name] for joint, values in found.items()}

    def read(
        self, names: Iterable[str], joints: Iterable[str] | None = None
    ) -> dict[str, dict[str, int]]:
        """Joint to register name to value, of some joints or all.

        Raises ArmError naming the joints that do not answer, and PortError.
        """
        joints = list(self.ids if joints is None else joints)
        found: dict[str, dict[str, int]] = {joint: {} for joint in joints}
        for registers in self._spans(names):
            answered, missing = self._gather(registers, joints)
            if missing:
                raise ArmError(
                    f"no answer from {self.labels(missing)} when asked for {', '.join(registers)}; "
                    "check supply and cables"
                )
            for joint, values in answered.items():
                found[joint].update(values)
        return found

    def _gather(
        self, registers: list[str], joints: Iterable[str]
    ) -> tuple[dict[str, dict[str, int]], list[str]]:
        """What was answered, and the joints that never answered."""
        names = {self.ids[joint]: joint for joint in joints}
        found: dict[str, dict[str, int]] = {}
        missing = tuple(names)
        for _ in range(ATTEMPTS):
            reply = self.bus.sync_read([self._registers[name] for name in registers], missing)
            for servo_id, values in reply.values.items():
                found[names[servo_id]] = dict(zip(registers, values, strict=True))
            missing = reply.missing
            if not missing:
                break
        return found, [names[servo_id] for servo_id in missing]

    def ask(self, joint: str, names: Sequence[str]) -> tuple[tuple[int, ...], Alarm] | None:
        """Values, in the order of their addresses, and alarms of one servo, asked once.

        None if it did not answer. Raises PortError.
        """
        servo_id = self.ids[joint]
        reply = self.bus.sync_read([self._register(joint, name) for name in names], [servo_id])
        values = reply.values.get(servo_id)
        return None if values is None else (values, reply.errors.get(servo_id, Alarm.NONE))

    def write_once(self, joint: str, name: str, value: int) -> bool:
        """Write once; whether it was acknowledged as done. Raises PortError."""
        try:
            self.bus.write(self.ids[joint], self._register(joint, name), value, check=False)
        except (NoReply, CorruptReply, InstructionRefused):
            return False
        return True

    def write(self, joint: str, name: str, value: int) -> None:
        """Write until acknowledged. Raises ArmError, also of what it cannot hold, and PortError."""
        register = self._register(joint, name)
        for _ in range(ATTEMPTS):
            try:
                self.bus.write(self.ids[joint], register, value, check=False)
            except (NoReply, CorruptReply):
                continue
            except (InstructionRefused, ValueError) as error:
                raise ArmError(f"{self.labels([joint])}: {error}") from error
            return
        raise ArmError(
            f"{self.labels([joint])} does not acknowledge {name} = {value}; check supply and cables"
        )

    def reboot(self, joint: str) -> bool:
        """Start a servo up again, asked once; whether it acknowledged. Raises PortError."""
        try:
            self.bus.reboot(self.ids[joint])
        except (NoReply, CorruptReply, InstructionRefused):
            return False
        return True

    def store(self, settings: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, int]]:
        """Make registers of some joints hold values that outlive a power cycle, and prove it.

        Only what differs is written, for EEPROM wears; it returns that. Torque must be off. EEPROM
        is locked again whatever goes wrong, where the servo still answers. Raises ArmError naming
        what would not be stored, and PortError.
        """
        differing = self._differing(settings)
        for joint, values in differing.items():
            try:
                eeprom.store(_JointRegisters(self, joint), values)
            except eeprom.NotStored as error:
                raise ArmError(
                    f"servos did not store what was written: {joint}: {{'{error.name}': "
                    f"{error.value}}}. Switch the arm off and on and try again; a servo that "
                    "still refuses is broken or has another firmware"
                ) from error
        return differing

    def ram_settings(self, joints: Iterable[str]) -> dict[str, dict[str, int]]:
        """What each servo has to hold while it is used, its full torque limit included.

        Raises ArmError, PortError.
        """
        joints = list(joints)
        names = {joint: self.models[joint].max_torque.name for joint in joints}
        found = self.read(set(names.values()), joints)
        return {
            joint: {
                **self.models[joint].setup(joint, is_gripper(joint)).ram,
                self.models[joint].torque_limit.name: found[joint][names[joint]],
            }
            for joint in joints
        }

    def _differing(self, settings: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, int]]:
        differing: dict[str, dict[str, int]] = {}
        names = {name for values in settings.values() for name in values}
        found = self.read(names, settings) if settings else {}
        for joint, values in settings.items():
            other = {name: value for name, value in values.items() if found[joint][name] != value}
            if other:
                differing[joint] = other
        return differing

    def labels(self, joints: Iterable[str]) -> str:
        """Joints with their ids, for messages."""
        return ", ".join(f"{joint} (id {self.ids[joint]})" for joint in joints)

    def _register(self, joint: str, name: str) -> Register:
        return self.models[joint].registers[name]

    def _spans(self, names: Iterable[str]) -> list[list[str]]:
        """Register names in order of address, cut where the memory's areas meet."""
        spans: dict[str, list[str]] = {}
        for name in sorted(names, key=lambda name: self._registers[name].address):
            spans.setdefault(self._registers[name].area, []).append(name)
        return list(spans.values())


class _JointRegisters:
    """One joint's registers, for whoever stores in them. Raises ArmError and PortError."""

    def __init__(self, servos: Servos, joint: str) -> None:
        self._servos, self._joint = servos, joint

    @property
    def label(self) -> str:
        return self._servos.labels([self._joint])

    @property
    def lock(self) -> str | None:
        lock = self._servos.models[self._joint].lock
        return None if lock is None else lock.name

    def read(self, name: str) -> int:
        return self._servos.read([name], [self._joint])[self._joint][name]

    def write(self, name: str, value: int) -> None:
        self._servos.write(self._joint, name, value)
