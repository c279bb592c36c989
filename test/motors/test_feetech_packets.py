from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from armlet.motors.feetech.packets import ErrorBit, Instruction, Packet, Parser, encode
from armlet.motors.protocol import ServoError, describe

packets = st.builds(
    Packet, st.integers(0, 254), st.integers(0, 255), st.binary(max_size=244).map(bytes)
)
short_packets = st.builds(Packet, st.integers(0, 253), st.integers(0, 255), st.binary(max_size=12))
noise = st.binary(max_size=40).filter(lambda data: b"\xff\xff" not in data)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


def test_encode_matches_the_manual() -> None:
    assert encode(Packet(1, Instruction.PING)) == bytes.fromhex("FFFF010201FB")
    read = Packet(1, Instruction.READ, b"\x38\x02")
    assert encode(read) == bytes.fromhex("FFFF0104023802BE")


@pytest.mark.parametrize(
    "packet", [Packet(255, 1), Packet(-1, 1), Packet(1, 256), Packet(1, 1, bytes(245))]
)
def test_encode_refuses_what_no_packet_can_carry(packet: Packet) -> None:
    with pytest.raises(ValueError, match="packet"):
        encode(packet)


@given(st.lists(packets, max_size=5), st.lists(st.integers(0, 2000), max_size=8))
def test_any_packets_in_any_pieces_come_back(sent: list[Packet], places: list[int]) -> None:
    parser = Parser()
    stream = b"".join(map(encode, sent))
    received = [packet for piece in cut(stream, places) for packet in parser.feed(piece)]
    assert received == sent
    assert (parser.pending, parser.dropped_bytes, parser.checksum_errors) == (0, 0, 0)


@given(st.binary(max_size=300), st.lists(st.integers(0, 2000), max_size=8))
def test_pieces_make_no_difference_and_every_byte_is_accounted_for(
    stream: bytes, places: list[int]
) -> None:
    whole, pieces = Parser(), Parser()
    expected = whole.feed(stream) + whole.flush()
    found = [packet for piece in cut(stream, places) for packet in pieces.feed(piece)]
    assert found + pieces.flush() == expected
    used = sum(len(encode(packet)) for packet in expected)
    assert used + whole.dropped_bytes == used + pieces.dropped_bytes == len(stream)


@given(noise, packets)
def test_noise_before_a_packet_does_not_hide_it(before: bytes, packet: Packet) -> None:
    parser = Parser()
    assert parser.feed(before + encode(packet)) == [packet]
    assert parser.dropped_bytes == len(before)


@given(st.integers(1, 5), packets)
def test_header_bytes_before_a_packet_do_not_hide_it(count: int, packet: Packet) -> None:
    assert Parser().feed(b"\xff" * count + encode(packet)) == [packet]


@given(short_packets, st.data())
def test_a_length_that_lies_does_not_swallow_the_next_packet(
    packet: Packet, data: st.DataObject
) -> None:
    good = encode(packet)
    lie = data.draw(st.integers(len(good) + 1, 246))
    parser = Parser()
    assert parser.feed(b"\xff\xff\x01" + bytes((lie,)) + good) == []
    assert parser.flush() == [packet]
    assert Parser(max_length=len(good)).feed(b"\xff\xff\x01" + bytes((lie,)) + good) == [packet]


@given(short_packets, short_packets, st.data())
def test_a_damaged_packet_is_not_delivered_and_the_next_one_is(
    first: Packet, second: Packet, data: st.DataObject
) -> None:
    damaged = bytearray(encode(first))
    at = data.draw(st.sampled_from([0, 1, 2, *range(4, len(damaged))]))
    damaged[at] ^= data.draw(st.integers(1, 255))
    parser = Parser()
    received = parser.feed(bytes(damaged) + encode(second)) + parser.flush()
    assert received[-1:] == [second]
    assert parser.dropped_bytes > 0


def test_a_wrong_checksum_is_counted() -> None:
    parser = Parser()
    assert parser.feed(bytes.fromhex("FFFF01020000")) == []
    assert (parser.checksum_errors, parser.dropped_bytes) == (1, 6)


def test_error_bits_in_words() -> None:
    error = ServoError(4, ErrorBit.OVERLOAD | ErrorBit.VOLTAGE, "READ ID")
    assert "servo 4" in str(error) and "overload" in str(error) and "voltage" in str(error)
    assert error.bits == 0x21
    assert "0x40" in describe(ErrorBit(0x40))
    assert describe(ErrorBit.NONE) == "no error"
