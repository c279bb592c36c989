"""The recorder survives what it is sent, and a folder that somebody removes."""

import dataclasses
import shutil
from types import SimpleNamespace

import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from node_processes import CALIBRATION, running
from std_msgs.msg import String

from armlet.align import Arrivals
from armlet.bringup import NodeSpec
from armlet.contract import Camera, Contract, ContractError
from armlet.nodes.frames import _require_frames
from armlet.nodes.node import LATCHED_QOS
from armlet.nodes.recorder import Recorder
from armlet.robots import SO101_JOINTS

NAMES = tuple(f"{joint}.pos" for joint in SO101_JOINTS)
GOOD = Contract(30, (Camera("front", 48, 64),), NAMES, NAMES)
FORGED = [
    dataclasses.replace(GOOD, cameras=(Camera(name, 48, 64),))
    for name in ("no topic name", "../x", "", "action", "1st", "a__b", "x/", "~", "{x}")
] + [
    dataclasses.replace(GOOD, cameras=(Camera("front", 0, 64),)),
    dataclasses.replace(GOOD, cameras=(Camera("front", 10**9, 10**9),)),
    dataclasses.replace(GOOD, cameras=(Camera("front", 48, 64),) * 2),
    dataclasses.replace(GOOD, cameras=(Camera("front", 48, 64, codec="?"),)),
    dataclasses.replace(GOOD, fps=0),
    dataclasses.replace(GOOD, state_names=()),
    dataclasses.replace(GOOD, action_names=("a", "a")),
]


@pytest.mark.parametrize("forged", FORGED)
def test_a_contract_of_no_aligner_is_refused(forged):
    with pytest.raises(ContractError):
        _require_frames(forged)


def test_a_contract_of_an_aligner_is_taken():
    _require_frames(GOOD)


def test_frames_from_before_the_clock_was_set_back_are_no_newer_than_they_were():
    """A recording without frames began, and its silence did not count until the old time came."""
    clock = SimpleNamespace(set_back_ns=lambda: 3_600_000_000_000)
    second_ns, came_ns, now_ns = 10**9, 5_000_000_000_000, 5_004_000_000_000 - 3_600_000_000_000
    node = SimpleNamespace(
        clock=clock,
        now_ns=lambda: now_ns,
        value={"max_frame_age_s": 1.0}.get,
        _back_ns=0,
        _arrivals=Arrivals(),
        _stale={},
        _streams={},
        _last_frame_ns=came_ns - second_ns,
        _last_came_ns=came_ns,
        _last_row_ns=0,
        _recorder=SimpleNamespace(status=SimpleNamespace(since_ns=0)),
    )
    assert Recorder._set_back_s(node) == 3600.0
    assert Recorder._silent_s(node) == 4.0
    assert Recorder._why_stale(node).startswith("the newest whole frame is 5.0 s old")
    assert node._last_row_ns == 0, "there was none"


def test_the_recorder_goes_on_through_forgeries_and_without_its_folder(tmp_path):
    root = tmp_path / "dataset"
    given = {"root": str(root), "task": "wave"}
    given["calibration_file"] = str(CALIBRATION / "emulated_follower.json")
    with running([NodeSpec("recorder", "recorder", given)]) as graph:
        node = graph.director._node
        contracts = node.create_publisher(String, "observation/contract", LATCHED_QOS)
        ledgers = node.create_publisher(DiagnosticArray, "aligner/ledger", LATCHED_QOS)
        contracts.publish(String(data=GOOD.canonical()))

        def said(key):
            return graph.seen.status().get("recorder: dataset", {}).get(key, "")

        graph.wait("the dataset", lambda: said("seconds_left"))
        for count, forged in enumerate(FORGED[:3], 1):
            contracts.publish(String(data=forged.canonical()))
            graph.wait("a refusal", lambda n=count: graph.said().count("is ignored") >= n)
        counts = [KeyValue(key="used", value=text) for text in ("²", "9" * 10_000, "-1")]
        statuses = [DiagnosticStatus(name=f"aligner: {n}", values=counts) for n in ("", "front")]
        ledgers.publish(DiagnosticArray(status=statuses))
        shutil.rmtree(root)
        graph.wait("a word of it", lambda: "cannot be used" in said("disk"))
        assert graph.processes["recorder"].poll() is None
