"""A policy process that stops, or whose inference hangs: real time passes, and the arm holds.

By the wall clock, as a computer that is busy is what these are about; times of what was said are
compared with each other, and none is asserted.
"""

import contextlib
import signal
import time

import pytest
from driver_timeouts import with_timeouts
from policy_observer import Observer, stand_in

pytest.importorskip("torch", reason="the policy extra is not installed")

from bench_policies import CONTRACT, bench_without_policy, save_random

pytestmark = [pytest.mark.thorough, pytest.mark.wall_clock(seconds=10)]

ERROR = 2
GUARD_S = 120.0


@pytest.fixture(scope="module")
def nodes(tmp_path_factory, private_domain):
    """The graph without its policy, which tests start themselves: (running graph, policy spec)."""
    checkpoint = save_random(tmp_path_factory.mktemp("policy") / "checkpoint", CONTRACT)
    given = {"use_sim_time": "false", "popen": with_timeouts()}
    with bench_without_policy(checkpoint, **given) as (graph, spec, _):
        yield graph, spec


@pytest.fixture(scope="module")
def observer(nodes):
    observer = Observer(nodes[0])
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


def check_hold(observer):
    """The arm holds from the end of the last chunk on; that end, ns."""
    wait_for_hold(observer)
    horizon_ns = observer.horizons()[-1]
    assert observer.bus[-1] == "holding (joint_trajectory ended)"
    assert observer.said_ns[-1] >= horizon_ns
    return horizon_ns


def test_a_policy_that_stopped_leaves_an_arm_that_holds_and_starts_again(policy, observer, orders):
    """In an inference, which returns when it goes on. What it sent before may be heard late."""
    hang(observer, orders)
    policy.send_signal(signal.SIGSTOP)
    try:
        orders.write_text("")
        check_hold(observer)
        count, goes_on_ns = len(observer.chunks), time.time_ns()
    finally:
        policy.send_signal(signal.SIGCONT)
    observer.wait_for_drive()
    sent = observer.chunks_sent(count)
    assert [end for sent_ns, end in sent if sent_ns >= goes_on_ns > end] == []


def test_a_hung_inference_is_reported_and_its_late_chunk_is_not_sent(policy, observer, orders):
    since = hang(observer, orders)
    late = late_chunks(observer)
    observer.wait_for_policy("no plan", since)
    horizon_ns = check_hold(observer)
    _, level, message, _ = observer.wait_for_policy("restart the policy", since)
    assert level == ERROR and "inference has taken" in message
    last_ns = observer.chunks_sent()[-1][0]
    said = [stamp for stamp, _, message, _ in observer.policy[since:] if "no plan" in message]
    early = [stamp for stamp in said if last_ns <= stamp < horizon_ns]
    assert early == [], "said when the plan is over, not before"
    orders.write_text("")
    observer.wait("late", lambda: late_chunks(observer) > late)
    observer.wait_for_drive()


def hang(observer, orders):
    """Wait until an inference hangs; how many entries of the policy's diagnostics came before."""
    hangs = orders.with_name("hangs")
    hangs.unlink(missing_ok=True)
    orders.write_text("hang")
    observer.wait("a hang", hangs.exists)
    return len(observer.policy)


def late_chunks(observer):
    return int(observer.policy[-1][3]["late_chunks"])


def test_a_node_whose_inference_hangs_ends_on_request(policy, observer, orders):
    observer.wait_for_policy("no plan", hang(observer, orders))
    policy.send_signal(signal.SIGINT)
    assert policy.wait(GUARD_S) == 0
