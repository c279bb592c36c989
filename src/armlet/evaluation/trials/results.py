"""The trials of one policy in a folder: a line each, on disk before the next one counts."""

from __future__ import annotations

import dataclasses
import fcntl
import functools
import hashlib
import json
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from armlet.files import (
    FileError,
    Shape,
    expanded,
    json_lines,
    printable,
    read_json,
    replace_file,
    typed,
)

from .trial import Trial

PLAN_FILE = "plan.json"
TRIALS_FILE = "trials.jsonl"
VIDEOS = "videos"
_DIGEST = 64
NAMES = ("name", "domain")
"""Of a plan, what does not decide what its trials are."""
_LINES = Shape(size=256 << 20)
_LONGEST_LINE = 64 << 10
_BEGINNING = b'{"seed": '


@dataclass(frozen=True)
class Plan:
    """What every trial of a folder has in common; with it a seed decides all of a trial.

    Attributes:
        task: its name, or "by hand".
        checkpoint: its `fingerprint`.
        name: the checkpoint as people named it; another name for the same files is no other plan.
        arguments: of the graph, as given.
        files: SHA-256 of each file that an argument names, by argument.
        limit_s: the longest trial; 0.0 where a person ends it.
        physics: of the bench; empty on a real arm.
        task_digest, domain_digest: of what the bench's task and domain are; likewise.
        domain: the file as people named it; another name for the same domain is no other plan.
    """

    task: str
    checkpoint: str
    name: str
    limit_s: float
    arguments: Mapping[str, str] = field(default_factory=dict)
    physics: str = ""
    task_digest: str = ""
    domain_digest: str = ""
    domain: str = ""
    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def decides(self) -> dict[str, Any]:
        """All but what people call it."""
        return {key: v for key, v in dataclasses.asdict(self).items() if key not in NAMES}


class Results:
    """Trials of one plan in a folder. Context manager.

    Raises FileError where the folder holds trials of another plan, or what is no trial, and
    OSError.
    """

    def __init__(self, folder: Path, plan: Plan) -> None:
        self.folder, self.plan = folder, plan
        folder.mkdir(parents=True, exist_ok=True)
        _agree(folder, plan)
        self._descriptor = _locked(folder / TRIALS_FILE)
        try:
            _cut_torn_line(self._descriptor, folder / TRIALS_FILE)
            self._trials = {trial.seed: trial for trial in read_trials(folder)}
        except BaseException:
            os.close(self._descriptor)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._descriptor)

    @property
    def videos(self) -> Path:
        """The folder of videos."""
        return self.folder / VIDEOS

    def add(self, trial: Trial) -> None:
        """Keep a trial, all of it or nothing. When this returns it is on disk. Raises OSError."""
        size = os.fstat(self._descriptor).st_size
        try:
            _write(self._descriptor, trial.line())
            os.fsync(self._descriptor)
        except OSError as error:
            os.ftruncate(self._descriptor, size)
            error.filename = error.filename or str(self.folder / TRIALS_FILE)
            raise
        self._trials[trial.seed] = trial

    @property
    def last(self) -> Trial | None:
        """The trial that was added last."""
        return next(reversed(self._trials.values()), None)

    def take_back(self) -> Trial:
        """Remove the trial that was added last. When this returns it is gone from the disk.

        Raises ValueError without trials, OSError.
        """
        if not self._trials:
            raise ValueError("there is no trial to take back")
        size = os.fstat(self._descriptor).st_size
        begin = max(0, size - _LONGEST_LINE)
        end = os.pread(self._descriptor, size - begin, begin).rstrip(b"\n")
        os.ftruncate(self._descriptor, begin + end.rfind(b"\n") + 1)
        os.fsync(self._descriptor)
        return self._trials.popitem()[1]

    def of(self, seeds: range) -> list[Trial]:
        """The trials of these seeds that there are, by seed."""
        return [self._trials[seed] for seed in seeds if seed in self._trials]

    def missing(self, seeds: range) -> list[int]:
        """The seeds without a trial."""
        return [seed for seed in seeds if seed not in self._trials]


def read_trials(folder: Path) -> list[Trial]:
    """The trials of a folder as they were added; a last line cut short by a kill is none.

    Raises FileError.
    """
    path = folder / TRIALS_FILE
    if not path.exists():
        return []
    lines = json_lines(path, _LINES, torn=True)
    trials = [Trial.parse(line, f"{path}, trial {at}") for at, line in enumerate(lines, 1)]
    twice = [seed for seed, count in Counter(trial.seed for trial in trials).items() if count > 1]
    if twice:
        raise FileError(
            f"{printable(path)} has more than one trial of seed {twice[0]}; remove those that are "
            "not to count"
        )
    return trials


def read_plan(folder: Path) -> Plan:
    """The plan of a folder's trials. Raises FileError, FileNotFoundError."""
    path = folder / PLAN_FILE
    plan: Plan = typed(Plan, read_json(path), str(path))
    return plan


def fingerprint(checkpoint: Path) -> str:
    """SHA-256 over the names and contents of a checkpoint's files: weights, statistics and all.

    Raises OSError.
    """
    total = hashlib.sha256()
    for path in sorted(checkpoint.rglob("*")):
        name = path.relative_to(checkpoint)
        if path.is_file() and not any(part.startswith(".") for part in name.parts):
            total.update(f"{name.as_posix()}\0{_digest(path)}\n".encode(errors="surrogateescape"))
    return total.hexdigest()


def _digest(path: Path) -> str:
    found = path.stat()
    return _digest_of(path, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


@functools.cache
def _digest_of(path: Path, *_: int) -> str:
    """SHA-256 of a file, read once for each state of it: after every trial it is asked for."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def files_of(arguments: Mapping[str, str]) -> dict[str, str]:
    """SHA-256 of each file that an argument of a graph names, by argument.

    Raises FileError, OSError.
    """
    digests = {}
    for name, value in sorted(arguments.items()):
        path = expanded(value, Path(), name)
        if value and path.is_file():
            digests[name] = _digest(path)
    return digests


def _agree(folder: Path, plan: Plan) -> None:
    """Write the plan of a new folder; that of an old one must be the same."""
    path = folder / PLAN_FILE
    if path.exists():
        found = read_plan(folder)
        differing = [key for key, value in plan.decides.items() if found.decides[key] != value]
        if differing:
            said = ", ".join(
                f"{key} {_brief(found.decides[key])} instead of {_brief(plan.decides[key])}"
                for key in differing
            )
            raise FileError(
                f"{folder} holds trials of another evaluation ({said}); choose another folder with "
                "--output, or move it away"
            )
        return
    if any(folder.iterdir()):
        raise FileError(
            f"{folder} holds files of something else; choose another folder with --output"
        )
    replace_file(path, json.dumps(dataclasses.asdict(plan), indent=2).encode() + b"\n")


def _brief(value: Any) -> str:
    """As people can compare it: of a digest its beginning."""
    is_digest = isinstance(value, str) and len(value) == _DIGEST
    return f"{value[:12]}..." if is_digest else repr(value)


def _locked(path: Path) -> int:
    """The file, open for appending, and this process's alone until it is closed."""
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise FileError(f"{printable(path)} is no file of its own, but a link or the like")
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
    descriptor = os.open(path, flags, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise FileError(
            f"{path.parent} is being written by another armlet eval; wait for it, or choose "
            "another folder with --output"
        ) from None
    return descriptor


def _write(descriptor: int, content: bytes) -> None:
    """All of it: a disk that is nearly full takes a part."""
    while content:
        content = content[os.write(descriptor, content) :]


def _cut_torn_line(descriptor: int, path: Path) -> None:
    """Remove a last line without its end, so that the next one begins a line of its own.

    Raises FileError where it is not the beginning of a trial's line.
    """
    size = os.fstat(descriptor).st_size
    begin = max(0, size - _LONGEST_LINE)
    rest = os.pread(descriptor, size - begin, begin)
    torn = rest[rest.rfind(b"\n") + 1 :]
    if not torn:
        return
    # A power failure may leave zeros where a line was to be.
    if torn.rstrip(b"\0")[: len(_BEGINNING)] != _BEGINNING[: len(torn.rstrip(b"\0"))]:
        raise FileError(
            f"{printable(path)}: its last line is no trial that was cut short; remove the line"
        )
    os.ftruncate(descriptor, size - len(torn))
