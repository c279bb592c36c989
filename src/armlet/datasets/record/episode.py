"""One episode while it is being recorded: rows into a journal, pictures into their videos."""

from __future__ import annotations

import operator
import shutil
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from armlet.align import Commander, CommandSource
from armlet.align.command_source import UNKNOWN
from armlet.camera import CameraError, jpeg
from armlet.contract import Camera, Contract
from armlet.contract.provenance import Provenance
from armlet.datasets.format import atomic_files, provenance
from armlet.datasets.format.errors import DiskError, FrameError, GapError, VideoError
from armlet.datasets.format.layout import ACTION, IMAGES, INTERVENTION, SKEW, STAMP, STATE
from armlet.datasets.format.pictures import Picture, as_bytes, is_rgb
from armlet.datasets.format.provenance import EpisodeProvenance
from armlet.datasets.format.stats import Stats
from armlet.datasets.format.video import Format

from . import policies
from .row_log import Journal
from .video_track import VideoTrack

JOURNAL = "rows.journal"
SYNC_S = 1.0


@dataclass(frozen=True)
class EpisodeFrame:
    """One frame to record.

    state and action: float (n,), dataset units, in the contract's order. images: by camera name,
    exactly the contract's cameras, (H, W, 3) uint8 RGB or the JPEG that the camera gave, which is
    recorded without going through RGB. stamp_ns: the frame's time on the grid. skew_s: source
    stamp minus stamp_ns, exactly the contract's alignment streams. source: who commanded the
    action; policy: the provenance of the policy that it names, if that is known.
    """

    state: NDArray[np.floating[Any]]
    action: NDArray[np.floating[Any]]
    images: Mapping[str, Picture]
    stamp_ns: int
    skew_s: Mapping[str, float]
    source: CommandSource = UNKNOWN
    policy: Provenance | None = None


@dataclass(frozen=True)
class Setting:
    """How an episode is recorded, beyond its contract."""

    codec: str = "h264"
    crf: int = 18
    memory_bytes: int = 64 << 20
    reserve_bytes: int = 256 << 20


@dataclass(frozen=True)
class Backlog:
    """Pictures waiting: queued for the slowest encoder, spilled those on disk only, all cameras."""

    queued: int = 0
    spilled: int = 0
    memory_bytes: int = 0
    spilled_bytes: int = 0
    behind_s: float = 0.0


class OpenEpisode:
    """An episode being recorded into a folder. One thread's own, but for `sync`.

    A thread of the episode's syncs all files every SYNC_S: what a power cut may cost.
    """

    def __init__(self, folder: Path, contract: Contract, setting: Setting):
        self._contract = contract
        self._streams = tuple(stream.name for stream in contract.alignment)
        self._folder = folder
        self._setting = setting
        self._tracks: dict[str, VideoTrack] = {}
        self._policies: dict[str, Provenance] = {}
        self._last_stamp: int | None = None
        self._torn = False
        self._finished = False
        self._error: OSError | None = None
        self._disk_short = ""
        self._over = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="sync episode", daemon=True)
        forms = {camera.name: _form(camera, contract.fps, setting) for camera in contract.cameras}
        self._journal = Journal(folder / JOURNAL, contract)
        try:
            memory = setting.memory_bytes // max(1, len(forms))
            for name, form in forms.items():
                self._tracks[name] = VideoTrack(folder, IMAGES + name, form, memory)
            atomic_files.sync([folder])
        except BaseException:
            self.abort()
            raise
        self._keeper.start()

    @property
    def frames(self) -> int:
        return self._journal.rows

    @property
    def videos(self) -> dict[str, Path]:
        """Video files by feature key."""
        return {IMAGES + name: track.video for name, track in self._tracks.items()}

    @property
    def backlog(self) -> Backlog:
        """Pictures that wait for the encoders."""
        queues = [track.queue for track in self._tracks.values()]
        queued = max((queue.queued for queue in queues), default=0)
        return Backlog(
            queued=queued,
            spilled=sum(queue.spilled for queue in queues),
            memory_bytes=sum(queue.memory_bytes for queue in queues),
            spilled_bytes=sum(queue.spilled_bytes for queue in queues),
            behind_s=queued / self._contract.fps,
        )

    @property
    def queued(self) -> int:
        """Pictures waiting for the slowest encoder."""
        return max((track.queue.queued for track in self._tracks.values()), default=0)

    @property
    def spilled(self) -> int:
        """Waiting pictures that are on disk only."""
        return sum(track.queue.spilled for track in self._tracks.values())

    @property
    def damaged(self) -> dict[str, list[int]]:
        """Pictures of which only a part could be decoded, by camera, where there are any."""
        found = {name: track.damaged for name, track in self._tracks.items()}
        return {name: numbers for name, numbers in found.items() if numbers}

    def add(self, frame: EpisodeFrame) -> None:
        """Take a frame: all of it or nothing.

        Raises FrameError, GapError or DiskError, leaving the episode as it was; or VideoError or
        OSError if a picture could not be kept, after which the episode can only be aborted.
        """
        self._require_whole()
        if self._finished:
            raise VideoError("the episode's videos are closed; finish or discard the episode")
        if self._disk_short:
            raise DiskError(self._disk_short)
        state = _vector(STATE, frame.state, len(self._contract.state_names))
        action = _vector(ACTION, frame.action, len(self._contract.action_names))
        skews = self._skew(frame.skew_s)
        images = self._checked(frame.images)
        stamp = self._stamp(frame.stamp_ns)
        self._torn = True
        for name, track in self._tracks.items():
            track.put(images[name])
        self._note_policy(frame)
        # Last: a row in the journal says that its pictures are in the queues.
        self._journal.add(stamp, action, state, skews, frame.source)
        self._last_stamp = stamp
        self._torn = False

    def finish(self) -> dict[str, Stats]:
        """Close the videos and return their statistics by feature key. May be called again."""
        self._require_whole()
        self._finished = True
        for track in self._tracks.values():
            track.end()
        self._stop_keeper()
        return {IMAGES + name: track.finish(self.frames) for name, track in self._tracks.items()}

    def columns(self) -> dict[str, NDArray[Any]]:
        """The rows so far, the columns that only the episode knows."""
        return columns_of(self._journal.read(), self._contract.fps)

    def provenance(self) -> EpisodeProvenance:
        """Who commanded the rows so far."""
        return provenance_of(self._journal.read(), self._policies)

    def _note_policy(self, frame: EpisodeFrame) -> None:
        mark, policy = frame.source.policy, frame.policy
        if mark and mark not in self._policies and policy is not None and policy.mark() == mark:
            policies.append(self._folder, policy)
            self._policies[mark] = policy

    def abort(self) -> None:
        """Stop the encoders and close all files, whatever state they are in."""
        self._stop_keeper()
        for track in self._tracks.values():
            track.abort()
        self._journal.close()

    def _stop_keeper(self) -> None:
        self._over.set()
        if self._keeper.is_alive():
            self._keeper.join()

    def _keep(self) -> None:
        while not self._over.wait(SYNC_S):
            try:
                self._journal.sync()
                for track in self._tracks.values():
                    track.sync()
                self._watch_disk()
            except OSError as error:
                self._error = error
                return

    def _watch_disk(self) -> None:
        free = shutil.disk_usage(self._folder).free
        low = self._setting.reserve_bytes // 4
        self._disk_short = (
            f"disk short: {free / 1e6:.0f} MB free at {self._folder.parent}, recording stops below "
            f"{low / 1e6:.0f} MB while the episode can still be saved; finish or discard it and "
            "make room"
            if free < low
            else ""
        )

    def _require_whole(self) -> None:
        if self._error is not None:
            raise VideoError(
                f"the disk failed while the episode was synced ({self._error}); discard the episode"
            ) from self._error
        if self._torn:
            raise VideoError("a picture of this episode could not be kept; discard the episode")

    def _skew(self, skew_s: Mapping[str, float]) -> list[float]:
        if set(skew_s) != set(self._streams):
            raise FrameError(
                f"skew_s: expected the contract's alignment streams {sorted(self._streams)}, "
                f"found {sorted(skew_s)}"
            )
        skews = [float(skew_s[name]) for name in self._streams]
        if not np.isfinite(skews).all():
            raise FrameError(f"skew_s is not finite: {dict(skew_s)}")
        return skews

    def _checked(self, images: Mapping[str, Picture]) -> dict[str, Picture]:
        """Pictures by camera: RGB of the right size, or whole JPEGs without padding."""
        if set(images) != set(self._tracks):
            raise FrameError(
                f"images: expected cameras {sorted(self._tracks)}, found {sorted(images)}"
            )
        found: dict[str, Picture] = {}
        for camera in self._contract.cameras:
            picture, shape = images[camera.name], (camera.height, camera.width, 3)
            if not is_rgb(picture):
                found[camera.name] = self._jpeg(camera, picture)
                continue
            if getattr(picture, "dtype", None) != np.uint8 or picture.shape != shape:
                raise FrameError(
                    f"image {camera.name}: expected uint8 {shape}, "
                    f"found {getattr(picture, 'dtype', type(picture).__name__)} "
                    f"{getattr(picture, 'shape', '')}"
                )
            found[camera.name] = picture
        return found

    def _jpeg(self, camera: Camera, picture: Picture) -> bytes:
        try:
            content = jpeg.content(as_bytes(picture))
            size = jpeg.size(content)
        except (CameraError, TypeError) as error:
            raise FrameError(f"image {camera.name}: {error}") from error
        if size != (camera.width, camera.height):
            raise FrameError(
                f"image {camera.name}: expected {camera.width}x{camera.height}, "
                f"found a JPEG of {size[0]}x{size[1]}"
            )
        return content

    def _stamp(self, stamp_ns: int) -> int:
        try:
            stamp = operator.index(stamp_ns)
        except TypeError as error:
            raise FrameError(f"stamp_ns: expected whole nanoseconds, found {stamp_ns!r}") from error
        if self._last_stamp is None:
            return stamp
        # In units of 1/(2 fps) ns-seconds, so that half a period is exact at any rate.
        step = (stamp - self._last_stamp) * 2 * self._contract.fps
        if step > 3_000_000_000:
            period = 1e9 / self._contract.fps
            expected = self._last_stamp + round(period)
            raise GapError(expected, stamp, max(1, round((stamp - expected) / period)))
        if step < 1_000_000_000:
            raise FrameError(
                f"stamp_ns: {stamp} does not follow {self._last_stamp} by a frame "
                f"(1/{self._contract.fps} s)"
            )
        return stamp


def _vector(name: str, values: NDArray[np.floating[Any]], size: int) -> NDArray[np.float32]:
    array = np.asarray(values)
    if array.dtype.kind != "f" or array.shape != (size,):
        raise FrameError(f"{name}: expected float ({size},), found {array.dtype} {array.shape}")
    with np.errstate(over="ignore"):
        stored = array.astype(np.float32)
    if not np.isfinite(stored).all():
        raise FrameError(f"{name} is not finite in float32: {array.tolist()}")
    return stored


def _form(camera: Camera, fps: int, setting: Setting) -> Format:
    try:
        return Format(camera.height, camera.width, fps, setting.codec, setting.crf)
    except VideoError as error:
        raise VideoError(f"{camera.name}: {error}") from error


def columns_of(rows: NDArray[Any], fps: int) -> dict[str, NDArray[Any]]:
    """The columns that a journal's rows give."""
    frame_index = np.arange(len(rows), dtype=np.int64)
    columns: dict[str, NDArray[Any]] = {
        ACTION: rows["action"],
        STATE: rows["state"],
        STAMP: rows["stamp"],
        "timestamp": (frame_index / fps).astype(np.float32),
        "frame_index": frame_index,
    }
    columns[INTERVENTION] = (
        rows["commander"] == Commander.PERSON if _sourced(rows) else np.zeros(len(rows), np.bool_)
    )
    return columns | {SKEW: rows["skew"]} if rows["skew"].shape[1] else columns


def provenance_of(rows: NDArray[Any], known: Mapping[str, Provenance]) -> EpisodeProvenance:
    """Who commanded a journal's rows. known: policies by mark."""
    if not _sourced(rows):
        return EpisodeProvenance()
    return provenance.of_rows(rows["commander"], rows["policy"], known)


def _sourced(rows: NDArray[Any]) -> bool:
    return "commander" in (rows.dtype.names or ())
