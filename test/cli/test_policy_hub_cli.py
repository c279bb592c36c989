"""A checkpoint named as a repository of the Hub: inspected and checked from its cache, offline."""

import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="the policy extra is not installed")
pytest.importorskip("tokenizers", reason="the policy extra is not installed")
constants = pytest.importorskip("huggingface_hub.constants", reason="no huggingface_hub")

sys.path.insert(0, str(Path(__file__).parents[1] / "policies"))

import check_world as w  # noqa: E402
from hub_cache import COMMIT, lay_out  # noqa: E402
from small_policies import make_statistics  # noqa: E402
from small_smolvla import make_language_model, make_smolvla, smolvla_config  # noqa: E402

from armlet.cli.main import main  # noqa: E402
from armlet.policies import load_policy, save_checkpoint  # noqa: E402
from armlet.robots import calibration as calibrations  # noqa: E402
from armlet.sim import FOLLOWER  # noqa: E402


def run(*arguments):
    return main(["policy", *map(str, arguments)])


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """One ACT at a tag, one SmolVLA with its language model's files at main."""
    folder = tmp_path_factory.mktemp("hub")
    signed = w.save_good(folder / "reach", w.CONTRACT)
    vlm = make_language_model(folder / "language")
    config = smolvla_config()
    words = folder / "words"
    save_checkpoint(words, make_smolvla(config, vlm), config, make_statistics(config), vlm=vlm)
    lay_out(folder / "cache", "somebody/reach", signed, "v1.0")
    lay_out(folder / "cache", "somebody/words", words)
    return folder / "cache"


@pytest.fixture(autouse=True)
def offline(cache, monkeypatch):
    """The cache alone, as HF_HUB_CACHE and HF_HUB_OFFLINE=1 at the start of a process would do."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


@pytest.mark.representatives(1)
@pytest.mark.parametrize("revision", ["v1.0", COMMIT])
def test_a_revision_is_inspected_and_checked(revision, tmp_path, capsys):
    name = f"hub:somebody/reach@{revision}"
    assert run("inspect", name) == 0
    assert "rate           30 Hz, joints in degrees" in capsys.readouterr().out
    calibrations.save(FOLLOWER, tmp_path / "arm.json")
    assert run("check", "--checkpoint", name, "--calibration", tmp_path / "arm.json") == 0
    said = capsys.readouterr().out
    assert "ok    calibration" in said and f"{name}: nothing is wrong" in said


def test_a_smolvla_has_its_language_model_with_it(capsys):
    assert run("inspect", "hub:somebody/words") == 0
    assert "SmolVLA" in capsys.readouterr().out
    policy = load_policy("hub:somebody/words")
    assert policy.inpaints
    assert policy.checkpoint.language.folder.parent.name == COMMIT


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hub:somebody/reach", "expected one the Hub, or its cache on this machine, has"),
        ("hub:somebody/reach@v2", "expected one the Hub, or its cache on this machine, has"),
        ("hub:reach", "expected hub:owner/name or hub:owner/name@revision"),
    ],
)
def test_what_cannot_be_had_is_status_2_in_one_line(name, message, capsys):
    for words in (("inspect", name), ("check", "--checkpoint", name)):
        assert run(*words) == 2
        error = capsys.readouterr().err
        assert message in error and name in error and error.count("\n") == 1
