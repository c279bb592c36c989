"""Random faults over time: what goes wrong with a line, its servos, their supply and the plug."""

import math
import threading
import time
from dataclasses import dataclass

from armlet.motors.protocol import Alarm, Quantity

LOSS = ("drop", "request_drop", "miss")
ONE_BYTE = ("corrupt", "flip")
"""Damage to one byte of a packet: a checksum never misses that."""
MANY_BYTES = ("truncate", "noise")
"""Damage that an eight bit checksum misses once in 256 times."""
HARMLESS = ("request_corrupt", "duplicate")
SLOW = ("delay", "usb_latency")
POWER = ("dead", "brownout", "error_bits", "hot", "low_voltage")
PLUG = ("unplug", "unplug_mid_packet")

GUARD_S = 120.0

DEAFENING = ("request_drop", "request_corrupt", "miss", "dead", "brownout", *PLUG)
"""Faults that keep what is sent from some servo."""


@dataclass(frozen=True)
class Fault:
    """One fault from start_s to end_s, seconds since the script's beginning; `what` in words."""

    kind: str
    start_s: float
    end_s: float
    strength: float
    ids: tuple[int, ...] = ()
    power_cycle: bool = False

    @property
    def what(self):
        ids = f" of {list(self.ids)}" if self.ids else ""
        cycled = ", power too" if self.power_cycle else ""
        return f"{self.kind} {self.strength:.3g}{ids}{cycled}"


def random_script(dice, horizon_s, ids, wild):
    """Faults that all end by the horizon. wild: damage that a checksum may miss as well."""
    damage = [*ONE_BYTE, *MANY_BYTES] if wild else [dice.choice(ONE_BYTE)]
    kinds = [*LOSS, *damage, *HARMLESS, *SLOW, *POWER, *PLUG]
    faults = [_random_fault(dice, dice.choice(kinds), horizon_s, ids) for _ in range(_many(dice))]
    return sorted(_one_at_a_time(faults), key=lambda fault: fault.start_s)


def _many(dice):
    return dice.choice((1, 2, 3, 4, 5, 6, 8))


def _random_fault(dice, kind, horizon_s, ids):
    start_s = dice.uniform(0, 0.8 * horizon_s)
    end_s = min(
        horizon_s, start_s + dice.choice((0.03, 0.1, 0.3, 0.7, 1.8)) * dice.uniform(0.7, 1.4)
    )
    strength, chosen = dice.choice((0.02, 0.1, 0.3, 0.6)), ()
    if kind == "delay":
        strength = dice.choice((0.001, 0.003, 0.008, 0.015, 0.03))
    elif kind == "usb_latency":
        strength = dice.choice((0.001, 0.004, 0.016))
    elif kind == "unplug_mid_packet":
        strength = dice.randrange(1, 200)
    elif kind in POWER:
        count = dice.choice((1, 1, 2, len(ids)))
        chosen = tuple(sorted(dice.sample(ids, count)))
        strength = _power_strength(dice, kind)
    return Fault(kind, start_s, end_s, strength, chosen, dice.random() < 0.4)


def _power_strength(dice, kind):
    match kind:
        case "error_bits":
            return int(dice.choice((Alarm.OVERLOAD, Alarm.CURRENT, Alarm.TEMPERATURE)))
        case "hot":
            return dice.choice((66, 75))
        case "low_voltage":
            return dice.choice((3.5, 4.2))
    return 1


def _one_at_a_time(faults):
    """Two of a kind that overlap would end each other: the later one is left out."""
    kept = []
    for fault in sorted(faults, key=lambda fault: fault.start_s):
        family = [k for k in kept if k.kind == fault.kind or {k.kind, fault.kind} <= set(PLUG)]
        if all(k.end_s < fault.start_s for k in family):
            kept.append(fault)
    return kept


class FaultInjector:
    """Lets a script happen to an emulated bus, in a thread of its own.

    Attributes:
        begun_s: time.monotonic() of the script's beginning.
        ended_s: time.monotonic() when everything was well again; infinite before.
        failure: what went wrong with the injector itself.
        spans: of each fault, when it began and ended: as scripted, or later on a busy computer.

    before: called with the time of each step, in the thread, before it is taken.
    """

    def __init__(self, bus, script, note, before=lambda at_s: None):
        self._bus, self._note, self._before = bus, note, before
        self._volts = bus.supply.volts
        self._heat = bus.model.measures[Quantity.TEMPERATURE].register
        self._steps = sorted(
            [(fault.start_s, 1, fault) for fault in script]
            + [(fault.end_s, 0, fault) for fault in script],
            key=lambda step: step[:2],
        )
        self.begun_s = self.ended_s = math.inf
        self.failure = None
        self.spans = []
        self._begun = {}
        self._taken = 0
        self._stepped = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="faults", daemon=True)

    def start(self):
        self._thread.start()

    def join(self):
        self._thread.join(GUARD_S)
        if self._thread.is_alive():
            raise RuntimeError("the fault script hangs")
        if self.failure is not None:
            raise RuntimeError("the fault script failed") from self.failure

    def wait_for_steps_before(self, at_s):
        """Waits until what the script has before a time has happened."""
        due = sum(step[0] < at_s for step in self._steps)
        with self._stepped:
            self._stepped.wait_for(lambda: self._taken >= due or self.failure, GUARD_S)

    def _run(self):
        self.begun_s = time.monotonic()
        try:
            for at_s, begins, fault in self._steps:
                time.sleep(max(0.0, self.begun_s + at_s - time.monotonic()))
                self._before(at_s)
                self._note(f"fault {'begins' if begins else 'ends'}: {fault.what}")
                self._step(begins, fault)
                with self._stepped:
                    self._taken += 1
                    self._stepped.notify_all()
        except Exception as error:
            self.failure = error
        self.ended_s = time.monotonic()
        self._note("all faults are over")

    def _step(self, begins, fault):
        if begins:
            self._begun[fault] = time.monotonic() - self.begun_s
            self._begin(fault)
            return
        self._end(fault)
        self.spans.append((fault, self._begun[fault], time.monotonic() - self.begun_s))

    def _begin(self, fault):
        faults = self._bus.faults
        match fault.kind:
            case "delay":
                faults.delay_s, faults.delay_jitter_s = fault.strength, fault.strength / 2
                faults.delay_probability = 0.3
            case "usb_latency":
                faults.usb_latency_s = fault.strength
            case "dead" | "brownout":
                faults.dead |= set(fault.ids)
            case "error_bits":
                faults.errors.update(dict.fromkeys(fault.ids, Alarm(fault.strength)))
            case "hot":
                for id in fault.ids:
                    self._bus.servos[id].poke(self._heat, fault.strength)
            case "low_voltage":
                self._bus.supply.volts = fault.strength
            case "unplug":
                self._bus.hang_up()
            case "unplug_mid_packet":
                faults.hang_up_after_bytes = fault.strength
            case kind:
                setattr(faults, f"{kind}_probability", fault.strength)

    def _end(self, fault):
        faults = self._bus.faults
        match fault.kind:
            case "delay":
                faults.delay_s = faults.delay_jitter_s = 0.0
            case "usb_latency":
                faults.usb_latency_s = 0.0
            case "dead" | "brownout":
                self._revive(fault)
            case "error_bits":
                for id in fault.ids:
                    del faults.errors[id]
            case "hot":
                for id in fault.ids:
                    self._bus.servos[id].unpin(self._heat)
            case "low_voltage":
                self._bus.supply.volts = self._volts
            case "unplug" | "unplug_mid_packet":
                self._plug(fault)
            case kind:
                setattr(faults, f"{kind}_probability", 0.0)

    def _revive(self, fault):
        """Back on the line; after a brownout as a servo that has just been switched on."""
        if fault.kind == "brownout":
            for id in fault.ids:
                self._bus.servos[id].power_cycle()
        self._bus.faults.dead -= set(fault.ids)

    def _plug(self, fault):
        """In again; a plug that was to be pulled in mid packet may not have been pulled yet."""
        if self._bus.plugged:
            self._bus.faults.hang_up_after_bytes = None
            self._bus.hang_up()
        self._bus.plug(power_cycle=fault.power_cycle)
