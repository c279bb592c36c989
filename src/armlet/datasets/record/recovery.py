"""The episode that a killed recorder left, finished up to its last complete frame.

A frame is complete if its row is in the journal and every camera's picture is in the video or
still in the queue, each with a matching checksum. Videos are cut behind the last such frame,
pictures from the queue are encoded behind what is there, and the result is closed like any other
video. Nothing is encoded twice, and a kill during all this leaves what it began with.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from armlet.contract import Camera, Contract, ContractError, load
from armlet.datasets.format import atomic_files, layout, stats, video
from armlet.datasets.format.errors import DatasetError, VideoError
from armlet.datasets.format.layout import IMAGES
from armlet.datasets.format.pictures import Developer, sampled
from armlet.datasets.format.provenance import EpisodeProvenance
from armlet.datasets.format.stats import LevelCounts, Stats
from armlet.datasets.format.video import Encoder, Format
from armlet.files import FileError, printable, read_json, typed

from . import appendable_mp4, picture_queue, policies, row_log
from .appendable_mp4 import AppendableMp4
from .episode import JOURNAL, columns_of, provenance_of
from .video_track import develop

HEADER = "episode.json"
CONTRACT = "contract.json"
_BATCH = 16  # pictures decoded at a time
# What the recorder puts into `.unfinished`: nothing else in there is its own.
_OWN = re.compile(
    rf"{HEADER}|header|{CONTRACT}|{re.escape(policies.FILE)}|info\.json|stats\.json|{re.escape(JOURNAL)}|"
    rf"{re.escape(IMAGES)}[^/]+\.(mp4|index|counts|queue-\d{{8}})|"
    r"\d+-(file-\d+\.parquet|episode_\d+\.parquet|episode-\d+\.json|info\.json|stats\.json|"
    r"tasks\.(parquet|jsonl)|episodes(_stats)?\.jsonl)"
)


@dataclass(frozen=True)
class Header:
    """What a recorder says of an episode before its first frame.

    sourced: its rows say who commanded them (`row_log.row_type`).
    """

    episode: int
    task: str
    robot_type: str
    codec: str
    crf: int
    adopted: bool
    sourced: bool = False


@dataclass(frozen=True)
class Recovered:
    """What became of an unfinished episode.

    episode is its number, None if nothing could be kept; frames are in the dataset now, out of
    `rows` in the journal and `pictures` by camera.
    """

    episode: int | None
    frames: int
    rows: int
    pictures: Mapping[str, int]
    task: str

    def __str__(self) -> str:
        found = ", ".join(f"{count} {name}" for name, count in self.pictures.items())
        there = f"{self.rows} rows" + (f", pictures: {found}" if found else "")
        if self.episode is None:
            return f"removed an unfinished episode without a complete frame ({there})"
        return f"recovered episode {self.episode}: {self.frames} frames ({there}; {self.task!r})"


def write_header(folder: Path, header: Header, contract: Contract) -> None:
    """Say what is going to be recorded, so that it can be finished without the recorder."""
    contract.save(folder / CONTRACT)
    atomic_files.sync([folder / CONTRACT])
    atomic_files.write(folder / "header", json.dumps(asdict(header)).encode())
    atomic_files.move([(folder / "header", folder / HEADER)])


def read_header(folder: Path) -> tuple[Header, Contract] | None:
    """What an unfinished episode was to be; None if nothing says it."""
    if folder.is_symlink():
        return None
    try:
        header: Header = typed(Header, read_json(folder / HEADER), HEADER)
        return header, load(folder / CONTRACT)
    except (FileNotFoundError, ContractError, FileError):
        return None


def require_own(root: Path) -> None:
    """Raises DatasetError if `.unfinished`, or something in it, is a link: never a recorder's."""
    folder = root / layout.UNFINISHED
    if not os.path.lexists(folder):
        return
    if folder.is_symlink() or not folder.is_dir():
        raise DatasetError(
            f"{folder} is not a folder but a {'symbolic link' if folder.is_symlink() else 'file'}, "
            "which the recorder never makes; nothing was changed: remove it yourself"
        )
    for path in sorted(folder.iterdir()):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            kind = "a symbolic link" if path.is_symlink() else "no file"
            raise DatasetError(
                f"{printable(path)} is {kind}, which the recorder never makes; nothing was "
                "changed: remove it yourself"
            )


def own_files(folder: Path) -> list[Path]:
    """The files in `.unfinished` that bear names which this recorder gives."""
    return [
        path
        for path in sorted(folder.iterdir())
        if _OWN.fullmatch(path.name) and path.is_file() and not path.is_symlink()
    ]


class Remains:
    """An unfinished episode, with the face of a `OpenEpisode` that is to be finished."""

    def __init__(self, folder: Path, header: Header, contract: Contract):
        """Looks, and changes nothing. Raises DatasetError for a contract that no recorder had."""
        self._folder = folder
        self._contract = contract
        layout.features_of(contract)  # names that are file names
        self._forms = {
            camera.name: _form(camera, contract.fps, header) for camera in contract.cameras
        }
        path = folder / JOURNAL
        self._rows = (
            row_log.rows(path, contract, header.sourced) if path.exists() else _no_rows(contract)
        )
        self.rows = len(self._rows)
        self.pictures = {name: self._available(name) for name in self._forms}
        self.frames = min([self.rows, *self.pictures.values()])

    @property
    def videos(self) -> dict[str, Path]:
        """Video files by feature key."""
        return {IMAGES + name: self._video(name) for name in self._forms}

    def finish(self) -> dict[str, Stats]:
        """Close the videos behind the last complete frame; their statistics by feature key.

        `frames` may become fewer: a waiting picture may turn out not to be decodable.
        """
        while self.frames:
            made = [self._fix(name) for name in self._forms]
            if min(made, default=self.frames) == self.frames:
                return {IMAGES + name: self._stats(name) for name in self._forms}
            self.frames = min(made)
        return {}

    def columns(self) -> dict[str, NDArray[Any]]:
        """The rows, as an episode's."""
        return columns_of(self._rows[: self.frames], self._contract.fps)

    def provenance(self) -> EpisodeProvenance:
        """Who commanded the rows."""
        return provenance_of(self._rows[: self.frames], policies.read(self._folder))

    @property
    def damaged(self) -> dict[str, list[int]]:
        """Pictures of which only a part could be decoded, by camera, where there are any."""
        found = {name: self._recorded(name).damaged for name in self._forms}
        return {name: numbers for name, numbers in found.items() if numbers}

    def abort(self) -> None:
        """Nothing is open between calls."""

    def _video(self, name: str) -> Path:
        return self._folder / f"{IMAGES}{name}.mp4"

    def _counts(self, name: str) -> Path:
        return self._folder / f"{IMAGES}{name}.counts"

    def _recorded(self, name: str) -> appendable_mp4.Index:
        try:
            return appendable_mp4.whole(self._video(name))
        except (FileNotFoundError, VideoError):
            return appendable_mp4.Index(b"", appendable_mp4.numbers(), appendable_mp4.numbers(), [])

    def _available(self, name: str) -> int:
        recorded = self._recorded(name)
        count = len(recorded.sizes)
        waiting = sum(1 for _ in picture_queue.left(self._folder, IMAGES + name, count))
        if waiting and count and Encoder(self._forms[name]).description != recorded.description:
            # Another version of the encoder: its pictures cannot follow the others in one stream.
            return count
        return count + waiting

    def _fix(self, name: str) -> int:
        """Make a camera's video `frames` long; how long it is."""
        form = self._forms[name]
        kept = min(len(self._recorded(name).sizes), self.frames)
        film = AppendableMp4(self._video(name), form, kept or None)
        try:
            if kept < self.frames:
                self._encode_waiting(name, film)
            film.close()
            return film.pictures
        finally:
            film.abandon()

    def _encode_waiting(self, name: str, film: AppendableMp4) -> None:
        form, first = self._forms[name], film.pictures
        encoder, developer = Encoder(form), Developer(form.height, form.width)
        if not film.description:
            film.begin(encoder.description)
        counts = self._counts_behind(name, first)
        try:
            for shot in picture_queue.left(self._folder, IMAGES + name, first):
                if shot.number == self.frames:
                    break
                try:
                    made = develop(developer, shot)
                except VideoError:
                    break  # the episode ends before it
                if made.damaged:
                    film.damaged.append(shot.number)
                if counts is not None:
                    counts.add(made.levels)
                film.add(encoder.encode(made.frame))
            film.add(encoder.encode(None))
        finally:
            if counts is not None:
                counts.close()

    def _counts_behind(self, name: str, first: int) -> LevelCounts | None:
        """The camera's level counts, cut to `first` pictures; None if so many are not there."""
        form, path = self._forms[name], self._counts(name)
        if first and (not path.exists() or self._intact(name) < first):
            return None
        return LevelCounts(path, form.height, form.width, first)

    def _intact(self, name: str) -> int:
        form, path = self._forms[name], self._counts(name)
        if not path.exists():
            return 0
        counts = LevelCounts(path, form.height, form.width, None)
        try:
            return counts.pictures
        finally:
            counts.close()

    def _stats(self, name: str) -> Stats:
        form = self._forms[name]
        if self._intact(name) < self.frames:
            return _from_video(self._video(name), self.frames)
        counts = LevelCounts(self._counts(name), form.height, form.width, self.frames)
        try:
            return counts.stats()
        finally:
            counts.close()


def _from_video(path: Path, pictures: int) -> Stats:
    """The statistics of a finished video: a few levels off those of the camera's pictures."""
    chosen = stats.sample_indices(pictures)
    total = np.zeros((3, 256), np.int64)
    for start in range(0, len(chosen), _BATCH):
        for picture in video.decode(path, chosen[start : start + _BATCH].tolist()):
            total += stats.count_levels(sampled(picture))
    return stats.picture_stats(total, len(chosen))


def _form(camera: Camera, fps: int, header: Header) -> Format:
    return Format(camera.height, camera.width, fps, header.codec, header.crf)


def _no_rows(contract: Contract) -> NDArray[Any]:
    return np.zeros(0, row_log.row_type(contract))
