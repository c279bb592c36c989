"""Emulated Dynamixels, seen through the bus: what the e-manual says of their registers."""

import time
from itertools import pairwise

import pytest

from armlet.motors.dynamixel import Bus
from armlet.motors.dynamixel.registers import XL330_M288, XL430_W250
from armlet.motors.emulation import EmulatedBus
from armlet.motors.protocol import Alarm, InstructionRefused, NoReply

R = XL330_M288
IDS = (1, 2, 3)
STATE = (R["Present_Velocity"], R["Present_Position"])
# For a reply that comes, however busy the computer is; and to be told that none does.
LONG_S, SHORT_S = 1.0, 0.1


class Clock:
    now_s = 0.0

    def __call__(self):
        return self.now_s


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def emulated(clock):
    with EmulatedBus(IDS, motors="xl330-m288", clock=clock) as emulated:
        yield emulated


@pytest.fixture
def bus(emulated):
    with Bus(emulated.port, timeout_s=LONG_S) as bus:
        yield bus


@pytest.fixture
def impatient_bus(emulated):
    with Bus(emulated.port, timeout_s=SHORT_S) as bus:
        yield bus


def extended(servo):
    servo.poke(R["Operating_Mode"], 4)


def test_reversed_it_counts_the_other_way_and_goes_there(emulated, bus, clock):
    servo = emulated.servos[1]
    extended(servo)
    servo.poke(R["Drive_Mode"], 1)
    servo.poke(R["Homing_Offset"], 5000)
    servo.actual = 3000.0
    servo.power_cycle()
    assert bus.read(1, R["Present_Position"]) == 2000
    servo.mark()
    bus.write(1, R["Torque_Enable"], 1)
    bus.write(1, R["Goal_Position"], 2500)
    clock.now_s += 0.1
    assert bus.read(1, R["Present_Velocity"]) > 0 and bus.read(1, R["Present_PWM"]) > 0
    clock.now_s += 5.0
    assert bus.read(1, R["Present_Position"]) == pytest.approx(2500, abs=2)
    assert servo.actual == pytest.approx(2500, abs=2)
    low, high = servo.travel
    assert (low, high) == (pytest.approx(2000, abs=2), pytest.approx(2500, abs=2))


def test_ping_and_scan_bring_model_numbers(impatient_bus):
    assert impatient_bus.ping(2) == 1200
    assert impatient_bus.scan(range(1, 6)) == dict.fromkeys(IDS, 1200)


def test_the_address_of_126_is_a_current_or_a_load():
    assert (R["Present_Current"].address, XL430_W250["Present_Load"].address) == (126, 126)
    assert "Present_Load" not in R
    assert "Present_Current" not in XL430_W250


@pytest.mark.parametrize(
    ("table", "name", "address", "width"),
    [
        (R, "ID", 7, 1),
        (R, "Baud_Rate", 8, 1),
        (R, "Operating_Mode", 11, 1),
        (R, "Homing_Offset", 20, 4),
        (R, "Current_Limit", 38, 2),
        (R, "Max_Position_Limit", 48, 4),
        (R, "Shutdown", 63, 1),
        (R, "Torque_Enable", 64, 1),
        (R, "Hardware_Error_Status", 70, 1),
        (R, "Bus_Watchdog", 98, 1),
        (R, "Goal_Current", 102, 2),
        (R, "Goal_Position", 116, 4),
        (R, "Present_Position", 132, 4),
        (XL430_W250, "Present_Temperature", 146, 1),
    ],
)
def test_addresses_are_those_of_the_control_table(table, name, address, width):
    assert (table[name].address, table[name].width) == (address, width)


@pytest.mark.parametrize("table", [R, XL430_W250])
def test_registers_ascend_do_not_overlap_and_hold_their_defaults(table):
    registers = list(table.values())
    for before, after in pairwise(registers):
        assert before.end <= after.address
    for register in registers:
        assert register.decode(register.encode(register.default)) == register.default


def test_eeprom_cannot_be_written_while_torque_is_on(bus, emulated):
    bus.write(1, R["Homing_Offset"], 100)
    bus.write(1, R["Torque_Enable"], 1)
    with pytest.raises(InstructionRefused, match="EEPROM while the torque is on"):
        bus.write(1, R["Homing_Offset"], 200)
    with pytest.raises(InstructionRefused, match="read only"):
        bus.write(1, R["Goal_Position"].__class__(**fields("Present_Position")), 5)
    bus.sync_write(R["Homing_Offset"], {1: 300})
    assert bus.read(1, R["Homing_Offset"]) == 100
    assert sum(emulated.servos[1].eeprom_writes.values()) == 4, "four bytes, once"


def fields(name):
    """A register whose definition says it can be written, to see the servo refuse."""
    register = R[name]
    names = ("name", "address", "width", "signed", "unit", "area", "default")
    return {**{each: getattr(register, each) for each in names}, "access": "rw"}


def test_what_is_stored_outlives_a_power_cycle_and_ram_does_not(bus, emulated):
    bus.write(1, R["Homing_Offset"], -77)
    bus.write(1, R["Profile_Velocity"], 30)
    emulated.servos[1].power_cycle()
    assert bus.read(1, R["Homing_Offset"]) == -77
    assert bus.read(1, R["Profile_Velocity"]) == 0


def test_the_offset_is_added_and_only_a_quarter_turn_of_it_in_plain_position_mode(bus, emulated):
    servo = emulated.servos[1]
    servo.position = 2000
    bus.write(1, R["Homing_Offset"], 300)
    assert bus.read(1, R["Present_Position"]) == 2300
    bus.write(1, R["Homing_Offset"], 1500)
    assert bus.read(1, R["Present_Position"]) == 2000
    bus.write(1, R["Operating_Mode"], 4)
    assert bus.read(1, R["Present_Position"]) == 3500


def test_turns_are_counted_in_extended_mode_until_the_power_goes(bus, emulated):
    servo = emulated.servos[1]
    extended(servo)
    servo.position = 4500
    assert bus.read(1, R["Present_Position"]) == 4500
    servo.power_cycle()
    assert bus.read(1, R["Present_Position"]) == 404


def test_a_goal_beyond_the_limits_is_refused_in_plain_position_mode_alone(bus, emulated):
    bus.write(1, R["Max_Position_Limit"], 3000)
    with pytest.raises(InstructionRefused, match="beyond the servo's limits"):
        bus.write(1, R["Goal_Position"], 3001)
    extended(emulated.servos[1])
    bus.write(1, R["Goal_Position"], 3001)
    assert bus.read(1, R["Goal_Position"]) == 3001


def test_an_error_takes_the_torque_off_for_good_and_every_reply_says_so(bus, emulated):
    bus.write(1, R["Torque_Enable"], 1)
    emulated.faults.errors[1] = Alarm.OVERLOAD
    assert bus.sync_read(STATE, IDS).errors == {1: Alarm.ALERT}
    assert bus.read(2, R["Torque_Enable"]) == 0
    emulated.faults.errors.clear()
    assert bus.write(1, R["Torque_Enable"], 1, check=False) == Alarm.ALERT
    reply = bus.sync_read((R["Torque_Enable"], R["Hardware_Error_Status"]), (1,))
    assert reply.values == {1: (0, 0x20)}, "written, and yet off"
    bus.reboot(1)
    reply = bus.sync_read((R["Torque_Enable"], R["Hardware_Error_Status"]), (1,))
    assert (reply.values, reply.errors) == ({1: (0, 0)}, {})
    bus.write(1, R["Torque_Enable"], 1)
    assert emulated.servos[1].torque_on


def test_what_is_not_in_shutdown_is_reported_and_keeps_its_torque(bus, emulated):
    bus.write(1, R["Shutdown"], 0)
    bus.write(1, R["Torque_Enable"], 1)
    emulated.faults.errors[1] = Alarm.TEMPERATURE
    assert bus.sync_read((R["Torque_Enable"],), (1,)).values == {1: (1,)}
    assert bus.sync_read((R["Hardware_Error_Status"],), (1,)).values == {1: (0x04,)}
    emulated.faults.errors.clear()
    assert bus.sync_read(STATE, (1,)).errors == {}


def test_its_own_watchdog_stops_it_refuses_goals_and_leaves_the_torque(bus, emulated, clock):
    extended(emulated.servos[1])
    bus.write(1, R["Bus_Watchdog"], 10)
    bus.write(1, R["Torque_Enable"], 1)
    bus.write(1, R["Goal_Position"], 4000)
    clock.now_s += 0.19
    assert bus.read(1, R["Bus_Watchdog"]) == 10
    clock.now_s += 0.21
    assert bus.read(1, R["Bus_Watchdog"]) == -1
    stopped = bus.read(1, R["Present_Position"])
    assert 2047 < stopped < 4000
    with pytest.raises(InstructionRefused, match="bus watchdog"):
        bus.write(1, R["Goal_Position"], 4000)
    bus.sync_write(R["Goal_Position"], {1: 4000})
    clock.now_s += 2.0
    assert bus.read(1, R["Present_Position"]) == stopped
    assert emulated.servos[1].torque_on
    bus.write(1, R["Bus_Watchdog"], 0)
    bus.write(1, R["Goal_Position"], 4000)
    clock.now_s += 2.0
    assert bus.read(1, R["Present_Position"]) == 4000


def test_a_servo_set_to_answer_reads_alone_does_not_acknowledge(bus):
    bus.write(1, R["Status_Return_Level"], 1)
    with pytest.raises(NoReply):
        bus.write(1, R["LED"], 1)
    assert bus.read(1, R["LED"]) == 1


def test_a_servo_that_starts_up_is_silent_for_so_long(bus, emulated, clock):
    emulated.servos[1].start_up_s = 0.2
    bus.reboot(1)
    with pytest.raises(NoReply):
        bus.read(1, R["ID"])
    clock.now_s += 0.2
    assert bus.read(1, R["ID"]) == 1


def test_a_silent_servo_silences_those_behind_it_and_they_are_asked_again(impatient_bus, emulated):
    emulated.faults.dead.add(1)
    assert impatient_bus.sync_read(STATE, IDS).missing == (2, 3, 1)
    reply = impatient_bus.sync_read(STATE, IDS, until=time.monotonic() + 1.0)
    assert reply.missing == (1,)
    assert set(reply.values) == {2, 3}


def test_replies_that_need_stuffing_are_read_as_they_are(bus, emulated):
    for id in IDS:
        servo = emulated.servos[id]
        extended(servo)
        servo.position = -3
        servo.poke(R["Present_Velocity"], -1)
    for _ in range(20):
        assert bus.sync_read(STATE, IDS).values == dict.fromkeys(IDS, (-1, -3))
    assert bus.counters.dropped_bytes == bus.counters.checksum_errors == 0


@pytest.mark.parametrize("seed", range(3))
def test_whatever_the_line_does_no_value_is_wrong(bus, emulated, clock, seed):
    faults = emulated.faults
    faults.seed = seed
    faults.__post_init__()
    for name in ("drop", "corrupt", "flip", "truncate", "duplicate", "noise", "request_corrupt"):
        setattr(faults, f"{name}_probability", 0.1)
    faults.miss_probability = 0.05
    faults.delay_jitter_s = 0.002
    for servo in emulated.servos.values():
        extended(servo)
    answered = 0
    for step in range(150):
        clock.now_s += 0.01
        for id, servo in emulated.servos.items():
            servo.position = 1000 * id + 7 * step - 300
        reply = bus.sync_read(STATE, IDS, until=time.monotonic() + 0.02)
        for id, values in reply.values.items():
            assert values == (0, 1000 * id + 7 * step - 300)
        answered += len(reply.values)
    assert answered > 150
    assert bus.counters.checksum_errors > 0
