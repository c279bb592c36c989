"""What every policy's network can do, whatever it computes."""

from __future__ import annotations

from typing import Any, Self

from torch import nn


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

    def fold_for_inference(self) -> Self:
        """The part of optimize_for_inference that is good for every runtime."""
        return self.eval().requires_grad_(False)

    def optimize_for_inference(self) -> Self:
        """Make inference faster; nothing but inference is possible after."""
        return self.fold_for_inference()

    def round_weights(self) -> Self:
        """Keep weights as bfloat16 where torch.autocast would round them at each forward."""
        return self
