"""Node processes forked from a Python that has loaded what they need.

Most of a graph's start is the loading of numpy and torch, again for each node. Where graph after
graph is started, one process loads them once and forks every node. From there on a node runs as if
its command line had been started.

The process loads no rclpy, which starts threads that a fork would lack. It ends with whoever made
it, and the nodes end with it.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import traceback
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NoReturn, Self

from armlet.bringup import SUPERVISOR_VARIABLE

MODULES = (
    *("numpy", "cv2", "av", "yaml", "torch"),
    *("armlet.align", "armlet.camera", "armlet.control", "armlet.contract", "armlet.motors"),
    *("armlet.policies", "armlet.sim"),
    *("diagnostic_msgs.msg", "geometry_msgs.msg", "lifecycle_msgs.msg", "rcl_interfaces.msg"),
    *("rosgraph_msgs.msg", "sensor_msgs.msg", "std_msgs.msg", "std_srvs.srv"),
    "trajectory_msgs.msg",
)
# Bytes of a command line with its environment.
_LARGEST = 1 << 20


class Preloaded:
    """The process that forks. Context manager; to be made before this process has threads.

    `popen` stands for `subprocess.Popen` of a Python's command line with `-m`.
    """

    def __init__(self, modules: tuple[str, ...] = MODULES) -> None:
        self._line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._lock = threading.Lock()
        self._count = 0
        self._pids: dict[int, int] = {}
        self._statuses: dict[int, int] = {}
        self._over = False
        self._child = os.fork()
        if self._child == 0:
            self._line.close()
            _serve(theirs, modules)
        theirs.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._line.close()
        os.waitpid(self._child, 0)

    def popen(
        self, command: list[str], env: dict[str, str], **more: Any
    ) -> ForkedProcess | subprocess.Popen[str]:
        """Fork a node: its output, both streams in one, is the process's `stdout`.

        Another program than this Python is started as ever. Raises RuntimeError where the process
        that forks has ended.
        """
        if command[0] != sys.executable:
            return subprocess.Popen(command, env=env, **more)
        reading, writing = os.pipe()
        with self._lock:
            self._count = number = self._count + 1
        request = {"number": number, "command": command[1:], "environment": env}
        try:
            socket.send_fds(self._line, [json.dumps(request).encode()], [writing])
        except OSError as error:
            os.close(reading)
            raise RuntimeError("the process that forks nodes has ended") from error
        finally:
            os.close(writing)
        while number not in self._pids and not self._over:
            self._receive(None)
        if number not in self._pids:
            os.close(reading)
            raise RuntimeError("the process that forks nodes has ended")
        return ForkedProcess(self, number, self._pids[number], os.fdopen(reading))

    def status(self, number: int, timeout_s: float | None) -> int | None:
        """How a process ended, negative by a signal; None if it has not within so many seconds."""
        while number not in self._statuses and not self._over:
            if not self._receive(timeout_s):
                return None
        return self._statuses.get(number, -signal.SIGKILL)

    def _receive(self, timeout_s: float | None) -> bool:
        """Take one message; whether one came in time."""
        with self._lock:
            if not select.select([self._line], [], [], timeout_s)[0]:
                return False
            message = self._line.recv(_LARGEST)
            if not message:
                self._over = True
                return True
            number, pid, status = json.loads(message)
            if status is None:
                self._pids[number] = pid
            else:
                self._statuses[number] = status
            return True


class ForkedProcess:
    """As far as a supervisor needs it, a `subprocess.Popen` with its output in a pipe."""

    def __init__(self, parent: Preloaded, number: int, pid: int, stdout: IO[str]) -> None:
        self.pid, self.stdout = pid, stdout
        self.returncode: int | None = None
        self._parent, self._number = parent, number
        self._lock = threading.Lock()

    def poll(self) -> int | None:
        if self.returncode is None:
            self.returncode = self._parent.status(self._number, 0.0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Raises subprocess.TimeoutExpired."""
        if self.returncode is None:
            self.returncode = self._parent.status(self._number, timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0.0)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


# --- the process that forks -----------------------------------------------------------------------


def _serve(line: socket.socket, modules: tuple[str, ...]) -> NoReturn:
    """Fork for every request until the line is closed, and report how each fork ended."""
    status = 1
    try:
        for number in (signal.SIGINT, signal.SIGTERM):  # it ends with its maker
            signal.signal(number, signal.SIG_IGN)
        for name in modules:
            importlib.import_module(name)
        gc.collect()
        gc.freeze()  # a fork that collects garbage would copy every page
        with contextlib.suppress(ConnectionError):  # its maker has ended, and its forks by that
            _fork_on_request(line)
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def _fork_on_request(line: socket.socket) -> None:
    running: dict[int, tuple[int, int]] = {}
    while True:
        for ready in select.select([line.fileno(), *running], [], [])[0]:
            if ready in running:
                number, pid = running.pop(ready)
                os.close(ready)
                status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                line.send(json.dumps([number, pid, status]).encode())
                continue
            message, files, _, _ = socket.recv_fds(line, _LARGEST, 1)
            if not message:
                return
            request = json.loads(message)
            pid = os.fork()
            if pid == 0:
                _become(request, files[0])
            os.close(files[0])
            running[os.pidfd_open(pid)] = request["number"], pid
            line.send(json.dumps([request["number"], pid, None]).encode())


def _become(request: dict[str, Any], output: int) -> NoReturn:
    """Run a module as `python -m` would, in a session of its own, then be gone."""
    status = 1
    try:
        os.environ.clear()
        os.environ.update(request["environment"])
        os.environ[SUPERVISOR_VARIABLE] = str(os.getppid())
        os.setsid()
        _replace_streams(output)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        _, module, *arguments = request["command"]
        sys.argv = [module, *arguments]
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        status = 0
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        else:
            status = end.code or 0
    except BaseException:
        traceback.print_exc()
    finally:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):  # nobody reads it any more
                stream.flush()
        os._exit(status)


def _replace_streams(output: int) -> None:
    """Nothing to read, both outputs into one pipe, and no other open file of the parent's."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    for target, file in enumerate((nothing, output, output)):
        os.dup2(file, target)
    highest = max(int(file.name) for file in Path("/proc/self/fd").iterdir())
    os.closerange(3, highest + 1)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", 1, encoding="utf-8", closefd=False)  # noqa: SIM115
