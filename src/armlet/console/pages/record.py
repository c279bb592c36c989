"""Recording: the state in large, what a person asks for, the cameras, and the last episode.

What is shown and what is meant is decided in `armlet.console.board`. Text from outside is escaped
by `record_tables`, or given to elements that show it as text.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any

from nicegui import run, ui

from armlet.client.series import LONGEST_EPISODE_S, LONGEST_RESET_S, LONGEST_TASK, MOST_EPISODES
from armlet.console import record_tables, tables
from armlet.console.board import (
    START,
    STOP,
    Board,
    State,
    board,
    meant,
    merged,
    reset_s,
    wish,
)
from armlet.console.elements import heading, html, put, while_visible
from armlet.console.front import FILES
from armlet.console.page import Page, Visit
from armlet.console.review.desk import Desk
from armlet.console.review.last import Last, last
from armlet.console.review.routes import address

LOOK_S = 0.25
_KEY = "armlet_key"
_LABELS, _ARM = ("s", "f"), ("t", "e", "m", "n")
_ICONS = {
    START: "fiber_manual_record",
    STOP: "stop",
    "d": "delete",
    "r": "replay",
    "s": "thumb_up",
    "f": "thumb_down",
    "t": "back_hand",
    "e": "link",
}
_SCRUBBER_WORDS = ("play", "pause", "time", "row", "state", "action", "loading", "failed")
_RESET_S = 10.0


def build(visit: Visit) -> None:
    """The page; what the graph says is shown four times a second, as far as it has changed."""
    for name in ("record", "scrubber"):
        ui.add_head_html(f'<link rel="stylesheet" href="{FILES}{name}.css">')
    for name in ("pictures", "scrubber", "record"):
        ui.add_body_html(f'<script defer src="{FILES}{name}.js"></script>')
    View(visit).build()


class View:
    """One tab of a browser on this page. Drafts of fields are all that it has of its own."""

    def __init__(self, visit: Visit) -> None:
        self.say, self.graph = visit.say, visit.setting.graph
        # Keys of datasets are those of the page of datasets, which says what is wrong with folders.
        self._library = Desk.of(visit.setting.datasets, visit.setting.recorded).library
        self.now = Board()
        self._fields: dict[str, Any] = {}
        # What the recorder had when a field was filled.
        self._known: dict[str, Any] = {}
        self._buttons: dict[str, ui.button] = {}
        self._last_shown: object = None
        self.last: Last | None = None

    def _(self, code: str, **values: object) -> str:
        return self.say(f"record.{code}", **values)

    # --- what is always there -------------------------------------------------------------------

    def build(self) -> None:
        with ui.element("div").classes("record-page"):
            with (
                ui.element("section")
                .classes("record-board")
                .props(f'aria-label="{escape(self._("board"))}"')
            ):
                # Above what grows and shrinks: no other button comes under a finger.
                self._build_buttons()
                self._headline, self._cue = html(), html()
                self._label = ui.label()
                ui.label(self._("keys"))
            with self._section("plan"):
                self._build_plan()
            with self._section("answers"):
                self._answers = html()
            with ui.element("section").classes("armlet-cameras"):
                heading(self.say("live.cameras"))
                self._cameras = html()
            with self._section("facts"):
                self._facts = html()
            with ui.element("section"):
                heading(self.say("live.troubles"))
                self._troubles = html()
            with self._section("last"):
                self._build_last()
        ui.on(_KEY, lambda event: self.press(event.args))
        while_visible(ui.timer(LOOK_S, self.show))

    def _section(self, name: str) -> ui.element:
        section = ui.element("section").classes(f"record-{name}")
        with section:
            heading(self._(name))
        return section

    def _build_buttons(self) -> None:
        with ui.row().classes("record-buttons items-center"):
            for name in (START, STOP, "d", "r", *_LABELS):
                self._button(name)
        with ui.row().classes("record-buttons record-arm items-center"):
            for name in _ARM:
                self._button(name).props("outline")
            ui.html(self._sound(), sanitize=False).classes("record-sound")

    def _button(self, name: str) -> ui.button:
        does = self._(f"do.{name}")
        key = self._("space") if name in (START, STOP) else name
        # What a press means is sent by `record.js`, as of a key.
        button = ui.button(does, icon=_ICONS.get(name)).props(f'no-caps data-key="{name}"')
        label = escape(self._("key", does=does, key=key))
        self._buttons[name] = button.props(f'title="{label}"')
        return button

    def _sound(self) -> str:
        options = "".join(
            f'<option value="{way}">{escape(self._(f"sound.{way}"))}</option>'
            for way in ("off", "tones", "speech")
        )
        return (
            f'<label>{escape(self._("sound"))} <select id="armlet-sound" '
            f'data-silent="{escape(self._("sound.silent"))}">{options}</select></label> '
            '<span id="armlet-sound-note" role="status"></span>'
        )

    def _build_plan(self) -> None:
        fields = self._fields
        fields["task"] = ui.input(self._("task_field")).classes("full-width")
        fields["task"].props(f"maxlength={LONGEST_TASK}")
        with ui.row().classes("record-fields items-center"):
            fields["wanted"] = ui.number(
                self._("wanted_field"), min=0, max=MOST_EPISODES, precision=0
            ).style("min-width: 16rem")
            fields["episode_s"] = ui.number(
                self._("episode_s_field"), min=0, max=LONGEST_EPISODE_S
            ).style("min-width: 14rem")
            ui.button(self._("set"), on_click=self.set).props("no-caps")
        heading(self._("series"))
        with ui.row().classes("record-fields items-center"):
            self._reset = ui.number(
                self._("reset_field"), min=0, max=LONGEST_RESET_S, value=_RESET_S
            ).style("min-width: 12rem")
            self._begin = ui.button(self._("series.begin"), on_click=self.begin_series)
            self._end = ui.button(self._("series.end"), on_click=self.graph.end_series)
            for button in (self._begin, self._end):
                button.props("no-caps")
        self._series = ui.label().props('role="status"')

    def _build_last(self) -> None:
        self._last_facts = html()
        self._scrubber = ui.element("armlet-scrubber")
        words = {name: self.say(f"datasets.{name}") for name in _SCRUBBER_WORDS}
        self._scrubber._props["words"] = json.dumps(words)
        self._scrubber.set_visibility(False)
        ui.link(self._("last.all"), "/datasets")

    # --- what a person does ---------------------------------------------------------------------

    def press(self, args: object) -> None:
        """What a button or key in the browser asks for, as the key of `armlet session`."""
        asked = meant(args)
        if asked is not None:
            self.graph.press(asked.key, asked.stops)

    def set(self) -> None:
        """Have the recorder take what is in the fields."""
        typed = [self._fields[name].value for name in ("task", "wanted", "episode_s")]
        wished = self._tried(lambda: wish(str(typed[0] or ""), typed[1], typed[2], self.now))
        if wished is not None:
            self.graph.wish(wished)

    def begin_series(self) -> None:
        """Begin each next recording by itself."""
        self._tried(lambda: self.graph.run_series(reset_s(self._reset.value)))

    def _tried(self, do: Callable[[], Any]) -> Any:
        """What it gives; None once the person is shown what is wrong with what was typed."""
        try:
            return do()
        except ValueError as error:
            ui.notify(str(error), type="negative")
            return None

    # --- what is shown --------------------------------------------------------------------------

    async def show(self) -> None:
        """Show what is now, where it is not shown yet."""
        view, sight = self.graph.view(), self.graph.sight()
        now = self.now = board(view, self.graph.series(), self.graph.stops)
        say = self.say
        put(self._headline, record_tables.headline(now, say))
        put(self._cue, record_tables.cue_place(now, say))
        put(self._facts, record_tables.facts(now, view, say))
        put(self._answers, record_tables.answers(view, say))
        put(self._troubles, tables.troubles(sight, say))
        put(self._cameras, self._figures(sight.cameras))
        self._label.set_text(self._labelled(now))
        self._series.set_text(self._said_of_series(now))
        self._show_buttons(now)
        self._show_fields(now)
        await self._show_last(now)

    def _figures(self, cameras: tuple[str, ...]) -> str:
        if not cameras:
            return f'<p class="armlet-line">{escape(self.say("live.no_cameras"))}</p>'
        return "".join(tables.figure(camera, self.say) for camera in cameras)

    def _labelled(self, now: Board) -> str:
        if not now.saved:
            return self._("no_label")
        label = "none" if now.success is None else "success" if now.success else "failure"
        numbers = ", ".join(map(str, now.saved))
        return self._("label_of", episodes=numbers, label=self.say(f"datasets.label.{label}"))

    def _said_of_series(self, now: Board) -> str:
        series = now.series
        if series.step == "held":
            held = "series.held" if series.said else "series.failed"
            return self._(held, said=series.said)
        if series.on:
            return self._("series.reset", reset=f"{series.reset_s:g}")
        return self._(f"series.{series.end or 'off'}")

    def _show_buttons(self, now: Board) -> None:
        usable = now.usable
        for name in (START, STOP, "d", "r", *_LABELS):
            self._buttons[name].set_enabled(name in usable)
        self._buttons[STOP].set_text(self._("do.go_on" if now.state is State.FAILED else "do.stop"))
        self._buttons["e"].set_visibility(self.graph.has_leader)
        self._buttons["m"].set_visibility(self.graph.has_bench and self.graph.has_leader)
        self._buttons["n"].set_visibility(self.graph.has_bench)
        self._end.set_enabled(now.series.on)

    def _show_fields(self, now: Board) -> None:
        if now.state is State.ABSENT:
            return
        for name, value in (
            ("task", now.task),
            ("wanted", now.wanted),
            ("episode_s", now.episode_s),
        ):
            field = self._fields[name]
            shown = merged(field.value, self._known.get(name, field.value), value)
            self._known[name] = value
            if shown != field.value:
                field.value = shown

    async def _show_last(self, now: Board) -> None:
        wanted = (now.root, now.last, now.saved)
        if wanted == self._last_shown or now.state is State.ABSENT:
            return
        self._last_shown = wanted
        if now.last is None:
            self.last = None
            self._put_last(f"<p>{escape(self._('last.none'))}</p>", None)
            return
        self.last = found = await run.io_bound(last, self._library, now.root, now.last)
        if found is None:
            folder = str(Path(now.root).parent)[:200]
            self._put_last(f"<p>{escape(self._('last.not_shown', folder=folder))}</p>", None)
            return
        self._put_last(record_tables.last_episode(found, self.say), found)

    def _put_last(self, facts: str, found: Last | None) -> None:
        put(self._last_facts, facts)
        there = found is not None and not found.problem
        self._scrubber.set_visibility(there)
        if found is not None and there:
            asked = {"episode": found.number, "state": found.state}
            self._scrubber._props["src"] = address("episode", found.key, **asked)
            self._scrubber.update()


PAGE = Page("record", "radio_button_checked", build, order=20)
