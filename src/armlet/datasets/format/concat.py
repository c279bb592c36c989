"""Pieces of videos put one after another, packets as they are: nothing is encoded again.

Picture n of the result has time n / fps exactly, however long the file (LeRobot adds up durations
in floating point, and its times drift from the pictures').
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from armlet.datasets.format.errors import VideoError
from armlet.datasets.format.mp4_file import open_mp4
from armlet.datasets.format.video_pieces import Piece, packets
from armlet.files import is_of_the_computer

# What FFmpeg writes into every MP4 file of its own accord.
_OF_ANY = {
    *("major_brand", "minor_version", "compatible_brands", "encoder", "creation_time"),
    *("language", "handler_name", "vendor_id"),
}


@dataclass(frozen=True)
class Form:
    """What the pieces of one file must have in common.

    pictures: how many the file holds; others: whether it holds anything beside them, such as sound
    or a title, which what is joined does not have.
    """

    codec: str
    size: tuple[int, int]
    pixels: str
    description: bytes
    pictures: int
    others: bool

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
    with open_mp4(path) as (container, stream):
        context = stream.codec_context
        return Form(
            context.codec.canonical_name,
            (stream.height, stream.width),
            str(stream.pix_fmt),
            bytes(context.extradata or b""),
            stream.frames,
            len(container.streams) > 1 or not {*container.metadata, *stream.metadata} <= _OF_ANY,
        )


def join(target: Path, pieces: Sequence[Piece], fps: int) -> None:
    """Write the pieces one after another. A single whole video is copied, byte by byte.

    Raises VideoError if a piece is not all there, or begins with a picture that needs others:
    such a video cannot be cut without encoding it again. OSError where the disk is full.
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
        if is_of_the_computer(error):
            raise
        raise VideoError(f"{target} cannot be written: {error}") from error


def _write(output: Any, pieces: Sequence[Piece], fps: int) -> None:
    stream: Any = None
    start = 0
    for piece in pieces:
        with open_mp4(piece.path) as (source, template):
            if stream is None:
                stream = output.add_stream_from_template(template, opaque=True)
                stream.time_base = Fraction(1, fps)
            for packet, number, decoded in packets(source, piece, fps):
                packet.stream = stream
                packet.time_base = Fraction(1, fps)
                packet.pts = number - piece.first + start
                packet.dts = decoded - piece.first + start
                packet.duration = 1
                output.mux(packet)
        start += piece.count
