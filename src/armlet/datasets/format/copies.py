"""Whether files that are to go have all they hold in the files that take their place."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from . import concat, layout, tables
from .mp4_file import open_mp4

# Columns of the episodes metadata that say where an episode's files are.
_PLACES = ("data/", "videos/", "meta/episodes/")


def uncopied(
    root: Path,
    old: Iterable[Path],
    new: Sequence[tuple[Path, Path]],
    known: Mapping[Path, pa.Table] | None = None,
) -> list[Path]:
    """Those of the old files that hold a row, a picture or another byte which no new file has.

    old: relative to root; one that is gone is left out. new: name and where it lies now. known: the
    rows of old files that the caller has read. Rows of the episodes metadata are compared without
    the places of files, pictures as they are coded. Raises DatasetError.
    """
    there = [path for path in old if (root / path).is_file()]
    found = _New(new if there else ())
    return [path for path in there if not found.hold(root, path, (known or {}).get(path))]


class _New:
    """The new files, of which one of rows is kept in memory, and of pictures their hashes."""

    def __init__(self, new: Sequence[tuple[Path, Path]]) -> None:
        self._others = {name: path for name, path in new if name.suffix != ".parquet"}
        self._videos: dict[Path, _Video] = {}
        self._place: dict[tuple[bool, int], Path] = {}
        for name, path in new:
            if name.suffix == ".parquet":
                for episode in _episodes(tables.read(path, ["episode_index"])):
                    self._place[_is_metadata(name), episode] = path
        self._path: Path | None = None
        self._table = pa.table({})

    def hold(self, root: Path, old: Path, table: pa.Table | None) -> bool:
        if old.suffix == ".mp4":
            return self._hold_pictures(_Video.read(layout.locate(root, old)))
        if old.suffix != ".parquet":
            same = self._others.get(old)
            return same is not None and same.read_bytes() == (root / old).read_bytes()
        table = tables.read(layout.locate(root, old)) if table is None else table
        episodes = _episodes(table)
        path = self._place.get((_is_metadata(old), episodes[0])) if episodes else None
        if path is None:
            return False
        if path != self._path:
            self._path, self._table = path, tables.read(path)
            self._index = tables.EpisodeIndex(
                tables.column(self._table, "episode_index", tables.COUNTER)
            )
        rows = self._index.rows(episodes[0])
        if not isinstance(rows, slice):
            return False
        part = self._table.slice(rows.start, table.num_rows)
        kept = table.column_names
        if _is_metadata(old):
            kept = [name for name in kept if not name.startswith(_PLACES)]
            if not set(kept) <= set(part.column_names):
                return False
            table, part = table.select(kept), part.select(kept)
        return _same(table, part)

    def _hold_pictures(self, old: _Video) -> bool:
        for path in self._others.values():
            if path.suffix == ".mp4":
                if path not in self._videos:
                    self._videos[path] = _Video.read(path)
                if self._videos[path].holds(old):
                    return True
        return False


@dataclass(frozen=True)
class _Video:
    """A video's pictures as hashes of their packets, in decoding order, and where each hash is."""

    form: concat.Form
    packets: list[bytes]
    places: Mapping[bytes, list[int]]

    @classmethod
    def read(cls, path: Path) -> _Video:
        """Raises VideoError."""
        form, packets = concat.form(path), []
        with open_mp4(path) as (source, stream):
            for packet in source.demux(stream):
                if packet.size:
                    digest = hashlib.sha256(bytes(packet)).digest()
                    packets.append(digest + bytes([packet.is_keyframe]))
        places: dict[bytes, list[int]] = {}
        for place, digest in enumerate(packets):
            places.setdefault(digest, []).append(place)
        return cls(form, packets, places)

    def holds(self, other: _Video) -> bool:
        """Whether the other's pictures are all here, one after another."""
        count = len(other.packets)
        return (
            count > 0
            and not other.form.others
            and self.form.fits(other.form)
            and any(
                self.packets[place : place + count] == other.packets
                for place in self.places.get(other.packets[0], ())
            )
        )


def _is_metadata(path: Path) -> bool:
    return path.is_relative_to(layout.EPISODES)


def _episodes(table: pa.Table) -> list[int]:
    numbers = tables.column(table, "episode_index", tables.COUNTER)
    return list(dict.fromkeys(numbers.tolist()))


def _same(one: pa.Table, other: pa.Table) -> bool:
    """Bit by bit: NaN is no other than NaN."""
    if one.equals(other):
        return True
    if one.schema != other.schema or one.num_rows != other.num_rows:
        return False
    return tables.encode(one.combine_chunks()) == tables.encode(other.combine_chunks())
