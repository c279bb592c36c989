"""The one preprocessing object: the same code and the same statistics in training and on the robot.

Pictures uint8 (H, W, 3) become float32 (3, H, W) in 0..1; then every feature is normalized by the
mode of its type with statistics frozen at training. Formulas are LeRobot's, nothing is clipped and
nothing is resized: another picture size is refused, unless the network resizes pictures itself.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from armlet.contract import Preprocessing
from armlet.findings import Code

from .config.base import ACTION, ENVIRONMENT, MODES, STATE, Feature, PolicyConfig, camera_name
from .config.errors import CheckpointError
from .observation import Observation, ObservationError

EPSILON = 1e-8
_FINITE = 1e30
# Rounding moves the mean of a white picture a little beyond 1.
_PICTURE_MEAN_SLACK = 1e-3
# Camera noise alone spreads more than this. LeRobot 0.4.0 to 0.5.1 squared uint8 pixels without
# widening, which gives a standard deviation around 0.0005.
_PICTURE_STD_SUSPECT = 0.01
Statistics = Mapping[str, Mapping[str, ArrayLike]]

# The two statistics each mode needs: centre and spread, or the ends of -1..1.
_NEEDS = {
    "MEAN_STD": ("mean", "std"),
    "MIN_MAX": ("min", "max"),
    "QUANTILES": ("q01", "q99"),
    "QUANTILE10": ("q10", "q90"),
    "IDENTITY": (),
}


@dataclass(frozen=True)
class Normalizer:
    """One feature's map between dataset values and normalized values, both float32.

    old_ranges gives MIN_MAX as LeRobot 0.3.x had it: eps is always added to the range on the way
    in and never on the way out, where 0.4 puts eps in the place of a range of zero, both ways.
    """

    mode: str
    statistics: tuple[Tensor, ...]
    eps: float = EPSILON
    old_ranges: bool = False

    def normalize(self, x: Tensor) -> Tensor:
        """MEAN_STD: (x - mean) / (std + eps); the ranges: low..high to -1..1; IDENTITY: x."""
        return x if self.mode == "IDENTITY" else self.normalize_own(x.clone())

    def normalize_own(self, x: Tensor) -> Tensor:
        """normalize, in place: fresh memory costs a picture as much as this arithmetic."""
        if self.mode == "IDENTITY":
            return x
        if self.mode == "MEAN_STD":
            mean, std = self.statistics
            return _apart(x.sub_(mean)).div_(std + self.eps)
        low, high = self.statistics
        spread = high - low + self.eps if self.old_ranges else self._range()
        return _apart(x.sub_(low)).mul_(2).div_(spread).sub_(1)

    def unnormalize(self, x: Tensor) -> Tensor:
        """The inverse, without eps for MEAN_STD, as in LeRobot."""
        if self.mode == "IDENTITY":
            return x
        if self.mode == "MEAN_STD":
            mean, std = self.statistics
            return x * std + mean
        low, high = self.statistics
        spread = high - low if self.old_ranges else self._range()
        return (x + 1) / 2 * spread + low

    @property
    def formula(self) -> str:
        """What `normalize` computes, for people."""
        if self.mode == "IDENTITY":
            return "x"
        first, second = _NEEDS[self.mode]
        if self.mode == "MEAN_STD":
            return f"(x - {first}) / ({second} + {self.eps:g})"
        spread = f"({second} - {first}"
        spread += f" + {self.eps:g})" if self.old_ranges else f", or {self.eps:g} where that is 0)"
        return f"(x - {first}) * 2 / {spread} - 1"

    def constant(self) -> list[int]:
        """Indices of dimensions the training data never moved: normalized by eps alone."""
        if self.mode == "IDENTITY":
            return []
        first, second = (s.flatten() for s in self.statistics)
        still = second == 0 if self.mode == "MEAN_STD" else second == first
        return [int(i) for i in still.nonzero()]

    def suspect_pictures(self) -> bool:
        """Whether no real camera has a spread as small as this (in 0..1)."""
        return self.mode == "MEAN_STD" and bool((self.statistics[1] < _PICTURE_STD_SUSPECT).any())

    def to(self, device: torch.device) -> Normalizer:
        return dataclasses.replace(self, statistics=tuple(s.to(device) for s in self.statistics))

    def along_rows(self, width: int) -> Normalizer:
        """The same for pictures as rows of `width` pixels of three values each, (..., width * 3).

        Thus a picture's arithmetic runs over whole rows, five times faster than over pixels.
        """
        rows = tuple(statistic.flatten().repeat(width) for statistic in self.statistics)
        return dataclasses.replace(self, statistics=rows)

    def _range(self) -> Tensor:
        low, high = self.statistics
        return torch.where(high == low, torch.full_like(low, self.eps), high - low)


class Preprocessor:
    """Observations to network input and network output to actions."""

    def __init__(
        self,
        features: Mapping[str, Feature],
        normalizers: Mapping[str, Normalizer],
        device: torch.device | str = "cpu",
        resize: str = "none",
    ) -> None:
        """Prefer from_statistics. Keys of both mappings are LeRobot feature keys."""
        self.features = dict(features)
        self.resize = resize
        self.device = torch.device(device)
        self._normalizers = {key: n.to(self.device) for key, n in normalizers.items()}
        self._cameras = {camera_name(k): k for k, f in features.items() if f.type == "VISUAL"}
        self._rows: dict[tuple[str, int], Normalizer] = {}

    @classmethod
    def from_statistics(
        cls,
        features: Mapping[str, Feature],
        modes: Mapping[str, str],
        statistics: Statistics,
        eps: float = EPSILON,
        where: object = "statistics",
        *,
        old_ranges: bool = False,
        resize: str = "none",
    ) -> Preprocessor:
        """Preprocessor of the given features (inputs and action) with a mode per feature type.

        statistics maps feature keys to `mean`, `std`, `min`, ... shaped (n,), for pictures
        (3, 1, 1) in 0..1; others than needed are ignored. old_ranges: see Normalizer. resize says
        what the network does to pictures; pictures of any size are then accepted. Raises
        CheckpointError, naming `where`, when a statistic that a mode needs is missing, has another
        shape, or is impossible.
        """
        if not 0 < eps < 1e-3:
            raise CheckpointError.found(
                Code.POLICY_SETTING_INVALID,
                where,
                "normalization eps",
                expected="a small positive number",
                found=eps,
                fix=f"LeRobot writes {EPSILON}",
            )
        normalizers = {
            key: _normalizer(key, feature, modes, statistics, eps, where)
            for key, feature in features.items()
        }
        if old_ranges:
            normalizers = {
                key: dataclasses.replace(normalizer, old_ranges=normalizer.mode == "MIN_MAX")
                for key, normalizer in normalizers.items()
            }
        return cls(features, normalizers, resize=resize)

    @classmethod
    def from_config(
        cls, config: PolicyConfig, statistics: Statistics, where: object = "statistics"
    ) -> Preprocessor:
        """from_statistics for what `config` reads and gives."""
        return cls.from_statistics(
            config.used_features,
            config.normalization_mapping,
            statistics,
            where=where,
            resize=config.resize,
        )

    def to(self, device: torch.device | str) -> Preprocessor:
        """The same preprocessing, its results on `device`."""
        return Preprocessor(self.features, self._normalizers, device, self.resize)

    def __call__(self, observation: Observation) -> dict[str, Tensor]:
        """Network input of one observation: float32 by feature key, batch dimension 1.

        Raises ObservationError for a missing camera, another size or dtype, non-finite values.
        """
        return self.network_input(self._uploaded(self.arrays(observation)))

    def window(self, observation: Observation) -> dict[str, Tensor]:
        """Network input (1, T, ...) of an observation and the T - 1 before it, the newest last.

        Raises as __call__ does.
        """
        moments = [self.arrays(seen) for seen in (*observation.earlier, observation)]
        stacked = {key: np.concatenate([m[key] for m in moments]) for key in moments[0]}
        inputs = self.network_input(self._uploaded(stacked))
        return {key: values[None] for key, values in inputs.items()}

    def arrays(self, observation: Observation) -> dict[str, NDArray[Any]]:
        """What network_input takes, checked, by feature key, batch dimension 1.

        Pictures are uint8 (1, H, W, 3), vectors float32 (1, n). Raises as __call__ does.
        """
        images = {}
        for name in self._cameras:
            if name not in observation.images:
                raise ObservationError(
                    f"camera {name!r} is missing: the policy reads {sorted(self._cameras)}, the "
                    f"observation has {sorted(observation.images)}; connect or rename the camera"
                )
            images[name] = _array(observation.images[name], f"image {name!r}")[None]
        environment = observation.environment_state
        return self._checked(
            images,
            _array(observation.state, STATE)[None],
            None if environment is None else environment[None],
        )

    def network_input(self, arrays: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The arithmetic alone: `arrays` as on the robot, as tensors, to what the network reads.

        An exported graph is traced from it, so that there is one definition.
        """
        return {
            key: self._pictures(key, values)
            if self.features[key].type == "VISUAL"
            else self._normalizers[key].normalize(values)
            for key, values in arrays.items()
        }

    def batch(
        self,
        images: Mapping[str, NDArray[np.uint8]],
        states: NDArray[np.float32],
        actions: NDArray[np.float32] | None = None,
        action_is_pad: NDArray[np.bool_] | None = None,
        environment_states: NDArray[np.float32] | None = None,
    ) -> dict[str, Tensor]:
        """Network input of B stacked observations, for training with their actions.

        images by camera name uint8 (B, H, W, 3) RGB, states float32 (B, n), actions float32
        (B, C, n) in dataset units, action_is_pad bool (B, C). The result holds float32 tensors by
        feature key and, where given, `action_is_pad`. Raises ObservationError as __call__ does.
        """
        arrays = self._checked(images, states, environment_states)
        result = self.network_input(self._uploaded(arrays))
        if actions is not None:
            result[ACTION] = self.normalize_action(
                self._upload(_checked(ACTION, actions, self.features[ACTION].shape, chunks=True))
            )
        if action_is_pad is not None:
            result["action_is_pad"] = self._upload(np.asarray(action_is_pad, np.bool_))
        return result

    def normalize_action(self, action: Tensor) -> Tensor:
        """Actions (..., n) in dataset units to the network's units."""
        return self._normalizers[ACTION].normalize(action)

    def unnormalize_action(self, action: Tensor) -> Tensor:
        """Actions (..., n) in the network's units to dataset units."""
        return self._normalizers[ACTION].unnormalize(action)

    def describe(self) -> Preprocessing:
        """This preprocessing for the contract; `statistics` is fingerprint()."""
        modes = {f.type: self._normalizers[key].mode for key, f in self.features.items()}
        return Preprocessing(self.resize, "0..1", modes, self.fingerprint())

    def fingerprint(self) -> str:
        """SHA-256 of the frozen statistics, hexadecimal.

        Fed in order of feature keys: key, mode (with `-0.3` for old_ranges), eps as repr, then each
        statistic the mode uses (its name, and its values as little-endian float32), texts as UTF-8
        ended by a zero byte.
        """
        digest = hashlib.sha256()
        for key, normalizer in sorted(self._normalizers.items()):
            mode = normalizer.mode + ("-0.3" if normalizer.old_ranges else "")
            for text in (key, mode, repr(normalizer.eps)):
                digest.update(text.encode() + b"\0")
            for name, values in zip(_NEEDS[normalizer.mode], normalizer.statistics, strict=True):
                digest.update(name.encode() + b"\0")
                digest.update(values.cpu().numpy().astype("<f4").tobytes())
        return digest.hexdigest()

    def statistics(self, key: str) -> dict[str, NDArray[np.float32]]:
        """What a feature is normalized with: name to values, nothing for IDENTITY."""
        normalizer = self._normalizers[key]
        names = _NEEDS[normalizer.mode]
        return {n: s.cpu().numpy() for n, s in zip(names, normalizer.statistics, strict=True)}

    def formula(self, key: str) -> str:
        """How a feature is normalized, in the names of `statistics`, for people."""
        return self._normalizers[key].formula

    def notes(self) -> list[str]:
        """What is legal but worth knowing: what never changed in training, suspect spreads."""
        return [
            f"{key}[{i}] never changed in the training data: "
            + ("it is always the same" if key == ACTION else "any other value is far out of range")
            for key, normalizer in self._normalizers.items()
            for i in normalizer.constant()
        ] + [
            f"{key}: std {float(normalizer.statistics[1].min()):.2g} is too small for pictures, "
            "as LeRobot 0.4.0 to 0.6.1 computed it; the policy was trained with it and is run so"
            for key, normalizer in self._normalizers.items()
            if self.features[key].type == "VISUAL" and normalizer.suspect_pictures()
        ]

    def _checked(
        self,
        images: Mapping[str, NDArray[np.uint8]],
        states: NDArray[np.float32],
        environment_states: NDArray[np.float32] | None,
    ) -> dict[str, NDArray[Any]]:
        arrays: dict[str, NDArray[Any]] = {}
        for name, key in self._cameras.items():
            if name not in images:
                raise ObservationError(f"camera {name!r} is missing, found {sorted(images)}")
            arrays[key] = self._checked_pictures(name, key, images[name])
        vectors = {STATE: states, ENVIRONMENT: environment_states}
        for key, values in vectors.items():
            if key in self.features:
                if values is None:
                    raise ObservationError(
                        f"{key} is missing: the policy reads {sorted(self.features)}"
                    )
                arrays[key] = _checked(key, values, self.features[key].shape)
        return arrays

    def _checked_pictures(
        self, name: str, key: str, images: NDArray[np.uint8]
    ) -> NDArray[np.uint8]:
        _, height, width = self.features[key].shape
        images = _array(images, f"image {name!r}")
        if self.resize != "none" and images.ndim == 4 and images.size:
            height, width = images.shape[1:3]
        if images.dtype != np.uint8 or images.shape[1:] != (height, width, 3):
            raise ObservationError(
                f"image {name!r}: expected uint8 ({height}, {width}, 3) RGB, found {images.dtype} "
                f"{images.shape[1:]}; this policy does not resize: set the camera to the training "
                "size"
            )
        return images

    def _pictures(self, key: str, images: Tensor) -> Tensor:
        """uint8 (B, H, W, 3) to float32 (B, 3, H, W)."""
        _, height, width, channels = images.shape
        if (key, width) not in self._rows:
            self._rows[key, width] = self._normalizers[key].along_rows(width)
        rows = images.reshape(-1, height, width * channels).to(torch.float32).div_(255)
        normalized = self._rows[key, width].normalize_own(rows)
        # A permuted view, not a copy: pictures arrive channels-last, which the backbone prefers.
        return normalized.view(-1, height, width, channels).permute(0, 3, 1, 2)

    def _uploaded(self, arrays: Mapping[str, NDArray[Any]]) -> dict[str, Tensor]:
        return {key: self._upload(values) for key, values in arrays.items()}

    def _upload(self, values: NDArray[Any]) -> Tensor:
        # torch cannot mark a tensor read-only, so it wants an array that may be written to.
        values = np.require(values, requirements=["C", "W"])
        return torch.from_numpy(values).to(self.device)


def _apart(x: Tensor) -> Tensor:
    """x, in a graph such that no runtime folds the subtraction before it into what comes after.

    OpenVINO makes (x - mean) / std into x / std - mean / std. Of a joint that never moved these are
    two numbers near 1e9, and their difference is nothing but rounding.
    """
    return x.clamp(-_FINITE, _FINITE) if x.ndim == 2 and torch.onnx.is_in_onnx_export() else x


def _array(values: object, what: str) -> NDArray[Any]:
    if not isinstance(values, np.ndarray):
        raise ObservationError(f"{what}: expected a numpy array, found {type(values).__name__}")
    return values


def _checked(
    key: str, values: NDArray[np.float32], shape: tuple[int, ...], chunks: bool = False
) -> NDArray[np.float32]:
    """`values` if float32, finite, (B, n), with `chunks` (B, C, n)."""
    values = _array(values, key)
    rank = 3 if chunks else 2
    if values.dtype != np.float32 or values.ndim != rank or values.shape[-1:] != shape:
        raise ObservationError(
            f"{key}: expected float32 vectors of {shape[0]} values, found {values.dtype} "
            f"{values.shape[1:]}; give the joints of the training data, in its order"
        )
    if not np.isfinite(values).all():
        bad = sorted({int(i) for i in np.argwhere(~np.isfinite(values))[:, -1]})
        raise ObservationError(
            f"{key}: expected finite values, found NaN or infinity at index {bad}; "
            "the sensor's last good value is not this policy's to invent: skip the frame"
        )
    return values


def _normalizer(
    key: str,
    feature: Feature,
    modes: Mapping[str, str],
    statistics: Statistics,
    eps: float,
    where: object,
) -> Normalizer:
    mode = modes.get(feature.type)
    if mode not in MODES:
        raise CheckpointError.found(
            Code.POLICY_SETTING_INVALID,
            where,
            f"normalization mode of {feature.type} ({key})",
            expected=f"one of {', '.join(MODES)}",
            found=mode,
            fix="name the mode the policy was trained with",
        )
    found = statistics.get(key, {})
    missing = [name for name in _NEEDS[mode] if name not in found]
    if missing:
        raise CheckpointError.found(
            Code.POLICY_STATISTICS_MISSING,
            where,
            f"statistics of {key} for {mode}",
            expected=", ".join(f"{key}.{name}" for name in _NEEDS[mode]),
            found=", ".join(sorted(found)) or f"none (features: {', '.join(sorted(statistics))})",
            fix="LeRobot would pass the values on unnormalized, in silence: "
            "restore the statistics of the training data",
        )
    values = tuple(
        _statistic(f"{key}.{name}", found[name], feature, where) for name in _NEEDS[mode]
    )
    _check_possible(key, mode, values, where)
    if feature.type == "VISUAL" and mode == "MEAN_STD":
        _check_picture_mean(key, values[0], where)
    return Normalizer(mode, values, eps)


def _statistic(name: str, value: ArrayLike, feature: Feature, where: object) -> Tensor:
    array = np.array(value, dtype=np.float32)
    shape = (feature.shape[0], 1, 1) if feature.type == "VISUAL" else feature.shape
    if array.shape != shape:
        raise CheckpointError.found(
            Code.POLICY_STATISTICS_IMPOSSIBLE,
            where,
            f"shape of {name}",
            expected=shape,
            found=array.shape,
            fix="restore the statistics of the training data",
        )
    if not np.isfinite(array).all():
        raise CheckpointError.found(
            Code.POLICY_STATISTICS_IMPOSSIBLE,
            where,
            f"values of {name}",
            expected="finite numbers",
            found=array.flatten().tolist(),
            fix="recompute the statistics: LeRobot fills unset ones with infinity",
        )
    return torch.from_numpy(array)


def _check_possible(key: str, mode: str, values: tuple[Tensor, ...], where: object) -> None:
    """Zero spread is legal (a joint that never moved), negative spread is not."""
    if mode == "IDENTITY":
        return
    first, second = values
    spread = second if mode == "MEAN_STD" else second - first
    if (spread < 0).any():
        names = _NEEDS[mode]
        raise CheckpointError.found(
            Code.POLICY_STATISTICS_IMPOSSIBLE,
            where,
            f"statistics of {key}",
            expected="std >= 0" if mode == "MEAN_STD" else f"{names[0]} <= {names[1]}",
            found=[v.flatten().tolist() for v in values],
            fix="recompute the statistics of the training data",
        )


def _check_picture_mean(key: str, mean: Tensor, where: object) -> None:
    if ((mean < -_PICTURE_MEAN_SLACK) | (mean > 1 + _PICTURE_MEAN_SLACK)).any():
        raise CheckpointError.found(
            Code.POLICY_STATISTICS_IMAGE_SCALE,
            where,
            f"values of {key}.mean",
            expected="0..1, the range of the pictures they normalize",
            found=mean.flatten().tolist(),
            fix="these are statistics of 0..255 pictures: recompute them and train again",
        )
