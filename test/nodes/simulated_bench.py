"""A bench in this process that owns simulated time, so that a test can look into its servos.

As `sim_bench` does, without ROS: time stands still while the test acts, and goes on while the
graph's director waits.
"""

import dataclasses
import threading
from contextlib import contextmanager

from node_processes import DIRECTOR, follower, running

from armlet.sim import Bench
from armlet.sim.lockstep import Timekeeper

START_NS = 1_735_689_600_000_000_000
LONGEST_STEP_NS = 10_000_000


class SimulatedBench(Bench):
    """A `Bench` in simulated time; `graph` runs nodes on it.

    tell: called with every instant (ns), for programs that take part only by /clock.
    """

    def __init__(self, folder, **settings):
        self._now_ns = START_NS
        self.tell = lambda now_ns: None
        super().__init__(links=folder, paced=False, clock=self._elapsed_s, **settings)
        self._socket = folder / "lockstep"

    def _elapsed_s(self):
        return (self._now_ns - START_NS) * 1e-9

    @contextmanager
    def graph(self, nodes):
        """Nodes in lockstep with the bench, and their director; once for each bench."""
        said = []
        names = [spec.label for spec in nodes] + [DIRECTOR]
        keeper = Timekeeper(self._socket, names, lambda now_ns: self.tell(now_ns), said.append)
        keeper.now_ns = self._now_ns
        ending = threading.Event()
        thread = threading.Thread(target=self._keep_time, args=(keeper, ending), daemon=True)
        thread.start()
        given = {"use_sim_time": True, "lockstep": str(self._socket)}
        nodes = [_with(spec, given) for spec in nodes]
        try:
            with running(nodes, self._socket) as started:
                started.standstills, started.lockstep = said, self._socket
                yield started
        finally:
            ending.set()
            thread.join()
            keeper.close()

    def _keep_time(self, keeper, ending):
        now_ns = self._now_ns
        if not keeper.begin(now_ns, ending):
            return
        while not ending.is_set() and keeper.run_instant(now_ns, ending):
            asked_ns = keeper.next_ns()
            soon_ns = now_ns + LONGEST_STEP_NS
            now_ns = soon_ns if asked_ns is None else min(soon_ns, max(asked_ns, now_ns + 1))
            self._now_ns = keeper.now_ns = now_ns


@contextmanager
def bench_and_follower(folder, motors, **parameters):
    """A bench of servos of a model, and a follower's servo_bus that runs on it."""
    node = follower(folder / "follower", motors=motors, **parameters)
    with SimulatedBench(folder, motors=motors) as bench, bench.graph([node]) as bus:
        yield bench, bus


def torque(bench):
    """By joint of the follower, the servo's register: 1 with torque, 0 without."""
    return [
        servo.peek(bench.follower.model.torque_enable) for servo in bench.follower.servos.values()
    ]


def armed(bus):
    """A running servo_bus, once it is armed and holds; what it has said before is forgotten."""
    bus.director.set("servo_bus/set_torque", True)
    bus.seen.forget_diagnostics()
    bus.wait_for_status("servo_bus: bus", "holding")
    return bus


def _with(spec, parameters):
    return dataclasses.replace(spec, parameters={**spec.parameters, **parameters})
