"""Episodes merged into LeRobot's file sizes: every picture stays its row's, nothing is encoded."""

from pathlib import Path

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_episodes import CONTRACT, counters, made, record
from offline import has_oracle, numbered, numbers, same_rows, with_lerobot

from armlet.datasets import Dataset, DatasetError, DatasetWriter, VideoError, check
from armlet.datasets.format import layout
from armlet.datasets.format.concat import join
from armlet.datasets.format.data_file import DataFile
from armlet.datasets.format.video_pieces import Piece
from armlet.datasets.transform.compact import compact
from armlet.files import explained

LENGTHS = (7, 4, 9, 1, 12)
FRONT = "videos/observation.images.front/chunk-000"


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return numbered(tmp_path_factory.mktemp("compact") / "source", LENGTHS)


@pytest.fixture(scope="module")
def merged(source):
    done = compact(source, source.with_name("merged"))
    assert (done.episodes, done.files_before, done.files_after) == (5, 15, 3)
    return source.with_name("merged")


def packets(path):
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(video=0) if packet.size]


def test_all_is_in_one_file_each_and_every_picture_in_its_row(source, merged):
    files = [str(p.relative_to(merged)) for p in sorted(merged.rglob("*.mp4"))]
    assert files == [
        f"{FRONT}/file-000.mp4",
        "videos/observation.images.wrist/chunk-000/file-000.mp4",
    ]
    assert check(merged) == []
    assert same_rows(source, merged)
    for camera in ("front", "wrist"):
        assert numbers(merged, camera) == list(range(sum(LENGTHS)))
    assert Dataset(merged).statistics.keys() == Dataset(source).statistics.keys()
    assert Dataset(merged).ledger(2) == {"state": {"used": 9}}
    assert Dataset(merged).contract == CONTRACT


def test_no_picture_is_encoded_again(source, merged):
    before = [p for k in range(5) for p in packets(source / FRONT / f"file-{k:03d}.mp4")]
    assert packets(merged / FRONT / "file-000.mp4") == before


def test_short_episodes_share_a_row_group(merged, tmp_path):
    """One each makes a file of many short ones so slow to open that reading all takes hours."""
    found = pq.ParquetFile(merged / "data/chunk-000/file-000.parquet").metadata
    assert [found.row_group(k).num_rows for k in range(found.num_row_groups)] == [sum(LENGTHS)]
    path, row = (
        tmp_path / "data.parquet",
        pa.table({"episode_index": [0] * 3000, "x": ["y"] * 3000}),
    )
    file = DataFile(path, row.schema)
    for _ in range(7):
        file.add(row)
    file.close()
    found = pq.ParquetFile(path).metadata
    assert [found.row_group(k).num_rows for k in range(2)] == [12_000, 9_000]


def test_times_do_not_drift(merged):
    """LeRobot adds durations up; its readers allow 0.1 ms."""
    with av.open(str(merged / FRONT / "file-000.mp4")) as container:
        times = [p.pts * p.time_base for p in container.demux(video=0) if p.pts is not None]
    assert [float(time * 30) for time in times] == list(range(sum(LENGTHS)))
    spans = [row.videos["observation.images.front"] for row in Dataset(merged)._rows]
    starts = np.concatenate([[0], np.cumsum(LENGTHS)])
    assert [span.from_s for span in spans] == (starts[:-1] / 30).tolist()


def test_files_end_at_the_sizes_asked_for(source, tmp_path):
    sizes = [p.stat().st_size for p in sorted((source / FRONT).iterdir())]
    limit = (sizes[0] + sizes[1] + 10) / 2**20
    compact(source, tmp_path / "small", data_mb=0.01, video_mb=limit)
    assert len(list((tmp_path / "small" / FRONT).iterdir())) > 1
    assert len(list((tmp_path / "small/data/chunk-000").iterdir())) > 1
    assert check(tmp_path / "small") == []
    assert numbers(tmp_path / "small", "front") == list(range(sum(LENGTHS)))
    assert Dataset(tmp_path / "small").info.document["video_files_size_in_mb"] == limit


def test_a_compact_dataset_compacts_to_itself_and_is_recorded_into(merged, tmp_path):
    compact(merged, tmp_path / "again")
    assert same_rows(merged, tmp_path / "again")
    with DatasetWriter(tmp_path / "again", CONTRACT) as writer:
        assert writer.repaired == []
        record(writer, 3)
    assert check(tmp_path / "again") == []
    assert [e.length for e in Dataset(tmp_path / "again").episodes] == [*LENGTHS, 3]


def test_videos_coded_otherwise_get_a_file_of_their_own(tmp_path):
    root = numbered(tmp_path / "source", (5, 4))
    other = numbered(tmp_path / "other", (5, 4), codec="hevc")
    path = f"{FRONT}/file-001.mp4"
    (root / path).write_bytes((other / path).read_bytes())
    compact(root, tmp_path / "merged")
    assert len(list((tmp_path / "merged" / FRONT).iterdir())) == 2
    assert numbers(tmp_path / "merged", "front") == list(range(9))


def test_what_is_not_whole_is_refused_and_leaves_nothing(source, tmp_path):
    root = made(tmp_path / "set", version="v2.1")
    with pytest.raises(DatasetError, match=r"convert it to v3.0 first"):
        compact(root, tmp_path / "out")
    with pytest.raises(DatasetError, match="exists already"):
        compact(source, root)
    root = made(tmp_path / "short")
    (root / FRONT / "file-001.mp4").unlink()
    with pytest.raises(DatasetError, match=r"file-001.mp4 is absent"):
        compact(root, tmp_path / "out")
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"set", "short"}


def test_a_cut_that_needs_earlier_pictures_is_refused(source, tmp_path):
    path = source / FRONT / "file-002.mp4"
    join(tmp_path / "good.mp4", [Piece(path, 2, 3)], 30)  # every second picture needs no other
    with pytest.raises(VideoError, match="needs those before it"):
        join(tmp_path / "bad.mp4", [Piece(path, 3, 3)], 30)
    with pytest.raises(VideoError, match="expected 9 pictures from number 2 on, found 7"):
        join(tmp_path / "long.mp4", [Piece(path, 2, 9)], 30)


@pytest.mark.thorough
@pytest.mark.skipif(not has_oracle("v04"), reason="no stock LeRobot 0.4.4 (set ARMLET_ORACLE)")
def test_stock_lerobot_loads_every_frame_right(merged, tmp_path):
    with_lerobot("v04", tmp_path, merged)
    loaded = dict(np.load(tmp_path / "merged.npz"))
    for camera in CONTRACT.cameras:
        pictures = loaded[f"observation.images.{camera.name}"]
        assert counters(pictures) == list(range(sum(LENGTHS)))
    ours = Dataset(merged)
    states = np.concatenate([ours.episode(k).state for k in range(5)])
    assert np.array_equal(loaded["observation.state"], states)
    # Its own dataset: AV1, episodes of a camera in one file; merged, and cut apart again.
    compact(tmp_path / "stock", tmp_path / "stock-merged")
    assert numbers(tmp_path / "stock-merged", "wrist") == list(range(15))
    assert layout.load_info(tmp_path / "stock-merged").video_keys


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_is_not_blamed_on_the_video_that_is_copied(tmp_path):
    root = made(tmp_path / "set", (3, 4))
    places = [root / f"videos/observation.images.front/chunk-000/file-00{k}.mp4" for k in (0, 1)]
    full = tmp_path / "full.mp4"
    full.symlink_to("/dev/full")
    pieces = [Piece(places[0], 0, 3), Piece(places[1], 0, 4)]
    with pytest.raises(OSError, match="No space left on device") as raised:
        join(full, pieces, CONTRACT.fps)
    assert not isinstance(raised.value, VideoError)


def test_a_full_disk_names_the_file():
    """Arrow's own error has none, so a command ended with a traceback."""
    schema = pa.schema([("a", pa.int64())])
    with pytest.raises(OSError, match="No space left") as caught:
        DataFile(Path("/dev/full"), schema)
    assert caught.value.filename == "/dev/full"
    assert explained(caught.value).startswith("/dev/full: No space left on device; free space")
