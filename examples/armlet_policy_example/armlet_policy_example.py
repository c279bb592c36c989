"""A kind of policy of one's own: every action of a chunk is one linear function of the state."""

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from armlet.policies import PolicyConfig, PolicyFamily, PolicyNetwork


@dataclass(frozen=True)
class StayConfig(PolicyConfig):
    TYPE: ClassVar[str] = "stay"
    TITLE: ClassVar[str] = "Stay"
    READS: ClassVar[tuple[str, ...]] = ("STATE",)


class Stay(PolicyNetwork):
    def __init__(self, config):
        super().__init__()
        self.config, self.head = config, nn.Linear(config.state_size, config.action_size)

    def forward(self, batch):
        return self.head(batch["observation.state"])[:, None].repeat(1, self.config.chunk_size, 1)


FAMILY = PolicyFamily(config=StayConfig, build=lambda config, companions: Stay(config))
