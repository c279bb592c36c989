"""How far joints are behind their commands: told where a motion tells it, and nowhere else."""

import dataclasses

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the policy extra is not installed")

import check_world as w  # noqa: E402

from armlet.contract import Lag  # noqa: E402
from armlet.findings import Code, Severity  # noqa: E402
from armlet.policies import read_checkpoint  # noqa: E402
from armlet.policies.fit.drift import Drift, DriftSettings  # noqa: E402
from armlet.policies.fit.lag import Following, lag_of  # noqa: E402

FPS, ARM_S = 30, 0.1
TRAINED = Lag(0.1, 0.004)


def waypoints(seed, frames=150):
    """Commands of a motion that stops here and there, (frames, 6), in training spreads."""
    random = np.random.default_rng(seed)
    at = np.linspace(0, frames - 1, 7)
    shares = np.clip((np.arange(frames)[:, None] - at[:-1]) / (0.6 * frames / 6), 0, 1)
    rises = shares * shares * (3 - 2 * shares)
    return rises @ random.normal(0, 1, (6, 6))


def behind(commands, lag_s):
    """The same, so many seconds later."""
    at = np.arange(len(commands))
    return np.stack([np.interp(at - lag_s * FPS, at, joint) for joint in commands.T], axis=1)


def recorded(lag_s, count=5):
    return [(behind(waypoints(seed), lag_s), waypoints(seed)) for seed in range(count)]


@pytest.mark.parametrize("lag_s", [0.05, 0.1, 0.3])
def test_recordings_tell_how_far_the_arm_is_behind(lag_s):
    found = lag_of(w.CONTRACT, recorded(lag_s))
    assert found.median_s == pytest.approx(lag_s, abs=0.011) and found.spread_s < 0.01


def test_an_arm_that_gives_way_under_its_weight_is_behind_by_no_more():
    weighty = [(0.9 * states - 0.2, actions) for states, actions in recorded(ARM_S)]
    assert lag_of(w.CONTRACT, weighty).median_s == pytest.approx(ARM_S, abs=0.02)


@pytest.mark.parametrize(
    "commands",
    [
        np.zeros((150, 6)),
        np.linspace(0, 5, 150)[:, None] * np.ones(6),  # a later start or a lag: nobody can tell
        waypoints(0, frames=20),
    ],
    ids=["still", "straight", "short"],
)
def test_motions_that_leave_doubt(commands):
    assert lag_of(w.CONTRACT, [(behind(commands, ARM_S), commands)] * 5) is None


def test_a_joint_that_is_held_does_not_count():
    held = recorded(ARM_S)
    for states, _ in held:
        states[:, 5] = np.random.default_rng(0).normal(0, 1, len(states))
    assert lag_of(w.CONTRACT, held).median_s == pytest.approx(ARM_S, abs=0.011)


def test_nothing_is_stated_of_few_episodes_or_of_other_joints():
    assert lag_of(w.CONTRACT, recorded(ARM_S, count=2)) is None
    others = dataclasses.replace(w.CONTRACT, action_names=w.NAMES[::-1])
    assert lag_of(others, recorded(ARM_S)) is None


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    contract = dataclasses.replace(w.CONTRACT, lag=TRAINED)
    return read_checkpoint(w.save_good(tmp_path_factory.mktemp("lag") / "good", contract))


def drive(drift, lag_s, every=3, past=2, frames=150, sent=lambda index: True, seen=None):
    """Chunks of 45 rows along a motion, and an arm that is seen `lag_s` behind it."""
    statistics = w.dataset().statistics[w.STATE]
    commands = waypoints(1, frames + 45) * statistics["std"] + statistics["mean"]
    states = behind(commands if seen is None else seen(commands), lag_s)
    for index in range(0, frames, every):
        drift.state(states[index].astype(np.float32))
        rows = commands[index : index + 45]
        rows = rows if sent(index) else 9 * rows
        drift.planned(rows.astype(np.float32), index, past if sent(index) else None)


def said(drift):
    return [each for each in drift.findings() if each.code is Code.POLICY_DRIFT_LAG]


def drift_of(checkpoint, **settings):
    return Drift(checkpoint, w.NAMES, w.NAMES, DriftSettings(**settings))


@pytest.mark.parametrize(("every", "past"), [(1, 1), (3, 2), (15, 8)])
def test_observations_that_are_late_are_noticed(checkpoint, every, past):
    drift = drift_of(checkpoint)
    drive(drift, ARM_S + 0.1, every, past, frames=300)
    (found,) = said(drift)
    assert found.severity is Severity.WARNING and "0.10 s in training" in found.found
    assert found.values["lag_s"] == pytest.approx(0.2, abs=0.02)


@pytest.mark.representatives(3)
@pytest.mark.parametrize(("every", "past"), [(1, 1), (3, 2), (15, 8)])
@pytest.mark.parametrize("lag_s", [0.02, 0.1, 0.14])
def test_an_arm_as_in_training_is_not_reported(checkpoint, every, past, lag_s):
    drift = drift_of(checkpoint)
    drive(drift, lag_s, every, past, frames=300)
    (found,) = said(drift)
    assert found.severity is Severity.OK


def test_what_was_found_stays_while_the_arm_waits_and_goes_with_a_reset(checkpoint):
    drift = drift_of(checkpoint)
    drive(drift, ARM_S + 0.1)
    assert said(drift)  # as of /diagnostics, every second
    still = w.dataset().states["degrees"][0]
    for index in range(150, 1050, 3):
        drift.state(still.astype(np.float32))
        drift.planned(np.tile(still, (45, 1)), index, 2)
    (found,) = said(drift)
    assert found.severity is Severity.WARNING
    drift.reset()
    assert said(drift) == []


def test_chunks_that_were_not_sent_are_no_commands(checkpoint):
    drift = drift_of(checkpoint)
    drive(drift, ARM_S, sent=lambda index: index % 9 != 6)
    (found,) = said(drift)
    assert found.values["lag_s"] == pytest.approx(ARM_S, abs=0.02)


def test_an_arm_that_a_person_leads_elsewhere_is_not_judged(checkpoint):
    drift = drift_of(checkpoint)
    drive(drift, ARM_S, seen=lambda commands: commands[::-1])
    assert said(drift) == []


def test_a_checkpoint_that_states_nothing_is_not_judged(tmp_path):
    drift = drift_of(read_checkpoint(w.save_good(tmp_path / "plain", w.CONTRACT)))
    drive(drift, ARM_S + 0.1)
    assert said(drift) == []


def test_how_much_later_is_a_setting_and_less_than_the_trainings_own_spread_is_nothing(tmp_path):
    contract = dataclasses.replace(w.CONTRACT, lag=Lag(0.1, 0.05))
    wide = read_checkpoint(w.save_good(tmp_path / "wide", contract))
    drift = drift_of(wide)
    drive(drift, ARM_S + 0.1)
    assert said(drift)[0].severity is Severity.OK
    with pytest.raises(ValueError, match="warn_lag_s"):
        DriftSettings(warn_lag_s=0)


def test_thresholds_that_are_tuned_are_heeded(checkpoint):
    drift = drift_of(checkpoint, warn_lag_s=1.0)
    drive(drift, ARM_S + 0.1)
    assert said(drift)[0].severity is Severity.OK
    drift.tune(DriftSettings())
    assert said(drift)[0].severity is Severity.WARNING


def test_a_clock_that_is_set_back_begins_again():
    following = Following(FPS)
    commands = waypoints(1)
    for index in (*range(3000, 3100), *range(100)):
        row = index % 3000
        following.add(behind(commands, ARM_S)[row], commands[row : row + 9], index, index + 1)
    assert following.lag_s() == pytest.approx(ARM_S, abs=0.011)
