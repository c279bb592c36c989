"""What may be done with datasets, as data that travels to the process that does it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any

from armlet.files import FileError, printable, typed


class Verb(StrEnum):
    """As the commands `armlet dataset VERB` are called."""

    CHECK = "check"
    STATS = "stats"
    DELETE = "delete"
    TRIM = "trim"
    RELABEL = "relabel"
    LABEL = "label"
    UNDO = "undo"
    REPAIR = "repair"
    MERGE = "merge"


@dataclass(frozen=True)
class Order:
    """One thing to do. Unlike a command it changes nothing unless `write` says so.

    roots: the dataset; of a merge, all of them. seen: the state it was looked at in. first, last:
    how many frames a trim takes off. labels: by episode, whether it succeeded; others: of those
    that are not named. videos: whether pictures are decoded, for check and stats.
    """

    verb: str
    roots: tuple[str, ...]
    write: bool = False
    seen: str = ""
    episodes: tuple[int, ...] = ()
    first: int = 0
    last: int = 0
    task: str = ""
    labels: Mapping[str, bool] = field(default_factory=dict)
    others: bool | None = None
    output: str = ""
    videos: bool = True

    @property
    def changes(self) -> bool:
        """Whether a dataset is written, and so is not stopped in its middle."""
        return self.write

    def to_json(self) -> dict[str, Any]:
        """For `parse`."""
        return asdict(self)


def parse(document: Any) -> Order:
    """Raises FileError for what is no order."""
    order: Order = typed(Order, document, "order")
    if order.verb not in tuple(Verb):
        raise FileError(f"expected one of {', '.join(Verb)}, found {printable(order.verb, 40)}")
    return replace(order, verb=Verb(order.verb))
