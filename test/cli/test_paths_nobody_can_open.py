"""Paths that the system refuses, a name too long or a link in a circle: one line, no trace."""

import pytest

from armlet.cli.main import main

VERBS = (
    ("dataset", "info"),
    ("dataset", "stats"),
    ("dataset", "check"),
    ("dataset", "view"),
    ("dataset", "repair"),
    ("dataset", "compact", "OUTPUT"),
    ("dataset", "convert", "OUTPUT"),
    ("dataset", "delete", "0"),
    ("policy", "inspect"),
    ("policy", "check", "--checkpoint"),
)


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: " ".join(verb[:2]))
@pytest.mark.parametrize("kind", ["too long", "a circle"])
def test_it_is_refused_in_one_line(verb, kind, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "circle").symlink_to("circle")
    path = "x" * 300 if kind == "too long" else "circle"
    option = [verb[2]] if verb[2:3] == ("--checkpoint",) else []
    words = [*verb[:2], *option, path, *(() if option else verb[2:])]
    assert main(words) in (1, 2)
    found, said = capsys.readouterr()
    if not found:  # check lists it as a finding
        assert said.startswith(f"armlet {verb[0]} {verb[1]}: ") and said.count("\n") == 1, said
