"""How a follower ends, and what it says of an arm that does not hold, by the wall clock."""

import os
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from driver_timeouts import Timeouts, arm, running_program, with_timeouts
from forked_nodes import Popen
from node_processes import follower, running, simulated_nodes
from simulated_bench import torque
from thread_times import passed, thread_times

from armlet.bringup import STOP_GRACE_S, command
from armlet.client.graph import GraphError
from armlet.nodes.servo_bus import WATCHDOG_S
from armlet.nodes.servo_bus_diagnostics import CycleTimes, bus_status
from armlet.sim import Bench

sys.path.append(str(Path(__file__).resolve().parent.parent / "control"))

from driven_arm import Clock, Driven, emulated_bus
from families import FIRST_FAMILY

END_S = 120.0
"""By the wall clock, and only so that a broken test ends."""

both_families = pytest.mark.parametrize("motors", FIRST_FAMILY)


@pytest.fixture
def motors():
    return "sts3215"


@pytest.fixture
def bench(tmp_path, motors):
    with Bench(paced=False, links=tmp_path, motors=motors) as bench:
        yield bench


@pytest.fixture
def bus(bench, tmp_path, motors):
    with running([follower(tmp_path / "follower", motors=motors)]) as bus:
        arm(bus)
        yield bus


def wait_for_torque(bench, wanted, process=None):
    """process: a driver that must run on meanwhile."""
    deadline = time.monotonic() + END_S
    while torque(bench) != wanted:
        assert process is None or process.poll() is None, "the driver has ended"
        assert time.monotonic() < deadline, f"torque is {torque(bench)}, not {wanted}"
        time.sleep(0.01)


# --- an arm that does not hold is never green ------------------------------------------------


@pytest.fixture
def driven(tmp_path, motors):
    clock = Clock()
    with emulated_bus(clock, tmp_path / "arm", motors) as emulated:
        yield Driven(emulated, clock)


def level(driven, **options):
    return bus_status("bus", driven.control, CycleTimes(driven.clock), **options).level


@both_families
def test_a_follower_that_is_not_armed_is_a_warning_and_a_leader_is_not(driven):
    assert level(driven) >= DiagnosticStatus.WARN
    assert level(driven, follower=False) == DiagnosticStatus.OK
    driven.control.torque_on()
    assert level(driven) == DiagnosticStatus.OK


@both_families
def test_an_arm_that_lost_its_torque_by_a_fault_stays_a_warning_until_it_is_armed(driven):
    driven.control.torque_on()
    driven.emulated.faults.dead.update((1, 2))
    driven.cycles_until(lambda: "do not answer" in driven.control.summary())
    assert level(driven) == DiagnosticStatus.ERROR
    driven.emulated.faults.dead.clear()
    driven.cycles_until(lambda: "not armed" in driven.control.summary())
    assert "had fallen silent" in driven.control.summary()
    assert level(driven) == DiagnosticStatus.WARN
    driven.control.torque_on()
    assert level(driven) == DiagnosticStatus.OK


# --- silence is no configuration error -------------------------------------------------------


@pytest.mark.thorough
@pytest.mark.wall_clock(seconds=5)
@both_families
def test_silence_at_an_activation_fails_it_and_ends_nothing(bench, bus):
    """At c8b7d8f the node ended with status 1, also long after its start."""
    bus.wait("its deactivation", lambda: changes_state(bus, "deactivate"))
    bench.follower.faults.dead.add(3)
    with pytest.raises(GraphError):
        bus.director.change_state("servo_bus", "activate")
    assert bus.processes["servo_bus"].poll() is None
    assert torque(bench) == [0] * 6
    bench.follower.faults.dead.clear()
    bus.wait("its activation", lambda: changes_state(bus, "activate"))
    wait_for_torque(bench, [1] * 6)


def changes_state(bus, transition):
    """Whether it does, this time: a busy computer may keep the emulated servos from answering."""
    try:
        bus.director.change_state("servo_bus", transition)
    except GraphError:
        return False
    return True


SILENT_ONCE = """
from armlet.motors.protocol import BusError

class SilentOnce(Driver):
    tries = 0
    def _arm(self, stops):
        SilentOnce.tries += 1
        if SilentOnce.tries == 1:
            raise BusError("no servo answered")
        super()._arm(stops)

servo_bus.ServoBus = SilentOnce
"""


@contextmanager
def driver(tmp_path, more, timeouts=None):
    """A follower's process with what a test has of its own, see `Timeouts`; it ends well."""
    program = (timeouts or Timeouts()).program(more)
    process = Popen(running_program(command(follower(tmp_path / "follower"), tmp_path), program))
    try:
        yield process
        process.send_signal(signal.SIGINT)
        assert process.wait(END_S) == 0
    finally:
        process.kill()
        process.wait()


@pytest.mark.wall_clock(seconds=5)
def test_silence_at_the_first_activation_is_tried_again(bench, tmp_path):
    """At c8b7d8f the node ended with status 1, and the graph with it."""
    with driver(tmp_path, SILENT_ONCE) as process:
        wait_for_torque(bench, [1] * 6, process)


# --- stops -----------------------------------------------------------------------------------


SAYS_WHAT_IT_IS_ASKED_FOR = """
class Saying(Driver):
    def wait_until_started(self, timeout_s):
        self.get_logger().info("torque is asked for")
        return super().wait_until_started(timeout_s)

servo_bus.ServoBus = Saying
"""


@pytest.mark.wall_clock(seconds=5)
def test_a_stop_counts_while_torque_waits_for_the_node_to_start(bench, tmp_path):
    """The torque that was asked for before the stop came on after it."""
    pan = bench.follower.servos[1]
    home, pan.position = pan.position, 3900
    popen = with_timeouts(more=SAYS_WHAT_IT_IS_ASKED_FOR)
    spec = follower(tmp_path / "follower")
    with running([spec], popen=popen) as bus, ThreadPoolExecutor(1) as pool:
        bus.wait("the refusal", lambda: "outside their calibrated range" in bus.said())
        asked = pool.submit(bus.director.set, "servo_bus/set_torque", True)
        bus.wait("the request", lambda: "torque is asked for" in bus.said())
        assert not asked.done()
        bus.director.stop()
        pan.position = home
        with pytest.raises(GraphError, match=r"not active|a stop was requested meanwhile"):
            asked.result()
        bus.wait("activity", lambda: "is active" in bus.said())
        assert torque(bench) == [0] * 6


# --- ends ------------------------------------------------------------------------------------


@pytest.mark.representatives(1)
@pytest.mark.wall_clock(seconds=5)
@pytest.mark.parametrize("simulated", ["true", "false"])
def test_a_signal_to_all_at_once_ends_an_emulated_graph_cleanly(simulated, tmp_path):
    """As `ros2 launch` has it: the bench went first, and its ports with it."""
    given = {"emulated": "true", "use_sim_time": simulated}
    nodes, lockstep = simulated_nodes("teleop", tmp_path, **given)
    with running(nodes, lockstep, popen=with_timeouts()) as graph:
        graph.wait_for_status("servo_bus: bus", "following")
        for process in graph.processes.values():
            process.send_signal(signal.SIGINT)
        ended = {name: process.wait(END_S) for name, process in graph.processes.items()}
        assert set(ended.values()) == {0}, graph.said()
        assert "cut the power" not in graph.said()


def end_badly_but_in_time(driver):
    """It ends, with an error, before a supervisor kills it.

    What it and the emulated servos, in this process, wait for a processor is the computer's affair.
    """
    processes = (driver.pid, "self")
    begun_s, before = time.monotonic(), [thread_times(each) for each in processes]
    driver.send_signal(signal.SIGTERM)
    waited_s = 0.0
    while driver.poll() is None:
        now = [thread_times(each) for each in processes]
        waited_s = max(waited_s, sum(passed(*pair)[1] for pair in zip(before, now, strict=True)))
        assert time.monotonic() - begun_s < STOP_GRACE_S + waited_s, "it has not ended"
        time.sleep(0.05)
    assert driver.returncode == 1


@pytest.mark.thorough
@pytest.mark.wall_clock(seconds=5)
def test_servos_that_do_not_answer_keep_no_node_longer_than_a_supervisor_waits(bench, bus):
    bench.follower.faults.dead.update(range(1, 7))
    end_badly_but_in_time(bus.processes["servo_bus"])
    bench.follower.faults.dead.clear()
    wait_for_torque(bench, [0] * 6)


@pytest.mark.wall_clock(seconds=5)
@both_families
def test_unplugged_when_it_ended_torque_goes_off_when_it_is_plugged_in_again(bench, bus):
    bench.follower.hang_up()
    end_badly_but_in_time(bus.processes["servo_bus"])
    assert torque(bench) == [1] * 6
    bench.follower.plug()
    wait_for_torque(bench, [0] * 6)


@pytest.mark.wall_clock(seconds=5)
def test_a_killed_watchdog_is_replaced_and_reported(bench, bus):
    kill_watchdog(bus.processes["servo_bus"])
    bus.wait(
        "a restart",
        lambda: int(bus.seen.status()["servo_bus: bus"].get("watchdog_restarts", 0)) > 0,
    )
    bus.processes["servo_bus"].kill()
    wait_for_torque(bench, [0] * 6)


ONE_WATCHDOG = """
from armlet.motors import watchdog_keeper

start, started = watchdog_keeper.WatchdogProcess, []

def start_once(*arguments):
    if started:
        raise RuntimeError("no process can be started")
    started.append(start(*arguments))
    return started[0]

watchdog_keeper.WatchdogProcess = start_once
"""


@pytest.mark.wall_clock(seconds=5)
def test_an_arm_without_its_watchdog_is_not_armed(bench, tmp_path):
    timeouts = Timeouts(watchdog_s=WATCHDOG_S)
    with driver(tmp_path, ONE_WATCHDOG, timeouts) as process, running([]) as graph:
        wait_for_torque(bench, [1] * 6, process)
        graph.director.stop()
        kill_watchdog(process)
        graph.wait_for_status("servo_bus: bus", "the torque watchdog is not running")
        with pytest.raises(GraphError, match="no torque watchdog is running"):
            graph.director.set("servo_bus/set_torque", True)
        assert torque(bench) == [0] * 6


def kill_watchdog(driver):
    """Both of its processes, of which one may end with the other."""
    for pid in children(driver.pid):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def children(pid):
    lists = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for each in lists for child in each.read_text().split()]
