"""`armlet policy export`, and inspect and infer on what it writes."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the policy extra is not installed")
pytest.importorskip("onnx", reason="the export extra is not installed")
pytest.importorskip("onnxruntime", reason="the export extra is not installed")

sys.path.insert(0, str(Path(__file__).parents[1] / "policies"))

from small_policies import act_config, make_act, make_observation, make_statistics

from armlet.cli.main import main
from armlet.cli.policy import policy_export
from armlet.policies import load_policy, save_checkpoint
from armlet.policies.runtime import export as exports


def run(*arguments):
    return main(["policy", *map(str, arguments)])


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("cli") / "checkpoint"
    config = act_config(cameras=())
    save_checkpoint(path, make_act(config), config, make_statistics(config))
    return path


@pytest.fixture(scope="module")
def export(checkpoint):
    path = checkpoint.parent / "export"
    assert run("export", checkpoint, "--output", path) == 0
    return path


@pytest.fixture
def calibration_file(tmp_path):
    joints = ["shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper"]
    same = {"drive_mode": 0, "homing_offset": 0, "range_min": 1000, "range_max": 3000}
    path = tmp_path / "calibration.json"
    path.write_text(json.dumps({joint: {"id": i, **same} for i, joint in enumerate(joints, 1)}))
    return path


def test_export_reports_what_it_wrote_and_how_exact_it_is(checkpoint, tmp_path, capsys):
    assert run("export", checkpoint, "--output", tmp_path / "export") == 0
    said, warned = capsys.readouterr()
    assert "graph takes    observation.state float32 [6]" in said
    assert "graph gives    action float32 [8, 6]" in said
    errors = [float(line.split()[-1]) for line in said.splitlines() if "largest error" in line]
    assert len(errors) == 6 and 0 < max(errors) < 1e-4
    assert not warned


def test_inspect_reports_the_same_of_the_directory(export, capsys):
    assert run("inspect", export) == 0
    said = capsys.readouterr().out
    assert "policy         ACT" in said and "verified with  onnxruntime, float32" in said
    assert "observation.environment_state [2] MEAN_STD" in said and "4 of 8 actions" in said


def test_inspect_refuses_a_torn_export(export, tmp_path, capsys):
    import shutil

    torn = shutil.copytree(export, tmp_path / "torn")
    (torn / "policy.onnx").write_bytes((torn / "policy.onnx").read_bytes()[:1000])
    assert run("inspect", torn) == 2
    error = capsys.readouterr().err
    assert "found 1000 bytes" in error and error.count("\n") == 1


def test_infer_runs_the_export(checkpoint, export, tmp_path):
    observation = make_observation(act_config(cameras=()))
    arrays = {
        "state": observation.state[None],
        "environment_state": observation.environment_state[None],
    }
    np.savez(tmp_path / "in.npz", **arrays)
    places = ("--input", tmp_path / "in.npz", "--output", tmp_path / "out.npz")
    assert run("infer", "--checkpoint", export, "--backend", "onnxruntime", *places) == 0
    exact = load_policy(checkpoint, optimize=False).predict_chunk(observation)
    chunk = np.load(tmp_path / "out.npz")["chunk"]
    np.testing.assert_allclose(chunk, exact, atol=1e-4)
    assert not np.array_equal(chunk, exact)


def test_radians_need_units(checkpoint, calibration_file, tmp_path, capsys):
    wanted = ("export", checkpoint, "--output", tmp_path / "x", "--calibration", calibration_file)
    assert run(*wanted) == 2
    assert "units of the joints: expected" in capsys.readouterr().err
    assert run(*wanted, "--joint-units", "degrees") == 0
    said = capsys.readouterr().out
    assert "graph units    radians (of a dataset in degrees)" in said and "calibration    " in said


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--precision", "bfloat16"), "expected float32 for backend onnxruntime"),
        (("--calibration", "nowhere.json"), "no calibration file nowhere.json"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_status_2(
    options, message, checkpoint, tmp_path, capsys
):
    assert run("export", checkpoint, "--output", tmp_path / "x", *options) == 2
    error = capsys.readouterr().err
    assert (
        error.startswith("armlet policy export: ") and message in error and error.count("\n") == 1
    )
    assert not (tmp_path / "x").exists()


def test_an_existing_directory_is_left_alone(checkpoint, export, capsys):
    before = (export / "export.json").read_bytes()
    assert run("export", checkpoint, "--output", export) == 2
    assert "expected a new directory" in capsys.readouterr().err
    assert (export / "export.json").read_bytes() == before


def test_more_error_than_parity_is_said_loudly(checkpoint, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(exports, "PARITY", 1e-9)
    assert run("export", checkpoint, "--output", tmp_path / "export") == 0
    assert "warning: largest error: expected at most 1e-09" in capsys.readouterr().err


def test_units_are_named(export):
    assert policy_export.unit_name(exports.read_export(export).manifest) == "the dataset's"
