"""What a gamepad's or a SpaceMouse's sticks and buttons mean, and whether a person holds it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from armlet.robots.joints import is_gripper

from .jog import TIP, Wish

GRIPPER = "gripper"
BUTTONS = ("hold", "joints", "open", "close", "hand_back")
"""hold, the dead man's button: jog while it is pressed. joints: axes move joints while it is
pressed. open, close: the gripper. hand_back: the arm goes back to a policy."""

REST = 0.08
"""Deflections up to this are none: sticks do not come back to zero."""

_LAST_INDEX = 255


@dataclass(frozen=True)
class Layout:
    """Which axis and button is which, by their place in a message.

    axes: by TIP or gripper, joints: by joint; each the place and a sign, +1 or -1. buttons: by
    BUTTONS.
    """

    axes: Mapping[str, tuple[int, int]]
    joints: Mapping[str, tuple[int, int]]
    buttons: Mapping[str, int]


LAYOUTS = {
    # An Xbox pad as ROS's joy_node has it.
    "gamepad": Layout(
        {"x": (1, 1), "y": (0, 1), "z": (4, 1), "pitch": (7, -1), "roll": (3, 1)},
        {
            "shoulder_pan": (0, -1),
            "shoulder_lift": (1, 1),
            "elbow_flex": (4, -1),
            "wrist_flex": (7, -1),
            "wrist_roll": (3, 1),
        },
        {"hold": 4, "joints": 5, "open": 1, "close": 0, "hand_back": 6},
    ),
    # As ROS's spacenav has it: three ways to push the cap and three to turn it.
    "spacemouse": Layout(
        {
            "x": (0, 1),
            "y": (1, 1),
            "z": (2, 1),
            "pitch": (4, 1),
            "roll": (3, -1),
            "gripper": (5, 1),
        },
        {
            "shoulder_pan": (1, -1),
            "shoulder_lift": (0, 1),
            "elbow_flex": (2, -1),
            "wrist_flex": (4, 1),
            "wrist_roll": (3, -1),
            "gripper": (5, 1),
        },
        {"hold": 0, "joints": 1},
    ),
}


def read_axes(texts: Sequence[str], known: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Axes by name from texts such as `x=1` and, the other way round, `pitch=-7`. ValueError."""
    found = {}
    for name, index in _entries(texts, known):
        found[name] = int(index.removeprefix("-")), -1 if index.startswith("-") else 1
    return found


def read_buttons(texts: Sequence[str]) -> dict[str, int]:
    """Buttons by name from texts such as `hold=4`. Raises ValueError."""
    found = {}
    for name, index in _entries(texts, BUTTONS):
        if index.startswith("-"):
            raise ValueError(f"a button has no sign, found {name}={index}")
        found[name] = int(index)
    return found


def _entries(texts: Sequence[str], known: Sequence[str]) -> list[tuple[str, str]]:
    entries = [(name, index) for name, _, index in (text.partition("=") for text in texts)]
    for name, index in entries:
        digits = index.removeprefix("-")
        number = digits.isascii() and digits.isdigit() and int(digits[:4]) <= _LAST_INDEX
        if name not in known or not number:
            raise ValueError(
                f"expected NAME=INDEX of {', '.join(known)}, such as {known[0]}=1, found "
                f"{name[:40]}={index[:40]}"
            )
    if len({name for name, _ in entries}) < len(entries):
        raise ValueError(f"each may be given once, found {', '.join(texts)}")
    return entries


@dataclass
class Joystick:
    """What a person asks for by sticks and buttons, message by message.

    Whoever lets go of the hold button, or of whom nothing is heard for timeout_s, asks for nothing.
    Jogging begins by a press: a button that is down when a message comes first, or comes again
    after a silence, must be let go first.

    joints: of the arm. tip: whether its tip can be jogged; else axes move joints always.

    Raises ValueError for a layout that jogs nothing of this arm, or has no button to hold.
    """

    layout: Layout
    joints: Sequence[str]
    tip: bool
    timeout_s: float
    refused: int = 0
    _wish: Wish | None = None
    _heard_s: float | None = None
    _was_down: bool = True
    _hand_back: bool = field(default=False, init=False)
    _hand_back_down: bool = field(default=True, init=False)

    def __post_init__(self) -> None:
        if "hold" not in self.layout.buttons:
            raise ValueError("expected a button to hold while jogging, such as hold=4, found none")
        if not set(self.layout.joints) & set(self.joints) and not self.tip:
            raise ValueError(
                f"expected axes of the arm's joints, {', '.join(self.joints)}; found "
                f"{', '.join(self.layout.joints) or 'none'}"
            )
        axes = [index for index, _ in [*self.layout.axes.values(), *self.layout.joints.values()]]
        self._axes = max(axes, default=-1) + 1
        self._buttons = max(self.layout.buttons.values()) + 1

    def hear(self, axes: Sequence[float], buttons: Sequence[float], now_s: float) -> str:
        """Take a message; why it is none of this device, which lets go; empty if it is one."""
        if self.silent(now_s):
            self._was_down = self._hand_back_down = True
        self._heard_s, self._wish = now_s, None
        if len(axes) < self._axes or len(buttons) < self._buttons:
            self.refused += 1
            return (
                f"expected {self._axes} axes and {self._buttons} buttons or more, found "
                f"{len(axes)} and {len(buttons)}; set device, axes and buttons as your device has "
                "them"
            )
        if not all(math.isfinite(value) for value in axes):
            self.refused += 1
            return f"axes must be finite, found {list(axes)[:8]}"
        pressed = {name: buttons[index] != 0 for name, index in self.layout.buttons.items()}
        back = pressed.get("hand_back", False)
        self._hand_back |= back and not self._hand_back_down
        self._hand_back_down = back
        if not pressed["hold"]:
            self._was_down = False
        elif not self._was_down:
            self._wish = self._asked(axes, pressed)
        return ""

    def wish(self, now_s: float) -> Wish | None:
        """What is asked for now; None where nobody holds the button."""
        return None if self.silent(now_s) else self._wish

    def silent(self, now_s: float) -> bool:
        """Whether nothing was heard for timeout_s, or ever."""
        return self._heard_s is None or not 0 <= now_s - self._heard_s <= self.timeout_s

    def let_go(self) -> None:
        """Jogging begins by another press of the button."""
        self._wish, self._was_down = None, True

    def hands_back(self) -> bool:
        """Whether the arm was handed back by a button since this was asked last."""
        asked, self._hand_back = self._hand_back, False
        return asked

    def _asked(self, axes: Sequence[float], pressed: Mapping[str, bool]) -> Wish:
        joints = np.zeros(len(self.joints))
        by_joint = not self.tip or pressed.get("joints", False)
        given = self.layout.joints if by_joint else self.layout.axes
        shares = {name: sign * _share(axes[index]) for name, (index, sign) in given.items()}
        tip = np.array([0.0 if by_joint else shares.get(name, 0.0) for name in TIP])
        grip = float(pressed.get("open", False)) - float(pressed.get("close", False))
        for column, joint in enumerate(self.joints):
            if is_gripper(joint):
                joints[column] = np.clip(grip + shares.get(GRIPPER, 0.0), -1.0, 1.0)
            elif by_joint:
                joints[column] = shares.get(joint, 0.0)
        return Wish(tip, joints)


def _share(value: float) -> float:
    """A deflection, -1 to 1, as a share of full speed."""
    beyond = min(abs(value), 1.0) - REST
    return math.copysign(max(beyond, 0.0) / (1.0 - REST), value)
