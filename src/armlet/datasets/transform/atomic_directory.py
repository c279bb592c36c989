"""A dataset made beside its place and moved there whole."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from armlet.datasets.format import atomic_files, layout
from armlet.datasets.format.errors import DatasetError
from armlet.datasets.format.trash import entries
from armlet.files import FileError, advised, check_file, resolved, scratch_folder, umask

_LARGEST_EXTRA = 256 << 20


def require_outside(output: Path, sources: Iterable[Path]) -> None:
    """Raises DatasetError if an output lies inside of a dataset, which is to stay as it is."""
    for source in sources:
        if resolved(output).is_relative_to(resolved(source)):
            raise DatasetError(f"{output} lies inside of {source}; choose a folder outside of it")


@contextlib.contextmanager
def new_dataset(output: Path) -> Iterator[Path]:
    """A folder to make a dataset in; it gets its name once everything is on disk.

    Of a symbolic link it is the folder that the link leads to.

    Raises DatasetError if something is there already. After an exception nothing is left; what a
    kill leaves, hidden beside the output, goes with the next dataset made there.
    """
    output = resolved(Path(output).absolute())
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise DatasetError(f"{output} exists already; choose another folder, or remove it")
    atomic_files.make_folder(output.parent)
    with scratch_folder(output.parent) as scratch:
        folder = scratch / output.name
        folder.mkdir()
        with atomic_files.naming(output):
            yield folder
        atomic_files.sync(path for path in folder.rglob("*") if path.is_file() or path.is_dir())
        folder.chmod(0o777 & ~umask())
        atomic_files.move([(folder, output)])


def copy_extras(root: Path, folder: Path, rewritten: Sequence[str]) -> None:
    """What no version prescribes: the contract, the recorder's ledgers, a README.

    rewritten: names directly in meta/ that are left out. Raises DatasetError for a link out of the
    dataset, or what is no file: nothing is copied that is not the dataset's.
    """
    names = [path.relative_to(root) for path in root.iterdir() if not path.is_dir()]
    meta = [p for p in entries(root, Path("meta")) if p.parts[1] not in rewritten]
    for path in [*names, *meta]:
        source = layout.locate(root, path)
        try:
            check_file(source, _LARGEST_EXTRA)
        except (FileError, FileNotFoundError) as error:
            raise DatasetError(advised(error, "take it out of the dataset first")) from error
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)
