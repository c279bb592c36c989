"""Strict reading of the JSON files of a checkpoint."""

from __future__ import annotations

import types
import typing
from pathlib import Path
from typing import Any

from armlet.files import FileError, Shape, kind_of, printable, read_json, shown
from armlet.findings import Code
from armlet.policies.config.errors import CheckpointError

_CONFIG = Shape(size=4 << 20)
# More known keys than this tell a reader nothing.
_LISTED = 12


def read_object(path: Path, shape: Shape = _CONFIG) -> dict[str, Any]:
    """The JSON object in `path`. NaN, Infinity and repeated keys are refused.

    Raises CheckpointError for a missing file, broken JSON or another kind of value.
    """
    try:
        content = read_json(path, shape)
    except FileNotFoundError:
        raise CheckpointError.found(
            Code.POLICY_FILE_MISSING,
            path,
            "file missing",
            expected="a file",
            found="none",
            fix="copy the whole pretrained_model directory",
        ) from None
    except FileError as error:
        raise CheckpointError.found(
            Code.POLICY_FILE_DAMAGED,
            path,
            "not readable as JSON",
            expected="a JSON object",
            found=error,
            fix="copy the file again",
        ) from error
    return as_object(content, path)


def as_object(value: object, where: object) -> dict[str, Any]:
    """`value` if it is a JSON object. Raises CheckpointError naming `where` otherwise."""
    if not isinstance(value, dict):
        raise CheckpointError.found(
            Code.POLICY_SETTING_INVALID,
            where,
            "wrong kind of value",
            expected="a JSON object",
            found=kind_of(value),
            fix="restore the file LeRobot wrote",
        )
    return value


def as_kind(value: object, hint: Any, where: object) -> Any:
    """`value` checked against a scalar type or a union of them; an int is accepted for a float.

    Raises CheckpointError naming `where` otherwise.
    """
    kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if type(value) in kinds:
        return value
    if type(value) is int and float in kinds:
        return float(value)
    raise CheckpointError.found(
        Code.POLICY_SETTING_INVALID,
        where,
        "wrong kind of value",
        expected=" or ".join("nothing" if kind is type(None) else kind.__name__ for kind in kinds),
        found=shown(value),
        fix="restore the value LeRobot wrote",
    )


def refuse_unknown(found: dict[str, Any], known: typing.Collection[str], where: object) -> None:
    """Raise CheckpointError if `found` has keys outside `known`."""
    unknown = sorted(set(found) - set(known))
    if unknown:
        listed = f" ({', '.join(sorted(known))})" if len(known) <= _LISTED else ""
        raise CheckpointError.found(
            Code.POLICY_SETTING_UNKNOWN,
            where,
            "unknown keys",
            expected=f"only keys this armlet knows{listed}",
            found=printable(", ".join(unknown), 200),
            fix="an option this armlet does not know could change the result: "
            "train with a LeRobot of docs/eras.md, or remove the keys if they are yours",
        )
