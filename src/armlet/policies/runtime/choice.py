"""`backend auto`: each runtime that can is loaded and timed, and the fastest is kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from armlet.policies.config.errors import CheckpointError

# Inferences that are timed, after one that warms up, and the least of them counts.
ROUNDS = 3
# No further candidate is loaded after this long, and none is timed again; what has begun is ended.
LIMIT_S = 60.0
# A runtime must be this much faster than one before it: less is noise, and would choose by chance.
MARGIN = 0.05

Loaded = TypeVar("Loaded")


@dataclass(frozen=True)
class Candidate:
    """What was found of a backend: seconds a chunk, or the reason why it was left out."""

    backend: str
    seconds: float | None = None
    reason: str = ""

    def __str__(self) -> str:
        if self.seconds is None:
            return f"{self.backend} left out ({self.reason})"
        return f"{self.backend} {1e3 * self.seconds:.0f} ms"


@dataclass(frozen=True)
class Chosen(Generic[Loaded]):
    """The fastest, and all that were considered, in their order."""

    policy: Loaded
    backend: str
    candidates: tuple[Candidate, ...]

    def __str__(self) -> str:
        return f"backend {self.backend} of: " + ", ".join(map(str, self.candidates))


def choose(
    backends: Sequence[str],
    load: Callable[[str], Loaded],
    infer: Callable[[Loaded], object],
    clock: Callable[[], float] = time.perf_counter,
) -> Chosen[Loaded]:
    """The fastest of the backends that `load` gives, which raises where it refuses.

    Whatever goes wrong with one, such as memory that ends, leaves that one out.
    Of two that differ by less than MARGIN it is the first. At most the best and one more are
    loaded at a time. Where there is none, raises ValueError with all reasons, or what the first
    found wrong with the checkpoint.
    """
    begun = clock()
    candidates: list[Candidate] = []
    best: tuple[float, str, Loaded] | None = None
    errors: list[Exception] = []
    for backend in backends:
        if best is not None and clock() - begun > LIMIT_S:
            candidates.append(Candidate(backend, reason=f"not tried within {LIMIT_S:.0f} s"))
            continue
        try:
            policy = load(backend)
            seconds = _time(infer, policy, begun + LIMIT_S, clock)
        except Exception as error:  # runtimes' errors have no common base class
            errors.append(error)
            candidates.append(Candidate(backend, reason=_reason(error)))
            continue
        candidates.append(Candidate(backend, seconds))
        if best is None or seconds < (1 - MARGIN) * best[0]:
            best = seconds, backend, policy
    if best is None and errors and isinstance(errors[0], CheckpointError):
        raise errors[0]
    if best is None:
        reasons = ", ".join(map(str, candidates))
        raise ValueError(f"backend auto: expected one that can run the policy, found {reasons}")
    return Chosen(best[2], best[1], tuple(candidates))


def _reason(error: Exception) -> str:
    """In one line, with its kind where it is no refusal of this program."""
    said = " ".join(str(error).split())
    if isinstance(error, (ValueError, FloatingPointError)):
        return said
    return f"{type(error).__name__}: {said}"


def _time(
    infer: Callable[[Loaded], object], policy: Loaded, ending: float, clock: Callable[[], float]
) -> float:
    infer(policy)
    seconds = []
    for _ in range(ROUNDS):
        before = clock()
        infer(policy)
        seconds.append(clock() - before)
        if clock() > ending:
            break
    return min(seconds)
