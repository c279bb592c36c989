"""Words to token ids, with the `tokenizers` package and a tokenizer.json from disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from armlet.files import Shape
from armlet.findings import Code
from armlet.policies.config.errors import CheckpointError
from armlet.policies.config.smolvla import VlmConfig
from armlet.policies.config.strict_json import read_object

if TYPE_CHECKING:
    import tokenizers

FILE = "tokenizer.json"
_TOKENIZER = Shape(size=64 << 20)
# What SmolVLM puts around and into a picture.
EDGE = "<fake_token_around_image>"
WHOLE = "<global-img>"


class Words:
    """The tokenizer of a language model, as SmolVLA asks it: no chat template, no marks."""

    def __init__(self, tokenizer: tokenizers.Tokenizer, longest: int | None) -> None:
        """longest cuts the ids, None leaves them whole. Prefer read."""
        self._tokenizer = tokenizer
        self.longest = longest
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        if longest is not None:
            self._tokenizer.enable_truncation(longest)

    @classmethod
    def read(cls, path: Path, longest: int | None, vocabulary: int) -> Words:
        """From a tokenizer.json whose ids are all below `vocabulary`.

        Raises CheckpointError for a missing or broken file and for more words than the network has.
        """
        try:
            from tokenizers import Tokenizer
        except ImportError as error:
            raise CheckpointError.found(
                Code.POLICY_PACKAGE_MISSING,
                path,
                "tokenizer",
                expected="the Python package tokenizers, which reads it",
                found="no such package",
                fix="pip install 'armlet[policy]'",
            ) from error
        read_object(
            path, _TOKENIZER
        )  # a missing file, or one that is not JSON, is refused in our words
        try:
            tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the only class tokenizers raises
            raise CheckpointError.found(
                Code.POLICY_FILE_DAMAGED,
                path,
                "tokenizer",
                expected="a file of the tokenizers package",
                found=error,
                fix="copy the file of the language model again",
            ) from error
        highest = max(tokenizer.get_vocab(with_added_tokens=True).values(), default=-1)
        if highest >= vocabulary:
            raise CheckpointError.found(
                Code.POLICY_LANGUAGE_MODEL,
                path,
                "token ids",
                expected=f"below {vocabulary}, the words the network knows",
                found=f"up to {highest}",
                fix="this tokenizer belongs to another language model: give the policy's own",
            )
        return cls(tokenizer, longest)

    def __call__(self, task: str) -> Tensor:
        """Ids int64 (1, T) of the task, which the network was taught to end with a newline."""
        text = task if task.endswith("\n") else f"{task}\n"
        return torch.tensor([self._tokenizer.encode(text).ids], dtype=torch.int64)

    def batch(self, tasks: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Ids int64 (B, T) of tasks, padded at the end to the longest, and bool (B, T): no padding.

        They are a training batch's `observation.language.tokens` and `.attention_mask`.
        """
        rows = [self(task)[0] for task in tasks]
        ids = pad_sequence(rows, batch_first=True)
        lengths = torch.tensor([len(row) for row in rows])
        return ids, torch.arange(ids.shape[1]) < lengths[:, None]

    def marks(self) -> tuple[int, int] | None:
        """Ids of the token around and of the token within a picture, None if there are none."""
        edge, whole = (self._tokenizer.token_to_id(word) for word in (EDGE, WHOLE))
        return None if edge is None or whole is None else (edge, whole)


@dataclass(frozen=True)
class Language:
    """What SmolVLA needs of its language model beside the weights."""

    config: VlmConfig
    words: Words
    folder: Path
