"""A share of the fault campaign, what it once found, and proof that its checks find what is wrong.

The whole of it: python test/control/fault_campaign.py --runs 300 --seed 1
"""

import threading

import numpy as np
import pytest
from campaign_run import Parts, Run
from driven_arm import Driven
from families import FAMILIES
from fault_campaign import judged
from fault_script import Fault
from recorded_arm import CheckedBus

from armlet.control import ArmError, Control, State
from armlet.control.state import Released, StopRequested
from armlet.motors.feetech import PortError, SyncReply

pytestmark = pytest.mark.thorough

CYCLES = 300
# By the wall clock, and only so that a broken test ends.
GUARD_S = 120.0

LOSS = [Fault("drop", 0.05, 0.5, 0.3)]
DEAD = [Fault("dead", 0.05, 1.4, 1, (3,))]
UNPLUGGED = [Fault("unplug", 0.05, 0.2, 1.0), Fault("miss", 0.6, 0.7, 0.02)]


@pytest.mark.parametrize(
    ("motors", "seed"),
    [(FAMILIES[0], seed) for seed in range(1, 7)] + [(FAMILIES[1], seed) for seed in range(1, 5)],
)
def test_nothing_wrong_is_reported_or_sent_torque_is_as_specified_and_it_recovers(motors, seed):
    result = judged(seed, parts=Parts(motors=motors))
    assert not result.violations, "\n".join(result.story)
    # How many cycles there were is the computer's affair; more than a value of each is judged.
    assert result.measured["fresh"] > result.measured["cycles"] > 0


class Scripted(Run):
    """A run in which the switch is operated at given times.

    stubborn: each time until it has had its effect.
    """

    def __init__(self, script, calls, parts=None, stubborn=False):
        super().__init__(7, script, parts)
        self._switching, self._stubborn = calls, stubborn
        self._switched = 0
        self._went = threading.Condition()

    def _before_fault(self, at_s):
        """The script waits for the switch, and the switch for the script: in this order."""
        due = sum(call_s < at_s for call_s, _ in self._switching)
        with self._went:
            self._went.wait_for(lambda: self._switched >= due, GUARD_S)

    def _operate(self):
        waiting = threading.Event()
        last_s = 0.0
        for at_s, what in self._switching:
            waiting.wait(at_s - last_s)
            self.injector.wait_for_steps_before(at_s)
            while not self._call(what) and self._stubborn and not self._calm.is_set():
                waiting.wait(0.01)
            last_s = at_s
            with self._went:
                self._switched += 1
                self._went.notify_all()


def judged_run(run):
    """Violations by check of a run, and its record."""
    from campaign_checks import by_check, check

    record = run()
    check(record)
    return by_check(record.violations), record


def test_a_stop_that_one_servo_could_not_prove_happens_when_it_answers_again():
    violations, record = judged_run(Scripted(DEAD, [(0.1, "torque_off")]))
    assert not violations, record.violations
    failed = [call for call in record.calls if call.error is not None]
    assert [call.state for call in failed] == [State.UNPROVEN]
    assert State.SILENT not in [note.state for note in record.cycles]


def test_a_bus_that_a_stop_has_found_again_is_not_looked_for_any_more():
    script = [Fault("unplug", 0.05, 0.5, 1.0), Fault("miss", 1.2, 1.3, 0.02)]
    calls = [(0.55, "torque_off"), (0.57, "torque_on")]
    violations, record = judged_run(Scripted(script, calls, stubborn=True))
    assert not violations, record.violations
    switched = [call for call in record.calls[1:] if call.error is None]
    armed = next(call for call in switched if call.what == "torque_on")
    after = [note.state for note in record.cycles if note.begun_s > armed.ended_s][:20]
    assert State.UNARMED not in after


def test_an_arming_that_cannot_be_taken_back_says_so_and_is_when_it_can(
    driven, emulated, monkeypatch
):
    dies_before(monkeypatch, driven.arm, "_require_on", lambda: emulated.faults.dead.add(2))
    with pytest.raises(ArmError, match="could not be proven off"):
        driven.control.torque_on()
    assert driven.control.state is State.UNPROVEN
    emulated.faults.dead.clear()
    driven.cycles(3)
    assert driven.control.state is State.UNARMED
    assert driven.torque() == [0, 0]


def test_an_arming_that_loses_the_port_is_taken_back_on_its_return(driven, emulated, monkeypatch):
    dies_before(monkeypatch, driven.arm, "_require_on", emulated.hang_up)
    with pytest.raises(PortError):
        driven.control.torque_on()
    assert driven.control.state is State.LOST
    assert driven.torque() == [1, 1]
    emulated.plug()
    assert driven.control.reconnect()
    assert driven.torque() == [0, 0]


def dies_before(monkeypatch, target, method, die):
    """Has something die right before a method is called."""
    living = getattr(target, method)
    monkeypatch.setattr(target, method, lambda *arguments: (die(), living(*arguments))[1])


class Inventing(CheckedBus):
    """Takes a servo that does not answer for one at zero."""

    def _all(self, reply, registers, ids):
        values = {id: reply.values.get(id, (0,) * len(registers)) for id in ids}
        return SyncReply(values, (), reply.errors, reply.stamp_ns)

    def sync_read(self, registers, ids, *, until=None):
        return self._all(super().sync_read(registers, ids, until=until), registers, ids)

    def sync_write_read(self, register, values, registers, ids, *, until=None):
        reply = super().sync_write_read(register, values, registers, ids, until=until)
        return self._all(reply, registers, ids)


class Remembering(CheckedBus):
    """Gives what a servo said last time for what it says now."""

    _last = None

    def sync_write_read(self, register, values, registers, ids, *, until=None):
        reply = super().sync_write_read(register, values, registers, ids, until=until)
        last, self._last = self._last, reply
        return reply if last is None else SyncReply(last.values, (), {}, reply.stamp_ns)


class Rearming(Control):
    """Arms the arm when its bus is back."""

    def reconnect(self):
        found = super().reconnect()
        if found:
            self.torque_on()
        return found


class Enduring(Control):
    """Stays armed, whoever is silent."""

    def _note_missing(self, sample, now_s):
        self._answers.note_some(None if sample is None else sample.fresh, now_s)


class Careless(Control):
    """Says that torque is off."""

    def torque_off(self):
        with self._lock:
            self._forget()
            self._advance(StopRequested())
            self._advance(Released())


@pytest.mark.parametrize(
    ("parts", "script", "check"),
    [
        (Parts(bus=Inventing), LOSS, "values"),
        (Parts(bus=Remembering), LOSS, "values"),
        (Parts(control=Rearming), UNPLUGGED, "state"),
        (Parts(control=Enduring), DEAD, "state"),
        (Parts(control=Careless), LOSS, "torque"),
        (Parts(FAMILIES[1], control=Careless), LOSS, "torque"),
        (Parts(guard_factor=3.0), LOSS, "steps"),
    ],
    ids=[
        "invented",
        "old",
        "armed by itself",
        "silent",
        "not cut",
        "not cut, dynamixel",
        "too fast",
    ],
)
def test_the_checks_find_a_driver_that_is_wrong(parts, script, check):
    # What the driver does wrong shows when a fault meets it; a run may be spared, few are.
    runs = (judged_run(Scripted(script, [], parts))[0] for _ in range(12))
    assert any(check in violations for violations in runs)


def test_one_packet_in_ten_lost_either_way_it_goes_on_following(emulated, clock):
    """The clock is the test's: servos are asked until they answer, and how often is counted.

    Without asking again 66 % of these cycles are complete. That few rounds are enough is what
    leaves a cycle of 10 ms its time: a round of two servos takes about one on a real line.
    """
    driven = Driven(emulated, clock, {"answer_wait_s": GUARD_S})
    driven.control.torque_on()
    driven.cycles(5)
    faults = emulated.faults
    faults.request_drop_probability = faults.drop_probability = 0.1
    rounds, complete, sent = [], 0, 0
    for cycle in range(CYCLES):
        if cycle % 2:
            where = 0.2 if cycle % 200 < 100 else -0.2
            driven.command(where, where)
        before = driven.arm.bus.counters.retries
        done = driven.cycle()
        complete += done.sample is not None and done.sample.complete
        sent += done.applied is not None
        rounds.append(1 + driven.arm.bus.counters.retries - before)
    assert complete == sent == CYCLES
    assert np.mean(np.array(rounds) == 1) < 0.8, "the line was bad"
    assert np.percentile(rounds, 95) <= 3, np.bincount(rounds)
    driven.arm.close()
