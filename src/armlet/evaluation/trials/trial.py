"""What came of one trial, as one line of JSON."""

from __future__ import annotations

import dataclasses
import json
import re
from dataclasses import dataclass
from typing import Any

from armlet.files import FileError, shown, typed

LONGEST_NOTE = 500
_VIDEO = re.compile(r"videos/[\w.-]+\.mp4", re.ASCII)


@dataclass(frozen=True)
class Trial:
    """One trial.

    Attributes:
        seed: of the scene and of the policy's noise; of trials on a real arm their number.
        time_s: from its start until the task had been done, its `hold_s` too; None where it never
            was.
        duration_s: from its start to its end.
        final: `Task.error_m` of the bench's task at the end, metres; None on a real arm.
        path_rad: way of all joints together, radians.
        path_m: way of the tip; None where the arm's geometry is not known.
        smoothness: spectral arc length of the joints' speed: below 0, nearer to 0 is smoother.
        digest: SHA-256 of all that was measured, commanded and seen, by time since the start; two
            trials with one digest are the same to the bit. Empty on a real arm.
        video: file beside the results; empty if none was kept.
        interventions: how often a person took over; None where nobody looked.
        note: of who judged it, at most 500 characters.
        recorded: the dataset that was recorded meanwhile, episode: its number in it; empty and None
            if none was.
    """

    seed: int
    success: bool
    time_s: float | None
    duration_s: float
    final: float | None
    path_rad: float
    path_m: float | None
    smoothness: float
    digest: str = ""
    video: str = ""
    interventions: int | None = None
    note: str = ""
    recorded: str = ""
    episode: int | None = None

    def line(self) -> bytes:
        """With a line feed at its end."""
        return json.dumps(dataclasses.asdict(self), allow_nan=False).encode() + b"\n"

    @classmethod
    def parse(cls, document: dict[str, Any], where: str) -> Trial:
        """Raises FileError for what is no trial."""
        trial: Trial = typed(cls, document, where)
        if trial.seed < 0 or trial.duration_s < 0:
            raise FileError(f"{where}: seed and duration_s must be 0 or more")
        if trial.success != (trial.time_s is not None):
            raise FileError(f"{where}: time_s and success do not agree")
        if trial.video and not _VIDEO.fullmatch(trial.video):
            raise FileError(f"{where}.video: expected videos/NAME.mp4, found {shown(trial.video)}")
        if min(trial.interventions or 0, trial.episode or 0) < 0:
            raise FileError(f"{where}: interventions and episode must be 0 or more")
        if len(trial.note) > LONGEST_NOTE:
            raise FileError(f"{where}.note: expected at most {LONGEST_NOTE} characters")
        return trial
