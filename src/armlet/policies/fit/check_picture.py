"""A page that shows what a policy is fed: its input made visible again, beside training frames."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from armlet.files import replace_picture
from armlet.policies.checkpoint.checkpoint import Checkpoint
from armlet.policies.config.base import STATE, camera_name
from armlet.policies.observation import Observation

from .comparisons import reading
from .feature_stats import Floats, frozen_statistics
from .network_input import scale
from .samples import Samples

_COLOURS = ("#c0392b", "#27ae60", "#2471a3")
_BINS = 48
_DPI = 110


def draw(
    checkpoint: Checkpoint,
    samples: Sequence[Samples],
    joint_units: str,
    names: Sequence[str],
    path: Path,
) -> None:
    """Write the page as PNG: a row per camera, then the joints.

    A camera's row: a picture as the source gives it, the network's input de-normalized by the
    frozen statistics (both look alike if preprocessing is right), for every source; then the
    channels' histograms of all sources over the normal distribution the frozen statistics describe.
    Raises RuntimeError if matplotlib is not installed, ObservationError for pictures the policy
    does not take.
    """
    pyplot = plotting()
    cameras = [camera_name(key) for key in checkpoint.config.image_features]
    shown = [source for source in samples if all(name in source.images for name in cameras)]
    columns, rows = 2 * len(shown) + 1, len(cameras) + 1
    figure = pyplot.figure(figsize=(3.2 * columns + 1.6, 2.7 * rows), layout="constrained")
    grid = figure.add_gridspec(rows, columns, width_ratios=[*[1.0] * (columns - 1), 1.5])
    for row, name in enumerate(cameras):
        for at, source in enumerate(shown):
            pair = (source.images[name][0], seen_by_network(checkpoint, source, name, joint_units))
            titles = (f"{name}: {source.source}", "the network's input, de-normalized")
            for side, (picture, title) in enumerate(zip(pair, titles, strict=True)):
                axes = figure.add_subplot(grid[row, 2 * at + side])
                axes.imshow(picture)
                axes.set_title(title, fontsize=8)
                axes.set_axis_off()
        _histograms(figure.add_subplot(grid[row, columns - 1]), checkpoint, shown, name)
    _joints(figure.add_subplot(grid[rows - 1, :]), checkpoint, samples, joint_units, names)
    replace_picture(path, figure, _DPI)
    pyplot.close(figure)


def seen_by_network(
    checkpoint: Checkpoint, source: Samples, camera: str, joint_units: str
) -> NDArray[np.uint8]:
    """A source's first picture through the policy's Preprocessor and back: uint8 (H, W, 3).

    The way back is by the frozen statistics alone, so that an input that was normalized by others,
    or not at all, looks wrong. Raises ObservationError.
    """
    states = reading(source, joint_units)
    size = checkpoint.config.state_size or 0
    state = np.zeros(size) if states is None or not len(states) else states[0]
    images = {name: pictures[0] for name, pictures in source.images.items()}
    inputs = checkpoint.preprocessor(Observation(state.astype(np.float32), images))
    key = next(k for k in checkpoint.config.image_features if camera_name(k) == camera)
    pixels = _unnormalized(checkpoint, key, inputs[key][0].cpu().numpy().astype(np.float64))
    levels = np.clip(np.rint(pixels.transpose(1, 2, 0) * 255), 0, 255)
    picture: NDArray[np.uint8] = levels.astype(np.uint8)
    return picture


def _unnormalized(checkpoint: Checkpoint, key: str, values: Floats) -> Floats:
    """The inverse of the mode's formula, by the statistics as stored."""
    to = scale(checkpoint, key)
    own: Floats = values / to.slope.reshape(-1, 1, 1) + to.offset.reshape(-1, 1, 1)
    return own


def _histograms(axes: Any, checkpoint: Checkpoint, sources: Sequence[Samples], camera: str) -> None:
    frozen = {camera_name(k): f for k, f in frozen_statistics(checkpoint).items()}[camera]
    edges = np.linspace(0, 1, _BINS + 1)
    for source in sources:
        pixels = source.images[camera].reshape(-1, 3) / 255
        for channel, colour in enumerate(_COLOURS):
            density, _ = np.histogram(pixels[:, channel], edges, density=True)
            axes.stairs(
                density,
                edges,
                color=colour,
                linestyle="-" if source.live else "--",
                label=source.source if channel == 0 else None,
            )
    if frozen.mean is not None:
        at = np.linspace(0, 1, 200)
        for mean, std, colour in zip(frozen.mean, frozen.spread(), _COLOURS, strict=True):
            curve = np.exp(-((at - mean) ** 2) / (2 * std**2)) / (std * np.sqrt(2 * np.pi))
            axes.fill_between(at, curve, color=colour, alpha=0.12)
        axes.set_title("levels; shaded: frozen mean and std", fontsize=8)
    else:
        axes.set_title("levels; the statistics are not this camera's", fontsize=8)
    axes.set_yticks([])
    axes.tick_params(labelsize=7)
    if sources:
        axes.legend(fontsize=7)


def _joints(
    axes: Any,
    checkpoint: Checkpoint,
    samples: Sequence[Samples],
    joint_units: str,
    names: Sequence[str],
) -> None:
    """Every joint in standard deviations from the training mean, the training range shaded."""
    frozen = frozen_statistics(checkpoint).get(STATE)
    if frozen is None or frozen.mean is None:
        axes.set_axis_off()
        return
    at = np.arange(len(frozen.mean))
    spread = frozen.spread()
    if frozen.low is not None and frozen.high is not None:
        low, high = (frozen.low - frozen.mean) / spread, (frozen.high - frozen.mean) / spread
        axes.bar(at, high - low, 0.8, bottom=low, color="#d5dbdb", label="training range")
    for order, source in enumerate(samples):
        states = reading(source, joint_units)
        if states is None or states.ndim != 2 or states.shape[1] != len(at) or not len(states):
            continue
        sigma = (states - frozen.mean) / spread
        place = at + 0.25 * (order - (len(samples) - 1) / 2)
        median = np.median(sigma, axis=0)
        reach = np.abs(np.quantile(sigma, [0.05, 0.95], axis=0) - median)
        axes.errorbar(place, median, reach, fmt="o", capsize=3, label=source.source)
    labels = [name.removesuffix(".pos") for name in names]
    axes.set_xticks(at, labels if len(labels) == len(at) else [str(i) for i in at], fontsize=8)
    axes.set_ylabel("sigma from the training mean", fontsize=8)
    axes.legend(fontsize=7, loc="upper right")
    axes.grid(axis="y", alpha=0.3)


def plotting() -> Any:
    """matplotlib's pyplot, drawing into files. Raises RuntimeError if it is not installed."""
    try:
        import matplotlib
    except ImportError as error:
        raise RuntimeError(
            "the picture is drawn by matplotlib; install it: pip install 'armlet[plot]'"
        ) from error
    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot
