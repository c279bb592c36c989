"""The bus against the emulator, byte by byte, in good times."""

import os
import threading
import time
import tty
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from armlet.motors.emulation import EmulatedBus
from armlet.motors.feetech import Bus, ErrorBit, NoReply, PortError, ServoCounters, ServoError
from armlet.motors.feetech.packets import BROADCAST_ID, Instruction, Packet, Parser, encode
from armlet.motors.feetech.registers import (
    BAUD_RATE,
    GOAL_POSITION,
    GOAL_VELOCITY,
    HOMING_OFFSET,
    ID,
    LOCK,
    MODEL_NUMBER,
    PRESENT_LOAD,
    PRESENT_POSITION,
    PRESENT_TEMPERATURE,
    PRESENT_VELOCITY,
    PRESENT_VOLTAGE,
    REGISTERS,
    RESPONSE_STATUS_LEVEL,
    RETURN_DELAY_TIME,
    STATUS,
    TORQUE_ENABLE,
)
from armlet.motors.wire import port
from armlet.motors.wire.port import SerialPort

IDS = (1, 2, 3, 4, 5, 6)
TIMEOUT_S = 2.0


@pytest.fixture
def emulated() -> Iterator[EmulatedBus]:
    with EmulatedBus(IDS) as emulated:
        yield emulated


@pytest.fixture
def bus(emulated: EmulatedBus) -> Iterator[Bus]:
    with Bus(emulated.port, timeout_s=TIMEOUT_S) as bus:
        yield bus


def test_scan_finds_the_servos_that_are_there(emulated: EmulatedBus) -> None:
    with Bus(emulated.port, timeout_s=0.1) as bus:
        assert bus.scan([*IDS, 7]) == dict.fromkeys(IDS, 777)
        with pytest.raises(NoReply, match=r"servo 9: no reply to PING .*1000000 baud"):
            bus.ping(9)


def test_what_is_written_can_be_read(bus: Bus, emulated: EmulatedBus) -> None:
    for register, value in ((GOAL_POSITION, -300), (HOMING_OFFSET, 2047), (LOCK, 0)):
        bus.write(3, register, value)
        assert bus.read(3, register) == emulated.servos[3].peek(register) == value
    assert bus.read(3, MODEL_NUMBER) == 777


def test_every_register_can_be_read(bus: Bus) -> None:
    for register in REGISTERS.values():
        assert register.minimum <= bus.read(2, register) <= register.maximum


def test_sync_read_gives_each_servo_its_values_in_the_order_asked(
    bus: Bus, emulated: EmulatedBus
) -> None:
    for id, servo in emulated.servos.items():
        servo.position = 1000 + id
        servo.poke(PRESENT_LOAD, -10 * id)
    registers = (PRESENT_POSITION, PRESENT_LOAD, PRESENT_TEMPERATURE, STATUS)
    before_ns = time.time_ns()
    reply = bus.sync_read(registers, (6, 1, 3))
    assert before_ns <= reply.stamp_ns <= time.time_ns()
    assert reply.values == {id: (1000 + id, -10 * id, 30, 0) for id in (6, 1, 3)}
    assert list(reply.values) == [6, 1, 3]
    assert (reply.missing, reply.errors) == ((), {})


def test_sync_write_reaches_every_servo(bus: Bus, emulated: EmulatedBus) -> None:
    goals = {id: 100 * id for id in IDS}
    bus.sync_write(GOAL_POSITION, goals)
    assert {id: bus.read(id, GOAL_POSITION) for id in IDS} == goals
    assert [(w.id, w.address) for w in emulated.writes] == [(id, 42) for id in IDS]
    assert emulated.writes[1].data == b"\xc8\x00"


def test_a_driven_arm_arrives(bus: Bus) -> None:
    bus.sync_write(TORQUE_ENABLE, dict.fromkeys(IDS, 1))
    bus.sync_write(GOAL_POSITION, dict.fromkeys(IDS, 2100))
    deadline = time.monotonic() + 10
    while set(bus.sync_read([PRESENT_POSITION], IDS).values.values()) != {(2100,)}:
        assert time.monotonic() < deadline


def test_counters_count(bus: Bus) -> None:
    bus.read(1, ID)
    bus.sync_read([PRESENT_POSITION], IDS)
    bus.sync_write(GOAL_POSITION, {1: 1, 2: 2})
    counters = bus.counters
    assert (counters.packets_sent, counters.replies) == (3, 7)
    trouble = (counters.timeouts, counters.checksum_errors, counters.dropped_bytes)
    assert trouble == (0, 0, 0) and counters.stale_replies == 0
    counters.replies = 0
    assert bus.counters.replies == 7


def test_senseless_arguments_are_refused(bus: Bus) -> None:
    for ids in ((), (1, 1), (253,), (-1,)):
        with pytest.raises(ValueError, match="servo ids"):
            bus.sync_read([PRESENT_POSITION], ids)
    with pytest.raises(ValueError, match="ascend"):
        bus.sync_read([PRESENT_VELOCITY, PRESENT_POSITION], IDS)
    with pytest.raises(ValueError, match="at least one"):
        bus.sync_read([], IDS)
    with pytest.raises(ValueError, match="read only"):
        bus.write(1, PRESENT_POSITION, 1)
    with pytest.raises(ValueError, match="read only"):
        bus.sync_write(PRESENT_VOLTAGE, {1: 1})
    with pytest.raises(ValueError, match="Goal_Position takes"):
        bus.sync_write(GOAL_POSITION, {1: 40_000})
    assert bus.counters.packets_sent == 0


def test_a_command_and_a_request_go_out_in_one_write(
    bus: Bus, emulated: EmulatedBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    for id, servo in emulated.servos.items():
        servo.position = 1000 + id
    sent: list[bytes] = []
    write = SerialPort.write

    def noted(device: SerialPort, data: bytes, timeout_s: float) -> None:
        sent.append(data)
        write(device, data, timeout_s)

    monkeypatch.setattr(SerialPort, "write", noted)
    goals = {1: 5, 2: -6}
    reply = bus.sync_write_read(GOAL_POSITION, goals, [PRESENT_POSITION, PRESENT_VELOCITY], (3, 1))
    assert reply.values == {3: (1003, 0), 1: (1001, 0)}
    assert [emulated.servos[id].peek(GOAL_POSITION) for id in goals] == [5, -6]
    assert [p.code for p in Parser().feed(sent[0])] == [
        Instruction.SYNC_WRITE,
        Instruction.SYNC_READ,
    ]
    assert len(sent) == 1
    with pytest.raises(ValueError, match="servo ids"):
        bus.sync_write_read(GOAL_POSITION, {1: 9}, [PRESENT_POSITION], (3, 3))
    with pytest.raises(ValueError, match="Goal_Position takes"):
        bus.sync_write_read(GOAL_POSITION, {1: 40_000}, [PRESENT_POSITION], (3,))
    assert emulated.servos[1].peek(GOAL_POSITION) == 5, "a bad request sends no command"


def test_all_registers_of_the_feedback_block_are_distinguished(
    bus: Bus, emulated: EmulatedBus
) -> None:
    registers = [r for r in REGISTERS.values() if 56 <= r.address <= 69]
    replies = [bus.sync_read(registers, IDS), bus.sync_read(registers[::2], IDS)]
    for reply, asked in zip(replies, (registers, registers[::2]), strict=True):
        for id in IDS:
            assert reply.values[id] == tuple(bus.read(id, register) for register in asked)


def test_lists_that_change_between_calls_are_looked_at_again(bus: Bus) -> None:
    registers, ids = [PRESENT_POSITION], [1, 2]
    assert list(bus.sync_read(registers, ids).values) == [1, 2]
    ids[0] = 5
    registers.append(PRESENT_VELOCITY)
    reply = bus.sync_read(registers, ids)
    assert list(reply.values) == [5, 2] and len(reply.values[5]) == 2
    for count in range(1, 21):
        assert len(bus.sync_read(registers, range(1, 1 + count % 6 + 1)).values) == count % 6 + 1


def test_each_servo_is_counted_on_its_own(emulated: EmulatedBus) -> None:
    emulated.faults.dead.add(2)
    emulated.faults.errors = {3: ErrorBit.OVERLOAD | ErrorBit.VOLTAGE}
    with Bus(emulated.port, timeout_s=0.1) as bus:
        bus.sync_read([PRESENT_POSITION], (1, 2, 3))
        with pytest.raises(ServoError):
            bus.read(3, ID)
        with pytest.raises(NoReply):
            bus.read(2, ID)
        emulated.faults.corrupt_next = 1
        bus.sync_read([PRESENT_POSITION], (1, 3))
        counted = bus.servo_counters
        assert counted[1] == ServoCounters(requests=2, replies=1, timeouts=1, damaged=1)
        errors = {ErrorBit.VOLTAGE: 3, ErrorBit.OVERLOAD: 3}
        assert counted[3] == ServoCounters(requests=3, replies=3, error_bits=errors)
        assert counted[2].timeouts == counted[2].requests > 1
        counted[3].error_bits.clear()
        assert bus.servo_counters[3].error_bits == errors
        assert sum(c.replies for c in counted.values()) == bus.counters.replies
        assert sum(c.timeouts for c in counted.values()) == bus.counters.timeouts


def test_bytes_on_the_wire_are_counted(bus: Bus) -> None:
    bus.sync_write_read(GOAL_POSITION, dict.fromkeys(IDS, 7), [PRESENT_POSITION], IDS)
    assert (bus.counters.bytes_sent, bus.counters.bytes_received) == (26 + 14, 48)
    bus.read(1, PRESENT_POSITION)
    assert (bus.counters.bytes_sent, bus.counters.bytes_received) == (48, 56)


def read_position(bus: Bus) -> object:
    return bus.read(1, PRESENT_POSITION)


def write_goal(bus: Bus) -> object:
    return bus.write(1, GOAL_POSITION, 9)


def ping(bus: Bus) -> object:
    return bus.ping(1)


def sync_read(bus: Bus) -> object:
    return bus.sync_read([PRESENT_POSITION], (1,)).values


def sync_write(bus: Bus) -> object:
    return bus.sync_write(GOAL_POSITION, dict.fromkeys(IDS, 9))


ASKING = pytest.mark.parametrize("first", [read_position, write_goal, ping, sync_read, sync_write])


@ASKING
def test_an_adapter_that_hears_itself_is_seen_through(
    first: Callable[[Bus], object], emulated: EmulatedBus
) -> None:
    with Bus(emulated.port, timeout_s=TIMEOUT_S) as bus:
        plain = first(bus)
        bus.read(1, ID)
    emulated.faults.echo = True
    with Bus(emulated.port, timeout_s=TIMEOUT_S) as bus:
        assert first(bus) == plain
        emulated.servos[1].position = 1234
        for _ in range(3):
            assert bus.read(1, PRESENT_POSITION) == 1234
            bus.write(1, GOAL_VELOCITY, 77)
            assert bus.ping(1) == 777
            bus.sync_write(GOAL_POSITION, dict.fromkeys(IDS, 8))
            reply = bus.sync_write_read(GOAL_POSITION, {1: 3}, [PRESENT_POSITION], IDS)
            assert (reply.missing, reply.values[1]) == ((), (1234,))
        assert bus.counters.echoes >= 15
        assert (bus.counters.timeouts, bus.counters.dropped_bytes) == (0, 0)
        assert bus.counters.stale_replies == 0


@ASKING
def test_an_echo_answers_for_no_servo(
    first: Callable[[Bus], object], emulated: EmulatedBus
) -> None:
    emulated.faults.echo = True
    emulated.faults.dead.update(IDS)
    with Bus(emulated.port, timeout_s=0.02) as bus:
        if first in (sync_read, sync_write):
            assert not first(bus)
        else:
            with pytest.raises(NoReply):
                first(bus)
        for request in (read_position, write_goal, ping):
            with pytest.raises(NoReply):
                request(bus)
        assert bus.counters.replies == 0
        assert bus.counters.echoes > 0
        emulated.faults.dead.clear()
        bus.timeout_s = TIMEOUT_S
        bus.close()
        bus.open()
        assert bus.ping(1) == 777


@pytest.mark.parametrize("others_first", [False, True])
def test_a_reply_that_looks_like_its_request_is_a_reply(
    others_first: bool, emulated: EmulatedBus
) -> None:
    """A PING answered with the error bit of under-voltage is the PING itself, byte for byte."""
    emulated.faults.errors = {1: ErrorBit.VOLTAGE}
    with Bus(emulated.port, timeout_s=TIMEOUT_S) as bus:
        if others_first:
            bus.read(2, ID)
        assert bus.ping(1) == 777
        assert bus.servo_counters[1].error_bits[ErrorBit.VOLTAGE] >= 2
        assert (bus.counters.echoes, bus.counters.timeouts) == (0, 0)
        assert bus.servo_counters[1].timeouts == 0


def test_unplugging_in_the_middle_of_a_reply(tmp_path: Path) -> None:
    with EmulatedBus(IDS, link=tmp_path / "arm") as emulated:
        bus = Bus(emulated.port, timeout_s=TIMEOUT_S)
        for left in (0, 3, 20, 47):
            bus.open()
            assert bus.sync_read([PRESENT_POSITION], IDS).missing == ()
            emulated.faults.hang_up_after_bytes = left
            with pytest.raises(PortError, match="lost"):
                bus.sync_read([PRESENT_POSITION], IDS, until=time.monotonic() + TIMEOUT_S)
            assert not bus.is_open
            emulated.hang_up()
            emulated.faults.hang_up_after_bytes = None
            emulated.plug()
        with bus:
            assert bus.sync_read([PRESENT_POSITION], IDS).missing == ()
        assert bus.counters.replies >= 5 * 6


def test_a_far_end_that_closes_in_the_middle_of_a_reply() -> None:
    master, slave = os.openpty()
    tty.setraw(slave)

    def answer_half() -> None:
        os.read(master, 100)
        os.write(master, bytes.fromhex("ffff010400"))
        os.close(master)

    servo = threading.Thread(target=answer_half)
    with Bus(os.ttyname(slave), timeout_s=TIMEOUT_S) as bus:
        servo.start()
        with pytest.raises(PortError, match="lost"):
            bus.read(1, PRESENT_POSITION)
        assert not bus.is_open
    servo.join()
    os.close(slave)


@pytest.mark.parametrize(
    ("set_to", "writable", "found"), [("16", 1, 1), ("16", 0, 16), ("1", 0, 1)]
)
def test_an_ftdi_adapters_latency_timer_is_shortened(
    set_to: str, writable: bool, found: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timer = tmp_path / "ttyUSB3" / "device" / "latency_timer"
    timer.parent.mkdir(parents=True)
    timer.write_text(set_to + "\n")
    monkeypatch.setattr(port, "_TTYS", tmp_path)
    link = tmp_path / "arm"
    link.symlink_to("/dev/ttyUSB3")
    write_text = Path.write_text

    def may_write(path: Path, text: str) -> int:
        if not writable:
            raise PermissionError(13, "Permission denied", str(path))
        return write_text(path, text)

    monkeypatch.setattr(Path, "write_text", may_write)
    assert port.shorten_latency_timer(str(link)) == found
    assert port.shorten_latency_timer("/dev/ttyACM0") is None


def test_a_port_without_a_latency_timer_says_so(emulated: EmulatedBus) -> None:
    device = SerialPort(emulated.port, 1_000_000)
    assert device.latency_timer_ms is None
    device.close()


def test_waiting_is_exact_to_less_than_a_millisecond_and_beyond_select(
    emulated: EmulatedBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = SerialPort(emulated.port, 1_000_000)
    request = encode(Packet(1, Instruction.PING))
    for limit in (1024, 0):
        monkeypatch.setattr(port, "_SELECTABLE", limit)
        device.write(request, 1.0)
        assert device.read(time.monotonic() + TIMEOUT_S)
        assert device.read(time.monotonic() + 0.0003) == b""
        assert device.read(time.monotonic() - 1) == b""
    device.close()


def test_threads_may_share_a_bus(bus: Bus) -> None:
    wrong: list[int] = []

    def read_own(id: int) -> None:
        for value in range(50):
            bus.write(id, GOAL_VELOCITY, 1000 * id + value)
            if bus.read(id, GOAL_VELOCITY) != 1000 * id + value:
                wrong.append(id)

    threads = [threading.Thread(target=read_own, args=(id,)) for id in (1, 2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert bus.counters.replies == 300


def test_a_closed_bus_says_so(emulated: EmulatedBus) -> None:
    bus = Bus(emulated.port)
    assert not bus.is_open
    with pytest.raises(PortError, match="not open"):
        bus.read(1, ID)
    with bus:
        bus.open()
        assert bus.is_open
    assert not bus.is_open
    bus.close()


def test_a_port_that_is_not_there_or_taken_cannot_be_opened(
    bus: Bus, emulated: EmulatedBus
) -> None:
    with pytest.raises(PortError, match="no-such-port"):
        Bus("/dev/no-such-port").open()
    with pytest.raises(PortError, match="no other program"):
        Bus(emulated.port).open()


def test_a_servo_may_change_its_id(bus: Bus, emulated: EmulatedBus) -> None:
    bus.write(6, ID, 20)
    assert bus.ping(20) == 777
    assert sorted(emulated.servos) == [1, 2, 3, 4, 5, 20]


def test_servos_hear_only_their_own_speed(emulated: EmulatedBus) -> None:
    with Bus(emulated.port, timeout_s=0.1) as fast:
        fast.write(2, BAUD_RATE, 1)
        with pytest.raises(NoReply):
            fast.ping(2)
    with Bus(emulated.port, baudrate=500_000, timeout_s=0.5) as slow:
        assert slow.scan((1, 2)) == {2: 777}


@pytest.mark.parametrize("baudrate", [250_000, 115_200])
def test_other_speeds_work(baudrate: int) -> None:
    with (
        EmulatedBus((1,), baudrate=baudrate) as emulated,
        Bus(emulated.port, baudrate, TIMEOUT_S) as bus,
    ):
        assert bus.ping(1) == 777


def test_a_servo_configured_not_to_acknowledge_does_not(emulated: EmulatedBus) -> None:
    emulated.servos[1].poke(RESPONSE_STATUS_LEVEL, 0)
    with Bus(emulated.port, timeout_s=0.5) as bus:
        with pytest.raises(NoReply):
            bus.write(1, GOAL_POSITION, 5)
        assert bus.read(1, GOAL_POSITION) == 5


def test_paced_bytes_take_their_time() -> None:
    with EmulatedBus(IDS, paced=True) as emulated, Bus(emulated.port, timeout_s=1.0) as bus:
        start_s = time.monotonic()
        assert bus.sync_read([PRESENT_POSITION], IDS).missing == ()
        assert time.monotonic() - start_s >= (14 + 6 * 8) * 10e-6 + 6 * 250 * 2e-6
        for id in IDS:
            bus.write(id, RETURN_DELAY_TIME, 0)
        start_s = time.monotonic()
        assert bus.sync_read([PRESENT_POSITION], IDS).missing == ()
        assert time.monotonic() - start_s >= (14 + 6 * 8) * 10e-6


def ask(device: SerialPort, request: Packet, replies: int) -> list[Packet]:
    """Sends a packet the bus has no use for, and returns that many replies."""
    parser, received = Parser(), list[Packet]()
    device.write(encode(request), 1.0)
    deadline = time.monotonic() + TIMEOUT_S
    while len(received) < replies and (data := device.read(deadline)):
        received += parser.feed(data)
    return received


def test_staged_writes_wait_for_the_action(emulated: EmulatedBus) -> None:
    device = SerialPort(emulated.port, 1_000_000)
    try:
        for id in (1, 2):
            staged = Packet(id, Instruction.REG_WRITE, b"\x2a" + bytes((id, 0)))
            assert ask(device, staged, 1) == [Packet(id, 0)]
        assert [emulated.servos[id].peek(GOAL_POSITION) for id in (1, 2)] == [2047, 2047]
        action = encode(Packet(BROADCAST_ID, Instruction.ACTION))
        device.write(action, 1.0)
        assert ask(device, Packet(1, Instruction.PING), 1) == [Packet(1, 0)]
        assert [emulated.servos[id].peek(GOAL_POSITION) for id in (1, 2)] == [1, 2]
        assert [write.id for write in emulated.writes] == [1, 2]
    finally:
        device.close()


def test_broadcasts_are_obeyed_but_only_a_ping_is_answered(emulated: EmulatedBus) -> None:
    device = SerialPort(emulated.port, 1_000_000)
    try:
        device.write(encode(Packet(BROADCAST_ID, Instruction.WRITE, b"\x2a\x07\x00")), 1.0)
        device.write(encode(Packet(BROADCAST_ID, Instruction.READ, b"\x2a\x02")), 1.0)
        pinged = ask(device, Packet(BROADCAST_ID, Instruction.PING), 6)
        assert pinged == [Packet(id, 0) for id in IDS]
        assert {servo.peek(GOAL_POSITION) for servo in emulated.servos.values()} == {7}
    finally:
        device.close()


def test_malformed_instructions_are_ignored(emulated: EmulatedBus) -> None:
    device = SerialPort(emulated.port, 1_000_000)
    try:
        for request in (
            Packet(1, Instruction.READ, b"\x2a"),
            Packet(1, Instruction.WRITE, b"\x2a"),
            Packet(1, 0x55),
            Packet(BROADCAST_ID, Instruction.SYNC_READ, b"\x2a\x02"),
            Packet(BROADCAST_ID, Instruction.SYNC_WRITE, b"\x2a\x02\x01"),
        ):
            device.write(encode(request), 1.0)
        device.write(b"\xff\xff\x01\x40", 1.0)
        time.sleep(0.05)
        assert ask(device, Packet(2, Instruction.PING), 1) == [Packet(2, 0)]
        assert list(emulated.writes) == []
    finally:
        device.close()
