"""How an emulated servo grows hot, protects itself, and draws on its supply."""

from __future__ import annotations

import math
from dataclasses import dataclass

from armlet.motors.protocol import Alarm

AMBIENT_C = 30.0
_RUNNING_WARMING_C = 35.0
_STALL_WARMING_C = 160.0
"""Above ambient, in the end: at no-load speed, and stalled at full duty. With the time constant, a
stalled motor goes from 30 to 70 degC in a minute and a half."""

_THERMAL_S = 300.0
_ROUNDING_S = 1e-6


class Heat:
    """The motor's temperature.

    Attributes:
        celsius: now.
    """

    def __init__(self) -> None:
        self.celsius = AMBIENT_C

    def warm(self, torque: float, speed: float, duration_s: float) -> None:
        """Lets time pass at shares of stall torque and no-load speed.

        A motor reaches no more than the whole of either, even where a hand jerks its shaft.
        """
        torque, speed = min(abs(torque), 1.0), min(abs(speed), 1.0)
        warming_c = _STALL_WARMING_C * torque * torque + _RUNNING_WARMING_C * speed * speed
        share = -math.expm1(-duration_s / _THERMAL_S)
        self.celsius += (AMBIENT_C + warming_c - self.celsius) * share


class Supply:
    """A power supply that servos share: its voltage sags with what all of them draw.

    A servo's share counts as of when it was last looked at.

    Args:
        volts: without a load.
        ohms: of the supply and the cables.
    """

    def __init__(self, volts: float, ohms: float = 0.0) -> None:
        self.volts = volts
        self.ohms = ohms
        self._draws: dict[object, float] = {}

    @property
    def terminal_volts(self) -> float:
        """What is left of it at the servos."""
        if not self.ohms:
            return self.volts
        return max(0.0, self.volts - self.ohms * sum(tuple(self._draws.values())))

    def draw(self, consumer: object, amperes: float) -> None:
        """What one consumer takes from now on."""
        self._draws[consumer] = amperes


@dataclass(frozen=True, slots=True)
class Limits:
    """When overload and over-current protection act: share of full duty, amperes, seconds."""

    duty: float
    duty_s: float
    amperes: float
    amperes_s: float


class Protection:
    """Overload and over-current states: entered when a limit is exceeded for its time, then kept.

    Attributes:
        latched: which of the two states it is in.
    """

    def __init__(self) -> None:
        self.latched = Alarm.NONE
        self._overload_s = 0.0
        self._current_s = 0.0

    def clear(self) -> None:
        """Leaves both states."""
        self.latched = Alarm.NONE
        self._overload_s = self._current_s = 0.0

    def watch(self, duty: float, amperes: float, limits: Limits, duration_s: float) -> None:
        """Lets time pass at that duty and current."""
        self._overload_s = self._overload_s + duration_s if abs(duty) > limits.duty else 0.0
        self._current_s = self._current_s + duration_s if amperes > limits.amperes else 0.0
        if self._overload_s and self._overload_s > limits.duty_s - _ROUNDING_S:
            self.latched |= Alarm.OVERLOAD
        if self._current_s and self._current_s > limits.amperes_s - _ROUNDING_S:
            self.latched |= Alarm.CURRENT

    def time_left_s(self, duty: float, amperes: float, limits: Limits) -> float:
        """How long until a state is entered at that duty and current; infinite if never."""
        left_s = math.inf
        if abs(duty) > limits.duty and Alarm.OVERLOAD not in self.latched:
            left_s = limits.duty_s - self._overload_s
        if amperes > limits.amperes and Alarm.CURRENT not in self.latched:
            left_s = min(left_s, limits.amperes_s - self._current_s)
        return max(left_s, 0.0)
