"""pip constraints that hold every dependency in pyproject.toml to its lower bound.

python .ci/lowest_versions.py --except torch > lowest.txt

Environment markers stay, so that pip takes the bound of its own Python. Ends with status 1 at a
requirement without a lower bound: nothing would be known about which versions work.
"""

import argparse
import re
import sys
import tomllib
from pathlib import Path

REQUIREMENT = re.compile(r"(?P<name>[\w.-]+)\s*(\[.*?\])?(?P<versions>[^;]*)(?P<marker>;.*)?")
LOWER_BOUND = re.compile(r">=\s*([\w.]+)")


def lowest(requirement: str) -> str:
    """The requirement with its lower bound as the only version. Raises ValueError without one."""
    parts = REQUIREMENT.fullmatch(requirement)
    bound = parts and LOWER_BOUND.search(parts["versions"])
    if not parts or not bound:
        raise ValueError(f"{requirement!r} has no lower bound: write the oldest version that works")
    return f"{parts['name']}=={bound[1]}{parts['marker'] or ''}"


def constraints(project: Path) -> list[str]:
    """A constraint for each dependency and optional dependency of a pyproject.toml."""
    described = tomllib.loads(project.read_text(encoding="utf-8"))["project"]
    optional = described["optional-dependencies"].values()
    return [lowest(one) for group in (described["dependencies"], *optional) for one in group]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--except", dest="without", nargs="*", default=[], metavar="NAME")
    args = parser.parse_args()
    try:
        found = constraints(Path(__file__).parent.parent / "pyproject.toml")
    except ValueError as problem:
        sys.exit(f"pyproject.toml: {problem}")
    print("\n".join(one for one in found if one.split("==")[0] not in args.without))
