"""Reads LeRobot v3, v2.1 and v2.0 datasets: armlet's own and stock ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from armlet.contract import Contract, ContractError, load
from armlet.files import printable

from . import hub
from .format import layout, stats, tables, video
from .format.errors import DatasetError
from .format.layout import IMAGES, Feature, Info
from .format.pictures import stored_picture
from .format.provenance import EpisodeProvenance
from .format.stats import Stats

Noted = TypeVar("Noted")

VECTORS = (layout.STATE, layout.ACTION, layout.ENVIRONMENT_STATE)
"""What a policy is given, and what it gives, as numbers."""


@dataclass(frozen=True)
class EpisodeInfo:
    """An episode by its metadata. dataset_from..dataset_to is its half-open row range."""

    episode: int
    length: int
    duration_s: float
    tasks: tuple[str, ...]
    dataset_from: int
    dataset_to: int


@dataclass(frozen=True)
class EpisodeData:
    """An episode's rows: every column of the data file, (L,) or (L, D), and the task per row."""

    info: EpisodeInfo
    columns: Mapping[str, NDArray[Any]]
    tasks: tuple[str, ...]

    @property
    def state(self) -> NDArray[np.float32]:
        """(L, n) float32, dataset units."""
        return self._column(layout.STATE)

    @property
    def action(self) -> NDArray[np.float32]:
        """(L, n) float32, dataset units."""
        return self._column(layout.ACTION)

    @property
    def timestamp(self) -> NDArray[np.float32]:
        """(L,) float32, seconds since the episode began: frame_index / fps."""
        return self._column("timestamp")

    @property
    def stamp_ns(self) -> NDArray[np.int64]:
        """(L,) int64, Unix time of each frame. DatasetError where armlet did not record it."""
        return self._column(layout.STAMP)

    @property
    def by_person(self) -> NDArray[np.bool_]:
        """(L,) bool, whether a person commanded each row: the column `intervention`.

        DatasetError where there is none, and where it says anything but true or false, 1 or 0.
        """
        said = self._column(layout.INTERVENTION)
        where = f"episode {self.info.episode}: {layout.INTERVENTION}"
        if said.ndim != 1 or said.dtype.kind not in "biuf":
            raise DatasetError(
                f"{where}: expected true or false in each row, found {said.dtype} of shape "
                f"{said.shape}"
            )
        if not np.isin(said, (0, 1)).all():
            raise DatasetError(f"{where}: expected true or false in each row, found {_odd(said)}")
        return np.asarray(said != 0, np.bool_)

    def require_finite(self, keys: Sequence[str] = VECTORS) -> None:
        """Raises DatasetError where values of these columns are NaN or infinite.

        For whoever computes with them: one such value spoils every mean.
        """
        for key in keys:
            if key in self.columns and (said := tables.not_finite(self.columns[key])):
                raise DatasetError(f"episode {self.info.episode}: {key} has {said}")

    def _column(self, key: str) -> NDArray[Any]:
        if key not in self.columns:
            raise DatasetError(
                f"episode {self.info.episode} has no column {key}; it has {sorted(self.columns)}"
            )
        return self.columns[key]


def _odd(said: NDArray[Any]) -> str:
    row = int(np.flatnonzero(~np.isin(said, (0, 1)))[0])
    return f"{said[row]} in row {row}"


@dataclass(frozen=True)
class EpisodeVideo:
    """Where an episode's pictures of a camera are: seconds from_s to to_s of a video file."""

    path: Path
    from_s: float
    to_s: float


class Dataset:
    """A LeRobot v3, v2.1 or v2.0 dataset on disk or, fetched first, on the Hub, for reading."""

    def __init__(self, root: Path | str):
        """root: its folder, or hub:owner/name@revision.

        Raises DatasetError if root is not a dataset, or its metadata contradicts itself.
        """
        self.root = hub.locate(root)
        self.info: Info = layout.load_info(self.root)
        self.name = hub.name_of(root, self.root)
        """hub:owner/name@revision of one on the Hub, of another its folder's."""
        self.tasks: list[str] = tables.read_tasks(self.root)
        self._rows = tables.read_episodes(self.root, stats=False)[: self.info.total_episodes]
        if len(self._rows) < self.info.total_episodes:
            raise DatasetError(
                f"{self.root}: info.json counts {self.info.total_episodes} episodes, the "
                f"metadata of {len(self._rows)} is there"
            )
        self.episodes: list[EpisodeInfo] = [
            EpisodeInfo(
                row.episode,
                row.length,
                row.length / self.info.fps,
                row.tasks,
                row.dataset_from,
                row.dataset_to,
            )
            for row in self._rows
        ]

    @cached_property
    def contract(self) -> Contract | None:
        """The contract it was recorded under; None if LeRobot recorded it. Raises DatasetError."""
        try:
            return load(layout.locate(self.root, layout.CONTRACT))
        except FileNotFoundError:
            return None
        except ContractError as error:
            raise DatasetError(str(error)) from error

    @cached_property
    def statistics(self) -> dict[str, Stats]:
        """stats.json, or the same from the episodes' own. Raises DatasetError if neither is."""
        try:
            return stats.load(layout.locate(self.root, layout.STATS))
        except FileNotFoundError as error:
            rows = tables.read_episodes(self.root)[: self.info.total_episodes]
            if rows and all(row.stats for row in rows):
                return stats.aggregate([row.stats for row in rows])
            raise DatasetError(f"{self.root} holds no statistics: {layout.STATS} absent") from error

    def episode(self, k: int) -> EpisodeData:
        """The rows of episode k. Raises DatasetError, IndexError."""
        row = self._row(k)
        path = layout.locate(self.root, self.info.data_path(row.data))
        keys = [key for key, f in self.info.features.items() if not f.is_picture]
        if self.info.features.get("task_index", Feature("", ())).shape != (1,):
            raise DatasetError(f"{self.root}: info.json declares no column task_index of shape [1]")
        table = self._read_rows(path, row, keys)
        columns = {key: tables.column(table, key, self.info.features[key]) for key in keys}
        return EpisodeData(self.episodes[k], columns, self._tasks_of(path, columns["task_index"]))

    def _tasks_of(self, path: Path, indices: NDArray[Any]) -> tuple[str, ...]:
        """The task of each row (L,). Raises DatasetError for rows whose task has no name."""
        known = dict(enumerate(self.tasks))
        try:
            return tuple(known[int(index)] for index in indices.tolist())
        except (LookupError, ValueError, TypeError) as error:
            raise DatasetError(
                f"{path}: rows have task_index {printable(error, 40)}, and "
                f"{tables.tasks_path(self.info)} has {len(self.tasks)} tasks; "
                "`armlet dataset check` has more"
            ) from error

    def ledger(self, k: int) -> dict[str, Any] | None:
        """What the aligner noted of episode k, by stream; None if nothing was stored."""
        self._row(k)
        found: dict[str, Any] | None = layout.load_notes(self.root, k).get("ledger")
        return found

    def provenance(self, k: int) -> EpisodeProvenance | None:
        """Which policies drove episode k, and who commanded its rows; None if nothing was noted.

        Raises DatasetError.
        """
        return layout.load_provenance(self.root, k, self._row(k).length)

    def provenances(self) -> dict[int, EpisodeProvenance]:
        """That of every episode of which it was noted, but for notes that cannot be read."""
        return self._noted("provenance", self.provenance)

    def success(self, k: int) -> bool | None:
        """Whether episode k succeeded, as a person said when it was recorded; None: nobody did."""
        self._row(k)
        found: bool | None = layout.load_notes(self.root, k).get("success")
        return found

    def successes(self) -> dict[int, bool]:
        """The same of every episode of which a person said it."""
        return self._noted("success", self.success)

    @cached_property
    def _notes(self) -> dict[str, list[int]]:
        """The episodes whose notes have one of these names."""
        return layout.notes_with(self.root, len(self._rows), ("provenance", "success"))

    def _noted(self, name: str, read: Callable[[int], Noted | None]) -> dict[int, Noted]:
        """By episode, what stands under a name in its notes, where they can be read."""
        found = {}
        for k in self._notes[name]:
            try:
                noted = read(k)
            except DatasetError:
                continue  # `check` says so
            if noted is not None:
                found[k] = noted
        return found

    def damaged(self, k: int) -> dict[str, list[int]]:
        """By camera, the frames of episode k whose JPEG was damaged when it was recorded."""
        self._row(k)
        return dict(layout.load_notes(self.root, k).get("damaged", {}))

    def images(
        self, k: int, camera: str, indices: Sequence[int] | None = None
    ) -> NDArray[np.uint8]:
        """Pictures of episode k: (T, H, W, 3) uint8 RGB, all or those with these frame indices.

        Raises DatasetError if the camera is unknown or its video absent or short.
        """
        row = self._row(k)
        key = self._picture_key(camera)
        frames = np.arange(row.length) if indices is None else np.asarray(indices, np.int64)
        if frames.size and not 0 <= frames.min() <= frames.max() < row.length:
            raise IndexError(f"episode {k} has frames 0..{row.length - 1}, asked {indices}")
        if self.info.features[key].dtype == "image":
            return self._stored_pictures(row, key, frames)
        found = self._video(row, key)
        # Picture numbers, not times: LeRobot accumulates from_timestamp in floating point.
        numbers = (round(found.from_s * self.info.fps) + frames).tolist()
        return video.decode(found.path, numbers, self.info.fps)

    def video(self, k: int, camera: str) -> EpisodeVideo | None:
        """The video with episode k's pictures; None where they are stored as single pictures.

        Raises DatasetError if the camera is unknown or its video absent, IndexError.
        """
        row = self._row(k)
        key = self._picture_key(camera)
        return None if self.info.features[key].dtype == "image" else self._video(row, key)

    def _picture_key(self, camera: str) -> str:
        if camera not in self.info.cameras:
            raise DatasetError(f"no camera {camera!r}; there are {sorted(self.info.cameras)}")
        return next(name for name in (IMAGES + camera, camera) if name in self.info.features)

    def _video(self, row: tables.EpisodeRow, key: str) -> EpisodeVideo:
        if key not in row.videos:
            raise DatasetError(f"episode {row.episode}: the metadata names no video for {key}")
        found = self._placed(row, key)
        if not found.path.exists():
            raise DatasetError(
                f"video {found.path} is absent: this copy of the dataset has no pictures of "
                f"{key.removeprefix(IMAGES)}; fetch its videos folder too"
            )
        return found

    def _placed(self, row: tables.EpisodeRow, key: str) -> EpisodeVideo:
        """As the metadata has it, whether the file is there or not."""
        span = row.videos[key]
        path = layout.locate(self.root, self.info.video_path(key, span.number))
        return EpisodeVideo(path, span.from_s, span.to_s)

    def picture_files(self, k: int) -> dict[str, tuple[Path, float]]:
        """Where the pictures of episode k are: by camera the file, and at which second it begins.

        Raises DatasetError for a path that leads out of the dataset.
        """
        row, found = self._row(k), {}
        for camera in self.info.cameras:
            key = self._picture_key(camera)
            if key in row.videos:
                placed = self._placed(row, key)
                found[camera] = (placed.path, placed.from_s)
            elif self.info.features[key].dtype == "image":
                found[camera] = (layout.locate(self.root, self.info.data_path(row.data)), 0.0)
        return found

    def _row(self, k: int) -> tables.EpisodeRow:
        if not 0 <= k < len(self._rows):
            raise IndexError(f"episode {k} of {len(self._rows)}")
        return self._rows[k]

    def _read_rows(self, path: Path, row: tables.EpisodeRow, keys: list[str]) -> Any:
        table = tables.read(path, keys, [("episode_index", "=", row.episode)])
        absent = sorted(set(keys) - set(table.column_names))
        if absent:
            raise DatasetError(f"{path} lacks columns {absent} that info.json declares")
        if table.num_rows != row.length:
            raise DatasetError(
                f"{path} has {table.num_rows} rows of episode {row.episode}, "
                f"the metadata says {row.length}"
            )
        return table

    def _stored_pictures(
        self, row: tables.EpisodeRow, key: str, frames: NDArray[np.int64]
    ) -> NDArray[np.uint8]:
        path = layout.locate(self.root, self.info.data_path(row.data))
        table = self._read_rows(path, row, [key])
        stored = tables.column(table, key, self.info.features[key])[frames]
        pictures = [stored_picture(picture, f"{path}: {key}") for picture in stored]
        if len({picture.shape for picture in pictures}) > 1:
            raise DatasetError(f"{path}: pictures of {key} have different sizes")
        return np.stack(pictures)
