"""The command line itself."""

import pytest

from armlet.cli.main import main


def test_help_names_every_command(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    for command in ("up", "demo", "emulate", "dataset", "policy", "train"):
        assert command in said


def test_up_lists_graphs_and_their_arguments(capsys):
    assert main(["up", "--list"]) == 0
    assert "sim" in capsys.readouterr().out
    assert main(["up", "record", "--show-args"]) == 0
    assert "root:=" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["up"], "name a graph"),
        (["up", "fly"], "no graph 'fly'"),
        (["up", "sim", "policy"], "name:=value"),
        (["up", "sim", "--duration", "1", "wings:=2"], "no arguments"),
        (["up", "policy", "follower_calibration:=x.json"], "checkpoint:="),
    ],
)
def test_up_says_what_is_wrong(capsys, words, message):
    assert main(words) == 2
    assert message in capsys.readouterr().err


def test_unknown_options_are_refused(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["up", "sim", "--speed", "1"])
    assert ended.value.code == 2


def test_train_on_what_is_no_dataset(capsys, tmp_path):
    given = ["--dataset", str(tmp_path), "--output", str(tmp_path / "out")]
    assert main(["train", *given]) == 2
    assert "armlet train:" in capsys.readouterr().err
