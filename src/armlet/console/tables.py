"""What a graph says of itself, as HTML. Every text from outside is escaped. Knows no library."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING

from armlet.files import printable

from .words import Words

if TYPE_CHECKING:
    from armlet.client.sight import ArmSight, JointSight, Sight, StreamSight, Trouble

_LONGEST = 600
_NOTHING = "–"
_COUNTS = ("received", "used", "late", "duplicate", "refused", "skew_p50_s", "skew_p99_s")
_MARKS = {"good": "✓", "attention": "!", "bad": "✗"}


def arms(sight: Sight, say: Words) -> str:
    """Every arm: who moves it, and its joints."""
    if not sight.arms:
        return _note(say("live.no_arm"))
    return "".join(_arm(arm, say) for arm in sight.arms)


def streams(sight: Sight, say: Words) -> str:
    """The ledger, a row for each stream."""
    if not sight.streams:
        return _note(say("live.no_streams"))
    heads = [say("live.stream"), *(say(f"live.count.{name}") for name in _COUNTS), say("live.says")]
    return _table(say("live.streams"), heads, (_stream(stream) for stream in sight.streams))


def troubles(sight: Sight, say: Words) -> str:
    """What is wrong, by code, with its fix."""
    if not sight.troubles:
        return f'<p class="armlet-line" data-level="good">✓ {escape(say("live.no_troubles"))}</p>'
    return "".join(_trouble(trouble, say) for trouble in sight.troubles)


def machine(sight: Sight, say: Words) -> str:
    """The computer and its disk."""
    room = say("live.no_recorder")
    if sight.disk_s is not None:
        room = say("live.disk_left", minutes=f"{sight.disk_s / 60:.0f}")
    rows = [
        (say("live.computer"), sight.computer or say("live.no_computer")),
        (say("live.disk"), room),
    ]
    return "<dl>" + "".join(f"<dt>{_text(a)}</dt><dd>{_text(b)}</dd>" for a, b in rows) + "</dl>"


def figure(camera: str, say: Words) -> str:
    """A camera's place, which `pictures.js` fills."""
    name = escape(camera)
    return (
        f'<figure data-camera="{name}" data-age="{escape(say("live.age"))}" '
        f'data-skew="{escape(say("live.skew"))}">'
        f'<img alt="{escape(say("live.picture_of", camera=camera))}">'
        f"<figcaption><b>{name}</b> <span data-of=rate></span> <span data-of=age></span> "
        "<span data-of=skew></span></figcaption></figure>"
    )


def _arm(arm: ArmSight, say: Words) -> str:
    heads = [
        say(f"live.{word}")
        for word in ("joint", "position", "limits", "load", "temperature", "voltage", "torque")
    ]
    rate = _NOTHING if arm.rate_hz is None else f"{arm.rate_hz:.0f} Hz"
    commander = say("live.commander", who=arm.commander or say("live.nobody"))
    said = (
        f'<p class="armlet-line" data-level="{arm.level}">{_MARKS[arm.level]} '
        f"<b>{_text(arm.node)}</b> {_text(arm.said)} · {_text(commander)} · {rate}</p>"
    )
    return said + _table(
        say("live.joints", arm=arm.node), heads, (_joint(joint, say) for joint in arm.joints)
    )


def _joint(joint: JointSight, say: Words) -> tuple[str, str, list[str]]:
    limits = _NOTHING
    if joint.limits_rad is not None:
        low, high = joint.limits_rad
        limits = f"{math.degrees(low):.0f}° … {math.degrees(high):.0f}°{_bar(joint)}"
    torque = _NOTHING if joint.torque is None else say(f"live.{'on' if joint.torque else 'off'}")
    load = _NOTHING if joint.load is None else f"{joint.load:+.0%}"
    cells = [
        _value(joint.position_rad and math.degrees(joint.position_rad), "{:.1f}°"),
        limits,
        load,
        _value(joint.temperature_c, "{:.0f} °C"),
        _value(joint.voltage_v, "{:.1f} V"),
        escape(torque),
    ]
    return joint.level, joint.name, cells


def _bar(joint: JointSight) -> str:
    """Where a joint and its goal are between its limits; said in numbers beside it."""
    assert joint.limits_rad is not None
    low, high = joint.limits_rad
    marks = ""
    for kind, at in (("goal", joint.goal_rad), ("here", joint.position_rad)):
        if at is not None and math.isfinite(at):
            share = min(1.0, max(0.0, (at - low) / (high - low)))
            marks += f'<i class="{kind}" style="left:{100 * share:.1f}%"></i>'
    return f'<span class="armlet-bar" aria-hidden="true">{marks}</span>'


def _stream(stream: StreamSight) -> tuple[str, str, list[str]]:
    counts = [_text(stream.counts.get(name, _NOTHING)) for name in _COUNTS]
    return stream.level, stream.name, [*counts, _text(stream.said)]


def _trouble(trouble: Trouble, say: Words) -> str:
    fixes = "".join(
        f"<li><code>{_text(code)}</code> {_text(code.meaning)} "
        f"<b>{_text(say('live.fix'))}</b> {_text(code.remedy)}</li>"
        for code in trouble.codes
    )
    return (
        f'<div class="armlet-line" data-level="{trouble.level}">{_MARKS[trouble.level]} '
        f"<b>{_text(trouble.subject)}</b> {_text(trouble.said)}"
        f"{f'<ul>{fixes}</ul>' if fixes else ''}</div>"
    )


def _table(caption: str, heads: Sequence[str], rows: Iterable[tuple[str, str, list[str]]]) -> str:
    """rows: level, head and cells, of which the cells are HTML."""
    head = "".join(f'<th scope="col">{_text(text)}</th>' for text in heads)
    body = "".join(
        f'<tr data-level="{level}"><th scope="row">{_text(name)}</th>'
        + "".join(f"<td>{cell}</td>" for cell in cells)
        + "</tr>"
        for level, name, cells in rows
    )
    return (
        f'<table class="armlet-table"><caption>{_text(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    )


def _note(text: str) -> str:
    return f'<p class="armlet-line" data-level="attention">! {_text(text)}</p>'


def _value(value: float | None, shape: str) -> str:
    return _NOTHING if value is None or not math.isfinite(value) else shape.format(value)


def _text(text: object) -> str:
    # What is hidden, as marks that turn the direction of all that follows, is written out.
    return escape(printable(text, _LONGEST))
