"""A video file while it is being recorded: samples go to disk as they come, none is lost by a kill.

Beside the file lies its index: the sample description, then size, key flag and CRC-32 of every
sample. With both, the file can be cut behind its last whole picture, continued, and closed, at
any later time. The samples themselves are never written twice.
"""

from __future__ import annotations

import array
import os
import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from armlet.datasets.format import atomic_files, mp4
from armlet.datasets.format.errors import VideoError
from armlet.datasets.format.video import Format, Sample
from armlet.files import FileError, read_bytes

_ENTRY = struct.Struct("<3I")  # size and two flags, checksum of the sample, checksum of these two
# Five million pictures.
_LARGEST_INDEX = 64 << 20
_KEY, _DAMAGED = 1 << 31, 1 << 30


@dataclass(frozen=True)
class Index:
    """What an index file holds. sizes and keys as `mp4.trailer` wants them.

    damaged: numbers of pictures that came from a damaged JPEG.
    """

    description: bytes
    sizes: array.array[int]
    keys: array.array[int]
    damaged: list[int]


class AppendableMp4:
    """Appends samples to a video file and its index. One thread adds, another may sync."""

    def __init__(self, path: Path, form: Format, pictures: int | None = None):
        """Begin a file, or go on with the one a recorder left, behind its first `pictures`.

        Raises OSError; VideoError where fewer than `pictures` are whole.
        """
        self.path = path
        self._form = form
        self._closed = False
        if pictures is None:
            self.description = b""
            self._index = _fresh_index()
            self._open(atomic_files.create(path), atomic_files.create(index_path(path)))
            atomic_files.append(self._video, mp4.header())
            return
        self._index = whole(path, pictures)
        if len(self._index.sizes) < pictures:
            raise VideoError(
                f"{path.name} holds {len(self._index.sizes)} whole pictures, not {pictures}"
            )
        self.description = self._index.description
        size = mp4.DATA_OFFSET + sum(self._index.sizes)
        entries = _prefix_size(self.description) + pictures * _ENTRY.size
        self._open(atomic_files.reopen(path, size), atomic_files.reopen(index_path(path), entries))

    def _open(self, video: int, index: int) -> None:
        self._video, self._entries = video, index

    @property
    def damaged(self) -> list[int]:
        """Numbers of pictures from damaged JPEGs; to be appended to before their samples come."""
        return self._index.damaged

    @property
    def pictures(self) -> int:
        """Samples written."""
        return len(self._index.sizes)

    def begin(self, description: bytes) -> None:
        """Say how the samples are to be decoded, before the first of them."""
        self.description = description
        atomic_files.append(self._entries, _prefix(description))

    def add(self, samples: Iterable[Sample]) -> None:
        """Append samples. Raises OSError where the disk is full."""
        for sample in samples:
            number = self.pictures
            atomic_files.append(self._video, sample.content)
            word = len(sample.content) | (_KEY if sample.key else 0)
            if number in self.damaged:
                word |= _DAMAGED
            atomic_files.append(self._entries, _entry(word, zlib.crc32(sample.content)))
            if sample.key:
                self._index.keys.append(number)
            self._index.sizes.append(len(sample.content))

    def sync(self) -> None:
        """Wait until the samples added so far are on disk."""
        atomic_files.flush(self._video)
        atomic_files.flush(self._entries)

    def close(self) -> None:
        """Make the file an ordinary MP4. May be called again, also where it failed before."""
        if self._closed:
            return
        sizes = self._index.sizes
        end = mp4.DATA_OFFSET + sum(sizes)
        os.ftruncate(self._video, end)  # what a close that failed has left
        form = self._form
        atomic_files.append(
            self._video,
            mp4.trailer(
                form.width, form.height, form.fps, self.description, sizes, self._index.keys
            ),
        )
        atomic_files.write_at(self.path, mp4.SIZE_OFFSET, mp4.media_size(sum(sizes)))
        self._closed = True
        self.abandon()

    def abandon(self) -> None:
        """Close the descriptors, whatever is in the files. May be called again."""
        for handle in (self._video, self._entries):
            if handle >= 0:
                os.close(handle)
        self._video = self._entries = -1


def index_path(video: Path) -> Path:
    """The index that belongs to a video file."""
    return video.with_suffix(".index")


def whole(video: Path, limit: int | None = None) -> Index:
    """The index of a recorder's video as far as index and samples are whole; not above limit.

    Raises FileNotFoundError, or VideoError if even the sample description is damaged.
    """
    try:
        content = read_bytes(index_path(video), _LARGEST_INDEX)
    except FileError as error:
        raise VideoError(str(error)) from error
    found = _fresh_index(_description(content, video))
    place = _prefix_size(found.description)
    with video.open("rb") as file:
        file.seek(mp4.DATA_OFFSET)
        while place + _ENTRY.size <= len(content) and len(found.sizes) != limit:
            word, checksum, own = _ENTRY.unpack_from(content, place)
            place += _ENTRY.size
            size = word & ~(_KEY | _DAMAGED)
            if own != zlib.crc32(content[place - _ENTRY.size : place - 4]):
                break
            sample = file.read(size)
            if len(sample) != size or zlib.crc32(sample) != checksum:
                break
            if word & _KEY:
                found.keys.append(len(found.sizes))
            if word & _DAMAGED:
                found.damaged.append(len(found.sizes))
            found.sizes.append(size)
    return found


def numbers() -> array.array[int]:
    """An empty list of 32-bit numbers, which takes 4 bytes an entry."""
    return array.array("I")


def _fresh_index(description: bytes = b"") -> Index:
    return Index(description, numbers(), numbers(), [])


def _prefix(description: bytes) -> bytes:
    return struct.pack("<2I", len(description), zlib.crc32(description)) + description


def _prefix_size(description: bytes) -> int:
    return 8 + len(description)


def _description(content: bytes, video: Path) -> bytes:
    if len(content) >= 8:
        size, checksum = struct.unpack_from("<2I", content)
        description = content[8 : 8 + size]
        if len(description) == size and zlib.crc32(description) == checksum:
            return description
    raise VideoError(f"{index_path(video).name} is damaged: no sample description")


def _entry(word: int, checksum: int) -> bytes:
    head = struct.pack("<2I", word, checksum)
    return head + struct.pack("<I", zlib.crc32(head))
