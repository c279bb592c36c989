"""Edits of a dataset on its page: what would be done is shown, and a person confirms it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from nicegui import ui

from armlet.console.review.desk import is_over
from armlet.console.review.jobs import Job, State
from armlet.console.review.orders import Order, Verb

if TYPE_CHECKING:
    from .datasets import View

_LOOK_S = 0.2


class Edits:
    """The buttons and dialogs of one tab of a browser."""

    def __init__(self, view: View) -> None:
        self._view = view

    def _(self, code: str, **values: object) -> str:
        return self._view.say(f"datasets.{code}", **values)

    def buttons(self) -> None:
        """Those for the chosen episodes."""
        with ui.row():
            for code, icon, do in (
                ("delete", "delete", self._delete),
                ("relabel", "edit", self._relabel),
                ("success", "thumb_up", lambda: self._label(True)),
                ("failure", "thumb_down", lambda: self._label(False)),
                ("trim", "content_cut", self._trim),
            ):
                ui.button(self._(code), icon=icon, on_click=self._with_chosen(do)).props("outline")
            ui.button(self._("undo"), icon="undo", on_click=self.undo).props("outline")

    def _with_chosen(self, do: Callable[[], Any]) -> Callable[[], Any]:
        async def asked() -> None:
            if self._view.chosen():
                await do()
            else:
                self._view.notify(self._("choose_some"))

        return asked

    async def _delete(self) -> None:
        await self.do(self._view.order(Verb.DELETE, episodes=self._view.chosen()))

    async def _relabel(self) -> None:
        assert self._view.seen is not None
        chosen = self._view.chosen()
        with self._view.dialogs, ui.dialog() as dialog, ui.card():
            ui.label(self._("chosen", count=len(chosen)))
            task = ui.input(self._("new_task"), autocomplete=list(self._view.seen.tasks)).style(
                "min-width: 20rem"
            )
            self._go_on(dialog)
        if await dialog:
            await self.do(self._view.order(Verb.RELABEL, episodes=chosen, task=str(task.value)))

    async def _label(self, success: bool) -> None:
        """The first time, every episode needs one: of those not chosen it is asked."""
        assert self._view.seen is not None
        labels, others = {str(k): success for k in self._view.chosen()}, None
        if not self._view.seen.labelled and len(labels) < len(self._view.seen.episodes):
            said = {True: self._("label.success"), False: self._("label.failure")}
            with self._view.dialogs, ui.dialog() as dialog, ui.card():
                rest = ui.select(said, value=not success, label=self._("others"))
                rest.style("min-width: 20rem")
                self._go_on(dialog)
            if not await dialog:
                return
            others = bool(rest.value)
        await self.do(self._view.order(Verb.LABEL, labels=labels, others=others))

    async def _trim(self) -> None:
        assert self._view.seen is not None
        chosen, row = self._view.chosen(), self._view.row
        with self._view.dialogs, ui.dialog() as dialog, ui.card():
            ui.label(self._("chosen", count=len(chosen)))
            first = ui.number(self._("first"), value=0, min=0, step=1, precision=0)
            last = ui.number(self._("last"), value=0, min=0, step=1, precision=0)
            if chosen == (self._view.episode,):
                behind = self._view.seen.episodes[chosen[0]].length - 1 - row
                ui.button(
                    self._("until_here", row=row), on_click=lambda: first.set_value(row)
                ).props("flat")
                ui.button(
                    self._("from_here", row=row), on_click=lambda: last.set_value(behind)
                ).props("flat")
            self._go_on(dialog)
        if await dialog:
            frames = {"first": int(first.value or 0), "last": int(last.value or 0)}
            await self.do(self._view.order(Verb.TRIM, episodes=chosen, **frames))

    async def undo(self) -> None:
        """Take the last edit back."""
        await self.do(self._view.order(Verb.UNDO))

    async def repair(self) -> None:
        """Finish what was interrupted."""
        await self.do(replace(self._view.order(Verb.REPAIR), seen=""))

    def _go_on(self, dialog: Any) -> None:
        with ui.row():
            ui.button(self._("go_on"), on_click=lambda: dialog.submit(True))
            ui.button(self._("cancel"), on_click=lambda: dialog.submit(False)).props("flat")

    async def do(self, order: Order, promise: str = "to_trash") -> Job | None:
        """Show what an order would do, and do it once a person confirms; None if it is not done."""
        planned = await self.over(order)
        if planned is None or not await self._confirmed(planned, promise):
            return None
        done = await self.over(replace(order, write=True))
        await self._view.again()
        if done is not None:
            self.show(done)
        return done

    async def over(self, order: Order) -> Job | None:
        """The job once it is done; None once the person is shown why it is not."""
        jobs = self._view.desk.jobs
        job: Job | None = self._view.begun(lambda: jobs.begin(order))
        while job is not None and not is_over(job):
            await asyncio.sleep(_LOOK_S)
            job = jobs.get(job.number)
        if job is not None and job.state is not State.DONE:
            self._view.notify(job.error)
            await self._view.again()
            return None
        return job

    async def _confirmed(self, planned: Job, promise: str) -> bool:
        with self._view.dialogs, ui.dialog() as dialog, ui.card():
            self._lines(planned)
            ui.label(self._(promise))
            with ui.row():
                ui.button(self._("confirm"), on_click=lambda: dialog.submit(True), color="negative")
                ui.button(self._("cancel"), on_click=lambda: dialog.submit(False)).props(
                    "flat autofocus"
                )
        return bool(await dialog)

    def show(self, done: Job) -> None:
        """What a job did, or found."""
        with self._view.dialogs, ui.dialog() as dialog, ui.card():
            self._lines(done)
            ui.button(self._("close"), on_click=dialog.close)
        dialog.open()

    def _lines(self, job: Job) -> None:
        result = job.result or {}
        ui.label(str(result.get("said", ""))).classes("text-weight-bold")
        if result.get("lines"):
            with ui.scroll_area().classes("full-width").style("height: 12rem"):
                ui.label("\n".join(map(str, result["lines"]))).style("white-space: pre-wrap")
        if result.get("where"):
            ui.label(str(result["where"]))
