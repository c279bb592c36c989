"""PyAV's rates and time bases as fractions, whatever its release makes of them.

Up to release 18 they are `Fraction`, or None where a file does not say. Since 19 they are PyAV's
own `AVRational`: `int()` refuses it, its arithmetic rounds to 32 bits, and 0/1 stands for None.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from .errors import VideoError


def time_base(stream: Any) -> Fraction:
    """Seconds in one unit of a stream's stamps. Raises VideoError if the file does not say."""
    return _stated(stream, stream.time_base, "time base")


def picture_rate(stream: Any) -> Fraction:
    """A stream's own pictures per second. Raises VideoError if the file does not say."""
    return _stated(stream, stream.base_rate, "picture rate")


def _stated(stream: Any, value: Any, name: str) -> Fraction:
    if value is None or not (value.numerator and value.denominator):
        raise VideoError(
            f"video {stream.container.name} states no {name}: write it again with a complete header"
        )
    return Fraction(value.numerator, value.denominator)
