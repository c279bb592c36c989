"""What the graph does now."""

from __future__ import annotations

from nicegui import ui

from armlet.console.page import Page, Visit


def build(visit: Visit) -> None:
    arm = ui.label()

    def show() -> None:
        view = visit.setting.graph.view()
        arm.text = view.arm or visit.say("live.no_arm")

    ui.timer(0.5, show)


PAGE = Page("live", "monitor", build, order=10)
