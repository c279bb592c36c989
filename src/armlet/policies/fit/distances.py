"""Are two sources the same to the network? Their inputs compared, entry by entry.

The preprocessing contract test: what two datasets, or a bag and a dataset, are after all
preprocessing may differ by luck of the frames and no more. By two measures, since each overlooks
something: the Kullback-Leibler divergence of their normal distributions sees mean and spread, and
the distance of their quantiles sees the shape.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from armlet.contract import Contract
from armlet.findings import Code, Finding, Severity, compared

from .feature_stats import Floats, divergence
from .network_input import NetworkInput


@dataclass(frozen=True)
class Allowed:
    """How far apart inputs may be, the worst entry of each.

    Attributes:
        divergence: nats. Pictures of the same scene on another day stay below 0.02; 0.25 is a
            change of light.
        quantile: mean distance of quantiles from 1 % to 99 %, in standard deviations of the first
            source. Forty frames of a recording are 0.1 to 0.2 from all of it.
    """

    divergence: float = 0.25
    quantile: float = 0.5

    def __post_init__(self) -> None:
        for name, value in (("divergence", self.divergence), ("quantile distance", self.quantile)):
            if not 0 < value < float("inf"):
                raise ValueError(f"greatest {name}: expected a positive number, found {value}")


@dataclass(frozen=True)
class Distance:
    """One feature of two sources at the network: per entry, (n,) each."""

    key: str
    entries: tuple[str, ...]
    divergence: Floats
    quantile: Floats

    def to_json(self) -> dict[str, Any]:
        rows = zip(self.entries, self.divergence, self.quantile, strict=True)
        entries = [
            {"entry": name, "divergence": float(kl), "quantile_distance": float(gap)}
            for name, kl, gap in rows
        ]
        return {"feature": self.key, "entries": entries}


def distance(first: NetworkInput, second: NetworkInput) -> Distance:
    """Of the second's distribution from the first's. Raises ValueError for other entries."""
    if first.key != second.key or len(first.entries) != len(second.entries):
        raise ValueError(
            f"expected two inputs of one feature, found {first.key} of {len(first.entries)} and "
            f"{second.key} of {len(second.entries)}"
        )
    a, b = first.found, second.found
    # An entry that stands still in both has no spread to measure by.
    floor = np.maximum(a.std, max(float(a.std.max()) / 50, 1e-6))
    kl = divergence(b.mean, np.maximum(b.std, floor / 50), a.mean, floor)
    gaps = np.abs(second.quantiles - first.quantiles).mean(axis=0) / floor
    return Distance(first.key, first.entries, np.maximum(kl, 0.0), gaps)


def names_finding(first: Contract, second: Contract) -> Finding:
    """Whether both name the same joints in the same order."""
    names = [
        ", ".join(name.removesuffix(".pos") for name in contract.state_names)
        for contract in (first, second)
    ]
    fix = "bring the joints of both into the order of the training data"
    return compared(Code.CONTRACT_STATE_NAMES, "joints", names[0], names[1], fix)


def distance_findings(
    first: Mapping[str, NetworkInput],
    second: Mapping[str, NetworkInput],
    sources: tuple[str, str],
    keys: Sequence[str],
    allowed: Allowed,
) -> Iterator[tuple[Finding, Distance | None]]:
    """A line for each of the policy's features, with its numbers; inputs by feature key."""
    for key in keys:
        item = f"network input of {key}"
        absent = [s for s, side in zip(sources, (first, second), strict=True) if key not in side]
        if absent:
            finding = Finding(
                Code.POLICY_SOURCES_DIFFER,
                Severity.ERROR,
                item,
                "an input from both sources",
                f"none from {' and '.join(absent)}",
                "give sources with all that the policy reads, of its picture sizes; a bag's joints "
                "need --calibration and joint units",
            )
            yield finding, None
            continue
        measured = distance(first[key], second[key])
        yield _judged(item, measured, (first[key], second[key]), allowed), measured


def _judged(
    item: str, measured: Distance, inputs: tuple[NetworkInput, NetworkInput], allowed: Allowed
) -> Finding:
    kl, gap = int(np.argmax(measured.divergence)), int(np.argmax(measured.quantile))
    found = (
        f"divergence {measured.divergence[kl]:.2g} ({measured.entries[kl]}), quantiles "
        f"{measured.quantile[gap]:.2g} std apart ({measured.entries[gap]})"
    )
    # Not "greater": a NaN is no number to pass with.
    near = measured.divergence[kl] <= allowed.divergence
    if near and measured.quantile[gap] <= allowed.quantile:
        return Finding(Code.POLICY_SOURCES_DIFFER, Severity.OK, item, None, found)
    worst = gap if near else kl
    shown = " against ".join(f"{i.found.text(worst)} ({i.source})" for i in reversed(inputs))
    return Finding(
        Code.POLICY_SOURCES_DIFFER,
        Severity.ERROR,
        item,
        f"divergence up to {allowed.divergence:g}, quantiles up to {allowed.quantile:g} std apart",
        found,
        "compare both with `armlet policy check`, which names exchanged cameras, channels, joints "
        "and units; if the scene itself differs, allow more",
        f"{measured.entries[worst]} {shown}",
    )
