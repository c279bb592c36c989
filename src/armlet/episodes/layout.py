"""Where things lie in a LeRobot v3.0 or v2.1 dataset, and its info.json.

In v3.0 armlet writes one data file, one video per camera and one metadata file per episode:
file footers are closed per episode, each file appears by one rename, and no video is ever
rewritten. Stock LeRobot loads, filters, trains on and appends to such a dataset.

Columns beyond LeRobot's own:

- `armlet.stamp_ns` int64 [1]: time of the frame on the aligner's grid, ns of Unix time;
- `armlet.skew_s` float32 [streams]: true stamp of each stream's sample minus that time, in
  seconds; `names` in info.json are the contract's alignment streams. Absent without streams.

Stock LeRobot loads a column only if info.json declares it, makes a policy input of every key
starting with `observation` or `action`, and demands (3, 1, 1) statistics of every key containing
`image`; hence these two names, and one vector instead of a column per stream.

`meta/armlet/episode-XXXXXX.json` is what the recorder tells of an episode: the aligner's ledger,
and which pictures were damaged. LeRobot ignores the folder; columns of the episodes metadata would
not do, since LeRobot demands the same columns in every file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from armlet.contract import FILE_NAME, Contract

from .errors import DatasetError

VERSION = "v3.0"
VERSION_2 = "v2.1"
VERSIONS = (VERSION, VERSION_2)
CHUNKS_SIZE = 1000
STATE = "observation.state"
ACTION = "action"
IMAGES = "observation.images."
STAMP = "armlet.stamp_ns"
SKEW = "armlet.skew_s"

INFO = Path("meta/info.json")
STATS = Path("meta/stats.json")
TASKS = Path("meta/tasks.parquet")
CONTRACT = Path("meta") / FILE_NAME
EPISODES = Path("meta/episodes")
UNFINISHED = Path(".unfinished")
# v2.1 only.
TASK_LINES = Path("meta/tasks.jsonl")
EPISODE_LINES = Path("meta/episodes.jsonl")
STATS_LINES = Path("meta/episodes_stats.jsonl")

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
    total_tasks: int
    chunks_size: int
    features: Mapping[str, Feature]
    document: Mapping[str, Any]

    @property
    def version(self) -> str:
        return str(self.document["codebase_version"])

    @property
    def is_v2(self) -> bool:
        return self.version == VERSION_2

    def number_of(self, episode: int) -> FileNumber:
        """The place of an episode that has its own files."""
        if self.is_v2:
            return FileNumber(episode // self.chunks_size, episode)
        return FileNumber.of_episode(episode, self.chunks_size)

    @property
    def cameras(self) -> dict[str, Feature]:
        """Picture features by camera name (key without `observation.images.`)."""
        return {
            key.removeprefix(IMAGES): feature
            for key, feature in self.features.items()
            if feature.is_picture
        }

    @property
    def video_keys(self) -> list[str]:
        return [key for key, feature in self.features.items() if feature.dtype == "video"]

    def data_path(self, number: FileNumber) -> Path:
        """Data file, relative to the dataset."""
        return self._path("data_path", number)

    def video_path(self, key: str, number: FileNumber) -> Path:
        """Video file of a feature, relative to the dataset."""
        return self._path("video_path", number, video_key=key)

    def _path(self, template: str, number: FileNumber, **names: str) -> Path:
        text = self.document.get(template)
        try:
            places = {"chunk_index": number.chunk, "file_index": number.file}
            if self.is_v2:
                places = {"episode_chunk": number.chunk, "episode_index": number.file}
            return Path(str(text).format(**places, **names))
        except (KeyError, IndexError, ValueError) as error:
            raise DatasetError(f"info.json: {template} is {text!r}, not a path pattern") from error

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


def load_told(root: Path, episode: int) -> dict[str, Any]:
    """What the recorder told of an episode: "ledger" and "damaged"; nothing if it told nothing.

    Raises DatasetError.
    """
    path = root / ledger_path(episode)
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError) as error:
        raise DatasetError(f"{path} cannot be read: {error}") from error


def features_of(contract: Contract) -> dict[str, Feature]:
    """The features of a dataset recorded under a contract, in LeRobot's order.

    Raises DatasetError for a name that cannot be a feature's.
    """
    features = {
        ACTION: Feature("float32", (len(contract.action_names),), contract.action_names),
        STATE: Feature("float32", (len(contract.state_names),), contract.state_names),
    }
    for camera in contract.cameras:
        if not camera.name or "/" in camera.name:
            raise DatasetError(f"camera name {camera.name!r}: must be non-empty and without '/'")
        features[IMAGES + camera.name] = Feature(
            "video", (camera.height, camera.width, 3), ("height", "width", "channels")
        )
    features[STAMP] = Feature("int64", (1,))
    if contract.alignment:
        streams = tuple(stream.name for stream in contract.alignment)
        features[SKEW] = Feature("float32", (len(streams),), streams)
    features["timestamp"] = Feature("float32", (1,))
    for name in ("frame_index", "episode_index", "index", "task_index"):
        features[name] = Feature("int64", (1,))
    return features


def new_info(contract: Contract, robot_type: str, version: str = VERSION) -> Info:
    """info.json of a dataset without episodes. Raises DatasetError for an unknown version."""
    if version not in VERSIONS:
        raise DatasetError(f"version must be one of {', '.join(VERSIONS)}, found {version!r}")
    features = features_of(contract)
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
    """info.json of the dataset at root. Raises DatasetError naming what is wrong."""
    path = root / INFO
    try:
        text = path.read_text()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DatasetError(f"{root} is not a LeRobot dataset: no {INFO}") from error
    try:
        return parse_info(json.loads(text))
    except ValueError as error:
        raise DatasetError(f"{path} is not JSON: {error}") from error
    except DatasetError as error:
        raise DatasetError(f"{path}: {error}") from error


def parse_info(document: Mapping[str, Any]) -> Info:
    """Info from the JSON document. Raises DatasetError unless it is a v3 or v2.1 dataset's."""
    try:
        version = str(document["codebase_version"])
        if not version.startswith("v3.") and version != VERSION_2:
            raise DatasetError(
                f"dataset version {version}, armlet reads v3.x and v2.1; convert it with LeRobot's "
                "own conversion scripts"
            )
        fps = document["fps"]
        if fps != int(fps) or fps < 1:
            raise DatasetError(f"fps must be a positive whole number, found {fps}")
        return Info(
            robot_type=document.get("robot_type"),
            fps=int(fps),
            total_episodes=int(document["total_episodes"]),
            total_frames=int(document["total_frames"]),
            total_tasks=int(document["total_tasks"]),
            chunks_size=int(document.get("chunks_size", CHUNKS_SIZE)),
            features={key: _feature(block) for key, block in document["features"].items()},
            document=document,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DatasetError(f"not an info.json of LeRobot v3 or v2.1: {error!r}") from error


def _feature(block: Mapping[str, Any]) -> Feature:
    names = block.get("names")
    # Some datasets group names ({"motors": [...]}); only the order matters here.
    if isinstance(names, Mapping):
        names = [name for group in names.values() for name in group]
    return Feature(
        dtype=str(block["dtype"]),
        shape=tuple(int(size) for size in block["shape"]),
        names=None if names is None else tuple(str(name) for name in names),
        info=block.get("info"),
    )
