"""A port that is closed and opened again: what was on its way to it is still on its way."""

import random
import threading

import pytest

from armlet.motors.emulation import EmulatedBus
from armlet.motors.emulation.faults import Faults
from armlet.motors.feetech import REGISTERS, Bus
from armlet.motors.protocol import BusError

pytestmark = pytest.mark.thorough

POSITION = REGISTERS["Present_Position"]
IDS = (1, 2, 3)
_TIMEOUT_S = 0.01
# Of a timeout each, where nothing answers: far longer than the late replies take.
_TRIES = 500


@pytest.fixture
def emulated(tmp_path):
    with EmulatedBus(ids=IDS, link=tmp_path / "arm") as emulated:
        yield emulated


def place(emulated, ticks):
    for servo in emulated.servos.values():
        servo.poke(POSITION, ticks)


@pytest.mark.parametrize("same", [True, False], ids=["same bus", "another bus"])
@pytest.mark.parametrize("late_s", [0.016, 0.03, 0.06])
def test_no_late_reply_is_believed_after_closing_and_opening(emulated, same, late_s):
    """At c8b7d8f about one reading in a hundred, and here the first of most, was an old one."""
    bus, dice = Bus(emulated.port, timeout_s=_TIMEOUT_S), random.Random(1)
    for ticks in range(1000, 1040):
        emulated.faults.delay_s, emulated.faults.delay_probability = late_s, 1.0
        place(emulated, 500)
        bus.open()
        bus.sync_read([POSITION], IDS)
        bus.close()
        place(emulated, ticks)
        if not same:
            bus = Bus(emulated.port, timeout_s=_TIMEOUT_S)
        bus.open()
        # Still as late: with newer ones right behind them, old replies are known by their turn.
        for _ in range(round(late_s / _TIMEOUT_S)):
            read_position(bus, dice.random() < 0.5, ticks)
        emulated.faults.delay_s = emulated.faults.delay_probability = 0.0
        # Old replies may still come for a while, and nothing is believed until then.
        tries = range(_TRIES)
        assert any(read_position(bus, dice.random() < 0.5, ticks) for _ in tries), "never settled"
        bus.close()


def read_position(bus, all_at_once, ticks):
    """Whether anything was read; nothing but what the servos hold now is."""
    try:
        found = bus.sync_read([POSITION], IDS).values if all_at_once else {1: bus.read(1, POSITION)}
    except BusError:
        return False
    values = {one[0] if all_at_once else one for one in found.values()}
    assert values <= {ticks}
    return bool(found)


def test_an_interrupted_request_is_reckoned_with(emulated, monkeypatch):
    """Its late reply is the only one that comes to the next: no servo has heard that."""
    bus = Bus(emulated.port)
    bus.open()
    bus.sync_read([POSITION], IDS)
    place(emulated, 500)
    answered = threading.Semaphore(0)
    monkeypatch.setattr(Faults, "lateness_s", lambda _: answered.release() or 0.01)

    def interrupted(*_):
        assert all(answered.acquire(timeout=60) for _ in IDS)
        raise KeyboardInterrupt

    monkeypatch.setattr(bus._line, "_read", interrupted)
    with pytest.raises(KeyboardInterrupt):
        bus.sync_read([POSITION], IDS)
    bus.close()
    emulated.faults.dead.update(IDS)
    bus.open()
    assert bus.sync_read([POSITION], IDS).values == {}
    emulated.faults.dead.clear()
    place(emulated, 1000)
    assert any(read_position(bus, True, 1000) for _ in range(_TRIES)), "never settled"
