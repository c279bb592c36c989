"""Threads of a node's own."""

import threading

import pytest

from armlet.nodes.worker import Sender

LONG_S = 180.0


@pytest.fixture
def failures():
    return []


@pytest.fixture
def sender(failures):
    sender = Sender("sender", failures.append)
    yield sender
    sender.stop()


def test_calls_are_made_in_order_by_one_other_thread(sender):
    made = []
    for number in range(100):
        sender.send(lambda number=number: made.append((number, threading.get_ident())))
    sender.stop()
    assert [number for number, _ in made] == list(range(100))
    assert len({thread for _, thread in made} | {threading.get_ident()}) == 2


def test_what_does_not_get_through_is_counted_and_does_not_pile_up(sender):
    begun, go_on, made = threading.Event(), threading.Event(), []

    def hang():
        begun.set()
        go_on.wait(LONG_S)

    sender.send(hang)
    assert begun.wait(LONG_S)
    for number in range(Sender.LIMIT + 5):
        sender.send(lambda number=number: made.append(number))
    assert sender.dropped == 5
    go_on.set()
    sender.stop()
    assert made == list(range(Sender.LIMIT))


def test_a_call_that_fails_is_reported(sender, failures):
    sender.send(lambda: 1 / 0)
    sender.stop()
    assert [type(failure) for failure in failures] == [ZeroDivisionError]


def test_a_call_that_never_returns_keeps_nobody_from_ending(failures):
    go_on = threading.Event()
    sender = Sender("sender", failures.append)
    sender.send(go_on.wait)
    assert not sender.stop(0.05)
    go_on.set()
    assert sender.stop(LONG_S)
