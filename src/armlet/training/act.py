"""Trains ACT on recorded datasets, through the very preprocessing object the policy node uses."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from armlet.contract import Contract
from armlet.datasets import Dataset, DatasetError
from armlet.policies import Act, ActConfig, Feature, LossRule, Preprocessor
from armlet.policies.checkpoint.checkpoint import check_contract
from armlet.policies.fit.detail import details_of
from armlet.policies.fit.lag import lag_of
from armlet.policies.networks.resnet import calibrate_batch_norm

from . import interventions
from .curve import Progress
from .errors import TrainingError
from .loader import IN_PROCESS, Loader, Loading
from .run import Run
from .sampler import Sampler
from .samples import Samples, load_samples, make_batch
from .saving import Described, Saving, begun
from .settings import TrainingSettings
from .sources import Source, shared_contract, split, statistics_of
from .state import place_of, read_state

STATE = "observation.state"
ACTION = "action"

RULE = LossRule.LEROBOT_0_4
"""That of LeRobot 0.4.4, in whose form the checkpoint is saved."""

SAVED_EVERY = 500
"""Steps after which what is needed to go on is kept, unless asked otherwise."""

_EVALUATED_EVERY = 100
"""Steps from one look at held-out episodes to the next."""
_HELD_OUT_FRAMES, _DETAIL_FRAMES = 64, 32
_WITHOUT_GRADIENT = 4
"""So many times as many frames fit into the memory that a step of the training needs."""


def train_act(
    data: Dataset | Sequence[Source],
    output: Path,
    settings: TrainingSettings,
    report: Callable[[Progress], None],
    proceed: Callable[[int, float, float], bool] = lambda step, error, waiting: True,
    resume: bool = False,
    *,
    loading: Loading = IN_PROCESS,
    save_every: int = SAVED_EVERY,
    say: Callable[[str], None] = lambda line: None,
) -> int:
    """Train from scratch and save a LeRobot checkpoint with the datasets' contract to `output`.

    proceed is asked after each step, with its number from 1, its error (normalized units) and the
    share of the time that is spent waiting for pictures; False ends the training there, and what
    is trained so far is saved. say is given lines for people. Returns the steps trained.

    The folder `output`.training has the curve, the checkpoint `best` of the smallest held-out
    error, and until the last step is done the state that the training goes on from: written every
    `save_every` steps, and where it ends early. resume: go on from there, with the settings it
    began with (`begun_settings`): so many steps and then the rest are all at once, to the bit, with
    as many threads, and any number of loading.workers. A checkpoint that it saved when it ended
    early is replaced.

    What could keep the result from being saved is found before training. Raises DatasetError if
    a dataset has too few episodes, no camera or no joint names, or they differ, CheckpointError if
    the contract does not describe them, StateError where there is nothing to go on from, or
    something that must not be lost, FileExistsError or another OSError if output cannot be made.
    TrainingError ends it in the middle, when what was trained until then is saved.
    """
    sources = [Source(data)] if isinstance(data, Dataset) else list(data)
    shared = shared_contract(sources)
    state = begun(output, resume)
    settings = settings if state is None else state.settings
    output.parent.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(settings.seed)
    training, validation = split_samples(sources, settings)
    for line in shared.unknown:
        say(line)
    config, statistics = _config(training, settings), statistics_of(sources)
    described = Described(
        config,
        statistics,
        _stated(shared.contract, training),
        training.episodes[0] if len(sources) == 1 else None,
    )
    preprocessor = Preprocessor.from_config(config, statistics)
    roots = ", ".join(str(source.dataset.root) for source in sources)
    check_contract(described.contract, config, preprocessor, roots)
    model = Act(config)
    # Pictures arrive channels-last; weights that lie alike train three times as fast on a CPU.
    model.backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    weights = tuple(source.weight for source in sources)
    sampler = _sampler(training, weights, settings)
    if state is None:
        _calibrate(model, sampler, training, preprocessor, settings)
    run = Run(model, settings, preprocessor.fingerprint(), training, weights)
    if state is not None:
        run.restore(state, place_of(output))
    saving = Saving(output, run, described, save_every, say)
    held_out = HeldOut(validation, preprocessor, settings, described.contract.action_names)
    steps = islice(sampler.batches(run.step), settings.steps - run.step)
    loader = Loader(training, steps, settings.batch_size, loading)
    try:
        _fit(run, preprocessor, training, held_out, loader, report, proceed, saving)
    except (TrainingError, DatasetError) as error:
        if not run.step:
            raise
        saving.end()
        raise TrainingError(
            f"{error}; saved {output}, trained for {run.step} of {settings.steps} steps"
        ) from error
    saving.end()
    return run.step


def begun_settings(output: Path) -> TrainingSettings:
    """With which settings a training to `output` was begun. Raises StateError if none was."""
    return read_state(place_of(output)).settings


def split_samples(sources: Sequence[Source], settings: TrainingSettings) -> tuple[Samples, Samples]:
    """The episodes to train on, and those held out. Raises DatasetError."""
    if settings.only_interventions:
        sources = interventions.with_person(sources)
    datasets = [source.dataset for source in sources]
    training, validation = (load_samples(datasets, some) for some in split(sources, settings))
    if settings.only_interventions:
        return interventions.alone(training), interventions.alone(validation)
    return training, validation


def _sampler(training: Samples, weights: Sequence[float], settings: TrainingSettings) -> Sampler:
    groups, rates = training.groups, list(weights)
    if settings.intervention_weight != 1:
        by_person = interventions.commanded_by_person(training)
        groups, rates = interventions.weighed(
            groups, rates, by_person, settings.intervention_weight
        )
    return Sampler(groups, rates, settings.batch_size, settings.seed)


def _stated(contract: Contract, training: Samples) -> Contract:
    """With what the episodes themselves show of their pictures and their arm."""
    return dataclasses.replace(
        contract,
        detail=details_of(_evenly(training, _DETAIL_FRAMES)),
        lag=lag_of(contract, training.vectors()),
    )


def _evenly(samples: Samples, count: int) -> dict[str, NDArray[np.uint8]]:
    """Pictures of some rows, evenly over all of them, by camera."""
    return samples.pictures(np.linspace(0, len(samples) - 1, count).astype(np.int64))


def _calibrate(
    model: Act,
    sampler: Sampler,
    samples: Samples,
    preprocessor: Preprocessor,
    settings: TrainingSettings,
) -> None:
    """Measure what the backbone normalizes with, on a few batches."""

    def pictures(rows: NDArray[np.int64]) -> list[Tensor]:
        images = samples.pictures(rows)
        batch = make_batch(samples, rows, images, preprocessor, settings.chunk_size)
        return _by_size([batch[key] for key in model.config.image_features])

    calibrate_batch_norm(
        model.backbone, (each for rows in sampler.some(8) for each in pictures(rows))
    )


def _by_size(pictures: Sequence[Tensor]) -> list[Tensor]:
    """Pictures (B, 3, H, W) of several cameras, those of one size together."""
    alike: dict[torch.Size, list[Tensor]] = {}
    for each in pictures:
        alike.setdefault(each.shape[1:], []).append(each)
    return [torch.cat(each) for each in alike.values()]


def _config(samples: Samples, settings: TrainingSettings) -> ActConfig:
    pictures = {
        f"observation.images.{name}": Feature("VISUAL", (3, *size))
        for name, size in samples.sizes.items()
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


class _Meter:
    """How fast it goes, and how much of the time is spent waiting for pictures."""

    def __init__(self, loader: Loader, batch_size: int) -> None:
        self._loader, self._batch_size = loader, batch_size
        self.begin()

    def begin(self) -> None:
        self._begun_s, self._waited_s = time.monotonic(), self._loader.waited_s
        self._steps = 0

    def step(self) -> None:
        self._steps += 1

    @property
    def _taken_s(self) -> float:
        return max(time.monotonic() - self._begun_s, 1e-9)

    @property
    def frames_per_s(self) -> float:
        return self._steps * self._batch_size / self._taken_s

    @property
    def waiting(self) -> float:
        """A share of the time since `begin`, 0 to 1."""
        return min(1.0, (self._loader.waited_s - self._waited_s) / self._taken_s)


def _fit(
    run: Run,
    preprocessor: Preprocessor,
    training: Samples,
    held_out: HeldOut,
    loader: Loader,
    report: Callable[[Progress], None],
    proceed: Callable[[int, float, float], bool],
    saving: Saving,
) -> None:
    """Every step that is left, unless `proceed` ends it."""
    model, settings = run.model, run.settings
    meter = _Meter(loader, settings.batch_size)
    model.train()
    for rows, images in loader:
        batch = make_batch(training, rows, images, preprocessor, settings.chunk_size)
        # bfloat16 where it is safe: three times as fast on CPUs that have it, the same result.
        with torch.autocast("cpu", torch.bfloat16):
            loss = model.compute_loss(batch, RULE)
        _require_finite("loss", float(loss.total.detach()), run.step + 1)
        run.optimizer.zero_grad()
        loss.total.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        _require_finite("gradient", float(norm), run.step + 1)
        run.optimizer.step()
        run.schedule.step()
        run.done(float(loss.l1))
        meter.step()
        goes_on = proceed(run.step, run.errors[-1], meter.waiting)
        hundredth, last = run.step % _EVALUATED_EVERY == 0, run.step == settings.steps
        if hundredth or last or not goes_on:
            progress = _progress(run, held_out, meter)
            report(progress)
            saving.after_report(progress, regular=hundredth or last)
            meter.begin()
        if hundredth:
            run.errors.clear()
        if not goes_on:
            return
        saving.after_step()


def _require_finite(what: str, value: float, step: int) -> None:
    """Before a step that would spoil the weights. Raises TrainingError."""
    if not math.isfinite(value):
        raise TrainingError(
            f"the {what} of step {step} is {value}: the training has diverged; begin again with a "
            "lower --learning-rate, to another --output"
        )


def _progress(run: Run, held_out: HeldOut, meter: _Meter) -> Progress:
    frames_per_s, waiting = meter.frames_per_s, meter.waiting  # the look at held-out episodes not
    validation, joints = held_out.errors(run.model)
    return Progress(
        run.step,
        run.settings.steps,
        float(np.mean(run.errors)),
        validation,
        run.learning_rate,
        joints,
        frames_per_s,
        waiting,
    )


class HeldOut:
    """Some frames of held-out episodes, evenly over them, with their pictures decoded."""

    def __init__(
        self,
        samples: Samples,
        preprocessor: Preprocessor,
        settings: TrainingSettings,
        names: Sequence[str],
    ) -> None:
        self._samples, self._preprocessor = samples, preprocessor
        self._settings, self._names = settings, names
        places = np.linspace(0, len(samples.begins) - 1, _HELD_OUT_FRAMES).astype(np.int64)
        self._rows = samples.begins[places]
        self._pictures = samples.pictures(self._rows)

    def errors(self, model: Act) -> tuple[float, dict[str, float]]:
        """Mean absolute error in normalized units, and of each action in dataset units."""
        model.eval()
        size, error = _WITHOUT_GRADIENT * self._settings.batch_size, 0.0
        sums, count = torch.zeros(len(self._names)), 0
        with torch.no_grad():
            for start in range(0, len(self._rows), size):
                batch = self._batch(slice(start, start + size))
                error += float(model.compute_loss(batch, RULE).l1) * len(batch[ACTION])
                real = ~batch["action_is_pad"]
                sums += self._apart(model(batch), batch[ACTION])[real].sum(dim=0)
                count += int(real.sum())
        model.train()
        joints = (sums / count).tolist()
        return error / len(self._rows), dict(zip(self._names, joints, strict=True))

    def _batch(self, some: slice) -> dict[str, Tensor]:
        images = {name: pictures[some] for name, pictures in self._pictures.items()}
        return make_batch(
            self._samples, self._rows[some], images, self._preprocessor, self._settings.chunk_size
        )

    def _apart(self, chunk: Tensor, recorded: Tensor) -> Tensor:
        """How far two chunks (B, C, n) in the network's units are apart, in dataset units."""
        unnormalize = self._preprocessor.unnormalize_action
        return (unnormalize(chunk) - unnormalize(recorded)).abs()
