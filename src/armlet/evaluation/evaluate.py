"""Predicts chunks from recorded observations and compares them with what was done.

The observations are the dataset's, read as training reads them, and go through the policy as the
policy node runs it: the same preprocessing object, window, network and statistics. Row i of a chunk
is compared with the action recorded i frames after the observation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from armlet.datasets import Dataset, DatasetError
from armlet.policies import Checkpoint, Observation, Policy
from armlet.policies.config.base import ACTION, STATE, camera_name
from armlet.policies.fit.feature_stats import describe, frozen_statistics

from .errors import Errors, Floats
from .observations import Moment, frames_of, moments
from .pairs import Pairs, pair

A, B = "A", "B"
STAY, MEAN = "stay", "mean"
"""Baselines: the arm stays where it is; the mean action of the training data."""

Predictor = Callable[[Moment, int], Floats]
"""The chunk for a moment of an episode, dataset units: (C, n), or (1, n) for each of its steps."""


@dataclass(frozen=True)
class Evaluation:
    """errors: by predictor: A, B if there is one, then the baselines that there are.

    spread: standard deviations (n,) of the joints' actions in the training data of A, by which
    errors of joints with different units and ranges are made comparable.
    """

    fps: int
    joints: tuple[str, ...]
    units: Mapping[str, str]
    episodes: tuple[int, ...]
    chunks: int
    spread: Floats
    errors: Mapping[str, Errors]

    @property
    def horizon(self) -> int:
        """Steps that are compared: the shortest chunk of the policies."""
        return len(self.errors[A].count)

    def score(self, predictor: str) -> float:
        """Mean absolute error in standard deviations of the training data, averaged over joints."""
        return self._score(self.errors[predictor].mean)

    def scores(self, predictor: str) -> list[float]:
        """The same for each episode."""
        found = self.errors[predictor].by_episode
        return [self._score(found[k]) for k in self.episodes]

    @property
    def baselines(self) -> list[str]:
        return [name for name in (STAY, MEAN) if name in self.errors]

    def pairs(self) -> Pairs | None:
        """A beside B, an episode a pair; None without B."""
        return pair(self.scores(A), self.scores(B)) if B in self.errors else None

    def joint_pairs(self) -> list[Pairs]:
        """The same for each joint, by mean absolute errors in its unit; empty without B."""
        if B not in self.errors:
            return []
        a, b = ([self.errors[name].by_episode[k] for k in self.episodes] for name in (A, B))
        return [pair(*joint) for joint in zip(np.transpose(a), np.transpose(b), strict=True)]

    def _score(self, error: Floats) -> float:
        return float((error / self.spread).mean())


def evaluate(
    dataset: Dataset,
    policies: Sequence[Policy],
    episodes: Sequence[int],
    chunks: int = 20,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Errors of one policy, or of two beside each other, and of the baselines.

    chunks: predicted per episode, evenly over its frames; 0: at every frame. seed: of the noise,
    which is a function of it, the episode and the frame. progress gets chunks done, of how many.
    Raises DatasetError, ObservationError for observations the policy does not take, and
    FloatingPointError for actions that are not finite.
    """
    frames = {k: frames_of(dataset.episodes[k].length, chunks) for k in episodes}
    mean, spread = _training_actions(policies[0].checkpoint, dataset)
    joints = joints_of(dataset)
    if len(joints) != len(mean):
        raise DatasetError(
            f"{dataset.root}: expected actions of {len(mean)} values, as the policy gives, found "
            f"{len(joints)}"
        )
    horizon = min(policy.config.chunk_size for policy in policies)
    predictors: dict[str, Predictor] = {
        **{name: _of_policy(policy, seed) for name, policy in zip((A, B), policies, strict=False)},
        **_baselines(dataset, joints, mean),
    }
    errors = {name: Errors(horizon, len(joints)) for name in predictors}
    cameras = [camera_name(key) for policy in policies for key in policy.config.image_features]
    windows = [policy.config.n_obs_steps for policy in policies]
    done, count = 0, sum(map(len, frames.values()))
    if not count:
        raise DatasetError(f"{dataset.root}: expected episodes with frames, found none")
    for k in episodes:
        episode = dataset.episode(k)
        episode.require_finite()
        actions = episode.action.astype(np.float64)
        named = list(dict.fromkeys(cameras))
        for moment in moments(dataset, episode, frames[k], named, windows):
            following = actions[moment.frame : moment.frame + horizon]
            for name, predict in predictors.items():
                errors[name].add(predict(moment, k)[:horizon], following)
            done += 1
            if progress is not None:
                progress(done, count)
        for found in errors.values():
            found.end_episode(k)
    return Evaluation(
        fps=dataset.info.fps,
        joints=joints,
        units=_units(dataset, policies[0].checkpoint),
        episodes=tuple(episodes),
        chunks=count,
        spread=spread,
        errors=errors,
    )


def _of_policy(policy: Policy, seed: int) -> Predictor:
    def predict(moment: Moment, episode: int) -> Floats:
        # The noise of a chunk is the same for both policies and in every run.
        words = np.random.SeedSequence([seed, episode, moment.frame]).generate_state(1)
        policy.reset(int(words[0]))
        observation: Observation = moment.observations[policy.config.n_obs_steps]
        return policy.predict_chunk(observation).astype(np.float64)

    return predict


def _baselines(dataset: Dataset, joints: tuple[str, ...], mean: Floats) -> dict[str, Predictor]:
    """The mean action, and the state held, where every joint that is commanded has a state."""

    def average(moment: Moment, episode: int) -> Floats:
        return mean[None]

    found: dict[str, Predictor] = {}
    state = dataset.info.features.get(STATE)
    names = () if state is None else state.names or ()
    if set(joints) <= set(names):
        order = [names.index(joint) for joint in joints]

        def stay(moment: Moment, episode: int) -> Floats:
            observation = next(iter(moment.observations.values()))
            return observation.state[order].astype(np.float64)[None]

        found[STAY] = stay
    return {**found, MEAN: average}


def _training_actions(checkpoint: Checkpoint, dataset: Dataset) -> tuple[Floats, Floats]:
    """Mean and standard deviation (n,) of actions in training; the dataset's if not stored."""
    stored = frozen_statistics(checkpoint)[ACTION]
    if not stored.is_known:
        stored = describe(ACTION, "ACTION", stored.mode, dataset.statistics.get(ACTION, {}))
    if stored.mean is None:
        raise DatasetError(
            f"{dataset.root}: statistics of {ACTION} are neither here nor in the checkpoint; "
            "`armlet dataset stats --write` computes them"
        )
    return stored.mean, stored.spread()


def joints_of(dataset: Dataset) -> tuple[str, ...]:
    """Names of the entries of its actions. Raises DatasetError."""
    feature = dataset.info.features.get(ACTION)
    if feature is None or len(feature.shape) != 1:
        found = "no such column" if feature is None else f"the shape {list(feature.shape)}"
        raise DatasetError(f"{dataset.root}: expected vectors in a column {ACTION}, found {found}")
    return feature.names or tuple(f"entry {i}" for i in range(feature.shape[0]))


def _units(dataset: Dataset, checkpoint: Checkpoint) -> dict[str, str]:
    """Of joints by name; empty if neither dataset nor checkpoint states them."""
    for contract in (dataset.contract, checkpoint.contract):
        if contract is not None and contract.units_by_name():
            return contract.units_by_name()
    return {}
