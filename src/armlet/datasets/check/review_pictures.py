"""Do the pictures show something, something new every time, and what their statistics say?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from armlet.datasets.format import layout, stats
from armlet.datasets.format.errors import DatasetError
from armlet.datasets.format.layout import Info
from armlet.datasets.format.tables import EpisodeRow
from armlet.files import parted
from armlet.findings import Code, Finding, Severity

from . import video_activity
from .integrity import FETCH, TIMESTAMP_TOLERANCE_S
from .review_joints import MOVING
from .rows import Rows, of_episode

OF_VIDEOS = frozenset(
    {
        Code.DATASET_VIDEO_RATE,
        Code.DATASET_VIDEO_UNREADABLE,
        Code.DATASET_CAMERA_FROZEN,
        Code.DATASET_SCENE_STILL,
        Code.DATASET_VIDEO_OTHER,
    }
)
"""What is found by decoding every picture."""
# Picture values are 0..1.
DARK, FLAT, DRIFT = 0.03, 0.02, 0.12
# Stored mean brightness against that of the decoded pictures.
BRIGHTNESS = 0.04


# --- pictures ---------------------------------------------------------------------------------


def picture_findings(info: Info, rows: list[EpisodeRow]) -> Iterator[Finding]:
    """Judged by the statistics of each episode's pictures, without decoding any."""
    for key, feature in info.features.items():
        if not feature.is_picture or feature.is_depth:
            continue
        means = {
            row.episode: float(np.mean(row.stats[key]["mean"]))
            for row in rows
            if key in row.stats and "mean" in row.stats[key]
        }
        usual = float(np.median(list(means.values()))) if means else 0.0
        for row in rows:
            if row.episode not in means:
                continue
            mean, found = means[row.episode], row.stats[key]
            said, code = "", Code.DATASET_IMAGE_UNIFORM
            if mean < DARK:
                code = Code.DATASET_IMAGE_DARK
                said, fix = (
                    f"pictures are dark, mean {mean:.3f} of 1",
                    "uncover the lens, and remove the episode",
                )
            elif not overflown(found) and float(np.max(found["std"])) < FLAT:
                said, fix = (
                    "pictures show next to nothing",
                    "uncover the lens, and remove the episode",
                )
            elif abs(mean - usual) > DRIFT:
                code = Code.DATASET_BRIGHTNESS_CHANGED
                said = f"brightness {mean:.2f} of 1, in the other episodes {usual:.2f}"
                fix = "lock exposure and white balance, and keep the light"
            if said:
                yield Finding(
                    code,
                    Severity.WARNING,
                    f"episode {row.episode} {key}",
                    found=said,
                    fix=fix,
                    values=of_episode(row.episode),
                )


def video_findings(
    root: Path,
    info: Info,
    episodes: list[Rows],
    frozen_s: float,
    progress: Callable[[int, int], None] | None,
) -> Iterator[Finding]:
    for done, episode in enumerate(episodes, 1):
        for key in info.video_keys:
            span = episode.row.videos.get(key)
            if span is None:
                continue
            try:
                path = layout.locate(root, info.video_path(key, span.number))
                if not path.exists():
                    continue
                seen = video_activity.look(
                    path,
                    round(span.from_s * info.fps),
                    episode.row.length,
                    info.fps,
                )
            except video_activity.VideoRateError as error:
                yield Finding(
                    Code.DATASET_VIDEO_RATE,
                    Severity.ERROR,
                    f"{episode.where} {key}",
                    values=of_episode(episode.row.episode),
                    found=str(error),
                    fix=_encode_again(info.fps),
                )
                continue
            except DatasetError as error:
                said, fix = parted(error, FETCH)
                code = Code.DATASET_VIDEO_UNREADABLE
                values = of_episode(episode.row.episode)
                yield Finding(code, Severity.ERROR, "", found=said, fix=fix, values=values)
                continue
            yield from _off_grid(episode, key, seen, info.fps)
            if not info.features[key].is_depth:
                yield from _frozen(episode, key, seen, info.fps, frozen_s)
                yield from _other_pictures(episode.row, key, seen)
        if progress is not None:
            progress(done, len(episodes))


def _frozen(
    episode: Rows, key: str, seen: video_activity.VideoActivity, fps: int, frozen_s: float
) -> Iterator[Finding]:
    where = f"{episode.where} {key}"
    for run in seen.still(max(2, round(frozen_s * fps))):
        motion = episode.state[run.first : run.first + run.count]
        moved = float(np.ptp(motion, axis=0).max()) if motion.size else 0.0
        text = (
            f"{run.count} pictures from frame {run.first} on are the same, {run.count / fps:.1f} s"
        )
        if moved > MOVING:
            yield Finding(
                Code.DATASET_CAMERA_FROZEN,
                Severity.ERROR,
                where,
                values=of_episode(episode.row.episode),
                found=f"{text}, while a joint moved {moved:.0f}",
                fix="the camera froze: remove the episode",
            )
        elif run.count > 5 * fps:
            yield Finding(
                Code.DATASET_SCENE_STILL,
                Severity.WARNING,
                where,
                values=of_episode(episode.row.episode),
                found=f"{text}; the arm did not move either",
                fix="cut the pause, or check the camera",
            )


def _off_grid(
    episode: Rows, key: str, seen: video_activity.VideoActivity, fps: int
) -> Iterator[Finding]:
    """LeRobot looks for each row's picture within its tolerance of the row's time."""
    if seen.off_grid_s > TIMESTAMP_TOLERANCE_S:
        yield Finding(
            Code.DATASET_VIDEO_RATE,
            Severity.ERROR,
            f"{episode.where} {key}",
            values=of_episode(episode.row.episode),
            found=f"a picture lies {1000 * seen.off_grid_s:.1f} ms from its frame's time, more "
            f"than LeRobot's {1000 * TIMESTAMP_TOLERANCE_S:.1f} ms: it was recorded at a rate that "
            "varies, and LeRobot cannot load it",
            fix=_encode_again(fps),
        )


def _encode_again(fps: int) -> str:
    return f"encode the video again at a constant {fps} pictures a second"


def _other_pictures(
    row: EpisodeRow, key: str, seen: video_activity.VideoActivity
) -> Iterator[Finding]:
    if key not in row.stats or "mean" not in row.stats[key]:
        return
    red, green, blue = np.asarray(row.stats[key]["mean"], float).ravel()[:3]
    stored = 0.299 * red + 0.587 * green + 0.114 * blue
    if abs(stored - seen.brightness) > BRIGHTNESS:
        yield Finding(
            Code.DATASET_VIDEO_OTHER,
            Severity.ERROR,
            f"episode {row.episode} {key}",
            values=of_episode(row.episode),
            found=f"statistics are of pictures of brightness {stored:.2f}, the video's is "
            f"{seen.brightness:.2f}",
            fix="is it the right video? if so, `armlet dataset stats --write`",
        )


def overflown(picture: stats.Stats) -> bool:
    """Whether a picture's std was computed of squares that had overflown."""
    if {"q10", "q90"} <= picture.keys():
        return stats.std_below_quantiles(picture)
    # A value at each end and the rest at the mean would still give this much.
    return bool((picture["std"] < 1e-3 * (picture["max"] - picture["min"])).any())
