"""The console in a real browser, beside real graphs on the emulated bench.

What was pressed is judged by the dataset, and by what the driver reads and publishes.
"""

import re
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import chromium
import pytest
from awaited import wait_until
from chromium import Chromium

sys.path.insert(0, str(Path(__file__).parents[1] / "nodes"))
pytest.importorskip("rclpy", reason="ROS 2 is not installed")
pytest.importorskip("nicegui", reason="the console extra is not installed")
from node_processes import SLOW_HZ, flowing_graph

from armlet.datasets import Dataset
from armlet.datasets.check import integrity
from armlet.datasets.format import layout

if _missing := chromium.missing():
    pytest.skip(_missing, allow_module_level=True)

pytestmark = [
    pytest.mark.thorough,
    pytest.mark.wall_clock(seconds=90),
    pytest.mark.timeout(2400),  # a browser and a graph, on a computer that others use
]

SIZE = {"width": "64", "height": "48"}
ROWS = 10
BOARD = "document.getElementById('armlet-board')"
ROWS_SHOWN = f"Number({BOARD}.querySelector('small').textContent.match(/(\\d+) rows/)[1])"


@contextmanager
def console(folder, *words):
    """`armlet console` as a person starts it; its address."""
    log = folder / "console.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "armlet.cli.main", "console", "--port=0", *map(str, words)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        address = r"armlet console: (http://127.0.0.1:\d+/)"
        wait_until(lambda: re.search(address, log.read_text()), "console", process, log.read_text)
        yield re.search(address, log.read_text())[1]
        assert "Traceback" not in log.read_text(), log.read_text()
    finally:
        process.terminate()
        process.wait(chromium.GUARD_S)


def pressed(name):
    """The button of the page Record that is a key of `armlet session`."""
    return f"document.querySelector('.record-page button[data-key={name}]')"


def test_episodes_are_recorded_discarded_and_reviewed(tmp_path):
    """In two browsers that show the same, one of which is reloaded in the middle of an episode."""
    root = tmp_path / "datasets" / "cube"
    root.parent.mkdir()
    given = {**SIZE, "min_episode_s": "0.1", "real_time_factor": "0.5", "root": str(root)}
    with (
        console(tmp_path, "--datasets", root.parent) as address,
        Chromium(tmp_path) as browser,
        flowing_graph("record", SLOW_HZ, **given) as graph,
    ):
        graph.wait("actions", lambda: graph.seen.count("action") > 3)
        page, other = (browser.open(f"{address}record") for _ in range(2))
        records_three_discards_one(page, other, root)
        reviews_the_last(page, root)
        page.key("x", "KeyX")
        graph.wait_for_status("servo_bus: bus", "not armed")
    assert integrity.check(root) == []


def shows(page, state, more="true"):
    page.until(f"{state} {more}", f"{BOARD}.dataset.state === '{state}' && ({more})")


def shows_rows(page, number, rows=ROWS):
    """That it records an episode, and has so many rows of it."""
    episode = f"{BOARD}.innerText.includes('episode {number} ·')"
    shows(page, "recording", f"{episode} && {ROWS_SHOWN} >= {rows}")


def saved(root):
    return len(Dataset(root).episodes) if (root / "meta" / "info.json").exists() else 0


def records_three_discards_one(page, other, root):
    for shown in (page, other):
        shows(shown, "ready")
    page.click(pressed("start"))
    shows_rows(page, 0)
    page.reload()
    rows = page.value(f"{BOARD} ? {ROWS_SHOWN} : 0")
    shows_rows(page, 0, max(rows, ROWS) + 5)
    shows_rows(other, 0)
    other.key(" ", "Space", 32)
    for shown in (page, other):
        shows(shown, "ready")
    assert saved(root) == 1
    page.click(pressed("s"))
    page.until("its label", "document.body.innerText.includes('Label of episode 0: success')")
    page.click(pressed("start"))
    shows_rows(other, 1)
    other.click(pressed("d"))
    for shown in (page, other):
        shows(shown, "ready")
    assert saved(root) == 1, "what was discarded is not there"
    page.click(pressed("start"))
    shows_rows(page, 1)
    page.click(pressed("stop"))
    for shown in (page, other):
        shows(shown, "ready", "document.body.innerText.includes('2 episodes')")
    lengths = [episode.length for episode in Dataset(root).episodes]
    assert len(lengths) == 2 and lengths[0] > rows and min(lengths) >= ROWS
    assert [layout.load_notes(root, k).get("success") for k in range(2)] == [True, None]


def reviews_the_last(page, root):
    """At once, on the page on which it was recorded: its pictures, at every row."""
    slider = "document.querySelector('armlet-scrubber .scrubber-time')"
    last = Dataset(root).episodes[-1].length - 1
    page.until("its time", f"{slider}.max === '{last}'")
    videos = "[...document.querySelectorAll('video')]"
    page.until("its videos", f"{videos}.length === 2 && {videos}.every((v) => v.readyState > 1)")
    page.value(f"{slider}.focus()")
    page.key("End", "End", 35)
    page.until("its end", f"{slider}.value === '{last}'")
    end_s = f"(v) => v.currentTime > {last / 30 - 0.1}"
    page.until("its last pictures", f"{videos}.every({end_s})")
