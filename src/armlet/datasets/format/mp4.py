"""MP4 files whose samples go to disk as they come; the tables follow at the end (ISO 14496-12).

FFmpeg's muxer could write such a file too, but keeps its tables in memory only: after a kill they
cannot be made again, and its fragmented form has to be rewritten whole to become a plain file.
Here the file is header + samples, and the trailer is a function of the samples' sizes, which the
recorder keeps in a file of its own. So finishing an episode costs the tables only, and so does
finishing one whose recorder was killed.

Only the sample description (`stsd`) comes from FFmpeg, which knows each codec's configuration.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence

from .errors import VideoError

_MATRIX = struct.pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
_UNDETERMINED = 0x55C4  # language code "und"
# Temporal delimiter, which an MP4 sample must not hold (AV1 in ISOBMFF, 2.4).
_AV1_DELIMITER = b"\x12\x00"


def _box(kind: bytes, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return struct.pack(">I4s", 8 + len(content), kind) + content


def _full(kind: bytes, flags: int, *parts: bytes) -> bytes:
    return _box(kind, struct.pack(">I", flags), *parts)


_FTYP = _box(b"ftyp", b"isom", struct.pack(">I", 0x200), b"isomiso2mp41")
SIZE_OFFSET = len(_FTYP) + 8
DATA_OFFSET = SIZE_OFFSET + 8


def header() -> bytes:
    """What comes before the first sample: file type and the head of a media box without size."""
    return _FTYP + struct.pack(">I4sQ", 1, b"mdat", 16)


def media_size(samples_bytes: int) -> bytes:
    """The eight bytes at SIZE_OFFSET of a finished file."""
    return struct.pack(">Q", 16 + samples_bytes)


def trailer(
    width: int, height: int, fps: int, description: bytes, sizes: Sequence[int], keys: Sequence[int]
) -> bytes:
    """The tables of a file with one picture per 1/fps second, all samples in one piece.

    description is an stsd box, sizes are bytes per sample, keys the numbers (from 0) of the
    samples that need no other.
    """
    count = len(sizes)
    samples = _box(
        b"stbl",
        description,
        _full(b"stts", 0, struct.pack(">3I", 1, count, 1) if count else struct.pack(">I", 0)),
        _full(b"stss", 0, struct.pack(f">I{len(keys)}I", len(keys), *(k + 1 for k in keys))),
        _full(b"stsc", 0, struct.pack(">4I", 1, 1, count, 1)),
        _full(b"stsz", 0, struct.pack(f">2I{count}I", 0, count, *sizes)),
        _full(b"co64", 0, struct.pack(">IQ", 1, DATA_OFFSET)),
    )
    reference = _full(b"dref", 0, struct.pack(">I", 1), _full(b"url ", 1))
    media = _box(
        b"mdia",
        _full(b"mdhd", 0, struct.pack(">4I2H", 0, 0, fps, count, _UNDETERMINED, 0)),
        _full(b"hdlr", 0, bytes(4), b"vide", bytes(12), b"VideoHandler\0"),
        _box(b"minf", _full(b"vmhd", 1, bytes(8)), _box(b"dinf", reference), samples),
    )
    track = _full(
        b"tkhd",
        3,
        struct.pack(">5I", 0, 0, 1, 0, count),
        bytes(16),
        _MATRIX,
        struct.pack(">2I", width << 16, height << 16),
    )
    movie = _full(
        b"mvhd",
        0,
        struct.pack(">4IIH", 0, 0, fps, count, 0x10000, 0x100),
        bytes(10),
        _MATRIX,
        bytes(24),
        struct.pack(">I", 2),
    )
    return _box(b"moov", movie, _box(b"trak", track, media))


def sample_description(content: bytes) -> bytes:
    """The stsd box of the first track of a file that FFmpeg has begun. Raises VideoError."""
    for kind in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd"):
        found = next((whole for name, whole in _boxes(content) if name == kind), None)
        if found is None:
            raise VideoError(f"the encoder gave no sample description: no {kind.decode()} box")
        if kind == b"stsd":
            return found
        content = found[8:]
    raise AssertionError("unreachable")


def _boxes(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    place = 0
    while place + 8 <= len(content):
        size, kind = struct.unpack_from(">I4s", content, place)
        if size < 8:
            return
        yield kind, content[place : place + size]
        place += size


def sample(stream: str, packet: bytes) -> bytes:
    """An encoder's packet in the form an MP4 sample has.

    H.264 and HEVC: start codes become 4-byte lengths (ISO 14496-15); AV1: no temporal delimiter.
    """
    if stream == "av1":
        return packet.removeprefix(_AV1_DELIMITER)
    # A unit never ends in a zero byte, so zeros before a start code belong to the code.
    units = [unit.rstrip(b"\0") for unit in packet.split(b"\0\0\1")]
    return b"".join(struct.pack(">I", len(unit)) + unit for unit in units if unit)
