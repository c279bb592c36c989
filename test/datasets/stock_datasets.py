"""What the scripts for stock LeRobot, old and new, share. Run by LeRobot's own Python."""

from __future__ import annotations

import ctypes
import struct
import sys
from pathlib import Path

import numpy as np

# ruff: noqa: E402 — its decoding must be patched as it is imported
sys.path.insert(0, sys.argv[1])
import av_decode

av_decode.install()

import torch
from lerobot.configs.types import FeatureType
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from lerobot.policies.act.configuration_act import ACTConfig

torch.set_num_threads(2)


def stay_ordinary() -> None:
    """Give up the right to real-time priority: as root, SVT-AV1 takes the highest there is."""
    cap_sys_nice = 1 << 23
    libc, header = ctypes.CDLL(None), struct.pack("Ii", 0x20080522, 0)  # capabilities, version 3
    sets = ctypes.create_string_buffer(24)
    assert libc.capget(ctypes.create_string_buffer(header), sets) == 0
    effective, permitted, *rest = struct.unpack("6I", sets.raw)
    kept = struct.pack("6I", effective & ~cap_sys_nice, permitted & ~cap_sys_nice, *rest)
    assert libc.capset(header, kept) == 0


stay_ordinary()


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


def small_act(features: dict, horizon: int) -> ACTConfig:
    """Of these policy features."""
    return ACTConfig(
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


def recorded_frame(seed: int, features: dict) -> dict:
    frame = {}
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
