"""Trains ACT on a recorded dataset, through the very preprocessing object the policy node uses."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from armlet.contract import Contract
from armlet.datasets import Dataset, DatasetError
from armlet.policies import Act, ActConfig, Feature, LossRule, Preprocessor, save_checkpoint
from armlet.policies.checkpoint.checkpoint import check_contract
from armlet.policies.checkpoint.save import check_new
from armlet.policies.fit.detail import details_of
from armlet.policies.fit.lag import Vectors, lag_of
from armlet.policies.networks.resnet import calibrate_batch_norm

from . import interventions
from .settings import TrainingSettings
from .state import State, StateError, digest_of, place_of, read_state, save_state

STATE = "observation.state"
ACTION = "action"

RULE = LossRule.LEROBOT_0_4
"""That of LeRobot 0.4.4, in whose form the checkpoint is saved."""

KEPT_EVERY = 500
"""Steps after which what is needed to go on is kept; some 130 MB are written."""


@dataclass(frozen=True)
class Progress:
    """One report: step of steps, mean absolute training and validation error, normalized units."""

    step: int
    steps: int
    error: float
    validation: float | None


@dataclass
class Samples:
    """Episodes in memory, a row per frame.

    `ends` is the row at which each row's chunk ends (exclusive), with its episode or earlier;
    `begins` at which rows chunks begin, None for all.
    """

    episodes: list[int]

    images: dict[str, NDArray[np.uint8]]
    states: NDArray[np.float32]
    actions: NDArray[np.float32]
    ends: NDArray[np.int64]
    begins: interventions.Begins | None = None

    def vectors(self) -> list[Vectors]:
        """Each episode's states and actions."""
        cuts = np.unique(self.ends)[:-1]
        return list(zip(np.split(self.states, cuts), np.split(self.actions, cuts), strict=True))


def train_act(
    dataset: Dataset,
    output: Path,
    settings: TrainingSettings,
    report: Callable[[Progress], None],
    proceed: Callable[[int, float], bool] = lambda step, error: True,
    resume: bool = False,
) -> int:
    """Train from scratch and save a LeRobot checkpoint with the dataset's contract to `output`.

    proceed is asked after each step, with its number from 1 and its error (normalized units); False
    ends the training there, and what is trained so far is saved. Returns the steps trained.

    Every `KEPT_EVERY` steps and where it is ended early, what the training needs to go on is kept
    in a file beside output (`place_of`). resume: go on from there, with the settings it began with
    (`begun_settings`): so many steps and then the rest are all at once, to the bit, with as many
    threads. A checkpoint that it saved when it was ended early is replaced.

    What could keep the result from being saved is found before training. Raises DatasetError if
    the dataset has too few episodes, no camera or no contract, CheckpointError if its contract
    does not describe it, StateError where there is nothing to go on from, or something that must
    not be lost, FileExistsError or another OSError if output cannot be made.
    """
    contract = _contract(dataset)
    place = place_of(output)
    state = read_state(place) if resume else None
    if state is None:
        check_new(output)
        _check_unbegun(place)
    else:
        settings = state.settings
        _check_own(output, state)
    output.parent.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(settings.seed)
    torch.manual_seed(settings.seed)
    training, validation = _split(dataset, settings, generator)
    contract = dataclasses.replace(
        contract, detail=details_of(training.images), lag=lag_of(contract, training.vectors())
    )
    statistics = dataset.statistics
    config = _config(training, settings)
    preprocessor = Preprocessor.from_config(config, statistics)
    check_contract(contract, config, preprocessor, dataset.root)
    model = Act(config)
    # Pictures arrive channels-last; weights that lie alike train three times as fast on a CPU.
    model.backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if state is None:
        calibrate_batch_norm(
            model.backbone,
            [
                pictures
                for batch in _batches(training, preprocessor, settings, generator, count=8)
                for pictures in _by_size([batch[key] for key in config.image_features])
            ],
        )
    run = _Run(model, settings, generator, preprocessor.fingerprint(), training.episodes)
    if state is not None:
        run.restore(state, place)
    samples = (training, validation)
    trained = _fit(run, preprocessor, samples, report, proceed, partial(run.keep, place))
    if trained < settings.steps:  # before anything can go wrong
        run.keep(place, trained)
    dtype = torch.float16 if settings.half else torch.float32
    with _taken_away(output, state):
        save_checkpoint(
            output, model, config, statistics, contract, dtype, episodes=training.episodes
        )
    if trained < settings.steps:
        run.saved = digest_of(output)
        run.keep(place, trained)
    else:
        place.unlink(missing_ok=True)
    return trained


def begun_settings(output: Path) -> TrainingSettings:
    """With which settings a training to `output` was begun. Raises StateError if none was."""
    return read_state(place_of(output)).settings


def _check_unbegun(place: Path) -> None:
    if place.exists():
        raise StateError(
            f"{place} is of a training that has not ended; go on with it by --resume, or remove it"
        )


def _check_own(output: Path, state: State) -> None:
    """What is at `output` must be what this training saved when it was ended early."""
    try:
        check_new(output)
    except FileExistsError as error:
        if not state.saved or digest_of(output) != state.saved:
            raise FileExistsError(
                f"{output}: expected what the training had saved when it was stopped, found "
                "something else; move it away"
            ) from error


@contextmanager
def _taken_away(output: Path, state: State | None) -> Iterator[None]:
    """While it is saved again, what was saved before is beside it; it comes back after an error."""
    if state is None or not (output.is_dir() and any(output.iterdir())):
        yield
        return
    before = output.with_name(f".{output.name}.before")
    output.rename(before)
    try:
        yield
    except BaseException:
        before.rename(output)
        raise
    shutil.rmtree(before)


class _Run:
    """What changes as the training goes on: network, optimizer, schedule, sampler."""

    def __init__(
        self,
        model: Act,
        settings: TrainingSettings,
        generator: np.random.Generator,
        statistics: str,
        episodes: list[int],
    ) -> None:
        self.model, self.settings, self.generator = model, settings, generator
        self._statistics, self._episodes = statistics, episodes
        self.optimizer = torch.optim.AdamW(
            model.parameters(), settings.learning_rate, weight_decay=settings.weight_decay
        )
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer,
            settings.learning_rate,
            total_steps=settings.steps,
            pct_start=min(0.3, settings.warmup_steps / settings.steps),
        )
        self.step = 0
        self.errors: list[float] = []
        """Of the steps since the last report."""
        self.saved = ""
        """SHA-256 of the weights at the output, if it was stopped before."""

    def keep(self, place: Path, step: int) -> None:
        """Write what is needed to go on after `step`."""
        (group,) = self.optimizer.param_groups
        state = State(
            step,
            self.settings,
            self._statistics,
            tuple(self._episodes),
            tuple(self.errors),
            json.dumps(self.generator.bit_generator.state),
            (group["lr"], *group["betas"]),
            self.saved,
        )
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        for name, parameter in self.model.named_parameters():
            for key, value in self.optimizer.state[parameter].items():
                tensors[f"optimizer.{name}.{key}"] = value
        tensors["random"] = torch.get_rng_state()
        save_state(place, state, tensors)

    def restore(self, state: State, place: Path) -> None:
        """Go on from there. Raises StateError if the dataset is another."""
        if (state.statistics, list(state.episodes)) != (self._statistics, self._episodes):
            raise StateError(
                f"{place} is of a training on another dataset, or on this one before it changed; "
                "give the dataset it began with, or remove the file and begin again"
            )
        tensors = state.tensors(place)
        self.model.load_state_dict(_under("model.", tensors))
        for name, parameter in self.model.named_parameters():
            kept = _under(f"optimizer.{name}.", tensors)
            if kept:
                self.optimizer.state[parameter] = {
                    # Laid out as the optimizer lays it out itself.
                    key: torch.empty_like(parameter).copy_(value) if value.ndim else value
                    for key, value in kept.items()
                }
        self.schedule.last_epoch = state.step
        (group,) = self.optimizer.param_groups
        group["lr"], *betas = state.rates
        group["betas"] = tuple(betas)
        self.generator.bit_generator.state = json.loads(state.sampler)
        torch.set_rng_state(tensors["random"])
        self.step, self.errors, self.saved = state.step, list(state.errors), state.saved


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    cut = len(prefix)
    return {name[cut:]: value for name, value in tensors.items() if name.startswith(prefix)}


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
    alone = settings.only_interventions
    usable = interventions.with_person(dataset) if alone else list(range(len(dataset.episodes)))
    count = len(usable)
    held_out = max(1, round(settings.validation_share * count))
    if count < held_out + 1:
        of_person = " of which a person commanded rows" if alone else ""
        raise DatasetError(
            f"{dataset.root}: expected {held_out + 1} episodes or more{of_person}, {held_out} of "
            f"them to validate, found {count}; record more"
        )
    order = [usable[place] for place in generator.permutation(count).tolist()]
    training, validation = (
        load_samples(dataset, part) for part in (order[held_out:], order[:held_out])
    )
    if alone:
        return _alone(dataset, training), _alone(dataset, validation)
    if settings.intervention_weight != 1:
        by_person = interventions.commanded_by_person(dataset, training.episodes)
        training.begins = interventions.weighed(by_person, settings.intervention_weight)
    return training, validation


def _alone(dataset: Dataset, samples: Samples) -> Samples:
    by_person = interventions.commanded_by_person(dataset, samples.episodes)
    begins, ends = interventions.alone(by_person, samples.ends)
    return dataclasses.replace(samples, begins=begins, ends=ends)


def _begins(samples: Samples) -> interventions.Begins:
    return samples.begins or interventions.every(len(samples.states))


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
        n_action_steps=settings.action_steps or settings.chunk_size,
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
        rows = _begins(samples).draw(generator, settings.batch_size)
        yield make_batch(samples, rows, preprocessor, settings.chunk_size)


def _fit(
    run: _Run,
    preprocessor: Preprocessor,
    samples: tuple[Samples, Samples],
    report: Callable[[Progress], None],
    proceed: Callable[[int, float], bool],
    keep: Callable[[int], None],
) -> int:
    """The number of steps trained: all, unless `proceed` ends it."""
    model, settings, errors = run.model, run.settings, run.errors
    training, validation = samples
    model.train()
    left = settings.steps - run.step
    batches = _batches(training, preprocessor, settings, run.generator, left)
    for step, batch in enumerate(batches, start=run.step + 1):
        # bfloat16 where it is safe: three times as fast on CPUs that have it, the same result.
        with torch.autocast("cpu", torch.bfloat16):
            loss = model.compute_loss(batch, RULE)
        run.optimizer.zero_grad()
        loss.total.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        run.optimizer.step()
        run.schedule.step()
        errors.append(float(loss.l1))
        goes_on = proceed(step, errors[-1])
        ends = step == settings.steps or not goes_on
        if step % 100 == 0 or step == settings.steps or ends:
            held_out = _validate(model, preprocessor, validation, settings)
            report(Progress(step, settings.steps, float(np.mean(errors)), held_out))
        if step % 100 == 0:
            errors.clear()
        if ends:
            break
        if step % KEPT_EVERY == 0:
            keep(step)
    return step


def _validate(
    model: Act, preprocessor: Preprocessor, samples: Samples, settings: TrainingSettings
) -> float:
    rows = _begins(samples).spread(64)
    model.eval()
    with torch.no_grad():
        batch = make_batch(samples, rows, preprocessor, settings.chunk_size)
        error = float(model.compute_loss(batch, RULE).l1)
    model.train()
    return error
