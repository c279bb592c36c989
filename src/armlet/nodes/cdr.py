"""A trajectory read from the bytes it travels in, and judged by its length before it is parsed.

rclpy makes a Python object of every number of a message before anybody can refuse it, and lets no
other thread of the process run meanwhile: 42 s for a million points.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from std_msgs.msg import Header

from .stamps import to_time

MAX_POINTS = 10_000
MAX_JOINTS = 64
MAX_NAME_BYTES = 256
_HEADER_BYTES = 4
_BIG_ENDIAN, _LITTLE_ENDIAN = b"\x00\x00", b"\x00\x01"
_SECOND_NS = 1_000_000_000


class CdrError(ValueError):
    """Bytes that are no message of the type, or one that is too long."""


@dataclass(frozen=True)
class TrajectoryMessage:
    """A JointTrajectory's header, joint names, and positions (k, n) at times_s (k,)."""

    header: Header
    joint_names: tuple[str, ...]
    times_s: NDArray[np.float64]
    positions: NDArray[np.float64]


class _Reader:
    """Reads plain CDR (XCDR1), whose items are aligned to their own size from the body's start."""

    def __init__(self, data: bytes) -> None:
        kind = data[:2]
        if kind not in (_BIG_ENDIAN, _LITTLE_ENDIAN):
            raise CdrError(f"expected plain CDR, found representation {kind.hex()}")
        self._order = "<" if kind == _LITTLE_ENDIAN else ">"
        self._body = memoryview(data)[_HEADER_BYTES:]
        self._at = 0
        self._pair = struct.Struct(f"{self._order}iI")
        self._count = struct.Struct(f"{self._order}I")

    def pair(self) -> tuple[int, int]:
        """A Time or a Duration: seconds and nanoseconds."""
        found: tuple[int, int] = self._pair.unpack_from(self._body, self._align(4))
        self._at += 8
        return found

    def count(self, what: str, most: int) -> int:
        """The length of a sequence. CdrError if it is more than may be."""
        (count,) = self._count.unpack_from(self._body, self._align(4))
        self._at += 4
        if count > most:
            raise CdrError(f"{count} {what}, at most {most} are accepted")
        return int(count)

    def text(self) -> str:
        size = self.count("bytes in a name", MAX_NAME_BYTES)
        data = bytes(self._body[self._at : self._at + size])
        if len(data) < size:
            raise CdrError(f"a name of {size} bytes is cut off after {len(data)}")
        self._at += size
        return data.rstrip(b"\0").decode("utf-8", "replace")

    def numbers(self) -> NDArray[np.float64]:
        """A sequence of doubles."""
        count = self.count("numbers in a point", MAX_JOINTS)
        if not count:
            return np.empty(0)
        start = self._align(8)
        self._at += 8 * count
        return np.frombuffer(self._body, f"{self._order}f8", count, start)

    def _align(self, size: int) -> int:
        self._at += -self._at % size
        return self._at


def read_trajectory(data: bytes) -> TrajectoryMessage:
    """A serialized trajectory_msgs/JointTrajectory.

    Raises CdrError if it has more than MAX_POINTS points or MAX_JOINTS joints, if its points differ
    in their number of positions, if a time is none, and if the bytes are no such message.
    """
    try:
        return _read(_Reader(data))
    except (struct.error, ValueError) as error:
        if isinstance(error, CdrError):
            raise
        raise CdrError(f"not a JointTrajectory of {len(data)} bytes: {error}") from error


def _read(reader: _Reader) -> TrajectoryMessage:
    stamp_ns = _nanoseconds("stamp", *reader.pair())
    frame_id = reader.text()
    names = tuple([reader.text() for _ in range(reader.count("joint names", MAX_JOINTS))])
    count = reader.count("points", MAX_POINTS)
    times_s, rows = np.empty(count), np.empty((count, len(names)))
    for index in range(count):
        row = reader.numbers()
        if len(row) != len(names):
            raise CdrError(
                f"every point needs {len(names)} positions, one for each joint name; point {index} "
                f"has {len(row)}"
            )
        for _ in ("velocities", "accelerations", "effort"):
            reader.numbers()
        rows[index] = row
        times_s[index] = _nanoseconds("time_from_start", *reader.pair()) / _SECOND_NS
    header = Header(stamp=to_time(stamp_ns), frame_id=frame_id)
    return TrajectoryMessage(header, names, times_s, rows)


def _nanoseconds(what: str, seconds: int, nanoseconds: int) -> int:
    if nanoseconds >= _SECOND_NS:
        raise CdrError(f"{what} has {nanoseconds} nanoseconds, expected less than {_SECOND_NS}")
    return seconds * _SECOND_NS + nanoseconds
