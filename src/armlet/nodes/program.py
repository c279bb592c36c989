"""A node as a program, where a package it needs may be missing: one line then, no traceback."""

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
