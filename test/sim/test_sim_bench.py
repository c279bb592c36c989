import threading

import numpy as np
import pytest

from armlet.motors.feetech import REGISTERS, Bus
from armlet.robots.kinematics import GRIPPER_OPEN, HOME, tip_position
from armlet.robots.units import radians_to_ticks, ticks_to_radians
from armlet.sim import FOLLOWER, LEADER, Bench
from armlet.sim.scene import target_point

IDS = (1, 2, 3, 4, 5, 6)
# Of real time: the emulated servos are as slow as this computer is busy.
LONG_S = 120.0
PRESENT = REGISTERS["Present_Position"]
GOAL = REGISTERS["Goal_Position"]
TICK = 0.0016  # radians


class Clock:
    """Time that passes when ordered to."""

    def __init__(self):
        self.now_s = 1000.0

    def __call__(self):
        return self.now_s

    def advance(self, seconds):
        self.now_s += seconds


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def bench(clock, tmp_path):
    with Bench(seed=1, size=(128, 96), paced=False, links=tmp_path, clock=clock) as bench:
        yield bench


def read_ticks(bus):
    reply = bus.sync_read([PRESENT], IDS)
    while reply.missing:  # late, on a busy machine
        reply = bus.sync_read([PRESENT], IDS)
    return np.array([reply.values[id][0] for id in IDS])


def test_the_servos_memory_holds_the_calibration_over_a_power_cycle(bench):
    for arm, calibration in ((bench.leader, LEADER), (bench.follower, FOLLOWER)):
        for joint in calibration.values():
            servo = arm.servos[joint.id]
            servo.power_cycle()
            names = ("Homing_Offset", "Min_Position_Limit", "Max_Position_Limit")
            found = tuple(servo.peek(REGISTERS[name]) for name in names)
            assert found == (joint.homing_offset, joint.range_min, joint.range_max)


def test_the_arms_start_at_home_with_their_goals_there(bench):
    assert bench.leader_joints == pytest.approx(HOME, abs=0.005)
    assert bench.follower_joints == pytest.approx(HOME, abs=0.005)
    for joint, ticks in zip(FOLLOWER.values(), radians_to_ticks(HOME, FOLLOWER), strict=True):
        servo = bench.follower.servos[joint.id]
        assert servo.peek(GOAL) == pytest.approx(ticks, abs=2)
        assert not servo.torque_on


def test_what_a_program_reads_on_the_wire_is_the_motion(bench, clock, tmp_path):
    bench.play(lambda t: HOME + 0.1 * t)
    clock.advance(1.0)
    with Bus(str(tmp_path / "leader"), timeout_s=LONG_S) as bus:
        radians = ticks_to_radians(read_ticks(bus), LEADER)
    assert radians[:5] == pytest.approx(HOME[:5] + 0.1, abs=TICK)
    assert bench.leader_joints == pytest.approx(HOME + 0.1, abs=TICK)


def test_a_gripper_angle_is_a_share_of_each_arms_range(bench, clock):
    opened = HOME.copy()
    opened[5] = GRIPPER_OPEN
    bench.play(lambda t: opened)
    clock.advance(0.1)
    assert bench.leader.servos[6].position == pytest.approx(LEADER["gripper"].range_max)
    assert bench.leader_joints[5] == pytest.approx(GRIPPER_OPEN)
    bench.follower.servos[6].position = FOLLOWER["gripper"].range_max
    assert bench.follower_joints[5] == pytest.approx(GRIPPER_OPEN)


def test_the_hand_cannot_push_past_the_stops(bench, clock):
    bench.play(lambda t: np.full(6, 4.0))
    clock.advance(0.1)
    for joint in LEADER.values():
        assert bench.leader.servos[joint.id].position == pytest.approx(joint.range_max)


def test_a_demonstration_teleoperated_over_the_wire_touches_the_target(bench, clock):
    target = bench.place_target(np.array([0.26, -0.07]))
    far = bench.reach_error_m
    ports = (bench.leader.port, bench.follower.port)
    with Bus(ports[0], timeout_s=LONG_S) as leader, Bus(ports[1], timeout_s=LONG_S) as follower:
        for id in IDS:
            follower.write(id, REGISTERS["Torque_Enable"], 1)
        duration_s = bench.demonstrate()
        for _ in range(round((duration_s + 0.3) / 0.02)):
            clock.advance(0.02)
            radians = ticks_to_radians(read_ticks(leader), LEADER)
            ticks = radians_to_ticks(radians, FOLLOWER)
            follower.sync_write(GOAL, {id: round(ticks[id - 1]) for id in IDS})
            read_ticks(follower)  # goals have no reply: the clock waits until they are there
        clock.advance(0.3)
    assert 2.0 < duration_s < 3.3
    assert far > 0.1
    tip = tip_position(bench.leader_joints)
    assert np.linalg.norm(tip - target_point(target)) < 0.003
    assert bench.reach_error_m < 0.005


def test_homing_brings_the_leader_back_without_a_jump(bench, clock):
    clock.advance(bench.demonstrate())
    start = bench.leader_joints
    assert np.abs(start - HOME).max() > 0.3
    duration_s = bench.home()
    clock.advance(0.02)
    assert np.abs(bench.leader_joints - start).max() < 0.02
    clock.advance(duration_s)
    assert bench.leader_joints == pytest.approx(HOME, abs=TICK)


def test_cameras_see_the_followers_present_position_and_the_target(bench):
    for camera in ("front", "wrist"):
        bench.place_target(np.array([0.2, 0.0]))
        before = bench.render(camera).astype(int)
        assert before.shape == (96, 128, 3)
        bench.place_target(np.array([0.3, 0.0]))
        moved_target = bench.render(camera)
        assert (np.abs(moved_target - before).max(axis=2) > 40).sum() > 20
        bench.follower.servos[1].position += 200
        assert (np.abs(bench.render(camera).astype(int) - moved_target) > 40).sum() > 100
        bench.follower.servos[1].position -= 200


def test_the_leader_is_not_in_the_picture(bench, clock):
    before = bench.render("front")
    bench.play(lambda t: np.zeros(6))
    clock.advance(1.0)
    assert np.array_equal(bench.render("front"), before)


def test_seeds_decide_targets(clock):
    one, two, other = (Bench(seed=s, size=(64, 64), clock=clock) for s in (4, 4, 5))
    assert np.array_equal(one.target_xy, two.target_xy)
    assert np.array_equal(one.place_target(), two.place_target())
    assert not np.array_equal(one.place_target(), other.place_target())


def test_links_appear_and_go(tmp_path):
    with Bench(links=tmp_path, size=(64, 64)) as bench:
        assert bench.leader.port == str(tmp_path / "leader")
        assert (tmp_path / "leader").exists() and (tmp_path / "follower").exists()
    assert not (tmp_path / "leader").exists()


def test_it_runs_on_real_time_and_a_paced_line():
    with Bench(size=(64, 64)) as bench, Bus(bench.leader.port, timeout_s=LONG_S) as bus:
        moved = threading.Event()
        bench.play(lambda t: HOME + np.array([min(t, 0.2), 0, 0, 0, 0, 0]))
        start = read_ticks(bus)
        for _ in range(500):
            if read_ticks(bus)[0] > start[0] + 20:
                moved.set()
                break
        assert moved.is_set()


def test_it_can_be_used_from_several_threads(bench, clock):
    failures = []

    def work(action):
        try:
            for _ in range(10):
                action()
        except Exception as error:
            failures.append(error)

    actions = [
        lambda: bench.render("front"),
        lambda: bench.render("wrist"),
        lambda: bench.place_target(),
        bench.demonstrate,
        bench.home,
        lambda: clock.advance(0.01),
    ]
    threads = [threading.Thread(target=work, args=(action,)) for action in actions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_wrong_requests_are_refused(bench):
    with pytest.raises(ValueError, match="cameras front, wrist, not 'top'"):
        bench.render("top")
    with pytest.raises(ValueError, match=r"\(x, y\) in metres"):
        bench.place_target(np.array([0.2, 0.1, 0.0]))
    with pytest.raises(ValueError, match="six finite"):
        bench.play(lambda t: np.zeros(5))
