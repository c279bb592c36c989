"""Values of a document as the fields of a dataclass; nothing is converted: 1 is not true."""

from __future__ import annotations

import dataclasses
import functools
import math
import types
import typing
from collections.abc import Mapping
from typing import Any

from .errors import FileError
from .text import printable

_SHOWN = 120


def typed(kind: Any, value: Any, where: str) -> Any:
    """`value` as a `kind`: a dataclass, tuple, mapping, scalar, or one of these or None.

    A whole number is accepted for a float and stays one. Raises FileError naming `where`.
    """
    if dataclasses.is_dataclass(kind) and isinstance(value, dict):
        return _fields(kind, value, where)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is types.UnionType:
        return None if value is None else typed(arguments[0], value, where)
    if origin is tuple and isinstance(value, list):
        return tuple(typed(arguments[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    if origin is Mapping and isinstance(value, dict):
        return {key: typed(arguments[1], item, f"{where}.{key}") for key, item in value.items()}
    if kind is float and type(value) in (int, float) and _is_finite(value):
        return value
    if kind in (bool, int, str) and type(value) is kind:
        return value
    raise FileError(f"{printable(where)}: expected {_named(kind)}, found {shown(value)}")


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number that no float holds
        return False


def whole_number(value: Any, where: str, low: int = 0, high: int = 2**53) -> int:
    """A whole number within low..high; 30.0 counts as one, true and "30" do not.

    Raises FileError naming `where`.
    """
    if type(value) is int or (type(value) is float and value.is_integer()):
        number = int(value)
        if low <= number <= high:
            return number
    raise FileError(
        f"{printable(where)}: expected a whole number of {low} to {high}, found {shown(value)}"
    )


def shown(value: object) -> str:
    """A value in an error message; None, a key that is absent or null, is nothing."""
    if value is None:
        return "nothing"
    try:
        text = repr(value)
    except ValueError:  # it has a whole number of more digits than Python writes
        text = f"a {type(value).__name__} with a number of thousands of digits"
    return printable(text, _SHOWN)


def kind_of(value: object, article: str = "") -> str:
    """The type of a document's value in an error message; article: what stands before it."""
    return "nothing" if value is None else article + type(value).__name__


_hints = functools.cache(typing.get_type_hints)


def _fields(kind: Any, document: dict[str, Any], where: str) -> Any:
    hints = _hints(kind)
    unknown = sorted(set(document) - set(hints))
    required = {
        field.name
        for field in dataclasses.fields(kind)
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    }
    missing = sorted(required - set(document))
    if unknown or missing:
        found = ", ".join(printable(name, 40) for name in unknown) or "all but these"
        expected = f"only {', '.join(hints)}" if unknown else ", ".join(missing)
        raise FileError(f"{printable(where)}: expected {expected}, found {found}")
    return kind(**{key: typed(hints[key], v, f"{where}.{key}") for key, v in document.items()})


def _named(kind: Any) -> str:
    """A field's type as it is in JSON, for people."""
    if typing.get_origin(kind) is tuple:
        return f"a list of {_named(typing.get_args(kind)[0])}"
    names = {int: "a whole number", float: "a finite number", str: "a text", bool: "true or false"}
    return names.get(kind, "an object")
