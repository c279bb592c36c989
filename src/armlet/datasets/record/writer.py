"""Records episodes into a LeRobot dataset, v3.0 or v2.1, each of them whole or not at all.

While an episode is recorded everything of it is under `.unfinished/`, rows and pictures with
checksums as they come (`episode`, `recovery`). To finish it, what is missing is written and fsynced
there too. Then files are renamed to their places in an order in which stock LeRobot can open the
dataset at every step. In v3.0:

1. tasks.parquet, the videos, the ledger, the data file: so far no metadata speaks of them, and
   LeRobot counts by info.json, so rows beyond its totals are never looked at;
2. the episodes-metadata file. With this rename the episode is finished;
3. stats.json, then info.json, which both follow from the episodes metadata.

v2.1 has one list of episodes, and LeRobot 0.3.3 loads every data file there is and refuses rows
without a line in that list, as well as a line without rows:

1. tasks.jsonl, the videos, the ledger, episodes_stats.jsonl, which it does not count;
2. the data file and, next, episodes.jsonl: two renames with nothing between them. A kill exactly
   there leaves a dataset that 0.3.3 refuses until armlet has opened it;
3. info.json.

What a crash leaves is repaired when the dataset is opened again: before step 2 is done, the episode
is finished from `.unfinished/`, or removed if that is asked for; after it totals and statistics
are made up.

When a dataset is closed that something was recorded into, small files are merged (`compaction`).
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from armlet.contract import Contract
from armlet.datasets.format import atomic_files, edit_journal, jsonl, layout, stats, tables, video
from armlet.datasets.format.errors import DatasetError, DiskError
from armlet.datasets.format.layout import Info
from armlet.datasets.format.provenance import EpisodeProvenance, Latency
from armlet.datasets.format.stats import Stats
from armlet.datasets.format.trash import Trash
from armlet.files import printable
from armlet.findings import Finding

from . import compaction, leftovers, recovery, removal
from .compatibility import misfits
from .episode import Backlog, EpisodeFrame, OpenEpisode, Setting
from .recovery import Header, Recovered, Remains

_log = logging.getLogger(__name__)

Ledger = Mapping[str, Mapping[str, float]]
"""What the aligner counted of each stream: counter or figure by name, by stream."""

RECORDER, PART = "recorder", "part"
"""Of an episode's ledger: which part of a recording it is, where a gap split that; from 1 on."""

# Before anything was recorded: about twice what x264 makes of a noisy picture.
_BYTES_PER_PIXEL = 0.2
_BYTES_PER_ROW = 500
_BEGIN_S = 10.0


@dataclass(frozen=True)
class EpisodeSummary:
    """A finished episode. size_bytes is what it takes on disk.

    damaged: by camera, the frames whose JPEG could be decoded in part only. They are stored as
    far as they go, and named in the dataset too.
    """

    episode: int
    frames: int
    duration_s: float
    task: str
    size_bytes: int
    damaged: Mapping[str, list[int]] = field(default_factory=dict)


@dataclass(frozen=True)
class DiskReport:
    """Room for recording so many seconds, keeping a reserve."""

    free_bytes: int
    needed_bytes: int
    seconds_left: float
    root: Path

    @property
    def ok(self) -> bool:
        return self.free_bytes >= self.needed_bytes

    def __str__(self) -> str:
        return (
            f"{self.free_bytes / 1e6:.0f} MB free at {self.root}, {self.needed_bytes / 1e6:.0f} MB "
            f"needed; room for about {self.seconds_left:.0f} s"
        )


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
        crf: int | None = None,
        version: str = layout.VERSION,
        unfinished: str = "recover",
        adopt: bool = False,
        calibration_tolerance_deg: float = 0.0,
        intervention: bool = False,
        memory_bytes: int = 64 << 20,
        reserve_bytes: int = 256 << 20,
        merge_files: int = compaction.LEAST,
    ):
        """Open the dataset for writing; repairs first what a crash left (see `repaired`).

        version: of a dataset that is created, "v3.0" or "v2.1". unfinished: whether to "recover"
        or to "remove" an episode whose recorder was killed. adopt: a dataset of LeRobot's own,
        without a contract, may be resumed; the caller vouches for units and calibration.
        calibration_tolerance_deg: by how much a joint may have moved since the dataset's own
        calibration, in degrees.
        intervention: whether a dataset that is created gets LeRobot's column `intervention`.
        crf: the encoder's quality scale, lower is better; None takes the codec's own default.
        memory_bytes: pictures kept in memory while they wait, further ones wait on disk only.
        reserve_bytes: disk that recording leaves free.
        merge_files: so many small files of rows and metadata are merged when the dataset is closed;
        0: none ever are.

        Raises DatasetError if another writer has it, if root holds something else, or, line by
        line, if the contract, fps, features, robot type or codec do not fit what is there.
        """
        self.root = Path(root)
        self._contract = contract
        self._robot_type = robot_type
        self._adopt = adopt
        self._intervention = intervention
        self._tolerance_deg = calibration_tolerance_deg
        quality = video.default_crf(codec) if crf is None else crf
        self._setting = Setting(codec, quality, memory_bytes, reserve_bytes)
        if unfinished not in ("recover", "remove"):
            raise DatasetError(f"unfinished must be recover or remove, found {unfinished!r}")
        self.recovered: list[Recovered] = []
        self._episode: OpenEpisode | None = None
        self._task = ""
        self._latency: Latency | None = None
        self._broken = ""
        self._merge_files, self._reserve_bytes = merge_files, reserve_bytes
        self._has_recorded = False
        atomic_files.make_folder(self.root)
        self._lock: int | None = atomic_files.lock(self.root)
        self.repaired: list[str] = []
        try:
            self._tell(edit_journal.finish(self.root))
            self._create_if_new(robot_type, version)
            self._info = layout.load_info(self.root)
            layout.require_current(self.root, self._info)
            self._check_fit()
            self._language = self._language_types()
            self._tell(leftovers.repair(self.root, keep=unfinished == "recover"))
            self._info = layout.load_info(self.root)
            self._tasks = tables.read_tasks(self.root)
            self._stats = self._known_stats()
            self._frame_bytes = self._recorded_frame_bytes()
            self._recover()
        except BaseException:
            self.close(merge=False)
            raise

    def _create_if_new(self, robot_type: str, version: str) -> None:
        if leftovers.is_fresh(self.root):
            self._tell(leftovers.repair(self.root))
            self._create(robot_type, version)
        elif leftovers.is_empty(self.root) and self._is_misfit(version):
            # What a first try left, with other cameras or joints; there is nothing to lose.
            self._tell(leftovers.put_empty_away(self.root))
            self._create(robot_type, version)

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
        return self._episode is not None

    @property
    def open_frames(self) -> int:
        """Frames in the open episode."""
        episode = self._episode  # which the writer's own thread may drop meanwhile
        return 0 if episode is None else episode.frames

    @property
    def queued(self) -> int:
        """Pictures waiting for the slowest encoder. None is ever dropped."""
        episode = self._episode
        return 0 if episode is None else episode.queued

    @property
    def spilled(self) -> int:
        """Waiting pictures that are on disk only, all cameras."""
        episode = self._episode
        return 0 if episode is None else episode.spilled

    @property
    def damaged(self) -> dict[str, list[int]]:
        """Frames of the open episode whose JPEG could be decoded in part only, by camera."""
        return {} if self._episode is None else self._episode.damaged

    @property
    def backlog(self) -> Backlog:
        """What waits for the encoders."""
        return Backlog() if self._episode is None else self._episode.backlog

    def required_bytes(self, seconds: float) -> int:
        """About what an episode this long takes, by those recorded, or else by picture size."""
        return round(seconds * self._info.fps * self._frame_bytes)

    def disk(self, seconds: float) -> DiskReport:
        """Whether there is room for so many seconds and the reserve."""
        free = shutil.disk_usage(self.root).free
        reserve = self._setting.reserve_bytes
        return DiskReport(
            free_bytes=free,
            needed_bytes=reserve + self.required_bytes(seconds),
            seconds_left=max(0, free - reserve) / max(1, self.required_bytes(1.0)),
            root=self.root,
        )

    def begin_episode(self, task: str) -> None:
        """Open an episode. task is what the policy is asked to do, in words; it must not be blank.

        Raises DiskError if there is room for less than a few seconds.
        """
        self._require_usable()
        if self._episode is not None:
            raise DatasetError("an episode is open; finish or discard it first")
        if not task.strip():
            raise DatasetError("an episode needs a task: say in words what the arm is to do")
        room = self.disk(_BEGIN_S)
        if not room.ok:
            raise DiskError(f"disk short: {room}; make room, or record to another disk")
        atomic_files.make_folder(layout.place(self.root, layout.UNFINISHED))
        recovery.require_own(self.root)
        try:
            recovery.write_header(self._unfinished, self._header(task), self._contract)
            self._episode = OpenEpisode(self._unfinished, self._contract, self._setting)
        except BaseException:
            leftovers.remove_unfinished(self.root)
            raise
        self._task, self._latency = task, None

    def add_frame(self, frame: EpisodeFrame) -> None:
        """Add a frame. It is in files when this returns; the encoders are not waited for.

        Raises FrameError, GapError or DiskError, leaving the episode as it was; or VideoError or
        OSError if a picture could not be kept, after which the episode can only be discarded.
        """
        self._the_open_episode().add(frame)

    def finish_episode(
        self, ledger: Ledger | None = None, latency: Latency | None = None
    ) -> EpisodeSummary:
        """Make the open episode part of the dataset, on disk, when this returns.

        ledger: what the aligner counted of each stream, to be stored with the episode. latency:
        how long the policy took, stored if one drove.

        If something fails while files are prepared (a full disk), the episode stays open and
        this may be called again. Raises DatasetError for an episode without frames.
        """
        episode = self._the_open_episode()
        if episode.frames == 0:
            raise DatasetError("the episode has no frames; discard it")
        self._latency = latency
        summary = self._save(episode, self._task, ledger)
        self._drop_episode()
        return summary

    def discard_episode(self) -> None:
        """Forget the open episode, also where finishing it has failed.

        Raises DatasetError if none is open.
        """
        if self._episode is None:
            raise DatasetError("no episode is open; begin one first")
        self._drop_episode()

    def remove_last(self, count: int) -> None:
        """Move the last `count` episodes to the dataset's trash; nothing is deleted.

        Raises DatasetError if an episode is open, or if fewer are there.
        """
        self._require_usable()
        if self._episode is not None:
            raise DatasetError("an episode is open; finish or discard it first")
        planned = removal.plan(self.root, self._info, count)
        self._broken = "removing episodes failed midway; open the dataset again, which repairs it"
        self._info, self._stats = removal.remove(self.root, self._info, planned)
        self._broken = ""

    def label(self, episodes: Iterable[int], success: bool) -> None:
        """Note of episodes whether they succeeded; `edits.label` can make a column of that.

        Raises DatasetError, also if an episode is open; OSError.
        """
        self._require_usable()
        if self._episode is not None:
            raise DatasetError("an episode is open; finish or discard it first")
        atomic_files.make_folder(layout.place(self.root, layout.UNFINISHED))
        recovery.require_own(self.root)
        for episode in episodes:
            target = layout.ledger_path(episode)
            staged = self._unfinished / f"0-{target.name}"
            notes = {**layout.load_notes(self.root, episode), "success": success}
            atomic_files.write(staged, json.dumps(notes, indent=1).encode())
            atomic_files.move([(staged, layout.place(self.root, target))])
        leftovers.remove_unfinished(self.root)

    def whole_episodes(self) -> int:
        """Finished episodes that are whole: parts of recordings that were split are none.

        Raises DatasetError if a ledger cannot be read.
        """
        named = layout.notes_with(self.root, self.episodes, [PART])[PART]
        notes = [layout.load_notes(self.root, k) for k in named]
        parts = [(t.get("ledger") or {}).get(RECORDER, {}).get(PART, 0) for t in notes]
        return self.episodes - sum(bool(part) for part in parts)

    def close(self, keep: bool = False, merge: bool = True) -> None:
        """Discard the open episode, if any, and give the dataset back. May be called again.

        keep: leave the open episode on disk as a kill would, for the next writer to recover it up
        to its last complete frame; where it can be neither finished nor gone on with. merge: merge
        small files, if something was recorded and there are enough of them; where that fails, a
        warning says why and the dataset is as it was.
        """
        try:
            if self._episode is not None and keep:
                episode, self._episode = self._episode, None
                episode.abort()
            elif self._episode is not None:
                self._drop_episode()
            if merge and not keep:
                self._merge()
        finally:
            if self._lock is not None:
                atomic_files.unlock(self._lock)
                self._lock = None

    def _merge(self) -> None:
        if not (self._merge_files and self._has_recorded) or self._broken or self._lock is None:
            return
        self._has_recorded = False
        try:
            said = compaction.compact(self.root, self._merge_files, self._reserve_bytes)
        except (DatasetError, OSError, MemoryError) as error:
            if os.path.lexists(self.root / layout.EDIT_JOURNAL):
                what = (
                    "merging small files was interrupted: %s; all that was recorded is there, and "
                    "the next opening, or `armlet dataset repair`, finishes it"
                )
            else:
                what = "small files were not merged: %s; nothing recorded is touched by that"
            _log.warning(f"%s: {what}", self.root, printable(error, 1000))
            return
        if said:
            _log.info("%s: %s", self.root, said)

    def __enter__(self) -> DatasetWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close(merge=kind is None)

    @property
    def _unfinished(self) -> Path:
        return self.root / layout.UNFINISHED

    def _require_usable(self) -> None:
        if self._lock is None:
            raise DatasetError("the dataset is closed")
        if self._broken:
            raise DatasetError(self._broken)

    def _the_open_episode(self) -> OpenEpisode:
        self._require_usable()
        if self._episode is None:
            raise DatasetError("no episode is open; begin one first")
        return self._episode

    def _drop_episode(self) -> None:
        assert self._episode is not None
        # First: whatever fails below, this episode is over.
        episode, self._episode = self._episode, None
        episode.abort()
        leftovers.remove_unfinished(self.root)

    def _tell(self, said: list[str]) -> None:
        self.repaired += said
        for line in said:
            _log.warning("%s: %s", self.root, printable(line, 1000))

    def _create(self, robot_type: str, version: str) -> None:
        info = layout.new_info(self._contract, robot_type, version, self._intervention)
        atomic_files.make_folder(layout.place(self.root, layout.UNFINISHED))
        trash = Trash(self.root)
        for path in (layout.CONTRACT, layout.INFO):
            trash.keep(path)
        contract = self._unfinished / "contract.json"
        self._contract.save(contract)
        atomic_files.sync([contract])
        atomic_files.write(self._unfinished / "info.json", info.dumps())
        atomic_files.move(
            [
                (contract, layout.place(self.root, layout.CONTRACT)),
                (self._unfinished / "info.json", layout.place(self.root, layout.INFO)),
            ]
        )
        leftovers.remove_unfinished(self.root)

    def _misfits(self, info: Info) -> list[Finding]:
        return misfits(
            self.root,
            info,
            self._contract,
            self._robot_type,
            self._setting.codec,
            self._adopt,
            self._tolerance_deg,
        )

    def _is_misfit(self, version: str) -> bool:
        info = layout.load_info(self.root)
        if self._intervention and layout.INTERVENTION not in info.features:
            return True
        try:
            return info.is_v2 != (version == layout.VERSION_2) or bool(self._misfits(info))
        except DatasetError:
            return True

    def _check_fit(self) -> None:
        wrong = self._misfits(self._info)
        if wrong:
            raise DatasetError(
                f"{self.root} cannot be resumed with this setup:\n" + "\n".join(map(str, wrong))
            )

    def _known_stats(self) -> dict[str, Stats]:
        """v3.0's statistics so far. v2.1 has them per episode only."""
        if self._info.is_v2 or not self._info.total_episodes:
            return {}
        return stats.load(layout.locate(self.root, layout.STATS))

    def _recorded_frame_bytes(self) -> float:
        """What a frame takes on disk, by what is there; before that by its pixels."""
        if self._info.total_frames:
            folders = (self.root / "data", self.root / "videos")
            files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
            return sum(path.lstat().st_size for path in files) / self._info.total_frames
        pixels = sum(camera.height * camera.width for camera in self._contract.cameras)
        return _BYTES_PER_ROW + _BYTES_PER_PIXEL * pixels

    def _header(self, task: str) -> Header:
        return Header(
            episode=self.episodes,
            task=task,
            robot_type=self._robot_type,
            codec=self._setting.codec,
            crf=self._setting.crf,
            adopted=self._adopt,
            sourced=True,
        )

    def _recover(self) -> None:
        """Finish the episode that a killed recorder left, if one is there."""
        unfinished = recovery.read_header(self._unfinished)
        if unfinished is None:
            return
        header, contract = unfinished
        found = Remains(self._unfinished, header, contract)
        # Before anything is cut or added, and again after: a picture may not be decodable.
        pictures = found.finish()
        episode = self.episodes if found.frames else None
        if found.frames:
            self._save(found, header.task, None, pictures)
        leftovers.remove_unfinished(self.root)
        self.recovered.append(
            Recovered(episode, found.frames, found.rows, found.pictures, header.task)
        )
        self._tell([str(self.recovered[-1])])

    def _save(
        self,
        episode: OpenEpisode | Remains,
        task: str,
        ledger: Ledger | None,
        pictures: dict[str, Stats] | None = None,
    ) -> EpisodeSummary:
        ready = self._prepare(
            episode, task, ledger, episode.finish() if pictures is None else pictures
        )
        self._broken = (
            f"finishing episode {self.episodes} failed midway; open the dataset again, "
            "which repairs it"
        )
        trash = Trash(self.root)
        for target in ready.new:
            trash.keep(target)
        for targets in ready.stages:
            atomic_files.move([(ready.staged[t], layout.place(self.root, t)) for t in targets])
        self._info, self._tasks, self._stats = ready.info, ready.tasks, ready.statistics
        self._broken = ""
        self._has_recorded = True
        size = sum((self.root / target).stat().st_size for target in ready.own)
        self._frame_bytes = size / ready.row.length
        return EpisodeSummary(
            episode=ready.row.episode,
            frames=ready.row.length,
            duration_s=ready.row.length / self._info.fps,
            task=task,
            size_bytes=size,
            damaged=episode.damaged,
        )

    def _prepare(
        self,
        episode: OpenEpisode | Remains,
        task: str,
        ledger: Ledger | None,
        pictures: dict[str, Stats],
    ) -> _Ready:
        """Write and fsync every file of the episode under `.unfinished`."""
        task_index, tasks = _with_task(self._tasks, task)
        columns = self._columns(episode, task_index)
        row = self._row(episode.frames, task, columns, pictures)
        own = self._info.number_of(row.episode)
        info = self._info.with_totals(row.episode + 1, row.dataset_to, len(tasks))
        if row.episode == 0:
            info = info.with_streams({k: video.describe(v) for k, v in episode.videos.items()})
        data = tables.data_table(info.features, columns, info.is_v2, self._language)
        contents = {info.data_path(own): tables.encode(data)}
        if tasks != self._tasks:
            contents[tables.tasks_path(info)] = (
                jsonl.tasks(tasks) if info.is_v2 else tables.encode(tables.tasks_table(tasks))
            )
        driven = self._driven(episode)
        if ledger is not None or episode.damaged or driven is not None:
            document = {"ledger": ledger, "damaged": episode.damaged}
            document |= {} if driven is None else {"provenance": driven.to_json()}
            contents[layout.ledger_path(row.episode)] = json.dumps(document, indent=1).encode()
        statistics: dict[str, Stats] = {}
        if not info.is_v2:
            known = [self._stats] if row.episode else []
            statistics = stats.aggregate([*known, row.stats]) if known else dict(row.stats)
        contents |= self._metadata(row, info, statistics)
        staged = {}
        for number, (target, content) in enumerate(contents.items()):
            staged[target] = self._unfinished / f"{number}-{target.name}"
            atomic_files.write(staged[target], content)
        for key, path in episode.videos.items():
            staged[info.video_path(key, own)] = path
        atomic_files.sync(episode.videos.values())
        return _Ready(row, info, tasks, statistics, staged)

    def _language_types(self) -> dict[str, pa.DataType]:
        """Of columns that an annotation fills later, as they are in what is recorded so far."""
        keys = self._info.language_keys
        if not keys:
            return {}
        rows = tables.read_episodes(self.root)
        path = layout.locate(self.root, self._info.data_path(rows[-1].data)) if rows else self.root
        columns = tables.schema(path) if rows else pa.schema([])
        for key in set(keys) - set(columns.names):
            raise DatasetError(
                f"{path}: there is no column {printable(key, 80)}, which info.json declares: "
                "nothing can be appended; annotate it again, or record into a new dataset"
            )
        return {key: columns.field(key).type for key in keys}

    def _driven(self, episode: OpenEpisode | Remains) -> EpisodeProvenance | None:
        """What moved the arm: noted if that was not people alone, or rows say who it was."""
        found = replace(episode.provenance(), latency=self._latency)
        return found if found.driven or layout.INTERVENTION in self._info.features else None

    def _metadata(
        self, row: tables.EpisodeRow, info: Info, statistics: Mapping[str, Stats]
    ) -> dict[Path, bytes]:
        if info.is_v2:
            line = jsonl.EpisodeLine(row.episode, row.tasks, row.length)
            return {
                layout.STATS_LINES: jsonl.with_stats(self.root, row.episode, row.stats),
                layout.EPISODE_LINES: jsonl.with_episode(self.root, line),
                layout.INFO: info.dumps(),
            }
        own = info.number_of(row.episode)
        return {
            layout.episodes_path(own): tables.encode(tables.episode_table(row, own)),
            layout.STATS: stats.dumps(statistics),
            layout.INFO: info.dumps(),
        }

    def _columns(self, episode: OpenEpisode | Remains, task_index: int) -> dict[str, NDArray[Any]]:
        ones = np.ones(episode.frames, np.int64)
        return episode.columns() | {
            "episode_index": ones * self.episodes,
            "index": self.frames + np.arange(episode.frames, dtype=np.int64),
            "task_index": ones * task_index,
        }

    def _row(
        self,
        length: int,
        task: str,
        columns: dict[str, NDArray[Any]],
        pictures: dict[str, Stats],
    ) -> tables.EpisodeRow:
        own = self._info.number_of(self.episodes)
        span = tables.VideoSpan(own, 0.0, length / self._info.fps)
        features = self._info.features
        known = {k: stats.vector_stats(v) for k, v in columns.items() if k in features} | pictures
        return tables.EpisodeRow(
            episode=self.episodes,
            tasks=(task,),
            length=length,
            dataset_from=self.frames,
            dataset_to=self.frames + length,
            data=own,
            videos=dict.fromkeys(pictures, span),
            stats={k: known[k] for k, f in features.items() if f.dtype != "language"},
        )


@dataclass(frozen=True)
class _Ready:
    """An episode whose files are all on disk, to be renamed: staged maps target to source."""

    row: tables.EpisodeRow
    info: Info
    tasks: list[str]
    statistics: dict[str, Stats]
    staged: dict[Path, Path]

    @property
    def stages(self) -> tuple[list[Path], ...]:
        """Targets in the order of the module's docstring; each group is synced before the next."""
        info, number = self.info, self.info.number_of(self.row.episode)
        if info.is_v2:
            last = [layout.INFO]
            commit = [info.data_path(number), layout.EPISODE_LINES]
        else:
            last = [layout.STATS, layout.INFO]
            commit = [layout.episodes_path(number)]
        first = [target for target in self.staged if target not in (*last, *commit)]
        # The new task must be there before the rows that point at it.
        first.sort(key=lambda target: (target != tables.tasks_path(info), target.suffix != ".mp4"))
        return first, commit, last

    @property
    def new(self) -> list[Path]:
        """Targets that nothing should be at: what is there nevertheless is not this recorder's."""
        replaced = (layout.INFO, layout.STATS, layout.STATS_LINES, layout.EPISODE_LINES)
        return [t for t in self.staged if t not in (*replaced, tables.tasks_path(self.info))]

    @property
    def own(self) -> list[Path]:
        """Rows and videos."""
        return [target for target in self.staged if target.suffix == ".mp4"] + [
            self.info.data_path(self.info.number_of(self.row.episode))
        ]


def recover(root: Path) -> list[Recovered]:
    """Finish an episode whose recorder was killed, up to its last complete frame.

    What is wrong beyond that is repaired as by `sweep`. Returns what was found: nothing, or one.
    Raises DatasetError if the dataset is being written, or is not armlet's to fix.
    """
    root = Path(root)
    if root.is_dir():
        recovery.require_own(root)
    unfinished = recovery.read_header(root / layout.UNFINISHED) if root.is_dir() else None
    if unfinished is None:
        leftovers.sweep(root)
        return []
    header, contract = unfinished
    with DatasetWriter(
        root,
        contract,
        robot_type=header.robot_type,
        codec=header.codec,
        crf=header.crf,
        adopt=header.adopted,
        merge_files=0,  # a repair does what it said it would
    ) as writer:
        return writer.recovered


def _with_task(tasks: list[str], task: str) -> tuple[int, list[str]]:
    """The task's index, and the tasks including it."""
    if task in tasks:
        return tasks.index(task), tasks
    return len(tasks), [*tasks, task]
