"""One text that names any kind of camera: a scheme, and what of that kind.

Other packages add schemes by an entry point of the group `armlet.cameras`; its name is the scheme,
its value a function that takes a `Request` and gives a `CameraSource`:

    [project.entry-points."armlet.cameras"]
    realsense = "my_package:source"
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from armlet import plugins
from armlet.suggestions import did_you_mean

from .device import DeviceSource
from .errors import CameraError, SchemeError
from .pattern import PatternSource
from .source import CameraSource, require_size
from .video_file import FileSource

GROUP = "armlet.cameras"

_LOOP = "loop"
_FAST = "fast"
_SCHEME = re.compile(r"[a-z][a-z0-9_+-]*")


@dataclass(frozen=True)
class Request:
    """What is asked of a scheme.

    address: the text after `scheme:`, may be empty. width, height: pixels. fps: pictures per
    second. fourcc: pixel format, of devices that offer several.
    """

    address: str
    width: int
    height: int
    fps: float
    fourcc: str = "MJPG"


Opener = Callable[[Request], CameraSource]
"""Makes a source, not yet opened. Raises CameraError for a request it cannot fulfil."""


def open_source(
    uri: str, width: int, height: int, fps: float, fourcc: str = "MJPG"
) -> CameraSource:
    """The source that `uri` names, opened; close it after use. See `source_of`."""
    source = source_of(uri, width, height, fps, fourcc)
    source.open()
    return source


def source_of(uri: str, width: int, height: int, fps: float, fourcc: str = "MJPG") -> CameraSource:
    """The source that `uri` names, not yet opened.

    `0`, `/dev/video0` or, better, `/dev/v4l/by-id/...`, with or without `v4l2:` before it: that
    device, in pixel format `fourcc`. `pattern`: the numbered test picture. `file:clip.mp4`, or a
    path: a video file in real time, which must have the given size and rate; `?loop` at its end
    plays it for ever, `?fast` as fast as it is read (stamps keep the file's spacing, so they run
    ahead of the clock), `?loop&fast` both. `scheme:address`: what a plug-in gives. Raises
    CameraError, of it SchemeError for a scheme that is not known or whose plug-in is broken.
    """
    require_size(width, height, fps)
    scheme, address = split(uri)
    return opener(scheme)(Request(address, width, height, fps, fourcc))


def split(uri: str) -> tuple[str, str]:
    """Scheme and address of a source. A text without a scheme is a device, pattern or a file."""
    if uri == "pattern":
        return uri, ""
    if uri.isdecimal() or uri.startswith("/dev/"):
        return "v4l2", uri
    scheme, colon, address = uri.partition(":")
    if colon and _SCHEME.fullmatch(scheme) and not Path(uri.partition("?")[0]).is_file():
        return scheme, address
    return "file", uri


def schemes() -> tuple[str, ...]:
    """Every scheme, armlet's own first. Nothing is loaded."""
    return (*_OWN, *(name for name in plugins.names(GROUP) if name not in _OWN))


def opener(scheme: str) -> Opener:
    """What makes the sources of a scheme. Raises SchemeError."""
    if scheme in _OWN:
        return _OWN[scheme]
    try:
        found = plugins.load(GROUP, scheme)
    except plugins.PluginError as error:
        raise SchemeError(str(error)) from error
    if found is None:
        known = schemes()
        raise SchemeError(
            f"{did_you_mean([scheme], known)}no camera scheme {scheme!r}; there are "
            f"{', '.join(known)}"
        )
    if not callable(found):
        raise SchemeError(
            f"{plugins.where(GROUP, scheme)}: expected a function of a Request, found "
            f"{type(found).__name__}"
        )
    return _guarded(scheme, found)


def _guarded(scheme: str, made: Opener) -> Opener:
    """A plug-in's own, whose errors are all CameraErrors that name it."""

    def make(request: Request) -> CameraSource:
        try:
            return made(request)
        except CameraError:
            raise
        except Exception as error:
            what = f"{type(error).__name__}: {' '.join(str(error).split())}"
            raise CameraError(f"{plugins.where(GROUP, scheme)} failed: {what}") from error

    return make


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


def _device(request: Request) -> CameraSource:
    address = request.address
    device = int(address) if address.isdecimal() else address
    return DeviceSource(device, request.width, request.height, request.fps, request.fourcc)


def _pattern(request: Request) -> CameraSource:
    return PatternSource(request.width, request.height, request.fps)


def _file(request: Request) -> CameraSource:
    source = file_source(request.address)
    same_size = (source.width, source.height) == (request.width, request.height)
    if not same_size or abs(source.fps - request.fps) > 0.01 * request.fps:
        raise CameraError(
            f"{source.file} is {source.width}x{source.height} at {source.fps:g} fps, requested "
            f"{request.width}x{request.height} at {request.fps:g} fps: request its size "
            "and rate, or convert the file"
        )
    return source


_OWN: Mapping[str, Opener] = {"v4l2": _device, "file": _file, "pattern": _pattern}
