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
        path.write_text(json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def parse(text: str) -> Contract:
    """Contract from JSON text; its signature, if present, must match.

    Raises ContractError on anything but a whole, unaltered document of this version.
    """
    try:
        document: dict[str, Any] = json.loads(text)
        version = document.pop("version")
        signature = document.pop("signature", None)
        if version != VERSION:
            raise ContractError(
                f"contract version {version}, this armlet reads {VERSION}; "
                "use the armlet that wrote it"
            )
        contract = _from_document(document)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, ContractError):
            raise
        raise ContractError(f"not a contract document: {error}") from error
    if signature is not None and signature != contract.signature():
        raise ContractError(
            f"contract was altered after signing: signature {signature[:12]}, "
            f"content {contract.signature()[:12]}; record or train again, or remove the file"
        )
    return contract


def load(path: Path) -> Contract:
    """Contract from a file. Raises ContractError naming the file, or FileNotFoundError."""
    try:
        return parse(path.read_text())
    except ContractError as error:
        raise ContractError(f"{path}: {error}") from error


def _from_document(document: dict[str, Any]) -> Contract:
    preprocessing = document.pop("preprocessing", None)
    return Contract(
        cameras=tuple(Camera(**camera) for camera in document.pop("cameras")),
        state_names=tuple(document.pop("state_names")),
        action_names=tuple(document.pop("action_names")),
        alignment=tuple(Stream(**stream) for stream in document.pop("alignment", ())),
        preprocessing=None if preprocessing is None else Preprocessing(**preprocessing),
        **document,
    )
