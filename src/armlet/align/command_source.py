"""Who commanded an arm at an instant, as it travels in the header of what was commanded."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from .joints import JointPart

_MARK = re.compile(r"[0-9a-f]{16}")
_CONTINUED = "/continued"
UNTIL_HANDED_BACK = "until_handed_back"
"""In the header of a joint command, alone or before a slash and a mark: whoever commands keeps the
arm until it hands it back, by one that says so and names no joint."""
_LONGEST_MARK = 64


class Commander(enum.IntEnum):
    """Who it was. The numbers are stored.

    UNKNOWN: nobody said. HOLD: nobody, the arm held. PERSON: joint commands. TRAJECTORY: a
    trajectory, of a policy or of another program.
    """

    UNKNOWN = 0
    HOLD = 1
    PERSON = 2
    TRAJECTORY = 3


_TEXTS = {
    Commander.UNKNOWN: "",
    Commander.HOLD: "hold",
    Commander.PERSON: "joint_commands",
    Commander.TRAJECTORY: "joint_trajectory",
}
_COMMANDERS = {text: commander for commander, text in _TEXTS.items()}


@dataclass(frozen=True)
class CommandSource:
    """Who commanded; of a trajectory the mark of its sender, empty if it had none."""

    commander: Commander = Commander.UNKNOWN
    policy: str = ""

    def __str__(self) -> str:
        """As `parse` reads it: `hold`, `joint_commands`, `joint_trajectory/0123456789abcdef`."""
        text = _TEXTS[self.commander]
        return f"{text}/{self.policy}" if self.policy else text


UNKNOWN = CommandSource()


def policy_mark(text: str) -> str:
    """A policy's mark, 16 hexadecimal digits; empty for any other text."""
    return text if _MARK.fullmatch(text) else ""


@dataclass(frozen=True)
class Origin:
    """Who sent a trajectory, as it travels in the header of it.

    mark: of a policy's provenance, or of a replay; empty if it does not say. continues: it is the
    next piece of what the same sender has in play, and nothing where that has ended.
    """

    mark: str = ""
    continues: bool = False

    def __str__(self) -> str:
        """As `origin` reads it: `0123456789abcdef`, `0123456789abcdef/continued`."""
        return self.mark + (_CONTINUED if self.continues else "")


def origin(text: str) -> Origin:
    """The origin that a text names; none for any text that no program of ours writes."""
    mark = policy_mark(text.removesuffix(_CONTINUED))
    return Origin(mark, bool(mark) and text.endswith(_CONTINUED))


def keeping(mark: str) -> str:
    """The header of a joint command of one that keeps the arm. mark: tells it from others."""
    return f"{UNTIL_HANDED_BACK}/{mark}"


def keeps(text: str) -> bool:
    """Whether the header of a joint command says that its sender keeps the arm."""
    return text == UNTIL_HANDED_BACK or text.startswith(f"{UNTIL_HANDED_BACK}/")


def mark_of(text: str) -> str:
    """What tells a joint command's sender from others: its header, of which others may be long."""
    return text[:_LONGEST_MARK]


@lru_cache(maxsize=64)
def parse(text: str) -> CommandSource:
    """The source that a text names: UNKNOWN for any text that no driver of ours writes."""
    name, slash, mark = text.partition("/")
    commander = _COMMANDERS.get(name, Commander.UNKNOWN)
    if not slash:
        return CommandSource(commander)
    known = commander is Commander.TRAJECTORY and policy_mark(mark)
    return CommandSource(commander, mark) if known else UNKNOWN


def of_parts(parts: Iterable[JointPart], origins: Mapping[str, CommandSource]) -> CommandSource:
    """Who commanded a frame's vector. origins: of its samples by stream (`Frame.origins`)."""
    return merged(origins.get(part.stream, UNKNOWN) for part in parts)


def merged(sources: Iterable[CommandSource]) -> CommandSource:
    """Who commanded several arms at once.

    A person who commands one of them; else unknown if one is; else what moves one of them. Of two
    policies neither is named.
    """
    found = set(sources)
    by_commander = {source.commander: source for source in found}
    for commander in (Commander.PERSON, Commander.UNKNOWN, Commander.TRAJECTORY):
        if commander in by_commander:
            same = [source for source in found if source.commander is commander]
            return same[0] if len(same) == 1 else CommandSource(commander)
    return by_commander.get(Commander.HOLD, UNKNOWN)
