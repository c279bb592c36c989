"""`armlet train`: ACT on a recorded dataset, from scratch, on a CPU."""

from __future__ import annotations

import argparse
from pathlib import Path

from armlet.cli.terminal.output import show, show_error


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "train",
        help="train a small ACT policy on a dataset",
        description="Train ACT from scratch with the preprocessing the policy node uses, and save "
        "it as a LeRobot checkpoint with the dataset's contract.",
    )
    parser.add_argument("--dataset", type=Path, required=True, help="dataset recorded by armlet")
    parser.add_argument("--output", type=Path, required=True, help="new checkpoint directory")
    parser.add_argument("--steps", type=int, help="training steps")
    parser.add_argument("--batch-size", type=int, help="frames per step")
    parser.add_argument("--seed", type=int, help="seed of initial weights and sampling")
    parser.add_argument("--threads", type=int, help="CPU threads; default: torch's")
    parser.add_argument("--half", action="store_true", help="store weights in half precision")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Train and save; 0, or 2 with one line on stderr for what cannot be trained."""
    import torch

    from armlet.datasets import Dataset, DatasetError
    from armlet.policies import CheckpointError
    from armlet.training import Progress, TrainingSettings, train_act

    given = {
        name: getattr(args, name)
        for name in ("steps", "batch_size", "seed", "half")
        if getattr(args, name) is not None
    }
    try:
        settings = TrainingSettings(**given)
        if args.threads is not None:
            if args.threads < 1:
                raise ValueError(f"threads must be at least 1, found {args.threads}")
            torch.set_num_threads(args.threads)
    except ValueError as error:
        return _refuse(error)

    def report(progress: Progress) -> None:
        show(
            f"step {progress.step}/{progress.steps}  error {progress.error:.4f}  "
            f"held out {progress.validation:.4f}",
        )

    try:
        train_act(Dataset(args.dataset), args.output, settings, report)
    except (DatasetError, CheckpointError, OSError) as error:
        return _refuse(error)
    show(f"saved {args.output}")
    return 0


def _refuse(error: Exception) -> int:
    # One line, whatever a library put into its message.
    show_error(error, "armlet train: ")
    return 2
