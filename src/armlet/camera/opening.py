"""One text that names any kind of camera."""

from __future__ import annotations

from .device import DeviceSource
from .errors import CameraError
from .pattern import PatternSource
from .source import CameraSource, require_size
from .video_file import FileSource

_LOOP = "loop"
_FAST = "fast"


def open_source(
    uri: str, width: int, height: int, fps: float, fourcc: str = "MJPG"
) -> CameraSource:
    """The source that `uri` names, opened; close it after use. See `source_of`."""
    source = source_of(uri, width, height, fps, fourcc)
    source.open()
    return source


def source_of(uri: str, width: int, height: int, fps: float, fourcc: str = "MJPG") -> CameraSource:
    """The source that `uri` names, not yet opened.

    `0`, `/dev/video0` or, better, `/dev/v4l/by-id/...`: that device, in pixel format `fourcc`.
    `pattern`: the numbered test picture. `file:clip.mp4`, or a path: a video file in real time,
    which must have the given size and rate; `?loop` at its end plays it for ever, `?fast` as fast
    as it is read (stamps keep the file's spacing, so they run ahead of the clock), `?loop&fast`
    both. Raises CameraError.
    """
    require_size(width, height, fps)
    if uri == "pattern":
        return PatternSource(width, height, fps)
    if uri.isdecimal():
        return DeviceSource(int(uri), width, height, fps, fourcc)
    if uri.startswith("/dev/"):
        return DeviceSource(uri, width, height, fps, fourcc)
    return _same(file_source(uri), width, height, fps)


def file_source(uri: str) -> FileSource:
    """A video file with its options, in its own size and rate, not yet opened."""
    path, _, tail = uri.removeprefix("file:").partition("?")
    if not path:
        raise CameraError(
            "no camera named: give a device (0, /dev/video0), a video file or pattern"
        )
    options = set(filter(None, tail.split("&")))
    if options - {_LOOP, _FAST}:
        raise CameraError(
            f"{uri}: unknown options {sorted(options - {_LOOP, _FAST})}; there are ?{_LOOP}, "
            f"?{_FAST} and ?{_LOOP}&{_FAST}"
        )
    return FileSource(path, realtime=_FAST not in options, loop=_LOOP in options)


def _same(source: FileSource, width: int, height: int, fps: float) -> FileSource:
    same_size = (source.width, source.height) == (width, height)
    if not same_size or abs(source.fps - fps) > 0.01 * fps:
        raise CameraError(
            f"{source.file} is {source.width}x{source.height} at {source.fps:g} fps, requested "
            f"{width}x{height} at {fps:g} fps: request its size and rate, or convert the file"
        )
    return source
