"""One configuration of a policy at random, what LeRobot makes of it, and how far armlet is from it.

A Case is a function of its era, kind and seed. LeRobot makes the checkpoint, loads it again and
gives a whole chunk and consecutive actions with a reset midway; armlet loads the same files.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from small_policies import make_statistics

from armlet.policies import (
    ActConfig,
    Choices,
    Feature,
    LeftOver,
    Observation,
    PolicyConfig,
    SmolVlaConfig,
    load_policy,
)
from armlet.policies.config.smolvla import TextShape
from armlet.policies.networks.smolvla import layer_plan

ERAS = ("0.3.3", "0.4.4")
KINDS = ("act", "smolvla")
STATE, ACTION = "observation.state", "action"
ENVIRONMENT, IMAGE = "observation.environment_state", "observation.images."
OLD_MODES = ("MEAN_STD", "MIN_MAX", "IDENTITY")
NEW_MODES = (*OLD_MODES, "QUANTILES", "QUANTILE10")
SIZES = ((48, 64), (33, 45), (64, 64), (61, 40), (40, 96), (80, 72))
NAMES = ("front", "wrist", "top_left", "camera1")
TASKS = (
    "Pick up the red cube and place it in the box",
    "push button 12\n",
    "two\nlines\n",
    "",
    "\n",
    "Naïve café – 東京!",
    "  Fold the towel twice ",
    "Fold the towel, " * 9,
)
ROBOT = "so100"
BACKENDS = {
    "torch": {"optimize": False},
    "torch-optimized": {"optimize": True},
    "onnxruntime": {"backend": "onnxruntime"},
    "openvino": {"backend": "openvino"},
}

# ACT in units of the dataset where the arithmetic is LeRobot's own; other ways of computing move
# rounding and are held to as much in the network's units. SmolVLA by the size of its chunks.
LIMITS = {"act": 1e-4, "smolvla": 1e-3}


@dataclass(frozen=True)
class Case:
    """disguise: how other writers of checkpoints would have named the tensors. See draw."""

    seed: int
    era: str
    kind: str
    config: PolicyConfig
    settings: dict
    statistics: dict
    stored: str = "float32"
    disguise: str = ""
    steps: int = 25
    reset: int = 11
    task: str = ""
    absent: tuple[str, ...] = ()
    processors: dict = field(default_factory=dict)
    vlm: dict = field(default_factory=dict)
    guidance: dict | None = None
    delay: int = 0
    leftover: int = 0

    @property
    def cameras(self):
        """The sizes of the cameras the robot has, by the policy's names."""
        pictures = self.config.image_features.items()
        names = {key.removeprefix(IMAGE): feature.shape[1:] for key, feature in pictures}
        return {name: size for name, size in names.items() if name not in self.absent}

    def options(self):
        """(name, value) of all that was drawn from a few values, for a look at what is covered."""
        config, settings = self.config, self.settings
        steps = settings["n_action_steps"]
        found = {
            **{k: v for k, v in settings.items() if isinstance(v, bool | str | float)},
            **{f"mode of {k}": v for k, v in settings["normalization_mapping"].items()},
            "cameras": len(config.image_features),
            "state": STATE in config.input_features,
            "environment": ENVIRONMENT in config.input_features,
            "played": steps if steps == 1 else steps == settings["chunk_size"],
            "stored": self.stored,
            "disguise": self.disguise,
            "still": any((t["std"] == 0).any() for t in self.statistics.values()),
            "absent": len(self.absent),
            "schedule": self.guidance and self.guidance["prefix_attention_schedule"],
            **dict.fromkeys(self.processors, True),
        }
        for name in ("num_steps", "empty_cameras", "num_vlm_layers", "num_expert_layers"):
            found[name] = settings.get(name)
        for name in ("self_attn_every_n_layers", "prefix_length", "tokenizer_max_length"):
            found[name] = settings.get(name)
        if self.kind == "smolvla":
            found["task"] = self.task
        return set(found.items())

    def describe(self):
        """What was drawn, for a line of a report."""
        modes = "/".join(self.config.normalization_mapping.values())
        settings = {k: v for k, v in self.settings.items() if k != "normalization_mapping"}
        marks = [self.stored, self.disguise, *self.processors, *self.absent]
        marks += ["guided"] if self.guidance else []
        return {
            "inputs": {key: feature.shape for key, feature in self.config.input_features.items()},
            "modes": modes,
            **settings,
            "marks": [mark for mark in marks if mark],
        }


def draw(seed, era, kind):
    """The case of a seed; configurations LeRobot itself cannot run are passed over."""
    random = np.random.default_rng([seed, ERAS.index(era), KINDS.index(kind)])
    return (_draw_act if kind == "act" else _draw_smolvla)(seed, era, random)


def _pick(random, choices, weights=None):
    chances = None if weights is None else np.array(weights) / sum(weights)
    return choices[int(random.choice(len(choices), p=chances))]


def _chance(random, probability):
    return bool(random.random() < probability)


def _cameras(random, least, most):
    count = int(random.integers(least, most + 1))
    names = [str(name) for name in random.permutation(NAMES)[:count]]
    return {IMAGE + name: Feature("VISUAL", (3, *_pick(random, SIZES))) for name in names}


def _modes(random, era, kinds):
    modes = OLD_MODES if era == "0.3.3" else NEW_MODES
    return {kind: _pick(random, modes) for kind in kinds}


def _draw_act(seed, era, random):
    inputs = _cameras(random, 0, 3)
    if not inputs or _chance(random, 0.25):
        inputs[ENVIRONMENT] = Feature("ENV", (int(random.integers(1, 9)),))
    if _chance(random, 0.9):
        inputs[STATE] = Feature("STATE", (int(random.integers(1, 15)),))
    if _chance(random, 0.15):
        inputs["observation.velocity"] = Feature("STATE", (3,))
    keys = [str(key) for key in random.permutation(list(inputs))]
    inputs = {key: inputs[key] for key in keys}
    backbone = _pick(random, ("resnet18", "resnet34", "resnet50"), (8, 1, 1))
    chunk = int(random.integers(1, 31))
    ensembled = _chance(random, 0.4)
    heads = _pick(random, (1, 2, 4, 8))
    settings = {
        "normalization_mapping": _modes(random, era, ("VISUAL", "STATE", "ACTION", "ENV")),
        "pretrained_backbone_weights": None,
        "vision_backbone": backbone,
        "replace_final_stride_with_dilation": backbone == "resnet50" and _chance(random, 0.5),
        "pre_norm": _chance(random, 0.5),
        "dim_model": heads * _pick(random, (4, 8, 12)) * (2 if heads < 4 else 1),
        "n_heads": heads,
        "dim_feedforward": _pick(random, (32, 96, 160)),
        "feedforward_activation": _pick(random, ("relu", "gelu")),
        "n_encoder_layers": int(random.integers(1, 5)),
        "n_decoder_layers": int(random.integers(1, 4)),
        "use_vae": _chance(random, 0.5),
        "latent_dim": _pick(random, (4, 8, 32)),
        "n_vae_encoder_layers": int(random.integers(1, 3)),
        "dropout": _pick(random, (0.0, 0.1)),
        "chunk_size": chunk,
        "n_action_steps": 1 if ensembled else int(random.integers(1, chunk + 1)),
        "temporal_ensemble_coeff": (
            _pick(random, (0.01, 0.1, 0.0, -0.05, 1.5)) if ensembled else None
        ),
    }
    config = ActConfig(inputs, _actions(random), **settings)
    return Case(
        seed,
        era,
        "act",
        config,
        settings,
        _statistics(config, random),
        stored=_pick(random, ("float32", "bfloat16", "float16"), (6, 2, 1)),
        disguise=_pick(random, ("", "compiled", "robot"), (6, 1, 1)),
        reset=int(random.integers(3, 23)),
        processors=_processors(random, era, config),
    )


def _draw_smolvla(seed, era, random):
    while True:
        try:
            return _try_smolvla(seed, era, random)
        except ValueError:  # of SmolVlaConfig or layer_plan: LeRobot cannot run it either
            continue


def _try_smolvla(seed, era, random):
    inputs = _cameras(random, 1, 3)
    inputs[STATE] = Feature("STATE", (int(random.integers(1, 15)),))
    inputs = {str(key): inputs[str(key)] for key in random.permutation(list(inputs))}
    actions = _actions(random)
    width, chunk = actions[ACTION].shape[0], int(random.integers(2, 13))
    blanks = _pick(random, (0, 1, 2), (3, 1, 1))
    text, vision = _shapes(random)
    settings = {
        "normalization_mapping": _modes(random, era, ("VISUAL", "STATE", "ACTION")),
        "chunk_size": chunk,
        "n_action_steps": int(random.integers(1, chunk + 1)),
        "num_steps": _pick(random, (1, 3, 4, 7, 10)),
        "max_state_dim": _pick(random, (inputs[STATE].shape[0], 16, 32)),
        "max_action_dim": _pick(random, (width, 16, 32)),
        "empty_cameras": blanks,
        "resize_imgs_with_padding": _pick(random, ([64, 64], [32, 32])),
        "add_image_special_tokens": _chance(random, 0.3),
        "tokenizer_max_length": _pick(random, (48, 12, 80)),
        "pad_language_to": _pick(random, ("longest", "max_length")),
        "prefix_length": _pick(random, (-1, 200), (3, 1)),
        "attention_mode": _pick(random, ("cross_attn", "self_attn"), (3, 1)),
        "num_vlm_layers": _pick(random, (0, 1, 2, 3, 4)),
        "num_expert_layers": _pick(random, (-1, 0, 1, 2), (4, 1, 1, 1)),
        "self_attn_every_n_layers": _pick(random, (2, 3, -1, 1)),
        "expert_width_multiplier": _pick(random, (0.75, 0.5, 1.0)),
        "min_period": _pick(random, (4e-3, 0.05)),
        "max_period": _pick(random, (4.0, 9.0)),
    }
    config = SmolVlaConfig(inputs, actions, **settings)
    layer_plan(config, TextShape(**text))
    names = [key.removeprefix(IMAGE) for key in config.image_features]
    absent = tuple(names[:1]) if len(names) > 1 and _chance(random, 0.2) else ()
    guided = era != "0.3.3" and _chance(random, 0.4)
    if era == "0.3.3" and blanks:  # it wants statistics of the blank cameras, and there are none
        settings["normalization_mapping"]["VISUAL"] = "IDENTITY"
        config = SmolVlaConfig(inputs, actions, **settings)
    schedules = ("LINEAR", "EXP", "ONES", "ZEROS")
    guidance = {
        "prefix_attention_schedule": _pick(random, schedules),
        "execution_horizon": int(random.integers(1, 12)),
        "max_guidance_weight": _pick(random, (1.0, 5.0, 10.0)),
    }
    return Case(
        seed,
        era,
        "smolvla",
        config,
        settings,
        # What is left of a chunk of a joint that never moved says nothing in the dataset's units.
        _statistics(config, random, still_actions=not guided),
        stored=_pick(random, ("float32", "bfloat16"), (2, 1)),
        disguise=_pick(random, ("", "compiled", "robot"), (6, 1, 1)),
        steps=10,
        reset=int(random.integers(2, 9)),
        task=_pick(random, TASKS),
        absent=absent,
        processors=_processors(random, era, config),
        vlm={"text": text, "vision": vision, "scale": 2, "weights": False},
        guidance=guidance if guided else None,
        delay=int(random.integers(0, 5)),
        leftover=int(random.integers(1, chunk + 1)),
    )


def _shapes(random):
    heads, groups, width = _pick(random, ((4, 2, 8), (4, 4, 8), (3, 1, 16)))
    text = {
        "hidden_size": heads * width,
        "intermediate_size": 48,
        "num_hidden_layers": 4,
        "num_attention_heads": heads,
        "num_key_value_heads": groups,
        "head_dim": width,
        "rms_norm_eps": 1e-5,
    }
    vision = {
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": int(random.integers(1, 3)),
        "num_attention_heads": 2,
        "image_size": 64,
        "patch_size": 16,
    }
    return text, vision


def _actions(random):
    return {ACTION: Feature("ACTION", (int(random.integers(1, 15)),))}


def _statistics(config, random, still_actions=True):
    """Of every feature; some joints never or hardly moved, some pictures spread too little."""
    statistics = make_statistics(config, int(random.integers(2**31)))
    for key, feature in config.used_features.items():
        table = statistics[key]
        if feature.type == "VISUAL":
            if _chance(random, 0.1):
                table["std"] = table["std"] * np.float32(1e-3)
        elif _chance(random, 0.4) and (key != ACTION or still_actions):
            width = np.float32(_pick(random, (0.0, 1e-9, 1e-6, 1e-3)))
            index = int(random.integers(feature.shape[0]))
            centre = table["mean"][index]
            table["std"][index] = width
            for sign, names in ((-1, ("min", "q01", "q10")), (1, ("q90", "q99", "max"))):
                for name in names:
                    table[name][index] = centre + sign * width
    for key, feature in config.input_features.items():
        if key not in statistics:
            zeros = np.zeros((3, 1, 1) if feature.type == "VISUAL" else feature.shape, np.float32)
            statistics[key] = dict.fromkeys(statistics[ACTION], zeros)
            statistics[key]["std"] = zeros + 1
    return statistics


def _processors(random, era, config):
    if era == "0.3.3":
        return {}
    drawn = {}
    if _chance(random, 0.2):
        drawn["eps"] = _pick(random, (1e-6, 1e-4))
    cameras = list(config.image_features)
    if cameras and _chance(random, 0.2):
        drawn["rename"] = {f"{IMAGE}of_robot_{i}": key for i, key in enumerate(cameras)}
    if _chance(random, 0.1):
        drawn["normalized"] = sorted(config.input_features)
    return drawn


def exchange(case, lerobot, place):
    """Have LeRobot make and run the case in the directory `place`; inputs and outputs, by name."""
    arrays = _inputs(case)
    np.savez(place / "in.npz", **arrays)
    lerobot.do(_job(case, place))
    _disguise(case, place / "checkpoint")
    return {**arrays, **np.load(place / "out.npz")}


def _job(case, place):
    inputs = case.config.input_features
    return {
        "do": "make",
        "kind": case.kind,
        "checkpoint": str(place / "checkpoint"),
        "input": str(place / "in.npz"),
        "output": str(place / "out.npz"),
        "seed": case.seed,
        "inputs": {key: (feature.type, feature.shape) for key, feature in inputs.items()},
        "actions": case.config.action_size,
        "settings": case.settings,
        "stats": {
            feature: {name: value.tolist() for name, value in values.items()}
            for feature, values in case.statistics.items()
        },
        "stored": case.stored,
        "reset": case.reset,
        "guidance": case.guidance,
        "delay": case.delay,
        **case.processors,
        **({"vlm": {"folder": str(place / "vlm"), **case.vlm}} if case.vlm else {}),
    }


def _robots_name(case, camera):
    """What the robot calls the camera the policy calls `camera`."""
    names = {new: old for old, new in case.processors.get("rename", {}).items()}
    return names.get(IMAGE + camera, IMAGE + camera).removeprefix(IMAGE)


def _inputs(case):
    random = np.random.default_rng(case.seed + 1)
    arrays = {
        f"image_{_robots_name(case, name)}": _pictures(random, case.steps, size)
        for name, size in case.cameras.items()
    }
    arrays["state"] = _vectors(random, case, STATE)
    if ENVIRONMENT in case.config.input_features:
        arrays["environment"] = _vectors(random, case, ENVIRONMENT)
    if case.kind == "smolvla":
        chunk, width = case.config.chunk_size, case.config.max_action_dim
        noise = random.normal(size=(case.steps, chunk, width))
        leftover = random.normal(size=(case.leftover, case.config.action_size))
        arrays |= {"noise": noise.astype(np.float32), "leftover": leftover.astype(np.float32)}
        arrays["task"] = np.array(case.task)
    return arrays


def _pictures(random, count, size):
    """Noise on patches of colour, which differ from frame to frame."""
    patches = random.integers(0, 200, (count, 4, 4, 3))
    rows, columns = (np.arange(n) * 4 // n for n in size)
    pictures = patches[:, rows][:, :, columns] + random.integers(0, 56, (count, *size, 3))
    return pictures.astype(np.uint8)


def _vectors(random, case, key):
    """Around the mean; a joint that never moved may stay exactly where it was."""
    if key not in case.statistics:
        return random.normal(0, 20, (case.steps, 6)).astype(np.float32)
    table = case.statistics[key]
    values = table["mean"] + random.normal(0, 15, (case.steps, *table["mean"].shape))
    values = values.astype(np.float32)
    still = (table["std"] == 0) & (random.random() < 0.5)
    values[:, still] = table["mean"][still]
    return values


def _disguise(case, checkpoint):
    """Rename tensors as a compiled module, or a policy of several robots, would have them."""
    if case.disguise == "compiled":
        prefix = "model._orig_mod." if case.seed % 2 else "_orig_mod.model."
        _rename(checkpoint / "model.safetensors", "model.", prefix)
    elif case.disguise == "robot" and case.era == "0.3.3":
        for part in ("normalize_inputs.", "normalize_targets.", "unnormalize_outputs."):
            _rename(checkpoint / "model.safetensors", part, f"{part}{ROBOT}_")
    elif case.disguise == "robot":
        for file in checkpoint.glob("policy_*.safetensors"):
            _rename(file, "", f"{ROBOT}.buffer.")


def _rename(file, start, new):
    tensors = load_file(file)
    save_file(
        {new + k.removeprefix(start) if k.startswith(start) else k: v for k, v in tensors.items()},
        file,
    )


@dataclass(frozen=True)
class Deviation:
    """How far armlet is from LeRobot, the largest of all numbers.

    units: in units of the dataset. normalized: in the network's own, or in the dataset's where a
    network's is less. relative: by the largest of LeRobot's numbers, whole chunks only. guided: the
    same of the chunk with guidance. moved: how far LeRobot's own actions move, as normalized.
    """

    units: float
    normalized: float
    relative: float
    guided: float
    moved: float
    chunk: float
    actions: float


def deviate(case, arrays, place, backend="torch"):
    """Run the case with armlet on one of BACKENDS and compare."""
    choices = Choices(
        embodiment=ROBOT if case.disguise == "robot" else None,
        without=case.absent,
    )
    policy = load_policy(place / "checkpoint", choices=choices, **BACKENDS[backend])
    steps = _observations(case, arrays)
    noise = arrays.get("noise", [None] * len(steps))
    chunk = policy.predict_chunk(steps[0], noise=noise[0])
    actions = []
    for t, step in enumerate(steps):
        if t == case.reset:
            policy.reset()
        actions.append(policy.select_action(step, noise[t]))
    guided = np.zeros(1)
    if case.guidance:
        unfinished = policy.preprocessor.unnormalize_action(torch.from_numpy(arrays["leftover"]))
        leftover = LeftOver(unfinished.numpy(), case.delay)
        guided = policy.predict_chunk(steps[0], leftover, noise[0]) - arrays["guided"]
    spread = _spread(policy)
    errors = [chunk - arrays["chunk"], np.stack(actions) - arrays["actions"]]
    if chunk.shape != arrays["chunk"].shape or errors[1].shape != arrays["actions"].shape:
        raise ValueError(f"{chunk.shape}, {errors[1].shape}: LeRobot's shapes are others")
    # Of a joint that hardly moved, float32 itself has few steps: it is held to the dataset's units.
    scale = np.maximum(spread, 1.0)
    return Deviation(
        units=max(_largest(e) for e in errors),
        normalized=max(_largest(e / scale) for e in errors),
        relative=_largest(errors[0]) / _largest(arrays["chunk"]),
        guided=_largest(guided) / _largest(arrays.get("guided", np.ones(1))),
        moved=_largest(np.ptp(arrays["actions"], 0) / scale),
        chunk=_largest(errors[0]),
        actions=_largest(errors[1]),
    )


def measure(kind, backend, deviation):
    """What is held against the limit of a kind of policy."""
    if kind == "smolvla":
        return max(deviation.relative, deviation.guided)
    return deviation.units if backend == "torch" else deviation.normalized


def _largest(values):
    return float(np.abs(values).max(initial=0.0))


def _spread(policy):
    """What a unit of the network is in the dataset's, of every action."""
    size = policy.config.action_size
    ends = policy.preprocessor.unnormalize_action(torch.tensor([[0.0], [1.0]]).expand(2, size))
    return np.abs(np.diff(ends.numpy(), axis=0))[0]


def _observations(case, arrays):
    cameras = {n.removeprefix("image_"): v for n, v in arrays.items() if n.startswith("image_")}
    environment = arrays.get("environment", [None] * case.steps)
    return [
        Observation(
            state, {n: pictures[t] for n, pictures in cameras.items()}, case.task, environment[t]
        )
        for t, state in enumerate(arrays["state"])
    ]


def flat(case, deviation, backend):
    """A line of a report."""
    numbers = {k: float(f"{v:.3g}") for k, v in vars(deviation).items()}
    head = {"seed": case.seed, "era": case.era, "kind": case.kind, "backend": backend}
    return json.dumps({**head, **numbers, **case.describe()})
