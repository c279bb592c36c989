"""Losses, delays and copies on a line in virtual time: what is fresh, what is missing, never stale.

The clock is the line's own, so nothing here depends on how busy the machine is.
"""

import heapq
import random
from dataclasses import dataclass, field

import pytest

from armlet.motors import protocol
from armlet.motors.feetech import Bus
from armlet.motors.feetech.packets import BROADCAST_ID, Instruction, Packet, Parser, encode
from armlet.motors.feetech.registers import GOAL_POSITION, PRESENT_POSITION, PRESENT_VELOCITY
from armlet.motors.wire import bus, line, sync, timeout

IDS = (1, 2, 3, 4, 5, 6)
BYTE_S = 10e-6
CALL_S = 15e-6
TICK_S = 20e-6


class Clock:
    """Stands in for the time module."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    def monotonic_ns(self) -> int:
        return round(self.now * 1e9)

    def time_ns(self) -> int:
        return round(self.now * 1e9) + 10**18

    def sleep(self, duration_s: float) -> None:
        self.now += duration_s + 50e-6

    def tick(self) -> int:
        """What every servo's position register holds now: its time."""
        return round(self.now / TICK_S) % 30_000


@dataclass
class Servos:
    """A port with servos behind it. Requests and replies vanish, come late, come twice."""

    clock: Clock
    request_loss: float = 0.0
    reply_loss: float = 0.0
    copies: float = 0.0
    latency_s: float = 0.0001
    jitter_s: float = 0.00005
    late: float = 0.0
    late_s: float = 0.0
    echo: bool = False
    lengthened: float = 0.0
    dead: set[int] = field(default_factory=set)
    dice: random.Random = field(default_factory=lambda: random.Random(1))
    asked: list[Packet] = field(default_factory=list)
    free_s: float = 0.0
    last_s: float = 0.0
    turn: int = 0
    arrivals: list[tuple[float, int, bytes]] = field(default_factory=list)

    def write(self, data: bytes, timeout_s: float) -> None:
        self.free_s = max(self.free_s, self.clock.now)
        self.clock.now += CALL_S
        for packet in Parser().feed(data):
            self.free_s += len(encode(packet)) * BYTE_S
            self.asked.append(packet)
            if self.echo:
                self.deliver(encode(packet), 0.0)
            if self.dice.random() >= self.request_loss:
                self.answer(packet)

    def answer(self, packet: Packet) -> None:
        if packet.code == Instruction.SYNC_WRITE:
            return
        ids = tuple(packet.params[2:]) if packet.id == BROADCAST_ID else (packet.id,)
        late_s = self.late_s if self.dice.random() < self.late else 0.0
        for id in ids:
            if id in self.dead:
                continue
            answered_at = Clock()
            answered_at.now = self.free_s
            value = answered_at.tick().to_bytes(2, "little")
            start, count = packet.params[:2]
            memory = bytes(56) + value + bytes(300)
            reply = encode(Packet(id, 0, memory[start : start + count]))
            for _ in range(1 + (self.dice.random() < self.copies)):
                self.free_s += len(reply) * BYTE_S
                if self.dice.random() >= self.reply_loss:
                    self.deliver(reply, late_s)

    def deliver(self, reply: bytes, late_s: float) -> None:
        if self.dice.random() < self.lengthened:
            reply = reply[:3] + bytes((reply[3] | self.dice.choice((1, 2)),)) + reply[4:]
        jitter_s = self.jitter_s * self.dice.random()
        self.last_s = max(self.last_s, self.free_s + self.latency_s + jitter_s + late_s)
        self.turn += 1
        heapq.heappush(self.arrivals, (self.last_s, self.turn, reply))

    def take(self) -> bytes:
        data = b""
        while self.arrivals and self.arrivals[0][0] <= self.clock.now:
            data += heapq.heappop(self.arrivals)[2]
        return data

    def drain(self) -> bytes:
        return self.take()

    def read(self, deadline: float, awake_until: float = 0.0) -> bytes:
        if self.arrivals and self.arrivals[0][0] <= max(deadline, self.clock.now):
            self.clock.now = max(self.clock.now, self.arrivals[0][0]) + CALL_S
            return self.take()
        self.clock.now = max(self.clock.now, deadline)
        return b""

    def close(self) -> None:
        self.arrivals.clear()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in (line, timeout, sync, protocol):
        monkeypatch.setattr(module, "time", clock)
    return clock


def open_bus(servos: Servos, monkeypatch: pytest.MonkeyPatch, timeout_s: float = 0.02) -> Bus:
    monkeypatch.setattr(bus, "SerialPort", lambda path, baudrate: servos)
    opened = Bus("virtual", timeout_s=timeout_s)
    opened.open()
    return opened


@dataclass
class Run:
    """What came of a number of cycles."""

    fresh: int = 0
    stale: int = 0
    late: int = 0
    values: int = 0


def cycles(
    opened: Bus, servos: Servos, count: int, rate_hz: float, share: float | None = 0.8
) -> Run:
    clock, run = servos.clock, Run()
    goals = dict.fromkeys(IDS, 2048)
    for _ in range(count):
        start_s = clock.now
        first_tick = clock.tick()
        until = None if share is None else start_s + share / rate_hz
        reply = opened.sync_write_read(GOAL_POSITION, goals, [PRESENT_POSITION], IDS, until=until)
        ages = [(value - first_tick) % 30_000 for (value,) in reply.values.values()]
        run.stale += sum(age > 15_000 for age in ages)
        run.values += len(ages)
        run.fresh += not reply.missing
        run.late += until is not None and clock.now > until + 2 * CALL_S
        assert set(reply.retried) <= set(reply.values)
        assert set(reply.values) | set(reply.missing) == set(IDS)
        clock.now = max(clock.now, start_s + 1 / rate_hz)
    return run


@pytest.mark.representatives(2)
@pytest.mark.parametrize("rate_hz", [100.0, 200.0])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_tenth_lost_each_way_leaves_nearly_all_cycles_fresh(
    rate_hz: float, seed: int, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    servos = Servos(clock, request_loss=0.1, reply_loss=0.1, dice=random.Random(seed))
    run = cycles(open_bus(servos, monkeypatch), servos, 1000, rate_hz)
    assert run.fresh >= 950
    assert (run.stale, run.late) == (0, 0)


@pytest.mark.parametrize("echo", [False, True])
@pytest.mark.parametrize("seed", range(12))
def test_nothing_stale_is_ever_believed(
    seed: int, echo: bool, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    dice = random.Random(seed)
    servos = Servos(
        clock,
        request_loss=dice.choice([0, 0.1, 0.3]),
        reply_loss=dice.choice([0, 0.1, 0.3]),
        copies=dice.choice([0, 0.1, 0.3]),
        late=dice.choice([0, 0.1, 0.5]),
        late_s=dice.choice([0.001, 0.003, 0.01, 0.03]),
        dead=set(dice.choice([(), (6,), (1, 6), (3,)])),
        dice=dice,
        echo=echo,
    )
    share = dice.choice([0.8, 0.8, None])
    run = cycles(open_bus(servos, monkeypatch), servos, 400, 100.0, share)
    assert run.stale == 0
    assert run.values > 100
    servos.request_loss = servos.reply_loss = servos.copies = servos.late = 0.0
    servos.dead.clear()
    cycles(opened := open_bus(servos, monkeypatch), servos, 10, 100.0)
    assert cycles(opened, servos, 10, 100.0).fresh == 10


def test_a_late_echo_of_a_request_is_no_late_reply(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A SYNC_READ of six has eight parameters, as replies to one that reads six bytes more."""
    servos = Servos(clock, echo=True, reply_loss=0.3, dice=random.Random(1))
    opened = open_bus(servos, monkeypatch)
    cycles(opened, servos, 20, 200.0)
    for late_s in (0.008, 0.015, 0.03):
        servos.late, servos.late_s = 0.3, late_s
        assert cycles(opened, servos, 1000, 200.0, share=0.7).stale == 0


@pytest.mark.representatives(1)
@pytest.mark.parametrize("seed", range(6))
def test_a_late_reply_that_swallowed_a_header_is_not_believed(
    seed: int, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A length greater by one or two, and the FF that it takes in, leave the checksum right."""
    servos = Servos(clock, reply_loss=0.1, dice=random.Random(seed))
    opened = open_bus(servos, monkeypatch)
    servos.lengthened, servos.late = 0.1, 0.5
    for late_s in (0.008, 0.015, 0.03):
        servos.late_s = late_s
        assert cycles(opened, servos, 1000, 200.0, share=0.7).stale == 0


def test_only_those_that_did_not_answer_are_asked_again(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    servos = Servos(clock, dead={2, 6})
    opened = open_bus(servos, monkeypatch)
    opened.sync_read([PRESENT_POSITION], IDS)
    servos.asked.clear()
    reply = opened.sync_read([PRESENT_POSITION], IDS, until=clock.now + 0.008)
    assert reply.missing == (2, 6) and reply.retried == ()
    first, *again = servos.asked
    assert tuple(first.params[2:]) == IDS
    assert again and all(tuple(packet.params[2:]) == (2, 6) for packet in again)
    counters = opened.counters
    assert counters.retries == len(again)
    assert opened.servo_counters[6].retries == len(again)
    assert opened.servo_counters[1].retries == 0


def test_the_stamp_is_the_first_trys_and_the_younger_values_are_named(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    servos = Servos(clock, dead={4})
    opened = open_bus(servos, monkeypatch)
    opened.sync_read([PRESENT_POSITION], IDS)
    answer = servos.answer

    def revive(packet: Packet) -> None:
        answer(packet)
        servos.dead.clear()

    monkeypatch.setattr(servos, "answer", revive)
    start_ns = clock.time_ns()
    reply = opened.sync_read([PRESENT_POSITION, PRESENT_VELOCITY], IDS, until=clock.now + 0.008)
    assert (reply.missing, reply.retried) == ((), (4,))
    assert list(reply.values) == list(IDS)
    assert start_ns < reply.stamp_ns < start_ns + 1_000_000
    younger = reply.values[4][0] - reply.values[6][0]
    assert 0 < younger * TICK_S < 0.001


def test_late_replies_to_a_try_of_the_same_call_are_taken(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    servos = Servos(clock)
    opened = open_bus(servos, monkeypatch)
    cycles(opened, servos, 10, 100.0)
    answer = servos.answer

    def slow_once(packet: Packet) -> None:
        servos.late, servos.late_s = 1.0, 0.003
        answer(packet)

    monkeypatch.setattr(servos, "answer", slow_once)
    first_tick = clock.tick()
    reply = opened.sync_read([PRESENT_POSITION], IDS, until=clock.now + 0.008)
    assert (reply.missing, reply.retried) == ((), ())
    assert all(0 < value - first_tick < 0.001 / TICK_S for (value,) in reply.values.values())
    counters = opened.counters
    assert counters.retries > 0 and counters.stale_replies == 0
    before = counters.replies
    reply = opened.sync_read([PRESENT_POSITION], IDS, until=clock.now + 0.008)
    assert reply.missing == () and opened.counters.replies == before + 6
    assert opened.counters.retries == counters.retries, "it has learnt how late replies may be"


def test_the_first_try_gets_its_time_even_after_the_deadline(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    servos = Servos(clock)
    opened = open_bus(servos, monkeypatch)
    assert opened.sync_read([PRESENT_POSITION], IDS, until=clock.now - 1).missing == ()
    servos.dead.update(IDS)
    start_s = clock.now
    assert opened.sync_read([PRESENT_POSITION], IDS, until=clock.now).missing == IDS
    assert clock.now - start_s == pytest.approx(
        (14 + 48) * BYTE_S + protocol.SHORTEST_WAIT_S, abs=1e-4
    )


def test_the_timeout_follows_the_line(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    servos = Servos(clock)
    opened = open_bus(servos, monkeypatch)

    def silence_costs_s() -> float:
        servos.dead.add(6)
        servos.asked.clear()
        start_s = clock.now
        opened.sync_read([PRESENT_POSITION], IDS, until=clock.now + 1.0)
        servos.dead.clear()
        return (1.0 if len(servos.asked) == 1 else 0.0) or clock.now - start_s

    def first_try_takes_s() -> float:
        """From the first request of a cycle to the second."""
        times: list[float] = []
        write = servos.write

        def noted(data: bytes, timeout_s: float) -> None:
            times.append(clock.now)
            write(data, timeout_s)

        monkeypatch.setattr(servos, "write", noted)
        silence_costs_s()
        monkeypatch.setattr(servos, "write", write)
        return times[1] - times[0]

    cycles(opened, servos, 20, 100.0)
    assert first_try_takes_s() < 0.0016, "a quick line"
    servos.latency_s = 0.008
    cycles(opened, servos, 50, 20.0, share=0.8)
    run = cycles(opened, servos, 50, 20.0, share=0.8)
    assert run.fresh == 50, "a slow adapter is waited for"
    asked = len(servos.asked)
    cycles(opened, servos, 20, 20.0, share=0.8)
    assert len(servos.asked) - asked == 2 * 20, "command and request: none was sent twice"
    assert 0.008 < first_try_takes_s() < 0.021


def test_a_slow_adapter_is_believed_from_the_start(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    servos = Servos(clock, latency_s=0.016)
    opened = open_bus(servos, monkeypatch)
    assert cycles(opened, servos, 50, 40.0).fresh == 50
    assert opened.counters.retries == 0


def test_a_copy_of_the_last_reply_does_not_end_the_next_read(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    servos = Servos(clock, copies=1.0)
    opened = open_bus(servos, monkeypatch)
    run = cycles(opened, servos, 100, 1200.0, share=None)
    assert run.stale == 0
    assert run.fresh >= 95
    assert opened.counters.stale_replies > 0


def test_the_command_goes_out_once_even_on_an_unsettled_line(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    servos = Servos(clock)
    opened = open_bus(servos, monkeypatch)
    opened.sync_read([PRESENT_POSITION], IDS)
    servos.dead.update(IDS)
    opened.sync_read([PRESENT_POSITION], IDS)
    servos.asked.clear()
    goals = dict.fromkeys(IDS, 1)
    opened.sync_write_read(GOAL_POSITION, goals, [PRESENT_POSITION], IDS, until=clock.now + 0.008)
    codes = [packet.code for packet in servos.asked]
    assert codes[0] == Instruction.SYNC_WRITE
    assert codes.count(Instruction.SYNC_WRITE) == 1
    assert codes.count(Instruction.SYNC_READ) >= 2


@pytest.mark.parametrize("stall_s", [0.05, 0.2, 0.4, 0.9])
@pytest.mark.parametrize("rate_hz", [100.0, 400.0])
def test_replies_held_back_while_the_adapter_stood_still_are_not_taken_for_new_ones(
    stall_s: float, rate_hz: float, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    servos = Servos(clock)
    opened = open_bus(servos, monkeypatch)
    cycles(opened, servos, 20, rate_hz)
    servos.late, servos.late_s = 1.0, stall_s
    run = cycles(opened, servos, round(2 * stall_s * rate_hz), rate_hz)
    assert run.stale == 0
    servos.late = 0.0
    run = cycles(opened, servos, 50 + round(stall_s * rate_hz), rate_hz)
    assert run.stale == 0
    assert run.fresh >= 45, "the replies that were held back tell that the line is clear"


def test_requests_on_an_unsettled_line_ask_for_other_lengths(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    servos = Servos(clock, dead=set(IDS))
    opened = open_bus(servos, monkeypatch)
    begun_s = clock.now
    while clock.now < begun_s + 1.2:
        opened.sync_read([PRESENT_POSITION], IDS)
    lengths = [packet.params[1] for packet in servos.asked]
    assert lengths[:24] == list(range(2, 26)), "0.5 s"
    assert lengths[24:30] == list(range(2, 8)), "a second later the oldest is the first"
    servos.dead.clear()
    clock.now += 1.0
    first_tick = clock.tick()
    reply = opened.sync_read([PRESENT_POSITION], IDS)
    assert reply.missing == ()
    assert all((value - first_tick) % 30_000 < 15_000 for (value,) in reply.values.values())
    servos.asked.clear()
    opened.sync_read([PRESENT_POSITION], IDS)
    assert servos.asked[0].params[:2] == bytes((56, 2))
