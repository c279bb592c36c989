"""Recording two 640x480 cameras at 30 fps: what a row costs, armlet beside LeRobot 0.4.4.

Prints one line of JSON. Every recorder gets the same JPEGs at the same pace in a process of its
own, in turns, `--rounds` times; figures are medians over the rounds:

- cpu_ms_per_row: user and system time of the recorder and its children, from the first row until
  the episode is saved. armlet is given the JPEGs. LeRobot is given RGB pictures, and the time to
  decode them is left out of its figure, though it has to be spent somewhere;
- wait_s: from the last row until the episode is saved;
- memory_mb: highest private memory above that before the first row; disk_mb: largest dataset;
- lost: rows without a picture; psnr_db: of the stored pictures against the decoded JPEGs.

LeRobot runs in the interpreter $ARMLET_ORACLE/v04/bin/python, or .oracle/v04/bin/python beside
the sources; without one only armlet is measured, and the line says so.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[1]
ORACLE = Path(os.environ.get("ARMLET_ORACLE", REPOSITORY / ".oracle")) / "v04/bin/python"
CAMERAS = ("front", "wrist")
HEIGHT, WIDTH, FPS = 480, 640, 30
JOINTS = [
    f"{joint}.pos"
    for joint in (
        "shoulder_pan",
        "shoulder_lift",
        "elbow_flex",
        "wrist_flex",
        "wrist_roll",
        "gripper",
    )
]
START_NS = 1_700_000_000_000_000_000
SAVED = "videos/observation.images.{camera}/chunk-000/file-000.mp4"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=300, help="rows of an episode")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=RECORDERS, help="measure this recorder alone")
    parser.add_argument("--noise", type=float, default=4.0, help="of the pictures, in levels")
    parser.add_argument("--child", nargs=2, metavar=("RECORDER", "FOLDER"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(*args.child)
        return
    with tempfile.TemporaryDirectory() as folder:
        save_pictures(Path(folder) / "pictures.npz", args.frames, args.noise)
        print(json.dumps(measure(Path(folder), args.rounds, args.only)))


def save_pictures(path: Path, frames: int, noise: float) -> None:
    """JPEGs of a textured scene that moves under sensor noise, by camera."""
    import cv2

    rng = np.random.default_rng(0)
    jpegs: dict[str, np.ndarray] = {}
    for number, camera in enumerate(CAMERAS):
        coarse = rng.integers(0, 255, (30, 60, 3), dtype=np.uint8)
        scene = cv2.resize(coarse, (2 * WIDTH, HEIGHT + 120), interpolation=cv2.INTER_CUBIC)
        grain = [rng.normal(0, noise, (HEIGHT, WIDTH, 3)) for _ in range(8)]
        for i in range(frames):
            x = int(WIDTH / 2 * (1 + np.sin(i / 40 + number)))
            y = int(60 * (1 + np.cos(i / 25)))
            view = scene[y : y + HEIGHT, x : x + WIDTH] + grain[rng.integers(8)]
            pixels = np.clip(view, 0, 255).astype(np.uint8)
            _, jpeg = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 90])
            jpegs[f"{camera}{i}"] = jpeg
    np.savez(path, **jpegs)


def measure(folder: Path, rounds: int, only: str | None) -> dict[str, object]:
    """All recorders in turns."""
    names = [only] if only else list(RECORDERS)
    absent = [name for name in names if name != "armlet" and not ORACLE.exists()]
    names = [name for name in names if name not in absent]
    found: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for _ in range(rounds):
        for name in names:
            found[name].append(run(name, folder))
            shutil.rmtree(folder / "dataset")
    answer: dict[str, object] = {
        name: {
            key: round(statistics.median(result[key] for result in results), 3)
            for key in results[0]
        }
        for name, results in found.items()
    }
    for name in absent:
        answer[name] = f"not measured: no LeRobot at {ORACLE} (set ARMLET_ORACLE)"
    return answer


def run(recorder: str, folder: Path) -> dict[str, float]:
    """One recorder, one episode."""
    python = sys.executable if recorder == "armlet" else str(ORACLE)
    command = [python, __file__, "--child", recorder, str(folder)]
    if shutil.which("setpriv") and os.geteuid() == 0:
        # As root SVT-AV1 makes its threads real-time ones, which starve all others and this clock.
        command = ["setpriv", "--bounding-set=-sys_nice", "--inh-caps=-sys_nice", *command]
    offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "hf"), "SVT_LOG": "1"}
    with (folder / "log").open("w+") as log:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, env={**os.environ, **offline}, text=True
        )
        assert process.stdout is not None
        disk = base = memory = 0
        while process.poll() is None:
            disk = max(disk, folder_bytes(folder / "dataset"))
            memory = max(memory, private_bytes(process.pid))
            if not base and (folder / "dataset").exists():
                base = memory
            time.sleep(0.1)
        if process.returncode:
            log.seek(0)
            raise SystemExit(f"{recorder} failed:\n{log.read()}")
        measured = json.loads(process.stdout.read().splitlines()[-1])
    lost, psnr = compare(folder)
    return {
        **measured,
        "memory_mb": (memory - base) / 1e6,
        "disk_mb": disk / 1e6,
        "lost": lost,
        "psnr_db": psnr,
    }


def folder_bytes(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            total += path.stat().st_blocks * 512
    return total


def private_bytes(pid: int) -> int:
    """Resident and not shared memory of a process and its descendants."""
    total = 0
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        resident, shared = Path(f"/proc/{pid}/statm").read_text().split()[1:3]
        total = (int(resident) - int(shared)) * resource.getpagesize()
        for task in Path(f"/proc/{pid}/task").iterdir():
            for word in (task / "children").read_text().split():
                total += private_bytes(int(word))
    return total


def compare(folder: Path) -> tuple[int, float]:
    """Rows without a picture, and PSNR over both cameras against the decoded JPEGs."""
    from armlet.datasets.format import video

    lost, squares, pixels = 0, 0.0, 0
    with np.load(folder / "pictures.npz") as jpegs:
        rows = len(jpegs.files) // len(CAMERAS)
        for camera in CAMERAS:
            path = folder / "dataset" / SAVED.format(camera=camera)
            stored = video.frame_count(path)
            lost += rows - stored
            for first in range(0, stored, 50):
                numbers = range(first, min(first + 50, stored))
                for number, picture in zip(numbers, video.decode(path, numbers), strict=True):
                    error = picture.astype(np.float32) - rgb(jpegs[f"{camera}{number}"])
                    squares += float((error**2).sum(dtype=np.float64))
                    pixels += error.size
    return lost, float(10 * np.log10(255**2 * pixels / squares))


def rgb(jpeg: np.ndarray) -> np.ndarray:
    import cv2

    return cv2.cvtColor(cv2.imdecode(jpeg, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def child(recorder: str, folder: str) -> None:
    """Record, and print what it took."""
    import cv2

    cv2.setNumThreads(1)
    with np.load(Path(folder) / "pictures.npz") as stored:
        jpegs = [{c: stored[f"{c}{i}"] for c in CAMERAS} for i in range(len(stored.files) // 2)]
    add, save, decodes = RECORDERS[recorder](Path(folder) / "dataset")
    time.sleep(0.3)  # for the base line of memory
    left_out = late = 0.0
    begun, start = cpu_s(), time.perf_counter()
    for number, pictures in enumerate(jpegs):
        if decodes:
            before = time.thread_time()
            pictures = {camera: rgb(jpeg) for camera, jpeg in pictures.items()}
            left_out += time.thread_time() - before
        add(number, pictures)
        ahead = start + (number + 1) / FPS - time.perf_counter()
        late = max(late, -ahead)
        time.sleep(max(0.0, ahead))
    ended = time.perf_counter()
    save()
    wait = time.perf_counter() - ended
    print(
        json.dumps(
            {
                "cpu_ms_per_row": (cpu_s() - begun - left_out) / len(jpegs) * 1e3,
                "wait_s": wait,
                "late_s": late,
            }
        )
    )


def cpu_s() -> float:
    """User and system time of this process and its ended children."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


Recorder = tuple[Callable[[int, dict[str, np.ndarray]], None], Callable[[], object], bool]


def armlet(root: Path) -> Recorder:
    from armlet.contract import Camera, Contract, Stream
    from armlet.datasets import DatasetWriter, EpisodeFrame

    contract = Contract(
        fps=FPS,
        cameras=tuple(Camera(name, HEIGHT, WIDTH) for name in CAMERAS),
        state_names=tuple(JOINTS),
        action_names=tuple(JOINTS),
        joint_units="degrees",
        alignment=tuple(Stream(f"images/{name}", "nearest", 0.03) for name in CAMERAS),
    )
    writer = DatasetWriter(root, contract)
    writer.begin_episode("measure")

    def add(number: int, pictures: dict[str, np.ndarray]) -> None:
        joints = np.full(len(JOINTS), float(number))
        stamp = START_NS + number * 10**9 // FPS
        skew = {f"images/{name}": 0.001 for name in CAMERAS}
        writer.add_frame(EpisodeFrame(joints, joints, pictures, stamp, skew))

    return add, writer.finish_episode, False


def stock(root: Path, **options: object) -> Recorder:
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    vector = {"dtype": "float32", "shape": (len(JOINTS),), "names": JOINTS}
    picture = {
        "dtype": "video",
        "shape": (HEIGHT, WIDTH, 3),
        "names": ["height", "width", "channels"],
    }
    images = {f"observation.images.{camera}": picture for camera in CAMERAS}
    features = {"action": vector, "observation.state": vector, **images}
    dataset = LeRobotDataset.create("local/x", FPS, features, root=root, **options)

    def add(number: int, pictures: dict[str, np.ndarray]) -> None:
        joints = np.full(len(JOINTS), number, np.float32)
        named = {f"observation.images.{camera}": p for camera, p in pictures.items()}
        dataset.add_frame(
            {"action": joints, "observation.state": joints, "task": "measure", **named}
        )

    return add, dataset.save_episode, True


def stock_default(root: Path) -> Recorder:
    """As lerobot-record does without options: four PNG threads a camera, then libsvtav1."""
    return stock(root, image_writer_threads=4 * len(CAMERAS))


def stock_streaming(root: Path) -> Recorder:
    return stock(root, streaming_encoding=True, vcodec="h264")


RECORDERS = {
    "armlet": armlet,
    "lerobot_default": stock_default,
    "lerobot_streaming_h264": stock_streaming,
}

if __name__ == "__main__":
    main()
