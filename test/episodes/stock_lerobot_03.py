"""What stock LeRobot 0.3.3 makes of our v2.1 datasets. Run by its own Python, never by armlet's.

usage: stock_lerobot_03.py SHARED_ORACLE FOLDER

FOLDER/ours: a dataset of ours; FOLDER/killed/*: datasets whose recorder was killed. Writes
FOLDER/loaded.npz (every item of `ours`) and FOLDER/report.json; makes FOLDER/stock and appends to
FOLDER/resumed, a copy of ours.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np

# ruff: noqa: E402 — its decoding must be patched as it is imported
sys.path.insert(0, sys.argv[1])
import av_decode

av_decode.install()

import torch
from lerobot.configs.types import FeatureType
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from lerobot.datasets.utils import dataset_to_policy_features
from lerobot.policies.act.configuration_act import ACTConfig
from lerobot.policies.act.modeling_act import ACTPolicy

torch.set_num_threads(2)


def opened(root: Path, **options) -> LeRobotDataset:
    return LeRobotDataset("local/test", root=root, video_backend="pyav", **options)


def load_all(root: Path) -> dict[str, np.ndarray]:
    dataset = opened(root)
    items = [dataset[i] for i in range(len(dataset))]
    columns = {
        key: np.stack([np.asarray(item[key]) for item in items])
        for key in items[0]
        if not key.startswith("observation.images.")
    }
    for key in dataset.meta.video_keys:
        pictures = [item[key].permute(1, 2, 0).numpy() * 255 for item in items]
        columns[key] = np.stack(pictures).round().astype(np.uint8)
    return columns


def killed_lengths(root: Path) -> list[int] | str:
    try:
        dataset = opened(root)
        return [int(dataset.meta.episodes[k]["length"]) for k in range(dataset.num_episodes)]
    except Exception as error:  # the test says which states may fail
        return f"{type(error).__name__}: {error}"


def train_one_step(root: Path) -> float:
    horizon = 4
    fps = opened(root).fps
    dataset = opened(root, delta_timestamps={"action": [i / fps for i in range(horizon)]})
    features = dataset_to_policy_features(dataset.meta.features)
    config = ACTConfig(
        input_features={k: f for k, f in features.items() if f.type is not FeatureType.ACTION},
        output_features={k: f for k, f in features.items() if f.type is FeatureType.ACTION},
        chunk_size=horizon,
        n_action_steps=horizon,
        dim_model=32,
        n_heads=2,
        dim_feedforward=32,
        n_encoder_layers=1,
        n_vae_encoder_layers=1,
        pretrained_backbone_weights=None,
        device="cpu",
    )
    policy = ACTPolicy(config, dataset_stats=dataset.meta.stats)
    policy.train()
    batch = next(iter(torch.utils.data.DataLoader(dataset, batch_size=4, shuffle=True)))
    loss, _ = policy(batch)
    loss.backward()
    return loss.item()


def recorded_frame(seed: int, features: dict) -> dict:
    frame = {}
    for key, feature in features.items():
        shape = tuple(feature["shape"])
        if key in ("timestamp", "frame_index", "episode_index", "index", "task_index"):
            continue
        if feature["dtype"] == "video":
            frame[key] = np.full(shape, 10 * seed, np.uint8)
        elif key == "armlet.stamp_ns":
            frame[key] = np.array([10**18 + seed * 10**9 // 30])
        else:
            frame[key] = np.full(shape, seed, feature["dtype"])
    return frame


def append(dataset: LeRobotDataset, lengths: tuple[int, ...]) -> None:
    seed = 0
    for length in lengths:
        for _ in range(length):
            frame = recorded_frame(seed, dataset.meta.features)
            dataset.add_frame(frame, task="added by LeRobot")
            seed += 1
        dataset.save_episode()


def main(folder: Path) -> None:
    np.savez(folder / "loaded.npz", **load_all(folder / "ours"))
    shutil.copytree(folder / "ours", folder / "resumed")
    append(opened(folder / "resumed"), (3,))
    features = opened(folder / "ours").meta.features
    user = {
        key: {name: value for name, value in feature.items() if name != "info"}
        for key, feature in features.items()
        if not key.startswith("armlet.")
    }
    made = LeRobotDataset.create(
        "local/stock", 30, user, root=folder / "stock", robot_type="so101_follower"
    )
    append(made, (4, 3))
    report = {
        "killed": {root.name: killed_lengths(root) for root in (folder / "killed").iterdir()},
        "loss": train_one_step(folder / "ours"),
    }
    (folder / "report.json").write_text(json.dumps(report))


if __name__ == "__main__":
    main(Path(sys.argv[2]))
