"""Trials by hand for browsers: one session for the console, whoever looks, and however often.

Every order states the revision that its browser saw: two browsers that both label a trial label it
once, and a reload shows what is. Calls that wait belong into threads; the stop goes its own way.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from armlet.console.review.library import LibraryError
from armlet.evaluation.trials.by_hand import ByHand, Judged, judged
from armlet.evaluation.trials.page import check_folder, write
from armlet.evaluation.trials.report import read
from armlet.evaluation.trials.results import Results
from armlet.evaluation.trials.trial import Trial
from armlet.files import printable
from armlet.missing import how_to_install

from .shelf import SIDES, Shelf, said

if TYPE_CHECKING:
    from armlet.console.page import Graph, HandTrials

MOST_TRIALS = 1000
_LARGEST_SEED = 2**31 - 1
_LONGEST_TASK = 200
UNSEEN_S = 10.0
"""While nobody looks for so long no policy drives."""
_MEET_S = 15.0
_LOOK_S = 0.2


class Phase(StrEnum):
    """NONE: no session. BUSY: an order is being done. DONE: all trials are labelled."""

    NONE = "none"
    BUSY = "busy"
    READY = "ready"
    DRIVING = "driving"
    DONE = "done"


class Say(StrEnum):
    """What came of an order, or why it was not done; the words are the page's."""

    STALE = "stale"
    BUSY = "busy"
    WRONG = "wrong"
    NO_POLICY = "no_policy"
    NO_CHECKPOINT = "no_checkpoint"
    REFUSED = "refused"
    NOT_DRIVEN = "not_driven"
    NOT_PAUSED = "not_paused"
    NOT_KEPT = "not_kept"
    LABELLED = "labelled"
    DISCARDED = "discarded"
    TAKEN_BACK = "taken_back"
    STOPPED = "stopped"
    UNSEEN = "unseen"
    CLOSED = "closed"


class HandError(Exception):
    """An order that is not done. why: a node's or a file's own sentence, if there is one."""

    def __init__(self, code: Say, why: str = "") -> None:
        super().__init__(f"{code}: {why}" if why else str(code))
        self.code, self.why = code, printable(why, 1000) if why else ""


@dataclass(frozen=True)
class Wish:
    """Which trials are wanted.

    key: an output folder that is there, or empty: a new one of a name in a folder by its number.
    first: number of the first trial.
    """

    task: str
    count: int
    side: str = "A"
    key: str = ""
    folder: int = 0
    name: str = ""
    first: int = 0


@dataclass(frozen=True)
class Standing:
    """What every browser is shown. number: of the next trial, or of that which is driven.

    last: what can be taken back. said: the last remark, with a node's or file's own words.
    """

    revision: int = 0
    phase: Phase = Phase.NONE
    key: str = ""
    side: str = ""
    task: str = ""
    policy: str = ""
    number: int | None = None
    labelled: int = 0
    count: int = 0
    last: Trial | None = None
    said: tuple[tuple[Say, str], ...] = ()


@dataclass
class _Session:
    """Whoever has it may write the trials of its folder."""

    root: Path
    driver: HandTrials
    results: Results
    by_hand: ByHand
    standing: Standing
    driving: bool = False

    def close(self) -> None:
        try:
            self.driver.close()
        finally:
            self.results.__exit__(None, None, None)


class HandDesk:
    """The session. judge: reads a policy; watched: whether a thread looks after it meanwhile."""

    def __init__(
        self,
        graph: Graph,
        shelf: Shelf,
        judge: Callable[[str, str], Judged] = judged,
        watched: bool = True,
    ) -> None:
        self._graph, self._shelf, self._judge, self._watched = graph, shelf, judge, watched
        self._lock = threading.Lock()
        self._session: _Session | None = None
        self._standing = Standing()
        self._busy = False
        self._looked_s = time.monotonic()
        self._ending = threading.Event()

    def look(self, now_s: float) -> Standing:
        """What there is to see. Who asks looks: while nobody does, no policy drives."""
        self._looked_s = now_s
        return self._standing

    # --- orders ---------------------------------------------------------------------------------

    def open(self, wish: Wish, revision: int) -> None:
        """Begin a session. Raises HandError."""
        _check(wish)
        with self._turn(revision, Phase.NONE):
            self._session = self._opened(wish)
            self._looked_s = time.monotonic()
        if self._watched:
            self._ending.clear()
            threading.Thread(target=self._watch, name="hand trials", daemon=True).start()

    def begin(self, revision: int) -> None:
        """Have the policy drive the next trial. Raises HandError."""
        with self._turn(revision, Phase.READY) as session:
            if why := session.by_hand.begin():
                raise HandError(Say.NOT_DRIVEN, why)
            session.driving = True

    def label(self, revision: int, success: bool, note: str = "") -> None:
        """End the trial with its label. Raises HandError."""
        with self._turn(revision, Phase.DRIVING) as session:
            if session.driver.stopped:
                self._discard(session, Say.STOPPED)
                return
            try:
                why = session.by_hand.label(success, note)
            except OSError as error:
                # The policy is paused; it may be labelled again once there is room.
                raise HandError(Say.NOT_KEPT, said(error)) from error
            session.driving = False
            self._say(Say.LABELLED, why)

    def discard(self, revision: int) -> None:
        """End the trial; it is done again. Raises HandError."""
        with self._turn(revision, Phase.DRIVING) as session:
            self._discard(session, Say.DISCARDED)

    def take_back(self, revision: int, number: int) -> None:
        """Remove the last label, of this trial. Raises HandError."""
        with self._turn(revision, Phase.READY, Phase.DONE) as session:
            try:
                session.by_hand.take_back(number)
            except (ValueError, OSError) as error:
                raise HandError(Say.NOT_KEPT, said(error)) from error
            self._say(Say.TAKEN_BACK)

    def close(self, revision: int | None = None) -> None:
        """End the session: the policy is paused and the report is written. Raises HandError.

        revision: None: whatever is.
        """
        given = self._standing.revision if revision is None else revision
        with self._turn(given, *Phase) as session:
            self._session = None
            self._ending.set()
            if session is None:
                return
            why = session.by_hand.discard()
            session.close()
            self._say(Say.CLOSED, why)
            if session.results.last is not None:
                write(read(session.root), session.root)

    def tick(self, now_s: float) -> None:
        """Discard what is driven once the arm was stopped, or nobody looks any more."""
        session, standing = self._session, self._standing
        if session is None or standing.phase is not Phase.DRIVING:
            return
        unseen = now_s - self._looked_s > UNSEEN_S
        if not unseen and not session.driver.stopped:
            return
        with contextlib.suppress(HandError), self._turn(standing.revision, Phase.DRIVING) as own:
            self._discard(own, Say.STOPPED if own.driver.stopped else Say.UNSEEN)

    # --- how ------------------------------------------------------------------------------------

    def _watch(self) -> None:
        while not self._ending.wait(_LOOK_S):
            self.tick(time.monotonic())

    @contextlib.contextmanager
    def _turn(self, revision: int, *phases: Phase) -> Iterator[_Session]:
        """The session for one order alone. Raises HandError."""
        with self._lock:
            if self._busy:
                raise HandError(Say.BUSY)
            if revision != self._standing.revision or self._standing.phase not in phases:
                raise HandError(Say.STALE)
            self._busy = True
            self._show(Phase.BUSY)
        try:
            yield self._session  # type: ignore[misc]  # None where a session is to begin
        except HandError as error:
            self._remark((error.code, error.why))
            raise
        except (LibraryError, OSError, ValueError) as error:
            self._remark((Say.REFUSED, said(error)))
            raise HandError(Say.REFUSED, said(error)) from error
        finally:
            with self._lock:
                self._busy = False
                self._show()

    def _show(self, phase: Phase | None = None) -> None:
        """Set what is seen; with the lock."""
        session, before = self._session, self._standing
        if session is None:
            self._standing = Standing(before.revision + 1, phase or Phase.NONE, said=before.said)
            return
        number = session.by_hand.number
        own = Phase.DONE if number is None else Phase.READY
        self._standing = replace(
            session.standing,
            revision=before.revision + 1,
            phase=phase or (Phase.DRIVING if session.driving else own),
            number=number,
            labelled=len(session.results.of(session.by_hand.seeds)),
            count=len(session.by_hand.seeds),
            last=session.by_hand.last,
            said=before.said,
        )

    def _remark(self, *remarks: tuple[Say, str]) -> None:
        with self._lock:
            self._standing = replace(self._standing, said=remarks)

    def _say(self, code: Say, not_paused: str = "") -> None:
        worse = ((Say.NOT_PAUSED, printable(not_paused, 1000)),) if not_paused else ()
        self._remark((code, ""), *worse)

    def _discard(self, session: _Session, code: Say) -> None:
        why = session.by_hand.discard()
        session.driving = False
        self._say(code, why)

    def _opened(self, wish: Wish) -> _Session:
        """Raises HandError, LibraryError, OSError, ValueError."""
        shelf = self._shelf
        root = shelf.place(wish.key).root if wish.key else shelf.new_place(wish.folder, wish.name)
        driver = self._graph.hand_trials()
        try:
            found = self._met(driver, wish.task)
            check_folder(root)
            results = Results(root / wish.side, found.plan)
        except BaseException:
            driver.close()
            raise
        seeds = range(wish.first, wish.first + wish.count)
        standing = Standing(
            key=shelf.key_of(root), side=wish.side, task=wish.task, policy=found.plan.name
        )
        return _Session(root, driver, results, ByHand(driver, results, seeds), standing)

    def _met(self, driver: HandTrials, task: str) -> Judged:
        """What is judged: the policy that the graph runs."""
        waiting = threading.Event()
        for _ in range(round(_MEET_S / _LOOK_S)):
            if driver.policy:
                break
            waiting.wait(_LOOK_S)
        else:
            raise HandError(Say.NO_POLICY)
        checkpoint = driver.checkpoint
        if not checkpoint:
            raise HandError(Say.NO_CHECKPOINT)
        try:
            found = self._judge(task, checkpoint)
        except ModuleNotFoundError as error:
            raise HandError(Say.REFUSED, how_to_install(error) or str(error)) from error
        if why := driver.refusal(found.weights):
            raise HandError(Say.REFUSED, why)
        return found


def _check(wish: Wish) -> None:
    """Raises HandError for what no form of ours asks for, and for an empty one."""
    fine = (
        bool(wish.task.strip())
        and len(wish.task) <= _LONGEST_TASK
        and wish.task.isprintable()
        and wish.side in SIDES
        and 1 <= wish.count <= MOST_TRIALS
        and 0 <= wish.first <= _LARGEST_SEED - wish.count
    )
    if not fine:
        raise HandError(Say.WRONG)
