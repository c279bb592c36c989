"""One dataset as several new ones, by episodes or by shares drawn at random."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from armlet.datasets.format import layout
from armlet.datasets.format.errors import DatasetError
from armlet.files import printable

from .assembly import Assembly
from .atomic_directory import new_dataset, require_outside
from .cuts import Cut, Source, parse_episodes, said_episodes
from .merge import Made, Progress, locked, made, write

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_SHARE = re.compile(r"(\d{1,3}(?:\.\d{1,6})?)%")


def split(
    root: Path,
    output: Path,
    parts: Mapping[str, str],
    seed: int = 0,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> dict[str, Made]:
    """Write datasets OUTPUT/NAME, all of them or none. The source stays as it is.

    parts: by name, either episodes as in "3,7-9" or shares as in "80%", which make 100 % together
    and are drawn with the seed. Episodes keep their order. Raises DatasetError, OSError.
    """
    require_outside(output, [root])
    with locked([root]):
        source = Source.open(root)
        chosen = choose(parts, len(source.rows), seed)
        info = layout.parse_info({**source.info.document, "splits": {}})
        assemblies = {
            name: Assembly(info, [Cut.whole(source, k) for k in episodes])
            for name, episodes in chosen.items()
        }
        if not dry_run:
            with new_dataset(output) as folder:
                for name, assembly in assemblies.items():
                    (folder / name).mkdir()
                    write(assembly, folder / name, progress)
    return {name: made(output / name, assembly) for name, assembly in assemblies.items()}


def choose(parts: Mapping[str, str], count: int, seed: int) -> dict[str, list[int]]:
    """By part, its episodes. Raises DatasetError for parts that share one, or have none."""
    wrong = [name for name in parts if not _NAME.fullmatch(name)]
    if wrong:
        raise DatasetError(f"{printable(repr(wrong[0]), 80)} cannot be the name of a folder")
    if not parts:
        raise DatasetError("name the parts, as in train=80% val=20% or train=0-39 val=40-49")
    shares = {name: _SHARE.fullmatch(text.strip()) for name, text in parts.items()}
    if all(shares.values()):
        numbers = {name: float(match[1]) for name, match in shares.items() if match}
        return _drawn(numbers, count, seed)
    if any(shares.values()):
        raise DatasetError("give all parts as episodes, or all as shares in %")
    found = {name: parse_episodes(text, count) for name, text in parts.items()}
    _require_apart(found)
    return found


def _require_apart(found: Mapping[str, Sequence[int]]) -> None:
    owner: dict[int, str] = {}
    for name, episodes in found.items():
        shared = [k for k in episodes if k in owner]
        if shared:
            raise DatasetError(
                f"episodes {said_episodes(shared)} are in both {owner[shared[0]]} and {name}"
            )
        owner |= dict.fromkeys(episodes, name)


def _drawn(shares: Mapping[str, float], count: int, seed: int) -> dict[str, list[int]]:
    """Every episode is in one part; sizes are the shares rounded where they meet."""
    if abs(sum(shares.values()) - 100) > 1e-6:
        raise DatasetError(f"shares make {sum(shares.values()):g} % together, expected 100 %")
    order = list(range(count))
    random.Random(seed).shuffle(order)
    found, before = {}, 0.0
    for name, share in shares.items():
        begin, end = round(before * count / 100), round((before + share) * count / 100)
        found[name] = sorted(order[begin:end])
        before += share
    empty = [name for name, episodes in found.items() if not episodes]
    if empty:
        raise DatasetError(f"{empty[0]} would have none of the {count} episodes")
    return found
