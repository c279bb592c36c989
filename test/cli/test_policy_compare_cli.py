"""`armlet policy compare`: datasets and bags through the network's door, and the exit status."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the policy extra is not installed")
pytest.importorskip("rosbags", reason="reading bags needs rosbags (pip install 'armlet[bag]')")

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS / "policies"), str(TESTS / "datasets")]

import check_world as w  # noqa: E402
from made_bags import STATES, Recorded, picture_topic, write  # noqa: E402
from made_episodes import START_NS, jpeg  # noqa: E402
from narrow_network import narrow_network  # noqa: E402, F401

from armlet.cli.main import main  # noqa: E402
from armlet.cli.policy import policy_compare  # noqa: E402
from armlet.datasets import DatasetWriter, EpisodeFrame  # noqa: E402
from armlet.policies.fit.distances import Allowed  # noqa: E402
from armlet.robots import calibration as calibrations  # noqa: E402
from armlet.robots.units import own_converter  # noqa: E402
from armlet.sim import FOLLOWER  # noqa: E402

PERIOD_NS = 10**9 // 30


def record(root, change=lambda images: images, states=lambda values: values):
    """The bench's motion as a dataset of one episode; changed as a fault would change it."""
    rows = own_converter(FOLLOWER).radians_to_dataset(w.motion(1)[:, :6], "degrees")
    rows, images = states(rows), change(dict(w.seen(1)))
    with DatasetWriter(root, w.CONTRACT) as writer:
        writer.begin_episode("reach")
        for index, row in enumerate(rows):
            writer.add_frame(
                EpisodeFrame(
                    state=row,
                    action=row,
                    images={name: taken[index] for name, taken in images.items()},
                    stamp_ns=START_NS + index * PERIOD_NS,
                    skew_s={"state": 0.0},
                )
            )
        writer.finish_episode()
    return root


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compare")
    plain = w.save_good(folder / "plain", None)
    w.sign(plain, folder / "checkpoint")
    calibrations.save(FOLLOWER, folder / "arm.json")
    record(folder / "data")
    messages = []
    for row, pose in enumerate(w.motion(1)[:, :6]):
        stamp = START_NS + row * PERIOD_NS
        messages.append(Recorded(STATES, stamp, stamp + 10**6, pose))
        for name, taken in w.seen(1).items():
            messages.append(
                Recorded(picture_topic(name), stamp, stamp + 5 * 10**6, jpeg(taken[row]))
            )
    write(folder / "bag", sorted(messages, key=lambda message: message.recorded_ns))
    return folder


@pytest.fixture
def compare(folder, capsys):
    """Runs the comparison; status, and what it said."""

    def compare(first, second, *more, checkpoint="checkpoint"):
        given = ("--checkpoint", folder / checkpoint, "--calibration", folder / "arm.json")
        status = main(["policy", "compare", *map(str, (first, second, *given, *more))])
        said = capsys.readouterr()
        return status, said.out + said.err

    return compare


def test_a_source_is_itself_and_its_numbers_are_nought(folder, compare):
    status, said = compare(folder / "data", folder / "data", "--json")
    document = json.loads(said)
    assert status == 0 and document["ok"] is True
    rows = {row["feature"]: row["entries"] for row in document["distances"]}
    assert {*rows} == {w.STATE, w.FRONT, w.WRIST}
    assert [entry["entry"] for entry in rows[w.FRONT]] == ["R", "G", "B"]
    for entry in [entry for entries in rows.values() for entry in entries]:
        assert entry["divergence"] == pytest.approx(0, abs=1e-9)
        assert entry["quantile_distance"] == 0


@pytest.mark.thorough
def test_a_bag_and_the_dataset_of_the_same_motion_are_the_same(folder, compare, tmp_path):
    """One is of JPEGs at stamps, the other of a video at rows: the network sees one thing."""
    picture = tmp_path / "fed.png"
    status, said = compare(folder / "data", folder / "bag", "--picture", picture)
    assert status == 0, said
    assert said.count("ok    network input of") == 3 and "the same to the network" in said
    assert picture.read_bytes().startswith(b"\x89PNG")


def exchanged(images):
    return {"front": images["wrist"], "wrist": images["front"]}


def bgr(images):
    return {**images, "wrist": images["wrist"][..., ::-1].copy()}


def darker(images):
    return {**images, "front": images["front"] // 3}


@pytest.mark.parametrize(
    ("fault", "features"),
    [
        ({"change": exchanged}, {w.FRONT, w.WRIST}),
        ({"change": bgr}, {w.WRIST}),
        ({"change": darker}, {w.FRONT}),
        ({"states": np.radians}, {w.STATE}),
        ({"states": lambda values: values[:, [0, 2, 1, 3, 4, 5]]}, {w.STATE}),
    ],
)
def test_what_differs_is_named_and_ends_with_status_1(fault, features, folder, compare, tmp_path):
    other = record(tmp_path / "other", **fault)
    status, said = compare(folder / "data", other, "--json")
    document = json.loads(said)
    assert status == 1 and document["ok"] is False
    wrong = [item for item in document["items"] if item["severity"] == "error"]
    assert {item["subject"].removeprefix("network input of ") for item in wrong} == features
    assert {item["code"] for item in wrong} == {"policy.sources-differ"}
    lenient = ("--max-divergence", "1e9", "--max-quantile-distance", "1e9")
    assert compare(folder / "data", other, *lenient)[0] == 0


def test_a_bag_whose_joints_cannot_be_converted_is_different_and_says_so(folder, compare):
    """A plain checkpoint does not state units, and none are given."""
    status, said = compare(folder / "data", folder / "bag", checkpoint="plain")
    assert status == 1 and "need --calibration and joint units" in said
    units = ("--joint-units", "degrees")
    assert compare(folder / "data", folder / "bag", *units, checkpoint="plain")[0] == 0


def test_the_commands_defaults_are_those_of_python():
    assert Allowed(policy_compare._DIVERGENCE, policy_compare._QUANTILE) == Allowed()


@pytest.mark.parametrize(
    ("second", "more", "words"),
    [
        ("nothing", (), "nothing"),
        ("data", ("--max-divergence", "0"), "expected a positive number"),
        ("data", ("--max-quantile-distance", "nan"), "expected a positive number"),
    ],
)
def test_what_cannot_be_compared_is_status_2(second, more, words, folder, compare):
    status, said = compare(folder / "data", folder / second, *more)
    assert status == 2 and words in said and said.count("\n") == 1
