"""What the nodes of a graph publish, subscribe to, serve and execute, by their parameters.

The nodes themselves do it in code; a test compares this with what every node of a running graph
really has. Names are ROS's: relative to the namespace, with `~` for the node's own name, or full;
`*` stands for any characters, as DDS permissions have it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple

from armlet.bringup import BRAIN, NodeSpec
from armlet.enclaves import OPERATOR, VIEWER, of_node, of_person
from armlet.robots import calibration as calibrations
from armlet.robots.joints import in_namespace
from armlet.start_check import parameters


class Use(Enum):
    """What is done with a name: SROS 2's words for what, of which kind of thing."""

    PUBLISH = ("topic", "publish")
    SUBSCRIBE = ("topic", "subscribe")
    REPLY = ("service", "reply")
    REQUEST = ("service", "request")
    EXECUTE = ("action", "execute")

    @property
    def thing(self) -> str:
        return self.value[0]

    @property
    def verb(self) -> str:
        return self.value[1]


class Right(NamedTuple):
    use: Use
    name: str


@dataclass(frozen=True)
class Profile:
    """What one ROS node may do, by full names; sorted, each once."""

    namespace: str
    node: str
    rights: tuple[Right, ...]


@dataclass(frozen=True)
class Enclave:
    """A process with its nodes."""

    path: str
    profiles: tuple[Profile, ...]


Value = Callable[[str], Any]
"""Gives the value of a parameter by its name; None for one that is not set anywhere."""

_P, _S, _R = Use.PUBLISH, Use.SUBSCRIBE, Use.REPLY
# Clocks of several computers are compared on it, by the computer's own time.
_CLOCKS = "/_armlet_clocks"
_VIEWS = ("front", "wrist")
_COMMANDS = ("joint_commands", "joint_trajectory")
_LOGS = ((_P, "/rosout"), (_P, "/parameter_events"))
_PARAMETER_SERVICES = (
    "describe_parameters",
    "get_parameter_types",
    "get_parameters",
    "get_type_description",
    "list_parameters",
    "set_parameters",
    "set_parameters_atomically",
)
_LIFECYCLE_SERVICES = (
    "change_state",
    "get_available_states",
    "get_available_transitions",
    "get_state",
    "get_transition_graph",
)
_BAG_SERVICES = (
    *("is_discovery_running", "is_paused", "pause", "record", "resume", "snapshot"),
    *("split_bagfile", "start_discovery", "stop", "stop_discovery", "toggle_paused"),
)
# Nodes of a person's programs: armlet's commands, and tools of ROS as they name themselves. No
# pattern of a name may be that of a node of the graph, whose answers it would let be forged.
_PROGRAMS = (
    "armlet_up",
    "calibrate_camera",
    "client",
    "console",
    "jog_keys",
    "policy_check",
    "replay",
    "session",
)
_TOOLS = ("_ros2cli*", "joy_node", "rosbag2_*", "rqt_*", "spacenav")
# Programs of other packages.
_STATE_PUBLISHER, _RVIZ = "robot_state_publisher", "rviz2"


def enclaves(nodes: Sequence[NodeSpec], namespace: str = "", part: str = "") -> list[Enclave]:
    """The enclaves of a graph: of each process, and of those who operate it and look at it.

    namespace, part: the graph's. A brain has no operator of its own: there is the robot's. Raises
    BringupError for a parameter or calibration file that cannot be read.
    """
    found = [
        Enclave(of_node(spec.label), tuple(_profiles(spec))) for spec in nodes if not spec.beside
    ]
    return found if part == BRAIN else [*found, *_people(nodes, namespace)]


def _profiles(spec: NodeSpec) -> Iterator[Profile]:
    if spec.recorded is not None:
        yield _recorder_of_bag(spec, spec.recorded)
        return
    given = parameters(spec)
    own = set(_of_program(spec.executable) if spec.program else _of_node(spec.executable, given))
    if given.get("use_sim_time") and not _in_lockstep(given):  # whose time comes by a socket
        own.add((_S, "/clock"))
    if not spec.program:
        own |= {(_P, "/diagnostics"), (_P, "~/transition_event"), *_services(_LIFECYCLE_SERVICES)}
    yield _profile(spec, spec.name, own | {*_LOGS, *_services(_PARAMETER_SERVICES)})
    if (spec.executable, given.get("mode")) == ("servo_bus", "follower"):
        # What is served at once belongs to a node of its own, under the other's names.
        served = {(_R, "~/set_torque"), (_R, "~/stop"), (_S, "~/_hearing/*")}
        urgent = f"{spec.name}_urgent"
        yield _profile(
            spec,
            urgent,
            {*served, (_P, "/parameter_events"), (_R, f"{urgent}/get_type_description")},
        )


def _recorder_of_bag(spec: NodeSpec, topics: Iterable[str]) -> Profile:
    """`ros2 bag record` is a node of its own name, in no namespace."""
    heard = {(_S, name) for name in (*topics, "/clock", "/parameter_events")}
    said = {(_P, "/events/write_split"), *_LOGS}
    alone = dataclasses.replace(spec, name=spec.label.replace("/", "_"), namespace="")
    served = _services((*_BAG_SERVICES, *_PARAMETER_SERVICES))
    return _profile(alone, alone.name, {*heard, *said, *served})


def _profile(spec: NodeSpec, node: str, rights: Iterable[tuple[Use, str]]) -> Profile:
    remaps = {_full(old, spec): _full(new, spec) for old, new in spec.remaps}
    full = ((use, _full(name, spec)) for use, name in rights)
    return Profile(f"/{spec.namespace}", node, _sorted((use, remaps.get(n, n)) for use, n in full))


def _in_lockstep(given: Mapping[str, Any]) -> bool:
    return bool(given.get("use_sim_time") and given.get("lockstep"))


def _sorted(rights: Iterable[tuple[Use, str]]) -> tuple[Right, ...]:
    order = list(Use)
    return tuple(
        sorted((Right(*each) for each in set(rights)), key=lambda r: (order.index(r.use), r.name))
    )


def _full(name: str, spec: NodeSpec) -> str:
    if name.startswith("~"):
        return f"/{spec.label}{name[1:]}"
    return name if name.startswith("/") else f"/{spec.namespace}/{name}".replace("//", "/")


def _services(names: Iterable[str]) -> set[tuple[Use, str]]:
    return {(_R, f"~/{name}") for name in names}


# --- What each kind of node does ------------------------------------------------------------------


def _of_node(kind: str, given: Mapping[str, Any]) -> Iterator[tuple[Use, str]]:
    if kind in ("servo_bus", "camera", "aligner", "policy") and not given.get("use_sim_time"):
        yield from ((_P, _CLOCKS), (_S, _CLOCKS))
    yield from _KINDS[kind](given)


def _servo_bus(given: Mapping[str, Any]) -> Iterator[tuple[Use, str]]:
    yield from ((_P, "joint_states"), (_P, "~/status"))
    if not _in_lockstep(given):
        yield _P, "~/_holds/*"
    if given["mode"] != "follower":
        return
    yield from ((_P, "applied_joint_commands"), (_P, "~/_hearing/*"), (_S, "~/_hearing/*"))
    yield from ((_S, topic) for topic in _COMMANDS)
    if given["robot_description"]:
        yield _P, "robot_description"


def _camera(given: Mapping[str, Any], view: str = "") -> Iterator[tuple[Use, str]]:
    for topic in ("image_raw", "image_raw/compressed", "camera_info"):
        yield _P, f"{view}{topic}"


def _aligner(given: Mapping[str, Any]) -> Iterator[tuple[Use, str]]:
    yield from ((_P, "observation/state"), (_P, "observation/skew"), (_P, "observation/contract"))
    yield from ((_P, "action"), (_P, "action/skew"), (_P, "~/ledger"))
    for stream in given["streams"]:
        topics = [topic for topic in given.get(f"{stream}.topics") or () if topic]
        yield from ((_S, topic) for topic in topics or [given[f"{stream}.topic"]])
        if given[f"{stream}.type"] != "joint_state":
            end = "/compressed" if given[f"{stream}.type"] == "compressed" else ""
            yield _P, f"observation/images/{stream}{end}"


def _frames() -> Iterator[tuple[Use, str]]:
    # The frames' cameras are known once the aligner announces them.
    for topic in ("contract", "state", "skew", "images/*"):
        yield _S, f"observation/{topic}"
    yield _S, "computer/status"


def _policy(given: Mapping[str, Any]) -> Iterator[tuple[Use, str]]:
    yield from _frames()
    yield from ((_S, "~/task"), (_P, "~/provenance"), (_P, "~/fit"), (_P, "~/latency"))
    yield from ((_R, "~/reset"), (_R, "~/set_running"))
    if given["requires_recorder"]:
        yield _S, "recorder/readiness"
    for prefix in calibrations.arm_files(given["calibration_file"]):
        yield _P, in_namespace(prefix, "joint_trajectory")
        for person in ("teleop", "jog"):
            yield _S, in_namespace(prefix, f"{person}/engagement")


def _recorder(given: Mapping[str, Any]) -> Iterator[tuple[Use, str]]:
    yield from _frames()
    for topic in ("action", "action/skew", "aligner/ledger", "policy/provenance"):
        yield _S, topic
    yield from ((_S, "policy/latency"), (_S, "~/task"), (_P, "~/status"), (_P, "~/readiness"))
    for verb in ("start_recording", "stop_recording", "discard_episode", "rerecord_episode"):
        yield _R, f"~/{verb}"
    yield _R, "~/label_episode"


def _teleop(given: Mapping[str, Any]) -> Iterator[tuple[Use, str]]:
    yield from ((_S, "leader/joint_states"), (_P, "joint_commands"), (_P, "~/engagement"))
    yield _R, "~/set_engaged"


def _jog(given: Mapping[str, Any]) -> Iterator[tuple[Use, str]]:
    yield from ((_S, "joy"), (_S, "joint_states"), (_S, "applied_joint_commands"))
    yield from ((_P, "joint_commands"), (_P, "~/engagement"), (_R, "~/hand_back"))


def _trajectory_actions(given: Mapping[str, Any]) -> Iterator[tuple[Use, str]]:
    yield from ((_S, "joint_states"), (_S, "applied_joint_commands"), (_P, "joint_trajectory"))
    for action in (
        "arm_controller/follow_joint_trajectory",
        "gripper_action_controller/gripper_cmd",
        "gripper_controller/gripper_cmd",
    ):
        yield Use.EXECUTE, action


def _computer(given: Mapping[str, Any]) -> Iterator[tuple[Use, str]]:
    yield from ((_P, "computer/status"), (_S, "/diagnostics"))


def _sim_bench(given: Mapping[str, Any]) -> Iterator[tuple[Use, str]]:
    for topic in ("target", "reach_error", "measures", "things", "success"):
        yield _P, f"~/{topic}"
    yield from ((_R, "~/reset"), (_R, "~/demonstrate"))
    if given["cameras"]:
        for view in _VIEWS:
            yield from _camera(given, f"{view}/")
    if given["keeps_time"]:
        yield from ((_P, "/clock"), (_R, "~/set_paused"))


_KINDS: Mapping[str, Callable[[Mapping[str, Any]], Iterator[tuple[Use, str]]]] = {
    "servo_bus": _servo_bus,
    "camera": _camera,
    "aligner": _aligner,
    "policy": _policy,
    "recorder": _recorder,
    "teleop": _teleop,
    "jog": _jog,
    "trajectory_actions": _trajectory_actions,
    "computer": _computer,
    "sim_bench": _sim_bench,
}


def _of_program(program: str) -> Iterator[tuple[Use, str]]:
    yield _S, "/parameter_events"
    if program == _STATE_PUBLISHER:
        yield from ((_S, "joint_states"), (_P, "/tf"), (_P, "/tf_static"))
        yield _P, "robot_description"
    if program == _RVIZ:
        # Its displays, and where to, are the person's choice; none of them moves an arm.
        yield _S, "/*"


# --- People ---------------------------------------------------------------------------------------


def _people(nodes: Sequence[NodeSpec], namespace: str) -> Iterator[Enclave]:
    """Who may do all that a person does, and who may look only."""
    inside = _full("*", NodeSpec("", "", {}, namespace.strip("/")))
    inputs = {(_P, _full(topic, spec)) for spec in nodes for topic in _inputs(spec)}
    services = {(_R, f"/*{name}/{each}") for name in _PROGRAMS for each in _PARAMETER_SERVICES}
    looks = {*_LOGS, (_S, "/*"), (_P, "/events/*"), *((_R, f"/*{name}/*") for name in _TOOLS)}
    operates = {*looks, *inputs, *services, (Use.REQUEST, inside)}
    for name, rights in ((OPERATOR, operates), (VIEWER, looks)):
        yield Enclave(of_person(namespace, name), (Profile("/", name, _sorted(rights)),))


def _inputs(spec: NodeSpec) -> Sequence[str]:
    """Topics by which a person tells a node something."""
    if spec.executable == "servo_bus":
        return _COMMANDS if spec.parameters.get("mode", "follower") == "follower" else ()
    inputs = {"policy": ("~/task",), "recorder": ("~/task",), "jog": ("joy",)}
    return inputs.get(spec.executable, ())
