"""Framing of the Feetech STS/SMS protocol: instruction and status packets on the wire.

``FF FF ID LEN CODE PARAM... CHECKSUM`` with LEN = number of parameters + 2 and CHECKSUM = the low
byte of NOT (ID + LEN + CODE + parameters). CODE is the instruction on the way out, the error byte
on the way back; nothing else tells the two directions apart. Source: Feetech protocol manual.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Mapping, Sequence
from enum import IntEnum

from armlet.motors.feetech.registers import MODEL_NUMBER
from armlet.motors.protocol import Alarm, Register
from armlet.motors.wire.framing import BROADCAST_ID as BROADCAST_ID
from armlet.motors.wire.framing import MAX_ID as MAX_ID
from armlet.motors.wire.framing import Packet as Packet
from armlet.motors.wire.framing import StatusBlock
from armlet.motors.wire.scanner import PacketScanner, Verdict
from armlet.motors.wire.sync import FORMATS

HEADER = b"\xff\xff"
MAX_LENGTH = 246
"""Largest LEN field: the vendor's SDK handles packets of 250 bytes, four of them before CODE."""
OVERHEAD = 6
"""Bytes of a packet besides its parameters."""
_CODE_AT = 4


class Instruction(IntEnum):
    """Instruction codes of the STS/SMS series."""

    PING = 0x01
    READ = 0x02
    WRITE = 0x03
    REG_WRITE = 0x04
    ACTION = 0x05
    SYNC_READ = 0x82
    SYNC_WRITE = 0x83


ErrorBit = Alarm
"""Bits of a status packet's error byte, and of the Status register: the alarms' lowest eight."""

_INSTRUCTIONS = frozenset(Instruction)
_HEADER_BYTE = HEADER[:1]


def encode(packet: Packet) -> bytes:
    """The packet's bytes on the wire.

    Raises:
        ValueError: an id, code or number of parameters that no packet can carry.
    """
    length = len(packet.params) + 2
    if not 0 <= packet.id <= BROADCAST_ID:
        raise ValueError(f"packet id must be 0..{BROADCAST_ID}, found {packet.id}")
    if not 0 <= packet.code <= 0xFF:
        raise ValueError(f"packet code must be one byte, found {packet.code}")
    if length > MAX_LENGTH:
        raise ValueError(f"a packet holds {MAX_LENGTH - 2} parameters, found {len(packet.params)}")
    body = bytes((packet.id, length, packet.code)) + packet.params
    return HEADER + body + bytes((checksum(body),))


def checksum(body: bytes | bytearray) -> int:
    """The last byte of a packet, from its bytes between header and that."""
    return ~sum(body) & 0xFF


class Parser(PacketScanner):
    """Finds packets in a byte stream, however it is cut into pieces and whatever lies between them.

    A header that turns out to be false (impossible id or length, wrong checksum) costs its first
    byte only: the search goes on at the next one, so a good packet behind or inside it is found.
    A header that is still waiting for its bytes holds back what follows; when the line falls
    silent, `flush` settles that.

    Args:
        max_length: largest LEN field believed. The tighter, the sooner a false length is unmasked.

    Attributes:
        checksum_errors: packets complete by their length whose checksum was wrong.
        dropped_bytes: bytes that became part of no packet.
    """

    def __init__(self, max_length: int = MAX_LENGTH) -> None:
        super().__init__(HEADER)
        self._max_length = max_length

    def _judge(self) -> Verdict:
        """What the header at the front of the pending bytes leads."""
        front = self._pending
        if len(front) > 2 and front[2] == 0xFF:
            return Verdict.FALSE
        if len(front) < 4:
            return Verdict.INCOMPLETE
        if not 2 <= front[3] <= self._max_length:
            return Verdict.FALSE
        last = front[3] + 3
        if len(front) <= last:
            return Verdict.INCOMPLETE
        if front[last] == checksum(front[2:last]):
            return Verdict.INTACT
        self.checksum_errors += 1
        return Verdict.FALSE

    def _take(self) -> Packet:
        front = self._pending
        last = front[3] + 3
        packet = Packet(front[2], front[4], bytes(front[5:last]))
        del front[: last + 1]
        return packet


_HIGHEST_ERROR_BYTE = 0x7F
"""The vendor's SDK discards status packets with a larger error byte as misread."""


class FeetechBlock(StatusBlock):
    """Status packets of so many parameters each, see `StatusBlock`."""

    def __init__(self, ids: tuple[int, ...], params: int) -> None:
        heads = [HEADER + bytes((id, params + 2)) for id in ids]
        super().__init__(ids, heads, params + OVERHEAD, _CODE_AT, tail=1)

    def intact(self, data: bytes) -> bool:
        """Whether the data is exactly these packets, with valid checksums and error bytes."""
        if len(data) != self.size:
            return False
        for head, start, end in self._cuts:
            if not data.startswith(head, start) or sum(data[start + 2 : end]) & 0xFF != 0xFF:
                return False
        return max(self.error_bytes(data)) <= _HIGHEST_ERROR_BYTE

    def _packet(self, id: int, code: int, params: bytes) -> Packet:
        return Packet(id, code, params)


class SyncWriter:
    """Writes of one register to the same servos.

    Raises:
        ValueError: more than a packet holds.
    """

    def __init__(self, register: Register, ids: tuple[int, ...]) -> None:
        params = len(ids) * (register.width + 1) + 2
        if params > FRAMING.max_params:
            most = FRAMING.max_params
            raise ValueError(f"a packet holds {most} parameters, these values need {params}")
        self.register = register
        self._head = HEADER, BROADCAST_ID, params + 2, Instruction.SYNC_WRITE
        self._layout = struct.Struct("<2s5B" + f"B{FORMATS[register.width]}" * len(ids))

    def encode(self, values: Mapping[int, int]) -> bytes:
        """The packet that writes each servo its value. Raises ValueError: value out of range."""
        register = self.register
        minimum, maximum = register.minimum, register.maximum
        blocks: list[int] = []
        for id, value in values.items():
            if not minimum <= value <= maximum:
                register.encode(value)
            blocks += id, (value if value >= 0 else register.encode_raw(value))
        packet = self._layout.pack(*self._head, register.address, register.width, *blocks)
        return packet + bytes((checksum(packet[2:]),))


class FeetechFraming:
    """The STS/SMS protocol as a line needs it, see `wire.framing.Framing`."""

    max_params = MAX_LENGTH - 2
    overhead = OVERHEAD
    code_at = _CODE_AT
    ping_params = 0
    probe: Register = MODEL_NUMBER
    waits_for_turn = False

    def encode(self, packet: Packet) -> bytes:
        return encode(packet)

    def flat(self, packet: Packet) -> bytes:
        return encode(packet)

    def parser(self, max_params: int | None = None) -> Parser:
        return Parser(MAX_LENGTH if max_params is None else max_params + 2)

    def due(self, ids: tuple[int, ...], params: int) -> FeetechBlock:
        return FeetechBlock(ids, params)

    def name(self, code: int) -> str:
        return Instruction(code).name

    def ping(self, id: int) -> Packet:
        return Packet(id, Instruction.PING)

    def read(self, id: int, address: int, count: int) -> Packet:
        return Packet(id, Instruction.READ, bytes((address, count)))

    def write(self, id: int, register: Register, value: int) -> Packet:
        return Packet(id, Instruction.WRITE, bytes((register.address,)) + register.encode(value))

    def sync_read(self, ids: Sequence[int], address: int, count: int) -> Packet:
        return Packet(BROADCAST_ID, Instruction.SYNC_READ, bytes((address, count, *ids)))

    def sync_writer(self, register: Register, ids: tuple[int, ...]) -> SyncWriter:
        return SyncWriter(register, ids)

    def may_be_reply(self, packet: Packet) -> bool:
        return packet.code <= _HIGHEST_ERROR_BYTE

    def is_echo_like(self, packet: Packet) -> bool:
        return packet.code in _INSTRUCTIONS

    def hides_another(self, packet: Packet, lengths: Collection[int]) -> bool:
        """A late reply, shorter by one or two, whose length has one bit changed.

        It ends in the next packet's header then, and each FF takes from the checksum what the
        length has added. What is left of that next packet shows as damage.
        """
        tail = encode(packet)[-2:]
        return (tail == HEADER and len(packet.params) - 2 in lengths) or (
            tail.endswith(_HEADER_BYTE) and len(packet.params) - 1 in lengths
        )

    def alarms(self, error_byte: int) -> Alarm:
        return Alarm(error_byte)

    def refusal(self, error_byte: int) -> str:
        """Feetech's error byte has no place for it."""
        return ""


FRAMING = FeetechFraming()
