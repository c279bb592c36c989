"""Who may move an arm: the nodes that publish where its driver takes commands.

ROS asks nobody who he is, so this reports, and keeps nobody out: a stranger may give his node any
name. What keeps strangers out is the discovery range, a network of one's own, or SROS 2.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from .publishers import NAMELESS, publishers_of

if TYPE_CHECKING:
    from .node import ArmletNode


class Commanders:
    """The publishers of a driver's command topics, as of the last `look`.

    Attributes:
        names: full names, sorted; those that are not known yet are left out.
    """

    def __init__(self, node: ArmletNode, topics: Sequence[str]) -> None:
        self._node, self._topics = node, topics
        self.names: list[str] = []

    def look(self) -> list[str]:
        """Look now; `topic: name` of those who were not there before."""
        before = set(self.names)
        found: dict[str, str] = {}
        for topic in self._topics:
            for name in publishers_of(self._node, self._node.resolve_topic_name(topic)):
                if name != NAMELESS:
                    found.setdefault(name, topic)
        self.names = sorted(found)
        return [f"{found[name]}: {name}" for name in self.names if name not in before]

    def strangers(self, expected: Collection[str]) -> list[str]:
        """Those who are not expected; nobody is a stranger where nobody in particular is."""
        known = {name.lstrip("/") for name in expected if name}
        return [name for name in self.names if known and name.lstrip("/") not in known]
