"""Trains policies on recorded datasets, through the preprocessing object the policy node uses."""

from __future__ import annotations

import dataclasses
import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from armlet.contract import Contract
from armlet.datasets import Dataset, DatasetError
from armlet.policies import PolicyConfig, PolicyNetwork, Preprocessor
from armlet.policies.checkpoint.checkpoint import check_contract, with_preprocessing
from armlet.policies.config.base import ACTION, camera_name
from armlet.policies.fit.detail import details_of
from armlet.policies.fit.lag import lag_of
from armlet.policies.networks.losses import IS_PAD

from . import interventions
from .card import Card, data_of
from .curve import Progress
from .errors import TrainingError
from .learner import Learner
from .learners import learner_of
from .loader import IN_PROCESS, Loader, Loading
from .run import Run
from .sampler import Sampler
from .samples import Pictures, Samples, load_samples, make_batch
from .saving import Described, Saving, begun
from .settings import TrainingSettings
from .sources import Source, shared_contract, split, statistics_of
from .state import place_of, read_state
from .together import ALONE, AnotherSavesError, Part, PeerLostError, Together

SAVED_EVERY = 500
"""Steps after which what is needed to go on is kept, unless asked otherwise."""

_EVALUATED_EVERY = 100
"""Steps from one look at held-out episodes to the next."""
_HELD_OUT_FRAMES, _DETAIL_FRAMES = 64, 32
_SEED_OF_LOOKS = 0
"""Of what is drawn for held-out frames, the same each time, so that errors can be compared."""
_WITHOUT_GRADIENT = 4
"""So many times as many frames fit into the memory that a step of the training needs."""


def train(
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
    tensorboard: bool = False,
    together: Together = ALONE,
) -> int:
    """Train a policy and save a LeRobot checkpoint with the datasets' contract to `output`.

    proceed is asked after each step, with its number from 1, its error (see Progress) and the
    share of the time that is spent waiting for pictures; False ends the training there, and what
    is trained so far is saved. say is given lines for people. tensorboard: write the curve for
    TensorBoard too, which needs the package. together: the processes that train, each of which
    calls this with the same data and settings; the one that leads reports and saves. Returns the
    steps trained.

    The folder `output`.training has the curve, the checkpoint `best` of the smallest held-out
    error, where the weights are averaged the last ones (`raw`) beside their average, and until the
    last step is done the state that the training goes on from: written every `save_every` steps,
    and where it ends early. resume: go on from there, with the settings it began with
    (`begun_settings`): so many steps and then the rest are all at once, to the bit, with as many
    threads, and any number of loading.workers. A checkpoint that it saved when it ended early is
    replaced.

    What could keep the result from being saved is found before training. Raises DatasetError if
    a dataset has too few episodes, no camera or no joint names, or they differ, CheckpointError if
    the contract does not describe them, or for settings that the policy does not have, StateError
    where there is nothing to go on from, or something that must not be lost, FileExistsError or
    another OSError if output cannot be made.
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
    learner, statistics = learner_of(settings, training), statistics_of(sources)
    for line in learner.notes:
        say(line)
    config = learner.config
    preprocessor = Preprocessor.from_config(config, statistics)
    contract = with_preprocessing(_stated(shared.contract, training, config), preprocessor)
    described = Described(
        config,
        statistics,
        contract,
        training.episodes[0] if len(sources) == 1 else None,
        Card(learner, preprocessor, contract, data_of(sources, training, validation)),
        learner.vlm,
    )
    training, validation = (each.without_last(learner.drops) for each in (training, validation))
    roots = ", ".join(str(source.dataset.root) for source in sources)
    check_contract(described.contract, config, preprocessor, roots)
    model = learner.network()
    weights = tuple(source.weight for source in sources)
    sampler = _sampler(training, weights, settings)
    if state is None:
        learner.prepare(model, _some_pictures(sampler, training, preprocessor, learner))
    run = Run(model, learner, preprocessor.fingerprint(), training, weights)
    if state is not None:
        run.restore(state, place_of(output))
    digests = [data.digest for data in described.card.data]
    together.require_alike(settings, learner.precision, learner.base, digests, weights, run.step)
    together.from_leader([*model.parameters(), *model.buffers()])
    saving = Saving(output, run, described, save_every, say, tensorboard, together.leads)
    names = described.contract.action_names
    held_out = HeldOut(validation, preprocessor, learner, names) if together.leads else None
    each, seen = settings.gradient_accumulation, config.n_obs_steps
    batches = islice(sampler.batches(each * run.step), each * (settings.steps - run.step))
    parts = Parts(together, training, learner, each * run.step)
    windows = (training.window(rows, seen) for rows in parts.of(batches))
    loader = Loader(training, windows, settings.batch_size * seen, loading)
    try:
        _fit(
            run,
            learner,
            preprocessor,
            training,
            Looks(held_out, names, together),
            loader,
            report,
            proceed,
            saving,
            parts,
        )
        saving.end()
        together.wait()
    except (TrainingError, DatasetError) as error:
        if not together.claims():
            raise AnotherSavesError from error
        if not run.step:
            raise
        saving.take_over()
        saving.end()
        how = ""
        if isinstance(error, PeerLostError):
            how = "; --resume goes on, with any number of processes"
        raise TrainingError(
            f"{error}{how}; saved {output}, trained for {run.step} of {settings.steps} steps"
        ) from error
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


def _stated(contract: Contract, training: Samples, config: PolicyConfig) -> Contract:
    """With what the episodes themselves show of their pictures and their arm.

    Its cameras are in the policy's order, if they were in the dataset's.
    """
    cameras = {camera.name: camera for camera in contract.cameras}
    if [*cameras] == [*training.sizes]:
        cameras = {name: cameras[name] for name in map(camera_name, config.image_features)}
    return dataclasses.replace(
        contract,
        cameras=tuple(cameras.values()),
        detail=details_of(_evenly(training, _DETAIL_FRAMES)),
        lag=lag_of(contract, training.vectors()),
    )


def _evenly(samples: Samples, count: int) -> dict[str, NDArray[np.uint8]]:
    """Pictures of some rows, evenly over all of them, by camera."""
    return samples.pictures(np.linspace(0, len(samples) - 1, count).astype(np.int64))


def _some_pictures(
    sampler: Sampler, samples: Samples, preprocessor: Preprocessor, learner: Learner
) -> Iterator[list[Tensor]]:
    """Normalized pictures of a few batches, by camera."""
    config = learner.config
    for rows in sampler.some(8):
        images = samples.pictures(samples.window(rows, config.n_obs_steps))
        batch = make_batch(samples, rows, images, preprocessor, config)
        yield [batch[key] for key in config.image_features]


class _Meter:
    """How fast it goes, and how much of the time is spent waiting for pictures."""

    def __init__(self, loader: Loader, frames_per_step: int) -> None:
        self._loader, self._frames_per_step = loader, frames_per_step
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
        return self._steps * self._frames_per_step / self._taken_s

    @property
    def waiting(self) -> float:
        """A share of the time since `begin`, 0 to 1."""
        return min(1.0, (self._loader.waited_s - self._waited_s) / self._taken_s)


def _fit(
    run: Run,
    learner: Learner,
    preprocessor: Preprocessor,
    training: Samples,
    looks: Looks,
    loader: Loader,
    report: Callable[[Progress], None],
    proceed: Callable[[int, float, float], bool],
    saving: Saving,
    parts: Parts,
) -> None:
    """Every step that is left, unless `proceed` ends it."""
    model, settings, together = run.model, run.settings, parts.together
    meter = _Meter(loader, settings.frames_per_step)
    batches = (
        make_batch(training, rows, images, preprocessor, learner.config, learner.words)
        for rows, images in _newest(loader, learner.config.n_obs_steps)
    )
    model.train()
    # The pictures of a batch are there until the next one is due.
    while found := [
        _add_gradient(run, learner, batch, parts.next())
        for batch in islice(batches, settings.gradient_accumulation)
    ]:
        losses, errors = zip(*found, strict=True)
        loss, error = together.totals(float(np.mean(losses)), float(np.mean(errors)))
        _require_finite("loss", loss, run.step + 1)
        together.add_gradients(model.parameters())
        _update(run, learner)
        run.done(error)
        meter.step()
        goes_on = together.all_go_on(proceed(run.step, run.errors[-1], meter.waiting))
        hundredth, last = run.step % _EVALUATED_EVERY == 0, run.step == settings.steps
        if hundredth or last or not goes_on:
            progress = _progress(run, looks, meter)
            report(progress)
            saving.after_report(progress, regular=hundredth or last)
            meter.begin()
        if hundredth:
            run.errors.clear()
        if not goes_on:
            return
        saving.after_step()


def _newest(loader: Loader, seen: int) -> Iterator[tuple[NDArray[np.int64], Pictures]]:
    """Of each batch the newest row of each window, and the pictures of all."""
    for rows, images in loader:
        yield rows[seen - 1 :: seen], images


def _add_gradient(
    run: Run, learner: Learner, batch: Mapping[str, Tensor], part: Part
) -> tuple[float, float]:
    """Of a part of a batch, for a step; returns its loss and its error."""
    precision = getattr(torch, learner.precision)
    with torch.autocast("cpu", precision, enabled=precision is not torch.float32):
        if part.is_whole:
            loss = learner.loss(run.model, batch)
            total, error = loss.total, learner.error(loss)
        else:
            loss = learner.loss_of_part(run.model, batch, part)
            total, error = learner.share(loss, part), learner.error(loss) * learner.weight(part)
    scaled = run.scaler.scale(total / run.settings.gradient_accumulation)
    scaled.backward()  # type: ignore[no-untyped-call]
    return float(total.detach()), error


def _update(run: Run, learner: Learner) -> None:
    """Step by the gradient, which is gone then. Raises TrainingError.

    In float16 one that is too large for it is left out, and the next are scaled less.
    """
    run.scaler.unscale_(run.optimizer)
    norm = torch.nn.utils.clip_grad_norm_(run.model.parameters(), learner.clip)
    if not run.scaler.is_enabled() or run.scaler.get_scale() < 1:
        _require_finite("gradient", float(norm), run.step + 1)
    run.scaler.step(run.optimizer)
    run.scaler.update()
    run.optimizer.zero_grad()
    run.schedule.step()


def _require_finite(what: str, value: float, step: int) -> None:
    """Before a step that would spoil the weights. Raises TrainingError."""
    if not math.isfinite(value):
        raise TrainingError(
            f"the {what} of step {step} is {value}: the training has diverged; begin again with a "
            "lower --learning-rate, to another --output"
        )


def _progress(run: Run, looks: Looks, meter: _Meter) -> Progress:
    frames_per_s, waiting = meter.frames_per_s, meter.waiting  # the look at held-out episodes not
    validation, joints = looks.errors(run)
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


@dataclasses.dataclass(frozen=True)
class Looks:
    """Errors of held-out episodes, which one process computes and all know.

    held_out: of the process that leads; names: of the action's entries.
    """

    held_out: HeldOut | None
    names: Sequence[str]
    together: Together

    def errors(self, run: Run) -> tuple[float, dict[str, float]]:
        """As `HeldOut.errors`, of the weights that people are to use. Raises PeerLostError."""
        found = torch.zeros(1 + len(self.names), dtype=torch.float64)
        if self.held_out is not None:
            with run.averaged():
                validation, joints = self.held_out.errors(run.model)
            found = torch.tensor([validation, *joints.values()], dtype=torch.float64)
        self.together.from_leader([found])
        validation, *errors = found.tolist()
        return validation, dict(zip(self.names, errors, strict=True))


class Parts:
    """This process's part of each batch that is read, in their order; first: the number of one."""

    def __init__(self, together: Together, samples: Samples, learner: Learner, first: int) -> None:
        self.together, self._first = together, first
        self._samples, self._config = samples, learner.config
        self._asked: deque[Part] = deque()

    def of(self, batches: Iterable[NDArray[np.int64]]) -> Iterator[NDArray[np.int64]]:
        """The rows that this process is to read."""
        for number, rows in enumerate(batches, self._first):
            part = self._part(number, rows)
            self._asked.append(part)
            yield rows[part.places]

    def next(self) -> Part:
        """Of the next batch that was read."""
        return self._asked.popleft()

    def _part(self, number: int, rows: NDArray[np.int64]) -> Part:
        places, count = self.together.places(len(rows)), len(rows)
        if self.together.count == 1:
            return Part(number, places, count)
        config = self._config
        real = self._samples.real(rows, 1 - config.n_obs_steps, config.chunk_size)
        share = len(rows[places]) / count, float(real[places].sum() / real.sum())
        return Part(number, places, count, *share)


class HeldOut:
    """Some frames of held-out episodes, evenly over them, with their pictures decoded."""

    def __init__(
        self, samples: Samples, preprocessor: Preprocessor, learner: Learner, names: Sequence[str]
    ) -> None:
        self._samples, self._preprocessor = samples, preprocessor
        self._learner, self._names = learner, names
        places = np.linspace(0, len(samples.begins) - 1, _HELD_OUT_FRAMES).astype(np.int64)
        self._rows = samples.begins[places]
        self._seen = learner.config.n_obs_steps
        self._pictures = samples.pictures(samples.window(self._rows, self._seen))

    def errors(self, model: PolicyNetwork) -> tuple[float, dict[str, float]]:
        """The learner's error, and the mean absolute one of each action in dataset units."""
        model.eval()
        learner = self._learner
        size, error = _WITHOUT_GRADIENT * learner.settings.batch_size, 0.0
        sums, count = torch.zeros(len(self._names)), 0
        generator = torch.Generator().manual_seed(_SEED_OF_LOOKS)
        with torch.no_grad():
            for start in range(0, len(self._rows), size):
                batch = self._batch(slice(start, start + size))
                error += learner.error(learner.loss(model, batch, generator)) * len(batch[ACTION])
                few = {key: values[:: learner.LOOK_AT_EACH] for key, values in batch.items()}
                chunk = learner.chunk(model, few, generator)
                real = ~few[IS_PAD][:, self._seen - 1 :]
                sums += self._apart(chunk, few[ACTION][:, self._seen - 1 :])[real].sum(dim=0)
                count += int(real.sum())
        model.train()
        joints = (sums / count).tolist()
        return error / len(self._rows), dict(zip(self._names, joints, strict=True))

    def _batch(self, some: slice) -> dict[str, Tensor]:
        places = np.arange(len(self._rows))[some]
        frames = (places[:, None] * self._seen + np.arange(self._seen)).reshape(-1)
        images = {name: pictures[frames] for name, pictures in self._pictures.items()}
        learner, rows = self._learner, self._rows[some]
        return make_batch(
            self._samples, rows, images, self._preprocessor, learner.config, learner.words
        )

    def _apart(self, chunk: Tensor, recorded: Tensor) -> Tensor:
        """How far two chunks (B, C, n) in the network's units are apart, in dataset units."""
        unnormalize = self._preprocessor.unnormalize_action
        return (unnormalize(chunk) - unnormalize(recorded)).abs()
