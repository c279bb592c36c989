"""Makes a dataset with stock LeRobot and loads others. Run by its own Python, 0.4.4 or 0.3.3.

usage: load_with_lerobot.py SHARED_ORACLE FOLDER ROOT...

FOLDER/pictures.npz, if it is there: pictures by camera, of which FOLDER/stock is made: 3 episodes,
all columns from the picture's number. Of each ROOT, FOLDER/<its name>.npz gets every item, and
FOLDER/<its name>.json the names of each feature's values. A ROOT that cannot be loaded is an error.
"""

from __future__ import annotations

import importlib.metadata
import json
import sys
from pathlib import Path

import numpy as np

# ruff: noqa: E402 — its decoding must be patched as it is imported
sys.path.insert(0, sys.argv[1])
import av_decode

av_decode.install()

from lerobot.datasets.lerobot_dataset import LeRobotDataset

LENGTHS = (5, 4, 6)
NEW = importlib.metadata.version("lerobot") >= "0.4"


def make(root: Path, pictures: dict[str, np.ndarray]) -> None:
    features = {
        key: {"dtype": "float32", "shape": (2,), "names": ["shoulder_pan.pos", "gripper.pos"]}
        for key in ("action", "observation.state")
    }
    for camera, values in pictures.items():
        features[f"observation.images.{camera}"] = {
            "dtype": "video",
            "shape": values.shape[1:],
            "names": ["height", "width", "channels"],
        }
    dataset = LeRobotDataset.create("local/stock", 30, features, root=root, robot_type="so101")
    number = 0
    for length in LENGTHS:
        for _ in range(length):
            frame = {
                "action": np.array([number + 0.5, number / 2], np.float32),
                "observation.state": np.array([number, number / 3], np.float32),
                **{f"observation.images.{c}": values[number] for c, values in pictures.items()},
            }
            if NEW:
                dataset.add_frame({**frame, "task": "pick"})
            else:
                dataset.add_frame(frame, task="pick")
            number += 1
        dataset.save_episode()
    if NEW:
        dataset.finalize()


def load(root: Path) -> dict[str, np.ndarray]:
    dataset = LeRobotDataset("local/test", root=root, video_backend="pyav")
    items = [dataset[i] for i in range(len(dataset))]
    columns = {key: [np.asarray(item[key]) for item in items] for key in items[0]}
    for key in dataset.meta.video_keys:
        columns[key] = [
            (item[key].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8) for item in items
        ]
    return {key: np.stack(values) for key, values in columns.items()}


def names(root: Path) -> dict[str, list[str]]:
    features = LeRobotDataset("local/test", root=root, video_backend="pyav").meta.features
    return {key: feature["names"] for key, feature in features.items()}


if __name__ == "__main__":
    folder = Path(sys.argv[2])
    if (folder / "pictures.npz").exists():
        make(folder / "stock", dict(np.load(folder / "pictures.npz")))
    for root in map(Path, sys.argv[3:]):
        np.savez(folder / f"{root.name}.npz", **load(root))
        (folder / f"{root.name}.json").write_text(json.dumps(names(root)))
