"""v2.1 and v3.0, both ways: rows bit for bit, pictures as they are, loaded by both LeRobots."""

import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_episodes import CONTRACT, counters
from offline import has_oracle, numbered, numbers, same_rows, with_lerobot

from armlet.cli import main
from armlet.datasets import Dataset, DatasetError, DatasetWriter, check
from armlet.datasets.format import layout
from armlet.datasets.transform.compact import compact
from armlet.datasets.transform.convert import convert

LENGTHS = (6, 3, 8)
COUNT = sum(LENGTHS)
LANGUAGE = "language_events"


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return numbered(tmp_path_factory.mktemp("convert") / "v3", LENGTHS)


@pytest.fixture(scope="module")
def old(source):
    """v2.1, cut out of shared files."""
    folder = source.parent
    compact(source, folder / "compact")
    convert(folder / "compact", folder / "v2", "v2.1")
    return folder / "v2"


def with_language(root, output):
    """A copy whose rows have a column as LeRobot 0.6's annotations are: lists of records."""
    if output != root:
        shutil.copytree(root, output)
    document = json.loads((output / layout.INFO).read_text())
    document["features"][LANGUAGE] = {"dtype": "language", "shape": [1], "names": None}
    (output / layout.INFO).write_text(json.dumps(document))
    for path in output.glob("data/*/*.parquet"):
        table = pq.ParquetFile(path).read()
        said = pa.array([[{"role": "user", "content": "pick"}]] * table.num_rows)
        pq.write_table(table.append_column(LANGUAGE, said), path)
    return output


def test_a_round_trip_gives_the_same_rows_pictures_and_statistics(source, old):
    back = source.with_name("back")
    convert(old, back, "v3.0")
    for root in (old, back):
        assert check(root) == []
        assert same_rows(source, root)
        for camera in ("front", "wrist"):
            assert numbers(root, camera) == list(range(COUNT))
        assert Dataset(root).contract == CONTRACT
        assert Dataset(root).ledger(1) == {"state": {"used": 3}}
    ours, theirs = Dataset(source).statistics, Dataset(back).statistics
    assert ours.keys() == theirs.keys()
    for key, found in ours.items():
        assert found.keys() == theirs[key].keys()
        for name, value in found.items():
            slack = 0.03 if key.startswith("observation.images") and name[0] == "q" else 1e-9
            assert np.allclose(value, theirs[key][name], rtol=1e-9, atol=slack), (key, name)


def test_videos_of_an_episode_are_copied_byte_by_byte(source):
    convert(source, source.with_name("whole"), "v2.1")
    key = "observation.images.front"
    for k in range(3):
        ours = source / f"videos/{key}/chunk-000/file-{k:03d}.mp4"
        theirs = source.with_name("whole") / f"videos/chunk-000/{key}/episode_{k:06d}.mp4"
        assert ours.read_bytes() == theirs.read_bytes()


def test_the_parquet_rows_are_equal_bit_for_bit_in_both_directions(tmp_path):
    first = numbered(tmp_path / "first", (4, 2), version="v2.1")
    convert(first, tmp_path / "second", "v3.0")
    convert(tmp_path / "second", tmp_path / "third", "v2.1")
    assert same_rows(first, tmp_path / "third")
    for path in sorted((first / "data").rglob("*.parquet")):
        one = pq.ParquetFile(path).read()
        other = pq.ParquetFile(tmp_path / "third" / path.relative_to(first)).read()
        assert one.equals(other)
        assert one.schema.metadata == other.schema.metadata


def test_a_converted_dataset_is_recorded_into(old, tmp_path):
    convert(old, tmp_path / "again", "v3.0")
    with DatasetWriter(tmp_path / "again", CONTRACT) as writer:
        assert writer.repaired == []
        assert writer.episodes == 3


def test_what_makes_no_sense_is_refused(source, tmp_path):
    with pytest.raises(DatasetError, match=r"is v3.0 already"):
        convert(source, tmp_path / "out", "v3.0")
    with pytest.raises(DatasetError, match=r"one of v3.0, v2.1, found 'v4.0'"):
        convert(source, tmp_path / "out", "v4.0")
    assert list(tmp_path.iterdir()) == []


def test_language_columns_are_left_out_of_v21_and_said(source, tmp_path, capsys):
    root = with_language(source, tmp_path / "language")
    assert check(root) == []
    assert main.main(["dataset", "convert", str(root), str(tmp_path / "old")]) == 0
    assert "left out, because v2.1 has no such columns: language_events" in capsys.readouterr().out
    assert check(tmp_path / "old") == []
    assert LANGUAGE not in layout.load_info(tmp_path / "old").features
    for path in (tmp_path / "old").glob("data/*/*.parquet"):
        assert LANGUAGE not in pq.read_schema(path).names
        assert "language" not in str(pq.read_schema(path).metadata)
    assert same_rows(source, tmp_path / "old")
    assert convert(source, tmp_path / "none", "v2.1").left_out == ()


def test_language_columns_in_v21_are_an_error_whose_fix_works(source, tmp_path):
    root = tmp_path / "old"
    convert(source, root, "v2.1")
    with_language(root, root)
    (said,) = check(root)
    assert "language_events: columns of dtype 'language', which v2.1 does not have" in said
    convert(root, tmp_path / "copy", "v3.0")
    assert convert(tmp_path / "copy", tmp_path / "again", "v2.1").left_out == (LANGUAGE,)
    assert check(tmp_path / "again") == []


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("oracle", "version", "other"), [("v04", "v3.0", "v2.1"), ("v03", "v2.1", "v3.0")]
)
def test_stock_lerobot_loads_it_and_we_convert_its_own(
    source, old, tmp_path, oracle, version, other
):
    if not has_oracle(oracle):
        pytest.skip(f"no stock LeRobot {oracle} (set ARMLET_ORACLE)")
    root = tmp_path / "converted"
    convert(old if version == "v3.0" else source, root, version)
    with_lerobot(oracle, tmp_path, root)
    loaded = dict(np.load(tmp_path / "converted.npz"))
    dataset = Dataset(source)
    states = np.concatenate([dataset.episode(k).state for k in range(3)])
    assert np.array_equal(loaded["observation.state"], states)
    for camera in CONTRACT.cameras:
        assert counters(loaded[f"observation.images.{camera.name}"]) == list(range(COUNT))
    stock = tmp_path / "stock"
    convert(stock, tmp_path / "there", other)
    convert(tmp_path / "there", tmp_path / "back", version)
    assert same_rows(stock, tmp_path / "back")
    for name in ("there", "back"):
        assert numbers(tmp_path / name, "front") == list(range(15))
        assert not [line for line in check(tmp_path / name) if "bug of LeRobot" not in line]
