"""The table of codes: well formed, all in use, and printed in docs/findings.md."""

import ast
import re
from pathlib import Path

import pytest

import armlet
from armlet.findings import Code
from armlet.findings.page import page

PACKAGE = Path(armlet.__file__).parent
ROOT = Path(__file__).parents[2]


def attributes_of_code(path):
    """The names X of every `Code.X` in a module."""
    source = path.read_text()
    for node in ast.walk(ast.parse(source)) if "Code" in source else ():
        named = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
        if named and node.value.id == "Code":
            yield node.attr


@pytest.fixture(scope="module")
def used():
    """The names X of every `Code.X` in the package."""
    modules = (path for path in PACKAGE.rglob("*.py") if path.parent.name != "findings")
    return {name for path in modules for name in attributes_of_code(path)}


def test_every_code_is_used(used):
    assert sorted(set(Code.__members__) - used) == []


def test_every_code_that_is_used_is_in_the_table(used):
    assert sorted(used - set(Code.__members__)) == []


@pytest.mark.parametrize("code", Code, ids=str)
def test_a_code_is_well_formed_and_explained(code):
    assert re.fullmatch(r"[a-z]+\.[a-z]+(-[a-z]+)*", code)
    assert code.name == code.upper().replace(".", "_").replace("-", "_")
    for sentence in (code.meaning, code.cause, code.remedy):
        assert sentence.endswith(".") and 10 < len(sentence) < 200


def test_no_two_codes_are_the_same():
    assert len(Code.__members__) == len(list(Code)) == len({str(code) for code in Code})


def test_the_page_is_that_of_the_table():
    stored = (ROOT / "docs" / "findings.md").read_text()
    assert stored == page(), "run: python -m armlet.findings > docs/findings.md"
    assert all(f"### {code}\n" in stored for code in Code)


@pytest.mark.parametrize("source", ["Code.NO_SUCH", "[x for x in (Code.DATASET_EMPTY,)]"])
def test_a_use_is_found_wherever_it_stands(source, tmp_path):
    (tmp_path / "module.py").write_text(source)
    (found,) = attributes_of_code(tmp_path / "module.py")
    assert found in source
