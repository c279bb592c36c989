"""What the demo showed, as text for the terminal and as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from armlet.client.measurements import Measurements
from armlet.datasets import Dataset
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
    """Camera frames of an episode, joints commanded and measured, reach errors."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure = plt.figure(figsize=(14, 10), layout="constrained")
    figure.suptitle("armlet demo: a policy trained on recorded episodes reaches for the target")
    rows: Any = figure.subfigures(3, 1, height_ratios=(1.25, 1.6, 0.9))
    # The target furthest from the middle of the workspace shows the most.
    shown = max(reaches, key=lambda reach: reach.baseline_m)
    evaluation = Dataset(plan.evaluation)
    _draw_frames(rows[0], evaluation, _episode_of(evaluation, shown))
    _draw_joints(rows[1], seen, shown)
    _draw_errors(rows[2], seen, reaches)
    figure.savefig(path, dpi=100)
    plt.close(figure)


def _episode_of(dataset: Dataset, reach: Reach) -> int:
    """The longest episode recorded during a reach: a gap may have split it."""
    inside = [
        info.episode
        for info in dataset.episodes
        if reach.since_ns <= dataset.episode(info.episode).stamp_ns[0] <= reach.until_ns
    ]
    return max(inside, key=lambda episode: dataset.episodes[episode].length)


def _draw_frames(figure: Any, dataset: Dataset, episode: int) -> None:
    length = dataset.episodes[episode].length
    indices = np.linspace(0, length - 1, _SHOWN).astype(int).tolist()
    cameras = list(dataset.info.cameras)
    axes = figure.subplots(len(cameras), _SHOWN, squeeze=False)
    for row, camera in zip(axes, cameras, strict=True):
        pictures = dataset.images(episode, camera, indices)
        for axis, picture, index in zip(row, pictures, indices, strict=True):
            axis.imshow(picture)
            axis.set_title(f"{camera}, {index / dataset.info.fps:.1f} s", fontsize=9)
            axis.axis("off")


def _draw_joints(figure: Any, seen: Measurements, reach: Reach) -> None:
    measured = seen.joint_rows("joint_states", reach.since_ns, reach.until_ns)
    sent = seen.joint_rows("applied_joint_commands", reach.since_ns, reach.until_ns)
    chunks = seen.chunks(reach.since_ns, reach.until_ns)
    axes = figure.subplots(2, 3, sharex=True).flat
    for index, (axis, joint) in enumerate(zip(axes, SO101_JOINTS, strict=True)):
        for chunk in chunks[::5]:
            axis.plot(chunk.times_s, chunk.rows[:, index], color="tab:green", lw=0.7, alpha=0.4)
        axis.plot(sent[0], sent[1][:, index], color="tab:orange", lw=1.8)
        axis.plot(measured[0], measured[1][:, index], color="tab:blue", lw=1.2)
        axis.set_title(joint, fontsize=9)
        axis.set_ylabel("rad", fontsize=8)
        axis.set_xlim(0, (reach.until_ns - reach.since_ns) * 1e-9)
        axis.grid(alpha=0.3)
    figure.legend(
        handles=_legend(
            ("policy chunks", "tab:green"), ("sent", "tab:orange"), ("measured", "tab:blue")
        ),
        loc="outside lower center",
        ncols=3,
        fontsize=9,
    )


def _legend(*entries: tuple[str, str]) -> list[Any]:
    from matplotlib.lines import Line2D

    return [Line2D([], [], color=color, label=label) for label, color in entries]


def _draw_errors(figure: Any, seen: Measurements, reaches: list[Reach]) -> None:
    over_time, bars, table = figure.subplots(1, 3)
    for reach in reaches:
        times, errors = seen.reach_rows(reach.since_ns, reach.until_ns)
        over_time.plot(times, 1000 * errors, lw=1)
    over_time.set(xlabel="s", ylabel="tip to target, mm", title="every reach")
    over_time.grid(alpha=0.3)
    numbers = np.arange(1, len(reaches) + 1)
    bars.bar(numbers - 0.2, [1000 * r.error_m for r in reaches], 0.4, label="policy")
    bars.bar(numbers + 0.2, [1000 * r.baseline_m for r in reaches], 0.4, label="without looking")
    bars.set(xlabel="target", ylabel="mm", title="final error")
    bars.set_xticks(numbers)
    bars.legend(fontsize=8)
    latency = 1000 * seen.latencies()
    table.hist(latency[:, 1], bins=20, alpha=0.7, label="inference")
    table.hist(latency[:, 0], bins=20, alpha=0.7, label="observation to chunk")
    table.set(xlabel="ms", title="policy latency")
    table.legend(fontsize=8)
