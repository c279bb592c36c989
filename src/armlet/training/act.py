"""Trains ACT on a recorded dataset, through the very preprocessing object the policy node uses."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from armlet.contract import Contract
from armlet.datasets import Dataset, DatasetError
from armlet.policies import Act, ActConfig, Feature, Preprocessor, save_checkpoint
from armlet.policies.checkpoint.checkpoint import check_contract
from armlet.policies.checkpoint.save import check_new
from armlet.policies.fit.detail import details_of
from armlet.policies.networks.resnet import calibrate_batch_norm

STATE = "observation.state"
ACTION = "action"


@dataclass(frozen=True)
class TrainingSettings:
    """How to train. The network defaults suit small pictures and one task; LeRobot's are larger.

    Raises ValueError for a setting nothing can be trained with.
    """

    steps: int = 2500
    batch_size: int = 32
    learning_rate: float = 3e-4
    weight_decay: float = 1e-4
    warmup_steps: int = 100
    validation_share: float = 0.1
    chunk_size: int = 45
    dim_model: int = 128
    dim_feedforward: int = 256
    n_heads: int = 4
    n_encoder_layers: int = 2
    seed: int = 0
    half: bool = False

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "warmup_steps", "chunk_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, found {getattr(self, name)}")
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


@dataclass(frozen=True)
class Progress:
    """One report: step of steps, mean absolute training and validation error, normalized units."""

    step: int
    steps: int
    error: float
    validation: float | None


@dataclass
class Samples:
    """Episodes in memory, a row per frame; `ends` is each row's episode end (exclusive)."""

    episodes: list[int]

    images: dict[str, NDArray[np.uint8]]
    states: NDArray[np.float32]
    actions: NDArray[np.float32]
    ends: NDArray[np.int64]


def train_act(
    dataset: Dataset,
    output: Path,
    settings: TrainingSettings,
    report: Callable[[Progress], None],
    proceed: Callable[[int, float], bool] = lambda step, error: True,
) -> int:
    """Train from scratch and save a LeRobot checkpoint with the dataset's contract to `output`.

    proceed is asked after each step, with its number from 1 and its error (normalized units); False
    ends the training there, and what is trained so far is saved. Returns the steps trained.

    What could keep the result from being saved is found before training. Raises DatasetError if
    the dataset has too few episodes, no camera or no contract, CheckpointError if its contract
    does not describe it, FileExistsError or another OSError if output cannot be made.
    """
    contract = _contract(dataset)
    check_new(output)
    output.parent.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(settings.seed)
    torch.manual_seed(settings.seed)
    training, validation = _split(dataset, settings, generator)
    contract = dataclasses.replace(contract, detail=details_of(training.images))
    statistics = dataset.statistics
    config = _config(training, settings)
    preprocessor = Preprocessor.from_config(config, statistics)
    check_contract(contract, config, preprocessor, dataset.root)
    model = Act(config)
    # Pictures arrive channels-last; weights that lie alike train three times as fast on a CPU.
    model.backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    calibrate_batch_norm(
        model.backbone,
        [
            pictures
            for batch in _batches(training, preprocessor, settings, generator, count=8)
            for pictures in _by_size([batch[key] for key in config.image_features])
        ],
    )
    samples = (training, validation)
    trained = _fit(model, preprocessor, samples, settings, generator, report, proceed)
    dtype = torch.float16 if settings.half else torch.float32
    save_checkpoint(output, model, config, statistics, contract, dtype, episodes=training.episodes)
    return trained


def _by_size(pictures: Sequence[Tensor]) -> list[Tensor]:
    """Pictures (B, 3, H, W) of several cameras, those of one size together."""
    alike: dict[torch.Size, list[Tensor]] = {}
    for each in pictures:
        alike.setdefault(each.shape[1:], []).append(each)
    return [torch.cat(each) for each in alike.values()]


def _contract(dataset: Dataset) -> Contract:
    if dataset.contract is None:
        raise DatasetError(
            f"{dataset.root} has no contract: it was not recorded by armlet, or another tool wrote "
            "it again; `armlet dataset bind` writes one"
        )
    if not dataset.info.cameras:
        raise DatasetError(f"{dataset.root} has no camera: ACT is trained on pictures; record some")
    return dataclasses.replace(dataset.contract, tasks=tuple(dataset.tasks))


def load_samples(dataset: Dataset, episodes: list[int]) -> Samples:
    """Rows and decoded pictures of some episodes. Raises DatasetError, for NaN in them too."""
    cameras = dataset.info.cameras
    data = [dataset.episode(k) for k in episodes]
    for episode in data:
        episode.require_finite()
    lengths = np.array([episode.info.length for episode in data])
    return Samples(
        episodes=list(episodes),
        images={
            camera: np.concatenate([dataset.images(k, camera) for k in episodes])
            for camera in cameras
        },
        states=np.concatenate([episode.state for episode in data]),
        actions=np.concatenate([episode.action for episode in data]),
        ends=np.repeat(np.cumsum(lengths), lengths),
    )


def _split(
    dataset: Dataset, settings: TrainingSettings, generator: np.random.Generator
) -> tuple[Samples, Samples]:
    count = len(dataset.episodes)
    held_out = max(1, round(settings.validation_share * count))
    if count < held_out + 1:
        raise DatasetError(
            f"{dataset.root}: expected {held_out + 1} episodes or more, {held_out} of them to "
            f"validate, found {count}; record more"
        )
    order = generator.permutation(count).tolist()
    return load_samples(dataset, order[held_out:]), load_samples(dataset, order[:held_out])


def _config(samples: Samples, settings: TrainingSettings) -> ActConfig:
    pictures = {
        f"observation.images.{name}": Feature("VISUAL", (3, *images.shape[1:3]))
        for name, images in samples.images.items()
    }
    joints = samples.states.shape[1]
    return ActConfig(
        input_features={STATE: Feature("STATE", (joints,)), **pictures},
        output_features={ACTION: Feature("ACTION", (samples.actions.shape[1],))},
        chunk_size=settings.chunk_size,
        n_action_steps=settings.chunk_size,
        dim_model=settings.dim_model,
        dim_feedforward=settings.dim_feedforward,
        n_heads=settings.n_heads,
        n_encoder_layers=settings.n_encoder_layers,
        use_vae=False,
        dropout=0.0,
    )


def make_batch(
    samples: Samples, rows: NDArray[np.int64], preprocessor: Preprocessor, chunk_size: int
) -> dict[str, Tensor]:
    """Network input of some rows with the chunk of actions that follows each, padded at the end."""
    following = rows[:, None] + np.arange(chunk_size)
    ends = samples.ends[rows][:, None]
    return preprocessor.batch(
        {name: images[rows] for name, images in samples.images.items()},
        samples.states[rows],
        samples.actions[np.minimum(following, ends - 1)],
        following >= ends,
    )


def _batches(
    samples: Samples,
    preprocessor: Preprocessor,
    settings: TrainingSettings,
    generator: np.random.Generator,
    count: int,
) -> Iterator[dict[str, Tensor]]:
    for _ in range(count):
        rows = generator.integers(0, len(samples.states), settings.batch_size)
        yield make_batch(samples, rows, preprocessor, settings.chunk_size)


def _fit(
    model: Act,
    preprocessor: Preprocessor,
    samples: tuple[Samples, Samples],
    settings: TrainingSettings,
    generator: np.random.Generator,
    report: Callable[[Progress], None],
    proceed: Callable[[int, float], bool],
) -> int:
    """The number of steps trained: all, unless `proceed` ends it."""
    training, validation = samples
    optimizer = torch.optim.AdamW(
        model.parameters(), settings.learning_rate, weight_decay=settings.weight_decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        settings.learning_rate,
        total_steps=settings.steps,
        pct_start=min(0.3, settings.warmup_steps / settings.steps),
    )
    model.train()
    errors: list[float] = []
    batches = _batches(training, preprocessor, settings, generator, settings.steps)
    for step, batch in enumerate(batches, start=1):
        # bfloat16 where it is safe: three times as fast on CPUs that have it, the same result.
        with torch.autocast("cpu", torch.bfloat16):
            loss = model.compute_loss(batch)
        optimizer.zero_grad()
        loss.total.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
        schedule.step()
        errors.append(float(loss.l1))
        last = not proceed(step, errors[-1]) or step == settings.steps
        if step % 100 == 0 or last:
            held_out = _validate(model, preprocessor, validation, settings)
            report(Progress(step, settings.steps, float(np.mean(errors)), held_out))
            errors.clear()
        if last:
            break
    return step


def _validate(
    model: Act, preprocessor: Preprocessor, samples: Samples, settings: TrainingSettings
) -> float:
    rows = np.linspace(0, len(samples.states) - 1, 64).astype(np.int64)
    model.eval()
    with torch.no_grad():
        batch = make_batch(samples, rows, preprocessor, settings.chunk_size)
        error = float(model.compute_loss(batch).l1)
    model.train()
    return error
