"""Part of mismatch.py: the table, the plot and the pictures of what is there.

What was not run is not in them.
"""

from __future__ import annotations

import html
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mismatch_faults import CONDITIONS, Condition

from armlet.evaluation.trials.statistics import wilson

FORCED, SHIPPED = "forced", "shipped"
TABLE, PLOT, SEEN = "mismatch-table.md", "mismatch.svg", "mismatch-seen.jpg"
PAGES = ("mismatch.md", "mismatch.zh.md")
_PLACE = re.compile(r"(<!-- table -->\n).*(<!-- /table -->)", re.DOTALL)
_LINE = 170
# What it says is of simulated time, which waits for a busy computer; a robot has no such node.
_BENCH = "sim_bench"
_CODE = re.compile(r"\[([a-z]+\.[a-z-]+)\]")
_ROW_PX, _LEFT_PX, _WIDTH_PX = 22, 270, 380
_COLUMNS, _CAPTION_PX = 4, 20


@dataclass(frozen=True)
class Said:
    """What armlet said of a condition, first and worst.

    kind: `refused`, `reported` or `silent`. time_s: since the graph's start. code: of the finding;
    empty for a line of the log.
    """

    kind: str
    time_s: float | None
    code: str
    line: str


def write(output: Path, results: Sequence[Any], docs: Path | None) -> None:
    """The table, plot and pictures into `output`; with `docs` also into its pages."""
    rows = [(each, [r for r in results if r.condition == each.name]) for each in CONDITIONS]
    rows = [(each, own) for each, own in rows if own]
    (output / TABLE).write_text("\n".join(_table(rows)) + "\n")
    (output / PLOT).write_text(_plot(rows))
    _pictures(output)
    print((output / TABLE).read_text())
    if docs is not None:
        _into_pages(output, docs)


def _into_pages(output: Path, docs: Path) -> None:
    for name in filter(lambda name: (output / name).exists(), (PLOT, SEEN)):
        shutil.copyfile(output / name, docs / name)
    table = (output / TABLE).read_text()
    for page in (docs / name for name in PAGES):
        text = page.read_text(encoding="utf-8")
        page.write_text(_PLACE.sub(lambda m: m[1] + table + m[2], text), encoding="utf-8")


# --- the table ------------------------------------------------------------------------------------


def _table(rows: Sequence[tuple[Condition, list[Any]]]) -> Iterator[str]:
    yield "| condition | forced: success | Wilson 95 % | as shipped | after (s) | code | said |"
    yield "|---|---|---|---|---|---|---|"
    for each, results in rows:
        done, count = _successes(results)
        rate, interval = ("-", "-") if not count else (f"{done}/{count}", _interval(done, count))
        said = [judged(r) for r in results if r.mode == SHIPPED]
        yield f"| {each.title} | {rate} | {interval} | {_alike(said)} |"


def _successes(results: Sequence[Any]) -> tuple[int, int]:
    forced = [r for r in results if r.mode == FORCED]
    return sum(bool(r.success) for r in forced), len(forced)


def _interval(done: int, count: int) -> str:
    interval = wilson(done, count)
    return f"{100 * interval.low:.0f} to {100 * interval.high:.0f} %"


def _alike(said: Sequence[Said]) -> str:
    """The cells of what was said: of the first trial, and in how many it was so."""
    if not said:
        return "- | - | - | -"
    kinds = [each.kind for each in said]
    shown = ", ".join(f"{kind} {kinds.count(kind)}/{len(said)}" for kind in dict.fromkeys(kinds))
    first = said[0]
    times = sorted(each.time_s for each in said if each.time_s is not None)
    after = "-" if not times else f"{times[0]:.1f}"
    after += f" to {times[-1]:.1f}" if times and times[-1] - times[0] > 0.05 else ""
    return f"{shown} | {after} | {f'`{first.code}`' if first.code else '-'} | {first.line or '-'}"


def judged(result: Any) -> Said:
    """What armlet said in a trial as shipped: a refusal before a report."""
    if result.refused:
        times = [e["time_s"] for e in result.events if "does not fit" in e["said"]]
        first = next((x for x in result.refused.split("\n") if "ERROR" in x), result.refused)
        code = _CODE.search(first)
        return Said("refused", min(times, default=0.0), code[1] if code else "", _short(first))
    events = [event for event in result.events if not event["by"].startswith(_BENCH)]
    for event in events:
        if "refused" in event["said"]:
            return Said("refused", event["time_s"], "", _short(event["said"]))
    for event in sorted(events, key=lambda e: (e["level"] != "error", e["time_s"])):
        line, code = _warning(event)
        return Said("reported", event["time_s"], code, _short(line))
    return Said("silent", None, "", "")


def _warning(event: dict[str, Any]) -> tuple[str, str]:
    """What was said, and its first code; of a whole report in the log the first warning."""
    for line in event["said"].split("\n"):
        if line.startswith("WARN") and (code := _CODE.search(line)):
            return line.removeprefix("WARN"), code[1]
    return event["said"], event["codes"].partition(",")[0]


def _short(line: str) -> str:
    """One line of a table cell; a path is of one computer only."""
    line = re.sub(r"/\S+/(?=[\w.]+:)", "", " ".join(line.split()).removeprefix("ERROR "))
    line = _CODE.sub("", line).strip().replace("|", "/")
    line = re.sub(r"\b([0-9a-f]{8})[0-9a-f]{56}\b", r"\1...", line)
    return line if len(line) <= _LINE else line[:_LINE].rsplit(" ", 1)[0] + " ..."


# --- the plot -------------------------------------------------------------------------------------


def _plot(rows: Sequence[tuple[Condition, list[Any]]]) -> str:
    """Success rates with their intervals, by condition."""
    given = [(each.title, *_successes(results)) for each, results in rows]
    given = [row for row in given if row[2]]
    height = _ROW_PX * len(given) + 50
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_LEFT_PX + _WIDTH_PX + 40}" '
        f'height="{height}" font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for share in (0, 0.25, 0.5, 0.75, 1):
        x = _LEFT_PX + share * _WIDTH_PX
        lines.append(f'<path d="M{x} 12V{height - 32}" stroke="#ddd"/>')
        lines.append(f'<text x="{x}" y="{height - 14}" text-anchor="middle">{share:.0%}</text>')
    for row, (title, done, count) in enumerate(given):
        y, interval = 24 + row * _ROW_PX, wilson(done, count)
        low, high, at = (
            _LEFT_PX + s * _WIDTH_PX for s in (interval.low, interval.high, done / count)
        )
        lines.append(
            f'<text x="{_LEFT_PX - 12}" y="{y + 4}" text-anchor="end">{html.escape(title)}</text>'
        )
        lines.append(f'<path d="M{low:.1f} {y}H{high:.1f}" stroke="#2b6cb0" stroke-width="2"/>')
        lines.append(f'<circle cx="{at:.1f}" cy="{y}" r="4" fill="#2b6cb0"/>')
    return "\n".join([*lines, "</svg>"]) + "\n"


# --- what the network saw -------------------------------------------------------------------------


def _pictures(output: Path) -> None:
    """One picture a condition, with its name above it."""
    tiles = []
    for each in CONDITIONS:
        file = output / "seen" / f"{each.name}.png"
        if file.exists():
            tiles.append(_captioned(cv2.imread(str(file)), each.title))
    if not tiles:
        return
    empty = np.full_like(tiles[0], 255)
    tiles += [empty] * (-len(tiles) % _COLUMNS)
    rows = [np.hstack(tiles[at : at + _COLUMNS]) for at in range(0, len(tiles), _COLUMNS)]
    cv2.imwrite(str(output / SEEN), np.vstack(rows), [cv2.IMWRITE_JPEG_QUALITY, 80])


def _captioned(picture: Any, title: str) -> Any:
    small = cv2.resize(picture, (384, 144), interpolation=cv2.INTER_AREA)
    whole = cv2.copyMakeBorder(
        small, _CAPTION_PX, 6, 4, 4, cv2.BORDER_CONSTANT, value=(255, 255, 255)
    )
    cv2.putText(whole, title, (6, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 1, cv2.LINE_AA)
    return whole
