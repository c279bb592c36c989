"""Are a checkpoint's statistics those of such data at all? Judged from its files alone."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from armlet.findings import Code, Finding, Severity
from armlet.policies.checkpoint.checkpoint import Checkpoint
from armlet.policies.config.base import ACTION, STATE, camera_name
from armlet.robots.joints import is_gripper

from .feature_stats import Floats, Frozen, divergence, frozen_statistics

# LeRobot clamps the range modes; a little for rounding and interpolation on the frame grid.
_RANGE_SLACK = 0.5
# Grippers of old datasets leave 0..100 by some counts; joints of other units leave it by far.
_GRIPPER_SLACK = 10.0
_WIDEST_DEGREES = 360.0
_WIDEST_RADIANS = 2 * np.pi + 0.1
# A still picture of a scene has a larger mean than this; 1/255 is what dividing twice leaves.
_DIVIDED_TWICE = 1.5 / 255
# Observed: state follows action within 0.05; joints of an arm differ from each other by 1 and more.
_SAME_JOINT = 0.25
# Seven joints are 5040 orders; beyond, only exchanges of two are tried.
_ALL_ORDERS = 7

Fault = tuple[Code, str, str, str]
"""Code, expected, found, fix."""

_RESTORE = "restore the statistics of the training data"


def statistics_lines(
    checkpoint: Checkpoint, joint_units: str | None, names: Mapping[str, Sequence[str]]
) -> Iterator[Finding]:
    """A line per feature. names maps STATE and ACTION to joint names where they are known."""
    frozen = frozen_statistics(checkpoint)
    for key, feature in frozen.items():
        yield _line(feature, [*_faults(feature, joint_units, names.get(key, ()))])
    yield from _quantile_lines(checkpoint)
    if STATE in frozen:
        yield from _same_joints(frozen[STATE], frozen[ACTION])
    yield from _cameras_apart(frozen)


def best_order(costs: Floats) -> tuple[list[int], float]:
    """The order that costs least: costs (n, n) of row i being column order[i]; mean per row.

    All orders of up to seven entries; beyond, the identity and every exchange of two.
    """
    size = len(costs)
    rows = np.arange(size)
    orders = np.array(
        list(itertools.permutations(range(size)))
        if size <= _ALL_ORDERS
        else [_exchanged(size, a, b) for a in range(size) for b in range(a, size)]
    )
    means = costs[rows, orders].mean(axis=1)
    best = int(np.argmin(means))
    return orders[best].tolist(), float(means[best])


def _exchanged(size: int, a: int, b: int) -> list[int]:
    order = list(range(size))
    order[a], order[b] = b, a
    return order


def _line(feature: Frozen, faults: list[Fault]) -> Finding:
    item = f"statistics of {_short(feature.key)}"
    if faults:
        code, expected, found, fix = faults[0]
        return Finding(code, Severity.ERROR, item, expected, found, fix)
    if feature.mode == "IDENTITY":
        return Finding(Code.POLICY_FACT, Severity.OK, item, found="not used: IDENTITY")
    if feature.overflowed:
        return Finding(
            Code.POLICY_STATISTICS_IMAGE_STD,
            Severity.OPEN,
            item,
            "the spread of pictures, 0.1 and more",
            "a std too small for pictures, as LeRobot 0.4.0 to 0.6.1 computed it",
            "the policy was trained with it and runs; train again with true statistics",
            "pictures are judged by the stored quantiles"
            if feature.is_known
            else "no measure of them",
        )
    if feature.imagenet:
        how = "ImageNet's, shared by every camera; they are no measure of this camera's pictures"
        return Finding(Code.POLICY_FACT, Severity.OK, item, found=how)
    return Finding(Code.POLICY_FACT, Severity.OK, item, found=_summary(feature))


def _faults(feature: Frozen, joint_units: str | None, names: Sequence[str]) -> Iterator[Fault]:
    """What cannot be the statistics of such data."""
    if feature.mode == "IDENTITY" or feature.mean is None or feature.std is None:
        return
    yield from _inert(feature)
    if feature.kind == "VISUAL":
        yield from _picture_faults(feature)
    yield from _outside_own_range(feature)
    if feature.key in (STATE, ACTION):
        yield from _unit_faults(feature, joint_units, names)


def _inert(feature: Frozen) -> Iterator[Fault]:
    mean, std = feature.mean, feature.std
    assert mean is not None and std is not None
    code = Code.POLICY_STATISTICS_NOT_SET
    does = "moves nothing: the values would reach the network unnormalized"
    if feature.mode == "MEAN_STD" and feature.origin == "moments" and _is(mean, 0) and _is(std, 1):
        yield code, "those of the training data", f"mean 0 and std 1, which {does}", _RESTORE
    if feature.low is None or feature.high is None or feature.mode != "MIN_MAX":
        return
    if _is(feature.low, -1) and _is(feature.high, 1):
        yield code, "those of the training data", f"min -1 and max 1, which {does}", _RESTORE


def _is(values: Floats, value: float) -> bool:
    return bool(np.allclose(values, value, atol=1e-6))


def _outside_own_range(feature: Frozen) -> Iterator[Fault]:
    """The mean lies between min and max, and no spread exceeds half the range (Popoviciu)."""
    low, high = feature.low, feature.high
    if feature.origin != "moments" or low is None or high is None:
        return
    mean, std = feature.mean, feature.std
    assert mean is not None and std is not None
    if not len(low) == len(high) == len(mean) == len(std):
        return
    slack = 1e-3 * np.maximum(high - low, 1e-3)
    for i in np.flatnonzero((mean < low - slack) | (mean > high + slack)):
        yield (
            Code.POLICY_STATISTICS_CONTRADICTORY,
            f"mean within min..max, entry {i} within {low[i]:.4g}..{high[i]:.4g}",
            f"{mean[i]:.4g}",
            f"the stored statistics are of different data, or in different joint order: {_RESTORE}",
        )
    for i in np.flatnonzero(std > (high - low) / 2 + slack):
        yield (
            Code.POLICY_STATISTICS_CONTRADICTORY,
            f"std of entry {i} at most half of its range {low[i]:.4g}..{high[i]:.4g}",
            f"{std[i]:.4g}",
            f"the stored statistics are of different data, or in different joint order: {_RESTORE}",
        )


def _picture_faults(feature: Frozen) -> Iterator[Fault]:
    mean, std, high = feature.mean, feature.std, feature.high
    assert mean is not None and std is not None
    if (std > 0.5 + 1e-3).any() or (high is not None and (high > 1 + 1e-3).any()):
        yield (
            Code.POLICY_STATISTICS_IMAGE_SCALE,
            "0..1, the range of the pictures they normalize (std at most 0.5, max at most 1)",
            f"std {_values(std)}, max {'unknown' if high is None else _values(high)}",
            "these are statistics of 0..255 pictures: recompute them and train again",
        )
    if (mean < _DIVIDED_TWICE).all() and (std < _DIVIDED_TWICE).all():
        yield (
            Code.POLICY_STATISTICS_IMAGE_SCALE,
            "0..1, the range of the pictures they normalize",
            f"mean {_values(mean)}, std {_values(std)}, no brighter than 1/255",
            "these are statistics of pictures divided by 255 twice: recompute them and train again",
        )


def _unit_faults(feature: Frozen, joint_units: str | None, names: Sequence[str]) -> Iterator[Fault]:
    low, high = _ends(feature)
    body = np.array([not is_gripper(name) for name in names] or [True] * len(low))
    if len(body) != len(low):
        return
    reach = np.maximum(np.abs(low), np.abs(high))
    if len(low) > 1 and (reach <= _WIDEST_RADIANS).all() and not _small(feature):
        yield (
            Code.POLICY_STATISTICS_RADIANS,
            f"values in {joint_units or 'degrees or range_m100_100'}",
            f"every joint within ±{reach.max():.2f}, as in radians",
            "the policy was trained in radians, which LeRobot does not record: convert the data "
            "and train again",
        )
    limit, unit = (
        (100 + _RANGE_SLACK, "within -100..100, to which LeRobot clamps range_m100_100")
        if joint_units == "range_m100_100"
        else (_WIDEST_DEGREES, "within a turn, in degrees")
    )
    for i in np.flatnonzero(body & (reach > limit)):
        yield (
            Code.POLICY_STATISTICS_OUT_OF_UNIT,
            f"{_joint(names, int(i))} {unit}",
            f"{low[i]:.4g}..{high[i]:.4g}",
            "the policy was trained in other units: give the right joint_units"
            if joint_units == "range_m100_100"
            else "values of another unit, or damaged statistics: " + _RESTORE,
        )
    for i in np.flatnonzero(~body):
        if low[i] < -_GRIPPER_SLACK or high[i] > 100 + _GRIPPER_SLACK:
            yield (
                Code.POLICY_STATISTICS_GRIPPER_RANGE,
                f"{_joint(names, int(i))} within 0..100, LeRobot's unit of grippers",
                f"{low[i]:.4g}..{high[i]:.4g}",
                "the joints are named in another order than the training data's, or recorded in "
                "other units: correct the names",
            )


def _ends(feature: Frozen) -> tuple[Floats, Floats]:
    if feature.low is not None and feature.high is not None and len(feature.low):
        return feature.low, feature.high
    assert feature.mean is not None and feature.std is not None
    return feature.mean - 2 * feature.std, feature.mean + 2 * feature.std


def _small(feature: Frozen) -> bool:
    """An arm that all but stood still stays within radians' range in degrees as well."""
    assert feature.std is not None
    return bool(feature.std.max() < 0.02)


def _quantile_lines(checkpoint: Checkpoint) -> Iterator[Finding]:
    order = ("min", "q01", "q10", "q50", "q90", "q99", "max")
    for key, stored in checkpoint.statistics.items():
        mode = checkpoint.config.normalization_mapping[checkpoint.config.used_features[key].type]
        if mode not in ("QUANTILES", "QUANTILE10"):
            continue
        ends = ("q01", "q99") if mode == "QUANTILES" else ("q10", "q90")
        present = [name for name in order if name in stored]
        for a, b in itertools.pairwise(present):
            below = np.asarray(stored[b]) < np.asarray(stored[a]) - 1e-4
            if below.any() and (a in ends or b in ends):
                yield Finding(
                    Code.POLICY_STATISTICS_CONTRADICTORY,
                    Severity.ERROR,
                    f"quantiles of {_short(key)}",
                    f"{a} <= {b}",
                    f"{_values(np.asarray(stored[a], np.float64).reshape(-1))} > "
                    f"{_values(np.asarray(stored[b], np.float64).reshape(-1))}",
                    f"the stored statistics are of different data: {_RESTORE}",
                )


def _same_joints(state: Frozen, action: Frozen) -> Iterator[Finding]:
    """State follows action: joint by joint their distributions agree, unless one is permuted."""
    if (
        not (state.is_known and action.is_known)
        or state.mode == "IDENTITY"
        or action.mode == "IDENTITY"
    ):
        return
    assert state.mean is not None and action.mean is not None
    if len(state.mean) != len(action.mean) or len(state.mean) < 2:
        return
    costs = divergence(
        state.mean[:, None], state.spread()[:, None], action.mean[None], action.spread()[None]
    )
    as_is = float(np.trace(costs)) / len(costs)
    order, best = best_order(costs)
    item = "joint order of state and action statistics"
    if as_is > 2 * _SAME_JOINT and best < _SAME_JOINT and best < as_is / 5:
        yield Finding(
            Code.POLICY_STATISTICS_JOINT_ORDER,
            Severity.ERROR,
            item,
            "the same joints in the same order",
            f"state entries {list(range(len(order)))} are like action entries {order}",
            f"one of the two is permuted: {_RESTORE}, in the order of the joint names",
            f"divergence {as_is:.2g} as it is, {best:.2g} in that order",
        )
    elif as_is < _SAME_JOINT:
        yield Finding(
            Code.POLICY_STATISTICS_JOINT_ORDER,
            Severity.OK,
            item,
            found=f"agree (divergence {as_is:.2g})",
        )


def _cameras_apart(frozen: Mapping[str, Frozen]) -> Iterator[Finding]:
    """Whether the statistics could tell an exchange of cameras at all."""
    cameras = [feature for feature in frozen.values() if feature.kind == "VISUAL"]
    if len(cameras) < 2:
        return
    names = ", ".join(camera_name(feature.key) for feature in cameras)
    item = f"telling {names} apart"
    mute = [camera_name(feature.key) for feature in cameras if not feature.is_known]
    compare = "compare with training pictures: give --dataset"
    if mute:
        yield Finding(
            Code.POLICY_STATISTICS_CAMERAS_ALIKE,
            Severity.OPEN,
            item,
            "statistics of each camera's own pictures",
            f"none of {', '.join(mute)}",
            compare,
            "exchanged cameras cannot be noticed by ImageNet's or absent statistics",
        )
        return
    apart = min(_apart(a, b) for a, b in itertools.combinations(cameras, 2))
    severity = Severity.OK if apart > 0.02 else Severity.OPEN
    found = f"statistics differ by a divergence of {apart:.2g}"
    because = "" if severity is Severity.OK else "too alike to notice exchanged cameras"
    yield Finding(
        Code.POLICY_STATISTICS_CAMERAS_ALIKE,
        severity,
        item,
        "different statistics",
        found,
        compare,
        because,
    )


def _apart(a: Frozen, b: Frozen) -> float:
    assert a.mean is not None and b.mean is not None
    return float(divergence(a.mean, a.spread(), b.mean, b.spread()).mean())


def _summary(feature: Frozen) -> str:
    if feature.mean is None or feature.std is None:
        return f"{feature.mode}; too little is stored to judge them"
    return f"{feature.mode}, mean {_values(feature.mean)}, std {_values(feature.std)}"


def _values(values: NDArray[np.float64]) -> str:
    return "[" + " ".join(f"{value:.3g}" for value in values) + "]"


def _short(key: str) -> str:
    return f"camera {camera_name(key)}" if camera_name(key) != key else key


def _joint(names: Sequence[str], index: int) -> str:
    return names[index].removesuffix(".pos") if index < len(names) else f"entry {index}"
