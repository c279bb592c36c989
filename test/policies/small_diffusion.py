"""Small Diffusion Policies with random weights, and windows of observations for them."""

import numpy as np
import torch

from armlet.policies import Diffusion, DiffusionConfig, Feature, Observation

HEIGHT, WIDTH = 48, 64
# Six joints, two numbers of a simulator.
JOINTS, PLACES = 6, 2
SMALL = {
    "down_dims": (16, 32),
    "diffusion_step_embed_dim": 8,
    "spatial_softmax_num_keypoints": 4,
    "num_train_timesteps": 10,
    "kernel_size": 3,
    "normalization_mapping": {
        "VISUAL": "MEAN_STD",
        "STATE": "MIN_MAX",
        "ACTION": "MIN_MAX",
        "ENV": "MEAN_STD",
    },
}


def diffusion_config(cameras=("front", "wrist"), environment=None, **settings):
    """A small Diffusion Policy for six joints; without cameras it reads an environment state."""
    inputs = {"observation.state": Feature("STATE", (JOINTS,))}
    for name in cameras:
        inputs[f"observation.images.{name}"] = Feature("VISUAL", (3, HEIGHT, WIDTH))
    if environment if environment is not None else not cameras:
        inputs["observation.environment_state"] = Feature("ENV", (PLACES,))
    return DiffusionConfig(
        input_features=inputs,
        output_features={"action": Feature("ACTION", (JOINTS,))},
        **{**SMALL, **settings},
    )


def make_diffusion(config, seed=0):
    """Random weights, with biases and scales that are not those of a new layer."""
    torch.manual_seed(seed)
    network = Diffusion(config)
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if name.endswith("running_var"):
                value.copy_(torch.rand(value.shape) * 2 + 1)
            elif value.ndim == 1:
                value.add_(torch.randn(value.shape) * 0.1)
    return network.eval()


def make_arrays(config, steps, seed=0):
    """Observations one after the other: state, environment and image_<camera>, by name."""
    random = np.random.default_rng(seed)
    arrays = {"state": random.normal(0, 20, (steps, JOINTS)).astype(np.float32)}
    for key, feature in config.image_features.items():
        _, height, width = feature.shape
        patches = random.integers(0, 200, (steps, 4, 4, 3))
        rows, columns = np.arange(height) * 4 // height, np.arange(width) * 4 // width
        noise = random.integers(0, 56, (steps, height, width, 3))
        pictures = patches[:, rows][:, :, columns] + noise
        arrays[f"image_{key.rpartition('.')[2]}"] = pictures.astype(np.uint8)
    if config.environment_size is not None:
        arrays["environment"] = random.normal(0, 20, (steps, PLACES)).astype(np.float32)
    return arrays


def observations(arrays):
    """The same as Observations, each without those before it."""
    environment = arrays.get("environment", [None] * len(arrays["state"]))
    names = [name for name in arrays if name.startswith("image_")]
    return [
        Observation(
            state,
            {name.removeprefix("image_"): arrays[name][t] for name in names},
            environment_state=environment[t],
        )
        for t, state in enumerate(arrays["state"])
    ]
