"""A training step of every policy against stock LeRobot 0.4.4 and 0.6.1: loss and every gradient.

LeRobot makes a small policy with random weights and computes one step of it; armlet computes the
same step of the same weights, batch and draws. Needs the oracle, see lerobot_oracle. How a loss is
defined, and what is drawn, is in test_losses, without LeRobot.
"""

import copy
import json

import numpy as np
import pytest

pytest.importorskip("torch", reason="the policy extra is not installed")
pytest.importorskip("tokenizers", reason="the policy extra is not installed")

import torch
from lerobot_oracle import missing
from safetensors.torch import load_file
from small_diffusion import diffusion_config
from small_policies import act_config
from small_smolvla import SCALE, TEXT, VISION, smolvla_config
from test_diffusion_parity import settings_of

from armlet.policies import Act, Diffusion, Draws, Feature, LossRule, SmolVla
from armlet.policies.config.releases import PatchRows
from armlet.policies.config.smolvla import parse_vlm
from armlet.policies.networks.tokens import Words

pytestmark = pytest.mark.thorough

# Where transformers of that LeRobot puts a picture's patches.
ROWS = {"0.4.4": PatchRows.SCALED, "0.6.1": PatchRows.CLAMPED}
RELATIVE = 1e-5
# Of the whole gradient. What has less than ZERO in float64 has none, as the bias of an attention's
# keys, which no softmax heeds. In float32 it has rounding, in LeRobot as here, below ROUNDING.
ZERO, ROUNDING = 1e-12, 1e-6
BATCH, DRAWN, WORDS = 3, 11, 7
BLANK = "observation.images.empty_camera_0"

ONE, TWO = ("front",), ("front", "wrist")
WHOLE = {"train_expert_only": False, "freeze_vision_encoder": False}
CASES = {
    "ACT": act_config(TWO, use_vae=True, dropout=0.0),
    "ACT, pre-norm": act_config(
        ONE, use_vae=True, dropout=0.0, pre_norm=True, n_decoder_layers=2, kl_weight=0.3
    ),
    "ACT, no VAE": act_config(ONE, dropout=0.0, feedforward_activation="gelu"),
    "ACT, no camera": act_config((), use_vae=True, dropout=0.0),
    "ACT, dilated resnet50": act_config(
        ONE,
        use_vae=True,
        dropout=0.0,
        vision_backbone="resnet50",
        replace_final_stride_with_dilation=True,
    ),
    "SmolVLA": smolvla_config(TWO),
    "SmolVLA, all of it": smolvla_config(ONE, **WHOLE),
    "SmolVLA, eyes frozen": smolvla_config(TWO, train_expert_only=False, train_state_proj=False),
    "SmolVLA, fewer expert layers": smolvla_config(
        ONE, num_expert_layers=2, self_attn_every_n_layers=0, prefix_length=40, **WHOLE
    ),
    "SmolVLA, marks and blanks": smolvla_config(
        ONE, add_image_special_tokens=True, empty_cameras=1, train_expert_only=False
    ),
    "SmolVLA, joint attention": smolvla_config(
        ONE, attention_mode="self_attn", expert_width_multiplier=0.5
    ),
    "Diffusion": diffusion_config(TWO),
    "Diffusion, masked": diffusion_config(ONE, do_mask_loss_for_padding=True, n_obs_steps=1),
    "Diffusion, sample": diffusion_config(
        (), prediction_type="sample", beta_schedule="linear", do_mask_loss_for_padding=True
    ),
    "Diffusion, random crop": diffusion_config(ONE, crop_shape=(33, 50), n_obs_steps=3),
    "Diffusion, as 0.6.1": diffusion_config(
        TWO,
        use_group_norm=False,
        use_separate_rgb_encoder_per_camera=True,
        resize_shape=(40, 44),
        crop_ratio=0.8,
    ),
}
KINDS = {"ACT": "act", "SmolVLA": "smolvla", "Diffusion": "diffusion"}


def case(name):
    config = CASES[name]
    if getattr(config, "empty_cameras", 0):
        config = config.renamed({})
        config.input_features[BLANK] = Feature("VISUAL", (3, 48, 64))
    return KINDS[name.partition(",")[0]], config


def batch_of(config, kind):
    """A normalized batch, two of whose chunks are padded, one of them to its last row but one."""
    random = np.random.default_rng(0)
    window = (config.n_obs_steps,) if kind == "diffusion" else ()
    batch = {}
    for key, feature in config.used_features.items():
        if feature.type == "VISUAL":
            pictures = random.random((BATCH, *window, *feature.shape))
            batch[key] = pictures if kind == "smolvla" else 4 * pictures - 2
        elif key != "action":
            batch[key] = random.normal(size=(BATCH, *window, *feature.shape))
    rows = config.horizon if kind == "diffusion" else config.chunk_size
    batch["action"] = random.normal(size=(BATCH, rows, config.action_size))
    batch = {key: value.astype(np.float32) for key, value in batch.items()}
    batch["action_is_pad"] = np.arange(rows)[None] >= np.array([[rows], [rows - 2], [1]])
    if kind == "smolvla":
        batch["observation.language.tokens"] = random.integers(10, 200, (BATCH, WORDS))
        seen = np.arange(WORDS)[None] < np.array([[WORDS], [4], [2]])
        batch["observation.language.attention_mask"] = seen
    return batch


def draws_of(config):
    """Of SmolVLA; the others draw from a seed as LeRobot does."""
    random = np.random.default_rng(1)
    shape = (BATCH, config.chunk_size, config.max_action_dim)
    return {
        "noise": random.normal(size=shape).astype(np.float32),
        "time": random.uniform(0.001, 1, BATCH).astype(np.float32),
    }


def lerobots(asked, kind, config, place):
    """Loss, gradients and buffers of LeRobot's step; the weights are left in `place`."""
    given = draws_of(config) if kind == "smolvla" else {}
    np.savez(place / "batch.npz", **batch_of(config, kind), **given)
    settings = settings_of(config)
    vlm = {"folder": str(place / "vlm"), "text": TEXT, "vision": VISION, "scale": SCALE}
    vlm["weights"] = False
    job = {
        "do": "loss",
        "kind": kind,
        "seed": 3,
        "drawn": DRAWN,
        "inputs": {key: (f.type, f.shape) for key, f in config.input_features.items()},
        "actions": config.action_size,
        "settings": settings,
        "batch": str(place / "batch.npz"),
        "weights": str(place / "weights.safetensors"),
        "output": str(place / "out.npz"),
    }
    if kind == "smolvla":
        job["vlm"] = vlm
        for name in ("vlm_model_name", "load_vlm_weights", "rtc_config"):
            del settings[name]
    asked.do(job)
    return dict(np.load(place / "out.npz"))


def loaded(kind, config, place, era):
    if kind == "act":
        network = Act(config)
    elif kind == "diffusion":
        network = Diffusion(config)
    else:
        path = place / "vlm" / "config.json"
        vlm = parse_vlm(json.loads(path.read_text()), path)
        words = Words.read(place / "vlm" / "tokenizer.json", None, vlm.text.vocab_size)
        network = SmolVla(config, vlm, words.marks(), ROWS[era])
    weights = load_file(place / "weights.safetensors")
    network.load_state_dict(
        {name: weights[network.stored_name(name)] for name in network.state_dict()}
    )
    return network


def stepped(network, kind, config, rule, dtype=torch.float32):
    """Loss and gradients, by LeRobot's names."""
    network.to(dtype).freeze_for_training(rule).train()
    arrays = {**batch_of(config, kind), **(draws_of(config) if kind == "smolvla" else {})}
    batch = {key: torch.from_numpy(value) for key, value in arrays.items()}
    batch = {
        key: value.to(dtype) if value.is_floating_point() else value for key, value in batch.items()
    }
    if kind == "smolvla":
        draws = Draws(batch["noise"], batch["time"])
    else:
        draws = network.draw(batch, torch.Generator().manual_seed(DRAWN))
    loss = network.compute_loss(batch, rule, draws)
    loss.total.backward()
    trained = {network.stored_name(n): p for n, p in network.named_parameters() if p.requires_grad}
    return loss, {
        name: np.zeros(0) if p.grad is None else p.grad.numpy() for name, p in trained.items()
    }


def length(*gradients):
    return np.sqrt(sum(np.square(g, dtype=np.float64).sum() for g in gradients))


def deviations(ours, theirs, exact):
    """How far each gradient is from LeRobot's, of its length, with its name, worst last; and how
    long, of the whole, the longest is that should have been zero."""
    whole = length(*exact.values())
    found, zeros = [], [0.0]
    for name, expected in theirs.items():
        if length(exact[name]) < ZERO * whole:
            zeros += [length(ours[name]) / whole, length(expected) / whole]
        else:
            found.append((length(ours[name] - expected) / length(expected), name))
    return sorted(found), max(zeros)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("era", ["0.4.4", "0.6.1"])
def test_loss_and_gradients_are_lerobots(era, name, lerobot, tmp_path, one_thread):
    if missing(era):
        pytest.skip(missing(era))
    kind, config = case(name)
    theirs = lerobots(lerobot(era), kind, config, tmp_path)
    network = loaded(kind, config, tmp_path, era)
    exact = copy.deepcopy(network)
    loss, ours = stepped(network, kind, config, LossRule(era))
    gradients = {
        key.removeprefix("gradient "): value
        for key, value in theirs.items()
        if key.startswith("gradient ")
    }
    assert set(ours) == set(theirs["trained"]) & set(gradients)
    reached = {parameter for parameter, gradient in gradients.items() if gradient.size}
    assert {parameter for parameter, gradient in ours.items() if gradient.size} == reached
    torch.set_default_dtype(torch.float64)
    try:
        _, exact = stepped(exact, kind, config, LossRule(era), torch.float64)
    finally:
        torch.set_default_dtype(torch.float32)
    found, rounding = deviations(ours, {n: gradients[n] for n in sorted(reached)}, exact)
    relative, worst = found[-1]
    off = abs(loss.total.item() / float(theirs["total"]) - 1)
    print(
        f"{era} {name}: loss {off:.1e}, worst of {len(found)} gradients {relative:.1e} {worst}, "
        f"{len(reached) - len(found)} are zero but for {rounding:.1e}"
    )
    assert off <= RELATIVE
    assert relative <= RELATIVE, worst
    assert rounding <= ROUNDING
    if "l1_loss" in theirs:
        assert loss.l1.item() == pytest.approx(float(theirs["l1_loss"]), rel=RELATIVE)
        assert loss.kl.item() == pytest.approx(float(theirs.get("kld_loss", 0.0)), rel=RELATIVE)
    for buffer, value in network.named_buffers():
        expected = theirs[f"buffer {network.stored_name(buffer)}"]
        np.testing.assert_allclose(value, expected, rtol=RELATIVE, atol=1e-6, err_msg=buffer)
