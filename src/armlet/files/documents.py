"""JSON, JSON lines and YAML, read strictly.

UTF-8, no key twice in one object, no NaN, no Infinity (also not as 1e999), whole numbers of at most
64 bits, nesting of at most `Shape.depth`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from .errors import FileError
from .opening import read_text
from .text import printable

_LARGEST_WHOLE = 2**64
_NOT_JSON = "restore the file, or write it again with the program that made it"


@dataclass(frozen=True)
class Shape:
    """How large a document may be: bytes, and objects and lists within each other."""

    size: int = 16 << 20
    depth: int = 32


SMALL = Shape(size=1 << 20)
# PyYAML reads some 100 kB a second.
YAML = Shape(size=256 << 10)


def read_json(path: Path, shape: Shape = SMALL) -> Any:
    """A JSON file's value. Raises FileNotFoundError, or FileError naming the file."""
    text = read_text(path, shape.size)
    try:
        return parse_json(text, shape.depth)
    except FileError as error:
        raise FileError(f"{printable(path)} is not JSON: {error}", _NOT_JSON) from error


def json_lines(path: Path, shape: Shape, torn: bool = False) -> Iterator[dict[str, Any]]:
    """The objects of a JSON-lines file; empty lines are left out.

    torn: a last line that was cut short is left out too. Raises as `read_json`, naming the line.
    """
    texts = read_text(path, shape.size).split("\n")
    numbered = [(number, text) for number, text in enumerate(texts, 1) if text.strip()]
    for number, text in numbered:
        where = f"{printable(path)}, line {number}"
        try:
            found = parse_json(text, shape.depth)
        except FileError as error:
            if torn and number == numbered[-1][0]:
                return
            raise FileError(f"{where}, cannot be read: {error}", _NOT_JSON) from error
        if not isinstance(found, dict):
            raise FileError(f"{where}: expected a JSON object, found {printable(text, 80)}")
        yield found


def parse_json(text: str, depth: int = SMALL.depth) -> Any:
    """The value of a JSON text. Raises FileError."""
    try:
        found = json.loads(
            text,
            object_pairs_hook=_unique,
            parse_constant=_no_constant,
            parse_float=_finite,
            parse_int=_whole,
        )
    except RecursionError as error:
        raise FileError(f"nested deeper than {depth} levels") from error
    except FileError:
        raise
    except (ValueError, TypeError) as error:
        raise FileError(printable(error)) from error
    _check_depth(found, depth)
    if "\\ud" in text or "\\uD" in text:
        _check_surrogates(found)
    return found


def read_yaml(path: Path, shape: Shape = YAML, scalar: Callable[[str], Any] | None = None) -> Any:
    """A YAML file's value, plain data only. Raises FileNotFoundError, or FileError.

    scalar: what a value without quotation marks means, by its text; keys are text then. None: as
    YAML 1.1 has it.
    """
    text = read_text(path, shape.size)
    try:
        found = _loaded(text, scalar)
    except (yaml.YAMLError, RecursionError, ValueError, OverflowError, TypeError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise FileError(f"{printable(path)} is not YAML: {printable(reason)}") from error
    try:
        _check_depth(found, shape.depth)
        _check_text(found)
    except FileError as error:
        raise FileError(f"{printable(path)}: {error}") from error
    return found


class _StrictLoader(yaml.SafeLoader):
    """Plain values only; refuses aliases, which make megabytes of a line, and repeated keys."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            raise yaml.YAMLError("it contains an alias (*name); write out the value")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        # Through the pairs, so that a key that is there twice is seen.
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if not isinstance(key, str | int | float | bool | None):
                raise yaml.YAMLError(f"a key must be plain text, found {printable(key, 80)}")
        if len(set(keys)) != len(keys):
            twice = next(key for key in keys if keys.count(key) > 1)
            raise yaml.YAMLError(f"the key {printable(twice, 80)} occurs twice in one mapping")
        return super().construct_mapping(node, deep)


class _ScalarLoader(_StrictLoader):
    """Values without quotation marks are read by `scalar`, whatever YAML or their tag says."""

    scalar: Callable[[str], Any]

    def resolve(self, kind: type[yaml.Node], value: Any, implicit: Any) -> str:
        if kind is yaml.ScalarNode:
            return _PLAIN if implicit[0] else _TEXT
        return str(super().resolve(kind, value, implicit))  # type: ignore[no-untyped-call]

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                key.tag = _TEXT
        return node

    def construct_plain(self, node: yaml.ScalarNode) -> Any:
        return self.scalar(self.construct_scalar(node))


_TEXT, _PLAIN = "tag:yaml.org,2002:str", "!plain"
for _name in ("bool", "int", "float", "null", "timestamp", "binary"):
    _ScalarLoader.add_constructor(f"tag:yaml.org,2002:{_name}", _ScalarLoader.construct_plain)
_ScalarLoader.add_constructor(_PLAIN, _ScalarLoader.construct_plain)


def _loaded(text: str, scalar: Callable[[str], Any] | None) -> Any:
    if scalar is None:
        return yaml.load(text, _StrictLoader)
    loader = _ScalarLoader(text)
    loader.scalar = scalar
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


def _check_text(value: Any) -> None:
    """An escape such as \\ud800 is half a character, which no file or message can have."""
    if isinstance(value, dict):
        for key, item in value.items():
            _check_text(key)
            _check_text(item)
    elif isinstance(value, list):
        for item in value:
            _check_text(item)
    elif isinstance(value, str) and not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise FileError(f"{printable(value, 80)}: half a character is no text") from error


def _check_depth(value: Any, depth: int) -> None:
    level = [value]
    for _ in range(depth + 1):
        level = [
            item
            for outer in level
            if isinstance(outer, dict | list)
            for item in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(item, dict | list)
        ]
        if not level:
            return
    raise FileError(f"nested deeper than {depth} levels")


def _check_surrogates(value: Any) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise FileError(
            "half a surrogate pair (\\ud800 to \\udfff), which is no character"
        ) from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise FileError(f"the key {printable(twice, 80)!r} occurs twice in one object")
    return content


def _no_constant(name: str) -> None:
    raise FileError(f"{name} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise FileError(f"the number {printable(text, 40)} is too large")
    return value


def _whole(text: str) -> int:
    if len(text) > 21 or abs(value := int(text)) > _LARGEST_WHOLE:
        raise FileError(f"the number {printable(text, 40)} is too large")
    return value
