"""What an emulated servo does in every cycle was made to cost less, and does the same."""

import random

from armlet.motors.emulation.memory import read_settings
from armlet.motors.emulation.servo import EmulatedServo
from armlet.motors.feetech.packets import ErrorBit
from armlet.motors.feetech.registers import (
    GOAL_POSITION,
    MAX_POSITION_LIMIT,
    MIN_POSITION_LIMIT,
    REGISTERS,
    TORQUE_ENABLE,
)


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_a_register_s_value_is_its_decoded_bytes():
    dice = random.Random(0)
    memory = EmulatedServo(1, clock=Clock())._memory
    for _ in range(200):
        memory.bytes[:] = dice.randbytes(len(memory.bytes))
        for register in REGISTERS.values():
            stored = bytes(memory.bytes[register.address : register.end])
            assert memory.load(register) == register.decode(stored)


def test_a_goal_written_alone_leaves_the_settings_that_the_memory_asks_for():
    dice = random.Random(0)
    servo = EmulatedServo(1, clock=Clock())
    servo.write(TORQUE_ENABLE.address, b"\x01")
    for limits in [(0, 4095), (1000, 3000), (3000, 1000), (2000, 2000)]:
        servo.poke(MIN_POSITION_LIMIT, limits[0])
        servo.poke(MAX_POSITION_LIMIT, limits[1])
        for _ in range(50):
            servo.write(GOAL_POSITION.address, dice.randbytes(2))
            assert servo._settings == read_settings(servo._memory, servo._errors)


def test_an_answer_reports_the_errors_of_its_own_instant():
    clock = Clock()
    servo = EmulatedServo(1, clock=clock)
    servo.write(TORQUE_ENABLE.address, b"\x01")
    for address in (0, GOAL_POSITION.address, REGISTERS["Present_Position"].address):
        servo.volts = 20.0
        servo.read(address, 2)
        assert servo.errors_at_access == servo.errors == ErrorBit.VOLTAGE
        servo.volts = 7.4
        clock.now_s += 0.01
        servo.read(address, 2)
        assert servo.errors_at_access == servo.errors == ErrorBit.NONE
    servo.poke(REGISTERS["Status"], 4)
    assert servo.errors_at_access == servo.errors == ErrorBit.TEMPERATURE
