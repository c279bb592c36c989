import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from armlet.cli.arm import emulate
from armlet.motors.emulation.arm import SweepingHand, mount, mount_at_random
from armlet.motors.emulation.emulator import EmulatedBus
from armlet.motors.emulation.line import Pty
from armlet.motors.feetech import Bus, NoReply
from armlet.motors.feetech.registers import (
    HOMING_OFFSET,
    ID,
    LOCK,
    MAX_POSITION_LIMIT,
    MIN_POSITION_LIMIT,
    PRESENT_POSITION,
    PRESENT_VOLTAGE,
)
from armlet.motors.registry import family
from armlet.priority import Role, realtime_limit

# Far longer than anything takes on a busy computer.
LONG_S = 120.0

COMMAND = """
import argparse, sys
from armlet.cli.arm import emulate
parser = argparse.ArgumentParser()
emulate.add_parser(parser.add_subparsers())
args = parser.parse_args()
sys.exit(args.run(args))
"""


KEYS = ("id", "drive_mode", "homing_offset", "range_min", "range_max")
CALIBRATION = {
    "shoulder_pan": dict(zip(KEYS, (2, 0, -1083, 793, 3297), strict=True)),
    "wrist_roll": dict(zip(KEYS, (5, 0, 1507, 0, 4095), strict=True)),
}


@contextmanager
def running(*options: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, "emulate", *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


@pytest.mark.skipif(not realtime_limit(), reason="this user may not run real-time threads")
def test_its_servos_go_before_the_computers_load(tmp_path: Path) -> None:
    with running("--link", str(tmp_path / "arm")) as process:
        said(process)
        threads = [int(task.name) for task in Path(f"/proc/{process.pid}/task").iterdir()]
        assert len(threads) > 1
        priorities = {os.sched_getparam(thread).sched_priority for thread in threads}
        assert priorities == {Role.EMULATOR.value.realtime}


@pytest.mark.representatives(1)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_it_serves_until_asked_to_stop(tmp_path: Path, number: signal.Signals) -> None:
    link = tmp_path / "arm"
    with running("--link", str(link), "--ids", "3,9") as process:
        assert said(process) == f"serving servos 3,9 on {link} at 1000000 baud\n"
        with Bus(str(link), timeout_s=LONG_S) as bus:
            assert [bus.ping(id) for id in (3, 9)] == [777, 777]
        process.send_signal(number)
        assert process.wait(timeout=LONG_S) == 0
        assert said(process) == ""
        assert not link.is_symlink()


def test_an_arm_that_is_set_up(tmp_path: Path) -> None:
    link, file = tmp_path / "arm", tmp_path / "calibration.json"
    file.write_text(json.dumps(CALIBRATION))
    options = ("--link", str(link), "--calibration", str(file), "--voltage", "12.1", "--paced")
    with running(*options) as process:
        assert said(process) == f"serving servos 2,5 on {link} at 1000000 baud, wire-paced\n"
        with Bus(str(link), timeout_s=LONG_S) as bus:
            for joint in CALIBRATION.values():
                registers = (HOMING_OFFSET, MIN_POSITION_LIMIT, MAX_POSITION_LIMIT)
                found = tuple(bus.read(joint["id"], register) for register in registers)
                assert found == (joint["homing_offset"], joint["range_min"], joint["range_max"])
            assert bus.read(2, PRESENT_POSITION) == (793 + 3297) // 2
            assert bus.read(2, PRESENT_VOLTAGE) == 121


def test_new_servos_come_one_by_one(tmp_path: Path) -> None:
    link = tmp_path / "arm"
    with running("--link", str(link), "--ids", "7,8", "--factory") as process:
        assert process.stdin is not None
        assert said(process) == (
            f"serving 2 factory-fresh servos on {link} at 1000000 baud; "
            "servo 1 of 2 alone is on the line, Enter for the next\n"
        )
        with Bus(str(link), timeout_s=LONG_S) as bus:
            bus.write(1, LOCK, 0)
            bus.write(1, ID, 7)
            process.stdin.write("\n")
            process.stdin.flush()
            assert said(process) == "servo 2 of 2 alone is on the line, Enter for the next\n"
            assert bus.ping(1) == 777
        with Bus(str(link), timeout_s=0.2) as bus, pytest.raises(NoReply):
            bus.ping(7)
        process.stdin.close()
        process.send_signal(signal.SIGUSR1)
        assert said(process) == "all 2 servos are on the line\n"
        with Bus(str(link), timeout_s=LONG_S) as bus:
            assert (bus.ping(1), bus.ping(7)) == (777, 777)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=LONG_S) == 0
        process.stdin = None


def test_an_arm_to_calibrate_is_swept_on_enter(tmp_path: Path) -> None:
    link = tmp_path / "arm"
    options = ("--link", str(link), "--ids", "1,5", "--horn-offsets", "3", "--hand", "sweep")
    with running(*options) as process:
        assert "Enter to move the joints" in said(process)
        with Bus(str(link), timeout_s=LONG_S) as bus:
            middle = bus.read(1, PRESENT_POSITION)
            assert bus.read(1, PRESENT_POSITION) == middle
            process.stdin.write("\n")
            process.stdin.flush()
            assert "Enter to hold" in said(process)
            deadline = time.monotonic() + LONG_S
            while bus.read(1, PRESENT_POSITION) == middle:
                assert time.monotonic() < deadline, "the hand moves it"


def test_a_lossy_line(tmp_path: Path) -> None:
    link = tmp_path / "arm"
    with running("--link", str(link), "--loss", "1") as process:
        said(process)
        with Bus(str(link), timeout_s=0.02) as bus, pytest.raises(NoReply):
            bus.ping(1)


def test_the_hand_goes_from_stop_to_stop() -> None:
    now_s = [0.0]
    bus = EmulatedBus((1, 5), clock=lambda: now_s[0])
    for servo in bus.chain:
        mount(servo, 4000, 2000 if servo.id == 1 else None)
        servo.hand = hand = SweepingHand(servo)
        now_s[0] += 3.0
        assert servo.position == 4000
        servo.poke(HOMING_OFFSET, 1953)
        hand.sweeping = True
        servo.mark()
        for _ in range(200):
            now_s[0] += 0.05
            servo.advance(now_s[0])
        reach = 1000 if servo.id == 1 else 1950
        assert servo.travel == pytest.approx((2047 - reach, 2047 + reach), abs=1)
        hand.sweeping = False
        now_s[0] += 0.05
        assert servo.position == 2047


def test_horns_are_put_on_anyhow_but_repeatably() -> None:
    def middles(seed: int) -> list[float]:
        bus = EmulatedBus()
        mount_at_random(bus.chain, seed)
        for servo in bus.chain:
            assert servo.stops is None or sum(servo.stops) / 2 == servo.position
        return [servo.position for servo in bus.chain]

    assert middles(1) == middles(1) != middles(2)
    assert len(set(middles(1))) == 6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--ids", ""], "expected numbers"),
        (["--ids", "1,1"], "expected different ids"),
        (["--ids", "1,x"], "expected numbers"),
        (["--ids", "253"], "expected different ids"),
        (["--ids=-1"], "expected different ids"),
        (["--baud", "9600"], "servos speak at"),
        (["--baud", "fast"], "expected a number"),
        (["--voltage", "0"], "expected volts"),
        (["--loss", "1.5"], "expected a probability"),
        (["--ids", "1,2,3", "--motors", "xl330-m288,xl430-w250"], "expected one, or 3"),
        (["--ids", "1,2", "--motors", "sts3215,xl330-m288"], "cannot share a line"),
        (["--calibration", "{folder}/none"], "no calibration file"),
        (["--calibration", "{folder}/file"], "is not JSON"),
        (["--link", "{folder}/none/arm"], "none; make it first"),
        (["--link", "{folder}"], "no symbolic link"),
        (["--link", "{folder}/file"], "no symbolic link"),
        (["--link", "{folder}/file/arm"], "file is a file, nothing can lie below it"),
    ],
)
def test_what_cannot_be_served_is_one_line_and_status_2(
    options: list[str],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("raise_process", "raise_thread"):
        monkeypatch.setattr(emulate, name, lambda *_, **__: pytest.fail("raised, then refused"))
    (tmp_path / "file").write_text("precious")
    parser = argparse.ArgumentParser()
    emulate.add_parser(parser.add_subparsers())
    given = [option.format(folder=tmp_path) for option in options]
    args = parser.parse_args(["emulate", "--link", str(tmp_path / "arm"), *given])
    assert args.run(args) == 2
    said = capsys.readouterr()
    assert message in said.err and said.err.count("\n") == 1 and not said.out
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_computer_without_pseudo_terminals_is_not_blamed_on_the_link(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def openpty() -> tuple[int, int]:
        raise OSError("out of pty devices")

    for name in ("raise_process", "raise_thread"):
        monkeypatch.setattr(emulate, name, lambda *_, **__: None)
    monkeypatch.setattr(os, "openpty", openpty)
    parser = argparse.ArgumentParser()
    emulate.add_parser(parser.add_subparsers())
    args = parser.parse_args(["emulate", "--link", str(tmp_path / "arm")])
    assert args.run(args) == 2
    assert "pseudo terminal: out of pty devices" in (said := capsys.readouterr().err)
    assert "--link" not in said


def test_a_persons_link_is_not_replaced_nor_removed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As udev makes them for an arm that is there, or for one whose cable is out."""
    link = tmp_path / "arm"
    link.symlink_to("ttyACM0")
    parser = argparse.ArgumentParser()
    emulate.add_parser(parser.add_subparsers())
    args = parser.parse_args(["emulate", "--link", str(link)])
    assert args.run(args) == 2
    assert f"a link to {tmp_path}/ttyACM0" in capsys.readouterr().err
    with pytest.raises(FileExistsError, match="choose another path"):
        Pty(link)
    assert str(link.readlink()) == "ttyACM0" and [path.name for path in tmp_path.iterdir()] == [
        "arm"
    ]


def test_a_file_with_the_name_of_a_new_link_stays(tmp_path: Path) -> None:
    precious = tmp_path / f".arm.{os.getpid()}.0"
    precious.write_text("precious")
    pty = Pty(tmp_path / "arm")
    pty.close()
    assert precious.read_text() == "precious" and list(tmp_path.iterdir()) == [precious]


def test_a_killed_emulators_link_is_replaced(tmp_path: Path) -> None:
    link = tmp_path / "arm"
    with running("--link", str(link), "--ids", "1") as process:
        said(process)
        process.kill()
        process.wait()
    assert link.is_symlink(), "nobody could remove it"
    with running("--link", str(link), "--ids", "3") as process:
        said(process)
        with Bus(str(link), timeout_s=LONG_S) as bus:
            assert bus.ping(3) == 777
        process.terminate()
        assert process.wait() == 0
    assert not link.is_symlink()


@pytest.mark.parametrize("model", ["xl330-m288", "xl430-w250"])
def test_dynamixels_with_a_calibration(tmp_path: Path, model: str) -> None:
    file, link = tmp_path / "arm.json", tmp_path / "arm"
    file.write_text(json.dumps(CALIBRATION))
    options = ("--link", str(link), "--calibration", str(file), "--motors", model)
    with running(*options) as process:
        assert said(process).startswith("serving servos 2,5 on")
        motors = family(model)
        kind = motors.models[model]
        with motors.make_bus(str(link), timeout_s=LONG_S) as bus:
            assert bus.scan([2, 5]) == {2: kind.number, 5: kind.number}
            assert bus.read(2, kind.homing_offset) == -1083
            assert bus.read(5, kind.max_position) == 4095


def test_another_model_is_refused_with_those_there_are(tmp_path: Path) -> None:
    with running("--link", str(tmp_path / "arm"), "--motors", "xl320") as process:
        assert process.wait(LONG_S) == 2
