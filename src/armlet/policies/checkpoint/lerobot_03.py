"""What LeRobot's older eras wrote otherwise: where statistics are, and under which names.

0.3.x keeps statistics as tensors among the weights, `normalize_inputs.buffer_<key>.mean` and so on,
with every dot of the feature key replaced by an underscore. The name cannot be read backwards (a
camera may have an underscore of its own), so it is built from the keys of config.json.

Policies trained on several robots carry a set for each: the robot's name stands before `buffer`,
in 0.3.x as `so100_buffer_action`, converted to 0.4 as `so100.buffer.action`. Which set fits an arm
only its owner knows, so it is taken when asked for by name and refused with the names otherwise.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from armlet.findings import Code
from armlet.policies.config.base import ACTION, PolicyConfig
from armlet.policies.config.errors import CheckpointError

from .weights import Entry, opened, some

Tables = dict[str, dict[str, NDArray[np.float32]]]

IN = "normalize_inputs."
TARGETS = "normalize_targets."
OUT = "unnormalize_outputs."
BUFFERS = (IN, TARGETS, OUT)
COMPILED = "_orig_mod."


def plain_names(found: Iterable[str], where: Path) -> dict[str, str]:
    """Stored name by name without the `_orig_mod.` that saving a compiled module leaves.

    Raises CheckpointError if two tensors would get one name.
    """
    names: dict[str, str] = {}
    for name in found:
        plain = name.replace(COMPILED, "")
        if plain in names:
            raise CheckpointError.found(
                Code.POLICY_WEIGHTS_MISMATCH,
                where,
                f"tensor {plain}",
                expected="once",
                found=f"as {names[plain]} and {name}",
                fix="two models were saved into one file: save the policy alone",
            )
        names[plain] = name
    return names


def state_statistics(
    path: Path, needed: Collection[str], embodiment: str | None, where: object
) -> Tables:
    """{feature: {statistic: array}} of a 0.4 state file.

    needed are the features without which the policy cannot be run. Raises CheckpointError where
    they are there only under a robot's name and embodiment names none or another.
    """
    with opened(path) as file:
        names = list(file.keys())
        chosen = _choose(names, ".buffer.", needed, embodiment, where)
        tables: Tables = {}
        for plain, name in chosen.items():
            feature, _, statistic = plain.rpartition(".")
            value = file.get_tensor(name).to(torch.float32).numpy()
            tables.setdefault(feature, {})[statistic] = value
    return tables


def buffer_statistics(
    path: Path, header: Mapping[str, Entry], config: PolicyConfig, embodiment: str | None
) -> Tables:
    """{feature: {statistic: array}} of 0.3.x buffers in the weights file `path`.

    Raises CheckpointError for buffers no feature of `config` accounts for, for two features with
    one buffer, for targets normalized otherwise than unnormalized, and as state_statistics does.
    """
    plain = plain_names((name for name in header if _is_buffer(name)), path)
    features = [*config.input_features, ACTION]
    mangled = _mangled(features, path)
    bodies = {
        name: _choose(_part(plain, name), "_buffer_", _needed(config, mangled), embodiment, path)
        for name in BUFFERS
    }
    known = {f"buffer_{short}" for short in mangled.values()}
    unknown = [
        part + body
        for part, chosen in bodies.items()
        for body in chosen
        if body.rpartition(".")[0] not in known
    ]
    if unknown:
        raise CheckpointError.found(
            Code.POLICY_WEIGHTS_MISMATCH,
            path,
            "normalization tensors",
            expected=f"those of {', '.join(features)}",
            found=some(sorted(unknown)),
            fix="config.json and the weights must come from one training run",
        )
    tables: Tables = {}
    with opened(path) as file:

        def read(part: str, key: str) -> dict[str, NDArray[np.float32]]:
            start = f"buffer_{mangled[key]}."
            return {
                body.removeprefix(start): file.get_tensor(plain[part + name])
                .to(torch.float32)
                .numpy()
                for body, name in bodies[part].items()
                if body.startswith(start)
            }

        for key in config.input_features:
            tables[key] = read(IN, key)
        tables[ACTION], targets = read(OUT, ACTION), read(TARGETS, ACTION)
    _check_targets(tables[ACTION], targets, path)
    return {key: table for key, table in tables.items() if table}


def buffer_tensors(path: Path, header: Mapping[str, Entry]) -> dict[str, Tensor]:
    """The statistics' tensors of a 0.3.x weights file, by their stored names."""
    with opened(path) as file:
        return {name: file.get_tensor(name) for name in header if _is_buffer(name)}


def has_buffers(header: Mapping[str, Entry]) -> bool:
    """Whether the weights are of 0.3.x, with statistics among them."""
    return any(_is_buffer(name) for name in header)


def _is_buffer(name: str) -> bool:
    return name.replace(COMPILED, "").startswith(BUFFERS)


def _part(plain: Mapping[str, str], start: str) -> list[str]:
    return [name.removeprefix(start) for name in plain if name.startswith(start)]


def _mangled(features: Iterable[str], path: Path) -> dict[str, str]:
    """The buffer's name by feature key."""
    names: dict[str, str] = {}
    for key in features:
        short = key.replace(".", "_")
        if short in names.values():
            other = next(k for k, v in names.items() if v == short)
            raise CheckpointError.found(
                Code.POLICY_STATISTICS_AMBIGUOUS,
                path,
                f"buffer_{short}",
                expected="the statistics of one feature",
                found=f"those of {other} or of {key}: LeRobot 0.3 gives both one name",
                fix="rename a camera and train again",
            )
        names[key] = short
    return names


def _needed(config: PolicyConfig, mangled: Mapping[str, str]) -> list[str]:
    return [
        f"buffer_{mangled[key]}"
        for key, feature in config.used_features.items()
        if config.normalization_mapping[feature.type] != "IDENTITY"
    ]


def _choose(
    names: Iterable[str],
    infix: str,
    needed: Collection[str],
    embodiment: str | None,
    where: object,
) -> dict[str, str]:
    """Names with a robot's own name taken off, where it is `embodiment`, by the plain name."""
    start = "buffer_" if infix == "_buffer_" else ""
    own, robots = {}, dict[str, list[str]]()
    for name in names:
        if infix in name and not (start and name.startswith(start)):
            robots.setdefault(name.partition(infix)[0], []).append(name)
        else:
            own[name] = name
    features = {name.rpartition(".")[0] for name in own}
    usable = not needed or any(key in features for key in needed)
    if not robots or (embodiment is None and usable):
        return own
    if embodiment not in robots:
        raise CheckpointError.found(
            Code.POLICY_STATISTICS_AMBIGUOUS,
            where,
            "statistics under the names of robots",
            expected="the name of one of these robots as embodiment, or statistics without one",
            found=f"{', '.join(sorted(robots))} (as in {some(sorted(robots[min(robots)]), 2)}), "
            f"embodiment {embodiment or 'not given'}",
            fix=(
                "LeRobot would pass unnormalized values on without a message: name the robot "
                "whose statistics fit your arm (--embodiment), or train on your own data"
            ),
        )
    asked = {start + name.partition(infix)[2]: name for name in robots[embodiment]}
    return {**own, **asked}


def _check_targets(
    given: Mapping[str, NDArray[np.float32]],
    targets: Mapping[str, NDArray[np.float32]],
    path: Path,
) -> None:
    """Actions must be unnormalized with the statistics they were normalized with in training."""
    same = given.keys() == targets.keys()
    if not same or any(not np.array_equal(given[name], targets[name]) for name in given):
        raise CheckpointError.found(
            Code.POLICY_FILES_CONTRADICT,
            path,
            "action statistics",
            expected=f"the same in {TARGETS}* and {OUT}*",
            found="others",
            fix="both must come from one training run: copy the file again",
        )
