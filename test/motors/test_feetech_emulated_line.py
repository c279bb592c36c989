"""The emulated wire seen by a program that does nothing but send and receive bytes."""

import os
import select
import termios
import time
import tty
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import awaited_replies
import pytest

from armlet.motors.emulation.chain import collide
from armlet.motors.emulation.emulator import EmulatedBus
from armlet.motors.emulation.faults import Faults
from armlet.motors.feetech.packets import BROADCAST_ID, Instruction, Packet, Parser, encode
from armlet.motors.feetech.registers import (
    BAUD_RATE,
    GOAL_POSITION,
    ID,
    LOCK,
    PRESENT_POSITION,
    RESPONSE_STATUS_LEVEL,
    RETURN_DELAY_TIME,
    Register,
)

IDS = (1, 2, 3, 4, 5, 6)
TIMEOUT_S = 120.0
SHORT_S = 0.05


class Program:
    """A file descriptor and a poller. Waits for servos that have something to do."""

    def __init__(self, emulated: EmulatedBus) -> None:
        self._fd = os.open(emulated.port, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        tty.setraw(self._fd)
        self._path = os.ttyname(self._fd)
        self.speed(termios.B1000000)
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLIN)
        self.hung_up = False

    def speed(self, code: int) -> None:
        settings = termios.tcgetattr(self._fd)
        settings[4] = settings[5] = code
        termios.tcsetattr(self._fd, termios.TCSANOW, settings)

    def ask(self, *packets: Packet, bytes_due: int, timeout_s: float = TIMEOUT_S) -> bytes:
        self.send(*packets)
        return self.take(bytes_due, timeout_s)

    def send(self, *packets: Packet) -> None:
        os.write(self._fd, b"".join(map(encode, packets)))

    def take(self, bytes_due: int, timeout_s: float = TIMEOUT_S) -> bytes:
        received = b""
        deadline = time.monotonic() + timeout_s
        while len(received) < bytes_due:
            left_s = deadline - time.monotonic()
            busy = awaited_replies.is_busy(self._path)
            ready = self._poll.poll(max(1.0, 1000 * left_s))
            if not ready and left_s <= 0 and not busy:
                break
            for _, event in ready:
                try:
                    received += os.read(self._fd, 4096)
                except OSError:
                    event |= select.POLLHUP
                if event & select.POLLHUP:
                    self.hung_up = True
                    return received
        return received

    def close(self) -> None:
        os.close(self._fd)


@pytest.fixture
def emulated() -> Iterator[EmulatedBus]:
    with EmulatedBus(IDS) as emulated:
        yield emulated


@pytest.fixture
def open_program() -> Iterator[Callable[[EmulatedBus], Program]]:
    programs: list[Program] = []

    def open_it(emulated: EmulatedBus) -> Program:
        programs.append(Program(emulated))
        return programs[-1]

    yield open_it
    for program in programs:
        program.close()


@pytest.fixture
def program(emulated: EmulatedBus, open_program: Callable[[EmulatedBus], Program]) -> Program:
    return open_program(emulated)


def ping(id: int) -> Packet:
    return Packet(id, Instruction.PING)


def write(id: int, register: Register, value: int) -> Packet:
    return Packet(id, Instruction.WRITE, bytes((register.address,)) + register.encode(value))


def sync_read(register: Register, ids: tuple[int, ...] = IDS) -> Packet:
    params = bytes((register.address, register.width, *ids))
    return Packet(BROADCAST_ID, Instruction.SYNC_READ, params)


def goals(value: int) -> Packet:
    blocks = b"".join(bytes((id,)) + GOAL_POSITION.encode(value) for id in IDS)
    params = bytes((GOAL_POSITION.address, GOAL_POSITION.width)) + blocks
    return Packet(BROADCAST_ID, Instruction.SYNC_WRITE, params)


def status(id: int, params: bytes = b"") -> bytes:
    return encode(Packet(id, 0, params))


@pytest.mark.parametrize("fault", ["request_drop_next", "request_corrupt_next"])
def test_an_instruction_lost_on_its_way_has_no_effect_and_no_answer(
    program: Program, emulated: EmulatedBus, fault: str
) -> None:
    setattr(emulated.faults, fault, 1)
    lost, heard = write(3, GOAL_POSITION, 111), write(3, GOAL_POSITION, 222)
    assert program.ask(lost, heard, bytes_due=6) == status(3)
    assert [write.data for write in emulated.writes] == [GOAL_POSITION.encode(222)]
    assert getattr(emulated.faults, fault) == 0


def test_an_instruction_may_be_lost_to_one_servo_only(
    program: Program, emulated: EmulatedBus
) -> None:
    emulated.faults.miss_next = 1
    program.ask(goals(5), ping(6), bytes_due=6)
    assert [write.id for write in emulated.writes] == [2, 3, 4, 5, 6]


def test_a_reply_may_come_twice(program: Program, emulated: EmulatedBus) -> None:
    emulated.faults.duplicate_next = 1
    assert program.ask(ping(1), bytes_due=12) == status(1) * 2
    assert program.ask(ping(1), bytes_due=6) == status(1)


def test_a_flipped_bit_is_one_bit(program: Program, emulated: EmulatedBus) -> None:
    emulated.faults.flip_probability = 1.0
    for _ in range(20):
        reply = program.ask(ping(1), bytes_due=6)
        changed = int.from_bytes(reply, "big") ^ int.from_bytes(status(1), "big")
        assert changed.bit_count() == 1


def test_noise_lies_between_packets(program: Program, emulated: EmulatedBus) -> None:
    emulated.faults.noise_next, emulated.faults.noise_bytes = 20, 3
    lengths = set()
    for _ in range(20):
        reply = program.ask(ping(1), bytes_due=7) + program.take(2, timeout_s=0.01)
        assert status(1) in reply
        lengths.add(len(reply))
    assert lengths == {7, 8, 9}


def test_one_reply_in_some_is_late(program: Program, emulated: EmulatedBus) -> None:
    emulated.faults.delay_s, emulated.faults.delay_probability = SHORT_S, 0.5
    late = []
    for _ in range(12):
        start_s = time.monotonic()
        assert program.ask(ping(1), bytes_due=6) == status(1)
        late.append(time.monotonic() - start_s >= SHORT_S)
    assert any(late)
    dice = Faults()
    dice.delay_s, dice.delay_jitter_s, dice.delay_probability = 1.0, 0.5, 0.25
    waits = [dice.lateness_s() for _ in range(2000)]
    assert {wait for wait in waits if wait < 1.0} == {0.0}
    assert 0.2 < sum(wait > 0 for wait in waits) / 2000 < 0.3
    assert 1.0 < min(wait for wait in waits if wait) < 1.05 and 1.45 < max(waits) < 1.5


def test_the_same_seed_gives_the_same_faults() -> None:
    def damaged(seed: int) -> list[bytes]:
        faults = Faults(seed, drop_probability=0.2, corrupt_probability=0.2, noise_probability=0.2)
        return [faults.damage_request(faults.damage(bytes(range(20)))) for _ in range(50)]

    assert damaged(1) == damaged(1) != damaged(2)


@pytest.mark.parametrize("count", [0, 1, 5, 6, 7, 47, 48])
def test_the_adapter_is_unplugged_after_so_many_bytes(
    program: Program, emulated: EmulatedBus, count: int
) -> None:
    whole = b"".join(status(id, b"\xff\x07") for id in IDS)
    emulated.faults.hang_up_after_bytes = count
    assert program.ask(sync_read(PRESENT_POSITION), bytes_due=49) == whole[:count]
    assert program.hung_up and not emulated.plugged
    assert emulated.faults.hang_up_after_bytes is None
    emulated.hang_up()


def test_an_unplugging_that_is_taken_back_while_bytes_go_out_stays_so(
    program: Program, emulated: EmulatedBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line wrote back what was left of the count, and pulled the adapter out later."""

    def taken_back(fd: int, data: bytes) -> int:
        emulated.faults.hang_up_after_bytes = None
        return os.write(fd, data)

    serving = SimpleNamespace(**{**vars(os), "write": taken_back})
    monkeypatch.setattr("armlet.motors.emulation.line.os", serving)
    emulated.faults.hang_up_after_bytes = 20
    for _ in range(5):
        assert program.ask(ping(1), bytes_due=6) == status(1)
    assert emulated.plugged


def test_what_was_unplugged_by_a_fault_can_be_plugged_in_again(
    emulated: EmulatedBus, open_program: Callable[[EmulatedBus], Program]
) -> None:
    for _ in range(3):
        emulated.faults.hang_up_after_bytes = 3
        assert open_program(emulated).ask(ping(1), bytes_due=6) == status(1)[:3]
        assert not emulated.plugged
        emulated.plug()
        assert open_program(emulated).ask(ping(1), bytes_due=6) == status(1)


def test_an_adapter_holds_what_it_received_until_its_timer_runs_out(
    program: Program, emulated: EmulatedBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[int] = []

    def noted(fd: int, data: bytes) -> int:
        sent.append(len(data))
        return os.write(fd, data)

    serving = SimpleNamespace(**{**vars(os), "write": noted})
    monkeypatch.setattr("armlet.motors.emulation.line.os", serving)
    emulated.faults.usb_latency_s = SHORT_S
    start_s = time.monotonic()
    assert program.ask(ping(1), ping(2), bytes_due=1) == status(1) + status(2)
    assert time.monotonic() - start_s >= SHORT_S
    eight = Packet(1, Instruction.READ, bytes((PRESENT_POSITION.address, 60)))
    sent.clear()
    start_s = time.monotonic()
    assert len(program.ask(eight, bytes_due=66)) == 66
    assert time.monotonic() - start_s >= SHORT_S
    assert sent == [62, 4], "a full USB packet does not wait"


def test_an_adapter_may_hear_what_the_host_sends(program: Program, emulated: EmulatedBus) -> None:
    emulated.faults.echo = True
    assert program.ask(ping(2), bytes_due=12) == encode(ping(2)) + status(2)
    emulated.faults.request_drop_next = 1
    assert program.ask(ping(2), bytes_due=6) == encode(ping(2)), "it hears it all the same"


def test_two_servos_with_one_id_garble_each_other(
    open_program: Callable[[EmulatedBus], Program],
) -> None:
    with EmulatedBus((1, 2, 1)) as emulated:
        program = open_program(emulated)
        for _ in range(10):
            reply = program.ask(ping(1), ping(2), bytes_due=13, timeout_s=SHORT_S)
            parser = Parser()
            assert [packet.id for packet in parser.feed(reply) + parser.flush()] == [2]
            assert parser.dropped_bytes > 0, "something is there, but what?"
        reply = program.ask(sync_read(PRESENT_POSITION, (1, 2)), bytes_due=17, timeout_s=SHORT_S)
        assert [packet.id for packet in Parser().feed(reply)] == [2]
        program.ask(write(1, GOAL_POSITION, 9), ping(2), bytes_due=12, timeout_s=SHORT_S)
        assert [servo.peek(GOAL_POSITION) for servo in emulated.chain] == [9, 2047, 9]


@pytest.mark.parametrize("bits_apart", range(1, 10))
def test_a_collision_never_looks_like_a_packet(bits_apart: int) -> None:
    for params in (b"", b"\x00\x08", bytes(15)):
        garbled = collide(status(1, params), status(1, params), bits_apart)
        parser = Parser()
        assert garbled and parser.feed(garbled) + parser.flush() == []


def test_a_collision_of_nothing_apart_is_both() -> None:
    assert collide(status(1), status(1), 0) == status(1)
    assert collide(b"\xf0\xff", b"\x3c\xff", 0) == b"\x30\xff", "low wins"


def test_servos_can_be_exchanged(program: Program, emulated: EmulatedBus) -> None:
    first, second, *others = emulated.chain
    emulated.connect([first])
    assert program.ask(ping(1), ping(2), bytes_due=6) == status(1)
    assert program.take(1, timeout_s=0.02) == b""
    program.ask(write(1, GOAL_POSITION, 7), bytes_due=6)
    emulated.connect([second, *others])
    assert program.ask(ping(1), ping(2), bytes_due=6) == status(2)
    emulated.connect([first])
    assert first.peek(GOAL_POSITION) == 2047, "it has started up again"


def test_a_new_id_answers_from_the_next_instruction_on(
    program: Program, emulated: EmulatedBus
) -> None:
    assert program.ask(write(1, LOCK, 0), write(1, ID, 9), bytes_due=12) == status(1) * 2
    assert program.ask(ping(1), ping(9), bytes_due=6) == status(9)
    emulated.servos[9].power_cycle()
    assert program.ask(ping(9), bytes_due=6) == status(9)


def test_a_new_speed_is_spoken_from_the_next_instruction_on(program: Program) -> None:
    assert program.ask(write(1, BAUD_RATE, 1), bytes_due=6) == status(1)
    assert program.ask(ping(1), ping(2), bytes_due=6) == status(2)
    program.speed(termios.B500000)
    assert program.ask(ping(1), ping(2), bytes_due=6) == status(1)


def test_status_level_0_answers_only_questions(program: Program) -> None:
    assert program.ask(write(1, RESPONSE_STATUS_LEVEL, 0), bytes_due=6) == status(1)
    assert program.ask(write(1, GOAL_POSITION, 5), ping(2), bytes_due=6) == status(2)
    assert program.ask(ping(1), bytes_due=6) == status(1)
    read = Packet(1, Instruction.READ, bytes((GOAL_POSITION.address, 2)))
    assert program.ask(read, bytes_due=8) == status(1, b"\x05\x00")
    assert program.ask(sync_read(GOAL_POSITION, (1,)), bytes_due=8) == status(1, b"\x05\x00")


def test_a_paced_line_is_never_early(
    open_program: Callable[[EmulatedBus], Program],
) -> None:
    with EmulatedBus(IDS, paced=True) as emulated:
        for servo in emulated.servos.values():
            servo.write(RETURN_DELAY_TIME.address, b"\x00")
        program = open_program(emulated)
        late_s = []
        wire_s = (14 + 6 * 8) * 1e-5
        for _ in range(60):
            start_s = time.monotonic()
            assert len(program.ask(sync_read(PRESENT_POSITION), bytes_due=48)) == 48
            late_s.append(time.monotonic() - start_s - wire_s)
        assert min(late_s) >= 0
        emulated.servos[3].write(RETURN_DELAY_TIME.address, b"\xfa")
        start_s = time.monotonic()
        program.ask(sync_read(PRESENT_POSITION), bytes_due=48)
        assert time.monotonic() - start_s >= wire_s + 250 * 2e-6
