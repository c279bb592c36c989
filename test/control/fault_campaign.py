"""Hundreds of random runs of an emulated arm under faults, checked from the servos' own notes.

    python test/control/fault_campaign.py --runs 300 --seed 1 [--jobs 2]
    python test/control/fault_campaign.py --motors xl330-m288 --runs 300
    python test/control/fault_campaign.py --loss [--motors MODEL]

Each run: an emulated arm with gravity on two joints, a real control at 100 or 200 Hz, somebody who
commands and somebody at the switch, and a random script of faults. Then everything must be well
again. Run number i has the seed SEED + i, so `--runs 1 --seed N` repeats one, as far as threads in
real time can be repeated. One line of JSON goes to stdout; violations, each with its seed and what
went on around it, to stderr. The exit status tells whether there were any.

--loss measures how many cycles bring all joints while one request and one reply in ten are lost,
the emulated servos in a process of their own; it says as well what other programs took meanwhile.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from campaign_checks import by_check, check
from campaign_run import JOINTS, Parts, Run

from armlet.control import Arm, Control, ControlSettings, Guard
from armlet.motors import registry
from armlet.motors.emulation.kinds import KINDS
from armlet.sim.calibrations import FOLLOWER


@dataclass
class Result:
    """One run, judged.

    Attributes:
        seed: of the run.
        measured: by name, see campaign_checks.
        violations: how many by check.
        faults: kinds that happened.
        story: what went on, around each violation; empty if there was none.
    """

    seed: int
    measured: dict
    violations: dict
    faults: list
    wild: bool = False
    story: list = field(default_factory=list)


def judged(seed, script=None, parts=None):
    """Carries out one run and judges it."""
    record = Run(seed, script, parts)()
    measured = check(record)
    return Result(
        seed,
        measured,
        by_check(record.violations),
        [fault.kind for fault in record.script],
        record.wild,
        timeline(record),
    )


def timeline(record):
    """Violations and what went on around them, as lines."""
    if not record.violations:
        return []
    begun_s = record.events[0][0]
    lines = sorted(
        [(at_s, f"  {text}") for at_s, text in record.events]
        + [(at_s, f"! {check}: {text}") for check, at_s, text in record.violations]
    )
    damage = "any" if record.wild else "one byte"
    title = (
        f"seed {record.seed}: period {record.period_s} s, velocity {record.velocity:.2f}, "
        f"acceleration {record.acceleration:.0f}, damage {damage}"
    )
    return [title, *(f"{at_s - begun_s:8.4f} {text}" for at_s, text in lines)]


def campaign(seeds, jobs, motors):
    """Results of all runs, as they come in."""
    run = partial(judged, parts=Parts(motors=motors))
    if jobs == 1:
        yield from map(run, seeds)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context) as pool:
        yield from pool.map(run, seeds)


def summary(results):
    """One flat account of many runs."""
    measured = [result.measured for result in results]

    def total(name):
        return sum(each[name] for each in measured)

    recoveries = [each["recovered_s"] for each in measured]
    wild = [r.measured for r in results if r.wild]
    return {
        "runs": len(results),
        "faults": dict(Counter(kind for r in results for kind in r.faults).most_common()),
        "violations": dict(sum((Counter(r.violations) for r in results), Counter())),
        "failed_seeds": [r.seed for r in results if r.violations],
        "cycles": total("cycles"),
        "armed_share": round(total("armed") / total("cycles"), 3),
        "travel_rad": round(total("travel_rad")),
        "states": dict(sum((Counter(each["states"]) for each in measured), Counter())),
        "calls": dict(sum((Counter(each["calls"]) for each in measured), Counter())),
        "complete_share": round(total("complete") / total("cycles"), 4),
        "fresh_values_checked": total("fresh"),
        "line_readings_checked": total("readings"),
        "line_wrong_one_byte": total("line_wrong") - sum(w["line_wrong"] for w in wild),
        "line_wrong_many_bytes": sum(w["line_wrong"] for w in wild),
        "line_readings_many_bytes": sum(w["readings"] for w in wild),
        "telemetry_wrong_many_bytes": sum(w["telemetry_wrong"] for w in wild),
        "held_back_as_implausible": total("implausible"),
        "checksum_errors": total("checksum_errors"),
        "stale_replies_dropped": total("stale"),
        "retries": total("retries"),
        "bus_lost": total("lost"),
        "found_unpowered": total("unpowered"),
        "recovery_s": {
            "median": round(statistics.median(recoveries), 3),
            "worst": round(max(recoveries), 3),
        },
        "worst_cycle_ms": round(1000 * max(each["worst_cycle_s"] for each in measured), 1),
        "worst_stop_ms": round(1000 * max(each["worst_stop_s"] for each in measured), 1),
        "worst_shaft_share": round(max(each["shaft_share"] for each in measured), 3),
    }


_LOSS_ROUNDS = 4

_SERVE = """
import sys
from armlet.motors.emulation import EmulatedBus
from armlet.sim.calibrations import FOLLOWER
with EmulatedBus(link=sys.argv[1], paced=True, motors=sys.argv[3]) as bus:
    for joint in FOLLOWER.values():
        bus.calibrate(joint.id, joint.homing_offset, joint.range_min, joint.range_max)
        bus.servos[joint.id].position = (joint.range_min + joint.range_max) / 2
    print("ready", flush=True)
    sys.stdin.readline()
    bus.faults.request_drop_probability = bus.faults.drop_probability = float(sys.argv[2])
    print("ready", flush=True)
    sys.stdin.readline()
    bus.check()
"""


@dataclass(frozen=True)
class Following:
    """Shares of control cycles: complete with all six joints, and with a goal sent.

    others: share of the machine's time that other programs had meanwhile.
    """

    complete: float
    sent: float
    others: float


def following(rate_hz, cycles, motors, loss=0.1):
    """How an arm is followed while that share of requests, and of replies, is lost."""
    with TemporaryDirectory(prefix="armlet-loss-") as folder:
        link = str(Path(folder) / "arm")
        command = [sys.executable, "-c", _SERVE, link, str(loss), motors]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        with subprocess.Popen(command, text=True, **pipes) as servos:
            assert servos.stdout.readline() == "ready\n"
            family, models = registry.choose(motors, JOINTS)
            arm = Arm(family.make_bus(link), FOLLOWER, models)
            arm.connect()
            arm.configure()
            guard = Guard.from_calibration(FOLLOWER)
            control = Control(arm, guard, ControlSettings(period_s=1 / rate_hz))
            control.torque_on()
            print(file=servos.stdin, flush=True)
            assert servos.stdout.readline() == "ready\n"
            own_s, machine_s = _cpu_s(servos.pid), _machine_s()
            begun_s = time.monotonic()
            complete, sent = _drive(control, cycles)
            taken_s = (time.monotonic() - begun_s) * (os.cpu_count() or 1)
            others_s = (_machine_s() - machine_s) - (_cpu_s(servos.pid) - own_s)
            control.torque_off()
            arm.close()
            servos.stdin.close()
    return Following(complete / cycles, sent / cycles, max(0.0, others_s / taken_s))


def _drive(control, cycles):
    complete = sent = 0
    period_s = control.settings.period_s
    due_s = time.monotonic()
    for cycle in range(cycles):
        time.sleep(max(0.0, due_s - time.monotonic()))
        due_s = max(due_s + period_s, time.monotonic() - period_s)
        if cycle % 2:
            where = 0.2 if cycle * period_s % 2 < 1 else -0.2
            control.command(JOINTS, [where] * len(JOINTS), time.time_ns(), time.time_ns())
        done = control.cycle(time.time_ns())
        complete += done.sample is not None and done.sample.complete
        sent += done.applied is not None
    return complete, sent


def _cpu_s(child):
    """CPU time of this process and of that."""
    fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
    return time.process_time() + (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _machine_s():
    """CPU time of everybody."""
    user, nice, system, _, _, irq, softirq, steal = map(
        int, Path("/proc/stat").read_text().split("\n")[0].split()[1:9]
    )
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def _quietest(rate_hz, motors):
    """Of several measurements of five seconds, the one that others disturbed least."""
    measured = [following(rate_hz, 5 * rate_hz, motors) for _ in range(_LOSS_ROUNDS)]
    return min(measured, key=lambda each: each.others)


def main(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument(
        "--motors", choices=sorted(KINDS), default="sts3215", help="model of the servos"
    )
    parser.add_argument("--loss", action="store_true", help="measure following under loss instead")
    options = parser.parse_args(arguments)
    if options.loss:
        measured = {f"{hz} Hz": asdict(_quietest(hz, options.motors)) for hz in (100, 200)}
        print(json.dumps({"motors": options.motors, "loss": 0.1, "cycles": measured}))
        return 0
    results = []
    seeds = range(options.seed, options.seed + options.runs)
    for result in campaign(seeds, options.jobs, options.motors):
        results.append(result)
        for line in result.story:
            print(line, file=sys.stderr, flush=True)
    print(json.dumps({"motors": options.motors, **summary(results)}))
    return 1 if any(result.violations for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
