"""How an arm moved: the length of its path, and how smooth it was."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float64]

# As its authors recommend for movements of the arm.
_HIGHEST_HZ = 10.0
_LEAST_SHARE = 0.05
_PADDING = 4


def path_length(points: Rows) -> float:
    """Length of the way through points (k, n), in their unit."""
    return float(np.linalg.norm(np.diff(points, axis=0), axis=1).sum())


def speeds(points: Rows, times_s: Rows) -> Rows:
    """Speed (k - 1,) between points (k, n) at times (k,), s, which go up."""
    distances: Rows = np.linalg.norm(np.diff(points, axis=0), axis=1)
    return distances / np.diff(times_s)


def spectral_arc_length(speed: Rows, rate_hz: float) -> float:
    """Smoothness of a movement by its speeds (k,) at a rate: below 0, nearer to 0 is smoother.

    The negative arc length of the amplitude spectrum, normalized by its value at 0 Hz, up to 10 Hz
    or where it stays below 0.05: S. Balasubramanian, A. Melendez-Calderon, A. Roby-Brami and
    E. Burdet, "On the analysis of movement smoothness", J. NeuroEng. Rehabil. 12 (2015) 112. It
    depends neither on amplitude nor on duration. One smooth move has about -1.4 to -1.6. 0.0 for an
    arm that did not move.
    """
    size = 2 ** (int(np.ceil(np.log2(max(2, len(speed))))) + _PADDING)
    spectrum = np.abs(np.fft.rfft(speed, size))
    if spectrum[0] <= 0:
        return 0.0
    frequencies = np.arange(len(spectrum)) * rate_hz / size
    within = frequencies <= _HIGHEST_HZ
    amplitudes = spectrum[within] / spectrum[0]
    last = int(np.flatnonzero(amplitudes >= _LEAST_SHARE)[-1])
    if not last:
        return 0.0
    steps = np.diff(amplitudes[: last + 1])
    return -float(np.hypot(steps, 1.0 / last).sum())
