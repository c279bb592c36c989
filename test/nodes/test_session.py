"""`armlet session` at a terminal beside a running record graph."""

import sys
from pathlib import Path

import pytest
from node_processes import flowing_graph

from armlet.episodes import Dataset

sys.path.append(str(Path(__file__).parents[1] / "cli"))
from terminal_session import CTRL_C, TerminalSession


@pytest.fixture
def graph(tmp_path):
    given = {"width": "64", "height": "48", "min_episode_s": "0.1"}
    with flowing_graph("record", root=str(tmp_path / "dataset"), **given) as graph:
        graph.wait("actions", lambda: graph.seen.count("action") > 3)
        yield graph


def test_a_person_records_discards_and_stops_the_arm_by_keys(graph, tmp_path):
    with TerminalSession("session", columns=100, rows=30) as session:
        session.wait_for("idle · 0 episodes")
        session.wait_for("following joint_commands")
        session.send(" ")
        session.wait_for("RECORDING episode 0")
        session.wait_for(r"[1-9]\d frames", regex=True)
        session.send("r")
        session.wait_for("rerecord_episode")
        session.wait_for(r"[1-9]\d frames", regex=True)
        session.send(" ")
        session.wait_for("idle · 1 episodes")
        session.send("x")
        session.wait_for("not armed")
        session.send("t")
        session.wait_for("following joint_commands")
        session.send("q")
        assert session.wait_end() == 0
    assert len(Dataset(tmp_path / "dataset").episodes) == 1


def test_without_a_graph_it_says_what_it_waits_for():
    with TerminalSession("session") as session:
        session.wait_for("waiting for the recorder")
        session.send(" ")
        session.wait_for("is that node running?")
        session.send(CTRL_C)
        assert session.wait_end() == 0
