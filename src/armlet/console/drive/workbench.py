"""Everything the page of a driving policy works with: one for the console, whoever looks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from armlet.console.review.library import LibraryError

from .checkpoints import Listed, Shelf
from .fits import SETTINGS, Fits, Order, arguments

if TYPE_CHECKING:
    from armlet.console.page import Graph

_DRIVER = "servo_bus"


@dataclass(frozen=True)
class Workbench:
    """The checkpoints, and their checks. problem: why there are none, "" if there are."""

    shelf: Shelf
    fits: Fits = field(default_factory=Fits)
    problem: str = ""

    @classmethod
    def of(cls, folders: Sequence[Path]) -> Workbench:
        """Of the folders that were named; those that are none are its problem."""
        try:
            return cls(Shelf(folders))
        except LibraryError as error:
            return cls(Shelf(()), problem=str(error))

    def check(self, one: Listed, graph: Graph, policy: str) -> None:
        """Check a checkpoint against the graph with its policy's own parameters. It asks for them.

        policy: the policy's node; without one the calibration is the driver's.
        """
        settings = graph.settings_of(policy, SETTINGS) if policy else {}
        if not settings.get("calibration_file"):
            settings = {**settings, **graph.settings_of(_DRIVER, SETTINGS[:1])}
        self.fits.begin(Order(one.key, arguments(one.path, graph.namespace, settings)))
