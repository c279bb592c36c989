"""Tables: drawn for people, tab-separated for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from armlet.files import printable

_LONGEST = 100_000

Row = tuple[Sequence[str], str]
"""The cells of a row, and the style it is drawn in."""


def show_table(
    console: Console,
    columns: Sequence[str],
    rows: Sequence[Row],
    widest: Mapping[str, int] | None = None,
) -> None:
    """Prints the rows under their columns' names.

    In a terminal as a table: columns whose name ends with ">" are aligned right, the last one and
    those that `widest` bounds are wrapped between words, the others are as wide as they need be.
    Otherwise one line a row, cells separated by tabs, the names in the first line, nothing cut.
    """
    names = [column.removesuffix(">") for column in columns]
    if not console.is_terminal:
        for cells in (names, *(cells for cells, _ in rows)):
            print("\t".join(map(printable, cells)), file=console.file)
        return
    bounds = widest or {}
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="name")
    for name, column in zip(names, columns, strict=True):
        table.add_column(
            name,
            justify="right" if column.endswith(">") else "left",
            no_wrap=name != names[-1] and name not in bounds,
            max_width=bounds.get(name),
            overflow="ellipsis",
        )
    for cells, style in rows:
        table.add_row(*(escape(printable(cell)) for cell in cells), style=style)
    console.print(table)


def say(console: Console, text: str, style: str = "") -> None:
    """One line, wrapped only in a terminal. Square brackets in it are text, not markup."""
    text = printable(text, _LONGEST, lines=True)
    console.print(text, style=style, markup=False, soft_wrap=not console.is_terminal)
