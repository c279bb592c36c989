"""Whether raw pictures can get through Fast DDS whole."""

from __future__ import annotations

import os
from pathlib import Path

from rclpy.utilities import get_rmw_implementation_identifier

from armlet.bringup import FASTDDS_VARIABLE, fastdds_profile

# The variable's name in Fast DDS 2, and the file both versions find in the working directory.
_OLD_VARIABLE = "FASTRTPS_DEFAULT_PROFILES_FILE"
_LOCAL_FILE = "DEFAULT_FASTDDS_PROFILES.xml"


def raw_picture_warning(topics: list[str]) -> str:
    """What to tell a person who subscribes raw pictures without a profile; empty if all is well."""
    if not topics or not get_rmw_implementation_identifier().startswith("rmw_fastrtps"):
        return ""
    if os.environ.get(FASTDDS_VARIABLE) or os.environ.get(_OLD_VARIABLE):
        return ""
    if Path(_LOCAL_FILE).exists():
        return ""
    return (
        f"{', '.join(topics)}: raw pictures do not fit Fast DDS's default shared-memory segment "
        "and are sent in fragments, slowly, and mostly lost where best effort; start the graph "
        f"with raw:=true, or every process with {FASTDDS_VARIABLE}={fastdds_profile()}"
    )
