"""How fast `armlet train` trains, beside `lerobot-train` of stock LeRobot 0.4.4.

    python benchmarks/training.py [--policy act] [--size lerobot] [--rounds 3] [--dataset DIR]

The same dataset, network, batch, data workers and threads, from random weights. Each round runs
every side once, a fresh process at a time, and begins with another side than the last: LeRobot,
which computes in float32, armlet as it is, and in float32. What is reported of each is the median
over the rounds:

samples_per_s  frames trained on in a second, from the step after --warm-up to the last but one
data_wait      share of that time in which the loop waited for its next batch from the loader
peak_mb        largest memory of the training and its data workers together (PSS, looked at twice a
               second), 1e6 bytes
whole_s        of the whole command, with its start, armlet's looks at held-out episodes, and saving
ratio          of samples_per_s to LeRobot's of the same round

That both trained the same network is checked by the tensors of the checkpoints they saved. LeRobot
runs in DIRECTORY/v04/bin/python, where DIRECTORY is ARMLET_ORACLE or .oracle in the repository;
without one there are no ratios. Where it has neither torchcodec nor torchvision's reader (decoder
in the JSON says so) it decodes by PyAV, a picture at a time as these do. --quick: a tiny network
and dataset, to see that all of it runs; its figures say nothing. One line of JSON goes to stdout.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open

from armlet.contract import Camera, Contract
from armlet.datasets import Dataset, DatasetWriter, EpisodeFrame
from armlet.robots import SO101_JOINTS
from armlet.robots.joints import feature_names

REPOSITORY = Path(__file__).resolve().parent.parent
ORACLE = Path(os.environ.get("ARMLET_ORACLE", REPOSITORY / ".oracle")) / "v04/bin/python"
SIDE = Path(__file__).with_name("training_side.py")
LEROBOT = "lerobot"
SIDES: Mapping[str, Sequence[str]] = {
    LEROBOT: (),
    "armlet": (),
    "armlet:float32": ("--precision", "float32"),
}
"""Each with what its command is given more than the others."""
_EVERY_S = 0.5

# By LeRobot's names: `armlet train --set` and `lerobot-train --policy.` take the same ones.
_ACT = {"pretrained_backbone_weights": "null"}
NETWORKS: Mapping[str, Mapping[str, Mapping[str, str]]] = {
    "act": {
        "lerobot": {
            "chunk_size": "100",
            "n_action_steps": "100",
            "dim_model": "512",
            "dim_feedforward": "3200",
            "n_heads": "8",
            "n_encoder_layers": "4",
            "use_vae": "true",
            "dropout": "0.1",
        },
        "armlet": {
            "chunk_size": "45",
            "n_action_steps": "45",
            "dim_model": "128",
            "dim_feedforward": "256",
            "n_heads": "4",
            "n_encoder_layers": "2",
            "use_vae": "false",
            "dropout": "0.0",
        },
        "quick": {
            "chunk_size": "4",
            "n_action_steps": "4",
            "dim_model": "16",
            "dim_feedforward": "16",
            "n_heads": "2",
            "n_encoder_layers": "1",
            "use_vae": "false",
            "dropout": "0.0",
        },
    },
    "diffusion": {
        "lerobot": {},
        "armlet": {"down_dims": "[128,256,512]", "crop_shape": "[216,288]"},
        "quick": {
            "down_dims": "[16,32]",
            "crop_shape": "[28,40]",
            "diffusion_step_embed_dim": "8",
            "spatial_softmax_num_keypoints": "4",
        },
    },
}
# What one of them has an option of its own for, or cannot be told.
_OPTIONS = {"chunk_size": "--chunk-size", "n_action_steps": "--action-steps"}


class Failed(RuntimeError):
    """A side ended before its time; the message is what it said."""


@dataclass(frozen=True)
class Task:
    """What every side trains, and how."""

    dataset: Path
    policy: str
    network: Mapping[str, str]
    batch_size: int
    steps: int
    warm_up: int
    workers: int
    threads: int

    def of_armlet(self, output: Path) -> list[str]:
        own = {_OPTIONS[name]: v for name, v in self.network.items() if name in _OPTIONS}
        changes = [f"{name}={v}" for name, v in self.network.items() if name not in _OPTIONS]
        return [
            *("--policy", self.policy, "--dataset", str(self.dataset), "--output", str(output)),
            *("--steps", str(self.steps), "--batch-size", str(self.batch_size)),
            *("--workers", str(self.workers), "--threads", str(self.threads)),
            *(part for option in own.items() for part in option),
            *(["--set", *changes] if changes else []),
        ]

    def of_lerobot(self, output: Path) -> list[str]:
        settings = {**self.network, **(_ACT if self.policy == "act" else {})}
        return [
            "--dataset.repo_id=local/benchmark",
            f"--dataset.root={self.dataset}",
            "--dataset.use_imagenet_stats=false",
            f"--policy.type={self.policy}",
            "--policy.device=cpu",
            "--policy.push_to_hub=false",
            *(f"--policy.{name}={value}" for name, value in settings.items()),
            f"--output_dir={output}",
            f"--steps={self.steps}",
            f"--batch_size={self.batch_size}",
            f"--num_workers={self.workers}",
            f"--log_freq={self.steps}",
            f"--save_freq={self.steps}",
            "--eval_freq=0",
        ]


@dataclass(frozen=True)
class Measured:
    """One training of one side."""

    samples_per_s: float
    data_wait: float
    peak_mb: float
    whole_s: float
    decoder: str
    tensors: Mapping[str, tuple[int, ...]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--policy", choices=NETWORKS, default="act")
    parser.add_argument(
        "--size",
        choices=("lerobot", "armlet"),
        default="lerobot",
        help="whose default sizes, of a Diffusion Policy `armlet`: smaller ones for a CPU",
    )
    parser.add_argument("--dataset", type=Path, help="default: one that is made here")
    parser.add_argument("--episodes", type=int, default=20, help="of the one that is made")
    parser.add_argument("--rows", type=int, default=100, help="of an episode of it")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--warm-up", type=int, default=4, help="steps that do not count")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--quick", action="store_true", help="only to see that it runs")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(bench(args, Path(folder))))


def bench(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """All rounds, and what they come to."""
    size, rounds = ("quick", 1) if args.quick else (args.size, args.rounds)
    task = Task(
        args.dataset or folder / "dataset",
        args.policy,
        NETWORKS[args.policy][size],
        args.batch_size,
        args.steps,
        args.warm_up,
        args.workers,
        args.threads,
    )
    if args.quick:
        task = replace(task, batch_size=2, steps=4, warm_up=1, workers=1, threads=1)
    if args.dataset is None:
        small = (2, 20, (32, 48)) if args.quick else (args.episodes, args.rows, (480, 640))
        make_dataset(task.dataset, *small)
    absent = {} if ORACLE.exists() else {LEROBOT: f"no LeRobot at {ORACLE} (set ARMLET_ORACLE)"}
    names = [name for name in SIDES if name not in absent]
    found: dict[str, list[Measured]] = {name: [] for name in names}
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            print(f"round {number + 1} of {rounds}: {name}", file=sys.stderr)
            found[name].append(measure(name, task, folder))
    require_same_network(found)
    frames = sum(episode.length for episode in Dataset(task.dataset).episodes)
    stated = {
        key: getattr(task, key)
        for key in ("policy", "batch_size", "steps", "warm_up", "workers", "threads")
    }
    absences = {name: f"not measured: {why}" for name, why in absent.items()}
    return {**stated, "size": size, "rounds": rounds, "frames": frames, **absences} | summary(found)


def measure(name: str, task: Task, folder: Path) -> Measured:
    """One training, whose files are removed. Raises Failed."""
    side = LEROBOT if name == LEROBOT else "armlet"
    output, result, log = folder / "output", folder / "result.json", folder / "log.txt"
    command = task.of_lerobot(output) if side == LEROBOT else task.of_armlet(output)
    job = {"side": side, "arguments": [*command, *SIDES[name]], "result": str(result)}
    python = str(ORACLE) if side == LEROBOT else sys.executable
    limits = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(task.threads))
    offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "hf")}
    # What torch keeps of compilations, though nothing is compiled here.
    kept = {"TORCHINDUCTOR_CACHE_DIR": str(folder / "inductor")}
    begun_s = time.monotonic()
    with log.open("w") as said:
        process = subprocess.Popen(
            [python, str(SIDE), json.dumps(job)],
            stdout=said,
            stderr=said,
            env={**os.environ, **limits, **offline, **kept},
        )
        peak_mb = watch(process)
    whole_s = time.monotonic() - begun_s
    if process.returncode:
        raise Failed(f"{name} ended with {process.returncode}:\n{log.read_text()[-3000:]}")
    document = json.loads(result.read_text())
    weights = "checkpoints/last/pretrained_model/model.safetensors"
    tensors = shapes(output / (weights if side == LEROBOT else "model.safetensors"))
    for path in (output, output.with_name("output.training")):
        shutil.rmtree(path, ignore_errors=True)
    speed, wait = rates(document["looks"], task.warm_up, task.batch_size)
    return Measured(speed, wait, peak_mb, whole_s, document["decoder"], tensors)


def watch(process: subprocess.Popen[bytes]) -> float:
    """The most memory, in 1e6 bytes, that a process and its children had until it ended."""
    peak = 0
    try:
        while True:
            peak = max(peak, sum(map(memory_of, family(process.pid))))
            try:
                process.wait(_EVERY_S)
            except subprocess.TimeoutExpired:
                continue
            return peak / 1e6
    finally:
        process.kill()
        process.wait()


def family(pid: int) -> list[int]:
    """A process and all that came of it; those that are gone are left out."""
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
        children = [int(c) for t in threads for c in (t / "children").read_text().split()]
    except OSError:
        return []
    return [pid, *(each for child in children for each in family(child))]


def memory_of(pid: int) -> int:
    """Bytes that a process has, what it shares by its part (PSS); 0 if it is gone."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


def rates(looks: Sequence[Sequence[float]], warm_up: int, batch_size: int) -> tuple[float, float]:
    """Samples per second, and the share of waiting, of the steps between warm-up and last.

    looks: of each step when its batch was asked for, and when it came, seconds. A step ends where
    the next asks, so of the last it is not known.
    """
    counted = looks[warm_up:-1]
    if not counted:
        raise Failed(f"expected more steps than {warm_up + 1}, found {len(looks)}")
    took_s = looks[-1][0] - counted[0][0]
    waited_s = sum(came - asked for asked, came in counted)
    return len(counted) * batch_size / took_s, waited_s / took_s


def shapes(weights: Path) -> dict[str, tuple[int, ...]]:
    """Of each tensor in a file."""
    with safe_open(weights, "np") as file:
        return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118


def require_same_network(found: Mapping[str, Sequence[Measured]]) -> None:
    """Raise Failed unless all sides saved tensors of the same names and shapes."""
    saved = {name: measured[0].tensors for name, measured in found.items()}
    (first, expected), *others = saved.items()
    for name, tensors in others:
        differing = sorted(set(expected.items()) ^ set(tensors.items()))
        if differing:
            raise Failed(f"{first} and {name} trained different networks: {differing[:4]} ...")


def summary(found: Mapping[str, Sequence[Measured]]) -> dict[str, Any]:
    """Of each side the medians, and its ratio to LeRobot's speed round by round."""
    result: dict[str, Any] = {}
    for name, rounds in found.items():
        result[name] = {
            what: round(statistics.median(getattr(one, what) for one in rounds), digits)
            for what, digits in (
                ("samples_per_s", 3),
                ("data_wait", 4),
                ("peak_mb", 1),
                ("whole_s", 1),
            )
        }
        result[name]["decoder"] = rounds[0].decoder
        if LEROBOT in found and name != LEROBOT:
            ratios = [
                one.samples_per_s / other.samples_per_s
                for one, other in zip(rounds, found[LEROBOT], strict=True)
            ]
            result[name]["ratio"] = round(statistics.median(ratios), 3)
    return result


def make_dataset(root: Path, episodes: int, rows: int, size: tuple[int, int]) -> None:
    """Two cameras before a noisy scene that moves, and joints that move with it."""
    names, random = feature_names(SO101_JOINTS), np.random.default_rng(0)
    cameras = tuple(Camera(name, *size) for name in ("front", "wrist"))
    contract = Contract(30, cameras, names, names, joint_units="degrees")
    coarse = random.integers(0, 200, (size[0] // 16, size[1] // 16, 3), np.uint8)
    scene = coarse.repeat(16, 0).repeat(16, 1) + random.integers(0, 40, (*size, 3), np.uint8)
    with DatasetWriter(root, contract) as writer:
        for episode in range(episodes):
            writer.begin_episode("pick")
            for row in range(rows):
                joints = 30 * np.sin(0.05 * row + episode + np.arange(len(names)))
                shown = {
                    camera.name: np.roll(scene, (episode, 3 * row + 50 * k), (0, 1))
                    for k, camera in enumerate(cameras)
                }
                stamp_ns = 10**18 + episode * 10**12 + row * 10**9 // 30
                writer.add_frame(
                    EpisodeFrame(
                        state=joints, action=joints + 1, images=shown, stamp_ns=stamp_ns, skew_s={}
                    )
                )
            writer.finish_episode()


if __name__ == "__main__":
    main()
