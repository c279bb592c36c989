"""A policy: observations in, actions out, in dataset units."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from armlet.contract import Camera, Contract, Preprocessing
from armlet.policies.checkpoint import hub
from armlet.policies.checkpoint.checkpoint import Checkpoint, Choices, load_network, read_checkpoint
from armlet.policies.config.base import PolicyConfig, camera_name
from armlet.policies.config.smolvla import RealTimeChunking
from armlet.policies.errors import CheckpointError
from armlet.policies.execution.playback import ActionQueue, TemporalEnsembler
from armlet.policies.execution.strategy import LeftOver
from armlet.policies.networks.act import Act
from armlet.policies.networks.rtc import Guidance
from armlet.policies.networks.smolvla import TOKENS, SmolVla
from armlet.policies.observation import Observation
from armlet.policies.preprocess import Preprocessor

from .backends import BFLOAT16, FLOAT32, ONNXRUNTIME, OPENVINO, TORCH, check_backend
from .export import Running, compile_checkpoint, is_export, read_export, run_export, torch_witness


class Policy:
    """A loaded checkpoint with the state of one episode. Not for use from two threads at once."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        network: Act | SmolVla | Running,
        device: torch.device | str,
        precision: str = FLOAT32,
        deviation: NDArray[np.float64] | None = None,
    ) -> None:
        """precision is what a network computes in, deviation its error; a running graph has its
        own."""
        self._checkpoint = checkpoint
        self._network = network if isinstance(network, Running) else network.to(device)
        self._precision, self._deviation = precision, deviation
        if isinstance(network, Running):
            self._precision, self._deviation = network.precision, network.deviation
        self._preprocessor = checkpoint.preprocessor.to(device)
        self._playback = _playback(checkpoint.config)
        # Noise is drawn on the CPU, so that one seed gives one episode on every device.
        self._noise = torch.Generator()
        self._noise.seed()

    @property
    def config(self) -> PolicyConfig:
        return self._checkpoint.config

    @property
    def preprocessor(self) -> Preprocessor:
        return self._preprocessor

    @property
    def checkpoint(self) -> Checkpoint:
        """The documents: statistics, notes, path."""
        return self._checkpoint

    @property
    def contract(self) -> Contract | None:
        """The contract in the checkpoint; None for a plain LeRobot one, see derive_contract."""
        return self._checkpoint.contract

    @property
    def action_names(self) -> tuple[str, ...] | None:
        """Names of the action vector's entries; no LeRobot checkpoint states them (then None)."""
        return None if self.contract is None else self.contract.action_names

    @property
    def backend(self) -> str:
        """What runs the network: torch, onnxruntime or openvino."""
        return self._network.backend if isinstance(self._network, Running) else TORCH

    @property
    def precision(self) -> str:
        """What the network computes in: float32 or bfloat16."""
        return self._precision

    @property
    def deviation(self) -> NDArray[np.float64] | None:
        """Largest error (n,) of a chunk's entries against torch in float32, found on loading, in
        dataset units; None where nothing was compared (torch in float32, SmolVLA)."""
        return self._deviation

    @property
    def inpaints(self) -> bool:
        """Whether predict_chunk takes what is left of the plan; ACT's single pass cannot."""
        return isinstance(self._network, SmolVla)

    @property
    def draws(self) -> bool:
        """Whether a chunk depends on noise, which reset's seed or predict_chunk's noise fixes."""
        return isinstance(self._network, SmolVla)

    def reset(self, seed: int | None = None) -> None:
        """Forget earlier predictions: call at the start of every episode.

        seed: the noise of the episode becomes a function of it; ACT draws none.
        """
        self._playback.reset()
        if seed is not None:
            self._noise.manual_seed(seed)

    def predict_chunk(
        self,
        observation: Observation,
        leftover: LeftOver | None = None,
        noise: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        """The whole action chunk float32 (C, n) in dataset units; row i is due i / fps later.

        leftover is continued where the policy inpaints; noise float32 (C, max_action_dim) is what
        SmolVLA's chunk flows from, drawn if not given, and none of ACT's. Leaves the episode's
        state alone. Raises ObservationError for an observation unlike the training data's,
        FloatingPointError if the network gives non-finite actions, ValueError for a leftover where
        the policy does not inpaint and for noise of another shape.
        """
        if leftover is not None and not self.inpaints:
            raise ValueError("leftover: only a flow policy can go on with a plan, ACT cannot")
        network = self._network
        if isinstance(network, Running):
            chunk = network.chunk(self._preprocessor, observation)
        else:
            chunk = self._run_torch(network, observation, leftover, noise)
        if not np.isfinite(chunk).all():
            raise FloatingPointError(
                "the network gave non-finite actions for finite input: expected finite numbers; "
                "its weights are too large, take another checkpoint"
            )
        return chunk

    def _run_torch(
        self,
        network: Act | SmolVla,
        observation: Observation,
        leftover: LeftOver | None,
        noise: NDArray[np.float32] | None,
    ) -> NDArray[np.float32]:
        device = self._preprocessor.device
        with torch.inference_mode(), _arithmetic(device, self._precision):
            normalized = self._infer(network, observation, leftover, noise)
        with torch.inference_mode():
            actions = self._preprocessor.unnormalize_action(normalized.float())[0]
        return np.asarray(actions.cpu(), np.float32)

    def _infer(
        self,
        network: Act | SmolVla,
        observation: Observation,
        leftover: LeftOver | None,
        noise: NDArray[np.float32] | None,
    ) -> torch.Tensor:
        """The normalized chunk (1, C, n) of either network."""
        batch = self._preprocessor(observation)
        language = self._checkpoint.language
        if not isinstance(network, SmolVla) or language is None:
            chunk: torch.Tensor = network(batch)
            return chunk
        device = self._preprocessor.device
        batch[TOKENS] = language.words(observation.task).to(device)
        start = network.draw_noise(1, self._noise)
        if noise is not None:
            start = _given_noise(noise, start.shape[1:])
        flowed: torch.Tensor = network(batch, start.to(device), self._guidance(network, leftover))
        return flowed

    def _guidance(self, network: SmolVla, leftover: LeftOver | None) -> Guidance | None:
        if leftover is None or not len(leftover.rows):
            return None
        config = network.config
        rows = torch.from_numpy(np.require(leftover.rows, np.float32, ["C", "W"]))
        planned = self._preprocessor.normalize_action(rows.to(self._preprocessor.device))
        chunking = config.rtc_config or RealTimeChunking()
        shape = (config.chunk_size, config.max_action_dim)
        return Guidance(chunking, planned[: config.chunk_size], leftover.delay, shape)

    def select_action(
        self, observation: Observation, noise: NDArray[np.float32] | None = None
    ) -> NDArray[np.float32]:
        """The action float32 (n,) for now, in dataset units; call once per period.

        With a temporal_ensemble_coeff every call predicts and blends; otherwise n_action_steps
        actions of a chunk are played before the next prediction. noise as for predict_chunk, used
        when there is a prediction. Raises as predict_chunk does.
        """
        if isinstance(self._playback, TemporalEnsembler):
            blended = self._playback.update(self.predict_chunk(observation, noise=noise))
            now: NDArray[np.float32] = blended[0]
            return now
        if not len(self._playback):
            self._playback.fill(self.predict_chunk(observation, noise=noise))
        return self._playback.pop()


def load_policy(
    path: Path | str,
    *,
    device: str = "cpu",
    optimize: bool = True,
    choices: Choices | None = None,
    backend: str = TORCH,
    precision: str = FLOAT32,
    threads: int | None = None,
) -> Policy:
    """The policy in checkpoint directory `path` (or `hub:owner/name`), ready to run on `device`.

    choices answer what the checkpoint leaves open, such as where SmolVLA's tokenizer is.
    With optimize the network is folded and laid out for speed and results move by rounding only;
    without, they are LeRobot's to the bit on the same machine.

    backend is torch, or onnxruntime or openvino for ACT on the CPU, which take a checkpoint (traced
    now, which takes seconds) or a directory of `armlet policy export`, and are compared with torch
    before they are given out, see Policy.deviation. precision bfloat16 trades error for speed.
    threads: CPU threads of inference; None: as many as torch is set to. With backend torch it sets
    those of the process.

    Raises CheckpointError for a checkpoint or export that must not be run as it is, ValueError for
    a device, backend or precision that is not to be had here, MissingPackage (a ValueError) without
    the extra armlet[export].
    """
    check_backend(backend, precision, device)
    _check_device(device)
    _check_threads(threads)
    path = hub.locate(path)
    if is_export(path):
        return _load_export(path, backend, precision, threads)
    checkpoint = read_checkpoint(path, choices)
    if backend != TORCH:
        running = compile_checkpoint(checkpoint, backend, precision, threads)
        return Policy(checkpoint, running, device)
    if threads is not None:
        torch.set_num_threads(threads)
    network = load_network(checkpoint)
    if precision == BFLOAT16 and isinstance(network, Act):
        return _load_rounded(checkpoint, network, device, optimize)
    if optimize:
        network.optimize_for_inference()
    return Policy(checkpoint, network, device, precision)


def _load_rounded(checkpoint: Checkpoint, network: Act, device: str, optimize: bool) -> Policy:
    """ACT in bfloat16, compared once with itself in float32."""
    observation, exact = torch_witness(checkpoint, network)
    if optimize:
        network.optimize_for_inference()
    rounded = Policy(checkpoint, network.round_weights(), device, BFLOAT16)
    error = np.abs(rounded.predict_chunk(observation).astype(np.float64) - exact)
    return Policy(checkpoint, network, device, BFLOAT16, error.max(axis=0))


def _load_export(path: Path, backend: str, precision: str, threads: int | None) -> Policy:
    if backend == TORCH:
        raise CheckpointError.found(
            path,
            "backend",
            expected=f"{ONNXRUNTIME} or {OPENVINO}, for this is an exported policy",
            found=TORCH,
            fix="name the backend, or give the checkpoint it was exported from",
        )
    export = read_export(path)
    return Policy(export.checkpoint, run_export(export, backend, precision, threads), "cpu")


def _check_threads(threads: int | None) -> None:
    if threads is not None and threads < 1:
        raise ValueError(f"threads: expected at least 1, or None for torch's, found {threads}")


@contextmanager
def _arithmetic(device: torch.device, precision: str) -> Iterator[None]:
    """Arithmetic as exact as `precision` says: torch lets CUDA's convolutions round to TF32."""
    with ExitStack() as stack:
        if device.type == "cuda":
            stack.enter_context(
                torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=False)
            )
        if precision == BFLOAT16:
            stack.enter_context(torch.autocast(device.type, torch.bfloat16))
        yield


def derive_contract(
    config: PolicyConfig,
    preprocessing: Preprocessing,
    *,
    fps: int,
    state_names: tuple[str, ...],
    action_names: tuple[str, ...],
    joint_units: str | None,
) -> Contract:
    """The contract of a plain LeRobot checkpoint, whose files state neither rate, names nor units.

    preprocessing comes from Preprocessor.describe. Raises ValueError if the number of names is not
    the length of the policy's vectors.
    """
    for what, size, names in (
        ("state", config.state_size or 0, state_names),
        ("action", config.action_size, action_names),
    ):
        if len(names) != size:
            raise ValueError(
                f"{what} names: expected {size}, the length of the policy's {what} vector, found "
                f"{len(names)} ({', '.join(names)}); name them in the order of the training data"
            )
    cameras = tuple(
        Camera(camera_name(key), height=feature.shape[1], width=feature.shape[2])
        for key, feature in config.image_features.items()
    )
    return Contract(
        fps=fps,
        cameras=cameras,
        state_names=state_names,
        action_names=action_names,
        joint_units=joint_units,
        preprocessing=preprocessing,
    )


def _check_device(device: str) -> None:
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        # torch appends its build configuration; the first line says what is wrong.
        reason = str(error).partition("\n")[0]
        raise ValueError(
            f"device: expected one torch can use here (cpu always is), found {device!r}: {reason}"
        ) from error


def _given_noise(noise: NDArray[np.float32], shape: torch.Size) -> torch.Tensor:
    if noise.shape != tuple(shape) or noise.dtype != np.float32:
        raise ValueError(
            f"noise: expected float32 {tuple(shape)}, found {noise.dtype} {noise.shape}"
        )
    return torch.from_numpy(np.require(noise, requirements=["C", "W"]))[None]


def _playback(config: PolicyConfig) -> ActionQueue | TemporalEnsembler:
    if config.temporal_ensemble_coeff is not None:
        return TemporalEnsembler(config.temporal_ensemble_coeff, config.chunk_size)
    return ActionQueue(config.n_action_steps)
