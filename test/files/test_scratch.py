"""What a killed program left goes when the next one begins, and nothing else does."""

import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest

from armlet.datasets.transform import atomic_directory
from armlet.files import in_use, scratch_folder

# Says where its folder is, and waits.
HOLDER = """
import sys
from pathlib import Path
from armlet.files import scratch_folder
with scratch_folder(Path(sys.argv[1]) if len(sys.argv) > 1 else None) as folder:
    (folder / "servo_bus.yaml").write_text("{}")
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """The system's temporary folders are here."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@contextmanager
def holder(*parent):
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, *map(str, parent)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield process, Path(process.stdout.readline().rstrip())
        process.kill()


def left_by_a_kill(*parent):
    with holder(*parent) as (process, folder):
        process.kill()
        process.wait()
    assert (folder / "servo_bus.yaml").exists()
    return folder


def test_what_a_killed_program_left_goes_with_the_next():
    left = left_by_a_kill()
    with scratch_folder() as folder:
        assert not left.exists() and folder.is_dir()
    assert not folder.exists()


def test_what_a_living_program_has_stays():
    with holder() as (_, folder), scratch_folder():
        assert (folder / "servo_bus.yaml").exists()


def test_a_bench_that_outlives_who_made_its_folder_keeps_it():
    """Its ports are there, on which torque watchdogs cut the torque."""
    left = left_by_a_kill()
    with in_use(left), scratch_folder():
        assert left.exists()
    with scratch_folder():
        assert not left.exists()


@pytest.mark.parametrize("change", ["copied", "moved", "unmarked", "marked otherwise"])
def test_a_person_s_folder_stays(place, change):
    left, kept = left_by_a_kill(), place / "armlet-kept"
    match change:
        case "copied":
            shutil.copytree(left, kept)
        case "moved":
            left.rename(kept)
        case "unmarked":
            kept.mkdir()
            (kept / "notes.txt").touch()
        case "marked otherwise":
            kept.mkdir()
            (kept / ".armlet-scratch").write_text("mine")
    with scratch_folder():
        assert any(kept.iterdir())


def test_no_link_is_followed(place):
    elsewhere = place / "elsewhere"
    elsewhere.mkdir()
    left = left_by_a_kill()
    (elsewhere / "thesis.tex").touch()
    (left / "link").symlink_to(elsewhere)
    (place / "armlet-link").symlink_to(elsewhere)
    with scratch_folder():
        assert not left.exists()
    assert (elsewhere / "thesis.tex").exists() and (place / "armlet-link").is_symlink()


def test_what_another_user_left_stays(monkeypatch):
    left = left_by_a_kill()
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with scratch_folder():
        assert left.exists()


def made(path):
    pytest.importorskip("torch", reason="the policy extra is not installed")
    from armlet.policies.checkpoint.save import new_directory

    with new_directory(path) as folder:
        (folder / "config.json").write_text("{}")


def recorded(path):
    with atomic_directory.new_dataset(path) as folder:
        (folder / "info.json").write_text("{}")


@pytest.mark.parametrize("make", [made, recorded])
def test_half_a_checkpoint_or_dataset_goes_with_the_next_beside_it(place, make):
    left = left_by_a_kill(place)
    assert left.name.startswith(".")
    make(place / "new")
    assert [path.name for path in place.iterdir()] == ["new"]
