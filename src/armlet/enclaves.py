"""SROS 2's enclaves: what a process shows to the others, and may do, is its enclave's.

An enclave is a folder of keys and signed permissions, named by a path. A node's is its full name;
the programs of a person in a graph's namespace share one, the operator's.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

ENABLED, STRATEGY = "ROS_SECURITY_ENABLE", "ROS_SECURITY_STRATEGY"
OVERRIDE = "ROS_SECURITY_ENCLAVE_OVERRIDE"
ENFORCED = "Enforce"
OPERATOR, VIEWER = "operator", "viewer"


def of_node(label: str) -> str:
    """The enclave of a node by its namespace and name."""
    return f"/{label.strip('/')}"


def of_person(namespace: str, name: str = OPERATOR) -> str:
    """The enclave of a person's programs beside the graph of a namespace."""
    return of_node(f"{namespace.strip('/')}/{name}")


def is_enabled(environment: Mapping[str, str]) -> bool:
    """Whether ROS looks for an enclave at all."""
    return environment.get(ENABLED) == "true"


def ros_arguments(enclave: str, environment: Mapping[str, str]) -> list[str]:
    """What a process gives ROS behind --ros-args to be in an enclave; nothing without security.

    ROS_SECURITY_ENCLAVE_OVERRIDE comes before it.
    """
    return ["--enclave", enclave] if is_enabled(environment) else []


def override(enclave: str, environment: Mapping[str, str]) -> dict[str, str]:
    """Variables of a process in an enclave that is told nothing behind --ros-args."""
    return {OVERRIDE: enclave} if is_enabled(environment) else {}


def init_arguments(namespace: str, environment: Mapping[str, str] = os.environ) -> list[str]:
    """The arguments that a person's program gives rclpy.init."""
    given = ros_arguments(of_person(namespace), environment)
    return ["--ros-args", *given] if given else []


def warning(environment: Mapping[str, str]) -> str:
    """What is not protected although security is on; empty if it is, or is off."""
    if not is_enabled(environment) or environment.get(STRATEGY) == ENFORCED:
        return ""
    return (
        f"{ENABLED} is set and {STRATEGY} is not {ENFORCED}: a node whose enclave is missing runs "
        f"without any protection; export {STRATEGY}={ENFORCED}"
    )
