"""The page of trials as browsers would use it, without one."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

pytest.importorskip("nicegui", reason="the console extra is not installed")
from nicegui import ElementFilter, ui
from nicegui.testing.user_simulation import user_simulation

sys.path.insert(0, str(Path(__file__).parent))
from test_console_trials import BY_HAND, HOSTILE, OTHER, PLAN, Driver, kept, trial

from armlet.console.page import Setting, Visit
from armlet.console.pages import evaluate as page
from armlet.console.trials.hand import HandDesk, Phase
from armlet.console.trials.shelf import Shelf
from armlet.console.words import Language, Words
from armlet.evaluation.trials.by_hand import Judged
from armlet.evaluation.trials.results import read_trials

TRIES = 4000


@pytest.fixture(autouse=True)
def nothing_failed_behind_the_page(caplog):
    """The library logs what is raised where nobody waits."""
    yield
    assert [one.getMessage() for one in caplog.records if one.levelname == "ERROR"] == []


@pytest.fixture
def folder(tmp_path):
    """Two policies, of which one was better; the other side has hostile words."""
    kept(tmp_path / "cube" / "A", PLAN, [trial(seed, seed > 7) for seed in range(10)])
    b = [trial(seed, note=HOSTILE if seed == 3 else "") for seed in range(10)]
    kept(tmp_path / "cube" / "B", OTHER, b)
    return tmp_path


def shown(
    folder: Path,
    then: Callable[..., Awaitable[None]],
    language=Language.EN,
    driver: Driver | None = None,
) -> None:
    """The page of a folder's trials, as often as it is opened, and what people do on it."""
    views: list[page.View] = []
    shelf = Shelf((folder,))
    found = Judged(BY_HAND, "f" * 64)
    desk = HandDesk(driver or Driver(), shelf, lambda task, checkpoint: found, watched=False)

    def root() -> None:
        view = page.View(Visit(Words(language), Setting(None, trials=(folder,))), shelf, desk)
        view.build()
        views.append(view)

    async def run() -> None:
        async with user_simulation(root) as user:
            await user.open("/")
            await until(lambda: bool(views[-1].hand._places))
            await then(user, views, desk)
        desk.close()

    asyncio.run(run())


async def until(true: Callable[[], bool]) -> None:
    for _ in range(TRIES):
        if true():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("it did not come to that")


def texts(user) -> str:
    with user:
        return "\n".join(str(label.text) for label in ElementFilter(kind=ui.label))


def test_rates_a_comparison_and_each_trial_are_shown_and_filtered(folder):
    async def then(user, views, desk) -> None:
        view = views[-1]
        await until(lambda: view.report is not None and "is better" in texts(user))
        said = texts(user)
        assert "cube · B is better: of 10 trials that both did" in said and "p 0.0078" in said
        with user:
            results = next(iter(ElementFilter(kind=ui.table)))
        rows = {row["what"]: (row["A"], row["B"]) for row in results.rows}
        assert rows["success rate"] == ("20.0%", "100.0%")
        assert rows["95% interval (Wilson)"] == ("5.7% to 51.0%", "72.2% to 100.0%")
        assert len(view._table.rows) == 20
        view._narrow(labels=frozenset([page.Label.FAILURE]))
        assert [row["seed"] for row in view._table.rows] == list(range(8))
        view._narrow(labels=frozenset(), noted=True)
        (row,) = view._table.rows
        assert row["note"].startswith("<img")
        with user:
            for kind in (ui.html, ui.markdown):
                assert not any("<img" in str(e._props) for e in ElementFilter(kind=kind))
        view._narrow(noted=False)
        view._dispute(True)
        assert {row["seed"] for row in view._table.rows} == set(range(8))

    shown(folder, then)


def test_a_person_judges_trials_and_a_reload_and_another_browser_show_the_same(folder):
    driver = Driver()

    def trials():
        return read_trials(folder / "mine" / "A")

    async def then(user, views, desk) -> None:
        await until(lambda: "Begin a series" in buttons(user))
        views[-1].hand._typed |= {"name": "mine", "task": "cube", "count": 2}
        user.find("Begin a series").click()
        await until(lambda: desk._standing.phase is Phase.READY)
        await until(lambda: "Trial 0: set the scene" in texts(user))
        user.find("Let the policy drive").click()
        await until(lambda: desk._standing.phase is Phase.DRIVING)
        await user.open("/")  # a reload in the middle of a trial
        await until(lambda: "Trial 0: the policy drives" in texts(user))
        assert driver.running and driver.begun == 1
        views[-1].hand._typed["note"] = HOSTILE
        user.find("It failed").click()
        await until(lambda: desk._standing.phase is Phase.READY)
        # The first one still shows the buttons of a trial that is over.
        await asyncio.to_thread(desk.take_back, desk._standing.revision, 0)
        await until(lambda: "Trial 0: set the scene" in texts(user))
        assert trials() == []
        user.find("Let the policy drive").click()
        await until(lambda: desk._standing.phase is Phase.DRIVING)
        await until(lambda: "Trial 0: the policy drives" in texts(user))
        user.find("It succeeded").click()
        await until(lambda: len(trials()) == 1 and desk._standing.phase is Phase.READY)
        await until(lambda: "Kept; the arm holds" in texts(user))
        await until(lambda: "Undo the label of trial 0" in buttons(user))

    shown(folder, then, driver=driver)
    (one,) = trials()
    assert one.success and one.note == ""


def buttons(user) -> str:
    with user:
        return "\n".join(str(button.text) for button in ElementFilter(kind=ui.button))


@pytest.mark.thorough
def test_it_is_filled_in_chinese_too_and_without_trials(folder, tmp_path_factory):
    async def then(user, views, desk) -> None:
        await until(lambda: views[-1].report is not None and "更好" in texts(user))

    shown(folder, then, Language.ZH)

    async def nothing(user, views, desk) -> None:
        await until(lambda: "No trials here" in texts(user))

    shown(tmp_path_factory.mktemp("empty"), nothing)


def test_no_text_of_a_trial_can_become_html():
    files = list(Path(page.__file__).parent.glob("evaluate*.py"))
    assert len(files) == 2
    for path in files:
        for word in ("innerHTML", "ui.html", "ui.markdown", "run_javascript"):
            assert word not in path.read_text(), path
