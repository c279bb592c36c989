"""`armlet policy check --bag`: a recording of the robot, good and in every way wrong."""

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
from armlet.robots import calibration as calibrations  # noqa: E402
from armlet.sim import FOLLOWER  # noqa: E402

PERIOD_NS = 10**9 // 30


def run(*arguments):
    return main(["policy", "check", *map(str, arguments)])


def recording(
    radians=None, pictures=None, cameras=w.CAMERAS, prefix="", period_ns=PERIOD_NS, raw=False
):
    """The bench's motion as its nodes would have sent it; what is given takes the truth's place."""
    radians = w.motion(1)[:, :6] if radians is None else radians
    pictures = w.seen(1) if pictures is None else pictures
    messages = []
    for row, pose in enumerate(radians):
        stamp = START_NS + row * PERIOD_NS
        messages.append(Recorded(prefix + STATES, stamp, stamp + 10**6, pose))
    for name, camera in zip(w.CAMERAS, cameras, strict=True):
        topic = picture_topic(camera, prefix).removesuffix("/compressed" if raw else "")
        for row, picture in enumerate(pictures[name]):
            stamp = START_NS + row * period_ns + 2 * 10**6
            value = picture if raw else jpeg(picture)
            messages.append(Recorded(topic, stamp, stamp + 5 * 10**6, value))
    return sorted(messages, key=lambda message: message.recorded_ns)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bag_check")
    plain = w.save_good(folder / "plain", None)
    w.sign(plain, folder / "checkpoint")
    calibrations.save(FOLLOWER, folder / "arm.json")
    write(folder / "good", recording())
    return folder


@pytest.fixture
def check(folder, capsys):
    """Runs the check of a bag; status, and what it said."""

    def check(bag, *more, checkpoint="checkpoint"):
        given = ("--checkpoint", folder / checkpoint, "--calibration", folder / "arm.json")
        status = run(*given, "--bag", bag, *more)
        said = capsys.readouterr()
        return status, said.out + said.err

    return check


def test_a_good_bag_passes_item_by_item_and_is_drawn(folder, check, tmp_path):
    """What the arm was commanded is not in it, and is not needed."""
    status, said = check(folder / "good", "--picture", tmp_path / "fed.png")
    assert status == 0, said
    for item in (
        "fps: 30",
        "calibration",
        "state names",
        "camera front (height, width, channels)",
        "alignment of state",
        "input from the bag: passes",
        "colours of camera wrist, bag",
        "which camera is which, bag",
        "joint units by the pose, bag",
    ):
        assert f"ok    {item}" in said, said
    assert (tmp_path / "fed.png").stat().st_size > 20_000


def test_raw_pictures_and_a_namespace(check, tmp_path):
    bag = write(tmp_path / "bag", recording(prefix="/left", raw=True))
    status, said = check(bag, "--namespace", "left")
    assert status == 0, said
    assert "ok    camera front (height, width, channels), raw where jpeg was recorded" in said


@pytest.mark.parametrize(
    ("change", "wrong", "fix"),
    [
        (
            lambda: recording(cameras=("wrist", "front")),
            "which camera is which, bag",
            "exchange the cables",
        ),
        (
            lambda: recording(pictures={k: v[..., ::-1].copy() for k, v in w.seen(1).items()}),
            "colours of camera front, bag",
            "set its encoding to rgb8",
        ),
        (
            lambda: recording(radians=np.rad2deg(w.motion(1)[:, :6])),
            "joint units by the pose, bag",
            "they are degrees, publish radians",
        ),
        (
            lambda: recording(cameras=("front", "top")),
            "camera wrist (height, width, channels)",
            "name it as in the dataset",
        ),
        (
            lambda: recording(pictures={k: v[:, ::2, ::2] for k, v in w.seen(1).items()}),
            "camera front (height, width, channels)",
            "set its picture size",
        ),
        (
            lambda: recording(
                pictures={k: v[::2] for k, v in w.seen(1).items()}, period_ns=2 * PERIOD_NS
            ),
            "fps: expected 30, found 15",
            "rate",
        ),
    ],
    ids=["swapped cameras", "BGR", "degrees for radians", "renamed", "half size", "half rate"],
)
def test_what_is_wrong_with_a_bag_is_refused_by_item(change, wrong, fix, check, tmp_path):
    status, said = check(write(tmp_path / "bag", change()))
    assert status == 1, said
    (line,) = [line for line in said.splitlines() if line.startswith(f"ERROR {wrong}")]
    assert "expected" in line and "found" in line and fix in line, said


def test_units_that_nobody_stated_are_asked_for_and_cross_examined(folder, check):
    status, said = check(folder / "good", checkpoint="plain")
    assert status == 1 and "ERROR joint units" in said and "give joint_units" in said
    status, said = check(folder / "good", "--joint-units", "degrees", checkpoint="plain")
    assert status == 0, said


def test_json_says_the_same(folder, check):
    status, said = check(folder / "good", "--json")
    assert status == 0
    items = {item["item"]: item["verdict"] for item in json.loads(said)["items"]}
    assert items["which camera is which, bag"] == "ok"


def test_what_cannot_be_looked_at_is_status_2_in_one_line(folder, check, tmp_path):
    commands = [m for m in recording() if m.topic != STATES]
    no_states = write(tmp_path / "no_states", commands)
    (tmp_path / "nothing").mkdir()
    parameters = tmp_path / "aligner.yaml"
    parameters.write_text("/**: {ros__parameters: {frames: 3}}")
    for arguments, text in (
        ((no_states,), f"no topic {STATES}"),
        ((tmp_path / "nothing",), "not a bag that can be read"),
        ((folder / "good", "--namespace", "other"), "no topic /other/joint_states"),
        ((folder / "good", "--params", parameters), "no parameters ['frames']"),
    ):
        status, said = check(*arguments)
        assert status == 2 and text in said and said.count("\n") == 1, said
