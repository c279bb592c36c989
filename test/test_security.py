"""The SROS 2 policy of a graph; what running nodes have beside it is in test/nodes."""

import fnmatch
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from armlet.bringup import NODES, NodeSpec, command, graph, share_directory
from armlet.cli.main import main
from armlet.client.graph import init_arguments
from armlet.enclaves import ENABLED, STRATEGY, warning
from armlet.security import Right, Use, enclaves, write
from armlet.security.rights import _KINDS

CALIBRATION = share_directory() / "config" / "calibration" / "emulated_follower.json"
BRAIN = {
    "checkpoint": str(share_directory() / "checkpoints" / "reach"),
    "follower_calibration": str(CALIBRATION),
    "robot": "none",
}
TWO = f"""
arms:
  left_follower: {{port: /dev/l, calibration: {CALIBRATION}}}
  right_follower: {{port: /dev/r, calibration: {CALIBRATION}}}
cameras:
  top: {{source: pattern}}
"""
# The schema, version 0.2.0: of each element its attributes (? for those that may be left out), and
# what is below it, as a regular expression of names each followed by a space.
SCHEMA = {
    "policy": (("version",), "enclaves "),
    "enclaves": ((), "(enclave )+"),
    "enclave": (("path",), "(profiles )+"),
    "profiles": (("type?",), "(profile )+(metadata )?"),
    "profile": (("ns", "node"), "((topics |services |actions )*)"),
    "topics": (("publish?", "subscribe?"), "(topic )+"),
    "services": (("reply?", "request?"), "(service )+"),
    "actions": (("call?", "execute?"), "(action )+"),
    "topic": ((), ""),
    "service": ((), ""),
    "action": ((), ""),
}
# What DDS permissions and the names of ROS's enclaves can hold.
NAME, PATH = re.compile(r"/[\w/*]+"), re.compile(r"(/[a-zA-Z_]\w*)+")


def misfits(element):
    """Where an element is not as the schema has it."""
    attributes, below = SCHEMA[element.tag]
    needed = {name for name in attributes if not name.endswith("?")}
    permitted = {name.rstrip("?") for name in attributes}
    if not needed <= set(element.attrib) <= permitted:
        yield f"{element.tag} has {element.attrib}"
    if not re.fullmatch(below, "".join(f"{each.tag} " for each in element)):
        yield f"{element.tag} has {[each.tag for each in element]}"
    rules = element.attrib.values() if element.tag in ("topics", "services", "actions") else ()
    if not set(rules) <= {"ALLOW", "DENY"}:
        yield f"{element.tag} has {element.attrib}"
    if not below and not NAME.fullmatch(element.text or ""):
        yield f"{element.tag} is {element.text!r}"
    for each in element:
        yield from misfits(each)


def of(found, path):
    """{use: names} of an enclave."""
    (enclave,) = (each for each in found if each.path == path)
    rights = [right for profile in enclave.profiles for right in profile.rights]
    return {use: {right.name for right in rights if right.use is use} for use in Use}


@pytest.fixture
def two_arms(tmp_path):
    (tmp_path / "robot.yaml").write_text(TWO)
    return {"robot": str(tmp_path / "robot.yaml")}


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("sim", {"teleop": "true", "root": "dataset", "task": "reach"}),
        ("jog", {"emulated": "true", "namespace": "lab/cell"}),
        ("brain", BRAIN),
    ],
)
def test_a_policy_is_one_by_the_schema(name, given):
    chosen = graph(name)
    found = enclaves(chosen.nodes(given), given.get("namespace", ""), chosen.part)
    policy = ElementTree.fromstring(write(found))
    assert list(misfits(policy)) == [] and policy.get("version") == "0.2.0"
    paths = [enclave.path for enclave in found]
    assert len(set(paths)) == len(paths) and all(map(PATH.fullmatch, paths))
    allowed = {
        (one.get("path"), Right(use, each.text))
        for one in policy.iter("enclave")
        for use in Use
        for list_ in one.iter(f"{use.thing}s")
        for each in list_
        if list_.get(use.verb) == "ALLOW"
    }
    assert allowed == {
        (enclave.path, right)
        for enclave in found
        for profile in enclave.profiles
        for right in profile.rights
    }


def test_every_kind_of_node_has_its_rights():
    assert set(_KINDS) == set(NODES)


def test_each_arm_of_two_has_its_own_topics(two_arms):
    given = {"namespace": "cell", **BRAIN, **two_arms, "follower_calibration": ""}
    given["teleop"] = "false"
    found = enclaves(graph("policy").nodes(given), "cell")
    assert [enclave.path for enclave in found] == [
        "/cell/left/servo_bus",
        "/cell/right/servo_bus",
        "/cell/top/camera",
        "/cell/aligner",
        "/cell/policy",
        "/cell/computer",
        "/cell/operator",
        "/cell/viewer",
    ]
    left, aligner, policy = (
        of(found, f"/cell/{name}") for name in ("left/servo_bus", "aligner", "policy")
    )
    assert "/cell/left/joint_commands" in left[Use.SUBSCRIBE]
    assert not any("right" in name for names in left.values() for name in names)
    raw = {"/cell/left/joint_states", "/cell/right/applied_joint_commands"}
    assert raw | {"/cell/top/image_raw/compressed"} <= aligner[Use.SUBSCRIBE]
    assert "/cell/observation/images/top/compressed" in aligner[Use.PUBLISH]
    chunks = {f"/cell/{side}/joint_trajectory" for side in ("left", "right")}
    assert chunks <= policy[Use.PUBLISH] and not chunks & policy[Use.SUBSCRIBE]
    operator = of(found, "/cell/operator")
    assert chunks <= operator[Use.PUBLISH] and operator[Use.REQUEST] == {"/cell/*"}
    assert "/joint_trajectory" not in operator[Use.PUBLISH]


def test_parameter_files_and_remaps_change_the_names(tmp_path):
    file = tmp_path / "given.yaml"
    file.write_text("/**/aligner: {ros__parameters: {state: {topic: /other/joints}}}\n")
    aligner = NodeSpec("aligner", "aligner", {"streams": ["state"]}, parameter_files=(str(file),))
    remapped = NodeSpec("teleop", "teleop", {}, "a", remaps=(("joint_commands", "/b/commands"),))
    program = NodeSpec("robot_state_publisher", "rsp", {"use_sim_time": True}, program="/bin/rsp")
    found = enclaves([aligner, remapped, program])
    assert "/other/joints" in of(found, "/aligner")[Use.SUBSCRIBE]
    assert "/joint_states" not in of(found, "/aligner")[Use.SUBSCRIBE]
    teleop = of(found, "/a/teleop")
    assert "/b/commands" in teleop[Use.PUBLISH] and "/a/joint_commands" not in teleop[Use.PUBLISH]
    assert {"/clock", "/joint_states"} <= of(found, "/rsp")[Use.SUBSCRIBE]
    assert not any("change_state" in name for name in of(found, "/rsp")[Use.REPLY])


def test_actions_are_executed_by_the_node_that_serves_them():
    (node, *_) = enclaves([NodeSpec("trajectory_actions", "trajectory_actions", {}, "cell")])
    text = write([node])
    assert '<actions execute="ALLOW">' in text
    assert "<action>/cell/arm_controller/follow_joint_trajectory</action>" in text


def granted(found, path, use, name):
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in of(found, path)[use])


def test_nobody_who_only_looks_can_move_an_arm_or_answer_for_a_node():
    given = {"teleop": "true", "root": "dataset", "task": "reach"}
    found = enclaves(graph("sim").nodes(given))
    driver = of(found, "/servo_bus")
    commands = {"/joint_commands", "/joint_trajectory"}
    assert commands <= driver[Use.SUBSCRIBE]
    may = {
        name: {each.path for each in found if granted(found, each.path, Use.PUBLISH, name)}
        for name in commands
    }
    assert may["/joint_commands"] == {"/teleop", "/operator"}
    assert may["/joint_trajectory"] == {"/policy", "/operator"}
    for service in driver[Use.REPLY]:
        asking = [each.path for each in found if granted(found, each.path, Use.REQUEST, service)]
        answering = [each.path for each in found if granted(found, each.path, Use.REPLY, service)]
        assert asking == ["/operator"] and answering == ["/servo_bus"]
    assert granted(found, "/viewer", Use.SUBSCRIBE, "/joint_states")


def test_a_robot_and_its_brain_have_policies_that_go_into_one_keystore():
    emulated = {"emulated": "true", "use_sim_time": "false"}
    robot = {each.path for each in enclaves(graph("robot").nodes(emulated))}
    brain = graph("brain")
    thinks = {each.path for each in enclaves(brain.nodes(BRAIN), part=brain.part)}
    assert thinks == {"/policy", "/brain_computer"} and not robot & thinks
    assert {"/operator", "/viewer"} <= robot


def test_processes_are_in_enclaves_where_security_is_on(tmp_path, monkeypatch):
    spec = NodeSpec("servo_bus", "servo_bus", {}, "left")
    monkeypatch.delenv(ENABLED, raising=False)
    assert "--enclave" not in command(spec, tmp_path) and init_arguments("left") == []
    monkeypatch.setenv(ENABLED, "true")
    line = command(spec, tmp_path)
    assert line[line.index("--enclave") + 1] == "/left/servo_bus"
    assert line.index("--enclave") > line.index("--ros-args")
    assert init_arguments("") == ["--ros-args", "--enclave", "/operator"]
    assert init_arguments("/left/") == ["--ros-args", "--enclave", "/left/operator"]


def test_security_that_is_not_enforced_is_said():
    assert warning({}) == "" and warning({STRATEGY: "Permissive"}) == ""
    assert warning({ENABLED: "true", STRATEGY: "Enforce"}) == ""
    assert f"export {STRATEGY}=Enforce" in warning({ENABLED: "true"})


def test_the_command_writes_the_file_and_says_what_is_next(tmp_path, capsys):
    file = tmp_path / "policy.xml"
    words = ["security", "policy", "follower", "emulated:=true"]
    assert main([*words, "--output", str(file), "namespace:=cell"]) == 0
    said = capsys.readouterr().out
    assert "/cell/servo_bus" in said and f"-p {file}" in said
    assert main([*words, "namespace:=cell"]) == 0
    assert capsys.readouterr().out == file.read_text()
    file.write_text("somebody's")
    assert main([*words, "--output", str(file), "namespace:=cell"]) == 0
    assert f"kept what was there as {file}.bak" in capsys.readouterr().out
    assert Path(f"{file}.bak").read_text() == "somebody's"
    assert list(misfits(ElementTree.parse(file).getroot())) == []


@pytest.mark.parametrize("words", [["nothing"], ["sim", "nothing:=1"], ["sim", "nothing"]])
def test_a_graph_that_is_none_is_refused(words, capsys):
    assert main(["security", "policy", *words]) == 2
    said = capsys.readouterr()
    assert said.err.startswith("armlet security policy: ") and not said.out
    assert not Path("policy.xml").exists()
