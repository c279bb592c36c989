"""What can be made to go wrong on an emulated bus."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from armlet.motors.protocol import Alarm


@dataclass(slots=True)
class Faults:
    """Faults of servos, of the line in both directions, and of the adapter.

    Change the fields at any time. Counts (`*_next`) are used up one by one, before probabilities
    (0..1, for each packet) are asked. Damage is done to bytes: a servo or a program finds out by
    itself what is left of a packet.

    Attributes:
        seed: of the dice; the same seed and traffic give the same faults.
        dead: ids of servos without power: they neither hear nor answer.
        errors: servo id -> alarms it reports in every reply and in its Status register.
        request_drop_next, request_drop_probability: instructions that no servo hears.
        request_corrupt_next, request_corrupt_probability: instructions with one byte changed.
        miss_next, miss_probability: instructions that one servo does not hear, while others do;
            asked for each servo.
        drop_next, drop_probability: replies that vanish.
        corrupt_next, corrupt_probability: replies with one byte changed.
        flip_next, flip_probability: replies with one bit changed.
        truncate_next, truncate_probability: replies that break off.
        duplicate_next, duplicate_probability: replies that come twice.
        noise: bytes inserted before each reply.
        noise_next, noise_probability: replies with 1..noise_bytes random bytes before or after.
        noise_bytes: the most random bytes in one place.
        delay_s: how late replies come. The line keeps its order: later replies wait as well.
        delay_jitter_s: up to so much later still.
        delay_probability: share of replies that are late; all, by default.
        usb_latency_s: the adapter collects received bytes until so long after the first of them,
            or until it has 62: an FTDI chip's latency timer, 16 ms unless a program changes it.
        echo: the adapter receives what the host sends, as simple half-duplex adapters do.
        hang_up_after_bytes: the adapter is unplugged when that many more bytes have gone to the
            host, in the middle of a packet or before the next one. None again once it has happened.
    """

    seed: int = 0
    dead: set[int] = field(default_factory=set)
    errors: dict[int, Alarm] = field(default_factory=dict)
    request_drop_next: int = 0
    request_drop_probability: float = 0.0
    request_corrupt_next: int = 0
    request_corrupt_probability: float = 0.0
    miss_next: int = 0
    miss_probability: float = 0.0
    drop_next: int = 0
    drop_probability: float = 0.0
    corrupt_next: int = 0
    corrupt_probability: float = 0.0
    flip_next: int = 0
    flip_probability: float = 0.0
    truncate_next: int = 0
    truncate_probability: float = 0.0
    duplicate_next: int = 0
    duplicate_probability: float = 0.0
    noise: bytes = b""
    noise_next: int = 0
    noise_probability: float = 0.0
    noise_bytes: int = 8
    delay_s: float = 0.0
    delay_jitter_s: float = 0.0
    delay_probability: float = 1.0
    usb_latency_s: float = 0.0
    echo: bool = False
    hang_up_after_bytes: int | None = None
    _dice: random.Random = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._dice = random.Random(self.seed)

    def damage_request(self, request: bytes) -> bytes:
        """What of an instruction reaches the servos; empty if nothing does."""
        if self._strikes("request_drop"):
            return b""
        return self._corrupt(request) if self._strikes("request_corrupt") else request

    def misses(self) -> bool:
        """Whether the servo asked about does not hear the instruction in progress."""
        return self._strikes("miss")

    def damage(self, reply: bytes) -> bytes:
        """What the line makes of a reply; empty if nothing is left of it."""
        if self._strikes("drop"):
            return b""
        if self._strikes("corrupt"):
            reply = self._corrupt(reply)
        if self._strikes("flip"):
            reply = _change(reply, self._dice.randrange(len(reply)), 1 << self._dice.randrange(8))
        if self._strikes("truncate"):
            reply = reply[: self._dice.randrange(1, len(reply))]
        if self._strikes("duplicate"):
            reply += reply
        if self._strikes("noise"):
            noise = self._dice.randbytes(self._dice.randint(1, self.noise_bytes))
            reply = noise + reply if self._dice.random() < 0.5 else reply + noise
        return self.noise + reply

    def lateness_s(self) -> float:
        """By how much the next reply is late."""
        if not self.delay_s and not self.delay_jitter_s:
            return 0.0
        if self.delay_probability < 1 and self._dice.random() >= self.delay_probability:
            return 0.0
        return self.delay_s + self._dice.random() * self.delay_jitter_s

    def bits_apart(self) -> int:
        """By how many bits two servos that answer at once miss each other: never none."""
        return self._dice.randint(1, 9)

    def _corrupt(self, packet: bytes) -> bytes:
        return _change(packet, self._dice.randrange(len(packet)), self._dice.randrange(1, 256))

    def _strikes(self, fault: str) -> bool:
        left: int = getattr(self, f"{fault}_next")
        if left > 0:
            setattr(self, f"{fault}_next", left - 1)
            return True
        probability: float = getattr(self, f"{fault}_probability")
        return probability > 0 and self._dice.random() < probability


def _change(packet: bytes, at: int, bits: int) -> bytes:
    return packet[:at] + bytes((packet[at] ^ bits,)) + packet[at + 1 :]
