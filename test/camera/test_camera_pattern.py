import io
import threading
import time

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from armlet.camera import CameraError, PatternSource, jpeg, read_counter
from armlet.camera.pattern import paint

FPS = 200.0
# Far longer than anything takes on a busy computer.
LONG_S = 120.0


@given(st.integers(0, 2**24 - 1))
def test_any_number_is_read_back(number):
    assert read_counter(paint(128, 96, number)) == number


@settings(max_examples=25)
@given(st.integers(0, 2**24 - 1), st.sampled_from([(64, 64), (128, 96), (320, 240), (101, 77)]))
def test_numbers_survive_rough_jpeg(number, size):
    assert read_counter(jpeg.decode(jpeg.encode(paint(*size, number), 25))) == number


def test_numbers_survive_h264():
    numbers = [0, 1, 2, 0x5A5A5A, 0xFFFFFF, 77]
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        stream.options = {"crf": "32", "preset": "ultrafast"}
        for number in numbers:
            frame = av.VideoFrame.from_ndarray(paint(128, 96, number), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    buffer.seek(0)
    with av.open(buffer) as container:
        found = [read_counter(f.to_ndarray(format="rgb24")) for f in container.decode(video=0)]
    assert found == numbers


@pytest.mark.parametrize("level", [0, 128, 255])
def test_other_pictures_are_refused(level):
    with pytest.raises(CameraError, match="no test pattern"):
        read_counter(np.full((96, 128, 3), level, np.uint8))


def test_stamps_lie_on_one_grid_with_the_numbers():
    before_ns = time.time_ns()
    with PatternSource(64, 64, FPS) as source:
        pictures = [source.read(1.0) for _ in range(8)]
    start_ns = pictures[0].stamp_ns - round(read_counter(pictures[0].as_rgb()) / FPS * 1e9)
    assert start_ns >= before_ns
    for picture in pictures:
        elapsed_ns = round(read_counter(picture.as_rgb()) / FPS * 1e9)
        assert abs(picture.stamp_ns - start_ns - elapsed_ns) <= 1
        assert picture.stamp_ns <= time.time_ns()


def test_a_slow_reader_loses_pictures_instead_of_getting_old_ones():
    with PatternSource(64, 64, FPS) as source:
        first = source.read(1.0)
        until = time.monotonic() + 10 / FPS
        while time.monotonic() < until:
            threading.Event().wait(1 / FPS)
        second = source.read(1.0)
    assert read_counter(second.as_rgb()) - read_counter(first.as_rgb()) >= 10


def test_a_timeout_is_an_error_that_says_when():
    with PatternSource(64, 64, 0.05) as source:
        assert read_counter(source.read(1.0).as_rgb()) == 0
        with pytest.raises(CameraError, match=r"no picture within 0\.010 s: the next is due in"):
            source.read(0.01)


def test_closing_wakes_a_reader():
    source = PatternSource(64, 64, 0.05)
    source.open()
    source.read(1.0)
    errors = []

    def wait():
        try:
            source.read(60.0)
        except CameraError as error:
            errors.append(str(error))

    reader = threading.Thread(target=wait)
    reader.start()
    source.close()
    reader.join(LONG_S)
    assert not reader.is_alive()
    assert len(errors) == 1


def test_misuse_is_refused():
    with pytest.raises(CameraError, match="open"):
        PatternSource(64, 64, 30).read(0.1)
    with pytest.raises(CameraError, match="64x64"):
        PatternSource(32, 32, 30)
    with pytest.raises(CameraError, match="rate"):
        PatternSource(64, 64, 0)
    with pytest.raises(ValueError, match="24 bits"):
        paint(64, 64, 2**24)
