"""Checks of the servos on a port: who answers, their health, settings and calibration."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from armlet.files import FileError
from armlet.findings import Code, Finding
from armlet.motors import registry
from armlet.motors.discovery import FoundServo, Memory, probe, read_memory
from armlet.motors.protocol import (
    TICKS_PER_TURN,
    MotorFamily,
    MotorModel,
    Quantity,
    Register,
    describe,
)
from armlet.preflight.finding import error, note, ok, warning
from armlet.robots.calibration import Calibration, CalibrationError, JointCalibration, load
from armlet.robots.description import misfits
from armlet.robots.robot_model import SO101, RobotModel
from armlet.robots.whose import owner

HOT_BELOW_LIMIT_C = 10
UNEVEN_VOLTS = 1.0


@dataclass(frozen=True, slots=True)
class Chain:
    """The servos on a port, read once for all checks.

    Attributes:
        port: the port.
        family: of the servos that were asked for.
        servos: id -> what it holds.
        found: id -> what answers, of those that are read.
        wanted: id -> the model that it should be.
        absent: ids that were asked for and do not answer.
        shared: ids whose answers are garbled.
    """

    port: str
    family: MotorFamily
    servos: Mapping[int, Memory]
    found: Mapping[int, FoundServo]
    wanted: Mapping[int, MotorModel]
    absent: tuple[int, ...] = ()
    shared: tuple[int, ...] = ()


def read_chain(port: str, ids: tuple[int, ...], kind: RobotModel = SO101) -> Chain:
    """Asks the ids of a kind of arm and reads all that they hold. Raises BusError, MotorError."""
    joints = tuple(kind.joints)
    family, models = registry.choose(",".join(kind.servos), joints)
    usual = dict(zip(kind.ids.values(), models, strict=True))
    wanted = {id: usual.get(id, models[0]) for id in ids}
    answer = probe(port, family, ids)
    shared = tuple(servo.id for servo in answer.servos if servo.shared)
    readable = {servo.id: servo for servo in answer.servos if not servo.shared}
    memories = {}
    if readable:
        with family.make_bus(port, family.baudrate) as bus:
            memories = {
                id: read_memory(bus, servo.known or bus.usual_model, id)
                for id, servo in readable.items()
            }
    absent = tuple(id for id in ids if id not in memories and id not in shared)
    return Chain(port, family, memories, readable, wanted, absent, shared)


Question = Callable[[Chain], Iterator[Finding]]


def answering(chain: Chain) -> Iterator[Finding]:
    """Who is there."""
    there = _list(chain.servos)
    if chain.shared:
        yield error(
            Code.SERVO_ID_SHARED,
            "servos",
            f"answers of id {_list(chain.shared)} are garbled: two servos have it, or a loose plug",
            f"connect them one by one: armlet setup-motors --port {chain.port}",
        )
    if chain.absent:
        found = f"no answer from {_servos(chain.absent)}"
        found += f", {there} answer" if chain.servos else ""
        yield error(
            Code.SERVO_MISSING, "servos", found, f"armlet scan --port {chain.port} --baud all"
        )
    elif not chain.shared:
        yield ok(Code.SERVO_MISSING, "servos", f"{there} answer")


def model(chain: Chain) -> Iterator[Finding]:
    """Each the model that its joint needs."""
    wrong: dict[tuple[str, str], list[int]] = {}
    for id, servo in chain.found.items():
        if servo.model != chain.wanted[id].number:
            wrong.setdefault((servo.model_name, chain.wanted[id].label), []).append(id)
    for (found, expected), ids in wrong.items():
        fix = f"replace it by an {expected}; registers and strength differ"
        yield error(
            Code.SERVO_MODEL_UNEXPECTED,
            "model",
            f"{_servos(ids)}: {found}, expected {expected}",
            fix,
        )
    if not wrong:
        labels = dict.fromkeys(servo.model_name for servo in chain.found.values())
        yield ok(Code.SERVO_MODEL_UNEXPECTED, "model", ", ".join(labels))


def firmware(chain: Chain) -> Iterator[Finding]:
    """Of each model all of one firmware."""
    versions: dict[str, dict[str, list[int]]] = {}
    for id, memory in chain.servos.items():
        of_model = versions.setdefault(memory.model.label, {})
        of_model.setdefault(memory.model.firmware_of(memory.values), []).append(id)
    mixed = {label: each for label, each in versions.items() if len(each) > 1}
    for each in mixed.values():
        found = ", ".join(f"{name} ({_servos(ids)})" for name, ids in each.items())
        updated_with = next(iter(chain.servos.values())).model.updated_with
        refused = "; LeRobot refuses a mixture" if chain.family.one_firmware else ""
        fix = f"bring all to one version with {updated_with}{refused}"
        yield warning(Code.SERVO_FIRMWARE_MIXED, "firmware", f"differs: {found}", fix)
    if not mixed:
        versions_by_label = ", ".join(
            f"{label} {next(iter(each))}" for label, each in versions.items()
        )
        one = len(versions) == 1
        found = next(iter(next(iter(versions.values())))) if one else versions_by_label
        yield ok(Code.SERVO_FIRMWARE_MIXED, "firmware", found)


def voltage(chain: Chain) -> Iterator[Finding]:
    """Within each servo's own limits, and the same along the chain."""
    volts = {id: memory.quantity(Quantity.VOLTAGE) for id, memory in chain.servos.items()}
    spread = _spread(volts.values(), "V")
    outside = [id for id, memory in chain.servos.items() if not _voltage_fits(memory)]
    if outside:
        low, high = _voltage_limits(chain.servos[outside[0]])
        found = f"{spread}, outside {low:g} to {high:g} V: {_servos(outside)}"
        yield error(
            Code.SERVO_VOLTAGE_OUT_OF_RANGE,
            "voltage",
            found,
            f"use {chain.servos[outside[0]].model.supplies}",
        )
    elif _drop(chain, volts) >= UNEVEN_VOLTS:
        fix = "push the plugs home and check the cable before the servo that gets least"
        yield warning(
            Code.SERVO_VOLTAGE_UNEVEN, "voltage", f"{spread}: it drops along the chain", fix
        )
    else:
        yield ok(Code.SERVO_VOLTAGE_OUT_OF_RANGE, "voltage", spread)


def _drop(chain: Chain, volts: Mapping[int, float]) -> float:
    """The largest difference, V, between servos of one model: others may have another supply."""
    of_model: dict[str, list[float]] = {}
    for id, memory in chain.servos.items():
        of_model.setdefault(memory.model.name, []).append(volts[id])
    return max(max(each) - min(each) for each in of_model.values())


def _voltage_limits(memory: Memory) -> tuple[float, float]:
    measure = memory.model.measures[Quantity.VOLTAGE]
    low, high = (
        measure.value(memory.values[register.name]) for register in memory.model.voltage_limits
    )
    return low, high


def _voltage_fits(memory: Memory) -> bool:
    low, high = _voltage_limits(memory)
    return low <= memory.quantity(Quantity.VOLTAGE) <= high


def temperature(chain: Chain) -> Iterator[Finding]:
    """Below each servo's own limit, with something to spare."""
    degrees = {id: memory.quantity(Quantity.TEMPERATURE) for id, memory in chain.servos.items()}
    spare = {
        id: memory.model.measures[Quantity.TEMPERATURE].value(
            memory.values[memory.model.temperature_limit.name]
        )
        - degrees[id]
        for id, memory in chain.servos.items()
    }
    spread = _spread(degrees.values(), "°C")
    hot = [id for id, left in spare.items() if left <= 0]
    warm = [id for id, left in spare.items() if 0 < left <= HOT_BELOW_LIMIT_C]
    if hot:
        found = f"{spread}: {_servos(hot)} at the limit"
        yield error(
            Code.SERVO_TEMPERATURE_HIGH,
            "temperature",
            found,
            f"release the arm and let it cool: {_release(chain)}",
        )
    elif warm:
        found = f"{spread}: {_servos(warm)} near the limit"
        yield warning(
            Code.SERVO_TEMPERATURE_HIGH, "temperature", found, f"give it a rest: {_release(chain)}"
        )
    else:
        yield ok(Code.SERVO_TEMPERATURE_HIGH, "temperature", spread)


def errors(chain: Chain) -> Iterator[Finding]:
    """What servos report themselves."""
    bad = {id: memory.errors for id, memory in chain.servos.items() if memory.errors}
    for id, bits in bad.items():
        off = chain.servos[id].model.torque_enable.name
        fix = f"armlet registers set {off} 0 --port {chain.port} --id {id}"
        if chain.servos[id].model.reboots:
            fix = "switch the arm's power off and on"
        yield error(
            Code.SERVO_ERROR_REPORTED,
            "error bits",
            f"servo {id}: {describe(bits)}",
            f"remove the cause, then: {fix}",
        )
    if not bad:
        yield ok(Code.SERVO_ERROR_REPORTED, "error bits", "none")


def torque(chain: Chain) -> Iterator[Finding]:
    """Nobody uses the port, so nobody should hold."""
    holding = _ids(chain, lambda memory: memory.quantity(Quantity.TORQUE_ENABLED) != 0)
    if holding:
        off = chain.servos[holding[0]].model.torque_enable.name
        fix = f"hold the arm, then: {_set(chain, f'{off} 0', holding)}"
        yield warning(
            Code.SERVO_TORQUE_LEFT_ON,
            "torque",
            f"on, and no program watches: {_servos(holding)}",
            fix,
        )
    else:
        yield ok(Code.SERVO_TORQUE_LEFT_ON, "torque", "off")


def settings(chain: Chain) -> Iterator[Finding]:
    """Settings that cost time, or falsify positions."""
    wrong = [*_slow(chain), *_multi_turn(chain), *_silent(chain), *_unlocked(chain)]
    yield from wrong
    if not wrong:
        models = [memory.model for memory in chain.servos.values()]
        well = ["no return delay"]
        well += ["single turn"] * any(model.single_turn for model in models)
        well += ["writes acknowledged"] * any(model.acknowledges for model in models)
        well += ["EEPROM locked"] * any(model.lock for model in models)
        yield ok(Code.SERVO_SETTINGS, "settings", ", ".join(well))


def _slow(chain: Chain) -> Iterator[Finding]:
    delays = {
        id: memory.values[memory.model.return_delay.name] for id, memory in chain.servos.items()
    }
    slow = [id for id, delay in delays.items() if delay > 0]
    if slow:
        register = chain.servos[slow[0]].model.return_delay
        most = max(delays.values()) * float(register.unit.partition(" ")[0])
        found = f"up to {most:g} us before each answer of {_servos(slow)}"
        fix = _set(chain, f"{register.name} 0 --eeprom", slow)
        yield note(
            Code.SERVO_RETURN_DELAY, "return delay", found, f"the bus node sets 0, or: {fix}"
        )


def _multi_turn(chain: Chain) -> Iterator[Finding]:
    for id, memory in chain.servos.items():
        if memory.model.single_turn is None:
            continue
        register, bits = memory.model.single_turn
        value = memory.values[register.name]
        if value & bits:
            fix = _set(chain, f"{register.name} {value & ~bits}{_eeprom(register)}", [id])
            found = f"servo {id} counts several turns: its position may leave 0..4095"
            yield warning(Code.SERVO_MULTI_TURN, register.name, found, fix)


def _silent(chain: Chain) -> Iterator[Finding]:
    silent: dict[tuple[str, str], list[int]] = {}
    for id, memory in chain.servos.items():
        if memory.model.acknowledges is not None:
            register, all_of_them = memory.model.acknowledges
            if memory.values[register.name] < all_of_them:
                setting = f"{register.name} {all_of_them}{_eeprom(register)}"
                silent.setdefault((register.name, setting), []).append(id)
    for (name, setting), ids in silent.items():
        found = f"writes are not acknowledged by {_servos(ids)}"
        fix = _set(chain, setting, ids)
        yield warning(Code.SERVO_WRITES_UNACKNOWLEDGED, name, found, fix)


def _unlocked(chain: Chain) -> Iterator[Finding]:
    locks = {id: m.model.lock for id, m in chain.servos.items() if m.model.lock is not None}
    unlocked = [id for id, lock in locks.items() if chain.servos[id].values[lock.name] == 0]
    if unlocked:
        found = f"the EEPROM of {_servos(unlocked)} is open"
        name = locks[unlocked[0]].name
        yield note(Code.SERVO_EEPROM_UNLOCKED, name, found, _set(chain, f"{name} 1", unlocked))


def _eeprom(register: Register) -> str:
    """What `armlet registers set` asks for about a register that outlives a power cycle."""
    return "" if register.area == "ram" else " --eeprom"


QUESTIONS: tuple[Question, ...] = (
    answering,
    model,
    firmware,
    voltage,
    temperature,
    errors,
    torque,
    settings,
)
"""What is asked of every chain; all but the first need a servo that answers."""


def calibration_file(path: Path, kind: RobotModel = SO101) -> Iterator[Finding]:
    """Whether it can be read, and has every joint of the kind of arm."""
    try:
        joints = load(path)
    except CalibrationError as trouble:
        yield error(
            Code.CALIBRATION_FILE_UNREADABLE,
            "calibration file",
            str(trouble),
            f"armlet calibrate --port PORT --output {path}",
        )
        return
    absent = [joint for joint in kind.joints if joint not in joints]
    if absent:
        found = f"{path} lacks {', '.join(absent)}"
        yield error(
            Code.CALIBRATION_JOINTS_MISSING,
            "calibration file",
            found,
            f"calibrate again: armlet calibrate --port PORT --output {path}",
        )
    else:
        yield ok(
            Code.CALIBRATION_FILE_UNREADABLE, "calibration file", f"{path}, {len(joints)} joints"
        )


def like_model(path: Path, kind: RobotModel) -> Iterator[Finding]:
    """Whether a follower's calibrated ranges are those of its kind's URDF, so that zeros agree."""
    try:
        joints = load(path)
    except CalibrationError:
        return  # the check of the file says so
    if not kind.urdf or set(joints) != set(kind.joints):
        return
    try:
        wrong = misfits(kind, joints)
    except FileError as trouble:
        fix = f"correct the URDF that the model {kind.name} names"
        yield error(Code.ROBOT_FILE, "range", str(trouble), fix)
        return
    for misfit in wrong:
        said = f"{misfit.joint} calibrated over {misfit.calibrated_rad:.2f} rad, "
        said += f"{misfit.mechanical_rad:.2f} in the model of the {kind.title}"
        if misfit.off_rad > 0:
            said += f": zero may be {misfit.off_rad:.2f} rad off"
        yield warning(
            Code.CALIBRATION_RANGE_UNLIKE_MODEL,
            "range",
            said,
            f"sweep it from stop to stop: armlet calibrate --port PORT --output {path}",
        )
    if not wrong:
        yield ok(Code.CALIBRATION_RANGE_UNLIKE_MODEL, "range", f"that of the {kind.title}")


def calibrated(
    chain: Chain, calibration: Calibration, path: Path, others: Mapping[str, Path] | None = None
) -> Iterator[Finding]:
    """Whether the servos hold what the file says, and stand inside their ranges.

    others: calibration files of the robot's other arms by name, one of which they may hold.
    """
    different = []
    for joint, entry in calibration.items():
        memory = chain.servos.get(entry.id)
        if memory is not None:
            different += [
                f"{joint} {name} {stored}, file {wanted}"
                for name, stored, wanted in _calibration_values(memory, entry)
                if stored != wanted
            ]
    if different:
        more = f" and {len(different) - 2} more" if len(different) > 2 else ""
        found = f"servos and file differ: {'; '.join(different[:2])}{more}"
        if whose := owner(held(chain), path, others or {}):
            found = f"{whose}; {found}"
        fix = f"armlet calibrate --port {chain.port} --check {path}"
        yield error(
            Code.CALIBRATION_DIFFERS_FROM_SERVOS,
            "calibration",
            found,
            f"use this arm's own file; all of it: {fix}",
        )
    else:
        yield ok(
            Code.CALIBRATION_DIFFERS_FROM_SERVOS,
            "calibration",
            f"servos hold what {path.name} says",
        )
    ranges = {entry.id: (entry.range_min, entry.range_max) for entry in calibration.values()}
    yield from inside(chain, ranges, {entry.id: joint for joint, entry in calibration.items()})


def held(chain: Chain) -> dict[int, tuple[int, int, int]]:
    """What the servos store of a calibration, by id."""
    stored = {}
    for id, memory in chain.servos.items():
        model = memory.model
        registers = (model.homing_offset, model.min_position, model.max_position)
        offset, low, high = (memory.values[register.name] for register in registers)
        stored[id] = offset, low, high
    return stored


def _calibration_values(memory: Memory, entry: JointCalibration) -> Iterator[tuple[str, int, int]]:
    """Of each value of a calibration: its register's name, what the servo holds, what it should."""
    model, values = memory.model, memory.values
    for register, wanted in (
        (model.homing_offset, entry.homing_offset),
        (model.min_position, entry.range_min),
        (model.max_position, entry.range_max),
    ):
        yield register.name, values[register.name], wanted
    if model.drive_mode is not None:
        name = model.drive_mode.name
        yield f"{name} bit 0", values[name] & 1, entry.drive_mode


def limits(chain: Chain) -> Iterator[Finding]:
    """Without a calibration file: whether each servo stands inside its own limits."""
    ranges = {}
    for id, memory in chain.servos.items():
        registers = (memory.model.min_position, memory.model.max_position)
        low, high = (memory.values[register.name] for register in registers)
        ranges[id] = (low, high)
    yield from inside(chain, ranges, {id: f"servo {id}" for id in chain.servos})


def inside(
    chain: Chain, ranges: Mapping[int, tuple[int, int]], names: Mapping[int, str]
) -> Iterator[Finding]:
    """Whether each servo stands inside its range; torque would drive it there at once."""
    outside = []
    for id, (low, high) in ranges.items():
        if id in chain.servos:
            at = _position(chain.servos[id], (low + high) / 2)
            # Equal limits mean no limits to the servo.
            if low < high and not low <= at <= high:
                outside.append(f"{names[id]} at {at}, range {low}..{high}")
    if outside:
        fix = "move it inside by hand while torque is off"
        yield warning(Code.SERVO_POSITION_OUTSIDE_LIMITS, "position", "; ".join(outside), fix)
    else:
        yield ok(
            Code.SERVO_POSITION_OUTSIDE_LIMITS, "position", "every joint stands inside its range"
        )


def _position(memory: Memory, center: float) -> int:
    """Where it stands, ticks; of one that counts turns, in the turn nearest to the centre."""
    at = round(memory.quantity(Quantity.POSITION))
    if memory.model.counts_turns:
        at -= round((at - center) / TICKS_PER_TURN) * TICKS_PER_TURN
    return at


def _ids(chain: Chain, applies: Callable[[Memory], bool]) -> list[int]:
    return [id for id, memory in chain.servos.items() if applies(memory)]


def _list(ids: Iterable[int]) -> str:
    """ "1-4, 6"."""
    runs: list[list[int]] = []
    for id in sorted(ids):
        if runs and id == runs[-1][-1] + 1:
            runs[-1].append(id)
        else:
            runs.append([id])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def _servos(ids: Collection[int]) -> str:
    return f"servo{'' if len(ids) == 1 else 's'} {_list(ids)}"


def _spread(values: Iterable[float], unit: str) -> str:
    low, high = min(values), max(values)
    return f"{low:g} {unit}" if low == high else f"{low:g} to {high:g} {unit}"


def _set(chain: Chain, what: str, ids: list[int]) -> str:
    return f"armlet registers set {what} --port {chain.port} --id {','.join(map(str, ids))}"


def _release(chain: Chain) -> str:
    off = next(iter(chain.servos.values())).model.torque_enable.name
    return _set(chain, f"{off} 0", sorted(chain.servos))
