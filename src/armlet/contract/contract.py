"""The contract: what a frame is, as a small frozen document with a signature.

The recorder writes it into the dataset, training copies it into the checkpoint, the policy node
compares it with the live robot. Two parties whose contracts fit mean the same thing by
"observation" and "action".
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from armlet.files import (
    FileError,
    printable,
    read_text,
    read_versioned,
    replace_file,
    typed,
    write_versioned,
)

from .recalibration import Ticks

VERSIONS = (1, 2)
"""1 states one mode for all joints, 2 each joint's unit as well. Both are read; a document keeps
the bytes, and so the signature, of its version."""

_LARGEST = 1 << 20
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
class JointUnit:
    """The unit of one entry of state or action: degrees, range_m100_100 or range_0_100."""

    name: str
    unit: str


@dataclass(frozen=True)
class Detail:
    """How fine a camera's training pictures are, see policies.fit.detail."""

    camera: str
    value: float


@dataclass(frozen=True)
class Lag:
    """By how much the state is behind the action, s: median and standard deviation over episodes.

    See policies.fit.lag.
    """

    median_s: float
    spread_s: float


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

    joint_units is LeRobot's mode of the body joints, `degrees` or `range_m100_100` (grippers are
    always `range_0_100`); units is what that makes of every joint, in the order of state and
    action, so that units and order are signed together (empty in documents of version 1);
    calibration is the fingerprint of the calibration the values went through
    (`arm.calibration.fingerprint`), calibration_ticks its values by joint, so that another
    calibration can be shown as what moved; tasks are those of the training data in its words,
    detail how fine its pictures are, lag how far its joints are behind their commands, and only a
    checkpoint states them. None stands for "not stated by its source".
    """

    fps: int
    cameras: tuple[Camera, ...]
    state_names: tuple[str, ...]
    action_names: tuple[str, ...]
    joint_units: str | None = None
    alignment: tuple[Stream, ...] = ()
    calibration: str | None = None
    preprocessing: Preprocessing | None = None
    calibration_ticks: Ticks | None = None
    units: tuple[JointUnit, ...] = ()
    tasks: tuple[str, ...] = ()
    detail: tuple[Detail, ...] = ()
    lag: Lag | None = None

    def __post_init__(self) -> None:
        if self.units and tuple(unit.name for unit in self.units) != self.vector_names:
            raise ContractError(
                f"units: expected one of each of {', '.join(self.vector_names)}, in this order, "
                f"found {', '.join(unit.name for unit in self.units)}"
            )

    @property
    def version(self) -> int:
        """Of the document."""
        return 2 if self.units else 1

    @property
    def vector_names(self) -> tuple[str, ...]:
        """The names of state and action, each once: the state's, then what only the action has."""
        return tuple(dict.fromkeys((*self.state_names, *self.action_names)))

    def units_by_name(self) -> dict[str, str]:
        """The unit of every entry of state and action; empty if it is not stated.

        Version 1 was written when only a joint called exactly `gripper` was converted as one.
        """
        if self.units:
            return {unit.name: unit.unit for unit in self.units}
        if self.joint_units is None:
            return {}
        return {
            name: "range_0_100" if name.removesuffix(".pos") == "gripper" else self.joint_units
            for name in self.vector_names
        }

    def canonical(self) -> str:
        """Canonical JSON: sorted keys, no spaces, so equal contracts are equal bytes."""
        document = dataclasses.asdict(self)
        if self.version == 1:
            del document["units"]
        if self.calibration_ticks is None:
            del document["calibration_ticks"]  # as contracts of before it are signed
        if not self.tasks:
            del document["tasks"]
        if not self.detail:
            del document["detail"]
        if self.lag is None:
            del document["lag"]
        return write_versioned(self.version, document)

    def signature(self) -> str:
        """SHA-256 of the canonical form, hexadecimal."""
        return hashlib.sha256(self.canonical().encode()).hexdigest()

    def signed(self) -> bytes:
        """The file's content: the document with its signature, indented for people."""
        document = {**json.loads(self.canonical()), "signature": self.signature()}
        text = json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
        return text.encode()

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all. Raises OSError."""
        replace_file(path, self.signed())


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
        contract, signature = _parse(read_text(path, _LARGEST))
    except (ContractError, FileError) as error:
        raise ContractError(f"{path}: {error}") from error
    if signature is None:
        raise ContractError(
            f"{path}: no signature, so there is no proof that it is unaltered; restore the file as "
            "armlet wrote it, or record or train again"
        )
    return contract


def _parse(text: str) -> tuple[Contract, str | None]:
    """Contract and signature, which matches it or is None."""
    try:
        version, document = read_versioned(text, "a contract", VERSIONS, _LARGEST)
    except FileError as error:
        raise ContractError(str(error)) from error
    try:
        signature = typed(str | None, document.pop("signature", None), "signature")
        contract: Contract = typed(Contract, document, "contract")
        if contract.version != version:
            raise ContractError(
                f"contract version {version}, but its units are those of version "
                f"{contract.version}; record or train again"
            )
    except FileError as error:
        raise ContractError(f"not a contract: {error}") from error
    signed = contract.signature()
    if signature is not None and signature != signed:
        raise ContractError(
            f"contract was altered after signing: signature {printable(signature, 12)}, "
            f"content {signed[:12]}; record or train again, or remove the file"
        )
    return contract, signature
