"""A joint's planned and measured positions as SVG: dashed is planned, a full line measured."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape

from armlet.client.driving import WINDOW_S, Track
from armlet.console.words import Words

_WIDTH, _HEIGHT, _LEFT, _EDGE = 360, 130, 46, 8
_LEAST_SPAN_DEG = 4.0
_NICE = (1.0, 2.0, 5.0)
_AHEAD_S = 1.0


def plots(tracks: Sequence[Track], say: Words) -> str:
    """A figure for each joint; what it shows is said in its caption as well."""
    if not tracks:
        return f'<p class="armlet-line">{escape(say("drive.no_tracks"))}</p>'
    ahead_s = max((p[-1][0] for t in tracks for p in t.plans), default=0.0)
    until_s = min(max(_AHEAD_S, math.ceil(2 * ahead_s) / 2), WINDOW_S)
    return "".join(_figure(track, until_s, say) for track in tracks)


def _figure(track: Track, until_s: float, say: Words) -> str:
    said = _said(track, say)
    label = escape(f"{track.joint}: {said}")
    return (
        f'<figure class="armlet-plot"><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="{label}">{_drawn(track, until_s, say)}</svg>'
        f"<figcaption><b>{escape(track.joint[:120])}</b> {escape(said)}</figcaption></figure>"
    )


def _said(track: Track, say: Words) -> str:
    parts = []
    if track.measured:
        parts.append(say("drive.measured_at", degrees=f"{_deg(track.measured[-1][1]):.1f}"))
    if track.apart_rad is not None:
        parts.append(say("drive.apart", degrees=f"{_deg(track.apart_rad):.1f}"))
    elif not track.plans:
        parts.append(say("drive.no_plan"))
    return " · ".join(parts)


def _drawn(track: Track, until_s: float, say: Words) -> str:
    values = [_deg(value) for _, value in track.measured]
    values += [_deg(value) for plan in track.plans for at_s, value in plan if at_s >= -WINDOW_S]
    low, high = _range(values)

    def place(at_s: float, value: float) -> str:
        x = _LEFT + (at_s + WINDOW_S) / (until_s + WINDOW_S) * (_WIDTH - _LEFT - _EDGE)
        y = _EDGE + (high - value) / (high - low) * (_HEIGHT - 3 * _EDGE)
        return f"{x:.1f},{y:.1f}"

    def line(kind: str, points: Iterable[tuple[float, float]]) -> str:
        shown = [(at, _deg(v)) for at, v in points if -WINDOW_S <= at <= until_s]
        if len(shown) < 2:
            return ""
        return f'<polyline class="{kind}" points="{" ".join(place(*p) for p in shown)}"/>'

    (left, top), (_, bottom) = (place(0.0, v).split(",") for v in (high, low))
    # An end of the scale and a time are labelled; the rest is in the caption.
    marks = f'<line class="now" x1="{left}" x2="{left}" y1="{top}" y2="{bottom}"/>'
    for value in (low, high):
        _, y = place(0.0, value).split(",")
        marks += (
            f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _EDGE}" y1="{y}" y2="{y}"/>'
            f'<text x="{_LEFT - 4}" y="{float(y) + 4:.1f}" text-anchor="end">{value:g}°</text>'
        )
    marks += _time(f"{_LEFT}", f"−{WINDOW_S:g} s", "start") + _time(
        left, say("drive.now"), "middle"
    )
    older = "".join(line("plan", plan) for plan in track.plans[:-1])
    newest = line("plan newest", track.plans[-1]) if track.plans else ""
    return f"{marks}{older}{newest}{line('measured', track.measured)}"


def _time(x: str, said: str, anchor: str) -> str:
    return f'<text x="{x}" y="{_HEIGHT - 3}" text-anchor="{anchor}">{escape(said)}</text>'


def _range(values: Sequence[float]) -> tuple[float, float]:
    """Ends of a scale around values, round ones, so that it seldom changes."""
    low, high = (min(values), max(values)) if values else (0.0, 0.0)
    step = _step(max(high - low, _LEAST_SPAN_DEG) / 4)
    low, high = math.floor(low / step) * step, math.ceil(high / step) * step
    if high - low < _LEAST_SPAN_DEG:
        high = low + _LEAST_SPAN_DEG
    return low, high


def _step(least: float) -> float:
    power = 10.0 ** math.floor(math.log10(least))
    return next((nice * power for nice in _NICE if nice * power >= least), 10 * power)


def _deg(value: float) -> float:
    """Degrees, of what can be drawn: a driver's positions are finite, others' need not be."""
    return math.degrees(min(max(value, -1e3), 1e3))
