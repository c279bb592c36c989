"""Emulated servos as the joints of an SO-101: mechanical ranges, horn positions, a guiding hand."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable

from armlet.motors.emulation.body import ServoBody
from armlet.motors.protocol import TICKS_PER_TURN

_SPANS = {1: 2504, 2: 2272, 3: 2194, 4: 2152, 5: None, 6: 1174}
"""Servo id -> ticks from one mechanical stop of an SO-101's joint to the other; None: no stops."""

_OTHER_SPAN = 2000
_FREE_SWEEP = 3900
_SWEEP_S = 8.0


def mount(servo: ServoBody, middle: float, span: float | None) -> None:
    """Makes the servo a joint: the shaft in its middle (actual ticks), stops half a span away."""
    servo.actual = middle
    servo.stops = None if span is None else (middle - span / 2, middle + span / 2)


def mount_at_random(servos: Iterable[ServoBody], seed: int) -> None:
    """Mounts each servo with its horn put on anyhow: any encoder reading may be the middle."""
    dice = random.Random(seed)
    for servo in servos:
        mount(servo, dice.randrange(TICKS_PER_TURN), span_of(servo.id))


def span_of(id: int) -> int | None:
    """Ticks between the stops of the joint with that servo id on an SO-101; None: no stops."""
    return _SPANS.get(id, _OTHER_SPAN)


class SweepingHand:
    """A hand that does an operator's part in a calibration, for `ServoBody.hand`.

    It holds the joint in the middle, or moves it from stop to stop, over and over.

    Args:
        servo: mounted; the middle between its stops is the middle, or where it stands.

    Attributes:
        sweeping: whether it moves.
    """

    def __init__(self, servo: ServoBody) -> None:
        self.sweeping = False
        if servo.stops is None:
            self._middle = servo.actual
            self._reach = _FREE_SWEEP / 2
        else:
            self._middle = sum(servo.stops) / 2
            self._reach = (servo.stops[1] - servo.stops[0]) / 2
        self._begun_s: float | None = None

    def __call__(self, now_s: float) -> float:
        """Actual ticks at a time of the servo's clock."""
        if not self.sweeping:
            self._begun_s = None
            return self._middle
        if self._begun_s is None:
            self._begun_s = now_s
        angle = 2 * math.pi * (now_s - self._begun_s) / _SWEEP_S
        return self._middle + self._reach * math.sin(angle)
