"""The trials of one policy in a folder: a line each, on disk before the next one counts."""

from __future__ import annotations

import dataclasses
import fcntl
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from armlet.files import FileError, Shape, json_lines, read_json, replace_file, typed

from .trial import Trial

PLAN_FILE = "plan.json"
TRIALS_FILE = "trials.jsonl"
VIDEOS = "videos"
_DIGEST = 64
NAMES = ("name", "domain")
"""Of a plan, what does not decide what its trials are."""
_LINES = Shape(size=256 << 20)


@dataclass(frozen=True)
class Plan:
    """What every trial of a folder has in common; with it a seed decides all of a trial.

    Attributes:
        task: its name, or "by hand".
        checkpoint: its `fingerprint`.
        name: the checkpoint as people named it; another name for the same files is no other plan.
        arguments: of the graph, as given.
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
            _cut_torn_line(self._descriptor)
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
        """Keep a trial. When this returns it is on disk. Raises OSError."""
        os.write(self._descriptor, trial.line())
        os.fsync(self._descriptor)
        self._trials[trial.seed] = trial

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
    return [Trial.parse(line, f"{path}, trial {at}") for at, line in enumerate(lines, 1)]


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
            with path.open("rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
            total.update(f"{name.as_posix()}\0{content}\n".encode(errors="surrogateescape"))
    return total.hexdigest()


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
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise FileError(
            f"{path.parent} is being written by another armlet eval; wait for it, or choose "
            "another folder with --output"
        ) from None
    return descriptor


def _cut_torn_line(descriptor: int) -> None:
    """Remove a last line without its end, so that the next one begins a line of its own."""
    size = os.fstat(descriptor).st_size
    content = os.pread(descriptor, size, 0)
    os.ftruncate(descriptor, content.rfind(b"\n") + 1)
