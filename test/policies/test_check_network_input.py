"""What reaches the network is measured there, so a picture divided twice, or never, shows."""

import dataclasses

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the policy extra is not installed")

import check_world as w  # noqa: E402

from armlet.findings import Code, Severity  # noqa: E402
from armlet.policies import Preprocessor, read_checkpoint  # noqa: E402
from armlet.policies.fit.check import check  # noqa: E402

pytestmark = pytest.mark.thorough

MODES = ("MEAN_STD", "MIN_MAX", "QUANTILES", "QUANTILE10", "IDENTITY")


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return w.save_good(tmp_path_factory.mktemp("input") / "good", w.CONTRACT)


@pytest.fixture
def plain(tmp_path_factory):
    """A checkpoint without contract, whose statistics may be changed."""
    return w.World(w.save_good(tmp_path_factory.mktemp("plain") / "plain", None))


def report(checkpoint, data=None):
    return check(checkpoint, joint_units="degrees", samples=[data or w.dataset()])


def lines(found):
    return {f.subject: f for f in found.findings if f.code is Code.POLICY_INPUT_SCALE}


class Wrong(Preprocessor):
    """Multiplies pictures by `factor` before they are divided by 255 and normalized."""

    factor = 1.0

    @classmethod
    def of(cls, checkpoint, statistics, factor):
        made = cls.from_config(checkpoint.config, statistics)
        made.factor = factor
        return dataclasses.replace(checkpoint, preprocessor=made)

    def network_input(self, arrays):
        pictures = {k: v for k, v in arrays.items() if self.features[k].type == "VISUAL"}
        return super().network_input(
            {**arrays, **{k: v.float() * self.factor for k, v in pictures.items()}}
        )


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("factor", "words"), [(1, ""), (1 / 255, "divided by 255 twice"), (255, "never divided by 255")]
)
def test_every_mode_shows_a_picture_divided_twice_or_never(mode, factor, words, tmp_path):
    data = w.dataset()
    checkpoint = read_checkpoint(w.save_good(tmp_path / mode, None, mode))
    wrong = Wrong.of(checkpoint, data.statistics, factor)
    found = lines(report(wrong))
    assert {*found} == {
        f"network input of {what}, dataset" for what in ("camera front", "camera wrist", w.STATE)
    }
    for camera in w.CAMERAS:
        line = found[f"network input of camera {camera}, dataset"]
        assert line.severity is (Severity.ERROR if words else Severity.OK), line
        assert words in line.because
    assert found[f"network input of {w.STATE}, dataset"].severity is Severity.OK


def test_numbers_are_those_of_the_networks_input(saved):
    """By the formula, over the pixels and rows themselves; JSON has them beside the right ones."""
    data = w.dataset()
    document = report(read_checkpoint(saved)).to_json()
    rows = {row["feature"]: row["entries"] for row in document["inputs"]}
    assert [*rows] == [w.FRONT, w.WRIST, w.STATE]
    taken = data.images["front"][np.linspace(0, 47, 8).astype(int)].reshape(-1, 3) / 255
    stored = data.statistics[w.FRONT]
    expected = (taken - stored["mean"].ravel()) / stored["std"].ravel()
    for channel, entry in enumerate(rows[w.FRONT]):
        assert entry["entry"] == "RGB"[channel]
        values = expected[:, channel]
        measured = {"mean": values.mean(), "std": values.std(), "min": values.min()}
        measured |= {"max": values.max(), "expected_mean": 0, "expected_std": 1}
        measured["expected_max"] = (1 - stored["mean"].ravel()[channel]) / stored["std"].ravel()[
            channel
        ]
        for name, value in measured.items():
            assert entry[name] == pytest.approx(value, abs=2e-4), name
    states, stored = data.states["degrees"], data.statistics[w.STATE]
    for joint, entry in enumerate(rows[w.STATE]):
        values = (states[:, joint] - stored["mean"][joint]) / stored["std"][joint]
        assert entry["entry"] == w.NAMES[joint].removesuffix(".pos")
        for name, value in (("mean", 0), ("std", 1), ("min", values.min()), ("max", values.max())):
            assert entry[name] == pytest.approx(value, abs=1e-3)
            assert entry[f"expected_{name}"] == pytest.approx(entry[name], abs=1e-3)


def test_the_line_says_what_is_right_beside_what_is(saved):
    line = lines(report(read_checkpoint(saved)))["network input of camera front, dataset"]
    assert line.found.startswith("R ") and "G " in line.found and "±" in line.found
    assert "rightly R " in line.because and "0.00±1.00 in" in line.because


def test_statistics_of_pictures_divided_twice_show_at_the_network(plain):
    def twice(tensors):
        for name in [n for n in tensors if n.startswith(w.FRONT + ".")]:
            tensors[name] = tensors[name] / 255 if tensors[name].ndim == 3 else tensors[name]

    w.statistics(twice)(plain)
    found = lines(report(read_checkpoint(plain.checkpoint)))
    line = found["network input of camera front, dataset"]
    assert line.severity is Severity.ERROR and "times that of the statistics" in line.because
    assert found["network input of camera wrist, dataset"].severity is Severity.OK


def test_imagenet_statistics_are_right_as_they_are(plain):
    w.statistics(w.imagenet)(plain)
    checkpoint = read_checkpoint(plain.checkpoint)
    found = lines(report(checkpoint))
    assert {line.severity for line in found.values()} == {Severity.OK}
    # Without quantiles, and without a dataset's statistics, usual pictures stand in.
    bare = dataclasses.replace(w.dataset(), statistics={})
    assert {line.severity for line in lines(report(checkpoint, bare)).values()} == {Severity.OK}


def test_pictures_that_come_black_are_not_said_to_be_preprocessed_wrongly(saved):
    data = w.dataset()
    black = {name: (images // 255).astype(np.uint8) for name, images in data.images.items()}
    found = report(read_checkpoint(saved), dataclasses.replace(data, images=black))
    noted = lines(found)["network input of camera front, dataset"]
    assert noted.severity is Severity.NOTE and "divided by 255 twice" in noted.because
    assert Code.POLICY_IMAGE_BLACK in {f.code for f in found.wrong}


def test_what_the_policy_does_not_take_has_no_input(saved):
    """Another line refuses it; here it costs nothing, and no exception."""
    data = w.dataset()
    odd = {"front": data.images["front"][:, ::2], "wrist": data.images["wrist"] / 255.0}
    five = {"degrees": data.states["degrees"][:, :5]}
    found = report(read_checkpoint(saved), dataclasses.replace(data, images=odd, states=five))
    assert lines(found) == {} and not found.ok
    assert found.to_json()["inputs"] == []
