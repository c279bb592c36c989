"""Request and reply on a half-duplex line: which received packets answer what was asked."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from armlet.feetech.packets import MAX_LENGTH, OVERHEAD, Instruction, Packet, Parser, encode
from armlet.feetech.port import SerialPort
from armlet.feetech.registers import MODEL_NUMBER

_BITS_PER_BYTE = 10
_WRITE_TIMEOUT_S = 0.1
_AFTER_DAMAGE_S = 0.002
"""Once as many bytes as were due have come and some are damaged, hardly anything more will come."""

_HIGHEST_ERROR_BYTE = 0x7F
"""The vendor's SDK discards status packets with a larger error byte as misread."""

_PROBE_BYTES = 5
"""A length nobody else reads, so no other reply passes for a probe's and a probe's for no other."""


@dataclass(slots=True)
class Counters:
    """What a bus has seen since it was made.

    Attributes:
        packets_sent: instruction packets written.
        replies: status packets accepted as the answer to a request.
        timeouts: servos that owed a reply and gave none, intact and in time.
        checksum_errors: packets complete by their length, but with a wrong checksum.
        dropped_bytes: received bytes that became part of no packet.
        stale_replies: intact packets that were no answer to the request in progress.
    """

    packets_sent: int = 0
    replies: int = 0
    timeouts: int = 0
    checksum_errors: int = 0
    dropped_bytes: int = 0
    stale_replies: int = 0


@dataclass(frozen=True, slots=True)
class Request:
    """An instruction and the replies it is owed.

    Attributes:
        packet: the instruction packet.
        ids: the servos that answer, in order; empty where the protocol has no answer.
        reply_params: number of parameters of each reply.
        subject: what it is about, for error messages.
        must_send: send it even if the line does not answer: its effect matters more than its reply.
    """

    packet: Packet
    ids: tuple[int, ...]
    reply_params: int
    subject: str = ""
    must_send: bool = False

    def __str__(self) -> str:
        return f"{Instruction(self.packet.code).name} {self.subject}".strip()


@dataclass(slots=True)
class Answer:
    """The replies to one request.

    Attributes:
        packets: servo id -> its status packet, in the order of the request.
        written_ns: time.monotonic_ns() when the request had been handed to the port.
        last_ns: time.monotonic_ns() of the last bytes received, or of the request.
        damaged: whether bytes came that formed no intact packet.
    """

    packets: dict[int, Packet] = field(default_factory=dict)
    written_ns: int = 0
    last_ns: int = 0
    damaged: bool = False

    def accept(self, packet: Packet, request: Request) -> int:
        """Takes a received packet if it answers the request. Returns how many proved to be stale.

        Servos answer in the order asked. One that seems to have answered before its turn, or twice,
        had not: that was its reply to an earlier request, and it is forgotten.
        """
        fits = len(packet.params) == request.reply_params and packet.code <= _HIGHEST_ERROR_BYTE
        if not fits or packet.id not in request.ids:
            return 1
        turn = request.ids.index(packet.id)
        early = [id for id in self.packets if request.ids.index(id) >= turn]
        for id in early:
            del self.packets[id]
        self.packets[packet.id] = packet
        return len(early)


class Line:
    """Carries out requests over an open port, one at a time. Not locked: the bus does that.

    A reply that comes after its request was given up may look like the reply to the next one. So
    after a request whose last reply is missing, the next is held back until a probe (a read of
    unusual length) has been answered: the line keeps its order, hence nothing older can follow.

    Args:
        device: the open port.
        baudrate: bits per second, for the time bytes take.
        timeout_s: patience for replies beyond that time.
        counters: counted into.
    """

    def __init__(
        self, device: SerialPort, baudrate: int, timeout_s: float, counters: Counters
    ) -> None:
        self._device = device
        self._byte_s = _BITS_PER_BYTE / baudrate
        self._timeout_s = timeout_s
        self._counters = counters
        self._settled = True
        self._witness: int | None = None
        self._turn = 0

    def close(self) -> None:
        """Closes the port."""
        self._device.close()

    def transact(self, request: Request) -> Answer:
        """Sends the request and returns what answered it: possibly nothing. Raises PortError."""
        believable = self._settled or not request.ids or self._settle(request.ids)
        if not believable and not request.must_send:
            return self._silence()
        answer = self._exchange(request)
        if not believable:
            self._counters.replies -= len(answer.packets)
            self._counters.stale_replies += len(answer.packets)
            answer.packets.clear()
            self._settled = False
        return answer

    def _silence(self) -> Answer:
        now_ns = time.monotonic_ns()
        return Answer(written_ns=now_ns, last_ns=now_ns)

    def _settle(self, ids: tuple[int, ...]) -> bool:
        """Probes one of the servos; its answer proves that nothing older is outstanding."""
        id = self._witness
        if id is None or id not in ids:
            self._turn += 1
            id = ids[self._turn % len(ids)]
        packet = Packet(id, Instruction.READ, bytes((MODEL_NUMBER.address, _PROBE_BYTES)))
        return id in self._exchange(Request(packet, (id,), _PROBE_BYTES)).packets

    def _exchange(self, request: Request) -> Answer:
        self._discard(self._device.drain())
        data = encode(request.packet)
        self._device.write(data, _WRITE_TIMEOUT_S)
        self._counters.packets_sent += 1
        answer = self._silence()
        if request.ids:
            self._collect(answer, request, len(data))
            self._counters.replies += len(answer.packets)
            self._counters.timeouts += len(request.ids) - len(answer.packets)
            self._settled = request.ids[-1] in answer.packets
            self._witness = next(reversed(answer.packets), None)
        return answer

    def _collect(self, answer: Answer, request: Request, sent_bytes: int) -> None:
        """Receives until the last servo asked has answered, or the time is up.

        Servos that should have answered before the last one have missed their turn by then.
        """
        due_bytes = len(request.ids) * (request.reply_params + OVERHEAD)
        wire_s = (sent_bytes + due_bytes) * self._byte_s
        deadline = time.monotonic() + wire_s + self._timeout_s
        # On a settled line anything longer is damage; else it may be an old reply to pass over.
        parser = Parser(request.reply_params + 2 if self._settled else MAX_LENGTH)
        while request.ids[-1] not in answer.packets:
            data = self._device.read(deadline)
            for packet in parser.feed(data) if data else parser.flush():
                self._counters.stale_replies += answer.accept(packet, request)
            answer.damaged = parser.checksum_errors + parser.dropped_bytes > 0
            if not data:
                break
            answer.last_ns = time.monotonic_ns()
            due_bytes -= len(data)
            if answer.damaged and due_bytes <= 0:
                deadline = min(deadline, time.monotonic() + _AFTER_DAMAGE_S)
        self._count(parser)

    def _discard(self, data: bytes) -> None:
        """Counts what an earlier request left in the input buffer."""
        if data:
            parser = Parser()
            self._counters.stale_replies += len(parser.feed(data)) + len(parser.flush())
            self._count(parser)

    def _count(self, parser: Parser) -> None:
        self._counters.checksum_errors += parser.checksum_errors
        self._counters.dropped_bytes += parser.dropped_bytes
