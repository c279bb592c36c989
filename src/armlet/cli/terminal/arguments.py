"""The command line's parser: argparse's, which also names what may have been meant."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

from armlet.files import HUB, OutputError, check_output, check_output_file
from armlet.suggestions import did_you_mean


def namespace(text: str) -> str:
    """A ROS namespace, or none. Raises ArgumentTypeError."""
    from armlet.bringup import NAMESPACE_EXPECTED, is_namespace

    if not is_namespace(text):
        raise argparse.ArgumentTypeError(f"{NAMESPACE_EXPECTED}, found {text!r}")
    return text


def count(text: str) -> int:
    """A whole number from 1 up. Raises ArgumentTypeError."""
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 up, found {text!r}")
    return int(text)


def output_path(text: str) -> Path:
    """A path to write to, whose folders may have to be made. Raises ArgumentTypeError."""
    return _checked(check_output, text)


def output_file(text: str) -> Path:
    """A file to write in a folder that is there. Raises ArgumentTypeError."""
    return _checked(check_output_file, text)


DATASET = "the dataset's folder, or hub:owner/name@revision"


def own_dataset(text: str) -> Path:
    """The folder of a dataset to be changed. Raises ArgumentTypeError for one of the Hub."""
    if text.startswith(HUB):
        repository = text.removeprefix(HUB).partition("@")[0]
        raise UnusablePath(
            f"{text}: expected the folder of a dataset, found a repository of the Hub, whose copy "
            f"here is shared and is not changed; copy it first: hf download {repository} "
            "--repo-type dataset --local-dir DIR"
        )
    return Path(text)


class UnusablePath(argparse.ArgumentTypeError):
    """Nothing can be written there; the message says what to do, so --help need not be named."""


def _checked(check: Callable[[Path], None], text: str) -> Path:
    try:
        check(Path(text))
    except OutputError as error:
        raise UnusablePath(str(error)) from error
    return Path(text)


class Parser(argparse.ArgumentParser):
    """Its subparsers are of this class too."""

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        try:
            super()._check_value(action, value)
        except argparse.ArgumentError as error:
            hint = did_you_mean([str(value)], [str(choice) for choice in action.choices or ()])
            raise argparse.ArgumentError(action, f"{hint}{error.message}") from error

    def _get_value(self, action: argparse.Action, arg_string: str) -> Any:
        try:
            return super()._get_value(action, arg_string)
        except argparse.ArgumentError as error:
            if isinstance(error.__context__, UnusablePath):
                self._refuse(str(error))
            raise

    def _print_message(self, message: str, file: Any = None) -> None:
        """As argparse does, but a help text that cannot be written is an OSError."""
        stream = file or sys.stderr
        if message and stream is not None:  # `2>&-`
            stream.write(message)

    def error(self, message: str) -> NoReturn:
        """End the program with one line, headed as every command heads its own."""
        self._refuse(f"{message}; see {self.prog} --help")

    def _refuse(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {' '.join(message.split())}\n")

    def refuse(self, words: Sequence[str], command: str) -> None:
        """End the program: a command, or a verb of it, takes none of these words."""
        parser = next(each for each in _below(self) if each.prog == f"{self.prog} {command}")
        known = [option for each in _below(parser) for option in each._option_string_actions]
        unknown = [word.partition("=")[0] for word in words if word.startswith("-")]
        parser.error(f"{did_you_mean(unknown, known)}unrecognized arguments: {' '.join(words)}")


def _below(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """A parser and all its subparsers."""
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for each in action.choices.values():
                yield from _below(each)
