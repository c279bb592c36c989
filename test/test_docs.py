"""The pages of docs/: translated, linked to what is there, with commands that exist."""

import functools
import re
import shlex
from pathlib import Path

import pytest

from armlet.bringup import GRAPHS
from armlet.cli.main import make_parser

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
README, CHINESE_README = ROOT / "README.md", ROOT / "README.zh-CN.md"
PAGES = sorted([*DOCS.rglob("*.md"), README, CHINESE_README])
# Made from the code, in English: messages and descriptions are English, too.
GENERATED = {
    DOCS / "findings.md": "This page is made from",
    DOCS / "reference" / "commands.md": "Made by tools/reference.py",
    DOCS / "reference" / "graphs.md": "Made by tools/reference.py",
    DOCS / "reference" / "parameters.md": "Made by tools/reference.py",
}
# Each line of it is in both languages.
BILINGUAL = DOCS / "reference" / "terms.md"
CHINESE_PAGES = [*sorted(DOCS.rglob("*.zh.md")), CHINESE_README]
ENGLISH = [
    README,
    *(
        page
        for page in sorted(DOCS.rglob("*.md"))
        if not page.name.endswith(".zh.md") and page not in {*GENERATED, BILINGUAL}
    ),
]
FENCE = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)
CONSOLE = re.compile(r"^ *```console\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
CHINESE = re.compile(r"[\u4e00-\u9fff]")
CODE_SPAN = re.compile(r"`([^`]+)`")
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
# A file of the source: on the site, tools/site_source.py makes a page of it.
SOURCE = re.compile(r"(?:\.\./)+(src/armlet/[\w/]+\.py)")


def name(page):
    return str(page.relative_to(ROOT))


def chinese(page):
    return CHINESE_README if page == README else page.with_name(f"{page.stem}.zh.md")


def linked(page):
    """What a page links to and shows, sorted, by its name in English."""
    targets = LINK.findall(prose(page))
    return sorted(re.sub(r"\.zh(-CN)?\.md$", ".md", target) for target in targets)


def prose(page):
    """The text of a page without its code blocks."""
    return FENCE.sub("", page.read_text())


def named(page):
    """What the prose of a page has between backquotes: files, options, topics."""
    return {" ".join(span.split()) for span in CODE_SPAN.findall(prose(page))}


def table_figures(page):
    """The numbers of each table row of a page, sorted, as written."""
    rows = [line for line in prose(page).splitlines() if line.startswith("|")]
    return [sorted(re.findall(r"\d+(?:\.\d+)*", row)) for row in rows]


@pytest.mark.parametrize("page", ENGLISH, ids=name)
def test_a_page_has_its_chinese_page_with_the_same_code(page):
    there = chinese(page)
    assert there.is_file(), f"no {name(there)}"
    assert FENCE.findall(there.read_text()) == FENCE.findall(page.read_text())
    assert len(CHINESE.findall(prose(there))) > len(prose(there)) / 10


@pytest.mark.parametrize("page", ENGLISH, ids=name)
def test_the_chinese_page_has_the_same_headings(page):
    def levels(page):
        return [line.split()[0] for line in prose(page).splitlines() if line[:1] == "#"]

    assert levels(chinese(page)) == levels(page)


@pytest.mark.parametrize("page", ENGLISH, ids=name)
def test_the_chinese_page_names_the_same_files_options_and_topics(page):
    """A page that was changed in one language only is found. Code has English comments, which the
    Chinese page may explain, by names that are in the code."""
    here, there = named(page), named(chinese(page))
    assert here - there == set()
    assert [name for name in there - here if name not in page.read_text()] == []


@pytest.mark.parametrize("page", ENGLISH, ids=name)
def test_the_chinese_page_has_the_same_links_and_pictures(page):
    assert linked(chinese(page)) == linked(page)


@pytest.mark.parametrize("page", ENGLISH, ids=name)
def test_the_tables_of_the_chinese_page_have_the_same_rows_and_figures(page):
    assert table_figures(chinese(page)) == table_figures(page)


@pytest.mark.parametrize("page", GENERATED, ids=name)
def test_a_page_without_a_chinese_page_is_made_from_the_code(page):
    assert GENERATED[page] in page.read_text()


TEST_NAMED = re.compile(r"`(test/[\w/]+\.py)::(\w+)`")


def named_tests_that_are_not_there(text):
    return [
        f"{file}::{test}"
        for file, test in TEST_NAMED.findall(text)
        if not (ROOT / file).is_file() or f"\ndef {test}(" not in (ROOT / file).read_text()
    ]


def test_every_test_that_the_table_of_ros_tools_names_is_there():
    page = (DOCS / "reference" / "ros-tools.md").read_text()
    assert len(TEST_NAMED.findall(page)) > 20
    assert named_tests_that_are_not_there(page) == []
    gone = "`test/test_docs.py::test_gone`, `test/gone.py::test_it`"
    assert len(named_tests_that_are_not_there(gone)) == 2


def test_the_terms_have_a_chinese_word_in_every_row():
    rows = [line for line in BILINGUAL.read_text().splitlines() if line.startswith("| ")]
    assert len(rows) > 30
    assert [row for row in rows if not CHINESE.search(row.split("|")[2])] == []


@pytest.mark.parametrize("page", CHINESE_PAGES, ids=name)
def test_a_chinese_page_links_to_chinese_pages(page):
    """By name, which the site and a forge both follow."""
    targets = [page.parent / target for target in LINK.findall(prose(page)) if "://" not in target]
    pages = [there for there in targets if there.suffix == ".md" and chinese(there) != page]
    assert [str(there) for there in pages if chinese(there).is_file()] == []


# Groups that other packages add to, and columns of a dataset; no modules.
OTHER_NAMES = {
    f"armlet.{name}" for name in ("cameras", "motors", "policies", "robots", "stamp_ns", "skew_s")
}
DOTTED = re.compile(r"armlet(?:\.\w+)+")


@functools.cache
def words_of(file):
    return frozenset(re.findall(r"\w+", file.read_text()))


def is_in_the_source(dotted):
    """Whether a module, or a name that a module or its package writes down, is there."""
    parts = dotted.split(".")
    for count in range(len(parts), 0, -1):
        place = ROOT / "src" / Path(*parts[:count])
        file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
        if file.is_file():
            return set(parts[count:]) <= words_of(file)
    return False


@pytest.mark.parametrize("page", ENGLISH, ids=name)
def test_every_module_and_name_of_armlet_is_there(page):
    dotted = {match for span in named(page) - OTHER_NAMES for match in DOTTED.findall(span)}
    assert sorted(each for each in dotted if not is_in_the_source(each)) == []


def test_a_name_that_is_gone_is_found():
    assert is_in_the_source("armlet.nodes.lockstep.InLockstep")
    assert not is_in_the_source("armlet.episodes.bags")
    assert not is_in_the_source("armlet.nodes.lockstep.OutOfLockstep")


def test_no_chinese_page_is_left_of_a_page_that_is_gone():
    for page in DOCS.rglob("*.zh.md"):
        assert page.with_name(page.name.replace(".zh.md", ".md")).is_file(), name(page)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_and_pictures_are_there(page):
    for target in LINK.findall(prose(page)):
        assert "://" in target or (page.parent / target).exists(), target


@pytest.mark.parametrize("page", [page for page in PAGES if DOCS in page.parents], ids=name)
def test_a_page_of_the_site_links_to_nothing_outside_it(page):
    """The site has docs/ only, and pages of source files; `make docs` refuses another link."""
    targets = [target for target in LINK.findall(prose(page)) if "://" not in target]
    targets = [target for target in targets if not SOURCE.fullmatch(target)]
    assert [
        target for target in targets if not (page.parent / target).resolve().is_relative_to(DOCS)
    ] == []


def test_the_table_of_where_to_look_first_links_to_the_files():
    table = (DOCS / "architecture.md").read_text().partition("Where to look first:")[2]
    rows = [line for line in table.partition("\n\nThe node")[0].splitlines() if "src/" in line]
    assert len(rows) == 10
    for row in rows:
        for word, file in re.findall(r"\[`([^`]+)`\]\(\.\./([^)]+)\)", row):
            assert file == f"src/armlet/{word}"
        assert re.sub(r"\[`[^`]+\.py`\]", "", row).count(".py`") == 0, f"no link: {row}"


def test_the_site_makes_pages_of_the_files_that_are_linked():
    hook = "tools/site_source.py"
    assert f"hooks: [{hook}]" in (ROOT / "mkdocs.yml").read_text()
    assert rf'LINK = re.compile(r"\]\({SOURCE.pattern}\)")' in (ROOT / hook).read_text()


def commands(page):
    """The armlet commands in the console blocks of a page, lines joined, comments dropped."""
    for block in CONSOLE.findall(page.read_text()):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words[:1] == ["armlet"]:
                yield words[1:]


parser = functools.cache(make_parser)


@pytest.mark.parametrize("page", [page for page in PAGES if list(commands(page))], ids=name)
def test_every_command_is_one_that_armlet_has(page):
    for words in commands(page):
        parsed, rest = parser().parse_known_args(words)
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


INLINE = re.compile(r"`(armlet [^`]+)`")
# What stands for a word of the reader's: NAME, ROOT, ...
PLACE = re.compile(r"[A-Z][A-Z0-9_.]*|\.\.\.|…")


def unknown_words(line):
    """The first word of a command line in prose that armlet does not have, if there is one."""
    words = line.replace("\n", " ").split()[1:]
    found = parser()
    while words and (verbs := verbs_of(found)) and not words[0].startswith("-"):
        word = words.pop(0)
        if PLACE.fullmatch(word):
            return None
        if word not in verbs:
            return word
        found = verbs[word]
    known = set(found._option_string_actions)
    options = (re.match(r"--[a-z][a-z-]*", word) for word in words)
    return next((option[0] for option in options if option and option[0] not in known), None)


def verbs_of(parser):
    return next((each.choices for each in parser._actions if hasattr(each.choices, "items")), {})


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_command_in_a_sentence_or_a_table_is_one_that_armlet_has(page):
    """Not only those in blocks: the fixes of findings.md, the table of edits."""
    lines = INLINE.findall(FENCE.sub("", page.read_text()))
    assert {line: word for line in lines if (word := unknown_words(line))} == {}


def test_a_command_in_a_sentence_that_is_not_there_is_found():
    assert unknown_words("armlet dataset mend ROOT") == "mend"
    assert unknown_words("armlet dataset check ROOT --fast") == "--fast"
    assert unknown_words("armlet dataset check ROOT --strict") is None
    assert unknown_words("armlet COMMAND --help") is None
