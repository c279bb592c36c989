"""Makes the shipped checkpoints by their recipes: records, trains, puts the result in checkpoints/.

python tools/checkpoints.py                all of checkpoints/recipes, one after the other
python tools/checkpoints.py reach          one of them
python tools/checkpoints.py reach --until recorded

What is done stays done: called again, it goes on with the recording that is missing, or with the
training where that was stopped. A recipe that has changed begins again with what changed.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from armlet.files import FileError, printable, read_yaml, typed
from armlet.training import StateError, begun_settings
from armlet.training.state import folder_of

ROOT = Path(__file__).parents[1]
SHIPPED = ROOT / "checkpoints"
RECIPES = SHIPPED / "recipes"
MOST_BYTES = 25_000_000
STAGES = ("recorded", "trained", "shipped")


@dataclass(frozen=True)
class Recording:
    """Episodes of one kind: what `armlet demo --record-only` is told. The seed is the first's."""

    task: str
    episodes: int
    seed: int
    physics: str = ""
    domain: str = ""
    clumsiness: float = 0.0

    def arguments(self) -> list[str]:
        given = {"task": self.task, "seed": self.seed, "clumsiness": self.clumsiness}
        given |= {"physics": self.physics} if self.physics else {}
        given |= {"domain": str(RECIPES / self.domain)} if self.domain else {}
        return ["--record-only", str(self.episodes), *_options(given)]


@dataclass(frozen=True)
class Recipe:
    """How a checkpoint is made. training: options of `armlet train`, with _ for -."""

    recordings: tuple[Recording, ...]
    training: Mapping[str, int | float | bool]


class Failed(Exception):
    """A step has failed, and has said why."""


def read_recipe(name: str) -> Recipe:
    """Raises FileError for a file that is none."""
    path = RECIPES / f"{name}.yaml"
    where = printable(path.relative_to(ROOT))
    try:
        document = read_yaml(path)
    except OSError as error:
        known = ", ".join(names())
        raise FileError(f"no recipe {where}: expected one of {known}") from error
    training = document.pop("training", {}) if isinstance(document, dict) else {}
    if not isinstance(training, dict):
        raise FileError(f"{where}: training: expected options of `armlet train` with their values")
    read: Recipe = typed(Recipe, {**document, "training": {}}, where)
    return dataclasses.replace(read, training=training)


def names() -> list[str]:
    return sorted(path.stem for path in RECIPES.glob("*.yaml"))


class Making:
    """One checkpoint on its way. folder: where its recordings and its training are kept."""

    def __init__(self, name: str, recipe: Recipe, folder: Path, threads: int | None) -> None:
        self._name, self._recipe, self._folder = name, recipe, folder
        self._threads = threads
        self._dataset = folder / "dataset"
        self._checkpoint = folder / "checkpoint"

    def record(self) -> None:
        """Every recording that is not there yet, and all of them as one dataset."""
        roots = [self._recorded(k, one) for k, one in enumerate(self._recipe.recordings)]
        made_of = {"recordings": [dataclasses.asdict(one) for one in self._recipe.recordings]}
        if _is_made(self._dataset, made_of):
            return
        _remove(self._dataset)
        _remove(self._checkpoint)
        _remove(folder_of(self._checkpoint))
        _armlet("dataset", "merge", *map(str, roots), "--output", str(self._dataset))
        _note_made(self._dataset, made_of)

    def _recorded(self, number: int, recording: Recording) -> Path:
        folder = self._folder / f"recording{number}"
        if not _is_made(folder, dataclasses.asdict(recording)):
            _note(folder).unlink(missing_ok=True)
            _armlet("demo", *recording.arguments(), "--output", str(folder))
            _note_made(folder, dataclasses.asdict(recording))
        return folder / "dataset"

    def train(self) -> None:
        """From the beginning, or from where it was stopped."""
        training = dict(self._recipe.training)
        if _is_made(self._checkpoint, training):
            return
        places = ["--dataset", str(self._dataset), "--output", str(self._checkpoint)]
        threads = [] if self._threads is None else ["--threads", str(self._threads)]
        if self._has_begun(training):
            _armlet("train", *places, "--resume", *threads)
        else:
            _note(self._checkpoint).unlink(missing_ok=True)
            _remove(self._checkpoint)
            _remove(folder_of(self._checkpoint))
            _armlet("train", *places, *_options(training), *threads)
        _note_made(self._checkpoint, training)

    def _has_begun(self, training: Mapping[str, object]) -> bool:
        try:
            begun = dataclasses.asdict(begun_settings(self._checkpoint))
        except StateError:
            return False
        return all(begun[key] == value for key, value in training.items())

    def ship(self) -> None:
        """Put it in checkpoints/, in the place of the one before."""
        size = sum(path.stat().st_size for path in self._checkpoint.iterdir())
        if size > MOST_BYTES:
            raise Failed(
                f"{self._checkpoint}: expected {MOST_BYTES:,} bytes at most, found {size:,}"
            )
        place = SHIPPED / self._name
        _remove(place)
        shutil.copytree(self._checkpoint, place)
        print(f"{place}: {size:,} bytes", flush=True)


def _options(given: Mapping[str, object]) -> list[str]:
    options = []
    for name, value in given.items():
        if value is not False:
            options.append(f"--{name.replace('_', '-')}")
            options += [] if value is True else [str(value)]
    return options


def _armlet(*arguments: str) -> None:
    print("armlet", *arguments, flush=True)
    command = [sys.executable, "-m", "armlet.cli.main", *arguments]
    with subprocess.Popen(command) as process:
        # Ctrl-C comes to both, a signal to end only here; what was begun ends in its own way.
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        ended = signal.signal(signal.SIGTERM, lambda *_: process.terminate())
        status = process.wait()
        signal.signal(signal.SIGINT, before)
        signal.signal(signal.SIGTERM, ended)
    if status:
        raise Failed(f"armlet {arguments[0]} ended with status {status}")


def _note(made: Path) -> Path:
    return made.with_name(f"{made.name}.made.json")


def _is_made(made: Path, of: Mapping[str, object]) -> bool:
    try:
        return made.is_dir() and bool(json.loads(_note(made).read_text()) == of)
    except FileNotFoundError:
        return False


def _note_made(made: Path, of: Mapping[str, object]) -> None:
    unfinished = _note(made).with_suffix(".new")
    unfinished.write_text(json.dumps(of, indent=2) + "\n")
    unfinished.replace(_note(made))


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="of recipes (default: all)")
    parser.add_argument("--output", type=Path, default=Path("training-output"))
    parser.add_argument("--until", choices=STAGES, default=STAGES[-1])
    parser.add_argument("--threads", type=int, help="CPU threads of the training")
    args = parser.parse_args(arguments)
    last = STAGES.index(args.until)
    try:
        for name in args.names or names():
            making = Making(name, read_recipe(name), args.output / name, args.threads)
            for step in (making.record, making.train, making.ship)[: last + 1]:
                step()
    except (FileError, Failed) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
