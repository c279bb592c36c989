"""What an emulated servo asks of its shaft, and of what joins several shafts.

`dynamics.Motion` is a shaft by itself, without inertia. A simulated arm gives its servos shafts
that it moves itself, all at once: `ServoBody.join`.
"""

from __future__ import annotations

import threading
from typing import Protocol

from armlet.motors.emulation.dynamics import Drive, Surroundings


class Shaft(Protocol):
    """A shaft and its motor's control loop, in actual ticks and ticks/s.

    Attributes:
        position, velocity: of the shaft.
        duty: of the motor, -1..1.
        low, high: outermost positions since `mark`.
        top_speed: fastest since `mark`, other than by `carry`.
    """

    position: float
    velocity: float
    duty: float
    low: float
    high: float
    top_speed: float

    @property
    def torque(self) -> float:
        """What the motor gives, as a share of its stall torque, -1..1."""
        ...

    def mark(self) -> None:
        """Begins again to note how far and how fast the shaft goes."""
        ...

    def stand(self, position: float) -> None:
        """The shaft is there, with nothing left to follow."""
        ...

    def carry(self, position: float, around: Surroundings, duration_s: float) -> None:
        """A hand moves the shaft there within that time, or as far as it goes."""
        ...

    def rests(self, target: float | None, drive: Drive, around: Surroundings) -> bool:
        """Whether time changes nothing under these conditions; target None: not driven."""
        ...

    def follow(
        self, target: float, drive: Drive, around: Surroundings, now_s: float, duration_s: float
    ) -> None:
        """The motor follows the target from `now_s` of the clock on for that time."""
        ...

    def fall(self, around: Surroundings, now_s: float, duration_s: float) -> None:
        """The motor is off for that time."""
        ...


class Mechanism(Protocol):
    """What joins the shafts of several servos: their time passes together.

    Attributes:
        lock: of all its servos.
    """

    lock: threading.RLock

    def advance(self, now_s: float) -> None:
        """Lets the time of all servos pass up to `now_s` of the clock, by `ServoBody.pass_step`."""
        ...
