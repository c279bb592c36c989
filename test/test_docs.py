"""The pages of docs/: translated, linked to what is there, with commands that exist."""

import re
import shlex
from pathlib import Path

import pytest

from armlet.bringup import GRAPHS
from armlet.cli.main import make_parser

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), ROOT / "README.md", ROOT / "README.zh-CN.md"])
ENGLISH = [
    page
    for page in [
        DOCS / "index.md",
        DOCS / "reference" / "lerobot.md",
        *(DOCS / "tutorials").glob("*.md"),
        *(DOCS / "how-to").glob("*.md"),
    ]
    if not page.name.endswith(".zh.md")
]
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
CONSOLE = re.compile(r"^ *```console\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
CHINESE = re.compile(r"[\u4e00-\u9fff]")


def name(page):
    return str(page.relative_to(ROOT))


def chinese(page):
    return page.with_name(f"{page.stem}.zh.md")


@pytest.mark.parametrize("page", ENGLISH, ids=name)
def test_a_page_for_newcomers_has_its_chinese_page_with_the_same_code(page):
    there = chinese(page)
    assert there.is_file(), f"no {name(there)}"
    assert FENCE.findall(there.read_text()) == FENCE.findall(page.read_text())
    prose = FENCE.sub("", there.read_text())
    assert len(CHINESE.findall(prose)) > len(prose) / 10


@pytest.mark.parametrize("page", ENGLISH, ids=name)
def test_the_chinese_page_has_the_same_headings(page):
    def levels(text):
        return [line.split()[0] for line in FENCE.sub("", text).splitlines() if line[:1] == "#"]

    assert levels(chinese(page).read_text()) == levels(page.read_text())


def test_no_chinese_page_is_left_of_a_page_that_is_gone():
    for page in DOCS.rglob("*.zh.md"):
        assert page.with_name(page.name.replace(".zh.md", ".md")).is_file(), name(page)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_and_pictures_are_there(page):
    text = FENCE.sub("", page.read_text())
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
        assert "://" in target or (page.parent / target).exists(), target


def commands(page):
    """The armlet commands in the console blocks of a page, lines joined, comments dropped."""
    for block in CONSOLE.findall(page.read_text()):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words[:1] == ["armlet"]:
                yield words[1:]


@pytest.mark.parametrize("page", [page for page in PAGES if list(commands(page))], ids=name)
def test_every_command_is_one_that_armlet_has(page):
    for words in commands(page):
        parsed, rest = make_parser().parse_known_args(words)
        if parsed.command != "up":
            assert rest == [], words
            continue
        known = {argument.name for argument in GRAPHS[parsed.name].arguments}
        given = {word.partition(":=")[0] for word in [*parsed.arguments, *rest]}
        assert given <= known, (words, given - known)


def test_a_command_that_is_not_there_is_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("```console\n$ ls\narmlet up teleop \\\n  no_such:=1  # that\n```\n")
    assert list(commands(page)) == [["up", "teleop", "no_such:=1"]]
    with pytest.raises(AssertionError, match="no_such"):
        test_every_command_is_one_that_armlet_has(page)
