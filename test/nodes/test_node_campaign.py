"""A share of the fault campaign against the servo_bus process, with each way to end it once.

The whole of it: python test/nodes/node_campaign.py --runs 20 --seed 1
"""

from types import SimpleNamespace

import pytest
from families import FAMILIES
from node_campaign import AT_REST, ENDINGS, IDS, JOINTS, NodeRun

pytestmark = pytest.mark.thorough


# Faults of a real line, and how long torque takes to go: real time.
@pytest.mark.wall_clock(seconds=5)
@pytest.mark.parametrize("motors", FAMILIES)
@pytest.mark.parametrize("ending", ENDINGS)
def test_nothing_wrong_is_published_or_sent_and_torque_is_as_specified(ending, motors):
    seen = NodeRun(100 + ENDINGS.index(ending), ending, horizon_s=0.7, motors=motors)()
    assert not seen.violations, "\n".join(f"{at_s:.3f} {text}" for at_s, text in seen.events)
    # How many there were is the computer's affair.
    assert seen.measured["values"] >= len(JOINTS)


def judged(status, *goals):
    """Whether an arm follows each topic, and whether it rests; goals: (who commanded, how many)."""
    run = NodeRun(1, "peers")
    run.seen.status = status
    sources = [source for source, count in goals for _ in range(count)]
    run.seen.applied = [(0.01 * i, (), (0.1,), source) for i, source in enumerate(sources)]
    follows = [topic for topic in ("joint_commands", "joint_trajectory") if run._follows(topic)]
    return follows, run._rests()


@pytest.mark.parametrize(
    ("status", "follows"),
    [
        ("following joint_trajectory", ["joint_trajectory"]),
        ("following joint_commands (took over from joint_trajectory)", ["joint_commands"]),
        ("holding (joint_trajectory ended)", []),
        ("holding (joint_commands fell silent)", []),
    ],
)
def test_what_was_followed_before_is_not_what_is_followed(status, follows):
    assert judged(status, ("joint_commands", 20), ("hold", 1)) == (follows, False)


def test_a_hold_of_some_cycles_until_another_has_the_arm_is_no_rest():
    fell_silent, following = "holding (joint_commands fell silent)", "following joint_trajectory"
    assert not judged(fell_silent, ("joint_commands", 9), ("hold", AT_REST - 1))[1]
    assert not judged(following, ("joint_commands", 9), ("hold", AT_REST))[1]
    assert judged(fell_silent, ("joint_commands", 9), ("hold", AT_REST))[1]
    assert judged("not armed: servos had fallen silent", ("joint_commands", 9))[1], "no goals"


@pytest.mark.parametrize(
    ("called", "status", "by_itself"),
    [
        (True, "not armed: servos had fallen silent", False),
        (False, "not armed: servos had fallen silent", True),
        (False, "holding; gripper is recovering", False),
    ],
)
def test_torque_that_comes_on_by_itself_is_found_however_often_the_activation_was_tried(
    called, status, by_itself
):
    run = NodeRun(1, "peers")
    log = [SimpleNamespace(time=at_s, on=True) for at_s in (1.0, 2.0, 4.0)]
    run._bus = SimpleNamespace(servos={id: SimpleNamespace(torque_log=log) for id in IDS})
    said = [(0.5, "not armed"), (2.1, "holding"), (3.0, status)]
    run.seen.events = [(at_s, f"status: {text}") for at_s, text in said]
    run.seen.calls = [("set_torque", 3.9, 4.1)] if called else []
    run._check_arming()
    assert len(run.seen.violations) == by_itself * len(JOINTS)
