"""Pictures waiting for their encoder, in files, so that none vanishes whoever is killed.

A picture is appended to a segment file as it comes, and stays there until the encoder's output
is on disk; then whole segments go. While little waits, its bytes are kept in memory as well and
nothing is read back; beyond the memory bound a picture waits on disk only. Written and removed
within seconds, segments seldom get further than the page cache.

Each record is a header (mark, kind, number, size, CRC-32 of the content) and the content.
"""

from __future__ import annotations

import os
import struct
import threading
import zlib
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from armlet.datasets.format import atomic_files
from armlet.datasets.format.errors import VideoError

JPEG, RGB = 0, 1
_HEADER = struct.Struct("<4sIIII")
_MARK = b"APIC"
_SEGMENT_BYTES = 8 << 20


@dataclass(frozen=True)
class Shot:
    """A picture as it was queued."""

    number: int
    kind: int
    content: bytes


@dataclass
class _Segment:
    path: Path
    handle: int
    size: int = 0
    last: int = -1


@dataclass(frozen=True)
class _Waiting:
    number: int
    kind: int
    segment: _Segment
    offset: int
    size: int
    content: bytes | None


class PictureQueue:
    """A queue of pictures: one thread puts, one takes, a third may release and sync."""

    def __init__(self, folder: Path, name: str, memory_bytes: int):
        self._folder = folder
        self._name = name
        self._memory_bytes = memory_bytes
        self._in_memory = 0
        self._spilled = 0
        self._count = 0
        self._waiting: deque[_Waiting] = deque()
        self._segments: list[_Segment] = []
        self._ended = False
        self._changed = threading.Condition()

    @property
    def queued(self) -> int:
        """Pictures waiting."""
        return len(self._waiting)

    @property
    def spilled(self) -> int:
        """Those of them that are on disk only."""
        return self._spilled

    @property
    def memory_bytes(self) -> int:
        return self._in_memory

    @property
    def spilled_bytes(self) -> int:
        with self._changed:
            return sum(item.size for item in self._waiting if item.content is None)

    def put(self, kind: int, content: bytes) -> None:
        """Append a picture; never blocks on the encoder. Raises OSError where the disk is full."""
        segment = self._segment(len(content))
        offset = segment.size + _HEADER.size
        head = _HEADER.pack(_MARK, kind, self._count, len(content), zlib.crc32(content))
        atomic_files.append(segment.handle, head, content)
        segment.size = offset + len(content)
        segment.last = self._count
        with self._changed:
            fits = self._in_memory + len(content) <= self._memory_bytes
            self._waiting.append(
                _Waiting(
                    self._count, kind, segment, offset, len(content), content if fits else None
                )
            )
            if fits:
                self._in_memory += len(content)
            else:
                self._spilled += 1
            self._count += 1
            self._changed.notify()

    def take(self) -> Shot | None:
        """The next picture, waiting for it; None at the end. Raises VideoError if it is damaged."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._ended)
            if not self._waiting:
                return None
            item = self._waiting.popleft()
            if item.content is None:
                self._spilled -= 1
            else:
                self._in_memory -= item.size
        content = item.content
        if content is None:
            content = os.pread(item.segment.handle, item.size, item.offset)
            if len(content) != item.size:
                raise VideoError(f"{item.segment.path.name} is shorter than what was written")
        return Shot(item.number, item.kind, content)

    def end(self) -> None:
        """Nothing more comes."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def drop(self) -> None:
        """End, and forget what waits."""
        with self._changed:
            self._waiting.clear()
            self._spilled = self._in_memory = 0
        self.end()

    def release(self, count: int) -> None:
        """Remove segments of which every picture is among the first `count`."""
        with self._changed:
            done = [s for s in self._segments if s.last < count and s is not self._segments[-1]]
            for segment in done:
                self._segments.remove(segment)
        for segment in done:
            os.close(segment.handle)
            atomic_files.remove(segment.path)

    def sync(self) -> None:
        """Wait until everything put so far is on disk."""
        with self._changed:
            segments = list(self._segments)
        for segment in segments:
            atomic_files.flush(segment.handle)
        atomic_files.sync([self._folder])

    def close(self) -> None:
        """Close the files and leave them. May be called again."""
        with self._changed:
            segments, self._segments = self._segments, []
        for segment in segments:
            os.close(segment.handle)

    def _segment(self, size: int) -> _Segment:
        if self._segments and self._segments[-1].size + size <= _SEGMENT_BYTES:
            return self._segments[-1]
        path = self._folder / f"{self._name}.queue-{self._count:08d}"
        segment = _Segment(path, atomic_files.create(path))
        with self._changed:
            self._segments.append(segment)
        return segment


def left(folder: Path, name: str, first: int) -> Iterator[Shot]:
    """Pictures from number `first` on that a killed recorder left, as far as they are whole."""
    expected = first
    for path in sorted(folder.glob(f"{name}.queue-*")):
        for shot in _records(path):
            if shot.number > expected:
                return
            if shot.number == expected:
                yield shot
                expected += 1


def _records(path: Path) -> Iterator[Shot]:
    with path.open("rb") as file:
        while len(head := file.read(_HEADER.size)) == _HEADER.size:
            mark, kind, number, size, checksum = _HEADER.unpack(head)
            content = file.read(size) if mark == _MARK and size <= _SEGMENT_BYTES * 8 else b""
            if len(content) != size or zlib.crc32(content) != checksum or mark != _MARK:
                return
            yield Shot(number, kind, content)
