"""The board of a person who records, as HTML. Every text from outside is escaped."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from .board import Board, Cue, State, cue
from .words import Words

if TYPE_CHECKING:
    from armlet.client.recording import View

    from .review.last import Last

_LONGEST = 600
_MARKS = {"good": "✓", "attention": "!", "bad": "✗", "recording": "●"}
_FAILURES = ("gap", "silence", "bad_frame", "too_short", "disk_short", "write_failed")


def headline(now: Board, say: Words) -> str:
    """The state, to be read from two metres."""
    seconds, beside = _seconds(now, say)
    lines = "".join(f"<p>{_text(line)}</p>" for line in _lines(now, say))
    return (
        f'<div id="armlet-board" data-state="{now.state}" data-level="{now.level}" '
        f'data-stops="{now.stops}">'
        f'<p class="board-state"><span aria-hidden="true">{_MARKS[now.level]}</span> '
        f"{_text(say(f'record.state.{now.state}'))}</p>"
        f'<p class="board-seconds">{_text(seconds)}<small>{_text(beside)}</small></p>'
        f"{_progress(now, say)}{lines}</div>"
    )


def cue_place(now: Board, say: Words) -> str:
    """What is said aloud, by `record.js` where a person has asked for it, and to screen readers."""
    found: Cue = cue(now)
    said = say(found.code, **found.values)
    # A countdown is for ears: a screen reader would read every second of it over the last.
    read = "" if found.tone == "tick" else _text(said)
    return (
        f'<p id="armlet-cue" role="status" data-key="{_text(found.key)}" '
        f'data-tone="{_text(found.tone)}" data-say="{_text(said)}" '
        f'lang="{say.language}">{read}</p>'
    )


def facts(now: Board, view: View, say: Words) -> str:
    """What does not change with every row."""
    rows = [
        ("task", now.task or say("record.no_task")),
        ("count", _counted(now, say)),
        ("dataset", now.root or "–"),
        ("disk", "–" if now.disk_s is None else say("live.disk_left", minutes=_minutes(now))),
        ("arm", _arm(view, say)),
    ]
    if view.leader is not None:
        rows.append(("leader", view.leader.said))
    if view.computer is not None:
        rows.append(("computer", view.computer.said))
    return _list([(say(f"record.{name}"), said) for name, said in rows])


def answers(view: View, say: Words) -> str:
    """What was answered to the last keys."""
    lines = "".join(
        f'<p class="armlet-line" data-level="{line.level}">{_MARKS[line.level]} '
        f"<b>{_text(line.subject)}</b> {_text(line.said)}</p>"
        for line in view.answers
    )
    return lines or f"<p>{_text(say('record.no_answers'))}</p>"


def last_episode(last: Last, say: Words) -> str:
    """The facts of the newest episode."""
    if last.problem:
        return f'<p class="armlet-line" data-level="attention">! {_text(last.problem)}</p>'
    rows = [
        (say("datasets.number"), str(last.number)),
        (say("datasets.length"), str(last.length)),
        (say("datasets.seconds"), f"{last.duration_s:.2f}"),
        (say("datasets.task"), ", ".join(last.tasks)),
        *([(say("datasets.notes"), last.driven)] if last.driven else []),
    ]
    found = "".join(
        f'<p class="armlet-line" data-level="{_level(remark.severity)}">'
        f"{_MARKS[_level(remark.severity)]} <code>{_text(remark.code)}</code> {_text(remark.said)} "
        f"<b>{_text(say('live.fix'))}</b> {_text(remark.fix)}</p>"
        for remark in last.remarks
    )
    none = f'<p class="armlet-line" data-level="good">✓ {_text(say("record.last.no_findings"))}</p>'
    return _list(rows) + (found or none)


def _seconds(now: Board, say: Words) -> tuple[str, str]:
    """The large number, and what stands beside it."""
    if now.state is State.RECORDING:
        return f"{now.seconds:.1f} s", say("record.rows", rows=now.rows, episode=now.episodes)
    if now.state is State.RESET:
        return f"{-int(-now.series.left_s // 1)} s", say("record.next", episode=now.episodes)
    if now.state is State.SILENT:
        return f"{now.silent_s:.0f} s", say("record.since")
    if now.state is State.ABSENT:
        return "–", ""
    if now.wanted:
        return str(now.counted), say("record.of_wanted", wanted=now.wanted)
    return str(now.counted), say("record.in_dataset")


def _lines(now: Board, say: Words) -> list[str]:
    """Why, what to do, and what would be lost."""
    match now.state:
        case State.ABSENT:
            return [say("record.absent")]
        case State.SILENT:
            was = "was_recording" if now.was_recording else "was_idle"
            return [say(f"record.{was}"), say("record.silent_fix")]
        case State.RECORDING:
            lost = say("record.at_stake", rows=now.rows, seconds=f"{now.seconds:.1f}")
            trouble = [now.said] if now.said not in ("", "recording") else []
            return [lost, *trouble]
        case State.FAILED:
            return [now.said, _failure(now, say), say("record.failed_next")]
        case State.BLOCKED:
            return [now.said, *([] if now.task.strip() else [say("record.fix.task")])]
        case State.DONE:
            return [say("record.fix.episodes")]
    failed = [say("record.last_failed"), _failure(now, say)] if now.failure else []
    if now.state is State.RESET:
        return [*failed, say("record.reset_lines")]
    return [*failed, *([now.said] if now.said not in ("", "idle") else [say("record.ready_lines")])]


def _failure(now: Board, say: Words) -> str:
    return say(f"record.failure.{now.failure if now.failure in _FAILURES else 'other'}")


def _progress(now: Board, say: Words) -> str:
    if now.state is not State.RECORDING or not now.episode_s:
        return ""
    label = _text(say("record.progress", seconds=f"{now.episode_s:g}"))
    done = min(now.seconds, now.episode_s)
    return f'<progress aria-label="{label}" max="{now.episode_s:g}" value="{done:.1f}"></progress>'


def _counted(now: Board, say: Words) -> str:
    if now.wanted:
        return say("record.of", count=now.counted, wanted=now.wanted)
    return say("record.episodes", count=now.counted)


def _minutes(now: Board) -> str:
    return f"{(now.disk_s or 0) / 60:.0f}"


def _arm(view: View, say: Words) -> str:
    if not view.arm:
        return say("live.no_arm")
    if view.arm_silent_s:
        return say("record.arm_silent", seconds=f"{view.arm_silent_s:.0f}", said=view.arm)
    return view.arm


def _level(severity: str) -> str:
    return "bad" if severity == "error" else "attention"


def _list(rows: list[tuple[str, str]]) -> str:
    return "<dl>" + "".join(f"<dt>{_text(a)}</dt><dd>{_text(b)}</dd>" for a, b in rows) + "</dl>"


def _text(text: object) -> str:
    return escape(str(text)[:_LONGEST])
