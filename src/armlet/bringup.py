"""The node graphs as data, for `ros2 launch` and `armlet up` alike.

A graph is a name, its arguments and a function from argument values to the nodes to run. What
runs them (launch_ros, or processes under `armlet up`) knows nothing of what they are.
"""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from armlet import bag_recorder
from armlet.enclaves import of_node, override, ros_arguments
from armlet.files import (
    HUB,
    FileError,
    OutputError,
    check_output,
    expanded,
    printable,
    replace_file,
    shown,
)
from armlet.missing import how_to_install, require
from armlet.one_graph import CLOCK
from armlet.robots import SO101_JOINTS, Calibration, CalibrationError
from armlet.robots import calibration as calibrations
from armlet.robots.joints import frame_prefix, in_namespace
from armlet.robots.robot_file import DEFAULT as ROBOT_FILE
from armlet.robots.robot_file import ArmEntry, Mount, Pair, RobotFile, find
from armlet.robots.robot_model import DEFAULT_MODEL, DEFAULT_SERVO, RobotModel
from armlet.robots.unit_modes import MODES as UNIT_MODES
from armlet.suggestions import did_you_mean

# The process that started a node, which ends with it: `armlet up` or ROS's launch.
SUPERVISOR_VARIABLE = "ARMLET_SUPERVISOR"
# Set for a node that is started again after it died: it comes back at rest.
RESPAWNED_VARIABLE = "ARMLET_RESPAWNED"
# A node that was asked to end is killed after so long: a recorder may have an episode to finish.
STOP_GRACE_S = 15.0
# Fast DDS reads its profile from the file this names; a person's own choice is respected.
FASTDDS_VARIABLE = "FASTDDS_DEFAULT_PROFILES_FILE"
DISCOVERY_VARIABLE = "ROS_AUTOMATIC_DISCOVERY_RANGE"
# Whoever has set one of these has chosen which computers find the nodes.
_DISCOVERY_CHOICES = (
    DISCOVERY_VARIABLE,
    "ROS_LOCALHOST_ONLY",
    "ROS_STATIC_PEERS",
    "ROS_DISCOVERY_SERVER",
)


BRAIN = "brain"
"""The part of a graph that is its policy."""


class BringupError(ValueError):
    """A graph cannot be started as asked; the message says which argument is wrong."""


@dataclass(frozen=True)
class Argument:
    """One `name:=value` argument of a graph."""

    name: str
    default: str
    description: str
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class NodeSpec:
    """One node to run. required: the graph is pointless, or unsafe, without it.

    environment: variables its process needs, beyond those it inherits. parameter_files: read last.
    scoped: parameters, and remaps: rules, that a launch file sets around the graph; the node's own
    parameters come before them. log_level: empty for ROS's own. respawn: start it again if it dies.
    sources: where a person set a parameter, by its name: in a robot file, around the graph.
    program: the path of its program where it is no node of armlet's, arguments: what that is given.
    recorded: of `ros2 bag record`, its topics with their QoS; it takes no arguments as nodes do.
    beside: a person's program beside the graph, which takes --namespace, and no arguments as nodes
    do.
    """

    executable: str
    name: str
    parameters: Mapping[str, Any]
    namespace: str = ""
    required: bool = True
    environment: Mapping[str, str] = field(default_factory=dict)
    parameter_files: tuple[str, ...] = ()
    sources: Mapping[str, str] = field(default_factory=dict)
    scoped: Mapping[str, Any] = field(default_factory=dict)
    remaps: tuple[tuple[str, str], ...] = ()
    log_level: str = ""
    respawn: bool = False
    program: str = ""
    arguments: tuple[str, ...] = ()
    recorded: Mapping[str, bag_recorder.Qos | None] | None = None
    beside: bool = False

    @property
    def label(self) -> str:
        """Namespace and name, unique in a graph."""
        return f"{self.namespace}/{self.name}".lstrip("/")


class Values(dict[str, str]):
    """Argument values by name, and the robot file that stands for those not given."""

    robot: RobotFile | None = None


@dataclass(frozen=True)
class Graph:
    name: str
    description: str
    arguments: tuple[Argument, ...]
    describe: Callable[[Values], list[NodeSpec]] = field(repr=False)
    part: str = ""
    """Of a graph whose other part runs elsewhere; empty for a whole one, and for the robot's."""

    def nodes(self, given: Mapping[str, str]) -> list[NodeSpec]:
        """The nodes for some argument values; the rest are defaults. Raises BringupError."""
        known = {argument.name: argument for argument in self.arguments}
        unknown = sorted(set(given) - set(known))
        if unknown:
            meant = did_you_mean(unknown, sorted(known), RENAMED)
            raise BringupError(
                f"{self.name} has no argument {', '.join(unknown)}; "
                f"{meant or 'it has ' + ', '.join(sorted(known)) + '; '}"
                f"`armlet up {self.name} --show-args` says more"
            )
        for name, value in given.items():
            choices = known[name].choices
            if choices and value not in choices:
                raise BringupError(f"{name} must be one of {list(choices)}, found {value!r}")
        values = Values({name: arg.default for name, arg in known.items()} | dict(given))
        _check_of_bench(values, known)
        values.robot = _robot_file(values)
        try:
            nodes = self.describe(values)
        except FileError as error:
            raise BringupError(str(error)) from error
        if not _simulated(values):
            # Simulated time goes at whatever pace the computer keeps.
            watcher = dataclasses.replace(_spec("computer", values), required=False)
            nodes.append(_named_by_part(watcher, self.part))
        # Who is started first ends last: a window that hangs must not keep an arm from its release.
        nodes = [*_viewers(nodes, values), *nodes]
        nodes = _in_time(_selected(nodes, values), values)
        nodes = _with_persons_parameters(nodes, values)
        nodes = [_as_process(spec, values) for spec in nodes]
        nodes = recording([*_bag(values, self.part), *nodes, *_console(values, self.part)])
        if values.get("raw") == "true" and FASTDDS_VARIABLE not in os.environ:
            environment = {FASTDDS_VARIABLE: str(fastdds_profile())}
            nodes = [
                spec  # no pictures come to it, and it has a profile of its own
                if spec.executable == "servo_bus"
                else dataclasses.replace(spec, environment={**spec.environment, **environment})
                for spec in nodes
            ]
        return _found_by(nodes, values)

    def marks(self, namespace: str, nodes: Iterable[NodeSpec]) -> list[str]:
        """What only one graph of a computer and a ROS domain may have: its namespace, its brain.

        A graph with a policy of its own has both, so no brain runs beside it.
        """
        thinks = any(spec.executable == "policy" for spec in nodes)
        parts = [self.part] if self.part else ["", *([BRAIN] if thinks else [])]
        return ["/".join(filter(None, (namespace.strip("/"), part))) for part in parts]


def _named_by_part(spec: NodeSpec, part: str) -> NodeSpec:
    """A node that every computer has, under a name that no other part of the graph has."""
    return dataclasses.replace(spec, name=f"{part}_{spec.name}") if part else spec


def _found_by(nodes: list[NodeSpec], values: Values) -> list[NodeSpec]:
    """The nodes, found by the computers that `discovery` says, if it does."""
    if not values.get("discovery"):
        return nodes
    chosen = {DISCOVERY_VARIABLE: values["discovery"].upper()}
    return [dataclasses.replace(spec, environment={**spec.environment, **chosen}) for spec in nodes]


SELECTION = ("only", "without")
"""Arguments by which a part of a graph is run."""


def sole_names(nodes: Iterable[NodeSpec]) -> list[str]:
    """What only one in a ROS domain may have: the names of drivers, and simulated time's clock."""
    nodes = list(nodes)
    drivers = [spec.label for spec in nodes if spec.executable == "servo_bus"]
    benches = [spec for spec in nodes if spec.executable == "sim_bench"]
    return drivers + [CLOCK for spec in benches if spec.parameters.get("lockstep")]


def share_directory() -> Path:
    """Where launch/, config/ and checkpoints/ are: the source tree, or <prefix>/share/armlet."""
    for parent in Path(__file__).resolve().parents:
        if (parent / "package.xml").is_file():
            return parent
        if (parent / "share" / "armlet" / "package.xml").is_file():
            return parent / "share" / "armlet"
    raise BringupError("armlet's share directory is not there; install the package again")


def parameter_file(spec: NodeSpec) -> Path:
    """The node kind's shipped defaults, `config/<executable>.yaml`."""
    return share_directory() / "config" / f"{spec.executable}.yaml"


def fastdds_profile() -> Path:
    """The shipped Fast DDS profile with room for raw pictures."""
    return share_directory() / "config" / "fastdds.xml"


def own_messages_profile() -> Path:
    """The shipped Fast DDS profile by which a process hears itself as it hears others."""
    return share_directory() / "config" / "fastdds_own_messages.xml"


def discovery(environment: Mapping[str, str]) -> dict[str, str]:
    """Variables by which only this computer finds the nodes; empty if somebody has chosen.

    Whoever finds them can command the arm, stop it and forge what it sends.
    """
    chosen = any(environment.get(name) for name in _DISCOVERY_CHOICES)
    return {} if chosen else {DISCOVERY_VARIABLE: "LOCALHOST"}


class _QuotingDumper(yaml.SafeDumper):
    """Quotes all text: ROS takes y for a bool and 1e3 for a number, which YAML 1.1 has as text."""

    def represent_text(self, text: str) -> yaml.ScalarNode:
        return self.represent_scalar("tag:yaml.org,2002:str", text, style='"')


_QuotingDumper.add_representer(str, _QuotingDumper.represent_text)


def command(spec: NodeSpec, directory: Path) -> list[str]:
    """The command line of a node; its own parameters are written to a file in a directory."""
    if spec.recorded is not None:
        file = directory / f"{spec.label.replace('/', '.')}.qos.yaml"
        replace_file(file, yaml.dump(bag_recorder.overrides(spec.recorded)).encode())
        words = ["--qos-profile-overrides-path", str(file), "--topics", *spec.recorded]
        return [*_program(spec), *words]
    if spec.beside:
        return [*_program(spec), *(["--namespace", spec.namespace] if spec.namespace else [])]
    files = [] if spec.program else [str(parameter_file(spec))]
    if spec.scoped:
        files.append(
            _written(spec.scoped, directory / f"{spec.label.replace('/', '.')}.scope.yaml")
        )
    files.append(_written(spec.parameters, directory / f"{spec.label.replace('/', '.')}.yaml"))
    files += spec.parameter_files
    line = [*_program(spec), "--ros-args", "-r", f"__node:={spec.name}"]
    line += ros_arguments(of_node(spec.label), os.environ)
    if spec.namespace:
        line += ["-r", f"__ns:=/{spec.namespace}"]
    if spec.log_level:
        line += ["--log-level", spec.log_level]
    line += [word for path in files for word in ("--params-file", path)]
    return line + [word for old, new in spec.remaps for word in ("-r", f"{old}:={new}")]


def _written(parameters: Mapping[str, Any], file: Path) -> str:
    content = {"/**": {"ros__parameters": dict(parameters)}}
    replace_file(file, yaml.dump(content, Dumper=_QuotingDumper).encode())
    return str(file)


def _program(spec: NodeSpec) -> list[str]:
    """What starts a node. armlet's end with who started them; others the kernel ends."""
    if not spec.program:
        return [sys.executable, "-m", "armlet.nodes.program", spec.executable]
    setpriv = shutil.which("setpriv")
    bound = [setpriv, "--pdeathsig", "TERM"] if setpriv else []
    return [*bound, spec.program, *spec.arguments]


def installed(package: str, executable: str) -> str:
    """The path of another ROS package's program; empty if it is not installed."""
    for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep):
        path = Path(prefix) / "lib" / package / executable
        if prefix and os.access(path, os.X_OK):
            return str(path)
    return ""


def _bench_directory() -> str:
    domain = os.environ.get("ROS_DOMAIN_ID", "0")
    return str(Path(tempfile.gettempdir()) / f"armlet-{os.getuid()}-{domain}")


def _calibration(arm: str) -> str:
    return str(share_directory() / "config" / "calibration" / f"emulated_{arm}.json")


BOOLEAN = ("true", "false")
# As in armlet.sim.choice, which knows NumPy.
PHYSICS = ("kinematic", "mujoco")
# Of the bench's arguments, what real arms may be given beside another program's /clock.
_OF_ANY_CLOCK = ("use_sim_time",)
# What is of one arm, where a robot file may have more.
_OF_ONE_PAIR = ("follower_port", "follower_calibration", "leader_port", "leader_calibration")
DESCRIPTION = "robot_description"
# Package and program of what publishes TF, and of what shows it.
_TF = ("robot_state_publisher", "robot_state_publisher")
_RVIZ = ("rviz2", "rviz2")
NODES = (
    "servo_bus",
    "camera",
    "aligner",
    "policy",
    "recorder",
    "teleop",
    "jog",
    "trajectory_actions",
    "computer",
    "sim_bench",
)
# In the bench's directory, as in nodes.sim_bench.
LOCKSTEP_SOCKET = "lockstep"

_NAMESPACE = re.compile(r"([a-z_]\w*(/[a-z_]\w*)*)?", re.ASCII | re.IGNORECASE)
NAMESPACE_EXPECTED = "expected letters, digits and _, no digit first, as in left_arm"
NAMESPACE = Argument("namespace", "", "Namespace of the whole graph, e.g. left_arm.")
EMULATED = Argument("emulated", "false", "Use the emulated bench instead of hardware.", BOOLEAN)
RAW = Argument(
    "raw",
    "false",
    "Send raw images between nodes instead of JPEG; takes more CPU.",
    BOOLEAN,
)
ROBOT = Argument(
    "robot",
    "",
    f"Robot file with arms, cameras and parameters. Default: {ROBOT_FILE}, if it exists. "
    "none: use no file.",
)
PARAMETERS = Argument(
    "params_file", "", "ROS parameter file for the graph's nodes. Overrides all others."
)
RVIZ = Argument(
    "rviz", "false", "Show the arm in RViz, with robot_state_publisher for TF.", BOOLEAN
)
BAG_RECORDER = "bag_recorder"
BAG = (
    Argument(
        "record_bag",
        "false",
        "Record the graph's raw topics with `ros2 bag record`, as mcap, as long as it runs.",
        BOOLEAN,
    ),
    Argument(
        "bag",
        "",
        "Folder of the bag, which must not exist yet. Empty: rosbag2_ and the time, in the current "
        "folder.",
    ),
)
CONSOLE = "console"
CONSOLE_PORT = "8420"
IN_BROWSER = (
    Argument(
        CONSOLE,
        "false",
        "Serve the console beside the graph, for a browser on this computer, as long as it runs.",
        BOOLEAN,
    ),
    Argument("console_port", CONSOLE_PORT, "Port that the console listens on. 0: a free one."),
    Argument("console_datasets", "", "Folder of datasets that the console shows, beside root."),
    Argument("console_trials", "", "Folder of trials of `armlet eval` that the console shows."),
)
PROCESSES = (
    *BAG,
    *IN_BROWSER,
    PARAMETERS,
    Argument(
        "only",
        "",
        "Run only these nodes of the graph, comma separated: kinds (camera), names "
        "(left/servo_bus) or namespaces (left). The others are expected elsewhere.",
    ),
    Argument("without", "", "Run all but these nodes of the graph, named as in only."),
    Argument(
        "log_level",
        "",
        "What the nodes log at least. Empty: as ROS has it, info.",
        ("", "debug", "info", "warn", "error", "fatal"),
    ),
    Argument(
        "respawn",
        "false",
        "Start a node again that died. It comes back at rest: an arm without torque, a policy that "
        "does not drive, a leader that is disengaged.",
        BOOLEAN,
    ),
)
DATA_UNITS = UNIT_MODES[0]
UNITS = Argument(
    "joint_units",
    "",
    f"Joint units of datasets and policies. Without a robot file {DATA_UNITS}; LeRobot before "
    "0.4.4 used range_m100_100.",
    ("", *UNIT_MODES),
)
POLICY_UNITS = Argument(
    "joint_units",
    "",
    "Joint units the policy was trained in. Required if the checkpoint does not state them.",
    UNITS.choices,
)
FOLLOWER_PORT, LEADER_PORT = "/dev/ttyACM0", "/dev/ttyACM1"
CAMERAS = "front=/dev/video0"
FOLLOWER = (
    ROBOT,
    Argument(
        "follower_port", "", f"Serial port of the follower. Without a robot file {FOLLOWER_PORT}."
    ),
    Argument("follower_calibration", "", "LeRobot calibration JSON of the follower."),
)
LEADER = (
    Argument("leader_port", "", f"Serial port of the leader. Without a robot file {LEADER_PORT}."),
    Argument("leader_calibration", "", "LeRobot calibration JSON of the leader."),
)
TAKE_OVER = Argument(
    "teleop",
    "false",
    "Run the leader too, disengaged: `e` in `armlet session`, or ~/set_engaged of teleop, lets a "
    "person take over from the policy, and hands back.",
    BOOLEAN,
)
ACTIONS = Argument(
    "actions",
    "false",
    "Serve FollowJointTrajectory and gripper commands, as MoveIt executes by; needs control_msgs.",
    BOOLEAN,
)
JOYSTICKS = ("gamepad", "spacemouse")
BY_LEADER = "leader"
INPUT = Argument(
    "input",
    BY_LEADER,
    "What a person moves the follower by: a leader, or a gamepad or SpaceMouse on the topic joy.",
    (BY_LEADER, *JOYSTICKS),
)
JOG_INPUT = Argument(
    "input",
    JOYSTICKS[0],
    "Whose messages come on the topic joy: a gamepad's or a SpaceMouse's.",
    JOYSTICKS,
)
PICTURES = (
    Argument(
        "cameras",
        "",
        f"name=source of each camera, comma separated. Without a robot file {CAMERAS}.",
    ),
    Argument("width", "640", "Image width (pixels), for cameras without one in the robot file."),
    Argument("height", "480", "Image height (pixels), for cameras without one in the robot file."),
    Argument("fps", "30", "Rate of cameras, frames and dataset (Hz)."),
    RAW,
)
RECORDER = (
    Argument("root", "", "Directory of the dataset to record into."),
    Argument(
        "task",
        "",
        "What the episodes show, and what a language-conditioned policy shall do, in words.",
    ),
    Argument("episode_s", "0", "End an episode by itself after this long (s). 0: never."),
    Argument("episodes", "0", "Record no more than this many episodes. 0: no limit."),
    Argument(
        "on_gap",
        "refuse",
        "What to do with an episode when a frame is missing: refuse it, with a sound, "
        "or split it there.",
        ("refuse", "split"),
    ),
    Argument("min_episode_s", "1", "Do not save episodes shorter than this (s)."),
)
PERSONS_ROWS = Argument(
    "intervention",
    "false",
    "Give a new dataset the column intervention, true in rows that a person commanded, so that it "
    "can be merged with corrections of a policy.",
    BOOLEAN,
)
# Old names of arguments.
RENAMED = {"on_hole": "on_gap"}
CHECKPOINT = "Directory of the LeRobot checkpoint that drives, or hub:owner/name@revision."
STRATEGIES = (
    "auto",
    "latest_only",
    "n_action_steps",
    "temporal_ensembling",
    "weighted_blend",
    "rtc",
)
LATENCY = Argument(
    "inference_latency_s",
    "measured",
    "Simulated time an inference takes: measured, or a number of seconds for repeatable runs.",
)
INFERENCE = (
    POLICY_UNITS,
    Argument(
        "embodiment", "", "Robot whose statistics to use, if the checkpoint has those of several."
    ),
    Argument(
        "vlm", "", "Directory of SmolVLA's language model, if the checkpoint does not contain it."
    ),
    Argument(
        "base_checkpoint",
        "",
        "Checkpoint that a LoRA policy was trained from, if it is not where the adapter says.",
    ),
    Argument(
        "without_cameras", "", "Cameras a SmolVLA policy was trained without, comma separated."
    ),
    Argument(
        "lerobot_version",
        "",
        "LeRobot version of the training, if the checkpoint does not state it.",
    ),
    Argument(
        "transformers_version",
        "",
        "transformers version of a SmolVLA training, if the checkpoint does not state it.",
    ),
    Argument(
        "strategy",
        "auto",
        "How action chunks are combined. auto: as the checkpoint suggests.",
        STRATEGIES,
    ),
    Argument("device", "cpu", "torch device for inference, e.g. cuda."),
    Argument(
        "backend",
        "torch",
        "Runtime of the network; auto takes the fastest, measured at the start.",
        ("torch", "onnxruntime", "openvino", "auto"),
    ),
    Argument(
        "precision", "float32", "Floating-point type of the network.", ("float32", "bfloat16")
    ),
    Argument("running", "true", "Let the policy drive from the start.", BOOLEAN),
    LATENCY,
)
POLICY = (
    Argument("checkpoint", "", CHECKPOINT),
    Argument("threads", "0", "CPU threads for inference. 0: torch's default."),
    *INFERENCE,
)
TIME = (
    Argument(
        "use_sim_time",
        "auto",
        "Use simulated time, which the bench advances in lockstep with the nodes. "
        "auto: with the bench.",
        ("auto", *BOOLEAN),
    ),
    Argument(
        "real_time_factor",
        "1",
        "Upper limit of simulated seconds per second. 0: as fast as this computer can.",
    ),
    Argument("start_s", "0", "Unix time at which simulated time starts (s). 0: now."),
    Argument("participants", "", "More programs that simulated time waits for, comma separated."),
)
BENCH = (
    *TIME,
    Argument("bench_directory", _bench_directory(), "Directory of the emulated serial ports."),
    Argument("seed", "0", "Seed of targets and motions on the emulated bench."),
    Argument(
        "physics",
        PHYSICS[0],
        "Move the emulated follower without weight, or as the motors of a simulated arm.",
        PHYSICS,
    ),
    Argument(
        "bench_task",
        "reach",
        "Task on the emulated bench: reach, pick_place, push, or a .yaml file.",
    ),
    Argument("domain", "", "File (.yaml) of the simulated bench's friction, light and the like."),
    Argument(
        "clumsiness",
        "0",
        "Share of the expert's demonstrations, 0 to 1, in which something goes wrong at first.",
    ),
    Argument("paced", "true", "Send emulated bytes at the speed of the wire.", BOOLEAN),
)


DISCOVERY = Argument(
    "discovery",
    "",
    "Which computers find the nodes: localhost, this one; subnet, all of the network, where "
    f"everybody can then command the arm. Empty: as {DISCOVERY_VARIABLE} says.",
    ("", "localhost", "subnet"),
)
ANY_CLOCK = Argument(
    "use_sim_time", "false", "Take the time from another program's /clock.", BOOLEAN
)
RECORDED = Argument(
    "requires_recorder",
    "false",
    "Hold the arm while the robot's recorder cannot record (robot started with root:=).",
    BOOLEAN,
)
FOLLOWER_CALIBRATION = FOLLOWER[-1]
TASK = next(argument for argument in RECORDER if argument.name == "task")


def _whole(values: Values, name: str) -> int:
    try:
        return int(values[name])
    except ValueError:
        raise BringupError(f"{name} must be a whole number, found {values[name]!r}") from None


def _number(values: Values, name: str) -> float:
    try:
        return float(values[name])
    except ValueError:
        raise BringupError(f"{name} must be a number, found {values[name]!r}") from None


def _check_of_bench(values: Values, known: Mapping[str, Argument]) -> None:
    """Raises BringupError where a graph of real arms is given what only the bench has.

    Who asks for a simulated task and forgets emulated:=true must not see a real arm move.
    """
    if _emulated(values):
        return
    of_bench = [argument.name for argument in BENCH if argument.name not in _OF_ANY_CLOCK]
    given = [name for name in of_bench if name in known and values[name] != known[name].default]
    if given:
        raise BringupError(
            f"{', '.join(given)}: only the emulated bench has this, and this graph is of real "
            "arms; add emulated:=true, or leave it out"
        )


def _emulated(values: Values) -> bool:
    # A graph without the argument is of the bench alone, or has none.
    return values.get("emulated", str("bench_directory" in values).lower()) == "true"


def is_namespace(text: str) -> bool:
    """Whether ROS takes it for a namespace; a slash at either end is left out by armlet."""
    return _NAMESPACE.fullmatch(text.strip("/")) is not None


def _spec(executable: str, values: Values, namespace: str = "", **parameters: Any) -> NodeSpec:
    parts = [part.strip("/") for part in (values["namespace"], namespace)]
    return NodeSpec(executable, executable, parameters, "/".join(part for part in parts if part))


def _pairs(values: Values) -> tuple[Pair, ...]:
    """The followers with their leaders; arguments of ports and calibrations go before the file."""
    if _emulated(values):
        folder = Path(values["bench_directory"])
        follower, leader = (
            ArmEntry(str(folder / which), _calibration(which)) for which in ("follower", "leader")
        )
        return (Pair(follower, leader),)
    pairs = values.robot.pairs if values.robot else ()
    given = [name for name in _OF_ONE_PAIR if values.get(name)]
    if len(pairs) > 1:
        if given:
            raise BringupError(f"{given[0]} is of one follower, the robot file has {len(pairs)}")
        return pairs
    pair = pairs[0] if pairs else Pair(ArmEntry(FOLLOWER_PORT, ""))
    return (
        Pair(
            _as_given("follower", pair.follower, values),
            _as_given("leader", pair.leader or ArmEntry(LEADER_PORT, ""), values),
        ),
    )


def _as_given(which: str, entry: ArmEntry, values: Values) -> ArmEntry:
    return dataclasses.replace(
        entry,
        port=values.get(f"{which}_port") or entry.port,
        calibration=values.get(f"{which}_calibration") or entry.calibration,
    )


def _arm(which: str, entry: ArmEntry, values: Values, namespace: str) -> NodeSpec:
    if not entry.calibration:
        raise BringupError(
            f"there is no calibration of the {which}. Describe your arms once: armlet setup. "
            f"Or give {which}_calibration:=FILE, the arm's LeRobot calibration JSON, or robot:=FILE"
        )
    parameters: dict[str, Any] = {
        "port": entry.port,
        "mode": which,
        "calibration_file": entry.calibration,
    }
    if others := _other_calibrations(entry, values):
        parameters["other_calibrations"] = others
    try:
        joints = entry.kind.joints
    except FileError as error:
        raise BringupError(str(error)) from error
    if {joint.servo for joint in joints.values()} != {DEFAULT_SERVO}:
        # By name: a calibration file may have its joints in another order.
        parameters["motors"] = ",".join(f"{name}={joint.servo}" for name, joint in joints.items())
    return _spec("servo_bus", values, namespace, **parameters)


def _other_calibrations(entry: ArmEntry, values: Values) -> list[str]:
    """NAME=FILE of the other arms: of all in the robot file, or of this graph."""
    arms = dict(values.robot.arms) if values.robot else {}
    given = {f"{which}_calibration": which for which in ("follower", "leader")}
    files = {name: arm.calibration for name, arm in arms.items()}
    files |= {which: values[name] for name, which in given.items() if values.get(name)}
    return [f"{name}={file}" for name, file in files.items() if file != entry.calibration]


def _follower_calibration(values: Values) -> str:
    """The follower's, of several left_=FILE,right_=FILE."""
    files = {
        pair.prefix: str(_arm("follower", pair.follower, values, "").parameters["calibration_file"])
        for pair in _pairs(values)
    }
    if len(files) == 1:
        return next(iter(files.values()))
    return ",".join(f"{prefix}={file}" for prefix, file in files.items())


def _joints(values: Values) -> dict[str, Any]:
    """The aligner's parameters of joints: nothing where they are one SO-101's."""
    return vector_parameters({p.prefix: tuple(p.follower.kind.joints) for p in _pairs(values)})


def vector_parameters(arms: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """The aligner's parameters of a vector of arms: their joints by prefix, "" of the only one."""
    joints = [prefix + joint for prefix, names in arms.items() for joint in names]
    if len(arms) == 1:
        return {} if joints == list(SO101_JOINTS) else {"joints": joints}
    given: dict[str, Any] = {"joints": joints}
    for stream, topic in (("state", "joint_states"), ("action", "applied_joint_commands")):
        given[f"{stream}.topics"] = [in_namespace(prefix, topic) for prefix in arms]
        given[f"{stream}.prefixes"] = list(arms)
    return given


def _robot_type(values: Values) -> dict[str, Any]:
    """The recorder's parameter of it: nothing where it is one SO-101."""
    pairs = _pairs(values)
    name = pairs[0].follower.kind.name
    if len(pairs) == 1 and name == DEFAULT_MODEL:
        return {}
    return {"robot_type": f"{'bi_' if len(pairs) == 2 else ''}{name}_follower"}


def _data_units(values: Values) -> str:
    """Units of what is recorded: the policy's where they are given, then the robot file's."""
    stored = values.robot.joint_units if values.robot else None
    return values["joint_units"] or stored or DATA_UNITS


def _follower(values: Values) -> list[NodeSpec]:
    return [
        _with(
            _side(_arm("follower", pair.follower, values, pair.side), pair, values),
            _description(pair, values),
        )
        for pair in _pairs(values)
    ]


def _description(pair: Pair, values: Values) -> dict[str, str]:
    """The driver's parameter of it: nothing where the arm's kind has no URDF, or is not known."""
    kind, arm = pair.follower.kind, pair.follower
    if not kind.urdf:
        return {}
    from armlet.robots import description  # which loads numpy

    try:
        calibration = calibrations.load(Path(arm.calibration))
    except (CalibrationError, OSError):
        return {}  # `start_check` says so
    if set(calibration) != set(kind.joints):
        return {}
    prefix = frame_prefix(values["namespace"])
    own = description.links(kind)
    cameras = {
        f"{prefix}{name}": dataclasses.replace(mount, link=mount.link.removeprefix(pair.prefix))
        for name, mount in _mounts(values).items()
        if mount.link.startswith(pair.prefix) and mount.link.removeprefix(pair.prefix) in own
    }
    turned = turned_joints(kind, calibration)
    text = description.describe(kind, calibration, f"{prefix}{pair.prefix}", cameras, turned)
    return {DESCRIPTION: text}


def _mounts(values: Values) -> Mapping[str, Mount]:
    """Where the cameras are fixed. Raises BringupError where no arm has such a link."""
    from armlet.robots import description

    mounts = values.robot.mounts if values.robot else {}
    known = [
        f"{pair.prefix}{link}"
        for pair in (_pairs(values) if mounts else ())
        if pair.follower.kind.urdf
        for link in description.links(pair.follower.kind)
    ]
    for name, mount in mounts.items():
        if known and mount.link not in known:
            raise BringupError(
                f"robot file: cameras.{name}.mount.link: expected one of "
                f"{printable(', '.join(known))}, found {shown(mount.link)}"
            )
    return mounts


def turned_joints(kind: RobotModel, calibration: Calibration) -> list[str]:
    """Joints that are mounted the other way round by their calibration, and not by their servo."""
    if not any(entry.drive_mode for entry in calibration.values()):
        return []
    from armlet.motors.registry import choose

    _, models = choose(",".join(kind.servos), tuple(kind.joints))
    itself = dict(zip(kind.joints, (model.drive_mode is not None for model in models), strict=True))
    return [name for name, entry in calibration.items() if entry.drive_mode and not itself[name]]


def _viewers(nodes: Sequence[NodeSpec], values: Values) -> list[NodeSpec]:
    """Programs of ROS's own that show the arms: TF of each where it is installed; RViz if asked."""
    described = [spec for spec in nodes if DESCRIPTION in spec.parameters]
    found = [_state_publisher(spec, values) for spec in described] if installed(*_TF) else []
    if values.get("rviz") != "true":
        return found
    if not described:
        raise BringupError("rviz: this graph has no arm whose model has a URDF")
    missing = [package for package, program in (_TF, _RVIZ) if not installed(package, program)]
    if missing:
        packages = " ".join(f"ros-$ROS_DISTRO-{name.replace('_', '-')}" for name in missing)
        raise BringupError(
            f"rviz: {' and '.join(missing)} not installed; sudo apt install {packages}, and source "
            "the setup file of that ROS"
        )
    return [*found, _rviz(described[0], values)]


def _state_publisher(driver: NodeSpec, values: Values) -> NodeSpec:
    name = _TF[1]
    parameters = {
        DESCRIPTION: driver.parameters[DESCRIPTION],
        "use_sim_time": _simulated(values),
    }
    return NodeSpec(
        name,
        name,
        parameters,
        driver.namespace,
        required=False,
        program=installed(*_TF),
        # The driver publishes it, with or without this node.
        remaps=((DESCRIPTION, f"{name}/{DESCRIPTION}"),),
    )


def _rviz(driver: NodeSpec, values: Values) -> NodeSpec:
    """RViz as the driver's neighbour: its topics are relative names."""
    config = str(share_directory() / "config" / "armlet.rviz")
    from armlet.robots.description import root

    kinds = (pair.follower.kind for pair in _pairs(values))
    frame = frame_prefix(driver.namespace) + root(next(kind for kind in kinds if kind.urdf))
    return NodeSpec(
        _RVIZ[1],
        "rviz",
        {"use_sim_time": _simulated(values)},
        driver.namespace,
        required=False,
        program=installed(*_RVIZ),
        arguments=("-d", config, "-f", frame),
    )


def _bag(values: Values, part: str) -> list[NodeSpec]:
    """What records a bag of the graph. The first, to hear all; the supervisor ends it last."""
    if values["record_bag"] != "true":
        if values["bag"]:
            raise BringupError("bag: no bag is recorded; add record_bag:=true, or leave it out")
        return []
    if missing := bag_recorder.missing():
        packages = " ".join(f"ros-$ROS_DISTRO-{name.replace('_', '-')}" for name in missing)
        raise BringupError(
            f"record_bag: {' and '.join(missing)} not installed; sudo apt install {packages}, and "
            "source the setup file of that ROS"
        )
    try:
        folder = _place(values, "bag")
        check_output(Path(folder))  # the graph would go on without a bag
    except (FileError, OutputError) as error:
        raise BringupError(f"bag: {str(error).removeprefix('bag: ')}") from error
    if folder and os.path.lexists(folder):
        raise BringupError(f"bag: {printable(folder)} exists already; name another folder")
    spec = _named_by_part(_spec(BAG_RECORDER, values), part)
    words = bag_recorder.arguments(folder, spec.label.replace("/", "_"), _simulated(values))
    program = shutil.which("ros2") or ""
    return [
        dataclasses.replace(
            spec,
            required=False,
            environment={**spec.environment, **override(of_node(spec.label), os.environ)},
            program=program,
            arguments=tuple(words),
            recorded={},
        )
    ]


# Options of `armlet console` by what a graph calls them.
_CONSOLE_PLACES = {
    "recorded": "root",
    "datasets": "console_datasets",
    "trials": "console_trials",
}


def _console(values: Values, part: str) -> list[NodeSpec]:
    """The console of the graph, at this computer's own address: nothing of the graph needs it."""
    if values[CONSOLE] != "true":
        return []
    port = _whole(values, "console_port")
    if not 0 <= port < 1 << 16:
        raise BringupError(f"console_port: expected 0 to {(1 << 16) - 1}, found {port}")
    try:
        require("nicegui")
    except ModuleNotFoundError as error:
        raise BringupError(f"console: {how_to_install(error)}; or leave console out") from error
    words = ["-m", "armlet.cli.main", "console", f"--port={port}"]
    for option, name in _CONSOLE_PLACES.items():
        if values.get(name):
            words.append(f"--{option}={_place(values, name)}")
    spec = _named_by_part(_spec(CONSOLE, values), part)
    return [
        dataclasses.replace(
            spec, required=False, program=sys.executable, arguments=tuple(words), beside=True
        )
    ]


def recording(nodes: Sequence[NodeSpec]) -> list[NodeSpec]:
    """The nodes; what records a bag of them, with the topics that they have now."""
    topics = bag_recorder.topics(nodes)
    return [
        spec if spec.recorded is None else dataclasses.replace(spec, recorded=topics)
        for spec in nodes
    ]


def _side(spec: NodeSpec, pair: Pair, values: Values) -> NodeSpec:
    """The driver of a pair that has a namespace of its own says of which graph it is a side."""
    return _with(spec, {"graph": f"/{values['namespace'].strip('/')}"}) if pair.side else spec


def _teleop(values: Values) -> list[NodeSpec]:
    if values.get("input", BY_LEADER) != BY_LEADER:
        return [_jog(pair, values) for pair in _pairs(values)]
    return [spec for pair in _pairs(values) for spec in _pair_teleop(pair, values)]


def _pair_teleop(pair: Pair, values: Values) -> list[NodeSpec]:
    if pair.leader is None:
        raise BringupError(f"robot file: no arm teleoperates the {pair.side} follower")
    leader = _arm("leader", pair.leader, values, f"{pair.side}/leader")
    follower = _arm("follower", pair.follower, values, pair.side)
    teleop = _spec(
        "teleop",
        values,
        pair.side,
        leader_calibration_file=leader.parameters["calibration_file"],
        follower_calibration_file=follower.parameters["calibration_file"],
        joint_units=_data_units(values),
        # Beside a policy the leader waits until a person takes over: its commands come first.
        engaged=not _policy_drives(values),
    )
    return [leader, teleop]


def _jog(pair: Pair, values: Values) -> NodeSpec:
    follower = _arm("follower", pair.follower, values, pair.side)
    known = pair.follower.kind.name == DEFAULT_MODEL
    return _spec(
        "jog",
        values,
        pair.side,
        calibration_file=follower.parameters["calibration_file"],
        kinematics=DEFAULT_MODEL if known else "",
        device=values["input"],
    )


def _actions(values: Values) -> list[NodeSpec]:
    if values["actions"] != "true":
        return []
    try:
        require("control_msgs")
    except ModuleNotFoundError as error:
        raise BringupError(f"actions: {how_to_install(error)}") from error
    return [
        _spec(
            "trajectory_actions",
            values,
            pair.side,
            calibration_file=_arm("follower", pair.follower, values, pair.side).parameters[
                "calibration_file"
            ],
        )
        for pair in _pairs(values)
    ]


def _policy_drives(values: Values) -> bool:
    runs = "checkpoint" in values and values.get("policy", "true") == "true"
    return runs and values["running"] == "true"


def _bench(values: Values) -> list[NodeSpec]:
    if not _emulated(values):
        return []
    return [
        _spec(
            "sim_bench",
            values,
            directory=values["bench_directory"],
            seed=_whole(values, "seed"),
            physics=values["physics"],
            task=values["bench_task"],
            domain=values["domain"],
            clumsiness=_number(values, "clumsiness"),
            paced=values["paced"] == "true",
            **_picture_parameters(values),
        )
    ]


def _picture_parameters(values: Values) -> dict[str, Any]:
    if "width" not in values:
        return {"cameras": False}
    return {
        "width": _whole(values, "width"),
        "height": _whole(values, "height"),
        "fps": float(_whole(values, "fps")),
    }


def _camera_sources(values: Values) -> dict[str, str]:
    if _emulated(values):
        return {"front": "bench", "wrist": "bench"}
    if not values["cameras"] and values.robot and values.robot.cameras:
        return {name: camera["source"] for name, camera in values.robot.cameras.items()}
    given = values["cameras"] or CAMERAS
    try:
        return dict(entry.split("=", 1) for entry in given.split(",") if entry)
    except ValueError:
        raise BringupError(
            f"cameras must be name=source pairs, found {values['cameras']!r}"
        ) from None


def _camera_parameters(name: str, source: str, values: Values) -> dict[str, Any]:
    """A camera's: the robot file's before the graph's, but the source as it was chosen."""
    own = _own_camera(name, values)
    frame = {"frame_id": f"{frame_prefix(values['namespace'])}{name}_optical_frame"}
    return {**frame, **_picture_parameters(values), **own, "source": source}


def _cameras(values: Values) -> list[NodeSpec]:
    if _emulated(values):
        return []
    return [
        dataclasses.replace(
            _spec("camera", values, name, **_camera_parameters(name, source, values)),
            sources=_sources(values.robot, f"cameras.{name}", _own_camera(name, values)),
        )
        for name, source in _camera_sources(values).items()
    ]


def _own_camera(name: str, values: Values) -> Mapping[str, Any]:
    return values.robot.cameras.get(name, {}) if values.robot else {}


def _sources(robot: RobotFile | None, entry: str, names: Iterable[str]) -> dict[str, str]:
    """Where in a robot file parameters are set."""
    return {} if robot is None else dict.fromkeys(names, f"{robot.path}: {entry}")


def _aligner(values: Values) -> list[NodeSpec]:
    sources = _camera_sources(values)
    fps = _whole(values, "fps")
    raw = values["raw"] == "true"
    pictures: dict[str, Any] = {}
    for name, source in sources.items():
        rate = fps if _emulated(values) else _camera_parameters(name, source, values)["fps"]
        pictures |= {
            f"{name}.topic": f"{name}/image_raw" if raw else f"{name}/image_raw/compressed",
            f"{name}.type": "raw" if raw else "compressed",
            f"{name}.policy": "nearest",
            # A frame period and a little: one lost picture is bridged by its neighbour, counted.
            f"{name}.tolerance_s": round(1.2 / min(fps, rate), 4),
            # The bench's pictures have no noise: while nothing moves they are the same bytes.
            f"{name}.frozen_s": 0.0 if _emulated(values) else 1.0,
        }
    streams = ["state", "action", *sources]
    return [_spec("aligner", values, fps=fps, streams=streams, **_joints(values), **pictures)]


def _recorder(values: Values, policy: bool = False) -> list[NodeSpec]:
    """policy: whether one may drive, so that rows say when a person did."""
    if not values["root"]:
        return []
    return [
        _spec(
            "recorder",
            values,
            root=_place(values, "root"),
            task=values["task"],
            episode_s=_number(values, "episode_s"),
            episodes=_whole(values, "episodes"),
            on_gap=values["on_gap"],
            min_episode_s=_number(values, "min_episode_s"),
            calibration_file=_follower_calibration(values),
            joint_units=_data_units(values),
            intervention=policy or values.get("intervention") == "true",
            **_robot_type(values),
        )
    ]


def _place(values: Values, name: str) -> str:
    """A path as seen from anywhere; the name of a repository, and nothing, as it is.

    No shell expands the ~ of name:=~/path. Raises FileError for the home directory of nobody.
    """
    path = values[name]
    return path if not path or path.startswith(HUB) else str(expanded(path, Path.cwd(), name))


def _policy(values: Values) -> list[NodeSpec]:
    if not values["checkpoint"]:
        raise BringupError(
            "give checkpoint:=DIR, a LeRobot checkpoint directory, or "
            "checkpoint:=hub:owner/name@revision"
        )
    passed = (
        "joint_units",
        "embodiment",
        "lerobot_version",
        "transformers_version",
        "strategy",
        "device",
        "backend",
        "precision",
        "inference_latency_s",
    )
    spec = _spec(
        "policy",
        values,
        checkpoint=_place(values, "checkpoint"),
        vlm=_place(values, "vlm"),
        base_checkpoint=_place(values, "base_checkpoint"),
        calibration_file=_follower_calibration(values),
        threads=_whole(values, "threads"),
        without=values["without_cameras"],
        running=values["running"] == "true",
        task=values["task"],
        requires_recorder=_is_recorded(values),
        **{name: values[name] for name in passed},
    )
    # Without the policy the arm holds, and people may still teleoperate and record.
    return [NodeSpec(spec.executable, spec.name, spec.parameters, spec.namespace, required=False)]


def _is_recorded(values: Values) -> bool:
    """Whether a policy is to be recorded: by this graph, or by the robot's."""
    return bool(values.get("root")) or values.get("requires_recorder") == "true"


def _simulated(values: Values) -> bool:
    if values["use_sim_time"] == "auto":
        return _emulated(values)
    return values["use_sim_time"] == "true"


def _in_time(nodes: list[NodeSpec], values: Values) -> list[NodeSpec]:
    """The nodes with the time they live in: the computer's own, /clock, or the bench's."""
    if not _simulated(values):
        return nodes
    given: dict[str, Any] = {"use_sim_time": True}
    if not _emulated(values):
        return [_with(spec, given) for spec in nodes]
    given["lockstep"] = str(Path(values["bench_directory"]) / LOCKSTEP_SOCKET)
    # Time waits for no program of another package: those follow /clock.
    others = [spec.label for spec in nodes if spec.executable != "sim_bench" and not spec.program]
    others += [name for name in values["participants"].split(",") if name]
    own = {
        "keeps_time": True,
        "participants": others,
        "real_time_factor": _number(values, "real_time_factor"),
        "start_s": _number(values, "start_s"),
    }
    kept = {"sim_bench": own}
    return [
        spec if spec.program else _with(spec, kept.get(spec.executable, given)) for spec in nodes
    ]


def _selected(nodes: list[NodeSpec], values: Values) -> list[NodeSpec]:
    """Those of a graph's nodes that are run here, by `only` and `without`."""
    chosen = {name: _list(values.get(name, "")) for name in SELECTION}
    for argument, names in chosen.items():
        if values.get(argument) and not names:
            raise BringupError(f"{argument}: expected nodes' names, found {values[argument]!r}")
        unknown = [name for name in names if not any(_is(spec, name, values) for spec in nodes)]
        if unknown:
            raise BringupError(_no_such_node(argument, unknown[0], nodes, values))
    only, without = chosen.values()
    left = [spec for spec in nodes if not only or any(_is(spec, name, values) for name in only)]
    left = [spec for spec in left if not any(_is(spec, name, values) for name in without)]
    if not left:
        raise BringupError("only and without leave no node to run")
    return left


def _list(text: str) -> list[str]:
    return [name.strip(" /") for name in text.split(",") if name.strip(" /")]


def _is(spec: NodeSpec, name: str, values: Values) -> bool:
    """Whether a name is a node's, that of its kind, or a namespace that it is in."""
    labels = (spec.label, _in_graph(spec, values))
    return name == spec.executable or any(f"{label}/".startswith(f"{name}/") for label in labels)


def _in_graph(spec: NodeSpec, values: Values) -> str:
    """A node's label without the namespace of the whole graph."""
    return spec.label.removeprefix(f"{values['namespace'].strip('/')}/")


def _no_such_node(argument: str, name: str, nodes: list[NodeSpec], values: Values) -> str:
    labels = [_in_graph(spec, values) for spec in nodes]
    known = list(dict.fromkeys([spec.executable for spec in nodes] + labels))
    said = (
        f"{argument}: this graph has no node {printable(name, 80)}; {did_you_mean([name], known)}"
    )
    said += f"it has {', '.join(known)}"
    if argument == "without" and "without_cameras" in values:
        said += "; cameras a policy was trained without are without_cameras:="
    return said


def _as_process(spec: NodeSpec, values: Values) -> NodeSpec:
    """A node with how its process is run."""
    return dataclasses.replace(
        spec,
        log_level=values.get("log_level", ""),
        # The bench is the world, and its time: a new one would know nothing of either.
        respawn=values.get("respawn") == "true"
        and spec.executable != "sim_bench"
        and not spec.program,
    )


def _with(spec: NodeSpec, parameters: Mapping[str, Any]) -> NodeSpec:
    return dataclasses.replace(spec, parameters={**spec.parameters, **parameters})


def _robot_file(values: Values) -> RobotFile | None:
    """The robot file a graph of real arms takes: the one that is named, or the person's own."""
    if "robot" not in values or _emulated(values):
        return None
    try:
        return find(values["robot"])
    except FileError as error:
        raise BringupError(f"{error}; robot:=none goes without the file") from error


def _with_persons_parameters(nodes: list[NodeSpec], values: Values) -> list[NodeSpec]:
    """The nodes with what the robot file sets, by node and by namespace/node, and a parameter file.

    A node refuses at its start what it does not declare.
    """
    given = values.robot.parameters if values.robot else {}
    unknown = [name for name in given if name.rpartition("/")[2] not in NODES]
    if unknown:
        meant = did_you_mean(unknown, list(NODES))
        raise BringupError(
            f"robot file: parameters: no node {unknown[0]!r}; {meant}there are {list(NODES)}"
        )
    for key in sorted(given, key=lambda key: "/" in key):  # of one node before of its kind
        nodes = [
            dataclasses.replace(
                _with(spec, given[key]),
                sources={**spec.sources, **_sources(values.robot, f"parameters.{key}", given[key])},
            )
            if key in (spec.executable, spec.label)
            else spec
            for spec in nodes
        ]
    path = values.get("params_file", "")
    if not path:
        return nodes
    try:
        file = expanded(path, Path.cwd(), "params_file")
    except FileError as error:
        raise BringupError(str(error)) from error
    if not file.is_file():
        raise BringupError(f"params_file: there is no file {path}")
    return [dataclasses.replace(spec, parameter_files=(str(file),)) for spec in nodes]


def _describe_sim(values: Values) -> list[NodeSpec]:
    policy = values["policy"] == "true"
    nodes = _bench(values) + _follower(values) + _aligner(values) + _recorder(values, policy)
    if values["teleop"] == "true":
        nodes += _teleop(values)
    if policy:
        nodes += _policy(values)
    return nodes


def _describe_follower(values: Values) -> list[NodeSpec]:
    return _bench(values) + _follower(values) + _actions(values)


def _describe_teleop(values: Values) -> list[NodeSpec]:
    return _bench(values) + _follower(values) + _teleop(values)


def _describe_record(values: Values) -> list[NodeSpec]:
    if not values["root"]:
        raise BringupError("give root:=DIR, the dataset directory to record into")
    data_path = _cameras(values) + _aligner(values) + _recorder(values)
    return _describe_teleop(values) + data_path


def _describe_robot(values: Values) -> list[NodeSpec]:
    data_path = _cameras(values) + _aligner(values) + _recorder(values, policy=True)
    return _bench(values) + _follower(values) + data_path


def _describe_policy(values: Values) -> list[NodeSpec]:
    leader = _teleop(values) if values["teleop"] == "true" else []
    return _describe_robot(values) + leader + _policy(values)


def _describe_brain(values: Values) -> list[NodeSpec]:
    return [dataclasses.replace(spec, required=True) for spec in _policy(values)]


def _sim_arguments() -> tuple[Argument, ...]:
    shipped = str(share_directory() / "checkpoints" / "reach")
    return (
        NAMESPACE,
        Argument("policy", "true", "Run the policy.", BOOLEAN),
        Argument(
            "teleop",
            "false",
            "Run the leader and teleoperation; beside the policy disengaged at first.",
            BOOLEAN,
        ),
        Argument("checkpoint", shipped, CHECKPOINT),
        Argument("threads", "1", "CPU threads for inference. 0: torch's default."),
        *INFERENCE,
        Argument(
            "width", "128", "Image width (pixels); must be that of the checkpoint's training data."
        ),
        Argument("height", "96", "Image height (pixels)."),
        Argument("fps", "30", "Rate of cameras, frames and dataset (Hz)."),
        RAW,
        *RECORDER,
        RVIZ,
        *PROCESSES,
        *BENCH,
    )


GRAPHS = {
    graph.name: graph
    for graph in (
        Graph(
            "sim",
            "emulated arms and rendered cameras, driven by the shipped policy",
            _sim_arguments(),
            _describe_sim,
        ),
        Graph(
            "follower",
            "the follower alone, for programs of your own to command",
            (NAMESPACE, EMULATED, *FOLLOWER, ACTIONS, RVIZ, *PROCESSES, *BENCH),
            _describe_follower,
        ),
        Graph(
            "teleop",
            "leader moves follower",
            (NAMESPACE, EMULATED, *FOLLOWER, *LEADER, UNITS, RVIZ, *PROCESSES, *BENCH),
            _describe_teleop,
        ),
        Graph(
            "jog",
            "a gamepad or SpaceMouse moves the follower",
            (NAMESPACE, EMULATED, *FOLLOWER, JOG_INPUT, RVIZ, *PROCESSES, *BENCH),
            _describe_teleop,
        ),
        Graph(
            "record",
            "teleoperate and record LeRobot episodes",
            (
                NAMESPACE,
                EMULATED,
                *FOLLOWER,
                INPUT,
                *LEADER,
                UNITS,
                *PICTURES,
                *RECORDER,
                PERSONS_ROWS,
                RVIZ,
                *PROCESSES,
                *BENCH,
            ),
            _describe_record,
        ),
        Graph(
            "robot",
            "follower, cameras and frames, for a policy on another computer",
            (
                NAMESPACE,
                DISCOVERY,
                EMULATED,
                *FOLLOWER,
                UNITS,
                *PICTURES,
                *RECORDER,
                RVIZ,
                *PROCESSES,
                *BENCH,
            ),
            _describe_robot,
        ),
        Graph(
            "brain",
            "a policy for the robot of another computer",
            (
                NAMESPACE,
                DISCOVERY,
                ROBOT,
                FOLLOWER_CALIBRATION,
                *POLICY,
                TASK,
                RECORDED,
                ANY_CLOCK,
                *PROCESSES,
            ),
            _describe_brain,
            part=BRAIN,
        ),
        Graph(
            "policy",
            "a policy drives the follower; give root to record it",
            (
                NAMESPACE,
                EMULATED,
                *FOLLOWER,
                TAKE_OVER,
                INPUT,
                *LEADER,
                *PICTURES,
                *POLICY,
                *RECORDER,
                RVIZ,
                *PROCESSES,
                *BENCH,
            ),
            _describe_policy,
        ),
    )
}


def graph(name: str) -> Graph:
    """A graph by name. Raises BringupError listing the names."""
    if name not in GRAPHS:
        known = sorted(GRAPHS)
        here = ", ".join(known)
        raise BringupError(f"no graph {name!r}; {did_you_mean([name], known)}there are {here}")
    return GRAPHS[name]
