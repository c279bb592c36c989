"""What servos keep without power, written over emulated lines of both families."""

import pytest

from armlet.motors import registry
from armlet.motors.eeprom import BusRegisters, Eeprom, NotRestored, NotStored, store
from armlet.motors.emulation import EmulatedBus
from armlet.motors.protocol import NoReply

NAMES = {"sts3215": ("P_Coefficient", "Homing_Offset"), "xl330-m288": ("Drive_Mode", "PWM_Limit")}
VALUES = (5, 99)


@pytest.fixture(params=NAMES)
def line(request):
    with EmulatedBus(ids=(1, 2), motors=request.param) as line:
        yield line


@pytest.fixture
def bus(line):
    with registry.family(line.model.name).make_bus(line.port) as bus:
        yield bus


@pytest.fixture
def wanted(line):
    return dict(zip(NAMES[line.model.name], VALUES, strict=True))


def registers(line, bus, id=1):
    return BusRegisters(bus, id, line.model)


def held(line, names, id=1):
    return {name: line.servos[id].peek(line.model.registers[name]) for name in names}


def is_locked(line, id=1):
    return line.model.lock is None or line.servos[id].peek(line.model.lock) == 1


def writes_to(line, name):
    address = line.model.registers[name].address
    return [write for write in line.writes if write.address == address]


def test_values_outlive_a_power_cycle_and_the_lock_is_closed(line, bus, wanted):
    before = held(line, wanted)
    assert store(registers(line, bus), wanted) == before
    assert is_locked(line)
    line.servos[1].power_cycle()
    assert held(line, wanted) == wanted


def test_what_is_kept_already_wears_nothing(line, bus, wanted):
    store(registers(line, bus), wanted)
    line.writes.clear()
    assert store(registers(line, bus), wanted) == {}
    assert not line.writes


def test_one_packet_in_five_lost_changes_nothing(line, bus, wanted):
    line.faults.drop_probability = line.faults.request_drop_probability = 0.1
    for offset in range(5):
        values = {name: value + offset for name, value in wanted.items()}
        store(registers(line, bus), values)
        assert held(line, values) == values and is_locked(line)


def test_a_value_that_does_not_hold_is_named_and_the_lock_is_closed(line, bus, wanted):
    servo, name = line.servos[1], next(iter(wanted))
    address, write, found = line.model.registers[name].address, servo.write, held(line, wanted)
    servo.write = lambda at, data: 0 if at == address else write(at, data)
    with pytest.raises(NotStored, match=f"servo 1: {name} was set to 5, it holds {found[name]}"):
        store(registers(line, bus), wanted)
    assert is_locked(line)


class Interrupted(BusRegisters):
    """Ctrl-C in the middle: after a value was written, before it is known to be."""

    def write(self, name, value):
        super().write(name, value)
        if name in NAMES["sts3215"] + NAMES["xl330-m288"]:
            raise KeyboardInterrupt


def test_an_interruption_leaves_the_lock_closed_and_can_be_taken_back(line, bus, wanted):
    before = held(line, wanted)
    eeprom = Eeprom(lambda id: Interrupted(bus, id, line.model))
    with pytest.raises(KeyboardInterrupt):
        eeprom.write(1, wanted)
    assert held(line, wanted) != before, "the first value was taken"
    assert is_locked(line)
    eeprom._registers = lambda id: registers(line, bus, id)
    assert eeprom.restore()
    assert held(line, wanted) == before and is_locked(line)
    assert not eeprom.restore()


def test_what_cannot_be_put_back_is_named_and_the_others_are(line, bus, wanted):
    before = held(line, wanted)
    eeprom = Eeprom(lambda id: registers(line, bus, id))
    eeprom.write(1, wanted)
    eeprom.write(2, wanted)
    assert eeprom.changes == 4
    line.faults.dead.add(1)
    name = next(iter(wanted))
    with pytest.raises(NotRestored, match=f"servo 1: {name} = {before[name]}"):
        eeprom.restore()
    assert held(line, wanted, 2) == before
    line.faults.dead.clear()
    assert eeprom.restore()
    assert held(line, wanted) == before


def test_a_servo_that_does_not_answer_is_written_nothing(line, bus, wanted):
    line.faults.dead.add(1)
    with pytest.raises(NoReply, match=r"servo 1: no intact reply .* at \d+ baud"):
        store(registers(line, bus), wanted)
    assert not writes_to(line, next(iter(wanted)))


@pytest.mark.parametrize("keep", [True, False])
def test_a_lock_that_was_open_stays_so_only_where_that_is_wanted(line, bus, wanted, keep):
    if line.model.lock is None:
        pytest.skip("these servos have no lock")
    line.servos[1].poke(line.model.lock, 0)
    store(registers(line, bus), wanted, keep_lock=keep)
    assert is_locked(line) == (not keep)
