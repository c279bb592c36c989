"""Which serial devices there are, and who has them open: from the kernel's own tables."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from serial.tools import list_ports

_BY_ID = Path("/dev/serial/by-id")
_BY_PATH = Path("/dev/serial/by-path")
_TTYS = Path("/sys/class/tty")
_PROC = Path("/proc")

_WORDS_SHOWN = 4
"""Of a command: `python3 -m armlet.nodes.program servo_bus`."""

_LISTING_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class SerialDevice:
    """A serial device.

    Attributes:
        path: the kernel's name, which changes with the order of plugging: /dev/ttyACM0.
        stable_path: a name that stays: under /dev/serial, or the symbolic link that was searched
            for. None if there is none.
        description: what it calls itself.
        vendor, product: USB ids; None if it is no USB device.
        serial_number: of the USB adapter; cheap ones have none.
        location: USB port it hangs on, "1-1.2".
    """

    path: str
    stable_path: str | None = None
    description: str = ""
    vendor: int | None = None
    product: int | None = None
    serial_number: str | None = None
    location: str | None = None

    @property
    def address(self) -> str:
        """The path to write into launch arguments: the stable one where there is one."""
        return self.stable_path or self.path

    @property
    def usb(self) -> str:
        """ "1a86:55d3", or empty if it is no USB device."""
        if self.vendor is None or self.product is None:
            return ""
        return f"{self.vendor:04x}:{self.product:04x}"


def serial_devices(patterns: Sequence[str] | None = None) -> list[SerialDevice]:
    """The serial devices that are there now, in order of their paths.

    Args:
        patterns: globs that replace the search, the way to emulated ports. A symbolic link among
            the matches is the stable path of what it points to.
    """
    hardware = _with_stable_paths(_hardware())
    if patterns is None:
        return sorted(hardware, key=lambda device: device.path)
    found: dict[str, SerialDevice] = {}
    for match in (match for pattern in patterns for match in _matches(pattern)):
        found.setdefault(os.path.realpath(match), _described(match, hardware))
    return list(found.values())


def serial_device(path: str) -> SerialDevice:
    """The device of that path, hardware or not; a symbolic link is its own stable path."""
    return _described(Path(path), _with_stable_paths(_hardware()))


def _described(path: Path, hardware: Iterable[SerialDevice]) -> SerialDevice:
    real = os.path.realpath(path)
    nameless = SerialDevice(
        real, description="pseudo-terminal" if real.startswith("/dev/pts/") else ""
    )
    known = next((each for each in hardware if os.path.realpath(each.path) == real), nameless)
    return replace(known, stable_path=str(path)) if path.is_symlink() else known


def same_kind(device: SerialDevice, others: Iterable[SerialDevice]) -> list[SerialDevice]:
    """Those of the others that may be the device, plugged in again; the likeliest first.

    The same USB vendor and product; if the device had a serial number and one of the others has
    it, that one alone. Of equals, one on the same USB port comes first.
    """
    kind = (device.vendor, device.product)
    candidates = [other for other in others if (other.vendor, other.product) == kind]
    if device.serial_number is not None:
        itself = [each for each in candidates if each.serial_number == device.serial_number]
        candidates = itself or candidates
    return sorted(candidates, key=lambda other: other.location != device.location)


def _hardware() -> list[SerialDevice]:
    """What pyserial finds, less the PC's UARTs that are not there."""
    for attempt in range(_LISTING_ATTEMPTS):
        try:
            ports = list_ports.comports()
            break
        except (TypeError, OSError):
            # pyserial trips over a device that is unplugged while it reads about it.
            if attempt == _LISTING_ATTEMPTS - 1:
                raise
    return [
        SerialDevice(
            path=port.device,
            description=port.product or port.description or "",
            vendor=port.vid,
            product=port.pid,
            serial_number=port.serial_number,
            location=port.location,
        )
        for port in ports
        if port.vid is not None or _is_uart(port.name)
    ]


def _is_uart(name: str) -> bool:
    """The kernel makes /dev/ttyS0 and on without looking; type 0 is "nothing there"."""
    kind = _TTYS / name / "type"
    if not name.startswith("ttyS"):
        return (_TTYS / name / "device").exists()
    try:
        return int(kind.read_text()) != 0
    except (OSError, ValueError):
        return False


def _with_stable_paths(devices: list[SerialDevice]) -> list[SerialDevice]:
    by_id, by_path = _links(_BY_ID), _links(_BY_PATH)
    return [
        replace(device, stable_path=_stable(device, devices, by_id, by_path)) for device in devices
    ]


def _stable(
    device: SerialDevice,
    devices: list[SerialDevice],
    by_id: Mapping[str, str],
    by_path: Mapping[str, str],
) -> str | None:
    """Adapters of one serial number, or none, share a name by id: the last plugged one has it."""
    real = os.path.realpath(device.path)
    alone = len(same_kind(device, devices)) == 1
    order = (by_id, by_path) if alone else (by_path,)
    return next((links[real] for links in order if real in links), None)


def _links(folder: Path) -> dict[str, str]:
    """Device -> link to it."""
    if not folder.is_dir():
        return {}
    return {os.path.realpath(link): str(link) for link in sorted(folder.iterdir())}


def _matches(pattern: str) -> list[Path]:
    try:
        path = Path(pattern).expanduser()
    except RuntimeError:  # the home directory of nobody
        return []
    anchor = Path(path.anchor or ".")
    parts = path.relative_to(path.anchor) if path.anchor else path
    return sorted(match for match in anchor.glob(str(parts)) if match.is_char_device())


@dataclass(frozen=True, slots=True)
class PortUser:
    """A process that has a device open."""

    pid: int
    command: str

    def __str__(self) -> str:
        return f"{self.command} (pid {self.pid})"


def users(path: str) -> list[PortUser]:
    """The other processes that have the device open, of those this user may look into.

    The process that serves a pseudo-terminal is its device, not its user, and not named.
    """
    real = os.path.realpath(path)
    found = []
    for process in _PROC.iterdir():
        if process.name.isdecimal() and int(process.name) != os.getpid():
            files = dict(_open_files(process))
            if real in files.values() and not _serves(process, files, real):
                found.append(PortUser(int(process.name), _command(process)))
    return sorted(found, key=lambda user: user.pid)


def _open_files(process: Path) -> Iterator[tuple[str, str]]:
    """Descriptor and target of a process's open files; none if it is gone or not ours to see."""
    try:
        for link in (process / "fd").iterdir():
            yield link.name, str(link.readlink())
    except OSError:
        return


def _serves(process: Path, files: Mapping[str, str], real: str) -> bool:
    """Whether the process holds the other end of the pseudo-terminal."""
    if not real.startswith("/dev/pts/"):
        return False
    number = f"tty-index:\t{real.rpartition('/')[2]}"
    masters = [name for name, target in files.items() if target.endswith("ptmx")]
    for name in masters:
        try:
            if number in (process / "fdinfo" / name).read_text().splitlines():
                return True
        except OSError:
            return False
    return False


def _command(process: Path) -> str:
    try:
        words = (process / "cmdline").read_bytes().rstrip(b"\0").split(b"\0")
    except OSError:
        return "a process that has ended"
    return (
        " ".join(Path(word.decode(errors="replace")).name for word in words[:_WORDS_SHOWN]) or "?"
    )
