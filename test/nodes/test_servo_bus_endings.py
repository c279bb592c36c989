"""How a follower ends, and what it says of an arm that does not hold, by the wall clock."""

import os
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from node_processes import follower, running, running_graph

from armlet.client.graph import GraphError
from armlet.nodes.servo_bus_diagnostics import CycleTimes, bus_status
from armlet.sim import Bench
from armlet.supervisor import STOP_GRACE_S

sys.path.append(str(Path(__file__).resolve().parent.parent / "control"))

from driven_arm import FAMILIES, Clock, Driven, emulated_bus

both_families = pytest.mark.parametrize("motors", FAMILIES)


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
        bus.wait_for_status("servo_bus: bus", "holding")
        yield bus


def torque(bench):
    return [
        servo.peek(bench.follower.model.torque_enable) for servo in bench.follower.servos.values()
    ]


def wait_for_torque(bench, wanted, timeout_s=30.0):
    deadline = time.monotonic() + timeout_s
    while torque(bench) != wanted and time.monotonic() < deadline:
        time.sleep(0.01)
    assert torque(bench) == wanted


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


@pytest.mark.wall_clock
@both_families
def test_silence_at_an_activation_fails_it_and_ends_nothing(bench, bus):
    """At c8b7d8f the node ended with status 1, also long after its start."""
    bus.director.change_state("servo_bus", "deactivate")
    bench.follower.faults.dead.add(3)
    with pytest.raises(GraphError):
        bus.director.change_state("servo_bus", "activate")
    assert bus.processes["servo_bus"].poll() is None
    assert torque(bench) == [0] * 6
    bench.follower.faults.dead.clear()
    bus.director.change_state("servo_bus", "activate")
    assert torque(bench) == [1] * 6


# --- stops -----------------------------------------------------------------------------------


@pytest.mark.wall_clock
def test_a_stop_counts_while_torque_waits_for_the_node_to_start(bench, tmp_path):
    """The torque that was asked for before the stop came on after it."""
    pan = bench.follower.servos[1]
    home, pan.position = pan.position, 3900
    with running([follower(tmp_path / "follower")]) as bus, ThreadPoolExecutor(1) as pool:
        bus.wait("the refusal", lambda: "outside their calibrated range" in bus.said())
        asked = pool.submit(bus.director.set, "servo_bus/set_torque", True)
        time.sleep(0.3)  # nothing shows that the request has come
        assert not asked.done()
        bus.director.stop()
        pan.position = home
        with pytest.raises(GraphError, match=r"not active|a stop was requested meanwhile"):
            asked.result()
        bus.wait("activity", lambda: "is active" in bus.said())
        assert torque(bench) == [0] * 6


# --- ends ------------------------------------------------------------------------------------


@pytest.mark.wall_clock
@pytest.mark.parametrize("simulated", ["true", "false"])
def test_a_signal_to_all_at_once_ends_an_emulated_graph_cleanly(simulated):
    """As `ros2 launch` has it: the bench went first, and its ports with it."""
    with running_graph("teleop", emulated="true", use_sim_time=simulated) as graph:
        graph.wait_for_status("servo_bus: bus", "following")
        for process in graph.processes.values():
            process.send_signal(signal.SIGINT)
        ended = {name: process.wait(30) for name, process in graph.processes.items()}
        assert set(ended.values()) == {0}, graph.said()
        assert "cut the power" not in graph.said()


@pytest.mark.wall_clock
def test_servos_that_do_not_answer_keep_no_node_longer_than_a_supervisor_waits(bench, bus):
    bench.follower.faults.dead.update(range(1, 7))
    begun_s = time.monotonic()
    bus.processes["servo_bus"].send_signal(signal.SIGTERM)
    assert bus.processes["servo_bus"].wait(30) == 1
    assert time.monotonic() - begun_s < STOP_GRACE_S
    bench.follower.faults.dead.clear()
    wait_for_torque(bench, [0] * 6)


@pytest.mark.wall_clock
@both_families
def test_unplugged_when_it_ended_torque_goes_off_when_it_is_plugged_in_again(bench, bus):
    bench.follower.hang_up()
    begun_s = time.monotonic()
    bus.processes["servo_bus"].send_signal(signal.SIGTERM)
    assert bus.processes["servo_bus"].wait(30) == 1
    assert time.monotonic() - begun_s < STOP_GRACE_S
    assert torque(bench) == [1] * 6
    bench.follower.plug()
    wait_for_torque(bench, [0] * 6)


@pytest.mark.wall_clock
def test_a_killed_watchdog_is_replaced_and_reported(bench, bus):
    children = Path(f"/proc/{bus.processes['servo_bus'].pid}/task").glob("*/children")
    pids = [int(pid) for each in children for pid in each.read_text().split()]
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    bus.wait(
        "a restart",
        lambda: int(bus.seen.status()["servo_bus: bus"].get("watchdog_restarts", 0)) > 0,
    )
    bus.processes["servo_bus"].kill()
    wait_for_torque(bench, [0] * 6)
