"""The rules of docs/architecture.md that a machine can keep: layers, and tables that are true."""

import ast
import functools
import graphlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import armlet
from armlet.bringup import NODES
from armlet.settings.catalogue import settings_of

PACKAGE = Path(armlet.__file__).parent
ROOT = Path(__file__).parents[1]

# What each room may import, beyond itself.
MAY_IMPORT = {
    "files": set(),
    "findings": {"files"},
    "align": set(),
    "hub": {"files"},
    "camera": {"files", "findings", "plugins", "suggestions", "unix_clock"},
    "contract": {"files", "findings"},
    "robots": {"files", "plugins", "suggestions"},
    "motors": {"plugins", "priority", "suggestions"},
    "control": {"motors", "robots"},
    "calibrate": {"camera", "control", "motors", "robots"},
    "datasets": {"contract", "align", "camera", "robots", "files", "findings", "frozen", "hub"},
    "policies": {
        "contract",
        "robots",
        "files",
        "findings",
        "frozen",
        "hub",
        "plugins",
        "suggestions",
    },
    "settings": {"robots"},
    "sim": {"motors", "robots", "files", "missing", "priority"},
    "preflight": {
        "files",
        "motors",
        "robots",
        "camera",
        "findings",
        "priority",
        "lateness",
        "missing",
    },
    "security": {"bringup", "enclaves", "robots", "start_check"},
    "training": {"datasets", "policies", "contract", "files", "findings", "suggestions"},
    "console": {
        "client",
        "contract",
        "datasets",
        "evaluation",
        "files",
        "findings",
        "missing",
        "priority",
        "robots",
    },
    "evaluation": {"datasets", "policies", "findings", "files", "suggestions"},
}
ROOMS = {path.stem for path in PACKAGE.iterdir() if path.stem[0] != "_"}
# What each part of a room may import of it, beyond itself; a part may be a single module.
PARTS = {
    "datasets": {
        "format": set(),
        "vectors": set(),
        "record": {"format"},
        "hub": {"format"},
        "reader": {"format", "hub"},
        "check": {"format", "record"},
        "transform": {"format", "record", "check", "vectors"},
        "bags": {"format", "record", "transform", "vectors"},
        "page": set(),
        "publish": {"format"},
        "view": {"format", "reader", "check", "page"},
        "score_card": {"format", "reader", "check", "page"},
    },
    "policies": {
        "config": set(),
        "observation": set(),
        "networks": {"config"},
        "preprocess": {"config", "observation"},
        "registry": {"networks", "config"},
        "checkpoint": {"registry", "networks", "config", "preprocess"},
        # The registry finds them by name, as it finds those of other packages.
        "families": {"registry", "checkpoint", "networks", "config"},
        "execution": {"config", "observation"},
        "runtime": {
            "execution",
            "registry",
            "checkpoint",
            "networks",
            "config",
            "preprocess",
            "observation",
        },
        "fit": {"checkpoint", "config", "observation"},
    },
    "motors": {
        "protocol": set(),
        "devices": set(),
        "emulated_port": set(),
        "table": {"protocol"},
        "registry": {"protocol"},
        "eeprom": {"protocol"},
        "wire": {"protocol"},
        "discovery": {"devices", "protocol"},
        "feetech": {"wire", "table", "protocol"},
        "dynamixel": {"wire", "table", "protocol"},
        "emulation": {"feetech", "dynamixel", "wire", "protocol", "emulated_port"},
        "torque_watchdog": {"registry", "protocol", "emulated_port"},
        "watchdog_keeper": {"torque_watchdog"},
    },
    "cli": {
        "terminal": set(),
        "arm": {"terminal"},
        "data": {"terminal"},
        "policy": {"terminal", "data"},
        "graph": {"terminal", "arm"},
        "setup": {"terminal", "arm", "data", "graph"},
        "main": {"terminal", "arm", "data", "policy", "graph", "setup"},
    },
}
ROS = re.compile(r"^(rclpy|launch|\w+_msgs|\w+_srvs|builtin_interfaces|rcl_interfaces)$")


@functools.cache
def imported(path):
    """Absolute names of the modules a file imports, wherever in the file it does."""
    return tuple(_imported(path))


def _imported(path):
    package = ["armlet", *path.relative_to(PACKAGE).parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            here = package[: len(package) + 1 - node.level] if node.level else []
            module = ".".join([*here, *filter(None, [node.module])])
            yield from (f"{module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("room", sorted(MAY_IMPORT))
def test_imports_point_one_way_and_these_rooms_know_no_ros(room):
    for path in (PACKAGE / room).rglob("*.py"):
        for name in imported(path):
            top, _, rest = name.partition(".")
            assert not ROS.match(top), f"{path.name} of {room} imports {name}"
            other = rest.partition(".")[0]
            if top == "armlet" and other in ROOMS:
                assert other in MAY_IMPORT[room] | {room}, f"{path.name} imports {name}"


def test_control_knows_no_family_of_motors():
    for path in (PACKAGE / "control").rglob("*.py"):
        for name in imported(path):
            if name.startswith("armlet.motors"):
                neutral = name.startswith(("armlet.motors.protocol.", "armlet.motors.eeprom"))
                assert neutral, f"{path.name} imports {name}"


def test_no_circle_is_permitted():
    for table in (MAY_IMPORT, *PARTS.values()):
        order = graphlib.TopologicalSorter(table)
        order.prepare()  # raises CycleError


@pytest.mark.parametrize("room", sorted(PARTS))
def test_the_parts_of_a_room_import_downwards(room):
    parts = PARTS[room]
    there = {path.stem for path in (PACKAGE / room).iterdir() if path.suffix in ("", ".py")}
    assert there - {"__init__", "__pycache__"} == set(parts)
    used: dict[str, set[str]] = {part: set() for part in parts}
    for path in (PACKAGE / room).rglob("*.py"):
        part = path.relative_to(PACKAGE / room).parts[0].removesuffix(".py")
        for name in imported(path):
            other = [*name.split("."), "", ""][2]
            if part != "__init__" and name.startswith(f"armlet.{room}.") and other in parts:
                assert other in parts[part] | {part}, f"{path.name} imports {name}"
                used[part].add(other)
    # An arrow that nothing needs any more is taken out of the table.
    assert {part: others - {part} for part, others in used.items()} == parts


def test_the_parts_of_policies_have_few_arrows():
    assert sum(map(len, PARTS["policies"].values())) <= 25


@pytest.mark.parametrize("room", ["datasets", "policies"])
def test_what_a_computer_without_an_arm_imports_needs_no_serial_port(room):
    script = (
        "import importlib, pkgutil, sys\n"
        f"import armlet.{room} as room\n"
        "for found in pkgutil.walk_packages(room.__path__, room.__name__ + '.'):\n"
        "    importlib.import_module(found.name)\n"
        "assert 'serial' not in sys.modules\n"
    )
    if room == "policies":
        pytest.importorskip("torch", reason="the policy extra is not installed")
    subprocess.run([sys.executable, "-c", script], check=True)


def test_the_command_line_starts_without_numpy():
    """Half of what any command, and each press of Tab, would take to start."""
    script = "import sys, armlet.cli.main; assert 'numpy' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_who_has_no_pictures_starts_without_opencv():
    script = (
        "import sys\n"
        "from armlet.client import graph\n"
        "from armlet.nodes import computer, jog, servo_bus, teleop\n"
        "assert 'cv2' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize("forbidden", ["lerobot", "transformers", "torchvision", "diffusers"])
def test_nothing_needs_lerobot_at_run_time(forbidden):
    for path in PACKAGE.rglob("*.py"):
        assert forbidden not in {name.partition(".")[0] for name in imported(path)}, path


@pytest.mark.parametrize("node", NODES)
def test_the_reference_names_every_parameter(node):
    page = (ROOT / "docs" / "reference" / "parameters.md").read_text()
    section = page.partition(f"\n## {node}\n")[2].partition("\n## ")[0]
    named = set(re.findall(r"^\| `([a-z0-9_]+)` \|", section, flags=re.MULTILINE))
    assert named == {setting.name for setting in settings_of(node)}


@pytest.mark.parametrize(
    "page", ["README.md", "docs/architecture.md", "docs/servo_bus.md", "docs/robot.md"]
)
def test_links_and_pictures_are_there(page):
    path = ROOT / page
    for target in re.findall(r"\]\(([^)#]+)\)", path.read_text()):
        assert "://" in target or (path.parent / target).exists(), target
