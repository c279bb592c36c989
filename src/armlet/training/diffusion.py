"""How Diffusion Policy is trained: as LeRobot does, from random weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from armlet.policies import Diffusion, DiffusionConfig, PolicyNetwork
from armlet.policies.networks.meta import without_values

from .learner import Learner, changed, features_of, made, refuse_base, refused
from .samples import Samples
from .schedules import SCHEDULES, scheduled
from .settings import TrainingSettings

_LOOKED_STEPS = 10
"""From noise to the chunk that is compared with a held-out one."""
_OPTIONS = {"n_action_steps": "--action-steps", "optimizer_lr": "--learning-rate"}
_FIXED = ("pretrained_backbone_weights", "compile_model", "compile_mode")


class DiffusionLearner(Learner):
    """Optimizer and schedule are those of its configuration: LeRobot's presets, unless changed."""

    LOOK_AT_EACH = 4
    ERROR = "mean square error of the noise"

    config: DiffusionConfig

    def __init__(self, settings: TrainingSettings, samples: Samples) -> None:
        super().__init__(settings)
        refuse_base(settings)
        if settings.chunk_size is not None:
            raise refused(
                "chunk_size",
                "horizon, of which n_obs_steps - 1 actions lie before the newest observation",
                settings.chunk_size,
                f"--set horizon={settings.chunk_size} instead of --chunk-size",
            )
        usual = made(DiffusionConfig, **features_of(samples))
        own: dict[str, float] = {}
        if settings.learning_rate is not None:
            own["optimizer_lr"] = settings.learning_rate
        if settings.action_steps:
            own["n_action_steps"] = settings.action_steps
        self.config = changed(usual, settings.changes, _OPTIONS, _FIXED, own)
        if self.config.scheduler_name not in SCHEDULES:
            raise refused(
                "scheduler_name",
                f"one of {', '.join(SCHEDULES)}",
                self.config.scheduler_name,
                "choose one of these",
            )
        self._quick: Diffusion | None = None

    @property
    def counts_real_rows(self) -> bool:
        return self.config.do_mask_loss_for_padding and super().counts_real_rows

    @property
    def drops(self) -> int:
        return self.config.drop_n_last_frames

    @property
    def augmentation(self) -> str:
        if self.config.crop is None or not self.config.crop_is_random:
            return "none"
        height, width = self.config.crop
        return f"pictures cropped to {width}x{height} at a random place, not in the centre"

    @property
    def schedule_title(self) -> str:
        config = self.config
        return f"{config.scheduler_name}, {config.scheduler_warmup_steps} steps of warm-up"

    def network(self) -> Diffusion:
        return Diffusion(self.config).freeze_for_training(self.rule)

    def optimizer(self, parameters: Iterable[nn.Parameter]) -> Optimizer:
        config = self.config
        first, second = config.optimizer_betas
        return torch.optim.Adam(
            parameters,
            config.optimizer_lr,
            betas=(first, second),
            eps=config.optimizer_eps,
            weight_decay=config.optimizer_weight_decay,
            fused=True,
        )

    def schedule(self, optimizer: Optimizer) -> LRScheduler:
        factor = SCHEDULES[self.config.scheduler_name]
        warm_up, steps = self.config.scheduler_warmup_steps, self.settings.steps
        return scheduled(optimizer, lambda step: factor(step, warm_up, steps))

    def chunk(
        self, model: PolicyNetwork, batch: Mapping[str, Tensor], generator: torch.Generator
    ) -> Tensor:
        """By ten steps of DDIM, or as many as the policy is run with if these are fewer."""
        if self._quick is None:
            steps = min(_LOOKED_STEPS, self.config.steps)
            with without_values():
                self._quick = Diffusion(self.config.denoised(f"DDIM:{steps}")).eval()
        self._quick.load_state_dict(model.state_dict(), assign=True)
        count, width = len(batch["action"]), self.config.action_size
        noise = torch.randn((count, self.config.horizon, width), generator=generator)
        chunk: Tensor = self._quick(batch, noise)
        return chunk
