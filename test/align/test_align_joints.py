"""One vector from several arms, and what is no sample of it."""

import numpy as np
import pytest

from armlet.align import JointError, join, joint_parts, worst_skew_s

JOINTS = ["left_pan", "right_pan", "left_grip", "right_grip"]


def test_two_arms_make_one_vector_in_the_joints_order():
    left, right = joint_parts("state", JOINTS, ["left_", "right_"])
    assert (left.stream, right.stream) == ("state.left", "state.right")
    values = {
        "state.left": left.sample(["grip", "pan"], [3.0, 1.0]),
        "state.right": right.sample(["right_pan", "right_grip"], [2.0, 4.0]),
    }
    np.testing.assert_array_equal(join((left, right), JOINTS, values), [1.0, 2.0, 3.0, 4.0])
    assert worst_skew_s((left, right), {"state.left": 0.01, "state.right": -0.02}) == -0.02


def test_one_arm_is_one_part_named_as_the_stream():
    (part,) = joint_parts("state", ["pan", "grip"], [""])
    assert part.stream == "state"
    vector = part.sample(["other", "grip", "pan"], [9.0, 2.0, 1.0])
    np.testing.assert_array_equal(vector, [1.0, 2.0])
    assert join((part,), ["pan", "grip"], {"state": vector}) is vector


def test_a_joint_that_was_not_read_is_not_sampled():
    (part,) = joint_parts("state", ["pan", "grip"], [""])
    np.testing.assert_array_equal(part.sample(["grip"], [2.0]), [np.nan, 2.0])


@pytest.mark.parametrize(
    ("names", "positions", "message"),
    [
        (["a", "b"], [1.0, 2.0], "none of"),
        ([], [], "none of"),
        (["pan", "grip"], [1.0], "2 joint names but 1 positions"),
        (["pan", "grip"], [1.0, float("nan")], "finite"),
        (["pan"], [float("inf")], "finite"),
    ],
)
def test_what_is_no_sample_is_refused(names, positions, message):
    (part,) = joint_parts("state", ["pan", "grip"], [""])
    with pytest.raises(JointError, match=message):
        part.sample(names, positions)


@pytest.mark.parametrize(
    ("joints", "prefixes", "message"),
    [
        (["left_pan", "pan"], ["left_", "right_"], "joint pan begins with none"),
        (["left_pan"], ["left_", "right_"], "no joint of .* begins with 'right_'"),
        (["left_pan"], ["left_", "left_"], "prefix of its own"),
        (["pan", "pan"], [""], "each once"),
        ([], [""], "each once"),
    ],
)
def test_joints_and_topics_that_do_not_fit_are_refused(joints, prefixes, message):
    with pytest.raises(JointError, match=message):
        joint_parts("state", joints, prefixes)
