"""servo_bus: one arm on its servo bus."""

from __future__ import annotations

import threading
import time
from dataclasses import asdict
from itertools import chain, repeat
from pathlib import Path

from diagnostic_msgs.msg import DiagnosticStatus
from sensor_msgs.msg import JointState
from std_msgs.msg import String
from std_srvs.srv import SetBool, Trigger
from trajectory_msgs.msg import JointTrajectory

from armlet.arm import (
    Arm,
    ArmError,
    CalibrationError,
    CommandRefused,
    Control,
    ControlSettings,
    Cycle,
    Guard,
    State,
    Trajectory,
)
from armlet.arm import calibration as calibrations
from armlet.arm.arm import Telemetry
from armlet.feetech import Bus, BusError
from armlet.feetech.errors import describe

from .messages import diagnostic, joint_state, to_ns, trajectory
from .node import (
    COMMAND_QOS,
    LATCHED_QOS,
    STATE_QOS,
    ArmletNode,
    NotReady,
    Setting,
    SetupError,
    run,
)
from .worker import Worker

SETTINGS = (
    Setting("port", "", "serial port of the bus, e.g. /dev/ttyACM0"),
    Setting("baudrate", 1_000_000, "baud rate of the bus", 9600, 1_000_000),
    Setting("calibration_file", "", "LeRobot calibration JSON of this arm"),
    Setting("write_calibration", False, "write the calibration file to the servos at configure"),
    Setting("mode", "follower", "follower (may be commanded) or leader (torque off, read only)"),
    Setting("rate_hz", 100.0, "rate of the control cycle and of joint_states", 1.0, 400.0),
    Setting("torque_on_activate", True, "hold the arm when the node is activated"),
    Setting("max_velocity_rad_s", 5.0, "limit of every joint's commanded velocity", 0.01, 10.0),
    Setting(
        "ramp_velocity_rad_s", 1.0, "velocity at which a new command source is joined", 0.01, 10.0
    ),
    Setting("command_timeout_s", 0.5, "hold when no command has come for this long", 0.02, 10.0),
    Setting("command_delay_s", 0.02, "commands are played this long after their stamp", 0.0, 0.2),
)

# The servo cuts out by itself at 70 °C (Max_Temperature_Limit).
WARM_C = 60

RECONNECT_S = (0.2, 0.5, 1.0, 2.0)


class ServoBus(ArmletNode):
    """Reads and commands one arm in a thread of its own; ROS callbacks only hand over."""

    def __init__(self) -> None:
        super().__init__("servo_bus", SETTINGS)
        self._control: Control | None = None
        self._worker: Worker | None = None
        self._telemetry: Telemetry | None = None
        self._rate = _Rate()
        self._states = self.create_publisher(JointState, "joint_states", STATE_QOS)
        self._status = self.create_publisher(String, "~/status", LATCHED_QOS)
        self._announced = ""
        self._trouble = ""

    def setup(self) -> None:
        if not self.value("port"):
            raise SetupError("parameter port is empty; set it to the bus's serial port")
        try:
            control = self._make_control()
        except (CalibrationError, ValueError) as error:
            raise SetupError(str(error)) from error
        arm = control.arm
        try:
            if self.value("write_calibration"):
                arm.write_calibration()
            arm.connect()
            if self._follower:
                arm.configure()
            else:
                arm.torque_off()
        except (BusError, ArmError) as error:
            arm.close()
            self._trouble = str(error)
            raise NotReady(f"{self.value('port')}: {error}") from error
        self._control, self._trouble = control, ""
        if self._follower:
            self._make_command_faces()
        self._worker = Worker("servo_bus", self._run_cycles, self._on_failure)

    @property
    def _follower(self) -> bool:
        return bool(self.value("mode") == "follower")

    def _make_control(self) -> Control:
        if self.value("mode") not in ("follower", "leader"):
            raise SetupError(f"mode must be follower or leader, found {self.value('mode')!r}")
        calibration = calibrations.load(Path(self.value("calibration_file")))
        arm = Arm(Bus(self.value("port"), self.value("baudrate")), calibration)
        guard = Guard.from_calibration(calibration, self.value("max_velocity_rad_s"))
        return Control(
            arm,
            guard,
            ControlSettings(
                command_timeout_s=self.value("command_timeout_s"),
                command_delay_s=self.value("command_delay_s"),
                ramp_velocity=self.value("ramp_velocity_rad_s"),
                max_step_s=2 / self.value("rate_hz"),
            ),
        )

    def _make_command_faces(self) -> None:
        self._applied = self.create_publisher(JointState, "applied_joint_commands", STATE_QOS)
        self.create_subscription(JointState, "joint_commands", self._on_command, COMMAND_QOS)
        self.create_subscription(
            JointTrajectory, "joint_trajectory", self._on_trajectory, COMMAND_QOS
        )
        self.create_service(SetBool, "~/set_torque", self._on_set_torque)
        self.create_service(Trigger, "~/stop", self._on_stop)

    def start(self) -> None:
        assert self._control is not None
        if self._follower and self.value("torque_on_activate"):
            try:
                self._control.torque_on()
            except BusError as error:
                raise NotReady(f"the arm cannot be armed: {error}") from error
            except ArmError as error:
                raise SetupError(f"the arm cannot be armed: {error}") from error
        self.get_logger().info(f"{self.value('mode')} on {self.value('port')} is active")

    def stop(self) -> None:
        if self._control is None:
            return
        try:
            self._control.torque_off()
        except (BusError, ArmError) as error:
            raise NotReady(str(error)) from error

    def teardown(self) -> None:
        if self._worker is not None:
            self._worker.stop()
            self._worker = None
        if self._control is not None:
            try:
                self.stop()
            finally:
                self._control.arm.close()
                self._control = None

    def _on_failure(self, error: BaseException) -> None:
        self.fail(error)
        self.stop()

    def _run_cycles(self, ending: threading.Event) -> None:
        assert self._control is not None
        control = self._control
        period = 1 / self.value("rate_hz")
        due = time.monotonic()
        telemetry_due = due
        while not ending.wait(max(0.0, due - time.monotonic())):
            due = max(due + period, time.monotonic() - period)
            self._publish(control, control.cycle(time.time_ns()))
            if control.state is State.LOST:
                self._reconnect(control, ending)
                due = time.monotonic()
            elif time.monotonic() > telemetry_due:
                telemetry_due = time.monotonic() + 1.0
                self._telemetry = control.telemetry() or self._telemetry

    def _publish(self, control: Control, cycle: Cycle) -> None:
        joints = control.arm.joints
        if cycle.sample is not None:
            sample = cycle.sample
            self._rate.count(sample.stamp_ns)
            self._states.publish(
                joint_state(joints, sample.stamp_ns, sample.position, sample.velocity)
            )
        if cycle.applied is not None:
            self._applied.publish(joint_state(joints, time.time_ns(), cycle.applied))
        if control.state.value != self._announced:
            self._announced = control.state.value
            self._status.publish(String(data=self._announced))

    def _reconnect(self, control: Control, ending: threading.Event) -> None:
        self.get_logger().error(f"bus lost: {control.last_error}")
        for wait_s in chain(RECONNECT_S, repeat(RECONNECT_S[-1])):
            if ending.wait(wait_s):
                return
            if control.reconnect():
                self.get_logger().warning("bus is back; not armed until ~/set_torque is called")
                return

    def _on_command(self, message: JointState) -> None:
        assert self._control is not None
        try:
            self._control.command(
                message.name, message.position, to_ns(message.header.stamp), time.time_ns()
            )
        except CommandRefused as error:
            self.get_logger().error(f"joint_commands refused: {error}", throttle_duration_sec=2.0)

    def _on_trajectory(self, message: JointTrajectory) -> None:
        assert self._control is not None
        try:
            if not message.points:
                self._control.hold()
                return
            now_ns = time.time_ns()
            motion = self._parsed(self._control, message, now_ns)
            self._control.follow(message.joint_names, motion, now_ns)
        except CommandRefused as error:
            self.get_logger().error(f"joint_trajectory refused: {error}", throttle_duration_sec=2.0)

    @staticmethod
    def _parsed(control: Control, message: JointTrajectory, now_ns: int) -> Trajectory:
        try:
            return trajectory(message, now_ns)
        except ValueError as error:
            raise control.guard.refuse(str(error)) from error

    def _on_set_torque(
        self, request: SetBool.Request, response: SetBool.Response
    ) -> SetBool.Response:
        assert self._control is not None
        if request.data and not self._active:
            response.success, response.message = False, "the node is not active"
            return response
        try:
            if request.data:
                self._control.torque_on()
            else:
                self._control.torque_off()
            response.success, response.message = True, self._control.state.value
        except (BusError, ArmError) as error:
            response.success, response.message = False, str(error)
        return response

    def _on_stop(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        assert self._control is not None
        try:
            self._control.torque_off()
            response.success, response.message = True, self._control.state.value
        except (BusError, ArmError) as error:
            response.success, response.message = False, str(error)
        return response

    def diagnostics(self) -> list[DiagnosticStatus]:
        control, port = self._control, self.value("port")
        name = f"{self.label}: bus"
        if control is None:
            level = DiagnosticStatus.ERROR if self._trouble else DiagnosticStatus.WARN
            return [diagnostic(name, level, self._trouble or "not configured", {}, port)]
        bad = control.state in (State.LOST, State.SILENT, State.UNPROVEN)
        bus = diagnostic(
            name,
            DiagnosticStatus.ERROR if bad else DiagnosticStatus.OK,
            f"{control.state.value}: {control.last_error}" if bad else control.state.value,
            {
                "rate_hz": f"{self._rate.hz():.1f}",
                **asdict(control.counts),
                **asdict(control.guard.counts),
                **asdict(control.arm.bus.counters),
            },
            port,
        )
        return [bus, *self._servo_diagnostics(control, port)]

    def _servo_diagnostics(self, control: Control, port: str) -> list[DiagnosticStatus]:
        if self._telemetry is None:
            return []
        status = []
        for joint, voltage in self._telemetry.voltage.items():
            celsius = self._telemetry.temperature[joint]
            error = control.arm.errors.get(joint)
            level = DiagnosticStatus.WARN if celsius >= WARM_C else DiagnosticStatus.OK
            level = DiagnosticStatus.ERROR if error else level
            told = describe(error) if error else f"{voltage:.1f} V, {celsius:.0f} °C"
            values = {"voltage_v": voltage, "temperature_c": celsius}
            status.append(diagnostic(f"{self.label}: {joint}", level, told, values, port))
        return status


class _Rate:
    """Mean rate since the last question."""

    def __init__(self) -> None:
        self._count = 0
        self._since_ns = self._last_ns = 0

    def count(self, stamp_ns: int) -> None:
        self._count += 1
        self._last_ns = stamp_ns

    def hz(self) -> float:
        elapsed = (self._last_ns - self._since_ns) * 1e-9
        rate = self._count / elapsed if self._since_ns and elapsed > 0 else 0.0
        self._count, self._since_ns = 0, self._last_ns
        return rate


def main() -> None:
    run(ServoBus)


if __name__ == "__main__":
    main()
