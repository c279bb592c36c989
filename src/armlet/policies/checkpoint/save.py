"""Writing checkpoints stock LeRobot 0.4 and later loads."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from armlet import contract as contracts
from armlet.contract import Contract
from armlet.files import scratch_folder
from armlet.findings import Code
from armlet.policies.config.base import PolicyConfig
from armlet.policies.config.errors import CheckpointError
from armlet.policies.networks.base import PolicyNetwork
from armlet.policies.networks.meta import without_values
from armlet.policies.networks.tokens import FILE as TOKENIZER
from armlet.policies.preprocess import Preprocessor, Statistics
from armlet.policies.registry import family_of

from . import card, training_data
from .checkpoint import CONFIG, VLM_FOLDER, check_contract, with_preprocessing
from .processors import POSTPROCESSOR, PREPROCESSOR, pipeline_json, state_file_name
from .weights import FILE as WEIGHTS


def save_checkpoint(
    path: Path,
    model: PolicyNetwork,
    config: PolicyConfig,
    statistics: Statistics,
    contract: Contract | None = None,
    dtype: torch.dtype = torch.float32,
    vlm: Path | None = None,
    episodes: Sequence[int] | None = None,
    model_card: str | None = None,
) -> None:
    """Write the directory `path`: config.json, model.safetensors, both processors, the contract.

    statistics are the dataset's, {feature: {mean, std, ...}}, stored whole as float32. With dtype
    float16 matrices and kernels are halved, vectors (biases, norms, statistics) stay float32. vlm
    is the folder of a SmolVLA's language model, whose config.json and tokenizer.json are copied
    into the checkpoint, so that it is whole; LeRobot wants the folder vlm_model_name names.
    episodes are those of its dataset that the policy was trained on, which are recorded. model_card
    is the text of README.md, see the module card. The directory appears complete, on disk, or not
    at all. Raises FileExistsError if it is there and not empty, CheckpointError if statistics,
    contract or weights would not make a loadable checkpoint.
    """
    check_new(path)
    family = family_of(config)
    preprocessor = Preprocessor.from_config(config, statistics, where="statistics to save")
    if contract is not None:
        contract = with_preprocessing(contract, preprocessor)
        check_contract(contract, config, preprocessor, "contract to save")
    weights = _weights(model, config, dtype)
    with new_directory(path) as unfinished:
        _write_json(unfinished / CONFIG, config.to_json(), indent=4)
        stored = _flat(statistics)
        for name in (PREPROCESSOR, POSTPROCESSOR):
            _write_json(unfinished / f"{name}.json", pipeline_json(name, config), indent=2)
            save_file(stored, str(unfinished / state_file_name(name, family)))
        if contract is not None:
            contract.save(unfinished / contracts.FILE_NAME)
        if episodes is not None:
            _write_json(unfinished / training_data.FILE, training_data.described(episodes), 2)
        if model_card is not None:
            (unfinished / card.FILE).write_text(model_card, encoding="utf-8")
        for name, content in family.records(model).items():
            _write_json(unfinished / name, content, indent=2)
        if vlm is not None:
            (unfinished / VLM_FOLDER).mkdir()
            for file in (CONFIG, TOKENIZER):
                shutil.copyfile(vlm / file, unfinished / VLM_FOLDER / file)
            _finish(unfinished / VLM_FOLDER)
        # "format" is what tells Hugging Face readers that these are torch tensors.
        save_file(weights, str(unfinished / WEIGHTS), metadata={"format": "pt"})


@contextmanager
def new_directory(path: Path) -> Iterator[Path]:
    """A folder to fill, with config.json in it, that becomes `path` when all of it is on disk.

    Raises FileExistsError as check_new does, OSError for what cannot be written. Nothing of
    it stays after an error; what a kill leaves goes with the next folder made beside it.
    """
    check_new(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with scratch_folder(path.parent) as scratch:
        unfinished = scratch / path.name
        unfinished.mkdir()
        try:
            yield unfinished
        except SafetensorError as error:
            # It has the system's words, as "No space left on device (os error 28)".
            failed = OSError(f"{path} was not saved: {error}")
            if number := re.search(r"\(os error (\d+)\)", str(error)):
                failed.errno = int(number[1])
            raise failed from error
        _finish(unfinished)
        unfinished.replace(path)
        _sync(path.parent)


def check_new(path: Path) -> None:
    """Raise FileExistsError unless `path` is free for a checkpoint: absent, or an empty folder."""
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        found = "one with files" if path.is_dir() else "a file"
        raise FileExistsError(f"{path}: expected a new directory, found {found}; choose another")


def _finish(folder: Path) -> None:
    """Give a folder and its files ordinary permissions, and wait until all of it is on disk."""
    # safetensors and mkdtemp make theirs private; the JSON files have what the umask leaves.
    mode = stat.S_IMODE((folder / CONFIG).stat().st_mode)
    for file in folder.iterdir():
        if file.is_file():
            file.chmod(mode)
            _sync(file)
    folder.chmod(mode | stat.S_IXUSR | (mode & 0o044) >> 2)
    _sync(folder)


def _sync(path: Path) -> None:
    """Wait until a file's content, or a folder's entries, are on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _weights(model: PolicyNetwork, config: PolicyConfig, dtype: torch.dtype) -> dict[str, Tensor]:
    if dtype not in (torch.float32, torch.float16):
        raise ValueError(f"dtype must be float32 or float16, found {dtype}")
    with without_values():
        expected = {name: t.shape for name, t in model.outline(config).state_dict().items()}
    state = model.state_dict()
    if {name: t.shape for name, t in state.items()} != expected:
        raise CheckpointError.found(
            Code.POLICY_WEIGHTS_MISMATCH,
            "model to save",
            "tensors",
            expected=f"the {len(expected)} of its configuration",
            found=f"{len(state)}, some with other names or shapes",
            fix="save the model that was trained, before optimize_for_inference",
        )
    # Vectors, and tables that nothing learned, keep float32.
    learned = {name for name, value in model.named_parameters() if value.ndim >= 2}
    return {
        model.stored_name(name): _stored(name, value, dtype if name in learned else torch.float32)
        for name, value in state.items()
    }


def _stored(name: str, value: Tensor, dtype: torch.dtype) -> Tensor:
    # Training may lay kernels out channels-last; the file wants plain row-major bytes.
    stored = value.detach().cpu().to(dtype).contiguous()
    if not torch.isfinite(stored).all():
        raise CheckpointError.found(
            Code.POLICY_WEIGHTS_NOT_FINITE,
            "model to save",
            f"values of {name}",
            expected=f"finite as {dtype}",
            found="NaN or infinity",
            fix="training diverged, or the weights are too large for float16: save float32",
        )
    return stored


def _flat(statistics: Statistics) -> dict[str, Tensor]:
    return {
        f"{feature}.{name}": torch.from_numpy(np.array(value, dtype=np.float32, order="C"))
        for feature, values in statistics.items()
        for name, value in values.items()
    }


def _write_json(path: Path, content: Mapping[str, Any], indent: int) -> None:
    path.write_text(json.dumps(content, indent=indent, allow_nan=False), encoding="utf-8")
