"""What each version of LeRobot and of transformers computes or writes otherwise, as data.

A policy must be run with the arithmetic it was trained with, and part of that is a dependency's:
LeRobot's own version does not say it. Read from the public sources of every version named here
(docs/eras.md lists the same); origin decides from it what wrote a checkpoint.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Version = tuple[int, ...]


@dataclass(frozen=True)
class Span:
    """Versions from `first` on, below `below`."""

    first: Version
    below: Version

    def __contains__(self, version: Version) -> bool:
        return self.first <= version < self.below

    def common(self, other: Span) -> Span | None:
        """The versions of both, None if there are none."""
        first, below = max(self.first, other.first), min(self.below, other.below)
        return Span(first, below) if first < below else None

    def __str__(self) -> str:
        return f">={_dotted(self.first)},<{_dotted(self.below)}"


def parse_span(text: str) -> Span:
    """`0.5` is every 0.5.x, `4.57.6` that one version. Raises ValueError for anything else."""
    if not re.fullmatch(r"[0-9]{1,4}(\.[0-9]{1,4}){0,2}", text):
        raise ValueError(f"expected a version such as 0.5.1 or 4.57, found {text!r}")
    first = tuple(int(part) for part in text.split("."))
    return Span(first, (*first[:-1], first[-1] + 1))


def parse_written(text: object) -> Version | None:
    """The version a file names (`4.57.6`, `5.0.0.dev0`), None if it names none."""
    match = re.match(r"[0-9]{1,4}(\.[0-9]{1,4}){1,2}", text) if isinstance(text, str) else None
    return None if match is None else tuple(int(part) for part in match.group().split("."))


def _dotted(version: Version) -> str:
    return ".".join(map(str, version))


class PatchRows(enum.Enum):
    """How transformers' SmolVLM gives patch i of n along an axis its row of the position table.

    All put patches at fractions of the axis and look up the row that a fraction falls into; they
    differ in how the fraction is kept below 1 and in what precision. See siglip.patch_positions.
    """

    STEPPED = "stepped"
    SCALED = "scaled"
    SCALED_FLOAT32 = "scaled in float32"
    CLAMPED = "clamped"
    CLAMPED_FLOAT32 = "clamped in float32"


@dataclass(frozen=True)
class Transformers:
    """Versions of transformers that compute SmolVLM's patch rows alike."""

    versions: Span
    rows: PatchRows
    change: str


TRANSFORMERS = (
    Transformers(
        Span((4, 50), (4, 55)),
        PatchRows.STEPPED,
        "a range from 0 with step 1/n, in float32 whatever the tower's precision: patch i of a "
        "full axis is at row i",
    ),
    Transformers(
        Span((4, 55), (4, 55, 1)),
        PatchRows.SCALED,
        "i/n times (1 - 1e-6) in the tower's precision: in float32 patch i is at row i - 1, in "
        "bfloat16 and float16 the factor rounds to 1 and it is at row i",
    ),
    Transformers(
        Span((4, 55, 1), (4, 56)),
        PatchRows.SCALED_FLOAT32,
        "the same in float32 whatever the tower's precision (issue 41190): at row i - 1 always",
    ),
    Transformers(
        Span((4, 56), (5,)),
        PatchRows.SCALED,
        "in the tower's precision again",
    ),
    Transformers(
        Span((5,), (5, 21)),
        PatchRows.CLAMPED,
        "i times 1/n in float32, at most 1 - 1e-6, rounded to the tower's precision: at row i",
    ),
    Transformers(
        Span((5, 21), (6,)),
        PatchRows.CLAMPED_FLOAT32,
        "the same, no longer rounded to the tower's precision",
    ),
)


@dataclass(frozen=True)
class Release:
    """Versions of LeRobot that write the same files and install the same transformers.

    installs is what its own requirements allow; runs is what it was seen to run with beside them,
    None if nothing else. changes are what it computes otherwise than the one before.
    """

    name: str
    versions: Span
    installs: Span
    runs: Span | None = None
    changes: tuple[str, ...] = ()


RELEASES = (
    Release(
        "0.3.x",
        Span((0, 1), (0, 4)),
        Span((4, 50, 3), (4, 52)),
        runs=Span((4, 52), (5,)),
        changes=(
            "statistics are tensors among the weights; MIN_MAX adds eps to the range on the way in "
            "only",
            "a task is cut into words inside the policy, and never shortened",
        ),
    ),
    Release(
        "0.4.0",
        Span((0, 4), (0, 4, 1)),
        Span((4, 53), (5,)),
        changes=(
            "statistics and words move to processor files; MIN_MAX puts eps in the place of a "
            "range of zero; QUANTILES and QUANTILE10 are new",
            "the standard deviation of pictures is far too small in the statistics (squared in 8 "
            "bits), up to 0.5.1",
        ),
    ),
    Release("0.4.1", Span((0, 4, 1), (0, 4, 2)), Span((4, 53), (5,))),
    Release(
        "0.4.2",
        Span((0, 4, 2), (0, 4, 3)),
        Span((4, 53), (5,)),
        changes=("real-time chunking",),
    ),
    Release("0.4.3", Span((0, 4, 3), (0, 4, 4)), Span((4, 57, 1), (5,))),
    Release("0.4.4", Span((0, 4, 4), (0, 5)), Span((4, 57, 1), (5,))),
    Release(
        "0.5.0",
        Span((0, 5), (0, 5, 1)),
        Span((5, 3), (6,)),
        changes=("transformers 5, and with it the rows of a float32 vision tower",),
    ),
    Release(
        "0.5.1",
        Span((0, 5, 1), (0, 6)),
        Span((5, 3), (5, 3, 1)),
        changes=("SmolVLA's training loss leaves padded rows and padded joints out",),
    ),
    Release(
        "0.6.0",
        Span((0, 6), (0, 6, 1)),
        Span((5, 4), (5, 6)),
        changes=(
            "ACT's and SmolVLA's training losses are averaged over valid rows only",
            "a SmolVLA that trains its language model freezes its last norm and last layers, which "
            "a renamed parameter had left trainable",
        ),
    ),
    Release(
        "0.6.1",
        Span((0, 6, 1), (0, 7)),
        Span((5, 4), (5, 6)),
        changes=("aggregated quantiles are the least (q <= 50) and the largest (q > 50)",),
    ),
)

CONFIG, TRAINING = "config.json", "train_config.json"


@dataclass(frozen=True)
class Key:
    """A key of a file that is there from LeRobot `since` on, below `until`; LeRobot always writes
    every key it knows. policy: only in that policy's file."""

    file: str
    name: str
    since: Version
    until: Version = (9,)
    policy: str = ""


KEYS = (
    Key(CONFIG, "pretrained_path", (0, 4)),
    Key(CONFIG, "rtc_config", (0, 4, 2), policy="smolvla"),
    Key(CONFIG, "use_peft", (0, 4, 3)),
    Key(CONFIG, "compile_model", (0, 4, 4), policy="smolvla"),
    Key(CONFIG, "resize_shape", (0, 4, 4), policy="diffusion"),
    Key(CONFIG, "gradient_checkpointing", (0, 6, 1), policy="diffusion"),
    Key(CONFIG, "pretrained_revision", (0, 6)),
    Key(TRAINING, "rename_map", (0, 4)),
    Key(TRAINING, "tolerance_s", (0, 4, 3)),
    Key(TRAINING, "peft", (0, 4, 3)),
    Key(TRAINING, "use_rabc", (0, 4, 3), (0, 6)),
    Key(TRAINING, "cudnn_deterministic", (0, 5)),
    Key(TRAINING, "wandb.add_tags", (0, 5, 1)),
    Key(TRAINING, "eval_freq", (0, 1), (0, 6)),
    Key(TRAINING, "env_eval_freq", (0, 6)),
    Key(TRAINING, "dataset.repo_type", (0, 6, 1)),
    Key(TRAINING, "dataloader_multiprocessing_context", (0, 6, 1)),
)


def writers(file: str, content: Mapping[str, Any], policy: str) -> tuple[Release, ...]:
    """The releases that write the file `file` with just these of the keys they differ in.

    Where none does (a person took keys out), those that know every one of the keys, if any.
    """
    keys = [key for key in KEYS if key.file == file and key.policy in ("", policy)]
    found = {key: _has(content, key.name) for key in keys}
    exact = [r for r in RELEASES if all(_writes(r, k) == there for k, there in found.items())]
    known = [r for r in RELEASES if all(_writes(r, k) for k, there in found.items() if there)]
    return tuple(exact or known)


def _writes(release: Release, key: Key) -> bool:
    return key.since <= release.versions.first < key.until


def _has(content: Mapping[str, Any], dotted: str) -> bool:
    part: Any = content
    for name in dotted.split("."):
        if not isinstance(part, Mapping) or name not in part:
            return False
        part = part[name]
    return True


def rows_of(span: Span) -> tuple[tuple[Span, PatchRows], ...]:
    """How the versions of transformers in `span` compute rows, oldest first."""
    parts = ((span.common(entry.versions), entry.rows) for entry in TRANSFORMERS)
    return tuple((part, rows) for part, rows in parts if part is not None)


def named(releases: tuple[Release, ...]) -> str:
    """`0.6.0 to 0.6.1`, `0.3.x`: these releases in a few words."""
    names = [release.name for release in releases]
    return names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"
