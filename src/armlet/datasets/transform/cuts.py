"""What an edited dataset is made of: episodes of one or several datasets, whole or trimmed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from armlet.datasets.format import layout, tables
from armlet.datasets.format.errors import DatasetError
from armlet.datasets.format.layout import FileNumber, Info
from armlet.datasets.format.tables import EpisodeRow
from armlet.datasets.format.trash import entries
from armlet.files import printable

_RANGE = re.compile(r"(\d{1,7})(?:-(\d{1,7}))?")


@dataclass(frozen=True)
class Source:
    """A dataset that episodes come from. offset: how many episodes the sources before it have."""

    root: Path
    info: Info
    rows: tuple[EpisodeRow, ...]
    tasks: tuple[str, ...]
    offset: int = 0

    @classmethod
    def open(cls, root: Path, offset: int = 0) -> Source:
        """Raises DatasetError if the dataset is not whole, or an episode of it is unfinished."""
        info = layout.load_info(root)
        layout.require_current(root, info)
        rows = tables.read_episodes(root)
        if len(rows) != info.total_episodes:
            raise DatasetError(
                f"{root}: info.json counts {info.total_episodes} episodes, the metadata has "
                f"{len(rows)}; run `armlet dataset repair` first"
            )
        if any(entries(root, layout.UNFINISHED)):
            raise DatasetError(
                f"{root} holds an unfinished episode in {layout.UNFINISHED}; finish or remove it "
                "first: `armlet dataset repair`"
            )
        if not rows:
            raise DatasetError(f"{root} has no episodes")
        return cls(root, info, tuple(rows), tuple(tables.read_tasks(root)), offset)

    def metadata_places(self) -> list[FileNumber]:
        """By episode, the number of the metadata file with its row. v3.0 only."""
        places: list[FileNumber] = []
        for path in tables.episode_files(self.root):
            number = tables.metadata_number(path)
            places += [number] * tables.read(path, ["episode_index"]).num_rows
        return places


@dataclass(frozen=True)
class Cut:
    """An episode of the new dataset: `count` rows of a source's episode from row `first` on.

    tasks: what tasks of the source are called from now on, where that changes. success: the label
    of all rows; None leaves what is there.
    """

    source: Source
    row: EpisodeRow
    first: int
    count: int
    tasks: Mapping[str, str] = field(default_factory=dict)
    success: bool | None = None

    @classmethod
    def whole(cls, source: Source, episode: int) -> Cut:
        """All of an episode, as it is."""
        row = source.rows[episode]
        return cls(source, row, 0, row.length)

    @property
    def is_trimmed(self) -> bool:
        return (self.first, self.count) != (0, self.row.length)


def parse_episodes(text: str, count: int) -> list[int]:
    """Episodes by numbers and ranges as in "3,7-9", ascending; count: how many there are.

    Raises DatasetError for anything else, and for an episode that is not there.
    """
    found: set[int] = set()
    for part in text.split(","):
        match = _RANGE.fullmatch(part.strip())
        if match is None:
            raise DatasetError(
                f"expected episodes as in 3,7-9, found {printable(repr(part.strip()), 60)}"
            )
        first = int(match[1])
        last = first if match[2] is None else int(match[2])
        if last < first:
            raise DatasetError(f"episodes {first}-{last}: the first is behind the last")
        if last >= count:
            raise DatasetError(f"there are episodes 0 to {count - 1}, not {last}")
        found.update(range(first, last + 1))
    return sorted(found)


def said_episodes(episodes: Sequence[int]) -> str:
    """Episodes as `parse_episodes` reads them: 3,7-9."""
    runs: list[list[int]] = []
    for episode in sorted(episodes):
        if runs and runs[-1][1] == episode - 1:
            runs[-1][1] = episode
        else:
            runs.append([episode, episode])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)


def link_free(root: Path) -> None:
    """Raises DatasetError if a folder that edits change is a link: its files are elsewhere."""
    for name in ("data", "videos", "meta"):
        if (root / name).is_symlink():
            raise DatasetError(
                f"{root / name} is a symbolic link; edit the dataset that it leads to"
            )
