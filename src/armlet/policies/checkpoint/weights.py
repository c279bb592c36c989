"""model.safetensors and statistics files, their headers read before a byte of their content.

Only safetensors is read: a header in JSON, then plain numbers. A file that is something else, or
whose header contradicts its size, is refused before anything is allocated or mapped.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from armlet.files import FileError, check_file, kind_of, open_file, parse_json
from armlet.findings import Code
from armlet.policies.config.errors import CheckpointError

FILE = "model.safetensors"
FLOATS = ("F32", "F16", "BF16")

# A policy's is well below one megabyte.
_LONGEST_HEADER, _DEPTH = 8_000_000, 4
# A tensor's is below a hundred; what is made of each of its modules grows with the square.
_LONGEST_NAME = 512
_ITEM_SIZES = {
    **dict.fromkeys(("F64", "I64", "U64"), 8),
    **dict.fromkeys(("F32", "I32", "U32"), 4),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 2),
    **dict.fromkeys(("I8", "U8", "BOOL", "F8_E4M3", "F8_E5M2"), 1),
}
# torch.save writes a zip archive, or in old versions a bare pickle.
_PICKLES = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


@dataclass(frozen=True)
class Entry:
    """One tensor as the header announces it; dtype is safetensors' name, like F32 or BF16."""

    dtype: str
    shape: tuple[int, ...]


def read_header(path: Path) -> dict[str, Entry]:
    """Name, dtype and shape of every tensor in `path`, checked against the size of the file.

    Raises CheckpointError if the file is missing, is pickled, or is not one whole safetensors file.
    """
    try:
        size = check_file(path)
        with open_file(path) as file:
            length = int.from_bytes(file.read(8), "little")
            file.seek(0)
            start = file.read(8)
            if start.startswith(_PICKLES):
                raise _pickled(path)
            if size < 8 or length > min(size - 8, _LONGEST_HEADER):
                found = f"{size} bytes, of which the header claims {length}"
                raise _damaged(path, found)
            header = parse_json(file.read(length).decode("utf-8"), _DEPTH)
    except FileNotFoundError as error:
        raise _missing(path) from error
    except (OSError, ValueError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise _damaged(path, error) from error
    if not isinstance(header, dict):
        raise _damaged(path, f"a header that is {kind_of(header, 'a ')}")
    header.pop("__metadata__", None)
    return _entries(header, size - 8 - length, path)


def refuse_pointers(folder: Path) -> None:
    """Raise CheckpointError if a file of a checkpoint is no file, or a Git LFS pointer."""
    for path in sorted(folder.glob("*.safetensors")):
        try:
            check_file(path)
        except (FileError, OSError) as error:
            raise _damaged(path, error) from error


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """A safetensors file for reading tensors; errors in it or its content are CheckpointErrors."""
    read_header(path)
    try:
        with safe_open(str(path), framework="pt") as file:
            yield file
    except OSError as error:
        raise _damaged(path, error) from error
    except SafetensorError as error:
        raise _damaged(path, str(error) or type(error).__name__) from error


def read_tensor(file: Any, name: str, where: Path) -> Tensor:
    """A weight as finite float32, copied out of the mapped file.

    Raises CheckpointError for NaN, infinite values and negative variances.
    """
    # A copy: the mapped file could change under us, and its alignment moves results by an ulp.
    value: Tensor = file.get_tensor(name).to(torch.float32, copy=True)
    if not torch.isfinite(value).all():
        raise CheckpointError.found(
            Code.POLICY_WEIGHTS_NOT_FINITE,
            where,
            f"values of {name}",
            expected="finite weights",
            found=f"{int((~torch.isfinite(value)).sum())} NaN or infinite of {value.numel()}",
            fix="training diverged or the file is damaged: take an earlier checkpoint",
        )
    if name.endswith(".running_var") and bool((value < 0).any()):
        raise CheckpointError.found(
            Code.POLICY_WEIGHTS_NOT_FINITE,
            where,
            f"values of {name}",
            expected="variances, not negative",
            found=float(value.min()),
            fix="the file is damaged: copy it again",
        )
    return value


def check_weights(
    found: Mapping[str, Entry], expected: Mapping[str, tuple[int, ...]], where: Path
) -> None:
    """Raise CheckpointError unless exactly the tensors of `expected` are there, as floats."""
    missing, extra = sorted(set(expected) - set(found)), sorted(set(found) - set(expected))
    if missing or extra:
        raise CheckpointError.found(
            Code.POLICY_WEIGHTS_MISMATCH,
            where,
            "tensor names",
            expected=f"{len(expected)} tensors; missing {some(missing)}",
            found=f"{len(found)} tensors; extra {some(extra)}",
            fix="config.json and the weights must come from one training run",
        )
    for name, shape in expected.items():
        if found[name].shape != shape:
            raise CheckpointError.found(
                Code.POLICY_WEIGHTS_MISMATCH,
                where,
                f"shape of {name}",
                expected=shape,
                found=found[name].shape,
                fix="config.json and the weights must come from one training run",
            )
        if found[name].dtype not in FLOATS:
            raise CheckpointError.found(
                Code.POLICY_WEIGHTS_MISMATCH,
                where,
                f"dtype of {name}",
                expected=" or ".join(FLOATS),
                found=found[name].dtype,
                fix="save the weights as float32",
            )


def some(names: list[str], shown: int = 5) -> str:
    """The first few of the names, and how many more there are."""
    listed = ", ".join(names[:shown]) or "none"
    return listed + (f" and {len(names) - shown} more" if len(names) > shown else "")


def _entries(header: Mapping[str, Any], content: int, path: Path) -> dict[str, Entry]:
    """The header's tensors, which must fill the `content` bytes that follow it without a gap."""
    entries, spans = {}, []
    for name, stated in header.items():
        if len(name) > _LONGEST_NAME:
            raise _damaged(path, f"a tensor with a name of {len(name)} characters")
        try:
            dtype, shape, (begin, end) = stated["dtype"], stated["shape"], stated["data_offsets"]
            size = math.prod(shape) * _ITEM_SIZES[dtype]
            sound = all(type(n) is int and n >= 0 for n in (*shape, begin, end))
        except (KeyError, TypeError, ValueError) as error:
            raise _damaged(path, f"{name} without a known dtype, shape and place") from error
        if not sound or end - begin != size:
            found = f"{name}, {dtype} {shape} in bytes {begin} to {end}"
            raise _damaged(path, found)
        entries[name] = Entry(dtype, tuple(shape))
        spans.append((begin, end))
    at = 0
    for begin, end in sorted(spans):
        if begin != at:
            raise _damaged(path, f"tensors that overlap or leave a gap at byte {begin}")
        at = end
    if at != content:
        raise _damaged(path, f"{content} bytes of content where the header places {at}")
    return entries


def _damaged(path: Path, found: object, code: Code = Code.POLICY_FILE_DAMAGED) -> CheckpointError:
    return CheckpointError.found(
        code,
        path,
        "file not readable",
        expected="a whole safetensors file",
        found=found,
        fix="copy the file again",
    )


def _missing(path: Path) -> CheckpointError:
    pickled = sorted(p.name for p in path.parent.glob("*") if p.suffix in (".bin", ".pt", ".pth"))
    if path.name != FILE or not pickled:
        return _damaged(path, "no such file", Code.POLICY_FILE_MISSING)
    return _pickled(path.with_name(pickled[0]))


def _pickled(path: Path) -> CheckpointError:
    return CheckpointError.found(
        Code.POLICY_FILE_PICKLED,
        path,
        "file not readable",
        expected="a whole safetensors file",
        found="a pickled one",
        fix=(
            "unpickling executes code from the file, so armlet never does it: load the file "
            "where you trust it, and save the weights with safetensors"
        ),
    )
