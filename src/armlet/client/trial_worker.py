"""A process that runs trials one after the other, in a ROS domain of its own.

Its parent writes one JSON line with what is tried, then the seeds, a line each; it answers each
with a line. It ends with its input, and on SIGTERM stops the graph that runs first.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Any, TextIO

from armlet import one_graph
from armlet.bringup import BringupError
from armlet.files import printable

from .preloaded import Preloaded

# DDS on a computer without a moment to spare: once more is worth it, and gives the same trial.
_TRIES = 2


def main() -> int:
    """Serve until the input ends; 130 after SIGTERM."""
    answers = _own_stdout()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # First of all: rclpy, which trials need, starts threads.
    with Preloaded() as preloaded:
        try:
            order = json.loads(sys.stdin.readline())
            take_domain(order["domains"])
            for line in sys.stdin:
                answer = _answer(order, int(line), preloaded.popen)
                print(json.dumps(answer), file=answers, flush=True)
        except KeyboardInterrupt:
            return 130
        except BrokenPipeError:  # whoever asked has been killed; the graph has ended
            return 1
    return 0


def _own_stdout() -> TextIO:
    """The answers' stream; whatever else is printed goes to stderr."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return answers


def take_domain(candidates: list[int]) -> None:
    """Go to the first ROS domain in which no graph of this user runs; else to the last."""
    for domain in candidates:
        os.environ[one_graph.DOMAIN_VARIABLE] = str(domain)
        try:
            one_graph.mark("", os.environ, ("servo_bus", one_graph.CLOCK)).close()
        except one_graph.AnotherGraph:
            continue
        return


def _answer(order: dict[str, Any], seed: int, popen: Any) -> dict[str, Any]:
    from .graph import GraphError
    from .trials import RefusedError, Setting, run_trial

    setting, folder, log = (order[name] for name in ("setting", "folder", "log"))
    given = Setting(**setting), seed, Path(folder), Path(log), popen
    for tries_left in reversed(range(_TRIES)):
        try:
            trial, elapsed_s = run_trial(*given)
            return {"trial": dataclasses.asdict(trial), "elapsed_s": elapsed_s}
        except (RefusedError, BringupError, OSError) as error:
            return {"error": str(error)}
        except GraphError as error:
            if not tries_left:
                return {"error": f"seed {seed}: {error}"}
        except Exception as error:
            traceback.print_exc()
            return {"error": f"seed {seed}: {type(error).__name__}: {printable(error)}"}
    raise AssertionError("the last try answers")


if __name__ == "__main__":
    sys.exit(main())
