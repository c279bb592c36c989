"""policy_preprocessor.json and policy_postprocessor.json: LeRobot 0.4's processor pipelines.

A pipeline is data to us. Steps are an allow-list, known by registry name; LeRobot would import the
module a step's `class` names, which nothing here ever does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .config import ACTION, ActConfig, Feature, parse_features, parse_modes
from .document import as_kind, as_object, read_object, refuse_unknown
from .errors import CheckpointError

PREPROCESSOR = "policy_preprocessor"
POSTPROCESSOR = "policy_postprocessor"
NORMALIZER = "normalizer_processor"
UNNORMALIZER = "unnormalizer_processor"
RENAME = "rename_observations_processor"

# Steps each pipeline must have, once and in this order, and those it may have.
_REQUIRED = {PREPROCESSOR: NORMALIZER, POSTPROCESSOR: UNNORMALIZER}
_ALLOWED = {
    PREPROCESSOR: (RENAME, "to_batch_processor", "device_processor", NORMALIZER),
    POSTPROCESSOR: (UNNORMALIZER, "device_processor"),
}
_STEP_KEYS = ("registry_name", "class", "config", "state_file")


@dataclass(frozen=True)
class Pipeline:
    """What one processor file says: how features are normalized, and which names are replaced."""

    where: Path
    features: Mapping[str, Feature]
    modes: Mapping[str, str]
    eps: float
    state_file: Path
    normalized_keys: tuple[str, ...] | None
    rename: Mapping[str, str]

    def check(self, expected: Mapping[str, Feature], config: ActConfig) -> None:
        """Raise CheckpointError unless every feature of `expected` is handled as `config` says.

        LeRobot passes a feature that is not listed, or whose type has no mode, on as it is, in
        silence; here that is an error.
        """
        for key, feature in expected.items():
            if self.features.get(key) != feature:
                raise CheckpointError.found(
                    self.where,
                    f"feature {key}",
                    expected=feature.to_json(),
                    found=self.features[key].to_json() if key in self.features else "no such entry",
                    mend="the processor and config.json must come from one training run",
                )
            mode = config.normalization_mapping[feature.type]
            if self.modes.get(feature.type) != mode:
                raise CheckpointError.found(
                    self.where,
                    f"norm_map of {feature.type}",
                    expected=f"{mode}, as in config.json",
                    found=self.modes.get(feature.type, "no such entry"),
                    mend="name the mode the policy was trained with in both files",
                )
            self._check_selection(key, mode)

    def _check_selection(self, key: str, mode: str) -> None:
        selected = self.normalized_keys
        if selected is not None and mode != "IDENTITY" and key not in (*selected, ACTION):
            raise CheckpointError.found(
                self.where,
                "normalize_observation_keys",
                expected=f"every input, {key} among them",
                found=list(selected),
                mend=f"{key} would reach the network unnormalized: "
                "remove normalize_observation_keys and train again",
            )


def read_pipeline(directory: Path, name: str) -> Pipeline:
    """The pipeline `name` of a checkpoint directory. Raises CheckpointError."""
    where = directory / f"{name}.json"
    document = read_object(where)
    refuse_unknown(document, ("name", "steps"), where)
    steps = document.get("steps")
    if not isinstance(steps, list):
        raise CheckpointError.found(
            where, "steps", expected="a list", found=repr(steps), mend="copy the file again"
        )
    found: dict[str, dict[str, Any]] = {}
    for index, step in enumerate(steps):
        registered = _registry_name(step, f"{where}: step {index}", _ALLOWED[name])
        if registered in found or (registered == RENAME and _REQUIRED[name] in found):
            raise CheckpointError.found(
                f"{where}: step {index}",
                "order of steps",
                expected=f"each once, {RENAME} before {NORMALIZER}",
                found=[*found, registered],
                mend="restore the file LeRobot wrote",
            )
        found[registered] = step
    if _REQUIRED[name] not in found:
        raise CheckpointError.found(
            where,
            "steps",
            expected=f"the step {_REQUIRED[name]}",
            found=list(found) or "none",
            mend="without it values pass unnormalized: restore the file LeRobot wrote",
        )
    _check_device(found.get("device_processor", {}), where)
    _check_empty(found.get("to_batch_processor", {}), where)
    rename = _rename_map(found.get(RENAME, {}), where)
    return _pipeline(found[_REQUIRED[name]], directory, where, rename)


def pipeline_document(name: str, config: ActConfig) -> dict[str, Any]:
    """Content of the processor file `name` for a checkpoint of `config`, as LeRobot writes it."""
    inputs = config.input_features if name == PREPROCESSOR else {}
    features = {**inputs, ACTION: config.output_features[ACTION]}
    normalizer = {
        "registry_name": _REQUIRED[name],
        "config": {
            "eps": 1e-8,
            "features": {key: feature.to_json() for key, feature in features.items()},
            "norm_map": dict(config.normalization_mapping),
        },
        "state_file": state_file_name(name),
    }
    device = {
        "registry_name": "device_processor",
        "config": {"device": "cpu", "float_dtype": None},
    }
    if name == POSTPROCESSOR:
        return {"name": name, "steps": [normalizer, device]}
    rename = {"registry_name": RENAME, "config": {"rename_map": {}}}
    to_batch: dict[str, Any] = {"registry_name": "to_batch_processor", "config": {}}
    return {"name": name, "steps": [rename, to_batch, device, normalizer]}


def state_file_name(name: str) -> str:
    """LeRobot's name of the statistics file of the ACT pipeline `name`."""
    return f"{name}_step_{3 if name == PREPROCESSOR else 0}_{_REQUIRED[name]}.safetensors"


def _registry_name(step: object, where: str, allowed: tuple[str, ...]) -> str:
    step = as_object(step, where)
    refuse_unknown(step, _STEP_KEYS, where)
    registered = step.get("registry_name")
    if "class" in step or registered not in allowed:
        named = f"class {step['class']!r}" if "class" in step else repr(registered)
        raise CheckpointError.found(
            where,
            "processor step",
            expected=f"one of {', '.join(allowed)}",
            found=named,
            mend="armlet runs no code a checkpoint names: "
            "train the policy with LeRobot's own ACT processors",
        )
    return str(registered)


def _config(step: dict[str, Any], where: object) -> dict[str, Any]:
    return as_object(step.get("config", {}), where)


def _check_device(step: dict[str, Any], where: Path) -> None:
    config = _config(step, where)
    refuse_unknown(config, ("device", "float_dtype"), f"{where}: device_processor")
    if config.get("float_dtype") not in (None, "float32"):
        raise CheckpointError.found(
            f"{where}: device_processor",
            "float_dtype",
            expected="null or float32",
            found=repr(config["float_dtype"]),
            mend="armlet normalizes in float32: set float_dtype to null",
        )


def _check_empty(step: dict[str, Any], where: Path) -> None:
    refuse_unknown(_config(step, where), (), f"{where}: to_batch_processor")


def _rename_map(step: dict[str, Any], where: Path) -> dict[str, str]:
    """New feature key by observation key."""
    where_step = f"{where}: {RENAME}"
    config = _config(step, where)
    refuse_unknown(config, ("rename_map",), where_step)
    pairs = as_object(config.get("rename_map", {}), where_step)
    return {key: as_kind(value, str, where_step) for key, value in pairs.items()}


def _pipeline(
    step: dict[str, Any], directory: Path, where: Path, rename: Mapping[str, str]
) -> Pipeline:
    config = _config(step, where)
    keys = ("eps", "features", "norm_map", "normalize_observation_keys")
    refuse_unknown(config, keys, f"{where}: {step['registry_name']}")
    selected = config.get("normalize_observation_keys")
    if selected is not None and not isinstance(selected, list):
        raise CheckpointError.found(
            where,
            "normalize_observation_keys",
            expected="a list of feature keys",
            found=repr(selected),
            mend="restore the file LeRobot wrote",
        )
    return Pipeline(
        where=where,
        features=parse_features(config.get("features"), f"{where}: features"),
        modes=parse_modes(config.get("norm_map"), f"{where}: norm_map"),
        eps=as_kind(config.get("eps", 1e-8), float, f"{where}: eps"),
        state_file=_state_file(step, directory, where),
        normalized_keys=None if selected is None else tuple(selected),
        rename=rename,
    )


def _state_file(step: dict[str, Any], directory: Path, where: Path) -> Path:
    name = step.get("state_file")
    if not isinstance(name, str) or Path(name).name != name or not name.endswith(".safetensors"):
        raise CheckpointError.found(
            where,
            f"state_file of {step['registry_name']}",
            expected="the name of a .safetensors file beside this one",
            found=repr(name),
            mend="the statistics are stored there, without them values pass unnormalized: "
            "save the processors with their statistics",
        )
    return directory / name
