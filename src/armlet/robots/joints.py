"""What a joint is by its name, and the names LeRobot gives the components of a vector."""

from collections.abc import Iterable

GRIPPER = "gripper"


def is_gripper(name: str) -> bool:
    """Whether a joint or feature is a gripper: by its own name, whatever prefix it has.

    The one place that decides it: `gripper`, `left_gripper`, `right/gripper.pos`.
    """
    return name.removesuffix(".pos").endswith(GRIPPER)


def arm_prefixes(joints: Iterable[str]) -> list[str]:
    """What the joints of several arms of one kind have before their own names; [""] of one arm.

    left_pan, left_gripper, right_pan, right_gripper: left_ and right_, as each has a gripper.
    """
    arms: dict[str, set[str]] = {}
    for joint in joints:
        prefix, _, own = joint.partition("_")
        arms.setdefault(f"{prefix}_", set()).add(own)
    first, *others = arms.values()
    alike = bool(others) and all(own == first for own in others)
    return list(arms) if alike and any(map(is_gripper, first)) else [""]


def in_namespace(prefix: str, name: str) -> str:
    """A topic or node of the arm whose joints have a prefix: left_ is in the namespace left."""
    return f"{prefix.rstrip('_')}/{name}".lstrip("/")


def frame_prefix(namespace: str) -> str:
    """What TF frames of a namespace have before their own names: lab_left_ of /lab/left."""
    names = [name for name in namespace.split("/") if name]
    return "".join(f"{name}_" for name in names)


def joint_names(features: Iterable[str]) -> tuple[str, ...]:
    """The joints of the components of a vector, by LeRobot's names of them or by their own."""
    return tuple(name.removesuffix(".pos") for name in features)


def feature_names(joints: tuple[str, ...]) -> tuple[str, ...]:
    """LeRobot's names of the components of `action` and `observation.state`."""
    return tuple(f"{joint}.pos" for joint in joints)
