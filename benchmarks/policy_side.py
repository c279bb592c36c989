"""One side of policy.py: a process that runs a checkpoint, with armlet or LeRobot, when asked.

    python policy_side.py JOB

JOB is a JSON object: side (armlet, lerobot), checkpoint, input (an .npz of observations), device,
threads, and for armlet backend and precision, for a SmolVLA vlm, the folder of its language model.
Requests are lines of JSON on stdin, each is answered by one on stdout; ROUTINES has them. It runs
in armlet's and in LeRobot's interpreter, so it imports neither before it knows its side.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Chunk = NDArray[np.float32]


@dataclass(frozen=True)
class Side:
    """What is measured of a loaded policy, each for observation i of `count`.

    chunk: uint8 pictures and state to actions (C, n) in dataset units, all there is. preprocess:
    the first part of it, None where it cannot be separated. act: as a robot's loop calls it, None
    if that is the same. flops: of a chunk, and bytes of weights that it reads.
    """

    count: int
    chunk: Callable[[int], Chunk]
    preprocess: Callable[[int], object] | None = None
    act: Callable[[int], object] | None = None
    flops: Callable[[], tuple[int, int]] | None = None


class Unavailable(Exception):
    """This side cannot run here, for the reason in the message."""


@dataclass(frozen=True)
class Recorded:
    """The observations in the .npz: image_<camera> (K, H, W, 3), state (K, n), task, noise."""

    images: dict[str, NDArray[np.uint8]]
    states: NDArray[np.float32]
    task: str
    noise: NDArray[np.float32] | None

    @classmethod
    def read(cls, path: str) -> Recorded:
        with np.load(path) as arrays:
            images = {
                name.removeprefix("image_"): arrays[name]
                for name in arrays
                if name.startswith("image_")
            }
            noise = arrays.get("noise")
            return cls(images, arrays["state"], str(arrays["task"]), noise)


def armlet(job: dict[str, Any]) -> Side:
    import torch

    from armlet.policies import Choices, Observation, load_policy

    recorded = Recorded.read(job["input"])
    choices = Choices(None, Path(job["vlm"])) if "vlm" in job else None
    backend, precision = job["backend"], job["precision"]
    try:
        policy = load_policy(
            job["checkpoint"],
            device=job["device"],
            choices=choices,
            backend=backend,
            precision=precision,
            threads=job["threads"],
        )
    except (ImportError, ValueError) as error:
        raise Unavailable(str(error)) from error
    observations = [
        Observation(state, {name: pictures[i] for name, pictures in recorded.images.items()}, task)
        for i, state in enumerate(recorded.states)
        for task in [recorded.task]
    ]

    def chunk(i: int) -> Chunk:
        if recorded.noise is None:
            return policy.predict_chunk(observations[i])
        return policy.predict_chunk(observations[i], noise=recorded.noise)

    def preprocess(i: int) -> object:
        with torch.inference_mode():
            return policy.preprocessor(observations[i])

    def flops() -> tuple[int, int]:
        return work(job["checkpoint"], choices, observations[0])

    apart = backend == "torch"
    return Side(len(observations), chunk, preprocess if apart else None, None, flops)


def work(checkpoint: str, choices: Any, observation: Any) -> tuple[int, int]:
    """Floating-point operations of one chunk, and bytes of weights read, for float32.

    Counted while the network runs as it is written, before anything is folded. A weight counts as
    often as a matrix product or convolution reads it: SmolVLA's expert is, in every step of the
    flow.
    """
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    from armlet.policies import SmolVla, load_network, read_checkpoint
    from armlet.policies.networks.smolvla import TOKENS

    document = read_checkpoint(checkpoint, choices)
    # The counter looks for gradients of whatever might have one.
    network = load_network(document).eval().requires_grad_(False)
    batch = document.preprocessor(observation)
    if isinstance(network, SmolVla):
        assert document.language is not None
        batch[TOKENS] = document.language.words(observation.task)
        given = [batch, network.draw_noise(1)]
    else:
        given = [batch]
    traffic = weight_traffic(network)
    # Of attention only the plain kernel is counted on every device.
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter, traffic:
        network(*given)
    return int(counter.get_total_flops()), traffic.bytes


def weight_traffic(network: Any) -> Any:
    """A context that adds up the bytes of `network`'s weights as products read them."""
    from torch import Tensor
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils.flop_counter import flop_registry

    weights = {p.untyped_storage().data_ptr(): p for p in network.state_dict().values()}

    class Traffic(TorchDispatchMode):  # type: ignore[no-untyped-call]
        def __init__(self) -> None:
            super().__init__()  # type: ignore[no-untyped-call]
            self.bytes = 0

        def __torch_dispatch__(
            self, function: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            if function._overloadpacket in flop_registry:
                self.bytes += sum(
                    x.numel() * x.element_size()
                    for x in args
                    if isinstance(x, Tensor) and x.untyped_storage().data_ptr() in weights
                )
            return function(*args, **(kwargs or {}))

    return Traffic()


def lerobot(job: dict[str, Any]) -> Side:
    """Stock LeRobot, called as its record script calls it."""
    from copy import copy

    import torch
    from lerobot.configs.policies import PreTrainedConfig
    from lerobot.policies.factory import get_policy_class, make_pre_post_processors
    from lerobot.policies.utils import prepare_observation_for_inference
    from lerobot.utils.control_utils import predict_action

    recorded = Recorded.read(job["input"])
    path, device = job["checkpoint"], torch.device(job["device"])
    config = PreTrainedConfig.from_pretrained(path)
    config.device = job["device"]
    policy = get_policy_class(config.type).from_pretrained(path, config=config)
    policy.eval()
    before, after = make_pre_post_processors(
        config,
        pretrained_path=path,
        preprocessor_overrides={"device_processor": {"device": job["device"]}},
    )
    frames = [
        {"observation.state": state}
        | {f"observation.images.{name}": images[i] for name, images in recorded.images.items()}
        for i, state in enumerate(recorded.states)
    ]
    given = {} if recorded.noise is None else {"noise": torch.from_numpy(recorded.noise)[None]}
    given = {name: value.to(device) for name, value in given.items()}
    task, kind = recorded.task, "so101_follower"

    def prepared(i: int) -> Any:
        return before(prepare_observation_for_inference(copy(frames[i]), device, task, kind))

    def preprocess(i: int) -> object:
        with torch.inference_mode():
            return prepared(i)

    def chunk(i: int) -> Chunk:
        with torch.inference_mode():
            actions = after(policy.predict_action_chunk(prepared(i), **given))[0]
            result: Chunk = actions.cpu().numpy()
            return result

    def act(i: int) -> object:
        policy.reset()
        amp = policy.config.use_amp
        return predict_action(frames[i], policy, device, before, after, amp, task, kind)

    return Side(len(frames), chunk, preprocess, act)


Answer = dict[str, Any]


def measure(side: Side, request: dict[str, Any]) -> Answer:
    """Milliseconds of wall clock and CPU time (all threads) for each of so many calls.

    Preprocessing is timed over and over, and once before each chunk, as a robot's loop has it:
    then the caches hold what the chunk before has left there.
    """
    found: dict[str, list[float]] = {
        name: [] for name in ("preprocess_ms", "preprocess_live_ms", "chunk_ms", "cpu_ms")
    }
    for i in range(request["preprocess"] if side.preprocess else 0):
        found["preprocess_ms"].append(preprocess_ms(side, i))
    for i in range(request["chunks"]):
        if side.preprocess:
            found["preprocess_live_ms"].append(preprocess_ms(side, i))
        begun, begun_cpu = time.perf_counter(), time.process_time()
        side.chunk(i % side.count)
        found["chunk_ms"].append(1e3 * (time.perf_counter() - begun))
        found["cpu_ms"].append(1e3 * (time.process_time() - begun_cpu))
    return found


def preprocess_ms(side: Side, i: int) -> float:
    assert side.preprocess is not None
    begun = time.perf_counter()
    batch = side.preprocess(i % side.count)
    synchronize()
    took_ms = 1e3 * (time.perf_counter() - begun)
    del batch
    return took_ms


def synchronize() -> None:
    """Wait for the accelerator; a chunk is in main memory and needs no waiting."""
    torch = sys.modules["torch"]
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


def act(side: Side, request: dict[str, Any]) -> Answer:
    """Milliseconds from an observation in memory to the action for now, with an empty queue."""
    times = []
    for i in range(request["calls"]):
        begun = time.perf_counter()
        (side.act or side.chunk)(i % side.count)
        times.append(1e3 * (time.perf_counter() - begun))
    return {"act_ms": times}


def predict(side: Side, request: dict[str, Any]) -> Answer:
    """The chunks (K, C, n) of all observations, into an .npy."""
    np.save(request["output"], np.stack([side.chunk(i) for i in range(side.count)]))
    return {}


def count(side: Side, request: dict[str, Any]) -> Answer:
    assert side.flops is not None
    flops, read = side.flops()
    return {"flops": flops, "weight_bytes": read}


def gemm(side: Side, request: dict[str, Any]) -> Answer:
    """GFLOP/s of a few products of square matrices, of the faster of torch's two libraries.

    A convolution of single pixels is the same product; on some processors oneDNN, which computes
    convolutions, is well ahead of the BLAS behind torch.mm.
    """
    import torch

    size, dtype = request["size"], getattr(torch, request["precision"])
    a, b = torch.rand(size, size, dtype=dtype), torch.rand(size, size, dtype=dtype)
    kernels = b[:, :, None, None].to(memory_format=torch.channels_last)
    pixels = a.view(1, 1, size, size).permute(0, 3, 1, 2)
    ways: list[tuple[Callable[..., Any], Any]] = [
        (torch.mm, (a, b)),
        (torch.nn.functional.conv2d, (pixels, kernels)),
    ]
    rates = []
    with torch.inference_mode():
        for product, given in ways:
            for _ in range(request["products"]):
                begun = time.perf_counter()
                product(*given)
                rates.append(2 * size**3 / (time.perf_counter() - begun) * 1e-9)
    return {"gflop_s": max(rates)}


def spread_of(times: list[float]) -> dict[str, float]:
    """Quantiles (with few values p99 is about the largest) and the least."""
    return {
        "p50": round(float(np.median(times)), 3),
        "p99": round(float(np.percentile(times, 99)), 3),
        "least": round(min(times), 3),
    }


SIDES = {"armlet": armlet, "lerobot": lerobot}
ROUTINES = {"measure": measure, "act": act, "predict": predict, "count": count, "gemm": gemm}


def main() -> None:
    job = json.loads(sys.argv[1])
    # What libraries print goes to stderr; the answers keep the pipe for themselves.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def say(answer: Answer) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    import torch

    torch.set_num_threads(job["threads"])
    try:
        side = SIDES[job["side"]](job)
    except Unavailable as error:
        say({"unavailable": str(error)})
        return
    say({"torch": torch.__version__})
    for line in sys.stdin:
        request = json.loads(line)
        say(ROUTINES[request["do"]](side, request))


if __name__ == "__main__":
    main()
