"""What a person may have meant by a name that is not known."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence


def did_you_mean(
    unknown: Iterable[str], known: Sequence[str], renamed: Mapping[str, str] | None = None
) -> str:
    """ "did you mean on_gap? ", or nothing where no known name is near. renamed: old to new."""
    near = []
    for name in unknown:
        if renamed and name in renamed:
            near.append(renamed[name])
        else:
            near += difflib.get_close_matches(name, known, 1)
    return f"did you mean {', '.join(dict.fromkeys(near))}? " if near else ""
