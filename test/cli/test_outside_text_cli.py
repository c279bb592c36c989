"""What commands print of files that others wrote, and that they stop when nobody reads."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "datasets"))
from made_episodes import CONTRACT, made, record

from armlet.cli.main import main
from armlet.datasets import DatasetWriter
from armlet.datasets.format import layout
from armlet.robots import CalibrationError
from armlet.robots.calibration import load

CASES = Path(__file__).parents[3] / "shared/cases"
EVIL = "\x1b[2J\x1b]0;owned\x07\u202e pick"


@pytest.fixture
def root(tmp_path):
    return made(tmp_path / "set", (3, 4))


def case(name):
    found = sorted(CASES.glob(name))
    if not found:
        pytest.skip(f"{CASES / name} is not here")
    return found[0]


def hidden(text):
    return sorted({letter for letter in text if not letter.isprintable()} - set("\n\t"))


@pytest.mark.representatives(3)
@pytest.mark.parametrize("words", [(), ("--json",)])
@pytest.mark.parametrize("verb", ["info", "check", "repair", "stats"])
def test_escape_sequences_of_a_task_or_robot_are_not_printed(root, capsys, verb, words):
    """S13: terminal escapes of task strings were printed."""
    with DatasetWriter(root, CONTRACT) as writer:
        record(writer, 2, EVIL)
    info = json.loads((root / layout.INFO).read_text())
    info["robot_type"] = EVIL
    (root / layout.INFO).write_text(json.dumps(info))
    if words and verb in ("repair", "stats"):
        words = ()
    main(["dataset", verb, str(root), *words])
    said = capsys.readouterr()
    assert hidden(said.out + said.err) == []
    if verb == "info":
        assert "pick" in said.out
        assert "\\x1b[2J" in said.out or json.loads(said.out)["robot"] == EVIL


def test_text_that_stdout_cannot_say_is_escaped(root, tmp_path):
    """A traceback after the edit was made, under ISO 8859 or where an encoding is set."""
    with DatasetWriter(root, CONTRACT) as writer:
        record(writer, 2, "拾う")
    environment = {**os.environ, "PYTHONIOENCODING": "iso8859-9", "PYTHONUTF8": "0"}
    command = [sys.executable, "-m", "armlet.cli.main", "dataset", "info", str(root)]
    done = subprocess.run(command, capture_output=True, timeout=120, env=environment)
    assert (done.returncode, done.stderr) == (0, b"")
    assert rb"\u62fe\u3046" in done.stdout


def test_a_task_of_5_mb_is_not_printed_in_full(root, capsys):
    with DatasetWriter(root, CONTRACT) as writer:
        record(writer, 2, "pick " * 1_000_000)
    for verb in ("info", "check", "repair"):
        main(["dataset", verb, str(root)])
    said = capsys.readouterr()
    assert len(said.out + said.err) < 10_000
    assert "more characters" in said.out


def test_names_in_a_refusal_are_made_safe(root, capsys):
    info = json.loads((root / layout.INFO).read_text())
    info["codebase_version"] = EVIL
    (root / layout.INFO).write_text(json.dumps(info))
    for verb in ("info", "repair", "stats", "view"):
        assert main(["dataset", verb, str(root)]) == 2
    assert main(["dataset", "check", str(root)]) == 1
    assert main(["dataset", "convert", str(root), str(root.parent / "out")]) == 2
    said = capsys.readouterr()
    assert hidden(said.out + said.err) == []
    assert "\\x1b[2J" in said.err


@pytest.mark.representatives(1)
@pytest.mark.parametrize("verb", [("info",), ("info", "--json"), ("check", "--no-video")])
def test_case_38_a_closed_pipe_is_a_quiet_end(root, verb):
    """Piped into a program that reads nothing, as `| head -0` is."""
    with DatasetWriter(root, CONTRACT) as writer:
        for number in range(3):
            record(writer, 1, f"task {number} " * 20_000)
    (root / "videos/observation.images.wrist/chunk-000/file-001.mp4").unlink()
    reading, writing = os.pipe()
    os.close(reading)
    words = [sys.executable, "-m", "armlet.cli.main", "dataset", verb[0], str(root), *verb[1:]]
    done = subprocess.run(words, stdout=writing, stderr=subprocess.PIPE, text=True, timeout=120)
    os.close(writing)
    assert done.stderr == ""
    assert done.returncode == 141


@pytest.mark.thorough
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    "words", ["dataset info ROOT", "dataset check ROOT --json", "up --list", "--help"]
)
def test_a_full_disk_behind_stdout_is_one_line(root, words, unbuffered):
    """Through `show`, `print` and argparse."""
    command = [sys.executable, "-m", "armlet.cli.main", *words.replace("ROOT", str(root)).split()]
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=120, env=environment
        )
    assert done.stderr.splitlines() == [
        "armlet: stdout cannot be written: No space left on device; free space there, or write "
        "elsewhere"
    ]
    assert done.returncode == 1


def test_another_error_of_the_system_is_not_blamed_on_stdout(monkeypatch):
    def broken(arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("armlet.cli.main._run", broken)
    with pytest.raises(OSError, match="No space"):
        main(["dataset", "info", "nothing"])


def test_case_31_the_weights_of_a_policy_that_are_a_pointer_are_called_one(capsys):
    pytest.importorskip("torch")
    folder = case("31-*/lfs_policy")
    assert main(["policy", "inspect", str(folder)]) == 2
    said = capsys.readouterr().err
    assert "Git LFS pointer" in said
    assert "git lfs pull" in said


def test_case_33_lerobots_calibration_of_before_mid_2025_is_recognized():
    with pytest.raises(CalibrationError, match=r"before mid-2025.*calibrate the arm again"):
        load(case("33-*/old_lists.json"))


@pytest.mark.thorough
def test_a_page_is_drawn_over_its_own_and_over_nothing_else(root, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    page = tmp_path / "page"
    page.mkdir()
    (page / "index.html").write_text("<p>mine</p>")
    assert main(["dataset", "view", str(root), "--output", str(page)]) == 2
    assert "is not a page of" in capsys.readouterr().err
    assert (page / "index.html").read_text() == "<p>mine</p>"
    shutil.rmtree(page)
    for _ in range(2):
        assert main(["dataset", "view", str(root), "--episode", "0", "--output", str(page)]) == 0
    (page / "overview.png").unlink()
    (page / "overview.png").symlink_to(tmp_path / "precious.png")
    assert main(["dataset", "view", str(root), "--output", str(page)]) == 2
    assert not (tmp_path / "precious.png").exists()


def test_the_demo_removes_no_dataset_that_it_did_not_make(root, tmp_path):
    pytest.importorskip("rclpy")
    from armlet.client.graph import GraphError
    from armlet.demo.demo import DemoPlan, prepare

    output = tmp_path / "mine"
    shutil.copytree(root, output / "dataset")
    plan = DemoPlan(output=output, demonstrations=1, reaches=1, seed=0, simulated=True)
    with pytest.raises(GraphError, match="was not made by"):
        prepare(plan)
    assert (output / "dataset" / layout.INFO).exists()
    shutil.rmtree(output)
    for _ in range(2):
        prepare(plan)
        assert not plan.dataset.exists()
        plan.dataset.mkdir()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--checkpoint", "none"], "found nothing at "),
        (["--reaches", "0"], "argument --reaches: expected a whole number from 1 up, found '0'"),
        (["--record-only", "-1"], "argument --record-only: expected "),
    ],
)
def test_the_demo_is_refused_before_it_starts(words, said, tmp_path, capsys, monkeypatch):
    """Not after the demonstrations."""
    pytest.importorskip("rclpy")
    pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    try:
        status = main(["demo", *words])
    except SystemExit as end:  # argparse's own
        status = end.code
    assert status == 2 and list(tmp_path.iterdir()) == []
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("armlet demo: ") and said in line


def test_the_fix_of_a_policys_pointer_is_its_own_and_said_once(tmp_path, capsys):
    """Copying a pointer again gives a pointer; its own path need not be said twice either."""
    pytest.importorskip("torch")
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
    for name in ("config.json", "model.safetensors"):
        folder = tmp_path / Path(name).stem
        folder.mkdir()
        (folder / "config.json").write_text("{}")
        (folder / name).write_text(pointer)
        assert main(["policy", "inspect", str(folder)]) == 2
        said = capsys.readouterr().err
        assert said.count("git lfs pull") == 1 and "copy the file again" not in said
        assert said.count(str(folder / name)) == 1


@pytest.mark.parametrize("robot", [None, "so101_follower"])
def test_a_robot_that_is_not_stated_is_not_called_none(root, capsys, robot):
    info = json.loads((root / layout.INFO).read_text())
    info["robot_type"] = robot
    (root / layout.INFO).write_text(json.dumps(info))
    assert main(["dataset", "info", str(root)]) == 0
    stated = robot or "not stated,"
    assert f"robot     {stated} at 30 fps" in capsys.readouterr().out


@pytest.mark.parametrize("optional", [{}, {"calib_mode": ["DEGREE"]}])
def test_an_old_calibration_is_known_with_and_without_calib_mode(tmp_path, optional):
    lists = dict.fromkeys(("homing_offset", "drive_mode", "start_pos", "end_pos"), [0] * 6)
    path = tmp_path / "old.json"
    path.write_text(json.dumps({**lists, **optional}))
    with pytest.raises(CalibrationError, match=r"LeRobot before mid-2025.*calibrate the arm again"):
        load(path)
