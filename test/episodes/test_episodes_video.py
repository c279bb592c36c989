"""Videos: colours, times, order, back-pressure, and nothing lost."""

import os
import threading

import av
import numpy as np
import pytest
from made_episodes import picture

from armlet.episodes import VideoError, video
from armlet.episodes.video import VideoEncoder, decode, describe, frame_count


def encoded(path, count, codec="h264", size=(48, 64), **options):
    encoder = VideoEncoder(path, *size, 30, codec, **options)
    pictures = np.stack([picture(3 * i, *size) for i in range(count)])
    for one in pictures:
        encoder.put(one)
    assert encoder.finish() == count
    return pictures


@pytest.mark.parametrize(
    ("codec", "stream"), [("h264", "h264"), ("hevc", "hevc"), ("libsvtav1", "av1")]
)
def test_pictures_come_back_in_order_with_their_colours(tmp_path, codec, stream):
    path = tmp_path / "a.mp4"
    pictures = encoded(path, 9, codec, size=(64, 96))
    decoded = decode(path)
    assert decoded.shape == pictures.shape and decoded.dtype == np.uint8
    error = np.abs(decoded.astype(int) - pictures).mean(axis=(1, 2, 3))
    assert error.max() < 5
    others = np.abs(decoded[:-1].astype(int) - pictures[1:]).mean(axis=(1, 2, 3))
    assert others.min() > 2 * error.max()
    info = describe(path)
    assert info["video.codec"] == stream
    assert (info["video.height"], info["video.width"], info["video.fps"]) == (64, 96, 30)
    assert (info["video.pix_fmt"], info["has_audio"]) == ("yuv420p", False)


def test_flat_colours_survive_within_three_levels(tmp_path):
    path = tmp_path / "a.mp4"
    colours = [(0, 0, 0), (255, 255, 255), (200, 50, 30), (20, 180, 90), (37, 99, 211)]
    encoder = VideoEncoder(path, 32, 32, 30, crf=10)
    for colour in colours:
        encoder.put(np.full((32, 32, 3), colour, np.uint8))
    encoder.finish()
    assert np.abs(decode(path).astype(int).mean(axis=(1, 2)) - colours).max() <= 3
    with av.open(str(path)) as container:
        context = container.streams.video[0].codec_context
        assert (int(context.color_range), int(context.colorspace)) in {(1, 5), (1, 6)}


def test_picture_n_has_time_n_over_fps_and_every_second_is_key(tmp_path):
    path = tmp_path / "a.mp4"
    encoded(path, 61)
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    assert [float(f.pts * f.time_base) for f in frames] == pytest.approx(np.arange(61) / 30)
    assert all(f.key_frame for f in frames[::2])


def test_any_pictures_in_any_order(tmp_path):
    path = tmp_path / "a.mp4"
    encoded(path, 40)
    whole = decode(path)
    indices = [39, 0, 17, 17, 3, 38]
    assert np.array_equal(decode(path, indices), whole[indices])
    assert decode(path, []).shape == (0, 48, 64, 3)
    with pytest.raises(VideoError, match="number 40"):
        decode(path, [1, 40])


def test_a_single_picture(tmp_path):
    encoded(tmp_path / "a.mp4", 1)
    assert frame_count(tmp_path / "a.mp4") == 1
    assert decode(tmp_path / "a.mp4", [0]).shape == (1, 48, 64, 3)


def test_the_callers_buffer_may_be_used_again(tmp_path):
    buffer = np.empty((32, 32, 3), np.uint8)
    encoder = VideoEncoder(tmp_path / "a.mp4", 32, 32, 30, crf=10)
    for level in (0, 100, 200):
        buffer[:] = level
        encoder.put(buffer)
    encoder.finish()
    assert decode(tmp_path / "a.mp4").mean(axis=(1, 2, 3)) == pytest.approx([0, 100, 200], abs=3)


def test_a_full_queue_blocks_the_caller_and_drops_nothing(tmp_path, monkeypatch):
    gate = threading.Event()
    encode = VideoEncoder._encode

    def held(self):
        assert gate.wait(10)
        encode(self)

    monkeypatch.setattr(VideoEncoder, "_encode", held)
    encoder = VideoEncoder(tmp_path / "a.mp4", 32, 32, 30)
    one = picture(0, 32, 32)
    for _ in range(video._QUEUE_SIZE):
        encoder.put(one)
    assert encoder.queued == video._QUEUE_SIZE
    caller = threading.Thread(target=encoder.put, args=(one,))
    caller.start()
    caller.join(0.05)
    assert caller.is_alive()
    gate.set()
    caller.join(10)
    assert encoder.finish() == video._QUEUE_SIZE + 1


def test_an_encoder_error_is_raised_and_never_blocks(tmp_path):
    encoder = VideoEncoder(tmp_path / "no such folder/a.mp4", 32, 32, 30)
    with pytest.raises(VideoError, match=r"a\.mp4 failed"):
        for _ in range(10 * video._QUEUE_SIZE):
            encoder.put(picture(0, 32, 32))
        encoder.finish()
    with pytest.raises(VideoError, match=r"a\.mp4 failed"):
        encoder.finish()


def test_a_picture_missing_from_the_file_is_noticed(tmp_path, monkeypatch):
    monkeypatch.setattr(VideoEncoder, "_mux", _losing(VideoEncoder._mux))
    encoder = VideoEncoder(tmp_path / "a.mp4", 32, 32, 30)
    for i in range(4):
        encoder.put(picture(i, 32, 32))
    with pytest.raises(VideoError, match="4 pictures went in, 3 came out"):
        encoder.finish()


def _losing(mux):
    """Like mux, without the picture at 2/30 s."""

    def lossy(self, container, packets):
        mux(self, container, [p for p in packets if round(float(p.pts * p.time_base) * 30) != 2])

    return lossy


def test_after_the_end_nothing_more_goes_in(tmp_path):
    encoder = VideoEncoder(tmp_path / "a.mp4", 32, 32, 30)
    encoder.put(picture(0, 32, 32))
    assert encoder.finish() == encoder.finish() == 1
    with pytest.raises(VideoError, match="closed"):
        encoder.put(picture(0, 32, 32))


@pytest.mark.parametrize(
    ("size", "options", "named"),
    [
        ((47, 64), {}, "even"),
        ((48, 65), {}, "even"),
        ((48, 64), {"codec": "mpeg2"}, "unknown codec"),
        ((48, 64), {"crf": 52}, "crf"),
    ],
)
def test_settings_that_cannot_be_encoded(tmp_path, size, options, named):
    with pytest.raises(VideoError, match=named):
        VideoEncoder(tmp_path / "a.mp4", *size, 30, **options)


@pytest.mark.parametrize("content", [None, b"not a video"])
def test_a_video_that_cannot_be_read(tmp_path, content):
    path = tmp_path / "a.mp4"
    if content is not None:
        path.write_bytes(content)
    for read in (decode, frame_count, describe):
        with pytest.raises(VideoError, match=r"a\.mp4"):
            read(path)


@pytest.mark.skipif(not hasattr(os, "sched_getscheduler"), reason="needs Linux scheduling calls")
def test_av1_leaves_the_scheduler_alone(tmp_path):
    encoder = VideoEncoder(tmp_path / "a.mp4", 64, 64, 30, "libsvtav1", 30)
    for i in range(3):
        encoder.put(picture(i, 64, 64))
    while encoder.queued:  # until the encoder is open and has taken all of it
        threading.Event().wait(0.005)
    during = {video._scheduling(thread) for thread in video._threads()} - {None}
    encoder.finish()
    assert during == {(os.SCHED_OTHER, 0)}


@pytest.mark.parametrize("end", [VideoEncoder.finish, VideoEncoder.abort])
@pytest.mark.parametrize("pictures", [0, 3])
def test_a_disk_full_at_the_very_end_does_not_hang(tmp_path, monkeypatch, end, pictures):
    mux, calls = VideoEncoder._mux, []

    def full_at_the_end(self, container, packets):
        calls.append(packets)
        if len(calls) > pictures:
            raise OSError(28, "No space left on device")
        mux(self, container, packets)

    monkeypatch.setattr(VideoEncoder, "_mux", full_at_the_end)
    encoder = VideoEncoder(tmp_path / "a.mp4", 32, 32, 30)
    for number in range(pictures):
        encoder.put(picture(number, 32, 32))
    while len(calls) < pictures:  # an aborted encoder passes over what still waits
        threading.Event().wait(0.005)
    told = []

    def run():
        try:
            end(encoder)
        except VideoError as error:
            told.append(str(error))

    caller = threading.Thread(target=run, daemon=True)
    caller.start()
    caller.join(10)
    assert not caller.is_alive()
    assert len(told) == (end is VideoEncoder.finish)
    with pytest.raises(VideoError, match=r"a\.mp4 failed"):
        encoder.finish()


def test_a_hole_in_a_foreign_video_shifts_no_picture(tmp_path):
    whole, holed = tmp_path / "whole.mp4", tmp_path / "holed.mp4"
    encoded(whole, 40)
    with av.open(str(whole)) as source, av.open(str(holed), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size and not 10 <= round(float(packet.pts * packet.time_base) * 30) < 20:
                packet.stream = stream
                target.mux(packet)
    pictures = decode(whole)
    for wanted in ([0, 9, 20, 39], [39], [20]):
        assert np.array_equal(decode(holed, wanted, 30), pictures[wanted])
    with pytest.raises(VideoError, match="number 12"):
        decode(holed, [12], 30)
