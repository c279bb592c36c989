"""Does a policy answer to what it sees? Its network is asked, with inputs exchanged between frames.

Files cannot show that a head is zeroed, permuted, or that an input is not connected: every tensor
has its shape and its numbers are numbers. So the network is run, through the policy's own
Preprocessor and with the same noise each time, so that only the input differs:

- on frames of a recording; the spread of its answers is held against that of the recorded actions,
  and each joint's answers against its actions (likeness);
- on the pictures of one frame with the joints of another, and the reverse; a camera whose pictures
  are alike there, as a covered one's are, has its negatives instead;
- where all frames are alike, as before an arm that waits, on the frame with its pictures as
  negatives and its joints on the other side of the training mean.

Everything is counted in standard deviations of the training's actions.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from armlet.findings import Code, Finding, Severity
from armlet.policies.checkpoint.checkpoint import Checkpoint
from armlet.policies.config.base import ACTION, ENVIRONMENT, STATE, camera_name
from armlet.policies.observation import Observation, ObservationError

from .feature_stats import Floats, frozen_statistics
from .likeness import likeness_findings
from .limits import Limits
from .samples import Moment
from .statistics import best_order

Answer = Callable[[Observation], NDArray[np.float32]]
"""A policy's chunk (C, n) for an observation, dataset units, from the same noise each time."""

# Inputs are exchanged at every so many of the frames: a share needs fewer frames than a spread.
_EXCHANGED = 4
# A joint whose recorded actions spread less than this (training std) has nothing to answer with.
_MOVES = 0.1
# Joints of frames that are all nearer to each other than this (training std) are one pose.
_ONE_POSE = 0.5
# Pictures that differ by less than this, RMS in 0..1, differ by a sensor's noise of some levels;
# where the arm has moved it is 0.05 and more.
_SAME_PICTURE = 0.02
# Of an arm that waits: joints go so far to the other side of the training mean.
_OTHER_SIDE = 1.5
# Answers that explain less of the recorded actions' variance are no explanation.
_EXPLAINS = 0.5
# Of a single pose: permuted joints must be this many times nearer to it than those as named.
_MUCH_NEARER = 10.0
# Inputs that are far away change an answer more than frames of a recording do.
_STILL_WILD = 10.0
_RESTORE = "restore model.safetensors from the training run, or train again"


@dataclass(frozen=True)
class _Asked:
    """A policy that answers in training standard deviations, and what it reads."""

    answer: Answer
    centre: Floats
    scale: Floats
    cameras: tuple[str, ...]
    reads_state: bool

    def __call__(self, observation: Observation) -> Floats:
        """The chunk (C, n)."""
        chunk = self.answer(observation)
        normal: Floats = (chunk.astype(np.float64) - self.centre) / self.scale
        return normal


@dataclass(frozen=True)
class _Effects:
    """How much of an answer an input accounts for: RMS changes, in training std."""

    total: float
    pictures: float
    state: float
    cameras: tuple[float, ...]


def response_findings(
    checkpoint: Checkpoint,
    answer: Answer,
    source: str,
    moments: Sequence[Moment],
    names: Sequence[str],
    limits: Limits | None = None,
    trained: bool = True,
) -> Iterator[Finding]:
    """Lines of one source. moments are its frames; one, or frames all alike, are enough for the
    inputs but not for the spread. names are those of the action's joints. trained: whether the
    policy was trained on this source, as far as its statistics say."""
    limits = limits or Limits()
    item = f"answers to the {source}"
    why = _unaskable(checkpoint, moments)
    if why:
        yield _unknown(item, why)
        return
    try:
        asked = _asked(checkpoint, answer, moments)
        yield from _lines(asked, checkpoint, item, moments, names, limits, trained)
    except ObservationError:
        return  # the line about the input says it, and how to fix it
    except FloatingPointError as error:
        yield Finding(
            Code.POLICY_ACTIONS_NOT_FINITE,
            Severity.ERROR,
            item,
            "finite actions for recorded observations",
            str(error).partition(":")[0],
            _RESTORE,
        )


def _unaskable(checkpoint: Checkpoint, moments: Sequence[Moment]) -> str:
    if not moments:
        return "no frame with all that the policy reads"
    bare = any(moment.observation.environment_state is None for moment in moments)
    if ENVIRONMENT in checkpoint.config.used_features and bare:
        return "the policy reads an environment state, which is a simulator's"
    return ""


def _unknown(item: str, why: str) -> Finding:
    return Finding(
        Code.POLICY_RESPONSE_UNKNOWN,
        Severity.OPEN,
        item,
        "answers that follow what is seen",
        f"the policy was not asked: {why}",
        "give --dataset with its videos",
    )


def _asked(checkpoint: Checkpoint, answer: Answer, moments: Sequence[Moment]) -> _Asked:
    config = checkpoint.config
    frozen = frozen_statistics(checkpoint)[ACTION]
    if frozen.mean is not None:
        centre, scale = frozen.mean, frozen.spread()
    else:
        rows = [m.actions for m in moments if m.actions is not None]
        actions = np.concatenate(rows) if rows else np.zeros((1, config.action_size))
        centre, scale = actions.mean(axis=0), np.maximum(actions.std(axis=0), 1.0)
    cameras = tuple(camera_name(key) for key in config.image_features)
    return _Asked(answer, centre, scale, cameras, STATE in config.used_features)


def _lines(
    asked: _Asked,
    checkpoint: Checkpoint,
    item: str,
    moments: Sequence[Moment],
    names: Sequence[str],
    limits: Limits,
    trained: bool,
) -> Iterator[Finding]:
    places = _places(checkpoint, moments)
    apart = _distances(places)
    if len(moments) < 2 or (asked.reads_state and apart.max() < _ONE_POSE):
        yield from _still_lines(asked, checkpoint, item, moments[0].observation, names, limits)
        return
    answers = np.stack([asked(moment.observation) for moment in moments])
    partners = [int(np.argmax(row)) for row in apart]
    spread = _Spread.of(answers, moments, asked)
    constant = _constant(item, answers, spread, limits)
    if constant is not None:
        yield constant
        return
    effects = _exchanged(asked, moments, answers, partners)
    yield from _stuck_lines(answers, spread, names, limits)
    permuted = _permuted(item, answers, spread, names, limits)
    if permuted is not None:
        yield permuted
    elif spread.recorded is not None and spread.share <= limits.wild:
        joints = [int(joint) for joint in np.flatnonzero(spread.moving)]
        called = [_name(names, joint) for joint in range(answers.shape[2])]
        recorded = spread.recorded
        yield from likeness_findings(item, joints, answers, recorded, called, limits, trained)
    blind = [*_blind_lines(asked, item, effects, limits)]
    yield from blind
    yield _spread_line(asked, item, spread, effects, limits)


# --- frames of a recording ------------------------------------------------------------------------


def _places(checkpoint: Checkpoint, moments: Sequence[Moment]) -> Floats:
    """Where the arm was in each moment, in training standard deviations: (N, n)."""
    states = np.stack([moment.observation.state for moment in moments]).astype(np.float64)
    frozen = frozen_statistics(checkpoint).get(STATE)
    if frozen is None or frozen.mean is None or len(frozen.mean) != states.shape[1]:
        own: Floats = states / np.maximum(states.std(axis=0), 1e-6)
        return own
    normal: Floats = (states - frozen.mean) / frozen.spread()
    return normal


def _distances(places: Floats) -> Floats:
    """RMS over joints between all pairs (N, N)."""
    gaps: Floats = np.sqrt(((places[:, None] - places[None]) ** 2).mean(axis=2))
    return gaps


@dataclass(frozen=True)
class _Spread:
    """Spread over frames, per joint (n,), of the answers and of the recorded actions.

    recorded (N, C, n) holds NaN where an episode was over; None where nothing was recorded.
    """

    answers: Floats
    demonstrated: Floats
    recorded: Floats | None

    @classmethod
    def of(cls, answers: Floats, moments: Sequence[Moment], asked: _Asked) -> _Spread:
        """Where nothing was recorded, one training std stands for what the actions spread."""
        own = np.sqrt(answers.var(axis=0).mean(axis=0))
        if any(moment.actions is None for moment in moments):
            return cls(own, np.ones_like(own), None)
        recorded = np.full(answers.shape, np.nan)
        for row, moment in enumerate(moments):
            assert moment.actions is not None
            actions = moment.actions[: answers.shape[1]]
            recorded[row, : len(actions)] = (actions - asked.centre) / asked.scale
        # Steps that few frames reached have no spread to speak of.
        reached = (~np.isnan(recorded[..., 0])).sum(axis=0) >= max(2, len(moments) // 2)
        demonstrated = np.sqrt(np.nanvar(recorded[:, reached], axis=0).mean(axis=0))
        return cls(np.sqrt(answers[:, reached].var(axis=0).mean(axis=0)), demonstrated, recorded)

    @property
    def moving(self) -> NDArray[np.bool_]:
        """The joints whose actions changed at all: (n,)."""
        return self.demonstrated > _MOVES

    @property
    def share(self) -> float:
        """The answers' spread over that of the recorded actions, of the joints that moved."""
        moving = self.moving
        return _rms(self.answers[moving]) / max(_rms(self.demonstrated[moving]), 1e-9)


def _rms(values: Floats) -> float:
    return float(np.sqrt((values**2).mean())) if values.size else 0.0


def _constant(item: str, answers: Floats, spread: _Spread, limits: Limits) -> Finding | None:
    if not spread.moving.any():
        return _unknown(item, "the recorded actions are all alike")
    if spread.share >= limits.constant:
        return None
    mean = np.abs(answers).max() < limits.constant
    return Finding(
        Code.POLICY_ACTIONS_CONSTANT,
        Severity.ERROR,
        item,
        f"actions that follow what is seen (the recorded ones spread "
        f"{_rms(spread.demonstrated[spread.moving]):.2g} training std)",
        f"the same actions for {len(answers)} different observations"
        + (", the mean of the training data" if mean else ""),
        f"the head{'' if mean else ', or all before it,'} is zeroed: {_RESTORE}",
        f"their spread is {spread.share:.2g} of the recorded actions'",
    )


def _stuck_lines(
    answers: Floats, spread: _Spread, names: Sequence[str], limits: Limits
) -> Iterator[Finding]:
    """Joints that are answered with one value while the recorded actions move them."""
    if spread.recorded is None:
        return
    shares = spread.answers / np.maximum(spread.demonstrated, 1e-9)
    for joint in np.flatnonzero(spread.moving & (shares < limits.constant)):
        yield Finding(
            Code.POLICY_ACTIONS_CONSTANT,
            Severity.ERROR,
            f"answers of {_name(names, int(joint))}",
            f"actions that follow what is seen (the recorded ones spread "
            f"{spread.demonstrated[joint]:.2g} training std)",
            f"the same for {len(answers)} different observations",
            f"the head's row of this joint is zeroed: {_RESTORE}",
        )


def _permuted(
    item: str, answers: Floats, spread: _Spread, names: Sequence[str], limits: Limits
) -> Finding | None:
    """Whether answers are the recorded actions with joints exchanged."""
    if spread.recorded is None:
        return None
    gaps = (answers[..., :, None] - spread.recorded[..., None, :]) ** 2
    costs = np.nanmean(gaps, axis=(0, 1))
    as_is = float(np.trace(costs)) / len(costs)
    order, best = best_order(costs)
    rows = np.arange(len(costs))
    # A joint that stands still is as well explained by any other one: no reason to exchange it.
    variance = np.nanvar(spread.recorded, axis=(0, 1))
    explained = 1 - costs[rows, order][spread.moving].mean() / variance[spread.moving].mean()
    if as_is <= limits.misplaced or best * limits.times >= as_is or explained < _EXPLAINS:
        return None
    moved = _moved(order, costs, names, limits)
    return Finding(
        Code.POLICY_ACTIONS_PERMUTED,
        Severity.ERROR,
        item,
        "each joint's actions in its place",
        "; ".join(moved),
        f"the head's rows are permuted: {_RESTORE}",
        f"mean squared error {as_is:.2g} training variances as they are, {best:.2g} in that order",
    )


def _moved(
    order: Sequence[int], costs: Floats, names: Sequence[str], limits: Limits
) -> Iterator[str]:
    """The joints of another order; not those that move alike, which any order suits."""
    for i, j in enumerate(order):
        if costs[i, i] > limits.times * costs[i, j]:
            yield f"{_name(names, i)} has the actions of {_name(names, j)}"


def _exchanged(
    asked: _Asked, moments: Sequence[Moment], answers: Floats, partners: Sequence[int]
) -> _Effects:
    """Pictures of the frame with the farthest joints, and its joints, in place of a frame's own."""
    rows = range(0, len(moments), _EXCHANGED)

    def effect(pictures: Collection[str], state: bool) -> float:
        changes = []
        for row in rows:
            own = moments[row].observation
            other = _unlike(own, moments[partners[row]].observation)
            changes.append(asked(_mixed(own, other, pictures, state)) - answers[row])
        return _rms(np.stack(changes))

    total = _rms(np.stack([answers[partners[row]] - answers[row] for row in rows]))
    return _effects(asked, total, effect)


def _unlike(own: Observation, other: Observation) -> Observation:
    """other, with negatives of own pictures where its own do not differ from them."""

    def one(a: Observation, b: Observation) -> Observation:
        images = {
            name: np.subtract(255, a.images[name]) if _alike(a.images[name], image) else image
            for name, image in b.images.items()
        }
        return dataclasses.replace(b, images=images)

    earlier = tuple(one(a, b) for a, b in zip(own.earlier, other.earlier, strict=True))
    return dataclasses.replace(one(own, other), earlier=earlier)


def _alike(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> bool:
    return _rms((a.astype(np.float64) - b) / 255) < _SAME_PICTURE


def _effects(
    asked: _Asked, total: float, effect: Callable[[Collection[str], bool], float]
) -> _Effects:
    cameras = asked.cameras
    pictures = effect(cameras, False) if cameras else 0.0
    single = (
        (pictures,) if len(cameras) == 1 else tuple(effect((camera,), False) for camera in cameras)
    )
    state = effect((), True) if asked.reads_state else 0.0
    return _Effects(total, pictures, state, single)


def _mixed(
    own: Observation, other: Observation, pictures: Collection[str], state: bool
) -> Observation:
    """own with the pictures of some cameras, or the joints, of other; history likewise.

    A simulator's environment state goes with the joints.
    """

    def one(a: Observation, b: Observation) -> Observation:
        images = {name: (b if name in pictures else a).images[name] for name in a.images}
        vectors = b if state else a
        environment = vectors.environment_state
        return dataclasses.replace(
            a, images=images, state=vectors.state, environment_state=environment
        )

    earlier = tuple(one(a, b) for a, b in zip(own.earlier, other.earlier, strict=True))
    return dataclasses.replace(one(own, other), earlier=earlier)


def _blind_lines(asked: _Asked, item: str, effects: _Effects, limits: Limits) -> Iterator[Finding]:
    """Inputs that change next to nothing; a single one of several cameras is not refused."""
    whole = max(effects.total, effects.pictures, effects.state)
    inputs = []
    if asked.cameras:
        inputs.append((Code.POLICY_BLIND_TO_PICTURES, "pictures", effects.pictures))
    if asked.reads_state:
        inputs.append((Code.POLICY_BLIND_TO_STATE, "joints", effects.state))
    if len(asked.cameras) > 1 and effects.pictures >= limits.blind * whole:
        inputs += [
            (Code.POLICY_BLIND_TO_CAMERA, f"pictures of camera {camera}", effect)
            for camera, effect in zip(asked.cameras, effects.cameras, strict=True)
        ]
    for code, what, effect in inputs:
        refused = effect < limits.unconnected * whole and code is not Code.POLICY_BLIND_TO_CAMERA
        if refused or effect < limits.blind * whole:
            severity = Severity.ERROR if refused else Severity.WARNING
            yield _blind(code, severity, item, what, f"by {effect:.2g} training std", whole)


def _blind(
    code: Code, severity: Severity, item: str, what: str, changes: str, whole: float
) -> Finding:
    connected = (
        f"the network's input of {what} is not connected, or its weights are zeroed: {_RESTORE}"
        if severity is Severity.ERROR
        else f"in training nothing depended on the {what}, or they never changed: look at the "
        "training pictures and joints, and train again"
    )
    return Finding(
        code,
        severity,
        item,
        f"other actions for other {what}",
        f"the same actions whatever the {what}",
        connected,
        f"{what} change an answer {changes}, all inputs by {whole:.2g}",
    )


def _spread_line(
    asked: _Asked, item: str, spread: _Spread, effects: _Effects, limits: Limits
) -> Finding:
    parts = [f"spread {spread.share:.2g} of the {_measure(spread)}"]
    whole = max(effects.total, 1e-12)
    if asked.cameras:
        parts.append(f"pictures account for {effects.pictures / whole:.2g} of a change")
    if asked.reads_state:
        parts.append(f"joints for {effects.state / whole:.2g}")
    found = ", ".join(parts)
    if spread.share > limits.wild:
        return _wild(item, f"at most {limits.wild:g} times the {_measure(spread)}", found)
    if spread.share >= limits.faint:
        return Finding(Code.POLICY_ACTIONS_FAINT, Severity.OK, item, found=found)
    return Finding(
        Code.POLICY_ACTIONS_FAINT,
        Severity.WARNING,
        item,
        f"a spread of {limits.faint:g} and more",
        found,
        "the policy was hardly trained, or its weights are not those of training: train longer, or "
        "restore model.safetensors",
    )


def _wild(item: str, expected: str, found: str) -> Finding:
    return Finding(
        Code.POLICY_ACTIONS_WILD,
        Severity.ERROR,
        item,
        f"a spread of {expected}",
        found,
        f"the head's weights are too large: {_RESTORE}",
    )


def _measure(spread: _Spread) -> str:
    return "training std" if spread.recorded is None else "recorded actions'"


# --- an arm that waits ----------------------------------------------------------------------------


def _still_lines(
    asked: _Asked,
    checkpoint: Checkpoint,
    item: str,
    observation: Observation,
    names: Sequence[str],
    limits: Limits,
) -> Iterator[Finding]:
    """One frame, and the same with each input far away."""
    other = _elsewhere(checkpoint, observation)
    own = asked(observation)
    total = _rms(asked(other) - own)
    effects = _effects(
        asked,
        total,
        lambda pictures, state: _rms(asked(_mixed(observation, other, pictures, state)) - own),
    )
    most = max(effects.total, effects.pictures, effects.state)
    if most < limits.constant:
        yield Finding(
            Code.POLICY_ACTIONS_CONSTANT,
            Severity.ERROR,
            item,
            "other actions for other pictures and joints",
            "the same actions whatever is seen",
            f"the head, or all before it, is zeroed: {_RESTORE}",
            f"inputs change an answer by {most:.2g} training std",
        )
        return
    yield from _blind_lines(asked, item, effects, limits)
    displaced = _displaced(checkpoint, item, own, observation, asked, names, limits)
    if displaced is not None:
        yield displaced
    found = f"inputs change an answer by {most:.2g} training std"
    if most > _STILL_WILD * limits.wild:
        yield _wild(item, f"at most {_STILL_WILD * limits.wild:g} training std", found)
        return
    yield Finding(Code.POLICY_ACTIONS_CONSTANT, Severity.OK, item, found=found)


def _elsewhere(checkpoint: Checkpoint, observation: Observation) -> Observation:
    """Negatives of the pictures, joints on the other side of their training mean."""
    frozen = frozen_statistics(checkpoint).get(STATE)

    def one(seen: Observation) -> Observation:
        images = {name: np.subtract(255, image) for name, image in seen.images.items()}
        state = seen.state
        if frozen is not None and frozen.mean is not None:
            way = np.where(state > frozen.mean, -_OTHER_SIDE, _OTHER_SIDE) * frozen.spread()
            state = (frozen.mean + way).astype(np.float32)
        return dataclasses.replace(seen, images=images, state=state)

    return dataclasses.replace(
        one(observation), earlier=tuple(one(seen) for seen in observation.earlier)
    )


def _displaced(
    checkpoint: Checkpoint,
    item: str,
    own: Floats,
    observation: Observation,
    asked: _Asked,
    names: Sequence[str],
    limits: Limits,
) -> Finding | None:
    """Whether the first action is the pose with joints exchanged: goals begin where the arm is.

    Of one pose only, so that it is no more than a warning.
    """
    frozen = frozen_statistics(checkpoint).get(STATE)
    action = frozen_statistics(checkpoint)[ACTION]
    state = observation.state.astype(np.float64)
    if frozen is None or frozen.mean is None or action.mean is None or len(state) != own.shape[1]:
        return None
    # Actions that are no positions of these joints have other statistics.
    if (np.abs(frozen.mean - action.mean) > frozen.spread() + action.spread()).any():
        return None
    costs = (own[0][:, None] - ((state - asked.centre) / asked.scale)[None]) ** 2
    as_is = float(np.trace(costs)) / len(costs)
    order, best = best_order(costs)
    if as_is <= limits.misplaced or best * _MUCH_NEARER >= min(as_is, limits.misplaced):
        return None
    moved = _moved(order, costs, names, limits)
    return Finding(
        Code.POLICY_ACTIONS_PERMUTED,
        Severity.WARNING,
        item,
        "a first action near the arm's pose",
        "; ".join(moved),
        "check the policy with `armlet policy check --dataset`, which compares it with recorded "
        "actions",
        f"mean squared distance {as_is:.2g} training variances as it is, {best:.2g} in that order",
    )


def _name(names: Sequence[str], index: int) -> str:
    return names[index].removesuffix(".pos") if index < len(names) else f"entry {index}"
