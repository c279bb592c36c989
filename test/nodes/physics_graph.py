"""A graph whose bench has things on its table, and where these are."""

from contextlib import contextmanager

import numpy as np
from geometry_msgs.msg import PoseArray
from node_processes import running_graph

from armlet.nodes.messages import to_ns

START_S = 1735689600


@contextmanager
def physics_graph(name, task, /, **arguments):
    """The running graph, and by stamp (ns) the places (k, 3), m, of the task's things."""
    places = {}

    def on_things(message):
        points = [pose.position for pose in message.poses]
        places[to_ns(message.header.stamp)] = np.array([(at.x, at.y, at.z) for at in points])

    given = {"emulated": "true", "physics": "mujoco", "bench_task": task, "start_s": str(START_S)}
    with running_graph(name, **given, **arguments) as graph:
        graph.director.listen(PoseArray, "sim_bench/things", on_things)
        yield graph, places
