"""Where a checkpoint lies: a directory here, or a repository of the Hugging Face Hub.

`hub:owner/name` and `hub:owner/name@revision` name repositories; anything else is a path, so that
a mistyped path never asks the network. Only JSON and safetensors files are fetched.
"""

from __future__ import annotations

import errno
from pathlib import Path

from armlet.findings import Code
from armlet.hub import SCHEME, parse
from armlet.policies.config.errors import CheckpointError

_FETCHED = ("*.json", "*.safetensors")
_OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS)


def locate(checkpoint: Path | str) -> Path:
    """The local directory of `checkpoint`, fetched first if it names a repository.

    Raises CheckpointError for a malformed name, without the package huggingface_hub, and when the
    repository cannot be had (offline, only what is in its cache can).
    """
    name = str(checkpoint)
    if not name.startswith(SCHEME):
        return Path(checkpoint)
    named = parse(name)
    if named is None:
        raise CheckpointError.found(
            Code.POLICY_CHECKPOINT_NOT_FOUND,
            name,
            "name of a repository",
            expected="hub:owner/name or hub:owner/name@revision",
            found=repr(name),
            fix="correct the name, or give a local directory",
        )
    return _fetch(name, *named)


def is_repository(name: str) -> bool:
    """Whether a name can be that of a repository, owner/name, and is none of a path."""
    named = parse(SCHEME + name)
    return named is not None and named[1] is None and not name.startswith(".")


def cached(repo: str, files: tuple[str, ...], revision: str | None = None) -> Path | None:
    """The folder of a repository's files if the Hub's cache on this machine has all; no network.

    revision: a branch, tag or commit; None: the main branch.
    """
    try:
        from huggingface_hub import try_to_load_from_cache
        from huggingface_hub.errors import HFValidationError
    except ImportError:
        return None
    try:
        found = [try_to_load_from_cache(repo, file, revision=revision) for file in files]
    except HFValidationError:
        return None
    places = {Path(file).parent for file in found if isinstance(file, str)}
    return places.pop() if len(places) == 1 and all(isinstance(f, str) for f in found) else None


def _fetch(name: str, repo: str, revision: str | None) -> Path:
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import (
            HfHubHTTPError,
            HFValidationError,
            LocalEntryNotFoundError,
        )
    except ImportError as error:
        raise CheckpointError.found(
            Code.POLICY_PACKAGE_MISSING,
            name,
            "repository",
            expected="the Python package huggingface_hub, which fetches it",
            found="no such package",
            fix="pip install huggingface_hub, or give a local directory",
        ) from error
    try:
        folder = snapshot_download(repo, revision=revision, allow_patterns=list(_FETCHED))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        if isinstance(error, OSError) and error.errno in _OF_THE_DISK:
            raise CheckpointError.found(
                Code.POLICY_CACHE_FULL,
                name,
                "repository",
                expected="room, and the right to write, in the Hub's cache on this machine",
                found=error.strerror,
                fix="make room, or set HF_HOME to a folder of yours on another disk",
            ) from error
        raise CheckpointError.found(
            Code.POLICY_CHECKPOINT_NOT_FOUND,
            name,
            "repository",
            expected="one the Hub, or its cache on this machine, has",
            found=str(error).partition("\n")[0] or type(error).__name__,
            fix="check name, revision and network, or give a local directory",
        ) from error
    return Path(folder)
