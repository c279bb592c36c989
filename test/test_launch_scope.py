"""What a launch file sets around a graph, without ROS's launch: it is data by then."""

import pytest

from armlet.bringup import BringupError, graph, share_directory
from armlet.launch_scope import Scope
from armlet.start_check import check

CALIBRATION = str(share_directory() / "config" / "calibration" / "emulated_follower.json")
ROBOT = {"follower_calibration": CALIBRATION, "robot": "none", "use_sim_time": "auto"}


def around(*parameters, name="robot", **given):
    """The nodes by label, and what is said of them."""
    scope = Scope(parameters=parameters)
    nodes, notes = scope.around(graph(name).nodes(scope.arguments(ROBOT | given)))
    check(nodes)
    return {spec.label: spec for spec in nodes}, notes


def written(path, text):
    path.write_text(text)
    return str(path)


def test_a_parameter_reaches_the_nodes_that_declare_it_and_ends_no_other():
    nodes, notes = around(("max_velocity_rad_s", 2.5), ("autostart", False))
    assert nodes["servo_bus"].scoped == {"max_velocity_rad_s": 2.5, "autostart": False}
    assert nodes["aligner"].scoped == {"autostart": False}
    assert notes == []


def test_one_of_a_joint_is_known_by_the_calibration():
    nodes, _ = around(("gripper.max_velocity_rad_s", 1.0))
    assert nodes["servo_bus"].scoped == {"gripper.max_velocity_rad_s": 1.0}


def test_the_nodes_own_come_first_and_that_is_said():
    nodes, notes = around(("fps", 15), ("port", "/dev/other"))
    assert not any("fps" in spec.scoped or "port" in spec.scoped for spec in nodes.values())
    assert [note.split(" has no effect here: the graph itself sets it")[0] for note in notes] == [
        "SetParameter fps",
        "SetParameter port",
    ]


def test_what_no_node_has_is_said_and_ends_nothing():
    _, notes = around(("max_velocty_rad_s", 2.5))
    (note,) = notes
    assert note.endswith("no node of the graph has it; did you mean max_velocity_rad_s?")


@pytest.mark.parametrize("value", [2, "2", "2.0", 2.0])
def test_a_number_is_one_however_launch_ros_hands_it_over(value):
    nodes, _ = around(("max_velocity_rad_s", value))
    given = nodes["servo_bus"].scoped["max_velocity_rad_s"]
    assert (given, type(given)) == (2.0, float)


def test_text_that_looks_like_a_number_stays_text():
    nodes, _ = around(("frame_id", "12"))
    assert "frame_id" not in nodes["front/camera"].scoped  # the graph's own
    nodes, _ = around(("feedback", "12"))
    assert nodes["servo_bus"].scoped == {"feedback": "12"}


def test_a_value_that_no_node_takes_is_refused_by_its_place():
    with pytest.raises(BringupError, match=r"SetParameter: max_velocity_rad_s must be 0\.01 to 10"):
        around(("max_velocity_rad_s", 99.0))


@pytest.mark.parametrize("value", [True, "true"])
def test_simulated_time_is_the_graphs_argument(value):
    """It decides more than a parameter: that the computer's load is not judged, for one."""
    nodes, notes = around(("use_sim_time", value))
    assert "computer" not in nodes and notes == []
    assert all(spec.parameters["use_sim_time"] is True for spec in nodes.values())
    nodes, _ = around(("use_sim_time", value), use_sim_time="false")
    assert "use_sim_time" not in nodes["servo_bus"].parameters | dict(nodes["servo_bus"].scoped)


def test_the_last_one_counts_but_a_section_that_names_a_node_before_any(tmp_path):
    file = written(
        tmp_path / "p.yaml",
        """
/servo_bus: {ros__parameters: {max_velocity_rad_s: 1.0}}
/**: {ros__parameters: {max_velocity_rad_s: 3.0, max_acceleration_rad_s2: 20.0, of_others: 1}}
elsewhere: {ros__parameters: {nonsense: 1}}
""",
    )
    nodes, notes = around(("max_acceleration_rad_s2", 10.0), file, ("max_velocity_rad_s", 2.0))
    assert nodes["servo_bus"].scoped == {
        "max_velocity_rad_s": 1.0,
        "max_acceleration_rad_s2": 20.0,
    }
    assert notes == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("/servo_bus: {ros__parameters: {max_velocty_rad_s: 1.0}}", "max_velocity_rad_s"),
        ("[]", "SetParametersFromFile: .*expected node names"),
        (None, "SetParametersFromFile: there is no file"),
    ],
)
def test_a_file_that_is_wrong_is_refused(tmp_path, text, message):
    path = tmp_path / "p.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(BringupError, match=message):
        around(str(path))


def test_a_pushed_namespace_is_that_of_the_whole_graph():
    """Simulated time waited for servo_bus, and lab/servo_bus came."""
    scope = Scope.of({"ros_namespace": "/lab", "ros_remaps": [("a", "b")]})
    nodes, _ = scope.around(graph("sim").nodes(scope.arguments({"namespace": "left"})))
    bench = next(spec for spec in nodes if spec.executable == "sim_bench")
    others = [spec.label for spec in nodes if spec is not bench]
    assert bench.parameters["participants"] == others
    assert all(label.startswith("lab/left/") for label in others)
    assert all(spec.remaps == (("a", "b"),) for spec in nodes)
