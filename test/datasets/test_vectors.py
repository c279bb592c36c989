"""From radians of topics to a dataset's units: by the joints' names, and refused in other units."""

import itertools
import json

import numpy as np
import pytest

from armlet.bringup import share_directory
from armlet.contract import Contract, Stream
from armlet.datasets.vectors import Vectors
from armlet.robots import SO101_JOINTS
from armlet.robots.calibration import load
from armlet.robots.joints import feature_names

FILE = share_directory() / "config" / "calibration" / "emulated_follower.json"
RADIANS = np.array([0.1, 0.2, -0.3, 0.4, -0.5, 0.3])
NAMES = feature_names(SO101_JOINTS)
FRAMES = Contract(
    fps=30,
    cameras=(),
    state_names=NAMES,
    action_names=NAMES,
    alignment=(Stream("state", "linear", 0.05),),
)


def test_every_order_of_a_calibration_file_gives_the_same_rows_and_the_same_contract(tmp_path):
    document = json.loads(FILE.read_text())
    expected = Vectors(FRAMES, load(FILE), "degrees")
    path = tmp_path / "calibration.json"
    orders = list(itertools.permutations(SO101_JOINTS))
    assert len(orders) == 720
    for order in orders:
        path.write_text(json.dumps({joint: document[joint] for joint in order}))
        found = Vectors(FRAMES, load(path), "degrees")
        assert np.array_equal(found.state(RADIANS), expected.state(RADIANS)), order
        assert np.array_equal(found.action(RADIANS), expected.action(RADIANS)), order
        assert found.contract.canonical() == expected.contract.canonical(), order


def test_every_order_of_the_topics_joints_gives_each_joint_its_own_value():
    calibration = load(FILE)
    by_joint = dict(zip(NAMES, Vectors(FRAMES, calibration, "degrees").state(RADIANS), strict=True))
    for order in itertools.permutations(range(6)):
        names = tuple(NAMES[index] for index in order)
        frames = Contract(
            fps=30,
            cameras=(),
            state_names=names,
            action_names=names,
            alignment=FRAMES.alignment,
        )
        found = Vectors(frames, calibration, "degrees").state(RADIANS[list(order)])
        assert dict(zip(names, found, strict=True)) == by_joint


@pytest.mark.parametrize("unit", ["degrees", "ticks"])
def test_positions_that_no_servo_can_read_are_refused(unit):
    vectors = Vectors(FRAMES, load(FILE), "degrees")
    other = np.rad2deg(RADIANS) if unit == "degrees" else 2048 + 100 * RADIANS
    for convert in (vectors.state, vectors.action):
        with pytest.raises(ValueError, match=r"positions are radians; .* for shoulder_pan"):
            convert(other)
