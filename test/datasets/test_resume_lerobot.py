"""Recording goes on in datasets that LeRobot 0.6 made or annotated, or says precisely why not."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_episodes import frame
from offline import REPOSITORY, numbered
from test_convert import LANGUAGE, with_language

from armlet.contract import Camera, Contract
from armlet.datasets import Dataset, DatasetError, DatasetWriter, check
from armlet.datasets.format import tables
from armlet.datasets.transform import edits
from armlet.datasets.transform.compact import compact
from armlet.datasets.transform.merge import merge

GOLDEN = REPOSITORY.parent / "shared/golden/lerobot-0.6.1"
needs_golden = pytest.mark.skipif(not GOLDEN.is_dir(), reason="no datasets of LeRobot 0.6.1")


def copied(source: Path, target: Path) -> Path:
    shutil.copytree(source, target)
    for path in (target, *target.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return target


def record(root: Path, contract: Contract, rows: int = 5, **options) -> None:
    skews = {stream.name: 0.001 for stream in contract.alignment}
    with DatasetWriter(root, contract, **options) as writer:
        writer.begin_episode("recorded after the annotation")
        for index in range(rows):
            writer.add_frame(frame(index, 9, contract, skew_s=skews))
        writer.finish_episode({"state": {"used": rows}})


def spoken(root: Path, key: str) -> list:
    dataset = Dataset(root)
    return [said for k in range(len(dataset.episodes)) for said in dataset.episode(k).columns[key]]


@pytest.mark.representatives(1)
@needs_golden
@pytest.mark.parametrize("merge_files", [0, 2])
def test_nothing_is_said_yet_in_what_follows_an_annotation(tmp_path, merge_files):
    source = GOLDEN / "annotated"
    root = copied(source, tmp_path / "set")
    contract = Dataset(root).contract
    for _ in range(2):
        record(root, contract, merge_files=merge_files)
    assert check(root) == check(source)
    keys = ("language_persistent", "language_events")
    assert any(spoken(source, key) for key in keys)
    for key in keys:
        assert spoken(root, key) == [*spoken(source, key), *[[]] * 10]
    kinds = {pq.read_schema(path).field(keys[1]).type for path in root.glob("data/*/*.parquet")}
    assert len(kinds) == 1


def test_an_episode_that_a_kill_left_is_recovered_into_an_annotated_set(tmp_path):
    root = with_language(numbered(tmp_path / "set", (4, 3)), tmp_path / "annotated")
    contract = Dataset(root).contract
    writer = DatasetWriter(root, contract)
    writer.begin_episode("cut short")
    for index in range(5):
        writer.add_frame(frame(index, 9, contract))
    writer.close()
    record(root, contract)
    said = spoken(root, LANGUAGE)
    assert said == [[{"role": "user", "content": "pick"}]] * 7 + [[]] * (len(said) - 7)
    assert len(said) in (12, 17)
    assert not [line for line in check(root) if "ERROR" in line and "skew" not in line]


def test_a_column_that_was_declared_and_never_written_is_found_before_recording(tmp_path):
    root = with_language(numbered(tmp_path / "set", (4, 3)), tmp_path / "annotated")
    contract = Dataset(root).contract
    for path in root.glob("data/*/*.parquet"):
        pq.write_table(pq.ParquetFile(path).read().drop_columns([LANGUAGE]), path)
    with pytest.raises(DatasetError, match="annotate it again"):
        DatasetWriter(root, contract)


@needs_golden
def test_the_codec_is_named_as_it_is_typed(tmp_path):
    root = copied(GOLDEN / "plain", tmp_path / "set")
    contract = dataclasses.replace(
        Dataset(GOLDEN / "annotated").contract,
        cameras=(Camera("front", 96, 128), Camera("wrist", 96, 128)),
    )
    with pytest.raises(DatasetError, match="set codec to libsvtav1"):
        DatasetWriter(root, contract, adopt=True)
    DatasetWriter(root, contract, adopt=True, codec="libsvtav1").close()


@needs_golden
def test_what_armlet_does_not_record_needs_a_new_dataset(tmp_path):
    root = copied(GOLDEN / "depth", tmp_path / "set")
    contract = Dataset(GOLDEN / "annotated").contract
    with pytest.raises(DatasetError) as refused:
        DatasetWriter(root, contract, adopt=True, codec="libsvtav1")
    line = next(x for x in str(refused.value).splitlines() if "feature observation.images" in x)
    assert "front_depth" in line and "armlet records no such column" in line


def as_lerobot_stores_it(path: Path) -> None:
    """Least and greatest values of integers are floats in what LeRobot 0.6 appends."""
    table = pq.ParquetFile(path).read()
    for name in ("stats/armlet.stamp_ns/min", "stats/armlet.stamp_ns/max"):
        place = table.column_names.index(name)
        table = table.set_column(place, name, table[name].cast(pa.list_(pa.float64()), safe=False))
    pq.write_table(table, path)


def test_stamps_survive_an_edit_after_lerobot_resumed(tmp_path):
    root = numbered(tmp_path / "set", (4, 3, 5))
    files = sorted(root.glob("meta/episodes/*/*.parquet"))
    before = [e.stats["armlet.stamp_ns"]["min"] for e in tables.read_episodes(root)]
    as_lerobot_stores_it(files[-1])
    compact(root, tmp_path / "compact")
    merge([root, tmp_path / "compact"], tmp_path / "merged")
    edits.delete(root, [0])
    for edited, kept in ((root, before[1:]), (tmp_path / "compact", before)):
        stored = [e.stats["armlet.stamp_ns"]["min"] for e in tables.read_episodes(edited)]
        assert [int(x[0]) for x in stored] == [int(x[0]) for x in kept]
    assert len(tables.read_episodes(tmp_path / "merged")) == 6


def test_whole_floats_become_integers_and_others_make_all_floats():
    big = 1_700_000_000_000_000_001
    integers = pa.table({"x": [[big]]})
    whole, broken = pa.table({"x": [[3.0]]}), pa.table({"x": [[0.5]]})
    assert tables.joined([integers, whole])["x"].to_pylist() == [[big], [3]]
    assert tables.joined([whole, integers, broken])["x"].to_pylist() == [[3.0], [float(big)], [0.5]]
    with pytest.raises(DatasetError, match="different columns"):
        tables.joined([integers, pa.table({"x": [["word"]]})])
