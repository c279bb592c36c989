"""Recordings into real datasets: one press is one episode or none, and what is removed is kept."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from crash_child import content, finished, kill_at_every_step
from made_episodes import CONTRACT, QUICK, frame, made, record

from armlet.datasets import (
    Answer,
    Dataset,
    DatasetError,
    DatasetWriter,
    EpisodeRecorder,
    Failure,
    OnGap,
    Phase,
    Rules,
    check,
)
from armlet.datasets.format.trash import TRASH

RULES = Rules(min_episode_s=0.1)
SPLIT = Rules(on_gap=OnGap.SPLIT, min_episode_s=0.1)


@pytest.fixture
def root() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=QUICK) as folder:
        yield Path(folder) / "set"


class Room:
    """An EpisodeRecorder on a dataset, and what it said."""

    def __init__(self, root: Path, rules: Rules = RULES, version: str = "v3.0", **given):
        self.root, self.said, self.version = root, [], version
        self.recorder = EpisodeRecorder(self._open, lambda *said: self.said.append(said), **given)
        self.recorder.open(rules)

    def _open(self):
        return DatasetWriter(self.root, CONTRACT, version=self.version)

    def start(self):
        return self.recorder.start("pick", frame(0).stamp_ns)

    def rows(self, *numbers: int):
        """Frames with these numbers come; the aligner has counted as many stale ones of wrist."""
        for number in numbers:
            counts = {"wrist": {"stale": number, "exact": 1}, "front": {"exact": number}}
            self.recorder.add(frame(number), counts, 0)

    def errors(self):
        return [text for level, text in self.said if level == logging.ERROR]


def lengths(root):
    return [episode.length for episode in Dataset(root).episodes]


def trashed(root):
    return sorted(str(p.relative_to(root / TRASH)) for p in (root / TRASH).rglob("*.parquet"))


def test_the_cause_of_a_gap_comes_before_the_gap(root):
    room = Room(root, cause=lambda symptom: symptom and f"too slow; so {symptom}")
    assert room.start().success
    room.rows(0, 1, 5)
    assert room.recorder.stop().message.startswith(
        "the episode was refused: too slow; so 3 frames are missing before"
    )
    refused = room.recorder.start("pick", frame(0).stamp_ns, "the newest whole frame is old")
    assert refused.message == "too slow; so the newest whole frame is old"
    room.start()
    room.recorder.silence("no whole frame for 7.0 s")
    assert room.errors()[-1] == "the episode was refused: too slow; so no whole frame for 7.0 s"


def test_after_a_refused_recording_another_begins_in_its_place(root):
    room = Room(root)
    room.start()
    room.rows(0, 1, 2, 3, 4, 7)
    assert not room.recorder.stop().success, "2 frames are missing"
    assert room.recorder.make_way() is None, "nothing was saved"


def test_a_press_is_an_episode(root):
    room = Room(root)
    assert room.start().message == "recording episode 0"
    room.rows(*range(6))
    answer = room.recorder.stop()
    assert (answer.success, answer.message) == (True, "episode 0: 6 frames, 0.2 s")
    assert room.recorder.status.phase is Phase.IDLE
    room.recorder.close()
    assert lengths(root) == [6]
    assert check(root) == []
    assert "recorder" not in Dataset(root).ledger(0)


def test_another_in_its_place_is_refused_where_it_has_ended_by_itself(root):
    """Re-recording kept the take that a person did not want, and began the next without a word."""
    room = Room(root, Rules(min_episode_s=0.1, episode_s=0.2))
    room.start()
    assert room.recorder.make_way() is None, "it is discarded"
    room.start()
    room.rows(*range(6))
    assert room.recorder.status.phase is Phase.IDLE
    assert "nothing was discarded and nothing begun" in room.recorder.make_way().message
    room.recorder.close()
    assert len(Dataset(root).episodes) == 1


def test_a_gap_refuses_the_episode_at_once_with_the_reason(root):
    room = Room(root)
    room.start()
    room.rows(0, 1, 2, 3, 4, 7)
    status = room.recorder.status
    assert status.phase is Phase.FAILED
    assert status.failure is Failure.GAP
    assert "2 frames are missing" in status.reason
    assert "wrist: 3 stale" in status.reason
    assert room.errors() == [status.reason]
    room.rows(8, 9, 10)
    answer = room.recorder.stop()
    assert (answer.success, answer.message) == (False, status.reason)
    assert room.recorder.writer.episodes == 0
    assert room.start().success
    room.rows(*range(20, 26))
    assert room.recorder.stop().success
    room.recorder.close()
    assert lengths(root) == [6]


def test_nothing_under_the_least_length_is_saved(root):
    room = Room(root, Rules())
    room.start()
    room.rows(*range(29))
    answer = room.recorder.stop()
    assert not answer.success
    assert "discarded: it was 0.97 s long" in answer.message
    assert room.recorder.status.failure is Failure.TOO_SHORT
    room.start()
    room.rows(*range(30))
    assert room.recorder.stop().success
    room.recorder.close()
    assert lengths(root) == [30]
    assert check(root) == []


def test_parts_by_choice_are_no_episodes_of_those_wanted(root):
    room = Room(root, Rules(on_gap=OnGap.SPLIT, min_episode_s=0.1, episodes=1))
    for _ in range(2):
        assert room.start().success
        room.rows(0, 1, 2, 3, 6, 7, 8, 9, 13, 20, 21, 22)
        answer = room.recorder.stop()
        assert "4 frames" in answer.message
        assert "a part of 0.03 s was discarded" in answer.message
    assert room.recorder.writer.episodes == 6
    room.recorder.close()
    room = Room(root, Rules(min_episode_s=0.1, episodes=1))
    assert room.start().success
    room.rows(*range(4))
    assert room.recorder.stop().success
    answer = room.start()
    assert (answer.success, "has its 1 episodes" in answer.message) == (False, True)
    room.recorder.close()
    room = Room(root, Rules(min_episode_s=0.1, episodes=1))
    assert not room.start().success
    room.recorder.close()
    assert Dataset(root).ledger(0)["recorder"] == {"missing": 2, "part": 1}
    assert check(root) == []


@pytest.mark.parametrize("version", ["v3.0", "v2.1"])
def test_discarding_takes_every_part_to_the_trash(root, version):
    room = Room(root, SPLIT, version)
    room.start()
    room.rows(*range(4))
    room.recorder.stop()
    kept = {path: path.read_bytes() for path in root.rglob("*.parquet") if "meta" not in path.parts}
    room.start()
    room.rows(*range(40, 44), *range(50, 54), *range(60, 64))
    assert room.recorder.writer.episodes == 3
    answer = room.recorder.discard()
    assert answer.success
    assert "2 saved of it moved to the dataset's trash" in answer.message
    assert room.recorder.writer.episodes == 1
    assert sum("data/" in name for name in trashed(root)) == 2
    assert {path: path.read_bytes() for path in kept} == kept
    assert check_open(root) == []
    room.start()
    room.rows(*range(5))
    assert room.recorder.stop().success
    room.recorder.close()
    assert lengths(root) == [4, 5]
    assert check(root) == []


def check_open(root):
    """What is wrong with a dataset that is being recorded: of a copy, which nobody holds."""
    with tempfile.TemporaryDirectory(dir=QUICK) as folder:
        return check(Path(shutil.copytree(root, Path(folder) / "copy")))


def test_discarding_after_one_gap_too_many_is_of_all_parts_too(root):
    room = Room(root, Rules(on_gap=OnGap.SPLIT, min_episode_s=0.1, max_gaps=1))
    room.start()
    room.rows(*range(4), *range(10, 14), *range(20, 24))
    assert room.recorder.status.phase is Phase.FAILED
    assert "gap 2 in one recording" in room.recorder.status.reason
    assert room.recorder.writer.episodes == 2
    assert room.recorder.discard().success
    assert room.recorder.writer.episodes == 0
    assert len(trashed(root)) >= 4, "rows and metadata of both"
    assert not room.recorder.discard().success
    room.recorder.close()
    assert lengths(root) == []
    assert check(root) == []


def test_the_recording_that_was_saved_last_is_labelled_all_parts_of_it(root):
    room = Room(root, SPLIT)
    nothing = "there is no episode to label: the last recording saved none"
    assert room.recorder.label(True).message == nothing
    room.start()
    room.rows(*range(6))
    assert room.recorder.label(True).message == "this recording is not over; stop it first"
    room.recorder.stop()
    assert (room.recorder.saved, room.recorder.success) == ((0,), None)
    assert room.recorder.label(False) == Answer(True, "episode 0: failure")
    assert room.recorder.success is False
    assert room.recorder.label(True) == Answer(True, "episode 0: success")
    assert room.recorder.success is True
    room.start()
    room.rows(*range(6), *range(10, 16))
    room.recorder.stop()
    assert room.recorder.label(False) == Answer(True, "episode 1, 2: failure")
    assert (room.recorder.saved, room.recorder.success) == ((1, 2), False)
    dataset = Dataset(root)
    assert dataset.successes() == {0: True, 1: False, 2: False}
    assert dataset.ledger(1)["recorder"]["part"] == 1, "what else is noted stays"
    assert check(root) == []
    # Nothing is left of a recording that is discarded.
    room.start()
    room.rows(*range(6), *range(10, 16))
    room.recorder.discard()
    assert (room.recorder.saved, room.recorder.success) == ((), None)
    assert room.recorder.label(True).message == nothing
    assert Dataset(root).successes() == {0: True, 1: False, 2: False}


def test_a_bad_frame_refuses_the_episode(root):
    room = Room(root)
    room.start()
    room.rows(*range(5))
    room.recorder.add(frame(5, images={"front": b"no picture", "wrist": b""}), {}, 0)
    assert room.recorder.status.failure is Failure.BAD_FRAME
    assert not room.recorder.stop().success
    room.recorder.close()
    assert lengths(root) == []


def test_silence_refuses_the_episode_and_a_stop_in_silence_does(root):
    room = Room(root)
    for end in (lambda: room.recorder.silence("wrist: stalled"), lambda: None):
        room.start()
        room.rows(*range(5))
        end()
        answer = room.recorder.stop(30, {}, "wrist: stalled")
        assert (answer.success, "wrist: stalled" in answer.message) == (False, True)
        assert room.recorder.status.phase is Phase.IDLE
    room.recorder.close()
    assert lengths(root) == []


def test_rows_that_lack_at_its_end_are_in_the_ledger(root):
    room = Room(root)
    room.start()
    room.rows(*range(5))
    assert room.recorder.stop(7, {"wrist": {"stale": 9}}).success
    room.recorder.close()
    assert Dataset(root).ledger(0)["recorder"]["missing"] == 7
    assert Dataset(root).ledger(0)["wrist"]["stale"] == 4 + 5


def test_a_dataset_that_cannot_be_opened_is_the_reason_until_it_can(root):
    with DatasetWriter(root, CONTRACT):
        room = Room(root)
        assert "being written by another recorder" in room.recorder.refusal("pick")
        assert not room.start().success
        assert room.recorder.status.phase is Phase.IDLE
    assert room.start().success
    room.recorder.close()


def test_what_a_full_disk_left_is_discarded_with_its_recording(root, monkeypatch):
    room = Room(root, SPLIT)
    room.start()
    room.rows(*range(4), *range(10, 14))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(DatasetWriter, "add_frame", full)
        room.rows(14)
    assert room.recorder.status.failure is Failure.WRITE_FAILED
    assert "4 frames stay on the disk" in room.recorder.status.reason
    answer = room.recorder.discard()
    assert (answer.success, "2 saved" in answer.message) == (True, True)
    room.recorder.close()
    assert lengths(root) == []
    assert check(root) == []


# --- removing -----------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["v3.0", "v2.1"])
def test_a_removed_episode_is_whole_in_the_trash_and_gone_from_the_dataset(root, version):
    made(root, (5, 3, 4), version=version)
    before = content(root)
    shutil.copytree(root, root.with_name("all"))
    with DatasetWriter(root, CONTRACT) as writer:
        writer.remove_last(2)
        assert writer.episodes == 1
        assert writer.frames == 5
        with pytest.raises(DatasetError, match="1 episodes"):
            writer.remove_last(2)
    assert check(root) == []
    assert lengths(root) == [5]
    (folder,) = (root / TRASH).iterdir()
    shutil.copytree(folder, root, dirs_exist_ok=True)
    shutil.rmtree(root / TRASH)
    assert content(root) == before, "putting everything back gives the dataset that was"


def test_an_episode_is_taken_out_of_files_that_it_shares(root):
    from armlet.datasets.transform.compact import compact

    made(root, (5, 3))
    compact(root, root.with_name("compact"))
    with DatasetWriter(root.with_name("compact"), CONTRACT) as writer:
        writer.remove_last(1)
    with DatasetWriter(root, CONTRACT) as writer:
        writer.remove_last(1)
    assert check(root.with_name("compact")) == []
    ours, theirs = Dataset(root.with_name("compact")), Dataset(root)
    assert np.array_equal(ours.episode(0).state, theirs.episode(0).state)
    assert np.array_equal(ours.images(0, "front"), theirs.images(0, "front"))


@pytest.mark.thorough
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("version", ["v3.0", "v2.1"])
def test_killed_while_removing(root, version):
    made(root, (3, 2, 4), version=version)
    (root.with_name("out")).mkdir()
    killed = kill_at_every_step(root, root.with_name("out"), "remove")
    assert len(killed) > 5
    assert {finished(each) for each in killed} == {2, 3}
    for each in killed:
        dataset = Dataset(each)
        for k in range(2):
            first = dataset.episode(k).state[0]
            assert np.array_equal(first, np.float32(frame(0, k).state))
        with DatasetWriter(each, CONTRACT) as writer:
            before = writer.episodes
            record(writer, 2)
        assert lengths(each)[:2] == [3, 2]
        assert len(lengths(each)) == before + 1
        assert check(each) == []
