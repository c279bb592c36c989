"""`armlet security` knows what the nodes of a robot's graph do that live by the wall clock.

test_topics_page.py has the same of an emulated graph in simulated time.
"""

from functools import partial

import pytest
from discovered_graph import NOTHING, discovered, unlike
from node_processes import running_graph

from armlet.security import enclaves

PEOPLE = ("/cell/operator", "/cell/viewer")


@pytest.mark.thorough
def test_rights_in_a_namespace_by_the_wall_clock_with_raw_pictures(private_domain, tmp_path):
    given = {"namespace": "cell", "raw": "true", "root": str(tmp_path / "dataset"), "task": "reach"}
    with running_graph("robot", use_sim_time="false", emulated="true", **given) as graph:
        for enclave in enclaves(graph.supervisor._nodes, "cell"):
            for profile in enclave.profiles if enclave.path not in PEOPLE else ():
                assert discovered(graph, partial(unlike, profile=profile), NOTHING) == NOTHING
