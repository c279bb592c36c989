"""`armlet up` at a terminal: its last line, its stop key, one graph a domain, its early end."""

import io
import os
import re
import select
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from awaited import wait_until
from domains import free_domain

sys.path.append(str(Path(__file__).parents[1] / "cli"))

from terminal_session import TerminalSession

import armlet.supervisor
from armlet import one_graph
from armlet.bringup import NodeSpec, share_directory
from armlet.cli.graph.up_screen import KEYS, StatusLine
from armlet.cli.terminal.keyboard import Keyboard
from armlet.client.graph import GraphError
from armlet.client.live import Rate, measured
from armlet.client.start import start, start_adjusted
from armlet.motors.feetech import REGISTERS
from armlet.sim import Bench
from armlet.supervisor import Supervisor

GUARD_S = 180
CTRL_Z = "\x1a"
TIMEOUT_S = 180.0
CALIBRATION = share_directory() / "config" / "calibration"


@pytest.fixture
def bench(tmp_path):
    with Bench(paced=False, links=tmp_path) as bench:
        yield bench


@pytest.fixture
def robot(tmp_path):
    path = tmp_path / "robot.yaml"
    path.write_text(
        f"arms: {{follower: {{port: {tmp_path}/follower, "
        f"calibration: {CALIBRATION}/emulated_follower.json}}}}"
    )
    return path


def torque(bench):
    return [s.peek(REGISTERS["Torque_Enable"]) for s in bench.follower.servos.values()]


def test_rates_who_moves_the_arm_and_the_stop_key(bench, robot):
    with TerminalSession("up", "follower", f"robot:={robot}", columns=150) as session:
        session.wait_for("x: STOP, torque off", timeout_s=TIMEOUT_S)
        session.wait_for("follower on", timeout_s=TIMEOUT_S)
        session.wait_for(
            r"^servo_bus: holding.* · servo_bus \d+/100 Hz", regex=True, timeout_s=TIMEOUT_S
        )
        assert torque(bench) == [1] * 6
        session.send(CTRL_Z)  # it would be suspended, and the arm go on
        session.send("x")
        session.wait_for("STOP: torque is off on servo_bus", timeout_s=TIMEOUT_S)
        assert torque(bench) == [0] * 6
        assert session.interrupt() == 0
        assert "Traceback" not in "\n".join(session.screen())
        assert session.echoes(), "the terminal is as it was"


def test_the_stop_key_counts_before_anything_runs(bench, robot):
    """The arm is let go as soon as its bus can be asked, whatever was loaded when."""
    with TerminalSession("up", "follower", f"robot:={robot}", columns=150) as session:
        session.send("x")
        session.wait_for("STOP: torque is off on servo_bus", timeout_s=TIMEOUT_S)
        assert torque(bench) == [0] * 6
        assert session.interrupt() == 0


def up(*words, **environment):
    return subprocess.Popen(
        [sys.executable, "-m", "armlet.cli.main", "up", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **environment},
    )


def read_until(process, text):
    said = []
    for line in process.stdout:
        said.append(line)
        if text in line:
            return "".join(said)
    raise AssertionError(f"{text!r} was never said:\n{''.join(said)}")


def test_a_second_graph_is_refused_until_the_first_is_gone(tmp_path, private_domain):
    words = ("teleop", "emulated:=true", f"bench_directory:={tmp_path}")
    first = up(*words)
    read_until(first, "supervisor] started")
    second = up("sim", "policy:=false")
    said, _ = second.communicate(timeout=GUARD_S)
    assert second.returncode == 2 and said.count("\n") == 1
    assert f"armlet up {' '.join(words)} (process {first.pid})" in said
    assert f"runs in ROS domain {private_domain} already" in said
    nodes = Path(f"/proc/{first.pid}/task/{first.pid}/children").read_text().split()
    first.kill()  # not even a killed one leaves its mark
    first.communicate()
    with one_graph.mark("", os.environ):
        pass
    # They end as soon as they have loaded; who comes next is not to meet them.
    wait_until(lambda: not any(map(runs, nodes)), "its nodes to end")


def runs(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_another_namespace_or_domain_is_another_place():
    with (
        free_domain() as one,
        free_domain() as other,
        one_graph.mark("", here := {"ROS_DOMAIN_ID": str(one)}),
        one_graph.mark("left", here),
        one_graph.mark("", {"ROS_DOMAIN_ID": str(other)}),
        pytest.raises(one_graph.AnotherGraph, match="namespace left already"),
    ):
        one_graph.mark("/left/", here)


@pytest.mark.thorough
def test_a_driver_that_ros_started_is_seen_and_not_joined(tmp_path):
    """Nodes that `ros2 launch` started have no graph's mark, and a driver has its own."""
    driver = subprocess.Popen(
        [sys.executable, "-m", "armlet.nodes.program", "servo_bus", "--ros-args"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    said = read_until(driver, "parameter port is empty")
    assert "already" not in said
    driver.communicate(timeout=GUARD_S)
    with one_graph.mark_name("/servo_bus", os.environ):
        second = up("sim", "policy:=false")
        said, _ = second.communicate(timeout=GUARD_S)
        assert second.returncode == 2 and said.count("\n") == 1
        assert f"process {os.getpid()}) has /servo_bus in ROS domain" in said
        with (
            pytest.raises(GraphError, match="has /servo_bus in ROS domain"),
            start("sim", policy="false", use_sim_time="false"),
        ):
            raise AssertionError("it moves the arm that runs already")
        done = subprocess.run(
            [sys.executable, "-m", "armlet.nodes.program", "servo_bus"],
            capture_output=True,
            text=True,
            timeout=GUARD_S,
        )
        assert done.returncode == 1
        assert re.match(
            "cannot start: .* has /servo_bus in ROS domain .* two would mix", done.stderr
        )


def test_a_program_s_graph_is_refused_beside_a_running_one():
    with (
        one_graph.mark("", os.environ),
        pytest.raises(GraphError, match="already"),
        start("sim", policy="false"),
    ):
        raise AssertionError("two graphs have one name")


def test_two_benches_of_one_domain_would_have_two_clocks():
    with (
        one_graph.mark_name(one_graph.CLOCK, os.environ),
        pytest.raises(GraphError, match=r"has /clock in ROS domain .* or choose export ROS_DOMAIN"),
        start("sim", policy="false", namespace="left"),
    ):
        raise AssertionError("time jumps between the two")


class Ended:
    """A node that has ended, whose last line comes only once that was seen."""

    returncode = 1

    def __init__(self, line, **given):
        self._seen = threading.Event()
        self.stdout = self._lines()

    def poll(self):
        self._seen.set()
        return self.returncode

    def _lines(self):
        self._seen.wait()
        yield "[ERROR] [1.0] [servo_bus]: cannot configure: parameter port is empty\n"


def test_why_a_node_has_ended_is_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(armlet.supervisor, "_LAST_WORDS_S", GUARD_S)
    supervisor = Supervisor([NodeSpec("servo_bus", "servo_bus", {})], io.StringIO(), Ended)
    supervisor.start(tmp_path)
    why = "cannot configure: parameter port is empty"
    assert supervisor.trouble() == f"servo_bus ended with status 1: {why}"


def test_a_program_learns_of_a_node_that_ended_before_simulated_time_began(private_domain):
    """The demo waited for ever: time waits for whoever is to take part in it."""

    def popen(command, **given):
        return subprocess.Popen(["false"] if "policy" in command else command, **given)

    with (
        pytest.raises(GraphError, match="policy ended with status 1"),
        start_adjusted("sim", {}, popen=popen) as director,
    ):
        director.let_pass(60.0)


# A shell has what it starts in the background ignore Ctrl-C.
IN_BACKGROUND = """
import os, signal
signal.signal(signal.SIGINT, signal.SIG_IGN)
from armlet.client.graph import Director
director = Director()
os.kill(os.getpid(), signal.SIGINT)
director.let_pass(0.2)
director.wait_for("itself", lambda: "client" in director._node.get_node_names(), 60.0)
director.close()
"""


def test_a_program_in_the_background_goes_on_after_ctrl_c(private_domain):
    """rclpy had ended under it: a demo waited for ever."""
    done = subprocess.run(
        [sys.executable, "-c", IN_BACKGROUND], capture_output=True, text=True, timeout=GUARD_S
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_many_may_ask_who_runs():
    with (
        free_domain() as domain,
        one_graph.mark("", here := {"ROS_DOMAIN_ID": str(domain)}),
    ):
        for _ in range(20):
            with pytest.raises(one_graph.AnotherGraph):
                one_graph.mark("", here)


def test_stopped_while_nodes_load_it_shows_no_traceback(tmp_path):
    process = up("teleop", "emulated:=true", f"bench_directory:={tmp_path}")
    said = read_until(process, "supervisor] started")
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=GUARD_S)
    assert process.returncode == 0, rest
    assert "Traceback" not in said + rest and "KeyboardInterrupt" not in said + rest


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_node_that_is_asked_to_end_while_it_loads_ends_quietly(number):
    loading = "import signal, sys\nprint('loading', flush=True)\nsignal.pause()\n"
    code = (
        "import runpy, sys, types\n"
        "import importlib\n"
        f"def slow(name, package=None): exec({loading!r})\n"
        "importlib.import_module = slow\n"
        "sys.argv = ['program', 'camera']\n"
        "runpy.run_module('armlet.nodes.program', run_name='__main__')\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert select.select([process.stdout], [], [], GUARD_S)[0]
    assert process.stdout.readline() == "loading\n"
    process.send_signal(number)
    _, errors = process.communicate(timeout=GUARD_S)
    assert (process.returncode, errors) == (0, "")


class Screen:
    def __init__(self):
        self.text = ""

    def write(self, text):
        self.text += text

    def flush(self):
        pass


def test_ctrl_s_does_not_stop_the_screen(monkeypatch):
    """In `armlet session` the stop key waited for the screen, and so for Ctrl-Q."""
    ours, theirs = os.openpty()
    monkeypatch.setattr(sys, "stdin", os.fdopen(theirs))
    with Keyboard() as keyboard:
        os.set_blocking(theirs, False)
        os.write(ours, b"\x13x")
        os.write(theirs, b"screen")
        assert select.select([ours], [], [], GUARD_S)[0] and os.read(ours, 64) == b"screen"
        assert [keyboard.poll(GUARD_S), keyboard.poll(GUARD_S)] == ["\x13", "x"]
    sys.stdin.close()
    os.close(ours)


def test_another_session_s_terminal_is_not_watched():
    """`setsid armlet up` was a traceback."""
    ours, theirs = os.openpty()
    asking = "from armlet.cli.graph.up_screen import is_watched; raise SystemExit(is_watched())"
    with subprocess.Popen(
        [sys.executable, "-c", asking],
        stdin=theirs,
        stdout=theirs,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        os.close(theirs)
        _, said = process.communicate(timeout=GUARD_S)
    os.close(ours)
    assert (process.returncode, said) == (0, b"")


def test_lines_appear_above_the_last_one():
    screen = Screen()
    line = StatusLine(screen)
    line.show(["100/100 Hz"])
    print("[aligner] flowing", file=line)
    line.show()
    shown = re.sub(r"[^\n]*\r\x1b\[K", "", screen.text)
    assert shown == "[aligner] flowing\n"
    assert screen.text.startswith("\r\x1b[K100/100 Hz\r\x1b[K[aligner] flowing\n100/100 Hz")


def test_the_keys_stay_on_a_line_that_is_too_long(monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    screen = Screen()
    StatusLine(screen).show(["left/servo_bus: following joint_commands"], KEYS)
    shown = screen.text.removeprefix("\r\x1b[K")
    assert shown.endswith(" · x: STOP · Ctrl-C: end") and len(shown) < 60
    assert shown.startswith("left/servo_bus: following joint")


ALL_PARTS = "servo_bus: holding · front 12/30 Hz · servo_bus 100/100 Hz · wrist 30/30 Hz"


@pytest.mark.parametrize(
    ("columns", "shown"),
    [
        (120, f"{ALL_PARTS} · {KEYS[0]}"),
        (100, f"{ALL_PARTS} · {KEYS[1]}"),
        (80, f"servo_bus: holding · front 12/30 Hz · +2 · {KEYS[1]}"),
        (52, f"servo_bus: holding · +3 · {KEYS[1]}"),
    ],
)
def test_the_best_rates_go_first_where_there_is_no_room(columns, shown, monkeypatch):
    """At 80 columns it was cut in the middle of a word, and no rate was to be seen."""
    monkeypatch.setenv("COLUMNS", str(columns))
    screen = Screen()
    StatusLine(screen).show(ALL_PARTS.split(" · "), KEYS)
    assert screen.text == f"\r\x1b[K{shown}"


@pytest.mark.parametrize(
    ("status", "mode", "warned"),
    [(0, "follower", False), (1, "follower", True), (1, "leader", False)],
)
def test_the_last_line_warns_of_a_follower_that_ended_with_an_error(status, mode, warned):
    supervisor = Supervisor([NodeSpec("servo_bus", "servo_bus", {"mode": mode}, "left")])
    supervisor.processes["left/servo_bus"] = SimpleNamespace(returncode=status)
    assert supervisor._ended().startswith("all nodes have ended")
    assert ("left/servo_bus with an error" in supervisor._ended()) is warned


def test_a_rate_that_is_not_measured_yet_is_not_shown():
    assert measured("front", {"rate_hz": "nan", "nominal_hz": "30.0"}) is None
    assert measured("front", {"rate_hz": "29.8"}) is None
    assert measured("front", {"rate_hz": "29.8", "wanted_hz": ""}) is None
    assert measured("front", {"rate_hz": "0.0", "wanted_hz": "30"}) == Rate("front", 0.0, 30.0)
