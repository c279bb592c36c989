"""The torque watchdog is watched: whichever two processes are killed, torque goes off."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from awaited import LONG_S, wait_until
from families import FIRST_FAMILY

from armlet.motors import torque_watchdog
from armlet.motors.emulation import EmulatedBus
from armlet.motors.registry import family
from armlet.motors.torque_watchdog import FEETECH, WatchdogProcess, _Watch, cut_torque
from armlet.motors.watchdog_keeper import TorqueWatchdog

DRIVER = """
import sys
from armlet.motors.watchdog_keeper import TorqueWatchdog
watchdog = TorqueWatchdog(sys.argv[1], 1_000_000, (1, 2), origin=sys.argv[2])
watchdog.armed()
print(watchdog.pid, flush=True)
for line in sys.stdin:
    print(watchdog.wait_until_alive(120.0), watchdog.restarts, flush=True)
"""


@pytest.fixture(params=FIRST_FAMILY)
def emulated(tmp_path, request):
    with EmulatedBus((1, 2), link=tmp_path / "arm", motors=request.param) as emulated:
        for servo in emulated.servos.values():
            servo.poke(emulated.model.torque_enable, 1)
        yield emulated


@pytest.fixture
def driver(emulated):
    process = subprocess.Popen(
        [sys.executable, "-c", DRIVER, emulated.port, motors(emulated).origin],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    process.watchdog = int(process.stdout.readline())
    yield process
    process.kill()
    process.communicate()


def children(pid):
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def motors(emulated):
    return family(emulated.model.name)


def torque(emulated):
    return [servo.peek(emulated.model.torque_enable) for servo in emulated.servos.values()]


def kill(*pids):
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("which", [0, 1], ids=["the first", "the second"])
@pytest.mark.parametrize("driver_first", [True, False])
def test_the_driver_and_half_of_its_watchdog_killed_at_once(emulated, driver, which, driver_first):
    halves = [driver.watchdog, *children(driver.watchdog)]
    assert len(halves) == 2
    kill(*sorted((driver.pid, halves[which]), key=lambda pid: (pid == driver.pid) != driver_first))
    wait_until(lambda: torque(emulated) == [0, 0])


@pytest.mark.parametrize("which", [0, 1], ids=["the first", "the second"])
def test_the_driver_killed_while_half_of_its_watchdog_is_suspended(emulated, driver, which):
    halves = [driver.watchdog, *children(driver.watchdog)]
    os.kill(halves[which], signal.SIGSTOP)
    kill(driver.pid)
    try:
        wait_until(lambda: torque(emulated) == [0, 0])
    finally:
        os.kill(halves[which], signal.SIGCONT)


def has_restarted(driver):
    """Whether the driver has noticed that its watchdog was killed, and has a new one."""
    driver.stdin.write("\n")
    driver.stdin.flush()
    alive, restarts = driver.stdout.readline().split()
    return alive == "True" and int(restarts) >= 1


def test_both_halves_killed_it_is_started_again_and_acts(emulated, driver):
    kill(driver.watchdog, *children(driver.watchdog))
    wait_until(lambda: has_restarted(driver))
    kill(driver.pid)
    wait_until(lambda: torque(emulated) == [0, 0])


def test_a_restart_keeps_its_settings(emulated):
    said = []
    with WatchdogProcess(emulated.port, 1_000_000, (1, 2), motors(emulated).origin) as plain:
        plain.released()
    watchdog = TorqueWatchdog(
        emulated.port, 1_000_000, (1, 2), said.append, motors(emulated).origin
    )
    watchdog.released()
    kill(watchdog.pid)
    wait_until(lambda: watchdog.restarts == 1 and watchdog.alive)
    watchdog.close()
    assert torque(emulated) == [1, 1], "torque was reported off, by a driver that knew"
    assert "died" in said[0]


def test_a_driver_that_ends_does_not_wait_for_a_cable_and_the_watchdog_does(emulated):
    """At c8b7d8f it gave up after 10 s, and torque stayed on for good."""
    watchdog = WatchdogProcess(emulated.port, 1_000_000, (1, 2), motors(emulated).origin)
    emulated.hang_up()
    watchdog.close()
    assert watchdog._process.poll() is None, "it was waited for until it gave up"
    emulated.plug()
    wait_until(lambda: torque(emulated) == [0, 0])


def halves_of(driver):
    return [driver.watchdog, *children(driver.watchdog)]


def have_ended(pids):
    return not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_emulated_servos_that_ended_with_their_program_are_not_waited_for(emulated, driver):
    """The link was gone, and both halves waited two minutes for a port that could not come back."""
    halves = halves_of(driver)
    emulated.close()
    kill(driver.pid)
    driver.wait()
    wait_until(lambda: have_ended(halves))


@pytest.mark.parametrize("words", ["armed", "released armed"])
def test_servos_that_have_ended_when_it_reads_that_they_were_armed_have_gone(emulated, words):
    reading, writing = os.pipe()
    watch = _Watch(emulated.port, reading, os.getpid(), 10)
    os.write(writing, "".join(f"{word}\n" for word in words.split()).encode())
    os.close(writing)
    assert not watch.has_gone()
    emulated.close()
    watch.until_the_driver_ends()
    os.close(reading)
    assert watch.armed and watch.has_gone()


EMULATOR = """
import sys
from armlet.motors.emulation import EmulatedBus
with EmulatedBus((1, 2), link=sys.argv[1]) as emulated:
    print("plugged", flush=True)
    sys.stdin.read()
"""


def test_nor_are_those_of_an_emulator_that_was_killed_and_left_its_link(tmp_path):
    link = tmp_path / "arm"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", EMULATOR, link], **pipes) as emulator:
        assert emulator.stdout.readline() == "plugged\n"
        with subprocess.Popen([sys.executable, "-c", DRIVER, link, FEETECH], **pipes) as driver:
            driver.watchdog = int(driver.stdout.readline())
            halves = halves_of(driver)
            kill(emulator.pid)
            emulator.wait()
            assert link.is_symlink()
            kill(driver.pid)
    wait_until(lambda: have_ended(halves))


def test_a_pseudo_terminal_that_no_emulator_calls_its_own_is_waited_for(emulated, request):
    """Behind one may be a real arm, on another computer."""
    emulated._sign.close()
    driver = request.getfixturevalue("driver")
    emulated.hang_up()
    kill(driver.pid)
    driver.wait()
    assert any(line.endswith("trying again\n") for line in driver.stderr)
    emulated.plug()
    wait_until(lambda: torque(emulated) == [0, 0])


def test_a_port_that_another_driver_keeps_is_left_to_it(emulated):
    with motors(emulated).make_bus(emulated.port):
        begun_s = time.monotonic()
        assert cut_torque(emulated.port, 1_000_000, (1, 2), 4 * LONG_S, motors(emulated)) == [1, 2]
        assert time.monotonic() - begun_s < 2 * LONG_S
    assert torque(emulated) == [1, 1]


def test_a_port_seen_taken_once_is_looked_at_again_however_long_that_took(emulated, monkeypatch):
    """On a computer that stood still for 3 s after the first look, torque was left on."""
    dying = motors(emulated).make_bus(emulated.port)
    dying.open()
    stood_still_s = 0.0

    def stand_still(text):
        nonlocal stood_still_s
        stood_still_s = 10.0
        dying.close()

    now = SimpleNamespace(sleep=time.sleep, monotonic=lambda: time.monotonic() + stood_still_s)
    monkeypatch.setattr(torque_watchdog, "time", now)
    monkeypatch.setattr(torque_watchdog, "_report", stand_still)
    assert cut_torque(emulated.port, 1_000_000, (1, 2), LONG_S, motors(emulated)) == []
    assert torque(emulated) == [0, 0]


def test_an_emulated_port_waits_for_its_last_user(emulated):
    """A ^C reaches bench and driver at once; the port went before torque was proven off."""
    bus = motors(emulated).make_bus(emulated.port)
    bus.open()
    assert not emulated.wait_until_released(0.2)
    bus.sync_write(emulated.model.torque_enable, {1: 0, 2: 0})
    wait_until(lambda: torque(emulated) == [0, 0])
    bus.close()
    assert emulated.wait_until_released(LONG_S)
