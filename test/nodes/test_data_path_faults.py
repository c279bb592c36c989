"""Faults of cameras, joints, clocks and disks, through the real processes, to the dataset.

One graph for all: a camera node on a camera that breaks (`front`), a foreign node's camera and
joints (`wrist`, state, action), the aligner, and recorders of three datasets. After every fault:
what /diagnostics said, what the recorder said, and that no row of any episode is false.
"""

import contextlib
import os
import re
import subprocess
import sys
import time
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from node_processes import CALIBRATION, running
from painted_streams import PaintedStreams

from armlet.bringup import NodeSpec
from armlet.camera import jpeg
from armlet.camera.pattern import paint
from armlet.client.graph import GraphError
from armlet.contract import Camera, Contract
from armlet.datasets import Dataset, DatasetWriter, EpisodeFrame, check
from armlet.robots import SO101_JOINTS
from armlet.robots.joints import feature_names

# A camera's driver and a disk know the computer's own time only.
pytestmark = [pytest.mark.thorough, pytest.mark.wall_clock(seconds=5)]

HERE = Path(__file__).parent
MB = 1 << 20
# By the wall clock, and only so that a broken test ends.
GUARD_S = 120.0


def camera_stream(name):
    return {
        f"{name}.topic": f"{name}/image_raw/compressed",
        f"{name}.type": "compressed",
        f"{name}.policy": "nearest",
        # A camera of 8 pictures a second, which is slow on any computer, serves every frame.
        f"{name}.tolerance_s": 0.1,
        f"{name}.frozen_s": 0.4,
    }


ALIGNER = NodeSpec(
    "aligner",
    "aligner",
    {
        "streams": ["state", "action", "front", "wrist"],
        **camera_stream("front"),
        **camera_stream("wrist"),
    },
)


def recorder(name, root, **more):
    # Faults and a busy computer make gaps, and this is about what is recorded between them.
    parameters = {
        "on_gap": "split",
        "max_gaps": 0,
        "min_episode_s": 0.1,
        **more,
        "root": str(root),
        "task": "wave",
        "calibration_file": str(CALIBRATION / "emulated_follower.json"),
    }
    return NodeSpec("recorder", name, parameters)


class FrontCamera:
    """The camera node as a process; called with Python on `plug` it breaks its camera."""

    def __init__(self, log):
        arguments = {"source": "/dev/video0", "width": 128, "height": 96, "frozen_s": 1.6}
        words = [word for name, value in arguments.items() for word in ("-p", f"{name}:={value}")]
        line = [sys.executable, str(HERE / "breakable_camera.py"), "--ros-args", *words]
        self._log = log
        with log.open("w") as output:
            self._process = subprocess.Popen(
                [*line, "-r", "__ns:=/front"], stdin=subprocess.PIPE, stderr=output, text=True
            )

    def __call__(self, code):
        self._process.stdin.write(code + "\n")
        self._process.stdin.flush()

    def lives(self):
        """True; AssertionError with what it said where it has ended."""
        status = self._process.poll()
        assert status is None, f"the camera ended with {status}: {self._log.read_text()[-3000:]}"
        return True

    def close(self):
        self._process.terminate()
        self._process.wait()


class Bench:
    """The running graph, what may be broken in it, and its main recorder."""

    def __init__(self, graph, streams, front, root):
        self.graph, self.streams, self.front, self.root = graph, streams, front, root
        self.director = graph.director
        self.said = []
        self._rows, self._accounts = {}, {}
        node = self.director._node
        node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 100)
        node.create_subscription(DiagnosticArray, "aligner/ledger", self._on_diagnostics, 100)
        node.create_subscription(DiagnosticStatus, "recorder/status", self._on_status, 100)
        self._since = 0

    def _on_diagnostics(self, message):
        for status in message.status:
            self._on_status(status)

    def _on_status(self, status):
        self.said.append((status.name, status.message))
        values = {each.key: each.value for each in status.values}
        if "refused" in values:
            self._accounts[status.name.removeprefix("/")] = values
        if "open_frames" in values:
            name = status.name.removeprefix("/")
            self._rows[name] = int(values["frames"]) + int(values["open_frames"])

    def counted(self, stream, what):
        """A count of a stream's messages, of the aligner's, since it began.

        What came between two episodes is in neither's ledger.
        """
        name = NAMES[stream]
        self._accounts.pop(name, None)
        self.wait("its account", lambda: name in self._accounts)
        return int(self._accounts[name][what])

    def from_now_on(self):
        """`says` looks at nothing that was said before."""
        self._since = len(self.said)

    def wait(self, what, ready):
        self.graph.wait(what, lambda: self.front.lives() and ready())

    def frames(self, count):
        """Wait for so many more frames."""
        first = self.graph.seen.count("observation/state")
        self.wait("frames", lambda: self.graph.seen.count("observation/state") >= first + count)

    def recorded(self, count, recorder="recorder"):
        """Wait until a recorder, by what it says from now on, has so many rows more."""
        name = NAMES[recorder]
        self._rows.pop(name, None)
        self.wait("a status", lambda: name in self._rows)
        first = self._rows[name]
        self.wait("rows", lambda: self._rows[name] >= first + count)

    def pictures(self, count):
        """Let the wrist camera take so many pictures more, whatever becomes of them."""
        until = self.streams.sent + count
        while self.streams.sent < until:
            time.sleep(0.01)

    def says(self, **said):
        """Wait until each status has said something (a pattern) since the fault began."""
        for name, text in said.items():
            self.wait(
                f"{NAMES[name]!r} saying {text!r}",
                lambda n=NAMES[name], t=re.compile(text): any(
                    n in name and t.search(what) for name, what in self.said[self._since :]
                ),
            )

    def start(self, recorder="recorder"):
        """Start when every stream flows; what refused to the last is in the error."""
        return self._start_until(recorder, lambda refusal: refusal is None)

    def refuses(self, recorder, pattern):
        """Start until that is refused for this reason, not for a stream that lags; the words."""
        compiled = re.compile(pattern)
        return self._start_until(
            recorder, lambda refusal: refusal is not None and compiled.search(refusal)
        )

    def _start_until(self, recorder, ready):
        """What a start was refused for, None if it was not, once that is awaited."""
        until = time.monotonic() + GUARD_S
        while True:
            try:
                self.director.trigger(f"{recorder}/start_recording")
                refusal = None
            except GraphError as error:
                refusal = str(error)
            if ready(refusal):
                return refusal
            assert refusal is not None, f"{recorder} began to record"
            assert time.monotonic() < until, f"{refusal}; the nodes said:\n{self.graph.said()}"
            assert self.front.lives()
            time.sleep(0.1)

    def stop(self, recorder="recorder"):
        return self.director.trigger(f"{recorder}/stop_recording")

    @contextmanager
    def episode(self):
        """A recording in which something happens; yields the list of its episodes' numbers."""
        self.streams.fix()
        first = len(Dataset(self.root).episodes) if (self.root / "meta").exists() else 0
        self.start()
        self.recorded(8)
        self.from_now_on()
        numbers = []
        try:
            yield numbers
        except BaseException:
            self.director.trigger("recorder/discard_episode")
            raise
        self.stop()
        dataset = Dataset(self.root)
        numbers += range(first, len(dataset.episodes))
        for number in numbers:
            assert self.streams.falsified(dataset, number) == [], f"episode {number}"

    def ledger(self, numbers, stream):
        """Counts of a stream, over episodes.

        Of the aligner's, those of what it gave up between two of them are in neither's.
        """
        total = {}
        for number in numbers:
            for what, count in Dataset(self.root).ledger(number).get(stream, {}).items():
                total[what] = total.get(what, 0) + count
        return total


NAMES = {
    "camera": "front/camera: pictures",
    "front": "aligner: front",
    "wrist": "aligner: wrist",
    "state": "aligner: state",
    "recorder": "recorder: dataset",
    "small": "small: dataset",
    "other": "other: dataset",
    "strict": "strict: dataset",
}


def other_dataset(root):
    """A dataset of one camera of another size, at another rate, with an episode in it."""
    names = feature_names(SO101_JOINTS)
    contract = Contract(
        fps=15,
        cameras=(Camera("front", 48, 64, codec="jpeg"),),
        state_names=names,
        action_names=names,
        joint_units="degrees",
        calibration="another",
    )
    still = np.zeros(len(names))
    pictures = {"front": np.zeros((48, 64, 3), np.uint8)}
    with DatasetWriter(root, contract) as writer:
        writer.begin_episode("wave")
        writer.add_frame(EpisodeFrame(still, still, pictures, 1_000_000_000, {}))
        writer.finish_episode()


@pytest.fixture(scope="module")
def small_disk(tmp_path_factory):
    """A disk of 420 MB that a test may fill. Skips where nothing may be mounted."""
    folder = tmp_path_factory.mktemp("disk")
    mount = ["mount", "-t", "tmpfs", "-o", "size=420m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        yield None
        return
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture(scope="module")
def bench(tmp_path_factory, private_domain, small_disk):
    folder = tmp_path_factory.mktemp("faults")
    root, other = folder / "dataset", folder / "other"
    other_dataset(other)
    small = (small_disk or folder) / "small"
    nodes = [ALIGNER, recorder("recorder", root), recorder("other", other)]
    nodes += [recorder("small", small), recorder("strict", folder / "strict", max_gaps=1)]
    with running(nodes) as graph, closing(FrontCamera(folder / "camera.log")) as front:
        streams = PaintedStreams()
        try:
            bench = Bench(graph, streams, front, root)
            bench.start()
            graph.wait("the front camera's pictures", lambda: streams.numbers["front"])
            bench.frames(3)
            bench.director.trigger("recorder/discard_episode")
            yield bench
        finally:
            streams.close()


def test_a_frozen_camera(bench):
    with bench.episode() as numbers:
        bench.front("plug.trouble = {'number': 7}; plug.capture.number = 7")
        bench.says(
            front="frozen: it repeats the same image",
            recorder="trouble with .*aligner: front",
            camera="frozen: the same picture",
        )
        # The camera node opens its camera again, which helps from now on.
        bench.front("plug.trouble = {}")
        bench.recorded(5)
    assert len(numbers) >= 2, "split at the gap"
    assert bench.ledger(numbers, "front")["repeated"] > 0
    assert bench.ledger(numbers, "recorder")["missing"] > 0


def test_a_camera_pulled_out_and_put_back(bench):
    with bench.episode() as numbers:
        bench.front("plug.pull()")
        bench.says(camera="not plugged in", front="stalled", recorder="no whole frame came")
        with pytest.raises(GraphError, match="already recording"):
            bench.director.trigger("recorder/start_recording")
        bench.front("plug.put_back(3)")
        bench.recorded(5)
    assert len(numbers) >= 2
    assert bench.ledger(numbers, "recorder")["missing"] > 0


def test_a_camera_that_comes_and_goes_ends_the_recording(bench):
    bench.streams.fix()
    bench.start("strict")
    bench.frames(8)
    bench.from_now_on()
    for _ in range(2):
        bench.streams.silent = {"wrist"}
        bench.pictures(10)
        bench.streams.fix()
        bench.frames(8)
    bench.says(strict=r"gap 2 in one recording, more than max_gaps")
    with pytest.raises(GraphError, match="gap 2 in one recording"):
        bench.stop("strict")


def test_a_camera_that_stays_away_marks_the_episode_it_ended(bench):
    with bench.episode() as numbers:
        bench.streams.silent = {"wrist"}
        bench.says(wrist="stalled", recorder="no whole frame came")
    assert bench.ledger(numbers, "recorder")["missing"] > 0
    with pytest.raises(GraphError, match=r"aligner: wrist: stalled for .* nothing"):
        bench.director.trigger("recorder/start_recording")


def test_a_camera_of_another_size_after_it_came_back(bench):
    before = bench.counted("wrist", "refused")
    with bench.episode() as numbers:
        bench.front(
            "plug.trouble = {'mangle': lambda data: jpeg.encode(paint(64, 64, 1))}; plug.pull()"
        )
        bench.says(camera="not plugged in")
        bench.front("plug.put_back(4)")
        bench.says(camera="picture of 64x64, 128x96 was requested", front="stalled")
        bench.front("plug.trouble = {}; plug.pull(); plug.put_back(5)")
        bench.recorded(5)
        # The same of a camera that is not ours, and that nobody stops on the way.
        bench.streams.mangle = lambda data: jpeg.encode(paint(64, 64, 1))
        bench.pictures(10)
        bench.says(wrist="picture of 64x64, but this camera began with 128x96")
        bench.streams.fix()
        bench.recorded(5)
    assert len(numbers) >= 3
    assert bench.counted("wrist", "refused") > before


def test_half_written_and_torn_pictures(bench):
    def gapped(data):
        return data[:700] + bytes(len(data) - 702) + data[-2:]

    before = bench.counted("wrist", "refused")
    with bench.episode() as numbers:
        bench.streams.mangle = gapped
        bench.pictures(10)
        bench.recorded(6)
        bench.streams.fix()
        bench.recorded(3)
        bench.streams.mangle = lambda data: data[: len(data) // 2]
        bench.pictures(10)
        bench.says(wrist="torn picture of")
        bench.streams.fix()
        bench.recorded(5)
    assert len(numbers) >= 2
    damaged = [Dataset(bench.root).damaged(number) for number in numbers]
    assert sum(len(frames.get("wrist", [])) for frames in damaged) > 0
    assert bench.counted("wrist", "refused") > before


def test_joints_that_stall(bench):
    with bench.episode() as numbers:
        bench.streams.silent = {"state", "action"}
        bench.says(state="stalled", recorder="no whole frame came")
        bench.streams.fix()
        bench.recorded(5)
    assert len(numbers) >= 2
    assert bench.ledger(numbers, "recorder")["missing"] > 0


@pytest.mark.parametrize("off_s", [5.0, 0.7, -0.7, -5.0])
def test_a_clock_that_is_set(bench, off_s):
    before = bench.counted("wrist", "refused")
    with bench.episode() as numbers:
        bench.streams.off_ns = round(off_s * 1e9)
        bench.pictures(10)
        bench.says(wrist="is not the time on this node's clock", recorder="trouble with")
        bench.streams.fix()
        bench.recorded(5)
    assert len(numbers) >= 2
    assert bench.counted("wrist", "refused") > before


def test_a_slow_camera(bench):
    with bench.episode() as numbers:
        bench.front("plug.capture.rate = 8")
        bench.says(
            camera="slow: ",
            front="slower than usual",
            recorder="trouble with .*aligner: front",
        )
        bench.front("plug.capture.rate = 30")
        bench.recorded(5)
    assert bench.ledger(numbers, "front")["reused"] > 0


def test_another_contract_is_refused_line_by_line(bench):
    refused = bench.refuses("other", "fps: expected 15")
    for line in ("expected (48, 64", "images.wrist", "calibration: expected"):
        assert line in refused, refused


def fill(disk, leaving):
    """Leave so many bytes of a disk; 0 while others write to it too."""
    ballast = disk / "ballast"
    ballast.unlink(missing_ok=True)
    facts = os.statvfs(disk)
    size = facts.f_bavail * facts.f_frsize - leaving
    with ballast.open("wb", buffering=0) as file:
        os.posix_fallocate(file.fileno(), 0, size if leaving else size - 8 * MB)
        if not leaving:
            file.seek(0, os.SEEK_END)
            with contextlib.suppress(OSError):
                while file.write(bytes(4096)):
                    pass


def test_a_disk_that_fills(bench, small_disk):
    if small_disk is None:
        pytest.skip("a small tmpfs cannot be mounted here")
    root, ballast = small_disk / "small", small_disk / "ballast"
    fill(small_disk, 100 * MB)
    bench.streams.fix()
    bench.frames(5)
    bench.refuses("small", r"disk short: 10\d MB free at .*, \d+ MB needed")
    ballast.unlink()

    # It runs short while recording: the episode is saved with what room is left.
    bench.start("small")
    bench.recorded(45, "small")
    bench.from_now_on()
    fill(small_disk, 40 * MB)
    bench.says(small="recording ended.*disk short")
    with pytest.raises(GraphError, match=r"disk short"):
        bench.stop("small")  # answered once the episode is saved
    assert len(Dataset(root).episodes) >= 1
    ballast.unlink()

    # It is full from one moment to the next: nothing can be saved, and nothing is lost. Or it was
    # seen to run short just before, and the episode is saved.
    before = len(Dataset(root).episodes)
    bench.start("small")
    bench.recorded(15, "small")
    bench.from_now_on()
    fill(small_disk, 0)
    bench.says(small="recording ended.*(No space left on device|disk short)")
    bench.refuses("small", r"No space left|disk short")
    finished = len(Dataset(root).episodes)
    assert finished >= before, "what was finished loads on a full disk"
    ballast.unlink()
    bench.start("small")
    bench.recorded(10, "small")
    bench.stop("small")
    episodes = Dataset(root).episodes
    assert len(episodes) >= before + 2, "the one that the full disk ended, and one more"
    assert finished > before or f"recovered episode {finished}" in bench.graph.said()
    assert check(root) == []


def test_all_that_was_recorded_is_whole(bench):
    """After all of the above; the last of this module."""
    dataset = Dataset(bench.root)
    said = [line for line in check(bench.root) if "damaged" not in line]
    assert said == []
    for episode in dataset.episodes:
        assert bench.streams.falsified(dataset, episode.episode) == []
