"""Overload, heat and voltage: what is done to a servo about them, on emulated servos."""

import numpy as np
import pytest
from driven_arm import FEETECH, FULL_GRIP, TICK, Driven

from armlet.control import JointPolicy, ProtectionSettings, State
from armlet.control.feedback import JointTelemetry
from armlet.control.protection import Protection
from armlet.motors.feetech import ErrorBit
from armlet.motors.protocol import Alarm, Quantity

CENTRE = 2000


def made(emulated, clock, **policy):
    settings = ProtectionSettings(policies={"gripper": JointPolicy(**policy)})
    driven = Driven(emulated, clock, protection=settings)
    driven.control.torque_on()
    driven.cycles(2)
    return driven


@pytest.fixture
def relaxing(emulated, clock):
    driven = made(emulated, clock)
    yield driven
    driven.arm.close()


def care(driven, joint="gripper"):
    return driven.control.protection.joints[joint]


def gripper(driven):
    return driven.emulated.servos[2]


def temperature(driven):
    """The register."""
    return driven.emulated.model.measures[Quantity.TEMPERATURE].register


def full(driven):
    """Torque limits of joints that are well, as shares."""
    return [1.0, FULL_GRIP[driven.emulated.model.name]]


def block(driven, beyond_ticks=30):
    """Something stands in the gripper's way; actual ticks."""
    at = CENTRE + gripper(driven).offset + beyond_ticks
    gripper(driven).obstacle = (at, at + 1000)


def squeeze(driven, count=1, pan=0.0, target=0.6):
    return driven.commanded(count, pan, target)


def squeeze_until(driven, ready, limit=1500, **options):
    for _ in range(limit):
        if ready():
            return
        squeeze(driven, **options)
    raise AssertionError(f"not within {limit} cycles: {driven.control.summary()}")


def test_a_blocked_gripper_overloads_is_relaxed_and_recovered_and_gets_its_torque_back(relaxing):
    """The whole story, with an overload that arises by itself and latches in the servo."""
    block(relaxing)
    squeeze_until(relaxing, lambda: care(relaxing).counts.overload == 1)
    assert gripper(relaxing).errors & (ErrorBit.OVERLOAD | ErrorBit.CURRENT)
    squeeze_until(relaxing, lambda: care(relaxing).counts.recovered == 1, 40)
    assert "gripper relaxed: overload" in relaxing.control.summary()
    assert gripper(relaxing).errors is ErrorBit.NONE, "the latch is gone without a power cycle"
    assert relaxing.torque() == [1, 1]
    assert relaxing.torque_limits() == [1.0, 0.2]
    # It goes on squeezing, and the goal stays where the gripper stands: it pushes no more.
    squeeze(relaxing, 400)
    assert care(relaxing).counts.overload == 1
    goal, stands = relaxing.control.goal[1], 30 * TICK
    assert goal == pytest.approx(stands, abs=3 * TICK)
    assert "relaxed" in relaxing.control.summary(), "while a command pushes, it stays so"
    # Commands that lead away are followed at once, and then it is well again.
    squeeze(relaxing, 60, target=-0.3)
    assert relaxing.control.goal[1] == pytest.approx(-0.3, abs=0.01)
    squeeze_until(relaxing, lambda: care(relaxing).mode.value == "normal", 300, target=-0.3)
    assert relaxing.torque_limits() == full(relaxing)
    assert relaxing.control.summary() == "following joint_commands"
    assert care(relaxing).said == "has its full torque again"


def test_a_gripper_with_the_default_policy_keeps_a_soft_grip(emulated, clock):
    driven = Driven(emulated, clock)
    driven.control.torque_on()
    block(driven)
    squeeze_until(driven, lambda: care(driven).counts.recovered == 1)
    squeeze(driven, 1000)
    assert care(driven).counts.overload == 1, "it does not overload again"
    assert driven.control.goal[1] - 30 * TICK == pytest.approx(0.1, abs=3 * TICK)
    driven.cycle()
    assert driven.quantity(Quantity.LOAD)[1] == pytest.approx(0.2, abs=0.05)
    driven.arm.close()


def test_the_other_joint_follows_at_full_rate_through_all_of_it(relaxing):
    block(relaxing)
    goals, start = [], relaxing.clock.now_s
    for _ in range(600):
        pan = 0.3 * np.sin(2 * (relaxing.clock.now_s - start))
        goals.append(squeeze(relaxing, pan=pan)[0])
    assert care(relaxing).counts.recovered == 1
    assert not np.isnan(goals).any()
    due = 0.3 * np.sin(2 * (np.arange(600) * 0.01 - 0.01))
    assert np.abs(np.array(goals)[10:, 0] - due[10:]).max() < 2 * TICK


def had_torque(servo, time_s):
    """By the servo's own notes; some take it off by themselves."""
    return [switch.on for switch in servo.torque_log if switch.time <= time_s][-1]


def test_the_goal_only_ever_jumps_where_the_torque_is_off(relaxing, emulated):
    block(relaxing)
    emulated.writes.clear()
    squeeze(relaxing, 500)
    assert care(relaxing).counts.recovered == 1
    last, jumps, model = None, [], emulated.model
    for write in emulated.writes:
        if write.id == 2 and write.address == model.goal_position.address:
            goal = model.goal_position.decode(write.data)
            if last is not None and abs(goal - last) > 4 * 0.01 / TICK + 1:
                jumps.append(had_torque(gripper(relaxing), write.time))
            last = goal
    assert set(jumps) <= {False}
    assert jumps, "from where it pushed to where it stands"


@FEETECH
def test_an_overload_that_comes_back_ends_in_a_release(relaxing, emulated):
    emulated.faults.errors[2] = ErrorBit.OVERLOAD
    relaxing.cycles_until(lambda: "gripper" in relaxing.control.protection.released, 400)
    assert care(relaxing).counts.recovered == 3
    assert "gripper released: overload again after 3 recoveries" in relaxing.control.summary()
    assert relaxing.torque() == [1, 0]
    # The rest of the arm goes on; commands for the gripper are ignored and counted.
    squeeze(relaxing, 20, pan=0.1)
    assert relaxing.control.counts.ignored == 20
    assert relaxing.control.state is State.COMMAND
    goal = relaxing.control.goal
    assert goal[0] == pytest.approx(0.1, abs=0.05)
    assert goal[1] == pytest.approx(0.0, abs=2 * TICK), "where it stands, so nothing jumps"
    # Armed again by torque_on, where it stands by then.
    emulated.faults.errors.clear()
    gripper(relaxing).position = CENTRE + 100
    relaxing.cycles(2)
    relaxing.control.torque_on()
    assert relaxing.torque() == [1, 1]
    assert relaxing.register("Goal_Position")[1] == CENTRE + 100
    assert relaxing.control.protection.released == ()


@pytest.mark.parametrize(
    ("bit", "said"),
    [
        (Alarm.TEMPERATURE, "too hot, by the servo's own limit"),
        (Alarm.VOLTAGE, "supply voltage, by the servo's own limit"),
    ],
)
def test_an_alarm_is_not_explained_by_the_reading_of_before(bit, said):
    """It said "too hot (30 °C)": the servo's reply had the alarm, and no temperature."""
    protection = Protection(("gripper",), ProtectionSettings())
    before = telemetry_of(30.0, Alarm.NONE)
    protection.note_telemetry("gripper", before, 0.0)
    for now_s in (0.1, 0.2):
        protection.note_errors("gripper", bit, now_s)
    assert protection.summary() == f"gripper: {said}"
    protection.note_telemetry("gripper", telemetry_of(61.0, bit), 0.3)
    reading = "(61 °C, by" if bit is Alarm.TEMPERATURE else "7.0 V, by"
    assert reading in protection.summary()


def telemetry_of(celsius, bits):
    return JointTelemetry(0, 0.0, 7.0, celsius, None, False, bits)


def test_release_is_proven_and_takes_one_joint_only(emulated, clock):
    driven = made(emulated, clock, hot="release")
    gripper(driven).poke(temperature(driven), 66)
    driven.cycles_until(lambda: driven.control.protection.released, 200)
    assert driven.torque() == [1, 0]
    assert driven.control.summary() == "holding; gripper released: too hot (66 °C, limit 65 °C)"
    assert [event.said for event in driven.control.protection.events] == [
        "too hot (66 °C, limit 65 °C)",
        "released: too hot (66 °C, limit 65 °C)",
    ]
    driven.arm.close()


@FEETECH
def test_a_release_that_has_begun_is_completed_though_its_reason_is_gone(emulated, clock):
    driven = made(emulated, clock, hot="release")
    emulated.faults.errors[2] = ErrorBit.TEMPERATURE
    driven.cycles_until(lambda: driven.torque() == [1, 0], 200)
    assert driven.control.protection.released == (), "ordered, not yet proven"
    emulated.faults.errors.clear()
    driven.cycles(5)
    assert driven.control.protection.released == ("gripper",)
    driven.arm.close()


def test_a_hot_joint_is_relaxed_until_it_has_cooled_down(relaxing):
    gripper(relaxing).poke(temperature(relaxing), 66)
    relaxing.cycles_until(lambda: care(relaxing).mode.value == "relaxed", 200)
    relaxing.cycles(5)
    assert relaxing.torque_limits() == [1.0, 0.2]
    assert care(relaxing).counts.recovered == 0, "there is no latch to clear"
    gripper(relaxing).poke(temperature(relaxing), 50)
    relaxing.cycles_until(lambda: not relaxing.control.protection.summary(), 400)
    assert relaxing.torque_limits() == full(relaxing)


@FEETECH
def test_a_servo_that_cut_out_from_heat_is_reported_as_that(relaxing):
    """It may take its own torque off: that is no lost power, and the arm goes on without it."""
    gripper(relaxing).poke(temperature(relaxing), 75)
    gripper(relaxing).poke(relaxing.emulated.model.torque_enable, 0)
    relaxing.cycles(150)
    assert relaxing.control.counts.unpowered == 0
    summary = "holding; gripper released: cut out by itself, too hot (75 °C, limit 65 °C)"
    assert relaxing.control.summary() == summary
    assert relaxing.torque() == [1, 0], "it is left to cool"
    gripper(relaxing).unpin(temperature(relaxing))
    relaxing.cycles(150)
    relaxing.control.torque_on()
    assert relaxing.torque() == [1, 1]


@FEETECH
def test_a_servo_that_cut_out_from_overload_is_recovered(relaxing, emulated):
    gripper(relaxing).poke(relaxing.emulated.model.torque_enable, 0)
    emulated.faults.errors[2] = ErrorBit.OVERLOAD
    relaxing.cycles_until(lambda: care(relaxing).counts.recovered == 1, 200)
    emulated.faults.errors.clear()
    relaxing.cycles(50)
    assert relaxing.torque() == [1, 1]
    assert not relaxing.control.protection.torque_off.any()


@FEETECH
@pytest.mark.parametrize("bit", [ErrorBit.VOLTAGE, ErrorBit.TEMPERATURE, ErrorBit.OVERLOAD])
def test_warn_does_nothing_but_tell(emulated, clock, bit):
    driven = made(emulated, clock, overload="warn", hot="warn", voltage="warn")
    emulated.faults.errors[2] = bit
    emulated.writes.clear()
    driven.cycles(100)
    assert {write.address for write in emulated.writes} == {42}
    assert driven.control.summary().startswith("holding; gripper: ")
    counts = care(driven).counts
    assert counts.overload + counts.hot + counts.voltage == 1
    emulated.faults.errors.clear()
    driven.cycles(100)
    assert driven.control.summary() == "holding"
    driven.arm.close()


def test_low_voltage_is_reported_with_the_voltage(relaxing):
    measure = relaxing.emulated.model.measures[Quantity.VOLTAGE]
    gripper(relaxing).poke(measure.register, 43)
    relaxing.cycles(120)
    assert relaxing.control.summary() == "holding; gripper: supply voltage 4.3 V, limit 4.5 V"


def test_a_treatment_goes_on_through_lost_packets(relaxing, emulated):
    emulated.faults.drop_probability = 0.2
    emulated.faults.request_drop_probability = 0.1
    block(relaxing)
    squeeze_until(relaxing, lambda: care(relaxing).counts.recovered == 1)
    emulated.faults.drop_probability = emulated.faults.request_drop_probability = 0.0
    assert gripper(relaxing).errors is ErrorBit.NONE
    assert relaxing.torque() == [1, 1]


@FEETECH
def test_a_recovery_that_fails_is_reported_and_tried_again(relaxing, emulated):
    servo, write = gripper(relaxing), gripper(relaxing).write
    emulated.faults.errors[2] = ErrorBit.OVERLOAD
    # Torque goes off and does not come on again for a while.
    servo.write = lambda address, data: (
        None if (address, data) == (40, b"\1") else write(address, data)
    )
    relaxing.cycles_until(lambda: care(relaxing).counts.failed == 1, 200)
    assert "does not take Torque_Enable = 1" in relaxing.control.summary()
    emulated.faults.errors.clear()
    del servo.write
    relaxing.cycles_until(lambda: care(relaxing).counts.recovered == 1, 200)
    assert relaxing.torque() == [1, 1]
    assert not relaxing.control.protection.torque_off.any()


def test_a_stop_ends_a_treatment_and_torque_stays_off(relaxing, emulated):
    emulated.faults.errors[2] = ErrorBit.OVERLOAD
    relaxing.cycles_until(lambda: relaxing.control.protection.torque_off.any(), 200)
    relaxing.control.torque_off()
    emulated.writes.clear()
    relaxing.cycles(50)
    assert relaxing.torque() == [0, 0]
    assert not emulated.writes
    assert relaxing.control.summary().startswith("not armed")


def test_arming_again_restores_a_lowered_torque_limit(relaxing):
    gripper(relaxing).poke(temperature(relaxing), 66)
    relaxing.cycles_until(lambda: relaxing.torque_limits() == [1.0, 0.2], 300)
    gripper(relaxing).poke(temperature(relaxing), 40)
    relaxing.control.torque_off()
    relaxing.control.torque_on()
    assert relaxing.torque_limits() == full(relaxing)


def test_policies_are_checked():
    with pytest.raises(ValueError, match="nothing"):
        JointPolicy(hot="nothing")
    with pytest.raises(ValueError, match="relaxed_torque"):
        ProtectionSettings(relaxed_torque=0)


def test_an_unknown_joints_policy_is_refused(emulated, clock):
    settings = ProtectionSettings(policies={"elbow": JointPolicy()})
    with pytest.raises(ValueError, match="elbow"):
        Driven(emulated, clock, protection=settings)


def test_one_odd_reading_has_no_consequences(relaxing, emulated):
    """Damage that a checksum of eight bits did not find must not take torque off a joint."""
    servo, read = gripper(relaxing), gripper(relaxing).read
    model, hot = emulated.model, temperature(relaxing)

    def odd_once(address, count):
        data = bytearray(read(address, count))
        if address == model.torque_enable.address:
            data[0], data[hot.address - address] = 0, 90
            servo.read = read
        return bytes(data)

    servo.read = odd_once
    relaxing.cycles_until(lambda: servo.read == read, 120)
    relaxing.cycles(120)
    assert relaxing.control.summary() == "holding"
    assert relaxing.control.counts.unpowered == 0
    assert relaxing.control.telemetry["gripper"].temperature_c < 60
    relaxing.control.protection.note_errors("gripper", ErrorBit.OVERLOAD, relaxing.clock.now_s)
    assert relaxing.control.protection.quiet
