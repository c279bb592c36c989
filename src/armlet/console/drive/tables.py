"""What a policy says of itself, as HTML. Every text from outside is escaped. Knows no library."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING

from armlet.client.driving import DriftLine, Driving, Fitness, Who
from armlet.client.sight import Sight
from armlet.console import tables
from armlet.console.words import Words
from armlet.findings import Finding, Severity, text

from .checkpoints import Facts, Listed
from .fits import Fit, Standing

if TYPE_CHECKING:
    from armlet.client.recording import Line

_LONGEST, _MOST_LINES = 1200, 200
_MARKS = {"good": "✓", "attention": "!", "bad": "✗"}
_LEVELS = {Severity.ERROR: "bad", Severity.WARNING: "attention"}
_FITNESS = {Fitness.MAY_RUN: "good", Fitness.REFUSED: "bad", Fitness.UNDECIDED: "attention"}
_STANDINGS = {Standing.FITS: "good", Standing.REFUSED: "bad", Standing.FAILED: "bad"}
_SHAPES = {"sigma": "{:.1f} σ", "outside": "{:.0%}", "divergence": "{:.2g}", "lag": "{:.2f} s"}
_TIMES = ("inference_s", "inference_p50_s", "inference_p99_s", "chunk_overlap_s", "starved_s")


def policy(driving: Driving, say: Words) -> str:
    """What it is, what it does, whether it may run."""
    if not driving.node:
        return _line("attention", say("drive.no_policy"))
    said = driving.said or driving.state
    level = driving.level
    if driving.silent:
        level, said = "bad", say("drive.silent", said=said)
    may = driving.fitness
    return (
        _line(level, f"{driving.node}: {said}")
        + _line(_FITNESS[may], say(f"drive.fitness.{may}"))
        + _facts(_policy_facts(driving, say))
    )


def commanders(driving: Driving, say: Words) -> str:
    """Who commands each arm, and whether a person has taken it."""
    if not driving.commands:
        return _line("attention", say("live.no_arm"))
    rows = [_plain(f"{c.arm}: {say(f'drive.who.{c.who}')}", c.who) for c in driving.commands]
    rows += [
        _plain(say(f"drive.{'engaged' if engaged else 'disengaged'}", who=name), "")
        for name, engaged in driving.persons
    ]
    return "".join(rows)


def answers(lines: Sequence[Line], stopping: str) -> str:
    """What was answered to what people asked, the newest last."""
    said = "".join(_line(line.level, f"{line.subject}: {line.said}") for line in lines)
    return said + (_line("bad", stopping) if stopping else "")


def fit(findings: Sequence[Finding], say: Words) -> str:
    """The lines of `armlet policy check`."""
    if not findings:
        return _line("attention", say("drive.no_fit"))
    return lines_of(findings)


def lines_of(findings: Sequence[Finding]) -> str:
    """Every finding in its line, as a terminal shows it."""
    items = "".join(
        f'<li data-level="{_LEVELS.get(one.severity, "good")}"><code>{_text(text(one))}</code></li>'
        for one in findings[:_MOST_LINES]
    )
    more = f"<li>… {len(findings) - _MOST_LINES}</li>" if len(findings) > _MOST_LINES else ""
    return f'<ul class="armlet-fit">{items}{more}</ul>'


def latency(driving: Driving, say: Words) -> str:
    """How long a chunk takes, beside how long one lasts: its budget."""
    took, covers = driving.latency.get("observation_to_chunk_s"), driving.covers_s
    said = ""
    if took is not None and covers:
        share = took / covers
        level = "good" if share < 0.5 else "attention" if share < 1 else "bad"
        words = say(
            "drive.budget", took=f"{took:.2f}", covers=f"{covers:.2f}", share=f"{share:.0%}"
        )
        said = _line(level, words)
        said += (
            f'<meter min="0" max="1" low="0.5" high="0.99" optimum="0" '
            f'value="{min(share, 1):.2f}" aria-label="{escape(words)}"></meter>'
        )
    rows = [
        (say(f"drive.time.{name}"), f"{driving.latency[name]:.3f} s")
        for name in _TIMES
        if name in driving.latency
    ]
    rows += [(say(f"drive.count.{name}"), count) for name, count in driving.counts.items()]
    inferred = driving.counts.get("chunks", "0") != "0"
    return (
        (said + _facts(rows)) if rows and inferred else _line("attention", say("drive.no_latency"))
    )


def drift(driving: Driving, say: Words) -> str:
    """Every feature beside its training."""
    if not driving.drift:
        return _line("attention", say("drive.no_drift"))
    rows = [(one.feature, _drift(one, say)) for one in driving.drift]
    return _line(driving.drift_level, driving.drift_said) + _facts(rows)


def troubles(driving: Driving, say: Words) -> str:
    """What is wrong with it, by code, with its fix."""
    return tables.troubles(Sight(troubles=driving.troubles), say)


def summary(one: Listed, found: Fit | None, say: Words) -> str:
    """A checkpoint in one line, and whether it fits."""
    standing = "unchecked" if found is None else str(found.standing)
    level = "attention" if found is None else _STANDINGS.get(found.standing, "attention")
    if one.problem:
        level, standing = "bad", "failed"
    return _line(level, f"{one.name} — {say(f'drive.standing.{standing}')}")


def checkpoint(one: Listed, found: Fit | None, say: Words) -> str:
    """What a checkpoint says of itself, and every line of its check."""
    if one.problem:
        return _line("bad", one.problem)
    said = _facts(_checkpoint_facts(one.facts, say))
    if found is None:
        return said + _line("attention", say("drive.unchecked"))
    if found.standing is Standing.FAILED:
        return said + _line("bad", say("drive.check_failed", why=found.error))
    if not found.is_over:
        return said + _line("attention", say(f"drive.standing.{found.standing}"))
    level = _STANDINGS[found.standing]
    verdict = _line(level, say(f"drive.verdict.{found.standing}"))
    run = f"armlet up policy checkpoint:={one.path}"
    how = say("drive.how_to_run") if found.standing is Standing.FITS else ""
    hint = f"<p>{_text(how)} <code>{_text(run)}</code></p>" if how else ""
    return said + verdict + lines_of(found.findings) + hint


def _policy_facts(driving: Driving, say: Words) -> list[tuple[str, str]]:
    made = driving.provenance
    rows = [(say("drive.strategy"), driving.strategy)] if driving.strategy else []
    if made is None:
        return rows
    return [
        (say("drive.checkpoint"), f"{made.name} ({made.policy}, SHA-256 {made.checkpoint[:12]}…)"),
        *rows,
        (say("drive.computes"), f"{made.backend} · {made.precision} · {made.device}"),
    ]


def _checkpoint_facts(facts: Facts, say: Words) -> list[tuple[str, str]]:
    cameras = ", ".join(f"{name} {width}x{height}" for name, width, height in facts.cameras)
    actions = "" if facts.chunk_size is None else f"{facts.chunk_size}"
    if facts.action_steps is not None:
        actions += say("drive.of_which", steps=facts.action_steps)
    rows = (
        ("kind", facts.policy),
        ("cameras", cameras),
        ("actions", actions),
        ("rate", "" if facts.fps is None else f"{facts.fps} fps"),
        ("joints", ", ".join(facts.joints)),
        ("units", facts.joint_units),
        ("tasks", "; ".join(facts.tasks)),
        ("datasets", ", ".join(facts.datasets)),
        ("base", facts.base),
        ("contract", facts.contract[:12]),
    )
    return [(say(f"drive.fact.{name}"), value or say("drive.not_stated")) for name, value in rows]


def _drift(one: DriftLine, say: Words) -> str:
    value = _SHAPES[one.kind].format(one.value)
    trained = "" if one.trained is None else say("drive.trained", value=f"{one.trained:.2f} s")
    return f"{say(f'drive.drift.{one.kind}', value=value)}{trained}"


def _facts(rows: Iterable[tuple[str, str]]) -> str:
    inner = "".join(f"<dt>{_text(name)}</dt><dd>{_text(value)}</dd>" for name, value in rows)
    return f"<dl>{inner}</dl>" if inner else ""


def _line(level: str, said: str) -> str:
    known = level if level in _MARKS else "bad"
    return f'<p class="armlet-line" data-level="{known}">{_MARKS[known]} {_text(said)}</p>'


def _plain(said: str, who: str) -> str:
    strong = ("<b>", "</b>") if who in (Who.PERSON, Who.POLICY) else ("", "")
    return f'<p class="armlet-line">{strong[0]}{_text(said)}{strong[1]}</p>'


def _text(value: object) -> str:
    return escape(str(value)[:_LONGEST])
