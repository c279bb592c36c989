"""Training on a SmolVLA checkpoint: what learns, what stays, how it goes on, what the result is."""

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the policy extra is not installed")
pytest.importorskip("tokenizers", reason="the policy extra is not installed")

sys.path.insert(0, str(Path(__file__).parents[1] / "policies"))

from safetensors.torch import load_file  # noqa: E402
from small_datasets import record  # noqa: E402
from small_policies import make_statistics  # noqa: E402
from small_smolvla import (  # noqa: E402
    make_language_model,
    make_observation,
    make_smolvla,
    smolvla_config,
)
from test_training import command_line, files_of, trained  # noqa: E402

from armlet.datasets import Dataset  # noqa: E402
from armlet.policies import (  # noqa: E402
    CheckpointError,
    LossRule,
    load_network,
    load_policy,
    read_checkpoint,
    save_checkpoint,
)
from armlet.policies.config.smolvla import BLANK  # noqa: E402
from armlet.policies.networks.smolvla import SEEN, TOKENS  # noqa: E402
from armlet.training import StateError, TrainingSettings, train  # noqa: E402
from armlet.training.learners import learner_of  # noqa: E402
from armlet.training.samples import load_samples, make_batch  # noqa: E402

TASKS = ("fold it", "push the small button")
WHOLE = {"train_expert_only": "false", "freeze_vision_encoder": "false"}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return record(tmp_path_factory.mktemp("smolvla") / "set", 3, 6, tasks=TASKS)


def make_base(folder, **settings):
    """A checkpoint of other cameras, joints and statistics than the dataset's."""
    vlm = make_language_model(folder / "vlm")
    config = smolvla_config(("camera1", "wrist", "camera3"), tokenizer_max_length=9, **settings)
    network = make_smolvla(config, vlm)
    save_checkpoint(folder / "base", network, config, make_statistics(config), vlm=vlm)
    return folder / "base"


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return make_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def tiny(base):
    changes = {"scheduler_decay_steps": "10", "scheduler_warmup_steps": "2"}
    return TrainingSettings(
        steps=4,
        batch_size=3,
        policy="smolvla",
        base=str(base),
        changes=changes,
        learning_rate=1e-2,
        precision="float32",  # whatever the processor has
    )


@pytest.fixture(scope="module")
def whole(root, tiny, tmp_path_factory):
    """A training that nothing interrupts, and its reports."""
    output = tmp_path_factory.mktemp("whole") / "whole"
    return output, trained(root, output, (tiny.steps,), tiny)


def samples_of(root):
    return load_samples([Dataset(root)], [[0, 1, 2]])


def weights_of(checkpoint):
    return load_file(checkpoint / "model.safetensors")


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({}, "0.6.1"),
        (WHOLE, "0.6.1"),
        pytest.param({"train_state_proj": "false"}, "0.6.1", marks=pytest.mark.thorough),
        pytest.param({"train_expert_only": "false"}, "0.6.1", marks=pytest.mark.thorough),
        pytest.param(WHOLE, "0.4.4", marks=pytest.mark.thorough),
    ],
)
def test_what_is_not_frozen_learns_and_the_rest_stays_to_the_bit(
    root, base, tiny, tmp_path, changes, rule
):
    settings = dataclasses.replace(tiny, changes={**tiny.changes, **changes}, loss_rule=rule)
    train(Dataset(root), tmp_path / "made", settings, lambda _: None)
    before, after = weights_of(base), weights_of(tmp_path / "made")
    assert before.keys() == after.keys()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    network = learner_of(settings, samples_of(root)).network()
    learning = {
        network.stored_name(name) for name, p in network.named_parameters() if p.requires_grad
    }
    # By the older rule the language model's last layer learns, of which nobody reads everything.
    unread = set()
    if rule == "0.4.4":
        unread = {name for name in learning - moved if ".text_model." in name}
        assert all(".layers.3." in name or ".norm." in name for name in unread)
    assert moved == learning - unread
    frozen = {"vision_model", "text_model", "connector"} if not changes else set()
    assert not any(part in name for name in learning for part in frozen)
    state_learns = changes.get("train_state_proj") != "false"
    assert any("state_proj" in name for name in learning) == state_learns


def test_a_batch_has_its_tasks_as_the_policy_reads_them(root, base, tiny):
    samples = samples_of(root)
    learner = learner_of(tiny, samples)
    preprocessor = load_policy(base).preprocessor
    preprocessor = type(preprocessor).from_config(learner.config, Dataset(root).statistics)
    rows = np.array([0, 6, 12])
    batch = make_batch(
        samples, rows, samples.pictures(rows), preprocessor, learner.config, learner.words
    )
    words = read_checkpoint(base).language.words
    for row, task in enumerate((TASKS[0], TASKS[1], TASKS[0])):
        seen = batch[SEEN][row]
        assert batch[TOKENS][row, seen].tolist() == words(task)[0].tolist()
    # Cut to tokenizer_max_length, which is 9 tokens of a byte each.
    assert batch[SEEN].sum(1).tolist() == [8, 9, 8]
    pictures = batch["observation.images.wrist"]
    assert pictures.min() >= 0 and pictures.max() <= 1, "the statistics of pictures are not used"


def test_it_is_trained_with_the_preset_of_the_checkpoint(root, base, tiny):
    settings = TrainingSettings(policy="smolvla", base=str(base), steps=40_000)
    learner = learner_of(settings, samples_of(root))
    assert learner.rule is LossRule.LEROBOT_0_6 and learner.clip == 10
    optimizer = learner.optimizer([torch.nn.Parameter(torch.zeros(1))])
    schedule = learner.schedule(optimizer)
    (group,) = optimizer.param_groups
    assert type(optimizer) is torch.optim.AdamW and group["fused"]
    assert (group["betas"], group["eps"], group["weight_decay"]) == ((0.9, 0.95), 1e-8, 1e-10)
    (factor,) = schedule.lr_lambdas
    rates = [1e-4 * factor(step) for step in (0, 500, 1000, 15_000, 30_000, 40_000)]
    half = 0.5 * (1e-4 + 2.5e-6)
    expected = [1e-4 / 1001, 1e-4 * (1 / 1001 + 1000 / 1001 / 2), 9.9733e-5, half, 2.5e-6, 2.5e-6]
    np.testing.assert_allclose(rates, expected, rtol=1e-5)
    # Of fewer steps than scheduler_decay_steps both parts are shorter.
    (short,) = (
        learner_of(dataclasses.replace(settings, steps=300), samples_of(root))
        .schedule(optimizer)
        .lr_lambdas
    )
    assert [short(0), short(5), short(300)] == pytest.approx([1 / 11, 6 / 11, 0.025])


def test_its_cameras_are_the_datasets_in_the_checkpoints_order(root, base, tiny, tmp_path):
    learner = learner_of(tiny, samples_of(root))
    names = [key.rpartition(".")[2] for key in learner.config.image_features]
    assert names == ["wrist", "front"], "wrist is a camera of the checkpoint, front is none"
    assert "camera1, wrist, camera3" in learner.notes[0]
    blank = dataclasses.replace(tiny, changes={**tiny.changes, "empty_cameras": "1"})
    train(Dataset(root), tmp_path / "made", dataclasses.replace(blank, steps=1), lambda _: None)
    assert load_policy(tmp_path / "made").config.blank_features == (f"{BLANK}0",)


@pytest.mark.thorough
def test_so_many_steps_and_then_the_rest_are_all_at_once_to_the_bit(root, tiny, whole, tmp_path):
    output, reports = whole
    parts = trained(root, tmp_path / "parts", (1, 3, 4), tiny)
    assert {name for name in files_of(tmp_path / "parts") if name != "vlm"}
    assert files_of(tmp_path / "parts") == files_of(output)
    assert parts[-1] == reports[-1] and all(value > 0 for value in reports[-1].joints.values())


def test_a_training_that_was_killed_goes_on_from_what_it_kept_last(root, tiny, whole, tmp_path):
    def killed(step, *_):
        if step == 3:
            raise SystemExit
        return True

    output = tmp_path / "killed"
    with pytest.raises(SystemExit):
        train(Dataset(root), output, tiny, print, killed, save_every=2)
    state = load_file(output.with_name("killed.training") / "state.safetensors")
    assert not any("vision" in name for name in state), "what is frozen is not kept again"
    train(Dataset(root), output, tiny, lambda _: None, resume=True)
    assert files_of(output) == files_of(whole[0])


def test_it_goes_on_with_the_weights_it_began_with_alone(root, tiny, tmp_path):
    other = make_base(tmp_path / "other")
    settings = dataclasses.replace(tiny, base=str(other))
    trained(root, tmp_path / "made", (1,), settings)
    weights = other / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + bytes(4))
    with pytest.raises(StateError, match="other weights"):
        train(Dataset(root), tmp_path / "made", settings, print, resume=True)


@pytest.mark.thorough
def test_the_loss_falls(root, tiny, tmp_path):
    """Of the same frames with the same draws, before and after."""
    settings = dataclasses.replace(tiny, steps=40, changes={})
    train(Dataset(root), tmp_path / "fitted", settings, lambda _: None)
    samples, rows = samples_of(root), np.arange(18)
    learner = learner_of(settings, samples)
    fitted = read_checkpoint(tmp_path / "fitted")
    batch = make_batch(
        samples, rows, samples.pictures(rows), fitted.preprocessor, fitted.config, learner.words
    )
    with torch.no_grad():
        before, after = (
            learner.error(learner.loss(network, batch, torch.Generator().manual_seed(1)))
            for network in (learner.network(), load_network(fitted))
        )
    assert after < 0.9 * before


def test_what_was_trained_drives(root, whole):
    policy = load_policy(whole[0])
    assert policy.contract.tasks == TASKS and policy.config.tokenizer_max_length == 9
    size = Dataset(root).info.cameras["front"].picture_size
    observation = make_observation(smolvla_config(("front", "wrist")), size=size)
    chunk = policy.predict_chunk(observation)
    assert chunk.shape == (6, 6) and np.isfinite(chunk).all()
    statistics = policy.preprocessor.statistics("action")
    np.testing.assert_allclose(statistics["mean"], Dataset(root).statistics["action"]["mean"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"base": ""}, "--from hub:lerobot/smolvla_base"),
        ({"changes": {"num_vlm_layers": "2"}}, "--set: expected one of"),
        ({"changes": {"freeze_vision_encoder": "maybe"}}, "freeze_vision_encoder"),
        ({"action_steps": 7}, "n_action_steps must not exceed"),
    ],
)
def test_settings_that_cannot_be_are_one_line(root, tiny, settings, message):
    with pytest.raises(CheckpointError, match=message) as raised:
        learner_of(dataclasses.replace(tiny, **settings), samples_of(root))
    assert "\n" not in str(raised.value)


def test_the_command_trains_it(root, base, tmp_path, capsys, monkeypatch):
    places = ["--dataset", str(root), "--output", str(tmp_path / "made"), "--workers", "0"]
    given = ["--policy", "smolvla", "--steps", "1", "--batch-size", "2", "--chunk-size", "4"]
    monkeypatch.chdir(base.parent)
    assert command_line(*places, *given, "--from", "base") == 0
    config = load_policy(tmp_path / "made").config
    assert (config.chunk_size, config.n_action_steps) == (4, 4)
    assert "begins with" in capsys.readouterr().out
    places[3] = str(tmp_path / "other")
    assert command_line(*places, "--policy", "smolvla", "--from", str(tmp_path / "nowhere")) == 2
    assert capsys.readouterr().err.count("\n") == 1
