"""No file in a dataset is taken for a temporary one of armlet's by its name alone."""

import numpy as np
import pytest
from made_episodes import CONTRACT, made

from armlet.datasets import Dataset, DatasetWriter
from armlet.datasets.check import recompute_stats
from armlet.datasets.format import atomic_files, layout
from armlet.datasets.format.pictures import Developer
from armlet.datasets.transform import encode

MINE = b"a person's"
NAMES = (layout.INFO, layout.STATS, layout.CONTRACT)


@pytest.fixture
def root(tmp_path):
    return made(tmp_path / "data")


@pytest.fixture
def decoys(root):
    """Files with the names that armlet gave to what it was writing."""
    paths = [
        (root / name).with_name(f".{(root / name).name}{middle}.new")
        for name in NAMES
        for middle in ("", ".0")
    ]
    for path in paths:
        path.write_bytes(MINE)
    return paths


def stats(root):
    recompute_stats.write(root, recompute_stats.recount(root, pictures=False))


def remove(root):
    with DatasetWriter(root, CONTRACT) as writer:
        writer.remove_last(1)


@pytest.mark.parametrize("change", [stats, remove])
def test_what_is_replaced_is_written_under_a_name_of_its_own(root, decoys, change):
    change(root)
    assert {path.read_bytes() for path in decoys} == {MINE}
    assert Dataset(root).contract == CONTRACT
    new = [path for path in (root / "meta").iterdir() if path.name.endswith(".new")]
    assert sorted(new) == sorted(decoys)


def test_a_video_is_encoded_under_a_name_of_its_own(tmp_path):
    target, decoy = tmp_path / "film.mp4", tmp_path / ".film.mp4.new"
    decoy.write_bytes(MINE)
    picture = Developer(32, 48).rgb(np.zeros((32, 48, 3), np.uint8)).frame
    encode.write_video(target, [picture] * 3, encode.form("h264", 32, 48, 30))
    assert decoy.read_bytes() == MINE
    assert sorted(tmp_path.iterdir()) == [decoy, target]


def test_after_an_error_nothing_is_left(root, monkeypatch):
    before = sorted((root / "meta").iterdir())

    def full(handle):
        raise OSError("No space left on device")

    monkeypatch.setattr(atomic_files.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        atomic_files.write_beside(root / layout.INFO, b"{}")
    assert sorted((root / "meta").iterdir()) == before
