"""Small policies with random weights, statistics and observations for them."""

import numpy as np
import torch

from armlet.policies import Act, ActConfig, Feature, Observation

HEIGHT, WIDTH = 48, 64


def act_config(cameras: tuple[str, ...] = ("front", "wrist"), **settings: object) -> ActConfig:
    """A small ACT for six joints; without cameras it reads an environment state of two."""
    inputs = {"observation.state": Feature("STATE", (6,))}
    for name in cameras:
        inputs[f"observation.images.{name}"] = Feature("VISUAL", (3, HEIGHT, WIDTH))
    if not cameras:
        inputs["observation.environment_state"] = Feature("ENV", (2,))
    small = {
        "dim_model": 32,
        "n_heads": 4,
        "dim_feedforward": 64,
        "n_encoder_layers": 2,
        "n_vae_encoder_layers": 1,
        "chunk_size": 8,
        "n_action_steps": 4,
        "latent_dim": 4,
        "use_vae": False,
        "normalization_mapping": dict.fromkeys(("VISUAL", "STATE", "ACTION", "ENV"), "MEAN_STD"),
    }
    return ActConfig(
        input_features=inputs,
        output_features={"action": Feature("ACTION", (6,))},
        **{**small, **settings},  # type: ignore[arg-type]
    )


def make_statistics(config: ActConfig, seed: int = 0) -> dict[str, dict[str, np.ndarray]]:
    """Plausible dataset statistics of every feature: ordered quantiles around a mean."""
    random = np.random.default_rng(seed)
    statistics = {}
    for key, feature in config.used_features.items():
        picture = feature.type == "VISUAL"
        shape = (3, 1, 1) if picture else feature.shape
        mean = random.uniform(0.3, 0.6, shape) if picture else random.normal(0, 20, shape)
        std = random.uniform(0.15, 0.3, shape) if picture else random.uniform(10, 40, shape)
        spans = {"min": -2.5, "q01": -2.2, "q10": -1.3, "q90": 1.2, "q99": 2.1, "max": 2.4}
        values = {"mean": mean, "std": std, **{n: mean + z * std for n, z in spans.items()}}
        statistics[key] = {name: value.astype(np.float32) for name, value in values.items()}
    return statistics


def make_act(config: ActConfig, seed: int = 0) -> Act:
    """An ACT with random weights and a backbone whose activations stay in range."""
    torch.manual_seed(seed)
    network = Act(config)
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if name.endswith("running_var"):
                value.copy_(torch.rand(value.shape) * 2 + 1)
            elif value.ndim == 1:
                value.add_(torch.randn(value.shape) * 0.1)
    return network.eval()


def make_observation(config: ActConfig, seed: int = 0) -> Observation:
    random = np.random.default_rng(seed)
    cameras = [key.rpartition(".")[2] for key in config.image_features]
    return Observation(
        state=random.normal(0, 20, 6).astype(np.float32),
        images={
            name: random.integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8) for name in cameras
        },
        environment_state=None if cameras else random.normal(0, 20, 2).astype(np.float32),
    )
