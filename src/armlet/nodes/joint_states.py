"""Joint states as the bytes they travel in: a driver sends hundreds a second, all alike.

rclpy checks each number of a message in Python and then converts it, which costs a driver a tenth
of its time. The bytes differ from those of the message before in the stamp and the numbers only.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.serialization import serialize_message
from sensor_msgs.msg import JointState

_SECOND_NS = 1_000_000_000
_FIRST = 4
"""Bytes that tell the order of the others (CDR, OMG DDS-RTPS 10.2)."""

_STAMP_AT = _FIRST
"""A message with a header begins with the stamp."""

_LENGTH, _DOUBLE = 4, 8
"""Bytes of a length and of a number; each is aligned to its size."""

_LITTLE_ENDIAN = 1
_FORMS_KEPT = 64


class _Form:
    """A JointState of certain joints, serialized but for its stamp and its numbers."""

    def __init__(self, joints: tuple[str, ...], moving: bool, source: str) -> None:
        count = len(joints)
        message = JointState(name=list(joints), position=[0.0] * count)
        message.header.frame_id = source
        if moving:
            message.velocity = [0.0] * count
        self._data = bytearray(serialize_message(message))
        order = "<" if self._data[1] == _LITTLE_ENDIAN else ">"
        self._stamp = struct.Struct(f"{order}iI")
        self._numbers = struct.Struct(f"{order}{count}d")
        names_at = _aligned(_behind_text(_STAMP_AT + self._stamp.size, source), _LENGTH)
        behind = names_at + _LENGTH
        for joint in joints:
            behind = _behind_text(_aligned(behind, _LENGTH), joint)
        self._position_at, behind = _array(behind, count)
        self._velocity_at, behind = _array(behind, count if moving else 0)
        _, behind = _array(behind, 0)
        # What rclpy gives is as long as its estimate of the size, which readers of bags refuse.
        del self._data[behind:]

    def fill(self, stamp_ns: int, position: list[float], velocity: list[float] | None) -> bytes:
        self._stamp.pack_into(self._data, _STAMP_AT, *divmod(stamp_ns, _SECOND_NS))
        self._numbers.pack_into(self._data, self._position_at, *position)
        if velocity is not None:
            self._numbers.pack_into(self._data, self._velocity_at, *velocity)
        return bytes(self._data)


def _aligned(place: int, size: int) -> int:
    """Where a value of this size begins: aligned from the end of the first four bytes."""
    return _FIRST + -(-(place - _FIRST) // size) * size


def _behind_text(place: int, text: str) -> int:
    """The place behind a text: its length, its bytes and a zero."""
    return place + _LENGTH + len(text.encode()) + 1


def _array(place: int, count: int) -> tuple[int, int]:
    """Where the numbers of an array of doubles begin, and the place behind it."""
    begin = _aligned(place, _LENGTH) + _LENGTH
    if not count:
        return begin, begin
    begin = _aligned(begin, _DOUBLE)
    return begin, begin + _DOUBLE * count


class JointStatePublisher:
    """Publishes joint states on a publisher of JointState. Of one thread."""

    def __init__(self, publisher: Any) -> None:
        self._publisher = publisher
        # Of few joints some may be fresh, all of them nearly always.
        self._forms: dict[tuple[tuple[str, ...], bool, str], _Form] = {}

    def publish(
        self,
        joints: Sequence[str],
        stamp_ns: int,
        position: NDArray[np.float64],
        velocity: NDArray[np.float64] | None = None,
        source: str = "",
    ) -> None:
        """Publish positions (n,), radians, and velocities (n,), rad/s, of n joints.

        source: who commanded them, for the header's frame_id (`align.CommandSource`).
        """
        key = tuple(joints), velocity is not None, source
        form = self._forms.get(key)
        if form is None:
            if len(self._forms) >= _FORMS_KEPT:
                self._forms.clear()
            form = self._forms[key] = _Form(*key)
        rates = None if velocity is None else velocity.tolist()
        self._publisher.publish(form.fill(stamp_ns, position.tolist(), rates))
