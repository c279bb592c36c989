"""Whether docker/Dockerfile installs what every command needs, checked without a container engine.

python .ci/image.py                what armlet imports and the Dockerfile does not bring
python .ci/image.py --install DIR  sets up DIR, a new virtual environment, with what the Dockerfile
                                   lists and nothing else, then looks there as with --here
python .ci/image.py --here         imports all that armlet imports, imports every module of armlet,
                                   and asks every command for its help, with this Python

PyPI stands in for apt and for the base image. Status 1, and a line for each, where something lacks.
"""

from __future__ import annotations

import argparse
import ast
import functools
import importlib
import os
import pkgutil
import re
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCKERFILE = ROOT / "docker" / "Dockerfile"
# Modules by their package, where that has another name.
MODULES = {
    "python3-opencv": "cv2",
    "python3-serial": "serial",
    "python3-yaml": "yaml",
    "launch-ros": "launch",
    "ros2launch": "launch",
}
# What stands in for apt's, as Ubuntu 24.04 has it where that matters: what pip installs beside it
# must take its NumPy, and armlet its OpenCV.
NOBLE = sys.version_info < (3, 13)
STAND_INS = {
    "python3-opencv": f"opencv-python-headless{'==4.6.0.66' if NOBLE else ''}",
    "python3-serial": "pyserial",
    "python3-yaml": "pyyaml",
    "python3-numpy": f"numpy{'==1.26.4' if NOBLE else ''}",
}
# The base image, ros:DISTRO, is ROS's variant ros_base.
BASE = {
    "rclpy": "ros-rclpy[fastrtps]",
    "builtin_interfaces": "ros-builtin-interfaces",
    "geometry_msgs": "ros-geometry-msgs",
    "lifecycle_msgs": "ros-lifecycle-msgs",
    "rcl_interfaces": "ros-rcl-interfaces",
    "rosgraph_msgs": "ros-rosgraph-msgs",
    "std_msgs": "ros-std-msgs",
}
NOT_ON_PYPI = {"control_msgs", "launch"}
# A viewer with windows of its own, which an image without a screen has no use for; `armlet dataset
# view` draws a picture without it.
LEFT_OUT = {"rerun"}
# What comes with a package and is imported, too.
BRINGS = {"nicegui": ("fastapi", "starlette", "uvicorn")}
_BUILD = ("python3-colcon-common-extensions", "python3-pip")


def lists(text: str) -> tuple[list[str], list[str]]:
    """What a Dockerfile installs by apt, and by pip; a ROS distribution's as `ros:PACKAGE`."""
    runs = re.findall(r"^RUN (.*?)(?<!\\)$", text, flags=re.MULTILINE | re.DOTALL)
    found: dict[str, list[str]] = {"apt-get install": [], "pip install": []}
    for command in re.split(r"&&|\n(?!\s)", "\n".join(runs).replace("\\\n", " ")):
        for name, packages in found.items():
            if f" {name} " in f" {command.strip()} ":
                words = [word.strip("'") for word in command.partition(name)[2].split()]
                packages += [word for word in words if not word.startswith(("-", "/"))]
    ros = re.compile(r"ros-\$\{ROS_DISTRO\}-")
    return [ros.sub("ros:", each) for each in found["apt-get install"]], found["pip install"]


def brought() -> dict[str, str]:
    """What stands in on PyPI for each module that the image has; empty where nothing does."""
    apt, pip = lists(DOCKERFILE.read_text(encoding="utf-8"))
    found = dict(BASE)
    for package in apt:
        if package in _BUILD:
            continue
        bare = package.removeprefix("ros:")
        module = MODULES.get(bare, bare.removeprefix("python3-").replace("-", "_"))
        name = f"ros-{bare}" if bare != package else STAND_INS.get(bare, bare[len("python3-") :])
        found[module] = "" if module in NOT_ON_PYPI else name
    for requirement in pip:
        name = re.split(r"[<>=\[]", requirement)[0]
        found |= dict.fromkeys((name, *BRINGS.get(name, ())), requirement)
    return found


@functools.cache
def imported() -> frozenset[str]:
    """Every module outside armlet and Python that is imported, wherever in a file it is."""
    found: set[str] = set()
    for path in [*(ROOT / "src").rglob("*.py"), *(ROOT / "launch").glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                found.add(node.module.partition(".")[0])
    return frozenset(found - {"armlet"} - set(sys.stdlib_module_names))


def lacking() -> list[str]:
    """Modules that are imported and that the Dockerfile does not bring."""
    return sorted(imported() - set(brought()) - LEFT_OUT)


def install(folder: Path) -> int:
    """Set a new environment up with what the image has, and look at it. A status."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    wanted = sorted(set(filter(None, brought().values())))
    subprocess.run([python, "-m", "pip", "install", "--quiet", *wanted], check=True)
    return subprocess.run([python, __file__, "--here"], check=False).returncode


def wrong_here() -> Iterator[str]:
    """What lacks in this Python: modules, and commands that cannot print their help."""
    sys.path.insert(0, str(ROOT / "src"))
    os.environ["PYTHONPATH"] = str(ROOT / "src")
    absent = [said for name in sorted(imported() - LEFT_OUT) for said in _not_imported(name)]
    yield from absent
    if absent:  # with which armlet may not even start
        return
    import armlet
    from armlet.cli.main import make_parser

    for found in pkgutil.walk_packages(armlet.__path__, "armlet."):
        if not found.name.endswith("__main__"):
            yield from _not_imported(found.name)
    for words in commands(make_parser()):
        line = [sys.executable, "-m", "armlet.cli.main", *words, "--help"]
        asked = subprocess.run(line, capture_output=True, text=True, check=False)
        if asked.returncode:
            yield f"armlet {' '.join(words)} --help: {asked.stderr.strip()[-200:]}"


def _not_imported(name: str) -> Iterator[str]:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in NOT_ON_PYPI:
            yield f"{name}: {error}"
    except Exception as error:  # a library of the system that is not there, too
        yield f"{name}: {type(error).__name__}: {error}"


def commands(parser: argparse.ArgumentParser) -> Iterator[list[str]]:
    """The words of every command that runs something."""
    below = [each for each in parser._actions if isinstance(each, argparse._SubParsersAction)]
    if not below:
        yield []
    for verbs in below:
        for name, one in verbs.choices.items():
            yield from ([name, *words] for words in commands(one))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--install", type=Path, metavar="DIR")
    how.add_argument("--here", action="store_true")
    args = parser.parse_args()
    wrong = [f"{name}: docker/Dockerfile does not install it" for name in lacking()]
    if args.here:
        wrong += wrong_here()
    print("\n".join(wrong), end="\n" if wrong else "")
    if not wrong and args.install:
        return install(args.install)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
