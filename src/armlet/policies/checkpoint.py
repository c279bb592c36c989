"""Reading a LeRobot 0.4 ACT checkpoint directory, strictly.

Only JSON and safetensors are read and nothing a checkpoint names is imported. Whatever LeRobot
would pass over in silence and that could change an action is an error here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor

from armlet import contract as contracts
from armlet.contract import Contract

from .act import Act
from .config import ACTION, STATE, ActConfig, Feature, camera_name, parse
from .document import read_object
from .errors import CheckpointError as CheckpointError
from .preprocess import Preprocessor
from .processors import POSTPROCESSOR, PREPROCESSOR, Pipeline, read_pipeline

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
PREFIX = "model."

_DTYPES = ("F32", "F16", "BF16")
_SHOWN = 5
_OLD_ERA = ("normalize_inputs.", "normalize_targets.", "unnormalize_outputs.")


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint's documents, checked against each other; weights are still on disk.

    Feature keys of config, preprocessor and statistics are the observation's own: a rename_map has
    been applied. statistics holds all that was stored for the policy's features, also what its
    normalization does not use. notes are lines worth showing to a person.
    """

    path: Path
    config: ActConfig
    preprocessor: Preprocessor
    statistics: Mapping[str, Mapping[str, NDArray[np.float32]]]
    contract: Contract | None
    notes: tuple[str, ...]


def read_checkpoint(path: Path) -> Checkpoint:
    """Read and check every document of the checkpoint directory `path`.

    Raises CheckpointError saying what, where, expected, found and how to mend it.
    """
    if not path.is_dir():
        raise CheckpointError.found(
            path,
            "checkpoint",
            expected="a directory with config.json and model.safetensors",
            found="a file" if path.exists() else "nothing",
            mend="give the local path of a pretrained_model directory",
        )
    _refuse_old_era(path)
    config = parse(read_object(path / CONFIG), path / CONFIG)
    before = read_pipeline(path, PREPROCESSOR)
    after = read_pipeline(path, POSTPROCESSOR)
    before.check(config.used_features, config)
    after.check({ACTION: config.output_features[ACTION]}, config)
    _check_camera_order(
        before.where, list(config.image_features), before.features, "copy the directory again"
    )
    preprocessor = _preprocessor(config, before, _statistics(before))
    _check_same_actions(preprocessor, config, after)
    names = _observation_names(config, before)
    stored = _renamed(_statistics(before), names)
    config = config.renamed(names)
    preprocessor = _preprocessor(config, before, stored)
    return Checkpoint(
        path=path,
        config=config,
        preprocessor=preprocessor,
        statistics={key: stored[key] for key in config.used_features if key in stored},
        contract=_contract(path, config, preprocessor),
        notes=tuple(_notes(config, preprocessor, names)),
    )


def load_network(checkpoint: Checkpoint) -> Act:
    """The network with its weights, float32, in eval mode, on the CPU.

    Names and shapes are checked from the file's header before any weight is read. Raises
    CheckpointError for missing or extra tensors, other shapes or dtypes, non-finite weights.
    """
    where = checkpoint.path / WEIGHTS
    with _open(where) as file:
        _check_sizes(file, checkpoint.config, where)
        with torch.device("meta"):
            network = Act(checkpoint.config)
        expected = {PREFIX + name: tuple(t.shape) for name, t in network.state_dict().items()}
        _check_header(file, expected, where)
        weights = {name: _tensor(file, name, where) for name in expected}
    network.load_state_dict(
        {name.removeprefix(PREFIX): value for name, value in weights.items()}, assign=True
    )
    return network.requires_grad_(True).eval()


def _refuse_old_era(path: Path) -> None:
    """0.3.x keeps statistics as tensors among the weights and has no processor files."""
    if not (path / CONFIG).exists() or (path / f"{PREPROCESSOR}.json").exists():
        return
    old = False
    if (path / WEIGHTS).exists():
        with _open(path / WEIGHTS) as file:
            old = any(name.startswith(_OLD_ERA) for name in file.keys())  # noqa: SIM118
    era = "normalization tensors of LeRobot 0.3.x in the weights" if old else "no such file"
    mend = (
        "this era is not supported yet: convert it with LeRobot 0.4's migration script"
        if old
        else "copy the whole pretrained_model directory, or save the processors with the policy"
    )
    raise CheckpointError.found(
        path / f"{PREPROCESSOR}.json",
        "processor file missing",
        expected="the processors of LeRobot 0.4.x",
        found=era,
        mend=mend,
    )


def _preprocessor(
    config: ActConfig,
    pipeline: Pipeline,
    statistics: Mapping[str, Mapping[str, NDArray[np.float32]]],
) -> Preprocessor:
    return Preprocessor.from_statistics(
        config.used_features,
        config.normalization_mapping,
        statistics,
        pipeline.eps,
        where=pipeline.state_file,
    )


def _check_same_actions(before: Preprocessor, config: ActConfig, after: Pipeline) -> None:
    """Actions must be unnormalized with the statistics they were normalized with in training."""
    action: dict[str, Feature] = {ACTION: config.output_features[ACTION]}
    modes = config.normalization_mapping
    other = Preprocessor.from_statistics(
        action, modes, _statistics(after), after.eps, where=after.state_file
    )
    probe = torch.linspace(-2, 2, 5)[:, None].expand(5, config.action_size)
    if not torch.equal(before.unnormalize_action(probe), other.unnormalize_action(probe)):
        raise CheckpointError.found(
            after.state_file,
            "action statistics",
            expected="those of the preprocessor's statistics file",
            found="others",
            mend="both files must come from one training run: copy the whole directory again",
        )


def _check_camera_order(
    where: object, expected: list[str], found: Iterable[str], mend: str
) -> None:
    """Two files that name the same cameras must name them in one order."""
    named = [camera for camera in found if camera in expected]
    if sorted(named) == sorted(expected) and named != expected:
        raise CheckpointError.found(
            where,
            "order of cameras",
            expected=f"{', '.join(expected)}, as in config.json",
            found=", ".join(named),
            mend="ACT itself gives the same for any order, but the files contradict each other "
            f"and one may carry another camera's statistics: {mend}",
        )


def _observation_names(config: ActConfig, pipeline: Pipeline) -> dict[str, str]:
    """The observation's key by feature key, for features that rename_map gives another name."""
    names: dict[str, str] = {}
    cameras = config.image_features
    for key, feature in pipeline.rename.items():
        if feature not in cameras or feature in names:
            raise CheckpointError.found(
                pipeline.where,
                f"rename_map of {key}",
                expected=f"each camera of the policy at most once ({', '.join(cameras)})",
                found=feature,
                mend="correct the rename_map the policy was trained with",
            )
        names[feature] = key
    keys = [names.get(key, key) for key in config.input_features]
    if len(set(keys)) < len(keys):
        raise CheckpointError.found(
            pipeline.where,
            "rename_map",
            expected="a different observation key for every input",
            found=keys,
            mend="correct the rename_map the policy was trained with",
        )
    return names


def _renamed(
    statistics: Mapping[str, Mapping[str, NDArray[np.float32]]], names: Mapping[str, str]
) -> dict[str, Mapping[str, NDArray[np.float32]]]:
    kept = {key: value for key, value in statistics.items() if key not in names}
    return {**kept, **{names[key]: statistics[key] for key in names if key in statistics}}


def _statistics(pipeline: Pipeline) -> dict[str, dict[str, NDArray[np.float32]]]:
    """All stored statistics as {feature: {statistic: array}}."""
    found: dict[str, dict[str, NDArray[np.float32]]] = {}
    with _open(pipeline.state_file) as file:
        for name in file.keys():  # noqa: SIM118
            feature, _, statistic = name.rpartition(".")
            value = file.get_tensor(name).to(torch.float32).numpy()
            found.setdefault(feature, {})[statistic] = value
    return found


def _contract(path: Path, config: ActConfig, preprocessor: Preprocessor) -> Contract | None:
    where = path / contracts.FILE_NAME
    if not where.exists():
        return None
    try:
        contract = contracts.load(where)
    except (contracts.ContractError, OSError) as error:
        raise CheckpointError(str(error)) from error
    check_contract(contract, config, preprocessor, where)
    return contract


def check_contract(
    contract: Contract, config: ActConfig, preprocessor: Preprocessor, where: object
) -> None:
    """Raise CheckpointError, naming `where`, unless the contract describes this very policy."""
    pictures = {camera_name(key): f.shape[1:] for key, f in config.image_features.items()}
    states = len(contract.state_names) if STATE in config.input_features else None
    stated = contract.preprocessing
    described = preprocessor.describe()
    facts: tuple[tuple[str, object, object], ...] = (
        ("cameras", pictures, {c.name: (c.height, c.width) for c in contract.cameras}),
        (
            "channel order",
            {"rgb"} if pictures else set(),
            {c.channel_order for c in contract.cameras},
        ),
        ("number of state names", config.state_size, states),
        ("number of action names", config.action_size, len(contract.action_names)),
        ("preprocessing", described, described if stated is None else stated),
    )
    for what, expected, found in facts:
        if expected != found:
            raise CheckpointError.found(
                where,
                f"contract: {what}",
                expected=f"{expected}, as in the policy's own files",
                found=found,
                mend="the contract belongs to another checkpoint: restore its own, or remove it",
            )
    _check_camera_order(
        where, list(pictures), [c.name for c in contract.cameras], "restore the contract"
    )


def _notes(config: ActConfig, preprocessor: Preprocessor, names: Mapping[str, str]) -> list[str]:
    ignored = sorted({*config.input_features, *config.output_features} - set(config.used_features))
    return [
        *(f"{key} is listed as a feature, but ACT does not read it" for key in ignored),
        *(f"camera {camera_name(v)} is the policy's {camera_name(k)}" for k, v in names.items()),
        *preprocessor.notes(),
    ]


@contextmanager
def _open(path: Path) -> Iterator[Any]:
    """A safetensors file, its header read; errors in it or its content are CheckpointErrors."""
    try:
        with safe_open(str(path), framework="pt") as file:
            yield file
    except (SafetensorError, OSError) as error:
        raise CheckpointError.found(
            path,
            "file not readable",
            expected="a whole safetensors file",
            found=str(error) or type(error).__name__,
            mend="copy the file again",
        ) from error


def _check_sizes(file: Any, config: ActConfig, where: Path) -> None:
    """Refuse sizes no tensor of the file has, before a network of that size is even outlined."""
    shapes = [file.get_slice(name).get_shape() for name in file.keys()]  # noqa: SIM118
    widest = max((size for shape in shapes for size in shape), default=0)
    layers = ["n_encoder_layers", "n_decoder_layers"]
    layers += ["n_vae_encoder_layers"] if config.use_vae else []
    limits = {
        **dict.fromkeys(("dim_model", "dim_feedforward", "chunk_size", "latent_dim"), widest),
        **dict.fromkeys(("state_size", "environment_size", "action_size"), widest),
        **dict.fromkeys(layers, len(shapes)),
    }
    for name, limit in limits.items():
        if (getattr(config, name) or 0) > limit:
            raise CheckpointError.found(
                where,
                f"{name} of config.json",
                expected=f"at most {limit}, which is all these weights have room for",
                found=getattr(config, name),
                mend="config.json and the weights must come from one training run",
            )


def _check_header(file: Any, expected: Mapping[str, tuple[int, ...]], where: Path) -> None:
    found = set(file.keys())
    missing, extra = sorted(set(expected) - found), sorted(found - set(expected))
    if missing or extra:
        raise CheckpointError.found(
            where,
            "tensor names",
            expected=f"{len(expected)} tensors; missing {_some(missing)}",
            found=f"{len(found)} tensors; extra {_some(extra)}",
            mend="config.json and the weights must come from one training run",
        )
    for name, shape in expected.items():
        header = file.get_slice(name)
        if tuple(header.get_shape()) != shape:
            raise CheckpointError.found(
                where,
                f"shape of {name}",
                expected=shape,
                found=tuple(header.get_shape()),
                mend="config.json and the weights must come from one training run",
            )
        if header.get_dtype() not in _DTYPES:
            raise CheckpointError.found(
                where,
                f"dtype of {name}",
                expected=" or ".join(_DTYPES),
                found=header.get_dtype(),
                mend="save the weights as float32",
            )


def _tensor(file: Any, name: str, where: Path) -> Tensor:
    # A copy: the mapped file could change under us, and its alignment moves results by an ulp.
    value: Tensor = file.get_tensor(name).to(torch.float32, copy=True)
    if not torch.isfinite(value).all():
        raise CheckpointError.found(
            where,
            f"values of {name}",
            expected="finite weights",
            found=f"{int((~torch.isfinite(value)).sum())} NaN or infinite of {value.numel()}",
            mend="training diverged or the file is damaged: take an earlier checkpoint",
        )
    if name.endswith(".running_var") and bool((value < 0).any()):
        raise CheckpointError.found(
            where,
            f"values of {name}",
            expected="variances, not negative",
            found=float(value.min()),
            mend="the file is damaged: copy it again",
        )
    return value


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:_SHOWN]) or "none"
    return shown + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def with_preprocessing(contract: Contract, preprocessor: Preprocessor) -> Contract:
    """The contract with the checkpoint's own preprocessing filled in where it states none."""
    if contract.preprocessing is not None:
        return contract
    return dataclasses.replace(contract, preprocessing=preprocessor.describe())
