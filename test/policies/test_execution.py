"""Strategies step by step: what is inferred when, and what the plan then is."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_policies import act_config, make_act, make_observation, make_statistics

from armlet.policies import (
    Coverage,
    Durations,
    Execution,
    Planner,
    periods,
    save_checkpoint,
    strategy_name,
    warm_up,
)
from armlet.policies.execution.strategy import LatestOnly, Plan, Replanning, WeightedBlend

FPS = 30


class Counting:
    """A policy whose chunk number k says k in every row, plus a hundredth of the row."""

    def __init__(self, size=10, inpaints=False, **settings):
        self.config = act_config(chunk_size=size, **{"n_action_steps": size, **settings})
        self.inpaints = inpaints
        self.leftovers, self.seeds = [], []

    def predict_chunk(self, observation, leftover=None):
        self.leftovers.append(leftover)
        rows = np.arange(self.config.chunk_size, dtype=np.float32) / 100
        return np.repeat(rows[:, None] + len(self.leftovers), 2, axis=1)

    def reset(self, seed=None):
        self.seeds.append(seed)


def run(planner, indices, delay=0, seen=None):
    """Frames one after another; the indices that were inferred."""
    inferred = []
    for index in indices:
        if planner.wants(index, delay):
            planner.infer(seen, index, delay)
            inferred.append(index)
    return inferred


def test_latest_only_replaces_the_plan_at_its_interval():
    planner = Planner(Counting(), Execution("latest_only", replan_interval_s=0.1), FPS)
    assert run(planner, range(100, 110)) == [100, 103, 106, 109]
    assert planner.plan.first == 109 and planner.plan.rows[0, 0] == 4


def test_it_is_executed_otherwise_from_the_next_frame_on_and_the_plan_goes_on():
    policy = Counting()
    planner = Planner(policy, Execution("latest_only", replan_interval_s=0.1, seed=1), FPS)
    assert run(planner, range(100, 104)) == [100, 103]
    planner.follow(Execution("weighted_blend", replan_interval_s=0, new_weight=0.25, seed=2))
    assert planner.name == "weighted_blend"
    old = planner.plan.rows[1:, 0].copy()
    assert run(planner, [104]) == [104]
    np.testing.assert_allclose(
        planner.plan.rows[:9, 0], 0.75 * old + 0.25 * (3 + np.arange(9) / 100)
    )
    assert policy.seeds == [1], "a seed is the next episode's"
    planner.reset()
    assert policy.seeds == [1, 2]


def test_what_cannot_be_followed_changes_nothing():
    planner = Planner(Counting(), Execution("latest_only"), FPS)
    before = planner.execution, planner.strategy, planner.name
    for wrong in (Execution("rtc"), Execution("n_action_steps", action_steps=11), Execution("?")):
        with pytest.raises(ValueError, match=r"strategy|action_steps"):
            planner.follow(wrong)
    assert (planner.execution, planner.strategy, planner.name) == before


def test_ensembling_begins_again_where_it_is_chosen_on_the_way():
    planner = Planner(Counting(), Execution("latest_only", replan_interval_s=0), FPS)
    run(planner, range(100, 103))
    planner.follow(Execution("temporal_ensembling", ensemble_coefficient=0.0))
    run(planner, [103, 104])
    assert planner.plan.rows[0, 0] == pytest.approx((4 + 0.01 + 5) / 2)


def test_replanning_waits_until_little_is_left_when_the_chunk_will_be_there():
    few = Execution("latest_only", replan_interval_s=0, replan_horizon_s=4 / FPS)
    assert run(Planner(Counting(), few, FPS), range(20)) == [0, 6, 12, 18]
    assert run(Planner(Counting(), few, FPS), range(20), delay=3) == [0, 3, 6, 9, 12, 15, 18]
    half = Execution("latest_only", replan_interval_s=0, replan_share=0.5)
    assert run(Planner(Counting(), half, FPS), range(20)) == [0, 5, 10, 15]


def test_a_plan_that_is_over_is_followed_by_another_at_once():
    planner = Planner(Counting(), Execution("latest_only", replan_interval_s=0.1), FPS)
    assert run(planner, [0, 1, 50, 51]) == [0, 50]


def test_a_clock_set_back_begins_again():
    policy = Counting()
    planner = Planner(policy, Execution("temporal_ensembling"), FPS)
    assert run(planner, [100, 40, 41]) == [100, 40, 41]
    assert planner.plan.first == 41


@pytest.mark.parametrize("weight", [0.7, 0.5, 0.3, 1.0])
def test_weighted_blend_is_lerobots_aggregate_instant_by_instant(weight):
    """LeRobot's queue by timestep: w_old * old + w_new * new where both are, else the new."""
    strategy = WeightedBlend(Replanning(), weight)
    random, queue, plan = np.random.default_rng(0), {}, None
    for index in (0, 3, 4, 9, 30):
        chunk = random.normal(size=(10, 2)).astype(np.float32)
        fresh = {index + i: torch.from_numpy(row) for i, row in enumerate(chunk)}
        old = {step: row for step, row in queue.items() if step >= index}
        queue = {
            step: (1 - weight) * old[step] + weight * row if step in old else row
            for step, row in fresh.items()
        }
        plan = Plan(index, strategy.merge(plan, index, chunk))
        expected = np.array([queue[index + i].numpy() for i in range(10)])
        np.testing.assert_array_equal(plan.rows, expected)
        assert plan.rows.dtype == np.float32


@pytest.mark.representatives(2)
@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"n_action_steps": 3}, "n_action_steps"),
        ({"n_action_steps": 8}, "n_action_steps"),
        ({"temporal_ensemble_coeff": 0.05, "n_action_steps": 1}, "auto"),
    ],
)
def test_without_delay_the_plan_is_what_select_action_gives(tmp_path, settings, name):
    """LeRobot's own loop, one action a period, is the planner's with inference in no time."""
    from armlet.policies import load_policy

    config = act_config(chunk_size=8, **settings)
    save_checkpoint(tmp_path, make_act(config), config, make_statistics(config))
    policy, reference = load_policy(tmp_path), load_policy(tmp_path)
    planner = Planner(policy, Execution(name), FPS)
    for index in range(20):
        seen = make_observation(config, seed=index)
        if planner.wants(index, delay=0):
            planner.infer(seen, index, delay=0)
        np.testing.assert_array_equal(planner.plan.since(index)[0], reference.select_action(seen))


def test_rtc_hands_over_what_is_left_of_the_plan():
    policy = Counting(inpaints=True)
    planner = Planner(policy, Execution("rtc", replan_interval_s=0, seed=7), FPS)
    run(planner, [0, 4], delay=2)
    first, second = policy.leftovers
    assert first is None
    assert second.delay == 2
    np.testing.assert_allclose(second.rows[:, 0], 1 + np.arange(4, 10) / 100, rtol=1e-6)
    planner.reset()
    run(planner, [5])
    assert policy.leftovers[-1] is None and set(policy.seeds) == {7}


@pytest.mark.parametrize(
    ("policy", "strategy", "name"),
    [
        (Counting(), "auto", "latest_only"),
        (Counting(inpaints=True), "auto", "rtc"),
        (Counting(temporal_ensemble_coeff=0.1, n_action_steps=1), "auto", "temporal_ensembling"),
        (Counting(), "weighted_blend", "weighted_blend"),
    ],
)
def test_strategies_by_name(policy, strategy, name):
    assert strategy_name(policy, Execution(strategy)) == name


@pytest.mark.parametrize(
    ("execution", "message"),
    [
        (Execution("rtc"), "expected a flow policy"),
        (Execution("newest"), "found 'newest'"),
        (Execution("n_action_steps", action_steps=11), "found 11"),
    ],
)
def test_what_cannot_be_executed_so_is_refused(execution, message):
    with pytest.raises(ValueError, match=message):
        Planner(Counting(), execution, FPS)


@pytest.mark.parametrize("strategy", ["latest_only", "temporal_ensembling", "weighted_blend"])
def test_a_chunk_that_is_not_finite_leaves_the_plan_alone(strategy):
    policy = Counting()
    planner = Planner(policy, Execution(strategy, replan_interval_s=0), FPS)
    planner.infer(None, 0, 0)
    before = planner.plan
    sound, policy.predict_chunk = (
        policy.predict_chunk,
        lambda *_: np.full((10, 2), np.nan, np.float32),
    )
    with pytest.raises(FloatingPointError, match="20 of 20 numbers"):
        planner.infer(None, 1, 0)
    assert planner.plan is before
    policy.predict_chunk = sound
    assert np.isfinite(planner.infer(None, 2, 0).rows).all()


def test_warm_up_feeds_what_the_policy_reads(tmp_path):
    config = act_config()
    save_checkpoint(tmp_path, make_act(config), config, make_statistics(config))
    from armlet.policies import load_policy

    assert 0 < warm_up(load_policy(tmp_path), "") < 60


def test_the_delay_to_expect_is_a_percentile_and_not_the_worst():
    delays = Durations(window=100)
    assert delays.percentile(95) == delays.last == 0
    for _ in range(60):
        delays.add(0.1)
    delays.add(3.0)
    assert delays.percentile(95) == pytest.approx(0.1) and delays.last == 3.0
    assert periods(delays.percentile(95), FPS) == 3
    assert periods(0.1001, FPS) == 4 and periods(0, FPS) == 0


def test_coverage_counts_what_the_arm_waited_for():
    coverage, s = Coverage(), 10**9
    assert coverage.starving_s(99 * s) == 0
    coverage.extend(1 * s, 3 * s)
    assert coverage.starving_s(2 * s) == 0 and coverage.gaps == 0
    coverage.extend(2 * s, 4 * s)
    assert coverage.overlap_s == 1
    assert coverage.starving_s(6 * s) == coverage.starved_s(6 * s) == 2
    coverage.extend(6 * s, 8 * s)
    assert coverage.overlap_s == -2 and coverage.gaps == 1
    coverage.end(9 * s)
    assert coverage.starved_s(50 * s) == 3 and coverage.starving_s(50 * s) == 0


@given(st.integers(0, 40), st.integers(1, 20), st.integers(0, 60))
def test_what_is_left_of_a_plan_is_due_from_then_on(first, size, index):
    plan = Plan(first, np.arange(first, first + size, dtype=np.float32)[:, None])
    left = plan.since(index)
    expected = [i for i in range(first, plan.end) if i >= index]
    assert left[:, 0].tolist() == expected


def test_latest_only_is_not_guided_by_default():
    assert not LatestOnly(Replanning()).guided and LatestOnly(Replanning(), guided=True).guided
