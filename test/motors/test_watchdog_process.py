"""The watchdog process, with drivers that are really killed."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from awaited import LONG_S, wait_until
from families import FIRST_FAMILY

from armlet.motors.emulation import EmulatedBus
from armlet.motors.registry import family
from armlet.motors.torque_watchdog import WatchdogProcess, cut_torque

CHILD = Path(__file__).with_name("driver_child.py")


@pytest.fixture(params=FIRST_FAMILY)
def emulated(tmp_path, request):
    with EmulatedBus((1, 2), link=tmp_path / "arm", motors=request.param) as emulated:
        yield emulated


class Driver:
    """The child process; ended with the test, and its watchdog with it."""

    def __init__(self, emulated, ending="forget"):
        self.process = subprocess.Popen(
            [sys.executable, CHILD, emulated.port, ending, emulated.model.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        line = self.process.stdout.readline()
        assert line, self.process.communicate()[1]
        self.watchdog = int(line)

    def end(self):
        """Let it come to its end; what it said until its watchdog had ended too."""
        said, errors = self.process.communicate("\n", timeout=LONG_S)
        assert self.process.returncode == 0, errors
        return said, errors

    def kill(self):
        self.process.kill()
        self.process.wait()

    def watchdog_said(self):
        """Its messages, all of them: the pipe ends when it ends."""
        return self.process.stderr.read()


def motors(emulated):
    return family(emulated.model.name)


def torque(emulated):
    return [servo.peek(emulated.model.torque_enable) for servo in emulated.servos.values()]


def test_a_killed_drivers_arm_is_released(emulated):
    driver = Driver(emulated)
    assert torque(emulated) == [1, 1]
    driver.kill()
    said = driver.watchdog_said()
    assert torque(emulated) == [0, 0]
    assert "ended with torque on" in said
    assert "torque is off on all servos" in said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_what_ends_the_driver_does_not_end_the_watchdog(emulated, number):
    driver = Driver(emulated)
    os.kill(driver.watchdog, number)
    os.kill(driver.watchdog, number)
    driver.kill()
    driver.watchdog_said()
    assert torque(emulated) == [0, 0]


def test_it_lives_in_a_session_of_its_own(emulated):
    driver = Driver(emulated)
    assert os.getsid(driver.watchdog) == driver.watchdog
    driver.kill()
    driver.watchdog_said()


def test_it_does_nothing_after_a_release(emulated):
    said, errors = Driver(emulated, "release").end()
    assert said == "closed\n"
    assert errors == ""
    assert torque(emulated) == [1, 1]


def test_a_driver_that_ends_without_a_release_is_as_good_as_killed(emulated):
    _, errors = Driver(emulated, "forget").end()
    assert torque(emulated) == [0, 0]
    assert "ended with torque on" in errors


def test_a_driver_that_hangs_with_torque_on_is_killed_and_its_arm_released(emulated):
    """It held its port, and the servos their torque, for good."""
    with watched(emulated) as silent, watched(emulated) as released:
        # This process is their driver: one never said that it lives, one that torque is off.
        # In this order: by the other it kills this process where that stands still in between.
        released.released()
        released.lives()
        driver = Driver(emulated, "live")
        assert driver.process.wait(LONG_S) == -signal.SIGKILL
        said = driver.watchdog_said()
        assert "hangs, nothing came for 2 s; killing it" in said
        assert "torque is off on all servos" in said
        assert torque(emulated) == [0, 0]
        assert silent.alive
        assert released.alive
        silent.released()


def watched(emulated):
    origin = motors(emulated).origin
    return WatchdogProcess(emulated.port, 1_000_000, (1, 2), origin, hang_s=1)


def test_one_that_is_suspended_is_made_to_go_on(emulated):
    origin = motors(emulated).origin
    # It hears once that this process lives, which may then be silent for long.
    with WatchdogProcess(emulated.port, 1_000_000, (1, 2), origin, hang_s=600) as watchdog:
        os.kill(watchdog.pid, signal.SIGSTOP)
        wait_until(lambda: is_suspended(watchdog.pid))
        watchdog.lives()
        wait_until(lambda: not is_suspended(watchdog.pid))
        watchdog.released()


def is_suspended(pid):
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def test_it_waits_for_a_port_that_is_gone_or_taken_and_a_line_that_loses_packets(emulated):
    driver = Driver(emulated)
    emulated.faults.request_drop_next = 2
    emulated.faults.drop_probability = 0.3
    driver.process.kill()
    emulated.hang_up()
    driver.process.wait()
    emulated.plug()
    driver.watchdog_said()
    assert torque(emulated) == [0, 0]


def test_it_knows_when_the_arm_is_armed_and_where_it_is(emulated, tmp_path):
    for servo in emulated.servos.values():
        servo.poke(emulated.model.torque_enable, 1)
    with WatchdogProcess(
        str(tmp_path / "elsewhere"), 1_000_000, (1, 2), motors(emulated).origin
    ) as watchdog:
        watchdog.released()
        watchdog.armed()
        watchdog.moved(emulated.port)
        assert watchdog.alive
    assert torque(emulated) == [0, 0]


def test_a_killed_watchdog_is_noticed_and_does_no_harm(emulated):
    with WatchdogProcess(emulated.port, 1_000_000, (1, 2), motors(emulated).origin) as watchdog:
        os.kill(watchdog.pid, signal.SIGKILL)
        wait_until(lambda: not watchdog.alive)
        watchdog.released()
        watchdog.armed()
    watchdog.close()


@pytest.mark.parametrize("dead", [1, 2])
def test_servos_that_do_not_answer_are_named(emulated, dead):
    for servo in emulated.servos.values():
        servo.poke(emulated.model.torque_enable, 1)
    emulated.faults.dead.add(dead)
    assert cut_torque(emulated.port, 1_000_000, (1, 2), 0.3, motors(emulated)) == [dead]
    assert torque(emulated) == [int(id == dead) for id in (1, 2)]


def test_a_locked_port_is_tried_again(emulated, capfd):
    with motors(emulated).make_bus(emulated.port):
        assert cut_torque(emulated.port, 1_000_000, (1, 2), 0.1, motors(emulated)) == [1, 2]
    assert "trying again" in capfd.readouterr().err
    assert cut_torque(emulated.port, 1_000_000, (1, 2), 1.0, motors(emulated)) == []
