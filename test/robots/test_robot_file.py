"""A robot file: what it may say, and what is refused, by the entry's name."""

import pytest

from armlet.files import FileError
from armlet.robots.robot_file import read

WHOLE = """
arms:
  follower: {port: /dev/ttyACM0, calibration: calibrations/follower.json}
  leader: {port: /dev/ttyACM1, calibration: /leader.json, teleoperates: follower}
cameras:
  front: {source: /dev/video0, width: 640, height: 480, fps: 30, exposure: 120}
  wrist: {source: 2}
joint_units: range_m100_100
parameters:
  servo_bus: {max_velocity_rad_s: 2.0}
  leader/servo_bus: {rate_hz: 50}
"""


def written(tmp_path, text):
    path = tmp_path / "robot.yaml"
    path.write_text(text)
    return path


def test_a_whole_file(tmp_path):
    robot = read(written(tmp_path, WHOLE))
    assert robot.follower.port == "/dev/ttyACM0"
    assert robot.follower.calibration == str(tmp_path / "calibrations/follower.json")
    assert robot.leader.calibration == "/leader.json"
    assert robot.cameras["front"] == {
        "source": "/dev/video0",
        "width": 640,
        "height": 480,
        "fps": 30.0,
        "exposure": 120,
    }
    assert robot.cameras["wrist"] == {"source": "2"}
    assert robot.joint_units == "range_m100_100"
    assert robot.parameters["leader/servo_bus"] == {"rate_hz": 50}


def test_every_entry_may_be_absent(tmp_path):
    robot = read(written(tmp_path, "arms:\n"))
    assert robot.follower is None and robot.leader is None and not robot.cameras


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- 1", "expected arms, cameras"),
        ("arm: {}", "found 'arm'"),
        ("arms: [1]", "arms: expected entries by name"),
        ("arms: {Left: {port: a, calibration: b}}", "small letters"),
        ("arms: {f: {port: a}}", "arms.f: expected calibration"),
        ("arms: {f: {port: 1, calibration: b}}", "arms.f.port: expected a text, found 1"),
        ("arms: {f: {port: '', calibration: b}}", "found an empty one"),
        ("arms: {f: {port: a, calibration: b, baud: 1}}", "found baud"),
        (
            "arms: {f: {port: a, calibration: b, model: coch}}",
            "did you mean koch? expected so101 or koch",
        ),
        ("arms: {f: {port: a, calibration: b, teleoperates: f}}", "another arm of the file"),
        ("cameras: {front: /dev/video0}", "cameras.front: expected entries by name"),
        ("cameras: {front: {width: 640}}", "cameras.front.source: expected a device"),
        ("cameras: {front: {source: true}}", "cameras.front.source: expected a device"),
        ("cameras: {front: {source: a, lock: {x: 1}}}", "cameras.front.lock: expected a value"),
        ("cameras: {front: {source: a, fps: '30'}}", "fps: expected a finite number, found '30'"),
        ("cameras: {front: {source: a, fps: 0}}", "fps: expected more than 0, found 0"),
        ("joint_units: radians", "expected degrees or range_m100_100"),
        ("parameters: {servo_bus: 1}", "parameters.servo_bus: expected entries"),
        ("a: &x 1\nb: *x", "is not YAML"),
        ("arms: {f: {port: a, calibration: ~nosuchuser/f.json}}", "calibration: ~nosuchuser"),
        ("arms: {f: {port: a, calibration: b, model: ~nosuchuser/f.yaml}}", "no such user"),
        ('arms: {f: {port: "\\ud800", calibration: b}}', "half a character"),
        pytest.param(
            f"cameras: {{front: {{source: a, fps: {'9' * 400}}}}}",
            "fps: expected a finite number",
            id="more than any float",
        ),
        pytest.param(
            f"cameras: {{front: {{source: 1{':59' * 3000}}}}}",
            "source: expected a whole number",
            id="a number of thousands of digits",
        ),
        ("parameters: {servo_bus: {rate_hz: .nan}}", "expected a value, found nan"),
    ],
)
def test_what_is_wrong_is_refused_in_one_line_with_its_place(tmp_path, text, message):
    path = written(tmp_path, text)
    with pytest.raises(FileError) as refused:
        read(path)
    assert message in str(refused.value) and str(path) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_two_pairs_are_not_guessed_at(tmp_path):
    arms = "arms: {a: {port: p, calibration: c}, b: {port: q, calibration: d}}"
    with pytest.raises(FileError, match="2 arms follow"):
        _ = read(written(tmp_path, arms)).follower


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "robot.yaml")


PAIRS = """
arms:
  left_follower: {port: /dev/lf, calibration: lf.json}
  right_follower: {port: /dev/rf, calibration: rf.json}
  right_leader: {port: /dev/rl, calibration: rl.json, teleoperates: right_follower}
  left_leader: {port: /dev/ll, calibration: ll.json, teleoperates: left_follower}
"""


def test_two_pairs_have_sides(tmp_path):
    robot = read(written(tmp_path, PAIRS))
    found = [(p.side, p.prefix, p.follower.port, p.leader.port) for p in robot.pairs]
    assert found == [
        ("left", "left_", "/dev/lf", "/dev/ll"),
        ("right", "right_", "/dev/rf", "/dev/rl"),
    ]
    assert robot.calibration == f"left_={tmp_path}/lf.json,right_={tmp_path}/rf.json"


def test_one_pair_has_none_whatever_its_name(tmp_path):
    (pair,) = read(written(tmp_path, "arms: {left_follower: {port: p, calibration: c}}")).pairs
    assert (pair.side, pair.prefix, pair.leader) == ("", "", None)


@pytest.mark.parametrize(
    ("arms", "message"),
    [
        ("follower: {X}, left_follower: {X}", "each is called SIDE_follower"),
        ("left: {X}, left_follower: {X}", "two followers are of one side"),
        ("f: {X}, a: {X, teleoperates: f}, b: {X, teleoperates: f}", "2 arms teleoperate f"),
        ("f: {X}, a: {X, teleoperates: f}, b: {X, teleoperates: a}", "found a leader: a"),
    ],
)
def test_pairs_that_are_not_clear(tmp_path, arms, message):
    text = f"arms: {{{arms}}}".replace("X", "port: p, calibration: c")
    with pytest.raises(FileError, match=message):
        _ = read(written(tmp_path, text)).pairs


def test_a_model_of_a_persons_own_is_found_beside_the_file(tmp_path):
    (tmp_path / "mine.yaml").write_text("joints: {lift: {id: 3}, gripper: {id: 4, role: gripper}}")
    robot = read(written(tmp_path, "arms: {f: {port: p, calibration: c, model: mine.yaml}}"))
    assert robot.follower.kind.ids == {"lift": 3, "gripper": 4}
