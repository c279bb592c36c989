"""What `armlet demo` says at its end."""

import shutil
import sys
from pathlib import Path

import pytest

from armlet import one_graph
from armlet.cli import main
from armlet.demo import demo, stages

pytest.importorskip("torch", reason="the policy extra is not installed")


@pytest.mark.parametrize("found", [True, False])
def test_a_demo_ends_with_what_to_try_next(found, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "prefix", str(tmp_path / ".venv"))
    monkeypatch.setattr(shutil, "which", lambda name: name if found else None)
    monkeypatch.setattr(demo, "prepare", lambda plan: None)
    monkeypatch.setattr(stages, "whole_demo", lambda plan, picture, terminal: "the report")
    assert main.main(["demo"]) == 0
    report, _, first, second = capsys.readouterr().out.splitlines()
    assert report == "the report"
    assert ("source .venv/bin/activate, then armlet up sim" in first) is not found
    for said, page in ((first, "first-demo.md"), (second, "first-arm.md")):
        assert page in said
        assert (Path(__file__).parents[2] / "docs/tutorials" / page).is_file()


def test_a_demo_runs_where_no_graph_does(monkeypatch):
    everywhere_else = frozenset(range(1, demo.DOMAINS + 1)) - {7}
    monkeypatch.setattr(one_graph, "domains_in_use", lambda: everywhere_else)
    monkeypatch.setattr(demo.os, "getpid", lambda: 12)
    assert demo._free_domain() == 7
