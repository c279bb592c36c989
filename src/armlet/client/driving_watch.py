"""What is heard of a policy while somebody looks at it; parsed when they do, not as it comes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from rclpy.qos import QoSProfile, ReliabilityPolicy
from std_msgs.msg import String
from trajectory_msgs.msg import JointTrajectory

from armlet.contract.provenance import Provenance, ProvenanceError
from armlet.contract.provenance import parse as parse_provenance
from armlet.files import FileError
from armlet.findings import Finding, read_findings
from armlet.nodes.cdr import CdrError, read_trajectory
from armlet.nodes.messages import to_ns
from armlet.nodes.node import LATCHED_QOS

from .driving import Chunk, Heard, Measured, Slots
from .sight import topic_of

# Type, handler, QoS, and whether bytes are wanted.
Wanted = tuple[Any, Callable[[Any], None], Any, bool]

_NEWEST = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
_JOINTS, _CHUNKS = "joint_states", "joint_trajectory"
_MEASURED_GAP_S, _CHUNK_GAP_S, _MOST = 0.06, 0.2, 128
_MOST_BYTES = 1 << 20


class DrivingWatch:
    """Keeps what a screen shows of a policy. For several threads.

    measured: reads joints and their stamp of a serialized JointState; None where it is none.
    clock: the graph's time, s, so that as much is kept where that passes slowly.
    """

    def __init__(
        self, measured: Callable[[bytes], Measured | None], clock: Callable[[], float]
    ) -> None:
        self._read_joints, self._clock = measured, clock
        self._lock = threading.Lock()
        self._joints: dict[str, Slots[bytes]] = {}
        self._chunks: dict[str, Slots[bytes]] = {}
        self._provenance: Provenance | None = None
        self._fit: tuple[Finding, ...] = ()
        self._of = ""

    def wanted(self, arms: Iterable[str], policy: str) -> Mapping[str, Wanted]:
        """The topics to listen to beside those of arms' joints. policy: its node, "" for none."""
        with self._lock:
            if policy != self._of:
                self._of, self._provenance, self._fit = policy, None, ()
        if not policy:
            return {}
        chunks = {
            topic_of(arm, _CHUNKS): (JointTrajectory, self._hears(arm), _NEWEST, True)
            for arm in arms
        }
        return {
            **chunks,
            f"{policy}/provenance": (String, self._on_provenance, LATCHED_QOS, False),
            f"{policy}/fit": (String, self._on_fit, LATCHED_QOS, False),
        }

    def hear_joints(self, arm: str, message: bytes) -> None:
        """A serialized JointState of an arm."""
        now_s = self._clock()
        with self._lock:
            slots = self._joints.setdefault(arm, Slots(_MEASURED_GAP_S, _MOST))
            slots.add(message, now_s)

    def heard(self, arms: Iterable[str]) -> Heard:
        """All that was heard of these arms."""
        with self._lock:
            joints = {arm: self._joints[arm].items() for arm in arms if arm in self._joints}
            chunks = {arm: self._chunks[arm].items() for arm in arms if arm in self._chunks}
            provenance, fit = self._provenance, self._fit
        read = {arm: [self._read_joints(data) for data in items] for arm, items in joints.items()}
        plans = {arm: [_chunk(data) for data in items] for arm, items in chunks.items()}
        return Heard(
            {arm: [one for one in rows if one is not None] for arm, rows in plans.items()},
            {arm: [one for one in rows if one is not None] for arm, rows in read.items()},
            provenance,
            fit,
        )

    def forget(self) -> None:
        """Nobody looks any more: what was heard would be old when somebody does."""
        with self._lock:
            self._joints.clear()
            self._chunks.clear()

    def _hears(self, arm: str) -> Callable[[bytes], None]:
        def hear(message: bytes) -> None:
            now_s = self._clock()
            if len(message) <= _MOST_BYTES:
                with self._lock:
                    slots = self._chunks.setdefault(arm, Slots(_CHUNK_GAP_S, _MOST))
                    slots.add(message, now_s)

        return hear

    def _on_provenance(self, message: String) -> None:
        try:
            found = parse_provenance(message.data)
        except ProvenanceError:  # of another armlet: its status still says how it is doing
            found = None
        with self._lock:
            self._provenance = found

    def _on_fit(self, message: String) -> None:
        try:
            found = read_findings(message.data)
        except FileError:
            found = ()
        with self._lock:
            self._fit = found


def _chunk(data: bytes) -> Chunk | None:
    """None for a hold, which has no rows, and for what the driver refuses too."""
    try:
        message = read_trajectory(data)
    except CdrError:
        return None
    if not len(message.times_s):
        return None
    stamp_ns = to_ns(message.header.stamp)
    return Chunk(stamp_ns, message.joint_names, message.times_s, message.positions)
