"""The calibration procedure on an emulated arm with horns mounted anyhow, and LeRobot's verdict."""

import itertools
import json
import os
import random
from pathlib import Path

import numpy as np
import pytest
from families import FIRST_FAMILY
from forked_python import LEROBOT, Conversation
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from armlet.calibrate.calibrate import (
    Calibrator,
    Eeprom,
    expected,
    holding,
    read_calibration,
    read_stored,
    release,
    verify_models,
    write_calibration,
)
from armlet.calibrate.sweep import MOVED_LEAST, WIDEST, SweepState
from armlet.control import ArmError
from armlet.motors import registry
from armlet.motors.emulation import EmulatedBus
from armlet.motors.protocol import Alarm, Quantity
from armlet.robots import SO101_JOINTS, CalibrationError, JointCalibration, robot_model
from armlet.robots.calibration import load, save
from armlet.robots.units import own_converter

TURN = 4096
IDS = {joint: id for id, joint in enumerate(SO101_JOINTS, 1)}

REPOSITORY = Path(__file__).parents[2]
PYTHON = Path(os.environ.get("ARMLET_ORACLE", REPOSITORY / ".oracle")) / "v04/bin/python"


class EmulatedArm:
    """Six servos with a person's hands on them, and their bus, as LeRobot left them.

    horns: encoder ticks of the middle pose; pose: ticks from the middle pose, which tests change.
    motors: the servos' model, or one for each.
    """

    def __init__(self, horns, motors="sts3215"):
        self.horns = dict(zip(SO101_JOINTS, horns, strict=True))
        self.pose = dict.fromkeys(SO101_JOINTS, 0)
        time_s = itertools.count()
        # Time passes with every look at a servo, so that hands are no faster than hands.
        self.emulated = EmulatedBus(clock=lambda: next(time_s) * 0.05, motors=motors)
        self.model = self.emulated.model
        self.family = registry.family(self.model.name)
        for joint, id in IDS.items():
            for name, value in self.model.calibrated_in.stored.items():
                self.servo(id).poke(self.model.registers[name], value)
            self.servo(id).position = self.horns[joint]
            self.servo(id).hand = self._hand(joint)

    def _hand(self, joint):
        return lambda _: float(self.horns[joint] + self.pose[joint])

    def servo(self, id):
        return self.emulated.servos[id]

    def stored(self, id, name):
        return self.servo(id).peek(self.model.registers[name])

    def poke(self, id, name, value):
        self.servo(id).poke(self.model.registers[name], value)

    def eeprom_writes(self):
        kept = {each.address for each in self.model.registers.values() if each.area == "eeprom"}
        return [write for write in self.emulated.writes if write.address in kept]

    def bus(self, timeout_s=0.05):
        return self.family.make_bus(self.emulated.port, timeout_s=timeout_s)


@pytest.fixture(params=FIRST_FAMILY)
def motors(request):
    return request.param


feetech_only = pytest.mark.parametrize("motors", ["sts3215"])
dynamixel_only = pytest.mark.parametrize("motors", ["xl330-m288"])


@pytest.fixture
def arm(motors):
    made = EmulatedArm([2000, 4095, 10, 0, 3333, 2047], motors)
    with made.emulated:
        yield made


@pytest.fixture
def bus(arm):
    with arm.bus() as opened:
        yield opened


def calibrator_on(bus, full_turn=("wrist_roll",), tick_s=1e-3, **servos):
    """A calibrator whose clock is the number of its readings: a stalled test loses no track."""
    time_s = itertools.count()
    return Calibrator(bus, IDS, full_turn, clock=lambda: next(time_s) * tick_s, **servos)


def moved(arm, calibrator, ranges, dwell=1):
    """Joints at once to their lower and upper ends and back, as hands do it.

    dwell: readings at each end; a lossy line needs some.
    """
    ends = [{joint: ranges[joint][end] for joint in ranges} for end in (0, 1)]
    for stop in [*ends, dict.fromkeys(ranges, 0)]:
        while any(arm.pose[joint] != stop[joint] for joint in ranges):
            for joint in ranges:
                here = arm.pose[joint]
                arm.pose[joint] = here + max(-150, min(150, stop[joint] - here))
            calibrator.follow()
        for _ in range(dwell):
            calibrator.follow()


RANGES = dict(zip(SO101_JOINTS, [(-1000, 1200), (-900, 900)] * 3, strict=True))


def calibrated(arm, bus, ranges=RANGES, full_turn=("wrist_roll",), **servos):
    calibrator = calibrator_on(bus, full_turn, **servos)
    calibrator.prepare()
    calibrator.start_sweep()
    moved(arm, calibrator, ranges)
    return calibrator, calibrator.write()


# --- the procedure


def test_a_joint_moved_to_one_side_of_the_middle_pose_is_asked_for_again(arm, bus):
    """But a gripper, of which only the two ends count: many hold it closed in the middle pose."""
    calibrator = calibrator_on(bus)
    calibrator.prepare()
    calibrator.start_sweep()
    moved(arm, calibrator, {**RANGES, "elbow_flex": (0, 900), "gripper": (0, 900)})
    assert list(calibrator.problems()) == ["elbow_flex"]
    with pytest.raises(CalibrationError, match="elbow_flex: moved to one side of the middle pose"):
        calibrator.write()


def test_the_servos_and_the_file_hold_what_the_hands_showed(arm, bus, tmp_path):
    _, calibration = calibrated(arm, bus)
    assert list(calibration) == list(SO101_JOINTS)
    for joint, entry in calibration.items():
        low, high = (0, 4095) if joint == "wrist_roll" else RANGES[joint]
        assert entry.range_max - entry.range_min == high - low
        assert arm.stored(entry.id, "Homing_Offset") == entry.homing_offset
        assert arm.stored(entry.id, "Min_Position_Limit") == entry.range_min
        assert arm.stored(entry.id, "Max_Position_Limit") == entry.range_max
        mode = {"feetech": 0, "dynamixel": 4}[arm.family.name]
        assert arm.stored(entry.id, "Operating_Mode") == mode
        assert arm.model.lock is None or arm.stored(entry.id, "Lock") == 1
        assert not arm.servo(entry.id).torque_on
    # At its ends each joint now reads the ends of its range, whatever the horn.
    for end, bound in ((0, "range_min"), (1, "range_max")):
        for joint in SO101_JOINTS:
            arm.pose[joint] = RANGES[joint][end]
        for joint, entry in calibration.items():
            if joint != "wrist_roll":
                assert arm.stored(entry.id, "Present_Position") == getattr(entry, bound)
    save(calibration, tmp_path / "arm.json")
    assert load(tmp_path / "arm.json") == calibration == read_calibration(bus, IDS)
    assert read_stored(bus, IDS) == expected(calibration)


def test_values_survive_a_power_cycle(arm, bus):
    _, calibration = calibrated(arm, bus)
    for id in IDS.values():
        arm.servo(id).power_cycle()
    assert read_calibration(bus, IDS) == calibration


def test_nothing_is_written_to_eeprom_before_the_end(arm, bus):
    for id in IDS.values():
        arm.poke(id, "Homing_Offset", -700 + 300 * id)
    calibrator = calibrator_on(bus)
    calibrator.prepare()
    calibrator.start_sweep()
    moved(arm, calibrator, RANGES)
    assert not calibrator.problems()
    assert not arm.eeprom_writes()
    assert not calibrator.restore()
    calibrator.write()
    assert arm.eeprom_writes()


def test_the_old_offset_does_not_matter(arm, bus):
    _, first = calibrated(arm, bus)
    for id in IDS.values():
        arm.poke(id, "Homing_Offset", -2047 + 600 * id)
    assert calibrated(arm, bus)[1] == first


def test_only_what_differs_is_written(arm, bus):
    calibrated(arm, bus)
    arm.emulated.writes.clear()
    again, _ = calibrated(arm, bus)
    assert again.eeprom.changes == 0
    assert not arm.eeprom_writes()


@feetech_only
def test_modes_that_make_positions_mean_something_else_are_put_right(arm, bus):
    arm.poke(2, "Operating_Mode", 3)
    arm.poke(3, "Phase", 0x1C)
    arm.poke(3, "Torque_Enable", 1)
    assert holding(bus, IDS) == ["elbow_flex"]
    calibrator = calibrator_on(bus)
    calibrator.prepare()
    assert arm.stored(2, "Operating_Mode") == 0
    assert arm.stored(3, "Phase") == 0x0C
    assert not holding(bus, IDS)
    # And given up on, everything is as it was.
    assert calibrator.restore()
    assert arm.stored(2, "Operating_Mode") == 3
    assert arm.stored(3, "Phase") == 0x1C
    assert not calibrator.restore()


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 2**32))
def test_a_bad_line_spoils_nothing(seed):
    arm = EmulatedArm([4000, 100, 2047, 1000, 5, 3000])
    with arm.emulated, arm.bus(timeout_s=0.02) as bus:
        faults = arm.emulated.faults
        faults.seed, faults.drop_probability, faults.corrupt_probability = seed, 0.03, 0.02
        calibrator = calibrator_on(bus)
        calibrator.prepare()
        calibrator.start_sweep()
        moved(arm, calibrator, dict.fromkeys(SO101_JOINTS, (-600, 700)), dwell=6)
        calibrator.write()
        faults.drop_probability = faults.corrupt_probability = 0.0
        found = read_calibration(bus, IDS)
    for joint, entry in found.items():
        if joint != "wrist_roll":
            assert entry.range_max - entry.range_min == 1300


def test_the_sweep_names_what_keeps_it_from_ending(arm, bus):
    calibrator = calibrator_on(bus, full_turn=())
    calibrator.prepare()
    calibrator.start_sweep()
    moved(
        arm, calibrator, {"shoulder_pan": (-500, 500)} | dict.fromkeys(SO101_JOINTS[1:2], (0, 50))
    )
    arm.pose["elbow_flex"] = 2000
    calibrator.follow()
    moved(arm, calibrator, {"wrist_flex": (-2000, 2200)})
    problems = calibrator.problems()
    assert "shoulder_pan" not in problems
    assert "hardly moved" in problems["shoulder_lift"]
    assert "track lost" in problems["elbow_flex"]
    assert "more than a turn" in problems["wrist_flex"]
    assert "not moved" in problems["wrist_roll"]
    with pytest.raises(CalibrationError, match="gripper: not moved"):
        calibrator.write()
    assert not arm.eeprom_writes()
    calibrator.restart()
    moved(arm, calibrator, RANGES)
    assert not calibrator.problems()


def test_servos_that_nobody_asked_for_a_while_are_not_silent(bus):
    """Where this program stood still after it had read them, none of them answered."""
    now_s = 0.0
    calibrator = Calibrator(bus, IDS, clock=lambda: now_s)
    calibrator.prepare()
    calibrator.read()
    now_s = 10.0
    assert calibrator.silent() == []


def test_a_servo_that_falls_silent_is_a_problem_not_a_position(arm, bus):
    # A silent Dynamixel is asked last and waited for every time, so few readings must do.
    calibrator = calibrator_on(bus, tick_s=0.02)
    calibrator.prepare()
    calibrator.start_sweep()
    moved(arm, calibrator, RANGES)
    arm.emulated.faults.dead.add(4)
    for _ in range(600):
        if calibrator.silent():
            break
        calibrator.follow()
    assert calibrator.silent() == ["wrist_flex"]
    assert "no answer" in calibrator.problems()["wrist_flex"]


@dynamixel_only
def test_a_mode_without_positions_is_put_right_and_the_direction_is_the_models(arm, bus):
    arm.poke(2, "Operating_Mode", 1)
    arm.poke(3, "Drive_Mode", 0x05)
    arm.poke(4, "Torque_Enable", 1)
    assert holding(bus, IDS) == ["wrist_flex"]
    calibrator = calibrator_on(bus, reversed=("gripper",))
    calibrator.prepare()
    assert arm.stored(2, "Operating_Mode") == 4
    assert [arm.stored(id, "Drive_Mode") for id in (3, 6)] == [0, 1]
    assert not holding(bus, IDS)
    assert calibrator.restore()
    assert arm.stored(2, "Operating_Mode") == 1
    assert [arm.stored(id, "Drive_Mode") for id in (3, 6)] == [0x05, 0]


@pytest.mark.parametrize("kind", ["koch", "koch_leader"])
def test_a_koch_reads_within_one_turn_after_a_power_cycle_wherever_its_horns_are(kind, tmp_path):
    """As LeRobot needs it, which takes readings as they are; also of the joint that is reversed."""
    model = robot_model.find(kind)
    arm = EmulatedArm([2000, 3200, 1100, 700, 3333, 2047], model.servos)
    chosen = registry.choose(",".join(model.servos), SO101_JOINTS)[1]
    models = dict(zip(SO101_JOINTS, chosen, strict=True))
    turned = model.reversed
    assert turned == (("elbow_flex",) if kind == "koch_leader" else ())
    ranges = dict.fromkeys(SO101_JOINTS, (-600, 400))
    with arm.emulated, arm.bus() as bus:
        _, calibration = calibrated(
            arm, bus, ranges, model.full_turn, models=models, reversed=turned
        )
        for id in IDS.values():
            arm.servo(id).power_cycle()
        assert read_calibration(bus, IDS, models) == calibration
        assert read_stored(bus, IDS, models) == expected(calibration, models)
        for end in (0, 1):
            for joint, id in IDS.items():
                arm.pose[joint] = ranges[joint][end]
                position = models[joint].measures[Quantity.POSITION].register
                entry, at_top = calibration[joint], end == (joint not in turned)
                if joint not in model.full_turn:
                    bound = entry.range_max if at_top else entry.range_min
                    assert arm.servo(id).peek(position) == bound
    assert [entry.drive_mode for entry in calibration.values()] == [
        int(joint in turned) for joint in SO101_JOINTS
    ]
    # LeRobot's own, by its procedure: what puts the middle pose at 2047.
    for joint, entry in calibration.items():
        assert entry.homing_offset == 2047 + arm.horns[joint] * (1 if joint in turned else -1)
    save(calibration, tmp_path / "koch.json")
    assert load(tmp_path / "koch.json") == calibration


# --- refusals


@feetech_only
def test_an_offset_that_the_servo_cannot_store_is_refused_before_anything_is_written(arm, bus):
    calibration = {joint: JointCalibration(id, 0, 5, 10, 4000) for joint, id in IDS.items()}
    calibration["gripper"] = JointCalibration(6, 0, 2048, 10, 4000)
    release(bus, IDS)
    arm.emulated.writes.clear()
    with pytest.raises(ArmError, match=r"gripper \(id 6\).*STS3215.*-2047\.\.2047, found 2048"):
        write_calibration(Eeprom(bus), calibration)
    assert not arm.emulated.writes


def test_absent_and_foreign_servos_are_named(arm, bus):
    arm.poke(5, "Model_Number", 2825)
    with pytest.raises(ArmError, match=r"wrist_roll \(id 5\).*2825"):
        verify_models(bus, IDS)
    arm.emulated.faults.dead = {2, 6}
    with pytest.raises(ArmError, match=r"shoulder_lift \(id 2\), gripper \(id 6\)"):
        calibrator_on(bus).prepare()


def test_a_faulty_encoder_ends_it(arm, bus):
    calibrator = calibrator_on(bus)
    calibrator.prepare()
    arm.emulated.faults.errors[3] = Alarm.ENCODER
    with pytest.raises(ArmError, match=r"elbow_flex.*position sensor"):
        calibrator.start_sweep()


def test_other_error_bits_do_not(arm, bus):
    for id in IDS.values():
        arm.emulated.faults.errors[id] = Alarm.VOLTAGE | Alarm.OVERLOAD
    _, calibration = calibrated(arm, bus)
    arm.emulated.faults.errors.clear()
    assert read_calibration(bus, IDS) == calibration


def test_a_servo_lost_while_writing_leaves_no_half_calibrated_arm(arm, bus):
    calibrator = calibrator_on(bus)
    calibrator.prepare()
    calibrator.start_sweep()
    moved(arm, calibrator, RANGES)
    before = read_stored(bus, IDS)
    arm.emulated.faults.dead.add(4)
    with pytest.raises(ArmError, match=r"wrist_flex \(id 4\)"):
        calibrator.write()
    assert arm.eeprom_writes()
    arm.emulated.faults.dead.clear()
    assert calibrator.restore()
    assert read_stored(bus, IDS) == before


def test_what_could_not_be_put_back_is_said_and_may_be_tried_again(arm, bus):
    eeprom = Eeprom(bus)
    eeprom.write(1, {"Homing_Offset": 5})
    eeprom.write(2, {"Homing_Offset": 6})
    arm.emulated.faults.dead.add(2)
    with pytest.raises(ArmError, match="servo 2: Homing_Offset = 0"):
        eeprom.restore()
    assert arm.stored(1, "Homing_Offset") == 0
    arm.emulated.faults.dead.clear()
    assert eeprom.restore()
    assert arm.stored(2, "Homing_Offset") == 0


def test_positions_that_do_not_follow_the_offset_are_noticed(arm, bus):
    calibrator = calibrator_on(bus)
    calibrator.prepare()
    calibrator.start_sweep()
    moved(arm, calibrator, RANGES)
    elbow = arm.servo(3)
    # A shaft that is turned by as much as the offset: what is read stays the same.
    elbow.hand = lambda _: 10.0 + arm.model.offset_sign * -elbow.peek(arm.model.homing_offset)
    with pytest.raises(ArmError, match=r"elbow_flex.*homing offset"):
        calibrator.write()
    assert calibrator.restore()


def test_servos_without_a_calibration_make_no_file(arm, bus):
    arm.poke(3, "Max_Position_Limit", 0)
    with pytest.raises(CalibrationError, match=r"elbow_flex \(id 3\).*range"):
        read_calibration(bus, IDS)


def test_a_file_is_written_and_taken_back(arm, bus):
    before = read_stored(bus, IDS)
    calibration = {
        joint: JointCalibration(id, 0, 100 * id, 10 * id, 4000) for joint, id in IDS.items()
    }
    release(bus, IDS)
    eeprom = Eeprom(bus)
    write_calibration(eeprom, calibration)
    assert read_calibration(bus, IDS) == calibration
    assert eeprom.changes == 18
    assert eeprom.restore()
    assert read_stored(bus, IDS) == before


# --- LeRobot


class LeRobot:
    def __init__(self, folder, process):
        self.folder = folder
        self._process = process

    def ask(self, **job):
        answer = self._process.ask(json.dumps({"folder": str(self.folder), **job}))
        return {
            name: np.array(value) if isinstance(value, list) else value
            for name, value in json.loads(answer).items()
        }


@pytest.fixture(scope="module")
def lerobot(tmp_path_factory):
    if not PYTHON.exists():
        pytest.skip(f"no LeRobot oracle at {PYTHON}: set ARMLET_ORACLE")
    script = Path(__file__).with_name("lerobot_calibration.py")
    with Conversation(PYTHON, LEROBOT, [script]) as process:
        yield LeRobot(tmp_path_factory.mktemp("lerobot"), process)


def mounted_joints():
    """Horn and range of six joints, half of them across the seam for most middle poses."""
    span = st.integers(2 * MOVED_LEAST, WIDEST)
    joint = st.tuples(st.integers(0, TURN - 1), span, st.floats(0, 1))
    return st.lists(joint, min_size=6, max_size=6)


def agree(lerobot, calibration):
    """LeRobot's and armlet's conversions with this calibration, tick by tick, in all modes."""
    save(calibration, lerobot.folder / "arm.json")
    ticks = np.repeat(np.arange(TURN)[:, None], 6, axis=1)
    for mode, degrees in (("degrees", True), ("range_m100_100", False)):
        theirs = lerobot.ask(do="normalize", degrees=degrees, ticks=ticks.tolist())["values"]
        ours = own_converter(calibration).ticks_to_dataset(ticks, mode)
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-9)
        reach = 200.0 if degrees else 110.0
        values = np.repeat(np.linspace(-reach, reach, 881)[:, None], 6, axis=1)
        theirs = lerobot.ask(do="unnormalize", degrees=degrees, values=values.tolist())["ticks"]
        # LeRobot cuts fractions off where armlet rounds in the driver.
        assert np.abs(own_converter(calibration).dataset_to_ticks(values, mode) - theirs).max() <= 1
        back = lerobot.ask(do="unnormalize", degrees=degrees, values=ours.tolist())["ticks"]
        low, high = (
            [getattr(e, n) for e in calibration.values()] for n in ("range_min", "range_max")
        )
        clamped = np.clip(ticks, low, high)
        if degrees:
            clamped[:, :5] = ticks[:, :5]
        assert np.abs(back - clamped).max() <= 1


@pytest.mark.thorough
@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(mounted_joints(), st.booleans())
def test_lerobot_reads_the_file_and_gives_the_same_values(lerobot, joints, roll_turns):
    horns = [horn for horn, _, _ in joints]
    ranges = {
        name: (-below, span - below)
        for name, (_, span, share) in zip(SO101_JOINTS, joints, strict=True)
        for below in [MOVED_LEAST + int(share * (span - 2 * MOVED_LEAST))]
    }
    arm = EmulatedArm(horns)
    with arm.emulated, arm.bus() as bus:
        calibrator, calibration = calibrated(arm, bus, ranges, ["wrist_roll"] if roll_turns else [])
    for joint, entry in calibration.items():
        if calibrator.sweeps[joint].state is not SweepState.FULL_TURN:
            low, high = ranges[joint]
            assert (entry.range_min - entry.range_max) == low - high
    agree(lerobot, calibration)


@pytest.mark.thorough
@feetech_only
def test_lerobot_connects_to_the_calibrated_arm_and_sees_what_armlet_sees(lerobot, arm, bus):
    _, calibration = calibrated(arm, bus)
    bus.close()
    save(calibration, lerobot.folder / "arm.json")
    dice = random.Random(3)
    for degrees in (True, False):
        for joint in SO101_JOINTS:
            arm.pose[joint] = dice.randint(*RANGES[joint])
        seen = lerobot.ask(do="connect", degrees=degrees, port=arm.emulated.port)
        assert seen["is_calibrated"]
        mode = "degrees" if degrees else "range_m100_100"
        ours = own_converter(calibration).ticks_to_dataset(seen["ticks"], mode)
        np.testing.assert_allclose(ours, seen["values"], rtol=0, atol=1e-9)
        for joint, ticks in zip(SO101_JOINTS, seen["ticks"], strict=True):
            entry = calibration[joint]
            wanted = (arm.horns[joint] + arm.pose[joint] - entry.homing_offset) % TURN
            assert ticks == wanted
