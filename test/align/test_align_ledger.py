"""The account of a part of the time is the difference of two, skews included."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from armlet.align import Aligner, Policy, StreamConfig, counts_since, grid_ns
from armlet.align.ledger import CLASSES, Skews
from armlet.align.stream import Miss
from armlet.frozen import fingerprint

FPS = 30
FIRST = 51_000_000_000
MS = 1_000_000
skews = st.lists(st.integers(-50 * MS, 50 * MS), max_size=60)


def of(values):
    account = Skews(50 * MS)
    for value in values:
        account.add(value)
    return account


@given(skews, skews, st.sampled_from([0.5, 0.99, 1.0]))
def test_the_skews_of_a_recording_are_those_of_its_frames(before, during, share):
    found = of(before + during).since(of(before))
    width_s = 0.05 / CLASSES
    if not during:
        assert found.quantile_s(share) == 0
        return
    sizes = np.abs(during) * 1e-9
    exact = np.quantile(sizes, share, method="inverted_cdf")
    assert exact - 1e-9 <= found.quantile_s(share) <= exact + width_s + 1e-9
    assert sizes.max() - 1e-9 <= found.worst_s <= sizes.max() + width_s + 1e-9


def feed(aligner, indices, offset_ms):
    for index in indices:
        stamp = grid_ns(FIRST + index, FPS)
        aligner.push("cam", stamp + offset_ms * MS, index)
        list(aligner.frames(stamp + offset_ms * MS))


def test_a_mark_is_not_moved_by_what_comes_after():
    aligner = Aligner([StreamConfig("cam", Policy.NEAREST, 0.02)], FPS, 0.1)
    feed(aligner, range(30), 15)
    mark = aligner.ledger.mark()
    text = aligner.ledger.counts()
    feed(aligner, [*range(30, 40), *range(45, 60)], 2)
    part = aligner.ledger.since(mark)
    account = part.streams["cam"]
    assert (account.received, part.frames, account.used) == (25, 25, 25)
    assert account.missed[Miss.STALE] == part.missed_frames == 5
    assert account.skews.worst_s == pytest.approx(0.002, abs=0.0002)
    assert aligner.ledger.streams["cam"].skews.worst_s == pytest.approx(0.015, abs=1e-6)
    assert counts_since(aligner.ledger.counts(), text) == {
        "cam": {"received": 25, "used": 25, "stale": 5}
    }


def test_fingerprints_tell_pictures_apart():
    noise = np.random.default_rng(0)
    large = noise.integers(0, 255, (480, 640, 3), np.uint8)
    other = large.copy()
    other += noise.integers(0, 2, large.shape, np.uint8)
    for one, two in ((b"abc", b"abd"), (b"abc", b"abc\0"), (large.tobytes(), other.tobytes())):
        assert fingerprint(one) == fingerprint(bytearray(one))
        assert fingerprint(one) != fingerprint(two)
