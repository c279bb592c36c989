"""What can go wrong with a dataset, one family."""

from __future__ import annotations

from armlet.files import AdvisedError


class DatasetError(AdvisedError):
    """A dataset that cannot be read, written or resumed as asked."""


class FrameError(DatasetError):
    """A frame that does not belong in this episode. The episode is as it was before the call."""


class GapError(DatasetError):
    """Frames are missing before this one. The episode is as it was before the call.

    LeRobot's time axis is frame_index / fps, so a gap cannot be stored: finish the episode and
    begin another with this frame, or discard it. expected_ns and found_ns are grid stamps,
    missing the number of frames between them.
    """

    def __init__(self, expected_ns: int, found_ns: int, missing: int):
        self.expected_ns = expected_ns
        self.found_ns = found_ns
        self.missing = missing
        super().__init__(
            f"{missing} frame(s) missing: expected stamp {expected_ns} ns, found {found_ns} ns "
            f"({(found_ns - expected_ns) * 1e-9:.3f} s later); split the episode here or discard it"
        )


class VideoError(DatasetError):
    """A video that cannot be encoded or decoded."""


class DiskError(DatasetError):
    """Too little room on the disk. An open episode is as it was: finish or discard it."""
