"""What a training reads: its episodes' numbers in memory, pictures when they are asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from armlet.datasets import Dataset, DatasetError
from armlet.policies import Preprocessor
from armlet.policies.fit.lag import Vectors

Pictures = dict[str, NDArray[np.uint8]]


@dataclass(frozen=True)
class Samples:
    """Some episodes of some datasets, a row per frame: dataset by dataset, episode by episode.

    Attributes:
        datasets: they are of.
        episodes: which, of each dataset, in the order of the rows.
        states, actions: (N, n) and (N, m) float32, dataset units.
        ends: (N,) int64, the row behind the last that a chunk from each row may have: behind its
            episode, or earlier.
        places: (N, 3) int64: each row's dataset, episode and frame, where its pictures are.
        begins: (M,) int64, rows at which chunks begin, ascending.
    """

    datasets: tuple[Dataset, ...]
    episodes: tuple[tuple[int, ...], ...]
    states: NDArray[np.float32]
    actions: NDArray[np.float32]
    ends: NDArray[np.int64]
    places: NDArray[np.int64]
    begins: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.states)

    @property
    def groups(self) -> list[NDArray[np.int64]]:
        """The rows of each dataset at which chunks begin."""
        numbers = self.places[self.begins, 0]
        return [self.begins[numbers == k] for k in range(len(self.datasets))]

    def vectors(self) -> list[Vectors]:
        """Each episode's states and actions."""
        cuts = np.flatnonzero(np.diff(self.places[:, :2], axis=0).any(axis=1)) + 1
        return list(zip(np.split(self.states, cuts), np.split(self.actions, cuts), strict=True))

    @property
    def sizes(self) -> dict[str, tuple[int, int]]:
        """Height and width of each camera's pictures."""
        cameras = self.datasets[0].info.cameras
        return {name: feature.picture_size for name, feature in cameras.items()}

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
    places = [
        np.stack(np.broadcast_arrays(number, k, np.arange(length)), axis=1)
        for (number, k), length in zip(chosen, lengths, strict=True)
    ]
    return Samples(
        datasets=tuple(datasets),
        episodes=tuple(tuple(some) for some in episodes),
        states=np.concatenate([episode.state for episode in data]),
        actions=np.concatenate([episode.action for episode in data]),
        ends=np.repeat(np.cumsum(lengths), lengths),
        places=np.concatenate(places),
        begins=np.arange(int(lengths.sum())),
    )


def make_batch(
    samples: Samples,
    rows: NDArray[np.int64],
    images: Mapping[str, NDArray[np.uint8]],
    preprocessor: Preprocessor,
    chunk_size: int,
) -> dict[str, Tensor]:
    """Network input of some rows (B,) with the actions that follow each, padded at the end.

    images: their pictures, uint8 (B, H, W, 3) by camera.
    """
    following = rows[:, None] + np.arange(chunk_size)
    ends = samples.ends[rows][:, None]
    return preprocessor.batch(
        images,
        samples.states[rows],
        samples.actions[np.minimum(following, ends - 1)],
        following >= ends,
    )
