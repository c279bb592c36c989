"""A policy: observations in, actions out, in dataset units."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from armlet.contract import Camera, Contract, Preprocessing

from .act import Act
from .checkpoint import Checkpoint, Choices, load_network, read_checkpoint
from .config import PolicyConfig, camera_name
from .observation import Observation
from .playback import ActionQueue, TemporalEnsembler
from .preprocess import Preprocessor
from .rtc import Guidance, RealTimeChunking
from .smolvla import TOKENS, SmolVla
from .strategy import LeftOver


class Policy:
    """A loaded checkpoint with the state of one episode. Not for use from two threads at once."""

    def __init__(
        self, checkpoint: Checkpoint, network: Act | SmolVla, device: torch.device | str
    ) -> None:
        self._checkpoint = checkpoint
        self._network = network.to(device)
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
        with torch.inference_mode():
            normalized = self._infer(observation, leftover, noise)
            actions = self._preprocessor.unnormalize_action(normalized)[0]
            chunk: NDArray[np.float32] = np.asarray(actions.cpu(), np.float32)
        if not np.isfinite(chunk).all():
            raise FloatingPointError(
                "the network gave non-finite actions for finite input: expected finite numbers; "
                "its weights are too large, take another checkpoint"
            )
        return chunk

    def _infer(
        self,
        observation: Observation,
        leftover: LeftOver | None,
        noise: NDArray[np.float32] | None,
    ) -> torch.Tensor:
        """The normalized chunk (1, C, n) of either network."""
        batch = self._preprocessor(observation)
        network, language = self._network, self._checkpoint.language
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
) -> Policy:
    """The policy in checkpoint directory `path` (or `hub:owner/name`), ready to run on `device`.

    choices answer what the checkpoint leaves open, such as where SmolVLA's tokenizer is.
    With optimize the network is folded and laid out for speed and results move by rounding only;
    without, they are LeRobot's to the bit on the same machine. Raises CheckpointError for a
    checkpoint that must not be run as it is, ValueError for a device torch cannot use.
    """
    _check_device(device)
    checkpoint = read_checkpoint(path, choices)
    network = load_network(checkpoint)
    if optimize:
        network.optimize_for_inference()
    return Policy(checkpoint, network, device)


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
