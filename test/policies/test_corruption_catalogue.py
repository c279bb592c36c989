"""The catalogue: ways in which a checkpoint, its data or its robot are not what they should be.

Each is made by changing one thing of a world in which everything fits, and each must be refused by
the check that the policy node runs before it publishes anything; the refusal names the item, what
was expected, what was found and how to fix it. What cannot be known must be said to be unknown.
"""

import dataclasses
import pickle
import re
import shutil
import struct

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the policy extra is not installed")

import check_world as w  # noqa: E402
from check_world import (  # noqa: E402
    ACTION,
    FRONT,
    STATE,
    WRIST,
    World,
    data_contract,
    edit,
    pictures,
    retensor,
    robot,
    signed,
    statistics,
    together,
)

from armlet.contract import Camera, Stream  # noqa: E402
from armlet.findings import Severity  # noqa: E402
from armlet.robots.units import own_converter  # noqa: E402
from armlet.sim import FOLLOWER, LEADER  # noqa: E402

pytestmark = pytest.mark.thorough

BEFORE = "policy_preprocessor.json"
HEAD = "model.action_head.weight"
NORMALIZER = 3


# --- how things go wrong --------------------------------------------------------------------------


def put(key, value):
    return lambda tensors: tensors.__setitem__(key, torch.as_tensor(value, dtype=torch.float32))


def every(feature, change):
    """Change all stored statistics of a feature, in one way."""

    def apply(tensors):
        for name in [n for n in tensors if n.rpartition(".")[0] == feature]:
            tensors[name] = change(tensors[name])

    return apply


def exchange(tensors):
    for name in [n for n in tensors if n.startswith(FRONT + ".")]:
        other = name.replace(FRONT, WRIST)
        tensors[name], tensors[other] = tensors[other], tensors[name]


def inert(*features):
    def apply(tensors):
        for feature in features:
            tensors[f"{feature}.mean"] = torch.zeros_like(tensors[f"{feature}.mean"])
            tensors[f"{feature}.std"] = torch.ones_like(tensors[f"{feature}.std"])

    return apply


def imagenet(tensors):
    """As LeRobot's use_imagenet_stats, in the worst case: no quantiles are stored."""
    for camera in (FRONT, WRIST):
        for name in [n for n in tensors if n.startswith(camera + ".q")]:
            del tensors[name]
    w.imagenet(tensors)


def permuted(a, b):
    def apply(values):
        order = list(range(6))
        order[a], order[b] = order[b], order[a]
        return values[order] if values.shape == (6,) else values

    return apply


def reversed_channels(taken):
    return {name: images[..., ::-1].copy() for name, images in taken.items()}


def swapped(taken):
    return {"front": taken["wrist"], "wrist": taken["front"]}


def all_pictures(change):
    return pictures(lambda taken: {name: change(images) for name, images in taken.items()})


def covered(images):
    return np.full_like(images, 37)


def black(images):
    return w.covered_lens(images.shape)


def dim(images):
    return np.clip(images // 6, 8, 255)


def weights(content):
    def apply(world):
        (world.checkpoint / w.WEIGHTS).unlink()
        (world.checkpoint / w.WEIGHTS).write_bytes(content)

    return apply


def truncated(world):
    content = (world.checkpoint / w.WEIGHTS).read_bytes()
    weights(content[: len(content) * 2 // 3])(world)


def claiming(size):
    """A header of a tensor far larger than the file: nothing that size may be allocated."""
    header = f'{{"{HEAD}":{{"dtype":"F32","shape":[{size}],"data_offsets":[0,{4 * size}]}}}}'
    return struct.pack("<Q", len(header)) + header.encode()


def data_states(change):
    def apply(world):
        states = {units: change(values) for units, values in world.data.states.items()}
        world.data = dataclasses.replace(world.data, states=states, statistics={})

    return apply


def data_actions(change):
    def apply(world):
        changed = change(world.data.actions)
        world.data = dataclasses.replace(world.data, actions=changed, statistics={})

    return apply


def data_pictures(change):
    def apply(world):
        images = {name: change(pictures) for name, pictures in world.data.images.items()}
        world.data = dataclasses.replace(world.data, images=images)

    return apply


def live_radians(change):
    def apply(world):
        world.radians = change(world.radians.copy())

    return apply


def units_given(units):
    def apply(world):
        world.joint_units = units

    return apply


def degrees(world):
    """The checkpoint does not state its units, and no dataset is beside it."""
    world.joint_units = "degrees"


def without(*fields):
    def apply(world):
        for name in fields:
            setattr(world, name, None)

    return apply


def calibrated(**changed):
    """The robot's arm with other calibrations of some joints; the checkpoint does not know."""

    def apply(world):
        joints = {
            name: dataclasses.replace(joint, **changed.get(name, {}))
            for name, joint in world.calibration.items()
        }
        world.calibration = joints

    return apply


def set_nan(radians):
    radians[3, 2] = np.nan
    return radians


# An elbow that was calibrated over a sixth of its range: there the units differ most.
NARROW = {"elbow_flex": {"range_min": 1760, "range_max": 2200}}


def trained_in_range_units(world):
    """Statistics as of data recorded in range_m100_100 with the narrow elbow, near its end."""
    calibrated(**NARROW)(world)
    world.radians = np.tile(world.radians[:1], (len(world.radians), 1))
    world.radians[:, 2] = 0.27
    values = own_converter(world.calibration).radians_to_dataset(world.radians, "range_m100_100")[0]

    def change(tensors):
        for feature in (STATE, ACTION):
            for name, z in {"mean": 0, "min": -2, "max": 2}.items():
                tensors[f"{feature}.{name}"] = torch.tensor(values + 5 * z, dtype=torch.float32)
            tensors[f"{feature}.std"] = torch.full((6,), 5.0)

    statistics(change)(world)
    world.data = None


REVERSED = w.NAMES[::-1]
EXCHANGED = (w.NAMES[0], w.NAMES[2], w.NAMES[1], *w.NAMES[3:])
LOW_CAMERAS = (Camera("front", 24, 32), w.CONTRACT.cameras[1])
PLAIN, SIGNED = "plain", "signed"

# name: (which checkpoint is changed, the change, the item of the refusal, what it must say)
CATALOGUE = {
    # cameras, by name and description
    "camera renamed on the robot": (
        SIGNED,
        robot(cameras=(Camera("top", 48, 64), w.CONTRACT.cameras[1])),
        "camera front",
        "no such camera among .*top",
    ),
    "camera absent": (SIGNED, robot(cameras=w.CONTRACT.cameras[:1]), "camera wrist", "no such"),
    "camera of another size": (SIGNED, robot(cameras=LOW_CAMERAS), "camera front", r"24, 32"),
    "camera of another size, plain": (PLAIN, robot(cameras=LOW_CAMERAS), "camera front", "24, 32"),
    "camera turned by 90 degrees": (
        SIGNED,
        robot(cameras=(Camera("front", 64, 48), w.CONTRACT.cameras[1])),
        "camera front",
        r"\(64, 48",
    ),
    "camera announced as BGR": (
        SIGNED,
        robot(cameras=(Camera("front", 48, 64, "bgr"), w.CONTRACT.cameras[1])),
        "camera front",
        "bgr",
    ),
    "cameras in other order in one file": (
        PLAIN,
        edit(
            BEFORE,
            lambda d: d["steps"][NORMALIZER]["config"].update(
                features=dict(reversed(d["steps"][NORMALIZER]["config"]["features"].items()))
            ),
        ),
        "order of cameras",
        "ACT itself",
    ),
    "camera renamed in config.json": (
        PLAIN,
        edit(
            "config.json",
            lambda d: d["input_features"].update(
                {"observation.images.top": d["input_features"].pop(FRONT)}
            ),
        ),
        "observation.images.top",
        "no such entry",
    ),
    # cameras, by what they show
    "cables exchanged": (PLAIN, pictures(swapped), "which camera is which", "cables"),
    "cables exchanged, contract signed": (
        SIGNED,
        pictures(swapped),
        "which camera is which",
        "front shows what wrist showed",
    ),
    "cables exchanged, ImageNet statistics": (
        PLAIN,
        together(statistics(imagenet), pictures(swapped)),
        "which camera is which, live robot beside training pictures",
        "exchanged",
    ),
    "statistics of the cameras exchanged": (
        PLAIN,
        statistics(exchange),
        "which camera is which",
        "exchange",
    ),
    "statistics of the cameras exchanged, signed": (
        SIGNED,
        statistics(exchange),
        "contract: preprocessing",
        "statistics",
    ),
    "BGR from both cameras": (PLAIN, pictures(reversed_channels), "colours of camera", "BGR"),
    "BGR from one camera": (
        SIGNED,
        pictures(lambda t: {**t, "front": t["front"][..., ::-1].copy()}),
        "colours of camera front",
        "BGR by the look",
    ),
    "BGR, ImageNet statistics": (
        PLAIN,
        together(statistics(imagenet), pictures(reversed_channels)),
        "channels of camera",
        "rgb8",
    ),
    "statistics of BGR pictures": (
        PLAIN,
        statistics(
            lambda t: [
                every(camera, lambda v: v.flip(0) if v.ndim == 3 else v)(t)
                for camera in (FRONT, WRIST)
            ]
        ),
        "colours of camera",
        "BGR",
    ),
    "pictures of another size than announced": (
        SIGNED,
        pictures(lambda t: {**t, "front": t["front"][:, ::2, ::2]}),
        "input from the live robot",
        "does not resize",
    ),
    "pictures divided by 255": (
        SIGNED,
        all_pictures(lambda images: (images / 255).astype(np.float32)),
        "input from the live robot",
        "expected uint8",
    ),
    "pictures divided by 255 and cut to bytes": (
        SIGNED,
        all_pictures(lambda images: (images / 255).astype(np.uint8)),
        "value range of camera",
        "divided by 255 before",
    ),
    "lens covered": (SIGNED, all_pictures(covered), "value range of camera", "one colour"),
    "black pictures, ImageNet statistics": (
        PLAIN,
        together(statistics(w.imagenet), all_pictures(black), without("data"), degrees),
        "value range of camera",
        "covered lens",
    ),
    "black pictures, ImageNet statistics without quantiles": (
        PLAIN,
        together(statistics(imagenet), all_pictures(black), without("data"), degrees),
        "value range of camera",
        "black pictures",
    ),
    "dim pictures, ImageNet statistics": (
        PLAIN,
        together(statistics(w.imagenet), all_pictures(dim), without("data"), degrees),
        "colours of camera",
        "another scene",
    ),
    "cables exchanged, ImageNet statistics and the dataset's own": (
        PLAIN,
        together(statistics(imagenet), pictures(swapped)),
        "which camera is which, live robot",
        "cables",
    ),
    "picture far too bright": (
        SIGNED,
        all_pictures(lambda i: np.clip(i * 4.0, 0, 255).astype(np.uint8)),
        "colours of camera",
        "exposure",
    ),
    # statistics of pictures
    "picture mean of 0..255": (
        PLAIN,
        statistics(every(FRONT, lambda v: v * 255 if v.ndim == 3 else v)),
        f"{FRONT}.mean",
        "0..255",
    ),
    "picture std of 0..255": (
        PLAIN,
        statistics(lambda t: t[f"{FRONT}.std"].mul_(255)),
        "statistics of camera front",
        "0..255",
    ),
    "picture statistics divided by 255 twice": (
        PLAIN,
        statistics(every(FRONT, lambda v: v / 255 if v.ndim == 3 else v)),
        "statistics of camera front",
        "twice",
    ),
    "picture statistics inert": (
        PLAIN,
        statistics(inert(FRONT)),
        "statistics of camera front",
        "moves nothing",
    ),
    "picture statistics infinite": (
        PLAIN,
        statistics(put(f"{FRONT}.std", np.full((3, 1, 1), np.inf))),
        f"{FRONT}.std",
        "finite",
    ),
    "contract of 0..255 pictures": (
        SIGNED,
        lambda world: signed(
            preprocessing=dataclasses.replace(
                w.read_checkpoint(world.checkpoint).contract.preprocessing, value_range="0..255"
            )
        )(world),
        "contract: preprocessing",
        "0..255",
    ),
    # statistics of joints
    "statistics missing": (
        PLAIN,
        statistics(lambda t: t.pop(f"{STATE}.std")),
        f"statistics of {STATE}",
        "in silence",
    ),
    "statistics under old names": (
        PLAIN,
        statistics(lambda t: [t.__setitem__("so100.buffer." + k, t.pop(k)) for k in list(t)]),
        "statistics",
        "so100.buffer",
    ),
    "state statistics inert": (
        PLAIN,
        statistics(inert(STATE)),
        f"statistics of {STATE}",
        "moves nothing",
    ),
    "action statistics inert": (
        PLAIN,
        statistics(inert(ACTION)),
        "statistics of action",
        "unnormalized",
    ),
    "statistics not finite": (
        PLAIN,
        statistics(put(f"{STATE}.mean", np.full(6, np.nan))),
        f"{STATE}.mean",
        "finite",
    ),
    "means of another data set": (
        PLAIN,
        statistics(lambda t: t[f"{STATE}.mean"].add_(200)),
        f"statistics of {STATE}",
        "mean within",
    ),
    "variance in place of std": (
        PLAIN,
        statistics(lambda t: t[f"{STATE}.std"].pow_(2)),
        f"statistics of {STATE}",
        "half of its range",
    ),
    "means of two joints exchanged": (
        PLAIN,
        statistics(lambda t: put(f"{STATE}.mean", t[f"{STATE}.mean"].flip(0))(t)),
        f"statistics of {STATE}",
        "joint order",
    ),
    "state statistics permuted": (
        PLAIN,
        together(statistics(every(STATE, permuted(1, 3))), without("data")),
        "joint order of state and action",
        "permuted",
    ),
    "action statistics permuted": (
        PLAIN,
        together(statistics(every(ACTION, permuted(1, 3))), without("data")),
        "joint order of state and action",
        "permuted",
    ),
    "all statistics permuted alike": (
        PLAIN,
        together(
            statistics(every(STATE, permuted(1, 3))), statistics(every(ACTION, permuted(1, 3)))
        ),
        f"values of {STATE}, dataset",
        "shoulder_lift is like wrist_flex",
    ),
    "action statistics differ between the files": (
        PLAIN,
        retensor(w.AFTER_STATE, lambda t: t[f"{ACTION}.mean"].add_(1)),
        "action statistics",
        "one training run",
    ),
    # joints, order, units, rate, calibration
    "robot's joints permuted": (SIGNED, robot(state_names=EXCHANGED), "state names", "elbow_flex"),
    "robot's joints reversed": (SIGNED, robot(action_names=REVERSED), "action names", "order"),
    "robot with five joints": (SIGNED, robot(state_names=w.NAMES[:5]), "state names", "expected"),
    "plain checkpoint, five joints": (
        PLAIN,
        together(
            robot(state_names=w.NAMES[:5], action_names=w.NAMES[:5]), without("data", "radians")
        ),
        "state joints",
        "6, the length",
    ),
    "data of permuted joints": (
        PLAIN,
        data_states(lambda v: v[:, [0, 3, 2, 1, 4, 5]]),
        f"values of {STATE}, dataset",
        "in the order",
    ),
    "data of permuted actions": (
        PLAIN,
        data_actions(lambda v: v[:, [0, 1, 2, 5, 4, 3]]),
        f"values of {ACTION}, dataset",
        "gripper",
    ),
    "joint names permuted in the contract": (
        SIGNED,
        signed(state_names=EXCHANGED, action_names=EXCHANGED),
        "state names",
        "expected shoulder_pan, elbow_flex",
    ),
    "degrees trained, range_m100_100 given": (
        SIGNED,
        units_given("range_m100_100"),
        "joint units",
        "expected degrees",
    ),
    "unknown units given": (PLAIN, units_given("radians"), "joint units", "one of degrees"),
    "units neither stated nor given": (
        PLAIN,
        without("data"),
        "joint units",
        "neither.*give joint_units",
    ),
    "range_m100_100 trained, degrees given": (
        PLAIN,
        together(trained_in_range_units, units_given("degrees")),
        "joint units by the pose, live robot",
        r"in degrees elbow_flex is .* sigma .*in range_m100_100",
    ),
    "values beyond range_m100_100": (
        PLAIN,
        together(
            statistics(lambda t: [t[f"{STATE}.max"].__setitem__(4, 150)]),
            units_given("range_m100_100"),
            without("data"),
        ),
        f"statistics of {STATE}",
        "clamps",
    ),
    "trained in radians": (
        PLAIN,
        together(
            statistics(every(STATE, lambda v: v / 57.3)),
            statistics(every(ACTION, lambda v: v / 57.3)),
            without("data"),
            units_given("degrees"),
        ),
        f"statistics of {STATE}",
        "radians",
    ),
    "data in radians": (
        PLAIN,
        data_states(lambda v: v / 57.3),
        f"values of {STATE}, dataset",
        "radians",
    ),
    "live pose far from training": (
        SIGNED,
        live_radians(lambda r: r + np.array([0, 0, 0, -2.0, 0, 0])),
        "joint units by the pose, live robot",
        "wrist_flex is .* sigma",
    ),
    "live state not finite": (
        SIGNED,
        live_radians(set_nan),
        "input from the live robot",
        r"NaN or infinity at index \[2\]",
    ),
    "wrong rate": (SIGNED, robot(fps=15), "fps", "expected 30, found 15"),
    "wrong rate in the contract": (
        SIGNED,
        together(
            signed(fps=60),
            statistics(lambda t: [put("timestamp.max", [3.0])(t), put("frame_index.max", [90])(t)]),
        ),
        "training rate",
        "expected 30, found 60",
    ),
    "data of another rate": (SIGNED, data_contract(fps=10), "fps, dataset", "found 10"),
    "wrong calibration": (
        SIGNED,
        lambda world: setattr(world, "calibration", dict(LEADER)),
        "calibration",
        "use the calibration file",
    ),
    "calibration of other joints": (
        SIGNED,
        lambda world: setattr(world, "calibration", {f"left_{k}": FOLLOWER[k] for k in FOLLOWER}),
        "joints of the calibration",
        "prefixes",
    ),
    "calibration too narrow for the data": (
        PLAIN,
        together(calibrated(**NARROW), units_given("degrees"), without("data", "radians")),
        "reach of elbow_flex",
        "as calibrated",
    ),
    "other alignment": (
        SIGNED,
        robot(alignment=(Stream("state", "previous", 0.05),)),
        "alignment of state",
        "aligner configuration",
    ),
    # weights and documents
    "weights truncated": (PLAIN, truncated, "file not readable", "copy the file again"),
    "weights pickled": (
        PLAIN,
        weights(pickle.dumps({HEAD: [1.0, 2.0]})),
        "file not readable",
        "safetensors",
    ),
    "weights of torch.save": (PLAIN, weights(b"PK\x03\x04" + bytes(64)), "file not readable", ""),
    "weights oversized": (PLAIN, weights(claiming(2**40)), "file not readable", "safetensors"),
    "weights not a number": (
        PLAIN,
        retensor(w.WEIGHTS, lambda t: t[HEAD].fill_(torch.nan)),
        f"values of {HEAD}",
        "NaN or infinite",
    ),
    "weights of another network": (
        PLAIN,
        edit("config.json", lambda d: d.update(dim_model=64)),
        "shape of model",
        "one training run",
    ),
    "tensor missing": (PLAIN, retensor(w.WEIGHTS, lambda t: t.pop(HEAD)), "tensor names", HEAD),
    "config of absurd size": (
        PLAIN,
        edit("config.json", lambda d: d.update(dim_feedforward=2**40)),
        "dim_feedforward",
        "room for",
    ),
    "step that names a class": (
        PLAIN,
        edit(BEFORE, lambda d: d["steps"].insert(1, {"class": "os.system", "config": {}})),
        "processor step",
        "runs no code",
    ),
    "unknown step": (
        PLAIN,
        edit(BEFORE, lambda d: d["steps"].insert(1, {"registry_name": "clip_processor"})),
        "processor step",
        "clip_processor",
    ),
    "normalization left out": (
        PLAIN,
        edit(BEFORE, lambda d: d["steps"].pop(NORMALIZER)),
        "steps",
        "unnormalized",
    ),
    "mode of another policy": (
        PLAIN,
        edit(
            BEFORE,
            lambda d: d["steps"][NORMALIZER]["config"]["norm_map"].update(STATE="MIN_MAX"),
        ),
        "norm_map of STATE",
        "MEAN_STD",
    ),
    "contract altered": (
        SIGNED,
        edit("armlet_contract.json", lambda d: d.update(fps=15)),
        "checkpoint",
        "altered after signing",
    ),
    "data of another task": (
        SIGNED,
        data_pictures(lambda pictures: np.clip(pictures / 8, 2, 255).astype(np.uint8)),
        "colours of camera",
        "another scene",
    ),
}


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    folder = tmp_path_factory.mktemp("catalogue")
    plain = w.save_good(folder / "plain", None)
    return {PLAIN: plain, SIGNED: w.sign(plain, folder / "signed")}


@pytest.fixture
def world(good, tmp_path):
    """A copy of a good world; the weights are linked until they are changed."""

    def make(kind=SIGNED) -> World:
        copy = tmp_path / kind
        copy.mkdir()
        for file in good[kind].iterdir():
            if file.name == w.WEIGHTS:
                (copy / file.name).symlink_to(file)
            else:
                shutil.copy(file, copy / file.name)
        return World(
            copy, data=w.dataset(), radians=w.motion(1, 2, 5)[:, :6], pictures=w.seen(1, 2, 5)
        )

    return make


def test_the_catalogue_is_large_enough():
    assert len(CATALOGUE) >= 40


@pytest.mark.parametrize("name", CATALOGUE)
def test_a_corruption_is_refused_in_words_that_help(name, world):
    kind, corrupt, item, says = CATALOGUE[name]
    changed = world(kind)
    corrupt(changed)
    report = changed.report()
    assert not report.ok, f"accepted:\n{report}"
    lines = [verdict for verdict in report.wrong if item in verdict.subject]
    assert lines, f"no line about {item!r}:\n{report.text()}"
    assert any(re.search(says, str(verdict)) for verdict in lines), report.text()
    for verdict in report.wrong:
        assert verdict.subject and verdict.fix and str(verdict.expected) and str(verdict.found)
        assert str(verdict) in report.text()


@pytest.mark.parametrize("kind", [PLAIN, SIGNED])
def test_the_good_world_is_accepted_without_a_wrong_line(kind, world):
    report = world(kind).report()
    assert report.ok, report.text()
    assert report.joint_units == "degrees"
    assert report.text() == ""


def test_what_statistics_cannot_tell_is_said_and_not_passed_over(world):
    """Exchanged cables with ImageNet statistics and no training pictures: nobody can know."""
    changed = world(PLAIN)
    together(statistics(imagenet), pictures(swapped), without("data"), units_given("degrees"))(
        changed
    )
    report = changed.report()
    assert report.ok
    opened = [str(v) for v in report.findings if v.severity is Severity.OPEN]
    assert any("telling front, wrist apart" in line and "--dataset" in line for line in opened)
    assert any("colours of camera front" in line and "neither" in line for line in opened)


def test_an_exchange_of_order_in_every_file_changes_nothing_and_is_said(world):
    """ACT adds the same position to every camera's tokens: the same actions come out."""
    changed = world(PLAIN)
    observation = changed.live()
    before = actions_of(changed, observation)
    flip_order(changed)
    np.testing.assert_allclose(actions_of(changed, observation), before, rtol=1e-4, atol=1e-3)
    report = changed.report()
    assert report.ok, report.text()
    line = next(str(v) for v in report.findings if v.subject == "cameras")
    assert "wrist, front" in line and "the same in any order" in line


def flip_order(world):
    def flip(document):
        features = document["input_features"]
        document["input_features"] = dict(reversed(features.items()))

    edit("config.json", flip)(world)
    CATALOGUE["cameras in other order in one file"][1](world)


def actions_of(world, samples):
    from armlet.policies import Observation, load_policy

    state = samples.states["degrees"][0].astype(np.float32)
    images = {name: taken[0] for name, taken in samples.images.items()}
    return load_policy(world.checkpoint).predict_chunk(Observation(state, images))
