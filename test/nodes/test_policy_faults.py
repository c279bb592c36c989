"""A policy that dies, stops, hangs or gives nonsense: the arm holds at the horizon's end, said so.

The network is replaced by one that swings the arm, so that a goal that stands still is news. Times
are those the nodes stamp themselves. That the arm stands is counted in control cycles, which a busy
machine makes later, but not more. What is said has a limit in time, wider than a frame's period of
33 ms because the machine is shared, and still far below what a timeout (0.5 s) or the 1 Hz
diagnostics would give.
"""

import contextlib
import signal
import tempfile

import pytest
from node_processes import running
from policy_witness import Witness, stand_in

from armlet.bringup import graph

pytest.importorskip("torch", reason="the policy extra is not installed")

from bench_policies import CONTRACT, HEIGHT, WIDTH, save_random

AT_ONCE_S = 0.25
# The first cycle after the end holds; a goal's own lag behind the plan is caught up in one more.
CYCLES = 2
ERROR = 2


@pytest.fixture(scope="module")
def nodes(tmp_path_factory, private_domain):
    """The graph without its policy, which tests start themselves: (running graph, policy spec)."""
    checkpoint = save_random(tmp_path_factory.mktemp("policy") / "checkpoint", CONTRACT)
    with tempfile.TemporaryDirectory(prefix="armlet-bench-") as directory:
        given = {"bench_directory": directory, "emulated": "true", "threads": "1"}
        size = {"width": str(WIDTH), "height": str(HEIGHT)}
        specs = graph("policy").nodes({**given, **size, "checkpoint": str(checkpoint)})
        rest = [spec for spec in specs if spec.executable != "policy"]
        with running(rest) as started:
            yield started, next(spec for spec in specs if spec.executable == "policy")


@pytest.fixture(scope="module")
def witness(nodes):
    witness = Witness()
    yield witness
    witness.close()


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
            return started[-1]

        yield start


@pytest.fixture
def policy(start, witness, orders):
    """A policy process that swings the arm."""
    orders.write_text("")
    process = start()
    witness.wait_for_drive()
    return process


def wait_for_hold(witness):
    """Wait until the arm holds, and a little; the end of the last horizon, ns."""
    witness.wait("hold", lambda: "holding" in witness.bus[-1])
    count = len(witness.applied)
    witness.wait("goals", lambda: len(witness.applied) > count + 20)
    return witness.horizons()[-1]


def check_hold(witness):
    """The arm holds as of the horizon's end; that end, ns."""
    horizon_ns = wait_for_hold(witness)
    assert witness.cycles_to_rest(horizon_ns) <= CYCLES, witness.settled_after(horizon_ns)
    assert witness.bus[-1] == "holding (joint_trajectory ended)"
    assert abs(witness.heard[-1] - horizon_ns) * 1e-9 < AT_ONCE_S
    return horizon_ns


def test_nan_is_refused_before_it_is_sent_counted_and_told(policy, witness, orders):
    since = len(witness.policy)
    orders.write_text("nan")
    witness.wait_for_policy("non-finite", since)
    stamp, level, message, values = witness.wait_for_policy("no plan", since)
    horizon_ns = check_hold(witness)
    assert level == ERROR and "non-finite" in message
    assert abs(stamp - horizon_ns) * 1e-9 < AT_ONCE_S
    assert int(values["refused_chunks"]) > 0


def test_a_slow_policy_leaves_no_gap(policy, witness, orders):
    orders.write_text("sleep 0.15")
    witness.wait_for_chunks(5)
    first, *_, last = witness.latencies[-3:]
    assert first["inference"] > 0.15 and last["inference"] > 0.15
    assert 0 < last["observation_age"] < 0.3
    assert last["chunk_overlap"] > 0
    assert first["starved"] == last["starved"]
    count = int(witness.policy[-1][3]["frames_passed_over"])
    witness.wait("counts", lambda: int(witness.policy[-1][3]["frames_passed_over"]) > count)


def test_frames_that_stop_coming_are_told(policy, witness, nodes):
    since = len(witness.policy)
    aligner = nodes[0].processes["aligner"]
    aligner.send_signal(signal.SIGSTOP)
    try:
        _, level, message, _ = witness.wait_for_policy("no plan", since)
        check_hold(witness)
    finally:
        aligner.send_signal(signal.SIGCONT)
    assert level == ERROR and "no fresh observation" in message and "aligner" in message


def test_the_task_may_change_while_it_runs(policy, witness, orders):
    witness.say_task("pick the blue cube")
    witness.wait("task", lambda: "blue" in (orders.parent / "task").read_text())


def test_a_policy_that_stopped_leaves_an_arm_that_holds_and_goes_on_afresh(policy, witness):
    policy.send_signal(signal.SIGSTOP)
    check_hold(witness)
    count = len(witness.chunks)
    policy.send_signal(signal.SIGCONT)
    witness.wait_for_drive()
    late = [end for (_, end), came in zip(witness.chunks, witness.came, strict=True) if end < came]
    assert late[count:] == []


def test_a_hung_inference_is_told_and_its_late_chunk_is_not_sent(policy, witness, orders):
    since = len(witness.policy)
    orders.write_text("hang")
    stamp, level, message, _ = witness.wait_for_policy("no plan", since)
    horizon_ns = check_hold(witness)
    assert level == ERROR and "inference has taken" in message
    assert abs(stamp - horizon_ns) * 1e-9 < AT_ONCE_S
    witness.wait_for_policy("start the policy anew", since)
    orders.write_text("")
    witness.wait("late", lambda: int(witness.policy[-1][3]["late_chunks"]) > 0)
    witness.wait_for_drive()


def test_a_node_whose_inference_hangs_ends_on_request(policy, witness, orders):
    since = len(witness.policy)
    orders.write_text("hang")
    witness.wait_for_policy("no plan", since)
    policy.send_signal(signal.SIGINT)
    assert policy.wait(30) == 0


def test_a_killed_policy_leaves_an_arm_that_holds(policy, witness):
    policy.send_signal(signal.SIGKILL)
    check_hold(witness)
