"""Which LeRobot, and which transformers, a checkpoint was trained with: read from its files.

Every LeRobot writes every key it knows into config.json and train_config.json, so the keys date a
file. What they leave open is asked for (Choices.lerobot, Choices.transformers) and held against
them; arithmetic that cannot be established is refused, because a policy run with another's gives
wrong actions and nothing else shows it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from armlet.findings import Code
from armlet.policies.config.errors import CheckpointError
from armlet.policies.config.releases import (
    CONFIG,
    RELEASES,
    TRAINING,
    PatchRows,
    Release,
    Span,
    Version,
    named,
    parse_span,
    rows_of,
    writers,
)
from armlet.policies.config.smolvla import SmolVlaConfig, VlmConfig
from armlet.policies.config.strict_json import read_object, refuse_unknown
from armlet.policies.networks.siglip import patch_positions

# What save_checkpoint writes beside a SmolVLA that did not come out of LeRobot's own training.
RECORD = "armlet_arithmetic.json"
_PATCH_ROWS = "patch_rows"
_ASK = (
    "say what it was trained with: --lerobot VERSION or --transformers VERSION (to the policy node "
    "and the graphs: lerobot_version, transformers_version)"
)


@dataclass(frozen=True)
class Origin:
    """releases: the LeRobots that may have trained it, oldest first. because: what says so.
    conflict: how files contradict each other, "" if they do not. by_files: the releases without
    the user's word. stated: the versions of transformers by the user's word, None without it."""

    path: Path
    releases: tuple[Release, ...]
    because: str
    conflict: str = ""
    by_files: tuple[Release, ...] = ()
    stated: tuple[Span, ...] | None = None

    @property
    def name(self) -> str:
        """The era in a few words, as `0.3.x` or `0.4.4 to 0.5.1`."""
        return named(self.releases)

    @property
    def installs(self) -> tuple[Span, ...]:
        """The versions of transformers that these LeRobots install, or those stated."""
        if self.stated is not None:
            return self.stated
        return _unique(release.installs for release in self.releases)

    @property
    def runs(self) -> tuple[Span, ...]:
        """The same, and those that they were seen to run with beside them."""
        return self.installs if self.stated is not None else _runs(self.releases)

    def __str__(self) -> str:
        spans = " or ".join(map(str, self.installs))
        return f"LeRobot {self.name} ({self.because}), transformers {spans}"


def read_origin(
    path: Path,
    content: Mapping[str, Any],
    policy: str,
    old: bool,
    lerobot: str | None = None,
    transformers: str | None = None,
) -> Origin:
    """What trained the checkpoint directory `path`.

    content is its config.json, policy its type, old whether statistics are among the weights
    (0.3.x). lerobot and transformers are the user's word, versions or the starts of versions.
    Raises CheckpointError for a word that is no version, or that the files contradict.
    """
    origin = _by_files(path, content, policy, old)
    if lerobot is not None:
        span = _stated(path, "LeRobot", lerobot)
        kept = tuple(r for r in origin.releases if r.versions.common(span))
        if not kept:
            raise _contradicted(origin, "LeRobot", origin.name, lerobot)
        because = f"{lerobot} as stated, {origin.because}"
        origin = replace(origin, releases=kept, because=because, conflict="")
    if transformers is not None:
        span = _stated(path, "transformers", transformers)
        parts = _unique(part for part in map(span.common, origin.runs) if part is not None)
        if not parts:
            known = f"{_listed(origin.runs)}, with LeRobot {origin.name}"
            raise _contradicted(origin, "transformers", known, transformers)
        origin = replace(origin, stated=parts)
    return origin


def patch_rows(
    origin: Origin, config: SmolVlaConfig, vlm: VlmConfig, precision: torch.dtype
) -> tuple[PatchRows, str]:
    """How the vision tower placed pictures in training, and what says so.

    precision is the tower's. Raises CheckpointError where the versions that may have trained it
    place this tower's patches differently, and where a record contradicts the user's word.
    """
    side = vlm.vision.image_size // vlm.vision.patch_size
    count = config.resize_imgs_with_padding[0] // vlm.vision.patch_size

    def places(rows: PatchRows) -> tuple[int, ...]:
        return tuple(patch_positions(count, side, precision, rows).tolist())

    stated = _beside_weights(origin, vlm.written)
    if stated is not None:
        rows, says = stated
        if places(rows) not in map(places, _rows(origin.runs)):
            raise _contradicted(origin, "versions", says, str(origin))
        return stated
    candidates = _rows(origin.installs)
    if len(set(map(places, candidates))) == 1:
        return candidates[-1], f"transformers {_listed(origin.installs)}"
    found = f"LeRobot {origin.name} ({origin.because}), whose transformers "
    found += f"({_listed(origin.installs)}) place pictures of a tower in {_name(precision)} apart"
    raise CheckpointError.found(
        Code.POLICY_VERSION_UNCLEAR,
        origin.path,
        "arithmetic of the vision tower",
        expected="files that say which transformers it was trained with",
        found=f"{origin.conflict}: {found}" if origin.conflict else found,
        fix=_ASK,
    )


def record(rows: PatchRows) -> dict[str, str]:
    """The content of RECORD."""
    return {_PATCH_ROWS: rows.value}


def _by_files(path: Path, content: Mapping[str, Any], policy: str, old: bool) -> Origin:
    if old:
        return _found(path, RELEASES[:1], "statistics are among the weights")
    votes = {CONFIG: writers(CONFIG, content, policy)}
    if (path / TRAINING).is_file():
        votes[TRAINING] = writers(TRAINING, read_object(path / TRAINING), policy)
    votes = {file: tuple(r for r in vote if r in RELEASES[1:]) for file, vote in votes.items()}
    votes = {file: vote for file, vote in votes.items() if vote}
    because = f"by the keys of {' and '.join(votes)}"
    kept = tuple(r for r in RELEASES[1:] if all(r in vote for vote in votes.values()))
    if votes and kept:
        return _found(path, kept, because)
    said = " and ".join(f"{file} is of LeRobot {named(vote)}" for file, vote in votes.items())
    either = tuple(r for r in RELEASES[1:] if any(r in vote for vote in votes.values()))
    return _found(path, either or RELEASES[1:], because, said or f"{CONFIG} is of no one LeRobot")


def _found(path: Path, releases: tuple[Release, ...], because: str, conflict: str = "") -> Origin:
    return Origin(path, releases, because, conflict, by_files=releases)


def _beside_weights(origin: Origin, written: Version | None) -> tuple[PatchRows, str] | None:
    """What a file beside the weights says of the arithmetic, if one does.

    Our own record; else the language model's config.json, where the transformers that wrote it is
    one its LeRobot runs with. The Hub's own is older than SmolVLA and says nothing.
    """
    where = origin.path / RECORD
    if where.exists():
        content = read_object(where)
        refuse_unknown(content, (_PATCH_ROWS,), where)
        names = [rows.value for rows in PatchRows]
        if content.get(_PATCH_ROWS) not in names:
            raise CheckpointError.found(
                Code.POLICY_SETTING_INVALID,
                where,
                _PATCH_ROWS,
                expected=f"one of {', '.join(names)}",
                found=repr(content.get(_PATCH_ROWS)),
                fix="restore the file armlet wrote",
            )
        return PatchRows(content[_PATCH_ROWS]), f"{RECORD} says {content[_PATCH_ROWS]}"
    if written is None or not any(written in span for span in _runs(origin.by_files)):
        return None
    only = Span(written, (*written, 1))
    version = ".".join(map(str, written))
    return _rows((only,))[0], f"transformers {version} wrote the language model's {CONFIG}"


def _runs(releases: Iterable[Release]) -> tuple[Span, ...]:
    return _unique(s for r in releases for s in (r.installs, r.runs) if s is not None)


def _unique(spans: Iterable[Span]) -> tuple[Span, ...]:
    return tuple(dict.fromkeys(spans))


def _rows(spans: tuple[Span, ...]) -> list[PatchRows]:
    return list(dict.fromkeys(rows for span in spans for _, rows in rows_of(span)))


def _stated(path: Path, what: str, text: str) -> Span:
    try:
        return parse_span(text)
    except ValueError as error:
        raise CheckpointError.of(
            Code.POLICY_OPTION_REFUSED,
            error,
            f"{path}: {what} it was trained with",
            expected="a version, or a span of versions",
            fix="correct it, or leave it out",
        ) from error


def _contradicted(origin: Origin, what: str, expected: str, stated: str) -> CheckpointError:
    return CheckpointError.found(
        Code.POLICY_VERSION_UNCLEAR,
        origin.path,
        f"{what} it was trained with",
        expected=f"{expected}, as the checkpoint's files say ({origin.because})",
        found=f"{stated}, as stated",
        fix="state the version it was trained with, or none: what the files say is taken",
    )


def _listed(spans: tuple[Span, ...]) -> str:
    return " or ".join(map(str, spans))


def _name(precision: torch.dtype) -> str:
    return str(precision).removeprefix("torch.")
