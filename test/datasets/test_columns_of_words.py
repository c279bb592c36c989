"""Columns of text and language beside those of numbers: read, and compared with info.json."""

import json
import shutil

import pyarrow.parquet as pq
import pytest
from offline import numbered
from test_convert import LANGUAGE, with_language

from armlet.datasets import Dataset, DatasetError, check
from armlet.datasets.format import layout

LENGTHS = (4, 3)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return numbered(tmp_path_factory.mktemp("words") / "v3", LENGTHS)


def declare(root, key, dtype):
    """Declare a column in info.json with another dtype; None: not at all."""
    document = json.loads((root / layout.INFO).read_text())
    if dtype is None:
        del document["features"][key]
    else:
        shape = document["features"].get(key, {"shape": [1]})["shape"]
        document["features"][key] = {"dtype": dtype, "shape": shape, "names": None}
    (root / layout.INFO).write_text(json.dumps(document))


def without(root, key):
    for path in root.glob("data/*/*.parquet"):
        pq.write_table(pq.ParquetFile(path).read().drop_columns([key]), path)


def test_an_episode_with_annotations_is_read(source, tmp_path):
    dataset = Dataset(with_language(source, tmp_path / "annotated"))
    said = dataset.episode(1).columns[LANGUAGE]
    assert said.shape == (3,)
    assert said[0] == [{"role": "user", "content": "pick"}]


def test_a_column_that_is_declared_and_not_there(source, tmp_path):
    root = with_language(source, tmp_path / "set")
    without(root, LANGUAGE)
    assert any(f"no column {LANGUAGE}, which info.json declares" in line for line in check(root))


def test_a_column_that_is_there_and_not_declared(source, tmp_path):
    root = with_language(source, tmp_path / "set")
    assert not [line for line in check(root) if "column" in line]
    declare(root, LANGUAGE, None)
    assert any(f"column {LANGUAGE} is not declared in info.json" in line for line in check(root))


def test_a_column_of_records_is_no_text(source, tmp_path):
    root = with_language(source, tmp_path / "set")
    declare(root, LANGUAGE, "string")
    said = next(line for line in check(root) if LANGUAGE in line)
    assert "expected string values, found list<element: struct<" in said


@pytest.mark.parametrize("key", ["observation.state", "action", "timestamp"])
@pytest.mark.parametrize("dtype", ["string", "language", "video"])
def test_what_must_be_numbers_is_refused_as_words(source, tmp_path, key, dtype):
    root = shutil.copytree(source, tmp_path / "set")
    declare(root, key, dtype)
    with pytest.raises(DatasetError, match=rf"features.{key}\b"):
        Dataset(root)


def test_a_lacking_task_is_no_matter_of_totals(source, tmp_path):
    """Repair, which writes totals, refuses where a task is lacking."""
    root = shutil.copytree(source, tmp_path / "set")
    table = pq.read_table(root / layout.TASKS)
    assert table.num_rows == 2
    pq.write_table(table.slice(0, 1), root / layout.TASKS)
    said = check(root)
    assert any("task 'fold' is not in" in line for line in said)
    assert not any("tasks, the metadata has" in line for line in said)
