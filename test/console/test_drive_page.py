"""The page of a driving policy as a browser would use it, without one."""

from __future__ import annotations

import asyncio
import json
import sys
from types import SimpleNamespace

import pytest

pytest.importorskip("nicegui", reason="the console extra is not installed")
from nicegui import ElementFilter, ui
from nicegui.testing.user_simulation import user_simulation

from armlet.client.driving import Ask, Command, Driving, Who
from armlet.console.drive.fits import Fits
from armlet.console.drive.workbench import Workbench
from armlet.console.page import Setting, Visit
from armlet.console.pages import drive as page
from armlet.console.words import Language, Words
from armlet.findings import Code, as_json, compared

HOSTILE = "<img src=x onerror=alert(1)>"
LINE = compared(Code.CONTRACT_RATE, "fps", 30, HOSTILE, "set it")
TRIES = 4000
SAYS = "import sys; print(sys.argv[1]); sys.exit(1)"


@pytest.fixture(autouse=True)
def nothing_failed_behind_the_page(caplog):
    """The library logs what is raised where nobody waits."""
    yield
    assert [one.getMessage() for one in caplog.records if one.levelname == "ERROR"] == []


class Graph:
    """A graph that notes what it is asked, and refuses it."""

    namespace = ""

    def __init__(self):
        self.keys, self.answers, self.asked = [], (), []
        self.now = Driving("policy", "refused", "no", "bad", fit=(LINE,))

    def press(self, key):
        self.keys.append(key)
        said = f"the policy does not fit: {HOSTILE}"
        self.answers = (SimpleNamespace(subject="policy/set_running", said=said, level="bad"),)

    def view(self):
        return SimpleNamespace(answers=self.answers, stopping="")

    def driving(self):
        return self.now

    def settings_of(self, node, names):
        self.asked.append(node)
        return {}


async def until(true) -> None:
    for _ in range(TRIES):
        if true():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("it did not come to that")


def shown(then, folders=(), language=Language.EN) -> None:
    """The page beside a graph, and what a person does on it."""
    graph, views = Graph(), []
    command = (sys.executable, "-c", SAYS, json.dumps({"items": [as_json(LINE)]}))

    def root() -> None:
        made = Workbench.of(folders)
        bench = Workbench(made.shelf, Fits(command), made.problem)
        view = page.View(Visit(Words(language), Setting(graph)), bench)
        view.build()
        views.append(view)

    async def run() -> None:
        async with user_simulation(root) as user:
            await user.open("/")
            await until(lambda: views[-1]._fit.content)
            await then(user, graph, views[-1])
            views[-1].bench.fits.close()

    asyncio.run(run())


def test_what_moves_the_arm_is_confirmed_and_a_refusal_says_why():
    async def then(user, graph, view) -> None:
        assert HOSTILE not in view._fit.content and "may not run" in view._policy.content
        for words, ask in (
            ("Start the policy…", Ask.RUN),
            ("Take over…", Ask.TAKE_OVER),
            ("Give back…", Ask.GIVE_BACK),
        ):
            graph.keys.clear()
            user.find(words).click()
            await user.should_see("Do it")
            assert graph.keys == []
            user.find("Cancel").click()
            assert graph.keys == []
            await user.should_not_see("Do it")
            user.find(words).click()
            await user.should_see("Do it")
            user.find("Do it").click()
            await until(lambda ask=ask: graph.keys == [ask])
            await user.should_not_see("Do it")
        user.find("Stop the policy").click()
        await until(lambda: graph.keys == [Ask.GIVE_BACK, Ask.PAUSE])
        view.show()
        assert "does not fit" in view._answers.content and HOSTILE not in view._answers.content

    shown(then)


def test_a_checkpoint_is_checked_in_a_process_and_its_lines_are_shown(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").touch()

    async def then(user, graph, view) -> None:
        await until(lambda: view._choice.value is not None)
        user.find("Check against this graph").click()
        await until(lambda: view.bench.fits.get("0/.") is not None)
        await until(lambda: view.bench.fits.get("0/.").is_over)
        view.show()
        assert graph.asked == ["policy", "servo_bus"]
        assert "would be refused" in view._chosen.content and HOSTILE not in view._chosen.content

    shown(then, (tmp_path,))


@pytest.mark.thorough
def test_nothing_is_sent_that_has_not_changed_and_chinese_is_whole():
    async def then(user, graph, view) -> None:
        view.show()
        sent = []
        for element in (view._policy, view._fit, view._plots, view._commanders, view._list):
            element.update = lambda sent=sent: sent.append(1)
        view.show()
        assert sent == []
        graph.now = Driving("policy", "running", commands=(Command("servo_bus", Who.PERSON),))
        view.show()
        assert "人" in view._commanders.content and sent
        with user:
            assert any("虚线" in e.content for e in ElementFilter(kind=ui.html))

    shown(then, language=Language.ZH)
