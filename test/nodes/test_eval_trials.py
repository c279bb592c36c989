"""`armlet eval` on real graphs: a seed decides every bit; interrupted and resumed; by hand."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from domains import free_domain
from forked_nodes import Popen
from node_processes import flowing_graph

pytest.importorskip("torch", reason="the policy extra is not installed")

sys.path.insert(0, str(Path(__file__).parents[1] / "cli"))

from bench_policies import CONTRACT, HEIGHT, WIDTH, save_random
from terminal_session import TerminalSession

from armlet.bringup import share_directory
from armlet.client.trials import RefusedError, Setting, run_trial
from armlet.datasets.format import video
from armlet.evaluation.trials.results import read_trials
from armlet.sim.task import _OWN as task_files
from armlet.sim.task import find

SHIPPED = share_directory() / "checkpoints" / "reach"
# By the wall clock, so generous: no computer is that busy.
GUARD_S = 240.0
SIZE = {"width": str(WIDTH), "height": str(HEIGHT)}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return save_random(tmp_path_factory.mktemp("policy") / "checkpoint", CONTRACT)


def tried(checkpoint, folder, seed, name="reach", **setting):
    """A trial of 0.6 s, in a task by a file of its own."""
    task = folder / "short.yaml"
    lines = (task_files / f"{name}.yaml").read_text().splitlines()
    shortened = [line for line in lines if not line.startswith(("limit_s", "hold_s"))]
    task.write_text("\n".join([*shortened, "limit_s: 0.6"]))
    given = Setting(str(task), str(checkpoint), SIZE, **setting)
    return run_trial(given, seed, folder, folder / "log", Popen)


@pytest.mark.thorough
def test_a_seed_decides_every_bit_of_its_trial(checkpoint, tmp_path, private_domain):
    (first, elapsed_s), (again, _) = (tried(checkpoint, tmp_path, 3) for _ in range(2))
    assert first == again and len(first.digest) == 64
    assert (first.success, first.time_s, first.duration_s) == (False, None, pytest.approx(0.6))
    assert first.final > 0.015 and first.path_m > 0 and first.smoothness < 0
    assert elapsed_s == pytest.approx(1.6)
    count, size = video.extent(tmp_path / first.video)
    assert count >= 0.5 * 30 and size == (HEIGHT, 2 * WIDTH)


@pytest.mark.thorough
def test_a_seed_decides_every_bit_of_its_trial_with_physics_too(
    checkpoint, tmp_path, private_domain
):
    pytest.importorskip("mujoco", reason="the sim extra is not installed")
    domain = tmp_path / "slippery.yaml"
    domain.write_text("friction: 0.3\nlight: 0.8\n")
    setting = {"name": "push", "physics": "mujoco", "domain": str(domain)}
    (first, _), (again, _) = (tried(checkpoint, tmp_path, 3, **setting) for _ in range(2))
    assert first == again and not first.success
    block, mark = (find("push").initial(3)[name].position[:2] for name in ("block", "mark"))
    assert first.final == pytest.approx(float(np.linalg.norm(block - mark)), abs=2e-3)
    domain.write_text("friction: 0.3\n")
    other, _ = tried(checkpoint, tmp_path, 3, **setting)
    assert other.digest != first.digest, "the pictures are brighter"


@pytest.mark.thorough
def test_a_policy_that_does_not_fit_ends_the_evaluation(tmp_path, private_domain):
    """It was trained on pictures of another size."""
    contract = dataclasses.replace(
        CONTRACT,
        cameras=tuple(dataclasses.replace(c, width=2 * c.width) for c in CONTRACT.cameras),
    )
    checkpoint = save_random(tmp_path / "checkpoint", contract, width=2 * WIDTH)
    with pytest.raises(RefusedError, match="camera front"):
        tried(checkpoint, tmp_path, 0)


@pytest.mark.thorough
def test_a_person_judges_trials_of_a_running_policy(checkpoint, tmp_path, private_domain):
    output = tmp_path / "out"
    words = ("eval", str(checkpoint), "--by-hand", "--task", "wave", "--trials", "2")
    given = {**SIZE, "checkpoint": str(checkpoint), "running": "false"}
    with flowing_graph("policy", **given) as graph:
        graph.wait_for_status("policy: inference", "paused")
        with TerminalSession(*words, "--output", str(output), columns=200) as session:
            session.wait_for("trial 0: set the scene", timeout_s=GUARD_S)
            session.send(" ")
            session.wait_for("the policy drives: y, n, d", timeout_s=GUARD_S)
            graph.wait_for_status("policy: inference", "running")
            session.send("d")
            session.wait_for(
                r"(?s)trial 0: .*trial 0: set the scene", regex=True, timeout_s=GUARD_S
            )
            session.send(" ")
            session.wait_for(r"(?s)drives: y.*drives: y", regex=True, timeout_s=GUARD_S)
            session.send("n")
            session.wait_for("trial 1: set the scene", timeout_s=GUARD_S)
            session.send("u")
            session.wait_for("trial 0 is no failure any more", timeout_s=GUARD_S)
            session.send(" ")
            session.wait_for(r"(?s)any more.*drives: y", regex=True, timeout_s=GUARD_S)
            session.send("n")
            session.wait_for(r"(?s)any more.*trial 1: set", regex=True, timeout_s=GUARD_S)
            session.send("x")
            graph.wait_for_status("servo_bus: bus", "not armed")
            session.send("t")
            graph.wait_for_status("servo_bus: bus", "holding")
            graph.wait_for_status("policy: inference", "paused")
            session.send(" ")
            session.wait_for(r"(?s)(drives: y.*){4}", regex=True, timeout_s=GUARD_S)
            session.send("y")
            session.wait_for("report: ", timeout_s=GUARD_S)
            assert session.wait_end(GUARD_S) == 0
    found = read_trials(output / "A")
    assert [(one.seed, one.success) for one in found] == [(0, False), (1, True)]
    assert found[1].time_s == found[1].duration_s > 0 and found[0].time_s is None
    assert all(one.path_rad >= 0 and one.digest == "" for one in found)


# --- whole evaluations ----------------------------------------------------------------------------


def evaluate(folder, *words, wait=True):
    command = [sys.executable, "-m", "armlet.cli.main", "eval", str(SHIPPED)]
    command += ["--seed", "5", "--trials", "3", "--output", str(folder), *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if wait:
        said = "".join(process.communicate(timeout=600))
        assert process.returncode == 0, said
    return process


def processes_of(domain):
    """Command lines of programs that live in a ROS domain, beside this one."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                environment = (entry / "environ").read_bytes().split(b"\0")
                line = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if f"ROS_DOMAIN_ID={domain}".encode() in environment and b"armlet" in line:
                found.append(line.replace(b"\0", b" ").decode())
    return found


@pytest.mark.thorough
def test_an_interrupted_evaluation_goes_on_to_the_same_trials_and_the_same_report(
    tmp_path, monkeypatch
):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    with free_domain() as domain:
        monkeypatch.setenv("ROS_DOMAIN_ID", str(domain))
        evaluate(whole)
        begun = evaluate(parts, wait=False)
        trials = parts / "A" / "trials.jsonl"
        while not (trials.exists() and trials.read_bytes()):  # the first of three is done
            with pytest.raises(subprocess.TimeoutExpired):
                begun.wait(0.1)
        begun.send_signal(signal.SIGINT)
        begun.communicate(timeout=180)
        assert begun.returncode == 130
        assert processes_of(domain) == []
        # The second may be done as well where this process was not run meanwhile.
        done = len(read_trials(parts / "A"))
        assert done in (1, 2)
        log = (parts / f"nodes-{done}.log").read_text()
        assert log.count("torque is off") >= 1
        evaluate(parts)
    for name in ("report.json", "report.html", "report.svg", "A/trials.jsonl"):
        assert (parts / name).read_bytes() == (whole / name).read_bytes(), name
    assert json.loads((whole / "report.json").read_text())["A"]["successes"] == 3


@pytest.mark.thorough
def test_a_policy_does_the_same_trials_as_itself(tmp_path, monkeypatch):
    with free_domain() as domain:
        monkeypatch.setenv("ROS_DOMAIN_ID", str(domain))
        evaluate(tmp_path / "same", "--against", str(SHIPPED))
    found = json.loads((tmp_path / "same" / "report.json").read_text())
    digests = [[one["digest"] for one in found[side]["by_seed"]] for side in "AB"]
    assert digests[0] == digests[1]
    assert (found["comparison"]["p"], found["comparison"]["better"]) == (1.0, None)


# A console's desk, which does what it is told line by line, and says what is seen then.
DESK = """
import sys, time
from pathlib import Path
from armlet.client.watching import WatchedGraph
from armlet.console.trials.hand import HandDesk, HandError, Wish
from armlet.console.trials.shelf import Shelf
with WatchedGraph() as watched:
    desk = HandDesk(watched, Shelf((Path(sys.argv[1]),)), watched=False)
    orders = {
        "open": lambda now: desk.open(Wish("wave", 2, name="wave"), now),
        "begin": desk.begin,
        "success": lambda now: desk.label(now, True, "well done"),
        "stop": lambda now: watched.press("x"),
        "tick": lambda now: desk.tick(time.monotonic()),
        "close": desk.close,
    }
    for line in sys.stdin:
        code = ""
        try:
            orders[line.strip()](desk.look(time.monotonic()).revision)
        except HandError as error:
            code = str(error)
        seen = desk.look(time.monotonic())
        print(seen.phase, seen.policy, code, *(say for say, _ in seen.said), flush=True)
"""


@pytest.mark.thorough
def test_browsers_judge_trials_of_a_running_policy(checkpoint, tmp_path, private_domain):
    """As the keys do, in one process with all else that a console shows of the graph."""
    given = {**SIZE, "checkpoint": str(checkpoint), "running": "false"}
    words = [sys.executable, "-c", DESK, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with (
        flowing_graph("policy", **given) as graph,
        subprocess.Popen(words, **pipes) as desk,
    ):

        def order(word):
            desk.stdin.write(f"{word}\n")
            desk.stdin.flush()
            return desk.stdout.readline().split()

        graph.wait_for_status("policy: inference", "paused")
        assert order("open")[:2] == ["ready", str(checkpoint)]
        assert order("begin")[0] == "driving"
        graph.wait_for_status("policy: inference", "running")
        assert order("begin")[2] == "stale"
        assert order("success")[0] == "ready"
        graph.wait_for_status("policy: inference", "paused")
        assert order("begin")[0] == "driving"
        graph.wait_for_status("policy: inference", "running")
        order("stop")
        graph.wait_for_status("servo_bus: bus", "not armed")
        assert order("tick")[-1] == "stopped"
        graph.wait_for_status("policy: inference", "paused")
        assert order("close")[0] == "none"
        desk.stdin.close()
        assert desk.wait(GUARD_S) == 0
    (trial,) = read_trials(tmp_path / "wave" / "A")
    assert (trial.success, trial.note, trial.interventions) == (True, "well done", 0)
    assert trial.path_rad > 0 and (tmp_path / "wave" / "report.html").is_file()
