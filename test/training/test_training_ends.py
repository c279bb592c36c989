"""A training that is stopped, killed or cannot go on: what it leaves, and how it goes on."""

import contextlib
import csv
import dataclasses
import errno
import math
import multiprocessing
import os
import signal

import numpy as np
import pytest
from safetensors.torch import load_file

torch = pytest.importorskip("torch", reason="the policy extra is not installed")

from test_training import SEVERAL, TINY, files_of, record  # noqa: E402

from armlet.cli.graph import train as command  # noqa: E402
from armlet.datasets import Dataset  # noqa: E402
from armlet.policies import Act, load_policy  # noqa: E402
from armlet.training import Loading, Source, TrainingError, train  # noqa: E402
from armlet.training import run as running  # noqa: E402
from armlet.training import trainer as training  # noqa: E402
from armlet.training.state import folder_of, place_of, read_state  # noqa: E402


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return record(tmp_path_factory.mktemp("ends") / "set")


@pytest.fixture(scope="module")
def whole(root, tmp_path_factory):
    """A training of SEVERAL steps that nothing interrupts."""
    output = tmp_path_factory.mktemp("whole") / "whole"
    train(Dataset(root), output, SEVERAL, lambda _: None)
    return output


def rows_of(output):
    with (folder_of(output) / "curve.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    "workers", [(0, 2, 0), pytest.param((2, 2, 2), marks=pytest.mark.thorough)]
)
@pytest.mark.thorough
def test_a_resumed_training_is_the_uninterrupted_one_whoever_decodes(
    root, whole, tmp_path, workers
):
    output = tmp_path / "parts"
    for number, (end, count) in enumerate(zip((2, 5, 7), workers, strict=True)):
        train(
            Dataset(root),
            output,
            SEVERAL,
            lambda _: None,
            lambda step, *_, end=end: step < end,
            resume=number > 0,
            loading=Loading(count),
        )
    assert files_of(output) == files_of(whole)


@pytest.mark.thorough
@pytest.mark.timeout(900)
def test_twenty_interruptions_at_random_steps_change_no_bit(root, tmp_path):
    """By killing it between two savings, and by stopping it; decoded by 0, 1 and 2 processes.

    Most are in the middle of an epoch, which has four steps and a part of a fifth.
    """
    settings = dataclasses.replace(TINY, steps=60, warmup_steps=3)
    train(Dataset(root), tmp_path / "whole", settings, lambda _: None)
    random = np.random.default_rng(0)
    ends = sorted(random.choice(np.arange(2, 60), 20, replace=False).tolist())
    output = tmp_path / "parts"
    for number, end in enumerate([*ends, 60]):

        def proceed(step, *_, end=end, number=number):
            if step == end and number % 2 and end != 60:
                raise SystemExit  # killed: nothing is saved
            return step < end

        with contextlib.suppress(SystemExit):
            train(
                Dataset(root),
                output,
                settings,
                lambda _: None,
                proceed,
                resume=number > 0,
                loading=Loading(number % 3),
                save_every=2,
            )
    assert files_of(output) == files_of(tmp_path / "whole")


@pytest.mark.thorough
def test_a_dead_worker_ends_it_with_a_line_and_it_goes_on_from_there(root, whole, tmp_path):
    output = tmp_path / "killed"

    def proceed(step, *_):
        for worker in multiprocessing.active_children():
            os.kill(worker.pid, signal.SIGKILL)
        return True

    with pytest.raises(TrainingError, match=r"was killed.*fewer --workers.*saved") as raised:
        train(
            Dataset(root), output, SEVERAL, lambda _: None, proceed, loading=Loading(1, cache_mb=0)
        )
    assert "\n" not in str(raised.value)
    assert 0 < read_state(place_of(output)).step < SEVERAL.steps
    assert load_policy(output).config.chunk_size == TINY.chunk_size
    train(Dataset(root), output, SEVERAL, lambda _: None, resume=True)
    assert files_of(output) == files_of(whole)


def test_pictures_that_cannot_be_decoded_end_it_with_what_was_trained(
    root, whole, tmp_path, monkeypatch
):
    output = tmp_path / "checkpoint"
    images, broken = Dataset.images, []

    def damaged(dataset, *more):
        if broken:
            raise OSError(errno.EIO, "Input/output error")
        return images(dataset, *more)

    monkeypatch.setattr(Dataset, "images", damaged)
    with pytest.raises(
        TrainingError, match=r"Input/output error; saved .*trained for 2 of 7 steps"
    ):
        train(
            Dataset(root),
            output,
            SEVERAL,
            lambda _: None,
            lambda step, *_: step < 2 or not broken.append(step),
            loading=Loading(cache_mb=0),
        )
    broken.clear()
    train(Dataset(root), output, SEVERAL, lambda _: None, resume=True)
    assert files_of(output) == files_of(whole)


def test_a_loss_that_is_no_number_is_not_learned_from(root, tmp_path, monkeypatch, capsys):
    """The weights that are saved are those of the step before."""
    stopped, output = tmp_path / "stopped", tmp_path / "diverged"
    train(Dataset(root), stopped, SEVERAL, lambda _: None, lambda step, *_: step < 3)
    compute_loss, steps = Act.compute_loss, []

    def diverging(model, batch, rule, *more):
        loss = compute_loss(model, batch, rule, *more)
        steps.append(model.training)
        return dataclasses.replace(loss, total=loss.total * math.nan) if sum(steps) == 4 else loss

    monkeypatch.setattr(Act, "compute_loss", diverging)
    assert command._train([Source(Dataset(root))], output, SEVERAL) == 1
    said = capsys.readouterr().err
    assert "the loss of step 4 is nan" in said and "lower --learning-rate" in said
    assert said.count("\n") == 1
    found, expected = files_of(output), files_of(stopped)
    # Errors that were not measured of these weights are not stated.
    assert b"Not measured" in found.pop("README.md") and expected.pop("README.md")
    assert found == expected


def test_the_curve_has_a_row_for_each_report_and_best_is_its_smallest_held_out_error(
    root, tmp_path, monkeypatch
):
    monkeypatch.setattr(training, "_EVALUATED_EVERY", 2)
    output, errors = tmp_path / "checkpoint", iter((0.5, 0.3, 0.4, 0.6, 0.35))
    looked = training.HeldOut.errors
    saved = {}

    def errors_of(held_out, model):
        _, joints = looked(held_out, model)
        error = next(errors)
        saved[error] = model.action_head.weight.detach().clone()
        return error, joints

    monkeypatch.setattr(training.HeldOut, "errors", errors_of)
    # The report of a training that is stopped is none that an uninterrupted one makes.
    train(Dataset(root), output, SEVERAL, lambda _: None, lambda step, *_: step < 5)
    train(Dataset(root), output, SEVERAL, lambda _: None, resume=True)
    rows = rows_of(output)
    assert [row["step"] for row in rows] == ["2", "4", "5", "6", "7"]
    assert [float(row["held_out"]) for row in rows] == [0.5, 0.3, 0.4, 0.6, 0.35]
    assert {"held_out.pan.pos", "held_out.gripper.pos", "learning_rate", "error"} < set(rows[0])
    assert all(float(row["held_out.pan.pos"]) > 0 for row in rows)
    best = load_file(folder_of(output) / "best" / "model.safetensors")
    assert torch.equal(best["model.action_head.weight"], saved[0.3])


def test_the_folder_of_a_training_that_has_ended_is_left_alone(root, tmp_path):
    folder = folder_of(tmp_path / "checkpoint")
    folder.mkdir()
    (folder / "curve.csv").write_text("mine")
    with pytest.raises(FileExistsError, match="has ended, or was killed before"):
        train(Dataset(root), tmp_path / "checkpoint", SEVERAL, print)
    assert (folder / "curve.csv").read_text() == "mine"


@pytest.mark.thorough
def test_rows_of_steps_that_are_trained_again_are_not_there_twice(root, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "_EVALUATED_EVERY", 1)
    output = tmp_path / "checkpoint"

    def killed(step, *_):
        if step == 4:
            raise SystemExit
        return True

    with pytest.raises(SystemExit):
        train(Dataset(root), output, SEVERAL, lambda _: None, killed, save_every=2)
    train(Dataset(root), output, SEVERAL, lambda _: None, resume=True)
    assert [int(row["step"]) for row in rows_of(output)] == [*range(1, 8)]


def test_without_space_nothing_begins_and_later_the_training_goes_on(root, tmp_path, monkeypatch):
    usage = running.shutil.disk_usage
    full = []
    monkeypatch.setattr(
        running.shutil,
        "disk_usage",
        lambda place: usage(place)._replace(free=1000) if full else usage(place),
    )
    full.append(True)
    with pytest.raises(OSError, match="MB free to save the training"):
        train(Dataset(root), tmp_path / "checkpoint", SEVERAL, print)
    full.clear()
    said = []

    def proceed(step, *_):
        full[:] = [True] * (step == 2)
        return True

    output = tmp_path / "other"
    train(Dataset(root), output, SEVERAL, lambda _: None, proceed, save_every=2, say=said.append)
    (line,) = said
    assert line.startswith("not saved after step 2, the training goes on: ")
    assert load_policy(output).config.chunk_size == TINY.chunk_size
