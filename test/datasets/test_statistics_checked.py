"""Stored statistics that are not the data's: quantiles, distances, pictures in 0..255, none at all.

Also what a video shows of its own: its size, and whether its pictures lie on the rate's grid.
"""

import json
import shutil
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_episodes import picture
from test_lint import only, recorded

from armlet.cli import main
from armlet.datasets.check.quality import check_name, review
from armlet.datasets.check.recompute_stats import recount, write
from armlet.datasets.format import layout, stats, tables
from armlet.datasets.format.layout import Feature
from armlet.datasets.transform.convert import convert

CASES = Path(__file__).resolve().parents[3] / "shared/cases"
GOLDEN = Path(__file__).resolve().parents[3] / "shared/golden/lerobot-0.6.1"


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """Two episodes in which the joints are elsewhere, so that mean quantiles are not the data's."""

    def apart(action, state, pictures, skews, k):
        return action * (0.4 + 0.6 * k), state * (0.4 + 0.6 * k)

    return recorded(tmp_path_factory.mktemp("checked") / "sound", change=apart)


@pytest.fixture
def root(sound, tmp_path):
    return Path(shutil.copytree(sound, tmp_path / "set"))


def stored(root):
    return json.loads((root / layout.STATS).read_text())


def edit(root, key, **changes):
    document = stored(root)
    document[key] |= changes
    (root / layout.STATS).write_text(json.dumps(document))


def all_actions(root):
    files = sorted((root / "data").glob("*/*.parquet"))
    return np.concatenate([np.stack(pq.read_table(f)["action"].to_numpy()) for f in files])


# --- quantiles --------------------------------------------------------------------------------


def test_mean_quantiles_are_said_to_be_that_and_no_error(root, capsys):
    assert main.main(["dataset", "stats", str(root), "--no-video"]) == 0
    said = capsys.readouterr().out
    assert "action: q" in said and "quantiles are combined from those" in said
    assert "episode_index" not in said
    assert not review(root, videos=False).errors


def test_the_least_and_largest_of_the_episodes_are_lerobots_too(root):
    episodes = [row.stats["action"] for row in tables.read_episodes(root)]
    for name, share in stats.QUANTILES.items():
        rule = np.min if share <= 0.5 else np.max
        edit(root, "action", **{name: rule([e[name] for e in episodes], axis=0).tolist()})
    found = recount(root, pictures=False)
    assert not found.differences and "action" in [each.subject for each in found.combined]
    assert not review(root, videos=False).errors


def test_quantiles_written_are_those_of_all_rows(root):
    before = stored(root)["action"]["q01"]
    assert main.main(["dataset", "stats", str(root), "--write", "--no-video"]) == 0
    after, actions = stored(root)["action"], all_actions(root)
    span = np.ptp(actions, axis=0)
    for name, share in stats.QUANTILES.items():
        off = np.abs(np.array(after[name]) - np.quantile(actions, share, axis=0)) / span
        assert off.max() < 0.02, name
    assert (np.abs(np.array(before) - np.quantile(actions, 0.01, axis=0)) / span).max() > 0.05
    found = recount(root, pictures=False)
    assert not found.differences and not found.combined


@pytest.mark.representatives(3)
@pytest.mark.parametrize("name", stats.QUANTILES)
@pytest.mark.parametrize("factor", [0.8, 1.3])
def test_a_quantile_that_is_neither_is_an_error(root, name, factor):
    values = np.array(stored(root)["action"][name]) * factor
    edit(root, "action", **{name: values.tolist()})
    finding = only(root, videos=False)
    assert finding[:3] == ("error", "statistics", "action") and "is stored as" in finding[3]
    differences = recount(root, pictures=False).differences
    assert [d.subject for d in differences] == ["action"]
    assert main.main(["dataset", "stats", str(root), "--write", "--no-video"]) == 0
    assert not review(root, videos=False).findings


def test_a_quantile_that_is_no_number_is_an_error_that_stats_write_corrects(root):
    edit(root, "action", q01=[float("nan")] * 6)
    assert review(root, videos=False).errors
    assert main.main(["dataset", "stats", str(root), "--write", "--no-video"]) == 0
    assert not review(root, videos=False).findings


def test_an_episodes_own_quantiles_are_corrected_too(root):
    (path,) = (root / layout.EPISODES).glob("*/*000.parquet")
    table = pq.read_table(path)
    name = "stats/action/q99"
    values = [[v * 0.5 for v in row] for row in table[name].to_pylist()]
    place = table.column_names.index(name)
    pq.write_table(table.set_column(place, name, pa.array(values)), path)
    found = recount(root, pictures=False)
    assert found.differences[0].subject == "episode 0 action"
    write(root, found)
    assert not recount(root, pictures=False).differences


# --- distances ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("info", "depth"),
    [
        ({"is_depth_map": True}, True),
        ({"video.is_depth_map": True}, True),
        ({"is_depth_map": False}, False),
        ({"is_depth_map": "true"}, False),
        (None, False),
    ],
)
def test_a_depth_stream_is_known_by_its_description(info, depth):
    assert Feature("video", (96, 128, 1), None, info).is_depth is depth
    assert not Feature("float32", (1,), None, info).is_depth


def depth_set(tmp_path):
    root = Path(shutil.copytree(GOLDEN / "depth", tmp_path / "depth"))
    for path in (root, *root.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return root


@pytest.mark.skipif(not GOLDEN.is_dir(), reason="needs the golden datasets of LeRobot 0.6.1")
def test_statistics_of_distances_are_kept_as_they_are(tmp_path, capsys):
    root = depth_set(tmp_path)
    key = "observation.images.front_depth"
    before = stored(root)[key]
    assert before["mean"] == [[[1282.0]]]
    assert main.main(["dataset", "stats", str(root), "--write"]) == 0
    assert stored(root)[key] == before
    assert not review(root).errors
    capsys.readouterr()
    assert main.main(["dataset", "info", str(root)]) == 0
    assert "depth     front_depth 128x96 hevc, mm" in capsys.readouterr().out


@pytest.mark.skipif(not GOLDEN.is_dir(), reason="needs the golden datasets of LeRobot 0.6.1")
@pytest.mark.parametrize("absent", [True, False])
def test_absent_statistics_of_distances_name_no_command_that_leaves_them_so(tmp_path, absent):
    root = depth_set(tmp_path)
    document = stored(root)
    key = "observation.images.front_depth"
    del (document if absent else document[key])[key if absent else "count"]
    (root / layout.STATS).write_text(json.dumps(document))
    found = review(root, videos=False)
    assert not found.errors
    (warning,) = [f for f in found.findings if key in f"{f.subject} {f.found}"]
    assert "--write" not in warning.fix and "does not compute those of distances" in warning.fix


# --- pictures -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "names", [("mean",), ("std",), ("mean", "std", "min", "max", *stats.QUANTILES)]
)
def test_picture_statistics_of_bytes_are_an_error(root, names):
    key = next(k for k in stored(root) if "images" in k)
    there = stored(root)[key]
    edit(root, key, **{name: (255 * np.array(there[name])).tolist() for name in names})
    (error,) = [f for f in review(root, videos=False).findings if f.severity == "error"]
    assert "pictures in 0..255" in error.found and "stats --write" in error.fix


def test_v21_without_statistics_is_an_error(tmp_path):
    root, old = recorded(tmp_path / "set"), tmp_path / "old"
    convert(root, old, layout.VERSION_2)
    (old / layout.STATS_LINES).unlink()
    (error,) = [f for f in review(old, videos=False).findings if f.severity == "error"]
    assert "no statistics of episode 0 and 1 more" in error.found
    assert main.main(["dataset", "stats", str(old), "--write"]) == 0
    assert not review(old, videos=False).errors


def without_counts(old):
    """v2.1's statistics as converters write them."""
    lines = [json.loads(line) for line in (old / layout.STATS_LINES).read_text().splitlines()]
    for line in lines:
        for found in line["stats"].values():
            del found["count"]
    (old / layout.STATS_LINES).write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_statistics_without_counts_are_written_again(tmp_path, capsys):
    root, old = recorded(tmp_path / "set"), tmp_path / "old"
    convert(root, old, layout.VERSION_2)
    before = [row.stats for row in tables.read_episodes(old)]
    without_counts(old)
    (error,) = [f for f in review(old, videos=False).findings if f.severity == "error"]
    assert "no count stored" in error.found and "stats --write" in error.fix
    assert main.main(["dataset", "stats", str(old)]) == 1
    assert main.main(["dataset", "stats", str(old), "--no-video", "--write"]) == 0
    (error,) = [f for f in review(old, videos=False).findings if f.severity == "error"]
    assert "images" in error.found
    assert main.main(["dataset", "stats", str(old), "--write"]) == 0
    assert not review(old, videos=False).errors
    for was, row in zip(before, tables.read_episodes(old), strict=True):
        for key, known in was.items():  # a camera's own pixels are kept
            assert np.array_equal(known["mean"], row.stats[key]["mean"])
            assert known["count"] == row.stats[key]["count"]


def test_a_count_that_is_no_number_is_written_again(root):
    edit(root, "action", count="many")
    (error,) = [f for f in review(root, videos=False).findings if f.severity == "error"]
    assert "found 'many'" in error.found and "stats --write" in error.fix
    assert main.main(["dataset", "stats", str(root), "--write"]) == 0
    assert not review(root, videos=False).errors


def replaced(root, height=None, width=None, times=None):
    """One episode's video encoded again, of another size or with other times (in frames)."""
    path = sorted((root / "videos").rglob("*.mp4"))[0]
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        count, size = stream.frames, (height or stream.height, width or stream.width)
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("h264", rate=30)
        stream.height, stream.width, stream.pix_fmt = *size, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 30_000)
        for k in range(count):
            frame = av.VideoFrame.from_ndarray(picture(k, *size), format="rgb24")
            frame.pts = round(1000 * (times(k) if times else k))
            frame.time_base = Fraction(1, 30_000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def test_a_video_of_another_size_is_an_error(root):
    replaced(root, height=32, width=40)
    errors = [f for f in review(root, videos=False).findings if f.severity == "error"]
    assert "holds pictures of 40x32, info.json says" in errors[0].found


def test_pictures_off_the_rates_grid_are_an_error(root):
    replaced(root, times=lambda k: k + 0.2 * (k % 3 == 1))
    errors = [f for f in review(root).findings if check_name(f) == "grid"]
    assert len(errors) == 1 and "lies 6.7 ms from its frame's time" in errors[0].found


def test_pictures_at_a_constant_rate_are_on_it(root):
    replaced(root)
    assert not [f for f in review(root).findings if check_name(f) == "grid"]


@pytest.mark.skipif(not CASES.is_dir(), reason="needs the handed cases")
@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("15-video-size-not-infos/size_differs", "pictures of 64x48, info.json says 128x96"),
        ("17-variable-frame-rate/vfr", "8.7 ms from its frame's time"),
        ("18-picture-stats-0-255/image_stats_0_255", "pictures in 0..255"),
        ("19-v21-without-statistics/no_episodes_stats", "LeRobot cannot open the dataset"),
    ],
)
def test_handed_cases_are_errors(case, said):
    errors = [f.found for f in review(CASES / case).findings if f.severity == "error"]
    assert any(said in error for error in errors), errors


@pytest.mark.representatives(1)
@pytest.mark.parametrize("key", [*layout.COUNTERS, layout.STAMP])
def test_old_statistics_of_what_no_policy_reads_are_said_and_no_error(key, root, capsys):
    """As lerobot-edit-dataset leaves those of `index` behind."""
    edit(root, key, min=[40], mean=[90.5], max=[141])
    assert main.main(["dataset", "stats", str(root)]) == 0
    said = capsys.readouterr().out
    assert f"{key}: " in said and f"`armlet dataset stats {root} --write`" in said
    assert main.main(["dataset", "check", str(root)]) == 0
    assert main.main(["dataset", "stats", str(root), "--write"]) == 0
    capsys.readouterr()
    assert main.main(["dataset", "stats", str(root)]) == 0
    assert capsys.readouterr().out == f"{root}: statistics are those of the data\n"


@pytest.mark.parametrize("key", ["index", "timestamp"])
def test_statistics_of_a_counter_that_cannot_be_used_are_an_error(key, root):
    edit(root, key, mean=[1.0, 2.0])
    assert main.main(["dataset", "stats", str(root)]) == 1


# --- pictures of little contrast ----------------------------------------------------------------


def faint(action, state, pictures, skews, k):
    """Green spreads by 0.02, less than what camera and video may differ by."""
    for name, images in pictures.items():
        pictures[name] = [
            np.stack([a[..., 0], 100 + a[..., 1] // 8, a[..., 2]], axis=-1) for a in images
        ]


def test_a_channel_whose_contrast_is_lost_is_named(tmp_path):
    """As LeRobot 0.6 adds up millions of pixels in float32: its mean is about right, its std 0."""
    root = recorded(tmp_path / "set", change=faint)
    key = "observation.images.front"
    red, green, blue = stored(root)[key]["std"]
    assert 0.01 < green[0][0] < 0.03
    assert not [f for f in recount(root).differences if "std" in f.found]
    edit(root, key, std=[red, [[1e-6]], blue])
    [found] = [f for f in recount(root).differences if "std" in f.found]
    assert found.subject == key and "std[1] is stored as 1e-06" in found.found
