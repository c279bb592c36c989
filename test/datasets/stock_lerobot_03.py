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

# ruff: noqa: I001 — it patches LeRobot's decoding, and comes before LeRobot
from stock_datasets import load_all, opened, recorded_frame, small_act

import torch
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from lerobot.datasets.utils import dataset_to_policy_features
from lerobot.policies.act.modeling_act import ACTPolicy


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
    config = small_act(features, horizon)
    policy = ACTPolicy(config, dataset_stats=dataset.meta.stats)
    policy.train()
    batch = next(iter(torch.utils.data.DataLoader(dataset, batch_size=4, shuffle=True)))
    loss, _ = policy(batch)
    loss.backward()
    return loss.item()


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
