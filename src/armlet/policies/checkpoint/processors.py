"""policy_preprocessor.json and policy_postprocessor.json: the pipelines of LeRobot 0.4 and later.

A pipeline is data to us. Steps are an allow-list, known by registry name; LeRobot would import the
module a step's `class` names, which nothing here ever does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from armlet.findings import Code
from armlet.policies.config.base import ACTION, Feature, PolicyConfig, parse_features, parse_modes
from armlet.policies.config.errors import CheckpointError
from armlet.policies.config.strict_json import as_kind, as_object, read_object, refuse_unknown
from armlet.policies.registry import (
    DEVICE,
    NEW_LINE,
    NORMALIZER,
    RENAME,
    TO_BATCH,
    TOKENIZER,
    UNNORMALIZER,
    PolicyFamily,
    Text,
    family_of,
)

PREPROCESSOR = "policy_preprocessor"
POSTPROCESSOR = "policy_postprocessor"

# What every kind of policy does with its actions, in the order LeRobot writes it.
_POST_STEPS = (UNNORMALIZER, DEVICE)
# Of the steps a pipeline may have, those that it must have.
_REQUIRED = (NORMALIZER, UNNORMALIZER, NEW_LINE, TOKENIZER)
_MAIN = {PREPROCESSOR: NORMALIZER, POSTPROCESSOR: UNNORMALIZER}
_STEP_KEYS = ("registry_name", "class", "config", "state_file")


@dataclass(frozen=True)
class Pipeline:
    """What one processor file says: how features are normalized, and which names are replaced.

    text is None for policies that read no words.
    """

    where: Path
    features: Mapping[str, Feature]
    modes: Mapping[str, str]
    eps: float
    state_file: Path
    normalized_keys: tuple[str, ...] | None
    rename: Mapping[str, str]
    text: Text | None = None

    def check(self, expected: Mapping[str, Feature], config: PolicyConfig) -> None:
        """Raise CheckpointError unless every feature of `expected` is handled as `config` says.

        LeRobot passes a feature that is not listed, or whose type has no mode, on as it is, in
        silence; here that is an error.
        """
        for key, feature in expected.items():
            if self.features.get(key) != feature:
                raise CheckpointError.found(
                    Code.POLICY_FILES_CONTRADICT,
                    self.where,
                    f"feature {key}",
                    expected=feature.to_json(),
                    found=self.features[key].to_json() if key in self.features else "no such entry",
                    fix="the processor and config.json must come from one training run",
                )
            mode = config.normalization_mapping[feature.type]
            if self.modes.get(feature.type) != mode:
                raise CheckpointError.found(
                    Code.POLICY_FILES_CONTRADICT,
                    self.where,
                    f"norm_map of {feature.type}",
                    expected=f"{mode}, as in config.json",
                    found=self.modes.get(feature.type, "no such entry"),
                    fix="name the mode the policy was trained with in both files",
                )
            self._check_selection(key, mode)

    def _check_selection(self, key: str, mode: str) -> None:
        selected = self.normalized_keys
        if selected is not None and mode != "IDENTITY" and key not in (*selected, ACTION):
            raise CheckpointError.found(
                Code.POLICY_SETTING_UNSUPPORTED,
                self.where,
                "normalize_observation_keys",
                expected=f"every input, {key} among them",
                found=list(selected),
                fix=f"{key} would reach the network unnormalized: "
                "remove normalize_observation_keys and train again",
            )


def read_pipeline(directory: Path, name: str, family: PolicyFamily[Any]) -> Pipeline:
    """The pipeline `name` of a checkpoint directory of a family. Raises CheckpointError."""
    where = directory / f"{name}.json"
    document = read_object(where)
    refuse_unknown(document, ("name", "steps"), where)
    steps = document.get("steps")
    if not isinstance(steps, list):
        raise CheckpointError.found(
            Code.POLICY_SETTING_INVALID,
            where,
            "steps",
            expected="a list",
            found=repr(steps),
            fix="copy the file again",
        )
    allowed, main = _steps(name, family), _MAIN[name]
    found: dict[str, dict[str, Any]] = {}
    for index, step in enumerate(steps):
        registered = _registry_name(step, f"{where}: step {index}", allowed)
        if registered in found or (registered == RENAME and main in found):
            raise CheckpointError.found(
                Code.POLICY_SETTING_INVALID,
                f"{where}: step {index}",
                "order of steps",
                expected=f"each once, {RENAME} before {NORMALIZER}",
                found=[*found, registered],
                fix="restore the file LeRobot wrote",
            )
        found[registered] = step
    for required in (step for step in allowed if step in _REQUIRED):
        if required not in found:
            raise CheckpointError.found(
                Code.POLICY_SETTING_INVALID,
                where,
                "steps",
                expected=f"the step {required}",
                found=list(found) or "none",
                fix="without it values pass unnormalized or words unread: "
                "restore the file LeRobot wrote",
            )
    _check_device(found.get(DEVICE, {}), where)
    for empty in (TO_BATCH, NEW_LINE):
        refuse_unknown(_config(found.get(empty, {}), where), (), f"{where}: {empty}")
    rename = _rename_map(found.get(RENAME, {}), where)
    text = _text(found[TOKENIZER], where) if TOKENIZER in found else None
    return _pipeline(found[main], directory, where, rename, text)


def pipeline_json(name: str, config: PolicyConfig) -> dict[str, Any]:
    """Content of the processor file `name` for a checkpoint of `config`, as LeRobot writes it."""
    family = family_of(config)
    inputs = config.input_features if name == PREPROCESSOR else {}
    features = {**inputs, ACTION: config.output_features[ACTION]}
    configs: dict[str, dict[str, Any]] = {
        RENAME: {"rename_map": {}},
        TO_BATCH: {},
        NEW_LINE: {},
        DEVICE: {"device": "cpu", "float_dtype": None},
        _MAIN[name]: {
            "eps": 1e-8,
            "features": {key: feature.to_json() for key, feature in features.items()},
            "norm_map": dict(config.normalization_mapping),
        },
        **{step: dict(content) for step, content in family.step_configs(config).items()},
    }
    steps: list[dict[str, Any]] = [
        {"registry_name": step, "config": configs[step]} for step in _steps(name, family)
    ]
    for step in steps:
        if step["registry_name"] == _MAIN[name]:
            step["state_file"] = state_file_name(name, family)
    return {"name": name, "steps": steps}


def state_file_name(name: str, family: PolicyFamily[Any]) -> str:
    """LeRobot's name of the statistics file of the pipeline `name` of a family."""
    index = _steps(name, family).index(_MAIN[name])
    return f"{name}_step_{index}_{_MAIN[name]}.safetensors"


def _steps(name: str, family: PolicyFamily[Any]) -> tuple[str, ...]:
    """Steps that the pipeline `name` may have."""
    return family.steps if name == PREPROCESSOR else _POST_STEPS


def _registry_name(step: object, where: str, allowed: tuple[str, ...]) -> str:
    step = as_object(step, where)
    refuse_unknown(step, _STEP_KEYS, where)
    registered = step.get("registry_name")
    if "class" in step or registered not in allowed:
        named = f"class {step['class']!r}" if "class" in step else repr(registered)
        raise CheckpointError.found(
            Code.POLICY_SETTING_UNSUPPORTED,
            where,
            "processor step",
            expected=f"one of {', '.join(allowed)}",
            found=named,
            fix="armlet runs no code a checkpoint names: "
            "train the policy with LeRobot's own processors",
        )
    return str(registered)


def _config(step: dict[str, Any], where: object) -> dict[str, Any]:
    return as_object(step.get("config", {}), where)


def _check_device(step: dict[str, Any], where: Path) -> None:
    config = _config(step, where)
    refuse_unknown(config, ("device", "float_dtype"), f"{where}: device_processor")
    if config.get("float_dtype") not in (None, "float32"):
        raise CheckpointError.found(
            Code.POLICY_SETTING_UNSUPPORTED,
            f"{where}: device_processor",
            "float_dtype",
            expected="null or float32",
            found=repr(config["float_dtype"]),
            fix="armlet normalizes in float32: set float_dtype to null",
        )


def _text(step: dict[str, Any], where: Path) -> Text:
    where_step = f"{where}: {TOKENIZER}"
    config = _config(step, where)
    fixed = {"task_key": "task", "padding_side": "right"}
    known = ("max_length", "padding", "truncation", "tokenizer_name", *fixed)
    refuse_unknown(config, known, where_step)
    for key, only in fixed.items():
        if config.get(key, only) != only:
            raise CheckpointError.found(
                Code.POLICY_SETTING_UNSUPPORTED,
                where_step,
                key,
                expected=repr(only),
                found=repr(config[key]),
                fix="armlet gives the task as LeRobot's SmolVLA reads it: train with this setting",
            )
    longest = as_kind(config.get("max_length", 512), int, f"{where_step}: max_length")
    if longest < 1:
        raise CheckpointError.found(
            Code.POLICY_SETTING_INVALID,
            where_step,
            "max_length",
            expected="1 or more",
            found=longest,
            fix="restore the file",
        )
    cut = as_kind(config.get("truncation", True), bool, f"{where_step}: truncation")
    name = as_kind(config.get("tokenizer_name"), str, f"{where_step}: tokenizer_name")
    return Text(name, longest if cut else None)


def _rename_map(step: dict[str, Any], where: Path) -> dict[str, str]:
    """New feature key by observation key."""
    where_step = f"{where}: {RENAME}"
    config = _config(step, where)
    refuse_unknown(config, ("rename_map",), where_step)
    pairs = as_object(config.get("rename_map", {}), where_step)
    return {key: as_kind(value, str, where_step) for key, value in pairs.items()}


def _pipeline(
    step: dict[str, Any],
    directory: Path,
    where: Path,
    rename: Mapping[str, str],
    text: Text | None,
) -> Pipeline:
    config = _config(step, where)
    keys = ("eps", "features", "norm_map", "normalize_observation_keys")
    refuse_unknown(config, keys, f"{where}: {step['registry_name']}")
    selected = config.get("normalize_observation_keys")
    if selected is not None and not isinstance(selected, list):
        raise CheckpointError.found(
            Code.POLICY_SETTING_INVALID,
            where,
            "normalize_observation_keys",
            expected="a list of feature keys",
            found=repr(selected),
            fix="restore the file LeRobot wrote",
        )
    return Pipeline(
        where=where,
        features=parse_features(config.get("features"), f"{where}: features"),
        modes=parse_modes(config.get("norm_map"), f"{where}: norm_map"),
        eps=as_kind(config.get("eps", 1e-8), float, f"{where}: eps"),
        state_file=_state_file(step, directory, where),
        normalized_keys=None if selected is None else tuple(selected),
        rename=rename,
        text=text,
    )


def _state_file(step: dict[str, Any], directory: Path, where: Path) -> Path:
    name = step.get("state_file")
    if not isinstance(name, str) or Path(name).name != name or not name.endswith(".safetensors"):
        raise CheckpointError.found(
            Code.POLICY_SETTING_INVALID,
            where,
            f"state_file of {step['registry_name']}",
            expected="the name of a .safetensors file beside this one",
            found=repr(name),
            fix="the statistics are stored there, without them values pass unnormalized: "
            "save the processors with their statistics",
        )
    return directory / name
