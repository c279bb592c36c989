"""Training a Diffusion Policy: its window, what learns, how it goes on, what the result is."""

import dataclasses

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the policy extra is not installed")

from safetensors.torch import load_file  # noqa: E402
from test_training import CONTRACT, LENGTHS, command_line, files_of, record, trained  # noqa: E402

from armlet.contract import Camera  # noqa: E402
from armlet.datasets import Dataset, DatasetError  # noqa: E402
from armlet.policies import (  # noqa: E402
    CheckpointError,
    LossRule,
    Observation,
    Preprocessor,
    load_network,
    load_policy,
    read_checkpoint,
)
from armlet.training import TrainingSettings, train  # noqa: E402
from armlet.training.learners import learner_of  # noqa: E402
from armlet.training.samples import load_samples, make_batch  # noqa: E402

SMALL = {
    "down_dims": "[8, 16]",
    "diffusion_step_embed_dim": "8",
    "spatial_softmax_num_keypoints": "4",
    "num_train_timesteps": "10",
    "kernel_size": "3",
    "horizon": "8",
    "drop_n_last_frames": "1",
    "scheduler_warmup_steps": "1",
}
TINY = TrainingSettings(
    steps=4,
    batch_size=2,
    action_steps=4,
    policy="diffusion",
    changes=SMALL,
    precision="float32",  # whatever the processor has
)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Pictures large enough that keypoints have more than one place to be."""
    contract = dataclasses.replace(CONTRACT, cameras=(Camera("front", 64, 64),))
    return record(tmp_path_factory.mktemp("diffusion") / "set", contract)


@pytest.fixture(scope="module")
def whole(root, tmp_path_factory):
    """A training that nothing interrupts, and its reports."""
    output = tmp_path_factory.mktemp("whole") / "whole"
    return output, trained(root, output, (TINY.steps,), TINY)


def samples_of(root):
    return load_samples([Dataset(root)], [[0, 1, 2]])


def changing(**changes):
    return dataclasses.replace(TINY, changes={**SMALL, **changes})


def test_a_window_begins_before_its_row_and_its_actions_with_it(root):
    """n_obs_steps rows, an episode's first again before it; actions from the first of them on."""
    dataset, samples = Dataset(root), samples_of(root)
    config = learner_of(changing(n_obs_steps="3"), samples).config
    preprocessor = Preprocessor.from_config(config, dataset.statistics)
    rows = np.arange(sum(LENGTHS))
    seen = samples.window(rows, 3)
    batch = make_batch(samples, rows, samples.pictures(seen), preprocessor, config)
    assert batch["observation.images.front"].shape == (12, 3, 3, 64, 64)
    least, most = (dataset.statistics["observation.state"][name] for name in ("min", "max"))
    states = ((batch["observation.state"].numpy() + 1) / 2 * (most - least) + least)[..., 0]
    actions = preprocessor.unnormalize_action(batch["action"]).numpy()[..., 0]
    row = 0
    for episode, length in enumerate(LENGTHS):
        for index in range(length):
            window = [max(index + k, 0) for k in (-2, -1, 0)]
            around = [index + k for k in range(-2, 6)]
            inside = [min(max(k, 0), length - 1) for k in around]
            np.testing.assert_allclose(states[row], [100 * episode + k for k in window], atol=1e-3)
            np.testing.assert_allclose(
                actions[row], [100 * episode + k + 0.5 for k in inside], atol=1e-3
            )
            padded = [not 0 <= k < length for k in around]
            assert batch["action_is_pad"][row].tolist() == padded
            row += 1


def test_chunks_do_not_begin_at_an_episodes_last_rows(root):
    samples = samples_of(root)
    assert samples.without_last(2).begins.tolist() == [0, 1, 2, 5, 8, 9]
    with pytest.raises(DatasetError, match=r"more than 5 frames.*drop_n_last_frames=0"):
        samples.without_last(5)


def test_it_is_trained_with_lerobots_preset_unless_it_is_changed(root):
    samples = samples_of(root)
    learner = learner_of(TrainingSettings(policy="diffusion", steps=2000), samples)
    assert learner.rule is LossRule.LEROBOT_0_6 and learner.drops == 7 and learner.clip == 10
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = learner.optimizer([weight])
    schedule = learner.schedule(optimizer)
    (group,) = optimizer.param_groups
    assert type(optimizer) is torch.optim.Adam and group["betas"] == (0.95, 0.999)
    assert group["fused"]
    assert (group["initial_lr"], group["eps"], group["weight_decay"]) == (1e-4, 1e-8, 1e-6)
    rates = []
    for _ in range(2001):
        rates.append(group["lr"])
        optimizer.step()
        schedule.step()
    picked = [rates[step] for step in (0, 250, 500, 1250, 2000)]
    np.testing.assert_allclose(picked, [0, 0.5e-4, 1e-4, 0.5e-4, 0], atol=1e-12)
    other = learner_of(dataclasses.replace(TINY, learning_rate=0.5, loss_rule="0.4.4"), samples)
    assert other.config.optimizer_lr == 0.5 and other.rule is LossRule.LEROBOT_0_4


@pytest.mark.thorough
def test_every_parameter_learns(root, whole):
    output, _ = whole
    torch.manual_seed(TINY.seed)
    begun = learner_of(TINY, samples_of(root)).network()
    ended = load_file(output / "model.safetensors")
    same = {
        name
        for name, value in begun.named_parameters()
        if torch.equal(value, ended[begun.stored_name(name)])
    }
    assert same == set()


@pytest.mark.thorough
def test_the_loss_falls(root, tmp_path):
    """Of the same frames with the same draws, before and after."""
    settings = dataclasses.replace(TINY, steps=40, batch_size=4, learning_rate=3e-3)
    train(Dataset(root), tmp_path / "fitted", settings, lambda _: None)
    samples, rows = samples_of(root), np.arange(12).repeat(8)
    learner = learner_of(settings, samples)
    fitted = read_checkpoint(tmp_path / "fitted")
    images = samples.pictures(samples.window(rows, 2))
    batch = make_batch(samples, rows, images, fitted.preprocessor, learner.config)
    with torch.no_grad():
        before, after = (
            learner.error(learner.loss(network.eval(), batch, torch.Generator().manual_seed(1)))
            for network in (learner.network(), load_network(fitted))
        )
    assert after < 0.9 * before


@pytest.mark.thorough
def test_so_many_steps_and_then_the_rest_are_all_at_once_to_the_bit(root, whole, tmp_path):
    output, reports = whole
    parts = trained(root, tmp_path / "parts", (1, 4), TINY)
    assert files_of(tmp_path / "parts") == files_of(output)
    assert parts[-1] == reports[-1] and all(value > 0 for value in reports[-1].joints.values())


@pytest.mark.thorough
def test_a_training_that_was_killed_goes_on_from_what_it_kept_last(root, whole, tmp_path):
    def killed(step, *_):
        if step == 3:
            raise SystemExit
        return True

    with pytest.raises(SystemExit):
        train(Dataset(root), tmp_path / "killed", TINY, print, killed, save_every=2)
    train(Dataset(root), tmp_path / "killed", TINY, lambda _: None, resume=True)
    assert files_of(tmp_path / "killed") == files_of(whole[0])


def test_what_was_trained_drives(whole):
    policy = load_policy(whole[0])
    assert (policy.config.horizon, policy.config.n_action_steps) == (8, 4)
    assert policy.contract.tasks == ("pick",)
    picture = np.zeros((64, 64, 3), np.uint8)
    before, now = (
        Observation(np.array([at, -at], np.float32), {"front": picture}) for at in (100.0, 101.0)
    )
    chunk = policy.predict_chunk(dataclasses.replace(now, earlier=(before,)))
    assert chunk.shape == (7, 2) and np.isfinite(chunk).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"changes": {"horizont": "16"}}, "did you mean horizon"),
        ({"changes": {"horizon": "15"}}, "multiple of 2"),
        ({"changes": {"horizon": "[1]"}}, "horizon"),
        ({"changes": {"input_features": "{}"}}, "--set: expected one of"),
        ({"changes": {"pretrained_backbone_weights": "x"}}, "--set: expected one of"),
        ({"changes": {"optimizer_lr": "1"}}, "--learning-rate"),
        ({"changes": {"scheduler_name": "polynomial"}}, "cosine"),
        ({"chunk_size": 16}, "--set horizon=16"),
        ({"base": "somewhere"}, "leave out --from"),
    ],
)
def test_settings_that_cannot_be_are_one_line(root, settings, message):
    with pytest.raises(CheckpointError, match=message) as raised:
        learner_of(TrainingSettings(**{"policy": "diffusion", **settings}), samples_of(root))
    assert "\n" not in str(raised.value)


@pytest.mark.thorough
def test_the_command_trains_it(root, tmp_path, capsys):
    changes = [f"{name}={value}" for name, value in SMALL.items()]
    places = ["--dataset", str(root), "--output", str(tmp_path / "made"), "--workers", "0"]
    given = ["--policy", "diffusion", "--set", *changes, "--steps", "1", "--batch-size", "2"]
    given += ["--action-steps", "4"]
    assert command_line(*places, *given) == 0
    assert load_policy(tmp_path / "made").config.down_dims == (8, 16)
    capsys.readouterr()
    places[3] = str(tmp_path / "other")
    assert command_line(*places, "--policy", "diffusion", "--set", "horizont=8") == 2
    said = capsys.readouterr().err
    assert "did you mean horizon" in said and said.count("\n") == 1
