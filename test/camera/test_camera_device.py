import time

import cv2
import numpy as np
import pytest
from fake_camera import MJPG, FakeCapture, Plug, host, monotonic_ms, node

from armlet.camera import (
    CameraError,
    DeviceSource,
    NoPicture,
    StampedBy,
    device,
    jpeg,
    read_counter,
)
from armlet.camera.device import HOST
from armlet.camera.pattern import paint

# Far longer than anything takes on a busy computer.
LONG_S = 120.0


def source_on(capture, **changes):
    arguments = {"width": 128, "height": 96, "fps": 30, **changes}
    source = DeviceSource("/dev/video7", host=host(capture), **arguments)
    capture.source = source
    return source


def test_the_cameras_own_jpeg_is_passed_on():
    capture = FakeCapture()
    with source_on(capture) as source:
        capture.give()
        picture = source.read(LONG_S)
    assert picture.rgb is None
    assert bytes(picture.jpeg) == jpeg.encode(paint(128, 96, 1))
    assert read_counter(picture.as_rgb()) == 1
    assert capture.settings[cv2.CAP_PROP_FOURCC] == MJPG
    assert capture.settings[cv2.CAP_PROP_CONVERT_RGB] == 0
    assert capture.released.is_set()


def test_the_cameras_bytes_are_not_copied_before_they_are_published():
    capture = FakeCapture()
    given = np.frombuffer(jpeg.encode(paint(128, 96, 1)), np.uint8)[None]
    capture.retrieve = lambda: (True, given)
    with source_on(capture) as source:
        capture.give()
        picture = source.read(LONG_S)
    assert np.shares_memory(np.frombuffer(picture.jpeg, np.uint8), given)
    assert picture.as_jpeg() is picture.jpeg


def test_other_formats_arrive_as_rgb():
    capture = FakeCapture(converts=True)
    with source_on(capture, fourcc="YUYV") as source:
        capture.give()
        picture = source.read(LONG_S)
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
    assert "ask for a mode it has: MJPG: 128x96 at 30 fps" in text
    assert capture.released.is_set()


def test_a_rounded_rate_is_not_another_mode():
    capture = FakeCapture(grants={cv2.CAP_PROP_FPS: 29.97})
    with source_on(capture) as source:
        capture.give()
        assert source.read(LONG_S).jpeg


def test_a_camera_that_does_not_open_is_named():
    capture = FakeCapture(there=False)
    with pytest.raises(CameraError, match=r"/dev/video7 cannot be opened.*group video"):
        source_on(capture).open()
    assert capture.released.is_set()


@pytest.fixture
def long_recent(monkeypatch):
    """A stamp is no old one where this computer stood still after it was given."""
    monkeypatch.setattr(device, "_STAMP_AGE_LIMIT_S", LONG_S)


def buffer_of_age(age_s, now_s=time.monotonic):
    return FakeCapture(stamp_ms=lambda: (now_s() - age_s) * 1000)


@pytest.mark.parametrize("now_s", [time.monotonic, time.time])
def test_the_stamp_is_the_drivers_buffer_time(now_s, long_recent):
    capture = buffer_of_age(0.5, now_s)
    with source_on(capture) as source:
        before_ns = time.time_ns()
        capture.give()
        picture = source.read(LONG_S)
        after_ns = time.time_ns()
    slack_ns = 2_000_000
    low_ns, high_ns = before_ns - 500_000_000 - slack_ns, after_ns - 500_000_000 + slack_ns
    assert low_ns <= picture.stamp_ns <= high_ns
    assert picture.stamped_by is StampedBy.DRIVER


def test_stamps_keep_the_drivers_spacing_exactly(long_recent):
    stamps_ms = iter([(time.monotonic() - 0.5) * 1000 // 1 + 33 * count for count in range(5)])
    capture = FakeCapture(stamp_ms=lambda: next(stamps_ms))
    with source_on(capture) as source:
        found = []
        for _ in range(5):
            capture.give()
            found.append(source.read(LONG_S).stamp_ns)
    assert np.diff(found).tolist() == [33_000_000] * 4


@pytest.mark.parametrize("stamp_ms", [lambda: 0.0, lambda: monotonic_ms() - 3.6e6, lambda: 9e15])
def test_without_a_buffer_time_the_stamp_is_the_time_of_the_grab(stamp_ms):
    capture = FakeCapture(stamp_ms=stamp_ms)
    with source_on(capture) as source:
        before_ns = time.time_ns()
        capture.give()
        picture = source.read(LONG_S)
    assert before_ns <= picture.stamp_ns <= time.time_ns()
    assert picture.stamped_by is StampedBy.ARRIVAL


def until(source, ready):
    with source._changed:
        assert source._changed.wait_for(ready, LONG_S)


def test_a_reader_held_up_loses_nothing_then_the_oldest():
    capture = FakeCapture()
    with source_on(capture) as source:
        capture.give()
        assert read_counter(source.read(LONG_S).as_rgb()) == 1
        capture.give(8)
        until(source, lambda: len(source._pictures) == 8)
        assert source.skipped == 0
        capture.give(3)
        until(source, lambda: source.skipped == 3)
        assert [read_counter(source.read(LONG_S).as_rgb()) for _ in range(8)] == list(range(5, 13))


def test_the_first_picture_read_is_not_an_old_one():
    capture = FakeCapture()
    with source_on(capture) as source:
        capture.give(5)
        until(source, lambda: capture.grabbed == 5 and len(source._pictures) == 1)
        capture.give()
        until(source, lambda: capture.grabbed == 6)
        assert read_counter(source.read(LONG_S).as_rgb()) >= 5
        assert source.skipped == 0


def test_silence_is_an_error_that_says_what_was_set():
    with source_on(FakeCapture()) as source, pytest.raises(NoPicture) as caught:
        source.read(0.02)
    assert "no picture within 0.020 s (set to 128x96 at 30 fps in MJPG)" in str(caught.value)


def test_an_unplugged_camera_is_an_error_and_is_released():
    capture = FakeCapture()
    with source_on(capture) as source:
        capture.unplugged = True
        with pytest.raises(CameraError, match="/dev/video7 stopped giving pictures"):
            source.read(LONG_S)
        assert capture.released.wait(LONG_S)


def test_an_unexpected_failure_reaches_the_reader():
    capture = FakeCapture()
    capture.retrieve = lambda: (_ for _ in ()).throw(OSError("no such device"))
    with source_on(capture) as source:
        capture.give()
        with pytest.raises(CameraError, match="no such device"):
            source.read(LONG_S)


def test_a_picture_of_another_shape_is_refused():
    capture = FakeCapture(converts=True)
    capture.retrieve = lambda: (True, np.zeros((96, 128, 2), np.uint8))
    with source_on(capture, fourcc="YUYV") as source:
        capture.give()
        with pytest.raises(CameraError, match=r"\(96, 128, 2\), expected \(96, 128, 3\)"):
            source.read(LONG_S)


def test_it_opens_again_after_a_failure():
    plug = Plug()
    source = plug.source_of(0, 128, 96, 30)
    with source:
        plug.capture.unplugged = True
        with pytest.raises(CameraError, match="stopped giving"):
            for _ in range(20):
                source.read(LONG_S)
    with source:
        assert read_counter(source.read(LONG_S).as_rgb()) > 1000


def test_reading_a_closed_camera_is_an_error():
    with pytest.raises(CameraError, match="not open"):
        source_on(FakeCapture()).read(0.1)


def test_a_wrong_format_name_is_refused():
    with pytest.raises(CameraError, match="FOURCC"):
        source_on(FakeCapture(), fourcc="H26")


def test_a_renumbered_camera_is_found_and_no_other_is_taken_for_it():
    plug = Plug()
    source = plug.source_of("/dev/video0", 128, 96, 30)
    with source:
        source.read(LONG_S)
    plug.nodes = [node(0, serial="S2", port="usb1/1-3", name="Other Cam")]
    with pytest.raises(CameraError, match=r"Arm Cam \(serial S1\) is not plugged in.*Other Cam"):
        source.open()
    plug.nodes.append(node(4))
    with source:
        assert source.read(LONG_S).jpeg
        assert source.path == "/dev/video4"
    assert plug.opened == ["/dev/video0", "/dev/video4"]


def test_a_stable_path_is_opened_as_it_is():
    plug = Plug(links=["/dev/v4l/by-id/usb-Arm_Cam_S1-video-index0"])
    link = plug.nodes[0].stable_paths[0]
    opened = []
    machine = plug.host()
    follow = type(machine)(
        lambda path: opened.append(path) or machine.capture(plug.nodes[0].path),
        machine.nodes,
        machine.offers,
    )
    source = DeviceSource(link, 128, 96, 30, host=follow)
    plug.source = source
    for number in (0, 3):
        plug.put_back(number)
        with source:
            source.read(LONG_S)
    assert opened == [link, link]


def test_the_real_machine_is_asked_for_what_it_offers():
    assert HOST.offers("/dev/null").startswith("its list cannot be read (/dev/null is not a video")
