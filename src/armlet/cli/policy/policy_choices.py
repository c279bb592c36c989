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
        help="camera the SmolVLA policy was trained without; may be repeated",
    )
    parser.add_argument(
        "--denoising",
        metavar="KIND:STEPS",
        help="scheduler and steps for a Diffusion Policy in place of its config.json's (DDIM:10); "
        "its actions differ then",
    )
    add_base(parser)
    add_versions(parser)


def add_base(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--base",
        metavar="DIR",
        help="checkpoint that a LoRA policy was trained from, or hub:owner/name@revision, if it is "
        "not where the adapter says",
    )


def add_versions(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--lerobot",
        metavar="VERSION",
        help="LeRobot version of the training, if the checkpoint does not state it (0.5.1, or 0.5)",
    )
    parser.add_argument(
        "--transformers",
        metavar="VERSION",
        help="transformers version of a SmolVLA training, if the checkpoint does not state "
        "it (4.57.6, or 4.57)",
    )


def add_embodiment(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--embodiment",
        metavar="ROBOT",
        help="robot whose statistics to use, if the checkpoint has those of several",
    )


def chosen(args: argparse.Namespace) -> Choices:
    from armlet.policies import Choices

    return Choices(
        args.embodiment,
        args.vlm,
        tuple(args.without),
        args.lerobot,
        args.transformers,
        args.denoising,
        args.base,
    )
