"""Protocol 2.0 on the wire: packets, stuffing, CRC, and whatever a line makes of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from armlet.motors.dynamixel.packets import (
    BROADCAST_ID,
    FRAMING,
    HEADER,
    MAX_PARAMS,
    Instruction,
    Packet,
    Parser,
    StatusPacket,
    crc16,
    encode,
    flat,
)
from armlet.motors.dynamixel.registers import XL330_M288
from armlet.motors.protocol import Alarm

ids = st.integers(0, 252)
# Stuffing is about these bytes, so they come often.
byte = st.one_of(st.sampled_from([0xFF, 0xFD, 0x00]), st.integers(0, 255))
params = st.lists(byte, max_size=60).map(bytes)
# 0x55 marks a status packet.
requests = st.builds(Packet, ids, st.sampled_from(list(Instruction)), params)
statuses = st.builds(StatusPacket, ids, st.integers(0, 255), params)
packets = st.one_of(requests, statuses)


def test_packets_of_the_e_manual():
    assert encode(Packet(1, Instruction.PING)).hex(" ") == "ff ff fd 00 01 03 00 01 19 4e"
    read = FRAMING.read(1, 132, 4)
    assert encode(read).hex(" ") == "ff ff fd 00 01 07 00 02 84 00 04 00 1d 15"
    write = FRAMING.write(1, XL330_M288["Goal_Position"], 512)
    assert encode(write).hex(" ") == "ff ff fd 00 01 09 00 03 74 00 00 02 00 00 ca 89"
    reboot = Packet(1, Instruction.REBOOT)
    assert encode(reboot).hex(" ") == "ff ff fd 00 01 03 00 08 2f 4e"
    status = StatusPacket(1, 0, bytes.fromhex("06 04 26"))
    assert encode(status).hex(" ") == "ff ff fd 00 01 07 00 55 00 06 04 26 65 5d"
    both = FRAMING.sync_read((1, 2), 132, 4)
    assert encode(both).hex(" ") == "ff ff fd 00 fe 09 00 82 84 00 04 00 01 02 ce fa"
    writer = FRAMING.sync_writer(XL330_M288["Goal_Position"], (1, 2))
    assert writer.encode({1: 150, 2: 170}).hex(" ") == (
        "ff ff fd 00 fe 11 00 83 74 00 04 00 01 96 00 00 00 02 aa 00 00 00 82 87"
    )


@given(packets)
def test_what_is_encoded_is_found_again(packet):
    parser = Parser()
    assert parser.feed(encode(packet)) == [packet]
    assert (parser.pending, parser.dropped_bytes, parser.checksum_errors) == (0, 0, 0)


@given(packets)
def test_no_header_is_inside_a_packet(packet):
    assert encode(packet)[1:-2].find(HEADER[:3], 3) in (-1, *stuffed_at(encode(packet)))


def stuffed_at(data):
    """Where FF FF FD is followed by the FD that was added."""
    return [at - 1 for at in range(4, len(data) - 4) if data[at : at + 4] == b"\xff\xff\xfd\xfd"]


@given(st.lists(packets, max_size=5), st.data())
def test_a_stream_may_be_cut_anywhere(sent, data):
    stream = b"".join(encode(packet) for packet in sent)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    parser = Parser()
    assert [packet for piece in pieces for packet in parser.feed(piece)] == sent
    assert parser.dropped_bytes == 0


@given(packets, st.binary(max_size=40), st.binary(max_size=40))
def test_a_packet_between_any_bytes_is_found_once_the_line_is_silent(packet, before, after):
    parser = Parser()
    found = parser.feed(before + encode(packet) + after) + parser.flush()
    # Noise may be a packet too, were it ever so unlikely; ours is among what is found.
    assert packet in found
    assert parser.pending == 0


@given(packets, st.data())
def test_a_changed_byte_is_never_accepted(packet, data):
    whole = bytearray(encode(packet))
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] ^= data.draw(st.integers(1, 255))
    parser = Parser()
    assert parser.feed(bytes(whole)) + parser.flush() == []
    assert parser.dropped_bytes == len(whole)


@given(packets, st.data())
def test_a_packet_that_breaks_off_is_never_accepted(packet, data):
    whole = encode(packet)
    parser = Parser()
    assert parser.feed(whole[: data.draw(st.integers(0, len(whole) - 1))]) + parser.flush() == []


@given(st.binary(max_size=300))
def test_noise_is_dropped_and_nothing_is_left(noise):
    parser = Parser()
    found = parser.feed(noise) + parser.flush()
    assert parser.pending == 0
    assert sum(len(encode(packet)) for packet in found) + parser.dropped_bytes == len(noise)


@given(
    st.lists(
        st.tuples(ids, st.integers(0, 255), st.binary(min_size=8, max_size=8)),
        min_size=1,
        max_size=4,
        unique_by=lambda each: each[0],
    )
)
def test_a_block_of_replies_is_what_a_parser_finds(replies):
    sent = [StatusPacket(id, error, body) for id, error, body in replies]
    block = b"".join(flat(packet) for packet in sent)
    due = FRAMING.due(tuple(id for id, _, _ in replies), 8)
    assert due.intact(block)
    assert due.complete(block)
    assert list(due.packets(block).values()) == sent
    assert list(due.error_bytes(block)) == [error for _, error, _ in replies]
    assert not due.intact(block[:-1])
    assert not due.intact(block[:-1] + bytes((block[-1] ^ 1,)))


def test_a_request_is_no_reply_though_it_is_heard_back():
    assert FRAMING.may_be_reply(StatusPacket(1, 0))
    assert not FRAMING.may_be_reply(Packet(1, Instruction.READ, b"\x84\x00\x04\x00"))
    assert StatusPacket(1, 2) != Packet(1, 2)


def test_the_error_byte_is_an_alert_and_a_refusal():
    assert (FRAMING.alarms(0), FRAMING.refusal(0)) == (Alarm.NONE, "")
    assert (FRAMING.alarms(0x80), FRAMING.refusal(0x80)) == (Alarm.ALERT, "")
    assert FRAMING.alarms(0x87) == Alarm.ALERT
    assert "EEPROM while the torque is on" in FRAMING.refusal(0x87)
    assert "undocumented error 99" in FRAMING.refusal(99)


def test_what_no_packet_can_carry_is_refused():
    with pytest.raises(ValueError, match=r"0\.\.254"):
        encode(Packet(BROADCAST_ID + 1, Instruction.PING))
    with pytest.raises(ValueError, match=f"{MAX_PARAMS} parameters"):
        encode(Packet(1, Instruction.WRITE, bytes(MAX_PARAMS + 1)))


@given(requests)
def test_the_makers_own_library_makes_the_same_packets(packet):
    """An independent judge, where it happens to be installed; it is no dependency."""
    sdk = pytest.importorskip("dynamixel_sdk", reason="the maker's library is not installed")
    handler = sdk.protocol2_packet_handler.Protocol2PacketHandler()
    body = [*HEADER, packet.id, *(len(packet.params) + 3).to_bytes(2, "little"), packet.code]
    body += [*packet.params, 0, 0]

    # Its txPacket forgets to send what addStuffing returns, so the steps are taken one by one.
    made = handler.addStuffing(body)
    made[-2:] = handler.updateCRC(0, made, len(made) - 2).to_bytes(2, "little")
    assert encode(packet) == bytes(made)
    assert handler.updateCRC(0, made, len(made) - 2) == crc16(bytes(made[:-2]))
