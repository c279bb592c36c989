"""Stock LeRobot as a process to be asked: the reference armlet's policies are compared with.

The environments are below the directory ARMLET_ORACLE, or `.oracle` in the repository: v04/ holds
LeRobot 0.4.4, v03/ holds 0.3.3.
"""

import fcntl
import json
import os
import subprocess
import tempfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
SCRIPTS = REPOSITORY.parent / "shared" / "oracle"
REFERENCES = ("act_small", "act_small_minmax", "act_full", "act_full_te")
ORACLE = Path(os.environ.get("ARMLET_ORACLE", REPOSITORY / ".oracle"))
PYTHONS = {
    era: ORACLE / folder / "bin" / "python" for era, folder in (("0.3.3", "v03"), ("0.4.4", "v04"))
}


def missing(*eras):
    """Why these eras cannot be asked, or an empty text."""
    absent = [str(PYTHONS[era]) for era in eras if not PYTHONS[era].exists()]
    return f"no LeRobot oracle at {', '.join(absent)}: set ARMLET_ORACLE" if absent else ""


def make_references():
    """Directory of the reference checkpoints, made by the shared script where missing."""
    if not (SCRIPTS / "make_checkpoints.py").exists():
        pytest.skip(f"no reference scripts in {SCRIPTS}")
    directory = ORACLE / "checkpoints"
    directory.mkdir(exist_ok=True)
    # Several processes run tests at once: one makes them, the others wait.
    with (directory / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        absent = [name for name in REFERENCES if not (directory / name / "io.npz").exists()]
        if absent:
            _run_lerobot("make_checkpoints.py", directory, *absent)
    return directory


def _run_lerobot(*arguments):
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    environment.pop("PYTHONPATH", None)
    command = [str(PYTHONS["0.4.4"]), *map(str, arguments)]
    done = subprocess.run(command, cwd=SCRIPTS, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


class LeRobot:
    """One process of LeRobot, kept between jobs because it takes seconds to start."""

    def __init__(self, era):
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        environment.pop("PYTHONPATH", None)
        self._said = tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed by __exit__)
        self._process = subprocess.Popen(
            [str(PYTHONS[era]), str(Path(__file__).with_name("lerobot_driver.py"))],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
        )

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self._process.kill()  # it holds nothing, and to end by itself takes it seconds
        self._process.communicate()
        self._said.close()

    def do(self, job):
        """Have a job of lerobot_driver.py done. Raises RuntimeError with LeRobot's own words."""
        try:
            self._process.stdin.write(json.dumps(job) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            self._process.wait()
            self._said.seek(0)
            raise RuntimeError(f"LeRobot's process ended: {self._said.read()[-3000:]}")
        answer = json.loads(line)
        if "error" in answer:
            raise RuntimeError(f"LeRobot could not do {job['do']}: {answer['error'][-3000:]}")
