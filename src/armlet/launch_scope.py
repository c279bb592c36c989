"""What a launch file sets around a graph, as launch_ros's Node heeds it; knows no ROS.

launch_ros keeps it in the launch configurations: SetParameter and SetParametersFromFile, in their
order, in global_params, SetRemap in ros_remaps, PushRosNamespace in ros_namespace. A node's own
parameters come before what is set around it, a later entry before an earlier one, a section that
names a node before one with wildcards. launch_ros gives everything to every node, and a node
ignores what it does not declare; armlet's nodes refuse that, so each is given what it declares.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from armlet.bringup import BringupError, NodeSpec
from armlet.settings import Setting
from armlet.start_check import is_built_in, matches, parameter_sets, ros_scalar, settings
from armlet.suggestions import did_you_mean

SET, SET_FROM_FILE = "SetParameter", "SetParametersFromFile"
_TIME = "use_sim_time"


@dataclass(frozen=True)
class _Given:
    """A parameter that is set around a graph. pattern: of nodes' names; empty for all."""

    name: str
    value: Any
    pattern: str
    place: str

    @property
    def names_a_node(self) -> bool:
        return bool(self.pattern) and not self.pattern.endswith("*")


@dataclass(frozen=True)
class Scope:
    """Where a graph is started. parameters: (name, value), or the path of a parameter file."""

    namespace: str = ""
    parameters: tuple[tuple[str, Any] | str, ...] = ()
    remaps: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, configurations: Mapping[str, Any]) -> Scope:
        """The scope that launch configurations describe."""
        return cls(
            configurations.get("ros_namespace", "").strip("/"),
            tuple(configurations.get("global_params", ())),
            tuple(configurations.get("ros_remaps", ())),
        )

    def arguments(self, given: Mapping[str, str]) -> dict[str, str]:
        """A graph's arguments in this scope: its namespace is within the scope's.

        use_sim_time decides more than one parameter, so it is heard as the argument where that is
        auto. Raises BringupError.
        """
        values = dict(given)
        inner = values.get("namespace", "").strip("/")
        values["namespace"] = "/".join(part for part in (self.namespace, inner) if part)
        for each in self._given():
            if each.name == _TIME and not each.names_a_node and given.get(_TIME) == "auto":
                values[_TIME] = str(each.value).lower()
        return values

    def around(self, nodes: Sequence[NodeSpec]) -> tuple[list[NodeSpec], list[str]]:
        """The nodes with what is set around them, and what has no effect, in words.

        Raises BringupError.
        """
        given = [each for each in self._given() if each.name != _TIME]
        declared = [settings(spec) for spec in nodes]
        placed = [
            self._placed(spec, known, given) for spec, known in zip(nodes, declared, strict=True)
        ]
        notes = [
            note
            for each in given
            if not each.pattern and (note := _without_effect(each, placed, declared))
        ]
        return placed, list(dict.fromkeys(notes))

    def _placed(
        self, spec: NodeSpec, known: Mapping[str, Setting], given: Sequence[_Given]
    ) -> NodeSpec:
        own = [each for each in given if not each.pattern or matches(each.pattern, spec)]
        # Of a section that names the node nothing is left out: what it does not know is an error.
        own = [each for each in own if each.names_a_node or _is_known(each.name, known)]
        own.sort(key=lambda each: each.names_a_node)
        set_here = {each.name: each for each in own if each.name not in spec.parameters}
        return dataclasses.replace(
            spec,
            remaps=(*spec.remaps, *self.remaps),  # of two rules for a name the first counts
            scoped={name: _typed(each.value, known.get(name)) for name, each in set_here.items()},
            sources={**spec.sources, **{name: each.place for name, each in set_here.items()}},
        )

    def _given(self) -> Iterator[_Given]:
        for entry in self.parameters:
            if not isinstance(entry, str):
                yield _Given(*entry, "", SET)
                continue
            if not Path(entry).is_file():
                raise BringupError(f"{SET_FROM_FILE}: there is no file {entry}")
            for pattern, parameters in parameter_sets(Path(entry), SET_FROM_FILE):
                for name, value in parameters.items():
                    yield _Given(name, value, pattern, f"{entry}: {pattern}")


def _is_known(name: str, known: Mapping[str, Setting]) -> bool:
    return name in known or is_built_in(name)


def _typed(value: Any, setting: Setting | None) -> Any:
    """A value as the node shall have it: a number in quotes is one, as launch_ros makes it one.

    Around a graph nobody writes 5 for a node that counts and 5.0 for one that measures.
    """
    if isinstance(value, tuple):
        return list(value)
    default = None if setting is None or setting.words else setting.default
    if isinstance(value, str) and not isinstance(default, str):
        value = ros_scalar(value)
    return float(value) if type(value) is int and isinstance(default, float) else value


def _without_effect(
    given: _Given, nodes: Sequence[NodeSpec], declared: Sequence[Mapping[str, Setting]]
) -> str:
    """Why what is set for all nodes reaches none; empty if it does, or could."""
    having = [
        spec for spec, known in zip(nodes, declared, strict=True) if _is_known(given.name, known)
    ]
    if any(given.name not in spec.parameters for spec in having):
        return ""
    said = f"{given.place} {given.name} has no effect here: "
    if having:
        return f"{said}the graph itself sets it, by its arguments or the robot file"
    names = sorted({name for known in declared for name in known})
    return f"{said}no node of the graph has it; {did_you_mean([given.name], names)}".rstrip("; ")
