"""Trials of a policy on the emulated bench, through the whole graph, in simulated time.

Each trial has a graph of its own, which begins at the same instant with the trial's seed: clocks,
servos, and what nodes keep of earlier minutes are then the same, so that a seed decides every bit
of its trial, whichever trials were run before it, and beside it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage
from std_msgs.msg import Float64MultiArray

from armlet.bringup import BringupError, NodeSpec, graph
from armlet.camera import jpeg
from armlet.datasets.format.pictures import Developer
from armlet.datasets.format.video import Format
from armlet.datasets.transform.encode import write_video
from armlet.evaluation.trials.movement import path_length, spectral_arc_length, speeds
from armlet.evaluation.trials.results import VIDEOS
from armlet.evaluation.trials.trial import Trial
from armlet.files import HUB, expanded
from armlet.nodes.messages import parse_skew, to_ns
from armlet.nodes.status_names import status_name
from armlet.robots import SO101_JOINTS
from armlet.robots.kinematics import HOME, tip_position
from armlet.sim.choice import KINEMATIC, MUJOCO, BenchError, choose, digest
from armlet.sim.domain import Domain
from armlet.sim.task import State, Task, find
from armlet.start_check import check

from .graph import Director, GraphError
from .start import start_adjusted

START_S = 1_735_689_600
BEGIN_S = 1.0
"""After the start of simulated time the policy begins to drive; frames have come by then."""
LATENCY = "0.05"
"""Simulated time that an inference takes, s, where no argument says otherwise."""
_READY_S = 30.0
_STEP_S = 0.1
_CAMERAS = ("front", "wrist")
_FPS = "30"
# To look at, not to learn from.
_CRF = 28
_TOPICS = ("joint_states", "applied_joint_commands", "observation/state")

# Arguments of the graph that a trial sets itself, or that would make it another one.
RESERVED = (
    *("bench_directory", "bench_task", "checkpoint", "namespace", "participants", "policy", "raw"),
    *("real_time_factor", "root", "running", "seed", "start_s", "task", "teleop", "use_sim_time"),
)


class RefusedError(GraphError):
    """The policy does not drive: it does not fit the robot, or it stopped by itself."""


@dataclass(frozen=True)
class Scenery:
    """A bench's task, physics and domain, read from what names them.

    Attributes:
        task_digest, domain_digest: see `sim.choice.digest`.
    """

    task: Task
    physics: str
    domain: Domain

    @property
    def task_digest(self) -> str:
        return digest(self.task)

    @property
    def domain_digest(self) -> str:
        return digest(self.domain)


@dataclass(frozen=True)
class Setting:
    """What is tried.

    Attributes:
        task: of the bench, its name or the path of its file.
        checkpoint: directory, or hub:owner/name@revision.
        arguments: of the sim graph.
        videos: "all", "failures" or "none".
        physics: of the bench.
        domain: the path of its file; empty: the ordinary bench.
    """

    task: str
    checkpoint: str
    arguments: Mapping[str, str] = field(default_factory=dict)
    videos: str = "failures"
    physics: str = KINEMATIC
    domain: str = ""

    def to_json(self) -> dict[str, Any]:
        """For another process: the keyword arguments of a Setting."""
        return dataclasses.asdict(self)

    def scenery(self) -> Scenery:
        """The task and the domain as they are now. Raises BringupError for what cannot be."""
        try:
            task, domain = choose(self.physics, self.task, self.domain)
        except BenchError as error:
            raise BringupError(str(error)) from error
        return Scenery(task, self.physics, domain)

    def graph_arguments(self, seed: int) -> dict[str, str]:
        """Arguments of the sim graph for one trial."""
        return {
            "inference_latency_s": LATENCY,
            **self.arguments,
            "bench_task": self.task,
            "physics": self.physics,
            "domain": self.domain,
            "checkpoint": self.checkpoint,
            "task": self.scenery().task.title,
            "seed": str(seed),
            "running": "false",
            "use_sim_time": "true",
            "real_time_factor": "0",
            "start_s": str(START_S),
        }


def setting_of(
    task: str, checkpoint: str, arguments: Mapping[str, str], videos: str, seeds: range
) -> Setting:
    """A setting whose graph can be started as far as that is known before.

    arguments: of the sim graph; `physics` and `domain` among them are the bench's. Without
    `physics` a task with things to move has mujoco. seeds: of the trials.
    Raises ValueError (BringupError) for what cannot be used, or is set here.
    """
    reserved = sorted(set(arguments) & set(RESERVED))
    if reserved:
        raise BringupError(f"{', '.join(reserved)}: set by armlet eval itself; leave it out")
    if arguments.get("inference_latency_s") == "measured":
        raise BringupError("inference_latency_s: expected seconds; a measured one repeats nothing")
    rest = dict(arguments)
    domain = rest.pop("domain", "")
    setting = Setting(
        _from_anywhere(task, "task") if task.endswith((".yaml", ".yml")) else task,
        checkpoint if checkpoint.startswith(HUB) else str(Path(checkpoint).absolute()),
        physics=rest.pop("physics", "") or _needed_physics(task),
        domain=domain and _from_anywhere(domain, "domain"),
        arguments=rest,
        videos=videos,
    )
    _check_scenes(setting.scenery().task, seeds)
    check(graph("sim").nodes(setting.graph_arguments(0)))
    return setting


def _from_anywhere(path: str, where: str) -> str:
    return str(expanded(path, Path.cwd(), where))


def _needed_physics(task: str) -> str:
    return MUJOCO if find(task).needs_physics else KINEMATIC


def _check_scenes(task: Task, seeds: range) -> None:
    """Raise ValueError for a seed whose scene has no room, or is done before the arm moves."""
    for seed in seeds:
        if task.judge(State(HOME, task.initial(seed))):
            raise BringupError(
                f"task {task.name}: with seed {seed} its goals hold before the arm moves; "
                "change its goals, or where its things may stand"
            )


def run_trial(
    setting: Setting,
    seed: int,
    folder: Path,
    log: Path,
    popen: Any = subprocess.Popen,
    adjust: Callable[[list[NodeSpec]], list[NodeSpec]] = list,
    attend: Callable[[Director], None] = lambda director: None,
) -> tuple[Trial, float]:
    """One trial, and how many seconds of simulated time its graph ran.

    folder: for the video, in `VIDEOS`. log: for what the nodes say. popen: starts a node's process.
    adjust: gives the nodes as they are to be started. attend: is given the director before any time
    passes, to listen to more of the graph.
    Raises RefusedError, GraphError where the graph does not go on, BringupError, OSError.
    """

    def seeded(nodes: list[NodeSpec]) -> list[NodeSpec]:
        return [
            _of_policy(spec, seed) if spec.executable == "policy" else spec
            for spec in adjust(nodes)
            if not spec.program  # nobody looks at a trial
        ]

    task = setting.scenery().task
    pictures, measures = Pictures(), Measures()
    with start_adjusted("sim", setting.graph_arguments(seed), log, seeded, popen) as director:
        pictures.listen(director)
        measures.listen(director)
        attend(director)
        _get_ready(director)
        since_ns = director.now_ns
        outcome = _drive(director, task, measures, since_ns)
        span_ns = since_ns, director.now_ns
        elapsed_s = director.elapsed_s
    trial = _measured(director, seed, span_ns, outcome, pictures, measures)
    if setting.videos == "all" or (setting.videos == "failures" and not trial.success):
        video = f"{VIDEOS}/seed-{seed}.mp4"
        fps = round(float(setting.arguments.get("fps", _FPS)))
        pictures.write(folder / video, span_ns, fps)
        trial = dataclasses.replace(trial, video=video)
    return trial, elapsed_s


def _of_policy(spec: NodeSpec, seed: int) -> NodeSpec:
    """Its noise is seeded too."""
    return dataclasses.replace(spec, parameters={**spec.parameters, "seed": seed})


def _get_ready(director: Director) -> None:
    """Have the arm at home and frames coming, and begin at the same instant in every trial."""
    seen, status = director.seen, status_name("policy", "inference")
    director.wait_for("aligned frames", lambda: seen.count("observation/state") > 5, _READY_S)
    director.wait_for("the policy", lambda: status in seen.status(), _READY_S)
    director.drive_to(SO101_JOINTS, HOME)
    left_s = BEGIN_S - director.elapsed_s
    if left_s < 0:
        raise GraphError(f"the graph was not ready within {BEGIN_S:g} s of simulated time")
    director.let_pass(left_s)


def _drive(director: Director, task: Task, measures: Measures, since_ns: int) -> Outcome:
    """Let the policy drive until the task has succeeded, or its time is over."""
    seen, status = director.seen, status_name("policy", "inference")
    before = measures.outcome(0, since_ns)
    if before is not None and before.success:
        raise RefusedError(f"{task.name} was done before the policy began to drive")
    try:
        director.set("policy/set_running", True)
    except GraphError as error:
        raise RefusedError(str(error)) from error
    while True:
        director.let_pass(_STEP_S)
        if seen.status().get(status, {}).get("state") == "refused":
            raise RefusedError(f"policy: {seen.messages()[status]}")
        outcome = measures.outcome(since_ns, director.now_ns)
        if outcome is None:
            raise GraphError(f"the bench reports no {' and '.join(MEASURED)} on ~/measures")
        over = (director.now_ns - since_ns) * 1e-9 >= task.limit_s
        if outcome.success or over:
            director.set("policy/set_running", False)
            return outcome


def _measured(
    director: Director,
    seed: int,
    span_ns: tuple[int, int],
    outcome: Outcome,
    pictures: Pictures,
    measures: Measures,
) -> Trial:
    times_s, joints = director.seen.joint_rows("joint_states", *span_ns)
    if len(times_s) < 2:
        raise GraphError("no joint_states came during the trial")
    speed = speeds(joints, times_s)
    rate_hz = (len(times_s) - 1) / float(times_s[-1] - times_s[0])
    return Trial(
        seed=seed,
        success=outcome.success,
        time_s=outcome.time_s,
        duration_s=(span_ns[1] - span_ns[0]) * 1e-9,
        final=outcome.final,
        path_rad=path_length(joints),
        path_m=path_length(np.array([tip_position(row) for row in joints])),
        smoothness=spectral_arc_length(speed, rate_hz),
        digest=_digest(director, span_ns, pictures, measures),
    )


def _digest(
    director: Director, span_ns: tuple[int, int], pictures: Pictures, measures: Measures
) -> str:
    """SHA-256 of all that was measured, commanded and seen in a span, by time since its start."""
    seen, total = director.seen, hashlib.sha256()
    arrays = [array for topic in _TOPICS for array in seen.joint_rows(topic, *span_ns)]
    arrays += [measures.within(*span_ns)]
    for chunk in seen.chunks(*span_ns):
        arrays += [chunk.times_s, chunk.rows]
    for array in arrays:
        total.update(repr(array.shape).encode() + np.ascontiguousarray(array, np.float64).tobytes())
    for camera, stamp_ns, content in pictures.within(*span_ns):
        total.update(f"{camera} {stamp_ns - span_ns[0]} {len(content)}".encode() + content)
    return total.hexdigest()


MEASURED = ("error", "success")
"""Of what the bench measures, what a trial needs."""


@dataclass(frozen=True)
class Outcome:
    """What the bench has said of its task in a span.

    Attributes:
        time_s: from the span's start until the task had been done; None where it has not been.
        final: the error at the end, metres.
    """

    time_s: float | None
    final: float

    @property
    def success(self) -> bool:
        return self.time_s is not None


class Measures:
    """What the bench says of its task, by stamp: it alone judges what has been done."""

    def __init__(self) -> None:
        self._reported: dict[int, tuple[float, ...]] = {}
        self._newest_ns = 0
        self._latest: Mapping[str, float] = {}

    def listen(self, director: Director) -> None:
        """Take it from here on."""
        director.listen(Float64MultiArray, "sim_bench/measures", self.keep)

    def keep(self, message: Any) -> None:
        """One message; one that lacks what is needed is left out."""
        stamp_ns, values = parse_skew(message)
        if stamp_ns >= self._newest_ns:
            self._newest_ns, self._latest = stamp_ns, values
        if all(name in values for name in MEASURED):
            self._reported[stamp_ns] = tuple(values[name] for name in MEASURED)

    def latest(self, name: str) -> float | None:
        """What was reported of a measure last; None if nothing was."""
        return self._latest.get(name)

    def within(self, since_ns: int, until_ns: int) -> NDArray[np.float64]:
        """Rows (k, 3) by stamp: time in s since the start of a span, error in m, success (0, 1)."""
        stamps = [stamp for stamp in sorted(self._reported) if since_ns <= stamp <= until_ns]
        rows = [((stamp - since_ns) * 1e-9, *self._reported[stamp]) for stamp in stamps]
        return np.array(rows, np.float64).reshape(-1, 1 + len(MEASURED))

    def outcome(self, since_ns: int, until_ns: int) -> Outcome | None:
        """What came of a span; None if nothing was reported in it."""
        rows = self.within(since_ns, until_ns)
        if not len(rows):
            return None
        done = rows[rows[:, 2] > 0, 0]
        return Outcome(float(done[0]) if len(done) else None, float(rows[-1, 1]))


class Pictures:
    """What the policy was shown, as JPEG, by camera and stamp."""

    def __init__(self) -> None:
        self._shown: dict[str, dict[int, bytes]] = {camera: {} for camera in _CAMERAS}

    def listen(self, director: Director) -> None:
        """Take the aligner's pictures from here on."""
        for camera, shown in self._shown.items():

            def keep(message: Any, shown: dict[int, bytes] = shown) -> None:
                shown[to_ns(message.header.stamp)] = bytes(message.data)

            director.listen(CompressedImage, f"observation/images/{camera}/compressed", keep)

    def within(self, since_ns: int, until_ns: int) -> Iterator[tuple[str, int, bytes]]:
        """Camera, stamp and JPEG of the pictures of a span."""
        for camera, shown in self._shown.items():
            for stamp_ns in sorted(shown):
                if since_ns <= stamp_ns <= until_ns:
                    yield camera, stamp_ns, shown[stamp_ns]

    def write(self, path: Path, span_ns: tuple[int, int], fps: int) -> None:
        """A video of a span, the cameras side by side. Raises GraphError, VideoError, OSError."""
        both = set.intersection(*(set(shown) for shown in self._shown.values()))
        stamps = sorted(stamp for stamp in both if span_ns[0] <= stamp <= span_ns[1])
        if not stamps:
            raise GraphError("no pictures came during the trial")
        first = self._beside(stamps[0])
        form = Format(first.shape[0], first.shape[1], fps, crf=_CRF)
        developer = Developer(form.height, form.width)
        write_video(path, (developer.rgb(self._beside(s)).frame for s in stamps), form)

    def _beside(self, stamp_ns: int) -> Any:
        return np.hstack([jpeg.decode(shown[stamp_ns]) for shown in self._shown.values()])
