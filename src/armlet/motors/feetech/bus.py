"""A chain of Feetech STS/SMS servos on one serial line, seen from the host."""

from __future__ import annotations

from armlet.motors.feetech.models import STS3215
from armlet.motors.feetech.packets import FRAMING
from armlet.motors.protocol import MotorModel
from armlet.motors.wire.bus import LineBus


class Bus(LineBus):
    """Feetech servos; see `LineBus`."""

    framing = FRAMING

    @property
    def usual_model(self) -> MotorModel:
        return STS3215
