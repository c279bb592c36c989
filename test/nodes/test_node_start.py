"""How nodes start and end when they are configured wrongly, or have to wait."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from node_processes import running

from armlet.bringup import NodeSpec
from armlet.nodes.node import ArmletNode, Interrupted
from armlet.nodes.teardown import destroy

# By the wall clock, and only so that a broken test ends.
GUARD_S = 180


@pytest.mark.representatives(4)
@pytest.mark.parametrize(
    ("executable", "parameters", "message"),
    [
        ("teleop", {}, "no calibration file"),
        ("servo_bus", {}, "parameter port is empty"),
        ("servo_bus", {"port": "x", "calibration_file": "none.json"}, "no calibration file"),
        ("recorder", {}, "parameter root is empty"),
        ("recorder", {"root": "x", "on_gap": "fill"}, "on_gap must be refuse or split"),
        ("recorder", {"root": "x", "on_hole": "split"}, "did you mean on_gap?"),
        ("recorder", {"root": "x", "max_holes": 3}, "did you mean max_gaps?"),
        ("recorder", {"root": "x", "episode_s": 0.5}, "nothing shorter than min_episode_s (1 s)"),
        ("aligner", {"streams": ["state", "top"], "top.type": "compressed"}, "top.topic is empty"),
        (
            "aligner",
            {
                "streams": ["state", "top"],
                "top.type": "compressed",
                "top.topic": "t",
                "top.tolerance_s": 0.1,
            },
            "there is no default",
        ),
        ("sim_bench", {}, "parameter directory is empty"),
        ("camera", {"colour": "red"}, "unknown parameters ['colour']"),
    ],
)
def test_a_node_configured_wrongly_ends_with_a_reason(executable, parameters, message):
    with running([NodeSpec(executable, executable, parameters)]) as graph:
        assert graph.processes[executable].wait(GUARD_S) == 1
        graph.supervisor.stop()
        assert message in graph.said()
        assert "Traceback" not in graph.said()


def test_a_node_waits_for_a_device_that_is_not_there_yet(tmp_path):
    spec = NodeSpec("camera", "camera", {"source": f"file:{tmp_path / 'later.mp4'}"})
    with running([spec]) as graph:
        graph.wait("the wait to be announced", lambda: "cannot configure" in graph.said(), GUARD_S)
        assert graph.processes["camera"].poll() is None


def test_the_camera_publishes_a_numbered_pattern():
    import rclpy
    from rclpy.node import Node
    from sensor_msgs.msg import CompressedImage, Image

    from armlet.camera import read_counter
    from armlet.nodes.messages import to_ns
    from armlet.nodes.pictures import rgb

    spec = NodeSpec("camera", "camera", {"source": "pattern", "width": 160, "height": 120}, "top")
    with running([spec]):
        node, pictures, raw = Node("listener"), [], []
        # Room for what comes while this process is not run.
        node.create_subscription(CompressedImage, "top/image_raw/compressed", pictures.append, 400)
        node.create_subscription(Image, "top/image_raw", raw.append, 400)
        for _ in range(10 * GUARD_S):
            rclpy.spin_once(node, timeout_sec=0.1)
            if len(pictures) > 20 and len(raw) > 20:
                break
        destroy(node)
    assert pictures and raw, "no picture came"
    counts = [read_counter(rgb(picture)) for picture in pictures]
    # A pattern that is late leaves numbers out, and none comes twice.
    assert counts == sorted(set(counts))
    assert rgb(raw[0]).shape == (120, 160, 3)
    stamps = {to_ns(p.header.stamp): read_counter(rgb(p)) for p in pictures}
    for picture in raw:
        stamp = to_ns(picture.header.stamp)
        assert stamps.get(stamp, read_counter(rgb(picture))) == read_counter(rgb(picture))


@pytest.mark.representatives(1)
@pytest.mark.parametrize(
    ("node", "package", "install"),
    [
        ("policy", "torch", "pip install 'armlet[policy]'"),
        ("servo_bus", "rclpy", "pip install 'armlet[ros]'"),
        ("servo_bus", "serial", "pip install pyserial"),
        ("recorder", "pyarrow", "pip install pyarrow"),
    ],
)
def test_a_missing_package_is_one_line_where_ros_starts_the_node(node, package, install):
    executable = Path(__file__).parents[2] / "executables" / node
    program = f"import sys; sys.modules[{package!r}] = None\n{executable.read_text()}"
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    (line,) = ended.stderr.splitlines()
    assert line.startswith(f"{node}: ") and package in line and line.endswith(install)
    assert ended.returncode == 1


def test_a_node_that_the_middleware_does_not_let_go_is_left(caplog):
    class Held:
        released = threading.Event()

        def get_name(self):
            return "held"

        def destroy_node(self):
            self.released.wait()

    held = Held()
    assert not destroy(held, wait_s=0.1)
    assert "node held: the middleware did not delete its entities" in caplog.text
    held.released.set()
    assert destroy(held)


def test_what_goes_wrong_while_a_node_is_destroyed_is_raised():
    class Broken:
        def get_name(self):
            return "broken"

        def destroy_node(self):
            raise ValueError("in use")

    with pytest.raises(ValueError, match="in use"):
        destroy(Broken())


FORKING = """
import multiprocessing, os, signal, threading
from armlet.nodes.urgent import Signals
signals = Signals((signal.SIGTERM,))
silent, _ = os.pipe()
ready, begun = os.pipe()
def wait():
    os.write(begun, b"1")
    os.read(silent, 1)
copy = multiprocessing.get_context("fork").Process(target=wait, daemon=True)
starting = threading.Thread(target=copy.start)
starting.start()
starting.join()
os.read(ready, 1)
copy.terminate()
copy.join(120)
print(copy.exitcode, signals.ending.is_set())
os.kill(copy.pid, signal.SIGKILL) if copy.exitcode is None else None
signal.raise_signal(signal.SIGTERM)
print(signals.ending.wait(120))
"""


def test_ending_a_copy_that_a_library_forked_does_not_end_the_node():
    """OpenVINO's copy that waited for an answer from outside was ended so, and the policy with it.

    The copy shares the pipe by which the node hears of its signals.
    """
    said = subprocess.run(
        [sys.executable, "-c", FORKING], capture_output=True, text=True, check=True, timeout=GUARD_S
    )
    assert said.stdout == "-15 False\nTrue\n"


SUSPENDED = """
import os, signal
from armlet.nodes.urgent import Signals
hears = signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN
signals = Signals((signal.SIGTERM, signal.SIGHUP))
for number in (signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGHUP):
    os.kill(os.getpid(), number)
print("goes on", signals.ending.wait(120 * hears))
"""


def test_a_node_is_not_suspended_and_lives_on_under_nohup():
    """Ctrl-Z at `ros2 launch` stopped the driver; 15 s later it was killed, and the arm fell."""
    nohup = f"import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n{SUSPENDED}"
    said = [
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            timeout=GUARD_S,
        ).stdout
        for code in (SUSPENDED, nohup)
    ]
    assert said == ["goes on True\n", "goes on False\n"]


SETTING_UP = """
import signal, subprocess, sys, time
from armlet.nodes import sim_bench
from armlet.sim import ArmsProcess, table
def stands(*_):
    print("at it", flush=True)
    while True:
        time.sleep(0.001)
def loads(arms, line):
    words = [sys.executable, "-c", "print('at it', flush=True); input()"]
    return subprocess.Popen(words, pass_fds=[line.fileno()])
"""
AT = {
    "painting": "table._texture = stands",
    "the arms' start": "ArmsProcess._start = loads",
    "the choice of a task": "sim_bench.choose = stands",
}


@pytest.mark.representatives(1)
@pytest.mark.parametrize("stage", AT)
def test_the_bench_ends_in_the_middle_of_its_start(tmp_path, stage):
    """Ctrl-C waited until the bench had started: seconds, or for ever where it came to no end."""
    code = f"{SETTING_UP}{AT[stage]}\nsim_bench.main()"
    bench = ["--ros-args", "-p", f"directory:={tmp_path}", "-p", "autostart:=true"]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *bench],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout.readline() == "at it\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(GUARD_S) == 0
        # Not before: that closes what the arms' process reads.
        assert process.communicate() == ("", "")
    finally:
        process.kill()
    assert not (tmp_path / "follower").is_symlink()


def takes_it(interrupt):
    with contextlib.suppress(BaseException):
        interrupt()


def makes_an_error_of_it(interrupt):
    try:
        interrupt()
    except BaseException as error:
        raise RuntimeError("cannot load") from error


@pytest.mark.parametrize("library", [takes_it, makes_an_error_of_it])
def test_what_a_library_catches_breaks_off_a_start_all_the_same(library):
    node = SimpleNamespace(_interrupted=False, _is_interruptible=False)
    with pytest.raises(Interrupted), ArmletNode.interruptible(node):
        library(partial(ArmletNode.interrupt, node))
    assert not node._is_interruptible


def test_what_fails_by_itself_is_no_interruption():
    node = SimpleNamespace(_interrupted=False, _is_interruptible=False)
    with pytest.raises(RuntimeError), ArmletNode.interruptible(node):
        raise RuntimeError


ENDING = """
import atexit
from armlet.nodes import node
def hang():
    while True:
        pass
class Hangs:
    __del__ = staticmethod(hang)
hangs = Hangs()
def unusable():
    raise node.SetupError("no arm")
"""
AT_EXIT = "node.EXIT_S = 1; atexit.register(hang); node.run(unusable)"


def test_a_process_ends_whatever_hangs_at_its_exit():
    """A policy spun for 20 minutes in what the interpreter deleted last: nothing is, any more."""
    for code, status in (("node.run(unusable)", 1), (AT_EXIT, -signal.SIGALRM)):
        ended = subprocess.run(
            [sys.executable, "-c", ENDING + code], capture_output=True, text=True, timeout=GUARD_S
        )
        assert (ended.returncode, ended.stderr) == (status, "cannot start: no arm\n")


LAST_WORDS = """
import ctypes, sys
from armlet.nodes import node
print("Python's", end="")
ctypes.CDLL(None).printf(b" and C's")
node._leave(0)
"""


def test_the_last_words_of_a_node_come_also_those_that_c_wrote():
    """ROS's lines were lost by RCUTILS_LOGGING_USE_STDOUT=1, a driver's about torque among them."""
    ended = subprocess.run(
        [sys.executable, "-c", LAST_WORDS],
        capture_output=True,
        text=True,
        timeout=GUARD_S,
        env={name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "Python's and C's", "")


def test_a_node_ends_well_where_the_shell_closed_its_output():
    program = "from armlet.nodes import node; node._leave(0)"
    ended = subprocess.run(
        ["sh", "-c", f"exec '{sys.executable}' -c '{program}' >&-"],
        stderr=subprocess.PIPE,
        text=True,
        timeout=GUARD_S,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
