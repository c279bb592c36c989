"""The rules of docs/architecture.md that a machine can keep: layers, and tables that are true."""

import ast
import re
from pathlib import Path

import pytest

import armlet

PACKAGE = Path(armlet.__file__).parent
ROOT = Path(__file__).parents[1]

# What each room may import, beyond itself.
MAY_IMPORT = {
    "files": set(),
    "feetech": {"priority"},
    "arm": {"feetech", "files"},
    "camera": {"files"},
    "align": set(),
    "contract": {"files"},
    "episodes": {"contract", "align", "camera", "arm", "files"},
    "policies": {"contract", "align", "camera", "arm", "files"},
    "sim": {"feetech", "contract", "align", "camera", "arm", "priority"},
    "preflight": {"feetech", "arm", "camera", "files", "priority", "lateness", "missing"},
    "training": {"episodes", "policies", "sim", "contract", "align", "camera", "arm"},
}
ROS = re.compile(r"^(rclpy|launch|\w+_msgs|\w+_srvs|builtin_interfaces|rcl_interfaces)$")


def imported(path):
    """Absolute names of the modules a file imports, wherever in the file it does."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module
            if node.module == "armlet":
                yield from (f"armlet.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("room", sorted(MAY_IMPORT))
def test_imports_point_one_way_and_these_rooms_know_no_ros(room):
    for path in (PACKAGE / room).glob("*.py"):
        for name in imported(path):
            top, _, rest = name.partition(".")
            assert not ROS.match(top), f"{path.name} of {room} imports {name}"
            other = rest.partition(".")[0]
            if top == "armlet" and other:
                assert other in MAY_IMPORT[room] | {room}, f"{path.name} imports {name}"


@pytest.mark.parametrize("forbidden", ["lerobot", "transformers", "torchvision"])
def test_nothing_needs_lerobot_at_run_time(forbidden):
    for path in PACKAGE.rglob("*.py"):
        assert forbidden not in {name.partition(".")[0] for name in imported(path)}, path


@pytest.mark.parametrize(
    "node", ["servo_bus", "camera", "aligner", "policy", "recorder", "teleop", "sim_bench"]
)
def test_the_readme_names_every_parameter(node):
    import importlib

    if node == "policy":
        pytest.importorskip("torch", reason="the policy extra is not installed")
    module = importlib.import_module(f"armlet.nodes.{node}")
    (row,) = re.findall(
        rf"^\| `{node}` \| (.*) \|$",
        (ROOT / "README.md").read_text().partition("## Parameters")[2],
        flags=re.MULTILINE,
    )
    named = set(re.findall(r"`([a-z0-9_]+)`", row))
    assert named == {setting.name for setting in module.SETTINGS}


@pytest.mark.parametrize("page", ["README.md", "docs/architecture.md", "docs/servo_bus.md"])
def test_links_and_pictures_are_there(page):
    path = ROOT / page
    for target in re.findall(r"\]\(([^)#]+)\)", path.read_text()):
        assert "://" in target or (path.parent / target).exists(), target
