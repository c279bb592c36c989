"""What else the page of datasets shows: the check, statistics, two side by side, a merge."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nicegui import run, ui

from armlet.console.review.compare import Line, compare
from armlet.console.review.episodes import said, statistics
from armlet.console.review.library import LibraryError
from armlet.console.review.orders import Order, Verb
from armlet.console.review.routes import address
from armlet.datasets import DatasetError

if TYPE_CHECKING:
    from .datasets import View

_NUMBERS = ("min", "q01", "mean", "std", "q99", "max")


def show_check(view: View) -> None:
    """What `armlet dataset check` finds, and its score card."""

    def say(code: str, **values: object) -> str:
        return view.say(f"datasets.{code}", **values)

    def begin(videos: bool) -> None:
        view.begun(lambda: view.desk.jobs.begin(view.order(Verb.CHECK, videos=videos)))

    with ui.row():
        ui.button(say("check"), icon="fact_check", on_click=lambda: begin(True))
        ui.button(say("check.rows"), on_click=lambda: begin(False)).props("outline")
    found = view.check
    if found is None:
        ui.label(say("check.none"))
        return
    text = say("check.said", errors=found.errors, warnings=found.warnings)
    ui.label(text if found.videos else f"{text}. {say('check.no_videos')}")
    if not found.current:
        ui.label(say("check.old")).classes("armlet-problem")
    assert view.seen is not None
    ui.link(say("card"), address("card", view.seen.place.key), new_tab=True)
    rows = [
        {
            "id": at,
            "severity": one.severity,
            "code": one.code,
            "subject": one.subject,
            "said": one.said,
            "fix": one.fix,
        }
        for at, one in enumerate(found.remarks)
    ]
    view.table(("severity", "code", "subject", "said", "fix"), rows, "id")


def show_statistics(view: View) -> None:
    """The stored statistics; computed again, as `armlet dataset stats` does."""
    with ui.row():
        ui.button(
            view.say("datasets.statistics.again"),
            on_click=lambda: _recount(view),
        )
        ui.button(
            view.say("datasets.statistics.write"),
            on_click=lambda: view.edits.do(view.order(Verb.STATS)),
        ).props("outline")
    place = ui.column().classes("full-width")

    async def fill() -> None:
        assert view.seen is not None
        key = view.seen.place.key
        try:
            found = await run.io_bound(lambda: statistics(view.desk.library.open(key)))
        except (DatasetError, LibraryError, OSError) as error:
            with place:
                ui.label(said(error)).classes("armlet-problem")
            return
        rows = [
            {
                "id": at,
                "feature": one.feature,
                "element": one.element,
                "unit": one.unit,
                **{name: f"{one.values[name]:.4g}" for name in _NUMBERS if name in one.values},
            }
            for at, one in enumerate(found)
        ]
        columns = [
            {"name": name, "label": view.say(f"datasets.{name}"), "field": name, "align": "left"}
            for name in ("feature", "element", "unit")
        ]
        columns += [{"name": name, "label": name, "field": name} for name in _NUMBERS]
        with place:
            ui.table(columns=columns, rows=rows, row_key="id", pagination=20).classes("full-width")

    ui.timer(0.05, fill, once=True)


async def _recount(view: View) -> None:
    job = await view.edits.over(view.order(Verb.STATS))
    if job is not None:
        view.edits.show(job)


def show_compare(view: View) -> None:
    """This dataset beside another one."""
    assert view.seen is not None
    key = view.seen.place.key
    others = {one.place.key: one.place.name for one in view.listed if one.place.key != key}
    lines: list[Line] = []

    def draw(only: bool) -> None:
        place.clear()
        shown = [line for line in lines if line.differs or not only]
        with place:
            if not any(line.differs for line in lines):
                ui.label(view.say("datasets.same"))
            rows = [
                {
                    "id": at,
                    "item": f"{line.part}: {line.item}",
                    "first_one": line.first,
                    "second_one": line.second,
                    "differs": "≠" if line.differs else "",
                }
                for at, line in enumerate(shown)
            ]
            view.table(("differs", "item", "first_one", "second_one"), rows, "id")

    async def choose(other: Any) -> None:
        if other not in others:
            return
        library = view.desk.library
        try:
            lines[:] = await run.io_bound(lambda: compare(library.open(key), library.open(other)))
        except (DatasetError, LibraryError, OSError) as error:
            view.notify(said(error))
            return
        draw(bool(only.value))

    with ui.row().classes("items-center"):
        ui.select(
            others, label=view.say("datasets.other"), on_change=lambda e: choose(e.value)
        ).style("min-width: 20rem")
        only = ui.checkbox(
            view.say("datasets.only_differences"), value=True, on_change=lambda e: draw(e.value)
        )
    place = ui.column().classes("full-width")


def show_merge(view: View) -> None:
    """This dataset and others as a new one, in the folder that this one was found in."""
    assert view.seen is not None
    place = view.seen.place
    others = {one.place.key: one.place.name for one in view.listed if one.place.key != place.key}
    chosen = ui.select(others, multiple=True, label=view.say("datasets.merge_with"))
    chosen.style("min-width: 20rem").props("use-chips")
    name = ui.input(view.say("datasets.merge_name")).style("min-width: 20rem")

    async def merge() -> None:
        library = view.desk.library
        folder = int(place.key.partition("/")[0])

        def order() -> Order:
            roots = [library.place(key).root for key in (place.key, *chosen.value)]
            output = library.new_place(folder, str(name.value))
            return Order(Verb.MERGE, tuple(map(str, roots)), output=str(output))

        made = view.begun(order)
        if made is not None and await view.edits.do(made, "sources_stay") is not None:
            await view.look()

    ui.button(view.say("datasets.merge"), icon="merge", on_click=merge)
