"""Which nodes are started again, how often, and how they come back."""

import pytest

from armlet.bringup import NODES
from armlet.respawn import STEADY_S, TRIES, Starts
from armlet.settings.catalogue import settings_of


def again(starts, ran_s, status=1):
    starts.started(100.0)
    return starts.again(status, 100.0 + ran_s)


def test_a_node_that_does_not_get_going_is_left_after_some_tries():
    starts = Starts(wanted=True)
    assert [again(starts, 1.0) for _ in range(TRIES + 1)] == [True] * TRIES + [False]
    assert "did not run for 60 s; stopping" in starts.consequence("stopping")


def test_one_that_ran_well_is_always_started_again():
    starts = Starts(wanted=True)
    assert all(again(starts, STEADY_S) for _ in range(3 * TRIES))


@pytest.mark.parametrize(("wanted", "status"), [(True, 0), (False, 1)])
def test_who_was_asked_to_end_or_is_not_to_come_back_stays_away(wanted, status):
    starts = Starts(wanted)
    assert not again(starts, 1.0, status)
    assert starts.consequence("stopping") == "stopping"


def test_nothing_that_moves_an_arm_comes_back_moving_it():
    at_rest = {
        (node, setting.name): setting.respawned
        for node in NODES
        for setting in settings_of(node)
        if setting.respawned is not None
    }
    assert at_rest == {
        ("servo_bus", "torque_on_activate"): False,
        ("policy", "running"): False,
        ("teleop", "engaged"): False,
    }
