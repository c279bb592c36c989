"""What stock LeRobot 0.4.4 makes of our datasets. Run by its own Python, never by armlet's.

usage: stock_lerobot.py SHARED_ORACLE FOLDER

FOLDER/ours: a dataset of ours; FOLDER/raw.npz: what was recorded; FOLDER/killed/*: datasets whose
recorder was killed; FOLDER/shot/*: more of them, with frame numbers in the pictures. Writes
FOLDER/loaded.npz (every item of `ours`), FOLDER/stats.json (LeRobot's statistics of raw.npz),
FOLDER/report.json; appends two episodes to FOLDER/resumed, a copy of ours; makes FOLDER/stock.
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
from lerobot.datasets.compute_stats import (
    aggregate_stats,
    auto_downsample_height_width,
    get_feature_stats,
    sample_indices,
)
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from lerobot.datasets.utils import dataset_to_policy_features
from lerobot.policies.act.configuration_act import ACTConfig
from lerobot.policies.act.modeling_act import ACTPolicy
from lerobot.policies.factory import make_pre_post_processors

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


def counters(pictures: np.ndarray) -> list[int]:
    """The numbers painted into pictures, as made_episodes.counted does."""
    blocks = pictures[:, 4:12, :48].mean(axis=(1, 3)).reshape(-1, 6, 8).mean(axis=2)
    return ((blocks > 128) @ (1 << np.arange(6))).tolist()


def shown(root: Path) -> dict[str, list[int]]:
    loaded = load_all(root)
    return {k: counters(v) for k, v in loaded.items() if k.startswith("observation.images.")}


def expected_stats(raw: dict[str, np.ndarray], episodes: np.ndarray) -> list[dict]:
    """Per episode, then of all, by LeRobot's own functions; pictures widened, as 0.4.4 forgets."""
    answers = []
    for episode in np.unique(episodes):
        answer = {}
        for key, values in raw.items():
            own = values[episodes == episode]
            if own.ndim == 4:
                chosen = own[sample_indices(len(own))].transpose(0, 3, 1, 2)
                small = np.stack([auto_downsample_height_width(picture) for picture in chosen])
                found = get_feature_stats(small.astype(np.float64), (0, 2, 3), keepdims=True)
                found = {k: v if k == "count" else v[0] / 255 for k, v in found.items()}
            else:
                found = get_feature_stats(own, 0, keepdims=own.ndim == 1)
            answer[key] = found
        answers.append(answer)
    answers.append(aggregate_stats(answers))
    return [
        {key: {name: value.tolist() for name, value in found.items()} for key, found in a.items()}
        for a in answers
    ]


def train_one_step(root: Path) -> dict:
    """A tiny ACT, with LeRobot's own features, statistics, collation and loss."""
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
    policy = ACTPolicy(config)
    policy.train()
    prepare, _ = make_pre_post_processors(config, dataset_stats=dataset.meta.stats)
    batch = next(iter(torch.utils.data.DataLoader(dataset, batch_size=4, shuffle=True)))
    loss, _ = policy(prepare(batch))
    loss.backward()
    return {"features": sorted(features), "loss": loss.item()}


def recorded_frame(seed: int, features: dict) -> dict:
    frame = {"task": "added by LeRobot"}
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
            dataset.add_frame(recorded_frame(seed, dataset.meta.features))
            seed += 1
        dataset.save_episode()
    dataset.finalize()


def main(folder: Path) -> None:
    np.savez(folder / "loaded.npz", **load_all(folder / "ours"))
    raw = dict(np.load(folder / "raw.npz"))
    (folder / "stats.json").write_text(json.dumps(expected_stats(raw, raw["episode_index"])))
    killed = {}
    for root in sorted((folder / "killed").iterdir()):
        episodes = load_all(root)["episode_index"]
        killed[root.name] = [int((episodes == k).sum()) for k in range(episodes.max() + 1)]
    shutil.copytree(folder / "ours", folder / "resumed")
    append(opened(folder / "resumed", vcodec="h264"), (3, 2))
    features = opened(folder / "ours").meta.features
    user = {k: {n: v for n, v in f.items() if n != "info"} for k, f in features.items()}
    made = LeRobotDataset.create(
        "local/stock", 30, user, root=folder / "stock", robot_type="so101_follower", vcodec="h264"
    )
    append(made, (4, 3, 5))
    report = {
        "killed": killed,
        "shot": {root.name: shown(root) for root in sorted((folder / "shot").iterdir())},
        "trained": train_one_step(folder / "ours"),
    }
    (folder / "report.json").write_text(json.dumps(report))


if __name__ == "__main__":
    main(Path(sys.argv[2]))
