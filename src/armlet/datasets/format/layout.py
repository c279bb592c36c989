"""Where things lie in a LeRobot v3.0, v2.1 or v2.0 dataset, and its info.json.

In v3.0 armlet writes one data file, one video per camera and one metadata file per episode: file
footers are closed per episode, and each file appears by one rename. Small ones are merged when the
dataset is closed (`record.compaction`). Stock LeRobot loads, trains on and appends to either.

Columns beyond LeRobot's own:

- `armlet.stamp_ns` int64 [1]: time of the frame on the aligner's grid, ns of Unix time;
- `intervention` bool [1]: whether a person commanded the row, LeRobot's own name; only in datasets
  that were made so;
- `armlet.skew_s` float32 [streams]: true stamp of each stream's sample minus that time, in
  seconds; `names` in info.json are the contract's alignment streams. Absent without streams.

Stock LeRobot loads a column only if info.json declares it, makes a policy input of every key
starting with `observation` or `action`, and demands (3, 1, 1) statistics of every key containing
`image`; hence these two names, and one vector instead of a column per stream.

`meta/armlet/episode-XXXXXX.json` is what the recorder notes of an episode: the aligner's ledger,
which pictures were damaged, which policies drove it (`provenance`), and whether a person called it
a `success`. LeRobot ignores the folder; columns of the episodes metadata would not do, since
LeRobot demands the same columns in every file.
"""

from __future__ import annotations

import functools
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from armlet.contract import FILE_NAME, Contract
from armlet.contract.provenance import ProvenanceError
from armlet.files import (
    FileError,
    PathTemplate,
    Shape,
    check_name,
    inside,
    printable,
    read_bytes,
    read_json,
    typed,
    whole_number,
    writable,
)

from .errors import DatasetError
from .provenance import EpisodeProvenance

VERSION = "v3.0"
VERSION_2 = "v2.1"
# Read and converted, never written: as v2.1, but with statistics of the whole in meta/stats.json.
VERSION_2_0 = "v2.0"
# What armlet writes.
VERSIONS = (VERSION, VERSION_2)
CHUNKS_SIZE = 1000
STATE = "observation.state"
ACTION = "action"
ENVIRONMENT_STATE = "observation.environment_state"
IMAGES = "observation.images."
STAMP = "armlet.stamp_ns"
SKEW = "armlet.skew_s"
# LeRobot's own name (the dagger strategy of its rollouts), and so without a prefix.
INTERVENTION = "intervention"
# LeRobot's own name: bool, whether the task is done after this row. A label is in every row.
SUCCESS = "next.success"

CHOOSE = "give the folder of a dataset, the one that has meta/info.json"
INFO = Path("meta/info.json")
STATS = Path("meta/stats.json")
TASKS = Path("meta/tasks.parquet")
CONTRACT = Path("meta") / FILE_NAME
EPISODES = Path("meta/episodes")
UNFINISHED = Path(".unfinished")
# An edit in preparation, and its journal once it is decided on (edit_journal).
EDIT = Path(".edit")
EDIT_JOURNAL = EDIT / "journal.json"
# v2.1 only.
TASK_LINES = Path("meta/tasks.jsonl")
EPISODE_LINES = Path("meta/episodes.jsonl")
STATS_LINES = Path("meta/episodes_stats.jsonl")

# Columns of every dataset that count, and that no policy normalizes.
COUNTERS = ("timestamp", "frame_index", "episode_index", "index", "task_index")
NOT_NUMBERS = ("string", "language", "image", "video")
# What describes a dataset that has no episodes.
DESCRIPTIONS = (INFO, CONTRACT, STATS, TASKS, TASK_LINES, EPISODE_LINES, STATS_LINES)
# The name v2.0 has for a video feature's `info`.
OLD_STREAM_INFO = "video_info"
# What a rate, a count and a picture's or vector's size may be at most.
_MOST_FPS, _MOST_ROWS, _MOST_VALUES = 1000, 2**40, 2**28
_MOST_AXES = 8
# By version, the placeholders of data_path and video_path.
_NUMBERS = {
    VERSION: frozenset(("chunk_index", "file_index")),
    VERSION_2: frozenset(("episode_chunk", "episode_index")),
}
_NAMES = frozenset(("video_key",))
_INFO_SHAPE = Shape(size=4 << 20)
_DECLARED_SHAPE = Shape(size=4 << 20)

_FILE = "chunk-{chunk_index:03d}/file-{file_index:03d}"
_DATA_PATH = f"data/{_FILE}.parquet"
_VIDEO_PATH = f"videos/{{video_key}}/{_FILE}.mp4"
_DATA_PATH_2 = "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet"
_VIDEO_PATH_2 = "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4"


@dataclass(frozen=True, order=True)
class FileNumber:
    """A file's place in LeRobot's chunk-XXX/file-YYY numbering; in v2.1 file is the episode."""

    chunk: int
    file: int

    @classmethod
    def of_episode(cls, episode: int, chunks_size: int) -> FileNumber:
        """The place of an episode that has its own file."""
        return cls(*divmod(episode, chunks_size))


@dataclass(frozen=True)
class Feature:
    """One entry of info.json's features. names is flat; info is a video's stream description."""

    dtype: str
    shape: tuple[int, ...]
    names: tuple[str, ...] | None = None
    info: Mapping[str, Any] | None = None

    @property
    def is_picture(self) -> bool:
        return self.dtype in ("video", "image")

    @property
    def is_depth(self) -> bool:
        """Whether its pictures are distances (LeRobot 0.6: one channel of 12 bits), not colours."""
        info = self.info or {}
        return self.is_picture and (
            info.get("is_depth_map") is True or info.get("video.is_depth_map") is True
        )

    @property
    def picture_size(self) -> tuple[int, int]:
        """Height and width of its pictures; channels come last, or first where names say so."""
        names = self.names or ()
        if "height" in names and "width" in names and len(names) == len(self.shape):
            return self.shape[names.index("height")], self.shape[names.index("width")]
        first = self.shape[0] in (1, 3) and self.shape[-1] not in (1, 3)
        height, width = self.shape[1:3] if first else self.shape[:2]
        return height, width

    def to_json(self) -> dict[str, Any]:
        document: dict[str, Any] = {
            "dtype": self.dtype,
            "shape": list(self.shape),
            "names": None if self.names is None else list(self.names),
        }
        return document if self.info is None else {**document, "info": dict(self.info)}


@dataclass(frozen=True)
class Info:
    """info.json, typed. document is the file as read, so that unknown keys survive a rewrite."""

    robot_type: str | None
    fps: int
    total_episodes: int
    total_frames: int
    total_tasks: int | None
    chunks_size: int
    features: Mapping[str, Feature]
    document: Mapping[str, Any]

    @property
    def version(self) -> str:
        return str(self.document["codebase_version"])

    @property
    def is_v2(self) -> bool:
        """Whether it is laid out as v2.1: files by episode, lists of lines. v2.0 is so too."""
        return self.version in (VERSION_2, VERSION_2_0)

    @property
    def is_v2_0(self) -> bool:
        """Whether its only statistics are those of the whole, without counts or quantiles."""
        return self.version == VERSION_2_0

    def number_of(self, episode: int) -> FileNumber:
        """The place of an episode that has its own files."""
        if self.is_v2:
            return FileNumber(episode // self.chunks_size, episode)
        return FileNumber.of_episode(episode, self.chunks_size)

    @property
    def cameras(self) -> dict[str, Feature]:
        """Features of colour pictures by camera name (key without `observation.images.`)."""
        return self._pictures(depth=False)

    @property
    def depth_streams(self) -> dict[str, Feature]:
        """Features of distances by name. They are kept and checked, and no policy is given them."""
        return self._pictures(depth=True)

    def _pictures(self, depth: bool) -> dict[str, Feature]:
        return {
            key.removeprefix(IMAGES): feature
            for key, feature in self.features.items()
            if feature.is_picture and feature.is_depth is depth
        }

    @property
    def video_keys(self) -> list[str]:
        return [key for key, feature in self.features.items() if feature.dtype == "video"]

    @property
    def language_keys(self) -> list[str]:
        """Columns of LeRobot 0.6's dtype `language`, which v2.1 does not have."""
        return [key for key, feature in self.features.items() if feature.dtype == "language"]

    def data_path(self, number: FileNumber) -> Path:
        """Data file, relative to the dataset."""
        return self._path("data_path", number)

    def video_path(self, key: str, number: FileNumber) -> Path:
        """Video file of a feature, relative to the dataset."""
        return self._path("video_path", number, video_key=key)

    def _path(self, template: str, number: FileNumber, **names: str) -> Path:
        places = {"chunk_index": number.chunk, "file_index": number.file}
        if self.is_v2:
            places = {"episode_chunk": number.chunk, "episode_index": number.file}
        try:
            return _template(self.document, template).format(**places, **names)
        except FileError as error:
            raise DatasetError(f"info.json: {template}: {error}") from error

    def with_totals(self, episodes: int, frames: int, tasks: int) -> Info:
        """A copy that counts this many."""
        document = {
            **self.document,
            "total_episodes": episodes,
            "total_frames": frames,
            "total_tasks": tasks,
            "splits": {"train": f"0:{episodes}"},
        }
        if self.is_v2:
            document["total_videos"] = episodes * len(self.video_keys)
            document["total_chunks"] = -(-episodes // self.chunks_size)
        return parse_info(document)

    def with_streams(self, streams: Mapping[str, Mapping[str, Any]]) -> Info:
        """A copy whose video features carry their stream descriptions."""
        features = {
            key: {**block, "info": dict(streams[key])} if key in streams else block
            for key, block in self.document["features"].items()
        }
        return parse_info({**self.document, "features": features})

    def dumps(self) -> bytes:
        """The file's content, in LeRobot's form."""
        return json.dumps(self.document, indent=4, ensure_ascii=False).encode()


def episodes_path(number: FileNumber) -> Path:
    """Episodes-metadata file, relative to the dataset."""
    return EPISODES / (_FILE.format(chunk_index=number.chunk, file_index=number.file) + ".parquet")


def ledger_path(episode: int) -> Path:
    """An episode's ledger, relative to the dataset."""
    return Path(f"meta/armlet/episode-{episode:06d}.json")


def locate(root: Path, relative: Path) -> Path:
    """A file of the dataset, for reading. Raises DatasetError if it is not below root."""
    try:
        return inside(root, relative)
    except FileError as error:
        raise DatasetError(str(error)) from error


def place(root: Path, relative: Path) -> Path:
    """A file of the dataset, for writing, moving, removing. Raises DatasetError behind a link."""
    try:
        return writable(root, relative)
    except FileError as error:
        raise DatasetError(str(error)) from error


@dataclass(frozen=True)
class _Declared:
    """The file that `load_notes` reads."""

    ledger: Mapping[str, Mapping[str, float]] | None = None
    damaged: Mapping[str, tuple[int, ...]] | None = None
    provenance: EpisodeProvenance | None = None
    success: bool | None = None


def load_notes(root: Path, episode: int) -> dict[str, Any]:
    """What was noted of an episode: "ledger", "damaged", "provenance", "success", as far as it was.

    Raises DatasetError.
    """
    return _notes(locate(root, ledger_path(episode)))


def notes_reader(root: Path) -> Callable[[int], dict[str, Any]]:
    """`load_notes` for many episodes: where their files lead to is looked up once."""
    folder = ledger_path(0).parent
    try:
        with os.scandir(locate(root, folder)) as found:
            plain = {entry.name: entry.is_file(follow_symlinks=False) for entry in found}
    except FileNotFoundError:
        plain = {}
    except (DatasetError, OSError):
        return lambda episode: load_notes(root, episode)

    def read(episode: int) -> dict[str, Any]:
        path = ledger_path(episode)
        if path.name not in plain:
            return {}
        return _notes(root / path) if plain[path.name] else load_notes(root, episode)

    return read


def _notes(path: Path) -> dict[str, Any]:
    try:
        document = read_json(path, _DECLARED_SHAPE)
        typed(_Declared, document, path.name)
    except FileNotFoundError:
        return {}
    except (FileError, ProvenanceError) as error:
        raise DatasetError(f"{path} cannot be read: {error}") from error
    return {name: value for name, value in document.items() if value is not None}


def notes_with(root: Path, episodes: int, names: Sequence[str]) -> dict[str, list[int]]:
    """By name, the episodes whose notes have it anywhere: a tenth of the time of parsing them all.

    Notes that cannot be read are among them: whoever loads them learns why. Raises DatasetError.
    """
    folder = locate(root, ledger_path(0).parent)
    found: dict[str, list[int]] = {name: [] for name in names}
    marks = {name: json.dumps(name).encode() for name in names}
    for episode in range(episodes if folder.is_dir() else 0):
        try:
            content = read_bytes(folder / ledger_path(episode).name, _DECLARED_SHAPE.size)
        except FileNotFoundError:
            continue
        except FileError:
            content = None
        for name, mark in marks.items():
            if content is None or mark in content:
                found[name].append(episode)
    return found


def load_provenance(root: Path, episode: int, length: int) -> EpisodeProvenance | None:
    """Which policies drove an episode and who commanded its rows; None if that was not noted.

    length: of the episode, rows. Raises DatasetError.
    """
    return provenance_in(load_notes(root, episode), root, episode, length)


def provenance_in(
    notes: Mapping[str, Any], root: Path, episode: int, length: int
) -> EpisodeProvenance | None:
    """The same of notes that are read already. Raises DatasetError."""
    if notes.get("provenance") is None:
        return None
    found: EpisodeProvenance = typed(EpisodeProvenance, notes["provenance"], "provenance")
    if found.length > length:
        raise DatasetError(
            f"{root / ledger_path(episode)}: provenance names row {found.length - 1}, episode "
            f"{episode} has {length} rows"
        )
    return found


def features_of(contract: Contract, intervention: bool = False) -> dict[str, Feature]:
    """The features of a dataset recorded under a contract, in LeRobot's order.

    intervention: with the column that says which rows a person commanded. Raises DatasetError for a
    name that cannot be a feature's.
    """
    features = {
        ACTION: Feature("float32", (len(contract.action_names),), contract.action_names),
        STATE: Feature("float32", (len(contract.state_names),), contract.state_names),
    }
    for camera in contract.cameras:
        if not camera.name or "/" in camera.name:
            raise DatasetError(f"camera name {camera.name!r}: must be non-empty and without '/'")
        try:
            check_name(camera.name)
        except FileError as error:
            raise DatasetError(f"camera name: {error}") from error
        features[IMAGES + camera.name] = Feature(
            "video", (camera.height, camera.width, 3), ("height", "width", "channels")
        )
    features[STAMP] = Feature("int64", (1,))
    if contract.alignment:
        streams = tuple(stream.name for stream in contract.alignment)
        features[SKEW] = Feature("float32", (len(streams),), streams)
    if intervention:
        features[INTERVENTION] = Feature("bool", (1,))
    features["timestamp"] = Feature("float32", (1,))
    for name in ("frame_index", "episode_index", "index", "task_index"):
        features[name] = Feature("int64", (1,))
    return features


def new_info(
    contract: Contract, robot_type: str, version: str = VERSION, intervention: bool = False
) -> Info:
    """info.json of a dataset without episodes. Raises DatasetError for an unknown version.

    intervention: with the column of that name.
    """
    if version not in VERSIONS:
        raise DatasetError(f"version must be one of {', '.join(VERSIONS)}, found {version!r}")
    features = features_of(contract, intervention)
    old = version == VERSION_2
    sizes = (
        {"total_videos": 0, "total_chunks": 0}
        if old
        else {"data_files_size_in_mb": 100, "video_files_size_in_mb": 200}
    )
    data, pictures = (_DATA_PATH_2, _VIDEO_PATH_2) if old else (_DATA_PATH, _VIDEO_PATH)
    return parse_info(
        {
            "codebase_version": version,
            "robot_type": robot_type,
            "total_episodes": 0,
            "total_frames": 0,
            "total_tasks": 0,
            **sizes,
            "chunks_size": CHUNKS_SIZE,
            "fps": contract.fps,
            "splits": {} if old else {"train": "0:0"},
            "data_path": data,
            "video_path": pictures if contract.cameras else None,
            "features": {key: feature.to_json() for key, feature in features.items()},
        }
    )


def load_info(root: Path) -> Info:
    """info.json of the dataset at root. Raises DatasetError naming what is wrong.

    Also for a dataset whose edit was interrupted: some of its files are the old ones, some the new;
    and for one that names a version which its files are not of.
    """
    path = locate(root, INFO)
    if os.path.lexists(root / EDIT_JOURNAL):
        raise DatasetError(
            f"an edit of {root} was interrupted while files were replaced; "
            f"`armlet dataset repair {root} --yes` finishes it"
        )
    try:
        info = parse_info(read_json(path, _INFO_SHAPE))
    except FileNotFoundError as error:
        there = _what_is_there(root)
        # One of the folders in it, where these are datasets, is advice enough.
        fix = "" if ";" in there else CHOOSE
        raise DatasetError(f"{root} is not a LeRobot dataset: {there}", fix) from error
    except FileError as error:
        raise DatasetError(str(error)) from error
    except DatasetError as error:
        raise DatasetError(f"{path}: {error}") from error
    _check_version_of_files(root, info)
    return info


def _check_version_of_files(root: Path, info: Info) -> None:
    """Raises DatasetError for v3.0's metadata under an info.json of v2.

    Read as v2.1, the recording's own files would be missing and belong to no episode. No crash of
    a recorder does that.
    """
    if not info.is_v2:
        return
    there = [TASKS.name] if (root / TASKS).exists() else []
    there += [f"{EPISODES.name}/"] if any((root / EPISODES).glob("*/*.parquet")) else []
    if not there:
        return
    right = {"codebase_version": VERSION, "data_path": _DATA_PATH}
    if info.video_keys:
        right["video_path"] = _VIDEO_PATH
    raise DatasetError(
        f"{root}: codebase_version says {info.version}, but meta/ holds {' and '.join(there)} as "
        f"{VERSION} does; nothing was changed: if data/ is laid out as {VERSION}, set in {INFO} "
        + ", ".join(f'"{name}": "{value}"' for name, value in right.items())
    )


def require_current(root: Path, info: Info) -> None:
    """Raise DatasetError for a dataset of v2.0, which is read and converted but never changed."""
    if info.is_v2_0:
        raise DatasetError(
            f"{root} is v2.0, which armlet reads and does not change; make a copy in a current "
            f"version first: `armlet dataset convert {root} OUTPUT --to v3.0` (or v2.1)"
        )


def expect_dataset(root: Path) -> None:
    """Raise DatasetError where there is nothing of a dataset, not even of a damaged one."""
    if not any((root / part).exists() for part in ("meta", "data", "videos")):
        load_info(root)


def _what_is_there(root: Path) -> str:
    """Why a folder is no dataset, and which folders in it are."""
    if not root.is_dir():
        return "it is no folder" if root.exists() else "there is no such folder"
    inside = sorted(path.parent.parent for path in root.glob(f"*/{INFO}"))
    if not inside:
        return f"no {INFO}"
    more = f", and {len(inside) - 1} more in it" if len(inside) > 1 else ""
    return f"no {INFO}; {inside[0]} is one{more}"


def parse_info(document: Mapping[str, Any]) -> Info:
    """Info from the JSON document. Raises DatasetError unless it is of v3, v2.1 or v2.0."""
    try:
        if not isinstance(document, Mapping):
            raise FileError(f"expected a JSON object, found a {type(document).__name__}")
        version = typed(str, document.get("codebase_version"), "codebase_version")
        if not version.startswith("v3.") and version not in (VERSION_2, VERSION_2_0):
            raise DatasetError(
                f"dataset version {printable(version, 40)}, armlet reads v3.x, v2.1 and v2.0; "
                "convert it with LeRobot's own conversion scripts"
            )
        features = document.get("features")
        if not isinstance(features, Mapping):
            raise FileError(f"features: expected an object, found {type(features).__name__}")
        info = Info(
            robot_type=typed(str | None, document.get("robot_type"), "robot_type"),
            fps=whole_number(document.get("fps"), "fps", 1, _MOST_FPS),
            total_episodes=_count(document, "total_episodes"),
            total_frames=_count(document, "total_frames"),
            total_tasks=_count(document, "total_tasks") if "total_tasks" in document else None,
            chunks_size=whole_number(
                document.get("chunks_size", CHUNKS_SIZE), "chunks_size", 1, _MOST_ROWS
            ),
            features={key: _feature(key, block) for key, block in features.items()},
            document=document,
        )
        _check_templates(info)
        _check_numbers(info)
    except FileError as error:
        raise DatasetError(f"not an info.json of LeRobot v3 or v2: {error}") from error
    return info


def _count(document: Mapping[str, Any], name: str) -> int:
    return whole_number(document.get(name), name, 0, _MOST_ROWS)


# Each path of thousands of episodes asks for it.
_parsed = functools.lru_cache(64)(PathTemplate.parse)


def _template(document: Mapping[str, Any], name: str) -> PathTemplate:
    old = document["codebase_version"] in (VERSION_2, VERSION_2_0)
    version = VERSION_2 if old else VERSION
    text = document.get(name)
    parse = _parsed if isinstance(text, str) else PathTemplate.parse
    return parse(text, _NUMBERS[version], _NAMES)


def _check_numbers(info: Info) -> None:
    """Raises FileError where what must be numbers is declared as something else."""
    for key in (STATE, ACTION, ENVIRONMENT_STATE, *COUNTERS):
        dtype = info.features[key].dtype if key in info.features else "float32"
        if dtype in NOT_NUMBERS:
            raise FileError(f"features.{key}: expected a dtype of numbers, found {dtype}")


def _check_templates(info: Info) -> None:
    """Raises DatasetError for paths that are not of this version, or lead elsewhere."""
    for name in ("data_path", "video_path") if info.video_keys else ("data_path",):
        try:
            _template(info.document, name)
        except FileError as error:
            other = VERSION if info.is_v2 else VERSION_2
            text = info.document.get(name)
            if isinstance(text, str) and all(f"{{{n}" in text for n in _NUMBERS[other]):
                raise DatasetError(
                    f"codebase_version says {info.version}, but {name} is that of {other} "
                    f"({printable(text)}); if the files are laid out as {other}, set "
                    f'"codebase_version": "{other}" in {INFO}'
                ) from error
            raise DatasetError(f"{name}: {error}") from error


def _feature(key: str, block: Any) -> Feature:
    where = f"features.{printable(key, 80)}"
    try:
        check_name(key)
    except FileError as error:
        raise FileError(f"features: a name: {error}") from error
    if not isinstance(block, Mapping):
        raise FileError(f"{where}: expected an object, found a {type(block).__name__}")
    shape = block.get("shape")
    if not isinstance(shape, list | tuple) or not 0 < len(shape) <= _MOST_AXES:
        raise FileError(f"{where}.shape: expected a list of sizes, found {printable(shape, 80)}")
    sizes = tuple(whole_number(size, f"{where}.shape", 1, _MOST_VALUES) for size in shape)
    if math.prod(sizes) > _MOST_VALUES:
        raise FileError(f"{where}.shape: {list(sizes)} is too large")
    dtype = typed(str, block.get("dtype"), f"{where}.dtype")
    if dtype in ("video", "image") and len(sizes) != 3:
        raise FileError(f"{where}.shape: expected 3 sizes of a {dtype}, found {list(sizes)}")
    return Feature(
        dtype=dtype,
        shape=sizes,
        names=_names(block.get("names"), where),
        info=_stream_info(block.get("info", block.get(OLD_STREAM_INFO)), where),
    )


def _names(names: Any, where: str) -> tuple[str, ...] | None:
    if isinstance(names, Mapping):
        # {"motors": [...]} in some datasets, {"delta_x": 0, ...} in others; only the order matters.
        if names and all(type(place) is int for place in names.values()):
            names = sorted(names, key=lambda name: names[name])
        else:
            groups = list(names.values())
            names = [n for group in groups for n in (group if isinstance(group, list) else [group])]
    if names is None:
        return None
    listed = list(names) if isinstance(names, tuple) else names
    found: tuple[str, ...] = typed(tuple[str, ...], listed, f"{where}.names")
    return found


def _stream_info(info: Any, where: str) -> Mapping[str, Any] | None:
    if info is not None and not isinstance(info, Mapping):
        raise FileError(f"{where}.info: expected an object, found a {type(info).__name__}")
    codec = (info or {}).get("video.codec")
    typed(str | None, codec, f"{where}.info.video.codec")
    return info
