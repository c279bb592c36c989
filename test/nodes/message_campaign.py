"""Messages of every subscribed type, with extreme sizes and values, on a live graph.

    python test/nodes/message_campaign.py --runs 20 --seed 1

Each run: emulated arms in this process and the nodes of a recording graph (odd seeds) or of one
that a policy drives (even seeds), without cameras. What they subscribe to is read off the graph;
messages are made for it at random, from any type's fields, and on purpose, from what looks right.
The emulator's own log is the judge: no goal outside the calibrated range, none faster than the
limit, torque off soon after a stop whatever is on its way, and no node ended. One line of JSON goes
to stdout, violations to stderr; the exit status says whether there were any.
"""

import argparse
import contextlib
import importlib
import json
import math
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))

import rclpy
from builtin_interfaces.msg import Duration, Time
from domains import own_domain
from driver_timeouts import with_timeouts
from node_processes import running
from rclpy.node import NodeNameNonExistentError
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray, Header, MultiArrayDimension, MultiArrayLayout, String
from thread_times import passed, thread_times
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from armlet.bringup import graph, share_directory
from armlet.client.graph import GraphError
from armlet.control.guard import MAX_VELOCITY
from armlet.motors.feetech import REGISTERS
from armlet.priority import Role, raise_process
from armlet.robots import SO101_JOINTS
from armlet.robots.units import RADIANS_PER_TICK
from armlet.sim import FOLLOWER, EmulatedArms

JOINTS = list(SO101_JOINTS)
GOAL = REGISTERS["Goal_Position"]
STOP_S = 1.0
"""From the request to the last servo: two cycles, and what DDS and an emulated line take; parsing
what is sent here would take many times that. What the driver and this process waited for a
processor does not count: a busy computer is no message's fault."""
WORK_SHARE = 0.25
"""Of a processor a driver needs less by far, whatever is sent: who parses needs all of one."""

PERIOD_S = 0.01
NEEDED = {"/joint_commands", "/joint_trajectory", "/observation/contract"}
LEADERS = "/leader/joint_states"
LEAST_TOPICS = 8
_IGNORED = ("/clock", "/parameter_events", "/rosout", "/diagnostics")
_DOUBLES = (math.nan, math.inf, -math.inf, 1e300, -1e308, 0.0, 45.0, -3.0, 1e-300, 0.1)
_TEXTS = (
    "",
    "x" * 100_000,
    "../../x",
    "\x1b[31m",
    "[" * 50_000,
    "{}",
    "observation/images/../x",
    "シ" * 1000,
    "gripper",
)
_SIZES = (0, 1, 6, 7, 1000)


def get_message(name):
    """The class of `package/msg/Name`."""
    package, _, kind = name.split("/")
    return getattr(importlib.import_module(f"{package}.msg"), kind)


@dataclass
class Run:
    """One run's outcome. sent: messages by topic."""

    seed: int
    sent: Counter = field(default_factory=Counter)
    stops_s: list = field(default_factory=list)
    goals: int = 0
    violations: list = field(default_factory=list)


def wild(kind, dice, budget=2000):
    """A message of any type whose fields are drawn from what is extreme."""
    message = kind()
    for name, type_name in kind.get_fields_and_field_types().items():
        setattr(message, name, _wild(type_name, dice, budget))
    return message


def _wild(type_name, dice, budget):
    if type_name.startswith("sequence<"):
        inner = type_name[len("sequence<") : -1].partition(",")[0]
        count = min(dice.choice(_SIZES), budget)
        if inner == "uint8":
            return bytes(count)
        return [_wild(inner, dice, budget // (count + 1)) for _ in range(count)]
    if type_name.endswith("]"):
        inner, _, count = type_name[:-1].partition("[")
        return [_wild(inner, dice, budget) for _ in range(int(count))]
    if type_name in ("double", "float"):
        value = dice.choice(_DOUBLES)
        return value if type_name == "double" or abs(value) < 1e38 else math.inf
    if type_name == "string":
        return dice.choice(_TEXTS)
    if type_name == "boolean":
        return dice.random() < 0.5
    if type_name in ("octet", "byte"):
        return bytes([dice.randrange(256)])
    if "/" in type_name:
        package, _, name = type_name.partition("/")
        return wild(get_message(f"{package}/msg/{name}"), dice, budget)
    bits = int(type_name.lstrip("uint"))
    if type_name.startswith("u"):
        return dice.choice((0, 1, 2**bits - 1))
    return dice.choice((-(2 ** (bits - 1)), 0, 2 ** (bits - 1) - 1))


def likely(kind, dice, now_ns):
    """A message that looks right but for what is extreme in it; None for other types."""
    stamp = dice.choice(
        (Time(), Time(sec=now_ns // 10**9, nanosec=now_ns % 10**9), Time(sec=2**31 - 1))
    )
    values = [[dice.choice(_DOUBLES) for _ in JOINTS], [dice.uniform(-4, 4) for _ in JOINTS]]
    if kind is JointState:
        return JointState(header=Header(stamp=stamp), name=JOINTS, position=dice.choice(values))
    if kind is JointTrajectory:
        times = dice.choice(([0], [0, 1], [0, 2**31 - 1], [5, 1], [-5, 0, 1]))
        points = [
            JointTrajectoryPoint(
                positions=dice.choice(values),
                time_from_start=Duration(sec=at, nanosec=dice.choice((0, 2**32 - 1))),
            )
            for at in times
        ]
        points *= dice.choice((1, 1, 20_000))
        return JointTrajectory(header=Header(stamp=stamp), joint_names=JOINTS, points=points)
    if kind is Float64MultiArray:
        label = {"stamp_ns": dice.choice((now_ns, -1, 1e300, None, [])), "streams": ["state"]}
        label["ledger"] = dice.choice(({}, 5, {"state": 5}, {"state": {"used": "no"}}))
        dim = [MultiArrayDimension(label=json.dumps(label))]
        return Float64MultiArray(layout=MultiArrayLayout(dim=dim), data=[dice.choice(_DOUBLES)])
    if kind is String:
        return String(data=contract(dice))
    return None


def contract(dice):
    """An observation/contract, as anybody may forge one."""
    camera = {
        "name": dice.choice(("front", "no topic name", "../x", "", "action", "1st", "a__b")),
        "height": dice.choice((48, 0, -1, 10**9)),
        "width": 64,
        "channel_order": "rgb",
        "codec": dice.choice(("jpeg", "raw", "?")),
    }
    names = dice.choice(([f"{joint}.pos" for joint in JOINTS], [], ["a"], ["a"] * 2))
    return json.dumps(
        {
            "version": 1,
            "fps": dice.choice((30, 0, -1, 10**9)),
            "cameras": [camera] * dice.choice((0, 1, 2)),
            "state_names": names,
            "action_names": names,
            "joint_units": None,
            "alignment": [],
            "calibration": None,
            "preprocessing": None,
        }
    )


RECORD, POLICY = "record", "policy"
OWN = {RECORD: "recorder", POLICY: "policy"}
"""The node that only this graph has."""


def graph_of(seed):
    return RECORD if seed % 2 else POLICY


@contextmanager
def running_nodes(name, directory):
    given = {"emulated": "true", "use_sim_time": "false", "bench_directory": str(directory)}
    given |= {"task": "wave", "width": "64", "height": "48"}
    if name == RECORD:
        given["root"] = str(directory / "dataset")
    else:
        given["checkpoint"] = str(share_directory() / "checkpoints" / "reach")
    nodes = [spec for spec in graph(name).nodes(given) if spec.executable != "sim_bench"]
    with running(nodes, popen=with_timeouts()) as started:
        yield started


def subscriptions(node, labels):
    """Topics and types that the graph's nodes subscribe to."""
    found = {}
    for label in labels:
        namespace, _, name = f"/{label}".rpartition("/")
        try:
            topics = node.get_subscriber_names_and_types_by_node(name, namespace or "/")
        except NodeNameNonExistentError:
            continue  # not discovered yet
        found |= {topic: kinds[0] for topic, kinds in topics if topic not in _IGNORED}
    return found


def run_once(seed, messages=150):
    run = Run(seed)
    with tempfile.TemporaryDirectory(prefix="armlet-messages-") as name:
        directory, kind = Path(name), graph_of(seed)
        with EmulatedArms(directory) as arms, running_nodes(kind, directory) as started:
            wanted = "following" if kind == RECORD else "holding"
            started.wait("an armed arm", lambda: _is(started, wanted), 240.0)
            started.wait(OWN[kind], lambda: OWN[kind] in "".join(started.seen.messages()), 240.0)
            arms.follower.writes.clear()
            _send(run, started, arms, messages)
            _judge_goals(run, arms.follower)
            for label, process in started.processes.items():
                if process.poll() is not None:
                    run.violations.append(f"{label} ended with {process.returncode}")
            if run.violations:
                print(started.said()[-4000:], file=sys.stderr)
    return run


def _is(started, wanted):
    """On a busy computer the emulated servos may be silent at first; then it is armed again."""
    said = started.seen.messages().get("servo_bus: bus", "")
    if "not armed" in said:
        with contextlib.suppress(GraphError):
            started.director.set("servo_bus/set_torque", True)
    return wanted in said


def _send(run, started, arms, messages):
    """A sender of its own process, so that making long messages delays no emulated servo."""
    command = [sys.executable, __file__, "--send", *started.processes]
    command += ["--seed", str(run.seed), "--messages", str(messages)]
    sender = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        while sender.poll() is None:
            time.sleep(0.3)
            _stop(run, started, arms)
    finally:
        sender.kill()
    run.sent.update(json.loads(sender.stdout.read()))


def send(labels, seed, messages):
    """Publish at whatever the graph's nodes subscribe to; prints how many on which topic."""
    dice, sent, publishers = random.Random(seed), Counter(), {}
    rclpy.init()
    node = rclpy.create_node("stranger")
    qos = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    topics, needed = {}, NEEDED | ({LEADERS} if "teleop" in labels else set())
    while len(topics) < LEAST_TOPICS or not topics.keys() >= needed:
        time.sleep(0.05)
        topics = subscriptions(node, labels)
    for count in range(messages):
        if count % 25 == 0:
            # The recorder subscribes to the parts of a frame once it knows what a frame is.
            topics |= subscriptions(node, labels)
        topic = dice.choice(sorted(topics))
        kind = get_message(topics[topic])
        if topic not in publishers:
            publishers[topic] = node.create_publisher(kind, topic, qos)
        message = likely(kind, dice, time.time_ns()) if dice.random() < 0.6 else None
        publishers[topic].publish(wild(kind, dice) if message is None else message)
        sent[topic] += 1
        time.sleep(0.01)
    rclpy.shutdown()
    print(json.dumps(sent))


def _stop(run, started, arms):
    servos = arms.follower.servos.values()
    if not all(servo.torque_on for servo in servos):
        # On a busy computer the emulated servos may be silent; then it is armed the next time.
        with contextlib.suppress(GraphError):
            started.director.set("servo_bus/set_torque", True)
        return
    driver = started.processes["servo_bus"].pid
    begun_s, before = time.monotonic(), (thread_times(driver), thread_times("self"))
    try:
        started.director.stop()
    except GraphError as error:
        run.violations.append(f"stop: {error}")
        return
    elapsed_s, after = time.monotonic() - begun_s, (thread_times(driver), thread_times("self"))
    offs = [servo.torque_log[-1] for servo in servos if servo.torque_log]
    if any(off.on for off in offs):
        run.violations.append("stop was answered with torque on")
    taken_s = max([0.0, *(off.time - begun_s for off in offs)])
    run.stops_s.append(taken_s)
    (ran_s, waited_s), (_, waited_here_s) = (
        passed(then, now) for then, now in zip(before, after, strict=True)
    )
    waited_s += waited_here_s
    if taken_s - waited_s > STOP_S or ran_s > STOP_S + WORK_SHARE * elapsed_s:
        run.violations.append(
            f"the last servo let go {taken_s:.2f} s after the stop; the driver ran for "
            f"{ran_s:.2f} s of it, and it waited {waited_s:.2f} s for a processor"
        )


def _judge_goals(run, follower):
    by_id = {}
    for write in tuple(follower.writes):
        if write.address == GOAL.address:
            by_id.setdefault(write.id, []).append((write.time, GOAL.decode(write.data)))
    for joint, calibration in FOLLOWER.items():
        goals = by_id.get(calibration.id, [])
        run.goals += len(goals)
        for at_s, goal in goals:
            if not calibration.range_min <= goal <= calibration.range_max:
                run.violations.append(f"{joint} was sent {goal} at {at_s:.2f}")
        for (last_s, last), (now_s, now) in pairwise(goals):
            allowed = MAX_VELOCITY * (now_s - last_s + 2 * PERIOD_S) / RADIANS_PER_TICK + 1
            if abs(now - last) > allowed:
                run.violations.append(
                    f"{joint} was sent {now - last} ticks in {now_s - last_s:.3f} s"
                )


def main(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--messages", type=int, default=300, help="of each run")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--send", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.send:
        send(options.send, options.seed, options.messages)
        return 0
    raise_process(Role.EMULATOR.value.nice)  # the servos, which are threads of this process
    with own_domain():
        return campaign(options)


def campaign(options):
    """All runs, and a line of what they brought; the exit status."""
    sent, stops_s, goals, failed = Counter(), [], 0, []
    for seed in range(options.seed, options.seed + options.runs):
        try:
            run = run_once(seed, options.messages)
        except AssertionError as error:  # what was waited for, and what the nodes said
            print(str(error)[-4000:], file=sys.stderr)
            run = Run(seed, violations=[str(error).partition(":")[0]])
        sent.update(run.sent)
        stops_s += run.stops_s
        goals += run.goals
        if run.violations:
            failed.append(seed)
            print(f"seed {seed}: {run.violations[:10]}", file=sys.stderr)
    result = {"runs": options.runs, "sent": dict(sent), "goals_judged": goals}
    worst_s = round(max(stops_s, default=0.0), 3)
    print(json.dumps({**result, "stops": len(stops_s), "worst_stop_s": worst_s, "failed": failed}))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
