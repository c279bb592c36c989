"""sim_bench: two emulated arms on serial ports and rendered cameras that see them.

By the wall clock, or (keeps_time) in time of its own, which it publishes on /clock and moves in
lockstep with the nodes of the graph: see armlet.sim.lockstep.

The arms are a process of their own, so that painting does not delay a servo's answer.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from diagnostic_msgs.msg import DiagnosticStatus
from geometry_msgs.msg import PointStamped, Pose, PoseArray
from rosgraph_msgs.msg import Clock
from std_msgs.msg import Bool, Float64, Float64MultiArray
from std_srvs.srv import SetBool, Trigger

from armlet import one_graph
from armlet.align import grid_index, grid_ns
from armlet.camera import Picture
from armlet.files import expanded
from armlet.priority import Role, raise_process
from armlet.robots.joints import frame_prefix
from armlet.settings.sim_bench import SETTINGS
from armlet.sim import ArmsProcess, Bench
from armlet.sim.choice import MUJOCO, BenchError, choose
from armlet.sim.lockstep import Mark, Timekeeper
from armlet.sim.shared_time import SharedTime
from armlet.sim.task import Progress, Standing

from .camera_publisher import CameraPublisher
from .messages import diagnostic, skew_message, to_time
from .node import ArmletNode, SetupError, run
from .worker import Worker

VIEWS = ("front", "wrist")

# Simulated time goes on in steps of this length where nobody waits for less.
LONGEST_STEP_NS = 10_000_000
# Further behind the wall clock than this, simulated time does not try to catch up.
CATCH_UP_S = 0.2
FACTOR_OVER_S = 5.0
PAUSED_S = 0.02
SOCKET = "lockstep"


class SimBench(ArmletNode):
    """Runs a `Bench`; a thread renders each camera's pictures at the frame grid's times."""

    def __init__(self) -> None:
        super().__init__("sim_bench", SETTINGS)
        self._bench: Bench | None = None
        self._keeper: Timekeeper | None = None
        self._clock_mark: socket.socket | None = None
        self._worker: Worker | None = None
        self._cameras: dict[str, CameraPublisher] = {}
        # As the arm's description and the pictures of other graphs have it.
        self._frames = frame_prefix(self.get_namespace())
        self._late = 0
        self._paused = False
        self._factor = 0.0
        self._start_ns = 0
        # Of the arms; the computer's own until it is set.
        self._time: SharedTime | None = None

    def setup(self) -> None:
        if not self.value("directory"):
            raise SetupError(
                "parameter directory is empty; set it to the directory for the emulated ports"
            )
        directory = Path(self.value("directory"))
        directory.mkdir(0o700, parents=True, exist_ok=True)
        self._time = SharedTime()
        if self.value("keeps_time"):
            self._make_keeper(directory / SOCKET)
        # The arms' process has to start, and the table to be painted: seconds.
        with self.interruptible():
            self._bench = self._built(directory)
            self._bench.__enter__()
        self._progress = Progress(self._bench.task)
        self._target = self.create_publisher(PointStamped, "~/target", 10)
        self._error = self.create_publisher(Float64, "~/reach_error", 10)
        self._measures = self.create_publisher(Float64MultiArray, "~/measures", 10)
        self._things = self.create_publisher(PoseArray, "~/things", 10)
        self._success = self.create_publisher(Bool, "~/success", 10)
        if self.value("cameras"):
            quality = self.value("jpeg_quality")
            frames = {view: f"{self._frames}{view}_optical_frame" for view in VIEWS}
            self._cameras = {
                view: CameraPublisher(self, f"{view}/", frames[view], quality) for view in VIEWS
            }
        if self._keeper is not None:
            own = (self._target.topic_name, self._measures.topic_name)
            for topic in (*own, *self._picture_topics()):
                self._keeper.sends(topic)
        self._serve("reset", self._reset)
        self._serve("demonstrate", self._demonstrate)

    def _built(self, directory: Path) -> Bench:
        name, file = self.value("task"), self.value("domain")
        physics = self.value("physics") == MUJOCO
        try:
            task, domain = choose(self.value("physics"), name, file)
        except BenchError as error:
            raise SetupError(str(error)) from error
        arms = ArmsProcess(
            directory,
            self.value("paced") and self._keeper is None,
            self._time,
            task=name if physics else "",
            domain=expanded(file, Path(), "domain") if file else None,
        )
        return Bench(
            seed=self.value("seed"),
            size=(self.value("width"), self.value("height")),
            arms=arms,
            task=task,
            physics=physics,
            domain=domain,
            clumsiness=self.value("clumsiness"),
        )

    def _picture_topics(self) -> list[str]:
        return [topic for camera in self._cameras.values() for topic in camera.listeners]

    def _make_keeper(self, path: Path) -> None:
        if self.count_publishers("/clock"):
            raise SetupError(
                "another program publishes /clock in this ROS domain, so time would jump between "
                "the two; stop it, or set another ROS_DOMAIN_ID"
            )
        if self._clock_mark is None:  # as long as the process lives; discovery is slower than this
            try:
                self._clock_mark = one_graph.mark_name(one_graph.CLOCK, os.environ)
            except one_graph.MarkError as error:
                raise SetupError(str(error)) from error
        self._clock_topic = self.create_publisher(Clock, "/clock", 10)
        expected = [name for name in self.value("participants") if name]
        try:
            self._keeper = Timekeeper(path, expected, self._tell, self._say, self._match)
        except OSError as error:
            # Python's own, of a path that an address has no room for, has no number.
            where = "a shorter path" if error.errno is None else "a folder that takes sockets"
            reason = error.strerror or error
            raise SetupError(f"{path}: {reason}; set directory to {where}") from error
        start_s = self.value("start_s") or float(round(time.time()))
        self._start_ns = self._keeper.now_ns = round(start_s * 1e9)
        self._set_time(self._start_ns)
        self.create_service(SetBool, "~/set_paused", self._on_set_paused)

    def _match(self, sent: dict[str, Mark]) -> None:
        for camera in self._cameras.values():
            for topic, listeners in camera.listeners.items():
                sent[topic].matched = listeners
        for publisher in (self._target, self._measures):
            sent[publisher.topic_name].matched = publisher.get_subscription_count()

    def _tell(self, now_ns: int) -> None:
        self._clock_topic.publish(Clock(clock=to_time(now_ns)))

    def _say(self, text: str) -> None:
        self.get_logger().warning(text)

    def _set_time(self, now_ns: int) -> None:
        """Simulated time is that for the arms as well, which count from its beginning."""
        assert self._keeper is not None
        assert self._time is not None
        self._keeper.now_ns = now_ns
        self._time.set_ns(now_ns - self._start_ns)

    def now_ns(self) -> int:
        """The bench's own time, where it keeps one."""
        return super().now_ns() if self._keeper is None else self._keeper.now_ns

    def _serve(self, name: str, action: Callable[[Bench], str]) -> None:
        def answer(request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
            assert self._bench is not None
            try:
                response.success, response.message = True, action(self._bench)
            except BenchError as error:
                response.success, response.message = False, str(error)
            return response

        self.create_service(Trigger, f"~/{name}", answer)

    def _reset(self, bench: Bench) -> str:
        """The things at new places; the leader goes home. Answers with the seconds that takes."""
        seed = self.value("reset_seed")
        if seed < 0:
            bench.place_target(None)
        else:
            bench.begin(seed)
        self._progress = Progress(bench.task)
        return f"{bench.home():.3f}"

    @staticmethod
    def _demonstrate(bench: Bench) -> str:
        """The leader shows the task. Answers with the seconds that takes, at most."""
        return f"{bench.demonstrate():.3f}"

    def _on_set_paused(
        self, request: SetBool.Request, response: SetBool.Response
    ) -> SetBool.Response:
        self._paused = request.data
        response.success = True
        response.message = "simulated time is paused" if self._paused else "time goes on"
        return response

    def start(self) -> None:
        loop = self._loop if self._keeper is None else self._keep_time
        self._worker = Worker("sim_bench", loop, self.fail)

    def stop(self) -> None:
        if self._worker is not None:
            self._worker.stop()
            self._worker = None

    def teardown(self) -> None:
        self.stop()
        if self._bench is not None:
            self._bench.__exit__(None, None, None)
            self._bench = None
        if self._time is not None:
            self._time.close()
            self._time = None
        if self._keeper is not None:
            self._keeper.close()
            self._keeper = None

    def _loop(self, ending: threading.Event) -> None:
        assert self._bench is not None
        fps = round(self.value("fps"))
        index = grid_index(time.time_ns(), fps)
        while not ending.wait(max(0.0, (grid_ns(index, fps) - time.time_ns()) * 1e-9)):
            self._publish(self._bench, time.time_ns())
            newest = grid_index(time.time_ns(), fps)
            self._late += max(0, newest - index - 1)
            index = max(index + 1, newest)

    # --- time of its own --------------------------------------------------------------------

    def _keep_time(self, ending: threading.Event) -> None:
        assert self._bench is not None
        assert self._keeper is not None
        bench, keeper, fps = self._bench, self._keeper, round(self.value("fps"))
        now_ns = keeper.now_ns
        index = grid_index(now_ns, fps)
        if not keeper.begin(now_ns, ending):
            return
        self.get_logger().info(f"simulated time begins, with {', '.join(keeper.names)}")
        throttle = Throttle(self.value("real_time_factor"), now_ns)
        while True:
            self._set_time(now_ns)
            due = now_ns >= grid_ns(index, fps)
            publish = partial(self._publish, bench, now_ns) if due else _nothing
            if not keeper.run_instant(now_ns, ending, publish):
                return
            index += due
            wanted = [grid_ns(index, fps), now_ns + LONGEST_STEP_NS]
            asked_ns = keeper.next_ns()
            if asked_ns is not None:
                wanted.append(max(asked_ns, now_ns + 1))
            now_ns = min(wanted)
            while self._paused and not ending.wait(PAUSED_S):
                throttle.begin(now_ns)
            if throttle.wait(now_ns, ending):
                return
            self._factor = throttle.factor

    def _publish(self, bench: Bench, stamp_ns: int) -> None:
        # Of one instant, and asked for once: the arms are another process.
        state = bench.state
        bench.look(state, 1 / round(self.value("fps")))
        seen = bench.seen if bench.pictures_are_late else state
        for view, camera in self._cameras.items():
            if camera.wanted:
                picture = Picture(stamp_ns, rgb=bench.render(view, state=seen))
                camera.publish(picture, self.value("width"), self.value("height"))
                self._note_sent(camera)
        done = self._progress.see(state, stamp_ns * 1e-9)
        self._success.publish(Bool(data=done))
        things = PoseArray(poses=[_pose(state.things[name]) for name in bench.task.things])
        things.header.stamp, things.header.frame_id = to_time(stamp_ns), f"{self._frames}base_link"
        self._things.publish(things)
        self._error.publish(Float64(data=bench.error_m(state)))
        # With a stamp, which a number alone has not.
        measures = {
            "error": bench.task.error_m(state),
            "success": float(done),
            "demonstrates": float(bench.demonstrates),
        }
        self._measures.publish(skew_message(stamp_ns, measures))
        target = PointStamped()
        target.header.stamp = to_time(stamp_ns)
        target.header.frame_id = things.header.frame_id
        target.point.x, target.point.y = bench.subject_of(state)
        self._target.publish(target)
        if self._keeper is not None:
            for publisher in (self._target, self._measures):
                self._keeper.sent(publisher.topic_name)

    def _note_sent(self, camera: CameraPublisher) -> None:
        if self._keeper is not None:
            for topic, listeners in camera.listeners.items():
                if listeners:
                    self._keeper.sent(topic)

    def diagnostics(self) -> list[DiagnosticStatus]:
        level = DiagnosticStatus.WARN if self._late else DiagnosticStatus.OK
        pictures = {view: camera.published for view, camera in self._cameras.items()}
        values: dict[str, object] = {"late": self._late, **pictures}
        if self._keeper is not None:
            values["real_time_factor"] = f"{self._factor:.2f}"
        return [diagnostic(f"{self.label}: pictures", level, "rendering", values)]


def _pose(standing: Standing) -> Pose:
    pose = Pose()
    at, turn = pose.position, pose.orientation
    at.x, at.y, at.z = standing.position.tolist()
    turn.w, turn.x, turn.y, turn.z = standing.quaternion.tolist()
    return pose


def _nothing() -> None:
    """No picture is due at this instant."""


class Throttle:
    """Lets simulated time pass no faster than a factor, and reports how fast it passes.

    factor_wanted: 0 for as fast as may be. now_ns: simulated time at the beginning.
    """

    def __init__(self, factor_wanted: float, now_ns: int) -> None:
        self._wanted = factor_wanted
        self.factor = 0.0
        """Simulated seconds in a second, over the last few seconds."""
        self.begin(now_ns)

    def begin(self, now_ns: int) -> None:
        """Count from here."""
        self._base = (now_ns, time.monotonic())
        self._seen = self._base

    def wait(self, now_ns: int, ending: threading.Event) -> bool:
        """Wait until simulated time may come to be `now_ns`; whether `ending` is set."""
        wall_s = time.monotonic()
        since_ns, since_s = self._seen
        if wall_s - since_s > FACTOR_OVER_S:
            self.factor = (now_ns - since_ns) * 1e-9 / (wall_s - since_s)
            self._seen = (now_ns, wall_s)
        if not self._wanted:
            return ending.is_set()
        base_ns, base_s = self._base
        due_s = base_s + (now_ns - base_ns) * 1e-9 / self._wanted
        if wall_s - due_s > CATCH_UP_S:
            self._base = (now_ns, wall_s)
        return ending.wait(max(0.0, due_s - wall_s))


def main() -> None:
    raise_process(Role.CAMERA.value.nice)
    run(SimBench)
