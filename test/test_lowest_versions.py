"""The constraints that `make test-oldest` installs."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / ".ci" / "lowest_versions.py"


@pytest.fixture
def lowest(tmp_path):
    """Runs the script beside a pyproject.toml with these dependencies."""
    script = tmp_path / ".ci" / SCRIPT.name
    script.parent.mkdir()
    shutil.copyfile(SCRIPT, script)

    def run(dependencies, *options):
        text = f"[project]\ndependencies = {dependencies}\n[project.optional-dependencies]\n"
        (tmp_path / "pyproject.toml").write_text(text + 'more = ["torch>=2.5"]\n')
        command = [sys.executable, str(script), *options]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    return run


def test_bounds_become_versions_and_markers_stay(lowest):
    given = ["a-b>=1.26; python_version < '3.13'", "c[x,y]>=8,<8.4", "d <2, >= 1.0.post1"]
    found = lowest(given)
    assert found.stdout.splitlines() == [
        "a-b==1.26; python_version < '3.13'",
        "c==8",
        "d==1.0.post1",
        "torch==2.5",
    ]
    assert "torch" not in lowest(given, "--except", "torch").stdout


@pytest.mark.parametrize("requirement", ["numpy", "numpy<3", "numpy!=2.1"])
def test_a_requirement_without_a_lower_bound_is_refused(lowest, requirement):
    found = lowest([requirement])
    assert found.returncode == 1 and f"{requirement!r} has no lower bound" in found.stderr


def test_every_dependency_has_a_lower_bound():
    found = subprocess.run(
        [sys.executable, str(SCRIPT)], capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stderr
