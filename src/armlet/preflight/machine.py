"""Checks of the computer: Python, packages, disk, clock, programs that meddle with serial ports."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import armlet
from armlet import lateness
from armlet.findings import Code, Finding
from armlet.missing import EXTRAS
from armlet.preflight.finding import error, note, ok, warning
from armlet.priority import Role

OLDEST_PYTHON = (3, 11)
LATE_MS = 2.0
LOW_DISK_BYTES = 5e9
NO_DISK_BYTES = 0.5e9
_TIMEOUT_S = 5.0
_PROC = Path("/proc")

# A ROS distribution's apt has neither, or one too old.
_REQUIRED = {"av": "recording and reading videos", "pyarrow": "recording and reading datasets"}
_USES = {
    "torch": "policies and training",
    "safetensors": "reading checkpoints",
    "tokenizers": "SmolVLA's tasks in words",
    "onnx": "exporting policies as graphs",
    "onnxruntime": "policies exported as graphs",
    "openvino": "the fastest policies on a CPU",
    "matplotlib": "pictures of runs",
    "rosbags": "datasets from bags",
}

_MEDDLERS = {
    "ModemManager": (
        "sends modem commands to serial adapters when they are plugged in",
        "sudo systemctl disable --now ModemManager",
    ),
    "brltty": (
        "takes CH340 adapters for braille displays, their port vanishes",
        "sudo apt remove brltty",
    ),
}


def python() -> Iterator[Finding]:
    """Versions of Python and armlet."""
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] < OLDEST_PYTHON:
        needed = ".".join(map(str, OLDEST_PYTHON))
        yield error(
            Code.COMPUTER_PYTHON_VERSION,
            "Python",
            f"{version}, needed {needed}",
            f"install Python {needed} or newer",
        )
    else:
        yield ok(Code.COMPUTER_PYTHON_VERSION, "Python", f"{version} in {sys.prefix}")
    yield ok(
        Code.COMPUTER_ARMLET, "armlet", f"{armlet.__version__} in {Path(armlet.__file__).parent}"
    )


def packages() -> Iterator[Finding]:
    """Packages that apt does not carry: those that recording needs, and optional ones."""
    for name, use in {**_REQUIRED, **_USES}.items():
        try:
            yield ok(Code.COMPUTER_PACKAGE_MISSING, name, metadata.version(name))
        except metadata.PackageNotFoundError:
            absent = f"not installed, needed for {use}"
            if name in _REQUIRED:
                yield error(Code.COMPUTER_PACKAGE_MISSING, name, absent, f"pip install {name}")
            else:
                yield note(
                    Code.COMPUTER_PACKAGE_MISSING,
                    name,
                    absent,
                    f"pip install 'armlet[{EXTRAS[name]}]'",
                )


def disk(root: Path) -> Iterator[Finding]:
    """Space where datasets go."""
    there = next(
        folder for folder in (root.absolute(), *root.absolute().parents) if folder.exists()
    )
    free = shutil.disk_usage(there).free
    found = f"{free / 1e9:.1f} GB free at {there}"
    fix = f"free some space: du -xh --max-depth=2 {there} | sort -h | tail"
    if free < NO_DISK_BYTES:
        yield error(Code.COMPUTER_DISK_LOW, "disk", found, fix)
    elif free < LOW_DISK_BYTES:
        yield warning(Code.COMPUTER_DISK_LOW, "disk", found, fix)
    else:
        yield ok(Code.COMPUTER_DISK_LOW, "disk", found)


def clock() -> Iterator[Finding]:
    """Whether the clock is kept by a time server; stamps of several machines need it."""
    if shutil.which("timedatectl") is None:
        return
    answer = subprocess.run(
        ["timedatectl", "show", "--property=NTPSynchronized", "--value"],
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
    said = answer.stdout.strip()
    if said == "yes":
        yield ok(Code.COMPUTER_CLOCK_UNSYNCHRONIZED, "clock", "set by a time server")
    elif said == "no":
        yield note(
            Code.COMPUTER_CLOCK_UNSYNCHRONIZED,
            "clock",
            "not set by a time server",
            "sudo timedatectl set-ntp true",
        )


def priority() -> Iterator[Finding]:
    """How late a control cycle is run beside busy programs, with the priority this user may take.

    Measured, a second each with and without: what a limit promises is not what the kernel does.
    """
    plain, raised = lateness.compare()
    found = (
        f"beside busy programs a 10 ms cycle runs up to {raised.p99_ms:.1f} ms late with the "
        f"priority that armlet may take, {plain.p99_ms:.1f} ms without (99 % of the turns)"
    )
    if raised.p99_ms <= LATE_MS:
        yield ok(Code.COMPUTER_CYCLES_LATE, "priority", found)
    elif raised.realtime:
        yield note(
            Code.COMPUTER_CYCLES_LATE, "priority", found, "close other programs while the arm moves"
        )
    else:
        wish = Role.BUS.value
        lines = f"@dialout - rtprio {wish.realtime}\\n@dialout - nice {wish.nice}\\n"
        yield note(
            Code.COMPUTER_CYCLES_LATE,
            "priority",
            found,
            f"printf '{lines}' | sudo tee /etc/security/limits.d/armlet.conf, then log in again",
        )


def meddlers() -> Iterator[Finding]:
    """Running programs known to disturb serial adapters."""
    running = {_name(process) for process in _PROC.iterdir() if process.name.isdecimal()}
    for name, (harm, fix) in _MEDDLERS.items():
        if name in running:
            yield warning(Code.COMPUTER_INTERFERING_PROGRAM, name, f"is running; it {harm}", fix)


def _name(process: Path) -> str:
    try:
        return (process / "comm").read_text().strip()
    except OSError:
        return ""  # it has ended
