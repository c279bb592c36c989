"""`armlet setup` at a terminal, from two arms in a box to a robot file that a graph reads."""

import os
import sys
from pathlib import Path

import pytest
from forked_python import armlet
from terminal_session import ENTER, TerminalSession
from test_calibrate_cli import RANGES, ArmClock, HandClock, Hands, entry, stored

from armlet.bringup import graph, share_directory
from armlet.cli.main import main
from armlet.motors.emulation import EmulatedBus
from armlet.motors.feetech import REGISTERS
from armlet.robots import SO101_JOINTS, JointCalibration
from armlet.robots.calibration import load, save
from armlet.robots.robot_file import read


@pytest.fixture
def arms(tmp_path):
    """A follower and a leader in a person's hands."""
    clocks = HandClock(), HandClock()
    ports = tmp_path / "ports"
    ports.mkdir()
    with (
        EmulatedBus(link=ports / "f", clock=clocks[0]) as follower,
        EmulatedBus(link=ports / "l", clock=clocks[1]) as leader,
    ):
        yield {
            name: (bus, Hands(bus, clock))
            for name, bus, clock in zip(
                ("follower", "leader"), (follower, leader), clocks, strict=True
            )
        }


def set_up(tmp_path, *words):
    places = ("--among", str(tmp_path / "ports" / "*"), "--also", "pattern")
    path = tmp_path / "my" / "robot.yaml"
    given = ("--robot", str(path), *places)
    prepared = ArmClock(tmp_path / "time").prepared
    return path, TerminalSession("setup", *words, *given, columns=150, rows=60, prepared=prepared)


def plugged_again(session, bus, name):
    session.wait_for(f"The {name}'s port.")
    session.wait_for(f"Unplug the {name}'s USB cable, then press Enter")
    bus.hang_up()
    session.wait_for(f"{bus.port} went away")
    session.send(ENTER)
    session.wait_for(rf"Unplug the {name}'s(.*\n)+.*Plug it in again", regex=True)
    bus.plug()
    session.wait_for(f"{name}: {bus.port}")


def whole_ranges(lines):
    """How many tables on the screen show every joint's whole range."""
    return min(
        sum(
            line.lstrip().startswith(joint) and f"{(high - low) * 360 / 4096:.1f}°" in line
            for line in lines
        )
        for joint, (low, high) in zip(SO101_JOINTS, RANGES, strict=True)
        if joint != "wrist_roll"
    )


def calibrated(session, hands, name, tables):
    session.wait_for(f"{name}: Enter to calibrate by hand")
    session.send(ENTER)
    session.wait_for("hold it there")
    session.wait_for("4095  ")
    session.send(ENTER)
    session.wait_for("Done: 1 of 6")
    hands.sweep(*SO101_JOINTS)
    session.wait_until(lambda lines: whole_ranges(lines) == tables, "the whole sweep")
    session.send(ENTER)
    session.wait_for(f"{name}.json")


@pytest.mark.thorough
def test_from_two_arms_in_a_box_to_a_graph(arms, tmp_path):
    path, session = set_up(tmp_path)
    with session:
        session.wait_for("How many arms?")
        session.send(ENTER)
        for name, (bus, _) in arms.items():
            plugged_again(session, bus, name)
        session.wait_for("leader: servos 1, 2, 3, 4, 5, 6 answer")
        assert list(read(path).arms) == ["follower", "leader"], "each answer is in the file at once"
        for tables, (name, (_, hands)) in enumerate(arms.items(), 1):
            calibrated(session, hands, name, tables)
        session.wait_for("numbered test picture at pattern")
        session.send("top" + ENTER)
        session.wait_for("degrees or range_m100_100 [degrees]")
        session.send(ENTER)
        session.wait_for("Next: armlet up teleop")
        assert session.wait_end() == 0
        print("\n".join(session.screen()))
    robot = read(path)
    assert robot.leader.teleoperates == "follower" and robot.joint_units == "degrees"
    assert robot.cameras["top"] == {"source": "pattern", "width": 640, "height": 480, "fps": 30}
    for name, (bus, _) in arms.items():
        assert robot.arms[name].port == bus.port
        for id, found in enumerate(load(path.parent / f"{name}.json").values(), 1):
            assert stored(bus, id) == entry(found)
            low, high = RANGES[id - 1]
            assert SO101_JOINTS[id - 1] == "wrist_roll" or found.range_max - found.range_min == (
                high - low
            )
    assert list((path.parent / "cameras").glob("*.jpg"))
    nodes = graph("record").nodes({"robot": str(path), "root": str(tmp_path / "set")})
    assert {spec.label for spec in nodes} >= {"servo_bus", "leader/servo_bus", "top/camera"}


def test_a_step_alone_keeps_what_it_does_not_own(tmp_path):
    path, session = set_up(tmp_path, "cameras")
    path.parent.mkdir()
    path.write_text("parameters:\n  servo_bus: {nice: 0}   # mine\n")
    with session:
        session.wait_for("numbered test picture at pattern")
        assert "To use them" not in "\n".join(session.screen()), "the names are asked for here"
        session.send("Front" + ENTER)
        session.wait_for("small letters")
        session.send("wrist" + ENTER)
        assert session.wait_end() == 0
    assert "servo_bus: {nice: 0}   # mine" in path.read_text()
    assert list(read(path).cameras) == ["wrist"]
    assert (path.parent / "robot.yaml.bak").read_text().startswith("parameters")


def test_ctrl_c_loses_nothing_and_says_how_to_go_on(arms, tmp_path):
    path, session = set_up(tmp_path)
    bus, _ = arms["follower"]
    with session:
        session.wait_for("How many arms?")
        session.send(ENTER)
        plugged_again(session, bus, "follower")
        session.wait_for("Unplug the leader's USB cable")
        assert session.interrupt() == 130
        # Wherever the terminal breaks a long line.
        said = "".join("".join(session.screen()).split())
    assert "Goonwith:armletsetupportsidscalibratecamerasunitscheck" in said
    assert "Traceback" not in said
    assert read(path).follower.port == bus.port


def test_the_wrong_cable_is_said(arms, tmp_path):
    _, session = set_up(tmp_path)
    bus, _ = arms["follower"]
    with session:
        session.wait_for("How many arms?")
        session.send(ENTER)
        plugged_again(session, bus, "follower")
        session.wait_for("Unplug the leader's USB cable, then press Enter")
        bus.hang_up()
        session.wait_until(lambda lines: sum("went away" in line for line in lines) == 2)
        session.send(ENTER)
        session.wait_until(lambda lines: sum("Plug it in again" in line for line in lines) == 2)
        bus.plug()
        session.wait_for("is the follower's")
        session.wait_for("Try again? (y/n) [y]")
        session.send("n" + ENTER)
        assert session.wait_end() == 1
        assert "the leader's port was not found" in " ".join(session.screen())


def test_scripts_answer_by_options(arms, tmp_path):
    (bus, _), path = arms["follower"], tmp_path / "robot.yaml"
    made = tmp_path / "lerobot.json"
    emulated = graph("follower").nodes({"emulated": "true"})[1].parameters["calibration_file"]
    made.write_text(Path(emulated).read_text())
    steps = ("ports", "ids", "calibrate", "cameras", "units")
    answers = ("--port", f"follower={bus.port}", "--calibration", f"follower={made}")
    answers += ("--camera", "front=pattern", "--joint-units", "range_m100_100")
    done = armlet("setup", *steps, "--robot", str(path), *answers)
    assert done.returncode == 0, done.stderr
    robot = read(path)
    assert (robot.follower.port, robot.joint_units) == (bus.port, "range_m100_100")
    assert load(tmp_path / "follower.json") == load(made)
    for found in load(made).values():
        assert stored(bus, found.id) == entry(found)
    assert robot.cameras["front"]["source"] == "pattern"


def test_a_file_that_is_the_leaders_is_not_written_into_the_follower(arms, tmp_path):
    (bus, _), path = arms["follower"], tmp_path / "robot.yaml"
    folder = share_directory() / "config" / "calibration"
    files = [folder / f"emulated_{arm}.json" for arm in ("follower", "leader")]
    registers = ("Homing_Offset", "Min_Position_Limit", "Max_Position_Limit")
    for found in load(files[0]).values():
        for register, value in zip(registers, entry(found), strict=True):
            bus.servos[found.id].poke(REGISTERS[register], value)
    path.write_text(
        f"arms:\n  follower: {{port: {bus.port}, calibration: mine.json}}\n"
        f"  leader: {{port: /dev/l, calibration: {files[0]}, teleoperates: follower}}\n"
    )
    before = [stored(bus, id) for id in bus.servos]
    answers = ("--robot", str(path), "--calibration", f"follower={files[1]}")
    done = armlet("setup", "calibrate", *answers)
    assert done.returncode == 1
    assert f"{files[1]} is not its calibration: these servos hold the calibration of the" in (
        done.stdout + done.stderr
    )
    assert [stored(bus, id) for id in bus.servos] == before
    assert not (tmp_path / "mine.json").exists()


def test_scripts_say_what_kind_of_arm_it_is(tmp_path, monkeypatch):
    entries = {
        joint: JointCalibration(id, int(joint == "elbow_flex"), 900 * id, 10 * id, 4000 - id)
        for id, joint in enumerate(SO101_JOINTS, 1)
    }
    made, path = tmp_path / "lerobot.json", tmp_path / "robot.yaml"
    save(entries, made)
    with (
        EmulatedBus(link=tmp_path / "arm", motors="xl330-m077") as bus,
        Path("/dev/null").open() as nobody,
    ):
        monkeypatch.setattr(sys, "stdin", nobody)
        answers = ("--model", "follower=koch_leader", "--port", f"follower={bus.port}")
        answers += ("--calibration", f"follower={made}")
        steps = ("ports", "ids", "calibrate")
        assert main(["setup", *steps, "--robot", str(path), *answers]) == 0
        assert read(path).follower.kind.title == "Koch leader"
        model = bus.model
        registers = (model.homing_offset, model.min_position, model.max_position)
        for entry in load(tmp_path / "follower.json").values():
            held = tuple(bus.servos[entry.id].peek(register) for register in registers)
            assert held == (entry.homing_offset, entry.range_min, entry.range_max)
        assert bus.servos[3].peek(model.drive_mode) == 1


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["camera"], 2, "did you mean cameras?"),
        ([], 2, "there is no terminal on which to answer ports"),
        (["ports", "--port", "follower"], 2, "expected NAME=VALUE"),
        (["check"], 1, "there is no"),
        (["ports", "--arms", "leader"], 1, "leader leads follower, which is not among leader"),
        (["cameras", "--camera", "front=/nowhere.mp4"], 1, "front:"),
    ],
)
def test_what_cannot_be_done_is_one_line(tmp_path, words, status, message):
    done = armlet("setup", *words, "--robot", str(tmp_path / "robot.yaml"))
    assert done.returncode == status
    assert message in done.stderr and done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr


def test_a_file_that_cannot_be_read_is_not_written(tmp_path):
    path = tmp_path / "robot.yaml"
    path.write_text("arm: {}")
    done = armlet("setup", "units", "--robot", str(path), "--joint-units", "degrees")
    assert done.returncode == 2 and "found 'arm'" in done.stderr
    assert path.read_text() == "arm: {}"


@pytest.fixture
def nobody(monkeypatch):
    """At the keyboard."""
    with Path(os.devnull).open() as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        yield


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--model", "follower=kohc"], "--model follower: did you mean koch?"),
        (["--model", "follower=none.yaml"], "--model follower: "),
        (["--model", "folower=koch"], "--model: did you mean follower?"),
        (["--calibration", "follower=nothing.json"], "--calibration follower: "),
        (["--arms", "follower", "--port", "leader=/dev/x"], "--port: expected one of follower"),
        (["calibrate", "--model", "follower=koch"], "--model is an answer of the step ports"),
    ],
)
def test_an_answer_that_cannot_be_used_is_refused_before_the_first_step(
    words, said, tmp_path, capsys, monkeypatch, nobody
):
    """It was found out after the person had unplugged the arms, or not at all."""
    monkeypatch.chdir(tmp_path)
    assert main(["setup", *words, "--robot", "robot.yaml"]) == 2
    output = capsys.readouterr()
    (line,) = output.err.splitlines()
    assert said in line and output.out == ""
    assert not Path("robot.yaml").exists()


def test_a_models_file_is_found_from_where_the_command_is_given(tmp_path, monkeypatch, nobody):
    monkeypatch.chdir(tmp_path)
    Path("arm.yaml").write_text("joints: {lift: {id: 1}, gripper: {id: 2, role: gripper}}")
    answers = ["--port", "follower=/dev/arm", "--model", "follower=arm.yaml"]
    assert main(["setup", "ports", *answers, "--robot", "deep/robot.yaml"]) == 0
    (arm,) = read(Path("deep/robot.yaml")).arms.values()
    assert list(arm.kind.joints) == ["lift", "gripper"]
