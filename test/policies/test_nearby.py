"""A path that misses the checkpoint by a folder or two is answered with where it is."""

from pathlib import Path

import pytest

from armlet.policies.checkpoint.checkpoint import read_checkpoint
from armlet.policies.config.errors import CheckpointError


def trained(root, *steps, last=None):
    for step in steps:
        folder = root / "checkpoints" / step / "pretrained_model"
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
    if last:
        (root / "checkpoints/last").symlink_to(last)


@pytest.mark.parametrize(
    "given", ["", "act", "act/checkpoints", "act/checkpoints/000200", "act/checkpoints/last"]
)
@pytest.mark.parametrize("last", ["000200", None])
def test_the_last_step_is_suggested_from_wherever_one_looks(tmp_path, given, last):
    trained(tmp_path / "act", "000100", "000200", last=last)
    step = "000200" if given.endswith("000200") or last is None else "last"
    with pytest.raises(CheckpointError) as refused:
        read_checkpoint(tmp_path / given)
    near = tmp_path / "act/checkpoints" / step / "pretrained_model"
    assert f"did you mean {near}?" in str(refused.value)


@pytest.mark.parametrize("name", ["user/act_so101", "user/act_so101@v1.0", "user/act@refs/pr/2"])
def test_a_repository_is_named_as_one(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match=f"given as hub:{name};"):
        read_checkpoint(Path(name))


def test_nothing_is_suggested_where_nothing_is(tmp_path):
    (tmp_path / "pretrained_model").mkdir()
    for given in (tmp_path, tmp_path / "pretrained_model", tmp_path / "a/b/c"):
        with pytest.raises(CheckpointError) as refused:
            read_checkpoint(given)
        assert "did you mean" not in str(refused.value) and "hub:" not in str(refused.value)
