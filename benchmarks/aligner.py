"""The aligner against an ApproximateTime synchronizer on the same recorded streams; one JSON line.

usage: python benchmarks/aligner.py [--seconds 120] [--rounds 3] [--drop 0.01] [--node]

Streams: two free-running 30 Hz cameras (40 kB pictures) and 100 Hz joints with the jitter and
the delays of USB cameras and a serial bus, recorded once (seeded) and given to both in the order
of their arrival. message_filters is not on PyPI: `ApproximateTime` below is its algorithm
(approximate_time.h of ROS's message_filters: pivot, candidate, age penalty 0.1, virtual moves,
no inter-message bounds) written again in Python, so costs compare like with like, and are no
statement about the C++ original.

They do not answer the same question: ApproximateTime emits each set of messages that lie close
together, at no fixed rate; the aligner a frame for every grid point, joints interpolated to it.
`span_ms` is the largest distance between two pictures' or joints' source stamps in one output
(an interpolated sample counts as of its time), `step_ms` that between outputs, `waited_ms` the time
from the arrival of an output's last picture to it, `age_ms` from the mean of its pictures' stamps.

--node measures the real process instead: CPU of the aligner node per frame, and the latency from
the last message a frame needs to the frame, over DDS, at real time for --seconds.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from armlet.align import Aligner, Policy, StreamConfig
from armlet.frozen import fingerprint
from armlet.nodes.teardown import destroy

MS = 1_000_000
START_NS = 1_700_000_000_000_000_000
NAMES = ("state", "front", "wrist")
CAMERAS = ("front", "wrist")
FPS = 30


@dataclass(frozen=True)
class Message:
    """A recorded message: when it came and when it was taken, ns."""

    arrival_ns: int
    stream: str
    stamp_ns: int
    value: Any


def recorded(seconds: float, drop: float) -> list[Message]:
    """The streams in the order of arrival; the same every time."""
    random = np.random.default_rng(0)
    picture = random.integers(0, 255, 40_000, np.uint8).tobytes()
    messages = []
    # name: period, phase, jitter, shortest delay, mean further delay; ms.
    for name, period, phase, jitter, delay, more in (
        ("state", 10.0, 0.0, 0.3, 1.0, 0.5),
        ("front", 33.367, 5.0, 1.0, 12.0, 3.0),
        ("wrist", 33.331, 21.0, 1.0, 12.0, 3.0),
    ):
        count = int(seconds * 1000 / period)
        stamps = phase + period * np.arange(count) + random.normal(0, jitter, count)
        arrivals = np.maximum.accumulate(stamps + delay + random.exponential(more, count))
        for i in np.flatnonzero(random.random(count) >= drop):
            value = np.full(6, stamps[i]) if name == "state" else picture
            messages.append(
                Message(
                    START_NS + round(arrivals[i] * MS),
                    name,
                    START_NS + round(stamps[i] * MS),
                    value,
                )
            )
    return sorted(messages, key=lambda message: message.arrival_ns)


class ApproximateTime:
    """Sets of messages of minimal span, as message_filters' policy of that name makes them."""

    AGE_PENALTY = 0.1

    def __init__(self, names: tuple[str, ...], queue_size: int, emit: Callable[[Any], None]):
        self._count, self._size, self._emit = len(names), queue_size, emit
        self._index = {name: i for i, name in enumerate(names)}
        self._queues: list[deque[Message]] = [deque() for _ in names]
        self._past: list[list[Message]] = [[] for _ in names]
        self._dropped = [False] * len(names)
        self._candidate: list[Message] | None = None
        self._candidate_start = self._candidate_end = self._pivot_ns = 0
        self._pivot = -1
        self.lost = 0

    def add(self, message: Message) -> None:
        i = self._index[message.stream]
        self._queues[i].append(message)
        if len(self._queues[i]) == 1 and all(self._queues):
            self._process()
        if len(self._queues[i]) + len(self._past[i]) > self._size:
            # The oldest of this stream goes, and with it the candidate that may hold it.
            self._recover_all()
            self._queues[i].popleft()
            self._dropped[i] = True
            self.lost += 1
            if self._pivot >= 0:
                self._candidate, self._pivot = None, -1
                if all(self._queues):
                    self._process()

    def _process(self) -> None:
        while all(self._queues):
            fronts = [queue[0].stamp_ns for queue in self._queues]
            end, start = max(fronts), min(fronts)
            end_index, start_index = fronts.index(end), fronts.index(start)
            for i in range(self._count):
                if i != end_index:
                    # No message lost before could have been better than what is here.
                    self._dropped[i] = False
            if self._pivot < 0:
                if self._dropped[end_index]:
                    self._queues[start_index].popleft()
                    continue
                self._take_candidate(start, end)
                self._pivot, self._pivot_ns = end_index, end
            elif (end - self._candidate_end) * (1 + self.AGE_PENALTY) < (
                start - self._candidate_start
            ):
                self._take_candidate(start, end)
            self._to_past(start_index)
            if start_index == self._pivot or self._no_better(end, self._pivot_ns):
                self._publish()
            elif not all(self._queues):
                self._look_ahead()

    def _no_better(self, end: int, start: int) -> bool:
        return (end - self._candidate_end) * (1 + self.AGE_PENALTY) >= start - self._candidate_start

    def _take_candidate(self, start: int, end: int) -> None:
        self._candidate = [queue[0] for queue in self._queues]
        self._candidate_start, self._candidate_end = start, end
        for past in self._past:
            past.clear()

    def _to_past(self, index: int) -> None:
        self._past[index].append(self._queues[index].popleft())

    def _look_ahead(self) -> None:
        """Whether the candidate is the best even if the missing messages come right now."""
        moves = [0] * self._count
        while True:
            times = [self._virtual_ns(i) for i in range(self._count)]
            end, start = max(times), min(times)
            start_index = times.index(start)
            if self._no_better(end, self._pivot_ns):
                self._publish()
                return
            if (end - self._candidate_end) * (1 + self.AGE_PENALTY) < start - self._candidate_start:
                break
            if start_index == self._pivot or not self._queues[start_index]:
                break
            self._to_past(start_index)
            moves[start_index] += 1
        for i, count in enumerate(moves):
            for _ in range(count):
                self._queues[i].appendleft(self._past[i].pop())

    def _virtual_ns(self, index: int) -> int:
        if self._queues[index]:
            return self._queues[index][0].stamp_ns
        return max(self._past[index][-1].stamp_ns, self._pivot_ns)

    def _recover_all(self) -> None:
        for queue, past in zip(self._queues, self._past, strict=True):
            queue.extendleft(reversed(past))
            past.clear()

    def _publish(self) -> None:
        assert self._candidate is not None
        self._emit(self._candidate)
        self._candidate, self._pivot = None, -1
        self._recover_all()
        for queue in self._queues:
            queue.popleft()


@dataclass
class Outputs:
    """What came out: source stamps (ns) by stream, and the arrival time at which it did."""

    stamps: list[dict[str, int]]
    at_ns: list[int]
    cpu_s: float


def by_approximate_time(messages: list[Message]) -> Outputs:
    out = Outputs([], [], 0.0)
    now_ns = 0

    def emit(found: list[Message]) -> None:
        out.stamps.append({message.stream: message.stamp_ns for message in found})
        out.at_ns.append(now_ns)

    synchronizer = ApproximateTime(NAMES, 30, emit)
    begin = time.process_time()
    for message in messages:
        now_ns = message.arrival_ns
        synchronizer.add(message)
    out.cpu_s = time.process_time() - begin
    return out


def by_aligner(messages: list[Message]) -> Outputs:
    out = Outputs([], [], 0.0)
    aligner = Aligner(
        [
            StreamConfig("state", Policy.LINEAR, 0.05),
            *(StreamConfig(name, Policy.NEAREST, 0.04, frozen_s=1.0) for name in CAMERAS),
        ],
        FPS,
        0.3,
    )
    frames = []
    begin = time.process_time()
    for message in messages:
        # As in the node: repeats are looked for here, and the timer's rounds are left out.
        same = fingerprint(message.value) if message.stream != "state" else None
        # A constant picture stands for noise here, so it must not count as frozen.
        mark = None if same is None else (same, message.stamp_ns)
        aligner.push(message.stream, message.stamp_ns, message.value, mark)
        for frame in aligner.frames(message.arrival_ns):
            frames.append((message.arrival_ns, frame))
    out.cpu_s = time.process_time() - begin
    for at_ns, frame in frames:
        stamps = {name: frame.stamp_ns + round(frame.skew_s[name] * 1e9) for name in CAMERAS}
        out.stamps.append({**stamps, "state": frame.stamp_ns})
        out.at_ns.append(at_ns)
    return out


def quantiles(values_ns: list[float]) -> dict[str, float]:
    values = np.array(values_ns) * 1e-6
    return {
        "p50": round(float(np.median(values)), 2),
        "p99": round(float(np.percentile(values, 99)), 2),
        "max": round(float(values.max()), 2),
    }


def summary(out: Outputs, messages: list[Message], cpu_s: float) -> dict[str, Any]:
    arrivals = {(m.stream, m.stamp_ns): m.arrival_ns for m in messages}
    pictures = [[stamps[name] for name in CAMERAS] for stamps in out.stamps]
    last_ns = [max(arrivals[name, stamps[name]] for name in CAMERAS) for stamps in out.stamps]
    steps_ns = [
        later["state"] - earlier["state"] for earlier, later in itertools.pairwise(out.stamps)
    ]
    return {
        "outputs": len(out.stamps),
        "per_s": round(len(out.stamps) * 1e9 / (out.at_ns[-1] - out.at_ns[0]), 2),
        "span_ms": quantiles([max(s.values()) - min(s.values()) for s in out.stamps]),
        "step_ms": quantiles([float(step) for step in steps_ns]),
        "waited_ms": quantiles([at - last for at, last in zip(out.at_ns, last_ns, strict=True)]),
        "age_ms": quantiles(
            [at - sum(p) / len(p) for at, p in zip(out.at_ns, pictures, strict=True)]
        ),
        "cpu_us_per_output": round(cpu_s * 1e6 / len(out.stamps), 1),
        "cpu_us_per_message": round(cpu_s * 1e6 / len(messages), 2),
    }


def compare(seconds: float, rounds: int, drop: float) -> dict[str, Any]:
    messages = recorded(seconds, drop)
    result: dict[str, Any] = {"messages": len(messages), "drop": drop}
    for name, run in (("aligner", by_aligner), ("approximate_time", by_approximate_time)):
        outs = [run(messages) for _ in range(rounds)]
        result[name] = summary(outs[0], messages, min(out.cpu_s for out in outs))
    return result


def cpu_s(pid: int) -> float:
    """CPU seconds a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def node(seconds: float) -> dict[str, Any]:
    """The aligner's process between a publisher and a subscriber in this one."""
    import rclpy
    from sensor_msgs.msg import CompressedImage, JointState

    from armlet.bringup import NodeSpec, command
    from armlet.camera import jpeg
    from armlet.nodes.messages import joint_state, to_ns
    from armlet.nodes.node import STATE_QOS
    from armlet.nodes.pictures import compressed_image
    from armlet.robots import SO101_JOINTS

    parameters: dict[str, Any] = {"streams": ["state", *CAMERAS]}
    for name in CAMERAS:
        topic = f"{name}/image_raw/compressed"
        parameters |= {f"{name}.topic": topic, f"{name}.type": "compressed"}
        parameters |= {f"{name}.policy": "nearest", f"{name}.tolerance_s": 0.04}
    random = np.random.default_rng(0)
    small = random.integers(0, 255, (48, 64, 3), np.uint8)
    pictures = []
    for _ in range(30):
        # 40 kB as of a 640x480 camera: a valid small picture and a comment of noise.
        body, noise = jpeg.encode(small), random.integers(0, 255, 36_000, np.uint8).tobytes()
        pictures.append(body[:2] + b"\xff\xfe" + (36_002).to_bytes(2, "big") + noise + body[2:])

    rclpy.init()
    here = rclpy.create_node("aligner_benchmark")
    states = here.create_publisher(JointState, "joint_states", STATE_QOS)
    cameras = [
        here.create_publisher(CompressedImage, f"{name}/image_raw/compressed", STATE_QOS)
        for name in CAMERAS
    ]
    seen: list[tuple[int, int]] = []
    here.create_subscription(
        JointState,
        "observation/state",
        lambda message: seen.append((to_ns(message.header.stamp), time.time_ns())),
        STATE_QOS,
    )

    def events() -> Iterator[tuple[float, int]]:
        begin = time.monotonic()
        due = [begin, begin + 0.005, begin + 0.021]
        while True:
            which = due.index(min(due))
            yield due[which], which
            due[which] += 0.01 if which == 0 else 1 / FPS

    sent_ns: list[int] = []
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(
            command(NodeSpec("aligner", "aligner", parameters), Path(folder))
        )
        used_s = begin = 0.0
        try:
            for count, (due_s, which) in enumerate(events()):
                while (left := due_s - time.monotonic()) > 0:
                    rclpy.spin_once(here, timeout_sec=left)
                now_ns = time.time_ns()
                if which == 0:
                    states.publish(joint_state(SO101_JOINTS, now_ns, np.zeros(6)))
                else:
                    picture = pictures[count % len(pictures)]
                    cameras[which - 1].publish(compressed_image(picture, now_ns, "camera"))
                sent_ns.append(now_ns)
                if begin == 0.0 and len(seen) > FPS:
                    seen.clear()
                    used_s, begin = cpu_s(process.pid), time.monotonic()
                if begin and time.monotonic() - begin > seconds:
                    break
            used_s, wall_s = cpu_s(process.pid) - used_s, time.monotonic() - begin
        finally:
            process.terminate()
            process.wait()
    destroy(here)
    rclpy.shutdown()
    return {
        "frames_per_s": round(len(seen) / wall_s, 2),
        "cpu_percent": round(100 * used_s / wall_s, 1),
        "cpu_ms_per_frame": round(1000 * used_s / len(seen), 2),
        # A frame can go once every stream has passed it: a camera's next picture, 33 ms on.
        "grid_to_frame_ms": quantiles([float(at - stamp) for stamp, at in seen]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=120.0, help="length of the recording")
    parser.add_argument("--rounds", type=int, default=3, help="the best CPU time counts")
    parser.add_argument("--drop", type=float, default=0.01, help="share of messages lost")
    parser.add_argument("--node", action="store_true", help="measure the node's process instead")
    args = parser.parse_args()
    result = node(args.seconds) if args.node else compare(args.seconds, args.rounds, args.drop)
    print(json.dumps({"benchmark": "aligner", **result, "load": os.getloadavg()[0]}))


if __name__ == "__main__":
    main()
