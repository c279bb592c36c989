"""The family of motors that `motors.registry` finds."""

from armlet.motors.feetech.bus import Bus
from armlet.motors.feetech.models import STS3215
from armlet.motors.feetech.notes import RELATIVES
from armlet.motors.protocol import MotorFamily

FAMILY = MotorFamily(
    name="feetech",
    origin="armlet.motors.feetech.family:FAMILY",
    models={STS3215.name: STS3215},
    make_bus=Bus,
    one_firmware=True,
    relatives=RELATIVES,
)
