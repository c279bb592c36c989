"""Diffusion Policy as a family: it reads a window of observations, and draws noise."""

from __future__ import annotations

from torch import Tensor

from armlet.policies.config.diffusion import DDPM, DiffusionConfig
from armlet.policies.networks.diffusion import Diffusion
from armlet.policies.registry import Companions, Inference, Noise, PolicyFamily, Sizes


def _build(config: DiffusionConfig, companions: Companions) -> Diffusion:
    return Diffusion(config)


def _infer(network: Diffusion, given: Inference) -> Tensor:
    chunk: Tensor = network(given.batch, given.drawn)
    return chunk


def _noise(config: DiffusionConfig) -> Noise:
    """DDPM adds noise between its steps too."""
    draws = config.steps if config.noise_scheduler_type == DDPM else 1
    return Noise(config.horizon, config.action_size, draws)


def _describe(config: DiffusionConfig) -> str:
    eyes = config.vision_backbone if config.image_features else "no cameras"
    return f"{eyes}, {config.denoising} from noise to chunk"


def _notes(config: DiffusionConfig) -> list[str]:
    if config.n_obs_steps == 1:
        return []
    return [
        f"reads {config.n_obs_steps} observations, at consecutive instants of the training rate; "
        f"of the {config.horizon} actions it gives, {config.n_obs_steps - 1} lie before the newest"
    ]


def _sizes(config: DiffusionConfig, companions: Companions) -> Sizes:
    widths = {"down_dims": max(config.down_dims)}
    widths |= {"diffusion_step_embed_dim": config.diffusion_step_embed_dim}
    if config.image_features:
        widths |= {"spatial_softmax_num_keypoints": config.spatial_softmax_num_keypoints}
    return Sizes(widths, {"length of down_dims": len(config.down_dims)})


def _ignores(name: str) -> bool:
    """How often batch normalization was updated: stored, never asked."""
    return name.endswith(".num_batches_tracked")


FAMILY = PolicyFamily(
    config=DiffusionConfig,
    build=_build,
    infer=_infer,
    describe=_describe,
    notes=_notes,
    sizes=_sizes,
    ignores=_ignores,
    noise=_noise,
)
