"""How to train."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class TrainingSettings:
    """How to train. The network defaults suit small pictures and one task; LeRobot's are larger.

    action_steps: how many actions of a chunk are played by the strategy n_action_steps; 0: all.
    intervention_weight: how often a row that a person commanded is drawn beside any other.
    only_interventions: learn these rows alone.

    Raises ValueError for a setting nothing can be trained with.
    """

    steps: int = 2500
    batch_size: int = 32
    learning_rate: float = 3e-4
    weight_decay: float = 1e-4
    warmup_steps: int = 100
    validation_share: float = 0.1
    chunk_size: int = 45
    action_steps: int = 0
    dim_model: int = 128
    dim_feedforward: int = 256
    n_heads: int = 4
    n_encoder_layers: int = 2
    seed: int = 0
    half: bool = False
    intervention_weight: float = 1.0
    only_interventions: bool = False

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "warmup_steps", "chunk_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, found {getattr(self, name)}")
        if not 0 <= self.action_steps <= self.chunk_size:
            raise ValueError(
                f"action_steps must lie between 0 and chunk_size ({self.chunk_size}), found "
                f"{self.action_steps}"
            )
        if self.seed < 0:
            raise ValueError(f"seed must not be negative, found {self.seed}")
        if not self.learning_rate > 0 or self.weight_decay < 0:
            raise ValueError(
                "learning_rate must be positive and weight_decay not negative, found "
                f"{self.learning_rate} and {self.weight_decay}"
            )
        if not 0 < self.validation_share < 1:
            raise ValueError(
                f"validation_share must lie between 0 and 1, found {self.validation_share}"
            )
        if not 0 < self.intervention_weight < math.inf:
            raise ValueError(
                f"intervention_weight must be positive, found {self.intervention_weight}"
            )
        if self.only_interventions and self.intervention_weight != 1:
            raise ValueError("only_interventions leaves no other rows to weigh; give one of both")
