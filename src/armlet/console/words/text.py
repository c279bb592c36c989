"""One entry of the table of words."""

from __future__ import annotations

from typing import NamedTuple


class Text(NamedTuple):
    """The same said in each language; {names} are places for values."""

    en: str
    zh: str
