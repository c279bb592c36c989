"""Trials of policies: rates, two side by side, each trial; and trials that a person judges here.

The view of `armlet.console.trials`. Text from outside is only ever given to elements that show it
as text. Whatever reads a disk or asks the graph runs in another thread.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

from nicegui import app, run, ui

from armlet.console.page import Page, Setting, Visit
from armlet.console.review.desk import Desk
from armlet.console.review.library import Place
from armlet.console.trials.hand import HandDesk, Standing
from armlet.console.trials.routes import address, routes
from armlet.console.trials.shelf import (
    MOST_SHOWN,
    TROUBLES,
    Beside,
    Filter,
    Label,
    Mark,
    Row,
    Shelf,
    beside,
    said,
)
from armlet.console.trials.texts import measures, verdict
from armlet.evaluation.trials.report import Report

from .evaluate_hand import Hand

_LOOK_S = 0.5
_COLUMNS = ("side", "seed", "label", "seconds", "final", "interventions", "note")


@dataclass
class _Served:
    """What `serve` made, for all visits."""

    shelf: Shelf
    hand: HandDesk


_served: list[_Served] = []


def serve(setting: Setting) -> None:
    """Look where trials are, and serve their videos; one session of trials by hand for all."""
    datasets = Desk.of(setting.datasets, setting.recorded).library
    shelf = Shelf(setting.trials, datasets)
    served = _Served(shelf, HandDesk(setting.graph, shelf))
    _served[:] = [served]
    app.routes.extend(routes(shelf))
    app.on_shutdown(served.hand.close)


def build(visit: Visit) -> None:
    """The page; what is on a disk comes once it is shown."""
    View(visit, _served[0].shelf, _served[0].hand).build()


class View:
    """One tab of a browser on this page."""

    def __init__(self, visit: Visit, shelf: Shelf, hand: HandDesk) -> None:
        self.say, self.shelf, self._desk = visit.say, shelf, hand
        self.places: tuple[Place, ...] = ()
        self.filter = Filter()
        self.report: Report | None = None
        self.rows: list[Row] = []
        self._key: str | None = None
        self._mark: Mark = ()
        self._beside: Beside | None = None
        self.hand = Hand(self, hand)

    def _(self, code: str, **values: object) -> str:
        return self.say(f"evaluate.{code}", **values)

    # --- what is always there -------------------------------------------------------------------

    def build(self) -> None:
        """All of it."""
        with ui.row().classes("full-width items-center"):
            self._choice = ui.select(
                {}, label=self._("choose"), on_change=lambda e: self.show(e.value), with_input=True
            ).style("min-width: 20rem")
            ui.button(self._("again"), icon="refresh", on_click=self.look).props("flat")
        self._note = ui.label().classes("armlet-problem").props('role="status"')
        self.hand.build()
        self._body = ui.column().classes("full-width")
        ui.timer(0.05, self.look, once=True)
        ui.timer(_LOOK_S, self._tick)

    async def look(self) -> None:
        """Look through the folders again."""
        self.places, whole = await run.io_bound(self.shelf.look)
        notes = [self.shelf.problem] if self.shelf.problem else []
        if not self.places and not notes:
            notes.append(self._("none"))
        if not whole:
            notes.append(self._("not_all"))
        self._note.text = "; ".join(notes)
        options = {place.key: place.name for place in self.places}
        chosen = self._choice.value if self._choice.value in options else None
        self._choice.set_options(options, value=chosen)
        self.hand.offer(self.places)
        if chosen is None and len(options) == 1:
            self._choice.value = next(iter(options))

    async def show(self, key: str | None) -> None:
        """Show the trials of a folder; None: none."""
        self._key, self.filter, self._beside = key, Filter(), None
        await self._read()

    async def _read(self) -> None:
        self.report, self.rows = None, []
        if self._key is None:
            self._build_body()
            return
        self._mark = await run.io_bound(self.shelf.mark, self._key)
        try:
            self.report = await run.io_bound(self.shelf.report, self._key)
            self.rows = await run.io_bound(self.shelf.rows, self._key, self.report)
            self._note.text = ""
        except TROUBLES as error:
            self._note.text = said(error)
        self._build_body()

    async def _tick(self) -> None:
        standing = self._desk.look(time.monotonic())
        if self.hand.show(standing):
            await self._follow(standing)
        if self._key is not None:
            mark = await run.io_bound(self.shelf.mark, self._key)
            if mark != self._mark:
                await self._read()

    async def _follow(self, standing: Standing) -> None:
        """Show the trials that are being judged, once there are any."""
        if standing.key and standing.key not in self._choice.options:
            await self.look()
        if standing.key and self._key is None and standing.key in self._choice.options:
            self._choice.value = standing.key

    # --- one folder -----------------------------------------------------------------------------

    def _build_body(self) -> None:
        self._body.clear()
        if self.report is None:
            return
        with self._body:
            self._heading("results")
            self._results(self.report)
            self._heading("comparison")
            self._build_comparison(self.report)
            self._heading("list")
            self._build_list(self.report)

    def _heading(self, code: str) -> None:
        with ui.element("h2"):
            ui.label(self._(code))

    def _results(self, report: Report) -> None:
        columns = [{"name": "what", "label": self._("measure"), "field": "what", "align": "left"}]
        columns += [
            {"name": side.name, "label": side.name, "field": side.name, "align": "left"}
            for side in report.sides
        ]
        rows = [
            {"what": what, **dict(zip([side.name for side in report.sides], cells, strict=True))}
            for what, cells in measures(report, self.say)
        ]
        ui.table(columns=columns, rows=rows, row_key="what").classes("full-width")
        ui.label(self._("of_successes"))

    # --- two policies ---------------------------------------------------------------------------

    def _build_comparison(self, report: Report) -> None:
        options = {f"{place.key}|{side}": f"{place.name} · {side}" for place, side in self._sides()}
        own = [f"{self._key}|{side.name}" for side in report.sides]
        with ui.row().classes("full-width items-center"):
            chosen = [
                ui.select(options, label=self._(code), value=value, on_change=lambda: compared())
                .style("min-width: 16rem")
                .props("options-dense")
                for code, value in (
                    ("first", own[0] if own[0] in options else None),
                    ("second", own[1] if len(own) > 1 and own[1] in options else None),
                )
            ]
            disputed = ui.checkbox(
                self._("disputed"), value=False, on_change=lambda e: self._dispute(e.value)
            )
        place = ui.label().props('role="status"')

        async def compared() -> None:
            self._beside = None
            disputed.value = False
            keys = [str(one.value).rpartition("|") for one in chosen if one.value in options]
            if len(keys) == len(chosen):
                try:
                    self._beside = await run.io_bound(self._compare, keys[0], keys[1])
                    place.text = verdict(self._beside, [options[c.value] for c in chosen], self.say)
                except TROUBLES as error:
                    place.text = said(error)

        ui.timer(0.05, compared, once=True)

    def _sides(self) -> list[tuple[Place, str]]:
        return [(place, side) for place in self.places for side in self.shelf.sides(place)]

    def _compare(self, first: tuple[str, str, str], second: tuple[str, str, str]) -> Beside:
        """Raises LibraryError, FileError, OSError. Of a key: folder, bar, side."""
        sides = [
            next(side for side in self.shelf.report(key).sides if side.name == name)
            for key, _, name in (first, second)
        ]
        return beside(sides[0], sides[1])

    def _dispute(self, only: bool) -> None:
        found = None if self._beside is None else self._beside.comparison
        seeds = frozenset() if found is None else frozenset((*found.only_a, *found.only_b))
        self._narrow(disputed=seeds if only else None)

    # --- its trials -----------------------------------------------------------------------------

    def _build_list(self, report: Report) -> None:
        self._build_filter(report)
        self._count = ui.label().props('role="status"')
        columns = [
            {
                "name": name,
                "label": self._(name),
                "field": name,
                "align": "left",
                "sortable": True,
                "style": "white-space: normal; overflow-wrap: anywhere",
            }
            for name in _COLUMNS
        ]
        self._table = ui.table(
            columns=columns,
            rows=[],
            row_key="id",
            pagination=20,
            selection="single",
            on_select=lambda e: self._pick(e.selection),
        ).classes("full-width")
        self._shown = ui.column().classes("full-width")
        self._show_rows()

    def _build_filter(self, report: Report) -> None:
        labels = {str(label): self._(f"label.{label}") for label in Label}
        sides = [side.name for side in report.sides]
        chosen = self.filter
        with ui.row().classes("full-width items-center"):
            ui.select(
                labels,
                multiple=True,
                label=self._("label"),
                value=sorted(map(str, chosen.labels)),
                on_change=lambda e: self._narrow(labels=frozenset(map(Label, e.value))),
            ).style("min-width: 10rem")
            ui.select(
                sides,
                multiple=True,
                label=self._("side"),
                value=sorted(chosen.sides.intersection(sides)),
                on_change=lambda e: self._narrow(sides=frozenset(map(str, e.value))),
            ).style("min-width: 7rem")
            for code, name in (("shortest", "shortest_s"), ("longest", "longest_s")):
                ui.number(
                    self._(code),
                    min=0,
                    value=getattr(chosen, name),
                    on_change=lambda e, name=name: self._narrow(**{name: e.value}),
                ).style("width: 8rem")
            for name in ("noted", "intervened"):
                ui.checkbox(
                    self._(name),
                    value=getattr(chosen, name),
                    on_change=lambda e, name=name: self._narrow(**{name: bool(e.value)}),
                )

    def _narrow(self, **values: Any) -> None:
        self.filter = replace(self.filter, **values)
        self._show_rows()

    def _show_rows(self) -> None:
        found = self.filter.chosen(self.rows)
        text = self._("shown", shown=len(found), all=len(self.rows))
        if len(found) > MOST_SHOWN:
            text += self._("too_many", most=MOST_SHOWN)
        self._count.text = text
        self._table.rows = [self._cells(row) for row in found[:MOST_SHOWN]]

    def _cells(self, row: Row) -> dict[str, Any]:
        trial = row.trial
        return {
            "id": f"{row.side} {trial.seed}",
            "side": row.side,
            "seed": trial.seed,
            "label": self._(f"label.{row.label}"),
            "seconds": round(trial.duration_s, 2),
            "final": None if trial.final is None else round(trial.final, 4),
            "interventions": trial.interventions,
            "note": row.note,
        }

    def _pick(self, selection: list[dict[str, Any]]) -> None:
        """Show what there is to see of a trial."""
        self._shown.clear()
        chosen = {str(one.get("id")) for one in selection}
        row = next((r for r in self.rows if f"{r.side} {r.trial.seed}" in chosen), None)
        if row is None:
            return
        with self._shown:
            if row.video:
                said_of = self._("video", seed=row.trial.seed, side=row.side)
                ui.label(said_of)
                film = ui.element("video").style("max-width: 100%; width: 640px")
                film._props["controls"] = True
                film._props["aria-label"] = said_of
                film._props["src"] = address(str(self._key), row.side, row.trial.seed)
            elif row.episode is None:
                ui.label(self._("no_video"))
            if row.episode is not None:
                key, number = row.episode
                ui.link(self._("episode", number=number), _in_datasets(key, number))


def _in_datasets(key: str, number: int) -> str:
    return f"/datasets?{urlencode({'dataset': key, 'episode': number})}"


PAGE = Page("evaluate", "fact_check", build, order=40, serve=serve)
