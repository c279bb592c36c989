"""A small share of the kill campaign: `python test/nodes/kill_campaign.py --runs 300` is all."""

import kill_campaign
import pytest

pytestmark = pytest.mark.thorough

# Half a watchdog and the driver, supervisor and driver, a whole watchdog.
SEEDS = (8, 9, 5)


@pytest.mark.wall_clock(seconds=5)
@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_is_killed_torque_goes_off_or_is_watched_over(seed):
    run = kill_campaign.run_once(seed)
    assert run.violations == []
    assert run.keepers_left > 0
