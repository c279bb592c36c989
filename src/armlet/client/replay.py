"""The ROS side of `armlet replay`: a client of a running servo_bus."""

from __future__ import annotations

import secrets
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Any

import numpy as np
import rclpy
from numpy.typing import NDArray
from rcl_interfaces.msg import ParameterValue
from rcl_interfaces.srv import GetParameters
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import JointState
from std_msgs.msg import String

from armlet.align.command_source import Commander, CommandSource, Origin, parse
from armlet.enclaves import init_arguments
from armlet.nodes.clock import RosClock
from armlet.nodes.node import LATCHED_QOS, STATE_QOS
from armlet.nodes.stamps import to_ns
from armlet.nodes.teardown import destroy
from armlet.nodes.trajectories import TrajectoryPublisher
from armlet.robots.joints import in_namespace

from .interrupts import Interrupts
from .motion import Pieces, ReplayError, worst

TIMEOUT_S = 5.0
_WAITED = f"(waited {TIMEOUT_S:.0f} s)"
# The driver plays a trajectory by its stamp; this is for the message to arrive. In simulated time,
# which may go several times as fast, more of it passes meanwhile.
LEAD_S = 0.2
SIMULATED_LEAD_S = 1.0
# So much of a motion is sent ahead, again and again: an arm whose replay died runs out of points.
AHEAD_S = 2.0
SIMULATED_AHEAD_S = 10.0
# Within this time of its beginning the arm follows a motion.
FOLLOWED_S = 1.0
SILENT_S = 0.5
# By the wall clock, of simulated time that may go slowly.
SIMULATED_SILENT_S = 5.0
# Of goals only the newest counts: who moves the arm now.
NEWEST_QOS = QoSProfile(depth=1)
# A look takes one message, and a twentieth of a second where there is none.
_LOOKS = 8
SETTLE_S = 2.0
# Gravity holds an arm a few degrees off its goal; more is an arm that does not follow.
STAND_S = SETTLE_S + 1.0
"""So long the arm is to stand where it is to settle."""
ARRIVED_RAD = 0.2
_LINE_S = 0.2

_TAKEN_OVER = {
    Commander.HOLD: "the motion was ended: by a stop, a hold, or points that came too late",
    Commander.PERSON: "a person commands the arm (joint_commands)",
    Commander.TRAJECTORY: "another program plays a trajectory on the arm",
}


class Client:
    """Plays rows on the arm and watches it; raises KeyboardInterrupt between turns. A context.

    prefixes: of the joints of each arm that plays, "" of the only one; an arm's driver is in the
    namespace of its side. Its time is the driver's: that of /clock where servo_bus has
    use_sim_time.
    """

    def __init__(self, namespace: str, interrupts: Interrupts, prefixes: Iterable[str] = ("",)):
        self._interrupts = interrupts
        rclpy.init(args=init_arguments(namespace), signal_handler_options=SignalHandlerOptions.NO)
        self._node = Node("replay", namespace=namespace)
        self._clock = RosClock(self._node)
        self._prefixes = tuple(prefixes)
        self._positions: dict[str, float] = {}
        self._seen_s = dict.fromkeys(self._prefixes, 0.0)
        self._stated_ns = dict.fromkeys(self._prefixes, 0)
        self._status: dict[str, str] = {}
        self._mark = secrets.token_hex(8)
        self._commanded: dict[str, CommandSource] = {}
        self._commanded_s: dict[str, float] = {}
        # Prefixes of the arms that have followed this replay; from then on nobody else moves them.
        self._followed: set[str] = set()
        self._begin_ns = self._end_ns = 0
        self._commands = TrajectoryPublisher(self._node, self._prefixes)
        for prefix in self._prefixes:
            self._listen(prefix)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        destroy(self._node)
        rclpy.try_shutdown()

    def _listen(self, prefix: str) -> None:
        def on_state(message: JointState) -> None:
            self._seen_s[prefix] = time.monotonic()
            self._stated_ns[prefix] = to_ns(message.header.stamp)
            names = (prefix + name for name in message.name)
            self._positions |= dict(zip(names, message.position, strict=False))

        def on_status(message: String) -> None:
            self._status[prefix] = message.data

        def on_applied(message: JointState) -> None:
            self._commanded_s[prefix] = time.monotonic()
            source = parse(message.header.frame_id)
            if to_ns(message.header.stamp) < self._end_ns:
                self._commanded[prefix] = source
                if source.policy == self._mark:
                    self._followed.add(prefix)

        listen = self._node.create_subscription
        applied = in_namespace(prefix, "applied_joint_commands")
        listen(JointState, applied, on_applied, NEWEST_QOS)
        listen(JointState, in_namespace(prefix, "joint_states"), on_state, STATE_QOS)
        listen(String, in_namespace(prefix, "servo_bus/status"), on_status, LATCHED_QOS)

    def present(self) -> dict[str, float]:
        """Where the arms are, radians by joint. Raises ReplayError if a driver does not answer."""
        if not self._spun_until(lambda: all(self._seen_s.values())):
            silent = [prefix for prefix, seen_s in self._seen_s.items() if not seen_s]
            topics = self._topics(silent, "joint_states")
            raise ReplayError(
                f"no {topics}: is servo_bus running and active? {_WAITED}{self._others()}"
            )
        if not self._spun_until(lambda: not self._commands.unheard()):
            topics = self._topics(self._commands.unheard(), "joint_trajectory")
            raise ReplayError(
                f"nobody subscribes to {topics}: is the servo_bus a follower? {_WAITED}"
            )
        self._follow_clock()
        return dict(self._positions)

    def _topics(self, prefixes: Iterable[str], name: str) -> str:
        resolve = self._node.resolve_topic_name
        return " and ".join(resolve(in_namespace(prefix, name)) for prefix in prefixes)

    def _others(self) -> str:
        """Which arms are meant and which there are, as the end of a refusal."""
        known = (name for name, _ in self._node.get_topic_names_and_types())
        drivers = (name for name in known if name.endswith("/joint_states"))
        there = sorted(d for d in drivers if "/leader/" not in d and self._node.count_publishers(d))
        arms = [prefix.rstrip("_") for prefix in self._prefixes if prefix]
        said = f"; the episode has joints of {len(arms)} arms, {' and '.join(arms)}" if arms else ""
        if there:
            said += f"; the graph has {' and '.join(there)}"
        return said if arms or not there else f"{said}: --namespace says which arm plays it"

    def calibration_files(self) -> dict[str, str]:
        """The drivers' own calibration files by prefix; empty of one that does not say."""
        values = {prefix: self._parameter("calibration_file", prefix) for prefix in self._prefixes}
        return {
            prefix: "" if value is None else str(value.string_value)
            for prefix, value in values.items()
        }

    def _follow_clock(self) -> None:
        """Live in the driver's time. Raises ReplayError if that is simulated and there is none."""
        value = self._parameter("use_sim_time", self._prefixes[0])
        if value is None or not value.bool_value:
            return
        self._node.set_parameters([Parameter("use_sim_time", value=True)])
        if not self._spun_until(lambda: self._clock.simulated and self._clock.now_ns() > 0):
            raise ReplayError(
                "servo_bus uses simulated time, but nobody publishes /clock: is the bench running? "
                + _WAITED
            )

    def _parameter(self, name: str, prefix: str) -> ParameterValue | None:
        """A parameter of an arm's driver; None if it does not say."""
        service = in_namespace(prefix, "servo_bus/get_parameters")
        client: Any = self._node.create_client(GetParameters, service)
        try:
            if not self._spun_until(client.service_is_ready):
                return None
            future = client.call_async(GetParameters.Request(names=[name]))
            answer = future.result() if self._spun_until(future.done) else None
            return answer.values[0] if answer and answer.values else None
        finally:
            self._node.destroy_client(client)

    def go(
        self,
        what: str,
        joints: Sequence[str],
        rows: NDArray[np.float64],
        hz: float,
        stand_s: float = 0.0,
    ) -> str:
        """Play rows (k, n) at a rate; how far the arm was off, in words, when they are over.

        stand_s: how long it is to stand at the last one, for what goes on from there.
        Raises ReplayError if the arm falls silent meanwhile, or others move or stop it.
        """
        lead_s = SIMULATED_LEAD_S if self._clock.simulated else LEAD_S
        self._begin_ns = begin_ns = self._clock.now_ns() + round(lead_s * 1e9)
        standing = np.repeat(rows[-1:], round(stand_s * hz), axis=0)
        pieces = Pieces(np.concatenate([rows, standing]), hz, self._ahead_s())
        self._end_ns = begin_ns + round(pieces.duration_s * 1e9)
        duration_s = (len(rows) - 1) / hz
        errors = np.zeros(len(joints))
        shown_s = -1.0
        self._send(joints, begin_ns, pieces, -lead_s)
        while (elapsed_s := (self._clock.now_ns() - begin_ns) * 1e-9) < duration_s:
            self._spin()
            self._check_alive()
            self._check_followed()
            if pieces.due(elapsed_s) and self._all_follow():
                self._send(joints, begin_ns, pieces, elapsed_s)
            # What came while a busy computer did not run this program is of then.
            stated_s = (min(self._stated_ns.values()) - begin_ns) * 1e-9
            if stated_s >= 0:
                due = rows[min(len(rows) - 1, int(stated_s * hz))]
                errors = np.maximum(errors, np.abs(self._ordered(joints) - due))
            if elapsed_s - shown_s >= _LINE_S:
                shown_s = elapsed_s
                _show(what, max(0.0, elapsed_s), duration_s)
        _show(what, duration_s, duration_s, last=True)
        return worst(joints, errors)

    def _ahead_s(self) -> float:
        return SIMULATED_AHEAD_S if self._clock.simulated else AHEAD_S

    def _send(self, joints: Sequence[str], begin_ns: int, pieces: Pieces, elapsed_s: float) -> None:
        """The first piece of all begins; any other is played only while the one before is."""
        first, rows = pieces.take(elapsed_s)
        stamp_ns = begin_ns + round(first / pieces.hz * 1e9)
        sender = Origin(self._mark, continues=self._all_follow())
        self._commands.publish(joints, stamp_ns, 1 / pieces.hz, rows, sender)

    def _all_follow(self) -> bool:
        return len(self._followed) == len(self._prefixes)

    def _check_followed(self) -> None:
        """Raises ReplayError where others have moved or stopped the arm, or it never followed."""
        elapsed_s = (self._clock.now_ns() - self._begin_ns) * 1e-9
        for prefix in self._prefixes:
            source = self._commanded.get(prefix, CommandSource())
            if source.policy == self._mark:
                continue
            if prefix in self._followed:
                why = _TAKEN_OVER.get(source.commander, "others command the arm")
                raise ReplayError(f"{why}, so the replay ends{self._said()}")
            if elapsed_s > FOLLOWED_S:
                raise ReplayError(
                    f"{in_namespace(prefix, 'servo_bus')} does not follow the replay: is torque "
                    f"on, does another program or person command the arm?{self._said()}"
                )

    def settle(self, joints: Sequence[str], goal: NDArray[np.float64]) -> None:
        """Wait until the arm is at a goal (n,). Raises ReplayError if it does not come there."""

        def off() -> NDArray[np.float64]:
            return np.abs(self._ordered(joints) - goal)

        ending_s = self._clock.seconds() + SETTLE_S
        while (off() > ARRIVED_RAD).any():
            self._spin()
            self._check_alive()
            self._check_followed()
            if self._clock.seconds() > ending_s:
                raise ReplayError(
                    "the arm did not reach the start of the episode, it is "
                    f"{worst(joints, off())} off{self._said()}: "
                    "is torque on, does another program command it, is the way free?"
                )

    def stop(self) -> None:
        """Hold the arm where it is, unless others move it: an empty trajectory."""
        self._commands.hold(sender=Origin(self._mark, continues=True))
        self._commands.wait_for_all_acked(1.0)

    def _ordered(self, joints: Sequence[str]) -> NDArray[np.float64]:
        return np.array([self._positions.get(joint, np.nan) for joint in joints], np.float64)

    def _spin(self) -> None:
        rclpy.spin_once(self._node, timeout_sec=0.05)
        self._interrupts.check()

    def _spun_until(self, ready: Callable[[], bool]) -> bool:
        """Whether something came true in time."""
        ending_s = time.monotonic() + TIMEOUT_S
        while not ready():
            self._spin()
            if time.monotonic() > ending_s:
                return False
        return True

    def _check_alive(self) -> None:
        if not self._silent():
            return
        # What came while a busy computer did not run this program waits to be read.
        for _ in range(_LOOKS):
            self._spin()
            if not self._silent():
                return
        heard = self._heard_s()
        topic = min(heard, key=lambda each: heard[each])
        silent_s = time.monotonic() - heard[topic]
        raise ReplayError(f"no {topic} for {silent_s:.1f} s, so the replay ends{self._said()}")

    def _silent(self) -> bool:
        limit_s = SIMULATED_SILENT_S if self._clock.simulated else SILENT_S
        return time.monotonic() - min(self._heard_s().values()) > limit_s

    def _heard_s(self) -> dict[str, float]:
        """When each topic last came, by its name; goals come only while the arm has torque."""
        states = {in_namespace(p, "joint_states"): at_s for p, at_s in self._seen_s.items()}
        goals = {
            in_namespace(p, "applied_joint_commands"): self._commanded_s[p] for p in self._followed
        }
        return states | goals

    def _said(self) -> str:
        """What the drivers say, as the end of a refusal."""
        drivers = (
            f"; {in_namespace(prefix, 'servo_bus')} says: {said}"
            for prefix, said in self._status.items()
            if said
        )
        return "".join(drivers)


def _show(what: str, elapsed_s: float, duration_s: float, last: bool = False) -> None:
    text = f"{what}: {elapsed_s:5.1f} of {duration_s:.1f} s"
    if sys.stdout.isatty():
        print(f"\r{text}", end="\n" if last else "", flush=True)
    elif last:
        print(text)
