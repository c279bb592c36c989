"""A bag's frames as a policy would have got them live: joints in radians, and RGB pictures."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from armlet.align import STATE, Aligner, Refusal, Sample, join
from armlet.camera import jpeg
from armlet.contract import Contract, Stream
from armlet.datasets.format.errors import DatasetError
from armlet.robots.joints import feature_names

from .convert import Bag, aligned, bag_camera, check_topics, picture, why
from .streams import Plan

# Slower than this share of the rate asked for, a camera repeats pictures instead of showing new.
_SLOW_SHARE = 0.75


@dataclass(frozen=True)
class BagFrame:
    """One frame; its pictures are decoded when asked for."""

    stamp_ns: int
    radians: NDArray[np.float64]
    pictures: dict[str, Any]

    def images(self) -> dict[str, NDArray[np.uint8]]:
        """RGB (H, W, 3) by camera. Raises CameraError for a JPEG that cannot be read."""
        return {
            name: jpeg.decode(taken) if isinstance(taken, bytes) else taken
            for name, taken in self.pictures.items()
        }


class BagView:
    """A bag looked at through the aligner. What the arm was commanded is not looked at.

    Raises DatasetError for a topic that is absent or of another type, and for a camera of which no
    picture can be read.
    """

    def __init__(self, bag: Bag, plan: Plan):
        check_topics(bag, plan)
        # What a policy would have got is to be judged, another unit too.
        self._bag, self._plan = bag, dataclasses.replace(plan, any_unit=True)
        self._stamps_ns: dict[str, list[int]] = {stream.name: [] for stream in plan.cameras}
        names = feature_names(plan.joints)
        self._contract = Contract(
            fps=plan.fps,
            cameras=tuple(bag_camera(bag, stream) for stream in plan.cameras),
            state_names=names,
            action_names=names,
            alignment=tuple(
                Stream(stream.name, stream.policy.value, stream.tolerance_s)
                for stream in plan.streams
            ),
        )

    def frames(self) -> Iterator[BagFrame]:
        """Every frame, in order. Raises DatasetError, after the last, if there was none."""
        plan, refused = self._plan, dict[str, Refusal]()
        aligner = Aligner(
            (source.config for stream in plan.streams for source in stream.sources),
            plan.fps,
            plan.max_wait_s,
            plan.give_up_s,
        )
        (state,) = (stream for stream in plan.streams if stream.name == STATE)
        count = 0
        for frame in aligned(self._bag, plan, aligner, refused, self._noted):
            count += 1
            pictures = {s.name: picture(frame.values[s.name]) for s in plan.cameras}
            radians = join(state.parts, plan.joints, frame.values)
            yield BagFrame(frame.stamp_ns, radians, pictures)
        if not count:
            raise DatasetError(f"{self._bag.path} gave no frames; {why(aligner, refused)}")

    def contract(self) -> Contract:
        """What the frames so far are. Units and calibration no bag states.

        fps is the rate asked for, or that of the slowest camera if it was too slow for that.
        """
        slowest = min((_rate(stamps) for stamps in self._stamps_ns.values()), default=np.inf)
        if slowest >= _SLOW_SHARE * self._plan.fps:
            return self._contract
        return dataclasses.replace(self._contract, fps=max(1, round(slowest)))

    def _noted(self, recorded: Iterable[Sample]) -> Iterator[Sample]:
        for sample in recorded:
            if sample.stream in self._stamps_ns:
                self._stamps_ns[sample.stream].append(sample.stamp_ns)
            yield sample


def _rate(stamps_ns: list[int]) -> float:
    """Pictures per second, lost ones aside."""
    steps = [after - before for before, after in itertools.pairwise(stamps_ns)]
    median = float(np.median(steps)) if steps else 0.0
    return 1e9 / median if median > 0 else np.inf
