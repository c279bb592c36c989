"""The frames the aligner emits, put together again for the recorder and the policy."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CompressedImage, Image, JointState
from std_msgs.msg import Float64MultiArray, String

from armlet import contract as contracts
from armlet.align import Assembler, CommandSource, command_source
from armlet.contract import Contract, ContractError
from armlet.robots.joints import joint_names

from .messages import MessageError, parse_ledger, parse_sent_age_s, parse_skew, positions, to_ns
from .node import LATCHED_QOS
from .pictures import rgb
from .stamps import valid

# Parts of frames are kept for longer than the aligner waits for late data and is behind.
ASSEMBLED_S = 12.0

_STATE = "observation.state"
_ACTION = "action"
_SKEWS = ("observation.skew", "action.skew")

# What a camera may be called, so that there is a topic of that name.
_CAMERA_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_MOST_CAMERAS, _MOST_JOINTS, _LARGEST_SIDE, _HIGHEST_FPS = 16, 64, 16_384, 1000
_CODECS = ("jpeg", "raw")
_TEXT_SHOWN = 500


@dataclass(frozen=True)
class LiveFrame:
    """One frame as messages; pictures are decoded when asked for, off the executor thread."""

    stamp_ns: int
    contract: Contract
    parts: dict[str, Any]

    def state(self) -> NDArray[np.float64]:
        """Joint positions (n,), radians."""
        return positions(self.parts[_STATE], joint_names(self.contract.state_names))

    def action(self) -> NDArray[np.float64]:
        """The command that was sent (n,), radians."""
        return positions(self.parts[_ACTION], joint_names(self.contract.action_names))

    def command_source(self) -> CommandSource:
        """Who commanded the action."""
        return command_source.parse(self.parts[_ACTION].header.frame_id)

    def images(self) -> dict[str, NDArray[np.uint8]]:
        """RGB pictures (H, W, 3) by camera. Raises CameraError or MessageError."""
        return {camera.name: self.image(camera.name) for camera in self.contract.cameras}

    def image(self, camera: str) -> NDArray[np.uint8]:
        """One camera's RGB picture (H, W, 3). Raises CameraError or MessageError."""
        return rgb(self.parts[camera])

    def pictures(self) -> dict[str, Any]:
        """By camera: JPEG bytes as they came, or RGB pixels (H, W, 3). Raises MessageError."""
        return {camera.name: _picture(self.parts[camera.name]) for camera in self.contract.cameras}

    def skew_s(self) -> dict[str, float]:
        """Source stamp minus frame stamp, s, by stream."""
        return {k: v for skew in self._skews() for k, v in parse_skew(skew)[1].items()}

    def ledger(self) -> dict[str, dict[str, int]]:
        """The aligner's counts as of this frame, by stream; `align.counts_since` an earlier one."""
        return {k: v for skew in self._skews() for k, v in parse_ledger(skew).items()}

    def _skews(self) -> list[Any]:
        return [self.parts[key] for key in _SKEWS if key in self.parts]


class FrameSubscriber:
    """Learns what is in a frame from the aligner's contract, then delivers whole frames.

    on_contract is called for every other contract, before any frame under it. on_refused is called
    with the topic and the reason for every message that is none. with_action: frames carry the
    action and the skews too, and none is complete without them.
    """

    def __init__(
        self,
        node: Node,
        qos: QoSProfile,
        on_contract: Callable[[Contract], None],
        on_frame: Callable[[LiveFrame], None],
        on_refused: Callable[[str, str], None],
        with_action: bool,
    ):
        self._node, self._qos = node, qos
        self._on_contract, self._on_frame = on_contract, on_frame
        self._on_refused = on_refused
        self._with_action = with_action
        self._contract: Contract | None = None
        self._assembler: Assembler | None = None
        self._parts: list[Any] = []
        self._skews: dict[str, Float64MultiArray] = {}
        self._announcement = node.create_subscription(
            String, "observation/contract", self._receive_contract, LATCHED_QOS
        )

    @property
    def incomplete(self) -> int:
        """Frames of which a part never came."""
        return 0 if self._assembler is None else self._assembler.incomplete

    def sent_age_s(self) -> float | None:
        """How old (s) the newest frame was when the aligner sent it, by the aligner's clock.

        None where the sender does not tell.
        """
        ages = [parse_sent_age_s(message) for message in self._skews.values()]
        return max((age for age in ages if age is not None), default=None)

    def close(self) -> None:
        self._node.destroy_subscription(self._announcement)
        self._unsubscribe()

    def _unsubscribe(self) -> None:
        for subscription in self._parts:
            self._node.destroy_subscription(subscription)
        self._parts.clear()
        self._skews.clear()

    def _receive_contract(self, message: String) -> None:
        try:
            contract = contracts.parse(message.data)
            _require_frames(contract)
        except ContractError as error:
            text = str(error)[:_TEXT_SHOWN]
            self._node.get_logger().error(f"observation/contract is ignored: {text}")
            return
        if contract == self._contract:
            return
        self._unsubscribe()
        self._contract = contract
        self._subscribe(contract)
        self._on_contract(contract)

    def _subscribe(self, contract: Contract) -> None:
        sources: dict[str, tuple[type, str]] = {_STATE: (JointState, "observation/state")}
        for camera in contract.cameras:
            topic = f"observation/images/{camera.name}"
            jpeg = camera.codec == "jpeg"
            kind = CompressedImage if jpeg else Image
            sources[camera.name] = (kind, f"{topic}/compressed" if jpeg else topic)
        if self._with_action:
            sources[_ACTION] = (JointState, "action")
            for skew in _SKEWS:
                sources[skew] = (Float64MultiArray, skew.replace(".", "/"))
        else:
            # Of use without the action too: it says when a frame was sent.
            self._parts.append(
                self._node.create_subscription(
                    Float64MultiArray, "observation/skew", self._keep_skew, self._qos
                )
            )
        # Observations may be whole while a late command is still waited for, and the reverse.
        self._assembler = Assembler(sources, depth=round(ASSEMBLED_S * contract.fps))
        for key, (kind, topic) in sources.items():
            receive = self._receiver(key, kind)
            self._parts.append(self._node.create_subscription(kind, topic, receive, self._qos))

    def _keep_skew(self, message: Float64MultiArray) -> None:
        self._skews["observation.skew"] = message

    def _receiver(self, key: str, kind: type) -> Callable[[Any], None]:
        def receive(message: Any) -> None:
            try:
                if kind is Float64MultiArray:
                    stamp_ns = parse_skew(message)[0]
                    parse_ledger(message)
                    self._skews[key] = message
                else:
                    if not valid(message.header.stamp):
                        raise MessageError(f"its stamp is not a valid time: {message.header.stamp}")
                    stamp_ns = to_ns(message.header.stamp)
            except MessageError as error:
                self._on_refused(key, f"{key}: {error}")
                return
            self._add(key, stamp_ns, message)

        return receive

    def _add(self, key: str, stamp_ns: int, value: Any) -> None:
        assert self._assembler is not None
        assert self._contract is not None
        parts = self._assembler.add(key, stamp_ns, value)
        if parts is not None:
            self._on_frame(LiveFrame(stamp_ns, self._contract, parts))


def _require_frames(contract: Contract) -> None:
    """Raise ContractError unless an aligner can have frames like that, whoever says so."""
    names = [camera.name for camera in contract.cameras]
    if len(names) > _MOST_CAMERAS or len(set(names)) < len(names):
        raise ContractError(f"expected at most {_MOST_CAMERAS} cameras, each once; found {names}")
    for camera in contract.cameras:
        if not _CAMERA_NAME.fullmatch(camera.name) or "__" in camera.name or camera.name == _ACTION:
            raise ContractError(
                "a camera's name must be usable in a topic: letters, digits and single "
                "underscores, "
                f"found {camera.name!r}"
            )
        if not (0 < camera.height <= _LARGEST_SIDE and 0 < camera.width <= _LARGEST_SIDE):
            raise ContractError(f"{camera.name} has pictures of {camera.width}x{camera.height}")
        if camera.codec not in _CODECS:
            raise ContractError(f"{camera.name}: codec must be of {_CODECS}, found {camera.codec}")
    for joints in (contract.state_names, contract.action_names):
        if not 0 < len(joints) <= _MOST_JOINTS or len(set(joints)) < len(joints):
            raise ContractError(f"expected 1 to {_MOST_JOINTS} joints, each once; found {joints}")
    if not 0 < contract.fps <= _HIGHEST_FPS:
        raise ContractError(f"fps must be 1 to {_HIGHEST_FPS}, found {contract.fps}")


def _picture(message: Image | CompressedImage) -> Any:
    return message.data if isinstance(message, CompressedImage) else rgb(message)
