"""A policy that drives: whether it fits and may run, how it does, who commands; start and stop.

The view of `armlet.console.drive`. What is asked for goes to the graph's own services, and its
answer, also a refusal, is shown to every browser.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from html import escape

from nicegui import app, run, ui

from armlet.client.driving import Ask
from armlet.console.drive import plots, tables
from armlet.console.drive.checkpoints import Listed
from armlet.console.drive.workbench import Workbench
from armlet.console.elements import heading, html, put, section, while_visible
from armlet.console.front import FILES
from armlet.console.page import Page, Setting, Visit

LOOK_S = 0.5


@dataclass
class _Served:
    """What `serve` made, for all visits."""

    bench: Workbench = field(default_factory=lambda: Workbench.of(()))


_served = _Served()


def serve(setting: Setting) -> None:
    """Look where checkpoints are."""
    _served.bench = Workbench.of(setting.checkpoints)
    app.on_shutdown(_served.bench.fits.close)


def build(visit: Visit) -> None:
    """The page; of what it shows that is sent which has changed."""
    View(visit, _served.bench).build()


class View:
    """One tab of a browser on this page."""

    def __init__(self, visit: Visit, bench: Workbench) -> None:
        self.say, self.graph, self.bench = visit.say, visit.setting.graph, bench
        self.listed: tuple[Listed, ...] = ()
        self._whole = True

    def build(self) -> None:
        """Sections of HTML between buttons, a dialog for what moves the arm."""
        ui.add_head_html(f'<link rel="stylesheet" href="{FILES}drive.css">')
        with ui.element("div").classes("armlet-drive"):
            self._policy = self._section("policy")
            with ui.element("section").classes("armlet-commander"):
                heading(self._("commander"))
                self._commanders = html()
                self._buttons()
                heading(self._("asked"))
                self._answers = html().props('role="status"')
            self._fit = self._section("fit")
            self._latency = self._section("latency")
            with ui.element("section").classes("armlet-plots"):
                heading(self._("plots"))
                ui.html(f"<p>{escape(self._('legend'))}</p>", sanitize=False)
                self._plots = html()
            self._drift = self._section("drift")
            self._troubles = self._section("findings")
            self._checkpoints()
        self.dialogs = ui.element()
        ui.timer(0.05, self.look, once=True)
        while_visible(ui.timer(LOOK_S, self.show))

    def _(self, code: str, **values: object) -> str:
        return self.say(f"drive.{code}", **values)

    def _section(self, name: str) -> ui.html:
        return section(self._(name), f"armlet-{name}")

    # --- what is asked for ------------------------------------------------------------------

    def _buttons(self) -> None:
        with ui.row():
            self._button("run", "play_arrow", lambda: self._confirm("run", Ask.RUN))
            self._button("pause", "pause", lambda: self.graph.press(Ask.PAUSE))
            self._button("take_over", "pan_tool", lambda: self._confirm("take_over", Ask.TAKE_OVER))
            self._button("give_back", "redo", lambda: self._confirm("give_back", Ask.GIVE_BACK))

    def _button(self, name: str, icon: str, does: Callable[[], object]) -> None:
        ui.button(self._(name), icon=icon, on_click=does).props("no-caps")

    def _confirm(self, name: str, ask: Ask) -> None:
        """Ask before the arm moves; the graph still refuses what it would of anybody."""

        def go_on() -> None:
            dialog.close()
            self.graph.press(ask)

        with self.dialogs, ui.dialog() as dialog, ui.card().props('role="alertdialog"'):
            ui.label(self._(name).rstrip("…")).classes("text-h6")
            ui.label(self._(f"confirm.{name}"))
            with ui.row():
                ui.button(self._("confirm.yes"), on_click=go_on).props("no-caps")
                no = ui.button(self._("confirm.no"), on_click=dialog.close)
                no.props("no-caps flat autofocus")
        # Closed by a button, or by Esc: a question is asked once.
        dialog.on_value_change(lambda event: None if event.value else dialog.delete())
        dialog.open()

    # --- what is shown ----------------------------------------------------------------------

    def show(self) -> None:
        """As it is now."""
        driving, view, say = self.graph.driving(), self.graph.view(), self.say
        put(self._policy, tables.policy(driving, say))
        put(self._commanders, tables.commanders(driving, say))
        answers = tables.answers(view.answers, view.stopping)
        put(self._answers, answers or f"<p>{escape(self._('no_answers'))}</p>")
        put(self._fit, tables.fit(driving.fit, say))
        put(self._latency, tables.latency(driving, say))
        put(self._plots, plots.plots(driving.tracks, say))
        put(self._drift, tables.drift(driving, say))
        put(self._troubles, tables.troubles(driving, say))
        self._show_checkpoints()

    # --- checkpoints ------------------------------------------------------------------------

    def _checkpoints(self) -> None:
        with ui.element("section").classes("armlet-checkpoints"):
            heading(self._("checkpoints"))
            self._note = ui.label().classes("armlet-problem").props('role="status"')
            with ui.row().classes("items-center"):
                choice = ui.select({}, label=self._("choose"), with_input=True)
                self._choice = choice.style("min-width: min(24rem, 80vw)")
                self._button("check", "fact_check", self.check)
                self._button("look", "refresh", self.look)
            self._list = html()
            self._chosen = html().props('role="status"')

    async def look(self) -> None:
        """Look through the folders again."""
        self.listed, self._whole = await run.io_bound(self.bench.shelf.listed)
        notes = [self.bench.problem] if self.bench.problem else []
        if not self.listed and not notes:
            notes.append(self._("none"))
        if not self._whole:
            notes.append(self._("not_all"))
        self._note.text = "; ".join(notes)
        options = {one.key: one.name for one in self.listed}
        kept = self._choice.value if self._choice.value in options else None
        only = next(iter(options), None) if len(options) == 1 else None
        self._choice.set_options(options, value=kept or only)
        self.show()

    async def check(self) -> None:
        """Have the chosen one checked; its lines come when they are there."""
        if (one := self._one()) is not None and not one.problem:
            node = self.graph.driving().node
            await run.io_bound(self.bench.check, one, self.graph, node)
            self.show()

    def _one(self) -> Listed | None:
        return next((one for one in self.listed if one.key == self._choice.value), None)

    def _show_checkpoints(self) -> None:
        fits, say = self.bench.fits, self.say
        put(
            self._list,
            "".join(tables.summary(one, fits.get(one.key), say) for one in self.listed),
        )
        one = self._one()
        shown = "" if one is None else tables.checkpoint(one, fits.get(one.key), say)
        put(self._chosen, shown)


PAGE = Page("drive", "smart_toy", build, order=30, serve=serve)
