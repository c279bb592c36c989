import pytest
from fake_camera import (
    AUTOGAIN,
    AWB,
    EXPOSURE,
    EXPOSURE_AUTO,
    FOCUS,
    FOCUS_AUTO,
    GAIN,
    POWER_LINE,
    PRIORITY,
    READ_ONLY,
    WB_K,
    FakeKernel,
    Knob,
    usual_knobs,
)

from armlet.camera import ControlError, ControlLock, V4l2Device
from armlet.camera.controls import VARIABLE_RATE

AS_IT_IS = dict.fromkeys(("exposure", "gain", "white_balance_k", "focus", "power_line_hz"), "as_is")


def lock_on(kernel, **wishes):
    return ControlLock(AS_IT_IS | wishes, lambda path: V4l2Device("/dev/null", kernel.ioctl))


def values(kernel):
    return {id: knob.value for id, knob in kernel.knobs.items()}


def test_nothing_wished_touches_nothing():
    kernel = FakeKernel()
    lock_on(kernel).apply("/dev/video0")
    assert kernel.written == []


def test_values_are_held_with_their_automatism_off():
    kernel = FakeKernel()
    lock = lock_on(kernel, exposure=156, white_balance_k=4600, focus=30, gain=9, power_line_hz=50)
    lock.apply("/dev/video0")
    found = values(kernel)
    assert (found[EXPOSURE_AUTO], found[EXPOSURE]) == (1, 156)
    assert (found[AWB], found[WB_K]) == (0, 4600)
    assert (found[FOCUS_AUTO], found[FOCUS]) == (0, 30)
    assert (found[GAIN], found[POWER_LINE]) == (9, 1)
    state = lock.state("/dev/video0")
    assert state.automatic == ()
    assert state.changed == ()


def test_a_change_is_set_at_once_and_again_after_an_opening():
    kernel = FakeKernel()
    lock = lock_on(kernel, gain=9)
    lock.apply("/dev/video0")
    lock.change("/dev/video0", {"exposure": 156, "power_line_hz": 60})
    assert lock.wishes == {"gain": 9, "exposure": 156, "power_line_hz": 60}
    kernel.knobs[EXPOSURE].value = 300
    lock.apply("/dev/video0")
    found = values(kernel)
    assert (found[EXPOSURE_AUTO], found[EXPOSURE], found[POWER_LINE], found[GAIN]) == (1, 156, 2, 9)
    lock.change("/dev/video0", {"exposure": "as_is", "gain": "as_is"})
    assert lock.wishes == {"power_line_hz": 60}
    assert values(kernel)[EXPOSURE] == 156, "left at what it is"


@pytest.mark.parametrize(
    "wishes",
    [
        {"exposure": 156, "gain": 256},
        {"white_balance_k": 4600, "exposure": 5000},
        {"exposure": 200, "brightness": 3},
        {"focus": 30, "gain": "bright"},
    ],
)
def test_a_change_that_a_camera_does_not_take_is_undone(wishes):
    kernel = FakeKernel()
    lock = lock_on(kernel, power_line_hz=50)
    lock.apply("/dev/video0")
    before = values(kernel)
    with pytest.raises(ControlError):
        lock.change("/dev/video0", wishes)
    assert values(kernel) == before
    assert lock.wishes == {"power_line_hz": 50}


def test_what_is_automatic_is_reported():
    kernel = FakeKernel()
    state = lock_on(kernel).state("/dev/video0")
    assert state.automatic == ("exposure", "white_balance_k", "focus", VARIABLE_RATE)
    assert state.values == {"exposure": 250, "gain": 40, "white_balance_k": 4610, "focus": 35}
    kernel.knobs[PRIORITY].value = 0
    assert VARIABLE_RATE not in lock_on(kernel).state("/dev/video0").automatic


def test_freezing_holds_what_the_automatism_chose():
    kernel = FakeKernel()
    lock = lock_on(kernel)
    assert lock.freeze("/dev/video0") == {"exposure": 250, "white_balance_k": 4610, "focus": 35}
    found = values(kernel)
    assert (found[EXPOSURE_AUTO], found[EXPOSURE], found[AWB], found[WB_K]) == (1, 250, 0, 4610)
    assert lock.state("/dev/video0").automatic == ()


def test_a_camera_that_comes_back_gets_the_frozen_values():
    first, second = FakeKernel(), FakeKernel()
    second.knobs[EXPOSURE].value = 999
    kernels = iter([first, second, second])
    lock = ControlLock(AS_IT_IS, lambda path: V4l2Device("/dev/null", next(kernels).ioctl))
    lock.freeze("/dev/video0")
    lock.apply("/dev/video2")
    assert (second.knobs[EXPOSURE].value, second.knobs[EXPOSURE_AUTO].value) == (250, 1)
    assert lock.state("/dev/video2").automatic == ()


def test_what_was_asked_to_be_automatic_stays_so():
    kernel = FakeKernel()
    kernel.knobs[AWB].value = 0
    lock = lock_on(kernel, white_balance_k="auto")
    lock.apply("/dev/video0")
    assert kernel.knobs[AWB].value == 1
    assert set(lock.freeze("/dev/video0")) == {"exposure", "focus"}
    assert lock.state("/dev/video0").automatic == ("white_balance_k",)


def test_automatic_exposure_by_the_choice_a_camera_has():
    knobs = usual_knobs()
    knobs[EXPOSURE_AUTO].value = 1
    lock_on(FakeKernel(knobs), exposure="auto").apply("/dev/video0")
    assert knobs[EXPOSURE_AUTO].value == 3
    knobs[EXPOSURE_AUTO] = Knob("Auto Exposure", 0, 1, 1, kind=3, menu={0: "Auto", 1: "Manual"})
    lock_on(FakeKernel(knobs), exposure="auto").apply("/dev/video0")
    assert knobs[EXPOSURE_AUTO].value == 0


def test_a_control_another_program_changed_is_reported():
    kernel = FakeKernel()
    lock = lock_on(kernel, exposure=156)
    lock.apply("/dev/video0")
    kernel.knobs[EXPOSURE].value = 300
    assert lock.state("/dev/video0").changed == ("exposure",)


def test_a_missing_control_is_named_with_those_there_are():
    knobs = usual_knobs()
    del knobs[FOCUS], knobs[FOCUS_AUTO]
    for wish in (30, "auto"):
        with pytest.raises(ControlError, match=r"no control to set .*focus.*controls are.*Gain"):
            lock_on(FakeKernel(knobs), focus=wish).apply("/dev/video0")
    knobs[GAIN].flags = READ_ONLY
    with pytest.raises(ControlError, match="no control to set gain"):
        lock_on(FakeKernel(knobs), gain=3).apply("/dev/video0")


def test_an_automatism_without_a_value_to_hold_is_an_error_when_frozen():
    knobs = {AUTOGAIN: Knob("Gain, Automatic", 0, 1, 1)}
    lock = lock_on(FakeKernel(knobs))
    assert lock.state("/dev/video0").automatic == ("gain",)
    with pytest.raises(ControlError, match="no control to set gain"):
        lock.freeze("/dev/video0")


def test_values_out_of_range_are_refused_with_the_range():
    with pytest.raises(ControlError, match="exposure from 3 to 2047 in steps of 1, not 5000"):
        lock_on(FakeKernel(), exposure=5000).apply("/dev/video0")
    with pytest.raises(ControlError, match=r"no choice 3 for power_line_hz; it has 0 \(Disabled\)"):
        lock_on(FakeKernel(), power_line_hz="auto").apply("/dev/video0")


def test_a_value_that_is_rounded_to_a_step_is_taken():
    kernel = FakeKernel()
    lock = lock_on(kernel, white_balance_k=4604)
    lock.apply("/dev/video0")
    assert kernel.knobs[WB_K].value == 4600
    assert lock.state("/dev/video0").changed == ()


def test_a_value_that_is_not_taken_is_an_error():
    kernel = FakeKernel()
    kernel.knobs[GAIN].stuck = True
    with pytest.raises(ControlError, match="gain was set to 200, the camera has 40"):
        lock_on(kernel, gain=200).apply("/dev/video0")


@pytest.mark.parametrize(
    ("wishes", "message"),
    [
        ({"exposure": "bright"}, "exposure must be a whole number"),
        ({"gain": 1.5}, "gain must be a whole number"),
        ({"gain": True}, "gain must be a whole number"),
        ({"power_line_hz": 55}, "power_line_hz must be 50, 60, 0"),
        ({"zoom": 3}, "no control 'zoom'"),
    ],
)
def test_wishes_no_camera_can_fulfil(wishes, message):
    with pytest.raises(ControlError, match=message):
        lock_on(FakeKernel(), **wishes)
