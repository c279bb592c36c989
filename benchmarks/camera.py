"""Latency and CPU of the image path: camera node -> aligner node -> here; one JSON line.

usage: python benchmarks/camera.py [--seconds 10] [--width 640 --height 480 --fps 30]

Sources: a Motion-JPEG file, whose bytes go through as a USB camera's do (`mjpeg`), and the numbered
test picture, which the camera node paints and encodes itself (`pattern`); each as JPEG and as raw
pictures. `camera` is the time from a picture's stamp to its arrival here from the camera node,
`aligned` to its arrival in a frame of the aligner's; the latter includes the wait for the frame's
time and, by the policy `nearest`, for what might come nearer. In real time a file's pictures are
due at their stamps, so stamps are those of acquisition. Figures hold for an otherwise idle machine:
look at `load`. `idle` CPU is that of a camera node nobody listens to.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import numpy as np
import rclpy
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Float64MultiArray

from armlet.bringup import NodeSpec, command
from armlet.camera.pattern import paint
from armlet.nodes.messages import parse_skew, to_ns
from armlet.nodes.node import STATE_QOS
from armlet.nodes.teardown import destroy

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
CAMERA = "front"
FILE_S = 2


def cpu_s(pid: int) -> float:
    """CPU seconds a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def record(path: Path, width: int, height: int, fps: int) -> float:
    """A Motion-JPEG file with a sensor's noise in it; returns the mean size of a picture, kB."""
    rng = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=fps)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuvj420p"
        stream.codec_context.flags |= av.codec.context.Flags.qscale
        stream.codec_context.global_quality = 4 * 118  # FF_QP2LAMBDA: about JPEG quality 85
        for number in range(FILE_S * fps):
            noise = rng.normal(0, 4, (height, width, 1))
            picture = np.clip(paint(width, height, number) + noise, 0, 255).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path.stat().st_size / (FILE_S * fps) / 1000


@contextmanager
def running(specs: list[NodeSpec]) -> Iterator[list[int]]:
    """The nodes as processes; yields their ids."""
    with tempfile.TemporaryDirectory() as folder:
        started = [subprocess.Popen(command(spec, Path(folder))) for spec in specs]
        try:
            yield [process.pid for process in started]
        finally:
            for process in started:
                process.terminate()
            for process in started:
                process.wait()


@dataclass
class Arrivals:
    """When messages came, by stamp; for frames also where their picture's own time lies."""

    by_stamp_ns: dict[int, int] = field(default_factory=dict)
    skew_s: dict[int, float] = field(default_factory=dict)

    def picture(self, message: Any) -> None:
        self.by_stamp_ns[to_ns(message.header.stamp)] = time.time_ns()

    def skew(self, message: Float64MultiArray) -> None:
        stamp_ns, skews = parse_skew(message)
        if CAMERA in skews:
            self.skew_s[stamp_ns] = skews[CAMERA]

    def lost(self, fps: int) -> int:
        """Pictures missing between the first and the last, by their stamps."""
        stamps_s = 1e-9 * np.array(sorted(self.by_stamp_ns))
        return int((np.round(np.diff(stamps_s) * fps) - 1).sum())

    def latencies_ms(self, aligned: bool) -> np.ndarray[Any, np.dtype[np.float64]]:
        """From a picture's acquisition to its arrival, ms."""
        if not aligned:
            return np.array([(came - at) * 1e-6 for at, came in self.by_stamp_ns.items()])
        return np.array(
            [
                (came - at) * 1e-6 - 1000 * self.skew_s[at]
                for at, came in self.by_stamp_ns.items()
                if at in self.skew_s
            ]
        )


def quantiles(latencies_ms: np.ndarray[Any, np.dtype[np.float64]]) -> dict[str, float]:
    return {
        "p50_ms": round(float(np.median(latencies_ms)), 2),
        "p99_ms": round(float(np.percentile(latencies_ms, 99)), 2),
        "max_ms": round(float(latencies_ms.max()), 2),
        "pictures": len(latencies_ms),
    }


def spin(node: Node, seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        rclpy.spin_once(node, timeout_sec=0.05)


def measure(source: str, kind: str, args: argparse.Namespace) -> dict[str, Any]:
    """One source, as `compressed` or `raw` pictures."""
    suffix, message = ("/compressed", CompressedImage) if kind == "compressed" else ("", Image)
    size = {"width": args.width, "height": args.height, "fps": float(args.fps)}
    camera = NodeSpec("camera", CAMERA, {"source": source, **size}, namespace="")
    stream = {
        f"{CAMERA}.topic": f"image_raw{suffix}",
        f"{CAMERA}.type": kind,
        f"{CAMERA}.policy": "nearest",
        f"{CAMERA}.tolerance_s": round(1.2 / args.fps, 4),
    }
    aligner = NodeSpec("aligner", "aligner", {"fps": args.fps, "streams": [CAMERA], **stream})
    result: dict[str, Any] = {}
    for case, specs in (("camera", [camera]), ("aligned", [camera, aligner])):
        arrivals = Arrivals()
        node = rclpy.create_node("camera_benchmark")
        aligned = case == "aligned"
        topic = f"observation/images/{CAMERA}{suffix}" if aligned else f"image_raw{suffix}"
        node.create_subscription(message, topic, arrivals.picture, STATE_QOS)
        node.create_subscription(Float64MultiArray, "observation/skew", arrivals.skew, STATE_QOS)
        with running(specs) as pids:
            begin = time.monotonic()
            while len(arrivals.by_stamp_ns) < 2 * args.fps and time.monotonic() - begin < 60:
                rclpy.spin_once(node, timeout_sec=0.1)
            arrivals.by_stamp_ns.clear()
            before, own = [cpu_s(pid) for pid in pids], time.process_time()
            start = time.monotonic()
            spin(node, args.seconds)
            wall_s = time.monotonic() - start
            used = [cpu_s(pid) - at for pid, at in zip(pids, before, strict=True)]
            own = time.process_time() - own
        destroy(node)
        if not arrivals.by_stamp_ns:
            raise SystemExit(f"no pictures came on {topic} from {source}")
        names = ("camera_cpu_percent", "aligner_cpu_percent")
        result[case] = quantiles(arrivals.latencies_ms(aligned)) | {
            name: round(100 * seconds / wall_s, 1)
            for name, seconds in zip(names, used, strict=False)
        }
        result[case]["listener_cpu_percent"] = round(100 * own / wall_s, 1)
        result[case]["lost"] = arrivals.lost(args.fps)
    return result


def idle(source: str, args: argparse.Namespace) -> float:
    """CPU percent of a camera node nobody listens to."""
    size = {"width": args.width, "height": args.height, "fps": float(args.fps)}
    with running([NodeSpec("camera", CAMERA, {"source": source, **size})]) as (pid,):
        time.sleep(3)
        before_s = cpu_s(pid)
        time.sleep(args.seconds)
        return round(100 * (cpu_s(pid) - before_s) / args.seconds, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="per case")
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--height", type=int, default=480)
    parser.add_argument("--fps", type=int, default=30)
    args = parser.parse_args()
    result: dict[str, Any] = {"benchmark": "camera", **vars(args)}
    rclpy.init()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "camera.avi"
        result["jpeg_kb"] = round(record(file, args.width, args.height, args.fps), 1)
        for name, source in (("mjpeg", f"file:{file}?loop"), ("pattern", "pattern")):
            kinds = ("compressed", "raw")
            result[name] = {kind: measure(source, kind, args) for kind in kinds}
            result[name]["idle_cpu_percent"] = idle(source, args)
    rclpy.shutdown()
    print(json.dumps({**result, "load": os.getloadavg()[0]}))


if __name__ == "__main__":
    main()
