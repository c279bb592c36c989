"""One frame as a policy sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .errors import ObservationError as ObservationError


@dataclass(frozen=True)
class Observation:
    """What the robot knows at one instant.

    state is float32 (n,) in dataset units, in the order of the dataset's state names; images are
    uint8 (H, W, 3) RGB by camera name, without the `observation.images.` prefix; task is the
    instruction for policies that read one; environment_state float32 (m,) is for simulators.
    """

    state: NDArray[np.float32]
    images: Mapping[str, NDArray[np.uint8]]
    task: str = ""
    environment_state: NDArray[np.float32] | None = None
