"""Pieces of videos, and whether they can be cut out without encoding them again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from .errors import VideoError
from .mp4_file import open_mp4
from .rationals import time_base

REORDERED = 16
"""A seek goes by decoding time, which is before a picture's own by as many as it is reordered, up
to so many. A key picture that is decoded before and shown after it does not help."""


class CutError(VideoError):
    """A piece needs pictures outside of it: it cannot be cut out without encoding it again."""


@dataclass(frozen=True)
class Piece:
    """`count` pictures of a video from number `first` on."""

    path: Path
    first: int
    count: int


def is_cuttable(piece: Piece, fps: int) -> bool:
    """Whether a piece's packets can be decoded without those around it. Raises VideoError."""
    try:
        with open_mp4(piece.path) as (source, _):
            for _ in packets(source, piece, fps):
                pass
    except CutError:
        return False
    return True


def packets(source: Any, piece: Piece, fps: int) -> Iterator[tuple[Any, int, int]]:
    """A piece's packets in decoding order, with the numbers of their picture and decoding time.

    Raises CutError if they need pictures outside of the piece, VideoError if some are not there.
    """
    stream = source.streams.video[0]
    unit = time_base(stream) * fps
    if piece.first:
        begin = max(0, piece.first - REORDERED)
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
