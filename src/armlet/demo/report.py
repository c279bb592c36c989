"""What the demo showed, as text for the terminal and as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from armlet.client.measurements import Measurements
from armlet.datasets import Dataset
from armlet.files import replace_picture
from armlet.nodes.status_names import BUS, frames_of, status_name
from armlet.robots import SO101_JOINTS

from .demo import DemoPlan, Reach

_SHOWN = 5
# What the sim graph aligns for the policy.
_FRAMES = frames_of(("state", "front", "wrist"))


def report_text(plan: DemoPlan, picture: Path, seen: Measurements, reaches: list[Reach]) -> str:
    """Rates, latencies, drops and reach errors."""
    dataset, evaluation = Dataset(plan.dataset), Dataset(plan.evaluation)
    frames = seen.status().get(status_name("aligner", _FRAMES), {})
    bus = seen.status().get(status_name("servo_bus", BUS), {})
    lines = [
        "",
        f"joint_states {seen.rate_hz('joint_states'):.1f} Hz, "
        f"aligned frames {seen.rate_hz('observation/state'):.1f} Hz",
        latency_line(seen, plan.simulated),
        f"aligner: {frames.get('frames', '?')} frames, {frames.get('missed_frames', '?')} missed; "
        f"bus: {bus.get('cycles', '?')} cycles, {bus.get('unread', '?')} unread, "
        f"{bus.get('timeouts', '?')} timeouts",
        reach_line(reaches),
        f"recorded {len(dataset.episodes)} demonstrations in {plan.dataset}, "
        f"{len(evaluation.episodes)} policy episodes in {plan.evaluation}",
        f"picture: {picture}",
    ]
    return "\n".join(lines)


def latency_line(seen: Measurements, simulated: bool) -> str:
    """Median times of the policy. simulated: what inference takes was declared, not measured."""
    whole, inference = 1000 * np.median(seen.latencies(), axis=0)
    declared = " of simulated time, as declared" if simulated else ""
    return (
        f"policy: inference {inference:.0f} ms{declared}, observation to chunk {whole:.0f} ms "
        "(median)"
    )


def reach_line(reaches: list[Reach]) -> str:
    """How near the policy came to its targets, beside an arm that does not look."""
    errors = 1000 * np.array([reach.error_m for reach in reaches])
    blind = 1000 * np.array([reach.baseline_m for reach in reaches])
    return (
        f"reach error over {len(reaches)} random targets: policy {errors.mean():.0f} mm "
        f"(worst {errors.max():.0f}); without looking, always to the middle of the workspace, "
        f"{blind.mean():.0f} mm (worst {blind.max():.0f})"
    )


def draw_report(path: Path, plan: DemoPlan, seen: Measurements, reaches: list[Reach]) -> None:
    """What the policy saw of a target, how near it came to all, how it moved, how long it took."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure = plt.figure(figsize=(14, 12.4), layout="constrained")
    figure.suptitle(_headline(reaches), fontsize=17, fontweight="bold")
    rows: Any = figure.subfigures(3, 1, height_ratios=(4.5, 3.6, 4.0))
    # The target furthest from the middle of the workspace shows the most.
    shown = max(range(len(reaches)), key=lambda index: reaches[index].baseline_m)
    evaluation = Dataset(plan.evaluation)
    _draw_frames(rows[0], evaluation, _episode_of(evaluation, reaches[shown]), shown + 1)
    _draw_outcome(rows[1], seen, reaches, plan.simulated)
    _draw_joints(rows[2], seen, reaches[shown], shown + 1)
    replace_picture(path, figure, dpi=100)
    plt.close(figure)


def _headline(reaches: list[Reach]) -> str:
    errors = 1000 * np.array([reach.error_m for reach in reaches])
    return (
        "armlet demo: the policy sees camera pictures and joint angles, nothing else,\n"
        f"and reaches {len(reaches)} new targets to {errors.mean():.0f} mm (mean)"
    )


def _episode_of(dataset: Dataset, reach: Reach) -> int:
    """The longest episode recorded during a reach: a gap may have split it."""
    inside = [
        info.episode
        for info in dataset.episodes
        if reach.since_ns <= dataset.episode(info.episode).stamp_ns[0] <= reach.until_ns
    ]
    return max(inside, key=lambda episode: dataset.episodes[episode].length)


def _head(figure: Any, text: str) -> None:
    figure.suptitle(text, x=0.01, ha="left", fontsize=13, fontweight="bold", color="tab:blue")


def _draw_frames(figure: Any, dataset: Dataset, episode: int, target: int) -> None:
    length = dataset.episodes[episode].length
    indices = np.linspace(0, length - 1, _SHOWN).astype(int).tolist()
    cameras = list(dataset.info.cameras)
    _head(figure, f"1  What the policy saw on its way to target {target}, the red disc")
    axes = figure.subplots(len(cameras), _SHOWN, squeeze=False)
    for row, camera in zip(axes, cameras, strict=True):
        pictures = dataset.images(episode, camera, indices)
        for axis, picture in zip(row, pictures, strict=True):
            axis.imshow(picture)
            axis.set(xticks=[], yticks=[])
        row[0].set_ylabel(f"{camera} camera")
    for axis, index in zip(axes[0], indices, strict=True):
        axis.set_title(f"{index / dataset.info.fps:.0f} s", fontsize=10)


def _draw_outcome(figure: Any, seen: Measurements, reaches: list[Reach], simulated: bool) -> None:
    _head(figure, "2  How near it came to each target, and how fast it answers")
    over_time, final, times = figure.subplots(1, 3)
    _draw_approach(over_time, seen, reaches)
    _draw_errors(final, reaches)
    _draw_latency(times, seen, simulated)


def _draw_approach(axis: Any, seen: Measurements, reaches: list[Reach]) -> None:
    for number, reach in enumerate(reaches, 1):
        times, errors = seen.reach_rows(reach.since_ns, reach.until_ns)
        axis.plot(times, 1000 * errors, lw=1.5, label=f"target {number}")
    axis.axhline(0, color="black", lw=1)
    axis.set(xlabel="time, s", ylabel="gripper to target, mm", title="distance on the way")
    axis.set_ylim(bottom=-5)
    axis.legend(fontsize=8)
    axis.grid(alpha=0.3)


def _draw_errors(axis: Any, reaches: list[Reach]) -> None:
    """Pairs of bars, each with its number: the policy's are too low to be read off the axis."""
    numbers = np.arange(1, len(reaches) + 1)
    for offset, color, label, errors in (
        (-0.2, "tab:blue", "the policy", [1000 * r.error_m for r in reaches]),
        (
            0.2,
            "silver",
            "an arm that does not look, and goes to the middle",
            [1000 * r.baseline_m for r in reaches],
        ),
    ):
        bars = axis.bar(numbers + offset, errors, 0.4, color=color, label=label)
        axis.bar_label(bars, fmt="%.0f", fontsize=9)
    axis.set(xlabel="target", title="distance at the end, mm")
    axis.set_xticks(numbers)
    axis.margins(y=0.38)  # room for the legend, above the bars
    axis.legend(fontsize=9, loc="upper center")


def _draw_latency(axis: Any, seen: Measurements, simulated: bool) -> None:
    """A bar from the observation to the chunk of actions, its parts named; times are medians."""
    whole, inference = 1000 * np.median(seen.latencies(), axis=0)
    rest = max(0.0, whole - inference)
    declared = ", as declared" if simulated else ""
    parts = (
        ("making the frame, messages", 0.0, rest, "tab:orange"),
        (f"the network{declared}", rest, inference, "tab:blue"),
    )
    for row, (label, begin, length, color) in enumerate(parts):
        axis.barh(row, length, 0.5, left=begin, color=color)
        axis.text(begin, row - 0.3, f" {label}: {length:.0f} ms", fontsize=11, va="bottom")
    axis.set(
        xlabel="ms after the pictures were taken", title=f"answer after {whole:.0f} ms (median)"
    )
    axis.set_xlim(0, 1.1 * whole)
    axis.set_ylim(1.5, -0.6)
    axis.set_yticks([])
    axis.grid(alpha=0.3, axis="x")


def _draw_joints(figure: Any, seen: Measurements, reach: Reach, target: int) -> None:
    measured = seen.joint_rows("joint_states", reach.since_ns, reach.until_ns)
    sent = seen.joint_rows("applied_joint_commands", reach.since_ns, reach.until_ns)
    chunks = seen.chunks(reach.since_ns, reach.until_ns)
    _head(figure, f"3  How the joints moved on the way to target {target}, in degrees over seconds")
    # The legend has a row of its own: matplotlib 3.6 has no legend outside the axes.
    grid = figure.add_gridspec(3, 3, height_ratios=[1, 1, 0.12])
    for index, joint in enumerate(SO101_JOINTS):
        axis = figure.add_subplot(grid[divmod(index, 3)])
        for chunk in chunks[::5]:
            planned = np.degrees(chunk.rows[:, index])
            axis.plot(chunk.times_s, planned, color="tab:green", lw=0.7, alpha=0.4)
        axis.plot(sent[0], np.degrees(sent[1][:, index]), color="tab:orange", lw=1.8)
        axis.plot(measured[0], np.degrees(measured[1][:, index]), color="tab:blue", lw=1.2)
        axis.set_title(joint, fontsize=10)
        axis.set_xlim(0, (reach.until_ns - reach.since_ns) * 1e-9)
        axis.grid(alpha=0.3)
        axis.tick_params(labelbottom=index >= 3)
    bottom = figure.add_subplot(grid[2, :])
    bottom.set_axis_off()
    bottom.legend(
        handles=_legend(
            ("planned by the policy (every fifth chunk of actions)", "tab:green"),
            ("sent to the servos", "tab:orange"),
            ("measured", "tab:blue"),
        ),
        loc="center",
        ncols=3,
        fontsize=10,
    )


def _legend(*entries: tuple[str, str]) -> list[Any]:
    from matplotlib.lines import Line2D

    return [Line2D([], [], color=color, label=label) for label, color in entries]
