import ctypes
import errno
import shutil
import subprocess
from pathlib import Path

import pytest
from fake_camera import DISABLED, EXPOSURE, EXPOSURE_AUTO, GAIN, REQUESTS, FakeKernel, Knob

from armlet.camera import CameraError, V4l2Device, v4l2

HEADER = Path("/usr/include/linux/videodev2.h")
NAMES = {
    "QUERYCAP": "v4l2_capability",
    "ENUM_FMT": "v4l2_fmtdesc",
    "ENUM_FRAMESIZES": "v4l2_frmsizeenum",
    "ENUM_FRAMEINTERVALS": "v4l2_frmivalenum",
    "G_CTRL": "v4l2_control",
    "S_CTRL": "v4l2_control",
    "QUERYCTRL": "v4l2_queryctrl",
    "QUERYMENU": "v4l2_querymenu",
}


def device_on(kernel):
    return V4l2Device("/dev/null", kernel.ioctl)


@pytest.mark.parametrize("name", NAMES)
def test_requests_have_the_kernels_numbers(name):
    number = getattr(v4l2, name)
    assert number in REQUESTS
    assert number >> 16 & 0x3FFF == ctypes.sizeof(REQUESTS[number][1])


@pytest.mark.skipif(
    not (HEADER.is_file() and shutil.which("cc")), reason="no C compiler or no kernel header"
)
def test_the_numbers_are_those_of_this_machines_header(tmp_path):
    source = tmp_path / "numbers.c"
    lines = [
        f'printf("%lu %zu\\n", (unsigned long)VIDIOC_{n}, sizeof(struct {s}));'
        for n, s in NAMES.items()
    ]
    lines += [f'printf("%u 0\\n", V4L2_CID_{cid.name});' for cid in v4l2.Cid]
    source.write_text(
        "#include <linux/videodev2.h>\n#include <stdio.h>\nint main(void) {"
        + "\n".join(lines)
        + "return 0;}"
    )
    program = tmp_path / "numbers"
    subprocess.run(["cc", str(source), "-o", str(program)], check=True)
    printed = subprocess.run([str(program)], check=True, capture_output=True, text=True).stdout
    found = [tuple(map(int, line.split())) for line in printed.splitlines()]
    expected = [(getattr(v4l2, n), getattr(v4l2, n) >> 16 & 0x3FFF) for n in NAMES]
    assert found == expected + [(int(cid), 0) for cid in v4l2.Cid]


def test_who_it_is():
    with device_on(FakeKernel()) as device:
        found = device.capability()
    assert (found.driver, found.card) == ("uvcvideo", "Arm Cam: Arm Cam")
    assert found.bus_info == "usb-0000:00:14.0-2"
    assert found.captures


def test_a_metadata_node_of_a_camera_does_not_capture():
    with device_on(FakeKernel(device_caps=0x04A00000)) as device:
        assert not device.capability().captures


def test_an_old_driver_without_capabilities_by_node():
    with device_on(FakeKernel(caps=0x04000001, device_caps=0)) as device:
        assert device.capability().captures


def test_everything_on_offer_is_listed():
    with device_on(FakeKernel()) as device:
        formats = device.formats()
    assert [str(format) for format in formats] == [
        "MJPG: 1280x720 at 30 fps, 640x480 at 30/15/7.5 fps",
        "YUYV: 640x480 at 30 fps",
    ]
    assert formats[0].description == "Motion-JPEG"


def test_ranges_of_sizes_and_rates():
    kernel = FakeKernel()
    kernel.stepwise = (160, 1920, 16, 120, 1080, 8)
    with device_on(kernel) as device:
        size = device.formats()[0].sizes[0]
    assert (size.width, size.height, size.max_width, size.max_height) == (160, 120, 1920, 1080)
    assert size.rates == (60.0, 5.0)
    assert str(size) == "160x120..1920x1080 at 60/5 fps"


def test_a_driver_that_lists_no_sizes():
    kernel = FakeKernel()
    kernel.formats = {"MJPG": (b"Motion-JPEG", [])}
    with device_on(kernel) as device:
        assert str(device.formats()[0]) == "MJPG: sizes unknown"


def test_controls_with_their_menus_gaps_and_state():
    with device_on(FakeKernel()) as device:
        controls = device.controls()
        assert device.control(EXPOSURE) == controls[EXPOSURE]
        assert device.control(0x12345) is None
    assert list(controls) == sorted(controls)
    assert controls[EXPOSURE_AUTO].menu == ((1, "Manual Mode"), (3, "Aperture Priority Mode"))
    exposure = controls[EXPOSURE]
    assert (exposure.name, exposure.minimum, exposure.maximum) == (
        "Exposure Time, Absolute",
        3,
        2047,
    )
    assert not exposure.active
    assert controls[GAIN].active and controls[GAIN].writable


def test_disabled_controls_are_passed_over():
    kernel = FakeKernel({5: Knob("a", 0, 1, 0, flags=DISABLED), 7: Knob("b", 0, 9, 4)})
    with device_on(kernel) as device:
        assert [control.name for control in device.controls().values()] == ["b"]
        assert device.control(5) is None


def test_values_are_read_and_written():
    kernel = FakeKernel()
    with device_on(kernel) as device:
        assert device.value(GAIN) == 40
        device.set_value(GAIN, 77)
        assert device.value(GAIN) == 77
        with pytest.raises(CameraError, match=f"refuses control {EXPOSURE:#x} = 5: Input/output"):
            device.set_value(EXPOSURE, 5)
        with pytest.raises(CameraError, match="does not report the value of control 0x1"):
            device.value(1)
    assert kernel.written == [(GAIN, 77)]


def test_negative_values_survive():
    kernel = FakeKernel({GAIN: Knob("Brightness", -64, 64, -3)})
    with device_on(kernel) as device:
        assert device.value(GAIN) == -3
        device.set_value(GAIN, -60)
        assert device.value(GAIN) == -60


def test_interrupted_calls_are_repeated():
    kernel = FakeKernel()
    kernel.interrupts = 3
    with device_on(kernel) as device:
        assert device.capability().captures


def test_a_camera_that_was_pulled_out_is_named():
    kernel = FakeKernel()
    with device_on(kernel) as device:
        kernel.gone = True
        with pytest.raises(CameraError, match="does not answer: it is gone"):
            device.formats()


def test_what_is_no_camera_is_named(tmp_path):
    with V4l2Device("/dev/null") as device, pytest.raises(CameraError, match="not a video device"):
        device.capability()
    with pytest.raises(CameraError, match=r"gone cannot be opened: it is not there"):
        V4l2Device(str(tmp_path / "gone"))


def test_advice_by_the_kind_of_error():
    assert "group video" in v4l2._advice(OSError(errno.EACCES, "Permission denied"))
    assert "another program" in v4l2._advice(OSError(errno.EBUSY, "busy"))
