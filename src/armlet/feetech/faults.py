"""What can be made to go wrong on an emulated bus."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from armlet.feetech.packets import ErrorBit


@dataclass(slots=True)
class Faults:
    """Faults of servos and of the line from them to the host. Change the fields at any time.

    Counts (`*_next`) are used up one by one, before probabilities (0..1, per reply) are asked.

    Attributes:
        seed: of the dice; the same seed and traffic give the same faults.
        dead: ids of servos without power: they neither hear nor answer.
        errors: servo id -> error bits it reports in every reply and in its Status register.
        drop_next, drop_probability: replies that vanish.
        corrupt_next, corrupt_probability: replies with one byte changed.
        truncate_next, truncate_probability: replies that break off.
        noise: bytes inserted before each reply.
        delay_s: how late replies come. The line keeps its order: later replies wait as well.
    """

    seed: int = 0
    dead: set[int] = field(default_factory=set)
    errors: dict[int, ErrorBit] = field(default_factory=dict)
    drop_next: int = 0
    drop_probability: float = 0.0
    corrupt_next: int = 0
    corrupt_probability: float = 0.0
    truncate_next: int = 0
    truncate_probability: float = 0.0
    noise: bytes = b""
    delay_s: float = 0.0
    _dice: random.Random = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._dice = random.Random(self.seed)

    def damage(self, reply: bytes) -> bytes:
        """What the line makes of a reply; empty if nothing is left of it."""
        if self._strikes("drop"):
            return b""
        if self._strikes("corrupt"):
            at = self._dice.randrange(len(reply))
            changed = reply[at] ^ self._dice.randrange(1, 256)
            reply = reply[:at] + bytes((changed,)) + reply[at + 1 :]
        if self._strikes("truncate"):
            reply = reply[: self._dice.randrange(1, len(reply))]
        return self.noise + reply

    def _strikes(self, fault: str) -> bool:
        left: int = getattr(self, f"{fault}_next")
        if left > 0:
            setattr(self, f"{fault}_next", left - 1)
            return True
        probability: float = getattr(self, f"{fault}_probability")
        return probability > 0 and self._dice.random() < probability
