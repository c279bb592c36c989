"""One episode's plan, kept up to date by a policy and a strategy."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from armlet.policies.config.base import Feature, camera_name
from armlet.policies.observation import Observation

from .playback import TemporalEnsembler
from .strategy import (
    ActionSteps,
    Ensembling,
    LatestOnly,
    LeftOver,
    Plan,
    Replanning,
    Rows,
    Strategy,
    WeightedBlend,
)

STRATEGIES = (
    "latest_only",
    "n_action_steps",
    "temporal_ensembling",
    "weighted_blend",
    "rtc",
)
AUTO = "auto"


class Config(Protocol):
    """What of a policy's configuration matters here."""

    @property
    def chunk_size(self) -> int: ...
    @property
    def n_action_steps(self) -> int: ...
    @property
    def state_size(self) -> int | None: ...
    @property
    def environment_size(self) -> int | None: ...
    @property
    def image_features(self) -> Mapping[str, Feature]: ...


class Predictor(Protocol):
    """A policy as it is executed; inpaints: predict_chunk takes what is left of the plan."""

    @property
    def config(self) -> Config: ...
    @property
    def inpaints(self) -> bool: ...
    def predict_chunk(self, observation: Observation, leftover: LeftOver | None = None) -> Rows: ...
    def reset(self, seed: int | None = None) -> None: ...


@dataclass(frozen=True)
class Execution:
    """How a policy is executed. Durations in s; they are rounded to whole periods.

    strategy: a name of STRATEGIES, or auto: temporal_ensembling for a checkpoint that asks for it,
    n_action_steps for a Diffusion Policy, rtc for a flow policy, else latest_only. action_steps 0,
    ensemble_coefficient None: as the checkpoint says (0.01, the original work's, if it says
    nothing). new_weight: the new chunk's share in weighted_blend; LeRobot names 0.7
    weighted_average, 0.5 average, 0.3 conservative.
    seed: of the noise of a policy that draws any; None: a new one each time.
    """

    strategy: str = AUTO
    replan_interval_s: float = 0.1
    replan_horizon_s: float = 0.0
    replan_share: float = 1.0
    action_steps: int = 0
    ensemble_coefficient: float | None = None
    new_weight: float = 0.7
    seed: int | None = None


class Planner:
    """Decides which frame is inferred, infers it, and makes the chunk part of the plan.

    For one thread. Raises ValueError for an unknown strategy, or one the policy cannot follow.
    """

    def __init__(self, policy: Predictor, execution: Execution, fps: int) -> None:
        self._policy, self.fps = policy, fps
        self.execution = execution
        self.name, self.strategy = make_strategy(policy, execution, fps)
        self._plan: Plan | None = None
        self.reset()

    @property
    def plan(self) -> Plan | None:
        """What was planned last; None at the beginning of an episode."""
        return self._plan

    def reset(self) -> None:
        """A new episode begins: nothing is planned."""
        self._plan = None
        self.strategy.reset()
        self._policy.reset(self.execution.seed)

    def follow(self, execution: Execution) -> None:
        """Execute otherwise from the next frame on; the plan goes on, a seed is the next episode's.

        Raises ValueError as at the start; nothing has changed then.
        """
        self.name, self.strategy = make_strategy(self._policy, execution, self.fps)
        self.execution = execution

    def wants(self, index: int, delay: int) -> bool:
        """Whether the frame at a grid index is to be inferred; its chunk takes `delay` periods."""
        if self._plan is None:
            return True
        # A clock set back begins again: what was planned is for a time that will not come soon.
        return index < self._plan.first or self.strategy.wants(index, self._plan, delay)

    def infer(self, observation: Observation, index: int, delay: int) -> Plan:
        """The plan after the frame at a grid index has been inferred.

        Raises what the policy raises, FloatingPointError for a chunk that is not finite; the plan
        is then the old one.
        """
        if self._plan is not None and index <= self._plan.first:
            self.reset()
        plan = self._plan
        if self.strategy.guided and plan is not None and len(plan.since(index)):
            chunk = self._policy.predict_chunk(observation, LeftOver(plan.since(index), delay))
        else:
            chunk = self._policy.predict_chunk(observation)
        if not np.isfinite(chunk).all():
            raise FloatingPointError(
                f"the policy gave non-finite actions in {_share(chunk)} of its chunk: expected "
                "finite numbers; nothing of it is sent"
            )
        self._plan = Plan(index, self.strategy.merge(plan, index, chunk))
        return self._plan


def strategy_name(policy: Predictor, execution: Execution) -> str:
    """The strategy that is meant. Raises ValueError for an unknown one, or one that cannot be."""
    name = execution.strategy
    if name == AUTO:
        if getattr(policy.config, "temporal_ensemble_coeff", None) is not None:
            return "temporal_ensembling"
        usual = getattr(policy.config, "usual_strategy", None)
        return usual or ("rtc" if policy.inpaints else "latest_only")
    if name not in STRATEGIES:
        raise ValueError(f"strategy must be {AUTO} or one of {STRATEGIES}, found {name!r}")
    if name == "rtc" and not policy.inpaints:
        raise ValueError(
            "strategy rtc: expected a flow policy (SmolVLA), whose denoising can be steered; this "
            "one gives its chunk in one pass: take latest_only or temporal_ensembling"
        )
    return name


def make_strategy(policy: Predictor, execution: Execution, fps: int) -> tuple[str, Strategy]:
    """The strategy that is meant, and its name. Raises ValueError for one that cannot be."""
    name = strategy_name(policy, execution)
    return name, _strategy(name, policy.config, execution, fps)


def warm_up(policy: Predictor, task: str, rounds: int = 2) -> float:
    """Predict from blank pictures until caches and code are warm; s that the last round took."""
    observation = _blank(policy.config, task)
    begun = time.perf_counter()
    for _ in range(rounds):
        begun = time.perf_counter()
        policy.predict_chunk(observation)
    return time.perf_counter() - begun


def periods(duration_s: float, fps: int) -> int:
    """Whole periods that a duration takes up; a rounding error is not a period more."""
    return math.ceil(duration_s * fps - 1e-6)


def _strategy(name: str, config: Config, execution: Execution, fps: int) -> Strategy:
    replanning = Replanning(
        periods(execution.replan_interval_s, fps),
        periods(execution.replan_horizon_s, fps),
        execution.replan_share,
    )
    if name == "n_action_steps":
        return ActionSteps(_action_steps(config, execution), config.chunk_size)
    if name == "temporal_ensembling":
        coefficient = execution.ensemble_coefficient
        if coefficient is None:
            coefficient = getattr(config, "temporal_ensemble_coeff", None)
        return Ensembling(
            TemporalEnsembler(0.01 if coefficient is None else coefficient, config.chunk_size)
        )
    if name == "weighted_blend":
        return WeightedBlend(replanning, execution.new_weight)
    return LatestOnly(replanning, guided=name == "rtc")


def _action_steps(config: Config, execution: Execution) -> int:
    steps = execution.action_steps or config.n_action_steps
    if not 1 <= steps <= config.chunk_size:
        raise ValueError(
            f"action_steps must be 1 to {config.chunk_size}, the policy's chunk, found {steps}"
        )
    return steps


def _blank(config: Config, task: str) -> Observation:
    shapes = {camera_name(key): f.shape for key, f in config.image_features.items()}
    environment = config.environment_size
    return Observation(
        np.zeros(config.state_size or 0, np.float32),
        {name: np.zeros((h, w, 3), np.uint8) for name, (_, h, w) in shapes.items()},
        task,
        None if environment is None else np.zeros(environment, np.float32),
    ).at_start(getattr(config, "n_obs_steps", 1))


def _share(chunk: Rows) -> str:
    bad = ~np.isfinite(chunk)
    return f"{int(bad.sum())} of {bad.size} numbers"
