"""Stock LeRobot as a process to be asked: the reference armlet's policies are compared with.

The environments are below the directory ARMLET_ORACLE, or `.oracle` in the repository: v04/ holds
LeRobot 0.4.4, v03/ holds 0.3.3, v06/ holds 0.6.1.
"""

import fcntl
import json
import os
import subprocess
from pathlib import Path

import pytest
from forked_python import LEROBOT, Conversation

REPOSITORY = Path(__file__).parents[2]
SCRIPTS = REPOSITORY.parent / "shared" / "oracle"
REFERENCES = ("act_small", "act_small_minmax", "act_full", "act_full_te")
ORACLE = Path(os.environ.get("ARMLET_ORACLE", REPOSITORY / ".oracle"))
FOLDERS = {"0.3.3": "v03", "0.4.4": "v04", "0.6.1": "v06"}
PYTHONS = {era: ORACLE / folder / "bin" / "python" for era, folder in FOLDERS.items()}


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
        script = Path(__file__).with_name("lerobot_driver.py")
        self._process = Conversation(PYTHONS[era], LEROBOT, [script])

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self._process.__exit__(*exception)

    def do(self, job):
        """Have a job of lerobot_driver.py done. Raises RuntimeError with LeRobot's own words."""
        answer = json.loads(self._process.ask(json.dumps(job)))
        if "error" in answer:
            raise RuntimeError(f"LeRobot could not do {job['do']}: {answer['error'][-3000:]}")
