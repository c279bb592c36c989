"""Statistics, results on disk and reports of trials in closed loop."""

import dataclasses
import json
import math
import os
import random
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from armlet.evaluation.trials.movement import path_length, spectral_arc_length, speeds
from armlet.evaluation.trials.page import check_folder, html, plot, write
from armlet.evaluation.trials.report import Report, Side, compare, rows
from armlet.evaluation.trials.results import (
    TRIALS_FILE,
    Plan,
    Results,
    files_of,
    fingerprint,
    read_trials,
)
from armlet.evaluation.trials.statistics import SURE, mcnemar, quartiles, wilson
from armlet.evaluation.trials.trial import Trial
from armlet.files import FileError, OutputError

PLAN = Plan(
    task="reach",
    checkpoint="a" * 64,
    name="checkpoints/x",
    limit_s=6.0,
    arguments={"strategy": "rtc"},
    physics="mujoco",
    task_digest="c" * 64,
    domain_digest="d" * 64,
    domain="dim.yaml",
)


def trial(seed, success=True, **given):
    values = {
        "seed": seed,
        "success": success,
        "time_s": 2.0 + 0.01 * seed if success else None,
        "duration_s": 3.0 if success else 6.0,
        "final": 0.001 if success else 0.2,
        "path_rad": 3.0,
        "path_m": 0.25,
        "smoothness": -1.6,
        "digest": f"{seed:064x}",
    }
    return Trial(**{**values, **given})


# --- success rates --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        # R. G. Newcombe, Statistics in Medicine 17 (1998) 857-872, table I, method 3.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
        # By hand: z^2 = 3.841459; without failures low is n / (n + z^2).
        (20, 20, 20 / 23.841459, 1.0),
        (0, 0, 0.0, 1.0),
    ],
)
def test_wilsons_interval_is_that_of_the_literature(successes, trials, low, high):
    found = wilson(successes, trials)
    assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 2000), st.data())
def test_the_ends_are_the_rates_that_the_score_test_just_does_not_reject(trials, data):
    successes = data.draw(st.integers(0, trials))
    rate, found = successes / trials, wilson(successes, trials)
    assert 0.0 <= found.low <= rate <= found.high <= 1.0
    for end in (found.low, found.high):
        if 0 < end < 1:
            distance = abs(rate - end) / math.sqrt(end * (1 - end) / trials)
            assert distance == pytest.approx(1.959963985, rel=1e-6)
    mirrored = wilson(trials - successes, trials)
    assert (1 - mirrored.high, 1 - mirrored.low) == pytest.approx((found.low, found.high))


@pytest.mark.parametrize(("successes", "trials"), [(3, 2), (-1, 2)])
def test_a_rate_of_nothing_is_refused(successes, trials):
    with pytest.raises(ValueError, match="expected 0 to 2 successes"):
        wilson(successes, trials)


@pytest.mark.parametrize(
    ("only_a", "only_b", "p"),
    [
        (0, 0, 1.0),
        (1, 0, 1.0),
        (5, 0, 2 / 32),
        (6, 0, 2 / 64),
        (10, 2, 2 * (1 + 12 + 66) / 4096),
        (3, 3, 1.0),
        (8, 1, 2 * (1 + 9) / 512),
    ],
)
def test_mcnemars_p_is_the_sum_of_binomials(only_a, only_b, p):
    assert mcnemar(only_a, only_b) == pytest.approx(p, rel=1e-12)
    assert mcnemar(only_b, only_a) == mcnemar(only_a, only_b)


def test_a_true_null_is_rejected_at_the_stated_level_at_most():
    """Exactly: of every number of discordant pairs, each falls to either side with a half."""
    for pairs in range(1, 80):
        rejected = sum(
            math.comb(pairs, count)
            for count in range(pairs + 1)
            if mcnemar(count, pairs - count) < SURE
        )
        assert rejected / 2**pairs <= SURE


def successes(rng, rates):
    return [bool(rng.random() < rate) for rate in rates]


def trials_of(outcomes):
    return [trial(seed, success) for seed, success in enumerate(outcomes)]


def test_a_policy_beside_itself_is_rarely_called_different_and_a_better_one_mostly():
    """A hundred comparisons of a hundred trials each; scenes differ in how hard they are."""
    rng = np.random.default_rng(0)
    false, found, wrong = 0, 0, 0
    for _ in range(100):
        rates = rng.beta(4, 1, size=100)  # 0.8 in the mean
        policy, same, worse = (
            trials_of(successes(rng, share * rates)) for share in (1.0, 1.0, 0.75)
        )
        false += compare(policy, same).better != ""
        better = compare(policy, worse).better
        found += better == "A"
        wrong += better == "B"
    assert false <= 5 and found >= 80 and wrong == 0


def test_seeds_that_one_side_lacks_are_no_pairs():
    a = [trial(0), trial(1, False), trial(2), trial(3), trial(9)]
    b = [trial(0), trial(1), trial(2, False), trial(3, False), trial(8)]
    found = compare(a, b)
    assert (found.both, found.neither, found.only_a, found.only_b) == (1, 0, (2, 3), (1,))
    assert found.better == "" and "no difference is shown" in found.verdict


def test_quartiles_lie_between_values():
    assert quartiles([]) is None
    found = quartiles([4.0, 1.0, 2.0, 3.0])
    assert (found.low, found.median, found.high) == (1.75, 2.5, 3.25)


# --- movement -------------------------------------------------------------------------------------


def test_a_path_is_as_long_as_its_parts():
    assert path_length(np.array([[0.0, 0.0], [3.0, 4.0], [3.0, 10.0]])) == 11.0
    assert path_length(np.zeros((1, 6))) == 0.0
    found = speeds(np.array([[0.0], [1.0], [1.0]]), np.array([0.0, 0.5, 1.5]))
    assert found.tolist() == [2.0, 0.0]


def bump(times_s, middle_s, width_s=0.5):
    """The speed of a minimum-jerk move."""
    s = np.clip((times_s - middle_s) / (2 * width_s) + 0.5, 0, 1)
    return 30 * s**2 * (1 - s) ** 2


def test_one_move_is_smoother_than_two_and_two_than_a_tremor():
    times_s = np.arange(0, 4, 0.01)
    one, two = bump(times_s, 1.0), bump(times_s, 1.0) + bump(times_s, 2.5)
    shaking = one * (1 + 0.8 * np.sin(2 * math.pi * 6 * times_s))
    smooth, apart, tremor = (spectral_arc_length(v, 100.0) for v in (one, two, shaking))
    assert -1.6 < smooth < -1.35
    assert smooth > apart and smooth > tremor
    assert spectral_arc_length(7 * one, 100.0) == pytest.approx(smooth)
    assert spectral_arc_length(np.zeros(50), 100.0) == 0.0


# --- results on disk ------------------------------------------------------------------------------


def test_results_go_on_where_they_stopped(tmp_path):
    folder = tmp_path / "A"
    with Results(folder, PLAN) as results:
        results.add(trial(4, False))
        results.add(trial(2))
    with Results(folder, dataclasses.replace(PLAN, name="elsewhere/x", domain="a.yaml")) as results:
        assert results.missing(range(1, 5)) == [1, 3]
        results.add(trial(3))
        assert [one.seed for one in results.of(range(4))] == [2, 3]
    assert read_trials(folder) == [trial(4, False), trial(2), trial(3)]


def test_a_line_that_a_kill_cut_short_is_run_again(tmp_path):
    with Results(tmp_path, PLAN) as results:
        results.add(trial(0))
        results.add(trial(1))
    path = tmp_path / TRIALS_FILE
    whole = path.read_bytes()
    for end in range(len(trial(0).line()), len(whole)):
        path.write_bytes(whole[:end])
        with Results(tmp_path, PLAN) as results:
            assert results.missing(range(2)) == [1]
            results.add(trial(1))
        assert path.read_bytes() == whole


@pytest.mark.parametrize("key", PLAN.decides)
def test_trials_of_another_plan_are_not_mixed_in(tmp_path, key):
    others = {"task": "push", "checkpoint": "b" * 64, "limit_s": 9.0}
    others |= {"arguments": {"strategy": "auto"}, "physics": "kinematic"}
    others |= {"task_digest": "b" * 64, "domain_digest": "b" * 64}
    others |= {"files": {"params_file": "c" * 64}}
    Results(tmp_path, PLAN).__exit__(None, None, None)
    with pytest.raises(FileError, match=f"another evaluation.*{key}.*--output"):
        Results(tmp_path, dataclasses.replace(PLAN, **{key: others[key]}))


def test_a_plan_knows_the_files_that_its_arguments_name(tmp_path):
    """Trials of a domain file that was edited in between were mixed with those of before."""
    file = tmp_path / "domain.yaml"
    file.write_text("a: 1")
    before = files_of({"domain": str(file), "strategy": "rtc"})
    file.write_text("a: 2")
    assert list(before) == ["domain"]
    assert files_of({"domain": str(file), "strategy": "rtc"}) != before


@pytest.mark.parametrize("rest", [b"important", b"\x00\x01", b'{"name": "x"', b"x" * 100_000])
def test_only_what_a_kill_left_of_a_trial_is_removed(tmp_path, rest):
    with Results(tmp_path, PLAN) as results:
        results.add(trial(0))
    path = tmp_path / TRIALS_FILE
    whole = path.read_bytes() + rest
    path.write_bytes(whole)
    with pytest.raises(FileError, match="no trial that was cut short"):
        Results(tmp_path, PLAN)
    assert path.read_bytes() == whole


def test_zeros_that_a_power_failure_left_are_removed(tmp_path):
    with Results(tmp_path, PLAN) as results:
        results.add(trial(0))
    path = tmp_path / TRIALS_FILE
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"see' + bytes(4096))
    with Results(tmp_path, PLAN) as results:
        assert results.missing(range(2)) == [1]
    assert path.read_bytes() == whole


def test_trials_behind_a_link_are_left_alone(tmp_path):
    other = tmp_path / "mine"
    other.write_bytes(b"important")
    folder = tmp_path / "A"
    Results(folder, PLAN).__exit__(None, None, None)
    (folder / TRIALS_FILE).unlink()
    (folder / TRIALS_FILE).symlink_to(other)
    with pytest.raises(FileError, match="a link"):
        Results(folder, PLAN)
    assert other.read_bytes() == b"important"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"seed": -1}, "0 or more"),
        ({"duration_s": -1.0}, "0 or more"),
        ({"success": False}, "do not agree"),
        ({"video": "../../x.mp4"}, "videos/NAME.mp4"),
    ],
)
def test_what_cannot_be_a_trial_is_refused(tmp_path, changed, message):
    with Results(tmp_path, PLAN) as results:
        results.add(dataclasses.replace(trial(0), **changed))
    with pytest.raises(FileError, match=message):
        Results(tmp_path, PLAN)


def test_two_trials_of_one_seed_are_refused(tmp_path):
    with Results(tmp_path, PLAN) as results:
        results.add(trial(0))
        results.add(trial(0, False))
    with pytest.raises(FileError, match="more than one trial of seed 0"):
        Results(tmp_path, PLAN)


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(FileError, match="something else"):
        Results(tmp_path, PLAN)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_two_evaluations_do_not_write_one_folder(tmp_path):
    with Results(tmp_path, PLAN), pytest.raises(FileError, match="another armlet eval"):
        Results(tmp_path, PLAN)
    Results(tmp_path, PLAN).__exit__(None, None, None)


@given(st.integers(0, 10**9))
def test_damaged_results_are_refused_in_words(tmp_path_factory, seed):
    rng = random.Random(seed)
    folder = tmp_path_factory.mktemp("damaged")
    with Results(folder, PLAN) as results:
        results.add(trial(0))
        results.add(trial(1))
    path = rng.choice(sorted(folder.iterdir()))
    content = bytearray(path.read_bytes())
    for _ in range(rng.randint(1, 4)):
        content[rng.randrange(len(content))] = rng.randrange(256)
    path.write_bytes(content)
    try:
        with Results(folder, PLAN) as results:
            assert all(isinstance(one.success, bool) for one in results.of(range(2)))
    except FileError as error:
        assert str(folder) in str(error)


def test_a_checkpoint_is_known_by_all_its_files(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    first = fingerprint(tmp_path)
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "lock").write_text("")
    assert fingerprint(tmp_path) == first
    (tmp_path / "statistics.safetensors").write_bytes(b"other")
    assert fingerprint(tmp_path) != first


# --- reports --------------------------------------------------------------------------------------


def report(*sides):
    return Report(
        "reach <1>", tuple(Side(n, PLAN, tuple(t)) for n, t in zip("AB", sides, strict=False))
    )


def test_a_report_has_what_was_asked_for():
    table = {line[0]: line[1:] for line in rows(report([trial(0), trial(1, False)]))}
    assert table["success rate"] == ["50.0%"]
    assert table["95% interval (Wilson)"] == ["9.5% to 90.5%"]
    assert table["time to success (s)"] == ["2.00 (2.00 to 2.00)"]
    assert table["arguments"] == ["strategy:=rtc"]
    assert (table["physics"], table["domain"]) == (["mujoco"], ["dim.yaml"])
    by_hand = rows(report([trial(0, path_m=None)]))
    assert "path of the tip (m)" not in [line[0] for line in by_hand]


def test_a_report_of_failures_alone_has_no_times():
    found = report([trial(0, False)]).to_json()["A"]
    assert (found["time_s"], found["path_m"], found["rate"]) == (None, None, 0.0)


def test_pages_plots_and_json_are_well_formed_and_the_same_twice(tmp_path):
    found = report([trial(0), trial(1, False, video="videos/seed-1.mp4")], [trial(0), trial(1)])
    video = tmp_path / "A" / "videos" / "seed-1.mp4"
    video.parent.mkdir(parents=True)
    write(found, tmp_path)
    first = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    assert set(first) == {"report.html", "report.svg", "report.json"}
    assert b"<video" not in first["report.html"], "a video that is not there is not shown"
    video.write_bytes(b"")
    check_folder(tmp_path)
    write(found, tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert "src='A/videos/seed-1.mp4'" in page and "reach &lt;1&gt;" in page
    assert "script" not in page.replace("script-src", "")
    ElementTree.fromstring(plot(found))
    assert json.loads(first["report.json"])["comparison"]["p"] == 1.0
    assert html(found, plot(found), tmp_path) == page


def test_a_page_of_somebody_else_is_not_written_over(tmp_path):
    (tmp_path / "report.html").write_text("<html>mine</html>")
    with pytest.raises(OutputError, match="not a page of `armlet eval`"):
        check_folder(tmp_path)


@pytest.mark.parametrize("name", ["report.svg", "report.json"])
def test_a_report_of_somebody_else_is_not_written_over(tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(OutputError, match="not written by `armlet eval`"):
        check_folder(tmp_path)


@pytest.mark.parametrize("name", ["report.html", "report.svg", "report.json"])
def test_a_report_does_not_go_through_a_link(tmp_path, name):
    write(report([trial(0)]), tmp_path)
    (tmp_path / name).rename(tmp_path / "elsewhere")
    (tmp_path / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OutputError):
        check_folder(tmp_path)


def test_a_trial_that_only_a_part_of_fits_on_the_disk_leaves_nothing(tmp_path, monkeypatch):
    def short(descriptor, content, real=os.write):
        monkeypatch.setattr(os, "write", full)
        return real(descriptor, content[:20])

    def full(*_):
        raise OSError(28, "full")

    with Results(tmp_path, PLAN) as results:
        results.add(trial(0))
        before = (tmp_path / TRIALS_FILE).read_bytes()
        monkeypatch.setattr(os, "write", short)
        with pytest.raises(OSError, match=f"full.*{TRIALS_FILE}"):
            results.add(trial(1))
    assert (tmp_path / TRIALS_FILE).read_bytes() == before


def test_nothing_is_lost_when_the_disk_is_full(tmp_path, monkeypatch):
    with Results(tmp_path, PLAN) as results:
        results.add(trial(0))
        monkeypatch.setattr(os, "write", lambda *_: (_ for _ in ()).throw(OSError(28, "full")))
        with pytest.raises(OSError, match="full"):
            results.add(trial(1))
        assert results.missing(range(2)) == [1]
