"""Checks of the servos on a port: who answers, their health, settings and calibration."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from armlet.findings import Code, Finding
from armlet.motors.feetech import MODEL_STS3215, Bus
from armlet.motors.feetech.discovery import MODEL_NAMES, Memory, probe, read_memory
from armlet.motors.protocol import describe
from armlet.preflight.finding import error, note, ok, warning
from armlet.robots.calibration import Calibration, CalibrationError, load
from armlet.robots.robot_model import SO101, RobotModel
from armlet.robots.whose import owner

MULTI_TURN = 0x10
HOT_BELOW_LIMIT_C = 10
UNEVEN_VOLTS = 1.0

_EEPROM = {
    "Homing_Offset": "homing_offset",
    "Min_Position_Limit": "range_min",
    "Max_Position_Limit": "range_max",
}


@dataclass(frozen=True, slots=True)
class Chain:
    """The servos on a port, read once for all checks.

    Attributes:
        port: the port.
        servos: id -> what it holds.
        absent: ids that were asked for and do not answer.
        shared: ids whose answers are garbled.
    """

    port: str
    servos: Mapping[int, Memory]
    absent: tuple[int, ...] = ()
    shared: tuple[int, ...] = ()


def read_chain(port: str, ids: tuple[int, ...]) -> Chain:
    """Asks the ids and reads all that they hold. Raises BusError."""
    answer = probe(port, ids)
    shared = tuple(servo.id for servo in answer.servos if servo.shared)
    readable = [servo.id for servo in answer.servos if not servo.shared]
    memories = {}
    if readable:
        with Bus(port) as bus:
            memories = {id: read_memory(bus, id) for id in readable}
    absent = tuple(id for id in ids if id not in memories and id not in shared)
    return Chain(port, memories, absent, shared)


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
    """All STS3215."""
    models = _by_value(chain, "Model_Number")
    for number, ids in models.items():
        if number != MODEL_STS3215:
            name = MODEL_NAMES.get(number, f"model {number}")
            fix = "replace it by an STS3215; registers and strength differ"
            yield error(
                Code.SERVO_MODEL_UNEXPECTED,
                "model",
                f"{_servos(ids)}: {name}, expected STS3215",
                fix,
            )
    if set(models) == {MODEL_STS3215}:
        yield ok(Code.SERVO_MODEL_UNEXPECTED, "model", "STS3215")


def firmware(chain: Chain) -> Iterator[Finding]:
    """All of one firmware; LeRobot refuses an arm of several."""
    versions: dict[str, list[int]] = {}
    for id, memory in chain.servos.items():
        values = memory.values
        name = f"{values['Firmware_Major_Version']}.{values['Firmware_Minor_Version']}"
        versions.setdefault(name, []).append(id)
    found = ", ".join(f"{name} ({_servos(ids)})" for name, ids in versions.items())
    if len(versions) > 1:
        fix = "bring all to one version with Feetech's FD program; LeRobot refuses a mixture"
        yield warning(Code.SERVO_FIRMWARE_MIXED, "firmware", f"differs: {found}", fix)
    else:
        yield ok(Code.SERVO_FIRMWARE_MIXED, "firmware", next(iter(versions)))


def voltage(chain: Chain) -> Iterator[Finding]:
    """Within each servo's own limits, and the same along the chain."""
    volts = {id: memory.values["Present_Voltage"] / 10 for id, memory in chain.servos.items()}
    spread = _spread(volts.values(), "V")
    outside = [id for id, memory in chain.servos.items() if not _voltage_fits(memory)]
    if outside:
        limits = chain.servos[outside[0]].values
        low, high = limits["Min_Voltage_Limit"] / 10, limits["Max_Voltage_Limit"] / 10
        found = f"{spread}, outside {low:g} to {high:g} V: {_servos(outside)}"
        yield error(
            Code.SERVO_VOLTAGE_OUT_OF_RANGE,
            "voltage",
            found,
            "use the supply made for these servos (7.4 V or 12 V model)",
        )
    elif max(volts.values()) - min(volts.values()) >= UNEVEN_VOLTS:
        fix = "push the plugs home and check the cable before the servo that gets least"
        yield warning(
            Code.SERVO_VOLTAGE_UNEVEN, "voltage", f"{spread}: it drops along the chain", fix
        )
    else:
        yield ok(Code.SERVO_VOLTAGE_OUT_OF_RANGE, "voltage", spread)


def _voltage_fits(memory: Memory) -> bool:
    values = memory.values
    low, high = values["Min_Voltage_Limit"], values["Max_Voltage_Limit"]
    return low <= values["Present_Voltage"] <= high


def temperature(chain: Chain) -> Iterator[Finding]:
    """Below each servo's own limit, with something to spare."""
    degrees = {id: memory.values["Present_Temperature"] for id, memory in chain.servos.items()}
    spare = {
        id: memory.values["Max_Temperature_Limit"] - degrees[id]
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
        fix = f"armlet registers set Torque_Enable 0 --port {chain.port} --id {id}"
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
    holding = _ids(chain, lambda values: values["Torque_Enable"] != 0)
    if holding:
        fix = f"hold the arm, then: {_set(chain, 'Torque_Enable 0', holding)}"
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
        yield ok(
            Code.SERVO_SETTINGS,
            "settings",
            "no return delay, single turn, writes acknowledged, EEPROM locked",
        )


def _slow(chain: Chain) -> Iterator[Finding]:
    slow = _ids(chain, lambda values: values["Return_Delay_Time"] > 0)
    if slow:
        most = max(chain.servos[id].values["Return_Delay_Time"] for id in slow) * 2
        found = f"up to {most} us before each answer of {_servos(slow)}"
        fix = _set(chain, "Return_Delay_Time 0 --eeprom", slow)
        yield note(
            Code.SERVO_RETURN_DELAY, "return delay", found, f"the bus node sets 0, or: {fix}"
        )


def _multi_turn(chain: Chain) -> Iterator[Finding]:
    many = _ids(chain, lambda values: bool(values["Phase"] & MULTI_TURN))
    for id in many:
        single = chain.servos[id].values["Phase"] & ~MULTI_TURN
        found = f"servo {id} counts several turns: its position may leave 0..4095"
        yield warning(
            Code.SERVO_MULTI_TURN, "Phase", found, _set(chain, f"Phase {single} --eeprom", [id])
        )


def _silent(chain: Chain) -> Iterator[Finding]:
    silent = _ids(chain, lambda values: values["Response_Status_Level"] == 0)
    if silent:
        found = f"writes are not acknowledged by {_servos(silent)}"
        yield warning(
            Code.SERVO_WRITES_UNACKNOWLEDGED,
            "Response_Status_Level",
            found,
            _set(chain, "Response_Status_Level 1 --eeprom", silent),
        )


def _unlocked(chain: Chain) -> Iterator[Finding]:
    unlocked = _ids(chain, lambda values: values["Lock"] == 0)
    if unlocked:
        found = f"the EEPROM of {_servos(unlocked)} is open"
        yield note(Code.SERVO_EEPROM_UNLOCKED, "Lock", found, _set(chain, "Lock 1", unlocked))


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
                f"{joint} {register} {memory.values[register]}, file {getattr(entry, field)}"
                for register, field in _EEPROM.items()
                if memory.values[register] != getattr(entry, field)
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
        offset, low, high = (memory.values[register] for register in _EEPROM)
        stored[id] = offset, low, high
    return stored


def limits(chain: Chain) -> Iterator[Finding]:
    """Without a calibration file: whether each servo stands inside its own limits."""
    ranges = {
        id: (memory.values["Min_Position_Limit"], memory.values["Max_Position_Limit"])
        for id, memory in chain.servos.items()
    }
    yield from inside(chain, ranges, {id: f"servo {id}" for id in chain.servos})


def inside(
    chain: Chain, ranges: Mapping[int, tuple[int, int]], names: Mapping[int, str]
) -> Iterator[Finding]:
    """Whether each servo stands inside its range; torque would drive it there at once."""
    outside = []
    for id, (low, high) in ranges.items():
        if id in chain.servos:
            at = chain.servos[id].values["Present_Position"]
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


def _by_value(chain: Chain, name: str) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for id, memory in chain.servos.items():
        found.setdefault(memory.values[name], []).append(id)
    return found


def _ids(chain: Chain, applies: Callable[[Mapping[str, int]], bool]) -> list[int]:
    return [id for id, memory in chain.servos.items() if applies(memory.values)]


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
    return _set(chain, "Torque_Enable 0", sorted(chain.servos))
