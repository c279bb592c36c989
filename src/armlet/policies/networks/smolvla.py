"""The SmolVLA network (Shukor et al. 2025, arXiv:2506.01844) in plain torch.

Pictures, words and the joint state become one sequence, the prefix, which the first layers of a
small vision-language model read once; every layer keeps its keys and values. A second, narrower
stack, the action expert, starts from noise and asks those keys and values which way the noise must
flow to become an action chunk: Euler steps along that velocity, from time 1 (noise) to 0 (chunk).

LeRobot pads the prefix (absent cameras, short texts) and masks the padding. Nothing ever reads what
is masked and positions do not count it, so here the prefix holds only what is seen. Only a training
batch of texts of different length is padded, and masked, here too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from armlet.policies.config.base import ACTION, STATE
from armlet.policies.config.releases import PatchRows
from armlet.policies.config.smolvla import SmolVlaConfig, TextShape, VlmConfig

from .base import PolicyNetwork
from .llama import Layer, Projections, Rotation, Stack, attend
from .losses import IS_PAD, Draws, Loss, LossRule, mean_error, normal
from .rtc import Guidance
from .siglip import Connector, VisionTower, resize_with_pad

TOKENS = "observation.language.tokens"
SEEN = "observation.language.attention_mask"

# Times of training are of Beta(1.5, 1), kept off 0 (Black et al. 2024, arXiv:2410.24164, B).
_TIME_POWER, _LEAST_TIME = 1.5, 0.001

# LeRobot's names, in the checkpoint, of this network's parts; all else keeps its own name.
_STORED = {
    "vision.patch_embedding.": "vlm.model.vision_model.embeddings.patch_embedding.",
    "vision.position_embedding.": "vlm.model.vision_model.embeddings.position_embedding.",
    "vision.layers.": "vlm.model.vision_model.encoder.layers.",
    "vision.post_layernorm.": "vlm.model.vision_model.post_layernorm.",
    "connector.": "vlm.model.connector.modality_projection.",
    "words.": "vlm.model.text_model.embed_tokens.",
    "text.": "vlm.model.text_model.",
    "expert.": "lm_expert.",
}
# The language model's output layer: stored, never asked.
UNUSED = ("model.vlm_with_expert.vlm.lm_head.weight",)

KeysAndValues = tuple[Tensor, Tensor]


class SmolVla(PolicyNetwork):
    """Normalized observations, token ids and noise in, normalized action chunks out.

    Inputs are a mapping by feature key: `observation.state` float32 (B, n), every camera float32
    (B, 3, H, W) in 0..1, of any size, and `observation.language.tokens` int64 (B, T).
    """

    def __init__(
        self,
        config: SmolVlaConfig,
        vlm: VlmConfig,
        marks: tuple[int, int] | None = None,
        rows: PatchRows = PatchRows.SCALED,
    ) -> None:
        """marks are the token ids before and after a picture (`<fake_token_around_image>`) and
        within (`<global-img>`), for a configuration with add_image_special_tokens. rows are where
        the vision tower puts pictures, by default as with LeRobot 0.4.4, in whose form armlet
        saves.

        Raises ValueError for a configuration whose parts do not fit each other.
        """
        super().__init__()
        if config.add_image_special_tokens and marks is None:
            raise ValueError("add_image_special_tokens is on: expected the ids of the two marks")
        self.config = config
        self.vlm = vlm
        self.marks = marks if config.add_image_special_tokens else None
        self._plan = layer_plan(config, vlm.text)
        text = vlm.text
        width = expert_width(config, text)
        self.patch_rows = rows
        self.vision = VisionTower(vlm.vision, vision_precision(config, vlm), rows)
        self.connector = Connector(vlm.vision.hidden_size, text.hidden_size, vlm.scale_factor)
        self.words = nn.Embedding(text.vocab_size, text.hidden_size)
        self.text = Stack([_text_layer(text) for _ in self._plan], text.rms_norm_eps)
        self.expert = Stack(
            [
                _expert_layer(text, width, reads_prefix)
                for reads_prefix in expert_kinds(config, len(self._plan))
            ],
            text.rms_norm_eps,
        )
        self.state_proj = nn.Linear(config.max_state_dim, text.hidden_size)
        self.action_in_proj = nn.Linear(config.max_action_dim, width)
        self.action_out_proj = nn.Linear(width, config.max_action_dim)
        self.action_time_mlp_in = nn.Linear(2 * width, width)
        self.action_time_mlp_out = nn.Linear(width, width)

    @staticmethod
    def stored_name(name: str) -> str:
        """The name in LeRobot's checkpoint of this network's tensor `name`."""
        for part, stored in _STORED.items():
            if name.startswith(part):
                return f"model.vlm_with_expert.{stored}{name.removeprefix(part)}"
        return f"model.{name}"

    def outline(self, config: SmolVlaConfig) -> SmolVla:
        return SmolVla(self.config, self.vlm, self.marks, self.patch_rows)

    def draw_noise(self, batch: int, generator: torch.Generator | None = None) -> Tensor:
        """Standard normal noise float32 (batch, C, max_action_dim), on the CPU."""
        shape = (batch, self.config.chunk_size, self.config.max_action_dim)
        return torch.randn(shape, generator=generator)

    def forward(
        self, batch: Mapping[str, Tensor], noise: Tensor, guidance: Guidance | None = None
    ) -> Tensor:
        """Normalized action chunk float32 (B, C, n) that the noise (B, C, max_action_dim) flows to.

        guidance bends the flow towards an unfinished chunk (real-time chunking).
        """
        prefix = self.embed_prefix(batch)
        cache = self._read_prefix(prefix)
        turned = self.rotations(torch.tensor(prefix.shape[1], device=noise.device))
        return flow(
            self.config, lambda x, time: self._velocity(x, time, cache, turned), noise, guidance
        )

    def draw(self, batch: Mapping[str, Tensor], generator: torch.Generator | None = None) -> Draws:
        """Noise, then times. From a seed LeRobot draws the same noise and other times, of the same
        distribution."""
        actions = batch[ACTION]
        shape = (*actions.shape[:2], self.config.max_action_dim)
        noise = normal(shape, generator, actions)
        uniform = torch.rand(len(actions), generator=generator)
        times = uniform ** (1 / _TIME_POWER) * (1 - _LEAST_TIME) + _LEAST_TIME
        return Draws(noise, times.to(actions.device))

    def compute_loss(
        self,
        batch: Mapping[str, Tensor],
        rule: LossRule = LossRule.LEROBOT_0_6,
        draws: Draws | None = None,
    ) -> Loss:
        """See PolicyNetwork. `observation.language.tokens` int64 (B, T) are padded at the end,
        where `observation.language.attention_mask` bool (B, T), if given, is false.

        The loss is the mean square error of the velocity at a time between chunk and noise.
        """
        noise, times = (draws or self.draw(batch)).mixing()
        size = self.config.action_size
        actions = F.pad(batch[ACTION], (0, self.config.max_action_dim - size))
        at = times[:, None, None]
        prefix = self.embed_prefix(batch)
        seen = _unpadded(prefix, batch.get(SEEN))
        velocity = self._velocity(
            at * noise + (1 - at) * actions,
            times,
            self._read_prefix(prefix, seen),
            self.rotations(seen.sum(1)[:, None, None]),
            seen,
        )
        errors = F.mse_loss(velocity, noise - actions, reduction="none")
        if rule is LossRule.LEROBOT_0_4:
            return Loss(errors.mean())
        return Loss(mean_error(errors[:, :, :size], batch[IS_PAD], rule))

    def freeze_for_training(self, rule: LossRule = LossRule.LEROBOT_0_6) -> SmolVla:
        """As freeze_vision_encoder, train_expert_only and train_state_proj say.

        Of a language model that is trained LEROBOT_0_6 freezes the last norm and the last layer,
        and the layer before where the expert has fewer layers.
        """
        self.requires_grad_(True)
        config = self.config
        if config.freeze_vision_encoder or config.train_expert_only:
            self.vision.requires_grad_(False)
        if config.train_expert_only:
            for part in (self.connector, self.words, self.text):
                part.requires_grad_(False)
        elif rule is LossRule.LEROBOT_0_6:
            self.text.norm.requires_grad_(False)
            last = 1 if len(self.expert.layers) == len(self.text.layers) else 2
            for layer in list(self.text.layers)[-last:]:
                layer.requires_grad_(False)
        self.state_proj.requires_grad_(config.train_state_proj)
        return self

    def embed_prefix(self, batch: Mapping[str, Tensor]) -> Tensor:
        """The sequence (B, P, width) the language model reads: cameras, words, state."""
        pictures = [
            self._embedded(self.vision(scaled(self.config, batch[key])))
            for key in self.config.image_features
        ]
        return self.sequence(pictures, batch[TOKENS], batch[STATE])

    def sequence(self, pictures: Sequence[Tensor], words: Tensor, state: Tensor) -> Tensor:
        """The sequence of each camera's tokens (B, n, width), ids (B, T) and states (B, n)."""
        pieces = []
        for picture in pictures:
            pieces += self._framed(picture)
        for _ in range(self.config.blanks):
            # Of a blank picture only the marks around it are seen.
            pieces += self._framed(None, len(state))
        root = math.sqrt(self.vlm.text.hidden_size)
        pieces.append(self.words(words) * root)
        padded = F.pad(state, (0, self.config.max_state_dim - state.shape[-1]))
        pieces.append(self.state_proj(padded)[:, None])
        return torch.cat(pieces, dim=1)

    def picture_tokens(self, pictures: Tensor, positions: Tensor) -> Tensor:
        """Tokens (B, n, width) of scaled pictures and the tower's positions of their patches."""
        return self._embedded(self.vision.read(self.vision.patch_embedding(pictures), positions))

    def _embedded(self, patches: Tensor) -> Tensor:
        tokens: Tensor = self.connector(patches)
        return tokens * math.sqrt(self.vlm.text.hidden_size)

    def _framed(self, picture: Tensor | None, count: int = 1) -> list[Tensor]:
        """A picture's tokens between its marks, where the configuration has marks."""
        tokens = [] if picture is None else [picture]
        if self.marks is None:
            return tokens
        edge, whole = self.marks
        count = count if picture is None else len(picture)

        def mark(*ids: int) -> Tensor:
            embedded: Tensor = self.words.weight[list(ids)]
            return embedded.expand(count, -1, -1)

        return [mark(edge, whole), *tokens, mark(edge)]

    def _read_prefix(self, x: Tensor, seen: Tensor | None = None) -> list[KeysAndValues | None]:
        """Keys and values of the prefix for each layer, as the expert's layer wants them.

        seen bool (B, P) is false for padding, which nothing reads; None: there is no padding.
        """
        return self.read(x, *reading(x.shape[1], seen, x.device))

    def read(self, x: Tensor, places: Tensor, visible: Tensor) -> list[KeysAndValues | None]:
        """The same of the positions and the view of `reading`."""
        turn = Rotation(places, self.vlm.text.head_dim)
        cache: list[KeysAndValues | None] = []
        for index, expert_index in enumerate(self._plan):
            layer = self.text.layer(index)
            tokens = layer.read(x)
            keys = turn(layer.self_attn.keys(tokens))
            values = layer.self_attn.values(tokens)
            cache.append(self._for_expert(index, expert_index, keys, values))
            if index + 1 < len(self._plan):  # what the last layer would write, nobody reads
                queries = turn(layer.self_attn.queries(tokens))
                x = layer.write(x, attend(queries, keys, values, visible))
        return cache

    def _for_expert(
        self, index: int, expert_index: int | None, keys: Tensor, values: Tensor
    ) -> KeysAndValues | None:
        """The same at every step of the flow, so computed once."""
        if expert_index is None:
            return None
        if self._joint(index):
            return keys, values
        attention = self.expert.layer(expert_index).self_attn
        flat_keys, flat_values = (x.transpose(1, 2).flatten(2) for x in (keys, values))
        return attention.keys(flat_keys), attention.values(flat_values)

    @property
    def depth(self) -> int:
        """Layers of the language model."""
        return len(self._plan)

    @property
    def expert_layers(self) -> tuple[int, ...]:
        """Those of them whose keys and values the expert asks."""
        return tuple(i for i, expert_index in enumerate(self._plan) if expert_index is not None)

    def _joint(self, index: int) -> bool:
        return attends_jointly(self.config, index)

    def rotations(self, prefix: Tensor) -> tuple[Rotation, Rotation]:
        """Positions of the actions where they follow the prefix, and where they only read it.

        prefix is its length, () or, where each row has its own, (B, 1, 1).
        """
        places = torch.arange(self.config.chunk_size, device=prefix.device)
        width = self.vlm.text.head_dim
        return Rotation(prefix + places, width), Rotation(places, width)

    def _velocity(
        self,
        x: Tensor,
        time: float | Tensor,
        cache: list[KeysAndValues | None],
        turned: tuple[Rotation, Rotation],
        seen: Tensor | None = None,
    ) -> Tensor:
        """Where x (B, C, max_action_dim) flows at `time`, or times (B,), away from the chunk.

        seen bool (B, P) is false for padding of the prefix; None: it has none.
        """
        known = next(k for k, _ in filter(None, cache)).shape[2]
        visible, read = following(known, x.shape[1], seen, x.device)
        return self.velocity(x, self.moment(time), cache, turned, visible, read)

    def moment(self, time: float | Tensor) -> Tensor:
        """The embedding of a time, float64 (width,), or of times (B,)."""
        config, width = self.config, self.action_in_proj.out_features
        return time_embedding(time, width, config.min_period, config.max_period)

    def velocity(
        self,
        x: Tensor,
        moment: Tensor,
        cache: list[KeysAndValues | None],
        turned: tuple[Rotation, Rotation],
        visible: Tensor,
        read: Tensor | None,
    ) -> Tensor:
        """Where x flows at an embedded moment; visible and read are those of `following`."""
        tokens = self._embed_actions(x, moment)
        for index, expert_index in enumerate(self._plan):
            kept = cache[index]
            if expert_index is None or kept is None:
                continue
            layer = self.expert.layer(expert_index)
            tokens = (
                _follow(layer, tokens, kept, turned[0], visible)
                if self._joint(index)
                else _ask(layer, tokens, kept, turned[1], read)
            )
        return self.action_out_proj(self.expert.norm(tokens))  # type: ignore[no-any-return]

    def _embed_actions(self, x: Tensor, moment: Tensor) -> Tensor:
        actions: Tensor = self.action_in_proj(x)
        moment = moment.to(actions)[..., None, :].expand_as(actions)
        mixed = F.silu(self.action_time_mlp_in(torch.cat([actions, moment], dim=-1)))
        return self.action_time_mlp_out(mixed)  # type: ignore[no-any-return]


def flow(
    config: SmolVlaConfig,
    velocity: Callable[[Tensor, float], Tensor],
    noise: Tensor,
    guidance: Guidance | None,
) -> Tensor:
    """The chunk (B, C, n) that noise flows to by the velocity of an x at a time."""
    steps = config.num_steps
    x = noise
    for step in range(steps):
        time = 1.0 + step * (-1.0 / steps)
        towards = velocity(x, time)
        if guidance is not None:
            towards = guidance.bend(x, towards, time)
        x = x - towards / steps
    return x[:, :, : config.action_size]


def scaled(config: SmolVlaConfig, picture: Tensor) -> Tensor:
    """Pictures (B, 3, h, w) in 0..1, scaled to fit, padded, in -1..1."""
    return resize_with_pad(picture, *config.resize_imgs_with_padding) * 2.0 - 1.0


def reading(
    length: int, seen: Tensor | None = None, device: torch.device | None = None
) -> tuple[Tensor, Tensor]:
    """Positions of a prefix's tokens, and which of them (..., P, P) each may read.

    seen bool (B, P) is false for padding; None: there is none.
    """
    # Pictures and words see each other, the state at the end sees all.
    visible = torch.ones(length, length, dtype=torch.bool, device=device)
    visible[:-1, -1] = False
    if seen is None:
        return torch.arange(length, device=device), visible
    return (seen.cumsum(1) - 1)[:, None], visible & seen[:, None, None]


def following(
    known: int, count: int, seen: Tensor | None = None, device: torch.device | None = None
) -> tuple[Tensor, Tensor | None]:
    """What `count` actions may read of `known` tokens and each other, and of the tokens only."""
    visible = torch.ones(count, known + count, dtype=torch.bool, device=device).tril(known)
    if seen is None:
        return visible, None
    read = seen[:, None, None]
    return visible & F.pad(read, (0, count), value=True), read


def _follow(
    layer: Layer, x: Tensor, prefix: KeysAndValues, turn: Rotation, visible: Tensor
) -> Tensor:
    """A layer in which actions see the prefix and, each, the actions before it."""
    tokens, attention = layer.read(x), layer.self_attn
    keys = torch.cat([prefix[0], turn(attention.keys(tokens))], dim=2)
    values = torch.cat([prefix[1], attention.values(tokens)], dim=2)
    return layer.write(x, attend(turn(attention.queries(tokens)), keys, values, visible))


def _ask(
    layer: Layer, x: Tensor, prefix: KeysAndValues, turn: Rotation, visible: Tensor | None
) -> Tensor:
    """A layer in which actions see the prefix only."""
    queries = turn(layer.self_attn.queries(layer.read(x)))
    return layer.write(x, attend(queries, *prefix, visible))


def _unpadded(prefix: Tensor, words: Tensor | None) -> Tensor:
    """bool (B, P), false for padding of prefix (B, P, width); words bool (B, T) before its end."""
    seen = prefix.new_ones(prefix.shape[:2], dtype=torch.bool)
    if words is not None:
        seen[:, -1 - words.shape[1] : -1] = words
    return seen


def time_embedding(time: float | Tensor, width: int, shortest: float, longest: float) -> Tensor:
    """Sine and cosine (width,) of `time` in waves with periods from shortest to longest; of times
    (B,) it is (B, width)."""
    # LeRobot holds the time as float32.
    times = torch.as_tensor(time, dtype=torch.float32).double()[..., None]
    fraction = torch.linspace(0, 1, width // 2, dtype=torch.float64, device=times.device)
    period = shortest * (longest / shortest) ** fraction
    angle = 2 * math.pi * times / period
    return torch.cat([angle.sin(), angle.cos()], dim=-1)


def vision_precision(config: SmolVlaConfig, vlm: VlmConfig) -> torch.dtype:
    """What the vision tower computed with in training, which its patch positions depend on.

    LeRobot takes a language model with its weights as bfloat16, and makes one without them as its
    config.json says.
    """
    if config.load_vlm_weights:
        return torch.bfloat16
    return {"bfloat16": torch.bfloat16, "float16": torch.float16}.get(
        vlm.vision_dtype or "", torch.float32
    )


def expert_width(config: SmolVlaConfig, text: TextShape) -> int:
    """Width of the expert's tokens. Raises ValueError if it is odd: time is sine and cosine."""
    width = int(text.hidden_size * config.expert_width_multiplier)
    if width < 2 or width % 2:
        raise ValueError(
            f"expert_width_multiplier {config.expert_width_multiplier} of {text.hidden_size} gives "
            f"an expert {width} wide: expected an even width"
        )
    return width


def attends_jointly(config: SmolVlaConfig, index: int) -> bool:
    """Whether in layer `index` of the language model actions see each other and the prefix."""
    every = config.self_attn_every_n_layers
    return config.attention_mode == "self_attn" or (every > 0 and index % every == 0)


def expert_kinds(config: SmolVlaConfig, depth: int) -> list[bool]:
    """For each of the expert's layers, whether its keys and values are made for the prefix's."""
    count = config.num_expert_layers if config.num_expert_layers > 0 else depth
    return [not attends_jointly(config, index) for index in range(count)]


def layer_plan(config: SmolVlaConfig, text: TextShape) -> list[int | None]:
    """For each layer of the language model, the expert's layer that goes with it, or None.

    Raises ValueError for a combination LeRobot itself cannot run: the expert's layers must divide
    the language model's, and fall where their kind of attention is due.
    """
    depth = text.num_hidden_layers
    if config.num_vlm_layers > 0:
        depth = min(depth, config.num_vlm_layers)
    count = config.num_expert_layers if config.num_expert_layers > 0 else depth
    if depth % count:
        raise ValueError(
            f"num_expert_layers {count} does not divide the {depth} layers of the language model"
        )
    every = depth // count
    plan = [index // every if index % every == 0 else None for index in range(depth)]
    same = expert_width(config, text) == text.num_key_value_heads * text.head_dim
    kinds = expert_kinds(config, depth)
    for index, expert in enumerate(plan):
        joint = attends_jointly(config, index)
        fits = not joint if expert is None else same or kinds[expert] != joint
        if not fits:
            raise ValueError(
                f"num_expert_layers {count} and self_attn_every_n_layers "
                f"{config.self_attn_every_n_layers} give layer {index} no expert layer of its "
                "kind: LeRobot itself cannot run such a policy"
            )
    return plan


def _text_layer(text: TextShape) -> Layer:
    heads = (text.num_attention_heads, text.num_key_value_heads, text.head_dim)
    attention = Projections(text.hidden_size, text.hidden_size, *heads)
    return Layer(attention, text.intermediate_size, text.rms_norm_eps)


def _expert_layer(text: TextShape, width: int, reads_prefix: bool) -> Layer:
    heads = (text.num_attention_heads, text.num_key_value_heads, text.head_dim)
    source = text.num_key_value_heads * text.head_dim if reads_prefix else width
    # Llama's hidden width: 8/3 of the tokens', rounded up to a multiple of 256.
    hidden = 256 * math.ceil(4 * int(2 * width / 3) / 256)
    return Layer(Projections(width, source, *heads), hidden, text.rms_norm_eps)
