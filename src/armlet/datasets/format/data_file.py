"""A data file with the rows of many episodes."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from . import atomic_files

# A row group is written once it has so many rows, or bytes in memory.
_GROUP_ROWS, _GROUP_BYTES = 10_000, 16 << 20


class DataFile:
    """A data file that is being written: as many episodes to a row group as fit. Raises OSError.

    Whoever reads one episode reads what the file says of every group: a group each of 10,000 short
    episodes is 150 times as large, and takes 100 times as long for each of them.
    """

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.schema = schema
        self._path = path
        with atomic_files.naming(path):
            self._writer = pq.ParquetWriter(path, schema, compression="snappy")
        self._waiting: list[pa.Table] = []
        self._rows = self._bytes = 0

    def add(self, table: pa.Table) -> None:
        """Add an episode's rows."""
        self._waiting.append(table)
        self._rows += table.num_rows
        self._bytes += table.nbytes
        if self._rows >= _GROUP_ROWS or self._bytes >= _GROUP_BYTES:
            self._write()

    def close(self) -> None:
        """Write what waits, and the footer."""
        self._write()
        with atomic_files.naming(self._path):
            self._writer.close()

    def _write(self) -> None:
        if self._waiting:
            table = pa.concat_tables(self._waiting)
            with atomic_files.naming(self._path):
                self._writer.write_table(table, row_group_size=max(1, table.num_rows))
            self._waiting, self._rows, self._bytes = [], 0, 0
