"""A small share of the campaign: `python test/nodes/message_campaign.py --runs 20` is all."""

import message_campaign
import pytest

pytestmark = pytest.mark.thorough


@pytest.mark.wall_clock(seconds=12)
@pytest.mark.parametrize("seed", [1, 2], ids=message_campaign.graph_of)
def test_no_message_moves_the_arm_beyond_its_limits_keeps_it_from_stopping_or_ends_a_node(seed):
    run = message_campaign.run_once(seed, messages=120)
    assert run.violations == []
    assert run.stops_s
    assert run.sent.keys() >= message_campaign.NEEDED
