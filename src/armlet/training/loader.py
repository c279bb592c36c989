"""Decodes the pictures of the next steps while the network is busy with this one's.

Worker processes write them into memory that they share with the training, a slot for each batch
that is on its way, so nothing is copied between processes and /dev/shm, which containers keep
small, is not used. What was decoded first stays there as well, as much as is allowed: rows come in
random order, so none is worth more than another, and nothing needs to be thrown out.
"""

from __future__ import annotations

import contextlib
import mmap
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from armlet.datasets import DatasetError

from .errors import TrainingError
from .samples import Pictures, Samples

_AHEAD = 2
"""Batches that a worker is asked for before the first of them is needed."""


@dataclass(frozen=True)
class Loading:
    """How pictures are read. None of it changes what is trained.

    Attributes:
        workers: processes that decode; 0: the training decodes what it needs when it needs it.
        cache_mb: memory, in 1e6 bytes, for pictures that stay decoded.
    """

    workers: int = 0
    cache_mb: int = 1000

    def __post_init__(self) -> None:
        for name in ("workers", "cache_mb"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, found {getattr(self, name)}")


IN_PROCESS = Loading()


@dataclass(frozen=True)
class _Wanted:
    """A batch to decode: into which slot, which rows (B,), and which of them are in the cache."""

    slot: int
    rows: NDArray[np.int64]
    cached: NDArray[np.bool_]


class Loader:
    """The pictures of each step's rows, in order.

    batches: the rows (B,) of each step, at most batch_size. waited_s is how long whoever iterates
    has waited for them.
    """

    def __init__(
        self,
        samples: Samples,
        batches: Iterable[NDArray[np.int64]],
        batch_size: int,
        loading: Loading,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        slots = loading.workers * _AHEAD + 2
        self._shelf = _Shelf(samples, slots, batch_size, loading.cache_mb * 10**6)
        self._cached = np.zeros(len(samples), np.bool_)
        self._pending: deque[_Wanted] = deque()
        self._workers, self._now_s = loading.workers, now_s
        self._asked = self._asked_for(batches, slots)
        self.waited_s = 0.0

    def __iter__(self) -> Iterator[tuple[NDArray[np.int64], Pictures]]:
        """Rows and their pictures by camera, uint8 (B, H, W, 3), which stay until the next are due.

        Raises DatasetError for pictures that cannot be decoded, TrainingError if a worker died.
        """
        decoded = self._decoded()
        while True:
            begun_s = self._now_s()
            with _death_of_a_worker_explained():
                failure = next(decoded, None)
            self.waited_s += self._now_s() - begun_s
            if failure is None:
                return
            if failure:
                raise DatasetError(failure)
            wanted = self._pending.popleft()
            self._cached[wanted.rows[wanted.rows < self._shelf.cached_rows]] = True
            yield wanted.rows, self._shelf.slot(wanted.slot, len(wanted.rows))

    def _asked_for(self, batches: Iterable[NDArray[np.int64]], slots: int) -> Iterator[_Wanted]:
        """A row is marked as cached once its batch has come, so it is there before it is read."""
        for number, rows in enumerate(batches):
            wanted = _Wanted(number % slots, rows, self._cached[rows])
            self._pending.append(wanted)
            yield wanted

    def _decoded(self) -> Iterator[str]:
        """For each batch why it could not be decoded, or nothing."""
        loader = DataLoader(
            self._shelf,
            batch_size=None,
            sampler=self._asked,
            num_workers=self._workers,
            prefetch_factor=_AHEAD if self._workers else None,
            collate_fn=_as_it_is,
            worker_init_fn=_leave_signals_to_the_training,
            multiprocessing_context="fork" if self._workers else None,
            # Otherwise a seed for the workers is drawn from the generator that the network uses.
            generator=torch.Generator(),
        )
        with _no_error_at_any_moment():
            return iter(loader)


class _Shelf(Dataset[str]):
    """Decoded pictures in memory that is shared with the processes forked after it was made."""

    def __init__(self, samples: Samples, slots: int, batch_size: int, cache_bytes: int) -> None:
        self._samples = samples
        sizes = samples.sizes.values()
        row_bytes = sum(height * width * 3 for height, width in sizes)
        self.cached_rows = min(len(samples), cache_bytes // row_bytes)
        self._slots = _shared(samples.sizes, slots * batch_size)
        self._cache = _shared(samples.sizes, self.cached_rows)
        self._batch_size = batch_size

    def slot(self, number: int, count: int) -> Pictures:
        """The first `count` pictures of a slot."""
        begin = number * self._batch_size
        return {name: shared[begin : begin + count] for name, shared in self._slots.items()}

    def __getitem__(self, wanted: _Wanted) -> str:
        """Put a batch into its slot, and into the cache what has a place there.

        Returns why it cannot be decoded, or nothing: an error's own traceback says less.
        """
        rows, cached = wanted.rows, wanted.cached
        absent = ~cached
        try:
            decoded = self._samples.pictures(rows[absent]) if absent.any() else {}
        except (DatasetError, OSError) as error:
            return str(error) or type(error).__name__
        kept = rows[absent] < self.cached_rows
        for name, pictures in self.slot(wanted.slot, len(rows)).items():
            pictures[cached] = self._cache[name][rows[cached]]
            if name in decoded:
                pictures[absent] = decoded[name]
                self._cache[name][rows[absent][kept]] = decoded[name][kept]
        return ""


def _shared(sizes: Mapping[str, tuple[int, int]], count: int) -> Pictures:
    """By camera, uint8 (count, H, W, 3). Memory is taken when it is first written to."""
    return {
        name: np.frombuffer(mmap.mmap(-1, max(1, count * height * width * 3)), np.uint8)[
            : count * height * width * 3
        ].reshape(count, height, width, 3)
        for name, (height, width) in sizes.items()
    }


def _as_it_is(failure: Any) -> Any:
    return failure


def _leave_signals_to_the_training(worker: int) -> None:
    """Those that reach every process of a group: the training ends its workers itself."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


@contextlib.contextmanager
def _no_error_at_any_moment() -> Iterator[None]:
    """DataLoader would raise from SIGCHLD, in the middle of an optimizer's step.

    Without that it looks every few seconds, while it waits.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGCHLD) or signal.SIG_DFL
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, before)


@contextlib.contextmanager
def _death_of_a_worker_explained() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        if "exited unexpectedly" not in str(error):
            raise
        raise TrainingError(
            "a process that decodes pictures was killed, by a person or for want of memory; try "
            "fewer --workers or a smaller --cache"
        ) from error
