"""One run of the fault campaign: an emulated arm, its control, people, and faults, in real time."""

import contextlib
import math
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
from fault_script import FaultInjector, random_script
from recorded_arm import CALIBRATION, IDS, CheckedBus, checked_bus, recorded_bus, seeded

from armlet.control import (
    Arm,
    ArmError,
    CommandRefused,
    Control,
    ControlSettings,
    Guard,
    State,
    Trajectory,
)
from armlet.motors.protocol import BusError, MotorModel
from armlet.robots.units import limits_radians

JOINTS = tuple(CALIBRATION)
ARMED = (State.HOLD, State.COMMAND, State.TRAJECTORY)
RECONNECT_S = (0.1, 0.2, 0.5)
_WAIT_S = 120.0
"""For what must come about: by the wall clock, so generous; no computer is that busy."""

_TICK_S = 0.015
_SET_UPS = 5
_PULSE_S = 0.003


class CycleNote(NamedTuple):
    """A control cycle: monotonic seconds, the time it went by, what it gave, what it ended in."""

    begun_s: float
    ended_s: float
    decided_s: float
    sample: object
    applied: object
    telemetry: dict
    state: State


class Call(NamedTuple):
    """torque_on or torque_off from outside: monotonic seconds, error, the state before and after.

    torque: whether each servo had torque when it was over.
    """

    what: str
    before: State
    begun_s: float
    ended_s: float
    error: Exception | None
    state: State
    torque: tuple


def _unix_s():
    """Unix time of the monotonic clock's zero, by the shortest of some looks at both."""

    def look():
        before_s, unix_s = time.monotonic(), time.time()
        return time.monotonic() - before_s, unix_s - before_s

    return min(look() for _ in range(100))[1]


class Pulse:
    """Notes for how long the computer kept this process from running."""

    def __init__(self):
        self._late = []
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="pulse", daemon=True)
        self._thread.start()

    def stop(self):
        self._ending.set()
        self._thread.join()

    def stalled_s(self, start_s, end_s):
        """How much of a time it was kept from running."""
        return sum(late_s for at_s, late_s in self._late if start_s <= at_s <= end_s + _PULSE_S)

    def _beat(self):
        due_s = time.monotonic()
        while not self._ending.wait(max(0.0, due_s - time.monotonic())):
            now_s = time.monotonic()
            self._late.append((now_s, now_s - due_s))
            due_s = now_s + _PULSE_S


@dataclass
class Parts:
    """What a run is made of; tests put broken parts in to see that the checks find them.

    motors: the servos' model.
    """

    motors: str = "sts3215"
    bus: type = CheckedBus
    control: type = Control
    guard_factor: float = 1.0


@dataclass
class Record:
    """Everything noted in a run; `events` are (monotonic s, words)."""

    seed: int
    wild: bool
    script: list
    model: MotorModel | None = None
    period_s: float = 0.01
    velocity: float = 5.0
    acceleration: float = 100.0
    settings: ControlSettings = field(default_factory=ControlSettings)
    servos: dict = field(default_factory=dict)
    cycles: list = field(default_factory=list)
    calls: list = field(default_factory=list)
    events: list = field(default_factory=list)
    violations: list = field(default_factory=list)
    fault_spans: list = field(default_factory=list)
    faults_begun_s: float = 0.0
    faults_ended_s: float = 0.0
    recovered_s: float = float("inf")
    checked: object = None
    counters: object = None
    counts: object = None
    implausible: int = 0
    unix_s: float = 0.0
    pulse: Pulse | None = None

    def note(self, text):
        self.events.append((time.monotonic(), text))

    def violate(self, check, text, at_s=None):
        self.violations.append((check, time.monotonic() if at_s is None else at_s, text))


class _CycleClock:
    """The control's clock; remembers by what time a cycle went."""

    def __init__(self):
        self.worker = None
        self.decided_s = None

    def __call__(self):
        now_s = time.monotonic()
        if self.decided_s is None and threading.current_thread() is self.worker:
            self.decided_s = now_s
        return now_s


class Run:
    """Connects, lets it all happen, sees that it recovers, and ends; `record` is what was seen.

    Args:
        seed: of everything that is random. The order of threads is the computer's.
        script: faults instead of random ones.
        parts: what it is made of.
    """

    def __init__(self, seed, script=None, parts=None):
        dice = seeded(f"run {seed}")
        self.parts = parts or Parts()
        self.horizon_s = dice.uniform(0.5, 0.9) if dice.random() < 0.8 else dice.uniform(1.5, 2.5)
        wild = dice.random() < 0.5
        if script is None:
            script = random_script(seeded(f"faults {seed}"), self.horizon_s, IDS, wild)
        self.record = Record(seed, wild, script)
        self._dice = dice
        self._person = Person(seeded(f"person {seed}"))
        self._operator_dice = seeded(f"operator {seed}")
        self._clock = _CycleClock()
        self._ending = threading.Event()
        self._calm = threading.Event()

    def __call__(self):
        before = _left_open()
        with TemporaryDirectory(prefix="armlet-campaign-") as folder:
            bus = recorded_bus(
                self._dice,
                f"{folder}/arm",
                paced=self._dice.random() < 0.25,
                motors=self.parts.motors,
            )
            bus.faults.echo = self._dice.random() < 0.05
            bus.faults._dice.seed(f"line {self.record.seed}")
            with bus:
                self.record.pulse = Pulse()
                try:
                    self._run(bus)
                finally:
                    self.record.pulse.stop()
        after = _left_open()
        # Fewer are what earlier tests had left to Python, which has collected it meanwhile.
        if any(now > then for now, then in zip(after, before, strict=True)):
            self.record.violate("hangs", f"left open: {before} before, {after} after")
        return self.record

    def _run(self, bus):
        record, dice = self.record, self._dice
        record.servos, record.model = bus.servos, bus.model
        record.period_s = dice.choice((0.01, 0.01, 0.005))
        record.velocity, record.acceleration = dice.uniform(1.5, 5.0), dice.uniform(20, 100)
        silence_s = dice.choice((0.15, 0.3, 0.5))
        record.settings = ControlSettings(
            period_s=record.period_s,
            silence_s=silence_s,
            ramp_velocity=dice.uniform(0.5, record.velocity),
            blend_s=dice.choice((0.0, 0.05, 0.1)),
            command_timeout_s=dice.choice((0.1, 0.5)),
            feedback=dice.choice(("state", "state", "full")),
            telemetry_hz=dice.choice((2.0, 8.0)),
        )
        wire = checked_bus(self.parts.bus, bus)
        record.checked = wire.checked
        arm = Arm(wire, CALIBRATION, [bus.model] * len(CALIBRATION))
        _set_up(arm)
        factor = self.parts.guard_factor
        guard = Guard.from_calibration(
            CALIBRATION,
            record.velocity * factor,
            record.acceleration * factor,
            dice.choice(("clamp", "refuse")),
        )
        control = self.parts.control(arm, guard, record.settings, clock=self._clock)
        self.control = control
        record.unix_s = _unix_s()
        worker = threading.Thread(target=self._cycles, name="cycles", daemon=True)
        self._clock.worker = worker
        worker.start()
        try:
            self._let_happen(bus)
            bus.check()
        finally:
            self._ending.set()
            worker.join(_WAIT_S)
            if worker.is_alive():
                record.violate("hangs", "the cycles do not end")
            record.counters, record.counts = wire.counters, control.counts
            record.implausible = arm.implausible
            arm.close()

    # --- what goes on -----------------------------------------------------------------------

    def _let_happen(self, bus):
        record = self.record
        self._call("torque_on")
        injector = FaultInjector(bus, record.script, record.note, self._before_fault)
        self.injector = injector
        operator = threading.Thread(target=self._operate, name="operator", daemon=True)
        injector.start()
        operator.start()
        while injector.ended_s > time.monotonic():
            self._person.act(self.control)
            time.sleep(_TICK_S)
        injector.join()
        record.faults_begun_s, record.faults_ended_s = injector.begun_s, injector.ended_s
        record.fault_spans = injector.spans
        self._calm.set()
        operator.join(_WAIT_S)
        if operator.is_alive():
            record.violate("hangs", "torque_on or torque_off does not return")
        self._await_recovery()
        self._prove_that_it_works()

    def _before_fault(self, at_s):
        """Before a step of the script is taken, in the thread of the faults."""

    def _operate(self):
        """Somebody at the switch, who arms what is not armed and stops the arm now and then."""
        dice = self._operator_dice
        while not self._calm.wait(dice.uniform(0.02, 0.3)):
            if self.control.state in ARMED:
                if dice.random() < 0.25:
                    self._call("torque_off")
            elif dice.random() < 0.2:
                self._call("torque_off")
            elif self.control.state is not State.UNPROVEN and dice.random() < 0.6:
                self._call("torque_on")

    def _await_recovery(self):
        record = self.record
        deadline = record.faults_ended_s + _WAIT_S
        while math.isinf(record.recovered_s) and time.monotonic() < deadline:
            for note in reversed(record.cycles):
                if note.begun_s < record.faults_ended_s:
                    break
                if note.sample is not None and note.sample.complete:
                    record.recovered_s = note.ended_s - record.faults_ended_s
            time.sleep(0.005)

    def _prove_that_it_works(self):
        """On a line that is well: stop, arm, follow, stop."""
        record, control = self.record, self.control
        if control.state is State.UNPROVEN:
            self._call("torque_off", must=True)
        for attempt in range(_SET_UPS):
            if self._call("torque_on", must=attempt == _SET_UPS - 1):
                break
        wanted_s = time.monotonic() + _WAIT_S
        while control.state is not State.COMMAND and time.monotonic() < wanted_s:
            if control.state is State.UNARMED:  # a servo without power is found by its telemetry
                self._call("torque_on")
            with contextlib.suppress(CommandRefused):
                control.command(JOINTS, [0.0] * len(JOINTS), time.time_ns(), time.time_ns())
            time.sleep(_TICK_S)
        if control.state is not State.COMMAND:
            record.violate("recovery", f"commands are not followed: {control.summary()}")
        time.sleep(0.05)
        self._call("torque_off", must=True)
        on = [id for id, servo in record.servos.items() if servo.torque_on]
        if on:
            record.violate("torque", f"torque_off succeeded, but servos {on} have torque")

    def _call(self, what, must=False):
        record, control = self.record, self.control
        record.note(f"{what} ...")
        before, error = control.state, None
        begun_s = time.monotonic()
        try:
            getattr(control, what)()
        except (ArmError, BusError) as raised:
            error = raised
        ended_s, state = time.monotonic(), control.state
        torque = tuple(servo.was_on(ended_s) for servo in record.servos.values())
        record.calls.append(Call(what, before, begun_s, ended_s, error, state, torque))
        record.note(f"{what}: {error or 'done'} [{state.value}]")
        if must and error is not None:
            record.violate("recovery", f"{what} fails on a line that is well: {error}")
        return error is None

    # --- the cycles -------------------------------------------------------------------------

    def _cycles(self):
        record, control = self.record, self.control
        due_s = time.monotonic()
        try:
            while not self._ending.wait(max(0.0, due_s - time.monotonic())):
                due_s = max(due_s + record.period_s, time.monotonic() - record.period_s)
                self._cycle()
                if control.state is State.LOST:
                    self._reconnect()
                    due_s = time.monotonic()
        except Exception as error:
            record.violate("hangs", f"a cycle raised {error!r}")
            raise

    def _cycle(self):
        record, control = self.record, self.control
        self._clock.decided_s = None
        begun_s = time.monotonic()
        cycle = control.cycle(time.time_ns())
        ended_s = time.monotonic()
        state = control.state
        if not record.cycles or record.cycles[-1].state is not state:
            record.note(f"state: {control.summary()}")
        decided_s = self._clock.decided_s or begun_s
        record.cycles.append(
            CycleNote(
                begun_s, ended_s, decided_s, cycle.sample, cycle.applied, control.telemetry, state
            )
        )

    def _reconnect(self):
        attempt = 0
        while not self._ending.wait(RECONNECT_S[min(attempt, len(RECONNECT_S) - 1)]):
            attempt += 1
            if self.control.reconnect():
                self.record.note("reconnected")
                return


class Person:
    """Sends commands and trajectories, sensible and not; silent now and then."""

    def __init__(self, dice):
        self._dice = dice
        self._left = 0
        self._mode = "walk"
        lower, upper = limits_radians(CALIBRATION)
        self._lower, self._upper = lower, upper
        self._target = np.zeros(len(JOINTS))

    def act(self, control):
        """One thing; what is refused is no concern here."""
        if self._left == 0:
            self._mode = self._dice.choice(
                ("walk", "jump", "jump", "partial", "bad", "silent", "trajectory", "trajectory")
            )
            self._left = self._dice.randrange(1, 20)
            self._target = self._anywhere()
        self._left -= 1
        with contextlib.suppress(CommandRefused):
            getattr(self, f"_{self._mode}")(control, time.time_ns())

    def _anywhere(self, beyond=0.3):
        spread = np.array([self._dice.random() for _ in JOINTS])
        return self._lower - beyond + spread * (self._upper - self._lower + 2 * beyond)

    def _walk(self, control, now_ns):
        step = np.array([self._dice.uniform(-0.05, 0.05) for _ in JOINTS])
        self._target = np.clip(self._target + step, self._lower, self._upper)
        control.command(JOINTS, self._target.tolist(), now_ns, now_ns)

    def _jump(self, control, now_ns):
        if self._dice.random() < 0.2:
            self._target = self._anywhere()
        stamp_ns = self._dice.choice((0, now_ns, now_ns - 30_000_000, now_ns - 10_000_000_000))
        control.command(JOINTS, self._target.tolist(), stamp_ns, now_ns)

    def _partial(self, control, now_ns):
        some = self._dice.sample(range(len(JOINTS)), self._dice.randrange(1, 4))
        where = self._anywhere(0.0)
        control.command([JOINTS[i] for i in some], [where[i] for i in some], now_ns, now_ns)

    def _bad(self, control, now_ns):
        where = self._anywhere().tolist()
        where[self._dice.randrange(6)] = self._dice.choice((float("nan"), float("inf"), 1e300))
        control.command(JOINTS, where, now_ns, now_ns)

    def _silent(self, control, now_ns):
        pass

    def _trajectory(self, control, now_ns):
        dice = self._dice
        if dice.random() < 0.1:
            control.hold()
            return
        if dice.random() > 0.3:
            return
        points = dice.randrange(1, 8)
        times_s = np.cumsum([dice.uniform(0.02, 0.2) for _ in range(points)])
        stamp_ns = now_ns + dice.choice((0, 0, -100_000_000, 100_000_000, -10_000_000_000))
        rows = np.array([self._anywhere(0.1) for _ in range(points)])
        control.follow(JOINTS, Trajectory(stamp_ns, times_s, rows), now_ns)


def _set_up(arm):
    """Nothing is wrong yet, but a busy computer may keep the emulated servos from answering."""
    for _ in range(_SET_UPS):
        with contextlib.suppress(ArmError):
            arm.connect()
            arm.configure()
            return
    arm.configure()


def _left_open():
    """Numbers of open files and of threads."""
    return len(list(Path("/proc/self/fd").iterdir())), threading.active_count()
