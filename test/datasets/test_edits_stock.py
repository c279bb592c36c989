"""Stock LeRobot 0.4.4 reads edited datasets: every column and picture is what it read before."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import forked_python
import numpy as np
import pytest
from offline import SHARED, has_oracle, numbered, oracle

from armlet.datasets import Dataset, check
from armlet.datasets.format import edit_journal
from armlet.datasets.transform import edits
from armlet.datasets.transform.compact import compact
from armlet.datasets.transform.merge import merge
from armlet.datasets.transform.split import split

pytestmark = [
    pytest.mark.thorough,
    pytest.mark.skipif(not has_oracle("v04"), reason="no stock LeRobot 0.4.4 (set ARMLET_ORACLE)"),
]
COUNTING = ("index", "episode_index", "frame_index", "timestamp", "task_index", "task")
SOURCES = ("own", "shared", "stock")
Columns = dict[str, np.ndarray]


@dataclass(frozen=True)
class Loaded:
    """What LeRobot read of each dataset, and the lengths of the sources' episodes."""

    items: dict[str, Columns]
    report: dict[str, object]
    lengths: dict[str, list[int]]

    def rows(self, name: str, episode: int, first: int = 0, count: int | None = None) -> Columns:
        """Rows of a source's episode."""
        begin = sum(self.lengths[name][:episode]) + first
        end = begin + (self.lengths[name][episode] - first if count is None else count)
        return {key: values[begin:end] for key, values in self.items[name].items()}

    def assert_is(self, name: str, parts: list[Columns], encoded: tuple[int, ...] = ()) -> None:
        """A dataset holds these parts, one after another, as episodes."""
        found, start = self.items[name], 0
        for k, part in enumerate(parts):
            count = len(part["index"])
            own = {key: values[start : start + count] for key, values in found.items()}
            steps = np.arange(count)
            assert own["index"].ravel().tolist() == (start + steps).tolist()
            assert set(own["episode_index"].ravel().tolist()) == {k}
            assert own["frame_index"].ravel().tolist() == steps.tolist()
            assert np.array_equal(own["timestamp"].ravel(), (steps / 30).astype(np.float32))
            for key in set(part) - set(COUNTING):
                if key.startswith("observation.images.") and k in encoded:
                    continue
                assert own[key].dtype == part[key].dtype, key
                assert np.array_equal(own[key], part[key]), (name, k, key)
            start += count
        assert start == len(found["index"])


def run(folder: Path, *arguments: str | Path) -> None:
    script = Path(__file__).with_name("edits_with_lerobot.py")
    done = forked_python.run(
        oracle("v04"), forked_python.LEROBOT, [script, SHARED, folder, *arguments]
    )
    assert done.returncode == 0, done.stdout + done.stderr


def interrupted(root: Path) -> None:
    """As a kill leaves it while files are replaced."""
    journal = edit_journal.load(root, next(root.glob(".trash/*/edit.json")).relative_to(root))
    (root / ".edit").mkdir()
    shutil.move(root / ".trash" / journal.trash / "edit.json", root / ".edit/journal.json")
    (root / ".edit/new/meta").mkdir(parents=True)
    shutil.move(root / "meta/info.json", root / ".edit/new/meta/info.json")


@pytest.fixture(scope="module")
def loaded(tmp_path_factory) -> Loaded:
    folder = tmp_path_factory.mktemp("lerobot")
    run(folder, "make")
    numbered(folder / "own", (7, 4, 9, 2, 12))
    compact(folder / "own", folder / "shared")
    lengths = {}
    for name in SOURCES:
        source = folder / name
        lengths[name] = [e.length for e in Dataset(source).episodes]
        for verb in ("delete", "trim", "encode", "relabel", "label", "half"):
            shutil.copytree(source, folder / f"{name}-{verb}")
        edits.delete(folder / f"{name}-delete", [0, 2])
        edits.trim(folder / f"{name}-trim", [0, 4], 2, 2)
        assert edits.trim(folder / f"{name}-encode", [1], 1, 0).notes
        edits.relabel(folder / f"{name}-relabel", "lift", [1])
        edits.label(folder / f"{name}-label", {0: True, 3: True}, False)
        split(source, folder / f"{name}-split", {f"{name}-a": "1,3", f"{name}-b": "0,2,4"})
        parts = [folder / f"{name}-split/{name}-{part}" for part in "ba"]
        merge(parts, folder / f"{name}-merged")
        edits.delete(folder / f"{name}-half", [1])
        interrupted(folder / f"{name}-half")
    roots = [p for p in sorted(folder.iterdir()) if p.is_dir() and p.name.startswith(SOURCES)]
    roots = [p for p in roots if not p.name.endswith("-split")]
    roots += sorted(folder.glob("*-split/*"))
    for root in roots:
        if not root.name.endswith("-half"):
            # Stock statistics of pictures are wrong before and after.
            found = [line for line in check(root) if "a bug of LeRobot 0.4" not in line]
            assert found == [], root.name
    run(folder, "load", *roots)
    items = {path.stem: dict(np.load(path)) for path in folder.glob("*.npz")}
    return Loaded(items, json.loads((folder / "report.json").read_text()), lengths)


@pytest.mark.parametrize("name", SOURCES)
def test_it_reads_what_it_read_before(loaded, name):
    rows, lengths = loaded.rows, loaded.lengths[name]
    everything = [rows(name, k) for k in range(5)]
    loaded.assert_is(f"{name}-delete", [rows(name, k) for k in (1, 3, 4)])
    trimmed = [rows(name, k, 2, lengths[k] - 4) if k in (0, 4) else rows(name, k) for k in range(5)]
    loaded.assert_is(f"{name}-trim", trimmed)
    shorter = [rows(name, k, int(k == 1)) for k in range(5)]
    loaded.assert_is(f"{name}-encode", shorter, encoded=(1,))
    loaded.assert_is(f"{name}-relabel", everything)
    loaded.assert_is(f"{name}-label", everything)
    loaded.assert_is(f"{name}-a", [rows(name, k) for k in (1, 3)])
    loaded.assert_is(f"{name}-b", [rows(name, k) for k in (0, 2, 4)])
    loaded.assert_is(f"{name}-merged", [rows(name, k) for k in (0, 2, 4, 1, 3)])


@pytest.mark.parametrize("name", SOURCES)
def test_it_reads_tasks_and_labels(loaded, name):
    relabelled = loaded.items[f"{name}-relabel"]
    begin, end = loaded.lengths[name][0], sum(loaded.lengths[name][:2])
    assert set(relabelled["task"][begin:end].tolist()) == {"lift"}
    others = np.delete(relabelled["task"], np.s_[begin:end])
    before = np.delete(loaded.items[name]["task"], np.s_[begin:end])
    assert others.tolist() == before.tolist()
    label = loaded.items[f"{name}-label"]
    assert label["next.success"].dtype == bool
    wanted = np.isin(label["episode_index"].ravel(), (0, 3))
    assert np.array_equal(label["next.success"].ravel(), wanted)
    # No policy is given the label.
    assert loaded.report[f"{name}-label"] == loaded.report[name]


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("verb", ["delete", "trim", "merged", "relabel"])
def test_it_appends_to_what_was_edited(loaded, name, verb):
    before, after = loaded.items[f"{name}-{verb}"], loaded.items[f"{name}-{verb}-appended"]
    count = len(before["index"])
    assert len(after["index"]) == count + 5
    for key, values in before.items():
        assert np.array_equal(after[key][:count], values), key
    assert set(after["task"][count:].tolist()) == {"added by LeRobot"}


@pytest.mark.parametrize("name", SOURCES)
def test_it_refuses_half_an_edit(loaded, name):
    assert loaded.report[f"{name}-half"] != ""
