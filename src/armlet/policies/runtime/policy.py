"""A policy: observations in, actions out, in dataset units."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from armlet.contract import Camera, Contract, Preprocessing
from armlet.findings import Code
from armlet.policies.checkpoint import hub
from armlet.policies.checkpoint.checkpoint import Checkpoint, Choices, load_network, read_checkpoint
from armlet.policies.config.base import PolicyConfig, camera_name
from armlet.policies.config.errors import CheckpointError
from armlet.policies.execution.playback import ActionQueue, TemporalEnsembler
from armlet.policies.execution.strategy import LeftOver
from armlet.policies.networks.base import PolicyNetwork
from armlet.policies.networks.stages import NoRoom
from armlet.policies.observation import Observation, ObservationError, Window, latest
from armlet.policies.preprocess import Preprocessor
from armlet.policies.registry import Inference

from .arithmetic import BFLOAT16, FLOAT32, require_unit
from .backends import (
    AUTO,
    ONNXRUNTIME,
    OPENVINO,
    RUNTIMES,
    TORCH,
    check_backend,
    check_runtime,
)
from .choice import Candidate, choose
from .export import (
    Running,
    compile_checkpoint,
    is_export,
    prove,
    read_export,
    run_export,
    sample_observation,
    torch_sample,
)
from .staged import Staged, open_stages


class Policy:
    """A loaded checkpoint with the state of one episode. Not for use from two threads at once."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        network: PolicyNetwork | Running | Staged,
        device: torch.device | str,
        precision: str = FLOAT32,
        deviation: NDArray[np.float64] | None = None,
    ) -> None:
        """precision is what a network computes in, deviation its error; a running graph has its
        own."""
        self._checkpoint = checkpoint
        self._network = network.to(device) if isinstance(network, PolicyNetwork) else network
        self._precision, self._deviation = precision, deviation
        if not isinstance(network, PolicyNetwork):
            self._precision, self._deviation = network.precision, network.deviation
        self._preprocessor = checkpoint.preprocessor.to(device)
        self._family = checkpoint.family
        self._drawn = None if isinstance(network, Running) else self._family.noise(self.config)
        self._playback = _playback(checkpoint.config)
        self._window: Window[Observation] = Window(checkpoint.config.n_obs_steps)
        self._selected = 0
        # Noise is drawn on the CPU, so that one seed gives one episode on every device.
        self._noise = torch.Generator()
        self._noise.seed()
        # What backend auto found of each runtime, and in one line; nothing where one was named.
        self.candidates: tuple[Candidate, ...] = ()
        self.choice = ""

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
        return TORCH if isinstance(self._network, PolicyNetwork) else self._network.backend

    @property
    def precision(self) -> str:
        """What the network computes in: float32 or bfloat16."""
        return self._precision

    @property
    def deviation(self) -> NDArray[np.float64] | None:
        """Largest error (n,) of a chunk's entries against torch in float32, found on loading, in
        dataset units; None where nothing was compared (torch in float32, SmolVLA with torch)."""
        return self._deviation

    @property
    def inpaints(self) -> bool:
        """Whether predict_chunk takes what is left of the plan; ACT's single pass cannot."""
        return self._family.inpaints and not isinstance(self._network, Running)

    @property
    def draws(self) -> bool:
        """Whether a chunk depends on noise, which reset's seed or predict_chunk's noise fixes."""
        return self._drawn is not None

    def reset(self, seed: int | None = None) -> None:
        """Forget earlier predictions: call at the start of every episode.

        seed: the noise of the episode becomes a function of it; ACT draws none.
        """
        self._playback.reset()
        self._window.reset()
        if seed is not None:
            self._noise.manual_seed(seed)

    def predict_chunk(
        self,
        observation: Observation,
        leftover: LeftOver | None = None,
        noise: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        """The whole action chunk float32 (C, n) in dataset units; row i is due i / fps later.

        An observation must hold the n_obs_steps - 1 before it, see Observation. leftover is
        continued where the policy inpaints; noise is what the chunk begins from, drawn if not
        given, and none of ACT's: float32 (C, max_action_dim) for SmolVLA, for Diffusion Policy
        (horizon, n), by DDPM so many times as it has steps. Leaves the episode's state alone.

        Raises ObservationError for an observation unlike the training data's, or a task longer than
        a graph has room for,
        FloatingPointError if the network gives non-finite actions, ValueError for a leftover where
        the policy does not inpaint and for noise of another shape.
        """
        if leftover is not None and not self.inpaints:
            raise ValueError(
                f"leftover: only a flow policy can go on with a plan, {self.config.TITLE} cannot"
            )
        earlier = self.config.n_obs_steps - 1
        if len(observation.earlier) != earlier:
            raise ObservationError(
                f"earlier observations: expected {earlier}, found {len(observation.earlier)}; give "
                "the n_obs_steps of the policy (Window), at the start of an episode at_start"
            )
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
        network: PolicyNetwork | Staged,
        observation: Observation,
        leftover: LeftOver | None,
        noise: NDArray[np.float32] | None,
    ) -> NDArray[np.float32]:
        device = self._preprocessor.device
        precision, joined = self._precision, network
        if isinstance(network, Staged):  # between its stages torch computes in float32
            precision, joined = FLOAT32, network.network
        with torch.inference_mode(), _arithmetic(device, precision):
            given = self._given(observation, leftover, noise)
            try:
                normalized = self._family.infer(joined, given)
            except NoRoom as error:
                raise ObservationError(str(error)) from error
        with torch.inference_mode():
            actions = self._preprocessor.unnormalize_action(normalized.float())[0]
        return np.asarray(actions.cpu(), np.float32)

    def _given(
        self,
        observation: Observation,
        leftover: LeftOver | None,
        noise: NDArray[np.float32] | None,
    ) -> Inference:
        """All that the chunk of an observation is computed from."""
        device = self._preprocessor.device
        if self.config.WINDOWED:
            batch = self._preprocessor.window(observation)
        else:
            batch = self._preprocessor(observation)
        drawn = None
        if self._drawn is not None:
            drawn = self._drawn.draw(self._noise)
            drawn = (drawn if noise is None else self._drawn.given(noise)).to(device)
        plan = None
        if leftover is not None:
            rows = torch.from_numpy(np.require(leftover.rows, np.float32, ["C", "W"]))
            plan = self._preprocessor.normalize_action(rows.to(device))
        return Inference(
            batch=batch,
            task=observation.task,
            language=self._checkpoint.language,
            noise=drawn,
            plan=plan,
            delay=0 if leftover is None else leftover.delay,
        )

    def repeatable(self, seed: int = 0) -> Callable[[Observation], NDArray[np.float32]]:
        """predict_chunk from the same noise each time, so that only the observation matters.

        The noise is a function of `seed`; that of the episode is left alone.
        """
        noise = None
        if self._drawn is not None:
            drawn = self._drawn.draw(torch.Generator().manual_seed(seed))
            noise = np.asarray(drawn[0], np.float32)
        return lambda observation: self.predict_chunk(observation, noise=noise)

    def select_action(
        self, observation: Observation, noise: NDArray[np.float32] | None = None
    ) -> NDArray[np.float32]:
        """The action float32 (n,) for now, in dataset units; call once per period.

        The observations of an episode's calls are its window: their `earlier` is filled in here.
        With a temporal_ensemble_coeff every call predicts and blends; otherwise n_action_steps
        actions of a chunk are played before the next prediction. noise as for predict_chunk, used
        when there is a prediction. Raises as predict_chunk does.
        """
        self._selected += 1
        observation = latest(self._window.add(observation, self._selected))
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

    backend is torch, or onnxruntime or openvino for ACT and SmolVLA on the CPU, which take a
    checkpoint (traced now, which takes seconds) or, of ACT, a directory of `armlet policy export`,
    and are compared with torch before they are given out, see Policy.deviation. precision bfloat16
    trades error for speed. auto loads and times each that can (at most four inferences, none begun
    after a minute) and keeps the fastest, the first of those within 5 %, see Policy.candidates.
    threads: CPU threads of inference; None: as many as torch is set to. With backend torch it sets
    those of the process.

    Raises CheckpointError for a checkpoint or export that must not be run as it is, ValueError for
    a device, backend or precision that is not to be had here, MissingPackage (a ValueError) without
    the extra armlet[export].
    """
    check_backend(backend, precision, device)
    _check_device(device)
    if backend == TORCH:
        require_unit(precision, device)
    _check_threads(threads)
    path = hub.locate(path)
    if backend == AUTO:
        return _load_fastest(path, device, optimize, choices, precision, threads)
    if is_export(path):
        return _load_export(path, backend, precision, threads)
    checkpoint = read_checkpoint(path, choices)
    if backend != TORCH and checkpoint.family.split is not None:
        return _load_staged(checkpoint, backend, precision, threads)
    if backend != TORCH:
        running = compile_checkpoint(checkpoint, backend, precision, threads)
        return Policy(checkpoint, running, device)
    if threads is not None:
        torch.set_num_threads(threads)
    network = load_network(checkpoint)
    if precision == BFLOAT16 and checkpoint.family.exportable:
        return _load_rounded(checkpoint, network, device, optimize)
    if optimize:
        network.optimize_for_inference()
    return Policy(checkpoint, network, device, precision)


def _load_fastest(
    path: Path,
    device: str,
    optimize: bool,
    choices: Choices | None,
    precision: str,
    threads: int | None,
) -> Policy:
    def load(backend: str) -> Policy:
        return load_policy(
            path,
            device=device,
            optimize=optimize,
            choices=choices,
            backend=backend,
            precision=precision,
            threads=threads,
        )

    exported = is_export(path)
    if not exported:
        read_checkpoint(path, choices)  # what is wrong with it is no matter of a runtime
    runtimes = [name for name in RUNTIMES if name != TORCH or not exported]
    found = choose(
        runtimes,
        load,
        lambda policy: policy.repeatable()(sample_observation(policy.checkpoint)),
    )
    found.policy.candidates, found.policy.choice = found.candidates, str(found)
    return found.policy


def _load_rounded(
    checkpoint: Checkpoint, network: PolicyNetwork, device: str, optimize: bool
) -> Policy:
    """A network of one pass in bfloat16, compared once with itself in float32."""
    observation, exact = torch_sample(checkpoint, network)
    if optimize:
        network.optimize_for_inference()
    rounded = Policy(checkpoint, network.round_weights(), device, BFLOAT16)
    error = np.abs(rounded.predict_chunk(observation).astype(np.float64) - exact)
    return Policy(checkpoint, network, device, BFLOAT16, error.max(axis=0))


def _load_staged(
    checkpoint: Checkpoint, backend: str, precision: str, threads: int | None
) -> Policy:
    """A network in stages, compared once with torch, whose weights are given up meanwhile."""
    split = checkpoint.family.split
    assert split is not None
    check_runtime(backend, precision)
    network = load_network(checkpoint)
    observation = sample_observation(checkpoint)
    truth = Policy(checkpoint, network, "cpu").repeatable()(observation)
    stages = split(network.fold_for_inference(), checkpoint.companions)
    runs = open_stages(stages.stages, backend, precision, threads, checkpoint.path)
    joined = stages.join(runs)

    def policy(deviation: NDArray[np.float64] | None) -> Policy:
        return Policy(checkpoint, Staged(joined, backend, precision, deviation), "cpu")

    try:
        chunk = policy(None).repeatable()(observation)
    except FloatingPointError:  # the error of a chunk that is none
        chunk = np.full_like(truth, np.nan)
    runtime = (backend, precision)
    return policy(prove([chunk], [truth], runtime, checkpoint.preprocessor, checkpoint.path))


def _load_export(path: Path, backend: str, precision: str, threads: int | None) -> Policy:
    if backend == TORCH:
        raise CheckpointError.found(
            Code.POLICY_OPTION_REFUSED,
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


def _playback(config: PolicyConfig) -> ActionQueue | TemporalEnsembler:
    if config.temporal_ensemble_coeff is not None:
        return TemporalEnsembler(config.temporal_ensemble_coeff, config.chunk_size)
    return ActionQueue(config.n_action_steps)
