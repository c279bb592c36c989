"""What the console says, by code, in English and Simplified Chinese: one table of words.

Each module of this package is a part of it, with `TEXTS`; a page's part has the page's name.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
import re
from dataclasses import dataclass
from enum import StrEnum

from .text import Text as Text


class Language(StrEnum):
    """Languages by their HTML name."""

    EN = "en-US"
    ZH = "zh-CN"


_WISH = re.compile(
    r"\s*([A-Za-z]{1,8})(?:-[A-Za-z0-9-]{1,35})?\s*(?:;\s*q=([01](?:\.\d{0,3})?)\s*)?"
)
_LONGEST = 1000


def language_of(choice: str, accepted: str) -> Language:
    """The person's choice if it is a language; else what the browser asks for; else English.

    accepted: the header Accept-Language.
    """
    if choice in Language.__members__.values():
        return Language(choice)
    wishes: list[tuple[float, str]] = []
    for part in accepted[:_LONGEST].split(","):
        if found := _WISH.fullmatch(part):
            wishes.append((float(found[2] or 1), found[1].lower()))
    for _, name in sorted(wishes, key=lambda wish: -wish[0]):  # equal ones stay in their order
        if name in ("en", "zh"):
            return Language[name.upper()]
    return Language.EN


@functools.cache
def table() -> dict[str, Text]:
    """The whole table. Raises ValueError for a code that two parts have."""
    found: dict[str, Text] = {}
    for part in pkgutil.iter_modules(__path__):
        texts: dict[str, Text] = getattr(
            importlib.import_module(f"{__name__}.{part.name}"), "TEXTS", {}
        )
        if twice := found.keys() & texts.keys():
            raise ValueError(f"words: expected each code once, found {sorted(twice)} twice")
        found |= texts
    return found


@dataclass(frozen=True)
class Words:
    """The table in one language."""

    language: Language

    def __call__(self, code: str, **values: object) -> str:
        """The words of a code, with values in its {places}. Raises KeyError for an unknown one."""
        text = table()[code]
        said = text.zh if self.language is Language.ZH else text.en
        return said.format(**values) if values else said
