"""docs/reference says what the code declares."""

import importlib.util
import sys
from pathlib import Path

import pytest

from armlet.settings import Change, Fixed

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def reference():
    """tools/reference.py as a module."""
    pytest.importorskip("torch", reason="the policy extra is not installed")
    spec = importlib.util.spec_from_file_location("reference", ROOT / "tools" / "reference.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", ["parameters.md", "commands.md", "graphs.md"])
def test_the_page_is_what_the_code_declares_now(reference, page):
    committed = (ROOT / "docs" / "reference" / page).read_text()
    assert committed == reference.PAGES[page](), "run `make reference` and commit what it wrote"


def test_there_is_no_other_page(reference):
    assert set(reference.PAGES) == {"parameters.md", "commands.md", "graphs.md"}


def test_a_parameter_is_written_with_all_that_is_declared_of_it(reference):
    setting = reference.Setting("rate_hz", 100.0, "rate | of <it>", 1.0, 400.0, change=Change.FREE)
    (row,) = reference._settings([setting])[2:]
    assert row == r"| `rate_hz` | double | `100.0` | 1 … 400 | yes | rate \| of &lt;it&gt; |"


def test_why_a_parameter_is_read_only_is_written_with_it(reference):
    setting = reference.Setting("port", "", "port", change=Fixed("it is open"))
    (row,) = reference._settings([setting])[2:]
    assert row == '| `port` | string | `""` |  | read-only: it is open | port |'


def test_what_is_not_up_to_date_is_said_and_not_written(reference, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(reference, "FOLDER", tmp_path)
    monkeypatch.setattr(reference, "PAGES", {"page.md": lambda: "new"})
    monkeypatch.setattr(sys, "argv", ["reference.py", "--check"])
    assert reference.main() == 1 and "make reference" in capsys.readouterr().out
    assert not (tmp_path / "page.md").exists()
    monkeypatch.setattr(sys, "argv", ["reference.py"])
    assert reference.main() == 0 and (tmp_path / "page.md").read_text() == "new"
