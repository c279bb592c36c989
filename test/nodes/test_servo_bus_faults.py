"""What servo_bus does when the line, a servo or the process itself fails."""

import contextlib
import signal
import subprocess
import time

import pytest
from driver_timeouts import Timeouts, running_program, with_timeouts
from families import FIRST_FAMILY
from forked_nodes import Popen
from node_processes import CALIBRATION, follower, running
from simulated_bench import SimulatedBench, torque

from armlet.bringup import command
from armlet.client.graph import Director, GraphError
from armlet.motors.emulation import Faults
from armlet.robots import SO101_JOINTS
from armlet.sim import Bench


@pytest.fixture(params=FIRST_FAMILY)
def motors(request):
    return request.param


@pytest.fixture
def bench(tmp_path, motors):
    """A bench in simulated time."""
    with SimulatedBench(tmp_path, motors=motors) as bench:
        yield bench


@pytest.fixture
def line(tmp_path, motors):
    """A bench by the wall clock: how long an answer is waited for is real time."""
    with Bench(paced=True, links=tmp_path, motors=motors) as bench:
        yield bench


def spec(bench, tmp_path, **parameters):
    motors = bench.follower.model.name
    return follower(tmp_path / "follower", motors=motors, **parameters)


def started(bench, tmp_path, **parameters):
    return bench.graph([spec(bench, tmp_path, **parameters)])


def wait_until_holding(bus):
    bus.wait("states", lambda: bus.seen.count("joint_states") > 3)
    bus.wait_for_status("servo_bus: bus", "holding")


def wait_for_torque(bench, wanted, timeout_s=120.0):
    deadline = time.monotonic() + timeout_s
    while torque(bench) != wanted and time.monotonic() < deadline:
        time.sleep(0.01)
    assert torque(bench) == wanted


def test_a_killed_driver_leaves_no_torque(bench, tmp_path):
    with started(bench, tmp_path) as bus:
        wait_until_holding(bus)
        bus.processes["servo_bus"].send_signal(signal.SIGKILL)
        wait_for_torque(bench, [0] * 6)


FAULTY = """
class Faulty(Driver):
    armed, calls = False, 0

    def {method}(self, *arguments):
        # It is armed when it has heard itself, some cycles after its first; on a busy computer the
        # line may fall silent later.
        Faulty.armed |= self._control is not None and self._control.goal is not None
        Faulty.calls += Faulty.armed
        if Faulty.calls > 3:
            raise RuntimeError("a fault of our own")
        return super().{method}(*arguments)

servo_bus.ServoBus = Faulty
"""


def faulty(bench, tmp_path, method):
    line = command(spec(bench, tmp_path), tmp_path)
    program = Timeouts().program(FAULTY.format(method=method))
    return Popen(running_program(line, program), stderr=subprocess.PIPE, text=True)


def has_been_armed(bench):
    """Every servo, however soon torque went off again."""
    return all(any(switch.on for switch in servo.torque_log) for servo in servos(bench))


def servos(bench):
    return bench.follower.servos.values()


@pytest.mark.parametrize("method", ["_publish", "diagnostics"])
def test_an_exception_in_the_cycle_or_a_timer_ends_the_node_with_torque_off(line, tmp_path, method):
    process = faulty(line, tmp_path, method)
    try:
        assert process.wait(120) == 1
        said = process.stderr.read()
        assert has_been_armed(line), said
        assert torque(line) == [0] * 6, said
        assert "a fault of our own" in said
    finally:
        process.kill()
        process.communicate()


def test_an_exception_of_a_message_drops_the_message_and_not_the_arm(line, tmp_path):
    director = Director()
    process = faulty(line, tmp_path, "_on_command")
    try:
        wait_for_torque(line, [1] * 6)
        dropped = "servo_bus: messages"
        while dropped not in director.seen.messages() and process.poll() is None:
            director.command(["gripper"], [0.0])
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.02)
        assert process.poll() is None, process.stderr.read()
        assert "a fault of our own" in director.seen.messages()[dropped]
        assert torque(line) == [1] * 6
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 0
        assert torque(line) == [0] * 6
        assert process.stderr.read().count("RuntimeError: a fault of our own") == 1
    finally:
        process.kill()
        process.communicate()
        director.close()


@pytest.mark.thorough
@pytest.mark.wall_clock
def test_one_reply_in_ten_lost_it_goes_on_following(line, tmp_path, monkeypatch):
    """How many are asked again in time is the computer's affair: see control/fault_campaign.py."""
    with running([spec(line, tmp_path)], popen=with_timeouts(Timeouts(answer_s=0.0))) as bus:
        wait_until_holding(bus)
        line.follower.faults.drop_probability = 0.1
        goal = bus.seen.latest("joint_states") + 0.3

        def arrived():
            bus.director.command(SO101_JOINTS, goal)
            return bus.seen.distance(goal) < 0.05

        bus.wait("the arm at its goal", arrived)
        bus.wait("a request that is repeated", lambda: int(on_bus(bus)["retries"]) > 0)
        bus.seen.forget_diagnostics()
        bus.wait_for_status("servo_bus: bus", "holding")
        # That asking again helps: where it did not, no reading would be whole.
        line.follower.faults.drop_probability = 0.0
        lose_first_replies(monkeypatch, REQUEST_TO_ALL[line.follower.model.name])
        whole = bus.seen.count("joint_states")
        bus.wait("whole readings", lambda: bus.seen.count("joint_states") > whole + 100)
        bus.seen.forget_diagnostics()
        bus.wait_for_status("servo_bus: bus", "holding")
        monkeypatch.undo()


def most_timeouts(bus):
    """The joint whose servo has most often not answered."""
    status = bus.seen.status()
    timeouts = {joint: int(status[f"servo_bus: {joint}"]["timeouts"]) for joint in SO101_JOINTS}
    return max(timeouts, key=timeouts.get)


def on_bus(bus):
    """What the driver counts."""
    return bus.seen.status()["servo_bus: bus"]


REQUEST_TO_ALL = {"sts3215": 14, "xl330-m288": 20}
"""Bytes of a SYNC_READ of six servos; one of fewer is shorter."""


def lose_first_replies(monkeypatch, to_all):
    """From here on each request to all servos loses a reply; what it is asked again for comes."""
    asked_all = [False]

    def damage_request(self, request):
        asked_all[0] = len(request) >= to_all
        return request

    def damage(self, reply):
        lost, asked_all[0] = asked_all[0], False
        return b"" if lost else reply

    monkeypatch.setattr(Faults, "damage_request", damage_request)
    monkeypatch.setattr(Faults, "damage", damage)


@pytest.mark.wall_clock
def test_a_joint_that_does_not_answer_is_not_made_up(line, tmp_path):
    with running([spec(line, tmp_path)]) as bus:
        wait_until_holding(bus)
        line.follower.faults.dead.add(3)
        bus.wait_for_status("servo_bus: bus", "servos do not answer")
        said_ns = time.time_ns()
        assert "elbow_flex" in bus.seen.messages()["servo_bus: bus"]
        bus.wait("elbow_flex's timeouts, the most", lambda: most_timeouts(bus) == "elbow_flex")
        bus.seen.forget_diagnostics()
        bus.wait_for_status("servo_bus: bus", "servos do not answer")
        # Messages of two topics come in any order; when each was read is on it.
        stamps = bus.seen.stamps("joint_states")
        assert max(stamps) <= said_ns, "a state with a joint nobody read"
        line.follower.faults.dead.clear()  # or its end would wait for a proof of torque off


@pytest.mark.representatives(1)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_torque_is_off_after_a_signal(bench, tmp_path, number):
    with started(bench, tmp_path) as bus:
        wait_until_holding(bus)
        assert torque(bench) == [1] * 6
        bus.processes["servo_bus"].send_signal(number)
        assert bus.processes["servo_bus"].wait(120) == 0, bus.said()
        assert torque(bench) == [0] * 6


def test_a_wrong_parameter_name_is_an_error_at_start(line, tmp_path):
    with running([spec(line, tmp_path, max_velocity=1.0)]) as bus:
        assert bus.processes["servo_bus"].wait(120) == 1
        bus.supervisor.stop()
        assert "max_velocity_rad_s" in bus.said()
        assert "unknown parameters ['max_velocity']" in bus.said()
    assert torque(line) == [0] * 6


def test_another_arms_calibration_is_refused_before_torque(line, tmp_path):
    leaders = CALIBRATION / "emulated_leader.json"
    given = {"motors": line.follower.model.name, "other_calibrations": [f"leader={leaders}"]}
    with running([follower(tmp_path / "leader", **given)]) as bus:
        bus.wait("the refusal", lambda: "the calibration file says" in bus.said(), 120)
        assert f"these servos hold the calibration of the leader ({leaders}): the" in bus.said()
    assert [
        servo.peek(line.leader.model.torque_enable) for servo in line.leader.servos.values()
    ] == [0] * 6


def test_its_lifecycle_means_something(bench, tmp_path):
    with started(bench, tmp_path, autostart=False) as bus:
        for _ in range(2):
            bus.director.change_state("servo_bus", "configure")
            states = bus.seen.count("joint_states")
            bus.wait("states", lambda states=states: bus.seen.count("joint_states") > states + 3)
            assert torque(bench) == [0] * 6, "configured is not armed"
            with pytest.raises(GraphError, match="not active"):
                bus.director.set("servo_bus/set_torque", True)
            bus.director.change_state("servo_bus", "activate")
            assert torque(bench) == [1] * 6
            bus.director.change_state("servo_bus", "deactivate")
            assert torque(bench) == [0] * 6
            bus.director.change_state("servo_bus", "cleanup")
        assert bus.processes["servo_bus"].poll() is None
