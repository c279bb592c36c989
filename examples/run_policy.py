"""Run a policy on one frame of a dataset and compare its actions with the recorded ones.

python examples/run_policy.py CHECKPOINT DATASET
"""

import sys
from pathlib import Path

import numpy as np

from armlet import Dataset, Observation, load_policy

FRAME = 10


def main(checkpoint: str, root: str) -> None:
    dataset = Dataset(Path(root))
    episode = dataset.episode(0)
    images = {camera: dataset.images(0, camera, [FRAME])[0] for camera in dataset.info.cameras}
    observation = Observation(episode.state[FRAME], images, task=episode.tasks[FRAME])

    policy = load_policy(checkpoint)
    policy.reset()
    chunk = policy.predict_chunk(observation)
    recorded = episode.action[FRAME : FRAME + len(chunk)]
    print(f"{len(chunk)} actions of {chunk.shape[1]} joints, in the dataset's units")
    print(f"from the recorded actions: {mean_difference(chunk[: len(recorded)], recorded):.2f}")
    print(f"an arm that does not move: {mean_difference(episode.state[FRAME], recorded):.2f}")


def mean_difference(actions: np.ndarray, recorded: np.ndarray) -> float:
    return float(np.abs(actions - recorded).mean())


if __name__ == "__main__":
    main(*sys.argv[1:3])
