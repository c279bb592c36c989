"""What the graph does now: pictures, joints, who moves the arm, ledger, findings, computer."""

from __future__ import annotations

from collections.abc import Callable
from html import escape

from nicegui import ui

from armlet.client.sight import Sight
from armlet.console import tables
from armlet.console.elements import put, section, while_visible
from armlet.console.front import FILES
from armlet.console.page import Page, Visit
from armlet.console.words import Words

LOOK_S = 0.5
_SECTIONS: tuple[tuple[str, Callable[[Sight, Words], str]], ...] = (
    ("arms", tables.arms),
    ("troubles", tables.troubles),
    ("streams", tables.streams),
    ("machine", tables.machine),
)


def build(visit: Visit) -> None:
    """Sections of HTML, of which those that have changed are sent twice a second."""
    say = visit.say
    ui.add_body_html(f'<script defer src="{FILES}pictures.js"></script>')
    with ui.element("div").classes("armlet-live"):
        cameras = _section(say, "cameras")
        sections = {name: _section(say, name) for name, _ in _SECTIONS}

    def show() -> None:
        sight = visit.setting.graph.sight()
        put(cameras, _figures(sight, say))
        for name, made in _SECTIONS:
            put(sections[name], made(sight, say))

    timer = ui.timer(LOOK_S, show)
    while_visible(timer)


def _section(say: Words, name: str) -> ui.html:
    return section(say(f"live.{name}"), f"armlet-{name}")


def _figures(sight: Sight, say: Words) -> str:
    if not sight.cameras:
        return f'<p class="armlet-line">{escape(say("live.no_cameras"))}</p>'
    return "".join(tables.figure(camera, say) for camera in sight.cameras)


PAGE = Page("live", "monitor", build, order=10)
