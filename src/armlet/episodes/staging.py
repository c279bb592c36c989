"""A dataset made beside its place and moved there whole."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from . import durable
from .errors import DatasetError


@contextlib.contextmanager
def new_dataset(output: Path) -> Iterator[Path]:
    """A folder to make a dataset in; it gets its name once everything is on disk.

    Raises DatasetError if something is there already. After an exception nothing is left; after a
    kill a hidden folder beside the output is, which may be removed.
    """
    output = Path(output).absolute()
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise DatasetError(f"{output} is there already; give a folder that is not, or remove it")
    durable.make_folder(output.parent)
    folder = Path(tempfile.mkdtemp(prefix=f".{output.name}-", dir=output.parent))
    try:
        yield folder
        durable.sync(path for path in folder.rglob("*") if path.is_file() or path.is_dir())
        folder.chmod(0o777 & ~_umask())
        durable.move([(folder, output)])
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
