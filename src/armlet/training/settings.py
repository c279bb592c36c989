"""How to train."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

POLICIES = ("act", "diffusion", "smolvla")
"""What can be trained, by the type in LeRobot's config.json."""

LOSS_RULES = ("0.4.4", "0.6.1")
"""By which LeRobot's way errors become a loss, see armlet.policies.LossRule."""

AUTO = "auto"
PRECISIONS = (AUTO, "float32", "bfloat16", "float16")
"""What can be computed in; AUTO: what is usual for the policy, where the processor can."""


@dataclass(frozen=True)
class TrainingSettings:
    """How to train.

    policy: one of POLICIES. learning_rate, chunk_size, loss_rule: None: what is usual for it.
    changes: further settings of the policy, by LeRobot's names in config.json, each as JSON or a
    plain word. base: a checkpoint whose weights are trained on, a directory or hub:owner/name;
    vlm: the folder of its language model's config.json and tokenizer.json, where they are neither
    in it nor where it says.
    weight_decay, warmup_steps and the sizes of layers are ACT's; their defaults suit small pictures
    and one task, LeRobot's are larger.
    action_steps: how many actions of a chunk are played by the strategy n_action_steps; 0: as is
    usual for the policy, of ACT all.
    intervention_weight: how often a row that a person commanded is drawn beside any other.
    only_interventions: learn these rows alone.
    precision: one of PRECISIONS.
    gradient_accumulation: batches of which one step takes the mean gradient.
    ema: the share of the weights' exponential moving average that stays at each step; 0: none.

    Raises ValueError for a setting nothing can be trained with.
    """

    steps: int = 2500
    batch_size: int = 32
    learning_rate: float | None = None
    weight_decay: float = 1e-4
    warmup_steps: int = 100
    validation_share: float = 0.1
    chunk_size: int | None = None
    action_steps: int = 0
    dim_model: int = 128
    dim_feedforward: int = 256
    n_heads: int = 4
    n_encoder_layers: int = 2
    seed: int = 0
    half: bool = False
    intervention_weight: float = 1.0
    only_interventions: bool = False
    policy: str = "act"
    changes: Mapping[str, str] = field(default_factory=dict)
    base: str = ""
    vlm: str = ""
    loss_rule: str | None = None
    precision: str = AUTO
    gradient_accumulation: int = 1
    ema: float = 0.0

    def __post_init__(self) -> None:
        counts = ("steps", "batch_size", "warmup_steps", "chunk_size", "gradient_accumulation")
        for name in counts:
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, found {value}")
        most = math.inf if self.chunk_size is None else self.chunk_size
        if not 0 <= self.action_steps <= most:
            raise ValueError(
                f"action_steps must lie between 0 and chunk_size ({self.chunk_size}), found "
                f"{self.action_steps}"
            )
        if self.seed < 0:
            raise ValueError(f"seed must not be negative, found {self.seed}")
        rate = self.learning_rate
        if (rate is not None and not 0 < rate < math.inf) or not self.weight_decay >= 0:
            raise ValueError(
                "learning_rate must be positive and weight_decay not negative, found "
                f"{self.learning_rate} and {self.weight_decay}"
            )
        for name, known in (
            ("policy", POLICIES),
            ("loss_rule", (None, *LOSS_RULES)),
            ("precision", PRECISIONS),
        ):
            if getattr(self, name) not in known:
                expected = ", ".join(filter(None, known))
                raise ValueError(f"{name} must be one of {expected}, found {getattr(self, name)}")
        if not 0 < self.validation_share < 1:
            raise ValueError(
                f"validation_share must lie between 0 and 1, found {self.validation_share}"
            )
        if not 0 <= self.ema < 1:
            raise ValueError(f"ema must be at least 0 and less than 1, found {self.ema}")
        if not 0 < self.intervention_weight < math.inf:
            raise ValueError(
                f"intervention_weight must be positive, found {self.intervention_weight}"
            )
        if self.only_interventions and self.intervention_weight != 1:
            raise ValueError("only_interventions leaves no other rows to weigh; give one of both")

    @property
    def frames_per_step(self) -> int:
        """How many frames a step learns from."""
        return self.batch_size * self.gradient_accumulation
