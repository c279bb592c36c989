"""Connecting, configuring and arming on an emulated bus that may lose packets."""

from dataclasses import replace

import pytest
from driven_arm import (
    CALIBRATION,
    FEETECH,
    JOINTS,
    Driven,
    emulated_bus,
    made_arm,
    made_bus,
)

from armlet.control import Arm, ArmError, Control, ControlSettings, Guard
from armlet.motors.feetech import REGISTERS, Bus, ErrorBit, PortError


@pytest.fixture
def arm(emulated):
    arm = made_arm(emulated)
    yield arm
    arm.close()


def peek(emulated, name):
    return [
        emulated.servos[joint.id].peek(emulated.model.registers[name])
        for joint in CALIBRATION.values()
    ]


def test_an_offset_beyond_a_turn_is_for_servos_that_store_it(emulated):
    """A file may have it, for LeRobot's of a Koch do; an STS3215 stores 2047 at most."""
    entry = replace(CALIBRATION["shoulder_pan"], homing_offset=5000)
    arm = made_arm(emulated, {**CALIBRATION, "shoulder_pan": entry})
    with pytest.raises(ArmError, match=r"shoulder_pan .* Homing_Offset = 5000"):
        arm.connect()
    if emulated.model.homing_offset.maximum < 5000:
        with pytest.raises(ArmError, match=r"shoulder_pan .* takes -2047\.\.2047 tick, found 5000"):
            arm.write_calibration()
        assert emulated.model.lock and peek(emulated, emulated.model.lock.name) == [1, 1]
    else:
        arm.write_calibration()
        arm.connect()
    arm.close()


def test_another_arms_calibration_is_refused_with_all_that_differs_and_the_fix(emulated, arm):
    emulated.servos[1].poke(emulated.model.min_position, 5)
    emulated.servos[2].poke(emulated.model.homing_offset, 7)
    with pytest.raises(ArmError) as refused:
        arm.connect()
    said = str(refused.value)
    assert "shoulder_pan (id 1): the calibration file says Min_Position_Limit = 1000, the" in said
    assert "gripper (id 2): the calibration file says Homing_Offset = -50, the servo 7" in said
    assert "armlet calibrate --write" in said
    arm.write_calibration()
    arm.connect()
    if emulated.model.lock is not None:
        assert peek(emulated, "Lock") == [1, 1]


def test_another_model_is_refused(emulated, arm):
    emulated.servos[1].poke(emulated.model.model_number, 1284)
    with pytest.raises(ArmError, match=r"shoulder_pan \(id 1\): found model 1284"):
        arm.connect()


def test_all_servos_that_do_not_answer_are_named(emulated, arm):
    emulated.faults.dead.update((1, 2))
    with pytest.raises(ArmError, match=r"shoulder_pan \(id 1\), gripper \(id 2\) on .*baud"):
        arm.connect()


def test_firmware_is_read_and_a_mixture_is_reported(emulated, arm):
    arm.connect()
    version = ".".join(str(register.default) for register in emulated.model.firmware)
    assert arm.firmware == dict.fromkeys(JOINTS, version)
    assert arm.warnings == []
    emulated.servos[2].poke(emulated.model.firmware[-1], 9)
    arm.connect()
    other = ".".join([*version.split(".")[:-1], "9"])
    assert arm.firmware["gripper"] == other
    assert f"shoulder_pan {version}, gripper {other}" in arm.warnings[0]


@FEETECH
def test_an_overloaded_servo_can_be_connected_configured_and_armed(emulated, arm):
    emulated.faults.errors[1] = ErrorBit.OVERLOAD
    arm.connect()
    arm.configure()
    arm.torque_on()
    assert peek(emulated, "Torque_Enable") == [1, 1]


@FEETECH
def test_configure_writes_lerobots_settings_and_clears_multi_turn(emulated, arm):
    emulated.servos[1].poke(REGISTERS["Phase"], 0x1C)
    arm.connect()
    arm.configure()
    assert peek(emulated, "Phase") == [12, 12]
    assert peek(emulated, "P_Coefficient") == [16, 16]
    assert peek(emulated, "Max_Torque_Limit") == [1000, 500]
    assert peek(emulated, "Torque_Limit") == [1000, 500], "not only after the next power-up"
    assert peek(emulated, "Acceleration") == [254, 254]
    assert peek(emulated, "Lock") == [1, 1]
    for servo in emulated.servos.values():
        servo.power_cycle()
    assert peek(emulated, "P_Coefficient") == [16, 16], "stored for good"


def test_what_is_stored_already_is_not_written_again(emulated, arm):
    arm.connect()
    arm.configure()
    wear = [dict(servo.eeprom_writes) for servo in emulated.servos.values()]
    assert all(wear)
    arm.configure()
    arm.write_calibration()
    assert [dict(servo.eeprom_writes) for servo in emulated.servos.values()] == wear


@FEETECH
def test_a_broken_off_configure_leaves_eeprom_locked(emulated, arm, monkeypatch):
    arm.connect()
    write = arm.servos.write

    def failing(joint, name, value):
        if name == "I_Coefficient" or name == "P_Coefficient":
            raise ArmError("broken off")
        write(joint, name, value)

    monkeypatch.setattr(arm.servos, "write", failing)
    with pytest.raises(ArmError, match="broken off"):
        arm.configure()
    assert peek(emulated, "Lock") == [1, 1]


def test_what_a_servo_does_not_store_is_an_error(emulated, arm):
    arm.connect()
    emulated.faults.errors.clear()
    servo, write = emulated.servos[2], emulated.servos[2].write
    name = {"sts3215": "P_Coefficient", "xl330-m288": "Operating_Mode"}[emulated.model.name]
    at, value = emulated.model.registers[name].address, emulated.model.gripper.stored[name]
    servo.write = lambda address, data: 0 if address == at else write(address, data)
    with pytest.raises(ArmError, match=rf"did not store .* gripper: \{{'{name}': {value}\}}"):
        arm.configure()


@pytest.mark.parametrize("seed", range(4))
def test_everything_survives_one_packet_in_ten_lost(emulated, arm, seed):
    emulated.faults.seed = seed
    emulated.faults.__post_init__()
    emulated.faults.drop_probability = 0.1
    emulated.faults.request_drop_probability = 0.05
    for _ in range(3):
        arm.connect()
        arm.configure()
        arm.torque_on()
        assert peek(emulated, "Torque_Enable") == [1, 1]
        arm.torque_off()
        assert peek(emulated, "Torque_Enable") == [0, 0]


def test_a_failed_arming_leaves_no_joint_on(emulated, arm):
    arm.connect()
    arm.configure()
    servo, write = emulated.servos[2], emulated.servos[2].write
    at = emulated.model.torque_enable.address
    servo.write = lambda address, data: 0 if address == at else write(address, data)
    with pytest.raises(ArmError, match=r"gripper \(id 2\) acknowledged torque on, but it stayed"):
        arm.torque_on()
    assert peek(emulated, "Torque_Enable") == [0, 0]


def test_arming_proves_the_goals_first(emulated, arm):
    arm.connect()
    arm.configure()
    servo, write = emulated.servos[2], emulated.servos[2].write
    servo.position = 1900
    at = emulated.model.goal_position.address
    servo.write = lambda address, data: 0 if address == at else write(address, data)
    with pytest.raises(ArmError, match=r"goals .* were sent, the servos hold"):
        arm.torque_on()
    assert 1 not in [on for servo in emulated.servos.values() for _, on in servo.torque_log]


def test_a_joint_far_outside_its_range_is_not_armed(emulated, arm):
    arm.connect()
    arm.configure()
    emulated.servos[1].position = 3100
    with pytest.raises(ArmError, match=r"\['shoulder_pan'\] stand outside"):
        arm.torque_on()
    assert peek(emulated, "Torque_Enable") == [0, 0]


def test_torque_off_reaches_all_servos_with_one_packet_first(emulated, arm):
    arm.connect()
    arm.configure()
    arm.torque_on()
    emulated.writes.clear()
    sent = arm.bus.counters.packets_sent
    arm.torque_off()
    model = emulated.model
    addresses = [register.address for register in (model.torque_enable, model.watchdog) if register]
    assert [(write.id, write.address, write.data) for write in emulated.writes] == [
        (servo, address, b"\0") for address in addresses for servo in (1, 2)
    ]
    assert arm.bus.counters.packets_sent > sent + len(addresses), "the packets and the proof"


def test_torque_off_is_repeated_to_a_servo_that_missed_it(emulated, arm):
    arm.connect()
    arm.configure()
    arm.torque_on()
    emulated.faults.request_drop_next = 1
    arm.torque_off()
    assert peek(emulated, "Torque_Enable") == [0, 0]


def test_an_arm_knows_its_own_bus(emulated, arm, clock):
    arm.bus.open()
    assert arm.matches(arm.bus)
    with emulated_bus(clock, motors=emulated.model.name) as other:
        other.servos[1].poke(emulated.model.homing_offset, 99)
        with made_bus(other) as bus:
            assert not arm.matches(bus)
        other.faults.dead.add(1)
        with made_bus(other) as bus:
            assert not arm.matches(bus)


def test_it_is_found_elsewhere_but_no_other_arm_is_taken_for_it(emulated, clock, tmp_path):
    with emulated_bus(clock, motors=emulated.model.name) as other:
        other.servos[2].poke(emulated.model.max_position, 2501)
        # The own port goes away, another arm and the own one appear on others.
        arm = made_arm(emulated)
        control = Control(
            arm,
            Guard.from_calibration(CALIBRATION),
            ControlSettings(),
            find_ports=lambda: [other.port, str(tmp_path / "nothing"), str(tmp_path / "moved")],
        )
        arm.connect()
        emulated.hang_up()
        control.cycle(0)
        before = list(other.writes)
        assert not control.reconnect()
        assert "not every servo of this arm" in control.last_error
        assert arm.bus.port == emulated.port
        emulated.plug()
        (tmp_path / "arm").rename(tmp_path / "moved")
        assert control.reconnect()
        assert arm.bus.port == str(tmp_path / "moved")
        assert list(other.writes) == before, "other devices are only read"
        arm.close()


def test_a_port_that_is_nowhere_is_an_error(tmp_path):
    arm = Arm(Bus(str(tmp_path / "none")), CALIBRATION)
    with pytest.raises(PortError, match="cannot open"):
        arm.find()


def test_following_goes_on_at_one_reply_in_ten_lost(emulated, clock):
    driven = Driven(emulated, clock)
    driven.control.torque_on()
    emulated.faults.drop_probability = 0.1
    fresh = 0
    for _ in range(300):
        driven.command(0.1, 0.0)
        sample = driven.cycle().sample
        fresh += sample is not None and sample.complete
    assert fresh >= 0.95 * 300
    assert driven.control.goal[0] == pytest.approx(0.1, abs=0.002)
    driven.arm.close()
