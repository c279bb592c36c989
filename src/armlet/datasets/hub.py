"""Where a dataset lies: a folder here, or a repository of the Hugging Face Hub.

`hub:owner/name` and `hub:owner/name@revision` name repositories, which are read from the Hub's
cache on this machine and never changed; anything else is a path.
"""

from __future__ import annotations

from enum import Enum
from pathlib import Path

from armlet.files import HUB, resolved
from armlet.hub import FetchError, Repository, fetch, not_in_cache, parse

from .format import layout, tables
from .format.errors import DatasetError


class Part(Enum):
    """What of a dataset is fetched, as patterns of its files."""

    META = ("meta/*",)
    ROWS = ("meta/*", "data/*")
    ALL = ("meta/*", "data/*", "videos/*", "images/*")


def is_repository(root: Path | str) -> bool:
    """Whether this names a repository, not a path."""
    return str(root).startswith(HUB)


def locate(root: Path | str, part: Part = Part.ALL) -> Path:
    """The local folder of a dataset, a part of it fetched first if it names a repository.

    Raises DatasetError for a malformed name, for a repository that cannot be had or is no dataset
    (found by its metadata, before anything large is fetched), and for one of which offline a part
    is lacking.
    """
    name = str(root)
    if not is_repository(name):
        return Path(root)
    named = parse(name)
    if named is None:
        raise DatasetError(
            f"{name}: expected hub:owner/name or hub:owner/name@revision", "correct the name"
        )
    try:
        return _fetched(name, Repository(named[0], "dataset"), named[1], part)
    except FetchError as error:
        raise DatasetError(str(error)) from error.__cause__


def name_of(root: Path | str, folder: Path) -> str:
    """What others can call a dataset by that was found in `folder`, see `locate`."""
    named = parse(str(root)) if is_repository(root) else None
    return f"{HUB}{named[0]}@{folder.name}" if named else resolved(folder).name


def _fetched(name: str, repository: Repository, revision: str | None, part: Part) -> Path:
    """Raises DatasetError, FetchError."""
    found = fetch(repository, revision, Part.META.value)
    if found.online and not (found.folder / layout.INFO).exists():
        raise DatasetError(f"{name} is no LeRobot dataset: no {layout.INFO}", "name another")
    layout.load_info(found.folder)
    if part is not Part.META:
        found = fetch(repository, found.folder.name, part.value)
    lacking = _lacking(found.folder, part)
    if lacking is not None and not found.online:
        raise not_in_cache(name, lacking)
    return found.folder


def _lacking(folder: Path, part: Part) -> str | None:
    """The first file that the metadata names and that is not there, as far as it can be read."""
    try:
        info = layout.load_info(folder)
        for row in tables.read_episodes(folder, stats=False):
            paths = [] if part is Part.META else [info.data_path(row.data)]
            if part is Part.ALL:
                paths += [info.video_path(key, span.number) for key, span in row.videos.items()]
            for path in paths:
                if not (folder / path).exists():
                    return path.as_posix()
    except DatasetError:
        return None  # `check` says what is wrong with it
    return None
