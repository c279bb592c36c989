"""What a disk refuses, as what it is."""

import errno
import os

import pytest

from armlet.datasets.format import atomic_files


@pytest.fixture
def file(tmp_path):
    (tmp_path / "file").write_bytes(b"content")
    return tmp_path / "file"


def test_a_disk_without_second_names_gets_a_copy(file, monkeypatch):
    def link(*_, **__):
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", link)
    atomic_files.link(file, file.with_name("copy"))
    assert file.with_name("copy").read_bytes() == b"content"


def test_a_file_that_is_there_is_not_replaced_by_a_second_name(file):
    other = file.with_name("other")
    other.write_bytes(b"precious")
    with pytest.raises(FileExistsError):
        atomic_files.link(file, other)
    assert other.read_bytes() == b"precious"


@pytest.mark.parametrize("how", ["write", "create", "reopen"])
def test_a_second_name_keeps_its_content(file, how):
    """A person's backup by `cp -al` is not changed when a file is written in its place."""
    backup = file.with_name("backup")
    atomic_files.link(file, backup)
    if how == "write":
        atomic_files.write(file, b"new")
    elif how == "create":
        os.close(atomic_files.create(file))
    else:
        handle = atomic_files.reopen(file, 3)
        atomic_files.append(handle, b"x")
        os.close(handle)
    assert backup.read_bytes() == b"content"
    assert file.read_bytes() == {"write": b"new", "create": b"", "reopen": b"conx"}[how]
    assert sorted(path.name for path in file.parent.iterdir()) == ["backup", file.name]
