"""Finding an arm's calibration with a person's hands, and storing it in the servos.

LeRobot's procedure (torque off, middle pose, sweep) with the same file as its result. Unlike there,
homing offsets are reckoned with instead of written while the person works: positions are the
encoder's own until the end, so a calibration given up on has changed nothing.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from armlet.control.arm import Arm, ArmError
from armlet.motors.feetech import (
    MODEL_STS3215,
    REGISTERS,
    Bus,
    BusError,
    CorruptReply,
    ErrorBit,
    NoReply,
    Register,
)
from armlet.robots.calibration import MAX_TICK, Calibration, CalibrationError, JointCalibration
from armlet.robots.units import TICKS_PER_TURN

from .sweep import MAX_GAP_S, Sweep, SweepState

STORED = ("Min_Position_Limit", "Max_Position_Limit", "Homing_Offset")
"""A calibration's EEPROM registers, by address."""

ATTEMPTS = 5
"""Replies lost in a row that are put down to the line, not to the servo."""

HAND_TICKS = 512
"""How far a joint may be moved by hand while its calibration is written."""

_MULTI_TURN = 0x10
_POSITION = REGISTERS["Present_Position"]
_LOCK = REGISTERS["Lock"]

_ADVICE = {
    SweepState.NOT_MOVED: "not moved",
    SweepState.HARDLY_MOVED: "hardly moved",
    SweepState.TOO_FAR: "moved through more than a turn (a joint that turns freely belongs in "
    "--full-turn)",
    SweepState.MIDDLE_MISSED: "not moved through the middle pose",
    SweepState.LOST: "track lost, readings were missing (r sweeps again)",
}


class Eeprom:
    """Guarded writes to EEPROM that can be taken back.

    Only what differs is written, unlocked for that moment, and read back. Torque is not looked at.
    """

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._before: dict[tuple[int, str], int] = {}

    @property
    def changes(self) -> int:
        """How many values have been written since they were last restored."""
        return len(self._before)

    def write(self, id: int, values: Mapping[str, int]) -> None:
        """Stores values by register name.

        Raises:
            ArmError: the servo does not answer, or does not keep a value.
            PortError: the port is lost.
        """
        stored = {name: self._read(id, name) for name in values}
        different = {name: value for name, value in values.items() if stored[name] != value}
        for name in different:
            # Noted first: after a failure nobody knows whether the value was taken.
            self._before.setdefault((id, name), stored[name])
        if different:
            self._store(id, different)

    def restore(self) -> bool:
        """Puts back what was there before the first write; whether there was anything to put back.

        Raises:
            ArmError: values could not be put back; names them all. It may be tried again.
        """
        had_changes = bool(self._before)
        for (id, name), value in list(self._before.items()):
            with contextlib.suppress(ArmError, BusError):  # the others must be tried meanwhile
                if self._read(id, name) != value:
                    self._store(id, {name: value})
                del self._before[id, name]
        if self._before:
            left = ", ".join(f"servo {id}: {name} = {v}" for (id, name), v in self._before.items())
            raise ArmError(
                f"EEPROM values could not be put back: {left}. Repair the connection and calibrate "
                "again, or write a calibration file"
            )
        return had_changes

    def _store(self, id: int, values: Mapping[str, int]) -> None:
        self._write(id, _LOCK, 0)
        try:
            for name, value in values.items():
                self._write(id, REGISTERS[name], value)
        finally:
            self._write(id, _LOCK, 1)

    def _read(self, id: int, name: str) -> int:
        return read_all(self._bus, [REGISTERS[name]], {f"servo {id}": id})[f"servo {id}"][0]

    def _write(self, id: int, register: Register, value: int) -> None:
        found = None
        for _ in range(ATTEMPTS):
            try:
                # A servo that reports overload or low voltage stores the value all the same.
                self._bus.write(id, register, value, check=False)
            except (NoReply, CorruptReply):
                continue
            found = self._read(id, register.name)
            if found == value:
                return
        answer = "did not answer" if found is None else f"holds {found}"
        raise ArmError(
            f"servo {id}: {register.name} = {value} was written, the servo {answer}; check its "
            "cable and supply"
        )


def read_all(
    bus: Bus, registers: Sequence[Register], ids: Mapping[str, int]
) -> dict[str, tuple[int, ...]]:
    """Registers (ascending) of every joint, asked again where a reply is lost.

    Raises:
        ArmError: servos that do not answer, by joint.
        PortError: the port is lost.
    """
    found: dict[int, tuple[int, ...]] = {}
    for _ in range(ATTEMPTS):
        found |= bus.sync_read(registers, [id for id in ids.values() if id not in found]).values
        if len(found) == len(ids):
            return {joint: found[id] for joint, id in ids.items()}
    silent = ", ".join(f"{joint} (id {id})" for joint, id in ids.items() if id not in found)
    raise ArmError(f"no answer from {silent}; check power, cables, ids and baud rate")


def verify_models(bus: Bus, ids: Mapping[str, int]) -> None:
    """Raises ArmError unless every joint's servo answers and is an STS3215."""
    for joint, (model,) in read_all(bus, [REGISTERS["Model_Number"]], ids).items():
        if model != MODEL_STS3215:
            raise ArmError(
                f"{joint} (id {ids[joint]}): expected an STS3215 (model {MODEL_STS3215}), found "
                f"model {model}; check the ids"
            )


def holding(bus: Bus, ids: Mapping[str, int]) -> list[str]:
    """Joints whose torque is on. Raises as `read_all`."""
    torque = read_all(bus, [REGISTERS["Torque_Enable"]], ids)
    return [joint for joint, (value,) in torque.items() if value]


def release(bus: Bus, ids: Mapping[str, int]) -> None:
    """Takes torque off every joint and proves it. Raises ArmError naming those not proven."""
    blank = {joint: JointCalibration(id, 0, 0, 0, MAX_TICK) for joint, id in ids.items()}
    Arm(bus, blank).torque_off()


@dataclass(frozen=True)
class Stored:
    """What a servo's EEPROM holds of a calibration; not checked, it may make no sense."""

    homing_offset: int
    range_min: int
    range_max: int


def read_stored(bus: Bus, ids: Mapping[str, int]) -> dict[str, Stored]:
    """Calibration values in the servos' EEPROM. Raises as `read_all`."""
    registers = [REGISTERS[name] for name in STORED]
    rows = read_all(bus, registers, ids)
    return {joint: Stored(offset, low, high) for joint, (low, high, offset) in rows.items()}


def expected(calibration: Calibration) -> dict[str, Stored]:
    """What the servos' EEPROM holds if it agrees with the calibration."""
    return {
        joint: Stored(entry.homing_offset, entry.range_min, entry.range_max)
        for joint, entry in calibration.items()
    }


def read_calibration(bus: Bus, ids: Mapping[str, int]) -> Calibration:
    """The calibration that the servos hold.

    Raises:
        CalibrationError: what a servo holds is no calibration; names the joint.
        ArmError, PortError: as `read_all`.
    """
    calibration = {}
    for joint, stored in read_stored(bus, ids).items():
        try:
            calibration[joint] = JointCalibration(
                ids[joint], 0, stored.homing_offset, stored.range_min, stored.range_max
            )
        except CalibrationError as error:
            raise CalibrationError(
                f"{joint} (id {ids[joint]}): the servo holds none: {error}"
            ) from error
    return calibration


def write_calibration(eeprom: Eeprom, calibration: Calibration) -> None:
    """Stores a calibration in the servos. Torque must be off. Raises as `Eeprom.write`."""
    for entry in calibration.values():
        _write_entry(eeprom, entry)


def _write_entry(eeprom: Eeprom, entry: JointCalibration) -> None:
    values = {
        "Homing_Offset": entry.homing_offset,
        "Min_Position_Limit": entry.range_min,
        "Max_Position_Limit": entry.range_max,
    }
    eeprom.write(entry.id, values)


class Calibrator:
    """Calibrates an arm: `prepare`, `read` until it stands in its middle pose, `start_sweep`,
    `follow` while it is moved, then `write`. After anything went wrong, `restore`.

    Args:
        bus: open.
        ids: servo ids by joint.
        full_turn: joints that turn all the way round.
        clock: monotonic seconds; tests give their own.

    Attributes:
        sweeps: the sweep of each joint, since `start_sweep`.
        eeprom: what has been written.
    """

    def __init__(
        self,
        bus: Bus,
        ids: Mapping[str, int],
        full_turn: Collection[str] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.bus = bus
        self.ids = dict(ids)
        self.full_turn = frozenset(full_turn)
        self.sweeps: dict[str, Sweep] = {}
        self.eeprom = Eeprom(bus)
        self._clock = clock
        self._offsets: dict[str, int] = {}
        self._heard_s: dict[str, float] = {}

    def prepare(self) -> None:
        """Torque off, position mode, positions within one turn.

        Raises ArmError if a servo is missing, of another kind, or cannot be proven torque-free.
        """
        verify_models(self.bus, self.ids)
        release(self.bus, self.ids)
        rows = read_all(self.bus, [REGISTERS["Phase"], REGISTERS["Operating_Mode"]], self.ids)
        for joint, (phase, _) in rows.items():
            self.eeprom.write(self.ids[joint], {"Phase": phase & ~_MULTI_TURN, "Operating_Mode": 0})
        self._offsets = {j: s.homing_offset for j, s in read_stored(self.bus, self.ids).items()}

    def read(self) -> dict[str, int]:
        """Encoder ticks (0..4095, homing offset taken out) of the joints that answered.

        Raises ArmError if an encoder reports itself faulty, PortError if the port is lost.
        """
        reply = self.bus.sync_read([_POSITION], list(self.ids.values()))
        now_s = self._clock()
        found = {}
        for joint, id in self.ids.items():
            if ErrorBit.ENCODER in reply.errors.get(id, ErrorBit.NONE):
                raise ArmError(
                    f"{joint} (id {id}): its position sensor is faulty; replace the servo"
                )
            if id in reply.values:
                found[joint] = (reply.values[id][0] + self._offsets[joint]) % TICKS_PER_TURN
                self._heard_s[joint] = now_s
        return found

    def start_sweep(self) -> None:
        """Takes the present pose as the middle pose. Raises ArmError if a servo is silent."""
        found: dict[str, int] = {}
        for _ in range(ATTEMPTS):
            found |= self.read()
            if len(found) == len(self.ids):
                break
        else:
            silent = [joint for joint in self.ids if joint not in found]
            raise ArmError(f"no answer from {', '.join(silent)}; check power and cables")
        self.sweeps = {
            joint: Sweep(found[joint], self._heard_s[joint], full_turn=joint in self.full_turn)
            for joint in self.ids
        }

    def follow(self) -> None:
        """One reading of the sweep. Raises as `read`."""
        for joint, encoder in self.read().items():
            self.sweeps[joint].update(encoder, self._heard_s[joint])

    def silent(self) -> list[str]:
        """Joints that have not answered for a while."""
        since_s = self._clock() - MAX_GAP_S
        return [joint for joint in self.ids if self._heard_s.get(joint, -math.inf) < since_s]

    def restart(self) -> None:
        """Begins the sweep again; the middle pose stays."""
        for sweep in self.sweeps.values():
            sweep.restart()

    def problems(self) -> dict[str, str]:
        """Why the sweep cannot end yet, by joint; empty when it can."""
        found = {
            joint: _ADVICE[sweep.state]
            for joint, sweep in self.sweeps.items()
            if not sweep.state.is_done
        }
        return found | dict.fromkeys(self.silent(), "no answer (check power and cables)")

    def result(self) -> Calibration:
        """The calibration found. Raises CalibrationError while there are problems."""
        if problems := self.problems():
            raise CalibrationError("; ".join(f"{joint}: {why}" for joint, why in problems.items()))
        return {joint: self._entry(joint, sweep) for joint, sweep in self.sweeps.items()}

    def _entry(self, joint: str, sweep: Sweep) -> JointCalibration:
        found = sweep.placement
        return JointCalibration(
            self.ids[joint], 0, found.homing_offset, found.range_min, found.range_max
        )

    def write(self) -> Calibration:
        """Stores the calibration found in the servos, and proves that their positions follow it.

        Raises:
            CalibrationError: the sweep is not done.
            ArmError: a servo is silent, keeps another value, or reads another position than it
                should. Call `restore` then.
        """
        calibration = self.result()
        for joint, entry in calibration.items():
            encoder = (self._position(joint) + self._offsets[joint]) % TICKS_PER_TURN
            _write_entry(self.eeprom, entry)
            self._offsets[joint] = entry.homing_offset
            self._prove(joint, (encoder - entry.homing_offset) % TICKS_PER_TURN)
        return calibration

    def _position(self, joint: str) -> int:
        return read_all(self.bus, [_POSITION], {joint: self.ids[joint]})[joint][0]

    def _prove(self, joint: str, wanted: int) -> None:
        found = self._position(joint)
        half = TICKS_PER_TURN // 2
        away = abs((found - wanted + half) % TICKS_PER_TURN - half)
        if away > HAND_TICKS or not 0 <= found <= MAX_TICK:
            raise ArmError(
                f"{joint} (id {self.ids[joint]}): with its new homing offset it should read about "
                f"{wanted}, found {found}; switch its power off and on, and calibrate again"
            )

    def restore(self) -> bool:
        """Puts back what EEPROM held before; whether anything had been changed. Raises ArmError."""
        return self.eeprom.restore()
