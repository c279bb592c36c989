"""camera: one camera's pictures with the time they were taken."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Collection
from pathlib import Path

from diagnostic_msgs.msg import DiagnosticStatus

from armlet.camera import (
    CameraError,
    CameraSource,
    ControlError,
    DeviceSource,
    EndOfVideo,
    FileSource,
    Intrinsics,
    NoPicture,
    SchemeError,
    TornPicture,
    V4l2Device,
    Watch,
    read_intrinsics,
    source_of,
)
from armlet.camera.controls import NAMES
from armlet.camera.watch import Limits, camera_finding
from armlet.findings import Code, Finding, Severity
from armlet.priority import Role, raise_process
from armlet.settings.camera import SETTINGS

from .camera_controls import CameraControls
from .camera_publisher import CameraPublisher
from .clock_exchange import ClockExchange
from .messages import findings_status
from .node import ArmletNode, NotReady, SetupError, Value, run
from .worker import Worker

READ_TIMEOUT_S = 1.0
# Back within a second of being plugged in, whatever number the device has then.
FIRST_RETRY_S = 0.1
LAST_RETRY_S = 0.5
# Diagnostics go out once a second; trouble shorter than that must be seen there too.
REPORTED_S = 3.0
# A camera that looks at a lens cap would otherwise be reopened all day.
LAST_FROZEN_RETRY_S = 60.0

SourceOf = Callable[[str, int, int, float, str], CameraSource]


class CameraNode(ArmletNode):
    """Reads a source in a thread of its own and publishes each picture once.

    source_of, v4l2: what opens pictures and controls; tests give others.
    """

    def __init__(
        self, source_of: SourceOf = source_of, v4l2: Callable[[str], V4l2Device] = V4l2Device
    ) -> None:
        super().__init__("camera", SETTINGS)
        self._source_of, self._v4l2 = source_of, v4l2
        self._source: CameraSource | None = None
        self._open = False
        self._watch: Watch | None = None
        self._controls: CameraControls | None = None
        self._publisher: CameraPublisher | None = None
        self._worker: Worker | None = None
        self._trouble: Finding | None = None
        self._past: tuple[float, str] | None = None
        self._lost_at_s: float | None = None
        self._lost = 0
        self._frozen_retry_s = 0.0
        self._reported: set[Code] = set()
        self._clocks = ClockExchange(self)

    def setup(self) -> None:
        intrinsics = self._intrinsics()
        try:
            self._source = self._make_source()
            device = bool(self._source.path)
            self._controls = CameraControls(self, device, self._v4l2)
            self._watch = Watch(self._limits(self.value, device))
            self._open_source()
        except (ControlError, SchemeError) as error:
            self.teardown()
            raise SetupError(str(error)) from error
        except CameraError as error:
            # Reported on /diagnostics as well while the node waits for its camera.
            self._trouble = camera_finding(Code.CAMERA_OPEN_FAILED, Severity.ERROR, str(error))
            raise NotReady(str(error)) from error
        self._trouble = None
        self._publisher = CameraPublisher(
            self, "", self.value("frame_id"), self.value("jpeg_quality"), intrinsics
        )

    def _intrinsics(self) -> Intrinsics | None:
        file = self.value("camera_info_file")
        try:
            size = self.value("width"), self.value("height")
            return read_intrinsics(Path(file), *size) if file else None
        except CameraError as error:
            raise SetupError(str(error)) from error

    def _make_source(self) -> CameraSource:
        return self._source_of(
            self.value("source"),
            self.value("width"),
            self.value("height"),
            self.value("fps"),
            self.value("fourcc"),
        )

    @staticmethod
    def _limits(value: Value, device: bool) -> Limits:
        names = ("width", "height", "fps", "frozen_s", "slow_share")
        return Limits(**{name: value(name) for name in names}, device=device)

    def tune(self, value: Value, changed: Collection[str]) -> None:
        controls, watch, publisher = self._controls, self._watch, self._publisher
        assert controls is not None
        assert watch is not None
        assert publisher is not None
        if wishes := {name: value(name) for name in NAMES if name in changed}:
            try:
                controls.change(wishes, self._open)
            except CameraError as error:
                raise ValueError(str(error)) from error
        watch.limits = self._limits(value, watch.limits.device)
        publisher.jpeg_quality = value("jpeg_quality")

    def start(self) -> None:
        self._worker = Worker("camera", self._loop, self.fail)

    def stop(self) -> None:
        if self._worker is not None:
            self._worker.stop()
            self._worker = None
        # Held open it would offer pictures from before, when the node is active again.
        self._close_source()

    def teardown(self) -> None:
        self.stop()
        self._source, self._watch, self._controls = None, None, None

    def _close_source(self) -> None:
        self._open = False
        if self._source is None:
            return
        try:
            self._source.close()
        except CameraError as hanging:
            self._tell(str(hanging))

    def _loop(self, ending: threading.Event) -> None:
        assert self._watch is not None
        self._watch.began(self.clock.seconds())
        retry_s = FIRST_RETRY_S
        while not ending.is_set():
            try:
                if not self._open:
                    self._open_source()
                if self._publish_next():
                    retry_s = FIRST_RETRY_S
            except EndOfVideo as error:
                # Ended is not failed; a file that shall go on is looped.
                self._trouble = camera_finding(
                    Code.CAMERA_OPEN_FAILED, Severity.WARNING, str(error)
                )
                self.get_logger().warning(str(error))
                return
            except NoPicture as error:
                self._tell(str(error))
            except CameraError as error:
                self._lose(error)
                ending.wait(retry_s)
                retry_s = min(2 * retry_s, LAST_RETRY_S)

    def _open_source(self) -> None:
        """Open the source, with its controls as they are wished. CameraError."""
        assert self._source is not None
        assert self._controls is not None
        assert self._watch is not None
        self._source.open()
        try:
            self._controls.opened(self._source.path, self.clock.seconds())
        except CameraError:
            self._source.close()
            raise
        self._open = True
        self._watch.began(self.clock.seconds())
        self._recommend_path()

    def _recommend_path(self) -> None:
        known = self._source.known if isinstance(self._source, DeviceSource) else None
        given = self.value("source")
        if known is not None and given in known.shared_paths:
            self.get_logger().warning(
                f"source {given} is the name of two cameras with the same product and serial "
                "number, and may mean the other one after the next start; use "
                f"{known.best_path} instead",
                once=True,
            )
        elif known is not None and known.stable_paths and not given.startswith("/dev/v4l/"):
            self.get_logger().info(
                f"source {given} is {known.name}; give {known.best_path} instead: the number "
                "may belong to another camera after a restart",
                once=True,
            )

    def _publish_next(self) -> bool:
        """Publish the next picture if it is one; CameraError where the source must be reopened."""
        assert self._source is not None
        assert self._controls is not None
        assert self._watch is not None
        picture = self._source.read(READ_TIMEOUT_S)
        if self.clock.simulated:
            # A camera knows no simulated time: its picture is of when it came.
            picture = dataclasses.replace(picture, stamp_ns=self.now_ns())
        now_s = self.clock.seconds()
        if not self._watch.admit(picture, now_s):
            unusable = self._watch.unusable(now_s)
            if unusable:
                raise CameraError(f"{unusable}; the camera is opened again")
            return False
        assert self._publisher is not None
        try:
            self._publisher.publish(picture, self._source.width, self._source.height)
        except TornPicture as error:
            self._watch.decode_failed(error, now_s)
        self._controls.tick(now_s)
        self._reopen_if_frozen()
        self._recover(now_s)
        return True

    def _reopen_if_frozen(self) -> None:
        assert self._watch is not None
        frozen_s = self._watch.frozen_for_s
        if not frozen_s:
            self._frozen_retry_s = self.value("frozen_s")
        elif self.value("reopen_frozen") and frozen_s >= self._frozen_retry_s:
            self._frozen_retry_s = frozen_s + min(frozen_s, LAST_FROZEN_RETRY_S)
            raise CameraError(
                f"frozen: the same picture for {frozen_s:.1f} s; the camera is opened again "
                "(if the image is meant to stay the same, set frozen_s to 0)"
            )

    def _tell(self, text: str) -> None:
        if self._trouble is None:
            self._lost_at_s = self.clock.seconds()
        if self._trouble is None or text != str(self._trouble.found):
            self.get_logger().error(text)
        self._trouble = camera_finding(Code.CAMERA_OPEN_FAILED, Severity.ERROR, text)

    def _lose(self, error: CameraError) -> None:
        """Report, and close what is left of the source."""
        self._tell(str(error))
        if self._open:
            self._lost += 1
        self._close_source()

    def _recover(self, now_s: float) -> None:
        assert self._source is not None
        assert self._watch is not None
        # A camera still frozen after it was opened again gives pictures, but has not recovered.
        if self._trouble is None or self._watch.frozen_for_s:
            return
        since_s = now_s - (now_s if self._lost_at_s is None else self._lost_at_s)
        self._past = now_s, str(self._trouble.found)
        self._trouble = None
        where = f" from {self._source.path}" if self._source.path else ""
        self.get_logger().info(f"pictures again{where} after {since_s:.1f} s")

    def diagnostics(self) -> list[DiagnosticStatus]:
        now_s = self.clock.seconds()
        found = self._findings(now_s)
        path = "" if self._source is None else self._source.path
        status = findings_status(
            f"{self.label}: pictures",
            found,
            "streaming" if self._worker is not None else "not active",
            self._values(now_s),
            path or self.value("source"),
        )
        if self._controls is None:
            return [status]
        return [status, *self._controls.diagnostics(self.label, self._open, now_s)]

    def _findings(self, now_s: float) -> list[Finding]:
        trouble, past = self._trouble, self._past
        if trouble is not None:
            return [trouble]
        if self._worker is None or self._watch is None:
            return []
        found = self._watch.findings(now_s)
        self._log_new(found)
        if past is not None and now_s - past[0] < REPORTED_S:
            text = f"recovered {now_s - past[0]:.1f} s ago from: {past[1]}"
            found.insert(0, camera_finding(Code.CAMERA_RECOVERED, Severity.ERROR, text))
        return found

    def _log_new(self, findings: list[Finding]) -> None:
        """Log what was not wrong a second ago."""
        found = {finding.code: finding for finding in findings}
        for code in found.keys() - self._reported:
            self.get_logger().warning(str(found[code].found))
        self._reported = set(found)

    def _values(self, now_s: float) -> dict[str, object]:
        if self._source is None or self._watch is None:
            return {}
        publisher = self._publisher
        values: dict[str, object] = {
            "rate_hz": f"{self._watch.rate_hz(now_s):.1f}",
            "nominal_hz": f"{self._source.fps:g}",
            "published": 0 if publisher is None else publisher.published,
            **self._watch.counts(),
            "frozen_for_s": f"{self._watch.frozen_for_s:.1f}",
            "skipped": self._source.skipped,
            "lost": self._lost,
            "clock_steps": self._source.clock_steps,
        }
        if publisher is not None:
            values |= {"decoded": publisher.decoded, "encoded": publisher.encoded}
        if isinstance(self._source, FileSource):
            values["file"] = self._source.file
        return values


def main() -> None:
    raise_process(Role.CAMERA.value.nice)
    run(CameraNode)
