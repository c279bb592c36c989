"""A bag of the raw topics gives the rows that were, or would have been, recorded live."""

import argparse
import dataclasses
import json
import sys

import numpy as np
import pytest

pytest.importorskip("rosbags", reason="reading bags needs rosbags (pip install 'armlet[bag]')")

from made_bags import COMMANDS, STATES, Recorded, picture_topic, scene, write
from made_episodes import START_NS, counters, jpeg, rgb

from armlet.align import Aligner
from armlet.bringup import share_directory
from armlet.cli.data import dataset as command
from armlet.contract import load
from armlet.datasets import Dataset, check
from armlet.datasets.bags.streams import plan
from armlet.datasets.format import layout
from armlet.datasets.format.provenance import EpisodeProvenance
from armlet.robots import calibration as calibrations
from armlet.robots.units import own_converter
from armlet.settings.aligner import stream_settings

CALIBRATION = share_directory() / "config/calibration/emulated_follower.json"
STREAMS = {STATES: "state", COMMANDS: "action"}
STREAMS |= {picture_topic(camera): camera for camera in ("front", "wrist")}
SECOND = 10**9


def run(*words):
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers(required=True))
    args = parser.parse_args(["dataset", *map(str, words)])
    return args.run(args)


def convert(bag, output, *words):
    arguments = ["--calibration", CALIBRATION, "--task", "reach", *words]
    return run("convert", bag, output, *arguments)


TAKEN_OVER_NS = START_NS + 1_500_000_000


@pytest.fixture(scope="module")
def messages():
    """A policy drives, and then a person."""
    return [
        dataclasses.replace(message, source=commander(message.stamp_ns))
        if message.topic == COMMANDS
        else message
        for message in scene(4.0)
    ]


def commander(stamp_ns):
    by_person = stamp_ns >= TAKEN_OVER_NS
    return "joint_commands" if by_person else "joint_trajectory/0123456789abcdef"


@pytest.fixture(scope="module", params=["mcap", "sqlite3"])
def bag(request, messages, tmp_path_factory):
    return write(tmp_path_factory.mktemp("bag") / request.param, messages, request.param)


def live_frames(messages):
    """As the aligner node: observation and action in aligners of their own, on the node's clock."""
    given = {"front": {}, "wrist": {}}
    given = {
        "streams": ["state", "action", "front", "wrist"],
        **{f"{name}.type": "joint_state" for name in ("state", "action")},
        **{f"{name}.policy": "linear" for name in ("state", "action")},
        **{f"{name}.tolerance_s": 0.05 for name in ("state", "action")},
        **{f"{name}.topic": name for name in ("state", "action", *given)},
        **{f"{name}.type": "compressed" for name in given},
        **{f"{name}.policy": "nearest" for name in given},
        **{f"{name}.tolerance_s": 0.04 for name in given},
    }
    configs = [s.config for stream in plan(given, ("a",)).streams for s in stream.sources]
    groups = [
        Aligner([c for c in configs if (c.name == "action") == alone], 30, 0.3)
        for alone in (False, True)
    ]
    found = [{}, {}]
    for message in messages:
        name = STREAMS[message.topic]
        group = int(name == "action")
        groups[group].push(name, message.stamp_ns, message.value)
        for number, aligner in enumerate(groups):
            for frame in aligner.frames(message.recorded_ns):
                found[number][frame.stamp_ns] = frame
    for number, aligner in enumerate(groups):
        for frame in aligner.frames(messages[-1].recorded_ns + SECOND):
            found[number][frame.stamp_ns] = frame
    return [
        (
            stamp,
            found[0][stamp].values | found[1][stamp].values,
            found[0][stamp].skew_s | found[1][stamp].skew_s,
        )
        for stamp in sorted(set(found[0]) & set(found[1]))
    ]


def joined(root, key):
    dataset = Dataset(root)
    return np.concatenate([dataset.episode(k).columns[key] for k in range(len(dataset.episodes))])


@pytest.mark.representatives(1)
def test_rows_are_those_of_the_live_aligner_bit_for_bit(bag, messages, tmp_path):
    assert convert(bag, tmp_path / "set") == 0
    assert check(tmp_path / "set") == []
    stamps = joined(tmp_path / "set", layout.STAMP)
    live = [frame for frame in live_frames(messages) if frame[0] <= stamps[-1]]
    assert len(live) > 90
    assert stamps.tolist() == [stamp for stamp, _, _ in live]
    calibration = calibrations.load(CALIBRATION)
    for key, name in ((layout.STATE, "state"), (layout.ACTION, "action")):
        expected = np.array(
            [
                own_converter(calibration).radians_to_dataset(values[name], "degrees")
                for _, values, _ in live
            ]
        ).astype(np.float32)
        assert joined(tmp_path / "set", key).tobytes() == expected.tobytes()
    skews = np.array(
        [[skew[n] for n in ("state", "action", "front", "wrist")] for *_, skew in live]
    )
    assert joined(tmp_path / "set", layout.SKEW).tobytes() == skews.astype(np.float32).tobytes()
    dataset = Dataset(tmp_path / "set")
    for camera in ("front", "wrist"):
        pictures = np.concatenate([dataset.images(k, camera) for k in range(len(dataset.episodes))])
        expected = counters(np.stack([rgb(values[camera]) for _, values, _ in live]))
        assert counters(pictures) == expected
    sent = np.array([m.stamp_ns for m in messages if m.topic == COMMANDS])
    nearest = [commander(sent[np.abs(sent - stamp).argmin()]) for stamp in stamps]
    assert commanders_of(dataset) == nearest


def commanders_of(dataset):
    """Who commanded each row; which policy it was no bag says."""
    found, source = [], {"person": "joint_commands", "policy": commander(0)}
    for episode in dataset.episodes:
        noted = dataset.provenance(episode.episode)
        rows = noted.rows if noted else {"person": f"0-{episode.length - 1}"}
        own = {
            k: source[who]
            for who in rows
            for first, last in EpisodeProvenance((), rows).ranges(who)
            for k in range(first, last + 1)
        }
        found += [own[k] for k in range(episode.length)]
    return found


@pytest.mark.representatives(1)
def test_contract_and_ledger_are_in_the_dataset(bag, messages, tmp_path, capsys):
    assert convert(bag, tmp_path / "set") == 0
    said = capsys.readouterr().out
    assert "state: received 400" in said
    contract = load(tmp_path / "set" / layout.CONTRACT)
    assert contract.calibration == calibrations.fingerprint(calibrations.load(CALIBRATION))
    assert [(s.name, s.policy, s.tolerance_s) for s in contract.alignment] == [
        ("state", "linear", 0.05),
        ("action", "linear", 0.05),
        ("front", "nearest", 0.04),
        ("wrist", "nearest", 0.04),
    ]
    assert [(c.name, c.height, c.width, c.codec) for c in contract.cameras] == [
        ("front", 48, 64, "jpeg"),
        ("wrist", 48, 64, "jpeg"),
    ]
    dataset = Dataset(tmp_path / "set")
    assert dataset.episodes[0].tasks == ("reach",)
    ledger = dataset.ledger(0)
    assert ledger["front"]["used"] >= dataset.episodes[0].length - 1
    assert ledger["front"]["reused"] > 0


@pytest.mark.representatives(1)
def test_episodes_are_where_they_are_said_to_be(bag, tmp_path):
    begin = START_NS + SECOND // 2
    words = ["--episode", f"{begin / SECOND:.1f}:{begin // SECOND + 2}.000000001:first"]
    words += ["--episode", "2.5:3", "--to", "v2.1", "--codec", "hevc"]
    assert convert(bag, tmp_path / "set", *words) == 0
    dataset = Dataset(tmp_path / "set")
    assert dataset.info.version == "v2.1"
    assert [e.tasks for e in dataset.episodes] == [("first",), ("reach",)]
    stamps = dataset.episode(0).stamp_ns
    assert begin <= stamps[0] < begin + SECOND // 30 + 1
    # The end is exclusive, and exact: 1 ns later takes the frame of the full second in.
    assert stamps[-1] == (begin // SECOND + 2) * SECOND
    assert 13 <= dataset.episodes[1].length <= 16


def test_a_gap_splits_or_refuses_and_torn_pictures_are_counted(messages, tmp_path, capsys):
    torn = [
        dataclasses.replace(m, value=m.value[:-200])
        if m.topic == picture_topic("front") and 1.5 < (m.stamp_ns - START_NS) / SECOND < 2.0
        else m
        for m in messages
    ]
    bag = write(tmp_path / "bag", torn)
    assert convert(bag, tmp_path / "split") == 0
    captured = capsys.readouterr()
    assert "refused 14" in captured.out or "refused 15" in captured.out
    assert "torn picture" in captured.err
    assert len(Dataset(tmp_path / "split").episodes) == 2
    assert convert(bag, tmp_path / "refuse", "--on-gap", "refuse") == 2
    assert "frame(s) missing" in capsys.readouterr().err
    assert not (tmp_path / "refuse").exists()


def test_raw_pictures_and_a_namespace(tmp_path):
    raw = [
        Recorded("/top/image_raw", m.stamp_ns, m.recorded_ns, rgb(m.value))
        if m.topic == picture_topic("top")
        else m
        for m in scene(1.0, ("top",))
    ]
    bag = write(tmp_path / "bag", raw, prefix="/left")
    assert convert(bag, tmp_path / "set", "--namespace", "left", "--raw") == 0
    dataset = Dataset(tmp_path / "set")
    assert dataset.contract.cameras[0].codec == "raw"
    numbers = counters(dataset.images(0, "top"))
    assert set(np.diff(numbers)) <= {0, 1, 2}


def test_the_order_of_a_calibration_file_means_nothing(tmp_path):
    bag = write(tmp_path / "bag", scene(0.5))
    entries = json.loads(CALIBRATION.read_text())
    trees = set()
    for number, names in enumerate((list(entries), sorted(entries), list(reversed(entries)))):
        file = tmp_path / f"order{number}.json"
        file.write_text(json.dumps({name: entries[name] for name in names}))
        root = tmp_path / f"set{number}"
        assert run("convert", bag, root, "--calibration", file, "--task", "reach") == 0
        files = sorted(path for path in root.rglob("*") if path.is_file())
        trees.add(tuple((str(f.relative_to(root)), f.read_bytes()) for f in files))
    assert len(trees) == 1


def test_two_arms_make_one_vector(tmp_path, capsys):
    messages = []
    for m in scene(1.0, ("front",)):
        sides = ("/left", "/right") if m.topic in (STATES, COMMANDS) else ("",)
        messages += [dataclasses.replace(m, topic=side + m.topic) for side in sides]
    bag = write(tmp_path / "bag", messages)
    names = json.loads(CALIBRATION.read_text())
    both = {f"{side}_{name}": joint for side in ("left", "right") for name, joint in names.items()}
    for number, joint in enumerate(both.values()):
        joint["id"] = number + 1
    both = {name: {**joint, "id": n + 1} for n, (name, joint) in enumerate(both.items())}
    file = tmp_path / "both.json"
    file.write_text(json.dumps(both))
    params = tmp_path / "aligner.yaml"
    params.write_text(
        "/**:\n  ros__parameters:\n    streams: [state, action, front]\n"
        f"    joints: {list(both)}\n".replace("'", "")
        + "".join(
            f"    {name}: {{topics: [left{topic}, right{topic}], type: joint_state, "
            "policy: linear, tolerance_s: 0.05}\n"
            for name, topic in (("state", STATES), ("action", COMMANDS))
        )
        + "    front: {topic: front/image_raw/compressed, type: compressed, policy: nearest, "
        "tolerance_s: 0.04}\n"
    )
    words = ["--params", params, "--calibration", file, "--task", "lift"]
    assert run("convert", bag, tmp_path / "set", *words) == 0
    dataset = Dataset(tmp_path / "set")
    assert dataset.info.features[layout.STATE].names == tuple(f"{name}.pos" for name in both)
    # By a file for each arm likewise; one arm's file alone is refused before anything is written.
    words[3] = f"left_={CALIBRATION},right_={CALIBRATION}"
    assert run("convert", bag, tmp_path / "two", *words) == 0
    key = layout.STATE
    assert joined(tmp_path / "two", key).tobytes() == joined(tmp_path / "set", key).tobytes()
    # The calibrations' prefixes are enough, whatever the order of joints in their files.
    reordered = tmp_path / "reordered.json"
    reordered.write_text(json.dumps(dict(sorted(names.items()))))
    assert list(json.loads(reordered.read_text())) != list(names)
    files = f"left_={reordered},right_={CALIBRATION}"
    assert run("convert", bag, tmp_path / "few", "--calibration", files, "--task", "lift") == 0
    assert Dataset(tmp_path / "few").info.features[key].names == dataset.info.features[key].names
    assert joined(tmp_path / "few", key).tobytes() == joined(tmp_path / "set", key).tobytes()
    words[3] = CALIBRATION
    assert run("convert", bag, tmp_path / "one", *words) == 2
    assert "lacks left_shoulder_pan" in capsys.readouterr().err
    assert not (tmp_path / "one").exists()
    # Both arms are converted alike, their grippers too.
    alone = own_converter(calibrations.load(CALIBRATION))
    radians = alone.dataset_to_radians(dataset.episode(0).state[:, :6], "degrees")
    np.testing.assert_allclose(
        alone.radians_to_dataset(radians, "degrees"), dataset.episode(0).state[:, 6:], atol=1e-4
    )
    state = dataset.episode(0).state
    assert state.shape[1] == 12
    assert set(dataset.ledger(0)) == {
        "state.left",
        "state.right",
        "action.left",
        "action.right",
        "front",
    }


def test_the_aligner_node_reads_the_same_streams_of_the_same_parameters():
    raw_streams = pytest.importorskip("armlet.nodes.raw_streams", reason="needs ROS 2")
    joints = ["left_pan", "left_gripper", "right_pan", "right_gripper"]
    given = {
        "streams": ["state", "action", "front"],
        "joints": joints,
        "state.topics": ["left/joint_states", "right/joint_states"],
        "state.type": "joint_state",
        "state.policy": "linear",
        "state.tolerance_s": 0.05,
        "state.reorder_s": 0.01,
        "action.topic": "commands",
        "action.type": "joint_state",
        "action.policy": "previous",
        "action.tolerance_s": 0.1,
        "front.topic": "front/image_raw/compressed",
        "front.type": "compressed",
        "front.policy": "nearest",
        "front.tolerance_s": 0.04,
    }

    def value(name):
        stream = name.partition(".")[0]
        settings = {s.name: s.default for s in stream_settings(stream)}
        return given.get(name, settings[name])

    ours = plan(given, (), "arm")
    for stream in ours.streams:
        node = raw_streams.raw_stream(stream.name, joints, value)
        assert (stream.name, stream.policy, stream.tolerance_s, stream.parts) == (
            node.name,
            node.policy,
            node.tolerance_s,
            node.parts,
        )
        for one, other in zip(stream.sources, node.sources, strict=True):
            assert (one.topic, one.config) == (f"/arm/{other.topic}", other.config)


@pytest.mark.representatives(1)
def test_what_is_lacking_is_named(bag, tmp_path, capsys):
    def said(*words):
        assert run("convert", bag, tmp_path / "set", *words) == 2
        return capsys.readouterr().err

    assert "give --calibration FILE" in said("--task", "reach")
    given = ["--calibration", CALIBRATION]
    assert "give --task TEXT" in said(*given)
    given += ["--task", "reach"]
    assert "has no topic /arm/joint_states (stream state)" in said(*given, "--namespace", "arm")
    assert "has no topic /top/image_raw/compressed" in said(*given, "--cameras", "top")
    assert "no frame lies in" in said(*given, "--episode", "0:1", "--episode", "90:91")
    assert "FROM:TO" in said(*given, "--episode", "5")
    assert "must follow each other" in said(*given, "--episode", "1:3", "--episode", "2:4")
    assert "no parameters ['front.tolerence_s']" in said(*given, "--param", "front.tolerence_s:=1")
    with pytest.raises(SystemExit):
        run("convert", bag, tmp_path / "set", "--to", "v9")
    (tmp_path / "no-bag").mkdir()
    assert run("convert", tmp_path / "no-bag", tmp_path / "out", *given) == 2
    assert "not a bag that can be read" in capsys.readouterr().err


def test_frozen_pictures_are_not_recorded_unless_they_may_be(tmp_path, capsys):
    still = jpeg(np.full((48, 64, 3), 90, np.uint8))
    messages = [
        dataclasses.replace(m, value=still) if isinstance(m.value, bytes) else m
        for m in scene(3.0, ("front",))
    ]
    bag = write(tmp_path / "bag", messages)
    assert convert(bag, tmp_path / "one") == 0
    frozen = Dataset(tmp_path / "one").info.total_frames
    assert frozen < 35
    assert "frozen" in capsys.readouterr().out
    assert convert(bag, tmp_path / "two", "--param", "front.frozen_s:=0.0") == 0
    assert Dataset(tmp_path / "two").info.total_frames > 80


def test_without_the_library_it_says_how_to_get_it(bag, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "rosbags.highlevel", None)
    assert convert(bag, tmp_path / "set") == 1
    assert "pip install 'armlet[bag]'" in capsys.readouterr().err
