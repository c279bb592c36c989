"""A servo_bus as if on another computer: no mark of this one keeps it from starting.

--late: the two networks become one only once it has started.
"""

import contextlib
import sys

from armlet import one_graph
from armlet.nodes import namesakes, servo_bus
from armlet.nodes.namesakes import Namesakes


def main():
    namesakes.DISCOVERY_S = 10.0  # a busy computer
    one_graph.mark_name = lambda name, environment: contextlib.closing(sys.stdin)
    if "--late" in sys.argv:
        sys.argv.remove("--late")
        look, looks = Namesakes.look, []

        def look_later(self):
            looks.append(self)
            return look(self) if len(looks) > 1 else ""

        Namesakes.look = look_later
    servo_bus.main()


if __name__ == "__main__":
    main()
