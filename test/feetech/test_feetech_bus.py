"""The bus against the emulator, byte by byte, in good times."""

import threading
import time
from collections.abc import Iterator

import pytest

from armlet.feetech import Bus, EmulatedBus, NoReply, PortError
from armlet.feetech.packets import BROADCAST_ID, Instruction, Packet, Parser, encode
from armlet.feetech.port import SerialPort
from armlet.feetech.registers import (
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

IDS = (1, 2, 3, 4, 5, 6)
PATIENCE_S = 2.0


@pytest.fixture
def emulated() -> Iterator[EmulatedBus]:
    with EmulatedBus(IDS) as emulated:
        yield emulated


@pytest.fixture
def bus(emulated: EmulatedBus) -> Iterator[Bus]:
    with Bus(emulated.port, timeout_s=PATIENCE_S) as bus:
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
    with Bus(emulated.port, baudrate=500_000, timeout_s=0.1) as slow:
        assert slow.scan((1, 2)) == {2: 777}


@pytest.mark.parametrize("baudrate", [250_000, 115_200])
def test_other_speeds_work(baudrate: int) -> None:
    with (
        EmulatedBus((1,), baudrate=baudrate) as emulated,
        Bus(emulated.port, baudrate, PATIENCE_S) as bus,
    ):
        assert bus.ping(1) == 777


def test_a_servo_told_not_to_acknowledge_does_not(emulated: EmulatedBus) -> None:
    emulated.servos[1].poke(RESPONSE_STATUS_LEVEL, 0)
    with Bus(emulated.port, timeout_s=0.1) as bus:
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


def ask(port: SerialPort, request: Packet, replies: int) -> list[Packet]:
    """Sends a packet the bus has no use for, and returns that many replies."""
    parser, received = Parser(), list[Packet]()
    port.write(encode(request), 1.0)
    deadline = time.monotonic() + PATIENCE_S
    while len(received) < replies and (data := port.read(deadline)):
        received += parser.feed(data)
    return received


def test_staged_writes_wait_for_the_action(emulated: EmulatedBus) -> None:
    port = SerialPort(emulated.port, 1_000_000)
    try:
        for id in (1, 2):
            staged = Packet(id, Instruction.REG_WRITE, b"\x2a" + bytes((id, 0)))
            assert ask(port, staged, 1) == [Packet(id, 0)]
        assert [emulated.servos[id].peek(GOAL_POSITION) for id in (1, 2)] == [2047, 2047]
        action = encode(Packet(BROADCAST_ID, Instruction.ACTION))
        port.write(action, 1.0)
        assert ask(port, Packet(1, Instruction.PING), 1) == [Packet(1, 0)]
        assert [emulated.servos[id].peek(GOAL_POSITION) for id in (1, 2)] == [1, 2]
        assert [write.id for write in emulated.writes] == [1, 2]
    finally:
        port.close()


def test_broadcasts_are_obeyed_but_only_a_ping_is_answered(emulated: EmulatedBus) -> None:
    port = SerialPort(emulated.port, 1_000_000)
    try:
        port.write(encode(Packet(BROADCAST_ID, Instruction.WRITE, b"\x2a\x07\x00")), 1.0)
        port.write(encode(Packet(BROADCAST_ID, Instruction.READ, b"\x2a\x02")), 1.0)
        pinged = ask(port, Packet(BROADCAST_ID, Instruction.PING), 6)
        assert pinged == [Packet(id, 0) for id in IDS]
        assert {servo.peek(GOAL_POSITION) for servo in emulated.servos.values()} == {7}
    finally:
        port.close()


def test_malformed_instructions_are_ignored(emulated: EmulatedBus) -> None:
    port = SerialPort(emulated.port, 1_000_000)
    try:
        for request in (
            Packet(1, Instruction.READ, b"\x2a"),
            Packet(1, Instruction.WRITE, b"\x2a"),
            Packet(1, 0x55),
            Packet(BROADCAST_ID, Instruction.SYNC_READ, b"\x2a\x02"),
            Packet(BROADCAST_ID, Instruction.SYNC_WRITE, b"\x2a\x02\x01"),
        ):
            port.write(encode(request), 1.0)
        port.write(b"\xff\xff\x01\x40", 1.0)
        time.sleep(0.05)
        assert ask(port, Packet(2, Instruction.PING), 1) == [Packet(2, 0)]
        assert list(emulated.writes) == []
    finally:
        port.close()
