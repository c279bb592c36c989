"""Which checkpoints the console shows, and what they say of themselves.

Only documents are read here, nothing is loaded: whether one can be used, and fits, its check says.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from armlet.console.review.library import Library, Place
from armlet.contract import FILE_NAME, Contract, ContractError
from armlet.contract import load as load_contract
from armlet.files import FileError, printable, read_json, read_text

# LeRobot trains into OWNER/NAME/checkpoints/STEP/pretrained_model.
_DEEPEST = 5
MOST_CHECKPOINTS = 200
_CONFIG, _CARD = "config.json", "README.md"
_WEIGHTS = ("model.safetensors", "adapter_model.safetensors")
_LARGEST_CARD = 256 << 10
_MARK = "---"
_CAMERA = "observation.images."
_MOST_TASKS, _LONGEST = 5, 200


@dataclass(frozen=True)
class Facts:
    """What a checkpoint's documents say. Empty, None: they do not.

    cameras: name, width and height. datasets, base: of its model card, names of the Hub.
    """

    policy: str = ""
    cameras: tuple[tuple[str, int, int], ...] = ()
    chunk_size: int | None = None
    action_steps: int | None = None
    fps: int | None = None
    joint_units: str = ""
    joints: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    contract: str = ""
    datasets: tuple[str, ...] = ()
    base: str = ""


@dataclass(frozen=True)
class Listed:
    """One checkpoint: its name for programs (`key`) and for people. problem: "" if it is read."""

    key: str
    name: str
    path: Path
    facts: Facts = field(default_factory=Facts)
    problem: str = ""


class Shelf:
    """The checkpoints below some folders, each of which may be a checkpoint itself.

    Symbolic links below these folders are not followed: what they lead to was not named.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        """Raises LibraryError for what is no folder."""
        self._found = Library(
            folders,
            kind="checkpoint",
            is_one=_is_checkpoint,
            deepest=_DEEPEST,
            most=MOST_CHECKPOINTS,
        )

    def listed(self) -> tuple[tuple[Listed, ...], bool]:
        """All of them, and whether all folders were looked through."""
        found = self._found.look()
        return tuple(_listed(place) for place in found.places), found.whole


def _is_checkpoint(place: Path) -> bool:
    weights = any((place / name).is_file() for name in _WEIGHTS)
    return weights and (place / _CONFIG).is_file()


def _listed(place: Place) -> Listed:
    key, name, root = place.key, place.name, place.root
    try:
        return Listed(key, name, root, facts_of(root))
    except (FileError, ContractError, OSError, ValueError) as error:
        return Listed(key, name, root, problem=printable(error, 1000))


def facts_of(place: Path) -> Facts:
    """What its documents say. Raises FileError, ContractError, OSError for damaged ones."""
    config = read_json(place / _CONFIG)
    if not isinstance(config, dict):
        raise FileError(f"{printable(place / _CONFIG)}: expected a JSON object")
    contract = load_contract(place / FILE_NAME) if (place / FILE_NAME).is_file() else None
    card = _card(place / _CARD)
    return Facts(
        policy=_text(config.get("type")),
        cameras=tuple(_cameras(config.get("input_features"))),
        chunk_size=_whole(config.get("chunk_size", config.get("horizon"))),
        action_steps=_whole(config.get("n_action_steps")),
        datasets=_texts(card.get("datasets")),
        base=_text(card.get("base_model")),
        **({} if contract is None else _contract(contract)),
    )


def _contract(contract: Contract) -> dict[str, Any]:
    return {
        "fps": contract.fps,
        "joint_units": contract.joint_units or "",
        "joints": tuple(name.removesuffix(".pos") for name in contract.action_names),
        "tasks": tuple(printable(task, _LONGEST) for task in contract.tasks[:_MOST_TASKS]),
        "contract": contract.signature(),
    }


def _cameras(features: Any) -> Iterable[tuple[str, int, int]]:
    for key, feature in features.items() if isinstance(features, dict) else ():
        shape = feature.get("shape") if isinstance(feature, dict) else None
        if key.startswith(_CAMERA) and isinstance(shape, list) and len(shape) == 3:
            height, width = _whole(shape[1]), _whole(shape[2])
            if height and width:
                yield printable(key.removeprefix(_CAMERA), _LONGEST), width, height


def _card(path: Path) -> dict[str, Any]:
    """What the model card says to programs: YAML between two marks at its beginning."""
    if not path.is_file():
        return {}
    first, *lines = read_text(path, _LARGEST_CARD).split("\n")
    if first.strip() != _MARK or _MARK not in lines:
        return {}
    try:
        found = yaml.safe_load("\n".join(lines[: lines.index(_MARK)]))
    except (yaml.YAMLError, RecursionError):  # a card is for people first
        return {}
    return found if isinstance(found, dict) else {}


def _texts(value: Any) -> tuple[str, ...]:
    listed = value if isinstance(value, list) else []
    return tuple(text for each in listed[:_MOST_TASKS] if (text := _text(each)))


def _text(value: Any) -> str:
    return printable(value, _LONGEST) if isinstance(value, str) else ""


def _whole(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value < 1 << 31 else None
