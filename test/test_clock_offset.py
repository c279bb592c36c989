"""How far another computer's clock is ahead, whatever the network and the schedulers do."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from armlet.clock_offset import FORGET_S, LONGEST, MOST, Bounds, Exchange, Node, trouble

S = 1_000_000_000
ROBOT, GPU = Node("/aligner", "a" * 12, "robot"), Node("/policy", "b" * 12, "gpu")
FRAME_S = 1 / 30


class Two:
    """Two computers by a clock of nobody's, ns; the second's is ahead by offset_ns."""

    def __init__(self, offset_ns, policy=GPU):
        self.now_ns, self.offset_ns = 1_700_000_000 * S, offset_ns
        self.robot, self.policy = Exchange(ROBOT), Exchange(policy)

    @property
    def at_s(self):
        return self.now_ns * 1e-9

    def to_policy(self, delay_ns):
        said = self.robot.say(self.now_ns)
        self.now_ns += delay_ns
        return self.policy.hear(said, self.now_ns + self.offset_ns, self.at_s)

    def to_robot(self, delay_ns):
        said = self.policy.say(self.now_ns + self.offset_ns)
        self.now_ns += delay_ns
        return self.robot.hear(said, self.now_ns, self.at_s)

    def seen(self):
        """By the policy, of the robot."""
        return self.policy.offsets([ROBOT.name], self.at_s)


DELAYS = st.lists(st.tuples(*(st.integers(0, 3 * S) for _ in range(4))), min_size=1, max_size=15)


@given(st.integers(-5 * S, 5 * S), DELAYS)
def test_the_bounds_hold_the_offset_however_slow_it_all_is(offset_ns, delays):
    two = Two(offset_ns)
    for there_ns, back_ns, waits_ns, rests_ns in delays:
        two.to_robot(there_ns)
        two.now_ns += waits_ns
        two.to_policy(back_ns)
        two.now_ns += rests_ns
    (offset,) = two.seen().values()
    assert offset.low_ns <= -offset_ns <= offset.high_ns
    shortest_ns = min(there_ns + back_ns for there_ns, back_ns, _, _ in delays[-10:])
    assert offset.uncertainty_s <= shortest_ns * 0.5e-9 + 1e-9


@given(DELAYS)
def test_clocks_that_agree_are_never_blamed(delays):
    two = Two(0)
    for there_ns, back_ns, waits_ns, rests_ns in delays:
        two.to_robot(there_ns)
        two.now_ns += waits_ns
        two.to_policy(back_ns)
        two.now_ns += rests_ns
        assert trouble(two.seen(), 0.0) == ""


@pytest.mark.parametrize(
    ("offset_s", "words"),
    [(1.0, "1.001 (±0.002) s behind this"), (-0.5, "0.499 (±0.002) s ahead of this")],
)
def test_one_round_trip_says_which_clock_is_off_by_how_much(offset_s, words):
    two = Two(round(offset_s * S))
    two.to_robot(1_000_000)
    two.to_policy(3_000_000)
    said = trouble(two.seen(), FRAME_S)
    assert said.startswith(f"the clock of robot (/aligner) is {words} computer's"), said
    assert "0.033 s (a frame)" in said and "chrony" in said


def test_what_the_network_may_explain_is_no_trouble():
    two = Two(round(0.06 * S))
    two.to_robot(50_000_000)
    two.to_policy(50_000_000)
    assert trouble(two.seen(), FRAME_S) == ""
    two.to_robot(1_000_000)
    two.to_policy(1_000_000)
    assert "0.060" in trouble(two.seen(), FRAME_S), "a quick trip says more"


def test_a_clock_that_is_set_right_is_believed_with_the_next_round_trip():
    two = Two(S)
    for _ in range(20):
        two.to_robot(1_000_000)
        two.to_policy(1_000_000)
    two.offset_ns = 0
    for _ in range(2):
        two.to_robot(1_000_000)
        two.to_policy(1_000_000)
    assert trouble(two.seen(), FRAME_S) == ""


def test_a_round_trip_that_cannot_be_does_not_clear_a_clock_that_is_off():
    """It would let a policy that holds for the clock go on until the next one."""
    bounds = Bounds()
    bounds.note(0, S, S, 1)
    assert bounds.offset.beyond(FRAME_S)
    bounds.note(2 * S, 3 * S, 9 * S, 4 * S)
    assert bounds.offset.beyond(FRAME_S)
    bounds.note(5 * S, 5 * S, 5 * S, 5 * S + 1)
    assert not bounds.offset.beyond(FRAME_S)


def test_nodes_of_one_computer_have_one_clock():
    two = Two(S, GPU._replace(computer=ROBOT.computer))
    two.to_robot(0)
    assert not two.to_policy(0)
    assert two.seen() == {} and two.policy.alone(two.at_s)


def test_who_is_heard_for_the_first_time_is_answered_and_then_no_more():
    two = Two(S)
    assert two.to_robot(0)
    assert two.to_policy(0)
    assert not two.to_robot(0)
    assert not two.to_policy(0)


def test_a_computer_that_is_gone_is_forgotten():
    two = Two(S)
    two.to_robot(0)
    two.to_policy(0)
    assert two.seen()
    two.now_ns += round((FORGET_S + 1) * S)
    assert two.seen() == {} and two.policy.alone(two.at_s)


def test_strangers_are_bounded():
    own = Exchange(ROBOT)
    for number in range(2 * MOST):
        longest = Node(f"/{number:03}".ljust(256, "n"), "c" * 64, "\N{SNOWMAN}" * 256)
        own.hear(Exchange(longest).say(S), S, 0.0)
    said = own.say(2**63 - 1)
    assert len(json.loads(said)["heard"]) == MOST
    assert Exchange(GPU).hear(said, S, 0.0), "it says no more than others hear"


def test_who_never_listens_is_not_answered_each_time():
    own, deaf = Exchange(ROBOT), Exchange(GPU)
    answers = [own.hear(deaf.say(S), S, number * 0.01) for number in range(100)]
    assert sum(answers) <= 2


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"node": 3},
        {"node": "x" * 999},
        {"node": '"' * 99},
        {"computer": "x" * 99},
        {"host": "a\nb"},
        {"sent_ns": -1},
        {"sent_ns": 1.5},
        {"sent_ns": 2**63},
        {"heard": []},
        {"heard": {"x": [1]}},
        {"heard": {"x": [1, "2"]}},
        {"heard": {str(n): [1, 2] for n in range(MOST + 1)}},
    ],
)
def test_what_no_node_says_is_refused(change):
    said = json.loads(Exchange(GPU).say(S))
    with pytest.raises(ValueError):
        Exchange(ROBOT).hear(json.dumps(said | change), S, 0.0)


@pytest.mark.parametrize("text", ["", "[]", "[" * 9999, "x" * (LONGEST + 1), "null"])
def test_what_is_no_table_is_refused(text):
    with pytest.raises(ValueError):
        Exchange(ROBOT).hear(text, S, 0.0)
