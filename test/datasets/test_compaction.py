"""Small files become large ones when a recording ends: no row is lost, whenever it is killed."""

from __future__ import annotations

import dataclasses
import errno
import fcntl
import json
import os
import shutil
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from crash_child import kill_at_every_step
from edit_oracle import tree
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_episodes import CONTRACT, QUICK, frame, made, record
from offline import numbered, numbers, same_rows

from armlet.datasets import Dataset, DatasetError, DatasetWriter, check, sweep
from armlet.datasets.format import atomic_files, copies, edit_journal, layout, tables
from armlet.datasets.record import compaction
from armlet.datasets.transform import edits
from armlet.datasets.transform.repair import repair

SMALL = dataclasses.replace(CONTRACT, cameras=CONTRACT.cameras[1:])
BLIND = dataclasses.replace(CONTRACT, cameras=(), alignment=CONTRACT.alignment[:1])
LENGTHS = (5, 3, 4, 2, 6)


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=QUICK) as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def apart() -> Iterator[Path]:
    """Five episodes with files of their own; not to be changed."""
    with tempfile.TemporaryDirectory(dir=QUICK) as folder:
        root = Path(folder) / "apart"
        with DatasetWriter(root, BLIND, merge_files=0) as writer:
            for k, length in enumerate(LENGTHS):
                writer.begin_episode(("pick", "fold")[k % 2])
                for index in range(length):
                    writer.add_frame(frame(index, k, BLIND))
                writer.finish_episode({"state": {"used": length}})
        yield root


@pytest.fixture
def copied(apart, tmp_path) -> Path:
    return shutil.copytree(apart, tmp_path / "set")


def files(root: Path) -> list[int]:
    """How many files of rows and of metadata there are."""
    return [len(list(root.glob(pattern))) for pattern in ("data/*/*", "meta/episodes/*/*")]


def lengths(root: Path) -> list[int]:
    return [episode.length for episode in Dataset(root).episodes]


def merge(root: Path, least: int = 3) -> str:
    return compaction.compact(root, least)


def assert_nothing_is_left(root: Path) -> None:
    assert not (root / ".edit").exists()
    assert not (root / ".trash").exists()


def test_a_closing_recorder_merges_what_was_recorded_and_not_before(copied, apart):
    with DatasetWriter(copied, BLIND, merge_files=6) as writer:
        record(writer, 3, contract=BLIND)
        assert files(copied) == [6, 6]
        with pytest.raises(DatasetError, match="being written by another recorder"):
            DatasetWriter(copied, BLIND)
    assert files(copied) == [1, 1]
    assert_nothing_is_left(copied)
    assert check(copied) == []
    assert lengths(copied) == [*LENGTHS, 3]
    old, new = Dataset(apart), Dataset(copied)
    for k in range(len(LENGTHS)):
        assert new.ledger(k) == old.ledger(k) == {"state": {"used": LENGTHS[k]}}
        assert np.array_equal(new.episode(k).stamp_ns, old.episode(k).stamp_ns)
    assert new.contract == old.contract == BLIND


def test_rows_statistics_and_everything_else_stay_as_they_are(copied, apart):
    assert merge(copied) == "merge the files of episodes 0 to 4: 10 become 2"
    assert same_rows(apart, copied)
    whole = tables.read_episodes(copied)
    for ours, theirs in zip(whole, tables.read_episodes(apart), strict=True):
        assert ours.data == layout.FileNumber(0, 0)
        assert dataclasses.replace(ours, data=theirs.data) == theirs
        assert ours.stats.keys() == theirs.stats.keys()
        for key, stats in theirs.stats.items():
            assert all(np.array_equal(ours.stats[key][name], stats[name]) for name in stats)
    ours, theirs = tree(copied), tree(apart)
    names = {name for name in theirs if not name.startswith(("data/", "meta/episodes/"))}
    assert {name: ours[name] for name in names} == {name: theirs[name] for name in names}
    assert merge(copied) == ""


@pytest.fixture(scope="module")
def seen() -> Iterator[Path]:
    """Four episodes with a camera, whose pictures are numbered; not to be changed."""
    with tempfile.TemporaryDirectory(dir=QUICK) as folder:
        yield numbered(Path(folder) / "seen", (3, 1, 4, 2), SMALL, merge_files=0)


def assert_same(one: Path, other: Path) -> None:
    assert same_rows(one, other)
    assert numbers(one, "wrist") == numbers(other, "wrist") == list(range(10))


def test_what_only_its_owner_may_read_stays_so(copied):
    for path in files_of(copied):
        path.chmod(0o600)
    assert merge(copied)
    edits.trim(copied, [0], 1, 1)
    assert [path for path in files_of(copied) if path.stat().st_mode & 0o077] == []


def files_of(root: Path) -> list[Path]:
    """All files of rows and metadata, the trash apart."""
    found = [*root.glob("data/*/*"), *root.glob("meta/**/*")]
    return [path for path in found if path.is_file()]


def test_every_picture_stays_its_rows(seen, tmp_path):
    root = shutil.copytree(seen, tmp_path / "set")
    assert merge(root) == "merge the files of episodes 0 to 3: 12 become 3"
    assert check(root) == []
    assert_same(seen, root)
    assert (len(list(root.rglob("*.mp4"))), files(root)) == (1, [1, 1])


@pytest.mark.representatives(2)
@pytest.mark.parametrize("why", ["large", "longer", "other", "broken", "titled"])
def test_videos_that_are_large_or_odd_are_left_alone(seen, tmp_path, monkeypatch, why):
    root = shutil.copytree(seen, tmp_path / "set")
    folder = root / "videos/observation.images.wrist/chunk-000"
    path = folder / "file-001.mp4"
    match why:
        case "large":
            sizes = sorted(each.stat().st_size for each in folder.iterdir())
            monkeypatch.setattr(compaction, "_LARGE_VIDEO", sizes[0])
        case "longer":
            shutil.copyfile(folder / "file-000.mp4", path)
        case "other":
            hevc = numbered(tmp_path / "other", (1,), SMALL, codec="hevc")
            shutil.copyfile(next(hevc.rglob("*.mp4")), path)
        case "broken":
            path.write_bytes(path.read_bytes()[:99])
        case "titled":  # what only this file says would be lost
            with av.open(str(path)) as source, av.open(str(path) + ".mp4", "w") as target:
                target.metadata["title"] = "of my first arm"
                stream = target.add_stream_from_template(source.streams.video[0])
                for packet in source.demux(video=0):
                    if packet.size:
                        packet.stream = stream
                        target.mux(packet)
            Path(f"{path}.mp4").replace(path)
    before = {each.name: each.read_bytes() for each in folder.iterdir()}
    merge(root)
    after = {each.name: each.read_bytes() for each in folder.iterdir()}
    assert files(root) == [1, 1]
    if why == "large":
        assert after == before
    else:
        assert after.keys() == {"file-000.mp4", "file-001.mp4", "file-002.mp4"}
        assert after.pop("file-002.mp4") != before["file-002.mp4"]
        assert after.items() <= before.items()
    assert same_rows(seen, root)


# ioctl_iflags(2)
GET_FLAGS, SET_FLAGS, IMMUTABLE = 0x80086601, 0x40086602, 0x10


@contextmanager
def unchangeable(path: Path) -> Iterator[None]:
    """As by `chattr +i`; skips the test where that is not permitted, or there are no flags."""
    with path.open("rb") as file:
        try:
            flags = struct.unpack("l", fcntl.ioctl(file, GET_FLAGS, bytes(8)))[0]
            fcntl.ioctl(file, SET_FLAGS, struct.pack("l", flags | IMMUTABLE))
        except OSError as error:
            pytest.skip(f"no file can be made immutable here: {error}")
        try:
            yield
        finally:
            fcntl.ioctl(file, SET_FLAGS, struct.pack("l", flags))


@pytest.mark.representatives(1)
@pytest.mark.parametrize("place", ["data/chunk-000/file-002.parquet", "meta/info.json"])
def test_a_file_that_may_not_be_replaced_is_found_before_anything_changes(
    apart, tmp_path_factory, place, caplog
):
    root = shutil.copytree(apart, tmp_path_factory.mktemp("disk") / "set")
    if not os.access(root, os.W_OK):
        pytest.skip("the folder may not be written")
    before = tree(root)
    with unchangeable(root / place):
        with pytest.raises(DatasetError, match="may not be replaced: it, or its folder, is marked"):
            merge(root)
        assert tree(root) == before
        with pytest.raises(DatasetError, match="may not be replaced"):
            edits.delete(root, [2])
        assert tree(root) == before
    assert merge(root)
    assert same_rows(apart, root)


def test_a_merge_that_the_system_ends_midway_says_what_finishes_it(
    copied, apart, monkeypatch, caplog
):
    writer = DatasetWriter(copied, BLIND, merge_files=3)
    record(writer, 3, contract=BLIND)
    refused = PermissionError(errno.EPERM, "Operation not permitted", "a file")
    monkeypatch.setattr(edit_journal, "_replace", raises(refused))
    writer.close()
    assert "merging small files was interrupted" in caplog.text
    with pytest.raises(DatasetError, match=r"cannot be finished: a file: Operation not permitted"):
        DatasetWriter(copied, BLIND)
    monkeypatch.undo()
    with DatasetWriter(copied, BLIND, merge_files=0):
        pass
    assert lengths(copied) == [*LENGTHS, 3]
    assert check(copied) == []


def raises(error: Exception) -> Any:
    def raised(*_: Any, **__: Any) -> None:
        raise error

    return raised


@pytest.mark.representatives(1)
@pytest.mark.parametrize("contract", [CONTRACT, BLIND])
def test_recording_goes_on_behind_merged_files(tmp_path, contract):
    root = made(tmp_path / "set", (2, 3), contract, merge_files=2)
    assert files(root) == [1, 1]
    before = tree(root)
    made(root, (3, 4), contract, merge_files=0)
    assert files(root) == [3, 3]
    after = tree(root)
    assert {name for name in before if before[name] != after[name]} == {
        "meta/info.json",
        "meta/stats.json",
    }
    assert lengths(root) == [2, 3, 3, 4]
    assert check(root) == []


def test_an_opening_without_a_recording_or_with_a_failure_merges_nothing(copied):
    before = tree(copied)
    with DatasetWriter(copied, BLIND, merge_files=2):
        pass
    assert tree(copied) == before
    with pytest.raises(RuntimeError), DatasetWriter(copied, BLIND, merge_files=2) as writer:
        record(writer, 2, contract=BLIND)
        raise RuntimeError
    assert files(copied) == [6, 6]


def test_v2_1_is_left_alone(tmp_path):
    root = made(tmp_path / "set", (2, 3), BLIND, version="v2.1", merge_files=2)
    assert len(list(root.glob("data/*/*"))) == 2


def test_files_of_other_columns_or_with_other_rows_are_not_merged(copied):
    metadata, rows = (copied / name for name in ("meta/episodes/chunk-000", "data/chunk-000"))
    table = pq.read_table(metadata / "file-004.parquet")
    pq.write_table(table.append_column("note", pa.array(["x"])), metadata / "file-004.parquet")
    table = pq.read_table(rows / "file-001.parquet")
    pq.write_table(pa.concat_tables([table, table[:1]]), rows / "file-001.parquet")
    kept = {name: found for name, found in tree(copied).items() if "file-001" in name}
    assert merge(copied) == "merge the files of episodes 0 to 3: 6 become 2"
    assert files(copied) == [4, 2]  # rows: 0, 1, 2 and 3, 4
    data = {name: found for name, found in tree(copied).items() if name in kept}
    assert data == {name: found for name, found in kept.items() if name.startswith("data/")}


def test_large_files_of_rows_are_left_alone(copied):
    info = json.loads((copied / layout.INFO).read_text())
    size = max(path.stat().st_size for path in copied.glob("data/*/*"))
    (copied / layout.INFO).write_text(json.dumps({**info, "data_files_size_in_mb": size / 2**20}))
    merge(copied)
    assert files(copied) == [5, 1]
    assert check(copied) == []


def test_an_episode_is_written_again_a_few_times_only(tmp_path):
    """Merged ones wait until there are many of them, too."""
    root, seen, counts = tmp_path / "set", set(), []
    for _ in range(14):
        made(root, (2,), BLIND, merge_files=2)
        seen |= {path.read_bytes() for path in root.glob("data/*/*")}
        counts.append(files(root)[0])
    assert lengths(root) == [2] * 14
    assert max(counts) == 4
    # Pairs, and pairs of those; not one that grows with every closing.
    assert sum(len(pq.read_table(pa.BufferReader(each))) for each in seen) < 14 * 2 * 4
    assert check(root) == []


# --- what goes wrong ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def killed(seen) -> Iterator[list[Path]]:
    """Of the merge, at every step; not to be changed."""
    with tempfile.TemporaryDirectory(dir=QUICK) as folder:
        yield kill_at_every_step(seen, Path(folder), "merge")


FINISHERS = (
    lambda root: DatasetWriter(root, SMALL).close(),
    lambda root: repair(root, yes=True),
    sweep,
    lambda root: edits.label(root, {0: True}, others=False),
)


@pytest.mark.thorough
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_kill_leaves_the_same_dataset_or_one_that_says_so(killed, seen, tmp_path):
    assert len(killed) > 15
    ends = []
    for number, state in enumerate(killed):
        root = shutil.copytree(state, tmp_path / f"{number}")
        half = (root / ".edit/journal.json").exists()
        if half:
            with pytest.raises(DatasetError, match=r"interrupted .* finishes it"):
                Dataset(root)
        else:
            assert_same(seen, root)
        finish = FINISHERS[number % len(FINISHERS)]
        finish(root)
        if finish is FINISHERS[-1]:
            assert len(list((root / ".trash").iterdir())) == 1
            edits.undo(root)
            shutil.rmtree(root / ".trash")
        assert_nothing_is_left(root)
        assert check(root) == []
        assert_same(seen, root)
        ends.append(files(root) == [1, 1])
        assert ends[-1] or not half
    assert ends == sorted(ends)
    assert set(ends) == {False, True}


@pytest.mark.thorough
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_while_a_merge_is_finished(killed, seen, tmp_path):
    half = [state for state in killed if (state / ".edit/journal.json").exists()]
    (tmp_path / "out").mkdir()
    states = kill_at_every_step(half[len(half) // 2], tmp_path / "out", "sweep", 2)
    assert len(states) > 3
    for state in states:
        sweep(state)
        assert_nothing_is_left(state)
        assert files(state) == [1, 1]
        assert_same(seen, state)


def test_a_preview_names_what_goes_and_where(killed, tmp_path):
    half = next(state for state in killed if (state / ".edit/journal.json").exists())
    said = repair(half, yes=False)
    assert said[0] == "finish an edit that was interrupted: merge the files of episodes 0 to 3"
    assert "  writes data/chunk-000/file-000.parquet" in said
    assert "  removes a copy: data/chunk-000/file-003.parquet" in said
    assert not any("moves to" in line for line in said)
    early = next(state for state in killed if (state / ".edit/new").exists())
    assert repair(early, yes=False)[0].startswith("remove the copies of a merge that was")


@pytest.mark.parametrize("kind", ["data", "meta/episodes", "videos"])
def test_a_file_that_was_changed_after_a_kill_goes_to_the_trash(killed, tmp_path, kind):
    half = next(state for state in killed if (state / ".edit/journal.json").exists())
    root = shutil.copytree(half, tmp_path / "set")
    path = next((root / kind).rglob("file-003.*"))
    if kind == "videos":
        other = numbered(tmp_path / "other", (3,), SMALL, codec="hevc")
        shutil.copyfile(next(other.rglob("*.mp4")), path)
    else:
        table = pq.read_table(path)
        name = {"data": "timestamp", "meta/episodes": "length"}[kind]
        place, field = table.column_names.index(name), table.schema.field(name)
        values = pa.array([7] * table.num_rows).cast(field.type)
        pq.write_table(table.set_column(place, field, values), path)
    changed = path.read_bytes()
    sweep(root)
    (folder,) = (root / ".trash").iterdir()
    assert (folder / path.relative_to(root)).read_bytes() == changed
    assert check(root) == []
    assert lengths(root) == [3, 1, 4, 2]


def test_what_else_lies_among_the_copies_goes_to_the_trash(killed, tmp_path):
    early = next(state for state in killed if (state / ".edit/new").exists())
    root = shutil.copytree(early, tmp_path / "set")
    (root / ".edit/new/letter.txt").write_text("mine")
    sweep(root)
    (found,) = (root / ".trash").rglob("letter.txt")
    assert found.read_text() == "mine"


@pytest.mark.representatives(2)
@pytest.mark.parametrize("where", ["begin", "rows", "proof", "journal", "room"])
def test_a_failure_is_one_warning_and_changes_nothing(copied, apart, monkeypatch, caplog, where):
    def fail(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    with DatasetWriter(copied, BLIND, merge_files=3) as writer:
        record(writer, 2, contract=BLIND)
        before = tree(copied)
        match where:
            case "begin":
                monkeypatch.setattr(atomic_files, "make_folder", fail)
            case "rows":
                monkeypatch.setattr(compaction.DataFile, "add", fail)
            case "proof":
                monkeypatch.setattr(copies, "_same", lambda *_: False)
            case "journal":
                monkeypatch.setattr(atomic_files, "move", fail)
            case "room":
                writer._reserve_bytes = 1 << 60
    (line,) = [each.getMessage() for each in caplog.records]
    reason = {"proof": "not copied", "room": "disk short"}.get(where, "No space left")
    assert "small files were not merged" in line and reason in line
    monkeypatch.undo()
    assert tree(copied) == before
    assert_nothing_is_left(copied)
    assert check(copied) == []


def test_rows_with_nan_are_the_same_rows(tmp_path):
    def written(name: str, values: list[float]) -> Path:
        path = tmp_path / name
        table = pa.table({"episode_index": np.zeros(len(values), np.int64), "x": values})
        pq.write_table(table, path)
        return Path(name)

    nan = float("nan")
    old, new = written("old.parquet", [1.0, nan]), written("new.parquet", [1.0, nan, 2.0])
    other = written("other.parquet", [1.0, 3.0])
    assert copies.uncopied(tmp_path, [old, other], [(new, tmp_path / new)]) == [other]


# --- taking episodes out of merged files --------------------------------------------------------


@pytest.mark.representatives(1)
@pytest.mark.parametrize("contract", [CONTRACT, BLIND])
def test_the_last_episodes_are_taken_out_of_files_that_they_share(tmp_path, contract):
    root = made(tmp_path / "set", (3, 2, 4), contract, merge_files=2)
    before = tree(root)
    with DatasetWriter(root, contract, merge_files=0) as writer:
        record(writer, 2, contract=contract)
        writer.remove_last(3)
        assert (writer.episodes, writer.frames) == (1, 3)
        record(writer, 5, contract=contract)
        record(writer, 2, contract=contract)
    assert check(root) == []
    assert lengths(root) == [3, 5, 2]
    assert files(root) == [3, 3]
    (folder,) = (root / ".trash").iterdir()
    kept = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    assert {name for name in before if name.startswith(("data", "meta/episodes"))} <= kept


@pytest.mark.thorough
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_while_an_episode_is_taken_out_of_a_shared_file(tmp_path):
    base = made(tmp_path / "base", (3, 2, 4), merge_files=2)
    (tmp_path / "out").mkdir()
    states = kill_at_every_step(base, tmp_path / "out", "remove", 4)
    assert len(states) > 5
    found = []
    for state in states:
        with DatasetWriter(state, CONTRACT, merge_files=0) as writer:
            found.append(writer.episodes)
            record(writer, 2)
        assert check(state) == []
        assert lengths(state) == [3, 2, 4, 2] if found[-1] == 3 else [3, 2, 2]
    assert found == sorted(found, reverse=True)
    assert set(found) == {3, 2}


def test_an_episode_that_was_taken_out_comes_back(copied, apart):
    merge(copied)
    with DatasetWriter(copied, BLIND) as writer:
        writer.remove_last(2)
    assert lengths(copied) == list(LENGTHS[:-2])
    edits.undo(copied)
    assert same_rows(apart, copied)
    assert check(copied) == []


steps = st.lists(
    st.one_of(
        st.tuples(st.just("record"), st.integers(1, 4)),
        st.tuples(st.just("remove"), st.integers(1, 3)),
        st.tuples(st.just("delete"), st.integers(0, 5)),
        st.tuples(st.just("close"), st.integers(2, 4)),
    ),
    max_size=14,
)


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps)
def test_whatever_the_order_every_episode_is_what_was_recorded(sequence):
    """The number in the rows is that of the recording, which no other has."""
    with tempfile.TemporaryDirectory(dir=QUICK) as name:
        root, known, count = Path(name) / "set", [], 0
        writer = DatasetWriter(root, BLIND, merge_files=3)
        for what, number in sequence:
            if what == "record":
                writer.begin_episode("pick")
                for index in range(number):
                    writer.add_frame(frame(index, count, BLIND))
                writer.finish_episode({"state": {"used": count}})
                known.append((count, number))
                count += 1
            elif what == "remove" and known:
                gone = min(number, len(known))
                writer.remove_last(gone)
                known = known[:-gone]
            else:
                writer.close()
                if what == "delete" and len(known) > 1:
                    edits.delete(root, [number % len(known)])
                    del known[number % len(known)]
                writer = DatasetWriter(root, BLIND, merge_files=number if what == "close" else 3)
        writer.close()
        assert check(root) == []
        dataset = Dataset(root)
        assert len(dataset.episodes) == len(known)
        for k, (recording, length) in enumerate(known):
            wanted = [frame(index, recording, BLIND).state for index in range(length)]
            assert np.array_equal(dataset.episode(k).state, np.float32(wanted))
            assert dataset.ledger(k) == {"state": {"used": recording}}
