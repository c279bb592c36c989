"""A share of the fault campaign against the servo_bus process, with each way to end it once.

The whole of it: python test/nodes/node_campaign.py --runs 20 --seed 1
"""

import pytest
from families import FAMILIES
from node_campaign import ENDINGS, NodeRun

pytestmark = pytest.mark.thorough


# Faults of a real line, and how long torque takes to go: real time.
@pytest.mark.wall_clock(seconds=5)
@pytest.mark.parametrize("motors", FAMILIES)
@pytest.mark.parametrize("ending", ENDINGS)
def test_nothing_wrong_is_published_or_sent_and_torque_is_as_specified(ending, motors):
    seen = NodeRun(100 + ENDINGS.index(ending), ending, horizon_s=0.7, motors=motors)()
    assert not seen.violations, "\n".join(f"{at_s:.3f} {text}" for at_s, text in seen.events)
    assert seen.measured["values"] > 100
