"""Runs jobs with stock LeRobot 0.4.4, inside its own environment: driver.py JOBS.json

The only file of the project that imports lerobot; tests start it in a subprocess and compare what
it writes with armlet. A job is an object with a "do":
make  build an ACT policy with random weights (seed, cameras, size, settings, stats) and save it
run   load a checkpoint, write chunk and consecutive actions for the observations in an .npz
loss  load a checkpoint, write training losses and gradient sum for a normalized batch in an .npz
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from lerobot.configs.types import FeatureType, NormalizationMode, PolicyFeature
from lerobot.policies.act.configuration_act import ACTConfig
from lerobot.policies.act.modeling_act import ACTPolicy
from lerobot.policies.factory import make_pre_post_processors
from lerobot.policies.utils import prepare_observation_for_inference


def make(job):
    torch.manual_seed(job["seed"])
    height, width = job["size"]
    inputs = {"observation.state": PolicyFeature(FeatureType.STATE, (6,))}
    for name in job["cameras"]:
        shape = (3, height, width)
        inputs[f"observation.images.{name}"] = PolicyFeature(FeatureType.VISUAL, shape)
    settings = dict(job["settings"])
    modes = settings.pop("normalization_mapping", None)
    if modes:
        settings["normalization_mapping"] = {k: NormalizationMode(v) for k, v in modes.items()}
    config = ACTConfig(
        input_features=inputs,
        output_features={"action": PolicyFeature(FeatureType.ACTION, (6,))},
        device="cpu",
        push_to_hub=False,
        pretrained_backbone_weights=None,
        **settings,
    )
    policy = ACTPolicy(config)
    with torch.no_grad():
        for name, value in [*policy.named_parameters(), *policy.named_buffers()]:
            if name.endswith("running_var"):
                # Random kernels double the variance at every block; this keeps activations tame.
                value.copy_(torch.rand(value.shape) * 2 + 1)
            elif value.ndim == 1:
                value.add_(torch.randn(value.shape) * 0.1)
    stats = {
        feature: {name: torch.tensor(value) for name, value in values.items()}
        for feature, values in job["stats"].items()
    }
    before, after = make_pre_post_processors(config, dataset_stats=stats)
    for part in (policy, before, after):
        part.save_pretrained(job["checkpoint"])


def run(job):
    policy = ACTPolicy.from_pretrained(job["checkpoint"])
    before, after = make_pre_post_processors(policy.config, pretrained_path=job["checkpoint"])
    arrays = np.load(job["input"])
    cameras = [name for name in arrays if name.startswith("image_")]

    def prepared(t):
        observation = {"observation.state": arrays["state"][t]}
        for name in cameras:
            observation["observation.images." + name.removeprefix("image_")] = arrays[name][t]
        device = torch.device("cpu")
        return before(prepare_observation_for_inference(observation, device, "", "so101_follower"))

    with torch.inference_mode():
        chunk = after(policy.predict_action_chunk(prepared(0)))[0]
        policy.reset()
        steps = range(len(arrays["state"]))
        actions = torch.cat([after(policy.select_action(prepared(t))) for t in steps])
    np.savez(job["output"], chunk=chunk.numpy(), actions=actions.numpy())


def loss(job):
    policy = ACTPolicy.from_pretrained(job["checkpoint"])
    policy.train()
    batch = {key: torch.from_numpy(value) for key, value in np.load(job["input"]).items()}
    torch.manual_seed(job["seed"])
    total, parts = policy.forward(batch)
    total.backward()
    gradient = sum(p.grad.abs().sum() for p in policy.parameters() if p.grad is not None)
    values = {"total": total.item(), "gradient": float(gradient), **parts}
    np.savez(job["output"], **values)


if __name__ == "__main__":
    torch.set_num_threads(2)
    with Path(sys.argv[1]).open() as jobs:
        for job in json.load(jobs):
            {"make": make, "run": run, "loss": loss}[job.pop("do")](job)
