"""SmolVLA in two stages: the prefix is read once, then each step of the flow asks what it kept.

The prefix has room for the longest text, so that another task is no other graph. What is padded is
masked, and positions do not count it, as in training.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from armlet.policies.config.base import STATE
from armlet.policies.config.smolvla import SmolVlaConfig

from .rtc import Guidance
from .smolvla import TOKENS, SmolVla, flow, following, reading, scaled, time_embedding
from .stages import NoRoom, Run, Split, Stage, Tensors

PREFIX, VELOCITY = "prefix", "velocity"


def split(network: SmolVla, room: int) -> Split:
    """The stages of a network for texts of at most `room` token ids."""
    config, text = network.config, network.vlm.text
    width, height = config.resize_imgs_with_padding
    cameras, patch = len(config.image_features), network.vlm.vision.patch_size
    prefix = Prefix(network, height // patch, width // patch)
    pictures = torch.zeros(cameras, 3, height, width)
    state, tokens = torch.zeros(1, config.state_size or 0), torch.zeros(1, room, dtype=torch.int64)
    with torch.no_grad():
        per_picture = network.connector(prefix.positions[None])
        length = network.sequence([per_picture] * cameras, tokens, state).shape[1]
    seen = torch.ones(1, length, dtype=torch.bool)
    kept = {
        f"{what}_{layer}": torch.zeros(1, text.num_key_value_heads, length, text.head_dim)
        for layer in network.expert_layers
        for what in ("keys", "values")
    }
    given = {"pictures": pictures, STATE: state, TOKENS: tokens, **_prefix_view(seen)}
    noise = torch.zeros(1, config.chunk_size, config.max_action_dim)
    expert = network.action_in_proj.out_features
    asked = {"x": noise, "moment": torch.zeros(1, expert), **_velocity_view(seen, config), **kept}
    stages = {
        PREFIX: Stage(prefix, given, tuple(kept)),
        VELOCITY: Stage(Velocity(network), asked, (VELOCITY,)),
    }
    return Split(stages, lambda runs: StagedSmolVla(config, runs, length, room, expert))


class Prefix(nn.Module):
    """Scaled pictures (K, 3, H, W), state (1, n), ids (1, T) and their view to keys and values."""

    def __init__(self, network: SmolVla, rows: int, columns: int) -> None:
        super().__init__()
        self.network = network
        self.positions = nn.Parameter(
            network.vision.positions(rows, columns).detach(), requires_grad=False
        )

    def forward(
        self, pictures: Tensor, state: Tensor, tokens: Tensor, places: Tensor, visible: Tensor
    ) -> tuple[Tensor, ...]:
        seen = self.network.picture_tokens(pictures, self.positions)
        x = self.network.sequence(torch.split(seen, 1), tokens, state)
        cache = filter(None, self.network.read(x, places, visible))
        return tuple(tensor for keys_and_values in cache for tensor in keys_and_values)


class Velocity(nn.Module):
    """Where actions (1, C, N) flow at an embedded moment (1, width), by what the prefix kept."""

    def __init__(self, network: SmolVla) -> None:
        super().__init__()
        self.network = network

    def forward(
        self,
        x: Tensor,
        moment: Tensor,
        length: Tensor,
        visible: Tensor,
        read: Tensor,
        *kept: Tensor,
    ) -> Tensor:
        pairs = zip(kept[::2], kept[1::2], strict=True)
        cache = dict(zip(self.network.expert_layers, pairs, strict=True))
        whole = [cache.get(layer) for layer in range(self.network.depth)]
        turned = self.network.rotations(length)
        return self.network.velocity(x, moment, whole, turned, visible, read)


class StagedSmolVla:
    """What stands in for a SmolVla whose stages are run elsewhere; it holds no weights."""

    def __init__(
        self, config: SmolVlaConfig, runs: Mapping[str, Run], length: int, room: int, expert: int
    ) -> None:
        """length: of the prefix with room for a text of `room` ids; expert: width of its tokens."""
        self.config = config
        self._runs, self._length, self._room, self._expert = runs, length, room, expert

    def __call__(self, batch: Tensors, noise: Tensor, guidance: Guidance | None = None) -> Tensor:
        """As SmolVla's, of batches of one. Raises NoRoom for a text that is too long."""
        config, tokens = self.config, batch[TOKENS]
        missing = self._room - tokens.shape[1]
        if missing < 0:
            raise NoRoom(
                f"task: expected at most {self._room} tokens with this backend, found "
                f"{tokens.shape[1]}; shorten it, or use backend torch"
            )
        seen = torch.ones(1, self._length, dtype=torch.bool)
        seen[:, self._length - 1 - missing : self._length - 1] = False
        given = {
            "pictures": torch.cat([scaled(config, batch[key]) for key in config.image_features]),
            STATE: batch[STATE],
            TOKENS: F.pad(tokens, (0, missing)),
            **_prefix_view(seen),
        }
        view = {**_velocity_view(seen, config), **self._runs[PREFIX](given)}

        def velocity(x: Tensor, time: float) -> Tensor:
            moment = time_embedding(time, self._expert, config.min_period, config.max_period)
            asked = {"x": x, "moment": moment.float()[None], **view}
            return self._runs[VELOCITY](asked)[VELOCITY]

        return flow(config, velocity, noise, guidance)


def _prefix_view(seen: Tensor) -> dict[str, Tensor]:
    places, visible = reading(seen.shape[1], seen)
    return {"places": places, "visible": visible}


def _velocity_view(seen: Tensor, config: SmolVlaConfig) -> dict[str, Tensor]:
    visible, read = following(seen.shape[1], config.chunk_size, seen)
    assert read is not None
    return {"length": seen.sum(1)[:, None, None], "visible": visible, "read": read}
