"""What is whole of a bag's file that was cut off: a recorder killed, a disk full, a broken copy.

mcap is read record by record from its beginning, as `mcap recover` does; sqlite3 row by row, up to
the first of which a page is missing.
"""

from __future__ import annotations

import importlib
import io
import shutil
import sqlite3
import struct
import sys
import urllib.parse
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from armlet.files import open_file

Raw = tuple[str, int, bytes]
"""Topic, time of recording (ns) and CDR of a message."""

SQLITE_ENDING = ".db3"
_MAGIC = b"\x89MCAP0\r\n"
_SQLITE = b"SQLite format 3\x00"
# Bytes of a sqlite3 file's header, and where in it the number of pages is.
_SQLITE_HEADER, _PAGES_AT = 100, 28
_HEADER, _FOOTER, _SCHEMA, _CHANNEL, _MESSAGE, _CHUNK = 1, 2, 3, 4, 5, 6
# Chunks are some megabytes; more than this is damage.
_LARGEST_CHUNK = 1 << 30


class Part(Protocol):
    """A cut file: message types by topic, and its messages in the order recorded."""

    topics: dict[str, str]
    start_ns: int
    end_ns: int

    def messages(self, topics: Collection[str]) -> Iterator[Raw]: ...


def is_cut(path: Path, size: int) -> bool:
    """Whether a file of a bag, mcap or sqlite3, lacks its end."""
    with open_file(path) as file:
        head = file.read(_SQLITE_HEADER)
        if head.startswith(_MAGIC):
            file.seek(max(0, size - len(_MAGIC)))
            return size < 2 * len(_MAGIC) or file.read() != _MAGIC
    if head.startswith(_SQLITE) and len(head) == _SQLITE_HEADER:
        pages = int.from_bytes(head[_PAGES_AT : _PAGES_AT + 4], "big")
        return size < pages * _page_size(head)
    return False


def part_of(path: Path) -> Part:
    """What is whole of a cut file (sqlite3: trimmed). Raises ValueError if nothing of it is."""
    part: Part = CutSqlite(path) if path.suffix == SQLITE_ENDING else CutMcap(path)
    if not part.end_ns:
        raise ValueError("the file is cut off before its first message")
    return part


class CutMcap:
    """The whole records of an mcap file."""

    def __init__(self, path: Path):
        self._path = path
        self.topics: dict[str, str] = {}
        stamps = [stamp for _, stamp, _ in self._scan()]
        self.start_ns, self.end_ns = min(stamps, default=0), max(stamps, default=0)

    def messages(self, topics: Collection[str]) -> Iterator[Raw]:
        """Messages of some topics, as the file has them."""
        return (found for found in self._scan() if found[0] in topics)

    def _scan(self) -> Iterator[Raw]:
        schemas: dict[int, str] = {}
        channels: dict[int, str] = {}
        with open_file(self._path) as file:
            file.seek(len(_MAGIC))
            for kind, record in _records(file):
                if kind == _CHUNK:
                    inner = _records(io.BytesIO(_unpacked(record)))
                elif kind == _FOOTER:
                    return
                else:
                    inner = iter([(kind, record)])
                for each, content in inner:
                    found = self._take(each, content, schemas, channels)
                    if found is not None:
                        yield found

    def _take(
        self, kind: int, content: bytes, schemas: dict[int, str], channels: dict[int, str]
    ) -> Raw | None:
        if kind == _SCHEMA:
            (number,) = struct.unpack_from("<H", content)
            schemas[number] = _text(content, 2)[0]
        elif kind == _CHANNEL:
            number, schema = struct.unpack_from("<HH", content)
            channels[number] = _text(content, 4)[0]
            self.topics[channels[number]] = schemas.get(schema, "")
        elif kind == _MESSAGE:
            number, _, recorded_ns, _ = struct.unpack_from("<HIQQ", content)
            if number in channels:
                return channels[number], recorded_ns, content[22:]
        return None


def _records(file: Any) -> Iterator[tuple[int, bytes]]:
    """Kinds and contents of records; of a chunk at the end that is cut off, what there is."""
    while len(head := file.read(9)) == 9:
        kind, length = struct.unpack("<BQ", head)
        if kind == 0 or length > 2 * _LARGEST_CHUNK:
            return
        content = file.read(length)
        if len(content) < length and kind != _CHUNK:
            return
        yield kind, content


def _unpacked(chunk: bytes) -> bytes:
    """A chunk's records, as far as they go. Empty for one whose coding is unknown or torn."""
    if len(chunk) < 40:
        return b""
    (size,) = struct.unpack_from("<Q", chunk, 16)
    try:
        coding, end = _text(chunk, 28)
        return decompressed(coding, chunk[end + 8 :], min(size, _LARGEST_CHUNK))
    except (ValueError, struct.error):
        return b""


def decompressed(coding: str, content: bytes, size: int) -> bytes:
    """Compressed bytes, which may be cut off, as far as they go; at most `size` of them.

    Raises ValueError for what is no such compression.
    """
    if not coding:
        return content
    if coding == "lz4":
        decoder: Any = importlib.import_module("lz4.frame").LZ4FrameDecompressor()
    elif coding == "zstd":
        decoder = zstd().ZstdDecompressor()
    else:
        raise ValueError(f"unknown compression {coding!r}")
    try:
        return bytes(decoder.decompress(content, max_length=size))
    except Exception as error:  # each library has errors of its own
        raise ValueError(str(error)) from error


def zstd() -> Any:
    """The zstd module of Python 3.14, or what stands for it before."""
    name = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
    return importlib.import_module(name)


def _text(content: bytes, at: int) -> tuple[str, int]:
    """A string with its length before it, and where it ends."""
    (length,) = struct.unpack_from("<I", content, at)
    end = at + 4 + length
    if end > len(content):
        raise ValueError("a text is longer than its record")
    return content[at + 4 : end].decode(), end


def trim_sqlite(source: BinaryIO, target: BinaryIO) -> None:
    """Copy the whole pages of a cut sqlite3 file, their number in its header.

    By the number it had sqlite3 takes pages that are gone for zeros, and rows on them for whole.
    """
    shutil.copyfileobj(source, target)
    target.seek(0)
    page = _page_size(target.read(_SQLITE_HEADER))
    pages = source.tell() // page
    target.truncate(pages * page)
    if pages:
        target.seek(_PAGES_AT)
        target.write(pages.to_bytes(4, "big"))


def _page_size(header: bytes) -> int:
    size = int.from_bytes(header[16:18], "big")
    return 65536 if size == 1 else max(size, 512)


class CutSqlite:
    """The rows of a sqlite3 file, trimmed, up to the first that is not whole."""

    def __init__(self, path: Path):
        self._uri = f"file:{urllib.parse.quote(str(path.absolute()))}?immutable=1"
        self.topics: dict[str, str] = {}
        stamps = [stamp for _, stamp, _ in self._scan()]
        self.start_ns, self.end_ns = min(stamps, default=0), max(stamps, default=0)

    def messages(self, topics: Collection[str]) -> Iterator[Raw]:
        """Messages of some topics, in the order written."""
        return (found for found in self._scan() if found[0] in topics)

    def _scan(self) -> Iterator[Raw]:
        connection = sqlite3.connect(self._uri, uri=True)
        try:
            # Else sqlite opens nothing whose header counts more pages than there are.
            connection.execute("PRAGMA writable_schema=ON")
            rows = connection.execute("SELECT id, name, type FROM topics").fetchall()
            names = {number: str(name) for number, name, _ in rows}
            self.topics.update({str(name): str(kind) for _, name, kind in rows})
            for topic, stamp, data in connection.execute(
                "SELECT topic_id, timestamp, data FROM messages ORDER BY id"
            ):
                if topic in names:
                    yield names[topic], int(stamp), bytes(data)
        except sqlite3.DatabaseError:
            return  # where the file ends
        finally:
            connection.close()
