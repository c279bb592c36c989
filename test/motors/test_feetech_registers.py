from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from armlet.motors.feetech import registers as table
from armlet.motors.feetech.registers import REGISTERS, Register

any_register = st.sampled_from(sorted(REGISTERS.values(), key=lambda r: r.address))


def test_registers_ascend_and_do_not_overlap() -> None:
    for before, after in pairwise(REGISTERS.values()):
        assert before.end <= after.address


@pytest.mark.parametrize(
    ("name", "address", "width"),
    [
        ("Model_Number", 3, 2),
        ("ID", 5, 1),
        ("Min_Position_Limit", 9, 2),
        ("Homing_Offset", 31, 2),
        ("Torque_Enable", 40, 1),
        ("Goal_Position", 42, 2),
        ("Lock", 55, 1),
        ("Present_Position", 56, 2),
        ("Present_Current", 69, 2),
        ("Maximum_Acceleration", 85, 1),
    ],
)
def test_addresses_are_those_of_the_memory_table(name: str, address: int, width: int) -> None:
    assert (REGISTERS[name].address, REGISTERS[name].width) == (address, width)


def test_defaults_fit() -> None:
    for register in REGISTERS.values():
        assert register.decode(register.encode(register.default)) == register.default


def test_constants_are_the_tables_entries() -> None:
    for name, value in vars(table).items():
        if isinstance(value, Register):
            assert name == value.name.upper() and REGISTERS[value.name] is value


@given(any_register, st.data())
def test_every_value_comes_back(register: Register, data: st.DataObject) -> None:
    value = data.draw(st.integers(register.minimum, register.maximum))
    stored = register.encode(value)
    assert len(stored) == register.width
    assert register.decode(stored) == value


@given(any_register, st.integers(1, 10**6))
def test_values_beyond_the_range_are_refused(register: Register, excess: int) -> None:
    for value in (register.minimum - excess, register.maximum + excess):
        with pytest.raises(ValueError, match=register.name):
            register.encode(value)


@given(any_register, st.data())
def test_any_stored_bytes_are_a_value_in_range(register: Register, data: st.DataObject) -> None:
    stored = data.draw(st.binary(min_size=register.width, max_size=register.width))
    assert register.minimum <= register.decode(stored) <= register.maximum


def test_signs_are_bits_beside_the_magnitude() -> None:
    assert table.HOMING_OFFSET.encode(-1) == b"\x01\x08"
    assert table.HOMING_OFFSET.encode(2047) == b"\xff\x07"
    assert table.PRESENT_POSITION.decode(b"\x0a\x80") == -10
    assert table.PRESENT_LOAD.decode(b"\x2c\x05") == -300
    assert table.PRESENT_LOAD.decode(b"\x00\x04") == 0


def test_a_wrong_number_of_bytes_is_refused() -> None:
    with pytest.raises(ValueError, match="Goal_Position is 2 bytes"):
        table.GOAL_POSITION.decode(b"\x01")
