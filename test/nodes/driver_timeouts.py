"""Drivers with other limits by the wall clock, for tests that are not about those.

On a busy computer emulated servos may be silent for seconds, and so may the threads of a driver.
"""

from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from armlet.control import liveness

BUS = "servo_bus: bus"


@dataclass(frozen=True)
class Timeouts:
    """A driver's limits, s: as none that a busy computer reaches.

    Attributes:
        answer_s: for an answer of servos, in every transaction; 0: as the driver has it, for lines
            on which answers are lost.
        silence_s: of servos, until they are to be armed again.
        dead_s: of the driver's own signs of life, until it ends.
        release_s: for torque off before it ends so.
        watchdog_s: for the torque watchdog, or for the node to start, when torque is asked for.
    """

    answer_s: float = 10.0
    silence_s: float = 3600.0
    dead_s: float = 3600.0
    release_s: float = 120.0
    watchdog_s: float = 120.0

    def take(self):
        """In the process of a driver, before it begins: its class, to run or to derive from."""
        from armlet.nodes import servo_bus

        liveness.DEAD_S = self.dead_s
        servo_bus.RELEASE_S, servo_bus.WATCHDOG_S = self.release_s, self.watchdog_s
        timeouts = self

        class Driver(servo_bus.ServoBus):
            def _make_bus(self, family):
                wait_s = timeouts.answer_s
                if not wait_s:
                    return super()._make_bus(family)
                port, baudrate = self.value("port"), self.value("baudrate")
                return family.make_bus(port, baudrate, wait_s, wait_s, self.clock.stamp)

            def _control_settings(self, value):
                settings = super()._control_settings(value)
                return replace(settings, silence_s=timeouts.silence_s)

        servo_bus.ServoBus = Driver
        return Driver

    def program(self, more=""):
        """A driver's program; more: what derives from `Driver` and becomes `servo_bus.ServoBus`."""
        return _PROGRAM.format(here=str(Path(__file__).parent), timeouts=self, more=more)


_PROGRAM = """
import sys
sys.path.append({here!r})
from driver_timeouts import Timeouts
Driver = {timeouts}.take()
from armlet.nodes import servo_bus
{more}
servo_bus.main()
"""


def running_program(line, program):
    """The command line of a node, with a program of the test's own instead of the node's."""
    module = line.index("-m")
    return [*line[:module], "-c", program, *line[module + 3 :]]


def with_timeouts(timeouts=None, more=""):
    """For `running`: starts each servo_bus with such limits, and other nodes as they are."""
    from forked_nodes import Popen

    program = (timeouts or Timeouts()).program(more)

    def popen(line, **given):
        is_driver = line[line.index("-m") + 2] == "servo_bus"
        return Popen(running_program(line, program) if is_driver else line, **given)

    return popen


def arm(bus):
    """Wait until a graph's servo_bus holds. A busy computer may keep servos silent: ask again."""
    from armlet.client.graph import GraphError

    def holds():
        said = bus.seen.messages().get(BUS, "")
        if "not armed" in said:
            with suppress(GraphError):
                bus.director.set("servo_bus/set_torque", True)
        return said.startswith("holding")

    bus.wait("an arm that holds", holds)
