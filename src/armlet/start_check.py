"""What can be known of a graph before any of its processes starts: parameters and calibrations.

The nodes judge the same again when they start; here it is said first, in one line, with its place.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from armlet.align.description import describe_stream
from armlet.bringup import (
    NAMESPACE_EXPECTED,
    BringupError,
    NodeSpec,
    is_namespace,
    parameter_file,
)
from armlet.files import HUB, FileError, OutputError, check_output, explained, printable, read_yaml
from armlet.findings import Code
from armlet.robots import Calibration, CalibrationError
from armlet.robots import calibration as calibrations
from armlet.settings import Setting, declared
from armlet.settings.aligner import ACTION, STATE
from armlet.settings.catalogue import BUILT_IN, repeated
from armlet.sim.choice import KINEMATIC, REACH, BenchError, choose
from armlet.suggestions import did_you_mean

_CALIBRATIONS = ("calibration_file", "leader_calibration_file", "follower_calibration_file")
# Their files may be of several arms: left_=FILE,right_=FILE.
_OF_ARMS = ("policy", "recorder")
_PARAMETERS = "ros__parameters"


def check(nodes: Sequence[NodeSpec]) -> None:
    """Raise BringupError for the first thing that a node would refuse at its start."""
    files = {
        path: list(parameter_sets(Path(path))) for spec in nodes for path in spec.parameter_files
    }
    for spec in nodes:
        if not is_namespace(spec.namespace):
            raise BringupError(f"namespace: {NAMESPACE_EXPECTED}, found {spec.namespace!r}")
        if spec.program:  # another package's; it knows its own parameters
            continue
        given = {name: (value, "") for name, value in {**spec.scoped, **spec.parameters}.items()}
        for path in spec.parameter_files:
            for pattern, parameters in files[path]:
                if matches(pattern, spec):
                    where = f"{path}: {pattern}"
                    given |= {name: (value, where) for name, value in parameters.items()}
        _check_node(spec, given)


def settings(spec: NodeSpec, given: Mapping[str, Any] | None = None) -> Mapping[str, Setting]:
    """Every setting of a node by its name. given: its parameters, if not only those of its spec.

    Of another package's program none is known. Raises BringupError.
    """
    if spec.program:
        return {}
    given = spec.parameters if given is None else given
    arms = {
        name: _calibration(spec, name, str(given[name])) for name in _CALIBRATIONS if name in given
    }
    streams = given.get("streams")
    named = [name for name in streams if type(name) is str] if isinstance(streams, list) else []
    each = [STATE, ACTION, *named, *arms.get("calibration_file", ())]
    return declared(spec.executable, each)


def parameters(spec: NodeSpec) -> dict[str, Any]:
    """What a node's parameters are at its start: declared, shipped, of its spec, of the files.

    Of a program of another package those of its spec. Raises BringupError.
    """
    if spec.program:
        return {**spec.scoped, **spec.parameters}
    given: dict[str, Any] = {}
    for _, shipped in parameter_sets(parameter_file(spec)):
        given |= shipped
    given |= {**spec.scoped, **spec.parameters}
    for path in spec.parameter_files:
        for pattern, found in parameter_sets(Path(path)):
            given |= found if matches(pattern, spec) else {}
    return {name: each.default for name, each in settings(spec, given).items()} | given


def is_built_in(name: str) -> bool:
    """Whether every node has this parameter by ROS itself."""
    return name in BUILT_IN or name.startswith("qos_overrides.")


def _check_node(spec: NodeSpec, given: Mapping[str, tuple[Any, str]]) -> None:
    known = settings(spec, {name: value for name, (value, _) in given.items()})
    if spec.executable == "sim_bench":
        _check_bench(spec, {name: str(value) for name, (value, _) in given.items()})
    for name, (value, where) in given.items():
        place = f"{where or spec.sources.get(name) or spec.label}: {name}"
        setting = known.get(name)
        if setting is None and not is_built_in(name):
            raise BringupError(f"{place}: {_unknown(spec.executable, name, known)}")
        if setting is not None and (misfit := _misfit(setting, value, where)):
            raise BringupError(f"{place} {misfit}")
        if (spec.executable, name) == ("policy", "checkpoint"):
            _check_checkpoint(place, str(value))
        if (spec.executable, name) == ("recorder", "root"):
            _check_root(place, str(value))
    if spec.executable == "aligner":
        _check_streams(spec)


def _unknown(executable: str, name: str, known: Mapping[str, Setting]) -> str:
    renamed = {setting.formerly: new for new, setting in known.items()}
    meant = did_you_mean([name], sorted(known), renamed).rstrip()
    each = repeated(executable)
    one = f", nor of its {each[0]}s" if each is not None and "." in name else ""
    said = f"no parameter of {executable}{one}"
    return f"{said}; {meant}" if meant else f"{said}; docs/reference/parameters.md has them all"


def _calibration(spec: NodeSpec, name: str, file: str) -> Calibration:
    try:
        if spec.executable in _OF_ARMS:
            return calibrations.load_arms(file)
        return calibrations.load(Path(file))
    except (CalibrationError, OSError) as error:
        said = explained(error) if isinstance(error, OSError) else str(error)
        raise BringupError(f"{spec.label}: {name}: {said}") from error


def _check_checkpoint(place: str, checkpoint: str) -> None:
    """What it holds is judged by the node; whether anything is there, at once."""
    if checkpoint and not checkpoint.startswith(HUB) and not Path(checkpoint).exists():
        raise BringupError(
            f"{place}: expected the folder of a checkpoint, or {HUB}owner/name@revision, found "
            f"nothing at {printable(Path(checkpoint))}; "
            f"`armlet train` and LeRobot's training write one [{Code.POLICY_CHECKPOINT_NOT_FOUND}]"
        )


def _check_bench(spec: NodeSpec, given: Mapping[str, str]) -> None:
    physics, task = given.get("physics", KINEMATIC), given.get("task", REACH)
    try:
        choose(physics, task, given.get("domain", ""))
    except BenchError as error:
        raise BringupError(f"{spec.label}: {error}") from error


def _check_streams(spec: NodeSpec) -> None:
    given = parameters(spec)
    for name in given["streams"]:
        try:
            describe_stream(name, given["joints"], given.__getitem__)
        except ValueError as error:
            raise BringupError(f"{spec.label}: {error}") from error


def _check_root(place: str, root: str) -> None:
    try:
        check_output(Path(root))
    except OutputError as error:
        raise BringupError(f"{place}: {error}") from error


def _misfit(setting: Setting, value: Any, where: str) -> str:
    if where and value == []:
        # rcl's reader knows no type of it and leaves the parameter unset.
        return "must have an entry, as ROS cannot read []; leave it out, or write ['']"
    return setting.misfit(value)


# --- ROS parameter files ------------------------------------------------------------------------


_TRUE = frozenset(["Y", "y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"])
_FALSE = frozenset(["N", "n", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"])
_NULL = frozenset(("", "~", "null", "Null", "NULL"))
_WHOLE = re.compile(r"([+-]?)(?:0[xX]([0-9a-fA-F]+)|(0[0-7]*)|([1-9][0-9]*))")
_DECIMAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_HEXADECIMAL = re.compile(r"[+-]?0[xX][0-9a-fA-F]+\.?[0-9a-fA-F]*([pP][+-]?[0-9]+)?")
_SPECIAL = re.compile(r"[+-]?\.?(inf|nan)|[+-]?infinity", re.IGNORECASE)


def ros_scalar(text: str) -> Any:
    """A value without quotation marks as rcl_yaml_param_parser reads it, by C's strtol and strtod.

    Not YAML 1.1: y is a bool, 1_000 and 1:30 are text. Null, which it takes for text, stays None.
    """
    if text in _NULL:
        return None
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    if whole := _WHOLE.fullmatch(text):
        sign, sixteen, eight, ten = whole.groups()
        digits, base = (sixteen, 16) if sixteen else (eight, 8) if eight else (ten, 10)
        # More digits than 64 bits have: a double, if at all.
        if len(digits.lstrip("0")) <= 22 and -(2**63) <= (n := int(sign + digits, base)) < 2**63:
            return n
    if _DECIMAL.fullmatch(text):
        value = float(text)
    elif _HEXADECIMAL.fullmatch(text):
        value = _from_hexadecimal(text)
    elif _SPECIAL.fullmatch(text):
        return float(text.replace(".", ""))
    else:
        return text
    return value if math.isfinite(value) else text


def _from_hexadecimal(text: str) -> float:
    try:
        return float.fromhex(text)
    except OverflowError:
        return math.inf


def parameter_sets(path: Path, what: str = "params_file") -> Iterator[tuple[str, dict[str, Any]]]:
    """Patterns of node names, and the parameters for them, by their full names.

    what: who asked for the file, for errors. Raises BringupError.
    """
    try:
        document = read_yaml(path, scalar=ros_scalar)
    except (FileError, OSError) as error:
        said = explained(error) if isinstance(error, OSError) else str(error)
        raise BringupError(f"{what}: {said}") from error
    if not isinstance(document, dict):
        raise BringupError(
            f"{what}: {printable(path)}: expected node names with {_PARAMETERS} below them"
        )
    yield from _sets(document, "")


def _sets(document: Mapping[Any, Any], pattern: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for key, below in document.items():
        if key == _PARAMETERS:
            yield pattern, dict(_flat(below or {}, ""))
        elif isinstance(below, dict):
            yield from _sets(below, f"{pattern}/{str(key).strip('/')}")


def _flat(parameters: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    if not isinstance(parameters, dict):
        yield prefix.rstrip("."), parameters
        return
    for name, value in parameters.items():
        yield from _flat(value, f"{prefix}{name}.")


def matches(pattern: str, spec: NodeSpec) -> bool:
    """Whether a node is meant: `/**` is any number of names, `/*` one, as ROS has it."""
    tokens = [token for token in pattern.split("/") if token]
    words = {"**": r"(?:/[^/]+)*", "*": r"/[^/]+"}
    expression = "".join(words.get(token, "/" + re.escape(token)) for token in tokens)
    return bool(re.fullmatch(expression, f"/{spec.label}"))
