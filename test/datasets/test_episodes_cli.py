"""armlet dataset info / check."""

import argparse
import json
import os

import pytest
from made_episodes import CONTRACT, made

from armlet.cli.data import dataset as command
from armlet.datasets.format import layout


def run(*words):
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers(required=True))
    args = parser.parse_args(["dataset", *map(str, words)])
    return args.run(args)


@pytest.fixture
def root(tmp_path):
    return made(tmp_path / "set")


def test_info_as_json(root, capsys):
    assert run("info", root, "--json") == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["version"] == "v3.0"
    assert (summary["episodes"], summary["frames"], summary["duration_s"]) == (3, 12, 0.4)
    assert summary["cameras"]["wrist"] == {"height": 32, "width": 48, "codec": "h264"}
    assert summary["tasks"] == ["pick", "fold"]
    assert summary["contract"] == CONTRACT.signature()
    assert summary["joint_units"] == "degrees"
    assert summary["problems"] == []
    assert summary["size_bytes"] > 10_000


def test_info_for_people(root, capsys):
    (root / layout.STATS).unlink()
    assert run("info", root) == 0
    text = capsys.readouterr().out
    for words in ("3, 12 frames", "front 64x48 h264", "gripper.pos", "stats.json is absent"):
        assert words in text


def test_check_answers_with_its_exit_code(root, capsys):
    (root / "videos/observation.images.wrist/chunk-000/file-002.mp4").unlink()
    assert run("check", root) == 1
    assert "file-002.mp4 is absent" in capsys.readouterr().out


def test_files_may_vanish_meanwhile(root, capsys, monkeypatch):
    size = sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
    walk = os.walk

    def with_a_recorder_at_work(top):
        (root / ".unfinished").mkdir()
        (root / ".unfinished" / "a.mp4").write_bytes(b"x" * 1000)
        for folder, folders, names in walk(top):
            (root / ".unfinished" / "a.mp4").unlink(missing_ok=True)
            yield folder, folders, [*names, "gone.mp4"]
        (root / ".unfinished").rmdir()

    monkeypatch.setattr("armlet.cli.data.dataset.os.walk", with_a_recorder_at_work)
    assert run("info", root, "--json") == 0
    assert json.loads(capsys.readouterr().out)["size_bytes"] == size


def test_what_is_no_dataset(tmp_path, capsys):
    assert run("info", tmp_path) == 2
    assert "not a LeRobot dataset" in capsys.readouterr().err
    assert run("check", tmp_path) == 2
    assert "give the folder of a dataset" in capsys.readouterr().err
    assert run("check", tmp_path / "none") == 2
    assert "there is no such folder; give the folder of a dataset" in capsys.readouterr().err
    for name in ("set", "tests"):
        (tmp_path / name / "meta").mkdir(parents=True)
        (tmp_path / name / "meta" / "info.json").touch()
    assert run("info", tmp_path) == 2
    assert f"; {tmp_path / 'set'} is one, and 1 more in it\n" in capsys.readouterr().err
