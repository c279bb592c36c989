"""A servo_bus as if on another computer: no mark of this one keeps it from starting.

--late FILE: the two networks become one, to it, only once there is this file.
"""

import contextlib
import sys
from pathlib import Path

from driver_timeouts import Timeouts

from armlet import one_graph
from armlet.nodes import namesakes, servo_bus
from armlet.nodes.namesakes import Namesakes


def main():
    namesakes.DISCOVERY_S = 10.0  # a busy computer
    one_graph.mark_name = lambda name, environment: contextlib.closing(sys.stdin)
    if "--late" in sys.argv:
        at = sys.argv.index("--late")
        one_network = Path(sys.argv[at + 1])
        del sys.argv[at : at + 2]
        look = Namesakes.look
        Namesakes.look = lambda self: look(self) if one_network.exists() else ""
    Timeouts().take()
    servo_bus.main()


if __name__ == "__main__":
    main()
