"""What one program hands to another says its version, and an unknown one is refused."""

import json

import pytest

from armlet.files import FileError, read_versioned, write_versioned


def read(text, **given):
    return read_versioned(text, "a letter", (1, 2), 100, **given)


def test_what_is_written_is_read_and_equal_documents_are_equal_bytes():
    text = write_versioned(2, {"b": [1, 2.5], "a": "手"})
    assert text == '{"a":"手","b":[1,2.5],"version":2}'
    assert read(text) == (2, {"a": "手", "b": [1, 2.5]})


@pytest.mark.parametrize("version", [3, 0, "1", 1.0, True, None, [1]])
def test_an_unknown_version_is_refused_with_what_to_do(version):
    with pytest.raises(FileError) as refused:
        read(json.dumps({"version": version, "a": 1}))
    said = str(refused.value)
    assert "expected version 1 and 2, found" in said and "use the armlet that wrote it" in said
    assert (str(version) if version is not None else "no version") in said


def test_a_document_of_before_versions_is_of_the_version_that_it_was():
    assert read('{"a": 1}', unstated=1) == (1, {"a": 1})
    with pytest.raises(FileError, match="found no version"):
        read('{"a": 1}')
    with pytest.raises(FileError, match="found version 3"):
        read('{"version": 3}', unstated=1)


@pytest.mark.parametrize("parse", [{}, {"parse": json.loads}])
@pytest.mark.parametrize(
    "text", ["", "[]", "1", "null", "{", "[" * 90, '{"a": "' + "x" * 99 + '"}']
)
def test_what_is_no_document_is_refused(text, parse):
    with pytest.raises(FileError, match=r"^not a letter"):
        read(text, unstated=1, **parse)


def test_nesting_without_end_is_refused():
    with pytest.raises(FileError, match=r"^not a letter"):
        read_versioned("[" * 20_000, "a letter", (1,), 1 << 16, parse=json.loads)
