"""A policy beside frames by another clock than its own, and of degrees where radians belong."""

import pytest
from announcer import SENTENCE, Announcer, other
from node_processes import CALIBRATION, running
from published_frames import CLOCKS, DEGREES, ERROR, RADIANS, PublishedFrames, contract

pytest.importorskip("torch", reason="the policy extra is not installed")

from bench_policies import save_random

from armlet.bringup import NodeSpec

STATUS = "policy: inference"


@pytest.fixture(scope="module")
def driven(tmp_path_factory, private_domain):
    """A policy of random weights and frames beside it: (graph, frames)."""
    given = {
        "checkpoint": str(save_random(tmp_path_factory.mktemp("policy") / "checkpoint")),
        "calibration_file": str(CALIBRATION / "emulated_follower.json"),
        "joint_units": "degrees",
        "threads": 1,
    }
    live = contract(cameras=("front", "wrist"))
    with (
        PublishedFrames(live, RADIANS) as frames,
        running([NodeSpec("policy", "policy", given)]) as graph,
    ):
        yield graph, frames


@pytest.fixture
def frames(driven):
    """The frames, from which the policy infers."""
    frames = driven[1]
    frames.robot_s = frames.late_s = 0.0
    frames.radians = RADIANS
    frames.forget()
    frames.wait(STATUS, "running")
    frames.forget()
    return frames


@pytest.mark.parametrize("case", CLOCKS)
def test_a_policy_by_another_clock_says_so(case, frames):
    frames.robot_s, frames.late_s, words = CLOCKS[case]
    assert frames.wait(STATUS, words) == ERROR


def test_a_policy_that_refuses_old_frames_says_the_cause_first(frames):
    _, frames.late_s, words = CLOCKS["late"]
    with other("announcer") as announcer:
        Announcer(announcer)
        assert frames.wait(STATUS, SENTENCE, words) == ERROR
        both = [said for _, _, said in frames.heard if SENTENCE in said and words in said]
    assert both[0].startswith(SENTENCE)


@pytest.mark.thorough
def test_a_policy_does_not_act_on_degrees(driven, frames):
    frames.radians = DEGREES
    # Whether they fit is looked at before it drives.
    for transition in ("deactivate", "cleanup", "configure", "activate"):
        driven[0].director.change_state("policy", transition)
    frames.wait(STATUS, "they are degrees, publish radians")
