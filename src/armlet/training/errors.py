"""Why a training ends before its last step."""

from __future__ import annotations


class TrainingError(RuntimeError):
    """A training cannot go on; what was trained until then is saved."""
