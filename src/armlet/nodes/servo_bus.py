"""servo_bus: one arm on its servo bus."""

from __future__ import annotations

import contextlib
import math
import os
import threading
import time
from collections.abc import Callable, Collection, Sequence
from functools import partial
from itertools import chain, repeat
from pathlib import Path

from diagnostic_msgs.msg import DiagnosticStatus
from sensor_msgs.msg import JointState
from std_msgs.msg import String
from std_srvs.srv import SetBool, Trigger
from trajectory_msgs.msg import JointTrajectory

from armlet import one_graph
from armlet.align import Commander, CommandSource
from armlet.align.command_source import keeps, mark_of, origin
from armlet.control import (
    Action,
    Arm,
    ArmError,
    BeyondLimits,
    CalibrationDiffers,
    CommandRefused,
    Control,
    ControlSettings,
    Cycle,
    Guard,
    JointPolicy,
    ProtectionSettings,
    Source,
    State,
    Trajectory,
)
from armlet.control.liveness import Verdict
from armlet.motors.devices import same_kind, serial_device, serial_devices
from armlet.motors.protocol import BusError, MotorBus, MotorFamily
from armlet.motors.registry import choose
from armlet.motors.watchdog_keeper import TorqueWatchdog
from armlet.priority import Role, bound_realtime, raise_process, raise_thread, realtime_limit
from armlet.robots import SO101_JOINTS, Calibration, CalibrationError
from armlet.robots import calibration as calibrations
from armlet.robots.units import Vector
from armlet.robots.whose import owner
from armlet.settings.servo_bus import SETTINGS, joint_settings
from armlet.sim.lockstep import FOLLOWER, LEADER

from .cdr import TrajectoryMessage
from .clock import SET_BACK_NS
from .clock_exchange import ClockExchange
from .commanders import Commanders
from .fastdds import hear_own_messages_as_others
from .hearing import EVENTS, TOPICS, URGENT, Hearing
from .joint_states import JointStatePublisher
from .messages import to_ns
from .namesakes import LEASE_S, Namesakes
from .node import (
    COMMAND_QOS,
    LATCHED_QOS,
    RECORDING_QOS,
    ArmletNode,
    NotReady,
    SetupError,
    Value,
    run,
)
from .reception import Reception, with_reception
from .servo_bus_diagnostics import CycleTimes, Doubts, bus_status, joint_statuses, unready_status
from .stamps import valid
from .trajectories import trajectory
from .worker import Sender, Worker

# A lost port is looked for this often: back within 2 s, and a dead one costs next to nothing.
RECONNECT_S = (0.1, 0.2, 0.5)
LOOK_S = 0.05
# An arming waits so long for the torque watchdog, which may just be starting again.
WATCHDOG_S = 2.0
# Its own first message is back in milliseconds; a busy computer takes longer.
HEARD_S = 10.0
# What is still to be published at the end has so long.
SENT_S = 1.0
# A driver that hears nothing any more has so long to prove torque off before it ends.
RELEASE_S = 3.0
CYCLE = "the control cycle"
_COMMANDERS = {
    Source.HOLD: Commander.HOLD,
    Source.COMMAND: Commander.PERSON,
    Source.TRAJECTORY: Commander.TRAJECTORY,
}
# Other drivers of its name are looked for this often.
NAMESAKES_S = 1.0
# What the arm does is on /diagnostics so soon after it has changed.
CHANGES_S = 0.1
# Servos' bytes are waited for so long in lockstep, where an emulated line takes no time of its own.
LOCKSTEP_WAIT_S = 3.0
RELEASED = "torque is off"
# A refusal for the sender's clock is on /diagnostics for so long.
SHIFTED_S = 3.0
# The points of a motion of one, or few, are taken for no closer than frames.
FRAME_S = 1 / 30


class ServoBus(ArmletNode):
    """Reads and commands one arm in a thread of its own; ROS callbacks only hand over."""

    def __init__(self) -> None:
        super().__init__("servo_bus", SETTINGS)
        try:
            # As long as the process lives: two drivers of one name would share its commands.
            self._mark = one_graph.mark_name(self.get_fully_qualified_name(), os.environ)
        except one_graph.MarkError as error:
            raise SetupError(str(error)) from error
        for joint in self._named_joints():
            self.declare(joint_settings(joint))
        self._control: Control | None = None
        self._motors = ""
        self._watchdog: TorqueWatchdog | None = None
        self._arming, self._arming_lock = 0, threading.Lock()
        self._leaving = False
        self._worker: Worker | None = None
        self._sender: Sender | None = None
        self._hearing = Hearing(self, (CYCLE,))
        self._namesakes = Namesakes(self)
        self.create_timer(NAMESAKES_S, self._look_for_namesakes)
        self._commanders = Commanders(self, ("joint_commands", "joint_trajectory"))
        self.create_timer(NAMESAKES_S, self._look_for_commanders)
        self.create_timer(CHANGES_S, self._report_change)
        self._stopped_early = False
        self._stops = 0
        self._pacer = self.pacer("cycle", FOLLOWER if self._follower else LEADER)
        self._times = CycleTimes(self.clock.seconds, self.value("rate_hz"))
        self._states = JointStatePublisher(
            self.create_publisher(JointState, "joint_states", RECORDING_QOS)
        )
        self._status = self.create_publisher(String, "~/status", LATCHED_QOS)
        if self._follower:
            self._describe()
        self._announced = ""
        self._trouble = ""
        self._clocks = ClockExchange(self)
        # Why a trajectory was refused for its sender's clock, and when last, s.
        self._shifted = "", -math.inf

    def _named_joints(self) -> Sequence[str]:
        try:
            return tuple(calibrations.load(Path(self.value("calibration_file"))))
        except CalibrationError:  # setup reads it again, and says so
            return SO101_JOINTS

    def _describe(self) -> None:
        """Say once what the arm looks like, whether it is there or not; latched."""
        if not (text := self.value("robot_description")):
            self.get_logger().info("no robot_description: no URDF is known of this arm")
            return
        self._description = self.create_publisher(String, "robot_description", LATCHED_QOS)
        self._description.publish(String(data=text))

    @property
    def _follower(self) -> bool:
        return bool(self.value("mode") == "follower")

    # --- lifecycle --------------------------------------------------------------------------

    def setup(self) -> None:
        if not self.value("port"):
            raise SetupError("parameter port is empty; `armlet find-port` finds it")
        bound_realtime()
        granted = raise_process(self.value("nice"))
        if not (granted.effective or realtime_limit()):
            self.get_logger().info("no priority over other programs; `armlet doctor` says how")
        try:
            control = self._make_control()
        except (CalibrationError, ValueError) as error:
            raise SetupError(str(error)) from error
        try:
            self._connect(control.arm)
        except (BusError, ArmError, RuntimeError) as error:
            control.arm.close()
            self._end_watchdog()
            self._trouble = str(error)
            raise NotReady(f"{self.value('port')}: {error}") from error
        try:
            self._claim_the_name()
        except SetupError:
            control.arm.close()
            self._end_watchdog()
            raise
        for warning in control.arm.warnings:
            self.get_logger().warning(warning)
        self._control, self._trouble = control, ""
        if self._follower:
            self._make_command_faces()
        self._times = CycleTimes(self.clock.seconds, self.value("rate_hz"))
        if not self.in_lockstep:  # where what a cycle says must have been said before time goes on
            self._sender = Sender("sender", self._on_failure)
        self._worker = Worker("servo_bus", self._run_cycles, self._on_failure)
        if self._follower:
            self._hearing.start(self._excused, self._heed_hearing, self._on_failure)

    def _claim_the_name(self) -> None:
        """Raises SetupError where another driver holds an arm by this name."""
        if self.in_lockstep:  # all that there is belongs to one bench
            return
        self._namesakes.wait_for_discovery()
        if others := self._namesakes.look():
            raise SetupError(
                f"another driver is called /{self.label} and holds an arm: {others}; two would "
                "share their commands and mix their positions. End that one (if it was killed, "
                f"{LEASE_S} s must pass), or start this one with another namespace or "
                f"{one_graph.DOMAIN_VARIABLE}"
            )
        self._namesakes.claim()

    def _look_for_namesakes(self) -> None:
        """Who was started at the same moment, or in a network that has only now become one."""
        if not self._is_set_up or self.in_lockstep:
            return
        before, others = self._namesakes.words, self._namesakes.look()
        if others and others != before:
            self.get_logger().error(
                f"another driver is called /{self.label} and holds an arm: {others}; until one of "
                "them has ended this arm follows nothing, and its positions are not published"
            )
        elif before and not others:
            self.get_logger().warning(f"no other driver is called /{self.label} any more")

    def _look_for_commanders(self) -> None:
        """Say who may move the arm, once each time that somebody comes."""
        if not (self._is_set_up and self._follower) or self.in_lockstep:
            return
        new = self._commanders.look()
        strangers = self._commanders.strangers(self.value("commanders"))
        for said in new:
            if said.partition(": ")[2] in strangers:
                self.get_logger().warning(
                    f"{said} may command this arm, and is not one of commanders: "
                    f"{', '.join(self.value('commanders'))}"
                )
            else:
                self.get_logger().info(f"{said} may command this arm")

    def _make_control(self) -> Control:
        if self.value("mode") not in ("follower", "leader"):
            raise ValueError(f"mode must be follower or leader, found {self.value('mode')!r}")
        if self.value("feedback") not in ("state", "full"):
            raise ValueError(f"feedback must be state or full, found {self.value('feedback')!r}")
        calibration = calibrations.load(Path(self.value("calibration_file")))
        family, models = choose(self.value("motors"), tuple(calibration))
        arm = Arm(self._make_bus(family), calibration, models)
        self._motors = family.origin
        guard = Guard.from_calibration(
            calibration,
            *self._limits(calibration, self.value),
            BeyondLimits(self.value("beyond_limits")),
        )
        settings = self._control_settings(self.value)
        protection = self._protection(calibration, self.value)
        finder = _finder(self.value("port"))
        return Control(arm, guard, settings, protection, finder, self.clock.seconds)

    def _make_bus(self, family: MotorFamily) -> MotorBus:
        port, baudrate, stamp = self.value("port"), self.value("baudrate"), self.clock.stamp
        if self.in_lockstep:
            return family.make_bus(port, baudrate, LOCKSTEP_WAIT_S, LOCKSTEP_WAIT_S, stamp)
        return family.make_bus(port, baudrate, stamp=stamp)

    @staticmethod
    def _limits(
        calibration: Calibration, value: Value
    ) -> tuple[dict[str, float], dict[str, float]]:
        """The limits of velocity and of acceleration by joint."""
        velocity, acceleration = (
            {joint: value(f"{joint}.{name}") or value(name) for joint in calibration}
            for name in ("max_velocity_rad_s", "max_acceleration_rad_s2")
        )
        return velocity, acceleration

    def tune(self, value: Value, changed: Collection[str]) -> None:
        control = self._control
        assert control is not None
        calibration = control.arm.calibration
        control.tune(
            *self._limits(calibration, value),
            self._control_settings(value),
            self._protection(calibration, value),
        )

    def _control_settings(self, value: Value) -> ControlSettings:
        return ControlSettings(
            period_s=1 / value("rate_hz"),
            feedback=value("feedback"),
            telemetry_hz=value("telemetry_hz"),
            command_timeout_s=value("command_timeout_s"),
            command_delay_s=value("command_delay_s"),
            ramp_velocity=value("ramp_velocity_rad_s"),
            blend_s=value("blend_s"),
            answer_wait_s=LOCKSTEP_WAIT_S if self.in_lockstep else 0.0,
        )

    def _protection(self, calibration: Calibration, value: Value) -> ProtectionSettings:
        return ProtectionSettings(
            policies={joint: self._policy(joint, value) for joint in calibration},
            hot_c=value("hot_c"),
            low_voltage_v=value("low_voltage_v"),
            relaxed_torque=value("relaxed_torque"),
        )

    def _policy(self, joint: str, value: Value) -> JointPolicy:
        names = ("on_overload", "on_hot", "on_voltage")
        overload, hot, voltage = (Action(value(f"{joint}.{name}") or value(name)) for name in names)
        return JointPolicy(overload, hot, voltage, value(f"{joint}.relaxed_push_rad"))

    def _connect(self, arm: Arm) -> None:
        if self.value("write_calibration"):
            arm.write_calibration()
        try:
            arm.connect()
        except CalibrationDiffers as error:
            whose = owner(error.held, Path(self.value("calibration_file")), self._other_files())
            raise ArmError(f"{whose}; {error}" if whose else str(error)) from error
        arm.configure()
        if self._follower:
            ids = [joint.id for joint in arm.calibration.values()]
            self._watchdog = TorqueWatchdog(
                arm.bus.port, self.value("baudrate"), ids, self._report_watchdog, self._motors
            )
            self._watchdog.released()
            self._watchdog.lives()  # from the start: the first second may be the one that hangs

    def _other_files(self) -> dict[str, Path]:
        given = (text.partition("=") for text in self.value("other_calibrations"))
        return {name: Path(file) for name, _, file in given if file}

    def _report_watchdog(self, text: str) -> None:
        self.get_logger().error(text)

    def _make_command_faces(self) -> None:
        self._applied = JointStatePublisher(
            self.create_publisher(JointState, "applied_joint_commands", RECORDING_QOS)
        )
        self.create_subscription(JointState, "joint_commands", self._on_command, COMMAND_QOS)
        self.create_subscription(
            JointTrajectory,
            "joint_trajectory",
            with_reception(self._on_trajectory),
            COMMAND_QOS,
        )
        self._hearing.make_faces()
        if self._urgent is None:
            self.serve_urgently(SetBool, "~/set_torque", self._on_set_torque)
            self.serve_urgently(Trigger, "~/stop", self._on_stop)
            self._hearing.make_urgent_faces()

    def start(self) -> None:
        if self._follower and self.value("torque_on_activate"):
            try:
                self._arm_unless_stopped()
            except (BusError, ArmError) as error:
                # A servo that does not answer now may do so later, an arm may be moved inside.
                raise NotReady(f"the arm cannot be armed: {error}") from error
        self._stopped_early = False
        self.get_logger().info(f"{self.value('mode')} on {self.value('port')} is active")

    def _arm_unless_stopped(self) -> None:
        """A stop that came before the node was active, or while it armed, counts."""
        stops = self._stops
        if not self._stopped_early:
            self._arm(stops)
        if self._stopped_early:
            self._release_arm()
            self.get_logger().warning(
                "stopped before it was active: torque stays off until ~/set_torque"
            )

    def stop(self) -> None:
        if self._control is None:
            return
        try:
            self._release_arm()
        except (BusError, ArmError) as error:
            raise NotReady(str(error)) from error

    def make_safe(self) -> None:
        self._leaving = True
        if self._follower and self._control is not None:
            # What cannot be proven now is said, and tried again, when the node is closed.
            with contextlib.suppress(BusError, ArmError):
                self._release_arm()

    def teardown(self) -> None:
        self._hearing.stop()
        if self._worker is not None:
            self._worker.stop()
            self._worker = None
        try:
            if self._control is not None:
                self._release_and_close(self._control)
        finally:
            # After the torque: DDS may keep it.
            if self._sender is not None:
                self._sender.stop(SENT_S)
                self._sender = None

    def _release_and_close(self, control: Control) -> None:
        try:
            self.stop()
            if self._follower:
                self.get_logger().info("torque is off: every servo was read back")
        finally:
            control.arm.close()
            self._control = None
            self._end_watchdog()

    def _end_watchdog(self) -> None:
        if self._watchdog is not None:
            self._watchdog.close()
            self._watchdog = None

    def _arm(self, stops: int) -> None:
        """Raises ArmError, BusError; never arms what nobody would release if this process died.

        stops: `_stops` when torque was asked for, which may have waited since.
        """
        control, watchdog = self._control, self._watchdog
        # Before it is asked who wants torque off: who does so from here on changes it.
        last_stop = None if control is None else control.last_stop
        if control is None or watchdog is None or self._leaving:
            raise ArmError("torque stays off: the node is not configured, or it is ending")
        if stops != self._stops:
            raise ArmError("torque stays off: a stop was requested meanwhile")
        if others := self._namesakes.words:
            raise ArmError(
                f"torque stays off: another driver is called /{self.label} and holds an arm: "
                f"{others}; end one of them"
            )
        if not self._hearing.wait_until_heard(HEARD_S):
            raise ArmError(
                "torque stays off: this driver does not hear what it says to itself, so it might "
                "not hear a stop either; if you have a Fast DDS profile with "
                "fastdds.ignore_local_endpoints, take that out"
            )
        if not watchdog.wait_until_alive(WATCHDOG_S):
            raise ArmError(
                "torque stays off: no torque watchdog is running, so nobody would cut torque if "
                "this process was killed; it is being started again, see the messages above"
            )
        with self._arming_lock:
            self._arming += 1
            watchdog.armed()
        try:
            control.torque_on(last_stop)
        finally:
            with self._arming_lock:
                self._arming -= 1

    def _release_arm(self) -> None:
        control, watchdog = self._control, self._watchdog
        if control is None:
            raise ArmError("the node is not configured: it does not hold the arm")
        control.torque_off()
        with self._arming_lock:
            # Another thread may arm it, or have done so.
            if watchdog is not None and control.goal is None and not self._arming:
                watchdog.released()

    def _on_failure(self, error: BaseException) -> None:
        self.fail(error)
        self.stop()

    # --- what nobody can stop any more ends, in the thread of `Hearing` ----------------------

    def _excused(self) -> list[str]:
        """What cannot give a sign: in a transition the executor, in simulated time the cycle.

        In lockstep nothing is judged: time waits for whoever is not run, and the arms are emulated.
        """
        if self.in_lockstep:
            return [TOPICS, URGENT, EVENTS, CYCLE]
        parts = {TOPICS: self.changing_state, CYCLE: self.clock.simulated}
        return [part for part, is_so in parts.items() if is_so]

    def _heed_hearing(self, verdict: Verdict) -> None:
        if verdict is Verdict.DEAD:
            self._end_unheard()
        if self._watchdog is not None:
            self._watchdog.lives()

    def _end_unheard(self) -> None:
        """Torque off, and an end with status 1, past whatever hangs."""
        silent, outcome = self._hearing.doubtful, ["its watchdog cuts the torque"]

        def release(ending: threading.Event) -> None:
            self._leaving = True
            self._release_arm()
            outcome.append("torque is off: every servo was read back")

        Worker("release", release, lambda error: outcome.append(str(error))).stop(RELEASE_S)
        self.say_past_the_middleware(
            f"no sign of life from {silent}: a stop might not be heard, so the driver ends; "
            f"{outcome[-1]}"
        )
        os._exit(1)

    # --- cycles, in the worker's thread -----------------------------------------------------

    def _run_cycles(self, ending: threading.Event) -> None:
        assert self._control is not None
        control, clock, pacer = self._control, self.clock, self._pacer
        if self.value("nice") < 0 and self._sender is not None:
            raise_thread(Role.BUS.value.realtime)
        period_ns = round(1e9 / self.value("rate_hz"))
        due_ns, back_ns = clock.steady_ns(), clock.set_back_ns()
        try:
            while pacer.wait_until(due_ns, ending):
                now_ns, steady_ns = clock.now_ns(), clock.steady_ns()
                if clock.set_back_ns() > back_ns + SET_BACK_NS:
                    control.clock_was_set_back()
                    back_ns = clock.set_back_ns()
                due_ns = _next_cycle_ns(due_ns, steady_ns, period_ns, clock.simulated)
                self._hearing.sign(CYCLE)
                self._cycle(control, now_ns)
                if control.state is State.LOST:
                    pacer.rest()
                    self._reconnect(control, ending)
                    due_ns = clock.steady_ns()
        finally:
            pacer.rest()

    def _cycle(self, control: Control, now_ns: int) -> None:
        # What a cycle takes of the computer's time, whatever the clock says.
        begun_s = time.monotonic()
        if self._hearing.doubtful or self._namesakes.words:
            control.hold(drop_commands=True)
        cycle = control.cycle(now_ns)
        self._times.add(time.monotonic() - begun_s)
        if cycle.sample is not None:
            self._times.answered()
        summary = control.summary()
        if self._sender is None:
            self._publish(control, cycle, now_ns, summary)
        else:
            self._sender.send(partial(self._publish, control, cycle, now_ns, summary))

    def _publish(self, control: Control, cycle: Cycle, now_ns: int, summary: str) -> None:
        # Two arms' positions under one name would be taken for one arm's.
        mine_alone = not self._namesakes.words
        sample = cycle.sample if mine_alone else None
        if sample is not None:
            joints, position, velocity = control.arm.joints, sample.position, sample.velocity
            if not sample.complete:
                joints = tuple(j for j, is_so in zip(joints, sample.fresh, strict=True) if is_so)
                position, velocity = position[sample.fresh], velocity[sample.fresh]
            self._states.publish(joints, sample.stamp_ns, position, velocity)
        if cycle.applied is not None and mine_alone:
            source = str(CommandSource(_COMMANDERS[cycle.source], cycle.origin))
            self._applied.publish(control.arm.joints, now_ns, cycle.applied, source=source)
        if summary != self._announced:
            self._announced = summary
            self._status.publish(String(data=summary))

    def _reconnect(self, control: Control, ending: threading.Event) -> None:
        self.get_logger().error(f"bus lost: {control.last_error}")
        # By the wall clock: a cable is plugged in whatever simulated time does.
        waits_s = chain(RECONNECT_S, repeat(RECONNECT_S[-1]))
        due_s = time.monotonic() + next(waits_s)
        # In short steps: a service may have found the bus meanwhile, and cycles must go on.
        while not ending.wait(LOOK_S) and control.state is State.LOST:
            self._hearing.sign(CYCLE)
            if time.monotonic() >= due_s:
                control.reconnect()
                due_s = time.monotonic() + next(waits_s)
        if control.state is not State.LOST:
            self._times.reconnects += 1
            port = control.arm.bus.port
            if self._watchdog is not None:
                self._watchdog.moved(port)
            self.get_logger().warning(f"bus is back on {port}: {control.summary()}")

    # --- commands and services --------------------------------------------------------------

    def _on_command(self, message: JointState) -> None:
        assert self._control is not None
        try:
            if not valid(message.header.stamp):
                raise self._control.guard.refuse(
                    f"the stamp is not a valid time: {message.header.stamp}"
                )
            stamp_ns, now_ns = to_ns(message.header.stamp), self.now_ns()
            sender = message.header.frame_id
            if keeps(sender) and not message.name:
                self._control.hand_back(stamp_ns, now_ns, mark_of(sender))
                return
            self._control.command(
                message.name, message.position, stamp_ns, now_ns, keeps(sender), mark_of(sender)
            )
            self._report_excess("joint_commands", self._control.excess)
        except CommandRefused as error:
            self._say_refused("joint_commands", error)

    def _on_trajectory(self, message: TrajectoryMessage, way: Reception) -> None:
        assert self._control is not None
        try:
            if not len(message.positions):
                sender = origin(message.header.frame_id)
                self._control.hold(origin=sender.mark if sender.continues else "")
                return
            now_ns = self.now_ns()
            if refusal := unstamped(message):
                raise self._control.guard.refuse(refusal)
            motion = self._parsed(self._control, message, now_ns)
            self._require_clock(self._control, message, motion, way)
            self._control.follow(message.joint_names, motion, now_ns)
            self._report_excess("joint_trajectory", self._control.excess)
        except CommandRefused as error:
            self._say_refused("joint_trajectory", error)

    def _say_refused(self, topic: str, error: CommandRefused) -> None:
        # Where the whole graph was asked to end, those who command the arm end a moment later.
        if not self._leaving:
            self.log_once(topic, f"{topic} refused: {error}")

    def _require_clock(
        self, control: Control, message: TrajectoryMessage, motion: Trajectory, way: Reception
    ) -> None:
        """Raises CommandRefused where the sender's clock shifts a motion by more than a point."""
        if self.clock.simulated or not to_ns(message.header.stamp):
            return
        if shifted := shifted_by_clock(motion.times_s, way):
            self._shifted = shifted, self.clock.seconds()
            raise control.guard.refuse(shifted)

    def _report_excess(self, topic: str, excess: str) -> None:
        if excess:
            clamped = f"{topic} is outside the calibrated range and clamped to it: {excess}"
            self.log_once(f"{topic} clamped", clamped, warning=True)

    @staticmethod
    def _parsed(control: Control, message: TrajectoryMessage, now_ns: int) -> Trajectory:
        try:
            return trajectory(message, now_ns)
        except ValueError as error:
            raise control.guard.refuse(str(error)) from error

    def _on_set_torque(
        self, request: SetBool.Request, response: SetBool.Response
    ) -> SetBool.Response:
        if not request.data:
            self._stops += 1
            self._answer(response, self._release_arm, RELEASED)
            return response
        stops = self._stops
        self.wait_until_started(WATCHDOG_S)
        if not self._active:
            response.success, response.message = False, "the node is not active"
            return response
        self._answer(response, partial(self._arm, stops))
        return response

    def _on_stop(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._stopped_early = not self._active
        self._stops += 1
        self._answer(response, self._release_arm, RELEASED)
        return response

    def _answer(
        self,
        response: SetBool.Response | Trigger.Response,
        action: Callable[[], None],
        said: str = "",
    ) -> None:
        """said: of an action that succeeded; empty: what the control says of itself then."""
        try:
            action()
            control = self._control
            response.success = True
            response.message = said or ("" if control is None else control.summary())
        except (BusError, ArmError) as error:
            response.success, response.message = False, str(error)
        if self._control is not None:
            self._times.begin_again(self._control.arm.bus.counters)
        # Requests may wait for one another, and events for them, longer than a sign may be due.
        self._hearing.sign(URGENT, EVENTS)

    def _report_change(self) -> None:
        self.report_change((self._announced, self._trouble))

    def _recently_shifted(self) -> str:
        shifted, last_s = self._shifted
        return shifted if self.clock.seconds() - last_s < SHIFTED_S else ""

    def diagnostics(self) -> list[DiagnosticStatus]:
        control = self._control
        if control is None:
            return [unready_status(self.label, self._trouble, self.value("port"))]
        watchdog = self._watchdog
        unguarded = watchdog is not None and not watchdog.alive
        restarts = 0 if watchdog is None else watchdog.restarts
        unsent = 0 if self._sender is None else self._sender.dropped
        follower, times, doubts = (
            self._follower,
            self._times,
            Doubts(
                self._hearing.doubtful,
                self._namesakes.words,
                self._recently_shifted(),
                self._commanders.strangers(self.value("commanders")),
            ),
        )
        return [
            bus_status(
                self.label,
                control,
                times,
                unguarded,
                restarts,
                follower,
                unsent,
                doubts,
                self._commanders.names,
            ),
            *joint_statuses(self.label, control),
        ]


def _next_cycle_ns(due_ns: int, now_ns: int, period_ns: int, simulated: bool) -> int:
    """When the cycle after the one that was due is due.

    In simulated time on a grid, once at each reading of the clock however far it has gone on; by
    the wall clock as often as the rate says, a cycle that was late by more than a period left out.
    """
    if simulated:
        return now_ns - now_ns % period_ns + period_ns
    return max(due_ns + period_ns, now_ns - period_ns)


def _finder(port: str) -> Callable[[], list[str]]:
    """What a lost bus may be called when it is plugged in again: same kind of USB adapter."""
    device = serial_device(port)

    def find() -> list[str]:
        return [found.address for found in same_kind(device, serial_devices())]

    return find


def shifted_by_clock(times_s: Vector, way: Reception) -> str:
    """Why a motion with points at some times (s) is refused for the way it came; empty if not.

    Nothing comes before it was sent, so the sender's clock is ahead by what it seems to. One that
    is behind looks like a slow network.
    """
    if not (way.sent_ns and way.received_ns):
        return ""
    ahead_s = (way.sent_ns - way.received_ns) * 1e-9
    step_s = float(times_s[1] - times_s[0]) if len(times_s) > 1 else FRAME_S
    if ahead_s <= max(step_s, FRAME_S):
        return ""
    return (
        f"it came {ahead_s:.3f} s before it was sent, so the clock of its sender's computer is "
        "ahead of this one's by that or more; synchronise both (chrony)"
    )


def unstamped(message: TrajectoryMessage) -> str:
    """Why a chunk that says whose it is must have a stamp; empty if it has one, or says nothing.

    A zero stamp means now, as ROS has it, for programs that command a motion. The rows of a
    policy's chunk are due from its observation on.
    """
    if to_ns(message.header.stamp) or not origin(message.header.frame_id).mark:
        return ""
    return (
        "a policy's chunk has no stamp and would be played late by its inference: stamp it with "
        "its observation"
    )


def main() -> None:
    hear_own_messages_as_others()
    run(ServoBus)
