"""The process that does one `Order`: checks and edits by the functions of the commands.

usage: python -m armlet.console.review.work, the order as JSON on standard input. What it says, on
standard output, is JSON, one value a line: {"progress": [done, of]}, and last {"result": ...} or
{"error": "one sentence, as the command says it"}.

It is a process of its own so that the console's server, and its stop button, never wait for it. It
runs behind everything else on the computer. An edit whose console is gone is finished all the same.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TextIO

from armlet.datasets import DatasetError
from armlet.files import FileError, parse_json, printable
from armlet.priority import lower_process

from .episodes import said
from .orders import Order, Verb, parse

Progress = Callable[[int, int], None]
_LONGEST_ORDER = 1 << 20
_MOST_LINES = 500


def run(order: Order, progress: Progress | None = None) -> dict[str, Any]:
    """Do it; what there is to show of it, as JSON. Raises DatasetError, OSError."""
    verbs: Mapping[str, Callable[[Order, Progress | None], dict[str, Any]]] = {
        Verb.CHECK: _check,
        Verb.STATS: _stats,
        Verb.MERGE: _merge,
        Verb.REPAIR: _repair,
    }
    return verbs.get(order.verb, _edit)(order, progress)


def _check(order: Order, progress: Progress | None) -> dict[str, Any]:
    """state: what the dataset was when it was looked at."""
    from armlet.datasets.check.quality import review
    from armlet.datasets.check.rows import episode_of
    from armlet.datasets.score_card import score_card
    from armlet.datasets.transform import edits
    from armlet.findings.render import summary

    root = Path(order.roots[0])
    try:
        state = edits.state(root)
    except DatasetError:
        state = ""  # which is none: it is among the findings
    found = review(root, order.videos, progress=progress)
    findings = [
        {
            "code": str(one.code),
            "severity": str(one.severity),
            "subject": printable(one.subject, 1000),
            "said": summary(one),
            "fix": printable(one.fix or one.code.remedy, 1000),
            "episode": episode_of(one),
        }
        for one in found.findings
    ]
    lags = {
        printable(lag.joint, 120): round(1000 * lag.lag_s)
        for lag in found.lags
        if lag.lag_s is not None
    }
    return {
        "state": state,
        "errors": found.errors,
        "warnings": found.warnings,
        "findings": findings,
        "lag_ms": lags,
        "videos": found.videos,
        "card": score_card(root, found),
    }


def _stats(order: Order, progress: Progress | None) -> dict[str, Any]:
    from armlet.datasets.check.recompute_stats import recount, write

    root = Path(order.roots[0])
    found = recount(root, order.videos, progress)
    noted = [*found.differences, *found.combined, *found.unread]
    if order.write and noted:
        write(root, found)
    text = f"{len(found.differences)} statistics are not those of the data"
    if not noted:
        text = "statistics are those of the data"
    elif order.write:
        text = "statistics are written"
    return _done(text, [str(one) for one in noted])


def _edit(order: Order, progress: Progress | None) -> dict[str, Any]:
    from armlet.datasets.transform import edits

    root, plan, seen = Path(order.roots[0]), not order.write, order.seen
    if order.verb == Verb.DELETE:
        done = edits.delete(root, order.episodes, plan, seen)
    elif order.verb == Verb.TRIM:
        done = edits.trim(root, order.episodes, order.first, order.last, plan, seen)
    elif order.verb == Verb.RELABEL:
        done = edits.relabel(root, order.task, order.episodes, dry_run=plan, seen=seen)
    elif order.verb == Verb.LABEL:
        labels = {int(k): success for k, success in order.labels.items()}
        done = edits.label(root, labels, order.others, plan, seen)
    else:
        done = edits.undo(root, plan, seen)
    lines = [*done.notes, *(done.lines() if done.trash is None else ())]
    where = "" if done.trash is None else f"what was replaced is in {root / done.trash}"
    return _done(done.said, lines, where)


def _repair(order: Order, progress: Progress | None) -> dict[str, Any]:
    from armlet.datasets.transform.repair import repair

    lines = repair(Path(order.roots[0]), order.write)
    return _done("nothing to repair" if not lines else "repair", lines)


def _merge(order: Order, progress: Progress | None) -> dict[str, Any]:
    from armlet.datasets.transform.merge import merge

    roots = [Path(root) for root in order.roots]
    done = merge(roots, Path(order.output), not order.write, progress)
    text = f"{done.root}: {done.episodes} episodes, {done.frames} frames"
    return _done(text, list(done.notes))


def _done(text: str, lines: list[str], where: str = "") -> dict[str, Any]:
    shown = [printable(line, 1000) for line in lines[:_MOST_LINES]]
    if (more := len(lines) - len(shown)) > 0:
        shown.append(f"and {more:,} more")
    return {"said": printable(text, 1000), "lines": shown, "where": printable(where, 1000)}


class _Output:
    """Says values, a line each. goes_on: whether the work goes on when nobody reads them."""

    def __init__(self, file: TextIO, goes_on: bool):
        self._file: TextIO | None = file
        self._goes_on = goes_on

    def say(self, value: Any) -> None:
        if self._file is None:
            return
        try:
            self._file.write(json.dumps(value) + "\n")
            self._file.flush()
        except OSError:
            self._file = None
            if not self._goes_on:
                raise SystemExit(1) from None


def read_order(file: TextIO) -> Order:
    """Raises FileError, also for a text that is longer than any order."""
    text = file.read(_LONGEST_ORDER + 1)
    if len(text) > _LONGEST_ORDER:
        raise FileError(
            f"the order is longer than {_LONGEST_ORDER:,} letters, so nothing was done; "
            "choose fewer episodes, or a shorter text"
        )
    return parse(parse_json(text))


def main() -> int:
    """Do the order on standard input; 0, or 1 where it could not be done."""
    # What a library prints is no answer: it goes where errors go.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    lower_process()
    try:
        order = read_order(sys.stdin)
    except FileError as error:
        _Output(answers, goes_on=True).say({"error": said(error)})
        return 1
    output = _Output(answers, goes_on=order.changes)
    try:
        result = run(order, lambda done, of: output.say({"progress": [done, of]}))
    except (DatasetError, OSError) as error:
        output.say({"error": said(error)})
        return 1
    output.say({"result": result})
    with contextlib.suppress(OSError):
        answers.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
