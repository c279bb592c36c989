"""What makes a dataset unfit to train on is found, and a good one is not accused."""

import cProfile
import dataclasses
import json
import re
from pathlib import Path

import av
import numpy as np
import pytest
from made_episodes import CONTRACT, START_NS, picture

from armlet.datasets import Dataset, DatasetWriter, EpisodeFrame
from armlet.datasets.check.quality import check_name, review
from armlet.datasets.check.review_joints import lag_s, suspect_units
from armlet.datasets.check.review_pictures import overflown
from armlet.datasets.check.rows import episode_of
from armlet.datasets.format import layout, stats

REAL = Path(__file__).resolve().parents[3] / "shared/data/so101_real"
FPS = 30
SECONDS = 3


def motion(lag_frames=4.0, phase=0.0, seconds=SECONDS):
    """Actions (L, 6), degrees but for the gripper, and the states that follow them."""
    times = np.arange(round(seconds * FPS)) / FPS
    scale = np.array([30.0, 40.0, 35.0, 25.0, 110.0, 40.0])
    shift = np.array([0.0, 0.0, 0.0, 0.0, 0.0, 50.0])

    def at(t):
        return shift + scale * np.sin(
            2.0 * t[:, None] + phase + np.arange(6) + 0.3 * np.sin(5 * t[:, None])
        )

    return at(times), at(times - lag_frames / FPS)


def recorded(root, episodes=2, contract=CONTRACT, change=None, seconds=SECONDS, **other):
    """A healthy dataset; change(action, state, pictures, skews, k) makes it ill."""
    with DatasetWriter(root, contract) as writer:
        for k in range(episodes):
            action, state = motion(phase=k, seconds=seconds)
            pictures = {
                c.name: [picture(i + 31 * k, c.height, c.width) for i in range(len(action))]
                for c in contract.cameras
            }
            skews = np.full((len(action), len(contract.alignment)), 0.004)
            if change is not None:
                changed = change(action, state, pictures, skews, k)
                action, state = changed if changed is not None else (action, state)
            writer.begin_episode(other.get("task", "pick"))
            for i, (goal, joints) in enumerate(zip(action, state, strict=True)):
                images = {name: values[i] for name, values in pictures.items()}
                skew = {s.name: skews[i, n] for n, s in enumerate(contract.alignment)}
                stamp = START_NS + k * 10**12 + i * 10**9 // FPS
                writer.add_frame(EpisodeFrame(joints, goal, images, stamp, skew))
            writer.finish_episode(other.get("ledger"))
    return root


def found(root, **options):
    findings = review(root, **options).findings
    for one in findings:
        assert episode_of(one) == next(map(int, re.findall(r"episode (\d+)", one.subject)), None)
    return [(f.severity, check_name(f), f.subject, f.found) for f in findings]


def only(root, **options):
    """The one finding."""
    findings = found(root, **options)
    assert len(findings) == 1, findings
    return findings[0]


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    return recorded(tmp_path_factory.mktemp("lint") / "sound")


def test_a_good_dataset_is_not_accused_and_its_lag_is_measured(sound):
    result = review(sound)
    assert result.findings == ()
    for lag in result.lags:
        assert lag.lag_s == pytest.approx(4 / FPS, abs=0.005)
        assert lag.episodes == 2
    assert json.dumps(result.to_json())


@pytest.mark.parametrize("lag_frames", [-3.0, 0.0, 2.5, 7.25])
def test_lag_is_measured_between_frames_too(lag_frames):
    action, state = motion(lag_frames, seconds=8)
    noise = np.random.default_rng(0).normal(0, 0.05, state.shape)
    measured, correlation = lag_s(action[:, 1], (state + noise)[:, 1], FPS)
    assert measured == pytest.approx(lag_frames / FPS, abs=0.006)
    assert correlation > 0.95


def test_lag_of_what_does_not_move_is_unknown():
    still = np.zeros(90)
    assert lag_s(still, still, FPS) is None
    unrelated = np.random.default_rng(0).normal(0, 10, (2, 300))
    assert lag_s(unrelated[0], unrelated[1], FPS) is None


@pytest.mark.skipif(not REAL.exists(), reason=f"no real recording at {REAL}")
def test_a_real_recording(tmp_path):
    result = review(REAL)
    lags = [lag.lag_s for lag in result.lags]
    assert all(0.09 < lag < 0.17 for lag in lags)  # "about 4 frames (130 ms)"
    found = {(check_name(f), f.subject) for f in result.findings}
    assert {("std", f"observation.images.{name}") for name in ("top", "front")} < found
    assert {check_name(f) for f in result.findings} == {"std", "structure"}  # its videos are absent
    assert all("dataset stats --write" in f.fix for f in result.findings if check_name(f) == "std")


def copied(action, state, *_):
    return action, action


def shifted(frames):
    def change(action, state, *_):
        return action, np.roll(action, frames, axis=0)

    return change


def spike(action, state, pictures, skews, k):
    if k == 1:
        state[40, 2] += 25
    return action, state


def wrap(action, state, pictures, skews, k):
    if k == 1:
        state[40:, 4] -= 300
    return action, state


def stuck(action, state, *_):
    state[:, 1] = 12.0
    return action, state


def unused(action, state, *_):
    state[:, 4] = action[:, 4] = 3.0
    return action, state


def radians(action, state, *_):
    return np.radians(action), np.radians(state)


def half_radians(action, state, *_):
    return np.radians(action), state


def ticks(action, state, *_):
    return np.round(action * 11 + 2048), np.round(state * 11 + 2048)


def clamped(action, state, *_):
    return np.clip(action, -100, 100), np.clip(state, -100, 100)


def open_wide(action, state, *_):
    action[:, 5] += 60
    state[:, 5] += 60
    return action, state


def frozen(action, state, pictures, skews, k):
    if k == 1:
        pictures["wrist"][20:70] = [pictures["wrist"][20]] * 50


def dark(action, state, pictures, skews, k):
    if k == 1:
        pictures["front"][:] = [p // 60 for p in pictures["front"]]


def brighter(action, state, pictures, skews, k):
    if k == 1:
        pictures["front"][:] = [p // 2 + 120 for p in pictures["front"]]


def late(action, state, pictures, skews, k):
    skews[17, 1] = 0.05


def off(action, state, pictures, skews, k):
    skews[:, 1] = -0.028


ILL = {
    "copied": (copied, "error", "lag", "actions equal states"),
    "early": (shifted(-2), "warning", "lag", "states follow actions by -"),
    "spike": (spike, "error", "outlier", "state of elbow_flex.pos has 1 outlier(s), first at"),
    "wrap": (wrap, "error", "jump", "state of wrist_roll.pos jumps"),
    "stuck": (stuck, "error", "constant", "never changes while its action spans"),
    "unused": (unused, "warning", "constant", "spans 0.00 in the whole dataset"),
    "half radians": (half_radians, "error", "units", "no value beyond"),
    "ticks": (ticks, "error", "units", "like servo ticks"),
    "clamped": (clamped, "error", "units", "stops at exactly 100"),
    "open wide": (open_wide, "error", "units", "expected 0..100"),
    "frozen": (frozen, "error", "frozen", "50 pictures from frame 20 on are the same, 1.7 s"),
    "dark": (dark, "warning", "picture", "pictures are dark"),
    "brighter": (brighter, "warning", "picture", "brightness"),
    "late": (late, "error", "skew", "1 frame(s) of samples up to 50 ms away"),
    "off": (off, "warning", "skew", "lie -28 ms from their frames"),
}


@pytest.mark.parametrize("name", ILL)
def test_what_is_wrong_is_named(tmp_path, name):
    change, severity, check, text = ILL[name]
    contract = dataclasses.replace(
        CONTRACT,
        alignment=(CONTRACT.alignment[0], dataclasses.replace(CONTRACT.alignment[1], name="front")),
    )
    episodes = 3 if name == "brighter" else 2
    findings = found(recorded(tmp_path / "set", episodes, contract, change))
    fitting = [f for f in findings if f[:2] == (severity, check) and text in f[3]]
    assert fitting, findings
    # Ticks and wrapped turns are impossible motions too, and a dark picture never changes.
    if name not in ("half radians", "ticks", "wrap", "dark"):
        assert {f[1] for f in findings} <= {check, "lag"}, findings


def test_radians_in_both_are_suspected_whatever_is_declared(tmp_path):
    for units in ("degrees", "range_m100_100", None):
        values = np.radians(motion()[0])
        assert "like radians" in suspect_units(values, list(CONTRACT.state_names), units)
    assert suspect_units(motion()[0], list(CONTRACT.state_names), "degrees") == ""
    assert "like degrees" in suspect_units(
        motion()[0], list(CONTRACT.state_names), "range_m100_100"
    )
    assert suspect_units(np.zeros((5, 6)), list(CONTRACT.state_names), "degrees") == ""


def test_still_arms_and_still_pictures_are_no_frozen_camera(tmp_path):
    def rest(action, state, pictures, skews, k):
        state[30:75] = state[30]
        action[30:75] = action[30]
        for values in pictures.values():
            values[30:75] = [values[30]] * 45

    root = recorded(tmp_path / "set", change=rest)
    assert [f for f in found(root) if f[1] == "frozen"] == []
    assert [f for f in found(root, videos=False) if f[1] == "frozen"] == []


def test_short_episodes_and_alike_tasks(tmp_path):
    root = recorded(tmp_path / "set", episodes=1, seconds=0.5, task="Pick the cube.")
    assert ("warning", "short", "episode 0", "15 frames, 0.50 s") in found(root)
    recorded(root, episodes=1, task="pick the  cube")
    assert any(f[1] == "task" and "differ only" in f[3] for f in found(root))


def test_a_slow_stream_by_the_ledger(tmp_path):
    root = recorded(tmp_path / "set", ledger={"front": {"used": 90, "reused": 40}})
    assert {f[1] for f in found(root)} == {"reused"}
    assert "40 of 90 frames repeat" in found(root)[0][3]


def edit(root, change):
    document = json.loads((root / layout.STATS).read_text())
    change(document)
    (root / layout.STATS).write_text(json.dumps(document))


def test_statistics_that_are_not_the_datas(tmp_path):
    root = recorded(tmp_path / "set", episodes=1)
    edit(root, lambda d: d[layout.STATE]["mean"].__setitem__(3, 77.0))
    severity, check, where, text = only(root)
    assert (severity, check, where) == ("error", "statistics", layout.STATE)
    assert "mean[3] is stored as 77" in text
    edit(root, lambda d: d["observation.images.front"].update(std=[[[5e-4]]] * 3))
    assert ("warning", "std", "observation.images.front") in {f[:3] for f in found(root)}


def test_overflown_std_is_seen_without_quantiles_too():
    sound = {"min": np.zeros(3), "max": np.ones(3), "mean": np.full(3, 0.4), "std": np.full(3, 0.2)}
    assert not overflown(sound)
    assert overflown({**sound, "std": np.full(3, 5e-4)})


def test_a_broken_dataset_is_an_error_and_no_exception(tmp_path):
    root = recorded(tmp_path / "set", episodes=1)
    (root / "data/chunk-000/file-000.parquet").write_bytes(b"PAR1")
    findings = review(root).findings
    assert findings
    assert all(f.severity == "error" and check_name(f) == "structure" for f in findings)
    assert review(tmp_path).errors == 1


def write_video(path, pictures, rate):
    """Gray pictures, each a little brighter, at a constant rate."""
    path.unlink()
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(pictures):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 40 + number, np.uint8))
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


@pytest.mark.parametrize(
    ("pictures", "rate", "code", "text"),
    [
        (41, 25, "rate", "41 pictures at 25 a second, the dataset has 30"),
        (82, 60, "rate", "82 pictures at 60 a second, the dataset has 30"),
        (30, 30, "unreadable", "30 pictures of 41"),
    ],
)
def test_a_video_of_another_rate_is_no_missing_file(tmp_path, pictures, rate, code, text):
    """Its rate is named, and encoding it again, not fetching it."""
    root = recorded(tmp_path / "set", episodes=1, seconds=41 / FPS)
    write_video(next(root.glob("videos/*front/*/*.mp4")), pictures, rate)
    reported = {
        f.code: f for f in review(root).findings if "pictures at" in f.found or " of 41" in f.found
    }
    assert set(reported) == {f"dataset.video-{code}"}
    (finding,) = reported.values()
    assert text in finding.found
    assert ("git lfs" in finding.fix) == (code == "unreadable")
    assert ("constant 30 pictures a second" in finding.fix) == (code == "rate")


def test_ten_more_episodes_are_as_much_work_as_the_ten_before_without_pictures(tmp_path):
    calls = []
    for numbers in (range(20), range(20, 30), range(30, 40)):
        record(tmp_path / "set", numbers)
        profile = cProfile.Profile()
        issues = profile.runcall(found, tmp_path / "set", videos=False)
        assert [issue for issue in issues if issue[0] == "error"] == []
        calls.append(sum(function.callcount for function in profile.getstats()))
    twenty, thirty, forty = calls
    assert forty - thirty == pytest.approx(thirty - twenty, rel=0.2)


def record(root, numbers):
    """Episodes of a second each, without pictures."""
    contract = dataclasses.replace(CONTRACT, cameras=(), alignment=())
    with DatasetWriter(root, contract) as writer:
        for k in numbers:
            action, state = motion(phase=k, seconds=1)
            writer.begin_episode("pick")
            for i in range(len(action)):
                stamp = START_NS + k * 10**12 + i * 10**9 // FPS
                writer.add_frame(EpisodeFrame(state[i], action[i], {}, stamp, {}))
            writer.finish_episode()


@pytest.mark.parametrize("lacking", ["q10", "q90"])
def test_statistics_with_a_quantile_lacking_are_judged_by_the_rest(sound, lacking):
    picture = dict(Dataset(sound).statistics["observation.images.front"])
    del picture[lacking]
    assert not overflown(picture)
    assert not stats.std_below_quantiles(picture)
    picture["std"] = picture["std"] * 1e-4
    assert overflown(picture)
