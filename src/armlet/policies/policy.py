"""A policy: observations in, actions out, in dataset units."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from armlet.contract import Camera, Contract, Preprocessing

from .act import Act
from .checkpoint import Checkpoint, load_network, read_checkpoint
from .config import ActConfig, camera_name
from .observation import Observation
from .playback import ActionQueue, TemporalEnsembler
from .preprocess import Preprocessor


class Policy:
    """A loaded checkpoint with the state of one episode. Not for use from two threads at once."""

    def __init__(self, checkpoint: Checkpoint, network: Act, device: torch.device | str) -> None:
        self._checkpoint = checkpoint
        self._network = network.to(device)
        self._preprocessor = checkpoint.preprocessor.to(device)
        self._playback = _playback(checkpoint.config)

    @property
    def config(self) -> ActConfig:
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

    def reset(self) -> None:
        """Forget earlier predictions: call at the start of every episode."""
        self._playback.reset()

    def predict_chunk(self, observation: Observation) -> NDArray[np.float32]:
        """The whole action chunk float32 (C, n) in dataset units; row i is due i / fps later.

        Leaves the episode's state alone. Raises ObservationError for an observation unlike the
        training data's, FloatingPointError if the network gives non-finite actions.
        """
        with torch.inference_mode():
            normalized = self._network(self._preprocessor(observation))
            actions = self._preprocessor.unnormalize_action(normalized)[0]
            chunk: NDArray[np.float32] = np.asarray(actions.cpu(), np.float32)
        if not np.isfinite(chunk).all():
            raise FloatingPointError(
                "the network gave non-finite actions for finite input: expected finite numbers; "
                "its weights are too large, take another checkpoint"
            )
        return chunk

    def select_action(self, observation: Observation) -> NDArray[np.float32]:
        """The action float32 (n,) for now, in dataset units; call once per period.

        With a temporal_ensemble_coeff every call predicts and blends; otherwise n_action_steps
        actions of a chunk are played before the next prediction. Raises as predict_chunk does.
        """
        if isinstance(self._playback, TemporalEnsembler):
            blended = self._playback.update(self.predict_chunk(observation))
            now: NDArray[np.float32] = blended[0]
            return now
        if not len(self._playback):
            self._playback.fill(self.predict_chunk(observation))
        return self._playback.pop()


def load_policy(path: Path, *, device: str = "cpu", optimize: bool = True) -> Policy:
    """The policy in checkpoint directory `path`, ready to run on `device`.

    With optimize the network is folded and laid out for speed and results move by rounding only;
    without, they are LeRobot's to the bit on the same machine. Raises CheckpointError for a
    checkpoint that must not be run as it is, ValueError for a device torch cannot use.
    """
    _check_device(device)
    checkpoint = read_checkpoint(Path(path))
    network = load_network(checkpoint)
    if optimize:
        network.optimize_for_inference()
    return Policy(checkpoint, network, device)


def derive_contract(
    config: ActConfig,
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


def _playback(config: ActConfig) -> ActionQueue | TemporalEnsembler:
    if config.temporal_ensemble_coeff is not None:
        return TemporalEnsembler(config.temporal_ensemble_coeff, config.chunk_size)
    return ActionQueue(config.n_action_steps)
