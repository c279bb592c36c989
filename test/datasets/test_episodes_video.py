"""Videos: colours, times, order, and nothing lost between a picture and its file."""

import ctypes
import gc
import os
import threading
from dataclasses import dataclass
from fractions import Fraction
from types import SimpleNamespace

import av
import numpy as np
import pytest
from made_episodes import picture

from armlet.datasets import VideoError
from armlet.datasets.format import rationals, video
from armlet.datasets.format.video import Encoder, Format, decode, describe, frame_count
from armlet.datasets.record import appendable_mp4
from armlet.datasets.record.appendable_mp4 import AppendableMp4
from armlet.datasets.record.video_track import VideoTrack

MEMORY = 1 << 20
# Far longer than anything takes on a busy computer.
LONG_S = 120.0


def track(path, size=(32, 32), codec="h264", crf=20, memory=MEMORY):
    return VideoTrack(path.parent, path.stem, Format(*size, 30, codec, crf), memory)


def encoded(path, count, codec="h264", size=(48, 64), crf=20):
    one = track(path, size, codec, crf)
    pictures = np.stack([picture(3 * i, *size) for i in range(count)])
    for pixels in pictures:
        one.put(pixels)
    one.finish(count)
    one.close()
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


def test_pictures_that_are_decoded_after_a_later_key_picture_are_found(tmp_path):
    """As x265 does by itself: pictures shown before a key picture need it, and those before it."""
    path, count = tmp_path / "a.mp4", 48
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx265", rate=30)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        stream.options = {"x265-params": "log-level=error:keyint=12:min-keyint=12:bframes=4"}
        for number in range(count):
            pixels = np.full((64, 64, 3), 5 * number, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    found = [int(decode(path, [number]).mean().round()) for number in range(count)]
    assert np.abs(np.array(found) - 5 * np.arange(count)).max() <= 3


def test_flat_colours_survive_within_three_levels(tmp_path):
    path = tmp_path / "a.mp4"
    colours = [(0, 0, 0), (255, 255, 255), (200, 50, 30), (20, 180, 90), (37, 99, 211)]
    one = track(path, crf=10)
    for colour in colours:
        one.put(np.full((32, 32, 3), colour, np.uint8))
    one.finish(len(colours))
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
    one = track(tmp_path / "a.mp4", crf=10)
    for level in (0, 100, 200):
        buffer[:] = level
        one.put(buffer)
    one.finish(3)
    assert decode(tmp_path / "a.mp4").mean(axis=(1, 2, 3)) == pytest.approx([0, 100, 200], abs=3)


def test_a_slow_encoder_makes_pictures_wait_on_disk_and_drops_none(tmp_path, monkeypatch):
    gate = threading.Event()
    encode = Encoder.encode

    def held(self, frame):
        assert gate.wait(LONG_S)
        return encode(self, frame)

    monkeypatch.setattr(Encoder, "encode", held)
    pictures = np.stack([picture(i, 32, 32) for i in range(60)])
    one = track(tmp_path / "a.mp4", memory=10 * pictures[0].nbytes)
    for pixels in pictures:
        one.put(pixels)  # never blocks
    assert 58 <= one.queue.queued <= 60
    assert 48 <= one.queue.spilled <= 50
    assert one.queue.memory_bytes <= 10 * pictures[0].nbytes
    assert one.queue.spilled_bytes == one.queue.spilled * pictures[0].nbytes
    gate.set()
    one.finish(60)
    assert (one.queue.queued, one.queue.spilled, one.queue.memory_bytes) == (0, 0, 0)
    error = np.abs(decode(tmp_path / "a.mp4").astype(int) - pictures).mean(axis=(1, 2, 3))
    assert error.max() < 5


def test_what_is_safe_in_the_video_leaves_the_queue(tmp_path):
    big = np.random.default_rng(0).integers(0, 255, (1024, 1024, 3), np.uint8)
    one = track(tmp_path / "a.mp4", size=(1024, 1024))
    for _ in range(9):  # 3 MB each, two to a segment
        one.put(big)
    one.end()
    one._thread.join()
    assert len(list(tmp_path.glob("*.queue-*"))) == 5
    one.sync()
    assert len(list(tmp_path.glob("*.queue-*"))) == 1
    one.finish(9)


def test_an_encoder_error_is_raised_and_never_blocks(tmp_path, monkeypatch):
    def broken(self, frame):
        raise RuntimeError("encoder fell over")

    monkeypatch.setattr(Encoder, "encode", broken)
    one = track(tmp_path / "a.mp4")
    one.put(picture(0, 32, 32))
    one._thread.join(LONG_S)
    with pytest.raises(VideoError, match=r"a\.mp4 failed: encoder fell over"):
        one.put(picture(0, 32, 32))
    with pytest.raises(VideoError, match=r"a\.mp4 failed"):
        one.finish(1)
    one.abort()


def test_a_picture_missing_from_the_file_is_noticed(tmp_path, monkeypatch):
    add = AppendableMp4.add
    monkeypatch.setattr(
        AppendableMp4, "add", lambda self, samples: add(self, samples[:1] * (self.pictures != 2))
    )
    one = track(tmp_path / "a.mp4")
    for i in range(4):
        one.put(picture(i, 32, 32))
    with pytest.raises(VideoError, match="4 rows, 4 pictures went in, 2 are in the file"):
        one.finish(4)


def test_an_encoder_that_skips_a_picture_is_noticed():
    encoder = Encoder(Format(32, 32, 30))
    frame = av.VideoFrame(32, 32, "yuv420p")
    assert len(encoder.encode(frame)) == 1
    encoder._given = 5
    with pytest.raises(VideoError, match="gave picture 5 where 1 was due"):
        encoder.encode(frame)


def test_after_the_end_nothing_more_goes_in(tmp_path):
    one = track(tmp_path / "a.mp4")
    one.put(picture(0, 32, 32))
    assert one.finish(1)["count"] == one.finish(1)["count"] == 1
    with pytest.raises(VideoError, match="closed"):
        one.put(picture(0, 32, 32))


@pytest.mark.parametrize(
    ("size", "options", "named"),
    [
        ((47, 64), {}, "even"),
        ((48, 65), {}, "even"),
        ((48, 64), {"codec": "mpeg2"}, "unknown codec"),
        ((48, 64), {"crf": 52}, "crf"),
    ],
)
def test_settings_that_cannot_be_encoded(size, options, named):
    with pytest.raises(VideoError, match=named):
        Format(*size, 30, **options)


@pytest.mark.parametrize("codec", video.CODECS)
@pytest.mark.parametrize("kept", [1, 4, 7])
def test_a_file_is_cut_and_closed_at_any_picture(tmp_path, codec, kept):
    path = tmp_path / "a.mp4"
    encoded(path, 9, codec, size=(64, 96))
    whole = decode(path)
    with path.open("ab") as file:
        file.write(b"half a sample")
    film = AppendableMp4(path, Format(64, 96, 30, codec), kept)
    film.close()
    assert frame_count(path) == kept
    assert np.array_equal(decode(path), whole[:kept])


def test_a_damaged_sample_ends_what_is_whole(tmp_path):
    path = tmp_path / "a.mp4"
    encoded(path, 9)
    sizes = appendable_mp4.whole(path).sizes
    assert len(sizes) == 9
    content = bytearray(path.read_bytes())
    content[44 + sum(sizes[:5]) + 3] ^= 1
    path.write_bytes(content)
    assert len(appendable_mp4.whole(path).sizes) == 5
    with pytest.raises(VideoError, match="5 whole pictures, not 6"):
        AppendableMp4(path, Format(48, 64, 30), 6)
    appendable_mp4.index_path(path).write_bytes(b"\1\0\0\0")
    with pytest.raises(VideoError, match="no sample description"):
        appendable_mp4.whole(path)


@pytest.mark.parametrize("content", [None, b"not a video"])
def test_a_video_that_cannot_be_read(tmp_path, content):
    path = tmp_path / "a.mp4"
    if content is not None:
        path.write_bytes(content)
    for read in (decode, frame_count, describe):
        with pytest.raises(VideoError, match=r"a\.mp4"):
            read(path)


def titled(path):
    """A video's copy whose handler's name is in no known encoding."""
    content = path.read_bytes()
    assert b"VideoHandler" in content
    copy = path.with_name("titled.mp4")
    copy.write_bytes(content.replace(b"VideoHandler", b"Vide\xfeHandler"))
    return copy


def test_a_title_in_no_known_encoding_is_no_matter_of_the_pictures(tmp_path):
    """Programs write names and titles in encodings of their own: a check ended in a traceback."""
    path = tmp_path / "a.mp4"
    encoded(path, 3)
    assert describe(titled(path)) == describe(path)
    assert np.array_equal(decode(titled(path)), decode(path))


@pytest.mark.skipif(not hasattr(os, "sched_getscheduler"), reason="needs Linux scheduling calls")
def test_av1_leaves_the_scheduler_alone(tmp_path):
    one = track(tmp_path / "a.mp4", (64, 64), "libsvtav1", 30)
    for i in range(3):
        one.put(picture(i, 64, 64))
    while one.queue.queued:  # until the encoder is open and has taken all of it
        threading.Event().wait(0.005)
    during = {video._scheduling(thread) for thread in video._threads()} - {None}
    one.finish(3)
    assert during == {(os.SCHED_OTHER, 0)}


@pytest.mark.skipif(not hasattr(os, "sched_getscheduler"), reason="needs Linux scheduling calls")
def test_av1_leaves_the_c_librarys_idea_of_this_thread_alone():
    """Fast DDS asks it and made its threads SCHED_FIFO: two that spun stopped the computer."""
    encoder = Encoder(Format(64, 64, 30, "libsvtav1"))
    policy, parameters = ctypes.c_int(), (ctypes.c_int * 8)()
    thread = ctypes.c_ulong(threading.get_ident())
    assert ctypes.CDLL(None).pthread_getschedparam(thread, ctypes.byref(policy), parameters) == 0
    encoder.encode(None)
    assert (policy.value, parameters[0]) == (os.SCHED_OTHER, 0)


@pytest.mark.parametrize("end", ["finish", "abort"])
@pytest.mark.parametrize("pictures", [0, 3])
def test_a_disk_full_at_the_very_end_does_not_hang(tmp_path, monkeypatch, end, pictures):
    add = AppendableMp4.add

    def full_at_the_end(self, samples):
        if self.pictures >= pictures:
            raise OSError(28, "No space left on device")
        add(self, samples)

    monkeypatch.setattr(AppendableMp4, "add", full_at_the_end)
    one = track(tmp_path / "a.mp4")
    for number in range(pictures):
        one.put(picture(number, 32, 32))
    if end == "abort":
        one.abort()
        return
    with pytest.raises(VideoError, match=r"a\.mp4 failed.*No space"):
        one.finish(pictures)
    one.abort()


def test_a_gap_in_a_foreign_video_shifts_no_picture(tmp_path):
    whole, gapped = tmp_path / "whole.mp4", tmp_path / "gapped.mp4"
    encoded(whole, 40)
    with av.open(str(whole)) as source, av.open(str(gapped), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size and not 10 <= round(float(packet.pts * packet.time_base) * 30) < 20:
                packet.stream = stream
                target.mux(packet)
    pictures = decode(whole)
    for wanted in ([0, 9, 20, 39], [39], [20]):
        assert np.array_equal(decode(gapped, wanted, 30), pictures[wanted])
    with pytest.raises(VideoError, match="number 12"):
        decode(gapped, [12], 30)


@dataclass(frozen=True)
class Rational:
    """As PyAV 19 gives rates and time bases: no int(), 0/1 where a file says nothing."""

    numerator: int
    denominator: int


@pytest.mark.parametrize("kind", [Fraction, Rational])
@pytest.mark.parametrize("read", [rationals.time_base, rationals.picture_rate])
def test_rates_are_exact_in_whatever_form_pyav_gives_them(read, kind):
    stream = SimpleNamespace(time_base=kind(1, 15360), base_rate=kind(30000, 1001))
    assert read(stream) in (Fraction(1, 15360), Fraction(30000, 1001))
    assert type(read(stream)) is Fraction


@pytest.mark.parametrize("unset", [None, Fraction(0), Rational(0, 1), Rational(1, 0)])
@pytest.mark.parametrize("read", [rationals.time_base, rationals.picture_rate])
def test_a_video_that_states_no_rate_is_refused_by_name(read, unset):
    container = SimpleNamespace(name="a.mp4")
    with pytest.raises(VideoError, match=r"a\.mp4 states no"):
        read(SimpleNamespace(time_base=unset, base_rate=unset, container=container))


@pytest.mark.parametrize("codec", video.CODECS)
def test_an_encoder_leaves_no_file_open_to_the_garbage_collector(codec):
    """PyAV before 17 ends the process when it collects a muxer that was never closed."""
    encoder = Encoder(Format(64, 64, 30, codec))
    open_files = [one for one in gc.get_objects() if isinstance(one, av.container.OutputContainer)]
    assert not open_files
    assert encoder.description
