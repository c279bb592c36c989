"""What a training reads: its episodes' numbers in memory, pictures when they are asked for."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from armlet.datasets import Dataset, DatasetError
from armlet.policies import PolicyConfig, Preprocessor
from armlet.policies.config.base import ACTION
from armlet.policies.fit.lag import Vectors
from armlet.policies.networks.smolvla import SEEN, TOKENS
from armlet.policies.networks.tokens import Words

Pictures = dict[str, NDArray[np.uint8]]


@dataclass(frozen=True)
class Samples:
    """Some episodes of some datasets, a row per frame: dataset by dataset, episode by episode.

    Attributes:
        datasets: they are of.
        episodes: which, of each dataset, in the order of the rows.
        states, actions: (N, n) and (N, m) float32, dataset units.
        starts, ends: (N,) int64, of each row the first that a chunk around it may have, and the row
            behind the last: those of its episode, or fewer.
        places: (N, 3) int64: each row's dataset, episode and frame, where its pictures are.
        begins: (M,) int64, rows at which chunks begin, ascending.
        tasks: their texts.
        task_of: (N,) int64, the task of each row.
    """

    datasets: tuple[Dataset, ...]
    episodes: tuple[tuple[int, ...], ...]
    states: NDArray[np.float32]
    actions: NDArray[np.float32]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    places: NDArray[np.int64]
    begins: NDArray[np.int64]
    tasks: tuple[str, ...]
    task_of: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.states)

    @property
    def groups(self) -> list[NDArray[np.int64]]:
        """The rows of each dataset at which chunks begin."""
        numbers = self.places[self.begins, 0]
        return [self.begins[numbers == k] for k in range(len(self.datasets))]

    def window(self, rows: NDArray[np.int64], count: int) -> NDArray[np.int64]:
        """The last `count` rows up to each of `rows` (B,): (B * count,), the oldest of each first.

        Before an episode's first row there is that row again, as in LeRobot.
        """
        back = np.minimum(np.arange(count)[::-1], self.places[rows, 2][:, None])
        found: NDArray[np.int64] = (rows[:, None] - back).reshape(-1)
        return found

    def without_last(self, count: int) -> Samples:
        """The same rows, without chunks that begin at the last `count` of what they may have.

        Raises DatasetError for a dataset of which no chunk is left.
        """
        left = self.begins[self.ends[self.begins] - self.begins > count]
        found = dataclasses.replace(self, begins=left)
        for number, (before, rows) in enumerate(zip(self.groups, found.groups, strict=True)):
            if len(before) and not len(rows):
                raise DatasetError(
                    f"{self.datasets[number].root}: expected episodes of more than {count} frames, "
                    "of which the last are no begin of a chunk, found none; record longer ones, or "
                    "--set drop_n_last_frames=0"
                )
        return found

    def vectors(self) -> list[Vectors]:
        """Each episode's states and actions."""
        cuts = np.flatnonzero(np.diff(self.places[:, :2], axis=0).any(axis=1)) + 1
        return list(zip(np.split(self.states, cuts), np.split(self.actions, cuts), strict=True))

    @property
    def sizes(self) -> dict[str, tuple[int, int]]:
        """Height and width of each camera's pictures."""
        cameras = self.datasets[0].info.cameras
        return {name: feature.picture_size for name, feature in cameras.items()}

    def real(self, rows: NDArray[np.int64], first: int, end: int) -> NDArray[np.int64]:
        """How many of the rows from `first` to `end` around each of `rows` (B,) are no padding."""
        around = rows[:, None] + np.arange(first, end)
        there = (around >= self.starts[rows][:, None]) & (around < self.ends[rows][:, None])
        counted: NDArray[np.int64] = there.sum(axis=1)
        return counted

    def pictures(self, rows: NDArray[np.int64]) -> Pictures:
        """Decode the pictures of some rows (B,): uint8 (B, H, W, 3) RGB by camera.

        Raises DatasetError.
        """
        found = {
            name: np.empty((len(rows), *size, 3), np.uint8) for name, size in self.sizes.items()
        }
        together: dict[tuple[int, int], list[int]] = {}
        for at, (number, episode, _) in enumerate(self.places[rows].tolist()):
            together.setdefault((number, episode), []).append(at)
        for (number, episode), places in together.items():
            frames = self.places[rows[places], 2].tolist()
            for name, pictures in found.items():
                decoded = self.datasets[number].images(episode, name, frames)
                _check_size(decoded, pictures, f"{self.datasets[number].root}: {name}")
                pictures[places] = decoded
        return found


def _check_size(decoded: NDArray[np.uint8], expected: NDArray[np.uint8], what: str) -> None:
    if decoded.shape[1:] != expected.shape[1:]:
        (height, width), (found_height, found_width) = expected.shape[1:3], decoded.shape[1:3]
        raise DatasetError(
            f"{what}: expected pictures of {width}x{height}, as info.json says, found "
            f"{found_width}x{found_height}; `armlet dataset check` has more"
        )


def load_samples(datasets: Sequence[Dataset], episodes: Sequence[Sequence[int]]) -> Samples:
    """Rows of some episodes of each dataset. Raises DatasetError, for NaN in them too."""
    chosen = [(number, k) for number, some in enumerate(episodes) for k in some]
    data = [datasets[number].episode(k) for number, k in chosen]
    for episode in data:
        episode.require_finite()
    lengths = np.array([episode.info.length for episode in data])
    named = dict.fromkeys(task for episode in data for task in episode.tasks)
    numbers = {task: number for number, task in enumerate(named)}
    places = [
        np.stack(np.broadcast_arrays(number, k, np.arange(length)), axis=1)
        for (number, k), length in zip(chosen, lengths, strict=True)
    ]
    return Samples(
        datasets=tuple(datasets),
        episodes=tuple(tuple(some) for some in episodes),
        states=np.concatenate([episode.state for episode in data]),
        actions=np.concatenate([episode.action for episode in data]),
        starts=np.repeat(np.cumsum(lengths) - lengths, lengths),
        ends=np.repeat(np.cumsum(lengths), lengths),
        places=np.concatenate(places),
        begins=np.arange(int(lengths.sum())),
        tasks=tuple(named),
        task_of=np.array([numbers[task] for episode in data for task in episode.tasks]),
    )


def make_batch(
    samples: Samples,
    rows: NDArray[np.int64],
    images: Mapping[str, NDArray[np.uint8]],
    preprocessor: Preprocessor,
    config: PolicyConfig,
    words: Words | None = None,
) -> dict[str, Tensor]:
    """Network input of some rows (B,) with the actions around each, padded at both ends.

    images: the pictures of their window of n_obs_steps rows, uint8 (B * n_obs_steps, H, W, 3) by
    camera. Actions (B, n_obs_steps - 1 + chunk_size, n) begin at the window's first row. words:
    what reads the tasks, of a policy that reads them.
    """
    seen = config.n_obs_steps
    around = rows[:, None] + np.arange(1 - seen, config.chunk_size)
    starts, ends = samples.starts[rows][:, None], samples.ends[rows][:, None]
    batch = preprocessor.batch(
        images,
        samples.states[samples.window(rows, seen)],
        samples.actions[np.clip(around, starts, ends - 1)],
        (around < starts) | (around >= ends),
    )
    if config.WINDOWED:
        # A view of the window, so that pictures stay as they lie.
        observed = preprocessor.features.keys() - {ACTION}
        size = (len(rows), seen)
        batch |= {key: batch[key].view(*size, *batch[key].shape[1:]) for key in observed}
    if words is not None:
        batch[TOKENS], batch[SEEN] = words.batch(
            [samples.tasks[k] for k in samples.task_of[rows].tolist()]
        )
    return batch
