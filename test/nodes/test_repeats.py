"""An error that comes with every message is logged when it begins, whatever its numbers are."""

from armlet.nodes.repeats import APART_S, GONE_S, Repeats


def logged(texts, every_s=0.01, topic="front"):
    repeats = Repeats()
    return [t for n, t in enumerate(texts) if repeats.is_news(topic, t, n * every_s)]


def test_the_same_error_is_logged_once_however_long_it_goes_on():
    assert logged(["not armed"] * 100_000) == ["not armed"]
    assert logged([f"{n} ms old, {n * 1e-9} s" for n in range(100_000)]) == ["0 ms old, 0.0 s"]
    assert logged([f"found {x}" for x in (1.5, float("nan"), -float("inf"), 2)]) == ["found 1.5"]


def test_it_is_news_again_once_it_has_been_gone():
    repeats = Repeats()
    times_s = [0.0, 5.0, 14.9, 15.0 + GONE_S, 100.0]
    assert [repeats.is_news("front", "torn", t) for t in times_s] == [
        True,
        False,
        False,
        True,
        True,
    ]


def test_another_error_is_logged_though_not_at_the_messages_rate():
    alternating = ["torn", "not a JPEG"] * 1000
    assert logged(alternating) == ["torn", "not a JPEG"]
    letters = ["x" * n for n in range(1, 1001)]
    assert len(logged(letters)) == 10 / APART_S


def test_topics_do_not_silence_each_other():
    repeats = Repeats()
    assert all(repeats.is_news(topic, "torn", 0.0) for topic in ("front", "wrist"))
