"""Finding an arm's calibration with a person's hands, and storing it in the servos.

LeRobot's procedure (torque off, middle pose, sweep) with the same file as its result, for servos of
any family. Unlike there, homing offsets are reckoned with instead of written while the person
works: positions are the encoder's own until the end, so a calibration given up on has changed
nothing.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from armlet.control.arm import Arm, ArmError
from armlet.motors import eeprom
from armlet.motors.eeprom import BusRegisters, NotRestored, NotStored
from armlet.motors.protocol import (
    Alarm,
    MotorBus,
    MotorModel,
    NoReply,
    Quantity,
    Register,
)
from armlet.robots.calibration import MAX_TICK, Calibration, CalibrationError, JointCalibration
from armlet.robots.joints import is_gripper
from armlet.robots.units import TICKS_PER_TURN

from .sweep import MAX_GAP_S, Sweep, SweepState

Models = Mapping[str, MotorModel]
"""What each joint's servo is, by joint; the bus's usual model for a joint that is not there."""

ATTEMPTS = 5
"""Replies lost in a row that are put down to the line, not to the servo."""

HAND_TICKS = 512
"""How far a joint may be moved by hand while its calibration is written."""

REVERSED = 0x01
"""Bit of a drive mode."""

_ADVICE = {
    SweepState.NOT_MOVED: "not moved",
    SweepState.HARDLY_MOVED: "hardly moved",
    SweepState.TOO_FAR: "moved through more than a turn (a joint that turns freely belongs in "
    "--full-turn)",
    SweepState.MIDDLE_MISSED: "not moved through the middle pose",
    SweepState.ONE_SIDE: "moved to one side of the middle pose only: move it to the other stop "
    "too, or begin again if the middle pose was at a stop",
    SweepState.LOST: "track lost, readings were missing (r sweeps again)",
}


class Eeprom(eeprom.Eeprom):
    """What is stored in an arm's servos, and can be taken back. Raises ArmError for the arm's
    servos, PortError for the port.

    Args:
        bus: open.
        models: what each servo is, by id; others are the bus's usual model.
    """

    def __init__(self, bus: MotorBus, models: Mapping[int, MotorModel] | None = None) -> None:
        super().__init__(lambda id: BusRegisters(bus, id, self.model(id)))
        self._usual = bus.usual_model
        self._models = dict(models or {})

    def model(self, id: int) -> MotorModel:
        """What a servo is."""
        return self._models.get(id, self._usual)

    def write(self, id: int, values: Mapping[str, int]) -> None:
        try:
            super().write(id, values)
        except (NoReply, NotStored) as error:
            raise ArmError(str(error)) from error

    def restore(self) -> bool:
        try:
            return super().restore()
        except NotRestored as error:
            raise ArmError(
                f"{error}. Repair the connection and calibrate again, or write a calibration file"
            ) from error

    def read(self, id: int, name: str) -> int:
        """A register's value. Raises ArmError: no answer."""
        try:
            return self._registers(id).read(name)
        except NoReply as error:
            raise ArmError(str(error)) from error


def read_all(
    bus: MotorBus, registers: Sequence[Register], ids: Mapping[str, int]
) -> dict[str, tuple[int, ...]]:
    """Registers (ascending) of every joint, asked again where a reply is lost.

    Raises:
        ArmError: servos that do not answer, by joint.
        PortError: the port is lost.
    """
    found: dict[int, tuple[int, ...]] = {}
    missing: Sequence[int] = list(ids.values())
    for _ in range(ATTEMPTS):
        reply = bus.sync_read(registers, missing)
        found |= reply.values
        missing = reply.missing
        if not missing:
            return {joint: found[id] for joint, id in ids.items()}
    silent = ", ".join(f"{joint} (id {id})" for joint, id in ids.items() if id not in found)
    raise ArmError(f"no answer from {silent}; check power, cables, ids and baud rate")


def _models(bus: MotorBus, ids: Mapping[str, int], models: Models | None) -> dict[str, MotorModel]:
    return {joint: (models or {}).get(joint, bus.usual_model) for joint in ids}


def _first(bus: MotorBus, ids: Mapping[str, int], models: Models | None) -> MotorModel:
    """Whose registers stand for those of all: servos of one bus have them at the same places."""
    return next(iter(_models(bus, ids, models).values()), bus.usual_model)


def verify_models(bus: MotorBus, ids: Mapping[str, int], models: Models | None = None) -> None:
    """Raises ArmError unless every joint's servo answers and is of its model."""
    wanted = _models(bus, ids, models)
    for joint, (number,) in read_all(bus, [_first(bus, ids, models).model_number], ids).items():
        model = wanted[joint]
        if number != model.number:
            raise ArmError(
                f"{joint} (id {ids[joint]}): expected an {model.label} (model {model.number}), "
                f"found model {number}; check the ids"
            )


def holding(bus: MotorBus, ids: Mapping[str, int], models: Models | None = None) -> list[str]:
    """Joints whose torque is on. Raises as `read_all`."""
    torque = read_all(bus, [_first(bus, ids, models).torque_enable], ids)
    return [joint for joint, (value,) in torque.items() if value]


def release(bus: MotorBus, ids: Mapping[str, int], models: Models | None = None) -> None:
    """Takes torque off every joint and proves it. Raises ArmError naming those not proven."""
    blank = {joint: JointCalibration(id, 0, 0, 0, MAX_TICK) for joint, id in ids.items()}
    Arm(bus, blank, list(_models(bus, ids, models).values())).torque_off()


@dataclass(frozen=True)
class Stored:
    """What a servo's EEPROM holds of a calibration; not checked, it may make no sense.

    drive_mode: whether it turns round by itself; 0 of one that cannot.
    """

    homing_offset: int
    range_min: int
    range_max: int
    drive_mode: int = 0


def read_stored(
    bus: MotorBus, ids: Mapping[str, int], models: Models | None = None
) -> dict[str, Stored]:
    """Calibration values in the servos' EEPROM. Raises as `read_all`."""
    first = _first(bus, ids, models)
    wanted = [first.homing_offset, first.min_position, first.max_position]
    if first.drive_mode is not None:
        wanted.append(first.drive_mode)
    registers = sorted(wanted, key=lambda register: register.address)
    places = [registers.index(register) for register in wanted]
    found = {}
    for joint, row in read_all(bus, registers, ids).items():
        offset, low, high, *mode = (row[place] for place in places)
        found[joint] = Stored(offset, low, high, mode[0] & REVERSED if mode else 0)
    return found


def expected(calibration: Calibration, models: Models | None = None) -> dict[str, Stored]:
    """What the servos' EEPROM holds if it agrees with the calibration.

    models: servos that are not among them do not turn round by themselves.
    """
    found = {}
    for joint, entry in calibration.items():
        model = (models or {}).get(joint)
        turns = model is not None and model.drive_mode is not None
        mode = entry.drive_mode if turns else 0
        found[joint] = Stored(entry.homing_offset, entry.range_min, entry.range_max, mode)
    return found


def read_calibration(
    bus: MotorBus, ids: Mapping[str, int], models: Models | None = None
) -> Calibration:
    """The calibration that the servos hold.

    Raises:
        CalibrationError: what a servo holds is no calibration; names the joint.
        ArmError, PortError: as `read_all`.
    """
    calibration = {}
    for joint, stored in read_stored(bus, ids, models).items():
        try:
            calibration[joint] = JointCalibration(
                ids[joint],
                stored.drive_mode,
                stored.homing_offset,
                stored.range_min,
                stored.range_max,
            )
        except CalibrationError as error:
            raise CalibrationError(
                f"{joint} (id {ids[joint]}): the servo holds none: {error}"
            ) from error
    return calibration


def write_calibration(eeprom: Eeprom, calibration: Calibration) -> None:
    """Stores a calibration in the servos. Torque must be off. Raises as `Eeprom.write`.

    Nothing is written if one of them cannot hold its values, which is an ArmError too.
    """
    for joint, entry in calibration.items():
        offset = eeprom.model(entry.id).homing_offset
        if not offset.minimum <= entry.homing_offset <= offset.maximum:
            raise ArmError(
                f"{joint} (id {entry.id}): an {eeprom.model(entry.id).label} stores homing offsets "
                f"of {offset.minimum}..{offset.maximum}, found {entry.homing_offset}; use this "
                "arm's own file, or calibrate again from the middle pose"
            )
    for entry in calibration.values():
        _write_entry(eeprom, entry)


def _write_entry(eeprom: Eeprom, entry: JointCalibration) -> None:
    model = eeprom.model(entry.id)
    values = {
        model.homing_offset.name: entry.homing_offset,
        model.min_position.name: entry.range_min,
        model.max_position.name: entry.range_max,
    }
    if model.drive_mode is not None:
        others = eeprom.read(entry.id, model.drive_mode.name) & ~REVERSED
        values[model.drive_mode.name] = others | entry.drive_mode
    eeprom.write(entry.id, values)


class Calibrator:
    """Calibrates an arm: `prepare`, `read` until it stands in its middle pose, `start_sweep`,
    `follow` while it is moved, then `write`. After anything went wrong, `restore`.

    Args:
        bus: open.
        ids: servo ids by joint.
        full_turn: joints that turn all the way round.
        clock: monotonic seconds; tests give their own.
        models: what each joint's servo is.
        reversed: joints whose servo is mounted the other way round; stored in servos that turn
            round by themselves.

    Attributes:
        sweeps: the sweep of each joint, since `start_sweep`.
        eeprom: what has been written.
    """

    def __init__(
        self,
        bus: MotorBus,
        ids: Mapping[str, int],
        full_turn: Collection[str] = (),
        clock: Callable[[], float] = time.monotonic,
        models: Models | None = None,
        reversed: Collection[str] = (),
    ) -> None:
        self.bus = bus
        self.ids = dict(ids)
        self.full_turn = frozenset(full_turn)
        self.models = _models(bus, ids, models)
        self.sweeps: dict[str, Sweep] = {}
        self.eeprom = Eeprom(bus, {self.ids[joint]: model for joint, model in self.models.items()})
        first = _first(bus, ids, models)
        self._position_register = first.measures[Quantity.POSITION].register
        self._middles: dict[str, int] = {}
        self._reversed = {
            joint
            for joint, model in self.models.items()
            if joint in reversed and model.drive_mode is not None
        }
        self._order = list(self.ids.values())
        self._clock = clock
        self._offsets: dict[str, int] = {}
        self._heard_s: dict[str, float] = {}
        self._asked_s = -math.inf

    def prepare(self) -> None:
        """Torque off, and the mode in which positions are those of the joint.

        Raises ArmError if a servo is missing, of another kind, or cannot be proven torque-free.
        """
        verify_models(self.bus, self.ids, self.models)
        release(self.bus, self.ids, self.models)
        for joint, model in self.models.items():
            id, setup = self.ids[joint], model.calibrated_in
            values = {
                name: self.eeprom.read(id, name) & ~bits for name, bits in setup.cleared.items()
            }
            if model.drive_mode is not None:
                name = model.drive_mode.name
                kept = values.get(name, self.eeprom.read(id, name)) & ~REVERSED
                values[name] = kept | (REVERSED if joint in self._reversed else 0)
            self.eeprom.write(id, {**values, **setup.stored})
        stored = read_stored(self.bus, self.ids, self.models)
        self._offsets = {joint: each.homing_offset for joint, each in stored.items()}

    def _encoder(self, joint: str, position: int) -> int:
        """The encoder's ticks, 0..4095, in the servo's direction, where it reads that position."""
        offset = self.models[joint].offset_sign * self._offsets[joint]
        return (position - offset) % TICKS_PER_TURN

    def read(self) -> dict[str, int]:
        """Encoder ticks (0..4095, homing offset taken out) of the joints that answered.

        Raises ArmError if an encoder reports itself faulty, PortError if the port is lost.
        """
        reply = self.bus.sync_read([self._position_register], self._order)
        if len(reply.missing) > 1:
            # Where servos wait for their turn, a silent one silences those behind it; else a place
            # further ahead is better, for nobody waits for it.
            self._order = [id for id in self._order if id not in reply.missing] + [*reply.missing]
        self._asked_s = now_s = self._clock()
        found = {}
        for joint, id in self.ids.items():
            if id not in reply.values:
                continue
            if Alarm.ENCODER in self._alarms(joint, reply.errors.get(id, Alarm.NONE)):
                raise ArmError(
                    f"{joint} (id {id}): its position sensor is faulty; replace the servo"
                )
            found[joint] = self._encoder(joint, reply.values[id][0])
            self._heard_s[joint] = now_s
        return found

    def _alarms(self, joint: str, alarms: Alarm) -> Alarm:
        """What a servo reports; where its reply says only that something is, its status says it."""
        if alarms != Alarm.ALERT:
            return alarms
        model = self.models[joint]
        status = model.measures[Quantity.STATUS].register
        (value,) = read_all(self.bus, [status], {joint: self.ids[joint]})[joint]
        return model.alarms(Quantity.STATUS, value)

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
        self._middles = found
        self.sweeps = {
            joint: Sweep(
                found[joint],
                self._heard_s[joint],
                full_turn=joint in self.full_turn,
                # Of a gripper only the ends of its range count, and some hold it closed.
                both_sides=not is_gripper(joint),
            )
            for joint in self.ids
        }

    def follow(self) -> None:
        """One reading of the sweep. Raises as `read`."""
        for joint, encoder in self.read().items():
            self.sweeps[joint].update(encoder, self._heard_s[joint])

    def silent(self) -> list[str]:
        """Joints that have been asked for a while and have not answered."""
        since_s = self._asked_s - MAX_GAP_S
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
            self.ids[joint],
            int(joint in self._reversed),
            self._stored_offset(joint, found.homing_offset),
            found.range_min,
            found.range_max,
        )

    def _stored_offset(self, joint: str, offset: int) -> int:
        """An offset that is taken from the encoder's ticks, as the servo stores it.

        A reversed servo that counts turns begins in -4095..0 at power-up, a turn below the
        encoder's ticks here; with this offset it reads what LeRobot expects, 0..4095.
        """
        model = self.models[joint]
        below = model.counts_turns and joint in self._reversed and self._middles[joint] > 0
        return model.offset_sign * -offset + (TICKS_PER_TURN if below else 0)

    def write(self) -> Calibration:
        """Stores the calibration found in the servos, and proves that their positions follow it.

        Raises:
            CalibrationError: the sweep is not done.
            ArmError: a servo is silent, keeps another value, or reads another position than it
                should. Call `restore` then.
        """
        calibration = self.result()
        for joint, entry in calibration.items():
            encoder = self._encoder(joint, self._position(joint))
            _write_entry(self.eeprom, entry)
            self._offsets[joint] = entry.homing_offset
            offset = self.models[joint].offset_sign * entry.homing_offset
            self._prove(joint, (encoder + offset) % TICKS_PER_TURN)
        return calibration

    def _position(self, joint: str) -> int:
        return read_all(self.bus, [self._position_register], {joint: self.ids[joint]})[joint][0]

    def _prove(self, joint: str, wanted: int) -> None:
        found = self._position(joint)
        half = TICKS_PER_TURN // 2
        away = abs((found - wanted + half) % TICKS_PER_TURN - half)
        inside = self.models[joint].counts_turns or 0 <= found <= MAX_TICK
        if away > HAND_TICKS or not inside:
            raise ArmError(
                f"{joint} (id {self.ids[joint]}): with its new homing offset it should read about "
                f"{wanted}, found {found}; switch its power off and on, and calibrate again"
            )

    def restore(self) -> bool:
        """Puts back what EEPROM held before; whether anything had been changed. Raises ArmError."""
        return self.eeprom.restore()
