"""Are a policy's actions the recorded ones: not with another sign, at another scale, shifted?

A network whose head was negated or scaled follows what it sees as well as before: its answers
spread, and no file is odd. Recorded actions show it, joint by joint. Of all steps of the chunks, in
standard deviations of the training's actions, with answers p and recorded actions a:

- the correlation r of p and a. Answers that explain anything have r > 0. Below 0 holding the mean
  action would be nearer, so a clearly negative one is a joint that goes the wrong way;
- the spread of p over that of a. What predicts the mean of what may follow spreads r times as much
  as a, and what draws one of the possible futures as much as a: r to 1. A scale has to be so far
  outside of that as no such policy is, to be called one;
- the mean of p - a, where p follows a closely otherwise.

The scale and the shift of a policy that explains little cannot be told from its errors: of joints
whose r is low nothing but the sign is said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from armlet.findings import Code, Finding, Severity

from .feature_stats import Floats
from .limits import Limits

# Correlation from which a joint's answers follow the recorded actions closely.
_FOLLOWS = 0.7
# The same of answers that spread next to nothing: those of random weights are like much by chance.
_EXACTLY = 0.95
_RESTORE = "restore model.safetensors and the statistics beside it from the training run"


@dataclass(frozen=True)
class Likeness:
    """A joint's answers beside its recorded actions; see the module's text.

    offset: mean of answers less recorded actions, in training std. share: the part of the answers'
    mean squared error that the offset makes up.
    """

    correlation: float
    spread: float
    offset: float
    share: float

    @classmethod
    def of(cls, answers: Floats, recorded: Floats) -> Likeness:
        """answers and recorded (N, C) of one joint; recorded is NaN behind an episode's end."""
        there = ~np.isnan(recorded)
        own, theirs = answers[there], recorded[there]
        spreads = own.std(), max(float(theirs.std()), 1e-9)
        common = float(((own - own.mean()) * (theirs - theirs.mean())).mean())
        offset = float((own - theirs).mean())
        return cls(
            correlation=common / max(float(spreads[0]) * spreads[1], 1e-12),
            spread=float(spreads[0]) / spreads[1],
            offset=offset,
            share=offset**2 / max(float(((own - theirs) ** 2).mean()), 1e-12),
        )


def likeness_findings(
    item: str,
    joints: Sequence[int],
    answers: Floats,
    recorded: Floats,
    names: Sequence[str],
    limits: Limits,
    trained: bool,
) -> Iterator[Finding]:
    """A line each for joints with another sign, another scale or another middle than recorded.

    joints: those that moved. answers, recorded (N, C, n) in training std. trained: whether the
    policy was trained on this dataset: what it does on another one is no error of its files.
    """
    found: dict[Code, list[str]] = {}
    for joint in joints:
        like = Likeness.of(answers[..., joint], recorded[..., joint])
        code = _wrong(like, limits)
        if code is not None:
            found.setdefault(code, []).append(f"{names[joint]} {_VALUES[code](like)}")
    severity = Severity.ERROR if trained else Severity.WARNING
    fix = _RESTORE if trained else "give --dataset with the data that it was trained on"
    for code, said in found.items():
        expected, why = _SAID[code]
        why = why.format(limits=limits)
        yield Finding(code, severity, item, expected, ", ".join(said), fix, why)


_VALUES: dict[Code, Callable[[Likeness], str]] = {
    Code.POLICY_ACTIONS_INVERTED: lambda like: f"{like.correlation:+.2f}",
    Code.POLICY_ACTIONS_SCALED: lambda like: f"{like.spread:.2g}",
    Code.POLICY_ACTIONS_SHIFTED: lambda like: f"{like.offset:+.2g}",
}
_SAID = {
    Code.POLICY_ACTIONS_INVERTED: (
        "actions that go where the recorded ones go, a correlation above 0",
        "below -{limits.inverted:g} a joint goes the other way: holding the mean action is nearer",
    ),
    Code.POLICY_ACTIONS_SCALED: (
        "actions that spread as much as the recorded ones, 1",
        "they follow the recorded ones closely, and spread more than {limits.scaled:g} times as "
        "much, or less than 1 / {limits.scaled:g}",
    ),
    Code.POLICY_ACTIONS_SHIFTED: (
        "actions around the recorded ones, 0 training std off",
        "they follow the recorded ones closely, and are off by more than {limits.shifted:g} "
        "everywhere",
    ),
}


def _wrong(like: Likeness, limits: Limits) -> Code | None:
    if like.spread < limits.faint and abs(like.correlation) < _EXACTLY:
        return None  # hardly trained, which the line about the spread says
    if like.correlation < -limits.inverted:
        return Code.POLICY_ACTIONS_INVERTED
    if like.correlation < _FOLLOWS:
        return None
    if not like.correlation / limits.scaled <= like.spread <= limits.scaled:
        return Code.POLICY_ACTIONS_SCALED
    if abs(like.offset) > limits.shifted and like.share > _FOLLOWS:
        return Code.POLICY_ACTIONS_SHIFTED
    return None
