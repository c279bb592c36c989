"""How far other computers' clocks are ahead of this one's, from what their nodes say to each other.

Each node says, again and again, when it sends that, and of every node of another computer what it
heard of it last: when that was sent, by the other's clock, and when it came, by its own. Whoever
finds itself in what it hears knows the four times of a round trip, as NTP does, and from them two
bounds that surely hold the offset, however long either was not run and however the network delays:
nothing comes before it was sent. Computers are told apart by their boot: on one computer, and in
all of its containers, there is one clock, and nothing to compare.
"""

from __future__ import annotations

import math
import re
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from armlet.files import read_versioned, write_versioned

VERSION = 1
LONGEST = 32_768
"""Characters of what a node says, of MOST nodes by the longest names; the rest is not heard."""

MOST = 64
ANSWER_S = 0.5
"""A node is answered at once no more often; what all are told comes to it anyway."""

FORGET_S = 10.0
"""A node that is silent for longer is gone, and its clock nobody's affair."""

_KEPT = 10
_NAME = re.compile(r"[\w/]{0,256}", re.ASCII)
_COMPUTER = re.compile(r"\w{0,64}", re.ASCII)
_LONGEST_HOST = 256
_LATEST_NS = 2**63


class Node(NamedTuple):
    """Who speaks. computer: tells it from all others; host: its name, for people."""

    name: str
    computer: str
    host: str = ""

    @property
    def key(self) -> str:
        return f"{self.computer}{self.name}"


@dataclass(frozen=True)
class Offset:
    """How far another clock is ahead of this one: surely between two bounds, ns."""

    low_ns: int
    high_ns: int

    @property
    def estimate_s(self) -> float:
        """The middle of the bounds, s: right where both ways take equally long."""
        return (self.low_ns + self.high_ns) * 0.5e-9

    @property
    def uncertainty_s(self) -> float:
        """The offset is off the estimate by so much at most, s."""
        return (self.high_ns - self.low_ns) * 0.5e-9

    def beyond(self, limit_s: float) -> bool:
        """Whether the clocks surely differ by more than that."""
        limit_ns = limit_s * 1e9
        return self.low_ns > limit_ns or self.high_ns < -limit_ns

    def __str__(self) -> str:
        ahead = "ahead of" if self.estimate_s > 0 else "behind"
        return f"{_digits(self)} s {ahead}"


def _digits(offset: Offset) -> str:
    return f"{abs(offset.estimate_s):.3f} (±{offset.uncertainty_s:.3f})"


class Bounds:
    """The bounds of one offset, from the newest round trips. All times are ns."""

    def __init__(self) -> None:
        self._trips: deque[Offset] = deque(maxlen=_KEPT)
        self.offset: Offset | None = None

    def note(self, asked_ns: int, heard_ns: int, said_ns: int, came_ns: int) -> None:
        """A round trip: asked and came by this clock, heard and said by the other."""
        trip = Offset(said_ns - came_ns, heard_ns - asked_ns)
        if trip.low_ns > trip.high_ns:
            # A clock was set meanwhile. That says nothing of how far it is off now: whoever waits
            # for it to be right waits for the next trip.
            self._trips.clear()
            return
        self._trips.append(trip)
        common = _common(self._trips)
        if common is None:
            # A clock was set, or is being led back: what was measured before is of no use.
            self._trips.clear()
            self._trips.append(trip)
        self.offset = common or trip


def _common(trips: Iterable[Offset]) -> Offset | None:
    low_ns = max(trip.low_ns for trip in trips)
    high_ns = min(trip.high_ns for trip in trips)
    return Offset(low_ns, high_ns) if low_ns <= high_ns else None


@dataclass
class _Peer:
    node: Node
    said_ns: int
    came_ns: int
    heard_s: float
    answered_s: float = -math.inf
    bounds: Bounds = field(default_factory=Bounds)


class Exchange:
    """What one node says and hears. now_ns: its clock, Unix time; at_s: a steady clock, s."""

    def __init__(self, own: Node) -> None:
        self._own = own
        self._peers: dict[str, _Peer] = {}

    def say(self, now_ns: int) -> str:
        """What to send now."""
        heard = {key: [peer.said_ns, peer.came_ns] for key, peer in self._peers.items()}
        name, computer, host = self._own
        said = {"node": name, "computer": computer, "host": host}
        return write_versioned(VERSION, {**said, "sent_ns": now_ns, "heard": heard})

    def hear(self, text: str, now_ns: int, at_s: float) -> bool:
        """Take what another node says; whether it is to be answered at once.

        Raises ValueError for what no node says.
        """
        self._forget(at_s)
        node, sent_ns, heard = _parsed(text)
        if node.computer == self._own.computer:
            return False
        peer = self._peers.get(node.key)
        is_new = peer is None
        if peer is None:
            if len(self._peers) >= MOST:
                return False
            peer = self._peers[node.key] = _Peer(node, sent_ns, now_ns, at_s)
        peer.said_ns, peer.came_ns, peer.heard_s = sent_ns, now_ns, at_s
        mine = heard.get(self._own.key)
        if mine is not None:
            peer.bounds.note(mine[0], mine[1], sent_ns, now_ns)
        # Who does not know of this node yet can measure nothing.
        answers = (is_new or mine is None) and at_s - peer.answered_s >= ANSWER_S
        if answers:
            peer.answered_s = at_s
        return answers

    def offsets(self, names: Iterable[str], at_s: float) -> dict[Node, Offset]:
        """Of those of some nodes that run on other computers, as far as it was measured."""
        self._forget(at_s)
        wanted = set(names)
        return {
            peer.node: peer.bounds.offset
            for peer in self._peers.values()
            if peer.node.name in wanted and peer.bounds.offset is not None
        }

    def alone(self, at_s: float) -> bool:
        """Whether no node of another computer is heard."""
        self._forget(at_s)
        return not self._peers

    def _forget(self, at_s: float) -> None:
        for key in [k for k, peer in self._peers.items() if at_s - peer.heard_s > FORGET_S]:
            del self._peers[key]


def trouble(offsets: dict[Node, Offset], limit_s: float) -> str:
    """What is wrong with the clocks, in words; empty where none surely differs by more than that.

    offsets: of other computers' clocks to this one's.
    """
    beyond = {node: offset for node, offset in offsets.items() if offset.beyond(limit_s)}
    if not beyond:
        return ""
    node, offset = max(beyond.items(), key=lambda item: abs(item[1].estimate_s))
    return (
        f"the clock of {node.host or 'another computer'} ({node.name}) is {offset} this "
        f"computer's, at most {limit_s:.3f} s (a frame) is usable; synchronise both (chrony)"
    )


def _parsed(text: str) -> tuple[Node, int, dict[str, tuple[int, int]]]:
    _, said = read_versioned(text, "a node's clock", (VERSION,), LONGEST)
    node = _node(said)
    heard = said.get("heard")
    if not isinstance(heard, dict) or len(heard) > MOST:
        raise ValueError(f"clocks with more than {MOST} nodes heard, or none stated")
    times = {key: _pair(value) for key, value in heard.items()}
    return node, _time(said.get("sent_ns")), times


def _node(said: dict[str, object]) -> Node:
    name, computer, host = (said.get(key) for key in ("node", "computer", "host"))
    if not (
        (isinstance(name, str) and _NAME.fullmatch(name))
        and (isinstance(computer, str) and _COMPUTER.fullmatch(computer))
        and (isinstance(host, str) and len(host) <= _LONGEST_HOST and host.isprintable())
    ):
        raise ValueError("clocks without a node, computer and host")
    return Node(name, computer, host)


def _pair(value: object) -> tuple[int, int]:
    if not isinstance(value, list) or len(value) != 2:
        raise ValueError("clocks: two times expected of each node heard")
    return _time(value[0]), _time(value[1])


def _time(value: object) -> int:
    if type(value) is not int or not 0 <= value < _LATEST_NS:
        raise ValueError("clocks: a time in nanoseconds expected")
    return value


def shown(offset: Offset) -> str:
    """For programs: `+0.5012 ± 0.0004`, s."""
    return f"{offset.estimate_s:+.4f} ± {math.ceil(offset.uncertainty_s * 1e4) * 1e-4:.4f}"
