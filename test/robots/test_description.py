"""The URDF that a graph publishes of an arm: its zero, signs and limits are its topics'."""

import math
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from armlet.files import FileError
from armlet.preflight.servos import like_model
from armlet.robots import JointCalibration
from armlet.robots.calibration import save
from armlet.robots.description import describe, misfits, root, rotation_of, rpy_of
from armlet.robots.kinematics import FRAMES, forward
from armlet.robots.robot_file import Mount
from armlet.robots.robot_model import find
from armlet.robots.units import RADIANS_PER_TICK, limits_radians
from armlet.sim.calibrations import FOLLOWER

KIND = find("so101")
MAKER = """<robot name="maker">
  <link name="base"/> <link name="arm"><visual><geometry><mesh filename="arm.stl"/></geometry>
  </visual></link>
  <joint name="lift" type="revolute">
    <parent link="base"/><child link="arm"/>
    <origin xyz="0.1 0 0" rpy="0.3 -0.2 0.5"/><axis xyz="0 0 1"/>
    <limit lower="-0.2" upper="1.8" effort="1" velocity="2"/>
    <safety_controller k_velocity="1" soft_upper_limit="1.7"/>
  </joint>
</robot>"""


def numbers(element, key, default="0 0 0"):
    return np.array([float(word) for word in element.get(key, default).split()])


def about(axis, angle):
    """Rodrigues' formula, of an axis of length 1."""
    cross = np.cross(np.eye(3), axis)
    return np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * cross @ cross


def transforms(text, angles):
    """Where each link of a URDF is: name -> (4, 4), by the standard's words and nothing of ours."""
    robot = ElementTree.fromstring(text)
    joints = {joint.find("child").get("link"): joint for joint in robot.findall("joint")}

    def place(link):
        if link not in joints:
            return np.eye(4)
        joint = joints[link]
        origin, axis = joint.find("origin"), joint.find("axis")
        here = np.eye(4)
        if origin is not None:
            here[:3, 3] = numbers(origin, "xyz")
            roll, pitch, yaw = numbers(origin, "rpy")
            x, y, z = np.eye(3)
            here[:3, :3] = about(z, yaw) @ about(y, pitch) @ about(x, roll)
        if joint.get("type") != "fixed":
            here[:3, :3] @= about(numbers(axis, "xyz"), angles[joint.get("name")])
        return place(joint.find("parent").get("link")) @ here

    return {link.get("name"): place(link.get("name")) for link in robot.findall("link")}


def joints_of(text):
    return {joint.get("name"): joint for joint in ElementTree.fromstring(text).findall("joint")}


def maker(tmp_path, **calibration):
    """A kind whose URDF has its zero somewhere else than in the middle."""
    (tmp_path / "maker.urdf").write_text(MAKER)
    (tmp_path / "maker.yaml").write_text("{urdf: maker.urdf, joints: {lift: {id: 1}}}")
    entry = {"id": 1, "drive_mode": 0, "homing_offset": 0, "range_min": 1000, "range_max": 2000}
    return find(str(tmp_path / "maker.yaml")), {"lift": JointCalibration(**entry | calibration)}


def test_at_what_joint_states_say_the_links_are_where_the_arm_is():
    text = describe(KIND, FOLLOWER, "left_")
    dice = np.random.default_rng(1)
    for angles in (np.zeros(6), *dice.uniform(-1.6, 1.6, (20, 6))):
        found, pose = transforms(text, dict(zip(FOLLOWER, angles, strict=True))), forward(angles)
        names = {name: f"left_{name}" for name in FRAMES} | {"base": "left_base_link"}
        for name, origin, rotation in zip(FRAMES, pose.origins, pose.rotations, strict=True):
            np.testing.assert_allclose(found[names[name]][:3, 3], origin, atol=1e-8)
            np.testing.assert_allclose(found[names[name]][:3, :3], rotation, atol=1e-8)
        np.testing.assert_allclose(found["left_tip"][:3, 3], pose.tip, atol=1e-8)


def test_joints_are_called_as_in_joint_states_and_end_where_this_arms_calibration_does():
    joints = joints_of(describe(KIND, FOLLOWER, "left_"))
    assert list(FOLLOWER) == [
        name for name, joint in joints.items() if joint.get("type") != "fixed"
    ]
    for name, low, high in zip(FOLLOWER, *limits_radians(FOLLOWER), strict=True):
        limit = joints[name].find("limit")
        assert joints[name].get("type") == "revolute", "no planner may go round a calibrated turn"
        assert float(limit.get("lower")) == pytest.approx(low)
        assert float(limit.get("upper")) == pytest.approx(high)
        assert float(limit.get("velocity")) > 0 and float(limit.get("effort")) > 0


def test_zero_is_the_middle_of_the_calibrated_range_wherever_the_maker_put_it(tmp_path):
    kind, calibration = maker(tmp_path)
    text = describe(kind, calibration)
    for angle in (-0.9, 0.0, 0.4):
        theirs = transforms(MAKER, {"lift": angle + 0.8})["arm"]
        np.testing.assert_allclose(transforms(text, {"lift": angle})["arm"], theirs, atol=1e-8)
    limit = joints_of(text)["lift"].find("limit")
    assert float(limit.get("upper")) == pytest.approx(500 * RADIANS_PER_TICK)
    assert joints_of(text)["lift"].find("safety_controller") is None
    assert f'filename="file://{tmp_path}/arm.stl"' in text


def test_a_joint_that_counts_the_other_way_turns_the_other_way(tmp_path):
    kind, calibration = maker(tmp_path)
    text = describe(kind, calibration, turned=["lift"])
    for angle in (-0.9, 0.4):
        theirs = transforms(MAKER, {"lift": 0.8 - angle})["arm"]
        np.testing.assert_allclose(transforms(text, {"lift": angle})["arm"], theirs, atol=1e-8)


def test_a_camera_is_a_link_and_its_optical_frame_looks_along_z():
    mount = Mount("gripper", (0.02, 0.0, 0.05), (0.0, 0.4, 0.0))
    found = transforms(
        describe(KIND, FOLLOWER, "left_", {"wrist": mount}), dict.fromkeys(FOLLOWER, 0)
    )
    gripper, camera = found["left_gripper"], found["wrist_link"]
    np.testing.assert_allclose(camera[:3, 3], gripper[:3, 3] + (0.02, 0, 0.05), atol=1e-8)
    optical = found["wrist_optical_frame"]
    np.testing.assert_allclose(optical[:3, 3], camera[:3, 3])
    np.testing.assert_allclose(optical[:3, 2], camera[:3, 0], atol=1e-8)  # forward
    np.testing.assert_allclose(optical[:3, 0], -camera[:3, 1], atol=1e-8)  # right


@pytest.mark.parametrize(
    ("name", "link", "message"),
    [
        ("wrist", "hand", "camera wrist: expected a link of base_link, pan, .*found 'hand'"),
        ("base", "tip", "camera base: the arm has a link base_link; give the camera another name"),
    ],
)
def test_a_camera_that_cannot_be_placed_is_refused(name, link, message):
    with pytest.raises(FileError, match=message):
        describe(KIND, FOLLOWER, cameras={name: Mount(link)})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, r"no URDF .*maker\.urdf: No such file"),
        ("<robot", r"maker\.urdf: expected XML, found unclosed token"),
        ("<sdf/>", r"expected <robot> at the top, found <sdf>"),
        ("<robot/>", "expected a revolute or continuous joint lift, found no joint of that name"),
        (MAKER.replace("revolute", "prismatic"), "joint lift, found a 'prismatic' one"),
        (MAKER.replace('"1.8"', '"far"'), "expected a number, found 'far'"),
        (MAKER.replace('"1.8"', '"inf"'), "expected a number, found 'inf'"),
        (MAKER.replace('"0.3 -0.2 0.5"', '"nan 0 0"'), "expected a number, found 'nan'"),
        (MAKER.replace('"0 0 1"', '"0 0 0"'), "joint 'lift' turns about no axis"),
        (MAKER.replace("</robot>", f"{'<a>' * 9000}{'</a>' * 9000}</robot>"), "nested too deep"),
    ],
)
def test_what_is_wrong_with_a_urdf_is_said(tmp_path, text, message):
    kind, calibration = maker(tmp_path)
    if text is None:
        (tmp_path / "maker.urdf").unlink()
    else:
        (tmp_path / "maker.urdf").write_text(text)
    with pytest.raises(FileError, match=message):
        describe(kind, calibration)


def test_of_very_many_links_a_few_are_shown(tmp_path):
    kind, calibration = maker(tmp_path)
    links = "".join(f'<link name="link{number}"/>' for number in range(1000))
    (tmp_path / "maker.urdf").write_text(MAKER.replace("</robot>", f"{links}</robot>"))
    for ask in (root, lambda kind: describe(kind, calibration, cameras={"top": Mount("lid")})):
        with pytest.raises(FileError) as refused:
            ask(kind)
        assert "more characters" in str(refused.value) and len(str(refused.value)) < 600


@pytest.mark.parametrize(
    ("low", "high", "off_rad"), [(900, 2100, None), (1400, 1900, 0.617), (500, 2700, -0.687)]
)
def test_a_range_far_from_the_kinds_is_found(tmp_path, low, high, off_rad):
    """The stops of the URDF are 2 rad, 1304 ticks, apart."""
    kind, calibration = maker(tmp_path, range_min=low, range_max=high)
    found = misfits(kind, calibration)
    assert [misfit.joint for misfit in found] == ([] if off_rad is None else ["lift"])
    if found:
        assert found[0].off_rad == pytest.approx(off_rad, abs=1e-3)


def test_the_emulated_arm_fits_and_a_joint_that_turns_all_the_way_round_always_does():
    assert misfits(KIND, FOLLOWER) == []


def test_doctor_says_how_far_zero_may_be_off(tmp_path):
    kind, calibration = maker(tmp_path, range_min=1400, range_max=1900)
    save(calibration, tmp_path / "arm.json")
    (found,) = like_model(tmp_path / "arm.json", kind)
    assert found.code == "calibration.range-unlike-model" and found.severity == "warning"
    assert found.found == (
        "lift calibrated over 0.77 rad, 2.00 in the model of the maker: zero may be 0.62 rad off"
    )
    save(FOLLOWER, tmp_path / "arm.json")
    (found,) = like_model(tmp_path / "arm.json", KIND)
    assert found.severity == "ok"
    assert not list(like_model(tmp_path / "arm.json", find("koch"))), "it has no URDF"


@pytest.mark.parametrize("rpy", [(0.1, -0.4, 2.0), (0.0, math.pi / 2, 0.7), (0.0, -math.pi / 2, 1)])
def test_roll_pitch_and_yaw_come_back(rpy):
    rotation = rotation_of(np.array(rpy))
    np.testing.assert_allclose(rotation_of(np.array(rpy_of(rotation))), rotation, atol=1e-9)
