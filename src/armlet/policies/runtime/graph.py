"""A policy as one graph: the robot's pictures and joints in, the chunk out.

The graph is traced from the very Preprocessor and network that torch runs; /255, statistics and
units are inside, so that whoever runs it cannot get them wrong. It is ONNX, which ONNX Runtime and
OpenVINO both read, of fixed shapes, without a batch dimension.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from armlet.findings import Code
from armlet.policies.config.base import ACTION, STATE, PolicyConfig
from armlet.policies.config.errors import CheckpointError
from armlet.policies.networks.base import PolicyNetwork
from armlet.policies.preprocess import Preprocessor

from .backends import load_package

OPSET = 17
METADATA = "armlet"
# onnx.TensorProto's numbers of the types a graph takes and gives.
_TYPES = {1: "float32", 2: "uint8"}

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Line:
    """y = clamp(x, low, high) * scale + offset, joint by joint, float64 (n,) each."""

    low: Floats
    high: Floats
    scale: Floats
    offset: Floats

    def __call__(self, x: Tensor) -> Tensor:
        """x float32 (..., n)."""
        low, high, scale, offset = (
            torch.from_numpy(np.asarray(v, np.float32))
            for v in (self.low, self.high, self.scale, self.offset)
        )
        return x.clamp(low, high) * scale + offset


@dataclass(frozen=True)
class JointMap:
    """From the arm's radians to dataset units, for the state, and back, for actions."""

    to_dataset: Line
    to_radians: Line


@dataclass(frozen=True)
class Port:
    """One input or output of a graph: its name, a LeRobot feature key, its shape and dtype."""

    name: str
    shape: tuple[int, ...]
    dtype: str


def input_ports(config: PolicyConfig) -> tuple[Port, ...]:
    """The graph's inputs in order: pictures uint8 (H, W, 3) RGB, vectors float32 (n,)."""
    return tuple(
        Port(key, (*feature.shape[1:], 3), "uint8")
        if feature.type == "VISUAL"
        else Port(key, feature.shape, "float32")
        for key, feature in config.used_features.items()
        if key != ACTION
    )


def output_port(config: PolicyConfig) -> Port:
    """The graph's output: the chunk float32 (C, n)."""
    return Port(ACTION, (config.chunk_size, config.action_size), "float32")


class PolicyGraph(nn.Module):
    """What is traced: one tensor for each of input_ports to the chunk."""

    def __init__(
        self,
        config: PolicyConfig,
        preprocessor: Preprocessor,
        network: PolicyNetwork,
        joints: JointMap | None,
    ) -> None:
        super().__init__()
        self.names = tuple(port.name for port in input_ports(config))
        self.preprocessor = preprocessor
        self.network = network
        self.joints = joints

    def forward(self, *values: Tensor) -> Tensor:
        arrays = {key: value[None] for key, value in zip(self.names, values, strict=True)}
        if self.joints is not None and STATE in arrays:
            arrays[STATE] = self.joints.to_dataset(arrays[STATE])
        normalized = self.network(self.preprocessor.network_input(arrays))
        chunk: Tensor = self.preprocessor.unnormalize_action(normalized)[0]
        return chunk if self.joints is None else self.joints.to_radians(chunk)


def trace(
    config: PolicyConfig,
    preprocessor: Preprocessor,
    network: PolicyNetwork,
    joints: JointMap | None = None,
) -> bytes:
    """The ONNX model of a network that was folded (fold_for_inference), weights inside.

    Raises MissingPackage without onnx.
    """
    load_package("onnx")
    ports = input_ports(config)
    example = tuple(torch.zeros(p.shape, dtype=getattr(torch, p.dtype)) for p in ports)
    graph = PolicyGraph(config, preprocessor, network, joints).eval()
    file = io.BytesIO()
    with torch.no_grad(), warnings.catch_warnings():
        # Sizes become constants, which is what a fixed graph wants. This exporter is the one that
        # needs no further package.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            graph,
            example,
            file,  # type: ignore[arg-type]
            input_names=[port.name for port in ports],
            output_names=[ACTION],
            opset_version=OPSET,
            dynamo=False,
        )
    return file.getvalue()


def with_metadata(model: bytes, text: str) -> bytes:
    """The ONNX model with `text` in its metadata."""
    onnx = load_package("onnx")
    proto = onnx.load_model_from_string(model)
    entry = proto.metadata_props.add()
    entry.key, entry.value = METADATA, text
    content: bytes = proto.SerializeToString()
    return content


@dataclass(frozen=True)
class GraphFace:
    """What an ONNX file says of itself; metadata is None if armlet put none into it."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    metadata: str | None


def read_face(model: bytes, where: object) -> GraphFace:
    """Inputs, outputs and metadata of an ONNX model that is whole in itself.

    Raises CheckpointError if it is no ONNX model, if it takes tensors from other files, or uses
    operators that are not ONNX's own: nothing outside the file is read and nothing is loaded.
    """
    onnx = load_package("onnx")
    try:
        proto = onnx.load_model_from_string(model)
    except Exception as error:  # protobuf's DecodeError, whose module depends on its version
        raise _no_graph(where, f"{len(model)} bytes that are none ({error})") from error
    _check_domains(proto, where)
    for tensor in _tensors(proto, onnx.TensorProto):
        if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
            places = [entry.value for entry in tensor.external_data if entry.key == "location"]
            raise CheckpointError.found(
                Code.POLICY_GRAPH_REFUSED,
                where,
                f"tensor {tensor.name}",
                expected="its values in the graph's own file",
                found=f"a reference to the file {', '.join(places) or 'of no name'}",
                fix="armlet follows no such reference: export the checkpoint again",
            )
    stored = {tensor.name for tensor in proto.graph.initializer}
    texts = [entry.value for entry in proto.metadata_props if entry.key == METADATA]
    return GraphFace(
        tuple(_port(value) for value in proto.graph.input if value.name not in stored),
        tuple(_port(value) for value in proto.graph.output),
        texts[0] if len(texts) == 1 else None,
    )


def _check_domains(proto: Any, where: object) -> None:
    domains = {node.domain for node in _nodes(proto.graph)}
    domains |= {imported.domain for imported in proto.opset_import}
    foreign = sorted(domains - {"", "ai.onnx"})
    if foreign or proto.functions:
        raise CheckpointError.found(
            Code.POLICY_GRAPH_REFUSED,
            where,
            "operators",
            expected="only ONNX's own",
            found=", ".join(foreign) or "functions defined in the file",
            fix="other operators need code armlet does not load: export the checkpoint again",
        )


def _nodes(graph: Any) -> Iterator[Any]:
    """The nodes of a graph and of the graphs within it."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _nodes(inner)


def _tensors(message: Any, kind: type[Any]) -> Iterator[Any]:
    """Every tensor anywhere in a protobuf message."""
    if isinstance(message, kind):
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        # A repeated field is a sequence of messages, any other a message.
        for inner in (value,) if hasattr(value, "ListFields") else value:
            yield from _tensors(inner, kind)


def _port(value: Any) -> Port:
    tensor = value.type.tensor_type
    shape = tuple(size.dim_value if size.HasField("dim_value") else -1 for size in tensor.shape.dim)
    return Port(value.name, shape, _TYPES.get(tensor.elem_type, f"type {tensor.elem_type}"))


def _no_graph(where: object, found: str) -> CheckpointError:
    return CheckpointError.found(
        Code.POLICY_GRAPH_REFUSED,
        where,
        "graph not readable",
        expected="an ONNX model",
        found=found,
        fix="copy the exported directory again",
    )


def as_inputs(arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Preprocessor.arrays of one observation as the graph's inputs, which have no batch."""
    return {key: values[0] for key, values in arrays.items()}
