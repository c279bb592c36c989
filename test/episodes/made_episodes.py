"""Small recorded datasets for the tests beside this file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from armlet.contract import Camera, Contract, Stream
from armlet.episodes import DatasetWriter, EpisodeFrame

NAMES = tuple(
    f"{joint}.pos"
    for joint in (
        "shoulder_pan",
        "shoulder_lift",
        "elbow_flex",
        "wrist_flex",
        "wrist_roll",
        "gripper",
    )
)
CONTRACT = Contract(
    fps=30,
    cameras=(Camera("front", 48, 64), Camera("wrist", 32, 48)),
    state_names=NAMES,
    action_names=NAMES,
    joint_units="degrees",
    alignment=(Stream("state", "linear", 0.02), Stream("images/front", "nearest", 0.03)),
    calibration="c0ffee",
)
START_NS = 1_700_000_000_000_000_000


def picture(seed: int, height: int, width: int) -> NDArray[np.uint8]:
    """A smooth coloured picture, different for every seed."""
    y, x = np.mgrid[0:height, 0:width]
    waves = [
        np.sin((x * (1 + c) + 7 * seed) / width * 3) + np.cos((y + 5 * seed) / height * (2 + c))
        for c in range(3)
    ]
    return (127.5 + 55 * np.stack(waves, -1)).astype(np.uint8)


def frame(
    index: int, episode: int = 0, contract: Contract = CONTRACT, **other: Any
) -> EpisodeFrame:
    """Frame `index` of an episode, everything in it different from every other frame."""
    joints = np.arange(len(contract.state_names)) + index + 100.0 * episode
    values: dict[str, Any] = {
        "state": joints,
        "action": joints + 0.5,
        "images": {
            c.name: picture(index + 31 * episode, c.height, c.width) for c in contract.cameras
        },
        "stamp_ns": START_NS + episode * 10**12 + index * 10**9 // contract.fps,
        "skew_s": {s.name: 0.001 * (n + index) for n, s in enumerate(contract.alignment)},
    }
    return EpisodeFrame(**{**values, **other})


def record(
    writer: DatasetWriter, frames: int, task: str = "pick", contract: Contract = CONTRACT
) -> None:
    """Record one episode; its number decides its contents."""
    episode = writer.episodes
    writer.begin_episode(task)
    for index in range(frames):
        writer.add_frame(frame(index, episode, contract))
    writer.finish_episode()


def made(root: Path, lengths: tuple[int, ...] = (5, 3, 4), contract: Contract = CONTRACT) -> Path:
    """A dataset of episodes with these lengths, tasks taking turns."""
    with DatasetWriter(root, contract) as writer:
        for number, length in enumerate(lengths):
            record(writer, length, ("pick", "fold")[number % 2], contract)
    return root
