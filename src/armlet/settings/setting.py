"""One parameter: name, default, meaning, range, and whether it may change while the node runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from enum import Enum
from typing import Any

_KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


class Change(Enum):
    """How a parameter may be changed while its node runs; the value is what people read."""

    FREE = "yes"
    LOWER = "up to the configured value"
    HIGHER = "down to the configured value"


@dataclass(frozen=True)
class Fixed:
    """A parameter that is read-only while its node runs, and why."""

    why: str


AT_START = Fixed("the node reads it when it starts")


@dataclass(frozen=True)
class Setting:
    """A parameter: name, default, what it means; numbers may have a range.

    change: how it may be changed while the node runs, or why not. LOWER and HIGHER: no further
    than the value the node was started with. common: the parameter whose value 0 stands for; 0 is
    a value then, whatever the range.
    words: a whole number is a value, and so are these words. formerly: a name it had. respawned:
    its value, whatever is given, in a node that is started again after it died.
    """

    name: str
    default: Any
    description: str
    low: float | None = None
    high: float | None = None
    _: KW_ONLY
    change: Change | Fixed
    words: tuple[str, ...] = ()
    common: str = ""
    formerly: str = ""
    respawned: Any = None

    @property
    def why_fixed(self) -> str:
        """Why it is read-only; empty if it can be changed."""
        return self.change.why if isinstance(self.change, Fixed) else ""

    def misfit(self, value: Any) -> str:
        """Why a value is none of this parameter, in words that follow its name; empty if it is."""
        if value is None:
            return "cannot be deleted"
        if self.words:
            if type(value) is int or value in self.words:
                return ""
            return f"must be a whole number or {' or '.join(self.words)}, found {value!r}"
        if isinstance(self.default, (list, tuple)):
            return self._misfit_list(value)
        kind = type(self.default)
        if type(value) is not kind:
            # As ROS has it: a double is written with a point.
            fix = f"; write {float(value)}" if kind is float and type(value) is int else ""
            return f"must be {_KINDS[kind]}, found {value!r}{fix}"
        if kind is float and not math.isfinite(value):
            return f"must be a finite number, found {value}"
        if self.common and value == 0:
            return ""
        if self.low is not None and self.high is not None and not self.low <= value <= self.high:
            zero = f"0 (as {self.common}) or " if self.common else ""
            return f"must be {zero}{_short(self.low)} to {_short(self.high)}, found {value}"
        return ""

    def _misfit_list(self, value: Any) -> str:
        is_list = isinstance(value, Sequence) and not isinstance(value, str)
        if is_list and all(isinstance(item, str) for item in value):
            return ""
        return f"must be a list of texts, found {value!r}"

    def refusal(self, value: Any, configured: Any, common: float = 0.0) -> str:
        """Why the running node refuses a value, in words; empty if the declaration permits it.

        configured: the value it was started with; common: that of the parameter 0 stands for.
        """
        if why := self.why_fixed:
            return f"read-only: {why}"
        if misfit := self.misfit(value):
            return f"{self.name} {misfit}"
        if self.change is Change.LOWER and (value or common) > (configured or common):
            meant = f" ({self.common}: {common})" if self.common and not value else ""
            return (
                f"{self.name} can be lowered and raised back up to the configured "
                f"{configured or common}, found {value}{meant}; to go further start the node with "
                "another value"
            )
        if self.change is Change.HIGHER and value < configured:
            return (
                f"{self.name} can be raised and lowered back down to the configured {configured}, "
                f"found {value}; to go further start the node with another value"
            )
        return ""


def _short(value: float) -> str:
    return f"{value:.10g}"
