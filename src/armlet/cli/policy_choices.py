"""Options for what a checkpoint leaves open, see armlet.policies.Choices."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from armlet.policies import Choices


def add_choices(parser: argparse.ArgumentParser) -> None:
    add_embodiment(parser)
    parser.add_argument(
        "--vlm",
        type=Path,
        metavar="DIR",
        help="config.json and tokenizer.json of SmolVLA's language model",
    )
    parser.add_argument(
        "--without",
        action="append",
        default=[],
        metavar="CAMERA",
        help="a camera the SmolVLA policy was trained without",
    )


def add_embodiment(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--embodiment",
        metavar="ROBOT",
        help="whose statistics to take, where a checkpoint has those of several robots",
    )


def chosen(args: argparse.Namespace) -> Choices:
    from armlet.policies import Choices

    return Choices(args.embodiment, args.vlm, tuple(args.without))
