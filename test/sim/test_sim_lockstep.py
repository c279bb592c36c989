"""Simulated time in lockstep, over real sockets and threads, without ROS."""

import contextlib
import json
import socket
import tempfile
import threading
import time
from pathlib import Path

import pytest
from awaited import wait_until
from hypothesis import given, settings
from hypothesis import strategies as st

from armlet.sim import lockstep
from armlet.sim.lockstep import (
    DIRECTOR,
    FOLLOWER,
    LEADER,
    POLICY,
    Mark,
    Participant,
    Report,
    Standing,
    Timekeeper,
    TurnReport,
)

# By the wall clock, and only so that a broken test ends.
GUARD_S = 120.0
START_NS = 1_000_000_000
STEP_NS = 10_000_000


class Bench:
    """A timekeeper in a thread of its own that moves time on while somebody waits for it.

    end_ns: time stops there.
    """

    def __init__(self, expected=(), name_after_s=GUARD_S, lost_after_s=GUARD_S):
        self.folder = tempfile.TemporaryDirectory(prefix="armlet-lockstep-")
        self.path = Path(self.folder.name) / "lockstep"
        self.said = []
        self.readings = []
        self.keeper = Timekeeper(
            self.path,
            expected,
            lambda now_ns: None,
            self.said.append,
            name_after_s=name_after_s,
            lost_after_s=lost_after_s,
        )
        self.ending = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.keeper.now_ns = START_NS

    def start(self):
        self._thread.start()

    def _run(self):
        now_ns = START_NS
        if not self.keeper.begin(now_ns, self.ending):
            return
        while not self.ending.is_set() and self.keeper.run_instant(now_ns, self.ending):
            self.readings.append(now_ns)
            asked_ns = self.keeper.next_ns()
            now_ns = now_ns + STEP_NS if asked_ns is None else max(asked_ns, now_ns + 1)

    def close(self):
        self.ending.set()
        self._thread.join(GUARD_S)
        self.keeper.close()
        self.folder.cleanup()


@pytest.fixture
def bench():
    with contextlib.closing(Bench()) as bench:
        yield bench


@contextlib.contextmanager
def taking_part(bench, name, set_clock=lambda now_ns: True):
    participant = Participant(bench.path, name, set_clock)
    try:
        wait_until(lambda: participant.joined, f"{name} to join")
        yield participant
    finally:
        participant.close()


def act(turn, log, name, times, bench):
    """A participant's thread: it asks for times, one after the other, and notes when it acts."""
    for at_ns in times:
        turn.ask(at_ns)
        if not turn.wait(bench.ending):
            return
        log.append((bench.keeper.now_ns, name))
    turn.rest()


def test_turns_of_an_instant_come_in_order_and_one_at_a_time(bench):
    names = {"watcher": DIRECTOR, "thinker": POLICY, "follower": FOLLOWER, "leader": LEADER}
    times = [START_NS + k * STEP_NS for k in range(1, 6)]
    log, threads = [], []
    with contextlib.ExitStack() as stack:
        for name, order in names.items():
            participant = stack.enter_context(taking_part(bench, name))
            turn = participant.turn("turn", order)
            turn.ask(times[0])
            thread = threading.Thread(target=act, args=(turn, log, name, times, bench))
            threads.append(thread)
            participant.ready()
        for thread in threads:
            thread.start()
        wait_until(lambda: known(bench) == set(names), "everybody to be known")
        bench.start()
        for thread in threads:
            thread.join(GUARD_S)
    due = ["leader", "follower", "thinker", "watcher"]
    assert log == [(at_ns, name) for at_ns in times for name in due]


def known(bench):
    """Who takes part, before the bench runs: asked of the keeper by the test itself."""
    bench.keeper._drain(0.0)
    return set(bench.keeper.names)


@settings(max_examples=15, deadline=None)
@given(
    st.lists(
        st.lists(st.integers(1, 40), min_size=1, max_size=5, unique=True).map(sorted),
        min_size=1,
        max_size=4,
    )
)
def test_whatever_is_asked_for_is_given_at_its_very_time_in_the_same_order(plans):
    with contextlib.closing(Bench()) as bench, contextlib.ExitStack() as stack:
        log, threads = [], []
        for number, plan in enumerate(plans):
            name = f"p{number}"
            participant = stack.enter_context(taking_part(bench, name))
            turn = participant.turn("turn", FOLLOWER)
            times = [START_NS + step * STEP_NS for step in plan]
            turn.ask(times[0])
            participant.ready()
            threads.append(threading.Thread(target=act, args=(turn, log, name, times, bench)))
        wait_until(lambda: len(known(bench)) == len(plans), "everybody to be known")
        for thread in threads:
            thread.start()
        bench.start()
        for thread in threads:
            thread.join(GUARD_S)
        due = [(START_NS + s * STEP_NS, f"p{n}") for n, plan in enumerate(plans) for s in plan]
        assert log == sorted(due)


def test_time_stands_still_while_somebody_is_busy(bench):
    with taking_part(bench, "worker") as worker:
        turn = worker.turn("work", POLICY)
        turn.busy()
        worker.ready()
        wait_until(lambda: known(bench) == {"worker"}, "worker")
        bench.start()
        assert not turn.came(0.3)
        assert bench.readings == []
        turn.rest()
        wait_until(lambda: len(bench.readings) > 3, "time to go on")


def test_time_waits_for_what_a_reading_of_the_clock_brings(bench):
    given = []

    def set_clock(now_ns):
        given.append(now_ns)
        return False

    with taking_part(bench, "slow", set_clock) as slow:
        slow.ready()
        wait_until(lambda: known(bench) == {"slow"}, "slow")
        bench.start()
        wait_until(lambda: given, "the clock")
        time.sleep(0.2)
        assert bench.readings == [] and set(given) == {START_NS}
        slow.worked_off(START_NS)
        wait_until(lambda: given[-1] > START_NS, "the next instant")
        assert bench.readings == [START_NS]


def test_a_participant_that_dies_is_waited_for_no_more(bench):
    with taking_part(bench, "stays") as stays:
        dies = Participant(bench.path, "dies", lambda now_ns: True)
        dies.turn("work", FOLLOWER).busy()
        dies.ready()
        stays.ready()
        wait_until(lambda: known(bench) == {"stays", "dies"}, "both")
        bench.start()
        time.sleep(0.2)
        assert bench.readings == []
        dies.close()
        wait_until(lambda: len(bench.readings) > 3, "time to go on")


def test_who_stays_away_is_named_and_time_does_not_begin_without():
    with contextlib.closing(Bench(["camera", "here"], name_after_s=0.2)) as bench:
        bench.start()
        with taking_part(bench, "here") as here:
            here.ready()
            wait_until(lambda: any("camera has not started" in s for s in bench.said), "a word")
            assert bench.readings == []
            with taking_part(bench, "camera") as camera:
                wait_until(lambda: "camera" in bench.keeper.names, "the camera")
                assert bench.readings == [], "it is here, and not ready"
                camera.ready()
                wait_until(lambda: bench.readings, "time to begin")
        assert sum("camera has not started" in said for said in bench.said) == 1, "said once"


def test_time_waits_for_a_message_and_for_the_ends_to_find_each_other(bench):
    def matched(count):
        def match(sent, received):
            for mark in (*sent.values(), *received.values()):
                mark.matched = count[0]

        return match

    ends = [0]
    sender = Participant(bench.path, "sender", lambda now_ns: True, matched(ends))
    receiver = Participant(bench.path, "receiver", lambda now_ns: True, matched(ends))
    sender.sends("t")
    receiver.hears("t")
    for each in (sender, receiver):
        each.ready()
    wait_until(lambda: known(bench) == {"sender", "receiver"}, "both")
    bench.start()
    time.sleep(0.2)
    assert bench.readings == [], "they have not found each other"
    ends[0] = 1
    turn = sender.turn("work", FOLLOWER)
    wait_until(lambda: bench.readings, "time to begin")
    turn.ask(0)
    assert turn.came(GUARD_S)
    for message in ("the first", "another"):
        sender.sending("t")
        turn.rest()
        standing_ns = bench.keeper.now_ns
        time.sleep(0.2)
        assert bench.keeper.now_ns == standing_ns, f"{message} is on its way"
        receiver.received("t")
        wait_until(lambda: bench.keeper.now_ns > standing_ns, "time to go on")  # noqa: B023
        turn.ask(0)
        assert turn.came(GUARD_S)
    sender.close()
    receiver.close()


def test_a_lost_message_is_named_and_given_up():
    with contextlib.closing(Bench(name_after_s=0.1, lost_after_s=0.3)) as bench:
        sender = Participant(bench.path, "sender", lambda now_ns: True, one_each)
        receiver = Participant(bench.path, "receiver", lambda now_ns: True, one_each)
        sender.sends("t")
        receiver.hears("t")
        turn = sender.turn("work", FOLLOWER)
        for each in (sender, receiver):
            each.ready()
        wait_until(lambda: known(bench) == {"sender", "receiver"}, "both")
        bench.start()
        turn.ask(0)
        assert turn.came(GUARD_S)
        sender.sending("t")
        turn.rest()
        begun = len(bench.readings)
        wait_until(lambda: len(bench.readings) > begun + 3, "time to go on")
        assert any("receiver has not received t" in s for s in bench.said)
        assert any(s.startswith("given up after") and "t" in s for s in bench.said)
        sender.close()
        receiver.close()


def one_each(sent, received):
    for mark in (*sent.values(), *received.values()):
        mark.matched = 1


def test_who_joins_late_hears_the_time_and_takes_part_from_then_on(bench):
    with taking_part(bench, "first") as first:
        first.ready()
        wait_until(lambda: known(bench) == {"first"}, "first")
        bench.start()
        wait_until(lambda: len(bench.readings) > 3, "time to go on")
        given = []
        with taking_part(bench, "late", lambda now_ns: bool(given.append(now_ns)) or True) as late:
            turn = late.turn("work", FOLLOWER)
            turn.busy()
            late.ready()
            wait_until(lambda: given, "the clock")
            # Reports cross the bench's own steps: still, once it has seen this one.
            wait_until(lambda: stands_still(bench), "a standstill")
            turn.ask(given[-1] + 5 * STEP_NS)
            assert turn.came(GUARD_S)
            assert bench.keeper.now_ns == given[-1]


def stands_still(bench):
    before_ns = bench.keeper.now_ns
    time.sleep(0.1)
    return bench.keeper.now_ns == before_ns


def test_reports_survive_the_wire():
    report = Report(
        "arm",
        3,
        True,
        {"cycle": TurnReport(FOLLOWER, Standing.WAITING, 7, 2)},
        {"a": Mark(1, 2, True, 3)},
        {"b": Mark(4, 5)},
    )
    assert Report.decode(report.encode()) == report


@given(st.binary(max_size=200))
def test_what_is_no_report_is_a_value_error(data):
    try:
        Report.decode(data)
    except ValueError:
        return
    raise AssertionError(data)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=12))
def test_json_that_is_no_report_is_a_value_error(value):
    with contextlib.suppress(ValueError):
        Report.decode(json.dumps(value).encode())


CHANGE = b'["", 0, true, {}, {}, {}]'


@pytest.mark.parametrize(
    "junk", [b"no report", b"[]", b"\xff\xfe", b'["a", 0, true, 1, 2, 3]', CHANGE]
)
def test_a_program_that_sends_no_report_is_left_out_and_named(bench, junk):
    bench.start()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as stranger:
        stranger.connect(str(bench.path))
        stranger.send(junk)
        wait_until(lambda: bench.said, "a word of it")
        seen = len(bench.readings)
        wait_until(lambda: len(bench.readings) > seen + 3, "time to go on")
    assert "left out: not a participant's report" in bench.said[0]


def test_what_has_changed_adds_up_to_the_whole(bench):
    """A participant reports changes only, and all of it where a name came or went."""
    with taking_part(bench, "arm") as arm:
        turn = arm.turn("cycle", FOLLOWER)
        steps = (
            arm.ready,
            lambda: arm.sends("a"),
            lambda: arm.hears("b"),
            turn.busy,
            lambda: arm.sending("a", 3),
            lambda: arm.received("b", 4),
            lambda: arm.received("b", 4),
            lambda: turn.ask(5),
            lambda: arm.worked_off(6),
            lambda: arm.sends_no_more("a"),
            turn.rest,
        )
        for step in steps:
            step()
            arm.report()
            wait_until(lambda: known(bench) and whole(bench) == arm._state, "it to be known")
    bench.start()


def whole(bench):
    """What the keeper knows of its only participant."""
    (peer,) = bench.keeper._peers.values()
    return peer.report


@contextlib.contextmanager
def two_ends(bench, latched=False):
    """Who sends "t", in a turn that it has, and who receives it."""
    sender = Participant(bench.path, "sender", lambda now_ns: True, one_each)
    receiver = Participant(bench.path, "receiver", lambda now_ns: True, one_each)
    sender.sends("t", latched)
    receiver.hears("t", latched)
    turn = sender.turn("work", FOLLOWER)
    turn.ask(0)
    for each in (sender, receiver):
        each.ready()
    wait_until(lambda: known(bench) == {"sender", "receiver"}, "both")
    bench.start()
    try:
        assert turn.came(GUARD_S)
        yield sender, receiver, turn
    finally:
        sender.close()
        receiver.close()


def test_of_a_latched_topic_the_last_message_is_enough(bench):
    with two_ends(bench, latched=True) as (sender, receiver, turn):
        for message in (9, 3):
            sender.sending("t", message)
        turn.rest()
        assert stands_still(bench)
        receiver.received("t", 9)
        assert stands_still(bench)
        receiver.received("t", 3)
        wait_until(lambda: bench.keeper.now_ns > START_NS, "time to go on")


def test_a_strangers_message_on_a_latched_topic_holds_up_nothing(bench):
    with two_ends(bench, latched=True) as (sender, receiver, turn):
        sender.sending("t", 3)
        receiver.received("t", 3)
        receiver.received("t", 666)
        turn.rest()
        wait_until(lambda: bench.keeper.now_ns > START_NS, "time to go on")


def test_a_latched_message_is_waited_for_again_by_a_subscription_made_again(bench):
    with two_ends(bench, latched=True) as (sender, receiver, turn):
        sender.sending("t", 3)
        turn.rest()
        receiver.received("t", 3)
        turn.ask(0)
        assert turn.came(GUARD_S)
        receiver.hears_no_more("t")
        receiver.hears("t", latched=True)
        receiver.report()
        turn.rest()
        assert stands_still(bench)
        receiver.received("t", 3)
        wait_until(lambda: bench.keeper.now_ns > START_NS, "time to go on")


def test_every_message_is_waited_for(bench):
    with two_ends(bench) as (sender, receiver, turn):
        for _ in range(3):
            sender.sending("t")
            turn.rest()
            assert stands_still(bench)
            receiver.received("t")
            turn.ask(0)
            assert turn.came(GUARD_S)


def test_a_subscription_that_is_made_again_waits_for_what_is_sent_from_then_on(bench):
    with two_ends(bench) as (sender, receiver, turn):
        for _ in range(3):
            sender.sending("t")
            turn.rest()
            receiver.received("t")
            turn.ask(0)
            assert turn.came(GUARD_S)
        receiver.hears_no_more("t")
        receiver.hears("t")
        receiver.report()
        turn.ask(0)
        assert turn.came(GUARD_S), "nothing of before is waited for"
        sender.sending("t")
        turn.rest()
        assert stands_still(bench)
        receiver.received("t")
        turn.ask(0)
        assert turn.came(GUARD_S)


def test_what_is_sent_in_no_turn_is_known_before_anybody_has_it(bench):
    with two_ends(bench) as (sender, _, turn):
        turn.rest()
        sender.sending("t")
        wait_until(lambda: whole_of(bench, "sender").sent["t"].count == 1, "it to be known")


def whole_of(bench, name):
    return next(p.report for p in bench.keeper._peers.values() if p.report.name == name)


def test_only_a_bench_that_is_not_there_yet_is_waited_for(tmp_path):
    assert lockstep._connect(tmp_path / "none") is None
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        lockstep._connect(tmp_path / "file" / "socket")


def test_a_file_in_the_place_of_the_socket_stays(tmp_path):
    file = tmp_path / "lockstep"
    file.write_text("precious")
    with pytest.raises(FileExistsError):
        Timekeeper(file, (), lambda now_ns: None, lambda text: None)
    assert file.read_text() == "precious"


def test_the_socket_of_a_killed_bench_is_replaced(tmp_path):
    for _ in range(2):  # the first is closed by nobody
        keeper = Timekeeper(tmp_path / "lockstep", (), lambda now_ns: None, lambda text: None)
    keeper.close()
    assert not list(tmp_path.iterdir())
