"""The verbs of armlet dataset that edit, merge and split, as commands: output and exit status."""

import argparse
import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "datasets"))
from edit_oracle import tree
from made_episodes import CONTRACT, made

from armlet.cli.data import dataset as command
from armlet.datasets import Dataset, DatasetWriter, check


def run(*words):
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers(required=True))
    args = parser.parse_args(["dataset", *map(str, words)])
    return args.run(args)


@pytest.fixture
def root(tmp_path):
    return made(tmp_path / "set", (5, 3, 4, 6))


def lengths(root):
    return [e.length for e in Dataset(root).episodes]


def test_a_preview_lists_files_and_changes_none(root, capsys):
    before = tree(root)
    assert run("delete", root, "1-2", "--dry-run") == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == f"{root}: delete episodes 1-2"
    assert "  writes meta/info.json" in said
    videos = "videos/observation.images.front/chunk-000"
    assert f"  renames {videos}/file-003.mp4 to {videos}/file-001.mp4" in said
    assert f"  moves to .trash: {videos}/file-002.mp4" in said
    assert said[-1] == "nothing was changed: --dry-run"
    assert tree(root) == before


def test_edits_say_what_they_did_and_how_to_take_it_back(root, capsys):
    before = tree(root)
    assert run("delete", root, "1") == 0
    said = capsys.readouterr().out.splitlines()
    assert said[-1] == (
        f"3 episodes, 15 frames; what was replaced is in {root}/.trash/0001, "
        f"`armlet dataset undo {root}` brings it back"
    )
    assert run("trim", root, "0,2", "--first", "0.1s", "--last", "1") == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].endswith("trim episodes 0,2 by 3 first and 1 last frames")
    assert "  encodes observation.images.front of episode 0 again" in said
    assert lengths(root) == [1, 4, 2]
    assert run("relabel", root, "--task", "lift", "--episodes", "0") == 0
    assert run("relabel", root, "--task", "put", "--replace", "pick") == 0
    assert Dataset(root).tasks == ["put", "fold", "lift"]
    assert run("label", root, "--success", "1", "--others", "failure") == 0
    assert json.loads((root / "meta/info.json").read_text())["features"]["next.success"] == {
        "dtype": "bool",
        "shape": [1],
        "names": None,
    }
    assert check(root) == []
    for _ in range(5):
        assert run("undo", root) == 0
    assert tree(root) == before
    capsys.readouterr()
    assert run("undo", root) == 2
    assert "no edit in .trash" in capsys.readouterr().err


def test_merge_and_split_write_new_datasets(root, tmp_path, capsys):
    out = tmp_path / "parts"
    assert run("split", root, "train=75%", "val=25%", "--seed", "3", "--output", out) == 0
    said = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in said] == [f"{out}/train", f"{out}/val"]
    assert len(lengths(out / "train")) == 3
    merged = tmp_path / "merged"
    assert run("merge", out / "train", out / "val", "--output", merged, "--dry-run") == 0
    assert not merged.exists()
    assert run("merge", out / "train", out / "val", "--output", merged) == 0
    assert sorted(lengths(merged)) == [3, 4, 5, 6]
    assert check(merged) == []
    capsys.readouterr()
    assert run("merge", merged, made(tmp_path / "old", version="v2.1"), "--output", "x") == 2
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "armlet dataset merge: these datasets cannot be one:"
    assert said[1].startswith("  version: ")
    assert "armlet dataset convert" in said[1]


def test_what_is_refused_is_said_once_with_status_2(root, capsys):
    before = tree(root)
    for words, why in (
        (("delete", root, "9"), "there are episodes 0 to 3, not 9"),
        (("delete", root, "0-3"), "these are all 4 episodes"),
        (("label", root, "--success", "1", "--failure", "0-1", "--others", "failure"), "named as"),
        (("split", root, "a=0", "a=1", "--output", "x"), "named twice"),
        (("delete", root.with_name("none"), "0"), "is not a LeRobot dataset"),
    ):
        assert run(*words) == 2
        assert why in capsys.readouterr().err
    with DatasetWriter(root, CONTRACT):
        assert run("delete", root, "0") == 2
        assert "is being written by another recorder" in capsys.readouterr().err
    assert tree(root) == before


@pytest.mark.parametrize(
    "words",
    [
        ("trim", "set", "0", "--first", "1m"),
        ("relabel", "set", "--task", "lift"),
        ("label", "set", "--others", "success"),
        ("split", "set", "train", "--output", "x"),
    ],
)
def test_wrong_arguments_end_with_status_2(words):
    with pytest.raises(SystemExit) as ended:
        run(*words)
    assert ended.value.code == 2
