"""Is a running policy still fed what it was trained on? Watched against the frozen statistics.

Cheap and bounded: a few numbers per observation, kept over a window. Joints: distance from the
training mean in standard deviations, and how many values lie beyond the training range. Pictures:
the statistics hold a mean and a standard deviation per channel, so a window of pictures is
described by the same two numbers, and their Kullback-Leibler divergence is that of two normal
distributions. Where LeRobot has put ImageNet's in their place, the median and the deciles stored
beside them stand for the two, and the window's own are taken likewise, from a histogram. It notices
light, exposure, a covered lens, exchanged channels or another scene; not an object that moved.
Where nothing describes the pictures, black ones are still noticed. A picture that is the same, byte
for byte, while the joints move is a camera that hangs. Actions: how many lie beyond the training
range, how far; and whether each joint goes where it is sent: from one observation to the next it is
seen to make the step that the chunk had planned, or the opposite one; and by how much later than in
training, where the checkpoint's contract says how late that was.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from armlet.contract import Lag
from armlet.findings import Code, Finding, Severity, worst
from armlet.frozen import fingerprint
from armlet.policies.checkpoint.checkpoint import Checkpoint
from armlet.policies.config.base import ACTION, STATE, camera_name

from .feature_stats import Q10_TO_Q90, Floats, Frozen, divergence, frozen_statistics
from .lag import Following
from .limits import Limits

# Pixels of a picture that enter: their mean is within a grey level of the whole picture's.
_PIXELS = 2_000
# Of a uint8 picture.
_LEVELS = 256
# Values this many spreads beyond least and greatest training value are out of range.
_MARGIN = 0.25
# A picture that repeats so often, so long (s), while a joint moves by so many spreads shows nothing
# of it. Noise changes every picture of a sensor; those of the emulated bench change with the arm.
# An aligner makes no frames of what has repeated for its frozen_s, 1 s by default, and says so.
# Beyond that it does not look, and only this says it.
_REPEATS, _LASTS_S, _MOVES = 3, 1.1, 0.3
# Steps between observations by which a joint's direction is judged; of these so many at least.
_STEPS, _LEAST_STEPS = 30, 6
# A joint that is sent, and goes, less than this in a window (RMS of steps, spreads) does not move.
_STEP = 0.02
# Correlation of steps planned and seen. Where an arm follows it is 0.9 and more, of a joint that is
# read the other way round -0.98; wild plans, which an arm is too slow for, leave joints at -0.65.
_FOLLOWS, _OPPOSES = 0.5, -0.8
# Of the lag's standard deviation over training episodes: within so many it is the training's.
_LAG_SPREADS = 4
_SUBJECTS = {
    STATE: (Code.POLICY_DRIFT_STATE, "state"),
    ACTION: (Code.POLICY_DRIFT_ACTIONS, "actions"),
}


@dataclass(frozen=True)
class DriftSettings:
    """window is a number of observations, chunks and pictures; divergences are in nats.

    sigma: distance of the window's median from the training mean, worst joint. rate: share of
    values beyond the training range, worst joint. dark: mean of every channel (0..1) below which
    pictures are black, where nothing is known of the training's. warn_lag_s: by how much later
    than in training the state may follow the commands. Arms of another make and load differ by
    0.03 s, and so much a motion of few seconds may mistake it. Raises ValueError where stop is
    before warn.
    """

    window: int = 150
    warn_sigma: float = 4.0
    stop_sigma: float = 8.0
    warn_rate: float = 0.2
    stop_rate: float = 0.6
    warn_divergence: float = 0.5
    stop_divergence: float = 2.0
    dark: float = Limits.dark
    warn_lag_s: float = 0.06

    def __post_init__(self) -> None:
        if self.window < 1:
            raise ValueError(f"window must be at least 1, found {self.window}")
        if not 0 <= self.dark < 1:
            raise ValueError(f"dark: expected 0 to 1, of which white is 1, found {self.dark}")
        if not self.warn_lag_s > 0:
            raise ValueError(f"expected warn_lag_s > 0, found {self.warn_lag_s}")
        for name in ("sigma", "rate", "divergence"):
            warn, stop = getattr(self, f"warn_{name}"), getattr(self, f"stop_{name}")
            if not 0 < warn <= stop:
                raise ValueError(
                    f"expected 0 < warn_{name} <= stop_{name}, found {warn} and {stop}; "
                    "a policy is warned of before it is stopped"
                )


class Drift:
    """Windows of what a policy reads and gives. Fed and read from any threads."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        state_names: Sequence[str] = (),
        action_names: Sequence[str] = (),
        settings: DriftSettings | None = None,
    ) -> None:
        self.settings = settings or DriftSettings()
        frozen = frozen_statistics(checkpoint)
        self._lock = threading.Lock()
        self._vectors: dict[str, _Vectors] = {}
        for key, names in ((STATE, state_names), (ACTION, action_names)):
            if key in frozen and frozen[key].is_known:
                self._vectors[key] = _Vectors(frozen[key], names, self.settings)
        self._cameras = {
            camera_name(key): _Pictures(feature, self.settings)
            for key, feature in frozen.items()
            if feature.kind == "VISUAL"
        }
        self._frozen = {name: _Frozen() for name in self._cameras}
        self._place: Floats | None = None
        joint_names = tuple(state_names) == tuple(action_names) and state_names
        self._direction = _Direction(state_names if joint_names else ())
        self._lag: _Lag | None = None
        contract = checkpoint.contract
        if contract is not None and contract.lag is not None and joint_names:
            self._lag = _Lag(contract.lag, contract.fps, self.settings)

    def state(self, state: NDArray[np.floating]) -> None:
        """One observation's joint state (n,), dataset units."""
        with self._lock:
            if STATE in self._vectors:
                self._vectors[STATE].add(np.asarray(state, np.float64)[None])
                self._place = self._vectors[STATE].in_spreads(state)

    def actions(self, chunk: NDArray[np.floating]) -> None:
        """One chunk (C, n), dataset units."""
        with self._lock:
            if ACTION in self._vectors:
                self._vectors[ACTION].add(np.asarray(chunk, np.float64))

    def planned(self, chunk: NDArray[np.floating], index: int, past: int | None = None) -> None:
        """The chunk (C, n), dataset units, for the observation whose state was given last.

        index: of that observation on the frame grid; row i of the chunk is due at index + i. past:
        rows that were past when it was sent; None if it was not.
        """
        with self._lock:
            if STATE in self._vectors and self._place is not None:
                rows = self._vectors[STATE].in_spreads(chunk)
                self._direction.add(self._place, rows, index)
                if self._lag is not None and past is not None:
                    self._lag.following.add(self._place, rows, index, index + past)

    def pictures(self, images: Mapping[str, NDArray[np.uint8]], at_s: float) -> None:
        """The pictures (H, W, 3) RGB of the observation whose state was given last, and its time.

        Cameras the policy does not read are passed.
        """
        for name, camera in self._cameras.items():
            if name in images:
                levels = _histogram(images[name])
                seen = fingerprint(np.ascontiguousarray(images[name]))
                with self._lock:
                    camera.add(levels)
                    self._frozen[name].add(seen, at_s, self._place)

    def findings(self) -> list[Finding]:
        """State, actions and every camera; those without data yet are absent.

        WARNING: unlike the training data. ERROR: too unlike for a policy to go on unattended.
        """
        with self._lock:
            vectors = [
                vector.finding(*_SUBJECTS[key])
                for key, vector in self._vectors.items()
                if vector.fed
            ]
            cameras = [c.finding(f"camera {name}") for name, c in self._cameras.items() if c.fed]
            frozen = [
                each.finding(f"camera {name}") for name, each in self._frozen.items() if each.is_so
            ]
            joints = self._direction.findings()
            if self._lag is not None:
                joints += self._lag.findings()
        return vectors + cameras + frozen + joints

    @property
    def worst(self) -> Severity:
        return worst(self.findings())

    def tune(self, settings: DriftSettings) -> None:
        """Judge what was seen by other thresholds; the window keeps its length."""
        with self._lock:
            self.settings = settings
            for vectors in self._vectors.values():
                vectors.settings = settings
            for camera in self._cameras.values():
                camera.settings = settings
            if self._lag is not None:
                self._lag.settings = settings

    def reset(self) -> None:
        """Forget the windows: after a refusal, a pause or a change of scene."""
        with self._lock:
            for vectors in self._vectors.values():
                vectors.clear()
            for camera in self._cameras.values():
                camera.clear()
            self._frozen = {name: _Frozen() for name in self._cameras}
            self._place = None
            self._direction.clear()
            if self._lag is not None:
                self._lag.following.clear()


class _Vectors:
    """A window of vectors: the median of each batch, and the share of it out of range."""

    def __init__(self, frozen: Frozen, names: Sequence[str], settings: DriftSettings) -> None:
        assert frozen.mean is not None
        self._mean, self._spread = frozen.mean, frozen.spread()
        margin = _MARGIN * self._spread
        ranged = frozen.low is not None and frozen.high is not None
        # Without a stored range, three spreads stand for it: 0.3 % of normal values lie beyond.
        low = frozen.low if ranged and frozen.low is not None else self._mean - 3 * self._spread
        high = frozen.high if ranged and frozen.high is not None else self._mean + 3 * self._spread
        self._low, self._high = low - margin, high + margin
        self._names = [name.removesuffix(".pos") for name in names]
        self.settings = settings
        self._medians: deque[Floats] = deque(maxlen=settings.window)
        self._outside: deque[Floats] = deque(maxlen=settings.window)

    @property
    def fed(self) -> bool:
        return bool(self._medians)

    def add(self, rows: Floats) -> None:
        if rows.ndim != 2 or rows.shape[1] != len(self._mean) or not len(rows):
            return
        self._medians.append(np.median(rows, axis=0))
        # Not "below or above": NaN is neither, and is outside.
        inside = (rows >= self._low) & (rows <= self._high)
        self._outside.append(1.0 - inside.mean(axis=0))

    def in_spreads(self, row: NDArray[np.floating]) -> Floats:
        """A vector (n,) from the training mean, in standard deviations."""
        place: Floats = (np.asarray(row, np.float64) - self._mean) / self._spread
        return place

    def clear(self) -> None:
        self._medians.clear()
        self._outside.clear()

    def finding(self, code: Code, subject: str) -> Finding:
        settings = self.settings
        median = np.median(np.stack(self._medians), axis=0)
        sigma = np.abs(median - self._mean) / self._spread
        sigma = np.where(np.isfinite(sigma), sigma, np.inf)
        rate = np.mean(np.stack(self._outside), axis=0)
        far, out = int(np.argmax(sigma)), int(np.argmax(rate))
        severities = (
            _severity(float(sigma[far]), settings.warn_sigma, settings.stop_sigma),
            _severity(float(rate[out]), settings.warn_rate, settings.stop_rate),
        )
        severity = max(severities, key=lambda each: each.rank)
        words = (
            f"{self._name(far)} is {sigma[far]:.1f} sigma from the training mean, "
            f"{self._name(out)} is beyond the training range in {100 * rate[out]:.0f} % of values"
        )
        if severity is Severity.OK:
            words = f"as in training ({words})"
        values = {"sigma": float(sigma[far]), "out_of_range_rate": float(rate[out])}
        for index in range(len(sigma)):
            values[f"sigma {self._name(index)}"] = float(sigma[index])
        return _finding(code, severity, subject, words, values)

    def _name(self, index: int) -> str:
        return self._names[index] if index < len(self._names) else f"entry {index}"


class _Direction:
    """Steps of the joints as they were planned and as they were seen, in training spreads.

    names: of the joints, where state and action have the same; else nothing is judged.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names = [name.removesuffix(".pos") for name in names]
        self._steps: deque[tuple[Floats, Floats]] = deque(maxlen=_STEPS)
        self._last: tuple[Floats, Floats, int] | None = None

    def clear(self) -> None:
        self._steps.clear()
        self._last = None

    def add(self, place: Floats, rows: Floats, index: int) -> None:
        """Where the joints are (n,), and where a chunk sends them from there (C, n)."""
        if not self._names or rows.ndim != 2 or rows.shape[1:] != place.shape:
            return
        if self._last is not None:
            before, plan, then = self._last
            if 0 < index - then < len(plan):
                self._steps.append((plan[index - then] - plan[0], place - before))
        self._last = place, rows, index

    def findings(self) -> list[Finding]:
        """An error for each joint that goes the other way, while the others follow."""
        if len(self._steps) < _LEAST_STEPS:
            return []
        planned, made = (np.stack(steps) for steps in zip(*self._steps, strict=True))
        sent, went = (np.sqrt((steps**2).mean(axis=0)) for steps in (planned, made))
        moving = (sent > _STEP) & (went > _STEP)
        likeness = (planned * made).mean(axis=0) / np.maximum(sent * went, 1e-12)
        # Of an arm that a person has taken over no joint need follow.
        if not 2 * np.count_nonzero(likeness[moving] > _FOLLOWS) > np.count_nonzero(moving):
            return []
        return [
            self._finding(int(joint), float(likeness[joint]))
            for joint in np.flatnonzero(moving & (likeness < _OPPOSES))
        ]

    def _finding(self, joint: int, likeness: float) -> Finding:
        words = (
            f"goes the other way than it is sent (correlation {likeness:.2f}), and the others "
            "follow: its sign, or its calibration, is not the training's"
        )
        code = Code.POLICY_DRIFT_INVERTED
        return _finding(code, Severity.ERROR, f"joint {self._names[joint]}", words, {})


class _Lag:
    """By how much the arm follows later than in training."""

    def __init__(self, trained: Lag, fps: int, settings: DriftSettings) -> None:
        self._trained, self.settings = trained, settings
        self.following = Following(fps)

    def findings(self) -> list[Finding]:
        """One, as of the newest motion that told it; none before."""
        found_s, trained_s = self.following.lag_s(), self._trained.median_s
        if found_s is None:
            return []
        allowed_s = max(self.settings.warn_lag_s, _LAG_SPREADS * self._trained.spread_s)
        late = found_s > trained_s + allowed_s
        words = f"{found_s:.2f} s behind its commands, {trained_s:.2f} s in training"
        if late:
            words += (
                ": observations are older than their stamps say (clocks of two computers, stamps "
                "given on arrival), or the arm follows more slowly (speed limits, load, supply)"
            )
        severity = Severity.WARNING if late else Severity.OK
        values = {"lag_s": found_s, "trained_lag_s": trained_s}
        return [_finding(Code.POLICY_DRIFT_LAG, severity, "state", words, values)]


class _Frozen:
    """How often a camera's picture has repeated, and how far the arm moved meanwhile."""

    def __init__(self) -> None:
        self._print: int | None = None
        self._since: Floats | None = None
        self._since_s = self._lasted_s = 0.0
        self._repeats = 0
        self._moved = 0.0

    def add(self, seen: int, at_s: float, place: Floats | None) -> None:
        """A picture's fingerprint, and where the arm is (n,), in training spreads, if known."""
        if seen != self._print or self._since is None or place is None:
            self._print, self._since, self._repeats, self._moved = seen, place, 0, 0.0
            self._since_s, self._lasted_s = at_s, 0.0
            return
        self._repeats += 1
        self._lasted_s = at_s - self._since_s
        self._moved = max(self._moved, float(np.abs(place - self._since).max()))

    @property
    def is_so(self) -> bool:
        lasts = self._repeats >= _REPEATS and self._lasted_s >= _LASTS_S
        return lasts and self._moved > _MOVES

    def finding(self, subject: str) -> Finding:
        words = (
            f"the same picture in {self._repeats + 1} observations while a joint moved by "
            f"{self._moved:.1f} sigma: the camera hangs, or repeats its last picture"
        )
        return _finding(Code.POLICY_DRIFT_FROZEN, Severity.ERROR, subject, words, {})


class _Pictures:
    """A window of per-picture histograms; together those of all the window's pixels."""

    def __init__(self, frozen: Frozen, settings: DriftSettings) -> None:
        self._frozen, self.settings = frozen, settings
        self._levels: deque[NDArray[np.uint32]] = deque(maxlen=settings.window)

    @property
    def fed(self) -> bool:
        return bool(self._levels)

    def add(self, levels: NDArray[np.uint32]) -> None:
        self._levels.append(levels)

    def clear(self) -> None:
        self._levels.clear()

    def finding(self, subject: str) -> Finding:
        settings, frozen = self.settings, self._frozen
        levels: NDArray[np.int64] = np.stack(self._levels).sum(axis=0, dtype=np.int64)
        mean, std = _moments(levels)
        values = {f"{name} mean": float(m) for name, m in zip("RGB", mean, strict=True)}
        values |= {f"{name} std": float(s) for name, s in zip("RGB", std, strict=True)}
        code = Code.POLICY_DRIFT_CAMERA
        if frozen.mean is None:
            if mean.max() < settings.dark:
                words = f"black pictures (RGB {_shown(mean, std)}): a covered lens, or no light"
                return _finding(code, Severity.ERROR, subject, words, values)
            words = "cannot be judged: the checkpoint holds no statistics of this camera's own"
            return _finding(code, Severity.OPEN, subject, words, values)
        if frozen.origin == "quantiles":
            mean, std = _median_and_spread(levels)
        kl = float(divergence(mean, std, frozen.mean, frozen.spread()).mean())
        values["divergence"] = kl
        severity = _severity(kl, settings.warn_divergence, settings.stop_divergence)
        trained = _shown(frozen.mean, frozen.spread())
        by = " by median and deciles" if frozen.origin == "quantiles" else ""
        words = (
            f"divergence {kl:.2g} from training{by} (RGB {_shown(mean, std)}, trained on {trained})"
        )
        return _finding(code, severity, subject, words, values)


def _shown(mean: Floats, std: Floats) -> str:
    return " ".join(f"{m:.2f}±{s:.2f}" for m, s in zip(mean, std, strict=True))


def _finding(
    code: Code, severity: Severity, subject: str, found: str, values: Mapping[str, float]
) -> Finding:
    return Finding(code, severity, subject, found=found, values=values)


def _histogram(image: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """How many of a picture's pixels have each level, per channel: (3, 256)."""
    step = max(1, int(np.sqrt(image.shape[0] * image.shape[1] / _PIXELS)))
    pixels = image[::step, ::step].reshape(-1, 3)
    counts = [np.bincount(channel, minlength=_LEVELS) for channel in pixels.T]
    return np.stack(counts).astype(np.uint32)


def _moments(levels: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Mean and standard deviation per channel, 0..1, of pixels by level (3, 256)."""
    at = np.arange(_LEVELS) / (_LEVELS - 1)
    total = levels.sum(axis=1)
    mean = levels @ at / total
    return mean, np.sqrt(np.maximum(levels @ at**2 / total - mean**2, 0.0))


def _median_and_spread(levels: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """The same by median and deciles, as Frozen has them where its origin is `quantiles`."""
    below = np.cumsum(levels, axis=1) / levels.sum(axis=1, keepdims=True)
    q10, q50, q90 = (
        np.array([np.searchsorted(row, share) for row in below]) / (_LEVELS - 1)
        for share in (0.1, 0.5, 0.9)
    )
    return q50, (q90 - q10) / Q10_TO_Q90


def _severity(value: float, warn: float, stop: float) -> Severity:
    # A NaN is no number to go on with.
    if not value <= stop:
        return Severity.ERROR
    return Severity.WARNING if value > warn else Severity.OK
