"""Opening a video that somebody else's program wrote."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from av.container import InputContainer


def open_video(
    path: Path, form: str | None = None, options: dict[str, str] | None = None
) -> InputContainer:
    """A video, open to be read, in whatever encoding its titles and names are.

    form: the format to take it for, None: by its content. options: FFmpeg's.
    Raises av.FFmpegError, OSError.
    """
    import av

    # PyAV up to 18 decodes them strictly unless told otherwise; 19 keeps bytes that are no text.
    strict = int(av.__version__.partition(".")[0]) < 19
    more: dict[str, Any] = {"metadata_errors": "replace"} if strict else {}
    opened: InputContainer = av.open(str(path), format=form, options=options, **more)
    return opened
