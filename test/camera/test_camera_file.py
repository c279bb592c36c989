import errno
import os
import threading
import time
from itertools import pairwise

import av
import pytest

from armlet.camera import (
    CameraError,
    EndOfVideo,
    FileSource,
    PatternSource,
    open_source,
    read_counter,
)
from armlet.camera.pattern import paint

COUNT = 12
FPS = 100


def write_video(path, count=COUNT, options=None):
    """Numbered pictures as h264."""
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        stream.options = {"preset": "ultrafast", "g": "4"}
        for number in range(count):
            frame = av.VideoFrame.from_ndarray(paint(128, 96, number), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def write_motion_jpeg(path, count=COUNT):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuvj420p"
        for number in range(count):
            frame = av.VideoFrame.from_ndarray(paint(128, 96, number), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def test_motion_jpeg_is_given_as_it_is_stored(tmp_path):
    path = write_motion_jpeg(tmp_path / "clip.avi")
    data = path.read_bytes()
    with FileSource(path, realtime=False) as source:
        pictures = [source.read(1.0) for _ in range(COUNT)]
        with pytest.raises(EndOfVideo):
            source.read(1.0)
    assert all(picture.rgb is None and picture.jpeg in data for picture in pictures)
    assert [read_counter(picture.as_rgb()) for picture in pictures] == list(range(COUNT))
    stamps = [picture.stamp_ns - pictures[0].stamp_ns for picture in pictures]
    assert stamps == pytest.approx([number / FPS * 1e9 for number in range(COUNT)], abs=2)


def test_motion_jpeg_with_a_torn_picture_is_refused(tmp_path):
    path = write_motion_jpeg(tmp_path / "clip.avi")
    with FileSource(path, realtime=False) as source:
        third = [source.read(1.0).jpeg for _ in range(3)][2]
    data = path.read_bytes()
    path.write_bytes(
        data.replace(third, third[: len(third) // 2] + bytes(len(third) - len(third) // 2))
    )
    with (
        FileSource(path, realtime=False) as source,
        pytest.raises(CameraError, match="torn at picture 2"),
    ):
        numbers(source, COUNT)


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("video") / "clip.mp4")


def numbers(source, count):
    return [read_counter(source.read(1.0).as_rgb()) for _ in range(count)]


def test_every_picture_in_order_then_the_end(video):
    with FileSource(video, realtime=False) as source:
        assert (source.width, source.height, source.fps) == (128, 96, FPS)
        assert numbers(source, COUNT) == list(range(COUNT))
        with pytest.raises(EndOfVideo, match="no further picture"):
            source.read(1.0)


@pytest.mark.parametrize("realtime", [True, False])
def test_stamps_keep_the_files_spacing(video, realtime):
    with FileSource(video, realtime=realtime) as source:
        stamps = [source.read(1.0).stamp_ns for _ in range(COUNT)]
    expected = [round(number / FPS * 1e9) for number in range(COUNT)]
    assert [stamp - stamps[0] for stamp in stamps] == pytest.approx(expected, abs=2)


def test_realtime_never_runs_ahead_of_the_clock(video):
    with FileSource(video) as source:
        for _ in range(COUNT):
            assert source.read(1.0).stamp_ns <= time.time_ns()


def test_an_impatient_reader_loses_nothing(video):
    with FileSource(video) as source:
        assert numbers(source, 1) == [0]
        seen = []
        while len(seen) < COUNT - 1:
            try:
                seen.append(read_counter(source.read(0.001).as_rgb()))
            except CameraError as error:
                assert "no picture within" in str(error)
                threading.Event().wait(0.002)
    assert seen == list(range(1, COUNT))


def test_looping_goes_on_in_number_and_time(video):
    with FileSource(video, realtime=False, loop=True) as source:
        pictures = [source.read(1.0) for _ in range(2 * COUNT + 1)]
    assert [read_counter(p.as_rgb()) for p in pictures] == [*range(COUNT), *range(COUNT), 0]
    spacing = {b.stamp_ns - a.stamp_ns for a, b in pairwise(pictures)}
    assert max(abs(step - 1e9 / FPS) for step in spacing) <= 2


def test_reopening_starts_over(video):
    source = FileSource(video, realtime=False)
    for _ in range(2):
        with source:
            assert numbers(source, 3) == [0, 1, 2]


def test_missing_and_foreign_files_are_named(tmp_path):
    with pytest.raises(CameraError, match=r"no video file at .*gone\.mp4"):
        FileSource(tmp_path / "gone.mp4")
    text = tmp_path / "text.mp4"
    text.write_text("not a video")
    with pytest.raises(CameraError, match="cannot be opened as a video"):
        FileSource(text)


def test_a_file_the_computer_does_not_give_is_not_called_torn(video, monkeypatch):
    def opened(*_, **__):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr("av.open", opened)
    with pytest.raises(CameraError, match="Too many open files") as refusal:
        FileSource(video)
    assert "torn" not in str(refusal.value)


def test_a_title_in_no_known_encoding_is_no_matter_of_the_pictures(video, tmp_path):
    titled = tmp_path / "titled.mp4"
    titled.write_bytes(video.read_bytes().replace(b"VideoHandler", b"Vide\xfeHandler"))
    assert titled.read_bytes() != video.read_bytes()
    with FileSource(titled, realtime=False) as source:
        assert numbers(source, COUNT) == list(range(COUNT))


def test_a_file_without_its_index_is_refused(video, tmp_path):
    torn = tmp_path / "torn.mp4"
    torn.write_bytes(video.read_bytes()[:-400])
    with pytest.raises(CameraError, match="torn"):
        FileSource(torn)


def test_a_file_cut_after_its_index_is_an_error_not_an_early_end(tmp_path):
    whole = write_video(tmp_path / "whole.mp4", options={"movflags": "faststart"})
    data = whole.read_bytes()
    torn = tmp_path / "torn.mp4"
    torn.write_bytes(data[: len(data) * 2 // 3])
    with FileSource(torn, realtime=False) as source, pytest.raises(CameraError) as caught:
        numbers(source, COUNT + 1)
    assert not isinstance(caught.value, EndOfVideo)
    assert "torn" in str(caught.value)


def test_uris_name_the_kinds_of_source(video):
    with open_source("pattern", 128, 96, 30) as source:
        assert isinstance(source, PatternSource)
        assert source.read(1.0).as_rgb().shape == (96, 128, 3)
    for uri in (str(video), f"file:{video}", f"file:{video}?loop"):
        with open_source(uri, 128, 96, FPS) as source:
            assert isinstance(source, FileSource)
            assert numbers(source, 2) == [0, 1]


def test_a_file_can_be_read_as_fast_as_it_is_consumed(video):
    with open_source(f"file:{video}?loop&fast", 128, 96, FPS) as source:
        begin_ns = time.time_ns()
        pictures = [source.read(0.0) for _ in range(3 * COUNT)]
        # In real time the last would be due only then; fast, its stamp lies ahead of the clock.
        assert pictures[-1].stamp_ns > begin_ns + (3 * COUNT - 2) / FPS * 1e9
    with pytest.raises(CameraError, match=r"unknown options \['slow'\]; there are \?loop, \?fast"):
        open_source(f"file:{video}?slow", 128, 96, FPS)


@pytest.mark.parametrize("uri", ["250", "/dev/video250"])
def test_a_device_that_is_not_there_is_named(uri):
    with pytest.raises(CameraError, match=r"camera /dev/video250 cannot be opened.*plugged in"):
        open_source(uri, 640, 480, 30)


def test_a_file_of_another_size_or_rate_is_refused(video):
    with pytest.raises(CameraError, match="is 128x96 at 100 fps, requested 640x480 at 30 fps"):
        open_source(str(video), 640, 480, 30)
    with pytest.raises(CameraError, match="no camera named"):
        open_source("file:", 640, 480, 30)
