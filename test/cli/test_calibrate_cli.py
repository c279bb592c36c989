"""`armlet calibrate` in a terminal, with hands on an emulated arm."""

import json
import signal
import threading

import forked_python
import pytest
from terminal_session import CTRL_C, ENTER, TerminalSession

from armlet.cli.main import main
from armlet.motors.emulation import EmulatedBus
from armlet.motors.feetech import REGISTERS
from armlet.robots import SO101_JOINTS, JointCalibration
from armlet.robots.calibration import load, save

# Encoder ticks of the middle poses: two on the seam, one a hair from it, one with no offset of its
# own (4095 would take 2048).
HORNS = (2000, 4090, 4095, 0, 3333, 1200)
RANGES = ((-900, 1100), (-800, 800), (-2000, 1500), (-1200, 2500), (-700, 700), (-300, 1100))
CROSSING = "wrist_flex"
TICKS_PER_S = 2500


class HandClock:
    """Seconds that pass with every look at them: hands move as the arm is read, stalls or not."""

    def __init__(self):
        self._time_s = 0.0
        self._lock = threading.Lock()

    def __call__(self):
        with self._lock:
            self._time_s += 0.002
            return self._time_s


class ArmClock:
    """The command's seconds, which pass only here: no joint's track is lost where it stands still.

    They are the length of a file, to which the command looks.
    """

    def __init__(self, path):
        self._path = path
        path.touch()
        self.prepared = (
            "import functools, pathlib\n"
            "from armlet.calibrate import calibrate\n"
            f"clock = pathlib.Path({str(path)!r})\n"
            "calibrate.Calibrator = functools.partial(\n"
            "    calibrate.Calibrator, clock=lambda: clock.stat().st_size / 10\n"
            ")\n"
        )

    def passes(self, tenths):
        with self._path.open("a") as file:
            file.write("." * tenths)


class Hands:
    """A person at an emulated arm: holds the middle pose, then sweeps the joints to and fro."""

    def __init__(self, bus, clock):
        self._clock = clock
        self._started = {}
        for servo, joint, horn, span in zip(
            bus.servos.values(), SO101_JOINTS, HORNS, RANGES, strict=True
        ):
            servo.position = horn
            servo.hand = self._hand(joint, horn, *span)

    def sweep(self, *joints):
        for joint in joints:
            self._started.setdefault(joint, self._clock())

    def _hand(self, joint, horn, low, high):
        span = high - low

        def at(time_s):
            if joint not in self._started:
                return float(horn)
            # To and fro, a tenth of the range too far, so that the hand rests at each end.
            way = (time_s - self._started[joint]) * TICKS_PER_S + 0.1 * span - low
            up = way % (2.4 * span)
            there = min(up, 2.4 * span - up) - 0.1 * span + low
            return float(horn + max(low, min(high, round(there))))

        return at


@pytest.fixture
def emulated():
    with EmulatedBus(clock=HandClock()) as bus:
        yield bus


@pytest.fixture
def hands(emulated):
    return Hands(emulated, emulated.servos[1]._clock)


def stored(bus, id):
    names = ("Homing_Offset", "Min_Position_Limit", "Max_Position_Limit")
    return tuple(bus.servos[id].peek(REGISTERS[name]) for name in names)


def entry(calibration):
    return (calibration.homing_offset, calibration.range_min, calibration.range_max)


def shows(lines, joint, word):
    return any(line.lstrip().startswith(joint) and word in line for line in lines)


def swept(session, hands, joints=SO101_JOINTS):
    """Sweeps, again if need be, and waits until the screen shows every joint's whole range."""
    hands.sweep(*joints)
    travel = {
        joint: f"{(high - low) * 360 / 4096:.1f}°"
        for joint, (low, high) in zip(SO101_JOINTS, RANGES, strict=True)
        if joint in joints
    }

    was_lost = False

    def done(lines):
        nonlocal was_lost
        lost = any("track lost" in line for line in lines)
        if lost and not was_lost:
            session.send("r")
        was_lost = lost
        return not lost and all(shows(lines, joint, text) for joint, text in travel.items())

    session.wait_until(done, "the whole sweep")


def draws_again(session, word):
    """Waits until what it draws from now on is on the screen."""
    drawn = session.output.count(word)
    session.wait_until(lambda _: session.output.count(word) > drawn + 2)


@pytest.fixture
def clock(tmp_path_factory):
    return ArmClock(tmp_path_factory.mktemp("clock") / "time")


@pytest.fixture
def calibrating(clock):
    def begun(bus, output, *options, **terminal):
        options = ("--port", bus.port, "--output", str(output), *options)
        return TerminalSession("calibrate", *options, prepared=clock.prepared, **terminal)

    return begun


def test_by_hand_from_start_to_file(calibrating, emulated, hands, tmp_path):
    path = tmp_path / "arm.json"
    path.write_text("the one before")
    with calibrating(emulated, path) as session:
        session.wait_for("hold it there")
        session.wait_for("4095  ")
        session.send(ENTER)
        session.wait_for("Done: 1 of 6")
        session.send(ENTER)
        session.wait_for("not moved: shoulder_pan, shoulder_lift, elbow_flex, wrist_flex, gripper")
        assert session.colour_at("full turn") == "green"
        assert session.colour_at("not moved") == "brown"
        swept(session, hands)
        lines = session.screen()
        assert shows(lines, CROSSING, "ok, seam handled")
        assert shows(lines, "elbow_flex", "ok, seam avoided")
        assert shows(lines, "gripper", "━━●") or shows(lines, "gripper", "●━━")
        assert not any("Not finished" in line for line in lines)
        assert max(map(len, lines)) <= 100
        session.send(ENTER)
        assert session.wait_end() == 0
        said = session.screen()
    assert shows(said, CROSSING, "crossed the encoder's seam")
    assert any("arm.json.bak" in line for line in said)
    calibration = load(path)
    for servo, (joint, found) in zip(emulated.servos.values(), calibration.items(), strict=True):
        assert stored(emulated, servo.id) == entry(found)
        assert shows(said, joint, f" {found.homing_offset} ")
        horn, (low, high) = HORNS[servo.id - 1], RANGES[servo.id - 1]
        if joint == "wrist_roll":
            assert entry(found) == (horn - 2047, 0, 4095)
        else:
            assert (horn + low - found.homing_offset) % 4096 == found.range_min
            assert found.range_max - found.range_min == high - low
    assert (tmp_path / "arm.json.bak").read_text() == "the one before"
    with TerminalSession("calibrate", "--port", emulated.port, "--check", str(path)) as session:
        assert session.wait_end() == 0


def test_some_joints_only_keep_the_others(calibrating, emulated, hands, tmp_path):
    path = tmp_path / "arm.json"
    before = {joint: JointCalibration(id, 0, 7, 1, 2) for id, joint in enumerate(SO101_JOINTS, 1)}
    save(before, path)
    chosen = ("wrist_roll", "gripper")
    with calibrating(
        emulated, path, "--joints", ",".join(chosen), "--full-turn", "none"
    ) as session:
        session.wait_for("hold it there")
        session.send(ENTER)
        session.wait_for("Done: 0 of 2")
        swept(session, hands, chosen)
        session.send(ENTER)
        assert session.wait_end() == 0
    found = load(path)
    assert list(found) == list(before)
    assert [joint for joint in found if found[joint] != before[joint]] == list(chosen)
    assert found["wrist_roll"].range_max - found["wrist_roll"].range_min == 1400
    assert stored(emulated, 1) == (0, 0, 4095)


@pytest.mark.representatives(2)
@pytest.mark.parametrize(
    ("how", "status"), [("q", 1), (CTRL_C, 130), (signal.SIGTERM, 130), (signal.SIGHUP, 130)]
)
def test_given_up_nothing_has_changed(calibrating, emulated, hands, tmp_path, how, status):
    emulated.servos[2].poke(REGISTERS["Operating_Mode"], 1)
    emulated.servos[3].poke(REGISTERS["Homing_Offset"], 99)
    path = tmp_path / "arm.json"
    with calibrating(emulated, path) as session:
        session.wait_for("hold it there")
        session.send(ENTER)
        session.wait_for("Done: 1 of 6")
        assert emulated.servos[2].peek(REGISTERS["Operating_Mode"]) == 0
        hands.sweep(*SO101_JOINTS)
        session.wait_for("ok")
        if isinstance(how, str):
            session.send(how)
        else:
            session.process.send_signal(how)
        assert session.wait_end() == status
        session.wait_for("Given up: the servos have their previous values back.")
        assert session.echoes()
    assert emulated.servos[2].peek(REGISTERS["Operating_Mode"]) == 1
    assert stored(emulated, 3) == (99, 0, 4095)
    assert not list(tmp_path.iterdir())


def test_given_up_before_anything_was_written(calibrating, emulated, tmp_path):
    with calibrating(emulated, tmp_path / "arm.json") as session:
        session.wait_for("hold it there")
        session.send("q")
        assert session.wait_end() == 1
        session.wait_for("Given up: nothing was written.")


def test_an_arm_that_holds_itself_is_not_dropped_unasked(calibrating, emulated, hands, tmp_path):
    emulated.servos[2].poke(REGISTERS["Torque_Enable"], 1)
    with calibrating(emulated, tmp_path / "arm.json") as session:
        session.wait_for("Torque is on (shoulder_lift)")
        assert emulated.servos[2].torque_on
        session.send(ENTER)
        session.wait_for("hold it there")
        assert not emulated.servos[2].torque_on


def test_a_loose_cable_is_shown_and_the_sweep_begun_again(
    calibrating, clock, emulated, hands, tmp_path
):
    with calibrating(emulated, tmp_path / "arm.json") as session:
        session.wait_for("hold it there")
        emulated.faults.dead.add(6)
        draws_again(session, b"hold it there")  # what was read before is of the time before
        clock.passes(10)
        session.wait_until(lambda lines: shows(lines, "gripper", "no answer"))
        session.wait_for("Every joint must answer first: gripper")
        session.send(ENTER)
        draws_again(session, b"Every joint")
        emulated.faults.dead.clear()
        session.wait_until(lambda lines: shows(lines, "gripper", "torque off"))
        session.press_until(ENTER, "Done: 1 of 6")
        swept(session, hands)
        emulated.faults.dead.add(4)
        for _ in range(3):  # no more at a time than the others may miss
            clock.passes(3)
            draws_again(session, b"Done:")
        session.wait_until(lambda lines: shows(lines, "wrist_flex", "no answer"))
        emulated.faults.dead.clear()
        session.wait_until(lambda lines: shows(lines, "wrist_flex", "track lost"))
        session.send(ENTER)
        session.wait_for("missing (r sweeps again): wrist_flex")
        swept(session, hands)  # presses r
        session.send(ENTER)
        assert session.wait_end() == 0
    assert shows(session.screen(), CROSSING, "crossed the encoder's seam")


def test_the_adapter_unplugged_in_the_sweep(calibrating, emulated, hands, tmp_path):
    with calibrating(emulated, tmp_path / "arm.json") as session:
        session.wait_for("hold it there")
        session.send(ENTER)
        session.wait_for("Done: 1 of 6")
        emulated.hang_up()
        assert session.wait_end() == 1
        session.wait_for("Not calibrated: nothing was written.")
        session.wait_for("armlet calibrate: lost ")
        assert session.echoes()


def test_a_file_that_cannot_be_saved_leaves_the_servos_as_they_were(
    calibrating, emulated, hands, tmp_path
):
    path = tmp_path / "gone/arm.json"
    path.parent.mkdir()
    with calibrating(emulated, path) as session:
        session.wait_for("hold it there")
        session.send(ENTER)
        swept(session, hands)
        path.parent.rmdir()
        session.send(ENTER)
        assert session.wait_end() == 1
        session.wait_for("Not calibrated: the servos have their previous values back.")
    assert stored(emulated, 1) == (0, 0, 4095)


@pytest.mark.representatives(2)
@pytest.mark.parametrize(
    ("columns", "rows", "environment"),
    [(60, 20, {}), (80, 24, {}), (100, 30, {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"})],
)
def test_small_and_plain_terminals(
    calibrating, emulated, hands, tmp_path, columns, rows, environment
):
    with calibrating(
        emulated, tmp_path / "arm.json", columns=columns, rows=rows, environment=environment
    ) as session:
        session.wait_for("1 middle pose")
        session.send(ENTER)
        hands.sweep(*SO101_JOINTS)
        session.wait_for("Done: 6 of 6")
        session.wait_until(lambda lines: shows(lines, "gripper", "ok"))
        session.resize(100, 30)
        session.send(CTRL_C)
        assert session.wait_end() == 130


def test_it_needs_a_person(emulated, tmp_path):
    done = forked_python.armlet(
        "calibrate", "--port", emulated.port, "--output", tmp_path / "arm.json"
    )
    assert done.returncode == 2
    assert "takes a person at a terminal" in done.stderr
    assert not done.stdout and not list(tmp_path.iterdir()) and not emulated.writes


# --- check, write, read: in scripts


ENTRIES = {
    joint: JointCalibration(id, 0, 100 * id - 350, 10 * id, 4000 - id)
    for id, joint in enumerate(SO101_JOINTS, 1)
}


@pytest.fixture
def file(tmp_path):
    save(ENTRIES, tmp_path / "arm.json")
    return tmp_path / "arm.json"


def armlet(*words):
    return main(["calibrate", *map(str, words)])


def test_check_write_check(emulated, file, capsys):
    port = ("--port", emulated.port)
    assert armlet(*port, "--check", file) == 1
    said = capsys.readouterr().out
    assert shows(said.splitlines(), "shoulder_pan", "file -250")
    assert f"--write {file}" in said
    emulated.servos[2].poke(REGISTERS["Torque_Enable"], 1)
    assert armlet(*port, "--write", file) == 0
    assert "18 EEPROM values of 6 servos" in capsys.readouterr().out
    assert not emulated.servos[2].torque_on
    for id in emulated.servos:
        emulated.servos[id].power_cycle()
    assert armlet(*port, "--check", file) == 0
    assert "the servos hold" in capsys.readouterr().out
    assert armlet(*port, "--write", file) == 0
    assert " 0 EEPROM values" in capsys.readouterr().out


def test_a_koch_leaders_calibration_is_checked_written_and_read(tmp_path, capsys):
    entries = {
        joint: JointCalibration(id, int(joint == "elbow_flex"), 900 * id, 10 * id, 4000 - id)
        for id, joint in enumerate(SO101_JOINTS, 1)
    }
    file, copy = tmp_path / "leader.json", tmp_path / "copy.json"
    save(entries, file)
    with EmulatedBus(motors="xl330-m077") as bus:
        arm = ("--port", bus.port, "--model", "koch_leader")
        assert armlet(*arm, "--check", file) == 1
        said = capsys.readouterr().out
        assert shows(said.splitlines(), "elbow_flex", "and turns round")
        assert f"--model koch_leader --write {file}" in said
        bus.servos[2].poke(bus.model.torque_enable, 1)
        assert armlet(*arm, "--write", file) == 0
        assert "19 EEPROM values of 6 servos" in capsys.readouterr().out
        assert not bus.servos[2].torque_on
        for servo in bus.servos.values():
            servo.power_cycle()
        assert armlet(*arm, "--check", file) == 0
        assert armlet(*arm, "--read", copy) == 0
        assert copy.read_bytes() == file.read_bytes()
        assert armlet("--port", bus.port, "--check", file) == 2
        said = capsys.readouterr().err
        assert "expected servos of an SO-101 (feetech), found dynamixel; name the kind" in said
        assert armlet("--port", bus.port, "--model", "koch", "--write", file) == 1
        assert "expected an XL430-W250 (model 1060), found model 1190" in capsys.readouterr().err


def test_check_of_a_servo_that_does_not_answer(emulated, file, capsys):
    assert armlet("--port", emulated.port, "--write", file) == 0
    emulated.faults.dead.add(3)
    assert armlet("--port", emulated.port, "--check", file) == 1
    said = capsys.readouterr().out
    assert shows(said.splitlines(), "elbow_flex", "no answer")
    assert "check power" in said
    assert armlet("--port", emulated.port, "--check", file, "--joints", "gripper") == 0


def test_read_makes_the_file_that_check_accepts(emulated, file, tmp_path, capsys):
    assert armlet("--port", emulated.port, "--write", file) == 0
    assert armlet("--port", emulated.port, "--read", tmp_path / "copy.json") == 0
    assert (tmp_path / "copy.json").read_bytes() == file.read_bytes()
    assert armlet("--port", emulated.port, "--read", file) == 0
    assert "kept as arm.json.bak" in capsys.readouterr().out


def test_read_refuses_servos_that_hold_none(emulated, tmp_path, capsys):
    emulated.servos[4].poke(REGISTERS["Max_Position_Limit"], 0)
    assert armlet("--port", emulated.port, "--read", tmp_path / "arm.json") == 1
    assert "wrist_flex (id 4)" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_write_that_fails_is_taken_back(emulated, file, capsys):
    emulated.faults.dead.add(5)
    assert armlet("--port", emulated.port, "--write", file) == 1
    said = capsys.readouterr()
    assert "wrist_roll (id 5)" in said.err
    assert "nothing was written" in said.out
    assert stored(emulated, 1) == (0, 0, 4095)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--output", "{tmp}/none/arm.json"], "no folder"),
        (["--output", "{tmp}"], "found a folder"),
        (["--output", "{tmp}/a", "--joints", "wing"], "not an SO-101's: wing"),
        (["--output", "{tmp}/a", "--joints", "gripper,gripper"], "none twice"),
        (["--output", "{tmp}/a", "--joints", "a,b", "--ids", "1"], "as many"),
        (["--output", "{tmp}/a", "--joints", "a,,b"], "names joined by commas"),
        (["--output", "{tmp}/a", "--ids", "7"], "need names"),
        (["--output", "{tmp}/a", "--ids", "x"], "expected numbers"),
        (["--output", "{tmp}/a", "--ids", "300"], "0..252"),
        (["--output", "{tmp}/a", "--full-turn", "wing"], "--full-turn"),
        (["--output", "{tmp}/torn", "--ids", "1"], "not JSON"),
        (["--output", "{tmp}/arm.json", "--joints", "wing", "--ids", "3"], "elbow_flex already"),
        (["--check", "{tmp}/none"], "no calibration file"),
        (["--check", "{tmp}/arm.json", "--ids", "1"], "says the ids"),
        (["--check", "{tmp}/arm.json", "--joints", "wing"], "not wing"),
        (["--write", "{tmp}/torn"], "not JSON"),
        (["--check", "{tmp}/arm.json", "--baud", "12345"], "/none/port"),
    ],
)
def test_what_cannot_be_started_is_one_line_and_status_2(file, tmp_path, capsys, options, message):
    (tmp_path / "torn").write_text("{")
    before = sorted(tmp_path.iterdir())
    try:
        status = armlet("--port", "/none/port", *(word.format(tmp=tmp_path) for word in options))
    except SystemExit as end:  # of the parser
        status = end.code
    assert status == 2
    said = capsys.readouterr()
    assert message in said.err
    assert said.err.count("\n") == 1 and not said.out
    assert sorted(tmp_path.iterdir()) == before
    assert json.loads(file.read_text())


def test_one_thing_at_a_time(capsys):
    with pytest.raises(SystemExit):
        armlet("--port", "x", "--check", "a", "--write", "b")
    assert "not allowed with" in capsys.readouterr().err
