"""The page Record as a browser would use it, without one: what is pressed, what is shown."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("nicegui", reason="the console extra is not installed")
from nicegui import ElementFilter, ui
from nicegui.testing.user_simulation import user_simulation
from test_board import HOSTILE, RECORDING, seen

sys.path.insert(0, str(Path(__file__).parents[1] / "datasets"))
from made_episodes import QUICK, made

from armlet.client.series import Series
from armlet.client.sight import Sight
from armlet.console.page import Setting, Visit
from armlet.console.pages import found
from armlet.console.pages import record as page
from armlet.console.review.desk import Desk
from armlet.console.words import Language, Words

TRIES = 4000


class Graph:
    """A graph that says what a test has it say, and notes what it is asked for."""

    has_leader = has_bench = True

    def __init__(self, **values):
        self.keys, self.wishes, self.now_s, self.stops = [], [], 0.0, 2
        self._series = Series()
        self.say(**values)

    def say(self, **values):
        self._seen = seen(**values)

    def view(self):
        return self._seen

    def sight(self):
        return Sight(cameras=("front",))

    def series(self):
        return self._series.view(self.now_s)

    def press(self, key, stops=None):
        self.keys.append((key, stops))

    def wish(self, wish):
        self.wishes.append(wish)

    def run_series(self, reset_s):
        self._series.begin(reset_s, self.now_s)

    def end_series(self):
        self._series.end("asked")


@pytest.fixture(autouse=True)
def nothing_failed_behind_the_page(caplog):
    """The library logs what is raised where nobody waits."""
    yield
    assert [one.getMessage() for one in caplog.records if one.levelname == "ERROR"] == []


def shown(graph, then, language=Language.EN, folders=(), recorded=None):
    """The page beside a graph, and what a person does on it; each look is a call of `show`."""
    views = []

    def root():
        view = page.View(Visit(Words(language), Setting(graph, folders, recorded=recorded)))
        view.build()
        views.append(view)

    async def run():
        async with user_simulation(root) as user:
            await user.open("/")
            await views[-1].show()
            await then(user, views[-1])

    asyncio.run(run())


def shows(view):
    return view._headline.content


def test_it_stands_between_live_and_datasets():
    codes = [page.code for page in found()]
    assert codes.index("live") < codes.index("record") < codes.index("datasets")


def test_buttons_and_keys_do_what_the_session_does_and_a_reload_shows_the_same():
    graph = Graph(saved="")

    async def then(user, view):
        assert "READY" in shows(view) and view._buttons["start"].enabled
        assert not any(view._buttons[name].enabled for name in ("stop", "d", "r", "s", "f"))
        assert 'data-state="ready"' in shows(view) and 'data-stops="2"' in shows(view)
        graph.say(**RECORDING)
        await view.show()
        assert "RECORDING" in shows(view) and "375 rows" in shows(view)
        assert not view._buttons["start"].enabled and view._buttons["stop"].enabled
        assert all(each._props["data-key"] == name for name, each in view._buttons.items())
        view.press({"key": "d", "shown": "recording", "stops": "2"})
        view.press({"key": " ", "shown": "recording", "stops": "1"})
        # What a browser sends is nothing to rely on.
        for args in ({"key": "t"}, {"key": "x"}, {"key": ["d"]}, None, "d"):
            view.press(args)
        assert graph.keys == [("d", 2), ("stop", 1), ("t", -1)]
        graph.say(state="failed", failure="gap", failures="1", said="2 frames are missing")
        await view.show()
        assert "NOT RECORDED" in shows(view) and view._buttons["stop"].text == "Go on"
        await user.open("/")

    shown(graph, then)

    async def again(user, view):
        assert "RECORDING" in shows(view) and "375 rows" in shows(view)

    graph.say(**RECORDING)
    shown(graph, again)


def test_fields_show_what_the_recorder_has_and_wish_for_what_was_typed():
    graph = Graph()

    async def then(user, view):
        assert [view._fields[name].value for name in ("task", "wanted", "episode_s")] == [
            "pick the cube",
            10,
            20.0,
        ]
        view.set()
        assert graph.wishes == []
        view._fields["task"].value = "pick the sponge"
        graph.say(episodes_wanted="12")  # in another browser
        await view.show()
        assert view._fields["wanted"].value == 12
        assert view._fields["task"].value == "pick the sponge"
        view.set()
        assert [wish.parameters() for wish in graph.wishes] == [{"task": "pick the sponge"}]
        view._fields["wanted"].value = -1
        view.set()
        await user.should_see("expected 0 to 1000000, found -1")
        assert len(graph.wishes) == 1

    shown(graph, then)


def test_a_series_is_the_graphs_and_not_a_browsers():
    graph = Graph()

    async def then(user, view):
        view._reset.value = 7
        user.find(kind=ui.button, content="Begin series").click()
        assert graph.series().reset_s == 7
        await view.show()
        assert "RESET THE SCENE" in shows(view) and "7 s" in shows(view)

    shown(graph, then)

    async def other(user, view):
        assert "7 s" in shows(view)
        user.find(kind=ui.button, content="End series").click()
        await view.show()
        assert "READY" in shows(view) and view._series.text == "The series was ended"

    shown(graph, other)


def test_text_from_outside_is_escaped_on_the_page():
    graph = Graph(task=HOSTILE, root=f"/{HOSTILE}", arm=HOSTILE, said=HOSTILE, can_record="False")

    async def then(user, view):
        with user:
            places = [str(each.content) for each in ElementFilter(kind=ui.html)]
        assert sum("&lt;img" in content for content in places) >= 2
        assert not any(HOSTILE in content for content in places)

    shown(graph, then)


def test_the_last_episode_is_shown_where_its_folder_was_named():
    with tempfile.TemporaryDirectory(dir=QUICK) as name:
        cube = made(Path(name) / "cube", (5, 3))
        graph = Graph(root=str(cube), episodes="2", saved="1")

        async def then(user, view):
            assert (view.last.number, view.last.length) == (1, 3)
            assert {one.code for one in view.last.remarks} >= {"dataset.episode-short"}
            assert "dataset.episode-short" in view._last_facts.content
            assert "episode=1" in view._scrubber._props["src"] and view._scrubber.visible

        shown(graph, then, folders=(cube.parent,))

        async def of_the_graph(user, view):
            """The graph that started the console names it: no folder has to be given."""
            key = Desk.of((cube.parent,), cube).library.look().places[0].key
            assert view.last.key == key and view._scrubber.visible

        shown(graph, of_the_graph, recorded=cube)
        shown(graph, of_the_graph, folders=(cube.parent,), recorded=cube)

        async def elsewhere(user, view):
            assert view.last is None and not view._scrubber.visible
            assert f"armlet console --datasets {name}" in view._last_facts.content

        shown(graph, elsewhere)


@pytest.mark.thorough
def test_it_is_all_in_chinese_too_and_without_a_recorder():
    graph = Graph()
    graph._seen = SimpleNamespace(**{**vars(seen()), "recorder": {}})

    async def then(user, view):
        assert "没有录制器" in shows(view)
        graph.say(**RECORDING)
        await view.show()
        assert "正在录制" in shows(view)

    shown(graph, then, Language.ZH)
