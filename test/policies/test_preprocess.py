import dataclasses

import numpy as np
import pytest
import torch
from small_policies import HEIGHT, WIDTH, act_config, make_observation, make_statistics

from armlet.policies import CheckpointError, ObservationError, Preprocessor

EPS = 1e-8
BOUNDS = {"MIN_MAX": ("min", "max"), "QUANTILES": ("q01", "q99"), "QUANTILE10": ("q10", "q90")}
MODES = ["MEAN_STD", "IDENTITY", *BOUNDS]


def preprocessor(mode="MEAN_STD", **changed):
    kinds = ("VISUAL", "STATE", "ACTION", "ENV")
    config = act_config(normalization_mapping=dict.fromkeys(kinds, mode))
    statistics = make_statistics(config)
    for key, value in changed.items():
        statistics[key] = value
    return Preprocessor.from_config(config, statistics), config, statistics


def by_hand(mode, x, s):
    """LeRobot's formulas in float64."""
    s = {name: value.astype(np.float64) for name, value in s.items()}
    if mode == "IDENTITY":
        return x
    if mode == "MEAN_STD":
        return (x - s["mean"]) / (s["std"] + EPS)
    low, high = (s[name] for name in BOUNDS[mode])
    return 2 * (x - low) / (high - low) - 1


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_matches_its_formula(mode):
    process, config, statistics = preprocessor(mode)
    observation = make_observation(config)
    batch = process(observation)
    state = by_hand(mode, observation.state.astype(np.float64), statistics["observation.state"])
    np.testing.assert_allclose(batch["observation.state"][0], state, atol=1e-5)
    key = "observation.images.wrist"
    pixels = observation.images["wrist"].transpose(2, 0, 1) / 255.0
    np.testing.assert_allclose(
        batch[key][0], by_hand(mode, pixels, statistics[key]), atol=2e-6, rtol=1e-5
    )
    assert {value.dtype for value in batch.values()} == {torch.float32}
    assert batch[key].shape == (1, 3, HEIGHT, WIDTH)


@pytest.mark.parametrize("mode", MODES)
def test_actions_come_back_from_normalization(mode):
    process, _, statistics = preprocessor(mode)
    actions = torch.randn(5, 8, 6) * 30
    normal = process.normalize_action(actions)
    expected = by_hand(mode, actions.double().numpy(), statistics["action"])
    np.testing.assert_allclose(normal, expected, atol=1e-5)
    torch.testing.assert_close(process.unnormalize_action(normal), actions, atol=1e-4, rtol=0)


def test_extremes_of_a_range_become_minus_one_and_one():
    process, _, statistics = preprocessor("MIN_MAX")
    ends = np.stack([statistics["action"]["min"], statistics["action"]["max"]])
    normal = process.normalize_action(torch.from_numpy(ends))
    np.testing.assert_allclose(normal, [[-1] * 6, [1] * 6], atol=1e-6)


def test_batches_are_the_same_code_as_single_observations():
    process, config, _ = preprocessor()
    observations = [make_observation(config, seed) for seed in range(3)]
    batch = process.batch(
        {name: np.stack([o.images[name] for o in observations]) for name in ("front", "wrist")},
        np.stack([o.state for o in observations]),
        actions=np.zeros((3, 8, 6), np.float32),
        action_is_pad=np.zeros((3, 8), bool),
    )
    for row, observation in enumerate(observations):
        for key, value in process(observation).items():
            assert torch.equal(batch[key][row], value[0]), key
    assert torch.equal(batch["action"][0], process.normalize_action(torch.zeros(8, 6)))
    assert batch["action_is_pad"].dtype == torch.bool


def test_read_only_pictures_are_accepted_unchanged():
    process, config, _ = preprocessor()
    observation = make_observation(config)
    expected = process(observation)
    for image in observation.images.values():
        image.flags.writeable = False
    again = process(observation)
    assert all(torch.equal(expected[key], again[key]) for key in expected)


def test_cameras_the_policy_does_not_know_are_no_fault():
    process, config, _ = preprocessor()
    observation = make_observation(config)
    images = {**observation.images, "ceiling": np.zeros((4, 4, 3), np.uint8)}
    process(dataclasses.replace(observation, images=images))


def test_constant_dimension_follows_lerobot_and_is_noted():
    statistics = make_statistics(act_config())["observation.state"]
    statistics["std"] = statistics["std"].copy()
    statistics["std"][2] = 0
    process, config, _ = preprocessor(**{"observation.state": statistics})
    observation = make_observation(config)
    expected = (observation.state[2] - statistics["mean"][2]) / np.float32(EPS)
    assert process(observation)["observation.state"][0, 2] == pytest.approx(expected, rel=1e-5)
    assert any("observation.state[2]" in note for note in process.notes())


def broken_images(change):
    def apply(observation):
        return dataclasses.replace(observation, images=change(dict(observation.images)))

    return apply


def broken_state(value):
    return lambda observation: dataclasses.replace(observation, state=value)


@pytest.mark.parametrize(
    ("breaking", "message"),
    [
        (broken_images(lambda i: {"front": i["front"]}), "camera 'wrist' is missing"),
        (broken_images(lambda i: i | {"wrist": i["wrist"][:-1]}), "does not resize"),
        (broken_images(lambda i: i | {"wrist": i["wrist"].transpose(1, 0, 2)}), "does not resize"),
        (broken_images(lambda i: i | {"wrist": i["wrist"] / 255}), "expected uint8"),
        (broken_images(lambda i: i | {"wrist": i["wrist"][..., :1]}), "expected uint8"),
        (broken_images(lambda i: i | {"wrist": i["wrist"].tolist()}), "expected a numpy array"),
        (broken_state(np.zeros(5, np.float32)), "vectors of 6 values"),
        (broken_state(np.zeros(6)), "expected float32"),
        (broken_state(np.array([0, 0, np.nan, 0, 0, 0], np.float32)), r"index \[2\]"),
        (broken_state(np.full(6, np.inf, np.float32)), "expected finite"),
    ],
)
def test_observations_unlike_the_training_data_are_refused(breaking, message):
    process, config, _ = preprocessor()
    with pytest.raises(ObservationError, match=message):
        process(breaking(make_observation(config)))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("std", None, "expected action.mean, action.std"),
        ("std", -np.ones(6), "std >= 0"),
        ("mean", np.full(6, np.inf), "finite"),
        ("mean", np.zeros(5), "shape of action.mean"),
    ],
)
def test_impossible_statistics_are_refused(name, value, message):
    statistics = make_statistics(act_config())["action"]
    if value is None:
        del statistics[name]
    else:
        statistics[name] = value
    with pytest.raises(CheckpointError, match=message):
        preprocessor(action=statistics)


def test_reversed_range_is_refused():
    statistics = make_statistics(act_config())["action"]
    statistics["min"], statistics["max"] = statistics["max"], statistics["min"]
    with pytest.raises(CheckpointError, match="min <= max"):
        preprocessor("MIN_MAX", action=statistics)


def test_fingerprint_covers_what_normalization_uses_and_nothing_else():
    process, _, statistics = preprocessor()
    unused = {**statistics["action"], "q01": np.zeros(6)}
    used = {**statistics["action"], "mean": statistics["action"]["mean"] + np.float32(1e-3)}
    assert preprocessor(action=unused)[0].fingerprint() == process.fingerprint()
    assert preprocessor(action=used)[0].fingerprint() != process.fingerprint()
    assert preprocessor("IDENTITY")[0].fingerprint() != process.fingerprint()


def test_describe_states_the_whole_preprocessing():
    process, _, _ = preprocessor()
    described = process.describe()
    assert (described.resize, described.value_range) == ("none", "0..1")
    assert described.normalization == dict.fromkeys(("VISUAL", "STATE", "ACTION"), "MEAN_STD")
    assert described.statistics == process.fingerprint() and len(described.statistics) == 64
