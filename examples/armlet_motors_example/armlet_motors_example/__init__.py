"""Feetech's STS3250 for armlet: the STS3215's registers and protocol, another model number.

A family with a protocol of its own brings a `make_bus` that returns a `MotorBus`, see
`armlet.motors.protocol`, and a `MotorModel` for each kind of servo.
"""

from dataclasses import replace

from armlet.motors.feetech.bus import Bus
from armlet.motors.feetech.models import STS3215
from armlet.motors.protocol import MotorFamily

STS3250 = replace(STS3215, name="sts3250", label="STS3250", number=2825)
FAMILY = MotorFamily("sts3250", "armlet_motors_example:FAMILY", {"sts3250": STS3250}, Bus)
