"""Kills a recorder at every step it takes on disk. usage: crash_child.py BASE OUT ACTION STRIDE

For n = 1, 1 + STRIDE, … copies the dataset BASE to OUT/n and forks a process that does ACTION there
and is gone, without any clean-up, at its n-th operation on files (a write leaves half of its
bytes). Ends with the first n at which ACTION gets through. Prints the number of kills.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from made_episodes import CONTRACT, record

from armlet.datasets import DatasetWriter, recover, sweep
from armlet.datasets.format import atomic_files
from armlet.datasets.record import compaction
from armlet.datasets.transform import edits

KILLED = 9
# The others change nothing on disk that one of these does not show as well.
_COUNTED = {"write", "pwrite", "mkdir", "replace", "unlink", "ftruncate", "link", "rmdir"}


class FatalOs:
    """The os module, deadly at one call."""

    def __init__(self, at: int):
        self._left = at

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        if name not in _COUNTED:
            return real

        def counted(*args: Any, **options: Any) -> Any:
            self._left -= 1
            if self._left == 0:
                if name == "write":
                    real(args[0], args[1][: len(args[1]) // 2])
                os._exit(KILLED)
            return real(*args, **options)

        return counted


def record_one(root: Path) -> None:
    with DatasetWriter(root, CONTRACT) as writer:
        record(writer, 2, "a new task")


def record_old(root: Path) -> None:
    with DatasetWriter(root, CONTRACT, version="v2.1") as writer:
        record(writer, 2, "a new task")


def remove_one(root: Path) -> None:
    with DatasetWriter(root, CONTRACT) as writer:
        writer.remove_last(1)


def merge_files(root: Path) -> None:
    handle = atomic_files.lock(root)
    assert compaction.compact(root, 3)
    atomic_files.unlock(handle)


def delete_one(root: Path) -> None:
    edits.delete(root, [1])


def trim_some(root: Path) -> None:
    edits.trim(root, [0, 2], 1, 1)  # one first frame: their videos are encoded again


def relabel_one(root: Path) -> None:
    edits.relabel(root, "lift", [1])


def label_all(root: Path) -> None:
    edits.label(root, {1: True}, False)


ACTIONS = {
    "record": record_one,
    "record v2.1": record_old,
    "sweep": sweep,
    "recover": recover,
    "remove": remove_one,
    "merge": merge_files,
    "delete": delete_one,
    "trim": trim_some,
    "relabel": relabel_one,
    "label": label_all,
    "undo": edits.undo,
}


def main(base: Path, out: Path, action: str, stride: int) -> None:
    for kills, at in enumerate(range(1, 1000, stride)):
        root = out / f"{at:03d}"
        shutil.copytree(base, root)
        child = os.fork()
        if child == 0:
            atomic_files.os = FatalOs(at)  # type: ignore[assignment]
            ACTIONS[action](root)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        if code == 0:
            print(kills)
            return
        if code != KILLED:
            raise SystemExit(f"step {at}: the child ended with {code}, not by the kill")


def kill_at_every_step(base: Path, out: Path, action: str, stride: int = 1) -> list[Path]:
    """Dataset copies, one for each different state that a kill left."""
    done = subprocess.run(
        [sys.executable, __file__, base, out, action, str(stride)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    killed = sorted(out.iterdir())[: int(done.stdout)]
    return list({content(root): root for root in reversed(killed)}.values())[::-1]


def content(root: Path) -> frozenset[tuple[str, int, bytes]]:
    """What lies in a folder: names, sizes, and the small files' bytes."""
    return frozenset(
        (str(p.relative_to(root)), p.stat().st_size, p.read_bytes() if p.suffix == ".json" else b"")
        for p in root.rglob("*")
        if p.is_file()
    )


def finished(root: Path) -> int:
    """Episodes whose metadata is in its place: that rename is what finishes one."""
    lines = root / "meta/episodes.jsonl"
    if lines.exists():
        return len(lines.read_text().splitlines())
    return len(list(root.glob("meta/episodes/*/*.parquet")))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
