"""Which LeRobot and transformers trained a checkpoint, and that pictures are placed as then."""

import argparse
import itertools
import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the policy extra is not installed")
pytest.importorskip("tokenizers", reason="the policy extra is not installed")

import torch
from golden_smolvla import FOLDER, complete

from armlet.cli.policy import policy as cli
from armlet.policies import CheckpointError, Choices, Observation, load_policy, read_checkpoint
from armlet.policies.config.releases import (
    KEYS,
    RELEASES,
    TRANSFORMERS,
    PatchRows,
    Span,
    parse_span,
    parse_written,
    rows_of,
)
from armlet.policies.networks.siglip import patch_positions

SHARED = Path(__file__).parents[3] / "shared" / "golden" / "lerobot-0.6.1"
NOT_SHARED = pytest.mark.skipif(not SHARED.is_dir(), reason=f"no golden files at {SHARED}")
GOLDENS = {
    "lerobot-0.3.3": ("0.3.x", PatchRows.STEPPED),
    "lerobot-0.4.4": ("0.4.4", PatchRows.SCALED),
    "lerobot-0.5.1": ("0.5.1", PatchRows.CLAMPED),
}
NEWEST = "lerobot-0.5.1"


def edit(path, change):
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def worst(policy, io):
    """Largest error of a chunk and of the actions played, by the largest of LeRobot's."""
    noise = io["noise"] if io["noise"].ndim == 3 else [io["noise"]] * len(io["state"])
    steps = [
        Observation(
            state,
            {n.removeprefix("image_"): v[t] for n, v in io.items() if n.startswith("image_")},
            str(io["task"]),
        )
        for t, state in enumerate(io["state"])
    ]
    errors = [policy.predict_chunk(steps[0], noise=noise[0]) - io["chunk"]]
    policy.reset()
    actions = [policy.select_action(step, noise[t]) for t, step in enumerate(steps)]
    errors.append(np.stack(actions) - io["actions"])
    return max(float(np.abs(e).max()) for e in errors) / float(np.abs(io["chunk"]).max())


def unwritten(folder):
    """Take out of the language model's file which transformers wrote it: the Hub's says nothing."""
    edit(folder / "vlm" / "config.json", lambda d: d.pop("transformers_version"))


@pytest.fixture
def golden(tmp_path):
    def copy(name):
        return tmp_path / name, complete(FOLDER / name, tmp_path / name)

    return copy


@pytest.fixture
def undated(golden):
    """The 0.5.1 golden with config.json alone, whose keys 0.4.4 wrote too."""
    folder, io = golden(NEWEST)
    (folder / "train_config.json").unlink()
    unwritten(folder)
    return folder, io


@pytest.mark.parametrize("name", GOLDENS)
def test_a_float32_tower_of_every_era_places_pictures_as_it_did(name, golden, one_thread):
    folder, io = golden(name)
    unwritten(folder)
    policy = load_policy(folder, optimize=False)
    assert (policy.checkpoint.era, policy.checkpoint.patch_rows) == GOLDENS[name]
    assert worst(policy, io) < 1e-5


@NOT_SHARED
@pytest.mark.parametrize(("name", "limit"), [("smolvla_tiny", 1e-4), ("smolvla_tiny_bf16", 0.01)])
def test_goldens_of_0_6_1(name, limit, one_thread):
    # LeRobot rounds where it computes in bfloat16, in an order of the machine's: LeRobot 0.5.1 with
    # torch 2.13 is itself 0.004 away from this golden. armlet computes in float32.
    vlm = SHARED / name.replace("smolvla_tiny", "tiny_vlm")
    policy = load_policy(SHARED / name, optimize=False, choices=Choices(vlm=vlm))
    assert policy.checkpoint.era == "0.6.1"
    assert worst(policy, dict(np.load(SHARED / name / "io.npz"))) < limit


def test_what_the_files_leave_open_is_refused_and_asked_for(undated, one_thread):
    folder, io = undated
    with pytest.raises(
        CheckpointError, match=r"0\.4\.4 to 0\.5\.1.*float32 apart; say .*--lerobot"
    ):
        load_policy(folder)
    for right in ({"lerobot": "0.5.1"}, {"lerobot": "0.5"}, {"transformers": "5.3.0"}):
        assert worst(load_policy(folder, optimize=False, choices=Choices(**right)), io) < 1e-5
    wrong = Choices(transformers="4.57.6")
    assert worst(load_policy(folder, optimize=False, choices=wrong), io) > 1e-2


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ({"lerobot": "0.4.4"}, "LeRobot it was trained with: expected 0.5.1, as.*found 0.4.4"),
        ({"lerobot": "0.6"}, "expected 0.5.1"),
        ({"transformers": "4.57.6"}, r"transformers it was trained with: expected >=5.3,<5.3.1"),
        ({"lerobot": "newest"}, "expected a version such as 0.5.1 or 4.57, found 'newest'"),
        ({"transformers": "5.3.0rc1"}, "expected a version"),
    ],
)
def test_a_stated_version_that_the_files_contradict_is_refused(stated, message, golden):
    folder, _ = golden(NEWEST)
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(folder, Choices(**stated))


def test_check_and_inspect_name_the_era_and_see_a_wrong_one(golden, capsys):
    folder, _ = golden(NEWEST)
    parser = argparse.ArgumentParser()
    cli.add_parser(parser.add_subparsers())

    def run(*arguments):
        parsed = parser.parse_args(["policy", *map(str, arguments)])
        status = parsed.run(parsed)
        return status, capsys.readouterr().out

    status, said = run("inspect", folder)
    assert status == 0 and "trained with   LeRobot 0.5.1 (by the keys of config.json" in said
    status, said = run("check", "--checkpoint", folder)
    assert "LeRobot 0.5.1 (by the keys" in said and "clamped" in said
    status, said = run("check", "--checkpoint", folder, "--lerobot", "0.4.4")
    assert status == 1 and "found 0.4.4, as stated" in " ".join(said.split())


def test_the_language_models_writer_is_considered(golden, one_thread):
    folder, io = golden(NEWEST)
    (folder / "train_config.json").unlink()
    policy = load_policy(folder, optimize=False)
    assert any("transformers 5.3.0 wrote" in note for note in policy.checkpoint.notes)
    assert worst(policy, io) < 1e-5
    for stated in ({"transformers": "4.57.6"}, {"lerobot": "0.4.4"}):
        with pytest.raises(CheckpointError, match=r"transformers 5\.3\.0 wrote the language model"):
            read_checkpoint(folder, Choices(**stated))
    # The Hub's own file is older than any LeRobot with a SmolVLA.
    edit(folder / "vlm" / "config.json", lambda d: d.update(transformers_version="4.47.1"))
    with pytest.raises(CheckpointError, match="arithmetic of the vision tower"):
        read_checkpoint(folder)


def test_0_4_0_installed_transformers_of_three_kinds(golden):
    folder, _ = golden("lerobot-0.4.4")
    unwritten(folder)
    (folder / "train_config.json").unlink()
    newer = ("rtc_config", "use_peft", "compile_model", "compile_mode")
    edit(folder / "config.json", lambda d: [d.pop(key) for key in newer])
    with pytest.raises(CheckpointError, match=r"LeRobot 0\.4\.0 to 0\.4\.1 .*>=4\.53,<5"):
        read_checkpoint(folder)
    for version, rows in (("4.54", PatchRows.STEPPED), ("4.57", PatchRows.SCALED)):
        checkpoint = read_checkpoint(folder, Choices(transformers=version))
        assert checkpoint.patch_rows == rows


def test_files_of_two_trainings_establish_nothing(golden):
    folder, _ = golden("lerobot-0.4.4")
    unwritten(folder)
    edit(folder / "config.json", lambda d: d.update(pretrained_revision=None))
    with pytest.raises(
        CheckpointError,
        match=r"config.json is of LeRobot 0\.6\.0 to 0\.6\.1 and train_config.json .* 0\.4\.4",
    ):
        read_checkpoint(folder)
    assert read_checkpoint(folder, Choices(lerobot="0.4.4")).patch_rows == PatchRows.SCALED
    with pytest.raises(CheckpointError, match=r"found 0\.5\.1, as stated"):
        read_checkpoint(folder, Choices(lerobot="0.5.1"))


def test_a_bfloat16_tower_needs_no_answer_where_all_place_it_alike(undated):
    folder, _ = undated
    edit(folder / "config.json", lambda d: d.update(load_vlm_weights=True))
    assert read_checkpoint(folder).era == "0.4.4 to 0.5.1"


@pytest.mark.parametrize(
    ("version", "float32", "bfloat16"),
    [
        ("4.51.3", "own", "own"),
        ("4.54.1", "own", "own"),
        ("4.55.0", "before", "own"),
        ("4.55.1", "before", "before"),
        ("4.55.4", "before", "before"),
        ("4.56.0", "before", "own"),
        ("4.57.6", "before", "own"),
        ("5.0.0", "own", "own"),
        ("5.3.0", "own", "own"),
        ("5.5.4", "own", "own"),
        ("5.20.2", "own", "own"),
        ("5.21.0", "own", "own"),
    ],
)
def test_rows_of_transformers(version, float32, bfloat16):
    expected = {"own": list(range(32)), "before": [0, *range(31)]}
    ((_, rows),) = rows_of(parse_span(version))
    for precision, where in ((torch.float32, float32), (torch.bfloat16, bfloat16)):
        assert patch_positions(32, 32, precision, rows).tolist() == expected[where]


def test_a_grid_of_27_is_rounded_in_bfloat16_up_to_5_20():
    """SmolVLM2-2.2B has 384 pixels in patches of 14."""
    ((_, old),), ((_, new),) = rows_of(parse_span("5.20.2")), rows_of(parse_span("5.21.0"))
    assert patch_positions(27, 27, torch.bfloat16, old).tolist()[-3:] == [24, 24, 26]
    assert patch_positions(27, 27, torch.bfloat16, new).tolist() == list(range(27))


def test_tables_are_whole():
    for before, after in itertools.pairwise(RELEASES):
        assert before.versions.below == after.versions.first
    for before, after in itertools.pairwise(TRANSFORMERS):
        assert before.versions.below == after.versions.first
    for release in RELEASES:
        assert rows_of(release.installs)
    firsts = {release.versions.first for release in RELEASES}
    assert {key.since for key in KEYS} <= firsts


def test_the_page_of_eras_lists_the_tables():
    page = (Path(__file__).parents[2] / "docs" / "eras.md").read_text()
    for release in RELEASES:
        assert f"| {release.name} | {release.installs} |" in page.replace("`", "")
    for entry in TRANSFORMERS:
        assert f"| {entry.versions} | {entry.rows.value} |" in page.replace("`", "")
    for key in KEYS:
        assert f"`{key.name}`" in page


@pytest.mark.parametrize("text", ["", "5.", "v5", "5.3.0.1", "5.3rc1", "5..3", "٥.٣", "5.3\n"])
def test_versions_are_numbers(text):
    with pytest.raises(ValueError, match="expected a version"):
        parse_span(text)


def test_versions_are_ordered_as_numbers():
    assert (5, 10) in Span((5, 9), (6,)) and (5, 3, 0) in parse_span("5.3")
    assert parse_written("4.47.0.dev0") == (4, 47, 0) and parse_written(None) is None
    assert Span((4,), (5,)).common(Span((5,), (6,))) is None


def test_shared_goldens_carry_no_weights():
    for folder in FOLDER.iterdir():
        assert sum(file.stat().st_size for file in folder.rglob("*")) < 200_000
        assert not list(folder.glob("model*"))
