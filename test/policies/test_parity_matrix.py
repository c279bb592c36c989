"""armlet against stock LeRobot over the matrix: a fixed share of what parity_campaign.py draws.

Every drawn policy is made by LeRobot and asked by both for a whole chunk, and for consecutive
actions with a reset midway: the queue of n_action_steps or the temporal ensemble, step by step.
"""

import tempfile
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the policy extra is not installed")
pytest.importorskip("tokenizers", reason="the policy extra is not installed")

from parity_matrix import ERAS, KINDS, LIMITS, deviate, draw, exchange, measure
from small_policies import act_config, make_act, make_observation, make_statistics

from armlet.policies import load_policy, save_checkpoint

pytestmark = pytest.mark.thorough

# Together they have every option of the matrix at least once, see the first test; few have
# cameras, because a backbone is 45 MB to make, save and load on both sides.
SHARE = {
    ("act", "0.3.3"): (0, 1, 23, 27, 30, 116, 142, 191),
    ("act", "0.4.4"): (5, 14, 20, 27, 38, 49),
    ("smolvla", "0.3.3"): (0, 4, 6, 12, 14, 17, 45, 212),
    ("smolvla", "0.4.4"): (11, 45, 81, 94, 186),
}
RUNS = [(kind, era, seed) for (kind, era), seeds in SHARE.items() for seed in seeds]


@pytest.mark.parametrize("kind", KINDS)
def test_share_has_every_option(kind):
    def options(runs):
        return {option for run in runs for option in draw(*run).options()}

    drawn = options((seed, era, kind) for era in ERAS for seed in range(60))
    assert not drawn - options((seed, era, kind) for era in ERAS for seed in SHARE[kind, era])


@pytest.mark.parametrize(("kind", "era", "seed"), RUNS)
def test_chunks_and_sequences_are_lerobots(kind, era, seed, lerobot, one_thread):
    case = draw(seed, era, kind)
    with tempfile.TemporaryDirectory() as folder:
        arrays = exchange(case, lerobot(era), Path(folder))
        for backend in ("torch", "torch-optimized")[: 2 if kind == "act" else 1]:
            deviation = deviate(case, arrays, Path(folder), backend)
            assert measure(kind, backend, deviation) < LIMITS[kind], backend
            # The sequence is one of actions that differ, not of one repeated.
            assert deviation.moved > 1e-3


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_joints_that_never_moved_are_no_noise_in_a_graph(backend, tmp_path):
    for package in ("onnx", backend):
        pytest.importorskip(package, reason="the export extra is not installed")
    config = act_config(cameras=())
    statistics = make_statistics(config)
    for key in ("observation.state", "observation.environment_state", "action"):
        statistics[key]["std"][1] = 0
    save_checkpoint(tmp_path / "checkpoint", make_act(config), config, statistics)
    observation = make_observation(config)
    observation.state[1] = statistics["observation.state"]["mean"][1]
    chunks = [
        load_policy(tmp_path / "checkpoint", backend=name).predict_chunk(observation)
        for name in ("torch", backend)
    ]
    np.testing.assert_allclose(chunks[1], chunks[0], atol=1e-3)
