"""Recorded observations as the policy node would give them, decoded when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

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
        needed = sorted({max(0, frame - i) for frame in block for i in range(longest)})
        seen = dict(zip(needed, _observations(dataset, episode, needed, cameras), strict=True))
        for frame in block:
            yield Moment(frame, {size: _window(seen, frame, size) for size in set(windows)})


def _window(seen: dict[int, Observation], frame: int, size: int) -> Observation:
    """The newest observation with those before it, as the policy node's window holds them."""
    window: Window[Observation] = Window(size)
    held: tuple[Observation, ...] = ()
    for index in range(max(0, frame - size + 1), frame + 1):
        held = window.add(seen[index], index)
    return latest(held)


def _observations(
    dataset: Dataset, episode: EpisodeData, frames: Sequence[int], cameras: Sequence[str]
) -> Iterator[Observation]:
    number = episode.info.episode
    images = {name: dataset.images(number, name, frames) for name in cameras}
    nothing = np.zeros((episode.info.length, 0), np.float32)
    states = np.asarray(episode.columns.get(STATE, nothing), np.float32)
    environment = episode.columns.get(ENVIRONMENT)
    for at, frame in enumerate(frames):
        yield Observation(
            state=states[frame],
            images={name: pictures[at] for name, pictures in images.items()},
            task=episode.tasks[frame],
            environment_state=(
                None if environment is None else np.asarray(environment[frame], np.float32)
            ),
        )
