"""What can run a policy's network, and how exactly.

torch runs every policy. ONNX Runtime and OpenVINO run an ACT policy's graph (see graph) and SmolVLA
in stages (see staged) on the CPU; they come with the extra armlet[export] and are imported only
when asked for.
"""

from __future__ import annotations

import functools
import importlib
import io
import os
import sys
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from armlet.findings import Code
from armlet.policies.config.errors import CheckpointError

from .arithmetic import BFLOAT16, FLOAT32

TORCH = "torch"
ONNXRUNTIME = "onnxruntime"
OPENVINO = "openvino"
RUNTIMES = (TORCH, ONNXRUNTIME, OPENVINO)
# The fastest of them, by a measurement as the policy is loaded (see choice).
AUTO = "auto"
BACKENDS = (*RUNTIMES, AUTO)

PRECISIONS = (FLOAT32, BFLOAT16)

# onnxruntime has no bfloat16 kernels for the CPU.
_POSSIBLE = {
    TORCH: (FLOAT32, BFLOAT16),
    ONNXRUNTIME: (FLOAT32,),
    OPENVINO: (FLOAT32, BFLOAT16),
}

Arrays = Mapping[str, NDArray[Any]]


class MissingPackage(ValueError):
    """A package of the extra armlet[export] that is not installed, or cannot be loaded."""


class Session(Protocol):
    """A graph made ready to run: arrays by input name to the chunk float32 (C, n)."""

    def __call__(self, arrays: Arrays) -> NDArray[np.float32]: ...


def check_backend(backend: str, precision: str, device: str = "cpu") -> None:
    """Raise ValueError unless `backend` is known and can compute in `precision` on `device`."""
    if backend not in BACKENDS:
        raise ValueError(f"backend: expected one of {', '.join(BACKENDS)}, found {backend!r}")
    if precision not in PRECISIONS:
        raise ValueError(f"precision: expected one of {', '.join(PRECISIONS)}, found {precision!r}")
    if backend == AUTO:
        return
    if precision not in _POSSIBLE[backend]:
        able = [name for name, precisions in _POSSIBLE.items() if precision in precisions]
        raise ValueError(
            f"precision: expected {' or '.join(_POSSIBLE[backend])} for backend {backend}, found "
            f"{precision}; {' and '.join(able)} can compute in it"
        )
    if backend != TORCH and torch.device(device).type != "cpu":
        raise ValueError(
            f"device: expected cpu for backend {backend}, found {device!r}; backend torch runs "
            "on other devices"
        )


def open_session(
    graph: bytes, backend: str, precision: str, threads: int | None, where: object
) -> Session:
    """Make an ONNX graph ready to run on the CPU with `threads`, None meaning as many as torch.

    Raises MissingPackage, CheckpointError naming `where` if the runtime does not take the graph,
    ValueError for a precision this machine cannot compute in.
    """
    count = threads or torch.get_num_threads()
    if backend == ONNXRUNTIME:
        return _OnnxRuntime(graph, count, where)
    if backend == OPENVINO:
        return _OpenVino(graph, precision, count, where)
    raise ValueError(f"backend: expected {ONNXRUNTIME} or {OPENVINO} for a graph, found {backend}")


def load_package(name: str) -> Any:
    """The optional module `name`. Raises MissingPackage saying how to install it."""
    _no_telemetry()
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingPackage(
            f"package {name}: expected it installed, found {error}; pip install 'armlet[export]'"
        ) from error
    except Exception as error:  # made for another numpy, protobuf or system
        raise MissingPackage(
            f"package {name}: expected one that can be loaded here, found "
            f"{type(error).__name__}: {error}; pip install --force-reinstall 'armlet[export]'"
        ) from error


def _no_telemetry() -> None:
    """Keep these packages from reporting their use to their makers, which is on by default.

    OpenVINO forks the process for that as it is imported: beside the threads of a running node,
    with all its sockets and locks, and for ever where nothing answers. ONNX Runtime has threads and
    a database in the person's home. OpenVINO goes without a package that cannot be imported.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


def check_runtime(backend: str, precision: str) -> None:
    """Raise as open_session does where no graph could run here, before one is made."""
    load_package("onnx")
    if backend == OPENVINO:
        openvino_core(precision, 1)
    else:
        load_package(backend)


def onnxruntime_options(runtime: Any, threads: int) -> Any:
    """SessionOptions of the module `runtime`, the same for every graph."""
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Its threads wait busily for the next operation; not so between two inferences, when the
    # control loops want the processor.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return options


def openvino_core(precision: str, threads: int) -> tuple[Any, dict[str, Any]]:
    """OpenVINO's Core, and how every graph is compiled. Raises as open_session does."""
    core = _core_of(load_package("openvino"))
    if precision == BFLOAT16:
        _check_bfloat16(core)
    settings = {
        # Without it OpenVINO computes in bfloat16 wherever the processor can.
        "INFERENCE_PRECISION_HINT": "bf16" if precision == BFLOAT16 else "f32",
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        # The control loops choose their processors; two policies would choose the same ones.
        "ENABLE_CPU_PINNING": False,
    }
    return core, settings


class _OnnxRuntime:
    def __init__(self, graph: bytes, threads: int, where: object) -> None:
        runtime = load_package("onnxruntime")
        options = onnxruntime_options(runtime, threads)
        try:
            self._session = runtime.InferenceSession(
                graph, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its errors have no common base class
            raise refused(where, ONNXRUNTIME, error) from error

    def __call__(self, arrays: Arrays) -> NDArray[np.float32]:
        (chunk,) = self._session.run(None, dict(arrays))
        result: NDArray[np.float32] = chunk
        return result


class _OpenVino:
    def __init__(self, graph: bytes, precision: str, threads: int, where: object) -> None:
        core, settings = openvino_core(precision, threads)
        try:
            model = core.read_model(io.BytesIO(graph))
            self._request = core.compile_model(model, "CPU", settings).create_infer_request()
        except Exception as error:  # its errors have no common base class
            raise refused(where, OPENVINO, error) from error

    def __call__(self, arrays: Arrays) -> NDArray[np.float32]:
        self._request.infer(dict(arrays), share_inputs=True)
        return np.array(self._request.get_output_tensor(0).data, np.float32)


@functools.cache
def _core_of(openvino: Any) -> Any:
    """OpenVINO's only Core of this process, which lives as long as it does.

    With a Core's end goes the signal stack it gave the thread that first used it; where another
    thread ends it, the first one keeps the address and the next Ctrl-C is a segmentation fault.
    """
    return openvino.Core()


def _check_bfloat16(core: Any) -> None:
    able = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if "BF16" not in able:
        raise ValueError(
            f"precision: expected a processor with bfloat16 arithmetic (AVX512_BF16 or AMX), found "
            f"one with {', '.join(able)}; use float32"
        )


def refused(where: object, backend: str, error: Exception) -> CheckpointError:
    """A graph that a runtime does not take."""
    return CheckpointError.found(
        Code.POLICY_GRAPH_REFUSED,
        where,
        f"graph for {backend}",
        expected="one this runtime can load",
        found=" ".join(str(error).split()),
        fix="export the checkpoint again with this version of the runtime installed",
    )
