"""Fast DDS's profiles: whether raw pictures get through whole, which way a node hears itself."""

from __future__ import annotations

import os
from pathlib import Path

from rclpy.utilities import get_rmw_implementation_identifier

from armlet.bringup import FASTDDS_VARIABLE, fastdds_profile, own_messages_profile

# The variable's name in Fast DDS 2, and the file both versions find in the working directory.
_OLD_VARIABLE = "FASTRTPS_DEFAULT_PROFILES_FILE"
_LOCAL_FILE = "DEFAULT_FASTDDS_PROFILES.xml"


def raw_picture_warning(topics: list[str]) -> str:
    """What to tell a person who subscribes raw pictures without a profile; empty if all is well."""
    if not topics or not get_rmw_implementation_identifier().startswith("rmw_fastrtps"):
        return ""
    if _profile_chosen():
        return ""
    return (
        f"{', '.join(topics)}: raw pictures do not fit Fast DDS's default shared-memory segment "
        "and are sent in fragments, slowly, and mostly lost where best effort; start the graph "
        f"with raw:=true, or every process with {FASTDDS_VARIABLE}={fastdds_profile()}"
    )


def hear_own_messages_as_others() -> None:
    """Have what this process sends to itself come through the threads that receive.

    Before rclpy's init. A profile that a person has chosen stays.
    """
    if not _profile_chosen():
        os.environ[FASTDDS_VARIABLE] = str(own_messages_profile())


def _profile_chosen() -> bool:
    chosen = os.environ.get(FASTDDS_VARIABLE) or os.environ.get(_OLD_VARIABLE)
    return bool(chosen) or Path(_LOCAL_FILE).exists()
