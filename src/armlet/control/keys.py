"""What a gamepad would say while a person holds a key of the keyboard down."""

from __future__ import annotations

from .joystick import LAYOUTS

LAYOUT = LAYOUTS["gamepad"]
"""Messages are those of this device, so that `jog` needs no other setting."""

HELD_S = 0.2
"""A key that comes again within this time is held down. Terminals repeat one 10 to 40 times a
second, but first after a quarter to three quarters of a second: until then the arm stops."""

REPEATED_S = 0.8
"""A key that comes again within this time may be a repetition of one press."""

MODE, LET_GO, HAND_BACK = "m", " ", "b"
DIRECTIONS = {
    "w": ("x", 1),
    "s": ("x", -1),
    "a": ("y", 1),
    "d": ("y", -1),
    "r": ("z", 1),
    "f": ("z", -1),
    "k": ("pitch", 1),
    "i": ("pitch", -1),
    "l": ("roll", 1),
    "j": ("roll", -1),
}
"""Directions as control.jog.TIP has them; by joint the same axes of the gamepad move joints."""

GRIPPER = {"o": "open", "c": "close"}
_AXES = 1 + max(index for index, _ in [*LAYOUT.axes.values(), *LAYOUT.joints.values()])
_BUTTONS = 1 + max(LAYOUT.buttons.values())
_NEVER_S = -1e9


class KeyStick:
    """Axes and buttons by the keys that are pressed. Times: seconds, monotonic.

    One key counts, the last one, as a keyboard repeats one alone; every other key lets go.
    """

    def __init__(self) -> None:
        self.by_joint = False
        """Whether keys move joints, one each."""
        self._key, self._pressed_s = "", _NEVER_S
        self._mode_s = _NEVER_S

    def press(self, key: str, now_s: float) -> None:
        """A key was pressed, or its repetition came."""
        if key == MODE:
            # Held a little too long it would leave the mode to chance.
            self.by_joint ^= now_s - self._mode_s > REPEATED_S
            self._mode_s = now_s
        known = key in DIRECTIONS or key in GRIPPER or key == HAND_BACK
        self._key, self._pressed_s = (key, now_s) if known else ("", _NEVER_S)

    def held(self, now_s: float) -> str:
        """The key that is held down; empty for none."""
        # Also of a time just before: keys are pressed in another thread.
        return self._key if abs(now_s - self._pressed_s) <= HELD_S else ""

    def message(self, now_s: float) -> tuple[list[float], list[int]]:
        """Axes, -1 to 1, and buttons, 0 or 1, of a gamepad now."""
        axes, buttons = [0.0] * _AXES, [0] * _BUTTONS
        key = self.held(now_s)
        if key == HAND_BACK:
            buttons[LAYOUT.buttons["hand_back"]] = 1
        elif key:
            buttons[LAYOUT.buttons["hold"]] = 1
            buttons[LAYOUT.buttons["joints"]] = int(self.by_joint)
        if key in DIRECTIONS:
            name, way = DIRECTIONS[key]
            index, sign = LAYOUT.axes[name]
            axes[index] = float(way * sign)
        if key in GRIPPER:
            buttons[LAYOUT.buttons[GRIPPER[key]]] = 1
        return axes, buttons
