"""What must be true of a run of the fault campaign, judged from the servos' own notes."""

import math
from collections import Counter, defaultdict
from itertools import pairwise

import numpy as np
from campaign_run import ARMED, JOINTS
from fault_script import DEAFENING
from recorded_arm import CALIBRATION, IDS, apart

from armlet.control import State
from armlet.motors.emulation.dynamics import NO_LOAD_SPEED
from armlet.motors.protocol import Quantity
from armlet.robots.units import RADIANS_PER_TICK

CYCLE_S = 0.5
"""A cycle takes answer_share of its period and one small transaction: 30 ms at the very most. The
rest is for a computer that does other things; when it stood still, so much longer."""

STOP_S = 0.5
"""A stop waits for the transaction in progress: a timeout of 20 ms at most. The rest as above."""

RECOVERY_S = 2.0
"""From the end of the faults to a reading of all joints: a lost bus is found. The rest as above."""

STALLS = 3
"""Threads that have to run one after the other: who waits, who answers, who asks."""

ASKED_S = 0.1
"""What a cycle that a servo did not answer adds to its silence, at most: see control/answers.py."""

ROUNDING_TICKS = 1.0
"""Two goals, each off by half a tick."""

FOLLOWING = 1.25
"""A servo that gets goals in lumps, because some were lost, makes up for them a little faster."""

_UNIX_S = 0.005
_READ_S = 0.1
_LATE_S = 0.1
_WRITTEN_S = 0.02
_SENT_S = 0.5
_RECOVERING_S = 0.5
_AT_GOAL_TICKS = 30
_EPS_S = 1e-6
_CENTERS = np.array([(j.range_min + j.range_max) / 2 for j in CALIBRATION.values()])
_HEALTH = {
    "load": Quantity.LOAD,
    "voltage_v": Quantity.VOLTAGE,
    "temperature_c": Quantity.TEMPERATURE,
    "current_a": Quantity.CURRENT,
    "torque_enabled": Quantity.TORQUE_ENABLED,
    "moving": Quantity.MOVING,
}


def check(record):
    """Runs all checks; adds to the record's violations. Returns measurements by name."""
    check_values(record)
    telemetry_wrong = check_telemetry(record)
    check_line(record)
    check_sent(record)
    check_limits(record)
    check_steps(record)
    check_age(record)
    check_states(record)
    check_torque(record)
    shaft = check_shafts(record)
    worst_s = check_cycles(record)
    check_recovery(record)
    return {
        "cycles": len(record.cycles),
        "fresh": sum(int(n.sample.fresh.sum()) for n in record.cycles if n.sample is not None),
        "complete": sum(n.sample is not None and n.sample.complete for n in record.cycles),
        "readings": record.checked.readings,
        "line_wrong": len(record.checked.wrong),
        "telemetry_wrong": telemetry_wrong,
        "implausible": record.implausible,
        "recovered_s": record.recovered_s,
        "worst_cycle_s": worst_s,
        "worst_stop_s": check_stops(record),
        "shaft_share": shaft,
        "checksum_errors": record.counters.checksum_errors,
        "stale": record.counters.stale_replies,
        "retries": record.counters.retries,
        "lost": record.counts.lost,
        "unpowered": record.counts.unpowered,
        "armed": sum(note.state in ARMED for note in record.cycles),
        "travel_rad": _travel_rad(record),
        "states": dict(Counter(state.value for state in _visited(record))),
        "calls": dict(
            Counter(f"{c.what} {'fails' if c.error else 'succeeds'}" for c in record.calls)
        ),
    }


def _visited(record):
    """States in the order in which they came about."""
    states = [note.state for note in record.cycles]
    return [now for last, now in zip([None, *states], states, strict=False) if now is not last]


def _travel_rad(record):
    """How far all goals went in sum."""
    goals = np.array([note.applied for note in record.cycles if note.applied is not None])
    return float(np.abs(np.diff(goals, axis=0)).sum()) if len(goals) else 0.0


# --- nothing wrong is reported ------------------------------------------------------------------


def check_values(record):
    """A fresh joint's value is what its servo said within this very cycle; others are as before."""
    last = [(math.nan, math.nan, 0)] * len(JOINTS)
    for note in record.cycles:
        sample = note.sample
        if sample is None:
            continue
        stamp_s = sample.stamp_ns * 1e-9 - record.unix_s
        if not note.begun_s - _UNIX_S <= stamp_s <= note.ended_s + _UNIX_S:
            record.violate("values", f"stamp {stamp_s - note.begun_s:.4f} s off", note.begun_s)
        ticks = sample.position / RADIANS_PER_TICK + _CENTERS
        speeds = sample.velocity / RADIANS_PER_TICK
        for i, (joint, id) in enumerate(zip(JOINTS, IDS, strict=True)):
            if sample.fresh[i]:
                last[i] = (sample.position[i], sample.velocity[i], sample.stamps_ns[i])
                said = record.servos[id].said_between(note.begun_s, note.ended_s)
                if not _among(record.model, said, ticks[i], speeds[i]):
                    near = [_motion(record.model, each) for each in said]
                    record.violate(
                        "values",
                        f"{joint}: {ticks[i]:.2f} ticks, {speeds[i]:.2f} ticks/s were reported; "
                        f"the servo said {near}",
                        note.ended_s,
                    )
            elif not math.isnan(sample.position[i]):
                aged = sample.position[i], sample.velocity[i], sample.stamps_ns[i]
                if aged != last[i] and not _was_said(record, id, ticks[i], aged[2]):
                    record.violate("values", f"{joint} is aged, and never was so", note.ended_s)
                last[i] = aged


def _was_said(record, id, ticks, stamp_ns):
    """Whether it was read around that time: torque_on reads as well, outside of cycles."""
    stamp_s = stamp_ns * 1e-9 - record.unix_s
    said = record.servos[id].said_between(stamp_s - _READ_S, stamp_s + _READ_S)
    places = (_motion(record.model, each)[0] for each in said)
    return any(p is not None and abs(apart(record.model, p, ticks)) < 1e-6 for p in places)


def _motion(model, said):
    """Ticks and ticks/s in a reply, None for what it does not hold."""
    measures = [model.measures[q] for q in (Quantity.POSITION, Quantity.VELOCITY)]
    counts = [said.value(measure.register) for measure in measures]
    return tuple(
        None if count is None else measure.value(count)
        for measure, count in zip(measures, counts, strict=True)
    )


def _among(model, said, ticks, speed):
    motions = [_motion(model, each) for each in said]
    return any(
        abs(apart(model, place, ticks)) < 1e-6 and abs(fast - speed) < 1e-6
        for place, fast in motions
        if place is not None and fast is not None
    )


def check_telemetry(record):
    """A joint's other readings are what its servo said within the cycle that took them.

    They jump as they like, so that damage a checksum misses cannot be recognised: returns how many.
    """
    last, wrong = {}, 0
    full = record.settings.feedback == "full"
    for note in record.cycles:
        for joint, telemetry in note.telemetry.items():
            if telemetry is last.get(joint):
                continue
            last[joint] = telemetry
            servo = record.servos[CALIBRATION[joint].id]
            said = servo.said_between(note.begun_s, note.ended_s)
            if _was_health(record.model, said, telemetry, full):
                continue
            wrong += 1
            if not record.wild:
                record.violate("telemetry", f"{joint}: {telemetry} was not said", note.ended_s)
    return wrong


def _was_health(model, said, telemetry, full):
    """Whether replies had each reading: one reply all of them, or several in what they hold."""
    readings = {
        name: (model.measures[quantity], getattr(telemetry, name))
        for name, quantity in _HEALTH.items()
        # Torque is not asked for in every cycle: it is as telemetry found it last.
        if quantity in model.measures and not (name == "torque_enabled" and full)
    }
    complete = [
        s for s in said if all(s.value(m.register) is not None for m, _ in readings.values())
    ]
    if complete:
        return any(all(_has(each, *r) for r in readings.values()) for each in complete)
    return all(any(_has(each, *reading) for each in said) for reading in readings.values())


def _has(said, measure, wanted):
    count = said.value(measure.register)
    return count is not None and math.isclose(measure.value(count), wanted, abs_tol=1e-6)


def check_line(record):
    """Damage to one byte of a packet never passes; to more of it, once in a while: counted only."""
    if not record.wild:
        for wrong in record.checked.wrong:
            record.violate("line", wrong.text, wrong.at_s)


# --- nothing wrong is sent ------------------------------------------------------------------


def _applied(record):
    """Decision time and ticks of every goal sent, oldest first."""
    found = []
    for note in record.cycles:
        if note.applied is not None:
            ticks = note.applied / RADIANS_PER_TICK + _CENTERS
            if not np.isfinite(ticks).all() or np.abs(ticks - np.rint(ticks)).max() > 1e-6:
                record.violate("sent", f"goals {ticks} are no ticks", note.decided_s)
            found.append((note.decided_s, np.rint(ticks)))
    return found


def check_sent(record):
    """Every goal that reached a servo under torque is the goal a cycle says it sent."""
    applied = _applied(record)
    lost_s = [n.begun_s for n in record.cycles if n.state is State.LOST]
    for i, id in enumerate(IDS):
        at = 0
        for write in record.servos[id].written:
            if (
                write.goal is None
                or not write.torque_was_on
                or _within_call(record, "torque_on", write.at_s)
            ):
                continue
            found = next(
                (
                    k
                    for k in range(at, len(applied))
                    if write.at_s - _SENT_S <= applied[k][0] <= write.at_s
                    and not apart(record.model, applied[k][1][i], write.goal)
                ),
                None,
            )
            if found is not None:
                at = found + 1
            elif not any(0 <= write.at_s - begun_s < _SENT_S for begun_s in lost_s):
                record.violate(
                    "sent", f"{JOINTS[i]} got goal {write.goal}, which was not sent", write.at_s
                )


def _within_call(record, what, at_s):
    return any(c.what == what and c.begun_s <= at_s <= c.ended_s for c in record.calls)


def check_limits(record):
    """Goals under torque are in the calibrated range, or between it and where torque came on."""
    for joint, calibration in CALIBRATION.items():
        low, high = calibration.range_min, calibration.range_max
        middle = (low + high) / 2
        start = goal = None
        for write in record.servos[calibration.id].written:
            if write.address == record.model.torque_enable.address and write.data[0] == 1:
                start = goal
            if write.goal is None:
                continue
            # Of a servo that counts turns, in whichever it counts.
            goal = round(middle + apart(record.model, write.goal, middle))
            if not write.torque_was_on or _within_call(record, "torque_on", write.at_s):
                continue
            allowed = (low, high) if start is None else (min(low, start), max(high, start))
            if not allowed[0] <= goal <= allowed[1]:
                record.violate("limits", f"{joint} got goal {goal} outside {allowed}", write.at_s)


def check_steps(record):
    """Successive goals obey the limits of velocity and acceleration by the time they went by.

    A cycle that comes late catches up with no more than max_step_s. Joints whose torque was off in
    between are left out, and goals that are where the joint stands (its overload is being
    recovered, and that its torque is back is not read back yet): the motor does nothing for them.
    """
    applied = _applied(record)
    top = record.velocity / RADIANS_PER_TICK
    change = record.acceleration / RADIANS_PER_TICK
    max_step_s = record.settings.max_step_s
    decided = [note.decided_s for note in record.cycles]
    speeds = np.full(len(JOINTS), np.nan)
    rounding = np.zeros(len(JOINTS))
    for (last_s, last), (now_s, now) in pairwise(applied):
        dt_s = min(now_s - last_s, max_step_s)
        if dt_s <= _EPS_S or _armed_between(record, last_s, now_s):
            speeds[:] = np.nan
            continue
        withheld = sum(last_s < each < now_s for each in decided) > 0
        for i, id in enumerate(IDS):
            servo, step = record.servos[id], now[i] - last[i]
            stands = _stands_there(record.model, servo, now_s, now[i])
            if stands or not _on_throughout(servo, last_s, now_s):
                speeds[i] = math.nan
                continue
            if abs(step) > top * dt_s + ROUNDING_TICKS:
                record.violate(
                    "steps",
                    f"{JOINTS[i]} was sent {step:.0f} ticks further in {1000 * dt_s:.2f} ms: "
                    f"{abs(step) / dt_s / top:.2f} of the velocity allowed",
                    now_s,
                )
            speed, slack = step / dt_s, ROUNDING_TICKS / dt_s
            stopped = withheld and abs(step) <= ROUNDING_TICKS
            jerk = abs(speed - speeds[i])
            if not stopped and jerk > change * dt_s + slack + rounding[i]:
                record.violate(
                    "steps",
                    f"{JOINTS[i]} changed its velocity by {jerk:.0f} ticks/s in "
                    f"{1000 * dt_s:.2f} ms, where {change * dt_s:.0f} are allowed",
                    now_s,
                )
            speeds[i], rounding[i] = (0.0 if stopped else speed), slack


def _armed_between(record, start_s, end_s):
    return any(
        c.what == "torque_on" and c.ended_s >= start_s and c.begun_s <= end_s for c in record.calls
    )


def _stands_there(model, servo, sent_s, goal):
    """Whether torque had just come on, and the goal was where the shaft was when it was written."""
    if not any(s.on and 0 <= sent_s - s.time < _RECOVERING_S for s in servo.torque_log):
        return False
    written = [
        write
        for write in servo.written
        if 0 <= write.at_s - sent_s < _WRITTEN_S
        and write.goal is not None
        and not apart(model, write.goal, goal)
    ]
    return all(abs(apart(model, write.position, goal)) < _AT_GOAL_TICKS for write in written)


def _on_throughout(servo, start_s, end_s):
    log = tuple(servo.torque_log)
    return servo.was_on(start_s) and not any(start_s <= s.time <= end_s for s in log)


def check_age(record):
    """No goal goes out while a joint's last reading is older than max_state_age_s.

    Nor is the arm armed while a joint has been silent for longer than silence_s, in cycles that
    asked it: a cycle that came late, on a busy computer, counts for no more than ASKED_S.
    A torque_on reads all joints at some time before it returns.
    """
    seen = np.full(len(JOINTS), -math.inf)
    calls = sorted([c for c in record.calls if c.what == "torque_on"], key=lambda c: c.begun_s)
    silent_s, last_s, arming = np.zeros(len(JOINTS)), math.inf, None
    for note in record.cycles:
        while calls and calls[0].begun_s <= note.ended_s:
            arming = calls.pop(0)
        if arming is not None:
            seen[:] = last_s = min(arming.ended_s, note.decided_s)
            silent_s[:] = 0.0
            arming = None if arming.ended_s <= note.ended_s else arming
        age_s = note.decided_s - seen
        if note.applied is not None and age_s.max() > record.settings.max_state_age_s + _EPS_S:
            joint = JOINTS[int(age_s.argmax())]
            record.violate(
                "age", f"a goal was sent, but {joint} is {age_s.max():.3f} s old", note.decided_s
            )
        passed_s, last_s = note.decided_s - last_s, note.decided_s
        if _within_call(record, "torque_off", note.ended_s):
            continue  # no cycle takes place then
        silent_s += min(max(passed_s, 0.0), ASKED_S)
        if note.sample is not None:
            seen[note.sample.fresh] = note.decided_s
            silent_s[note.sample.fresh] = 0.0
        silent = silent_s > record.settings.silence_s + _EPS_S
        if silent.any() and note.state in ARMED:
            record.violate("state", f"armed, but {_named(silent)} are silent", note.ended_s)


def _named(mask):
    return [joint for joint, is_so in zip(JOINTS, mask, strict=True) if is_so]


# --- torque and states ----------------------------------------------------------------------


def check_states(record):
    """Only torque_on arms it; after a stop that failed, "not armed" means torque off."""
    for last, note in pairwise(record.cycles):
        if note.state in ARMED and last.state not in ARMED:
            armed = any(
                c.what == "torque_on" and c.ended_s >= last.begun_s and c.begun_s <= note.ended_s
                for c in record.calls
            )
            if not armed:
                record.violate(
                    "state", f"{last.state.value} became {note.state.value}", note.ended_s
                )
    _check_unproven(record)


def _check_unproven(record):
    """Once a stop was asked for, and until torque_on is called, UNARMED means no torque at all."""
    offs = [call for call in record.calls if call.what == "torque_off" and call.error is not None]
    ons = [call.begun_s for call in record.calls if call.what == "torque_on"]
    for call in offs:
        if call.state not in (State.UNPROVEN, State.LOST):
            record.violate("state", f"torque_off failed, but: {call.state.value}", call.ended_s)
        until_s = min([s for s in ons if s >= call.ended_s], default=math.inf)
        for note in record.cycles:
            if (
                call.ended_s <= note.begun_s
                and note.ended_s < until_s
                and note.state not in (State.UNPROVEN, State.LOST, State.SILENT)
            ):
                on = _on_at(record, note.ended_s)
                if on:
                    record.violate(
                        "torque",
                        f"{note.state.value}, but {on} have torque since a stop that failed",
                        note.begun_s,
                    )
                break


def _on_at(record, at_s):
    return [j for j, c in CALIBRATION.items() if record.servos[c.id].was_on(at_s)]


def check_torque(record):
    """Torque comes on in torque_on, or while armed to recover a joint; never after a stop."""
    for joint, calibration in CALIBRATION.items():
        for switch in tuple(record.servos[calibration.id].torque_log):
            if switch.on and not _may_come_on(record, switch.time):
                record.violate("torque", f"{joint}'s torque came on by itself", switch.time)
    for call in record.calls:
        on = [j for j, is_on in zip(JOINTS, call.torque, strict=True) if is_on]
        if call.what == "torque_off" and call.error is None and on:
            record.violate("torque", f"torque_off returned, but {on} have torque", call.ended_s)
    _check_failed_arming(record)


def _check_failed_arming(record):
    """After a torque_on that failed there is no torque, or the state says that it is unknown.

    The port may have been lost in it; that shows in the next cycle.
    """
    for call in record.calls:
        refused = call.state is State.LOST and "bus is lost" in str(call.error)
        if call.what != "torque_on" or call.error is None or call.state in ARMED or refused:
            continue
        after = [n for n in record.cycles if n.ended_s >= call.ended_s]
        if not after or _armed_between(record, call.ended_s + _EPS_S, after[0].ended_s):
            continue
        on = _on_at(record, call.ended_s)
        if on and after[0].state not in (State.UNPROVEN, State.LOST):
            record.violate(
                "torque",
                f"torque_on failed ({call.error}) and left torque on {on}, "
                f"but: {after[0].state.value}",
                call.ended_s,
            )


def _may_come_on(record, at_s):
    calls = [call for call in record.calls if call.begun_s <= at_s]
    if any(call.what == "torque_on" and at_s <= call.ended_s for call in calls):
        return True
    over = [call for call in calls if call.ended_s <= at_s]
    armed = bool(over) and over[-1].what == "torque_on" and over[-1].error is None
    before = [note for note in record.cycles if note.ended_s <= at_s]
    return armed and bool(before) and before[-1].state in ARMED


def check_stops(record):
    """A stop is heard at once, unless just then the line loses what is sent. Returns the longest
    time to the first servo's torque, seconds."""
    worst_s = 0.0
    for call in record.calls:
        if call.what != "torque_off" or call.before is State.LOST or _deaf(record, call):
            continue
        heard = [
            write.at_s
            for servo in record.servos.values()
            for write in servo.written
            if write.address == record.model.torque_enable.address
            and call.begun_s <= write.at_s <= call.ended_s
        ]
        taken_s = min(heard, default=math.inf) - call.begun_s
        worst_s = max(worst_s, taken_s)
        allowed_s = STOP_S + STALLS * record.pulse.stalled_s(call.begun_s, call.ended_s)
        if taken_s > allowed_s:
            record.violate(
                "stop", f"torque_off reached a servo after {taken_s:.3f} s", call.ended_s
            )
    return worst_s


def _deaf(record, call):
    """Whether during a call something keeps servos from hearing."""
    start_s, end_s = call.begun_s - record.faults_begun_s, call.ended_s - record.faults_begun_s
    return any(
        fault.kind in DEAFENING and began_s <= end_s + _LATE_S and start_s <= ended_s + _LATE_S
        for fault, began_s, ended_s in record.fault_spans
    )


# --- motion and time ------------------------------------------------------------------------


def check_shafts(record):
    """Under torque shafts are no faster than the goals may be, and what their load pulls.

    Returns the largest share of the velocity allowed.
    """
    worst = 0.0
    for id in IDS:
        servo = record.servos[id]
        load = abs(servo.load) * NO_LOAD_SPEED
        allowed = record.velocity / RADIANS_PER_TICK * FOLLOWING + load
        goals = [write for write in servo.written if write.goal is not None]
        for last, now in pairwise(goals):
            dt_s = now.at_s - last.at_s
            if dt_s < record.period_s / 2 or not _on_throughout(servo, last.at_s, now.at_s):
                continue
            speed = abs(now.position - last.position) / dt_s
            worst = max(worst, speed / allowed)
            if speed > allowed:
                record.violate(
                    "shafts", f"servo {id} at {speed:.0f} ticks/s, allowed {allowed:.0f}", now.at_s
                )
    return worst


def check_cycles(record):
    """No cycle that nothing else held up takes long. Returns the longest, seconds."""
    worst_s = 0.0
    for note in record.cycles:
        if any(c.begun_s <= note.ended_s and note.begun_s <= c.ended_s for c in record.calls):
            continue
        taken_s = note.ended_s - note.begun_s
        worst_s = max(worst_s, taken_s)
        allowed_s = CYCLE_S + STALLS * record.pulse.stalled_s(note.begun_s, note.ended_s)
        if taken_s > allowed_s:
            record.violate("hangs", f"a cycle took {taken_s:.3f} s", note.ended_s)
    return worst_s


def check_recovery(record):
    """All joints are read again soon after the faults."""
    ended_s, taken_s = record.faults_ended_s, record.recovered_s
    if taken_s > RECOVERY_S + STALLS * record.pulse.stalled_s(ended_s, ended_s + taken_s):
        record.violate("recovery", f"no complete reading for {taken_s:.2f} s", ended_s)


def by_check(violations):
    """How many violations of each check."""
    counts = defaultdict(int)
    for check, _, _ in violations:
        counts[check] += 1
    return dict(counts)
