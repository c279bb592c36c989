"""What a page of the console is: its name, its icon, and what builds it for one visit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

from armlet.evaluation.trials.by_hand import Driver

from .words import Words

if TYPE_CHECKING:
    from armlet.client.driving import Driving
    from armlet.client.recording import View
    from armlet.client.series import SeriesView, Wish
    from armlet.client.sight import Sight
    from armlet.client.watching import Picture


class Camera(Protocol):
    """A viewer's hold on a camera. Context manager."""

    def __enter__(self) -> Camera: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def picture(self) -> Picture | None:
        """The newest; None before the first."""


class HandTrials(Driver, Protocol):
    """Trials of the graph's policy; `armlet.client.hand_trials` has it. Its calls may wait."""

    @property
    def policy(self) -> str:
        """What the policy says it is; empty until it has been heard."""

    @property
    def checkpoint(self) -> str:
        """What the policy was given; empty if unknown."""

    @property
    def stopped(self) -> bool:
        """Whether the stop was pressed since the trial began."""

    def refusal(self, weights: str) -> str:
        """Why the policy of these weights cannot be tried; empty if it can."""

    def close(self) -> None:
        """Pause the policy, and listen no more."""


class Graph(Protocol):
    """What pages ask of the graph; `armlet.client` has it. For several threads.

    Nothing waits but `settings_of`.
    """

    def press(self, key: str, stops: int | None = None) -> None:
        """What a key of `armlet session` does, x is the stop; or a `client.driving.Ask`.

        start and stop: what the space does, by whoever knows which of them is meant. stops: how
        many stops the person knew of; torque does not come on by a key that is older than one.
        """

    @property
    def stops(self) -> int:
        """How often a stop was asked for here."""

    def view(self) -> View:
        """What is known now."""

    def sight(self) -> Sight:
        """What the graph says of itself now."""

    def driving(self) -> Driving:
        """What the graph's policy says, and how the arm follows it."""

    def settings_of(self, node: str, names: Sequence[str]) -> dict[str, Any]:
        """Parameters of a node by name; empty if it does not answer. It waits for that."""

    @property
    def namespace(self) -> str:
        """Of the graph, without slashes around it."""

    def camera(self, name: str, heard: Callable[[], None]) -> Camera:
        """Look at a camera; heard is called for each new picture. KeyError for an unknown one."""

    @property
    def has_leader(self) -> bool:
        """Whether a leader moves a follower."""

    @property
    def has_bench(self) -> bool:
        """Whether the arms are emulated."""

    def wish(self, wish: Wish) -> None:
        """Have the recorder's parameters changed."""

    def series(self) -> SeriesView:
        """Recordings that begin by themselves, as it stands."""

    def run_series(self, reset_s: float) -> None:
        """Begin each next recording by itself, reset_s after the last. Raises ValueError."""

    def end_series(self) -> None:
        """Begin none by itself any more."""

    def hand_trials(self) -> HandTrials:
        """Trials of its policy that a person judges."""


@dataclass(frozen=True)
class Setting:
    """What the console was started with.

    graph: the running graph. datasets: folders given by `--datasets`, in which datasets lie.
    checkpoints: folders given by `--checkpoints`, in which checkpoints lie.
    recorded: the dataset that the graph records, where the graph started the console. trials:
    folders given by `--trials`, in which `armlet eval` keeps trials.
    """

    graph: Graph
    datasets: tuple[Path, ...] = ()
    checkpoints: tuple[Path, ...] = ()
    recorded: Path | None = None
    trials: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Visit:
    """One browser tab on a page.

    say: the table of words in its language. setting: what the console was started with.
    """

    say: Words
    setting: Setting


@dataclass(frozen=True)
class Page:
    """One page, found by its module in `armlet.console.pages`, whose `PAGE` it is.

    Attributes:
        code: its path, /code, and its words: `code.title`, and `code.` before all others.
        icon: its name among Material's icons.
        build: fills the page, in NiceGUI's loop. It may be `async`; what takes long belongs into
            `nicegui.run.io_bound`: other pages wait meanwhile, the stop does not.
        serve: called once, before the first visit, for routes of its own (`nicegui.app.get`).
            They are behind the console's access checks as everything is.
        order: its place among pages; the first is what / shows.
    """

    code: str
    icon: str
    build: Callable[[Visit], object]
    order: int
    serve: Callable[[Setting], None] | None = None

    @property
    def path(self) -> str:
        return f"/{self.code}"
