"""The policy process: it drives what fits, and sends nothing where something does not.

One bench runs for all tests; each starts a policy of its own name on it. What is refused before
anything is started is asked of the node in this process.
"""

import contextlib
import dataclasses
import itertools
import shutil
import threading
import time

import numpy as np
import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticStatus
from node_processes import CALIBRATION, STANDSTILL_S
from std_msgs.msg import String

from armlet.align import grid_ns
from armlet.camera import jpeg
from armlet.client.graph import GraphError
from armlet.contract import FILE_NAME, Detail, load
from armlet.nodes.teardown import destroy
from armlet.robots.joints import joint_names
from armlet.robots.units import own_converter
from armlet.sim import FOLLOWER

pytest.importorskip("torch", reason="the policy extra is not installed")

from bench_policies import (
    CONTRACT,
    HEIGHT,
    MIDDLE,
    WIDTH,
    Bench,
    bench_without_policy,
    drawn_alone,
    make_drawn_smolvla,
    save_random,
)
from safetensors.torch import load_file, save_file

from armlet.nodes.frames import LiveFrame
from armlet.nodes.messages import joint_state
from armlet.nodes.node import SetupError
from armlet.nodes.pictures import compressed_image
from armlet.nodes.policy import PolicyNode
from armlet.nodes.policy_fit import task_doubt
from armlet.policies import read_checkpoint
from armlet.policies.checkpoint.checkpoint import with_preprocessing
from armlet.policies.fit.drift import DriftSettings
from armlet.settings.policy import SETTINGS


@pytest.fixture(scope="module")
def bench(private_domain):
    with bench_without_policy("hub:given/later") as (started, policy, _):
        yield Bench(started, policy)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Checkpoints by name; not to be changed."""
    folder = tmp_path_factory.mktemp("checkpoints")
    signed = save_random(folder / "signed", CONTRACT)
    other = shutil.copytree(signed, folder / "other arm")
    contract = load(other / FILE_NAME)
    dataclasses.replace(contract, calibration="0" * 64).save(other / FILE_NAME)
    return {"signed": signed, "plain": save_random(folder / "plain"), "other arm": other}


def test_a_policy_that_fits_drives_and_pauses(bench, saved):
    with bench.policy("chunks", saved["signed"]) as policy:
        policy.follows()
        policy.wait_for_chunks(6)
        policy.wait_for_status("running")
        assert policy.chunks()[-1].rows.shape == (20, 6)
        values = policy.values()
        assert [values[k] for k in ("backend", "precision", "device", "strategy")] == [
            "torch",
            "float32",
            "cpu",
            "latest_only",
        ]
        director = bench.graph.director
        director.set_parameters("chunks", strategy="n_action_steps", n_action_steps=10)
        # 10 periods of 30 Hz lie between two observations from now on.
        count = len(policy.chunks())
        policy.wait_for_chunks(count + 4)
        begins = [chunk.times_s[0] for chunk in policy.chunks()[-3:]]
        assert np.diff(begins) == pytest.approx(10 / 30, abs=1e-3)
        for values, reason in (
            ({"n_action_steps": 21}, "action_steps must be 1 to 20"),
            ({"strategy": "rtc"}, "expected a flow policy"),
            ({"max_observation_age_s": 0.5}, "the configured 0.3"),
            ({"checkpoint": "other"}, "read-only: the policy is loaded with it"),
            ({"running": False}, "read-only: ~/set_running switches it"),
        ):
            with pytest.raises(GraphError, match=reason):
                director.set_parameters("chunks", **values)
        policy.wait("the strategy", lambda: policy.values()["strategy"] == "n_action_steps")
        director.trigger("chunks/reset")
        director.set("chunks/set_running", False)
        bench.graph.wait_for_status("servo_bus: bus", "holding")


@pytest.mark.thorough
def test_a_plain_lerobot_checkpoint_drives_in_the_units_that_were_given(bench, tmp_path):
    ensembling = {"temporal_ensemble_coeff": 0.01, "n_action_steps": 1}
    checkpoint = save_random(tmp_path / "checkpoint", **ensembling)
    with bench.policy("plain", checkpoint, joint_units="degrees") as policy:
        policy.follows()
        policy.wait_for_status("running")
        assert policy.values()["strategy"] == "temporal_ensembling"
        assert "as given; the checkpoint does not state them" in policy.values()["joint units"]


def test_a_policy_that_does_not_fit_the_frames_sends_nothing(bench, tmp_path):
    wide = tuple(dataclasses.replace(camera, width=80) for camera in CONTRACT.cameras)
    contract = dataclasses.replace(CONTRACT, cameras=wide)
    checkpoint = save_random(tmp_path / "checkpoint", contract, width=80)
    with bench.policy("wide", checkpoint) as policy:
        policy.wait_for_status("ERROR camera front")
        with pytest.raises(GraphError, match="does not fit"):
            bench.graph.director.set("wide/set_running", True)
        assert policy.chunks() == []
        policy.wait_for_words("ERROR")


def test_a_policy_that_answers_to_nothing_sends_nothing(bench, saved, tmp_path):
    """Its files fit in every line; only what it gives for what it sees shows it."""
    checkpoint = shutil.copytree(saved["signed"], tmp_path / "zeroed")
    tensors = load_file(checkpoint / "model.safetensors")
    zeroed = {k: v * 0 if "action_head" in k else v for k, v in tensors.items()}
    save_file(zeroed, checkpoint / "model.safetensors")
    with bench.policy("zeroed", checkpoint) as policy:
        policy.wait_for_status("answers to the live robot")
        assert policy.values()["state"] == "refused"
        assert policy.chunks() == []
        policy.wait_for_words("[policy.actions-constant]")


def test_a_torn_checkpoint_ends_the_policy_and_not_the_graph(bench, saved, tmp_path):
    checkpoint = shutil.copytree(saved["signed"], tmp_path / "torn")
    weights = checkpoint / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with bench.policy("torn", checkpoint, ends=True) as policy:
        assert policy.process.wait(STANDSTILL_S) == 1
        assert "model.safetensors" in policy.said()
        assert policy.chunks() == []
    count = bench.graph.seen.count("joint_states")
    bench.graph.wait("states", lambda: bench.graph.seen.count("joint_states") > count + 10)


@pytest.mark.thorough
def test_smolvla_of_the_hub_drives_by_words_and_by_its_seed(bench, tmp_path):
    """Named as a repository, from the Hub's cache without a network; rtc; a task by topic."""
    pytest.importorskip("tokenizers", reason="the policy extra is not installed")
    pytest.importorskip("huggingface_hub", reason="the hub extra is not installed")
    from hub_cache import lay_out

    checkpoint = make_drawn_smolvla(tmp_path)
    lay_out(tmp_path / "hub", "somebody/reach", checkpoint, "v1")
    offline = {"HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"}
    name = "hub:somebody/reach@v1"
    # Its chunk is its noise: a policy that answers to nothing is refused unless that is wanted.
    noise_only = {"strategy": "rtc", "seed": 7, "fit_limits": "constant=0"}
    with bench.policy("drawn", name, offline, **noise_only) as policy:
        policy.wait_for_chunks(6)
        policy.follows()
        policy.wait_for_status("running")
        assert policy.values()["strategy"] == "rtc"
        policy.wait_for_words("needs a task text")
        tell(policy, "lift the cube")
        chunks = policy.chunks()
        policy.reset()
        policy.wait_for_chunks(len(chunks) + 4)
    first = drawn_alone(checkpoint, seed=7)
    assert min(np.abs(chunk.rows - first).max() for chunk in policy.chunks()) < 1e-6
    for before, after in itertools.pairwise(chunks):
        due = [np.interp(after.times_s[0], before.times_s, joint) for joint in before.rows.T]
        np.testing.assert_allclose(after.rows[0], due, atol=2e-3)
        assert np.abs(after.rows[-1] - after.rows[-2]).max() > 2e-3, "as drawn, further on"


def test_a_task_that_the_policy_was_not_trained_on_is_named(tmp_path):
    pytest.importorskip("tokenizers", reason="the policy extra is not installed")
    bare = read_checkpoint(make_drawn_smolvla(tmp_path))
    trained = dataclasses.replace(CONTRACT, tasks=("lift the cube", "open the box"))
    bound = dataclasses.replace(bare, contract=trained)
    assert "needs a task text" in task_doubt(bare, "")
    assert task_doubt(bare, "anything") == ""
    assert task_doubt(bound, "open the box") == ""
    assert task_doubt(bound, "open box").endswith("word by word: lift the cube; open the box")
    assert task_doubt(dataclasses.replace(bound, language=None), "open box") == ""


def tell(policy, task):
    """Publish a task until the policy has heard it."""
    node = rclpy.create_node("teller")
    publisher = node.create_publisher(String, f"{policy.name}/task", 10)
    ending = time.monotonic() + STANDSTILL_S
    while f"task: {task}" not in policy.said():
        publisher.publish(String(data=task))
        assert time.monotonic() < ending and policy.process.poll() is None, policy.said()
        time.sleep(0.1)
    destroy(node)


@pytest.fixture
def node_here():
    """A policy node in this process, with these parameters, and not yet configured."""

    @contextlib.contextmanager
    def node_here(checkpoint, **parameters):
        file = str(CALIBRATION / "emulated_follower.json")
        given = {"checkpoint": str(checkpoint), "calibration_file": file, **parameters}

        class Given(PolicyNode):
            def value(self, name):
                return given[name] if name in given else super().value(name)

        node = Given()
        try:
            yield node
        finally:
            destroy(node)

    alone = not rclpy.ok()  # else the bench's director has a context, and goes on needing it
    if alone:
        rclpy.init()
    yield node_here
    if alone:
        rclpy.try_shutdown()


@pytest.fixture
def setup(node_here):
    """Configures a policy node in this process; what it says against it."""

    def setup(checkpoint, **parameters):
        with node_here(checkpoint, **parameters) as node:
            with pytest.raises(SetupError) as refused:
                node.setup()
            return str(refused.value)

    return setup


@pytest.mark.parametrize(
    ("checkpoint", "parameters", "message"),
    [
        ("signed", {"joint_units": "range_m100_100"}, "ERROR joint units: expected degrees"),
        ("other arm", {}, "ERROR calibration: expected 0000"),
        ("plain", {}, "give joint_units:=degrees or joint_units:=range_m100_100"),
        ("plain", {"joint_units": "radians"}, "ERROR joint units: expected one of degrees"),
        ("signed", {"strategy": "rtc"}, "expected a flow policy"),
        ("signed", {"without": "wrist"}, "cameras to run without"),
        ("signed", {"backend": "abacus"}, "abacus"),
        ("signed", {"precision": "float4"}, "float4"),
        ("signed", {"device": "nowhere"}, "nowhere"),
        ("signed", {"fit_limits": "blind=0.1,colour=1"}, "expected NAME=VALUE"),
        ("signed", {"drift_stop_sigma": 1.0}, "warned of before it is stopped"),
    ],
)
def test_a_policy_that_does_not_fit_is_not_even_configured(
    checkpoint, parameters, message, setup, saved
):
    assert message in setup(saved[checkpoint], **parameters)


def frame_of(seed, stamp_ns=0):
    """A frame as the checkpoint's statistics have them."""
    radians = own_converter(FOLLOWER).dataset_to_radians(MIDDLE, "degrees")
    random = np.random.default_rng(seed)
    pictures = random.normal(128, 64, (2, HEIGHT, WIDTH, 3)).clip(0, 255).astype(np.uint8)
    parts = {
        camera.name: compressed_image(jpeg.encode(picture, 95), stamp_ns, "")
        for camera, picture in zip(CONTRACT.cameras, pictures, strict=True)
    }
    parts["observation.state"] = joint_state(joint_names(CONTRACT.state_names), stamp_ns, radians)
    return LiveFrame(stamp_ns, CONTRACT, parts)


def first_frames(node):
    """Shown to the node's check."""
    for seed in range(10):
        node._look(node._policy, frame_of(seed))


def fit_statuses(node):
    return [each for each in node.diagnostics() if each.name.endswith(": fit")]


def test_what_the_check_doubts_has_a_status_of_its_own(node_here, saved, tmp_path):
    doubted = shutil.copytree(saved["signed"], tmp_path / "doubted")
    finer = dataclasses.replace(CONTRACT, detail=(Detail("front", 0.5),))
    with_preprocessing(finer, read_checkpoint(saved["plain"]).preprocessor).save(
        doubted / FILE_NAME
    )
    for checkpoint, doubts in ((saved["signed"], 0), (doubted, 1)):
        with node_here(checkpoint) as node:
            node.setup()
            assert fit_statuses(node) == []
            node._on_contract(CONTRACT)
            first_frames(node)
            found = fit_statuses(node)
            assert node._fit.report.ok and len(found) == doubts
    (status,) = found
    assert status.level == DiagnosticStatus.WARN and "detail of camera front" in status.message
    assert {"policy.image-detail"} == {v.value for v in status.values if v.key == "codes"}


def test_the_drift_monitor_learns_which_rows_were_past_and_what_was_not_sent(node_here, saved):
    noted = []
    with node_here(saved["signed"]) as node:
        node.setup()
        node._session.start()
        node._on_contract(CONTRACT)
        first_frames(node)
        node._drift.note = lambda observation, rows, index, past: noted.append((index, past))
        for index, sent in ((3000, True), (3030, False)):
            stamp_ns = grid_ns(index, CONTRACT.fps)
            node.now_ns = lambda stamp_ns=stamp_ns: stamp_ns + 50_000_000
            if not sent:
                node._session.pause(node._now())
            node._attempt_chunk(node._policy, (frame_of(index, stamp_ns),), threading.Event())
    assert noted == [(3000, 2), (3030, None)]


def test_drift_is_judged_by_the_thresholds_that_python_has():
    declared = {setting.name: setting.default for setting in SETTINGS}
    for field in dataclasses.fields(DriftSettings):
        assert declared[f"drift_{field.name}"] == field.default


def test_a_repository_that_cannot_be_had_is_refused_by_name(setup, tmp_path, monkeypatch):
    constants = pytest.importorskip("huggingface_hub.constants", reason="no huggingface_hub")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    said = setup("hub:nobody/nothing@v1")
    assert "hub:nobody/nothing@v1" in said and "expected" in said
    assert "unset HF_HUB_OFFLINE" in said
