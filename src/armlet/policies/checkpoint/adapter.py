"""LoRA adapters of peft beside a checkpoint's documents, merged into the weights of their base.

LeRobot (0.4.4 and later) saves a policy that it trained with adapters as config.json with
`use_peft`, the processors, adapter_config.json and adapter_model.safetensors; the weights are those
of the base that adapter_config.json names. W is a layer's weight, A (r, in) and B (out, r) its
adapter's: the merged weight is W + s B A with s = alpha / r, with rank stabilization alpha /
sqrt(r) (arXiv:2106.09685, arXiv:2312.03732). With DoRA each output's row of that has the stored
magnitude as its length (arXiv:2402.09353). Kernels of convolutions are taken as matrices (out, in x
size). peft itself is not needed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from armlet.files import open_file, resolved
from armlet.findings import Code
from armlet.policies.config.errors import CheckpointError
from armlet.policies.config.strict_json import read_object

from . import hub, lerobot_03
from .adapter_config import FILE as SETTINGS
from .adapter_config import AdapterConfig, read_config
from .weights import FILE as WEIGHTS
from .weights import FLOATS, Entry, opened, read_header, read_tensor, refuse_pointers, some

FILE = "adapter_model.safetensors"
_CONFIG = "config.json"
# Before the name that a module has in LeRobot's policy.
_PREFIX = "base_model.model."
_A, _B = ".lora_A.weight", ".lora_B.weight"
_MAGNITUDES = (".lora_magnitude_vector", ".lora_magnitude_vector.weight")
_WHOLE = "copy the whole pretrained_model directory, or merge the adapters into the weights where "
_WHOLE += "peft is installed and save the merged policy"
_ONE_RUN = "adapter, its settings and base must come from one training run"


@dataclass(frozen=True)
class _Layer:
    """The stored names of one layer's adapter; magnitude is DoRA's."""

    a: str
    b: str
    magnitude: str | None


@dataclass(frozen=True)
class Adapter:
    """An adapter whose names and sizes fit its base; its values are still on disk.

    path: adapter_model.safetensors. base: the base's folder. layers: by the name of the weight
    that each changes. whole: the adapter's name of a tensor by that of the base's it replaces.
    """

    path: Path
    config: AdapterConfig
    base: Path
    layers: Mapping[str, _Layer]
    whole: Mapping[str, str]

    @property
    def weights(self) -> Path:
        """The base's weights."""
        return self.base / WEIGHTS

    def merge(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The weights with the adapter in them, float32.

        weights: the base's, float32, by their names in LeRobot's checkpoint; those that are not
        among them are passed over. Raises CheckpointError for values that are not finite.
        """
        merged = dict(weights)
        with opened(self.path) as file:
            for name, stored in self.whole.items():
                if name in merged:
                    merged[name] = read_tensor(file, stored, self.path)
            for name, layer in self.layers.items():
                if name not in merged:
                    continue
                a, b = (read_tensor(file, part, self.path) for part in (layer.a, layer.b))
                scale = self.config.scale(_module(name))
                product = (b.flatten(1) @ a.flatten(1)).view_as(merged[name])
                changed = merged[name] + product * scale
                if layer.magnitude is not None:
                    magnitude = read_tensor(file, layer.magnitude, self.path).flatten()
                    changed = _rescaled(changed, magnitude)
                if not torch.isfinite(changed).all():
                    raise CheckpointError.found(
                        Code.POLICY_WEIGHTS_NOT_FINITE,
                        self.path,
                        f"{name} with the adapter",
                        expected="finite weights",
                        found="NaN or infinity",
                        fix="training diverged or the file is damaged: take an earlier checkpoint",
                    )
                merged[name] = changed
        return merged

    def notes(self) -> list[str]:
        """Where the weights come from: base and adapter with their SHA-256."""
        kind = "DoRA" if self.config.use_dora else "LoRA"
        replaced = f", {len(self.whole)} tensors replaced" if self.whole else ""
        return [
            f"base weights {self.weights}, SHA-256 {digest(self.weights)}",
            f"{kind} adapter merged into {len(self.layers)} layers{replaced}: {self.path}, "
            f"SHA-256 {digest(self.path)}, settings SHA-256 "
            f"{digest(self.path.with_name(SETTINGS))}",
        ]

    def digest(self) -> str:
        """SHA-256 of the digests of base, adapter and settings: that of what was merged."""
        files = (self.weights, self.path, self.path.with_name(SETTINGS))
        return hashlib.sha256("".join(map(digest, files)).encode()).hexdigest()


def digest(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with open_file(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_adapter(path: Path, content: Mapping[str, Any], base: str | None) -> Adapter | None:
    """The adapter in the checkpoint directory `path`; None if it is of an ordinary one.

    content is its config.json; base is the user's word on where the base lies, a directory or
    hub:owner/name@revision. Raises CheckpointError for a file that is missing, a base that is not
    here, settings whose arithmetic is not known here, and tensors that do not fit the base.
    """
    if not content.get("use_peft"):
        return None
    lacking = [name for name in (SETTINGS, FILE) if not (path / name).is_file()]
    if lacking:
        raise CheckpointError.found(
            Code.POLICY_FILE_MISSING,
            path,
            "adapter (config.json says use_peft)",
            expected=f"{SETTINGS} and {FILE}",
            found=f"no {' and no '.join(lacking)}",
            fix=_WHOLE,
        )
    config = read_config(path / SETTINGS)
    folder = _base(path, content, config, base)
    found = read_header(path / FILE)
    header = read_header(folder / WEIGHTS)
    known = lerobot_03.plain_names(header, folder / WEIGHTS)
    own = {plain: header[name] for plain, name in known.items()}
    layers, whole = _arranged(path / FILE, found, config, own)
    _check_shapes(path / FILE, found, config, own, (layers, whole))
    return Adapter(path / FILE, config, folder, layers, whole)


def unused_note(path: Path, content: Mapping[str, Any]) -> list[str]:
    """A line for an adapter that lies beside whole weights, as LeRobot does not use it either."""
    if content.get("use_peft") or not (path / FILE).exists():
        return []
    return [f"{FILE} is not used: {_CONFIG} does not say use_peft"]


def _base(
    path: Path, content: Mapping[str, Any], config: AdapterConfig, stated: str | None
) -> Path:
    """The folder of the base's weights. Raises CheckpointError."""
    folder = _folder(path, config) if stated is None else hub.locate(stated)
    lacking = [name for name in (_CONFIG, WEIGHTS) if not (folder / name).is_file()]
    if lacking:
        raise CheckpointError.found(
            Code.POLICY_BASE_UNUSABLE,
            folder,
            "base of the adapter",
            expected=f"a checkpoint with {_CONFIG} and {WEIGHTS}",
            found=f"no {' and no '.join(lacking)}",
            fix="give the folder of the policy that training started from: --base DIR "
            "(policy node and graphs: base_checkpoint)",
        )
    refuse_pointers(folder)
    own = read_object(folder / _CONFIG)
    same = resolved(folder) == resolved(path)
    if own.get("type") != content.get("type") or (own.get("use_peft") and not same):
        kind = "an adapter itself" if own.get("use_peft") else f"a policy of type {own.get('type')}"
        raise CheckpointError.found(
            Code.POLICY_BASE_UNUSABLE,
            folder,
            "base of the adapter",
            expected=f"whole weights of a policy of type {content.get('type')}",
            found=kind,
            fix="give the folder of the policy that training started from: --base DIR "
            "(policy node and graphs: base_checkpoint)",
        )
    return folder


def _folder(path: Path, config: AdapterConfig) -> Path:
    """Where the base that adapter_config.json names lies on this machine."""
    name = config.base
    if name and _is_folder(name):
        return Path(name)
    cached = hub.cached(name, (_CONFIG, WEIGHTS), config.revision) if name else None
    if cached is not None:
        return cached
    revision = f"@{config.revision}" if config.revision else ""
    repository = f"hub:{name if name and hub.is_repository(name) else 'owner/name'}{revision}"
    beside = f"; if {WEIGHTS} beside the adapter is the base, give {path}"
    raise CheckpointError.found(
        Code.POLICY_BASE_UNUSABLE,
        path / SETTINGS,
        "base of the adapter",
        expected="the policy that training started from, as a folder or in the Hub's cache",
        found=f"{name + revision}, which is not on this machine" if name else "no name of one",
        fix=f"give it: --base DIR, or --base {repository} (policy node and graphs: "
        f"base_checkpoint){beside if (path / WEIGHTS).is_file() else ''}",
    )


def _is_folder(name: str) -> bool:
    """Whether a name out of a file is that of a folder; one too long for a path is not."""
    try:
        return Path(name).is_dir()
    except OSError:
        return False


def _arranged(
    where: Path,
    found: Mapping[str, Entry],
    config: AdapterConfig,
    own: Mapping[str, Entry],
) -> tuple[dict[str, _Layer], dict[str, str]]:
    """The adapter's tensors by what they are for. Raises CheckpointError unless all are there.

    own: the base's tensors by their names in LeRobot's checkpoint.
    """
    names = {name.removeprefix(_PREFIX): name for name in found if name.startswith(_PREFIX)}
    saved = {n for n in own if any(config.saves(module) for module in _modules(n))}
    adapted = [
        n
        for n, entry in own.items()
        if n.endswith(".weight") and len(entry.shape) >= 2 and config.adapts(_module(n))
    ]
    layers = {}
    for name in adapted:
        module = _module(name)
        old, new = (module + suffix for suffix in _MAGNITUDES)
        magnitude = (new if new in names else old) if config.use_dora else None
        layers[name] = _Layer(module + _A, module + _B, magnitude)
    parts = {p for one in layers.values() for p in (one.a, one.b, one.magnitude) if p is not None}
    missing = sorted((parts | saved) - names.keys())
    extra = sorted(found.keys() - {names[n] for n in names.keys() & (parts | saved)})
    if missing or extra or not (layers or saved):
        raise CheckpointError.found(
            Code.POLICY_WEIGHTS_MISMATCH,
            where,
            "tensor names",
            expected=f"adapters of {len(adapted)} layers and {len(saved)} whole tensors, as "
            f"{SETTINGS} says of this base; missing {some(missing)}",
            found=f"{len(found)} tensors; extra {some(extra)}",
            fix=_ONE_RUN,
        )
    stored = {
        name: _Layer(names[one.a], names[one.b], one.magnitude and names[one.magnitude])
        for name, one in layers.items()
    }
    return stored, {name: names[name] for name in saved}


def _check_shapes(
    where: Path,
    found: Mapping[str, Entry],
    config: AdapterConfig,
    own: Mapping[str, Entry],
    arranged: tuple[Mapping[str, _Layer], Mapping[str, str]],
) -> None:
    """Raise CheckpointError for sizes that do not fit the base, and for dtypes but floats."""
    layers, whole = arranged
    expected = {stored: own[name].shape for name, stored in whole.items()}
    counters = {stored for name, stored in whole.items() if own[name].dtype not in FLOATS}
    for name, layer in layers.items():
        out, into, *kernel = own[name].shape
        rank = config.rank(_module(name))
        ones = (1,) * len(kernel)
        expected[layer.a] = (rank, into, *kernel)
        expected[layer.b] = (out, rank, *ones)
        if layer.magnitude is not None:
            expected[layer.magnitude] = (1, out, *ones) if kernel else (out,)
    for stored, shape in expected.items():
        entry = found[stored]
        if entry.shape != shape or (entry.dtype not in FLOATS and stored not in counters):
            raise CheckpointError.found(
                Code.POLICY_WEIGHTS_MISMATCH,
                where,
                f"{stored}",
                expected=f"{shape} in {' or '.join(FLOATS)}",
                found=f"{entry.shape} in {entry.dtype}",
                fix=_ONE_RUN,
            )


def _rescaled(weight: Tensor, magnitude: Tensor) -> Tensor:
    """The weight with rows (all of an output's values) as long as DoRA's magnitudes (out,)."""
    lengths = torch.linalg.vector_norm(weight.flatten(1), dim=1)
    rescaled: Tensor = weight * (magnitude / lengths).view(-1, *(1,) * (weight.ndim - 1))
    return rescaled


def _module(name: str) -> str:
    """The module of a tensor: `a.b.weight` -> `a.b`."""
    return name.rpartition(".")[0]


def _modules(name: str) -> Collection[str]:
    """All modules that a tensor is in, its own first."""
    parts = name.split(".")
    return [".".join(parts[:end]) for end in range(len(parts) - 1, 0, -1)]
