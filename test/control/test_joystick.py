"""What sticks and buttons mean, and when nobody holds them."""

import math

import numpy as np
import pytest

from armlet.control.joystick import LAYOUTS, REST, Joystick, Layout, read_axes, read_buttons
from armlet.robots import SO101_JOINTS

AXES, BUTTONS = 8, 11
HOLD, JOINTS, OPEN, BACK = 4, 5, 1, 6


def stick(layout=LAYOUTS["gamepad"], tip=True, joints=SO101_JOINTS):
    return Joystick(layout, joints, tip, timeout_s=0.3)


def say(joystick, now_s, *pressed, **axes):
    values = [0.0] * AXES
    for name, value in axes.items():
        values[int(name.removeprefix("a"))] = value
    return joystick.hear(values, [int(n in pressed) for n in range(BUTTONS)], now_s)


def held():
    joystick = stick()
    say(joystick, 0.0)
    return joystick


def test_who_holds_the_button_jogs_and_who_lets_go_does_not():
    joystick = held()
    say(joystick, 0.1, a1=1.0)
    assert joystick.wish(0.1) is None
    say(joystick, 0.2, HOLD, a1=1.0, a0=-0.5)
    asked = joystick.wish(0.2)
    assert asked.tip == pytest.approx([1.0, -(0.5 - REST) / (1 - REST), 0, 0, 0])
    assert not asked.joints.any()
    say(joystick, 0.3, a1=1.0)
    assert joystick.wish(0.3) is None


def test_a_button_that_was_down_before_anybody_listened_must_be_let_go_first():
    joystick = stick()
    say(joystick, 0.0, HOLD, a1=1.0)
    assert joystick.wish(0.0) is None
    say(joystick, 0.1)
    say(joystick, 0.2, HOLD, a1=1.0)
    assert joystick.wish(0.2) is not None


def test_silence_stops_and_what_comes_after_it_does_not_go_on():
    joystick = held()
    say(joystick, 0.1, HOLD, a1=1.0)
    assert joystick.wish(0.39) is not None
    assert joystick.wish(0.41) is None
    assert joystick.silent(0.41)
    say(joystick, 0.5, HOLD, a1=1.0)
    assert joystick.wish(0.5) is None
    # A clock that was set back is no time in which anything was heard.
    assert joystick.silent(0.4)  # before the last message


def test_a_stick_at_rest_asks_for_nothing_and_one_beyond_its_end_for_no_more():
    joystick = held()
    say(joystick, 0.1, HOLD, a1=REST, a0=7.0)
    assert joystick.wish(0.1).tip.tolist() == [0, 1.0, 0, 0, 0]


def test_joints_and_gripper():
    joystick = held()
    say(joystick, 0.1, HOLD, JOINTS, OPEN, a0=1.0, a1=1.0)
    asked = joystick.wish(0.1)
    assert not asked.tip.any()
    assert asked.joints == pytest.approx([-1, 1, 0, 0, 0, 1])


def test_an_arm_of_unknown_geometry_is_moved_by_joint():
    joystick = stick(tip=False)
    say(joystick, 0.0)
    say(joystick, 0.1, HOLD, a1=1.0)
    assert joystick.wish(0.1).joints == pytest.approx([0, 1, 0, 0, 0, 0])


def test_the_arm_is_handed_back_by_a_press_and_once():
    joystick = stick()
    say(joystick, 0.0, BACK)
    assert not joystick.hands_back()
    say(joystick, 0.1)
    say(joystick, 0.2, BACK)
    say(joystick, 0.3, BACK)
    assert joystick.hands_back()
    assert not joystick.hands_back()
    say(joystick, 0.4, HOLD, a1=1.0)
    assert joystick.wish(0.4) is not None
    joystick.let_go()
    say(joystick, 0.5, HOLD, a1=1.0)
    assert joystick.wish(0.5) is None


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_numbers_that_are_none_let_go(bad):
    joystick = held()
    say(joystick, 0.1, HOLD, a1=1.0)
    assert "finite" in say(joystick, 0.2, HOLD, a2=bad)
    assert joystick.wish(0.2) is None
    assert joystick.refused == 1


def test_a_message_of_another_device_is_refused_with_what_was_expected():
    joystick = held()
    assert "expected 8 axes and 7 buttons or more, found 2 and 3" in joystick.hear(
        [0.0, 0.0], [1, 1, 1], 0.1
    )
    assert joystick.wish(0.1) is None


def test_layouts_from_texts():
    assert read_axes(["x=1", "pitch=-7", "y=-0"], ["x", "y", "pitch"]) == {
        "x": (1, 1),
        "pitch": (7, -1),
        "y": (0, -1),
    }
    assert read_buttons(["hold=0", "open=1"]) == {"hold": 0, "open": 1}


@pytest.mark.parametrize("text", ["w=1", "x", "x=", "x=one", "x=--1", "x=1.5", "x=256", "x=\u0661"])
def test_a_wrong_axis_says_what_is_expected(text):
    with pytest.raises(ValueError, match="expected NAME=INDEX of x, y"):
        read_axes([text], ["x", "y"])


def test_wrong_buttons_and_layouts_are_refused():
    with pytest.raises(ValueError, match="each may be given once"):
        read_axes(["x=1", "x=2"], ["x"])
    with pytest.raises(ValueError, match="a button has no sign"):
        read_buttons(["hold=-1"])
    with pytest.raises(ValueError, match="a button to hold"):
        stick(Layout({"x": (0, 1)}, {}, {"open": 1}))
    with pytest.raises(ValueError, match="axes of the arm's joints, wheel; found shoulder_pan"):
        stick(tip=False, joints=["wheel"])


@pytest.mark.parametrize("device", sorted(LAYOUTS))
def test_layouts_name_joints_of_the_arm_and_share_no_place(device):
    layout = LAYOUTS[device]
    assert set(layout.joints) <= set(SO101_JOINTS)
    for given in (layout.axes, layout.joints):
        places = [index for index, _ in given.values()]
        assert len(set(places)) == len(places)
    assert len(set(layout.buttons.values())) == len(layout.buttons)
    assert np.all([sign in (1, -1) for _, sign in layout.axes.values()])
