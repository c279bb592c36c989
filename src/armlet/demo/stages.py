"""The demo's stages, in order."""

from __future__ import annotations

from pathlib import Path

from .demo import (
    DemoPlan,
    Say,
    drive_by_policy,
    record_demonstrations,
    running_graph,
    wait_until_live,
)
from .report import draw_report, report_text


def record_only(plan: DemoPlan, say: Say) -> None:
    """Record demonstrations for training; no policy runs."""
    say("starting the emulated bench, leader, follower, aligner and recorder")
    with running_graph(plan, plan.dataset, policy="false", teleop="true") as director:
        wait_until_live(director, "recorder")
        record_demonstrations(director, plan, say)


def whole_demo(plan: DemoPlan, checkpoint: str | None, picture: Path, say: Say) -> str:
    """Demonstrations, then the policy; draws the picture and returns the report."""
    say("starting the emulated bench, leader, follower, aligner and recorder")
    with running_graph(plan, plan.dataset, policy="false", teleop="true") as director:
        wait_until_live(director, "recorder")
        record_demonstrations(director, plan, say)
    say("starting again with the policy in the leader's place")
    given = {} if checkpoint is None else {"checkpoint": checkpoint}
    with running_graph(plan, plan.evaluation, running="false", **given) as director:
        wait_until_live(director, "policy")
        reaches = drive_by_policy(director, plan, say)
        seen = director.seen
    say("drawing the report")
    draw_report(picture, plan, seen, reaches)
    return report_text(plan, picture, seen, reaches)
