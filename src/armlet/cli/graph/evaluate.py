"""`armlet eval`: trials of a policy in closed loop, and what they show."""

from __future__ import annotations

import argparse
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

from armlet.cli.terminal.arguments import count, namespace, output_path
from armlet.cli.terminal.output import FAILED, STOPPED, refuse, show, show_json
from armlet.cli.terminal.progress import progress
from armlet.missing import require

if TYPE_CHECKING:
    from armlet.client.trials import Setting
    from armlet.evaluation.trials.report import Report
    from armlet.evaluation.trials.results import Plan, Results

_VIDEOS = ("failures", "all", "none")
_LARGEST_SEED = 2**31 - 1


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "eval",
        help="success rate of a policy over many trials, in closed loop",
        description="Lets a policy do a task again and again on the emulated bench, through the "
        "whole graph: servos, cameras, aligner, policy node. Each trial has a graph of its own in "
        "simulated time, and its seed decides all of it, to the bit. Reports the success rate with "
        "Wilson's interval, time to success, path and smoothness; --against tests on the same "
        "seeds whether another policy differs (exact McNemar test). Trials are kept one by one in "
        "--output: after Ctrl-C the same command goes on where it stopped, and one with more "
        "--trials adds to them. With --by-hand a person judges trials on a running graph.",
        epilog="Exit status: 0 done; 1 the success rate is below --at-least, A is worse than B, or "
        "a trial could not be run; 2 not begun; 130 stopped by Ctrl-C. `armlet policy evaluate` is "
        "another thing: it compares actions with recorded ones, and no arm moves.",
    )
    parser.add_argument(
        "checkpoint",
        type=Path,
        metavar="CHECKPOINT",
        help="directory, or hub:owner/name@revision; policy A",
    )
    parser.add_argument(
        "arguments",
        nargs="*",
        metavar="arg:=value",
        help="arguments of the sim graph for all trials, e.g. strategy:=rtc; inference_latency_s, "
        "the simulated time of an inference, is 0.05 unless given",
    )
    _add_trials(parser)
    _add_other(parser)
    _add_by_hand(parser)
    parser.set_defaults(run=run)


def _add_trials(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--task",
        default="reach",
        help="task of the bench: reach, pick_place, push, or a .yaml file (default: %(default)s)",
    )
    parser.add_argument(
        "--physics",
        metavar="PHYSICS",
        help="of the bench, as physics:=, kinematic or mujoco (default: mujoco for a task with "
        "things to move, else kinematic)",
    )
    parser.add_argument(
        "--domain",
        metavar="FILE",
        help="friction, light and the like of the bench, as domain:= (default: the ordinary one)",
    )
    parser.add_argument(
        "--trials", type=count, default=20, metavar="N", help="how many (default: %(default)s)"
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        metavar="S",
        help="trials have the seeds S, S+1, ... (default: %(default)s)",
    )
    parser.add_argument(
        "--output",
        type=output_path,
        default="eval-output",
        help="folder of trials, report and videos (default: %(default)s)",
    )
    parser.add_argument(
        "--jobs",
        type=count,
        default=1,
        metavar="N",
        help="trials at the same time, each in a ROS domain of its own (default: %(default)s)",
    )
    parser.add_argument(
        "--videos",
        choices=_VIDEOS,
        default="failures",
        help="of which trials to keep what the policy saw (default: %(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--at-least",
        type=float,
        metavar="RATE",
        help="exit with 1 if the success rate of A is lower, 0..1",
    )


def _add_other(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--against",
        type=Path,
        metavar="CHECKPOINT",
        help="another policy, B, on the same seeds (default with --against-set: the same one)",
    )
    parser.add_argument(
        "--against-set",
        action="append",
        default=[],
        metavar="arg:=value",
        help="an argument of the sim graph for B alone; may be repeated",
    )


def _add_by_hand(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--by-hand",
        action="store_true",
        help="a person judges: beside a graph that runs the policy (running:=false), keys start "
        "each trial and say whether it succeeded; --task is what the arm does, in words",
    )
    parser.add_argument(
        "--side",
        choices=("A", "B"),
        default="A",
        help="with --by-hand: which of two policies drives; those of one output folder are "
        "compared, trial by trial (default: %(default)s)",
    )
    parser.add_argument(
        "--namespace", type=namespace, default="", help="with --by-hand: namespace of the graph"
    )


def run(args: argparse.Namespace) -> int:
    """See the epilog for the status."""
    require("rclpy", "torch")
    from armlet.bringup import BringupError
    from armlet.client.trial_pool import TrialError
    from armlet.policies import CheckpointError

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:  # as `nohup` has SIGHUP
            continue
        # As Ctrl-C: the graphs are stopped on the way out.
        signal.signal(number, signal.default_int_handler)
    try:
        _check(args)
        if args.by_hand:
            from .evaluate_by_hand import run_by_hand

            return run_by_hand(args)
        return finish(args, _simulated(args))
    except TrialError as error:
        log = args.output / "nodes-1.log"
        return refuse("eval", f"{error}; what the nodes said is in {log} and beside it", FAILED)
    except (BringupError, CheckpointError, OSError, ValueError) as error:
        return refuse("eval", error)
    except KeyboardInterrupt:
        show("stopped; the same command goes on with the trials that are missing", error=True)
        return STOPPED


def _check(args: argparse.Namespace) -> None:
    """Raise ValueError or OSError for what cannot be used."""
    from armlet.client.trial_pool import MOST_JOBS
    from armlet.evaluation.trials.page import check_folder

    if args.by_hand and (args.physics or args.domain):
        raise ValueError("--physics and --domain are of the bench; leave them out with --by-hand")
    if args.jobs > MOST_JOBS:
        raise ValueError(
            f"--jobs: expected at most {MOST_JOBS}, found {args.jobs}; each needs ROS domains of "
            "its own, and a core or two"
        )
    if not 0 <= args.seed <= _LARGEST_SEED - args.trials:
        raise ValueError(f"--seed: expected 0 or more, and below {_LARGEST_SEED}")
    if args.at_least is not None and not 0 <= args.at_least <= 1:
        raise ValueError(f"--at-least: expected a share, 0 to 1, found {args.at_least}")
    check_folder(args.output)


def _simulated(args: argparse.Namespace) -> Report:
    """Run what is missing, and report. All that can refuse it comes before the first trial."""
    from armlet.evaluation.trials.report import Report, Side
    from armlet.evaluation.trials.results import Results

    seeds = range(args.seed, args.seed + args.trials)
    settings = _settings(args, seeds)
    plans = {name: _plan_of(setting) for name, setting in settings.items()}
    sides = []
    for name, setting in settings.items():
        with Results(args.output / name, plans[name]) as results:
            _run_missing(args, name, setting, results, seeds)
            sides.append(Side(name, plans[name], tuple(results.of(seeds))))
    return Report(f"{args.task}: {args.trials} trials from seed {args.seed}", tuple(sides))


def _settings(args: argparse.Namespace, seeds: range) -> dict[str, Setting]:
    """What is tried, by side. Raises ValueError, OSError."""
    from armlet.cli.graph.up import parse_arguments
    from armlet.client.trials import setting_of
    from armlet.sim.choice import MUJOCO

    given = {**parse_arguments(args.arguments), **_bench_arguments(args)}
    sides = {"A": (args.checkpoint, given)}
    if args.against is not None or args.against_set:
        other = {**given, **parse_arguments(args.against_set)}
        sides["B"] = (args.against or args.checkpoint, other)
    settings = {
        name: setting_of(args.task, str(checkpoint), arguments, args.videos, seeds)
        for name, (checkpoint, arguments) in sides.items()
    }
    implied = [name for name, (_, asked) in sides.items() if "physics" not in asked]
    if any(settings[name].physics == MUJOCO for name in implied):
        show(f"{args.task} has things to move, so physics is {MUJOCO}", error=True)
    return settings


def _bench_arguments(args: argparse.Namespace) -> dict[str, str]:
    """Options of the bench as arguments of the graph. Raises ValueError for one given twice."""
    options = {"physics": args.physics, "domain": args.domain}
    given = {name: value for name, value in options.items() if value is not None}
    for name in given:
        if any(argument.startswith(f"{name}:=") for argument in args.arguments):
            raise ValueError(f"--{name} and {name}:= mean the same; leave one out")
    return given


def _plan_of(setting: Setting) -> Plan:
    """What the trials of a setting have in common. Raises CheckpointError, OSError."""
    from armlet.evaluation.trials.results import Plan, files_of, fingerprint
    from armlet.policies.checkpoint.hub import locate

    scenery = setting.scenery()
    return Plan(
        task=scenery.task.name,
        checkpoint=fingerprint(locate(setting.checkpoint)),
        name=setting.checkpoint,
        limit_s=scenery.task.limit_s,
        arguments=setting.arguments,
        physics=setting.physics,
        task_digest=scenery.task_digest,
        domain_digest=scenery.domain_digest,
        domain=setting.domain,
        files=files_of(setting.arguments),
    )


def _run_missing(
    args: argparse.Namespace, name: str, setting: Setting, results: Results, seeds: range
) -> None:
    from armlet.client.trial_pool import Workers

    missing = results.missing(seeds)
    if not missing:
        return
    done, elapsed_s, begun_s = len(seeds) - len(missing), 0.0, time.monotonic()
    with (
        progress(f"trials of {name} done") as step,
        Workers(setting.to_json(), results.folder, args.output, args.jobs) as workers,
    ):
        step(done, len(seeds))
        for one in workers.run(missing):
            _require_unchanged(results.plan, setting)
            results.add(one.trial)
            done, elapsed_s = done + 1, elapsed_s + one.elapsed_s
            step(done, len(seeds))
    wall_s = time.monotonic() - begun_s
    show(
        f"{name}: {len(missing)} trials, {elapsed_s:.0f} s of simulated time in {wall_s:.0f} s "
        f"({elapsed_s / wall_s:.2f} simulated hours an hour)",
        error=True,
    )


def _require_unchanged(plan: Plan, setting: Setting) -> None:
    """Raise ValueError where the files of a trial may be others than those of the plan."""
    now = _plan_of(setting)
    files = [path for name, path in setting.arguments.items() if name in plan.files]
    named = {
        setting.checkpoint: now.checkpoint != plan.checkpoint,
        setting.task: now.task_digest != plan.task_digest,
        setting.domain: now.domain_digest != plan.domain_digest,
        ", ".join(files): now.files != plan.files,
    }
    if changed := [what for what, differs in named.items() if differs]:
        raise ValueError(
            f"{' and '.join(changed)}: changed during the trials; this trial is not kept, begin "
            "again in another folder with --output"
        )


def finish(args: argparse.Namespace, report: Report) -> int:
    """Write and print the report; the exit status."""
    from armlet.cli.terminal.listing import show_table
    from armlet.cli.terminal.screen import console
    from armlet.evaluation.trials.page import PAGE_FILE, write
    from armlet.evaluation.trials.report import columns, rows

    write(report, args.output)
    if args.json:
        show_json(report.to_json())
    else:
        show_table(console(), columns(report), [(cells, "") for cells in rows(report)])
        if report.comparison is not None:
            show(report.comparison.verdict)
        show(f"report: {args.output / PAGE_FILE}")
    return FAILED if _is_worse(args, report) else 0


def _is_worse(args: argparse.Namespace, report: Report) -> bool:
    """Whether A is below what was asked of it, or worse than B."""
    below = args.at_least is not None and report.sides[0].rate < args.at_least
    return below or (report.comparison is not None and report.comparison.better == "B")
