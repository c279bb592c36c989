"""What every policy's network can do, whatever it computes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn

from .losses import Draws, Loss, LossRule


class PolicyNetwork(nn.Module):
    """Normalized inputs to a normalized action chunk; `config` is what it was built from.

    Methods that change the network work in place and return it.
    """

    config: Any

    @staticmethod
    def stored_name(name: str) -> str:
        """The name in LeRobot's checkpoint of this network's tensor `name`."""
        return f"model.{name}"

    def outline(self, config: Any) -> PolicyNetwork:
        """A new network such as `config` describes, to compare shapes with.

        Raises TypeError for the configuration of another kind of policy.
        """
        if type(config) is not type(self.config):
            raise TypeError(
                f"config: expected {type(self.config).__name__} for {type(self).__name__}, "
                f"found {type(config).__name__}"
            )
        return type(self)(config)

    def draw(self, batch: Mapping[str, Tensor], generator: torch.Generator | None = None) -> Draws:
        """What a training step of this batch draws, on the batch's device; None: torch's generator.

        Numbers are drawn on the CPU, so a seed gives the same on any device.
        """
        return Draws()

    def compute_loss(
        self,
        batch: Mapping[str, Tensor],
        rule: LossRule = LossRule.LEROBOT_0_6,
        draws: Draws | None = None,
    ) -> Loss:
        """LeRobot's training loss of a normalized batch; by default that of the newest LeRobot.

        batch is what forward takes with B observations, and `action` float32 (B, C, n), normalized,
        and `action_is_pad` bool (B, C), true past the end of an episode. draws are those of
        `draw`, drawn here if None. Call after `train()`; after `eval()` dropout, random crops and
        ACT's VAE are off, as in LeRobot 0.6.1. Raises NotImplementedError for a policy that armlet
        cannot train.
        """
        raise NotImplementedError(
            f"{type(self).__name__} cannot be trained: its network has no compute_loss"
        )

    def freeze_for_training(self, rule: LossRule = LossRule.LEROBOT_0_6) -> Self:
        """Let only what LeRobot trains with this configuration require gradients, in place."""
        return self.requires_grad_(True)

    def fold_for_inference(self) -> Self:
        """The part of optimize_for_inference that is good for every runtime."""
        return self.eval().requires_grad_(False)

    def optimize_for_inference(self) -> Self:
        """Make inference faster; nothing but inference is possible after."""
        return self.fold_for_inference()

    def round_weights(self) -> Self:
        """Keep weights as bfloat16 where torch.autocast would round them at each forward."""
        return self
