"""Ctrl-C: noted by the signal, raised where the program asks for it, and never a traceback."""

import os
import signal
import subprocess
import sys

import pytest

from armlet.client.interrupts import Interrupts

GUARD_S = 180


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_raised_where_it_is_asked_for(number):
    before = signal.getsignal(number)
    with Interrupts() as interrupts:
        interrupts.check()
        os.kill(os.getpid(), number)
        with pytest.raises(KeyboardInterrupt):
            interrupts.check()
        interrupts.check()
    assert signal.getsignal(number) is before


def test_a_closed_terminal_is_passed_over_under_nohup():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interrupts() as interrupts:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not interrupts.came
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_second_signal_does_not_wait_to_be_asked_for():
    with Interrupts():
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_a_terminal_that_closes_sends_two_signals_and_means_one():
    """The shell sends one, and the kernel at the shell's end."""
    with Interrupts() as interrupts:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGHUP)
        assert interrupts.came


LONG = """
import signal, sys, time
from armlet.cli import main
from armlet.cli.data import dataset
def run(args):
    print("running", flush=True)
    while True:
        time.sleep(0.1)  # a signal right before a sleep is seen after it
dataset.add_parser = lambda subparsers: subparsers.add_parser("long").set_defaults(run=run)
sys.exit(main.main(["long"]))
"""


def test_a_command_ends_in_one_line():
    with subprocess.Popen(
        [sys.executable, "-c", LONG], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "running\n"
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=GUARD_S)
    assert (process.returncode, said) == (130, "\narmlet long: stopped\n")


HELD = """
import signal, sys, time
from armlet.cli.terminal.enter_key import uninterrupted
with uninterrupted():
    print("writing", flush=True)
    sys.stdin.readline()
    print("written", flush=True)
print("went on", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_what_must_not_stop_half_way_ends_before_the_signal_does(number):
    """A terminal that was closed while a servo's id was written left its lock open."""
    with subprocess.Popen(
        [sys.executable, "-c", HELD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout.readline() == "writing\n"
        process.send_signal(number)
        said, _ = process.communicate("\n", timeout=GUARD_S)
    assert said == "written\n"
    assert process.returncode == -number
