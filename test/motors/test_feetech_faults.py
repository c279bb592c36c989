"""The bus against an emulator that misbehaves: damaged, late and missing replies, unplugging."""

import os
import select
import termios
import threading
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import awaited_replies
import pytest

from armlet.motors.emulation import EmulatedBus
from armlet.motors.emulation.faults import Faults
from armlet.motors.feetech import Bus, CorruptReply, NoReply, PortError, ServoError
from armlet.motors.feetech.packets import (
    BROADCAST_ID,
    FRAMING,
    ErrorBit,
    Instruction,
    Packet,
    Parser,
    encode,
)
from armlet.motors.feetech.registers import (
    GOAL_POSITION,
    HOMING_OFFSET,
    ID,
    PRESENT_POSITION,
    STATUS,
    TORQUE_ENABLE,
)
from armlet.motors.wire.line import Answer, Request
from armlet.motors.wire.port import SerialPort

IDS = (1, 2, 3, 4, 5, 6)
SHORT_S = 0.05
# Far longer than anything takes on a busy computer.
LONG_S = 120.0


@pytest.fixture
def emulated() -> Iterator[EmulatedBus]:
    with EmulatedBus(IDS) as emulated:
        for id, servo in emulated.servos.items():
            servo.position = 100 * id
        yield emulated


@pytest.fixture
def bus(emulated: EmulatedBus) -> Iterator[Bus]:
    with Bus(emulated.port, timeout_s=SHORT_S) as bus:
        yield bus


@pytest.fixture
def patient(emulated: EmulatedBus) -> Iterator[Bus]:
    with Bus(emulated.port, timeout_s=LONG_S) as bus:
        yield bus


class Wire:
    """A bare pseudo-terminal: the test plays the servos. A bus waits for whoever is to answer."""

    def __init__(self) -> None:
        self.master, self.slave = os.openpty()
        tty.setraw(self.slave)
        self.path = os.ttyname(self.slave)
        self._to_answer = 0
        self._answering = False

    def answer_next(self, *replies: bytes | Callable[[bytes], bytes]) -> threading.Thread:
        """Answers so many requests, each with these bytes, or what is made of the request."""
        self._to_answer = len(replies)

        def run() -> None:
            for reply in replies:
                select.select([self.master], [], [])
                self._answering = True
                request = os.read(self.master, 100)
                os.write(self.master, reply if isinstance(reply, bytes) else reply(request))
                self._to_answer -= 1
                self._answering = False

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        return thread

    def busy(self) -> bool:
        """Whether a request waits for its answer. In this order: who answers has read it."""
        asked = bool(self._to_answer and select.select([self.master], [], [], 0)[0])
        return asked or self._answering

    def close(self) -> None:
        os.close(self.master)
        os.close(self.slave)


@pytest.fixture
def wire() -> Iterator[Wire]:
    wire = Wire()
    with awaited_replies.served(wire.path, wire.busy):
        yield wire
    wire.close()


def heard_all(servo: threading.Thread) -> None:
    servo.join(LONG_S)
    assert not servo.is_alive(), "it was sent fewer requests than it was to answer"


@contextmanager
def held_back(emulated: EmulatedBus, patch: pytest.MonkeyPatch) -> Iterator[None]:
    """Replies come once the first request after this is sent: a bus does not wait for them."""
    released = threading.Event()
    sent = SerialPort.write

    def write(fd: int, data: bytes) -> int:
        released.wait(LONG_S)
        return os.write(fd, data)

    def send(port: SerialPort, data: bytes, timeout_s: float) -> None:
        sent(port, data, timeout_s)
        released.set()

    patch.setattr(
        "armlet.motors.emulation.line.os", SimpleNamespace(**{**vars(os), "write": write})
    )
    try:
        with awaited_replies.served(emulated.port, lambda: False):
            yield
    except BaseException:
        released.set()
        raise
    patch.setattr(SerialPort, "write", send)


@pytest.fixture
def long_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bus reckons with late replies for as long as this computer may stand still."""
    monkeypatch.setattr("armlet.motors.wire.line._OUTSTANDING_S", LONG_S)


def positions(bus: Bus) -> dict[int, int]:
    return {id: ticks for id, (ticks,) in bus.sync_read([PRESENT_POSITION], IDS).values.items()}


def test_a_dead_servo_costs_only_its_own_value(patient: Bus, emulated: EmulatedBus) -> None:
    emulated.faults.dead.add(3)
    start_s = time.monotonic()
    reply = patient.sync_read([PRESENT_POSITION], IDS)
    assert reply.missing == (3,)
    assert reply.values == {id: (100 * id,) for id in IDS if id != 3}
    assert time.monotonic() - start_s < LONG_S, "the last reply is the end; waiting is pointless"
    assert patient.counters.timeouts == 1


def test_a_dead_last_servo_costs_only_its_own_value(bus: Bus, emulated: EmulatedBus) -> None:
    emulated.faults.dead.add(6)
    for _ in range(3):
        reply = bus.sync_read([PRESENT_POSITION], IDS)
        assert reply.missing == (6,)
        assert reply.values == {id: (100 * id,) for id in IDS[:5]}
    emulated.faults.dead.clear()
    assert bus.sync_read([PRESENT_POSITION], IDS).missing == ()


def test_two_dead_servos_cost_only_their_own_values(bus: Bus, emulated: EmulatedBus) -> None:
    emulated.faults.dead.update((2, 6))
    for _ in range(3):
        reply = bus.sync_read([PRESENT_POSITION], IDS)
        assert reply.missing == (2, 6)
        assert reply.values == {id: (100 * id,) for id in (1, 3, 4, 5)}


def test_all_dead_then_back(bus: Bus, emulated: EmulatedBus) -> None:
    emulated.faults.dead.update(IDS)
    for _ in range(2):
        reply = bus.sync_read([PRESENT_POSITION], IDS)
        assert (reply.values, reply.missing) == ({}, IDS)
        with pytest.raises(NoReply, match="servo 2: no reply to READ ID"):
            bus.read(2, ID)
    emulated.faults.dead.clear()
    assert positions(bus) == {id: 100 * id for id in IDS}


def test_a_write_is_sent_even_to_a_servo_that_did_not_answer(
    bus: Bus, emulated: EmulatedBus
) -> None:
    emulated.faults.drop_probability = 1.0
    with pytest.raises(NoReply):
        bus.read(4, ID)
    with pytest.raises(NoReply, match="WRITE Torque_Enable = 0"):
        bus.write(4, TORQUE_ENABLE, 0)
    assert [(write.id, write.address) for write in emulated.writes] == [(4, 40)]


def test_a_corrupt_reply_is_missing_not_wrong(bus: Bus, emulated: EmulatedBus) -> None:
    emulated.faults.corrupt_next = 1
    reply = bus.sync_read([PRESENT_POSITION], IDS)
    assert reply.missing == (1,)
    assert reply.values == {id: (100 * id,) for id in IDS[1:]}
    emulated.faults.corrupt_next = 1
    with pytest.raises(CorruptReply, match="servo 1: no intact reply"):
        bus.read(1, PRESENT_POSITION)
    assert bus.read(1, PRESENT_POSITION) == 100


def test_no_damage_ever_becomes_a_value(patient: Bus, emulated: EmulatedBus) -> None:
    faults = emulated.faults
    faults.corrupt_probability = faults.truncate_probability = faults.drop_probability = 0.1
    faults.noise = b"\x00\xff\x37"
    patient.timeout_s = SHORT_S
    patient.close()
    patient.open()
    missing = 0
    for _ in range(40):
        found = positions(patient)
        assert found == {id: 100 * id for id in found}
        missing += 6 - len(found)
    assert 10 < missing < 200
    assert patient.counters.dropped_bytes > 0
    faults.corrupt_probability = faults.truncate_probability = faults.drop_probability = 0.0
    emulated.faults.noise = b""
    patient.timeout_s = LONG_S
    patient.close()
    patient.open()
    assert positions(patient) == {id: 100 * id for id in IDS}


def test_a_truncated_reply_does_not_take_the_next_with_it(
    patient: Bus, emulated: EmulatedBus
) -> None:
    emulated.faults.truncate_next = 1
    reply = patient.sync_read([PRESENT_POSITION], IDS)
    assert reply.missing == (1,)
    assert reply.values == {id: (100 * id,) for id in IDS[1:]}


def test_noise_before_replies_does_not_matter(patient: Bus, emulated: EmulatedBus) -> None:
    emulated.faults.noise = b"\xff\x00\xff\xff"
    assert positions(patient) == {id: 100 * id for id in IDS}
    assert patient.counters.dropped_bytes >= 5 * 4


def test_a_dropped_reply_is_counted(bus: Bus, emulated: EmulatedBus) -> None:
    emulated.faults.drop_next = 1
    with pytest.raises(NoReply):
        bus.read(5, ID)
    assert bus.counters.timeouts == 1
    assert bus.read(5, ID) == 5


def test_a_late_reply_never_answers_a_later_request(
    bus: Bus, emulated: EmulatedBus, long_memory: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with held_back(emulated, monkeypatch), pytest.raises(NoReply):
        bus.read(6, PRESENT_POSITION)
    emulated.servos[6].poke(HOMING_OFFSET, -7)
    deadline = time.monotonic() + LONG_S
    while time.monotonic() < deadline:
        try:
            assert bus.read(6, HOMING_OFFSET) == -7, "that was the position asked for before"
            break
        except NoReply:
            continue
    assert bus.read(6, HOMING_OFFSET) == -7
    assert bus.counters.stale_replies > 0


def test_a_late_cycle_is_never_taken_for_a_fresh_one(
    bus: Bus, emulated: EmulatedBus, long_memory: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert positions(bus) == {id: 100 * id for id in IDS}
    answered = threading.Semaphore(0)
    with held_back(emulated, monkeypatch):
        monkeypatch.setattr(Faults, "lateness_s", lambda _: answered.release() or 0.0)
        assert positions(bus) == {}
        # By what they measured then.
        assert all(answered.acquire(timeout=LONG_S) for _ in IDS)
    for id, servo in emulated.servos.items():
        servo.position = 100 * id + 1
    deadline = time.monotonic() + LONG_S
    while not (found := positions(bus)):
        assert time.monotonic() < deadline
    assert found == {id: 100 * id + 1 for id in IDS}
    assert bus.counters.stale_replies >= 1


def test_an_acknowledgement_of_unknown_age_is_not_believed(wire: Wire, long_memory: None) -> None:
    heard: list[Packet] = []

    def silence(request: bytes) -> bytes:
        heard.extend(Parser().feed(request))
        return b""

    def acknowledge(request: bytes) -> bytes:
        heard.extend(Parser().feed(request))
        return encode(Packet(6, 0))

    def hold(request: bytes) -> bytes:
        return encode(Packet(6, 0, bytes(Parser().feed(request)[0].params[1])))

    with Bus(wire.path, timeout_s=SHORT_S) as bus:
        servo = wire.answer_next(silence)
        with pytest.raises(NoReply):
            bus.write(6, GOAL_POSITION, 1)
        heard_all(servo)
        # A probe is not answered either; what comes at the second write is the first's.
        servo = wire.answer_next(silence, acknowledge)
        with pytest.raises(NoReply):
            bus.write(6, GOAL_POSITION, 2)
        heard_all(servo)
        assert bus.counters.stale_replies == 1
        written = [packet for packet in heard if packet.code == Instruction.WRITE]
        assert [packet.params[1] for packet in written] == [1, 2], "it is sent all the same"
        servo = wire.answer_next(hold, acknowledge, acknowledge)
        bus.write(6, GOAL_POSITION, 3)
        bus.write(6, GOAL_POSITION, 4)
        heard_all(servo)


def test_an_old_reply_of_any_length_is_passed_over_while_settling(wire: Wire) -> None:
    with Bus(wire.path, timeout_s=SHORT_S) as bus:
        with pytest.raises(NoReply):
            bus.read(3, PRESENT_POSITION)
        os.read(wire.master, 100)
        long_reply = encode(Packet(3, 0, bytes(30)))
        probed = long_reply + encode(Packet(3, 0, bytes(5)))
        servo = wire.answer_next(probed, encode(Packet(3, 0, b"\x07\x00")))
        assert bus.read(3, PRESENT_POSITION) == 7
        heard_all(servo)
        assert (bus.counters.stale_replies, bus.counters.dropped_bytes) == (1, 0)


def test_a_reply_out_of_turn_is_an_old_one() -> None:
    request = Request(Packet(BROADCAST_ID, Instruction.SYNC_READ), IDS, 1, FRAMING)
    answer = Answer()
    stale = [
        answer.accept(Packet(id, 0, bytes((value,))), request)
        for id, value in ((2, 90), (5, 90), (1, 10), (2, 20), (2, 21), (4, 40))
    ]
    assert {id: packet.params[0] for id, packet in answer.packets.items()} == {1: 10, 2: 21, 4: 40}
    assert sum(stale) == 3
    assert answer.accept(Packet(9, 0, b"\x00"), request) == 1
    assert answer.accept(Packet(5, 0, b"\x00\x00"), request) == 1
    assert answer.accept(Packet(5, 0x80, b"\x00"), request) == 1
    assert 5 not in answer.packets


def test_replies_of_the_wrong_id_or_length_are_passed_over(wire: Wire) -> None:
    stale = Packet(2, 0, b"\x01\x02"), Packet(3, 0, b""), Packet(3, 0, b"\x09")
    right = Packet(3, 0, b"\x2c\x01")
    with Bus(wire.path, timeout_s=LONG_S) as bus:
        servo = wire.answer_next(b"".join(map(encode, (*stale, right))))
        assert bus.read(3, PRESENT_POSITION) == 300
        heard_all(servo)
        assert bus.counters.stale_replies == 3


def test_input_is_flushed_before_a_request(wire: Wire) -> None:
    with Bus(wire.path, timeout_s=LONG_S) as bus:
        servo = wire.answer_next(encode(Packet(3, 0, b"\x01\x00")))
        assert bus.read(3, PRESENT_POSITION) == 1
        heard_all(servo)
        os.write(wire.master, encode(Packet(3, 0, b"\x63\x00")) + b"\x00\x00")
        assert select.select([wire.slave], [], [], LONG_S)[0], "the kernel has handed it over"
        servo = wire.answer_next(encode(Packet(3, 0, b"\x02\x00")))
        assert bus.read(3, PRESENT_POSITION) == 2
        heard_all(servo)
        assert (bus.counters.stale_replies, bus.counters.dropped_bytes) == (1, 2)


def test_error_bits_are_raised_and_the_write_has_happened(
    patient: Bus, emulated: EmulatedBus
) -> None:
    emulated.faults.errors[2] = ErrorBit.OVERLOAD
    with pytest.raises(
        ServoError, match=r"servo 2 reports overload .*READ Present_Position"
    ) as read:
        patient.read(2, PRESENT_POSITION)
    assert (read.value.servo_id, read.value.bits) == (2, ErrorBit.OVERLOAD)
    with pytest.raises(ServoError, match="Goal_Position = 77"):
        patient.write(2, GOAL_POSITION, 77)
    assert emulated.servos[2].peek(GOAL_POSITION) == 77
    assert patient.write(2, TORQUE_ENABLE, 0, check=False) == ErrorBit.OVERLOAD
    assert patient.write(1, TORQUE_ENABLE, 0, check=False) == ErrorBit.NONE
    assert patient.ping(2) == 777


def test_sync_read_reports_error_bits_per_servo(patient: Bus, emulated: EmulatedBus) -> None:
    emulated.faults.errors = {2: ErrorBit.OVERLOAD, 5: ErrorBit.TEMPERATURE | ErrorBit.CURRENT}
    reply = patient.sync_read([PRESENT_POSITION, STATUS], IDS)
    assert reply.errors == emulated.faults.errors
    assert reply.values[5] == (500, 0x0C)
    assert reply.missing == ()
    emulated.faults.errors = {}
    assert patient.sync_read([PRESENT_POSITION], IDS).errors == {}


def test_waiting_costs_no_cpu(patient: Bus, emulated: EmulatedBus) -> None:
    emulated.faults.delay_s = 0.3
    cpu_s, start_s = time.thread_time(), time.monotonic()
    assert patient.read(1, ID) == 1
    assert time.thread_time() - cpu_s < 0.5 * (time.monotonic() - start_s)


def test_an_idle_emulator_does_not_wake_up(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float | None] = []

    def counted(*waiting: Any) -> Any:
        if len(waiting) > 3:
            asked.append(waiting[3])
        return select.select(*waiting)

    monkeypatch.setattr("armlet.motors.emulation.line.select", SimpleNamespace(select=counted))
    with EmulatedBus(IDS) as emulated:
        with Bus(emulated.port, timeout_s=LONG_S) as bus:
            bus.ping(1)
        woken = len(asked)
        time.sleep(0.2)
        # One more where it had answered, but not begun to wait again.
        assert len(asked) <= woken + 1
        assert asked[-1] is None


@pytest.mark.parametrize("call", ["tcsetattr", "tcflush"])
def test_an_adapter_that_goes_away_while_it_is_opened(
    emulated: EmulatedBus, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object) -> None:
        raise termios.error(5, "Input/output error")

    monkeypatch.setattr(termios, call, gone)
    with pytest.raises(PortError, match=r"cannot open .*Input/output error"):
        Bus(emulated.port).open()


def test_a_program_that_hangs_up_with_b0_is_not_heard() -> None:
    with EmulatedBus(IDS, paced=True) as emulated:
        fd = os.open(emulated.port, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        try:
            settings = termios.tcgetattr(fd)
            settings[4] = settings[5] = termios.B0
            termios.tcsetattr(fd, termios.TCSANOW, settings)
            os.write(fd, encode(Packet(1, Instruction.PING, b"")))
            assert not select.select([fd], [], [], SHORT_S)[0]
        finally:
            os.close(fd)
        with Bus(emulated.port, timeout_s=LONG_S) as bus:
            assert bus.ping(1) == 777


def test_replies_longer_than_the_line_takes_at_once_arrive_whole(
    emulated: EmulatedBus, patient: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write

    def three_at_most(fd: int, data: bytes) -> int:
        return write(fd, data[:3])

    serving = SimpleNamespace(**{**vars(os), "write": three_at_most})
    monkeypatch.setattr("armlet.motors.emulation.line.os", serving)
    assert patient.ping(1) == 777
    assert patient.read(6, PRESENT_POSITION) == 600


def test_unplugging_ends_a_waiting_read_and_the_bus_comes_back(
    tmp_path: Path,
) -> None:
    with EmulatedBus(IDS, link=tmp_path / "arm") as emulated:
        bus = Bus(emulated.port, timeout_s=2 * LONG_S)
        bus.open()
        bus.write(1, GOAL_POSITION, 1234)
        emulated.faults.drop_probability = 1.0
        caught: list[PortError] = []

        def wait_for_a_reply() -> None:
            try:
                bus.write(1, GOAL_POSITION, 1235)
            except PortError as error:
                caught.append(error)

        waiting = threading.Thread(target=wait_for_a_reply)
        waiting.start()
        while len(emulated.writes) < 2:
            assert waiting.is_alive(), caught
            time.sleep(0.001)
        emulated.hang_up()
        waiting.join(timeout=LONG_S)
        assert len(caught) == 1 and "Check the USB cable" in str(caught[0])
        assert not bus.is_open and not (tmp_path / "arm").is_symlink()
        with pytest.raises(PortError):
            bus.open()
        emulated.faults.drop_probability = 0.0
        emulated.plug()
        with bus:
            assert bus.read(1, GOAL_POSITION) == 1235
        emulated.hang_up()
        emulated.plug(power_cycle=True)
        with bus:
            assert bus.read(1, GOAL_POSITION) == bus.read(1, PRESENT_POSITION) == 2047
    assert not (tmp_path / "arm").is_symlink()


def test_unplugging_between_requests_is_noticed_by_each_kind(emulated: EmulatedBus) -> None:
    bus = Bus(emulated.port)
    for request in (
        lambda: bus.ping(1),
        lambda: bus.read(1, ID),
        lambda: bus.write(1, GOAL_POSITION, 1),
        lambda: bus.sync_read([PRESENT_POSITION], IDS),
        lambda: bus.sync_write(GOAL_POSITION, {1: 1}),
    ):
        bus.port = emulated.port
        bus.open()
        emulated.hang_up()
        with pytest.raises(PortError, match="lost"):
            request()
        assert not bus.is_open
        emulated.plug()


def test_a_link_never_replaces_a_file(tmp_path: Path) -> None:
    taken = tmp_path / "arm"
    taken.write_text("mine")
    with pytest.raises(FileExistsError, match="no symbolic link"):
        EmulatedBus((1,), link=taken).plug()
    assert taken.read_text() == "mine"
    with pytest.raises(FileNotFoundError):
        EmulatedBus((1,), link=tmp_path / "no" / "arm").plug()


def test_a_stale_link_is_replaced(tmp_path: Path) -> None:
    link = tmp_path / "arm"
    link.symlink_to("/dev/pts/99999")
    with EmulatedBus((1,), link=link) as emulated, Bus(emulated.port, timeout_s=LONG_S) as bus:
        assert bus.ping(1) == 777
        assert sorted(tmp_path.iterdir()) == [link]


def test_a_failure_in_the_emulators_thread_is_not_swallowed() -> None:
    def broken_hand(now_s: float) -> float:
        raise ArithmeticError("no hand")

    emulated = EmulatedBus((1,))
    emulated.plug()
    with Bus(emulated.port, timeout_s=SHORT_S) as bus:
        emulated.servos[1].hand = broken_hand
        with pytest.raises(NoReply):
            bus.read(1, PRESENT_POSITION)
    with pytest.raises(RuntimeError, match="stopped serving") as caught:
        emulated.close()
    assert isinstance(caught.value.__cause__, ArithmeticError)
    emulated.close()
