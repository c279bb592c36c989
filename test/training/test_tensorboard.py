"""The curve for TensorBoard: the CSV's numbers, once each however often the training goes on."""

import csv
import subprocess
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the policy extra is not installed")

from test_training import SEVERAL, command_line, record  # noqa: E402

from armlet import missing  # noqa: E402
from armlet.cli.main import main  # noqa: E402
from armlet.datasets import Dataset  # noqa: E402
from armlet.training import train  # noqa: E402
from armlet.training import trainer as training  # noqa: E402
from armlet.training.state import folder_of  # noqa: E402


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return record(tmp_path_factory.mktemp("events") / "set")


def rows_of(output):
    with (folder_of(output) / "curve.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def shown(output):
    """By name the steps and numbers that TensorBoard shows."""
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="no tensorboard"
    )
    events = accumulator.EventAccumulator(str(folder_of(output) / "tensorboard"))
    events.Reload()
    return {
        name: [(event.step, event.value) for event in events.Scalars(name)]
        for name in events.Tags()["scalars"]
    }


def in_the_file(output):
    rows = rows_of(output)
    names = [name for name in rows[0] if name != "step"]
    return {
        name: [(int(row["step"]), np.float32(row[name]).item()) for row in rows] for name in names
    }


@pytest.mark.parametrize("from_the_begin", [True, False])
def test_tensorboard_shows_the_files_rows_each_once(root, tmp_path, monkeypatch, from_the_begin):
    """Killed after a report that is made again, or asked for only when it goes on."""
    pytest.importorskip("tensorboard", reason="no tensorboard")
    monkeypatch.setattr(training, "_EVALUATED_EVERY", 1)
    output = tmp_path / "checkpoint"

    def killed(step, *_):
        if step == 5:
            raise SystemExit
        return True

    with pytest.raises(SystemExit):
        train(
            Dataset(root),
            output,
            SEVERAL,
            lambda _: None,
            killed,
            save_every=3,
            tensorboard=from_the_begin,
        )
    train(Dataset(root), output, SEVERAL, lambda _: None, resume=True, tensorboard=True)
    found = shown(output)
    assert [step for step, _ in found["error"]] == [*range(1, SEVERAL.steps + 1)]
    assert found == in_the_file(output)


def test_without_the_package_nothing_begins_and_one_line_says_what_to_install(
    root, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(missing.importlib.util, "find_spec", lambda name: None)
    output = tmp_path / "checkpoint"
    options = ("--dataset", str(root), "--output", str(output), "--tensorboard")
    assert main(["train", *options]) == 1
    said = capsys.readouterr().err
    assert "pip install 'armlet[tensorboard]'" in said and said.count("\n") == 1
    assert not output.exists() and not folder_of(output).exists()
    with pytest.raises(ModuleNotFoundError):
        command_line(*options)


@pytest.mark.thorough
def test_who_does_not_ask_for_it_does_not_load_it():
    script = "import sys, armlet.training; assert not any('tensorboard' in m for m in sys.modules)"
    script = script.replace("'tensorboard' in m", "m.startswith('tensorboard')")
    subprocess.run([sys.executable, "-c", script], check=True)
