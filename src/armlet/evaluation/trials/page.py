"""The report as one HTML page, as SVG and JSON. No script; the same for the same trials."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import quote

from armlet.datasets.page import is_made_by, page, safe
from armlet.files import OutputError, printable_json, replace_file

from .report import Report, Side, columns, rows

COMMAND = "eval"
PAGE_FILE, PLOT_FILE, JSON_FILE = "report.html", "report.svg", "report.json"
_WIDTH, _LEFT, _BAR, _STEPS = 720, 60, 28, 180
_INKS = {"A": "#1f6fb4", "B": "#d9661f"}
_STYLE = """
table{border-collapse:collapse;margin:6px 0 14px}td,th{text-align:left;vertical-align:top;
padding:3px 14px 3px 0;border-bottom:1px solid #e4e4e0}th{font-weight:600;color:#6b6b66}
svg{display:block;max-width:100%}figure{display:inline-block;margin:0 12px 12px 0}
figcaption{color:#6b6b66}.failed{color:#b0413e}video{max-width:100%}
"""


def check_folder(folder: Path) -> None:
    """Raise OutputError where the report's page would replace a file of something else."""
    path = folder / PAGE_FILE
    if path.exists() and not is_made_by(path, COMMAND):
        raise OutputError(
            f"{path} exists already and is not a page of `armlet {COMMAND}`; choose another folder "
            "with --output"
        )
    for name in (PAGE_FILE, PLOT_FILE, JSON_FILE):
        other = folder / name
        # The page is written first: beside none, what is there is somebody else's.
        if other.is_symlink() or (other.exists() and not path.exists()):
            raise OutputError(
                f"{other} exists already and was not written by `armlet {COMMAND}`; choose another "
                "folder with --output"
            )


def write(report: Report, folder: Path) -> None:
    """Write page, plot and JSON. Raises OSError."""
    drawn = plot(report)
    replace_file(folder / PAGE_FILE, html(report, drawn, folder).encode())
    replace_file(folder / JSON_FILE, f"{printable_json(report.to_json())}\n".encode())
    replace_file(folder / PLOT_FILE, drawn.encode())


def html(report: Report, drawn: str, folder: Path) -> str:
    """The page. folder: in which the sides' folders, with their videos, are."""
    parts = []
    if report.comparison is not None:
        parts.append(f"<p><b>{safe(report.comparison.verdict)}</b></p>")
    parts.append(_table(columns(report), rows(report)))
    parts.append(
        "<p>Times, paths and smoothness are those of successful trials: median (lower to upper "
        "quartile). Smoothness is the spectral arc length of the joints' speed; nearer to 0 is "
        "smoother.</p>"
    )
    parts.append(drawn)
    for side in report.sides:
        parts += [_trials(side), _videos(side, folder)]
    return page(report.title, COMMAND, "\n".join(parts), _STYLE)


def _table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    top = "".join(f"<th>{safe(cell.removesuffix('>'))}</th>" for cell in head)
    body = "".join(
        f"<tr>{''.join(f'<td>{safe(cell)}</td>' for cell in line)}</tr>" for line in lines
    )
    return f"<table><tr>{top}</tr>{body}</table>"


def _trials(side: Side) -> str:
    head = (
        "seed",
        "success",
        "time (s)",
        "error at the end (m)",
        "path (m)",
        "path (rad)",
        "smoothness",
    )
    lines = [
        (
            str(trial.seed),
            "yes" if trial.success else "no",
            _number(trial.time_s, 2),
            _number(trial.final, 4),
            _number(trial.path_m, 3),
            _number(trial.path_rad, 2),
            _number(trial.smoothness, 2),
        )
        for trial in side.trials
    ]
    return f"<h2>Trials of {side.name}</h2>{_table(head, lines)}"


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _videos(side: Side, folder: Path) -> str:
    shown = [trial for trial in side.trials if trial.video]
    figures = [
        f"<figure><video controls preload='none' width='512' "
        f"src='{quote(f'{side.name}/{trial.video}')}'></video><figcaption>seed {trial.seed}, "
        f"{'success' if trial.success else 'failure'}</figcaption></figure>"
        for trial in shown
        if (folder / side.name / trial.video).is_file()
    ]
    return f"<h2>Videos of {side.name}</h2>{''.join(figures)}" if figures else ""


# --- the plot -----------------------------------------------------------------------------------


def plot(report: Report) -> str:
    """Rates with their intervals, and the share of trials that had succeeded by a time."""
    top = 30
    parts = [_text(0, 16, "success rate, with its interval")]
    for at, side in enumerate(report.sides):
        parts.append(_rate(side, top + at * _BAR))
    below = top + len(report.sides) * _BAR + 34
    parts.append(_text(0, below, "share of trials that had succeeded, by time (s)"))
    longest_s = max([1.0, *(side.plan.limit_s for side in report.sides), *_times(report.sides)])
    parts += _axes(below + 12, longest_s)
    parts += [_steps(side, below + 12, longest_s) for side in report.sides]
    height = below + 12 + _STEPS + 24
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {_WIDTH} {height}' "
        f"width='{_WIDTH}' font-family='system-ui,sans-serif' font-size='12' fill='#282828'>"
        f"{''.join(parts)}</svg>\n"
    )


def _times(sides: Sequence[Side]) -> list[float]:
    return [trial.time_s or 0.0 for side in sides for trial in side.trials]


def _x(share: float) -> float:
    return round(_LEFT + share * (_WIDTH - _LEFT - 10), 2)


def _text(x: float, y: float, text: str) -> str:
    return f"<text x='{x}' y='{y}'>{safe(text)}</text>"


def _line(x1: float, y1: float, x2: float, y2: float, ink: str, width: float) -> str:
    return f"<line x1='{x1}' y1='{y1}' x2='{x2}' y2='{y2}' stroke='{ink}' stroke-width='{width}'/>"


def _rate(side: Side, y: int) -> str:
    """A bar with whiskers of the interval."""
    ink, middle = _INKS[side.name], y + 8
    low, high = _x(side.interval.low), _x(side.interval.high)
    said = f"{side.name} {side.rate:.0%}"
    return (
        _text(0, y + 12, said)
        + f"<rect x='{_LEFT}' y='{y}' width='{round(_x(side.rate) - _LEFT, 2)}' height='16' "
        f"fill='{ink}' fill-opacity='0.35'/>"
        + _line(low, middle, high, middle, ink, 2)
        + _line(low, y + 3, low, y + 13, ink, 2)
        + _line(high, y + 3, high, y + 13, ink, 2)
    )


def _axes(y: int, longest_s: float) -> list[str]:
    lines = []
    for share in (0.0, 0.5, 1.0):
        at = y + _STEPS * (1 - share)
        lines.append(_line(_LEFT, at, _x(1.0), at, "#e4e4e0", 1))
        lines.append(_text(_LEFT - 40, at + 4, f"{share:.0%}"))
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        lines.append(_text(_x(share) - 8, y + _STEPS + 16, f"{share * longest_s:.1f}"))
    return lines


def _steps(side: Side, y: int, longest_s: float) -> str:
    """How the share of successes grows with time."""
    times = sorted(trial.time_s for trial in side.succeeded if trial.time_s is not None)
    share, points = 0.0, [(_x(0.0), float(y + _STEPS))]
    for count, time_s in enumerate(times, 1):
        x = _x(time_s / longest_s)
        points.append((x, round(y + _STEPS * (1 - share), 2)))
        share = count / len(side.trials)
        points.append((x, round(y + _STEPS * (1 - share), 2)))
    points.append((_x(1.0), round(y + _STEPS * (1 - share), 2)))
    drawn = " ".join(f"{x},{at}" for x, at in points)
    ink = _INKS[side.name]
    return f"<polyline points='{drawn}' fill='none' stroke='{ink}' stroke-width='1.6'/>"
