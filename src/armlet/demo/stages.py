"""The demo's stages, in order."""

from __future__ import annotations

from pathlib import Path

from armlet.client.graph import Director

from .demo import (
    DemoPlan,
    drive_by_policy,
    record_demonstrations,
    record_shown,
    running_graph,
    wait_until_live,
)
from .report import draw_report, report_text
from .terminal import Terminal


def record_only(plan: DemoPlan, terminal: Terminal) -> None:
    """Record demonstrations for training; no policy runs."""
    terminal.say("starting the emulated bench, leader, follower, aligner and recorder")
    with running_graph(plan, plan.dataset, policy="false", teleop="true") as director:
        wait_until_live(director, "recorder")
        record = record_shown if plan.shown else record_demonstrations
        record(director, plan, terminal)


def _say_factor(director: Director, plan: DemoPlan, terminal: Terminal) -> None:
    if plan.simulated:
        elapsed_s, wall_s = director.elapsed_s, director.wall_s
        terminal.say(
            f"{elapsed_s:.0f} simulated seconds took {wall_s:.0f} s: {elapsed_s / wall_s:.2f} "
            "times real time; the result does not depend on the speed of this computer"
        )


def whole_demo(plan: DemoPlan, picture: Path, terminal: Terminal) -> str:
    """Demonstrations, then the policy; draws the picture and returns the report."""
    terminal.say("starting the emulated bench, leader, follower, aligner and recorder")
    with running_graph(plan, plan.dataset, policy="false", teleop="true") as director:
        wait_until_live(director, "recorder")
        record_demonstrations(director, plan, terminal)
        _say_factor(director, plan, terminal)
    terminal.say("starting again with the policy instead of the leader")
    with running_graph(plan, plan.evaluation, running="false", **plan.policy) as director:
        wait_until_live(director, "policy")
        reaches = drive_by_policy(director, plan, terminal)
        _say_factor(director, plan, terminal)
        seen = director.seen
    terminal.say("drawing the report")
    draw_report(picture, plan, seen, reaches)
    return report_text(plan, picture, seen, reaches)
