"""What grows with the number of episodes: looked up, not searched for; said where it is slow."""

import numpy as np
import pyarrow as pa
import pytest
from made_episodes import CONTRACT, made

from armlet.datasets import Dataset, DatasetError, DatasetWriter
from armlet.datasets.check import integrity
from armlet.datasets.format import edit_journal, layout, stats, tables
from armlet.datasets.format.layout import FileNumber
from armlet.datasets.record.recording import EpisodeRecorder
from armlet.datasets.record.session import OnGap, Rules
from armlet.datasets.transform.compact import compact
from armlet.datasets.transform.edits import delete, undo
from armlet.findings import Code

LENGTHS = (3,) * 20


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return made(tmp_path_factory.mktemp("many") / "data", LENGTHS)


@pytest.mark.parametrize("numbers", [[0, 0, 1, 3, 3], [3, 0, 1, 3, 0], [], [7]])
def test_rows_of_an_episode_are_found_in_any_order(numbers):
    numbers = np.array(numbers, np.int64)
    index, table = tables.EpisodeIndex(numbers), pa.table({"row": np.arange(len(numbers))})
    for episode in range(5):
        wanted = np.flatnonzero(numbers == episode)
        assert np.arange(len(numbers))[index.rows(episode)].tolist() == wanted.tolist()
        assert index.part(table, episode)["row"].to_pylist() == wanted.tolist()


def test_a_dataset_is_opened_without_its_episodes_statistics(root, monkeypatch):
    """They are most of what the metadata holds."""
    whole, bare = tables.read_episodes(root), tables.read_episodes(root, stats=False)
    assert bare == whole and len(bare) == len(LENGTHS)
    assert all(row.stats for row in whole) and not any(row.stats for row in bare)
    monkeypatch.setattr(tables, "numbers_of", None)
    assert len(Dataset(root).episodes) == len(LENGTHS)


def test_statistics_of_the_whole_come_from_the_episodes_where_stats_json_is_lost(root, monkeypatch):
    known = Dataset(root).statistics

    def absent(path):
        raise FileNotFoundError

    monkeypatch.setattr(stats, "load", absent)
    found = Dataset(root).statistics
    assert np.allclose(found["action"]["mean"], known["action"]["mean"])


def test_many_files_are_said_and_merged_ones_not(root, tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "_MANY_FILES", len(LENGTHS))
    (found,) = integrity.problems(root)
    assert found.code is Code.DATASET_FILES_MANY and found.ok
    assert "in 20 files" in str(found.found) and "armlet dataset compact" in found.fix
    said = []
    recorder = EpisodeRecorder(
        lambda: DatasetWriter(root, CONTRACT), lambda _, text: said.append(text)
    )
    recorder.open(Rules(30, OnGap.SPLIT))
    recorder.close()
    assert any("in 20 files" in text and "armlet dataset compact" in text for text in said)
    compact(root, tmp_path / "merged")
    assert integrity.problems(tmp_path / "merged") == []


def test_notes_of_many_episodes_are_those_of_each(root, tmp_path):
    folder = tmp_path / "meta/armlet"
    folder.mkdir(parents=True)
    paths = [tmp_path / layout.ledger_path(k) for k in range(4)]
    paths[0].write_text('{"ledger": {"recorder": {"part": 2}}, "damaged": {}}')
    paths[1].write_text("{")
    (tmp_path.parent / "outside.json").write_text("{}")
    paths[2].symlink_to(tmp_path.parent / "outside.json")
    notes = layout.notes_reader(tmp_path)
    assert notes(0) == layout.load_notes(tmp_path, 0) != {}
    assert notes(3) == layout.load_notes(tmp_path, 3) == {}
    for k, why in ((1, "cannot be read"), (2, "leads out of")):
        for read in (notes, lambda k: layout.load_notes(tmp_path, k)):
            with pytest.raises(DatasetError, match=why):
                read(k)
    paths[3].mkdir()
    found = layout.notes_with(tmp_path, 4, ["part", "seen"])
    assert found == {"part": [0, 3], "seen": [3]}  # of the last nobody can tell
    assert layout.notes_reader(root.parent / "nothing")(0) == {}


def test_an_edit_does_not_compare_every_episode_with_every_other(root, monkeypatch):
    compared = []
    equal = FileNumber.__eq__

    def counted(one, other):
        compared.append(one)
        return equal(one, other)

    monkeypatch.setattr(FileNumber, "__eq__", counted)
    delete(root, [0], dry_run=True)
    assert len(compared) < 15 * len(LENGTHS)


@pytest.mark.thorough
def test_an_edit_that_moves_every_file_asks_for_each_once(tmp_path, monkeypatch):
    root = made(tmp_path / "data", LENGTHS)
    asked = []
    same = edit_journal._is_same_file

    def counted(*arguments):
        asked.append(arguments)
        return same(*arguments)

    monkeypatch.setattr(edit_journal, "_is_same_file", counted)
    delete(root, [0])
    # A data file changes in the rows; videos get other names: two cameras.
    assert len(asked) <= 3 * len(LENGTHS)
    assert integrity.problems(root) == []
    undo(root)
    assert len(Dataset(root).episodes) == len(LENGTHS)
