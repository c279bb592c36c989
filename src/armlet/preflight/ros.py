"""Checks of the ROS environment, without importing ROS into this process."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from armlet.findings import Code, Finding
from armlet.preflight.finding import error, note, ok, warning

_SHM = Path("/dev/shm")
_PROC = Path("/proc")
_TIMEOUT_S = 20.0
_STALE_S = 86_400.0
_LOW_SHM_BYTES = 64e6
"""Two nodes with raw images take a few segments of 32 MB at most."""

_HIGHEST_DOMAIN = 101
"""Above it the ports of a domain reach into Linux's range of ephemeral ports (REP: docs.ros.org,
"The ROS_DOMAIN_ID"); 232 is the protocol's bound."""

_RANGES = ("SUBNET", "LOCALHOST", "OFF", "SYSTEM_DEFAULT")

_PROGRAM = """
import importlib.metadata as metadata, pathlib, re
import rclpy
try:
    print(metadata.version("ros-rclpy"))
except metadata.PackageNotFoundError:
    here = pathlib.Path(rclpy.__file__)
    shares = [p / "share/rclpy/package.xml" for p in here.parents]
    texts = [p.read_text() for p in shares if p.exists()]
    print(re.search("<version>(.*?)</version>", texts[0])[1] if texts else "unknown version")
print(rclpy.__file__)
print(rclpy.get_rmw_implementation_identifier())
"""


def client() -> Iterator[Finding]:
    """Whether rclpy can be imported, and with which middleware; in a process of its own."""
    answer = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
    if answer.returncode == 0:
        version, place, middleware = answer.stdout.split("\n")[:3]
        yield ok(Code.ROS_NOT_IMPORTABLE, "rclpy", f"{version} in {Path(place).parent}")
        yield ok(Code.ROS_MIDDLEWARE_NOT_LOADABLE, "middleware", middleware)
        return
    said = answer.stderr.strip().splitlines()
    last = said[-1] if said else f"exit status {answer.returncode}"
    wanted = os.environ.get("RMW_IMPLEMENTATION")
    if wanted and "rmw" in answer.stderr.lower():
        found = f"RMW_IMPLEMENTATION={wanted} cannot be loaded: {last}"
        yield error(
            Code.ROS_MIDDLEWARE_NOT_LOADABLE, "middleware", found, "unset RMW_IMPLEMENTATION"
        )
    elif "No module named 'rclpy'" in last:
        fix = "source /opt/ros/*/setup.bash, or: pip install 'armlet[ros]'"
        yield warning(
            Code.ROS_NOT_INSTALLED, "rclpy", "not installed: the tools work, the nodes do not", fix
        )
    else:
        fix = "open a new terminal and source one ROS installation only"
        yield error(Code.ROS_NOT_IMPORTABLE, "rclpy", f"cannot be imported: {last}", fix)


def discovery(environment: Mapping[str, str]) -> Iterator[Finding]:
    """Who the nodes will see."""
    domain = environment.get("ROS_DOMAIN_ID", "")
    if domain and not (domain.isdecimal() and int(domain) <= _HIGHEST_DOMAIN):
        found = f"ROS_DOMAIN_ID={domain}, expected 0..{_HIGHEST_DOMAIN}"
        yield error(Code.ROS_DOMAIN_INVALID, "domain", found, "export ROS_DOMAIN_ID=0")
    else:
        yield ok(
            Code.ROS_DOMAIN_INVALID,
            "domain",
            f"{domain} (ROS_DOMAIN_ID)" if domain else "0 (ROS_DOMAIN_ID not set)",
        )
    reach = environment.get("ROS_AUTOMATIC_DISCOVERY_RANGE", "")
    if reach and reach.upper() not in _RANGES:
        found = f"ROS_AUTOMATIC_DISCOVERY_RANGE={reach}, expected one of {', '.join(_RANGES)}"
        yield error(
            Code.ROS_DISCOVERY_RANGE_INVALID,
            "discovery",
            found,
            "export ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST",
        )
    elif reach.upper() == "OFF":
        found = "OFF: nodes do not see each other"
        yield error(
            Code.ROS_DISCOVERY_OFF,
            "discovery",
            found,
            "export ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST",
        )
    elif reach or environment.get("ROS_LOCALHOST_ONLY") == "1":
        yield ok(
            Code.ROS_DISCOVERY_SUBNET,
            "discovery",
            reach or "this machine only (ROS_LOCALHOST_ONLY=1)",
        )
    else:
        found = "whole subnet, unless `armlet up` starts it: others there can command the arm"
        yield note(
            Code.ROS_DISCOVERY_SUBNET,
            "discovery",
            found,
            "export ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST",
        )


def packages(environment: Mapping[str, str]) -> Iterator[Finding]:
    """Whether ros2 launch finds armlet."""
    prefixes = [Path(each) for each in environment.get("AMENT_PREFIX_PATH", "").split(":") if each]
    absent = [str(prefix) for prefix in prefixes if not prefix.is_dir()]
    if absent:
        found = f"AMENT_PREFIX_PATH names {', '.join(absent)}, not there"
        yield warning(
            Code.ROS_PREFIX_MISSING,
            "packages",
            found,
            "open a new terminal and source your workspace again",
        )
    index = "share/ament_index/resource_index/packages/armlet"
    home = next((prefix for prefix in prefixes if (prefix / index).exists()), None)
    if home is not None:
        yield ok(Code.ROS_PACKAGE_NOT_FOUND, "packages", f"ros2 finds armlet in {home}")
    elif not absent:
        found = "AMENT_PREFIX_PATH leads to no armlet" if prefixes else "AMENT_PREFIX_PATH not set"
        fix = "armlet up works without; for ros2 launch source your workspace"
        yield note(Code.ROS_PACKAGE_NOT_FOUND, "packages", found, fix)


def shared_memory() -> Iterator[Finding]:
    """Room for the middleware's shared memory, and what dead nodes have left there."""
    if not _SHM.is_dir():
        yield note(
            Code.ROS_SHARED_MEMORY_LOW, "shared memory", f"no {_SHM}: nodes talk over UDP", ""
        )
        return
    usage = shutil.disk_usage(_SHM)
    found = f"{usage.free / 1e6:.0f} MB free of {usage.total / 1e6:.0f} MB in {_SHM}"
    if usage.free < _LOW_SHM_BYTES:
        fix = "free some, or in a container: docker run --shm-size=512m"
        yield warning(Code.ROS_SHARED_MEMORY_LOW, "shared memory", found, fix)
    else:
        yield ok(Code.ROS_SHARED_MEMORY_LOW, "shared memory", found)
    stale = stale_segments(time.time())
    if stale:
        command = "fastdds shm clean"
        if shutil.which("fastdds") is None:
            command = f"find {_SHM} -name '*fastdds_*' -mtime +0 -delete"
        found = f"{len(stale)} files of dead nodes (fastdds_*) slow discovery down"
        yield warning(Code.ROS_SHARED_MEMORY_STALE, "shared memory", found, command)


def stale_segments(now_s: float) -> list[Path]:
    """Fast DDS files older than a day that no process has mapped."""
    old = [path for path in _SHM.glob("*fastdds_*") if _age_s(path, now_s) > _STALE_S]
    if not old:
        return []
    mapped = "\n".join(_maps(process) for process in _PROC.iterdir() if process.name.isdecimal())
    return [path for path in old if str(path) not in mapped]


def _age_s(path: Path, now_s: float) -> float:
    try:
        return now_s - path.stat().st_mtime
    except OSError:
        return 0.0  # gone meanwhile


def _maps(process: Path) -> str:
    try:
        return (process / "maps").read_text()
    except OSError:
        return ""  # ended, or another user's
