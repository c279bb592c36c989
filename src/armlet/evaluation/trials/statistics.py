"""Success rates and how sure they are. Exact where that is possible; needs no statistics package.

Sources: the interval is Wilson's score interval, E. B. Wilson, "Probable Inference, the Law of
Succession, and Statistical Inference", JASA 22 (1927) 209-212, without continuity correction. The
paired test is McNemar's (Psychometrika 12 (1947) 153-157) in its exact form: under the null each
discordant pair falls to either side with 1/2, so the smaller count is binomial.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from statistics import NormalDist

import numpy as np

CONFIDENCE = 0.95
SURE = 0.05
"""Below this p a difference between two policies is called one."""


@dataclass(frozen=True)
class Interval:
    """Both ends of a confidence interval, 0..1."""

    low: float
    high: float


def wilson(successes: int, trials: int, confidence: float = CONFIDENCE) -> Interval:
    """Wilson's score interval of a success rate; all of 0..1 without trials.

    Raises ValueError for more successes than trials, or a confidence that is none.
    """
    if not 0 <= successes <= trials:
        raise ValueError(f"expected 0 to {trials} successes, found {successes}")
    if not 0 < confidence < 1:
        raise ValueError(f"expected a confidence between 0 and 1, found {confidence}")
    if not trials:
        return Interval(0.0, 1.0)
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    rate, weight = successes / trials, z * z / trials
    middle = rate + weight / 2
    half = z * math.sqrt(rate * (1 - rate) / trials + weight / (4 * trials))
    # Rounding must not leave a rate of 0 or 1 outside its own interval.
    low = 0.0 if successes == 0 else (middle - half) / (1 + weight)
    high = 1.0 if successes == trials else (middle + half) / (1 + weight)
    return Interval(low, high)


def mcnemar(only_a: int, only_b: int) -> float:
    """Two-sided p of the exact test, of the pairs in which one of two succeeded alone.

    1.0 where no pair differs. Raises ValueError for a negative count.
    """
    if min(only_a, only_b) < 0:
        raise ValueError(f"expected counts of pairs, found {only_a} and {only_b}")
    pairs = only_a + only_b
    tail = sum(math.comb(pairs, count) for count in range(min(only_a, only_b) + 1))
    return float(min(Fraction(1), Fraction(2 * tail, 2**pairs)))


@dataclass(frozen=True)
class Quartiles:
    """Lower quartile, median and upper quartile, linear between values."""

    low: float
    median: float
    high: float


def quartiles(values: Sequence[float]) -> Quartiles | None:
    """Those of some values; None of none."""
    if not values:
        return None
    return Quartiles(*np.quantile(np.asarray(values, np.float64), (0.25, 0.5, 0.75)).tolist())
