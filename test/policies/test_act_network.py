import math

import pytest
import torch
from small_policies import act_config, make_act, make_observation, make_statistics
from torch import nn

from armlet.policies import Act, ActConfig, Feature, LossRule, Preprocessor, calibrate_batch_norm
from armlet.policies.networks.act import Attention, sinusoid_1d, sinusoid_2d
from armlet.policies.networks.resnet import FrozenBatchNorm, ResNet, fold_batch_norm


def inputs(config, count=2):
    torch.manual_seed(3)
    batch = {"observation.state": torch.randn(count, 6)}
    for key in config.image_features:
        batch[key] = torch.randn(count, 3, 48, 64)
    if not config.image_features:
        batch["observation.environment_state"] = torch.randn(count, 2)
    batch["action"] = torch.randn(count, config.chunk_size, 6)
    batch["action_is_pad"] = torch.zeros(count, config.chunk_size, dtype=torch.bool)
    return batch


def test_default_network_has_lerobots_tensors():
    features = {"observation.state": Feature("STATE", (6,))}
    for name in ("front", "wrist"):
        features[f"observation.images.{name}"] = Feature("VISUAL", (3, 480, 640))
    with torch.device("meta"):
        network = Act(ActConfig(features, {"action": Feature("ACTION", (6,))}))
    tensors = network.state_dict()
    assert len(tensors) == 234
    assert sum(tensor.numel() for tensor in tensors.values()) == 51_668_614
    assert tensors["backbone.layer2.0.downsample.0.weight"].shape == (128, 64, 1, 1)


def test_one_dimensional_positions_follow_the_formula():
    table = sinusoid_1d(5, 8)
    for position in range(5):
        for j in range(8):
            angle = position / 10000 ** (2 * (j // 2) / 8)
            expected = math.cos(angle) if j % 2 else math.sin(angle)
            assert table[position, j] == pytest.approx(expected, abs=1e-6)


def test_pixel_positions_follow_the_formula():
    height, width, channels = 3, 4, 16
    table = sinusoid_2d(height, width, channels).view(height, width, channels)
    half = channels // 2
    for row in range(height):
        for column in range(width):
            values = (row + 1) / (height + 1e-6), (column + 1) / (width + 1e-6)
            for j in range(channels):
                i = j % half
                angle = 2 * math.pi * values[j // half] / 10000 ** (2 * (i // 2) / half)
                expected = math.cos(angle) if i % 2 else math.sin(angle)
                assert table[row, column, j] == pytest.approx(expected, abs=1e-5)


def test_attention_is_torchs_multi_head_attention():
    config = act_config()
    ours = Attention(config).eval()
    theirs = nn.MultiheadAttention(config.dim_model, config.n_heads, batch_first=True).eval()
    theirs.load_state_dict(ours.state_dict())
    q, k, v = torch.randn(3, 2, 5, config.dim_model)
    ignore = torch.tensor([[False, False, True, False, True]] * 2)
    for query, key in ((q, k), (q, q)):
        expected, _ = theirs(query, key, v, key_padding_mask=ignore)
        torch.testing.assert_close(ours(query, key, v, ignore), expected)


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_folding_batch_norm_changes_nothing(name):
    torch.manual_seed(0)
    network = ResNet(name).double().eval()
    for module in network.modules():
        if isinstance(module, FrozenBatchNorm):
            module.running_var.uniform_(0.5, 3)
            for buffer in (module.weight, module.bias, module.running_mean):
                buffer.normal_(0.5, 0.3)
    picture = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    with torch.no_grad():
        expected = network(picture)
        fold_batch_norm(network)
        assert not any(isinstance(m, FrozenBatchNorm) for m in network.modules())
        torch.testing.assert_close(network(picture), expected, rtol=1e-9, atol=1e-9)


def test_frozen_batch_norm_is_batch_norm_in_eval():
    ours, theirs = FrozenBatchNorm(4), nn.BatchNorm2d(4).eval()
    with torch.no_grad():
        for name in ("weight", "bias", "running_mean", "running_var"):
            value = torch.rand(4) + 0.5
            getattr(ours, name).copy_(value)
            getattr(theirs, name).copy_(value)
    x = torch.randn(2, 4, 3, 3)
    torch.testing.assert_close(ours(x), theirs(x))
    assert not list(ours.parameters())


def test_dilation_keeps_the_last_stage_fine():
    picture = torch.zeros(1, 3, 64, 64)
    with torch.no_grad():
        assert ResNet("resnet50")(picture).shape == (1, 2048, 2, 2)
        assert ResNet("resnet50", dilate_last=True)(picture).shape == (1, 2048, 4, 4)
    with pytest.raises(ValueError, match="bottleneck"):
        ResNet("resnet18", dilate_last=True)


def normalized_moments(network, batches):
    """Mean and variance of every batch-norm's output without its affine, over all batches."""
    outputs = {}
    for module in network.modules():
        if isinstance(module, FrozenBatchNorm):
            # A clone: the activation after it works in place.
            module.register_forward_hook(
                lambda layer, _, output: outputs.setdefault(layer, []).append(output.clone())
            )
    with torch.no_grad():
        for batch in batches:
            network(batch)
    return {
        layer: torch.var_mean(torch.cat(seen), dim=(0, 2, 3), correction=0)
        for layer, seen in outputs.items()
    }


def test_calibration_on_one_batch_normalizes_every_layer():
    torch.manual_seed(0)
    network, batches = ResNet("resnet18"), [torch.randn(4, 3, 64, 64) * 3 + 1]
    calibrate_batch_norm(network, iter(batches))
    moments = normalized_moments(network, batches)
    assert len(moments) == 20
    for variance, mean in moments.values():
        torch.testing.assert_close(mean, torch.zeros_like(mean), atol=1e-4, rtol=0)
        torch.testing.assert_close(variance, torch.ones_like(mean), atol=1e-3, rtol=0)


def test_calibration_pools_batches_of_different_size():
    torch.manual_seed(0)
    network = ResNet("resnet18")
    batches = [torch.randn(n, 3, 64, 64) * n + n for n in (1, 3, 4)]
    calibrate_batch_norm(network, batches)
    variance, mean = normalized_moments(network, batches)[network.bn1]
    torch.testing.assert_close(mean, torch.zeros_like(mean), atol=1e-4, rtol=0)
    torch.testing.assert_close(variance, torch.ones_like(mean), atol=1e-3, rtol=0)


def test_calibration_accepts_a_policy_and_its_batches():
    config = act_config()
    network = make_act(config).train()
    before = network.backbone.bn1.running_mean.clone()
    calibrate_batch_norm(network, [inputs(config)])
    assert network.training
    assert not torch.equal(before, network.backbone.bn1.running_mean)


def test_calibration_without_data_is_refused():
    with pytest.raises(ValueError, match="no batches"):
        calibrate_batch_norm(ResNet("resnet18"), [])


@pytest.mark.representatives(1)
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"pre_norm": True, "n_decoder_layers": 2, "feedforward_activation": "gelu"},
        {"use_vae": True},
    ],
)
def test_optimized_network_computes_the_same_chunk(settings):
    config = act_config(**settings)
    network = make_act(config)
    batch = Preprocessor.from_config(config, make_statistics(config))(make_observation(config))
    with torch.inference_mode():
        expected = network(batch)
        assert expected.shape == (1, config.chunk_size, 6)
        actual = network.optimize_for_inference()(batch)
    torch.testing.assert_close(actual, expected, atol=2e-5, rtol=1e-4)


def test_output_depends_on_every_input():
    config = act_config()
    network, batch = make_act(config), inputs(config)
    with torch.inference_mode():
        chunk = network(batch)
        for key in config.input_features:
            changed = network(batch | {key: batch[key] + 0.5})
            assert (changed - chunk).abs().max() > 1e-4, key


@pytest.mark.parametrize("use_vae", [True, False])
def test_padded_actions_do_not_count(use_vae):
    config = act_config(cameras=(), use_vae=use_vae, dropout=0.0)
    network, batch = make_act(config).train(), inputs(config)
    batch["action_is_pad"][:, 5:] = True

    def losses(actions):
        torch.manual_seed(1)
        loss = network.compute_loss(batch | {"action": actions})
        return [loss.total.item(), loss.l1.item(), loss.kl.item()]

    padding = batch["action"].clone()
    padding[:, 5:] = 1000
    assert losses(padding) == pytest.approx(losses(batch["action"]), rel=1e-6)
    real = batch["action"].clone()
    real[:, 4] = 1000
    assert losses(real)[1] > losses(batch["action"])[1] + 10


@pytest.mark.parametrize("rule", LossRule)
def test_loss_follows_its_definition(rule):
    config = act_config(cameras=(), use_vae=True, kl_weight=3.0, dropout=0.0)
    network, batch = make_act(config).train(), inputs(config)
    batch["action_is_pad"][:, 6:] = True
    torch.manual_seed(5)
    loss = network.compute_loss(batch, rule)
    mean, log_variance = network.encode_actions(batch)
    torch.manual_seed(5)
    latent = mean + torch.exp(log_variance / 2) * torch.randn_like(mean)
    error = (network.decode(batch, latent) - batch["action"]).abs()
    l1 = error[:, :6].mean()
    if rule is LossRule.LEROBOT_0_4:
        l1 = error[:, :6].sum() / error.numel()
    divergence = torch.distributions.kl_divergence(
        torch.distributions.Normal(mean, torch.exp(log_variance / 2)),
        torch.distributions.Normal(0.0, 1.0),
    )
    kl = divergence.sum(-1).mean()
    torch.testing.assert_close(loss.l1, l1)
    torch.testing.assert_close(loss.kl, kl, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(loss.total, l1 + 3 * kl)


def test_training_lowers_the_loss_and_reaches_every_parameter():
    config = act_config(use_vae=True, dropout=0.0)
    network, batch = make_act(config).train(), inputs(config)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    losses = []
    for _ in range(4):
        optimizer.zero_grad()
        loss = network.compute_loss(batch)
        loss.total.backward()
        losses.append(loss.l1.item())
        optimizer.step()
    assert losses[-1] < losses[0]
    # Layer 0's decoder self-attention sees only zeros as values, so its q and k have no gradient.
    without = {n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()}
    assert without <= {"decoder.layers.0.self_attn.in_proj_weight"}


def test_dropout_acts_in_training_only():
    config = act_config(cameras=(), dropout=0.5)
    network, batch = make_act(config), inputs(config)
    assert torch.equal(network(batch), network(batch))
    network.train()
    assert not torch.equal(network(batch), network(batch))
