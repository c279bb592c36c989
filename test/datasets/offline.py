"""What the tests of the offline tools share: datasets whose pictures carry their number."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import forked_python
import numpy as np
from made_episodes import CONTRACT, counted, counters, frame

from armlet.contract import Contract
from armlet.datasets import Dataset, DatasetWriter

REPOSITORY = Path(__file__).resolve().parents[2]
ORACLES = Path(os.environ.get("ARMLET_ORACLE", REPOSITORY / ".oracle"))
SHARED = REPOSITORY.parent / "shared/oracle"


def oracle(version: str) -> Path:
    """The Python of a stock LeRobot: v04 or v03."""
    return ORACLES / version / "bin/python"


def has_oracle(version: str) -> bool:
    return oracle(version).exists() and (SHARED / "av_decode.py").exists()


def with_lerobot(version: str, folder: Path, *roots: Path) -> None:
    """Run load_with_lerobot.py."""
    pictures = {
        c.name: [counted(n, c.height, c.width) for n in range(15)] for c in CONTRACT.cameras
    }
    np.savez(folder / "pictures.npz", **pictures)
    script = Path(__file__).with_name("load_with_lerobot.py")
    done = forked_python.run(
        oracle(version), forked_python.LEROBOT, [script, SHARED, folder, *roots]
    )
    assert done.returncode == 0, done.stdout + done.stderr


def numbered(
    root: Path, lengths: tuple[int, ...], contract: Contract = CONTRACT, **options: Any
) -> Path:
    """A dataset whose pictures are numbered through all episodes."""
    number = 0
    with DatasetWriter(root, contract, **options) as writer:
        for k, length in enumerate(lengths):
            writer.begin_episode(("pick", "fold")[k % 2])
            for index in range(length):
                images = {c.name: counted(number, c.height, c.width) for c in contract.cameras}
                writer.add_frame(frame(index, k, contract, images=images))
                number += 1
            writer.finish_episode({"state": {"used": length}})
    return root


def numbers(root: Path, camera: str) -> list[int]:
    """The numbers painted into all pictures of a camera."""
    dataset = Dataset(root)
    return [n for k in range(len(dataset.episodes)) for n in counters(dataset.images(k, camera))]


def same_rows(one: Path, other: Path) -> bool:
    """Whether two datasets' rows are equal bit for bit, column types too."""
    first, second = Dataset(one), Dataset(other)
    if [e.length for e in first.episodes] != [e.length for e in second.episodes]:
        return False
    if [e.tasks for e in first.episodes] != [e.tasks for e in second.episodes]:
        return False
    for k in range(len(first.episodes)):
        ours, theirs = first.episode(k).columns, second.episode(k).columns
        if list(ours) != list(theirs):
            return False
        for key, values in ours.items():
            there = theirs[key]
            if values.dtype != there.dtype or values.tobytes() != there.tobytes():
                return False
    return True
