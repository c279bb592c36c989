"""benchmarks/mismatch.py: what its faults do to pictures, and what its table says of results."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module", autouse=True)
def programs():
    sys.path.insert(0, str(BENCHMARKS))
    yield
    sys.path.remove(str(BENCHMARKS))


def taken(name, since_s=0.0, size=(16, 8)):
    """Pictures of both cameras, one after the other, of scenes that tell what was done to them."""
    from mismatch_faults import CameraFault

    width, height = CameraFault.own_size(name, size)
    scenes = {
        view: np.random.default_rng(seed).integers(0, 120, (height, width, 3), np.uint8)
        for seed, view in enumerate(("front", "wrist"))
    }
    camera = CameraFault(name, lambda view, state: scenes[view] + np.uint8(state), size)
    return scenes, [camera("front", state, since_s + state) for state in (0, 1)]


def test_conditions_have_names_of_their_own():
    from mismatch_faults import CONDITIONS

    names = [each.name for each in CONDITIONS]
    assert len(set(names)) == len(names) >= 16 and names[0] == "consistent"


def test_bgr_and_swapped():
    scenes, (first, _) = taken("bgr")
    assert np.array_equal(first, scenes["front"][..., ::-1])
    scenes, (first, _) = taken("swapped")
    assert np.array_equal(first, scenes["wrist"])


@pytest.mark.parametrize("name", ["nearest", "resized", "cropped", "auto_exposure"])
def test_pictures_keep_the_size_that_the_graph_expects(name):
    scenes, (first, _) = taken(name)
    assert first.shape == (8, 16, 3) and first.dtype == np.uint8
    if name == "auto_exposure":
        assert first.mean() == pytest.approx(127, abs=2)
    if name == "nearest":
        assert np.array_equal(first, scenes["front"][2::4, 2::4])


def test_a_camera_that_hangs_repeats_its_last_picture():
    from mismatch_faults import HANGS_S

    _, (first, second) = taken("stale", HANGS_S - 0.5)
    assert np.array_equal(first, second)
    _, (first, second) = taken("stale")
    assert not np.array_equal(first, second)


def result(mode, success, refused="", events=()):
    from mismatch import Result

    return Result("bgr", mode, 7000, success, refused, None, None, 3.0, 1.0, list(events))


def test_the_table_counts_and_says_what_was_said(tmp_path):
    import mismatch_report

    said = {"time_s": 0.36, "level": "error", "by": "policy: inference", "codes": ""}
    refused = "policy: the policy does not fit:\nERROR colours: BGR [policy.channels-swapped]"
    results = [
        result("forced", True),
        result("forced", False),
        result("shipped", None, refused, [{**said, "said": refused}]),
    ]
    mismatch_report.write(tmp_path, results, None)
    row = (tmp_path / mismatch_report.TABLE).read_text().split("\n")[2]
    assert row.startswith("| BGR | 1/2 | 9 to 91 % | refused 1/1 | 0.4 | `policy.channels-swapped`")


def test_a_warning_is_a_report_and_nothing_is_silence():
    from mismatch_report import judged

    event = {
        "time_s": 2.0,
        "level": "warning",
        "by": "policy: drift",
        "codes": "policy.drift-state",
    }
    assert judged(result("shipped", True, events=[{**event, "said": "far"}])).kind == "reported"
    assert judged(result("shipped", True)).kind == "silent"
    waits = {**event, "by": "sim_bench: log", "said": "simulated time has waited 5 s"}
    assert judged(result("shipped", True, events=[waits])).kind == "silent"


def test_a_line_that_a_kill_cut_off_is_no_result(tmp_path):
    import json
    from dataclasses import asdict

    from mismatch import read

    line = json.dumps(asdict(result("forced", True)))
    (tmp_path / "results.jsonl").write_text(f"{line}\n{line[:30]}")
    assert list(read(tmp_path / "results.jsonl")) == [("bgr", "forced", 7000)]


def test_a_crash_is_no_refusal(tmp_path):
    from mismatch import _refusal_in

    log = tmp_path / "policy.log"
    log.write_text("[1.0] [policy]: does not fit:\n  ERROR joints: 5, expected 6\n")
    assert _refusal_in(log) == "ERROR joints: 5, expected 6"
    log.write_text("  ERROR joints: 5\nTraceback (most recent call last):\nKeyError: 'x'\n")
    assert not _refusal_in(log)


@pytest.mark.thorough
def test_what_the_faults_replace_is_there():
    """In a process of its own: it replaces methods of armlet."""
    pytest.importorskip("rclpy")
    pytest.importorskip("torch")
    program = (
        "from pathlib import Path; import mismatch_node as node\n"
        "for e in ('per_frame', 'sign', 'degrees', 'late', 'no_stamp'): node.spoil_policy(e)\n"
        "node.spoil_cameras('bgr'); node.heed_nothing(); node.play_all_chunks()\n"
        "node.show_network_input(Path('seen.png'))"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=BENCHMARKS)
