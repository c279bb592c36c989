"""Kills a recorder at every step it takes on disk. usage: crash_child.py BASE OUT ACTION STRIDE

For n = 1, 1 + STRIDE, … copies the dataset BASE to OUT/n and forks a process that does ACTION there
and is gone, without any clean-up, at its n-th operation on files (a write leaves half of its
bytes). Ends with the first n at which ACTION gets through. Prints the number of kills.

Of an action of one thread OUT/n is a copy, made at its n-th operation, of where it goes on: a kill
leaves nothing else on disk, which one kill in the middle shows.
"""

from __future__ import annotations

import itertools
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import forked_python
from made_episodes import CONTRACT, record

from armlet.datasets import DatasetWriter, recover, sweep
from armlet.datasets.format import atomic_files
from armlet.datasets.record import compaction
from armlet.datasets.transform import edits

KILLED = 9
# The others change nothing on disk that one of these does not show as well.
_COUNTED = {"write", "pwrite", "mkdir", "replace", "unlink", "ftruncate", "link", "rmdir"}


class CountedOs:
    """The os module, which has something done before each operation; a write is half done then."""

    def __init__(self, before: Callable[[int], None]):
        self._before = before
        self._counter = itertools.count(1)

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        if name not in _COUNTED:
            return real

        def counted(*args: Any, **options: Any) -> Any:
            number = next(self._counter)  # of all threads
            if name != "write":
                self._before(number)
                return real(*args, **options)
            half = len(args[1]) // 2
            written = real(args[0], args[1][:half])
            self._before(number)
            return written + real(args[0], args[1][written:])

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


# The threads of these do operations too, and would go on while a copy is made.
THREADED = ("record", "record v2.1", "recover")


def main(base: Path, out: Path, action: str, stride: int) -> None:
    steps = range(1, 1000, stride)
    if action in THREADED:
        print(next(n for n, at in enumerate(steps) if not killed(base, out, action, at)))
        return
    kill = out / "kill"
    kill.mkdir()
    # Forked now: the threads that an action leaves behind, of decoders, are not in a fork of it,
    # which would wait for them for ever.
    killed_at = waiting(base, kill, action)
    root = out / "run"
    shutil.copytree(base, root)

    def copy(at: int) -> None:
        if at in steps:
            shutil.copytree(root, out / f"{at:03d}")

    atomic_files.os = CountedOs(copy)  # type: ignore[assignment]
    ACTIONS[action](root)
    atomic_files.os = os
    copies = sorted(out.glob("[0-9]*"))
    middle = copies[len(copies) // 2]
    assert killed_at(int(middle.name))
    assert content(kill / middle.name) == content(middle)
    print(len(copies))


def killed(base: Path, out: Path, action: str, at: int) -> bool:
    """Whether the action on a copy of a dataset was killed at a step, or got through before."""
    return waiting(base, out, action)(at)


def waiting(base: Path, out: Path, action: str) -> Callable[[int], bool]:
    """A child that waits for the step it is to be killed at; what it returns is as of `killed`."""
    step_read, step_write = os.pipe()
    child = os.fork()
    if child == 0:
        at = int(os.read(step_read, 16))

        def kill(step: int) -> None:
            if step == at:
                os._exit(KILLED)

        root = out / f"{at:03d}"
        shutil.copytree(base, root)
        atomic_files.os = CountedOs(kill)  # type: ignore[assignment]
        ACTIONS[action](root)
        os._exit(0)
    os.close(step_read)

    def go(at: int) -> bool:
        os.write(step_write, str(at).encode())
        os.close(step_write)
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        if code not in (0, KILLED):
            raise SystemExit(f"step {at}: the child ended with {code}, not by the kill")
        return code == KILLED

    return go


def kill_at_every_step(base: Path, out: Path, action: str, stride: int = 1) -> list[Path]:
    """Dataset copies, one for each different state that a kill left."""
    command = [Path(__file__), base, out, action, str(stride)]
    done = forked_python.run(sys.executable, forked_python.DATASETS, command)
    assert done.returncode == 0, done.stderr
    states = sorted(out.iterdir())[: int(done.stdout)]
    return list({content(root): root for root in reversed(states)}.values())[::-1]


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
