"""A dataset's score card: what `check` found and what is in the dataset, as one HTML page.

The page is the same for the same dataset: no time of day, no number drawn by chance. It needs no
other file; plots are SVG in the page, pictures JPEG in it.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from armlet.contract import Contract
from armlet.files import OutputError, check_output_file, printable, replace_file
from armlet.findings import Code, Finding, Severity
from armlet.findings.render import summary

from .check.quality import Review, check_name
from .format import layout, stats, tables
from .format.errors import DatasetError
from .format.layout import Feature
from .format.provenance import rows_by_commander
from .page import image, is_made_by, page, safe
from .reader import Dataset

_COMMAND = "dataset check"
_ENDINGS = (".html", ".htm")
_STRUCTURE, _OF_FILES, _OF_VIDEOS = "structure", "files and rows", "videos"
# What was judged, by the names of the checks; pictures only where videos were decoded.
_AREAS = {
    _OF_FILES: (_STRUCTURE, "empty"),
    "episodes and tasks": ("short", "task"),
    "units": ("units",),
    "motion": ("constant", "outlier", "jump", "lag"),
    "timing": ("skew", "reused"),
    "statistics": ("statistics", "std"),
    "brightness": ("picture",),
    _OF_VIDEOS: (_OF_VIDEOS, "frozen", "grid", "damaged"),
}
# What values of a unit can be, in the dataset's units.
_LIMITS = {
    "degrees": (-180.0, 180.0),
    "range_m100_100": (-100.0, 100.0),
    "range_0_100": (0.0, 100.0),
}
_ELEMENTS, _TASKS, _BARS, _THUMB_WIDTH, _QUALITY = 64, 100, 240, 240, 80
Columns = dict[str, list[NDArray[Any]]]
"""By feature, the values (L, n) of every episode."""
_STYLE = """
table{border-collapse:collapse;margin:6px 0 14px}td,th{text-align:left;vertical-align:top;
padding:3px 14px 3px 0;border-bottom:1px solid #e4e4e0}th{font-weight:600;color:#6b6b66}
td.n{text-align:right;font-variant-numeric:tabular-nums}code{background:#f2f2ef;padding:1px 4px;
border-radius:3px}h3{font-size:15px;margin:22px 0 2px}svg{display:block}figure{display:inline-block;
margin:0 12px 0 0}figcaption{color:#6b6b66}ul.areas{list-style:none;padding:0;display:flex;
flex-wrap:wrap;gap:10px}ul.areas li{border:1px solid #e4e4e0;border-left-width:6px;
border-radius:4px;padding:6px 12px}li.ok{border-left-color:#3a8f4d!important}
li.warning{border-left-color:#d9a01f!important}li.error{border-left-color:#b0413e!important}
.error{color:#b0413e}.warning{color:#8a6400}td{overflow-wrap:anywhere}
"""
_INK = {"person": "#1f6fb4", "policy": "#d9661f", "trajectory": "#8d5bb0", "hold": "#8a8a86"}
_SUCCESS = {"success": "#3a8f4d", "failure": "#b0413e"}
_FAINT = "#c9c9c3"


def check_path(path: Path) -> None:
    """Raise OutputError, before the work, unless a score card can be written to this file.

    Only a score card of an earlier time is written over.
    """
    if path.suffix.lower() not in _ENDINGS:
        raise OutputError(f"{printable(path)}: expected a name that ends with .html; name another")
    check_output_file(path)
    if path.exists() and not is_made_by(path, _COMMAND):
        raise OutputError(
            f"{printable(path)} exists already and is not a page of `armlet {_COMMAND}`; name "
            "another file"
        )


def write(root: Path, found: Review, path: Path) -> None:
    """Write the score card of a dataset that was reviewed, whole or not at all. Raises OSError."""
    content = score_card(root, found).encode()
    check_path(path)
    replace_file(path, content)


def score_card(root: Path, found: Review) -> str:
    """The page. What of the dataset cannot be read is named in it."""
    parts = [_verdict(found), _areas(found)]
    try:
        dataset = Dataset(root)
        contract = _contract(dataset)
        parts.append(_described(dataset, contract))
    except DatasetError as error:
        return _page(root, [*parts, _bad(error), _findings(found)])
    parts.append(_findings(found))
    try:
        columns = _read(dataset)
    except DatasetError as error:
        parts += [_episodes(dataset, {}), f"<h2>Values</h2>{_bad(error)}"]
    else:
        parts += [_episodes(dataset, columns), _values(dataset, contract, columns)]
        parts.append(_times(dataset, contract, columns, found))
    if dataset.info.cameras or dataset.info.depth_streams:
        parts.append(_cameras(dataset, found.videos))
    return _page(root, parts)


def _page(root: Path, parts: Sequence[str]) -> str:
    return page(root.absolute().name, _COMMAND, "\n".join(parts), _STYLE)


def _contract(dataset: Dataset) -> Contract | None:
    try:
        return dataset.contract
    except DatasetError:
        return None  # is among the findings


def _bad(error: object) -> str:
    return f"<p class='bad'>{safe(error, 1000)}</p>"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Cells are HTML already."""
    top = "".join(f"<th>{cell}</th>" for cell in head)
    lines = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><tr>{top}</tr>{lines}</table>"


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


# --- the verdict --------------------------------------------------------------------------------


def _verdict(found: Review) -> str:
    said = f"{_counted(found.errors, 'error')}, {_counted(found.warnings, 'warning')}"
    if found.errors:
        text, kind = f"Not fit to train on: {said}.", "error"
    elif found.warnings:
        text, kind = f"Fit to train on: {said}.", "warning"
    else:
        text, kind = "Fit to train on: nothing wrong was found.", ""
    if not found.videos:
        text += " Pictures were not looked at."
    return f"<p class='{kind}'>{text}</p>"


def _areas(found: Review) -> str:
    items = []
    for area, checks in _AREAS.items():
        own = [one for one in found.findings if _check_of(one, found) in checks]
        errors = sum(one.severity is Severity.ERROR for one in own)
        warnings = sum(one.severity is Severity.WARNING for one in own)
        kind = "error" if errors else "warning" if warnings else "ok"
        said = ", ".join(
            _counted(number, what)
            for number, what in ((errors, "error"), (warnings, "warning"))
            if number
        )
        looked = area == _OF_FILES or (found.videos if area == _OF_VIDEOS else found.values)
        if not said and not looked:
            kind, said = "", "not looked at"
        items.append(f"<li class='{kind}'>{area}<br>{said or 'nothing wrong'}</li>")
    return f"<ul class='areas'>{''.join(items)}</ul>"


def _check_of(one: Finding, found: Review) -> str:
    """The name of the check, but what is wrong with video files is of the videos."""
    of_video = str(one.code).startswith("dataset.video-") or (
        one.code is Code.DATASET_FILE_MISSING and found.values
    )
    name = check_name(one)
    return _OF_VIDEOS if of_video and name == _STRUCTURE else name


# --- findings -----------------------------------------------------------------------------------


def _findings(found: Review) -> str:
    if not found.findings:
        return "<h2>Findings</h2><p>None.</p>"
    parts = ["<h2>Findings</h2>"]
    ordered = sorted(
        found.findings, key=lambda one: (-one.severity.rank, str(one.code), one.subject)
    )
    for (severity, code), group in groupby(ordered, key=lambda one: (one.severity, one.code)):
        own = list(group)
        parts.append(
            f"<h3 id='{severity}-{code}'><span class='{severity}'>{severity}</span> "
            f"<code>{code}</code> {safe(code.meaning)}</h3><p>Usual cause: {_commands(code.cause)}"
            "</p>" + _table(("where", "what was found", "what helps"), map(_finding, own))
        )
    return "\n".join(parts)


def _finding(one: Finding) -> tuple[str, str, str]:
    return (
        safe(one.subject or "the dataset"),
        safe(summary(one), 2000),
        _commands(one.fix or one.code.remedy),
    )


def _commands(text: str) -> str:
    """Text with the commands in it, between backticks, shown as such."""
    return re.sub("`([^`]+)`", r"<code>\1</code>", safe(text, 2000))


# --- what the dataset is ------------------------------------------------------------------------


def _described(dataset: Dataset, contract: Contract | None) -> str:
    info = dataset.info
    minutes, seconds = divmod(info.total_frames / info.fps, 60)
    tasks = [safe(task) for task in dataset.tasks[:_TASKS]]
    if (more := len(dataset.tasks) - _TASKS) > 0:
        tasks.append(f"and {more:,} more")
    lines = {
        "format": f"LeRobot {safe(info.version)}",
        "robot": safe(info.robot_type or "not stated"),
        "rate": f"{info.fps} rows per second",
        "episodes": f"{info.total_episodes:,}",
        "rows": f"{info.total_frames:,} ({minutes:.0f} min {seconds:.1f} s)",
        "tasks": "<br>".join(tasks) or "none",
        "contract": f"<code>{contract.signature()}</code>" if contract else "none",
    }
    facts = _table(("", ""), list(lines.items()))
    units = contract.units_by_name() if contract else {}
    rows = [_feature(key, feature, units) for key, feature in info.features.items()]
    head = ("feature", "dtype", "shape", "elements", "unit", "codec")
    return f"<h2>The dataset</h2>{facts}{_table(head, rows)}"


def _feature(key: str, feature: Feature, units: dict[str, str]) -> tuple[str, ...]:
    names = list(feature.names or ())
    own = list(dict.fromkeys(units[name] for name in names if name in units))
    described = feature.info or {}
    unit = ", ".join(own) or described.get("depth_unit") or ""
    codec = described.get("video.codec") or ("" if not feature.is_picture else "not stated")
    return (
        safe(key),
        safe(feature.dtype),
        "×".join(map(str, feature.shape)),
        safe(", ".join(names), 2000),
        safe(unit) or ("not stated" if key in (layout.STATE, layout.ACTION) else ""),
        safe(codec),
    )


# --- episodes -----------------------------------------------------------------------------------


def _episodes(dataset: Dataset, columns: Columns) -> str:
    if not dataset.episodes:
        return ""
    parts = ["<h2>Episodes</h2>", _lengths([one.duration_s for one in dataset.episodes])]
    try:
        labels = [bool(own[-1, 0]) for own in columns.get(layout.SUCCESS, []) if own.size]
        labels = labels or list(dataset.successes().values())
        noted = dataset.provenances()
    except DatasetError as error:
        return "\n".join([*parts, _bad(error)])
    success = sum(labels)
    by_label = {"success": success, "failure": len(labels) - success}
    if labels:
        by_label["not labelled"] = len(dataset.episodes) - len(labels)
        parts += ["<h3>Labels, episodes</h3>", _shares(by_label, _SUCCESS)]
    if noted:
        said = rows_by_commander(noted.values())
        unknown = sum(one.length for one in dataset.episodes) - sum(said.values())
        said["unknown"] = said.get("unknown", 0) + max(0, unknown)
        parts += ["<h3>Who commanded the rows</h3>", _shares(said, _INK)]
    return "\n".join(parts)


def _lengths(seconds: Sequence[float]) -> str:
    """A bar an episode; of many, a bar for as many in a row, as high as the longest of them."""
    together = -(-len(seconds) // _BARS)
    bars = [seconds[at : at + together] for at in range(0, len(seconds), together)]
    width, high, most = min(24.0, 1000 / len(bars)), 90, max(seconds) or 1.0
    drawn = []
    for at, own in enumerate(bars):
        first, last = at * together, at * together + len(own) - 1
        said = f"episode {first}" if first == last else f"episodes {first} to {last}"
        low, top = min(own), max(own)
        tall = high * top / most
        said += f": {top:.2f} s" if low == top else f": {low:.2f} to {top:.2f} s"
        drawn.append(
            f"<rect x='{at * width:.2f}' y='{high - tall:.2f}' width='{0.85 * width:.2f}' "
            f"height='{tall:.2f}' fill='{_INK['person']}'><title>{said}</title></rect>"
        )
    said = f"; a bar is the longest of {together} episodes" if together > 1 else ""
    shortest, longest, median = min(seconds), max(seconds), np.median(seconds)
    return (
        f"<p>{shortest:.2f} to {longest:.2f} s long, median {median:.2f} s{said}.</p>"
        f"<svg width='1000' height='{high}' role='img' "
        f"aria-label='length of each episode'>{''.join(drawn)}</svg>"
    )


def _shares(counts: dict[str, int], inks: dict[str, str]) -> str:
    """Parts of a whole as one bar, with their numbers below."""
    whole, left, drawn, said = sum(counts.values()) or 1, 0.0, [], []
    for name, count in counts.items():
        if not count:
            continue
        width, ink = 600 * count / whole, inks.get(name, _FAINT)
        drawn.append(
            f"<rect x='{left:.2f}' y='0' width='{width:.2f}' height='16' fill='{ink}'>"
            f"<title>{safe(name)} {count}</title></rect>"
        )
        left += width
        said.append(f"<span style='color:{ink}'>■</span> {safe(name)} {count:,}")
    return f"<svg width='600' height='16'>{''.join(drawn)}</svg><p>{', '.join(said)}</p>"


# --- values and times ---------------------------------------------------------------------------


def _read(dataset: Dataset) -> Columns:
    """Every feature of numbers but the counters; a file is read once. Raises DatasetError."""
    info, rows = dataset.info, tables.read_episodes(dataset.root, stats=False)
    keys = [
        key
        for key, feature in info.features.items()
        if feature.dtype not in layout.NOT_NUMBERS and key not in layout.COUNTERS
    ]
    parts: Columns = {key: [] for key in keys}
    for number, own in groupby(rows[: info.total_episodes], key=lambda row: row.data):
        table = tables.read(
            layout.locate(dataset.root, info.data_path(number)), [*keys, "episode_index"]
        )
        numbers = tables.column(table, "episode_index", tables.COUNTER)
        index = tables.EpisodeIndex(numbers)
        columns = {key: tables.column(table, key, info.features[key]) for key in keys}
        for row in own:
            where = index.rows(row.episode)
            for key, values in columns.items():
                parts[key].append(values.reshape(len(values), -1)[where])
    return parts


def _values(dataset: Dataset, contract: Contract | None, columns: Columns) -> str:
    units = contract.units_by_name() if contract else {}
    features = dataset.info.features
    parts = [
        _ranges(key, features[key], own, units)
        for key, own in columns.items()
        if key not in (layout.STAMP, layout.SKEW)
    ]
    return "\n".join(["<h2>Values</h2>", _LEGEND, *parts])


_LEGEND = (
    "<p>Light: lowest to highest. Dark: the middle 98 of 100. Line: mean. Grey behind: what the "
    "unit allows, where the contract states units.</p>"
)


def _ranges(key: str, feature: Feature, parts: list[NDArray[Any]], units: dict[str, str]) -> str:
    head = f"<h3>{safe(key)}</h3>"
    values = np.concatenate(parts) if parts else np.zeros((0, 1))
    finite = np.isfinite(values).all(axis=1)
    if not finite.any() or not values.shape[1]:
        return f"{head}<p>No values.</p>"
    known = stats.vector_stats(values[finite])
    count = values.shape[1]
    names = list(feature.names or map(str, range(count)))[:_ELEMENTS]
    whole = float(known["min"].min()), float(known["max"].max())
    rows = []
    for at, name in enumerate(names[:count]):
        unit = units.get(name, "")
        low, high, mean, std, q01, q99 = (
            float(known[what][at]) for what in ("min", "max", "mean", "std", "q01", "q99")
        )
        numbers = f"{low:.4g} to {high:.4g}", f"{mean:.4g} ± {std:.3g}", f"{q01:.4g} to {q99:.4g}"
        bar = _bar((low, high), (q01, q99), mean, _LIMITS.get(unit), whole)
        rows.append((safe(name), safe(unit), bar, *numbers))
    notes = []
    if not finite.all():
        notes.append(f"{_counted(int((~finite).sum()), 'row')} with values that are not finite.")
    if (more := count - len(rows)) > 0:
        notes.append(f"And {_counted(more, 'element')} more.")
    columns = ("element", "unit", "range", "lowest to highest", "mean ± std", "1 % to 99 %")
    said = f"<p class='bad'>{' '.join(notes)}</p>" if notes else ""
    return head + said + _table(columns, rows)


def _bar(
    span: tuple[float, float],
    middle: tuple[float, float],
    mean: float,
    limits: tuple[float, float] | None,
    whole: tuple[float, float],
) -> str:
    """A range in an element's unit. whole: the scale, where the unit has no limits."""
    bounds = (*span, *(limits or whole))
    low, high = min(bounds), max(bounds)
    scale = 300 / (high - low) if high > low else 0.0

    def box(part: tuple[float, float], ink: str, y: int, height: int) -> str:
        left, width = (part[0] - low) * scale, (part[1] - part[0]) * scale
        return (
            f"<rect x='{left:.2f}' y='{y}' width='{max(width, 1.0):.2f}' height='{height}' "
            f"fill='{ink}'/>"
        )

    out = limits is not None and (span[0] < limits[0] or span[1] > limits[1])
    light, dark = ("#e3b5b3", _SUCCESS["failure"]) if out else ("#bcd5ea", _INK["person"])
    behind = box(limits, "#efefeb", 0, 16) if limits else ""
    line = f"<rect x='{(mean - low) * scale:.2f}' y='2' width='2' height='12' fill='#282828'/>"
    drawn = behind + box(span, light, 3, 10) + box(middle, dark, 5, 6) + line
    return f"<svg width='304' height='16'>{drawn}</svg>"


def _times(dataset: Dataset, contract: Contract | None, columns: Columns, found: Review) -> str:
    parts = ["<h2>Times</h2>", _rate(columns.get(layout.STAMP, []), dataset.info.fps)]
    if layout.SKEW in columns:
        parts.append(_skews(dataset, contract, columns[layout.SKEW]))
    return "\n".join([*parts, _lags(found), _samples(dataset)])


def _lags(found: Review) -> str:
    lags = [(lag.joint, 1000 * lag.lag_s) for lag in found.lags if lag.lag_s is not None]
    if not lags:
        return ""
    ends = min(0.0, *(lag for _, lag in lags)), max(0.0, *(lag for _, lag in lags))
    rows = []
    for name, lag in lags:
        span = min(0.0, lag), max(0.0, lag)
        rows.append((safe(name), _bar(span, span, lag, None, ends), f"{lag:.0f}"))
    head = ("joint", "", "median over episodes")
    return (
        f"<h3>How long after its action a joint's state does the same, ms</h3>{_table(head, rows)}"
    )


def _rate(stamps: list[NDArray[Any]], fps: int) -> str:
    """Rows per second by their own stamps, and where some are lacking."""
    steps = [np.diff(own.ravel()) * 1e-9 for own in stamps if len(own) > 1]
    if not steps:
        return "<p>Rows have no stamps: times are frame_index / fps, as LeRobot writes them.</p>"
    together = np.concatenate(steps)
    gaps = together > 1.5 / fps
    total_s = float(together.sum())
    rate = f"{len(together) / total_s:.3f}" if total_s > 0 else "no"
    return (
        f"<p>By their stamps {rate} rows per second, {fps} stated; "
        f"{_counted(int(gaps.sum()), 'gap')}, longest step {1000 * float(together.max()):.1f} ms."
        "</p>"
    )


def _skews(dataset: Dataset, contract: Contract | None, parts: list[NDArray[Any]]) -> str:
    names = dataset.info.features[layout.SKEW].names or ()
    tolerances = (
        {one.name: 1000 * one.tolerance_s for one in contract.alignment} if contract else {}
    )
    values = 1000 * np.concatenate(parts).astype(np.float64) if parts else np.zeros((0, 0))
    values = values[np.isfinite(values).all(axis=1)]
    if not len(values):
        return ""
    whole = float(values.min()), float(values.max())
    rows = []
    for at, name in enumerate(names[: values.shape[1]]):
        own, limit = values[:, at], tolerances.get(name)
        low, q01, middle, q99, high = np.quantile(own, (0, 0.01, 0.5, 0.99, 1)).tolist()
        limits = None if limit is None else (-limit, limit)
        bar = _bar((low, high), (q01, q99), middle, limits, whole)
        said = "" if limit is None else f"±{limit:.0f}"
        rows.append((safe(name), bar, f"{low:.1f} to {high:.1f}", f"{middle:.1f}", said))
    head = ("stream", "", "lowest to highest", "median", "tolerance")
    return f"<h3>Stamp of each stream's sample minus the row's, ms</h3>{_table(head, rows)}"


def _samples(dataset: Dataset) -> str:
    """What the aligner counted while the episodes were recorded."""
    counts: dict[str, dict[str, float]] = {}
    try:
        notes = layout.notes_reader(dataset.root)
        for one in dataset.episodes:
            for stream, own in (notes(one.episode).get("ledger") or {}).items():
                total = counts.setdefault(stream, {})
                for what, count in own.items():
                    total[what] = total.get(what, 0) + count
    except DatasetError as error:
        return _bad(error)
    if not counts:
        return ""
    rows = [
        (safe(stream), safe(", ".join(f"{what} {count:g}" for what, count in own.items()), 2000))
        for stream, own in sorted(counts.items())
    ]
    return f"<h3>Samples of each stream</h3>{_table(('stream', 'counted'), rows)}"


# --- pictures -----------------------------------------------------------------------------------


def _cameras(dataset: Dataset, videos: bool) -> str:
    parts = ["<h2>Cameras</h2>"]
    for name, feature in dataset.info.cameras.items():
        height, width = feature.picture_size
        parts.append(f"<h3>{safe(name)}, {width}x{height}</h3>")
        if videos and dataset.episodes:
            parts += [_thumbnail(dataset, name, *place) for place in _shown(dataset)]
        parts.append(_channels(dataset, name))
    names = ", ".join(safe(name) for name in dataset.info.depth_streams)
    if names:
        parts.append(f"<p>Depth streams, kept and not judged: {names}.</p>")
    return "\n".join(parts)


def _shown(dataset: Dataset) -> list[tuple[int, int]]:
    """Episode and row of three pictures: the first, one of the middle, the last."""
    last = len(dataset.episodes) - 1
    middle, end = dataset.episodes[last // 2], dataset.episodes[last]
    places = [(0, 0), (last // 2, middle.length // 2), (last, end.length - 1)]
    return list(dict.fromkeys(places))


def _thumbnail(dataset: Dataset, camera: str, episode: int, row: int) -> str:
    try:
        (pixels,) = dataset.images(episode, camera, [row])
    except DatasetError as error:
        return _bad(error)
    height, width = pixels.shape[:2]
    size = (_THUMB_WIDTH, max(1, round(height * _THUMB_WIDTH / width)))
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    done, content = cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    assert done
    said = f"episode {episode}, row {row}"
    data = f"data:image/jpeg;base64,{base64.b64encode(content.tobytes()).decode()}"
    shown = image(data, f"{camera}, {said}")
    return f"<figure>{shown}<figcaption>{said}</figcaption></figure>"


def _channels(dataset: Dataset, camera: str) -> str:
    """Mean and spread of the colours as the statistics have them."""
    try:
        known = dataset.statistics
    except DatasetError:
        return ""  # is among the findings
    key = next(name for name in (layout.IMAGES + camera, camera) if name in dataset.info.features)
    found = known.get(key, {})
    wanted = [found.get(what, np.zeros(0)) for what in ("min", "max", "mean", "std")]
    if any(values.size != 3 or not np.isfinite(values).all() for values in wanted):
        return "<p>No statistics of its colours are stored.</p>"
    rows = []
    for at, name in enumerate(("red", "green", "blue")):
        low, high, mean, std = (float(values.ravel()[at]) for values in wanted)
        middle = max(low, mean - std), min(high, mean + std)
        bar = _bar((low, high), middle, mean, (0.0, 1.0), (0.0, 1.0))
        rows.append((name, bar, f"{mean:.3f} ± {std:.3f}"))
    head = ("stored statistics", "lowest to highest; dark: mean ± std", "mean ± std")
    return _table(head, rows)
