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
_STAMP_AT = 4
"""Bytes before the stamp, which a message with a header begins with: those that tell the order."""

_LITTLE_ENDIAN = 1
_FORMS_KEPT = 64
# Numbers by which their places are found in a serialized message.
_POSITION, _VELOCITY = 1.2345e-67, 7.6543e-21


class _Form:
    """A JointState of certain joints, serialized but for its stamp and its numbers."""

    def __init__(self, joints: tuple[str, ...], moving: bool) -> None:
        count = len(joints)
        message = JointState(name=list(joints), position=[_POSITION] * count)
        if moving:
            message.velocity = [_VELOCITY] * count
        self._data = bytearray(serialize_message(message))
        order = "<" if self._data[1] == _LITTLE_ENDIAN else ">"
        self._stamp = struct.Struct(f"{order}iI")
        self._numbers = struct.Struct(f"{order}{count}d")
        self._position_at = self._find(_POSITION, count)
        self._velocity_at = self._find(_VELOCITY, count) if moving else 0

    def _find(self, number: float, count: int) -> int:
        return self._data.index(self._numbers.pack(*[number] * count))

    def fill(self, stamp_ns: int, position: list[float], velocity: list[float] | None) -> bytes:
        self._stamp.pack_into(self._data, _STAMP_AT, *divmod(stamp_ns, _SECOND_NS))
        self._numbers.pack_into(self._data, self._position_at, *position)
        if velocity is not None:
            self._numbers.pack_into(self._data, self._velocity_at, *velocity)
        return bytes(self._data)


def stamp_in(data: bytes) -> int:
    """The stamp, ns, of a serialized message that begins with a header."""
    order = "<" if data[1] == _LITTLE_ENDIAN else ">"
    seconds, rest_ns = struct.unpack_from(f"{order}iI", data, _STAMP_AT)
    return int(seconds * _SECOND_NS + rest_ns)


class JointStatePublisher:
    """Publishes joint states on a publisher of JointState. Of one thread."""

    def __init__(self, publisher: Any) -> None:
        self._publisher = publisher
        # Of few joints some may be fresh, all of them nearly always.
        self._forms: dict[tuple[tuple[str, ...], bool], _Form] = {}

    def publish(
        self,
        joints: Sequence[str],
        stamp_ns: int,
        position: NDArray[np.float64],
        velocity: NDArray[np.float64] | None = None,
    ) -> None:
        """Publish positions (n,), radians, and velocities (n,), rad/s, of n joints."""
        key = tuple(joints), velocity is not None
        form = self._forms.get(key)
        if form is None:
            if len(self._forms) >= _FORMS_KEPT:
                self._forms.clear()
            form = self._forms[key] = _Form(*key)
        rates = None if velocity is None else velocity.tolist()
        self._publisher.publish(form.fill(stamp_ns, position.tolist(), rates))
