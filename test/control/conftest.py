import pytest
from driven_arm import Clock, Driven, emulated_bus
from families import FIRST_FAMILY


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture(params=FIRST_FAMILY)
def motors(request):
    return request.param


@pytest.fixture
def emulated(clock, tmp_path, motors):
    with emulated_bus(clock, tmp_path / "arm", motors) as emulated:
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
