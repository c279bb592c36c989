"""adapter_config.json of peft: which layers a LoRA adapter changes, and how much.

Strict as all of a checkpoint: a setting that would change the arithmetic and is not known here is
refused. `fan_in_fan_out` is about layers that store their weight transposed (GPT-2's); peft takes
it for false at every torch.nn.Linear, and LeRobot's policies have no others.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from armlet.files import printable
from armlet.findings import Code
from armlet.policies.config.errors import CheckpointError
from armlet.policies.config.strict_json import as_kind, as_object, read_object, refuse_unknown

from . import patterns

FILE = "adapter_config.json"

# Nothing of these changes the merged weights.
_IGNORED = (
    "task_type",
    "auto_mapping",
    "peft_version",
    "inference_mode",
    "lora_dropout",
    "fan_in_fan_out",
    "megatron_core",
    "eva_config",
    "qalora_group_size",
    "runtime_config",
    "ensure_weight_tying",
)
# Variants that have other arithmetic when they are set.
_VARIANTS = (
    "alora_invocation_tokens",
    "arrow_config",
    "corda_config",
    "kasa_config",
    "layer_replication",
    "loftq_config",
    "lora_bias",
    "lora_ga_config",
    "megatron_config",
    "monteclora_config",
    "target_parameters",
    "trainable_token_indices",
    "use_bdlora",
    "use_qalora",
    "velora_config",
)
_READ = (
    "peft_type",
    "base_model_name_or_path",
    "revision",
    "r",
    "lora_alpha",
    "use_rslora",
    "use_dora",
    "rank_pattern",
    "alpha_pattern",
    "target_modules",
    "exclude_modules",
    "modules_to_save",
    "layers_to_transform",
    "layers_pattern",
    "bias",
    "init_lora_weights",
)
# Initializations that leave the base's weights as they are; others (PiSSA, OLoRA) change them.
_STARTS = (True, False, "gaussian", "orthogonal", "eva")
_LARGEST_RANK, _LARGEST_ALPHA, _MOST_ENTRIES = 1 << 16, 1e6, 4096
_CONTAINER = re.compile(r"\w+")
_RETRAIN = "merge the adapter where peft is installed and save the merged policy"
_UNSUPPORTED = Code.POLICY_SETTING_UNSUPPORTED


@dataclass(frozen=True)
class AdapterConfig:
    """targets, excluded: a regular expression for whole names, or names and ends of names.

    ranks and alphas are by pattern of a module's name, the first that fits counts. saved are ends
    of names of modules that were trained whole. layers: numbers of the layers that are adapted,
    None: all; containers are the names that layers are numbered in.
    """

    base: str | None
    revision: str | None
    r: int
    alpha: float
    stabilized: bool
    use_dora: bool
    ranks: Mapping[str, int]
    alphas: Mapping[str, float]
    targets: str | tuple[str, ...]
    excluded: str | tuple[str, ...]
    saved: tuple[str, ...]
    layers: tuple[int, ...] | None
    containers: tuple[str, ...]
    _budget: patterns.Budget = field(default_factory=patterns.Budget, compare=False, repr=False)

    def rank(self, module: str) -> int:
        """The r of a module's adapter."""
        return next((r for key, r in self.ranks.items() if self._fits(key, module)), self.r)

    def scale(self, module: str) -> float:
        """What the product B A of a module's adapter is multiplied with."""
        alphas = self.alphas.items()
        alpha = next((value for key, value in alphas if self._fits(key, module)), self.alpha)
        rank = self.rank(module)
        return alpha / (math.sqrt(rank) if self.stabilized else rank)

    def saves(self, module: str) -> bool:
        """Whether a module was trained whole and replaces the base's."""
        return module.endswith(self.saved) if self.saved else False

    def adapts(self, module: str) -> bool:
        """Whether a layer of the base has an adapter."""
        parts = module.split(".")
        within = (".".join(parts[:end]) for end in range(1, len(parts) + 1))
        if self._names(self.excluded, module) or any(map(self.saves, within)):
            return False
        if not self._names(self.targets, module):
            return False
        if isinstance(self.targets, str) or self.layers is None:
            return True
        number = self._number(module)
        return number is not None and number in self.layers

    def _names(self, selection: str | tuple[str, ...], module: str) -> bool:
        if isinstance(selection, str):
            return bool(selection) and self._matches(selection, module)
        return any(module == name or module.endswith(f".{name}") for name in selection)

    def _fits(self, pattern: str, module: str) -> bool:
        return self._matches(rf"(.*\.)?({pattern})", module)

    def _matches(self, pattern: str, module: str) -> bool:
        try:
            return patterns.matches(pattern, module, self._budget)
        except ValueError as error:
            raise _refused(FILE, "patterns", "some that match quickly", str(error)) from error

    def _number(self, module: str) -> int | None:
        patterns = self.containers or (r"[^.]*",)
        for pattern in patterns:
            if found := re.match(rf".*?\.{pattern}\.(\d+)\.", module):
                return int(found[1])
        return None


def read_config(path: Path) -> AdapterConfig:
    """Read adapter_config.json. Raises CheckpointError naming a setting that cannot be kept."""
    content = read_object(path)
    refuse_unknown(content, {*_IGNORED, *_VARIANTS, *_READ}, path)
    for key in _VARIANTS:
        if content.get(key):
            raise _refused(path, key, "nothing", content[key], _UNSUPPORTED)
    fixed: tuple[tuple[str, tuple[object, ...], object], ...] = (
        ("peft_type", ("LORA",), None),
        ("bias", ("none",), "none"),
        ("init_lora_weights", _STARTS, True),
    )
    for key, allowed, usual in fixed:
        if content.get(key, usual) not in allowed:
            expected, found = " or ".join(map(str, allowed)), content.get(key, usual)
            raise _refused(path, key, expected, found, _UNSUPPORTED)
    targets = _selection(content, "target_modules", path)
    if not targets:
        raise _refused(path, "target_modules", "names or a pattern of modules", targets)
    layers = content.get("layers_to_transform")
    return AdapterConfig(
        base=as_kind(content.get("base_model_name_or_path"), str | None, f"{path}: base"),
        revision=as_kind(content.get("revision"), str | None, f"{path}: revision"),
        r=_rank(content.get("r", 8), f"{path}: r"),
        alpha=_alpha(content.get("lora_alpha", 8), f"{path}: lora_alpha"),
        stabilized=as_kind(content.get("use_rslora", False), bool, f"{path}: use_rslora"),
        use_dora=as_kind(content.get("use_dora", False), bool, f"{path}: use_dora"),
        ranks=_pattern_values(content, "rank_pattern", path, _rank),
        alphas=_pattern_values(content, "alpha_pattern", path, _alpha),
        targets=targets,
        excluded=_selection(content, "exclude_modules", path),
        saved=_strings(content, "modules_to_save", path),
        layers=None if layers in (None, []) else _numbers(layers, f"{path}: layers_to_transform"),
        containers=_containers(content, path),
    )


def _selection(content: Mapping[str, Any], key: str, path: Path) -> str | tuple[str, ...]:
    value = content.get(key)
    return _pattern(value, f"{path}: {key}") if type(value) is str else _strings(content, key, path)


def _strings(content: Mapping[str, Any], key: str, path: Path) -> tuple[str, ...]:
    """A list of names, or a name alone; nothing where there is none."""
    value = content.get(key)
    listed = [value] if type(value) is str else ([] if value is None else value)
    if not isinstance(listed, list) or len(listed) > _MOST_ENTRIES:
        raise _refused(path, key, "a list of names", value)
    names = tuple(as_kind(name, str, f"{path}: {key}") for name in listed)
    if "" in names:
        raise _refused(path, key, "names", "an empty one")
    return names


def _pattern_values(content: Mapping[str, Any], key: str, path: Path, read: Any) -> dict[str, Any]:
    found = as_object(content.get(key) or {}, f"{path}: {key}")
    if len(found) > _MOST_ENTRIES:
        raise _refused(path, key, f"at most {_MOST_ENTRIES} entries", len(found))
    where = f"{path}: {key}"
    return {_pattern(name, where): read(value, f"{where}: {name}") for name, value in found.items()}


def _pattern(text: str, where: object) -> str:
    """A regular expression that can be matched. Raises CheckpointError for others."""
    try:
        patterns.check(text)
    except ValueError as error:
        found = f"{printable(text, 200)}: {error}"
        raise _refused(where, "pattern", "a regular expression", found) from error
    return text


def _containers(content: Mapping[str, Any], path: Path) -> tuple[str, ...]:
    names = _strings(content, "layers_pattern", path)
    for name in names:
        if not _CONTAINER.fullmatch(name):
            raise _refused(path, "layers_pattern", "plain names", name)
    return names


def _rank(value: object, where: object) -> int:
    if type(value) is not int or not 1 <= value <= _LARGEST_RANK:
        raise _refused(where, "rank", f"a whole number, 1 to {_LARGEST_RANK}", value)
    return value


def _alpha(value: object, where: object) -> float:
    if type(value) not in (int, float) or not abs(value) <= _LARGEST_ALPHA:  # type: ignore[arg-type]
        raise _refused(where, "alpha", f"a number up to {_LARGEST_ALPHA:g}", value)
    return float(value)  # type: ignore[arg-type]


def _numbers(value: object, where: object) -> tuple[int, ...]:
    listed: Iterable[object] = value if isinstance(value, list) else [value]
    numbers = tuple(n for n in listed if type(n) is int)
    if len(numbers) != len(list(listed)):
        raise _refused(where, "layers", "whole numbers", value)
    return numbers


def _refused(
    where: object,
    what: str,
    expected: object,
    found: object,
    code: Code = Code.POLICY_SETTING_INVALID,
) -> CheckpointError:
    shown = repr(found)
    return CheckpointError.found(
        code, where, what, expected=expected, found=shown[:200], fix=_RETRAIN
    )
