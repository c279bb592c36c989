"""Forward kinematics by a URDF: the SO-101's own, a maker's, and what is no tree of joints."""

import math

import numpy as np
import pytest

from armlet.files import FileError
from armlet.robots import SO101_JOINTS
from armlet.robots.description import OPTICAL_RPY, describe, mount_of, rotation_of
from armlet.robots.kinematics import FRAMES, forward
from armlet.robots.link_poses import LinkPoses
from armlet.robots.robot_model import find
from armlet.sim.calibrations import FOLLOWER

LINK_OF = {"base": "base_link"}


def maker(*joints, links="abcd"):
    named = (f'<link name="{each}"/>' for each in links)
    return f"<robot>{''.join(named)}{''.join(joints)}</robot>"


def joint(name, parent, child, kind="revolute", axis="0 0 1", origin='xyz="1 0 0"'):
    return (
        f'<joint name="{name}" type="{kind}"><parent link="{parent}"/><child link="{child}"/>'
        f'<origin {origin}/><axis xyz="{axis}"/></joint>'
    )


def angles_of(row):
    return dict(zip(SO101_JOINTS, row, strict=True))


def test_links_are_where_the_kinematics_have_them():
    links = LinkPoses(describe(find("so101"), FOLLOWER))
    assert links.joints_above("gripper") == SO101_JOINTS[:5]
    assert links.joints_above("base_link") == () and links.hand() == "gripper"
    for row in np.random.default_rng(2).uniform(-1, 1, (5, 6)):
        expected = forward(row)
        for index, frame in enumerate(FRAMES):
            found = links.pose(LINK_OF.get(frame, frame), angles_of(row))
            np.testing.assert_allclose(found[:3, 3], expected.origins[index], atol=1e-4)
            np.testing.assert_allclose(found[:3, :3], expected.rotations[index], atol=2e-3)


def test_slopes_say_where_a_link_goes():
    links = LinkPoses(describe(find("so101"), FOLLOWER))
    row, step = np.array([0.3, -0.4, 0.5, 0.6, -0.7, 0.1]), np.array([1, -2, 3, 1, -1, 0]) * 1e-4
    slopes = links.slopes("gripper", angles_of(row))
    moved = links.pose("gripper", angles_of(row + step)) - links.pose("gripper", angles_of(row))
    assert slopes.shape == (5, 4, 4)
    np.testing.assert_allclose(np.tensordot(step[:5], slopes, 1), moved, atol=1e-6)


def test_a_chain_by_hand():
    """A quarter turn to the left at (1, 0, 0), then one unit ahead, tipped by the origin."""
    text = maker(
        joint("one", "a", "b"),
        joint("two", "b", "c", "fixed", origin='xyz="1 0 0" rpy="1.5707963267948966 0 0"'),
        joint("three", "c", "d", "continuous", axis="0 0 2", origin='xyz="0 0 0"'),
    )
    links = LinkPoses(text)
    assert links.joints_above("d") == ("one", "three")
    pose = links.pose("d", {"one": math.pi / 2, "three": math.pi / 2})
    np.testing.assert_allclose(pose[:3, 3], [1, 1, 0], atol=1e-12)
    # x of the last frame is y of the one before: up.
    np.testing.assert_allclose(pose[:3, :3] @ [1, 0, 0], [0, 0, 1], atol=1e-12)


def test_a_mount_that_was_found_puts_the_optical_frame_there():
    optical = np.eye(4)
    optical[:3, :3] = rotation_of(np.array([0.4, 1.1, -2.5]))
    optical[:3, 3] = 0.05, -0.02, 0.07
    mount = mount_of("gripper", optical)
    links = LinkPoses(describe(find("so101"), FOLLOWER, cameras={"wrist": mount}))
    angles = angles_of([0.3, -0.4, 0.5, 0.6, -0.7, 0.1])
    found = np.linalg.inv(links.pose("gripper", angles)) @ links.pose("wrist_optical_frame", angles)
    np.testing.assert_allclose(found, optical, atol=2e-6)
    ahead = np.eye(4)
    ahead[:3, :3] = rotation_of(np.array(OPTICAL_RPY))
    assert mount_of("a", ahead).rpy == (0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<robot", "expected XML"),
        (maker(joint("one", "a", "b"), joint("two", "c", "b")), "'b': expected one joint above"),
        (maker(joint("one", "a", "d"), joint("two", "d", "a")), "hangs on itself"),
        (maker(joint("one", "a", "d", "prismatic")), "one that turns about an axis"),
        (maker(joint("one", "a", "d", axis="0 0 0")), "one that turns about an axis"),
        (maker(joint("one", "a", "d", axis="0 nan 0")), "expected a number, found 'nan'"),
        (maker(joint("one", "a", "d", origin='rpy="0 0"')), "expected three numbers"),
        (maker('<joint name="one" type="fixed"/>'), "expected a parent and a child"),
        (maker(joint("other", "a", "d")), "'other': expected an angle, found nothing"),
        (maker(links="abc"), "expected a link of a, b, c, found 'd'"),
    ],
)
def test_what_is_no_arm_is_refused(text, message):
    with pytest.raises(FileError, match=message):
        LinkPoses(text).pose("d", {"one": 0.0})


def test_an_arm_with_two_grippers_or_none_has_no_hand():
    for count in (0, 2):
        joints = [joint(f"{n}_gripper", "a", "bcd"[n]) for n in range(count)]
        with pytest.raises(FileError, match=f"one gripper joint, found {count}"):
            LinkPoses(maker(*joints)).hand()


def test_an_angle_that_is_not_finite_is_refused():
    links = LinkPoses(maker(joint("one", "a", "d")))
    for read in (links.pose, links.slopes):
        with pytest.raises(FileError, match="'one': expected an angle, found nan"):
            read("d", {"one": math.nan})
