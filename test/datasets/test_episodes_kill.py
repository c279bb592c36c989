"""SIGKILL at random instants: finished episodes stay, the unfinished one keeps every frame.

ARMLET_KILLS sets how many; 200 take about three minutes.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import forked_python
import numpy as np
import pytest
from kill_child import LENGTH, pictures
from made_episodes import CONTRACT, QUICK, counters, frame, made

from armlet.datasets import Dataset, DatasetError, DatasetWriter, check, recover
from armlet.datasets.format import video

KILLS = int(os.environ.get("ARMLET_KILLS", "12"))
# Far longer than anything takes on a busy computer.
LONG_S = 120.0

pytestmark = [
    pytest.mark.thorough,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork"),
]


def kill(out: Path, kills: int, seed: int = 0) -> list[Path]:
    """Datasets whose recorders were killed."""
    script = Path(__file__).with_name("kill_child.py")
    command = [script, out, str(kills), str(seed)]
    done = forked_python.run(
        sys.executable, forked_python.DATASETS, command, timeout_s=LONG_S + 10 * kills
    )
    assert done.returncode == 0, done.stderr
    return sorted(path.with_suffix("") for path in out.glob("*.json"))


def lengths(root: Path) -> list[int]:
    if not (root / "meta/info.json").exists():
        return []
    return [episode.length for episode in Dataset(root).episodes]


def assert_right(root: Path) -> None:
    """Every row's values and both pictures are those of that frame."""
    dataset = Dataset(root)
    for k, episode in enumerate(dataset.episodes):
        states = np.float32([frame(i, k, images={}).state for i in range(episode.length)])
        assert np.array_equal(dataset.episode(k).state, states)
        for camera in CONTRACT.cameras:
            expected = [(i + k) % 64 for i in range(episode.length)]
            assert counters(dataset.images(k, camera.name)) == expected


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=QUICK) as name:
        yield Path(name)


def test_no_frame_is_lost(folder):
    added = kept = 0
    for root in kill(folder, KILLS, seed=KILLS):
        reported = json.loads(root.with_suffix(".json").read_text())
        before = lengths(root)
        assert all(length == LENGTH for length in before)
        assert len(before) >= reported["episodes"]
        if not root.exists():
            continue
        recovered = recover(root)
        after = lengths(root)
        assert after[: len(before)] == before
        assert len(after) - len(before) == sum(r.episode is not None for r in recovered)
        # The one more frame is in the files already when add_frame was about to return.
        if len(before) == reported["episodes"]:
            last = sum(after[len(before) :])
            assert reported["frames"] <= last <= min(reported["frames"] + 1, LENGTH)
            added, kept = added + reported["frames"], kept + last
        if after:
            assert_right(root)
            assert check(root) == []
        shutil.rmtree(root)
    assert added > 10 * KILLS / 4
    assert kept >= added


def await_encoded(writer: DatasetWriter, pictures: int) -> None:
    """Waits until so many pictures of each camera are in its video file and its index."""
    deadline = time.monotonic() + LONG_S
    while any(track._file.pictures < pictures for track in writer._episode._tracks.values()):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _zeros_at_the_end(path: Path, size: int) -> None:
    """What a power cut leaves of data that was not synced: the file's length, not its bytes."""
    content = path.read_bytes()
    path.write_bytes(content[:-size] + bytes(size))


@pytest.mark.parametrize("lost", ["rows.journal", "front.mp4", "front.index", "wrist.counts"])
def test_what_was_not_synced_is_cut_off(folder, lost):
    with DatasetWriter(folder / "set", CONTRACT) as writer:
        writer.begin_episode("pick")
        for index in range(30):
            writer.add_frame(frame(index, images=pictures(index, 0)))
        await_encoded(writer, index + 1)
        shutil.copytree(folder / "set", folder / "cut")
    unfinished = folder / "cut/.unfinished"
    path = next(path for path in unfinished.iterdir() if path.name.endswith(lost))
    _zeros_at_the_end(path, 50)
    if lost.startswith("front"):
        for queue in unfinished.glob("*front.queue-*"):
            _zeros_at_the_end(queue, 50)
    assert "was never finished" in "".join(check(folder / "cut"))
    (found,) = recover(folder / "cut")
    assert found.frames == (30 if lost == "wrist.counts" else 29)
    assert str(found).startswith(f"recovered episode 0: {found.frames} frames (")
    assert_right(folder / "cut")
    assert check(folder / "cut") == []


def test_pictures_that_waited_are_encoded_behind_those_before(folder, monkeypatch):
    encode, gate = video.Encoder.encode, threading.Event()

    def stuck(self, shot):
        if self._given == 7:
            assert gate.wait(LONG_S)
        return encode(self, shot)

    monkeypatch.setattr(video.Encoder, "encode", stuck)
    with DatasetWriter(folder / "set", CONTRACT, memory_bytes=20_000) as writer:
        writer.begin_episode("pick")
        for index in range(30):
            writer.add_frame(frame(index, images=pictures(index, 0)))
        while writer.queued > 22:
            time.sleep(0.01)
        shutil.copytree(folder / "set", folder / "cut")
        gate.set()
        writer.discard_episode()
    (found,) = recover(folder / "cut")
    assert (found.frames, found.rows, dict(found.pictures)) == (30, 30, {"front": 30, "wrist": 30})
    assert_right(folder / "cut")
    assert check(folder / "cut") == []


def test_another_encoder_does_not_continue_a_video(folder, monkeypatch):
    with DatasetWriter(folder / "set", CONTRACT) as writer:
        writer.begin_episode("pick")
        for index in range(10):
            writer.add_frame(frame(index, images=pictures(index, 0)))
        await_encoded(writer, index + 1)
        shutil.copytree(folder / "set", folder / "cut")
    path = next((folder / "cut/.unfinished").glob("*front.index"))
    path.write_bytes(path.read_bytes()[: -12 * 4])
    monkeypatch.setattr(video.mp4, "sample_description", lambda content: b"of another version")
    (found,) = recover(folder / "cut")
    assert (found.frames, dict(found.pictures)) == (6, {"front": 6, "wrist": 10})
    assert_right(folder / "cut")


def test_recovering_what_needs_no_recovery(folder):
    made(folder / "set", (2,))
    assert recover(folder / "set") == []
    with pytest.raises(DatasetError, match="not a folder"):
        recover(folder / "nothing")
    with (
        DatasetWriter(folder / "set", CONTRACT),
        pytest.raises(DatasetError, match="another recorder"),
    ):
        recover(folder / "set")
