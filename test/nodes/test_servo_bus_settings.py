"""What servo_bus does by other settings than its defaults: at the limits, at heat, in feedback."""

import numpy as np
import pytest
from families import FIRST_FAMILY
from simulated_bench import armed, bench_and_follower, torque

from armlet.motors.protocol import Alarm, Quantity
from armlet.robots import SO101_JOINTS

SETTINGS = {
    "beyond_limits": "refuse",
    "feedback": "full",
    "wrist_flex.on_hot": "release",
    "hot_c": 60.0,
}


@pytest.fixture(scope="module", params=FIRST_FAMILY)
def shared(tmp_path_factory, private_domain, request):
    """A bench in simulated time and a servo_bus so set on it, for all tests."""
    folder = tmp_path_factory.mktemp("bench")
    with bench_and_follower(folder, request.param, **SETTINGS) as (bench, bus):
        yield bench, bus


@pytest.fixture
def bench(shared):
    return shared[0]


@pytest.fixture
def bus(shared):
    """The servo_bus, armed and holding; what it has said before is forgotten."""
    return armed(shared[1])


def test_commands_beyond_the_limits_are_refused_if_wanted(bus):
    before = bus.seen.latest("applied_joint_commands")
    bus.director.command(["gripper"], [9.0])
    bus.wait("a refusal", lambda: int(bus.seen.status()["servo_bus: bus"]["refused"]) > 0)
    np.testing.assert_array_equal(bus.seen.latest("applied_joint_commands"), before)


def test_all_readings_in_every_cycle_if_wanted(bus):
    bus.wait(
        "voltages",
        lambda: all(
            "V" in bus.seen.messages().get(f"servo_bus: {joint}", "") for joint in SO101_JOINTS
        ),
    )


def temperature_c(bus, joint):
    return bus.seen.status()[f"servo_bus: {joint}"]["temperature_c"]


def test_a_joint_that_is_released_when_hot_lets_go_and_the_others_hold(bench, bus):
    hot = bench.follower.model.measures[Quantity.TEMPERATURE].register
    bench.follower.servos[4].poke(hot, 63)
    bus.wait_for_status("servo_bus: wrist_flex", "released")
    assert torque(bench) == [1, 1, 1, 0, 1, 1]
    bench.follower.servos[4].unpin(hot)
    bus.wait("it to cool", lambda: float(temperature_c(bus, "wrist_flex")) < 60)
    bus.director.set("servo_bus/set_torque", True)
    bus.wait("its torque", lambda: torque(bench) == [1] * 6)


def test_an_overloaded_joint_is_relaxed_and_reported(bench, bus):
    """The last one: the joint stays relaxed."""
    gripper = bench.follower.servos[6]
    full = gripper.peek(bench.follower.model.torque_limit)
    bench.follower.faults.errors[6] = Alarm.OVERLOAD
    if bench.follower.model.reboots:
        # Its error lasts until it is rebooted, were the cause gone; and it comes back relaxed.
        bus.wait("it to cut out", lambda: not gripper.torque_on)
        bench.follower.faults.errors.clear()
        bus.wait("its torque", lambda: gripper.torque_on)
    bus.wait_for_status("servo_bus: gripper", "relaxed")
    assert gripper.peek(bench.follower.model.torque_limit) < full
    assert "gripper relaxed" in bus.seen.messages()["servo_bus: bus"]
