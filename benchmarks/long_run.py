"""Minutes of recording through real processes, every row's pictures checked; one JSON line.

usage: python benchmarks/long_run.py [--minutes 10] [--episode-s 30] [--root DIR] [--plot FILE.png]
                                     [--nice -10]

The graph is `armlet up record`'s: emulated arms, servo_bus of both, teleop, two camera nodes, the
aligner, the recorder. The cameras play Motion-JPEG films (640x480, 30 fps, a sensor's noise) whose
bytes go through as a USB camera's do. A number is painted into each picture; the wrist's numbers
begin where the front's end, so that cameras mixed up would show.

Before anything is recorded, each camera's own messages tell at which instant its film began. Then
the picture of every row of every episode must bear the number that the film had at the row's source
stamp (the row's stamp and skew). `lost_rows` are grid points missing between rows of one recording:
there the recorder splits the episode. `saved_after_s` is the time from an episode's last row to the
rename that makes it part of the dataset. CPU is of one core, in percent; `others` is what the rest
of the machine took meanwhile.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import numpy as np
import rclpy
from numpy.typing import NDArray
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage
from std_srvs.srv import SetBool, Trigger

from armlet.bringup import NodeSpec, graph, share_directory
from armlet.camera import read_counter
from armlet.camera.pattern import paint
from armlet.datasets import Dataset, check
from armlet.datasets.format import layout
from armlet.nodes.messages import to_ns
from armlet.nodes.node import STATE_QOS
from armlet.nodes.pictures import rgb
from armlet.nodes.teardown import destroy
from armlet.supervisor import Supervisor

FPS = 30
WIDTH, HEIGHT = 640, 480
FILM = 600
"""Pictures in a film, which is looped: 20 s, so that it repeats within an episode too."""
BASES = {"front": 0, "wrist": FILM}
ANCHORS = 15
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
# Memory is judged after this: until then buffers and caches are being filled.
SETTLED_S = 60.0


def make_film(path: Path, base: int) -> float:
    """A Motion-JPEG file of numbered, noisy pictures; the mean size of one, kB."""
    rng = np.random.default_rng(base)
    noise = rng.normal(0, 4, (16, HEIGHT, WIDTH, 1)).astype(np.int16)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuvj420p"
        stream.codec_context.flags |= av.codec.context.Flags.qscale
        stream.codec_context.global_quality = 4 * 118  # FF_QP2LAMBDA: about JPEG quality 85
        for number in range(FILM):
            painted = paint(WIDTH, HEIGHT, base + number) + noise[number % len(noise)]
            picture = np.clip(painted, 0, 255).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path.stat().st_size / FILM / 1000


def nodes(folder: Path, root: Path, episode_s: float) -> list[NodeSpec]:
    """The record graph on emulated arms and on films, and the bench that emulates the arms."""
    calibration = share_directory() / "config" / "calibration"
    films = {camera: folder / f"{camera}.avi" for camera in BASES}
    arms = {
        f"{arm}_{what}": str(path)
        for arm in ("leader", "follower")
        for what, path in (
            ("port", folder / "bench" / arm),
            ("calibration", calibration / f"emulated_{arm}.json"),
        )
    }
    record = graph("record").nodes(
        {
            **arms,
            "cameras": ",".join(f"{camera}=file:{film}?loop" for camera, film in films.items()),
            "width": str(WIDTH),
            "height": str(HEIGHT),
            "fps": str(FPS),
            "root": str(root),
            "task": "reach",
            "episode_s": str(episode_s),
            "on_gap": "split",
        }
    )
    bench = NodeSpec(
        "sim_bench", "sim_bench", {"directory": str(folder / "bench"), "cameras": False}
    )
    return [bench, *record]


class Client:
    """Calls services, and listens to cameras only when asked: a load of its own would count."""

    def __init__(self) -> None:
        self._node = Node("long_run")

    def trigger(self, service: str) -> Trigger.Response:
        return self.call(Trigger, service, Trigger.Request())

    def call(self, kind: Any, service: str, request: Any, timeout_s: float = 30.0) -> Any:
        client = self._node.create_client(kind, service)
        try:
            if not client.wait_for_service(timeout_s):
                raise SystemExit(f"service {service} is not there")
            future = client.call_async(request)
            rclpy.spin_until_future_complete(self._node, future, timeout_sec=timeout_s)
            if future.result() is None:
                raise SystemExit(f"service {service} did not answer within {timeout_s:.0f} s")
            return future.result()
        finally:
            self._node.destroy_client(client)

    def film_start_ns(self, camera: str) -> int:
        """When a camera's film began, modulo its length, by the camera's own messages."""
        heard: list[CompressedImage] = []
        listening = self._node.create_subscription(
            CompressedImage, f"{camera}/image_raw/compressed", heard.append, STATE_QOS
        )
        until = time.monotonic() + 60
        while len(heard) < ANCHORS:
            if time.monotonic() > until:
                raise SystemExit(f"camera {camera} gives no pictures")
            rclpy.spin_once(self._node, timeout_sec=0.1)
        self._node.destroy_subscription(listening)
        starts = [
            to_ns(message.header.stamp)
            - round((read_counter(rgb(message)) - BASES[camera]) * 1e9 / FPS)
            for message in heard
        ]
        length_ns = round(FILM * 1e9 / FPS)
        # The film may have begun again among them.
        return (
            starts[0]
            + round(statistics.median((s - starts[0] + length_ns // 2) % length_ns for s in starts))
            - length_ns // 2
        )

    def close(self) -> None:
        destroy(self._node)


@dataclass
class Usage:
    """One process tree's CPU seconds and resident bytes, over time."""

    pid: int
    cpu_s: list[float] = field(default_factory=list)
    rss_mb: list[float] = field(default_factory=list)

    def sample(self) -> None:
        looks = [_look(pid) for pid in (self.pid, *_children(self.pid))]
        self.cpu_s.append(sum(cpu for cpu, _ in looks))
        self.rss_mb.append(sum(rss for _, rss in looks))


def _children(pid: int) -> list[int]:
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    return [int(child) for child in text.split()]


def _look(pid: int) -> tuple[float, float]:
    """CPU seconds and resident MB of a process; zeros if it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0, 0.0
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S, int(fields[21]) * PAGE / 1e6


def machine_busy_s() -> float:
    """CPU seconds that anything on the machine has used."""
    fields = [int(n) for n in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / TICKS_PER_S


class Sampler:
    """Looks at every node once a second, in a thread."""

    def __init__(self, pids: dict[str, int]) -> None:
        self.times_s: list[float] = []
        self.nodes = {label: Usage(pid) for label, pid in pids.items()}
        self.load: list[float] = []
        self._busy_s = machine_busy_s()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        start_s = time.monotonic()
        while True:
            self.times_s.append(time.monotonic() - start_s)
            self.load.append(os.getloadavg()[0])
            for usage in self.nodes.values():
                usage.sample()
            if self._ending.wait(1.0):
                return

    def stop(self) -> None:
        self._ending.set()
        self._thread.join()
        self._busy_s = machine_busy_s() - self._busy_s

    def summary(self) -> dict[str, Any]:
        span_s = self.times_s[-1] - self.times_s[0]
        used = {label: u.cpu_s[-1] - u.cpu_s[0] for label, u in self.nodes.items()}
        cpu = {label: round(100 * seconds / span_s, 1) for label, seconds in used.items()}
        return {
            "cpu_percent": {**cpu, "all": round(sum(cpu.values()), 1)},
            "others_cpu_percent": round(100 * (self._busy_s - sum(used.values())) / span_s, 1),
            "load": [round(min(self.load), 1), round(max(self.load), 1)],
            "memory": {label: self._memory(usage) for label, usage in self.nodes.items()},
        }

    def _memory(self, usage: Usage) -> dict[str, float]:
        """Resident MB once settled and at the end, and the straight line's slope between."""
        times = np.array(self.times_s)
        settled = times >= min(SETTLED_S, times[-1] / 2)
        rss = np.array(usage.rss_mb)[settled]
        slope = float(np.polyfit(times[settled] / 60, rss, 1)[0])
        return {
            "first_mb": round(float(rss[0]), 1),
            "last_mb": round(float(rss[-1]), 1),
            "peak_mb": round(max(usage.rss_mb), 1),
            "slope_mb_per_min": round(slope, 3),
        }


def finished(root: Path) -> int:
    """Episodes in the dataset; info.json is written last."""
    try:
        return int(json.loads((root / layout.INFO).read_text())["total_episodes"])
    except FileNotFoundError:
        return 0


def record(client: Client, root: Path, minutes: float, episode_s: float) -> dict[str, list[str]]:
    """Record episode after episode; what was refused, and when the arm had lost its torque."""
    refused: dict[str, list[str]] = {"start_refused": [], "disarmed": []}
    until = time.monotonic() + 60 * minutes
    while time.monotonic() < until:
        client.trigger("sim_bench/demonstrate")
        before = finished(root)
        answer = client.trigger("recorder/start_recording")
        if answer.success:
            _wait_for_end(client, root, before, episode_s, refused)
        else:
            refused["start_refused"].append(answer.message)
            _arm(client, refused)
            time.sleep(1.0)
        client.trigger("sim_bench/reset")
    return refused


def _wait_for_end(
    client: Client, root: Path, before: int, episode_s: float, refused: dict[str, list[str]]
) -> None:
    """Wait until an episode has its full length; one that is split at a gap begins again."""
    changed_s = time.monotonic()
    while True:
        if finished(root) > before:
            before, changed_s = finished(root), time.monotonic()
            if Dataset(root).episodes[-1].length >= round(episode_s * FPS):
                return
        if time.monotonic() - changed_s > 2 * episode_s:
            # A bus that was starved of CPU gives up its servos, and does not arm by itself.
            _arm(client, refused)
            refused["disarmed"].append(client.trigger("recorder/stop_recording").message)
            return
        time.sleep(0.02)


def _arm(client: Client, refused: dict[str, list[str]]) -> None:
    answer = client.call(SetBool, "servo_bus/set_torque", SetBool.Request(data=True))
    refused["disarmed"].append(answer.message)


@dataclass
class Verdict:
    """What every row of the dataset showed."""

    rows: int = 0
    lost_rows: int = 0
    splits: int = 0
    wrong: dict[str, list[str]] = field(default_factory=lambda: {c: [] for c in BASES})
    reused: dict[str, int] = field(default_factory=lambda: dict.fromkeys(BASES, 0))
    reused_in_ledger: dict[str, int] = field(default_factory=lambda: dict.fromkeys(BASES, 0))
    off_s: dict[str, float] = field(default_factory=lambda: dict.fromkeys(BASES, 0.0))
    skew_s: dict[str, list[NDArray[np.float64]]] = field(default_factory=dict)
    saved_after_s: list[float] = field(default_factory=list)
    ledgers: dict[str, dict[str, int]] = field(default_factory=dict)


def numbers(path: Path) -> Iterator[int]:
    """The number painted into every picture of a video; -1 where none can be read."""
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            try:
                yield read_counter(frame.to_ndarray(format="gray"))
            except Exception:
                yield -1


def verify(root: Path, starts_ns: dict[str, int], episode_s: float) -> Verdict:
    dataset, verdict = Dataset(root), Verdict()
    assert dataset.contract is not None
    streams = [stream.name for stream in dataset.contract.alignment]
    end_ns = None
    for episode in dataset.episodes:
        rows = dataset.episode(episode.episode)
        stamps = rows.stamp_ns
        skew = np.asarray(rows.columns[layout.SKEW], np.float64)
        if end_ns is not None:
            # After a gap the recorder goes on at once, after its length it waits for a start.
            gap = round((stamps[0] - end_ns) * 1e-9 * FPS) - 1
            verdict.lost_rows += gap
            verdict.splits += 1
        ended = episode.length >= round(episode_s * FPS)
        end_ns = None if ended else int(stamps[-1])
        verdict.rows += episode.length
        verdict.lost_rows += int(np.round(np.diff(stamps) * 1e-9 * FPS).sum()) - len(stamps) + 1
        for column, name in enumerate(streams):
            verdict.skew_s.setdefault(name, []).append(skew[:, column])
        for camera, start_ns in starts_ns.items():
            source_ns = stamps + np.round(skew[:, streams.index(camera)] * 1e9).astype(np.int64)
            _compare(dataset, episode.episode, camera, source_ns - start_ns, verdict)
        _account(dataset, episode.episode, verdict)
        saved = (root / layout.episodes_path(dataset.info.number_of(episode.episode))).stat()
        verdict.saved_after_s.append((saved.st_ctime_ns - int(stamps[-1])) * 1e-9)
    return verdict


def _compare(
    dataset: Dataset, k: int, camera: str, elapsed_ns: NDArray[np.int64], verdict: Verdict
) -> None:
    info = dataset.info
    path = dataset.root / info.video_path(f"{layout.IMAGES}{camera}", info.number_of(k))
    seen = np.fromiter(numbers(path), np.int64)
    exact = elapsed_ns * 1e-9 * FPS
    due = BASES[camera] + np.round(exact).astype(np.int64) % FILM
    verdict.off_s[camera] = max(
        verdict.off_s[camera], float(np.abs(exact - np.round(exact)).max() / FPS)
    )
    if len(seen) != len(due):
        verdict.wrong[camera].append(f"episode {k}: {len(seen)} pictures, {len(due)} rows")
        return
    for row in np.flatnonzero(seen != due).tolist():
        verdict.wrong[camera].append(f"episode {k} row {row}: {seen[row]}, due {due[row]}")
    verdict.reused[camera] += int((np.diff(seen) == 0).sum())


def _account(dataset: Dataset, k: int, verdict: Verdict) -> None:
    for stream, counts in (dataset.ledger(k) or {}).items():
        total = verdict.ledgers.setdefault(stream, {})
        for what, count in counts.items():
            total[what] = total.get(what, 0) + count
        if stream in BASES:
            verdict.reused_in_ledger[stream] += int(counts.get("reused", 0))


def skews(verdict: Verdict, dataset: Dataset) -> dict[str, dict[str, float]]:
    """|skew| p50, p99 and maximum by stream, and the contract's tolerance, ms."""
    assert dataset.contract is not None
    tolerance = {s.name: s.tolerance_s for s in dataset.contract.alignment}
    found = {}
    for name, parts in verdict.skew_s.items():
        sizes = 1000 * np.abs(np.concatenate(parts))
        found[name] = {
            "p50_ms": round(float(np.median(sizes)), 2),
            "p99_ms": round(float(np.percentile(sizes, 99)), 2),
            "max_ms": round(float(sizes.max()), 2),
            "tolerance_ms": round(1000 * tolerance[name], 1),
        }
    return found


def plot(path: Path, sampler: Sampler, verdict: Verdict) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, (memory, cpu, skew) = pyplot.subplots(3, 1, figsize=(10, 11), layout="constrained")
    times = np.array(sampler.times_s) / 60
    for label, usage in sampler.nodes.items():
        memory.plot(times, usage.rss_mb, label=label)
        rate = 100 * np.diff(usage.cpu_s) / np.diff(sampler.times_s)
        cpu.plot(times[1:], np.convolve(rate, np.ones(5) / 5, "same"), label=label)
    memory.set(title="resident memory", ylabel="MB", xlabel="minutes")
    cpu.set(title="CPU, of one core", ylabel="%", xlabel="minutes")
    memory.legend(ncols=4, fontsize="small")
    for name, parts in verdict.skew_s.items():
        skew.hist(1000 * np.concatenate(parts), bins=100, histtype="step", label=name)
    skew.set(title="source stamp minus frame stamp", xlabel="ms", ylabel="rows", yscale="log")
    skew.legend()
    figure.savefig(path, dpi=110)


def gaps(log: Path) -> list[str]:
    """Why episodes were split, as the recorder said it."""
    lines = log.read_text().splitlines()
    ending = "missing after its last; "
    return [line.partition(ending)[2] for line in lines if ending in line]


@contextmanager
def running(specs: list[NodeSpec], folder: Path) -> Iterator[Supervisor]:
    log = folder / "nodes.log"
    with log.open("w") as output:
        supervisor = Supervisor(specs, output)
        try:
            supervisor.start(folder)
            yield supervisor
        finally:
            supervisor.stop()


def prefer(pid: int, nice: int) -> None:
    """Give a process that is a session of its own a niceness. Linux; below 0 for root only.

    Where the kernel groups sessions (sched_autogroup), nice(1) means nothing between them.
    """
    for thread in Path(f"/proc/{pid}/task").iterdir():
        os.setpriority(os.PRIO_PROCESS, int(thread.name), nice)
    group = Path(f"/proc/{pid}/autogroup")
    if group.exists():
        group.write_text(str(nice))


def wait_until_ready(client: Client) -> None:
    until = time.monotonic() + 60
    while not (answer := client.trigger("recorder/start_recording")).success:
        if time.monotonic() > until:
            raise SystemExit(f"recording does not start: {answer.message}")
        time.sleep(0.2)
    client.trigger("recorder/discard_episode")


def measure(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    root = args.root or folder / "dataset"
    sizes = {camera: make_film(folder / f"{camera}.avi", base) for camera, base in BASES.items()}
    rclpy.init()
    client = Client()
    try:
        with running(nodes(folder, root, args.episode_s), folder) as supervisor:
            for process in supervisor.processes.values():
                prefer(process.pid, args.nice)
            starts_ns = {camera: client.film_start_ns(camera) for camera in BASES}
            wait_until_ready(client)
            sampler = Sampler({k: p.pid for k, p in supervisor.processes.items()})
            refused = record(client, root, args.minutes, args.episode_s)
            sampler.stop()
    except BaseException:
        print((folder / "nodes.log").read_text()[-4000:])
        raise
    finally:
        client.close()
        rclpy.shutdown()
    if args.log:
        args.log.write_text((folder / "nodes.log").read_text())
    verdict = verify(root, starts_ns, args.episode_s)
    if args.plot:
        plot(args.plot, sampler, verdict)
    dataset = Dataset(root)
    saved = verdict.saved_after_s
    return {
        "jpeg_kb": {camera: round(size, 1) for camera, size in sizes.items()},
        "episodes": len(dataset.episodes),
        "rows": verdict.rows,
        "lost_rows": verdict.lost_rows,
        "splits": verdict.splits,
        "wrong_pictures": {camera: len(wrong) for camera, wrong in verdict.wrong.items()},
        "wrong_examples": [line for wrong in verdict.wrong.values() for line in wrong[:3]],
        "source_stamp_off_ms": {c: round(1000 * off, 3) for c, off in verdict.off_s.items()},
        "reused": verdict.reused,
        "reused_in_ledger": verdict.reused_in_ledger,
        "ledger": verdict.ledgers,
        "skew": skews(verdict, dataset),
        "saved_after_s": {
            "p50": round(statistics.median(saved), 3),
            "max": round(max(saved), 3),
        },
        **refused,
        "gaps": gaps(folder / "nodes.log"),
        "check": check(root),
        **sampler.summary(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--episode-s", type=float, default=30.0)
    parser.add_argument("--root", type=Path, help="keep the dataset here")
    parser.add_argument("--plot", type=Path, help="memory, CPU and skew as a picture")
    parser.add_argument("--log", type=Path, help="keep what the nodes said")
    parser.add_argument("--nice", type=int, default=0, help="of the nodes, beside other load")
    args = parser.parse_args()
    os.environ["ROS_DOMAIN_ID"] = str(random.randint(1, 101))
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    with tempfile.TemporaryDirectory(prefix="armlet-long-run-") as folder:
        result = measure(args, Path(folder))
    print(
        json.dumps({"benchmark": "long_run", "minutes": args.minutes, "nice": args.nice, **result})
    )


if __name__ == "__main__":
    main()
