"""Recorded observations as the policy node would give them, decoded when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from armlet.datasets import Dataset
from armlet.datasets.reader import EpisodeData
from armlet.policies import Observation, Window
from armlet.policies.config.base import ENVIRONMENT, STATE
from armlet.policies.observation import latest

# Chunks whose pictures are decoded together: a video is opened so many times less often.
_BLOCK = 8


@dataclass(frozen=True)
class Moment:
    """A frame of an episode; observations: what a policy sees there, by its n_obs_steps."""

    frame: int
    observations: dict[int, Observation]


def frames_of(length: int, count: int) -> list[int]:
    """Frames evenly over an episode, the first and the last among them; all of them for 0."""
    if count <= 0 or count >= length:
        return list(range(length))
    return sorted({round(i) for i in np.linspace(0, length - 1, count).tolist()})


def moments(
    dataset: Dataset,
    episode: EpisodeData,
    frames: Sequence[int],
    cameras: Sequence[str],
    windows: Sequence[int],
) -> Iterator[Moment]:
    """The observations at some frames of an episode, with the frames before them.

    windows: the n_obs_steps of the policies. Before the first frame of an episode it is as at the
    first, as in training. No more pictures are held than those of a few frames. Raises
    DatasetError.
    """
    longest = max(windows)
    for start in range(0, len(frames), _BLOCK):
        block = frames[start : start + _BLOCK]
        recorded = Recorded(dataset, episode, block, longest)
        for camera in cameras:
            recorded.decode(camera)
        for frame in block:
            yield Moment(frame, {size: recorded.window(frame, size) for size in set(windows)})


class Recorded:
    """Some frames of an episode, as a policy sees them, with the frames before them.

    longest: how many observations the policy reads at most. Pictures are those of the cameras that
    were decoded.
    """

    def __init__(
        self, dataset: Dataset, episode: EpisodeData, frames: Sequence[int], longest: int
    ) -> None:
        self._dataset, self._episode, self._frames = dataset, episode, frames
        # Before the first frame of an episode it is as it is, as in training.
        self._needed = sorted({max(0, frame - i) for frame in frames for i in range(longest)})
        self._places = {frame: at for at, frame in enumerate(self._needed)}
        nothing = np.zeros((episode.info.length, 0), np.float32)
        self._states = np.asarray(episode.columns.get(STATE, nothing), np.float32)
        self._environment = episode.columns.get(ENVIRONMENT)
        self._pictures: dict[str, NDArray[np.uint8]] = {}

    def decode(self, camera: str) -> None:
        """Decode a camera's pictures. Raises DatasetError."""
        number = self._episode.info.episode
        self._pictures[camera] = self._dataset.images(number, camera, self._needed)

    def pictures(self, camera: str) -> NDArray[np.uint8]:
        """A camera's pictures of the frames themselves: uint8 (N, H, W, 3) RGB."""
        return self._pictures[camera][[self._places[frame] for frame in self._frames]]

    def window(self, frame: int, size: int) -> Observation:
        """The newest observation with those before it, as the policy node's window holds them."""
        window: Window[Observation] = Window(size)
        held: tuple[Observation, ...] = ()
        for index in range(max(0, frame - size + 1), frame + 1):
            held = window.add(self._observation(index), index)
        return latest(held)

    def _observation(self, frame: int) -> Observation:
        at, environment = self._places[frame], self._environment
        return Observation(
            state=self._states[frame],
            images={name: pictures[at] for name, pictures in self._pictures.items()},
            task=self._episode.tasks[frame],
            environment_state=(
                None if environment is None else np.asarray(environment[frame], np.float32)
            ),
        )
