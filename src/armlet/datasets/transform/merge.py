"""Several datasets as one new one: episodes one after another, tasks of the same words as one."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from armlet.contract import Contract, ContractError, fit, load
from armlet.datasets.format import atomic_files, layout
from armlet.datasets.format.errors import DatasetError
from armlet.datasets.format.layout import Feature, Info
from armlet.datasets.format.trash import entries
from armlet.datasets.record.compatibility import robot_family
from armlet.files import FileError, advised, printable, read_bytes

from .assembly import Assembly
from .atomic_directory import new_dataset, require_outside
from .convert import REWRITTEN
from .cuts import Cut, Source

Progress = Callable[[int, int], None]

LEDGERS = layout.ledger_path(0).parent.name
_ABSENT = "no such feature"
_ONE_ALONE = (
    "record or label both alike, or take it out of a copy (`lerobot-edit-dataset`, remove_feature, "
    "then `armlet dataset bind --from`)"
)
_LARGEST_EXTRA = 256 << 20


@dataclass(frozen=True)
class Made:
    """A new dataset. notes: what a person should know of it."""

    root: Path
    episodes: int
    frames: int
    notes: tuple[str, ...] = ()


def merge(
    roots: Sequence[Path], output: Path, dry_run: bool = False, progress: Progress | None = None
) -> Made:
    """Write the episodes of several datasets as one new dataset. The sources stay as they are.

    Raises DatasetError, naming all that differs, unless version, rate, robot, features, codecs and
    contract are the same; OSError.
    """
    if len(roots) < 2:
        raise DatasetError("name at least two datasets to merge")
    require_outside(output, roots)
    with locked(roots):
        sources: list[Source] = []
        for root in roots:
            sources.append(Source.open(root, sum(len(one.rows) for one in sources)))
        wrong = [line for other in sources[1:] for line in _misfits(sources[0], other)]
        if wrong:
            raise DatasetError("these datasets cannot be one:\n" + "\n".join(wrong))
        info = layout.parse_info({**sources[0].info.document, "splits": {}})
        cuts = [Cut.whole(one, k) for one in sources for k in range(len(one.rows))]
        assembly = Assembly(info, cuts)
        if not dry_run:
            with new_dataset(output) as folder:
                write(assembly, folder, progress)
    return made(output, assembly)


def write(assembly: Assembly, folder: Path, progress: Progress | None = None) -> None:
    """Write a whole dataset into an empty folder, with what else the first source has in meta/."""
    products = assembly.products()
    for done, product in enumerate(products, 1):
        target = layout.place(folder, product.target)
        target.parent.mkdir(parents=True, exist_ok=True)
        product.make(target)
        if progress is not None:
            progress(done, len(products))
    root = assembly.cuts[0].source.root
    for path, content in _extras(root).items():
        target = layout.place(folder, path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)


def made(root: Path, assembly: Assembly) -> Made:
    """What there is of a dataset that was written, or would be."""
    notes = tuple(product.note for product in assembly.products() if product.note)
    return Made(root, len(assembly.rows), assembly.info.total_frames, notes)


@contextlib.contextmanager
def locked(roots: Sequence[Path]) -> Iterator[None]:
    """Nobody records into these datasets meanwhile. Raises DatasetError if somebody does."""
    handles: list[int] = []
    try:
        for root in roots:
            if not root.is_dir():
                raise DatasetError(f"{root} is not a folder", layout.CHOOSE)
            if any(root.samefile(other) for other in roots[: len(handles)]):
                raise DatasetError(f"{root} is named twice")
            handles.append(atomic_files.lock(root))
        yield
    finally:
        for handle in handles:
            atomic_files.unlock(handle)


def _extras(root: Path) -> dict[Path, bytes]:
    """Files in meta/ that no version prescribes and no episode owns, such as the contract."""
    found = {}
    for path in entries(root, Path("meta")):
        if path.parts[1] in (*REWRITTEN, LEDGERS):
            continue
        try:
            found[path] = read_bytes(layout.locate(root, path), _LARGEST_EXTRA)
        except (FileError, FileNotFoundError) as error:
            raise DatasetError(advised(error, "take it out of the dataset first")) from error
    return found


def _misfits(first: Source, other: Source) -> list[str]:
    """What differs between two datasets so that they cannot be one, a line each."""
    pairs: list[tuple[str, object, object, str]] = [
        ("version", first.info.version, other.info.version, "`armlet dataset convert` one of them"),
        ("fps", first.info.fps, other.info.fps, "they were recorded at different rates"),
        (
            "robot_type",
            robot_family(first.info.robot_type),
            robot_family(other.info.robot_type),
            "they are of different robots",
        ),
    ]
    for key in dict.fromkeys([*first.info.features, *other.info.features]):
        ours, theirs = (_shape(source.info.features.get(key)) for source in (first, other))
        fix = _ONE_ALONE if _ABSENT in (ours, theirs) else "record or label both alike"
        pairs.append((f"feature {key}", ours, theirs, fix))
    splits = [_extra_splits(source.info) for source in (first, other)]
    pairs.append(("splits", splits[0] or "train only", "train only", "remove them from info.json"))
    pairs.append(("splits", "train only", splits[1] or "train only", "remove them from info.json"))
    lines = [
        f"  {printable(item, 80)}: {first.root} has {printable(str(ours), 200)}, {other.root} has "
        f"{printable(str(theirs), 200)}; {fix}"
        for item, ours, theirs, fix in pairs
        if ours != theirs
    ]
    return [*lines, *_contract_lines(first, other), *_extra_lines(first, other)]


def _shape(feature: Feature | None) -> str:
    if feature is None:
        return _ABSENT
    codec = (feature.info or {}).get("video.codec", "")
    names = "" if feature.is_picture else " ".join(feature.names or ())
    return f"{feature.dtype} {list(feature.shape)} {names or codec}".strip()


def _extra_splits(info: Info) -> str:
    splits = info.document.get("splits") or {}
    return ", ".join(sorted(set(map(str, splits)) - {"train"}))


def _contract_lines(first: Source, other: Source) -> list[str]:
    """Contracts are of the same robot, units, cameras and calibration."""
    ours, theirs = _contract(first.root), _contract(other.root)
    if ours is None and theirs is None:
        return []
    if ours is None or theirs is None:
        bare = first.root if ours is None else other.root
        return [
            f"  {layout.CONTRACT}: {bare} has none, so that its joint units and calibration are "
            "unknown; write one (`armlet dataset bind`), if the other's units and calibration are "
            "its own too"
        ]
    wrong = [verdict for verdict in fit(ours, theirs) if not verdict.ok]
    if not wrong and ours.signature() != theirs.signature():
        return [f"  {layout.CONTRACT}: the contracts differ: compare the two files"]
    return [f"  contract of {other.root}: {verdict}" for verdict in wrong]


def _contract(root: Path) -> Contract | None:
    try:
        return load(layout.locate(root, layout.CONTRACT))
    except FileNotFoundError:
        return None
    except ContractError as error:
        raise DatasetError(str(error)) from error


def _extra_lines(first: Source, other: Source) -> list[str]:
    """Files in meta/ that armlet does not know, which must not be lost or mixed up."""
    ours, theirs = _extras(first.root), _extras(other.root)
    return [
        f"  {path}: it differs or only one has it, and armlet does not know what it means; take it "
        "out of both"
        for path in sorted({*ours, *theirs} - {layout.CONTRACT})
        if ours.get(path) != theirs.get(path)
    ]
