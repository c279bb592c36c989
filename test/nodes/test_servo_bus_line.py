"""The servo_bus process by the wall clock: a line that is pulled, servos that are silent.

How long servos are waited for, and how a lost port is looked for, is real time. Nothing here
asserts how long anything takes.
"""

import os
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from driver_timeouts import arm
from families import FIRST_FAMILY
from node_processes import follower, running

from armlet.client.graph import GraphError
from armlet.priority import Role, realtime_limit
from armlet.robots import SO101_JOINTS
from armlet.sim import Bench

pytestmark = pytest.mark.wall_clock


@pytest.fixture(params=FIRST_FAMILY)
def bench(tmp_path, request):
    """A bench by the wall clock, of whose line a test is."""
    with Bench(paced=False, links=tmp_path, motors=request.param) as bench:
        yield bench


@pytest.fixture
def bus(bench, tmp_path):
    """A servo_bus on that bench, holding."""
    motors = bench.follower.model.name
    with running([follower(tmp_path / "follower", motors=motors)]) as bus:
        arm(bus)
        topics = ("joint_states", "applied_joint_commands")
        bus.wait("states and commands", lambda: all(bus.seen.count(t) > 3 for t in topics))
        yield bus


def torque(bench):
    torque_enable = bench.follower.model.torque_enable
    return [servo.peek(torque_enable) for servo in bench.follower.servos.values()]


def goals(bench):
    goal = bench.follower.model.goal_position
    return [servo.peek(goal) for servo in bench.follower.servos.values()]


def last_goal_s(bench):
    """When a servo was last sent a goal, by the servos' own record."""
    address = bench.follower.model.goal_position.address
    return max(w.time for w in tuple(bench.follower.writes) if w.address == address)


@pytest.mark.thorough
def test_its_control_thread_alone_is_real_time_where_it_may(bus):
    if not realtime_limit():
        pytest.skip("this user may not run real-time threads")
    process = bus.processes["servo_bus"]
    priorities = {}
    for each in Path(f"/proc/{process.pid}/task").iterdir():
        with suppress(ProcessLookupError):  # it has ended
            priorities[each.name] = os.sched_getparam(int(each.name)).sched_priority
    # DDS's threads spin while another process's is not run: in real time they stop the computer.
    assert sorted(set(priorities.values())) == [0, Role.BUS.value.realtime]
    assert list(priorities.values()).count(Role.BUS.value.realtime) == 1


def test_unplugged_and_plugged_back_it_reports_and_does_not_move_until_armed(bench, bus):
    bench.follower.hang_up()
    bus.wait_for_status("servo_bus: bus", "bus lost")
    with pytest.raises(GraphError, match="lost"):
        bus.director.set("servo_bus/set_torque", True)
    states, before = bus.seen.count("joint_states"), goals(bench)
    bench.follower.plug()
    bus.wait("states again", lambda: bus.seen.count("joint_states") > states + 10)
    bus.wait_for_status("servo_bus: bus", "not armed")
    elsewhere = bus.seen.latest("joint_states") + 0.3
    for _ in range(10):
        bus.director.command(SO101_JOINTS, elsewhere)
        seen = bus.seen.count("joint_states")
        bus.wait("more states", lambda seen=seen: bus.seen.count("joint_states") > seen + 2)
    assert goals(bench) == before, "no motion until re-armed"
    assert bus.processes["servo_bus"].poll() is None
    goal = bus.seen.latest("joint_states") + np.array([0.1, 0, 0, 0, 0, 0])

    def arrived():
        if "not armed" in bus.seen.messages()["servo_bus: bus"]:
            arm(bus)
        bus.director.command(SO101_JOINTS, goal)
        return bus.seen.distance(goal) < 0.05

    bus.wait("the arm at its goal", arrived)


def refused(bus):
    return int(bus.seen.status()["servo_bus: bus"]["refused"])


def test_a_dead_servo_stops_commands_and_is_reported(bench, bus):
    bench.follower.faults.dead.add(3)
    bus.wait_for_status("servo_bus: bus", "servos do not answer")
    last, before = last_goal_s(bench), refused(bus)
    elsewhere = bus.seen.latest("joint_states") + 0.2

    def is_refused():
        bus.director.command(SO101_JOINTS, elsewhere)
        return refused(bus) > before

    bus.wait("a refusal", is_refused)
    assert last_goal_s(bench) == last, "no goal from an unread state"
    bench.follower.faults.dead.clear()  # or its end would wait for a proof of torque off


def test_a_stop_asked_for_while_the_bus_is_lost_happens_on_its_return(bench, bus):
    bench.follower.hang_up()
    bus.wait_for_status("servo_bus: bus", "bus lost")
    with pytest.raises(GraphError, match="lost"):
        bus.director.stop()
    bench.follower.plug()
    bus.wait_for_status("servo_bus: bus", "not armed")
    bus.wait("torque off", lambda: torque(bench) == [0] * 6)


def test_servos_that_fall_silent_must_be_armed_again(bench, bus):
    bench.follower.faults.dead.update(range(1, 7))
    bus.wait_for_status("servo_bus: bus", "servos do not answer")
    bench.follower.faults.dead.clear()
    bus.wait_for_status("servo_bus: bus", "not armed")
    arm(bus)
