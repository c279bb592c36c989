"""Kills recorders at random instants. usage: kill_child.py OUT KILLS [SEED]

For each n below KILLS forks a recorder of OUT/n that makes episode after episode as fast as it
can, one camera in JPEGs and one in RGB, and sends it SIGKILL at a random instant: once it reported
a random number of frames, and a moment later. A frame's number is painted into its pictures.
Writes OUT/n.json: frames that `add_frame` had returned from, episodes that `finish_episode` had.
"""

from __future__ import annotations

import json
import mmap
import os
import random
import signal
import struct
import sys
import time
from pathlib import Path

from made_episodes import CONTRACT, counted, frame, jpeg

from armlet.datasets import DatasetWriter

LENGTH = 40
LONGEST = 4 * LENGTH
_REPORTED = struct.Struct("<II")


def pictures(index: int, episode: int) -> dict[str, object]:
    """The pictures of a frame: its number plus that of its episode, painted."""
    made = {c.name: counted(index + episode, c.height, c.width) for c in CONTRACT.cameras}
    return {**made, "front": PREPARED.setdefault(index + episode, jpeg(made["front"]))}


PREPARED: dict[int, bytes] = {}


def record_for_ever(root: Path, reported: mmap.mmap) -> None:
    with DatasetWriter(root, CONTRACT) as writer:
        while True:
            episode = writer.episodes
            reported[:] = _REPORTED.pack(episode, 0)
            writer.begin_episode("pick")
            for index in range(LENGTH):
                writer.add_frame(frame(index, episode, images=pictures(index, episode)))
                reported[:] = _REPORTED.pack(episode, index + 1)
            writer.finish_episode()


def _reported_frames(reported: mmap.mmap) -> int:
    episodes, frames = _REPORTED.unpack(reported[:])
    return int(episodes) * LENGTH + int(frames)


def main(out: Path, kills: int, seed: int) -> None:
    rng = random.Random(seed)
    for number in range(100):
        pictures(number, 0)
    for kill in range(kills):
        reported = mmap.mmap(-1, _REPORTED.size)
        child = os.fork()
        if child == 0:
            try:
                record_for_ever(out / f"{kill:03d}", reported)
            finally:
                os._exit(1)
        wanted = rng.randrange(LONGEST)
        while _reported_frames(reported) < wanted:
            if os.waitpid(child, os.WNOHANG)[0]:
                raise SystemExit(f"recorder {kill} ended by itself")
            time.sleep(0.001)
        time.sleep(rng.uniform(0.0, 0.005))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if os.waitstatus_to_exitcode(status) != -signal.SIGKILL:
            raise SystemExit(f"recorder {kill} ended by itself")
        episodes, frames = _REPORTED.unpack(reported[:])
        (out / f"{kill:03d}.json").write_text(json.dumps({"episodes": episodes, "frames": frames}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 0)
