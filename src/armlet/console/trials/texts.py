"""Reports of trials in words of a person's language: figures are those of `armlet eval`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from armlet.console.words import Words
from armlet.evaluation.trials.report import A, Report, Side
from armlet.evaluation.trials.statistics import CONFIDENCE, Quartiles
from armlet.files import printable

from .shelf import Beside

_LONGEST = 200
_NOTHING = "–"


def measures(report: Report, say: Words) -> list[tuple[str, list[str]]]:
    """Rows of a table: what, and its value for each side; of no side that has none."""

    def quartiles(found: Quartiles | None) -> str:
        if found is None:
            return _NOTHING
        return say("evaluate.quartiles", median=found.median, low=found.low, high=found.high)

    def interval(side: Side) -> str:
        return say("evaluate.between", low=side.interval.low, high=side.interval.high)

    values: list[tuple[str, Callable[[Side], str]]] = [
        (say("evaluate.policy"), lambda side: printable(side.plan.name, _LONGEST)),
        (say("evaluate.physics"), lambda side: printable(side.plan.physics or _NOTHING, _LONGEST)),
        (say("evaluate.trials"), lambda side: str(len(side.trials))),
        (say("evaluate.successes"), lambda side: str(side.successes)),
        (say("evaluate.rate"), lambda side: f"{side.rate:.1%}"),
        (say("evaluate.interval", confidence=CONFIDENCE), interval),
        (say("evaluate.time"), lambda side: quartiles(side.time_s)),
        (say("evaluate.path_m"), lambda side: quartiles(side.path_m)),
        (say("evaluate.path_rad"), lambda side: quartiles(side.path_rad)),
        (say("evaluate.smoothness"), lambda side: quartiles(side.smoothness)),
    ]
    rows = [(what, [value(side) for side in report.sides]) for what, value in values]
    return [(what, cells) for what, cells in rows if set(cells) != {_NOTHING}]


def verdict(found: Beside, names: Sequence[str], say: Words) -> str:
    """What the test of two policies says. names: of both."""
    comparison = found.comparison
    first, second = (printable(name, _LONGEST) for name in names)
    better = say("evaluate.no_difference")
    if comparison.better:
        better = say("evaluate.better", name=first if comparison.better == A else second)
    text = say(
        "evaluate.verdict",
        verdict=better,
        pairs=found.pairs,
        first=first,
        second=second,
        only_first=len(comparison.only_a),
        only_second=len(comparison.only_b),
        both=comparison.both,
        neither=comparison.neither,
        p=comparison.p,
    )
    if found.differs:
        text += ". " + say("evaluate.differs", what=", ".join(found.differs))
    return text
