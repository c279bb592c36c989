"""README.md of a checkpoint: a model card for the Hub, and what the policy reads, for people.

All that is said of a frame's way into the network is asked of the objects that run the policy:
its configuration, its preprocessor and its contract. Texts that people chose, tasks and names, are
only shown as code, where Markdown and HTML mean nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import yaml

from armlet import hub
from armlet.contract import Contract
from armlet.files import printable
from armlet.policies.config.base import ACTION, STATE, PolicyConfig, camera_name
from armlet.policies.preprocess import Preprocessor

FILE = hub.CARD

_NOT_STATED = "not stated"


def front_matter(config: PolicyConfig, datasets: Iterable[str] = (), base: str = "") -> list[str]:
    """What the Hub reads of a card, as lines of YAML between two marks.

    datasets and base: names, of which those are stated that are of the Hub (hub:owner/name).
    """
    content: dict[str, Any] = {
        "library_name": "lerobot",
        "pipeline_tag": "robotics",
        "tags": ["robotics", "lerobot", "armlet", config.TYPE],
    }
    if named := list(dict.fromkeys(filter(None, map(_on_the_hub, datasets)))):
        content["datasets"] = named
    if origin := _on_the_hub(base):
        content |= {"base_model": origin, "base_model_relation": "finetune"}
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=False)
    return ["---", *text.splitlines(), "---"]


def _on_the_hub(name: str) -> str | None:
    found = hub.parse(name)
    return None if found is None else found[0]


def code(text: object) -> str:
    """A text of anybody's as Markdown that shows it and does nothing else, for a line or a cell."""
    shown = printable(text).replace("|", "\\x7c")  # it would end the cell, in code too
    longest = max(map(len, re.findall("`+", shown)), default=0)
    fence = "`" * (longest + 1)
    apart = " " if not shown.strip() or shown[0] in " `" or shown[-1] in " `" else ""
    return f"{fence}{apart}{shown}{apart}{fence}" if shown else "(empty)"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a table; cells with texts of others are made by `code`."""
    return ["", *(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)), ""]


def number(value: float) -> str:
    """As the card writes it."""
    return f"{value:.6g}"


def preprocessing(
    config: PolicyConfig, preprocessor: Preprocessor, contract: Contract
) -> list[str]:
    """Lines on how frames become network input, and network output a command."""
    return [
        "## Preprocessing",
        "",
        "Between a frame and the network, in training and on the robot, by the same object.",
        "",
        *_timing(config, contract),
        "",
        *_pictures(config, preprocessor, contract),
        *_vectors(config, preprocessor, contract),
        *_tasks(config, contract),
        *_digests(preprocessor, contract),
    ]


def _timing(config: PolicyConfig, contract: Contract) -> list[str]:
    seen, fps = config.n_obs_steps, contract.fps
    rows = "the newest frame" if seen == 1 else f"the newest {seen} frames"
    lines = [
        "### Timing",
        "",
        f"- {fps} frames a second; the policy reads {rows}",
        f"- it gives {config.chunk_size} actions, 1/{fps} s apart; action 0 is that of the newest "
        f"frame; `n_action_steps` is {config.n_action_steps}",
    ]
    lines += [
        f"- stream {code(stream.name)}: {code(stream.policy)}, at most "
        f"{number(stream.tolerance_s)} s away"
        for stream in contract.alignment
    ]
    if not contract.alignment:
        lines.append(f"- alignment of the streams: {_NOT_STATED}")
    if contract.lag is not None:
        lines.append(
            f"- in the training data the state is {number(contract.lag.median_s)} s behind the "
            f"action (median of the episodes, spread {number(contract.lag.spread_s)} s)"
        )
    return lines


def _pictures(config: PolicyConfig, preprocessor: Preprocessor, contract: Contract) -> list[str]:
    if not config.image_features:
        return []
    cameras = {camera.name: camera for camera in contract.cameras}
    described = preprocessor.describe()
    rows = []
    for place, key in enumerate(config.image_features):
        name = camera_name(key)
        camera = cameras[name]
        rows.append(
            [
                str(place),
                code(name),
                f"{camera.width}x{camera.height}",
                code(camera.channel_order),
                code(camera.codec),
                _statistics(preprocessor, key),
            ]
        )
    (formula,) = {preprocessor.formula(key) for key in config.image_features}
    return [
        "### Pictures",
        "",
        "Cameras in the order in which the network reads them, with the size of the training data:",
        *table(["", "camera", "size", "colours", "between nodes", "normalized with"], rows),
        f"1. 8 bits a value, divided by 255: {described.value_range}",
        f"2. normalized for each colour ({described.normalization['VISUAL']}): `{formula}`, "
        "nothing is clipped",
        *(f"{place}. {step}" for place, step in enumerate(config.picture_steps, 3)),
        *(["3. no resizing, no cropping"] if not config.picture_steps else []),
        "",
    ]


def _statistics(preprocessor: Preprocessor, key: str) -> str:
    """Of pictures, a number for each colour."""
    said = [
        f"{name} {', '.join(map(number, values.flatten().tolist()))}"
        for name, values in preprocessor.statistics(key).items()
    ]
    return "; ".join(said) or "nothing"


def _vectors(config: PolicyConfig, preprocessor: Preprocessor, contract: Contract) -> list[str]:
    units = contract.units_by_name()
    lines = ["### State and action", ""]
    for title, key, names in (
        ("State", STATE, contract.state_names),
        ("Action", ACTION, contract.action_names),
    ):
        if key not in preprocessor.features:
            continue
        statistics = preprocessor.statistics(key)
        rows = [
            [
                str(place),
                code(name),
                code(units[name]) if name in units else _NOT_STATED,
                *(number(float(values[place])) for values in statistics.values()),
            ]
            for place, name in enumerate(names)
        ]
        mode = preprocessor.describe().normalization[preprocessor.features[key].type]
        back = "" if key == STATE else ", and back for what the network gives"
        lines += [
            f"{title}, in this order, normalized by `{preprocessor.formula(key)}` ({mode}){back}:",
            *table(["", "name", "unit", *statistics], rows),
        ]
    return lines


def _tasks(config: PolicyConfig, contract: Contract) -> list[str]:
    lines = ["### Tasks", "", *(f"- {code(task)}" for task in contract.tasks), ""]
    if not config.task_steps:
        return [*lines, "The policy does not read them.", ""]
    steps = enumerate(config.task_steps, 1)
    return [*lines, "The policy reads them:", "", *(f"{k}. {step}" for k, step in steps), ""]


def _digests(preprocessor: Preprocessor, contract: Contract) -> list[str]:
    return [
        "### Digests",
        "",
        f"- contract: `{contract.signature()}`",
        f"- statistics: `{preprocessor.fingerprint()}`",
        f"- calibration: {code(contract.calibration) if contract.calibration else _NOT_STATED}",
    ]
