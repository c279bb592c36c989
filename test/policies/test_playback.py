import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from armlet.policies import ActionQueue, TemporalEnsembler


def test_queue_plays_the_head_of_a_chunk_then_is_empty():
    queue = ActionQueue(3)
    queue.fill(np.arange(20, dtype=np.float32).reshape(10, 2))
    assert [queue.pop()[0] for _ in range(3)] == [0, 2, 4]
    assert len(queue) == 0
    with pytest.raises(IndexError):
        queue.pop()


def test_queue_forgets_on_reset_and_on_fill():
    queue = ActionQueue(2)
    queue.fill(np.zeros((4, 1), np.float32))
    queue.fill(np.ones((4, 1), np.float32))
    assert len(queue) == 2 and queue.pop() == 1
    queue.reset()
    assert len(queue) == 0


def recomputed(coefficient, predictions, now, size):
    """The blend from its definition: all predictions of an instant, weighted by their rank."""
    blend = []
    for instant in range(now, now + size):
        values = [c[instant - t] for t, c in predictions if 0 <= instant - t < size]
        weights = np.exp(-coefficient * np.arange(len(values)))
        blend.append(np.tensordot(weights / weights.sum(), np.array(values), 1))
    return np.array(blend)


@settings(max_examples=60, deadline=None)
@given(
    coefficient=st.floats(-0.5, 0.5),
    size=st.integers(1, 7),
    gaps=st.lists(st.integers(1, 9), max_size=25),
    seed=st.integers(0, 2**16),
)
def test_ensemble_equals_its_definition(coefficient, size, gaps, seed):
    random = np.random.default_rng(seed)
    ensembler = TemporalEnsembler(coefficient, size)
    predictions, now = [], 0
    for gap in [1, *gaps]:
        now += gap
        # An instant no earlier chunk reaches starts again: what lies before is out of the blend.
        predictions = [(t, c) for t, c in predictions if t + size > now]
        chunk = random.normal(size=(size, 3)).astype(np.float32)
        predictions.append((now, chunk))
        blend = ensembler.update(chunk, elapsed=gap)
        np.testing.assert_allclose(
            blend, recomputed(coefficient, predictions, now, size), atol=1e-5
        )
        assert blend.dtype == np.float32


def lerobots(coefficient, chunks):
    """The actions of LeRobot's ensembler, asked every period, from its formulas in torch."""
    size = chunks.shape[1]
    weights = torch.exp(-coefficient * torch.arange(size))
    sums = torch.cumsum(weights, dim=0)
    blend, count = chunks[0].clone(), torch.ones(size, 1, dtype=torch.long)
    actions = [blend[0].clone()]
    for chunk in chunks[1:]:
        blend, count = blend[1:], count[1:]
        blend = blend * sums[count - 1]
        blend = blend + chunk[:-1] * weights[count]
        blend = blend / sums[count]
        count = torch.clamp(count + 1, max=size)
        blend = torch.cat([blend, chunk[-1:]])
        count = torch.cat([count, torch.ones_like(count[-1:])])
        actions.append(blend[0].clone())
    return torch.stack(actions).numpy()


@pytest.mark.parametrize("coefficient", [0.01, 0.1, -0.05, 0.0])
@pytest.mark.parametrize("size", [2, 20, 100])
def test_asked_every_period_it_is_lerobots_to_the_bit(coefficient, size):
    chunks = np.random.default_rng(size).normal(0, 30, (150, size, 6)).astype(np.float32)
    ensembler = TemporalEnsembler(coefficient, size)
    actions = np.array([ensembler.update(chunk)[0] for chunk in chunks])
    np.testing.assert_array_equal(actions, lerobots(coefficient, torch.from_numpy(chunks)))


def test_positive_coefficient_trusts_the_oldest():
    ensembler = TemporalEnsembler(10.0, 2)
    ensembler.update(np.zeros((2, 1), np.float32))
    assert ensembler.update(np.ones((2, 1), np.float32))[0] < 1e-4


def test_reset_forgets_earlier_chunks():
    ensembler = TemporalEnsembler(0.01, 2)
    ensembler.update(np.zeros((2, 1), np.float32))
    ensembler.reset()
    assert ensembler.update(np.ones((2, 1), np.float32))[0] == 1


def test_result_is_not_the_ensemblers_own_memory():
    ensembler = TemporalEnsembler(0.0, 2)
    ensembler.update(np.zeros((2, 1), np.float32))[:] = 99
    assert ensembler.update(np.zeros((2, 1), np.float32))[0] == 0


@pytest.mark.parametrize(("rows", "elapsed"), [(2, 0), (2, -1), (3, 1)])
def test_impossible_updates_are_refused(rows, elapsed):
    with pytest.raises(ValueError, match="must"):
        TemporalEnsembler(0.01, 2).update(np.zeros((rows, 1), np.float32), elapsed)
