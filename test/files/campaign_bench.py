"""The arms of the file campaign: a case's own emulated ones, and a driver that all cases share."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent
ARMS = "arms"
"""Folder of a case that has the ports of its arms."""


@contextlib.contextmanager
def emulated_arms(folder: Path) -> Iterator[None]:
    """A leader and a follower in a process of their own, which ends with this one."""
    folder.mkdir()
    ours, theirs = os.pipe(), os.pipe()
    child = os.fork()
    if not child:
        os.close(ours[1])
        _serve(folder, until=ours[0], ready=theirs[1])
    os.close(ours[0])
    os.close(theirs[1])
    try:
        if os.read(theirs[0], 1) != b"1":
            raise AssertionError("the emulated arms did not come up")
        yield
    finally:
        os.close(ours[1])
        os.close(theirs[0])
        os.waitpid(child, 0)


def _serve(folder: Path, until: int, ready: int) -> None:
    from armlet.sim import EmulatedArms

    try:
        with EmulatedArms(folder, paced=False):
            os.write(ready, b"1")
            os.read(until, 1)
    finally:
        os._exit(0)


class Driver:
    """A servo_bus on an emulated follower, started when the first case needs it."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self.folder = Path()
        """Its own, once it is started."""

    @property
    def calibration(self) -> Path:
        """What the driver says its calibration is; a case may put another file there."""
        return self.folder / "driver.json"

    def start(self, sound: Path) -> None:
        """Start it with a sound calibration, unless it runs. Raises AssertionError."""
        if self._process is not None:
            return
        self.folder = Path(tempfile.mkdtemp(prefix="armlet-campaign-"))
        shutil.copyfile(sound, self.calibration)
        command = [sys.executable, __file__, str(self.folder)]
        # In a process of its own: this one forks, and is to have one thread.
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        said = self._read()
        if said != "ready":
            raise AssertionError(f"the driver did not come up: {said}")

    def end(self) -> list[str]:
        """End it, if it runs; what was wrong with its goals."""
        if self._process is None:
            return []
        self._process.communicate("")
        shutil.rmtree(self.folder)
        status = self._process.returncode
        return [f"the driver's goals, or its end: status {status}"] if status else []

    def _read(self) -> str:
        assert self._process is not None and self._process.stdout is not None
        return self._process.stdout.readline().strip()


def serve_driver(folder: Path) -> int:
    """Run the driver until stdin ends; 1 if it died or moved the arm beyond its limits."""
    sys.path += [str(HERE.parent / "nodes"), str(HERE.parent)]
    from message_campaign import Run, _judge_goals
    from node_processes import follower, running

    from armlet.sim import EmulatedArms

    (folder / ARMS).mkdir()
    with EmulatedArms(folder / ARMS) as arms:
        spec = follower(folder / ARMS / "follower", calibration_file=str(folder / "driver.json"))
        with running([spec]) as started:
            started.wait("joints", lambda: started.seen.count("applied_joint_commands") > 20)
            arms.follower.writes.clear()
            print("ready", flush=True)
            sys.stdin.read()
            run = Run(0)
            _judge_goals(run, arms.follower)
            ended = started.processes["servo_bus"].poll()
            wrong = [*run.violations, *([] if ended is None else [f"servo_bus ended: {ended}"])]
            print("\n".join([*wrong, started.said()[-2000:]] if wrong else []), file=sys.stderr)
            return 1 if wrong or not run.goals else 0


if __name__ == "__main__":
    sys.exit(serve_driver(Path(sys.argv[1])))
