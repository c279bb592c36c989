"""A training that has not ended, as a file: what it needs to go on as if it had not stopped.

It is a safetensors file in a folder beside the checkpoint that is to be: weights and the
optimizer's moments, and in its header a JSON object of all else. Nothing in it is executed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from armlet.files import FileError, parse_json, printable, typed
from armlet.policies.checkpoint.weights import FILE as WEIGHTS

from .settings import TrainingSettings

_KEY = "armlet_training"


class StateError(ValueError):
    """There is no training to go on with, or it is another."""


@dataclass(frozen=True)
class State:
    """Where a training is.

    Attributes:
        step: the last that is done.
        settings: it began with.
        statistics: SHA-256 of what its network normalizes with.
        episodes: those it trains on, of each dataset, in its order.
        weights: of the datasets.
        errors: of the steps since the last hundredth.
        rates: learning rate and the two momentums of the next step.
        best: the smallest held-out error until then; None before the first.
        saved: SHA-256 of the weights that were saved when it was stopped; empty where none were.
        base: SHA-256 of the weights that it began with; empty where they were random.
    """

    step: int
    settings: TrainingSettings
    statistics: str
    episodes: tuple[tuple[int, ...], ...]
    weights: tuple[float, ...]
    errors: tuple[float, ...]
    rates: tuple[float, ...]
    best: float | None = None
    saved: str = ""
    base: str = ""

    def tensors(self, place: Path) -> dict[str, Tensor]:
        """All tensors of its file."""
        return load_file(place)


def folder_of(output: Path) -> Path:
    """Where all is that belongs to a training that is to become the checkpoint `output`."""
    return output.with_name(f"{output.name}.training")


def place_of(output: Path) -> Path:
    """Where its state is, until it has ended."""
    return folder_of(output) / "state.safetensors"


def digest_of(checkpoint: Path) -> str:
    """SHA-256 of a checkpoint's weights; empty where there are none."""
    try:
        with (checkpoint / WEIGHTS).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return ""


def remove_unfinished(place: Path) -> None:
    """Those that a kill left of `save_state`; each is as large as a whole one. Raises OSError."""
    for left in place.parent.glob(f".{place.name}.*"):
        left.unlink(missing_ok=True)


def save_state(place: Path, state: State, tensors: Mapping[str, Tensor]) -> None:
    """Write it whole, or leave what is there. Raises OSError."""
    place.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{place.name}.", dir=place.parent)
    os.close(handle)
    unfinished = Path(name)
    try:
        stored = {name: value.detach().contiguous() for name, value in tensors.items()}
        save_file(stored, name, {_KEY: json.dumps(dataclasses.asdict(state))})
        with unfinished.open("rb") as file:
            os.fsync(file.fileno())
        unfinished.replace(place)
    except BaseException as error:
        unfinished.unlink(missing_ok=True)
        if isinstance(error, SafetensorError):
            raise OSError(f"{place} was not saved: {error}") from error
        raise


def read_state(place: Path) -> State:
    """What a file says. Raises StateError if it is not there, or is none."""
    where = printable(place)
    if not place.is_file():
        raise StateError(
            f"nothing to resume: expected {where}, which a training leaves until it ends"
        )
    try:
        with safe_open(place, "pt") as file:
            document = (file.metadata() or {}).get(_KEY, "")
        state: State = typed(State, parse_json(document), where)
    except (SafetensorError, FileError, ValueError) as error:
        raise StateError(
            f"{where} is not a training's state ({error}); remove it and begin again"
        ) from error
    return state
