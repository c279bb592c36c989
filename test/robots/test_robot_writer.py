"""Writing a robot file: what is set is there, what is not set stays, nothing broken is written."""

import pytest

from armlet.files import FileError
from armlet.robots.robot_file import read
from armlet.robots.robot_writer import RobotWriter

MINE = """\
# my robot
arms:
  # bought in March
  follower: {port: /dev/a, calibration: f.json}

# the cameras stand on the shelf
cameras:
  front: {source: /dev/video0, exposure: 120}   # dark room

parameters:
  servo_bus: {max_velocity_rad_s: 2.0}          # careful
"""


@pytest.fixture
def mine(tmp_path):
    path = tmp_path / "robot.yaml"
    path.write_text(MINE)
    return path


def test_a_new_file_in_a_new_folder(tmp_path):
    path = tmp_path / "config" / "armlet" / "robot.yaml"
    writer = RobotWriter(path)
    writer.set_arm("follower", {"port": "/dev/a", "calibration": "follower.json"})
    assert read(path).follower.port == "/dev/a"
    writer.set_arm("follower", {"port": "/dev/b"})
    writer.set_camera("front", {"source": "/dev/v4l/by-id/x", "width": 640})
    writer.set_units("degrees")
    robot = read(path)
    assert robot == writer.robot
    assert robot.follower.port == "/dev/b"
    assert robot.follower.calibration == str(path.parent / "follower.json")
    assert (robot.cameras["front"]["width"], robot.joint_units) == (640, "degrees")
    assert [each.name for each in path.parent.iterdir()] == ["robot.yaml"]


def test_other_sections_stay_byte_for_byte_and_the_old_file_beside_it(mine):
    writer = RobotWriter(mine)
    writer.set_arm(
        "leader", {"port": "/dev/l", "calibration": "l.json", "teleoperates": "follower"}
    )
    text = mine.read_text()
    begin, rest = MINE[: MINE.index("arms:")], MINE[MINE.index("\n# the cameras") :]
    assert text.startswith(begin + "arms:") and text.endswith(rest)
    assert list(read(mine).arms) == ["follower", "leader"]
    writer.set_units("range_m100_100")
    assert writer.backup.read_text() == MINE
    assert writer.backup == mine.with_name("robot.yaml.bak")


def test_a_linked_file_is_changed_where_it_is_and_keeps_its_permissions(mine, tmp_path):
    mine.chmod(0o600)
    link = tmp_path / "link.yaml"
    link.symlink_to(mine)
    RobotWriter(link).set_units("range_m100_100")
    assert link.is_symlink() and read(mine).joint_units == "range_m100_100"
    assert mine.stat().st_mode & 0o777 == 0o600
    assert mine.with_name("robot.yaml.bak").read_text() == MINE


def test_what_a_camera_has_of_its_own_stays(mine):
    RobotWriter(mine).set_camera("front", {"source": "/dev/video2", "width": 320})
    camera = read(mine).cameras["front"]
    assert camera == {"source": "/dev/video2", "exposure": 120, "width": 320}
    assert "# bought in March" in mine.read_text()


def test_a_draft_of_a_persons_stays(mine):
    draft = mine.with_name("robot.yaml.draft")
    draft.write_text("mine")
    RobotWriter(mine).set_units("range_m100_100")
    assert draft.read_text() == "mine"
    assert read(mine).joint_units == "range_m100_100"


def test_saying_the_same_again_changes_nothing(mine):
    writer = RobotWriter(mine)
    writer.set_arm("follower", {"port": "/dev/a"})
    assert mine.read_text() == MINE and writer.backup is None


@pytest.mark.parametrize(
    "text",
    [
        "{arms: {follower: {port: /dev/a, calibration: f.json}}, parameters: {camera: {fps: 5}}}",
        '"arms": {follower: {port: /dev/a, calibration: f.json}}\nparameters:\n  camera: {fps: 5}',
    ],
)
def test_another_style_is_understood(tmp_path, text):
    path = tmp_path / "robot.yaml"
    path.write_text(text)
    RobotWriter(path).set_arm("follower", {"port": "/dev/b"})
    robot = read(path)
    assert robot.follower.port == "/dev/b" and robot.parameters == {"camera": {"fps": 5}}


def test_what_no_robot_file_may_say_is_not_written(mine):
    writer = RobotWriter(mine)
    with pytest.raises(FileError, match=r"robot\.yaml: arms\.follower\.port: expected a text"):
        writer.set_arm("follower", {"port": 1})
    assert mine.read_text() == MINE
    assert [each.name for each in mine.parent.iterdir()] == ["robot.yaml"]


def test_a_file_that_cannot_be_read_is_not_replaced(tmp_path):
    path = tmp_path / "robot.yaml"
    path.write_text("arm: {}")
    with pytest.raises(FileError, match="found 'arm'"):
        RobotWriter(path)


def test_an_entry_is_taken_out(mine):
    RobotWriter(mine).remove("cameras", "front")
    assert not read(mine).cameras
