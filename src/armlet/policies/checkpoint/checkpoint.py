"""Reading a LeRobot checkpoint directory of any era, strictly.

Only JSON and safetensors are read and nothing a checkpoint names is imported. Whatever LeRobot
would pass over in silence and that could change an action is an error here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from armlet import contract as contracts
from armlet.contract import Contract
from armlet.findings import Code
from armlet.policies.config.base import (
    ACTION,
    STATE,
    Feature,
    PolicyConfig,
    camera_name,
    newer_keys,
    parse,
)
from armlet.policies.config.errors import CheckpointError as CheckpointError
from armlet.policies.config.releases import RELEASES, PatchRows
from armlet.policies.config.strict_json import read_object
from armlet.policies.networks.base import PolicyNetwork
from armlet.policies.networks.meta import without_values
from armlet.policies.networks.tokens import Language
from armlet.policies.preprocess import EPSILON, Preprocessor
from armlet.policies.registry import (
    CheckpointFiles,
    Companions,
    PolicyFamily,
    Text,
    family,
    family_of,
)

from . import hub, lerobot_03, origin
from .adapter import Adapter, digest, read_adapter, unused_note
from .nearby import advice
from .origin import Origin
from .processors import POSTPROCESSOR, PREPROCESSOR, Pipeline, read_pipeline
from .weights import FILE as WEIGHTS
from .weights import Entry, check_weights, opened, read_header, read_tensor, refuse_pointers

CONFIG = "config.json"
# The file that makes a directory an exported policy, see export.
EXPORT = "export.json"
PREFIX = "model."
# A folder in the checkpoint with config.json and tokenizer.json of SmolVLA's language model.
VLM_FOLDER = "vlm"

OLD_ERA = RELEASES[0].name


@dataclass(frozen=True)
class Choices:
    """What a checkpoint may leave to its user.

    embodiment: the robot whose statistics to take, where they are stored under robots' names.
    vlm: folder with config.json and tokenizer.json of SmolVLA's language model, where they are
    neither in the checkpoint nor where it says. without: names of cameras a SmolVLA policy was
    trained without. lerobot and transformers: the versions the policy was trained with (0.5.1, or
    0.5), where its files do not say; they must not contradict the files. denoising: another way
    from noise to chunk than config.json states (DDIM:10), which gives other actions. base: where
    the weights lie that a LoRA checkpoint was trained from, a directory or hub:owner/name@revision;
    None: where its adapter_config.json says.
    """

    embodiment: str | None = None
    vlm: Path | None = None
    without: tuple[str, ...] = ()
    lerobot: str | None = None
    transformers: str | None = None
    denoising: str | None = None
    base: str | None = None


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint's documents, checked against each other; weights are still on disk.

    Feature keys of config, preprocessor and statistics are the observation's own: a rename_map has
    been applied. statistics holds all that was stored for the policy's features, also what its
    normalization does not use. notes are lines worth showing to a person. origin is what trained
    it; language is None for policies that read no words. patch_rows are how a SmolVLA's vision
    tower places pictures. adapter: what is merged into the weights of another checkpoint, its base;
    None where the weights are its own.
    """

    path: Path
    config: PolicyConfig
    preprocessor: Preprocessor
    statistics: Mapping[str, Mapping[str, NDArray[np.float32]]]
    contract: Contract | None
    notes: tuple[str, ...]
    origin: Origin
    language: Language | None = None
    patch_rows: PatchRows = PatchRows.SCALED
    adapter: Adapter | None = None

    @property
    def weights(self) -> Path:
        """The file of the weights: its own, or the base's."""
        return self.path / WEIGHTS if self.adapter is None else self.adapter.weights

    def digest(self) -> str:
        """SHA-256, hexadecimal: of the file of weights, or of all files that are merged."""
        return digest(self.weights) if self.adapter is None else self.adapter.digest()

    @property
    def era(self) -> str:
        """The LeRobots that may have trained it, in a few words: `0.3.x`, `0.6.0 to 0.6.1`."""
        return self.origin.name

    @property
    def family(self) -> PolicyFamily[Any]:
        """The kind of policy it is."""
        return family_of(self.config)

    @property
    def companions(self) -> Companions:
        """What its network is built from beside the configuration."""
        return Companions(self.language, self.patch_rows)


@dataclass(frozen=True)
class _Documents:
    """What the two eras say alike: the preprocessing, and which keys and words go in."""

    preprocessor: Preprocessor
    statistics: lerobot_03.Tables
    names: Mapping[str, str]
    text: Text | None


def read_checkpoint(
    path: Path | str, choices: Choices | None = None, contract: bool = True
) -> Checkpoint:
    """Read and check every document of the checkpoint directory `path`, but its weights.

    path may be `hub:owner/name@revision`, see hub. contract: read that too; without, the checkpoint
    is as LeRobot wrote it, whatever its contract says. Raises CheckpointError saying what, where,
    expected, found and how to fix it.
    """
    path, choices = hub.locate(path), choices or Choices()
    if not path.is_dir():
        raise CheckpointError.found(
            Code.POLICY_CHECKPOINT_NOT_FOUND,
            path,
            "checkpoint",
            expected="a directory with config.json and model.safetensors",
            found="a file" if path.exists() else "nothing",
            fix=f"{advice(path)}give the local path of a pretrained_model directory",
        )
    if not (path / CONFIG).exists() and (near := advice(path)):
        raise CheckpointError.found(
            Code.POLICY_CHECKPOINT_NOT_FOUND,
            path,
            "checkpoint",
            expected="a directory with config.json and model.safetensors",
            found="a directory without them",
            fix=near.rstrip(),
        )
    refuse_pointers(path)
    content = read_object(path / CONFIG)
    kind = family(content.get("type"), path / CONFIG)
    stated = parse(content, path / CONFIG, kind.config)
    config = _denoised(_without(stated, choices, path / CONFIG), choices, path / CONFIG)
    # The graph of an exported policy has the adapter in it.
    merged = (path / EXPORT).is_file()
    adapter = None if merged else read_adapter(path, content, choices.base)
    old = adapter is None and _is_old(path, content, stated)
    trained = origin.read_origin(
        path, content, stated.TYPE, old, choices.lerobot, choices.transformers
    )
    read = _read_buffers if old else _read_processors
    documents = read(path, config, stated, choices)
    config = config.renamed(documents.names)
    files = CheckpointFiles(path, choices.vlm, documents.text, trained)
    companions = kind.companions(config, files)
    notes = (*_notes(config, documents, choices), *kind.notes(config), *companions.notes)
    notes += tuple(unused_note(path, content) if adapter is None else adapter.notes())
    if config.denoising != stated.denoising:
        notes += (
            f"chunks come of {config.denoising}, as asked, where {CONFIG} states "
            f"{stated.denoising}: actions differ from those of the policy as it was evaluated",
        )
    return Checkpoint(
        path=path,
        config=config,
        preprocessor=documents.preprocessor,
        statistics={
            key: documents.statistics[key]
            for key in config.used_features
            if key in documents.statistics
        },
        contract=_contract(path, config, documents.preprocessor) if contract else None,
        notes=(*newer_keys(content, kind.config), *notes),
        origin=trained,
        language=companions.language,
        patch_rows=companions.patch_rows,
        adapter=adapter,
    )


def load_network(checkpoint: Checkpoint) -> PolicyNetwork:
    """The network with its weights, float32, in eval mode, on the CPU.

    Names and shapes are checked from the file's header before any weight is read. Raises
    CheckpointError for missing or extra tensors, other shapes or dtypes, non-finite weights.
    """
    where = checkpoint.weights
    if (checkpoint.path / EXPORT).is_file():
        raise CheckpointError.found(
            Code.POLICY_OPTION_REFUSED,
            checkpoint.path,
            "weights",
            expected="a checkpoint",
            found=f"an exported policy ({EXPORT}), whose weights are in its graph",
            fix="give the checkpoint it was exported from, or run it with backend onnxruntime or "
            "openvino",
        )
    header = read_header(where)
    names = lerobot_03.plain_names(header, where)
    if checkpoint.era == OLD_ERA or checkpoint.adapter is not None:
        # A base of 0.3.x too, of which LeRobot takes the weights only.
        names = {
            plain: name for plain, name in names.items() if not plain.startswith(lerobot_03.BUFFERS)
        }
    ignores = checkpoint.family.ignores
    names = {plain: name for plain, name in names.items() if not ignores(plain)}
    found = {plain: header[name] for plain, name in names.items()}
    _check_sizes(found, checkpoint, where)
    network = outline(checkpoint, where)
    stored = {network.stored_name(name): name for name in network.state_dict()}
    shapes = {name: tuple(t.shape) for name, t in network.state_dict().items()}
    check_weights(found, {stored_as: shapes[name] for stored_as, name in stored.items()}, where)
    with opened(where) as file:
        weights = {stored_as: read_tensor(file, names[stored_as], where) for stored_as in stored}
    if checkpoint.adapter is not None:
        weights = checkpoint.adapter.merge(weights)
    network.load_state_dict({stored[name]: w for name, w in weights.items()}, assign=True)
    return network.requires_grad_(True).eval()


def outline(checkpoint: Checkpoint, where: object) -> PolicyNetwork:
    """The network without weights. Raises CheckpointError for settings that do not fit."""
    with without_values():
        try:
            return checkpoint.family.build(checkpoint.config, checkpoint.companions)
        except ValueError as error:
            raise CheckpointError.of_settings(error, where) from error


def _is_old(path: Path, content: Mapping[str, object], config: PolicyConfig) -> bool:
    """0.3.x keeps statistics as tensors among the weights and has no processor files.

    Without any normalization it has neither; then its config.json lacks a key that is always there
    from 0.4 on.
    """
    if (path / f"{PREPROCESSOR}.json").exists():
        return False
    if lerobot_03.has_buffers(read_header(path / WEIGHTS)):
        return True
    modes = {config.normalization_mapping[f.type] for f in config.used_features.values()}
    if modes == {"IDENTITY"} and "pretrained_path" not in content:
        return True
    raise CheckpointError.found(
        Code.POLICY_FILE_MISSING,
        path / f"{PREPROCESSOR}.json",
        "processor file missing",
        expected="the processors of LeRobot 0.4 and later, or 0.3.x's statistics in the weights",
        found="neither",
        fix="copy the whole pretrained_model directory, or save the processors with the policy",
    )


def _without(config: PolicyConfig, choices: Choices, where: Path) -> PolicyConfig:
    """The configuration with the cameras that are absent by the user's word taken out."""
    if not choices.without:
        return config
    names = {camera_name(key): key for key in config.image_features}
    unknown = [name for name in choices.without if name not in names]
    if unknown or not config.LACKS_CAMERAS:
        raise CheckpointError.found(
            Code.POLICY_OPTION_REFUSED,
            where,
            "cameras to run without",
            expected=f"cameras of a SmolVLA policy (this {config.TITLE} has {', '.join(names)})",
            found=", ".join(choices.without),
            fix="name cameras the policy was trained without, or none",
        )
    try:
        return config.without(tuple(names[name] for name in choices.without))
    except ValueError as error:
        raise _unsuitable(error, where) from error


def _unsuitable(error: ValueError, where: Path) -> CheckpointError:
    return CheckpointError.of(
        Code.POLICY_OPTION_REFUSED,
        error,
        where,
        expected="a choice that suits this policy",
        fix="correct it, or leave it out",
    )


def _denoised(config: PolicyConfig, choices: Choices, where: Path) -> PolicyConfig:
    """The configuration with the user's own way from noise to chunk."""
    if choices.denoising is None:
        return config
    try:
        return config.denoised(choices.denoising)
    except ValueError as error:
        raise _unsuitable(error, where) from error


def _read_processors(
    path: Path, config: PolicyConfig, stated: PolicyConfig, choices: Choices
) -> _Documents:
    """Statistics and names from the processor files of 0.4 and later.

    stated is the configuration on disk: absent cameras may have been renamed too.
    """
    kind = family_of(config)
    before = read_pipeline(path, PREPROCESSOR, kind)
    after = read_pipeline(path, POSTPROCESSOR, kind)
    before.check(config.used_features, config)
    after.check({ACTION: config.output_features[ACTION]}, config)
    _check_camera_order(
        before.where, list(config.image_features), before.features, "copy the directory again"
    )
    statistics = _state(before, config, choices)
    preprocessor = _preprocessor(config, before, statistics)
    _check_same_actions(preprocessor, config, after, choices)
    absent = stated.image_features.keys() - config.image_features.keys()
    names = _observation_names(config, before, absent)
    statistics = _renamed(statistics, names)
    return _Documents(
        _preprocessor(config.renamed(names), before, statistics),
        statistics,
        names,
        before.text,
    )


def _read_buffers(
    path: Path, config: PolicyConfig, stated: PolicyConfig, choices: Choices
) -> _Documents:
    """Statistics from the weights file of 0.3.x, which renames nothing and cuts no words.

    stated is the configuration on disk: absent cameras have their buffers too.
    """
    where = path / WEIGHTS
    statistics = lerobot_03.buffer_statistics(where, read_header(where), stated, choices.embodiment)
    preprocessor = Preprocessor.from_statistics(
        config.used_features,
        config.normalization_mapping,
        statistics,
        EPSILON,
        where,
        old_ranges=True,
        resize=config.resize,
    )
    return _Documents(preprocessor, statistics, {}, None)


def _state(pipeline: Pipeline, config: PolicyConfig, choices: Choices) -> lerobot_03.Tables:
    modes = config.normalization_mapping
    needed = [key for key, f in config.used_features.items() if modes[f.type] != "IDENTITY"]
    file = pipeline.state_file
    return lerobot_03.state_statistics(file, needed, choices.embodiment, file)


def _preprocessor(
    config: PolicyConfig, pipeline: Pipeline, statistics: lerobot_03.Tables
) -> Preprocessor:
    return Preprocessor.from_statistics(
        config.used_features,
        config.normalization_mapping,
        statistics,
        pipeline.eps,
        where=pipeline.state_file,
        resize=config.resize,
    )


def _check_same_actions(
    before: Preprocessor, config: PolicyConfig, after: Pipeline, choices: Choices
) -> None:
    """Actions must be unnormalized with the statistics they were normalized with in training."""
    action: dict[str, Feature] = {ACTION: config.output_features[ACTION]}
    modes = config.normalization_mapping
    statistics = _state(after, config, choices)
    other = Preprocessor.from_statistics(
        action, modes, statistics, after.eps, where=after.state_file
    )
    probe = torch.linspace(-2, 2, 5)[:, None].expand(5, config.action_size)
    if not torch.equal(before.unnormalize_action(probe), other.unnormalize_action(probe)):
        raise CheckpointError.found(
            Code.POLICY_FILES_CONTRADICT,
            after.state_file,
            "action statistics",
            expected="those of the preprocessor's statistics file",
            found="others",
            fix="both files must come from one training run: copy the whole directory again",
        )


def _check_camera_order(where: object, expected: list[str], found: Iterable[str], fix: str) -> None:
    """Two files that name the same cameras must name them in one order."""
    named = [camera for camera in found if camera in expected]
    if sorted(named) == sorted(expected) and named != expected:
        raise CheckpointError.found(
            Code.POLICY_FILES_CONTRADICT,
            where,
            "order of cameras",
            expected=f"{', '.join(expected)}, as in config.json",
            found=", ".join(named),
            fix="ACT itself gives the same for any order, other policies do not; the files "
            f"contradict each other, one may carry another camera's statistics: {fix}",
        )


def _observation_names(
    config: PolicyConfig, pipeline: Pipeline, absent: Set[str]
) -> dict[str, str]:
    """The observation's key by feature key, for features that rename_map gives another name."""
    names: dict[str, str] = {}
    cameras = config.image_features
    for key, feature in pipeline.rename.items():
        if feature in absent:
            continue
        if feature not in cameras or feature in names:
            raise CheckpointError.found(
                Code.POLICY_SETTING_INVALID,
                pipeline.where,
                f"rename_map of {key}",
                expected=f"each camera of the policy at most once ({', '.join(cameras)})",
                found=feature,
                fix="correct the rename_map the policy was trained with",
            )
        names[feature] = key
    keys = [names.get(key, key) for key in config.input_features]
    if len(set(keys)) < len(keys):
        raise CheckpointError.found(
            Code.POLICY_SETTING_INVALID,
            pipeline.where,
            "rename_map",
            expected="a different observation key for every input",
            found=keys,
            fix="correct the rename_map the policy was trained with",
        )
    return names


def _renamed(statistics: lerobot_03.Tables, names: Mapping[str, str]) -> lerobot_03.Tables:
    kept = {key: value for key, value in statistics.items() if key not in names}
    return {**kept, **{names[key]: statistics[key] for key in names if key in statistics}}


def _contract(path: Path, config: PolicyConfig, preprocessor: Preprocessor) -> Contract | None:
    where = path / contracts.FILE_NAME
    if not where.exists():
        return None
    try:
        contract = contracts.load(where)
    except (contracts.ContractError, OSError) as error:
        raise CheckpointError.of(
            Code.POLICY_CONTRACT_UNUSABLE,
            error,
            expected="the contract that was written with this checkpoint",
            fix="restore it, or remove it and run `armlet policy bind`",
        ) from error
    check_contract(contract, config, preprocessor, where)
    return contract


def check_contract(
    contract: Contract, config: PolicyConfig, preprocessor: Preprocessor, where: object
) -> None:
    """Raise CheckpointError, naming `where`, unless the contract describes this very policy."""
    pictures = {camera_name(key): f.shape[1:] for key, f in config.image_features.items()}
    filmed = {c.name: (c.height, c.width) for c in contract.cameras}
    if config.resize != "none":
        # The network fits any size; which one the cameras have, only the contract knows.
        pictures = {name: filmed.get(name, size) for name, size in pictures.items()}
    states = len(contract.state_names) if STATE in config.input_features else None
    stated = contract.preprocessing
    described = preprocessor.describe()
    facts: tuple[tuple[str, object, object], ...] = (
        ("cameras", pictures, filmed),
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
                Code.POLICY_CONTRACT_UNUSABLE,
                where,
                f"contract: {what}",
                expected=f"{expected}, as in the policy's own files",
                found=found,
                fix="the contract belongs to another checkpoint: restore its own, or remove it",
            )
    _check_camera_order(
        where, list(pictures), [c.name for c in contract.cameras], "restore the contract"
    )


def _notes(config: PolicyConfig, documents: _Documents, choices: Choices) -> list[str]:
    named = {*config.input_features, *config.output_features}
    ignored = sorted(named - set(config.used_features) - set(config.blank_features))
    notes = [
        *(f"{key} is listed as a feature, but {config.TITLE} does not read it" for key in ignored),
        *(
            f"camera {camera_name(v)} is the policy's {camera_name(k)}"
            for k, v in documents.names.items()
        ),
        *documents.preprocessor.notes(),
    ]
    if choices.embodiment is not None:
        notes.append(f"statistics are those stored for {choices.embodiment}, as asked")
    return notes


def _check_sizes(found: Mapping[str, Entry], checkpoint: Checkpoint, where: Path) -> None:
    """Refuse sizes no tensor of the file has, before a network of that size is even outlined."""
    config = checkpoint.config
    widest = max((size for entry in found.values() for size in entry.shape), default=0)
    widths: dict[str, int | None] = {
        "state_size": config.state_size,
        "environment_size": config.environment_size,
        "action_size": config.action_size,
    }
    stated = checkpoint.family.sizes(config, checkpoint.companions)
    widths |= stated.widths
    for sizes, limit in ((widths, widest), (stated.layers, len(found))):
        for name, size in sizes.items():
            if (size or 0) > limit:
                raise CheckpointError.found(
                    Code.POLICY_WEIGHTS_MISMATCH,
                    where,
                    f"{name} of config.json",
                    expected=f"at most {limit}, which is all these weights have room for",
                    found=size,
                    fix="config.json and the weights must come from one training run",
                )


def with_preprocessing(contract: Contract, preprocessor: Preprocessor) -> Contract:
    """The contract with the checkpoint's own preprocessing filled in where it states none."""
    if contract.preprocessing is not None:
        return contract
    return dataclasses.replace(contract, preprocessing=preprocessor.describe())
