"""What servos on a bus offer to control and tools, whoever makes them.

A family of motors is a `MotorBus`, which speaks their protocol, and a `MotorModel` for each kind of
servo: its registers, what they measure, and how it is set up. `motors.registry` finds them by name.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum, IntFlag, auto
from types import TracebackType
from typing import Literal, Protocol, Self

Access = Literal["r", "rw"]

TICKS_PER_TURN = 4096
"""Of every model: positions are counted in these, whatever a servo's own register counts."""

Stamp = Callable[[int], int]
"""Time on the clock of the stamps, ns, of an instant of time.monotonic_ns()."""

SHORTEST_WAIT_S = 0.0005
"""The least time to wait for a reply beyond its time on the wire. Below that, any pause of the
scheduler would pass for a lost reply. Twice as much would cost a 200 Hz loop that loses a tenth of
all packets each way 3 % of its cycles."""


def unix_stamp(monotonic_ns: int) -> int:
    """Unix time, ns, of a recent instant of time.monotonic_ns()."""
    return time.time_ns() - (time.monotonic_ns() - monotonic_ns)


# --- what can be wrong ------------------------------------------------------------------------


class Alarm(IntFlag):
    """What a servo reports to be wrong with itself.

    The lowest eight bits are those of Feetech's error byte, its undocumented ones included; other
    families translate into them. ALERT: something is, and a register of the servo says what.
    """

    NONE = 0
    VOLTAGE = 0x01
    ENCODER = 0x02
    TEMPERATURE = 0x04
    CURRENT = 0x08
    OVERLOAD = 0x20
    ELECTRICAL_SHOCK = 0x100
    ALERT = 0x200
    HOST_SILENT = 0x400


_ALARM_TEXTS = {
    Alarm.VOLTAGE: "supply voltage out of range",
    Alarm.ENCODER: "position sensor fault",
    Alarm.TEMPERATURE: "overheated",
    Alarm.CURRENT: "over-current",
    Alarm.OVERLOAD: "overload",
    Alarm.ELECTRICAL_SHOCK: "electrical shock, or too little power to drive the motor",
    Alarm.ALERT: "hardware error",
    Alarm.HOST_SILENT: "stopped by its bus watchdog: no instruction came",
}


def describe(alarms: Alarm) -> str:
    """The alarms in words, joined by commas; "no error" for none."""
    named = alarms & ~Alarm.ALERT if int(alarms) & ~Alarm.ALERT else alarms
    known = [text for alarm, text in _ALARM_TEXTS.items() if alarm in named]
    unknown = int(named) & ~sum(_ALARM_TEXTS)
    if unknown:
        known.append(f"undocumented error bits 0x{unknown:02x}")
    return ", ".join(known) or "no error"


class BusError(Exception):
    """Base of everything a servo bus raises, bad arguments (ValueError) aside."""


class PortError(BusError):
    """The serial port could not be opened, or was lost while in use."""


class NoReply(BusError):
    """No status packet came in time. Whether the instruction was carried out is unknown."""


class CorruptReply(BusError):
    """Bytes came, but no intact status packet: noise, or two servos answering at once."""


class InstructionRefused(BusError):
    """The servo answered that it did not carry out the instruction, and why."""


class ServoError(BusError):
    """The servo answered with alarms. It did receive and carry out the instruction.

    Attributes:
        servo_id: the servo that answered.
        bits: its alarms.
    """

    def __init__(self, servo_id: int, bits: Alarm, doing: str) -> None:
        super().__init__(f"servo {servo_id} reports {describe(bits)} (answering {doing})")
        self.servo_id = servo_id
        self.bits = bits


# --- what a servo has -------------------------------------------------------------------------


class Register(Protocol):
    """One entry of a servo's control table. Registers compare and hash by their values.

    Attributes:
        name: as LeRobot and the vendor call it.
        address, width: of its lowest byte, and in bytes, little endian; `end` is behind it.
        unit: of one count, for people.
        access: "r" read only, "rw" writable.
        area: registers of one area may be read in one go.
        default: value of a servo fresh from the factory.
        minimum, maximum: the values it can hold.
        signed: whether its values may be negative.
    """

    @property
    def name(self) -> str: ...
    @property
    def address(self) -> int: ...
    @property
    def width(self) -> int: ...
    @property
    def end(self) -> int: ...
    @property
    def unit(self) -> str: ...
    @property
    def access(self) -> Access: ...
    @property
    def area(self) -> str: ...
    @property
    def default(self) -> int: ...
    @property
    def minimum(self) -> int: ...
    @property
    def maximum(self) -> int: ...
    @property
    def signed(self) -> bool: ...

    def encode(self, value: int) -> bytes:
        """The value as the servo stores it. Raises ValueError if it does not fit."""

    def encode_raw(self, value: int) -> int:
        """The stored bytes of a value that fits, as one unsigned number."""

    def decode(self, data: bytes) -> int:
        """The value of `width` stored bytes. Raises ValueError for another number of bytes."""

    def decode_raw(self, raw: int) -> int:
        """The value of the stored bytes read as one unsigned number."""


class Quantity(Enum):
    """What control reads of a servo, and the unit it has there."""

    POSITION = auto()  # ticks
    VELOCITY = auto()  # ticks/s
    LOAD = auto()  # share of full torque, -1..1
    VOLTAGE = auto()  # V
    TEMPERATURE = auto()  # degC
    CURRENT = auto()  # A
    STATUS = auto()  # alarms, see MotorModel.alarms
    WATCHDOG = auto()  # alarms, see MotorModel.alarms
    MOVING = auto()  # 0 or not
    TORQUE_ENABLED = auto()  # 0 or not
    TORQUE_LIMIT = auto()  # share of full torque, 0..1


@dataclass(frozen=True, slots=True)
class Measure:
    """A register that holds a quantity: value = count x times / per."""

    register: Register
    times: float = 1.0
    per: float = 1.0

    def value(self, count: int) -> float:
        """In the quantity's unit."""
        return count * self.times / self.per

    def count(self, value: float) -> int:
        """The register's value nearest to that."""
        return round(value * self.per / self.times)


@dataclass(frozen=True)
class Setup:
    """What an arm's driver makes a servo hold: register name -> value.

    stored: outlives a power cycle. ram: gone without power. cleared: bits that must not be set in
    a stored register, the others staying as they are.
    """

    stored: Mapping[str, int] = field(default_factory=dict)
    ram: Mapping[str, int] = field(default_factory=dict)
    cleared: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RegisterNote:
    """What a register is for, for people and for tools that set it.

    Attributes:
        meaning: what it is for, in a few words.
        allowed: the values that make sense, ascending, where those are fewer than it can hold.
        words: what turns a value into words; None: it is a quantity, or a mere number.
    """

    meaning: str = ""
    allowed: Sequence[int] | None = None
    words: Callable[[int], str] | None = None


_NO_NOTE = RegisterNote()


@dataclass(frozen=True)
class MotorModel:
    """A kind of servo: its registers by what they are for, and how it is used.

    Attributes:
        name: as the parameter `motors` has it: "sts3215".
        label: as its maker writes it: "STS3215".
        number: what its model_number register holds.
        registers: all of them by name, in order of address.
        measures: where each quantity is; a servo may lack CURRENT and WATCHDOG.
        model_number, servo_id, baud_rate, firmware, torque_enable, goal_position, homing_offset,
        min_position, max_position: what they say. firmware: the parts of the version, highest
            first.
        baud_codes: value of baud_rate -> bits per second, of the speeds it can be set to.
        torque_limit, max_torque: what bounds the torque until a power cycle, and what it is then.
            Both in TORQUE_LIMIT's counts.
        drive_mode: its lowest bit turns the servo round; None if it cannot.
        lock: has to be 0 for stored registers to outlive a power cycle; None if there is none.
        alarms: what a value of the STATUS or WATCHDOG register means.
        cuts_torque: alarms on which the servo may take its own torque off.
        reboots: whether it keeps its torque off after such an alarm until it is rebooted.
        counts_turns: whether positions run on past a turn, and begin in any one at power-up.
        watchdog: makes the servo itself stop when no instruction comes, until it is written 0;
            None if there is none.
        watchdog_counts: what it is set to while the arm is armed.
        offset_sign: Present_Position = actual + offset_sign x Homing_Offset.
        body, gripper, joints: the settings of a body joint, a gripper, and of joints by name.
        calibrated_in: what it has to hold while a person moves it to find its range.
        voltage_limits, temperature_limit: the supply (lowest, highest) and the heat it endures, in
            the counts of VOLTAGE and TEMPERATURE.
        return_delay: how long it waits before it answers.
        acknowledges: the register that says which instructions it answers, and the value by which
            it answers all; None if it always does.
        single_turn: the register and its bits that let positions run on past a turn where they
            must not; None if there are none.
        notes: what its registers are for, by name.
        updated_with: what updates its firmware, for people.
        supplies: what it is powered by, for people.
    """

    name: str
    label: str
    number: int
    registers: Mapping[str, Register]
    measures: Mapping[Quantity, Measure]
    model_number: Register
    servo_id: Register
    baud_rate: Register
    baud_codes: Mapping[int, int]
    firmware: tuple[Register, ...]
    torque_enable: Register
    max_torque: Register
    goal_position: Register
    homing_offset: Register
    min_position: Register
    max_position: Register
    alarms: Callable[[Quantity, int], Alarm]
    cuts_torque: Alarm
    body: Setup
    gripper: Setup
    voltage_limits: tuple[Register, Register]
    temperature_limit: Register
    return_delay: Register
    calibrated_in: Setup = field(default_factory=Setup)
    acknowledges: tuple[Register, int] | None = None
    single_turn: tuple[Register, int] | None = None
    notes: Mapping[str, RegisterNote] = field(default_factory=dict)
    lock: Register | None = None
    drive_mode: Register | None = None
    joints: Mapping[str, Setup] = field(default_factory=dict)
    reboots: bool = False
    counts_turns: bool = False
    watchdog: Register | None = None
    watchdog_counts: int = 0
    offset_sign: int = -1
    updated_with: str = "the maker's software"
    supplies: str = "the supply made for these servos"

    @property
    def version(self) -> tuple[Register, ...]:
        """What tells which servo it is, in order of address: firmware and model number."""
        return tuple(sorted((*self.firmware, self.model_number), key=lambda each: each.address))

    def firmware_of(self, values: Mapping[str, int]) -> str:
        """The firmware's version by the values of its registers, as "3.10"."""
        return ".".join(str(values[register.name]) for register in self.firmware)

    def note(self, register: Register) -> RegisterNote:
        """What a register is for; an empty note if nobody says."""
        return self.notes.get(register.name, _NO_NOTE)

    @property
    def torque_limit(self) -> Register:
        """What bounds the torque until a power cycle."""
        return self.measures[Quantity.TORQUE_LIMIT].register

    def setup(self, joint: str, gripper: bool) -> Setup:
        """The settings of a joint."""
        return self.gripper if gripper else self.joints.get(joint, self.body)


@dataclass(frozen=True)
class MotorFamily:
    """Models that speak one protocol and may share a bus.

    Attributes:
        name: "feetech".
        origin: where it is found: "package.module:ATTRIBUTE". The torque watchdog, a process of its
            own, imports just that.
        models: by name, lower case.
        make_bus: called as `MotorBus` classes are: port, baudrate, timeout_s, least_wait_s, stamp.
        baudrate: that of an arm, unless the driver is given another.
        factory_baudrate: that of a servo fresh from the factory.
        one_firmware: whether LeRobot refuses an arm whose servos differ in their firmware.
        relatives: labels of other servos that speak the protocol, by model number: armlet finds
            them and says what they are, and does not drive them.
    """

    name: str
    origin: str
    models: Mapping[str, MotorModel]
    make_bus: BusMaker
    baudrate: int = 1_000_000
    factory_baudrate: int = 1_000_000
    one_firmware: bool = False
    relatives: Mapping[int, str] = field(default_factory=dict)

    @property
    def baudrates(self) -> tuple[int, ...]:
        """Every speed its servos can be set to: an arm's first, then the factory's."""
        first = (self.baudrate, self.factory_baudrate)
        codes = (speed for model in self.models.values() for speed in model.baud_codes.values())
        return tuple(dict.fromkeys((*first, *codes)))

    def model_of(self, number: int) -> MotorModel | None:
        """The model with that number; None if armlet does not drive it."""
        return next((each for each in self.models.values() if each.number == number), None)

    def label_of(self, number: int) -> str:
        """What people call the servo with that model number: "STS3215", "model 42"."""
        model = self.model_of(number)
        return self.relatives.get(number, f"model {number}") if model is None else model.label


# --- what a bus counts ------------------------------------------------------------------------


@dataclass(slots=True)
class Counters:
    """What a bus has seen since it was made.

    Attributes:
        packets_sent: instruction packets written.
        replies: status packets accepted as the answer to a request.
        timeouts: servos that owed a reply and gave none, intact and in time.
        retries: requests sent again because a servo had not answered the one before.
        checksum_errors: packets complete by their length, but with a wrong checksum.
        dropped_bytes: received bytes that became part of no packet.
        stale_replies: intact packets that were no answer to the request in progress.
        echoes: our own packets, heard back from an adapter that receives what it sends.
        bytes_sent, bytes_received: on the wire; each takes ten bit times.
    """

    packets_sent: int = 0
    replies: int = 0
    timeouts: int = 0
    retries: int = 0
    checksum_errors: int = 0
    dropped_bytes: int = 0
    stale_replies: int = 0
    echoes: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0


@dataclass(slots=True)
class ServoCounters:
    """What a bus has seen of one servo since it was made.

    Attributes:
        requests: times it was asked for a reply, probes of the line included.
        replies: intact replies to those.
        timeouts: requests - replies.
        damaged: those of the timeouts in which bytes came that formed no intact packet.
        retries: those of the requests that were sent because it had not answered the one before.
        error_bits: alarm -> number of replies that had it set.
    """

    requests: int = 0
    replies: int = 0
    timeouts: int = 0
    damaged: int = 0
    retries: int = 0
    error_bits: dict[Alarm, int] = field(default_factory=dict)

    def count_errors(self, alarms: Alarm | int) -> None:
        """Counts every alarm of a reply, documented or not."""
        for place in range(int(alarms).bit_length()):
            if alarms >> place & 1:
                bit = Alarm(1 << place)
                self.error_bits[bit] = self.error_bits.get(bit, 0) + 1

    def copy(self) -> Self:
        """A copy that shares nothing."""
        return replace(self, error_bits=dict(self.error_bits))


# --- the bus ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SyncReply:
    """What one sync_read brought in.

    Attributes:
        values: servo id -> one value per register, in the order asked. Only servos that answered.
        missing: ids that did not answer, intact and in time, in the order in which to ask again.
        errors: servo id -> alarms, only for servos that answered with any.
        stamp_ns: by the bus's stamps, midway between the request written and the last reply
            received, in ns, of the first try that brought anything.
        retried: ids whose values came from a later try than that, hence are younger than the stamp.
    """

    values: dict[int, tuple[int, ...]]
    missing: tuple[int, ...]
    errors: dict[int, Alarm]
    stamp_ns: int
    retried: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Answers:
    """Who answered when all servos were called at once.

    Attributes:
        ids: of those whose answers came intact, ascending.
        garbled: whether bytes came that formed no answer: some of them may have collided.
    """

    ids: tuple[int, ...]
    garbled: bool


class MotorBus(Protocol):
    """A chain of servos on one serial line. Safe to use from several threads.

    A value is never invented and never taken from an old reply. Everything may raise PortError,
    which closes the port; `open` may then be tried again.

    Attributes:
        port, baudrate: of the serial line; changing them takes effect when it is opened next.
        timeout_s: timeout of replies beyond their time on the wire.
        least_wait_s: shortest timeout.
        usual_model: what the servos are where nobody says otherwise.
    """

    port: str
    baudrate: int
    timeout_s: float
    least_wait_s: float

    @property
    def usual_model(self) -> MotorModel: ...
    @property
    def is_open(self) -> bool: ...
    @property
    def counters(self) -> Counters: ...
    @property
    def servo_counters(self) -> dict[int, ServoCounters]: ...

    def open(self) -> None:
        """Opens the port; does nothing if it is open."""

    def close(self) -> None:
        """Closes the port; does nothing if it is closed. Servos keep doing what they do."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def ping(self, id: int) -> int:
        """The servo's model number, whatever it reports. Raises NoReply, CorruptReply."""

    def scan(self, ids: Iterable[int]) -> dict[int, int]:
        """Pings each id: id -> model number of those that answer. Raises CorruptReply."""

    def call(self, wait_s: float) -> Answers:
        """Pings all servos at once and listens for so long."""

    def read(self, id: int, register: Register) -> int:
        """The register's value. Raises ServoError, InstructionRefused, NoReply, CorruptReply."""

    def write(self, id: int, register: Register, value: int, *, check: bool = True) -> Alarm:
        """Writes the register and waits for the acknowledgement; returns the servo's alarms.

        check: False returns alarms instead of raising ServoError. Raises InstructionRefused,
        NoReply, CorruptReply, and ValueError for what the register cannot hold.
        """

    def sync_read(
        self, registers: Sequence[Register], ids: Sequence[int], *, until: float | None = None
    ) -> SyncReply:
        """Reads the same registers, ascending, of several servos with one instruction.

        until: time.monotonic() up to which those that do not answer are asked again; None: once.
        """

    def sync_write(self, register: Register, values: Mapping[int, int]) -> None:
        """Writes one register of several servos, to each its own value, unacknowledged."""

    def sync_write_read(
        self,
        register: Register,
        values: Mapping[int, int],
        registers: Sequence[Register],
        ids: Sequence[int],
        *,
        until: float | None = None,
    ) -> SyncReply:
        """A `sync_write` and the `sync_read` behind it, sent as one."""

    def reboot(self, id: int) -> None:
        """Starts a servo up again. Raises NoReply, CorruptReply, and ValueError if it cannot."""


class BusMaker(Protocol):
    """How a bus is made; the port is opened by `open`."""

    def __call__(
        self,
        port: str,
        baudrate: int = ...,
        timeout_s: float = ...,
        least_wait_s: float = ...,
        stamp: Stamp = ...,
    ) -> MotorBus: ...
