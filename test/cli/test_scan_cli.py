import json

import pytest
from terminal_session import TerminalSession

from armlet.cli.main import main
from armlet.motors.emulation import EmulatedBus
from armlet.motors.feetech import REGISTERS, Bus, ErrorBit

QUICK = ("--patience", "0.05")


@pytest.fixture
def bus(tmp_path):
    with EmulatedBus(range(1, 7), link=tmp_path / "arm") as bus:
        yield bus


def test_the_screen_shows_every_servo_and_its_trouble(bus):
    bus.servos[2].poke(REGISTERS["Homing_Offset"], -17)
    bus.faults.errors[5] = ErrorBit.OVERLOAD
    with TerminalSession("scan", "--port", bus.port, *QUICK) as session:
        assert session.wait_end() == 0
        screen = "\n".join(session.screen())
        assert session.colour_at("overload") == "red"
    print(screen)
    assert screen.startswith(bus.port)
    rows = [line.split() for line in screen.splitlines() if "STS3215" in line]
    assert [row[:4] for row in rows] == [
        [str(id), "STS3215", "3.10", "1000000"] for id in bus.servos
    ]
    assert rows[1][8:11] == ["2064", "-17", "off"]
    assert rows[4][-1] == "overload" and rows[0][-1] == "none"
    assert "6 servos on 1 port, firmware 3.10" in screen
    assert max(map(len, screen.splitlines())) <= 100


def test_two_servos_with_one_id_are_said_to_be(tmp_path, capfd):
    with EmulatedBus((1, 3, 3), link=tmp_path / "arm") as bus:
        assert main(["scan", "--port", bus.port, "--ids", "1-6"]) == 1
        assert "3\t?\t?\t1000000" in capfd.readouterr().out
        with TerminalSession("scan", "--port", bus.port, "--ids", "1-6") as session:
            assert session.wait_end() == 1
            screen = "\n".join(session.screen())
    print(screen)
    assert "two servos?" in screen and "armlet setup-motors" in screen


def test_without_a_terminal_it_is_one_line_a_servo_with_tabs(bus, capfd):
    bus.servos[6].poke(REGISTERS["Baud_Rate"], 1)
    assert main(["scan", "--among", f"{bus.port}*", "--baud", "all", *QUICK]) == 0
    said = capfd.readouterr()
    names, *rows = (line.split("\t") for line in said.out.splitlines())
    assert names[:3] == ["port", "id", "model"] and not said.err
    assert [(row[1], row[4]) for row in rows] == [
        *((str(id), "1000000") for id in range(1, 6)),
        ("6", "500000"),
    ]
    assert {len(row) for row in rows} == {len(names)}


KOCH = ("xl430-w250", "xl430-w250", *["xl330-m288"] * 4)


def test_servos_of_another_family_are_found_without_being_named(tmp_path, capfd):
    with EmulatedBus(range(1, 7), link=tmp_path / "arm", motors=KOCH) as bus:
        slow, model = bus.servos[6], bus.model
        slow.poke(model.baud_rate, 1)
        bus.servos[5].poke(model.homing_offset, -3000)
        bus.faults.errors[3] = ErrorBit.OVERLOAD
        words = ["scan", "--port", bus.port, "--baud", "1000000,57600", "--json", *QUICK]
        assert main(words) == 0
        (port,) = json.loads(capfd.readouterr().out)["ports"]
        assert not bus.writes
    found = port["servos"]
    assert [(each["id"], each["model_name"], each["family"]) for each in found] == [
        (id, name.upper(), "dynamixel") for id, name in enumerate(KOCH, 1)
    ]
    assert [each["baudrate"] for each in found] == [1_000_000] * 5 + [57_600]
    assert [each["voltage"] for each in found] == [12.0] * 2 + [5.0] * 4
    assert [each["trouble"] for each in found] == ["", "", "overload", "", "", ""]
    assert found[4]["offset"] == -3000 and not any(each["torque"] for each in found)


def test_json_is_the_same_with_numbers(bus, capfd):
    assert main(["scan", "--port", bus.port, "--ids", "4", "--json"]) == 0
    (port,) = json.loads(capfd.readouterr().out)["ports"]
    (servo,) = port["servos"]
    assert (port["stable_path"], port["in_use"]) == (bus.port, False)
    assert servo["id"] == 4 and servo["model_name"] == "STS3215" and servo["voltage"] == 7.4
    assert servo["position"] == 2047 and servo["torque"] is False and servo["trouble"] == ""


def test_nothing_is_written_to_the_servos(bus, capfd):
    main(["scan", "--port", bus.port, *QUICK])
    assert "STS3215" in capfd.readouterr().out and not bus.writes


def test_a_port_in_use_is_said_to_be(bus, capfd):
    with Bus(bus.port):
        assert main(["scan", "--port", bus.port]) == 1
    said = capfd.readouterr()
    assert f"{bus.port}: in use" in said.err


def test_a_bus_where_nothing_answers(bus):
    bus.faults.dead = set(range(1, 7))
    with TerminalSession("scan", "--port", bus.port, *QUICK) as session:
        assert session.wait_end() == 1
        assert "--baud all" in "\n".join(session.screen())


def test_what_was_asked_is_said_where_nothing_answers(bus, monkeypatch, capfd):
    bus.faults.dead = set(range(1, 7))
    assert main(["scan", "--port", bus.port, *QUICK]) == 1
    said = capfd.readouterr().err
    assert said.startswith(f"armlet scan: asked {bus.port}. No servo answers.")
    monkeypatch.setattr("armlet.motors.devices.serial_devices", lambda among: [])
    assert main(["scan"]) == 1
    assert capfd.readouterr().err.startswith("armlet scan: No serial port found.")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--port", "/dev/no-such-port"], "does not exist; serial ports here"),
        (["--port", "/dev/null/x"], "does not exist"),
        (["--port", "/etc/hostname"], "is no serial device"),
        (["--among", "/dev/no-such-*"], "no serial port matches"),
        (["--baud", "9601"], "expected all or some of 1000000"),
        (["--baud", "fast"], "expected all or some of"),
        (["--ids", "1-"], "expected ids like 1-6"),
        (["--ids", "1,1"], "different ids"),
        (["--ids", "250-260"], "different ids 0..252"),
    ],
)
def test_wrong_arguments_are_one_line_and_status_2(options, message, capfd):
    assert main(["scan", *options]) == 2
    said = capfd.readouterr()
    assert message in said.err and said.err.count("\n") == 1 and not said.out
