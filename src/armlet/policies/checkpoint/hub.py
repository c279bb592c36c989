"""Where a checkpoint lies: a directory here, or a repository of the Hugging Face Hub.

`hub:owner/name` and `hub:owner/name@revision` name repositories; anything else is a path, so that
a mistyped path never asks the network. Only JSON and safetensors files are fetched.
"""

from __future__ import annotations

from pathlib import Path

from armlet.files import HUB
from armlet.findings import Code
from armlet.hub import FetchError, Lack, Repository, fetch, parse
from armlet.policies.config.errors import CheckpointError

_FETCHED = ("*.json", "*.safetensors")
_CODES = {
    Lack.PACKAGE: Code.POLICY_PACKAGE_MISSING,
    Lack.CACHE: Code.POLICY_CACHE_FULL,
    Lack.REPOSITORY: Code.POLICY_CHECKPOINT_NOT_FOUND,
}


def locate(checkpoint: Path | str) -> Path:
    """The local directory of `checkpoint`, fetched first if it names a repository.

    Raises CheckpointError for a malformed name, without the package huggingface_hub, and when the
    repository cannot be had (offline, only what is in its cache can).
    """
    name = str(checkpoint)
    if not name.startswith(HUB):
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
    named = parse(HUB + name)
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
        return fetch(Repository(repo, "model"), revision, _FETCHED).folder
    except FetchError as error:
        raise CheckpointError.found(
            _CODES[error.lack],
            name,
            "repository",
            expected=error.expected,
            found=error.found,
            fix=error.fix,
        ) from error.__cause__
