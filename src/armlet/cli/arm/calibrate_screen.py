"""What `armlet calibrate` shows: the two live screens and the tables at the end."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from rich.console import Console, Group, JustifyMethod, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from armlet.calibrate.calibrate import Stored
from armlet.calibrate.sweep import Sweep, SweepState
from armlet.robots.calibration import MAX_TICK, Calibration
from armlet.robots.units import TICKS_PER_TURN

STEPS = ("middle pose", "sweep", "store")

_DEGREES = 360 / TICKS_PER_TURN
_BAR_WIDEST = 40
_WITH_BARS = 84
_WITH_TICKS = 74
"""Widths of a terminal (columns) below which a sweep's row goes without its bar, its ticks."""

_LEAST_WIDTHS = {"now >": 4, "angle >": 7, "travel >": 6, "state": 16}
"""A table that changes must not jump about."""

_BESIDES_BAR = 75
"""Columns of such a row without its bar."""


class Page:
    """Lays pages out for one console.

    Args:
        console: where they will be shown.
        title: what is calibrated, for the first line.
    """

    def __init__(self, console: Console, title: str) -> None:
        self._console = console
        self._title = title

    def releasing(self, joints: Iterable[str]) -> RenderableType:
        """Torque is about to go off."""
        text = Text.assemble(
            ("Hold the arm. ", "attention"),
            f"Torque is on ({', '.join(joints)}) and goes off now: it will drop.",
        )
        return self._page(0, text, Text(""), _keys({"Enter": "release", "q": "quit"}))

    def middle(
        self, ids: Mapping[str, int], found: Mapping[str, int], silent: Collection[str]
    ) -> RenderableType:
        """Step 1: encoder ticks of the joints that have answered."""
        rows: list[dict[str, RenderableType]] = []
        for joint, id in ids.items():
            here = found.get(joint)
            answers = Text("no answer", "bad") if joint in silent else Text("torque off", "good")
            rows.append(
                {
                    "joint": Text(joint, "name"),
                    "id >": str(id),
                    "encoder >": "" if here is None else str(here),
                    "one turn of the encoder": self._bar(None, here),
                    "state": answers,
                }
            )
        table = self._fitting(rows)
        text = Text.assemble(
            "Put every joint at about the ",
            ("middle of its range", "name"),
            ", the gripper half open, and hold it there.",
        )
        keys = {"Enter": "this is the middle", "q": "quit, nothing is written"}
        note = f"Every joint must answer first: {', '.join(silent)}" if silent else ""
        return self._page(0, text, table, Text(note, "attention"), _keys(keys))

    def sweep(
        self,
        ids: Mapping[str, int],
        sweeps: Mapping[str, Sweep],
        silent: Collection[str],
        problems: Mapping[str, str],
    ) -> RenderableType:
        """Step 2: ranges so far, and what keeps them from being taken as they are, by joint."""
        rows = [
            self._sweep_row(joint, ids[joint], sweep, joint in silent)
            for joint, sweep in sweeps.items()
        ]
        table = self._fitting(rows)
        done = sum(sweep.state.is_done for sweep in sweeps.values())
        text = Text.assemble(
            (f"Done: {done} of {len(sweeps)}. ", "good" if done == len(sweeps) else "attention"),
            "Move every joint slowly ",
            ("from one end to the other.", "name"),
        )
        keys = {"Enter": "finish", "r": "sweep again", "q": "quit, nothing is written"}
        return self._page(1, text, table, _reasons(problems), _keys(keys))

    def storing(self) -> RenderableType:
        """Step 3, while it lasts."""
        return self._page(2, Text("Writing to the servos and reading back. Do not move the arm."))

    def _sweep_row(
        self, joint: str, id: int, sweep: Sweep, silent: bool
    ) -> dict[str, RenderableType]:
        place, state = sweep.placement, sweep.state
        here = sweep.position - place.shift
        colour = "good" if state.is_done else "attention"
        word = Text(state.value, "bad" if state is SweepState.LOST else colour)
        return {
            "joint": Text(joint, "name"),
            "id >": str(id),
            "now >": str(here % TICKS_PER_TURN),
            "angle >": f"{sweep.from_middle * _DEGREES:+.1f}°",
            "min >": str(place.range_min),
            "range": self._bar((place.range_min, place.range_max), here, colour),
            "max >": str(place.range_max),
            "travel >": f"{sweep.span * _DEGREES:.1f}°",
            "state": Text("no answer", "bad") if silent else word,
        }

    def _fitting(self, rows: Sequence[Mapping[str, RenderableType]]) -> Table:
        """A table of the columns the terminal has room for."""
        width = self._console.width
        left_out = set() if width >= _WITH_BARS else {"range", "one turn of the encoder"}
        if width < _WITH_TICKS:
            left_out |= {"id >", "now >", "min >", "max >"}
        columns = [column for column in rows[0] if column not in left_out]
        table = _table(*columns)
        for row in rows:
            table.add_row(*(row[column] for column in columns))
        return table

    def _bar(
        self, span: tuple[int, int] | None, here: int | None, colour: str = "good"
    ) -> RenderableType:
        """One turn from end to end, the range on it thick and the present position a dot."""
        width = max(1, min(_BAR_WIDEST, self._console.width - _BESIDES_BAR))
        line, dot = ("---=", "o") if self._console.options.ascii_only else ("─╾╼━", "●")
        first, last = (0, -1) if span is None else (_place(tick, 2 * width) for tick in span)
        bar = Text()
        for cell in range(width):
            left, right = (first <= half <= last for half in (2 * cell, 2 * cell + 1))
            bar.append(line[left + 2 * right], colour if left or right else "quiet")
        if here is not None:
            at = _place(here % TICKS_PER_TURN, width)
            bar = Text.assemble(bar[:at], (dot, "here"), bar[at + 1 :])
        return bar

    def _page(self, step: int, *parts: RenderableType) -> RenderableType:
        steps = Text("  ").join(
            Text(f"{number + 1} {name}", "name" if number == step else "quiet")
            for number, name in enumerate(STEPS)
        )
        head = Table.grid(expand=True, padding=(0, 2))
        head.add_column(no_wrap=True, ratio=1)
        head.add_column(no_wrap=True, justify="right", width=steps.cell_len)
        head.add_row(Text.assemble(("armlet calibrate  ", "name"), (self._title, "quiet")), steps)
        spaced: list[RenderableType] = [head]
        for part in parts:
            spaced += [Text(""), part]
        return Padding(Group(*spaced), (1, 1))


def summary(calibration: Calibration, sweeps: Mapping[str, Sweep]) -> RenderableType:
    """The calibration found."""
    table = _table("joint", "id >", "offset >", "min >", "max >", "range >", "")
    for joint, entry in calibration.items():
        sweep = sweeps[joint]
        shift = f"offset moved by {sweep.placement.shift:+d}"
        note = {
            SweepState.CROSSED: f"crossed the encoder's seam: {shift}",
            SweepState.NEAR: f"came close to the encoder's seam: {shift}",
            SweepState.FULL_TURN: "turns all the way round",
        }.get(sweep.state, "")
        table.add_row(
            Text(joint, "name"),
            str(entry.id),
            str(entry.homing_offset),
            str(entry.range_min),
            str(entry.range_max),
            f"{(entry.range_max - entry.range_min) * _DEGREES:.1f}°",
            Text(note, "quiet"),
        )
    return Padding(table, (1, 1, 0, 1))


def comparison(
    ids: Mapping[str, int], wanted: Mapping[str, Stored], found: Mapping[str, Stored]
) -> RenderableType:
    """File and EEPROM side by side; joints absent from `found` did not answer."""
    table = _table("joint", "id >", "offset >", "min >", "max >", "")
    for joint, want in wanted.items():
        have = found.get(joint)
        if have is None:
            table.add_row(Text(joint, "name"), str(ids[joint]), "", "", "", _verdict("no answer"))
            continue
        pairs = (
            (want.homing_offset, have.homing_offset),
            (want.range_min, have.range_min),
            (want.range_max, have.range_max),
        )
        table.add_row(
            Text(joint, "name"),
            str(ids[joint]),
            *(_pair(file, servo) for file, servo in pairs),
            _verdict(_difference(want, have)),
        )
    return Padding(table, (1, 1))


def _difference(want: Stored, have: Stored) -> str:
    if want == have:
        return "same"
    return "different" if want.drive_mode == have.drive_mode else "different, and turns round"


def _pair(file: int, servo: int) -> Text:
    if file == servo:
        return Text(str(servo))
    return Text.assemble(("file ", "quiet"), str(file), ("\nservo ", "quiet"), (str(servo), "bad"))


def _verdict(word: str) -> Text:
    return Text(word, "good" if word == "same" else "bad")


def _table(*columns: str) -> Table:
    """A table without lines; the " >" behind a heading puts its column to the right."""
    table = Table(box=None, padding=(0, 1), pad_edge=False, header_style="quiet")
    for column in columns:
        width = _LEAST_WIDTHS.get(column)
        justify: JustifyMethod = "right" if column.endswith(" >") else "left"
        table.add_column(column.removesuffix(" >"), justify=justify, min_width=width, no_wrap=True)
    return table


def _place(tick: int, places: int) -> int:
    return max(0, min(MAX_TICK, tick)) * places // TICKS_PER_TURN


def _reasons(problems: Mapping[str, str]) -> Text:
    """One line for each reason, with the joints it holds for."""
    lines = [
        f"{why}: {', '.join(joint for joint, its in problems.items() if its == why)}"
        for why in dict.fromkeys(problems.values())
    ]
    return Text("\n".join(["Not finished yet:", *lines] if lines else []), "attention")


def _keys(keys: Mapping[str, str]) -> Text:
    parts = [Text.assemble((key, "key"), f" {meaning}") for key, meaning in keys.items()]
    return Text("    ").join(parts)
