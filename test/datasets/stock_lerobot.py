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

# ruff: noqa: I001 — it patches LeRobot's decoding, and comes before LeRobot
from stock_datasets import load_all, opened, recorded_frame, small_act

import torch
from lerobot.datasets.compute_stats import (
    aggregate_stats,
    auto_downsample_height_width,
    get_feature_stats,
    sample_indices,
)
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from lerobot.datasets.utils import dataset_to_policy_features
from lerobot.policies.act.modeling_act import ACTPolicy
from lerobot.policies.factory import make_pre_post_processors


def counters(pictures: np.ndarray) -> list[int]:
    """The numbers painted into pictures, as made_episodes.counted does."""
    blocks = pictures[:, 4:12, :48].mean(axis=(1, 3)).reshape(-1, 6, 8).mean(axis=2)
    return ((blocks > 128) @ (1 << np.arange(6))).tolist()


def shown(root: Path) -> dict[str, list[int]]:
    """The numbers in all pictures of each camera; an episode's are asked for at once."""
    # Opening takes LeRobot longer than all else, so nothing is opened to learn what is in it.
    features = json.loads((root / "meta/info.json").read_text())["features"]
    videos = [key for key, feature in features.items() if feature["dtype"] == "video"]
    dataset = opened(root, delta_timestamps={key: [i / 30 for i in range(40)] for key in videos})
    meta = dataset.meta
    assert max(meta.episodes["length"]) <= 40 and meta.fps == 30
    found: dict[str, list[int]] = {key: [] for key in meta.video_keys}
    for first, length in zip(
        meta.episodes["dataset_from_index"], meta.episodes["length"], strict=True
    ):
        item = dataset[first]
        for key in meta.video_keys:
            assert (~item[f"{key}_is_pad"]).sum() == length
            pictures = item[key][:length].permute(0, 2, 3, 1).numpy() * 255
            found[key] += counters(pictures.round().astype(np.uint8))
    return found


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
    config = small_act(features, horizon)
    policy = ACTPolicy(config)
    policy.train()
    prepare, _ = make_pre_post_processors(config, dataset_stats=dataset.meta.stats)
    batch = next(iter(torch.utils.data.DataLoader(dataset, batch_size=4, shuffle=True)))
    loss, _ = policy(prepare(batch))
    loss.backward()
    return {"features": sorted(features), "loss": loss.item()}


def append(dataset: LeRobotDataset, lengths: tuple[int, ...]) -> None:
    seed = 0
    for length in lengths:
        for _ in range(length):
            frame = recorded_frame(seed, dataset.meta.features)
            dataset.add_frame({**frame, "task": "added by LeRobot"})
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
