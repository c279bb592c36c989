"""The stages of a network (networks.stages) in ONNX Runtime and OpenVINO.

A stage is traced as an ONNX graph without weights: those of a language model are beyond the two
gigabytes that an ONNX file holds. The runtimes get them as they lie in torch's memory, stage by
stage, and what no later stage needs is given up before the next. ONNX Runtime lets go of them once
it has laid them out its own way; OpenVINO keeps both.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from armlet.policies.networks.stages import Run, Stage, Tensors

from .backends import (
    ONNXRUNTIME,
    load_package,
    onnxruntime_options,
    openvino_core,
    refused,
)
from .graph import OPSET

# What the tensors of a model without them are said to lie in; they are given with the session.
_ELSEWHERE = "memory"


@dataclass(frozen=True)
class Staged:
    """A network joined of stages that run, and its proof; deviation as of Running."""

    network: Any
    backend: str
    precision: str
    deviation: NDArray[np.float64] | None


def open_stages(
    stages: Mapping[str, Stage], backend: str, precision: str, threads: int | None, where: object
) -> dict[str, Run]:
    """Stages made ready on the CPU. The modules are of no use afterwards: weights are given up.

    Raises as backends.open_session does.
    """
    count = threads or torch.get_num_threads()
    try:
        models = {name: trace(stage) for name, stage in stages.items()}
    except RuntimeError as error:  # as of an operator that ONNX lacks
        raise refused(where, backend, error) from error
    wanted = {name: _weights(stage, models[name]) for name, stage in stages.items()}
    runs: dict[str, Run] = {}
    for name, stage in stages.items():
        given, weights = (stage, models.pop(name)), wanted.pop(name)
        try:
            if backend == ONNXRUNTIME:
                runs[name] = _onnxruntime(*given, weights, count)
            else:
                runs[name] = _openvino(*given, weights, precision, count)
        except ValueError:  # of the precision, or a missing package
            raise
        except Exception as error:  # their errors have no common base class
            raise refused(where, backend, error) from error
        later = {id(weight) for others in wanted.values() for weight in others.values()}
        for weight in weights.values():
            if id(weight) not in later:
                weight.data = weight.data.new_empty(0)
    return runs


def trace(stage: Stage) -> Any:
    """The ONNX model of a stage; its weights are inputs too, under their names in the module.

    Raises MissingPackage without onnx.
    """
    onnx = load_package("onnx")
    file = io.BytesIO()
    with torch.no_grad(), warnings.catch_warnings():
        # As in graph.trace.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            stage.module.eval(),
            tuple(stage.inputs.values()),
            file,  # type: ignore[arg-type]
            input_names=list(stage.inputs),
            output_names=list(stage.outputs),
            opset_version=OPSET,
            export_params=False,
            do_constant_folding=False,
            dynamo=False,
        )
    return onnx.load_model_from_string(file.getvalue())


def _weights(stage: Stage, model: Any) -> dict[str, Tensor]:
    named = {**dict(stage.module.named_parameters()), **dict(stage.module.named_buffers())}
    return {value.name: named[value.name] for value in model.graph.input if value.name in named}


def _onnxruntime(stage: Stage, model: Any, weights: Mapping[str, Tensor], threads: int) -> Run:
    onnx, runtime = load_package("onnx"), load_package("onnxruntime")
    for value in [value for value in model.graph.input if value.name in weights]:
        tensor = model.graph.initializer.add()
        tensor.name, tensor.data_type = value.name, value.type.tensor_type.elem_type
        tensor.dims.extend(weights[value.name].shape)
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=_ELSEWHERE)
        model.graph.input.remove(value)
    options = onnxruntime_options(runtime, threads)
    values = [runtime.OrtValue.ortvalue_from_numpy(_array(w)) for w in weights.values()]
    options.add_external_initializers(list(weights), values)
    session = runtime.InferenceSession(
        model.SerializeToString(),
        options,
        providers=["CPUExecutionProvider"],
        # Else all weights are there a third time, transposed, while it loads.
        disabled_optimizers=["ConstantFolding"],
    )
    names = [value.name for value in session.get_inputs()]

    def run(given: Tensors) -> Tensors:
        outputs = session.run(list(stage.outputs), {name: _array(given[name]) for name in names})
        return dict(zip(stage.outputs, map(torch.from_numpy, outputs), strict=True))

    return run


def _openvino(
    stage: Stage, model: Any, weights: Mapping[str, Tensor], precision: str, threads: int
) -> Run:
    openvino = load_package("openvino")
    core, settings = openvino_core(precision, threads)
    read = core.read_model(io.BytesIO(model.SerializeToString()))
    for parameter in list(read.get_parameters()):
        name = parameter.get_friendly_name()
        if name in weights:
            values = openvino.op.Constant(_array(weights[name]), shared_memory=True)
            parameter.output(0).replace(values.output(0))
            read.remove_parameter(parameter)
    request = core.compile_model(read, "CPU", settings).create_infer_request()
    # Of an input that is cast at once the runtime has two names.
    names = [next(n for n in port.names if n in stage.inputs) for port in request.model_inputs]

    def run(given: Tensors) -> Tensors:
        arrays = {place: _array(given[name]) for place, name in enumerate(names)}
        request.infer(arrays, share_inputs=True)
        return {
            name: torch.from_numpy(request.get_output_tensor(place).data)
            for place, name in enumerate(stage.outputs)
        }

    return run


def _array(tensor: Tensor) -> NDArray[Any]:
    return tensor.detach().contiguous().numpy()
