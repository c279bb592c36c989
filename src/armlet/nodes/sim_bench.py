"""sim_bench: two emulated arms on serial ports and rendered cameras that see them.

The arms are a process of their own, so that painting does not delay a servo's answer.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

from diagnostic_msgs.msg import DiagnosticStatus
from geometry_msgs.msg import PointStamped
from std_msgs.msg import Float64
from std_srvs.srv import Trigger

from armlet.align import grid_index, grid_ns
from armlet.camera import Picture
from armlet.priority import Role, raise_process
from armlet.sim import ArmsProcess, Bench

from .camera_publisher import CameraPublisher
from .messages import diagnostic, to_time
from .node import ArmletNode, Setting, SetupError, run
from .worker import Worker

SETTINGS = (
    Setting("directory", "", "where the serial ports `leader` and `follower` appear"),
    Setting("seed", 0, "seed of targets and motions", 0, 2**31 - 1),
    Setting("paced", True, "bytes take their time on the wire, as at 1 Mbaud"),
    Setting("cameras", True, "render and publish cameras"),
    Setting("width", 128, "picture width, pixels", 16, 4096),
    Setting("height", 96, "picture height, pixels", 16, 4096),
    Setting("fps", 30.0, "pictures per second", 1.0, 240.0),
    Setting("jpeg_quality", 90, "JPEG quality of the pictures", 1, 100),
)

VIEWS = ("front", "wrist")


class SimBench(ArmletNode):
    """Runs a `Bench`; a thread renders each camera's pictures at the frame grid's times."""

    def __init__(self) -> None:
        super().__init__("sim_bench", SETTINGS)
        self._bench: Bench | None = None
        self._worker: Worker | None = None
        self._cameras: dict[str, CameraPublisher] = {}
        self._late = 0

    def setup(self) -> None:
        if not self.value("directory"):
            raise SetupError("parameter directory is empty; it is where the ports appear")
        directory = Path(self.value("directory"))
        directory.mkdir(parents=True, exist_ok=True)
        self._bench = Bench(
            seed=self.value("seed"),
            size=(self.value("width"), self.value("height")),
            arms=ArmsProcess(links=directory, paced=self.value("paced")),
        )
        self._bench.__enter__()
        self._target = self.create_publisher(PointStamped, "~/target", 10)
        self._error = self.create_publisher(Float64, "~/reach_error", 10)
        if self.value("cameras"):
            quality = self.value("jpeg_quality")
            self._cameras = {
                view: CameraPublisher(self, f"{view}/", f"{view}_optical_frame", quality)
                for view in VIEWS
            }
        self._serve("reset", self._reset)
        self._serve("demonstrate", self._demonstrate)

    def _serve(self, name: str, action: Callable[[Bench], str]) -> None:
        def answer(request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
            assert self._bench is not None
            response.success, response.message = True, action(self._bench)
            return response

        self.create_service(Trigger, f"~/{name}", answer)

    @staticmethod
    def _reset(bench: Bench) -> str:
        """A new random target; the leader goes home. Answers with the seconds that takes."""
        bench.place_target(None)
        return f"{bench.home():.3f}"

    @staticmethod
    def _demonstrate(bench: Bench) -> str:
        """The leader reaches for the target. Answers with the seconds that takes."""
        return f"{bench.demonstrate():.3f}"

    def start(self) -> None:
        self._worker = Worker("sim_bench", self._loop, self.fail)

    def stop(self) -> None:
        if self._worker is not None:
            self._worker.stop()
            self._worker = None

    def teardown(self) -> None:
        self.stop()
        if self._bench is not None:
            self._bench.__exit__(None, None, None)
            self._bench = None

    def _loop(self, ending: threading.Event) -> None:
        assert self._bench is not None
        fps = round(self.value("fps"))
        index = grid_index(time.time_ns(), fps)
        while not ending.wait(max(0.0, (grid_ns(index, fps) - time.time_ns()) * 1e-9)):
            self._publish(self._bench)
            newest = grid_index(time.time_ns(), fps)
            self._late += max(0, newest - index - 1)
            index = max(index + 1, newest)

    def _publish(self, bench: Bench) -> None:
        for view, camera in self._cameras.items():
            if camera.wanted:
                stamp_ns = time.time_ns()
                picture = Picture(stamp_ns, rgb=bench.render(view))
                camera.publish(picture, self.value("width"), self.value("height"))
        self._error.publish(Float64(data=bench.reach_error_m))
        target = PointStamped()
        target.header.stamp = to_time(time.time_ns())
        target.header.frame_id = "base_link"
        target.point.x, target.point.y = bench.target_xy
        self._target.publish(target)

    def diagnostics(self) -> list[DiagnosticStatus]:
        level = DiagnosticStatus.WARN if self._late else DiagnosticStatus.OK
        pictures = {view: camera.published for view, camera in self._cameras.items()}
        return [
            diagnostic(
                f"{self.label}: pictures", level, "rendering", {"late": self._late, **pictures}
            )
        ]


def main() -> None:
    raise_process(Role.CAMERA.value.nice)
    run(SimBench)


if __name__ == "__main__":
    main()
