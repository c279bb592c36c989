"""What reaches the network: the statistics of its input, after all preprocessing, per source.

A source's frames go through the arithmetic the policy runs with (Preprocessor.network_input), and
their mean, spread and range are held against what the statistics and the mode's formula, written
again here, say of rightly normalized ones. So a picture that was divided by 255 twice, or never,
shows whatever the code in between meant to do. So does one that was normalized by its own mean and
std, which looks right in every moment: value by value it is not what the formula makes of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from armlet.findings import Code, Finding, Severity
from armlet.policies.checkpoint.checkpoint import Checkpoint
from armlet.policies.config.base import STATE, camera_name

from .feature_stats import Floats, Frozen
from .limits import Limits
from .samples import Samples

QUANTILES = (0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99)
"""Shares at which an input's quantiles are taken."""

# Pixels of one picture that enter them.
_PIXELS = 5_000
# Pictures of a camera that are put through: a mean over eight is known to some hundredths.
_PICTURES = 8
# Rounding, and the eps of a formula, move a value of the normalized range by less than this.
_ROUNDING = 1e-3
# What is left of the brightest level after a second division by 255, and a half for rounding.
_DIVIDED_TWICE = 1.5 / 255
# Of pictures whose own statistics nobody has: those of a uniform distribution are 0.5 and 0.29.
_USUAL_PICTURE = (0.5, 0.25)
# A level of 255: the arithmetic in between rounds to a thousandth of it.
_LEVEL = 1 / 255
# The same numbers for all entries are said once.
_ALIKE = 0.005


@dataclass(frozen=True)
class Moments:
    """Mean, standard deviation, least and greatest value of each entry, (n,) each."""

    mean: Floats
    std: Floats
    low: Floats
    high: Floats

    def text(self, entry: int) -> str:
        """As in "-0.12±0.98 in -1.7..2.6"."""
        return (
            f"{self.mean[entry]:.2f}±{self.std[entry]:.2f} "
            f"in {self.low[entry]:.3g}..{self.high[entry]:.3g}"
        )


@dataclass(frozen=True)
class NetworkInput:
    """One feature of a source at the network.

    entries names its joints, or R, G and B; right is what a rightly normalized input has, None
    where nothing is known of the training data's. quantiles (7, n) are those of QUANTILES. off is
    the furthest that a value is from what the formula makes of it: of pictures as a share of their
    range, of joints of the widest one's scale.
    """

    source: str
    key: str
    entries: tuple[str, ...]
    found: Moments
    right: Moments | None
    quantiles: Floats
    off: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Numbers by entry: mean, std, min, max, and those of `right` as expected_mean, ..."""
        names = {"mean": "mean", "std": "std", "min": "low", "max": "high"}
        entries = []
        for index, entry in enumerate(self.entries):
            row = {n: float(getattr(self.found, a)[index]) for n, a in names.items()}
            if self.right is not None:
                right = {n: getattr(self.right, a)[index] for n, a in names.items()}
                row |= {f"expected_{n}": float(value) for n, value in right.items()}
            entries.append({"entry": entry, **row})
        return {"source": self.source, "feature": self.key, "entries": entries}


@dataclass(frozen=True)
class Scale:
    """How a mode maps dataset values: (x - offset) * slope, both (n,)."""

    offset: Floats
    slope: Floats

    def normalized(self, values: Floats) -> Floats:
        mapped: Floats = (values - self.offset) * self.slope
        return mapped

    def off(self, normalized: Floats, values: Floats) -> float:
        """How far normalized (..., n) is from what the map makes of values, see NetworkInput."""
        gaps = np.abs(normalized - self.normalized(values)) / self.slope
        return float(gaps.max() / (1 / self.slope).max())


def scale(checkpoint: Checkpoint, key: str) -> Scale:
    """A feature's map by its mode and the statistics as stored; see preprocess for the formulas."""
    feature = checkpoint.config.used_features[key]
    mode = checkpoint.config.normalization_mapping[feature.type]
    stored = {
        name: np.asarray(value, np.float64).reshape(-1)
        for name, value in checkpoint.statistics.get(key, {}).items()
    }
    if mode == "IDENTITY":
        size = 3 if feature.type == "VISUAL" else feature.shape[0]
        return Scale(np.zeros(size), np.ones(size))
    if mode == "MEAN_STD":
        return Scale(stored["mean"], 1 / np.maximum(stored["std"], 1e-8))
    low, high = {"MIN_MAX": ("min", "max"), "QUANTILES": ("q01", "q99")}.get(mode, ("q10", "q90"))
    spread = np.maximum(stored[high] - stored[low], 1e-8)
    return Scale((stored[low] + stored[high]) / 2, 2 / spread)


def network_inputs(
    checkpoint: Checkpoint,
    samples: Samples,
    states: Floats | None,
    described: dict[str, Frozen],
    names: Sequence[str],
) -> Iterator[NetworkInput]:
    """Every camera's and the joints' input of one source.

    states (N, n) are in the policy's units, None if these are not known. described has what is
    known of the training data's own values by feature key. Pictures that the policy does not take
    are passed over: another line refuses them.
    """
    for key, feature in checkpoint.config.image_features.items():
        pictures = samples.images.get(camera_name(key))
        if pictures is None or not _takes(checkpoint, feature.shape, pictures):
            continue
        to = scale(checkpoint, key)
        found, quantiles, off = _picture_moments(checkpoint, key, pictures, to)
        right = _right_picture(to, described[key])
        yield NetworkInput(samples.source, key, ("R", "G", "B"), found, right, quantiles, off)
    if STATE in checkpoint.config.used_features and states is not None:
        yield from _state_inputs(checkpoint, samples.source, states, described[STATE], names)


def _state_inputs(
    checkpoint: Checkpoint, source: str, states: Floats, described: Frozen, names: Sequence[str]
) -> Iterator[NetworkInput]:
    if states.shape[1:] != (checkpoint.config.state_size,):
        return
    finite = states[np.isfinite(states).all(axis=1)]
    if not len(finite):
        return
    given = torch.from_numpy(np.ascontiguousarray(finite, np.float32))
    rows = checkpoint.preprocessor.network_input({STATE: given})[STATE].double().numpy()
    found = Moments(rows.mean(axis=0), rows.std(axis=0), rows.min(axis=0), rows.max(axis=0))
    entries = tuple(_name(names, index) for index in range(len(found.mean)))
    to = scale(checkpoint, STATE)
    right, off = _right_vector(to, described), to.off(rows, finite)
    quantiles = np.quantile(rows, QUANTILES, axis=0)
    yield NetworkInput(source, STATE, entries, found, right, quantiles, off)


def input_finding(seen: NetworkInput, brightest: int | None, limits: Limits) -> Finding:
    """The line of one input. brightest: the greatest level of the pictures as the source gives
    them, None for joints."""
    item = f"network input of {_short(seen.key)}, {seen.source}"
    found = _listed(seen.entries, seen.found)
    right = "" if seen.right is None else f"rightly {_listed(seen.entries, seen.right)}"
    pictures = brightest is not None
    fault = _scale_fault(seen.found, seen.right, limits) if pictures and seen.right else ""
    if seen.off > _LEVEL and not fault:
        return _other_formula(item, seen, pictures, found)
    if brightest is None or seen.right is None or not fault:
        return Finding(Code.POLICY_INPUT_SCALE, Severity.OK, item, None, found, "", right)
    # Pictures that come black have a line of their own: the preprocessing has no part in it.
    severity = Severity.NOTE if brightest <= 1 else Severity.ERROR
    return Finding(
        Code.POLICY_INPUT_SCALE,
        severity,
        item,
        _listed(seen.entries, seen.right),
        found,
        "uint8 pictures are divided by 255 once, before normalization: restore the statistics of "
        "the training data, which are of values 0..1, and take out any other division",
        fault,
    )


def _other_formula(item: str, seen: NetworkInput, pictures: bool, found: str) -> Finding:
    of = "of the pictures' range" if pictures else "of the widest joint's scale"
    return Finding(
        Code.POLICY_INPUT_NORMALIZATION,
        Severity.ERROR,
        item,
        "each value as the frozen statistics normalize it",
        f"values up to {100 * seen.off:.2g} % {of} beside that: {found}",
        "normalize by the statistics in the checkpoint, never by those of the frame itself",
        "the preprocessing in between is another than the checkpoint's",
    )


def _scale_fault(found: Moments, right: Moments, limits: Limits) -> str:
    """Why pictures cannot be rightly scaled; empty if they can. right.low..high are 0..1."""
    width = right.high - right.low
    twice = right.low + _DIVIDED_TWICE * width
    ratio = float(np.median(found.std / np.maximum(right.std, 1e-12)))
    if (found.high <= twice + _ROUNDING * width).all():
        return "no brighter than 1/255: divided by 255 twice"
    beyond = (found.high > right.high + _ROUNDING * width) | (
        found.low < right.low - _ROUNDING * width
    )
    if beyond.any():
        reach = float(np.max((found.high - right.low) / width))
        if reach > limits.scale:
            return f"values reach {reach:.3g} times the greatest possible: never divided by 255"
    if ratio > limits.scale > 0:
        return f"spread {ratio:.2g} times that of the statistics: these are of other pictures"
    return ""


def _takes(checkpoint: Checkpoint, shape: Sequence[int], pictures: NDArray[Any]) -> bool:
    if pictures.dtype != np.uint8 or pictures.ndim != 4 or not len(pictures):
        return False
    resizes = checkpoint.preprocessor.resize != "none"
    return pictures.shape[3] == 3 and (resizes or pictures.shape[1:3] == tuple(shape[1:]))


def _picture_moments(
    checkpoint: Checkpoint, key: str, pictures: NDArray[np.uint8], to: Scale
) -> tuple[Moments, Floats, float]:
    """Moments of all pixels, quantiles of some, and how far any is off, see NetworkInput.

    One picture after the other: together they would take a gigabyte as float32."""
    rows = np.unique(np.linspace(0, len(pictures) - 1, _PICTURES).astype(int))
    parts, pixels, off = [], [], 0.0
    for row in rows:
        given = torch.from_numpy(np.require(pictures[row : row + 1], requirements=["C", "W"]))
        seen = checkpoint.preprocessor.network_input({key: given})[key][0]
        channels = seen.reshape(3, -1)
        shares = pictures[row].reshape(-1, 3).astype(np.float64) / 255
        off = max(off, to.off(channels.T.double().numpy(), shares))
        pixels.append(channels[:, :: max(1, channels.shape[1] // _PIXELS)].T.double().numpy())
        squares = (channels**2).mean(dim=1)
        each = (channels.mean(dim=1), squares, channels.amin(dim=1), channels.amax(dim=1))
        parts.append(torch.stack(each).double().numpy())
    stacked = np.stack(parts)
    mean, square = stacked[:, 0].mean(axis=0), stacked[:, 1].mean(axis=0)
    std = np.sqrt(np.maximum(square - mean**2, 0.0))
    moments = Moments(mean, std, stacked[:, 2].min(axis=0), stacked[:, 3].max(axis=0))
    return moments, np.quantile(np.concatenate(pixels), QUANTILES, axis=0), off


def _right_picture(to: Scale, described: Frozen) -> Moments:
    """Of pictures in 0..1 with the training data's mean and std, or with usual ones."""
    mean, std = (np.full_like(to.offset, value) for value in _USUAL_PICTURE)
    if described.mean is not None:
        mean, std = described.mean, described.spread()
    ends = (np.zeros_like(mean), np.ones_like(mean))
    return Moments(to.normalized(mean), std * to.slope, *map(to.normalized, ends))


def _right_vector(to: Scale, described: Frozen) -> Moments | None:
    if described.mean is None:
        return None
    mean, std = described.mean, described.spread()
    low = described.low if described.low is not None else mean - 2 * std
    high = described.high if described.high is not None else mean + 2 * std
    return Moments(to.normalized(mean), std * to.slope, to.normalized(low), to.normalized(high))


def _listed(entries: Sequence[str], moments: Moments) -> str:
    """Entry by entry, or once where all are alike."""
    table = np.stack([moments.mean, moments.std, moments.low, moments.high])
    if np.ptp(table, axis=1).max() < _ALIKE:
        return moments.text(0)
    return ", ".join(f"{name} {moments.text(index)}" for index, name in enumerate(entries))


def _short(key: str) -> str:
    return f"camera {camera_name(key)}" if camera_name(key) != key else key


def _name(names: Sequence[str], index: int) -> str:
    return names[index].removesuffix(".pos") if index < len(names) else f"entry {index}"
