"""Recordings into a dataset: what a `RecordingSession` decides, done by a `DatasetWriter`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from armlet.align import counts_since, troubles
from armlet.datasets.format import tables
from armlet.datasets.format.errors import DatasetError, DiskError, FrameError, GapError
from armlet.datasets.format.provenance import Latency

from . import session
from .episode import EpisodeFrame
from .session import Part, RecordingSession, Rules, SessionError, Status
from .writer import PART, RECORDER, DatasetWriter, DiskReport

Counts = Mapping[str, Mapping[str, int]]
"""What the aligner has counted so far of each stream."""

# Room on the disk that a recording asks for where its length is not given.
USUAL_EPISODE_S = 60.0

Say = Callable[[int, str], None]
"""Is given a level of `logging` and what is to be said."""

Cause = Callable[[str], str]
"""Puts what a symptom may come of before it."""


@dataclass(frozen=True)
class Answer:
    """What a person who asked for something is answered."""

    success: bool
    message: str


@dataclass
class _Account:
    """Stamps of the first and the last row of the open episode, and the aligner's counts there."""

    first: Counts = field(default_factory=dict)
    last: Counts = field(default_factory=dict)
    first_ns: int = 0
    last_ns: int = 0
    first_incomplete: int = 0
    last_incomplete: int = 0


@dataclass(frozen=True)
class _Loss:
    """Rows that lack at an episode's end, and what the aligner counted of them."""

    missing: int = 0
    why: Counts = field(default_factory=dict)


class EpisodeRecorder:
    """Records episodes. One thread's own, but for `status`, `trouble` and `writer`, to be read.

    Args:
        open_dataset: gives the writer; may raise DatasetError or OSError.
        say: is called with what happens.
        cause: is asked about every gap, and whenever no frames come.
        latency: gives how long the policy took for the chunks of observations from one stamp (ns)
            to another.
    """

    def __init__(
        self,
        open_dataset: Callable[[], DatasetWriter],
        say: Say,
        cause: Cause = lambda symptom: symptom,
        latency: Callable[[int, int], Latency | None] = lambda first_ns, last_ns: None,
    ) -> None:
        self._open_dataset, self._say, self._cause = open_dataset, say, cause
        self._latency = latency
        self._session = RecordingSession()
        self._account = _Account()
        self._task = ""
        self._first_episode = 0
        self._notes: list[str] = []
        self._whole, self._removed = 0, 0
        # Episodes of the recording that was saved last, while the dataset is open.
        self._saved: list[int] = []
        self._success: bool | None = None
        self.writer: DatasetWriter | None = None
        self.trouble = ""
        """Why the dataset cannot be opened; empty if it can."""

    @property
    def status(self) -> Status:
        """What is being recorded, or why not."""
        return self._session.status

    @property
    def whole(self) -> int:
        """Whole episodes of the dataset; counted only where a number of them is wanted."""
        return self._whole

    @property
    def saved(self) -> tuple[int, ...]:
        """Episodes of the last recording, which `label` is about. May be read in any thread."""
        return tuple(self._saved)

    @property
    def success(self) -> bool | None:
        """Whether they succeeded, as `label` stored it; None: nobody said."""
        return self._success

    @property
    def has_failed(self) -> bool:
        """Whether the last recording ended by itself, and nobody has taken note of that yet."""
        return self.status.phase is session.Phase.FAILED

    def open(self, rules: Rules) -> None:
        """Take the dataset; what a crash or a full disk left of an episode is saved first."""
        self._session.set_rules(rules)
        self._open()

    def change_rules(self, rules: Rules) -> str:
        """Other rules for the next recording; why not, while there is one."""
        try:
            self._session.set_rules(rules)
        except SessionError as error:
            return f"the rules of a recording do not change: {error}"
        self._count_whole()
        return ""

    def _open(self) -> None:
        self._saved, self._success = [], None
        try:
            self.writer = self._open_dataset()
        except (DatasetError, OSError) as error:
            self.trouble = str(error)
            self._say(logging.ERROR, self.trouble)
            return
        self.trouble = ""
        for line in self.writer.repaired:
            self._say(logging.WARNING, line)
        if many := tables.many_files(self.writer.root):
            hint = "`armlet dataset compact` merges them; record into the new dataset then"
            self._say(logging.WARNING, f"{self.writer.root}: {many}; {hint}")
        self._count_whole()

    def _count_whole(self) -> None:
        """Count the whole episodes, which takes a file for each of them."""
        if self.writer is None or not self._session.rules.episodes:
            return
        try:
            self._whole = self.writer.whole_episodes()
        except DatasetError as error:
            self.close()
            self.trouble = str(error)
            self._say(logging.ERROR, self.trouble)

    def close(self) -> None:
        """End a recording, which is saved, and give the dataset back."""
        if self.status.recording:
            self._do(session.Stop())
        if self.writer is not None:
            try:
                self.writer.close()
            except (DatasetError, OSError) as error:
                self._say(logging.ERROR, str(error))
        self.writer = None

    # --- what a person asks for ------------------------------------------------------------------

    def refusal(self, task: str) -> str:
        """Why nothing can be recorded now, whatever the streams do; empty if it can.

        May be called in any thread.
        """
        writer = self.writer
        if writer is None:
            return self.trouble or "the dataset is not open"
        if not task.strip():
            return "parameter task is empty; say in words what the episode shows"
        if self.status.recording:
            return ""
        wanted = self._session.rules.episodes
        if 0 < wanted <= self._whole:
            return f"the dataset has its {wanted} episodes; raise the parameter episodes for more"
        try:
            room = self.room(writer)
        except OSError as error:
            return f"the dataset's disk cannot be used: {error}"
        return "" if room.ok else f"disk short: {room}; make room, or record to another disk"

    def room(self, writer: DatasetWriter) -> DiskReport:
        """Whether an episode fits on the disk. Raises OSError."""
        return writer.disk(self._session.rules.episode_s or USUAL_EPISODE_S)

    def start(self, task: str, now_ns: int, stale: str = "") -> Answer:
        """Begin to record what is stamped from now_ns on. stale: why no frames come, if so."""
        if not self.status.recording:
            if self.writer is None:
                self._open()
            if refusal := self.refusal(task) or self._cause(stale):
                return Answer(False, refusal)
        self._task = task
        try:
            self._do(session.Start(now_ns))
        except SessionError as error:
            return Answer(False, str(error))
        if not self.status.recording or self.writer is None:
            return Answer(False, self.status.reason)
        return Answer(True, f"recording episode {self.writer.episodes}")

    def stop(self, missing: int = 0, counts: Counts | None = None, silence: str = "") -> Answer:
        """End the recording.

        missing: rows that lack at its end, with the aligner's counts as of now. silence: why none
        will come, if so: then its end is a gap.
        """
        failed = self.status.reason
        if self.status.recording and silence:
            self.silence(silence)
        try:
            if self.has_failed:
                failed = failed or self.status.reason
                self._do(session.Stop())
                return Answer(False, failed)
            loss = _Loss(missing, troubles(counts or {}, self._account.last) if missing else {})
            self._do(session.Stop(missing > 0), loss=loss)
        except SessionError as error:
            return Answer(False, str(error))
        if self.has_failed:
            reason = self.status.reason
            self._do(session.Stop())
            return Answer(False, reason)
        return Answer(True, "; ".join([*map(str, self.status.parts), *self._notes]))

    def discard(self) -> Answer:
        """Discard all of the recording: parts of it that are saved go to the trash."""
        was, self._removed = self.status, 0
        try:
            self._do(session.Discard())
        except SessionError as error:
            return Answer(False, str(error))
        if self.has_failed:
            return Answer(False, self.status.reason)
        if not was.recording and not self._removed:
            return Answer(False, was.reason)
        moved = f", {self._removed} saved of it moved to the dataset's trash"
        return Answer(True, f"episode discarded{moved if self._removed else ''}")

    def make_way(self) -> Answer | None:
        """Discard the recording because another is to be made in its place; a refusal, or None.

        One that has ended by itself (episode_s) is saved: who wanted it away must know that.
        After one that was refused nothing is in the way.
        """
        if self.status.phase is session.Phase.IDLE and self._saved:
            return Answer(
                False,
                "not recording, so nothing was discarded and nothing begun; what ended before this "
                "is saved, see `armlet dataset delete`",
            )
        self.discard()
        return None

    def label(self, success: bool) -> Answer:
        """Say whether the recording that was saved last succeeded; all parts of it."""
        if self.status.recording:
            return Answer(False, "this recording is not over; stop it first")
        if self.writer is None or not self._saved:
            return Answer(False, "there is no episode to label: the last recording saved none")
        try:
            self.writer.label(self._saved, success)
        except (DatasetError, OSError) as error:
            return Answer(False, f"the label cannot be stored: {error}")
        self._success = success
        called = ", ".join(map(str, self._saved))
        return Answer(True, f"episode {called}: {'success' if success else 'failure'}")

    # --- what comes by itself --------------------------------------------------------------------

    def add(self, row: EpisodeFrame, counts: Counts, incomplete: int) -> None:
        """Record a frame, if there is a recording.

        counts: the aligner's as of it. incomplete: frames so far of which a part never came here.
        """
        if not self.status.recording or row.stamp_ns < self.status.since_ns or self.writer is None:
            return
        try:
            self._add(self.writer, row, counts, incomplete)
        except GapError as gap:
            why = troubles(counts, self._account.last)
            gone = f"{_count(gap.missing)} missing before stamp {row.stamp_ns}; {in_words(why)}"
            self._do(
                session.Gap(self._cause(gone)), (row, counts, incomplete), _Loss(gap.missing, why)
            )
        except FrameError as error:
            self.bad_frame(str(error))
        except DiskError as error:
            self._do(session.DiskShort(f"recording ended: {error}"))
        except (DatasetError, OSError) as error:
            self.write_failed(str(error))

    def _add(
        self, writer: DatasetWriter, row: EpisodeFrame, counts: Counts, incomplete: int
    ) -> None:
        writer.add_frame(row)
        if writer.open_frames == 1:
            self._account = _Account(counts, first_ns=row.stamp_ns, first_incomplete=incomplete)
        self._account.last, self._account.last_incomplete = counts, incomplete
        self._account.last_ns = row.stamp_ns
        self._do(session.Row(row.stamp_ns))

    def bad_frame(self, reason: str) -> None:
        """A frame cannot be made out."""
        self.interrupt(f"a frame cannot be recorded: {reason}")

    def interrupt(self, reason: str) -> None:
        """The recording cannot go on with the next frame."""
        self._do(session.BadFrame(f"recording ended: {reason}"))

    def silence(self, reason: str) -> None:
        """No frame has come for so long that those missing are a gap."""
        self._do(session.Silence(f"the episode was refused: {self._cause(reason)}"))

    def write_failed(self, reason: str) -> None:
        """Nothing can be written now: what is on disk stays, for the next start to save it."""
        self._do(session.WriteFailed(reason))

    # --- carrying out ----------------------------------------------------------------------------

    def _do(
        self,
        event: session.Event,
        frame: tuple[EpisodeFrame, Counts, int] | None = None,
        loss: _Loss | None = None,
    ) -> None:
        before = self.status
        actions = self._session.advance(event)
        try:
            for action in actions:
                self._carry_out(action, frame, loss or _Loss())
        except (DatasetError, OSError) as error:
            self.write_failed(str(error))
            return
        after = self.status
        if after.failures > before.failures and not isinstance(event, session.WriteFailed):
            saved = f"; saved: {', '.join(map(str, after.parts))}" if after.parts else ""
            self._say(logging.ERROR, after.reason + saved)

    def _carry_out(
        self,
        action: session.Action,
        frame: tuple[EpisodeFrame, Counts, int] | None,
        loss: _Loss,
    ) -> None:
        match action:
            case session.Leave():
                self._leave()
                return
            case session.RemoveParts():
                self._remove_parts()
                return
        writer = self.writer
        assert writer is not None
        match action:
            case session.Begin():
                if self.status.gaps == 0:
                    self._first_episode, self._notes = writer.episodes, []
                    self._saved, self._success = [], None
                writer.begin_episode(self._task)
            case session.AddAgain() if frame is not None:
                self._add(writer, *frame)
            case session.Save(part):
                self._save(writer, part, loss)
            case session.Drop(too_short):
                self._drop(writer, too_short)

    def _save(self, writer: DatasetWriter, part: int, loss: _Loss) -> None:
        """Finish the open episode, with what the aligner counted while it was recorded."""
        account = self._account
        ledger = {k: dict(v) for k, v in counts_since(account.last, account.first).items()}
        for stream, counts in loss.why.items():
            known = ledger.setdefault(stream, {})
            for what, count in counts.items():
                known[what] = known.get(what, 0) + count
        lost = {
            "missing": loss.missing,
            "incomplete": account.last_incomplete - account.first_incomplete,
            PART: part,
        }
        if any(lost.values()):
            ledger[RECORDER] = {what: count for what, count in lost.items() if count}
        summary = writer.finish_episode(ledger, self._latency(account.first_ns, account.last_ns))
        saved = Part(summary.episode, summary.frames, summary.duration_s)
        self._session.advance(session.Saved(saved))
        self._saved.append(saved.episode)
        self._whole += not part
        of = f", part {part} of a recording with a gap" if part else ""
        self._say(logging.INFO, f"saved {saved}{of}")
        if loss.missing:
            ending = f"{_count(loss.missing)} missing after its last"
            self._say(logging.WARNING, f"episode {saved.episode}: {ending}; {in_words(loss.why)}")
        for camera, frames in summary.damaged.items():
            damaged = f"{camera}: {len(frames)} pictures were damaged: {frames}"
            self._say(logging.WARNING, damaged)

    def _drop(self, writer: DatasetWriter, too_short: bool) -> None:
        rows = writer.open_frames
        writer.discard_episode()
        if too_short and rows:
            rules = self._session.rules
            note = (
                f"a part of {rows / rules.fps:.2f} s was discarded, shorter than "
                f"min_episode_s ({rules.min_episode_s:g} s)"
            )
            self._notes.append(note)
            self._say(logging.WARNING, note)

    def _remove_parts(self) -> None:
        if self.writer is None:
            self._open()
        if self.writer is None:
            raise DatasetError(self.trouble)
        count = self.writer.episodes - self._first_episode
        if count > 0:
            self.writer.remove_last(count)
            self._removed, self._saved, self._success = count, [], None
            self._say(logging.WARNING, f"moved {count} episodes to the trash of {self.writer.root}")
            self._count_whole()

    def _leave(self) -> None:
        """Close the dataset as a kill would."""
        writer, self.writer = self.writer, None
        frames, errors = 0, [self.status.reason]
        if writer is not None:
            frames = writer.open_frames
            try:
                writer.close(keep=frames > 0, merge=False)
            except (DatasetError, OSError) as further:
                errors.append(str(further))
        kept = (
            f"; {frames} frames stay on the disk and become an episode when recording starts "
            "again, or by `armlet dataset repair`"
            if frames
            else ""
        )
        self._session.explain(f"recording ended: {'; '.join(errors)}{kept}")
        self._say(logging.ERROR, self.status.reason)


def in_words(why: Counts) -> str:
    """Which streams were missing for frames, and how; or where else they were lost."""
    said = [
        f"{name}: {count} {what}" for name, counts in why.items() for what, count in counts.items()
    ]
    return ", ".join(said) or "the aligner reports no stream that failed: frames were lost after it"


def _count(frames: int) -> str:
    return f"{frames} frame{'s are' if frames != 1 else ' is'}"
