from forked_python import armlet
from terminal_session import ENTER, TerminalSession

from armlet.cli.arm.scan import Survey, summary
from armlet.cli.main import main
from armlet.motors.emulation import EmulatedBus
from armlet.motors.feetech import Bus

QUICK = ("--patience", "0.05")


def test_unplugging_and_plugging_in_again_names_the_port(tmp_path):
    with (
        EmulatedBus((1,), link=tmp_path / "arm-a") as bus,
        EmulatedBus((2,), link=tmp_path / "arm-b"),
        TerminalSession("find-port", "--among", f"{tmp_path}/arm-*", columns=120) as session,
    ):
        session.wait_for("then press Enter")
        bus.hang_up()
        session.wait_for("arm-a went away")
        session.send(ENTER)
        session.wait_for("Plug it in again")
        bus.plug()
        assert session.wait_end() == 0
        screen = "\n".join(session.screen())
    print(screen)
    assert f"Stable path: {tmp_path}/arm-a" in screen
    assert "arm-b" not in screen.partition("1. Unplug")[2]


def test_a_cable_that_was_never_in_is_found_when_it_comes(tmp_path):
    bus = EmulatedBus((1,), link=tmp_path / "arm")
    with TerminalSession("find-port", "--among", f"{tmp_path}/*") as session:
        session.wait_for("Serial ports now: none")
        session.send(ENTER)
        session.wait_for("No port went away")
        with bus:
            assert session.wait_end() == 0
            assert "Stable path" in "\n".join(session.screen())


def test_a_port_that_does_not_return_is_said(tmp_path):
    with EmulatedBus((1,), link=tmp_path / "arm") as bus:
        command = ("find-port", "--among", bus.port, "--wait", "0.3")
        with TerminalSession(*command) as session:
            session.wait_for("press Enter")
            bus.hang_up()
            session.wait_for("went away")
            session.send(ENTER)
            assert session.wait_end() == 1
            screen = "\n".join(session.screen())
    assert "No port appeared within 0.3 s" in screen and "another cable" in screen


def test_ctrl_c_ends_it(tmp_path):
    with TerminalSession("find-port", "--among", f"{tmp_path}/*") as session:
        session.wait_for("press Enter")
        assert session.interrupt() == 130
        assert "Traceback" not in "\n".join(session.screen())


def test_without_anybody_it_points_to_probing(tmp_path):
    ended = armlet("find-port", "--among", f"{tmp_path}/*")
    assert ended.returncode == 2
    assert "--probe" in ended.stderr and ended.stderr.count("\n") == 1


def test_probing_shows_which_port_has_which_servos(tmp_path):
    with (
        EmulatedBus((1, 2), link=tmp_path / "arm-a"),
        EmulatedBus((), link=tmp_path / "arm-b"),
        EmulatedBus((7,), link=tmp_path / "arm-c") as taken,
        TerminalSession(
            "find-port", "--probe", "--among", f"{tmp_path}/arm-*", *QUICK, columns=140
        ) as session,
        Bus(taken.port),
    ):
        assert session.wait_end() == 0
        screen = session.screen()
    print("\n".join(screen))
    (first,) = [line for line in screen if f"{tmp_path}/arm-a   " in line]
    assert "1, 2" in first and "STS3215" in first and "7.4 V" in first
    assert any("arm-b   none" in line for line in screen)
    assert f"Stable path: {tmp_path}/arm-a" in screen


def test_probing_without_a_terminal_is_parseable_and_1_if_nothing_answers(tmp_path, capfd):
    with EmulatedBus((), link=tmp_path / "arm") as bus:
        assert main(["find-port", "--probe", "--among", bus.port, *QUICK]) == 1
        said = capfd.readouterr()
        names, row = (line.split("\t") for line in said.out.splitlines())
    assert said.err == f"armlet find-port: {summary([Survey(None, None, ())])}\n"
    assert names == ["port", "stable path", "servos", "model", "voltage"]
    assert row[1:] == [bus.port, "none", "", ""]


def test_a_port_in_use_is_no_error(tmp_path, capfd):
    with EmulatedBus((1,), link=tmp_path / "arm") as bus, Bus(bus.port):
        assert main(["find-port", "--probe", "--among", bus.port]) == 1
    assert "in use" in capfd.readouterr().out


def test_ports_that_are_not_there(capfd):
    assert main(["find-port", "--probe", "--among", "/dev/no-such-*"]) == 2
    assert "no serial port matches" in capfd.readouterr().err
