import pytest
from driven_arm import Clock, Driven, emulated_bus


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def emulated(clock, tmp_path):
    with emulated_bus(clock, link=tmp_path / "arm") as emulated:
        yield emulated


@pytest.fixture
def driven(emulated, clock):
    driven = Driven(emulated, clock)
    yield driven
    driven.arm.close()


@pytest.fixture
def armed(driven):
    driven.control.torque_on()
    driven.cycles(2)
    return driven
