"""What an arm reports about itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from armlet.motors.protocol import Alarm
from armlet.robots.units import Vector

Feedback = Literal["state", "full"]
"""What every cycle reads of every servo: position and velocity, or all of its readings."""

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class JointSample:
    """The joints (n,) as last read; `fresh` says which of them in this very reading.

    A joint that did not answer keeps its last values with their own time; one that never did is
    NaN. Publish nothing that is not fresh.

    Attributes:
        stamp_ns: Unix time of this reading.
        position: radians.
        velocity: rad/s.
        fresh: whether the joint answered this reading.
        stamps_ns: Unix time of each joint's own values; 0 if it never answered.
        load: share of full torque, -1..1, signed as the velocity; None unless feedback is "full".
    """

    stamp_ns: int
    position: Vector
    velocity: Vector
    fresh: Mask
    stamps_ns: NDArray[np.int64]
    load: Vector | None = None

    @property
    def complete(self) -> bool:
        """Whether every joint answered."""
        return bool(self.fresh.all())


@dataclass(frozen=True, slots=True)
class JointTelemetry:
    """One servo's other readings.

    Attributes:
        stamp_ns: Unix time.
        load: share of full torque, -1..1.
        voltage_v, temperature_c, current_a: supply, inside, motor (None: it does not measure it).
        moving: whether it says that it moves.
        status: alarms of its status register and of its reply.
        torque_enabled, torque_limit: as it holds them (limit: share of full torque); None until
            they have been read.
    """

    stamp_ns: int
    load: float
    voltage_v: float
    temperature_c: float
    current_a: float | None
    moving: bool
    status: Alarm
    torque_enabled: bool | None = None
    torque_limit: float | None = None
