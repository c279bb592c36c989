"""Bags of the raw topics, written by the library that the real tools' bags are read with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from made_episodes import START_NS, counted, jpeg
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from armlet.robots import SO101_JOINTS

TYPES = get_typestore(Stores.ROS2_KILTED)
STORAGE = {"mcap": StoragePlugin.MCAP, "sqlite3": StoragePlugin.SQLITE3}
HEIGHT, WIDTH = 48, 64
STATES, COMMANDS = "/joint_states", "/applied_joint_commands"


@dataclass(frozen=True)
class Recorded:
    """A message and when it was recorded; value is the joint vector, or the picture's bytes.

    source: who commanded it, as the driver says.
    """

    topic: str
    stamp_ns: int
    recorded_ns: int
    value: Any
    source: str = ""


def picture_topic(camera: str, namespace: str = "") -> str:
    return f"{namespace}/{camera}/image_raw/compressed"


def scene(seconds: float, cameras: tuple[str, ...] = ("front", "wrist"), seed: int = 0) -> list:
    """Joints at 100 Hz and pictures at 30 fps with jitter and loss, in the order they came."""
    random = np.random.default_rng(seed)
    found = []
    for topic, shift in ((STATES, 0.0), (COMMANDS, 0.1)):
        for n in range(round(seconds * 100)):
            stamp = START_NS + n * 10_000_000 + int(random.integers(-1_000_000, 1_000_000))
            goal = 0.4 * np.sin(n / 50 + shift + np.arange(6))
            found.append(Recorded(topic, stamp, stamp + int(random.integers(1, 4_000_000)), goal))
    for place, camera in enumerate(cameras):
        for n in range(round(seconds * 30)):
            if random.random() < 0.03:
                continue
            stamp = START_NS + n * 33_333_333 + 4_000_000 * place
            late = int(random.integers(5_000_000, 60_000_000))
            picture = jpeg(counted(n, HEIGHT, WIDTH))
            found.append(Recorded(picture_topic(camera), stamp, stamp + late, picture))
    return sorted(found, key=lambda message: message.recorded_ns)


def serialized(message: Recorded, joints: tuple[str, ...] = SO101_JOINTS) -> tuple[str, bytes]:
    """Type and CDR of a message."""
    stamp = TYPES.types["builtin_interfaces/msg/Time"](
        sec=message.stamp_ns // 10**9, nanosec=message.stamp_ns % 10**9
    )
    header = TYPES.types["std_msgs/msg/Header"](stamp=stamp, frame_id=message.source)
    none = np.zeros(0)
    if isinstance(message.value, bytes):
        kind = "sensor_msgs/msg/CompressedImage"
        data = np.frombuffer(message.value, np.uint8)
        made = TYPES.types[kind](header=header, format="jpeg", data=data)
    elif message.value.dtype == np.uint8:
        kind = "sensor_msgs/msg/Image"
        made = TYPES.types[kind](
            header=header,
            height=message.value.shape[0],
            width=message.value.shape[1],
            encoding="bgr8",
            is_bigendian=0,
            step=message.value.shape[1] * 3,
            data=message.value[..., ::-1].ravel(),
        )
    else:
        kind = "sensor_msgs/msg/JointState"
        made = TYPES.types[kind](
            header=header, name=list(joints), position=message.value, velocity=none, effort=none
        )
    return kind, bytes(TYPES.serialize_cdr(made, kind))


def write(path: Path, messages: list, storage: str = "mcap", prefix: str = "") -> Path:
    """A bag of messages, the topics under a prefix."""
    with Writer(path, version=9, storage_plugin=STORAGE[storage]) as writer:
        connections: dict[str, Any] = {}
        for message in messages:
            kind, content = serialized(message)
            topic = prefix + message.topic
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, kind, typestore=TYPES)
            writer.write(connections[topic], message.recorded_ns, content)
    return path
