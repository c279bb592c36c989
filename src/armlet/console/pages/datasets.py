"""Recorded datasets: episodes seen over time, filtered, checked, compared, edited.

The view of `armlet.console.review`. Text from a dataset is only ever given to elements that show it
as text. Whatever reads a disk runs in another thread, whatever takes long in a process.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from nicegui import app, run, ui

from armlet.console.front import FILES
from armlet.console.page import Page, Setting, Visit
from armlet.console.review.desk import Check, Desk, is_over
from armlet.console.review.episodes import MOST_SHOWN, Filter, Label, Overview
from armlet.console.review.jobs import Job, JobError
from armlet.console.review.library import LibraryError, Listing
from armlet.console.review.orders import Order, Verb
from armlet.console.review.routes import address, routes

from .datasets_edits import Edits
from .datasets_tabs import show_check, show_compare, show_merge, show_statistics

_LOOK_S = 1.0
_WORDS = ("play", "pause", "time", "row", "state", "action", "loading", "failed")
_TABS = ("episodes", "check", "statistics", "compare", "merge")


@dataclass
class _Served:
    """What `serve` made, for all visits."""

    desk: Desk = field(default_factory=lambda: Desk.of(()))


_served = _Served()


def serve(setting: Setting) -> None:
    """Look where datasets are, and serve what a browser fetches of them."""
    desk = _served.desk = Desk.of(setting.datasets, setting.recorded)
    app.routes.extend(routes(desk.library, desk.card))
    app.on_shutdown(desk.jobs.close)


def build(visit: Visit) -> None:
    """The page; what is on a disk comes once it is shown."""
    ui.add_head_html(f'<link rel="stylesheet" href="{FILES}scrubber.css">')
    ui.add_body_html(f'<script defer src="{FILES}scrubber.js"></script>')
    view = View(visit, _served.desk)
    asked = ui.context.client.request.query_params
    if (number := asked.get("episode", "")).isdecimal() and len(number) < 10:
        view.asked = asked.get("dataset", ""), int(number)
    view.build()


class View:
    """One tab of a browser on this page."""

    def __init__(self, visit: Visit, desk: Desk) -> None:
        self.say, self.desk = visit.say, desk
        self.listed: list[Listing] = []
        self.seen: Overview | None = None
        self.check: Check | None = None
        self.filter = Filter()
        self.row = 0
        self._episode: int | None = None
        self._follows = False
        self._mark: Any = None
        self._check: int | None = None
        self._shown_job: Job | None = None
        self._tab = _TABS[0]
        self.asked: tuple[str, int] | None = None
        """A dataset and an episode that the address names, shown at first."""
        self.edits = Edits(self)

    # --- what is always there -------------------------------------------------------------------

    def build(self) -> None:
        with ui.row().classes("full-width items-center"):
            self._choice = ui.select(
                {}, label=self._("choose"), on_change=lambda e: self.show(e.value), with_input=True
            ).style("min-width: 20rem")
            ui.button(self._("again"), icon="refresh", on_click=self.look).props("flat")
        self._note = ui.label().classes("armlet-problem").props('role="status"')
        self._list = ui.column().classes("full-width")
        self._running = ui.row().classes("items-center")
        self._body = ui.column().classes("full-width")
        # What is asked and said stays while the dataset is shown again.
        self.dialogs = ui.element()
        ui.timer(0.05, self.look, once=True)
        ui.timer(_LOOK_S, self._tick)

    def _(self, code: str, **values: object) -> str:
        return self.say(f"datasets.{code}", **values)

    def notify(self, text: str) -> None:
        """One sentence for the person, until they take it away."""
        with self.dialogs:
            ui.notification(text, type="negative", close_button=self._("close"), timeout=0)

    async def look(self) -> None:
        """Look through the folders again."""
        self.listed, whole = await run.io_bound(self.desk.library.listed)
        notes = [self.desk.problem] if self.desk.problem else []
        if not self.listed and not notes:
            notes.append(self._("none"))
        if not whole:
            notes.append(self._("not_all"))
        self._note.text = "; ".join(notes)
        options = {one.place.key: one.place.name for one in self.listed}
        keys = list(options)
        chosen = self._choice.value if self._choice.value in options else None
        self._choice.set_options(options, value=chosen)
        self._show_list()
        if chosen is None and self.asked is not None and self.asked[0] in options:
            self._choice.value = self.asked[0]
        elif chosen is None and len(keys) == 1:
            self._choice.value = keys[0]

    def _show_list(self) -> None:
        self._list.clear()
        if self.seen is not None or not self.listed:
            return
        names = ("name", "version", "robot", "episodes", "minutes", "problem")
        rows = [
            {
                "key": one.place.key,
                "name": one.place.name,
                "version": one.version,
                "robot": one.robot,
                "episodes": one.episodes,
                "minutes": round(one.duration_s / 60, 1),
                "problem": one.problem,
            }
            for one in self.listed
        ]
        with self._list:
            table = self.table(names, rows, "key")
            table.on("rowClick", lambda e: self._pick(e.args), [[], ["key"], None])

    def _pick(self, args: Any) -> None:
        key = args[1].get("key") if isinstance(args, list) and len(args) > 1 else None
        if any(one.place.key == key for one in self.listed):
            self._choice.value = key

    def table(
        self, names: tuple[str, ...], rows: list[dict[str, Any]], key: str, **options: Any
    ) -> ui.table:
        """A table whose cells are shown as text; names: of columns, and of their words."""
        columns = [
            {
                "name": name,
                "label": self._(name),
                "field": name,
                "align": "left",
                "sortable": True,
                "style": "white-space: normal; overflow-wrap: anywhere",
            }
            for name in names
        ]
        return ui.table(columns=columns, rows=rows, row_key=key, pagination=20, **options).classes(
            "full-width"
        )

    # --- one dataset ----------------------------------------------------------------------------

    async def show(self, key: str | None) -> None:
        """Show a dataset as it is now; None: the list."""
        self.seen = self.check = None
        self._episode = None
        self.filter = Filter()
        if key is not None:
            await self._read(key)
        if self.asked is not None and key == self.asked[0]:
            self._episode, self.asked = self.asked[1], None
        self._show_list()
        self._build_body()

    async def again(self) -> None:
        """Show the same dataset as it is now, with the same filter."""
        if self.seen is None:
            return
        before = len(self.seen.episodes)
        await self._read(self.seen.place.key)
        if self._follows and self.seen is not None and len(self.seen.episodes) > before:
            self._episode = len(self.seen.episodes) - 1
        self._build_body()

    async def _read(self, key: str) -> None:
        self._mark = await run.io_bound(self.desk.library.mark, key)
        try:
            self.seen, self.check = await run.io_bound(self.desk.overview, key)
        except LibraryError as error:
            self.seen = None
            self.notify(str(error))

    async def _tick(self) -> None:
        """Show what is being done; and the dataset again, once it is another."""
        job = None if self.seen is None else self.desk.jobs.of(str(self.seen.place.root))
        if job != self._shown_job:  # else the browser would be sent the same every second
            self._shown_job = job
            self._show_job(job)
        if self.seen is None:
            return
        running = job is not None and not is_over(job)
        mark = await run.io_bound(self.desk.library.mark, self.seen.place.key)
        check = self.desk.jobs.last(str(self.seen.place.root), Verb.CHECK)
        number = None if check is None else check.number
        if not running and (mark != self._mark or number != self._check):
            self._check = number
            await self.again()

    def _show_job(self, job: Job | None) -> None:
        self._running.clear()
        if job is None or is_over(job):
            return
        with self._running:
            ui.spinner()
            done, of = job.progress
            text = self._("progress", verb=job.order.verb, done=done, of=of)
            ui.label(text if of else self._("running", verb=job.order.verb)).props('role="status"')
            if not job.order.changes:
                stop = partial(self.begun, partial(self.desk.jobs.stop, job.number))
                ui.button(self._("stop"), on_click=stop).props("flat")

    def begun(self, do: Callable[[], object]) -> Any:
        """What it gives, or None once the person is shown why it is refused."""
        try:
            return do()
        except (JobError, LibraryError) as error:
            self.notify(str(error))
            return None

    def order(self, verb: Verb, **values: Any) -> Order:
        """One about the dataset as it was looked at."""
        assert self.seen is not None
        return Order(verb, (str(self.seen.place.root),), seen=self.seen.state, **values)

    def _build_body(self) -> None:
        self._body.clear()
        seen = self.seen
        if seen is None:
            return
        with self._body:
            if seen.problem:
                ui.label(seen.problem).classes("armlet-problem").props('role="alert"')
                ui.button(self._("repair"), on_click=self.edits.repair)
            if not seen.fps:
                return
            ui.label(
                self._(
                    "summary",
                    version=seen.version,
                    robot=seen.robot or "–",
                    episodes=len(seen.episodes),
                    frames=seen.frames,
                    minutes=seen.duration_s / 60,
                    fps=seen.fps,
                    contract=seen.contract,
                )
            )
            with ui.tabs() as tabs:
                made = {name: ui.tab(name, label=self._(f"tab.{name}")) for name in _TABS}
            shown: dict[str, Callable[[], None]] = {
                "episodes": self._build_episodes,
                "check": lambda: show_check(self),
                "statistics": lambda: show_statistics(self),
                "compare": lambda: show_compare(self),
                "merge": lambda: show_merge(self),
            }
            tabs.on_value_change(lambda e: setattr(self, "_tab", e.value))
            with ui.tab_panels(tabs, value=self._tab).classes("full-width"):
                for name, tab in made.items():
                    with ui.tab_panel(tab):
                        shown[name]()

    # --- its episodes ---------------------------------------------------------------------------

    def _build_episodes(self) -> None:
        assert self.seen is not None
        self._build_filter(self.seen)
        self._count = ui.label().props('role="status"')
        names = ("number", "length", "seconds", "task", "label", "notes", "findings")
        self._table = self.table(names, [], "number", selection="multiple")
        self._table.on("rowClick", lambda e: self._pick_episode(e.args), [[], ["number"], None])
        self.edits.buttons()
        with ui.row().classes("items-center"):
            for icon, word, step in (
                ("chevron_left", "previous", -1),
                ("chevron_right", "next", 1),
            ):
                ui.button(icon=icon, on_click=partial(self._step, step)).props(
                    f'flat aria-label="{self._(word)}"'
                )
            self._title = ui.label()
            ui.checkbox(self._("follow"), value=self._follows, on_change=self._follow)
        words = json.dumps({name: self._(name) for name in _WORDS})
        self._scrubber = ui.element("armlet-scrubber")
        self._scrubber._props["words"] = words
        self._scrubber.on("row", lambda e: self._at_row(e.args), ["detail"])
        self._show_episodes()
        numbers = self._numbers()
        if self._episode is not None and self._episode < len(self.seen.episodes):
            self._show_episode(self._episode)
        elif numbers:
            self._show_episode(numbers[0])

    def _follow(self, event: Any) -> None:
        self._follows = bool(event.value)
        if self._follows and self.seen is not None and self.seen.episodes:
            self._show_episode(len(self.seen.episodes) - 1)

    def _build_filter(self, seen: Overview) -> None:
        def narrow(**values: Any) -> None:
            self.filter = replace(self.filter, **values)
            self._show_episodes()

        codes = sorted({code for one in seen.episodes for code in one.codes})
        tasks = {"": self._("any_task"), **{task: task for task in seen.tasks}}
        labels = {str(label): self._(f"label.{label}") for label in Label}
        chosen = self.filter
        with ui.row().classes("full-width items-center"):
            ui.select(
                codes,
                multiple=True,
                label=self._("findings"),
                value=sorted(chosen.codes.intersection(codes)),
                on_change=lambda e: narrow(codes=frozenset(map(str, e.value))),
            ).style("min-width: 12rem").props("use-chips")
            ui.select(
                labels,
                multiple=True,
                label=self._("label"),
                value=sorted(map(str, chosen.labels)),
                on_change=lambda e: narrow(labels=frozenset(map(Label, e.value))),
            ).style("min-width: 10rem")
            ui.select(
                tasks,
                label=self._("task"),
                value=chosen.task if chosen.task in tasks else "",
                on_change=lambda e: narrow(task=e.value or None),
            ).style("min-width: 12rem")
            ui.number(
                self._("shortest"),
                min=0,
                value=chosen.shortest_s,
                on_change=lambda e: narrow(shortest_s=e.value),
            ).style("width: 8rem")
            ui.number(
                self._("longest"),
                min=0,
                value=chosen.longest_s,
                on_change=lambda e: narrow(longest_s=e.value),
            ).style("width: 8rem")
            ui.checkbox(
                self._("noted"), value=chosen.noted, on_change=lambda e: narrow(noted=bool(e.value))
            )

    def _show_episodes(self) -> None:
        assert self.seen is not None
        found = self.filter.chosen(self.seen.episodes)
        text = self._("shown", shown=len(found), all=len(self.seen.episodes))
        if len(found) > MOST_SHOWN:
            text += self._("too_many", most=MOST_SHOWN)
        self._count.text = text
        self._table.selected = []
        self._table.rows = [
            {
                "number": one.number,
                "length": one.length,
                "seconds": round(one.duration_s, 2),
                "task": ", ".join(one.tasks),
                "label": self._(f"label.{one.label}"),
                "notes": self._notes(one.driven, one.damaged),
                "findings": ", ".join(one.codes),
            }
            for one in found[:MOST_SHOWN]
        ]

    def _notes(self, driven: str, damaged: int) -> str:
        count = self._("damaged", count=damaged) if damaged else ""
        return "; ".join(filter(None, (driven, count)))

    def chosen(self) -> tuple[int, ...]:
        """The episodes that are chosen in the table."""
        known = set(self._numbers())
        chosen = {row.get("number") for row in self._table.selected}
        return tuple(sorted(known.intersection(chosen)))

    def _numbers(self) -> list[int]:
        return [row["number"] for row in self._table.rows]

    def _pick_episode(self, args: Any) -> None:
        number = args[1].get("number") if isinstance(args, list) and len(args) > 1 else None
        if number in self._numbers():
            self._show_episode(number)

    def _step(self, step: int) -> None:
        numbers = self._numbers()
        if numbers:
            at = numbers.index(self._episode) + step if self._episode in numbers else 0
            self._show_episode(numbers[at % len(numbers)])

    def _show_episode(self, number: int) -> None:
        assert self.seen is not None
        self._episode, self.row = number, 0
        one = self.seen.episodes[number]
        self._title.text = self._("showing", number=number, tasks=", ".join(one.tasks))
        # The state, so that what a browser keeps of an earlier one is not taken for it.
        self._scrubber._props["src"] = address(
            "episode", self.seen.place.key, episode=number, state=self.seen.state
        )
        self._scrubber.update()

    def _at_row(self, args: Any) -> None:
        row = args.get("detail") if isinstance(args, dict) else None
        if isinstance(row, int):
            self.row = row

    @property
    def episode(self) -> int | None:
        """The one that is shown over time."""
        return self._episode


PAGE = Page("datasets", "video_library", build, order=50, serve=serve)
