"""One value that is not finite spoils every number computed from it: each verb names its row."""

import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from edit_oracle import tree
from made_episodes import CONTRACT, made

from armlet.cli.main import main
from armlet.datasets import Dataset, DatasetError
from armlet.datasets.check import integrity, recompute_stats
from armlet.datasets.transform.bind import bind
from armlet.datasets.transform.convert import convert
from armlet.datasets.transform.edits import delete, trim
from armlet.findings import Code


def poison(root, key, value, row=2, episode=1):
    """Write a value into the first element of a row."""
    (path,) = (root / "data").rglob(f"*{episode:03d}.parquet")
    table = pq.ParquetFile(path).read()
    values = table[key].to_pylist()
    values[row][0] = value
    column = pa.array(values, table.schema.field(key).type)
    pq.write_table(table.set_column(table.column_names.index(key), key, column), path)
    return root


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finite")
    return {version: made(folder / version, version=version) for version in ("v2.1", "v3.0")}


@pytest.fixture
def root(recorded, tmp_path):
    return shutil.copytree(recorded["v3.0"], tmp_path / "data")


VALUES = {"NaN": np.nan, "infinity": -np.inf}
SAID = "non-finite values in row 2"


@pytest.mark.parametrize("key", ["action", "observation.state"])
@pytest.mark.parametrize("value", VALUES)
def test_a_contract_is_not_given_to_them(root, key, value, capsys):
    before = tree(poison(root, key, VALUES[value]))
    found = bind(root, CONTRACT)
    assert [one.code for one in found.findings] == [Code.DATASET_VALUE_NOT_FINITE]
    assert f"{key.rpartition('.')[2]} of episode 1" in found.findings[0].subject
    assert SAID in str(found.findings[0].found) and not found.ok
    assert tree(root) == before


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("words", [("stats",), ("stats", "--write")])
def test_statistics_of_them_are_not_said_to_agree(root, value, words, capsys):
    before = tree(poison(root, "action", VALUES[value]))
    assert main(["dataset", words[0], str(root), "--no-video", *words[1:]]) == 2
    assert f"episode 1: action has {SAID}" in capsys.readouterr().err
    assert tree(root) == before


def test_a_copy_whose_statistics_would_be_none_is_not_written(recorded, tmp_path):
    root = poison(shutil.copytree(recorded["v2.1"], tmp_path / "data"), "action", np.nan)
    with pytest.raises(DatasetError, match=f"episode 1: action has {SAID}.*armlet dataset delete"):
        convert(root, tmp_path / "copy", "v3.0")
    assert not (tmp_path / "copy").exists()


def test_they_can_be_taken_out(root):
    poison(root, "action", np.nan)
    trim(root, [1], first=0, last=1)
    assert integrity.problems(root) == []
    assert recompute_stats.recount(root, pictures=False).differences == []
    poison(root, "action", np.nan, row=0, episode=2)
    delete(root, [2])
    assert integrity.problems(root) == []


def test_rows_that_are_trimmed_may_not_keep_one(root):
    before = tree(poison(root, "action", np.nan, row=0))
    with pytest.raises(DatasetError, match="action has non-finite values in row 0"):
        trim(root, [1], first=0, last=1)
    assert tree(root) == before


def test_an_episode_says_so_itself(root):
    poison(root, "observation.state", np.inf)
    dataset = Dataset(root)
    dataset.episode(0).require_finite()
    with pytest.raises(DatasetError, match=r"episode 1: observation\.state has non-finite"):
        dataset.episode(1).require_finite()
