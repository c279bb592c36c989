"""The keyboard as a gamepad: what is held, how it is let go, and what `jog` makes of it."""

import numpy as np
import pytest

from armlet.control.jog import TIP
from armlet.control.joystick import LAYOUTS, Joystick
from armlet.control.keys import DIRECTIONS, HAND_BACK, HELD_S, LET_GO, MODE, REPEATED_S, KeyStick
from armlet.robots import SO101_JOINTS


class Person:
    """A keyboard and the joystick that hears of it, in a time of the test's own."""

    def __init__(self):
        self.now_s = 10.0
        self.keys = KeyStick()
        self.stick = Joystick(LAYOUTS["gamepad"], SO101_JOINTS, True, 0.3)
        self.wait(0.1)

    def wait(self, seconds):
        for _ in range(round(seconds / 0.02)):
            self.now_s += 0.02
            assert not self.stick.hear(*self.keys.message(self.now_s), self.now_s)

    def press(self, key):
        self.keys.press(key, self.now_s)
        self.wait(0.02)

    @property
    def wish(self):
        return self.stick.wish(self.now_s)


@pytest.fixture
def person():
    return Person()


@pytest.mark.parametrize("key", DIRECTIONS)
def test_a_key_moves_the_tip_one_way_and_nothing_else(person, key):
    person.press(key)
    name, way = DIRECTIONS[key]
    assert person.wish.tip.tolist() == [way * (each == name) for each in TIP]
    assert not person.wish.joints.any()


@pytest.mark.parametrize("key", DIRECTIONS)
def test_by_joint_it_moves_one_joint(person, key):
    person.press(MODE)
    person.press(key)
    assert not person.wish.tip.any() and np.count_nonzero(person.wish.joints) == 1


def test_the_keys_of_the_gripper(person):
    for key, way in (("o", 1.0), ("c", -1.0)):
        person.press(key)
        assert person.wish.joints.tolist() == [0.0] * 5 + [way]


def test_a_key_that_is_held_goes_on_and_one_that_is_let_go_stops(person):
    for _ in range(20):
        person.press("w")
        person.wait(0.08)
        assert person.wish is not None
    person.wait(HELD_S)
    assert person.wish is None


def test_a_key_that_comes_after_a_silence_moves_again(person):
    """Nothing lets go of the button but the messages in between: there must be some."""
    person.press("w")
    person.wait(0.5)
    person.press("w")
    assert person.wish is not None


@pytest.mark.parametrize("key", [LET_GO, MODE, "x", "W", "\n", "é"])
def test_every_other_key_lets_go_at_once(person, key):
    person.press("w")
    person.press(key)
    assert person.wish is None


def test_nothing_is_held_at_first_nor_by_a_clock_set_back(person):
    assert person.wish is None
    person.press("w")
    assert KeyStick().held(0.0) == person.keys.held(person.now_s - 1.0) == ""


def test_the_arm_is_handed_back_once(person):
    person.press("w")
    person.press(HAND_BACK)
    person.press(HAND_BACK)
    assert person.stick.hands_back() and not person.stick.hands_back()
    assert person.wish is None


def test_the_mode_changes_once_however_long_its_key_is_held(person):
    for wait_s in (0.0, 0.75, *[0.03] * 20):
        person.wait(wait_s)
        person.press(MODE)
        assert person.keys.by_joint
    person.wait(REPEATED_S + 0.1)
    person.press(MODE)
    assert not person.keys.by_joint


def test_a_message_of_just_before_a_repetition_lets_nothing_go():
    """It was begun in one thread, and the key came in another."""
    keys = KeyStick()
    keys.press("w", 1.0)
    keys.press("w", 1.1)
    assert keys.message(1.09) == keys.message(1.11)
