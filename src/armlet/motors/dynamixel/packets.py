"""Framing of Dynamixel Protocol 2.0: instruction and status packets on the wire.

``FF FF FD 00 ID LEN_L LEN_H INST PARAM... CRC_L CRC_H``; LEN counts what follows it. A status
packet has INST 55 and, before its parameters, an error byte. Where INST and parameters hold
FF FF FD, a further FD follows it on the wire, so that no header can be inside a packet; LEN and CRC
count it. The CRC is CRC-16 with polynomial 8005, from 0, highest bit first, over all before it.
Source: ROBOTIS e-manual, Protocol 2.0.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

from armlet.motors.dynamixel.registers import MODEL_NUMBER
from armlet.motors.protocol import Alarm, Register
from armlet.motors.wire.framing import BROADCAST_ID as BROADCAST_ID
from armlet.motors.wire.framing import MAX_ID as MAX_ID
from armlet.motors.wire.framing import Packet as Packet
from armlet.motors.wire.framing import StatusBlock
from armlet.motors.wire.scanner import PacketScanner, Verdict
from armlet.motors.wire.sync import FORMATS

HEADER = b"\xff\xff\xfd\x00"
STATUS = 0x55
MAX_PARAMS = 230
"""Of a packet: an X series servo receives and sends about 256 bytes, stuffing included."""

OVERHEAD = 11
"""Bytes of a status packet besides its parameters."""

_MAX_LENGTH = MAX_PARAMS + MAX_PARAMS // 3 + 8
_STUFFED = b"\xff\xff\xfd"
_BODY = 7
"""Where INST is: header, id, length before it."""

_ERROR_AT = 8
_ALERT = 0x80
_POLYNOMIAL = 0x8005


class Instruction(IntEnum):
    """Instruction codes of Protocol 2.0."""

    PING = 0x01
    READ = 0x02
    WRITE = 0x03
    REG_WRITE = 0x04
    ACTION = 0x05
    FACTORY_RESET = 0x06
    REBOOT = 0x08
    CLEAR = 0x10
    CONTROL_TABLE_BACKUP = 0x20
    SYNC_READ = 0x82
    SYNC_WRITE = 0x83
    FAST_SYNC_READ = 0x8A
    BULK_READ = 0x92
    BULK_WRITE = 0x93
    FAST_BULK_READ = 0x9A


class Refusal(IntEnum):
    """The number in a status packet's error byte: why the instruction was not carried out."""

    NONE = 0
    RESULT_FAIL = 1
    INSTRUCTION_ERROR = 2
    CRC_ERROR = 3
    DATA_RANGE_ERROR = 4
    DATA_LENGTH_ERROR = 5
    DATA_LIMIT_ERROR = 6
    ACCESS_ERROR = 7


_REASONS = {
    Refusal.RESULT_FAIL: "it could not process the packet",
    Refusal.INSTRUCTION_ERROR: "it does not know the instruction",
    Refusal.CRC_ERROR: "the packet reached it damaged",
    Refusal.DATA_RANGE_ERROR: "the value is out of the register's range, or its bus watchdog "
    "has stopped it",
    Refusal.DATA_LENGTH_ERROR: "the value has another length than the register",
    Refusal.DATA_LIMIT_ERROR: "the value is beyond the servo's limits",
    Refusal.ACCESS_ERROR: "the register is read only, or in EEPROM while the torque is on",
}


@dataclass(frozen=True, slots=True)
class StatusPacket(Packet):
    """A packet that comes from a servo; its code is the error byte. Never equal to a request."""


def _crc_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        crc = byte << 8
        for _ in range(8):
            crc = crc << 1 ^ (_POLYNOMIAL if crc & 0x8000 else 0)
        table.append(crc & 0xFFFF)
    return tuple(table)


_CRC = _crc_table()


def crc16(data: bytes | bytearray) -> int:
    """Of all bytes of a packet before its last two."""
    crc = 0
    for byte in data:
        crc = (crc << 8 & 0xFF00) ^ _CRC[crc >> 8 ^ byte]
    return crc


def encode(packet: Packet) -> bytes:
    """The packet's bytes on the wire.

    Raises:
        ValueError: an id, code or number of parameters that no packet can carry.
    """
    if not 0 <= packet.id <= BROADCAST_ID:
        raise ValueError(f"packet id must be 0..{BROADCAST_ID}, found {packet.id}")
    if not 0 <= packet.code <= 0xFF:
        raise ValueError(f"packet code must be one byte, found {packet.code}")
    if len(packet.params) > MAX_PARAMS:
        raise ValueError(f"a packet holds {MAX_PARAMS} parameters, found {len(packet.params)}")
    return _framed(packet.id, _body(packet).replace(_STUFFED, _STUFFED + b"\xfd"))


def flat(packet: Packet) -> bytes:
    """As `encode`, without stuffing: what is where does not depend on the values."""
    return _framed(packet.id, _body(packet))


def _body(packet: Packet) -> bytes:
    if isinstance(packet, StatusPacket):
        return bytes((STATUS, packet.code)) + packet.params
    return bytes((packet.code,)) + packet.params


def _framed(id: int, body: bytes) -> bytes:
    head = HEADER + bytes((id,)) + (len(body) + 2).to_bytes(2, "little") + body
    return head + crc16(head).to_bytes(2, "little")


class Parser(PacketScanner):
    """Finds packets in a byte stream, however it is cut into pieces and whatever lies between them.

    A header that turns out to be false (impossible id or length, wrong CRC) costs its first byte
    only: the search goes on at the next one. A header that still waits for its bytes holds back
    what follows; when the line falls silent, `flush` settles that.

    Args:
        max_params: most parameters believed. The tighter, the sooner a false length is unmasked.

    Attributes:
        checksum_errors: packets complete by their length whose CRC was wrong.
        dropped_bytes: bytes that became part of no packet.
    """

    def __init__(self, max_params: int | None = None) -> None:
        super().__init__(HEADER)
        # Each three parameters may bring a stuffed byte; INST, error byte and CRC come on top.
        self._max_length = _MAX_LENGTH if max_params is None else max_params * 4 // 3 + 5

    def _judge(self) -> Verdict:
        """What the header at the front of the pending bytes leads."""
        front = self._pending
        if len(front) > 4 and MAX_ID < front[4] != BROADCAST_ID:
            return Verdict.FALSE
        if len(front) < _BODY:
            return Verdict.INCOMPLETE
        length = front[5] | front[6] << 8
        if not 3 <= length <= self._max_length:
            return Verdict.FALSE
        end = _BODY + length
        if len(front) < end:
            return Verdict.INCOMPLETE
        if crc16(front[: end - 2]) != front[end - 2] | front[end - 1] << 8:
            self.checksum_errors += 1
            return Verdict.FALSE
        return Verdict.FALSE if front[_BODY] == STATUS and length < 4 else Verdict.INTACT

    def _take(self) -> Packet:
        front = self._pending
        end = _BODY + (front[5] | front[6] << 8)
        body = bytes(front[_BODY : end - 2]).replace(_STUFFED + b"\xfd", _STUFFED)
        id = front[4]
        del front[:end]
        if body[0] == STATUS:
            return StatusPacket(id, body[1], body[2:])
        return Packet(id, body[0], body[1:])


class DynamixelBlock(StatusBlock):
    """Status packets of so many parameters each, none of them stuffed, see `StatusBlock`.

    Replies with a stuffed byte are longer, and found by a `Parser`.
    """

    def __init__(self, ids: tuple[int, ...], params: int) -> None:
        length = (params + 4).to_bytes(2, "little")
        heads = [HEADER + bytes((id,)) + length + bytes((STATUS,)) for id in ids]
        super().__init__(ids, heads, params + OVERHEAD, _ERROR_AT, tail=2)

    def intact(self, data: bytes) -> bool:
        """Whether the data is exactly these packets, with valid CRCs."""
        if len(data) != self.size:
            return False
        return all(
            data.startswith(head, start)
            and crc16(data[start : end - 2]) == data[end - 2] | data[end - 1] << 8
            for head, start, end in self._cuts
        )

    def _packet(self, id: int, code: int, params: bytes) -> StatusPacket:
        return StatusPacket(id, code, params)


class SyncWriter:
    """Writes of one register to the same servos.

    Raises:
        ValueError: more than a packet holds.
    """

    def __init__(self, register: Register, ids: tuple[int, ...]) -> None:
        params = len(ids) * (register.width + 1) + 4
        if params > MAX_PARAMS:
            raise ValueError(f"a packet holds {MAX_PARAMS} parameters, these values need {params}")
        self.register = register
        self._head = struct.pack("<HH", register.address, register.width)
        self._layout = struct.Struct("<" + f"B{FORMATS[register.width]}" * len(ids))

    def encode(self, values: Mapping[int, int]) -> bytes:
        """The packet that writes each servo its value. Raises ValueError: value out of range."""
        register = self.register
        blocks: list[int] = []
        for id, value in values.items():
            if not register.minimum <= value <= register.maximum:
                register.encode(value)
            blocks += id, register.encode_raw(value)
        params = self._head + self._layout.pack(*blocks)
        return encode(Packet(BROADCAST_ID, Instruction.SYNC_WRITE, params))


class DynamixelFraming:
    """Protocol 2.0 as a line needs it, see `wire.framing.Framing`."""

    max_params = MAX_PARAMS
    overhead = OVERHEAD
    code_at = _ERROR_AT
    ping_params = 3
    probe: Register = MODEL_NUMBER
    waits_for_turn = True

    def encode(self, packet: Packet) -> bytes:
        return encode(packet)

    def flat(self, packet: Packet) -> bytes:
        return flat(packet)

    def parser(self, max_params: int | None = None) -> Parser:
        return Parser(max_params)

    def due(self, ids: tuple[int, ...], params: int) -> DynamixelBlock:
        return DynamixelBlock(ids, params)

    def name(self, code: int) -> str:
        return Instruction(code).name

    def ping(self, id: int) -> Packet:
        return Packet(id, Instruction.PING)

    def read(self, id: int, address: int, count: int) -> Packet:
        return Packet(id, Instruction.READ, struct.pack("<HH", address, count))

    def write(self, id: int, register: Register, value: int) -> Packet:
        params = struct.pack("<H", register.address) + register.encode(value)
        return Packet(id, Instruction.WRITE, params)

    def sync_read(self, ids: Sequence[int], address: int, count: int) -> Packet:
        params = struct.pack("<HH", address, count) + bytes(ids)
        return Packet(BROADCAST_ID, Instruction.SYNC_READ, params)

    def sync_writer(self, register: Register, ids: tuple[int, ...]) -> SyncWriter:
        return SyncWriter(register, ids)

    def may_be_reply(self, packet: Packet) -> bool:
        return isinstance(packet, StatusPacket)

    def is_echo_like(self, packet: Packet) -> bool:
        return not isinstance(packet, StatusPacket)

    def hides_another(self, packet: Packet, lengths: Collection[int]) -> bool:
        """No: a CRC of 16 bits does not let a changed length pass."""
        return False

    def alarms(self, error_byte: int) -> Alarm:
        """The alert bit; what it is about is in Hardware_Error_Status."""
        return Alarm.ALERT if error_byte & _ALERT else Alarm.NONE

    def refusal(self, error_byte: int) -> str:
        """The number in the error byte, in words."""
        number = error_byte & ~_ALERT
        if not number:
            return ""
        known = next((text for reason, text in _REASONS.items() if reason == number), "")
        return known or f"undocumented error {number}"


FRAMING = DynamixelFraming()
