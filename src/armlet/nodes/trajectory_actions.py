"""trajectory_actions: what MoveIt asks of an arm and a gripper, played by the arm's driver."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from control_msgs.action import FollowJointTrajectory, GripperCommand, ParallelGripperCommand
from diagnostic_msgs.msg import DiagnosticStatus
from numpy.typing import NDArray
from rclpy.action.server import ActionServer, CancelResponse, GoalResponse
from rclpy.duration import Duration
from rclpy.task import Future
from sensor_msgs.msg import JointState
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from armlet.align.command_source import Commander, Origin, parse
from armlet.control.gripper_goal import Grip, GripperSettings, Gripping, motion_to
from armlet.control.plans import Plans, led_up_to
from armlet.control.trajectory import Trajectory
from armlet.control.trajectory_goal import (
    Asked,
    Defaults,
    ErrorCode,
    Execution,
    GoalRefused,
    Result,
    accept,
)
from armlet.robots import CalibrationError
from armlet.robots import calibration as calibrations
from armlet.robots.joints import is_gripper
from armlet.robots.units import limits_radians
from armlet.settings.trajectory_actions import SETTINGS

from .last_seen import LastSeen
from .messages import diagnostic
from .node import COMMAND_QOS, SENSOR_QOS, ArmletNode, SetupError, run
from .stamps import to_ns, to_time, valid
from .status_names import ACTIONS, status_name

PERIOD_S = 0.02
FEEDBACK_EVERY = 5
ARM, GRIPPER = "arm", "gripper"
FOLLOW = "arm_controller/follow_joint_trajectory"
PARALLEL = "gripper_controller/gripper_cmd"
SIMPLE = "gripper_action_controller/gripper_cmd"
"""As ros2_controllers name them: joint_trajectory_controller, parallel_gripper_action_controller
and gripper_controllers."""


class Running:
    """A goal that is being carried out: its handle, and the future of its result."""

    def __init__(self, handle: Any) -> None:
        self.handle = handle
        self.result: Future[Any] = Future()
        self.ticks = 0

    def end(self, how: Callable[[], None], result: Any) -> None:
        how()
        self.result.set_result(result)


class Part:
    """An arm or a gripper: the one goal that it carries out, if any."""

    def __init__(self) -> None:
        self.running: Running | None = None
        self.execution: Execution | Gripping | None = None


class TrajectoryActions(ArmletNode):
    """Serves FollowJointTrajectory and gripper commands; the driver plays what comes of them.

    A newer goal replaces the one in play, which is aborted; a cancelled one holds where it is.
    Whoever else commands the arm, a person first, ends a goal.
    """

    def __init__(self) -> None:
        super().__init__("trajectory_actions", SETTINGS)
        self._publisher = self.create_publisher(JointTrajectory, "joint_trajectory", COMMAND_QOS)
        self._mark = secrets.token_hex(8)
        self._servers: list[ActionServer[Any, Any, Any]] = []
        self._done = 0

    def setup(self) -> None:
        try:
            calibration = calibrations.load(Path(self.value("calibration_file")))
        except CalibrationError as error:
            raise SetupError(str(error)) from error
        self._joints = tuple(calibration)
        bounds = np.stack(limits_radians(calibration), axis=1).tolist()
        self._limits = {
            joint: (low, high) for joint, (low, high) in zip(self._joints, bounds, strict=True)
        }
        self._gripper = next((joint for joint in self._joints if is_gripper(joint)), "")
        self._plans = Plans(self._joints)
        self._parts = {ARM: Part(), GRIPPER: Part()}
        self._read, self._held = LastSeen(self._joints), LastSeen(self._joints)
        self.create_subscription(JointState, "joint_states", self._read.hear, SENSOR_QOS)
        self.create_subscription(JointState, "applied_joint_commands", self._held.hear, SENSOR_QOS)
        self._serve(FollowJointTrajectory, FOLLOW, self._on_trajectory)
        if self._gripper:
            self._serve(ParallelGripperCommand, PARALLEL, self._on_parallel)
            self._serve(GripperCommand, SIMPLE, self._on_simple)
        self._timer = self.create_timer(PERIOD_S, self._step)

    def _serve(self, kind: Any, name: str, begin: Callable[[Running], None]) -> None:
        async def execute(handle: Any) -> Any:
            running = Running(handle)
            begin(running)
            return await running.result

        self._servers.append(
            ActionServer(
                self,
                kind,
                name,
                execute,
                goal_callback=lambda goal: (
                    GoalResponse.ACCEPT if self._active else GoalResponse.REJECT
                ),
                cancel_callback=lambda handle: CancelResponse.ACCEPT,
            )
        )

    def stop(self) -> None:
        for name, part in self._parts.items():
            if part.running is not None:
                self._abort(name, ErrorCode.INVALID_GOAL, "the node ends")

    def teardown(self) -> None:
        for server in self._servers:
            server.destroy()
        self._servers = []
        if self._is_set_up:
            self.destroy_timer(self._timer)

    # --- goals ------------------------------------------------------------------------------

    def _on_trajectory(self, running: Running) -> None:
        now_ns = self.now_ns()
        try:
            held = self._must_hold(now_ns)
            goal = accept(asked(running.handle.request), self._limits, self._defaults(), now_ns)
        except GoalRefused as error:
            self._refuse(running, FollowJointTrajectory.Result(), error)
            return
        columns = self._columns(goal.joints)
        goal = replace(goal, motion=led_up_to(goal.motion, now_ns, held[columns]))
        self._begin(ARM, running, Execution(goal, now_ns), goal.joints, goal.motion)

    def _on_parallel(self, running: Running) -> None:
        command = running.handle.request.command
        if list(command.name) not in ([], [self._gripper]) or len(command.position) != 1:
            names = [name[:40] for name in command.name[:4]]
            error = GoalRefused(
                ErrorCode.INVALID_JOINTS,
                f"expected one position of {self._gripper}, found {names} with "
                f"{len(command.position)}",
            )
            self._refuse(running, ParallelGripperCommand.Result(), error)
            return
        speed = command.velocity[0] if len(command.velocity) else self.value("gripper_rad_s")
        self._grip(running, ParallelGripperCommand, command.position[0], speed)

    def _on_simple(self, running: Running) -> None:
        position = running.handle.request.command.position
        self._grip(running, GripperCommand, position, self.value("gripper_rad_s"))

    def _grip(self, running: Running, kind: Any, position: float, speed: float) -> None:
        now_ns, joint = self.now_ns(), self._gripper
        try:
            held = float(self._must_hold(now_ns)[self._columns((joint,))][0])
            motion = motion_to(position, held, self._limits[joint], speed, now_ns)
        except GoalRefused as error:
            self._refuse(running, kind.Result(), error)
            return
        values = ("gripper_tolerance_rad", "stall_s")
        settings = GripperSettings(speed, *map(self.value, values))
        self._begin(GRIPPER, running, Gripping(motion, settings), (joint,), motion)

    def _begin(
        self,
        name: str,
        running: Running,
        execution: Execution | Gripping,
        joints: tuple[str, ...],
        motion: Trajectory,
    ) -> None:
        for other in self._parts:
            if self._moves(other, joints) or other == name:
                self._replace(other)
        part = self._parts[name]
        part.running, part.execution = running, execution
        self._plans.set(name, joints, motion)
        self._send()

    def _moves(self, name: str, joints: tuple[str, ...]) -> bool:
        """Whether a part's goal, if it has one, moves one of some joints."""
        execution = self._parts[name].execution
        if isinstance(execution, Gripping):
            return self._gripper in joints
        return execution is not None and not set(joints).isdisjoint(execution.goal.joints)

    def _replace(self, name: str) -> None:
        if self._parts[name].running is not None:
            self._abort(name, ErrorCode.INVALID_GOAL, "replaced by a newer goal", hold=False)
            self._plans.drop(name)

    def _must_hold(self, now_ns: int) -> NDArray[np.float64]:
        """Where the driver holds the arm. Raises GoalRefused where it does not."""
        if (held := self._held.position(now_ns, self.value("max_state_age_s"))) is None:
            raise GoalRefused(
                ErrorCode.INVALID_GOAL, "the arm is not armed, or servo_bus does not run"
            )
        return held

    def _defaults(self) -> Defaults:
        return Defaults(
            self.value("path_tolerance_rad"),
            self.value("goal_tolerance_rad"),
            self.value("goal_time_s"),
        )

    def _refuse(self, running: Running, result: Any, error: GoalRefused) -> None:
        self.log_once("goal", f"goal refused: {error}")
        if isinstance(result, FollowJointTrajectory.Result):
            result.error_code, result.error_string = int(error.code), str(error)
        running.end(running.handle.abort, result)

    # --- while they are carried out ---------------------------------------------------------

    def _step(self) -> None:
        for name, part in self._parts.items():
            if part.running is None:
                continue
            if part.running.handle.is_cancel_requested:
                self._cancel(name)
            elif isinstance(part.execution, Execution):
                self._step_trajectory(part.running, part.execution)
            elif part.execution is not None:
                self._step_gripper(part.running, part.execution)

    def _step_trajectory(self, running: Running, execution: Execution) -> None:
        now_ns = self.now_ns()
        read = self._position(now_ns)
        columns = self._columns(execution.goal.joints)
        there = None if read is None else read[columns]
        result = execution.step(now_ns, there, self._follows(now_ns), self._instead(now_ns))
        if result is not None:
            self._end_trajectory(running, result)
        elif there is not None and self._feeds_back(running):
            running.handle.publish_feedback(feedback(execution, now_ns, there))

    def _end_trajectory(self, running: Running, result: Result) -> None:
        message = FollowJointTrajectory.Result()
        message.error_code, message.error_string = int(result.code), result.text
        if result.code is ErrorCode.SUCCESSFUL:
            self._finish(ARM)
            running.end(running.handle.succeed, message)
            return
        self._abort(ARM, result.code, result.text)

    def _step_gripper(self, running: Running, execution: Gripping) -> None:
        now_ns = self.now_ns()
        read = self._position(now_ns)
        if read is None or execution.lost(now_ns, self._follows(now_ns)):
            self._abort(GRIPPER, ErrorCode.INVALID_GOAL, self._instead(now_ns))
            return
        position = float(read[self._columns((self._gripper,))][0])
        grip = execution.step(now_ns, position)
        if grip is not None:
            self._end_gripper(running, execution, position, grip)
        elif self._feeds_back(running):
            message = self._gripped(running, position, None, "Feedback")
            running.handle.publish_feedback(message)

    def _end_gripper(
        self, running: Running, execution: Gripping, position: float, grip: Grip
    ) -> None:
        succeeded = grip.reached or self.value("allow_stalling")
        # A gripper that holds an object goes on pushing.
        self._finish(GRIPPER)
        how = running.handle.succeed if succeeded else running.handle.abort
        running.end(how, self._gripped(running, position, grip, "Result"))

    def _gripped(self, running: Running, position: float, grip: Grip | None, what: str) -> Any:
        parallel = hasattr(running.handle.request.command, "name")
        kind = ParallelGripperCommand if parallel else GripperCommand
        message = getattr(kind, what)()
        if parallel:
            message.state.header.stamp = to_time(self.now_ns())
            message.state.name, message.state.position = [self._gripper], [position]
        else:
            message.position = position
        if grip is not None:
            message.reached_goal, message.stalled = grip.reached, not grip.reached
        return message

    def _cancel(self, name: str) -> None:
        running = self._parts[name].running
        assert running is not None
        result = self._ended_by(running, ErrorCode.SUCCESSFUL, "cancelled: the arm holds")
        self._finish(name, hold=True)
        running.end(running.handle.canceled, result)

    def _abort(self, name: str, code: ErrorCode, why: str, hold: bool = True) -> None:
        running = self._parts[name].running
        assert running is not None
        self.get_logger().warning(f"{name}: goal aborted: {why}")
        result = self._ended_by(running, code, why)
        self._finish(name, hold)
        running.end(running.handle.abort, result)

    def _ended_by(self, running: Running, code: ErrorCode, why: str) -> Any:
        if isinstance(running.handle.request, FollowJointTrajectory.Goal):
            result = FollowJointTrajectory.Result()
            result.error_code, result.error_string = int(code), why
            return result
        read = self._position(self.now_ns())
        column = self._columns((self._gripper,))
        position = float("nan") if read is None else float(read[column][0])
        return self._gripped(running, position, None, "Result")

    def _finish(self, name: str, hold: bool = False) -> None:
        """A part has no goal any more. hold: it is to stand where it is held, at once."""
        part = self._parts[name]
        part.running = part.execution = None
        self._done += 1
        if hold:
            self._plans.drop(name)
        if all(other.running is None for other in self._parts.values()):
            self._plans.clear()
        if hold:
            self._send()

    def _send(self) -> None:
        """Hand the driver what all parts are to do from now on; nothing: hold."""
        now_ns = self.now_ns()
        message = JointTrajectory()
        message.header.stamp = to_time(now_ns)
        held = self._held.position(now_ns, self.value("max_state_age_s"))
        if not self._plans or held is None:
            # Only what is ours ends by it.
            message.header.frame_id = str(Origin(self._mark, continues=True))
            self._publisher.publish(message)
            return
        motion = self._plans.merged(now_ns, held)
        message.header.frame_id = str(Origin(self._mark))
        message.joint_names = list(self._joints)
        message.points = [
            JointTrajectoryPoint(
                positions=row.tolist(),
                time_from_start=Duration(nanoseconds=round(float(time_s) * 1e9)).to_msg(),
            )
            for time_s, row in zip(motion.times_s, motion.positions, strict=True)
        ]
        self._publisher.publish(message)

    # --- what the arm does ------------------------------------------------------------------

    def _columns(self, joints: tuple[str, ...]) -> list[int]:
        return [self._joints.index(joint) for joint in joints]

    def _position(self, now_ns: int) -> NDArray[np.float64] | None:
        return self._read.position(now_ns, self.value("max_state_age_s"))

    def _follows(self, now_ns: int) -> bool:
        """Whether the driver follows what this node sent, or holds where that has ended."""
        if self._held.position(now_ns, self.value("max_state_age_s")) is None:
            return False
        source = parse(self._held.source)
        return source.commander is Commander.TRAJECTORY and source.policy == self._mark

    def _instead(self, now_ns: int) -> str:
        """What the driver does, where it does not follow."""
        if self._held.position(now_ns, self.value("max_state_age_s")) is None:
            return "it is not armed any more"
        source = parse(self._held.source)
        if source.commander is Commander.PERSON:
            return "a person, or another program, commands it"
        return "it holds" if source.commander is Commander.HOLD else "it follows another sender"

    def _feeds_back(self, running: Running) -> bool:
        running.ticks += 1
        return running.ticks % FEEDBACK_EVERY == 0

    def diagnostics(self) -> list[DiagnosticStatus]:
        if not self._active:
            return []
        busy = [name for name, part in self._parts.items() if part.running is not None]
        said = f"carries out a goal of {' and '.join(busy)}" if busy else "waits for a goal"
        name = status_name(self.label, ACTIONS)
        return [diagnostic(name, DiagnosticStatus.OK, said, {"goals": self._done})]


def asked(goal: Any) -> Asked:
    """A FollowJointTrajectory goal as the control room takes it."""
    motion = goal.trajectory
    other = ""
    if goal.multi_dof_trajectory.points or goal.multi_dof_trajectory.joint_names:
        other = "the arm has no joints of several degrees of freedom (multi_dof_trajectory)"
    elif goal.component_path_tolerance or goal.component_goal_tolerance:
        other = "component tolerances are of multi_dof_trajectory, which the arm has not"
    elif any(
        given.velocity > 0 or given.acceleration > 0
        for given in [*goal.path_tolerance, *goal.goal_tolerance]
    ):
        other = "tolerances of velocity and acceleration are not watched; give those of position"
    elif not valid(motion.header.stamp):
        other = "the stamp is not a valid time"
    return Asked(
        joints=list(motion.joint_names),
        stamp_ns=to_ns(motion.header.stamp),
        times_s=[_seconds(point.time_from_start) for point in motion.points],
        positions=[list(point.positions) for point in motion.points],
        velocities=[list(point.velocities) for point in motion.points],
        path_tolerance={each.name: each.position for each in goal.path_tolerance},
        goal_tolerance={each.name: each.position for each in goal.goal_tolerance},
        goal_time_s=_seconds(goal.goal_time_tolerance),
        other=other,
    )


def feedback(execution: Execution, now_ns: int, read: NDArray[np.float64]) -> Any:
    """How a trajectory goes: where its joints (n,) are to be, are, and the difference."""
    desired = execution.desired(now_ns)
    message = FollowJointTrajectory.Feedback()
    message.header.stamp = to_time(now_ns)
    message.joint_names = list(execution.goal.joints)
    since_ns = max(now_ns - execution.goal.motion.stamp_ns, 0)
    parts = {"desired": desired, "actual": read, "error": desired - read}
    for name, values in parts.items():
        point = JointTrajectoryPoint(positions=values.tolist())
        point.time_from_start = Duration(nanoseconds=since_ns).to_msg()
        setattr(message, name, point)
    return message


def _seconds(duration: Any) -> float:
    return float(duration.sec + duration.nanosec * 1e-9)


def main() -> None:
    run(TrajectoryActions)
