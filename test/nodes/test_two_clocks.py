"""A policy on another computer whose clock is off: it says so from the first, and sends nothing."""

import time

import pytest
from published_frames import ERROR

pytest.importorskip("torch", reason="the policy extra is not installed")

from apart import STATUS, apart

pytestmark = [pytest.mark.thorough, pytest.mark.wall_clock(seconds=30)]


@pytest.mark.parametrize("offset_s", [0.5, -0.5], ids=["ahead", "behind"])
def test_a_brain_whose_clock_is_off_says_so_and_sends_nothing(offset_s, tmp_path):
    with apart(tmp_path, offset_s) as both:
        words = "behind" if offset_s > 0 else "ahead of"
        assert both.wait_for_policy("the arm holds: the clock of", f" s {words} this") == ERROR
        status = both.graph.seen.status
        code = "computer.clock-offset"
        both.graph.wait("a code", lambda: status().get(STATUS, {}).get("codes") == code)
        since_ns = time.time_ns()
        both.wait_for_bus("holding")
        both.graph.let_pass(3.0)
        assert "holding" in both.bus()
        assert both.graph.seen.chunks(since_ns, 2**62) == []
