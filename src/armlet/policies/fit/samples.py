"""What a dataset or a live robot shows of itself, to be compared with frozen statistics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from armlet.contract import Contract
from armlet.policies.observation import Observation, ObservationError
from armlet.robots.calibration import Calibration
from armlet.robots.joints import joint_names
from armlet.robots.units import JointUnits, converter

from .detail import detail_of
from .feature_stats import Q10_TO_Q90, Floats

# Pixels of one picture that enter its look: more move a mean by less than a grey level.
_PIXELS = 20_000
# As many pictures of a camera as are kept: of a live robot, and for the nearest training picture.
_PICTURES = 64
_THUMB = (12, 16)

Item = TypeVar("Item")


@dataclass(frozen=True)
class Moment:
    """One instant of a source, as a policy would see it.

    actions (k, n), dataset units, are those recorded from this instant on, to the end of the
    episode at the latest; None where nothing was recorded.
    """

    observation: Observation
    actions: Floats | None = None


@dataclass(frozen=True)
class Samples:
    """Observations of one source.

    images are uint8 (N, H, W, 3) RGB by camera name; states (N, n) by the unit they are given in: a
    dataset has one reading, a live robot one per joint unit and `radians`. actions (N, m) in
    dataset units. statistics are the source's own, as in a dataset's stats.json. unseen says, by
    camera, why its pictures are not there; jpeg_quality, with which quality they were compressed,
    of those that came as JPEG. moments are some of its frames with what was commanded then, of a
    dataset; those of a live robot are its frames, see moments_of.
    """

    source: str
    live: bool
    contract: Contract
    images: Mapping[str, NDArray[Any]]
    states: Mapping[str, Floats]
    actions: Floats | None = None
    statistics: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    unseen: Mapping[str, str] = field(default_factory=dict)
    jpeg_quality: Mapping[str, int] = field(default_factory=dict)
    moments: Sequence[Moment] = ()


def moments_of(
    samples: Samples, joint_units: str, n_obs_steps: int, task: str, count: int
) -> list[Moment]:
    """Up to `count` frames of a source, spread over it, with all that a policy reads.

    Frames of a live robot come singly: each is the first of an episode, as at_start has it. None
    where its units are not known.
    """
    if not samples.live:
        return _spread_out(samples.moments, count)
    states = samples.states.get(joint_units)
    lengths = {len(pictures) for pictures in samples.images.values()}
    if states is None or not len(states) or lengths - {len(states)}:
        return []
    rows = _spread_out(range(len(states)), count)
    seen = [
        Observation(
            states[row].astype(np.float32),
            {name: pictures[row] for name, pictures in samples.images.items()},
            task,
        )
        for row in rows
    ]
    return [Moment(observation.at_start(n_obs_steps)) for observation in seen]


def _spread_out(items: Sequence[Item], count: int) -> list[Item]:
    if not len(items) or count < 1:
        return []
    rows = np.linspace(0, len(items) - 1, min(count, len(items))).astype(int)
    return [items[int(row)] for row in rows]


@dataclass(frozen=True)
class Look:
    """A camera's pictures in numbers: per-channel moments and quantiles in 0..1, and thumbnails.

    thumbs is (N, 3, 12, 16): each picture's mean colour per field. brightest is the greatest level.
    detail is how fine the pictures are, see detail.
    """

    mean: Floats
    std: Floats
    quantiles: Floats
    brightest: int
    thumbs: Floats
    detail: float = 0.0

    def normal(self, origin: str) -> tuple[Floats, Floats]:
        """Mean and std estimated as Frozen.origin's were."""
        if origin == "quantiles":
            q10, q50, q90 = self.quantiles
            return q50, (q90 - q10) / Q10_TO_Q90
        return self.mean, self.std

    def with_channels_reversed(self) -> Look:
        """As if red and blue were exchanged."""
        return Look(
            self.mean[::-1],
            self.std[::-1],
            self.quantiles[:, ::-1],
            self.brightest,
            self.thumbs[:, ::-1],
            self.detail,
        )


def look(images: NDArray[np.uint8]) -> Look:
    """Look of pictures uint8 (N, H, W, 3) RGB, N >= 1."""
    height, width = images.shape[1:3]
    step = max(1, int(np.sqrt(height * width / _PIXELS)))
    pixels = images[:, ::step, ::step].reshape(-1, 3).astype(np.float64) / 255
    kept = images[np.linspace(0, len(images) - 1, min(len(images), _PICTURES)).astype(int)]
    return Look(
        mean=pixels.mean(axis=0),
        std=pixels.std(axis=0),
        quantiles=np.quantile(pixels, [0.1, 0.5, 0.9], axis=0),
        brightest=int(images.max()),
        thumbs=np.stack([_thumb(image) for image in kept]),
        detail=detail_of(kept),
    )


def nearest(live: Floats, training: Floats) -> float:
    """How far live thumbnails (N, 3, 12, 16) are from their nearest training ones, RMS in 0..1."""
    gaps = live[:, None] - training[None]
    distances = np.sqrt((gaps**2).mean(axis=(2, 3, 4)))
    return float(distances.min(axis=1).mean())


def _thumb(image: NDArray[np.uint8]) -> Floats:
    rows = np.linspace(0, image.shape[0], _THUMB[0] + 1).astype(int)[:-1]
    columns = np.linspace(0, image.shape[1], _THUMB[1] + 1).astype(int)[:-1]
    sums = np.add.reduceat(np.add.reduceat(image.astype(np.float64), rows, 0), columns, 1)
    heights = np.diff([*rows, image.shape[0]])[:, None, None]
    widths = np.diff([*columns, image.shape[1]])[None, :, None]
    small: Floats = sums / (heights * widths * 255)
    return small.transpose(2, 0, 1)


class LiveSample:
    """The first frames of a live robot, a bounded number; from one thread.

    Frames beyond `frames` are ignored. Feed every few frames if they come fast: a longer look
    tells more.
    """

    def __init__(self, contract: Contract, frames: int = 10) -> None:
        self.contract = contract
        self._limit = frames
        self._states: list[Floats] = []
        self._images: dict[str, list[NDArray[np.uint8]]] = {}
        self._quality: dict[str, int] = {}

    @property
    def full(self) -> bool:
        return self.frames >= self._limit

    @property
    def frames(self) -> int:
        return len(self._states)

    def add(
        self,
        radians: NDArray[np.float64],
        images: Mapping[str, NDArray[np.uint8]],
        jpeg_quality: Mapping[str, int] | None = None,
    ) -> None:
        """One frame: joint positions (n,) in radians and RGB pictures (H, W, 3) by camera.

        jpeg_quality: with which quality they were compressed, of those that came as JPEG.

        Raises ObservationError if a camera's picture size changed.
        """
        if self.full:
            return
        for name, image in images.items():
            taken = self._images.setdefault(name, [])
            if taken and taken[0].shape != image.shape:
                raise ObservationError(
                    f"camera {name!r}: expected pictures of {taken[0].shape} as before, found "
                    f"{image.shape}; start the camera again and leave its size alone"
                )
            taken.append(image)
        for name, found in (jpeg_quality or {}).items():
            self._quality[name] = min(found, self._quality.get(name, found))
        self._states.append(np.asarray(radians, np.float64))

    def samples(self, calibration: Calibration | None) -> Samples:
        """What was seen; the arm's calibration distinguishes the units."""
        radians = np.stack(self._states) if self._states else np.zeros((0, 0))
        states = {"radians": radians}
        names = joint_names(self.contract.state_names)
        # Of joints that the calibration lacks the check has a line of its own.
        if (
            calibration is not None
            and radians.shape[1] == len(names)
            and set(names) <= {*calibration}
        ):
            convert = converter(names, calibration)
            for units in get_args(JointUnits):
                states[units] = convert.radians_to_dataset(radians, units)
        return Samples(
            source="live robot",
            live=True,
            contract=self.contract,
            images={name: np.stack(taken) for name, taken in self._images.items()},
            states=states,
            jpeg_quality=dict(self._quality),
        )
