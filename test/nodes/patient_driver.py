"""A driver with other limits by the wall clock, for tests that are not about those.

On a busy computer emulated servos may be silent for seconds, and so may the threads of a driver.
"""

from forked_nodes import Popen

_PROGRAM = """
from dataclasses import replace
from armlet.control import liveness
from armlet.nodes import servo_bus

liveness.DEAD_S, servo_bus.RELEASE_S, servo_bus.WATCHDOG_S = {dead_s}, {release_s}, 120.0

class Driver(servo_bus.ServoBus):
    def _control_settings(self, value):
        return replace(super()._control_settings(value), silence_s={silence_s})

servo_bus.ServoBus = Driver
servo_bus.main()
"""


def patient(silence_s=3600.0, dead_s=3600.0, release_s=120.0):
    """For `running`: starts each servo_bus with such limits, and other nodes as they are.

    silence_s: of servos, until they are to be armed again. dead_s: of the driver's own signs of
    life, until it ends. release_s: for torque off before it ends so.
    """
    program = _PROGRAM.format(silence_s=silence_s, dead_s=dead_s, release_s=release_s)

    def popen(line, **given):
        module = line.index("-m")
        if line[module + 2] == "servo_bus":
            line = [*line[:module], "-c", program, *line[module + 3 :]]
        return Popen(line, **given)

    return popen
