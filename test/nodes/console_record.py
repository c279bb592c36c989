"""A person at the console's page Record, beside a running graph: records, discards, labels.

usage: python console_record.py ROOT, the dataset that the graph's recorder writes. A process of its
own, as the console is. Ends with 0 once the page has shown all that it waits for; what is in the
dataset then is for others to judge.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from nicegui import ui
from nicegui.testing.user_simulation import user_simulation

from armlet.client.watching import WatchedGraph
from armlet.console.page import Setting, Visit
from armlet.console.pages import record as page
from armlet.console.words import Language, Words

TRIES = 6000
ROWS = 10


class Person:
    """Two browsers on the page; `view` is the one in which everything is pressed."""

    def __init__(self, user, views):
        self.user, self._views = user, views

    @property
    def view(self):
        return self._views[-1]

    @property
    def now(self):
        return self.view.now

    async def reload(self):
        await self.user.open("/")

    async def until(self, what, so):
        for _ in range(TRIES):
            await self.view.show()
            if so(self.now):
                print(what, flush=True)
                return
            await asyncio.sleep(0.05)
        raise AssertionError(f"no {what}; {self.now}; {self.view.graph.view().answers}")

    def press(self, key, **more):
        """As `record.js` sends it, with what this page shows."""
        self.view.press({"key": key, "shown": str(self.now.state), "stops": "0", **more})

    def click(self, text):
        with self.user:
            self.user.find(kind=ui.button, content=text).click()

    async def rows(self, what):
        await self.until(what, lambda now: now.state == "recording" and now.rows >= ROWS)


async def record(person):
    """What the docstring of this module says."""
    await person.until("recorder", lambda now: now.state == "ready" and now.root)
    person.press("start")
    await person.rows("first episode")
    number = person.now.episodes
    await person.reload()
    await person.rows("the same after a reload")
    assert person.now.episodes == number and "RECORDING" in person.view._headline.content
    person.press(" ")
    await person.until("first saved", lambda now: now.saved == (number,))
    # The space of somebody who still saw it recording.
    person.press(" ", shown="recording")
    await person.until("refusal", lambda now: any_answer(person, "not recording"))
    person.press("s")
    await person.until("its label", lambda now: now.success is True)
    person.press("start")
    await person.rows("one to discard")
    person.press("d")
    await person.until("discarded", lambda now: (now.state, now.rows) == ("ready", 0))
    assert person.now.episodes == number + 1
    person.view._fields["task"].value = "wave again"
    person.click("Set")
    await person.until("another task", lambda now: now.task == "wave again")
    person.press("start")
    await person.rows("one to record again")
    person.press("r")
    await person.until("begun again", lambda now: now.rows < ROWS)
    await person.rows("its rows")
    person.press("stop")
    await person.until("second saved", lambda now: now.saved == (number + 1,))
    person.press("f")
    await person.until("a failure", lambda now: now.success is False)
    person.view._fields["wanted"].value = number + 4
    person.view._fields["episode_s"].value = 0.5
    person.click("Set")
    await person.until("a plan", lambda now: (now.wanted, now.episode_s) == (number + 4, 0.5))
    person.view._reset.value = 0.3
    person.click("Begin series")
    await person.until("all of them", lambda now: now.state == "done" and not now.series.on)
    assert person.now.series.end == "done" and person.now.episodes == number + 4
    graph = person.view.graph
    graph.press("x")
    await person.until("a stop", lambda now: now.stops == 1 and "not armed" in graph.view().arm)
    person.press("t")  # it was on its way, from before the stop
    await person.until("no torque", lambda now: any_answer(person, "torque stays off"))
    person.press("t", stops="1")
    await person.until("torque", lambda now: "following" in graph.view().arm)
    last = person.view.last
    assert (last.number, last.length, last.problem) == (number + 3, 15, "")


def any_answer(person, said):
    return any(said in line.said for line in person.view.graph.view().answers)


async def main(graph, root):
    views = []

    def shown():
        view = page.View(Visit(Words(Language.EN), Setting(graph, (root.parent,))))
        view.build()
        views.append(view)

    async with user_simulation(shown) as user:
        await user.open("/")
        await record(Person(user, views))


if __name__ == "__main__":
    with WatchedGraph() as watched:
        asyncio.run(main(watched, Path(sys.argv[1])))
