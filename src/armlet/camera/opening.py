"""One text that names any kind of camera."""

from __future__ import annotations

from .device import DeviceSource
from .errors import CameraError
from .pattern import PatternSource
from .source import CameraSource, require_size
from .video_file import FileSource

_LOOP = "?loop"


def open_source(uri: str, width: int, height: int, fps: float) -> CameraSource:
    """The source that `uri` names, opened; close it after use.

    `0` or `/dev/video0`: that device. `pattern`: the numbered test picture. `file:clip.mp4`, or a
    path: a video file in real time, which must have the given size and rate; `?loop` at its end
    plays it for ever. Raises CameraError.
    """
    require_size(width, height, fps)
    source = _source(uri, width, height, fps)
    source.open()
    return source


def _source(uri: str, width: int, height: int, fps: float) -> CameraSource:
    if uri == "pattern":
        return PatternSource(width, height, fps)
    if uri.isdecimal():
        return DeviceSource(int(uri), width, height, fps)
    if uri.startswith("/dev/"):
        return DeviceSource(uri, width, height, fps)
    if not uri.removeprefix("file:").removesuffix(_LOOP):
        raise CameraError(
            "no camera named: give a device (0, /dev/video0), a video file or pattern"
        )
    return _file(uri, width, height, fps)


def _file(uri: str, width: int, height: int, fps: float) -> FileSource:
    path = uri.removeprefix("file:").removesuffix(_LOOP)
    source = FileSource(path, loop=uri.endswith(_LOOP))
    same_size = (source.width, source.height) == (width, height)
    if not same_size or abs(source.fps - fps) > 0.01 * fps:
        raise CameraError(
            f"{path} is {source.width}x{source.height} at {source.fps:g} fps, requested "
            f"{width}x{height} at {fps:g} fps: request what it is, or convert the file"
        )
    return source
