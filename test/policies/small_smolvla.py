"""A small SmolVLA with random weights, its language model's two files, and observations for it."""

import json
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers

from armlet.policies import Feature, Observation, SmolVla, SmolVlaConfig
from armlet.policies.config.smolvla import parse_vlm

TEXT = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "rms_norm_eps": 1e-5,
}
VISION = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 64,
    "patch_size": 16,
}
SCALE = 2
HEIGHT, WIDTH = 48, 64


def make_language_model(folder: Path) -> Path:
    """config.json and tokenizer.json of a language model that reads bytes."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    marks = ["<fake_token_around_image>", "<global-img>"]
    tokenizer = Tokenizer(models.BPE({c: i for i, c in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.add_special_tokens(marks)
    folder.mkdir(parents=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "model_type": "smolvlm",
        "scale_factor": SCALE,
        "text_config": {**TEXT, "vocab_size": len(alphabet) + len(marks)},
        "vision_config": VISION,
    }
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def smolvla_config(cameras: tuple[str, ...] = ("front", "wrist"), **settings) -> SmolVlaConfig:
    inputs = {"observation.state": Feature("STATE", (6,))}
    for name in cameras:
        inputs[f"observation.images.{name}"] = Feature("VISUAL", (3, HEIGHT, WIDTH))
    small = {
        "chunk_size": 6,
        "n_action_steps": 4,
        "num_steps": 3,
        "num_vlm_layers": 4,
        "max_state_dim": 8,
        "max_action_dim": 8,
        "resize_imgs_with_padding": (64, 64),
        "vlm_model_name": "nobody/nothing",
    }
    return SmolVlaConfig(
        input_features=inputs,
        output_features={"action": Feature("ACTION", (6,))},
        **{**small, **settings},
    )


def make_smolvla(config: SmolVlaConfig, vlm: Path, seed: int = 0) -> SmolVla:
    torch.manual_seed(seed)
    sizes = parse_vlm(json.loads((vlm / "config.json").read_text()), vlm)
    vocabulary = sizes.text.vocab_size
    network = SmolVla(config, sizes, (vocabulary - 2, vocabulary - 1))
    with torch.no_grad():
        for value in network.parameters():
            if value.ndim == 1:
                value.add_(torch.randn(value.shape) * 0.1)
    return network.eval()


def make_observation(
    config: SmolVlaConfig, seed: int = 0, size: tuple[int, int] = (HEIGHT, WIDTH)
) -> Observation:
    random = np.random.default_rng(seed)
    cameras = [key.rpartition(".")[2] for key in config.image_features]
    return Observation(
        state=random.normal(0, 20, 6).astype(np.float32),
        images={n: random.integers(0, 256, (*size, 3)).astype(np.uint8) for n in cameras},
        task="push the button",
    )


def make_noise(config: SmolVlaConfig, seed: int = 0) -> np.ndarray:
    shape = (config.chunk_size, config.max_action_dim)
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)
