"""teleop by itself: what it says of a leader that does not come, in simulated time."""

import pytest
from node_processes import CALIBRATION
from simulated_bench import SimulatedBench

from armlet.bringup import NodeSpec

LEADER = "teleop: leader"


@pytest.fixture
def teleop(tmp_path):
    files = {
        f"{arm}_calibration_file": str(CALIBRATION / f"emulated_{arm}.json")
        for arm in ("leader", "follower")
    }
    with (
        SimulatedBench(tmp_path) as bench,
        bench.graph([NodeSpec("teleop", "teleop", files)]) as it,
    ):
        yield it


def test_a_leader_that_has_yet_to_start_is_no_warning_and_one_that_never_comes_is(teleop):
    """Every start of a graph began with it."""
    teleop.wait_for_status(LEADER, "waits for the leader")
    teleop.let_pass(3.0)
    assert "waits for the leader" in teleop.seen.messages()[LEADER]
    teleop.wait_for_status(LEADER, "the leader has not been heard yet: the follower holds")
