"""Does jobs with stock LeRobot (0.3.3, 0.4.4, 0.6.1) in its environment: one JSON object a line.

Started by lerobot_oracle.py; with smolvla_driver.py the only file of the project that imports
lerobot. A job comes on a line of stdin and is an object with a "do"; its answer is a line of
stdout, {} or {"error": traceback}.

make  build a policy with random weights and save it; then run it
run   load a checkpoint; write what it gives for the observations in an .npz into another; of
      Diffusion Policy, which draws noise all the way, with seeds instead of noise
loss  build a policy with random weights; write them, and loss and gradients of a training step
preset  load a checkpoint's configuration; write its optimizer and the rate of every step
"""

import json
import os
import sys
import traceback
from pathlib import Path

import lerobot
import numpy as np
import torch
from lerobot.configs.types import FeatureType, NormalizationMode, PolicyFeature
from lerobot.policies.act.configuration_act import ACTConfig
from lerobot.policies.act.modeling_act import ACTPolicy
from safetensors.torch import load_file, save_file

OLD = lerobot.__version__.startswith("0.3.")
if not OLD:
    from lerobot.policies.factory import make_pre_post_processors

WEIGHTS = "model.safetensors"


def make(job):
    """Keys: kind, checkpoint, seed, inputs, actions, settings, stats, stored, and those of run.

    stored is the dtype of the weights on disk. eps, rename and normalized, where given, are
    written into the processor files. For smolvla also vlm, see smolvla_driver.
    """
    config, policy_class, randomize = _configured(job)
    stats = {
        feature: {name: torch.tensor(value) for name, value in values.items()}
        for feature, values in job["stats"].items()
    }
    policy = policy_class(config, dataset_stats=stats) if OLD else policy_class(config)
    randomize(policy, job["seed"])
    folder = Path(job["checkpoint"])
    policy.save_pretrained(folder)
    if not OLD:
        for part in make_pre_post_processors(config, dataset_stats=stats):
            part.save_pretrained(folder)
        _edit(folder, job)
    if job.get("by_name"):
        _save_training(folder, config)
    if job.get("stored", "float32") != "float32":
        dtype = getattr(torch, job["stored"])
        save_file(
            {k: v.to(dtype) for k, v in load_file(folder / WEIGHTS).items()}, folder / WEIGHTS
        )
    # With the configuration given, LeRobot does not parse it again, which takes most of a second.
    made = policy_class.from_pretrained(folder, config=config)
    (run_diffusion if job["kind"] == "diffusion" else run)(job, made)


def _configured(job):
    """Configuration, class and what gives it random weights; torch's generator is seeded."""
    torch.manual_seed(job["seed"])
    settings = dict(job["settings"])
    modes = settings.pop("normalization_mapping", None)
    if modes:
        settings["normalization_mapping"] = {k: NormalizationMode(v) for k, v in modes.items()}
    config_class, policy_class, randomize = _kind(job, settings)
    config = config_class(
        input_features={
            key: PolicyFeature(FeatureType(kind), tuple(shape))
            for key, (kind, shape) in job["inputs"].items()
        },
        output_features={"action": PolicyFeature(FeatureType.ACTION, (job["actions"],))},
        device="cpu",
        push_to_hub=False,
        **settings,
    )
    config.validate_features()
    return config, policy_class, randomize


def _kind(job, settings):
    if job["kind"] == "act":
        return ACTConfig, ACTPolicy, randomize_act
    if job["kind"] == "diffusion":
        from lerobot.policies.diffusion.configuration_diffusion import DiffusionConfig
        from lerobot.policies.diffusion.modeling_diffusion import DiffusionPolicy

        return DiffusionConfig, DiffusionPolicy, randomize_diffusion
    import smolvla_driver  # transformers take seconds to import

    return smolvla_driver.prepare(job, settings)


def randomize_diffusion(policy, seed):
    """Biases, scales and, for batch normalization, moments that are not those of a new layer."""
    with torch.no_grad():
        for name, value in [*policy.named_parameters(), *policy.named_buffers()]:
            if name.endswith("running_var"):
                value.copy_(torch.rand(value.shape) * 2 + 1)
            elif value.ndim == 1 and value.dtype == torch.float32:
                value.add_(torch.randn(value.shape) * 0.1)


def randomize_act(policy, seed):
    with torch.no_grad():
        for name, value in [*policy.model.named_parameters(), *policy.model.named_buffers()]:
            if name.endswith("running_var"):
                # Random kernels double the variance at every block; this keeps activations tame.
                value.copy_(torch.rand(value.shape) * 2 + 1)
            elif value.ndim == 1:
                value.add_(torch.randn(value.shape) * 0.1)


def _save_training(folder, config):
    """train_config.json, as the trainer writes it beside the policy."""
    from lerobot.configs.default import DatasetConfig
    from lerobot.configs.train import TrainPipelineConfig

    TrainPipelineConfig(dataset=DatasetConfig("nobody/nothing"), policy=config)._save_pretrained(
        folder
    )


def _edit(folder, job):
    """Write into the processor files what LeRobot's own factory leaves at its default."""
    for file in folder.glob("policy_*.json"):
        document = json.loads(file.read_text())
        for step in document["steps"]:
            if "eps" in step["config"]:
                step["config"]["eps"] = job.get("eps", 1e-8)
                if job.get("normalized") and "pre" in file.name:
                    step["config"]["normalize_observation_keys"] = job["normalized"]
            if "rename_map" in step["config"]:
                step["config"]["rename_map"] = job.get("rename", {})
        file.write_text(json.dumps(document))


def run(job, policy=None):
    """Keys: kind, checkpoint, input, output, reset, and guidance and delay where there are any.

    Writes `chunk` and `actions`, one for each observation, between which the policy is reset before
    number `reset`; with a guidance also `guided`, which goes on with the input's `leftover`.
    """
    if policy is None:
        kind = ACTPolicy
        if job["kind"] == "smolvla":
            from lerobot.policies.smolvla.modeling_smolvla import SmolVLAPolicy as kind
        policy = kind.from_pretrained(job["checkpoint"])
    before = after = lambda x: x
    if not OLD:
        path = job["checkpoint"]
        before, after = make_pre_post_processors(policy.config, pretrained_path=path)
    arrays = dict(np.load(job["input"]))
    noise = arrays.get("noise")

    def given(t):
        return {} if noise is None else {"noise": torch.from_numpy(noise[t])[None].clone()}

    out = {}
    with torch.inference_mode():
        out["chunk"] = after(policy.predict_action_chunk(before(observed(arrays, 0)), **given(0)))[
            0
        ]
    if job.get("guidance"):
        with torch.no_grad():
            guided = policy.predict_action_chunk(
                before(observed(arrays, 0)),
                **given(0),
                inference_delay=job["delay"],
                prev_chunk_left_over=torch.from_numpy(arrays["leftover"])[None],
            )
        out["guided"] = after(guided)[0]
        policy.config.rtc_config = None  # with it LeRobot refuses to select actions
    policy.reset()
    actions = []
    with torch.inference_mode():
        for t in range(len(arrays["state"])):
            if t == job.get("reset"):
                policy.reset()
            chosen = after(policy.select_action(before(observed(arrays, t)), **given(t)))
            actions.append(chosen[0].clone())
    out["actions"] = torch.stack(actions)
    np.savez(job["output"], **{name: value.float().numpy() for name, value in out.items()})


def run_diffusion(job, policy=None):
    """Keys: kind, checkpoint, input, output, seed and reset.

    Writes `chunks` (T, horizon, n), of which number t is drawn with seed `seed` + t from the window
    that ends with observation t and begins no earlier than the first, and `actions`, as run does,
    with seed `seed` at the beginning and after the reset.
    """
    if policy is None:
        from lerobot.policies.diffusion.modeling_diffusion import DiffusionPolicy

        policy = DiffusionPolicy.from_pretrained(job["checkpoint"])
    before, after = make_pre_post_processors(policy.config, pretrained_path=job["checkpoint"])
    arrays = dict(np.load(job["input"]))
    model, length = policy.diffusion, policy.config.n_obs_steps
    chunks, actions = [], []
    with torch.no_grad():
        frames = [before(observed(arrays, t)) for t in range(len(arrays["state"]))]
        for t in range(len(frames)):
            window = [frames[max(0, k)] for k in range(t + 1 - length, t + 1)]
            names = ("observation.state", "observation.environment_state")
            batch = {k: torch.stack([f[k] for f in window], 1) for k in names if k in window[0]}
            if cameras := list(policy.config.image_features):
                views = [torch.stack([f[key] for key in cameras], -4) for f in window]
                batch["observation.images"] = torch.stack(views, 1)
            torch.manual_seed(job["seed"] + t)
            seen = model._prepare_global_conditioning(batch)
            chunks.append(after(model.conditional_sample(1, global_cond=seen))[0])
        for t in range(len(frames)):
            if t in (0, job.get("reset")):
                policy.reset()
                torch.manual_seed(job["seed"])
            chosen = after(policy.select_action(before(observed(arrays, t))))
            actions.append(chosen[0].clone())
    out = {"chunks": torch.stack(chunks), "actions": torch.stack(actions)}
    np.savez(job["output"], **{name: value.float().numpy() for name, value in out.items()})


def observed(arrays, t):
    """Observation number t as LeRobot's control loop prepares it, in both eras."""
    observation = {"observation.state": torch.from_numpy(arrays["state"][t])[None]}
    if "environment" in arrays:
        environment = torch.from_numpy(arrays["environment"][t])[None]
        observation["observation.environment_state"] = environment
    for name in arrays:
        if name.startswith("image_"):
            picture = torch.from_numpy(arrays[name][t]).type(torch.float32) / 255
            key = "observation.images." + name.removeprefix("image_")
            observation[key] = picture.permute(2, 0, 1).contiguous()[None]
    return {**observation, "task": str(arrays.get("task", "")), "robot_type": "so101_follower"}


def loss(job):
    """Keys: kind, seed, inputs, actions, settings, and vlm; weights, batch, output, drawn.

    Writes the weights of a policy with random weights, and of one training step on the batch, whose
    numbers are drawn from the seed `drawn` or are its `noise` and `time`: `total`, the parts that
    LeRobot reports, the gradient of every parameter as `gradient <name>`, empty where there is
    none, and every buffer after it as `buffer <name>`. `trained` names what requires a gradient.
    """
    config, policy_class, randomize = _configured(job)
    policy = policy_class(config)
    randomize(policy, job["seed"])
    # A copy: batch normalization changes its buffers in place.
    save_file({k: v.clone().contiguous() for k, v in policy.state_dict().items()}, job["weights"])
    policy.train()
    batch = {key: torch.from_numpy(value) for key, value in np.load(job["batch"]).items()}
    given = {name: batch.pop(name) for name in ("noise", "time") if name in batch}
    torch.manual_seed(job["drawn"])
    total, parts = policy.forward(batch, **given)
    total.backward()
    out = {"total": total.item(), **(parts or {})}
    out["trained"] = [name for name, p in policy.named_parameters() if p.requires_grad]
    for name, parameter in policy.named_parameters():
        gradient = parameter.grad
        out[f"gradient {name}"] = np.zeros(0) if gradient is None else gradient.numpy()
    out |= {f"buffer {name}": value.numpy() for name, value in policy.named_buffers()}
    np.savez(job["output"], **out)


def preset(job):
    """Keys: checkpoint, steps and output, a JSON file: `class`, `settings`, `clip`, `rates`."""
    import lerobot.policies.smolvla.configuration_smolvla  # noqa: F401
    from lerobot.configs.policies import PreTrainedConfig

    config = PreTrainedConfig.from_pretrained(job["checkpoint"])
    wanted = config.get_optimizer_preset()
    optimizer = wanted.build([torch.nn.Parameter(torch.zeros(1))])
    schedule = config.get_scheduler_preset().build(optimizer, job["steps"])
    (group,) = optimizer.param_groups
    settings = {name: group[name] for name in ("initial_lr", "betas", "eps", "weight_decay")}
    rates = []
    for _ in range(job["steps"]):
        rates.append(group["lr"])
        optimizer.step()
        schedule.step()
    out = {"class": type(optimizer).__name__, "settings": settings, "rates": rates}
    Path(job["output"]).write_text(json.dumps({**out, "clip": wanted.grad_clip_norm}))


def serve(answers):
    for line in sys.stdin:
        job = json.loads(line)
        torch.set_num_threads(job.get("threads", 1))
        answer = {}
        try:
            jobs = {"make": make, "run": run, "run_diffusion": run_diffusion, "loss": loss}
            jobs["preset"] = preset
            jobs[job["do"]](job)
        except Exception:
            answer["error"] = traceback.format_exc()
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    # LeRobot prints; what it prints is no answer.
    own = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    serve(own)
