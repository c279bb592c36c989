"""What an evaluation means: findings, a table, and JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from armlet.findings import Code, Finding, Severity, as_json

from .errors import Errors
from .evaluate import MEAN, STAY, A, B, Evaluation
from .pairs import LEAST_EPISODES, Pairs

BASELINE_NAMES = {STAY: "holding still", MEAN: "the mean action of the training data"}
_ABSURD = 1e6
_TRAIN = "train for longer, or check dataset and statistics: armlet policy check"


def findings(found: Evaluation, limits: Mapping[str, float]) -> Iterator[Finding]:
    """What is wrong with a policy, and which of two is better.

    limits: by joint, the largest mean absolute error of A, dataset units; see `limits_of`.
    """
    for predictor in (A, B):
        if predictor in found.errors:
            yield _beside_baselines(found, predictor)
    yield from _above_limits(found, limits)
    pairs = found.pairs()
    if pairs is not None:
        yield _compared(pairs)


def limits_of(joints: Sequence[str], asked: Sequence[tuple[str, float]]) -> dict[str, float]:
    """The limit of each joint: "" stands for all of them, and what names a joint goes before.

    Raises ValueError for a joint that is not there.
    """
    bare = {name.removesuffix(".pos"): name for name in joints}
    limits: dict[str, float] = {}
    for name, value in sorted(asked, key=lambda one: one[0] != ""):
        if name and name.removesuffix(".pos") not in bare:
            raise ValueError(f"--limit: no joint {name!r}; there are {', '.join(bare)}")
        named = [bare[name.removesuffix(".pos")]] if name else list(joints)
        limits |= dict.fromkeys(named, value)
    return limits


def _beside_baselines(found: Evaluation, predictor: str) -> Finding:
    subject = f"policy {predictor} beside baselines"
    score = found.score(predictor)
    scores = {name: found.score(name) for name in found.baselines}
    best = min(scores, key=lambda name: scores[name])
    said = ", ".join(f"{BASELINE_NAMES[name]} {value:.3g}" for name, value in scores.items())
    code = Code.POLICY_NO_BETTER_THAN_BASELINE
    mine = f"{score:.3g} standard deviations"
    if score >= scores[best]:
        expected = f"a mean error below that of {BASELINE_NAMES[best]}, {scores[best]:.3g}"
        return Finding(code, Severity.WARNING, subject, expected, mine, _TRAIN, said)
    because = f"{said}; {score / scores[best]:.0%} of the best of them"
    return Finding(code, Severity.OK, subject, found=f"mean error {mine}", because=because)


def _above_limits(found: Evaluation, limits: Mapping[str, float]) -> Iterator[Finding]:
    for joint, mean in zip(found.joints, found.errors[A].mean.tolist(), strict=True):
        if joint in limits:
            above = mean > limits[joint]
            yield Finding(
                Code.POLICY_ERROR_ABOVE_LIMIT,
                Severity.ERROR if above else Severity.OK,
                f"mean error of {joint.removesuffix('.pos')}",
                f"at most {limits[joint]:g}",
                f"{mean:.3g}",
                "train again, or take the policy of before",
            )


def _compared(pairs: Pairs) -> Finding:
    count = len(pairs.differences)
    because = (
        f"mean difference of {pairs.mean:+.3g} standard deviations, p {pairs.p:.2g} by sign flips "
        f"of {count} episodes"
    )
    said = f"A is nearer in {pairs.wins} of {count} episodes"
    if pairs.better:
        said = f"{pairs.better} is better: {said}"
    elif count < LEAST_EPISODES:
        said += f"; fewer than {LEAST_EPISODES} episodes decide nothing"
    else:
        said += "; chance explains the difference"
    return Finding(Code.POLICY_COMPARED, Severity.NOTE, "A beside B", found=said, because=because)


# --- the table ------------------------------------------------------------------------------------


def columns(found: Evaluation) -> list[str]:
    """Of the table: joint, unit, errors of A, also at three steps, and those of the others."""
    steps = [f"A at {step / found.fps:.2f} s>" for step in shown_steps(found)]
    others = [f"{name}>" for name in found.errors if name != A]
    others += ["A - B>", "p>"] if B in found.errors else []
    return ["joint", "unit", "A>", "A rms>", "A bias>", *steps, *others]


def rows(found: Evaluation) -> list[list[str]]:
    """A row of the table for each joint."""
    mine, pairs = found.errors[A], found.joint_pairs()
    table = []
    for i, joint in enumerate(found.joints):
        steps = [mine.by_step[step, i] for step in shown_steps(found)]
        others = [e.mean[i] for name, e in found.errors.items() if name != A]
        numbers = [mine.mean[i], mine.rms[i], mine.bias[i], *steps, *others]
        unit = found.units.get(joint, "dataset units")
        signed = {2}
        cells = [_cell(v, at in signed) for at, v in enumerate(numbers)]
        if pairs:
            cells += [_cell(pairs[i].mean, signed=True), f"{pairs[i].p:.2g}"]
        table.append([joint.removesuffix(".pos"), unit, *cells])
    return table


def _cell(value: float, signed: bool) -> str:
    """Hundredths of a unit; of what no arm can mean, as damaged weights give it, the magnitude."""
    sign, digits = "+" if signed else "", ".2f" if abs(value) < _ABSURD else ".3g"
    return format(value, sign + digits)


def shown_steps(found: Evaluation) -> list[int]:
    """First, middle and last step that some episode reaches."""
    last = int(np.flatnonzero(found.errors[A].count)[-1])
    return list(dict.fromkeys((0, last // 2, last)))


# --- JSON -----------------------------------------------------------------------------------------


def to_json(found: Evaluation, judged: Sequence[Finding]) -> dict[str, Any]:
    """What `armlet policy evaluate --json` prints; null stands for steps no episode reaches."""
    pairs = found.pairs()
    return {
        "ok": all(finding.ok for finding in judged),
        "fps": found.fps,
        "episodes": list(found.episodes),
        "chunks": found.chunks,
        "horizon": found.horizon,
        "joints": list(found.joints),
        "units": [found.units.get(joint) for joint in found.joints],
        "spread": found.spread.tolist(),
        "predictors": {
            name: _errors_json(found, name, errors) for name, errors in found.errors.items()
        },
        "comparison": None
        if pairs is None
        else {**_pairs_json(pairs), "joints": list(map(_pairs_json, found.joint_pairs()))},
        "findings": [as_json(finding) for finding in judged],
    }


def _pairs_json(pairs: Pairs) -> dict[str, Any]:
    return {
        "differences": list(pairs.differences),
        "mean": pairs.mean,
        "nearer": pairs.wins,
        "p": pairs.p,
        "better": pairs.better or None,
    }


def _errors_json(found: Evaluation, name: str, errors: Errors) -> dict[str, Any]:
    by_step = [
        None if np.isnan(row).any() else [float(value) for value in row] for row in errors.by_step
    ]
    return {
        "score": found.score(name),
        "mean": errors.mean.tolist(),
        "rms": errors.rms.tolist(),
        "bias": errors.bias.tolist(),
        "by_step": by_step,
        "count": errors.count.tolist(),
        "by_episode": {str(k): v.tolist() for k, v in errors.by_episode.items()},
        "score_by_episode": dict(zip(map(str, found.episodes), found.scores(name), strict=True)),
    }
