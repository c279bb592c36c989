"""Are state and action in the units said, of an arm that can move so, and in time?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from armlet.contract import Contract
from armlet.datasets.format import layout
from armlet.findings import Code, Finding, Severity
from armlet.robots.joints import is_gripper

from .rows import Rows, of_episode

# An STS3215 turns at most about 6.3 rad/s (12 V, no load): 360 units/s in degrees, and in the
# range units too, where 200 units are roughly half a turn. A hand on a leader may be quicker.
FASTEST_STATE, FASTEST_ACTION = 450.0, 900.0
# A single sample this far from the middle of its neighbours, and so many times their distance.
SPIKE, SPIKE_RATIO = 8.0, 2.0
# A joint that moves less than this over the whole dataset does not move. Units of the dataset.
STILL = 0.5
# A joint takes part in the lag only where it moves this much in an episode.
MOVING = 5.0
LAG_RANGE_S = (-0.3, 1.0)
LAG_MOST_S = 0.5
# Below this the two do not resemble each other enough for a lag to mean anything.
LAG_CORRELATION = 0.5
# Radians of a joint that turns half a turn either way stay below this.
RADIANS = 3.5


@dataclass(frozen=True)
class JointLag:
    """How long a joint's state follows its action: median over episodes, s; None: unknown."""

    joint: str
    lag_s: float | None
    episodes: int


# --- units --------------------------------------------------------------------------------------


def unit_findings(
    episodes: list[Rows], names: Mapping[str, list[str]], contract: Contract | None
) -> Iterator[Finding]:
    declared = None if contract is None else contract.joint_units
    for key, pick in ((layout.STATE, state_of), (layout.ACTION, action_of)):
        rows = [pick(episode) for episode in episodes if len(pick(episode))]
        if key not in names or not rows or not rows[0].shape[1]:
            continue
        values = np.concatenate(rows)
        found = suspect_units(values, names[key], declared)
        if found:
            yield Finding(
                Code.DATASET_UNITS_WRONG,
                Severity.ERROR,
                key,
                found=found,
                fix=(
                    "correct the recorder's joint_units and calibration, then convert or "
                    "record again"
                ),
            )
    yield from _two_units(episodes, names)


def state_of(episode: Rows) -> NDArray[np.float64]:
    return episode.state


def action_of(episode: Rows) -> NDArray[np.float64]:
    return episode.action


def suspect_units(values: NDArray[np.float64], names: list[str], declared: str | None) -> str:
    """Why values (L, n) cannot be in LeRobot's units, or in those declared; nothing if they can.

    declared: degrees, range_m100_100, or None where the dataset does not say.
    """
    gripper = np.array([is_gripper(name) for name in names])
    low, high = np.nanmin(values, axis=0), np.nanmax(values, axis=0)
    span = high - low
    if not (span > 0).any():
        return ""
    largest = float(max(np.abs(low).max(), np.abs(high).max()))
    if low.min() >= 0 and 300 < largest <= 4095 and (values == np.round(values)).all():
        return f"whole numbers up to {largest:.0f}, like servo ticks"
    body = np.flatnonzero(~gripper)
    if len(body) and largest <= RADIANS and span.max() > 0.05:
        return f"no value beyond {largest:.2f}, like radians"
    for joint in np.flatnonzero(gripper):
        if low[joint] < -1.0 or high[joint] > 101.0:
            return f"{names[joint]} is in {low[joint]:.1f}..{high[joint]:.1f}, expected 0..100"
    if declared == "range_m100_100" and len(body):
        worst = body[int(np.argmax(np.maximum(-low[body], high[body])))]
        if max(-low[worst], high[worst]) > 101.0:
            return (
                f"declared range_m100_100, but {names[worst]} is in "
                f"{low[worst]:.1f}..{high[worst]:.1f}, like degrees"
            )
    if declared == "degrees" and len(body):
        held = np.abs(values[:, body]) == 100.0
        if held.any() and largest <= 100.0:
            worst = body[int(np.argmax(held.sum(axis=0)))]
            return (
                f"declared degrees, but {names[worst]} stops at exactly 100 and nothing goes "
                "beyond, like range_m100_100"
            )
    return ""


def _two_units(episodes: list[Rows], names: Mapping[str, list[str]]) -> Iterator[Finding]:
    """State and action of a follower are alike; a factor between them is a unit between them."""
    if names.get(layout.STATE) != names.get(layout.ACTION) or not episodes:
        return
    state = np.concatenate([episode.state for episode in episodes])
    action = np.concatenate([episode.action for episode in episodes])
    if not len(state) or not state.shape[1]:
        return
    spans = np.stack([np.ptp(state, axis=0), np.ptp(action, axis=0)])
    moving = (spans > 1e-3).all(axis=0)
    if moving.sum() < 2:
        return
    factor = float(np.median(spans[1, moving] / spans[0, moving]))
    if not 1 / 3 < factor < 3:
        yield Finding(
            Code.DATASET_UNITS_MIXED,
            Severity.ERROR,
            "",
            found=f"actions span {factor:.2g} times what states do, as if in another unit",
            fix="convert both through the same calibration and units, and record again",
        )


# --- motion -------------------------------------------------------------------------------------


def motion_findings(
    episodes: list[Rows], fps: int, names: Mapping[str, list[str]]
) -> Iterator[Finding]:
    yield from _still(episodes, names)
    for episode in episodes:
        if layout.STATE in names:
            yield from _jumps(episode, episode.state, fps, names[layout.STATE], "state")
        if layout.ACTION in names:
            yield from _jumps(episode, episode.action, fps, names[layout.ACTION], "action")


def _still(episodes: list[Rows], names: Mapping[str, list[str]]) -> Iterator[Finding]:
    spans = {}
    for key, pick in ((layout.STATE, state_of), (layout.ACTION, action_of)):
        rows = [pick(episode) for episode in episodes if len(pick(episode))]
        if key in names and rows:
            values = np.concatenate(rows)
            spans[key] = np.ptp(values, axis=0) if values.shape[1] else np.zeros(0)
    action = dict(zip(names.get(layout.ACTION, []), spans.get(layout.ACTION, []), strict=False))
    for name, span in zip(names.get(layout.STATE, []), spans.get(layout.STATE, []), strict=False):
        commanded = action.get(name, 0.0)
        if span < STILL <= MOVING < commanded:
            yield Finding(
                Code.DATASET_JOINT_CONSTANT,
                Severity.ERROR,
                name,
                found=f"its state never changes while its action spans {commanded:.1f}",
                fix="the joint is not read or does not move; repair the arm and record again",
            )
        elif span < STILL:
            yield Finding(
                Code.DATASET_JOINT_CONSTANT,
                Severity.WARNING,
                name,
                found=f"its state spans {span:.2f} in the whole dataset",
                fix="if it should move, record again: a policy will not learn to move it",
            )


def _jumps(
    episode: Rows, values: NDArray[np.float64], fps: int, names: list[str], kind: str
) -> Iterator[Finding]:
    if len(values) < 3:
        return
    fastest = FASTEST_STATE if kind == "state" else FASTEST_ACTION
    steps = np.abs(np.diff(values, axis=0))
    apart = np.abs(values[1:-1] - (values[:-2] + values[2:]) / 2)
    alone = apart > SPIKE_RATIO * np.abs(values[2:] - values[:-2])
    for joint, name in enumerate(names):
        spikes = np.flatnonzero((apart[:, joint] > SPIKE) & alone[:, joint]) + 1
        quick = np.flatnonzero(steps[:, joint] * fps > fastest) + 1
        if len(spikes):
            worst = int(spikes[np.argmax(apart[spikes - 1, joint])])
            yield Finding(
                Code.DATASET_OUTLIER,
                Severity.ERROR,
                episode.where,
                values=of_episode(episode.row.episode),
                found=f"{kind} of {name} has {len(spikes)} outlier(s), first at frame {spikes[0]}, "
                f"the worst {apart[worst - 1, joint]:.1f} off its neighbours at frame {worst}",
                fix="a misread sample: remove the episode, and see the bus's error counts",
            )
        elif len(quick):
            worst = int(np.argmax(steps[:, joint])) + 1
            yield Finding(
                Code.DATASET_JUMP,
                Severity.ERROR if kind == "state" else Severity.WARNING,
                episode.where,
                values=of_episode(episode.row.episode),
                found=f"{kind} of {name} jumps {steps[worst - 1, joint]:.1f} in one frame at frame "
                f"{worst}, {steps[worst - 1, joint] * fps:.0f} units/s",
                fix="no servo moves like that: look for lost samples or a turn's wrap-around"
                if kind == "state"
                else "the arm cannot follow: limit the velocity of commands",
            )


# --- lag ----------------------------------------------------------------------------------------


def lag_s(
    action: NDArray[np.float64], state: NDArray[np.float64], fps: float
) -> tuple[float, float] | None:
    """How long after an action (L,) the state (L,) does the same, s, and their correlation there.

    Cross-correlation of the velocities, refined by a parabola through the best and its
    neighbours; None where there is too little motion, or nothing alike in the range searched.
    """
    if min(np.ptp(action), np.ptp(state)) < MOVING:
        return None
    commanded, moved = np.diff(action), np.diff(state)
    low, high = (round(bound * fps) for bound in LAG_RANGE_S)
    high = min(high, len(moved) // 2)
    low = max(low, -(len(moved) // 2))
    lags = np.arange(low, high + 1)
    if len(lags) < 3:
        return None
    scores = np.array([_correlation(commanded, moved, int(lag)) for lag in lags])
    best = int(np.argmax(scores))
    if scores[best] < LAG_CORRELATION:
        return None
    shift = 0.0
    if 0 < best < len(lags) - 1:
        before, here, after = scores[best - 1 : best + 2]
        bend = before - 2 * here + after
        shift = 0.5 * (before - after) / bend if bend < 0 else 0.0
    return float((lags[best] + shift) / fps), float(scores[best])


def _correlation(a: NDArray[np.float64], b: NDArray[np.float64], lag: int) -> float:
    """Of a[t] and b[t + lag]."""
    if lag >= 0:
        first, second = a[: len(a) - lag], b[lag:]
    else:
        first, second = a[-lag:], b[: len(b) + lag]
    norm = float(np.sqrt((first @ first) * (second @ second)))
    return float(first @ second) / norm if norm > 0 else 0.0


def lag_findings(
    episodes: list[Rows], fps: int, names: Mapping[str, list[str]]
) -> tuple[list[JointLag], list[Finding]]:
    if layout.STATE not in names or names.get(layout.ACTION) != names[layout.STATE]:
        return [], []
    lags: list[JointLag] = []
    findings: list[Finding] = []
    for joint, name in enumerate(names[layout.STATE]):
        measured = [
            lag_s(episode.action[:, joint], episode.state[:, joint], fps)
            for episode in episodes
            if len(episode.state) > fps
        ]
        found = [lag for lag, _ in filter(None, measured)]
        lags.append(JointLag(name, float(np.median(found)) if found else None, len(found)))
    known = [lag.lag_s for lag in lags if lag.lag_s is not None]
    if not known:
        return lags, findings
    typical = float(np.median(known))
    if _copied(episodes):
        findings.append(
            Finding(
                Code.DATASET_ACTION_IS_STATE,
                Severity.ERROR,
                "",
                found="actions equal states in every row",
                fix="record the command that was sent, not the position that was read",
            )
        )
    elif typical < 0.5 / fps:
        findings.append(
            Finding(
                Code.DATASET_LAG_TOO_SMALL,
                Severity.WARNING,
                "",
                found=f"states follow actions by {1000 * typical:.0f} ms, but an arm takes time",
                fix=(
                    "check whether actions are states of the next frame, and stamps times of "
                    "arrival"
                ),
            )
        )
    findings += [
        Finding(
            Code.DATASET_LAG_TOO_LARGE,
            Severity.WARNING,
            lag.joint,
            found=f"its state follows its action by {1000 * lag.lag_s:.0f} ms",
            fix="more than a servo needs: look at the stamps, or at what delays commands",
        )
        for lag in lags
        if lag.lag_s is not None and lag.lag_s > LAG_MOST_S
    ]
    return lags, findings


def _copied(episodes: list[Rows]) -> bool:
    return all(np.array_equal(episode.state, episode.action) for episode in episodes)
