"""Joint names, LeRobot's, in servo order."""

SO101_JOINTS = (
    "shoulder_pan",
    "shoulder_lift",
    "elbow_flex",
    "wrist_flex",
    "wrist_roll",
    "gripper",
)

GRIPPER = "gripper"


def feature_names(joints: tuple[str, ...]) -> tuple[str, ...]:
    """LeRobot's names of the components of `action` and `observation.state`."""
    return tuple(f"{joint}.pos" for joint in joints)
