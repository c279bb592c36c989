import numpy as np
import pytest
from fake_camera import FPS, HEIGHT, WIDTH

from armlet.camera import Picture, StampedBy, TornPicture, Watch, jpeg
from armlet.camera.pattern import paint
from armlet.camera.watch import Limits
from armlet.findings import Severity

LIMITS = Limits(WIDTH, HEIGHT, FPS, frozen_s=2.0, slow_share=0.9, device=True)


class Stream:
    """Feeds a watch at a rate on a clock of its own."""

    def __init__(self, limits=LIMITS):
        self.watch = Watch(limits)
        self.now_s = 100.0
        self.number = 0
        self.watch.began(self.now_s)

    def feed(self, seconds, fps=FPS, make=None):
        make = make or (lambda number: jpeg.encode(paint(WIDTH, HEIGHT, number)))
        admitted = []
        for _ in range(round(seconds * fps)):
            self.now_s += 1 / fps
            self.number += 1
            picture = Picture(
                round(self.now_s * 1e9), jpeg=make(self.number), stamped_by=StampedBy.DRIVER
            )
            admitted.append(self.watch.admit(picture, self.now_s))
        return admitted

    def said(self):
        return [(finding.severity, finding.found) for finding in self.watch.findings(self.now_s)]


SAME = jpeg.encode(paint(WIDTH, HEIGHT, 7))


def test_a_good_stream_has_no_findings():
    stream = Stream()
    assert all(stream.feed(5.0))
    assert stream.said() == []
    assert stream.watch.rate_hz(stream.now_s) == pytest.approx(FPS, rel=0.02)
    counts = stream.watch.counts()
    assert counts.pop("received") == 150
    assert set(counts.values()) == {0}


def test_a_frozen_camera_is_named_with_its_duration():
    stream = Stream()
    stream.feed(3.0)
    stream.feed(1.9, make=lambda number: SAME)
    assert stream.watch.frozen_for_s == 0.0
    stream.feed(0.2, make=lambda number: SAME)
    ((level, text),) = stream.said()
    assert level is Severity.ERROR
    assert text.startswith("frozen: the same picture, byte for byte, for 2.1 s (63 times)")
    assert stream.watch.counts()["duplicates"] == 62
    stream.feed(0.1)
    assert stream.said() == []


def test_frozen_pixels_are_seen_too():
    stream = Stream()
    rgb = paint(WIDTH, HEIGHT, 3)
    for _ in range(90):
        stream.now_s += 1 / FPS
        stream.watch.admit(Picture(round(stream.now_s * 1e9), rgb.copy()), stream.now_s)
    assert stream.watch.frozen_for_s > 2.0


def test_pictures_that_differ_in_one_byte_are_not_frozen():
    stream = Stream()

    def nearly(number):
        data = bytearray(SAME)
        data[len(data) // 2] ^= number & 1
        return bytes(data)

    stream.feed(4.0, make=nearly)
    assert stream.watch.counts()["duplicates"] == 0
    assert stream.watch.frozen_for_s == 0.0


def test_two_pictures_after_a_long_silence_are_not_a_frozen_camera():
    stream = Stream()
    stream.feed(1.0, make=lambda number: SAME)
    stream.now_s += 60
    stream.watch.began(stream.now_s)
    stream.feed(0.1)
    assert stream.watch.frozen_for_s == 0.0


def test_what_is_frozen_stays_so_over_a_reopening():
    stream = Stream()
    stream.feed(3.0, make=lambda number: SAME)
    stream.watch.began(stream.now_s)
    stream.feed(0.2, make=lambda number: SAME)
    assert stream.watch.frozen_for_s == pytest.approx(3.2, abs=0.1)


def test_a_file_or_a_rendered_picture_may_stand_still():
    for limits in (
        Limits(WIDTH, HEIGHT, FPS, 2.0, 0.9, device=False),
        Limits(WIDTH, HEIGHT, FPS, 0.0, 0.9, device=True),
    ):
        stream = Stream(limits)
        stream.feed(5.0, make=lambda number: SAME)
        assert stream.said() == []
        assert stream.watch.counts()["duplicates"] == 149


def test_a_dropped_rate_is_a_warning_with_figures():
    stream = Stream()
    stream.feed(4.0)
    stream.feed(4.0, fps=15)
    ((level, text),) = stream.said()
    assert level is Severity.WARNING
    assert text.startswith("slow: 15.") and "pictures/s instead of 30 (5" in text
    stream.feed(4.0)
    assert stream.said() == []


def test_a_source_just_opened_is_not_slow():
    stream = Stream()
    stream.now_s += 1.0
    assert stream.said() == []
    stream.now_s += 1.5
    assert stream.said()[0][1].startswith("slow: 0.0 pictures/s")


def test_missing_pictures_are_counted_by_their_stamps():
    stream = Stream()
    stream.feed(1.0)
    stream.now_s += 3 / FPS
    stream.feed(1.0)
    assert stream.watch.counts()["missed"] == 3


def test_a_half_written_picture_is_dropped_and_reported():
    stream = Stream()
    stream.feed(1.0)
    assert stream.feed(1 / FPS, make=lambda number: SAME[: len(SAME) // 2]) == [False]
    stream.feed(1.0)
    ((level, text),) = stream.said()
    assert level is Severity.WARNING
    assert "dropped a torn picture" in text and "in all 1 torn" in text
    stream.feed(10.1)
    assert stream.said() == []
    assert stream.watch.counts()["torn"] == 1


def test_only_torn_pictures_make_a_camera_unusable():
    stream = Stream()
    stream.feed(1.0)
    stream.feed(1.9, make=lambda number: SAME[:100])
    assert stream.watch.unusable(stream.now_s) == ""
    stream.feed(0.2, make=lambda number: SAME[:100])
    assert "every picture for 2." in stream.watch.unusable(stream.now_s)
    assert (Severity.ERROR, True) in [(level, "torn" in text) for level, text in stream.said()]
    stream.feed(0.1)
    assert stream.watch.unusable(stream.now_s) == ""


def test_a_picture_of_another_size_is_dropped_and_reported():
    stream = Stream()
    other = jpeg.encode(np.zeros((64, 80, 3), np.uint8))
    assert not any(stream.feed(0.5, make=lambda number: other))
    ((level, text),) = stream.said()
    assert level is Severity.ERROR
    assert "picture of 80x64, 128x96 was requested and granted" in text
    assert stream.watch.counts()["wrong_size"] == 15


def test_whole_at_both_ends_and_torn_between():
    stream = Stream()
    stream.watch.decode_failed(TornPicture("does not decode"), stream.now_s)
    assert stream.watch.counts()["torn"] == 1
    assert "does not decode" in stream.said()[0][1]


def test_stamps_of_arrival_are_a_warning():
    stream = Stream()
    stream.feed(1.0)
    stream.watch.admit(
        Picture(round(stream.now_s * 1e9), jpeg=SAME, stamped_by=StampedBy.ARRIVAL), stream.now_s
    )
    ((level, text),) = stream.said()
    assert level is Severity.WARNING
    assert "the driver gives no time" in text
