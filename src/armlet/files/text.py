"""Text from files and messages, made safe to print."""

from __future__ import annotations

import json
import unicodedata
from typing import Any

# A line that a person still reads.
LINE = 300
# Control characters, format characters (bidirectional overrides, zero width), lone surrogates,
# private use, line and paragraph separators: what makes a terminal do something else than show.
_HIDDEN = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))


def printable(value: object, limit: int = LINE, lines: bool = False) -> str:
    """A value's text with control characters written out (\\x1b) and its length capped.

    limit: characters kept; what follows is counted instead. lines: keep line feeds.
    """
    text = str(value)
    kept = text[:limit]
    if not kept.isascii() or not kept.isprintable():
        kept = "".join(_shown(letter, lines) for letter in kept)
    left_out = len(text) - limit
    return f"{kept}… ({left_out:,} more characters)" if left_out > 0 else kept


def printable_json(document: Any, indent: int | None = 2) -> str:
    """JSON for programs that a terminal shows as it is: hidden characters as \\u escapes."""
    text = json.dumps(document, indent=indent, ensure_ascii=False)
    if text.isascii():
        return text.replace("\x7f", "\\u007f")
    return "".join(
        letter if letter == "\n" or not _is_hidden(letter) else json.dumps(letter)[1:-1]
        for letter in text
    )


def _shown(letter: str, lines: bool) -> str:
    if not _is_hidden(letter) or (lines and letter == "\n"):
        return letter
    code = ord(letter)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else "\ufffd"


def _is_hidden(letter: str) -> bool:
    return unicodedata.category(letter) in _HIDDEN
