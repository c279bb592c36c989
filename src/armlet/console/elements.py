"""What several pages are made of."""

from __future__ import annotations

from html import escape

from nicegui import ui

from .front import FILES

_VISIBLE = "armlet_visible"


def section(title: str, name: str) -> ui.html:
    """A part of a page with its heading; what is returned is to be filled.

    name: class of its style.
    """
    with ui.element("section").classes(name):
        heading(title)
        return html()


def heading(title: str) -> None:
    """Of a part of a page."""
    ui.html(f"<h2>{escape(title)}</h2>", sanitize=False)


def html() -> ui.html:
    """A place for HTML of the console's own, in which strangers' words are escaped."""
    return ui.html("", sanitize=False)


def put(place: ui.html, content: str) -> None:
    """Show it there; what has not changed is not sent."""
    if place.content != content:
        place.content = content


def while_visible(timer: ui.timer) -> None:
    """Run a timer while the tab is looked at: nobody looks at one behind others."""

    def hear(event: object) -> None:
        timer.active = bool(getattr(event, "args", True))

    ui.on(_VISIBLE, hear)
    ui.add_body_html(f'<script defer src="{FILES}visible.js"></script>')
