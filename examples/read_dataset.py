"""Read a LeRobot dataset: its episodes, rows, pictures and contract.

python examples/read_dataset.py DATASET
"""

import sys
from pathlib import Path

from armlet import Dataset


def main(root: str) -> None:
    dataset = Dataset(Path(root))
    print(f"{len(dataset.episodes)} episodes at {dataset.info.fps} frames a second")
    for info in dataset.episodes:
        print(f"  {info.episode}: {info.length} frames, {info.duration_s:.1f} s, {info.tasks[0]}")
    episode = dataset.episode(0)
    print(f"state {episode.state.shape} {episode.state.dtype}, in the dataset's units")
    print(f"action {episode.action.shape} {episode.action.dtype}")
    for camera in dataset.info.cameras:
        pictures = dataset.images(0, camera, [0, 1])
        print(f"{camera}: {pictures.shape} {pictures.dtype}, RGB")
    if dataset.contract is not None:
        print(f"joint units: {dataset.contract.joint_units}")


if __name__ == "__main__":
    main(sys.argv[1])
