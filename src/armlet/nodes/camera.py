"""camera: one camera's pictures with the time they were taken."""

from __future__ import annotations

import threading
import time

from diagnostic_msgs.msg import DiagnosticStatus

from armlet.camera import CameraError, CameraSource, open_source

from .camera_publisher import CameraPublisher
from .messages import diagnostic
from .node import ArmletNode, NotReady, Setting, run
from .worker import Worker

SETTINGS = (
    Setting("source", "", "device (0, /dev/video0), video file (file:clip.mp4) or pattern"),
    Setting("width", 640, "picture width, pixels", 1, 8192),
    Setting("height", 480, "picture height, pixels", 1, 8192),
    Setting("fps", 30.0, "pictures per second", 1.0, 240.0),
    Setting("frame_id", "camera_optical_frame", "optical frame of the pictures (REP-103)"),
    Setting("jpeg_quality", 90, "quality where this node must encode JPEG itself", 1, 100),
)

READ_TIMEOUT_S = 1.0
REOPEN_S = 1.0


class CameraNode(ArmletNode):
    """Reads a source in a thread of its own and publishes each picture once."""

    def __init__(self) -> None:
        super().__init__("camera", SETTINGS)
        self._source: CameraSource | None = None
        self._publisher: CameraPublisher | None = None
        self._worker: Worker | None = None
        self._trouble = ""
        self._counted = (0, time.monotonic())

    def setup(self) -> None:
        self._source = self._open()
        self._publisher = CameraPublisher(
            self, "", self.value("frame_id"), self.value("jpeg_quality")
        )

    def _open(self) -> CameraSource:
        try:
            return open_source(
                self.value("source"),
                self.value("width"),
                self.value("height"),
                self.value("fps"),
            )
        except CameraError as error:
            raise NotReady(str(error)) from error

    def start(self) -> None:
        self._worker = Worker("camera", self._loop, self.fail)

    def stop(self) -> None:
        if self._worker is not None:
            self._worker.stop()
            self._worker = None

    def teardown(self) -> None:
        self.stop()
        if self._source is not None:
            self._source.close()
            self._source = None

    def _loop(self, ending: threading.Event) -> None:
        while not ending.is_set():
            if not self._publish_next():
                ending.wait(REOPEN_S)

    def _publish_next(self) -> bool:
        """Publish a picture; False after closing a source that gave none."""
        assert self._publisher is not None
        try:
            if self._source is None:
                self._source = self._open()
            picture = self._source.read(READ_TIMEOUT_S)
            self._publisher.publish(picture, self._source.width, self._source.height)
            self._trouble = ""
            return True
        except (CameraError, NotReady) as error:
            if str(error) != self._trouble:
                self._trouble = str(error)
                self.get_logger().error(self._trouble)
            if self._source is not None:
                self._source.close()
                self._source = None
            return False

    def diagnostics(self) -> list[DiagnosticStatus]:
        published = 0 if self._publisher is None else self._publisher.published
        before, since = self._counted
        now = time.monotonic()
        self._counted = (published, now)
        level = DiagnosticStatus.ERROR if self._trouble else DiagnosticStatus.OK
        values = {"rate_hz": f"{(published - before) / (now - since):.1f}", "published": published}
        return [
            diagnostic(
                f"{self.label}: pictures",
                level,
                self._trouble or "streaming",
                values,
                self.value("source"),
            )
        ]


def main() -> None:
    run(CameraNode)


if __name__ == "__main__":
    main()
