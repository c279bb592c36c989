"""A node as a program: `python -m armlet.nodes.program NAME`.

A package it needs may be missing: then it ends with one line, and no traceback.
"""

from __future__ import annotations

import importlib
import sys

from armlet.missing import how_to_install


def run_node(name: str) -> None:
    """Run the node of a module of this folder; ends the process with 1 where a package is missing.

    Raises ModuleNotFoundError for a module that is no dependency of armlet.
    """
    try:
        module = importlib.import_module(f"armlet.nodes.{name}")
    except ModuleNotFoundError as error:
        advice = how_to_install(error)
        if advice is None:
            raise
        print(f"{name}: {advice}", file=sys.stderr)
        sys.exit(1)
    module.main()


if __name__ == "__main__":
    run_node(sys.argv.pop(1))
