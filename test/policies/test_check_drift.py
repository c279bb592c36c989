"""The drift monitor: quiet on training data, loud within a window on what is not."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the policy extra is not installed")

import check_world as w  # noqa: E402
from narrow_network import narrow_network  # noqa: E402, F401

from armlet.findings import Code, Severity  # noqa: E402
from armlet.policies import read_checkpoint  # noqa: E402
from armlet.policies.fit.drift import Drift, DriftSettings  # noqa: E402
from armlet.policies.fit.feature_stats import Q10_TO_Q90, describe, divergence  # noqa: E402
from armlet.settings.aligner import stream_settings  # noqa: E402

WINDOW = 20


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return read_checkpoint(w.save_good(tmp_path_factory.mktemp("drift") / "good", w.CONTRACT))


@pytest.fixture
def drift(checkpoint):
    return Drift(checkpoint, w.NAMES, w.NAMES, DriftSettings(window=WINDOW))


def feed(drift, state=lambda v: v, actions=lambda v: v, picture=lambda v: v, times=1):
    """A motion that was not in the training data, as the node feeds it."""
    data = w.dataset()
    rows, taken = data.states["degrees"], w.seen(0)
    for _ in range(times):
        for row in range(len(rows)):
            drift.state(state(rows[row]).astype(np.float32))
            drift.actions(actions(rows[row : row + 8]).astype(np.float32))
            drift.pictures({name: picture(images[row]) for name, images in taken.items()}, row / 30)


def line(drift, item):
    return next(each for each in drift.findings() if each.subject == item)


def test_nothing_is_said_before_it_is_fed(drift):
    assert drift.findings() == [] and drift.worst is Severity.OK


def test_training_data_does_not_drift(drift):
    feed(drift)
    assert {x.subject for x in drift.findings()} == {
        "state",
        "actions",
        "camera front",
        "camera wrist",
    }
    assert drift.worst is Severity.OK, drift.findings()


@pytest.mark.parametrize(
    ("change", "item", "level", "words"),
    [
        (
            {"state": lambda v: v + np.array([0, 0, 0, 60, 0, 0])},
            "state",
            "WARNING",
            "wrist_flex is 5",
        ),
        ({"state": lambda v: v + np.array([0, 0, 0, 120, 0, 0])}, "state", "ERROR", "wrist_flex"),
        ({"state": lambda v: v * np.nan}, "state", "ERROR", "sigma"),
        ({"actions": lambda v: v + np.array([0, 0, 0, 0, 0, 300])}, "actions", "ERROR", "gripper"),
        ({"actions": lambda v: v * 2.2}, "actions", "ERROR", "beyond the training range"),
        ({"picture": lambda p: p // 6}, "camera front", "ERROR", "divergence"),
        ({"picture": np.zeros_like}, "camera wrist", "ERROR", "RGB 0.00"),
        (
            {"picture": lambda p: np.clip(p * 1.9, 0, 255).astype(np.uint8)},
            "camera front",
            "WARNING",
            "diverg",
        ),
    ],
)
def test_what_is_not_training_data_is_noticed_within_a_window(change, item, level, words, drift):
    feed(drift)
    feed(drift, **change)
    found = line(drift, item)
    assert found.severity.rank >= Severity[level].rank, found
    assert words in found.found
    assert drift.worst.rank >= Severity[level].rank


def test_rates_and_distances_are_the_windows_own(drift):
    """Counted by hand over the last WINDOW observations."""
    data = w.dataset()
    frozen = data.statistics[w.STATE]
    rows = np.tile(data.states["degrees"].mean(axis=0), (WINDOW, 1))
    rows[: WINDOW // 4, 3] = frozen["max"][3] + 50
    for row in [*np.full((5, 6), 1e6), *rows]:
        drift.state(row)
    values = line(drift, "state").values
    assert values["out_of_range_rate"] == pytest.approx(0.25)
    median = np.median(rows, axis=0)
    expected = np.abs(median - frozen["mean"]) / frozen["std"]
    for name, sigma in zip(w.NAMES, expected, strict=True):
        found = values[f"sigma {name.removesuffix('.pos')}"]
        assert found == pytest.approx(sigma, abs=1e-4)


def test_memory_is_bounded_and_forgets_after_a_window(drift):
    feed(drift, picture=np.zeros_like, state=lambda v: v + 500)
    assert drift.worst is Severity.ERROR
    feed(drift, times=2)
    assert drift.worst is Severity.OK
    feed(drift, state=lambda v: v + 500)
    drift.reset()
    assert drift.findings() == []


def test_a_window_of_pictures_has_the_moments_of_all_its_pixels(checkpoint):
    drift = Drift(checkpoint, settings=DriftSettings(window=4))
    random = np.random.default_rng(0)
    images = [
        random.integers(0, level, (32, 32, 3)).astype(np.uint8) for level in (50, 120, 256, 80)
    ]
    for image in images:
        drift.pictures({"front": image}, 0.0)
    pixels = np.concatenate([image.reshape(-1, 3) for image in images]) / 255
    values = line(drift, "camera front").values
    for channel, name in enumerate("RGB"):
        assert values[f"{name} mean"] == pytest.approx(pixels[:, channel].mean(), abs=1e-9)
        assert values[f"{name} std"] == pytest.approx(pixels[:, channel].std(), abs=1e-9)


def test_a_camera_without_statistics_of_its_own_is_said_to_be_unjudged(tmp_path):
    world = w.World(w.save_good(tmp_path / "plain", None))
    means = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}

    def imagenet(tensors):
        for name, values in means.items():
            tensors[f"{w.FRONT}.{name}"] = torch.tensor(values).view(3, 1, 1)
        for name in [n for n in tensors if n.startswith(w.FRONT + ".q")]:
            del tensors[name]

    w.statistics(imagenet)(world)
    drift = Drift(read_checkpoint(world.checkpoint), settings=DriftSettings(window=1))
    drift.pictures({"front": w.seen(0)["front"][0]}, 0.0)
    found = line(drift, "camera front")
    assert (
        found.severity is Severity.OPEN
        and "cannot be judged" in found.found
        and "R mean" in found.values
    )
    # Black pictures are black whatever the training's were; a covered lens shows some noise.
    drift.pictures({"front": w.covered_lens((48, 64, 3))}, 0.1)
    found = line(drift, "camera front")
    assert found.severity is Severity.ERROR and "black" in found.found


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory):
    """As LeRobot trains by default: ImageNet's mean and std, the data's quantiles beside them."""
    world = w.World(w.save_good(tmp_path_factory.mktemp("imagenet") / "plain", None))
    w.statistics(w.imagenet)(world)
    return read_checkpoint(world.checkpoint)


def test_quantiles_stand_in_for_imagenet_statistics(imagenet):
    drift = Drift(imagenet, w.NAMES, w.NAMES, DriftSettings(window=WINDOW))
    feed(drift)
    found = line(drift, "camera front")
    assert found.severity is Severity.OK and "by median and deciles" in found.found
    # numpy's quantiles of all that the window saw, at the pixels that were taken.
    taken = w.seen(0)["front"][-WINDOW:].reshape(-1, 3) / 255
    q10, q50, q90 = np.quantile(taken, [0.1, 0.5, 0.9], axis=0)
    feature = describe(w.FRONT, "VISUAL", "MEAN_STD", imagenet.statistics[w.FRONT])
    expected = divergence(q50, (q90 - q10) / Q10_TO_Q90, feature.mean, feature.spread()).mean()
    assert found.values["divergence"] == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize(
    "picture", [np.zeros_like, lambda p: w.covered_lens(p.shape), lambda p: p // 6]
)
def test_black_pictures_are_noticed_beside_imagenet_statistics(picture, imagenet):
    drift = Drift(imagenet, w.NAMES, w.NAMES, DriftSettings(window=WINDOW))
    feed(drift, picture=picture)
    for camera in w.CAMERAS:
        assert line(drift, f"camera {camera}").severity is Severity.ERROR


def test_thresholds_are_settings(imagenet):
    """What is an error by default is none by thresholds that a person set, and the reverse."""
    lenient = DriftSettings(WINDOW, warn_divergence=1e5, stop_divergence=1e5)
    drift = Drift(imagenet, w.NAMES, w.NAMES, lenient)
    feed(drift, picture=lambda p: p // 6)
    assert drift.worst is Severity.OK
    drift.tune(DriftSettings(WINDOW))
    assert line(drift, "camera front").severity is Severity.ERROR
    strict = DriftSettings(WINDOW, warn_divergence=1e-9, stop_divergence=1e-9)
    drift = Drift(imagenet, w.NAMES, w.NAMES, strict)
    feed(drift)
    assert line(drift, "camera front").severity is Severity.ERROR


@pytest.mark.parametrize(
    "settings",
    [
        {"window": 0},
        {"warn_sigma": 9},
        {"stop_rate": 0.1},
        {"warn_divergence": 0},
        {"dark": 1},
    ],
)
def test_settings_that_stop_before_they_warn_are_refused(settings):
    with pytest.raises(ValueError, match=r"expected|window"):
        DriftSettings(**settings)


def ride(drift, seen=lambda row: row, made=lambda row: row, pictures=None, steps=12):
    """The motion of an arm that is sent where the data goes next, three frames at a time."""
    rows = w.dataset().states["degrees"]
    for index in range(0, 3 * steps, 3):
        drift.state(seen(rows[index]).astype(np.float32))
        plan = seen(rows[index]) + made(rows[index : index + 8] - rows[index])
        drift.planned(plan.astype(np.float32), index)
        if pictures is not None:
            drift.pictures({"front": pictures(index // 3)}, index / 30)


def reversed_elbow(row):
    return row * np.array([1, 1, -1, 1, 1, 1])


def codes(drift):
    return [str(each.code) for each in drift.findings()]


def test_a_joint_that_goes_the_other_way_is_an_error(drift):
    ride(drift, made=reversed_elbow)
    found = line(drift, "joint elbow_flex")
    assert found.code is Code.POLICY_DRIFT_INVERTED and found.severity is Severity.ERROR
    drift.reset()
    assert codes(drift) == []


def test_an_arm_that_follows_is_not(drift):
    ride(drift)
    assert "policy.drift-inverted" not in codes(drift)


def test_an_arm_that_a_person_leads_elsewhere_is_not(drift):
    ride(drift, made=lambda row: -row)
    assert "policy.drift-inverted" not in codes(drift)


def test_a_picture_that_stays_while_the_arm_moves_is_frozen(drift):
    first = w.seen(0)["front"][0]
    ride(drift, pictures=lambda step: first, steps=14)
    assert "policy.drift-frozen" in codes(drift)


def test_a_picture_that_stays_as_long_as_an_aligner_lets_it_is_left_to_the_aligner(drift):
    """It says that the camera is frozen, and sends no frames that the policy could judge."""
    first = w.seen(0)["front"][0]
    default = {setting.name: setting.default for setting in stream_settings("front")}
    longest_s = default["front.frozen_s"] + 2 * 0.04  # a frame's time is not the picture's
    ride(drift, pictures=lambda step: first, steps=1 + int(10 * longest_s))
    assert "policy.drift-frozen" not in codes(drift)


def test_a_picture_that_stays_while_the_arm_waits_is_not(drift):
    first, row = w.seen(0)["front"][0], w.dataset().states["degrees"][0].astype(np.float32)
    for look in range(24):
        drift.state(row)
        drift.pictures({"front": first}, look / 10)
    assert "policy.drift-frozen" not in codes(drift)


def test_pictures_that_change_are_not(drift):
    taken = w.seen(0)["front"]
    ride(drift, pictures=lambda step: taken[step])
    assert "policy.drift-frozen" not in codes(drift)
