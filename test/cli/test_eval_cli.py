"""What `armlet eval` refuses, how its processes share the work, and what it does with results."""

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest

pytest.importorskip("torch", reason="the policy extra is not installed")
pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from armlet.bringup import share_directory
from armlet.cli.main import main
from armlet.cli.terminal.output import FAILED, STOPPED, UNUSABLE
from armlet.client import trial_pool
from armlet.client.trial_pool import TrialError, Workers, domains
from armlet.client.trials import Measures, RefusedError, _drive
from armlet.evaluation.trials.results import Plan, Results, fingerprint
from armlet.evaluation.trials.trial import Trial
from armlet.nodes.messages import skew_message
from armlet.sim.choice import digest
from armlet.sim.domain import ORDINARY, Domain
from armlet.sim.task import _OWN as task_files
from armlet.sim.task import find

SHIPPED = share_directory() / "checkpoints" / "reach"

# A worker that needs no graph; what it shall do is in the setting.
WORKER = """
import json, os, signal, sys, time
order = json.loads(sys.stdin.readline())
signal.signal(signal.SIGTERM, signal.default_int_handler)
for line in sys.stdin:
    seed, wanted = int(line), order["setting"]
    if seed in wanted.get("ends", ()):
        print("the last word", file=sys.stderr)
        sys.exit(3)
    if seed in wanted.get("hangs", ()):
        try:
            print(json.dumps({"hangs": True}), file=open(wanted["sign"], "w"), flush=True)
            while True:
                time.sleep(0.1)  # a signal right before a sleep is seen after it
        except KeyboardInterrupt:
            open(order["log"] + ".stopped", "w").close()
            sys.exit(130)
    if seed in wanted.get("fails", ()):
        print(json.dumps({"error": f"seed {seed}: no frames"}), flush=True)
        continue
    success = seed not in wanted.get("misses", ())
    trial = dict(seed=seed, success=success, time_s=2.0 if success else None, duration_s=2.5,
                 final=0.0, path_rad=1.0, path_m=1.0, smoothness=-1.5, digest=str(os.getpid()),
                 video="")
    print(json.dumps({"trial": trial, "elapsed_s": 3.5}), flush=True)
"""
COMMAND = (sys.executable, "-c", WORKER)


def workers(folder, jobs=2, **wanted):
    return Workers(wanted, folder, folder, jobs, COMMAND)


def test_several_processes_share_the_seeds(tmp_path):
    with workers(tmp_path, misses=[3]) as pool:
        done = list(pool.run(range(8)))
    assert sorted(one.trial.seed for one in done) == list(range(8))
    assert [one.trial.seed for one in done if not one.trial.success] == [3]
    assert sum(one.elapsed_s for one in done) == 8 * 3.5
    assert 1 <= len({one.trial.digest for one in done}) <= 2
    assert all(process.returncode == 0 for process in pool._processes)


def test_a_trial_that_cannot_be_run_ends_it_with_the_reason(tmp_path):
    with pytest.raises(TrialError, match="seed 2: no frames"), workers(tmp_path, fails=[2]) as pool:
        list(pool.run(range(4)))


def test_a_process_that_ends_is_said_with_its_last_word(tmp_path):
    pool = workers(tmp_path, jobs=1, ends=[1])
    with pytest.raises(TrialError, match=r"ended \(3\): the last word"), pool:
        list(pool.run(range(3)))


def test_a_stop_reaches_processes_that_are_busy(tmp_path):
    """As Ctrl-C does: they stop their graphs, and are waited for."""
    sign = tmp_path / "sign"
    os.mkfifo(sign)
    with pytest.raises(KeyboardInterrupt), workers(tmp_path, 1, hangs=[0], sign=str(sign)) as pool:
        threading.Thread(
            target=lambda: (sign.read_text(), signal.raise_signal(signal.SIGINT)), daemon=True
        ).start()
        list(pool.run([0]))
    assert [process.returncode for process in pool._processes] == [130]
    assert (tmp_path / "nodes-1.log.stopped").exists()


def test_no_two_processes_try_one_domain(monkeypatch):
    monkeypatch.setenv("ROS_DOMAIN_ID", "7")
    tried = [domains(number, 3) for number in range(3)]
    assert tried[0][0] == 7
    every = [domain for one in tried for domain in one]
    assert len(every) == len(set(every)) and set(every) <= set(range(1, 102))


# --- the command ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--task", "raech"], "task: expected pick_place or push or reach, found 'raech'"),
        (["--task", "none.yaml"], "no task"),
        (["--physics", "bullet"], "physics: expected kinematic or mujoco, found 'bullet'"),
        (["--task", "push", "--physics", "kinematic"], "set physics to mujoco"),
        (["--physics", "mujoco", "physics:=mujoco"], "--physics and physics:= mean the same"),
        (["--domain", "none.yaml"], "no domain file"),
        (["--domain", "~no-such-user/d.yaml"], "there is no such user"),
        (["--against-set", "domain:=none.yaml"], "no domain file"),
        (["bench_task:=push"], "bench_task: set by armlet eval itself"),
        (["--by-hand", "--physics", "mujoco"], "leave them out with --by-hand"),
        (["seed:=3"], "seed: set by armlet eval itself"),
        (["strategie:=rtc"], "did you mean strategy"),
        (["--seed", "-1"], "--seed: expected 0 or more"),
        (["inference_latency_s:=measured"], "inference_latency_s: expected seconds"),
        (["--at-least", "2"], "--at-least: expected a share"),
        (["--against", "nosuch"], "nosuch"),
        (["--against-set", "strategy=rtc"], "arguments are name:=value"),
        (["--by-hand"], "--by-hand needs a terminal"),
    ],
)
def test_what_cannot_be_used_is_refused_before_anything_starts(words, said, tmp_path, capsys):
    folder = tmp_path / "out"
    assert main(["eval", str(SHIPPED), *words, "--output", str(folder)]) == UNUSABLE
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("armlet eval: ") and said in line
    assert not folder.exists()


def kept(folder, side, outcomes, **given):
    """Results as an earlier run has left them."""
    values = {"task": "reach", "limit_s": 6.0, "arguments": {}, "physics": "kinematic"}
    values |= {"task_digest": digest(find("reach")), "domain_digest": digest(ORDINARY)}
    plan = Plan(checkpoint=fingerprint(SHIPPED), name="reach", **{**values, **given})
    with Results(folder / side, plan) as results:
        for seed, success in enumerate(outcomes):
            time_s = 2.0 if success else None
            results.add(Trial(seed, success, time_s, 3.0, 0.1, 1.0, 1.0, -1.5))


def evaluated(folder, *words):
    return main(["eval", str(SHIPPED), "--trials", "12", "--output", str(folder), *words])


def test_trials_that_are_there_are_reported_and_not_run_again(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(trial_pool, "WORKER", ("false",))
    kept(tmp_path, "A", 3 * [False] + 9 * [True])
    assert evaluated(tmp_path, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["A"]["successes"], found["comparison"]) == (9, None)
    assert found == json.loads((tmp_path / "report.json").read_text())
    assert evaluated(tmp_path, "--at-least", "0.75") == 0
    assert evaluated(tmp_path, "--at-least", "0.76") == FAILED


def test_a_is_compared_with_b_on_the_same_seeds(tmp_path, capsys):
    kept(tmp_path, "A", 8 * [False] + 4 * [True])
    kept(tmp_path, "B", 12 * [True], arguments={"strategy": "n_action_steps"})
    assert evaluated(tmp_path, "--against-set", "strategy:=n_action_steps") == FAILED
    said = capsys.readouterr().out
    assert "B is better: A alone succeeded in 0 trials, B alone in 8, p 0.0078" in said
    kept(tmp_path / "turned", "A", 12 * [True])
    kept(tmp_path / "turned", "B", 12 * [True], arguments={"strategy": "n_action_steps"})
    assert evaluated(tmp_path / "turned", "--against-set", "strategy:=n_action_steps") == 0
    assert "no difference is shown" in capsys.readouterr().out


def test_another_setting_does_not_go_on_in_the_same_folder(tmp_path, capsys):
    kept(tmp_path, "A", 12 * [True])
    assert evaluated(tmp_path, "inference_latency_s:=0.1") == UNUSABLE
    assert "arguments {} instead of {'inference_latency_s': '0.1'}" in capsys.readouterr().err


def test_one_checkpoint_is_compared_with_itself_on_another_bench(tmp_path, capsys):
    pytest.importorskip("mujoco", reason="the sim extra is not installed")
    dim = tmp_path / "dim.yaml"
    dim.write_text("light: 0.5\n")
    domain_digest = digest(Domain(light=0.5))
    kept(tmp_path, "A", 12 * [True])
    kept(tmp_path, "B", 12 * [False], physics="mujoco", domain_digest=domain_digest)
    other = ("--against-set", "physics:=mujoco", "--against-set", f"domain:={dim}")
    assert evaluated(tmp_path, *other) == 0
    said = capsys.readouterr().out
    assert "A is better: A alone succeeded in 12 trials" in said
    assert "kinematic" in said and "mujoco" in said and "dim.yaml" in said
    dim.write_text("light: 0.6\n")
    assert evaluated(tmp_path, *other) == UNUSABLE
    assert "another evaluation (domain_digest" in capsys.readouterr().err


def test_things_to_move_imply_physics_and_it_is_said(tmp_path, capsys):
    pytest.importorskip("mujoco", reason="the sim extra is not installed")
    push = {"task": "push", "task_digest": digest(find("push")), "limit_s": 15}
    kept(tmp_path, "A", 12 * [False], physics="mujoco", **push)
    assert evaluated(tmp_path, "--task", "push") == 0
    said = capsys.readouterr()
    assert said.err.splitlines() == ["push has things to move, so physics is mujoco"]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("within_m: 0.015", "within_m: 1", "with seed 0 its goals hold before the arm moves"),
        ("limit_s: 6", "limit_s: 0.1", "limit_s above it, found 0.2 and 0.1"),
    ],
)
def test_a_task_that_cannot_be_tried_is_refused_before_anything_starts(
    tmp_path, capsys, monkeypatch, old, new, said
):
    monkeypatch.chdir(tmp_path)
    text = (task_files / "reach.yaml").read_text()
    assert old in text
    (tmp_path / "mine.yaml").write_text(text.replace(old, new))
    assert evaluated(tmp_path / "out", "--task", "mine.yaml") == UNUSABLE
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("changed", ["task", "checkpoint", "params_file"])
def test_no_trial_is_kept_of_a_file_that_changed_meanwhile(tmp_path, capsys, monkeypatch, changed):
    files = {"task": tmp_path / "mine.yaml", "params_file": tmp_path / "mine_params.yaml"}
    files["task"].write_text((task_files / "reach.yaml").read_text())
    files["params_file"].write_text("policy: {}\n")
    shutil.copytree(SHIPPED, tmp_path / "mine")
    files["checkpoint"] = tmp_path / "mine/README.md"
    change = f"""
    with open({str(files[changed])!r}, "a+") as file:
        file.seek(0)
        text = file.read().replace("limit_s: 6", "limit_s: 9")
        file.truncate(0)
        file.write(text + "# 1\\n")
    success = """
    worker = WORKER.replace("\n    success = ", change)
    worker = worker.replace('order["setting"]', "{}")
    monkeypatch.setattr(trial_pool, "WORKER", (sys.executable, "-c", worker))
    words = ("--task", str(files["task"]), "--output", str(tmp_path / "out"), "--trials", "1")
    argument = f"params_file:={files['params_file']}"
    assert main(["eval", str(tmp_path / "mine"), argument, *words]) == UNUSABLE
    (line,) = capsys.readouterr().err.splitlines()
    assert "changed during the trials; this trial is not kept" in line
    named = tmp_path / "mine" if changed == "checkpoint" else files[changed]
    assert f"{named}: changed" in line
    assert not (tmp_path / "out/A/trials.jsonl").read_bytes()


def test_the_bench_alone_says_what_has_been_done():
    measures = Measures()
    said = [(0.9, {"error": 0.3, "success": 0.0}), (1.0, {"error": 0.2, "success": 0.0})]
    said += [(1.1, {"reach_error": 0.1}), (1.2, {"error": 0.004, "success": 1.0})]
    said += [(1.3, {"error": 0.1, "success": 1.0})]
    for time_s, values in said:
        measures.keep(skew_message(round(time_s * 1e9), values))
    found = measures.outcome(10**9, 2 * 10**9)
    assert (found.success, found.time_s, found.final) == (True, pytest.approx(0.2), 0.1)
    assert not measures.outcome(0, 10**9).success
    assert measures.outcome(2 * 10**9, 3 * 10**9) is None


def test_what_was_done_before_the_policy_drove_is_no_success_of_its():
    """As of a task whose thing rolls to its place by itself."""
    measures = Measures()
    measures.keep(skew_message(9 * 10**8, {"error": 0.0, "success": 1.0}))
    director = SimpleNamespace(seen=None)
    with pytest.raises(RefusedError, match="push was done before the policy began to drive"):
        _drive(director, find("push"), measures, 10**9)


def test_a_worker_that_cannot_start_is_said(tmp_path, capsys, monkeypatch):
    script = "import sys; sys.exit('no ROS here')"
    monkeypatch.setattr(trial_pool, "WORKER", (sys.executable, "-c", script))
    assert evaluated(tmp_path) == FAILED
    said = capsys.readouterr().err
    assert "ended (1): no ROS here; what the nodes said is in" in said


def is_kept(trials):
    return trials.exists() and trials.read_text().endswith("\n")


@pytest.mark.thorough
def test_ctrl_c_is_one_line_and_keeps_what_is_done(tmp_path):
    sign = tmp_path / "sign"
    os.mkfifo(sign)
    wanted = WORKER.replace('order["setting"]', repr({"hangs": [1], "sign": str(sign)}))
    script = (
        "import sys\nfrom armlet.client import trial_pool\nfrom armlet.cli.main import main\n"
        f"trial_pool.WORKER = (sys.executable, '-c', {wanted!r})\nsys.exit(main(sys.argv[1:]))"
    )
    folder = tmp_path / "out"
    words = ("eval", str(SHIPPED), "--trials", "2", "--output", str(folder))
    with subprocess.Popen(
        [sys.executable, "-c", script, *words], stderr=subprocess.PIPE, text=True
    ) as process:
        hangs = os.open(sign, os.O_RDONLY | os.O_NONBLOCK)
        trials = folder / "A" / "trials.jsonl"
        # The answer before comes first, and is about to be kept.
        while not (select.select([hangs], [], [], 0.1)[0] and is_kept(trials)):
            assert process.poll() is None, process.communicate()[1]
        os.close(hangs)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=180)
    assert process.returncode == STOPPED
    assert said.splitlines() == [
        "stopped; the same command goes on with the trials that are missing"
    ]
    assert len((folder / "A" / "trials.jsonl").read_text().splitlines()) == 1
