"""The camera node's exposure, white balance, gain and focus: locked, and reported."""

from __future__ import annotations

from collections.abc import Callable

from diagnostic_msgs.msg import DiagnosticStatus

from armlet.camera import CameraError, ControlError, ControlLock, V4l2Device
from armlet.camera.controls import AS_IS, NAMES, State

from .messages import diagnostic
from .node import ArmletNode, Setting

_UNITS = {
    "exposure": "Exposure time (0.1 ms)",
    "gain": "Gain (the camera's units)",
    "white_balance_k": "White balance (K)",
    "focus": "Focus (the camera's units)",
    "power_line_hz": "Mains frequency for flicker reduction: 50, 60 or 0 (off)",
}

SETTINGS = (
    *(
        Setting(name, AS_IS, f"{_UNITS[name]}, auto, or as_is to leave it unchanged.", dynamic=True)
        for name in NAMES
    ),
    Setting(
        "lock_auto",
        False,
        "Let automatic controls settle, then fix them at the values they have reached.",
    ),
    Setting(
        "settle_s",
        2.0,
        "How long automatic controls may settle before they are fixed (s).",
        0.1,
        60.0,
    ),
)

# Asking for values is traffic on the camera's USB cable.
_LOOK_S = 5.0


class CameraControls:
    """Applies the node's control parameters at every opening; one thread opens and ticks."""

    def __init__(self, node: ArmletNode, device: bool, opener: Callable[[str], V4l2Device]) -> None:
        wishes = {name: node.value(name) for name in NAMES}
        self._node = node
        self._lock = ControlLock(wishes, opener)
        self._settles: bool = node.value("lock_auto")
        self._device = device
        self._path = ""
        self._freeze_at_s: float | None = None
        self._looked_at_s: float | None = None
        self._status: tuple[bytes, str, dict[str, object]] | None = None
        if not device and (self._lock.wishes or self._settles):
            asked = [*self._lock.wishes, *(["lock_auto"] if self._settles else [])]
            raise ControlError(
                f"{', '.join(asked)} set, but source {node.value('source')!r} is not a camera "
                "device and has no controls; leave them at their defaults"
            )

    def opened(self, path: str, now_s: float) -> None:
        """The device was opened: set what is wished. CameraError, ControlError."""
        self._path = path
        self._lock.apply(path)
        self._looked_at_s = None
        # A camera that comes back gets the values it was frozen at, it does not settle again.
        if self._settles:
            self._freeze_at_s = now_s + self._node.value("settle_s")

    def tick(self, now_s: float) -> None:
        """A picture came; automatisms work only while they do. CameraError, ControlError."""
        if self._freeze_at_s is None or now_s < self._freeze_at_s:
            return
        frozen = self._lock.freeze(self._path)
        self._settles, self._freeze_at_s, self._looked_at_s = False, None, None
        values = ", ".join(f"{name} {value}" for name, value in frozen.items())
        self._node.get_logger().info(f"held: {values or 'nothing was automatic'}")

    def diagnostics(self, label: str, there: bool, now_s: float) -> list[DiagnosticStatus]:
        """What is automatic, what is locked and whether it is still so; nothing for no device."""
        if not self._device:
            return []
        due = self._looked_at_s is None or now_s - self._looked_at_s >= _LOOK_S
        if there and due:
            self._looked_at_s = now_s
            self._status = self._look(now_s)
        if self._status is None:
            return []
        return [diagnostic(f"{label}: controls", *self._status, self._path)]

    def _look(self, now_s: float) -> tuple[bytes, str, dict[str, object]]:
        try:
            state = self._lock.state(self._path)
        except CameraError as error:
            return DiagnosticStatus.WARN, f"controls cannot be read: {error}", {}
        said = self._said(state, now_s)
        wishes = self._lock.wishes
        values: dict[str, object] = {
            **state.values,
            **{f"locked_{name}": wish for name, wish in wishes.items() if isinstance(wish, int)},
        }
        if said:
            return DiagnosticStatus.WARN, "; ".join(said), values
        locked = ", ".join(f"{name} {wish}" for name, wish in wishes.items())
        return (
            DiagnosticStatus.OK,
            f"locked: {locked}" if locked else "nothing is automatic",
            values,
        )

    def _said(self, state: State, now_s: float) -> list[str]:
        said = [
            f"{name} is {state.values[name]}, not {self._lock.wishes[name]} as it was set: "
            "another program changed it"
            for name in state.changed
        ]
        if state.automatic:
            names = ", ".join(state.automatic)
            if self._freeze_at_s is not None:
                said.append(f"settling: {names} automatic")
            else:
                said.append(
                    f"automatic: {names}; images will differ from those a policy was trained "
                    "on; set fixed values, or lock_auto"
                )
        return said
