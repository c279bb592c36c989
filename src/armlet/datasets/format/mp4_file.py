"""Opens the MP4 files of a dataset, and nothing that only bears such a name.

FFmpeg goes by content: a file called .mp4 that is a playlist would make it open other files, or
addresses. So the format is given, and the file is looked at first.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av

from armlet.files import FileError, check_file, is_of_the_computer, open_video, printable

from .errors import VideoError

# 8192 x 8192: more is no camera's, and gigabytes when decoded.
_MOST_PIXELS = 1 << 26


@contextlib.contextmanager
def open_mp4(path: Path) -> Iterator[tuple[Any, Any]]:
    """Container and video stream of an MP4 file.

    Raises VideoError if it is absent, no MP4 file, has no video stream, or pictures of no camera;
    OSError where the computer fails, not the file.
    """
    try:
        check_file(path)
        with open_video(path, form="mp4") as container:
            if not container.streams.video:
                raise VideoError(f"{path} holds no video stream")
            stream: Any = container.streams.video[0]
            if stream.codec_context is None:
                raise VideoError(f"video {path} has an unknown codec")
            if not 0 < stream.width * stream.height <= _MOST_PIXELS:
                raise VideoError(
                    f"video {path} states pictures of {stream.width}x{stream.height}: no camera's"
                )
            if not stream.time_base:
                raise VideoError(f"video {path} states no time base")
            yield container, stream
    except FileNotFoundError as error:
        raise VideoError(f"video {path} is absent") from error
    except FileError as error:
        raise VideoError(f"video {error}") from error
    except (av.FFmpegError, OSError, MemoryError, OverflowError) as error:
        if is_of_the_computer(error):  # a full disk behind what is made of it, too
            raise
        raise VideoError(f"video {path} cannot be read: {printable(error)}") from error
