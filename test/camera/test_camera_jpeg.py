import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from armlet.camera import CameraError, Picture, TornPicture, jpeg


def gradient():
    rows, columns = np.mgrid[0:48, 0:64].astype(np.uint8)
    return np.dstack([rows * 5, columns * 4, np.full_like(rows, 30)])


def test_colours_come_back_in_order():
    picture = np.zeros((32, 32, 3), np.uint8)
    picture[:] = (200, 40, 90)
    assert np.abs(jpeg.decode(jpeg.encode(picture)).astype(int) - (200, 40, 90)).max() <= 4


def test_bytes_hold_red_first_for_other_decoders():
    red = np.zeros((32, 32, 3), np.uint8)
    red[..., 0] = 255
    bgr = cv2.imdecode(np.frombuffer(jpeg.encode(red), np.uint8), cv2.IMREAD_COLOR)
    assert bgr[16, 16, 2] > 240 and bgr[16, 16, 0] < 15


def test_quality_matters():
    rough, fine = jpeg.encode(gradient(), 10), jpeg.encode(gradient(), 95)
    assert len(rough) < len(fine)
    with pytest.raises(ValueError, match=r"1\.\.100"):
        jpeg.encode(gradient(), 0)


def test_padding_after_the_end_is_accepted():
    data = jpeg.encode(gradient())
    assert np.array_equal(jpeg.decode(data + b"\0" * 7), jpeg.decode(data))


@given(st.binary(max_size=200))
def test_anything_else_is_refused(data):
    with pytest.raises(CameraError):
        jpeg.decode(data)


@given(st.binary(max_size=200))
def test_rubbish_between_the_markers_is_refused(data):
    with pytest.raises(CameraError, match=r"does not decode|states no size"):
        jpeg.decode(b"\xff\xd8" + data + b"\xff\xd9")


@given(st.integers(2, 400))
def test_a_cut_picture_is_refused(missing):
    data = jpeg.encode(gradient())
    with pytest.raises(CameraError, match="cut off"):
        jpeg.decode(data[:-missing])


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_only_rgb_pictures_are_encoded(wrong):
    with pytest.raises(ValueError, match="uint8"):
        jpeg.encode(wrong)


def test_a_picture_converts_either_way_and_keeps_the_cameras_bytes():
    data = jpeg.encode(gradient())
    assert Picture(5, jpeg=data).as_jpeg() is data
    assert np.array_equal(Picture(5, jpeg=data).as_rgb(), jpeg.decode(data))
    rgb = gradient()
    assert Picture(5, rgb).as_rgb() is rgb
    assert Picture(5, rgb).as_jpeg(80) == jpeg.encode(rgb, 80)


def test_a_picture_without_pixels_is_refused():
    with pytest.raises(ValueError, match="rgb, jpeg or both"):
        Picture(5)


def test_is_whole_sees_a_cut_without_decoding():
    data = jpeg.encode(np.zeros((16, 16, 3), np.uint8))
    assert jpeg.is_whole(data)
    assert jpeg.is_whole(data + b"\0" * 7)
    assert not jpeg.is_whole(data[:-2])
    assert not jpeg.is_whole(data[1:])
    assert not jpeg.is_whole(b"")


def test_much_padding_is_whole_too():
    data = jpeg.encode(gradient())
    assert jpeg.is_whole(data + b"\0" * 5000)
    assert not jpeg.is_whole(data[:-2] + b"\0" * 5000)


def test_the_size_is_read_from_the_header():
    data = jpeg.encode(gradient())
    assert jpeg.size(data) == (64, 48)
    assert jpeg.size(memoryview(data)) == (64, 48)
    assert jpeg.size(data[:2] + b"\xff\xff" + data[2:]) == (64, 48)


@given(st.binary(max_size=100), st.integers(0, 400))
def test_a_torn_header_states_no_size(tail, keep):
    data = jpeg.encode(gradient())
    try:
        size = jpeg.size(data[: min(keep, 160)] + tail)
    except TornPicture:
        return
    assert len(size) == 2


def test_a_header_without_frame_is_torn():
    with pytest.raises(TornPicture, match="states no size"):
        jpeg.size(b"\xff\xd8\xff\xda\x00\x04\x01\x02")


def test_bytes_in_any_buffer_decode():
    data = jpeg.encode(gradient())
    assert np.array_equal(jpeg.decode(memoryview(data)), jpeg.decode(data))
