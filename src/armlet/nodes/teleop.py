"""teleop: the follower does what the leader does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus
from sensor_msgs.msg import JointState
from std_srvs.srv import SetBool

from armlet.control import Teleoperation
from armlet.priority import Role, raise_process
from armlet.robots import CalibrationError
from armlet.robots import calibration as calibrations
from armlet.robots.unit_check import IMPLAUSIBLE_RAD
from armlet.robots.units import joint_units
from armlet.settings.teleop import SETTINGS

from .engagement import Engagement
from .messages import diagnostic, to_ns
from .node import SENSOR_QOS, ArmletNode, SetupError, run
from .stamps import valid
from .status_names import LEADER, status_name

# A leader's driver is there by then, also on a busy computer.
START_S = 10.0


class Teleop(ArmletNode):
    """Publishes joint_commands for every leader state: of the joints that were read, no others.

    A silent leader, or a disengaged one, publishes nothing: the servo bus holds, and joins the
    leader with its ramp when it is back. A policy gets the arm only once it is handed back, by a
    leader that is disengaged. A silent one is not engaged: it would take over once it is back.
    """

    def __init__(self) -> None:
        super().__init__("teleop", SETTINGS)
        self._person = Engagement(self, status_name(self.label, LEADER))
        self._engaged = bool(self.value("engaged"))
        self._last_ns = self._begun_ns = 0
        self._refused = 0

    def setup(self) -> None:
        try:
            self._teleoperation = Teleoperation(
                calibrations.load(Path(self.value("leader_calibration_file"))),
                calibrations.load(Path(self.value("follower_calibration_file"))),
                joint_units(self.value("joint_units")),
                self.value("scale"),
            )
        except (CalibrationError, ValueError) as error:
            raise SetupError(str(error)) from error
        self.create_service(SetBool, "~/set_engaged", self._on_set_engaged)

    def start(self) -> None:
        self._begun_ns = self.now_ns()
        self._person.announce(self._engaged, self._standing())
        self._subscription = self.create_subscription(
            JointState, "leader/joint_states", self._on_leader, SENSOR_QOS
        )

    def stop(self) -> None:
        self.destroy_subscription(self._subscription)

    def _on_set_engaged(
        self, request: SetBool.Request, response: SetBool.Response
    ) -> SetBool.Response:
        if request.data and not self._engaged and (why := self._why_not()):
            response.success, response.message = False, f"not engaged: {why}"
            return response
        self._engaged = request.data
        if self._engaged:
            self._person.announce(True, self._standing())
        else:
            self._person.hand_back(self._standing())
        response.success, response.message = True, self._standing()
        return response

    def _why_not(self) -> str:
        if not self._active:
            return "teleop is not active"
        silence = self._silence()
        return f"the leader {silence}; is leader/servo_bus running?" if silence else ""

    def _on_leader(self, message: JointState) -> None:
        stamp_ns = to_ns(message.header.stamp)
        unknown = set(message.name).difference(self._teleoperation.joints)
        leader = np.array(message.position, np.float64)
        if (
            not message.name
            or unknown
            or len(leader) != len(message.name)
            or not all(abs(angle) <= IMPLAUSIBLE_RAD for angle in message.position)
            or not valid(message.header.stamp)
            or not stamp_ns
        ):
            self._refused += 1
            names = [name[:40] for name in message.name[:8]]
            self.log_once(
                "leader/joint_states",
                f"leader/joint_states: expected positions, radians, of "
                f"{list(self._teleoperation.joints)}, found {names} at {leader[:8].tolist()}",
            )
            return
        self._last_ns = stamp_ns
        if self._engaged:
            follower = self._teleoperation.follow(message.name, leader)
            self._person.command(message.name, stamp_ns, follower)

    def _standing(self) -> str:
        return "following the leader" if self._engaged else "disengaged: the leader is ignored"

    def _silence(self, start_s: float = 0.0) -> str:
        """Why the leader cannot command, as "the leader ..."; empty if it can.

        start_s: how long after the start one that has not been heard is none that is missed.
        """
        # Simulated time is 0 until the first /clock, which may come after the start.
        self._begun_ns = self._begun_ns or self.now_ns()
        age_s = (self.now_ns() - (self._last_ns or self._begun_ns)) * 1e-9
        if not self._last_ns:
            return "has not been heard yet" if age_s >= start_s else ""
        if abs(age_s) <= self.value("max_leader_age_s"):
            return ""
        if age_s < 0:
            return f"has stamps {-age_s:.1f} s ahead of this clock"
        return f"is silent for {age_s:.1f} s"

    def diagnostics(self) -> list[DiagnosticStatus]:
        said = self._standing() if self._last_ns else "waits for the leader"
        silence = self._silence(START_S)
        if silence:
            holds = ": the follower holds" if self._engaged else ""
            said = f"the leader {silence}{holds}; is leader/servo_bus running?"
        return [
            diagnostic(
                status_name(self.label, LEADER),
                DiagnosticStatus.WARN if silence else DiagnosticStatus.OK,
                said,
                {"engaged": self._engaged, "refused": self._refused},
            )
        ]


def main() -> None:
    raise_process(Role.BUS.value.nice)
    run(Teleop)
