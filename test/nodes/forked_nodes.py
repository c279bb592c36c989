"""Node processes forked from an interpreter that has loaded what they need.

A graph's start is mostly the loading of numpy, torch and our rooms, again for each node: half the
processor time of its tests. Here a process (a nursery) of each pytest process loads them once and
forks what is asked for. From there on a node is as when started by its command line, which
`test_node_start`, `test_up_command` and others go by.
"""

import contextlib
import importlib
import io
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import types
from functools import cache
from pathlib import Path

# By which a node knows its parent (`armlet.nodes.node`, which loads rclpy).
SUPERVISOR = "ARMLET_SUPERVISOR"
# What nodes load, but for rclpy: it starts threads as it loads, and a fork has only its own.
LOADED = [
    *("numpy", "pyarrow.parquet", "cv2", "av", "yaml"),
    *("armlet.align", "armlet.camera", "armlet.control", "armlet.contract", "armlet.datasets"),
    *("armlet.motors", "armlet.sim"),
    *("diagnostic_msgs.msg", "geometry_msgs.msg", "lifecycle_msgs.msg", "rcl_interfaces.msg"),
    *("rosgraph_msgs.msg", "sensor_msgs.msg", "std_msgs.msg", "std_srvs.srv"),
    "trajectory_msgs.msg",
]
# Apart, as torch takes a while to end, too.
LOADED_BY_POLICIES = ["torch", "armlet.policies"]
LARGEST_REQUEST = 1 << 18


class Popen:
    """Like `subprocess.Popen` of a Python's command line with `-m` or `-c`, but for the loading."""

    def __init__(self, line, stdin=None, stdout=None, stderr=None, text=True, env=None, **session):
        assert line[0] == sys.executable, f"no Python of ours: {line}"
        assert text and stdin in (None, subprocess.DEVNULL), "what is started here reads nothing"
        self.args, self.returncode = line, None
        self._lock = threading.Lock()
        self._news, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with contextlib.ExitStack() as given:
            given.enter_context(theirs)
            self.stdout, out = _stream(stdout, 1, given)
            self.stderr, err = (
                (None, out) if stderr == subprocess.STDOUT else _stream(stderr, 2, given)
            )
            order = {
                "line": line[1:],
                "env": dict(env or os.environ),
                "cwd": str(Path.cwd()),
                **session,
            }
            _nursery(_is_policy(line)).send(order, [out, err, theirs.fileno()])
        number, [self._pidfd], _, _ = socket.recv_fds(self._news, 64, 1)
        self.pid = int(number)

    def poll(self):
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout=None):
        if self.returncode is None and not select.select([self._news], [], [], timeout)[0]:
            raise subprocess.TimeoutExpired(self.args, timeout)
        with self._lock:
            if self.returncode is None:
                # Without news the nursery has ended, and what it forked with it.
                self.returncode = int(self._news.recv(64) or -signal.SIGKILL)
                os.close(self._pidfd)
        return self.returncode

    def send_signal(self, number):
        with self._lock:
            if self.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(self._pidfd, number)

    def terminate(self):
        self.send_signal(signal.SIGTERM)

    def kill(self):
        self.send_signal(signal.SIGKILL)

    def communicate(self):
        """(stdout, stderr) to their ends: of a process with one pipe, or that says little."""
        said = [None if file is None or file.closed else file.read() for file in self._pipes()]
        self.wait()
        for file in self._pipes():
            if file is not None:
                file.close()
        return tuple(said)

    def _pipes(self):
        return self.stdout, self.stderr


def _is_policy(line):
    return line[1:4] == ["-m", "armlet.nodes.program", "policy"] or (
        line[1] == "-c" and "armlet.nodes.policy" in line[2]
    )


def _stream(wanted, inherited, given):
    """(what to read from or None, the descriptor to write to)."""
    if wanted == subprocess.PIPE:
        reading, writing = os.pipe()
        given.callback(os.close, writing)
        return os.fdopen(reading), writing
    if wanted == subprocess.DEVNULL:
        return None, given.enter_context(Path(os.devnull).open("w")).fileno()
    return None, inherited if wanted is None else wanted.fileno()


class Nursery:
    """The process that forks, seen from here. It ends when this process does."""

    def __init__(self, policies):
        self._orders, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._lock = threading.Lock()
        with theirs:
            number = theirs.fileno()
            line = [
                sys.executable,
                __file__,
                str(number),
                *(LOADED_BY_POLICIES if policies else ()),
            ]
            self._process = subprocess.Popen(line, pass_fds=[number], stdin=subprocess.DEVNULL)

    def send(self, order, descriptors):
        if SUPERVISOR in order["env"]:
            # A node ends with its parent.
            order["env"][SUPERVISOR] = str(self._process.pid)
        with self._lock:
            socket.send_fds(self._orders, [json.dumps(order).encode()], descriptors)


@cache
def _nursery(policies):
    return Nursery(policies)


# --- in the nursery -----------------------------------------------------------------------------


def serve(orders, loaded):
    """Fork what is ordered until the orders end. Returns in each child, with its order."""
    for name in loaded:
        importlib.import_module(name)
    assert "rclpy" not in sys.modules, "rclpy's threads would be missing in what is forked"
    # A Ctrl-C is meant for pytest, which ends its orders.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    news, wakeup = socket.socketpair()
    wakeup.setblocking(False)
    signal.set_wakeup_fd(wakeup.fileno())
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    running = {}
    while True:
        ready = select.select([orders, news], [], [])[0]
        if news in ready:
            news.recv(64)
            _report(running)
        if orders not in ready:
            continue
        order, descriptors, _, _ = socket.recv_fds(orders, LARGEST_REQUEST, 3)
        if not order:
            os._exit(0)
        out, err, channel = descriptors
        child = os.fork()
        if not child:
            os.dup2(out, 1)
            os.dup2(err, 2)
            for file in (orders, news, wakeup, *running.values()):
                file.close()
            for number in descriptors:
                os.close(number)
            return json.loads(order)
        os.close(out)
        os.close(err)
        running[child] = socket.socket(fileno=channel)
        pidfd = os.pidfd_open(child)
        socket.send_fds(running[child], [str(child).encode()], [pidfd])
        os.close(pidfd)


def _report(running):
    while running:
        child, status = os.waitpid(-1, os.WNOHANG)
        if not child:
            return
        with running.pop(child) as channel, contextlib.suppress(OSError):
            channel.send(str(os.waitstatus_to_exitcode(status)).encode())


def become(order):
    """Go on as the Python of a command line: `-m MODULE ...` or `-c CODE ...`."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if order.get("start_new_session"):
        os.setsid()
    os.chdir(order["cwd"])
    os.environ.clear()
    os.environ.update(order["env"])
    sys.stdout = io.TextIOWrapper(io.FileIO(1, "w", closefd=False))
    error = io.FileIO(2, "w", closefd=False)
    sys.stderr = io.TextIOWrapper(error, errors="backslashreplace", write_through=True)
    sys.path[0] = order["cwd"]
    kind, what, *arguments = order["line"]
    sys.argv = [kind, *arguments]
    if kind == "-m":
        runpy.run_module(what, run_name="__main__", alter_sys=True)
        return
    main = sys.modules["__main__"] = types.ModuleType("__main__")
    exec(compile(what, "<string>", "exec"), vars(main))


if __name__ == "__main__":
    become(serve(socket.socket(fileno=int(sys.argv[1])), LOADED + sys.argv[2:]))
