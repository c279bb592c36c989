"""The stop as the console says it, of a graph that does not answer."""

from __future__ import annotations

import sys

from armlet.client.recording import RecordGraph


def test_a_stop_that_has_just_been_asked_for_is_not_taken_for_a_confirmed_one(private_domain):
    """The browser shows "Stopped" as soon as nothing is being sent."""
    with RecordGraph("", "console") as graph:
        interval_s = sys.getswitchinterval()
        sys.setswitchinterval(60.0)  # the thread that sends it has not had its turn
        try:
            graph.press("x")
            said = graph.view().stopping
        finally:
            sys.setswitchinterval(interval_s)
        assert "STOP is being sent" in said
        assert "STOP is being sent" in graph.view().stopping  # no driver is there to confirm it
