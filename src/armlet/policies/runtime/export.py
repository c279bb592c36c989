"""Exported policies: a directory with the graph, what it is, and the proof that it runs right.

    policy.onnx    the graph, with its manifest in its metadata
    export.json    the manifest, the graph's size and SHA-256, and a sample
    config.json, processors and contract as in the checkpoint, for all that is not inference

The sample is one observation and the chunk torch gives for it. Whoever loads the directory runs
it through the runtime at hand first: an optimizer's mistake shows before the arm moves.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import typing
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

import armlet
from armlet import contract as contracts
from armlet.files import FileError, check_file
from armlet.findings import Code
from armlet.policies.checkpoint import lerobot_03
from armlet.policies.checkpoint.checkpoint import (
    CONFIG,
    EXPORT,
    OLD_ERA,
    Checkpoint,
    Choices,
    load_network,
    read_checkpoint,
)
from armlet.policies.checkpoint.processors import POSTPROCESSOR, PREPROCESSOR, read_pipeline
from armlet.policies.checkpoint.save import check_new, new_directory
from armlet.policies.checkpoint.weights import FILE as WEIGHTS
from armlet.policies.checkpoint.weights import read_header
from armlet.policies.config.base import (
    ACTION,
    ENVIRONMENT,
    STATE,
    PolicyConfig,
    camera_name,
)
from armlet.policies.config.errors import CheckpointError
from armlet.policies.config.strict_json import as_kind, as_object, read_object, refuse_unknown
from armlet.policies.networks.base import PolicyNetwork
from armlet.policies.observation import Observation
from armlet.policies.preprocess import Preprocessor

from .arithmetic import BFLOAT16, FLOAT32
from .backends import Session, check_backend, open_session
from .graph import (
    JointMap,
    PolicyGraph,
    Port,
    as_inputs,
    input_ports,
    output_port,
    read_face,
    trace,
    with_metadata,
)
from .radians import Robot

GRAPH = "policy.onnx"
FORMAT = 1
DATASET_UNITS = "dataset"
RADIANS = "radians"

# What a graph in float32 should differ by from torch at most, in units of the action.
PARITY = 1e-4
# Beyond these shares of an action's spread a graph computes something else, and is refused.
# Rounding alone reaches 1e-5 in float32 and 0.1 in bfloat16 (random weights, the default size).
_LIMITS = {FLOAT32: 1e-4, BFLOAT16: 0.5}
# A few steps of float32, as a share of the action itself.
_STEPS = 1e-6
_LARGEST_GRAPH = 512 << 20
_TRIALS = 3
_UNWRITTEN = "graph to export"
# Of the sample, where no contract states one.
_TASK = "pick up the cube"
_VECTORS = (STATE, ENVIRONMENT)

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Manifest:
    """What a graph is. Stored, as canonical JSON, in the graph's metadata and beside it.

    units are those of state and actions, `dataset` or `radians`; with radians, joint_units are the
    dataset's and calibration is the fingerprint of the arm's. contract is canonical JSON.
    checkpoint is the SHA-256 of its weights, statistics that of the preprocessing. backend and
    precision are those it was verified with, deviation the largest error of each action entry.
    """

    format: int
    armlet: str
    backend: str
    precision: str
    inputs: tuple[Port, ...]
    output: Port
    units: str
    joint_units: str | None
    calibration: str | None
    contract: str | None
    checkpoint: str
    statistics: str
    embodiment: str | None
    deviation: tuple[float, ...]

    def canonical(self) -> str:
        """Sorted keys and no spaces, so that equal manifests are equal texts."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True, separators=(",", ":"))


@dataclass(frozen=True)
class GoldenSample:
    """An observation, its pictures made from a seed, and torch's chunk for it.

    state is in the graph's units (n,), environment_state (m,) or empty, chunk float32 (C, n).
    """

    seed: int
    state: Floats
    environment_state: Floats
    chunk: Floats


@dataclass(frozen=True)
class Export:
    """An exported directory, read and checked; the graph has not run yet."""

    path: Path
    manifest: Manifest
    graph: bytes
    sample: GoldenSample
    checkpoint: Checkpoint


@dataclass(frozen=True)
class Running:
    """A session with its proof: the largest difference from torch per action entry, (n,)."""

    session: Session
    backend: str
    precision: str
    deviation: NDArray[np.float64]

    def chunk(self, preprocessor: Preprocessor, observation: Observation) -> Floats:
        """The chunk float32 (C, n). Raises ObservationError as the preprocessor does."""
        return self.session(as_inputs(preprocessor.arrays(observation)))


def is_export(path: Path) -> bool:
    """Whether a directory claims to be an exported policy."""
    return (path / EXPORT).is_file()


def compile_checkpoint(
    checkpoint: Checkpoint, backend: str, precision: str, threads: int | None = None
) -> Running:
    """A checkpoint's graph, traced now and compared with torch once.

    Raises as export_policy does, but for the directory.
    """
    graph, samples = _traced(checkpoint, backend, None, trials=1)
    session = open_session(graph, backend, precision, threads, checkpoint.path)
    return _proven(session, backend, precision, samples, checkpoint, checkpoint.path)


def export_policy(
    checkpoint: Checkpoint,
    path: Path,
    backend: str,
    precision: str = FLOAT32,
    robot: Robot | None = None,
    embodiment: str | None = None,
) -> Manifest:
    """Write the directory `path`: the checkpoint as a graph that takes what the robot has.

    With a robot, state and actions are radians, else dataset units. The directory appears complete
    or not at all. Raises ValueError for what backend, precision or policy cannot do (MissingPackage
    is one), FileExistsError, CheckpointError if the graph does not do what torch does.
    """
    check_backend(backend, precision)
    check_new(path)
    graph, samples = _traced(checkpoint, backend, robot, trials=_TRIALS)
    session = open_session(graph, backend, precision, None, checkpoint.path)
    joints = None if robot is None else robot.joints
    running = _proven(session, backend, precision, samples, checkpoint, _UNWRITTEN, joints)
    config, contract = checkpoint.config, checkpoint.contract
    manifest = Manifest(
        format=FORMAT,
        armlet=armlet.__version__,
        backend=backend,
        precision=precision,
        inputs=input_ports(config),
        output=output_port(config),
        units=DATASET_UNITS if robot is None else RADIANS,
        joint_units=_joint_units(checkpoint, robot),
        calibration=None if robot is None else robot.calibration,
        contract=None if contract is None else contract.canonical(),
        checkpoint=checkpoint.digest(),
        statistics=checkpoint.preprocessor.fingerprint(),
        embodiment=embodiment,
        deviation=tuple(float(value) for value in running.deviation),
    )
    with new_directory(path) as folder:
        _copy_json_files(checkpoint, folder)
        stored = with_metadata(graph, manifest.canonical())
        (folder / GRAPH).write_bytes(stored)
        document = {
            "manifest": dataclasses.asdict(manifest),
            "graph": {"bytes": len(stored), "sha256": hashlib.sha256(stored).hexdigest()},
            "witness": {
                key: value if isinstance(value, int) else value.tolist()
                for key, value in vars(samples[0]).items()
            },
        }
        (folder / EXPORT).write_text(json.dumps(document, indent=1, allow_nan=False), "utf-8")
    return manifest


def read_export(path: Path) -> Export:
    """An exported directory whose parts agree with each other.

    Raises CheckpointError, saying what was expected and found and how to fix it, for a torn or
    changed graph, one that reads other files, and one that the documents beside it do not describe.
    """
    where = path / EXPORT
    document = read_object(where)
    refuse_unknown(document, ("manifest", "graph", "witness"), where)
    manifest = _manifest(document.get("manifest"), where)
    graph = _whole_graph(path, as_object(document.get("graph"), where))
    face = read_face(graph, path / GRAPH)
    _agree(path / GRAPH, "manifest", manifest.canonical(), face.metadata)
    checkpoint = read_checkpoint(path, Choices(embodiment=manifest.embodiment))
    config, contract = checkpoint.config, checkpoint.contract
    _agree(path / GRAPH, "inputs", input_ports(config), face.inputs)
    _agree(path / GRAPH, "outputs", (output_port(config),), face.outputs)
    _agree(where, "inputs", face.inputs, manifest.inputs)
    _agree(where, "output", face.outputs, (manifest.output,))
    _agree(where, "statistics", checkpoint.preprocessor.fingerprint(), manifest.statistics)
    canonical = None if contract is None else contract.canonical()
    _agree(where, "contract", canonical, manifest.contract)
    sample = _golden_sample(document.get("witness"), config, where)
    return Export(path, manifest, graph, sample, checkpoint)


def run_export(export: Export, backend: str, precision: str, threads: int | None = None) -> Running:
    """The graph made ready and proven by its sample. Raises as open_session does, and
    CheckpointError if it does not give the sample's chunk, or is in radians, which a Policy is
    not."""
    if export.manifest.units != DATASET_UNITS:
        raise CheckpointError.found(
            Code.POLICY_OPTION_REFUSED,
            export.path,
            "units of the graph",
            expected=f"{DATASET_UNITS} units, which armlet converts with the arm's own calibration",
            found=export.manifest.units,
            fix="this export is for programs without armlet: export again without a calibration",
        )
    graph, where = export.graph, export.path / GRAPH
    session = open_session(graph, backend, precision, threads, where)
    return _proven(session, backend, precision, [export.sample], export.checkpoint, where)


def sample_arrays(sample: GoldenSample, config: PolicyConfig) -> dict[str, NDArray[Any]]:
    """The graph's inputs for the sample."""
    random = np.random.RandomState(sample.seed)
    vectors = {STATE: sample.state, ENVIRONMENT: sample.environment_state}
    return {
        port.name: vectors[port.name]
        if port.name in vectors
        else random.randint(0, 256, port.shape).astype(np.uint8)
        for port in input_ports(config)
    }


def torch_sample(checkpoint: Checkpoint, network: PolicyNetwork) -> tuple[Observation, Floats]:
    """An observation such as training had, and the chunk (C, n) an unoptimized network gives."""
    config = checkpoint.config
    graph = PolicyGraph(config, checkpoint.preprocessor, network, None)
    sample = _observe(config, checkpoint.preprocessor, None, seed=0)
    with torch.inference_mode():
        chunk = _answered(graph, sample, config).chunk
    return sample_observation(checkpoint), chunk


def sample_observation(checkpoint: Checkpoint) -> Observation:
    """An observation such as training had, with pictures of noise, and a task of its contract."""
    config, contract = checkpoint.config, checkpoint.contract
    sample = _observe(config, checkpoint.preprocessor, None, seed=0)
    arrays = sample_arrays(sample, config)
    images = {camera_name(key): arrays[key] for key in config.image_features}
    task = contract.tasks[0] if contract is not None and contract.tasks else _TASK
    seen = Observation(sample.state, images, task, arrays.get(ENVIRONMENT))
    return seen.at_start(config.n_obs_steps)


def _traced(
    checkpoint: Checkpoint, backend: str, robot: Robot | None, trials: int
) -> tuple[bytes, list[GoldenSample]]:
    """The graph, and what torch, unoptimized, says to some observations."""
    config = checkpoint.config
    if not checkpoint.family.exportable:
        how = f"backend {backend} runs its checkpoint as it is"
        if checkpoint.family.split is None:
            how = "backend torch runs it, in float32 or bfloat16"
        raise ValueError(
            f"one graph for {backend}: expected an ACT policy, found {config.TITLE}; {how}"
        )
    network = load_network(checkpoint)
    joints = None if robot is None else robot.joints
    preprocessor = checkpoint.preprocessor
    samples = [_observe(config, preprocessor, joints, seed) for seed in range(trials)]
    full = PolicyGraph(config, preprocessor, network, joints)
    with torch.inference_mode():
        samples = [_answered(full, sample, config) for sample in samples]
    return trace(config, preprocessor, network.fold_for_inference(), joints), samples


def _observe(
    config: PolicyConfig, preprocessor: Preprocessor, joints: JointMap | None, seed: int
) -> GoldenSample:
    """A state and an environment such as training had, in the graph's units."""
    random = np.random.RandomState(seed)
    vectors = {}
    for key in _VECTORS:
        size = config.used_features[key].shape[0] if key in config.used_features else 0
        centre, spread = _usual(preprocessor, key) if size else (0.0, 1.0)
        values = torch.from_numpy(centre + spread * random.uniform(-1, 1, size))
        if joints is not None and key == STATE:
            values = joints.to_radians(values)
        vectors[key] = values.numpy().astype(np.float32)
    nothing = np.zeros((0, 0), np.float32)
    return GoldenSample(seed, vectors[STATE], vectors[ENVIRONMENT], nothing)


def _usual(preprocessor: Preprocessor, key: str) -> tuple[Any, Any]:
    """Centre and spread of a feature in training; 0 and 1 where nothing is known."""
    known = list(preprocessor.statistics(key).items())
    if not known:
        return 0.0, 1.0
    (name, first), (_, second) = known
    if name == "mean":
        return first, second
    return (first + second) / 2, (second - first) / 2


def _answered(graph: PolicyGraph, sample: GoldenSample, config: PolicyConfig) -> GoldenSample:
    arrays = sample_arrays(sample, config)
    chunk = graph(*(torch.from_numpy(arrays[name]) for name in graph.names))
    return dataclasses.replace(sample, chunk=chunk.numpy())


def _proven(
    session: Session,
    backend: str,
    precision: str,
    samples: Sequence[GoldenSample],
    checkpoint: Checkpoint,
    where: object,
    joints: JointMap | None = None,
) -> Running:
    """The session if it gives the samples' chunks, within what its precision allows."""
    chunks = [session(sample_arrays(sample, checkpoint.config)) for sample in samples]
    truths = [sample.chunk for sample in samples]
    runtime = (backend, precision)
    deviation = prove(chunks, truths, runtime, checkpoint.preprocessor, where, joints)
    return Running(session, backend, precision, deviation)


def prove(
    chunks: Sequence[Floats],
    truths: Sequence[Floats],
    runtime: tuple[str, str],
    preprocessor: Preprocessor,
    where: object,
    joints: JointMap | None = None,
) -> NDArray[np.float64]:
    """The largest difference (n,) of chunks from torch's; runtime is backend and precision.

    Raises CheckpointError, naming `where`, beyond what the precision allows.
    """
    backend, precision = runtime
    shapes = {(c.shape, c.dtype.name) for c in chunks}
    expected = (truths[0].shape, "float32")
    if shapes != {expected}:
        what, code = f"chunk of the graph in {backend}", Code.POLICY_EXPORT_DIFFERS
        raise _wrong(where, what, expected, sorted(shapes), code)
    deviation = np.max(
        [
            np.abs(chunk.astype(np.float64) - truth).max(axis=0)
            for chunk, truth in zip(chunks, truths, strict=True)
        ],
        axis=0,
    )
    limit = _LIMITS[precision] * _action_spread(preprocessor, joints)
    # Of a joint that hardly moved, float32's own steps are wider than that.
    limit = limit + _STEPS * np.max([np.abs(truth).max(axis=0) for truth in truths], axis=0)
    if not (deviation <= limit).all():
        raise _wrong(
            where,
            f"actions of the graph in {backend}, {precision}",
            f"torch's within {_listed(limit)}",
            f"errors of {_listed(deviation)}",
            Code.POLICY_EXPORT_DIFFERS,
        )
    return np.asarray(deviation)


def _action_spread(preprocessor: Preprocessor, joints: JointMap | None) -> NDArray[np.float64]:
    """What one normalized unit is in the graph's units, per action entry (n,)."""
    size = preprocessor.features[ACTION].shape[0]
    zero, one = (preprocessor.unnormalize_action(f(size)) for f in (torch.zeros, torch.ones))
    spread = (one - zero).double().numpy()
    return np.asarray(spread if joints is None else np.abs(spread * joints.to_radians.scale))


def _joint_units(checkpoint: Checkpoint, robot: Robot | None) -> str | None:
    if robot is not None:
        return robot.joint_units
    return None if checkpoint.contract is None else checkpoint.contract.joint_units


def _copy_json_files(checkpoint: Checkpoint, folder: Path) -> None:
    """What describes the policy, without its weights; of 0.3.x the statistics among them."""
    source = checkpoint.path
    files = [source / CONFIG]
    if checkpoint.era == OLD_ERA:
        weights = source / WEIGHTS
        statistics = lerobot_03.buffer_tensors(weights, read_header(weights))
        save_file(statistics, str(folder / WEIGHTS))
    else:
        for name in (PREPROCESSOR, POSTPROCESSOR):
            pipeline = read_pipeline(source, name, checkpoint.family)
            files += [source / f"{name}.json", pipeline.state_file]
    if checkpoint.contract is not None:
        files.append(source / contracts.FILE_NAME)
    for file in files:
        shutil.copyfile(file, folder / file.name)


def _manifest(content: object, where: Path) -> Manifest:
    document = as_object(content, where)
    hints = typing.get_type_hints(Manifest)
    _exactly(document, hints, where)
    if document["format"] != FORMAT:
        raise CheckpointError.found(
            Code.POLICY_EXPORT_INVALID,
            where,
            "format of the export",
            expected=FORMAT,
            found=document["format"],
            fix="export the checkpoint again with this armlet",
        )
    values = {
        key: as_kind(value, hints[key], f"{where}: {key}")
        for key, value in document.items()
        if key not in ("inputs", "output", "deviation")
    }
    inputs, deviation = document["inputs"], document["deviation"]
    if not isinstance(inputs, list) or not isinstance(deviation, list):
        raise _wrong(where, "inputs and deviation", "lists", type(inputs).__name__)
    return Manifest(
        inputs=tuple(_read_port(port, where) for port in inputs),
        output=_read_port(document["output"], where),
        deviation=tuple(as_kind(v, float, f"{where}: deviation") for v in deviation),
        **values,
    )


def _read_port(content: object, where: Path) -> Port:
    document = as_object(content, where)
    _exactly(document, ("name", "shape", "dtype"), where)
    shape = document["shape"]
    if not isinstance(shape, list) or not all(type(size) is int for size in shape):
        raise _wrong(where, "shape of an input", "a list of whole numbers", repr(shape))
    name, dtype = (as_kind(document[key], str, f"{where}: {key}") for key in ("name", "dtype"))
    return Port(name, tuple(shape), dtype)


def _golden_sample(content: object, config: PolicyConfig, where: Path) -> GoldenSample:
    document = as_object(content, where)
    _exactly(document, [field.name for field in dataclasses.fields(GoldenSample)], where)
    sizes = {
        key: config.used_features[key].shape for key in _VECTORS if key in config.used_features
    }
    shapes = {
        "state": sizes.get(STATE, (0,)),
        "environment_state": sizes.get(ENVIRONMENT, (0,)),
        "chunk": output_port(config).shape,
    }
    arrays = {}
    for key, shape in shapes.items():
        try:
            arrays[key] = np.array(document[key], np.float32)
        except (TypeError, ValueError) as error:
            raise _wrong(where, f"golden sample: {key}", "numbers", error) from error
        if arrays[key].shape != shape or not np.isfinite(arrays[key]).all():
            raise _wrong(where, f"golden sample: {key}", f"finite {shape}", arrays[key].shape)
    seed = as_kind(document["seed"], int, f"{where}: seed")
    if not 0 <= seed < 2**32:
        raise _wrong(where, "golden sample: seed", "0 to 2^32 - 1", seed)
    return GoldenSample(seed, **arrays)


def _whole_graph(path: Path, stated: Mapping[str, Any]) -> bytes:
    """The graph's bytes if they are the ones that were written."""
    where = path / GRAPH
    _exactly(stated, ("bytes", "sha256"), path / EXPORT)
    try:
        size = check_file(where, _LARGEST_GRAPH)
    except FileNotFoundError:
        size = None
    except FileError as error:
        raise _wrong(where, "graph", "a graph file", error) from error
    if size != stated["bytes"]:
        found = "no such file" if size is None else f"{size} bytes"
        raise _wrong(where, "graph", f"{stated['bytes']} bytes", found)
    graph = where.read_bytes()
    digest = hashlib.sha256(graph).hexdigest()
    if digest != stated["sha256"]:
        raise _wrong(where, "SHA-256 of the graph", stated["sha256"], digest)
    return graph


def _agree(where: Path, what: str, expected: object, found: object) -> None:
    if expected != found:
        raise _wrong(where, what, expected, found)


def _exactly(document: Mapping[str, Any], keys: Collection[str], where: Path) -> None:
    if set(document) != set(keys):
        raise _wrong(where, "keys", ", ".join(sorted(keys)), ", ".join(sorted(document)))


def _wrong(
    where: object,
    what: str,
    expected: object,
    found: object,
    code: Code = Code.POLICY_EXPORT_INVALID,
) -> CheckpointError:
    return CheckpointError.found(
        code,
        where,
        what,
        expected=expected,
        found=found,
        fix="copy the whole exported directory again, or export the checkpoint again",
    )


def _listed(values: NDArray[np.float64]) -> str:
    return " ".join(f"{value:.2g}" for value in values)
