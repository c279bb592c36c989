"""The curve's rows as TensorBoard reads them; the package is imported where this is asked for."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .curve import Row

FOLDER = "tensorboard"
_FILES = "events.out.tfevents.*"


class Events:
    """Files of events in `folder`, whose numbers are those of the curve, under its names.

    step: the last that is done; what an earlier run wrote of later ones TensorBoard forgets. rows:
    those of the curve until then, written where there are no events yet. Raises
    ModuleNotFoundError without the package tensorboard, OSError.
    """

    def __init__(self, folder: Path, rows: Iterable[Row], step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        goes_on = any(folder.glob(_FILES))
        writer: Any = SummaryWriter
        self._writer = writer(folder, purge_step=step + 1 if goes_on else None)
        for row in () if goes_on else rows:
            self.add(row)

    def add(self, row: Row) -> None:
        """Write a row, which is on disk then, as the curve's is. Raises OSError."""
        for name, number in row.numbers.items():
            self._writer.add_scalar(name, number, row.step)
        self._writer.flush()

    def close(self) -> None:
        """No row follows."""
        self._writer.close()
