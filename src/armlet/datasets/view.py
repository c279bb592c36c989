"""Pictures of episodes for a person to look at: contact sheets, plots, and a page with both."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from armlet.files import replace_file

from .check.review_joints import lag_s
from .format import layout
from .format.errors import DatasetError
from .page import image, is_made_by, page, safe
from .reader import Dataset, EpisodeData

# A sheet is as wide as a page is read, its frames large enough to see the gripper.
_COLUMNS, _ROWS, _THUMB_WIDTH = 6, 3, 240
_GAP, _MARGIN, _LABEL = 6, 12, 26
_PAPER, _INK, _FAINT = (250, 250, 248), (40, 40, 40), (120, 120, 120)

STATE_COLOUR, ACTION_COLOUR, QUIET = "#1f6fb4", "#d9661f", "#8a8a86"


@dataclass(frozen=True)
class Page:
    """The page, and the episodes on it."""

    index: Path
    episodes: tuple[int, ...]


def draw(
    dataset: Dataset,
    episodes: Sequence[int],
    output: Path,
    progress: Callable[[int, int], None] | None = None,
) -> Page:
    """Draw episodes into a folder: a sheet per camera, a plot of the joints, index.html.

    A page of an earlier time is drawn over. Raises DatasetError if the folder holds something else,
    matplotlib is not installed, or an episode cannot be read; cameras whose videos are absent are
    named on the page instead.
    """
    _plotting()
    _require_own(output)
    output.mkdir(parents=True, exist_ok=True)
    index = output / "index.html"
    # First of all: what a kill leaves is known by it, and drawn over.
    replace_file(index, page(dataset.root.name, _COMMAND, "<p>Not finished.</p>").encode())
    sections = []
    for done, k in enumerate(episodes, 1):
        episode = dataset.episode(k)
        sections.append(_section(dataset, episode, output))
        if progress is not None:
            progress(done, len(episodes))
    overview = output / "overview.png"
    _plot_overview(dataset, overview)
    replace_file(index, _page(dataset, sections, overview.name).encode())
    return Page(index, tuple(episodes))


def _require_own(output: Path) -> None:
    """Raises DatasetError for a folder that holds anything but a page drawn here."""
    if not os.path.lexists(output):
        return
    mine = is_made_by(output / "index.html", _COMMAND)
    if output.is_dir() and (mine or not any(output.iterdir())):
        strange = [path for path in output.iterdir() if path.is_symlink() or not path.is_file()]
        if not strange:
            return
    raise DatasetError(
        f"{output} exists already and is not a page of `armlet dataset view`; choose a new "
        "folder with --output"
    )


def _plotting() -> Any:
    try:
        import matplotlib
    except ImportError as error:
        raise DatasetError(
            "plots are drawn by matplotlib; install it: pip install 'armlet[plot]'"
        ) from error
    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot


# --- contact sheets -----------------------------------------------------------------------------


def sheet(pictures: NDArray[np.uint8], times_s: Sequence[float], title: str) -> NDArray[np.uint8]:
    """Pictures (T, H, W, 3) in rows, each with its time below, as one picture, RGB."""
    height, width = pictures.shape[1:3]
    thumb = (_THUMB_WIDTH, max(1, round(height * _THUMB_WIDTH / width)))
    rows = -(-len(pictures) // _COLUMNS)
    columns = min(_COLUMNS, len(pictures))
    size = (
        2 * _MARGIN + 34 + rows * (thumb[1] + _LABEL + _GAP),
        2 * _MARGIN + columns * (thumb[0] + _GAP) - _GAP,
    )
    page = np.full((*size, 3), _PAPER, np.uint8)
    _write(page, title, (_MARGIN, _MARGIN + 16), 0.6, _INK)
    for number, (picture, time_s) in enumerate(zip(pictures, times_s, strict=True)):
        row, column = divmod(number, _COLUMNS)
        x = _MARGIN + column * (thumb[0] + _GAP)
        y = _MARGIN + 34 + row * (thumb[1] + _LABEL + _GAP)
        method = cv2.INTER_AREA if width > thumb[0] else cv2.INTER_LINEAR
        page[y : y + thumb[1], x : x + thumb[0]] = cv2.resize(picture, thumb, interpolation=method)
        _write(page, f"{time_s:.2f} s", (x, y + thumb[1] + 17), 0.45, _FAINT)
    return page


def _write(
    page: NDArray[np.uint8],
    text: str,
    place: tuple[int, int],
    size: float,
    colour: tuple[int, int, int],
) -> None:
    readable = text.encode("ascii", "replace").decode()  # OpenCV's letters are ASCII
    cv2.putText(page, readable, place, cv2.FONT_HERSHEY_SIMPLEX, size, colour, 1, cv2.LINE_AA)


def _chosen(length: int) -> NDArray[np.int64]:
    """Frames evenly over an episode, first and last among them."""
    count = min(length, _COLUMNS * _ROWS)
    return np.unique(np.linspace(0, length - 1, count).round().astype(np.int64))


def _draw_sheet(dataset: Dataset, episode: EpisodeData, camera: str, path: Path) -> None:
    chosen = _chosen(episode.info.length)
    pictures = dataset.images(episode.info.episode, camera, chosen.tolist())
    times_s = (chosen / dataset.info.fps).tolist()
    made = sheet(pictures, times_s, f"episode {episode.info.episode}, {camera}")
    done, content = cv2.imencode(".jpg", made[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])
    assert done
    replace_file(path, content.tobytes())


# --- plots --------------------------------------------------------------------------------------


def _plot_episode(dataset: Dataset, episode: EpisodeData, path: Path) -> None:
    """State and action of every joint over time, and below the skew of every stream."""
    pyplot = _plotting()
    columns = episode.columns
    state, action = columns.get(layout.STATE), columns.get(layout.ACTION)
    if state is None or action is None or state.ndim != 2:
        raise DatasetError(f"episode {episode.info.episode} has no joint vectors to plot")
    names = list(dataset.info.features[layout.STATE].names or map(str, range(state.shape[1])))
    times_s = np.arange(len(state)) / dataset.info.fps
    skew_s = columns.get(layout.SKEW)
    rows = -(-len(names) // 2)
    lines = rows + (skew_s is not None)
    height = 2.1 * lines
    # Room for labels in inches: matplotlib's own layouts draw everything twice to find it.
    figure, axes = pyplot.subplots(lines, 2, figsize=(12, height), squeeze=False)
    figure.subplots_adjust(
        left=0.6 / 12, right=1 - 0.15 / 12, bottom=0.45 / height, top=1 - 0.3 / height
    )
    figure.subplots_adjust(hspace=0.42, wspace=0.11)
    for axis in [*axes[:rows].flat[1:], *axes[rows:, 0]]:
        axis.sharex(axes[0, 0])
    for joint, name in enumerate(names):
        axis = axes[joint // 2, joint % 2]
        if joint < action.shape[1]:
            axis.plot(times_s, action[:, joint], color=ACTION_COLOUR, lw=1.3, label="action")
        axis.plot(times_s, state[:, joint], color=STATE_COLOUR, lw=1.3, label="state")
        _shade(axis, episode, dataset.info.fps)
        _title(axis, name.removesuffix(".pos"), _lag(action, state, joint, dataset.info.fps))
    axes[0, 0].legend(loc="best", frameon=False, fontsize=8, ncols=2)
    for axis in axes[rows - 1]:
        axis.set_xlabel("s", fontsize=8)
    if skew_s is not None:
        _plot_skew(dataset, axes[rows, 0], axes[rows, 1], times_s, skew_s)
    for axis in axes[:rows].flat[len(names) :]:
        axis.set_visible(False)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _shade(axis: Any, episode: EpisodeData, fps: int) -> None:
    """The rows that a person commanded, in an episode that not a person alone did."""
    try:
        turns = _turns_of_person(episode)
    except DatasetError:
        return  # said above the plot
    if turns == [(0, episode.info.length - 1)]:
        return
    for number, (first, last) in enumerate(turns):
        span = (first - 0.5) / fps, (last + 0.5) / fps
        axis.axvspan(*span, color=QUIET, alpha=0.25, lw=0, label="" if number else "person")


def _lag(action: NDArray[Any], state: NDArray[Any], joint: int, fps: int) -> str:
    if joint >= action.shape[1]:
        return ""
    found = lag_s(action[:, joint].astype(float), state[:, joint].astype(float), fps)
    return "" if found is None else f"state follows by {1000 * found[0]:.0f} ms"


def _title(axis: Any, name: str, note: str = "") -> None:
    axis.set_title(name, loc="left", fontsize=9, fontweight="bold")
    axis.set_title(note, loc="right", fontsize=8, color=QUIET)
    axis.tick_params(labelsize=7)
    axis.grid(color="#e4e4e0", lw=0.6)
    axis.set_axisbelow(True)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)


def _plot_skew(
    dataset: Dataset,
    over_time: Any,
    spread: Any,
    times_s: NDArray[np.float64],
    skew_s: NDArray[Any],
) -> None:
    streams = list(dataset.info.features[layout.SKEW].names or ())
    values = 1000 * np.asarray(skew_s, np.float64).reshape(len(times_s), -1)
    colours = ["#1f6fb4", "#d9661f", "#3a8f4d", "#8d5bb0", "#b0413e", "#6b6b66"]
    for column, name in enumerate(streams):
        colour = colours[column % len(colours)]
        over_time.plot(times_s, values[:, column], lw=1.0, color=colour, label=name)
        spread.hist(values[:, column], bins=40, histtype="step", lw=1.3, color=colour, label=name)
    _title(over_time, "skew of each stream's sample, ms", "its stamp - the frame's")
    _title(spread, "how often each skew, ms")
    spread.set_xlabel("ms", fontsize=8)
    over_time.legend(loc="best", frameon=False, fontsize=7, ncols=len(streams))


def _plot_overview(dataset: Dataset, path: Path) -> None:
    """Lengths of all episodes, and how far each joint goes."""
    pyplot = _plotting()
    figure, (lengths, ranges) = pyplot.subplots(1, 2, figsize=(12, 3.2), layout="constrained")
    seconds = [episode.duration_s for episode in dataset.episodes]
    lengths.bar(range(len(seconds)), seconds, color=STATE_COLOUR, width=0.8)
    lengths.xaxis.get_major_locator().set_params(integer=True)
    _title(lengths, "length of each episode, s")
    lengths.set_xlabel("episode", fontsize=8)
    try:
        statistics = dataset.statistics
    except DatasetError:
        statistics = {}  # `armlet dataset check` reports it
    names = list(dataset.info.features[layout.STATE].names or ()) if _plain(dataset) else []
    for key, shift, colour in (
        (layout.ACTION, 0.17, ACTION_COLOUR),
        (layout.STATE, -0.17, STATE_COLOUR),
    ):
        found = statistics.get(key)
        if not names or found is None or len(found["min"].ravel()) != len(names):
            continue
        places = np.arange(len(names)) + shift
        low, high = found["min"].ravel(), found["max"].ravel()
        ranges.barh(places, high - low, left=low, height=0.3, color=colour, alpha=0.35)
        middle, spread = found["mean"].ravel(), found["std"].ravel()
        ranges.errorbar(
            middle, places, xerr=spread, fmt="o", ms=4, color=colour, label=key.split(".")[-1]
        )
    ranges.set_yticks(range(len(names)), [name.removesuffix(".pos") for name in names])
    ranges.invert_yaxis()
    if names:
        ranges.legend(loc="best", frameon=False, fontsize=8)
    _title(ranges, "range, mean and standard deviation of each joint")
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _plain(dataset: Dataset) -> bool:
    return layout.STATE in dataset.info.features


# --- the page -----------------------------------------------------------------------------------

# What made a page here, and may draw over it.
_COMMAND = "dataset view"


def _section(dataset: Dataset, episode: EpisodeData, output: Path) -> str:
    k = episode.info.episode
    tasks = safe(", ".join(episode.info.tasks))
    parts = [
        f"<h2 id='e{k}'>Episode {k}</h2>",
        f"<p>{tasks} · {episode.info.length} frames · {episode.info.duration_s:.1f} s</p>",
        *_driven(dataset, episode),
    ]
    for camera in dataset.info.cameras:
        name = f"episode-{k:06d}-{camera}.jpg".replace("/", "_")
        try:
            _draw_sheet(dataset, episode, camera, output / name)
            parts.append(image(name, camera))
        except DatasetError as error:
            parts.append(f"<p class='bad'>{safe(error)}</p>")
    plot = f"episode-{k:06d}.png"
    try:
        _plot_episode(dataset, episode, output / plot)
        parts.append(image(plot, f"joints of episode {k}"))
    except DatasetError as error:
        parts.append(f"<p class='bad'>{safe(error)}</p>")
    return "\n".join(parts)


def _driven(dataset: Dataset, episode: EpisodeData) -> list[str]:
    """Who commanded an episode's rows: as it was noted, or else by its column."""
    try:
        noted = dataset.provenance(episode.info.episode)
    except DatasetError as error:
        return [f"<p class='bad'>{safe(error)}</p>"]
    if noted is not None:
        return [f"<p>{safe(noted.said(), 2000)}</p>"]
    try:
        turns = ", ".join(f"{first}-{last}" for first, last in _turns_of_person(episode))
    except DatasetError as error:
        return [f"<p class='bad'>{safe(error)}</p>"]
    return [f"<p>{safe(f'{layout.INTERVENTION}: rows {turns}', 2000)}</p>"] if turns else []


def _turns_of_person(episode: EpisodeData) -> list[tuple[int, int]]:
    """First and last row of each, by the column `intervention`; none where there is no such.

    Raises DatasetError where that says something else.
    """
    if layout.INTERVENTION not in episode.columns:
        return []
    said = episode.by_person
    edges = np.flatnonzero(np.diff(said, prepend=False, append=False)).reshape(-1, 2)
    return [(first, end - 1) for first, end in edges.tolist()]


def _page(dataset: Dataset, sections: Sequence[str], overview: str) -> str:
    info = dataset.info
    cameras = ", ".join(
        f"{name} {feature.shape[1]}x{feature.shape[0]}" for name, feature in info.cameras.items()
    )
    seconds = info.total_frames / info.fps
    summary = (
        f"LeRobot {info.version} · {info.robot_type} · {info.total_episodes} episodes · "
        f"{info.total_frames} frames · {seconds // 60:.0f} min {seconds % 60:.0f} s at "
        f"{info.fps} fps · {cameras or 'no cameras'}"
    )
    shown = (
        ""
        if len(sections) == info.total_episodes
        else f"<p>{len(sections)} of {info.total_episodes} episodes are shown.</p>"
    )
    title = dataset.root.absolute().name
    head = f"<p>{safe(summary, 5000)}</p>{shown}{image(overview, 'overview')}"
    return page(title, _COMMAND, head + "\n".join(sections))


# --- Rerun --------------------------------------------------------------------------------------


def open_rerun(dataset: Dataset, episodes: Sequence[int]) -> None:
    """Show episodes in the Rerun viewer. Raises DatasetError if it is not installed."""
    try:
        import rerun  # type: ignore[import-not-found,unused-ignore]
    except ImportError as error:
        raise DatasetError(
            "Rerun is not installed; install it: pip install rerun-sdk, or leave --rerun out"
        ) from error
    rerun.init(dataset.root.absolute().name, spawn=True)
    for k in episodes:
        episode = dataset.episode(k)
        _log_joints(rerun, dataset, episode)
        for camera in dataset.info.cameras:
            for frame in range(episode.info.length):
                (picture,) = dataset.images(k, camera, [frame])
                _at(rerun, frame, dataset.info.fps)
                rerun.log(f"episode_{k}/{camera}", rerun.Image(picture).compress())


def _log_joints(rerun: Any, dataset: Dataset, episode: EpisodeData) -> None:
    k = episode.info.episode
    for key, values in ((layout.STATE, episode.state), (layout.ACTION, episode.action)):
        names = dataset.info.features[key].names or tuple(map(str, range(values.shape[1])))
        for frame, row in enumerate(values):
            _at(rerun, frame, dataset.info.fps)
            for name, value in zip(names, row.tolist(), strict=False):
                rerun.log(f"episode_{k}/{name}/{key.split('.')[-1]}", rerun.Scalars(value))


def _at(rerun: Any, frame: int, fps: int) -> None:
    rerun.set_time("frame", sequence=frame)
    rerun.set_time("time", duration=frame / fps)
