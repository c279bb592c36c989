"""From noise to a sample, step by step: DDPM (Ho et al. 2020, arXiv:2006.11239) and DDIM (Song et
al. 2020, arXiv:2010.02502).

alpha_bar(t) is the share of the sample that is left of its variance at time t, the product of
1 - beta up to t. Times are those LeRobot's schedulers take: steps apart evenly, from 0 on
("leading"). The order of operations is theirs, in float32, which gives their results to the bit.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from armlet.policies.config.diffusion import COSINE, DDPM, EPSILON, LINEAR, DiffusionConfig

# Of the cosine schedule (Nichol and Dhariwal 2021, arXiv:2102.09672, section 3.2): s, and the cap
# that keeps the last step from dividing by zero.
_OFFSET, _LARGEST_BETA = 0.008, 0.999
_SMALLEST_VARIANCE = 1e-20


def betas(config: DiffusionConfig) -> Tensor:
    """float32 (num_train_timesteps,), on the CPU: the noise that is added at each time."""
    count = config.num_train_timesteps
    low, high = config.beta_start, config.beta_end
    if config.beta_schedule == COSINE:

        def left(t: float) -> float:
            return math.cos((t + _OFFSET) / (1 + _OFFSET) * math.pi / 2) ** 2

        values = [
            min(1 - left((i + 1) / count) / left(i / count), _LARGEST_BETA) for i in range(count)
        ]
        return torch.tensor(values, dtype=torch.float32, device="cpu")
    if config.beta_schedule == LINEAR:
        return torch.linspace(low, high, count, dtype=torch.float32, device="cpu")
    roots = torch.linspace(low**0.5, high**0.5, count, dtype=torch.float32, device="cpu")
    return roots**2


class Denoising:
    """The steps of a configuration.

    Attributes:
        times: the time of each step, falling to 0.
    """

    def __init__(self, config: DiffusionConfig) -> None:
        apart = config.num_train_timesteps // config.steps
        self.times = [i * apart for i in range(config.steps)][::-1]
        self._alpha_bars = torch.cumprod(1.0 - betas(config), dim=0)
        self._predicts_noise = config.prediction_type == EPSILON
        self._stochastic = config.noise_scheduler_type == DDPM
        self._limit = config.clip_sample_range if config.clip_sample else None

    def mix(self, sample: Tensor, noise: Tensor, times: Tensor) -> Tensor:
        """sample (B, H, n) with as much noise as there is at times int64 (B,): DDPM, (4)."""
        bars = self._alpha_bars.to(sample)[times][:, None, None]
        return bars**0.5 * sample + (1 - bars) ** 0.5 * noise

    def step(self, index: int, x: Tensor, predicted: Tensor, noise: Tensor | None) -> Tensor:
        """x at the time after times[index], from x at it and what the network predicts there.

        noise, standard normal, is what DDPM adds, but for its last step; None: nothing is added.
        """
        bar = self._alpha_bars[self.times[index]]
        last = index + 1 == len(self.times)
        bar_next = torch.tensor(1.0) if last else self._alpha_bars[self.times[index + 1]]
        sample = predicted
        if self._predicts_noise:
            sample = (x - (1 - bar) ** 0.5 * predicted) / bar**0.5
            direction = predicted
        else:
            direction = (x - bar**0.5 * predicted) / (1 - bar) ** 0.5
        if self._limit is not None:
            sample = sample.clamp(-self._limit, self._limit)
        if self._stochastic:
            return _posterior(bar, bar_next, x, sample, noise)
        # DDIM, formula (12), with sigma 0. LeRobot does not derive the direction again from the
        # clipped sample.
        return bar_next**0.5 * sample + (1 - bar_next) ** 0.5 * direction


def _posterior(
    bar: Tensor, bar_next: Tensor, x: Tensor, sample: Tensor, noise: Tensor | None
) -> Tensor:
    """DDPM, formula (7): mean, and the smaller of its two variances, of x one step later."""
    alpha = bar / bar_next
    beta = 1 - alpha
    mean = (bar_next**0.5 * beta) / (1 - bar) * sample
    mean = mean + alpha**0.5 * (1 - bar_next) / (1 - bar) * x
    if noise is None:
        return mean
    variance = ((1 - bar_next) / (1 - bar) * beta).clamp(min=_SMALLEST_VARIANCE)
    return mean + variance**0.5 * noise
