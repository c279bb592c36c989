"""Whether checkpoints fit the running graph: `armlet policy check --live`, by that very command.

It loads a network, decodes pictures and asks the network about them: so it runs in a process of its
own, behind everything else on the computer, one after the other.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from armlet.files import FileError, parse_json, printable
from armlet.findings import Finding
from armlet.findings import from_json as finding_of

COMMAND = (
    sys.executable,
    "-c",
    "import sys; from armlet.priority import lower_process; lower_process(); "
    "from armlet.cli.main import main; sys.exit(main(sys.argv[1:]))",
)
"""The `armlet` command, behind everything else."""
SETTINGS = ("calibration_file", "joint_units", "calibration_tolerance_deg", "fit_limits", "task")
"""Parameters of the policy node, which the check is made with as well."""
_LIVE_S, _WAIT_S = 2.0, 60.0
_FITS, _REFUSED = 0, 1
_LARGEST = 4 << 20
_END_S = 5.0
_KEPT = 64


class Standing(StrEnum):
    """Of one checkpoint's check. FAILED: it could not be made."""

    WAITING = "waiting"
    RUNNING = "running"
    FITS = "fits"
    REFUSED = "refused"
    FAILED = "failed"


@dataclass(frozen=True)
class Fit:
    """findings: every line. error: why it could not be made, in the command's words."""

    standing: Standing
    findings: tuple[Finding, ...] = ()
    error: str = ""

    @property
    def is_over(self) -> bool:
        return self.standing not in (Standing.WAITING, Standing.RUNNING)


@dataclass(frozen=True)
class Order:
    """A checkpoint to be checked: its key, and the arguments of the command."""

    key: str
    arguments: tuple[str, ...]


def arguments(path: Path, namespace: str, settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Of the check of a checkpoint beside a graph.

    settings: the policy node's parameters of `SETTINGS`, those that are known.
    """
    given = ["policy", "check", f"--checkpoint={path}", f"--live={_LIVE_S:g}"]
    # What runs behind everything else on a busy computer finds nodes late.
    given += [f"--wait={_WAIT_S:g}", "--json"]
    if namespace:
        given.append(f"--namespace={namespace}")
    for name, option in (
        ("calibration_file", "--calibration"),
        ("joint_units", "--joint-units"),
        ("calibration_tolerance_deg", "--calibration-tolerance-deg"),
        ("task", "--task"),
    ):
        if settings.get(name):
            given.append(f"{option}={settings[name]}")
    limits = str(settings.get("fit_limits") or "").split(",")
    given += [f"--limit={limit.strip()}" for limit in limits if limit.strip()]
    return tuple(given)


class Fits:
    """Checks one after the other, in a thread, and keeps what came of each. For several threads.

    Args:
        command: what the arguments of an order are given to.
    """

    def __init__(self, command: Sequence[str] = COMMAND) -> None:
        self._command = tuple(command)
        self._changed = threading.Condition()
        self._fits: dict[str, Fit] = {}
        self._orders: list[Order] = []
        self._process: subprocess.Popen[str] | None = None
        self._thread: threading.Thread | None = None
        self._closed = False

    def begin(self, order: Order) -> None:
        """Check it again, unless that waits or runs already."""
        with self._changed:
            known = self._fits.get(order.key)
            if self._closed or (known is not None and not known.is_over):
                return
            self._fits.pop(order.key, None)
            self._fits[order.key] = Fit(Standing.WAITING)
            self._forget()
            self._orders.append(order)
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, name="fits", daemon=True)
                self._thread.start()

    def _forget(self) -> None:
        over = [key for key, fit in self._fits.items() if fit.is_over]
        for key in over[: max(0, len(self._fits) - _KEPT)]:
            del self._fits[key]

    def get(self, key: str) -> Fit | None:
        """What is known of a checkpoint; None if it was not checked."""
        with self._changed:
            return self._fits.get(key)

    def wait(self, ready: Callable[[], bool], timeout_s: float) -> bool:
        """Whether something has become so with one of them."""
        with self._changed:
            return self._changed.wait_for(ready, timeout_s)

    def close(self) -> None:
        """End the check that runs, and begin no more."""
        with self._changed:
            self._closed = True
            self._orders.clear()
            if self._process is not None:
                self._process.kill()
            thread = self._thread
        if thread is not None:
            thread.join(_END_S)

    def _serve(self) -> None:
        while True:
            with self._changed:
                if not self._orders:
                    self._thread = None
                    return
                order = self._orders.pop(0)
                self._note(order.key, Fit(Standing.RUNNING))
            fit = self._check(order)
            with self._changed:
                self._note(order.key, fit)

    def _note(self, key: str, fit: Fit) -> None:
        self._fits[key] = fit
        self._changed.notify_all()

    def _check(self, order: Order) -> Fit:
        with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as said:
            try:
                with self._changed:
                    if self._closed:
                        return Fit(Standing.FAILED)
                    process = self._process = subprocess.Popen(
                        (*self._command, *order.arguments),
                        stdin=subprocess.DEVNULL,
                        stdout=subprocess.PIPE,
                        stderr=said,
                        text=True,
                        encoding="utf-8",
                        errors="replace",
                        start_new_session=True,
                    )
            except OSError as error:
                return Fit(Standing.FAILED, error=f"no process could be started: {error.strerror}")
            with process:
                assert process.stdout is not None
                text = process.stdout.read(_LARGEST)
                if len(text) == _LARGEST:
                    process.kill()
            with self._changed:
                self._process = None
            said.seek(0)
            return result(process.returncode, text, said.read(_LARGEST))


def result(status: int, text: str, said: str) -> Fit:
    """Of the command's exit status, output and errors."""
    if status in (_FITS, _REFUSED):
        with contextlib.suppress(FileError, KeyError, TypeError):
            items = parse_json(text)["items"]
            standing = Standing.FITS if status == _FITS else Standing.REFUSED
            return Fit(standing, tuple(finding_of(item) for item in items))
    lines = said.strip().splitlines()
    last = printable(lines[-1], 1000) if lines else f"the check ended with {status}"
    return Fit(Standing.FAILED, error=last)
