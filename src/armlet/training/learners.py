"""Which policies can be trained, by their type."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from .act import ActLearner
from .diffusion import DiffusionLearner
from .learner import Learner
from .samples import Samples
from .settings import TrainingSettings
from .smolvla import SmolVlaLearner

_LEARNERS: Mapping[str, Callable[[TrainingSettings, Samples], Learner]] = {
    "act": ActLearner,
    "diffusion": DiffusionLearner,
    "smolvla": SmolVlaLearner,
}


def learner_of(settings: TrainingSettings, samples: Samples) -> Learner:
    """For the policy that the settings name, of these samples' joints and cameras.

    Raises CheckpointError for settings that such a policy does not have, or that contradict each
    other, and for a checkpoint to begin with that does not fit.
    """
    return _LEARNERS[settings.policy](settings, samples)
