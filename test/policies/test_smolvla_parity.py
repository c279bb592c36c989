"""armlet's SmolVLA against stock LeRobot 0.4.4 where test_parity_matrix does not reach.

Needs the oracle, see lerobot_oracle.
"""

import json

import numpy as np
import pytest

pytest.importorskip("torch", reason="the policy extra is not installed")
pytest.importorskip("tokenizers", reason="the policy extra is not installed")

from lerobot_oracle import missing
from parity_matrix import Case, deviate, exchange
from small_policies import make_statistics
from small_smolvla import SCALE, TEXT, VISION

from armlet.policies import Feature, Observation, SmolVlaConfig, load_policy, save_checkpoint

pytestmark = [
    pytest.mark.thorough,
    pytest.mark.skipif(bool(missing("0.4.4")), reason=missing("0.4.4")),
]

SETTINGS = {
    "normalization_mapping": {"VISUAL": "IDENTITY", "STATE": "MEAN_STD", "ACTION": "MEAN_STD"},
    "chunk_size": 8,
    "n_action_steps": 3,
    "num_steps": 4,
    "num_vlm_layers": 4,
    "resize_imgs_with_padding": [64, 64],
}


def small_case(weights=False, steps=4, **settings):
    """Two cameras and six joints; weights: the language model has its own, in bfloat16."""
    settings = {**SETTINGS, **settings}
    inputs = {"observation.state": Feature("STATE", (6,))}
    for name in ("front", "wrist"):
        inputs[f"observation.images.{name}"] = Feature("VISUAL", (3, 48, 64))
    config = SmolVlaConfig(inputs, {"action": Feature("ACTION", (6,))}, **settings)
    vlm = {"text": TEXT, "vision": VISION, "scale": SCALE, "weights": weights}
    task = "two\nlines\n"
    statistics = make_statistics(config)
    return Case(
        7, "0.4.4", "smolvla", config, settings, statistics, steps=steps, task=task, vlm=vlm
    )


def test_bfloat16_towers_place_pictures_as_they_did(lerobot, tmp_path, one_thread):
    # LeRobot rounds where this vision tower computes in bfloat16, armlet does not.
    case = small_case(weights=True)
    arrays = exchange(case, lerobot("0.4.4"), tmp_path)
    rounding = deviate(case, arrays, tmp_path).relative
    assert rounding < 0.02
    # As a tower in float32 would place them, the patches are at other positions.
    document = json.loads((tmp_path / "checkpoint" / "config.json").read_text())
    document["load_vlm_weights"] = False
    (tmp_path / "checkpoint" / "config.json").write_text(json.dumps(document))
    assert deviate(case, arrays, tmp_path).relative > 2 * rounding


def test_saved_again_it_is_the_same_policy(lerobot, tmp_path):
    settings = {"empty_cameras": 2, "add_image_special_tokens": True, "prefix_length": 64}
    case = small_case(**settings)
    arrays = exchange(case, lerobot("0.4.4"), tmp_path)
    policy = load_policy(tmp_path / "checkpoint")
    folder = policy.checkpoint.language.folder
    save_checkpoint(
        tmp_path / "again",
        policy._network,
        policy.config,
        policy.checkpoint.statistics,
        vlm=folder,
    )
    written = json.loads((tmp_path / "again" / "config.json").read_text())
    theirs = json.loads((tmp_path / "checkpoint" / "config.json").read_text())
    assert written.keys() == theirs.keys()
    for name in ("policy_preprocessor.json", "policy_postprocessor.json"):
        ours, theirs = (
            json.loads((tmp_path / path / name).read_text()) for path in ("again", "checkpoint")
        )
        assert ours == theirs
    images = {name: arrays[f"image_{name}"][0] for name in ("front", "wrist")}
    step, noise = Observation(arrays["state"][0], images, case.task), arrays["noise"][0]
    expected = policy.predict_chunk(step, noise=noise)
    (folder / "tokenizer.json").rename(folder / "moved.json")
    again = load_policy(tmp_path / "again").predict_chunk(step, noise=noise)
    np.testing.assert_array_equal(again, expected)
