"""What can go wrong on a servo bus."""

from __future__ import annotations

from armlet.motors.feetech.packets import ErrorBit

_TEXTS = {
    ErrorBit.VOLTAGE: "supply voltage out of range",
    ErrorBit.ENCODER: "position sensor fault",
    ErrorBit.TEMPERATURE: "overheated",
    ErrorBit.CURRENT: "over-current",
    ErrorBit.OVERLOAD: "overload",
}


def describe(bits: ErrorBit) -> str:
    """The error bits in words, joined by commas; "no error" for none."""
    known = [text for bit, text in _TEXTS.items() if bit in bits]
    unknown = int(bits) & ~sum(_TEXTS)
    if unknown:
        known.append(f"undocumented error bits 0x{unknown:02x}")
    return ", ".join(known) or "no error"


class BusError(Exception):
    """Base of everything a servo bus raises, bad arguments (ValueError) aside."""


class PortError(BusError):
    """The serial port could not be opened, or was lost while in use."""


class NoReply(BusError):
    """No status packet came in time. Whether the instruction was carried out is unknown."""


class CorruptReply(BusError):
    """Bytes came, but no intact status packet: noise, or two servos answering at once."""


class ServoError(BusError):
    """The servo answered with error bits set. It did receive and carry out the instruction.

    Attributes:
        servo_id: the servo that answered.
        bits: the error byte of its status packet.
    """

    def __init__(self, servo_id: int, bits: ErrorBit, doing: str) -> None:
        super().__init__(f"servo {servo_id} reports {describe(bits)} (answering {doing})")
        self.servo_id = servo_id
        self.bits = bits
