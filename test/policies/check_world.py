"""A small true world for the check: the simulated bench seen by two cameras, data recorded there.

`World` is what a check is given: a checkpoint directory, the training data, the live robot, its
calibration. A good one is built here; tests change one thing of a copy.
"""

import dataclasses
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
from safetensors.torch import load_file, save_file
from small_policies import make_act

from armlet.contract import Camera, Contract, Stream
from armlet.policies import (
    ActConfig,
    CheckpointError,
    Feature,
    load_network,
    read_checkpoint,
    save_checkpoint,
)
from armlet.policies.checkpoint.checkpoint import with_preprocessing
from armlet.policies.fit.check import Report, check, refusal_report
from armlet.policies.fit.feature_stats import IMAGENET
from armlet.policies.fit.samples import LiveSample, Samples
from armlet.robots import SO101_JOINTS
from armlet.robots import calibration as calibrations
from armlet.robots.joints import feature_names
from armlet.robots.kinematics import HOME
from armlet.robots.units import own_converter
from armlet.sim import FOLLOWER
from armlet.sim.demonstrator import demonstrate_reach, random_target
from armlet.sim.scene import Scene, View

WIDTH, HEIGHT = 64, 48
CAMERAS = ("front", "wrist")
FRONT, WRIST = (f"observation.images.{name}" for name in CAMERAS)
STATE, ACTION = "observation.state", "action"
NAMES = feature_names(SO101_JOINTS)
BEFORE_STATE = "policy_preprocessor_step_3_normalizer_processor.safetensors"
AFTER_STATE = "policy_postprocessor_step_0_unnormalizer_processor.safetensors"
WEIGHTS = "model.safetensors"
CONTRACT = Contract(
    fps=30,
    cameras=tuple(Camera(name, HEIGHT, WIDTH) for name in CAMERAS),
    state_names=NAMES,
    action_names=NAMES,
    joint_units="degrees",
    alignment=(Stream("state", "linear", 0.05),),
    calibration=calibrations.fingerprint(FOLLOWER),
)


@dataclass
class World:
    """What a check is given."""

    checkpoint: Path
    robot: Contract | None = CONTRACT
    joint_units: str = ""
    calibration: calibrations.Calibration | None = field(default_factory=lambda: dict(FOLLOWER))
    data: Samples | None = None
    radians: np.ndarray | None = None
    pictures: dict[str, np.ndarray] | None = None

    def report(self) -> Report:
        """The check, from reading the files on, as the command and the node do it."""
        try:
            checkpoint = read_checkpoint(self.checkpoint)
            load_network(checkpoint)
        except CheckpointError as error:
            return refusal_report(error)
        samples = [] if self.data is None else [self.data]
        if self.radians is not None:
            samples.append(self.live())
        return check(
            checkpoint,
            robot=self.robot,
            joint_units=self.joint_units,
            calibration=self.calibration,
            samples=samples,
        )

    def live(self) -> Samples:
        sample = LiveSample(self.robot, frames=len(self.radians))
        for row, radians in enumerate(self.radians):
            sample.add(radians, {name: taken[row] for name, taken in self.pictures.items()})
        return sample.samples(self.calibration)


@lru_cache(maxsize=8)
def motion(seed: int, demos: int = 6, frames: int = 8) -> np.ndarray:
    """Joint angles (demos * frames, 6), radians, and the targets they go to (.., 2)."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(demos):
        target = random_target(rng)
        reach = demonstrate_reach(HOME, target, rng)
        rows += [
            np.concatenate([reach.joints(t), target])
            for t in np.linspace(0, reach.duration_s, frames)
        ]
    return np.array(rows)


@lru_cache(maxsize=8)
def seen(seed: int, demos: int = 6, frames: int = 8) -> dict[str, np.ndarray]:
    """Pictures (N, H, W, 3) of both cameras along the motion."""
    scene = Scene()
    views = {name: View(name, WIDTH, HEIGHT) for name in CAMERAS}
    return {
        name: np.stack(
            [scene.render(view, row[:6], row[6:]) for row in motion(seed, demos, frames)]
        )
        for name, view in views.items()
    }


def dataset(units: str = "degrees") -> Samples:
    """The training data, as `policy check --dataset` gathers it."""
    radians = motion(0)[:, :6]
    states = own_converter(FOLLOWER).radians_to_dataset(radians, units)
    actions = own_converter(FOLLOWER).radians_to_dataset(np.roll(radians, -1, axis=0), units)
    return Samples(
        source="dataset",
        live=False,
        contract=dataclasses.replace(CONTRACT, joint_units=units),
        images=seen(0),
        states={units: states},
        actions=actions,
        statistics=statistics_of(states, actions, seen(0)),
    )


def statistics_of(states, actions, images) -> dict[str, dict[str, np.ndarray]]:
    """Whole dataset statistics as LeRobot stores them."""

    def of(rows, shape):
        names = {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}
        values = {"mean": rows.mean(0), "std": rows.std(0), "min": rows.min(0), "max": rows.max(0)}
        values |= {name: np.quantile(rows, q, axis=0) for name, q in names.items()}
        return {name: v.reshape(shape).astype(np.float32) for name, v in values.items()}

    pictures = {
        f"observation.images.{name}": of(taken.reshape(-1, 3) / 255, (3, 1, 1))
        for name, taken in images.items()
    }
    return {STATE: of(states, (6,)), ACTION: of(actions, (6,)), **pictures}


def small_config(mode: str = "MEAN_STD", size=(HEIGHT, WIDTH), cameras=CAMERAS) -> ActConfig:
    pictures = {f"observation.images.{n}": Feature("VISUAL", (3, *size)) for n in cameras}
    return ActConfig(
        input_features={STATE: Feature("STATE", (6,)), **pictures},
        output_features={ACTION: Feature("ACTION", (6,))},
        normalization_mapping=dict.fromkeys(("VISUAL", "STATE", "ACTION"), mode),
        chunk_size=8,
        n_action_steps=8,
        use_vae=False,
        dim_model=32,
        n_heads=2,
        dim_feedforward=32,
        n_encoder_layers=1,
    )


def save_good(path: Path, contract: Contract | None, mode: str = "MEAN_STD") -> Path:
    import torch

    config = small_config(mode)
    statistics = {**dataset().statistics}
    save_checkpoint(path, make_act(config), config, statistics, contract, torch.float16)
    return path


def sign(plain: Path, path: Path) -> Path:
    """The same checkpoint with its contract; its weights are linked."""
    path.mkdir()
    for file in plain.iterdir():
        (path / file.name).symlink_to(file) if file.name == WEIGHTS else shutil.copy(file, path)
    preprocessor = read_checkpoint(plain).preprocessor
    with_preprocessing(CONTRACT, preprocessor).save(path / "armlet_contract.json")
    return path


def imagenet(tensors) -> None:
    """Mean and std of ImageNet, as LeRobot's use_imagenet_stats leaves the rest beside them."""
    import torch

    for camera in (FRONT, WRIST):
        for name, values in zip(("mean", "std"), IMAGENET, strict=True):
            tensors[f"{camera}.{name}"] = torch.tensor(values, dtype=torch.float32).view(3, 1, 1)


def covered_lens(shape: tuple[int, ...]) -> np.ndarray:
    """A black picture as a camera gives it: levels of 0 to 7, which are noise."""
    return np.random.default_rng(0).integers(0, 8, shape).astype(np.uint8)


# --- corruptions ----------------------------------------------------------------------------------

Corruption = Callable[[World], None]


def edit(file: str, change: Callable[[dict], None]) -> Corruption:
    def apply(world: World) -> None:
        document = json.loads((world.checkpoint / file).read_text())
        change(document)
        (world.checkpoint / file).write_text(json.dumps(document))

    return apply


def retensor(file: str, change: Callable[[dict], None]) -> Corruption:
    def apply(world: World) -> None:
        tensors = load_file(world.checkpoint / file)
        change(tensors)
        (world.checkpoint / file).unlink()
        save_file({k: v.contiguous() for k, v in tensors.items()}, world.checkpoint / file)

    return apply


def statistics(change: Callable[[dict], None]) -> Corruption:
    """Both statistics files alike, so that they agree with each other."""

    def apply(world: World) -> None:
        retensor(BEFORE_STATE, change)(world)
        retensor(AFTER_STATE, change)(world)

    return apply


def signed(**changed: object) -> Corruption:
    """The checkpoint's contract changed and signed again: only facts can contradict it."""

    def apply(world: World) -> None:
        checkpoint = read_checkpoint(world.checkpoint)
        dataclasses.replace(checkpoint.contract, **changed).save(
            world.checkpoint / "armlet_contract.json"
        )

    return apply


def robot(**changed: object) -> Corruption:
    def apply(world: World) -> None:
        world.robot = dataclasses.replace(world.robot, **changed)

    return apply


def data_contract(**changed: object) -> Corruption:
    def apply(world: World) -> None:
        contract = dataclasses.replace(world.data.contract, **changed)
        world.data = dataclasses.replace(world.data, contract=contract)

    return apply


def pictures(change: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]) -> Corruption:
    """What the live cameras give."""

    def apply(world: World) -> None:
        world.pictures = change(dict(world.pictures))

    return apply


def together(*steps: Corruption) -> Corruption:
    def apply(world: World) -> None:
        for step in steps:
            step(world)

    return apply
