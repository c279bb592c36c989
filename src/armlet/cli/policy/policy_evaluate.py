"""`armlet policy evaluate`: how far a policy's actions are from recorded ones."""

from __future__ import annotations

import argparse
import dataclasses
import math
from pathlib import Path
from typing import TYPE_CHECKING

from armlet.cli.terminal.arguments import DATASET
from armlet.cli.terminal.output import refuse, show, show_json
from armlet.cli.terminal.progress import progress

from .policy_check import dataset_samples
from .policy_choices import add_choices, chosen

if TYPE_CHECKING:
    from armlet.datasets import Dataset
    from armlet.evaluation.evaluate import Evaluation
    from armlet.evaluation.held_out import Choice
    from armlet.findings import Finding
    from armlet.policies import Policy

Limit = tuple[str, float]


class _Unfit(Exception):
    """A policy that does not fit the dataset; a line for each reason."""


def add_verb(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = verbs.add_parser(
        "evaluate",
        help="compare a policy's actions with recorded ones on held-out episodes",
        description="Predicts chunks from the observations of recorded episodes, as the policy "
        "node would, and compares row i with the action recorded i frames later: for each joint, "
        "in its unit, and each step of the horizon. Beside it two baselines: the arm holds still; "
        "the mean action of the training data. With --against two policies see the same frames, "
        "and the difference is tested episode by episode. Scores are mean errors in standard "
        "deviations of the training data's actions, averaged over joints. Exit status: 0 done, 1 "
        "a joint is above its --limit, 2 it could not be evaluated, or does not fit the dataset.",
    )
    parser.add_argument(
        "checkpoint",
        type=Path,
        metavar="CHECKPOINT",
        help="directory, or hub:owner/name@revision; policy A",
    )
    parser.add_argument("--dataset", type=Path, required=True, metavar="ROOT", help=DATASET)
    parser.add_argument(
        "--against",
        type=Path,
        metavar="CHECKPOINT",
        help="another policy, B, to compare A with; every option is for both",
    )
    _add_what(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--plot", type=Path, metavar="FILE", help="draw errors over the horizon (.png, .svg, .pdf)"
    )
    parser.add_argument(
        "--limit",
        type=limit,
        action="append",
        default=[],
        metavar="[JOINT=]X",
        help="exit with 1 if the mean absolute error of A is above X, in the joint's unit, for any "
        "joint, or for the one that is named; may be repeated",
    )
    parser.add_argument("--device", default="cpu", help="torch device (default: cpu)")
    parser.add_argument(
        "--backend",
        choices=("torch", "onnxruntime", "openvino", "auto"),
        default="torch",
        help="runtime of the network; auto: the fastest by measurement (default: torch)",
    )
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    add_choices(parser)
    parser.set_defaults(run=run)


def _add_what(parser: argparse.ArgumentParser) -> None:
    """Which chunks are predicted."""
    parser.add_argument(
        "--episodes",
        metavar="EPISODES",
        help="numbers and ranges, as in 3,7-9 (default: those that the checkpoint records as held "
        "out, else all)",
    )
    parser.add_argument(
        "--chunks",
        type=int,
        default=20,
        metavar="N",
        help="chunks to predict in each episode, evenly over it (default: %(default)s; 0: at every "
        "frame)",
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        metavar="N",
        help="seed of the noise that a chunk of SmolVLA or Diffusion Policy begins from (default: "
        "%(default)s)",
    )


def limit(text: str) -> Limit:
    """Joint, "" for all, and largest error. Raises ArgumentTypeError."""
    joint, _, number = text.rpartition("=")
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise argparse.ArgumentTypeError(
            f"expected an error above 0 as in 2.5, or of one joint as in gripper=4, found {text!r}"
        )
    return joint, value


def run(args: argparse.Namespace) -> int:
    """Evaluate and print; see the description for the status."""
    from armlet.datasets import DatasetError
    from armlet.findings import exit_status

    try:
        found, judged = _evaluate(args)
        if args.plot is not None:
            from armlet.evaluation.plot import draw

            draw(found, args.plot)
    except _Unfit as error:
        return refuse("policy evaluate", error, lines=True)
    except (DatasetError, FloatingPointError, OSError, RuntimeError, ValueError) as error:
        return refuse("policy evaluate", error)
    _print(args, found, judged)
    return exit_status(judged)


def _evaluate(args: argparse.Namespace) -> tuple[Evaluation, list[Finding]]:
    """All that can refuse it comes before the first chunk."""
    from armlet.datasets import Dataset
    from armlet.evaluation.evaluate import evaluate, joints_of
    from armlet.evaluation.plot import check_path
    from armlet.evaluation.report import findings, limits_of

    if args.plot is not None:
        check_path(args.plot)
    if args.seed < 0 or args.chunks < 0:
        raise ValueError("--seed and --chunks: expected 0 or more")
    dataset = Dataset(args.dataset)
    names = [args.checkpoint, *([args.against] if args.against else [])]
    policies = [_load(args, name) for name in names]
    choice = _choose(args, dataset, policies)
    judged = [*choice.findings, *_misgivings(dataset.root, policies)]
    limits = limits_of(joints_of(dataset), args.limit)
    with progress("chunks predicted") as step:
        found = evaluate(dataset, policies, choice.episodes, args.chunks, args.seed, step)
    return found, [*judged, *findings(found, limits)]


def _load(args: argparse.Namespace, checkpoint: Path) -> Policy:
    from armlet.policies import load_policy

    policy = load_policy(
        checkpoint,
        device=args.device,
        choices=chosen(args),
        backend=args.backend,
        precision=args.precision,
    )
    if policy.choice:
        show(policy.choice, error=True)
    return policy


def _choose(args: argparse.Namespace, dataset: Dataset, policies: list[Policy]) -> Choice:
    from armlet.datasets.transform.cuts import parse_episodes
    from armlet.evaluation.held_out import choose

    asked = None
    if args.episodes is not None:
        asked = parse_episodes(args.episodes, len(dataset.episodes))
    return choose(dataset, [policy.checkpoint for policy in policies], asked)


def _misgivings(root: Path, policies: list[Policy]) -> list[Finding]:
    """What `armlet policy check` has against policies and dataset, where that is no obstacle.

    Other scenes and other poses than in training are what an evaluation may be about. Raises
    _Unfit for all else: names, sizes, units, rate, statistics.
    """
    from armlet.findings import Code, Severity
    from armlet.policies.fit.check import check

    unlike = (Code.POLICY_SCENE_CHANGED, Code.POLICY_VALUES_SHIFTED)
    samples = dataset_samples(root)
    found = []
    for name, policy in zip("AB", policies, strict=False):
        wrong = check(policy.checkpoint, samples=[samples]).wrong
        refused = [finding for finding in wrong if finding.code not in unlike]
        if refused:
            lines = "\n".join(map(str, refused))
            raise _Unfit(f"{policy.checkpoint.path} does not fit {root}:\n{lines}")
        found += [
            dataclasses.replace(
                finding, severity=Severity.WARNING, subject=f"{finding.subject}, policy {name}"
            )
            for finding in wrong
        ]
    return found


def _print(args: argparse.Namespace, found: Evaluation, judged: list[Finding]) -> None:
    from armlet.cli.terminal.listing import show_table
    from armlet.cli.terminal.screen import console
    from armlet.datasets.transform.cuts import said_episodes
    from armlet.evaluation.report import columns, rows, to_json
    from armlet.findings import Severity

    if args.json:
        names = {"checkpoint": args.checkpoint, "against": args.against, "dataset": args.dataset}
        said = {key: None if path is None else str(path) for key, path in names.items()}
        show_json(said | to_json(found, judged))
        return
    seconds = found.horizon / found.fps
    show(
        f"episodes {said_episodes(found.episodes)} of {args.dataset}: {found.chunks} chunks of "
        f"{found.horizon} steps ({seconds:.2f} s); mean absolute errors, dataset units"
    )
    show_table(console(), columns(found), [(cells, "") for cells in rows(found)])
    for finding in judged:
        show(finding)
    if args.plot is not None:
        show(f"{args.plot}: drawn")
    wrong = sum(finding.severity is Severity.ERROR for finding in judged)
    show(f"{args.checkpoint}: " + (f"{wrong} joint(s) above the limit" if wrong else "evaluated"))
