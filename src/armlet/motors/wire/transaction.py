"""A request, the replies it is owed, and those that came."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from armlet.motors.wire.framing import Framing, Packet, StatusBlock


@dataclass(frozen=True, slots=True)
class Request:
    """An instruction and the replies it is owed.

    Attributes:
        packet: the instruction packet.
        ids: the servos that answer, in order.
        reply_params: number of parameters of each reply.
        framing: the protocol.
        subject: what it is about, for error messages.
        must_send: send it even if the line does not answer: its effect matters more than its reply.
        data: the packet's bytes.
        due: what intact replies look like.
    """

    packet: Packet
    ids: tuple[int, ...]
    reply_params: int
    framing: Framing
    subject: str = ""
    must_send: bool = False
    data: bytes = field(init=False, repr=False, compare=False)
    due: StatusBlock = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "data", self.framing.encode(self.packet))
        object.__setattr__(self, "due", self.framing.due(self.ids, self.reply_params))

    def __str__(self) -> str:
        return f"{self.framing.name(self.packet.code)} {self.subject}".strip()


@dataclass(slots=True)
class Answer:
    """The replies to one request.

    Attributes:
        packets: servo id -> its status packet, in the order of the request; see `block`.
        block: the bytes of all replies, if they came intact and nothing else did. `packets` is
            empty then.
        written_ns: time.monotonic_ns() when the request had been handed to the port.
        last_ns: time.monotonic_ns() of the last bytes received, or of the request.
        damaged: whether bytes came that formed no intact packet.
        echoed: whether the request itself was heard back.
    """

    packets: dict[int, Packet] = field(default_factory=dict)
    block: bytes | None = None
    written_ns: int = 0
    last_ns: int = 0
    damaged: bool = False
    echoed: bool = False

    def accept(self, packet: Packet, request: Request) -> int:
        """Takes a received packet if it answers the request. Returns how many proved to be stale.

        Servos answer in the order asked. One that seems to have answered before its turn, or twice,
        had not: that was its reply to an earlier request, and it is forgotten.
        """
        if not fits(packet, request):
            return 1
        turn = request.ids.index(packet.id)
        early = [id for id in self.packets if request.ids.index(id) >= turn]
        for id in early:
            del self.packets[id]
        self.packets[packet.id] = packet
        return len(early)

    def answered(self, request: Request) -> tuple[int, ...]:
        """The servos that answered, in the order asked."""
        return tuple(self.packets) if self.block is None else request.ids

    def complete(self, request: Request) -> bool:
        """Whether the last servo asked has answered: those before it have missed their turn.

        Its reply on its own proves nothing if others were asked first. It may be a copy of the
        reply to the request before, and theirs be still to come.
        """
        return request.ids[-1] in self.packets and len(self.packets) >= min(2, len(request.ids))


class Try(NamedTuple):
    """A request, and what has answered it so far."""

    request: Request
    answer: Answer


def fits(packet: Packet, request: Request) -> bool:
    """Whether a received packet may be a reply to the request."""
    return (
        packet.id in request.ids
        and len(packet.params) == request.reply_params
        and request.framing.may_be_reply(packet)
    )
