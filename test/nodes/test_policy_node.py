"""The policy process: it drives what fits, and sends nothing where something does not."""

import dataclasses

import numpy as np
import pytest
from node_processes import running, running_graph

from armlet.arm import SO101_JOINTS
from armlet.arm import calibration as calibrations
from armlet.arm.joints import feature_names
from armlet.bringup import graph as graph_of
from armlet.contract import Camera, Contract, Stream
from armlet.demo.director import DemoError
from armlet.sim import FOLLOWER

torch = pytest.importorskip("torch", reason="the policy extra is not installed")

from armlet.policies import Act, ActConfig, Feature, save_checkpoint  # noqa: E402

HEIGHT, WIDTH = 48, 64
NAMES = feature_names(SO101_JOINTS)
CONTRACT = Contract(
    fps=30,
    cameras=(Camera("front", HEIGHT, WIDTH), Camera("wrist", HEIGHT, WIDTH)),
    state_names=NAMES,
    action_names=NAMES,
    joint_units="degrees",
    alignment=(Stream("state", "linear", 0.05),),
    calibration=calibrations.fingerprint(FOLLOWER),
)


def save_random(path, contract=None, **settings):
    """A small policy of random weights whose actions stay near the middle pose."""
    torch.manual_seed(0)
    camera = Feature("VISUAL", (3, HEIGHT, WIDTH))
    config = ActConfig(
        input_features={
            "observation.state": Feature("STATE", (6,)),
            "observation.images.front": camera,
            "observation.images.wrist": camera,
        },
        output_features={"action": Feature("ACTION", (6,))},
        **{"chunk_size": 20, "n_action_steps": 20, "use_vae": False, **settings},
        dim_model=32,
        n_heads=2,
        dim_feedforward=32,
        n_encoder_layers=1,
    )
    middle = np.array([0, 0, 0, 0, 0, 50.0])
    picture = {"mean": np.full((3, 1, 1), 0.5), "std": np.full((3, 1, 1), 0.25)}
    statistics = dict.fromkeys(config.image_features, picture)
    # Such as the bench's poses may belong to: the arm at home is two spreads from the middle.
    spread = np.array([30, 30, 30, 30, 30, 20.0])
    statistics |= {"observation.state": {"mean": middle, "std": spread}}
    statistics |= {"action": {"mean": middle, "std": np.full(6, 5.0)}}
    save_checkpoint(path, Act(config), config, statistics, contract, torch.float16)
    return path


def policy_graph(checkpoint, **arguments):
    given = {"width": str(WIDTH), "height": str(HEIGHT), "threads": "1", **arguments}
    return running_graph("policy", emulated="true", checkpoint=str(checkpoint), **given)


@pytest.mark.parametrize(
    "settings",
    [{}, {"temporal_ensemble_coeff": 0.01, "n_action_steps": 1}],
    ids=["chunks", "temporal ensembling"],
)
def test_a_policy_that_fits_drives_and_pauses(tmp_path, settings):
    checkpoint = save_random(tmp_path / "checkpoint", CONTRACT, **settings)
    with policy_graph(checkpoint) as graph:
        graph.wait_for_status("servo_bus: bus", "following joint_trajectory")
        graph.wait("chunks", lambda: len(graph.seen.latencies()) > 5)
        chunk = graph.seen.chunks(0, 2**62)[-1]
        assert chunk.rows.shape == (20, 6)
        graph.director.trigger("policy/reset")
        graph.director.set("policy/set_running", False)
        graph.wait_for_status("servo_bus: bus", "holding")


def test_a_plain_lerobot_checkpoint_is_checked_by_what_it_says(tmp_path):
    with policy_graph(save_random(tmp_path / "checkpoint")) as graph:
        graph.wait_for_status("servo_bus: bus", "following joint_trajectory")


def test_a_policy_that_does_not_fit_the_frames_sends_nothing(tmp_path):
    checkpoint = save_random(tmp_path / "checkpoint", CONTRACT)
    with policy_graph(checkpoint, width="80") as graph:
        graph.wait_for_status("policy: inference", "WRONG camera front")
        with pytest.raises(DemoError, match="does not fit"):
            graph.director.set("policy/set_running", True)
        assert graph.seen.chunks(0, 2**62) == []
        assert "WRONG" in graph.said()


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        ({}, {"joint_units": "range_m100_100"}, "WRONG joint units: expected degrees"),
        ({"calibration": "0" * 64}, {}, "WRONG calibration: expected 0000"),
    ],
)
def test_a_policy_that_does_not_fit_this_arm_is_not_even_configured(
    tmp_path, change, arguments, message
):
    contract = dataclasses.replace(CONTRACT, **change)
    checkpoint = save_random(tmp_path / "checkpoint", contract)
    with policy_graph(checkpoint, **arguments) as graph:
        assert graph.processes["policy"].wait(60) == 1
        assert message in graph.said()
        assert graph.seen.chunks(0, 2**62) == []


def test_a_strategy_the_policy_cannot_follow_is_refused(tmp_path):
    checkpoint = save_random(tmp_path / "checkpoint", CONTRACT)
    specs = graph_of("policy").nodes({"emulated": "true", "checkpoint": str(checkpoint)})
    policy = next(spec for spec in specs if spec.executable == "policy")
    policy.parameters["strategy"] = "rtc"
    with running([policy]) as graph:
        assert graph.processes["policy"].wait(60) == 1
        assert "expected a flow policy" in graph.said()


def test_a_torn_checkpoint_ends_the_policy_and_not_the_graph(tmp_path):
    checkpoint = save_random(tmp_path / "checkpoint", CONTRACT)
    weights = checkpoint / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with policy_graph(checkpoint) as graph:
        assert graph.processes["policy"].wait(60) == 1
        graph.wait("states", lambda: graph.seen.count("joint_states") > 10)
        assert graph.processes["servo_bus"].poll() is None
        assert "model.safetensors" in graph.said()
