"""A chain of servos on one serial line, seen from the host, whatever protocol they speak."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from armlet.motors.protocol import (
    SHORTEST_WAIT_S,
    Alarm,
    Answers,
    CorruptReply,
    Counters,
    InstructionRefused,
    MotorModel,
    NoReply,
    PortError,
    Register,
    ServoCounters,
    ServoError,
    Stamp,
    SyncReply,
    unix_stamp,
)
from armlet.motors.wire.framing import Encoder, Framing, Packet
from armlet.motors.wire.line import Line
from armlet.motors.wire.port import SerialPort
from armlet.motors.wire.sync import SyncRead, check_ids, check_writable, gather
from armlet.motors.wire.transaction import Answer, Request

_PLANS_KEPT = 8

_Device = tuple[int, int, int]

_outstanding: dict[_Device | None, dict[int, float]] = {}
"""Of devices that this program has closed: what may still come there, see `Line.suspects`."""


class LineBus(ABC):
    """The servo bus: one transaction at a time, safe to use from several threads.

    A value is never invented and never taken from an old reply: input is flushed before each
    request, a reply counts only if its id, length and turn fit, and after a timeout nothing is
    believed before the line has proved to be clear (see `Line`). A servo that does not answer
    costs `timeout_s`.

    Args:
        port: serial device.
        baudrate: bits per second.
        timeout_s: timeout of replies (return delay and adapter latency) beyond their wire time.

        least_wait_s: shortest timeout. The line learns how long replies take and waits no longer;
            an emulated line in simulated time takes no time of its own, only its computer does.
        stamp: the time on the stamps' clock, ns, of an instant of time.monotonic_ns().

    All are attributes too; changing them takes effect when the port is opened next.

    Attributes:
        framing: the protocol; of the class.
    """

    framing: ClassVar[Framing]

    def __init__(
        self,
        port: str,
        baudrate: int = 1_000_000,
        timeout_s: float = 0.02,
        least_wait_s: float = SHORTEST_WAIT_S,
        stamp: Stamp = unix_stamp,
    ) -> None:
        self.port = port
        self.baudrate = baudrate
        self.timeout_s = timeout_s
        self.least_wait_s = least_wait_s
        self.stamp = stamp
        self._line: Line | None = None
        self._lock = threading.RLock()
        self._counters = Counters()
        self._servos: defaultdict[int, ServoCounters] = defaultdict(ServoCounters)
        self._reads: list[SyncRead] = []
        self._writes: list[tuple[Register, tuple[int, ...], Encoder]] = []

    @property
    @abstractmethod
    def usual_model(self) -> MotorModel:
        """What the servos are where nobody says otherwise."""

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def open(self) -> None:
        """Opens the port; does nothing if it is open. Raises PortError."""
        with self._lock:
            if self._line is None:
                device = SerialPort(self.port, self.baudrate)
                self._line = Line(
                    device,
                    self.framing,
                    self.baudrate,
                    self.timeout_s,
                    self._counters,
                    self._servos,
                    self.least_wait_s,
                    self.stamp,
                    _outstanding.pop(_device(self.port), None),
                )

    def close(self) -> None:
        """Closes the port; does nothing if it is closed. Servos keep doing what they do."""
        with self._lock:
            line, self._line = self._line, None
            if line is not None:
                suspects, device = line.suspects, _device(line.port)
                if suspects and device is not None:
                    _outstanding[device] = suspects
                line.close()

    @property
    def is_open(self) -> bool:
        """Whether the port is open. A PortError closes it; `open` may then be tried again."""
        return self._line is not None

    @property
    def counters(self) -> Counters:
        """A copy of the counters as they stand; they run on when the port is opened again."""
        with self._lock:
            return replace(self._counters)

    @property
    def servo_counters(self) -> dict[int, ServoCounters]:
        """Servo id -> a copy of what has been counted of it, for every id ever asked."""
        with self._lock:
            return {id: counters.copy() for id, counters in sorted(self._servos.items())}

    def ping(self, id: int) -> int:
        """The servo's model number, whatever error bits it reports.

        Raises:
            NoReply: nothing answered in time.
            CorruptReply: something answered, but not intact.
            PortError: the port is lost.
        """
        check_ids((id,))
        model = self.framing.probe
        with self._lock:
            self._ask(Request(self.framing.ping(id), (id,), self.framing.ping_params, self.framing))
            return model.decode(self._ask(self._reading_of(id, model)).params)

    def scan(self, ids: Iterable[int]) -> dict[int, int]:
        """Pings each id: id -> model number of those that answer.

        Raises:
            CorruptReply: something answers, but not intact; two servos may share that id.
            PortError: the port is lost.
        """
        found: dict[int, int] = {}
        for id in ids:
            try:
                found[id] = self.ping(id)
            except NoReply:
                continue
        return found

    def call(self, wait_s: float) -> Answers:
        """Pings all servos at once and listens for so long. Raises PortError."""
        with self._lock:
            try:
                return self._open_line().call(wait_s)
            except PortError:
                self.close()
                raise

    def read(self, id: int, register: Register) -> int:
        """The register's value.

        Raises:
            ServoError: the servo answered with error bits; sync_read gives the value as well.
            NoReply: nothing answered in time.
            CorruptReply: something answered, but not intact.
            PortError: the port is lost.
        """
        check_ids((id,))
        request = self._reading_of(id, register)
        packet = self._ask(request)
        self._check_refusal(packet, request)
        self._check_error_byte(packet, request)
        return register.decode(packet.params)

    def write(self, id: int, register: Register, value: int, *, check: bool = True) -> Alarm:
        """Writes the register and waits for the servo's acknowledgement.

        Returning and raising ServoError both mean that the servo got the value. After NoReply and
        CorruptReply that is unknown, but the instruction has been sent.

        Args:
            id: the servo.
            register: where to.
            value: what.
            check: False returns the servo's alarms instead of raising them.

        Returns:
            The servo's alarms.

        Raises:
            ServoError: the servo acknowledged with error bits set, and `check` is true.
            InstructionRefused: the servo acknowledged that it did not do it.
            NoReply: nothing answered in time.
            CorruptReply: something answered, but not intact.
            PortError: the port is lost.
            ValueError: value out of range, or the register is read only.
        """
        check_ids((id,))
        check_writable(register)
        packet = self.framing.write(id, register, value)
        subject = f"{register.name} = {value}"
        request = Request(packet, (id,), 0, self.framing, subject, must_send=True)
        reply = self._ask(request)
        self._check_refusal(reply, request)
        if check:
            self._check_error_byte(reply, request)
        return self.framing.alarms(reply.code)

    def reboot(self, id: int) -> None:
        """Starts a servo up again, where the protocol has an instruction for it.

        Raises:
            NoReply: it was sent, and not acknowledged in time.
            CorruptReply: something answered, but not intact.
            PortError: the port is lost.
            ValueError: the protocol has none.
        """
        raise ValueError(f"servo {id}: its protocol has no instruction that reboots")

    def sync_read(
        self,
        registers: Sequence[Register],
        ids: Sequence[int],
        *,
        until: float | None = None,
    ) -> SyncReply:
        """Reads the same registers of several servos with one instruction.

        Servos that do not answer are reported as missing, not raised. Given `until`, they are
        asked again, and only they, for as long as another try can finish before that time; how
        soon a reply is taken for lost follows the latency this line has shown (see `ReplyTimeout`).
        Without, there is one try with the timeout of `timeout_s`: with no second chance nothing
        is gained by giving up the first one early.

        Args:
            registers: ascending by address, not overlapping; what lies between is read and ignored.
            ids: servos to ask, which is also the order of their answers.
            until: time.monotonic() by which to return, give or take the scheduler. Only the first
                try may go beyond it: in any case it gets its time on the wire and 0.5 ms.

        Raises:
            PortError: the port is lost.
            ValueError: registers or ids that cannot be asked for together.
        """
        with self._lock:
            return self._gather(self._reading(registers, ids), b"", until)

    def sync_write(self, register: Register, values: Mapping[int, int]) -> None:
        """Writes one register of several servos, to each its own value, with one instruction.

        The protocol has no acknowledgement for this: returning means that it was sent.

        Raises:
            PortError: the port is lost.
            ValueError: value out of range, or the register is read only.
        """
        with self._lock:
            data = self._writing(register, tuple(values)).encode(values)
            try:
                self._open_line().send(data)
            except PortError:
                self.close()
                raise

    def sync_write_read(
        self,
        register: Register,
        values: Mapping[int, int],
        registers: Sequence[Register],
        ids: Sequence[int],
        *,
        until: float | None = None,
    ) -> SyncReply:
        """A `sync_write` and the `sync_read` behind it, sent as one: that spares a turnaround.

        The values are sent once and at once, whatever becomes of the reading.

        Raises:
            PortError: the port is lost.
            ValueError: as `sync_write` and `sync_read`; nothing has been sent then.
        """
        with self._lock:
            command = self._writing(register, tuple(values)).encode(values)
            return self._gather(self._reading(registers, ids), command, until)

    def _reading(self, registers: Sequence[Register], ids: Sequence[int]) -> SyncRead:
        """The plan for that, newly made or one of the last few."""
        registers, ids = tuple(registers), tuple(ids)
        for plan in self._reads:
            if plan.ids == ids and plan.registers == registers:
                return plan
        plan = SyncRead(self.framing, registers, ids)
        self._reads = [plan, *self._reads[: _PLANS_KEPT - 1]]
        return plan

    def _writing(self, register: Register, ids: tuple[int, ...]) -> Encoder:
        for known, its_ids, encoder in self._writes:
            if its_ids == ids and known == register:
                return encoder
        check_ids(ids)
        check_writable(register)
        encoder = self.framing.sync_writer(register, ids)
        self._writes = [(register, ids, encoder), *self._writes[: _PLANS_KEPT - 1]]
        return encoder

    def _ask(self, request: Request) -> Packet:
        """The reply of the one servo that is asked. Raises NoReply, CorruptReply, PortError."""
        (id,) = request.ids
        answer = self._transact(request)
        if id in answer.packets:
            return answer.packets[id]
        if answer.damaged:
            raise CorruptReply(
                f"servo {id}: no intact reply to {request} on {self.port}. Line noise, a loose "
                f"plug, or two servos with id {id}"
            )
        raise NoReply(
            f"servo {id}: no reply to {request} within {self.timeout_s * 1000:g} ms on "
            f"{self.port}. Check its power, cable and id, and that it is set to "
            f"{self.baudrate} baud"
        )

    def _transact(self, request: Request) -> Answer:
        with self._lock:
            try:
                return self._open_line().transact(request)
            except PortError:
                self.close()
                raise

    def _gather(self, plan: SyncRead, command: bytes, until: float | None) -> SyncReply:
        try:
            return gather(self._open_line(), plan, command, until)
        except PortError:
            self.close()
            raise

    def _reading_of(self, id: int, register: Register) -> Request:
        packet = self.framing.read(id, register.address, register.width)
        return Request(packet, (id,), register.width, self.framing, register.name)

    def _check_refusal(self, packet: Packet, request: Request) -> None:
        refusal = self.framing.refusal(packet.code)
        if refusal:
            raise InstructionRefused(f"servo {packet.id} refuses {request}: {refusal}")

    def _check_error_byte(self, packet: Packet, request: Request) -> None:
        if packet.code:
            raise ServoError(packet.id, self.framing.alarms(packet.code), str(request))

    def _open_line(self) -> Line:
        if self._line is None:
            raise PortError(f"{self.port} is not open: never opened, closed, or lost")
        return self._line


def _device(port: str) -> _Device | None:
    """What tells a serial device from one that gets its name after it; None if it is gone."""
    try:
        found = Path(port).stat()
    except OSError:
        return None
    return found.st_rdev, found.st_ino, found.st_ctime_ns
