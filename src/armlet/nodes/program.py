"""A node as a program: `python -m armlet.nodes.program NAME`.

A package it needs may be missing: then it ends with one line, and no traceback.
"""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType


def _leave(number: int, frame: FrameType | None) -> None:
    # Nothing is open and no arm is touched yet; a traceback of an import helps nobody.
    os._exit(0)


# Before anything slow is loaded; the node has handlers of its own as soon as it runs.
for _number in (signal.SIGINT, signal.SIGTERM):
    if __name__ == "__main__" and signal.getsignal(_number) is not signal.SIG_IGN:
        signal.signal(_number, _leave)

import gc  # noqa: E402
import importlib  # noqa: E402

from armlet.missing import how_to_install  # noqa: E402


def run_node(name: str) -> None:
    """Run the node of a module of this folder; ends the process with 1 where a package is missing.

    Raises ModuleNotFoundError for a module that is no dependency of armlet.
    """
    # What is loaded stays: to look through it for garbage takes a tenth of the loading, and later
    # stops every thread of the node, the bus's cycle among them.
    gc.disable()
    try:
        module = importlib.import_module(f"armlet.nodes.{name}")
    except ModuleNotFoundError as error:
        advice = how_to_install(error)
        if advice is None:
            raise
        print(f"{name}: {advice}", file=sys.stderr)
        sys.exit(1)
    gc.freeze()
    gc.enable()
    module.main()


if __name__ == "__main__":
    run_node(sys.argv.pop(1))
