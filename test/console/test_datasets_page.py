"""The page of datasets as a browser would use it, without one."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("nicegui", reason="the console extra is not installed")
from nicegui import ElementFilter, ui
from nicegui.testing.user_simulation import user_simulation

sys.path.insert(0, str(Path(__file__).parents[1] / "datasets"))
from made_episodes import CONTRACT, QUICK, made, record

from armlet.console.page import Setting, Visit
from armlet.console.pages import datasets as page
from armlet.console.words import Language, Words
from armlet.datasets import Dataset, DatasetWriter
from armlet.datasets.transform import edits

HOSTILE = "<img src=x onerror=alert(1)>"
TRIES = 4000


@pytest.fixture(autouse=True)
def nothing_failed_behind_the_page(caplog):
    """The library logs what is raised where nobody waits."""
    yield
    assert [one.getMessage() for one in caplog.records if one.levelname == "ERROR"] == []


@pytest.fixture(scope="module")
def source() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=QUICK) as name:
        yield made(Path(name) / "cube", (5, 3, 4))


@pytest.fixture
def cube(source) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=QUICK) as name:
        yield shutil.copytree(source, Path(name) / "cube")


def shown(folder: Path, then: Callable[..., Awaitable[None]], language=Language.EN) -> None:
    """The page of a folder's datasets, and what a person does on it."""
    views: list[page.View] = []

    def root() -> None:
        setting = Setting(None, (folder,))
        page._served.desk = page.Desk.of(setting.datasets)
        view = page.View(Visit(Words(language), setting), page._served.desk)
        view.build()
        views.append(view)

    async def run() -> None:
        async with user_simulation(root) as user:
            await user.open("/")
            await until(lambda: views[-1].seen is not None)
            await then(user, views[-1])
            views[-1].desk.jobs.close()

    asyncio.run(run())


async def until(true: Callable[[], bool]) -> None:
    for _ in range(TRIES):
        if true():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("it did not come to that")


def texts(user) -> list[str]:
    with user:
        return [str(label.text) for label in ElementFilter(kind=ui.label)]


def test_episodes_are_shown_filtered_and_deleted_once_confirmed(cube):
    edits.relabel(cube, HOSTILE, [1])

    async def then(user, view) -> None:
        assert [row["length"] for row in view._table.rows] == [5, 3, 4]
        assert view._table.rows[1]["task"] == HOSTILE
        assert "episode=0" in view._scrubber._props["src"]
        # Text of a dataset is in no element that shows HTML.
        with user:
            for kind in (ui.html, ui.markdown):
                assert not any(HOSTILE in str(e._props) for e in ElementFilter(kind=kind))
        view.filter = page.Filter(longest_s=0.14)
        view._show_episodes()
        assert [row["number"] for row in view._table.rows] == [1, 2]
        view._table.selected = [view._table.rows[1]]
        user.find("Delete…").click()
        await until(lambda: "delete episodes 2" in texts(user))
        assert len(Dataset(cube).episodes) == 3
        user.find("Do it").click()
        await until(lambda: view.seen is not None and len(view.seen.episodes) == 2)
        assert [one.length for one in Dataset(cube).episodes] == [5, 3]

    shown(cube, then)


def test_an_episode_that_the_address_names_is_shown_at_first(cube):
    async def then(user, view) -> None:
        view.asked = view.seen.place.key, 2
        view._choice.value = None
        await until(lambda: view.seen is None)
        await view.look()
        await until(lambda: view.seen is not None and view.episode == 2)
        assert "episode=2" in view._scrubber._props["src"] and view.asked is None

    shown(cube, then)


def test_no_text_of_a_dataset_can_become_html():
    """The page and its script have nothing that parses text as such."""
    console = Path(page.__file__).parents[1]
    files = [*console.glob("pages/datasets*.py"), console / "static/scrubber.js"]
    assert len(files) == 4
    for path in files:
        for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "ui.html"):
            assert word not in path.read_text(), path
        assert "ui.markdown" not in path.read_text()


@pytest.mark.thorough
def test_the_page_and_its_server_load_no_ros():
    script = (
        "import sys\n"
        "import armlet.console.server, armlet.console.shell, armlet.console.pages.datasets\n"
        "assert 'rclpy' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=240)


@pytest.mark.thorough
def test_a_refused_edit_says_the_commands_sentence_and_changes_nothing(cube):
    async def then(user, view) -> None:
        view._table.selected = list(view._table.rows)
        user.find("Delete…").click()
        await user.should_see("these are all 3 episodes", retries=TRIES // 2)
        assert len(Dataset(cube).episodes) == 3

    shown(cube, then)


@pytest.mark.thorough
def test_the_episode_that_was_just_recorded_comes_by_itself(cube):
    async def then(user, view) -> None:
        with DatasetWriter(cube, CONTRACT) as writer:
            record(writer, 2)
            await until(lambda: len(view.seen.episodes) == 4)
            assert view._episode == 0
            view._follow(SimpleNamespace(value=True))
            assert view._episode == 3
            record(writer, 2)
            await until(lambda: view._episode == 4)

    shown(cube, then)


@pytest.mark.thorough
def test_every_tab_is_filled_in_chinese_too(cube):
    async def then(user, view) -> None:
        for tab in ("check", "statistics", "compare", "merge"):
            view._tab = tab
            view._build_body()
            await asyncio.sleep(0.2)  # what it reads from the disk, if it comes
        view._tab = "check"
        view._build_body()
        user.find("仅检查数据行").click()
        await until(lambda: view.check is not None)
        assert any(one.codes for one in view.seen.episodes)
        assert view.check.current

    shown(cube, then, Language.ZH)
