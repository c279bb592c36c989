"""Trials by hand on the page of trials: buttons of the session that all browsers share."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from nicegui import run, ui

from armlet.console.review.library import Place
from armlet.console.trials.hand import MOST_TRIALS, HandDesk, HandError, Phase, Standing, Wish
from armlet.console.trials.shelf import SIDES
from armlet.evaluation.trials.trial import LONGEST_NOTE

if TYPE_CHECKING:
    from .evaluate import View

_NEW = "new "


class Hand:
    """The panel of one tab of a browser."""

    def __init__(self, view: View, desk: HandDesk) -> None:
        self._view, self._desk = view, desk
        self._shown: Standing | None = None
        self._places: dict[str, str] = {}
        # What a person types stays while the panel is shown again.
        self._typed: dict[str, Any] = {"name": "", "task": "", "side": "A", "count": 10, "first": 0}
        self._typed |= {"where": None, "note": ""}

    def _(self, code: str, **values: object) -> str:
        return self._view.say(f"evaluate.{code}", **values)

    def build(self) -> None:
        """An empty panel; `show` fills it."""
        with ui.element("section").classes("full-width"):
            with ui.element("h2"):
                ui.label(self._("hand"))
            self._status = ui.label().props('role="status"')
            self._said = ui.label().props('role="alert"').classes("armlet-problem")
            self._panel = ui.column().classes("full-width")

    def offer(self, places: Sequence[Place]) -> None:
        """Where trials may go."""
        folders = self._view.shelf.folders
        new = {
            f"{_NEW}{number}": self._("hand.new_in", folder=folder)
            for number, folder in enumerate(folders)
        }
        found = {**new, **{place.key: place.name for place in places}}
        if found != self._places:
            self._places, self._shown = found, None

    def show(self, standing: Standing) -> bool:
        """Show what is now; whether that is another thing than before."""
        if standing == self._shown:
            return False
        before, self._shown = self._shown, standing
        if before is not None and before.number != standing.number:
            self._typed["note"] = ""
        self._status.text = self._standing(standing)
        self._said.text = " ".join(self._remark(code, why) for code, why in standing.said)
        self._panel.clear()
        with self._panel:
            self._build(standing)
        return True

    def _standing(self, now: Standing) -> str:
        if not now.count:
            return self._("hand.busy" if now.phase is Phase.BUSY else "hand.none")
        head = self._(
            "hand.standing",
            task=now.task,
            policy=now.policy,
            side=now.side,
            labelled=now.labelled,
            count=now.count,
        )
        return f"{head} · {self._(f'hand.{now.phase}', number=now.number)}"

    def _remark(self, code: str, why: str) -> str:
        text = self._(f"said.{code}")
        return f"{text}: {why}" if why else f"{text}."

    def _build(self, now: Standing) -> None:
        if now.phase is Phase.NONE and self._places:
            self._form(now.revision)
        elif now.phase is Phase.DRIVING:
            self._judging(now.revision)
        elif now.phase in (Phase.READY, Phase.DONE):
            self._between(now)

    def _form(self, revision: int) -> None:
        typed = self._typed
        if typed["where"] not in self._places:
            typed["where"] = next(iter(self._places))

        def chosen(where: object) -> None:
            typed["where"] = where
            name.set_visibility(str(where).startswith(_NEW))

        with ui.row().classes("full-width items-center"):
            ui.select(
                self._places,
                label=self._("hand.folder"),
                value=typed["where"],
                on_change=lambda e: chosen(e.value),
            ).style("min-width: 16rem")
            name: ui.input = ui.input(self._("hand.name"), **self._kept("name"))
            name.props("maxlength=100")
            chosen(typed["where"])
            side = ui.select(list(SIDES), label=self._("hand.side"), **self._kept("side"))
            side.style("min-width: 6rem")
            ui.input(self._("hand.task"), **self._kept("task")).props("maxlength=200").style(
                "min-width: 16rem"
            )
            ui.number(
                self._("hand.count"), min=1, max=MOST_TRIALS, precision=0, **self._kept("count")
            )
            ui.number(self._("hand.first_number"), min=0, precision=0, **self._kept("first"))
            ui.button(
                self._("hand.open"),
                icon="playlist_add",
                on_click=self._order(lambda: self._desk.open(self._wish(), revision)),
            )

    def _type(self, key: str, value: Any) -> None:
        self._typed[key] = value

    def _kept(self, key: str) -> dict[str, Any]:
        """What a person typed into a field, kept while it is shown again."""
        return {"value": self._typed[key], "on_change": lambda e: self._type(key, e.value)}

    def _wish(self) -> Wish:
        typed, where = self._typed, str(self._typed["where"])
        new = where.startswith(_NEW)
        return Wish(
            str(typed["task"]),
            int(typed["count"] or 0),
            str(typed["side"]),
            "" if new else where,
            int(where.removeprefix(_NEW)) if new else 0,
            str(typed["name"]) if new else "",
            int(typed["first"] or 0),
        )

    def _judging(self, revision: int) -> None:
        def label(success: bool) -> Callable[[], object]:
            return self._order(
                lambda: self._desk.label(revision, success, str(self._typed["note"] or ""))
            )

        note = ui.input(self._("hand.note"), **self._kept("note")).classes("full-width")
        note.props(f"maxlength={LONGEST_NOTE}")
        with ui.row():
            ui.button(self._("hand.success"), icon="thumb_up", on_click=label(True))
            ui.button(self._("hand.failure"), icon="thumb_down", on_click=label(False))
            discard = self._order(partial(self._desk.discard, revision))
            ui.button(self._("hand.discard"), icon="delete", on_click=discard).props("outline")

    def _between(self, now: Standing) -> None:
        with ui.row():
            if now.phase is Phase.READY:
                begin = self._order(partial(self._desk.begin, now.revision))
                ui.button(self._("hand.begin"), icon="play_arrow", on_click=begin)
            if now.last is not None:
                number = now.last.seed
                undo = self._order(partial(self._desk.take_back, now.revision, number))
                text = self._("hand.undo", number=number)
                ui.button(text, icon="undo", on_click=undo).props("outline")
            close = self._order(partial(self._desk.close, now.revision))
            ui.button(self._("hand.close"), icon="stop_circle", on_click=close).props("flat")

    def _order(self, do: Callable[[], object]) -> Callable[[], Any]:
        """What a button does: in another thread, with why it was not done for its person alone."""

        async def ordered() -> None:
            refused = ""
            try:
                await run.io_bound(do)
            except HandError as error:
                refused = self._remark(error.code, error.why)
            self.show(self._desk.look(time.monotonic()))
            if refused:
                self._said.text = refused

        return ordered
