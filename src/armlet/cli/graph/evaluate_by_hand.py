"""`armlet eval --by-hand`: a person starts trials on a real arm and says how they ended."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from armlet.cli.terminal.output import FAILED, refuse, show

if TYPE_CHECKING:
    from armlet.cli.terminal.keyboard import KeyQueue
    from armlet.client.hand_trials import HandTrials
    from armlet.evaluation.trials.report import Report
    from armlet.evaluation.trials.results import Results

_LOOK_S = 0.1
KEYS = {
    " ": "start the trial: the policy drives",
    "y": "it succeeded: the policy pauses, the arm holds",
    "n": "it failed: likewise",
    "d": "discard the trial: likewise, and it is done again",
    "x": "STOP: torque off at once; the trial is discarded",
    "q": "quit; the graph keeps running, the policy paused",
}


class _Quit(Exception):
    """The person has had enough."""


def run_by_hand(args: argparse.Namespace) -> int:
    """Do the trials that are missing, and report; the exit status."""
    from armlet.cli.terminal.keyboard import KeyQueue, is_interactive
    from armlet.client.hand_trials import HandTrials
    from armlet.evaluation.trials.results import Plan, Results, fingerprint
    from armlet.policies import read_checkpoint
    from armlet.policies.checkpoint.hub import locate

    from .evaluate import finish

    if not is_interactive():
        return refuse("eval", "--by-hand needs a terminal")
    place = locate(args.checkpoint)
    weights = read_checkpoint(place).digest()
    plan = Plan(f"by hand: {args.task}", fingerprint(place), str(args.checkpoint), 0.0)
    seeds = range(args.seed, args.seed + args.trials)
    with Results(args.output / args.side, plan) as results:
        # Keys are read before anything else: the stop key works from the first instant.
        with KeyQueue() as keys, HandTrials(args.namespace) as trials:
            if refusal := trials.meet(weights):
                return refuse("eval", refusal, FAILED)
            try:
                _serve(keys, trials, results, seeds)
            except (_Quit, EOFError):
                show("stopped; the same command goes on with the trials that are missing")
        report = _report(args, results, seeds)
    return finish(args, report)


def _serve(keys: KeyQueue, trials: HandTrials, results: Results, seeds: range) -> None:
    show("; ".join(f"{key.strip() or 'space'}: {does}" for key, does in KEYS.items()))
    while missing := results.missing(seeds):
        number = missing[0]
        show(f"trial {number}: set the scene, bring the arm to its start, then press space")
        _wait_for(keys, trials, (" ",))
        if refusal := trials.begin():
            show(f"the policy does not drive: {refusal}")
            continue
        show("the policy drives: y, n, d, or x to stop")
        try:
            key = _wait_for(keys, trials, ("y", "n", "d", "x"))
        finally:
            said = trials.pause()
        if said:
            show(f"the policy did not pause: {said}; press x, or cut the power")
        if key in ("y", "n"):
            results.add(trials.trial(number, key == "y"))


def _wait_for(keys: KeyQueue, trials: HandTrials, wanted: tuple[str, ...]) -> str:
    """The next key that means something here; x and q always do."""
    while True:
        key = keys.key(_LOOK_S)
        if key == "x":
            trials.stop()
        if key == "q":
            raise _Quit
        if key in wanted:
            return key


def _report(args: argparse.Namespace, results: Results, seeds: range) -> Report:
    """This side's trials beside the other's, if there are any."""
    from armlet.evaluation.trials.report import Report, Side
    from armlet.evaluation.trials.results import read_plan, read_trials

    sides = {args.side: Side(args.side, results.plan, tuple(results.of(seeds)))}
    other = "A" if args.side == "B" else "B"
    folder = args.output / other
    if folder.is_dir():
        found = [trial for trial in read_trials(folder) if trial.seed in seeds]
        sides[other] = Side(other, read_plan(folder), tuple(found))
    return Report(f"{args.task}: by hand", tuple(sides[name] for name in sorted(sides)))
