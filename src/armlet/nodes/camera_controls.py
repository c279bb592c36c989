"""The camera node's exposure, white balance, gain and focus: locked, and reported."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping

from diagnostic_msgs.msg import DiagnosticStatus

from armlet.camera import CameraError, ControlError, ControlLock, V4l2Device
from armlet.camera.controls import NAMES, State, Wish

from .messages import diagnostic
from .node import ArmletNode

# Asking for values is traffic on the camera's USB cable.
_LOOK_S = 5.0


class CameraControls:
    """Applies the node's control parameters: one thread opens and ticks, another may change."""

    def __init__(self, node: ArmletNode, device: bool, opener: Callable[[str], V4l2Device]) -> None:
        wishes = {name: node.value(name) for name in NAMES}
        self._node = node
        self._lock = ControlLock(wishes, opener)
        self._setting = threading.Lock()
        self._settles: bool = node.value("lock_auto")
        self._device = device
        self._path = ""
        self._freeze_at_s: float | None = None
        self._looked_at_s: float | None = None
        self._status: tuple[bytes, str, dict[str, object]] | None = None
        if not device and (self._lock.wishes or self._settles):
            asked = [*self._lock.wishes, *(["lock_auto"] if self._settles else [])]
            raise self._no_device(asked)

    def _no_device(self, asked: Collection[str]) -> ControlError:
        return ControlError(
            f"{', '.join(asked)} set, but source {self._node.value('source')!r} is not a camera "
            "device and has no controls; leave them at their defaults"
        )

    def change(self, wishes: Mapping[str, Wish], there: bool) -> None:
        """Set other values now. there: whether the device is open.

        Raises ControlError, CameraError; then nothing has changed.
        """
        if not self._device:
            raise self._no_device(list(wishes))
        if not there:
            raise ControlError(
                f"{', '.join(wishes)} not changed: the camera is not open, and it decides which "
                "values it takes; set them again when it is back"
            )
        with self._setting:
            self._lock.change(self._path, wishes)
            self._looked_at_s = None

    def opened(self, path: str, now_s: float) -> None:
        """The device was opened: set what is wished. CameraError, ControlError."""
        with self._setting:
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
        with self._setting:
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
