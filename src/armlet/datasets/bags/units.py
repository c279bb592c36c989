"""Whether a bag's joints are radians: judged by all of them, before anything is written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from armlet.datasets.format.errors import DatasetError
from armlet.robots.calibration import Calibration, CalibrationError
from armlet.robots.unit_check import Reach

from .streams import Plan

if TYPE_CHECKING:
    from .convert import Bag


def check_units(bag: Bag, plan: Plan, calibration: Calibration) -> list[str]:
    """What is odd about a bag's joints, a line each.

    Raises DatasetError naming a topic whose positions are in another unit than radians.
    """
    parts = {
        (source.topic, source.part.stream): source.part
        for stream in plan.streams
        for source in stream.sources
        if source.part is not None
    }
    rows: dict[tuple[str, str], list[NDArray[np.float64]]] = {key: [] for key in parts}
    for topic, _, message in bag.messages(sorted({topic for topic, _ in parts})):
        for key, part in parts.items():
            if key[0] == topic:
                try:
                    rows[key].append(part.sample(message.name, message.position.tolist()))
                except ValueError:
                    continue  # counted and reported where samples are taken
    found = []
    for (topic, stream), part in parts.items():
        if not rows[topic, stream]:
            continue
        try:
            reach = Reach(part.joints, calibration)
        except CalibrationError as error:
            raise DatasetError(f"joints of {topic}: {error}") from error
        values = np.array(rows[topic, stream], np.float64)
        if reason := reach.other_unit(values):
            raise DatasetError(f"{bag.path}: {topic} (stream {stream}) is not in radians: {reason}")
        found += [f"{topic} (stream {stream}): {doubt}" for doubt in reach.doubts(values)]
    return found
