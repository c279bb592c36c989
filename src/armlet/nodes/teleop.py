"""teleop: the follower does what the leader does."""

from __future__ import annotations

from pathlib import Path

from sensor_msgs.msg import JointState

from armlet.arm import CalibrationError
from armlet.arm import calibration as calibrations
from armlet.arm.units import dataset_to_radians, joint_units, radians_to_dataset

from .messages import MessageError, positions, to_ns
from .messages import joint_state as joint_state_message
from .node import COMMAND_QOS, SENSOR_QOS, ArmletNode, Setting, SetupError, run

SETTINGS = (
    Setting("leader_calibration_file", "", "LeRobot calibration JSON of the leader"),
    Setting("follower_calibration_file", "", "LeRobot calibration JSON of the follower"),
    Setting(
        "joint_units",
        "degrees",
        "in which units leader and follower agree: degrees or range_m100_100 (as in LeRobot)",
    ),
)


class Teleop(ArmletNode):
    """Maps leader positions to follower commands, through each arm's own calibration.

    As in LeRobot, both arms agree in dataset units: the gripper always by its share of the range.
    A silent leader publishes nothing, and the servo bus then holds.
    """

    def __init__(self) -> None:
        super().__init__("teleop", SETTINGS)
        self._publisher = self.create_publisher(JointState, "joint_commands", COMMAND_QOS)

    def setup(self) -> None:
        try:
            self._units = joint_units(self.value("joint_units"))
            self._leader = calibrations.load(Path(self.value("leader_calibration_file")))
            self._follower = calibrations.load(Path(self.value("follower_calibration_file")))
        except (CalibrationError, ValueError) as error:
            raise SetupError(str(error)) from error
        if list(self._leader) != list(self._follower):
            raise SetupError(
                f"leader joints {list(self._leader)} differ from follower's {list(self._follower)}"
            )

    def start(self) -> None:
        self._subscription = self.create_subscription(
            JointState, "leader/joint_states", self._on_leader, SENSOR_QOS
        )

    def stop(self) -> None:
        self.destroy_subscription(self._subscription)

    def _on_leader(self, message: JointState) -> None:
        try:
            leader = positions(message, list(self._leader))
        except MessageError as error:
            self.get_logger().error(str(error), throttle_duration_sec=2.0)
            return
        shared = radians_to_dataset(leader, self._leader, self._units)
        follower = dataset_to_radians(shared, self._follower, self._units)
        stamp_ns = to_ns(message.header.stamp)
        self._publisher.publish(joint_state_message(list(self._follower), stamp_ns, follower))


def main() -> None:
    run(Teleop)


if __name__ == "__main__":
    main()
