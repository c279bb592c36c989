"""Statistics against plain NumPy and the published sampling figures."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_episodes import picture

from armlet.datasets import DatasetError
from armlet.datasets.format import stats
from armlet.datasets.format.pictures import sampled


@pytest.mark.parametrize(
    ("length", "count"), [(1, 1), (60, 60), (100, 100), (1000, 177), (2000, 299), (10_000, 1000)]
)
def test_sampling_figures(length, count):
    indices = stats.sample_indices(length)
    assert len(indices) == count
    assert (indices[0], indices[-1]) == (0, length - 1)
    assert (np.diff(indices) >= 1).all()


@pytest.mark.parametrize(
    ("height", "width", "stride"),
    [(480, 640, 4), (640, 480, 4), (299, 299, 1), (300, 300, 2), (720, 1280, 8), (1080, 1920, 12)],
)
def test_pixel_stride(height, width, stride):
    assert stats.pixel_stride(height, width) == stride


@given(st.lists(st.floats(-1e4, 1e4, width=32), min_size=2, max_size=200), st.integers(1, 3))
def test_vectors_against_numpy(values, dimensions):
    rows = np.float32(values)[:, None] * np.arange(1, dimensions + 1, dtype=np.float32)
    found = stats.vector_stats(rows)
    exact = rows.astype(np.float64)
    assert np.allclose(found["mean"], exact.mean(axis=0), atol=1e-7, rtol=1e-9)
    assert np.allclose(found["std"], exact.std(axis=0), atol=1e-7, rtol=1e-9)
    assert np.array_equal(found["min"], exact.min(axis=0))
    assert np.array_equal(found["max"], exact.max(axis=0))
    assert found["count"].tolist() == [len(rows)]
    bin_width = np.ptp(exact, axis=0) / 5000 + 1e-9
    for name, q in stats.QUANTILES.items():
        # The q-th of n values, from the left edge of bin 0 where that holds enough of them.
        nearest = np.sort(exact, axis=0)[max(0, int(np.ceil(q * len(rows))) - 1)]
        assert (np.abs(found[name] - nearest) <= bin_width).all(), name


def test_nanosecond_stamps_keep_their_spread():
    stamps = 1_700_000_000_000_000_000 + np.arange(300) * 33_333_333
    found = stats.vector_stats(stamps)
    assert found["min"].dtype == np.int64 and found["max"].item() == stamps[-1]
    assert found["std"].item() == pytest.approx(33_333_333 * np.arange(300).std(), rel=1e-12)


def test_a_single_row_is_its_own_quantile():
    found = stats.vector_stats(np.float32([[1, -2]]))
    assert all(found[name].tolist() == [1, -2] for name in ("min", "max", "mean", "q01", "q99"))
    assert found["std"].tolist() == [0, 0]


@pytest.mark.representatives(1)
@pytest.mark.parametrize(("height", "width", "length"), [(48, 64, 7), (304, 320, 130)])
def test_pictures_against_numpy(tmp_path, height, width, length):
    pictures = [picture(i, height, width) for i in range(length)]
    counts = stats.LevelCounts(tmp_path / "counts", height, width)
    for one in pictures:
        counts.add(stats.count_levels(sampled(one)))
    found = counts.stats()
    counts.close()
    chosen = stats.sample_indices(length)
    step = stats.pixel_stride(height, width)
    pixels = np.stack([pictures[i] for i in chosen])[:, ::step, ::step].reshape(-1, 3) / 255
    assert found["count"].tolist() == [len(chosen)]
    for name in ("min", "max", "mean", "std"):
        assert found[name].shape == (3, 1, 1)
        assert np.allclose(found[name].ravel(), getattr(pixels, name)(axis=0), atol=1e-12), name
    for name, q in stats.QUANTILES.items():
        levels = np.quantile(pixels, q, axis=0, method="inverted_cdf")
        assert np.allclose(found[name].ravel(), levels, atol=1 / 255 / 2), name


@given(st.lists(st.integers(2, 20), min_size=1, max_size=5), st.integers(0, 99))
def test_aggregation_equals_the_whole(lengths, seed):
    rng = np.random.default_rng(seed)
    parts = [rng.normal(rng.normal(), 2, (length, 3)).astype(np.float32) for length in lengths]
    merged = stats.aggregate([{"action": stats.vector_stats(part)} for part in parts])["action"]
    whole = stats.vector_stats(np.concatenate(parts))
    for name in ("min", "max", "mean", "std", "count"):
        assert np.allclose(merged[name], whole[name]), name
    weights = np.array(lengths) / sum(lengths)
    medians = [stats.vector_stats(part)["q50"] for part in parts]
    assert np.allclose(merged["q50"], weights @ np.stack(medians))


def test_a_count_that_is_a_number_and_one_that_is_a_list_are_added():
    """Both are stored by somebody; a file may hold one of each."""
    parts = [stats.vector_stats(np.arange(6.0).reshape(3, 2) + n) for n in range(2)]
    whole = stats.aggregate([{"action": part} for part in parts])["action"]
    parts[1] = {**parts[1], "count": parts[1]["count"].reshape(())}
    mixed = stats.aggregate([{"action": part} for part in parts])["action"]
    assert all((mixed[name] == whole[name]).all() for name in whole)
    assert mixed["count"].shape == (1,)


def test_json_round_trip(tmp_path):
    known = {"action": stats.vector_stats(np.float32([[1, 2], [3, 5]]))}
    path = tmp_path / "stats.json"
    path.write_bytes(stats.dumps(known))
    loaded = stats.load(path)
    assert all(np.array_equal(loaded["action"][k], v) for k, v in known["action"].items())
    path.write_text("[1]")
    with pytest.raises(DatasetError, match=r"stats\.json"):
        stats.load(path)
