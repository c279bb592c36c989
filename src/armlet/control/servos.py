"""The registers of an arm's servos by joint, over a line that loses replies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from armlet.motors.feetech import REGISTERS, Bus, CorruptReply, ErrorBit, NoReply

ATTEMPTS = 8
"""With one packet in seven lost, a step fails once in a million; a dead servo costs 0.2 s."""


class ArmError(Exception):
    """The arm is not in a state to be used; the message says what to do."""


class TorqueUnproven(ArmError):
    """Servos may have torque though they were told to let go."""


class Servos:
    """The servos of an arm, `ids` by joint. Replies that are lost are asked for again.

    Error bits that a servo reports do not keep its values from being read or written.
    """

    def __init__(self, bus: Bus, ids: Mapping[str, int]):
        self.bus = bus
        self.ids = dict(ids)

    def models(self) -> dict[str, int]:
        """Model numbers by joint of the servos that answer. Raises PortError."""
        found, _ = self._gather(["Model_Number"], self.ids)
        return {joint: values["Model_Number"] for joint, values in found.items()}

    def read(
        self, names: Iterable[str], joints: Iterable[str] | None = None
    ) -> dict[str, dict[str, int]]:
        """Joint to register name to value, of some joints or all.

        Raises ArmError naming the joints that do not answer, and PortError.
        """
        joints = list(self.ids if joints is None else joints)
        found: dict[str, dict[str, int]] = {joint: {} for joint in joints}
        for registers in _spans(names):
            told, missing = self._gather(registers, joints)
            if missing:
                raise ArmError(
                    f"no answer from {self.told(missing)} when asked for {', '.join(registers)}; "
                    "check supply and cables"
                )
            for joint, values in told.items():
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
            reply = self.bus.sync_read([REGISTERS[name] for name in registers], missing)
            for servo_id, values in reply.values.items():
                found[names[servo_id]] = dict(zip(registers, values, strict=True))
            missing = reply.missing
            if not missing:
                break
        return found, [names[servo_id] for servo_id in missing]

    def ask(self, joint: str, names: Sequence[str]) -> tuple[tuple[int, ...], ErrorBit] | None:
        """Values, in the order of their addresses, and error bits of one servo, asked once.

        None if it did not answer. Raises PortError.
        """
        servo_id = self.ids[joint]
        reply = self.bus.sync_read([REGISTERS[name] for name in names], [servo_id])
        values = reply.values.get(servo_id)
        return None if values is None else (values, reply.errors.get(servo_id, ErrorBit.NONE))

    def tell(self, joint: str, name: str, value: int) -> bool:
        """Write once; whether it was acknowledged. Raises PortError."""
        try:
            self.bus.write(self.ids[joint], REGISTERS[name], value, check=False)
        except (NoReply, CorruptReply):
            return False
        return True

    def write(self, joint: str, name: str, value: int) -> None:
        """Write until acknowledged. Raises ArmError, PortError."""
        if not any(self.tell(joint, name, value) for _ in range(ATTEMPTS)):
            raise ArmError(
                f"{self.told([joint])} does not acknowledge {name} = {value}; check supply and "
                "cables"
            )

    def store(self, settings: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, int]]:
        """Make registers of some joints hold values that outlive a power cycle, and prove it.

        Only what differs is written, for EEPROM wears; it returns that. Torque must be off. EEPROM
        is locked again whatever goes wrong, where the servo still answers. Raises ArmError naming
        what would not be stored, and PortError.
        """
        differing = self._differing(settings)
        for joint, values in differing.items():
            try:
                self.write(joint, "Lock", 0)
                for name, value in values.items():
                    self.write(joint, name, value)
            finally:
                self.write(joint, "Lock", 1)
        left = self._differing({joint: settings[joint] for joint in differing})
        if left:
            told = "; ".join(f"{joint}: {values}" for joint, values in left.items())
            raise ArmError(
                f"servos did not store what was written: {told}. Switch the arm off and on and try "
                "again; a servo that still refuses is broken or has another firmware"
            )
        return differing

    def _differing(self, settings: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, int]]:
        differing: dict[str, dict[str, int]] = {}
        names = {name for values in settings.values() for name in values}
        found = self.read(names, settings) if settings else {}
        for joint, values in settings.items():
            other = {name: value for name, value in values.items() if found[joint][name] != value}
            if other:
                differing[joint] = other
        return differing

    def told(self, joints: Iterable[str]) -> str:
        """Joints with their ids, for messages."""
        return ", ".join(f"{joint} (id {self.ids[joint]})" for joint in joints)


def _spans(names: Iterable[str]) -> list[list[str]]:
    """Register names in order of address, cut where the memory's areas meet."""
    spans: dict[str, list[str]] = {}
    for name in sorted(names, key=lambda name: REGISTERS[name].address):
        spans.setdefault(REGISTERS[name].area, []).append(name)
    return list(spans.values())
