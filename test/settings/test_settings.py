"""How parameters are declared, and what a declaration permits; no ROS is needed for that."""

import math
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from armlet import align
from armlet.bringup import NODES
from armlet.camera import controls
from armlet.control import guard, protection
from armlet.settings import Change, Fixed, Setting, declared
from armlet.settings import aligner as settings_aligner
from armlet.settings import camera as settings_camera
from armlet.settings import servo_bus as settings_servo_bus

EVERY = [setting for node in NODES for setting in declared(node, ["elbow_flex"]).values()]
SPEED = Setting("speed", 2.0, "rad/s", 0.1, 10.0, change=Change.LOWER)
COUNT = Setting("count", 3, "", 0, 9, change=Change.FREE)
EXPOSURE = Setting("exposure", "as_is", "", words=("as_is", "auto"), change=Change.FREE)
TOPICS = Setting("topics", ["a"], "", change=Change.FREE)


@pytest.mark.parametrize("setting", EVERY, ids=lambda setting: setting.name)
def test_a_default_is_what_its_declaration_permits(setting):
    assert setting.misfit(setting.default) == ""
    if isinstance(setting.change, Fixed):
        assert setting.change.why[-1] not in ".;", "a clause that follows `read-only: `"
    elif setting.change is not Change.FREE:
        assert type(setting.default) is float, "only of numbers one is lower"


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        (SPEED, 11.0, "must be 0.1 to 10, found 11.0"),
        (SPEED, 2, "must be a number, found 2; write 2.0"),
        (SPEED, True, "must be a number, found True"),
        (SPEED, "2.0", "must be a number, found '2.0'"),
        (SPEED, math.nan, "must be a finite number, found nan"),
        (COUNT, 1.0, "must be a whole number, found 1.0"),
        (COUNT, False, "must be a whole number, found False"),
        (COUNT, 10, "must be 0 to 9, found 10"),
        (COUNT, None, "cannot be deleted"),
        (EXPOSURE, "bright", "must be a whole number or as_is or auto, found 'bright'"),
        (EXPOSURE, 1.5, "must be a whole number or as_is or auto, found 1.5"),
        (EXPOSURE, None, "cannot be deleted"),
        (TOPICS, "a", "must be a list of texts, found 'a'"),
        (TOPICS, [1], "must be a list of texts, found [1]"),
    ],
)
def test_what_is_no_value_is_named_with_what_was_expected(setting, value, said):
    assert setting.misfit(value) == said
    assert setting.refusal(value, setting.default) == f"{setting.name} {said}"


@pytest.mark.parametrize(
    ("setting", "value"),
    [(SPEED, 0.1), (SPEED, 10.0), (COUNT, 9), (EXPOSURE, 156), (EXPOSURE, "auto"), (TOPICS, [])],
)
def test_what_is_a_value_is_permitted(setting, value):
    assert setting.misfit(value) == ""


def test_a_limit_goes_down_and_back_up_to_what_was_configured_and_no_further():
    assert SPEED.refusal(1.0, 2.0) == SPEED.refusal(2.0, 2.0) == ""
    assert "raised back up to the configured 2.0, found 2.5" in SPEED.refusal(2.5, 2.0)
    least = Setting("volts", 4.5, "V", 0.0, 24.0, change=Change.HIGHER)
    assert least.refusal(6.0, 4.5) == least.refusal(4.5, 4.5) == ""
    assert "lowered back down to the configured 4.5, found 4.0" in least.refusal(4.0, 4.5)


def test_a_limit_of_one_joint_is_bound_by_the_common_one_where_it_has_none_itself():
    own = Setting("a.speed", 0.0, "", 0.0, 10.0, change=Change.LOWER, common="speed")
    assert (
        own.refusal(4.0, 0.0, 5.0) == own.refusal(5.0, 0.0, 5.0) == own.refusal(0.0, 0.0, 5.0) == ""
    )
    assert "the configured 5.0, found 5.5" in own.refusal(5.5, 0.0, 5.0)
    assert own.refusal(0.0, 8.0, 5.0) == own.refusal(8.0, 8.0, 5.0) == ""
    assert "the configured 2.0, found 0.0 (speed: 5.0)" in own.refusal(0.0, 2.0, 5.0)


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [("max_velocity_rad_s", 0.01, 10.0), ("max_acceleration_rad_s2", 0.1, 1000.0)],
)
def test_a_limit_of_one_joint_has_the_range_of_the_common_one_or_is_0(name, least, most):
    """Any limit above 0 was taken, of which no arm moves."""
    settings = declared("servo_bus", ["elbow_flex"])
    own = settings[f"elbow_flex.{name}"]
    assert [own.misfit(value) for value in (0.0, least, most)] == [""] * 3
    for value in (1e-9, least / 2, most * 1.1, -1.0, math.nan):
        assert own.misfit(value), value
    assert own.misfit(1e-9) == f"must be 0 (as {name}) or {least:g} to {most:g}, found 1e-09"
    assert settings[name].misfit(0.0)


BUS = declared("servo_bus", ["elbow_flex", "gripper"])
TUNED = {name: each for name, each in BUS.items() if not isinstance(each.change, Fixed)}


def effective(values):
    """What limits the arm: a joint's own limit, or the common one."""
    return {
        name: values[name] or values[each.common] for name, each in TUNED.items() if each.common
    } | {name: value for name, value in values.items() if not TUNED[name].common}


def of_range(setting):
    inside = st.floats(setting.low, setting.high)
    odd = st.sampled_from([0.0, -0.0, 5e-324, -1.0, math.nan, math.inf, 1, True, None, "1.0"])
    return st.one_of(inside, inside, st.sampled_from([setting.low, setting.high]), odd)


# To make a strategy takes longer than to draw from it.
RANGES = {name: of_range(each) for name, each in TUNED.items()}
BEGUN = st.fixed_dictionaries(
    {
        name: RANGES[name].filter(lambda value, each=each: not each.misfit(value))
        for name, each in TUNED.items()
    }
)
ASKED = st.lists(
    st.one_of([st.tuples(st.just(name), RANGES[name]) for name in sorted(TUNED)]), max_size=20
)


@given(BEGUN, ASKED)
def test_no_change_while_it_runs_loosens_a_limit_beyond_what_it_was_started_with(begun, asked):
    """Values a servo_bus may be started with, and what somebody asks for while it runs."""
    assert {name for name, each in TUNED.items() if each.change is Change.FREE} == {"blend_s"}
    values, at_first = dict(begun), effective(begun)
    for name, value in asked:
        setting = TUNED[name]
        common = begun[setting.common] if setting.common else 0.0
        if setting.refusal(value, begun[name], common):
            continue
        values[name] = value
        for limit, now in effective(values).items():
            assert not TUNED[limit].misfit(now)
            if TUNED[limit].change is Change.LOWER:
                assert now <= at_first[limit]
            elif TUNED[limit].change is Change.HIGHER:
                assert now >= at_first[limit]


def test_a_read_only_parameter_answers_with_its_reason_whatever_the_value():
    port = Setting("port", "", "", change=Fixed("the bus is open"))
    assert port.refusal("/dev/x", "") == port.refusal(3, "") == "read-only: the bus is open"


def test_whether_it_changes_while_running_must_be_declared():
    with pytest.raises(TypeError, match="change"):
        Setting("speed", 1.0, "rad/s")


def test_what_declarations_repeat_is_what_the_code_has():
    bus, eye, grid = settings_servo_bus, settings_camera, settings_aligner
    assert (bus.MAX_VELOCITY, bus.MAX_ACCELERATION) == (guard.MAX_VELOCITY, guard.MAX_ACCELERATION)
    assert ", ".join(protection.Action) == bus._ACTIONS
    assert {
        joint: policy.relaxed_push_rad for joint, policy in protection.SO101_POLICIES.items()
    } == {"gripper": bus.GRIPPER_PUSH_RAD}
    assert (controls.AS_IS, controls.AUTO) == (eye.AS_IS, eye.AUTO)
    assert tuple(eye._UNITS) == controls.NAMES
    assert (align.STATE, align.ACTION, align.GIVE_UP_S) == (grid.STATE, grid.ACTION, grid.GIVE_UP_S)
    assert align.NONE == grid.NONE


def test_declarations_need_no_ros_and_load_next_to_nothing():
    script = (
        "import sys\n"
        "from armlet.settings import declared\n"
        f"for node in {NODES}: declared(node)\n"
        "assert not {'rclpy', 'torch', 'numpy'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
