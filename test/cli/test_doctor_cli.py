import json
import re
import subprocess
import sys

import pytest
from terminal_session import TerminalSession

from armlet.cli.main import main
from armlet.motors.devices import SerialDevice
from armlet.motors.emulation import EmulatedBus
from armlet.motors.feetech import REGISTERS, ErrorBit
from armlet.preflight import machine, ros

JOINTS = ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper")


@pytest.fixture
def bus(tmp_path):
    with EmulatedBus(range(1, 7), link=tmp_path / "arm") as bus:
        for servo in bus.servos.values():
            servo.poke(REGISTERS["Return_Delay_Time"], 0)
        yield bus


@pytest.fixture
def quick(monkeypatch):
    """`armlet doctor` in this process without what takes seconds and is no servo's affair.

    That is starting ROS, and two measurements beside busy loops; the tests of the whole screen have
    them, and test_preflight_machine.
    """
    monkeypatch.setattr(ros, "client", lambda: iter(()))
    monkeypatch.setattr(machine, "priority", lambda: iter(()))


@pytest.fixture
def examined(bus, quick, capfd):
    """Runs `armlet doctor --json`, quickly: (status, findings of servos)."""

    def run(*options):
        status = main(["doctor", "--port", bus.port, "--json", *map(str, options)])
        report = json.loads(capfd.readouterr().out)
        return status, [each for each in report if each["group"] == "Servos"]

    return run


def calibration(tmp_path, bus, **changes):
    entries = {}
    for id, joint in enumerate(JOINTS, 1):
        values = {"homing_offset": 10 * id, "range_min": 1000, "range_max": 3000}
        for name, register in zip(
            values, ("Homing_Offset", "Min_Position_Limit", "Max_Position_Limit"), strict=True
        ):
            bus.servos[id].poke(REGISTERS[register], values[name])
        entries[joint] = {"id": id, "drive_mode": 0, **values, **changes.get(joint, {})}
    file = tmp_path / "follower.json"
    file.write_text(json.dumps(entries))
    return file


def test_the_screen_of_an_arm_that_is_well(bus, tmp_path):
    file = calibration(tmp_path, bus)
    options = ("--port", bus.port, "--calibration", str(file), "--camera", "pattern")
    # A fix is one line, to be copied; the longest is that of whoever may not raise priority.
    with TerminalSession("doctor", *options, columns=300, rows=80) as session:
        assert session.wait_end() == 0
        screen = session.screen()
        assert session.colour_at("✓") == "green"
    print("\n".join(screen))
    for words in ("✓ servos           1-6 answer", "✓ voltage          7.4 V", "✓ calibration "):
        assert any(line.strip().startswith(words) for line in screen), words
    headings = [line for line in screen if line and not line.startswith(" ")]
    assert headings[:5] == ["Computer", "Serial ports", "Servos", "Cameras", "ROS"]
    assert re.fullmatch(r"Nothing wrong in \d+ checks", headings[5].strip())
    assert not bus.writes


def test_the_screen_of_an_arm_in_trouble_names_a_fix_for_each(bus):
    bus.faults.errors[4] = ErrorBit.OVERLOAD
    bus.faults.dead = {6}
    bus.servos[3].poke(REGISTERS["Torque_Enable"], 1)
    with TerminalSession("doctor", "--port", bus.port, columns=170, rows=90) as session:
        assert session.wait_end() == 1
        screen = session.screen()
        assert session.colour_at("✗") == "red"
    print("\n".join(screen))
    marked = [at for at, line in enumerate(screen) if line.strip().startswith(("✗ ", "! "))]
    assert len(marked) >= 3
    assert all("→ " in screen[at + 1] or "→ " in screen[at + 2] for at in marked)
    text = " ".join(screen)
    assert "no answer from servo 6, 1-5 answer" in text
    assert f"armlet registers set Torque_Enable 0 --port {bus.port} --id 3" in text


def test_the_fix_for_torque_can_be_typed_as_it_is(bus, examined):
    bus.servos[3].poke(REGISTERS["Torque_Enable"], 1)
    _, findings = examined()
    (fix,) = [each["fix"] for each in findings if each["subject"] == "torque"]
    command = fix.partition("then: armlet ")[2].split()
    assert main(command) == 0
    assert not bus.servos[3].torque_on


def poke(name, value):
    return lambda bus: bus.servos[2].poke(REGISTERS[name], value)


TROUBLES = {
    "servos": (lambda bus: bus.faults.dead.add(2), "error", "armlet scan"),
    "model": (poke("Model_Number", 2825), "error", "STS3215"),
    "firmware": (poke("Firmware_Minor_Version", 9), "warning", "LeRobot refuses"),
    "voltage": (poke("Present_Voltage", 39), "error", "supply"),
    "temperature": (poke("Present_Temperature", 65), "warning", "Torque_Enable 0"),
    "error bits": (lambda bus: bus.faults.errors.update({2: ErrorBit.ENCODER}), "error", "then:"),
    "torque": (poke("Torque_Enable", 1), "warning", "--id 2"),
    "return delay": (poke("Return_Delay_Time", 250), "note", "--eeprom"),
    "Phase": (poke("Phase", 28), "warning", "set Phase 12 --eeprom"),
    "Response_Status_Level": (poke("Response_Status_Level", 0), "warning", "--eeprom"),
    "Lock": (poke("Lock", 0), "note", "set Lock 1"),
    "position": (poke("Min_Position_Limit", 3000), "warning", "by hand"),
}


@pytest.mark.representatives(6)
@pytest.mark.parametrize("subject", TROUBLES)
def test_each_trouble_of_a_servo_is_found_with_a_fix(bus, examined, subject):
    make, level, fix = TROUBLES[subject]
    assert examined()[0] == 0
    make(bus)
    status, findings = examined()
    (found,) = [each for each in findings if each["subject"] == subject]
    assert (found["level"], status) == (level, 1 if level == "error" else 0)
    assert fix in found["fix"] and "servo 2" in found["found"] + found["fix"]
    assert examined("--strict")[0] == (0 if level == "note" else 1)
    assert not bus.writes


@pytest.fixture
def koch(tmp_path):
    motors = ("xl430-w250", "xl430-w250", *["xl330-m288"] * 4)
    with EmulatedBus(range(1, 7), link=tmp_path / "koch", motors=motors) as bus:
        for id, servo in bus.servos.items():
            bus.calibrate(id, 3000, 1000, 3000)
            servo.poke(bus.model.return_delay, 0)
            servo.power_cycle()
            servo.position = 2000 + 4096  # a turn further
        yield bus


@pytest.fixture
def on_koch(koch, quick, capfd, tmp_path):
    """Runs `armlet doctor --json` on an arm of a robot file: (status, its findings by subject)."""
    values = {"drive_mode": 0, "homing_offset": 3000, "range_min": 1000, "range_max": 3000}
    entries = {joint: {"id": id, **values} for id, joint in enumerate(JOINTS, 1)}
    (tmp_path / "koch.json").write_text(json.dumps(entries))
    arm = {"model": "koch", "port": koch.port, "calibration": "koch.json"}
    (tmp_path / "robot.yaml").write_text(json.dumps({"arms": {"follower": arm}}))

    def run():
        status = main(["doctor", "--robot", str(tmp_path / "robot.yaml"), "--json"])
        report = json.loads(capfd.readouterr().out)
        return status, {
            each["subject"]: each for each in report if each["group"] == "Servos of follower"
        }

    return run


def test_a_koch_that_is_well(koch, on_koch):
    status, found = on_koch()
    assert status == 0 and {each["level"] for each in found.values()} == {"ok"}
    assert found["model"]["found"] == "XL430-W250, XL330-M288"
    assert found["settings"]["found"] == "no return delay, writes acknowledged"
    assert found["voltage"]["found"] == "5 to 12 V"
    assert not koch.writes


KOCH_TROUBLES = {
    "model": ("model_number", 1190, "error", "replace it by an XL430-W250"),
    "firmware": ("Firmware_Version", 40, "warning", "DYNAMIXEL Wizard"),
    "voltage": ("Present_Input_Voltage", 50, "error", "12 V for an XL430"),
    "temperature": ("Present_Temperature", 66, "warning", "Torque_Enable 0"),
    "torque": ("Torque_Enable", 1, "warning", "--id 2"),
    "return delay": ("Return_Delay_Time", 250, "note", "Return_Delay_Time 0 --eeprom"),
    "Status_Return_Level": ("Status_Return_Level", 1, "warning", "Status_Return_Level 2 --port"),
    "calibration": ("Drive_Mode", 1, "error", "armlet calibrate"),
}


@pytest.mark.representatives(3)
@pytest.mark.parametrize("subject", KOCH_TROUBLES)
def test_each_trouble_of_a_dynamixel_is_found_with_a_fix(koch, on_koch, subject):
    name, value, level, fix = KOCH_TROUBLES[subject]
    register = koch.model.registers.get(name) or getattr(koch.model, name)
    koch.servos[2].poke(register, value)
    found = on_koch()[1][subject]
    assert found["level"] == level and fix in found["fix"]


def test_a_dynamixel_that_took_its_torque_off_says_why(koch, on_koch):
    koch.faults.errors[2] = ErrorBit.OVERLOAD
    found = on_koch()[1]["error bits"]
    assert found["found"] == "servo 2: overload" and "power off and on" in found["fix"]


def test_voltage_that_drops_along_the_chain(bus, examined):
    bus.servos[6].poke(REGISTERS["Present_Voltage"], 58)
    (found,) = [each for each in examined()[1] if each["subject"] == "voltage"]
    assert found["level"] == "warning" and found["found"].startswith("5.8 to 7.4 V")


def test_two_servos_with_one_id(tmp_path, capfd, quick):
    with EmulatedBus((1, 2, 2), link=tmp_path / "arm") as bus:
        assert main(["doctor", "--port", bus.port, "--ids", "1-2"]) == 1
    rows = [line.split("\t") for line in capfd.readouterr().out.splitlines()]
    (row,) = [row for row in rows if row[2] == "servos"]
    assert row[0] == "error" and "id 2 are garbled" in row[3] and "setup-motors" in row[4]


def test_a_calibration_that_is_not_in_the_servos(bus, examined, tmp_path):
    file = calibration(tmp_path, bus, gripper={"range_max": 2999})
    status, findings = examined("--calibration", file)
    (found,) = [each for each in findings if each["subject"] == "calibration"]
    assert status == 1 and "gripper Max_Position_Limit 3000, file 2999" in found["found"]
    assert f"armlet calibrate --port {bus.port} --check {file}" in found["fix"]


def test_joints_outside_their_calibrated_range_are_named(bus, examined, tmp_path):
    file = calibration(tmp_path, bus)
    bus.servos[3].position = 900
    (found,) = [
        each for each in examined("--calibration", file)[1] if each["subject"] == "position"
    ]
    assert found["level"] == "warning" and found["found"] == "elbow_flex at 900, range 1000..3000"


def test_a_calibration_that_cannot_be_read_or_lacks_a_joint(bus, examined, tmp_path):
    status, findings = examined("--calibration", tmp_path / "none.json")
    assert status == 1 and findings[0]["subject"] == "calibration file"
    file = calibration(tmp_path, bus)
    entries = json.loads(file.read_text())
    del entries["gripper"]
    file.write_text(json.dumps(entries))
    status, findings = examined("--calibration", file)
    assert status == 1 and "lacks gripper" in findings[0]["found"]


def test_a_port_in_use_is_named_with_its_program_and_left_alone(bus, capfd, quick):
    hold = "import os, sys; os.open(sys.argv[1], 2); print(1, flush=True); input()"
    holder = subprocess.Popen(
        [sys.executable, "-c", hold, bus.port], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        holder.stdout.readline()
        assert main(["doctor", "--port", bus.port]) == 0
    finally:
        holder.communicate(b"\n")
    rows = [line.split("\t") for line in capfd.readouterr().out.splitlines()]
    (row,) = [row for row in rows if "in use" in row[3]]
    assert row[0] == "warning" and f"(pid {holder.pid})" in row[3] and str(holder.pid) in row[4]
    assert not [row for row in rows if row[1] == "Servos"]


def test_without_a_terminal_it_is_lines_with_tabs(bus, capfd, quick):
    assert main(["doctor", "--port", bus.port, "--camera", "/dev/no-camera"]) == 1
    names, *rows = (line.split("\t") for line in capfd.readouterr().out.splitlines())
    assert names == ["level", "group", "subject", "found", "fix", "code"]
    assert {len(row) for row in rows} == {6}
    assert all(row[4] for row in rows if row[0] in ("warning", "error"))
    assert all(bool(row[5]) == (row[0] != "ok") for row in rows)
    assert ["error", "Cameras", "/dev/no-camera"] in [row[:3] for row in rows]


def test_a_check_that_breaks_is_a_line_and_the_rest_goes_on(bus, examined, monkeypatch):
    from armlet.preflight import servos

    def broken(chain):
        raise ZeroDivisionError("no servo")

    monkeypatch.setattr(servos, "QUESTIONS", (servos.answering, broken, servos.torque))
    status, findings = examined()
    assert status == 1
    assert [each["level"] for each in findings] == ["ok", "error", "ok", "ok"]
    assert "ZeroDivisionError" in findings[1]["found"]


@pytest.mark.parametrize(("vendor", "level"), [(None, "note"), (0x1A86, "error")])
def test_a_port_of_the_computer_itself_need_not_have_an_arm(
    quick, tmp_path, monkeypatch, capfd, vendor, level
):
    with EmulatedBus((), link=tmp_path / "arm") as bus:
        device = SerialDevice(bus.port, vendor=vendor, product=vendor)
        monkeypatch.setattr("armlet.motors.devices.serial_devices", lambda among: [device])
        main(["doctor", "--json"])
    (found,) = [each for each in json.loads(capfd.readouterr().out) if each["group"] == "Servos"]
    assert found["level"] == level and "armlet" in found["fix"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--port", "/dev/no-such-port"], "does not exist"),
        (["--ids", "x"], "--ids: expected ids"),
        (["--among", "{folder}/*", "--calibration", "x"], "say which with --port"),
    ],
)
def test_wrong_arguments_are_one_line_and_status_2(options, message, tmp_path, capfd):
    with EmulatedBus((1,), link=tmp_path / "a"), EmulatedBus((1,), link=tmp_path / "b"):
        assert main(["doctor", *(each.format(folder=tmp_path) for each in options)]) == 2
    said = capfd.readouterr().err
    assert message in said and said.count("\n") == 1
