"""Small recorded datasets for the tests beside this file."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from armlet.align import Commander, CommandSource
from armlet.contract import Camera, Contract, Stream
from armlet.datasets import DatasetWriter, EpisodeFrame

# Where an fsync costs nothing: tests make thousands, and power cuts are not what they simulate.
QUICK = "/dev/shm" if Path("/dev/shm").is_dir() else None
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


@functools.cache
def picture(seed: int, height: int, width: int) -> NDArray[np.uint8]:
    """A smooth coloured picture, different for every seed; read-only, as all get the same."""
    y, x = np.mgrid[0:height, 0:width]
    waves = [
        np.sin((x * (1 + c) + 7 * seed) / width * 3) + np.cos((y + 5 * seed) / height * (2 + c))
        for c in range(3)
    ]
    pixels = (127.5 + 55 * np.stack(waves, -1)).astype(np.uint8)
    pixels.flags.writeable = False
    return pixels


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
        "source": CommandSource(Commander.PERSON if index % 3 else Commander.HOLD),
        "skew_s": {s.name: 0.001 * (n + index) for n, s in enumerate(contract.alignment)},
    }
    return EpisodeFrame(**{**values, **other})


def jpeg(pixels: NDArray[np.uint8], *options: int) -> bytes:
    """A camera's JPEG of an RGB picture."""
    done, content = cv2.imencode(
        ".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92, *options]
    )
    assert done
    return content.tobytes()


def rgb(content: bytes) -> NDArray[np.uint8]:
    """What libjpeg makes of it."""
    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    return np.ascontiguousarray(pixels[..., ::-1])


_BITS = 6  # in blocks of 8 pixels, which the narrowest camera has room for


def counted(number: int, height: int, width: int) -> NDArray[np.uint8]:
    """A picture with its number, modulo 64, painted into it."""
    pixels = picture(number, height, width) // 4 + 96
    for bit in range(_BITS):
        pixels[:16, 8 * bit : 8 * bit + 8] = 235 if number >> bit & 1 else 20
    return pixels


def counters(pictures: NDArray[np.uint8]) -> list[int]:
    """The numbers painted into pictures (T, H, W, 3)."""
    blocks = pictures[:, 4:12, : 8 * _BITS].mean(axis=(1, 3)).reshape(-1, _BITS, 8).mean(axis=2)
    return ((blocks > 128) @ (1 << np.arange(_BITS))).tolist()


def record(
    writer: DatasetWriter, frames: int, task: str = "pick", contract: Contract = CONTRACT
) -> None:
    """Record one episode; its number decides its contents."""
    episode = writer.episodes
    writer.begin_episode(task)
    for index in range(frames):
        writer.add_frame(frame(index, episode, contract))
    writer.finish_episode()


def made(
    root: Path,
    lengths: tuple[int, ...] = (5, 3, 4),
    contract: Contract = CONTRACT,
    **options: Any,
) -> Path:
    """A dataset of episodes with these lengths, tasks taking turns."""
    with DatasetWriter(root, contract, **options) as writer:
        for number, length in enumerate(lengths):
            record(writer, length, ("pick", "fold")[number % 2], contract)
    return root
