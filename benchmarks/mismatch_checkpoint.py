"""Part of mismatch.py: a checkpoint whose picture statistics are those of 0..255."""

from __future__ import annotations

from pathlib import Path

from safetensors.numpy import load_file, save_file

LEVELS = 255


def spoil(folder: Path) -> None:
    """Multiply the picture statistics by 255."""
    for file in folder.glob("*normalizer_processor.safetensors"):
        stored = load_file(str(file))
        for name in stored:
            if name.startswith("observation.images.") and not name.endswith("count"):
                stored[name] = stored[name] * LEVELS
        save_file(stored, str(file))
