"""armlet dataset check, stats, view, compact, convert, repair as commands: output and exit code."""

import argparse
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "datasets"))
from made_episodes import made
from test_lint import recorded

from armlet.cli.data import dataset as command
from armlet.datasets import Dataset, check
from armlet.datasets.format import layout, tables


def run(*words):
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers(required=True))
    args = parser.parse_args(["dataset", *map(str, words)])
    return args.run(args)


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    return recorded(tmp_path_factory.mktemp("cli") / "sound", episodes=2)


@pytest.fixture
def root(sound, tmp_path):
    return shutil.copytree(sound, tmp_path / "set")


def edit(path, change):
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def forget_std(root):
    key = "observation.images.front"
    edit(root / layout.STATS, lambda d: d[key].update(std=[[[5e-4]]] * 3))
    for path in sorted((root / layout.EPISODES).rglob("*.parquet")):
        table = pq.read_table(path, partitioning=None)
        place = table.column_names.index(f"stats/{key}/std")
        wrong = [[[[5e-4]]] * 3] * table.num_rows
        column = pa.array(wrong, table.schema[place].type)
        pq.write_table(table.set_column(place, table.schema[place], column), path)


def test_check_of_a_good_dataset(sound, capsys):
    assert run("check", sound, "--strict") == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("state follows action by, ms: shoulder_pan 1")
    assert said[1] == f"{sound}: nothing wrong"


def test_warnings_fail_only_with_strict(root, capsys):
    forget_std(root)
    assert run("check", root) == 0
    said = capsys.readouterr().out
    assert "WARN  observation.images.front: std of its pictures is stored as 0.0005" in said
    assert "armlet dataset stats --write" in said
    assert "0 errors, 1 warnings" in said
    assert run("check", root, "--strict", "--no-video") == 1


def test_errors_fail_and_json_is_json(root, capsys):
    (root / "videos/observation.images.wrist/chunk-000/file-001.mp4").unlink()
    assert run("check", root, "--json") == 1
    report = json.loads(capsys.readouterr().out)
    assert report["errors"] == 1
    assert report["findings"][0]["severity"] == "error"
    assert "file-001.mp4 is absent" in report["findings"][0]["found"]
    assert report["lag_ms"]["gripper.pos"] == pytest.approx(133, abs=10)


def test_stats_are_compared_and_corrected(root, capsys):
    assert run("stats", root) == 0
    assert "statistics are those of the data" in capsys.readouterr().out
    good = Dataset(root).statistics
    forget_std(root)
    edit(root / layout.STATS, lambda d: d["action"].update(mean=[0.0] * 6))
    assert run("stats", root) == 1
    said = capsys.readouterr().out
    assert "episode 1 observation.images.front: std[0] is stored as 0.0005" in said
    assert "action: mean[" in said
    assert "--write stores the right ones" in said
    assert run("stats", root, "--write") == 0
    capsys.readouterr()
    assert run("stats", root) == 0
    assert run("check", root, "--strict") == 0
    for key, found in Dataset(root).statistics.items():
        for name, value in found.items():
            slack = 0.03 if key.startswith("observation.images") else 1e-12
            if name.startswith("q"):  # written of all rows, not as the mean of the episodes'
                if key in (*layout.COUNTERS, layout.STAMP):
                    continue
                slack = max(slack, 0.05 * float(np.max(found["max"] - found["min"])))
            assert np.allclose(value, good[key][name], rtol=1e-9, atol=slack), (key, name)


def test_stats_of_v2_are_corrected_too(tmp_path, capsys):
    root = made(tmp_path / "set", version="v2.1")
    lines = [json.loads(line) for line in (root / layout.STATS_LINES).read_text().splitlines()]
    lines[1]["stats"]["action"]["std"] = [9.0] * 6
    (root / layout.STATS_LINES).write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert run("stats", root, "--no-video") == 1
    assert "episode 1 action: std[0] is stored as 9" in capsys.readouterr().out
    assert run("stats", root, "--write") == 0
    assert run("stats", root) == 0
    assert check(root) == []


def test_lacking_quantiles_are_added_and_the_rest_stays(root, tmp_path, capsys):
    """As after LeRobot's own conversion from v2.1."""
    mean = tables.read_episodes(root)[1].stats["observation.images.front"]["mean"]
    for path in sorted((root / layout.EPISODES).rglob("*.parquet")):
        table = pq.read_table(path, partitioning=None)
        lacking = [n for n in table.column_names if n.startswith("stats/") and "/q" in n]
        pq.write_table(table.drop_columns(lacking), path)
    assert run("stats", root, "--write") == 0
    assert "q01, q10, q50, q90, q99 are not stored" in capsys.readouterr().out
    assert run("stats", root) == 0
    stored = tables.read_episodes(root)[1].stats["observation.images.front"]
    assert np.array_equal(stored["mean"], mean)
    assert stored["q01"].shape == (3, 1, 1)


def test_view_writes_a_page(root, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    assert run("view", root, "--episode", 1) == 0
    page = Path(capsys.readouterr().out.strip())
    assert page == tmp_path / "set-view/index.html"
    assert "1 of 2 episodes" in page.read_text()
    assert run("view", root, "--episode", 5) == 2
    assert "episodes 0..1, not [5]" in capsys.readouterr().err


def test_view_with_rerun_says_when_it_is_not_there(root, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "rerun", None)
    assert run("view", root, "--rerun") == 1
    assert "pip install rerun-sdk" in capsys.readouterr().err


def test_compact_and_convert(root, tmp_path, capsys):
    assert run("compact", root, tmp_path / "small") == 0
    assert "2 episodes in 3 files, before 6" in capsys.readouterr().out
    assert run("convert", tmp_path / "small", tmp_path / "old") == 0
    assert "2 episodes, v2.1" in capsys.readouterr().out
    assert run("convert", tmp_path / "old", tmp_path / "new") == 0
    assert check(tmp_path / "new") == []
    assert run("compact", root, tmp_path / "small") == 2
    assert "exists already" in capsys.readouterr().err
    assert run("convert", root, tmp_path / "x", "--to", "v3.0") == 2
    assert "is v3.0 already" in capsys.readouterr().err


def test_repair_says_what_it_would_do_first(root, capsys):
    assert run("repair", root) == 0
    assert "nothing to repair" in capsys.readouterr().out
    edit(root / layout.INFO, lambda d: d.update(total_frames=3))
    assert run("repair", root) == 0
    said = capsys.readouterr().out
    assert "it counts 2 episodes, 3 frames; there are 2, 180" in said
    assert "nothing was changed; --yes does it" in said
    assert layout.load_info(root).total_frames == 3
    assert run("repair", root, "--yes") == 0
    assert layout.load_info(root).total_frames == 180
    assert run("repair", root / "nothing") == 2
    assert "is not a folder" in capsys.readouterr().err
