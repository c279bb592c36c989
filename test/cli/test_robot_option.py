"""`--robot` of every tool: the file stands for what is not given, and what is given goes first."""

import json

import pytest

from armlet.bringup import share_directory
from armlet.cli.main import main
from armlet.motors.emulation import EmulatedBus
from armlet.motors.feetech import REGISTERS
from armlet.preflight import machine, ros
from armlet.robots import SO101_JOINTS, JointCalibration
from armlet.robots.calibration import load, save

LIMITS = ("Homing_Offset", "Min_Position_Limit", "Max_Position_Limit")


@pytest.fixture
def arms(tmp_path):
    """A follower and a leader, calibrated apart, and the robot file of both."""
    with (
        EmulatedBus(range(1, 7), link=tmp_path / "follower") as follower,
        EmulatedBus(range(1, 7), link=tmp_path / "leader") as leader,
    ):
        for name, bus, offset in (("follower", follower, 10), ("leader", leader, -20)):
            joints = {}
            for id, joint in enumerate(SO101_JOINTS, 1):
                joints[joint] = JointCalibration(id, 0, offset * id, 1000, 3000)
                for register, value in zip(LIMITS, (offset * id, 1000, 3000), strict=True):
                    bus.servos[id].poke(REGISTERS[register], value)
                bus.servos[id].poke(REGISTERS["Return_Delay_Time"], 0)
            save(joints, tmp_path / f"{name}.json")
        yield follower, leader


@pytest.fixture
def robot(arms, tmp_path):
    path = tmp_path / "robot.yaml"
    path.write_text(
        f"arms:\n"
        f"  follower: {{port: {tmp_path}/follower, calibration: follower.json}}\n"
        f"  leader: {{port: {tmp_path}/leader, calibration: leader.json,"
        f" teleoperates: follower}}\n"
        f"cameras:\n"
        f"  front: {{source: pattern, width: 64, height: 48, fps: 30}}\n"
        f"joint_units: range_m100_100\n"
    )
    return path


def test_the_arm_named_is_the_arm_that_is_asked(arms, robot, capsys):
    arms[0].servos[2].poke(REGISTERS["Present_Temperature"], 41)
    arms[1].servos[2].poke(REGISTERS["Present_Temperature"], 52)
    temperatures = {}
    for arm in ("follower", "leader"):
        assert main(["scan", "--robot", str(robot), "--arm", arm, "--json"]) == 0
        (port,) = json.loads(capsys.readouterr().out)["ports"]
        temperatures[arm] = next(each["temperature"] for each in port["servos"] if each["id"] == 2)
    assert temperatures == {"follower": 41, "leader": 52}
    options = ("--robot", str(robot), "--arm", "leader", "--id", "2")
    assert main(["registers", "get", "Present_Temperature", *options]) == 0
    assert "\t52\t" in capsys.readouterr().out


def test_calibrations_are_checked_written_and_read_by_arm(arms, robot, tmp_path, capsys):
    given = ("--robot", str(robot), "--arm")
    assert main(["calibrate", *given, "leader", "--check"]) == 0
    arms[1].servos[3].poke(REGISTERS["Homing_Offset"], 5)
    assert main(["calibrate", *given, "leader", "--check"]) == 1
    assert main(["calibrate", *given, "follower", "--check"]) == 0
    assert main(["calibrate", *given, "leader", "--write"]) == 0
    assert arms[1].servos[3].peek(REGISTERS["Homing_Offset"]) == -60
    arms[1].servos[3].poke(REGISTERS["Homing_Offset"], 7)
    assert main(["calibrate", *given, "leader", "--read"]) == 0
    assert load(tmp_path / "leader.json")["elbow_flex"].homing_offset == 7
    assert load(tmp_path / "leader.json.bak")["elbow_flex"].homing_offset == -60


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["calibrate", "--check"], "--output, --check, --write or --read FILE"),
        (["registers", "dump"], "give --arm NAME"),
        (["setup-motors"], "follower, leader"),
        (["scan", "--arm", "folower"], "did you mean follower?"),
        (["registers", "dump", "--arm", "leader", "--port", "/dev/null"], "found both"),
        (["calibrate", "--port", "/dev/null", "--check"], "--check"),
    ],
)
def test_an_arm_that_is_not_clear_is_not_guessed_at(robot, capsys, words, message):
    assert main([*words, "--robot", str(robot)]) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1


def test_an_arm_without_a_robot_file_is_informed_which_option_to_leave_out(capsys):
    assert main(["scan", "--robot", "none", "--arm", "x"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == (
        "armlet scan: --arm x names an arm of a robot file, and --robot none reads none; leave one "
        "of them out, and give --port PATH without a file"
    )


def test_the_only_arm_need_not_be_named(arms, robot, tmp_path, capsys):
    robot.write_text(
        f"arms: {{follower: {{port: {tmp_path}/follower, calibration: follower.json}}}}"
    )
    assert main(["calibrate", "--check", "--robot", str(robot)]) == 0


def test_a_joint_is_reversed_only_if_its_servo_can_be(arms, tmp_path, capsys):
    model = tmp_path / "odd.yaml"
    model.write_text("joints: {elbow: {id: 3, reversed: true}}")
    words = ("calibrate", "--port", f"{tmp_path}/follower", "--model", str(model), "--read")
    assert main([*words, str(tmp_path / "odd.json")]) == 2
    said = capsys.readouterr().err
    assert "odd: elbow: reversed, and STS3215 servos cannot be" in said
    even = tmp_path / "even.yaml"
    even.write_text("joints: {elbow: {id: 3, reversed: true, servo: xl330-m288}}")
    words = ("calibrate", "--port", f"{tmp_path}/follower", "--model", str(even), "--read")
    assert main([*words, str(tmp_path / "even.json")]) == 1
    assert "no answer from elbow (id 3)" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["registers", "dump"],
        ["setup-motors"],
        ["calibrate", "--check"],
        ["scan", "--arm", "follower"],
        ["find-cameras"],
    ],
)
def test_a_broken_file_is_one_line(tmp_path, capsys, words):
    path = tmp_path / "robot.yaml"
    path.write_text("arm: {}")
    assert main([*words, "--robot", str(path)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert str(path) in said and "found 'arm'" in said and "--robot none" in said


def test_no_file_is_said_with_the_way_to_one(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert main(["registers", "dump"]) == 2
    assert "armlet setup" in capsys.readouterr().err


def test_the_persons_own_file_is_read_by_default(robot, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "armlet").mkdir()
    (tmp_path / "armlet" / "robot.yaml").write_text(
        robot.read_text().replace("calibration: ", f"calibration: {tmp_path}/")
    )
    assert main(["calibrate", "--arm", "leader", "--check"]) == 0
    assert main(["calibrate", "--arm", "leader", "--check", "--robot", "none"]) == 2


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(ros, "client", lambda: iter(()))
    monkeypatch.setattr(machine, "priority", lambda: iter(()))


def findings(capsys):
    return json.loads(capsys.readouterr().out)


def test_doctor_looks_at_the_whole_robot(arms, robot, quick, capsys):
    assert main(["doctor", "--json", "--robot", str(robot)]) == 0
    report = findings(capsys)
    groups = {each["group"] for each in report}
    assert {"Robot", "Servos of follower", "Servos of leader"} <= groups
    calibrated = [each for each in report if each["subject"] == "calibration"]
    assert [each["level"] for each in calibrated] == ["ok", "ok"]
    assert any(each["subject"] == "pattern" for each in report)
    ranges = {each["group"] for each in report if each["subject"] == "range"}
    assert ranges == {"Servos of follower"}, "the URDF is a follower's"
    arms[1].servos[3].poke(REGISTERS["Homing_Offset"], 5)
    assert main(["doctor", "--json", "--robot", str(robot)]) == 1
    (wrong,) = [each for each in findings(capsys) if each["level"] == "error"]
    assert wrong["group"] == "Servos of leader" and "elbow_flex" in wrong["found"]


def test_doctor_names_the_arm_whose_calibration_file_was_given(
    arms, robot, quick, tmp_path, capsys
):
    files = [tmp_path / f"{name}.json" for name in ("follower", "leader")]
    texts = [file.read_text() for file in files]
    for file, text in zip(files, reversed(texts), strict=True):
        file.write_text(text)
    assert main(["doctor", "--json", "--robot", str(robot)]) == 1
    found = {
        each["group"]: each["found"]
        for each in json.loads(capsys.readouterr().out)
        if each["subject"] == "calibration"
    }
    for name, other, file in (
        ("follower", "leader", files[1]),
        ("leader", "follower", files[0]),
    ):
        said = f"these servos hold the calibration of the {other} ({file}): the calibration files"
        assert found[f"Servos of {name}"].startswith(said)


def test_doctor_names_an_arm_that_is_not_plugged_in(arms, robot, quick, tmp_path, capsys):
    arms[1].close()
    assert main(["doctor", "--json", "--robot", str(robot)]) == 1
    (wrong,) = [each for each in findings(capsys) if each["level"] == "error"]
    assert (wrong["group"], wrong["subject"]) == ("Robot", "leader")
    assert f"{tmp_path}/leader" in wrong["found"]


def test_doctor_reports_a_broken_file_among_the_rest(tmp_path, quick, capsys):
    path = tmp_path / "robot.yaml"
    path.write_text("arm: {}")
    main(["doctor", "--json", "--robot", str(path), "--among", str(tmp_path / "*")])
    assert main(["doctor", "--json", "--robot", str(path)]) == 1
    wrong = [each for each in findings(capsys) if each["subject"] == "robot file"]
    assert [each["level"] for each in wrong] == ["error"] and "found 'arm'" in wrong[0]["found"]


def test_a_port_that_is_given_goes_before_the_file(arms, robot, quick, tmp_path, capsys):
    assert main(["doctor", "--json", "--robot", str(robot), "--port", f"{tmp_path}/leader"]) == 0
    groups = {each["group"] for each in findings(capsys)}
    assert "Servos" in groups and "Servos of follower" not in groups


def test_cameras_of_the_file_are_photographed_by_their_names(robot, tmp_path, capsys):
    out = tmp_path / "pictures"
    options = ("--settle", "0", "--output", str(out), "--robot", str(robot))
    assert main(["find-cameras", *options]) == 0
    assert "front: numbered test picture" in capsys.readouterr().out
    assert list(out.glob("*front*.jpg"))


def test_a_checkpoint_is_checked_against_the_robots_calibration(tmp_path, capsys):
    pytest.importorskip("torch", reason="the policy extra is not installed")
    path = tmp_path / "robot.yaml"
    emulated = share_directory() / "config/calibration/emulated_follower.json"
    path.write_text(f"arms: {{arm: {{port: /dev/null, calibration: {emulated}}}}}")
    checkpoint = str(share_directory() / "checkpoints/reach")
    said = {}
    for robot in ("none", str(path)):
        main(["policy", "check", "--checkpoint", checkpoint, "--robot", robot])
        said[robot] = [
            line for line in capsys.readouterr().out.splitlines() if "calibration" in line
        ]
    assert not said["none"]
    assert "ok" in said[str(path)][0].split()
