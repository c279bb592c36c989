"""jog: a person moves the arm by a gamepad or a SpaceMouse, its tip or joint by joint."""

from __future__ import annotations

import array
from collections.abc import Collection
from pathlib import Path

from diagnostic_msgs.msg import DiagnosticStatus
from sensor_msgs.msg import JointState, Joy
from std_srvs.srv import Trigger

from armlet.control.jog import TIP, Jog, Speeds
from armlet.control.joystick import GRIPPER, LAYOUTS, Joystick, Layout, read_axes, read_buttons
from armlet.priority import Role, raise_process
from armlet.robots import SO101_JOINTS, CalibrationError
from armlet.robots import calibration as calibrations
from armlet.robots.units import limits_radians
from armlet.settings.jog import SETTINGS

from .engagement import Engagement
from .last_seen import LastSeen
from .messages import diagnostic
from .node import SENSOR_QOS, ArmletNode, SetupError, Value, run
from .publishers import publishers_of
from .status_names import JOYSTICK, status_name

PERIOD_S = 0.02
KINEMATICS = "so101"
JOY = "joy"


class JogNode(ArmletNode):
    """Publishes joint_commands while a person holds the button, from where the driver holds it.

    Whoever lets go, or of whom no message comes, stops the arm; it stays theirs, and no policy gets
    it before it is handed back, as with a leader. Of two devices on one topic neither is heard: one
    would let go of, and press, the other's button.
    """

    def __init__(self) -> None:
        super().__init__("jog", SETTINGS)
        self._person = Engagement(self, status_name(self.label, JOYSTICK))
        self._engaged = False
        self._jogging = False

    def setup(self) -> None:
        try:
            calibration = calibrations.load(Path(self.value("calibration_file")))
            self._joints = tuple(calibration)
            tip = self._has_tip(self._joints)
            self._stick = Joystick(
                self._layout(), self._joints, tip, float(self.value("joy_timeout_s"))
            )
        except (CalibrationError, ValueError) as error:
            raise SetupError(str(error)) from error
        self._jog = Jog(self._joints, *limits_radians(calibration), _speeds(self.value))
        self._read, self._held = LastSeen(self._joints), LastSeen(self._joints)
        self.create_service(Trigger, "~/hand_back", self._on_hand_back)

    def _has_tip(self, joints: tuple[str, ...]) -> bool:
        known = self.value("kinematics")
        if not known:
            return False
        if known != KINEMATICS or set(joints) != set(SO101_JOINTS):
            raise ValueError(
                f"kinematics {known!r}: the geometry of {KINEMATICS} is known, whose joints are "
                f"{list(SO101_JOINTS)}, found {list(joints)}; leave it empty to move joints only"
            )
        return True

    def _layout(self) -> Layout:
        device = self.value("device")
        if device not in LAYOUTS:
            raise ValueError(f"device must be one of {sorted(LAYOUTS)}, found {device!r}")
        usual = LAYOUTS[device]
        axes, joints, buttons = (
            [text for text in self.value(name) if text]
            for name in ("axes", "joint_axes", "buttons")
        )
        return Layout(
            read_axes(axes, [*TIP, GRIPPER]) or usual.axes,
            read_axes(joints, self._joints) or usual.joints,
            read_buttons(buttons) or usual.buttons,
        )

    def tune(self, value: Value, changed: Collection[str]) -> None:
        self._jog.limit(_speeds(value))

    def start(self) -> None:
        self._person.announce(False, self._standing())
        self._heard = [
            self.create_subscription(Joy, JOY, self._on_joy, SENSOR_QOS),
            self.create_subscription(JointState, "joint_states", self._read.hear, SENSOR_QOS),
            self.create_subscription(
                JointState, "applied_joint_commands", self._held.hear, SENSOR_QOS
            ),
        ]
        self._timer = self.create_timer(PERIOD_S, self._step)

    def stop(self) -> None:
        self.destroy_timer(self._timer)
        for subscription in self._heard:
            self.destroy_subscription(subscription)
        self._jog.stop()

    def _on_joy(self, message: Joy) -> None:
        axes, buttons = _listed(message.axes), _listed(message.buttons)
        if why := self._stick.hear(axes, buttons, self.clock.seconds()):
            self.log_once("joy", f"joy: {why}")
        if self._stick.hands_back():
            self._hand_back()

    def _step(self) -> None:
        now_ns, oldest_s = self.now_ns(), self.value("max_state_age_s")
        read, held = (seen.position(now_ns, oldest_s) for seen in (self._read, self._held))
        wish = self._stick.wish(self.clock.seconds())
        if read is None or held is None or self.count_publishers(JOY) > 1:
            # An arm that is armed while the button is down must not set out by itself, nor one
            # whose button is let go by another device's messages.
            self._jog.stop()
            self._stick.let_go()
            self._jogging = False
            return
        goal = self._jog.step(wish, held, read, self.clock.seconds())
        self._jogging = goal is not None
        if goal is None:
            return
        if not self._engaged:
            self._engaged = True
            self._person.announce(True, self._standing())
        self._person.command(self._joints, now_ns, goal)

    def _on_hand_back(
        self, request: Trigger.Request, response: Trigger.Response
    ) -> Trigger.Response:
        self._hand_back()
        response.success, response.message = True, "handed back"
        return response

    def _hand_back(self) -> None:
        self._jog.stop()
        self._stick.let_go()
        self._engaged = self._jogging = False
        self._person.hand_back(self._standing())

    def _standing(self) -> str:
        if self._jogging:
            why = self._jog.held_back
            return f"jogging: stopped by {why}" if why else "jogging"
        return "stopped; the arm is the person's" if self._engaged else "waits for a person"

    def _why_not(self) -> str:
        """Why nobody can jog; empty if they can."""
        now_ns, oldest_s = self.now_ns(), self.value("max_state_age_s")
        if self.count_publishers(JOY) > 1:
            names = publishers_of(self, self.resolve_topic_name(JOY))
            return f"several publish joy, nobody jogs until one is left: {', '.join(names)}"
        if self._stick.silent(self.clock.seconds()):
            return "nothing comes on joy: is joy_node, or spacenav, running, and the device awake?"
        if self._read.position(now_ns, oldest_s) is None:
            return "the arm's state is not known: is servo_bus running?"
        if self._held.position(now_ns, oldest_s) is None:
            return "the arm is not armed: t in `armlet session`, or ~/set_torque of servo_bus"
        return ""

    def diagnostics(self) -> list[DiagnosticStatus]:
        if not self._active:
            return []
        why = self._why_not()
        return [
            diagnostic(
                status_name(self.label, JOYSTICK),
                DiagnosticStatus.WARN if why else DiagnosticStatus.OK,
                why or self._standing(),
                {"engaged": self._engaged, "refused": self._stick.refused},
            )
        ]


def _speeds(value: Value) -> Speeds:
    names = ("linear_m_s", "angular_rad_s", "joint_rad_s", "gripper_rad_s")
    return Speeds(*map(value, names))


def _listed(values: object) -> list[float]:
    """A message's numbers as plain ones, whatever rclpy keeps them in."""
    return values.tolist() if isinstance(values, array.array) else list(values)  # type: ignore


def main() -> None:
    raise_process(Role.BUS.value.nice)
    run(JogNode)
