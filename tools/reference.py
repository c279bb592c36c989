"""Writes the reference pages in docs/reference from what the code declares.

python tools/reference.py            write parameters.md, commands.md and graphs.md
python tools/reference.py --check    write nothing; status 1 where a page is not up to date
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from armlet.bringup import GRAPHS, NODES, Argument, share_directory
from armlet.cli.main import make_parser
from armlet.settings import Fixed, Setting
from armlet.settings.catalogue import EVERY_NODE, repeated, settings_of

FOLDER = Path(__file__).parents[1] / "docs" / "reference"
MADE = "<!-- Made by tools/reference.py from the code (make reference). Do not edit. -->"

STATUSES = (
    ("`0`", "done, and nothing is wrong"),
    (
        "`1`",
        "done, and something is wrong (a check, a comparison, nothing found); or it failed on the "
        "way: a servo, the disk, a package that is not installed",
    ),
    (
        "`2`",
        "not begun, nothing was changed: an argument, file, dataset, checkpoint or port that "
        "cannot be used as asked",
    ),
    ("`130`", "stopped by Ctrl-C"),
    ("`141`", "the program that read the output ended (`| head`)"),
)
TYPES = {bool: "bool", int: "integer", float: "double", str: "string", list: "string array"}


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    """The lines of a Markdown table."""
    titles = list(head)
    lines = [titles, ["---"] * len(titles), *map(list, rows)]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]


def code(value: object) -> str:
    """A value in backquotes; nothing for none."""
    text = portable(str(value))
    return f"`{text}`" if text else ""


def portable(text: str) -> str:
    """Without the folders, user and ROS domain of this computer."""
    text = re.sub(
        rf"{re.escape(tempfile.gettempdir())}/armlet-\d+-\d+", "/tmp/armlet-USER-DOMAIN", text
    )
    text = text.replace(f"{share_directory()}/", "")
    return text.replace(str(Path.home()), "~")


def sentence(text: str) -> str:
    """With < and > that no Markdown takes for HTML."""
    return portable(" ".join(text.split())).replace("<", "&lt;").replace(">", "&gt;")


# --- Parameters ---------------------------------------------------------------------------------


def parameters_page() -> str:
    """Every parameter of every node."""
    lines = [
        "# Node parameters",
        MADE,
        "",
        "`ros2 param describe /servo_bus max_velocity_rad_s` shows the same of a running node. A "
        "parameter that a node does not know, a value out of its range or of another type is "
        "refused before anything starts.",
        "",
        "Where *changes while running* says yes, `ros2 param set` changes a value at once; it is "
        "judged by the same range and type, and logged. Limits that protect the arm can be lowered "
        "while it runs, and raised back, but never above the value the node was started with. What "
        "is read-only is set when the node starts, and answers a change with the reason below.",
        "",
        "Set them in a robot file (`parameters:`), in a ROS parameter file (`params_file:=FILE`), "
        "or with `--ros-args -p NAME:=VALUE` of a single node.",
        "",
        "## Every node",
        "",
        *_settings(EVERY_NODE),
    ]
    for node in NODES:
        lines += ["", f"## {node}", "", *_settings(settings_of(node))]
        if (each := repeated(node)) is not None:
            what, make = each
            lines += ["", f"And for each {what}:", "", *_settings(make(f"<{what}>"))]
    return "\n".join(lines) + "\n"


def _settings(settings: Iterable[Setting]) -> list[str]:
    head = ("parameter", "type", "default", "range", "changes while running", "description")
    return table(head, (_setting(each) for each in settings))


def _setting(setting: Setting) -> tuple[str, ...]:
    limits = ""
    if setting.low is not None and setting.high is not None:
        zero = "0, " if setting.common else ""
        limits = f"{zero}{_number(setting.low)} … {_number(setting.high)}"
    kind = TYPES[list if isinstance(setting.default, (list, tuple)) else type(setting.default)]
    return (
        code(setting.name),
        "integer or string" if setting.words else kind,
        code(_default(setting.default)),
        limits,
        _change(setting),
        sentence(setting.description),
    )


def _change(setting: Setting) -> str:
    if isinstance(setting.change, Fixed):
        return f"read-only: {sentence(setting.change.why)}"
    return setting.change.value


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else str(value)


def _default(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(value) + "]"
    return str(value)


# --- Commands -----------------------------------------------------------------------------------


def commands_page() -> str:
    """Every command with its arguments and options."""
    lines = [
        "# Commands",
        MADE,
        "",
        "`armlet COMMAND --help` prints the same. The graphs of `armlet up`, with their arguments, "
        "are on [a page of their own](graphs.md).",
        "",
        "## Exit status",
        "",
        *table(("status", "meaning, in every command"), STATUSES),
    ]
    for title, parser in _parsers("armlet", make_parser(), ""):
        lines += ["", f"## {title}", "", *_description(parser.description or "")]
        rows = [_option(each) for each in parser._actions if each.dest != "help"]
        rows = [row for row in rows if row is not None]
        if rows:
            lines += ["", *table(("argument", "default", "description"), rows)]
    return "\n".join(lines) + "\n"


def _parsers(
    title: str, parser: argparse.ArgumentParser, help_text: str
) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """The parsers that run something, with the words that lead to them."""
    verbs = [each for each in parser._actions if isinstance(each, argparse._SubParsersAction)]
    parser.description = parser.description or help_text
    if not verbs:
        yield title, parser
    for verb in verbs:
        texts = {each.dest: each.help or "" for each in verb._choices_actions}
        for name, below in verb.choices.items():
            yield from _parsers(f"{title} {name}", below, texts.get(name, ""))


def _description(text: str) -> list[str]:
    """Sentences as a paragraph, and lines that are indented as they are."""
    text = portable(text % {"prog": "armlet"}) if "%" in text else portable(text)
    paragraph = [line for line in text.splitlines() if not line.startswith("  ")]
    indented = [line[2:] for line in text.splitlines() if line.startswith("  ")]
    lines = [_capital(sentence(" ".join(paragraph)))]
    return [*lines, "", "```text", *indented, "```"] if indented else lines


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _option(action: argparse.Action) -> tuple[str, str, str] | None:
    if action.help == argparse.SUPPRESS:
        return None
    value = _metavar(action)
    if action.option_strings:
        names = ", ".join(action.option_strings)
        shown = f"{names} {value}".strip()
    else:
        shown = value
    default = action.default
    hidden = default is None or default is False or default == argparse.SUPPRESS or default == []
    text = sentence((action.help or "") % {**vars(action), "prog": "armlet"})
    if action.required and action.option_strings:
        text = f"{text} (required)".strip()
    return code(shown), "" if hidden else code(default), text


def _metavar(action: argparse.Action) -> str:
    if action.nargs == 0:
        return ""
    if action.metavar is not None:
        name = action.metavar if isinstance(action.metavar, str) else " ".join(action.metavar)
    elif action.choices is not None:
        name = "{" + ",".join(str(choice) for choice in action.choices) + "}"
    else:
        name = action.dest.upper() if action.option_strings else action.dest
    return f"[{name} ...]" if action.nargs in ("*", "+") else name


# --- Graphs -------------------------------------------------------------------------------------


def graphs_page() -> str:
    """Every graph of `armlet up` with its arguments."""
    lines = [
        "# Graphs",
        MADE,
        "",
        "`armlet up NAME argument:=value …` starts one; so does "
        "`ros2 launch armlet NAME.launch.py argument:=value …`. `armlet up NAME --show-args` "
        "prints the same.",
    ]
    for graph in GRAPHS.values():
        lines += ["", f"## {graph.name}", "", _capital(sentence(graph.description)) + ".", ""]
        lines += table(
            ("argument", "default", "choices", "description"), map(_row, graph.arguments)
        )
    return "\n".join(lines) + "\n"


def _row(argument: Argument) -> tuple[str, ...]:
    return (
        code(argument.name),
        code(argument.default),
        ", ".join(map(code, argument.choices)),
        sentence(argument.description),
    )


PAGES: dict[str, Callable[[], str]] = {
    "parameters.md": parameters_page,
    "commands.md": commands_page,
    "graphs.md": graphs_page,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--check", action="store_true", help="write nothing, compare")
    check = parser.parse_args().check
    stale = 0
    for name, make in PAGES.items():
        path, text = FOLDER / name, make()
        if path.is_file() and path.read_text() == text:
            continue
        stale += 1
        if check:
            print(f"{path} is not what the code declares now: run `make reference`")
        else:
            path.write_text(text)
            print(f"wrote {path}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
