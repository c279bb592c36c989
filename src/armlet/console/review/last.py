"""The newest episode of the dataset that is being recorded, as soon as it is there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from armlet.datasets import DatasetError
from armlet.datasets.check.quality import review_episode
from armlet.datasets.format import layout
from armlet.files import printable, resolved
from armlet.findings import Finding
from armlet.findings.render import summary

from .episodes import Remark, said
from .library import Library, LibraryError, Place

_LONGEST_TASK, _LONGEST_NOTE = 200, 500
_MOST_REMARKS = 20


@dataclass(frozen=True)
class Last:
    """One episode. key: of its dataset, in addresses; state: another for another dataset's state.
    problem: why it cannot be shown.
    """

    key: str = ""
    state: str = ""
    number: int = 0
    length: int = 0
    duration_s: float = 0.0
    tasks: tuple[str, ...] = ()
    driven: str = ""
    remarks: tuple[Remark, ...] = ()
    problem: str = ""


def place_of(library: Library, root: str) -> Place | None:
    """The dataset at a recorder's root, if it is among those that a person has named."""
    if not root:
        return None
    try:
        wanted = resolved(Path(root))
    except (OSError, ValueError):  # a text that is no path
        return None
    return next((place for place in library.look().places if place.root == wanted), None)


def last(library: Library, root: str, number: int) -> Last | None:
    """An episode of the dataset at root; None where that dataset is not shown here."""
    place = place_of(library, root)
    if place is None:
        return None
    try:
        return _last(library, place, number)
    except (LibraryError, DatasetError, OSError) as error:
        return Last(place.key, problem=said(error))


def _last(library: Library, place: Place, number: int) -> Last:
    dataset = library.open(place.key)
    if number >= len(dataset.episodes):
        raise LibraryError(f"episode {number} is not there; the dataset was edited meanwhile")
    one = dataset.episodes[number]
    remarks = tuple(_remark(found, number) for found in review_episode(dataset.root, number))
    return Last(
        place.key,
        "".join(f"{part:x}" for part in library.mark(place.key) or ())[-16:],
        number,
        one.length,
        one.duration_s,
        tuple(printable(task, _LONGEST_TASK) for task in one.tasks),
        _driven(dataset, number),
        remarks[:_MOST_REMARKS],
    )


def _driven(dataset: Any, number: int) -> str:
    notes: Mapping[str, Any] = layout.load_notes(dataset.root, number)
    provenance = dataset.provenance(number) if notes.get("provenance") else None
    return "" if provenance is None else printable(provenance.said(), _LONGEST_NOTE)


def _remark(found: Finding, number: int) -> Remark:
    return Remark(
        str(found.code),
        str(found.severity),
        printable(found.subject, 1000),
        summary(found),
        printable(found.fix or found.code.remedy, 1000),
        number,
    )
