"""Which action of which chunk is executed now."""

from __future__ import annotations

from collections import deque

import numpy as np
import torch
from numpy.typing import NDArray


class ActionQueue:
    """Plays the first `n_action_steps` actions of a chunk, then asks for another."""

    def __init__(self, n_action_steps: int) -> None:
        self._steps = n_action_steps
        self._actions: deque[NDArray[np.float32]] = deque()

    def __len__(self) -> int:
        return len(self._actions)

    def fill(self, chunk: NDArray[np.float32]) -> None:
        """Replace what is left by the head of `chunk` (C, n)."""
        self._actions = deque(chunk[: self._steps])

    def pop(self) -> NDArray[np.float32]:
        """Next action (n,). Raises IndexError when there is none: fill first."""
        return self._actions.popleft()

    def reset(self) -> None:
        self._actions.clear()


class TemporalEnsembler:
    """Blends overlapping chunks (Zhao et al. 2023, arXiv:2304.13705, algorithm 2).

    The prediction of an instant that was made i-th, the oldest first, weighs exp(-coefficient * i):
    a positive coefficient trusts old predictions more. Weights are divided by their sum. The mean
    is kept online, so memory is one chunk. Asked every period, it gives LeRobot 0.3's actions to
    the bit: its order of operations in float32, its weights from torch's exp and cumsum. LeRobot
    0.4 blends before it unnormalizes, which is the same but for the last digits.
    """

    def __init__(self, coefficient: float, chunk_size: int) -> None:
        weights = torch.exp(-coefficient * torch.arange(chunk_size))
        self._weights: NDArray[np.float32] = weights.numpy()
        self._sums: NDArray[np.float32] = torch.cumsum(weights, dim=0).numpy()
        self.reset()

    def reset(self) -> None:
        """Forget all predictions: a new episode begins."""
        self._blend: NDArray[np.float32] | None = None
        self._counts = np.zeros(0, np.int64)

    def update(self, chunk: NDArray[np.float32], elapsed: int = 1) -> NDArray[np.float32]:
        """Blend in a chunk (C, n) and return the blended chunk (C, n), whose row 0 is for now.

        elapsed is the number of periods since the chunk of the previous call was predicted, 1 when
        the policy is asked every period: so many rows of the blend have passed and are dropped. It
        is ignored on the first call after a reset. Raises ValueError for another shape, or for
        elapsed below 1.
        """
        if elapsed < 1:
            raise ValueError(f"elapsed must be at least 1 period, found {elapsed}")
        if len(chunk) != len(self._weights):
            raise ValueError(f"chunk must have {len(self._weights)} rows, found {len(chunk)}")
        blend = np.array(chunk, np.float32)
        counts = np.ones(len(blend), np.int64)
        if self._blend is not None:
            old, count = self._blend[elapsed:], self._counts[elapsed:]
            weighed = old * self._sums[count - 1, None]
            weighed += blend[: len(old)] * self._weights[count, None]
            blend[: len(old)] = weighed / self._sums[count, None]
            counts[: len(old)] += count
        self._blend, self._counts = blend, counts
        return blend.copy()
