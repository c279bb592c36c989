"""A stream is judged by its own past."""

from armlet.align import Condition, Watch

STEP_S = 0.2


class Camera:
    """Messages at some rate, watched five times a second."""

    def __init__(self):
        self.now_s, self.received = 100.0, 0.0
        self.watch = Watch(self.now_s)

    def run(self, seconds, hz, frozen=False):
        """Conditions seen, each once, in order; and the last health."""
        seen = []
        for _ in range(round(seconds / STEP_S)):
            self.now_s += STEP_S
            self.received += hz * STEP_S
            health = self.watch.look(self.now_s, int(self.received), frozen)
            if health.condition not in seen[-1:]:
                seen.append(health.condition)
        return seen, health


def test_a_stream_that_never_comes_is_waited_for_and_then_named():
    seen, health = Camera().run(10, 0)
    assert seen == [Condition.SILENT, Condition.NEVER_SEEN]
    assert str(health) == "never seen for 10.0 s"


def test_a_stream_is_not_missed_before_simulated_time_has_begun():
    watch = Watch(0.0)
    assert watch.look(0.0, 0).condition is Condition.SILENT
    assert watch.look(1.7e9, 0).condition is Condition.SILENT
    assert str(watch.look(1.7e9 + 4.0, 0)) == "never seen for 4.0 s"


def test_a_stream_that_ends_where_time_is_set_back_is_missed():
    """A bag is played again, without it: it counted as flowing until the old time came again."""
    camera = Camera()
    camera.run(60, 30)
    camera.now_s = 100.0
    seen, health = camera.run(10, 0)
    assert seen == [Condition.FLOWING, Condition.STALLED]
    assert str(health) == "stalled for 9.8 s"
    assert camera.run(30, 30)[0][-1] is Condition.FLOWING


def test_a_steady_stream_flows_from_its_first_message():
    camera = Camera()
    camera.run(1, 0)
    seen, health = camera.run(60, 30)
    assert seen == [Condition.FLOWING]
    assert abs(health.usual_hz - 30) < 1


def test_a_stream_that_slows_stalls_and_comes_back_is_named_each_time():
    camera = Camera()
    camera.run(30, 30)
    seen, health = camera.run(10, 15)
    assert seen == [Condition.FLOWING, Condition.SLOW]
    assert str(health) == "slower than usual: 15.0 Hz, usually 30.0 Hz"
    assert camera.run(5, 0)[0] == [Condition.SLOW, Condition.STALLED]
    assert camera.run(20, 30)[0][-1] is Condition.FLOWING


def test_a_slow_stream_that_is_always_slow_is_well():
    assert Camera().run(60, 2)[0] == [Condition.SILENT, Condition.FLOWING]


def test_a_frozen_picture_is_named():
    camera = Camera()
    camera.run(10, 30)
    seen, health = camera.run(2, 30, frozen=True)
    assert seen == [Condition.FROZEN]
    assert "repeats the same image" in str(health)
