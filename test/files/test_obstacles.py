"""What the system refuses of a path: what is in the way and what to do, in one line."""

import errno
import os
import sys
from pathlib import Path

import pytest

from armlet.files import (
    FileError,
    OutputError,
    PointerError,
    advised,
    check_output,
    check_output_file,
    explained,
    is_of_the_computer,
    parted,
    replace_file,
)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "file"
    path.write_text("a person's")
    return path


@pytest.mark.parametrize("below", ["x", "x/y/z"])
@pytest.mark.parametrize("check", [check_output, check_output_file])
def test_a_path_below_a_file_names_the_file(file, below, check):
    with pytest.raises(OutputError, match="is a file, nothing can lie below it; name another"):
        check(file / below)


def test_the_system_s_own_error_of_such_a_path_says_the_same(file):
    for make in ((file / "x").mkdir, lambda: (file / "x/y").mkdir(parents=True, exist_ok=True)):
        with pytest.raises(OSError) as caught:
            make()
        assert f"{file} is a file" in explained(caught.value)
        assert "Errno" not in explained(caught.value)


def test_what_can_be_made_or_written_passes(file, tmp_path):
    check_output(tmp_path / "a/b/c")
    check_output(tmp_path)
    check_output_file(file)
    check_output_file(tmp_path / "new")


def test_a_file_needs_a_folder_that_is_there_and_no_folder_of_its_name(tmp_path):
    with pytest.raises(OutputError, match=r"there is no folder .*none; make it first"):
        check_output_file(tmp_path / "none/file")
    with pytest.raises(OutputError, match="expected a file to write, found a folder"):
        check_output_file(tmp_path)
    with pytest.raises(OutputError, match="found a device"):
        replace_file(tmp_path.joinpath("/dev/null"), b"")


def test_a_name_too_long_and_a_circle_are_said_in_words(tmp_path):
    (tmp_path / "circle").symlink_to("circle")
    with pytest.raises(OutputError, match="File name too long; choose a shorter name"):
        check_output(tmp_path / ("x" * 300))
    with pytest.raises(OutputError, match="links lead in a circle, remove one"):
        check_output(tmp_path / "circle/x")


def test_a_folder_of_somebody_else_s_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(OutputError, match=f"to {tmp_path}: Permission denied; change its"):
        check_output(tmp_path / "a/b")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EIO, errno.EBUSY])
def test_every_error_is_said_without_its_number(number):
    said = explained(OSError(number, os.strerror(number), "some/path"))
    assert said.startswith("some/path: ") and "[Errno" not in said
    of_the_computer = number in (errno.ENOSPC, errno.EIO)
    assert is_of_the_computer(OSError(number, "")) is of_the_computer


def test_a_full_disk_is_said_of_the_file_that_was_to_be_written(tmp_path, monkeypatch):
    """The system names no file there, and a command ended with a traceback."""

    def full(number):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = tmp_path / "robot.yaml"
    path.write_text("before")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space") as caught:
        replace_file(path, b"after")
    assert explained(caught.value).startswith(f"{path}: No space left on device; free space")
    assert [each.name for each in tmp_path.iterdir()] == [path.name]
    assert path.read_text() == "before"


def test_advice_is_given_once():
    error = FileError("cal.json is not JSON", "restore the file")
    assert str(error) == "cal.json is not JSON; restore the file"
    assert advised(error, "calibrate again") == "cal.json is not JSON; calibrate again"
    passed_on = RuntimeError("follower: " + str(error))
    passed_on.__cause__ = error
    assert parted(passed_on, "calibrate again") == (
        "follower: cal.json is not JSON",
        "calibrate again",
    )
    assert advised(ValueError("no file"), "give one") == "no file; give one"


def test_who_knows_better_advice_keeps_it():
    assert "git lfs pull" in advised(PointerError("cal.json"), "calibrate again")
    assert "calibrate" not in advised(PointerError("cal.json"), "calibrate again")


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it is set to be read")
def test_a_new_file_changes_nothing_for_the_other_threads(tmp_path, monkeypatch):
    """Two threads that read the umask by setting it left it at 0: files open to everybody."""
    before = os.umask(0o027)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(os, "umask", lambda mask: pytest.fail("it is the whole process's"))
            replace_file(tmp_path / "new", b"")
    finally:
        os.umask(before)
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o640


def test_a_folder_that_was_deleted_under_the_command_is_named(tmp_path, monkeypatch):
    """It said "nothing can be written to No such file or directory"."""
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    said = "o: the folder that this command was started in was deleted; cd to one that is there"
    with pytest.raises(OutputError, match=f"^nothing can be written to {said}$"):
        check_output(Path("o"))
    with pytest.raises(OSError) as caught:
        Path("o").read_bytes()
    assert explained(caught.value) == said
    monkeypatch.undo()
