"""`armlet session` at a terminal beside a running record graph.

It shows what is so, and obeys from its first instant. The graph is a real one on the emulated
bench, one for all; processes are killed and stopped under it, the recorder last.
"""

import itertools
import re
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from announcer import OtherDriver, other
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from node_processes import SLOW_HZ, flowing_graph
from std_srvs.srv import Trigger

from armlet.client.recording import SILENCE_S, Ends, sides
from armlet.datasets import Dataset
from armlet.nodes.messages import diagnostic
from armlet.nodes.status_names import COMPUTER, status_name

sys.path.append(str(Path(__file__).parents[1] / "cli"))
from terminal_session import CTRL_C, TerminalSession

# For a person at a terminal time does not wait, nor does it for the graph beside.
pytestmark = pytest.mark.wall_clock(seconds=4)

# Before the graph is there.


@pytest.mark.parametrize(
    ("namespace", "places", "found"),
    [
        ("/", ["/left", "/left/leader", "/right", "/right/leader"], ["left", "right"]),
        ("/cell", ["/cell/left", "/left", "/cell/left/leader"], ["left"]),
        ("/", ["/", "/leader", "/cell"], [""]),  # one arm, and somebody else's graph
        ("/", ["/leader", "/cell"], []),
    ],
)
def test_the_arms_of_several_sides_are_found_by_their_drivers(namespace, places, found):
    nodes = [("servo_bus", place) for place in places] + [("recorder", "/cell")]
    assert sides(nodes, namespace) == found


def test_a_key_just_after_a_recording_ended_by_itself_begins_no_other():
    ends = Ends()
    for state in ("idle", "recording"):
        ends.heard(state, 1.0)
    assert not ends.just_ended(1.0)
    ends.heard("idle", 20.0)
    assert ends.just_ended(20.5) and not ends.just_ended(21.5)


def test_what_a_key_ended_has_not_ended_by_itself():
    ends = Ends()
    ends.heard("recording", 1.0)
    ends.asking()
    ends.heard("idle", 20.0)
    ends.asked(20.1)
    ends.heard("recording", 20.2)
    ends.heard("idle", 20.3)  # it was on its way
    assert not ends.just_ended(20.3)


def test_without_a_graph_it_says_what_it_waits_for():
    with TerminalSession("session") as session:
        session.wait_for("waiting for the recorder")
        session.send(" ")
        session.wait_for("no recorder runs here")
        session.send("m")
        session.wait_for("no emulated bench runs here")
        session.send(CTRL_C)
        assert session.wait_end() == 0


def test_a_bench_without_a_leader_offers_none_and_moves_none():
    """It said that the leader moves, and nothing followed."""
    asked = []

    def serve(request, response):
        asked.append(request)
        response.success, response.message = True, "1.0"
        return response

    with other("bench") as bench, TerminalSession("session", columns=120, rows=30) as session:
        for does in ("demonstrate", "reset"):
            bench.create_service(Trigger, f"sim_bench/{does}", serve)
        session.wait_for("emulated bench: a new target")
        assert "move the leader to the target" not in "\n".join(session.screen())
        session.send("m")
        session.wait_for("teleop +no leader runs here", regex=True)
        session.send("n")
        session.wait_for(r"sim_bench +there is a new target$", regex=True)
        assert len(asked) == 1


def test_the_graphs_own_arm_is_stopped_although_another_was_found_first():
    """It counted as one of several sides, and the graph's own driver as none."""
    with (
        other("servo_bus", "/foreign") as far,
        TerminalSession("session", columns=120, rows=30) as session,
    ):
        drivers = [OtherDriver(far)]
        session.wait_for(r"^arm .*foreign: as its own", regex=True)
        with other("servo_bus") as near:
            drivers += [OtherDriver(near)]
            session.wait_for(r"^arm .*as its own graph has it; foreign: as its own", regex=True)
            session.send("x")
            session.wait_for("foreign/servo_bus/stop +done", regex=True)
            session.wait_for(r" servo_bus/stop +done", regex=True)
            # More than once where an answer takes longer than a stop is waited for.
            assert [{*each.asked} for each in drivers] == [{"servo_bus/stop"}] * 2
            # Of which graph it is may have been asked for longer than such an answer is waited for.
            session.press_until("t", "is of graph /foreign")
            assert {*drivers[0].asked} == {"servo_bus/stop"}


def test_a_computer_that_does_not_keep_up_is_shown_first():
    """By the same status that the watcher of a graph publishes."""
    with other("announcer") as node, TerminalSession("session", columns=120, rows=30) as session:
        publisher = node.create_publisher(DiagnosticArray, "/diagnostics", 10)
        said = "this computer does not keep up: servo_bus at 38 of 100 Hz; load 13 on 2 cores"
        status = diagnostic(status_name("computer", COMPUTER), DiagnosticStatus.WARN, said, {})
        node.create_timer(0.2, lambda: publisher.publish(DiagnosticArray(status=[status])))
        session.wait_for(r"^computer +this computer does not keep up: servo_bus at 38", regex=True)
        assert sum("does not keep up" in line for line in session.screen()) == 1


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("session") / "dataset"


@pytest.fixture(scope="module")
def shared(root):
    # Half as fast: what is waited for is mostly the commands, and the graph costs half meanwhile.
    slow = {"real_time_factor": "0.5"}
    given = {"width": "64", "height": "48", "min_episode_s": "0.1", **slow}
    stopped = ("servo_bus", "recorder")
    with flowing_graph("record", SLOW_HZ, stopped, root=str(root), **given) as graph:
        graph.wait("actions", lambda: graph.seen.count("action") > 3)
        graph.rows = rows_heard(graph)
        yield graph


def rows_heard(graph):
    """The rows of the recorder's open episode, as it says from now on."""
    rows = []

    def note(status):
        values = {each.key: each.value for each in status.values}
        if "open_frames" in values:
            rows.append(int(values["open_frames"]))

    graph.director.listen(DiagnosticStatus, "recorder/status", note)
    return rows


@pytest.fixture
def graph(shared):
    """The graph with its follower armed."""
    shared.director.set("servo_bus/set_torque", True)
    shared.wait_for_status("servo_bus: bus", "following")
    return shared


@pytest.fixture
def saved(root):
    """The episodes recorded before."""
    return episodes(root)


def has_fallen(counts):
    return any(after < before for before, after in itertools.pairwise(counts))


def frames(least):
    """What the screen says of a recording of so many frames or more; least: 10, 20, ..., 90."""
    return rf"RECORDING episode \d+ · (\d{{3,}}|[{least // 10}-9]\d) frames"


def episodes(root):
    return len(Dataset(root).episodes) if (root / "meta/info.json").is_file() else 0


def test_the_stop_key_is_obeyed_before_anything_is_drawn(graph):
    """Typed while Python itself still starts: not one byte has come from the command."""
    with TerminalSession("session", columns=120, rows=30) as session:
        session.send("x")
        assert session.output == b""
        # The follower's line; the leader is never armed.
        session.wait_for(r"^arm +not armed", regex=True)


@pytest.mark.thorough
def test_torque_that_still_waits_its_turn_does_not_come_on_after_a_stop(graph):
    """A recorder that does not answer kept the key waiting, and the arm held after the stop."""
    recorder = graph.processes["recorder"]
    with TerminalSession("session", columns=120, rows=30) as session:
        session.wait_for("following joint_commands")
        session.wait_for("idle · ")  # of a recorder that it never heard it expects no answer
        recorder.send_signal(signal.SIGSTOP)
        try:
            session.send("dtx")
            session.wait_for("servo_bus/stop +torque is off", regex=True)
            session.wait_for("torque stays off: the stop key came after it")
        finally:
            recorder.send_signal(signal.SIGCONT)
        graph.let_pass(0.5)
        session.wait_for(r"^arm +not armed", regex=True)


@pytest.mark.thorough
def test_keys_typed_before_it_is_drawn_are_not_lost(graph, root, saved):
    with TerminalSession("session", columns=120, rows=30) as session:
        session.send(" ")
        session.wait_for(f"RECORDING episode {saved}")
        session.wait_for(frames(40), regex=True)
        session.send(" ")
        session.wait_for(f"idle · {saved + 1} episodes")
    assert episodes(root) == saved + 1


@pytest.mark.thorough
def test_the_first_press_engages_a_leader_that_is_disengaged(graph):
    graph.director.set("teleop/set_engaged", False)
    with TerminalSession("session", columns=120, rows=30) as session:
        session.wait_for(r"^leader +disengaged", regex=True)
        session.send("e")
        session.wait_for(r"^leader +following the leader", regex=True)


def test_a_person_records_discards_and_stops_the_arm_by_keys(graph, root, saved):
    with TerminalSession("session", columns=100, rows=30) as session:
        session.wait_for(f"idle · {saved} episodes")
        session.wait_for("following joint_commands")
        session.wait_for("emulated bench: move the leader to the target")
        still = graph.seen.latest("joint_states")
        session.send("m")
        session.wait_for(r"sim_bench +the leader moves for \d", regex=True)
        graph.wait(
            "motion", lambda: np.ptp([still, graph.seen.latest("joint_states")], 0).max() > 0.1
        )
        session.send(" ")
        session.wait_for(f"RECORDING episode {saved}")
        session.wait_for(frames(10), regex=True)
        graph.wait("frames of the first take", lambda: graph.rows[-1] >= 10)
        begun = len(graph.rows)
        session.send("r")
        session.wait_for("rerecord_episode")
        # By what the recorder says: the screen may still show those of the first.
        graph.wait("another take", lambda: has_fallen(graph.rows[begun - 1 :]))
        graph.wait("its frames", lambda: graph.rows[-1] >= 10)
        session.send(" ")
        session.wait_for(f"idle · {saved + 1} episodes")
        session.send("x")
        session.wait_for("not armed")
        session.send("t")
        session.wait_for("following joint_commands")
        session.send("q")
        assert session.wait_end() == 0
    assert episodes(root) == saved + 1


@pytest.mark.thorough
def test_a_bus_that_dies_is_shown_and_the_stop_is_tried_until_it_is_back(graph):
    with TerminalSession("session", columns=120, rows=30) as session:
        session.wait_for("following joint_commands")
        bus = graph.processes["servo_bus"]
        bus.send_signal(signal.SIGSTOP)
        try:
            session.wait_for("no joint_states for")
            session.send("x")
            session.wait_for(r"STOP is being sent \((\d\d|[2-9])", regex=True)
        finally:
            bus.send_signal(signal.SIGCONT)
        session.wait_until(lambda lines: not any("STOP is being" in line for line in lines))
        session.wait_for("not armed")


@pytest.mark.thorough
def test_a_gap_refuses_with_a_sound_and_the_space_that_was_to_stop_starts_nothing(
    graph, root, saved
):
    with TerminalSession("session", columns=120, rows=30) as session:
        session.wait_for(f"idle · {saved} episodes")
        session.send(" ")
        session.wait_for(frames(20), regex=True)
        # No frames for a while, then frames again: those between are missing.
        graph.director.change_state("aligner", "deactivate")
        graph.director.let_pass(1.0)
        graph.director.change_state("aligner", "activate")
        session.wait_for("NOT RECORDED")
        assert b"\a" in session.output
        session.wait_for("refused")
        session.send(" ")
        session.wait_for(f"idle · {saved} episodes")
        graph.seen.forget_diagnostics()
        for stream in ("state", "action", "front", "wrist"):
            graph.wait_for_status(f"aligner: {stream}", "flowing")
        session.send("r")
        session.wait_for(f"RECORDING episode {saved}")
        session.send("d")
        session.wait_for("episode discarded")
    assert episodes(root) == saved


@pytest.mark.thorough
def test_a_recorder_that_dies_is_shown_with_a_sound(graph, saved):
    with TerminalSession("session", columns=120, rows=30) as session:
        session.wait_for(f"idle · {saved} episodes")
        session.send(" ")
        session.wait_for(f"RECORDING episode {saved}")
        recorder = graph.processes["recorder"]
        recorder.send_signal(signal.SIGKILL)
        recorder.wait()
        session.wait_for("THE RECORDER IS SILENT")
        assert "RECORDING" not in "\n".join(session.screen())
        # Whenever it rang, it was of that: of a computer that stands still, too.
        _, *shown = session.output.split(b"\a")
        assert shown and all(b"THE RECORDER IS SILENT" in headline(each) for each in shown)
        # Within the second that is promised; drawing it takes what the computer leaves.
        assert SILENCE_S < 1.0
        session.send(" ")
        # It is found to be gone once DDS has missed it for long enough.
        session.wait_for(r"is that node running\?|no recorder runs here", regex=True)


def headline(drawn):
    """The first line that is drawn with a word in it."""
    return next(line for line in drawn.split(b"\r\n") if re.search(rb"[A-Z]{3}", line))
