"""kill -9 at every step of an edit: it is the old or the new dataset, and nothing between."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from crash_child import ACTIONS, kill_at_every_step
from edit_oracle import tree
from made_episodes import CONTRACT, QUICK, made, record

from armlet.datasets import Dataset, DatasetError, DatasetWriter, check, sweep
from armlet.datasets.transform import edits
from armlet.datasets.transform.compact import compact
from armlet.datasets.transform.repair import repair

pytestmark = [
    pytest.mark.thorough,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork"),
]


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=QUICK) as folder:
        yield Path(folder)


@dataclass(frozen=True)
class Killed:
    """An edit's dataset before, after, and the different states that kills left."""

    old: dict[str, str]
    new: dict[str, str]
    states: list[Path]


def base_of(folder: Path, form: str) -> Path:
    if form == "v2.1":
        return made(folder / "base", version="v2.1")
    if form == "own files":
        return made(folder / "base")
    compact(made(folder / "apart"), folder / "base")
    return folder / "base"


def killed(folder: Path, form: str, action: str, stride: int = 1) -> Killed:
    base = base_of(folder, form)
    if action == "undo":
        ACTIONS["delete"](base)
    old = tree(base)
    shutil.copytree(base, folder / "done")
    ACTIONS[action](folder / "done")
    (folder / "out").mkdir()
    states = kill_at_every_step(base, folder / "out", action, stride)
    return Killed(old, tree(folder / "done"), states)


@pytest.fixture(scope="module")
def all_kills() -> Iterator[Killed]:
    """Of the deletion of an episode, at every step; its states are not to be changed."""
    with tempfile.TemporaryDirectory(dir=QUICK) as name:
        yield killed(Path(name), "own files", "delete")


@pytest.fixture
def deleted(all_kills, tmp_path) -> Killed:
    """The same, its states copied."""
    copies = [shutil.copytree(state, tmp_path / state.name) for state in all_kills.states]
    return Killed(all_kills.old, all_kills.new, copies)


def without_edit(root: Path) -> dict[str, str]:
    return {name: found for name, found in tree(root).items() if not name.startswith(".edit")}


def is_half(root: Path) -> bool:
    """Whether files are being replaced: no reader takes it for a dataset meanwhile."""
    if not (root / ".edit/journal.json").exists():
        return False
    with pytest.raises(DatasetError, match=r"was interrupted .* finishes it"):
        Dataset(root)
    return True


CASES = [
    ("shared files", "delete", 2),
    ("v2.1", "delete", 2),
    ("own files", "trim", 4),
    ("own files", "relabel", 2),
    ("shared files", "label", 1),
    ("own files", "undo", 2),
]


@pytest.mark.parametrize(("form", "action", "stride"), CASES)
def test_a_kill_leaves_the_old_or_the_new_dataset(tmp_path, form, action, stride):
    assert_old_or_new(killed(tmp_path, form, action, stride), action)


def test_a_kill_at_every_step_leaves_the_old_or_the_new_dataset(deleted):
    assert_old_or_new(deleted, "delete")


def assert_old_or_new(found: Killed, action: str) -> None:
    assert len(found.states) > 10
    ends = []
    for root in found.states:
        half = is_half(root)
        if half:
            # LeRobot goes by info.json, and it is the last file to come.
            there = without_edit(root)
            assert "meta/info.json" not in there or there in (found.old, found.new)
        else:
            assert without_edit(root) in (found.old, found.new)
            assert len(Dataset(root).episodes) > 1
        said = repair(root, yes=True)
        assert tree(root) == (found.new if half else without_edit(root))
        assert not (root / ".edit").exists()
        assert check(root) == []
        assert repair(root, yes=True) == []
        assert any("finished an edit" in line for line in said) is half
        ends.append(tree(root) == found.new)
        if ends[-1] and action != "undo":
            edits.undo(root)
            assert tree(root) == found.old
    assert ends == sorted(ends)
    assert set(ends) == {False, True}


def test_killed_while_an_edit_is_finished(tmp_path, deleted):
    half = [root for root in deleted.states if (root / ".edit/journal.json").exists()]
    assert len(half) > 5
    for root in (half[0], half[len(half) // 2]):
        out = tmp_path / f"again-{root.name}"
        out.mkdir()
        states = kill_at_every_step(root, out, "sweep", 3)
        assert len(states) > 3
        for state in states:
            sweep(state)
            assert tree(state) == deleted.new
            edits.undo(state)
            assert tree(state) == deleted.old


def test_the_next_edit_and_the_recorder_finish_what_a_kill_left(deleted):
    counts = set()
    for number, root in enumerate(deleted.states[::6]):
        half = (root / ".edit/journal.json").exists()
        before = 2 if half or without_edit(root) == deleted.new else 3
        counts.add((half, before))
        if number % 2:
            done = edits.relabel(root, "lift", [0])
            assert (done.episodes, Dataset(root).episode(0).tasks[0]) == (before, "lift")
        else:
            with DatasetWriter(root, CONTRACT) as writer:
                assert writer.episodes == before
                record(writer, 2)
            assert len(Dataset(root).episodes) == before + 1
        assert check(root) == []
    assert (True, 2) in counts
    assert (False, 3) in counts


def test_a_preview_of_a_repair_names_the_files_of_an_interrupted_edit(deleted):
    begun = [root for root in deleted.states if (root / ".edit").exists()]
    half = next(root for root in begun if (root / ".edit/journal.json").exists())
    before = tree(half)
    said = repair(half, yes=False)
    assert said[0] == "finish an edit that was interrupted: delete episodes 1"
    assert "  writes meta/info.json" in said
    assert tree(half) == before
    early = begun[0]
    assert not (early / ".edit/journal.json").exists()
    assert any(".edit" in line for line in check(early))
    repair(early, yes=True)
    assert check(early) == []
