import threading

from hypothesis import given
from hypothesis import strategies as st

from armlet.camera.pace import Pace
from armlet.unix_clock import UnixClock

SECOND = 1_000_000_000


class Clocks:
    """A monotonic and a Unix clock; every look at one costs time, sometimes much."""

    def __init__(self, delays_ns):
        self.now_ns = 5 * SECOND
        self.distance_ns = 1_700_000_000 * SECOND
        self._delays = iter(delays_ns)

    def _pass(self):
        self.now_ns += next(self._delays, 70)
        return self.now_ns

    def monotonic_ns(self):
        return self._pass()

    def unix_ns(self):
        return self._pass() + self.distance_ns


delays = st.lists(st.one_of(st.integers(30, 300), st.integers(0, 40_000_000)), max_size=400)


@given(delays)
def test_stamps_keep_their_spacing_however_the_thread_is_interrupted(delays_ns):
    clocks = Clocks(delays_ns)
    clock = UnixClock(clocks.monotonic_ns, clocks.unix_ns)
    offsets = {clock.to_unix_ns(33_000_000 * n) - 33_000_000 * n for n in range(60)}
    assert len(offsets) == 1
    assert clock.steps == 0


@given(delays, st.integers(100_000_000, 10**15).flatmap(lambda n: st.sampled_from([n, -n])))
def test_a_step_of_the_system_clock_is_followed_at_once(delays_ns, step_ns):
    clocks = Clocks(delays_ns)
    clock = UnixClock(clocks.monotonic_ns, clocks.unix_ns)
    before_ns = clock.to_unix_ns(0)
    clocks.distance_ns += step_ns
    after_ns = clock.to_unix_ns(0)
    # Each is as exact as the least interrupted of a few looks at the clocks.
    assert abs(after_ns - before_ns - step_ns) <= 80_000_000
    assert clock.steps == 1
    assert clock.to_unix_ns(0) == after_ns


def test_undisturbed_it_is_exact_to_the_time_a_look_takes():
    clocks = Clocks([])
    clock = UnixClock(clocks.monotonic_ns, clocks.unix_ns)
    assert abs(clock.to_unix_ns(0) - clocks.distance_ns) <= 70
    clocks.distance_ns += 250_000
    assert abs(clock.to_unix_ns(0) - clocks.distance_ns) <= 70


def test_many_threads_may_ask():
    clock = UnixClock()
    found = []
    threads = [
        threading.Thread(target=lambda: found.extend(clock.to_unix_ns(0) for _ in range(2000)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # A real clock may be disciplined meanwhile, by no more than this.
    assert max(found) - min(found) < 1_000_000
    assert len(found) == 8000


def test_a_paces_stamps_follow_the_system_clock(monkeypatch):
    pace = Pace(30)
    first_ns = pace.stamp_ns(1.0)
    assert pace.stamp_ns(2.0) - first_ns == SECOND
    clocks = Clocks([])
    monkeypatch.setattr(pace._clock, "_unix_ns", clocks.unix_ns)
    monkeypatch.setattr(pace._clock, "_monotonic_ns", clocks.monotonic_ns)
    assert pace.stamp_ns(2.0) - pace.stamp_ns(1.0) == SECOND
    assert pace.clock_steps == 1
