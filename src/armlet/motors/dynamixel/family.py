"""The family of motors that `motors.registry` finds."""

from armlet.motors.dynamixel.bus import Bus
from armlet.motors.dynamixel.models import MODELS
from armlet.motors.dynamixel.notes import RELATIVES
from armlet.motors.dynamixel.registers import FACTORY_BAUDRATE
from armlet.motors.protocol import MotorFamily

FAMILY = MotorFamily(
    name="dynamixel",
    origin="armlet.motors.dynamixel.family:FAMILY",
    models=MODELS,
    make_bus=Bus,
    factory_baudrate=FACTORY_BAUDRATE,
    relatives=RELATIVES,
)
