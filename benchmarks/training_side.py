"""One side of training.py: a training by `armlet train` or by LeRobot's own, with a stopwatch.

    python training_side.py JOB

JOB is a JSON object: side (armlet, lerobot), arguments of its command, and where to write when
each batch was asked for and came. It runs in armlet's and in LeRobot's interpreter, so it imports
neither before it knows its side.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
Looks = list[tuple[float, float]]


def main() -> int:
    job = json.loads(sys.argv[1])
    looks: Looks = []
    run = {"armlet": armlet, "lerobot": lerobot}[job["side"]]
    status, decoder = run(job["arguments"], looks)
    Path(job["result"]).write_text(json.dumps({"looks": looks, "decoder": decoder}))
    return status


def armlet(arguments: list[str], looks: Looks) -> tuple[int, str]:
    from armlet.cli.main import main as command
    from armlet.training import trainer

    class Timed(trainer.Loader):
        def __iter__(self) -> Iterator[Any]:
            return timed(super().__iter__(), looks)

    trainer.Loader = Timed  # type: ignore[misc]
    return command(["train", *arguments]), "PyAV"


def lerobot(arguments: list[str], looks: Looks) -> tuple[int, str]:
    from lerobot.scripts import lerobot_train  # type: ignore[import-not-found]

    decoder = _decoder()
    cycle = lerobot_train.cycle
    lerobot_train.cycle = lambda batches: timed(cycle(batches), looks)
    sys.argv = ["lerobot-train", *arguments]
    lerobot_train.main()
    return 0, decoder


def timed(batches: Iterable[T], looks: Looks) -> Iterator[T]:
    """The same, noting when each was asked for, and when it came, seconds."""
    iterator = iter(batches)
    while True:
        asked_s = time.monotonic()
        try:
            batch = next(iterator)
        except StopIteration:
            return
        looks.append((asked_s, time.monotonic()))
        yield batch


def _decoder() -> str:
    """What LeRobot decodes videos with here; `decode` where it can with nothing it knows."""
    import torchvision  # type: ignore[import-not-found,import-untyped,unused-ignore]

    if importlib.util.find_spec("torchcodec"):
        return "torchcodec"
    if hasattr(torchvision.io, "VideoReader"):
        return "torchvision"
    from lerobot.datasets import lerobot_dataset  # type: ignore[import-not-found]

    lerobot_dataset.decode_video_frames = decode
    return "PyAV by the benchmark, as there is neither torchcodec nor torchvision's reader"


def decode(path: Path | str, times_s: list[float], tolerance_s: float, *_: object) -> Any:
    """Float32 (K, 3, H, W) in 0..1 of the frames nearest to some times: what LeRobot's reader does.

    Raises ValueError if one is further away than tolerance_s.
    """
    import av
    import numpy as np
    import torch  # type: ignore[import-not-found,unused-ignore]

    found: list[tuple[float, Any]] = []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.time_base is not None
        container.seek(int(min(times_s) / stream.time_base), stream=stream, backward=True)
        for frame in container.decode(stream):
            found.append((float(frame.time), frame))
            if float(frame.time) >= max(times_s):
                break
    apart = np.abs(np.subtract.outer(np.array(times_s), [time_s for time_s, _ in found]))
    if (apart.min(axis=1) > tolerance_s).any():
        raise ValueError(f"{path}: no frame within {tolerance_s} s of {times_s}")
    pictures = [found[at][1].to_ndarray(format="rgb24") for at in apart.argmin(axis=1)]
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255


if __name__ == "__main__":
    sys.exit(main())
