"""Prints the requirements of one extra in pyproject.toml, one a line: python tools/extra.py docs.

pip would install armlet and its own dependencies with an extra.
"""

import sys
import tomllib
from pathlib import Path

project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
print("\n".join(project["optional-dependencies"][sys.argv[1]]))
