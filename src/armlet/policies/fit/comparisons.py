"""Samples compared with frozen statistics: which explanation of what is seen fits best?

Nothing here is certain: scenes change, arms rest. An explanation is believed when what is seen fits
the statistics badly as it is, and several times better with cameras, channels, joints or units
exchanged; then the line says how much better. Where the statistics cannot tell, the line says so.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from armlet.findings import Code, Finding, Severity
from armlet.policies.checkpoint.checkpoint import Checkpoint
from armlet.policies.config.base import ACTION, ENVIRONMENT, STATE, camera_name
from armlet.policies.observation import Observation, ObservationError

from .feature_stats import Floats, Frozen, describe, divergence, frozen_statistics, unlike
from .limits import Limits
from .network_input import NetworkInput, input_finding, network_inputs
from .samples import Look, Samples, look, nearest
from .statistics import best_order

# Thumbnails differ by this, RMS, when nothing but the arm moved.
_SAME_PLACE = 0.03


def distribution_findings(
    checkpoint: Checkpoint,
    samples: Samples,
    joint_units: str | None,
    names: Sequence[str],
    training: Samples | None = None,
    limits: Limits | None = None,
) -> Iterator[Finding]:
    """Lines of one source. training: a dataset, whose pictures a live robot's are held beside."""
    limits = limits or Limits()
    frozen = frozen_statistics(checkpoint)
    yield from _input_lines(checkpoint, samples, joint_units)
    pictures = {
        camera_name(key): _of_own_pictures(feature, training)
        for key, feature in frozen.items()
        if feature.kind == "VISUAL"
    }
    looks = {
        name: look(samples.images[name])
        for name in pictures
        if name in samples.images and _is_pictures(samples.images[name])
    }
    yield from _level_lines(samples, pictures, looks, limits)
    yield from _compression_lines(samples, pictures, limits)
    yield from _detail_lines(checkpoint, samples, looks, limits)
    yield from _picture_lines(samples, pictures, looks, limits)
    if training is not None and training is not samples:
        yield from _place_lines(samples, looks, training, limits)
    if STATE in frozen:
        stated = checkpoint.contract is not None and checkpoint.contract.joint_units is not None
        yield from _state_lines(frozen[STATE], samples, joint_units, names, stated, limits)
    if samples.actions is not None:
        yield from _order_lines(frozen[ACTION], samples.actions, samples, names, limits)
    yield from _source_lines(checkpoint, samples)


def source_inputs(
    checkpoint: Checkpoint,
    samples: Samples,
    joint_units: str | None,
    names: Sequence[str],
    training: Samples | None,
) -> Iterator[NetworkInput]:
    """What a source's frames are at the network, feature by feature."""
    described = {
        key: _of_own_pictures(feature, training)
        for key, feature in frozen_statistics(checkpoint).items()
    }
    states = reading(samples, joint_units)
    yield from network_inputs(checkpoint, samples, states, described, names)


def input_line(seen: NetworkInput, samples: Samples, limits: Limits) -> Finding:
    """The line of one of source_inputs."""
    pictures = samples.images.get(camera_name(seen.key))
    brightest = None if pictures is None else int(pictures.max())
    return input_finding(seen, brightest, limits)


def _of_own_pictures(feature: Frozen, training: Samples | None) -> Frozen:
    """A camera's statistics; the dataset's own where the checkpoint has ImageNet's alone."""
    if feature.is_known or training is None or feature.key not in training.statistics:
        return feature
    return describe(feature.key, feature.kind, feature.mode, training.statistics[feature.key])


def _is_pictures(images: NDArray[np.generic]) -> bool:
    return images.dtype == np.uint8 and images.ndim == 4 and len(images) > 0


# --- what enters the network ----------------------------------------------------------------------


def _input_lines(
    checkpoint: Checkpoint, samples: Samples, joint_units: str | None
) -> Iterator[Finding]:
    """One observation through the very Preprocessor the policy runs with."""
    for camera, why in samples.unseen.items():
        yield Finding(
            Code.POLICY_IMAGES_MISSING,
            Severity.OPEN,
            f"pictures of camera {camera}, {samples.source}",
            "some to compare with",
            why,
            "fetch them: without pictures neither channels nor cameras can be compared",
        )
    states = reading(samples, joint_units)
    # Robots do not show what only a simulator knows.
    environment = next((m.observation.environment_state for m in samples.moments), None)
    unknowable = ENVIRONMENT in checkpoint.config.used_features and environment is None
    if states is None or not len(states) or samples.unseen or unknowable:
        return
    item = f"input from the {samples.source}"
    # A vector that is not finite, if there is one: the policy would refuse it when it comes.
    row = int(np.argmin(np.isfinite(states).all(axis=1)))
    images = {name: pictures[row % len(pictures)] for name, pictures in samples.images.items()}
    state = states[row].astype(np.float32)
    observation = Observation(state, images, environment_state=environment)
    try:
        checkpoint.preprocessor(observation)
    except ObservationError as error:
        yield Finding(
            Code.POLICY_INPUT_REFUSED,
            Severity.ERROR,
            item,
            "an observation like the training data's",
            str(error),
            "fix what the message names; the policy would refuse every frame",
        )
        return
    yield Finding(
        Code.POLICY_INPUT_REFUSED, Severity.OK, item, found="passes the policy's own preprocessing"
    )


def reading(samples: Samples, joint_units: str | None) -> Floats | None:
    """States (N, n) in the policy's units; a dataset has only one reading."""
    if not samples.live:
        return next(iter(samples.states.values()), None)
    return samples.states.get(joint_units or "")


# --- pictures -------------------------------------------------------------------------------------


def _level_lines(
    samples: Samples, pictures: Mapping[str, Frozen], looks: Mapping[str, Look], limits: Limits
) -> Iterator[Finding]:
    for name, seen in looks.items():
        item = f"value range of camera {name}, {samples.source}"
        if seen.brightest <= 1:
            yield Finding(
                Code.POLICY_IMAGE_BLACK,
                Severity.ERROR,
                item,
                "levels 0..255, which the policy divides by 255 once",
                f"no level above {seen.brightest}",
                "the pictures are black, or were divided by 255 before: uncover the lens, or send "
                "uint8 pictures as the camera gives them",
            )
        elif seen.mean.max() < limits.dark and not _is_dark(pictures[name], limits):
            yield Finding(
                Code.POLICY_IMAGE_BLACK,
                Severity.ERROR,
                item,
                "a picture of the scene",
                f"black pictures: mean {_three(seen.mean)}, brightest level {seen.brightest}",
                "uncover the lens, switch on the light, or set the exposure; if the training "
                "pictures are as dark, --limit dark=0",
                f"below {limits.dark:g}, which is a covered lens's noise",
            )
        elif float(seen.std.max()) < 0.004:
            yield Finding(
                Code.POLICY_IMAGE_UNIFORM,
                Severity.ERROR,
                item,
                "a picture of the scene",
                f"one colour everywhere, spread {float(seen.std.max()):.4f}",
                "uncover the lens, switch on the light, or restart the camera",
            )
        else:
            yield Finding(Code.POLICY_IMAGE_BLACK, Severity.OK, item, found=f"0..{seen.brightest}")


def _compression_lines(
    samples: Samples, names: Collection[str], limits: Limits
) -> Iterator[Finding]:
    for name in names:
        quality = samples.jpeg_quality.get(name)
        if quality is not None and quality < limits.compressed:
            yield Finding(
                Code.POLICY_IMAGE_COMPRESSED,
                Severity.WARNING,
                f"compression of camera {name}, {samples.source}",
                f"a JPEG quality of {limits.compressed:g} at least",
                quality,
                "set jpeg_quality of the camera, or of what republishes its pictures, to that of "
                "the recording; if it recorded so coarsely, --limit compressed=0",
                "blocks and smeared colours that a policy was not trained on",
            )


def _detail_lines(
    checkpoint: Checkpoint, samples: Samples, looks: Mapping[str, Look], limits: Limits
) -> Iterator[Finding]:
    """How fine pictures are beside those of the training, where the contract says so."""
    stated = () if checkpoint.contract is None else checkpoint.contract.detail
    for camera, trained in ((each.camera, each.value) for each in stated):
        found = looks[camera].detail if camera in looks else 0.0
        if min(found, trained) <= 0 or limits.detail <= 0:
            continue
        fits = max(found / trained, trained / found) <= limits.detail
        way = "finer" if found > trained else "less fine"
        yield Finding(
            Code.POLICY_IMAGE_DETAIL,
            Severity.OK if fits else Severity.WARNING,
            f"detail of camera {camera}, {samples.source}",
            f"{trained:.2f}, as in training",
            f"{found:.2f}",
            "take pictures as the recording did, at that size: no other resolution that is "
            "enlarged, cut out, reduced or compressed on the way",
            "" if fits else f"{way}: resized, cropped or compressed otherwise, or out of focus",
        )


def _is_dark(frozen: Frozen, limits: Limits) -> bool:
    """Whether the policy was trained on pictures that are as good as black."""
    return frozen.mean is not None and bool(frozen.mean.max() < 2 * limits.dark)


def _picture_lines(
    samples: Samples, pictures: Mapping[str, Frozen], looks: Mapping[str, Look], limits: Limits
) -> Iterator[Finding]:
    known = [name for name in looks if pictures[name].is_known and looks[name].brightest > 1]
    for name in looks:
        if not pictures[name].is_known:
            yield Finding(
                Code.POLICY_IMAGE_STATISTICS_UNKNOWN,
                Severity.OPEN,
                f"colours of camera {name}, {samples.source}",
                None,
                f"mean {_three(looks[name].mean)}",
                "give --dataset to compare with training pictures",
                "the checkpoint holds no statistics of this camera's own pictures, so neither "
                "exchanged channels nor exchanged cameras can be noticed by them",
            )
    costs = np.array([[_cost(looks[a], pictures[b]) for b in known] for a in known])
    if not len(known):
        return
    yield from _channel_lines(samples, pictures, looks, known, costs, limits)
    yield from _exchange_lines(samples, known, costs, limits)


def _cost(seen: Look, frozen: Frozen) -> float:
    """Divergence of pictures from frozen statistics, averaged over channels."""
    assert frozen.mean is not None
    mean, std = seen.normal(frozen.origin)
    return float(divergence(mean, std, frozen.mean, frozen.spread()).mean())


def _channel_lines(
    samples: Samples,
    pictures: Mapping[str, Frozen],
    looks: Mapping[str, Look],
    known: Sequence[str],
    costs: Floats,
    limits: Limits,
) -> Iterator[Finding]:
    for index, name in enumerate(known):
        as_is = float(costs[index, index])
        reversed_ = _cost(looks[name].with_channels_reversed(), pictures[name])
        item = f"colours of camera {name}, {samples.source}"
        how = f"divergence {as_is:.2g} as RGB, {reversed_:.2g} with red and blue exchanged"
        expected = f"mean {_three(pictures[name].mean)}"
        found = f"mean {_three(looks[name].normal(pictures[name].origin)[0])}"
        if as_is > limits.fits and reversed_ * limits.times < as_is:
            yield Finding(
                Code.POLICY_CHANNELS_SWAPPED,
                Severity.ERROR,
                item,
                f"RGB, {expected}",
                f"BGR by the look of it, {found}",
                "the camera or a republisher exchanges red and blue: set its encoding to rgb8, or "
                "convert once",
                how,
            )
        elif as_is > limits.other_scene and float(costs[index].min()) * limits.times >= as_is:
            yield Finding(
                Code.POLICY_SCENE_CHANGED,
                Severity.ERROR,
                item,
                expected,
                found,
                "another scene, a covered lens or wrong exposure: restore the training setup, or "
                "train on this one",
                how,
            )
        elif as_is > limits.changed:
            yield Finding(
                Code.POLICY_SCENE_CHANGED,
                Severity.WARNING,
                item,
                expected,
                found,
                "light, exposure or scene changed: expect worse actions",
                f"{how}; no exchange explains it",
            )
        else:
            sure = reversed_ > limits.fits
            note = how if sure else f"{how}: too grey a scene to tell BGR from RGB"
            severity = Severity.OK if sure else Severity.OPEN
            yield Finding(
                Code.POLICY_CHANNELS_SWAPPED,
                severity,
                item,
                expected,
                found,
                "compare the preview by eye",
                note,
            )


def _exchange_lines(
    samples: Samples, known: Sequence[str], costs: Floats, limits: Limits
) -> Iterator[Finding]:
    if len(known) < 2:
        return
    item = f"which camera is which, {samples.source}"
    as_is = float(np.trace(costs)) / len(known)
    order, best = best_order(costs)
    measure = (limits.fits, "divergence")
    yield _exchange(item, known, as_is, order, best, costs, measure, limits)


def _exchange(
    item: str,
    names: Sequence[str],
    as_is: float,
    order: list[int],
    best: float,
    costs: Floats,
    measure: tuple[float, str],
    limits: Limits,
) -> Finding:
    fits, word = measure
    named = {name: names[order[i]] for i, name in enumerate(names)}
    if as_is > fits and best * limits.times < as_is:
        moved = [f"{a} shows what {b} showed" for a, b in named.items() if a != b]
        return Finding(
            Code.POLICY_CAMERA_SWAPPED,
            Severity.ERROR,
            item,
            f"{', '.join(names)} each as in training",
            "; ".join(moved),
            "exchange the cables or the names of these cameras",
            f"{word} {as_is:.2g} as they are named, {best:.2g} exchanged",
        )
    swaps = [
        float(costs[a, b] + costs[b, a]) / 2
        for a, b in itertools.combinations(range(len(names)), 2)
    ]
    note = f"{word} {as_is:.2g} as they are named, {min(swaps):.2g} if two were exchanged"
    if min(swaps) > max(fits, 2 * as_is):
        return Finding(
            Code.POLICY_CAMERA_SWAPPED, Severity.OK, item, found="as in training", because=note
        )
    return Finding(
        Code.POLICY_CAMERA_SWAPPED,
        Severity.OPEN,
        item,
        f"{', '.join(names)} each as in training",
        "cannot be decided",
        "give --dataset to compare with training pictures, or look at the previews",
        note,
    )


def _place_lines(
    samples: Samples, looks: Mapping[str, Look], training: Samples, limits: Limits
) -> Iterator[Finding]:
    """Fields of the pictures against the nearest training pictures: needs no statistics."""
    shown = {
        name: look(training.images[name])
        for name in looks
        if name in training.images and _is_pictures(training.images[name])
    }
    names = list(shown)
    for name in names:
        as_is = nearest(looks[name].thumbs, shown[name].thumbs)
        reversed_ = nearest(looks[name].with_channels_reversed().thumbs, shown[name].thumbs)
        if as_is > _SAME_PLACE and reversed_ * 2 < as_is:
            yield Finding(
                Code.POLICY_CHANNELS_SWAPPED,
                Severity.ERROR,
                f"channels of camera {name} beside training pictures",
                "RGB",
                "BGR by the look of it",
                "the camera or a republisher exchanges red and blue: set its encoding to rgb8",
                f"nearest picture differs by {as_is:.3f} as RGB, {reversed_:.3f} exchanged",
            )
    if len(names) < 2:
        return
    gaps = np.array([[nearest(looks[a].thumbs, shown[b].thumbs) for b in names] for a in names])
    # Squares, as divergences are: four times the square is twice the distance.
    costs = gaps**2
    order, best = best_order(costs)
    as_is = float(np.trace(costs)) / len(names)
    item = f"which camera is which, {samples.source} beside training pictures"
    measure = (_SAME_PLACE**2, "mean squared difference")
    yield _exchange(item, names, as_is, order, best, costs, measure, limits)


# --- joints ---------------------------------------------------------------------------------------


def _state_lines(
    frozen: Frozen,
    samples: Samples,
    joint_units: str | None,
    names: Sequence[str],
    stated: bool,
    limits: Limits,
) -> Iterator[Finding]:
    readings = {u: v for u, v in samples.states.items() if v.ndim == 2 and len(v)}
    if not frozen.is_known or not readings:
        return
    assert frozen.mean is not None
    if any(values.shape[1] != len(frozen.mean) for values in readings.values()):
        return
    if samples.live:
        yield _unit_line(frozen, samples.source, readings, joint_units, names, stated, limits)
        return
    states = next(iter(readings.values()))
    yield from _order_lines(frozen, states, samples, names, limits)


def _unit_line(
    frozen: Frozen,
    source: str,
    readings: Mapping[str, Floats],
    joint_units: str | None,
    names: Sequence[str],
    stated: bool,
    limits: Limits,
) -> Finding:
    """The pose in every unit: in which is it a pose of the training data?"""
    assert frozen.mean is not None
    sigmas = {
        units: np.abs(np.median(values, axis=0) - frozen.mean) / frozen.spread()
        for units, values in readings.items()
    }
    item = f"joint units by the pose, {source}"
    if joint_units not in sigmas:
        poses = _in_units(sigmas, names, None)
        return _open_units(item, joint_units, poses, converted=len(sigmas) > 1)
    given = float(sigmas[joint_units].max())
    rivals = {u: float(s.max()) for u, s in sigmas.items() if u != joint_units}
    best = min(rivals, key=lambda u: rivals[u]) if rivals else joint_units
    poses = _in_units(sigmas, names, joint_units)
    found = why = ""
    if given > limits.far and np.abs(readings.get("radians", 0.0)).max() > 2 * np.pi:
        found, why = "radians", "no joint turns so far"
    elif given > limits.far and rivals and rivals[best] < given / 3 and rivals[best] < limits.far:
        found, why = best, f"{given / max(rivals[best], 0.1):.0f} times nearer in {best}"
    if found:
        return Finding(
            Code.POLICY_POSE_UNITS,
            Severity.ERROR,
            item,
            f"{joint_units}, within {limits.far:g} sigma of the training mean",
            poses,
            _fix_units(found, readings[found]),
            why,
        )
    if given > limits.farther:
        return Finding(
            Code.POLICY_POSE_FAR,
            Severity.ERROR,
            item,
            f"{joint_units}, within {limits.farther:g} sigma of the training mean",
            poses,
            "move the arm to where the training data begins; if it is there, calibration, joint "
            "order or joint_units are not the training data's",
        )
    near = [u for u, s in rivals.items() if s < limits.far and u != "radians"]
    if given > limits.far or (near and not stated):
        why = "outside the training poses" if given > limits.far else "this pose fits both"
        fix = "move the arm to a training pose, away from the middle of its range, and check again"
        code = Code.POLICY_POSE_UNITS
        return Finding(code, Severity.OPEN, item, joint_units, poses, fix, why)
    return Finding(Code.POLICY_POSE_UNITS, Severity.OK, item, joint_units, poses)


def _open_units(item: str, joint_units: str | None, poses: str, converted: bool) -> Finding:
    """Nobody says the units, or the pose is not known in them.

    converted: whether the pose is known in more than radians, which takes a calibration.
    """
    found = "neither the checkpoint nor --joint-units says the units of the joints"
    fix = "give --joint-units (in a graph joint_units:=)"
    if joint_units:
        found = f"the policy takes {joint_units}, and the pose is known in radians only"
        fix = f"give --calibration, the arm's file, to compare the pose in {joint_units}"
    elif converted:
        found += f"; {poses}"
        fix += "; if you do not know them: those in which the pose is nearest"
    else:
        fix += "; with --calibration, the arm's file, the pose is compared in each of them"
    return Finding(Code.POLICY_POSE_UNITS, Severity.OPEN, item, found=found, fix=fix)


def _fix_units(best: str, values: Floats) -> str:
    if best != "radians":
        return f"the policy was trained in {best}: set joint_units to it"
    reach = float(np.abs(values).max())
    if reach > 2 * np.pi:
        return (
            f"the robot's positions reach {reach:.0f}, and in radians no joint passes 3.15: they "
            "are degrees, publish radians"
        )
    return "the policy was trained in radians: convert the data and train again"


def _in_units(sigmas: Mapping[str, Floats], names: Sequence[str], first: str | None) -> str:
    """As in "in degrees elbow_flex is 14 sigma from the training mean, in range_m100_100 0.8"."""
    order = sorted(sigmas, key=lambda units: (units != first, -float(sigmas[units].max())))
    joint = int(np.argmax(sigmas[order[0]]))
    others = "".join(f", in {units} {sigmas[units][joint]:.2g}" for units in order[1:])
    sigma = f"{sigmas[order[0]][joint]:.2g} sigma from the training mean"
    return f"in {order[0]} {_name(names, joint)} is {sigma}{others}"


def _order_lines(
    frozen: Frozen, values: Floats, samples: Samples, names: Sequence[str], limits: Limits
) -> Iterator[Finding]:
    """Rows of a dataset against frozen statistics: same joints, order and scale?"""
    if frozen.mean is None or values.ndim != 2 or len(values) < 2:
        return
    if values.shape[1] != len(frozen.mean):
        return
    mean, std = values.mean(axis=0), values.std(axis=0)
    floor = max(float(std.max()) / 50, 1e-6)
    costs = divergence(
        mean[:, None], np.maximum(std, floor)[:, None], frozen.mean[None], frozen.spread()[None]
    )
    as_is = float(np.trace(costs)) / len(costs)
    order, best = best_order(costs)
    item = f"values of {frozen.key}, {samples.source}"
    how = f"divergence {as_is:.2g}"
    if as_is > limits.changed and best * limits.times < as_is and order != list(range(len(order))):
        moved = [
            f"{_name(names, i)} is like {_name(names, j)}" for i, j in enumerate(order) if i != j
        ]
        yield Finding(
            Code.POLICY_JOINT_ORDER,
            Severity.ERROR,
            item,
            "each joint as in the frozen statistics",
            "; ".join(moved),
            "put the joints, or the statistics, in the order of the training data",
            f"{how} as they are, {best:.2g} in that order",
        )
        return
    scaled = _scaled(mean, std, frozen)
    if as_is > limits.changed and scaled:
        code, units = Code.POLICY_VALUES_SCALED, "the units of the frozen statistics"
        yield Finding(code, Severity.ERROR, item, units, *scaled, how)
        return
    if as_is > 2 * limits.other_scene:
        joint = int(np.argmax(np.diag(costs)))
        yield Finding(
            Code.POLICY_VALUES_SHIFTED,
            Severity.ERROR,
            item,
            f"{_name(names, joint)} around {frozen.mean[joint]:.4g} ± {frozen.spread()[joint]:.3g}",
            f"{mean[joint]:.4g} ± {std[joint]:.3g}",
            "the policy was not trained on such data: check task, units and calibration",
            how,
        )
        return
    code = Code.POLICY_VALUES_SHIFTED
    if as_is > limits.changed:
        expected, fix = (
            "values like the training data's",
            "check task and arm: expect worse actions",
        )
        yield Finding(code, Severity.OPEN, item, expected, "shifted", fix, how)
        return
    yield Finding(code, Severity.OK, item, found="as in training", because=how)


def _scaled(mean: Floats, std: Floats, frozen: Frozen) -> tuple[str, str] | None:
    """Whether everything is a common factor away, as radians are from degrees."""
    spread = frozen.spread()
    ratios = spread / np.maximum(std, 1e-9)
    factor = float(np.median(ratios))
    for name, ratio in (
        ("radians", 180 / np.pi),
        ("degrees where radians were trained", np.pi / 180),
    ):
        if 0.5 < factor / ratio < 2 and (np.abs(np.log(ratios / ratio)) < 1).all():
            return (
                f"values {ratio:.3g} times {'smaller' if ratio > 1 else 'larger'}: {name}",
                "convert the values to the units of the training data",
            )
    return None


def _name(names: Sequence[str], index: int) -> str:
    return names[index].removesuffix(".pos") if index < len(names) else f"entry {index}"


# --- is it the training data? ---------------------------------------------------------------------


def _source_lines(checkpoint: Checkpoint, samples: Samples) -> Iterator[Finding]:
    """Whether the frozen statistics are this dataset's own, number by number."""
    shared = [key for key in checkpoint.statistics if key in samples.statistics]
    if not shared:
        return
    others = unlike(checkpoint, samples.statistics)
    item = f"frozen statistics beside those of the {samples.source}"
    if not others:
        yield Finding(
            Code.POLICY_OTHER_DATASET,
            Severity.OK,
            item,
            found="the same: this is the training data",
        )
        return
    yield Finding(
        Code.POLICY_OTHER_DATASET,
        Severity.OPEN,
        item,
        "the same numbers, if this is the training data",
        f"others of {', '.join(others)}",
        "give the dataset the policy was trained with, if it is another",
        "a subset, a newer version or another dataset; the lines above judge how like it is",
    )


def _three(values: Floats | None) -> str:
    assert values is not None
    return "(" + " ".join(f"{value:.2f}" for value in values) + ")"
