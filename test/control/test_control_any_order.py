"""Arming, stops, faults and commands in any order, on emulated servos: what must never happen.

Judged by what the servos hold and received, byte by byte, not by what Control says of it.
"""

import contextlib
from functools import partial
from tempfile import TemporaryDirectory

import pytest
from driven_arm import CALIBRATION, Clock, Driven, emulated_bus, goals
from families import FAMILIES
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from armlet.control import ArmError, CommandRefused, Link, State
from armlet.control.servos import TorqueUnproven
from armlet.motors.protocol import BusError

ARMED = (State.HOLD, State.COMMAND, State.TRAJECTORY)
IDS = [joint.id for joint in CALIBRATION.values()]
SILENCE_S, MAX_AGE_S = 0.15, 0.1
RECOVERED_CYCLES = 110
"""Longer than the second between two attempts to prove a stop."""
radians = st.floats(-2, 2)
servo_ids = st.sampled_from(IDS)


class AnyOrder(RuleBasedStateMachine):
    """One arm, whose faults and time the test holds.

    proven_off: torque_off has succeeded, or a stop was made up for, and nobody has armed it since.
    stopped: a stop came that nobody has armed over. powerless: servos that lost their power since
    the arm was armed.
    """

    def __init__(self):
        super().__init__()
        self.open = contextlib.ExitStack()
        self.driven = None
        self.stopped = self.proven_off = False
        self.powerless = set()
        self.unread_since_s = {}
        self.set_back_s = 0.0

    @initialize(motors=st.sampled_from(FAMILIES), armed=st.booleans())
    def begin(self, motors, armed):
        folder, clock = self.open.enter_context(TemporaryDirectory()), Clock()
        # Servos' own time never goes back.
        servo_clock = partial(self.servos_s, clock)
        self.emulated = self.open.enter_context(emulated_bus(servo_clock, f"{folder}/arm", motors))
        chosen = {"silence_s": SILENCE_S, "max_state_age_s": MAX_AGE_S, "answer_share": 0.7}
        self.driven = Driven(self.emulated, clock, chosen)
        self.control = self.driven.control
        self.open.callback(self.driven.arm.close)
        self.begin_again()
        # The first cycle counts from its own time, whatever the clock showed before.
        self.cycle()
        if armed:
            self.arm()

    def servos_s(self, clock):
        return clock.now_s + self.set_back_s

    def teardown(self):
        self.open.close()

    def begin_again(self):
        self.unread_since_s = dict.fromkeys(IDS, self.driven.clock.now_s)
        self.emulated.writes.clear()

    # --- people -----------------------------------------------------------------------------

    @rule()
    def arm(self):
        was_armed = self.control.goal is not None
        try:
            self.control.torque_on()
        except (ArmError, BusError):
            assert self.control.goal is None
            assert self.control.state not in ARMED
            if self.control.state is State.UNARMED:
                assert self.driven.torque() == [0, 0] or not self.stopped
        else:
            if not was_armed:
                assert self.driven.torque() == [1, 1]
                self.powerless.clear()
            self.stopped = self.proven_off = False
        self.begin_again()

    @rule()
    def stop(self):
        self.stopped = True
        try:
            self.control.torque_off()
        except (TorqueUnproven, BusError, ArmError):
            assert self.control.state in (State.UNPROVEN, State.LOST)
        else:
            assert self.control.state is State.UNARMED
            assert self.driven.torque() == [0, 0]
            self.proven_off = True
        assert self.control.goal is None
        self.emulated.writes.clear()

    @rule(pan=radians, grip=radians)
    def command(self, pan, grip):
        was_armed = self.control.goal is not None
        with contextlib.suppress(CommandRefused):
            self.driven.command(pan, grip)
            assert was_armed

    @rule(place=radians, times_s=st.sampled_from([(0.0,), (0.1, 0.2), (0.3, 2.0)]))
    def follow(self, place, times_s):
        was_armed = self.control.goal is not None
        with contextlib.suppress(CommandRefused):
            self.driven.follow(times_s, [[place, 0.0]] * len(times_s))
            assert was_armed

    @rule()
    def hold(self):
        self.control.hold()

    # --- time -------------------------------------------------------------------------------

    @rule(count=st.sampled_from([1, 4, 20]))
    def cycles(self, count):
        for _ in range(count):
            self.cycle()

    def cycle(self):
        driven, was_armed = self.driven, self.control.goal is not None
        unread_s = driven.clock.now_s + 0.01 - min(self.unread_since_s.values())
        self.emulated.writes.clear()
        cycle = driven.cycle()
        received = {id: goals(self.emulated, id) for id in IDS}
        assert (cycle.applied is not None) <= was_armed
        if not was_armed or unread_s > MAX_AGE_S + 1e-6:
            assert cycle.applied is None and not any(received.values()), (
                "moved from an unread state"
            )
        for joint in CALIBRATION.values():
            assert all(joint.range_min <= tick <= joint.range_max for tick in received[joint.id])
        assert not self.torque_came_on(), "armed by a cycle"
        if cycle.sample is not None:
            fresh = [id for id, is_so in zip(IDS, cycle.sample.fresh, strict=True) if is_so]
            self.unread_since_s |= dict.fromkeys(fresh, driven.clock.now_s)
        if self.stopped and self.control.state is State.UNARMED:
            self.proven_off = True

    def torque_came_on(self):
        address = self.emulated.model.torque_enable.address
        return [w for w in self.emulated.writes if w.address == address and w.data[0] == 1]

    @rule(jump_s=st.sampled_from([-7.0, 0.3, 60.0]))
    def time_jumps(self, jump_s):
        self.set_back_s += max(-jump_s, 0.0)
        self.driven.clock.now_s += jump_s
        if jump_s < 0:
            self.control.clock_was_set_back()
            self.unread_since_s = dict.fromkeys(IDS, self.driven.clock.now_s)

    # --- faults -----------------------------------------------------------------------------

    @rule(servo_id=servo_ids)
    def servo_dies(self, servo_id):
        self.emulated.faults.dead.add(servo_id)

    @rule()
    def servos_answer_again(self):
        self.emulated.faults.dead.clear()

    @rule(servo_id=servo_ids)
    def servo_loses_its_power(self, servo_id):
        self.emulated.servos[servo_id].power_cycle()
        self.powerless.add(servo_id)

    @precondition(lambda self: self.driven is not None and self.emulated.plugged)
    @rule()
    def unplugged(self):
        self.emulated.hang_up()

    @rule()
    def plugged_in(self):
        if not self.emulated.plugged:
            self.emulated.plug()
        if self.control.reconnect():
            assert self.control.goal is None or self.control.state in ARMED
        assert not self.torque_came_on(), "armed by its return"
        if self.stopped and self.control.state is State.UNARMED:
            self.proven_off = True
        self.begin_again()

    @rule()
    def all_is_well_again(self):
        """A stop that could not be proven happens by itself, and nothing else does."""
        self.servos_answer_again()
        self.cycle()  # in which it finds that the bus is lost
        self.plugged_in()
        was_armed = self.control.goal is not None
        for _ in range(RECOVERED_CYCLES):
            self.cycle()
        assert self.control.state in (*ARMED, State.UNARMED)
        assert self.control.goal is None or was_armed

    # --- always -----------------------------------------------------------------------------

    @invariant()
    def a_stop_that_was_proven_stays(self):
        if self.proven_off:
            assert self.driven.torque() == [0, 0]
            assert self.control.goal is None and self.control.state not in ARMED

    @invariant()
    def a_stop_that_was_not_proven_is_reported(self):
        if self.stopped and not self.proven_off:
            assert self.control.state in (State.UNPROVEN, State.LOST)

    @invariant()
    def an_arm_that_is_reported_to_hold_holds(self):
        if self.driven is None or self.control.state not in ARMED:
            return
        assert self.control.goal is not None
        on = dict(zip(IDS, self.driven.torque(), strict=True))
        assert all(on[id] for id in IDS if id not in self.powerless)

    @invariant()
    def a_goal_is_kept_only_while_it_is_armed(self):
        if self.driven is not None:
            link = self.control._decided.link
            assert (self.control.goal is not None) == (link is Link.ARMED)


AnyOrder.TestCase.settings = settings(
    max_examples=30,
    stateful_step_count=25,
    deadline=None,
    # Servos that do not answer cost real time: a failing order of events is not made shorter.
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=list(HealthCheck),
)
TestAnyOrder = pytest.mark.thorough(AnyOrder.TestCase)
