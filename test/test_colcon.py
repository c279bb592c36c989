"""colcon builds the tree as an ament_python package, against the wheels' rclpy."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from armlet.bringup import GRAPHS

ROOT = Path(__file__).parents[1]
COLCON = Path(sys.executable).parent / "colcon"


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    if not COLCON.exists():
        pytest.skip("colcon is not installed beside this Python")
    workspace = tmp_path_factory.mktemp("workspace")
    left_out = shutil.ignore_patterns(
        ".*", "build", "install", "log", "*-output", "__pycache__", "*.egg-info", "checkpoints"
    )
    shutil.copytree(ROOT, workspace / "src" / "armlet", ignore=left_out)
    built = subprocess.run(
        [COLCON, "build"],
        cwd=workspace,
        capture_output=True,
        text=True,
        env={"PATH": f"{COLCON.parent}:/usr/bin:/bin", "HOME": str(workspace)},
    )
    assert built.returncode == 0, built.stdout + built.stderr
    return workspace / "install" / "armlet"


@pytest.mark.thorough
def test_ros2_run_finds_every_node(installed):
    executables = {path.name for path in (installed / "lib" / "armlet").iterdir()}
    assert executables == {path.name for path in (ROOT / "executables").iterdir()}
    for path in (installed / "lib" / "armlet").iterdir():
        assert path.stat().st_mode & 0o111


def test_ros2_launch_finds_every_graph_and_its_configuration(installed):
    share = installed / "share" / "armlet"
    for name in GRAPHS:
        assert (share / "launch" / f"{name}.launch.py").is_file()
    assert (share / "package.xml").is_file()
    assert {path.name for path in (share / "config").glob("*.yaml")} == {
        path.name for path in (ROOT / "config").glob("*.yaml")
    }
    assert (share / "config" / "calibration" / "emulated_follower.json").is_file()
    index = installed / "share" / "ament_index" / "resource_index" / "packages" / "armlet"
    assert index.is_file()


def test_the_installed_package_finds_its_share_directory(installed):
    (site,) = installed.glob("lib/python*/site-packages")
    found = subprocess.run(
        [sys.executable, "-c", "import armlet.bringup as b; print(b.share_directory())"],
        env={"PYTHONPATH": str(site), "PATH": "/usr/bin:/bin"},
        cwd=installed,
        capture_output=True,
        text=True,
    )
    assert found.stdout.strip() == str(installed / "share" / "armlet"), found.stderr
