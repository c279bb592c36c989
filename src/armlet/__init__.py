"""ROS 2 control and inference stack for small servo arms.

What a program of one's own needs is here, each imported when it is first used:

    from armlet import Dataset, Director, GraphError, Observation, Policy, load_policy, start
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from .client.graph import Director as Director
    from .client.graph import GraphError as GraphError
    from .client.start import start as start
    from .datasets import Dataset as Dataset
    from .policies import Observation as Observation
    from .policies import Policy as Policy
    from .policies import load_policy as load_policy

_PUBLIC = {
    "start": "armlet.client.start",
    "Director": "armlet.client.graph",
    "GraphError": "armlet.client.graph",
    "Dataset": "armlet.datasets",
    "Observation": "armlet.policies",
    "Policy": "armlet.policies",
    "load_policy": "armlet.policies",
}


def __getattr__(name: str) -> Any:
    """The public name, from the module that has it: rclpy and torch are no part of every use."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'armlet' has no attribute {name!r}; it has {list(_PUBLIC)}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])
