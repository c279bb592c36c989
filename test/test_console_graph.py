"""`console:=true`: the console beside a graph, which needs nothing of it."""

import importlib.util
import os
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

import pytest

from armlet.bringup import GRAPHS, BringupError, command, graph, share_directory
from armlet.datasets import Dataset
from armlet.launch_scope import Scope
from armlet.security.rights import enclaves
from armlet.start_check import check

CALIBRATION = str(share_directory() / "config" / "calibration" / "emulated_follower.json")
GIVEN = {
    "robot": "none",
    "follower_calibration": CALIBRATION,
    "leader_calibration": CALIBRATION,
    "root": "/nowhere/cube",
    "checkpoint": str(share_directory() / "checkpoints" / "reach"),
}
SHOWN = {"console_datasets": "/nowhere", "console_trials": "/nowhere/evals"}
# By the wall clock, so generous: no computer is that busy.
GUARD_S = 120.0


@pytest.fixture
def library(tmp_path, monkeypatch):
    """The console's library, as far as can be seen from outside."""
    if importlib.util.find_spec("nicegui") is None:
        (tmp_path / "nicegui.py").touch()
        monkeypatch.syspath_prepend(str(tmp_path))


def nodes_of(name, **given):
    known = {argument.name for argument in graph(name).arguments}
    fitting = {key: value for key, value in GIVEN.items() if key in known}
    nodes = graph(name).nodes({**fitting, **given})
    check(nodes)
    return nodes


def consoles(nodes):
    return [spec for spec in nodes if spec.beside]


@pytest.mark.parametrize("name", GRAPHS)
def test_every_graph_has_a_console_that_it_does_not_need(name, library, tmp_path):
    assert consoles(nodes_of(name)) == [], "it costs nothing when it is off"
    nodes = nodes_of(
        name, console="true", console_port="0", namespace="cell", respawn="true", **SHOWN
    )
    (console,) = consoles(nodes)
    assert nodes[-1] is console, "who is needed starts first"
    assert not console.required and not console.respawn
    line = command(console, tmp_path)
    words = line[line.index("armlet.cli.main") :]
    assert words[1:] == [
        "console",
        "--port=0",
        *(
            ["--recorded=/nowhere/cube"]
            if name not in ("brain", "teleop", "jog", "follower")
            else []
        ),
        *("--datasets=/nowhere", "--trials=/nowhere/evals"),
        *("--namespace", "cell"),
    ]
    assert not list(tmp_path.glob("*.yaml")), "it has no parameters"


def test_a_launch_files_namespace_is_the_consoles_too(library, tmp_path):
    scope = Scope("hall")
    given = {key: value for key, value in GIVEN.items() if key != "checkpoint"}
    arguments = scope.arguments({**given, "console": "true", "namespace": "cell"})
    nodes, notes = scope.around(graph("record").nodes(arguments))
    (console,) = consoles(nodes)
    assert command(console, tmp_path)[-2:] == ["--namespace", "hall/cell"] and not notes


def test_simulated_time_does_not_wait_for_it(library):
    nodes = nodes_of("record", emulated="true", console="true")
    (console,) = consoles(nodes)
    assert not console.parameters
    (bench,) = [spec for spec in nodes if spec.executable == "sim_bench"]
    assert "console" not in bench.parameters["participants"]


def test_it_is_a_persons_program_to_the_security_of_a_graph(library):
    """It is in the operator's enclave, as every program of a person."""
    found = enclaves(nodes_of("record", console="true"))
    assert "/console" not in [each.path for each in found]
    assert "/operator" in [each.path for each in found]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"console_port": "65536"}, "console_port: expected 0 to 65535, found 65536"),
        ({"console_port": "-1"}, "console_port: expected 0 to 65535, found -1"),
        ({"console_port": "web"}, "console_port must be a whole number, found 'web'"),
    ],
)
def test_a_port_that_is_none_is_refused_before_anything_starts(library, given, said):
    with pytest.raises(BringupError, match=re.escape(said)):
        nodes_of("record", console="true", **given)


def test_without_its_library_it_is_refused_before_anything_starts(monkeypatch):
    monkeypatch.setitem(sys.modules, "nicegui", None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BringupError, match=r"^console: .*pip install 'armlet\[console\]'"):
        nodes_of("record", console="true")


# --- on a real graph ------------------------------------------------------------------------------


class Up:
    """`armlet up record` with its console, and what it says."""

    def __init__(self, root, folder, port):
        words = ("up", "record", "emulated:=true", f"root:={root}", "task:=wave", "console:=true")
        own = (f"console_port:={port}", f"bench_directory:={folder}", "width:=64", "height:=48")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "armlet.cli.main", *words, *own],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines = []
        self._said = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.append(line)
            self._said.put(line)
        self._said.put(None)

    def wait_for(self, pattern):
        while (line := self._said.get(timeout=GUARD_S)) is not None:
            if found := re.search(pattern, line):
                return found
        raise AssertionError("".join(self.lines))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(GUARD_S)


def children(pid):
    """The processes that a process has started, with their command lines."""
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        yield int(child), Path(f"/proc/{child}/cmdline").read_text().split("\0")


def await_view(graph, true):
    asked = threading.Event()
    for _ in range(round(GUARD_S / 0.05)):
        if true(view := graph.view()):
            return view
        asked.wait(0.05)
    raise AssertionError(graph.view())


def begin_to_record(graph):
    """Just after the start there may be no whole frame yet; then it is asked for again."""
    for _ in range(50):
        before = graph.view().answers
        graph.press(" ")
        view = await_view(graph, lambda view, before=before: view.answers != before)
        if view.answers[-1].level == "good":
            return
    raise AssertionError(view)


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0)) as place:
        yield place


@pytest.mark.thorough
@pytest.mark.parametrize("end", ["killed", "cannot listen"])
def test_a_console_that_dies_costs_the_graph_nothing_but_a_line(
    end, tmp_path, private_domain, listener
):
    """A missing row would refuse the episode that is recorded meanwhile."""
    pytest.importorskip("nicegui", reason="the console extra is not installed")
    from armlet.client.recording import RecordGraph

    port = listener.getsockname()[1] if end == "cannot listen" else 0
    with Up(tmp_path / "cube", tmp_path / "bench", port) as up:
        if end == "killed":
            address = up.wait_for(r"\[console\] armlet console: (http://127.0.0.1:\d+/)")[1]
            with urllib.request.urlopen(address, timeout=GUARD_S) as page:
                assert b"armlet" in page.read()
        with RecordGraph() as graph:
            await_view(graph, lambda view: view.recorder.get("can_record") == "True")
            begin_to_record(graph)
            await_view(graph, lambda view: int(view.recorder.get("open_frames", 0)) > 5)
            if end == "killed":
                (pid,) = [pid for pid, words in children(up.process.pid) if "console" in words]
                os.kill(pid, signal.SIGKILL)
            else:
                said = up.wait_for(r"\[console\] .*cannot listen.*port")
                assert len(re.findall("\n", said.string)) == 1
            up.wait_for(r"console ended with status .*; the other nodes keep running")
            seen = int(graph.view().recorder["open_frames"])
            await_view(graph, lambda view: int(view.recorder["open_frames"]) > seen + 30)
            graph.press(" ")
            await_view(graph, lambda view: view.recorder.get("episodes") == "1")
        up.process.terminate()
        assert up.process.wait(GUARD_S) == 0, "".join(up.lines)
    assert len(Dataset(tmp_path / "cube").episodes) == 1


@pytest.mark.thorough
def test_it_ends_with_its_graph(tmp_path, private_domain):
    pytest.importorskip("nicegui", reason="the console extra is not installed")
    with Up(tmp_path / "cube", tmp_path / "bench", 0) as up:
        address = up.wait_for(r"\[console\] armlet console: (http://127.0.0.1:\d+/)")[1]
        up.process.terminate()
        assert up.process.wait(GUARD_S) == 0, "".join(up.lines)
    with pytest.raises(OSError):
        urllib.request.urlopen(address, timeout=GUARD_S)
