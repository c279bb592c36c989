"""Writes the reference pages in docs/reference from what the code declares.

python tools/reference.py            write parameters.md, commands.md and graphs.md
python tools/reference.py --check    write nothing; status 1 where a page is not up to date
"""

from __future__ import annotations

import argparse
import importlib
import re
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from armlet.bringup import GRAPHS, Argument, share_directory
from armlet.cli.main import make_parser
from armlet.nodes.aligner import stream_settings
from armlet.nodes.node import AUTOSTART, LOCKSTEP, Setting
from armlet.nodes.servo_bus import joint_settings

FOLDER = Path(__file__).parents[1] / "docs" / "reference"
MADE = "<!-- Made by tools/reference.py from the code (make reference). Do not edit. -->"

NODES = (
    *("servo_bus", "camera", "aligner", "policy", "recorder", "teleop", "computer"),
    "sim_bench",
)
# What a node declares once for each of something, with a placeholder for its name.
REPEATED: dict[str, tuple[str, Callable[[str], tuple[Setting, ...]]]] = {
    "servo_bus": ("joint", joint_settings),
    "aligner": ("stream", stream_settings),
}
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
        "parameter that a node does not know is an error at start. A *read-only* parameter is set "
        "when the node starts; the others can be changed with `ros2 param set` while it runs.",
        "",
        "Set them in a robot file (`parameters:`), in a ROS parameter file (`params_file:=FILE`), "
        "or with `--ros-args -p NAME:=VALUE` of a single node.",
        "",
        "## Every node",
        "",
        *_settings((AUTOSTART, LOCKSTEP)),
    ]
    for node in NODES:
        module = importlib.import_module(f"armlet.nodes.{node}")
        settings = list(module.SETTINGS)
        lines += ["", f"## {node}", "", *_settings(settings)]
        if node in REPEATED:
            what, make = REPEATED[node]
            lines += ["", f"And for each {what}:", "", *_settings(make(f"<{what}>"))]
    return "\n".join(lines) + "\n"


def _settings(settings: Iterable[Setting]) -> list[str]:
    head = ("parameter", "type", "default", "range", "read-only", "description")
    return table(head, (_setting(each) for each in settings))


def _setting(setting: Setting) -> tuple[str, ...]:
    limits = ""
    if setting.low is not None and setting.high is not None:
        limits = f"{_number(setting.low)} … {_number(setting.high)}"
    kind = TYPES[list if isinstance(setting.default, (list, tuple)) else type(setting.default)]
    return (
        code(setting.name),
        "any" if setting.dynamic else kind,
        code(_default(setting.default)),
        limits,
        "yes" if setting.read_only else "no",
        sentence(setting.description),
    )


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
