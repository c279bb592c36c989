"""Which serial devices there are, who has them open, and which servos answer on them.

Nothing here writes to a servo: devices are listed from the kernel's own tables, servos are pinged
and read.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from types import MappingProxyType

from serial.tools import list_ports

from armlet.motors.feetech.bus import Bus
from armlet.motors.feetech.errors import CorruptReply, NoReply, PortError
from armlet.motors.feetech.line import Counters
from armlet.motors.feetech.packets import (
    BROADCAST_ID,
    MAX_ID,
    ErrorBit,
    Instruction,
    Packet,
    Parser,
    encode,
)
from armlet.motors.feetech.port import SerialPort
from armlet.motors.feetech.registers import BAUD_CODES, REGISTERS, Register

MODEL_NAMES: Mapping[int, str] = MappingProxyType(
    {777: "STS3215", 2825: "STS3250", 11272: "SM8512BL", 1284: "SCS0009"}
)
"""Model_Number -> name, of the servos LeRobot knows."""

BAUDRATES = tuple(BAUD_CODES.values())
"""Every speed a servo can be set to, the factory's first."""

FACTORY_BAUDRATE = BAUDRATES[0]

_BY_ID = Path("/dev/serial/by-id")
_BY_PATH = Path("/dev/serial/by-path")
_TTYS = Path("/sys/class/tty")
_PROC = Path("/proc")

_USUAL_IDS = range(1, 7)
_EXPECTED_TIMEOUT_S = 0.03
"""For servos that answered a call, or were asked for by id."""

_GUESSED_TIMEOUT_S = 0.01
"""Return delay is at most 0.5 ms; the rest is for USB adapters and a busy machine."""

_CALL_PATIENCE_S = 0.8
"""Servos answer a broadcast one after the other by id; in slots of 3 ms, id 252 comes at 0.76 s."""

_WORDS_SHOWN = 4
"""Of a command: `python3 -m armlet.nodes.program servo_bus`."""

_LOOKS = 4
_ATTEMPTS = 4
_WRITE_TIMEOUT_S = 0.2
_LISTING_ATTEMPTS = 3

_IDENTITY = tuple(
    REGISTERS[name] for name in ("Firmware_Major_Version", "Firmware_Minor_Version", "Model_Number")
)
_FEEDBACK = tuple(
    REGISTERS[name] for name in ("Present_Position", "Present_Load", "Present_Current")
)


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
    path = Path(pattern).expanduser()
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


@dataclass(frozen=True, slots=True)
class FoundServo:
    """A servo that answers.

    Attributes:
        id: its id.
        baudrate: the speed it answers at.
        model: its model number; None if its answers are unreadable.
        firmware: "3.10"; None if its answers are unreadable.
        shared: answers to this id come twice or garbled: two servos have it, or a plug is loose.
    """

    id: int
    baudrate: int
    model: int | None
    firmware: str | None
    shared: bool = False

    @property
    def model_name(self) -> str:
        """ "STS3215", "model 42", or "?" if unreadable."""
        if self.model is None:
            return "?"
        return MODEL_NAMES.get(self.model, f"model {self.model}")


@dataclass(frozen=True, slots=True)
class Probe:
    """What asking a serial device brought.

    Attributes:
        path: the device.
        servos: those that answer, by speed and id.
        in_use: another program has the device; it was left alone.
        problem: why it could not be asked, or not wholly; empty if nothing was in the way.
    """

    path: str
    servos: tuple[FoundServo, ...] = ()
    in_use: bool = False
    problem: str = ""


def probe(
    path: str,
    ids: Sequence[int] | None = None,
    baudrates: Sequence[int] = (FACTORY_BAUDRATE,),
    *,
    patience_s: float = _CALL_PATIENCE_S,
    watch: Callable[[int], None] | None = None,
) -> Probe:
    """Asks a serial device which servos answer. Reads only; the port is opened exclusively.

    Args:
        path: the device.
        ids: whom to ask, one by one. None calls everybody at once by a broadcast ping, and the
            ids 1 to 6 one by one; if the answers collide, every id one by one.
        baudrates: the speeds to ask at.
        patience_s: how long to wait for answers to the broadcast.
        watch: told each speed before it is tried.
    """
    others = users(path)
    if others:
        return Probe(path, in_use=True, problem=f"in use by {', '.join(map(str, others))}")
    found: list[FoundServo] = []
    problems: list[str] = []
    for baudrate in baudrates:
        if watch is not None:
            watch(baudrate)
        try:
            found += _ask_all(path, ids, baudrate, patience_s)
        except PortError as error:
            if _is_locked(error):
                return Probe(path, tuple(found), True, "in use by another program")
            problems.append(str(error))
            if not os.access(path, os.R_OK | os.W_OK):
                break
    return Probe(path, tuple(found), problem="; ".join(problems))


def _is_locked(error: PortError) -> bool:
    cause = error.__cause__
    return isinstance(cause, OSError) and cause.errno in (errno.EAGAIN, errno.EBUSY)


def _ask_all(
    path: str, ids: Sequence[int] | None, baudrate: int, patience_s: float
) -> list[FoundServo]:
    """Raises PortError."""
    guessed: Sequence[int] = ()
    if ids is None:
        ids, garbled = _call(path, baudrate, patience_s)
        guessed = range(MAX_ID + 1) if garbled else _USUAL_IDS
    found = _identify_each(Bus(path, baudrate, _EXPECTED_TIMEOUT_S), ids, _ATTEMPTS)
    rest = [id for id in guessed if id not in ids]
    found |= _identify_each(Bus(path, baudrate, _GUESSED_TIMEOUT_S), rest, 1)
    return [found[id] for id in sorted(found)]


def _identify_each(bus: Bus, ids: Sequence[int], pings: int) -> dict[int, FoundServo]:
    with bus:
        each = [_identify(bus, id) for id in ids if _answers(bus, id, pings)]
    return {servo.id: servo for servo in each if servo is not None}


def _call(path: str, baudrate: int, patience_s: float) -> tuple[list[int], bool]:
    """Ids that answer a broadcast ping, and whether bytes came that were none."""
    port = SerialPort(path, baudrate)
    parser = Parser(max_length=2)
    packets: list[Packet] = []
    try:
        port.drain()
        port.write(encode(Packet(BROADCAST_ID, Instruction.PING)), _WRITE_TIMEOUT_S)
        deadline = time.monotonic() + patience_s
        while data := port.read(deadline):
            packets += parser.feed(data)
        packets += parser.flush()
    finally:
        port.close()
    garbled = parser.checksum_errors + parser.dropped_bytes > 0
    return sorted({packet.id for packet in packets if packet.id <= MAX_ID}), garbled


def _answers(bus: Bus, id: int, pings: int) -> bool:
    """Whether anything answers one of so many pings, if only garbled. Raises PortError."""
    before = bus.counters
    for _ in range(pings):
        try:
            bus.ping(id)
        except NoReply:
            # On a line in doubt the bus calls garbled answers no reply, too.
            if _damaged(before, bus.counters):
                return True
        except CorruptReply:
            return True
        else:
            return True
    return False


def _identify(bus: Bus, id: int) -> FoundServo | None:
    """The servo with that id, which has answered; None if it no longer does. Raises PortError.

    Two servos with one id answer together: what comes is garbled, or the same answer twice. One
    ping need not show it, since their answers to it may be equal and overlap to the bit.
    """
    model = firmware = None
    damaged = doubled = 0
    for _ in range(_LOOKS):
        before = bus.counters
        known = bus.sync_read(_IDENTITY, [id]).values.get(id)
        if known is not None:
            firmware, model = f"{known[0]}.{known[1]}", known[2]
        bus.sync_read(_FEEDBACK, [id])
        after = bus.counters
        damaged += _damaged(before, after)
        doubled += after.stale_replies > before.stale_replies
    if model is None and not damaged:
        return None
    shared = model is None or damaged > _LOOKS // 2 or doubled > _LOOKS // 2
    return FoundServo(id, bus.baudrate, model, firmware, shared)


def _damaged(before: Counters, after: Counters) -> bool:
    """Whether bytes came in between that formed no packet."""
    return (before.checksum_errors, before.dropped_bytes) != (
        after.checksum_errors,
        after.dropped_bytes,
    )


@dataclass(frozen=True, slots=True)
class Memory:
    """What a servo holds: register name -> value, and the error bits it reports."""

    values: dict[str, int]
    errors: ErrorBit


def read_memory(
    bus: Bus, id: int, registers: Iterable[Register] = tuple(REGISTERS.values())
) -> Memory:
    """Registers of one servo, whatever error it reports; a lost reply is asked for again.

    Raises:
        NoReply: it stays silent.
        PortError: the port is lost.
    """
    values: dict[str, int] = {}
    errors = ErrorBit.NONE
    ordered = sorted(registers, key=lambda register: register.address)
    for _, group in groupby(ordered, key=lambda register: register.area):
        wanted = tuple(group)
        for _ in range(_ATTEMPTS):
            reply = bus.sync_read(wanted, [id])
            if id in reply.values:
                break
        else:
            raise NoReply(
                f"servo {id}: no intact reply on {bus.port} at {bus.baudrate} baud, asked "
                f"{_ATTEMPTS} times. Check its power, cable and id: armlet scan --port {bus.port}"
            )
        values |= {r.name: value for r, value in zip(wanted, reply.values[id], strict=True)}
        errors |= reply.errors.get(id, ErrorBit.NONE)
    return Memory(values, errors)
