"""The screen of `armlet session`."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from armlet.cli.screen import Keyboard, console

if TYPE_CHECKING:
    from armlet.cli.session_graph import Line, View


class SessionScreen:
    """A live screen and its keyboard. Context manager.

    Args:
        keys: what each key does.
    """

    def __init__(self, keys: Mapping[str, str]) -> None:
        self._keys = keys
        self._live = Live(console=console(), screen=True, auto_refresh=False)
        self._keyboard = Keyboard()

    def __enter__(self) -> Self:
        self._keyboard.__enter__()
        self._live.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.__exit__(kind, error, trace)
        self._keyboard.__exit__()

    def key(self, patience_s: float) -> str:
        """The key pressed meanwhile, or empty. Raises EOFError when the terminal is gone."""
        return self._keyboard.poll(patience_s)

    def show(self, view: View) -> None:
        """Draws what is known."""
        parts = [_headline(view), Text(), _facts(view), Text()]
        if view.troubles:
            parts += [_lines(view.troubles), Text()]
        if view.answers:
            parts += [_lines(view.answers), Text()]
        self._live.update(Group(*parts, self._help()), refresh=True)

    def _help(self) -> Table:
        table = Table.grid(padding=(0, 2))
        for key, does in self._keys.items():
            table.add_row(Text(key.strip() or "space", "key"), does)
        return table


def _headline(view: View) -> Text:
    if not view.recorder:
        return Text(" waiting for the recorder; is `armlet up record` running? ", "attention")
    if not view.recording:
        return Text(f" idle · {view.recorder.get('episodes', '?')} episodes ", "name")
    frames = view.recorder.get("open_frames", "?")
    episode = view.recorder.get("episodes", "?")
    return Text(f" ● RECORDING episode {episode} · {frames} frames ", "bold white on red")


def _facts(view: View) -> Table:
    table = Table.grid(padding=(0, 2))
    recorder = view.recorder
    says = view.recorder_says
    if says is not None:
        table.add_row("recorder", Text(says.said, says.level))
    table.add_row("arm", Text(view.arm or "no servo_bus heard yet", "good" if view.arm else "bad"))
    if recorder:
        waiting = f"{recorder.get('queued', '?')} queued, {recorder.get('spilled', '?')} on disk"
        table.add_row("task", recorder.get("task") or Text("empty: set it first", "bad"))
        table.add_row("dataset", f"{recorder['root']} · {recorder.get('frames', '?')} frames")
        table.add_row("encoders", waiting)
        if "seconds_left" in recorder:
            table.add_row("disk", f"room for {float(recorder['seconds_left']) / 60:.0f} minutes")
    return table


def _lines(lines: tuple[Line, ...]) -> Table:
    table = Table.grid(padding=(0, 2))
    for line in lines:
        mark = {"good": "✓", "attention": "!", "bad": "✗"}[line.level]
        table.add_row(Text(mark, line.level), Text(line.subject, "quiet"), line.said)
    return table
