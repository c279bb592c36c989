"""Seeded damage to files: what a crash, a bad copy, another program or an enemy makes of them."""

from __future__ import annotations

import json
import os
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

HOSTILE_TEXTS = (
    "",
    ".",
    "..",
    "/etc/hostname",
    "../../around/precious.txt",
    "{chunk_index.foo}",
    "{chunk_index:02000000000d}",
    "{video_key}/{chunk_index}/{file_index}/../../../../x",
    "{0}{}{!r}",
    "data/{unknown}.parquet",
    "observation.images.f/../../x",
    "\x1b[2J\x1b]0;owned\x07",
    "\u202emoc.elpmaxe\u2066",
    "\x00",
    "\ud800",
    "v2.1",
    "v3.0",
    "t" * 5_000_000,
)
HOSTILE_NUMBERS = (0, -1, -6, 1, 2**31, 2**63, 2**70, 10**400, 1e308, 0.5, 3.0, True, False)
HOSTILE_VALUES: tuple[Any, ...] = (
    *HOSTILE_TEXTS,
    *HOSTILE_NUMBERS,
    None,
    [],
    {},
    [[]],
    [-6],
    ["a", 1, None],
    {"a": {"b": []}},
)
RAW_TOKENS = (b"NaN", b"Infinity", b"-Infinity", b"1e999", b"9" * 5000, b'"\\ud800"', b"1,", b"}")
SPARSE = 3 << 30


def mutate(path: Path, dice: random.Random) -> str:
    """Damage one file; says how."""
    own: list[Callable[[Path, random.Random], str]] = []
    if path.suffix in (".json", ".jsonl"):
        own = [_value, _value, _value, _drop, _twice, _token, _deep]
    elif path.suffix == ".parquet":
        own = [_column, _column, _column, _footer]
    elif path.suffix in (".yaml", ".yml"):
        own = [_yaml]
    elif path.suffix == ".safetensors":
        own = [_header, _header]
    elif path.suffix == ".mp4":
        own = [_playlist, _boxes]
    general = [_cut, _flip, _flip, _noise, _empty, _replaced, _other_kind, _sparse]
    change = dice.choice([*own, *own, *general]) if own else dice.choice(general)
    try:
        return f"{path.name}: {change(path, dice)}"
    except (
        ValueError,
        TypeError,
        LookupError,
        RecursionError,
        OSError,
        pa.ArrowException,
    ) as error:
        return f"{path.name}: {_flip(path, dice)} ({type(error).__name__})"


# --- any file ---------------------------------------------------------------------------------


def _cut(path: Path, dice: random.Random) -> str:
    content = path.read_bytes()
    path.write_bytes(content[: dice.randrange(len(content) + 1)])
    return "cut short"


def _flip(path: Path, dice: random.Random) -> str:
    content = bytearray(path.read_bytes() or b"\0")
    for _ in range(dice.choice((1, 3, 30))):
        content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
    path.write_bytes(content)
    return "bits turned over"


def _noise(path: Path, dice: random.Random) -> str:
    content = bytearray(path.read_bytes())
    at = dice.randrange(len(content) + 1)
    content[at : at + dice.randrange(64)] = dice.randbytes(dice.randrange(64))
    path.write_bytes(content)
    return "bytes replaced"


def _empty(path: Path, dice: random.Random) -> str:
    path.write_bytes(b"")
    return "empty"


def _replaced(path: Path, dice: random.Random) -> str:
    text = dice.choice(
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n",
            b"\xff\xfe\x00\xd8",
            b"[" * 100_000,
            b'{"a":' * 100_000,
            b"null",
            b"[]",
            b"{}",
            b'"text"',
            b"PK\x03\x04",
            b"\x80\x04.",
            b"PAR1" + bytes(64) + struct.pack("<I", 2**31 - 1) + b"PAR1",
        )
    )
    path.write_bytes(text)
    return f"replaced by {text[:24]!r}"


def _other_kind(path: Path, dice: random.Random) -> str:
    path.unlink()
    kind = dice.choice(("pipe", "folder", "zero", "loop", "dangling", "outside"))
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        target = {
            "zero": "/dev/zero",
            "loop": path.name,
            "dangling": "nowhere",
            "outside": str(_case(path) / "around/precious.txt"),
        }
        path.symlink_to(target[kind])
    return kind


def _case(path: Path) -> Path:
    return next(folder for folder in path.parents if (folder / "around").is_dir())


def _sparse(path: Path, dice: random.Random) -> str:
    with path.open("r+b") as file:
        file.truncate(SPARSE)
    return "3 GB of zeros behind it"


# --- by format --------------------------------------------------------------------------------


def _places(value: Any, found: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in list(items):
        found.append((value, key))
        if isinstance(item, dict | list):
            _places(item, found)
    return found


def _load(path: Path, dice: random.Random) -> tuple[list[Any], int]:
    texts = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
    documents = [json.loads(text) for text in texts]
    return documents, dice.randrange(len(documents))


def _store(path: Path, documents: list[Any]) -> None:
    path.write_text("\n".join(json.dumps(document) for document in documents))


def _value(path: Path, dice: random.Random) -> str:
    documents, at = _load(path, dice)
    holder, key = dice.choice(_places(documents[at], []))
    holder[key] = dice.choice(HOSTILE_VALUES)
    _store(path, documents)
    return f"{str(key)[:40]} = {str(holder[key])[:40]!r}"


def _drop(path: Path, dice: random.Random) -> str:
    documents, at = _load(path, dice)
    holder, key = dice.choice(_places(documents[at], []))
    del holder[key]
    _store(path, documents)
    return f"{str(key)[:40]} dropped"


def _twice(path: Path, dice: random.Random) -> str:
    text = path.read_text()
    at = text.index("{") + 1
    path.write_text(text[:at] + '"a": 1, "a": 2, ' + text[at:])
    return "a key twice"


def _token(path: Path, dice: random.Random) -> str:
    content = path.read_bytes()
    places = [n for n, byte in enumerate(content) if byte in b":,["]
    at = dice.choice(places) + 1
    token = dice.choice(RAW_TOKENS)
    path.write_bytes(content[:at] + token + b", " + content[at:])
    return f"{token[:20]!r} in it"


def _deep(path: Path, dice: random.Random) -> str:
    documents, at = _load(path, dice)
    deep = "[" * (depth := dice.choice((40, 900, 50_000))) + "]" * depth
    holder, key = dice.choice(_places(documents[at], []))
    holder[key] = "DEEP"
    _store(path, documents)
    path.write_text(path.read_text().replace('"DEEP"', deep))
    return f"{depth} lists within each other"


def _column(path: Path, dice: random.Random) -> str:
    table = pq.ParquetFile(path).read()
    name = dice.choice(table.column_names)
    place = table.column_names.index(name)
    rows = table.num_rows
    change = dice.choice(("dropped", "text", "null", "NaN", "-1", "huge", "renamed", "fewer rows"))
    if change == "dropped":
        table = table.drop_columns([name])
    elif change == "renamed":
        table = table.rename_columns([n + "/../x" * (n == name) for n in table.column_names])
    elif change == "fewer rows":
        table = table.slice(0, max(0, rows - 1))
    else:
        values = {
            "text": pa.array(["\x1b[31m" + "x" * dice.choice((3, 100_000))] * rows),
            "null": pa.nulls(rows),
            "NaN": pa.array([float("nan")] * rows),
            "-1": pa.array([-1] * rows),
            "huge": pa.array([2**62] * rows),
        }[change]
        table = table.set_column(place, name, values)
    pq.write_table(table, path)
    return f"column {name[:40]} {change}"


def _footer(path: Path, dice: random.Random) -> str:
    content = bytearray(path.read_bytes())
    length = int.from_bytes(content[-8:-4], "little")
    for _ in range(dice.choice((1, 4))):
        content[-8 - dice.randrange(1, max(2, length))] = dice.choice((0, 0x7F, 0xFF, 0x80))
    path.write_bytes(content)
    return "a footer that lies"


def _header(path: Path, dice: random.Random) -> str:
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    document = json.loads(content[8 : 8 + size])
    change = dice.choice(("length", "value", "value", "drop"))
    if change == "length":
        claimed = dice.choice((0, 1, size - 1, 2**40, 2**63, len(content)))
        path.write_bytes(struct.pack("<Q", claimed) + content[8:])
        return f"a header of {claimed} bytes"
    holder, key = dice.choice(_places(document, []))
    if change == "drop":
        del holder[key]
    else:
        holder[key] = dice.choice(HOSTILE_VALUES)
    header = json.dumps(document).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + content[8 + size :])
    return f"header: {str(key)[:40]} {change}"


def _yaml(path: Path, dice: random.Random) -> str:
    text = dice.choice(
        (
            "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n",
            "[" * 50_000,
            "- " * 20_000 + "x",
            "a: 1\na: 2\n",
            "!!python/object/apply:os.system ['touch /tmp/owned']\n",
            "a: .nan\nb: .inf\n",
            "2001-99-99\n",
            "a: " + "9" * 10_000,
            "\x01",
        )
    )
    if dice.random() < 0.5:
        lines = path.read_text().splitlines()
        at = dice.randrange(len(lines))
        value = dice.choice(
            (".inf", "-1", "[]", "'\\e[2J'", "1e400", "null", "{a: {b: c}}", "true")
        )
        lines[at] = lines[at].partition(":")[0] + ": " + value
        path.write_text("\n".join(lines))
        return f"line {at} is {value}"
    path.write_text(text)
    return f"replaced by {text[:24]!r}"


def _playlist(path: Path, dice: random.Random) -> str:
    inner = str(_case(path) / "around/precious.txt")
    text = dice.choice(
        (
            f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://{inner}\n",
            f"ffconcat version 1.0\nfile {inner}\n",
            "RIFF\x00\x00\x00\x00AVI ",
            "<?xml version='1.0'?><MPD/>",
        )
    )
    path.write_text(text)
    return f"a playlist: {text[:12]!r}"


def _boxes(path: Path, dice: random.Random) -> str:
    content = bytearray(path.read_bytes())
    names = (b"stsz", b"stts", b"tkhd", b"mdhd", b"avc1", b"stco", b"stss", b"elst", b"ctts")
    name = dice.choice([n for n in names if n in content])
    at = content.index(name) + 4
    for _ in range(dice.choice((1, 8))):
        content[at + dice.randrange(40)] = dice.choice((0, 1, 0x7F, 0xFF))
    path.write_bytes(content)
    return f"box {name.decode()} lies"
