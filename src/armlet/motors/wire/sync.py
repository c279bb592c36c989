"""Reading and writing several servos at once: packets and layouts worked out ahead of time."""

from __future__ import annotations

import struct
import time
from collections.abc import Sequence
from itertools import pairwise

from armlet.motors.protocol import SHORTEST_WAIT_S, Alarm, Register, SyncReply
from armlet.motors.wire.framing import MAX_ID, Framing
from armlet.motors.wire.line import Line
from armlet.motors.wire.transaction import Answer, Request, Try

FORMATS = {1: "B", 2: "H", 4: "I"}
"""Of struct, by width."""

_FORMS_KEPT = 64
_LENGTHS = 24
"""Different lengths tried for one read: so many requests in a row may stay unanswered before the
next one has to wait for the line to clear (`Line.choose`)."""


class SyncForm:
    """One SYNC_READ packet and the layout of its replies.

    Args:
        framing: the protocol.
        registers: what is wanted of each servo, ascending.
        ids: servos to ask.
        padding: bytes read in excess, which is how replies to different requests are kept apart.
    """

    def __init__(
        self, framing: Framing, registers: Sequence[Register], ids: tuple[int, ...], padding: int
    ) -> None:
        start, count = registers[0].address, registers[-1].end - registers[0].address
        # Addresses below the registers exist on every servo; what lies above the table may not.
        before = padding if padding <= start else 0
        after = padding - before
        count += padding
        self._framing = framing
        packet = framing.sync_read(ids, start - before, count)
        self.request = Request(packet, ids, count, framing)
        fields = [f"<{framing.code_at}xB{before}x", FORMATS[registers[0].width]]
        for last, register in pairwise(registers):
            fields += f"{register.address - last.end}x", FORMATS[register.width]
        tail = framing.overhead - framing.code_at - 1
        self._layout = struct.Struct("".join(fields) + f"{after}x{tail}x")
        self._signed = [
            (at, register.maximum, register.decode_raw)
            for at, register in enumerate(registers)
            if register.signed
        ]

    def decode(
        self, answer: Answer, values: dict[int, tuple[int, ...]], errors: dict[int, Alarm]
    ) -> None:
        """Adds what the answer brought to `values` and `errors`."""
        ids = self.request.ids
        block = answer.block
        if block is None:
            ids = tuple(answer.packets)
            block = b"".join([self._framing.flat(packet) for packet in answer.packets.values()])
        for id, row in zip(ids, self._layout.iter_unpack(block), strict=True):
            found = row[1:]
            for at, maximum, decode in self._signed:
                if found[at] > maximum:
                    found = (*found[:at], decode(found[at]), *found[at + 1 :])
            values[id] = found
            if row[0]:
                errors[id] = self._framing.alarms(row[0])
            elif errors:
                errors.pop(id, None)


class SyncRead:
    """The same registers of the same servos, asked for again and again.

    Raises:
        ValueError: registers or ids that cannot be asked for together.
    """

    def __init__(
        self, framing: Framing, registers: tuple[Register, ...], ids: tuple[int, ...]
    ) -> None:
        check_ids(ids)
        self._framing = framing
        self.registers = registers
        self.ids = ids
        self.count = _span(registers, framing.max_params)
        self._plain = SyncForm(framing, registers, ids, 0)
        self._forms: dict[tuple[tuple[int, ...], int], SyncForm] = {}

    @property
    def lengths(self) -> range:
        """Lengths that replies may be given."""
        return range(self.count, min(self.count + _LENGTHS, self._framing.max_params + 1))

    def again(self, missing: tuple[int, ...]) -> tuple[int, ...]:
        """The order in which to ask again those that did not answer.

        Where servos wait for their turn, the first of them silences the others, so it comes last.
        """
        return missing[1:] + missing[:1] if self._framing.waits_for_turn else missing

    def form(self, ids: tuple[int, ...], length: int) -> SyncForm:
        """The form that asks these servos for replies of that length."""
        padding = length - self.count
        if not padding and ids == self.ids:
            return self._plain
        key = ids, padding
        form = self._forms.get(key)
        if form is None:
            if len(self._forms) >= _FORMS_KEPT:
                self._forms.clear()
            form = self._forms[key] = SyncForm(self._framing, self.registers, ids, padding)
        return form


def check_ids(ids: Sequence[int]) -> None:
    """Raises ValueError unless the ids are different numbers that servos can have."""
    if not ids or len(set(ids)) != len(ids) or min(ids) < 0 or max(ids) > MAX_ID:
        raise ValueError(f"servo ids must be different numbers 0..{MAX_ID}, found {list(ids)}")


def check_writable(register: Register) -> None:
    """Raises ValueError for a read-only register."""
    if register.access != "rw":
        raise ValueError(f"{register.name} is read only")


def _span(registers: Sequence[Register], most: int) -> int:
    """Number of bytes that cover the registers."""
    if not registers:
        raise ValueError("sync_read needs at least one register")
    for before, after in pairwise(registers):
        if after.address < before.end:
            raise ValueError(
                f"registers must ascend and not overlap, found {after.name} at {after.address} "
                f"after {before.name} at {before.address}..{before.end - 1}"
            )
    count = registers[-1].end - registers[0].address
    if count > most:
        raise ValueError(f"one reply carries {most} bytes, these registers span {count}")
    return count


def gather(line: Line, plan: SyncRead, command: bytes, until: float | None) -> SyncReply:
    """Asks until all have answered or `until` (time.monotonic()) has come; None: once.

    The command goes out once, with the first request. Raises PortError.
    """
    avoided = line.avoid(plan.ids)
    length = line.choose(plan.lengths, avoided) if avoided else plan.count
    if length is None:
        if command:
            line.send(command)
            command = b""
        length = _wait_for_length(line, plan, until)
        if length is None:
            return SyncReply({}, plan.ids, {}, line.stamp(time.monotonic_ns()))
    form = plan.form(plan.ids, length)
    first_until = until
    if until is not None:
        least_s = line.takes_s(form.request, command) + SHORTEST_WAIT_S
        first_until = max(until, time.monotonic() + least_s)
    answer = line.ask(form.request, command, first_until)
    if answer.block is None and until is not None:
        return _retry(line, plan, [(form, answer)], until)
    return _reply(line, plan, [(form, answer)])


def _wait_for_length(line: Line, plan: SyncRead, until: float | None) -> int | None:
    """Listens until a length is free again. None if none is in time."""
    deadline = time.monotonic() + line.reply_timeout.wait_s if until is None else until
    length = None
    while length is None and line.listen(deadline):
        length = line.choose(plan.lengths, line.avoid(plan.ids))
    return length


def _retry(
    line: Line, plan: SyncRead, tries: list[tuple[SyncForm, Answer]], until: float
) -> SyncReply:
    while missing := _missing(plan, tries):
        # Each try has a length of its own, even if nothing is outstanding: it costs nothing, late
        # replies count for their own try, and copies of them are not taken for the next cycle's.
        lengths = [form.request.reply_params for form, _ in tries]
        length = line.choose(plan.lengths, [*line.avoid(missing), *lengths])
        if length is None:
            break
        form = plan.form(missing, length)
        needs_s = line.takes_s(form.request) + line.reply_timeout.delay_s
        if time.monotonic() + needs_s > until:
            break
        asked = [Try(form.request, answer) for form, answer in tries]
        tries.append((form, line.ask_again(form.request, until, asked)))
    return _reply(line, plan, tries)


def _missing(plan: SyncRead, tries: Sequence[tuple[SyncForm, Answer]]) -> tuple[int, ...]:
    found = {id for _, answer in tries for id in answer.packets}
    return plan.again(tuple([id for id in tries[-1][0].request.ids if id not in found]))


def _reply(line: Line, plan: SyncRead, tries: Sequence[tuple[SyncForm, Answer]]) -> SyncReply:
    values: dict[int, tuple[int, ...]] = {}
    errors: dict[int, Alarm] = {}
    retried: set[int] = set()
    first = tries[0][1]
    for form, answer in tries:
        answered = answer.answered(form.request)
        if values:
            retried.update(answered)
        elif answered:
            first = answer
        form.decode(answer, values, errors)
    # Midway between request and last reply.
    stamp_ns = line.stamp((first.written_ns + first.last_ns) // 2)
    if len(values) == len(plan.ids) and len(tries) == 1:
        return SyncReply(values, (), errors, stamp_ns)
    return SyncReply(
        {id: values[id] for id in plan.ids if id in values},
        _missing(plan, tries),
        {id: errors[id] for id in plan.ids if id in errors},
        stamp_ns,
        tuple([id for id in plan.ids if id in retried]),
    )
