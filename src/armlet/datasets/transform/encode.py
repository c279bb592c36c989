"""A video encoded where its packets cannot be used as they are."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from armlet.datasets.format import atomic_files, video
from armlet.datasets.format.video import Encoder, Format
from armlet.datasets.record.appendable_mp4 import AppendableMp4
from armlet.files import scratch_folder

# By what info.json or a stream calls a codec, the option that encodes it.
_CODECS = {"av1": "libsvtav1", "h264": "h264", "hevc": "hevc"}


def form(codec: str, height: int, width: int, fps: int) -> Format:
    """What to encode with, for a stream of this codec; h264 where it is not known."""
    option = _CODECS.get(codec, "h264")
    return Format(height, width, fps, option, video.default_crf(option))


def is_possible(codec: str, pixels: str) -> bool:
    """Whether pictures of a stream can be encoded again: as they are recorded, or with no loss."""
    exact = codec in _CODECS and video.is_exact(_CODECS[codec], pixels)
    return pixels == video.PIXELS or exact


def form_again(codec: str, height: int, width: int, fps: int, pixels: str) -> Format:
    """What to encode pictures of a stream with; see is_possible."""
    plain = form(codec, height, width, fps)
    return plain if pixels == video.PIXELS else replace(plain, pixels=pixels)


def write_video(target: Path, frames: Iterable[Any], form: Format) -> None:
    """Encode frames of the form's pixels into a file, which is there once it is whole.

    Raises what the frames' source raises, VideoError and OSError.
    """
    atomic_files.make_folder(target.parent)
    with scratch_folder(target.parent) as folder:
        staged = folder / target.name
        encoder, film = Encoder(form), AppendableMp4(staged, form)
        try:
            film.begin(encoder.description)
            for frame in frames:
                film.add(encoder.encode(frame))
            film.add(encoder.encode(None))
            film.close()
        finally:
            film.abandon()
        atomic_files.sync([staged])
        atomic_files.move([(staged, target)])
