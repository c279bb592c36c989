import subprocess
import sys
from contextlib import contextmanager

import pytest
from terminal_session import ENTER, TerminalSession

from armlet.cli.main import main
from armlet.motors.emulation import EmulatedBus
from armlet.motors.feetech import REGISTERS, Bus

# Who does not answer in time is not there; a busy machine may take a tenth of a second.
QUICK = ("--patience", "0.2")


class Bench:
    """Motors that are connected and disconnected by hand.

    Args:
        link: where the port is.
        ids: of the motors, which the bench tells apart by their first id.
        motors: their model, or that of each.
    """

    def __init__(self, link, ids, motors):
        self.bus = EmulatedBus(ids, link=link, motors=motors)
        self.motors = dict(self.bus.servos)

    def connect(self, *motors):
        ids = {self.motors[motor].id for motor in motors}
        self.bus.faults.dead = {motor.id for motor in self.motors.values()} - ids


@contextmanager
def bench(link, ids=(6, 5, 4, 3, 2, 1), motors="sts3215"):
    made = Bench(link, ids, motors)
    with made.bus:
        made.connect()
        yield made


def start(port, *options):
    return TerminalSession("setup-motors", "--port", port, *QUICK, *options, columns=160, rows=50)


def test_six_motors_of_any_id_and_speed_become_an_arm(tmp_path):
    # In the order asked for: gripper first.
    with bench(tmp_path / "arm", (1, 9, 4, 33, 2, 250)) as made:
        made.motors[9].poke(REGISTERS["Baud_Rate"], 4)
        made.motors[33].poke(REGISTERS["Response_Status_Level"], 0)
        made.motors[2].poke(REGISTERS["Torque_Enable"], 1)
        with start(made.bus.port) as session:
            for step, motor in enumerate(made.motors, 1):
                session.wait_for(f"{step}/6")
                made.connect(motor)
                session.send(ENTER)
            session.wait_for("all six in a chain")
            made.connect(*made.motors)
            session.send(ENTER)
            assert session.wait_end() == 0
            screen = "\n".join(session.screen())
        print(screen)
        assert "gripper: id 1 at 1000000 baud -> id 6" in screen
        assert "wrist_roll: id 9 at 115200 baud -> id 5 at 1000000 baud" in screen
        assert "wrist_flex: has id 4 at 1000000 baud already" in screen
        assert "All six answer" in screen
        for motor in made.motors.values():
            motor.power_cycle()
        assert [motor.id for motor in made.motors.values()] == [6, 5, 4, 3, 2, 1]
        assert {motor.baudrate for motor in made.motors.values()} == {1_000_000}
        assert not any(motor.torque_on for motor in made.motors.values())
        assert {motor.peek(REGISTERS["Lock"]) for motor in made.motors.values()} == {1}


@pytest.mark.thorough
def test_motors_of_two_models_become_a_koch(tmp_path):
    # As they come from the maker: id 1 at 57600 baud; here distinguished by their ids.
    motors = (*["xl330-m288"] * 4, *["xl430-w250"] * 2)
    with bench(tmp_path / "arm", (11, 12, 4, 14, 15, 1), motors) as made:
        for motor in made.motors.values():
            motor.poke(made.bus.model.baud_rate, 1)
        made.motors[4].poke(made.bus.model.baud_rate, 3)
        made.motors[14].poke(made.bus.model.torque_enable, 1)
        made.motors[15].poke(made.bus.model.acknowledges[0], 1)
        with start(made.bus.port, "--model", "koch") as session:
            for step, motor in enumerate(made.motors, 1):
                session.wait_for(f"{step}/6")
                if step == 1:
                    made.connect(15)
                    session.send(ENTER)
                    session.wait_for("This is a XL430-W250, expected an XL330-M288")
                    assert not made.bus.writes
                made.connect(motor)
                session.send(ENTER)
            session.wait_for("all six in a chain")
            made.connect(*made.motors)
            session.send(ENTER)
            assert session.wait_end() == 0
            screen = "\n".join(session.screen())
        assert "gripper: id 11 at 57600 baud -> id 6 at 1000000 baud" in screen
        assert "wrist_flex: has id 4 at 1000000 baud already" in screen
        assert f"calibrate --port {made.bus.port} --model koch --output" in screen
        for motor in made.motors.values():
            motor.power_cycle()
        assert [motor.id for motor in made.motors.values()] == [6, 5, 4, 3, 2, 1]
        assert {motor.baudrate for motor in made.motors.values()} == {1_000_000}
        assert not any(motor.torque_on for motor in made.motors.values())


def test_nothing_is_written_unless_one_new_motor_alone_answers(tmp_path):
    with bench(tmp_path / "arm", (11, 12, 1, 1)) as made, start(made.bus.port) as session:
        session.wait_for("gripper's motor ALONE")
        session.send(ENTER)
        session.wait_for("No motor answers")
        made.connect(11, 12)
        session.send(ENTER)
        session.wait_for("2 motors answer (ids 11, 12)")
        made.bus.faults.dead = {11, 12}
        session.send(ENTER)
        session.wait_for("Answers of id 1 are garbled")
        made.bus.faults.dead = {1, 12}
        made.motors[11].poke(REGISTERS["Model_Number"], 1284)
        session.send(ENTER)
        session.wait_for("This is a SCS0009, expected an STS3215")
        assert not made.bus.writes
        made.motors[11].poke(REGISTERS["Model_Number"], 777)
        session.send(ENTER)
        session.wait_for("gripper: id 11 at 1000000 baud -> id 6")
        session.wait_for("2/6")
        written = len(made.bus.writes)
        session.send(ENTER)
        session.wait_for("This is the gripper's motor")
        assert len(made.bus.writes) == written
        print("\n".join(session.screen()))


def test_ctrl_c_says_how_to_go_on_and_going_on_works(tmp_path):
    with bench(tmp_path / "arm", (11, 12, 4, 3, 2, 1)) as made:
        with start(made.bus.port) as session:
            made.connect(11)
            session.wait_for("1/6")
            session.send(ENTER)
            session.wait_for("2/6")
            assert session.interrupt() == 130
            # Wherever the terminal breaks a long path.
            said = "".join("".join(session.screen()).split())
        assert f"--port{made.bus.port}--fromwrist_roll" in said
        assert made.motors[11].peek(REGISTERS["Lock"]) == 1
        with start(made.bus.port, "--from", "wrist_roll") as session:
            session.wait_for("wrist_roll's motor ALONE")
            session.send(ENTER)
            session.wait_for("This is the gripper's motor")
            for joint, motor in (("wrist_roll", 12), ("wrist_flex", 4), ("elbow_flex", 3)):
                session.wait_for(f"{joint}'s motor ALONE")
                made.connect(motor)
                session.send(ENTER)
            session.wait_for("shoulder_lift's motor ALONE")
        assert [motor.id for motor in made.motors.values()] == [6, 5, 4, 3, 2, 1]


def test_a_motor_that_does_not_keep_its_id_is_an_error(tmp_path):
    with bench(tmp_path / "arm", (11,)) as made, start(made.bus.port) as session:
        session.wait_for("1/6")
        made.connect(11)
        write = made.motors[11].write
        made.motors[11].write = lambda at, data: None if at == 5 else write(at, data)
        session.send(ENTER)
        assert session.wait_end() == 1
        said = " ".join("\n".join(session.screen()).split())
        assert "is still at id 11" in said
        assert made.motors[11].peek(REGISTERS["Lock"]) == 1


def test_missing_joints_are_named_at_the_end_and_what_is_set_is_not_written(tmp_path):
    with bench(tmp_path / "arm") as made, start(made.bus.port, "--from", "shoulder_pan") as session:
        session.wait_for("6/6")
        made.connect(1)
        session.send(ENTER)
        session.wait_for("all six in a chain")
        made.connect(1, 2, 3)
        session.send(ENTER)
        session.wait_for("wrist_flex, wrist_roll, gripper missing")
        made.connect(*made.motors)
        session.send(ENTER)
        assert session.wait_end() == 0
        assert not made.bus.writes


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--port", "/dev/no-such-port"], "does not exist"),
        (["--port", "{port}", "--from", "elbow"], "expected one of gripper, wrist_roll"),
    ],
)
def test_wrong_arguments_are_one_line_and_status_2(options, message, tmp_path, capfd):
    with EmulatedBus((1,), link=tmp_path / "arm") as bus:
        assert main(["setup-motors", *(each.format(port=bus.port) for each in options)]) == 2
    said = capfd.readouterr().err
    assert message in said and said.count("\n") == 1


@pytest.mark.parametrize("taken", [False, True])
def test_without_anybody_or_with_the_port_in_use_it_ends(tmp_path, taken):
    with EmulatedBus((1,), link=tmp_path / "arm") as bus:
        other = Bus(bus.port)
        if taken:
            other.open()
        ended = subprocess.run(
            [sys.executable, "-m", "armlet.cli.main", "setup-motors", "--port", bus.port],
            input="\n" if taken else "",
            capture_output=True,
            text=True,
            check=False,
        )
        other.close()
        assert ended.returncode == 2 and ended.stderr.count("\n") == 1
        assert ("in use" if taken else "end of the input") in ended.stderr
        assert not bus.writes
