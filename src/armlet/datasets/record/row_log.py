"""An episode's rows while it is being recorded: appended one by one, each with its checksum.

A row is its number, stamp, action, state, skews and who commanded it, and a CRC-32. The
finished episode is made from this file too, so memory does not grow with its length.
"""

from __future__ import annotations

import os
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from armlet.align import CommandSource
from armlet.contract import Contract
from armlet.datasets.format import atomic_files
from armlet.datasets.format.errors import DatasetError
from armlet.files import FileError, read_bytes

# A day at 60 fps.
_LARGEST = 256 << 20


def row_type(contract: Contract, sourced: bool = True) -> np.dtype[Any]:
    """A row's layout on disk; the checksum is of everything before it.

    sourced: it says who commanded it, which those of earlier recorders do not: a `Commander`, and
    the mark of a policy, 0 where there is none.
    """
    source = [("commander", "u1"), ("policy", "<u8")] if sourced else []
    return np.dtype(
        [
            ("number", "<u4"),
            ("stamp", "<i8"),
            ("action", "<f4", (len(contract.action_names),)),
            ("state", "<f4", (len(contract.state_names),)),
            ("skew", "<f4", (len(contract.alignment),)),
            *source,
            ("checksum", "<u4"),
        ]
    )


class Journal:
    """Appends rows to a new file."""

    def __init__(self, path: Path, contract: Contract):
        self._path = path
        self._contract = contract
        self._handle = atomic_files.create(path)
        self.rows = 0

    def add(
        self,
        stamp: int,
        action: NDArray[np.float32],
        state: NDArray[np.float32],
        skews: list[float],
        source: CommandSource,
    ) -> None:
        """Append a row. Raises OSError where the disk is full."""
        row = np.zeros(1, row_type(self._contract))
        mark = int(source.policy or "0", 16)
        row[0] = (self.rows, stamp, action, state, skews, source.commander, mark, 0)
        content = row.tobytes()[:-4]
        atomic_files.append(self._handle, content + zlib.crc32(content).to_bytes(4, "little"))
        self.rows += 1

    def sync(self) -> None:
        """Wait until all rows are on disk."""
        atomic_files.flush(self._handle)

    def read(self) -> NDArray[Any]:
        """All rows. Raises DatasetError if one does not come back whole."""
        found = rows(self._path, self._contract)
        if len(found) != self.rows:
            raise DatasetError(
                f"{self._path.name} gives back {len(found)} whole rows of {self.rows}; "
                "discard this episode"
            )
        return found

    def close(self) -> None:
        """May be called again."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


def rows(path: Path, contract: Contract, sourced: bool = True) -> NDArray[Any]:
    """The rows of a journal from the first on, as far as they are whole: (L,) of row_type.

    Raises DatasetError, FileNotFoundError.
    """
    kind = row_type(contract, sourced)
    try:
        content = read_bytes(path, _LARGEST)
    except FileError as error:
        raise DatasetError(str(error)) from error
    count = 0
    for start in range(0, len(content) - kind.itemsize + 1, kind.itemsize):
        row = content[start : start + kind.itemsize]
        if zlib.crc32(row[:-4]) != int.from_bytes(row[-4:], "little"):
            break
        if int.from_bytes(row[:4], "little") != count:
            break
        count += 1
    return np.frombuffer(content, kind, count)
