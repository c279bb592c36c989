import threading
import time

import cv2
import numpy as np
import pytest

from armlet.camera import CameraError, DeviceSource, jpeg, read_counter
from armlet.camera.pattern import paint

MJPG = cv2.VideoWriter.fourcc(*"MJPG")


class FakeCapture:
    """Stands in for cv2.VideoCapture: pictures come when the test says so."""

    def __init__(self, there=True, grants=None, converts=False, buffer_age_s=None):
        self.there = there
        self.grants = grants or {}
        self.converts = converts
        self.buffer_age_s = buffer_age_s
        self.settings = {}
        self.calls = []
        self.released = threading.Event()
        self.unplugged = False
        self.pending = threading.Semaphore(0)
        self.grabbed = 0

    def give(self, count=1):
        for _ in range(count):
            self.pending.release()

    def isOpened(self):
        return self.there

    def set(self, key, value):
        self.calls.append(key)
        self.settings[key] = self.grants.get(key, value)
        return True

    def get(self, key):
        if key == cv2.CAP_PROP_POS_MSEC:
            age_s = self.buffer_age_s
            return 0.0 if age_s is None else (time.monotonic() - age_s) * 1000
        return float(self.settings.get(key, -1))

    def grab(self):
        while not self.pending.acquire(timeout=0.01):
            if self.unplugged or self.closing():
                return False
        self.grabbed += 1
        return not self.unplugged

    def closing(self):
        return self.source is not None and self.source._closing

    source = None

    def retrieve(self):
        rgb = paint(128, 96, self.grabbed)
        if self.converts:
            return True, rgb[..., ::-1].copy()
        return True, np.frombuffer(jpeg.encode(rgb), np.uint8)[None]

    def release(self):
        self.released.set()


def source_on(capture, **changes):
    arguments = {"width": 128, "height": 96, "fps": 30, **changes}
    source = DeviceSource("/dev/video7", capture=lambda device: capture, **arguments)
    capture.source = source
    return source


def test_the_cameras_own_jpeg_is_passed_on():
    capture = FakeCapture()
    with source_on(capture) as source:
        capture.give()
        picture = source.read(5.0)
    assert picture.rgb is None
    assert picture.jpeg == jpeg.encode(paint(128, 96, 1))
    assert read_counter(picture.as_rgb()) == 1
    assert capture.settings[cv2.CAP_PROP_FOURCC] == MJPG
    assert capture.settings[cv2.CAP_PROP_CONVERT_RGB] == 0
    assert capture.released.is_set()


def test_other_formats_arrive_as_rgb():
    capture = FakeCapture(converts=True)
    with source_on(capture, fourcc="YUYV") as source:
        capture.give()
        picture = source.read(5.0)
    assert picture.jpeg is None
    assert np.array_equal(picture.rgb, paint(128, 96, 1))
    assert cv2.CAP_PROP_CONVERT_RGB not in capture.settings


def test_the_format_is_set_before_what_depends_on_it():
    capture = FakeCapture()
    with source_on(capture):
        pass
    assert capture.calls[0] == cv2.CAP_PROP_FOURCC


@pytest.mark.parametrize(
    ("key", "value", "granted"),
    [
        (cv2.CAP_PROP_FRAME_WIDTH, 320, "320x96 at 30 fps in MJPG"),
        (cv2.CAP_PROP_FPS, 15, "128x96 at 15 fps in MJPG"),
        (cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"YUYV"), "128x96 at 30 fps in YUYV"),
    ],
)
def test_another_mode_than_requested_is_an_error(key, value, granted):
    capture = FakeCapture(grants={key: value})
    with pytest.raises(CameraError) as caught:
        source_on(capture).open()
    text = str(caught.value)
    assert "camera /dev/video7: requested 128x96 at 30 fps in MJPG" in text
    assert f"granted {granted}" in text
    assert "v4l2-ctl" in text
    assert capture.released.is_set()


def test_a_rounded_rate_is_not_another_mode():
    capture = FakeCapture(grants={cv2.CAP_PROP_FPS: 29.97})
    with source_on(capture) as source:
        capture.give()
        assert source.read(5.0).jpeg


def test_a_camera_that_does_not_open_is_named():
    capture = FakeCapture(there=False)
    with pytest.raises(CameraError, match=r"/dev/video7 cannot be opened.*group video"):
        source_on(capture).open()
    assert capture.released.is_set()


def test_the_stamp_is_the_drivers_buffer_time():
    capture = FakeCapture(buffer_age_s=0.5)
    with source_on(capture) as source:
        before_ns = time.time_ns()
        capture.give()
        stamp_ns = source.read(5.0).stamp_ns
        after_ns = time.time_ns()
    slack_ns = 2_000_000
    assert before_ns - 500_000_000 - slack_ns <= stamp_ns <= after_ns - 500_000_000 + slack_ns


@pytest.mark.parametrize("age_s", [None, 3600.0, -5.0])
def test_without_a_buffer_time_the_stamp_is_the_time_of_the_grab(age_s):
    capture = FakeCapture(buffer_age_s=age_s)
    with source_on(capture) as source:
        before_ns = time.time_ns()
        capture.give()
        stamp_ns = source.read(5.0).stamp_ns
    assert before_ns <= stamp_ns <= time.time_ns()


def test_a_slow_reader_gets_the_newest_picture():
    capture = FakeCapture()
    with source_on(capture) as source:
        capture.give(5)
        with source._changed:
            assert source._changed.wait_for(lambda: source.skipped == 4, 5.0)
        assert read_counter(source.read(5.0).as_rgb()) == 5
        assert source.skipped == 4


def test_silence_is_an_error_that_says_what_was_set():
    with source_on(FakeCapture()) as source, pytest.raises(CameraError) as caught:
        source.read(0.02)
    assert "no picture within 0.020 s (set to 128x96 at 30 fps in MJPG)" in str(caught.value)


def test_an_unplugged_camera_is_an_error_and_is_released():
    capture = FakeCapture()
    with source_on(capture) as source:
        capture.unplugged = True
        with pytest.raises(CameraError, match="/dev/video7 stopped giving pictures"):
            source.read(5.0)
        assert capture.released.wait(5.0)


def test_an_unexpected_failure_reaches_the_reader():
    capture = FakeCapture()
    capture.retrieve = lambda: (_ for _ in ()).throw(OSError("no such device"))
    with source_on(capture) as source:
        capture.give()
        with pytest.raises(CameraError, match="no such device"):
            source.read(5.0)


def test_a_picture_of_another_shape_is_refused():
    capture = FakeCapture(converts=True)
    capture.retrieve = lambda: (True, np.zeros((96, 128, 2), np.uint8))
    with source_on(capture, fourcc="YUYV") as source:
        capture.give()
        with pytest.raises(CameraError, match=r"\(96, 128, 2\), expected \(96, 128, 3\)"):
            source.read(5.0)


def test_it_opens_again_after_a_failure():
    first, second = FakeCapture(), FakeCapture()
    captures = iter([first, second])
    source = DeviceSource(0, 128, 96, 30, capture=lambda device: next(captures))
    first.source = second.source = source
    first.unplugged = True
    with source, pytest.raises(CameraError):
        source.read(5.0)
    with source:
        second.give()
        assert read_counter(source.read(5.0).as_rgb()) == 1


def test_reading_a_closed_camera_is_an_error():
    with pytest.raises(CameraError, match="not open"):
        source_on(FakeCapture()).read(0.1)


def test_a_wrong_format_name_is_refused():
    with pytest.raises(CameraError, match="FOURCC"):
        source_on(FakeCapture(), fourcc="H26")
