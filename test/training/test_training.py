"""Training on a small recorded dataset: what enters a batch, what is held out, what is saved."""

import argparse
import dataclasses
import io
import json
import os
import re
import shutil
import signal
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the policy extra is not installed")

from safetensors.torch import load_file  # noqa: E402

from armlet.cli.graph import train as command  # noqa: E402
from armlet.contract import Camera, Contract  # noqa: E402
from armlet.datasets import Dataset, DatasetError, DatasetWriter, EpisodeFrame  # noqa: E402
from armlet.policies import (  # noqa: E402
    CheckpointError,
    LossRule,
    Preprocessor,
    has_unit,
    load_policy,
)
from armlet.policies.checkpoint.training_data import training_episodes  # noqa: E402
from armlet.policies.runtime import arithmetic  # noqa: E402
from armlet.training import (  # noqa: E402
    LOSS_RULES,
    POLICIES,
    PRECISIONS,
    Source,
    StateError,
    TrainingSettings,
    saving,
    train,
)
from armlet.training import trainer as training  # noqa: E402
from armlet.training.act import ActLearner  # noqa: E402
from armlet.training.learners import learner_of  # noqa: E402
from armlet.training.state import place_of, read_state  # noqa: E402

NAMES = ("pan.pos", "gripper.pos")
CONTRACT = Contract(30, (Camera("front", 32, 32),), NAMES, NAMES, joint_units="degrees")
LENGTHS = (5, 3, 4)
TINY = TrainingSettings(
    steps=2,
    batch_size=2,
    chunk_size=4,
    dim_model=16,
    dim_feedforward=16,
    n_encoder_layers=1,
    precision="float32",  # whatever the processor has
)


def record(root, contract=CONTRACT):
    """Episodes in which no two frames have the same state or action."""
    random = np.random.default_rng(0)
    with DatasetWriter(root, contract) as writer:
        for episode, length in enumerate(LENGTHS):
            writer.begin_episode("pick")
            for index in range(length):
                at = 100.0 * episode + index
                writer.add_frame(
                    EpisodeFrame(
                        state=np.array([at, -at]),
                        action=np.array([at + 0.5, -at]),
                        images={
                            camera.name: random.integers(
                                0, 256, (camera.height, camera.width, 3), np.uint8
                            )
                            for camera in contract.cameras
                        },
                        stamp_ns=10**18 + episode * 10**12 + index * 10**9 // 30,
                        skew_s={},
                    )
                )
            writer.finish_episode()
    return root


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return record(tmp_path_factory.mktemp("training") / "set")


def command_line(*options):
    """`armlet train` with these options: its status."""
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    args = parser.parse_args(["train", *options])
    return args.run(args)


def prepared(root):
    dataset = Dataset(root)
    samples = training.load_samples([dataset], [[0, 1, 2]])
    config = learner_of(TINY, samples).config
    return samples, Preprocessor.from_config(config, dataset.statistics), config


def test_a_chunk_holds_the_actions_that_follow_and_says_where_they_end(root):
    samples, preprocessor, config = prepared(root)
    rows = np.arange(sum(LENGTHS))
    batch = training.make_batch(samples, rows, samples.pictures(rows), preprocessor, config)
    chunks = preprocessor.unnormalize_action(batch["action"]).numpy()
    states = batch["observation.state"]
    assert batch["observation.images.front"].shape == (12, 3, 32, 32)
    assert torch.unique(states, dim=0).shape == states.shape
    row = 0
    for episode, length in enumerate(LENGTHS):
        for index in range(length):
            following = [min(index + i, length - 1) for i in range(TINY.chunk_size)]
            expected = [100 * episode + at + 0.5 for at in following]
            np.testing.assert_allclose(chunks[row, :, 0], expected, atol=1e-3)
            beyond = [index + i >= length for i in range(TINY.chunk_size)]
            assert batch["action_is_pad"][row].tolist() == beyond
            row += 1


@pytest.mark.parametrize("seed", range(4))
def test_no_episode_is_both_trained_on_and_held_out(root, seed):
    dataset = Dataset(root)
    settings = dataclasses.replace(TINY, seed=seed)
    parts = training.split_samples([Source(dataset)], settings)
    episodes = [set((part.states[:, 0] // 100).astype(int).tolist()) for part in parts]
    assert [len(numbers) for numbers in episodes] == [2, 1]
    assert episodes[0] | episodes[1] == {0, 1, 2}
    assert sum(len(part.states) for part in parts) == sum(LENGTHS)


@pytest.mark.thorough
def test_a_checkpoint_states_how_far_the_arm_was_behind_its_commands(tmp_path):
    commands = np.cumsum(np.random.default_rng(0).normal(0, 5, (4, 12, 2)), axis=1)
    rows = np.arange(40)
    with DatasetWriter(tmp_path / "data", CONTRACT) as writer:
        for episode, points in enumerate(commands):
            writer.begin_episode("pick")
            for row in rows:
                at = row / 4, np.arange(12)
                seen = max(row - 3, 0) / 4, np.arange(12)
                writer.add_frame(
                    EpisodeFrame(
                        state=np.array([np.interp(*seen, joint) for joint in points.T]),
                        action=np.array([np.interp(*at, joint) for joint in points.T]),
                        images={"front": np.full((32, 32, 3), row, np.uint8)},
                        stamp_ns=10**18 + episode * 10**12 + int(row) * 10**9 // 30,
                        skew_s={},
                    )
                )
            writer.finish_episode()
    train(Dataset(tmp_path / "data"), tmp_path / "checkpoint", TINY, lambda report: None)
    assert load_policy(tmp_path / "checkpoint").contract.lag.median_s == pytest.approx(0.1)


def test_a_trained_checkpoint_is_run_with_what_it_was_trained_with(root, tmp_path, monkeypatch):
    used, reports = set(), []
    make_batch = training.make_batch

    def watched(samples, rows, images, preprocessor, *more):
        used.add(preprocessor.fingerprint())
        return make_batch(samples, rows, images, preprocessor, *more)

    monkeypatch.setattr(training, "make_batch", watched)
    train(Dataset(root), tmp_path / "new" / "checkpoint", TINY, reports.append)
    policy = load_policy(tmp_path / "new" / "checkpoint")
    described = policy.preprocessor.describe()
    assert used == {described.statistics}
    assert [each.camera for each in policy.contract.detail] == [
        camera.name for camera in CONTRACT.cameras
    ]
    assert policy.contract == dataclasses.replace(
        CONTRACT, preprocessing=described, tasks=("pick",), detail=policy.contract.detail
    )
    assert policy.config.chunk_size == TINY.chunk_size
    assert [(report.step, report.steps) for report in reports] == [(2, 2)]
    assert np.isfinite(reports[0].error) and np.isfinite(reports[0].validation)


@pytest.fixture
def no_training(monkeypatch):
    def trained(*_):
        raise AssertionError("training had begun")

    monkeypatch.setattr(training, "_fit", trained)


def test_an_output_that_is_taken_is_refused_before_training(root, tmp_path, no_training):
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(FileExistsError, match="choose another"):
        train(Dataset(root), tmp_path, TINY, print)
    with pytest.raises(OSError, match="mine"):
        train(Dataset(root), tmp_path / "mine.txt" / "checkpoint", TINY, print)


def test_a_contract_that_does_not_fit_is_refused_before_training(root, tmp_path, no_training):
    copy = shutil.copytree(root, tmp_path / "set")
    other = dataclasses.replace(CONTRACT, state_names=("pan.pos",))
    other.save(copy / "meta" / "armlet_contract.json")
    with pytest.raises(CheckpointError, match="number of state names"):
        train(Dataset(copy), tmp_path / "checkpoint", TINY, print)


def test_a_dataset_without_cameras_is_refused(tmp_path, no_training):
    blind = record(tmp_path / "set", dataclasses.replace(CONTRACT, cameras=()))
    with pytest.raises(DatasetError, match="no camera"):
        train(Dataset(blind), tmp_path / "checkpoint", TINY, print)


@pytest.mark.parametrize(
    "setting",
    [
        {"steps": 0},
        {"batch_size": 0},
        {"warmup_steps": 0},
        {"chunk_size": 0},
        {"chunk_size": 45, "action_steps": 46},
        {"seed": -1},
        {"learning_rate": 0.0},
        {"learning_rate": float("nan")},
        {"weight_decay": -1.0},
        {"validation_share": 0.0},
        {"validation_share": 1.0},
    ],
)
def test_settings_nothing_can_be_trained_with(setting):
    with pytest.raises(ValueError, match=[*setting][-1]):
        TrainingSettings(**setting)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--steps", "0"), "steps must be at least 1"),
        (("--batch-size", "-1"), "batch_size must be at least 1"),
        (("--threads", "0"), "threads must be at least 1"),
        (("--seed", "-1"), "seed must not be negative"),
        (("--workers", "-1"), "workers must not be negative"),
        ((), "not a LeRobot dataset"),
    ],
)
def test_bad_options_are_one_line_and_status_2(options, message, tmp_path, capsys):
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    places = ["--dataset", str(tmp_path), "--output", str(tmp_path / "checkpoint")]
    args = parser.parse_args(["train", *places, *options])
    assert args.run(args) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_cameras_may_differ_in_size(tmp_path):
    cameras = (Camera("front", 32, 32), Camera("side", 32, 48), Camera("top", 32, 32))
    root = record(tmp_path / "set", dataclasses.replace(CONTRACT, cameras=cameras))
    assert train(Dataset(root), tmp_path / "checkpoint", TINY, lambda _: None) == TINY.steps
    inputs = json.loads((tmp_path / "checkpoint/config.json").read_text())["input_features"]
    assert inputs["observation.images.side"]["shape"] == [3, 32, 48]


def test_a_checkpoint_says_how_much_of_a_chunk_is_played(root, tmp_path):
    settings = dataclasses.replace(TINY, action_steps=3)
    train(Dataset(root), tmp_path / "checkpoint", settings, lambda _: None)
    config = load_policy(tmp_path / "checkpoint").config
    assert (config.chunk_size, config.n_action_steps) == (4, 3)


def test_a_single_step_has_a_schedule(root, tmp_path, monkeypatch):
    monkeypatch.setattr(saving, "save_checkpoint", lambda *_, **__: None)
    reports = []
    settings = dataclasses.replace(TINY, steps=1)
    train(Dataset(root), tmp_path / "checkpoint", settings, reports.append)
    assert reports[-1].step == 1


def test_the_checkpoint_records_which_episodes_were_read(root, tmp_path):
    dataset = Dataset(root)
    train(dataset, tmp_path / "checkpoint", TINY, lambda _: None)
    read = training_episodes(tmp_path / "checkpoint", len(LENGTHS))
    expected = training.split_samples([Source(dataset)], TINY)[0]
    assert read == set((expected.states[:, 0] // 100).astype(int).tolist()) and len(read) == 2


def test_what_is_trained_so_far_is_saved_when_it_is_stopped(root, tmp_path, capsys, monkeypatch):
    """Ctrl-C after the first step: a checkpoint that loads, and a status that says it."""
    step = command.ProgressLines.step

    def interrupted(lines, number, *more):
        step(lines, number, *more)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(command.ProgressLines, "step", interrupted)
    settings = dataclasses.replace(TINY, steps=9)
    before = signal.getsignal(signal.SIGINT)
    assert command._train([Source(Dataset(root))], tmp_path / "checkpoint", settings) == 130
    assert signal.getsignal(signal.SIGINT) is before
    assert load_policy(tmp_path / "checkpoint").config.chunk_size == 4
    said = capsys.readouterr().out.splitlines()
    assert said[0].endswith(": 3 episodes, 12 frames")
    assert said[1].startswith("9 steps of 2 frames.")
    assert said[2].startswith("step 1/9  error ")
    assert "held out" in said[2]
    assert said[3].startswith("stopped after 1 of 9 steps; saved ")
    assert "--resume" in said[4]
    monkeypatch.setattr(command.ProgressLines, "step", step)
    assert (
        command._train([Source(Dataset(root))], tmp_path / "checkpoint", settings, resume=True) == 0
    )
    assert load_policy(tmp_path / "checkpoint").config.chunk_size == 4


@pytest.mark.representatives(1)
@pytest.mark.parametrize("hung_up", [False, True])
def test_a_training_outlives_who_read_its_output(root, tmp_path, monkeypatch, hung_up):
    """A window that was closed, `| head`: the next line was the end, and nothing was saved."""
    reading, writing = os.pipe()
    screen = os.fdopen(writing, "w")
    monkeypatch.setattr(sys, "stdout", screen)
    settings, step = dataclasses.replace(TINY, steps=9), command.ProgressLines.step

    def closed(lines, number, *more):
        if number == 1:
            os.close(reading)
            for _ in range(2 * hung_up):
                signal.raise_signal(signal.SIGHUP)
        step(lines, number, *more)

    monkeypatch.setattr(command.ProgressLines, "step", closed)
    status = command._train([Source(Dataset(root))], tmp_path / "checkpoint", settings)
    assert status == (130 if hung_up else 0)
    assert load_policy(tmp_path / "checkpoint").config.chunk_size == 4
    screen.close()


def test_ctrl_c_while_the_pictures_are_read_says_that_nothing_is_saved(
    root, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(training, "split_samples", lambda *_: signal.raise_signal(signal.SIGINT))
    assert command._train([Source(Dataset(root))], tmp_path / "checkpoint", TINY) == 130
    assert "nothing is trained yet, and nothing saved" in capsys.readouterr().out
    assert not (tmp_path / "checkpoint").exists()


@pytest.mark.parametrize("terminal", [False, True])
def test_progress_comes_after_the_first_steps_and_then_every_so_often(terminal, capsys):
    screen = io.StringIO()
    screen.isatty = lambda: terminal
    times = iter(range(100))  # a step a second
    lines = command.ProgressLines(40, screen, lambda: float(next(times)))
    for step in range(1, 31):
        lines.step(step, 0.5)
    shown = screen.getvalue().split("\r\033[K")[1:] if terminal else capsys.readouterr().out
    shown = shown if terminal else shown.splitlines()
    seen = [line.split()[1] for line in shown]
    logged = ["5/40", "15/40", "25/40"]
    assert seen == ([f"{k}/40" for k in range(2, 31)] if terminal else logged)
    assert "step 5/40  error 0.5000  about 35 s left" in shown


@pytest.mark.parametrize(("steps", "step_s", "first"), [(4, 1, 2), (16, 1, 2), (2500, 3, 3)])
def test_a_training_that_is_short_or_slow_says_early_how_long_it_takes(
    steps, step_s, first, capsys
):
    times = iter(range(0, 100, step_s))
    lines = command.ProgressLines(steps, io.StringIO(), lambda: float(next(times)))
    for step in range(1, 4):
        lines.step(step, 0.5)
    (said,) = capsys.readouterr().out.splitlines()
    assert said.startswith(f"step {first}/{steps} ") and said.endswith(" left")


def test_the_help_has_the_defaults():
    parser = argparse.ArgumentParser()
    subparsers = parser.add_subparsers()
    command.add_parser(subparsers)
    said = " ".join(subparsers.choices["train"].format_help().split())
    usual = TrainingSettings()
    names = {name: name.upper() for name in ("steps", "batch_size", "seed")}
    for name, value in {**names, "gradient_accumulation": "N"}.items():
        option = f"--{name.replace('_', '-')} {value}"
        assert re.search(rf"{option} [^-]*\(default {getattr(usual, name)}\)", said), name


def test_the_options_offer_all_that_can_be_trained():
    subparsers = argparse.ArgumentParser().add_subparsers()
    command.add_parser(subparsers)
    offered = {action.dest: action.choices for action in subparsers.choices["train"]._actions}
    assert (offered["policy"], offered["loss_rule"]) == (POLICIES, LOSS_RULES)
    assert offered["precision"] == PRECISIONS
    assert tuple(rule.value for rule in LossRule) == LOSS_RULES


SEVERAL = dataclasses.replace(TINY, steps=7, warmup_steps=3)


def trained(root, output, ends=(SEVERAL.steps,), settings=SEVERAL):
    """Every report of a training that is stopped after those steps, each time but the last."""
    reports = []
    for count, end in enumerate(ends):
        train(
            Dataset(root),
            output,
            settings,
            reports.append,
            lambda step, *_, end=end: step < end,
            resume=count > 0,
        )
    return reports


def files_of(checkpoint):
    files = (path for path in checkpoint.rglob("*") if path.is_file())
    return {str(path.relative_to(checkpoint)): path.read_bytes() for path in files}


@pytest.mark.thorough
def test_so_many_steps_and_then_the_rest_are_all_at_once_to_the_bit(root, tmp_path):
    whole = trained(root, tmp_path / "whole")
    parts = trained(root, tmp_path / "parts", ends=(1, 4, 7))
    assert files_of(tmp_path / "parts") == files_of(tmp_path / "whole")
    assert [report.step for report in parts] == [1, 4, 7]
    assert parts[-1] == whole[-1], "the mean of the errors since the last hundredth step as well"
    for name in ("whole", "parts"):
        kept = {path.name for path in (tmp_path / f"{name}.training").iterdir()}
        assert kept == {"best", "curve.csv"}


@pytest.mark.thorough
def test_settings_by_lerobots_names_and_what_they_draw_goes_on_to_the_bit(root, tmp_path):
    """The VAE and dropout draw from torch's generator; the older rule gives other weights."""
    changes = {"use_vae": "true", "latent_dim": "4", "dropout": "0.1", "n_vae_encoder_layers": "1"}
    settings = dataclasses.replace(SEVERAL, changes=changes)
    trained(root, tmp_path / "whole", settings=settings)
    trained(root, tmp_path / "parts", (3, 7), settings)
    assert files_of(tmp_path / "parts") == files_of(tmp_path / "whole")
    config = load_policy(tmp_path / "whole").config
    assert config.use_vae and config.dropout == 0.1
    trained(root, tmp_path / "newer", settings=dataclasses.replace(settings, loss_rule="0.6.1"))
    assert files_of(tmp_path / "newer") != files_of(tmp_path / "whole")


def test_a_training_that_was_killed_goes_on_from_what_it_kept_last(root, tmp_path, monkeypatch):
    def killed(step, *_):
        if step == 5:
            raise SystemExit
        return True

    whole = trained(root, tmp_path / "whole")
    with pytest.raises(SystemExit):
        train(Dataset(root), tmp_path / "killed", SEVERAL, print, killed, save_every=2)
    assert read_state(place_of(tmp_path / "killed")).step == 4
    assert not (tmp_path / "killed").exists()
    # A kill in the middle of a save leaves one that is as large as the whole.
    left = tmp_path / "killed.training/.state.safetensors.aj3kd02h"
    left.write_bytes(b"half")
    again = []
    train(Dataset(root), tmp_path / "killed", SEVERAL, again.append, resume=True)
    assert again == whole[-1:]
    assert files_of(tmp_path / "killed") == files_of(tmp_path / "whole")
    assert not left.exists()


def test_there_must_be_something_to_go_on_with_and_nothing_else_in_its_place(
    root, tmp_path, no_training
):
    output = tmp_path / "checkpoint"
    with pytest.raises(StateError, match="nothing to resume"):
        train(Dataset(root), output, SEVERAL, print, resume=True)
    place_of(output).parent.mkdir()
    place_of(output).write_text("notes of mine")
    with pytest.raises(StateError, match="not a training's state"):
        train(Dataset(root), output, SEVERAL, print, resume=True)
    with pytest.raises(StateError, match="--resume"):
        train(Dataset(root), output, SEVERAL, print)
    assert place_of(output).read_text() == "notes of mine"


def test_what_the_training_did_not_save_is_not_replaced(root, tmp_path):
    output = tmp_path / "checkpoint"
    trained(root, output, ends=(1,))
    (output / "model.safetensors").write_bytes(b"another")
    with pytest.raises(FileExistsError, match="move it away"):
        train(Dataset(root), output, SEVERAL, print, resume=True)
    assert (output / "model.safetensors").read_bytes() == b"another"


def test_another_dataset_is_no_place_to_go_on(root, tmp_path):
    trained(root, tmp_path / "checkpoint", ends=(1,))
    copy = shutil.copytree(root, tmp_path / "changed")
    stats = json.loads((copy / "meta" / "stats.json").read_text())
    stats["action"]["mean"][0] += 1.0
    (copy / "meta" / "stats.json").write_text(json.dumps(stats))
    with pytest.raises(StateError, match="another dataset"):
        train(Dataset(copy), tmp_path / "checkpoint", SEVERAL, print, resume=True)


def test_resume_takes_no_other_settings(root, tmp_path, capsys):
    trained(root, tmp_path / "checkpoint", ends=(1,))
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    places = ["--dataset", str(root), "--output", str(tmp_path / "checkpoint"), "--resume"]
    args = parser.parse_args(["train", *places, "--steps", "3", "--half", "--batch-size", "2"])
    assert args.run(args) == 2
    assert capsys.readouterr().err.endswith("leave out --steps, --half\n")


PARTS = dataclasses.replace(TINY, steps=4, warmup_steps=3)


@pytest.mark.representatives(1)
@pytest.mark.parametrize(
    "changes",
    [
        {"gradient_accumulation": 2},
        {"ema": 0.9},
        pytest.param(
            {"precision": "float16"},
            marks=pytest.mark.skipif(
                not has_unit("float16"), reason="no float16 arithmetic in this processor"
            ),
        ),
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_what_a_step_is_made_of_goes_on_to_the_bit(root, tmp_path, changes):
    settings = dataclasses.replace(PARTS, **changes)
    whole = trained(root, tmp_path / "whole", (PARTS.steps,), settings)
    assert trained(root, tmp_path / "parts", (1, 3, 4), settings)[-1] == whole[-1]
    for left in ("", ".training/best", ".training/raw"):
        assert files_of(tmp_path / f"parts{left}") == files_of(tmp_path / f"whole{left}")
    trained(root, tmp_path / "plain", (PARTS.steps,), PARTS)
    assert files_of(tmp_path / "plain") != files_of(tmp_path / "whole")


def test_what_is_saved_and_judged_is_the_average_and_the_last_weights_are_beside_it(
    root, tmp_path, monkeypatch
):
    monkeypatch.setattr(training, "_EVALUATED_EVERY", 2)
    settings = dataclasses.replace(PARTS, ema=0.6, precision="float32", learning_rate=0.05)
    looked, done, judged, steps = training.HeldOut.errors, training.Run.done, [], []

    def errors(held_out, model):
        judged.append(model.action_head.weight.detach().clone())
        return looked(held_out, model)

    def note(run, error):
        steps.append(run.model.action_head.weight.detach().clone())
        if run.step == 0:
            # What the optimizer changed from is what the average begins with.
            steps.insert(0, run.average.values["action_head.weight"].clone())
        done(run, error)

    monkeypatch.setattr(training.HeldOut, "errors", errors)
    monkeypatch.setattr(training.Run, "done", note)
    trained(root, tmp_path / "averaged", (PARTS.steps,), settings)
    averages = [steps[0]]
    for step, weight in enumerate(steps[1:], 1):
        decay = min(0.6, 1 - (1 + step) ** -0.75)
        averages.append(decay * averages[-1] + (1 - decay) * weight)
    saved = load_file(tmp_path / "averaged" / "model.safetensors")["model.action_head.weight"]
    folder = tmp_path / "averaged.training"
    raw = load_file(folder / "raw" / "model.safetensors")["model.action_head.weight"]
    assert torch.equal(raw, steps[4])
    for found, step in ((judged[0], 2), (judged[1], 4), (saved, 4)):
        assert torch.allclose(found, averages[step], atol=1e-6)
    assert not torch.allclose(saved, raw, atol=1e-4)
    assert load_policy(folder / "raw").contract == load_policy(tmp_path / "averaged").contract


def test_a_gradient_of_several_batches_is_that_of_one_as_large(root, tmp_path, monkeypatch):
    monkeypatch.setattr(ActLearner, "prepare", lambda *_: None)  # goes by the batch's size
    moments = []
    for name, sizes in {"one": (4, 1), "several": (1, 4)}.items():
        settings = dataclasses.replace(
            PARTS, batch_size=sizes[0], gradient_accumulation=sizes[1], precision="float32"
        )
        trained(root, tmp_path / name, (1,), settings)
        place = place_of(tmp_path / name)
        tensors = read_state(place).tensors(place)
        found = [value for key, value in tensors.items() if key.endswith(".exp_avg")]
        moments.append(torch.cat([value.flatten() for value in found]))
    one, several = moments
    assert (one - several).abs().max() < 1e-5 * one.abs().max()


def test_float16_leaves_out_a_gradient_that_is_too_large_for_it(root, tmp_path, monkeypatch):
    """Its scale halves, and the weights stay; in every other step they change."""
    monkeypatch.setattr(arithmetic, "processor_flags", lambda: frozenset({"avx512_fp16"}))
    settings = dataclasses.replace(PARTS, precision="float16", steps=8)
    update, halved, changed = training._update, [], []

    def too_large(run, learner):
        if run.step == 5:
            next(run.model.parameters()).grad.fill_(torch.inf)
        scale, weight = run.scaler.get_scale(), run.model.action_head.weight.detach().clone()
        update(run, learner)
        halved.append(run.scaler.get_scale() == scale / 2)
        changed.append(not torch.equal(run.model.action_head.weight, weight))

    monkeypatch.setattr(training, "_update", too_large)
    trained(root, tmp_path / "checkpoint", (8,), settings)
    assert halved[5] and changed == [not left_out for left_out in halved] and any(changed)


def test_autocast_is_off_where_the_processor_would_emulate_what_is_usual(
    root, tmp_path, monkeypatch
):
    """bfloat16 is usual for ACT; in a whole training without the unit nothing is rounded to it."""
    settings, entered = dataclasses.replace(TINY, precision="auto", steps=1), []
    autocast = torch.autocast

    def watched(device, precision, enabled):
        entered.append((precision, enabled))
        return autocast(device, precision, enabled=False)

    monkeypatch.setattr(torch, "autocast", watched)
    for number, flags in enumerate(({"avx2"}, {"avx2", "avx512_bf16"})):
        monkeypatch.setattr(arithmetic, "processor_flags", lambda flags=flags: frozenset(flags))
        said = []
        train(Dataset(root), tmp_path / str(number), settings, lambda _: None, say=said.append)
        assert any("computes in float32" in line for line in said) == (number == 0)
    assert entered == [(torch.float32, False), (torch.bfloat16, True)]


def test_a_processor_computes_only_in_what_it_has_arithmetic_for(root, monkeypatch):
    samples, *_ = prepared(root)

    def learner(flags, precision="auto"):
        monkeypatch.setattr(arithmetic, "processor_flags", lambda: frozenset(flags))
        return learner_of(dataclasses.replace(TINY, precision=precision), samples)

    for flag in ("avx512_bf16", "amx_bf16", "bf16"):
        able = learner({"avx2", flag})
        assert able.precision == "bfloat16" and not able.notes
    slow = learner({"avx2"})
    assert slow.precision == "float32"
    (note,) = slow.notes
    assert "expected a processor with bfloat16 arithmetic" in note
    assert learner({"avx512_bf16"}, "float32").precision == "float32"
    for precision in ("bfloat16", "float16"):
        with pytest.raises(CheckpointError, match=f"leave out --precision {precision}"):
            learner({"avx2"}, precision)
