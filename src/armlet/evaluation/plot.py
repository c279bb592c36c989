"""Errors over the horizon, joint by joint, and each episode's score, as one picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from armlet.files import check_output_file, replace_picture
from armlet.policies.fit.check_picture import plotting

from .evaluate import MEAN, STAY, A, B, Evaluation
from .report import BASELINE_NAMES

FORMATS = (".png", ".svg", ".pdf")
_COLOURS = {A: "#1f6fb4", B: "#d9661f", STAY: "#8a8a86", MEAN: "#bdbdb8"}
_COLUMNS = 3


def check_path(path: Path) -> None:
    """Raise an error, before anything is computed, if nothing can be drawn there.

    ValueError for a name with another ending, OSError where no file can be written, RuntimeError
    without matplotlib.
    """
    if path.suffix.lower() not in FORMATS:
        raise ValueError(f"--plot {path}: expected a name that ends with {', '.join(FORMATS)}")
    check_output_file(path)
    plotting()


def draw(found: Evaluation, path: Path) -> None:
    """Write the picture, whole or not at all. Raises RuntimeError without matplotlib, OSError."""
    pyplot = plotting()
    count = len(found.joints)
    lines = -(-count // _COLUMNS) + 1
    figure = pyplot.figure(figsize=(4.2 * _COLUMNS, 2.6 * lines), layout="constrained")
    # The legend has a row of its own: matplotlib 3.6 has no legend outside the axes.
    grid = figure.add_gridspec(1 + lines, _COLUMNS, height_ratios=[0.1, *[1] * lines])
    for i in range(count):
        row, column = divmod(i, _COLUMNS)
        _joint(figure.add_subplot(grid[1 + row, column]), found, i)
    _episodes(figure.add_subplot(grid[lines, :]), found)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    top = figure.add_subplot(grid[0, :])
    top.set_axis_off()
    top.legend(handles, labels, loc="center", ncols=4, frameon=False, fontsize=9)
    replace_picture(path, figure, dpi=110)
    pyplot.close(figure)


def _name(predictor: str) -> str:
    return BASELINE_NAMES.get(predictor, f"policy {predictor}")


def _joint(axes: Any, found: Evaluation, joint: int) -> None:
    times_s = np.arange(found.horizon) / found.fps
    for name, errors in found.errors.items():
        dashed = "--" if name in BASELINE_NAMES else "-"
        label = _name(name)
        axes.plot(
            times_s, errors.by_step[:, joint], dashed, color=_COLOURS[name], lw=1.4, label=label
        )
    name = found.joints[joint]
    axes.set_title(name.removesuffix(".pos"), loc="left", fontsize=9, fontweight="bold")
    axes.set_title(found.units.get(name, "dataset units"), loc="right", fontsize=8)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("s ahead", fontsize=8)
    _quiet(axes)


def _episodes(axes: Any, found: Evaluation) -> None:
    places = np.arange(len(found.episodes))
    width = 0.8 / len(found.errors)
    for at, name in enumerate(found.errors):
        axes.bar(places + (at + 0.5) * width - 0.4, found.scores(name), width, color=_COLOURS[name])
    axes.set_xticks(places, [str(k) for k in found.episodes])
    axes.set_title("mean error by episode, standard deviations", loc="left", fontsize=9)
    axes.set_xlabel("episode", fontsize=8)
    _quiet(axes)


def _quiet(axes: Any) -> None:
    axes.tick_params(labelsize=7)
    axes.grid(color="#e4e4e0", lw=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
