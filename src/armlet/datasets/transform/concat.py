"""Pieces of videos put one after another, packets as they are: nothing is encoded again.

Picture n of the result has time n / fps exactly, however long the file (LeRobot adds up durations
in floating point, and its times drift from the pictures').
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from armlet.datasets.format.errors import VideoError
from armlet.datasets.format.mp4_file import open_mp4
from armlet.datasets.format.rationals import time_base

# A seek goes by decoding time, which is before a picture's own by as many as it is reordered.
_REORDERED = 16


class CutError(VideoError):
    """A piece needs pictures outside of it: it cannot be cut out without encoding it again."""


@dataclass(frozen=True)
class Piece:
    """`count` pictures of a video from number `first` on."""

    path: Path
    first: int
    count: int


@dataclass(frozen=True)
class Form:
    """What the pieces of one file must have in common. pictures: how many the file holds."""

    codec: str
    size: tuple[int, int]
    pixels: str
    description: bytes
    pictures: int

    def fits(self, other: Form) -> bool:
        """Whether pictures of the other can follow these in one stream."""
        return (self.codec, self.size, self.pixels, self.description) == (
            other.codec,
            other.size,
            other.pixels,
            other.description,
        )


def form(path: Path) -> Form:
    """How a video's pictures are coded. Raises VideoError."""
    with open_mp4(path) as (_, stream):
        context = stream.codec_context
        return Form(
            context.codec.canonical_name,
            (stream.height, stream.width),
            str(stream.pix_fmt),
            bytes(context.extradata or b""),
            stream.frames,
        )


def join(target: Path, pieces: Sequence[Piece], fps: int) -> None:
    """Write the pieces one after another. A single whole video is copied, byte by byte.

    Raises VideoError if a piece is not all there, or begins with a picture that needs others:
    such a video cannot be cut without encoding it again.
    """
    if (
        len(pieces) == 1
        and pieces[0].first == 0
        and form(pieces[0].path).pictures
        in (
            pieces[0].count,
            0,
        )
    ):
        shutil.copyfile(pieces[0].path, target)
        return
    try:
        with av.open(str(target), "w", format="mp4") as output:
            _write(output, pieces, fps)
    except (av.FFmpegError, OSError) as error:
        raise VideoError(f"{target} cannot be written: {error}") from error


def is_cuttable(piece: Piece, fps: int) -> bool:
    """Whether a piece's packets can be decoded without those around it. Raises VideoError."""
    try:
        with open_mp4(piece.path) as (source, _):
            for _ in _packets(source, piece, fps):
                pass
    except CutError:
        return False
    return True


def _write(output: Any, pieces: Sequence[Piece], fps: int) -> None:
    stream: Any = None
    start = 0
    for piece in pieces:
        with open_mp4(piece.path) as (source, template):
            if stream is None:
                stream = output.add_stream_from_template(template, opaque=True)
                stream.time_base = Fraction(1, fps)
            for packet, number, decoded in _packets(source, piece, fps):
                packet.stream = stream
                packet.time_base = Fraction(1, fps)
                packet.pts = number - piece.first + start
                packet.dts = decoded - piece.first + start
                packet.duration = 1
                output.mux(packet)
        start += piece.count


def _packets(source: Any, piece: Piece, fps: int) -> Iterator[tuple[Any, int, int]]:
    """A piece's packets in decoding order, with the numbers of their picture and decoding time."""
    stream = source.streams.video[0]
    unit = time_base(stream) * fps
    if piece.first:
        begin = max(0, piece.first - _REORDERED)
        source.seek(int(begin / unit), stream=stream, backward=True, any_frame=False)
    taken, other = 0, None
    for packet in source.demux(stream):
        if packet.pts is None or not packet.size:
            continue
        number = _number(packet.pts * unit, piece)
        if not piece.first <= number < piece.first + piece.count:
            other = number if taken else None
            continue
        if other is not None:  # decoded between the piece's own, which may need it
            raise CutError(_needs(piece, f"picture {other}, outside of it"))
        if not taken and not (packet.is_keyframe and number == piece.first):
            raise CutError(_needs(piece, "those before it"))
        yield packet, number, round(packet.dts * unit)
        taken += 1
        if taken == piece.count:
            return
    raise VideoError(
        f"{piece.path}: expected {piece.count} pictures from number {piece.first} on, found {taken}"
    )


def _needs(piece: Piece, what: str) -> str:
    return (
        f"{piece.path}: picture {piece.first} needs {what}, so the episode cannot be cut out "
        "without encoding it again; encode it with a keyframe at its first frame"
    )


def _number(time: Fraction, piece: Piece) -> int:
    number = round(time)
    if abs(time - number) > Fraction(1, 10):
        raise VideoError(
            f"{piece.path}: a picture lies {float(time):.3f} frames into the file, not on the "
            "grid of the dataset's rate; encode it again at a constant rate"
        )
    return number
