"""What the console's Drive page asks of a real graph with a policy: refused, checked, driven, taken
over, given back, paused, stopped. Each is seen in what the driver reads and publishes."""

import dataclasses
import signal
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from forked_nodes import Popen
from node_processes import SLOW_HZ, STANDSTILL_S, _at_rate

pytest.importorskip("torch", reason="the policy extra is not installed")

from bench_policies import CONTRACT, HEIGHT, WIDTH, save_random

from armlet.bringup import command, graph
from armlet.client.driving import Ask, Fitness, Who
from armlet.client.watching import WatchedGraph
from armlet.console.drive.checkpoints import Shelf
from armlet.console.drive.fits import Fits, Standing
from armlet.console.drive.workbench import Workbench
from armlet.findings import text
from armlet.supervisor import Supervisor

pytestmark = pytest.mark.wall_clock(seconds=60)

# As the console runs it, but not behind all else that is tested here.
COMMAND = (sys.executable, "-m", "armlet.cli.main")


class Watched:
    """A graph by its console, and what its nodes said."""

    def __init__(self, console, supervisor, log, folder):
        self.console, self.supervisor, self._log, self._folder = console, supervisor, log, folder

    def until(self, what, ready):
        end_s = time.monotonic() + STANDSTILL_S
        while not ready(self.console.driving()):
            if time.monotonic() > end_s:
                now = dataclasses.replace(self.console.driving(), tracks=())
                said = self._log.read_text()[-4000:]
                raise AssertionError(f"{what}: {now}, {self.console.view()}; they said:\n{said}")
            time.sleep(0.05)

    def until_commanded(self, who):
        self.until(f"by {who}", lambda now: [one.who for one in now.commands] == [who])

    def until_answered(self, said):
        def answered(_):
            return any(said in line.said for line in self.console.view().answers)

        self.until(f"answer {said!r}", answered)

    def torque(self):
        """What the driver read of the follower's registers."""
        (arm,) = [one for one in self.console.sight().arms if one.node == "servo_bus"]
        return {joint.torque for joint in arm.joints}

    @contextmanager
    def policy(self, spec):
        """Another policy in place of the graph's."""
        self.supervisor.processes["policy"].send_signal(signal.SIGINT)
        self.supervisor.processes["policy"].wait(STANDSTILL_S)
        with self._log.open("a") as output:
            process = Popen(command(spec, self._folder), stdout=output, stderr=output)
        try:
            yield
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(STANDSTILL_S)


@contextmanager
def watched(nodes):
    with tempfile.TemporaryDirectory(prefix="armlet-test-") as name:
        folder = Path(name)
        log = folder / "nodes.log"
        with log.open("a") as output:
            supervisor = Supervisor(nodes, output, Popen)
            try:
                supervisor.start(folder)
                with WatchedGraph() as console:
                    yield Watched(console, supervisor, log, folder)
            finally:
                supervisor.stop()


@pytest.mark.thorough
def test_a_policy_is_refused_another_fits_drives_is_taken_over_and_stopped(
    tmp_path, private_domain
):
    wide = tuple(dataclasses.replace(camera, width=80) for camera in CONTRACT.cameras)
    refused = save_random(
        tmp_path / "shelf" / "wide", dataclasses.replace(CONTRACT, cameras=wide), width=80
    )
    fits = save_random(tmp_path / "shelf" / "fits", CONTRACT)
    with tempfile.TemporaryDirectory(prefix="armlet-bench-") as directory:
        given = {"emulated": "true", "teleop": "true", "bench_directory": directory}
        size = {"width": str(WIDTH), "height": str(HEIGHT)}
        nodes = graph("policy").nodes({**given, **size, "checkpoint": str(refused)})
        with watched(_at_rate(nodes, SLOW_HZ)) as seen:
            is_refused(seen, Workbench(Shelf([tmp_path / "shelf"]), Fits(COMMAND)))
            (spec,) = [spec for spec in nodes if spec.executable == "policy"]
            given = {**spec.parameters, "checkpoint": str(fits), "running": False}
            with seen.policy(dataclasses.replace(spec, parameters=given)):
                drives(seen)
                is_taken_over_and_given_back(seen)
                is_paused(seen)
                is_stopped(seen)


def is_refused(seen, bench):
    """By its node, whose lines are those of the command beside the same graph; another fits."""
    seen.until("refused", lambda now: now.state == "refused" and now.fit)
    wrong = [text(one) for one in seen.console.driving().fit if not one.ok]
    assert any("camera front" in line for line in wrong)
    seen.console.press(Ask.RUN)
    seen.until_answered("the policy does not fit")
    assert all(not track.plans for track in seen.console.driving().tracks)
    listed = {one.name: one for one in bench.shelf.listed()[0]}
    for one in listed.values():
        bench.check(one, seen.console, seen.console.driving().node)
    keys = {name: one.key for name, one in listed.items()}
    over = lambda: all(bench.fits.get(key).is_over for key in keys.values())  # noqa: E731
    assert bench.fits.wait(over, 2 * STANDSTILL_S)
    found = {name: bench.fits.get(key) for name, key in keys.items()}
    assert found["fits"].standing is Standing.FITS, found["fits"]
    assert found["wide"].standing is Standing.REFUSED, found["wide"]
    lines = [text(one) for one in found["wide"].findings if not one.ok]
    assert set(wrong) <= set(lines)


def drives(seen):
    seen.until("fits", lambda now: now.fitness is Fitness.MAY_RUN and now.state == "paused")
    assert all(one.ok for one in seen.console.driving().fit)
    seen.console.press("t")
    seen.until("torque", lambda _: seen.torque() == {True})
    seen.until_commanded(Who.HOLD)
    seen.console.press(Ask.RUN)
    seen.until_commanded(Who.POLICY)
    seen.until(
        "plans beside what was measured",
        lambda now: len(now.tracks) == 6 and all(t.apart_rad is not None for t in now.tracks),
    )
    seen.until("drift", lambda now: any(one.kind == "sigma" for one in now.drift))
    now = seen.console.driving()
    assert now.provenance.name == "fits" and now.running
    assert now.covers_s == pytest.approx(19 / 30) and now.latency["inference_s"] > 0


def is_taken_over_and_given_back(seen):
    seen.console.press(Ask.TAKE_OVER)
    seen.until_commanded(Who.PERSON)
    seen.until("engaged", lambda now: ("teleop: leader", True) in now.persons)
    seen.console.press(Ask.TAKE_OVER)  # a second browser: it stays so
    seen.until_answered("following the leader")
    assert [one.who for one in seen.console.driving().commands] == [Who.PERSON]
    seen.console.press(Ask.GIVE_BACK)
    seen.until_commanded(Who.POLICY)
    seen.until("disengaged", lambda now: ("teleop: leader", False) in now.persons)


def is_paused(seen):
    seen.console.press(Ask.PAUSE)
    seen.until_commanded(Who.HOLD)
    seen.until_answered("paused; the arm holds")
    seen.until("paused", lambda now: now.state == "paused")
    assert seen.torque() == {True}


def is_stopped(seen):
    """And stays so, though the policy is started: it arms nothing."""
    seen.console.press(Ask.RUN)
    seen.until_commanded(Who.POLICY)
    seen.console.press("x")
    seen.until("no torque", lambda _: seen.torque() == {False})
    seen.console.press(Ask.RUN)
    seen.until_answered("running")
    count = int(seen.console.driving().counts["chunks"])
    seen.until("chunks", lambda now: int(now.counts["chunks"]) > count + 2)
    assert seen.torque() == {False}
