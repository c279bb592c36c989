"""Runs a graph's nodes as processes: starts them, relays what they say, stops them together."""

from __future__ import annotations

import contextlib
import io
import math
import os
import re
import select
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import IO, Protocol

from armlet.bringup import (
    BAG_RECORDER,
    CONSOLE,
    RESPAWNED_VARIABLE,
    STOP_GRACE_S,
    SUPERVISOR_VARIABLE,
    NodeSpec,
    command,
)
from armlet.files import scratch_folder
from armlet.motors.registry import MotorError, choose
from armlet.motors.torque_watchdog import cut_torque
from armlet.respawn import DELAY_S, Starts
from armlet.robots import CalibrationError
from armlet.robots import calibration as calibrations

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_SUSPENDING = (signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)
# A node that was still loading ends by the signal itself.
_WELL = (0, -signal.SIGTERM)

# Who ends later, after whom: drivers after who commands their arm, a bench after its ports' users,
# and what records a bag after all that is said, as does the console, whose stop is in reach until
# there is nothing to stop.
_OTHERS = 0
_LATER = {"servo_bus": 1, "sim_bench": 2, BAG_RECORDER: 3, CONSOLE: 3}

_LOOK_S = 0.1
# The output of a node that has ended is waited for so long: what it started may hold it open.
_LAST_WORDS_S = 1.0
# A node's last words, as rcutils and `armlet.nodes` write them.
_ERROR = re.compile(
    r"\[(?:ERROR|FATAL)\] \[[^]]*\] \[[^]]*\]: (?P<why>.+)|cannot start: (?P<start>.+)"
)
_CUT_FOR_S = 2.0
# What a driver does without these parameters.
_BAUDRATE = 1_000_000
_MOTORS = "sts3215"


class Output(Protocol):
    """Where the nodes' lines go."""

    def write(self, text: str, /) -> int: ...

    def flush(self) -> None: ...


@contextlib.contextmanager
def noted_signals(ending: threading.Event) -> Iterator[None]:
    """Meanwhile the signals that end a graph set an event, and those that suspend do nothing.

    What Python raises for Ctrl-C may be lost in an import.
    """

    def note(number: int, frame: FrameType | None) -> None:
        ending.set()

    before = {number: signal.getsignal(number) for number in (*_ENDING, *_SUSPENDING)}
    for number in _ENDING:
        # `nohup`: who closes the terminal is not to drop the arm.
        if number is not signal.SIGHUP or before[number] is not signal.SIG_IGN:
            signal.signal(number, note)
    for number in _SUSPENDING:
        # One that is suspended stops nothing, and its nodes, in sessions of their own, go on.
        signal.signal(number, signal.SIG_IGN)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


class Supervisor:
    """A graph's processes. A required node that ends stops the graph; another is reported.

    One with `respawn` that died is started again first, by the rule of `armlet.respawn`.
    """

    def __init__(
        self,
        nodes: Sequence[NodeSpec],
        output: Output | None = None,
        popen: type[subprocess.Popen[str]] = subprocess.Popen,
        ending: threading.Event | None = None,
    ):
        self._nodes = nodes
        self._popen = popen
        self._output: Output = sys.stdout if output is None else output
        self.processes: dict[str, subprocess.Popen[str]] = {}
        """Started processes by label."""
        self._relays: dict[str, threading.Thread] = {}
        self._ending = threading.Event() if ending is None else ending
        self._without_screen = False
        self._reported: set[str] = set()
        self._starts = {spec.label: Starts(spec.respawn) for spec in nodes}
        self._due_s: dict[str, float] = {}
        self._directory = Path()
        self._errors: dict[str, str] = {}

    def run(self, duration_s: float | None = None) -> int:
        """Run until a signal, the duration or the end of a required node; 0 unless one failed.

        A terminal that is gone, or a pipe that nobody reads any more, is as SIGHUP, which may not
        come (ssh without a terminal): an arm is not left to itself with nobody there to see.
        """
        with noted_signals(self._ending):
            return self._run(duration_s)

    def _run(self, duration_s: float | None) -> int:
        # Under `nohup` nobody is there, as was asked for.
        self._without_screen = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        with scratch_folder() as directory:
            try:
                self.start(directory)
                self._say("supervisor", f"started {', '.join(self.processes)}; Ctrl-C stops them")
                failed = self._watch(duration_s)
            finally:
                clean = self.stop()
                self._say("supervisor", self._ended())
        return 0 if clean and not failed else 1

    def start(self, directory: Path) -> None:
        """Start every node; its parameters go through a file in a directory."""
        self._directory = directory
        for spec in self._nodes:
            if not self._ending.is_set():
                self._start(spec, {})

    def _start(self, spec: NodeSpec, more: dict[str, str]) -> None:
        """Start a node, with more variables."""
        own = {**spec.environment, SUPERVISOR_VARIABLE: str(os.getpid()), **more}
        process = self._popen(
            command(spec, self._directory),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # The supervisor passes signals on; a terminal's ^C must not reach nodes twice.
            start_new_session=True,
            env={**os.environ, **own},
        )
        self._starts[spec.label].started(time.monotonic())
        self.processes[spec.label] = process
        lines = process.stdout
        relay = threading.Thread(target=self._relay, args=(spec.label, lines), daemon=True)
        relay.start()
        self._relays[spec.label] = relay

    def stop(self) -> bool:
        """End what still runs; True if all ended well.

        A node is gone before what it builds on goes: the arm is released while its bus is there.
        Those that none builds on end together, then the drivers, then the bench,
        then the bag and the console.
        """
        clean = True
        # Those that have not started, as the end came before, are the last of the nodes.
        started = list(zip(self._nodes, self.processes.values(), strict=False))
        for rank in sorted({_OTHERS, *_LATER.values()}):
            clean &= _end([process for spec, process in started if _rank(spec) == rank])
        for relay in self._relays.values():
            relay.join(STOP_GRACE_S)
        return clean

    def _ended(self) -> str:
        """The last line. A follower says itself that torque is off, once it has read that back."""
        ended = zip(self._nodes, self.processes.items(), strict=False)
        badly = [
            label
            for spec, (label, process) in ended
            if _is_follower(spec) and process.returncode not in _WELL
        ]
        if not badly:
            return "all nodes have ended"
        return (
            f"all nodes have ended, {', '.join(badly)} with an error: if no line above says that "
            "its torque is off, cut the power"
        )

    def _watch(self, duration_s: float | None) -> bool:
        deadline = None if duration_s is None else time.monotonic() + duration_s
        while not self._ending.wait(_LOOK_S):
            if deadline is not None and time.monotonic() > deadline:
                return False
            self._start_again()
            if self._required_node_ended():
                return True
            if not self._without_screen and (stream := _lost_stream()):
                self._say("supervisor", f"nobody reads {stream} any more; stopping the graph")
                return False
        return False

    def trouble(self) -> str:
        """Which required node has ended, in words; empty if all run."""
        for spec, (label, process) in zip(self._nodes, self.processes.items(), strict=False):
            if spec.required and process.poll() is not None and label not in self._due_s:
                # What it said last may still be on its way.
                if label in self._relays:
                    self._relays[label].join(_LAST_WORDS_S)
                why = self._errors.get(label)
                return f"{label} ended with status {process.returncode}" + (
                    f": {why}" if why else ""
                )
        return ""

    def _required_node_ended(self) -> bool:
        for spec, (label, process) in zip(self._nodes, self.processes.items(), strict=True):
            if process.poll() is None or label in self._reported or label in self._due_s:
                continue
            if not self._ended_for_good(spec, process.returncode):
                continue
            self._reported.add(label)
            if spec.required:
                return True
        return False

    def _ended_for_good(self, spec: NodeSpec, status: int) -> bool:
        """Say what comes of a node's end; False if it is to be started again."""
        starts, now_s = self._starts[spec.label], time.monotonic()
        again = starts.again(status, now_s)
        if again:
            self._due_s[spec.label] = now_s + DELAY_S
            consequence = f"it starts again in {DELAY_S:.0f} s"
        else:
            otherwise = "stopping the graph" if spec.required else "the other nodes keep running"
            consequence = starts.consequence(otherwise)
        self._say("supervisor", f"{spec.label} ended with status {status}; {consequence}")
        if status < 0:
            self._cut_torque(spec)
        return not again

    def _start_again(self) -> None:
        """Start those nodes again that died, and have waited for it."""
        for spec in self._nodes:
            if time.monotonic() >= self._due_s.get(spec.label, math.inf):
                del self._due_s[spec.label]
                self._start(spec, {RESPAWNED_VARIABLE: "1"})

    def _cut_torque(self, spec: NodeSpec) -> None:
        """A killed driver's torque watchdog does this sooner, unless it was killed as well."""
        parameters = spec.parameters
        if not _is_follower(spec):
            return
        try:
            joints = calibrations.load(Path(parameters["calibration_file"]))
            family, _ = choose(parameters.get("motors", _MOTORS), tuple(joints))
        except (CalibrationError, MotorError, KeyError) as error:
            self._say("supervisor", f"torque of {spec.label} cannot be cut from here: {error}")
            return
        ids = [joint.id for joint in joints.values()]
        baudrate = parameters.get("baudrate", _BAUDRATE)
        left = cut_torque(parameters["port"], baudrate, ids, _CUT_FOR_S, family)
        said = f"could not be proven off on servos {left}; cut the power" if left else "is off"
        self._say("supervisor", f"torque of {spec.label}, which was killed, {said}")

    def _relay(self, label: str, lines: IO[str]) -> None:
        if isinstance(lines, io.TextIOWrapper):
            # A library may print in any encoding: were that the end, the node would block.
            lines.reconfigure(errors="backslashreplace")
        for line in lines:
            text = line.rstrip()
            if found := _ERROR.match(text):
                self._errors[label] = found["why"] or found["start"]
            self._say(label, text)

    def _say(self, label: str, text: str) -> None:
        # A closed output (a pipe into `head`) must not end the draining: the node would block.
        with contextlib.suppress(OSError, ValueError):
            # Not `print`: it writes the line's end by itself, and another thread may come between.
            self._output.write(f"[{label}] {text}\n")
            self._output.flush()


def _rank(spec: NodeSpec) -> int:
    return _LATER.get(spec.executable, _OTHERS)


def _is_follower(spec: NodeSpec) -> bool:
    return spec.executable == "servo_bus" and spec.parameters.get("mode", "follower") == "follower"


def _lost_stream() -> str:
    """Which of this program's terminal and outputs is gone for good; empty if none.

    systemd's journal is no person: that it was restarted drops no arm.
    """
    for number, name in enumerate(("the terminal", "stdout", "stderr")):
        try:
            kind = os.fstat(number)
        except OSError:  # `>&-`
            continue
        journal = os.environ.get("JOURNAL_STREAM") == f"{kind.st_dev}:{kind.st_ino}"
        # The end of an input that was piped in means nothing.
        if journal or (number == 0 and not stat.S_ISCHR(kind.st_mode)):
            continue
        look = select.poll()
        look.register(number, 0)
        if any(found & (select.POLLHUP | select.POLLERR) for _, found in look.poll(0)):
            return name
    return ""


def _end(processes: Sequence[subprocess.Popen[str]]) -> bool:
    """Have those that still run end, all at once; whether they did so well."""
    running = [process for process in processes if process.poll() is None]
    for process in running:
        # SIGINT would have Python print a traceback of whatever a node is still importing; SIGTERM
        # ends it there without a word, and a node that runs takes both alike.
        process.send_signal(signal.SIGTERM)
    until_s = time.monotonic() + STOP_GRACE_S
    well = [_has_ended_well(process, until_s) for process in running]  # each, also after a bad one
    return all(well)


def _has_ended_well(process: subprocess.Popen[str], until_s: float) -> bool:
    try:
        return process.wait(max(0.0, until_s - time.monotonic())) in _WELL
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return False
