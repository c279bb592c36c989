"""Real-time chunking: a new chunk that continues the one still being executed.

Black et al. 2025 (arXiv:2506.07339): while a chunk is denoised it is pulled towards the actions of
the previous chunk that will be executed anyway, fully for those that pass before the new chunk is
ready, less and less for later ones. LeRobot (0.4.2 on) pulls along the identity instead of the
network's Jacobian; so does this, to give LeRobot's actions.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from armlet.policies.config.smolvla import RealTimeChunking


class Guidance:
    """The pull of one unfinished chunk on the chunk being denoised."""

    def __init__(
        self, chunking: RealTimeChunking, unfinished: Tensor, delay: int, shape: tuple[int, int]
    ) -> None:
        """unfinished (T, n) are the normalized actions not executed yet, T at most the chunk.

        delay is the number of them that pass while the new chunk is computed, shape the (C, N) of
        the chunk being denoised, whose missing rows and columns are pulled to zero.
        """
        length, width = shape
        if not 0 < len(unfinished) <= length or unfinished.shape[1] > width or delay < 0:
            raise ValueError(
                f"expected 1 to {length} unfinished actions of at most {width} values and a delay "
                f"of 0 or more, found {tuple(unfinished.shape)} and {delay}"
            )
        missing = (0, width - unfinished.shape[1], 0, length - len(unfinished))
        self._target = F.pad(unfinished, missing)
        horizon = min(chunking.execution_horizon, len(unfinished))
        weights = prefix_weights(
            chunking.prefix_attention_schedule, min(delay, horizon), horizon, length
        )
        self._weights = weights.to(unfinished)[:, None]
        self._limit = chunking.max_guidance_weight

    def bend(self, x: Tensor, velocity: Tensor, time: float) -> Tensor:
        """The velocity at `time` (1 is noise, 0 the chunk), turned towards the unfinished chunk."""
        error = (self._target - (x - time * velocity)) * self._weights
        return velocity - self._strength(time) * error

    def _strength(self, time: float) -> float:
        """min(limit, (1 - tau) / tau * ((1 - tau)^2 + tau^2) / (1 - tau)^2) with tau = 1 - time."""
        tau = 1 - time
        if tau == 0:
            return self._limit
        return min(self._limit, time / tau * (time**2 + tau**2) / time**2)


def prefix_weights(schedule: str, delay: int, horizon: int, length: int) -> Tensor:
    """Weight (length,) of each old action: 1 before `delay`, falling to 0 at `horizon`."""
    weights = torch.zeros(length)
    weights[:delay] = 1
    if schedule == "ONES":
        weights[:horizon] = 1
    if schedule in ("LINEAR", "EXP") and horizon > delay:
        falling = torch.linspace(1, 0, horizon - delay + 2)[1:-1]
        if schedule == "EXP":
            falling = falling * torch.expm1(falling) / (math.e - 1)
        weights[delay:horizon] = falling
    return weights
