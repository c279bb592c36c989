"""Which datasets the console shows: those below the folders that a person named, nothing else."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from armlet.datasets import Dataset, DatasetError
from armlet.datasets.format import layout
from armlet.files import FileError, check_name, explained, printable, resolved

# LeRobot lays datasets out as OWNER/NAME; one level more is a person's own order.
_DEEPEST = 3
# A home directory has millions of folders, and a list of thousands is none.
_MOST_FOLDERS, MOST_DATASETS = 20_000, 500
_MOST_OPEN = 8


class LibraryError(Exception):
    """A dataset, or a folder of datasets, that is not shown; the message says why."""


@dataclass(frozen=True)
class Place:
    """A dataset by its name for programs (`key`) and for people, and where it lies."""

    key: str
    name: str
    root: Path


@dataclass(frozen=True)
class Found:
    """What is there. whole: whether all was looked through; else there may be more."""

    places: tuple[Place, ...]
    whole: bool = True


@dataclass(frozen=True)
class Listing:
    """A dataset in the list. problem: why it cannot be opened, "" if it can."""

    place: Place
    version: str = ""
    robot: str = ""
    episodes: int = 0
    duration_s: float = 0.0
    problem: str = ""


@dataclass(frozen=True)
class _Opened:
    mark: tuple[int, int, int]
    dataset: Dataset


class Library:
    """The datasets below some folders, each of which may be a dataset itself.

    Symbolic links below these folders are not followed: what they lead to was not named. Safe to
    use from several threads.

    Args:
        folders: those that were named.
        recorded: a dataset that a graph records, shown as soon as it is there.
        kind, is_one, deepest, most: what is looked for, how many folders down, and how many at the
            most, where that is something else than datasets.

    Raises LibraryError for what is no folder.
    """

    def __init__(
        self,
        folders: Sequence[Path],
        recorded: Path | None = None,
        kind: str = "dataset",
        is_one: Callable[[Path], bool] | None = None,
        deepest: int = _DEEPEST,
        most: int = MOST_DATASETS,
    ):
        self._kind, self._is_one = kind, is_one or _is_dataset
        self._deepest, self._most = deepest, most
        self._folders: list[Path] = [] if recorded is None else [resolved(recorded)]
        for folder in folders:
            try:
                if not folder.is_dir():
                    raise LibraryError(
                        f"{printable(folder)}: expected a folder of {self._kind}s, found "
                        f"{'a file' if folder.exists() else 'nothing'}; name another"
                    )
                self._folders.append(resolved(folder))
            except OSError as error:
                raise LibraryError(f"{explained(error)}; name another folder") from error
        self._places: dict[str, Place] = {}
        self._open: dict[str, _Opened] = {}
        self._lock = threading.Lock()

    @property
    def folders(self) -> tuple[Path, ...]:
        """Those that were named, without links."""
        return tuple(self._folders)

    def listed(self) -> tuple[list[Listing], bool]:
        """All of them with what info.json says, and whether all folders were looked through."""
        found = self.look()
        return [_listing(place) for place in found.places], found.whole

    def look(self) -> Found:
        """Look through the folders again."""
        places: list[Place] = []
        looked_at = 0
        whole = True
        unread: list[OSError] = []
        for number, folder in enumerate(self._folders):
            for root, is_one in _roots(folder, self._is_one, self._deepest, unread):
                looked_at += 1
                if looked_at > _MOST_FOLDERS or len(places) >= self._most:
                    whole = False
                    break
                if is_one:
                    places.append(_place(number, folder, root))
        with self._lock:
            self._places = {place.key: place for place in places}
        return Found(tuple(places), whole and not unread)

    def place(self, key: str) -> Place:
        """A dataset by its key. Raises LibraryError for one that is not among those found."""
        found = self._places.get(key)
        if found is None:
            self.look()
            found = self._places.get(key)
        if found is None or not self._is_there(found):
            raise LibraryError(f"no {self._kind} {printable(key, 120)} is shown here; look again")
        return found

    def open(self, key: str) -> Dataset:
        """A dataset, opened, or as it was opened before where it is still the same.

        Raises LibraryError, DatasetError.
        """
        root = self.place(key).root
        mark = _mark(root)
        with self._lock:
            known = self._open.get(key)
            if known is not None and mark is not None and known.mark == mark:
                return known.dataset
        dataset = Dataset(root)
        if mark is not None:
            with self._lock:
                self._open.pop(key, None)
                self._open[key] = _Opened(mark, dataset)
                while len(self._open) > _MOST_OPEN:
                    del self._open[next(iter(self._open))]
        return dataset

    def mark(self, key: str) -> tuple[int, int, int] | None:
        """What tells a dataset's states apart at a glance; None while it is edited, or gone."""
        found = self._places.get(key)
        return None if found is None else _mark(found.root)

    def new_place(self, folder: int, name: str) -> Path:
        """Where a new dataset of this name goes, in one of the folders. Raises LibraryError."""
        if not 0 <= folder < len(self._folders):
            raise LibraryError(f"there are {len(self._folders)} folders, not number {folder}")
        try:
            check_name(name)
        except FileError as error:
            raise LibraryError(str(error)) from error
        if name.startswith("."):
            raise LibraryError(f"{printable(name, 120)}: a name with a dot in front is hidden")
        path = self._folders[folder] / name
        if os.path.lexists(path):
            raise LibraryError(f"{printable(path)} is there already; choose another name")
        return path

    def _is_there(self, place: Place) -> bool:
        """Whether it is still below its folder: a link may have taken the place of one."""
        folder = self._folders[int(place.key.partition("/")[0])]
        try:
            return resolved(place.root) == place.root and place.root.is_relative_to(folder)
        except OSError:
            return False


def _roots(
    folder: Path, is_one: Callable[[Path], bool], deepest: int, unread: list[OSError]
) -> Iterator[tuple[Path, bool]]:
    """Folders, in order, and whether each is one; nothing hidden, nothing inside of one.

    unread: gets the errors of those that are not for this person to read, and are left out.
    """

    def note(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):  # one that is recorded may not be there yet
            unread.append(error)

    top = len(folder.parts)
    for place, folders, _ in os.walk(folder, onerror=note):
        root = Path(place)
        try:
            found = is_one(root)
        except OSError as error:
            note(error)
            folders.clear()
            continue
        yield root, found
        if found or len(root.parts) - top >= deepest:
            folders.clear()
        else:
            folders[:] = sorted(name for name in folders if not name.startswith("."))


def _is_dataset(root: Path) -> bool:
    """Whether it is one, or will be one again when an edit of it is finished."""
    return (root / layout.INFO).is_file() or (root / layout.EDIT_JOURNAL).is_file()


def _place(number: int, folder: Path, root: Path) -> Place:
    relative = root.relative_to(folder).as_posix()
    name = folder.name if relative == "." else relative
    # A file's name is bytes, of which not all are text that can be sent to a browser.
    return Place(f"{number}/{quote(os.fsencode(relative))}", printable(name, 200), root)


def _listing(place: Place) -> Listing:
    try:
        info = layout.load_info(place.root)
    except (DatasetError, OSError) as error:
        return Listing(place, problem=printable(error, 1000))
    seconds = info.total_frames / info.fps
    robot = printable(info.robot_type or "", 120)
    return Listing(place, info.version, robot, info.total_episodes, seconds)


def _mark(root: Path) -> tuple[int, int, int] | None:
    """What info.json is: the last file that a recorder or an edit replaces; None while one does."""
    try:
        if os.path.lexists(root / layout.EDIT_JOURNAL):
            return None
        found = (root / layout.INFO).stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def number_of(text: str, what: str, most: int) -> int:
    """A whole number that a browser sent. Raises LibraryError."""
    if not text.isascii() or not text.isdecimal() or len(text) > 9 or int(text) >= most:
        raise LibraryError(f"{what}: expected 0 to {most - 1}, found {printable(text, 40)}")
    return int(text)


def episode_number(dataset: Dataset, text: str) -> int:
    """The number of one of its episodes. Raises LibraryError."""
    if not dataset.episodes:
        raise LibraryError("the dataset has no episodes")
    return number_of(text, "episode", len(dataset.episodes))
