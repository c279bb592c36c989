"""JSON documents that programs hand to each other, in messages and files: each says its version.

Two computers, or a recording and whoever reads it, may have different versions of armlet. A version
that is not known is refused, whatever else the document holds: what it means is not known either.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .documents import parse_json
from .errors import FileError
from .text import printable

_VERSION = "version"
# json.dumps makes an encoder again for whoever wants other separators.
_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode


def write_versioned(version: int, members: Mapping[str, Any]) -> str:
    """Canonical JSON: sorted keys, no spaces, so that equal documents are equal bytes."""
    return _encode({_VERSION: version, **members})


def read_versioned(
    text: str,
    what: str,
    versions: Sequence[int],
    longest: int,
    unstated: int | None = None,
    parse: Callable[[str], Any] = parse_json,
) -> tuple[int, dict[str, Any]]:
    """The version of a document, one of `versions`, and its other members, which nobody judged.

    what: the document is, as in `a contract`. longest: characters. unstated: the version of those
    that state none, as were written before they did. parse: json.loads where a document comes with
    every frame and all that is read of it is judged. Raises FileError.
    """
    if len(text) > longest:
        raise FileError(f"not {what}: {len(text):,} characters, expected at most {longest:,}")
    try:
        found = parse(text)
    except (ValueError, RecursionError) as error:
        raise FileError(f"not {what}: {printable(error)}") from error
    if not isinstance(found, dict):
        raise FileError(f"not {what}: expected a JSON object, found {printable(text, 40)}")
    version = found.pop(_VERSION, unstated)
    if type(version) is not int or version not in versions:
        known = " and ".join(map(str, versions))
        said = "no version" if version is None else f"version {printable(version, 40)}"
        raise FileError(
            f"not {what} that this armlet reads: expected version {known}, found {said}; use the "
            "armlet that wrote it, the same one on all computers of a graph"
        )
    return version, found
