"""The command line itself."""

import errno
import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import armlet.cli
from armlet.bringup import DISCOVERY_VARIABLE, NodeSpec
from armlet.bringup import command as command_line
from armlet.cli.graph.up import _choose_discovery
from armlet.cli.main import main
from armlet.contract import Contract


def test_help_names_every_command(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    for command in ("up", "demo", "emulate", "dataset", "policy", "train"):
        assert command in said


def test_up_lists_graphs_and_their_arguments(capsys):
    assert main(["up", "--list"]) == 0
    assert "sim" in capsys.readouterr().out
    assert main(["up", "record", "--show-args"]) == 0
    assert "root:=" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("environment", "chosen", "reach", "words"),
    [
        ("", "", "LOCALHOST", "reachable from this computer only"),
        ("", "SUBNET", "SUBNET", "whoever is there can command the arm"),
        ("SUBNET", "LOCALHOST", "LOCALHOST", "reachable from this computer only"),
        ("SUBNET", "", "SUBNET", ""),
    ],
)
def test_up_says_which_computers_find_the_nodes(monkeypatch, environment, chosen, reach, words):
    monkeypatch.setenv(DISCOVERY_VARIABLE, environment)
    spec = NodeSpec("policy", "policy", {}, environment={DISCOVERY_VARIABLE: chosen})
    said = _choose_discovery([spec])
    assert os.environ[DISCOVERY_VARIABLE] == reach
    assert words in said and bool(words) == bool(said)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["up"], "name a graph, as in `armlet up sim`:\nsim        emulated arms"),
        (["up", "fly"], "no graph 'fly'"),
        (["up", "sim", "policy"], "name:=value"),
        (["up", "sim", "--duration", "1", "wings:=2"], "sim has no argument wings; it has "),
        (["up", "policy", "follower_calibration:=x.json"], "checkpoint:="),
    ],
)
def test_up_says_what_is_wrong(capsys, words, message):
    assert main(words) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["calibrate", "--robot", "none"], 2),
        (["dataset", "bind", "{none}", "--from", "{none}"], 2),
        (["dataset", "convert", "{none}", "{none}"], 2),
        (["dataset", "delete", "{none}", "0"], 2),
        (["dataset", "info", "{none}"], 2),
        (["dataset", "split", "{none}", "--output", "{none}", "a=0"], 2),
        (["emulate", "--link", "{none}/arm", "--baud", "9600"], 2),
        (["policy", "bind", "{none}", "--dataset", "{none}"], 2),
        (["policy", "check", "--checkpoint", "{none}"], 2),
        (["policy", "compare", "--checkpoint", "{none}", "--dataset", "{none}"], 2),
        (["policy", "export", "{none}", "--output", "{none}"], 2),
        (["policy", "inspect", "{none}"], 2),
        (["registers", "get", "--port", "{none}", "--id", "1"], 2),
        (["replay", "{none}", "--episode", "0"], 2),
        (["scan", "--port", "{none}"], 2),
        (["setup", "fly"], 2),
        (["train", "--dataset", "{none}", "--output", "{none}"], 2),
        (["up", "fly"], 2),
        (["policy", "check"], 2),
        (["policy", "chek"], 2),
        (["dataset", "check", ".", "--jsno"], 2),
    ],
)
def test_what_a_command_refuses_is_one_line_with_its_name(words, status, tmp_path, capsys):
    if words[0] in ("policy", "train"):
        pytest.importorskip("torch", reason="the policy extra is not installed")
    words = [word.format(none=tmp_path / "none") for word in words]
    try:
        ended = main(words)
    except SystemExit as end:  # argparse's own
        ended = end.code
    said = capsys.readouterr()
    (line,) = said.err.splitlines()
    name = " ".join(words[: 2 if words[0] in ("dataset", "policy", "registers") else 1])
    assert line.startswith(
        (f"armlet {name}: ", "armlet policy: argument VERB: did you mean check?")
    )
    assert "error:" not in line and "Traceback" not in line
    assert ended == status and said.out == ""


def test_every_refusal_is_printed_in_one_place():
    folder = Path(armlet.cli.__file__).parent
    heads = re.compile(r"""["'](error|armlet [^:"'{]+): (\{|["'])""")
    found = [
        f"{path.relative_to(folder)}: {match[0]}"
        for path in sorted(folder.rglob("*.py"))
        if path.name != "output.py"
        for match in heads.finditer(path.read_text())
    ]
    assert found == []


def test_unknown_options_are_refused(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["up", "sim", "--speed", "1"])
    assert ended.value.code == 2


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["recrod"], None),
        (["replya"], "replay"),
        (["dataset", "chek", "."], "check"),
        (["demo", "--outptu", "x"], "--output"),
        (["demo", "--outptu=x"], "--output"),
        (["dataset", "check", ".", "--jsno"], "--json"),
        (["policy", "infre"], "infer"),
        (["replay", ".", "--joint-units", "degree", "--episode", "0"], "degrees"),
    ],
)
def test_what_is_misspelt_is_answered_with_what_may_be_meant(capsys, words, meant):
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert (f"did you mean {meant}?" in said) if meant else ("did you mean" not in said), said


def test_a_graph_that_is_misspelt_is_answered_with_what_may_be_meant(capsys):
    assert main(["up", "recrod"]) == 2
    assert "did you mean record?" in capsys.readouterr().err


def test_it_says_its_version_which_ros_is_given_too(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert said == f"armlet {metadata.version('armlet')}\n"
    package = (Path(__file__).parents[2] / "package.xml").read_text()
    assert f"<version>{metadata.version('armlet')}</version>" in package


def test_train_on_what_is_no_dataset(capsys, tmp_path):
    pytest.importorskip("torch", reason="the policy extra is not installed")
    given = ["--dataset", str(tmp_path), "--output", str(tmp_path / "out")]
    assert main(["train", *given]) == 2
    assert "armlet train:" in capsys.readouterr().err


@pytest.mark.representatives(3)
@pytest.mark.parametrize(
    ("package", "words", "install"),
    [
        ("rich", ["doctor"], "pip install rich"),
        ("av", ["dataset", "info", "."], "pip install av"),
        ("pyarrow", ["dataset", "check", "."], "pip install pyarrow"),
        ("serial", ["find-port"], "pip install pyserial"),
        ("rclpy", ["demo"], "pip install 'armlet[ros]'"),
        ("rclpy", ["up", "sim", "--duration", "1"], "pip install 'armlet[ros]'"),
        ("torch", ["demo"], "pip install 'armlet[policy]'"),
        ("torch", ["up", "sim", "--duration", "1"], "pip install 'armlet[policy]'"),
        ("torch", ["train", "--dataset", ".", "--output", "x"], "pip install 'armlet[policy]'"),
    ],
)
def test_a_missing_package_is_one_line_that_says_what_to_install(tmp_path, package, words, install):
    program = (
        f"import sys; sys.modules[{package!r}] = None\n"
        f"from armlet.cli.main import main; sys.exit(main({words!r}))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    (line,) = ended.stderr.splitlines()
    name = " ".join(words[: 2 if words[0] == "dataset" else 1])
    assert line.startswith(f"armlet {name}: ") and line.endswith(install)
    assert package in line
    assert ended.returncode == 1


def test_a_missing_module_of_armlets_own_is_no_install_problem(monkeypatch):
    def broken(arguments):
        raise ModuleNotFoundError("No module named 'armlet.gone'", name="armlet.gone")

    monkeypatch.setattr("armlet.cli.graph.up.run", broken)
    with pytest.raises(ModuleNotFoundError):
        main(["up", "--list"])


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("armlet ca", {"calibrate", "calibrate-camera"}),
        ("armlet dataset ch", {"check"}),
        ("armlet up fol", {"follower"}),
        ("armlet up teleop emul", {"emulated:=true", "emulated:=false"}),
        ("armlet doctor --rob", {"--robot"}),
    ],
)
def test_tab_completes_commands_graphs_and_arguments(tmp_path, line, offered):
    pytest.importorskip("argcomplete", reason="the completion extra is not installed")
    answer = tmp_path / "offered.txt"
    asked = {"_ARGCOMPLETE": "1", "COMP_LINE": line, "COMP_POINT": str(len(line))}
    subprocess.run(
        ["bash", "-c", f'"{sys.executable}" -m armlet.cli.main 8>"{answer}" 9>/dev/null'],
        env={**os.environ, **asked, "_ARGCOMPLETE_COMP_WORDBREAKS": " \t\n", "IFS": "\013"},
        check=False,
    )
    assert {word.strip() for word in answer.read_text().split("\013")} == offered


def _full(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_at_a_graph_s_start_is_one_line_with_the_file(tmp_path, monkeypatch):
    """The system names no file where a write fails: it was a traceback."""
    spec = NodeSpec("camera", "camera", {"fps": 30})
    monkeypatch.setattr(os, "fsync", _full)
    with pytest.raises(OSError, match="No space left on device") as caught:
        command_line(spec, tmp_path)
    assert caught.value.filename == str(tmp_path / "camera.yaml")
    assert list(tmp_path.iterdir()) == []


def test_what_the_computer_lacks_is_no_fault_of_the_program(monkeypatch, capsys):
    monkeypatch.setattr(armlet.cli.main.doctor, "run", _full)
    assert main(["doctor"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("armlet doctor: No space left on device; free space there")
    assert len(said.splitlines()) == 1


def test_a_contract_that_cannot_be_written_leaves_none(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", _full)
    with pytest.raises(OSError, match="No space"):
        Contract(fps=30, cameras=(), state_names=("a",), action_names=("a",), alignment=()).save(
            tmp_path / "contract.json"
        )
    assert list(tmp_path.iterdir()) == []
