"""Regular expressions out of a file, matched in time that only grows with their size.

Python's `re` can take years for a short expression, and a checkpoint may come from anybody. The
ends of all matches are kept as a set instead of being tried one after the other, which gives the
same answer to "does all of the text match?". Groups, alternatives, repeats, classes and escapes of
one character are understood; what looks ahead or back is not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache

_LONGEST, _DEEPEST, _MOST_REPEATS = 4096, 32, 1000
# One character's part of an expression: an escape, a class, or itself.
_ONE = re.compile(r"\\[.\-_/^$*+?()\[\]{}|\\dwDWsS]|\[\^?\]?(?:\\.|[^\]\\])*\]|[^\\\[\](){}*+?|^$]")
_REPEAT = re.compile(r"([*+?]|\{(\d{0,4})(,?)(\d{0,4})\})\??")


@dataclass
class Budget:
    """How many steps may still be taken for all the patterns of a file."""

    left: int = 3_000_000

    def spend(self) -> None:
        """Raises ValueError when nothing is left."""
        self.left -= 1
        if self.left < 0:
            raise ValueError("the patterns take too long to match")


@dataclass
class _Walk:
    """One text that a pattern is held against, with what is known of it already."""

    text: str
    budget: Budget
    known: dict[tuple[_Part, int], frozenset[int]] = field(default_factory=dict)

    def ends(self, part: _Part, at: int) -> frozenset[int]:
        """Where all the matches of a part end that begin at `at`."""
        self.budget.spend()
        if (part, at) not in self.known:
            self.known[part, at] = part(self, at)
        return self.known[part, at]

    def next(self, part: _Part, starts: frozenset[int]) -> frozenset[int]:
        return frozenset(end for at in starts for end in self.ends(part, at))


_Part = Callable[[_Walk, int], frozenset[int]]


def matches(pattern: str, text: str, budget: Budget | None = None) -> bool:
    """Whether all of `text` matches, as re.fullmatch says.

    Raises ValueError as `check` does, and when the budget is used up.
    """
    walk = _Walk(text, budget or Budget())
    return len(text) in walk.ends(_parsed(pattern), 0)


def check(pattern: str) -> None:
    """Raise ValueError for what is no regular expression, or one that is not understood here."""
    _parsed(pattern)


@lru_cache(maxsize=256)
def _parsed(pattern: str) -> _Part:
    if len(pattern) > _LONGEST:
        raise ValueError(f"a pattern of {len(pattern)} characters, at most {_LONGEST} are read")
    ends, at = _alternatives(pattern, 0, 0)
    if at != len(pattern):
        raise ValueError(f"unexpected {pattern[at]!r} at character {at}")
    return ends


def _alternatives(pattern: str, at: int, depth: int) -> tuple[_Part, int]:
    if depth > _DEEPEST:
        raise ValueError(f"groups within more than {_DEEPEST} groups")
    parts: list[_Part] = []
    while True:
        part, at = _sequence(pattern, at, depth)
        parts.append(part)
        if pattern[at : at + 1] != "|":
            return (parts[0] if len(parts) == 1 else _any_of(tuple(parts))), at
        at += 1


def _sequence(pattern: str, at: int, depth: int) -> tuple[_Part, int]:
    parts: list[_Part] = []
    while at < len(pattern) and pattern[at] not in "|)":
        part, at = _atom(pattern, at, depth)
        if repeat := _REPEAT.match(pattern, at):
            least, most = _counts(repeat)
            part, at = _repeated(part, least, most), repeat.end()
        parts.append(part)
    return _all_of(tuple(parts)), at


def _atom(pattern: str, at: int, depth: int) -> tuple[_Part, int]:
    if pattern[at] == "(":
        at += 3 if pattern.startswith("(?:", at) else 1
        if pattern[at : at + 1] == "?":
            raise ValueError(f"a group of a special kind at character {at} is not understood")
        ends, at = _alternatives(pattern, at, depth + 1)
        if pattern[at : at + 1] != ")":
            raise ValueError("a group that is not closed")
        return ends, at + 1
    if pattern[at] in "^$":
        return (_begin if pattern[at] == "^" else _end), at + 1
    one = _ONE.match(pattern, at)
    if one is None:
        raise ValueError(f"{pattern[at : at + 10]!r} at character {at} is not understood")
    try:
        return _single(re.compile(one[0], re.DOTALL if one[0] != "." else 0)), one.end()
    except re.error as error:
        raise ValueError(str(error)) from error


def _counts(repeat: re.Match[str]) -> tuple[int, int]:
    """How often at least and at most, -1 for any number."""
    if repeat[1] in ("*", "+", "?"):
        return (1 if repeat[1] == "+" else 0), (1 if repeat[1] == "?" else -1)
    least = int(repeat[2] or 0)
    most = least if not repeat[3] else int(repeat[4] or -1)
    if not (repeat[2] or repeat[4]) or max(least, most) > _MOST_REPEATS or 0 <= most < least:
        raise ValueError(f"{repeat[1]} is not a number of repeats")
    return least, most


def _begin(walk: _Walk, at: int) -> frozenset[int]:
    return frozenset((at,)) if at == 0 else frozenset()


def _end(walk: _Walk, at: int) -> frozenset[int]:
    return frozenset((at,)) if at == len(walk.text) else frozenset()


def _single(one: re.Pattern[str]) -> _Part:
    def ends(walk: _Walk, at: int) -> frozenset[int]:
        there = at < len(walk.text) and one.fullmatch(walk.text[at]) is not None
        return frozenset((at + 1,)) if there else frozenset()

    return ends


def _any_of(parts: tuple[_Part, ...]) -> _Part:
    return lambda walk, at: frozenset(end for part in parts for end in walk.ends(part, at))


def _all_of(parts: tuple[_Part, ...]) -> _Part:
    def ends(walk: _Walk, at: int) -> frozenset[int]:
        found = frozenset((at,))
        for part in parts:
            found = walk.next(part, found)
        return found

    return ends


def _repeated(part: _Part, least: int, most: int) -> _Part:
    def ends(walk: _Walk, at: int) -> frozenset[int]:
        found = frozenset((at,))
        for _ in range(least):
            before, found = found, walk.next(part, found)
            if found == before:
                break
        times = most - least if most >= 0 else len(walk.text)
        return frozenset(_onwards(walk, part, found, times))

    return ends


def _onwards(walk: _Walk, part: _Part, found: frozenset[int], times: int) -> Iterator[int]:
    """The ends after no, one, ... and `times` more repeats."""
    seen = set(found)
    while found and times >= 0:
        yield from found
        found = walk.next(part, found) - seen
        seen |= found
        times -= 1
