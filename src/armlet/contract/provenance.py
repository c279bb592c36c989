"""What a policy was, and how it was run: what an episode that it drove says of it."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from dataclasses import dataclass

from armlet.files import FileError, printable, read_versioned, typed, write_versioned

VERSION = 1

_LARGEST = 8192
_LONGEST = 200
_MARK_DIGITS = 16
_DIGEST = re.compile(r"[0-9a-f]{64}")


class ProvenanceError(ValueError):
    """A text that is no provenance."""


@dataclass(frozen=True)
class Provenance:
    """A policy and how it is run.

    checkpoint: SHA-256 of its weights (`Checkpoint.digest`). name: what its folder or repository is
    called. policy: its type, `act`. strategy: how chunks follow each other, in words. backend,
    precision, device: what computes. inference_latency_s: `measured`, or the seconds that inference
    takes in simulated time. statistics: SHA-256 of what it normalizes with. contract: the signature
    of the checkpoint's; None where it has none.
    """

    checkpoint: str
    name: str
    policy: str
    strategy: str
    backend: str
    precision: str
    device: str
    inference_latency_s: str
    statistics: str
    contract: str | None = None

    def __post_init__(self) -> None:
        """Raises ProvenanceError unless digests are such, and all else is one short line."""
        for name, value in dataclasses.asdict(self).items():
            digest = name in ("checkpoint", "statistics", "contract")
            if digest and value is not None and not _DIGEST.fullmatch(value):
                raise ProvenanceError(
                    f"{name}: expected a SHA-256 in hexadecimal, found {printable(value, 80)}"
                )
            if not digest and not (value and len(value) <= _LONGEST and value.isprintable()):
                raise ProvenanceError(
                    f"{name}: expected one line of 1 to {_LONGEST} characters, found {len(value)}: "
                    f"{printable(value, 80)}"
                )

    def canonical(self) -> str:
        """Canonical JSON: equal provenances are equal bytes."""
        return write_versioned(VERSION, dataclasses.asdict(self))

    def mark(self) -> str:
        """What its chunks carry to say whose they are: 16 digits of the SHA-256 of this text."""
        return hashlib.sha256(self.canonical().encode()).hexdigest()[:_MARK_DIGITS]


def parse(text: str) -> Provenance:
    """A provenance from its canonical form, as in a topic. Raises ProvenanceError."""
    try:
        _, found = read_versioned(text, "a provenance", (VERSION,), _LARGEST)
        provenance: Provenance = typed(Provenance, found, "provenance")
    except FileError as error:
        raise ProvenanceError(str(error)) from error
    return provenance
