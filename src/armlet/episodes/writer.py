"""Records episodes into a LeRobot v3.0 dataset, each of them whole or not at all.

Everything of an episode is first written and fsynced under `.unfinished/`. Then files are renamed
to their places in an order in which stock LeRobot can open the dataset at every step:

1. tasks.parquet, the videos, the data file: so far no metadata speaks of them, and LeRobot counts
   by info.json, so rows beyond its totals are never looked at;
2. the episodes-metadata file. With this rename the episode is finished;
3. stats.json, then info.json, which both follow from the episodes metadata.

What a crash leaves is repaired when the dataset is opened again (`doctor.sweep`): before step 2
the files of the one unfinished episode are removed, after it totals and statistics are made up.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from armlet.contract import Contract

from . import doctor, durable, layout, stats, tables, video
from .errors import DatasetError
from .layout import FileNumber, Info
from .resume import misfits
from .stats import Stats
from .take import EpisodeFrame, Take

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EpisodeSummary:
    """A finished episode. size_bytes is what it takes on disk."""

    episode: int
    frames: int
    duration_s: float
    task: str
    size_bytes: int


class DatasetWriter:
    """Creates a dataset at root, or resumes the one that is there. Not thread safe.

    As a context manager it closes on exit; an exception discards the open episode only.
    """

    def __init__(
        self,
        root: Path,
        contract: Contract,
        *,
        robot_type: str = "so101_follower",
        codec: str = "h264",
        crf: int = 23,
    ):
        """Take the dataset for writing, repairing first what a crash left (see `repaired`).

        Raises DatasetError if another writer has it, if root holds something else, or, line by
        line, if the contract, fps, features, robot type or codec do not fit what is there.
        """
        self.root = Path(root)
        self._contract = contract
        self._codec = codec
        self._crf = crf
        self._take: Take | None = None
        self._task = ""
        self._broken = ""
        video.stream_name(codec)
        durable.make_folder(self.root)
        self._lock: int | None = durable.lock(self.root)
        try:
            self.repaired = doctor.repair(self.root)
            for line in self.repaired:
                _log.warning("%s: %s", self.root, line)
            if doctor.is_fresh(self.root):
                self._create(robot_type)
            self._info = layout.load_info(self.root)
            self._check_fit(robot_type)
            self._tasks = tables.read_tasks(self.root)
            self._stats = stats.load(self.root / layout.STATS) if self._info.total_episodes else {}
        except BaseException:
            self.close()
            raise

    @property
    def episodes(self) -> int:
        """Finished episodes in the dataset."""
        return self._info.total_episodes

    @property
    def frames(self) -> int:
        """Frames in finished episodes."""
        return self._info.total_frames

    @property
    def recording(self) -> bool:
        """Whether an episode is open."""
        return self._take is not None

    @property
    def open_frames(self) -> int:
        """Frames in the open episode."""
        return 0 if self._take is None else self._take.frames

    @property
    def queued(self) -> int:
        """Pictures waiting for the slowest encoder; `add_frame` blocks when there are 30."""
        return 0 if self._take is None else self._take.queued

    def begin_episode(self, task: str) -> None:
        """Open an episode. task is what the policy is told, in words; it must not be blank."""
        self._require_usable()
        if self._take is not None:
            raise DatasetError("an episode is open; finish or discard it first")
        if not task.strip():
            raise DatasetError("an episode needs a task: say in words what the arm is to do")
        durable.make_folder(self._unfinished)
        try:
            self._take = Take(self._unfinished, self._contract, self._codec, self._crf)
        except BaseException:
            doctor.remove_unfinished(self.root)
            raise
        self._task = task

    def add_frame(self, frame: EpisodeFrame) -> None:
        """Add a frame; blocks while the encoders are behind.

        Raises FrameError or HoleError, leaving the episode as it was; or VideoError or OSError
        if a picture could not be kept, after which the episode can only be discarded.
        """
        self._open_take().add(frame)

    def finish_episode(self) -> EpisodeSummary:
        """Make the open episode part of the dataset, on disk, when this returns.

        If something fails while files are prepared (a full disk), the episode stays open and
        this may be called again. Raises DatasetError for an episode without frames.
        """
        take = self._open_take()
        if take.frames == 0:
            raise DatasetError("the episode has no frames; discard it")
        ready = self._prepare(take)
        number, before = self.episodes, self._info
        self._broken = (
            f"finishing episode {number} failed midway; open the dataset again, which repairs it"
        )
        self._publish(ready)
        self._info, self._tasks, self._stats = ready.info, ready.tasks, ready.statistics
        self._broken = ""
        self._drop_take()
        return EpisodeSummary(
            episode=number,
            frames=ready.info.total_frames - before.total_frames,
            duration_s=ready.row.length / self._info.fps,
            task=self._task,
            size_bytes=sum(path.stat().st_size for path in ready.own_files),
        )

    def discard_episode(self) -> None:
        """Forget the open episode, also where finishing it has failed.

        Raises DatasetError if none is open.
        """
        if self._take is None:
            raise DatasetError("no episode is open; begin one first")
        self._drop_take()

    def close(self) -> None:
        """Discard the open episode, if any, and give the dataset back. May be called again."""
        try:
            if self._take is not None:
                self._drop_take()
        finally:
            if self._lock is not None:
                durable.unlock(self._lock)
                self._lock = None

    def __enter__(self) -> DatasetWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def _unfinished(self) -> Path:
        return self.root / layout.UNFINISHED

    def _require_usable(self) -> None:
        if self._lock is None:
            raise DatasetError("the dataset is closed")
        if self._broken:
            raise DatasetError(self._broken)

    def _open_take(self) -> Take:
        self._require_usable()
        if self._take is None:
            raise DatasetError("no episode is open; begin one first")
        return self._take

    def _drop_take(self) -> None:
        assert self._take is not None
        # First: whatever fails below, this episode is over.
        take, self._take = self._take, None
        take.abort()
        doctor.remove_unfinished(self.root)

    def _create(self, robot_type: str) -> None:
        info = layout.new_info(self._contract, robot_type)
        durable.make_folder(self._unfinished)
        contract = self._unfinished / "contract.json"
        self._contract.save(contract)
        durable.sync([contract])
        durable.write(self._unfinished / "info.json", info.dumps())
        durable.move(
            [
                (contract, self.root / layout.CONTRACT),
                (self._unfinished / "info.json", self.root / layout.INFO),
            ]
        )
        doctor.remove_unfinished(self.root)

    def _check_fit(self, robot_type: str) -> None:
        lines = misfits(self.root, self._info, self._contract, robot_type, self._codec)
        if lines:
            raise DatasetError(
                f"{self.root} cannot be resumed with this setup:\n" + "\n".join(lines)
            )

    def _prepare(self, take: Take) -> _Ready:
        """Write and fsync every file of the episode under `.unfinished`."""
        pictures = take.finish()
        task_index, tasks = _with_task(self._tasks, self._task)
        columns = self._columns(take, task_index)
        row = self._row(take.frames, columns, pictures)
        own = FileNumber.of_episode(row.episode, self._info.chunks_size)
        info = self._info.with_totals(row.episode + 1, row.dataset_to, len(tasks))
        if row.episode == 0:
            info = info.with_streams({k: video.describe(v) for k, v in take.videos.items()})
        statistics = stats.aggregate([self._stats, row.stats]) if row.episode else dict(row.stats)
        contents = {
            info.data_path(own): tables.encode(tables.data_table(info.features, columns)),
            layout.episodes_path(own): tables.encode(tables.episode_table(row, own)),
            layout.STATS: stats.dumps(statistics),
            layout.INFO: info.dumps(),
        }
        if tasks != self._tasks:
            contents[layout.TASKS] = tables.encode(tables.tasks_table(tasks))
        staged = {}
        for number, (target, content) in enumerate(contents.items()):
            staged[target] = self._unfinished / f"{number}-{target.name}"
            durable.write(staged[target], content)
        for key, path in take.videos.items():
            staged[info.video_path(key, own)] = path
        durable.sync(take.videos.values())
        return _Ready(self.root, row, info, tasks, statistics, staged)

    def _columns(self, take: Take, task_index: int) -> dict[str, NDArray[Any]]:
        ones = np.ones(take.frames, np.int64)
        return take.columns() | {
            "episode_index": ones * self.episodes,
            "index": self.frames + np.arange(take.frames, dtype=np.int64),
            "task_index": ones * task_index,
        }

    def _row(
        self, length: int, columns: dict[str, NDArray[Any]], pictures: dict[str, Stats]
    ) -> tables.EpisodeRow:
        own = FileNumber.of_episode(self.episodes, self._info.chunks_size)
        span = tables.VideoSpan(own, 0.0, length / self._info.fps)
        known = {key: stats.vector_stats(values) for key, values in columns.items()} | pictures
        return tables.EpisodeRow(
            episode=self.episodes,
            tasks=(self._task,),
            length=length,
            dataset_from=self.frames,
            dataset_to=self.frames + length,
            data=own,
            videos=dict.fromkeys(pictures, span),
            stats={key: known[key] for key in self._info.features},
        )

    def _publish(self, ready: _Ready) -> None:
        """Rename the prepared files to their places, in the order of the module's docstring."""
        final = (ready.commit, layout.STATS, layout.INFO)
        first = [target for target in ready.staged if target not in final]
        # The new task must be there before the rows that point at it.
        first.sort(key=lambda target: (target != layout.TASKS, target.suffix != ".mp4"))
        for targets in (first, final[:1], final[1:]):
            durable.move([(ready.staged[t], self.root / t) for t in targets])


@dataclass(frozen=True)
class _Ready:
    """An episode whose files are all on disk, to be renamed: staged maps target to source."""

    root: Path
    row: tables.EpisodeRow
    info: Info
    tasks: list[str]
    statistics: dict[str, Stats]
    staged: dict[Path, Path]

    @property
    def commit(self) -> Path:
        """The file whose appearance makes the episode finished."""
        own = FileNumber.of_episode(self.row.episode, self.info.chunks_size)
        return layout.episodes_path(own)

    @property
    def own_files(self) -> list[Path]:
        shared = (layout.STATS, layout.INFO, layout.TASKS)
        return [self.root / target for target in self.staged if target not in shared]


def _with_task(tasks: list[str], task: str) -> tuple[int, list[str]]:
    """The task's index, and the tasks including it."""
    if task in tasks:
        return tasks.index(task), tasks
    return len(tasks), [*tasks, task]
