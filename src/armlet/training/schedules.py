"""Learning rates as LeRobot's schedulers give them: a factor of the largest rate for each step."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

Factor = Callable[[int, int, int], float]


def _warm(step: int, warm_up: int) -> float:
    return step / max(1, warm_up)


def _left(step: int, warm_up: int, steps: int) -> float:
    """Of the steps after the warm-up, the share that is left."""
    return max(0.0, 1 - (step - warm_up) / max(1, steps - warm_up))


def _constant(step: int, warm_up: int, steps: int) -> float:
    return 1.0


def _warmed(step: int, warm_up: int, steps: int) -> float:
    return min(1.0, _warm(step, warm_up)) if warm_up else 1.0


def _linear(step: int, warm_up: int, steps: int) -> float:
    return _warm(step, warm_up) if step < warm_up else _left(step, warm_up, steps)


def _cosine(step: int, warm_up: int, steps: int) -> float:
    if step < warm_up:
        return _warm(step, warm_up)
    return 0.5 * (1 - math.cos(math.pi * _left(step, warm_up, steps)))


SCHEDULES: Mapping[str, Factor] = {
    "cosine": _cosine,
    "linear": _linear,
    "constant": _constant,
    "constant_with_warmup": _warmed,
}
"""By LeRobot's scheduler_name: the factor of step `step`, from 0 on, with a warm-up of so many of
so many steps. With one, the first step's is 0."""


def cosine_decay(step: int, warm_up: int, decay: int, least: float, steps: int) -> float:
    """LeRobot's cosine_decay_with_warmup: from 1 to `least` in the first `decay` steps.

    A training of fewer steps has both parts in that proportion.
    """
    if steps < decay:
        warm_up, decay = int(warm_up * (steps / decay)), steps
    if step < warm_up:
        first = 1 / (warm_up + 1)
        return first + (1 - first) * step / warm_up
    return least + (1 - least) * 0.5 * (1 + math.cos(math.pi * min(step, decay) / decay))


def scheduled(optimizer: Optimizer, factor: Callable[[int], float]) -> LRScheduler:
    """The optimizer's rate times the factor of each step."""
    return LambdaLR(optimizer, factor)
