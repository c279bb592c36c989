"""Every backend against torch, unoptimized, which is LeRobot's to the bit: one suite for all."""

import ctypes
import dataclasses
import os
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the policy extra is not installed")
pytest.importorskip("tokenizers", reason="the policy extra is not installed")
pytest.importorskip("onnx", reason="the export extra is not installed")
pytest.importorskip("onnxruntime", reason="the export extra is not installed")
pytest.importorskip("openvino", reason="the export extra is not installed")

import torch
from small_policies import act_config, make_act, make_observation, make_statistics
from small_smolvla import make_language_model, make_noise, make_smolvla, smolvla_config
from small_smolvla import make_observation as make_worded_observation

from armlet.cli.main import main
from armlet.findings import Code
from armlet.policies import (
    ActConfig,
    CheckpointError,
    LeftOver,
    MissingPackage,
    Observation,
    ObservationError,
    Policy,
    load_policy,
    read_checkpoint,
    save_checkpoint,
)
from armlet.policies.runtime import arithmetic
from armlet.policies.runtime import backends as runtimes
from armlet.policies.runtime import policy as policies
from armlet.policies.runtime import staged as stages
from armlet.policies.runtime.backends import open_session
from armlet.policies.runtime.export import export_policy

GRAPHS = ("onnxruntime", "openvino")
BACKENDS = ("torch", *GRAPHS)
# Of an action's spread: rounding in float32, and bfloat16's eight bits.
FLOAT32, BFLOAT16 = 2e-6, 0.05

RANGES = dict.fromkeys(("VISUAL", "STATE", "ACTION", "ENV"), "MIN_MAX")
QUANTILES = {"VISUAL": "IDENTITY", "STATE": "QUANTILES", "ACTION": "QUANTILE10", "ENV": "IDENTITY"}
CONFIGS = {
    "two cameras": {},
    "ranges, pre-norm, gelu": {
        "cameras": ("front",),
        "normalization_mapping": RANGES,
        "pre_norm": True,
        "feedforward_activation": "gelu",
    },
    "quantiles, vae, ensembled": {
        "normalization_mapping": QUANTILES,
        "use_vae": True,
        "temporal_ensemble_coeff": 0.01,
        "n_action_steps": 1,
        "n_decoder_layers": 2,
    },
    "dilated resnet50": {
        "cameras": ("wrist",),
        "vision_backbone": "resnet50",
        "replace_final_stride_with_dilation": True,
    },
    "environment, no camera": {"cameras": ()},
}


STEPS = 6


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """These networks are too small to share, and a busy machine makes the threads wait."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@dataclass(frozen=True)
class Exported:
    """A checkpoint, its export, and what torch says, unoptimized, to observations of seeds 0..5."""

    checkpoint: Path
    export: Path
    config: ActConfig
    chunks: np.ndarray
    actions: np.ndarray
    spread: np.ndarray

    def load(self, backend: str, precision: str = "float32") -> Policy:
        path = self.checkpoint if backend == "torch" else self.export
        return load_policy(path, backend=backend, precision=precision)

    def observation(self, seed: int = 0) -> Observation:
        return make_observation(self.config, seed)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Exported by the name of a configuration, made when first asked for."""
    made = {}

    def export(name):
        if name not in made:
            folder = tmp_path_factory.mktemp("export")
            config = act_config(**CONFIGS[name])
            checkpoint = folder / "checkpoint"
            save_checkpoint(checkpoint, make_act(config), config, make_statistics(config))
            export_policy(read_checkpoint(checkpoint), folder / "export", "onnxruntime")
            policy = load_policy(checkpoint, optimize=False)
            seen = [make_observation(config, seed) for seed in range(STEPS)]
            chunks = np.stack([policy.predict_chunk(o) for o in seen])
            actions = np.stack([policy.select_action(o) for o in seen])
            zero, one = (
                policy.preprocessor.unnormalize_action(f(6)) for f in (torch.zeros, torch.ones)
            )
            spread = (one - zero).numpy()
            made[name] = Exported(checkpoint, folder / "export", config, chunks, actions, spread)
        return made[name]

    return export


@pytest.mark.thorough
@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_chunks_and_actions_are_torchs(backend, name, exported):
    made = exported(name)
    policy = made.load(backend)
    assert (policy.backend, policy.precision) == (backend, "float32")
    for seed in range(STEPS):
        error = np.abs(policy.select_action(made.observation(seed)) - made.actions[seed])
        assert (error <= FLOAT32 * made.spread).all()
    error = np.abs(policy.predict_chunk(made.observation(5)) - made.chunks[5])
    assert (error <= FLOAT32 * made.spread).all()


@pytest.mark.representatives(2)
@pytest.mark.parametrize("name", ["two cameras", "environment, no camera"])
@pytest.mark.parametrize("backend", ["torch", "openvino"])
def test_bfloat16_states_its_error(backend, name, exported, with_bfloat16):
    made = exported(name)
    try:
        policy = made.load(backend, "bfloat16")
    except ValueError as error:
        pytest.skip(str(error))
    error = np.abs(policy.predict_chunk(made.observation(5)) - made.chunks[5])
    assert policy.precision == "bfloat16"
    assert error.max() > 0 and (error <= BFLOAT16 * made.spread).all()
    # Stated on loading, for another observation: of the same size.
    assert policy.deviation.shape == (6,)
    assert 0.1 < policy.deviation.max() / error.max() < 10


def test_rounded_unoptimized_torch_is_bfloat16_too(exported, with_bfloat16):
    made = exported("environment, no camera")
    policy = load_policy(made.checkpoint, optimize=False, precision="bfloat16")
    error = np.abs(policy.predict_chunk(made.observation()) - made.chunks[0])
    assert 0 < error.max() < BFLOAT16 * made.spread.max()


def test_torch_does_not_emulate_bfloat16(exported, monkeypatch):
    made = exported("environment, no camera")
    monkeypatch.setattr(arithmetic, "processor_flags", lambda: frozenset({"avx2"}))
    with pytest.raises(ValueError, match=r"found one without; use float32"):
        load_policy(made.checkpoint, precision="bfloat16")


@pytest.mark.representatives(1)
@pytest.mark.parametrize("backend", GRAPHS)
def test_a_checkpoint_is_traced_when_loaded(backend, exported):
    made = exported("environment, no camera")
    observation = made.observation(1)
    now = load_policy(made.checkpoint, backend=backend)
    before = load_policy(made.export, backend=backend)
    np.testing.assert_array_equal(now.predict_chunk(observation), before.predict_chunk(observation))
    assert now.checkpoint.path == made.checkpoint and before.checkpoint.path == made.export
    np.testing.assert_array_equal(now.deviation, before.deviation)


@pytest.mark.parametrize("backend", BACKENDS)
def test_chunks_outlive_the_next_one(backend, exported):
    made = exported("environment, no camera")
    policy = made.load(backend)
    first = policy.predict_chunk(made.observation(1))
    kept = first.copy()
    policy.predict_chunk(made.observation(2))
    np.testing.assert_array_equal(first, kept)


BAD = {
    "lost camera": (lambda o: {"images": {"front": o.images["front"]}}, "'wrist' is missing"),
    "wrong size": (
        lambda o: {"images": {n: p[::2] for n, p in o.images.items()}},
        "does not resize",
    ),
    "floats": (lambda o: {"images": {n: p / 255 for n, p in o.images.items()}}, "expected uint8"),
    "short state": (lambda o: {"state": o.state[:5]}, "vectors of 6 values"),
    "double state": (lambda o: {"state": o.state.astype(float)}, "float32 vectors"),
    "NaN": (lambda o: {"state": o.state * np.float32(np.nan)}, "expected finite values"),
}


@pytest.mark.representatives(1)
@pytest.mark.parametrize("backend", BACKENDS)
def test_bad_observations_are_refused_alike(backend, exported):
    made = exported("two cameras")
    policy, observation = made.load(backend), made.observation()
    for change, message in BAD.values():
        with pytest.raises(ObservationError, match=message):
            policy.predict_chunk(dataclasses.replace(observation, **change(observation)))
    with pytest.raises(FloatingPointError, match="non-finite actions"):
        policy.predict_chunk(Observation(observation.state * np.float32(1e30), observation.images))
    # None of it left a trace.
    whole = policy.predict_chunk(observation)
    np.testing.assert_allclose(whole, made.chunks[0], atol=1e-3)


def test_read_only_and_strided_pictures_are_taken(exported):
    made = exported("two cameras")
    observation = made.observation()
    mirrored = {name: p[:, ::-1] for name, p in observation.images.items()}
    for picture in observation.images.values():
        picture.setflags(write=False)
    for backend in BACKENDS:
        policy = made.load(backend)
        policy.predict_chunk(observation)
        strided = policy.predict_chunk(Observation(observation.state, mirrored))
        copied = {name: p.copy() for name, p in mirrored.items()}
        whole = policy.predict_chunk(Observation(observation.state, copied))
        np.testing.assert_array_equal(strided, whole)


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (
            {"backend": "tensorrt"},
            "expected one of torch, onnxruntime, openvino, auto, found 'tensorrt'",
        ),
        ({"precision": "int8"}, "expected one of float32, bfloat16, found 'int8'"),
        (
            {"backend": "onnxruntime", "precision": "bfloat16"},
            "expected float32 for backend onnxruntime, found bfloat16; torch and openvino can",
        ),
        ({"backend": "openvino", "device": "meta"}, "expected cpu for backend openvino"),
        ({"threads": 0}, "threads: expected at least 1"),
    ],
)
def test_impossible_choices_say_what_is_possible(choice, message, exported):
    with pytest.raises(ValueError, match=message):
        load_policy(exported("environment, no camera").checkpoint, **choice)


def test_bfloat16_needs_a_processor_that_has_it(exported, monkeypatch):
    import openvino

    monkeypatch.setattr(openvino.Core, "get_property", lambda *_: ["FP32", "INT8"])
    with pytest.raises(ValueError, match=r"expected a processor with bfloat16 .* FP32, INT8"):
        exported("environment, no camera").load("openvino", "bfloat16")


@pytest.mark.parametrize("backend", GRAPHS)
def test_a_missing_package_names_the_extra(backend, exported, monkeypatch):
    monkeypatch.setitem(sys.modules, backend, None)
    with pytest.raises(MissingPackage, match=rf"package {backend}: .*armlet\[export\]"):
        exported("environment, no camera").load(backend)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingPackage, match=r"package onnx: .*armlet\[export\]"):
        load_policy(exported("environment, no camera").checkpoint, backend=backend)


@pytest.mark.parametrize("backend", BACKENDS)
def test_threads_reach_the_runtime(backend, exported, monkeypatch):
    counts = []
    if backend == "torch":
        monkeypatch.setattr(torch, "set_num_threads", counts.append)
    elif backend == "onnxruntime":
        import onnxruntime

        session = onnxruntime.InferenceSession

        def start(graph, options, **rest):
            counts.append(options.intra_op_num_threads)
            return session(graph, options, **rest)

        monkeypatch.setattr(onnxruntime, "InferenceSession", start)
    else:
        import openvino

        compile_model = openvino.Core.compile_model

        def compiled(core, model, device, settings):
            counts.append(settings["INFERENCE_NUM_THREADS"])
            return compile_model(core, model, device, settings)

        monkeypatch.setattr(openvino.Core, "compile_model", compiled)
    made = exported("environment, no camera")
    path = made.checkpoint if backend == "torch" else made.export
    load_policy(path, backend=backend, threads=1)
    assert counts == [1]
    if backend != "torch":
        load_policy(path, backend=backend)
        assert counts == [1, torch.get_num_threads()]


def test_a_runtime_that_computes_something_else_is_refused(exported, monkeypatch):
    """OpenVINO 2026.4 did for linear layers written as convolutions."""
    run = runtimes._OpenVino.__call__
    monkeypatch.setattr(runtimes._OpenVino, "__call__", lambda *a: run(*a) + np.float32(0.01))
    made = exported("environment, no camera")
    for path in (made.checkpoint, made.export):
        with pytest.raises(CheckpointError, match=r"found errors of 0.01"):
            load_policy(path, backend="openvino")
    monkeypatch.setattr(runtimes._OpenVino, "__call__", lambda *a: run(*a) * np.float32(np.nan))
    with pytest.raises(CheckpointError, match="found errors of nan"):
        load_policy(made.export, backend="openvino")


def test_auto_takes_one_that_can_and_keeps_why_others_cannot(exported, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    made = exported("environment, no camera")
    policy = load_policy(made.export, backend="auto")
    assert (policy.backend, policy.precision) == ("onnxruntime", "float32")
    assert [c.backend for c in policy.candidates] == ["onnxruntime", "openvino"]
    assert "package openvino" in policy.candidates[1].reason
    assert policy.choice.startswith("backend onnxruntime of: onnxruntime ")
    monkeypatch.setattr(arithmetic, "processor_flags", lambda: frozenset({"avx2"}))
    with pytest.raises(ValueError, match=r"torch left out .* onnxruntime left out"):
        load_policy(made.checkpoint, backend="auto", precision="bfloat16")
    with pytest.raises(CheckpointError, match="expected a directory"):
        load_policy(made.checkpoint / "none", backend="auto")


@pytest.mark.thorough
def test_inspect_lists_the_runtimes_with_their_figures(exported, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    made = exported("environment, no camera")
    assert main(["policy", "inspect", str(made.checkpoint), "--backends"]) == 0
    lines = [s for s in capsys.readouterr().out.splitlines() if s.startswith("backend ")]
    assert [line.split()[1] for line in lines] == ["torch", "onnxruntime", "openvino"]
    assert "left out (package onnxruntime" in lines[1]
    assert sum("(auto takes it)" in line and " ms" in line for line in lines) == 1


def test_an_unknown_graph_is_refused_by_each_runtime(exported):
    for backend in GRAPHS:
        with pytest.raises(CheckpointError, match=f"somewhere: graph for {backend}: expected one"):
            open_session(b"no graph", backend, "float32", 1, "somewhere")


@pytest.fixture(scope="module")
def worded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("smolvla")
    vlm = make_language_model(folder / "vlm")
    config = smolvla_config()
    network = make_smolvla(config, vlm)
    save_checkpoint(folder / "checkpoint", network, config, make_statistics(config), vlm=vlm)
    return folder / "checkpoint", config


@pytest.fixture(scope="module", params=GRAPHS)
def staged(request, worded):
    """A SmolVLA in stages, and the same with torch, unoptimized."""
    return load_policy(worded[0], backend=request.param), load_policy(worded[0], optimize=False)


def test_smolvla_in_stages_is_torchs_from_the_same_seed(staged, worded):
    policy, torchs = staged
    assert policy.draws and policy.inpaints and policy.deviation.max() < 1e-3
    before = {}
    for task in ("lift", "put the red cube into the box on the left", "", "lift"):
        seen = dataclasses.replace(make_worded_observation(worded[1], size=(50, 70)), task=task)
        for each in staged:
            each.reset(seed=5)
        expected = torchs.predict_chunk(seen)
        first = policy.predict_chunk(seen)
        np.testing.assert_allclose(first, expected, atol=1e-3)
        # Later chunks leave it as it is, and another task leaves no trace.
        np.testing.assert_array_equal(before.setdefault(task, first.copy()), first)


def test_smolvla_in_stages_goes_on_with_a_plan(staged, worded):
    policy, _ = staged
    seen, noise = make_worded_observation(worded[1]), make_noise(worded[1])
    rows = np.arange(24, dtype=np.float32).reshape(4, 6)
    ours, theirs = (each.predict_chunk(seen, LeftOver(rows, 2), noise) for each in staged)
    np.testing.assert_allclose(ours, theirs, atol=1e-3)
    assert np.abs(ours - policy.predict_chunk(seen, noise=noise)).max() > 1


def test_a_task_beyond_the_room_of_the_stages_is_refused(staged, worded, monkeypatch):
    policy, _ = staged
    words = policy.checkpoint.language.words
    monkeypatch.setattr(type(words), "__call__", lambda *_: torch.zeros(1, 49, dtype=torch.int64))
    with pytest.raises(ObservationError, match="at most 48 tokens with this backend, found 49"):
        policy.predict_chunk(make_worded_observation(worded[1]))


@pytest.mark.representatives(1)
@pytest.mark.parametrize("error", [np.nan, 0.1])
def test_stages_that_compute_something_else_are_refused(error, worded, monkeypatch):
    opened = policies.open_stages

    def wrong(*given):
        runs = opened(*given)
        right = runs["velocity"]
        return runs | {"velocity": lambda g: {"velocity": right(g)["velocity"] + error}}

    monkeypatch.setattr(policies, "open_stages", wrong)
    with pytest.raises(CheckpointError, match="found errors of") as refusal:
        load_policy(worded[0], backend="onnxruntime")
    assert refusal.value.finding.code is Code.POLICY_EXPORT_DIFFERS


def raising(error):
    def raise_it(*_, **__):
        raise error

    return raise_it


def test_stages_refuse_as_graphs_do(worded, monkeypatch):
    import openvino

    monkeypatch.setattr(openvino.Core, "get_property", lambda *_: ["FP32"])
    with pytest.raises(ValueError, match="expected a processor with bfloat16"):
        load_policy(worded[0], backend="openvino", precision="bfloat16")
    with monkeypatch.context() as patch, pytest.raises(CheckpointError, match="no such operator"):
        patch.setattr(torch.onnx, "export", raising(RuntimeError("no such operator")))
        load_policy(worded[0], backend="openvino")
    monkeypatch.setattr(stages, "openvino_core", lambda *_: (None, None))
    with pytest.raises(CheckpointError, match="graph for openvino: expected one"):
        load_policy(worded[0], backend="openvino")
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingPackage, match="package openvino"):
        load_policy(worded[0], backend="openvino")


def test_smolvla_has_no_single_graph(worded, tmp_path):
    with pytest.raises(ValueError, match=r"ACT policy, found SmolVLA; .* runs its checkpoint"):
        export_policy(read_checkpoint(worded[0]), tmp_path / "export", "onnxruntime")


def test_smolvla_in_bfloat16(worded, with_bfloat16):
    path, config = worded
    observation = make_worded_observation(config)
    chunks = []
    for precision in ("float32", "bfloat16"):
        policy = load_policy(path, precision=precision)
        policy.reset(seed=3)
        chunks.append(policy.predict_chunk(observation))
    error = np.abs(chunks[1] - chunks[0])
    assert policy.precision == "bfloat16" and chunks[1].dtype == np.float32
    assert 0 < error.max() < 0.1 * np.abs(chunks[0]).max()


LOADED = """
import sys
seen = []
watched = ("os.fork", "subprocess.", "socket.")
def note(event, given):
    # A torch with CUDA looks for the C library's names, as ctypes.util does.
    if event.startswith(watched) and "ldconfig" not in str(given[:1]):
        seen.append(event)
sys.addaudithook(note)
from armlet.policies.runtime.backends import load_package
load_package(sys.argv[1])
print(seen)
"""


@pytest.mark.thorough
@pytest.mark.parametrize("package", GRAPHS)
def test_a_runtime_reports_to_nobody(package, tmp_path):
    """OpenVINO forked the process, a running node's too, to ask Google Analytics; both wrote."""
    silenced = ("ORT_DISABLE_TELEMETRY", "CI", "XDG_CACHE_HOME")
    environment = {name: value for name, value in os.environ.items() if name not in silenced}
    done = subprocess.run(
        [sys.executable, "-c", LOADED, package],
        env={**environment, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "[]\n"
    assert not list(tmp_path.rglob("*"))


class SignalStack(ctypes.Structure):
    """stack_t of Linux: where this thread's signal handlers run."""

    _fields_ = (("base", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


@pytest.mark.skipif(sys.platform != "linux", reason="stack_t differs by system")
def test_a_signal_has_its_stack_after_another_thread_let_the_policy_go(exported):
    """OpenVINO unmaps the stack it gave this thread: Ctrl-C was a segmentation fault then."""
    held = [load_policy(exported("environment, no camera").export, backend="openvino")]
    last = threading.Thread(target=held.clear)
    last.start()
    last.join()
    stack = SignalStack()
    assert ctypes.CDLL(None).sigaltstack(None, ctypes.byref(stack)) == 0
    assert stack.base is None or any(
        int(begin, 16) <= stack.base and stack.base + stack.size <= int(end, 16)
        for begin, end in (
            line.split(maxsplit=1)[0].split("-")
            for line in Path("/proc/self/maps").read_text().splitlines()
        )
    )
