"""A policy that dies or gives nonsense, or that sees nothing: the arm holds at the horizon's end.

In simulated time, so that what is said and done can be asserted to the control cycle. The network
is replaced by one that swings the arm, so that a goal that stands still is news.
"""

import contextlib

import pytest
from policy_observer import Observer, stand_in

pytest.importorskip("torch", reason="the policy extra is not installed")

from bench_policies import CONTRACT, LATENCY_S, bench_without_policy, save_random

# The first cycle after the end holds; a goal's own lag behind the plan is caught up in one more.
CYCLES = 2
# The policy looks at its own plan so often (nodes.policy.WATCH_S), and the bus once a cycle.
AT_ONCE_NS = 30_000_000
ERROR = 2


@pytest.fixture(scope="module")
def nodes(tmp_path_factory, private_domain):
    """The graph without its policy, which tests start themselves: (running graph, policy spec)."""
    checkpoint = save_random(tmp_path_factory.mktemp("policy") / "checkpoint", CONTRACT)
    with bench_without_policy(checkpoint) as (graph, spec, lockstep):
        graph.lockstep = lockstep
        yield graph, spec


@pytest.fixture(scope="module")
def observer(nodes):
    observer = Observer(nodes[0], nodes[0].lockstep)
    yield observer
    observer.close()


@pytest.fixture(scope="module")
def orders(tmp_path_factory):
    return tmp_path_factory.mktemp("stand_in") / "orders"


@pytest.fixture(scope="module")
def start(nodes, orders):
    """Starts a policy process whose network is the stand-in, unless the last one still runs."""
    with contextlib.ExitStack() as stack:
        started = []

        def start():
            if not started or started[-1].poll() is not None:
                started.append(stack.enter_context(stand_in(nodes[1], orders.parent, orders)))
                nodes[0].wait_until_active("policy", started[-1], nodes[0].said)
            return started[-1]

        yield start


@pytest.fixture
def policy(start, observer, orders):
    """A policy process that swings the arm."""
    orders.write_text("")
    process = start()
    observer.wait_for_drive()
    return process


def wait_for_hold(observer):
    """Wait until the arm holds, and a little."""
    observer.wait("hold", lambda: "holding" in observer.bus[-1])
    count = len(observer.applied)
    observer.wait("goals", lambda: len(observer.applied) > count + 20)


def check_hold(observer, unsure=0):
    """The arm holds as of the horizon's end; that end, ns.

    unsure: how many of the last chunks heard here may never have reached the bus.
    """
    wait_for_hold(observer)
    ends = observer.horizons()[-1 - unsure :]
    horizon_ns = min(ends, key=lambda end: abs(end - observer.heard[-1]))
    assert observer.cycles_to_rest(horizon_ns) <= CYCLES, observer.settled_after(horizon_ns)
    assert observer.bus[-1] == "holding (joint_trajectory ended)"
    assert abs(observer.heard[-1] - horizon_ns) <= AT_ONCE_NS
    return horizon_ns


def test_nan_is_refused_before_it_is_sent_counted_and_reported(policy, observer, orders):
    since = len(observer.policy)
    orders.write_text("nan")
    observer.wait_for_policy("non-finite", since)
    stamp, level, message, values = observer.wait_for_policy("no plan", since)
    horizon_ns = check_hold(observer)
    assert level == ERROR and "non-finite" in message
    assert abs(stamp - horizon_ns) <= AT_ONCE_NS
    assert int(values["refused_chunks"]) > 0


@pytest.mark.thorough
def test_a_policy_leaves_no_gap_and_says_what_it_passed_over(policy, observer):
    observer.wait_for_chunks(5)
    first, *_, last = observer.latencies[-3:]
    # As exact as a float is that counts the seconds since 1970.
    taken_s = [each["inference"] for each in (first, last)]
    assert taken_s == pytest.approx([LATENCY_S] * 2, abs=1e-6)
    assert 0 < last["observation_age"] < LATENCY_S
    assert last["chunk_overlap"] > 0
    assert first["starved"] == last["starved"]
    count = int(observer.policy[-1][3]["frames_passed_over"])
    observer.wait("counts", lambda: int(observer.policy[-1][3]["frames_passed_over"]) > count)


def test_frames_that_stop_coming_are_reported(policy, observer, nodes):
    since = len(observer.policy)
    nodes[0].director.change_state("aligner", "deactivate")
    try:
        _, level, message, _ = observer.wait_for_policy("no plan", since)
        check_hold(observer)
    finally:
        nodes[0].director.change_state("aligner", "activate")
    assert level == ERROR and "no fresh observation" in message and "aligner" in message


def test_the_task_may_change_while_it_runs(policy, observer, orders):
    observer.say_task("pick the blue cube")
    observer.wait("task", lambda: "blue" in (orders.parent / "task").read_text())


def test_a_killed_policy_leaves_an_arm_that_holds(policy, observer):
    policy.kill()
    # It may die between this test's copy of the last chunk and the bus's.
    check_hold(observer, unsure=1)
