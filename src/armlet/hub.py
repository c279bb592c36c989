"""The Hugging Face Hub: names of repositories, fetching one's files, and pushing files to one.

What is fetched lies in the Hub's cache on this machine, which is read and never changed. A push is
one commit, which is there whole or not at all, then the tag. So one that was interrupted
is done again: what is there already is recognized by its content and not uploaded twice. The server
is the one that HF_ENDPOINT names.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import TYPE_CHECKING, Any

from armlet.files import HUB, printable

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_NAME = re.compile(r"hub:(?P<repo>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?")
# What the Hub itself puts into a new repository.
_OF_THE_HUB = frozenset((".gitattributes",))
CARD = "README.md"
_BLOCK = 1 << 20
# What huggingface_hub raises over an answer of another form than the Hub's.
_STRANGE = (TypeError, KeyError, AttributeError, IndexError, json.JSONDecodeError)
_TOKEN_FIXES = {
    401: "the token is not valid there: `hf auth login`, or set HF_TOKEN to another",
    403: "use a token that may write there",
}
# As logging has it.
_ERRORS = 40
# A server that says nothing for so long is not there.
_ANSWER_S = 10.0
# While files go up, which is longer: a commit of many files takes the Hub a while.
_STALLED_S = 60.0
_SILENCES = ("ReadTimeout", "WriteTimeout")
_OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS)


class HubError(ValueError):
    """A repository that cannot be pushed to: what was expected, what was found, how to fix it."""


class Lack(Enum):
    """Why nothing could be fetched: the package, the cache on this machine, or the repository."""

    PACKAGE = auto()
    CACHE = auto()
    REPOSITORY = auto()


class FetchError(HubError):
    """A repository whose files cannot be had; the parts of its message."""

    def __init__(self, name: str, lack: Lack, expected: str, found: str, fix: str):
        super().__init__(f"{name}: expected {expected}, found {found}; {fix}")
        self.lack, self.expected, self.found, self.fix = lack, expected, found, fix


@dataclass(frozen=True)
class Repository:
    """Name, as owner/name, and kind of a repository: `dataset` or `model`."""

    name: str
    kind: str

    @property
    def owner(self) -> str:
        return self.name.partition("/")[0]

    def __str__(self) -> str:
        return f"{HUB}{self.name}"


def parse(text: str) -> tuple[str, str | None] | None:
    """owner/name, and the revision if one is named, of `hub:owner/name@revision`; None: no such."""
    found = _NAME.fullmatch(text)
    return None if found is None else (found["repo"], found["revision"])


@dataclass(frozen=True)
class Fetched:
    """A commit's folder in the Hub's cache, which has its name. online: whether it was asked for
    now; else there is what was fetched before."""

    folder: Path
    online: bool


def fetch(repository: Repository, revision: str | None, patterns: tuple[str, ...]) -> Fetched:
    """Those files of a commit that match a pattern; where the Hub cannot be asked, from its cache.

    revision: a branch, tag or commit; None: the main branch. Raises FetchError.
    """
    name = f"{repository}@{revision}" if revision else str(repository)
    try:
        from huggingface_hub import constants, snapshot_download
    except ImportError as error:
        raise FetchError(
            name,
            Lack.PACKAGE,
            "the Python package huggingface_hub, which fetches it",
            "no such package",
            "pip install huggingface_hub, or give a local directory",
        ) from error
    refused: Exception | None = None
    try:
        refused = _asked(repository, revision)
        bars = sys.stderr is not None and sys.stderr.isatty()
        with _progress(bars), _quiet(), _no_silence_over(_ANSWER_S):
            folder = snapshot_download(
                repository.name,
                repo_type=repository.kind,
                revision=revision,
                allow_patterns=list(patterns),
                local_files_only=refused is not None,
            )
    except Exception as error:  # those of the transport differ between versions of the package
        why = error if refused is None or _is_of_the_disk(error) else refused
        raise _not_fetched(name, str(constants.ENDPOINT), why) from error
    return Fetched(Path(folder), refused is None)


def _asked(repository: Repository, revision: str | None) -> Exception | None:
    """Why the server does not say what it has; None if it does. Raises for an unknown revision.

    Asked first, since downloads are tried again for half a minute.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HFValidationError, RevisionNotFoundError

    try:
        HfApi().repo_info(
            repository.name, repo_type=repository.kind, revision=revision, timeout=_ANSWER_S
        )
    except (HFValidationError, RevisionNotFoundError):
        raise
    except Exception as error:
        return error
    return None


def not_in_cache(name: str, file: str) -> FetchError:
    """For a repository of which this machine has a part only, and whose server does not answer."""
    from huggingface_hub import constants

    return FetchError(
        name,
        Lack.REPOSITORY,
        _EXPECTED,
        f"no {file} in the cache, and no answer from {constants.ENDPOINT}",
        "check the network and HF_ENDPOINT, or give a local directory",
    )


_EXPECTED = "one the Hub, or its cache on this machine, has"


def _is_of_the_disk(error: Exception) -> bool:
    return isinstance(error, OSError) and error.errno in _OF_THE_DISK


def _not_fetched(name: str, endpoint: str, error: Exception) -> FetchError:
    from huggingface_hub import constants
    from huggingface_hub.errors import HfHubHTTPError

    if isinstance(error, OSError) and _is_of_the_disk(error):
        expected = "room, and the right to write, in the Hub's cache on this machine"
        fix = "make room, or set HF_HOME to a folder of yours on another disk"
        return FetchError(name, Lack.CACHE, expected, error.strerror or str(error), fix)
    refused = _refusal(error, HfHubHTTPError)
    if constants.HF_HUB_OFFLINE:
        found = f"no such thing in the cache, and HF_HUB_OFFLINE keeps {endpoint} from being asked"
        fix = "unset HF_HUB_OFFLINE, or give a local directory"
    elif refused is None:
        found = f"{endpoint} cannot be reached ({_said(error)})"
        fix = "check the network and HF_ENDPOINT, or give a local directory"
    else:
        found = f"{endpoint} refused ({_said(refused)})"
        fix = (
            "check name and revision, `hf auth login` for a private or gated one, or give a local "
            "directory"
        )
    return FetchError(name, Lack.REPOSITORY, _EXPECTED, found, fix)


def target(text: str, kind: str) -> Repository:
    """The repository that a push goes to. Raises HubError for a name that is none of one."""
    found = parse(text)
    if found is None or found[1] is not None:
        raise HubError(
            f"{printable(text)}: expected hub:owner/name, without a revision: a push goes to the "
            "main branch; correct the name"
        )
    return Repository(found[0], kind)


@dataclass(frozen=True)
class Content:
    """What is pushed: by its path in the repository, a file here or its bytes.

    folders and endings: other files in the repository below these folders, or with these endings,
    are of the version before, and are not in the new one. tag: of the new version.
    """

    files: Mapping[str, Path | bytes]
    folders: tuple[str, ...] = ()
    endings: tuple[str, ...] = ()
    tag: str | None = None

    def replaces(self, path: str) -> bool:
        """Whether a file of the repository is of the version before only."""
        owned = path.startswith(self.folders) or path.endswith(self.endings)
        return owned and path not in self.files


@dataclass(frozen=True)
class Remote:
    """What is known of a repository before a push.

    account: whose token it is, with its organizations. files: digests by path (git's SHA-1 of a
    plain file, SHA-256 of one in LFS); None if the repository is not there. commit: the newest.
    tags: their commits.
    """

    repository: Repository
    endpoint: str
    account: tuple[str, ...]
    files: Mapping[str, str] | None = None
    public: bool = False
    commit: str | None = None
    tags: Mapping[str, str] | None = None

    def is_empty(self) -> bool:
        """Whether nothing was pushed to it yet."""
        return not set(self.files or ()) - _OF_THE_HUB - {CARD}

    def holds(self, content: Content) -> bool:
        """Whether these files are there as they are here, and none of a version before."""
        return not self.stale(content) and not self.changed(content)

    def stale(self, content: Content) -> list[str]:
        """The files there that the new version is without."""
        return [path for path in self.files or () if content.replaces(path)]

    def changed(self, content: Content) -> dict[str, Path | bytes]:
        """Those of the files that are not there as they are here."""
        there = self.files or {}
        return {
            path: file
            for path, file in content.files.items()
            if path not in there or there[path] != _digest(file, len(there[path]))
        }


def look(repository: Repository) -> Remote:
    """What is there now. Raises HubError: not logged in, not reachable, without the package."""
    api = _api(repository)
    from huggingface_hub import get_token
    from huggingface_hub.errors import RepositoryNotFoundError

    endpoint = str(api.endpoint)
    if get_token() is None:
        raise HubError(
            f"{repository}: not logged in to {endpoint}; `hf auth login`, or set HF_TOKEN to a "
            "token that may write"
        )
    with _asking(repository, endpoint, _ANSWER_S):
        me = api.whoami()
        names = [me["name"], *(one["name"] for one in me.get("orgs") or ())]
    remote = Remote(repository, endpoint, tuple(map(str, names)))
    with _asking(repository, endpoint, _ANSWER_S):
        try:
            return _state(api, remote)
        except RepositoryNotFoundError:
            return remote


def require_usable(remote: Remote, content: Content, *, public: bool, update: bool) -> None:
    """Raise HubError for a repository that holds something else, or that others can see."""
    if remote.files is None:
        return
    if remote.public and not public:
        raise HubError(
            f"{remote.repository} is public; --public pushes into it, where everybody sees it; or "
            "name another"
        )
    if not (update or remote.is_empty() or remote.holds(content)):
        raise HubError(
            f"{remote.repository} exists already and holds something else; --update makes this its "
            "newest version; or name another"
        )


def push(remote: Remote, content: Content, *, public: bool, bars: bool = False) -> str:
    """Make files the newest version of a repository, which is made if need be; its page.

    public: of a new repository. bars: show progress on stderr. Raises HubError; what was done so
    far stays, and another push goes on from there.
    """
    api = _api(remote.repository)
    if remote.files is None:
        _create(api, remote, public)
    again = "push again, it goes on where it was"
    with _asking(remote.repository, remote.endpoint, _STALLED_S, again):
        if not remote.holds(content):
            with _progress(bars):
                _commit(api, remote, content)
        now = _state(api, remote)
        _require_whole(now, content)
        if content.tag is not None:
            _tag(api, now, content.tag)
    place = "datasets/" if remote.repository.kind == "dataset" else ""
    return f"{remote.endpoint}/{place}{remote.repository.name}"


@contextlib.contextmanager
def _progress(bars: bool) -> Iterator[None]:
    from huggingface_hub.utils import (  # type: ignore[attr-defined,unused-ignore]
        disable_progress_bars,
        enable_progress_bars,
    )

    if bars:
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the package's own warnings: what matters of them is in the error."""
    from huggingface_hub.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity(_ERRORS)
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _require_whole(now: Remote, content: Content) -> None:
    """A .gitignore of the repository, say, leaves files out without a word."""
    if not now.holds(content):
        other = [*now.changed(content), *now.stale(content)]
        raise HubError(
            f"{now.repository}: after the push {len(other)} file(s) are not there as they are "
            f"here, the first {printable(other[0])}; look at the repository's .gitignore, and "
            "whether somebody else pushes to it"
        )


def _tag(api: HfApi, now: Remote, tag: str) -> None:
    name, kind, tags = now.repository.name, now.repository.kind, now.tags or {}
    if tags.get(tag) == now.commit:
        return
    if tag in tags:
        api.delete_tag(name, tag=tag, repo_type=kind)
    api.create_tag(name, tag=tag, revision=now.commit, repo_type=kind)


def _api(repository: Repository) -> HfApi:
    try:
        from huggingface_hub import HfApi
    except ImportError as error:
        raise HubError(
            f"{repository} is pushed to by the Python package huggingface_hub, which is not there; "
            "pip install huggingface_hub"
        ) from error
    return HfApi()


def _state(api: HfApi, remote: Remote) -> Remote:
    """Raises what huggingface_hub does."""
    name, kind = remote.repository.name, remote.repository.kind
    info = api.repo_info(name, repo_type=kind)
    found: dict[str, str] = {}
    for one in api.list_repo_tree(name, recursive=True, repo_type=kind):
        blob, lfs = getattr(one, "blob_id", None), getattr(one, "lfs", None)
        if blob is not None:  # a folder has none
            found[one.path] = blob if lfs is None else lfs.sha256
    refs = api.list_repo_refs(name, repo_type=kind)
    tags = {one.name: one.target_commit for one in refs.tags}
    return Remote(
        remote.repository,
        remote.endpoint,
        remote.account,
        found,
        info.private is False,
        info.sha,
        tags,
    )


def _create(api: HfApi, remote: Remote, public: bool) -> None:
    from huggingface_hub.errors import HfHubHTTPError

    name, kind = remote.repository.name, remote.repository.kind
    with _asking(remote.repository, remote.endpoint, _STALLED_S):
        try:
            api.create_repo(name, private=not public, repo_type=kind)
        except HfHubHTTPError as error:
            if error.response is None or error.response.status_code not in (400, 403, 404):
                raise
            raise HubError(
                f"{remote.repository} cannot be made: there is no owner {remote.repository.owner}, "
                f"or this token may not write there ({_said(error)}); it is of "
                f"{printable(', '.join(remote.account))}: name one of these, or use another token"
            ) from error


def _commit(api: HfApi, remote: Remote, content: Content) -> None:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    operations: list[Any] = [
        CommitOperationAdd(path, file if isinstance(file, bytes) else str(file))
        for path, file in remote.changed(content).items()
    ]
    operations += [CommitOperationDelete(path) for path in remote.stale(content)]
    api.create_commit(
        remote.repository.name,
        operations,
        commit_message="Push by armlet",
        repo_type=remote.repository.kind,
        parent_commit=remote.commit,  # refused if somebody else pushed meanwhile
    )


def _digest(file: Path | bytes, length: int) -> str:
    """As the Hub has it: 40 letters are git's SHA-1 of a blob, 64 the SHA-256 of the content."""
    size = len(file) if isinstance(file, bytes) else file.stat().st_size
    digest = hashlib.sha256() if length == 64 else hashlib.sha1(f"blob {size}\0".encode())
    if isinstance(file, bytes):
        digest.update(file)
        return digest.hexdigest()
    with file.open("rb") as opened:
        while block := opened.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


@contextlib.contextmanager
def _no_silence_over(seconds: float) -> Iterator[None]:
    """End a request over which no byte comes or goes for so long; huggingface_hub waits for ever.

    Limits that it sets itself stay. Whoever is slow and goes on is not cut off.
    """
    from huggingface_hub.utils import get_session  # type: ignore[attr-defined]

    session: Any = get_session()
    send = session.send

    def within(request: Any, **options: Any) -> Any:
        limits = getattr(request, "extensions", {}).get("timeout")
        if limits is None:  # of requests, which huggingface_hub before 1.0 uses
            options["timeout"] = options.get("timeout") or seconds
        else:
            limits.update({name: seconds for name, limit in limits.items() if limit is None})
        return send(request, **options)

    session.send = within
    try:
        yield
    finally:
        session.send = send


@contextlib.contextmanager
def _asking(
    repository: Repository, endpoint: str, seconds: float, again: str = ""
) -> Iterator[None]:
    """Say in one line what the Hub, or the way to it, refused.

    seconds: the longest silence of the server. again: how to go on.
    """
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    try:
        with _no_silence_over(seconds):
            yield
    except (HubError, FileNotFoundError):
        raise
    except OfflineModeIsEnabled as error:
        raise HubError(
            f"{repository}: HF_HUB_OFFLINE is set, so {endpoint} is not asked; unset it"
        ) from error
    except Exception as error:  # those of the transport differ between versions of the package
        refused = _refusal(error, HfHubHTTPError)
        if isinstance(error, _STRANGE):
            said = f"{endpoint} does not answer as a Hub does ({_said(error)}); check HF_ENDPOINT"
        elif refused is None:
            fix = "check the network and HF_ENDPOINT" + (f", and {again}" if again else "")
            why = f"cannot be reached: {_said(error)}"
            if _is_silence(error):
                why = f"does not answer: nothing came or went for {seconds:g} s"
            said = f"{endpoint} {why}; {fix}"
        else:
            fix = _TOKEN_FIXES.get(refused.response.status_code, again or "try again later")
            said = f"{endpoint} refused: {_said(refused)}; {fix}"
        raise HubError(f"{repository}: {said}") from error


def _refusal(error: BaseException | None, kind: type[Any]) -> Any:
    """The answer of the server that led to an error; None if there was none."""
    while error is not None:
        if isinstance(error, kind) and getattr(error, "response", None) is not None:
            return error
        error = error.__cause__
    return None


def _is_silence(error: BaseException | None) -> bool:
    """Whether the server took what was sent, or the connection, and said nothing."""
    while error is not None:
        if type(error).__name__ in _SILENCES:
            return True
        error = error.__cause__
    return False


def _said(error: Exception) -> str:
    """The server's own words, or the first line of the message."""
    own = getattr(error, "server_message", None)
    return printable(own or str(error).strip().partition("\n")[0] or type(error).__name__)
