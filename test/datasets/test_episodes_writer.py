"""Recording: what goes in comes back; what does not belong is refused by name."""

import dataclasses
import json
import shutil
import threading

import numpy as np
import pytest
from awaited import wait_until
from made_episodes import CONTRACT, NAMES, START_NS, frame, made, picture, record

from armlet.contract import Camera, Contract, Stream
from armlet.datasets import (
    Dataset,
    DatasetError,
    DatasetWriter,
    DiskError,
    FrameError,
    GapError,
    VideoError,
    check,
)
from armlet.datasets.format import atomic_files, layout, video
from armlet.datasets.record import episode

# Far longer than anything takes on a busy computer.
LONG_S = 120.0


def test_rows_and_pictures_come_back(tmp_path):
    dataset = Dataset(made(tmp_path / "set"))
    assert [(e.length, e.tasks) for e in dataset.episodes] == [
        (5, ("pick",)),
        (3, ("fold",)),
        (4, ("pick",)),
    ]
    for k, info in enumerate(dataset.episodes):
        data = dataset.episode(k)
        frames = [frame(i, k) for i in range(info.length)]
        assert np.array_equal(data.state, np.float32([f.state for f in frames]))
        assert np.array_equal(data.action, np.float32([f.action for f in frames]))
        assert data.stamp_ns.tolist() == [f.stamp_ns for f in frames]
        assert np.array_equal(
            data.columns["armlet.skew_s"], np.float32([list(f.skew_s.values()) for f in frames])
        )
        assert np.allclose(data.timestamp, np.arange(info.length) / 30, atol=1e-6)
        assert data.columns["index"].tolist() == list(range(info.dataset_from, info.dataset_to))
        assert set(data.columns["episode_index"]) == {k}
        assert set(data.tasks) == set(info.tasks)
        for camera in CONTRACT.cameras:
            decoded = dataset.images(k, camera.name)
            original = np.stack([f.images[camera.name] for f in frames])
            assert decoded.shape == original.shape
            assert np.abs(decoded.astype(int) - original).mean() < 4
    assert check(dataset.root) == []


def test_dataset_describes_itself(tmp_path):
    root = made(tmp_path / "set")
    info = json.loads((root / "meta/info.json").read_text())
    assert (info["total_episodes"], info["total_frames"], info["total_tasks"]) == (3, 12, 2)
    assert info["splits"] == {"train": "0:3"}
    assert info["features"]["action"] == {"dtype": "float32", "shape": [6], "names": list(NAMES)}
    assert info["features"]["observation.images.wrist"]["shape"] == [32, 48, 3]
    assert info["features"]["observation.images.wrist"]["info"]["video.codec"] == "h264"
    assert info["features"]["armlet.skew_s"]["names"] == ["state", "images/front"]
    assert Dataset(root).contract == CONTRACT
    assert not (root / layout.UNFINISHED).exists()


def test_summary_and_counters(tmp_path):
    with DatasetWriter(tmp_path / "set", CONTRACT) as writer:
        assert (writer.episodes, writer.frames, writer.recording) == (0, 0, False)
        writer.begin_episode("pick")
        writer.add_frame(frame(0))
        writer.add_frame(frame(1))
        assert (writer.recording, writer.open_frames) == (True, 2)
        summary = writer.finish_episode()
        assert (summary.episode, summary.frames, summary.task) == (0, 2, "pick")
        assert summary.duration_s == pytest.approx(2 / 30)
        assert summary.size_bytes > 1000
        assert (writer.episodes, writer.frames, writer.recording) == (1, 2, False)


def test_files_roll_over_into_chunks(tmp_path, monkeypatch):
    monkeypatch.setattr(layout, "CHUNKS_SIZE", 2)
    root = made(tmp_path / "set", (1, 2, 1))
    for kind in ("data", "meta/episodes"):
        found = [p.relative_to(root / kind).as_posix() for p in (root / kind).rglob("*.parquet")]
        assert sorted(found) == [
            "chunk-000/file-000.parquet",
            "chunk-000/file-001.parquet",
            "chunk-001/file-000.parquet",
        ]
    assert (root / "videos/observation.images.wrist/chunk-001/file-000.mp4").exists()
    assert check(root) == []
    assert Dataset(root).images(2, "front").shape == (1, 48, 64, 3)


@pytest.mark.parametrize("streams", [0, 1])
def test_few_streams_and_no_camera(tmp_path, streams):
    contract = Contract(
        fps=50,
        cameras=(),
        state_names=("a",),
        action_names=("a", "b"),
        alignment=(Stream("state", "linear", 0.02),)[:streams],
    )
    with DatasetWriter(tmp_path / "set", contract) as writer:
        writer.begin_episode("pick")
        for i in range(3):
            writer.add_frame(frame(i, contract=contract, action=np.array([i, 2.0 * i])))
        writer.finish_episode()
    data = Dataset(tmp_path / "set").episode(0)
    assert data.state.shape == (3,)  # LeRobot exposes shape (1,) as plain values
    assert data.action.shape == (3, 2)
    assert ("armlet.skew_s" in data.columns) == bool(streams)
    assert check(tmp_path / "set") == []


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"state": np.zeros(5)}, "observation.state"),
        ({"state": np.zeros(6, int)}, "observation.state"),
        ({"state": np.array([0, 0, np.nan, 0, 0, 0])}, "observation.state"),
        ({"action": np.full(6, 1e300)}, "action"),
        ({"action": np.zeros((1, 6))}, "action"),
        ({"images": {"front": picture(0, 48, 64)}}, "wrist"),
        ({"images": {"front": picture(0, 48, 64), "wrist": picture(0, 48, 64)}}, "image wrist"),
        ({"images": {"front": picture(0, 48, 64) / 255, "wrist": None}}, "image front"),
        ({"skew_s": {"state": 0.0}}, "images/front"),
        ({"skew_s": {"state": 0.0, "images/front": float("nan")}}, "skew_s"),
        ({"stamp_ns": START_NS}, "stamp_ns"),
        ({"stamp_ns": START_NS - 33_333_333}, "stamp_ns"),
        ({"stamp_ns": float(START_NS)}, "stamp_ns"),
    ],
)
def test_a_wrong_frame_is_refused_and_leaves_the_episode_as_it_was(tmp_path, change, named):
    with DatasetWriter(tmp_path / "set", CONTRACT) as writer:
        writer.begin_episode("pick")
        writer.add_frame(frame(0))
        with pytest.raises(FrameError, match=named):
            writer.add_frame(frame(1, **change))
        writer.add_frame(frame(1))
        assert writer.finish_episode().frames == 2
    assert check(tmp_path / "set") == []


def test_a_gap_is_the_recorders_to_decide(tmp_path):
    with DatasetWriter(tmp_path / "set", CONTRACT) as writer:
        writer.begin_episode("pick")
        writer.add_frame(frame(0))
        with pytest.raises(GapError) as caught:
            writer.add_frame(frame(4))
        assert caught.value.missing == 3
        assert caught.value.found_ns == frame(4).stamp_ns
        assert abs(caught.value.expected_ns - frame(1).stamp_ns) <= 1
        writer.finish_episode()
        writer.begin_episode("pick")
        writer.add_frame(frame(4))
        writer.finish_episode()
    assert [e.length for e in Dataset(tmp_path / "set").episodes] == [1, 1]


@pytest.mark.parametrize(("shift_ns", "fits"), [(16_000_000, True), (17_000_000, False)])
def test_half_a_period_of_jitter_is_no_gap(tmp_path, shift_ns, fits):
    with DatasetWriter(tmp_path / "set", CONTRACT) as writer:
        writer.begin_episode("pick")
        writer.add_frame(frame(0))
        late = frame(1, stamp_ns=frame(1).stamp_ns + shift_ns)
        if fits:
            writer.add_frame(late)
        else:
            with pytest.raises(GapError, match="1 frame"):
                writer.add_frame(late)


def test_an_episode_needs_frames_a_task_and_an_end(tmp_path):
    with DatasetWriter(tmp_path / "set", CONTRACT) as writer:
        with pytest.raises(DatasetError, match="no episode is open"):
            writer.add_frame(frame(0))
        with pytest.raises(DatasetError, match="task"):
            writer.begin_episode("  ")
        writer.begin_episode("pick")
        with pytest.raises(DatasetError, match="an episode is open"):
            writer.begin_episode("pick")
        with pytest.raises(DatasetError, match="no frames"):
            writer.finish_episode()
        writer.discard_episode()
        record(writer, 2)
    with pytest.raises(DatasetError, match="closed"):
        writer.begin_episode("pick")


def test_an_exception_discards_the_open_episode_only(tmp_path):
    with (
        pytest.raises(RuntimeError, match="the arm fell"),
        DatasetWriter(tmp_path / "set", CONTRACT) as writer,
    ):
        record(writer, 2)
        writer.begin_episode("pick")
        writer.add_frame(frame(0))
        raise RuntimeError("the arm fell")
    assert len(Dataset(tmp_path / "set").episodes) == 1
    assert check(tmp_path / "set") == []


def test_resuming_continues_and_keeps_what_was_there(tmp_path):
    root = made(tmp_path / "set", (2, 3))
    with DatasetWriter(root, CONTRACT) as writer:
        assert (writer.episodes, writer.frames, writer.repaired) == (2, 5, [])
        record(writer, 4, "a third task")
    dataset = Dataset(root)
    assert dataset.tasks == ["pick", "fold", "a third task"]
    assert [e.dataset_from for e in dataset.episodes] == [0, 2, 5]
    assert dataset.statistics["action"]["count"].tolist() == [9]
    assert check(root) == []


@pytest.mark.parametrize(
    ("change", "options", "named"),
    [
        ({"fps": 25}, {}, "fps: expected 30, found 25"),
        ({"joint_units": "range_m100_100"}, {}, "joint units: expected degrees"),
        ({"calibration": "other"}, {}, "calibration"),
        ({"state_names": NAMES[::-1]}, {}, "feature observation.state"),
        ({"cameras": CONTRACT.cameras[:1]}, {}, "feature observation.images.wrist"),
        ({"cameras": (*CONTRACT.cameras, Camera("top", 32, 32))}, {}, "observation.images.top"),
        ({"alignment": CONTRACT.alignment[:1]}, {}, "feature armlet.skew_s"),
        ({}, {"robot_type": "koch"}, "robot_type: expected so101_follower, found koch"),
        ({}, {"codec": "hevc"}, "expected h264, found hevc"),
    ],
)
def test_resuming_with_another_setup_is_refused_line_by_line(tmp_path, change, options, named):
    root = made(tmp_path / "set", (2,))
    before = {p: p.read_bytes() for p in root.rglob("*") if p.is_file()}
    with pytest.raises(DatasetError) as caught:
        DatasetWriter(root, dataclasses.replace(CONTRACT, **change), **options)
    assert any(named in line for line in str(caught.value).splitlines()[1:])
    assert {p: p.read_bytes() for p in root.rglob("*") if p.is_file()} == before


def test_a_folder_of_something_else_is_refused_untouched(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(DatasetError, match="not a LeRobot dataset"):
        DatasetWriter(tmp_path, CONTRACT)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_without_its_contract_nothing_is_appended(tmp_path):
    root = made(tmp_path / "set", (2,))
    (root / layout.CONTRACT).unlink()
    with pytest.raises(DatasetError, match="joint units and calibration"):
        DatasetWriter(root, CONTRACT)


def test_one_writer_at_a_time(tmp_path):
    with DatasetWriter(tmp_path / "set", CONTRACT):
        with pytest.raises(DatasetError, match="another recorder"):
            DatasetWriter(tmp_path / "set", CONTRACT)
        assert check(tmp_path / "set") == []
    DatasetWriter(tmp_path / "set", CONTRACT).close()


def test_odd_pictures_are_refused_when_the_episode_begins(tmp_path):
    contract = dataclasses.replace(CONTRACT, cameras=(Camera("front", 48, 63),))
    with DatasetWriter(tmp_path / "set", contract) as writer:
        with pytest.raises(VideoError, match="even"):
            writer.begin_episode("pick")
        assert not writer.recording


def test_a_full_disk_while_preparing_loses_nothing(tmp_path, monkeypatch):
    with DatasetWriter(tmp_path / "set", CONTRACT) as writer:
        record(writer, 2)
        writer.begin_episode("pick")
        for i in range(3):
            writer.add_frame(frame(i, 1))
        with monkeypatch.context() as patch:
            patch.setattr(atomic_files, "write", _no_space)
            with pytest.raises(OSError, match="No space"):
                writer.finish_episode()
        with pytest.raises(VideoError, match="finish or discard"):
            writer.add_frame(frame(3, 1))
        assert writer.finish_episode().frames == 3
    assert check(tmp_path / "set") == []


def test_a_failure_midway_is_repaired_by_opening_again(tmp_path, monkeypatch):
    with DatasetWriter(tmp_path / "set", CONTRACT) as writer:
        record(writer, 2)
        writer.begin_episode("pick")
        writer.add_frame(frame(0, 1))
        with monkeypatch.context() as patch:
            patch.setattr(atomic_files, "move", _no_space)
            with pytest.raises(OSError, match="No space"):
                writer.finish_episode()
        with pytest.raises(DatasetError, match="open the dataset again"):
            writer.finish_episode()
    with DatasetWriter(tmp_path / "set", CONTRACT) as writer:
        record(writer, 3)
    assert [e.length for e in Dataset(tmp_path / "set").episodes] == [2, 3]
    assert check(tmp_path / "set") == []


def _no_space(*_):
    raise OSError(28, "No space left on device")


def test_a_lost_picture_makes_the_episode_unfinishable(tmp_path, monkeypatch):
    with DatasetWriter(tmp_path / "set", CONTRACT) as writer:
        writer.begin_episode("pick")
        writer.add_frame(frame(0))
        with monkeypatch.context() as patch:
            patch.setattr(writer._episode._tracks["wrist"].queue, "put", _no_space)
            with pytest.raises(OSError, match="No space"):
                writer.add_frame(frame(1))
        with pytest.raises(VideoError, match="discard"):
            writer.add_frame(frame(1))
        with pytest.raises(VideoError, match="discard"):
            writer.finish_episode()
        writer.discard_episode()
        record(writer, 2)
    assert [e.length for e in Dataset(tmp_path / "set").episodes] == [2]


def test_a_failing_disk_is_reported_at_the_next_frame(tmp_path, monkeypatch):
    failed = threading.Event()

    def broken(handle):
        failed.set()
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(episode, "SYNC_S", 0.01)
    with DatasetWriter(tmp_path / "set", CONTRACT) as writer:
        with monkeypatch.context() as patch:
            patch.setattr(atomic_files, "flush", broken)
            writer.begin_episode("pick")
            assert failed.wait(LONG_S)
            writer._episode._keeper.join()
        with pytest.raises(VideoError, match="Input/output error"):
            writer.add_frame(frame(0))
        writer.discard_episode()
        record(writer, 2)
    assert check(tmp_path / "set") == []


def test_an_episode_is_discarded_though_the_disk_is_full(tmp_path, monkeypatch):
    with DatasetWriter(tmp_path / "set", CONTRACT) as writer:
        writer.begin_episode("pick")
        writer.add_frame(frame(0))
        tracks = list(writer._episode._tracks.values())
        with monkeypatch.context() as patch:
            patch.setattr(atomic_files, "append", _no_space)
            patch.setattr(atomic_files, "flush", _no_space)
            writer.discard_episode()
        assert not writer.recording
        assert not any(track._thread.is_alive() for track in tracks)
        record(writer, 2)
    assert check(tmp_path / "set") == []


def _disk(free):
    return lambda _: shutil._ntuple_diskusage(10**12, 10**12 - free, free)


def test_a_short_disk_refuses_to_begin_and_ends_an_episode_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(episode, "SYNC_S", 0.01)
    with DatasetWriter(tmp_path / "set", CONTRACT, reserve_bytes=10**9) as writer:
        monkeypatch.setattr(shutil, "disk_usage", _disk(10**8))
        with pytest.raises(DiskError, match=r"100 MB free at .*set, 100\d MB needed"):
            writer.begin_episode("pick")
        assert not writer.recording
        monkeypatch.setattr(shutil, "disk_usage", _disk(10**10))
        writer.begin_episode("pick")
        writer.add_frame(frame(0))
        monkeypatch.setattr(shutil, "disk_usage", _disk(10**8))
        wait_until(lambda: writer._episode._disk_short)
        with pytest.raises(DiskError, match="finish or discard"):
            writer.add_frame(frame(1))
        assert writer.finish_episode().frames == 1
    assert check(tmp_path / "set") == []


def test_needed_disk_is_estimated_from_what_was_recorded(tmp_path):
    with DatasetWriter(tmp_path / "set", CONTRACT) as writer:
        guessed = writer.required_bytes(10)
        assert guessed == pytest.approx(300 * (500 + 0.2 * (48 * 64 + 32 * 48)))
        writer.begin_episode("pick")
        for i in range(20):
            writer.add_frame(frame(i))
        size = writer.finish_episode().size_bytes
        assert writer.required_bytes(2 / 3) == pytest.approx(size, abs=1)
        report = writer.disk(10)
        assert report.ok
        assert report.needed_bytes == (256 << 20) + writer.required_bytes(10)
    with DatasetWriter(tmp_path / "set", CONTRACT) as writer:
        assert writer.required_bytes(2 / 3) == pytest.approx(size, abs=1)


def test_the_ledger_is_stored_with_its_episode(tmp_path):
    ledger = {"images/front": {"received": 7, "reused": 1, "skew_p99_s": 0.012}}
    with DatasetWriter(tmp_path / "set", CONTRACT) as writer:
        writer.begin_episode("pick")
        writer.add_frame(frame(0))
        writer.finish_episode(ledger)
        record(writer, 2)
    dataset = Dataset(tmp_path / "set")
    assert dataset.ledger(0) == ledger
    assert dataset.ledger(1) is None
    assert check(dataset.root) == []


def test_the_backlog_is_reported(tmp_path, monkeypatch):
    gate = threading.Event()
    encode = video.Encoder.encode
    monkeypatch.setattr(
        video.Encoder, "encode", lambda self, shot: gate.wait(LONG_S) and encode(self, shot)
    )
    with DatasetWriter(tmp_path / "set", CONTRACT, memory_bytes=40_000) as writer:
        assert writer.backlog.queued == writer.queued == writer.spilled == 0
        writer.begin_episode("pick")
        for i in range(30):
            writer.add_frame(frame(i))
        backlog = writer.backlog
        assert 28 <= backlog.queued == writer.queued <= 30
        assert backlog.spilled == writer.spilled > 40
        assert 0 < backlog.memory_bytes <= 40_000
        assert backlog.behind_s == backlog.queued / 30
        gate.set()
        assert writer.finish_episode().frames == 30
    assert check(tmp_path / "set") == []


@pytest.mark.parametrize("version", layout.VERSIONS)
def test_versions(tmp_path, version):
    root = made(tmp_path / "set", version=version)
    with DatasetWriter(root, CONTRACT) as writer:  # an existing one keeps its own
        record(writer, 2)
    dataset = Dataset(root)
    assert dataset.info.version == version
    assert [e.length for e in dataset.episodes] == [5, 3, 4, 2]
    assert dataset.tasks == ["pick", "fold"]
    assert dataset.statistics["action"]["count"].tolist() == [14]
    assert np.array_equal(
        dataset.episode(3).state, np.float32([frame(i, 3).state for i in range(2)])
    )
    assert dataset.images(2, "wrist").shape == (4, 32, 48, 3)
    assert check(root) == []


def test_v2_1_lies_as_lerobot_expects_it(tmp_path):
    root = made(tmp_path / "set", version="v2.1")
    info = json.loads((root / "meta/info.json").read_text())
    assert info["codebase_version"] == "v2.1"
    assert (info["total_episodes"], info["total_videos"], info["total_chunks"]) == (3, 6, 1)
    found = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
    assert found == {
        "meta/info.json",
        "meta/tasks.jsonl",
        "meta/episodes.jsonl",
        "meta/episodes_stats.jsonl",
        "meta/armlet_contract.json",
        *(f"data/chunk-000/episode_{k:06d}.parquet" for k in range(3)),
        *(
            f"videos/chunk-000/observation.images.{camera}/episode_{k:06d}.mp4"
            for camera in ("front", "wrist")
            for k in range(3)
        ),
    }
    lines = [json.loads(line) for line in (root / "meta/episodes.jsonl").read_text().splitlines()]
    assert lines[1] == {"episode_index": 1, "tasks": ["fold"], "length": 3}
    stats = json.loads((root / "meta/episodes_stats.jsonl").read_text().splitlines()[0])["stats"]
    assert set(stats["action"]) == {"min", "max", "mean", "std", "count"}
    assert np.shape(stats["observation.images.front"]["mean"]) == (3, 1, 1)
    with pytest.raises(DatasetError, match=r"v3\.0, v2\.1.*'v2\.0'"):
        DatasetWriter(tmp_path / "other", CONTRACT, version="v2.0")


def test_a_dataset_without_contract_is_resumed_on_request(tmp_path):
    root = made(tmp_path / "set", (2,))
    (root / layout.CONTRACT).unlink()
    with DatasetWriter(root, CONTRACT, adopt=True) as writer:
        record(writer, 3)
    assert [e.length for e in Dataset(root).episodes] == [2, 3]
    percent = dataclasses.replace(CONTRACT, joint_units="range_m100_100")
    with pytest.raises(DatasetError, match=r"units of observation.state shoulder_pan.pos.*10[0-9]"):
        DatasetWriter(root, percent, adopt=True)
    with pytest.raises(DatasetError, match="fps: expected 30, found 25"):
        DatasetWriter(root, dataclasses.replace(CONTRACT, fps=25), adopt=True)


def test_a_broken_writer_can_still_discard(tmp_path, monkeypatch):
    root = tmp_path / "set"
    with DatasetWriter(root, CONTRACT) as writer:
        record(writer, 2)
        writer.begin_episode("pick")
        writer.add_frame(frame(0))
        with monkeypatch.context() as patch:
            patch.setattr("armlet.datasets.format.atomic_files.move", _no_space)
            with pytest.raises(OSError, match="No space"):
                writer.finish_episode()
        writer.discard_episode()
        assert not writer.recording
        with pytest.raises(DatasetError, match="no episode is open"):
            writer.discard_episode()
        with pytest.raises(DatasetError, match="open the dataset again"):
            writer.begin_episode("pick")
    with DatasetWriter(root, CONTRACT) as writer:
        record(writer, 3)
    assert [e.length for e in Dataset(root).episodes] == [2, 3]
