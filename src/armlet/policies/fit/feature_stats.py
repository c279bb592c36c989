"""What a checkpoint's frozen statistics say of each feature, as one normal distribution per entry.

Pictures are described per channel in 0..1, vectors per joint in dataset units. LeRobot replaces the
mean and standard deviation of pictures by ImageNet's unless configured otherwise, but stores the
dataset's quantiles beside them; then the quantiles describe the pictures, and where they are
ImageNet's too, nothing does. The same goes for LeRobot 0.4.0 to 0.5.1, whose standard deviation of
pictures is hundreds of times too small.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from armlet.policies.checkpoint.checkpoint import Checkpoint

Floats = NDArray[np.float64]

IMAGENET = np.array([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])
"""Mean and standard deviation of ImageNet's RGB channels, as torchvision and LeRobot write them."""

Q10_TO_Q90 = 2.5631
"""q90 - q10 of a normal distribution, in standard deviations."""

# No camera's pictures spread less; what LeRobot 0.4.0 to 0.5.1 computed is around 0.0005.
_LEAST_PICTURE_STD = 0.01
# Pictures divided by 255 twice spread as little, and are as dark: that is another fault.
_DARK = 1.5 / 255
_MOMENTS, _RANGE, _COUNTED = ("mean", "std"), ("min", "max"), ("count",)
# Relative and absolute: of statistics that were computed in another way, and of float32.
_NEAR, _ROUNDING = (1e-3, 1e-4), (1e-5, 1e-6)
# A quarter of the range: between a normal distribution's spread and a uniform one's.
_RANGE_TO_STD = 4.0


@dataclass(frozen=True)
class Frozen:
    """One feature's statistics. mean and std are (n,), None where the files say nothing real.

    origin is `moments`, `quantiles` or `range`: where mean and std come from. low and high are the
    least and greatest training values, None if not stored. imagenet: the files hold ImageNet's mean
    and std, shared by every camera. overflowed: they hold a std too small for pictures.
    """

    key: str
    kind: str
    mode: str
    mean: Floats | None
    std: Floats | None
    low: Floats | None
    high: Floats | None
    origin: str
    imagenet: bool = False
    overflowed: bool = False

    @property
    def is_known(self) -> bool:
        """Whether the statistics describe the data."""
        return self.mean is not None

    def spread(self) -> Floats:
        """std (n,), not less than a fiftieth of the largest one: a joint that stood still."""
        assert self.std is not None
        floor = max(float(self.std.max(initial=0.0)) / 50, 1e-6)
        return np.maximum(self.std, floor)


def frozen_statistics(checkpoint: Checkpoint) -> dict[str, Frozen]:
    """Frozen by feature key, for every feature the policy reads or gives."""
    modes = checkpoint.config.normalization_mapping
    return {
        key: describe(key, feature.type, modes[feature.type], checkpoint.statistics.get(key, {}))
        for key, feature in checkpoint.config.used_features.items()
    }


def unlike(
    checkpoint: Checkpoint,
    statistics: Mapping[str, Mapping[str, ArrayLike]],
    exactly: bool = False,
) -> list[str]:
    """The features whose frozen statistics are other numbers than a dataset's own.

    statistics: the dataset's, {feature: {mean, std, ...}}. Mean, std, min and max are compared,
    which every version of LeRobot computes alike, and of ImageNet's, which LeRobot puts in the
    place of a camera's own mean and std, min and max alone. A feature that only one of them has is
    left out. exactly: to rounding, and the number of values too, which a dataset with a few
    episodes more or less does not share.
    """
    frozen = frozen_statistics(checkpoint)
    own = _COUNTED if exactly else ()
    return [
        key
        for key, stored in checkpoint.statistics.items()
        if key in statistics
        and not _is_same(
            stored,
            statistics[key],
            (*_RANGE, *own) if frozen[key].imagenet else (*_MOMENTS, *_RANGE, *own),
            _ROUNDING if exactly else _NEAR,
        )
    ]


def _is_same(
    stored: Mapping[str, ArrayLike],
    own: Mapping[str, ArrayLike],
    names: tuple[str, ...],
    tolerance: tuple[float, float],
) -> bool:
    relative, absolute = tolerance
    pairs = [
        tuple(np.ravel(np.asarray(values[name], np.float64)) for values in (stored, own))
        for name in names
        if name in stored and name in own
    ]
    return all(len(a) == len(b) and np.allclose(a, b, relative, absolute) for a, b in pairs)


def describe(key: str, kind: str, mode: str, stored: Mapping[str, ArrayLike]) -> Frozen:
    """One feature from its stored statistics {mean, std, min, ...}."""
    flat = {name: np.asarray(value, np.float64).reshape(-1) for name, value in stored.items()}
    imagenet = kind == "VISUAL" and _is_imagenet(flat)
    overflowed = kind == "VISUAL" and _is_overflowed(flat)
    mean, std, origin = _normal(flat, kind, imagenet, imagenet or overflowed)
    return Frozen(
        key=key,
        kind=kind,
        mode=mode,
        mean=mean,
        std=std,
        low=flat.get("min"),
        high=flat.get("max"),
        origin=origin,
        imagenet=imagenet,
        overflowed=overflowed,
    )


def divergence(mean: Floats, std: Floats, mean_0: Floats, std_0: Floats) -> Floats:
    """Kullback-Leibler divergence of normal distributions from the one of index 0, elementwise.

    log(s0 / s) + (s^2 + (m - m0)^2) / (2 s0^2) - 1/2, in nats; spreads below 1e-3 count as 1e-3 of
    the larger one, so that a uniform picture has a large divergence and no infinite one.
    """
    floor = 1e-3 * np.maximum(np.maximum(std, std_0), 1e-6)
    s, s_0 = np.maximum(std, floor), np.maximum(std_0, floor)
    result: Floats = np.log(s_0 / s) + (s**2 + (mean - mean_0) ** 2) / (2 * s_0**2) - 0.5
    return result


def _is_imagenet(flat: Mapping[str, Floats]) -> bool:
    if "mean" not in flat or "std" not in flat or len(flat["mean"]) != 3:
        return False
    return bool(np.allclose([flat["mean"], flat["std"]], IMAGENET, atol=1e-4))


def _is_overflowed(flat: Mapping[str, Floats]) -> bool:
    if "mean" not in flat or "std" not in flat:
        return False
    return bool((flat["std"] < _LEAST_PICTURE_STD).any() and (flat["mean"] > _DARK).any())


def _normal(
    flat: Mapping[str, Floats], kind: str, imagenet: bool, unreal: bool
) -> tuple[Floats | None, Floats | None, str]:
    if "mean" in flat and "std" in flat and not unreal:
        return flat["mean"], flat["std"], "moments"
    # Quantiles made up around ImageNet's mean say as little as that mean.
    real = not imagenet or "q50" not in flat or not np.allclose(flat["q50"], IMAGENET[0], atol=1e-4)
    if real and {"q10", "q50", "q90"} <= set(flat):
        spread = (flat["q90"] - flat["q10"]) / Q10_TO_Q90
        if kind != "VISUAL" or (spread >= _LEAST_PICTURE_STD).all():
            return flat["q50"], spread, "quantiles"
    if {"min", "max"} <= set(flat) and kind != "VISUAL":
        low, high = flat["min"], flat["max"]
        return (low + high) / 2, (high - low) / _RANGE_TO_STD, "range"
    return None, None, "nothing"
