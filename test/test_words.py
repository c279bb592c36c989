"""Plain words: what people read, in messages, help and pages, and in code, has none of these.

A text of the program is a string with a space in it that is not a docstring: messages, parameter
descriptions, command help, and what findings say. The words of code are the parts of its names,
and its comments and docstrings.
"""

import ast
import io
import re
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
WORDS = (
    *("mend", "mends", "mended", "mending", "told", "tells", "anew", "afresh", "hole", "holes"),
    *("reel", "reels", "tape", "spool", "spools", "footage", "splice", "spliced", "witness"),
    *("evidence", "limp", "guardian", "salvage", "salvaged", "restat", "upkeep", "patience"),
)
PHRASES = (
    r"\bmade up\b",  # of a value that was recomputed
    r"\b(a|each|every|first|last|next|one|this) take\b",  # an episode
    r"\b\w+: none\b",  # "disabled", "not a valid ..."
)
PLAIN = re.compile(rf"\b({'|'.join(WORDS)})\b|{'|'.join(PHRASES)}", re.IGNORECASE)
# In the program a document is a file or a message; the word says neither which nor of what kind.
PLAIN_TEXT = re.compile(rf"{PLAIN.pattern}|\bdocuments?\b", re.IGNORECASE)
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
# Of the words, those that are ordinary English in a comment: "that tells one from the other".
SPOKEN = {"told", "tells"}
PRIVATE_NAME = re.compile(rf"(?:^|_)({'|'.join(WORDS)})(?:_|$)", re.IGNORECASE)
PRIVATE_COMMENT = re.compile(rf"\b({'|'.join(set(WORDS) - SPOKEN)})\b", re.IGNORECASE)
# Wherever one of the two matches, this one does.
ANYWHERE = re.compile(rf"(?<![^\W_])({'|'.join(WORDS)})(?![^\W_])", re.IGNORECASE)
CODE_OF = ("src", "test", "benchmarks", "examples", "tools", "launch")
# Names: code in fences and between backquotes.
CODE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)


def documentation(tree):
    """The ids of constants that stand alone: docstrings."""
    return {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }


def texts(tree):
    """The texts of a module, with their lines."""
    standing_alone = documentation(tree)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Constant) or not isinstance(node.value, str):
            continue
        if " " in node.value and id(node) not in standing_alone:
            yield node.lineno, node.value


def private_words(source):
    """Names, comments and docstrings of a module with such a word, with their lines."""
    if not ANYWHERE.search(source):
        return  # to take a module apart takes a hundred times as long as to search its text
    patterns = {tokenize.NAME: PRIVATE_NAME, tokenize.COMMENT: PRIVATE_COMMENT}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type in patterns and patterns[token.type].search(token.string):
            yield token.start[0], token.string
    tree = ast.parse(source)
    standing_alone = documentation(tree)
    for node in ast.walk(tree):
        said = str(node.value) if id(node) in standing_alone else ""
        if found := PRIVATE_COMMENT.search(CODE.sub("", said)):
            yield node.lineno, found[0]


def test_no_name_and_no_comment_of_code_has_a_private_word():
    found = [
        f"{path.relative_to(ROOT)}:{line}: {word}"
        for room in CODE_OF
        for path in sorted((ROOT / room).rglob("*.py"))
        if path != Path(__file__)
        for line, word in private_words(path.read_text())
    ]
    assert found == []


def test_no_text_of_the_program_has_a_private_word():
    found = [
        f"{path.relative_to(ROOT)}:{line}: {text!r}"
        for path in sorted((ROOT / "src").rglob("*.py"))
        for line, text in texts(ast.parse(path.read_text()))
        if PLAIN_TEXT.search(text)
    ]
    assert found == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_page_has_a_private_word(page):
    said = CODE.sub("", page.read_text())
    assert [match[0] for match in PLAIN.finditer(said)] == []


def test_a_private_word_is_found_in_a_text_and_not_in_a_name():
    tree = ast.parse('"""Mend it."""\nmend = 1\nprint("mend the arm")\nprint(f"{mend}: told so")')
    found = [line for line, text in texts(tree) if PLAIN_TEXT.search(text)]
    assert found == [3, 4]


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        ("readings that are made up", "made up"),
        ("discard this take and record again", "this take"),
        ("frozen_s: none", "frozen_s: none"),
        ("a contract document", "document"),
        ("the documented take-over takes 0.1 s; none of it is recomputed", None),
    ],
)
def test_a_phrase_is_refused_where_it_has_the_private_meaning(text, refused):
    found = PLAIN_TEXT.search(text)
    assert (found and found[0]) == refused


def test_a_private_word_is_found_in_a_name_a_comment_and_a_docstring():
    lines = [
        "def told():",
        '    """It is mended, not `mend`."""',
        "    a = 1  # anew",
        "    # told",
    ]
    assert [line for line, _ in private_words("\n".join(lines))] == [1, 3, 2]
