"""Which servos can be emulated, by their models' names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from armlet.motors.dynamixel import packets as dynamixel
from armlet.motors.dynamixel.models import MODELS as DYNAMIXELS
from armlet.motors.emulation.body import ServoBody
from armlet.motors.emulation.dynamixel_servo import EmulatedDynamixel
from armlet.motors.emulation.protection import Supply
from armlet.motors.emulation.servo import EmulatedServo
from armlet.motors.feetech import packets as feetech
from armlet.motors.feetech.models import STS3215
from armlet.motors.protocol import MotorModel
from armlet.motors.wire.framing import Framing

Clock = Callable[[], float]


@dataclass(frozen=True)
class Kind:
    """A model and how it is emulated.

    Attributes:
        model: what it is.
        framing: the protocol it speaks.
        word: bytes of an address in it.
        volts: of the supply it is made for.
        make: called with id, supply, baudrate, clock.
    """

    model: MotorModel
    framing: Framing
    word: int
    volts: float
    make: Callable[[int, Supply, int, Clock], ServoBody]


def _feetech(id: int, supply: Supply, baudrate: int, clock: Clock) -> ServoBody:
    return EmulatedServo(id, supply=supply, baudrate=baudrate, clock=clock)


def _dynamixel(model: MotorModel) -> Callable[[int, Supply, int, Clock], ServoBody]:
    def make(id: int, supply: Supply, baudrate: int, clock: Clock) -> ServoBody:
        return EmulatedDynamixel(id, model=model, supply=supply, baudrate=baudrate, clock=clock)

    return make


_DYNAMIXEL_VOLTS = {"xl330-m077": 5.0, "xl330-m288": 5.0, "xl430-w250": 12.0}

KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        STS3215.name: Kind(STS3215, feetech.FRAMING, 1, 7.4, _feetech),
        **{
            name: Kind(model, dynamixel.FRAMING, 2, _DYNAMIXEL_VOLTS[name], _dynamixel(model))
            for name, model in DYNAMIXELS.items()
        },
    }
)
