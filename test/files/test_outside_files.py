"""The one door: what it opens, how it reads JSON, YAML and paths, what it prints."""

import json
import os
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import armlet
from armlet.cli.main import main
from armlet.files import (
    FileError,
    PathTemplate,
    Shape,
    check_file,
    check_name,
    inside,
    json_lines,
    keep_previous,
    parse_json,
    printable,
    printable_json,
    read_bytes,
    read_json,
    read_yaml,
    replace_file,
    typed,
    writable,
)

NUMBERS = frozenset(("chunk_index", "file_index"))
HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
NAMES = frozenset(("video_key",))


def parsed(text):
    return PathTemplate.parse(text, NUMBERS, NAMES)


# --- opening ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["pipe", "folder", "zero", "link to a pipe", "link to itself"])
def test_only_regular_files_are_opened_and_nothing_is_waited_for(tmp_path, kind):
    path = tmp_path / "file.json"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "zero":
        path.symlink_to("/dev/zero")
    elif kind == "link to itself":
        path.symlink_to(path)
    else:
        os.mkfifo(tmp_path / "pipe")
        path.symlink_to(tmp_path / "pipe")
    with pytest.raises(FileError, match="file"):
        read_json(path)  # which would never end if it waited for who writes


def test_size_is_judged_before_reading(tmp_path):
    path = tmp_path / "large.json"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(FileError, match="expected at most 1,048,576"):
        read_json(path)
    with pytest.raises(FileError, match="expected at most 10"):
        check_file(path, 10)


def test_a_file_that_states_no_size_is_read_to_the_limit_only():
    with pytest.raises(FileError, match="longer than 10 bytes"):
        read_bytes("/proc/self/status", 10)


def test_a_git_lfs_pointer_is_called_one(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 12345\n")
    with pytest.raises(FileError, match=r"Git LFS pointer.*git lfs pull"):
        check_file(path)


def test_an_absent_file_is_an_ordinary_error(tmp_path):
    for path in (tmp_path / "none.json", tmp_path / "none" / "none.json"):
        with pytest.raises(FileNotFoundError):
            read_json(path)


# --- documents ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("NaN", "NaN is not JSON"),
        ('{"a": Infinity}', "Infinity is not JSON"),
        ("1e999", "too large"),
        ("-1e999", "too large"),
        ("9" * 30, "too large"),
        ("9" * 100_000, "too large"),
        ('{"a": 1, "a": 2}', "occurs twice"),
        ("[" * 100_000 + "]" * 100_000, "nested deeper"),
        ("[" * 40 + "]" * 40, "nested deeper than 32"),
        ('"\\ud800"', "no character"),
        ("{", "Expecting"),
        ("", "Expecting"),
    ],
)
def test_what_is_not_strict_json_is_refused(text, said):
    with pytest.raises(FileError, match=said) as refused:
        parse_json(text)
    # Who looks for the cause of causes would look for ever: `dataset check` did.
    assert refused.value.__cause__ is not refused.value


def test_sound_json_is_what_it_is():
    text = '{"a": [1, 2.5, -3, true, null, "é\\u00e9", "\\ud83d\\ude00"], "b": {"c": {}}}'
    assert parse_json(text) == json.loads(text)
    assert parse_json("[" * 32 + "]" * 32)


@given(st.text(max_size=60) | st.binary(max_size=60))
def test_no_json_file_raises_anything_else(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode(errors="replace"))
    try:
        read_json(path)
    except FileError as error:
        assert str(path) in str(error)


def test_a_line_is_named_and_a_torn_last_one_may_be_left_out(tmp_path):
    path = tmp_path / "lines.jsonl"
    path.write_text('{"a": 1}\n\n{"a": 2}\n{"a"')
    assert list(json_lines(path, Shape(), torn=True)) == [{"a": 1}, {"a": 2}]
    with pytest.raises(FileError, match="line 4"):
        list(json_lines(path, Shape()))
    path.write_text('{"a"\n{"a": 1}\n')
    with pytest.raises(FileError, match="line 1"):
        list(json_lines(path, Shape(), torn=True))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: &a [x]\nb: *a\n", "alias"),
        ("a: 1\na: 2\n", "occurs twice"),
        ("[" * 20_000, "not YAML"),
        ("- " * 60 + "x", "nested deeper"),
        ("!!python/object/apply:os.system [true]", "not YAML"),
        ("2001-99-99", "not YAML"),
        ("? [a]\n: b\n", "not YAML"),
        ("a: " + "9" * 10_000, "not YAML"),
        ("x" * 300_000, "expected at most"),
    ],
)
def test_yaml_is_plain_data_and_small(tmp_path, text, said):
    path = tmp_path / "a.yaml"
    path.write_text(text)
    with pytest.raises(FileError, match=said):
        read_yaml(path)


# --- places -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "/some/file",
        "../x",
        "data/../../x",
        "{chunk_index.foo}",
        "{chunk_index[0]}",
        "{chunk_index!r}",
        "{chunk_index:02000000000d}",
        "{chunk_index:03x}",
        "{chunk_index:{file_index}d}",
        "{episode_index}",
        "{}",
        "{0}",
        "{{chunk_index}}",
        "{video_key:03d}",
        "data/{chunk_index",
        "data\\x",
        "a\x00b",
        "a\nb",
        "",
        "x" * 600,
        None,
        3,
        ["data"],
    ],
)
def test_no_path_template_but_a_plain_one_is_accepted(text):
    with pytest.raises(FileError):
        parsed(text)


def test_lerobots_templates_are_filled_as_str_format_does():
    text = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
    values = {"video_key": "observation.images.front", "chunk_index": 7, "file_index": 12345}
    assert str(parsed(text).format(**values)) == text.format(**values)


@pytest.mark.parametrize(
    "name", ["..", ".", "", "a/b", "a\\b", "/a", "a\x00", "\x1b[2J", "x" * 300]
)
def test_a_name_is_one_part_of_a_path(name):
    with pytest.raises(FileError):
        check_name(name)
    with pytest.raises(FileError):
        parsed("videos/{video_key}.mp4").format(video_key=name)


def test_nothing_is_read_out_of_the_root_nor_written_through_a_link(tmp_path):
    root, other = tmp_path / "root", tmp_path / "other"
    (other / "data").mkdir(parents=True)
    (other / "data/x").write_text("x")
    root.mkdir()
    (root / "data").symlink_to(other / "data")
    for path in ("data/x", "data/new"):
        with pytest.raises(FileError, match="leads out of"):
            inside(root, root.relative_to(root) / path)
        with pytest.raises(FileError, match="symbolic link"):
            writable(root, root.relative_to(root) / path)
    assert inside(root, root.relative_to(root) / "meta/info.json") == root / "meta/info.json"


def test_a_snapshot_in_the_hubs_cache_may_link_to_its_blobs(tmp_path):
    snapshot = tmp_path / "datasets--a--b/snapshots/0123"
    blobs = tmp_path / "datasets--a--b/blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    (blobs / "abc").write_text("{}")
    (snapshot / "info.json").symlink_to("../../blobs/abc")
    assert inside(snapshot, snapshot.relative_to(snapshot) / "info.json").read_text() == "{}"


# --- text ---------------------------------------------------------------------------------------


def test_control_characters_are_written_out_and_long_texts_cut():
    assert printable("\x1b[2J\x07é\u202e\n") == "\\x1b[2J\\x07é\\u202e\\x0a"
    assert printable("a\nb\x1b", lines=True) == "a\nb\\x1b"
    assert printable("x" * 5_000_000, 10) == "xxxxxxxxxx… (4,999,990 more characters)"
    assert printable("\x9b31m\udc80") == "\\x9b31m\\udc80"


@given(st.text())
def test_whatever_is_printed_is_printable_and_can_be_encoded(text):
    shown = printable(text, 100)
    assert not HIDDEN & {unicodedata.category(letter) for letter in shown}
    assert shown.encode().decode() == shown
    assert json.loads(printable_json({"a": text})) == {"a": text}
    rest = printable_json({"a": text}).replace("\n", "")
    assert not HIDDEN & {unicodedata.category(letter) for letter in rest}


NEIGHBOURS = ("arm.json.new", "arm.json.draft", ".arm.json.new", ".arm.json.0.new", "arm.json.bak")


def test_nobodys_file_is_taken_for_a_temporary_one(tmp_path):
    path = tmp_path / "arm.json"
    for name in NEIGHBOURS:
        (tmp_path / name).write_text("a person's")
    path.write_text("one")
    assert keep_previous(path) == tmp_path / "arm.json.bak.2"
    replace_file(path, b"two")
    assert keep_previous(path) == tmp_path / "arm.json.bak.3"
    assert keep_previous(path) == tmp_path / "arm.json.bak.3"
    assert {(tmp_path / name).read_text() for name in NEIGHBOURS} == {"a person's"}
    assert len([*tmp_path.iterdir()]) == len(NEIGHBOURS) + 3


@pytest.mark.parametrize("linked", [False, True])
def test_what_is_no_file_is_never_replaced(tmp_path, linked):
    """Root could: /dev/full was an ordinary file afterwards."""
    pipe, path = tmp_path / "pipe", tmp_path / "out.png"
    os.mkfifo(pipe)
    if linked:
        path.symlink_to(pipe)
    with pytest.raises(OSError, match="expected a file to write, found a device, pipe or socket"):
        replace_file(path if linked else pipe, b"x")
    assert pipe.is_fifo()
    with pytest.raises(OSError, match="found a folder; name another"):
        replace_file(tmp_path, b"x")
    assert sorted(found.name for found in tmp_path.iterdir()) == ["out.png"] * linked + ["pipe"]


def test_through_a_link_that_leads_nowhere_no_file_is_made(tmp_path):
    link = tmp_path / "robot.yaml"
    link.symlink_to("elsewhere")
    with pytest.raises(OSError, match="a link to elsewhere, which is not there"):
        replace_file(link, b"x")
    assert [path.name for path in tmp_path.iterdir()] == ["robot.yaml"]


def test_of_a_name_that_nobody_gave_the_link_itself_is_replaced(tmp_path):
    own, link = tmp_path / "own", tmp_path / "sheet.jpg"
    own.write_text("precious")
    link.symlink_to(own)
    replace_file(link, b"new", follow=False)
    assert own.read_text() == "precious" and not link.is_symlink() and link.read_bytes() == b"new"


@pytest.mark.parametrize("kind", [int, float, str, tuple[str, ...], dict[str, int]])
def test_what_is_absent_is_nothing_in_words_too(kind):
    with pytest.raises(FileError, match=r"found nothing$"):
        typed(kind, None, "key")


def test_every_path_that_is_given_is_expanded_by_one_function():
    """`~nobody/x` was a traceback in domain:=, params_file:=, of `armlet eval` and `armlet setup`.

    The robot file's own place is not given; a pattern of ports of nobody's matches none.
    """
    source = Path(armlet.__file__).parent
    callers = [
        path.relative_to(source).as_posix()
        for path in source.rglob("*.py")
        if "expanduser()" in path.read_text().replace("DEFAULT.expanduser()", "")
    ]
    assert sorted(callers) == ["files/places.py", "motors/devices.py"]


@pytest.mark.parametrize("argument", ["domain:=~nobody9/x.yaml", "params_file:=~nobody9/x.yaml"])
def test_the_home_of_nobody_is_refused_in_one_line(argument, capsys):
    assert main(["up", "sim", argument]) == 2
    said = capsys.readouterr().err
    assert "~nobody9/x.yaml: there is no such user" in said and said.count("\n") == 1
