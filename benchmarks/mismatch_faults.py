"""Part of mismatch.py: what is wrong in each condition, and where in the graph it goes wrong.

A fault stands where it would stand on a robot: in the camera, in the driver's readings, in the
policy's preprocessing, in a file or a parameter. Nothing of armlet knows of it: the benchmark's
own node program (mismatch_node.py) puts it into the process of one node.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]

DRIVEN_S = 1.0
"""After the start of simulated time the policy may drive (client.trials.BEGIN_S)."""
CALIBRATIONS = Path(__file__).resolve().parents[1] / "config" / "calibration"
LATE_FRAMES = 3
HANGS_S = DRIVEN_S + 0.8
"""From then on the cameras of `stale` repeat their last picture: the arm is on its way."""
LATER_RATE_HZ = 20
REVERSED = 2
"""The joint whose sign is wrong: elbow_flex."""


@dataclass(frozen=True)
class Condition:
    """One row of the table.

    Attributes:
        name: short, of files and of --conditions.
        title: as the table has it.
        where: what was made wrong, in words.
        fault: its name in mismatch_node, "" where files or parameters do it.
        node: the executable whose process the fault is in.
        arguments: of the sim graph.
        parameters: of nodes, by executable.
        checkpoint: how the checkpoint's files are changed; "" for not at all. What armlet does not
            load is changed as shipped alone, and forced by the fault.
    """

    name: str
    title: str
    where: str
    fault: str = ""
    node: str = ""
    arguments: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    checkpoint: str = ""

    @property
    def in_files(self) -> bool:
        """Whether armlet does not load the files, so that they can be forced by a fault alone."""
        return bool(self.checkpoint and self.fault and self.node == "policy")


def _camera(name: str, title: str, where: str) -> Condition:
    return Condition(name, title, where, fault=name, node="sim_bench")


def _policy(name: str, title: str, where: str) -> Condition:
    return Condition(name, title, where, fault=name, node="policy")


CONDITIONS = (
    Condition("consistent", "consistent", "nothing is wrong"),
    _policy(
        "per_frame",
        "per-frame normalization",
        "each picture is normalized by its own mean and std",
    ),
    Condition(
        "statistics_255",
        "mean/std in 0-255",
        "pictures of 0..1 are normalized by statistics of 0..255; as shipped, in the file",
        fault="statistics_255",
        node="policy",
        checkpoint="statistics_255",
    ),
    _policy("not_divided", "/255 missing", "pictures of 0..255 are normalized"),
    _policy("divided_twice", "/255 twice", "pictures are divided by 255 twice"),
    _camera("bgr", "BGR", "both cameras exchange red and blue"),
    _camera(
        "nearest",
        "nearest, not the trained interpolation",
        "the camera takes 512x384 and is reduced by taking every fourth pixel",
    ),
    _camera("resized", "resized from another resolution", "the camera takes 64x48, enlarged"),
    _camera("cropped", "cropped", "the middle 80 % of each picture, enlarged"),
    _camera("swapped", "cameras swapped", "front and wrist are exchanged"),
    _camera("auto_exposure", "auto exposure", "each picture is brought to a mean of 0.5"),
    Condition(
        "jpeg_10",
        "JPEG quality 10",
        "the cameras compress with quality 10, not 90",
        parameters={"sim_bench": {"jpeg_quality": 10}},
    ),
    Condition(
        "units",
        "state in other units (range)",
        "the policy node is told range_m100_100, and the policy was trained in degrees",
        arguments={"joint_units": "range_m100_100"},
    ),
    _policy("degrees", "state in other units (degrees)", "the driver's positions are degrees"),
    Condition(
        "calibration",
        "calibration of another arm",
        "the policy node has the leader's calibration file",
        parameters={
            "policy": {"calibration_file": str(CALIBRATIONS / "emulated_leader.json")},
        },
    ),
    _policy("sign", "one joint's sign", "elbow_flex is read and commanded the other way round"),
    _policy("sign_read", "one joint's sign, read only", "elbow_flex is read the other way round"),
    _policy("late", "observations 100 ms late", "their content is 100 ms older than their stamp"),
    Condition(
        "rate",
        "actions replayed at another rate",
        f"frames and actions at {LATER_RATE_HZ} Hz, and the policy was trained at 30 Hz",
        arguments={"fps": str(LATER_RATE_HZ)},
    ),
    Condition(
        "not_interpolated",
        "no interpolation of joints",
        "the aligner takes the last reading before each frame",
        parameters={"aligner": {"state.policy": "nearest", "action.policy": "nearest"}},
    ),
    _policy("no_stamp", "chunk executed without its stamp", "chunks begin when they arrive"),
    _camera(
        "stale", "stale frames", "pictures repeat, newly stamped, 0.8 s after the policy began"
    ),
    Condition(
        "recomputed_statistics",
        "recomputed: mean/std in 0-255",
        "those statistics computed again from a calibration set",
        checkpoint="recomputed",
    ),
    Condition(
        "recomputed_exposure",
        "recomputed: auto exposure",
        "statistics computed again from a calibration set with that exposure",
        fault="auto_exposure",
        node="sim_bench",
        checkpoint="recomputed_auto_exposure",
    ),
)


def condition(name: str) -> Condition:
    """By its name. Raises KeyError."""
    return {each.name: each for each in CONDITIONS}[name]


# --- cameras --------------------------------------------------------------------------------------


class CameraFault:
    """Stands for `Bench.render`: what a camera makes of what it sees.

    Args:
        name: of the condition.
        render: the bench's own, (view, state) -> RGB.
        size: (width, height) of the pictures that the graph expects.
    """

    def __init__(self, name: str, render: Any, size: tuple[int, int]) -> None:
        self._name, self._render, self._size = name, render, size
        self._kept: dict[str, Picture] = {}

    @staticmethod
    def own_size(name: str, size: tuple[int, int]) -> tuple[int, int]:
        """Of the pictures that the faulty camera takes."""
        factor = {"nearest": 4.0, "resized": 0.5}.get(name, 1.0)
        return round(size[0] * factor), round(size[1] * factor)

    def __call__(self, view: str, state: Any, since_s: float) -> Picture:
        """since_s: simulated time since its start."""
        if self._name == "swapped":
            view = {"front": "wrist", "wrist": "front"}[view]
        if self._name == "stale" and since_s >= HANGS_S and view in self._kept:
            return self._kept[view]
        picture: Picture = self._made(self._render(view, state=state))
        self._kept[view] = picture
        return picture

    def _made(self, seen: Picture) -> Picture:
        width, height = self._size
        if self._name == "bgr":
            return np.ascontiguousarray(seen[..., ::-1])
        if self._name == "nearest":
            return np.ascontiguousarray(seen[2::4, 2::4])
        if self._name == "resized":
            return cv2.resize(seen, (width, height), interpolation=cv2.INTER_LINEAR)  # type: ignore[no-any-return]
        if self._name == "cropped":
            top, left = height // 10, width // 10
            middle = seen[top : height - top, left : width - left]
            return cv2.resize(middle, (width, height), interpolation=cv2.INTER_LINEAR)  # type: ignore[no-any-return]
        if self._name == "auto_exposure":
            gain = 127.5 / max(float(seen.mean()), 1.0)
            return np.clip(seen * gain, 0, 255).astype(np.uint8)
        return seen
