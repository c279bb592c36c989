"""How ACT is trained."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR

from armlet.policies import BFLOAT16, Act, ActConfig, ActLoss, Loss, LossRule, PolicyNetwork
from armlet.policies.networks.resnet import calibrate_batch_norm

from .learner import Learner, changed, features_of, made, refuse_base
from .samples import Samples
from .settings import TrainingSettings
from .together import Part

CHUNK_SIZE, LEARNING_RATE = 45, 3e-4
# What the training's own options say; one rate is for all of the network.
_OPTIONS = {
    "chunk_size": "--chunk-size",
    "n_action_steps": "--action-steps",
    "optimizer_lr": "--learning-rate",
}
_FIXED = ("pretrained_backbone_weights", "optimizer_lr_backbone", "optimizer_weight_decay")


class ActLearner(Learner):
    """ACT from random weights: small unless the settings change it, without its VAE.

    One learning rate for all of it, by one cycle, where LeRobot keeps it constant.
    """

    # In whose form the checkpoint is saved.
    RULE = LossRule.LEROBOT_0_4
    # Three times as fast on CPUs that have it, the same result.
    PRECISION = BFLOAT16
    ERROR = "mean absolute error of normalized actions"

    config: ActConfig

    def __init__(self, settings: TrainingSettings, samples: Samples) -> None:
        super().__init__(settings)
        refuse_base(settings)
        chunk_size = settings.chunk_size or CHUNK_SIZE
        small = made(
            ActConfig,
            **features_of(samples),
            chunk_size=chunk_size,
            n_action_steps=settings.action_steps or chunk_size,
            dim_model=settings.dim_model,
            dim_feedforward=settings.dim_feedforward,
            n_heads=settings.n_heads,
            n_encoder_layers=settings.n_encoder_layers,
            use_vae=False,
            dropout=0.0,
        )
        self.config = changed(small, settings.changes, _OPTIONS, _FIXED)

    def network(self) -> Act:
        model = Act(self.config)
        # Pictures arrive channels-last; weights that lie alike train three times as fast on a CPU.
        model.backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return model

    def prepare(self, model: PolicyNetwork, pictures: Iterable[Sequence[Tensor]]) -> None:
        backbone = cast(Act, model).backbone
        calibrate_batch_norm(backbone, (each for some in pictures for each in _by_size(some)))

    @property
    def _rate(self) -> float:
        return self.settings.learning_rate or LEARNING_RATE

    @property
    def schedule_title(self) -> str:
        return f"one cycle, {self.settings.warmup_steps} steps of warm-up"

    def optimizer(self, parameters: Iterable[nn.Parameter]) -> Optimizer:
        decay = self.settings.weight_decay
        return torch.optim.AdamW(parameters, self._rate, weight_decay=decay, fused=True)

    def schedule(self, optimizer: Optimizer) -> LRScheduler:
        steps = self.settings.steps
        return OneCycleLR(
            optimizer,
            self._rate,
            total_steps=steps,
            pct_start=min(0.3, self.settings.warmup_steps / steps),
        )

    def share(self, loss: Loss, part: Part) -> Tensor:
        """The divergence is averaged over all rows, whatever the errors are."""
        share = super().share(loss, part)
        more = part.rows - self.weight(part)
        return share + self.config.kl_weight * cast(ActLoss, loss).kl * more if more else share

    def error(self, loss: Loss) -> float:
        """The mean absolute error, without the VAE's part."""
        return float(cast(ActLoss, loss).l1)

    def chunk(
        self, model: PolicyNetwork, batch: Mapping[str, Tensor], generator: torch.Generator
    ) -> Tensor:
        chunk: Tensor = model(batch)
        return chunk


def _by_size(pictures: Sequence[Tensor]) -> list[Tensor]:
    """Pictures (B, 3, H, W) of several cameras, those of one size together."""
    alike: dict[torch.Size, list[Tensor]] = {}
    for each in pictures:
        alike.setdefault(each.shape[1:], []).append(each)
    return [torch.cat(each) for each in alike.values()]
