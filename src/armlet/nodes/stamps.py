"""Stamps of messages: nanoseconds since 1970, or of simulated time."""

from __future__ import annotations

from builtin_interfaces.msg import Time

_SECOND_NS = 1_000_000_000


def to_time(stamp_ns: int) -> Time:
    return Time(sec=stamp_ns // _SECOND_NS, nanosec=stamp_ns % _SECOND_NS)


def to_ns(stamp: Time) -> int:
    return int(stamp.sec * _SECOND_NS + stamp.nanosec)


def valid(stamp: Time) -> bool:
    """Whether it is a time since 1970: a stamp has less than a second of nanoseconds."""
    return bool(stamp.sec >= 0 and stamp.nanosec < _SECOND_NS)
