"""package.xml names what armlet imports, so that `rosdep install` brings it."""

import ast
import sys
from pathlib import Path
from xml.etree import ElementTree

from armlet.missing import EXTRAS

ROOT = Path(__file__).parents[1]
# The rosdep key of a package that is imported by another name.
KEYS = {
    "cv2": "python3-opencv",
    "matplotlib": "python3-matplotlib",
    "numpy": "python3-numpy",
    "rich": "python3-rich",
    "serial": "python3-serial",
    "yaml": "python3-yaml",
}
# From pip alone, as package.xml says beside its keys.
OF_PIP = {"av", "pyarrow"} | set(EXTRAS) - set(KEYS)
# Tab completion, another viewer, the Hub: done without, or said by name when asked for. What comes
# with the console's library.
OPTIONAL = {"argcomplete", "huggingface_hub", "rerun", "fastapi", "starlette", "uvicorn"}


def imported():
    """Every package that is neither armlet nor Python's own."""
    found = set()
    for path in [*(ROOT / "src").rglob("*.py"), *(ROOT / "launch").glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                found.add(node.module.partition(".")[0])
    return found - {"armlet"} - set(sys.stdlib_module_names)


def test_it_names_what_is_imported_and_nothing_else():
    """rosgraph_msgs, which the bench's clock needs, was not named."""
    package = ElementTree.parse(ROOT / "package.xml").getroot()
    named = {entry.text for entry in package.findall("exec_depend")}
    needed = {KEYS.get(name, name) for name in imported() - OF_PIP - OPTIONAL}
    # `ros2 launch` is not imported: launch files are for it.
    assert named == needed | {"ros2launch"}
