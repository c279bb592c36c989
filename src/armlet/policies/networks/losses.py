"""What a step of training computes: how errors become a loss, and which random numbers it draws.

A network's `compute_loss` is a function of its batch, a rule and the draws, so that the same step
can be computed again, or elsewhere.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

import torch
from torch import Tensor

IS_PAD = "action_is_pad"


class LossRule(enum.Enum):
    """Whose way from errors to a loss: that of the LeRobot version named (docs/eras.md).

    They differ in what a row past the end of its episode counts. LEROBOT_0_4 (0.4.4): as zero, but
    it is among the rows averaged over; SmolVLA averages over such rows and over the columns beyond
    the robot's joints as if they were actions; a SmolVLA that trains its language model trains its
    last layers too. LEROBOT_0_6 (0.6.0, 0.6.1): the mean is over true rows and joints only, and
    those layers are frozen. With LEROBOT_0_4 the end of an episode weighs less, and so does a
    batch with many of them.
    """

    LEROBOT_0_4 = "0.4.4"
    LEROBOT_0_6 = "0.6.1"


@dataclass(frozen=True)
class Loss:
    """What training minimises: a scalar, with gradient."""

    total: Tensor


@dataclass(frozen=True)
class Draws:
    """The random numbers of one step; what a policy does not draw is left out.

    noise: standard normal float32; of ACT with a VAE (B, latent_dim), of SmolVLA (B, C,
        max_action_dim), of Diffusion Policy (B, horizon, n).
    times: how far the actions are mixed with noise; of SmolVLA float32 (B,) in 0..1, of Diffusion
        Policy int64 (B,) below num_train_timesteps.
    corners: of Diffusion Policy that crops at random, the top and left pixel for each encoder.

    Dropout is not among them: torch draws it within the network, from its own generator.
    """

    noise: Tensor | None = None
    times: Tensor | None = None
    corners: tuple[tuple[int, int], ...] = ()

    def mixing(self) -> tuple[Tensor, Tensor]:
        """noise and times. Raises ValueError where one is missing."""
        if self.noise is None or self.times is None:
            raise ValueError("draws: expected noise and times, found one or none of them")
        return self.noise, self.times


def normal(shape: tuple[int, ...], generator: torch.Generator | None, like: Tensor) -> Tensor:
    """Standard normal float32 on the device of `like`, drawn on the CPU: the same on any device."""
    return torch.randn(shape, generator=generator).to(like.device)


def mean_error(errors: Tensor, is_pad: Tensor, rule: LossRule) -> Tensor:
    """Scalar mean of errors (B, C, n) without the rows in `is_pad` bool (B, C).

    By LEROBOT_0_4 those rows count as zeros, by LEROBOT_0_6 not at all.
    """
    valid = ~is_pad[..., None]
    if rule is LossRule.LEROBOT_0_4:
        return (errors * valid).mean()
    count = (valid.sum() * errors.shape[-1]).clamp_min(1)
    return (errors * valid).sum() / count
