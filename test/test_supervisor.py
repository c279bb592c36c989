"""The supervisor beside nodes that die and signals that would suspend it."""

import contextlib
import io
import os
import signal
import subprocess
import sys

import pytest
from awaited import wait_until
from families import FAMILIES

from armlet.bringup import BAG_RECORDER, NodeSpec, share_directory
from armlet.cli.main import main
from armlet.motors.emulation import EmulatedBus
from armlet.respawn import TRIES
from armlet.supervisor import Supervisor

CALIBRATION = share_directory() / "config/calibration/emulated_follower.json"
IDS = (1, 2, 3, 4, 5, 6)
HANDLED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SUSPENDING = (signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)


@pytest.fixture(autouse=True)
def own_signals():
    before = {number: signal.getsignal(number) for number in (*HANDLED, *SUSPENDING)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def running(code):
    """Starts this code in place of every node."""
    return lambda command, **given: subprocess.Popen([sys.executable, "-c", code], **given)


@pytest.mark.parametrize("motors", FAMILIES)
def test_the_torque_of_a_killed_driver_is_cut_whatever_its_servos(tmp_path, motors):
    """Whoever killed it may have killed its torque watchdog, too."""
    with EmulatedBus(IDS, link=tmp_path / "arm", motors=motors) as emulated:
        torque = emulated.model.torque_enable
        for servo in emulated.servos.values():
            servo.poke(torque, 1)
        given = {"port": emulated.port, "calibration_file": str(CALIBRATION), "motors": motors}
        node, output = NodeSpec("servo_bus", "servo_bus", given), io.StringIO()
        killed = running("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
        assert Supervisor([node], output, killed).run() == 1
        assert [servo.peek(torque) for servo in emulated.servos.values()] == [0] * 6
        assert "torque of servo_bus, which was killed, is off" in output.getvalue()


def test_what_a_node_prints_in_another_encoding_does_not_end_the_reading():
    """It blocked the node, once 64 kB had been printed after it."""
    node, output = NodeSpec("camera", "camera", {}), io.StringIO()
    printing = "import os; os.write(1, b'caf\\xe9\\n'); os.write(1, b'x' * 200_000 + b'\\nend\\n')"
    Supervisor([node], output, running(printing)).run()
    assert "[camera] caf\\xe9" in output.getvalue() and "[camera] end" in output.getvalue()


class Writes(list):
    """An output that keeps what each write was given."""

    write = list.append

    def flush(self):
        pass


def test_a_line_is_one_write():
    """Another thread's line stood between a line and its end."""
    output = Writes()
    assert Supervisor([NodeSpec("camera", "camera", {})], output, running("print('up')")).run() == 1
    assert "[camera] up\n" in output
    assert all(written.endswith("\n") and written.count("\n") == 1 for written in output)


def test_it_is_not_suspended_while_nodes_run():
    """Ctrl-Z stopped it, and with it the stop key; the nodes, and the arm, went on."""
    node = NodeSpec("camera", "camera", {})
    raised = "".join(f"os.kill(os.getppid(), {number:d});" for number in SUSPENDING)
    assert Supervisor([node], io.StringIO(), running(f"import os; {raised}")).run() == 1


# A node that takes its time: it ends once the others' words that it waits for are there.
ENDING = """
import os, pathlib, signal, sys
own, *others = sys.argv[1:]
def say(what):
    pathlib.Path(f"{own} {what}").touch()
    with open("order", "a") as order:
        order.write(f"{own} {what}\\n")
def end(*_):
    say("asked")
    while not all(pathlib.Path(f"{other} asked").exists() for other in others):
        pass
    say("gone")
    os._exit(0)
signal.signal(signal.SIGTERM, end)
print("runs", flush=True)
signal.pause()
"""
TOGETHER = {"policy": ["aligner"], "aligner": ["policy"]}


def test_who_commands_ends_together_then_the_driver_then_its_bus_then_the_bag(tmp_path):
    """One after the other, a graph took the sum of what its nodes take, the policy's two seconds.

    Policy and aligner end only if both are asked: one by one, they would be killed.
    """

    def popen(command, **given):
        said = " ".join(command)
        name = next((n for n in names if f"nodes.program {n} " in said), BAG_RECORDER)
        words = [sys.executable, "-c", ENDING, name, *TOGETHER.get(name, [])]
        return subprocess.Popen(words, cwd=tmp_path, **given)

    names = ("sim_bench", "servo_bus", "aligner", "policy")
    output = io.StringIO()
    bag = NodeSpec(BAG_RECORDER, BAG_RECORDER, {}, program="ros2", recorded={})
    supervisor = Supervisor([bag, *(NodeSpec(n, n, {}) for n in names)], output, popen)
    supervisor.start(tmp_path)
    wait_until(lambda: output.getvalue().count("runs") == len(names) + 1, said=output.getvalue)
    assert supervisor.stop()
    order = (tmp_path / "order").read_text().splitlines()
    assert set(order[:2]) == {"aligner asked", "policy asked"}
    later = ("servo_bus", "sim_bench", BAG_RECORDER)
    assert order[4:] == [f"{name} {what}" for name in later for what in ("asked", "gone")]


def test_an_interrupt_that_is_lost_before_the_nodes_start_still_ends_it(monkeypatch, capsys):
    """In an import, of which Python says nothing; the graph started, and Ctrl-C was to come again.

    Here somebody catches it.
    """

    def check(nodes):
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("armlet.start_check.check", check)
    monkeypatch.setattr(Supervisor, "start", lambda *_: pytest.fail("started"))
    before = signal.getsignal(signal.SIGINT)
    assert main(["up", "follower", "emulated:=true"]) == 130
    assert signal.getsignal(signal.SIGINT) is before
    assert "armlet up: stopped" in capsys.readouterr().err


def test_under_nohup_a_closed_terminal_ends_nothing():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    node, output = NodeSpec("camera", "camera", {}), io.StringIO()
    hung_up = "import os, signal; os.kill(os.getppid(), signal.SIGHUP); raise SystemExit(7)"
    Supervisor([node], output, running(hung_up)).run()
    assert "camera ended with status 7" in output.getvalue()
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def test_a_node_that_died_is_started_again_and_knows_it(tmp_path, monkeypatch):
    monkeypatch.setattr("armlet.supervisor.DELAY_S", 0.0)
    says = "import os; print('back', os.environ.get('ARMLET_RESPAWNED')); raise SystemExit(7)"
    node, output = NodeSpec("camera", "camera", {}, respawn=True), io.StringIO()
    assert Supervisor([node], output, running(says)).run() == 1
    said = output.getvalue()
    assert said.count("[camera] back 1") == TRIES and said.count("[camera] back None") == 1
    assert said.count("camera ended with status 7; it starts again") == TRIES
    assert "did not run for 60 s; stopping the graph" in said


# Runs a node that waits, and says what happens into a file.
UP = """
import os, signal, subprocess, sys
from armlet.bringup import NodeSpec
from armlet.supervisor import Supervisor
if "nohup" in sys.argv:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
waiting = [sys.executable, "-c", "import signal; signal.pause()"]
popen = lambda command, **given: subprocess.Popen(waiting, **given)
nodes = [NodeSpec("camera", "camera", {})]
os.write(1, b"up")
Supervisor(nodes, open(sys.argv[1], "w"), popen).run(float(sys.argv[2]))
"""
GUARD_S = 60.0


def output(kind):
    return os.openpty() if kind == "terminal" else os.pipe()


def up(file, ours, theirs, *words, duration_s=GUARD_S, **given):
    """What is said where our end is closed once it runs."""
    command = [sys.executable, "-c", UP, str(file), str(duration_s), *words]
    # A session of its own, without a terminal that could send SIGHUP.
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=theirs, start_new_session=True, **given
    )
    os.close(theirs)
    assert os.read(ours, 64).startswith(b"up")
    os.close(ours)
    process.wait(2 * GUARD_S)
    return file.read_text()


@pytest.mark.parametrize("kind", ["terminal", "pipe"])
def test_it_stops_once_nobody_reads_it(tmp_path, kind):
    """Over ssh without a terminal no SIGHUP came, and the arm stayed armed for ever."""
    said = up(tmp_path / "said", *output(kind))
    assert "nobody reads stdout any more; stopping the graph" in said


@pytest.mark.parametrize("kind", ["terminal", "pipe"])
def test_under_nohup_nobody_needs_to_read_it(tmp_path, kind):
    said = up(tmp_path / "said", *output(kind), "nohup", duration_s=0.5)
    assert "nobody reads" not in said and "all nodes have ended" in said


def test_the_journal_s_restart_stops_nothing(tmp_path):
    ours, theirs = os.pipe()
    kind = os.fstat(theirs)
    environment = {**os.environ, "JOURNAL_STREAM": f"{kind.st_dev}:{kind.st_ino}"}
    said = up(tmp_path / "said", ours, theirs, duration_s=0.5, env=environment)
    assert "nobody reads" not in said and "all nodes have ended" in said
