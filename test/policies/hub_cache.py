"""The Hub's cache on a machine, laid out as huggingface_hub lays it out: no network is needed."""

import hashlib
from pathlib import Path

COMMIT = "0" * 39 + "1"


def lay_out(cache: Path, repository: str, checkpoint: Path, revision: str = "main") -> Path:
    """Put a checkpoint into a cache: blobs by hash, a snapshot of links to them, a named revision.

    Returns the snapshot.
    """
    folder = cache / f"models--{repository.replace('/', '--')}"
    snapshot = folder / "snapshots" / COMMIT
    blobs = folder / "blobs"
    blobs.mkdir(parents=True)
    for file in checkpoint.rglob("*"):
        if not file.is_file():
            continue
        blob = blobs / hashlib.sha256(file.read_bytes()).hexdigest()
        blob.write_bytes(file.read_bytes())
        link = snapshot / file.relative_to(checkpoint)
        link.parent.mkdir(parents=True, exist_ok=True)
        up = [".."] * (len(link.relative_to(folder).parts) - 1)
        link.symlink_to(Path(*up, "blobs", blob.name))
    reference = folder / "refs" / revision
    reference.parent.mkdir(parents=True)
    reference.write_text(COMMIT)
    return snapshot
