"""A dataset of many short episodes: how long it takes to open, to resume and to describe.

Prints one line of JSON. The dataset is synthetic: one recorded episode under 10,000 numbers. It is
measured as it was recorded, with files of its own for each episode, and as recorders have merged
it when they closed; seconds are of processor time, which other work does not change:

- open_s: `Dataset(root)`; info_s: `armlet dataset info`; resume_s: a recorder's opening;
- files: of rows, metadata and videos; merges, merge_s: how many closings it took, the longest.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from armlet.cli.data.dataset import print_summary, summarize
from armlet.contract import Camera, Contract, Stream
from armlet.datasets import Dataset, DatasetWriter, EpisodeFrame
from armlet.datasets.format import layout, stats, tables
from armlet.datasets.record import compaction
from armlet.robots import SO101_JOINTS
from armlet.robots.joints import feature_names

NAMES = feature_names(SO101_JOINTS)
CONTRACT = Contract(
    fps=30,
    cameras=(Camera("front", 48, 64), Camera("wrist", 32, 48)),
    state_names=NAMES,
    action_names=NAMES,
    joint_units="degrees",
    alignment=(Stream("state", "linear", 0.02),),
    calibration="c0ffee",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--episodes", type=int, default=10_000)
    parser.add_argument("--rows", type=int, default=10, help="of an episode")
    parser.add_argument("--folder", type=Path, help="where the dataset is made")
    parser.add_argument("--only-merged", action="store_true", help="leave out the slow first half")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        root = Path(folder) / "episodes"
        make(root, args.episodes, args.rows)
        before = {} if args.only_merged else {"apart": measure(root)}
        print(json.dumps({**before, **merge(root), "merged": measure(root)}))


def make(root: Path, episodes: int, rows: int) -> None:
    """A dataset as if it had been recorded."""
    rng = np.random.default_rng(0)
    with DatasetWriter(root, CONTRACT) as writer:
        writer.begin_episode("pick")
        for index in range(rows):
            writer.add_frame(_frame(index, rng))
        writer.finish_episode({"state": {"used": rows}})
    info, (first,) = layout.load_info(root), tables.read_episodes(root)
    data = tables.read(root / info.data_path(first.data))
    metadata = tables.read(root / layout.episodes_path(first.data))
    notes = (root / layout.ledger_path(0)).read_bytes()
    pictures = {key: (root / info.video_path(key, first.data)).read_bytes() for key in first.videos}
    for episode in range(1, episodes):
        number, start = info.number_of(episode), episode * rows
        counters = {"index": range(start, start + rows), "episode_index": [episode] * rows}
        places = {
            "episode_index": [episode],
            "dataset_from_index": [start],
            "dataset_to_index": [start + rows],
            **tables.row_places([number], number),
            **{f"videos/{key}/chunk_index": [number.chunk] for key in pictures},
            **{f"videos/{key}/file_index": [number.file] for key in pictures},
        }
        contents = {
            info.data_path(number): tables.encode(tables.with_values(data, counters)),
            layout.episodes_path(number): tables.encode(tables.with_values(metadata, places)),
            layout.ledger_path(episode): notes,
            **{info.video_path(key, number): content for key, content in pictures.items()},
        }
        for path, content in contents.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(content)
    (root / layout.INFO).write_bytes(info.with_totals(episodes, episodes * rows, 1).dumps())
    (root / layout.STATS).write_bytes(stats.dumps(stats.aggregate([first.stats] * episodes)))


def _frame(index: int, rng: np.random.Generator) -> EpisodeFrame:
    joints = rng.normal(0, 30, len(NAMES))
    return EpisodeFrame(
        state=joints,
        action=joints,
        images={
            c.name: rng.integers(0, 255, (c.height, c.width, 3), np.uint8) for c in CONTRACT.cameras
        },
        stamp_ns=1_700_000_000_000_000_000 + index * 10**9 // 30,
        skew_s={"state": 0.001},
    )


def measure(root: Path) -> dict[str, float]:
    """Seconds of each, and the number of files."""

    def resume() -> None:
        with DatasetWriter(root, CONTRACT) as writer:
            writer.whole_episodes()

    def info() -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            print_summary(summarize(Dataset(root)))

    files = ("meta/episodes/*/*", "data/*/*", "videos/*/*/*")
    return {
        "open_s": timed(lambda: Dataset(root)),
        "resume_s": timed(resume),
        "info_s": timed(info),
        "files": sum(1 for pattern in files for _ in root.glob(pattern)),
    }


def timed(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return round(time.process_time() - start, 2)


def merge(root: Path) -> dict[str, float]:
    """As recorders do when they close, until nothing is left to be merged."""
    longest, times = 0.0, 0
    while True:
        start = time.process_time()
        if not compaction.compact(root):
            return {"merges": times, "merge_s": round(longest, 2)}
        longest, times = max(longest, time.process_time() - start), times + 1


if __name__ == "__main__":
    main()
