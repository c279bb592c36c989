"""The screen of `armlet session`."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from armlet.cli.terminal.screen import console

if TYPE_CHECKING:
    from armlet.client.recording import Line, View


class SessionScreen:
    """A live screen. Context manager."""

    def __init__(self) -> None:
        self._live = Live(console=console(), screen=True, auto_refresh=False)
        self._alarms = 0

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.__exit__(kind, error, trace)

    def show(self, view: View, keys: Mapping[str, str]) -> None:
        """Draws what is known, with a sound for a recording that has failed.

        keys: what each key does.
        """
        if view.alarms > self._alarms:
            self._live.console.bell()
        self._alarms = view.alarms
        parts: list[RenderableType] = [_headline(view), Text(), _facts(view), Text()]
        if view.stopping:
            parts[:0] = [Text(f" {view.stopping} ", "bold white on red"), Text()]
        if view.troubles:
            parts += [_lines(view.troubles), Text()]
        if view.answers:
            parts += [_lines(view.answers), Text()]
        self._live.update(Group(*parts, _help(keys)), refresh=True)


def _headline(view: View) -> Text:
    if not view.recorder:
        return Text(" waiting for the recorder; is `armlet up record` running? ", "attention")
    if view.recorder_silent_s:
        was = "it was recording" if view.was_recording else "it was not recording"
        silent = (
            f" THE RECORDER IS SILENT for {view.recorder_silent_s:.0f} s; {was} · is it running? "
        )
        return Text(silent, "bold white on red")
    if view.failed:
        return Text(" NOT RECORDED · space: go on · r: record again ", "bold white on red")
    if not view.recording:
        return Text(f" idle · {view.recorder.get('episodes', '?')} episodes ", "name")
    frames = view.recorder.get("open_frames", "?")
    episode = view.recorder.get("episodes", "?")
    return Text(f" ● RECORDING episode {episode} · {frames} frames ", "bold white on red")


def _help(keys: Mapping[str, str]) -> Table:
    table = Table.grid(padding=(0, 2))
    for key, does in keys.items():
        table.add_row(Text(key.strip() or "space", "key"), does)
    return table


def _facts(view: View) -> Table:
    table = Table.grid(padding=(0, 2))
    recorder = view.recorder
    says = view.recorder_says
    if view.computer is not None:
        table.add_row("computer", Text(view.computer.said, view.computer.level))
    if says is not None:
        said = f"said last: {says.said}" if view.recorder_silent_s else says.said
        table.add_row("recorder", Text(said, "bad" if view.recorder_silent_s else says.level))
    table.add_row("arm", _arm(view))
    if view.leader is not None:
        table.add_row("leader", Text(view.leader.said, view.leader.level))
    if recorder:
        waiting = f"{recorder.get('queued', '?')} queued, {recorder.get('spilled', '?')} on disk"
        table.add_row("task", recorder.get("task") or Text("empty: set it first", "bad"))
        table.add_row("dataset", f"{recorder['root']} · {recorder.get('frames', '?')} frames")
        table.add_row("encoders", waiting)
        if "seconds_left" in recorder:
            table.add_row("disk", f"room for {float(recorder['seconds_left']) / 60:.0f} minutes")
    return table


def _arm(view: View) -> Text:
    if not view.arm:
        return Text("no servo_bus heard yet", "bad")
    if view.arm_silent_s:
        silent = f"no joint_states for {view.arm_silent_s:.0f} s: is servo_bus running?"
        return Text(f"{silent} It said last: {view.arm}", "bad")
    return Text(view.arm, "good")


def _lines(lines: tuple[Line, ...]) -> Table:
    table = Table.grid(padding=(0, 2))
    for line in lines:
        mark = {"good": "✓", "attention": "!", "bad": "✗"}[line.level]
        table.add_row(Text(mark, line.level), Text(line.subject, "quiet"), line.said)
    return table
