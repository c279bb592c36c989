"""Request and reply on a half-duplex line: which received packets answer what was asked."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence

from armlet.motors.protocol import (
    SHORTEST_WAIT_S,
    Answers,
    Counters,
    ServoCounters,
    Stamp,
    unix_stamp,
)
from armlet.motors.wire.framing import BROADCAST_ID, MAX_ID, Framing, Packet, Parser
from armlet.motors.wire.port import SerialPort
from armlet.motors.wire.timeout import ReplyTimeout
from armlet.motors.wire.transaction import Answer as Answer
from armlet.motors.wire.transaction import Request as Request
from armlet.motors.wire.transaction import Try, fits

_BITS_PER_BYTE = 10
_WRITE_TIMEOUT_S = 0.1
_AFTER_DAMAGE_S = 0.002
"""Once as many bytes as were due have come and some are damaged, hardly anything more will come."""

_UNHEARD_BYTES = 1024
"""Enough of what has been sent without asking for anything, to know it when it is heard back."""

_PROBE_LENGTHS = range(5, 21)
"""Reply lengths of probes. The first is one that hardly anybody else reads."""

_OUTSTANDING_S = 1.0
"""A reply that comes later than that is not reckoned with. Adapters and computers have been seen to
stand still for half of it."""

_SHORT_TRY_S = 0.0003
"""About what asking one servo again takes, at 1 Mbaud."""


class Line:
    """Carries out requests over an open port, one at a time. Not locked: the bus does that.

    A reply that comes after its request was given up may look like the reply to the next one. The
    line keeps its order, so nothing older can follow the last reply to a request. Until that has
    come, the lengths of the replies outstanding are under suspicion, and a reply counts only if it
    has another length. A SYNC_READ is given one by reading a few bytes more; other requests are
    held back until a probe has been answered, a read of a length that is not suspected. For the
    same reason a late reply to an earlier try of the same question is known for what it is, and
    taken: it was measured after the question was asked.

    An adapter that receives what it sends lets a request pass for a reply: a READ of two bytes
    looks like a reply of two bytes with an error. Once the line is known to echo, each request is
    taken out of what is received; while that is not known, a packet that may be either is settled
    by a request that cannot.

    Args:
        device: the open port.
        framing: the protocol.
        baudrate: bits per second, for the time bytes take.
        timeout_s: longest timeout of replies beyond that time.
        counters: counted into.
        servos: counted into, by id.
        least_wait_s: shortest timeout, see `ReplyTimeout`.
        stamp: the time on the stamps' clock, ns, of an instant of time.monotonic_ns().
        suspects: lengths of replies that may be outstanding from the line before on this port, by
            the time.monotonic() of their requests, see `suspects`. The line is settled only if
            there are none.
    """

    def __init__(
        self,
        device: SerialPort,
        framing: Framing,
        baudrate: int,
        timeout_s: float,
        counters: Counters,
        servos: dict[int, ServoCounters],
        least_wait_s: float = SHORTEST_WAIT_S,
        stamp: Stamp = unix_stamp,
        suspects: Mapping[int, float] | None = None,
    ) -> None:
        self.reply_timeout = ReplyTimeout(timeout_s, least_wait_s)
        self.stamp = stamp
        self._suspects: dict[int, float] = _recent(suspects or {})
        self._settled = not self._suspects
        self._pending: int | None = None
        self._device = device
        self._framing = framing
        self._byte_s = _BITS_PER_BYTE / baudrate
        self._timeout_s = timeout_s
        self._counters = counters
        self._servos = servos
        self._final: tuple[int, int] | None = None
        self._copied: tuple[int, int] | None = None
        self._echoes: bool | None = None
        self._unheard = b""
        self._awake_until = 0.0

    @property
    def suspects(self) -> dict[int, float]:
        """Lengths of replies that may still come, by the time.monotonic() of their requests.

        For the next line on this port: closing a port does not stop what is on its way to it.
        """
        if self._pending is not None:
            self._suspect(self._pending)
        return _recent(self._suspects)

    @property
    def port(self) -> str:
        """The device's path."""
        return self._device.path

    def close(self) -> None:
        """Closes the port."""
        self._device.close()

    def transact(self, request: Request) -> Answer:
        """Sends the request and returns what answered it: possibly nothing. Raises PortError.

        For requests whose replies have a length of their own; see `ask` for those that do not.
        """
        believable = self._settled or self._settle(request)
        if not believable and not request.must_send:
            return _silence()
        answer = self._exchange(request)
        if answer.echoed and self._echoes is None:
            self._reconsider(answer, request)
        if answer.block is not None:
            answer.packets, answer.block = request.due.packets(answer.block), None
        if not believable and answer.packets:
            self._counters.stale_replies += len(answer.packets)
            self._recount(answer.packets, -1)
            answer.packets.clear()
            self._settled = False
            self._suspect(request.reply_params)
        return answer

    def call(self, wait_s: float) -> Answers:
        """Pings every servo on the line with one packet and listens for so long. Raises PortError.

        No servo is waited for in particular, so nothing is learned of the line by it.
        """
        parser = self._framing.parser(self._framing.ping_params)
        self._send(self._framing.encode(self._framing.ping(BROADCAST_ID)), 1)
        packets: list[Packet] = []
        deadline = time.monotonic() + wait_s
        while data := self._device.read(deadline):
            self._counters.bytes_received += len(data)
            packets += parser.feed(data)
        packets += parser.flush()
        self._count(parser)
        ids = {each.id for each in packets if self._framing.may_be_reply(each)}
        garbled = parser.checksum_errors + parser.dropped_bytes > 0
        return Answers(tuple(sorted(id for id in ids if id <= MAX_ID)), garbled)

    def send(self, data: bytes) -> None:
        """Sends a packet that no servo answers. Raises PortError."""
        self._send(data, 1)
        if self._echoes is not False and len(self._unheard) < _UNHEARD_BYTES:
            self._unheard += data

    def avoid(self, ids: tuple[int, ...]) -> list[int]:
        """Lengths that replies of these servos must not have, those to avoid most last.

        Of a single servo's replies, a copy of the one before cannot be recognised by its turn.
        """
        if len(ids) == 1 and self._final is not None and self._final[0] == ids[0]:
            return [length for length in self._suspects if length != self._final[1]] + [
                self._final[1]
            ]
        return list(self._suspects)

    def choose(self, lengths: Iterable[int], avoided: Sequence[int]) -> int | None:
        """The first of the lengths that is not avoided.

        If there is none, the one avoided for longest, once it is no more to be expected that a
        reply of that length may still come; None before.
        """
        wanted = tuple(lengths)
        for length in wanted:
            if length not in avoided:
                return length
        oldest = next((length for length in avoided if length in wanted), None)
        if oldest is None or time.monotonic() - self._suspects.get(oldest, 0.0) < _OUTSTANDING_S:
            return None
        return oldest

    def listen(self, until: float) -> bool:
        """Waits for late replies, which tell what is no longer outstanding; False if none came."""
        data = self._device.read(until)
        if data and not self._hear(data):
            self._discard(data)
        return bool(data)

    def ask(self, request: Request, command: bytes = b"", until: float | None = None) -> Answer:
        """Sends a request whose reply length is none to `avoid`. Raises PortError.

        Args:
            request: what to ask.
            command: a packet without reply that goes out right before it.
            until: time.monotonic() by which to be back. The wait ends earlier if the replies are
                overdue and another try may yet succeed. None: the longest timeout.
        """
        self._copied = self._final
        return self._exchange(request, command, until)

    def ask_again(self, request: Request, until: float, tries: Sequence[Try]) -> Answer:
        """As `ask`, of servos that have not answered the tries before. Counted as a retry.

        Replies to those tries that come after all are taken, as each try has its own length. If
        none is missing any more, nothing is sent, or no longer waited for.
        """
        left_over = self._device.drain()
        if left_over and not self._hear(left_over):
            self._discard(left_over, tries)
        if _answered_by_any(request.ids, tries):
            return _silence()
        self._counters.retries += 1
        for id in request.ids:
            self._servos[id].retries += 1
        return self._exchange(request, b"", until, tries)

    def takes_s(self, request: Request, command: bytes = b"") -> float:
        """How long the request and its replies take on the wire."""
        return (len(command) + len(request.data) + request.due.size) * self._byte_s

    def _settle(self, request: Request) -> bool:
        """Probes the servo; its answer proves that nothing older is outstanding."""
        id = request.ids[0]
        lengths = [length for length in _PROBE_LENGTHS if length != request.reply_params]
        free = [length for length in lengths if length not in self._suspects]
        oldest = [length for length in self._suspects if length in lengths]
        # The oldest at once: a scan of silent ids would else have to wait after the first few.
        probe = self._probe(id, (free or oldest)[0])
        return bool(self._exchange(probe).answered(probe))

    def _probe(self, id: int, length: int) -> Request:
        packet = self._framing.read(id, self._framing.probe.address, length)
        return Request(packet, (id,), length, self._framing)

    def _reconsider(self, answer: Answer, request: Request) -> None:
        """Something came that is either the request, heard back, or a reply with error bits.

        A probe is no reply to itself. If it is not heard back either, the line does not echo.
        """
        self._exchange(self._probe(request.ids[0], _PROBE_LENGTHS[0]))
        if self._echoes is None:
            self._echoes = False
        if not self._echoes:
            self._counters.echoes -= 1
            answer.echoed = False
            answer.block = request.data
            self._recount(request.ids, 1)
            self._count_errors(request.ids[0], request.data[self._framing.code_at])

    def _exchange(
        self,
        request: Request,
        command: bytes = b"",
        until: float | None = None,
        tries: Sequence[Try] = (),
    ) -> Answer:
        data = command + request.data
        self._pending = request.reply_params
        self._send(data, 2 if command else 1)
        answer = _silence()
        wire_s = (len(data) + request.due.size) * self._byte_s
        deadline = self._deadline(answer.written_ns / 1e9, wire_s, until)
        self._awake_until = self.reply_timeout.sleep(wire_s)
        if tries:
            self._sift(answer, request, self._read(answer, deadline), deadline, tries)
        else:
            self._collect(answer, request, data, deadline)
        self._conclude(answer, request, len(data))
        return answer

    def _send(self, data: bytes, packets: int) -> None:
        left_over = self._device.drain()
        if left_over and not self._hear(left_over):
            self._discard(left_over)
        self._device.write(data, _WRITE_TIMEOUT_S)
        self._counters.packets_sent += packets
        self._counters.bytes_sent += len(data)

    def _deadline(self, now: float, wire_s: float, until: float | None) -> float:
        if until is None:
            return now + wire_s + self._timeout_s
        deadline = now + wire_s + self.reply_timeout.wait_s
        # What is left then must do for another try, else it is better spent on this one.
        return deadline if deadline + self.reply_timeout.delay_s + _SHORT_TRY_S < until else until

    def _collect(self, answer: Answer, request: Request, sent: bytes, deadline: float) -> None:
        """Receives until the last servo asked has answered, or the time is up.

        Nearly always that is the bytes of all replies and nothing else. What is not, is sifted.
        """
        due = request.due
        received = b""
        may_echo = self._echoes is not False
        if self._unheard:
            sent, self._unheard = self._unheard + sent, b""
        while not due.complete(received) or (may_echo and sent.startswith(received)):
            data = self._read(answer, deadline)
            if not data:
                break
            received += data
            if may_echo and received.startswith(sent):
                may_echo = False
                answer.echoed = True
                self._counters.echoes += 1
                received = received[len(sent) :]
        if due.intact(received):
            answer.block = received
        else:
            self._sift(answer, request, received, deadline)

    def _sift(
        self,
        answer: Answer,
        request: Request,
        data: bytes,
        deadline: float,
        tries: Sequence[Try] = (),
    ) -> None:
        """Finds the replies in what has been received and goes on receiving."""
        # On a settled line anything longer is damage; else it may be an old reply to pass over.
        parser = self._framing.parser(request.reply_params if self._settled else None)
        may_echo = self._echoes is not False and not answer.echoed
        due_bytes = request.due.size - len(data)
        doubtful: list[Packet] = []
        while True:
            for packet in parser.feed(data) if data else parser.flush():
                if may_echo and packet == request.packet:
                    may_echo = False
                    answer.echoed = True
                    self._counters.echoes += 1
                elif self._may_have_swallowed(packet):
                    doubtful.append(packet)
                    self._counters.stale_replies += answer.accept(packet, request)
                else:
                    self._outlive(packet)
                    if not self._take_late(packet, tries):
                        self._counters.stale_replies += answer.accept(packet, request)
            answer.damaged = parser.checksum_errors + parser.dropped_bytes > 0
            if not data or answer.complete(request):
                break
            if tries and _answered_by_any(request.ids, [*tries, Try(request, answer)]):
                break
            if answer.damaged and due_bytes <= 0:
                deadline = min(deadline, time.monotonic() + _AFTER_DAMAGE_S)
            data = self._read(answer, deadline)
            due_bytes -= len(data)
        if answer.damaged:
            self._forget(answer, doubtful)
        if len(request.ids) > 1 and [*answer.packets] == [request.ids[-1]]:
            self._forget_copy(answer, request)
        self._count(parser)

    def _read(self, answer: Answer, deadline: float) -> bytes:
        data = self._device.read(deadline, self._awake_until)
        if data:
            answer.last_ns = time.monotonic_ns()
            self._counters.bytes_received += len(data)
        return data

    def _take_late(self, packet: Packet, tries: Sequence[Try]) -> bool:
        """Takes a reply to an earlier try of the same question. That it was late is a lesson."""
        for request, answer in tries:
            if fits(packet, request):
                if packet.id in answer.packets or self._is_copy(packet, answer):
                    return False
                self._recount((packet.id,), 1)
                self._count_errors(packet.id, packet.code)
                now_ns = time.monotonic_ns()
                if not answer.packets:
                    answer.last_ns = now_ns
                answer.packets[packet.id] = packet
                self.reply_timeout.saw((now_ns - answer.written_ns) / 1e9 - self.takes_s(request))
                return True
        return False

    def _is_copy(self, packet: Packet, answer: Answer) -> bool:
        """Whether it may be a copy of the last reply to the question before: first of all to come,
        and looking like it."""
        return not answer.packets and self._copied == (packet.id, len(packet.params))

    def _forget(self, answer: Answer, packets: Iterable[Packet]) -> None:
        for packet in packets:
            if answer.packets.get(packet.id) is packet:
                del answer.packets[packet.id]
                self._counters.stale_replies += 1

    def _forget_copy(self, answer: Answer, request: Request) -> None:
        """Only the last servo answered: that is a copy of its last reply, if it looks like it."""
        if self._final == (request.ids[-1], request.reply_params):
            answer.packets.clear()
            self._counters.stale_replies += 1

    def _conclude(self, answer: Answer, request: Request, sent_bytes: int) -> None:
        """Draws the lessons for the requests to come, and counts."""
        answered = answer.answered(request)
        self._pending = None
        if answer.block is not None:
            self._count_intact(answer.block, request)
        else:
            self._count_each(answer, request)
        self._settled = request.ids[-1] in answered
        if not answered:
            self._suspect(request.reply_params)
        elif len(answered) < len(request.ids):
            # Nothing older can follow, only this request's own replies, or a copy of the last.
            self._suspects = {request.reply_params: time.monotonic()}
        elif self._suspects:
            self._suspects.clear()
        if self._echoes is None and answer.echoed and not request.due.intact(request.data):
            self._echoes = True
        if not answered:
            self.reply_timeout.saw_nothing()
            return
        self._final = answered[-1], request.reply_params
        wire_s = (
            sent_bytes + len(answered) * (request.reply_params + self._framing.overhead)
        ) * self._byte_s
        delay_s = (answer.last_ns - answer.written_ns) / 1e9 - wire_s
        self.reply_timeout.saw(delay_s)
        if self._echoes is None:
            self._echoes = answer.echoed

    def _suspect(self, length: int) -> None:
        self._suspects.pop(length, None)
        self._suspects[length] = time.monotonic()

    def _may_have_swallowed(self, packet: Packet) -> bool:
        """Whether it may be a late reply with a damaged length; the next packet is in it then."""
        return self._framing.hides_another(packet, self._suspects)

    def _outlive(self, packet: Packet) -> None:
        """What was outstanding when the request for this reply was sent can no longer come.

        A request heard back late is no reply, though it may be as long as one.
        """
        if not self._framing.is_echo_like(packet) and len(packet.params) in self._suspects:
            while next(iter(self._suspects)) != len(packet.params):
                del self._suspects[next(iter(self._suspects))]

    def _count_intact(self, block: bytes, request: Request) -> None:
        self._counters.replies += len(request.ids)
        for id in request.ids:
            servo = self._servos[id]
            servo.requests += 1
            servo.replies += 1
        errors = request.due.error_bytes(block)
        if any(errors):
            for id, error in zip(request.ids, errors, strict=True):
                self._count_errors(id, error)

    def _count_each(self, answer: Answer, request: Request) -> None:
        self._counters.replies += len(answer.packets)
        self._counters.timeouts += len(request.ids) - len(answer.packets)
        for id in request.ids:
            servo = self._servos[id]
            servo.requests += 1
            if id in answer.packets:
                servo.replies += 1
                self._count_errors(id, answer.packets[id].code)
            else:
                servo.timeouts += 1
                servo.damaged += answer.damaged

    def _count_errors(self, id: int, error_byte: int) -> None:
        if error_byte:
            self._servos[id].count_errors(self._framing.alarms(error_byte))

    def _recount(self, ids: Iterable[int], change: int) -> None:
        """Replies that were counted as missing, or (-1) the other way round."""
        for id in ids:
            self._counters.replies += change
            self._counters.timeouts -= change
            self._servos[id].replies += change
            self._servos[id].timeouts -= change

    def _hear(self, data: bytes) -> bool:
        """Takes the data for an echo, or a part of it, if it is one."""
        if not self._unheard.startswith(data):
            self._unheard = b""
            return False
        self._counters.bytes_received += len(data)
        self._unheard = self._unheard[len(data) :]
        if not self._unheard:
            self._counters.echoes += 1
            self._echoes = True
        return True

    def _discard(self, data: bytes, tries: Sequence[Try] = ()) -> None:
        """Counts what an earlier request left in the input buffer; takes what answers a try."""
        self._counters.bytes_received += len(data)
        parser = self._framing.parser()
        for packet in [*parser.feed(data), *parser.flush()]:
            doubtful = self._may_have_swallowed(packet)
            if not doubtful:
                self._outlive(packet)
            if doubtful or not self._take_late(packet, tries):
                self._counters.stale_replies += 1
        self._count(parser)

    def _count(self, parser: Parser) -> None:
        self._counters.checksum_errors += parser.checksum_errors
        self._counters.dropped_bytes += parser.dropped_bytes


def _recent(suspects: Mapping[int, float]) -> dict[int, float]:
    since = time.monotonic() - _OUTSTANDING_S
    return {length: at for length, at in suspects.items() if at > since}


def _answered_by_any(ids: Sequence[int], tries: Sequence[Try]) -> bool:
    return all(any(id in answer.packets for _, answer in tries) for id in ids)


def _silence() -> Answer:
    now_ns = time.monotonic_ns()
    return Answer(written_ns=now_ns, last_ns=now_ns)
