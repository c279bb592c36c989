"""Random mixtures of faults under the control cycle: nothing wrong is ever reported or sent.

Time stands still within a cycle, so what a servo answers is known exactly: a fresh value that
differs from its register is a wrong one, were it only a cycle old.
"""

import random

import numpy as np
import pytest
from driven_arm import CALIBRATION, MAX_VELOCITY, TICK, Driven, goals

from armlet.control import ArmError, CommandRefused, State
from armlet.motors.emulation import Faults
from armlet.motors.protocol import BusError, Quantity

PROBABILITIES = (
    "drop_probability",
    "corrupt_probability",
    "flip_probability",
    "truncate_probability",
    "duplicate_probability",
    "noise_probability",
    "request_drop_probability",
    "request_corrupt_probability",
    "miss_probability",
)
CENTRES = np.array([(joint.range_min + joint.range_max) / 2 for joint in CALIBRATION.values()])


class Campaign:
    """One seeded run: faults change every few cycles, commands go on, everything is checked."""

    def __init__(self, driven, seed):
        self.driven, self.dice = driven, random.Random(seed)
        self.last = None
        self.fresh = 0

    def new_faults(self):
        faults = self.driven.emulated.faults
        for name in PROBABILITIES:
            often = self.dice.random() < 0.3
            setattr(faults, name, self.dice.uniform(0, 0.3) if often else 0.0)
        faults.delay_s = self.dice.choice((0.0, 0.0, 0.002))
        faults.delay_jitter_s = self.dice.choice((0.0, 0.004))
        faults.dead = {2} if self.dice.random() < 0.15 else set()
        if self.dice.random() < 0.2:
            faults.hang_up_after_bytes = self.dice.randrange(1, 200)

    def end_faults(self):
        faults, good = self.driven.emulated.faults, Faults()
        for name in (*PROBABILITIES, "delay_s", "delay_jitter_s", "dead", "hang_up_after_bytes"):
            setattr(faults, name, getattr(good, name))

    def cycle(self):
        driven = self.driven
        try:
            driven.command(*[self.dice.uniform(-2, 2) for _ in CALIBRATION])
        except CommandRefused:
            assert driven.control.goal is None
        cycle = driven.cycle()
        if cycle.sample is not None:
            self.check_sample(cycle.sample)
        self.check_applied(cycle.applied)
        if driven.control.state is State.LOST:
            if not driven.emulated.plugged:
                driven.emulated.plug()
            driven.control.reconnect()

    def check_sample(self, sample):
        self.fresh += int(sample.fresh.sum())
        true = (np.array(self.driven.register("Present_Position")) - CENTRES) * TICK
        np.testing.assert_allclose(sample.position[sample.fresh], true[sample.fresh], atol=1e-9)
        velocity = np.array(self.driven.quantity(Quantity.VELOCITY)) * TICK
        np.testing.assert_allclose(sample.velocity[sample.fresh], velocity[sample.fresh], atol=1e-9)

    def check_applied(self, applied):
        if applied is not None and self.last is not None:
            step = np.abs(applied - self.last).max()
            assert step <= MAX_VELOCITY * 0.02 + TICK
        self.last = applied

    def arm(self):
        """Arm it if that can be had; it is armed or it is off, whatever the line does."""
        try:
            self.driven.control.torque_on()
        except (ArmError, BusError):
            assert self.driven.control.goal is None
            assert np.isnan(self.driven.cycles(2)).all()
        self.last = None


@pytest.mark.thorough
@pytest.mark.parametrize("seed", range(4))
def test_nothing_wrong_is_reported_or_sent_and_it_recovers(emulated, clock, seed):
    emulated.faults.seed = seed
    emulated.faults.__post_init__()
    driven = Driven(emulated, clock, {"answer_share": 0.4})
    driven.control.torque_on()
    campaign = Campaign(driven, seed)
    for _ in range(8):
        campaign.new_faults()
        if driven.control.goal is None:
            campaign.arm()
        for _ in range(15):
            campaign.cycle()
    campaign.end_faults()
    emulated.check()
    # 200 cycles are 2 s.
    driven.cycles_until(lambda: bool(recover(campaign)), 200)
    driven.control.torque_on()
    campaign.last = None
    for _ in range(20):
        campaign.cycle()
    assert driven.control.state is State.COMMAND
    for joint in CALIBRATION.values():
        sent = goals(emulated, joint.id)
        assert joint.range_min <= min(sent)
        assert max(sent) <= joint.range_max
    driven.control.torque_off()
    assert driven.torque() == [0, 0]
    assert campaign.fresh >= 40
    driven.arm.close()


def recover(campaign):
    """One cycle towards health; whether it has arrived there."""
    driven = campaign.driven
    sample = driven.cycle().sample
    if driven.control.state is State.LOST:
        if not driven.emulated.plugged:
            driven.emulated.plug()
        driven.control.reconnect()
    return sample is not None and sample.complete
