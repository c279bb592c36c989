"""A rosbag2 recording's files: those its metadata names, or those that lie there.

`ros2 bag reindex`, a crash and copying by hand leave recordings without metadata.yaml, or with
half of it. The files hold all that is needed: what is missing beside them is reported, not fatal.
"""

from __future__ import annotations

import contextlib
import heapq
import os
import re
import shutil
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from armlet.files import (
    FileError,
    Shape,
    check_file,
    inside,
    open_file,
    printable,
    read_yaml,
    scratch_folder,
    typed,
)

from .parts import SQLITE_ENDING, Part, is_cut, part_of, trim_sqlite, zstd

_METADATA = Shape(size=1 << 20)
METADATA = "metadata.yaml"
_ENDINGS = (".mcap", SQLITE_ENDING)
MCAP_RECOVERY = "`mcap recover` and `ros2 bag reindex`"
_PACKED = ".zstd"

# Where a bag does not hold its messages' definitions (sqlite3 of older distributions).
_TYPES_OF = "ROS2_KILTED"


@dataclass
class BagFiles:
    """The files of a recording, in their order.

    folder: where its metadata can be used as it is, else None. notes: what is not as it should be.
    """

    paths: list[Path]
    folder: Path | None = None
    notes: list[str] = field(default_factory=list)


def find(path: Path) -> BagFiles:
    """The files of a recording, named by its folder or by one file of it.

    Raises FileError, or OSError, if there is none, or one that must not be opened.
    """
    folder = path if path.is_dir() else path.parent
    if not os.path.lexists(folder / METADATA):
        if not path.is_dir():
            check_file(path)
            return BagFiles([path])
        note = f"{printable(path)} has no {METADATA}: the files in it are read without"
        return BagFiles(_lying(folder), notes=[note])
    try:
        names, storage = _named(folder)
    except (FileError, OSError) as error:
        note = (
            f"{METADATA} cannot be used ({printable(error)}): the files in the folder are "
            "read instead"
        )
        return BagFiles(_lying(folder), notes=[note])
    paths = [inside(folder, name) for name in names]
    missing = [each for each in paths if not os.path.lexists(each)]
    if missing or not paths:
        lost = ", ".join(printable(each.name) for each in missing) or "no file"
        note = (
            f"{METADATA} names {lost}, which is not there: the files in the folder are read instead"
        )
        return BagFiles(_lying(folder), notes=[note])
    for each in paths:
        check_file(each)
    if storage not in ("mcap", "sqlite3"):
        note = f"{METADATA} states the storage {storage!r}: the files' endings decide"
        return BagFiles(paths, notes=[note])
    return BagFiles(paths, folder)


def _named(folder: Path) -> tuple[list[Path], str]:
    """Relative paths of files and the storage that metadata state."""
    document = read_yaml(folder / METADATA, _METADATA)
    try:
        content = document["rosbag2_bagfile_information"]
        # Before version 4 paths began with the recording's own folder.
        names = [Path(typed(str, name, "path")) for name in content["relative_file_paths"]]
        return names, str(content.get("storage_identifier") or "")
    except (KeyError, TypeError, AttributeError) as error:
        raise FileError("it is not that of a rosbag2 recording") from error


def _lying(folder: Path) -> list[Path]:
    """The files of a folder that are a recording's by their ending, by number."""
    names = [path.name for path in folder.iterdir()]
    names = [name for name in names if name.removesuffix(_PACKED).endswith(_ENDINGS)]
    found = [inside(folder, Path(name)) for name in sorted(names, key=_by_number)]
    if not found:
        raise FileError(
            f"expected {METADATA}, or files that end in .mcap or .db3; the folder has neither"
        )
    # Of a file and its compressed copy the file is enough.
    found = [f for f in found if f.suffix != _PACKED or f.with_suffix("") not in found]
    for path in found:
        check_file(path)
    return found


def _by_number(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", name)]


class Recording:
    """Open files of a recording, read as one: whole ones by rosbags, cut ones as far as they go.

    Attributes: topics: message type by topic; start_ns, end_ns; notes: see `BagFiles`.
    """

    def __init__(self, path: Path):
        from rosbags.typesys import Stores, get_typestore

        self._types: Any = get_typestore(Stores[_TYPES_OF])
        self._stack = contextlib.ExitStack()
        self._whole: list[Any] = []
        self._parts: list[Part] = []
        try:
            files = find(Path(path))
            self.notes = files.notes
            self._open(files)
        except BaseException:
            self.close()
            raise
        self.topics = {c.topic: c.msgtype for reader in self._whole for c in reader.connections}
        for part in self._parts:
            self.topics |= part.topics
        starts = [int(r.start_time) for r in self._whole if r.message_count]
        ends = [int(r.end_time) for r in self._whole if r.message_count]
        self.start_ns = min([*starts, *(part.start_ns for part in self._parts)], default=0)
        self.end_ns = max([*ends, *(part.end_ns + 1 for part in self._parts)], default=0)

    def close(self) -> None:
        """Give the files back."""
        self._stack.close()

    def messages(self, topics: Collection[str]) -> Iterator[tuple[str, int, Any]]:
        """Topic, time of recording (ns) and message, in the order recorded."""
        sources = [_whole_messages(reader, topics) for reader in self._whole]
        sources += [self._part_messages(part, topics) for part in self._parts]
        return heapq.merge(*sources, key=lambda found: found[1])

    def _part_messages(self, part: Part, topics: Collection[str]) -> Iterator[tuple[str, int, Any]]:
        for topic, recorded_ns, content in part.messages(topics):
            yield topic, recorded_ns, self._types.deserialize_cdr(content, part.topics[topic])

    def _open(self, files: BagFiles) -> None:
        cut = [path for path in files.paths if is_cut(path, path.stat().st_size)]
        if files.folder is not None and not cut:
            try:
                self._add([files.folder])
                return
            except Exception as error:  # of metadata that rosbags does not know, any
                if any(path.suffix not in _ENDINGS for path in files.paths):
                    raise
                self.notes.append(
                    f"{METADATA} cannot be used ({printable(error)}): the files are read without"
                )
        for path in files.paths:
            self._open_file(self._unpacked(path) if path.suffix == _PACKED else path, path)
        if not self._whole and not self._parts:
            raise FileError("nothing of it can be read: " + "; ".join(self.notes))

    def _open_file(self, path: Path, named: Path) -> None:
        size = path.stat().st_size
        name = printable(named.name)
        if not size:
            self.notes.append(f"{name} is empty")
        elif not is_cut(path, size):
            self._add([path])
        else:
            try:
                self._parts.append(part_of(self._trimmed(path)))
            except ValueError as error:
                self.notes.append(f"{name}: {error}")
                return
            again = "" if path.suffix == SQLITE_ENDING else f", or run {MCAP_RECOVERY}"
            self.notes.append(
                f"{name} is cut off after {size:,} bytes: its complete part is read; for the "
                f"rest, copy it again{again}"
            )

    def _trimmed(self, path: Path) -> Path:
        """A cut file as `part_of` takes it: a sqlite3 file's whole pages, in a temporary file."""
        if path.suffix != SQLITE_ENDING:
            return path
        target = self._stack.enter_context(scratch_folder()) / path.name
        with open_file(path) as file, target.open("w+b") as output:
            trim_sqlite(file, output)
        return target

    def _add(self, paths: list[Path]) -> None:
        from rosbags.highlevel import AnyReader

        reader: Any = AnyReader(paths, default_typestore=self._types)
        reader.open()
        self._stack.callback(reader.close)
        self._whole.append(reader)

    def _unpacked(self, path: Path) -> Path:
        """A compressed file's content in a temporary file; as far as it goes if it is cut off."""
        folder = self._stack.enter_context(scratch_folder())
        target = folder / path.with_suffix("").name
        with open_file(path) as file, target.open("wb") as output:
            try:
                shutil.copyfileobj(zstd().open(file, "rb"), output)
            except (EOFError, zstd().ZstdError) as error:
                self.notes.append(f"{printable(path.name)} cannot be unpacked completely: {error}")
        return target


def _whole_messages(reader: Any, topics: Collection[str]) -> Iterator[tuple[str, int, Any]]:
    chosen = [connection for connection in reader.connections if connection.topic in topics]
    if not chosen:
        return
    for connection, recorded_ns, raw in reader.messages(connections=chosen):
        message = reader.deserialize(raw, connection.msgtype)
        found = connection.topic, recorded_ns, message
        yield found
