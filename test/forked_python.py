"""A Python that has loaded what takes long to load, and forks itself for whoever asks.

Stock LeRobot takes seconds of a core to load, and a dozen tests ask it something. One process for
each Python and set of modules serves all workers of a run. A script runs in a fork of it, with the
arguments, environment, folder and standard streams of whoever asked, as if Python had been started
for it. The process ends with the run, and a fork with whoever asked for it.

usage (by this file itself): forked_python.py LISTENING_SOCKET RUN MODULE...
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import gc
import importlib
import json
import os
import runpy
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import termios
import threading
import traceback
import types
import zlib
from pathlib import Path
from types import TracebackType

_LARGEST = 1 << 20  # bytes of a request: arguments and environment
_WAITING = 64
# The variable by which a node knows its parent.
_SUPERVISOR = "ARMLET_SUPERVISOR"
_STARTED: list[subprocess.Popen[bytes]] = []
LEROBOT = (
    "torch",
    "lerobot.datasets.lerobot_dataset",
    "lerobot.policies.act.modeling_act",
    "lerobot.policies.factory",
)
# What commands load for themselves, but for rclpy: it starts threads as it loads.
COMMANDS = (
    *("numpy", "yaml", "serial", "rich.console", "rich.live", "rich.table", "rich.prompt"),
    *("armlet.calibrate", "armlet.camera", "armlet.control", "armlet.motors", "armlet.robots"),
    "armlet.cli.main",
    "awaited_replies",
)
DATASETS = ("cv2", "armlet.datasets", "armlet.datasets.transform.edits")


class Forked:
    """A script, a module after "-m" or code after "-c" in a fork, killed when this is left.

    Its standard streams are the files given, of which a missing one is the null device. session: it
    leads a session of its own. terminal: one whose controlling terminal is its stdin.
    prepared: code that is run first.
    """

    def __init__(
        self,
        python: Path | str,
        modules: tuple[str, ...],
        command: list[Path | str],
        env: dict[str, str],
        files: tuple[int | None, int | None, int | None] = (None, None, None),
        terminal: bool = False,
        session: bool = False,
        prepared: str = "",
    ):
        self.returncode: int | None = None
        self._command = command
        self._lock = threading.Lock()
        self._connection = _connected(python, modules)
        request = {
            "command": [str(part) for part in command],
            "environment": env,
            "folder": str(Path.cwd()),
            "session": session or terminal,
            "terminal": terminal,
            "prepared": prepared,
        }
        with Path(os.devnull).open("r+b") as null:
            socket.send_fds(
                self._connection,
                [json.dumps(request).encode()],
                [null.fileno() if file is None else file for file in files],
            )
        self.pid = int(self._answer())

    def _answer(self) -> bytes:
        try:
            answer = self._connection.recv(_LARGEST)
        except ConnectionResetError:  # said once, of a signal that came too late to be read
            answer = self._connection.recv(_LARGEST)
        if answer:
            return answer
        raise ConnectionError("the process that was to fork ended without an answer")

    def wait(self, timeout: float | None = None) -> int:
        """As that of `Popen`. Raises ConnectionError where whoever forks has ended."""
        if self.returncode is None:
            if not select.select([self._connection], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self._command, timeout or 0.0)
            with self._lock:
                if self.returncode is None:
                    self.returncode = int(self._answer())
        return self.returncode

    def poll(self) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0.0)
        return self.returncode

    def send_signal(self, number: int) -> None:
        with contextlib.suppress(BrokenPipeError):  # it has ended
            self._connection.send(str(int(number)).encode())

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def __enter__(self) -> Forked:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        self._connection.close()


class Conversation:
    """A script in a fork that answers each line of its stdin with one of its stdout."""

    def __init__(self, python: Path | str, modules: tuple[str, ...], command: list[Path | str]):
        self._said = tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed by __exit__)
        (stdin, to), (answers, stdout) = os.pipe(), os.pipe()
        self._to, self._answers = os.fdopen(to, "w"), os.fdopen(answers)
        files = (stdin, stdout, self._said.fileno())
        self._fork = Forked(python, modules, command, dict(os.environ), files)
        os.close(stdin)
        os.close(stdout)

    def ask(self, line: str) -> str:
        """The answer. Raises RuntimeError, with what it said on stderr, where it has ended."""
        with contextlib.suppress(BrokenPipeError):
            self._to.write(line + "\n")
            self._to.flush()
        if answer := self._answers.readline():
            return answer
        self._fork.wait()
        self._said.seek(0)
        raise RuntimeError(f"the script ended: {self._said.read()[-3000:]}")

    def __enter__(self) -> Conversation:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        self._fork.__exit__(kind, error, where)
        for file in (self._answers, self._said):
            file.close()
        with contextlib.suppress(BrokenPipeError):
            self._to.close()


def armlet(*words: Path | str) -> subprocess.CompletedProcess[str]:
    """An armlet command without a terminal, as `python -m armlet.cli.main`."""
    import awaited_replies

    command: list[Path | str] = ["-m", "armlet.cli.main", *words]
    return run(sys.executable, COMMANDS, command, prepared=awaited_replies.preparation())


def run(
    python: Path | str,
    modules: tuple[str, ...],
    command: list[Path | str],
    env: dict[str, str] | None = None,
    timeout_s: float = 280,
    prepared: str = "",
) -> subprocess.CompletedProcess[str]:
    """As `subprocess.run` with the command's output captured."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as said:
        files = (None, out.fileno(), said.fileno())
        with Forked(
            python,
            modules,
            command,
            dict(os.environ if env is None else env),
            files,
            prepared=prepared,
        ) as it:
            status = it.wait(timeout_s)
        for file in (out, said):
            file.seek(0)
        return subprocess.CompletedProcess(command, status, out.read(), said.read())


def _connected(python: Path | str, modules: tuple[str, ...]) -> socket.socket:
    """A connection to the process, which is started by the first who wants one."""
    run_id = os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()
    kind = zlib.crc32(json.dumps([str(python), modules]).encode())
    address = f"\0armlet-forked-python-{run_id}-{kind}"
    while True:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            connection.connect(address)
            return connection
        except ConnectionRefusedError:
            connection.close()
        # Where the address is in use another worker is about to listen.
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with listening, contextlib.suppress(OSError):
            listening.bind(address)
            listening.listen(_WAITING)
            _start(python, modules, listening.fileno(), run_id)


def _start(python: Path | str, modules: tuple[str, ...], listening: int, run_id: int) -> None:
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    # It outlives the test that starts it, whose domain others have after it.
    env.pop("ROS_DOMAIN_ID", None)
    if str(python) != sys.executable:
        env.pop("PYTHONPATH", None)
    process = subprocess.Popen(
        [python, __file__, str(listening), str(run_id), *modules],
        env=env,
        cwd="/",
        pass_fds=[listening],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    _STARTED.append(process)


# --- what forks -----------------------------------------------------------------------------------


def serve(listening: socket.socket, run_id: int, modules: list[str]) -> None:
    """Fork for every connection, until the run is over."""
    over = os.pidfd_open(run_id)
    trouble = ""
    try:
        for name in modules:
            importlib.import_module(name)
    except Exception:
        trouble = traceback.format_exc()
    if "rclpy" in sys.modules:
        trouble = "rclpy starts threads as it is loaded, which a fork would lack"
    gc.collect()
    gc.freeze()  # a fork that collects garbage would copy every page
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while over not in (ready := select.select([listening, over], [], [])[0]):
        assert listening in ready
        connection, _ = listening.accept()
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            listening.close()
            os.close(over)
            attend(connection, trouble)
            os._exit(0)
        connection.close()


def attend(connection: socket.socket, trouble: str) -> None:
    """Have what comes over this connection run, and answer with its exit status."""
    message, files, _, _ = socket.recv_fds(connection, _LARGEST, 3)
    if not message:
        return
    child = os.fork()
    if child == 0:
        for target, file in enumerate(files):
            os.dup2(file, target)
        for file in files:
            os.close(file)
        connection.close()
        _become(json.loads(message), trouble)
    ended = os.pidfd_open(child)
    with contextlib.suppress(BrokenPipeError):  # then nobody is there, which is seen next
        connection.send(str(child).encode())
    while ended not in select.select([connection, ended], [], [])[0]:
        number = connection.recv(_LARGEST)
        signal.pidfd_send_signal(ended, int(number or signal.SIGKILL))
        if not number:
            break  # nobody is there any more
    _, status = os.waitpid(child, 0)
    try:
        connection.send(str(os.waitstatus_to_exitcode(status)).encode())
    except BrokenPipeError:
        return


def _become(request: dict, trouble: str) -> None:
    """Run a script as Python would, then be gone."""
    status = 1
    try:
        os.environ.clear()
        os.environ.update(request["environment"])
        if _SUPERVISOR in os.environ:  # a node ends with its parent
            os.environ[_SUPERVISOR] = str(os.getppid())
        os.chdir(request["folder"])
        if request["session"]:
            os.setsid()
        if request["terminal"]:
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        # A suite that runs in the background ignores SIGINT, and so would all it starts.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        _open_streams()
        if trouble:
            raise SystemExit(trouble)
        exec(request["prepared"], {})
        _run(request["command"])
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
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _open_streams() -> None:
    """Python looks whether its standard streams are terminals as it starts."""
    sys.stdin = sys.__stdin__ = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    for name, number in (("stdout", 1), ("stderr", 2)):
        by_line = 1 if number == 2 or os.isatty(number) else -1
        stream = open(number, "w", by_line, encoding="utf-8", closefd=False)  # noqa: SIM115
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def _run(command: list[str]) -> None:
    if command[0] == "-c":
        sys.argv = ["-c", *command[2:]]
        main = sys.modules["__main__"] = types.ModuleType("__main__")
        exec(compile(command[1], "<string>", "exec"), vars(main))
    elif command[0] == "-m":
        sys.argv = command[1:]
        sys.modules.pop(command[1], None)
        runpy.run_module(command[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = command
        sys.path.insert(0, str(Path(command[0]).parent))
        runpy.run_path(command[0], run_name="__main__")


if __name__ == "__main__":
    # LeRobot and what it stands on keep caches at home, whose place they read as they are loaded.
    # No TemporaryDirectory: each fork would remove it at its exit, under the others.
    os.environ["HF_HOME"] = home = tempfile.mkdtemp(prefix="armlet-forked-python-")
    try:
        serve(socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2]), sys.argv[3:])
    finally:
        shutil.rmtree(home)
