"""ACT as a family."""

from __future__ import annotations

from armlet.policies.config.base import ActConfig
from armlet.policies.networks.act import Act
from armlet.policies.registry import Companions, PolicyFamily, Sizes


def _build(config: ActConfig, companions: Companions) -> Act:
    return Act(config)


def _describe(config: ActConfig) -> str:
    return config.vision_backbone


def _sizes(config: ActConfig, companions: Companions) -> Sizes:
    widths = ("dim_model", "dim_feedforward", "chunk_size", "latent_dim")
    stacks = ["n_encoder_layers", "n_decoder_layers"]
    stacks += ["n_vae_encoder_layers"] if config.use_vae else []
    return Sizes(
        {name: getattr(config, name) for name in widths},
        {name: getattr(config, name) for name in stacks},
    )


FAMILY = PolicyFamily(
    config=ActConfig,
    build=_build,
    describe=_describe,
    sizes=_sizes,
    exportable=True,
    # The same position is added to each camera's tokens, and attention sums over them.
    orders_cameras=False,
)
