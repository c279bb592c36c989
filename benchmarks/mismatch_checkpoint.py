"""Part of mismatch.py: checkpoints whose picture statistics are others, wrong ones and right ones.

Wrong: those of pictures of 0..255. Recomputed: from a calibration set, pictures of the arm on its
way to targets that no trial has, taken by the camera that the policy has now.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
from mismatch_faults import CameraFault
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

LEVELS = 255
# Of the calibration set: of no trial.
SEED = 90_000
MOTIONS, PICTURES = 16, 12
VISUAL = "observation.images."
_QUANTILES = {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}
Stored = dict[str, NDArray[np.float32]]


def spoil(folder: Path, how: str) -> None:
    """Change a checkpoint's files as a condition has them."""
    _change(folder, _multiplied)
    if how != "statistics_255":
        taken = calibration_set(how.removeprefix("recomputed").lstrip("_"))
        _change(folder, lambda name, values: recomputed(taken, name, values))
        _sign(folder)


def _multiplied(name: str, values: NDArray[np.float32]) -> NDArray[np.float32]:
    return values * np.float32(LEVELS)


def _change(folder: Path, to: Callable[[str, NDArray[np.float32]], NDArray[np.float32]]) -> None:
    """Every picture statistic but the counts."""
    for file in folder.glob("*normalizer_processor.safetensors"):
        stored: Stored = load_file(str(file))
        for name in stored:
            if name.startswith(VISUAL) and not name.endswith(".count"):
                stored[name] = to(name, stored[name])
        save_file(stored, str(file))


def recomputed(
    taken: dict[str, NDArray[np.uint8]], name: str, values: NDArray[np.float32]
) -> NDArray[np.float32]:
    """A statistic per channel of pictures (N, H, W, 3) in 0..1, shaped as the one it replaces."""
    camera, statistic = name.removeprefix(VISUAL).rsplit(".", 1)
    pixels = taken[camera].reshape(-1, 3).astype(np.float64) / LEVELS
    if statistic in _QUANTILES:
        found = np.quantile(pixels, _QUANTILES[statistic], axis=0)
    else:
        found = getattr(pixels, statistic)(axis=0)
    return found.reshape(values.shape).astype(np.float32)


def calibration_set(fault: str) -> dict[str, NDArray[np.uint8]]:
    """Pictures (N, H, W, 3) by camera, through the camera of a condition."""
    from armlet.camera import jpeg
    from armlet.robots.kinematics import HOME
    from armlet.sim import Bench
    from armlet.sim.demonstrator import demonstrate_reach

    taken: dict[str, list[NDArray[np.uint8]]] = {"front": [], "wrist": []}
    rng, size = np.random.default_rng(SEED), (128, 96)
    own = CameraFault.own_size(fault, size)
    with Bench(seed=SEED, size=own, paced=False, clock=lambda: 0.0) as bench:
        camera = CameraFault(fault, lambda view, state: bench.render(view, joints=state), size)
        for _ in range(MOTIONS):
            motion = demonstrate_reach(HOME, bench.place_target(), rng)
            for at_s in np.linspace(0, motion.duration_s, PICTURES):
                joints = np.asarray(motion.joints(at_s))
                for view, pictures in taken.items():
                    pictures.append(jpeg.decode(jpeg.encode(camera(view, joints, 0.0))))
    return {view: np.stack(pictures) for view, pictures in taken.items()}


def _sign(folder: Path) -> None:
    """Have the contract state the statistics that are there now, and how fine the pictures are."""
    from armlet import contract as contracts
    from armlet.policies import read_checkpoint
    from armlet.policies.checkpoint.checkpoint import with_preprocessing

    file = folder / contracts.FILE_NAME
    contract = contracts.load(file)
    file.unlink()
    with_preprocessing(
        dataclasses.replace(contract, preprocessing=None), read_checkpoint(folder).preprocessor
    ).save(file)
