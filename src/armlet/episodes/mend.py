"""Mends a v2.1 dataset that a crash of LeRobot left inconsistent.

LeRobot 0.3 saves an episode in this order: tasks.jsonl, the data file, the videos, info.json,
episodes.jsonl, episodes_stats.jsonl, and only then removes the pictures it encoded. A crash leaves
any beginning of that. An episode whose rows are whole and whose videos are whole, or can still be
encoded from its pictures, is completed; one that cannot be is removed if it is the last. Rows are
the truth: what info.json, episodes.jsonl and episodes_stats.jsonl say otherwise is corrected.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from . import doctor, durable, layout, restat, salvage, tables, video
from .errors import DatasetError
from .layout import Info
from .pictures import Developer
from .reel import Reel, index_path
from .tables import EpisodeRow, VideoSpan
from .video import Encoder, Format
from .writer import recover

IMAGES = Path("images")
_CODECS = {"av1": "libsvtav1", "h264": "h264", "hevc": "hevc"}


@dataclass(frozen=True)
class Step:
    """One thing to do, in words and as a deed."""

    said: str
    do: Callable[[], None]


@dataclass(frozen=True)
class _Found:
    """What is there of an episode: its rows, and the cameras whose video has to be encoded."""

    rows: int
    tasks: tuple[int, ...]
    to_encode: tuple[str, ...]


def plan(root: Path) -> list[Step]:
    """What has to be done to a v2.1 dataset, in order; nothing if it is whole. Changes nothing.

    Raises DatasetError where an episode before a whole one is broken: no crash does that, and
    removing it would renumber the others.
    """
    info = layout.load_info(root)
    if not info.is_v2:
        raise DatasetError(f"{root} is {info.version}, not v2.1")
    names = _lines(root / layout.TASK_LINES)
    tasks = {int(line["task_index"]): str(line["task"]) for line in names}
    listed = {int(line["episode_index"]): line for line in _lines(root / layout.EPISODE_LINES)}
    known = {int(line["episode_index"]): line for line in _lines(root / layout.STATS_LINES)}
    last = max([*_data_episodes(root, info), *listed, -1]) + 1
    found = [_look(root, info, k) for k in range(last)]
    whole = next((k for k, episode in enumerate(found) if isinstance(episode, str)), last)
    later = [k for k in range(whole, last) if not isinstance(found[k], str)]
    if later:
        raise DatasetError(
            f"{root}: episode {whole} is broken ({found[whole]}), but episode {later[0]} after it "
            "is whole, which no crash leaves; restore it from a copy, or delete the episode with "
            "LeRobot's own tools"
        )
    kept = [episode for episode in found[:whole] if isinstance(episode, _Found)]
    return [
        *_encode_steps(root, info, kept),
        *_torn_steps(root, names),
        *_stats_steps(root, info, kept, known),
        *_list_steps(root, kept, tasks, listed),
        *_info_steps(root, info, kept, len(tasks)),
        *_removal_steps(root, info, whole, last, [str(e) for e in found[whole:]]),
        *_picture_steps(root, last),
    ]


def _lines(path: Path) -> list[dict[str, Any]]:
    """The file's objects, without a last line that was cut short. Raises DatasetError."""
    found: list[dict[str, Any]] = []
    if not path.exists():
        return found
    texts = [text for text in path.read_text(encoding="utf-8").splitlines() if text.strip()]
    for number, text in enumerate(texts, 1):
        try:
            found.append(dict(json.loads(text)))
        except (ValueError, TypeError) as error:
            if number < len(texts):
                raise DatasetError(f"{path}, line {number}, cannot be read: {error}") from error
    return found


def _data_episodes(root: Path, info: Info) -> Iterator[int]:
    for path in root.glob("data/*/episode_*.parquet"):
        digits = path.stem.removeprefix("episode_")
        if digits.isdigit() and root / info.data_path(info.number_of(int(digits))) == path:
            yield int(digits)


def _look(root: Path, info: Info, episode: int) -> _Found | str:
    """An episode's rows if it is whole or can be made so, or what is wrong with it."""
    number = info.number_of(episode)
    path = root / info.data_path(number)
    try:
        table = pq.ParquetFile(path).read(["frame_index", "episode_index", "task_index"])
    except FileNotFoundError:
        return f"{info.data_path(number)} is absent"
    except (pa.ArrowException, OSError, KeyError) as error:
        return f"{info.data_path(number)} cannot be read: {error}"
    rows = table.num_rows
    if not rows or set(table["episode_index"].to_pylist()) != {episode}:
        return f"{info.data_path(number)} does not hold rows of episode {episode}"
    to_encode = []
    for key in info.video_keys:
        lacking = _video_trouble(root, info, episode, key, rows)
        if lacking and len(_pictures(root, key, episode)) != rows:
            return lacking
        if lacking:
            to_encode.append(key)
    used = tuple(dict.fromkeys(table["task_index"].to_pylist()))
    return _Found(rows, used, tuple(to_encode))


def _video_trouble(root: Path, info: Info, episode: int, key: str, rows: int) -> str:
    path = info.video_path(key, info.number_of(episode))
    if not (root / path).exists():
        return f"{path} is absent"
    try:
        count = video.frame_count(root / path)
    except DatasetError as error:
        return str(error)
    return "" if count == rows else f"{path} holds {count} pictures for {rows} rows"


def _pictures(root: Path, key: str, episode: int) -> list[Path]:
    """The pictures LeRobot keeps until an episode is saved, if they are numbered without a gap."""
    folder = root / IMAGES / key / f"episode_{episode:06d}"
    found = sorted(folder.glob("frame_*.png"))
    names = [f"frame_{number:06d}.png" for number in range(len(found))]
    return found if [path.name for path in found] == names else []


def _encode_steps(root: Path, info: Info, kept: list[_Found]) -> Iterator[Step]:
    for episode, found in enumerate(kept):
        for key in found.to_encode:
            path = info.video_path(key, info.number_of(episode))
            pictures = _pictures(root, key, episode)

            def encode(
                target: Path = root / path, pictures: list[Path] = pictures, key: str = key
            ) -> None:
                _encode(target, pictures, info, key)

            yield Step(f"encode {path} from the {len(pictures)} pictures in {IMAGES}/", encode)


def _encode(target: Path, pictures: list[Path], info: Info, key: str) -> None:
    height, width = info.features[key].shape[:2]
    codec = _CODECS.get(str((info.features[key].info or {}).get("video.codec")), "h264")
    form = Format(height, width, info.fps, codec, video.default_crf(codec))
    durable.make_folder(target.parent)
    staged = target.with_name(f".{target.name}.new")
    encoder, developer, film = Encoder(form), Developer(height, width), Reel(staged, form)
    try:
        film.begin(encoder.description)
        for path in pictures:
            picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
            if picture is None or picture.shape[:2] != (height, width):
                raise DatasetError(f"{path} is not a picture of {width}x{height}")
            pixels = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)
            film.add(encoder.encode(developer.rgb(pixels).frame))
        film.add(encoder.encode(None))
        film.close()
    finally:
        film.abandon()
    durable.sync([staged])
    durable.move([(staged, target)])
    durable.remove(index_path(staged))


def _torn_steps(root: Path, names: list[dict[str, Any]]) -> Iterator[Step]:
    if _is_torn(root / layout.TASK_LINES):
        yield Step(
            f"remove a line of {layout.TASK_LINES} that was cut short",
            lambda: restat.replace_file(root, layout.TASK_LINES, _dumped(names)),
        )


def _is_torn(path: Path) -> bool:
    if not path.exists():
        return False
    text = path.read_text(encoding="utf-8")
    return bool(text) and len(_lines(path)) != sum(bool(t.strip()) for t in text.splitlines())


def _stats_steps(
    root: Path, info: Info, kept: list[_Found], known: dict[int, dict[str, Any]]
) -> Iterator[Step]:
    lacking = [
        k for k, found in enumerate(kept) if k not in known or _counted(known[k]) != found.rows
    ]
    too_many = sorted(set(known) - set(range(len(kept))))
    if not lacking and not too_many and not _is_torn(root / layout.STATS_LINES):
        return

    def write() -> None:
        fresh = {k: restat.lines_of(k, _computed(root, info, kept, k)) for k in lacking}
        found = {**known, **fresh}
        content = _dumped([found[k] for k in range(len(kept))])
        restat.replace_file(root, layout.STATS_LINES, content)

    said = [f"compute statistics of episode {k}" for k in lacking]
    said += [f"remove statistics of episode {k}, which is not there" for k in too_many]
    said = said or ["remove a line that was cut short"]
    yield Step(f"{layout.STATS_LINES}: {', '.join(said)}", write)


def _counted(line: dict[str, Any]) -> int | None:
    """How many rows an episode's statistics are of."""
    try:
        return int(line["stats"]["frame_index"]["count"][0])
    except (KeyError, TypeError, IndexError, ValueError):
        return None


def _computed(root: Path, info: Info, kept: list[_Found], episode: int) -> Any:
    number = info.number_of(episode)
    begin = sum(found.rows for found in kept[:episode])
    rows = kept[episode].rows
    span = VideoSpan(number, 0.0, rows / info.fps)
    videos = dict.fromkeys(info.video_keys, span)
    row = EpisodeRow(episode, (), rows, begin, begin + rows, number, videos)
    keys = [key for key, feature in info.features.items() if feature.dtype != "string"]
    return restat.episode_stats(root, info, row, keys)


def _list_steps(
    root: Path, kept: list[_Found], tasks: dict[int, str], listed: dict[int, dict[str, Any]]
) -> Iterator[Step]:
    right = [_line(k, found, tasks, listed.get(k)) for k, found in enumerate(kept)]
    if right == [listed[k] for k in sorted(listed)] and not _is_torn(root / layout.EPISODE_LINES):
        return
    said = []
    for line in right:
        there = listed.get(line["episode_index"])
        if there is None:
            said.append(f"add episode {line['episode_index']}, {line['length']} frames")
        elif there != line:
            said.append(
                f"episode {line['episode_index']} has {line['length']} frames, "
                f"not {there.get('length')}"
            )
    said += [f"remove episode {k}, which is not whole" for k in sorted(listed) if k >= len(right)]
    yield Step(
        f"{layout.EPISODE_LINES}: {', '.join(said or ['remove a line that was cut short'])}",
        lambda: restat.replace_file(root, layout.EPISODE_LINES, _dumped(right)),
    )


def _line(
    episode: int, found: _Found, tasks: dict[int, str], listed: dict[str, Any] | None
) -> dict[str, Any]:
    if listed is not None:
        return {**listed, "length": found.rows}
    unknown = [index for index in found.tasks if index not in tasks]
    if unknown:
        raise DatasetError(
            f"episode {episode}: its rows speak of task {unknown[0]}, which {layout.TASK_LINES} "
            "does not have; add it there in words"
        )
    texts = [tasks[index] for index in found.tasks]
    return {"episode_index": episode, "tasks": texts, "length": found.rows}


def _info_steps(root: Path, info: Info, kept: list[_Found], tasks: int) -> Iterator[Step]:
    frames = sum(found.rows for found in kept)
    right = info.with_totals(len(kept), frames, tasks)
    if right.document == info.document:
        return
    changed = [
        f"{name} {info.document.get(name)} becomes {value}"
        for name, value in right.document.items()
        if info.document.get(name) != value
    ]
    yield Step(
        f"{layout.INFO}: {', '.join(changed)}",
        lambda: restat.replace_file(root, layout.INFO, right.dumps()),
    )


def _removal_steps(root: Path, info: Info, whole: int, last: int, why: list[str]) -> Iterator[Step]:
    for episode, reason in zip(range(whole, last), why, strict=True):
        number = info.number_of(episode)
        paths = [info.data_path(number), *(info.video_path(k, number) for k in info.video_keys)]
        there = [path for path in paths if (root / path).exists()]
        if there:

            def remove(paths: list[Path] = there) -> None:
                for path in paths:
                    durable.remove(root / path)

            names = ", ".join(map(str, there))
            yield Step(f"remove unfinished episode {episode} ({reason}): {names}", remove)


def _picture_steps(root: Path, last: int) -> Iterator[Step]:
    folder = root / IMAGES
    count = sum(1 for _ in folder.rglob("*.png")) if folder.is_dir() else 0
    if count:
        yield Step(
            f"remove {IMAGES}/, {count} pictures of episodes that are saved or cannot be",
            lambda: shutil.rmtree(folder),
        )


def _dumped(lines: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode()


# --- any dataset --------------------------------------------------------------------------------


def repair(root: Path, yes: bool, remove: bool = False) -> list[str]:
    """Mend what a crash left in a dataset, or without `yes` say what would be done.

    An unfinished episode of armlet's recorder is finished up to its last complete frame, or with
    `remove` removed. Returns what was, or would be, done. Raises DatasetError if the dataset is
    being written, or is broken in a way no crash leaves.
    """
    if not root.is_dir():
        raise DatasetError(f"{root} is not a folder")
    if durable.is_locked(root):
        raise DatasetError(f"{root} is being written by a recorder; stop that one first")
    if _is_stock_v2(root):
        return _stock(root, yes)
    if not yes:
        return _foreseen(root, remove)
    if remove or salvage.read_header(root / layout.UNFINISHED) is None:
        return doctor.sweep(root)
    return [str(one) for one in recover(root)]


def _is_stock_v2(root: Path) -> bool:
    known = (root / layout.CONTRACT).exists() or (root / layout.UNFINISHED).exists()
    return not known and (root / layout.INFO).exists() and layout.load_info(root).is_v2


def _stock(root: Path, yes: bool) -> list[str]:
    steps = plan(root)
    if yes:
        handle = durable.lock(root)
        try:
            for step in steps:
                step.do()
        finally:
            durable.unlock(handle)
    return [step.said for step in steps]


def _foreseen(root: Path, remove: bool) -> list[str]:
    """What would be done to a v3.0 dataset, or one of armlet's."""
    said = []
    folder = root / layout.UNFINISHED
    told = salvage.read_header(folder)
    if told is not None and not remove:
        found = salvage.Salvage(folder, *told)
        pictures = ", ".join(f"{count} {name}" for name, count in found.pictures.items())
        there = f"{found.rows} rows, pictures: {pictures or 'none'}"
        said.append(
            f"finish unfinished episode {told[0].episode}: {found.frames} frames ({there})"
            if found.frames
            else f"remove an unfinished episode without a complete frame ({there})"
        )
    elif folder.is_dir():
        count = sum(1 for _ in folder.iterdir())
        said.append(f"remove an unfinished episode ({count} files)")
    if doctor.is_fresh(root):
        return said
    info, rows = layout.load_info(root), tables.read_episodes(root)
    frames = rows[-1].dataset_to if rows else 0
    right = info.with_totals(len(rows), frames, len(tables.read_tasks(root)))
    if info.total_episodes > len(rows):
        raise DatasetError(
            f"{root}: info.json counts {info.total_episodes} episodes, the metadata of {len(rows)} "
            "is there; armlet never leaves this: restore the metadata from a copy"
        )
    if right.document != info.document:
        said.append(
            f"correct {layout.INFO}: it counts {info.total_episodes} episodes, "
            f"{info.total_frames} frames; there are {len(rows)}, {frames}"
        )
    return said
