"""Drivers of one name on several computers: found out through what ROS knows of its graph.

On one computer a mark keeps a second one from starting (`armlet.one_graph`). No mark is seen from
another computer, another user's login or a container, and there two drivers would share commands
and mix their joint states. So a driver that holds an arm has a publisher on a hidden topic, whose
name says which process it is. Nothing is ever sent on it: that it is there is all there is to know.
"""

from __future__ import annotations

import hashlib
import os
import re
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from rclpy.qos import QoSProfile
from std_msgs.msg import Empty

if TYPE_CHECKING:
    from .node import ArmletNode

DISCOVERY_S = 1.0
"""A node that has been in its network for so long knows the others, as a rule."""

LEASE_S = 20
"""A process that was killed stays in ROS's graph for so long (DDS: lease duration)."""

_QOS = QoSProfile(depth=1)
# What rmw calls a node of which it has heard by its publishers only, which may stay so.
_UNKNOWN_NAME = "_NODE_NAME_UNKNOWN_"
_CLAIM = re.compile(r"c_(\w{0,40})/b_([0-9a-f]{12})/p_([0-9]{1,10})_([0-9]{1,20})")


class Process(NamedTuple):
    """A process anywhere. boot: of its computer and container; started: clock ticks since then."""

    computer: str
    boot: str
    pid: int
    started: int

    def __str__(self) -> str:
        return f"process {self.pid} on {self.computer or 'another computer'}"


class Namesakes:
    """The other drivers of a driver's full name.

    Attributes:
        words: who they are, for people, as of the last `look`; empty if there are none.
    """

    def __init__(self, node: ArmletNode) -> None:
        self._node, self._born_s = node, time.monotonic()
        self._own = _this_process()
        self._claims = f"{node.get_fully_qualified_name()}/_holds/"
        self.words = ""

    def wait_for_discovery(self) -> None:
        """Wait until who is there already can be known; most of that time has passed at a start."""
        time.sleep(max(0.0, self._born_s + DISCOVERY_S - time.monotonic()))

    def claim(self) -> None:
        """Have the others know that this driver holds an arm, as long as it is configured."""
        self._node.create_publisher(Empty, f"{self._claims}{_claim(self._own)}", _QOS)

    def look(self) -> str:
        """Find out who holds an arm by this name too; `words` from now on."""
        found = []
        for topic, _ in self._node.get_topic_names_and_types():
            if topic.startswith(self._claims) and self._is_held(topic):
                process = _process(topic[len(self._claims) :])
                if process is not None and process != self._own and not _has_ended(process):
                    found.append(str(process))
        self.words = ", ".join(sorted(found))
        return self.words

    def _is_held(self, topic: str) -> bool:
        """Whether a driver of this name publishes there: not somebody who listens, nor a bag."""
        node = self._node
        names = (node.get_name(), _UNKNOWN_NAME)
        return any(each.node_name in names for each in node.get_publishers_info_by_topic(topic))


def _claim(process: Process) -> str:
    computer, boot, pid, started = process
    return f"c_{computer}/b_{boot}/p_{pid}_{started}"


def _process(claim: str) -> Process | None:
    parts = _CLAIM.fullmatch(claim)
    if parts is None:
        return None
    return Process(parts[1], parts[2], int(parts[3]), int(parts[4]))


def _this_process() -> Process:
    computer = re.sub("[^A-Za-z0-9]+", "_", socket.gethostname()).strip("_")[:40].strip("_")
    return Process(computer, _boot(), os.getpid(), _started(os.getpid()))


def _boot() -> str:
    """Of this computer since it was switched on, as seen from this container."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text()
    container = Path("/proc/self/ns/pid").readlink()
    return hashlib.sha256(f"{boot}{container}".encode()).hexdigest()[:12]


def _started(pid: int) -> int:
    """When a process started, in clock ticks since the computer did; see proc(5)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[19])


def _has_ended(process: Process) -> bool:
    """Whether a process of this computer is gone, which ROS's graph knows LEASE_S later."""
    if process.boot != _boot():
        return False
    try:
        os.kill(process.pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False  # another user's
    try:
        return _started(process.pid) != process.started
    except OSError:
        return False
