"""A training step without LeRobot: what a loss counts, what is drawn, what learns."""

import dataclasses
import json

import numpy as np
import pytest

pytest.importorskip("torch", reason="the policy extra is not installed")
pytest.importorskip("tokenizers", reason="the policy extra is not installed")

import torch
from small_diffusion import JOINTS, diffusion_config, make_diffusion
from small_policies import act_config, make_act
from small_smolvla import make_language_model, make_smolvla, smolvla_config
from torch import nn

from armlet.policies import Draws, LossRule, PolicyNetwork
from armlet.policies.config.smolvla import parse_vlm
from armlet.policies.networks.denoising import Denoising
from armlet.policies.networks.losses import mean_error
from armlet.policies.networks.resnet import BatchNorm
from armlet.policies.networks.smolvla import SEEN, TOKENS
from armlet.policies.networks.tokens import Words

OLD, NEW = LossRule.LEROBOT_0_4, LossRule.LEROBOT_0_6
TASKS = ("fold it", "push the small button", "x")


@pytest.fixture(scope="module")
def vlm(tmp_path_factory):
    return make_language_model(tmp_path_factory.mktemp("language") / "vlm")


@pytest.fixture(scope="module")
def words(vlm):
    size = parse_vlm(json.loads((vlm / "config.json").read_text()), vlm).text.vocab_size
    return Words.read(vlm / "tokenizer.json", None, size)


def pad_rows(rows, *valid):
    return torch.arange(rows) >= torch.tensor(valid)[:, None]


def smolvla_batch(config, words, tasks=TASKS):
    torch.manual_seed(1)
    count = len(tasks)
    tokens, seen = words.batch(tasks)
    return {
        **{key: torch.rand(count, *f.shape) for key, f in config.image_features.items()},
        "observation.state": torch.randn(count, 6),
        "action": torch.randn(count, config.chunk_size, 6),
        "action_is_pad": pad_rows(config.chunk_size, *[6, 4, 1][:count]),
        TOKENS: tokens,
        SEEN: seen,
    }


def diffusion_batch(config, count=3):
    torch.manual_seed(1)
    window = (count, config.n_obs_steps)
    batch = {
        key: torch.rand(*window, *feature.shape)
        for key, feature in config.used_features.items()
        if key != "action"
    }
    batch["action"] = torch.randn(count, config.horizon, JOINTS)
    batch["action_is_pad"] = pad_rows(config.horizon, *[config.horizon, 9, 2][:count])
    return batch


def seeded(network, batch, seed=0):
    return network.draw(batch, torch.Generator().manual_seed(seed))


def test_rows_past_the_end_are_zeros_or_nothing():
    errors = torch.arange(1.0, 13.0).reshape(1, 3, 4)
    is_pad = pad_rows(3, 2)
    assert mean_error(errors, is_pad, OLD) == 36 / 12
    assert mean_error(errors, is_pad, NEW) == 36 / 8
    for rule in LossRule:
        assert mean_error(errors, torch.ones(1, 3, dtype=torch.bool), rule) == 0


def test_smolvla_learns_the_flow_that_its_chunk_follows(vlm, words):
    config = smolvla_config(num_steps=1)
    network, batch = make_smolvla(config, vlm), smolvla_batch(config, words, TASKS[:1])
    noise, times = seeded(network, batch).noise, torch.ones(1)
    with torch.no_grad():
        chunk = network(batch, noise)
        losses = {rule: network.compute_loss(batch, rule, Draws(noise, times)) for rule in LossRule}
    # From pure noise one step leads to the chunk: what it lacks is what the velocity lacks.
    errors = (chunk - batch["action"]).square()
    torch.testing.assert_close(losses[NEW].total, errors.mean())
    # 0.4.4 counts the two columns beyond the six joints as well.
    assert losses[OLD].total > errors.sum() / (errors[..., 0].numel() * config.max_action_dim)


def test_smolvla_counts_true_rows_and_joints_by_the_newer_rule(vlm, words):
    config = smolvla_config()
    network, batch = make_smolvla(config, vlm), smolvla_batch(config, words)
    draws = seeded(network, batch)
    changed = batch["action"] + 9.0 * batch["action_is_pad"][..., None]
    with torch.no_grad():
        losses = {
            rule: [
                float(network.compute_loss(batch | {"action": actions}, rule, draws).total)
                for actions in (batch["action"], changed)
            ]
            for rule in LossRule
        }
    assert losses[OLD][1] > losses[OLD][0] + 1
    # What is past the end is part of the noise that true rows before it do not see.
    assert losses[NEW][1] == pytest.approx(losses[NEW][0], rel=1e-5)


@pytest.mark.parametrize("settings", [{}, {"self_attn_every_n_layers": 0}])
def test_texts_of_different_length_do_not_touch_each_other(settings, vlm, words):
    config = smolvla_config(**settings)
    network, batch = make_smolvla(config, vlm), smolvla_batch(config, words)
    assert not batch[SEEN].all()
    draws, losses = seeded(network, batch), []
    batch["action_is_pad"] = torch.zeros_like(batch["action_is_pad"])
    with torch.no_grad():
        together = network.compute_loss(batch, NEW, draws).total
        for row, task in enumerate(TASKS):
            single = {key: value[row : row + 1] for key, value in batch.items() if key != SEEN}
            single[TOKENS] = words(task)
            own = Draws(draws.noise[row : row + 1], draws.times[row : row + 1])
            losses.append(network.compute_loss(single, NEW, own).total)
    torch.testing.assert_close(together, torch.stack(losses).mean(), rtol=1e-5, atol=0)


def test_padded_words_leave_gradients_finite(vlm, words):
    config = smolvla_config(train_expert_only=False, freeze_vision_encoder=False)
    network, batch = make_smolvla(config, vlm).freeze_for_training(), smolvla_batch(config, words)
    network.compute_loss(batch).total.backward()
    without = {name for name, p in network.named_parameters() if p.requires_grad and p.grad is None}
    assert without == set()
    assert all(p.grad.isfinite().all() for p in network.parameters() if p.grad is not None)


def frozen(network):
    return {name for name, p in network.named_parameters() if not p.requires_grad}


def test_what_learns_is_what_lerobot_trains(vlm):
    def left(rule=NEW, **settings):
        return frozen(make_smolvla(smolvla_config(**settings), vlm).freeze_for_training(rule))

    def under(*parts):
        names = dict(make_smolvla(smolvla_config(), vlm).named_parameters())
        return {name for name in names if name.startswith(parts)}

    assert left() == under("vision.", "connector.", "words.", "text.")
    assert left(train_state_proj=False) == left() | under("state_proj.")
    last = under("text.norm.", "text.layers.3.")
    assert left(train_expert_only=False) == under("vision.") | last
    assert left(OLD, train_expert_only=False) == under("vision.")
    everything = {"train_expert_only": False, "freeze_vision_encoder": False}
    assert left(OLD, **everything) == set()
    fewer = {**everything, "num_expert_layers": 2, "self_attn_every_n_layers": 0}
    assert left(**fewer) == last | under("text.layers.2.")
    for network in (make_act(act_config(())), make_diffusion(diffusion_config(()))):
        assert frozen(network.requires_grad_(False).freeze_for_training()) == set()


def test_noise_is_mixed_in_as_the_steps_take_it_out():
    config = diffusion_config((), noise_scheduler_type="DDIM", clip_sample=False)
    denoising, last = Denoising(config), config.steps - 1
    torch.manual_seed(0)
    sample, noise = torch.randn(2, 1, 16, 6)
    mixed = denoising.mix(sample, noise, torch.tensor([denoising.times[last]]))
    torch.testing.assert_close(denoising.step(last, mixed, noise, None), sample)
    late = denoising.mix(sample, noise, torch.tensor([config.num_train_timesteps - 1]))
    assert (late - noise).abs().mean() < (late - sample).abs().mean()


@pytest.mark.parametrize("target", ["epsilon", "sample"])
def test_diffusion_predicts_noise_or_actions(target):
    config = diffusion_config((), prediction_type=target)
    network, batch = make_diffusion(config), diffusion_batch(config)
    draws = seeded(network, batch)
    assert draws.times.dtype == torch.int64 and 0 <= draws.times.min() <= draws.times.max() < 10
    with torch.no_grad():
        mixed = Denoising(config).mix(batch["action"], draws.noise, draws.times)
        predicted = network.unet(mixed, draws.times, network.observe(batch))
        wanted = draws.noise if target == "epsilon" else batch["action"]
        errors = (predicted - wanted).square()
        valid = ~batch["action_is_pad"][..., None]
        masking = make_diffusion(dataclasses.replace(config, do_mask_loss_for_padding=True))
        for rule in LossRule:
            loss = network.compute_loss(batch, rule, draws).total
            torch.testing.assert_close(loss, errors.mean())
            count = errors.numel() if rule is OLD else int(valid.sum()) * JOINTS
            loss = masking.compute_loss(batch, rule, draws).total
            torch.testing.assert_close(loss, (errors * valid).sum() / count)


@pytest.mark.parametrize("apart", [False, True])
def test_random_crops_are_drawn_in_training_only(apart):
    config = diffusion_config(
        crop_shape=(40, 50), use_separate_rgb_encoder_per_camera=apart, n_obs_steps=1
    )
    network, batch = make_diffusion(config), diffusion_batch(config, 2)
    assert seeded(network, batch).corners == ()
    network.train()
    drawn = {seeded(network, batch, seed).corners for seed in range(20)}
    assert len(drawn) > 15
    assert {len(corners) for corners in drawn} == {2 if apart else 1}
    corners = np.array([corner for each in drawn for corner in each])
    assert corners.min() >= 0 and (corners.max(0) <= (48 - 40, 64 - 50)).all()
    fixed = make_diffusion(dataclasses.replace(config, crop_is_random=False)).train()
    assert seeded(fixed, batch).corners == ()


def test_a_crop_begins_at_its_corner():
    config = diffusion_config(("front",), crop_shape=(40, 50), n_obs_steps=1)
    network, batch = make_diffusion(config), diffusion_batch(config, 2)
    key = "observation.images.front"
    cut = {**batch, key: batch[key][..., 3:43, 7:57].contiguous()}
    with torch.no_grad():
        torch.testing.assert_close(network.observe(batch, [(3, 7)]), network.observe(cut))
        assert not torch.equal(network.observe(batch), network.observe(cut))
        draws = seeded(network, batch)
        at = dataclasses.replace(draws, corners=((3, 7),))
        loss = network.compute_loss(batch, NEW, at).total
        torch.testing.assert_close(loss, network.compute_loss(cut, NEW, draws).total)
        assert not torch.equal(loss, network.compute_loss(batch, NEW, draws).total)


def test_batch_normalization_learns_in_training():
    ours, theirs = BatchNorm(4), nn.BatchNorm2d(4)
    torch.manual_seed(0)
    for module in (ours, theirs):
        with torch.no_grad():
            module.weight.copy_(torch.linspace(0.5, 2, 4))
            module.bias.copy_(torch.linspace(-1, 1, 4))
    pictures = torch.randn(3, 4, 5, 6) * 3 + 1
    for training in (True, False):
        outputs = [module.train(training)(pictures) for module in (ours, theirs)]
        assert torch.equal(*outputs)
        for output in outputs:
            output.square().sum().backward()
    assert ours.state_dict().keys() < theirs.state_dict().keys()
    for name, value in ours.state_dict().items():
        assert torch.equal(value, theirs.state_dict()[name]), name
    assert torch.equal(ours.weight.grad, theirs.weight.grad)
    assert torch.equal(ours.bias.grad, theirs.bias.grad)


def test_a_seed_gives_the_step_again(vlm, words):
    act = act_config((), use_vae=True, dropout=0.0)
    smolvla, diffusion = smolvla_config(), diffusion_config(())
    vectors = {"observation.state": torch.randn(3, 6), "action": torch.randn(3, 8, 6)}
    vectors["observation.environment_state"] = torch.randn(3, 2)
    vectors["action_is_pad"] = pad_rows(8, 8, 5, 1)
    for network, batch in (
        (make_act(act), vectors),
        (make_smolvla(smolvla, vlm), smolvla_batch(smolvla, words)),
        (make_diffusion(diffusion), diffusion_batch(diffusion)),
    ):
        network.train()
        totals = [
            network.compute_loss(batch, NEW, seeded(network, batch, seed)).total.item()
            for seed in (1, 1, 2)
        ]
        assert totals[0] == totals[1] != totals[2]
        with pytest.raises(ValueError, match="draws: expected noise"):
            network.compute_loss(batch, NEW, Draws())


def test_times_are_mostly_late(vlm):
    config = smolvla_config()
    batch = {"action": torch.zeros(20_000, 6, 6)}
    times = seeded(make_smolvla(config, vlm), batch).times
    assert times.shape == (20_000,) and times.min() >= 0.001 and times.max() <= 1
    # The mean of Beta(1.5, 1) is 0.6; half of the times are below 0.5 ** (1 / 1.5).
    assert times.mean() == pytest.approx(0.6, abs=0.01)
    assert times.median() == pytest.approx(0.63, abs=0.01)


def test_without_training_the_latent_is_zero():
    config = act_config((), use_vae=True)
    network, batch = (
        make_act(config),
        {
            "observation.state": torch.randn(2, 6),
            "observation.environment_state": torch.randn(2, 2),
            "action": torch.randn(2, 8, 6),
            "action_is_pad": pad_rows(8, 8, 8),
        },
    )
    loss = network.compute_loss(batch)
    torch.testing.assert_close(loss.l1, (network(batch) - batch["action"]).abs().mean())
    assert loss.kl == 0 and network.draw(batch) == Draws()


def test_a_network_that_has_no_loss_says_so():
    class Stay(PolicyNetwork):
        pass

    with pytest.raises(NotImplementedError, match="Stay cannot be trained"):
        Stay().compute_loss({})


def test_words_of_a_batch_are_padded_at_the_end(words):
    ids, seen = words.batch(TASKS)
    assert ids.shape == seen.shape and ids.dtype == torch.int64 and seen.dtype == torch.bool
    for row, task in enumerate(TASKS):
        own = words(task)[0]
        assert torch.equal(ids[row][seen[row]], own)
        assert seen[row, : len(own)].all() and not seen[row, len(own) :].any()
