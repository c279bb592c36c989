"""The graphs as data."""

import itertools

import pytest
import yaml

from armlet.arm import calibration as calibrations
from armlet.bringup import (
    FASTDDS_VARIABLE,
    GRAPHS,
    BringupError,
    NodeSpec,
    command,
    fastdds_profile,
    graph,
    parameter_file,
    share_directory,
)
from armlet.sim import FOLLOWER, LEADER

HARDWARE = {"follower_calibration": "follower.json", "leader_calibration": "leader.json"}


def specs():
    given = {
        "sim": {"root": "data"},
        "teleop": HARDWARE,
        "record": HARDWARE | {"root": "data", "cameras": "front=0,wrist=1"},
        "policy": {"follower_calibration": "f.json", "checkpoint": "c", "root": "data"},
    }
    return {name: graph(name).nodes(values) for name, values in given.items()}


def test_every_node_has_an_executable_and_shipped_parameters():
    for spec in itertools.chain(*specs().values()):
        assert (share_directory() / "executables" / spec.executable).stat().st_mode & 0o111
        document = yaml.safe_load(parameter_file(spec).read_text())
        assert list(document["/**"]) == ["ros__parameters"]


def test_labels_are_unique_and_namespaces_nest():
    for nodes in specs().values():
        labels = [spec.label for spec in nodes]
        assert len(set(labels)) == len(labels)
    placed = graph("teleop").nodes({**HARDWARE, "namespace": "left"})
    assert {spec.label for spec in placed} == {
        "left/servo_bus",
        "left/leader/servo_bus",
        "left/teleop",
    }


def test_cameras_and_streams_agree():
    record = {spec.label: spec for spec in specs()["record"]}
    assert record["front/camera"].parameters["source"] == "0"
    aligner = record["aligner"].parameters
    assert aligner["streams"] == ["state", "action", "front", "wrist"]
    assert aligner["wrist.topic"] == "wrist/image_raw/compressed"


def test_raw_pictures_bring_their_fast_dds_profile(monkeypatch):
    monkeypatch.delenv(FASTDDS_VARIABLE, raising=False)
    assert all(not spec.environment for spec in graph("sim").nodes({}))
    nodes = graph("sim").nodes({"raw": "true"})
    assert {spec.environment[FASTDDS_VARIABLE] for spec in nodes} == {str(fastdds_profile())}
    assert fastdds_profile().is_file()
    (aligner,) = [spec.parameters for spec in nodes if spec.executable == "aligner"]
    assert (aligner["front.topic"], aligner["front.type"]) == ("front/image_raw", "raw")
    monkeypatch.setenv(FASTDDS_VARIABLE, "mine.xml")
    assert all(not spec.environment for spec in graph("sim").nodes({"raw": "true"}))


def test_a_dead_policy_does_not_stop_the_graph():
    required = {spec.executable: spec.required for spec in specs()["policy"]}
    assert not required.pop("policy")
    assert all(required.values())


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("nothing", {}, "no graph"),
        ("sim", {"camera": "x"}, "no arguments"),
        ("sim", {"policy": "yes"}, "must be one of"),
        ("record", HARDWARE, "root:="),
        ("teleop", {}, "leader_calibration|follower_calibration"),
        ("policy", {"follower_calibration": "f"}, "checkpoint:="),
        ("record", HARDWARE | {"root": "d", "cameras": "front"}, "name=source"),
    ],
)
def test_what_cannot_be_started_is_refused_by_argument(name, given, message):
    with pytest.raises(BringupError, match=message):
        graph(name).nodes(given)


def test_the_command_line_carries_name_namespace_and_parameters(tmp_path):
    spec = NodeSpec("teleop", "teleop", {"joint_units": "degrees"}, "left")
    line = command(spec, tmp_path)
    assert "__node:=teleop" in line
    assert "__ns:=/left" in line
    written = yaml.safe_load((tmp_path / "left.teleop.yaml").read_text())
    assert written == {"/**": {"ros__parameters": {"joint_units": "degrees"}}}


def test_the_emulated_arms_calibrations_are_the_shipped_files():
    directory = share_directory() / "config" / "calibration"
    assert calibrations.load(directory / "emulated_follower.json") == FOLLOWER
    assert calibrations.load(directory / "emulated_leader.json") == LEADER


def test_four_graphs():
    assert sorted(GRAPHS) == ["policy", "record", "sim", "teleop"]
