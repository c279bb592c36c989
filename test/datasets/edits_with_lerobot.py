"""What stock LeRobot 0.4.4 makes of edited datasets. Run by its own Python, never by armlet's.

usage: edits_with_lerobot.py SHARED_ORACLE FOLDER make|load ROOT...

make: FOLDER/stock, three episodes of noise in AV1, three to a file, and two more of a resumed
session. load: of each ROOT every item into FOLDER/<its name>.npz; then two episodes are appended
to a copy of some, which are loaded too (not of a labelled one: LeRobot asks for the label then).
FOLDER/report.json says what LeRobot lets a policy see, and refuses of half an edit.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np

# ruff: noqa: I001 — it patches LeRobot's decoding, and comes before LeRobot
from stock_datasets import load_all, opened, recorded_frame

from lerobot.datasets.lerobot_dataset import LeRobotDataset, LeRobotDatasetMetadata
from lerobot.datasets.utils import dataset_to_policy_features

LENGTHS = (9, 6, 11)
APPENDED = ("delete", "trim", "merged", "relabel")
FEATURES = {
    "action": {"dtype": "float32", "shape": (2,), "names": ["a", "b"]},
    "observation.state": {"dtype": "float32", "shape": (2,), "names": ["a", "b"]},
    "observation.images.front": {
        "dtype": "video",
        "shape": (48, 64, 3),
        "names": ["height", "width", "channels"],
    },
}


def record(dataset: LeRobotDataset, lengths: tuple[int, ...], random: np.random.Generator) -> None:
    for number, length in enumerate(lengths):
        for _ in range(length):
            dataset.add_frame(
                {
                    "action": random.normal(size=2).astype(np.float32),
                    "observation.state": random.normal(size=2).astype(np.float32),
                    "observation.images.front": random.integers(
                        0, 255, (48, 64, 3), dtype=np.uint8
                    ),
                    "task": ("pick", "fold")[number % 2],
                }
            )
        dataset.save_episode()
    dataset.finalize()


def make(root: Path) -> None:
    random = np.random.default_rng(0)
    made = LeRobotDataset.create("local/stock", 30, FEATURES, root=root, robot_type="so101")
    record(made, LENGTHS, random)
    record(opened(root), (5, 7), random)


def append(root: Path) -> None:
    features = json.loads((root / "meta/info.json").read_text())["features"]
    dataset = opened(root, vcodec="h264" if "armlet.stamp_ns" in features else "libsvtav1")
    for length in (3, 2):
        for seed in range(length):
            frame = recorded_frame(seed, dataset.meta.features)
            dataset.add_frame({**frame, "task": "added by LeRobot"})
        dataset.save_episode()
    dataset.finalize()


def refusal(root: Path) -> str:
    try:
        load_all(root)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def main(folder: Path, verb: str, roots: list[Path]) -> None:
    if verb == "make":
        make(folder / "stock")
        return
    report = {}
    for root in roots:
        if not (root / "meta/info.json").exists():
            report[root.name] = refusal(root)
            continue
        np.savez(folder / f"{root.name}.npz", **load_all(root))
        features = LeRobotDatasetMetadata("local/test", root=root).features
        report[root.name] = sorted(dataset_to_policy_features(features))
        if root.name.endswith(APPENDED):
            copy = root.with_name(f"{root.name}-appended")
            shutil.copytree(root, copy, ignore=shutil.ignore_patterns(".trash"))
            append(copy)
            np.savez(folder / f"{copy.name}.npz", **load_all(copy))
    (folder / "report.json").write_text(json.dumps(report))


if __name__ == "__main__":
    main(Path(sys.argv[2]), sys.argv[3], [Path(text) for text in sys.argv[4:]])
