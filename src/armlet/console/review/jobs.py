"""What is being done with datasets, and what became of it: one process for each order."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from .orders import Order, Verb

COMMAND = (sys.executable, "-m", "armlet.console.review.work")
MOST_AT_ONCE = 2
"""Each decodes videos: more would only wait for one another."""
_KEPT = 16
_END_S = 5.0


class JobError(Exception):
    """An order that is not begun now; the message says why."""


class State(StrEnum):
    """REFUSED: it says why not, and nothing was changed. ENDED: its process did before it."""

    RUNNING = "running"
    DONE = "done"
    REFUSED = "refused"
    ENDED = "ended"


@dataclass(frozen=True)
class Job:
    """One order. progress: done, of how many. result: what there is to show; error: a sentence."""

    number: int
    order: Order
    state: State = State.RUNNING
    progress: tuple[int, int] = (0, 0)
    result: dict[str, Any] | None = None
    error: str = ""


class Jobs:
    """Begins orders, one at a time for a dataset, and keeps what became of the last ones.

    Every browser sees the same ones. Safe to use from several threads; nothing here waits but
    `wait` and `close`.

    Args:
        command: of the process that does an order.
    """

    def __init__(self, command: Sequence[str] = COMMAND):
        self._command = tuple(command)
        self._jobs: dict[int, Job] = {}
        self._processes: dict[int, subprocess.Popen[str]] = {}
        self._ended = threading.Condition()
        self._next = 1
        self._closed = False

    def begin(self, order: Order) -> Job:
        """Raises JobError while something else is done with one of its datasets."""
        with self._ended:
            self._require_free(order)
            try:
                process = subprocess.Popen(
                    self._command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                    encoding="utf-8",
                    start_new_session=True,  # Ctrl-C is for the console: an edit is finished
                )
            except OSError as error:
                raise JobError(f"no process could be started: {error.strerror}") from error
            job = Job(self._next, order)
            self._next += 1
            self._jobs[job.number], self._processes[job.number] = job, process
            self._forget()
        threading.Thread(
            target=self._follow, args=(job.number, process), name="review-job", daemon=True
        ).start()
        return job

    def _require_free(self, order: Order) -> None:
        running = [job for job in self._jobs.values() if job.state is State.RUNNING]
        if self._closed:
            raise JobError("the console is ending; begin it again")
        for job in running:
            if both := set(job.order.roots) & set(order.roots):
                raise JobError(
                    f"{job.order.verb} of {min(both)} is still running; wait for it, or stop it"
                )
        if len(running) >= MOST_AT_ONCE:
            raise JobError(f"{len(running)} others are still running; wait for one of them")

    def _forget(self) -> None:
        """The oldest of those that are over."""
        over = [number for number, job in self._jobs.items() if job.state is not State.RUNNING]
        for number in over[: max(0, len(self._jobs) - _KEPT)]:
            del self._jobs[number]

    def get(self, number: int) -> Job | None:
        """A job as it is now; None for one that is forgotten."""
        with self._ended:
            return self._jobs.get(number)

    def of(self, root: str) -> Job | None:
        """The newest of a dataset."""
        with self._ended:
            own = [job for job in self._jobs.values() if root in job.order.roots]
        return max(own, key=lambda job: job.number, default=None)

    def last(self, root: str, verb: Verb) -> Job | None:
        """The newest of a dataset that did this and is done."""
        with self._ended:
            own = [
                job
                for job in self._jobs.values()
                if job.order.verb == verb and root in job.order.roots and job.state is State.DONE
            ]
        return max(own, key=lambda job: job.number, default=None)

    def wait(self, number: int, timeout_s: float | None = None) -> Job:
        """The job once it is over, or when the time is."""
        with self._ended:
            self._ended.wait_for(
                lambda: self._jobs[number].state is not State.RUNNING, timeout=timeout_s
            )
            return self._jobs[number]

    def stop(self, number: int) -> None:
        """End one that only reads. Raises JobError for an edit: it is done as a whole."""
        with self._ended:
            job, process = self._jobs.get(number), self._processes.get(number)
        if job is None or process is None:
            return
        if job.order.changes:
            raise JobError(f"{job.order.verb} is not stopped in its middle; undo it afterwards")
        process.kill()

    def close(self) -> None:
        """End what only reads, and begin nothing more; edits go on without the console."""
        with self._ended:
            self._closed = True
            reading = {
                number: process
                for number, process in self._processes.items()
                if not self._jobs[number].order.changes
            }
        for process in reading.values():
            process.kill()
        with self._ended:
            self._ended.wait_for(lambda: not reading.keys() & self._processes, timeout=_END_S)

    def _follow(self, number: int, process: subprocess.Popen[str]) -> None:
        """Give a process its order, and note what it says until it ends."""
        assert process.stdin is not None and process.stdout is not None
        with contextlib.suppress(OSError):  # it has ended: said below
            process.stdin.write(json.dumps(self._jobs[number].order.to_json()))
            process.stdin.close()
        for line in process.stdout:
            with contextlib.suppress(ValueError, KeyError, TypeError):  # a line that was cut short
                self._note(number, json.loads(line))
        status = process.wait()
        process.stdout.close()
        with self._ended:
            job = self._jobs[number]
            if job.state is State.RUNNING:
                error = f"the process of {job.order.verb} ended ({status}) before it was done"
                self._jobs[number] = replace(job, state=State.ENDED, error=error)
            del self._processes[number]
            self._ended.notify_all()

    def _note(self, number: int, said: dict[str, Any]) -> None:
        with self._ended:
            job = self._jobs[number]
            if "progress" in said:
                done, of = said["progress"]
                job = replace(job, progress=(int(done), int(of)))
            elif "result" in said:
                job = replace(job, state=State.DONE, result=dict(said["result"]))
            elif "error" in said:
                job = replace(job, state=State.REFUSED, error=str(said["error"]))
            self._jobs[number] = job
            self._ended.notify_all()
