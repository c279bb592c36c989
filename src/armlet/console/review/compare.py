"""Two datasets side by side: what differs in rate, features, contract and statistics."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from armlet.contract import Contract, fit
from armlet.datasets import Dataset, DatasetError
from armlet.datasets.format.layout import Feature
from armlet.files import printable
from armlet.findings import Severity
from armlet.findings.render import summary

from .episodes import said, statistics

ABSENT = "-"
# Means that lie farther apart than a part of the spread are of other motions, or of other units.
FAR = 1.0


class Part(StrEnum):
    """What a line of the comparison is about."""

    DATASET = "dataset"
    FEATURES = "features"
    CONTRACT = "contract"
    STATISTICS = "statistics"


@dataclass(frozen=True)
class Line:
    """One thing of both datasets. differs: whether a person should look at it."""

    part: Part
    item: str
    first: str
    second: str
    differs: bool


def compare(first: Dataset, second: Dataset) -> list[Line]:
    """What is in two datasets, line by line. What cannot be read is said in its line."""
    return [
        *_of_dataset(first, second),
        *_of_features(first, second),
        *_of_contract(first, second),
        *_of_statistics(first, second),
    ]


def _of_dataset(first: Dataset, second: Dataset) -> list[Line]:
    def facts(dataset: Dataset) -> dict[str, str]:
        info = dataset.info
        return {
            "version": info.version,
            "robot": info.robot_type or "not stated",
            "fps": str(info.fps),
            "episodes": str(info.total_episodes),
            "frames": str(info.total_frames),
            "tasks": ", ".join(dataset.tasks[:20]) or ABSENT,
        }

    ours, theirs = facts(first), facts(second)
    counts = ("episodes", "frames")  # which are never the same
    return [
        _line(Part.DATASET, item, ours[item], theirs[item], item not in counts) for item in ours
    ]


def _of_features(first: Dataset, second: Dataset) -> list[Line]:
    ours, theirs = first.info.features, second.info.features
    return [
        _line(Part.FEATURES, key, _feature(ours.get(key)), _feature(theirs.get(key)))
        for key in dict.fromkeys([*ours, *theirs])
    ]


def _feature(feature: Feature | None) -> str:
    if feature is None:
        return ABSENT
    codec = (feature.info or {}).get("video.codec", "") if feature.is_picture else ""
    names = "" if feature.is_picture else ", ".join(feature.names or ())
    size = "×".join(map(str, feature.shape))
    return " ".join(part for part in (feature.dtype, size, codec, names) if part)


def _of_contract(first: Dataset, second: Dataset) -> list[Line]:
    try:
        ours, theirs = first.contract, second.contract
    except DatasetError as error:
        return [Line(Part.CONTRACT, "contract", said(error), "", True)]
    lines = [_line(Part.CONTRACT, "contract", _signature(ours), _signature(theirs))]
    return lines if ours is None or theirs is None else [*lines, *_misfits(ours, theirs)]


def _signature(contract: Contract | None) -> str:
    return ABSENT if contract is None else contract.signature()


def _misfits(ours: Contract, theirs: Contract) -> list[Line]:
    """As the merge has them: what is not the same, or is not stated by one of the two."""
    return [
        Line(
            Part.CONTRACT,
            printable(one.subject, 120),
            printable(ABSENT if one.expected is None else one.expected, 300),
            printable(summary(one) if one.expected == "" else one.found, 300),
            one.severity is Severity.ERROR,
        )
        for one in fit(ours, theirs)
        if one.severity is not Severity.OK
    ]


def _of_statistics(first: Dataset, second: Dataset) -> list[Line]:
    found = []
    for dataset in (first, second):
        try:
            found.append({(one.feature, one.element): one.values for one in statistics(dataset)})
        except DatasetError as error:
            return [Line(Part.STATISTICS, "statistics", said(error), "", True)]
    ours, theirs = found
    lines = []
    for key in dict.fromkeys([*ours, *theirs]):
        values = ours.get(key), theirs.get(key)
        texts = [
            ABSENT if one is None else f"{one['mean']:.4g} ± {one['std']:.3g}" for one in values
        ]
        far = None in values or _is_far(*values)  # type: ignore[arg-type]
        lines.append(Line(Part.STATISTICS, " ".join(key), texts[0], texts[1], far))
    return lines


def _is_far(one: dict[str, float], other: dict[str, float]) -> bool:
    """Whether two means are farther apart than the larger of the two spreads."""
    spread = max(one["std"], other["std"])
    apart = abs(one["mean"] - other["mean"])
    return not np.isfinite(apart) or apart > FAR * spread > 0 or (spread == 0 and apart > 0)


def _line(part: Part, item: str, ours: str, theirs: str, matters: bool = True) -> Line:
    differs = matters and ours != theirs
    return Line(part, _shown(item), _shown(ours), _shown(theirs), differs)


def _shown(text: str) -> str:
    return printable(text, 300)
