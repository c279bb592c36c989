"""`armlet demo`: the whole stack on the emulated bench, with a report and a picture."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
from pathlib import Path

from armlet.cli.terminal.arguments import count, output_file, output_path
from armlet.cli.terminal.output import FAILED, STOPPED, refuse
from armlet.missing import require


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "demo",
        help="record and run a policy on the emulated bench",
        description="Record teleoperated demonstrations on the emulated bench, let the shipped "
        "policy drive from camera and joint topics, and report. No hardware, about two minutes.",
    )
    parser.add_argument(
        "--output",
        type=output_path,
        default="demo-output",
        help="folder for datasets, logs and results",
    )
    parser.add_argument(
        "--report",
        type=output_file,
        default="demo-report.png",
        help="file of the report's picture",
    )
    parser.add_argument("--reaches", type=count, default=6, help="number of targets for the policy")
    parser.add_argument(
        "--checkpoint", help="ACT checkpoint to drive with (default: the one shipped with armlet)"
    )
    parser.add_argument("--seed", type=int, default=7, help="seed of targets and motions")
    parser.add_argument(
        "--record-only", type=count, metavar="N", help="record N demonstrations and stop"
    )
    parser.add_argument(
        "--task",
        default="reach",
        help="with --record-only: reach, or another task that a scripted expert shows, by its name "
        "or .yaml file, such as pick_place",
    )
    parser.add_argument(
        "--physics",
        choices=("kinematic", "mujoco"),
        help="with --record-only: whether the arm has weight (default: where the task needs it)",
    )
    parser.add_argument(
        "--domain", default="", help="with --record-only: file (.yaml) of the bench's settings"
    )
    parser.add_argument(
        "--clumsiness",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="with --record-only: share of the demonstrations, 0 to 1, in which the expert misses, "
        "loses or finds moved what it reaches for, and corrects it; by each one's seed",
    )
    parser.add_argument(
        "--wall-clock",
        action="store_true",
        help="run in real time, as with a real arm; needs two fast, idle cores",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from armlet.bringup import BringupError
    from armlet.client.graph import GraphError
    from armlet.demo.demo import DemoPlan, prepare
    from armlet.demo.stages import record_only, whole_demo
    from armlet.demo.terminal import Terminal
    from armlet.sim.choice import REACH, BenchError

    if not args.record_only:
        of_recording = (
            ("task", args.task != REACH),
            ("physics", args.physics),
            ("domain", args.domain),
            ("clumsiness", args.clumsiness),
        )
        given = [f"--{name}" for name, is_given in of_recording if is_given]
        if given:
            return refuse("demo", f"{', '.join(given)}: only with --record-only N; add it")
        require("torch")
    if not 0 <= args.clumsiness <= 1:
        return refuse("demo", f"--clumsiness: expected 0 to 1, found {args.clumsiness:g}")
    terminal = Terminal()
    plan = DemoPlan(
        output=args.output,
        demonstrations=args.record_only or 3,
        reaches=args.reaches,
        seed=args.seed,
        simulated=not args.wall_clock,
        bench_task=args.task,
        checkpoint=args.checkpoint,
        physics=args.physics or "",
        domain=args.domain,
        clumsiness=args.clumsiness,
    )
    try:
        prepare(plan)
    except (GraphError, BringupError, BenchError, OSError) as error:
        return refuse("demo", error)
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:  # as `nohup` has SIGHUP
            continue
        # As Ctrl-C: the graph is stopped on the way out.
        signal.signal(number, signal.default_int_handler)
    try:
        if args.record_only:
            record_only(plan, terminal)
        else:
            print(whole_demo(plan, args.report, terminal))
            print(_next_steps(shutil.which("armlet") is not None))
    except GraphError as error:
        return refuse("demo", f"{error}; what the nodes said is in {plan.log}", FAILED)
    except KeyboardInterrupt:
        return STOPPED
    return 0


def _next_steps(found: bool) -> str:
    """What to try next. found: whether the shell knows the command `armlet`."""
    activate = Path(os.path.relpath(sys.prefix), "bin/activate")
    first = "" if found else f"source {activate}, then "
    return (
        f"\nNext: {first}armlet up sim (the policy drives until Ctrl-C), and step 2 of "
        "docs/tutorials/first-demo.md.\n"
        "Your own arm: armlet setup, and docs/tutorials/first-arm.md."
    )
