"""The scripts in examples/, each run as its first lines say, and what `import armlet` gives."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import armlet

pytestmark = pytest.mark.thorough

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"


def run(script, *arguments):
    """What an example prints; its graph's nodes log to standard error."""
    line = [sys.executable, str(EXAMPLES / script), *map(str, arguments)]
    done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def recorded(tmp_path_factory, private_domain):
    """The dataset that record_episode.py records, and what it printed."""
    root = tmp_path_factory.mktemp("examples") / "dataset"
    return root, run("record_episode.py", root)


def test_joints_are_watched():
    said = run("watch_joints.py")
    readings = [line for line in said.splitlines() if line.endswith(" rad")]
    assert len(readings) == 5
    assert all(len(re.findall(r"[+-]\d\.\d{3}", line)) == 6 for line in readings)
    assert "100 readings a second" in said


def test_the_arm_moves():
    said = run("move_arm.py")
    half_way, back = (float(found) for found in re.findall(r"shoulder_pan at ([+-]\d\.\d+)", said))
    assert half_way > 0.4 and abs(back) < 0.05
    assert said.splitlines()[-1] == "torque is off"


def test_an_episode_is_recorded(recorded):
    root, said = recorded
    assert "episode 0" in said.splitlines()[-1]
    assert (root / "meta" / "info.json").is_file()


def test_a_dataset_is_read(recorded):
    root, _ = recorded
    said = run("read_dataset.py", root)
    (frames,) = re.findall(r"^  0: (\d+) frames, .* s, touch the red target$", said, re.MULTILINE)
    assert said.startswith("1 episodes at 30 frames a second")
    assert f"state ({frames}, 6) float32" in said
    assert "front: (2, 96, 128, 3) uint8" in said and "wrist: (2, 96, 128, 3) uint8" in said


def test_a_policy_runs_on_a_frame_and_does_what_was_demonstrated(recorded):
    pytest.importorskip("torch", reason="the policy extra is not installed")
    root, _ = recorded
    said = run("run_policy.py", ROOT / "checkpoints" / "reach", root)
    assert re.search(r"^\d+ actions of 6 joints", said, re.MULTILINE)
    difference = float(re.search(r"recorded actions: (\S+)", said)[1])
    still = float(re.search(r"does not move: (\S+)", said)[1])
    assert difference < still / 3


def test_every_example_is_run_here():
    here = Path(__file__).read_text()
    for script in EXAMPLES.glob("*.py"):
        assert f'run("{script.name}"' in here, f"no test runs {script.name}"


def test_armlet_itself_imports_neither_ros_nor_torch():
    script = "import armlet, sys; assert not {'rclpy', 'torch', 'cv2'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_every_public_name_is_there():
    pytest.importorskip("torch", reason="the policy extra is not installed")
    for name in armlet._PUBLIC:
        assert getattr(armlet, name).__name__ == name
        assert name in dir(armlet)


def test_a_name_that_is_not_there_is_answered_with_those_that_are():
    with pytest.raises(AttributeError, match=r"no attribute 'Robot'; it has \['start'"):
        armlet.Robot  # noqa: B018
