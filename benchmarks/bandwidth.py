"""What goes between a robot's computer and a policy's: bytes and messages of each stream.

usage: python benchmarks/bandwidth.py [--seconds 10] [--topics observation/ joint_trajectory ...]
       python benchmarks/bandwidth.py --pictures

Counts what a running graph publishes, as `ros2 topic bw` does, but all topics at once and by bytes
of the messages themselves; DDS adds some tens of bytes to each, and a header for every 64 kB or
network packet. Each topic is counted once: a second subscriber on another computer costs as much
again. It prints a table and a line of JSON.

--pictures counts no graph, but the bytes of a picture by size and JPEG quality: the bench's table,
and the same with a webcam's noise (4 of 255), which is most of what a JPEG of high quality holds.
"""

from __future__ import annotations

import argparse
import importlib
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import rclpy
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy

from armlet.camera import jpeg
from armlet.sim import Bench

# What the policy reads and writes, and what both sides say of themselves.
TOPICS = (
    "observation/",
    "joint_trajectory",
    "policy/",
    "recorder/readiness",
    "computer/status",
    "diagnostics",
    "_armlet_clocks",
)
SIZES = ((640, 480), (320, 240))
QUALITIES = (60, 80, 90, 95)
NOISE = 4.0
_QOS = QoSProfile(depth=1000, reliability=ReliabilityPolicy.BEST_EFFORT)


@dataclass
class Stream:
    """Of one topic: messages and bytes, of seconds."""

    topic: str
    messages: int = 0
    size: int = 0
    seconds: float = 0.0

    @property
    def rate_hz(self) -> float:
        return self.messages / self.seconds if self.seconds else 0.0

    @property
    def bytes_each(self) -> float:
        return self.size / self.messages if self.messages else 0.0

    @property
    def kbit_s(self) -> float:
        return 8e-3 * self.size / self.seconds if self.seconds else 0.0


class Counter:
    """Subscribes to the topics of a graph as they appear, and counts their bytes."""

    def __init__(self, node: Node, topics: Sequence[str]) -> None:
        self._node, self._topics = node, tuple(topics)
        self.streams: dict[str, Stream] = {}

    def look(self) -> None:
        """Subscribe to what has appeared."""
        for topic, (kind, *_) in self._node.get_topic_names_and_types(no_demangle=False):
            wanted = any(f"/{word}" in topic for word in self._topics)
            if wanted and topic not in self.streams:
                self._count(topic, kind)

    def _count(self, topic: str, kind: str) -> None:
        stream = self.streams[topic] = Stream(topic)

        def take(message: bytes) -> None:
            stream.messages += 1
            stream.size += len(message)

        self._node.create_subscription(message_class(kind), topic, take, _QOS, raw=True)

    def begin(self) -> None:
        """Forget what was counted before."""
        for stream in self.streams.values():
            stream.messages = stream.size = 0


def message_class(kind: str) -> Any:
    """The class of a type named as `sensor_msgs/msg/JointState`."""
    package, _, name = kind.split("/")
    return getattr(importlib.import_module(f"{package}.msg"), name)


def count(seconds: float, topics: Sequence[str], discovery_s: float = 3.0) -> list[Stream]:
    """The streams of the graph that runs in this ROS domain, over some seconds."""
    rclpy.init(args=[])
    node = Node("bandwidth")
    counter = Counter(node, topics)
    try:
        _spin(node, counter, discovery_s)
        counter.begin()
        elapsed_s = _spin(node, counter, seconds)
    finally:
        node.destroy_node()
        rclpy.try_shutdown()
    for stream in counter.streams.values():
        stream.seconds = elapsed_s
    return sorted(counter.streams.values(), key=lambda stream: -stream.size)


def _spin(node: Node, counter: Counter, seconds: float) -> float:
    begun_s = time.monotonic()
    looked_s = -1.0
    while (elapsed_s := time.monotonic() - begun_s) < seconds:
        if elapsed_s - looked_s > 1.0:
            counter.look()
            looked_s = elapsed_s
        rclpy.spin_once(node, timeout_sec=0.05)
    return elapsed_s


def table(streams: Sequence[Stream]) -> str:
    lines = ["| topic | messages/s | bytes each | kbit/s |", "|---|---|---|---|"]
    lines += [
        f"| `{s.topic.lstrip('/')}` | {s.rate_hz:.1f} | {s.bytes_each:.0f} | {s.kbit_s:.0f} |"
        for s in streams
        if s.messages
    ]
    return "\n".join(lines)


def pictures() -> str:
    """Bytes of the bench's front picture, by size and quality, without and with noise."""
    noise = np.random.default_rng(0)
    lines = ["| size | JPEG quality | kB each | Mbit/s at 30 Hz |", "|---|---|---|---|"]
    for width, height in SIZES:
        with Bench(size=(width, height), paced=False) as bench:
            clean = bench.render("front")
        grain = noise.normal(0, NOISE, clean.shape)
        noisy = np.clip(clean + grain, 0, 255).astype(np.uint8)
        for quality in QUALITIES:
            kb = [len(jpeg.encode(rgb, quality)) / 1000 for rgb in (clean, noisy)]
            each, rate = (
                " to ".join(f"{value:.{digits}f}" for value in values)
                for values, digits in ((kb, 0), ([8e-3 * 30 * size for size in kb], 1))
            )
            lines.append(f"| {width}x{height} | {quality} | {each} | {rate} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Counts a running graph's bytes by topic.")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--topics", nargs="+", default=TOPICS, help="parts of topics' names")
    parser.add_argument("--pictures", action="store_true", help="bytes by size and JPEG quality")
    options = parser.parse_args(arguments)
    if options.pictures:
        print(pictures())
        return
    streams = count(options.seconds, options.topics)
    print(table(streams))
    print(json.dumps([asdict(stream) for stream in streams]))


if __name__ == "__main__":
    main()
