"""Small recorded datasets for policies: six joints, two cameras, nothing rendered."""

import dataclasses
from pathlib import Path

import numpy as np

from armlet.contract import Camera, Contract
from armlet.datasets import DatasetWriter, EpisodeFrame
from armlet.robots import SO101_JOINTS
from armlet.robots import calibration as calibrations
from armlet.robots.joints import feature_names
from armlet.sim import FOLLOWER

HEIGHT, WIDTH, FPS = 48, 64, 30
CAMERAS = ("front", "wrist")
NAMES = feature_names(SO101_JOINTS)
CONTRACT = Contract(
    fps=FPS,
    cameras=tuple(Camera(name, HEIGHT, WIDTH) for name in CAMERAS),
    state_names=NAMES,
    action_names=NAMES,
    joint_units="degrees",
    calibration=calibrations.fingerprint(FOLLOWER),
)
MIDDLE = np.array([0.0, -40.0, 60.0, 30.0, -10.0, 50.0])


def cameras_only(*names: str) -> Contract:
    """CONTRACT with some of its cameras."""
    return dataclasses.replace(
        CONTRACT, cameras=tuple(camera for camera in CONTRACT.cameras if camera.name in names)
    )


def picture(random: np.random.Generator) -> np.ndarray:
    """Coloured fields (H, W, 3), warmer than they are cool, so that channels differ."""
    fields = random.integers((60, 40, 0), (256, 200, 120), (4, 4, 3))
    rows, columns = np.arange(HEIGHT) * 4 // HEIGHT, np.arange(WIDTH) * 4 // WIDTH
    return fields[rows][:, columns].astype(np.uint8)


def record(
    root: Path,
    episodes: int = 2,
    length: int = 12,
    contract: Contract = CONTRACT,
    tasks: tuple[str, ...] = ("reach",),
) -> Path:
    """Episodes whose actions are up by 15 where the number is even and down where it is odd.

    The states are on the other side of the middle, so that who holds still is far from the action.
    """
    random = np.random.default_rng(0)
    with DatasetWriter(root, contract) as writer:
        for episode in range(episodes):
            writer.begin_episode(tasks[episode % len(tasks)])
            level = 15.0 if episode % 2 == 0 else -15.0
            for index in range(length):
                wiggle = random.normal(0, 2, 6)
                writer.add_frame(
                    EpisodeFrame(
                        state=MIDDLE - level + wiggle,
                        action=MIDDLE + level + random.normal(0, 2, 6),
                        images={camera.name: picture(random) for camera in contract.cameras},
                        stamp_ns=10**18 + episode * 10**12 + index * 10**9 // FPS,
                        skew_s={stream.name: 0.0 for stream in contract.alignment},
                    )
                )
            writer.finish_episode()
    return root
