"""The fault campaign against the real servo_bus process, judged from the servos' own notes.

    python test/nodes/node_campaign.py --runs 20 --seed 1
    python test/nodes/node_campaign.py --motors xl330-m288 --runs 20

Each run: an emulated arm, a servo_bus process, random faults while commands are published and the
arm is armed again whenever it is not; then all is well for a moment, and then an end on a bad line:
a stop, a signal, a kill, an unplugged cable, or the death of those who command. One line of JSON
goes to stdout, violations to stderr; the exit status tells whether there were any.
"""

import argparse
import json
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import pairwise, takewhile
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_msgs.msg import String

from armlet.align import Commander, CommandSource
from armlet.client.graph import GraphError
from armlet.motors.emulation.kinds import KINDS
from armlet.motors.protocol import Quantity
from armlet.nodes.messages import to_ns
from armlet.nodes.node import LATCHED_QOS, STATE_QOS
from armlet.nodes.teardown import destroy
from armlet.priority import Role, raise_process
from armlet.robots.units import RADIANS_PER_TICK, limits_radians

sys.path += [str(Path(__file__).resolve().parents[1] / room) for room in ("control", "")]

from domains import own_domain
from fault_script import FaultInjector, random_script
from node_processes import follower, running
from recorded_arm import CALIBRATION, IDS, apart, recorded_bus, seeded
from thread_times import passed, thread_times

JOINTS = tuple(CALIBRATION)
PERIOD_S = 0.01
WAIT_S = 120.0
"""For what must come about and stay: by the wall clock, so generous; no computer is that busy."""

AT_REST = 20
"""Cycles of one goal: braking takes a few."""

RECOVERY_S = 2.0
"""Without what the driver and the emulated servos waited for a processor; so is STOP_S."""

READ_S = 0.06
"""A reading's stamp is midway between request and reply, and a transaction has a timeout of 20 ms
at most and the cycle; the rest is what a busy computer adds."""

STOP_S = 0.5
"""From the request of a service to the servo: 30 ms at most for one cycle and a transaction; the
rest is DDS, and a stop that is lost on the line and sent again."""

WATCHDOG_S = 15.0
ENDINGS = ("stop", "terminate", "kill", "unplug", "peers")
_CENTERS = [(joint.range_min + joint.range_max) / 2 for joint in CALIBRATION.values()]
_ARMED = ("holding", "following")
_HOLD = str(CommandSource(Commander.HOLD))
_MAX_VELOCITY = 3.0


@dataclass
class Seen:
    """What a run brought.

    Attributes:
        states: (stamp s, names, positions) of the messages, the stamps monotonic time.
        applied: likewise, and who commanded it, as the driver says.
        calls: (service, begun s, ended s).
        violations: (check, words).
        events: (s, words).
        measured: numbers by name.
    """

    states: list = field(default_factory=list)
    applied: list = field(default_factory=list)
    calls: list = field(default_factory=list)
    violations: list = field(default_factory=list)
    events: list = field(default_factory=list)
    measured: dict = field(default_factory=dict)
    status: str = ""

    def note(self, text):
        self.events.append((time.monotonic(), text))

    def violate(self, check, text):
        self.violations.append((check, text))
        self.note(f"! {check}: {text}")


@contextmanager
def _listening(seen):
    """Everything servo_bus publishes, partial messages as well. rclpy is running."""
    unix_s = time.time() - time.monotonic()
    node = Node("listener")

    def parts(message):
        stamp_s = to_ns(message.header.stamp) * 1e-9 - unix_s
        return stamp_s, tuple(message.name), tuple(message.position)

    def on_state(message):
        seen.states.append(parts(message))

    def on_applied(message):
        seen.applied.append((*parts(message), message.header.frame_id))

    def on_status(message):
        seen.status = message.data
        seen.note(f"status: {message.data}")

    node.create_subscription(JointState, "joint_states", on_state, STATE_QOS)
    node.create_subscription(JointState, "applied_joint_commands", on_applied, STATE_QOS)
    node.create_subscription(String, "servo_bus/status", on_status, LATCHED_QOS)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    thread = threading.Thread(target=executor.spin, name="listener", daemon=True)
    thread.start()
    try:
        yield
    finally:
        executor.shutdown()
        thread.join()
        destroy(node)


class NeverCame(Exception):
    """What was waited for did not come about: a violation, and the run's end."""


class NodeRun:
    """One run; `seen` is what it brought.

    Args:
        seed: of everything that is random.
        ending: one of ENDINGS.
        horizon_s: how long faults go on.
        motors: model of the servos.
    """

    def __init__(self, seed, ending, horizon_s=1.5, motors="sts3215"):
        self.seed, self.ending, self._horizon_s = seed, ending, horizon_s
        self._motors, self._model = motors, KINDS[motors].model
        self.seen = Seen()
        self._dice = seeded(f"node {seed}")
        self._lower, self._upper = limits_radians(CALIBRATION)

    def __call__(self):
        with (
            TemporaryDirectory(prefix="armlet-node-campaign-") as folder,
            recorded_bus(self._dice, f"{folder}/follower", motors=self._motors) as self._bus,
        ):
            spec = follower(
                f"{folder}/follower",
                motors=self._motors,
                rate_hz=1 / PERIOD_S,
                max_velocity_rad_s=_MAX_VELOCITY,
                ramp_velocity_rad_s=2.0,
            )
            with (
                running([spec]) as self._graph,
                _listening(self.seen),
                suppress(NeverCame),
            ):
                self._run()
            self._bus.check()
        self._check_values()
        self._check_goals()
        self._check_arming()
        return self.seen

    # --- what goes on -----------------------------------------------------------------------

    @property
    def _process(self):
        return self._graph.processes["servo_bus"]

    def _run(self):
        self._await("the arm to be armed", self._begins)
        dice = seeded(f"faults {self.seed}")
        script = random_script(dice, self._horizon_s, IDS, self.seed % 2 == 0)
        self.seen.measured["faults"] = [fault.kind for fault in script]
        injector = FaultInjector(self._bus, script, self.seen.note)
        injector.start()
        while injector.ended_s > time.monotonic():
            self._command()
            if not self._says(*_ARMED) and self._dice.random() < 0.05:
                self._call("set_torque")
            time.sleep(0.03)
        injector.join()
        self._await_recovery(injector.ended_s)
        if self._process.poll() is not None:
            self.seen.violate("process", f"it ended with {self._process.returncode}")
            return
        self._arm()
        getattr(self, f"_end_by_{self.ending}")()

    def _command(self):
        director, dice = self._graph.director, self._dice
        spread = np.array([dice.random() for _ in JOINTS])
        where = self._lower - 0.2 + spread * (self._upper - self._lower + 0.4)
        if dice.random() < 0.1:
            where[dice.randrange(6)] = float("nan")
        if dice.random() < 0.1:
            director.follow(JOINTS, 0.5, np.stack([where, where * 0.5]))
        elif dice.random() < 0.7:
            director.command(JOINTS, where)

    def _says(self, *words):
        return self.seen.status.startswith(words)

    def _call(self, service):
        begun_s = time.monotonic()
        director = self._graph.director
        name = f"servo_bus/{service}"
        self.seen.note(f"{service} ...")
        try:
            answer = director.trigger(name) if service == "stop" else director.set(name, True)
        except GraphError as error:
            answer = f"failed: {error}"
        self.seen.calls.append((service, begun_s, time.monotonic()))
        self.seen.note(f"{service}: {answer}")
        return not answer.startswith("failed")

    def _await(self, what, ready):
        deadline = time.monotonic() + WAIT_S
        while not ready():
            if time.monotonic() > deadline:
                said, torque = self.seen.status, self._torque()
                self.seen.violate(
                    "waiting", f"{what} did not come about; it says {said!r}, torque {torque}"
                )
                raise NeverCame(what)
            time.sleep(0.005)

    def _begins(self):
        """A busy computer may keep the emulated servos from answering; then it is armed again."""
        if self._says("not armed: "):
            self._arm()
        return self._says("holding")

    def _await_recovery(self, ended_s):
        seen, processor = self.seen, self._times()

        def complete():
            # All since then: this thread may look long after they came.
            since = takewhile(lambda state: state[0] >= ended_s, reversed(seen.states))
            return [s for s, names, _ in since if len(names) == 6]

        self._await("complete joint_states", lambda: complete() or self._process.poll() is not None)
        recovered_s = min(complete(), default=float("inf")) - ended_s
        seen.measured["recovered_s"] = recovered_s
        if recovered_s > RECOVERY_S + self._waited_s(processor):
            seen.violate("recovery", f"no complete joint_states for {recovered_s:.2f} s")

    def _times(self):
        """Of the threads of the driver, and of this process, which has the emulated servos."""
        return [thread_times(process) for process in (self._process.pid, "self")]

    def _waited_s(self, before):
        """How long they have waited for a processor since."""
        return sum(passed(*pair)[1] for pair in zip(before, self._times(), strict=True))

    def _arm(self):
        """A servo that had lost its power is found by its telemetry; then it has to be armed."""

        def armed():
            if not self._is_armed():
                self._call("set_torque")
                time.sleep(0.2)
            return self._is_armed()

        self._await("an armed arm", armed)

    def _is_armed(self):
        return all(self._torque()) and self._says(*_ARMED)

    def _torque(self):
        """Of servos between two commands: what one has just obeyed it may have yet to note."""
        found = []
        for servo in self._bus.servos.values():
            with servo._lock:
                found.append(servo.torque_on)
        return found

    # --- how it ends ------------------------------------------------------------------------

    def _spoil_the_line(self):
        faults = self._bus.faults
        faults.drop_probability = faults.request_drop_probability = 0.1
        faults.flip_probability = faults.duplicate_probability = 0.1
        faults.delay_s, faults.delay_probability = 0.005, 0.2
        self.seen.note("the line is bad")

    def _clear_the_line(self):
        faults = self._bus.faults
        faults.drop_probability = faults.request_drop_probability = 0.0
        faults.flip_probability = faults.duplicate_probability = faults.delay_s = 0.0

    def _end_by_stop(self):
        self._spoil_the_line()
        time.sleep(0.2)
        begun_s, processor = time.monotonic(), self._times()
        proven = self._call("stop")
        if proven and any(self._torque()):
            self.seen.violate("torque", f"stop was answered, torque {self._torque()}")
        # A busy computer may keep the emulated servos from hearing it, and the proof from coming.
        self._await("torque to go off", lambda: not any(self._torque()))
        bound_s = STOP_S + self._waited_s(processor)
        self.seen.measured["stop_s"] = self._released_after_s(begun_s, bound_s)

    def _end_by_terminate(self):
        self._spoil_the_line()
        begun_s = time.monotonic()
        self._process.send_signal(self._dice.choice((signal.SIGTERM, signal.SIGINT, signal.SIGHUP)))
        self._await_the_end()
        status = self._process.poll()
        self.seen.measured["terminated_s"] = self._released_after_s(begun_s, WATCHDOG_S)
        if status != 0 or any(self._torque()):
            self.seen.violate("torque", f"ended with {status}, torque {self._torque()}")

    def _end_by_kill(self):
        self._spoil_the_line()
        begun_s = time.monotonic()
        self._process.kill()
        self._await_the_end()
        self._await("the watchdog to cut torque", lambda: not any(self._torque()))
        self.seen.measured["guarded_s"] = self._released_after_s(begun_s, WATCHDOG_S)

    def _end_by_unplug(self):
        """Nothing can cut torque while the cable is out; that it is in again is noticed."""
        self._bus.hang_up()
        self._await("the loss to be reported", lambda: self._says("bus lost"))
        self._process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        if not all(self._torque()):
            self.seen.violate("torque", "a servo without a line let go")
        self._bus.plug()
        begun_s = time.monotonic()
        self._await("torque to be cut", lambda: not any(self._torque()))
        self._await_the_end()
        self.seen.measured["replugged_s"] = self._released_after_s(begun_s, WATCHDOG_S)

    def _await_the_end(self):
        self._await("the driver to end", lambda: self._process.poll() is not None)

    def _end_by_peers(self):
        """Who commands is killed: the arm goes on holding, armed, whatever the line does.

        One commands at a time: another one would have the arm as soon as the first falls silent.
        """
        self.seen.measured["held"] = []
        self._await("the campaign's own commands to end", self._rests)
        peers = [
            subprocess.Popen([sys.executable, "-c", _PEER, kind], stdin=subprocess.PIPE)
            for kind in ("command", "follow")
        ]
        try:
            for peer, topic in zip(peers, ("joint_commands", "joint_trajectory"), strict=True):
                peer.stdin.write(b"begin\n")
                peer.stdin.flush()
                self._await_following(topic)
                self._spoil_the_line()
                peer.kill()
                peer.wait()
                self._await("the arm to hold", self._rests)
                self.seen.measured["held"].append(self._says("holding"))
                self._clear_the_line()
                if not all(self._torque()):
                    self.seen.violate("torque", "it let go when its commander was killed")
        finally:
            for peer in peers:
                peer.kill()
                peer.communicate()
        self._stays()

    def _await_following(self, topic):
        """Armed again if need be: a busy computer may keep the emulated servos from answering."""

        def follows():
            self._arm()
            return self._follows(topic)

        self._await(f"{topic} being followed", follows)

    def _follows(self, topic):
        return self._says(f"following {topic}")

    def _rests(self):
        """It holds, and has for some cycles, at one goal. Where it is not armed it has no goal."""
        if not self._says(*_ARMED):
            return True
        lasts = {(goals, source) for *_, goals, source in self.seen.applied[-AT_REST:]}
        return self._says("holding") and [source for _, source in lasts] == [_HOLD]

    def _stays(self):
        """The next goals are the same."""
        before = len(self.seen.applied)
        self._await(
            "goals of an arm that holds",
            lambda: len(self.seen.applied) >= before + AT_REST or not self._says(*_ARMED),
        )
        lasts = np.array([goals for *_, goals, _ in self.seen.applied[before - 1 :]])
        if np.ptp(lasts, axis=0).max() > 2 * RADIANS_PER_TICK:
            self.seen.violate("goals", "it moves though nobody commands")

    def _released_after_s(self, begun_s, bound_s):
        """Until the last servo let go of those that held on."""
        taken_s = 0.0
        for servo in self._bus.servos.values():
            if servo.was_on(begun_s):
                offs = [s.time for s in servo.torque_log if not s.on and s.time >= begun_s]
                taken_s = max(taken_s, min(offs, default=float("inf")) - begun_s)
        if taken_s > bound_s:
            self.seen.violate("torque", f"the last servo let go after {taken_s:.2f} s")
        return taken_s

    # --- what must be true ------------------------------------------------------------------

    def _check_values(self):
        """Every position published is one that the servo reported at the time of its stamp.

        Where the computer kept one of the processes from running, that is since the message before
        and until the message after.
        """
        seen, checked, model = self.seen, 0, self._model
        measure = model.measures[Quantity.POSITION]
        servos = [self._bus.servos[id] for id in IDS]
        times = [stamp_s for stamp_s, _, _ in seen.states]
        befores, afters = [0.0, *times[:-1]], [*times[1:], float("inf")]
        for before_s, after_s, (stamp_s, names, positions) in zip(
            befores, afters, seen.states, strict=True
        ):
            start_s, end_s = min(before_s, stamp_s - READ_S), max(after_s, stamp_s + READ_S)
            for name, position in zip(names, positions, strict=True):
                i = JOINTS.index(name)
                ticks = position / RADIANS_PER_TICK + _CENTERS[i]
                counts = [
                    each.value(measure.register) for each in servos[i].said_between(start_s, end_s)
                ]
                values = [measure.value(count) for count in counts if count is not None]
                checked += 1
                if not any(abs(apart(model, value, ticks)) < 1e-6 for value in values):
                    seen.violate("values", f"{name}: {ticks:.2f}, the servo said {values}")
        stamps = [stamp_s for stamp_s, _, _ in seen.states]
        if any(now <= last for last, now in pairwise(stamps)):
            seen.violate("values", "stamps do not ascend")
        seen.measured["values"] = checked

    def _check_goals(self):
        """Goals under torque keep to the range, or to where torque came on; steps to the velocity.

        A message that this busy process missed is bridged by its time.
        """
        for (last_s, _, last, _), (now_s, _, now, _) in pairwise(self.seen.applied):
            allowed = _MAX_VELOCITY * (now_s - last_s + 2 * PERIOD_S) + RADIANS_PER_TICK
            if self._called_between(last_s, now_s):
                continue
            for joint, was, becomes in zip(JOINTS, last, now, strict=True):
                servo = self._bus.servos[CALIBRATION[joint].id]
                if abs(becomes - was) > allowed and _was_on(servo, last_s, now_s):
                    far = f"{becomes - was:.3f} rad in {now_s - last_s:.3f} s"
                    self.seen.violate("goals", f"{joint} was sent {far}")
        for (joint, calibration), middle in zip(CALIBRATION.items(), _CENTERS, strict=True):
            start = goal = None
            for write in self._bus.servos[calibration.id].written:
                if write.address == self._model.torque_enable.address and write.data[0]:
                    start = goal
                if write.goal is None:
                    continue
                # Of a servo that counts turns, in whichever it counts.
                goal = round(middle + apart(self._model, write.goal, middle))
                low, high = calibration.range_min, calibration.range_max
                if start is not None:
                    low, high = min(low, start), max(high, start)
                inside = low <= goal <= high or self._called(write.at_s)
                if write.torque_was_on and not inside:
                    self.seen.violate("goals", f"{joint} got {goal}, allowed {low}..{high}")

    def _called_between(self, start_s, end_s):
        return any(begun_s <= end_s and start_s <= s for _, begun_s, s in self.seen.calls)

    def _called(self, at_s):
        return any(begun_s <= at_s <= ended_s for _, begun_s, ended_s in self.seen.calls)

    def _check_arming(self):
        """After the activation torque comes on by set_torque alone, or to recover a joint.

        An activation that a servo does not answer, on a busy computer, is tried again.
        """
        said = [(s, text) for s, text in self.seen.events if text.startswith("status: ")]
        armed = tuple(f"status: {word}" for word in _ARMED)
        activated_s = min((s for s, text in said if text.startswith(armed)), default=float("inf"))
        for joint, calibration in CALIBRATION.items():
            log = self._bus.servos[calibration.id].torque_log
            for at_s in [s.time for s in log if s.on and s.time > activated_s]:
                last = [text for s, text in said if s <= at_s][-1]
                if not self._called(at_s) and not last.startswith(armed):
                    self.seen.violate("torque", f"{joint}'s came on by itself at {at_s:.3f}")


def _was_on(servo, start_s, end_s):
    """Whether its torque was on all that time, and a little before and after."""
    margin_s = 2 * PERIOD_S
    switched = any(start_s - margin_s < s.time < end_s + margin_s for s in servo.torque_log)
    return servo.was_on(start_s) and not switched


_PEER = """
import sys, time
from armlet.robots import SO101_JOINTS
from armlet.client.graph import Director
director = Director()
begin = sys.stdin.readline()
while begin:
    if sys.argv[1] == "command":
        director.command(SO101_JOINTS, [0.0] * 6)
    else:
        director.follow(SO101_JOINTS, 0.3, [[0.1] * 6, [0.0] * 6])
    time.sleep(0.02)
"""


def main(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--motors", choices=sorted(KINDS), default="sts3215", help="model of the servos"
    )
    options = parser.parse_args(arguments)
    failed, faults, violations, measured, held = [], Counter(), Counter(), {}, []
    for seed in range(options.seed, options.seed + options.runs):
        ending = ENDINGS[seed % len(ENDINGS)]
        seen = NodeRun(seed, ending, motors=options.motors)()
        faults.update(seen.measured.pop("faults", []))
        held += seen.measured.pop("held", [])
        for name, value in seen.measured.items():
            measured.setdefault(name, []).append(value)
        if seen.violations:
            failed.append(seed)
            violations.update(check for check, _ in seen.violations)
            print(f"seed {seed}, {ending}", file=sys.stderr)
            for at_s, text in sorted(seen.events):
                print(f"{at_s - seen.events[0][0]:8.3f} {text}", file=sys.stderr, flush=True)
    values = sum(measured.pop("values", []))
    worst = {f"worst_{name}": round(max(each), 3) for name, each in measured.items()}
    result = {
        "motors": options.motors,
        "runs": options.runs,
        "faults": dict(faults),
        "violations": dict(violations),
        "commanders_killed": len(held),
        "held_armed_after_that": sum(held),
    }
    print(json.dumps({**result, "failed_seeds": failed, "values_checked": values, **worst}))
    return 1 if failed else 0


if __name__ == "__main__":
    raise_process(Role.EMULATOR.value.nice)  # the servos, which are threads of this process
    with suppress(KeyboardInterrupt), own_domain():
        sys.exit(main())
