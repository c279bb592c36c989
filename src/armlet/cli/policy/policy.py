"""`armlet policy`: infer and inspect checkpoints without a robot, check whether they fit one."""

from __future__ import annotations

import argparse
import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from armlet.cli.terminal.arguments import output_file
from armlet.cli.terminal.output import refuse, show
from armlet.files import replace_file

from . import (
    policy_bind,
    policy_check,
    policy_compare,
    policy_evaluate,
    policy_export,
    policy_push,
)
from .policy_choices import add_choices, chosen

if TYPE_CHECKING:
    from armlet.policies import Checkpoint, Observation, PolicyConfig

_LARGEST = 512 << 20
# As many of its tasks as inspect prints.
_TASKS = 20


class InputError(ValueError):
    """An input file that is not what `armlet policy infer` reads."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    policy = subparsers.add_parser(
        "policy",
        help="run, inspect, check, bind, evaluate, export, push a trained policy, no robot needed",
    )
    verbs = policy.add_subparsers(dest="verb", metavar="VERB", required=True)
    infer = verbs.add_parser(
        "infer",
        help="compute a policy's actions for recorded observations",
        description="IN holds image_<camera> uint8 (T, H, W, 3) RGB for each camera, state "
        "(T, n) in dataset units, task (text). OUT gets chunk (C, n), predicted "
        "from the first step, and actions (T, n), the consecutive choices after a reset. SmolVLA "
        "starts every chunk from noise (C, max_action_dim) if IN holds it, Diffusion Policy from "
        "(horizon, n), by DDPM (steps, horizon, n).",
    )
    infer.add_argument("--checkpoint", type=Path, required=True, metavar="DIR")
    add_choices(infer)
    infer.add_argument("--input", type=Path, required=True, metavar="IN.npz")
    infer.add_argument("--output", type=output_file, required=True, metavar="OUT.npz")
    infer.add_argument("--device", default="cpu", help="torch device (default: cpu)")
    infer.add_argument(
        "--backend",
        choices=("torch", "onnxruntime", "openvino", "auto"),
        default="torch",
        help="runtime of the network; an exported DIR needs onnxruntime or openvino; auto: the "
        "fastest by measurement (default: torch)",
    )
    infer.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    infer.add_argument(
        "--optimize",
        action="store_true",
        help="use the faster network of the policy node; results differ from LeRobot's by rounding",
    )
    infer.set_defaults(run=run_infer)
    inspect = verbs.add_parser("inspect", help="print a checkpoint's inputs, outputs and contents")
    inspect.add_argument(
        "checkpoint", type=Path, metavar="DIR", help="directory, or hub:owner/name@revision"
    )
    add_choices(inspect)
    inspect.add_argument(
        "--backends", action="store_true", help="load and time each runtime that can run it here"
    )
    inspect.set_defaults(run=run_inspect)
    policy_check.add_verb(verbs)
    policy_bind.add_verb(verbs)
    policy_evaluate.add_verb(verbs)
    policy_compare.add_verb(verbs)
    policy_export.add_verb(verbs)
    policy_push.add_verb(verbs)


def run_infer(args: argparse.Namespace) -> int:
    """Write chunk and actions; 0, or 2 with one line on stderr for bad input."""
    import numpy as np

    from armlet.policies import load_policy

    try:
        policy = load_policy(
            args.checkpoint,
            device=args.device,
            optimize=args.optimize,
            choices=chosen(args),
            backend=args.backend,
            precision=args.precision,
        )
    except ValueError as error:
        return refuse("policy infer", error)
    if policy.choice:
        show(policy.choice, error=True)
    try:
        arrays = _read_arrays(args.input)
        noise = _noise(arrays) if policy.draws else None
        if "noise" in arrays and noise is None:
            show(f"note: noise is ignored, {policy.config.TITLE} draws none", error=True)
        steps = _observations(arrays, policy.config)
        first = steps[0].at_start(policy.config.n_obs_steps)
        chunk = policy.predict_chunk(first, noise=noise)
        policy.reset()
        actions = np.stack([policy.select_action(step, noise) for step in steps])
        content = io.BytesIO()
        np.savez_compressed(content, chunk=chunk, actions=actions)
        replace_file(args.output, content.getvalue())
    except (ValueError, FloatingPointError, OSError) as error:
        return refuse("policy infer", error)
    return 0


def run_inspect(args: argparse.Namespace) -> int:
    """Print the checkpoint's face; 0, or 2 with one line on stderr if it cannot be loaded."""
    from armlet.policies.runtime.export import is_export

    inspect = _inspect_export if is_export(args.checkpoint) else _inspect_weights
    try:
        checkpoint = inspect(args)
        if args.backends:
            _print_backends(args)
    except ValueError as error:
        return refuse("policy inspect", error)
    config = checkpoint.config
    played = (
        f"temporal ensembling, coefficient {config.temporal_ensemble_coeff}"
        if config.temporal_ensemble_coeff is not None
        else f"{config.n_action_steps} of {config.chunk_size} actions of a chunk"
    )
    for key, feature in config.used_features.items():
        mode = config.normalization_mapping[feature.type]
        show(f"{feature.type.lower():14} {key} {list(feature.shape)} {mode}")
        for name, values in checkpoint.preprocessor.statistics(key).items():
            show(f"{'':14} {name:4} {' '.join(f'{v:.4g}' for v in values.flatten())}")
    show(f"pictures       resize: {config.resize}")
    show(f"playback       {played}")
    show(f"statistics     {checkpoint.preprocessor.fingerprint()}")
    _print_contract(checkpoint.contract)
    for note in checkpoint.notes:
        show(f"note           {note}")
    return 0


def _print_backends(args: argparse.Namespace) -> None:
    """What backend auto finds of each runtime, in float32."""
    from armlet.policies import load_policy

    policy = load_policy(args.checkpoint, choices=chosen(args), backend="auto")
    for candidate in policy.candidates:
        chosen_one = " (auto takes it)" if candidate.backend == policy.backend else ""
        show(f"backend        {candidate}{chosen_one}")


def _inspect_export(args: argparse.Namespace) -> Checkpoint:
    """The checkpoint of an exported policy, after the lines that its graph gives."""
    from armlet.policies.runtime.export import read_export

    export = read_export(args.checkpoint)
    show(f"policy         {export.checkpoint.config.TITLE}, {_build(export.checkpoint.config)}")
    policy_export.print_manifest(export.manifest)
    return export.checkpoint


def _inspect_weights(args: argparse.Namespace) -> Checkpoint:
    """The checkpoint, after the lines that only its weights can give."""
    from armlet.policies import load_network, read_checkpoint

    checkpoint = read_checkpoint(args.checkpoint, chosen(args))
    count = sum(parameter.numel() for parameter in load_network(checkpoint).parameters())
    config = checkpoint.config
    show(f"policy         {config.TITLE}, {count / 1e6:.1f} M parameters, {_build(config)}")
    show(f"trained with   {checkpoint.origin}")
    show(f"weights        {_dtypes(checkpoint.weights)}")
    return checkpoint


def _build(config: PolicyConfig) -> str:
    """What kind of network it is, in a few words."""
    from armlet.policies.registry import family_of

    return family_of(config).describe(config)


def _dtypes(weights: Path) -> str:
    """How many tensors of each dtype the weights file has."""
    from collections import Counter

    from armlet.policies.checkpoint.weights import read_header

    counts = Counter(entry.dtype for entry in read_header(weights).values())
    return ", ".join(f"{dtype} ({count})" for dtype, count in sorted(counts.items()))


def _noise(arrays: Mapping[str, Any]) -> Any:
    """The noise (C, N) or (K, C, N) as float32, None if there is none. Raises InputError."""
    import numpy as np

    noise = arrays.get("noise")
    if noise is None:
        return None
    if noise.dtype.kind != "f" or noise.ndim not in (2, 3) or not np.isfinite(noise).all():
        raise InputError(f"input: expected finite noise (C, N), found {noise.dtype} {noise.shape}")
    return noise.astype(np.float32)


def _print_contract(contract: Any) -> None:
    if contract is None:
        show(
            "contract       none: rate, joint names and units are not stated in this checkpoint; "
            "`armlet policy bind` takes them from the dataset it was trained on"
        )
        return
    show(f"contract       {contract.signature()}")
    show(f"rate           {contract.fps} Hz, joints in {contract.joint_units or 'unstated units'}")
    show(f"state names    {', '.join(contract.state_names)}")
    show(f"action names   {', '.join(contract.action_names)}")
    for task in contract.tasks[:_TASKS]:
        show(f"task           {task}")


def _read_arrays(path: Path) -> dict[str, Any]:
    import zipfile
    import zlib

    import numpy as np

    from armlet.files import FileError, open_file

    # What numpy and zipfile raise for damaged archives; RuntimeError is theirs for encrypted
    # members and unknown compression, MemoryError comes of an absurd shape.
    damaged = (
        *(zipfile.BadZipFile, zlib.error, ValueError, EOFError),
        *(RuntimeError, MemoryError, OSError),
    )
    try:
        stream = open_file(path)
    except FileError as error:
        raise InputError(str(error)) from error
    with stream:
        try:
            _check_sizes(stream, path)
            archive = np.load(stream, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise InputError(f"{path}: expected an .npz archive, found a single array")
            known = ("state", "task", "noise", "environment_state")
            names = [n for n in archive.files if n in known or n.startswith("image_")]
            return {name: archive[name] for name in names}
        except InputError:
            raise
        except damaged as error:
            raise InputError(
                f"{path}: expected an .npz archive of plain arrays, found {error}; "
                "write it with numpy.savez"
            ) from error


def _check_sizes(stream: Any, path: Path) -> None:
    """Raises InputError for an archive that would not fit into memory when it is unpacked."""
    import zipfile

    if not zipfile.is_zipfile(stream):
        raise InputError(f"{path}: expected an .npz archive, found another kind of file")
    with zipfile.ZipFile(stream) as archive:
        size = sum(entry.file_size for entry in archive.infolist())
    if size > _LARGEST:
        raise InputError(
            f"{path}: {size:,} bytes unpacked, expected at most {_LARGEST:,}; give fewer steps"
        )
    stream.seek(0)


def _observations(arrays: Mapping[str, Any], config: PolicyConfig) -> list[Observation]:
    """One Observation per step. Raises InputError for missing arrays or unequal lengths."""
    import numpy as np

    from armlet.policies import Observation
    from armlet.policies.config.base import ENVIRONMENT, STATE, camera_name

    cameras = [camera_name(key) for key in config.image_features]
    vectors = {STATE: "state", ENVIRONMENT: "environment_state"}
    needed = [f"image_{name}" for name in cameras]
    needed += [array for key, array in vectors.items() if key in config.input_features]
    missing = [name for name in needed if name not in arrays]
    if missing:
        raise InputError(
            f"input: expected arrays {', '.join(needed)}, "
            f"found {', '.join(sorted(arrays)) or 'none'}; add {', '.join(missing)}"
        )
    lengths = {name: len(arrays[name]) if arrays[name].ndim else 0 for name in needed}
    if len(set(lengths.values())) > 1 or 0 in lengths.values():
        raise InputError(f"input: expected one equal number of steps T >= 1, found {lengths}")
    for name in vectors.values():
        if name in needed and arrays[name].dtype.kind not in "fiu":
            raise InputError(f"input: expected numbers in {name}, found {arrays[name].dtype}")
    count = next(iter(lengths.values()))
    with np.errstate(over="ignore"):  # what overflows is infinite, which the policy refuses
        vector = {
            name: arrays[name].astype(np.float32) for name in vectors.values() if name in needed
        }
    states = vector.get("state", np.zeros((count, 0), np.float32))
    environment = vector.get("environment_state")
    return [
        Observation(
            state=states[t],
            images={name: arrays[f"image_{name}"][t] for name in cameras},
            task=str(arrays.get("task", "")),
            environment_state=None if environment is None else environment[t],
        )
        for t in range(count)
    ]
