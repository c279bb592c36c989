"""`armlet eval --by-hand`: a person starts trials on a real arm and says how they ended."""

from __future__ import annotations

import argparse
import time
from functools import partial
from typing import TYPE_CHECKING

from armlet.cli.terminal.output import FAILED, refuse, show

if TYPE_CHECKING:
    from armlet.cli.terminal.keyboard import KeyQueue
    from armlet.client.hand_trials import HandTrials
    from armlet.evaluation.trials.by_hand import ByHand

_LOOK_S = 0.1
_MEET_S = 30.0
KEYS = {
    " ": "start the trial: the policy drives",
    "y": "it succeeded: the policy pauses, the arm holds",
    "n": "it failed: the policy pauses, the arm holds",
    "u": "undo the last label: that trial is done again",
    "d": "discard the trial: the same, and it is done again",
    "x": "STOP: torque off at once; the trial is discarded",
    "t": "hold the arm (torque on)",
    "q": "quit; the graph keeps running, the policy paused",
}


class _Quit(Exception):
    """The person has had enough."""


def run_by_hand(args: argparse.Namespace) -> int:
    """Do the trials that are missing, and report; the exit status."""
    from armlet.cli.terminal.keyboard import KeyQueue, is_interactive
    from armlet.client.hand_trials import HandTrials
    from armlet.evaluation.trials.by_hand import ByHand, judged
    from armlet.evaluation.trials.report import read
    from armlet.evaluation.trials.results import Results

    from .evaluate import finish

    if not is_interactive():
        return refuse("eval", "--by-hand needs a terminal")
    found = judged(args.task, args.checkpoint)
    seeds = range(args.seed, args.seed + args.trials)
    with Results(args.output / args.side, found.plan) as results:
        with KeyQueue() as keys, HandTrials(args.namespace) as trials:
            keys.serve(partial(_press, trials))
            try:
                if refusal := _meet(keys, trials, found.weights):
                    return refuse("eval", refusal, FAILED)
                _serve(keys, ByHand(trials, results, seeds))
            except (_Quit, EOFError):
                show("stopped; the same command goes on with the trials that are missing")
        # This side's trials beside the other's, if there are any.
        report = read(args.output, f"{args.task}: by hand", seeds)
    return finish(args, report)


def _press(trials: HandTrials, key: str) -> bool:
    """Torque goes off and on at once, in the order of the keys; a trial learns of the stop, too."""
    if key == "x":
        trials.stop()
    elif key == "t":
        trials.hold()
    return key == "t"


def _key(keys: KeyQueue) -> str:
    """The next key, or empty. Raises _Quit for q, EOFError when the terminal is gone."""
    if (key := keys.key(_LOOK_S)) == "q":
        raise _Quit
    return key


def _wait_for(keys: KeyQueue, *wanted: str) -> str:
    """The next of these keys."""
    while (key := _key(keys)) not in wanted:
        pass
    return key


def _meet(keys: KeyQueue, trials: HandTrials, weights: str) -> str:
    """Why these trials cannot be, once that is known; empty if they can."""
    end_s = time.monotonic() + _MEET_S
    while not trials.policy and time.monotonic() < end_s:
        _key(keys)
    return trials.refusal(weights)


def _serve(keys: KeyQueue, by_hand: ByHand) -> None:
    show("; ".join(f"{key.strip() or 'space'}: {does}" for key, does in KEYS.items()))
    while (number := by_hand.number) is not None:
        show(f"trial {number}: set the scene, bring the arm to its start, then press space")
        if _wait_for(keys, " ", "u") == "u":
            _take_back(by_hand)
            continue
        if refusal := by_hand.begin():
            show(f"the policy does not drive: {refusal}")
            continue
        show("the policy drives: y, n, d, or x to stop")
        key = "d"
        try:
            key = _wait_for(keys, "y", "n", "d", "x")
        finally:
            said = by_hand.label(key == "y") if key in ("y", "n") else by_hand.discard()
            if said:
                show(f"the policy did not pause: {said}; press x, or cut the power")


def _take_back(by_hand: ByHand) -> None:
    if by_hand.last is None:
        show("no trial has been labelled yet")
    else:
        gone = by_hand.take_back(by_hand.last.seed)
        show(f"trial {gone.seed} is no {'success' if gone.success else 'failure'} any more")
