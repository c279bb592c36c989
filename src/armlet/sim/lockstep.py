"""Simulated time in lockstep: the clock goes on when all that an instant brings has been done.

The bench owns the time. Whoever takes part in the simulation (a `Participant`, one a process)
reports to the bench's `Timekeeper` through a Unix socket: up to which clock reading it has worked
everything off, what it has sent and received, and when it wants its next turn. While time stands
still everything that was sent arrives; then turns that are due are given one at a time, in a fixed
order; then the clock goes to the next instant that anybody waits for. So a starved process makes
the run slower and never different.

The data itself travels by its own ways (topics, the servos' bytes); here are only the reports.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import select
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path

# A report is a few hundred bytes; none of a graph's participants comes near this.
_LONGEST_REPORT = 1 << 16
_RETRY_S = 0.05
# A thread that waits for its turn looks this often whether it is to end.
_ENDING_S = 0.1
# Looked at again this often without a report: a clock message may be lost, a match is not reported.
_LOOK_S = 0.05
# Somebody who is waited for is named after this long by the wall clock.
NAME_AFTER_S = 5.0
# A message that has not arrived by then is counted as lost, and time goes on.
LOST_AFTER_S = 30.0

# What a timekeeper sends is [name of a turn, its number] or one of these with a number.
_CLOCK, _ASK = "", "?"

# Turns of one instant are given in this order: who acts on the world, who thinks, who watches.
LEADER, FOLLOWER, POLICY, DIRECTOR = range(4)


class Standing(Enum):
    """What a turn is doing."""

    RESTING = "resting"
    WAITING = "waiting"
    BUSY = "busy"


@dataclass
class Mark:
    """How many messages of a topic one end has sent or received, and how many ends it is joined to.

    matched: publishers that a subscription has found, or subscriptions that a publisher has.
    latched: who subscribes late is given the last message; older ones may never arrive, so what
    counts is which one came last.
    last: what tells the last message of a latched topic from others.
    """

    count: int = 0
    matched: int = 0
    latched: bool = False
    last: int = 0

    def add(self, last: int) -> None:
        """One more message; what tells it from others, if it is latched."""
        self.count += 1
        self.last = last


@dataclass(frozen=True)
class TurnReport:
    """A turn as reported: its place among those of one instant, when, and which request it is."""

    order: int
    standing: Standing
    at_ns: int
    number: int


@dataclass
class Report:
    """What a participant says of itself, or without a name what has changed of that.

    clock_ns: everything that this reading of the clock brings has been worked off.
    ready: time need not wait for it to start.
    """

    name: str
    clock_ns: int = 0
    ready: bool = False
    turns: dict[str, TurnReport] = field(default_factory=dict)
    sent: dict[str, Mark] = field(default_factory=dict)
    received: dict[str, Mark] = field(default_factory=dict)

    def encode(self) -> bytes:
        return json.dumps(
            [
                self.name,
                self.clock_ns,
                self.ready,
                {n: [t.order, t.standing.value, t.at_ns, t.number] for n, t in self.turns.items()},
                _encoded(self.sent),
                _encoded(self.received),
            ]
        ).encode()

    def update(self, change: Report) -> None:
        """Take what has changed."""
        self.clock_ns, self.ready = change.clock_ns, change.ready
        self.turns.update(change.turns)
        self.sent.update(change.sent)
        self.received.update(change.received)

    def subscribed_again(self, before: Report | None) -> Iterator[str]:
        """Topics whose messages it counts from another beginning than in an earlier report."""
        old = {} if before is None else before.received
        for topic in old.keys() | self.received.keys():
            one, other = old.get(topic), self.received.get(topic)
            if one is None or other is None or other.count < one.count:
                yield topic

    @classmethod
    def decode(cls, data: bytes) -> Report:
        """Raises ValueError for what is no report."""
        try:
            name, clock_ns, ready, turns, sent, received = json.loads(data)
            return cls(
                str(name),
                int(clock_ns),
                bool(ready),
                {n: TurnReport(t[0], Standing(t[1]), t[2], t[3]) for n, t in turns.items()},
                {n: Mark(*m) for n, m in sent.items()},
                {n: Mark(*m) for n, m in received.items()},
            )
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            raise ValueError(f"not a participant's report: {error}") from error


def _encoded(marks: dict[str, Mark]) -> dict[str, list[int]]:
    return {n: [m.count, m.matched, m.latched, m.last] for n, m in marks.items()}


class Turn:
    """A participant's right to act, for one thread of it. `Participant.turn` makes one."""

    def __init__(self, participant: Participant, order: int) -> None:
        self._participant = participant
        self._changed = threading.Condition()
        # Replaced as a whole: a report made by another thread sees all of it or nothing.
        self.report = TurnReport(order, Standing.RESTING, 0, 0)
        self._granted = False
        self._signalled = False

    def ask(self, at_ns: int) -> None:
        """Want to act when the clock has come to a time; 0: as soon as this instant is quiet."""
        with self._changed:
            self._set(Standing.WAITING, at_ns)

    def busy(self) -> None:
        """Time stands still until something else is said."""
        with self._changed:
            self._set(Standing.BUSY)

    def rest(self) -> None:
        """Nothing to do; time need not wait."""
        with self._changed:
            self._signalled = False
            self._set(Standing.RESTING)

    def signal(self) -> None:
        """Something has come to be worked on: wake whoever is in `next`."""
        with self._changed:
            self._signalled = True
            if self.report.standing is Standing.RESTING:
                self._set(Standing.WAITING)

    def next(self, ending: threading.Event) -> bool:
        """Wait for a turn to work on what was signalled; False once `ending` is set."""
        with self._changed:
            self._set(Standing.WAITING if self._signalled else Standing.RESTING)
        given = self.wait(ending)
        with self._changed:
            self._signalled = False
        return given

    def wait(self, ending: threading.Event) -> bool:
        """Wait until the turn has come; False once `ending` is set."""
        while not self.came(_ENDING_S):
            if ending.is_set():
                return False
        return True

    def came(self, timeout_s: float) -> bool:
        """Wait some seconds of the wall clock for the turn; whether it has come."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._granted, timeout_s):
                return False
            self._granted = False
            # Known to the timekeeper, which gave the turn: no report of its own.
            self.report = replace(self.report, standing=Standing.BUSY)
            return True

    def granted(self, number: int) -> None:
        """The timekeeper gives the turn that was asked for under a number."""
        with self._changed:
            report = self.report
            if number == report.number and report.standing is Standing.WAITING:
                self._granted = True
                self._changed.notify_all()

    def _set(self, standing: Standing, at_ns: int = 0) -> None:
        report = self.report
        if standing is Standing.RESTING and report.standing is Standing.RESTING:
            return
        self.report = TurnReport(report.order, standing, at_ns, report.number + 1)
        self._granted = False
        self._participant.report()


class Participant:
    """A process that takes part. Safe to use from several threads.

    path: the timekeeper's socket; waited for in the background until it is there.
    set_clock: is given each reading of the clock, in a thread of its own; whether that is all that
    it brings. Where it is not, `worked_off` says when it is.
    matches: refreshes the `matched` of the marks it is given, (sent, received) by topic.
    """

    def __init__(
        self,
        path: Path,
        name: str,
        set_clock: Callable[[int], bool],
        matches: Callable[[dict[str, Mark], dict[str, Mark]], None] = lambda sent, received: None,
    ) -> None:
        self._path, self._set_clock, self._matches = path, set_clock, matches
        self._unmatched = True
        self._lock = threading.RLock()
        self._state = Report(name)
        self._turns: dict[str, Turn] = {}
        self._socket: socket.socket | None = None
        # Names have come or gone, so that the timekeeper needs all.
        self._renamed = True
        self._whole = b""
        # What has changed since the last report; of turns, those that are not in it.
        self._sent_since: set[str] = set()
        self._received_since: set[str] = set()
        self._reported = (0, False)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="lockstep", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Take part no more; time does not wait for it."""
        self._closed.set()
        with self._lock:
            if self._socket is not None:
                with contextlib.suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(1.0)

    @property
    def joined(self) -> bool:
        """Whether the timekeeper has been reached."""
        return self._socket is not None

    def turn(self, name: str, order: int) -> Turn:
        """The right to act of one of its threads, by a name."""
        with self._lock:
            if name not in self._turns:
                self._turns[name] = Turn(self, order)
                self._renamed = True
            return self._turns[name]

    def ready(self) -> None:
        """It has started: time need not wait for that."""
        with self._lock:
            self._state.ready = True
        self.report()

    def sends(self, topic: str, latched: bool = False) -> None:
        """It publishes on a topic."""
        with self._lock:
            self._state.sent.setdefault(topic, Mark(latched=latched))
            self._unmatched = self._renamed = True

    def hears(self, topic: str, latched: bool = False) -> None:
        """It subscribes to a topic."""
        with self._lock:
            self._state.received.setdefault(topic, Mark(latched=latched))
            self._unmatched = self._renamed = True

    def sends_no_more(self, topic: str) -> None:
        """It publishes on a topic no more."""
        with self._lock:
            self._state.sent.pop(topic, None)
            self._sent_since.discard(topic)
            self._renamed = True

    def hears_no_more(self, topic: str) -> None:
        """It subscribes to a topic no more."""
        with self._lock:
            self._state.received.pop(topic, None)
            self._received_since.discard(topic)
            self._renamed = True

    def sending(self, topic: str, last: int = 0) -> None:
        """A message is about to be published. Known to the timekeeper before anybody has it.

        In a turn it is reported with what comes next: until then time stands still.
        """
        with self._lock:
            if topic not in self._state.sent:
                self.sends(topic)
            self._state.sent[topic].add(last)
            self._sent_since.add(topic)
            in_turn = any(t.report.standing is Standing.BUSY for t in self._turns.values())
        if not in_turn:
            self.report()

    def received(self, topic: str, last: int = 0) -> None:
        """A message has been received and worked off."""
        with self._lock:
            if topic in self._state.received:
                self._state.received[topic].add(last)
                self._received_since.add(topic)
        self.report()

    def worked_off(self, clock_ns: int) -> None:
        """Everything that a reading of the clock brings has been done."""
        with self._lock:
            self._state.clock_ns = clock_ns
        self.report()

    def report(self) -> None:
        """Tell the timekeeper how things stand, if that has changed."""
        with self._lock:
            if self._socket is None or self._closed.is_set():
                return
            data = self._news()
            if data:
                with contextlib.suppress(OSError):  # the reader sees that the bench has gone
                    self._socket.send(data)

    def _news(self) -> bytes:
        """What the timekeeper does not know yet, encoded; empty if it knows all."""
        state, since = self._state, (self._sent_since, self._received_since)
        turns = {name: turn.report for name, turn in self._turns.items()}
        now = state.clock_ns, state.ready
        whole = self._unmatched or self._renamed
        if whole:
            self._matches(state.sent, state.received)
            state.turns = turns
            data = state.encode()
            news = b"" if data == self._whole else data
            self._whole, self._renamed = data, False
        else:
            changed = {name: turn for name, turn in turns.items() if turn != state.turns[name]}
            if not (changed or since[0] or since[1] or now != self._reported):
                return b""
            state.turns, self._whole = turns, b""
            sent, received = (
                {name: marks[name] for name in names}
                for names, marks in zip(since, (state.sent, state.received), strict=True)
            )
            news = Report("", *now, changed, sent, received).encode()
        self._reported = now
        for names in since:
            names.clear()
        return news

    def _listen(self) -> None:
        while not self._closed.is_set():
            connection = _connect(self._path)
            if connection is None:
                self._closed.wait(_RETRY_S)
                continue
            with self._lock:
                self._socket, self._renamed, self._whole = connection, True, b""
            self.report()
            self._take_turns(connection)
            with self._lock:
                self._socket = None
            connection.close()

    def _take_turns(self, connection: socket.socket) -> None:
        while not self._closed.is_set():
            try:
                data = connection.recv(_LONGEST_REPORT)
            except OSError:
                return
            if not data:
                return
            name, number = json.loads(data)
            if name == _CLOCK:
                self._unmatched = False
                if self._set_clock(number):
                    self.worked_off(number)
            elif name == _ASK:
                self._unmatched = True
                self.report()
            else:
                self._turns[name].granted(number)


def _connect(path: Path) -> socket.socket | None:
    """None as long as no bench is there, or it has not come to accept. Raises OSError."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        connection.connect(str(path))
    except (FileNotFoundError, ConnectionRefusedError, BlockingIOError):
        connection.close()
        return None
    except OSError:
        connection.close()
        raise
    return connection


@dataclass
class _Peer:
    """A participant as the timekeeper sees it. given: numbers of turns that were given."""

    connection: socket.socket
    report: Report | None = None
    given: dict[str, int] = field(default_factory=dict)

    def take(self, report: Report) -> None:
        """Take a report, or what has changed. Raises ValueError for a change of nothing."""
        if report.name:
            self.report = report
        elif self.report is None:
            raise ValueError("not a participant's report: it begins with a change")
        else:
            self.report.update(report)

    def send(self, name: str, number: int) -> None:
        """Give a turn, or one of _CLOCK and _ASK."""
        # Gone, or so far behind that its socket is full: it is asked again, or leaves.
        with contextlib.suppress(OSError):
            self.connection.send(json.dumps([name, number]).encode(), socket.MSG_DONTWAIT)

    def acts(self, name: str) -> bool:
        """Whether it acts: time stands still for it, or a turn was given and nothing said since."""
        assert self.report is not None
        turn = self.report.turns[name]
        if turn.standing is Standing.BUSY:
            return True
        return turn.standing is Standing.WAITING and self.given.get(name) == turn.number


def _remove_socket(path: Path) -> None:
    """Take away the socket of a bench that was killed. Raises FileExistsError for anything else."""
    if path.is_socket() and not path.is_symlink():
        path.unlink()
    elif os.path.lexists(path):
        raise FileExistsError(errno.EEXIST, "a file of that name is there", str(path))


@dataclass
class _Settled:
    """How far a topic was when all had arrived: senders by name, and messages.

    received: by who receives it.
    """

    senders: list[str]
    sent: int
    received: dict[str, int]


@dataclass
class _Ends:
    """Who sends a topic, and who receives it."""

    senders: list[Report]
    receivers: list[Report]

    def found_by(self, topic: str, receiver: Report) -> bool:
        """Whether a receiver has found all who send it."""
        return receiver.received[topic].matched >= len(self.senders)

    def delivered(
        self, topic: str, receiver: Report, settled: _Settled | None, heard: list[int]
    ) -> bool:
        """Whether a receiver has what it must have been given.

        settled: how far the topic was before. What was sent before a receiver and the senders knew
        each other it may never get. heard: of a latched topic, what it has received since.
        """
        mark, sent = receiver.received[topic], [sender.sent[topic] for sender in self.senders]
        latched = any(each.latched for each in sent)
        if latched and mark.latched:
            newest = {each.last for each in sent if each.count}
            return not newest or not newest.isdisjoint(heard)
        if settled is None or receiver.name not in settled.received:
            return True
        if settled.senders != [sender.name for sender in self.senders]:
            return True
        due = sum([each.count for each in sent]) - settled.sent
        if latched:  # of several the last may be all that is left
            due = min(due, 1)
        return mark.count - settled.received[receiver.name] >= due

    def settled(self, topic: str) -> _Settled:
        return _Settled(
            [sender.name for sender in self.senders],
            sum(sender.sent[topic].count for sender in self.senders),
            {receiver.name: receiver.received[topic].count for receiver in self.receivers},
        )


class Timekeeper:
    """Decides when the clock may go on. For one thread, that which moves the clock.

    Args:
        path: socket to make; participants connect to it.
        expected: names of participants without whom time does not begin.
        tell: publishes a reading of the clock; called again where it seems to have been lost.
        say: is given who is waited for, in words, once for each wait.
        match: refreshes the `matched` of the bench's own marks, by topic.
        name_after_s: somebody who is waited for is named after so long, by the wall clock.
        lost_after_s: a message that has not arrived by then is lost, and time goes on.
    """

    def __init__(
        self,
        path: Path,
        expected: Iterable[str],
        tell: Callable[[int], None],
        say: Callable[[str], None],
        match: Callable[[dict[str, Mark]], None] = lambda sent: None,
        name_after_s: float = NAME_AFTER_S,
        lost_after_s: float = LOST_AFTER_S,
    ) -> None:
        _remove_socket(path)
        self._path = path
        self._server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._server.bind(str(path))
        self._server.listen(64)
        self._server.setblocking(False)
        self._expected = set(expected)
        self._tell, self._say, self._match = tell, say, match
        self._name_after_s, self._lost_after_s = name_after_s, lost_after_s
        self._peers: dict[int, _Peer] = {}
        self._poller = select.poll()
        self._poller.register(self._server, select.POLLIN)
        self._own = Report("sim_bench")
        # By topic; empty: to be found again, as somebody came, went or has other topics.
        self._ends: dict[str, _Ends] = {}
        # By topic, when time last might go on.
        self._settled: dict[str, _Settled] = {}
        # Latched messages received since, after the last one before, by receiver and topic.
        self._heard: dict[tuple[str, str], list[int]] = {}
        # Ends of a topic, by participant, that have not found each other and will not.
        self._lost: set[tuple[str, str]] = set()
        self.now_ns = 0
        """The clock as it stands."""

    def close(self) -> None:
        self._server.close()
        for peer in self._peers.values():
            peer.connection.close()
        self._path.unlink(missing_ok=True)

    @property
    def names(self) -> list[str]:
        """Who takes part."""
        return sorted(p.report.name for p in self._peers.values() if p.report is not None)

    def sends(self, topic: str) -> None:
        """The bench itself publishes on a topic."""
        self._own.sent.setdefault(topic, Mark())
        self._ends.clear()

    def sent(self, topic: str) -> None:
        """The bench itself has published a message."""
        if topic not in self._own.sent:
            self.sends(topic)
        self._own.sent[topic].count += 1

    def begin(self, now_ns: int, ending: threading.Event) -> bool:
        """Wait at the first instant until everybody expected is there; False if ended before."""
        self._set(now_ns)
        return self._wait_until_quiet(ending)

    def run_instant(
        self, now_ns: int, ending: threading.Event, act: Callable[[], None] = lambda: None
    ) -> bool:
        """Set the clock, and return when all that this brings is done; False if ended before.

        act: what the bench itself does at this instant.
        """
        self._set(now_ns)
        act()
        if not self._wait_until_quiet(ending):
            return False
        while (due := self._due()) is not None:
            peer, name, number = due
            peer.given[name] = number
            peer.send(name, number)
            if not self._wait_until_quiet(ending):
                return False
        return True

    def next_ns(self) -> int | None:
        """The next time that a participant waits for; None if none does."""
        times = [
            turn.at_ns
            for peer in self._known()
            for turn in peer.report.turns.values()  # type: ignore[union-attr]
            if turn.standing is Standing.WAITING
        ]
        return min(times, default=None)

    def _set(self, now_ns: int) -> None:
        self.now_ns = now_ns
        self._tell(now_ns)
        for peer in self._peers.values():
            peer.send(_CLOCK, now_ns)

    def _known(self) -> list[_Peer]:
        return [peer for peer in self._peers.values() if peer.report is not None]

    def _due(self) -> tuple[_Peer, str, int] | None:
        """The next turn of this instant."""
        due = [
            (turn.order, peer.report.name, name, peer, turn.number)  # type: ignore[union-attr]
            for peer in self._known()
            for name, turn in peer.report.turns.items()  # type: ignore[union-attr]
            if turn.standing is Standing.WAITING and turn.at_ns <= self.now_ns
        ]
        if not due:
            return None
        _, _, name, peer, number = min(due, key=lambda one: one[:3])
        return peer, name, number

    def _wait_until_quiet(self, ending: threading.Event) -> bool:
        began_s, named = time.monotonic(), False
        while True:
            self._drain(0.0)
            if self._is_quiet():
                self._settle()
                return True
            if ending.is_set():
                return False
            if self._drain(_LOOK_S):
                continue
            self._look_again()
            waited_s = time.monotonic() - began_s
            if waited_s > self._name_after_s and not named:
                named = True
                reasons = "; ".join(self._reasons())
                self._say(f"simulated time has waited {waited_s:.0f} s: {reasons}")
            if waited_s > self._lost_after_s:
                self._give_up_messages()

    def _look_again(self) -> None:
        """Ask everybody how things stand; who listens to the clock alone gets it again."""
        self._match(self._own.sent)
        self._tell(self.now_ns)
        for peer in self._peers.values():
            peer.send(_ASK, 0)

    def _is_quiet(self) -> bool:
        """Whether time may go on; asked at every report, hence the cheap questions first."""
        if self._expected:
            return False
        now_ns = self.now_ns
        for peer in self._peers.values():
            report = peer.report
            if report is not None and (report.clock_ns != now_ns or not report.ready):
                return False
        for peer in self._peers.values():
            if peer.report is not None and any(map(peer.acts, peer.report.turns)):
                return False
        return next(self._undelivered(), None) is None

    def _reasons(self) -> list[str]:
        """Why time may not go on, in words; empty if it may."""
        reasons = [f"{name} has not started" for name in sorted(self._expected)]
        for peer in self._known():
            report = peer.report
            assert report is not None
            if not report.ready:
                reasons.append(f"{report.name} is not active yet")
            elif report.clock_ns != self.now_ns:
                reasons.append(f"{report.name} works on what came before")
            reasons += [f"{report.name} is busy ({n})" for n in report.turns if peer.acts(n)]
        return [*reasons, *self._undelivered()]

    def _everybody(self) -> list[Report]:
        return [self._own, *(p.report for p in self._known() if p.report is not None)]

    def _ends_by_topic(self) -> dict[str, _Ends]:
        """Who sends and who receives each topic that somebody sends."""
        if not self._ends:
            self._match(self._own.sent)
            everybody = self._everybody()
            for topic in {topic for report in everybody for topic in report.sent}:
                self._ends[topic] = _Ends(
                    [report for report in everybody if topic in report.sent],
                    [report for report in everybody if topic in report.received],
                )
        return self._ends

    def _undelivered(self) -> Iterator[str]:
        """Who has not received or found what, in words."""
        for topic, ends in self._ends_by_topic().items():
            settled = self._settled.get(topic)
            for receiver in ends.receivers:
                if not ends.found_by(topic, receiver):
                    if (receiver.name, topic) not in self._lost:
                        yield f"{receiver.name} has not found who publishes {topic}"
                elif not ends.delivered(topic, receiver, settled, self._heard_by(receiver, topic)):
                    yield f"{receiver.name} has not received {topic}"
            for sender in ends.senders:
                short = sender.sent[topic].matched < len(ends.receivers)
                if short and (sender.name, topic) not in self._lost:
                    yield f"{sender.name} has not found who subscribes to {topic}"

    def _heard_by(self, receiver: Report, topic: str) -> list[int]:
        return self._heard.get((receiver.name, topic), [])

    def _hear(self, name: str, received: dict[str, Mark]) -> None:
        """Note what a participant has received of latched topics.

        At every report, as a stranger's message may follow that which is waited for.
        """
        for topic, mark in received.items():
            if mark.latched and mark.count:
                self._heard.setdefault((name, topic), []).append(mark.last)

    def _settle(self) -> None:
        """All that was sent until now has arrived: what is sent from now on must arrive, too."""
        for heard in self._heard.values():
            del heard[:-1]
        for topic, ends in self._ends_by_topic().items():
            self._settled[topic] = ends.settled(topic)

    def _give_up_messages(self) -> None:
        """What has not arrived will not: time goes on without it, and it is said."""
        lost = list(self._undelivered())
        if not lost:
            return
        self._say(f"given up after {self._lost_after_s:.0f} s: {'; '.join(lost)}")
        self._settle()
        for topic, ends in self._ends_by_topic().items():
            self._lost.update((each.name, topic) for each in (*ends.senders, *ends.receivers))
            for receiver in ends.receivers:
                lasts = [sender.sent[topic].last for sender in ends.senders]
                self._heard.setdefault((receiver.name, topic), []).extend(lasts)

    def _drain(self, timeout_s: float) -> bool:
        """Take every report that has come by now, waiting for the first; whether one came."""
        came = False
        while events := self._poller.poll(0 if came else round(1000 * timeout_s)):
            for descriptor, _ in events:
                if descriptor == self._server.fileno():
                    self._accept()
                else:
                    self._take_report(descriptor)
            came = True
        return came

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError):
            connection, _ = self._server.accept()
            peer = self._peers[connection.fileno()] = _Peer(connection)
            peer.send(_CLOCK, self.now_ns)
            self._poller.register(connection, select.POLLIN)

    def _take_report(self, descriptor: int) -> None:
        peer = self._peers[descriptor]
        try:
            data = peer.connection.recv(_LONGEST_REPORT)
        except OSError:
            data = b""
        if not data:
            self._leave(descriptor)
            return
        known = peer.report
        try:
            report = Report.decode(data)
            peer.take(report)
        except ValueError as error:
            self._say(f"a program on {self._path} is left out: {error}")
            self._leave(descriptor)
            return
        assert peer.report is not None
        name = peer.report.name
        if report.name:
            self._ends.clear()
            for topic in report.subscribed_again(known):
                self._settled.pop(topic, None)
                self._heard.pop((name, topic), None)
            self._expected.discard(name)
        self._hear(name, report.received)

    def _leave(self, descriptor: int) -> None:
        peer = self._peers.pop(descriptor)
        self._ends.clear()
        self._settled.clear()
        if peer.report is not None:
            left = peer.report.name
            self._heard = {key: heard for key, heard in self._heard.items() if key[0] != left}
        self._poller.unregister(descriptor)
        peer.connection.close()
