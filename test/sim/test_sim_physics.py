"""The servos of a simulated arm, beside MuJoCo's own figures; a cube picked up by registers."""

import dataclasses
import math
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

mujoco = pytest.importorskip("mujoco")

from physics_rig import RIGID, Rig  # noqa: E402

from armlet.motors.emulation.arm import span_of  # noqa: E402
from armlet.motors.feetech.packets import ErrorBit  # noqa: E402
from armlet.motors.feetech.registers import (  # noqa: E402
    GOAL_POSITION,
    PRESENT_CURRENT,
    PRESENT_LOAD,
    PRESENT_POSITION,
    REGISTERS,
    TORQUE_ENABLE,
    TORQUE_LIMIT,
)
from armlet.robots.kinematics import FRAMES, HOME, forward  # noqa: E402
from armlet.robots.robot_model import SO101  # noqa: E402
from armlet.robots.units import RADIANS_PER_TICK  # noqa: E402
from armlet.sim import Bench  # noqa: E402
from armlet.sim.calibrations import FOLLOWER  # noqa: E402
from armlet.sim.domain import Domain  # noqa: E402
from armlet.sim.driven_arm import STALL_NM  # noqa: E402
from armlet.sim.physics import JOINTS, World  # noqa: E402
from armlet.sim.task import Standing, Thing, find  # noqa: E402

FRICTION_NM = 0.052
"""The gear's own, of the URDF: what of a motor's torque no figure of MuJoCo's must show."""

UNIT_A = 0.0065
STALL_A = 2.5
HELD = np.array([0.2, 0.2, 0.2, 0.3, 0.1, 0.0])
"""Stretched out over the table, touching nothing."""

UPRIGHT = np.array([1.0, 0.0, 0.0, 0.0])


def standing(x, y, z=0.0, quaternion=UPRIGHT):
    return Standing(np.array([x, y, z]), np.asarray(quaternion, float), np.zeros(3))


# --- the model ------------------------------------------------------------------------------


def test_the_urdf_is_the_arm_of_the_kinematics():
    model = mujoco.MjModel.from_xml_path(SO101.urdf)
    data, dice = mujoco.MjData(model), np.random.default_rng(1)
    assert [model.joint(index).name for index in range(6)] == list(JOINTS) == list(FOLLOWER)
    for _ in range(20):
        joints = dice.uniform(-1.6, 1.6, 6)
        data.qpos[:] = joints
        mujoco.mj_kinematics(model, data)
        pose = forward(joints)
        for name, origin, rotation in zip(
            FRAMES[1:], pose.origins[1:], pose.rotations[1:], strict=True
        ):
            np.testing.assert_allclose(data.body(name).xpos, origin, atol=1e-12)
            np.testing.assert_allclose(data.body(name).xmat.reshape(3, 3), rotation, atol=1e-12)


def test_the_urdf_has_the_arms_limits_masses_and_tip():
    robot = ElementTree.parse(SO101.urdf).getroot()
    joints = {joint.get("name"): joint for joint in robot.findall("joint")}
    for name, entry in FOLLOWER.items():
        span = span_of(entry.id)
        limit = joints[name].find("limit")
        assert (limit.get("upper") is None) == (span is None)
        if span is not None:
            half = span / 2 * RADIANS_PER_TICK
            assert float(limit.get("upper")) == -float(limit.get("lower"))
            assert float(limit.get("upper")) == pytest.approx(half, abs=5e-4)
    masses = [float(mass.get("value")) for mass in robot.iter("mass")]
    assert sum(masses) == pytest.approx(0.632) and min(masses) >= 0.012
    tip = [float(number) for number in joints["tip"].find("origin").get("xyz").split()]
    pose = forward(np.zeros(6))
    gripper = FRAMES.index("gripper")
    np.testing.assert_allclose(pose.origins[gripper] + pose.rotations[gripper] @ tip, pose.tip)


# --- servo and joint ------------------------------------------------------------------------


def test_without_torque_it_falls_as_mujoco_has_it_fall():
    """Tolerance: one tick, the encoder's own."""
    rig, alone = Rig(torque=False, at=HELD), World(domain=RIGID)
    alone.set_joints(HELD)
    zeros = rig.ticks() - np.array(alone.shaft_angles) / RADIANS_PER_TICK
    for _ in range(40):
        rig.wait(0.01)
        for _ in range(5):
            alone.step()
        ticks = zeros + np.array(alone.shaft_angles) / RADIANS_PER_TICK
        assert np.abs(rig.ticks() - ticks).max() <= 1.0
    assert rig.joints[1] > HELD[1] + 0.1, "the arm has sunk"
    assert all(rig.read(servo, PRESENT_LOAD) == 0 for servo in rig.servos)


def test_a_held_arm_shows_its_weight_as_load_and_current():
    """Tolerance: the gear's friction, and a hundredth of the stall torque."""
    rig = Rig(at=HELD)
    rig.wait(2.0)
    model, data = rig.world.model, mujoco.MjData(rig.world.model)
    data.qpos[:] = rig.world.data.qpos
    mujoco.mj_forward(model, data)
    weight = data.qfrc_bias[:6]
    assert weight[1] < -0.3, "what it holds is no trifle"
    tolerance = FRICTION_NM + 0.01 * STALL_NM
    np.testing.assert_allclose(rig.loads() * STALL_NM, weight, atol=tolerance)
    for servo, load in zip(rig.servos, rig.loads(), strict=True):
        assert rig.read(servo, PRESENT_CURRENT) * UNIT_A == pytest.approx(
            STALL_A * abs(load), abs=0.02
        )
        assert servo.errors == ErrorBit.NONE
    # It sags by what the loop needs for that: the servo is stiffer than its lag alone has it.
    assert 0.02 < rig.joints[1] - HELD[1] < 0.08


@pytest.fixture
def blocked():
    """The pan joint drives the arm against a wall."""
    wall = Thing("bin", (0.1, 0.1, 0.3), (0, 0, 0), (0.2, 0.2), (-0.12, -0.12))
    rig = Rig({"wall": wall}, at=np.array([0.0, 0.2, 0.2, 0.3, 0.0, -0.9]))
    rig.arms.place({"wall": standing(0.25, -0.12)})
    pan = rig.servos[0]
    rig.write(pan, GOAL_POSITION, rig.read(pan, PRESENT_POSITION) + 1000)
    rig.wait(1.5)
    return rig, pan


def test_a_blocked_servo_draws_its_stall_current(blocked):
    """Tolerance: 0.05 A, and of MuJoCo's torque the gear's friction and a fiftieth."""
    rig, pan = blocked
    assert rig.read(pan, PRESENT_LOAD) == 1000
    assert rig.read(pan, PRESENT_CURRENT) * UNIT_A == pytest.approx(STALL_A, abs=0.05)
    wall = rig.world.gear_torques()[0]
    assert wall == pytest.approx(STALL_NM, abs=FRICTION_NM + 0.02 * STALL_NM)
    assert rig.read(pan, REGISTERS["Moving"]) == 0


def test_a_blocked_servo_protects_itself(blocked):
    rig, pan = blocked
    rig.wait(2.0)
    assert pan.errors == ErrorBit.OVERLOAD
    assert rig.read(pan, PRESENT_LOAD) == 200
    assert rig.world.gear_torques()[0] == pytest.approx(0.2 * STALL_NM, abs=FRICTION_NM + 0.02)
    rig.write(pan, TORQUE_ENABLE, 0)
    rig.write(pan, TORQUE_ENABLE, 1)
    rig.wait(0.3)
    assert pan.errors == ErrorBit.NONE
    assert rig.read(pan, PRESENT_LOAD) == 1000


def test_a_hand_moves_a_joint_whose_torque_is_off():
    rig = Rig(torque=False, at=HELD)
    lift, begun_s = rig.servos[1], rig.now_s
    start = lift.actual
    lift.hand = lambda now_s: start - 200 * (now_s - begun_s)
    rig.wait(1.0)
    assert lift.actual == pytest.approx(start - 200, abs=2)
    assert lift.top_speed == 0, "it is not the servo's own doing"
    assert rig.read(lift, PRESENT_LOAD) == 0
    rig.write(lift, TORQUE_ENABLE, 1)
    rig.wait(0.5)
    assert abs(lift.actual - start) > 30, "torque is stronger than the hand"


def test_backlash_is_what_a_finger_feels():
    """A push too weak to turn the motor moves the jaw from one end of the play to the other."""
    rig = Rig(domain=Domain(backlash_deg=2.0), at=HELD, torque=False)
    rig.wait(0.1)
    angles = []
    for push in (0.03, -0.03):
        jaw = rig.world.model.body("jaw").id
        axis = rig.world.data.xaxis[rig.world.model.joint("gripper").id]
        rig.world.data.xfrc_applied[jaw, 3:] = push * axis
        rig.wait(0.3)
        angles.append(math.degrees(rig.joints[5]))
    assert angles[0] - angles[1] == pytest.approx(2.0, abs=0.3)


def test_a_late_goal_moves_the_arm_as_much_later():
    soon, late = (Rig(domain=Domain(backlash_deg=0, servo_latency_s=s)) for s in (0.0, 0.1))
    paths = []
    for rig, after in ((soon, 0), (late, 10)):
        rig.wait(1.0)
        rig.write(rig.servos[4], GOAL_POSITION, 2500)
        path = []
        for _ in range(60):
            rig.wait(0.01)
            path.append(rig.read(rig.servos[4], PRESENT_POSITION))
        paths.append(np.array(path[after:][:40]))
    assert paths[0][-1] > 2400
    assert np.abs(paths[0] - paths[1]).max() <= 1


# --- things ---------------------------------------------------------------------------------


def grasped(domain=RIGID, yaw=0.0, seed=1):
    """A rig that has closed its gripper on the cube, and its task's bin."""
    task = find("pick_place")
    rig = Rig(task.things, domain)
    layout = dict(task.initial(seed))
    turned = [math.cos(yaw / 2), 0.0, 0.0, math.sin(yaw / 2)]
    layout["cube"] = dataclasses.replace(layout["cube"], quaternion=np.array(turned))
    rig.arms.place(layout)
    rig.write(rig.servos[5], TORQUE_LIMIT, 500)
    x, y = layout["cube"].position[:2] + np.array([0.0, 0.0175])
    rig.reach((x, y, 0.09), 0.0, 1.5)
    rig.reach((x, y, 0.008), 0.0, 1.5)
    rig.reach((x, y, 0.008), -0.9, 1.2)
    return rig, layout, (x, y)


def test_a_grip_shows_its_force_as_load_and_current():
    """Tolerance: the gear's friction, and a fiftieth of the stall torque."""
    rig, _, (x, y) = grasped()
    rig.reach((x, y, 0.10), -0.9, 1.5)
    model, data = rig.world.model, rig.world.data
    jaw, joint = model.body("jaw").id, model.joint("gripper").id
    moment, force = 0.0, np.zeros(6)
    for index, contact in enumerate(data.contact):
        bodies = model.geom_bodyid[contact.geom1], model.geom_bodyid[contact.geom2]
        if jaw in bodies:
            mujoco.mj_contactForce(model, data, index, force)
            push = contact.frame.reshape(3, 3).T @ force[:3]
            sense = 1.0 if bodies[1] == jaw else -1.0
            lever = contact.pos - data.xanchor[joint]
            moment += sense * float(np.cross(lever, push) @ data.xaxis[joint])
    grip = rig.servos[5]
    assert rig.read(grip, PRESENT_LOAD) == -500, "it closes as far as Torque_Limit lets it"
    assert moment == pytest.approx(0.5 * STALL_NM, abs=FRICTION_NM + 0.02 * STALL_NM)
    assert rig.read(grip, PRESENT_CURRENT) * UNIT_A == pytest.approx(0.5 * STALL_A, abs=0.05)


@pytest.mark.representatives(1)
@pytest.mark.parametrize(("backlash", "yaw"), [(0.0, 0.0), (0.5, 0.3)])
def test_a_scripted_path_lifts_the_cube_and_puts_it_into_the_bin(backlash, yaw):
    task = find("pick_place")
    rig, layout, (x, y) = grasped(Domain(backlash_deg=backlash), yaw)
    rig.reach((x, y, 0.10), -0.9, 1.5)
    rig.wait(1.0)
    assert rig.arms.state().things["cube"].position[2] > 0.08, "it hangs in the gripper"
    assert not task.judge(rig.arms.state())
    x, y = layout["bin"].position[:2] + np.array([0.0, 0.01])
    rig.reach((x, y, 0.12), -0.9, 2.0)
    rig.reach((x, y, 0.07), -0.9, 1.0)
    rig.reach((x, y, 0.07), 0.0, 1.0)
    rig.reach((x, y, 0.14), 0.0, 1.0)
    rig.wait(0.5)
    assert task.judge(rig.arms.state())
    assert all(servo.errors == ErrorBit.NONE for servo in rig.servos)


@pytest.mark.parametrize(("friction", "lifted"), [(1.0, True), (0.01, False)])
def test_friction_is_what_lifts_a_heavy_cube(friction, lifted):
    rig, _, (x, y) = grasped(Domain(backlash_deg=0, friction=friction, object_mass=20))
    rig.reach((x, y, 0.10), -0.9, 1.5)
    assert (rig.arms.state().things["cube"].position[2] > 0.08) == lifted


def test_the_same_seed_twice_is_the_same_to_the_bit():
    ends = []
    for looks in (1, 3):
        rig, _, _ = grasped(Domain())
        for _ in range(looks):  # whoever looks, and how often, changes nothing
            rig.arms.state()
        data = rig.world.data
        ends.append((data.qpos.tobytes(), data.qvel.tobytes(), rig.ticks().tolist()))
    assert ends[0] == ends[1]


def test_what_has_been_before_leaves_no_trace_in_a_new_layout():
    task, layouts = find("push"), []
    for before in (0, 200):
        world = World(task.things)
        world.place(task.initial(5))
        for _ in range(before):
            world.step()
        world.set_joints(HOME)
        world.place(task.initial(6))
        for _ in range(300):
            world.step()
        layouts.append(world.state())
    one, other = (state.things["block"].position for state in layouts)
    assert one.tobytes() == other.tobytes()


# --- the bench ------------------------------------------------------------------------------


def test_the_bench_draws_things_where_they_are():
    bench = Bench(seed=3, size=(160, 120), task=find("push"), physics=True, paced=False)
    before = bench.render("front")
    moved = {"block": standing(0.2, 0.1, 0.015)}
    bench._arms.place(moved)
    assert np.abs(bench.render("front").astype(int) - before).max() > 60
    np.testing.assert_allclose(bench.target_xy, [0.2, 0.1])


def test_a_picture_is_as_old_as_the_domain_says():
    now = [0.0]
    domain = Domain(camera_latency_s=0.1)
    bench = Bench(paced=False, clock=lambda: now[0], physics=True, domain=domain)
    for servo in bench.follower.servos.values():
        servo.position = servo.position  # nothing holds it: it falls
    past = []
    for _ in range(30):
        now[0] += 0.01
        past.append(bench.state.joints)
        if len(past) > 10:
            assert bench.seen.joints.tobytes() == past[-11].tobytes()
    assert np.abs(past[-1] - past[0]).max() > 0.01
