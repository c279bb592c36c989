"""Runs trials in processes of their own, several at a time; it knows no ROS itself."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from armlet.bringup import discovery
from armlet.evaluation.trials.trial import Trial
from armlet.one_graph import DOMAIN_VARIABLE

WORKER = (sys.executable, "-m", "armlet.client.trial_worker")
# Of the domains that every Linux computer has room for; 0 is everybody's.
_DOMAINS = 100
MOST_JOBS = _DOMAINS // 2
"""At the same time, so that each has two domains to choose from."""
# A graph stops within the grace of each of its nodes.
_STOP_S = 120.0
_LOOK_S = 0.2


class TrialError(Exception):
    """A trial cannot be run; the message says why."""


@dataclass(frozen=True)
class Done:
    """A trial, and how many seconds of simulated time its graph ran."""

    trial: Trial
    elapsed_s: float


class Workers:
    """So many processes that each run one trial at a time. Context manager; stops what runs.

    Args:
        setting: what is tried, as `client.trials.Setting.to_json`.
        results: folder of the trials, for videos.
        logs: folder for what the nodes say.
        jobs: how many processes.
        command: of a worker; None: WORKER.
    """

    def __init__(
        self,
        setting: dict[str, Any],
        results: Path,
        logs: Path,
        jobs: int,
        command: Sequence[str] | None = None,
    ) -> None:
        self._order = {"setting": setting, "folder": str(results)}
        self._logs, self._jobs, self._command = logs, jobs, command or WORKER
        self._seeds: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._processes: list[subprocess.Popen[str]] = []
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for process in self._processes:
            with contextlib.suppress(OSError):
                process.stdin.close()  # type: ignore[union-attr]
            if kind is not None:
                process.terminate()
        for process in self._processes:
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:  # its nodes end with it
                process.kill()
                process.wait()
        for thread in self._threads:
            thread.join()
        for process in self._processes:
            process.stdout.close()  # type: ignore[union-attr]

    def run(self, seeds: Sequence[int]) -> Iterator[Done]:
        """The trials of these seeds as they are done. Raises TrialError."""
        jobs = min(self._jobs, len(seeds))
        for seed in seeds:
            self._seeds.put(seed)
        for number in range(jobs):
            self._seeds.put(None)
            self._start(number)
        for _ in seeds:
            answer = self._next()
            if "error" in answer:
                raise TrialError(answer["error"])
            yield Done(Trial(**answer["trial"]), answer["elapsed_s"])

    def _next(self) -> dict[str, Any]:
        while True:  # Ctrl-C comes through between two looks
            with contextlib.suppress(queue.Empty):
                return self._answers.get(timeout=_LOOK_S)

    def _start(self, number: int) -> None:
        log = self._logs / f"nodes-{number + 1}.log"
        order = {**self._order, "log": str(log), "domains": domains(number, self._jobs)}
        with log.open("a") as said:
            process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                text=True,
                # A terminal's Ctrl-C comes to this process alone, which passes it on.
                start_new_session=True,
                env={**os.environ, **discovery(os.environ)},
            )
        self._processes.append(process)
        thread = threading.Thread(target=self._serve, args=(process, order, log), daemon=True)
        self._threads.append(thread)
        thread.start()

    def _serve(self, process: subprocess.Popen[str], order: dict[str, Any], log: Path) -> None:
        """Give a worker seed after seed."""
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            print(json.dumps(order), file=process.stdin, flush=True)
            while (seed := self._seeds.get()) is not None:
                print(seed, file=process.stdin, flush=True)
                line = process.stdout.readline()
                if not line:
                    raise BrokenPipeError
                self._answers.put(json.loads(line))
        except (OSError, ValueError):  # it has ended, or was stopped
            status = process.wait()
            said = _last_line(log)
            self._answers.put({"error": f"a process for trials ended ({status}): {said}"})


def domains(number: int, jobs: int) -> list[int]:
    """ROS domains for a worker to choose from, none of which another worker of these tries.

    Where the person has set ROS_DOMAIN_ID, that is the first worker's first choice.
    """
    given = os.environ.get(DOMAIN_VARIABLE, "")
    first = int(given) if given.isdecimal() else 1 + os.getpid() % _DOMAINS
    every = [first, *(1 + (first + step) % _DOMAINS for step in range(_DOMAINS))]
    return list(dict.fromkeys(every))[number::jobs]


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").split("\n") if log.exists() else []
    return next((line for line in reversed(lines) if line.strip()), "it said nothing")
