"""The contract: what a frame is, as a small frozen document with a signature.

The recorder writes it into the dataset, training copies it into the checkpoint, the policy node
compares it with the live robot. Two parties whose contracts fit mean the same thing by
"observation" and "action".
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

VERSION = 1
FILE_NAME = "armlet_contract.json"


class ContractError(ValueError):
    """A contract document that cannot be read."""


@dataclass(frozen=True)
class Camera:
    """One camera stream, named by its key without the `observation.images.` prefix."""

    name: str
    height: int
    width: int
    channel_order: str = "rgb"
    codec: str = "jpeg"


@dataclass(frozen=True)
class Stream:
    """How one raw stream is brought onto the frame grid."""

    name: str
    policy: str
    tolerance_s: float


@dataclass(frozen=True)
class Preprocessing:
    """What happens between a frame and the network. Only a checkpoint knows it.

    normalization maps VISUAL, STATE and ACTION to a LeRobot mode; statistics is the SHA-256 of
    the frozen statistics in canonical order (see policies.preprocess).
    """

    resize: str
    value_range: str
    normalization: Mapping[str, str]
    statistics: str


@dataclass(frozen=True)
class Contract:
    """Everything recording, training and inference must agree on.

    joint_units is LeRobot's mode of the body joints, `degrees` or `range_m100_100` (the gripper
    is always `range_0_100`); calibration is the fingerprint of the calibration the values went
    through (`arm.calibration.fingerprint`). None stands for "not stated by its source".
    """

    fps: int
    cameras: tuple[Camera, ...]
    state_names: tuple[str, ...]
    action_names: tuple[str, ...]
    joint_units: str | None = None
    alignment: tuple[Stream, ...] = ()
    calibration: str | None = None
    preprocessing: Preprocessing | None = None

    def canonical(self) -> str:
        """Canonical JSON: sorted keys, no spaces, so equal contracts are equal bytes."""
        return json.dumps(
            {"version": VERSION, **dataclasses.asdict(self)},
            sort_keys=True,
            separators=(",", ":"),
            ensure_ascii=False,
        )

    def signature(self) -> str:
        """SHA-256 of the canonical form, hexadecimal."""
        return hashlib.sha256(self.canonical().encode()).hexdigest()

    def save(self, path: Path) -> None:
        """Write the document with its signature, indented for people."""
        document = {**json.loads(self.canonical()), "signature": self.signature()}
        text = json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
        path.write_text(text, encoding="utf-8")


def parse(text: str) -> Contract:
    """Contract from JSON text, as in a topic; its signature, if present, must match.

    Raises ContractError on anything but a whole, unaltered document of this version.
    """
    contract, _ = _parse(text)
    return contract


def load(path: Path) -> Contract:
    """Contract from a file, which must be signed.

    Raises ContractError naming the file, or FileNotFoundError.
    """
    try:
        contract, signature = _parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise
    except (ContractError, UnicodeDecodeError, OSError) as error:
        raise ContractError(f"{path}: {error}") from error
    if signature is None:
        raise ContractError(
            f"{path}: no signature, so nothing says that it is unaltered; restore the file as "
            "armlet wrote it, or record or train again"
        )
    return contract


def _parse(text: str) -> tuple[Contract, str | None]:
    """Contract and signature, which matches it or is None."""
    try:
        document: dict[str, Any] = json.loads(text, parse_constant=_no_constant)
        version = document.pop("version")
        signature = document.pop("signature", None)
        if version != VERSION or type(version) is not int:
            raise ContractError(
                f"contract version {version}, this armlet reads {VERSION}; "
                "use the armlet that wrote it"
            )
        contract: Contract = _as(Contract, document, "contract")
        signed = contract.signature()
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        if isinstance(error, ContractError):
            raise
        raise ContractError(f"not a contract document: {error}") from error
    if signature is not None and signature != signed:
        raise ContractError(
            f"contract was altered after signing: signature {str(signature)[:12]}, "
            f"content {signed[:12]}; record or train again, or remove the file"
        )
    return contract, signature


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _as(kind: Any, value: Any, where: str) -> Any:
    """`value` as a field of type `kind`. Nothing is converted: the signature is of the very values.

    Raises ValueError naming `where`.
    """
    if dataclasses.is_dataclass(kind) and isinstance(value, dict):
        return _as_fields(kind, value, where)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is types.UnionType:
        return None if value is None else _as(arguments[0], value, where)
    if origin is tuple and isinstance(value, list):
        return tuple(_as(arguments[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    if origin is Mapping and isinstance(value, dict):
        return {key: _as(arguments[1], item, f"{where}.{key}") for key, item in value.items()}
    if kind in (int, float, str) and type(value) in ((int, float) if kind is float else (kind,)):
        return value
    raise ValueError(f"{where}: expected {_told(kind)}, found {value!r}")


def _as_fields(kind: Any, document: dict[str, Any], where: str) -> Any:
    hints = typing.get_type_hints(kind)
    unknown = sorted(set(document) - set(hints))
    if unknown:
        raise ValueError(f"{where}: expected only {', '.join(hints)}, found {', '.join(unknown)}")
    return kind(**{key: _as(hints[key], v, f"{where}.{key}") for key, v in document.items()})


def _told(kind: Any) -> str:
    """A field's type as it is in JSON, for people."""
    if typing.get_origin(kind) is tuple:
        return f"a list of {_told(typing.get_args(kind)[0])}"
    names = {int: "a whole number", float: "a number", str: "a text"}
    return names.get(kind, "an object")
