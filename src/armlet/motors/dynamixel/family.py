"""The family of motors that `motors.registry` finds."""

from armlet.motors.dynamixel.bus import Bus
from armlet.motors.dynamixel.models import MODELS
from armlet.motors.protocol import MotorFamily

FAMILY = MotorFamily(
    name="dynamixel",
    origin="armlet.motors.dynamixel.family:FAMILY",
    models=MODELS,
    make_bus=Bus,
)
