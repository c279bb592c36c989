"""Exit statuses and output paths are alike in all commands."""

import argparse
import re
from pathlib import Path

import pytest

from armlet.cli.main import main, make_parser
from armlet.cli.terminal import arguments, output
from armlet.datasets.transform.atomic_directory import new_dataset
from armlet.files import OutputError

PAGE = Path(__file__).parents[2] / "docs/reference/commands.md"

# Every place that a command writes to, with what else it needs.
OUTPUTS = (
    ["calibrate", "--output", "{}"],
    ["calibrate", "--read", "{}"],
    ["calibrate-camera", "--output", "{}", "--pictures", "."],
    ["calibrate-camera", "--print", "{}"],
    ["dataset", "compact", "set", "{}"],
    ["dataset", "convert", "set", "{}"],
    ["dataset", "merge", "set", "set", "--output", "{}"],
    ["dataset", "split", "set", "a=0", "--output", "{}"],
    ["dataset", "view", "set", "--output", "{}"],
    ["demo", "--output", "{}"],
    ["demo", "--report", "{}"],
    ["emulate", "--link", "{}"],
    ["eval", "--output", "{}", "c"],
    ["find-cameras", "--output", "{}"],
    ["policy", "check", "--checkpoint", "c", "--picture", "{}"],
    ["policy", "compare", "--checkpoint", "c", "--picture", "{}", "a", "b"],
    ["policy", "evaluate", "--dataset", "set", "--plot", "{}.png", "c"],
    ["policy", "export", "c", "--output", "{}"],
    ["policy", "infer", "--checkpoint", "c", "--input", "i", "--output", "{}"],
    ["registers", "dump", "{}"],
    ["setup", "--robot", "{}"],
    ["train", "--dataset", "set", "--output", "{}"],
    ["up", "record", "emulated:=true", "root:={}"],
)


def ended(words):
    try:
        return main(words)
    except SystemExit as end:  # argparse's own
        return end.code


@pytest.mark.parametrize("words", OUTPUTS, ids=lambda words: " ".join(words[:-1]))
def test_an_output_below_a_file_is_refused_at_once_with_what_is_in_the_way(
    words, tmp_path, capsys, monkeypatch
):
    if words[0] in ("policy", "train"):
        pytest.importorskip("torch", reason="the policy extra is not installed")
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("a person's")
    assert ended([word.format("file/x") for word in words]) == output.UNUSABLE
    said = capsys.readouterr()
    (line,) = said.err.splitlines()
    assert "file is a file, nothing can lie below it; name another path" in line
    assert "Errno" not in line and "Traceback" not in line and said.out == ""
    assert "--help" not in line, "the fix is said already"
    assert Path("file").read_text() == "a person's"


def test_what_is_no_path_still_names_the_help(capsys):
    assert ended(["dataset", "check", "set", "--frozen-s", "x"]) == output.UNUSABLE
    assert "see armlet dataset check --help" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["info", "check", "stats", "view", "repair"])
@pytest.mark.parametrize("place", ["nothing", "empty", "file"])
def test_a_dataset_that_is_none_is_not_begun_with(verb, place, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("a person's")
    assert ended(["dataset", verb, str(tmp_path / place)]) == output.UNUSABLE
    said = capsys.readouterr()
    assert said.err.startswith(f"armlet dataset {verb}: ") and said.out == ""


def test_every_option_that_writes_looks_at_its_path_first():
    """An output of another type would be found out after the work, by the system's words."""
    kinds = {arguments.output_path, arguments.output_file}
    own = {"emulate --link", "policy evaluate --plot"}  # a link; a picture of certain kinds
    found = set()
    for command, action in actions(make_parser()):
        text = f"{command} {max(action.option_strings, key=len, default=action.dest)}"
        writes = re.search(
            r"--(output|report|picture|plot|read|link)$|(compact|convert) output$", text
        )
        if writes and action.type not in kinds and text not in own:
            found.add(text)
    assert found == set()


def actions(parser, command=""):
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, each in action.choices.items():
                yield from actions(each, f"{command} {name}".strip())
        else:
            yield command, action


def test_a_failure_of_the_computer_is_no_wrong_argument(capsys):
    full = OSError(28, "No space left on device", "out")
    assert output.refuse("train", full) == output.FAILED
    assert output.refuse("train", OutputError("nothing can be written")) == output.UNUSABLE
    assert output.refuse("train", ValueError("steps")) == output.UNUSABLE
    assert "No space left on device; free space there" in capsys.readouterr().err


def test_the_page_of_commands_has_the_statuses():
    table = PAGE.read_text().partition("## Exit status")[2].partition("\n## ")[0]
    stated = [int(number) for number in re.findall(r"^\| `(\d+)` \|", table, re.MULTILINE)]
    assert stated == [0, output.FAILED, output.UNUSABLE, output.STOPPED, output.CLOSED]


@pytest.mark.parametrize("there", [False, True])
def test_a_link_as_a_new_datasets_folder_leads_to_it(there, tmp_path):
    """A link to nothing, or to an empty folder: the refusal named a temporary path."""
    target, link = tmp_path / "disk" / "set", tmp_path / "link"
    target.mkdir(parents=True) if there else target.parent.mkdir()
    link.symlink_to(target)
    with new_dataset(link) as folder:
        (folder / "made").touch()
    assert (target / "made").exists() and link.is_symlink()
    assert [path.name for path in target.parent.iterdir()] == ["set"]
