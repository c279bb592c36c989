"""SmolVLA as a family: it reads a language model's words, and draws noise."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from armlet.findings import Code
from armlet.policies.checkpoint import hub, origin
from armlet.policies.checkpoint.checkpoint import CONFIG, VLM_FOLDER
from armlet.policies.config.errors import CheckpointError
from armlet.policies.config.smolvla import RealTimeChunking, SmolVlaConfig, parse_vlm
from armlet.policies.config.strict_json import read_object
from armlet.policies.networks import smolvla_stages, tokens
from armlet.policies.networks.rtc import Guidance
from armlet.policies.networks.smolvla import TOKENS, UNUSED, SmolVla, vision_precision
from armlet.policies.networks.stages import Split
from armlet.policies.networks.tokens import Language
from armlet.policies.registry import (
    DEVICE,
    NEW_LINE,
    NORMALIZER,
    RENAME,
    TO_BATCH,
    TOKENIZER,
    CheckpointFiles,
    Companions,
    Inference,
    Noise,
    PolicyFamily,
    Sizes,
    Text,
)


def _build(config: SmolVlaConfig, companions: Companions) -> SmolVla:
    language = companions.language
    if language is None:
        raise TypeError("no SmolVLA without its language model's configuration")
    return SmolVla(config, language.config, language.words.marks(), companions.patch_rows)


def _infer(network: SmolVla, given: Inference) -> Tensor:
    assert given.language is not None
    noise = given.drawn
    batch = {**given.batch, TOKENS: given.language.words(given.task).to(noise.device)}
    chunk: Tensor = network(batch, noise, _guidance(network.config, given))
    return chunk


def _split(network: SmolVla, companions: Companions) -> Split:
    """A text that no processor file cuts has the room that the configuration states."""
    assert companions.language is not None
    longest = companions.language.words.longest
    return smolvla_stages.split(network, longest or network.config.tokenizer_max_length)


def _guidance(config: SmolVlaConfig, given: Inference) -> Guidance | None:
    if given.plan is None or not len(given.plan):
        return None
    chunking = config.rtc_config or RealTimeChunking()
    shape = (config.chunk_size, config.max_action_dim)
    return Guidance(chunking, given.plan[: config.chunk_size], given.delay, shape)


def _noise(config: SmolVlaConfig) -> Noise:
    return Noise(config.chunk_size, config.max_action_dim)


def _describe(config: SmolVlaConfig) -> str:
    return f"{config.vlm_model_name}, {config.num_steps} steps from noise to chunk"


def _step_configs(config: SmolVlaConfig) -> Mapping[str, Mapping[str, Any]]:
    return {
        TOKENIZER: {
            "max_length": config.tokenizer_max_length,
            "task_key": "task",
            "padding_side": "right",
            "padding": config.pad_language_to,
            "truncation": True,
            "tokenizer_name": config.vlm_model_name,
        }
    }


def _companions(config: SmolVlaConfig, files: CheckpointFiles) -> Companions:
    # LeRobot 0.3 has no processor files: it takes the tokenizer of the model and cuts nothing.
    text = files.text or Text(config.vlm_model_name, None)
    language = _language(config, files, text)
    precision = vision_precision(config, language.config)
    rows, why = origin.patch_rows(files.origin, config, language.config, precision)
    name = str(precision).removeprefix("torch.")
    placed = f"pictures are placed as a vision tower in {name} placed them in training"
    notes = (f"{placed}, {rows.value} ({why})", *_notes(config, text, language))
    return Companions(language, rows, notes)


def _language(config: SmolVlaConfig, files: CheckpointFiles, text: Text) -> Language:
    folder = _language_folder(files.path, config, files.vlm)
    vlm = parse_vlm(read_object(folder / CONFIG), folder / CONFIG)
    words = tokens.Words.read(folder / tokens.FILE, text.longest, vlm.text.vocab_size)
    if config.add_image_special_tokens and words.marks() is None:
        raise CheckpointError.found(
            Code.POLICY_LANGUAGE_MODEL,
            folder / tokens.FILE,
            "marks around pictures",
            expected=f"{tokens.EDGE} and {tokens.WHOLE}, for add_image_special_tokens",
            found="neither or one",
            fix="give the tokenizer of SmolVLM2",
        )
    return Language(vlm, words, folder)


def _language_folder(path: Path, config: SmolVlaConfig, given: Path | None) -> Path:
    """Where config.json and tokenizer.json of the language model are: asked for, or on disk."""
    if given is not None:
        return given
    for folder in (path / VLM_FOLDER, Path(config.vlm_model_name)):
        if folder.is_dir():
            return folder
    cached = hub.cached(config.vlm_model_name, (CONFIG, tokens.FILE))
    if cached is not None:
        return cached
    raise CheckpointError.found(
        Code.POLICY_LANGUAGE_MODEL,
        path,
        f"language model {config.vlm_model_name}",
        expected=f"a folder with its {CONFIG} and {tokens.FILE}, given as vlm or put into the "
        f"checkpoint as {VLM_FOLDER}/",
        found="none here, and none in the Hub's cache",
        fix="fetch the two files of that model once and give their folder; its weights are in "
        "the checkpoint already",
    )


def _notes(config: SmolVlaConfig, text: Text, language: Language) -> list[str]:
    notes = [
        f"language model: {CONFIG} and {tokens.FILE} of {language.folder}",
    ]
    if config.resize != "none":
        notes.append("pictures of any size are taken: the network scales and pads them itself")
    if config.blank_features:
        notes.append(
            f"{len(config.blank_features)} of the policy's cameras are absent, "
            f"{config.blanks} of them blank pictures"
        )
    if text.tokenizer != config.vlm_model_name:
        notes.append(
            f"words are those of {text.tokenizer} in the processor file, "
            f"of {config.vlm_model_name} in {CONFIG}"
        )
    return notes


def _records(network: SmolVla) -> Mapping[str, Mapping[str, Any]]:
    """The rest of the files are LeRobot 0.4.4's, and what it trained with is not ours."""
    return {origin.RECORD: origin.record(network.patch_rows)}


def _sizes(config: SmolVlaConfig, companions: Companions) -> Sizes:
    language = companions.language
    assert language is not None
    text, vision = language.config.text, language.config.vision
    widths = {name: getattr(config, name) for name in ("max_state_dim", "max_action_dim")}
    widths |= {"vocab_size": text.vocab_size, "text hidden_size": text.hidden_size}
    widths |= {"vision hidden_size": vision.hidden_size}
    layers = {"vision num_hidden_layers": vision.num_hidden_layers}
    layers["num_vlm_layers"] = config.num_vlm_layers
    layers["num_expert_layers"] = config.num_expert_layers
    if config.num_vlm_layers < 1:
        layers["text num_hidden_layers"] = text.num_hidden_layers
    return Sizes(widths, layers)


FAMILY = PolicyFamily(
    config=SmolVlaConfig,
    build=_build,
    infer=_infer,
    steps=(RENAME, TO_BATCH, NEW_LINE, TOKENIZER, DEVICE, NORMALIZER),
    step_configs=_step_configs,
    describe=_describe,
    companions=_companions,
    records=_records,
    sizes=_sizes,
    ignores=UNUSED.__contains__,
    noise=_noise,
    inpaints=True,
    split=_split,
)
